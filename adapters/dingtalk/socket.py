"""The stream: the official SDK's frames and handlers, on a connection loop of our own.

Why dingtalk-stream 0.24.3 with this loop and not 0.24.4b1: that one is a pre-release, still answers
an EVENT with an echo instead of a status, and waits 2 to 5 s after a close, while bot messages,
which come once, are lost. What is wrong with 0.24.3 (a swallowed cancel, a blocking request without
time-out, hot reconnects, answers on a newer socket) is in its loop, which is not used here. What it
does well, reading and answering frames, is: `route_message`, `websocket`, `callback_handler_map`
and the handlers' `raw_process`, names that a test pins.

Only `link.py` imports this module, when it is entered: the SDK brings `requests` along.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote_plus

import dingtalk_stream
import structlog
import websockets
from dingtalk_stream import AckMessage, CallbackMessage, EventMessage
from websockets.asyncio.client import ClientConnection

from adapters.port import Clock, OutsideError, Permanent, Transient

MESSAGES = "/v1.0/im/bot/messages/get"
CARDS = "/v1.0/card/instances/callback"

PING = 15.0
"""Seconds between our pings, and for which an answer is awaited: a half-open link is noticed
within half a minute."""
IDLE = 90.0
"""Seconds without any frame after which a socket is given up: the server pings every 20 to 30 s,
and some sockets answer our pings while nothing is pushed to them any more."""
CONNECT = 10.0
MAX_FRAME = 4 << 20
FIRST_PAUSE, MAX_PAUSE, REFUSED_PAUSE = 0.5, 30.0, 60.0

OnFrame = Callable[[str, dict[str, Any], Any], Awaitable[dict[str, Any] | str | None]]
"""(topic, headers with messageId and time, data) -> the answer; None: we could not keep it."""
Open = Callable[[list[dict[str, str]]], Awaitable[tuple[str, str]]]
"""Ask the gateway for a connection with these subscriptions: (endpoint, single-use ticket)."""

_log = structlog.get_logger(__name__)
_quiet = logging.getLogger("vigilbot.dingtalk.sdk")
_quiet.setLevel(logging.CRITICAL)  # the SDK logs tickets and whole messages


class _Callbacks(dingtalk_stream.CallbackHandler):  # type: ignore[misc]  # the SDK has no types
    def __init__(self, topic: str, on_frame: OnFrame) -> None:
        super().__init__()
        self._topic = topic
        self._on_frame = on_frame

    async def process(self, message: CallbackMessage) -> tuple[int, Any]:
        headers = {"messageId": message.headers.message_id, "time": message.headers.time}
        answer = await self._on_frame(self._topic, headers, message.data)
        if answer is None:
            return AckMessage.STATUS_SYSTEM_EXCEPTION, "not kept"
        return AckMessage.STATUS_OK, answer


class _Events(dingtalk_stream.EventHandler):  # type: ignore[misc]
    async def raw_process(self, event_message: EventMessage) -> AckMessage:
        """Answer with a status: the SDK echoes the event, which the platform takes for no ack."""
        ack = AckMessage()
        ack.headers.message_id = event_message.headers.message_id
        ack.headers.content_type = event_message.headers.CONTENT_TYPE_APPLICATION_JSON
        ack.message = "OK"
        ack.data = {"status": "SUCCESS", "message": "success"}
        return ack


class _Session(dingtalk_stream.DingTalkStreamClient):  # type: ignore[misc]
    """One connection's reader: an answer goes to the socket that asked."""

    def __init__(self, websocket: ClientConnection | None, on_frame: OnFrame) -> None:
        super().__init__(dingtalk_stream.Credential("", ""), _quiet)
        self.websocket = websocket
        self.register_all_event_handler(_Events())
        for topic in (MESSAGES, CARDS):
            self.register_callback_handler(topic, _Callbacks(topic, on_frame))


def subscriptions() -> list[dict[str, str]]:
    """Return what the gateway is asked for, as the SDK would ask."""
    callbacks = [{"type": "CALLBACK", "topic": topic} for topic in (MESSAGES, CARDS)]
    return [{"type": "EVENT", "topic": "*"}, *callbacks]


class Stream:
    """Keeps one connection to the gateway alive until it is cancelled.

    `connected` is set while a socket is open, `failed` holds why the last try did not get there.
    """

    def __init__(
        self,
        opener: Open,
        on_frame: OnFrame,
        clock: Clock,
        *,
        proxy: str | None = None,
        ping: float = PING,
        idle: float = IDLE,
    ) -> None:
        self._opener = opener
        self._on_frame = on_frame
        self._clock = clock
        self._proxy = proxy
        self._ping = ping
        self._idle = idle
        self.connected = asyncio.Event()
        self.tried = asyncio.Event()
        self.failed: OutsideError | None = None
        self.sessions = 0

    async def run(self) -> None:
        """Connect, read, and connect again: at once after a good session, later after bad ones."""
        pause = FIRST_PAUSE
        while True:
            before = self.sessions
            try:
                await self._session()
                self.failed = None
            except Permanent as error:
                self.failed = error
                pause = REFUSED_PAUSE
            except Transient as error:
                self.failed = error
            except (OSError, TimeoutError, websockets.WebSocketException) as problem:
                self.failed = Transient(f"钉钉的长连接断了：{type(problem).__name__}")
            finally:
                self.connected.clear()
            if self.failed:
                _log.warning("dingtalk_stream", reason=self.failed.reason)
            self.tried.set()
            if self.sessions > before:
                pause = FIRST_PAUSE
            # Not all replicas of all customers at the same instant after a gateway's restart.
            await self._clock.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311
            pause = min(pause * 2, MAX_PAUSE)

    async def _session(self) -> None:
        endpoint, ticket = await self._opener(subscriptions())
        async with websockets.connect(
            f"{endpoint}?ticket={quote_plus(ticket)}",
            proxy=self._proxy,
            open_timeout=CONNECT,
            close_timeout=2,
            ping_interval=self._ping,
            ping_timeout=self._ping,
            max_size=MAX_FRAME,
            logger=_quiet,
        ) as websocket:
            self.sessions += 1
            self.failed = None
            self.connected.set()
            self.tried.set()
            await self._read(websocket)

    async def _read(self, websocket: ClientConnection) -> None:
        session = _Session(websocket, self._on_frame)
        async with asyncio.TaskGroup() as group:
            under_way: set[asyncio.Task[None]] = set()
            try:
                while True:
                    async with asyncio.timeout(self._idle):
                        raw = await websocket.recv()
                    # Begun in the order of the frames: what people do is kept before the first wait.
                    task = group.create_task(_route(session, raw))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
            except (websockets.ConnectionClosed, TimeoutError):
                return
            finally:
                for task in under_way:
                    task.cancel()


async def _route(session: _Session, raw: str | bytes) -> None:
    """Answer one frame; a malformed one is logged and not answered, so the platform knows."""
    try:
        route = await session.route_message(json.loads(raw))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        _log.warning("dingtalk_frame", problem=repr(problem)[:200])
        return
    except websockets.ConnectionClosed:
        return  # the answer came too late: the platform will ask again, or the person will
    if route == session.TAG_DISCONNECT and session.websocket is not None:
        with suppress(websockets.ConnectionClosed):
            await session.websocket.close()

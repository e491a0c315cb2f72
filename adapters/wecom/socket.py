"""The AI bot's long connection: our own client, because the SDKs end silently on a clean close.

One connection per bot: a second subscription throws the first one out. So being thrown out is told
and never fought over, and among replicas a lease decides who may dial at all.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Protocol
from uuid import uuid4

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from adapters.port import Clock, Fault, InDoubt, OutsideError, Permanent, Transient
from adapters.wecom import wire
from adapters.words import Secret

ACK = 5.0
"""Seconds in which a frame must be acknowledged (the official SDK's replyAckTimeout)."""
PING = 30.0
MISSED = 2
"""Pings without an answer after which the far side is dead (the official SDK's maxMissedPong)."""
AGAIN = 5.0
"""Seconds from a ping without an answer to the next: a half-open link is to be back in a minute."""
BACK_OFF = (1.0, 2.0, 5.0, 15.0, 30.0)
STANDBY = 3.0
"""Seconds between two asks for a lease that another replica holds."""
REFUSALS = 3
"""Times that our own name is refused before we give up: subscribing is rate-protected."""
THROWN_OUT = "另一个程序用同一个机器人连上了企业微信，本程序已让出：请停掉其中一个，再重启本程序"
ELSEWHERE = "企业微信由另一个副本连接，由它来发"

Take = Callable[[str, str, Mapping[str, Any]], None]
"""(cmd, req_id, body) of a callback."""

_log = structlog.get_logger(__name__)


class Lease(Protocol):
    """Says which of several replicas may hold the connection. Raises nothing."""

    async def take(self) -> bool:
        """May we, for the next minute? Asked before each dial and with each ping. False as well, once,
        when another might since the last time: who has thrown us out may have been that one."""
        ...

    async def give_up(self) -> None:
        """Let another replica have it at once."""
        ...


class Alone:
    """The lease of a program that has no replicas."""

    async def take(self) -> bool:
        return True

    async def give_up(self) -> None: ...


def _silent() -> logging.Logger:
    """Return a logger that says nothing: the library's own writes whole frames, our secret among
    them."""
    logger = logging.getLogger("vigilbot.wecom.frames")
    logger.setLevel(logging.CRITICAL + 1)
    return logger


class Socket:
    """Keeps one subscribed connection; `run` it in a task of its own."""

    def __init__(
        self,
        bot_id: str,
        secret: Secret,
        take: Take,
        *,
        url: str,
        clock: Clock,
        lease: Lease,
        ack: float = ACK,
    ) -> None:
        self._bot_id = bot_id
        self._secret = secret
        self._take = take
        self._url = url
        self._clock = clock
        self._lease = lease
        self._ack = ack
        self._ws: ClientConnection | None = None
        self._acks: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self.ready = asyncio.Event()
        self.tried = asyncio.Event()
        """The first dial has ended, well or not."""
        self.ended: OutsideError | None = None
        """Why it will not connect any more."""
        self.mine = False
        """The connection is this replica's, whether it is up or not."""

    async def call(
        self, cmd: str, body: Mapping[str, Any] | None = None, *, req: str = "", doing: str
    ) -> Mapping[str, Any]:
        """Send a frame and return its acknowledgement's body; raises the three errors.

        Without an acknowledgement it is InDoubt: it may have been done. Frames of one `req` wait
        for each other.
        """
        if self.ended:
            raise Permanent(self.ended.reason, fault=self.ended.fault)
        if not self.mine:
            raise Transient(ELSEWHERE)
        if self._ws is None or not self.ready.is_set():
            raise Transient("企业微信的长连接断开了，正在重连")
        return await self._call(self._ws, cmd, body, req=req, doing=doing)

    async def run(self) -> None:
        """Connect again and again while the lease is ours, until thrown out or refused: then `ended`
        says why. Thrown out by a replica that has taken the lease over is no end: it may come back."""
        refused = failed = 0
        while True:
            try:
                if not await self._may():
                    self.tried.set()
                    await self._clock.sleep(STANDBY)
                    continue
                await self._once()
                failed = 0
            except Permanent as problem:
                dropped = problem.fault is Fault.DROPPED
                if dropped and not await self._may():
                    continue
                refused += 1
                _log.error("wecom_refused", reason=problem.reason)
                if dropped or refused >= REFUSALS:
                    self.ended = problem
                    return
            except (OutsideError, OSError, ConnectionClosed, InvalidHandshake) as problem:
                _log.warning("wecom_disconnected", problem=type(problem).__name__)
            except InvalidURI:
                self.ended = Permanent("企业微信的 ws_url 不是 ws:// 或 wss:// 地址")
                return
            finally:
                self.tried.set()
            await self._clock.sleep(BACK_OFF[min(failed, len(BACK_OFF) - 1)])
            failed += 1

    async def hold(self) -> None:
        """Keep the lease when it has `ended`: no other replica is to begin the same quarrel."""
        while await self._may():
            await self._clock.sleep(PING)

    async def _may(self) -> bool:
        self.mine = await self._lease.take()
        return self.mine

    async def _once(self) -> None:
        """Hold one connection until it ends; a clean close is as good a reason to come back."""
        async with connect(
            self._url,
            ping_interval=None,
            close_timeout=2,
            open_timeout=10,
            max_size=2**22,
            logger=_silent(),
        ) as ws:
            reading = asyncio.create_task(self._read(ws))
            beating: asyncio.Task[None] | None = None
            try:
                secret = {"bot_id": self._bot_id, "secret": self._secret.reveal()}
                await self._call(ws, "aibot_subscribe", secret, doing="登录")
                self._ws = ws
                self.ready.set()
                self.tried.set()
                beating = asyncio.create_task(self._beat(ws))
                await reading
            finally:
                self.ready.clear()
                self._ws = None
                self._forsake()
                for task in (reading, beating):
                    if task:
                        task.cancel()
                        with suppress(asyncio.CancelledError, ConnectionClosed, OutsideError):
                            await task

    async def _read(self, ws: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in ws:
                self._frame(text)

    def _frame(self, text: str | bytes) -> None:
        try:
            frame = json.loads(text)
            req, body = frame["headers"]["req_id"], frame.get("body") or {}
            if frame.get("cmd") in {"aibot_msg_callback", "aibot_event_callback"}:
                if wire.kicked(body):
                    raise Permanent(THROWN_OUT, fault=Fault.DROPPED)
                self._take(frame["cmd"], req, body)
                return
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            _log.warning("wecom_frame_not_understood", problem=type(problem).__name__)
            return
        waiting = self._acks.get(req)
        if waiting and not waiting.done():
            waiting.set_result(frame)

    async def _beat(self, ws: ClientConnection) -> None:
        """Ping; a dead far side is not waited for with a close handshake."""
        missed = 0
        for _ in count():
            await self._clock.sleep(AGAIN if missed else PING)
            try:
                await self._call(ws, "ping", doing="心跳")
                missed = 0
            except (OutsideError, ConnectionClosed):
                missed += 1
            if missed >= MISSED or not await self._may():
                ws.transport.abort()
                return

    async def _call(
        self,
        ws: ClientConnection,
        cmd: str,
        body: Mapping[str, Any] | None = None,
        *,
        req: str = "",
        doing: str,
    ) -> Mapping[str, Any]:
        req = req or f"{cmd}_{uuid4().hex}"
        frame: dict[str, Any] = {"cmd": cmd, "headers": {"req_id": req}}
        if body is not None:
            frame["body"] = body
        while before := self._acks.get(req):  # its acknowledgement would be taken for ours
            await asyncio.wait({before})
        answer = asyncio.get_running_loop().create_future()
        self._acks[req] = answer
        try:
            async with asyncio.timeout(self._ack):
                await ws.send(json.dumps(frame, ensure_ascii=False))
                told = await answer
        except (TimeoutError, ConnectionClosed) as problem:
            reason = f"企业微信{doing}：没有收到回答，可能已经发出"
            raise InDoubt(reason, fault=Fault.NETWORK) from problem
        finally:
            self._acks.pop(req, None)
        if code := int(told.get("errcode", 0)):
            raise wire.refusal(code, doing)
        return dict(told.get("body") or {})

    def _forsake(self) -> None:
        for waiting in self._acks.values():
            if not waiting.done():
                reason = "企业微信的长连接断开了，可能已经发出"
                waiting.set_exception(InDoubt(reason, fault=Fault.NETWORK))
                waiting.exception()  # who waited may have gone already

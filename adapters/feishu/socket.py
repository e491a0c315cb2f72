"""lark-oapi's long connection, supervised in our own loop.

The SDK's `start` blocks, binds a loop at import, discovers with `requests` and no time-out, and goes
on as a silent zombie after a fatal reconnect. So its frames, ping, pong and handshake errors are used,
and the life cycle is ours. A contract test pins the private names.

Importing this file costs seconds (the SDK brings 10,000 files along): it is for entering the platform.
"""

from __future__ import annotations

import asyncio
import json
import random
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import lark_oapi.ws.client as sdk
import structlog
import websockets
from lark_oapi.core.enum import LogLevel
from lark_oapi.core.json import JSON
from lark_oapi.ws.const import (
    DEVICE_ID,
    EXCEED_CONN_LIMIT,
    GEN_ENDPOINT_URI,
    HEADER_BIZ_RT,
    HEADER_MESSAGE_ID,
    HEADER_SEQ,
    HEADER_SUM,
    INTERNAL_ERROR,
    OK,
    SERVICE_ID,
    SYSTEM_BUSY,
)
from lark_oapi.ws.enum import FrameType
from lark_oapi.ws.exception import (
    ClientException,
    ConnectionClosedException,
    HeaderNotFoundException,
    ServerException,
)
from lark_oapi.ws.model import EndpointResp
from lark_oapi.ws.pb.google.protobuf.message import DecodeError
from lark_oapi.ws.pb.pbbp2_pb2 import Frame
from websockets.asyncio.client import ClientConnection, connect

from adapters.port import Clock, Fault, Permanent
from adapters.words import Secret

DISCOVERY = 10.0
"""Seconds for the discovery and for the handshake each."""

LONGEST_PAUSE = 30.0
CROWDED = 60.0
"""Seconds to wait when the app has too many connections: others must go first."""

SETTLING = 2.0
"""Seconds that the last answers have to get out on a link that may be half-open."""

FRAGMENT_LIFE = timedelta(seconds=5)

Take = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]
"""Takes a payload; returns the answer ({} for none), or None: do not acknowledge, send it again."""

_log = structlog.get_logger(__name__)

_PASSING = (
    OSError,
    TimeoutError,
    ValueError,
    KeyError,
    httpx.HTTPError,
    websockets.WebSocketException,
    ServerException,
    ConnectionClosedException,
)


class Fragments:
    """Joins what came in several frames; a redelivery starts afresh once the whole was given."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[datetime, dict[int, bytes]]] = {}

    def join(
        self, message_id: str, count: int, at: int, part: bytes, now: datetime
    ) -> bytes | None:
        """Return the whole when `part` was the last that was missing."""
        if count <= 1:
            return part
        self._parts = {one: kept for one, kept in self._parts.items() if kept[0] > now}
        _, parts = self._parts.setdefault(message_id, (now + FRAGMENT_LIFE, {}))
        parts[at] = part
        if len(parts) < count:
            return None
        del self._parts[message_id]
        return b"".join(parts[number] for number in sorted(parts))


class Socket(sdk.Client):  # type: ignore[misc] # the SDK is untyped
    """One connection of the app, made anew until `run` is cancelled or Feishu refuses the app."""

    def __init__(
        self,
        app_id: str,
        secret: Secret,
        *,
        base_url: str,
        http: httpx.AsyncClient,
        take: Take,
        clock: Clock,
        beat: float,
    ) -> None:
        # The SDK prints what it connects to, ticket and all: nothing below CRITICAL gets out.
        super().__init__(
            app_id, "", log_level=LogLevel.CRITICAL, domain=base_url, auto_reconnect=False
        )
        self._cache._cron.cancel()  # noqa: SLF001 - the one task that the SDK leaves behind
        self._secret = secret
        self._http = http
        self._take = take
        self._clock = clock
        self._beat = beat
        self._fragments = Fragments()
        self._answers: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Keep a connection; raises Permanent when Feishu will not have this app."""
        failures = 0
        while True:
            crowded = False
            try:
                conn = await self._open()
                failures = 0
                self.connected.set()
                await self._listen(conn)
            except ClientException as problem:
                crowded = problem.code == EXCEED_CONN_LIMIT
                if not crowded:
                    reason = f"飞书拒绝了长连接（{problem.code}）：请核对应用凭证和事件订阅方式"
                    raise Permanent(reason, fault=Fault.REFUSED) from problem
                _log.exception("feishu_too_many_connections")
            except _PASSING as problem:
                _log.warning("feishu_connection_lost", why=type(problem).__name__)
            finally:
                self.connected.clear()
                await self._disconnect()
            failures += 1
            await self._clock.sleep(CROWDED if crowded else pause(failures, random.random()))  # noqa: S311 - jitter

    async def settle(self) -> None:
        """Wait until every delivery that was begun is answered, or given up."""
        if self._answers:
            await asyncio.wait(set(self._answers), timeout=SETTLING)

    async def _open(self) -> ClientConnection:
        async with asyncio.timeout(DISCOVERY):
            url = await self._discover()
        query = parse_qs(urlsplit(url).query)
        try:
            conn = await connect(
                url,
                proxy=None,  # as the SDK does
                open_timeout=DISCOVERY,
                ping_interval=self._beat,
                ping_timeout=self._beat,
                close_timeout=self._beat / 4,
            )
        except websockets.InvalidHandshake as problem:
            sdk._parse_ws_conn_exception(problem)  # noqa: SLF001 - always raises what it means
            raise
        self._service_id = query[SERVICE_ID][0]
        self._conn_id = query[DEVICE_ID][0]
        self._conn = conn
        return conn

    async def _discover(self) -> str:
        response = await self._http.post(
            GEN_ENDPOINT_URI,
            headers={"locale": "zh"},
            json={"AppID": self._app_id, "AppSecret": self._secret.reveal()},
        )
        if response.status_code != httpx.codes.OK:
            raise ServerException(response.status_code, "system busy")
        answer = JSON.unmarshal(response.text, EndpointResp)
        if answer.code in {SYSTEM_BUSY, INTERNAL_ERROR}:
            raise ServerException(answer.code, answer.msg)
        if answer.code != OK:
            raise ClientException(answer.code, answer.msg)
        if answer.data is None or not answer.data.URL:
            raise ServerException(answer.code, "no URL")
        if answer.data.ClientConfig is not None:
            self._configure(answer.data.ClientConfig)
        return str(answer.data.URL)

    async def _listen(self, conn: ClientConnection) -> None:
        ping = asyncio.create_task(self._ping(), name="feishu-ping")
        try:
            async for data in conn:
                await self._hear(conn, data)
        finally:
            ping.cancel()
            await asyncio.wait({ping})

    async def _ping(self) -> None:
        # Not the SDK's loop: cancelled in the middle of a write, that one sleeps on for two minutes.
        frame = sdk._new_ping_frame(int(self._service_id)).SerializeToString()  # noqa: SLF001
        try:
            while True:
                await self._write_message(frame)
                await asyncio.sleep(max(1, self._ping_interval or 0))
        except (websockets.ConnectionClosed, ConnectionClosedException):
            return  # the listener hears of it, too

    async def _hear(self, conn: ClientConnection, data: str | bytes) -> None:
        try:
            frame = Frame()
            frame.ParseFromString(data)
            if frame.method == FrameType.CONTROL.value:
                await self._handle_control_frame(frame)
                return
            headers = {header.key: header.value for header in frame.headers}
            count, at = int(headers[HEADER_SUM]), int(headers[HEADER_SEQ])
            whole = self._fragments.join(
                headers[HEADER_MESSAGE_ID], count, at, frame.payload, self._clock.now()
            )
            payload = None if whole is None else json.loads(whole)
        except (DecodeError, HeaderNotFoundException, KeyError, ValueError, TypeError) as problem:
            _log.warning("feishu_frame_not_understood", why=type(problem).__name__)
            return
        if payload is not None:
            task = asyncio.create_task(self._answer(conn, frame, payload), name="feishu-answer")
            self._answers.add(task)
            task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answers.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem:  # the kind alone: a payload may hold what was typed into a password field
            _log.error("feishu_delivery_failed", kind=type(problem).__name__)

    async def _answer(self, conn: ClientConnection, frame: Any, payload: Mapping[str, Any]) -> None:
        began = self._clock.now()
        answer = await self._take(payload)
        # On the connection that it came by: another one may end at another of Feishu's servers.
        if answer is None or self._conn is not conn:
            return
        body: dict[str, Any] = {"code": 200}
        if answer:
            body["data"] = b64encode(json.dumps(answer, ensure_ascii=False).encode()).decode()
        took = frame.headers.add()
        took.key = HEADER_BIZ_RT
        took.value = str(int((self._clock.now() - began).total_seconds() * 1000))
        frame.payload = json.dumps(body).encode()
        try:
            await self._write_message(frame.SerializeToString())
        except (websockets.ConnectionClosed, ConnectionClosedException):
            _log.warning("feishu_answer_came_too_late")


def pause(failures: int, chance: float) -> float:
    """Return the seconds before the next try: doubling, and no two bots at the same instant.

    The first is under two seconds: a closed link must be back within five.
    """
    return float(min(LONGEST_PAUSE, 2.0 ** min(failures - 1, 10)) * (0.5 + chance))

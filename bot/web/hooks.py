"""Where the monitors' webhooks come in: kept before they are answered, and answered at once.

Senders wait for the answer inside their alert engines, so nothing is done here but to look whether
it can be read, and to keep it. A 503 says "try again"; never a 429, which Alertmanager drops
(`facts/alert-storms.md`, section 3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.port import UsageError
from adapters.sources import SOURCES, Source, heartbeat, huawei, reading, vigilops
from adapters.words import Secret
from bot.web.hook_schema import SCHEMA
from runbooks.alerting import heartbeats, watch
from runbooks.alerting.hold import Heard, Kind, episode_of
from runbooks.kit import Kit
from storage.hooks import SeenAlert, hash_of
from storage.intake import Intake, Overloaded

MOST = reading.LARGEST
"""Bytes of one post."""

LONG = 256 * 1024
"""Bytes from which a post is read on another thread: others shall not wait for it."""

SLOW = 15.0
"""Seconds that a post may take to come in."""

REMEMBERED = timedelta(seconds=5)
"""How long a token is let in without a look: so long, at most, an exchanged one still is."""

PARTS = 3
"""Slashes of a hook's path."""

READ = frozenset({"GET", "HEAD"})

Confirm = Callable[[huawei.Confirmation], None]
"""Takes Huawei's question, to be answered later: that goes out to another server."""


class Said(NamedTuple):
    """What a sender is answered."""

    status: int
    text: str


class Refused(Exception):
    """A post is not taken; `said` is why."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.text)
        self.said = said


UNKNOWN = Said(404, "没有这个地址 / no such hook")
TOO_LARGE = Said(413, "内容超过 8 MB / larger than 8 MB")
CUT_OFF = Said(400, "内容不完整 / incomplete")
TOO_SLOW = Said(408, "内容太久没有发完 / it took too long to come in")
NOT_POSTED = Said(405, "请用 POST 发送 / POST it")
BUSY = Said(503, "暂时存不下，请重试 / cannot be kept just now, try again")
KEPT = b'{"ok":true}'


def router(hook: Hook) -> APIRouter:
    """Return the routes of the hooks, and of what tells about them."""
    routes = APIRouter()
    routes.routes.append(Route("/hooks/openapi.json", _schema))
    routes.routes.append(Route("/hooks/{source}/{token}", hook))
    return routes


class Front:
    """Lets posts to the hooks in before an application looks for its routes: that would take longer
    than all that is done here. Whatever is not for a hook goes to the application."""

    def __init__(self, app: ASGIApp, hook: Hook) -> None:
        self._app = app
        self._hook = hook

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        posted = scope["type"] == "http" and scope["method"] == "POST"
        if posted and scope["path"].startswith("/hooks/") and scope["path"].count("/") == PARTS:
            await self._hook(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Door:
    """Knows whose a token is, and remembers it for a moment. Wrong ones are never remembered."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._known: dict[tuple[str, str], tuple[int, datetime]] = {}

    async def customer(self, source: str, token: str) -> int | None:
        """Return whose hook it is; None for a wrong one."""
        key, now = (source, hash_of(Secret(token))), self._kit.clock.now()
        customer, until = self._known.get(key, (None, now))
        if until > now:
            return customer
        async with self._kit.store.view() as unit:
            found = await unit.hooks.customer_of(source, Secret(token))
        if found is None:
            self._known.pop(key, None)
        else:
            self._known[key] = found, now + REMEMBERED
        return found


class Hook:
    """One address for all sources; an ASGI application. Without an intake there is VigilOps' own path
    alone, which keeps what comes in the main database. `slow`: seconds that a post may take."""

    def __init__(
        self,
        kit: Kit,
        intake: Intake | None = None,
        sources: Mapping[str, Source] = SOURCES,
        confirm: Confirm | None = None,
        *,
        slow: float = SLOW,
    ) -> None:
        self._kit = kit
        self._door = Door(kit)
        self._intake = intake
        self._sources = sources
        self._confirm = confirm
        self._slow = slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A request and a response of the framework would take as long as all that is done here.
        status, told = await self._answer(scope, receive)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(told))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": told})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        try:
            return 200, await self._take(scope, receive)
        except Refused as refused:
            said = refused.said
        except UsageError as error:
            said = Said(400, str(error))
        except Overloaded:
            said = BUSY
        return said.status, _json({"ok": False, "error": said.text})

    async def _take(self, scope: Scope, receive: Receive) -> bytes:
        _, _, name, token = scope["path"].split("/")
        method = scope["method"]
        if name == heartbeat.NAME:
            return await self._beat(token)
        source = self._sources.get(name)
        customer = await self._door.customer(name, token) if source else None
        # One answer to every wrong address: it does not tell which part of it is wrong.
        if source is None or customer is None:
            raise Refused(UNKNOWN)
        if method in READ:
            hint = f"{source.title}：请用 POST 把告警发到这个地址 / POST alerts here"
            return _json({"ok": True, "hint": hint})
        if method != "POST":
            raise Refused(NOT_POSTED)
        body = await _body(receive, self._slow)
        if name == vigilops.NAME:
            new = await _keep(self._kit, customer, name, vigilops.decode(body))
            return _json({"ok": True, "new": new})
        return await self._accept(customer, source, body)

    async def _accept(self, customer: int, source: Source, body: bytes) -> bytes:
        now = self._kit.clock.now()
        if await _read(source, body, now):
            if self._intake is None:
                raise Overloaded("there is no intake")
            await self._intake.accept(customer, source.name, body, now)
        elif self._confirm and (asked := source.handshake(body)):
            self._confirm(asked)
        return KEPT

    async def _beat(self, token: str) -> bytes:
        """Whatever is sent, by whatever method: cron jobs call us with what they have."""
        if not await heartbeats.beat(self._kit, self._intake, Secret(token)):
            raise Refused(UNKNOWN)
        return KEPT


async def _read(source: Source, body: bytes, now: datetime) -> bool:
    """Are there alerts in it? What they are is for the fold, which reads them again."""
    if len(body) > LONG:
        return bool(await asyncio.to_thread(source.decode, body, now))
    return source.plain(body) or bool(source.decode(body, now))


async def _schema(request: Request) -> Response:
    return Response(_json(SCHEMA), media_type="application/json")


async def _keep(kit: Kit, customer: int, source: str, notice: vigilops.Notice) -> bool:
    now = kit.clock.now()
    alert = SeenAlert(
        customer,
        source,
        notice.key,
        now,
        now,
        str(notice.kind),
        notice.title,
        notice.message,
        notice.host,
        notice.severity,
        notice.status,
        notice.figure,
        notice.threshold,
        notice.fired_at,
    )
    heard = _heard(notice, now)
    async with kit.store.unit() as unit:
        new = await unit.hooks.accept(alert)
        if new and heard:
            await watch.hear(customer, heard, kit.house, unit)
    return new


def _heard(notice: vigilops.Notice, now: datetime) -> Heard | None:
    """Return what a notice says of an alert; None when it is about none."""
    if not notice.number or notice.fired_at is None:
        return None
    return Heard(
        Kind.RECOVERED if notice.kind is vigilops.Kind.RECOVERY else Kind.FIRING,
        episode_of(notice.number, notice.fired_at),
        notice.fired_at,
        now,
        notice.title,
        notice.message,
        notice.severity,
    )


async def _body(receive: Receive, slow: float) -> bytes:
    """Read what was posted, and no more of it than is allowed, whatever its length claims."""
    read: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(slow):
            while more:
                part = await receive()
                if part["type"] == "http.disconnect":
                    raise Refused(CUT_OFF)
                read.append(part.get("body", b""))
                size += len(read[-1])
                more = part.get("more_body", False)
                if size > MOST:
                    raise Refused(TOO_LARGE)
    except TimeoutError:
        raise Refused(TOO_SLOW) from None
    return b"".join(read)


def _json(told: object) -> bytes:
    return msgspec.json.encode(told)

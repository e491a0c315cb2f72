"""Where the monitors' webhooks come in: kept before they are answered, and answered at once.

Senders wait for the answer inside their alert engines, so nothing is done here but to look whether
it can be read, and to keep it. A 503 says "try again"; never a 429, which Alertmanager drops
(`facts/alert-storms.md`, section 3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import structlog
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from adapters.card import Tone, say
from adapters.port import UsageError
from adapters.sources import SOURCES, Source, heartbeat, reading, vigilops
from adapters.words import Secret
from bot.web.hook_schema import SCHEMA
from runbooks.alerting import heartbeats, subscribing, watch
from runbooks.alerting.hold import Heard, Kind, episode_of
from runbooks.alerting.oncall import ladder
from runbooks.kit import Kit
from storage.hooks import SeenAlert, hash_of
from storage.intake import Intake, Overloaded
from storage.store import DatabaseError

MOST = reading.LARGEST
"""Bytes of one post."""

LONG = 256 * 1024
"""Bytes from which a post is read on another thread: others shall not wait for it."""

SLOW = 15.0
"""Seconds that a post may take to come in."""

REMEMBERED = timedelta(seconds=2)
"""How long a token is let in without a look. One that is shut is out at once in this process, and so
much later, at most, in another replica's."""

SETTLE = timedelta(hours=1)
"""An exchanged token goes on so long after the first use of the new one: its monitor may be several,
and they are not changed in one instant."""

PARTS = 3
"""Slashes of a hook's path."""

READ = frozenset({"GET", "HEAD"})

log = structlog.get_logger()


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
TOO_SLOW = Said(503, "内容太久没有发完，请重试 / it took too long to come in, try again")
NOT_POSTED = Said(405, "请用 POST 发送 / POST it")
BUSY = Said(503, "暂时存不下，请重试 / cannot be kept just now, try again")
KEPT = b'{"ok":true}'
ILL = "内容无法识别，原因在给发送方的 400 应答里 / it cannot be read, our answer says why"


def router(hook: Hook) -> APIRouter:
    """Return the routes of the hooks, and of what tells about them."""
    routes = APIRouter()
    routes.routes.append(Route("/hooks/openapi.json", _schema))
    routes.routes.append(Route("/hooks/{source}/{token}", hook))
    return routes


class Site(FastAPI):
    """An application that lets posts to the hooks in before it looks for anything: its middleware and
    its routes would take longer than all that is done with a post."""

    def __init__(self, hook: Hook, **settings: Any) -> None:
        super().__init__(**settings)
        self._hook = hook

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        posted = scope["type"] == "http" and scope["method"] == "POST"
        if posted and scope["path"].startswith("/hooks/") and scope["path"].count("/") == PARTS:
            await self._hook(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """Whose a token is, until when that is believed, and of which count of shut tokens."""

    customer: int
    until: datetime
    shut: int


Key = tuple[str, str]
"""A source's name and a token's hash."""


class Door:
    """Knows whose a token is, and remembers it for a moment. Wrong ones are never remembered."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._known: dict[tuple[str, str], _Remembered] = {}
        self._in_use: set[tuple[str, str]] = set()

    async def customer(self, key: Key, token: str) -> int | None:
        """Return whose hook it is; None for a wrong one."""
        now = self._kit.clock.now()
        known = self._known.get(key)
        # Read before the look: what is shut meanwhile is not remembered as open.
        shut = self._kit.store.shut
        if known and known.until > now and known.shut == shut:
            return known.customer
        async with self._kit.store.view() as unit:
            found = await unit.hooks.find(key[0], Secret(token), now)
        if found is None:
            self._known.pop(key, None)
            return None
        until = now + REMEMBERED
        until = min(until, found.ends_at) if found.ends_at else until
        self._known[key] = _Remembered(found.customer, until, shut)
        return found.customer

    async def used(self, key: Key, token: str) -> None:
        """Note the first use of a token that was given in exchange for another one."""
        if key in self._in_use:
            return
        now = self._kit.clock.now()
        async with self._kit.store.view() as unit:
            found = await unit.hooks.find(key[0], Secret(token), now)
            fresh = found and found.used_at is None and await unit.hooks.replaces(found)
        if found and fresh:
            async with self._kit.store.unit() as unit:
                await unit.hooks.used(found, now, now + SETTLE)
        self._in_use.add(key)


class Hook:
    """One address for all sources; an ASGI application. Without an intake there is VigilOps' own path
    alone, which keeps what comes in the main database. `slow`: seconds that a post may take."""

    def __init__(
        self,
        kit: Kit,
        intake: Intake | None = None,
        sources: Mapping[str, Source] = SOURCES,
        *,
        slow: float = SLOW,
    ) -> None:
        self._kit = kit
        self._door = Door(kit)
        self._intake = intake
        self._sources = sources
        self._slow = slow
        self._told: dict[tuple[int, str], str] = {}

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
        except DatabaseError:
            # Anything but a 503 tells some senders that it is their post, and they drop it.
            log.exception("hook not answered")
            said = BUSY
        return said.status, _json({"ok": False, "error": said.text})

    async def _take(self, scope: Scope, receive: Receive) -> bytes:
        _, _, name, token = scope["path"].split("/")
        method = scope["method"]
        if name == heartbeat.NAME:
            return await self._beat(token)
        source = self._sources.get(name)
        key = (name, hash_of(Secret(token)))
        customer = await self._door.customer(key, token) if source else None
        # One answer to every wrong address: it does not tell which part of it is wrong.
        if source is None or customer is None:
            raise Refused(UNKNOWN)
        if method in READ:
            hint = f"{source.title}：请用 POST 把告警发到这个地址 / POST alerts here"
            return _json({"ok": True, "hint": hint})
        try:
            _posted(method)
            body = await _body(receive, self._slow)
            if name == vigilops.NAME:
                new = await _keep(self._kit, customer, name, vigilops.decode(body))
                return _json({"ok": True, "new": new})
            kept = await self._accept(customer, source, body)
        except Refused as refused:
            if refused.said != CUT_OFF:  # it had no answer, and comes again
                await self._tell(customer, source, refused.said.text)
            raise
        except UsageError:
            # Not its own words: they may repeat what was posted, and a card and a log keep it.
            await self._tell(customer, source, ILL)
            raise
        await self._door.used(key, token)
        return kept

    async def _tell(self, customer: int, source: Source, why: str) -> None:
        """Tell operations that a post of a known customer was not taken, once an hour for a source:
        else its sender alone would know, and senders do not try such a post again."""
        now = self._kit.clock.now()
        log.warning("post refused", customer=customer, source=source.name, reason=why)
        key = f"refused:{customer}:{source.name}:{now:%Y%m%d%H}"
        if self._told.get((customer, source.name)) == key:
            return
        async with self._kit.store.unit() as unit:
            whose = await unit.customers.get(customer)
            card = say(
                "有告警推送没有收下",
                f"{whose.name if whose else customer}：来源{source.title}：{why}",
                "这次推送里的告警不会出现在群里，请检查发送方（相同来源一小时只提醒一次）",
                tone=Tone.BAD,
            )
            await ladder.alarm(key, card, now, unit)
        self._told[customer, source.name] = key

    async def _accept(self, customer: int, source: Source, body: bytes) -> bytes:
        now = self._kit.clock.now()
        if await _read(source, body, now):
            if self._intake is None:
                raise Overloaded("there is no intake")
            await self._intake.accept(customer, source.name, body, now)
        elif asked := source.handshake(body):
            # It is answered later: that goes out to another server.
            async with self._kit.store.unit() as unit:
                if not await subscribing.keep(customer, source.name, asked, body, now, unit):
                    raise Overloaded("too many questions wait")
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


def _posted(method: str) -> None:
    """Refuse what comes by another method: Grafana can be set to PUT, and drops what is refused."""
    if method != "POST":
        raise Refused(NOT_POSTED)


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

"""Where the monitors' webhooks come in: kept before they are answered, and answered at once.

VigilOps waits for the answer inside its alert engine, so nothing is done here but to keep it, with
when its group is to be told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from adapters.port import UsageError
from adapters.sources import vigilops
from adapters.words import Secret
from runbooks.alerting import watch
from runbooks.alerting.hold import Heard, Kind, episode_of
from runbooks.kit import Kit
from storage.hooks import SeenAlert

MOST = 1_000_000
"""Bytes of one notice; VigilOps sends under 2,000."""

SOURCES: Mapping[str, Callable[[bytes], vigilops.Notice]] = {"vigilops": vigilops.decode}


class Said(NamedTuple):
    """What a sender is answered."""

    status: int
    text: str


UNKNOWN = Said(404, "没有这个地址 / no such hook")
TOO_LARGE = Said(413, "内容超过 1 MB / larger than 1 MB")
CUT_OFF = Said(400, "内容不完整 / incomplete")


def router(kit: Kit) -> APIRouter:
    """Return the routes of the hooks over a kit's store and clock."""
    routes = APIRouter()

    @routes.post("/hooks/{source}/{token}")
    async def hook(source: str, token: str, request: Request) -> JSONResponse:
        decode = SOURCES.get(source)
        async with kit.store.view() as unit:
            customer = await unit.hooks.customer_of(source, Secret(token))
        # One answer to every wrong address: it does not tell which part of it is wrong.
        if decode is None or customer is None:
            return _answer(UNKNOWN)
        body = await _body(request)
        if isinstance(body, Said):
            return _answer(body)
        try:
            notice = decode(body)
        except UsageError as error:
            return _answer(Said(400, str(error)))
        new = await _keep(kit, customer, source, notice)
        return JSONResponse({"ok": True, "new": new})

    return routes


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
            await watch.hear(customer, heard, kit.house.zone, unit)
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


async def _body(request: Request) -> bytes | Said:
    """Read what was posted, and no more of it than is allowed, whatever its length claims."""
    read = bytearray()
    try:
        async for chunk in request.stream():
            read += chunk
            if len(read) > MOST:
                return TOO_LARGE
    except ClientDisconnect:
        return CUT_OFF
    return bytes(read)


def _answer(said: Said) -> JSONResponse:
    return JSONResponse({"ok": False, "error": said.text}, said.status)

"""Where a chat platform calls us, instead of a connection that we hold to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from adapters.port import Permanent, Transient
from runbooks.kit import Kit

MOST = 2_000_000
"""Bytes of one callback: a form of a card holds at most a few 100 kB."""

FORBIDDEN, UNKNOWN, TOO_LARGE, CUT_OFF = 403, 404, 413, 400
UNAVAILABLE = 503


@runtime_checkable
class CalledBack(Protocol):
    """A platform that may be called by HTTP; header names in lower case. Raises Permanent when it
    is none of the platform's calls, or when it is not configured so."""

    async def callback(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, Any] | None]: ...


def router(kit: Kit) -> APIRouter:
    """Return the routes of the platforms' callbacks."""
    routes = APIRouter()

    @routes.post("/callbacks/{name}")
    async def called(name: str, request: Request) -> Response:
        platform = kit.chats.get(name)
        if not isinstance(platform, CalledBack):
            return JSONResponse({}, UNKNOWN)
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST:
                    return JSONResponse({}, TOO_LARGE)
        except ClientDisconnect:
            return JSONResponse({}, CUT_OFF)
        try:
            status, answer = await platform.callback(dict(request.headers), bytes(body))
        except Permanent:  # why is not told: it may be somebody who tries
            return JSONResponse({}, FORBIDDEN)
        except Transient:
            return JSONResponse({}, UNAVAILABLE)
        # Slack takes an empty body for "fine", and would read {} as something to show.
        return (
            Response(status_code=status) if answer is None else JSONResponse(dict(answer), status)
        )

    return routes

"""Where a platform calls us under a seal of its own: the query proves it, and a GET asks for proof
that we hold the key (WeCom's self-built app)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from adapters.port import OutsideError
from runbooks.kit import Kit

MOST = 200_000
"""Bytes of one call; a text message has at most 2,048."""
UNKNOWN, TOO_LARGE, UNAVAILABLE = 404, 413, 503


@runtime_checkable
class Sealed(Protocol):
    """A platform that opens its own calls and answers at once: (status, text)."""

    async def sealed_call(self, query: Mapping[str, str], body: bytes) -> tuple[int, str]: ...


def router(kit: Kit) -> APIRouter:
    """Return the route: /callbacks/wecom/app."""
    routes = APIRouter()

    @routes.api_route("/callbacks/{name}/app", methods=["GET", "POST"])
    async def called(name: str, request: Request) -> Response:
        platform = kit.chats.get(name)
        if not isinstance(platform, Sealed):
            return Response(status_code=UNKNOWN)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST:
                return Response(status_code=TOO_LARGE)
        try:
            status, text = await platform.sealed_call(dict(request.query_params), bytes(body))
        except OutsideError:  # it could not be kept: told again, as for any status but 200
            return Response(status_code=UNAVAILABLE)
        return PlainTextResponse(text, status)

    return routes

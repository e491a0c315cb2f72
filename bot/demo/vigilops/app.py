"""The application and its server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import cache
from typing import Any, cast

import uvicorn
from fastapi import FastAPI, HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from bot.demo.vigilops import alarms, people, watching
from bot.demo.vigilops.traps import Down
from bot.demo.vigilops.wire import (
    WORLD,
    Broken,
    TooMany,
    say_broken,
    say_http_error,
    say_too_many,
)
from bot.demo.vigilops.world import World

Lines = dict[tuple[str, int], asyncio.Transport]
LINES = "vigilops.lines"
"""Where a request carries the connections of its world."""


class Gate:
    """Stands before every route: traps, and saving before the answer leaves."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        world: World = scope[WORLD]
        traps = world.traps
        request = f"{scope['method']} {scope['path']}"
        if traps.is_down(world.now()):
            if traps.down_as is Down.RESET:
                await self._cut(scope, receive)
                return
            await PlainTextResponse("503 Service Temporarily Unavailable", 503)(
                scope, receive, send
            )
            return
        if traps.take(traps.cut, request):
            await self._cut(scope, receive)
            return
        cut = traps.take(traps.cut_applied, request)
        broken = not cut and traps.take(traps.applied_500, request)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._done(world, scope["method"], request)
            if not cut and not broken:
                await send(message)

        await self.app(scope, receive, answer)
        if cut:
            await self._cut(scope, receive)
        elif broken:
            raise Broken

    def _done(self, world: World, method: str, request: str) -> None:
        if method != "GET":
            world.save()
        world.traps.go_on(request)

    async def _cut(self, scope: Scope, receive: Receive) -> None:
        lines: Lines = scope[LINES]
        line = lines.get(tuple(scope["client"] or ("", 0)))
        if line is None:
            raise ConnectionResetError  # not behind `serve`
        line.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


def create_app(world: World, lines: Lines | None = None) -> ASGIApp:
    """Build the monitor over a world; `lines` are its connections, which can then be cut."""
    there = {WORLD: world, LINES: {} if lines is None else lines}

    async def monitor(scope: Scope, receive: Receive, send: Send) -> None:
        await _program()({**scope, **there}, receive, send)

    return monitor


@cache
def _program() -> FastAPI:
    """Return what all worlds have in common: putting it together takes longer than most answers."""
    app = FastAPI(title="VigilOps stand-in", version="2026.03.14-beta.1")
    app.add_middleware(Gate)
    app.add_exception_handler(HTTPException, say_http_error)
    app.add_exception_handler(TooMany, say_too_many)
    app.add_exception_handler(Exception, say_broken)
    app.include_router(watching.open_router)
    for module in (people, watching, alarms):
        app.include_router(module.router, prefix="/api/v1")
    return app


def _protocol(lines: Lines) -> type[asyncio.Protocol]:
    class Line(H11Protocol):
        """A connection that can be cut in the middle of a request."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._peer = cast("tuple[Any, ...]", transport.get_extra_info("peername"))[:2]
            lines[self._peer] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            lines.pop(self._peer, None)
            super().connection_lost(exc)

    return Line


@contextlib.asynccontextmanager
async def serve(world: World, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve a world until left, and give its base URL; port 0 takes a free one."""
    lines: Lines = {}
    config = uvicorn.Config(
        create_app(world, lines),
        http=_protocol(lines),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        bound = listening.getsockname()[1]
        await server.startup(sockets=[listening])
        shown = f"[{host}]" if ":" in host else host
        ticking = asyncio.create_task(server.main_loop())
        try:
            yield f"http://{shown}:{bound}"
        finally:
            server.should_exit = True
            await ticking
            await server.shutdown(sockets=[listening])
            world.save()

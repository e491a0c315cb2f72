"""What the sandbox's docker only pretends: a project that is up really answers on its port."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Self

from bot.demo.hosts import Host
from bot.demo.vigilops import World, serve

PROJECT = re.compile(
    r"docker compose -p (?P<name>\S+) -f (?P<directory>\S+)/compose\.yml (?P<verb>up|down|exec)\b"
)
BACKEND = re.compile(r"^BACKEND_PORT=(\d+)$", re.MULTILINE)


class Containers:
    """Serves one world for each project that was started on the hosts; enter it to begin.

    A world is kept in its project's directory, so that it is the same after a restart.
    """

    def __init__(
        self,
        hosts: Iterable[Host],
        *,
        every: float = 5.0,
        make: Callable[[Path], World] = lambda path: World(path=path),
        psql: Callable[[World], Awaitable[None]] | None = None,
    ) -> None:
        """`psql` does to a world what a statement did that was sent to its database."""
        self._hosts = tuple(hosts)
        self._every = every
        self._make = make
        self._psql = psql
        self._read: dict[str, int] = {}
        self._wanted: dict[str, Path] = {}
        self._served: dict[str, AsyncExitStack] = {}
        self._turn = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None
        self.worlds: dict[str, World] = {}
        """By the project's name."""

    async def __aenter__(self) -> Self:
        await self.look()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._ticking is not None
        self._ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticking
        for name in list(self._served):
            await self._down(name)

    def outlast(self, leap: timedelta) -> None:
        """Take every world along to where the clock has just leapt to."""
        for world in self.worlds.values():
            world.outlast(leap)

    async def look(self) -> None:
        """Read what docker was told since the last look, and do it."""
        async with self._turn:
            for host in self._hosts:
                calls = host.docker_calls
                start = self._read.get(host.spec.name, 0)
                self._read[host.spec.name] = len(calls)
                for call in calls[start:]:
                    await self._obey(call)
            for name, directory in self._wanted.items():
                await self._serve(name, directory)

    async def _obey(self, call: str) -> None:
        match = PROJECT.match(call)
        if match is None:
            return
        name = match["name"]
        if match["verb"] == "up":
            self._wanted[name] = Path(match["directory"])
        elif match["verb"] == "down":
            self._wanted.pop(name, None)
            await self._down(name)
        elif " psql " in call and self._psql and name in self.worlds:
            await self._psql(self.worlds[name])

    async def _serve(self, name: str, directory: Path) -> None:
        """Serve a project that was started; its port may be another program's for a while."""
        if name in self.worlds or not (directory / ".env").exists():
            return
        found = BACKEND.search((directory / ".env").read_text("utf-8"))
        assert found is not None
        world = self._make(directory / "world.json")
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(serve(world, port=int(found[1])))
        except OSError:
            return  # its port is taken: looked at again, as docker restarts a container
        self.worlds[name], self._served[name] = world, stack

    async def _down(self, name: str) -> None:
        self.worlds.pop(name, None)
        if stack := self._served.pop(name, None):
            await stack.aclose()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self.look()
            for world in list(self.worlds.values()):
                await world.evaluate()

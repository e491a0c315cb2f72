"""What a simulator pushes to the bot: in the order in which it happened, unless a test has it otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

Put = Callable[[], Awaitable[None]]


class Outgoing:
    """The way from a platform to the bot. A frame that finds its connection dead is lost here; whether
    it is told again is the platform's own rule."""

    def __init__(self) -> None:
        self.copies = 1
        """How often each frame is delivered."""
        self._held: list[Put] | None = None
        self._more = asyncio.Event()

    async def push(self, put: Put) -> None:
        """Put a frame on the wire, or hold it."""
        if self._held is not None:
            self._held.append(put)
            self._more.set()
            return
        for _ in range(self.copies):
            with suppress(ConnectionError):
                await put()

    def hold(self) -> None:
        """Keep back what is pushed from now on."""
        self._held = []

    async def held(self, count: int) -> None:
        """Wait until so many frames are kept back."""
        async with asyncio.timeout(10):
            while self._held is not None and len(self._held) < count:
                self._more.clear()
                await self._more.wait()

    async def release(self) -> None:
        """Put what was kept back on the wire, the newest first."""
        held, self._held = self._held or [], None
        for put in reversed(held):
            await self.push(put)

"""What the demo's own monitors and people will do, and when: kept in order, by whoever has the time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import count

from adapters.port import Clock

Deed = Callable[[], Awaitable[None]]


class Agenda:
    """Appointments. Each is kept once, in the order of their instants."""

    def __init__(self) -> None:
        self._there: list[tuple[datetime, int, Deed]] = []
        self._order = count()
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()

    def add(self, at: datetime, deed: Deed) -> None:
        """Have something done at an instant; of one instant in the order in which they were added."""
        heapq.heappush(self._there, (at, next(self._order), deed))
        self._news.set()

    def next(self) -> datetime | None:
        """Return when the next one is; None when there is none."""
        return self._there[0][0] if self._there else None

    async def keep(self, now: datetime) -> int:
        """Do what is due, and return how many that were."""
        done = 0
        async with self._turn:
            while self._there and self._there[0][0] <= now:
                _, _, deed = heapq.heappop(self._there)
                await deed()
                done += 1
        return done

    async def run(self, clock: Clock) -> None:
        """Keep every appointment in its time, for ever."""
        while True:
            self._news.clear()
            at = self.next()
            if at is None:
                await self._news.wait()
                continue
            await _first(clock.sleep((at - clock.now()).total_seconds()), self._news.wait())
            await self.keep(clock.now())


async def _first(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

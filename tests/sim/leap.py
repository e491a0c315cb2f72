"""A loop whose time leaps: where nothing is left to do and nothing comes in, the next timer is due at
once. Hours of time-outs, pings and pauses pass in moments, with the figures that production has.

Only for what is wholly in one loop, far side included: the work of a thread is not waited for.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

QUIET = 0.002
"""Real seconds in which what is under way between two sockets of this machine has arrived."""
START = datetime(2026, 11, 25, 3, tzinfo=UTC)

T = TypeVar("T")


class _Patient(selectors.DefaultSelector):
    """Waits a moment at most, and leaps over the rest of what it was asked to wait."""

    leapt = 0.0
    waited_until = 0.0

    def select(self, timeout: float | None = None) -> Any:
        wait = timeout or 0.0
        ready = super().select(min(wait, QUIET) if wait > 0 else timeout)
        if wait > 0 and not ready:
            self.leapt += wait
        self.waited_until = time.monotonic()
        return ready


class Leaping(asyncio.SelectorEventLoop):
    """The loop; `time` is what passed in it."""

    def __init__(self) -> None:
        self._patient = _Patient()
        super().__init__(self._patient)
        self.longest = 0.0
        """Real seconds of its longest turn: for so long nobody else was heard."""

    def time(self) -> float:
        return time.monotonic() + self._patient.leapt

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc] # private, and the one place where a turn is whole
        self.longest = max(self.longest, time.monotonic() - self._patient.waited_until)


class LoopClock:
    """The clock of such a loop."""

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def leaping(story: Coroutine[Any, Any, T]) -> T:
    """Run a story in such a loop."""
    with asyncio.Runner(loop_factory=Leaping) as runner:
        return runner.run(story)

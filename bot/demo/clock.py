"""The demo's clock: the machine's time and a lead that only grows, so that a newcomer need not wait.

The lead is kept in the demo's directory before anybody sees the new time: started again after a
kill, the demo never falls behind what it has already written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path


def system_now() -> datetime:
    return datetime.now(tz=UTC)


class DemoClock:
    """A `Clock` that can be put forward, and held while what is due at that instant is done."""

    def __init__(self, path: Path, system: Callable[[], datetime] = system_now) -> None:
        """`path` is the file that keeps the lead; `system` is the machine's time."""
        self._path = path
        self._system = system
        self._lead = _kept(path)
        self._held: datetime | None = None
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return self._held or self._system() + self._lead

    @property
    def lead(self) -> timedelta:
        """How far it is ahead of the machine."""
        return self.now() - self._system()

    async def sleep(self, seconds: float) -> None:
        """Wait until this clock says so: it may be put forward meanwhile."""
        due = self.now() + timedelta(seconds=seconds)
        while (left := (due - self.now()).total_seconds()) > 0:
            moved = self._moved
            try:
                # One that is held goes on by being moved alone.
                async with asyncio.timeout(None if self._held else left):
                    await moved.wait()
            except TimeoutError:
                continue

    def hold(self, at: datetime) -> None:
        """Stand at an instant until moved or released; one that has passed is the present one."""
        at = max(at, self.now())
        self._keep(max(self._lead, at - self._system()))
        self._held = at
        self._move()

    def release(self) -> None:
        """Go on from where it stands; it never goes back to make up for the time that it stood."""
        if self._held is None:
            return
        self._keep(max(self._lead, self._held - self._system()))
        self._held = None
        self._move()

    def _move(self) -> None:
        before, self._moved = self._moved, asyncio.Event()
        before.set()

    def _keep(self, lead: timedelta) -> None:
        if lead == self._lead:
            return
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(f"{lead // timedelta(microseconds=1)}\n", encoding="utf-8")
        new.replace(self._path)
        self._lead = lead


def _kept(path: Path) -> timedelta:
    if not path.exists():
        return timedelta()
    return timedelta(microseconds=int(path.read_text(encoding="utf-8")))

"""What one of several replicas alone may do, and what they tell each other of a platform.

Both speak through the database, which may be slow or away. That never keeps who asks: a lease that
cannot be asked for counts for as long as it was granted, and a row that cannot be had is `Transient`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.port import Clock, Transient
from adapters.words import Chat
from storage.store import Store, Unit

TERM = timedelta(seconds=90)
"""For how long a lease is granted: whoever dies holds it no longer than this."""
AHEAD = timedelta(seconds=45)
"""What must be left of a lease whose renewal failed, for it to count until it is asked again: the 30
seconds between two asks, and the 5 that a ping and an ask may take each."""
SPOKEN = timedelta(seconds=60)
"""What must be left of a chat's turn when something is sent there: it may take that long."""
WITHIN = 5.0
"""Seconds in which the database must answer; who waits for it has pings to send."""

_log = structlog.get_logger(__name__)


class Lease:
    """The lease of one thing, for a holder that renews it every 30 seconds.

    The clocks of the replicas must agree to some seconds.
    """

    def __init__(
        self, store: Store, name: str, holder: str, clock: Clock, *, within: float = WITHIN
    ) -> None:
        self._store = store
        self._within = within
        self._name = name
        self._holder = holder
        self._clock = clock
        self._until: datetime | None = None
        self._asking: asyncio.Task[None] | None = None
        self._other = ""

    async def take(self) -> bool:
        """Hold it for a `TERM`, anew or still; False while another does, and once when another did
        since we were last told that it is ours. Raises nothing, and answers in time: without the
        database it is ours only as long as it surely was granted."""
        if self._asking is None or self._ended(self._asking):
            self._asking = asyncio.create_task(self._ask(), name=f"lease:{self._name}")
        # Not cancelled when it is late: its answer counts the next time.
        await asyncio.wait({self._asking}, timeout=self._within)
        if not self._ended(self._asking):
            _log.warning("lease_not_answered", lease=self._name, seconds=self._within)
        return self._until is not None and self._until - self._clock.now() > AHEAD

    async def give_up(self) -> None:
        """Let another have it at once. Raises nothing: it ends by itself."""
        if self._asking:
            await asyncio.wait({self._asking}, timeout=self._within)
            self._asking.cancel()
        self._until = None
        try:
            async with asyncio.timeout(self._within), self._store.unit() as unit:
                await unit.leases.give_up(self._name, self._holder)
        except (SQLAlchemyError, OSError) as problem:
            _log.warning("lease_not_given_up", lease=self._name, problem=type(problem).__name__)

    def _ended(self, asking: asyncio.Task[None]) -> bool:
        """Has it been answered? What nobody foresaw is raised here: it is no matter of the database."""
        if not asking.done():
            return False
        asking.result()
        return True

    async def _ask(self) -> None:
        try:
            now = self._clock.now()
            async with self._store.view() as unit:
                other, until = await unit.leases.last(self._name) or ("", now)
            if other != self._holder and (self._until or until > now):
                # Held elsewhere, or it was so meanwhile, while we slept: that is said once.
                self._lost(other)
                return
            async with self._store.unit() as unit:
                mine = await unit.leases.take(self._name, self._holder, now, now + TERM)
        except (SQLAlchemyError, OSError) as problem:
            _log.warning("lease_not_asked", lease=self._name, problem=type(problem).__name__)
            return
        if not mine:
            self._lost("")
            return
        if self._until is None:
            _log.info("lease_taken", lease=self._name, holder=self._holder)
        self._until, self._other = now + TERM, ""

    def _lost(self, other: str) -> None:
        if self._until or other != self._other:
            _log.warning("lease_held_elsewhere", lease=self._name, holder=other)
        self._until, self._other = None, other


class Turns:
    """Which replica speaks in a chat: one at a time, and for a `TERM` after it did so last.

    Entering it is nothing; leaving it lets another have every chat at once.
    """

    def __init__(self, store: Store, holder: str, clock: Clock) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._until: dict[Chat, datetime] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for chat in tuple(self._until):
            try:
                async with asyncio.timeout(WITHIN):
                    await self.give_up(chat)
            except (SQLAlchemyError, OSError) as problem:
                _log.warning("turn_not_given_up", problem=type(problem).__name__)

    async def take(self, chat: Chat) -> bool:
        """May we speak there for the next `SPOKEN`? Raises what the database raises."""
        now = self._clock.now()
        if self._until.get(chat, now) - now >= SPOKEN:
            return True
        async with self._store.view() as unit:
            other, until = await unit.leases.last(_turn(chat)) or ("", now)
        if other != self._holder and until > now:
            return False
        async with self._store.unit() as unit:
            mine = await unit.leases.take(_turn(chat), self._holder, now, now + TERM)
        self._until = {each: until for each, until in self._until.items() if until > now}
        if mine:
            self._until[chat] = now + TERM
        return mine

    async def give_up(self, chat: Chat) -> None:
        """Let another try there."""
        if self._until.pop(chat, None):
            async with self._store.unit() as unit:
                await unit.leases.give_up(_turn(chat), self._holder)


def _turn(chat: Chat) -> str:
    return f"turn:{chat.platform}:{chat.id}"


class Shared:
    """Rows of one platform that every replica sees; raises Transient when they cannot be had."""

    def __init__(self, store: Store, platform: str) -> None:
        self._store = store
        self._platform = platform

    async def get(self, kind: str, name: str) -> tuple[str, datetime] | None:
        """Return (body, when it was written)."""
        async with _in_time(), self._store.view() as unit:
            return await unit.platforms.get(self._platform, kind, name)

    async def keep(self, kind: str, name: str, body: str, now: datetime) -> None:
        """Write a row."""

        async def keep(unit: Unit) -> None:
            await unit.platforms.keep(self._platform, kind, name, body, now)

        async with _in_time():
            await self._store.write(keep)

    async def drop(self, kind: str, name: str) -> None:

        async def drop(unit: Unit) -> None:
            await unit.platforms.drop(self._platform, kind, name)

        async with _in_time():
            await self._store.write(drop)

    async def forget(self, ages: Mapping[str, timedelta], now: datetime) -> None:
        """Drop what is older than its kind may become."""
        async with _in_time(), self._store.unit() as unit:
            for kind, age in ages.items():
                await unit.platforms.forget(self._platform, kind, now - age)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WITHIN):
            yield
    except (SQLAlchemyError, OSError) as problem:
        raise Transient("数据库没有回答，稍后再试") from problem

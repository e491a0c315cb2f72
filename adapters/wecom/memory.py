"""What the link must remember itself, in one SQLite file for its owner alone.

WeCom has no idempotency key, gives a message no id that could be looked up, and tells of a press
once only. So a deed is written down before it is begun and again when it is done, a press waits here
until the reader of `events` asks for the next, and who has spoken to the bot is never forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from adapters.memory import BEGUN, DAY, DROP, KEEP, Rows

__all__ = ["BEGUN", "Kept", "Memory", "Shared"]


class Memory(Rows):
    """WeCom's rows. Chats, and events that wait, are never forgotten."""

    title = "企业微信"
    forget = {  # noqa: RUF012 - a constant
        "deed": timedelta(days=30),
        "card": timedelta(days=90),
        "form": timedelta(hours=1),
    }

    def get(self, kind: str, name: str) -> tuple[str, datetime] | None:
        """Return (body, when it was written)."""
        return self._dated(kind, name)

    def keep(self, kind: str, name: str, body: str, now: datetime) -> None:
        """Write a row, on the disk itself; Transient when the disk refuses."""
        self.tidy(now)
        self._write(KEEP, (kind, name, body, now.isoformat()))

    def drop(self, kind: str, name: str) -> None:
        """Drop a row, and what it said from every file."""
        self._write(DROP, (kind, name))
        self.wipe()


class Shared(Protocol):
    """Rows that every replica of the bot sees; Transient when they cannot be had."""

    async def get(self, kind: str, name: str) -> tuple[str, datetime] | None: ...

    async def keep(self, kind: str, name: str, body: str, now: datetime) -> None: ...

    async def drop(self, kind: str, name: str) -> None: ...

    async def forget(self, ages: Mapping[str, timedelta], now: datetime) -> None: ...


class Kept:
    """The rows that a replica which takes over must know: who has spoken, which cards can be pressed,
    which forms are open, what was said and what is in doubt. Without replicas they are our own file's.
    """

    def __init__(self, own: Memory, shared: Shared | None) -> None:
        self._own = own
        self._shared = shared
        self._tidied: datetime | None = None

    @property
    def shares(self) -> bool:
        """Are there other replicas to know of it?"""
        return self._shared is not None

    async def get(self, kind: str, name: str) -> tuple[str, datetime] | None:
        """Return (body, when it was written)."""
        found = await self._shared.get(kind, name) if self._shared else None
        # Our own file may be from before there were replicas.
        return found or self._own.get(kind, name)

    async def keep(self, kind: str, name: str, body: str, now: datetime) -> None:
        if self._shared:
            if self._tidied is None or now - self._tidied >= DAY:
                await self.forget(now)
            await self._shared.keep(kind, name, body, now)
        else:
            self._own.keep(kind, name, body, now)

    async def drop(self, kind: str, name: str) -> None:
        if self._shared:
            await self._shared.drop(kind, name)
        self._own.drop(kind, name)

    async def forget(self, now: datetime) -> None:
        """Forget what is too old by now."""
        if self._shared:
            await self._shared.forget(self._own.forget, now)
        self._tidied = now

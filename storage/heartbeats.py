"""Jobs that must be heard of again and again, and by when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Secret
from storage.hooks import hash_of
from storage.records import Heartbeat
from storage.rows import to_record, to_row
from storage.tables import heartbeats


class Heartbeats:
    """One row for each job of a customer's. Its token is kept as SHA-256, as those of hooks are."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, beat: Heartbeat) -> None:
        """Keep a heartbeat, in place of the customer's other of that name: it is the same job, and
        when the silence of that one was told its end is still to come."""
        for before in await self._where(_is(beat.customer, beat.name)):
            missed, last_at = beat.missed or before.missed, beat.last_at or before.last_at
            beat = replace(beat, missed=missed, last_at=last_at)
        await self._db.execute(sa.delete(heartbeats).where(_is(beat.customer, beat.name)))
        await self._db.execute(sa.insert(heartbeats).values(to_row(beat)))

    async def retire(self, customer: int, name: str) -> bool:
        """Wait for a job no more, and hear it no more; False when there is none of that name. One
        whose silence was told is among the `retired` until somebody has told its end."""
        there = _is(customer, name) & ~heartbeats.c.retired
        kept = await self._db.execute(
            sa.update(heartbeats).where(there & heartbeats.c.missed).values(retired=True)
        )
        if kept.rowcount:
            return True
        gone = await self._db.execute(sa.delete(heartbeats).where(there))
        return bool(gone.rowcount)

    async def retired(self) -> Sequence[Heartbeat]:
        """Return those that nobody waits for, and whose silence is not told to be over yet."""
        return await self._where(heartbeats.c.retired)

    async def drop(self, retired: Heartbeat) -> None:
        """Forget a retired one, unless it is waited for again."""
        where = _is(retired.customer, retired.name) & heartbeats.c.retired
        await self._db.execute(sa.delete(heartbeats).where(where))

    async def by(self, token: Secret) -> Heartbeat | None:
        """Return whose token it is; None when it is nobody's."""
        where = (heartbeats.c.token_hash == hash_of(token)) & ~heartbeats.c.retired
        found = await self._where(where)
        return found[0] if found else None

    async def of(self, customer: int) -> Sequence[Heartbeat]:
        """Return a customer's, by name."""
        return await self._where((heartbeats.c.customer == customer) & ~heartbeats.c.retired)

    async def due(self, now: datetime) -> Sequence[Heartbeat]:
        """Return those that were not heard of in time, and of which that was not told."""
        return await self._where((heartbeats.c.due <= now) & _waited_for())

    async def waited_for(self) -> Sequence[Heartbeat]:
        """Return everybody's whose silence would be news."""
        return await self._where(_waited_for())

    async def move(self, before: Heartbeat, after: Heartbeat) -> bool:
        """Put one state in the place of another; False when it is not that one any more."""
        where = _is(before.customer, before.name) & ~heartbeats.c.retired
        where &= (heartbeats.c.due == before.due) & (heartbeats.c.missed == before.missed)
        changed = await self._db.execute(sa.update(heartbeats).where(where).values(to_row(after)))
        return bool(changed.rowcount)

    async def _where(self, where: sa.ColumnElement[bool]) -> list[Heartbeat]:
        order = (heartbeats.c.customer, heartbeats.c.name)
        rows = await self._db.execute(sa.select(heartbeats).where(where).order_by(*order))
        return [to_record(Heartbeat, row) for row in rows.mappings()]


def _is(customer: int, name: str) -> sa.ColumnElement[bool]:
    return (heartbeats.c.customer == customer) & (heartbeats.c.name == name)


def _waited_for() -> sa.ColumnElement[bool]:
    return ~heartbeats.c.missed & ~heartbeats.c.retired

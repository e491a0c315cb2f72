"""What people do not want to hear of: silences, maintenance windows, and what these have hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Every, Maintenance, Muted, Silence
from storage.rows import to_record, to_row
from storage.tables import maintenance, muted, silences

LONGEST = timedelta(days=7)
"""A maintenance window may last so long at most."""


class Silences:
    """Every silence that there ever was."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, silence: Silence) -> Silence:
        """Add a silence (`id` is ignored) and return it numbered."""
        return replace(silence, id=await _added(self._db, silences, silence))

    async def save(self, silence: Silence) -> None:
        await _saved(self._db, silences, silence)

    async def get(self, number: int) -> Silence | None:
        found = await self._where(silences.c.id == number)
        return found[0] if found else None

    async def of(self, customer: int, at: datetime) -> Sequence[Silence]:
        """Return a customer's silences that have not ended at an instant, by their end."""
        return await self._where((silences.c.customer == customer) & (silences.c.ends_at > at))

    async def _where(self, where: sa.ColumnElement[bool]) -> list[Silence]:
        order = (silences.c.ends_at, silences.c.id)
        rows = await self._db.execute(sa.select(silences).where(where).order_by(*order))
        return [to_record(Silence, row) for row in rows.mappings()]


class Maintenances:
    """Every maintenance window, and the alerts that each has hidden."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, window: Maintenance) -> Maintenance:
        """Add a window (`id` is ignored) and return it numbered."""
        return replace(window, id=await _added(self._db, maintenance, window))

    async def save(self, window: Maintenance) -> None:
        await _saved(self._db, maintenance, window)

    async def get(self, number: int) -> Maintenance | None:
        found = await self._where(maintenance.c.id == number)
        return found[0] if found else None

    async def of(self, customer: int, since: datetime) -> Sequence[Maintenance]:
        """Return a customer's windows that may hide or be told of since an instant."""
        return await self._where((maintenance.c.customer == customer) & _alive(since))

    async def all(self, since: datetime) -> Sequence[Maintenance]:
        """Return everybody's windows that may hide or be told of since an instant."""
        return await self._where(_alive(since))

    async def note(self, one: Muted) -> None:
        """Note that an alert was hidden; one that is noted counts once more, with its worst
        severity."""
        where = (
            (muted.c.maintenance == one.maintenance)
            & (muted.c.starts_at == one.starts_at)
            & (muted.c.fingerprint == one.fingerprint)
        )
        rows = await self._db.execute(sa.select(muted).where(where))
        row = rows.mappings().first()
        if row is None:
            await self._db.execute(sa.insert(muted).values(to_row(one)))
            return
        before = to_record(Muted, row)
        worst = max(before.severity, one.severity, key=lambda each: each.rank)
        values = {"severity": str(worst), "last_at": one.last_at, "count": before.count + 1}
        await self._db.execute(sa.update(muted).where(where).values(values))

    async def muted(self, window: int, starts_at: datetime) -> Sequence[Muted]:
        """Return what one time of a window has hidden, in the order in which it began."""
        rows = await self._db.execute(
            sa.select(muted)
            .where((muted.c.maintenance == window) & (muted.c.starts_at == starts_at))
            .order_by(muted.c.first_at, muted.c.fingerprint)
        )
        return [to_record(Muted, row) for row in rows.mappings()]

    async def _where(self, where: sa.ColumnElement[bool]) -> list[Maintenance]:
        order = (maintenance.c.starts_at, maintenance.c.id)
        rows = await self._db.execute(sa.select(maintenance).where(where).order_by(*order))
        return [to_record(Maintenance, row) for row in rows.mappings()]


def _alive(since: datetime) -> sa.ColumnElement[bool]:
    """Not called off before; and of those that come once, not over long before."""
    again = maintenance.c.every != str(Every.ONCE)
    called_off = maintenance.c.ended_at
    return (called_off.is_(None) | (called_off > since)) & (
        again | (maintenance.c.starts_at > since - LONGEST)
    )


async def _added(db: AsyncConnection, table: sa.Table, record: Any) -> int:
    row = to_row(record)
    del row["id"]
    number = await db.scalar(sa.insert(table).values(row).returning(table.c.id))
    assert number is not None
    return int(number)


async def _saved(db: AsyncConnection, table: sa.Table, record: Any) -> None:
    row = to_row(record)
    number = row.pop("id")
    await db.execute(sa.update(table).where(table.c.id == number).values(row))

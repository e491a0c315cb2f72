"""Customers' monitors that cannot be asked, and since when: nothing is written while all answer."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Unread
from storage.rows import to_record, to_row
from storage.tables import unread


class Unreads:
    """One row for each customer whose monitor does not answer."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, row: Unread) -> None:
        """Keep what is known of a monitor, in place of what was."""
        await self.drop(row.customer)
        await self._db.execute(sa.insert(unread).values(to_row(row)))

    async def drop(self, customer: int) -> bool:
        """A monitor answers; False when it did before."""
        gone = await self._db.execute(sa.delete(unread).where(unread.c.customer == customer))
        return bool(gone.rowcount)

    async def get(self, customer: int) -> Unread | None:
        """Return what is known of one; None when it answers."""
        return (await self.all()).get(customer)

    async def all(self) -> Mapping[int, Unread]:
        """Return them by their customer."""
        rows = await self._db.execute(sa.select(unread))
        return {row["customer"]: to_record(Unread, row) for row in rows.mappings()}

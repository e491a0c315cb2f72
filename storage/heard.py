"""When each source of a customer was last heard of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import heard

STEP = timedelta(minutes=10)
"""Not noted more often than this: nobody asks to the minute, and posts are many."""


class Heard:
    """One row for each customer and source."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def note(self, customer: int, source: str, at: datetime) -> datetime | None:
        """A source of a customer was heard of; return when it was before, None when never."""
        last = (await self.of(customer)).get(source)
        if last and at < last + STEP:
            return last
        if last:
            where = (heard.c.customer == customer) & (heard.c.source == source)
            await self._db.execute(sa.update(heard).where(where).values(at=at))
        else:
            row = {"customer": customer, "source": source, "at": at}
            await self._db.execute(sa.insert(heard).values(row))
        return last

    async def of(self, customer: int) -> Mapping[str, datetime]:
        """Return a customer's sources, and when each was last heard of."""
        rows = await self._db.execute(sa.select(heard).where(heard.c.customer == customer))
        return {row.source: row.at for row in rows}

    async def silent(self, since: datetime) -> Sequence[tuple[int, str, datetime]]:
        """Return (customer, source, when it was last heard of) of what was not heard of since then."""
        order = (heard.c.customer, heard.c.source)
        rows = await self._db.execute(sa.select(heard).where(heard.c.at <= since).order_by(*order))
        return [(row.customer, row.source, row.at) for row in rows]

"""What was done of phase 6, and by whom; entries are only ever added."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import DutyDone
from storage.rows import to_record, to_row
from storage.tables import duties_done


class Duties:
    """The duties that somebody said are done."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, done: DutyDone) -> bool:
        """Note that a duty is done; False when it was, for that day."""
        where = (
            (duties_done.c.customer == done.customer)
            & (duties_done.c.duty == done.duty)
            & (duties_done.c.due == done.due)
        )
        if await self._db.scalar(sa.select(duties_done.c.due).where(where)) is not None:
            return False
        await self._db.execute(sa.insert(duties_done).values(to_row(done)))
        return True

    async def last(self, customer: int) -> dict[str, DutyDone]:
        """Return, by the duty's key, what was done last for a customer."""
        return {done.duty: done for done in await self.of(customer)}

    async def of(self, customer: int) -> Sequence[DutyDone]:
        """Return all that was done for a customer, oldest first."""
        rows = await self._db.execute(
            sa.select(duties_done)
            .where(duties_done.c.customer == customer)
            .order_by(duties_done.c.at, duties_done.c.due)
        )
        return [to_record(DutyDone, r) for r in rows.mappings()]

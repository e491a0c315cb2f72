"""What people decided for one customer: the last word of each kind counts."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Choice
from storage.rows import to_record, to_row
from storage.tables import choices


class Choices:
    """One row for each customer and kind; the audit trail has the ones before it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, choice: Choice) -> None:
        """Keep a choice, in place of the one before it."""
        await self.drop(choice.customer, choice.name)
        await self._db.execute(sa.insert(choices).values(to_row(choice)))

    async def drop(self, customer: int, name: str) -> bool:
        """Let the settings decide again; False when they did."""
        gone = await self._db.execute(sa.delete(choices).where(_is(customer, name)))
        return bool(gone.rowcount)

    async def get(self, customer: int, name: str) -> Choice | None:
        """Return what was decided; None when nobody did."""
        rows = await self._db.execute(sa.select(choices).where(_is(customer, name)))
        row = rows.mappings().one_or_none()
        return to_record(Choice, row) if row else None

    async def of(self, name: str) -> Mapping[int, Choice]:
        """Return, by customer, who decided on this."""
        rows = await self._db.execute(sa.select(choices).where(choices.c.name == name))
        found = [to_record(Choice, row) for row in rows.mappings()]
        return {choice.customer: choice for choice in found}


def _is(customer: int, name: str) -> sa.ColumnElement[bool]:
    return (choices.c.customer == customer) & (choices.c.name == name)

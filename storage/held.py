"""Alerts that are held until they count, and those that their group was told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Ended, Firing, HeldAlert
from storage.rows import to_record, to_row
from storage.tables import alerts_held


class Held:
    """One row for each customer, rule and host of which anything was ever said."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def get(self, customer: int, rule: str, host: str) -> HeldAlert:
        """Return what is known; an empty record when nothing is."""
        found = await self._where(_is(customer, rule, host))
        return found[0] if found else HeldAlert(customer, rule, host)

    async def save(self, held: HeldAlert) -> None:
        """Keep a state in the place of the one before. The caller's unit is the writer."""
        row = to_row(held)
        row["firing"] = msgspec.json.encode(held.firing).decode()
        row["ended"] = msgspec.json.encode(held.ended).decode()
        where = _is(held.customer, held.rule, held.host)
        changed = await self._db.execute(sa.update(alerts_held).where(where).values(row))
        if not changed.rowcount:
            await self._db.execute(sa.insert(alerts_held).values(row))

    async def due(self, now: datetime) -> Sequence[HeldAlert]:
        """Return what has lasted and was not told, the longest due first."""
        return await self._where(alerts_held.c.due <= now)

    async def firing(self, customer: int) -> Sequence[HeldAlert]:
        """Return everything of a customer's that has not ended."""
        return await self._where(
            (alerts_held.c.customer == customer) & (alerts_held.c.firing != "[]")
        )

    async def dropped(self, customer: int, since: datetime) -> Sequence[HeldAlert]:
        """Return a customer's that were not told since then, because they were over by then."""
        return await self._where(
            (alerts_held.c.customer == customer) & (alerts_held.c.dropped_at >= since)
        )

    async def _where(self, where: sa.ColumnElement[bool]) -> list[HeldAlert]:
        order = (alerts_held.c.due, alerts_held.c.customer, alerts_held.c.rule, alerts_held.c.host)
        rows = await self._db.execute(sa.select(alerts_held).where(where).order_by(*order))
        return [_record(row) for row in rows.mappings()]


def _is(customer: int, rule: str, host: str) -> sa.ColumnElement[bool]:
    return (
        (alerts_held.c.customer == customer)
        & (alerts_held.c.rule == rule)
        & (alerts_held.c.host == host)
    )


def _record(row: Mapping[Any, Any]) -> HeldAlert:
    # Older programs kept the episode alone.
    ended = msgspec.json.decode(row["ended"], type=tuple[Ended | str, ...])
    return replace(
        to_record(HeldAlert, row),
        firing=msgspec.json.decode(row["firing"], type=tuple[Firing, ...]),
        ended=tuple(Ended(each) if isinstance(each, str) else each for each in ended),
    )

"""What senders have left out of their posts, and what was seen of the same groups meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Truncation
from storage.tables import truncations


class Truncations:
    """One row for each group of alerts whose last post was cut."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def of(self, customer: int, since: datetime | None = None) -> Sequence[Truncation]:
        """Return a customer's, or those of them that were heard of since then; the most first."""
        where = truncations.c.customer == customer
        if since:
            where &= truncations.c.at >= since
        order = (truncations.c.left_out.desc(), truncations.c.group)
        rows = await self._db.execute(sa.select(truncations).where(where).order_by(*order))
        return [
            Truncation(
                row.customer,
                row.source,
                row.group,
                row.left_out,
                msgspec.json.decode(row.labels, type=dict[str, str]),
                frozenset(msgspec.json.decode(row.seen, type=list[str])),
                row.at,
            )
            for row in rows
        ]

    async def put(self, one: Truncation) -> None:
        """Keep what a group's last post left out, in place of what the one before did."""
        await self.drop(one)
        row = {
            "customer": one.customer,
            "source": one.source,
            "group": one.group,
            "left_out": one.left,
            "labels": msgspec.json.encode(one.labels).decode(),
            "seen": msgspec.json.encode(sorted(one.seen)).decode(),
            "at": one.at,
        }
        await self._db.execute(sa.insert(truncations).values(row))

    async def drop(self, one: Truncation) -> None:
        """Forget a group: its last post was whole."""
        await self._db.execute(
            sa.delete(truncations).where(
                (truncations.c.customer == one.customer)
                & (truncations.c.source == one.source)
                & (truncations.c.group == one.group)
            )
        )

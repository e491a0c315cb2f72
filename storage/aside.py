"""Posts that could not be folded: kept with all they said, until somebody has them folded again."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Accepted, SetAside
from storage.rows import to_record
from storage.tables import aside


class Aside:
    """One row for each post."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, post: Accepted, reason: str) -> None:
        """Keep a post; `reason` is why it could not be folded."""
        row = {"customer": post.customer, "source": post.source, "at": post.at, "body": post.body}
        await self._db.execute(sa.insert(aside).values(post=post.id, reason=reason, **row))

    async def count(self) -> int:
        """Return how many there are."""
        return await self._db.scalar(sa.select(sa.func.count()).select_from(aside)) or 0

    async def all(self, after: int = 0, limit: int = 100) -> Sequence[SetAside]:
        """Return those whose number is higher, the oldest first."""
        asked = sa.select(aside).where(aside.c.id > after).order_by(aside.c.id).limit(limit)
        return [to_record(SetAside, row) for row in (await self._db.execute(asked)).mappings()]

    async def drop(self, number: int) -> None:
        """Keep one no longer."""
        await self._db.execute(sa.delete(aside).where(aside.c.id == number))

"""What the replicas' links of one platform must know of each other's doings: rows by kind and name."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import platform_rows


class PlatformRows:
    """Rows of every platform that keeps any."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def get(self, platform: str, kind: str, name: str) -> tuple[str, datetime] | None:
        """Return (body, when it was written)."""
        query = sa.select(platform_rows.c.body, platform_rows.c.at)
        row = (await self._db.execute(query.where(_is(platform, kind, name)))).first()
        return (str(row.body), row.at) if row else None

    async def keep(self, platform: str, kind: str, name: str, body: str, at: datetime) -> None:
        """Write a row, in the place of one that is there."""
        changed = await self._db.execute(
            sa.update(platform_rows).where(_is(platform, kind, name)).values(body=body, at=at)
        )
        if not changed.rowcount:
            row = {"platform": platform, "kind": kind, "name": name, "body": body, "at": at}
            await self._db.execute(sa.insert(platform_rows).values(row))

    async def drop(self, platform: str, kind: str, name: str) -> None:
        await self._db.execute(sa.delete(platform_rows).where(_is(platform, kind, name)))

    async def forget(self, platform: str, kind: str, before: datetime) -> None:
        """Drop the rows of a kind that were written before then."""
        rows = platform_rows.c
        old = (rows.platform == platform) & (rows.kind == kind) & (rows.at < before)
        await self._db.execute(sa.delete(platform_rows).where(old))


def _is(platform: str, kind: str, name: str) -> sa.ColumnElement[bool]:
    rows = platform_rows.c
    return (rows.platform == platform) & (rows.kind == kind) & (rows.name == name)

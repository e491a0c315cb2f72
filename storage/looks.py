"""When somebody last looked for something."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import looks


class Looks:
    """One row for each name."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def at(self, name: str) -> datetime | None:
        """Return when somebody last looked; None when nobody ever has."""
        found: datetime | None = await self._db.scalar(
            sa.select(looks.c.at).where(looks.c.name == name)
        )
        return found

    async def note(self, name: str, at: datetime) -> None:
        """Somebody has looked."""
        here = sa.update(looks).where(looks.c.name == name).values(at=at)
        if not (await self._db.execute(here)).rowcount:
            await self._db.execute(sa.insert(looks).values(name=name, at=at))

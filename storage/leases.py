"""Who of several replicas may do what only one of them may."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import leases


class Leases:
    """One row for each thing of which there is one; held until an instant, by one holder."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def take(self, name: str, holder: str, now: datetime, until: datetime) -> bool:
        """Hold it until then, anew or still; False while another's time is not over."""
        ours = (leases.c.holder == holder) | (leases.c.until <= now)
        changed = await self._db.execute(
            sa.update(leases)
            .where((leases.c.name == name) & ours)
            .values(holder=holder, until=until)
        )
        if changed.rowcount:
            return True
        if await self._db.scalar(sa.select(leases.c.name).where(leases.c.name == name)):
            return False
        await self._db.execute(sa.insert(leases).values(name=name, holder=holder, until=until))
        return True

    async def last(self, name: str) -> tuple[str, datetime] | None:
        """Return who held it last, and until when; None where nobody did, or whoever did gave it up."""
        row = sa.select(leases.c.holder, leases.c.until).where(leases.c.name == name)
        found = (await self._db.execute(row)).first()
        return (found.holder, found.until) if found else None

    async def give_up(self, name: str, holder: str) -> None:
        """Let another have it at once; nothing happens when it is another's already."""
        await self._db.execute(
            sa.delete(leases).where((leases.c.name == name) & (leases.c.holder == holder))
        )

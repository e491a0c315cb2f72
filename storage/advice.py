"""Which incidents a model is to be asked about: none twice, and none that nobody may be told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Incident, IncidentState, StormPhase, Tier
from storage.rows import to_record
from storage.tables import customers, incidents, outbox, storms

KEY = "advice:"
"""How the outbox' key of an incident's advice begins: its entry is what tells that it was asked."""


class Advices:
    """The questions that wait."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def waiting(self, since: datetime, until: datetime, limit: int) -> Sequence[Incident]:
        """Return unresolved incidents opened in between that were not asked about, oldest first.

        Of customers of the tier that has it, with a group, and not in a storm: its one card
        speaks for all.
        """
        asked = sa.exists().where(outbox.c.key == KEY + sa.cast(incidents.c.id, sa.Text))
        storm = sa.exists().where(
            (storms.c.customer == customers.c.id) & (storms.c.phase != str(StormPhase.NORMAL))
        )
        rows = await self._db.execute(
            sa.select(incidents)
            .join(customers, customers.c.id == incidents.c.customer)
            .where(
                customers.c.tier == str(Tier.PRO),
                customers.c.chat_id != "",
                incidents.c.state != str(IncidentState.RESOLVED),
                incidents.c.opened_at.between(since, until),
                ~asked,
                ~storm,
            )
            .order_by(incidents.c.id)
            .limit(limit)
        )
        return [to_record(Incident, row) for row in rows.mappings()]

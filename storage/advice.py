"""Which incidents a model is to be asked about: none twice, and none that nobody may be told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Severity
from storage.incidents import ANYBODYS
from storage.records import Incident, IncidentState, StormPhase, Tier
from storage.rows import to_record
from storage.tables import alerts_known, choices, customers, incidents, outbox, storms

KEY = "advice:"
"""How the outbox' key of an incident's advice begins: its entry is what tells that it was asked."""

CONSENT = "ai"
"""Name of the choice by which a customer lets a model look at their alerts."""


class Advices:
    """The questions that wait."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def waiting(
        self, since: datetime, until: datetime, limit: int, consent: str
    ) -> Sequence[Incident]:
        """Return unresolved incidents opened in between that were not asked about, oldest first.

        Of customers of the tier that has it, who have said `consent` (the value of their choice),
        with a group, and not in a storm: its one card speaks for all.
        """
        asked = sa.exists().where(outbox.c.key == KEY + sa.cast(incidents.c.id, sa.Text))
        storm = sa.exists().where(
            (storms.c.customer == customers.c.id) & (storms.c.phase != str(StormPhase.NORMAL))
        )
        rows = await self._db.execute(
            sa.select(incidents)
            .join(customers, customers.c.id == incidents.c.customer)
            .join(choices, (choices.c.customer == customers.c.id) & (choices.c.name == CONSENT))
            .where(
                choices.c.value == consent,
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

    async def spread(self, hosts: int, customer: int | None = None) -> Sequence[Incident]:
        """Return a customer's unresolved incidents short of critical with a rule, above information,
        that fires and is seen on so many hosts, oldest first; everybody's without a customer."""
        many = (
            sa.select(alerts_known.c.incident)
            .join(incidents, incidents.c.id == alerts_known.c.incident)
            .where(
                ANYBODYS if customer is None else alerts_known.c.customer == customer,
                incidents.c.severity != str(Severity.CRITICAL),
                incidents.c.state != str(IncidentState.RESOLVED),
                alerts_known.c.firing,
                alerts_known.c.hidden == "",
                alerts_known.c.severity != str(Severity.INFO),
                alerts_known.c.host != "",
            )
            .group_by(alerts_known.c.incident, alerts_known.c.rule)
            .having(sa.func.count(alerts_known.c.host.distinct()) >= hosts)
        )
        rows = await self._db.execute(
            sa.select(incidents).where(incidents.c.id.in_(many)).order_by(incidents.c.id)
        )
        return [to_record(Incident, row) for row in rows.mappings()]

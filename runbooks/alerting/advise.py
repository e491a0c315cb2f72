"""Has the model look at what was told already, and tells what it makes of it.

After the alert and apart from it: a model that fails or is slow costs the group nothing, and the
entry in the outbox says that it did. It is the entry, too, that lets no incident be asked about twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from adapters.card import dumps
from adapters.words import Severity
from runbooks.alerting import ladder
from runbooks.alerting.triage import Matter, Unusable, Verdict, card, triage
from runbooks.kit import Kit
from storage.advice import KEY
from storage.records import Delivery, DeliveryState, Incident, IncidentState, Lane
from storage.store import Unit

GATHER = timedelta(seconds=15)
"""From an incident's first alert to the question: what belongs to it comes in these seconds."""

LATE = timedelta(minutes=10)
"""Later than this after its first alert nobody waits for advice any more."""

AT_ONCE = 4
"""Incidents that are asked about at the same time."""


async def advise(kit: Kit) -> int:
    """Ask about the incidents that wait for it; return how many answers the groups are told."""
    if kit.model is None:
        return 0
    now = kit.clock.now()
    async with kit.store.view() as unit:
        waiting = await unit.advices.waiting(now - LATE, now - GATHER, AT_ONCE)
    return sum(await asyncio.gather(*(_advise(incident, kit) for incident in waiting)))


async def _advise(incident: Incident, kit: Kit) -> bool:
    async with kit.store.view() as unit:
        matter = Matter(incident, await unit.incidents.alerts(incident.id))
        names = await _names(incident.customer, unit)
    # Outside of a transaction: it may take the model's whole time.
    verdict = await triage(matter, names, kit.model)
    async with kit.store.unit() as unit:
        present = await unit.incidents.get(incident.id)
        # It may have ended since, or another replica have asked.
        if present is None or present.state is IncidentState.RESOLVED:
            return False
        return await _tell(present, verdict, kit, unit)


async def _tell(incident: Incident, verdict: Verdict, kit: Kit, unit: Unit) -> bool:
    customer = await unit.customers.get(incident.customer)
    if customer is None or customer.chat is None:
        return False
    now = kit.clock.now()
    silent = isinstance(verdict.said, Unusable) and not verdict.said.answered
    entry = Delivery(
        0,
        f"{KEY}{incident.id}",
        customer.chat,
        Lane.NORMAL,
        DeliveryState.FAILED if silent else DeliveryState.WAITING,
        now,
        card=dumps(card(incident, verdict)),
        reason=verdict.said.why if isinstance(verdict.said, Unusable) and silent else "",
    )
    if not await unit.outbox.put(entry):
        return False
    if verdict.severity.rank > incident.severity.rank:
        await _raise(incident, verdict.severity, kit, unit)
        await unit.outbox.mark(f"incident:{incident.id}", customer.chat, now, lane=Lane.ALARM)
    return not silent


async def _raise(incident: Incident, severity: Severity, kit: Kit, unit: Unit) -> None:
    """Raise an incident; as a critical it is climbed for from now on, unless it was acknowledged."""
    now = kit.clock.now()
    critical = severity is Severity.CRITICAL
    at = incident.critical_at or (now if critical else None)
    raised = replace(incident, severity=severity, changed_at=now, critical_at=at)
    await unit.incidents.save(raised)
    if critical and raised.state is IncidentState.OPEN:
        await ladder.begin(unit, raised, now)


async def _names(number: int, unit: Unit) -> tuple[str, ...]:
    """Return what the model is not to see of a customer: their names and their servers'."""
    customer = await unit.customers.get(number)
    servers = await unit.servers.of(number)
    names = [customer.name, customer.slug] if customer else []
    if customer and customer.chat:
        names.append(customer.chat.title)
    for server in servers:
        names += [server.name, server.host, server.hostname]
    names += [member.person.name for member in await unit.people.of_customer(number)]
    return tuple(name for name in names if name)

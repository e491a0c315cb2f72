"""Has the model look at what was told already, and tells what it makes of it.

After the alert and apart from it: a model that fails or is slow costs the group nothing, and the
entry in the outbox says that it did. It is the entry, too, that lets no incident be asked about twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog

from adapters.card import dumps
from runbooks import walk as walking
from runbooks.alerting.muting.places import Place
from runbooks.alerting.receivers import places_of, together
from runbooks.alerting.triage import consent, handbook, raising, readings
from runbooks.alerting.triage.masking import company
from runbooks.alerting.triage.verdict import Advice, Matter, Unusable, Verdict, card, triage
from runbooks.kit import Kit
from runbooks.onboarding import ONBOARDING
from storage.advice import CONSENT, KEY
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    KnownAlert,
    Lane,
)
from storage.store import Unit

GATHER = timedelta(seconds=15)
"""From an incident's first alert to the question: what belongs to it comes in these seconds."""

LATE = timedelta(minutes=10)
"""Later than this after its first alert nobody waits for advice any more."""

AT_ONCE = 4
"""Incidents that are asked about at the same time."""

LOOKED_AT = 50
"""Incidents that are looked at for it: one that is not told in a group takes nobody's turn."""

log = structlog.get_logger()


async def advise(kit: Kit) -> int:
    """Ask about the incidents that wait for it; return how many answers the groups are told.

    What goes wrong with one in a way that nobody foresaw is written down for that one and raised
    when all have ended.
    """
    if kit.model is None:
        return 0
    now = kit.clock.now()
    async with kit.store.view() as unit:
        said = consent.value(consent.address(kit.house))
        found = await unit.advices.waiting(now - LATE, now - GATHER, LOOKED_AT, said)
        waiting = [each for each in found if await _wanted(each, kit, unit)][:AT_ONCE]
    ends = await asyncio.gather(*(_once(each, kit) for each in waiting), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return sum(end is True for end in ends)


async def _once(incident: Incident, kit: Kit) -> bool:
    """Ask about an incident, and have it asked about never again, whatever goes wrong."""
    try:
        return await _advise(incident, kit)
    except Exception as error:
        log.exception("no advice", incident=incident.id)
        assert kit.model
        why = Unusable(f"出错：{type(error).__name__}，请看日志", answered=False)
        nothing = Verdict(incident.severity, "没有完成", model=kit.model.name, said=why)
        async with kit.store.unit() as unit:
            await _tell(incident, nothing, kit, unit)
        raise


async def _advise(incident: Incident, kit: Kit) -> bool:
    async with kit.store.view() as unit:
        # Several are asked about one after another: a withdrawal counts from its instant.
        if not consent.allowed(await unit.choices.get(incident.customer, CONSENT), kit.house):
            return False
        alerts = await unit.incidents.alerts(incident.id)
        names = await _names(incident.customer, unit)
        customer = await unit.customers.get(incident.customer)
    # Outside of a transaction: it may take the model's whole time, and the monitor's.
    figures = await readings.readings(incident.customer, alerts, kit)
    said = await _handbook(customer, alerts, kit)
    verdict = await triage(Matter(incident, alerts, figures, said), names, kit.model)
    async with kit.store.unit() as unit:
        present = await unit.incidents.get(incident.id)
        # It may have ended since, or been silenced, or another replica have asked, or the customer
        # have thought better of it: then what came back is nobody's business.
        if present is None or present.state is IncidentState.RESOLVED:
            return False
        if hidden(await unit.incidents.alerts(present.id)):
            return False
        if not consent.allowed(await unit.choices.get(present.customer, CONSENT), kit.house):
            return False
        return await _tell(present, verdict, kit, unit)


async def _wanted(incident: Incident, kit: Kit, unit: Unit) -> bool:
    """Is an incident told in its customer's group, where advice on it is told, and not hidden?"""
    rules, alerts = kit.house.muting, await unit.incidents.alerts(incident.id)
    if hidden(alerts):
        return False
    if not rules.receivers:
        return True
    told = together(places_of(each, rules.routing, rules.receivers) for each in alerts)
    return Place.GROUP in told


def hidden(alerts: Sequence[KnownAlert]) -> bool:
    """Is all that fires hidden? Then nobody is to be called for what a model thinks of it."""
    firing = [alert for alert in alerts if alert.firing]
    return bool(firing) and all(alert.hidden for alert in firing)


async def _handbook(
    customer: Customer | None, alerts: Sequence[KnownAlert], kit: Kit
) -> tuple[str, ...]:
    folder = kit.house.handbooks
    if customer is None or folder is None:
        return ()
    return await asyncio.to_thread(handbook.lines, folder, customer.slug, alerts)


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
    # What the rules make of it is theirs to raise, and to say: `raising.by_rules`.
    if isinstance(verdict.said, Advice) and verdict.said.severity.rank > incident.severity.rank:
        await raising.put(incident, verdict.said.severity, now, unit)
        await unit.outbox.mark(f"incident:{incident.id}", customer.chat, now, lane=Lane.ALARM)
    return not silent


async def _names(number: int, unit: Unit) -> tuple[str, ...]:
    """Return what the model is not to see of a customer: their names, their servers' and people's, and
    those of whoever is called for them."""
    customer = await unit.customers.get(number)
    servers = await unit.servers.of(number)
    names = [*company(customer.name), customer.slug] if customer else []
    if customer and customer.chat:
        names.append(customer.chat.title)
    for server in servers:
        names += [server.name, server.host, server.hostname]
    names += [member.person.name for member in await unit.people.of_customer(number)]
    for run in await unit.runs.of(number, ONBOARDING.name):
        case = walking.load(ONBOARDING, run)
        names += [each.name for each in (*case.contacts, *case.on_call)]
        names += [name for each in case.approvers for name in (each.name, each.deputy)]
    if roster := await unit.oncall.roster(number):
        names += [callee.name for callee in roster.callees]
    return tuple(name for name in names if name)

"""Living cards of incidents and storms, drawn from the rows as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from adapters.card import Card
from adapters.words import Severity
from runbooks.alerting import adjust, incident_cards, quiet, storm_cards, truncation
from runbooks.alerting.incident_cards import IncidentView
from runbooks.alerting.oncall import ladder
from runbooks.alerting.storm_cards import StormView
from runbooks.kit import House, Kit
from storage.records import Incident, IncidentState
from storage.store import Unit

INCIDENT = "incident:"
STORM = "storm:"

CLIMBS = 20
"""Incidents whose next call is looked up for one card."""


def drawn_here(key: str) -> bool:
    """Is this the key of a living card of ours?"""
    return key.startswith((INCIDENT, STORM))


async def drawn(key: str, kit: Kit, unit: Unit) -> Card:
    """Return the card of an incident or a storm as it is now."""
    number = int(key.partition(":")[2])
    if key.startswith(STORM):
        return await storm(number, kit.house, kit.clock.now(), unit)
    return await incident(number, kit.house, kit.clock.now(), unit)


async def incident(number: int, house: House, now: datetime, unit: Unit) -> Card:
    """Return the card of one incident."""
    found = await unit.incidents.get(number)
    assert found is not None
    alerts = await unit.incidents.alerts(number)
    cut = await unit.truncations.of(found.customer, now - truncation.REMEMBERED)
    titles = house.sources
    more = truncation.lines(truncation.about(alerts, cut), titles)
    more += quiet.lines(quiet.firing(alerts), await unit.heard.of(found.customer), now, titles)
    view = IncidentView(found, alerts, await next_call([found], unit), more)
    return incident_cards.incident_card(view, house.alerting, now, house.zone)


async def storm(customer: int, house: House, now: datetime, unit: Unit) -> Card:
    """Return the one card of a customer's storm."""
    there = unit.incidents
    incidents = await there.open_of(customer)
    critical = {each.id for each in incidents if each.severity is Severity.CRITICAL}
    cut = await unit.truncations.of(customer, now - truncation.REMEMBERED)
    view = StormView(
        await there.storm(customer),
        await there.tallies(customer),
        await there.top_hosts(customer, incident_cards.TOP),
        await there.firing(customer, incident_cards.NAMED, Severity.CRITICAL),
        incidents,
        await adjust.hidden(customer, unit),
        await next_call(incidents, unit),
        customer,
        truncation.lines(cut, house.sources),
        len(critical - await there.critical(sorted(critical))),
    )
    return storm_cards.storm_card(view, house.alerting, now, house.zone)


async def next_call(incidents: Sequence[Incident], unit: Unit) -> datetime | None:
    """Return when somebody is called next about one of these; of many, the longest open count."""
    critical = [i for i in incidents if i.critical_at and i.state is IncidentState.OPEN]
    first = sorted(critical, key=lambda i: (i.critical_at, i.id))[:CLIMBS]
    rungs = [await ladder.next_rung(unit, each.id) for each in first]
    return min((rung.due for rung in rungs if rung), default=None)

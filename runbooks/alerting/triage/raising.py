"""Raises an incident that is worse than each of its alerts. The rules do it for every customer, with a
model or without, in a storm or not; nobody is asked for it and nothing leaves the house."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.card import Block, Card, Mention, Style, Text, Tone, dumps
from adapters.words import Person, Severity
from runbooks import reach
from runbooks.alerting import naming
from runbooks.alerting.elsewhere import Elsewhere
from runbooks.alerting.incident_cards import LINE, NAMED, SIGNS, microseconds
from runbooks.alerting.muting.places import Place
from runbooks.alerting.oncall import ladder
from runbooks.alerting.receivers import places_of, together
from runbooks.alerting.triage import verdict
from runbooks.alerting.triage.verdict import SPREAD, Matter
from runbooks.kit import House, Kit
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

PART = 20
"""Incidents that are raised in one turn of the writer: whoever has a new critical waits for it. The
first turn says it of all of them; whose turn did not come is raised, and said, at the next look."""


@dataclass(frozen=True, slots=True)
class Raised:
    """An incident as it was before, what it becomes and why, and where it is told."""

    incident: Incident
    severity: Severity
    reasons: tuple[str, ...]
    places: frozenset[Place]
    anew: bool = False
    """It has spread since it was acknowledged: of this nobody has taken care."""


async def by_rules(kit: Kit) -> int:
    """Raise what has spread over many hosts; return how many incidents were raised."""
    async with kit.store.view() as unit:
        found = await unit.advices.spread(SPREAD)
    judged: dict[int, list[Raised]] = {}
    for incident in found:
        # Each in a look of its own, and none in the writer's turn: a storm has thousands of alerts
        # to read again, and a new critical would wait for all of them.
        async with kit.store.view() as unit:
            one = await _judged(incident, kit.house, unit)
        if one:
            judged.setdefault(incident.customer, []).append(one)
    made = 0
    for number, some in sorted(judged.items()):
        for at in range(0, len(some), PART):
            part, told = some[at : at + PART], () if at else some
            async with kit.store.unit() as unit:
                made += await _raise(number, part, told, kit.clock.now(), unit)
    return made


async def put(incident: Incident, severity: Severity, now: datetime, unit: Unit) -> None:
    """Raise an incident; as a critical it is climbed for from now on, unless it was acknowledged."""
    critical = severity is Severity.CRITICAL
    at = incident.critical_at or (now if critical else None)
    raised = replace(incident, severity=severity, changed_at=now, critical_at=at)
    await unit.incidents.save(raised)
    if critical and raised.state is IncidentState.OPEN:
        await ladder.begin(unit, raised, now)


def card(raised: Sequence[Raised], whom: Person | None) -> Card:
    """Return the message that the rules have raised incidents; `whom` it calls by name."""
    lines = [_line(each) for each in raised[:NAMED]]
    named = [Mention((whom,))] if whom else []
    blocks: list[Block] = [*named, Text("\n".join(lines), full="/alerts")]
    if len(raised) > NAMED:
        blocks.append(Text(f"另有 {len(raised) - NAMED} 个：/alerts", Style.QUIET))
    if any(each.incident.state is IncidentState.OPEN for each in raised):
        blocks.append(Text("请输入 /ack 编号 确认；无人确认将升级", Style.STRONG))
    count = f" {len(raised)} 个告警组" if len(raised) > 1 else ""
    return Card(f"🔴 按规则提为严重{count}", Tone.BAD, tuple(blocks))


def _line(raised: Raised) -> str:
    incident = raised.incident
    why = "；".join(raised.reasons)[: 2 * LINE]
    if raised.anew and incident.state is IncidentState.OPEN:
        why += "，确认之后才扩散，需要重新确认"
    return f"{SIGNS[raised.severity]} #{incident.id} {incident.title[:LINE]}：{why}"


async def _raise(
    number: int, part: Sequence[Raised], told: Sequence[Raised], now: datetime, unit: Unit
) -> int:
    """Raise some of a customer's incidents, and say of those that are `told`, in one message wherever
    they are, that they are raised."""
    customer = await unit.customers.get(number)
    assert customer is not None
    # Looked at again: some may have ended since, or another replica have raised them.
    still = {each.id: each for each in await unit.advices.spread(SPREAD, number)}
    by_places: dict[frozenset[Place], list[Raised]] = {}
    for one in _still(told, still):
        by_places.setdefault(one.places, []).append(one)
    for places, some in by_places.items():
        await _say(some, places, customer, now, unit)
    raised = _still(part, still)
    for one in raised:
        await put(one.incident, one.severity, now, unit)
    for key in (*(f"incident:{one.incident.id}" for one in raised), f"storm:{number}"):
        living = await unit.outbox.living(key) if raised else None
        if living:
            await unit.outbox.mark(key, living.chat, now, lane=Lane.ALARM)
    return len(raised)


def _still(judged: Sequence[Raised], still: Mapping[int, Incident]) -> list[Raised]:
    """Return what was judged of those that would be judged so now, as they are now; open again what
    has spread since the acknowledgement that they have."""
    found = [_now(one, still[i]) for one in judged if (i := one.incident.id) in still]
    return [one for one in found if one.severity.rank > one.incident.severity.rank]


def _now(one: Raised, incident: Incident) -> Raised:
    # Somebody may have acknowledged it since it was judged: with all that had spread.
    if not one.anew or incident.acked_at != one.incident.acked_at:
        return replace(one, incident=incident)
    # As settling does it for a new critical: of what was there before somebody took care.
    state = IncidentState.OPEN
    opened = replace(incident, state=state, critical_at=None, acked_at=None, acked_by=None)
    return replace(one, incident=opened)


async def _judged(incident: Incident, house: House, unit: Unit) -> Raised | None:
    alerts, rules = await unit.incidents.alerts(incident.id), house.muting
    judged = verdict.by_rules(Matter(incident, alerts))
    if judged.severity.rank <= incident.severity.rank:
        return None
    places = together(places_of(each, rules.routing, rules.receivers) for each in alerts)
    anew = bool(_since_ack(incident, alerts))
    return Raised(incident, judged.severity, judged.reasons, places, anew)


def _since_ack(incident: Incident, alerts: Sequence[KnownAlert]) -> set[str]:
    """Return the rules that have spread, and had not when the incident was acknowledged."""
    at = incident.acked_at
    if incident.state is not IncidentState.ACKED or at is None:
        return set()
    seen = [alert for alert in alerts if not alert.hidden]
    # A firing alert changes when it begins, is seen again or gets worse; one that is over, at its end.
    then = [a for a in seen if (a.changed_at <= at if a.firing else a.since <= at < a.changed_at)]
    return set(verdict.spread([a for a in seen if a.firing])) - set(verdict.spread(then))


async def _say(
    raised: Sequence[Raised],
    places: frozenset[Place],
    customer: Customer,
    now: datetime,
    unit: Unit,
) -> None:
    whom = await naming.on_call(customer.id, now, unit)
    first = raised[0].incident
    key = f"raised:{first.id}:{microseconds(first.changed_at)}"
    for chat in await Elsewhere(customer, now, unit).chats(places):
        here = whom if whom and whom.platform == chat.platform else None
        its = key if chat == customer.chat else reach.beside(key, chat)
        state, said = DeliveryState.WAITING, dumps(card(raised, here))
        await unit.outbox.put(Delivery(0, its, chat, Lane.ALARM, state, now, card=said))

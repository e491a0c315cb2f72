"""Says again what nobody has acknowledged, where somebody wants it so: a warning that everybody has
scrolled past. About critical ones people are called instead (`alerting/oncall/ladder.py`). What was
acknowledged and fires on is said again as well, once a day: nobody is called about it any more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from adapters.card import Button, Buttons, Card, Fields, Style, Tone, dumps
from runbooks import reach
from runbooks.alerting.elsewhere import Elsewhere
from runbooks.alerting.grouping import alert_of
from runbooks.alerting.incident_cards import LINE, NAMES, SIGNS, action, lasted, microseconds
from runbooks.alerting.muting.matchers import labels_of
from runbooks.alerting.pacing import pace, repeats
from runbooks.alerting.receivers import places_of, together
from runbooks.alerting.tuning import AS_SET, Tuning, tunings
from runbooks.kit import House, Kit
from storage.records import (
    Delivery,
    DeliveryState,
    Incident,
    KnownAlert,
    Lane,
    StormPhase,
)
from storage.store import Unit

DAY = timedelta(days=1)
"""From one reminder of what was acknowledged to the next; not sooner than the repeat set."""


async def repeat(kit: Kit) -> int:
    """Remind each group of what has been unanswered for another turn; return how many were
    reminded of. The entry in the outbox says that it was done, so two replicas say it once."""
    now, house = kit.clock.now(), kit.house
    async with kit.store.view() as unit:
        decided = await tunings(unit)
        if not repeats(house.alerting, house.muting.routing) and not any(
            each.spans.get("repeat") for each in decided.values()
        ):
            return 0
        due = [
            (incident, key)
            for incident in [*await unit.incidents.unanswered(), *await unit.incidents.acked()]
            if (key := await _due(incident, now, house, decided, unit))
        ]
    told = 0
    for seen, key in due:
        async with kit.store.unit() as unit:
            told += await _say(seen, key, now, house, unit)
    return told


async def _due(
    incident: Incident, now: datetime, house: House, decided: Mapping[int, Tuning], unit: Unit
) -> str:
    """Return the key of the reminder whose turn it is; empty when none is, or it was said."""
    tuning = decided.get(incident.customer, AS_SET)
    policy, routing = tuning.applied(house.alerting), house.muting.routing
    if not repeats(policy, routing):
        return ""
    seen = [each for each in await unit.incidents.alerts(incident.id) if _is_seen(each)]
    storm = await unit.incidents.storm(incident.customer)
    if not seen or storm.phase is not StormPhase.NORMAL:
        return ""
    every = pace(policy, routing, tuning, labels_of(alert_of(seen[-1]))).repeat
    key = _key(incident, every, now) if every > timedelta() else ""
    return key if key and await unit.outbox.by_key(key) is None else ""


def _key(incident: Incident, every: timedelta, now: datetime) -> str:
    """Return the key of an incident's present turn; empty before the first."""
    if acked := incident.acked_at:
        turn = (now - acked) // max(every, DAY)
        return f"acked:{incident.id}:{microseconds(acked)}:{turn}" if turn else ""
    turn = (now - incident.opened_at) // every
    return f"again:{incident.id}:{turn}" if turn else ""


async def _say(seen: Incident, key: str, now: datetime, house: House, unit: Unit) -> bool:
    # Read again: somebody may have answered since, or it is over.
    incident = await unit.incidents.get(seen.id)
    if incident is None or _stands(incident) != _stands(seen):
        return False
    customer = await unit.customers.get(incident.customer)
    if customer is None or customer.chat is None:
        return False
    card = reminder(incident, now)
    rules, alerts = house.muting, await unit.incidents.alerts(incident.id)
    places = together(places_of(each, rules.routing, rules.receivers) for each in alerts)
    first, *others = await Elsewhere(customer, now, unit).chats(places)
    state = DeliveryState.WAITING
    entry = Delivery(0, key, first, Lane.NORMAL, state, now, card=dumps(card))
    return await reach.tell(entry, others, unit)


def _stands(incident: Incident) -> tuple[object, ...]:
    return incident.state, incident.acked_at, incident.critical_at is None


def reminder(incident: Incident, now: datetime) -> Card:
    """Return the message that says that nobody has answered yet, or that what somebody acknowledged
    fires on."""
    if incident.acked_at:
        return _acked(incident, incident.acked_at, now)
    pairs = (
        ("级别", f"{SIGNS[incident.severity]} {NAMES[incident.severity]}"),
        ("已持续", lasted(now - incident.since)),
        ("状态", "没有人确认"),
    )
    ack = Button(
        "确认", action("ack", str(incident.id), microseconds(incident.changed_at)), Style.PRIMARY
    )
    title = f"⏰ 仍未处理 #{incident.id}：{incident.title[:LINE]}"
    return Card(title, Tone.WARNING, (Fields(pairs), Buttons((ack,))))


def _acked(incident: Incident, at: datetime, now: datetime) -> Card:
    by = incident.acked_by
    pairs = (
        ("级别", f"{SIGNS[incident.severity]} {NAMES[incident.severity]}"),
        ("已确认", f"{lasted(now - at)}前" + (f"（{by.name or by.id}）" if by else "")),
        ("请处理", "修好它，或静默到预计修好的时间"),
    )
    seen, number = microseconds(incident.changed_at), str(incident.id)
    unack = Button("取消确认", action("unack", number, seen))
    title = f"⏰ 已确认，仍未恢复 #{incident.id}：{incident.title[:LINE]}"
    return Card(title, Tone.WARNING, (Fields(pairs), Buttons((unack,))))


def _is_seen(alert: KnownAlert) -> bool:
    return alert.firing and not alert.hidden

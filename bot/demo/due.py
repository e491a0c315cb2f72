"""Which instant is the next at which something is due: what is in the rows, and what the calendar has.

Beside each look of `bot/schedule.py` stands here when it will next have something to do, so that a
clock that is put forward stops there, and nothing is done later than it would have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.budget import GAP
from bot.schedule import ANALYSE
from bot.ticks import MORNING
from runbooks.alerting import storm, windows
from runbooks.alerting.muting import maintenance
from runbooks.alerting.oncall import rota, watchdog
from runbooks.alerting.policy import Policy
from runbooks.alerting.triage import advise, consent, verdict
from runbooks.alerting.tuning import tuning_of
from runbooks.kit import House
from storage.records import Storm
from storage.store import Unit

SOON = timedelta(seconds=ANALYSE)
CLOSELY = timedelta(minutes=30)
"""Where something waits for an answer or is hidden: what depends on how long is never later by more."""


def earliest(found: Iterable[datetime | None], now: datetime, until: datetime) -> datetime:
    """Return the first of these after `now`, or `until` when none comes before it."""
    return min((at for at in found if at and now < at < until), default=until)


async def next_due(now: datetime, until: datetime, house: House, unit: Unit) -> datetime:
    """Return the next instant after `now` at which the bot has something to do, `until` at the
    latest."""
    return earliest(await _found(now, until, house, unit), now, until)


async def _found(now: datetime, until: datetime, house: House, unit: Unit) -> list[datetime | None]:
    zone = house.zone
    ahead = min(until, now + rota.DAY)  # there is a midnight before: nothing later is asked for
    found: list[datetime | None] = [*daily(now, ahead, zone)]
    # A call that is due and not made waits for its callee's peace: it is looked at again soon.
    calls = await unit.escalations.due(ahead)
    found += [rung.due if rung.due > now else now + SOON for rung in calls]
    found.append(await unit.outbox.next_due(now))
    if any(head.living for head in await unit.outbox.heads(now)):
        found.append(now + GAP)  # a living card that was drawn just now waits for its peace
    found += [held.due for held in await unit.held.due(ahead)]
    found += [beat.due for beat in await unit.heartbeats.due(ahead)]
    found += [run.deadline for run in await unit.runs.due(ahead)]
    for raging in await unit.incidents.raging():
        tuning = await tuning_of(raging.customer, unit)
        found += turns(raging, tuning.applied(house.alerting))
    if await unit.incidents.unanswered() or await unit.incidents.hiding():
        found.append(now + CLOSELY)
    if await unit.advices.spread(verdict.SPREAD):
        found.append(now + SOON)
    found += await _advice(now, house, unit)
    notice = house.muting.notice
    for window in await unit.maintenance.all(now - windows.RECALL):
        for one in maintenance.times(window, now, ahead + notice, zone):
            found += [one.starts_at - notice, one.starts_at, one.ends_at]
    for customer in await unit.customers.all():
        found += [silence.ends_at for silence in await unit.silences.of(customer.id, now)]
        if roster := await unit.oncall.roster(customer.id):
            overrides = await unit.oncall.overrides(customer.id, now, ahead)
            found += [shift.begins for shift in rota.shifts(roster, overrides, now, ahead)]
    return found


async def _advice(now: datetime, house: House, unit: Unit) -> list[datetime]:
    """Return when the model is to be asked."""
    said = consent.value(consent.address(house))
    waiting = await unit.advices.waiting(now - advise.LATE, now, advise.AT_ONCE, said)
    return [
        # More may wait than are asked about at once.
        max(incident.opened_at + advise.GATHER, now + SOON)
        for incident in waiting
        if not advise.hidden(await unit.incidents.alerts(incident.id))
    ]


def daily(now: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield what the calendar has: midnight, the watchdog's hour once nothing of it can be on its
    way, and the hour of the duties."""
    day = now.astimezone(zone).date()
    while day <= until.astimezone(zone).date():
        yield rota.instant(day, time(0), zone)
        yield rota.instant(day, watchdog.HOUR, zone) + watchdog.GRACE
        yield rota.instant(day, time(MORNING), zone)
        day += rota.DAY


def turns(raging: Storm, policy: Policy) -> Iterator[datetime]:
    """Yield when a storm may turn by time alone: its minute is over, it is calm, it has drained."""
    for at, *_ in raging.recent:
        yield at + storm.MINUTE
    if raging.critical_at:
        yield raging.critical_at + policy.calm
    if raging.calm_since:
        yield raging.calm_since + policy.calm
        yield raging.calm_since + policy.calm + policy.drain

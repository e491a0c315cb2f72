"""Who is on call at an instant: pure, and the only place that decides it.

Local times become instants once, day by day, so that an hour that a clock change skips or repeats
neither loses nor doubles a turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from adapters.port import UsageError
from runbooks.alerting.oncall import calendar_cn
from storage.roster import Callee, Days, Layer, Override, Roster

DAY = timedelta(days=1)
MONTH = timedelta(days=31)
OVERRIDE = "临时调班"
NO_LAYER = "还没有排班"
NOT_STAFFED = "此时段没有任何一层排班"


@dataclass(frozen=True, slots=True)
class Shift:
    """Who is on call between two instants, and by what; without a callee it is a gap, and `why`
    names it."""

    begins: datetime
    ends: datetime
    callee: Callee | None
    why: str


def on_call(
    roster: Roster, overrides: Sequence[Override], at: datetime
) -> tuple[Callee | None, str]:
    """Return the one person on call at an instant and by what, or None and the gap's name."""
    named = {callee.name: callee for callee in roster.callees}
    # The newest override of somebody who is still in the roster.
    for each in sorted(overrides, key=lambda each: each.id, reverse=True):
        if each.begins <= at < each.ends and each.name in named:
            return named[each.name], OVERRIDE
    zone = ZoneInfo(roster.zone)
    for layer in roster.layers:
        turn = [name for name in layer.people if name in named]
        if turn and _staffed(layer, at, zone):
            return named[turn[_turns(layer, at, zone) % len(turn)]], layer.name
    return None, NOT_STAFFED if roster.layers else NO_LAYER


def shifts(
    roster: Roster, overrides: Sequence[Override], since: datetime, until: datetime
) -> tuple[Shift, ...]:
    """Return who is on call from one instant to the other: without a hole and without overlap."""
    edges = sorted({since, until, *_edges(roster, overrides, since, until)})
    found: list[Shift] = []
    for begins, ends in pairwise(edges):
        callee, why = on_call(roster, overrides, begins)
        last = found[-1] if found else None
        if last and (last.callee, last.why) == (callee, why):
            found[-1] = Shift(last.begins, ends, callee, why)
        else:
            found.append(Shift(begins, ends, callee, why))
    return tuple(found)


def gaps(found: Sequence[Shift]) -> tuple[Shift, ...]:
    """Return the times at which nobody is on call."""
    return tuple(shift for shift in found if shift.callee is None)


def after(
    roster: Roster, overrides: Sequence[Override], at: datetime, ahead: int
) -> tuple[Callee | None, str]:
    """Return who stands so many places behind whoever is on call; in a gap the roster's first one
    stands for them, so that a gap never ends a climb."""
    if not roster.callees:
        return None, NO_LAYER
    now, why = on_call(roster, overrides, at)
    first = roster.callees.index(now) if now else 0
    return roster.callees[(first + ahead) % len(roster.callees)], why


def longest(roster: Roster) -> timedelta:
    """Return how far from an instant its shift may begin or end: the longest turn of a layer, and a
    month for what other layers and overrides make of it. Of somebody whom nobody relieves, the shift
    has no end."""
    return DAY * max((layer.every for layer in roster.layers), default=1) + MONTH


def steady(roster: Roster, at: datetime) -> datetime:
    """Return an instant before the shift that runs then began: the same one for a year, so that a
    shift without an end has the same begin whoever asks, and when."""
    zone = ZoneInfo(roster.zone)
    begun = (at - longest(roster)).astimezone(zone)
    return instant(date(begun.year, 1, 1), time(0), zone)


def swapped(
    found: Sequence[Shift], first: datetime, second: datetime
) -> tuple[tuple[Shift, Callee], tuple[Shift, Callee]]:
    """Return the shifts at two instants, each with whoever takes it over from its own holder."""
    one, other = (_at(found, at) for at in (first, second))
    if one.callee is None or other.callee is None:
        raise UsageError("其中一段无人值班，不能对调：请用 /oncall override 指定人员")
    if one.callee == other.callee:
        raise UsageError(f"这两段都是{one.callee.name}值班，无需对调")
    return (one, other.callee), (other, one.callee)


def planned(roster: Roster, since: datetime, until: datetime) -> str:
    """Warn where a layer asks for workdays of years whose holidays are not known; else empty."""
    if all(layer.days is Days.EVERY for layer in roster.layers):
        return ""
    zone = ZoneInfo(roster.zone)
    return calendar_cn.warning(_days(since.astimezone(zone).date(), until.astimezone(zone).date()))


def instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """Return when a local time of a day is, in UTC. One that a clock change skips is the instant
    of the change; of one that it repeats, the first counts."""
    return datetime.combine(day, clock.replace(fold=0), tzinfo=zone).astimezone(UTC)


def _at(found: Sequence[Shift], at: datetime) -> Shift:
    shift = next((each for each in found if each.begins <= at < each.ends), None)
    if shift is None:
        raise UsageError("日期超出了可以排班的范围")
    return shift


def _staffed(layer: Layer, at: datetime, zone: ZoneInfo) -> bool:
    today = at.astimezone(zone).date()
    # A window that passes midnight belongs to the day on which it begins.
    return any(
        _counts(layer, day) and _within(layer, day, at, zone)
        for day in (today - DAY, today, today + DAY)
    )


def _counts(layer: Layer, day: date) -> bool:
    match layer.days:
        case Days.EVERY:
            return True
        case Days.WORKDAYS:
            return calendar_cn.is_workday(day)
        case Days.HOLIDAYS:
            return not calendar_cn.is_workday(day)


def _within(layer: Layer, day: date, at: datetime, zone: ZoneInfo) -> bool:
    begins, ends = _window(layer, day, zone)
    return begins <= at < ends


def _window(layer: Layer, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    last = day if layer.begins < layer.ends else day + DAY
    return instant(day, layer.begins, zone), instant(last, layer.ends, zone)


def _turns(layer: Layer, at: datetime, zone: ZoneInfo) -> int:
    """Return how many turns ended before an instant; before the first it counts backwards."""
    today = at.astimezone(zone).date()
    handed = next(
        day for day in (today + DAY, today, today - DAY) if instant(day, layer.handoff, zone) <= at
    )
    return (handed - layer.since).days // layer.every


def _edges(
    roster: Roster, overrides: Sequence[Override], since: datetime, until: datetime
) -> Iterator[datetime]:
    """Yield every instant between the two at which somebody else may come on call."""
    zone = ZoneInfo(roster.zone)
    first, last = since.astimezone(zone).date() - 2 * DAY, until.astimezone(zone).date() + DAY
    found: set[datetime] = set()
    for layer in roster.layers:
        for day in _days(first, last):
            found.add(instant(day, layer.handoff, zone))
            found.update(_window(layer, day, zone))
    for each in overrides:
        found.update((each.begins, each.ends))
    return (edge for edge in found if since < edge < until)


def _days(first: date, last: date) -> Iterator[date]:
    return (first + DAY * number for number in range((last - first).days + 1))

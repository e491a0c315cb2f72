"""Events that come back, as calendars write an on-call rotation (RFC 5545, 3.8.5.3): daily or weekly.

Reckoned by the wall clock of the event's zone, start and end alike: a shift from nine to nine goes
from nine to nine when the clocks change too, and two that touch go on touching. What a rule may say
beyond that (months, positions, hours) is refused and named: a rotation that is half understood
would leave somebody uncalled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any

import icalendar
from dateutil import rrule

from adapters.port import UsageError

AHEAD = timedelta(days=366)
"""So far ahead a rule is written out; one without an end has none."""

MOST = 20_000
"""Times that one rule may have from its first: what began when there were no computers is a mistake."""

FREQUENCIES = {"DAILY": rrule.DAILY, "WEEKLY": rrule.WEEKLY}
WEEKDAYS = {
    "MO": rrule.MO, "TU": rrule.TU, "WE": rrule.WE, "TH": rrule.TH, "FR": rrule.FR,
    "SA": rrule.SA, "SU": rrule.SU,
}  # fmt: skip
PARTS = frozenset({"FREQ", "INTERVAL", "BYDAY", "UNTIL", "COUNT", "WKST"})


@dataclass(frozen=True, slots=True)
class Rule:
    """When an event comes back; `until` is an instant, a local time or a day, as it was written."""

    frequency: str
    interval: int = 1
    weekdays: tuple[str, ...] = ()
    until: datetime | date | None = None
    count: int | None = None
    week_begins: str = "MO"


def rule_of(written: object) -> Rule:
    """Return what an RRULE says. Raises UsageError, which says what of it is not understood."""
    if isinstance(written, list):
        raise UsageError("有多条重复规则")
    if not isinstance(written, icalendar.vRecur) or not written.get("FREQ"):
        raise UsageError("重复规则无法识别")
    if beyond := sorted(set(written) - PARTS):
        raise UsageError(f"重复规则里有 {'、'.join(beyond)}：只支持按天或按周重复")
    frequency = str(_one(written, "FREQ", "")).upper()
    if frequency not in FREQUENCIES:
        raise UsageError(f"重复规则是 {frequency[:20]}：只支持按天（DAILY）或按周（WEEKLY）")
    weekdays = tuple(str(day).upper() for day in written.get("BYDAY", ()))
    if any(day not in WEEKDAYS for day in weekdays):
        raise UsageError(f"重复规则的 BYDAY={','.join(weekdays)[:40]} 不是星期几")
    interval, count = _one(written, "INTERVAL", 1), _one(written, "COUNT", None)
    until = _one(written, "UNTIL", None)
    if not isinstance(interval, int) or interval < 1 or (count is not None and count < 1):
        raise UsageError("重复规则的 INTERVAL 和 COUNT 要大于 0")
    if count is not None and until is not None:
        raise UsageError("重复规则里 COUNT 和 UNTIL 只能有一个")
    if until is not None and not isinstance(until, date):
        raise UsageError("重复规则的 UNTIL 不是日期")
    week_begins = str(_one(written, "WKST", "MO")).upper()
    if week_begins not in WEEKDAYS:
        raise UsageError("重复规则的 WKST 不是星期几")
    return Rule(frequency, interval, weekdays, until, count, week_begins)


def times(
    rule: Rule,
    begins: datetime,
    ends: datetime,
    zone: tzinfo,
    now: datetime,
    without: AbstractSet[datetime | date],
) -> Sequence[tuple[datetime, datetime]]:
    """Return when an event is that first was from `begins` to `ends`, by the clock of `zone` and
    without one; of what is not over yet, and until `AHEAD`.

    `without` are the instants, or the local days, at which it is not. Raises UsageError for a rule
    of more than `MOST` times.
    """
    length, found = ends - begins, []
    for number, local in enumerate(_local(rule, begins, now, zone)):
        at, over = instant_of(local, zone), instant_of(local + length, zone)
        if (rule.count is not None and number >= rule.count) or _after(local, at, rule.until):
            break
        if number >= MOST:
            raise UsageError(f"重复规则从 {begins:%Y-%m-%d} 起超过 {MOST} 次：请从较近的日期开始")
        if over > now and at < over and not {at, local.date()} & without:
            found.append((at, over))
    return found


def instant_of(local: datetime, zone: tzinfo) -> datetime:
    """Return a wall clock's time as an instant; of one that comes twice, the first."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _local(rule: Rule, begins: datetime, now: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the local times, without the rule's own end: that one is reckoned by instants."""
    horizon = (now + AHEAD).astimezone(zone).replace(tzinfo=None)
    there = rrule.rrule(
        FREQUENCIES[rule.frequency],
        dtstart=begins,
        interval=rule.interval,
        wkst=WEEKDAYS[rule.week_begins],
        byweekday=[WEEKDAYS[day] for day in rule.weekdays] or None,
        # It must end even where no day of it is on such a weekday.
        until=horizon,
    )
    yield from islice(there, MOST + 1)


def _after(local: datetime, at: datetime, until: datetime | date | None) -> bool:
    match until:
        case None:
            return False
        case datetime(tzinfo=None):
            return local > until
        case datetime():
            return at > until
    return local.date() > until


def _one(written: icalendar.vRecur, part: str, otherwise: Any) -> Any:
    there = written.get(part, [otherwise])
    if not isinstance(there, list) or len(there) != 1:
        raise UsageError(f"重复规则的 {part} 有多个值")
    return there[0]

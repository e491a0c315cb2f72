"""Times of the week, month and year: when a route is mute, or when alone it speaks.

The meaning is Alertmanager's: each kind of condition that is given must hold, one of its values is
enough, and days beyond a month's end are cut at it. Without a location, times are UTC.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from adapters.port import UsageError

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = tuple(name.lower() for name in calendar.month_name)
"""By number; the first is nothing."""

LAST = 31
SHORTEST = 28
"""Days of the shortest month."""
DAY = 24 * 60
_CLOCK = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")


@dataclass(frozen=True, slots=True)
class Span:
    """From the first to the last, both included; of times in minutes the last is excluded."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Conditions on an instant; an empty one is no condition."""

    times: tuple[Span, ...] = ()
    weekdays: tuple[Span, ...] = ()
    """Sunday is 0."""
    days: tuple[Span, ...] = ()
    """Of the month; -1 is the last."""
    months: tuple[Span, ...] = ()
    years: tuple[Span, ...] = ()
    location: tzinfo = UTC


def holds(interval: Interval, at: datetime) -> bool:
    """Does an instant lie in an interval?"""
    local = at.astimezone(interval.location)
    minute = local.hour * 60 + local.minute
    return (
        (not interval.times or any(s.first <= minute < s.last for s in interval.times))
        and _among(interval.weekdays, local.isoweekday() % 7)
        and (not interval.days or _day(interval.days, local))
        and _among(interval.months, local.month)
        and _among(interval.years, local.year)
    )


def _among(spans: tuple[Span, ...], value: int) -> bool:
    return not spans or any(span.first <= value <= span.last for span in spans)


def _day(spans: tuple[Span, ...], local: datetime) -> bool:
    length = calendar.monthrange(local.year, local.month)[1]

    def place(day: int) -> int:
        return length + day + 1 if day < 0 else day

    for span in spans:
        first, last = place(span.first), place(span.last)
        # A range that begins beyond the month's end is nothing; one that only ends there is cut.
        if first <= length and first <= local.day <= min(last, length):
            return True
    return False


def interval(
    times: Iterable[tuple[str, str]] = (),
    weekdays: Iterable[str] = (),
    days: Iterable[str] = (),
    months: Iterable[str] = (),
    years: Iterable[str] = (),
    location: str = "",
) -> Interval:
    """Read an interval as Alertmanager writes it: times as ("09:00", "17:00"), ranges as
    "monday:friday", "1:5", "-3:-1", "may:august", "2026:2027". UsageError says what is wrong."""
    return Interval(
        tuple(_times(first, last) for first, last in times),
        tuple(_range(text, _weekday) for text in weekdays),
        tuple(_days(text) for text in days),
        tuple(_range(text, _month) for text in months),
        tuple(_range(text, _number) for text in years),
        zone(location) if location else UTC,
    )


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name; UsageError when there is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise UsageError(f"不认识的时区「{name}」，例如 Asia/Shanghai") from None


def minutes(text: str) -> int:
    """Return a time of day as minutes since midnight; UsageError when it is none."""
    found = _CLOCK.fullmatch(text)
    if not found:
        raise UsageError(f"「{text}」不是时间：请写成 09:30，一天的末尾是 24:00")
    return DAY if found[1] is None else int(found[1]) * 60 + int(found[2])


def _times(first: str, last: str) -> Span:
    span = Span(minutes(first), minutes(last))
    if span.first >= span.last:
        raise UsageError(f"时间「{first}-{last}」的结束要晚于开始；跨过零点请写成两段")
    return span


def _days(text: str) -> Span:
    span = _range(text, _day_of_month)
    if span.first < 0 < span.last:
        raise UsageError(f"日子「{text}」从月末数起，就也要以月末数结束")
    # Months differ: judged, as Alertmanager does, by the shortest, without its last day.
    first, last = (day if day > 0 else SHORTEST + day for day in (span.first, span.last))
    if first > last:
        raise UsageError(f"日子「{text}」的结束早于开始")
    return span


def _range(text: str, read: Callable[[str], int]) -> Span:
    first, colon, last = text.lower().partition(":")
    span = Span(read(first), read(last if colon else first))
    # Days from the end of the month have an order of their own: see _days.
    if span.first > span.last and read is not _day_of_month:
        raise UsageError(f"范围「{text}」的结束早于开始")
    return span


def _weekday(text: str) -> int:
    if text not in WEEKDAYS:
        raise UsageError(f"「{text}」不是星期：请写 monday、tuesday……sunday")
    return WEEKDAYS.index(text)


def _month(text: str) -> int:
    if text in MONTHS[1:]:
        return MONTHS.index(text)
    number = _number(text)
    if not 1 <= number <= len(MONTHS) - 1:
        raise UsageError(f"「{text}」不是月份：1 到 12，或 january……december")
    return number


def _day_of_month(text: str) -> int:
    day = _number(text)
    if not 1 <= abs(day) <= LAST:
        raise UsageError(f"「{text}」不是一个月里的日子：1 到 31，或 -31 到 -1（从月末数）")
    return day


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text):
        raise UsageError(f"「{text}」不是数")
    return int(text)

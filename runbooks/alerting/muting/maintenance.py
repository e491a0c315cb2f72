"""Maintenance windows: planned work that is known before, once or again and again. Pure."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from adapters.port import UsageError
from runbooks.alerting.muting.matchers import Matcher
from runbooks.alerting.muting.silences import conditions, duration
from storage.records import Every, Maintenance
from storage.silences import LONGEST

HOW = (
    "例如 /maintain 11-28 22:00 2h host=db-01 升级数据库；"
    "每周的写 /maintain 每周六 22:00 2h 例行重启，马上开始写 /maintain 现在 1h 原因"
)
DAY = timedelta(days=1)
JUST = timedelta(minutes=5)
"""A start that is so long past was still to come when somebody began to type it."""

LATEST = timedelta(days=366)
"""How far ahead a window may be planned."""

AHEAD = 63
"""Days in which every window that comes back does so at least once."""

PERIOD = {
    Every.DAY: DAY,
    Every.WEEK: timedelta(days=7),
    Every.MONTH: timedelta(days=28),
}

_WEEKDAYS = "一二三四五六日"
_START = re.compile(
    r"(?:(?P<now>现在|now)|"
    r"(?:(?P<every>每天|每日|每(?:周|星期)(?P<weekday>[一二三四五六日天])|"
    r"每月(?:(?P<last>最后一天)|(?P<day>[0-9]{1,2})[日号]))\s*|"
    r"(?:(?P<year>[0-9]{4})-)?(?P<month>[0-9]{1,2})-(?P<date>[0-9]{1,2})\s+)?"
    r"(?P<hour>[0-9]{1,2})[:：](?P<minute>[0-9]{2}))(?=\s|$)"
)
_WORD = re.compile(r"\s*(\S+)\s*")


class Times(NamedTuple):
    """One time of a window."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What somebody plans."""

    starts_at: datetime
    lasts: timedelta
    every: Every
    day: int
    matchers: tuple[Matcher, ...]
    reason: str


def times(window: Maintenance, since: datetime, until: datetime, zone: tzinfo) -> Iterator[Times]:
    """Yield the times of a window that have an instant in common with [since, until), in order.

    One that was called off is over at that instant.
    """
    lasts = timedelta(minutes=window.minutes)
    for begin in _begins(window, since - lasts, until, zone):
        end = begin + lasts if window.ended_at is None else min(begin + lasts, window.ended_at)
        if begin < end and since < end and begin < until:
            yield Times(begin, end)


def running(window: Maintenance, at: datetime, zone: tzinfo) -> Times | None:
    """Return the time of a window in which an instant lies."""
    return next(times(window, at, at + timedelta(microseconds=1), zone), None)


def following(window: Maintenance, at: datetime, zone: tzinfo) -> Times | None:
    """Return the time of a window that runs at an instant, or else its next one."""
    until = max(at, window.starts_at) + timedelta(days=AHEAD)
    return next(times(window, at, until, zone), None)


def read(text: str, now: datetime, zone: tzinfo) -> Plan:
    """Return what `11-28 22:00 2h host=db-01 原因` plans; UsageError says what to write instead."""
    start = _START.match(text.strip())
    if not start:
        raise UsageError(f"请先写开始的时间。{HOW}")
    word = _WORD.match(text.strip(), start.end())
    lasts = duration(word[1]) if word else None
    if word is None or lasts is None:
        raise UsageError(f"请在时间后面写明多久，例如 30m、2h、1d。{HOW}")
    matchers, reason = conditions(text.strip()[word.end() :])
    every, day, begins = _start(start, now, zone)
    if not timedelta() < lasts <= min(LONGEST, PERIOD.get(every, LONGEST)):
        raise UsageError("维护窗口最长 7 天，重复的不能长到与下一次相接")
    over = every is Every.ONCE and begins + lasts <= now
    if over or (every is Every.ONCE and not now - JUST <= begins <= now + LATEST):
        raise UsageError("开始的时间应在现在以后、一年以内")
    if not reason:
        raise UsageError(f"请在最后写上做什么，客户会看到。{HOW}")
    return Plan(begins, lasts, every, day, matchers, reason)


def rhythm(window: Maintenance, zone: tzinfo) -> str:
    """Return when a window is, in words."""
    local = window.starts_at.astimezone(zone)
    match window.every:
        case Every.ONCE:
            return f"{local:%Y-%m-%d %H:%M}"
        case Every.DAY:
            return f"每天 {local:%H:%M}"
        case Every.WEEK:
            return f"每周{_WEEKDAYS[local.weekday()]} {local:%H:%M}"
    day = "最后一天" if window.day < 0 else f"{window.day} 日"
    return f"每月{day} {local:%H:%M}"


def _begins(
    window: Maintenance, since: datetime, until: datetime, zone: tzinfo
) -> Iterator[datetime]:
    if window.every is Every.ONCE:
        yield window.starts_at
        return
    first = window.starts_at.astimezone(zone)
    day = max(since.astimezone(zone).date(), first.date())
    while day <= until.astimezone(zone).date():
        begin = datetime.combine(day, first.time(), zone).astimezone(window.starts_at.tzinfo)
        # What shows its clock may lie before it was planned.
        if begin >= max(window.starts_at, window.created_at - JUST) and _falls(
            window, day, first.date()
        ):
            yield begin
        day += timedelta(days=1)


def _falls(window: Maintenance, day: date, first: date) -> bool:
    if window.every is Every.WEEK:
        return day.weekday() == first.weekday()
    return window.every is Every.DAY or _of_month(window.day, day)


def _of_month(wanted: int, day: date) -> bool:
    """A month that has no 31st has its last day instead."""
    length = calendar.monthrange(day.year, day.month)[1]
    return day.day == (length if wanted < 0 else min(wanted, length))


def _start(found: re.Match[str], now: datetime, zone: tzinfo) -> tuple[Every, int, datetime]:
    if found["now"]:
        return Every.ONCE, 0, now
    try:
        clock = time(int(found["hour"]), int(found["minute"]))
        if found["date"]:
            return Every.ONCE, 0, _dated(found, clock, now, zone)
    except ValueError:
        raise UsageError(f"没有这个时间：{found[0]}") from None
    every, day, weekday = _every(found)
    today = now.astimezone(zone).date()
    # Of yesterday as well: midnight may have come while somebody typed.
    for ahead in range(-1, AHEAD):
        date_ = today + timedelta(days=ahead)
        begins = datetime.combine(date_, clock, zone).astimezone(now.tzinfo)
        if begins < now - JUST or (weekday is not None and date_.weekday() != weekday):
            continue
        if every is not Every.MONTH or _of_month(day, date_):
            return every, day, _shown(begins, clock, every, zone)
    raise UsageError(f"没有这个时间：{found[0]}")


def _shown(begins: datetime, clock: time, every: Every, zone: tzinfo) -> datetime:
    """Return a start that shows the clock of what comes back: where the first one falls into the hour
    that a change of clocks leaves out, the same one of before, which is never held."""
    while every is not Every.ONCE and begins.astimezone(zone).time() != clock:
        begins = datetime.combine(
            begins.astimezone(zone).date() - PERIOD[every], clock, zone
        ).astimezone(begins.tzinfo)
    return begins


def _dated(found: re.Match[str], clock: time, now: datetime, zone: tzinfo) -> datetime:
    """Return a day's time; without a year, the next one that is to come. One that is hardly past is
    refused: the same day of next year was not meant."""
    month, day = int(found["month"]), int(found["date"])
    year = int(found["year"] or (now - DAY).astimezone(zone).year)
    begins = datetime.combine(date(year, month, day), clock, zone).astimezone(now.tzinfo)
    while begins <= now - DAY and not found["year"]:
        year += 1
        begins = datetime.combine(date(year, month, day), clock, zone).astimezone(now.tzinfo)
    if now - DAY < begins < now - JUST:
        raise UsageError(
            f"{month:02}-{day:02} {clock:%H:%M} 已经过去：马上开始请写 /maintain 现在 2h 原因；"
            f"要的是明年，请写 {year + 1}-{month:02}-{day:02} {clock:%H:%M}"
        )
    return begins


def _every(found: re.Match[str]) -> tuple[Every, int, int | None]:
    """Return how often, which day of the month, and which day of the week (Monday is 0)."""
    if found["every"] is None:
        return Every.ONCE, 0, None
    if found["weekday"]:
        return Every.WEEK, 0, _WEEKDAYS.index(found["weekday"].replace("天", "日"))
    if found["last"]:
        return Every.MONTH, -1, None
    if found["day"]:
        day = int(found["day"])
        if not 1 <= day <= 31:  # noqa: PLR2004 - days of a month
            raise UsageError(f"没有这个日子：每月{day}日")
        return Every.MONTH, day, None
    return Every.DAY, 0, None

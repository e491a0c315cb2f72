"""On-call as an iCalendar file, out for everybody's calendar and in as overrides (RFC 5545)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import icalendar

from adapters.port import UsageError
from runbooks.alerting.rota import Shift, instant
from storage.roster import Roster

GAP = "无人值班"
MOST = 500
"""Events in one file."""
REPEATS = ("RRULE", "RDATE", "RECURRENCE-ID")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a file: who is on call from when to when."""

    name: str
    begins: datetime
    ends: datetime


def written(title: str, roster: Roster, shifts: Sequence[Shift], now: datetime) -> bytes:
    """Return the shifts as a calendar; an event keeps its name when the file is made again, so that
    a calendar that reads it once more shows nothing twice."""
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//Vigilbot//on-call//ZH")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", title)
    for shift in shifts:
        event = icalendar.Event()
        begins = shift.begins.astimezone(UTC)
        event.add("uid", f"oncall-{roster.customer}-{begins:%Y%m%dT%H%M%SZ}@vigilbot")
        event.add("dtstamp", now.astimezone(UTC))
        event.add("dtstart", begins)
        event.add("dtend", shift.ends.astimezone(UTC))
        event.add("summary", shift.callee.name if shift.callee else GAP)
        event.add("description", shift.why)
        event.add("transp", "TRANSPARENT")
        calendar.add_component(event)
    content: bytes = calendar.to_ical()
    return content


def read(content: bytes, roster: Roster) -> tuple[Entry, ...]:
    """Return the events of a file; the title of each is somebody of the roster.

    Raises UsageError with everything that is wrong: then nothing is taken. Events without a zone,
    and whole days, are by the roster's zone; an event that is named a gap is none.
    """
    try:
        calendar = icalendar.Calendar.from_ical(content)
    except (ValueError, IndexError, KeyError) as error:
        raise UsageError("这不是一份 iCalendar（.ics）文件：请从日历里重新导出") from error
    events = calendar.walk("VEVENT")
    if not events:
        raise UsageError("日历里没有任何事件（VEVENT）")
    if len(events) > MOST:
        raise UsageError(f"日历里有 {len(events)} 个事件，最多 {MOST} 个：请缩短导出的时间范围")
    known = {callee.name for callee in roster.callees}
    zone = ZoneInfo(roster.zone)
    found: list[Entry] = []
    wrong: list[str] = []
    for number, event in enumerate(events, start=1):
        name = str(event.get("SUMMARY", "")).strip()
        span = _span(event, zone)
        if name == GAP:
            continue
        if any(event.get(key) for key in REPEATS):
            wrong.append(f"第 {number} 个事件「{name[:40]}」是重复事件：请导出为单次事件")
        elif name not in known:
            wrong.append(f"第 {number} 个事件「{name[:40]}」不是值班表里的人")
        elif span is None:
            wrong.append(f"第 {number} 个事件「{name[:40]}」的起止时间不对")
        else:
            found.append(Entry(name, *span))
    if wrong:
        raise UsageError("没有导入，请改正后再导入：\n" + "\n".join(wrong[:20]))
    return tuple(found)


def _span(event: icalendar.cal.Component, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    begins = _instant(event, "DTSTART", zone)
    ends = _instant(event, "DTEND", zone)
    length = _value(event, "DURATION")
    if begins and ends is None and isinstance(length, timedelta):
        ends = begins + length
    if begins is None or ends is None or ends <= begins:
        return None
    return begins, ends


def _instant(event: icalendar.cal.Component, key: str, zone: ZoneInfo) -> datetime | None:
    match _value(event, key):
        case datetime(tzinfo=None) as local:
            return instant(local.date(), local.time(), zone)
        case datetime() as at:
            return at.astimezone(UTC)
        case date() as day:
            return instant(day, time(0), zone)
    return None


def _value(event: icalendar.cal.Component, key: str) -> object:
    """Return what a property says; None when it is missing. One that cannot be read is a text."""
    found = event.get(key)
    return None if isinstance(found, str) else getattr(found, "dt", None)

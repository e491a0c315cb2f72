"""On-call as an iCalendar file, out for everybody's calendar and in as overrides (RFC 5545)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import icalendar

from adapters.port import UsageError
from runbooks.alerting.oncall import recurring
from runbooks.alerting.oncall.rota import Shift
from storage.roster import Roster

GAP = "无人值班"
MOST = 500
"""Events in one file, and shifts that they come to."""

Changed = Mapping[str, AbstractSet[datetime | date]]
"""UID of an event that comes back -> which of its times are events of their own."""


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


def read(content: bytes, roster: Roster, now: datetime) -> tuple[Entry, ...]:
    """Return the events of a file; the title of each is somebody of the roster. An event that comes
    back is written out from now until a year ahead.

    Raises UsageError with everything that is wrong: then nothing is taken. Events without a zone,
    and whole days, are by the roster's zone; an event that is named a gap is none.
    """
    events, zone = _events(content), ZoneInfo(roster.zone)
    found: list[Entry] = []
    wrong: list[str] = []
    try:
        changed = _changed(events, zone)
    except UsageError as error:
        raise UsageError(f"没有导入：有一个改动过的事件{error}") from error
    for number, event in enumerate(events, start=1):
        try:
            found += _entries(event, roster, now, changed)
        except UsageError as error:
            name = str(event.get("SUMMARY", "")).strip()
            wrong.append(f"第 {number} 个事件「{name[:40]}」{error}")
    if wrong:
        raise UsageError("没有导入，请改正后再导入：\n" + "\n".join(wrong[:20]))
    if len(found) > MOST:
        raise UsageError(f"一年内共有 {len(found)} 个班次，最多 {MOST} 个：请给重复事件设结束日期")
    return tuple(found)


def _events(content: bytes) -> Sequence[icalendar.cal.Component]:
    try:
        events = icalendar.Calendar.from_ical(content).walk("VEVENT")
    except (ValueError, IndexError, KeyError) as error:
        raise UsageError("这不是一份 iCalendar（.ics）文件：请从日历里重新导出") from error
    if not events:
        raise UsageError("日历里没有任何事件（VEVENT）")
    if len(events) > MOST:
        raise UsageError(f"日历里有 {len(events)} 个事件，最多 {MOST} 个：请缩短导出的时间范围")
    return events


def _entries(
    event: icalendar.cal.Component, roster: Roster, now: datetime, changed: Changed
) -> list[Entry]:
    name = str(event.get("SUMMARY", "")).strip()
    if name == GAP or str(event.get("STATUS", "")).upper() == "CANCELLED":
        return []
    if name not in {callee.name for callee in roster.callees}:
        raise UsageError("不是值班表里的人")
    spans = _spans(event, ZoneInfo(roster.zone), now, changed)
    return [Entry(name, *span) for span in spans]


def _spans(
    event: icalendar.cal.Component,
    zone: ZoneInfo,
    now: datetime,
    changed: Changed,
) -> Sequence[tuple[datetime, datetime]]:
    """Return when an event is; of one that comes back, all that is still to be. Raises UsageError
    with what is wrong."""
    if beyond := [key for key in ("RDATE", "EXRULE") if event.get(key)]:
        raise UsageError(f"有附加或例外的日期（{'、'.join(beyond)}）：请导出为单次事件")
    begins, here = _local(event, "DTSTART", zone)
    ends, there = _local(event, "DTEND", zone)
    length = _value(event, "DURATION")
    if begins and ends is None and isinstance(length, timedelta):
        ends, there = begins + length, here
    elif begins and event.get("DTEND") is None and _is_day(_value(event, "DTSTART")):
        ends, there = begins + timedelta(days=1), here  # RFC 5545, 3.6.1
    if begins is None or ends is None:
        raise UsageError("的起止时间不对")
    if event.get("RRULE") is not None:
        if event.get("RECURRENCE-ID"):
            raise UsageError("是改动过的一次，不能再重复")
        ends = recurring.instant_of(ends, there).astimezone(here).replace(tzinfo=None)
        if ends <= begins:
            raise UsageError("的起止时间不对")
        without = _without(event, zone) | changed.get(str(event.get("UID", "")), frozenset())
        rule = recurring.rule_of(event["RRULE"])
        return recurring.times(rule, begins, ends, here, now, without)
    at, over = recurring.instant_of(begins, here), recurring.instant_of(ends, there)
    if event.get("DTEND") is None and isinstance(length, timedelta):
        over = at + length
    if over <= at:
        raise UsageError("的起止时间不对")
    return [(at, over)]


def _changed(events: Sequence[icalendar.cal.Component], zone: ZoneInfo) -> Changed:
    """Return what a calendar writes when somebody moves or gives away a single shift."""
    found: dict[str, set[datetime | date]] = {}
    for event in events:
        local, there = _local(event, "RECURRENCE-ID", zone)
        if local is None:
            continue
        if event["RECURRENCE-ID"].params.get("RANGE"):
            raise UsageError("也改动了此后的各次（RANGE）：请导出为单次事件")
        # A calendar that names the day alone means the shift of that day.
        day = _is_day(_value(event, "RECURRENCE-ID"))
        at = local.date() if day else recurring.instant_of(local, there)
        found.setdefault(str(event.get("UID", "")), set()).add(at)
    return found


def _without(event: icalendar.cal.Component, zone: ZoneInfo) -> frozenset[datetime | date]:
    """Return the times at which an event that comes back is not."""
    written = event.get("EXDATE")
    found: set[datetime | date] = set()
    for each in written if isinstance(written, list) else [written] if written else []:
        if not isinstance(each, icalendar.prop.vDDDLists):
            raise UsageError("的例外日期（EXDATE）无法识别")
        for value in each.dts:
            match value.dt:
                case datetime(tzinfo=None) as local:
                    _known(each.params.get("TZID"))
                    found.add(recurring.instant_of(local, zone))
                case datetime() as at:
                    found.add(at.astimezone(UTC))
                case date() as day:
                    found.add(day)
    return frozenset(found)


def _local(
    event: icalendar.cal.Component, key: str, zone: ZoneInfo
) -> tuple[datetime | None, tzinfo]:
    """Return a property as a wall clock's time, and whose clock that is; None without one. Raises
    UsageError for a zone that nobody knows."""
    match _value(event, key):
        case datetime(tzinfo=None) as local:
            _known(event[key].params.get("TZID"))
            return local, zone
        case datetime(tzinfo=there) as at:
            return at.replace(tzinfo=None), there or zone
        case date() as day:
            return datetime.combine(day, time(0)), zone
    return None, zone


def _known(zone: str | None) -> None:
    """Raise UsageError where a time without one names a zone: nobody knows it, and its hours would be
    guessed."""
    if zone:
        raise UsageError(f"的时区「{zone[:40]}」不认识：请改用 Asia/Shanghai 这样的名称")


def _is_day(value: object) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _value(event: icalendar.cal.Component, key: str) -> object:
    """Return what a property says; None when it is missing. One that cannot be read is a text."""
    found = event.get(key)
    return None if isinstance(found, str) else getattr(found, "dt", None)

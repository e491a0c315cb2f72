"""On-call in everybody's calendar: what goes out comes back, and a bad file changes nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.port import UsageError
from runbooks.alerting.oncall import ical, rota
from storage.roster import Callee, Layer, Roster

CHINA = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
NAMES = ("李工", "赵, 工; \\n", "Zoë O'Neil")
ROSTER = Roster(
    7,
    "Asia/Shanghai",
    tuple(map(Callee, NAMES)),
    (Layer("主", NAMES, date(2026, 11, 23), every=1),),
)


def file(*events: str) -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x"]
    for event in events:
        lines += ["BEGIN:VEVENT", "UID:1", *event.split("|"), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


@given(st.integers(1, 60), st.integers(0, 100_000))
def test_what_goes_out_comes_back(days: int, minutes: int) -> None:
    since = NOW + timedelta(minutes=minutes)
    shifts = rota.shifts(ROSTER, (), since, since + timedelta(days=days))
    back = ical.read(ical.written("海蓝 值班", ROSTER, shifts, NOW), ROSTER, NOW)
    wanted = [(s.callee.name, s.begins, s.ends) for s in shifts if s.callee]
    assert [(e.name, e.begins, e.ends) for e in back] == wanted


def test_a_gap_is_in_the_calendar_by_its_name_and_is_nobody_when_it_comes_back() -> None:
    empty = Roster(7, "Asia/Shanghai", ROSTER.callees)
    shifts = rota.shifts(empty, (), NOW, NOW + timedelta(days=1))
    content = ical.written("海蓝", empty, shifts, NOW)
    (event,) = icalendar.Calendar.from_ical(content).walk("VEVENT")
    assert event["SUMMARY"] == ical.GAP
    assert event["DESCRIPTION"] == rota.NO_LAYER
    assert ical.read(content, empty, NOW) == ()


def test_the_same_shift_has_the_same_name_in_a_later_file() -> None:
    def uids(now: datetime) -> set[str]:
        shifts = rota.shifts(ROSTER, (), NOW, NOW + timedelta(days=3))
        calendar = icalendar.Calendar.from_ical(ical.written("海蓝", ROSTER, shifts, now))
        return {str(event["UID"]) for event in calendar.walk("VEVENT")}

    assert uids(NOW) == uids(NOW + timedelta(days=1))


def test_days_and_times_without_a_zone_are_the_rosters() -> None:
    day = "SUMMARY:李工|DTSTART;VALUE=DATE:20261201|DTEND;VALUE=DATE:20261202"
    local = "SUMMARY:李工|DTSTART:20261203T090000|DURATION:PT8H"
    one, other = ical.read(file(day, local), ROSTER, NOW)
    assert one.begins == datetime(2026, 12, 1, tzinfo=CHINA)
    assert one.ends == datetime(2026, 12, 2, tzinfo=CHINA)
    assert other.begins == datetime(2026, 12, 3, 9, tzinfo=CHINA)
    assert other.ends == datetime(2026, 12, 3, 17, tzinfo=CHINA)


def test_a_day_without_an_end_is_that_day() -> None:
    """RFC 5545, 3.6.1; also where it comes back."""
    day = "SUMMARY:李工|DTSTART;VALUE=DATE:20261201"
    found = ical.read(file(day, f"{day}|RRULE:FREQ=WEEKLY;COUNT=2"), ROSTER, NOW)
    begins = [datetime(2026, 12, day, tzinfo=CHINA) for day in (1, 1, 8)]
    assert [(e.begins, e.ends) for e in found] == [(at, at + timedelta(days=1)) for at in begins]


def test_a_shift_that_was_given_away_by_its_day_is_the_other_ones() -> None:
    """Some calendars name the day alone of a shift that has hours."""
    night = (
        "DTSTART;TZID=Asia/Shanghai:2026120{0}T180000|DTEND;TZID=Asia/Shanghai:2026120{1}T090000"
    )
    given = f"SUMMARY:{NAMES[2]}|RECURRENCE-ID;VALUE=DATE:20261202|" + night.format(2, 3)
    series = "SUMMARY:李工|RRULE:FREQ=DAILY;COUNT=3|" + night.format(1, 2)
    found = ical.read(file(series, given), ROSTER, NOW)
    whose = {entry.begins.astimezone(CHINA).day: entry.name for entry in found}
    assert (len(found), whose) == (3, {1: "李工", 2: NAMES[2], 3: "李工"})


GOOD = "SUMMARY:李工|DTSTART:20261203T090000Z|DTEND:20261203T100000Z"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "iCalendar"),
        (b"\xff\xfe\x00", "iCalendar"),
        (b"BEGIN:VCALENDAR", "iCalendar"),
        (b"BEGIN:VEVENT\r\nEND:VEVENT\r\n", "不是值班表里的人"),
        (file(), "没有任何事件"),
        (file(*[GOOD] * 501), "最多 500"),
        (file(GOOD, GOOD.replace("李工", "张三")), "第 2 个事件「张三」不是值班表里的人"),
        (file(GOOD + "|RRULE:FREQ=MONTHLY"), "MONTHLY"),
        (file(GOOD + "|RRULE:FREQ=HOURLY;COUNT=3"), "HOURLY"),
        (file(GOOD + "|RRULE:FREQ=WEEKLY;BYDAY=1MO"), "BYDAY=1MO"),
        (file(GOOD + "|RRULE:FREQ=DAILY;BYMONTH=3;BYHOUR=9"), "BYHOUR、BYMONTH"),
        (file(GOOD + "|RRULE:FREQ=DAILY;INTERVAL=0"), "大于 0"),
        (file(GOOD + "|RRULE:FREQ=DAILY;COUNT=0"), "大于 0"),
        (file(GOOD + "|RRULE:FREQ=DAILY;COUNT=3;UNTIL=20261231"), "只能有一个"),
        (file(GOOD + "|RRULE:FREQ=DAILY;COUNT=3,4"), "COUNT 有多个值"),
        (file(GOOD + "|RRULE:FREQ=DAILY;UNTIL=nix"), "无法识别"),
        (file(GOOD + "|RRULE:FREQ=DAILY|RRULE:FREQ=WEEKLY"), "多条重复规则"),
        (file(GOOD + "|RRULE:quatsch"), "无法识别"),
        (file(GOOD + "|RRULE:FREQ=DAILY;COUNT=3|EXDATE:quatsch"), "EXDATE"),
        (file(GOOD + "|RDATE:20261205T090000Z"), "RDATE"),
        (file(GOOD + "|RRULE:FREQ=DAILY;COUNT=9|EXRULE:FREQ=WEEKLY;BYDAY=SA"), "EXRULE"),
        (
            file(GOOD + "|RRULE:FREQ=DAILY;COUNT=3|EXDATE;TZID=Nirgends:20261204T090000"),
            "时区「Nirgends」不认识",
        ),
        (
            file(
                GOOD + "|RRULE:FREQ=DAILY;COUNT=9",
                GOOD.replace("1203", "1205")
                + "|RECURRENCE-ID;RANGE=THISANDFUTURE:20261205T090000Z",
            ),
            "此后的各次（RANGE）",
        ),
        (file(GOOD.replace("2026", "1926") + "|RRULE:FREQ=DAILY"), "较近的日期"),
        (file(GOOD + "|RRULE:FREQ=DAILY", GOOD + "|RRULE:FREQ=DAILY"), "请给重复事件设结束日期"),
        (
            file(GOOD.replace("START:", "START;TZID=Nirgends/Wo:").replace("90000Z", "90000")),
            "时区「Nirgends/Wo」不认识",
        ),
        (file(GOOD.replace("100000", "090000")), "起止时间"),
        (file("SUMMARY:李工"), "起止时间"),
        (file("SUMMARY:李工|DTSTART:明天|DTEND:后天"), "起止时间"),
    ],
)
def test_a_bad_file_is_refused_with_what_to_mend(content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ical.read(content, ROSTER, NOW)


RULES = st.text("FREQ=DAILYWKSTBOUN;,0123456789MOTH-", max_size=60)


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(file)
    | RULES.map(lambda rule: file(f"{GOOD}|RRULE:FREQ=DAILY;{rule}"))
    | RULES.map(lambda rule: file(f"{GOOD}|RRULE:{rule}|EXDATE:{rule}"))
)
def test_no_file_does_more_than_to_be_refused(content: bytes) -> None:
    try:
        entries = ical.read(content, ROSTER, NOW)
    except UsageError:
        return
    assert all(entry.begins < entry.ends for entry in entries)

"""A rotation that comes back in a calendar: every shift of it, none twice, and never without an end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.words import Person
from runbooks.alerting.oncall import ical, recurring, rota
from runbooks.alerting.oncall.ical import Entry
from storage.roster import Callee, Layer, Override, Roster
from tests.unit.test_ical import file

CHINA, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
BY = Person("web", "li", "李工")
NAMES = ("李工", "赵工")
ROSTER = Roster(
    7, "Asia/Shanghai", tuple(map(Callee, NAMES)), (Layer("主", NAMES, date(2026, 11, 23)),)
)
NINE = "DTSTART;TZID=Asia/Shanghai:20261201T090000|DTEND;TZID=Asia/Shanghai:20261202T090000"
DAY = timedelta(days=1)
WEEK = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def read(*events: str, now: datetime = NOW) -> tuple[Entry, ...]:
    return ical.read(file(*events), ROSTER, now)


def days(entries: Sequence[Entry]) -> list[str]:
    return [f"{entry.begins.astimezone(CHINA):%m-%d}" for entry in entries]


def test_two_people_who_take_turns_by_weekday() -> None:
    """What a calendar writes for a rotation: two weekly events, each with its days."""
    found = read(
        f"SUMMARY:李工|{NINE}|RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,WE;COUNT=4",
        f"SUMMARY:赵工|{NINE.replace('1201', '1203').replace('1202', '1204')}"
        "|RRULE:FREQ=WEEKLY;BYDAY=TH;UNTIL=20261217T010000Z",
    )
    assert [entry.name for entry in found] == ["李工"] * 4 + ["赵工"] * 3
    assert days(found) == ["12-01", "12-02", "12-15", "12-16", "12-03", "12-10", "12-17"]
    assert {entry.ends - entry.begins for entry in found} == {DAY}


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20261204", "12-04"),
        ("20261204T090000", "12-04"),
        ("20261204T085959", "12-03"),
        ("20261204T010000Z", "12-04"),
        ("20261204T005959Z", "12-03"),
    ],
)
def test_the_end_of_a_rule_counts_in_itself(until: str, last: str) -> None:
    found = read(f"SUMMARY:李工|{NINE}|RRULE:FREQ=DAILY;UNTIL={until}")
    assert days(found)[-1] == last


def test_what_is_left_out_is_left_out_and_still_counts() -> None:
    """By its instant, in whatever zone it is written; a day by the event's own."""
    found = read(
        f"SUMMARY:李工|{NINE}|RRULE:FREQ=DAILY;COUNT=6"
        "|EXDATE;TZID=Asia/Shanghai:20261202T090000,20261203T000000|EXDATE:20261204T010000Z"
        "|EXDATE;VALUE=DATE:20261205"
    )
    assert days(found) == ["12-01", "12-03", "12-06"]


def test_a_shift_that_was_given_away_is_the_other_ones() -> None:
    """A calendar writes it as an event of its own that names the time which it replaces."""
    found = read(
        f"SUMMARY:李工|{NINE}|RRULE:FREQ=DAILY;COUNT=3",
        "SUMMARY:赵工|DTSTART:20261202T010000Z|DTEND:20261203T010000Z"
        "|RECURRENCE-ID;TZID=Asia/Shanghai:20261202T090000",
    )
    assert sorted((entry.begins, entry.name) for entry in found)[1][1] == "赵工"
    assert days(found) == ["12-01", "12-03", "12-02"]
    gone = read(
        f"SUMMARY:李工|{NINE}|RRULE:FREQ=DAILY;COUNT=3",
        f"SUMMARY:李工|{NINE}|STATUS:CANCELLED|RECURRENCE-ID:20261202T010000Z",
    )
    assert days(gone) == ["12-01", "12-03"]


def test_nine_is_nine_when_the_clocks_change_and_shifts_go_on_touching() -> None:
    """Berlin, where 2027-03-28 has 23 hours."""
    span = "DTSTART;TZID=Europe/Berlin:20270326T090000|DTEND;TZID=Europe/Berlin:20270327T090000"
    found = read(f"SUMMARY:李工|{span}|RRULE:FREQ=DAILY;COUNT=5")
    assert {entry.begins.astimezone(BERLIN).hour for entry in found} == {9}
    assert all(one.ends == other.begins for one, other in pairwise(found))
    assert [round((e.ends - e.begins) / timedelta(hours=1)) for e in found] == [24, 23, 24, 24, 24]


def test_a_rule_without_an_end_is_written_out_for_a_year_from_now() -> None:
    """Though it began long ago: of what is over nothing is taken, of what is on all."""
    old = NINE.replace("2026", "2019")
    found = read(f"SUMMARY:李工|{old}|RRULE:FREQ=DAILY")
    assert found[0].begins <= NOW < found[0].ends
    assert timedelta(days=365) <= found[-1].begins - NOW <= recurring.AHEAD
    assert len(found) == 367
    never = f"SUMMARY:李工|{NINE}|RRULE:FREQ=DAILY;INTERVAL=7;BYDAY=WE"
    assert read(never) == (), "the first of December is a Tuesday"


@settings(max_examples=60)
@given(
    st.sampled_from(("DAILY", "WEEKLY")),
    st.integers(1, 5),
    st.sets(st.sampled_from(WEEK)).map(sorted),
    st.sampled_from(WEEK),
    st.integers(0, 40),
)
def test_every_day_of_a_rule_is_there_and_no_other(
    frequency: str, interval: int, weekdays: list[str], begins: str, later: int
) -> None:
    """Against a count of the days themselves, for a hundred of them."""
    first = date(2026, 12, 1) + DAY * later
    byday = f";BYDAY={','.join(weekdays)}" if weekdays else ""
    rule = f"FREQ={frequency};INTERVAL={interval};WKST={begins}{byday}"
    start = f"{first:%Y%m%d}T090000"
    found = read(f"SUMMARY:李工|DTSTART:{start}|DURATION:PT8H|RRULE:{rule}")
    week_of = first - DAY * ((first.weekday() - WEEK.index(begins)) % 7)
    days_on = weekdays or [WEEK[first.weekday()] if frequency == "WEEKLY" else ""]
    wanted = []
    for number in range(100):
        day = first + DAY * number
        turn = number if frequency == "DAILY" else (day - week_of).days // 7
        if turn % interval == 0 and (WEEK[day.weekday()] in days_on or days_on == [""]):
            wanted.append(day)
    there = [entry.begins.astimezone(CHINA).date() for entry in found]
    assert [day for day in there if day < first + DAY * 100] == wanted


@settings(max_examples=25)
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.integers(0, 47),
            st.integers(1, 60),
            st.sampled_from(("FREQ=DAILY", "FREQ=DAILY;INTERVAL=2", "FREQ=WEEKLY;BYDAY=TU,SU")),
        ),
        min_size=1,
        max_size=4,
    ),
    minutes=st.integers(0, 10_000),
    layered=st.booleans(),
)
def test_each_minute_of_what_was_imported_has_one_person_or_a_named_gap(
    events: list[tuple[str, int, int, str]], minutes: int, *, layered: bool
) -> None:
    """However rules overlap: what comes of them are overrides, and of two the newer holds."""
    first = datetime(2026, 12, 1)  # noqa: DTZ001 - a wall clock's time, as the file has it
    found = read(
        *(
            f"SUMMARY:{name}|DTSTART:{first + timedelta(minutes=30 * at):%Y%m%dT%H%M%S}"
            f"|DURATION:PT{half * 30}M|RRULE:{rule};COUNT=30"
            for name, at, half, rule in events
        )
    )
    roster = ROSTER if layered else Roster(7, "Asia/Shanghai", ROSTER.callees)
    since = NOW + DAY * 5 + timedelta(minutes=minutes)
    until = since + timedelta(minutes=600)
    overrides = [
        Override(number, 7, entry.begins, entry.ends, entry.name, NOW, BY)
        for number, entry in enumerate(found)
    ]
    shifts = rota.shifts(roster, overrides, since, until)
    assert (shifts[0].begins, shifts[-1].ends) == (since, until)
    assert all(one.ends == other.begins for one, other in pairwise(shifts))
    for number in range(0, 600, 7):
        at = since + timedelta(minutes=number)
        (there,) = [shift for shift in shifts if shift.begins <= at < shift.ends]
        names = [each.name for each in found if each.begins <= at < each.ends]
        if names:
            assert there.callee
            assert there.callee.name == names[-1]
        else:
            assert (there.callee is None) != layered
            assert there.why

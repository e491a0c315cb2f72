"""Who is on call at each minute: one person or a named gap, whatever the layers and the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.port import UsageError
from adapters.words import Person
from runbooks.alerting.adopt import first_roster
from runbooks.alerting.oncall import calendar_cn, rostering, rota
from runbooks.case import Contact
from runbooks.kit import House
from storage.roster import Callee, Days, Layer, Override, Roster

LI, ZHAO, QIAN = Callee("李工"), Callee("赵工"), Callee("钱工")
EVERYBODY = (LI, ZHAO, QIAN)
BY = Person("web", "li", "李工")
MINUTE = timedelta(minutes=1)
CHINA = ZoneInfo("Asia/Shanghai")
ZONES = ("Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo")
CHANGES = (
    datetime(2026, 3, 8, 5, tzinfo=UTC),  # New York skips an hour
    datetime(2026, 11, 1, 4, tzinfo=UTC),  # and repeats one
    datetime(2026, 4, 4, 13, tzinfo=UTC),  # Lord Howe repeats half an hour
    datetime(2018, 11, 4, 1, tzinfo=UTC),  # Sao Paulo skips its midnight
    datetime(2018, 2, 17, 23, tzinfo=UTC),  # and repeats the hour before one
    datetime(2026, 9, 30, 12, tzinfo=UTC),  # the National Day and its 调休
)

clocks = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
layers = st.builds(
    Layer,
    name=st.sampled_from(("主", "夜", "备")),
    people=st.lists(st.sampled_from(("李工", "赵工", "钱工")), unique=True).map(tuple),
    since=st.dates(date(2018, 1, 1), date(2026, 12, 31)),
    every=st.integers(1, 10),
    handoff=clocks,
    days=st.sampled_from(Days),
    begins=clocks,
    ends=clocks,
)
rosters = st.builds(
    Roster,
    customer=st.just(1),
    zone=st.sampled_from(ZONES),
    callees=st.just(EVERYBODY),
    layers=st.lists(layers, max_size=3).map(tuple),
)


@st.composite
def moments(draw: st.DrawFn) -> datetime:
    """An instant near one at which a clock is changed, or a holiday begins."""
    return draw(st.sampled_from(CHANGES)) + MINUTE * draw(st.integers(-600, 600))


@st.composite
def overridden(draw: st.DrawFn, since: datetime) -> tuple[Override, ...]:
    spans = draw(st.lists(st.tuples(st.integers(-300, 900), st.integers(1, 600)), max_size=3))
    return tuple(
        Override(
            number,
            1,
            since + MINUTE * begins,
            since + MINUTE * (begins + length),
            draw(st.sampled_from(("李工", "赵工", "钱工", "离职的人"))),
            since,
            BY,
        )
        for number, (begins, length) in enumerate(spans, start=1)
    )


@settings(max_examples=60)
@given(st.data())
def test_each_minute_has_exactly_one_person_or_a_named_gap(data: st.DataObject) -> None:
    """The shifts cover all of the time, do not overlap, and say at each minute what the rule says
    that knows no shifts."""
    roster, since = data.draw(rosters), data.draw(moments())
    overrides = data.draw(overridden(since))
    until = since + MINUTE * 900
    found = rota.shifts(roster, overrides, since, until)
    assert (found[0].begins, found[-1].ends) == (since, until)
    assert all(one.ends == other.begins for one, other in pairwise(found))
    assert all(one.begins < one.ends for one in found)
    assert all((one.callee, one.why) != (other.callee, other.why) for one, other in pairwise(found))
    for number in range(900):
        at = since + MINUTE * number
        there = [shift for shift in found if shift.begins <= at < shift.ends]
        assert len(there) == 1
        assert (there[0].callee, there[0].why) == rota.on_call(roster, overrides, at)
        assert there[0].why, "a gap has a name"


@given(st.data())
def test_the_newest_override_of_somebody_who_is_there_holds(data: st.DataObject) -> None:
    roster, since = data.draw(rosters), data.draw(moments())
    overrides = data.draw(overridden(since))
    at = since + MINUTE * data.draw(st.integers(0, 600))
    holding = [o for o in overrides if o.begins <= at < o.ends and o.name != "离职的人"]
    callee, why = rota.on_call(roster, overrides, at)
    if holding:
        assert (callee and callee.name, why) == (holding[-1].name, rota.OVERRIDE)
    else:
        assert (callee, why) == rota.on_call(roster, (), at)


@given(rosters, moments())
def test_a_turn_never_goes_back_to_whoever_just_had_it(roster: Roster, since: datetime) -> None:
    """An hour that a clock change repeats does not bring the last one back."""
    around = Layer("主", ("李工", "赵工", "钱工"), date(2018, 1, 1), every=1)
    for layer in roster.layers or (around,):
        alone = Roster(
            1,
            roster.zone,
            EVERYBODY,
            (Layer("主", around.people, around.since, 1, layer.handoff),),
        )
        found = rota.shifts(alone, (), since, since + timedelta(days=3))
        names = [shift.callee.name for shift in found if shift.callee]
        order = list(around.people)
        for one, other in pairwise(names):
            assert order.index(other) == (order.index(one) + 1) % 3
        assert not rota.gaps(found)
        assert 3 <= len(found) <= 5


@given(rosters, moments(), st.integers(0, 20))
def test_a_climb_goes_round_the_roster_and_no_gap_ends_it(
    roster: Roster, at: datetime, ahead: int
) -> None:
    callee, _ = rota.after(roster, (), at, ahead)
    again, _ = rota.after(roster, (), at, ahead + len(EVERYBODY))
    assert callee is not None
    assert callee == again


@pytest.mark.parametrize(
    ("on_call", "ahead", "wanted"),
    [
        (ZHAO, 0, ZHAO),
        (ZHAO, 1, QIAN),
        (ZHAO, 2, LI),
        (QIAN, 1, LI),
        (None, 0, LI),
        (None, 1, ZHAO),
    ],
)
def test_the_next_level_is_who_stands_behind_whoever_is_on_call(
    on_call: Callee | None, ahead: int, wanted: Callee
) -> None:
    """In the roster's order, round its end; in a gap the roster's first one stands for them."""
    at = datetime(2026, 11, 25, 12, tzinfo=CHINA)
    layers = (Layer("主", (on_call.name,), date(2026, 11, 23)),) if on_call else ()
    callee, _ = rota.after(Roster(1, "Asia/Shanghai", EVERYBODY, layers), (), at, ahead)
    assert callee == wanted


def test_of_two_overrides_the_newer_one_holds() -> None:
    at = datetime(2026, 11, 25, 12, tzinfo=CHINA)
    roster = Roster(1, "Asia/Shanghai", EVERYBODY)
    first, second = (
        Override(number, 1, at - MINUTE, at + MINUTE, name, at, BY)
        for number, name in ((1, "李工"), (2, "赵工"))
    )
    assert rota.on_call(roster, (first, second), at) == (ZHAO, rota.OVERRIDE)
    assert rota.on_call(roster, (second, first), at) == (ZHAO, rota.OVERRIDE)


def test_an_hour_that_is_repeated_hands_over_once() -> None:
    """In New York 01:10 comes twice that day: the second time is after the hand-off at 01:30."""
    layer = Layer("主", ("李工", "赵工"), date(2026, 10, 31), 1, time(1, 30))
    roster = Roster(1, "America/New_York", EVERYBODY, (layer,))
    assert rota.on_call(roster, (), datetime(2026, 11, 1, 5, 29, tzinfo=UTC)) == (LI, "主")
    assert rota.on_call(roster, (), datetime(2026, 11, 1, 5, 30, tzinfo=UTC)) == (ZHAO, "主")
    assert rota.on_call(roster, (), datetime(2026, 11, 1, 6, 10, tzinfo=UTC)) == (ZHAO, "主")


def test_a_week_changes_at_nine_on_monday() -> None:
    roster = Roster(
        1, "Asia/Shanghai", EVERYBODY, (Layer("主", ("李工", "赵工"), date(2026, 11, 23)),)
    )
    monday = datetime(2026, 11, 30, 8, 59, tzinfo=CHINA)
    assert rota.on_call(roster, (), monday) == (LI, "主")
    assert rota.on_call(roster, (), monday + MINUTE) == (ZHAO, "主")


def test_a_day_worked_for_a_holiday_is_a_workday_and_the_holiday_is_none() -> None:
    """2026-10-10 is a Saturday that is worked, 2026-10-01 a Thursday that is not."""
    office = Layer(
        "白班", ("李工",), date(2026, 1, 1), 7, time(9), Days.WORKDAYS, time(9), time(18)
    )
    rest = Layer("假日", ("赵工",), date(2026, 1, 1), days=Days.HOLIDAYS)
    roster = Roster(1, "Asia/Shanghai", EVERYBODY, (office, rest))

    def who(day: int, hour: int) -> str:
        callee, why = rota.on_call(roster, (), datetime(2026, 10, day, hour, tzinfo=CHINA))
        return callee.name if callee else why

    assert who(10, 10) == "李工"
    assert who(1, 10) == "赵工"
    assert who(10, 20) == rota.NOT_STAFFED


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    night = Layer("夜", ("李工",), date(2026, 1, 1), 7, time(9), Days.WORKDAYS, time(22), time(6))
    roster = Roster(1, "Asia/Shanghai", EVERYBODY, (night,))
    saturday = datetime(2026, 11, 28, 5, 59, tzinfo=CHINA)
    assert rota.on_call(roster, (), saturday) == (LI, "夜")
    assert rota.on_call(roster, (), saturday + MINUTE) == (None, rota.NOT_STAFFED)


def test_beyond_the_published_years_weekdays_count_and_the_year_is_named() -> None:
    beyond = date(2031, 10, 1)
    assert calendar_cn.is_workday(beyond), "a Wednesday"
    assert not calendar_cn.is_workday(date(2031, 10, 4)), "a Saturday"
    assert "2031" in calendar_cn.warning([beyond])
    assert calendar_cn.warning([date(2026, 10, 1)]) == ""
    since = datetime(2030, 12, 31, tzinfo=CHINA)
    layer = Layer("主", ("李工",), date(2026, 1, 1), days=Days.WORKDAYS)
    roster = Roster(1, "Asia/Shanghai", EVERYBODY, (layer,))
    assert "2031" in rota.planned(roster, since, since + timedelta(days=9))
    plain = Roster(1, "Asia/Shanghai", EVERYBODY, (Layer("主", ("李工",), date(2026, 1, 1)),))
    assert rota.planned(plain, since, since + timedelta(days=9)) == "", "no layer asks for it"


def test_two_swap_their_shifts() -> None:
    layer = Layer("主", ("李工", "赵工"), date(2026, 11, 23))
    roster = Roster(1, "Asia/Shanghai", EVERYBODY, (layer,))
    since = datetime(2026, 11, 24, 12, tzinfo=CHINA)
    found = rota.shifts(roster, (), since, since + timedelta(days=21))
    one, other = rota.swapped(found, since, since + timedelta(days=7))
    assert (one[1], other[1]) == (ZHAO, LI)
    assert (one[0].callee, other[0].callee) == (LI, ZHAO)
    with pytest.raises(UsageError, match="无需对调"):
        rota.swapped(found, since, since + timedelta(days=14))


@pytest.mark.parametrize("hour", [0, 8, 9, 23])
@pytest.mark.parametrize("day", range(23, 30))
def test_the_first_one_named_at_the_acceptance_is_on_call_first(day: int, hour: int) -> None:
    at = datetime(2026, 11, day, hour, tzinfo=CHINA)
    named = (Contact("李工", phone="13700000000"), Contact("赵主管", phone="13600000000"))
    roster = first_roster(1, named, House(), at)
    callee, _ = rota.on_call(roster, (), at)
    assert callee == Callee("李工", "13700000000")
    after, _ = rota.on_call(roster, (), at + timedelta(days=7))
    assert after == Callee("赵主管", "13600000000")


def test_times_are_read_as_people_write_them() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=CHINA)
    assert rostering.when("12-01T9:30", now, CHINA) == datetime(2026, 12, 1, 9, 30, tzinfo=CHINA)
    assert rostering.when("1-2", now, CHINA) == datetime(2027, 1, 2, tzinfo=CHINA)
    assert rostering.hours_of("18:00-24:00") == (time(18), time(0))
    assert rostering.when("12-31T24:00", now, CHINA) == datetime(2027, 1, 1, tzinfo=CHINA)
    for wrong in ("2-30", "12-01T25:00", "明天", "12-01T24:30x", "12-01T24:30", "2-29"):
        with pytest.raises(UsageError):
            rostering.when(wrong, now, CHINA)


@pytest.mark.parametrize(
    ("typed", "today", "meant"),
    [
        ("11-23", date(2026, 11, 25), date(2026, 11, 23)),
        ("11-25", date(2026, 11, 25), date(2026, 11, 25)),
        ("12-01", date(2026, 11, 25), date(2026, 12, 1)),
        ("12-28", date(2027, 1, 2), date(2026, 12, 28)),
        ("1-4", date(2026, 12, 30), date(2027, 1, 4)),
        ("2-29", date(2027, 12, 1), date(2028, 2, 29)),
        ("2027-11-23", date(2026, 11, 25), date(2027, 11, 23)),
    ],
)
def test_of_a_day_without_a_year_the_nearest_is_meant(typed: str, today: date, meant: date) -> None:
    assert rostering.nearest(typed, today) == meant


@pytest.mark.parametrize("wrong", ["2-30", "13-01", "0-1", "明天", "2026-2-29"])
def test_what_is_no_day_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="不是日期"):
        rostering.nearest(wrong, date(2026, 11, 25))


@settings(max_examples=20)
@given(rosters, moments(), st.integers(1, 40))
def test_a_shift_has_one_begin_whenever_it_is_asked_for(
    roster: Roster, since: datetime, hours: int
) -> None:
    """With the look back that it takes; of one without an end, within the same year."""

    def begins(at: datetime) -> datetime:
        there = rota.shifts(roster, (), rota.steady(roster, at), at + MINUTE)
        return there[-1].begins

    later = since + timedelta(hours=hours)
    one = len(rota.shifts(roster, (), since, later)) == 1
    if one and rota.steady(roster, since) == rota.steady(roster, later):
        assert begins(since) == begins(later - MINUTE)

"""What a storm brought, minute by minute, and how fast people answered, week by week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chart import Chart, Kind, Series
from adapters.words import Severity
from runbooks.alerting.trends import MINUTE, POINTS, answers, course, marks
from runbooks.kit import CHINA
from storage.records import Customer, KnownAlert
from storage.roster import Escalation
from storage.store import Store

NOW = datetime(2026, 11, 25, 13, 20, 30, tzinfo=UTC)
"""A Wednesday, 21:20 in China."""


# -- a storm ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.timedeltas(timedelta(), timedelta(days=400)))
def test_a_storm_of_any_length_is_whole_in_few_points(lasted: timedelta) -> None:
    """From its first minute until now, in steps of the same length."""
    since = NOW - lasted
    found = marks(since, NOW)
    assert found[0] <= since < found[0] + MINUTE
    assert found[-2] <= NOW < found[-1]
    assert len(found) <= POINTS + 1
    assert len({after - before for before, after in pairwise(found)}) == 1


def test_a_course_says_all_and_the_critical_ones() -> None:
    """Without a critical there is one line alone; times are the customer's."""
    at = [NOW.replace(second=0) + n * MINUTE for n in range(5)]
    counts = {Severity.WARNING: [30, 900, 4, 0], Severity.CRITICAL: [0, 7, 1, 0]}
    labels = ("21:20", "21:21", "21:22", "21:23")
    every = Series("全部", (30.0, 907.0, 5.0, 0.0))
    assert course(counts, at, CHINA) == (
        Chart("每分钟新告警", Kind.LINE, labels, (every, Series("严重", (0, 7, 1, 0))), "条"),
    )
    (alone,) = course({Severity.WARNING: [1, 2, 3, 4]}, at, CHINA)
    assert [one.name for one in alone.series] == ["全部"]


@pytest.mark.parametrize(
    ("hours", "title", "first"),
    [
        (1, "每 5 分钟新告警", "20:20"),
        (24, "每小时新告警", "11-24 21:20"),
        (60, "每 4 小时新告警", "11-23 09:20"),
        (25 * 24, "每天新告警", "10-31 21:20"),
        (50 * 24, "每 2 天新告警", "10-06 21:20"),
    ],
)
def test_a_long_storm_is_counted_in_longer_steps(hours: int, title: str, first: str) -> None:
    at = marks(NOW - timedelta(hours=hours), NOW)
    (found,) = course({Severity.INFO: [1] * (len(at) - 1)}, at, CHINA)
    assert (found.title, found.labels[0]) == (title, first)


def test_a_storm_of_a_moment_has_no_course() -> None:
    at = marks(NOW, NOW + MINUTE)
    assert course({Severity.INFO: [5, 5]}, at, CHINA) == ()
    assert course({}, marks(NOW, NOW + 9 * MINUTE), CHINA) == ()


def alert(customer: int, n: int, at: datetime, severity: Severity) -> KnownAlert:
    return KnownAlert(
        customer, "s", f"f{n}", 1, "g", n % 2 == 0, severity, "Disk", "h", "", "", "", {}, at, at
    )


async def counted(store: Store, customer: int) -> Mapping[Severity, Sequence[int]]:
    async with store.view() as unit:
        return await unit.incidents.course(customer, [NOW + n * MINUTE for n in range(4)])


async def test_alerts_are_counted_by_when_they_began(store: Store) -> None:
    """From an instant on and before the next one, the ended too; another customer's are not."""
    async with store.unit() as unit:
        one, other = [
            (await unit.customers.add(Customer(0, name, name, NOW))).id for name in ("甲", "乙")
        ]
        last = timedelta(microseconds=1)
        new = [
            alert(one, 1, NOW - last, Severity.WARNING),
            alert(one, 2, NOW, Severity.WARNING),
            alert(one, 3, NOW + MINUTE - last, Severity.WARNING),
            alert(one, 4, NOW + MINUTE, Severity.WARNING),
            alert(one, 5, NOW + 2 * MINUTE, Severity.CRITICAL),
            alert(one, 6, NOW + 3 * MINUTE, Severity.CRITICAL),
            alert(other, 1, NOW, Severity.INFO),
        ]
        await unit.incidents.put_alerts(new, ())
    assert await counted(store, one) == {
        Severity.WARNING: [2, 1, 0],
        Severity.CRITICAL: [0, 0, 1],
    }
    assert await counted(store, other) == {Severity.INFO: [1, 0, 0]}


# -- people's answers -------------------------------------------------------------------------


def climb(
    number: int, began: datetime, acked: float = 0, resolved: float = 0, round_: int = 1
) -> Escalation:
    """Return a climb that was acknowledged and over so many minutes after it began; 0 is never."""

    def at(minutes: float) -> datetime | None:
        return began + minutes * MINUTE if minutes else None

    return Escalation(
        number, round_, 1, "", began, "{}", at(acked or resolved), at(acked), at(resolved)
    )


def test_a_month_is_told_by_the_week() -> None:
    """Monday's date names a week; a week without an answer is a gap and no 0."""
    day = timedelta(days=1)
    climbs = [
        climb(1, NOW - 21 * day, 12, 90),
        climb(2, NOW - 20 * day, 13, 0),
        climb(3, NOW - 14 * day),
        climb(4, NOW - 2 * day, 2.05, 30),
        climb(4, NOW - day, 4.05, 60, round_=2),
    ]
    weeks = ("10-26", "11-02", "11-09", "11-16", "11-23")
    acked, over = answers(climbs, NOW - 30 * day, NOW, CHINA)
    assert acked == Chart(
        "平均确认时间 MTTA，按周",
        Kind.BAR,
        weeks,
        (Series("", (None, 12.5, None, None, 3.0)),),
        "分钟",
    )
    assert over.title == "平均恢复时间 MTTR，按周"
    assert over.unit == "小时", "the incident of two rounds was over after a day and an hour"
    assert over.series == (Series("", (None, 1.5, None, None, 25.0)),)


def test_a_night_in_china_is_the_day_after_in_utc() -> None:
    """An incident at 07:30 local time counts for its local day."""
    early = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
    climbs = [climb(1, early, 3), climb(2, early - timedelta(days=1), 5)]
    (acked,) = answers(climbs, NOW - timedelta(days=3), NOW, CHINA)
    assert acked.labels == ("11-22", "11-23", "11-24", "11-25")
    assert acked.series[0].values == (None, None, 5.0, 3.0)


@pytest.mark.parametrize(
    ("days", "many", "kind"),
    [(1, 2, "bar"), (14, 15, "line"), (15, 3, "bar"), (182, 27, "line"), (183, 7, "bar"),
     (3650, 121, "line")],
)  # fmt: skip
def test_any_span_that_can_be_asked_for_can_be_drawn(days: int, many: int, kind: str) -> None:
    """By the day up to two weeks, by the week up to half a year, then by the month."""
    since = NOW - timedelta(days=days)
    (acked,) = answers([climb(1, since, 1), climb(2, NOW, 1)], since, NOW, CHINA)
    assert (len(acked.labels), acked.kind.value) == (many, kind)
    assert acked.series[0].known == (1.0, 1.0)


def test_one_figure_is_no_trend() -> None:
    assert answers([climb(1, NOW, 1, 2)], NOW - timedelta(days=30), NOW, CHINA) == ()
    assert answers([], NOW - timedelta(days=30), NOW, CHINA) == ()

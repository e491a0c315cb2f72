"""The watchdog's own eyes: what never began, what nobody would hear, who cannot be called tonight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.card import loads, plain
from adapters.words import Person, Role, Severity
from runbooks.alerting.oncall import ladder, reach, watchdog
from runbooks.walk import OPERATIONS
from storage.records import Customer, Incident, IncidentState, KnownAlert, Member
from storage.roster import Callee, Days, Layer, Level, Policy, Roster
from storage.store import Store
from tests.conftest import HandClock
from tests.unit.ward import LI, MINUTE, ZHAO, Ward, standing, unwatched

HOUR = 3600
EVE = datetime(2030, 12, 18, 4, tzinfo=UTC)
"""A fortnight before a year; nobody knows its holidays yet, nor those of the year that it ends."""


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


@pytest.fixture
async def alone(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with unwatched(store, clock, tmp_path) as there:
        yield there


async def opened(ward: Ward, number: int, answered: timedelta | None = None) -> Incident:
    """Write down an incident with a critical, for which nobody begins to climb; acknowledged so
    long afterwards."""
    at = ward.clock.now()
    made = replace(ward.incident, id=0, group=f"rule={number}", title=f"磁盘 {number}")
    if answered:
        made = replace(made, state=IncidentState.ACKED, acked_at=at + answered, acked_by=LI)
    async with ward.kit.store.unit() as unit:
        return await unit.incidents.add(made)


async def warned(ward: Ward) -> str:
    """Return the last warning of the day."""
    last = [key for key in await ward.said() if key.startswith("oncall-warning:")][-1]
    return plain(loads((await ward.entry(last)).card))


async def test_a_critical_for_which_nothing_ever_climbed_is_named(ward: Ward) -> None:
    """Nothing of it is in the rows of the climbs: it is found among the incidents, each night while
    it is open. One that was answered before anybody was due is none, and one that climbs neither."""
    lost = await opened(ward, 1)
    await opened(ward, 2, answered=MINUTE * 4)
    climbs = await opened(ward, 3)
    async with ward.kit.store.unit() as unit:
        await ladder.begin(unit, climbs, ward.clock.now())
        acked = replace(climbs, state=IncidentState.ACKED)
        await ladder.stop(unit, acked, ward.clock.now() + MINUTE)
        await unit.incidents.save(acked)
    for _ in range(2):
        await ward.clock.sleep(24 * HOUR)
        found = await watchdog.watch(ward.kit)
        assert found is not None
        assert [(each.climb.incident, each.why) for each in found] == [(lost.id, "没有开始升级")]
    told = plain(loads((await ward.entry((await ward.said())[-1])).card))
    assert "磁盘 1" in told
    assert "没有开始升级" in told


async def test_a_critical_that_came_after_its_climb_had_ended_needs_another(ward: Ward) -> None:
    """The round before it, stopped before it was accepted, is no answer to it."""
    made = await opened(ward, 1)
    async with ward.kit.store.unit() as unit:
        await ladder.begin(unit, made, ward.clock.now())
        await ladder.stop(unit, replace(made, state=IncidentState.ACKED), ward.clock.now() + MINUTE)
        await unit.incidents.save(replace(made, critical_at=ward.clock.now() + MINUTE * 2))
    await ward.clock.sleep(24 * HOUR)
    found = await watchdog.watch(ward.kit)
    assert found is not None
    assert [(each.climb.incident, each.why) for each in found] == [(made.id, "没有开始升级")]


async def test_a_critical_that_fires_while_nothing_climbs_for_it_is_named_each_night(
    ward: Ward,
) -> None:
    """Whatever its incident says of criticals, and also where nobody is called a second time; not when
    it is hidden or over, and not when somebody has acknowledged it."""
    await ward.policy(Policy((Level(5),), repeat=0))
    made = await opened(ward, 1)
    async with ward.kit.store.unit() as unit:
        await ladder.begin(unit, made, ward.clock.now())
        closed = replace(made, state=IncidentState.RESOLVED, resolved_by=LI)
        await ladder.stop(unit, closed, ward.clock.now() + MINUTE)
        await unit.incidents.save(replace(made, severity=Severity.WARNING, critical_at=None))
        fires = KnownAlert(
            ward.customer.id, "s", "f", made.id, made.group, True, Severity.CRITICAL, "磁盘", "a",
            "", "", "", {}, ward.clock.now(), ward.clock.now(),
        )  # fmt: skip
        await unit.incidents.put_alerts([fires], [])

    async def named() -> list[tuple[int, str]]:
        await ward.clock.sleep(24 * HOUR)
        found = await watchdog.watch(ward.kit)
        assert found is not None
        return sorted({(each.climb.incident, each.why) for each in found})

    for _ in range(2):
        assert await named() == [(made.id, "没有开始升级")]
    for other in (replace(fires, hidden="静默"), replace(fires, firing=False)):
        async with ward.kit.store.unit() as unit:
            await unit.incidents.put_alerts([], [other])
        assert await named() == []
    async with ward.kit.store.unit() as unit:
        await unit.incidents.put_alerts([], [fires])
        await unit.incidents.save(replace(made, state=IncidentState.ACKED, critical_at=None))
    assert await named() == []


async def test_without_an_operations_group_the_night_is_proved_once_there_is_one(
    alone: Ward,
) -> None:
    """What nobody reads is no proof; that nobody would read it is in the log."""
    await opened(alone, 1)
    await alone.clock.sleep(24 * HOUR)
    with capture_logs() as logs:
        assert await watchdog.watch(alone.kit) is None
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("no operations group for the night's proof", "error")
    ]
    async with alone.kit.store.unit() as unit:
        assert await unit.escalations.watched() is None
        await unit.outbox.mark(
            OPERATIONS, await alone.web.open_chat("运维", [LI], key="o"), alone.clock.now()
        )
    found = await watchdog.watch(alone.kit)
    assert found is not None
    assert [each.why for each in found] == ["没有开始升级"]


async def test_what_was_to_be_said_in_the_operations_group_is_in_the_log_where_there_is_none(
    alone: Ward,
) -> None:
    """The two who were asked for by name cannot be rung: no account, and no other way."""
    async with alone.kit.store.unit() as unit:
        await unit.oncall.save(Roster(alone.customer.id, "Asia/Shanghai", (Callee("王工"),)))
    await alone.begin()
    await alone.at(5.5)
    with capture_logs() as logs:
        await alone.climb()
    (line,) = [line for line in logs if line["key"] == "ladder:7:1:0:0:1:nobody"]
    assert line["log_level"] == "error"
    assert "升级通知无法发出" in line["said"]
    assert "王工 没有对应任何平台的人员" in line["said"]


async def test_a_customer_without_a_roster_is_named(ward: Ward) -> None:
    async with ward.kit.store.unit() as unit:
        await unit.customers.add(Customer(0, "山青", "shanqing", ward.clock.now()))
    assert await watchdog.warn(ward.kit) == 1
    told = await warned(ward)
    assert "山青" in told
    assert "还没有排班：请在客户群输入 /oncall add" in told


async def test_a_gap_that_is_made_after_the_days_warning_is_told_the_same_day(ward: Ward) -> None:
    """What was said already is not said again because hours have passed."""
    callees = (Callee("李工"), Callee("赵工", person=ZHAO), Callee("王工"))
    layer = Layer("主值班", ("李工", "王工"), date(2026, 11, 23), every=1)
    async with ward.kit.store.unit() as unit:
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, (layer,)))
    assert await watchdog.warn(ward.kit) == 1
    assert "王工 没有对应任何平台的人员" in await warned(ward)
    for _ in range(3):
        await ward.clock.sleep(HOUR)
        assert await watchdog.warn(ward.kit) == 0
    async with ward.kit.store.unit() as unit:
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, ()))
    assert await watchdog.warn(ward.kit) == 1
    assert "无人值班：还没有排班" in await warned(ward)
    await ward.clock.sleep(HOUR)
    assert await watchdog.warn(ward.kit) == 0


async def test_a_year_whose_holidays_are_not_known_is_named_once_a_week(ward: Ward) -> None:
    """From a fortnight before it begins, until they are: nobody can do more about it each day."""
    callees = (Callee("李工", person=LI), Callee("赵工", person=ZHAO))
    layers = (
        Layer("白班", ("李工", "赵工"), date(2026, 11, 23), days=Days.WORKDAYS),
        Layer("主值班", ("赵工", "李工"), date(2026, 11, 23)),
    )
    async with ward.kit.store.unit() as unit:
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, layers))
    told = []
    await ward.clock.sleep((EVE - ward.clock.now()).total_seconds())
    for day in range(14):
        if await watchdog.warn(ward.kit):
            told.append(day)
        await ward.clock.sleep(24 * HOUR)
    assert told == [0, 5, 12], "as it comes near, and then on Mondays"
    said = [key for key in await ward.said() if key.startswith("oncall-holidays:")]
    assert "2030、2031 年的法定节假日" in plain(loads((await ward.entry(said[0])).card))


async def test_a_namesake_among_a_customers_people_is_not_who_is_on_call(ward: Ward) -> None:
    """Only the name is known of 李工: it means the one of our people who bears it, whatever the role
    somebody of a customer has."""
    namesake = Member(Person("web", "li-of-hailan", "李工"), Role.LEAD, ward.customer.id)
    async with ward.kit.store.unit() as unit:
        await unit.people.put(namesake)
        assert await reach.person_of(Callee("李工"), unit) == LI
        named = Member(Person("web", "wang-of-hailan", "王工"), Role.ENGINEER, ward.customer.id)
        await unit.people.put(named)
        assert await reach.person_of(Callee("王工"), unit) is None
        said = await reach.obstacle(Callee("王工"), ward.kit.chats, unit)
    assert "王工 没有对应任何平台的人员" in said


async def test_of_two_of_our_people_with_one_name_none_is_rung(ward: Ward) -> None:
    """Which of them is meant must be said: a wrong person woken is the right one not woken."""
    async with ward.kit.store.unit() as unit:
        await unit.people.put(Member(Person("web", "li-2", "李工"), Role.LEAD))
        assert await reach.person_of(Callee("李工"), unit) is None
        assert await reach.person_of(Callee("李工", person=ZHAO), unit) == ZHAO

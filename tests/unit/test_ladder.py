"""An alarm that nobody answers climbs by absolute deadlines; killed at any instant, it loses no call
and makes none twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.card import Mention, loads, plain
from adapters.words import Person
from runbooks.alerting.oncall import ladder, rungs, watchdog
from runbooks.alerting.oncall.figures import figures
from storage.records import (
    DeliveryState,
    IncidentState,
    Lane,
)
from storage.roster import Callee, Escalation, Layer, Level, Policy, Roster, RungState, Way
from storage.store import Store
from tests.conftest import HandClock
from tests.unit.ward import LI, MINUTE, POLICY, ZHAO, Ward, standing


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


async def test_each_level_is_called_at_its_deadline_and_no_sooner(ward: Ward) -> None:
    """The deadlines count from the critical's acceptance, however late it was folded."""
    await ward.at(2)
    await ward.begin()
    await ward.at(4.99)
    assert await ward.climb() == 0
    await ward.at(5)
    assert await ward.climb() == 1
    assert await ward.climb() == 0
    await ward.at(5.5)
    assert await ward.climb() == 1
    await ward.speak()
    await ward.at(15)
    assert await ward.climb() == 1
    await ward.at(15.5)
    assert await ward.climb() == 1
    assert await ward.said() == ["7:1:0:0:0", "7:1:0:0:1", "7:1:0:1:0", "7:1:0:1:1"]
    mention = await ward.entry("ladder:7:1:0:0:0")
    assert (mention.chat, mention.ring, mention.lane) == (ward.group, None, Lane.ALARM)
    assert "@李工" in plain(loads(mention.card))
    assert "5 分钟" in plain(loads(mention.card))
    assert (await ward.entry("ladder:7:1:0:0:1")).ring == LI, "known by his name"
    assert (await ward.entry("ladder:7:1:0:1:1")).ring == ZHAO, "the next one of the roster"


async def test_it_begins_again_until_somebody_acknowledges(ward: Ward) -> None:
    await ward.begin()
    for minutes in (5, 5.5, 15, 15.5, 50, 50.5, 60):
        await ward.at(minutes)
        assert await ward.climb() == 1, minutes
        await ward.speak()
    async with ward.kit.store.unit() as unit:
        acked = replace(ward.incident, state=IncidentState.ACKED)
        await ladder.stop(unit, acked, ward.clock.now())
    await ward.at(200)
    assert await ward.climb() == 0
    async with ward.kit.store.view() as unit:
        states = [rung.state for rung in await unit.escalations.rungs(7, 1)]
        assert await ladder.next_rung(unit, 7) is None
    assert states == [RungState.DONE] * 7 + [RungState.STOPPED]


async def test_a_new_critical_opens_another_round_with_its_own_deadlines(ward: Ward) -> None:
    await ward.begin()
    await ward.at(1)
    async with ward.kit.store.unit() as unit:
        await ladder.stop(unit, replace(ward.incident, state=IncidentState.ACKED), ward.clock.now())
        await ladder.reopen(unit, ward.incident, ward.clock.now() + MINUTE)
        await ladder.reopen(unit, ward.incident, ward.clock.now() + MINUTE * 2)
    await ward.at(6.99)
    assert await ward.climb() == 0
    await ward.at(7)
    assert await ward.climb() == 1
    assert await ward.said() == ["7:2:0:0:0"]


async def test_what_a_person_hides_is_no_longer_called_for_and_counts_as_no_answer(
    ward: Ward,
) -> None:
    await ward.begin()
    async with ward.kit.store.unit() as unit:
        await ladder.stop(unit, ward.incident, ward.clock.now())
        (climb,) = await unit.escalations.since(ward.customer.id, ward.clock.now())
        assert (climb.stopped_at, climb.acked_at) == (ward.clock.now(), None)
        resolved = replace(ward.incident, state=IncidentState.RESOLVED)
        await ladder.stop(unit, resolved, ward.clock.now() + MINUTE)
        (climb,) = await unit.escalations.since(ward.customer.id, ward.clock.now())
    assert climb.stopped_at == ward.clock.now()
    assert (climb.acked_at, climb.resolved_at) == (None, ward.clock.now() + MINUTE)
    await ward.at(60)
    assert await ward.climb() == 0


async def test_another_critical_of_an_incident_that_climbs_changes_nothing(ward: Ward) -> None:
    await ward.begin()
    await ward.at(3)
    await ward.begin()
    async with ward.kit.store.view() as unit:
        (climb,) = await unit.escalations.since(ward.customer.id, ward.incident.opened_at)
    assert (climb.round, climb.began_at) == (1, ward.incident.critical_at)


async def test_an_incident_without_a_critical_calls_nobody(ward: Ward) -> None:
    async with ward.kit.store.unit() as unit:
        await ladder.begin(unit, replace(ward.incident, critical_at=None), ward.clock.now())
        await ladder.stop(unit, ward.incident, ward.clock.now())
    await ward.at(500)
    assert await ward.climb() == 0


async def test_a_person_may_call_the_next_level_at_once(ward: Ward) -> None:
    await ward.begin()
    async with ward.kit.store.unit() as unit:
        assert await ladder.hasten(unit, 7, ward.clock.now())
    assert await ward.climb() == 2
    assert await ward.climb() == 0


async def test_what_cannot_be_called_is_said_and_the_climb_goes_on(ward: Ward) -> None:
    """Nobody has the name in chat, and there is no gateway: the operations group hears of both."""
    policy = Policy((Level(1, 0, (Way.RING, Way.WEBHOOK, Way.EMAIL, Way.MENTION)),), 0, 0)
    async with ward.kit.store.unit() as unit:
        callees = (Callee("王工", "13700000000"),)
        layer = Layer("主值班", ("王工",), date(2026, 11, 23))
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, (layer,)))
        await unit.escalations.set_policy(ward.customer.id, policy)
    await ward.begin()
    await ward.at(1)
    assert await ward.climb() == 4
    said = [key for key in await ward.said() if "nobody" in key]
    assert said == ["7:1:0:0:0:nobody", "7:1:0:0:1:nobody", "7:1:0:0:2:nobody"]
    first = plain(loads((await ward.entry("ladder:7:1:0:0:0:nobody")).card))
    assert "王工 没有对应任何平台的人员" in first
    assert "@王工" in plain(loads((await ward.entry("ladder:7:1:0:0:3")).card))


async def test_whoever_is_called_in_the_group_is_really_mentioned(ward: Ward) -> None:
    """The name is the roster's where the platform gave none; a call of theirs alone needs no @."""
    policy = Policy((Level(1, 0, (Way.MENTION, Way.RING)),), 0, 0)
    async with ward.kit.store.unit() as unit:
        callees = (Callee("王工", person=Person("web", "u-wang")),)
        layer = Layer("主值班", ("王工",), date(2026, 11, 23))
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, (layer,)))
        await unit.escalations.set_policy(ward.customer.id, policy)
    await ward.begin()
    await ward.at(1)
    assert await ward.climb() == 2
    in_group, alone = [loads((await ward.entry(f"ladder:7:1:0:0:{n}")).card) for n in range(2)]
    named = Mention((Person("web", "u-wang"),))
    assert in_group.blocks[0] == named
    assert "@王工" in plain(in_group).split("\n")
    assert not [block for block in alone.blocks if isinstance(block, Mention)]


async def test_in_a_gap_the_first_of_the_roster_is_called_and_the_gap_named(ward: Ward) -> None:
    async with ward.kit.store.unit() as unit:
        callees = (Callee("李工"), Callee("赵工"))
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, ()))
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    card = plain(loads((await ward.entry("ladder:7:1:0:0:0")).card))
    assert "@李工" in card
    assert "值班空档：还没有排班" in card


async def test_whoever_slept_through_the_deadlines_says_so(ward: Ward) -> None:
    """Of what was missed only the present lap is called; being late is an alarm of its own, and
    the watchdog names every call that was not made."""
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    await ward.speak()
    await ward.at(24 * 60)
    assert await ward.climb() == 3
    late = [key for key in await ward.said() if key.startswith("late:")]
    assert len(late) == 1
    assert "最多晚" in plain(loads((await ward.entry(late[0])).card))
    async with ward.kit.store.view() as unit:
        left = [r for r in await unit.escalations.rungs(7, 1) if r.state is RungState.DUE]
    assert {rung.lap for rung in left} == {32}, "45 minutes each: 1440 minutes are in lap 32"
    async with ward.kit.store.view() as unit:
        found, due = await watchdog.judged(watchdog.EARLIEST, ward.clock.now(), unit)
    assert due == 4 * 32
    assert len(found) == 4 * 32 - 1
    assert {each.why.split()[0] for each in found} == {"没有执行", "晚了"}


async def test_a_quiet_night_is_proved_once(ward: Ward) -> None:
    await ward.begin()
    for minutes in (5, 5.5, 15, 15.5):
        await ward.at(minutes)
        await ward.climb()
        await ward.speak()
    await ward.at(16)
    async with ward.kit.store.unit() as unit:
        acked = replace(ward.incident, state=IncidentState.ACKED)
        await ladder.stop(unit, acked, ward.clock.now())
    await ward.clock.sleep(86_400)
    assert await watchdog.watch(ward.kit) == []
    assert await watchdog.watch(ward.kit) is None
    (key,) = [key for key in await ward.said() if key.startswith("watchdog:")]
    assert "应执行 4 次升级通知，全部按时执行并送达" in plain(loads((await ward.entry(key)).card))
    await ward.clock.sleep(86_400)
    assert await watchdog.watch(ward.kit) == []
    last = plain(loads((await ward.entry((await ward.said())[-1])).card))
    assert "没有到期的升级通知" in last


async def test_the_watchdog_names_a_call_that_was_never_written_and_one_that_was_refused(
    ward: Ward,
) -> None:
    """The rows themselves may be wrong: what was due follows from the climb alone."""
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    await ward.at(5.5)
    await ward.climb()
    await ward.speak()
    lost = await ward.entry("ladder:7:1:0:0:1")
    async with ward.kit.store.unit() as unit:
        await unit.outbox.save(replace(lost, state=DeliveryState.FAILED, reason="已离职"))
        await unit.escalations.save(
            replace(
                Escalation(
                    7, 1, ward.customer.id, "磁盘已满", ward.incident.opened_at, rungs.kept(POLICY)
                ),
                stopped_at=ward.clock.now() + MINUTE * 12,
            )
        )
    await ward.clock.sleep(86_400)
    found = await watchdog.watch(ward.kit)
    assert found is not None
    assert [(each.rung.key, each.why) for each in found] == [
        ("ladder:7:1:0:1:0", "到期未执行"),
        ("ladder:7:1:0:1:1", "到期未执行"),
        ("ladder:7:1:0:0:1", "没有送达：已离职"),
    ]


async def test_a_watchdog_that_slept_says_so(ward: Ward) -> None:
    await ward.clock.sleep(86_400)
    await watchdog.watch(ward.kit)
    await ward.clock.sleep(86_400 * 2 + 3600 * 5)
    assert await watchdog.watch(ward.kit) == []
    card = plain(loads((await ward.entry((await ward.said())[-1])).card))
    assert "本次核对晚了" in card


async def test_who_cannot_be_reached_is_named_before_the_night(ward: Ward) -> None:
    assert await watchdog.warn(ward.kit) == 0
    async with ward.kit.store.unit() as unit:
        callees = (Callee("王工", "13700000000"), Callee("周工", person=Person("feishu", "z")))
        layer = Layer("主值班", ("王工", "周工"), date(2026, 11, 23), every=1)
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, (layer,)))
    assert await watchdog.warn(ward.kit) == 1
    assert await watchdog.warn(ward.kit) == 0
    card = plain(loads((await ward.entry((await ward.said())[-1])).card))
    assert "王工 没有对应任何平台的人员" in card
    assert "周工 所在的平台 feishu 没有启用" in card


class Killed(BaseException):
    """The process is gone: nobody catches this."""


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Die before the so-manieth statement to the database."""
    count = [0]

    def before(*_: Any) -> None:
        count[0] += 1
        if count[0] == number:
            raise Killed

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)


async def test_killed_at_every_instant_no_call_is_lost_and_none_is_made_twice(ward: Ward) -> None:
    """Each life dies one statement later than the one before, until one lives to the end."""
    await ward.begin()
    await ward.at(16)
    deaths, alive = 0, False
    while not alive:
        with killed_at(deaths + 1):
            try:
                await ward.climb()
                await ward.speak()
                alive = True
            except* Killed:
                deaths += 1
    assert deaths > 10
    rung = [post for post in ward.web.history(await ward.web.direct(LI)) if post.urgent]
    other = [post for post in ward.web.history(await ward.web.direct(ZHAO)) if post.urgent]
    mentions = [
        post
        for post in ward.web.history(ward.group)
        if post.card and post.card.title.startswith("告警升级")
    ]
    assert (len(rung), len(other), len(mentions)) == (1, 1, 2)


def climb_of(number: int, round_: int, began: int, acked: int, resolved: int) -> Escalation:
    start = datetime(2026, 11, 25, tzinfo=UTC)

    def at(minutes: int) -> datetime | None:
        return start + MINUTE * minutes if minutes else None

    began_at = start + MINUTE * began
    return Escalation(
        number, round_, 1, "", began_at, "{}", at(acked or resolved), at(acked), at(resolved)
    )


def test_mtta_and_mttr_come_from_the_climbs() -> None:
    """An incident that was re-opened was answered twice, and over once."""
    found = figures(
        [
            climb_of(1, 1, 0, 4, 0),
            climb_of(1, 2, 10, 18, 40),
            climb_of(2, 1, 0, 0, 20),
            climb_of(3, 1, 0, 0, 0),
        ]
    )
    assert (found.incidents, found.rounds, found.acked, found.resolved) == (3, 4, 2, 2)
    assert found.to_ack == MINUTE * 6
    assert found.to_act == MINUTE * 6, "of what was written before, the acknowledgement"
    assert found.to_resolve == MINUTE * 30
    assert found.waiting == 1
    assert figures([]).to_ack is None

"""A call that has yet to go out when its climb stops is taken back, and what the card says of the next
call is what is owed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from adapters.card import Button, Buttons, Card, Fields, dumps, say
from adapters.port import InDoubt, Permanent, Transient
from adapters.words import Chat, Person, Receipt
from bot.living import news
from bot.sender import Sender, no_paper
from runbooks.alerting.oncall import ladder, watchdog
from storage.records import AGAIN, Delivery, DeliveryState, Incident, IncidentState, Lane
from storage.roster import Level, Policy, RungState, Way
from storage.store import Store
from tests.conftest import HandClock
from tests.unit import test_pipeline
from tests.unit.test_pipeline import CRITICAL, Desk, alert
from tests.unit.test_sender import Paper
from tests.unit.ward import LI, Ward, draw, standing

desk = test_pipeline.desk

RING = Policy((Level(5, 0, (Way.RING,)), Level(15, 1, (Way.RING,))), repeat=30)
FIRST = "ladder:7:1:0:0:0"


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


async def stop(ward: Ward, incident: Incident, state: IncidentState = IncidentState.ACKED) -> None:
    async with ward.kit.store.unit() as unit:
        await ladder.stop(unit, replace(incident, state=state), ward.clock.now())


async def heard(ward: Ward) -> list[Any]:
    """Let everything go out that may, and return the calls that 李工 and the group have had."""
    await ward.speak()
    rings = [each for each in ward.web.history(await ward.web.direct(LI)) if each.urgent]
    group = [each for each in ward.web.history(ward.group) if each.card]
    return rings + [each for each in group if each.card.title.startswith("告警升级")]  # type: ignore[union-attr]


async def missed(ward: Ward) -> tuple[list[str], int]:
    """Return what the watchdog has to say of all until now, and how many calls were due."""
    async with ward.kit.store.view() as unit:
        found, due = await watchdog.judged(watchdog.EARLIEST, ward.clock.now(), unit)
    return [each.why for each in found], due


# -- taken back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "why"), [(IncidentState.ACKED, "已确认"), (IncidentState.RESOLVED, "已恢复")]
)
async def test_a_call_that_waits_is_not_made_after_the_answer(
    ward: Ward, state: IncidentState, why: str
) -> None:
    """The platform is away when the calls are made, and back half an hour after the answer."""
    await ward.begin()
    await ward.at(5.6)
    assert await ward.climb() == 2
    await ward.clock.sleep(24)
    await stop(ward, ward.incident, state)
    await ward.clock.sleep(1800)
    assert await ward.climb() == 0
    assert await heard(ward) == []
    for key in (FIRST, "ladder:7:1:0:0:1"):
        entry = await ward.entry(key)
        assert (entry.state, entry.reason) == (DeliveryState.WITHDRAWN, why)
    mention, ring, *left = await ward.rungs()
    assert mention.state is ring.state is RungState.WITHDRAWN
    assert ring.note.endswith(f"没有送出就撤回：{why}")
    assert {rung.state for rung in left} == {RungState.STOPPED}
    assert await missed(ward) == ([], 2), "what nobody needed to hear was not missed"


async def test_a_call_that_waited_too_long_was_missed_though_it_was_taken_back(ward: Ward) -> None:
    """Nobody was called by it when they should have been: that somebody answered was luck."""
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    await ward.at(12)
    await ward.climb()
    await stop(ward, ward.incident)
    assert await heard(ward) == []
    assert await missed(ward) == (["7 分钟没有送出，之后撤回"], 1)


async def test_a_call_that_tells_of_others_goes_out_until_the_last_is_answered(ward: Ward) -> None:
    await ward.policy(RING)
    await ward.begin()
    other = await ward.another(8, 0.5)
    await ward.at(5)
    assert await ward.climb() == 2
    await stop(ward, ward.incident)
    assert (await ward.entry(FIRST)).state is DeliveryState.WAITING
    assert (await ward.rungs(7))[0].state is RungState.DONE
    answered = ward.clock.now()
    await ward.at(6)
    await stop(ward, other)
    assert (await ward.entry(FIRST)).state is DeliveryState.WITHDRAWN
    first, second = (await ward.rungs(7))[0], (await ward.rungs(8))[0]
    assert first.state is second.state is RungState.WITHDRAWN
    assert (first.at, second.at) == (answered, ward.clock.now()), "each when its own climb stopped"
    assert await heard(ward) == []


async def test_of_what_was_in_doubt_the_copy_is_taken_back(ward: Ward) -> None:
    """The call itself perhaps arrived: its row stays as it is."""
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    entry = await ward.entry(FIRST)
    async with ward.kit.store.unit() as unit:
        await unit.outbox.save(replace(entry, state=DeliveryState.DOUBT, reason="超时"))
        await unit.outbox.put(replace(entry, key=f"{FIRST}{AGAIN}"))
    await ward.at(5.1)
    await stop(ward, ward.incident)
    assert (await ward.entry(f"{FIRST}{AGAIN}")).state is DeliveryState.WITHDRAWN
    assert (await ward.rungs())[0].state is RungState.DONE
    assert await heard(ward) == []
    assert await missed(ward) == ([], 1)


async def test_what_was_said_stays_said(ward: Ward) -> None:
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    assert len(await heard(ward)) == 1
    await stop(ward, ward.incident)
    assert (await ward.entry(FIRST)).state is DeliveryState.SENT
    assert (await ward.rungs())[0].state is RungState.DONE


async def test_a_critical_that_comes_back_soon_is_called_for_by_what_was_taken_back(
    ward: Ward,
) -> None:
    """It ended by itself before anybody had heard of it, so that nobody has been called yet."""
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    await ward.at(5.5)
    await stop(ward, ward.incident, IncidentState.RESOLVED)
    await ward.at(7)
    await ward.begin()
    assert await ward.climb() == 1
    (call,) = await heard(ward)
    assert "7 分钟" in call.text
    made = (await ward.rungs())[0]
    assert (made.state, made.told, made.due) == (RungState.DONE, FIRST, ward.clock.now())
    await ward.at(8)
    assert await missed(ward) == ([], 1)


# -- on its way just then -----------------------------------------------------------------------


@dataclass
class Interrupted(Paper):
    """Somebody answers while a call is on its way."""

    meanwhile: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        while self.meanwhile:
            await self.meanwhile.pop()()
        return await super().ring(person, text, key=key)


GONE = DeliveryState.WITHDRAWN


@pytest.mark.parametrize(
    ("faults", "state", "said"),
    [
        ([], DeliveryState.SENT, ["call"]),
        ([Transient("HTTP 502")], GONE, []),
        ([InDoubt("超时")], GONE, []),
        ([Permanent("已离职")], GONE, []),
        ([ZeroDivisionError()], GONE, []),
        ([ZeroDivisionError(), ZeroDivisionError()], GONE, []),
    ],
)
async def test_what_is_on_its_way_when_it_is_taken_back_is_not_tried_again(
    store: Store, clock: HandClock, faults: list[Exception], state: DeliveryState, said: list[str]
) -> None:
    """That it went out nevertheless is noted; else it is as if it had waited. Somebody answers during
    the last of its tries."""
    paper = Interrupted(faults=faults[:-1])
    sender = Sender(store, {"paper": paper}, draw, clock, no_paper)
    call = Delivery(
        0,
        "call",
        Chat("paper", "li"),
        Lane.ALARM,
        DeliveryState.WAITING,
        clock.now(),
        card=dumps(say("call")),
        ring=Person("paper", "li"),
    )
    async with store.unit() as unit:
        await unit.outbox.put(call)
    for _ in faults[:-1]:
        await sender.drain()
        await clock.sleep(60)

    async def answered() -> None:
        async with store.unit() as unit:
            await unit.outbox.recall(["call"], "已确认")

    paper.faults, paper.meanwhile = faults[-1:], [answered]
    for _ in range(3):
        await sender.drain()
        await clock.sleep(60)
    async with store.view() as unit:
        found = await unit.outbox.latest(10)
    assert [(each.key, each.state) for each in found] == [("call", state)]
    assert list(paper.posts) == said


# -- when somebody is called next ---------------------------------------------------------------


async def shown(desk: Desk, key: str) -> int:
    """Let a card have been drawn as it is; return its version."""
    async with desk.kit.store.unit() as unit:
        card = await unit.outbox.living(key)
        assert card
        await unit.outbox.drawn(key, card.version, "r1")
        for each in await unit.outbox.latest(100):
            if each.living == key:
                await unit.outbox.save(replace(each, state=DeliveryState.SENT, receipt="r1"))
    return card.version


async def marked(desk: Desk) -> list[tuple[str, Lane]]:
    waiting = (await desk.waiting()).values()
    there = [e for e in waiting if e.living and e.state is DeliveryState.WAITING]
    return [(each.living, each.lane) for each in there]


async def climbed(desk: Desk) -> None:
    await desk.clock.sleep(301)
    assert await ladder.climb(desk.kit)


async def test_after_a_call_the_card_is_drawn_with_the_next_one(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    await shown(desk, "incident:1")
    before = await desk.said("incident:1")
    await climbed(desk)
    assert await marked(desk) == [("incident:1", Lane.PROGRESS)]
    assert "下一次升级" in before
    assert await desk.said("incident:1") != before


async def test_in_a_storm_its_one_card_is_drawn(desk: Desk) -> None:
    """Once, however many are called for; the card that one of them had before is left alone."""
    await desk.post(alert("Disk", "a", CRITICAL))
    await shown(desk, "incident:1")
    await desk.clock.sleep(120)
    await desk.post(*(alert(f"R{n}", "a", CRITICAL) for n in range(5)))
    key = f"storm:{desk.customer.id}"
    version = await shown(desk, key)
    await desk.clock.sleep(180)
    await climbed(desk)
    assert await marked(desk) == [(key, Lane.PROGRESS)]
    async with desk.kit.store.view() as unit:
        card = await unit.outbox.living(key)
    assert card
    assert card.version == version + 1


async def test_where_there_is_no_card_none_is_begun_by_a_call(ward: Ward) -> None:
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    async with ward.kit.store.view() as unit:
        assert await unit.outbox.living("incident:7") is None


def card(next_call: str, state: str = "未确认") -> Card:
    pairs = (("状态", state), ("最近一分钟新增", next_call), ("下一次升级", next_call))
    return Card("🔴 告警：磁盘", blocks=(Fields(pairs), Buttons((Button("确认", "a"),))))


def test_where_nothing_can_be_edited_another_deadline_alone_is_no_news() -> None:
    """The call itself says it; with whatever else is new it is said."""
    assert news(card("11:05"), card("11:15")) is None
    assert news(card("11:05"), card("11:15", "已确认")) == card("11:15", "已确认")

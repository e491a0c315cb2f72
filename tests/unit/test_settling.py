"""What must not be missed at the edges of the fold: what comes and goes, what came and went, what is
folded late, what nobody hears, and what somebody took for solved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.card import loads, plain
from adapters.words import Alert, Chat, Secret, Severity
from runbooks import reach
from runbooks.alerting import pipeline
from runbooks.alerting.grouping import Change, is_new_critical, step
from runbooks.alerting.oncall import ladder, watchdog
from runbooks.alerting.pipeline import Post
from runbooks.alerting.policy import POLICY
from runbooks.walk import OPERATIONS
from storage.records import Customer, DeliveryState, IncidentState, Silence, StormPhase
from storage.roster import Escalation, Level, Policy, RungState, Way
from storage.store import Store
from tests.conftest import HandClock
from tests.unit.test_pipeline import CRITICAL, LI, WANG, WARNING, Desk, alert, desk
from tests.unit.ward import Ward, standing

__all__ = ["desk"]  # a fixture

MINUTE = timedelta(minutes=1)
OPS = Chat("paper", "ops", "运维")


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


async def climb_of(here: Desk, incident: int) -> Escalation:
    async with here.kit.store.view() as unit:
        found = await unit.escalations.last(incident)
    assert found
    return found


async def fold(here: Desk, *posts: Post) -> None:
    now = here.clock.now()
    async with here.kit.store.unit() as unit:
        await pipeline.fold(here.customer, posts, now, here.kit.house, unit)


async def silence(here: Desk, matchers: str) -> None:
    """Have somebody silence what matches for an hour."""
    now = here.clock.now()
    async with here.kit.store.unit() as unit:
        until = now + 60 * MINUTE
        await unit.silences.add(Silence(0, here.customer.id, matchers, now, until, LI, "换硬盘"))
        await pipeline.reconsider(here.customer, now, here.kit.house, unit)


def over(known: Alert) -> Alert:
    return replace(known, firing=False)


# -- what comes and goes --------------------------------------------------------------------------


async def test_a_critical_that_comes_and_goes_is_called_for_by_its_first_deadlines(
    ward: Ward,
) -> None:
    """Three minutes on and one off, again and again: each level of a round is called once and none is
    missed, a round that was called in full is followed by another one, and the group is not told
    each time anew."""
    here = Desk(ward.kit, ward.clock, ward.customer)
    begun = ward.clock.now()
    await ward.policy(Policy((Level(5), Level(10, 1)), repeat=0, between=60))
    numbers = set()
    for minute in range(24):
        await here.post(alert("Disk", "a", CRITICAL, firing=minute % 4 < 3))
        await ladder.climb(ward.kit)
        await ward.speak()
        numbers |= {one.id for one in await here.incidents()}
        await ward.clock.sleep(60)
    (number,) = numbers
    rungs = await ward.rungs(number)
    assert [one.state for one in rungs] == [RungState.DONE] * 4
    minutes = [(one.at - begun) / MINUTE for one in rungs if one.at]
    assert minutes == [5, 6, 10, 12], "the last was due at 11, when it was just over"
    assert (await climb_of(here, number)).round == 2
    async with ward.kit.store.view() as unit:
        assert await watchdog.judged(begun, ward.clock.now(), unit) == ([], 6)
    mentions = await here.mentions()
    assert len(mentions) == 5, "it came six times"
    assert "抖动" in plain(loads(mentions[-1].card))


async def test_what_came_due_while_it_was_over_is_called_when_it_is_back(ward: Ward) -> None:
    """And that is neither late nor missed: nothing was due meanwhile."""
    here = Desk(ward.kit, ward.clock, ward.customer)
    begun = ward.clock.now()
    await here.post(alert("Disk", "a", CRITICAL))
    (incident,) = await here.incidents()
    await ward.at(3)
    await here.post(alert("Disk", "a", CRITICAL, firing=False))
    await ward.at(12)
    assert await ward.climb() == 0
    await here.post(alert("Disk", "a", CRITICAL))
    assert await ward.climb() == 1
    await ward.at(12.5)
    assert await ward.climb() == 1
    await ward.at(15)
    assert await ward.climb() == 1
    ways = [(one.level, one.way, one.at) for one in (await ward.rungs(incident.id))[:3]]
    assert ways == [
        (0, Way.MENTION, begun + 12 * MINUTE),
        (0, Way.RING, begun + 12.5 * MINUTE),
        (1, Way.MENTION, begun + 15 * MINUTE),
    ]
    async with ward.kit.store.view() as unit:
        assert await watchdog.judged(begun, begun + 15.5 * MINUTE, unit) == ([], 3)


@pytest.mark.parametrize("why", ["answered", "long ago"])
async def test_another_round_begins_when_somebody_had_answered_or_it_was_long_over(
    ward: Ward, why: str
) -> None:
    await ward.begin()
    await ward.at(1)
    async with ward.kit.store.unit() as unit:
        await ladder.stop(
            unit,
            replace(ward.incident, state=IncidentState.ACKED)
            if why == "answered"
            else replace(ward.incident, state=IncidentState.RESOLVED),
            ward.clock.now(),
        )
    await ward.at(2 if why == "answered" else 11)
    await ward.begin()
    async with ward.kit.store.view() as unit:
        climb = await unit.escalations.last(ward.incident.id)
    assert climb
    assert (climb.round, climb.began_at) == (2, ward.clock.now())


@pytest.mark.parametrize("how", ["silenced", "over", "eased"])
async def test_nobody_is_called_when_only_warnings_are_left(desk: Desk, how: str) -> None:
    """The incident stays open for its warning; the climb was the critical's."""
    await desk.post(alert("Disk", "a", CRITICAL), alert("Disk", "b"))
    (incident,) = await desk.incidents()
    await desk.clock.sleep(60)
    match how:
        case "over":
            await desk.post(alert("Disk", "a", CRITICAL, firing=False))
        case "eased":
            await desk.post(alert("Disk", "a"))
        case _:
            await silence(desk, 'host="a"')
    assert (await desk.incidents())[0].state is IncidentState.OPEN
    assert (await climb_of(desk, incident.id)).stopped_at == desk.clock.now()


async def test_as_long_as_one_critical_is_seen_people_are_called(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL), alert("Disk", "b", CRITICAL), alert("Disk", "c"))
    (incident,) = await desk.incidents()
    await desk.post(alert("Disk", "a", CRITICAL, firing=False))
    await desk.post(alert("Disk", "c", firing=False))
    assert (await climb_of(desk, incident.id)).stopped_at is None


# -- what is folded late --------------------------------------------------------------------------


async def test_what_was_accepted_before_the_card_and_folded_after_it_is_not_acknowledged_with_it(
    desk: Desk,
) -> None:
    """Nobody saw it: neither a new one, nor a new critical of one that was shown."""
    await desk.post(*(alert(f"r{n}", "a", CRITICAL) for n in range(5)))
    accepted = desk.clock.now() + timedelta(seconds=1)
    await desk.clock.sleep(3)
    action = await desk.button(f"storm:{desk.customer.id}", "确认全部（5）")
    await desk.clock.sleep(1)
    await desk.post(alert("unseen", "z", CRITICAL), alert("r0", "z", CRITICAL), at=accepted)
    assert await desk.press(action) == "已确认 4 个告警组"
    left = {one.title: one for one in await desk.incidents() if one.state is IncidentState.OPEN}
    assert len(left) == 2
    new = next(one for one in left.values() if one.critical_at == accepted)
    assert (new.opened_at, new.changed_at) == (accepted, desk.clock.now())


async def test_what_is_being_folded_while_a_card_is_drawn_is_not_on_it(desk: Desk) -> None:
    """The fold read the clock before the card was drawn, and its rows came after."""
    await desk.post(*(alert(f"r{n}", "a", CRITICAL) for n in range(5)))
    await desk.clock.sleep(1)
    folding = desk.clock.now()
    await desk.clock.sleep(1)
    action = await desk.button(f"storm:{desk.customer.id}", "确认全部（5）")
    async with desk.kit.store.unit() as unit:
        said = [Post("alertmanager", folding, (alert("unseen", "z", CRITICAL),))]
        await pipeline.fold(desk.customer, said, folding, desk.kit.house, unit)
    assert await desk.press(action) == "已确认 5 个告警组"
    (left,) = [one for one in await desk.incidents() if one.state is IncidentState.OPEN]
    assert "unseen" in left.title


async def test_a_critical_that_was_over_before_it_was_folded_is_told_and_kept(desk: Desk) -> None:
    """The bot was down: what happened meanwhile is said, and the calls that were owed are written."""
    accepted = desk.clock.now()
    one, mild = alert("DB", "a", CRITICAL), alert("Load", "a")
    await desk.clock.sleep(3600)
    await fold(
        desk,
        Post("alertmanager", accepted, (one, mild)),
        Post("alertmanager", accepted + 20 * MINUTE, (over(one), over(mild))),
    )
    (mention,) = await desk.mentions()
    assert "发生后已恢复" in plain(loads(mention.card))
    assert "Load" not in plain(loads(mention.card))
    assert await desk.incidents() == []
    async with desk.kit.store.view() as unit:
        (kept,) = await unit.incidents.open_since(desk.customer.id, accepted)
        (known,) = await unit.incidents.alerts(kept.id)
        missed, due = await watchdog.judged(accepted, desk.clock.now(), unit)
    assert (kept.state, kept.opened_at) == (IncidentState.RESOLVED, accepted)
    assert (known.rule, known.firing) == ("DB", False)
    climb = await climb_of(desk, kept.id)
    assert (climb.began_at, climb.stopped_at) == (accepted, accepted + 20 * MINUTE)
    assert due == len(missed) == 4, "two levels came due meanwhile, and nobody was called"


async def test_a_critical_that_was_over_at_once_opens_nothing_that_was_acknowledged(
    desk: Desk,
) -> None:
    await desk.post(alert("DB", "a", CRITICAL))
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "确认"))
    await desk.clock.sleep(60)
    now, one = desk.clock.now(), alert("DB", "b", CRITICAL)
    await fold(desk, Post("alertmanager", now, (one,)), Post("alertmanager", now, (over(one),)))
    (still,) = await desk.incidents()
    assert still.state is IncidentState.ACKED
    assert (await climb_of(desk, incident.id)).stopped_at
    assert "发生后已恢复" in "".join(one.card for one in await desk.mentions())


# -- what nobody hears ----------------------------------------------------------------------------


@dataclass
class Bare:
    """A customer who has no group yet."""

    here: Desk

    async def said(self, chat: Chat) -> list[str]:
        async with self.here.kit.store.view() as unit:
            entries = await unit.outbox.latest(100)
        return [plain(loads(one.card)) for one in entries if one.chat == chat and one.card]

    async def sent(self) -> None:
        """Let all that waits have gone out."""
        async with self.here.kit.store.unit() as unit:
            for one in await unit.outbox.latest(100):
                await unit.outbox.save(replace(one, state=DeliveryState.SENT))


@pytest.fixture
async def bare(desk: Desk, store: Store, clock: Any) -> Bare:
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "青云", "qingyun", clock.now()))
        await unit.outbox.mark(OPERATIONS, OPS, clock.now())
    return Bare(Desk(desk.kit, clock, customer))


async def test_of_a_customer_without_a_group_the_operations_group_is_told(bare: Bare) -> None:
    """In WeCom a group is bound after its first mention: until then its alerts go to us, by name."""
    await bare.here.post(alert("Disk", "a", CRITICAL), alert("Load", "a"))
    said = await bare.said(OPS)
    (mention,) = [text for text in said if "新的严重告警" in text]
    assert "青云" in mention
    assert "Disk · a" in mention
    assert any("Load" in text and "青云" in text for text in said)
    await bare.sent()
    await bare.here.clock.sleep(600)
    await bare.here.post(alert("Load", "a", firing=False))
    assert any("已恢复" in text for text in await bare.said(OPS))


async def test_of_a_customer_without_a_group_their_own_addresses_are_told_as_well(
    bare: Bare,
) -> None:
    mail = Chat("mail", "it@qingyun.example", "it@qingyun.example")
    async with bare.here.kit.store.unit() as unit:
        await unit.vault.put(
            reach.notify_name(bare.here.customer.id, "email"), Secret("it@qingyun.example")
        )
    await bare.here.post(alert("Disk", "a", CRITICAL))
    for chat in (mail, OPS):
        assert any("新的严重告警" in text for text in await bare.said(chat)), chat


# -- what somebody took for solved ----------------------------------------------------------------


async def test_a_critical_that_fires_on_after_it_was_closed_is_told_again(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL), alert("Disk", "b"))
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "已解决"))
    await desk.clock.sleep(600)
    await pipeline.look(desk.kit)
    assert await desk.incidents() == []
    await desk.clock.sleep(1)
    await pipeline.look(desk.kit)
    (again,) = await desk.incidents()
    assert (again.state, again.critical_at) == (IncidentState.OPEN, desk.clock.now())
    assert "关闭后仍在触发" in (await desk.mentions())[-1].card
    async with desk.kit.store.view() as unit:
        moved = [each.host for each in await unit.incidents.alerts(again.id)]
    assert moved == ["a"], "the warning beside it stays where somebody closed it"
    assert (await climb_of(desk, again.id)).stopped_at is None
    await desk.clock.sleep(601)
    await pipeline.look(desk.kit)
    assert len(await desk.mentions()) == 2, "once"


async def test_what_was_closed_and_is_over_stays_closed(desk: Desk) -> None:
    """So does a warning that fires on: somebody has seen it."""
    await desk.post(alert("Disk", "a", CRITICAL), alert("Load", "a"))
    for incident in await desk.incidents():
        await desk.press(await desk.button(f"incident:{incident.id}", "已解决"))
    await desk.post(alert("Disk", "a", CRITICAL, firing=False))
    await desk.clock.sleep(3600)
    await pipeline.look(desk.kit)
    assert await desk.incidents() == []


async def test_a_warning_that_opens_what_was_closed_has_its_critical_told_as_well(
    desk: Desk,
) -> None:
    """It is open again for the critical too: so that is said, and people are called for it."""
    await desk.post(alert("Disk", "a", CRITICAL), alert("Disk", "old"))
    (incident,) = await desk.incidents()
    await desk.clock.sleep(60)
    await desk.press(await desk.button(f"incident:{incident.id}", "已解决"))
    await desk.clock.sleep(120)
    await desk.post(alert("Disk", "b"))
    (again,) = await desk.incidents()
    assert (again.id, again.severity, again.critical_at) == (
        incident.id,
        CRITICAL,
        desk.clock.now(),
    )
    told = plain(loads((await desk.mentions())[-1].card))
    assert "Disk · a：人工关闭后仍在触发" in told
    assert "old" not in told
    climb = await climb_of(desk, again.id)
    assert (climb.round, climb.began_at, climb.stopped_at) == (2, desk.clock.now(), None)
    await desk.clock.sleep(60)
    await desk.post(alert("Disk", "c"))
    await pipeline.look(desk.kit)
    assert len(await desk.mentions()) == 2, "once"


@pytest.mark.parametrize("how", ["over", "eased", "silenced", "critical"])
async def test_a_warning_that_opens_what_was_closed_tells_of_no_critical_that_is_none_now(
    desk: Desk, how: str
) -> None:
    """And of none, when a new critical is what opens it: for that people are called already."""
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "已解决"))
    await desk.clock.sleep(60)
    match how:
        case "over":
            await desk.post(alert("Disk", "a", CRITICAL, firing=False), alert("Disk", "b"))
        case "eased":
            await desk.post(alert("Disk", "b"), alert("Disk", "a"))
        case "silenced":
            await silence(desk, 'host="a"')
            await desk.post(alert("Disk", "b"))
        case _:
            await desk.post(alert("Disk", "b"), alert("Disk", "c", CRITICAL))
    (again,) = await desk.incidents()
    assert (again.critical_at is not None) is (how == "critical")
    assert "关闭后仍在触发" not in "".join(one.card for one in await desk.mentions())


# -- after a storm --------------------------------------------------------------------------------


async def shown(here: Desk, *keys: str) -> None:
    """Let the chat show these cards, and nothing of them wait."""
    async with here.kit.store.unit() as unit:
        for entry in await unit.outbox.latest(500):
            if entry.living in keys and entry.state is DeliveryState.WAITING:
                await unit.outbox.save(replace(entry, state=DeliveryState.SENT, receipt="r"))
        for key in keys:
            living = await unit.outbox.living(key)
            assert living
            await unit.outbox.drawn(key, living.version, "r")


async def drawings(here: Desk, key: str) -> list[datetime | None]:
    """Return when a card is to be drawn, where it waits for that; None is now."""
    entries = (await here.waiting()).values()
    waiting = [one for one in entries if one.state is DeliveryState.WAITING]
    return [one.due for one in waiting if one.living == key]


async def blow(here: Desk) -> None:
    for n in range(4):
        await here.post(alert(f"r{n}", "x"))
    assert await here.phase() is StormPhase.STORM


async def calm(here: Desk) -> str:
    """Let the storm end, and return its summary."""
    while await here.phase() is not StormPhase.NORMAL:
        await here.clock.sleep(30)
        await pipeline.look(here.kit)
    return plain(loads((await here.waiting())[f"storm-over:{here.customer.id}:1"].card))


async def test_what_was_told_before_a_storm_and_ends_in_it_is_drawn_and_said(desk: Desk) -> None:
    """Its card when the storm's first minute is over, for it would go on asking for somebody; its
    message when there is room for it."""
    await desk.post(alert("Disk", "a", CRITICAL), alert("Load", "a"))
    numbers = {one.title.split(" ")[0]: one.id for one in await desk.incidents()}
    disk, load = (f"incident:{numbers[name]}" for name in ("Disk", "Load"))
    await desk.clock.sleep(600)
    await shown(desk, disk, load)
    begun = desk.clock.now()
    await blow(desk)
    await desk.clock.sleep(30)
    ended = desk.clock.now()
    await desk.post(alert("Disk", "a", CRITICAL, firing=False))
    assert await drawings(desk, disk) == [begun + MINUTE]
    await desk.clock.sleep(30)
    await desk.post(alert("Load", "a", firing=False))
    assert await drawings(desk, load) == [None]
    assert "✅ 已恢复" in await desk.said(disk)
    assert not [key for key in await desk.waiting() if key.startswith("recovered:")]
    await shown(desk, disk, load)
    await calm(desk)
    told = [key for key in await desk.waiting() if key.startswith("recovered:")]
    assert told == [f"recovered:{numbers['Disk']}:{ended.isoformat()}"]
    assert await drawings(desk, disk) == []


async def test_what_is_back_in_a_storm_is_drawn_again(desk: Desk) -> None:
    """Its card said that it was over; and what ended as it began in the storm has none at all."""
    await desk.post(alert("Disk", "a", CRITICAL))
    (disk,) = await desk.incidents()
    key = f"incident:{disk.id}"
    await desk.clock.sleep(600)
    await shown(desk, key)
    await blow(desk)
    await desk.post(alert("Disk", "a", CRITICAL, firing=False))
    await shown(desk, key)
    await desk.post(alert("Disk", "a", CRITICAL))
    assert await drawings(desk, key)
    for n in range(4):
        await desk.post(alert(f"r{n}", "x", firing=False))
    await calm(desk)
    cards = {one.living for one in (await desk.waiting()).values()} - {""}
    assert cards == {key, f"storm:{desk.customer.id}"}
    assert not [key for key in await desk.waiting() if key.startswith("recovered:")]


async def test_a_summary_counts_what_made_the_storm_and_names_who_closed_it(desk: Desk) -> None:
    await desk.post(alert("r0", "y"), alert("r0", "z"))
    await desk.clock.sleep(10)
    await blow(desk)
    assert "本次共收到：6 条" in await desk.said(f"storm:{desk.customer.id}")
    for one in await desk.incidents():
        seen = int(desk.clock.now().timestamp() * 1_000_000)
        await desk.press(f"alert|resolve|{seen}|{one.id}", WANG)
    summary = await calm(desk)
    assert "收到：6 条，其中不同的告警 6 条" in summary
    assert "处理人：王工" in summary


async def test_what_began_before_the_minute_of_a_storm_is_received_too(desk: Desk) -> None:
    """It is on the summary, so no less than what is there can have come."""
    for n, wait in enumerate((30, 20, 20, 10)):
        await desk.post(alert(f"r{n}", "x"))
        await desk.clock.sleep(wait)
    await desk.post(alert("r4", "x"))
    summary = await calm(desk)
    assert "收到：5 条，其中不同的告警 5 条" in summary


async def test_a_storms_card_counts_all_criticals_by_their_rules(desk: Desk) -> None:
    disks = [alert("Disk", f"h{n}", CRITICAL) for n in range(2100)]
    await desk.post(*disks)
    await desk.clock.sleep(1)
    await desk.post(*(alert("DB", f"h{n}", CRITICAL) for n in range(25)))
    text = await desk.said(f"storm:{desk.customer.id}")
    assert "严重告警 2125 条，新的在前" in text
    assert "另有严重告警 2105 条：Disk 2100 条、DB 5 条" in text


async def test_what_is_still_open_after_a_storm_can_be_acknowledged(desk: Desk) -> None:
    """The summary names it with one button for all, and the worst have a card of their own."""
    await desk.post(*(alert(f"r{n}", "a") for n in range(8)))
    await desk.clock.sleep(30)
    await desk.post(alert("mid", "b", CRITICAL))
    await desk.post(alert("r0", "a", firing=False))
    while await desk.phase() is not StormPhase.NORMAL:
        await desk.clock.sleep(30)
        await pipeline.look(desk.kit)
    waiting = await desk.waiting()
    cards = [one.living for one in waiting.values() if one.living.startswith("incident:")]
    worst = next(one for one in await desk.incidents() if one.severity is CRITICAL)
    assert len(cards) == 5
    assert f"incident:{worst.id}" in cards
    summary = plain(loads(waiting[f"storm-over:{desk.customer.id}:1"].card))
    assert "仍未恢复 8 个" in summary
    assert summary.index(f"#{worst.id} mid") < summary.index("r7")
    action = summary.split("[确认全部（8）](", 1)[1].split(")", 1)[0]
    assert await desk.press(action) == "已确认 8 个告警组"


# -- one alert ------------------------------------------------------------------------------------


def test_what_comes_back_worse_than_it_was_hidden_is_a_new_critical(clock: HandClock) -> None:
    """It was hidden as a warning; and one that was hidden as a critical is no less than that."""
    at, place = clock.now(), (1, "s")

    def back(was: Severity, now: Severity) -> tuple[Severity, bool]:
        hidden, _ = step(None, alert("Disk", "a", was), place, "g", at, "静默", POLICY)
        seen, change = step(hidden, alert("Disk", "a", now), place, "g", at, "", POLICY)
        assert seen
        assert change is Change.BEGAN
        return seen.severity, is_new_critical(seen, change)

    assert back(WARNING, CRITICAL) == (CRITICAL, True)
    assert back(CRITICAL, WARNING) == (CRITICAL, True)
    assert back(WARNING, WARNING) == (WARNING, False)

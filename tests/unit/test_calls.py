"""Many criticals are one call, and a call that cannot be made hastens the next: by the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.card import Summons, loads, plain, summons_of
from adapters.webhook import Target, Webhook
from adapters.words import Chat, Person, Secret, Severity
from runbooks.alerting.oncall import ladder, watchdog
from runbooks.alerting.oncall.figures import figures
from runbooks.alerting.respond import Responder
from runbooks.reach import GATEWAY
from storage.records import AGAIN, DeliveryState, Incident, IncidentState, KnownAlert
from storage.roster import Callee, Level, Policy, RungState, Way
from storage.store import Store
from tests.conftest import HandClock
from tests.unit.ward import LI, MINUTE, ZHAO, Ward, standing

RING = Policy((Level(5, 0, (Way.RING,)), Level(15, 1, (Way.RING,))), repeat=30)
WAYS = Policy((Level(5, 0, (Way.RING, Way.EMAIL, Way.MENTION)), Level(15, 1)), 30, 60)
NO_PERSON = "王工 没有对应任何平台的人员"


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


async def judged(ward: Ward) -> tuple[list[tuple[str, str]], int]:
    """Return what the watchdog has to say of all until now, and how many calls were due."""
    async with ward.kit.store.view() as unit:
        found, due = await watchdog.judged(watchdog.EARLIEST, ward.clock.now(), unit)
    return [(each.rung.key, each.why) for each in found], due


async def test_a_storm_of_criticals_is_one_call_that_names_them_all(ward: Ward) -> None:
    """The newest first; every incident's row is executed, keeps its deadline and says with whom."""
    await ward.policy(RING)
    await ward.begin()
    for number in range(8, 38):
        await ward.another(number, (number - 7) / 60)
    await ward.at(4.99)
    assert await ward.climb() == 0
    await ward.at(5)
    assert await ward.climb() == 31
    await ward.at(5.6)
    assert await ward.climb() == 0
    await ward.speak()
    calls = [post for post in ward.web.history(await ward.web.direct(LI)) if post.urgent]
    assert len(calls) == 1
    told = plain(loads((await ward.entry("ladder:7:1:0:0:0")).card))
    assert "31 个" in told
    assert told.index("#37 磁盘 37") < told.index("#36 磁盘 36") < told.index("#18 磁盘 18")
    assert "另有 11 个" in told
    assert "/ack 0 确认全部" in told
    first, last = (await ward.rungs(7))[0], (await ward.rungs(37))[0]
    assert ward.incident.critical_at
    assert last.due - first.due == timedelta(seconds=30)
    assert (last.state, last.at, last.name) == (RungState.DONE, first.at, "李工")
    assert first.told == last.told == first.key
    assert "#7" not in last.note
    assert "等 30 个 一次通知" in last.note
    await ward.at(6)
    assert await judged(ward) == ([], 31)


async def test_what_begins_later_is_the_next_call(ward: Ward) -> None:
    await ward.policy(RING)
    await ward.begin()
    await ward.another(8, 1)
    await ward.another(9, 1.02)
    await ward.at(5)
    assert await ward.climb() == 2
    await ward.at(6.02)
    assert await ward.climb() == 1
    assert await ward.said() == ["7:1:0:0:0", "9:1:0:0:0"]
    assert [(await ward.rungs(n))[0].note for n in (7, 8, 9)] == [
        "与 #8 一次通知",
        "与 #7 一次通知",
        "",
    ]


async def test_to_acknowledge_one_does_not_stop_the_others_and_all_does(ward: Ward) -> None:
    await ward.policy(RING)
    opened = []
    async with ward.kit.store.unit() as unit:
        for number in range(3):
            made = replace(ward.incident, id=0, group=f"rule={number}")
            opened.append(await unit.incidents.add(made))
            await ladder.begin(unit, opened[-1], ward.clock.now())
    await ward.at(5)
    assert await ward.climb() == 3
    async with ward.kit.store.unit() as unit:
        who = Responder(ward.customer, LI, ward.clock.now(), ward.kit.house, unit)
        await who.ack(opened[0])
    await ward.at(15)
    assert await ward.climb() == 2
    text = plain(loads((await ward.entry(f"ladder:{opened[1].id}:1:0:1:0")).card))
    assert f"/ack {opened[2].id} {opened[1].id} 确认这些" in text
    assert "第 2 级" in text
    async with ward.kit.store.unit() as unit:
        who = Responder(ward.customer, LI, ward.clock.now(), ward.kit.house, unit)
        assert await who.ack_all(2**60) == "已确认 2 个告警组"
    await ward.at(200)
    assert await ward.climb() == 0


async def test_a_call_that_shared_anothers_failed_with_it(ward: Ward) -> None:
    """Each of them goes on at once, again in one call; the watchdog names both."""
    await ward.policy(RING)
    await ward.begin()
    await ward.another(8, 0.5)
    await ward.at(5)
    assert await ward.climb() == 2
    await ward.fail("ladder:7:1:0:0:0", "已离职")
    await ward.at(5.1)
    assert await ward.climb() == 2
    assert await ward.climb() == 0
    for number in (7, 8):
        refused, hastened = [rung for rung in await ward.rungs(number) if rung.lap == 0]
        assert (refused.state, refused.name) == (RungState.FAILED, "李工")
        assert refused.note.endswith("已离职")
        assert (hastened.state, hastened.name) == (RungState.DONE, "赵工")
        assert hastened.at == hastened.due == ward.clock.now()
        assert "上一种方式失败：已离职" in hastened.note
    assert await ward.said() == [
        "7:1:0:0:0",
        "7:1:0:0:0:refused",
        "7:1:0:1:0",
    ]
    assert "提前通知：上一种方式失败：已离职" in plain(
        loads((await ward.entry("ladder:7:1:0:1:0")).card)
    )
    assert (await ward.entry("ladder:7:1:0:1:0")).ring == ZHAO
    await ward.speak()
    await ward.at(20)
    why = "没有送达：已离职"
    assert await judged(ward) == (
        [("ladder:7:1:0:0:0", why), ("ladder:8:1:0:0:0", why)],
        4,
    ), "nor missed, nor early: what came forward is none of them"


async def test_a_gateway_that_refuses_a_call_is_followed_by_the_next_way(ward: Ward) -> None:
    """Through the sender and the real channel: this customer gave no address for it."""
    await ward.policy(Policy((Level(5, 0, (Way.WEBHOOK, Way.RING)),), 0, 600))

    async def nowhere(name: str) -> Target | None:
        return None

    async with Webhook(nowhere, clock=ward.clock) as gateway:
        ward = replace(ward, kit=replace(ward.kit, chats={**ward.kit.chats, "webhook": gateway}))
        await ward.begin()
        await ward.at(5)
        assert await ward.climb() == 1
        await ward.speak()
        assert await ward.climb() == 1
        await ward.speak()
    refused, ring = await ward.rungs()
    assert (refused.state, refused.note) == (RungState.FAILED, "没有登记这个 Webhook 地址")
    assert (ring.state, ring.at) == (RungState.DONE, ring.due)
    (call,) = [post for post in ward.web.history(await ward.web.direct(LI)) if post.urgent]
    assert "提前通知：上一种方式失败：没有登记这个 Webhook 地址" in str(call)


async def by_gateway(ward: Ward, phone: str) -> Ward:
    """Let the house have a gateway, and whoever is on call this number; two incidents climb."""

    async def there(_: str) -> Target:
        return Target(Secret("https://sms.example/call"), Secret("k"))

    policy = Policy((Level(5, 0, (Way.WEBHOOK, Way.RING)),), 0, 600)
    await ward.policy(policy, Callee("李工", phone, person=LI))
    await ward.begin()
    await ward.another(8, 0.5)
    await ward.at(5)
    gateway = Webhook(there, clock=ward.clock, name=GATEWAY)
    return replace(ward, kit=replace(ward.kit, chats={**ward.kit.chats, GATEWAY: gateway}))


async def test_the_houses_gateway_is_asked_to_call_the_number(ward: Ward) -> None:
    """It has a queue for each number, and what a machine needs is in the card."""
    ward = await by_gateway(ward, "13700000000")
    assert await ward.climb() == 2
    call, ring = await ward.rungs()
    assert (call.state, ring.state) == (RungState.DONE, RungState.DUE)
    entry = await ward.entry(call.key)
    assert entry.chat == Chat(GATEWAY, "13700000000")
    wanted = Summons("李工", "13700000000", (7, 8), Severity.CRITICAL)
    assert summons_of(loads(entry.card)) == wanted


async def test_the_gateway_calls_nobody_who_has_no_number(ward: Ward) -> None:
    """The next way goes at once."""
    ward = await by_gateway(ward, "")
    assert await ward.climb() == 4
    call, ring = await ward.rungs()
    assert (call.state, ring.state) == (RungState.NOBODY, RungState.DONE)
    assert "李工 没有登记电话" in call.note


async def test_a_way_that_cannot_be_gone_hastens_the_one_after_it(ward: Ward) -> None:
    """No account, no mail address: the group is told in the same instant, and why so early."""
    await ward.policy(WAYS, Callee("王工", "13700000000"))
    await ward.begin()
    await ward.at(5)
    assert await ward.climb() == 3
    ring, mail, mention, *above = await ward.rungs()
    assert [ring.state, mail.state, mention.state] == [
        RungState.NOBODY,
        RungState.NOBODY,
        RungState.DONE,
    ]
    assert ring.at == mail.at == mention.at == mention.due == ward.clock.now()
    assert NO_PERSON in ring.note
    assert "上一种方式失败：王工 没有对应任何平台的人员" in mail.note
    assert "没有登记邮箱" in mail.note or "通道 mail" in mail.note
    told = plain(loads((await ward.entry("ladder:7:1:0:0:2")).card))
    assert "提前通知：上一种方式失败：王工 没有登记邮箱" in told
    assert ward.incident.critical_at
    assert {rung.due for rung in above} == {
        ward.incident.critical_at + MINUTE * 15,
        ward.incident.critical_at + MINUTE * 16,
    }, "the next level waits: somebody was told"


async def test_a_level_that_reaches_nobody_brings_the_next_one_forward_whole(ward: Ward) -> None:
    """But the last level of a lap does not bring the next lap: that would never end."""
    alone = Policy((Level(5, 0, (Way.EMAIL,)), Level(15, 1, (Way.EMAIL, Way.RING))), 30, 20)
    await ward.policy(alone, Callee("王工"), Callee("赵工", person=ZHAO))
    await ward.begin()
    await ward.at(5)
    assert await ward.climb() == 3
    mail, above, ring, *_ = await ward.rungs()
    assert [mail.state, above.state, ring.state] == [
        RungState.NOBODY,
        RungState.NOBODY,
        RungState.DONE,
    ]
    assert ring.at == ward.clock.now()
    await ward.at(45)
    assert await ward.climb() == 0
    await ward.at(50)
    assert await ward.climb() == 3
    assert {rung.lap for rung in await ward.rungs()} == {0, 1, 2}


async def test_a_call_that_does_not_go_out_for_two_minutes_is_not_waited_for(ward: Ward) -> None:
    """Its platform may be down: the next way goes at once and says why, once; the call may still
    arrive, and the watchdog says that it came too late."""
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    assert await ward.climb() == 1
    entry = await ward.entry("ladder:7:1:0:0:0")
    async with ward.kit.store.unit() as unit:
        await unit.outbox.save(replace(entry, tries=5, reason="HTTP 502"))
    await ward.at(6.99)
    assert await ward.climb() == 0
    await ward.at(7)
    assert await ward.climb() == 1
    assert await ward.climb() == 0
    held, hastened, *_ = await ward.rungs()
    assert (held.state, held.note) == (RungState.HELD, "2 分钟后仍未送出：HTTP 502")
    assert (hastened.state, hastened.name) == (RungState.DONE, "赵工")
    assert "提前通知：上一种方式 2 分钟后仍未送出：HTTP 502" in plain(
        loads((await ward.entry("ladder:7:1:0:1:0")).card)
    )
    told = plain(loads((await ward.entry("ladder:7:1:0:0:0:held")).card))
    assert "升级通知还没有送出" in told
    await ward.at(11)
    await ward.speak()
    assert await judged(ward) == ([("ladder:7:1:0:0:0", "晚了 6 分钟才送达")], 1)


async def test_what_has_yet_to_go_out_when_somebody_answers_calls_nobody(ward: Ward) -> None:
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    async with ward.kit.store.unit() as unit:
        acked = replace(ward.incident, state=IncidentState.ACKED)
        await ladder.stop(unit, acked, ward.clock.now())
    await ward.at(8)
    assert await ward.climb() == 0
    assert await ward.said() == ["7:1:0:0:0"], "nor is it said any more"


async def test_what_became_of_a_doubt_is_what_its_copy_says(ward: Ward) -> None:
    """The sender tells what is in doubt again, under a key of its own; that copy was refused."""
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    entry = await ward.entry("ladder:7:1:0:0:0")
    async with ward.kit.store.unit() as unit:
        await unit.outbox.save(replace(entry, state=DeliveryState.DOUBT, reason="超时"))
        await unit.outbox.put(replace(entry, key=f"{entry.key}{AGAIN}"))
    assert await ward.climb() == 0
    await ward.fail(f"{entry.key}{AGAIN}", "已离职")
    assert await ward.climb() == 1
    refused, hastened, *_ = await ward.rungs()
    assert (refused.state, hastened.state) == (RungState.FAILED, RungState.DONE)
    await ward.speak()
    await ward.at(5.1)
    assert await judged(ward) == ([(entry.key, "没有送达：已离职")], 1)


async def test_the_watchdog_says_what_waits_and_what_is_in_doubt(ward: Ward) -> None:
    """Neither is a call that was made in time and arrived."""
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    key = "ladder:7:1:0:0:0"
    await ward.at(9.99)
    assert await judged(ward) == ([], 1)
    await ward.at(10.01)
    assert await judged(ward) == ([(key, "还在排队：通道繁忙")], 1)
    entry = await ward.entry(key)
    async with ward.kit.store.unit() as unit:
        await unit.outbox.save(replace(entry, state=DeliveryState.DOUBT, reason="超时"))
    assert await judged(ward) == ([(key, "不能确定是否送达：超时")], 1)


@pytest.mark.parametrize("state", [DeliveryState.WAITING, DeliveryState.DOUBT])
async def test_what_backs_off_or_is_in_doubt_hastens_nothing_at_first(
    ward: Ward, state: DeliveryState
) -> None:
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    entry = await ward.entry("ladder:7:1:0:0:0")
    async with ward.kit.store.unit() as unit:
        await unit.outbox.save(replace(entry, state=state, tries=2, reason="HTTP 502"))
    await ward.at(5.1)
    assert await ward.climb() == 0
    assert [rung.state for rung in await ward.rungs()] == [RungState.DONE, RungState.DUE]


async def test_a_refusal_that_is_noted_after_the_acknowledgement_calls_nobody(ward: Ward) -> None:
    await ward.policy(RING)
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    await ward.fail("ladder:7:1:0:0:0", "已离职")
    async with ward.kit.store.unit() as unit:
        acked = replace(ward.incident, state=IncidentState.ACKED)
        await ladder.stop(unit, acked, ward.clock.now())
    assert await ward.climb() == 0
    assert [rung.state for rung in await ward.rungs()] == [RungState.FAILED, RungState.STOPPED]


async def silenced(ward: Ward, hidden: str) -> Incident:
    """Let all of an incident that climbs be hidden three minutes after it began."""
    now = ward.clock.now()
    async with ward.kit.store.unit() as unit:
        made = await unit.incidents.add(replace(ward.incident, id=0))
        alert = KnownAlert(
            ward.customer.id, "zabbix", "a", made.id, made.group, True, Severity.CRITICAL, "磁盘",
            "db-01", "磁盘满", "", "", {}, now, now, (), hidden,
        )  # fmt: skip
        await unit.incidents.put_alerts([alert], [])
        await ladder.begin(unit, made, now)
        await ladder.stop(unit, made, now + MINUTE * 3)
    return made


async def test_a_silence_is_an_action_and_no_acknowledgement(ward: Ward) -> None:
    """It stops the climb and is counted apart; what is acknowledged while it is hidden is no answer
    to a call."""
    by_hand = await silenced(ward, "静默 #3（李工，至 12:00）")
    async with ward.kit.store.view() as unit:
        found = figures(await unit.escalations.since(ward.customer.id, ward.clock.now()))
    assert (found.acked, found.silenced, found.waiting) == (0, 1, 0)
    assert (found.to_ack, found.to_act) == (None, MINUTE * 3)
    async with ward.kit.store.unit() as unit:
        acked = replace(by_hand, state=IncidentState.ACKED)
        await ladder.stop(unit, acked, ward.clock.now() + MINUTE * 9)
        again = figures(await unit.escalations.since(ward.customer.id, ward.clock.now()))
    assert (again.acked, again.silenced) == (0, 1)
    assert (again.to_ack, again.to_act) == (None, MINUTE * 3)


async def test_a_window_that_begins_is_nobodys_action(ward: Ward) -> None:
    await silenced(ward, "维护窗口 #3（李工，至 12:00）")
    async with ward.kit.store.view() as unit:
        found = figures(await unit.escalations.since(ward.customer.id, ward.clock.now()))
    assert (found.acked, found.silenced, found.to_act, found.waiting) == (0, 0, None, 0)


@pytest.mark.parametrize(("by", "wanted"), [(None, None), (LI, MINUTE * 4)])
async def test_to_close_by_hand_is_an_action_and_an_end_by_itself_is_none(
    ward: Ward, by: Person | None, wanted: timedelta | None
) -> None:
    await ward.begin()
    async with ward.kit.store.unit() as unit:
        over = replace(ward.incident, state=IncidentState.RESOLVED, resolved_by=by)
        await ladder.stop(unit, over, ward.clock.now() + MINUTE * 4)
        found = figures(await unit.escalations.since(ward.customer.id, ward.clock.now()))
    assert (found.to_act, found.acked, found.silenced, found.resolved) == (wanted, 0, 0, 1)


async def test_nothing_is_said_of_the_night_before_anybody_was_ever_due(ward: Ward) -> None:
    """Its proof is written all the same; that it came late is said even so."""
    await ward.clock.sleep(86_400)
    assert await watchdog.watch(ward.kit) == []
    assert await watchdog.watch(ward.kit) is None
    assert await ward.said() == []
    await ward.clock.sleep(86_400 * 2 + 3600 * 5)
    assert await watchdog.watch(ward.kit) == []
    (key,) = await ward.said()
    assert "本次核对晚了" in plain(loads((await ward.entry(key)).card))

"""What somebody acknowledges, or takes back, counts for what it is about: one that is over keeps none
of the others, and nobody is called for what is over or hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.card import Card
from adapters.words import Chat, Role
from bot.sender import Sender
from runbooks.alerting import pipeline
from runbooks.alerting.oncall import ladder
from runbooks.alerting.oncall.figures import figures
from runbooks.alerting.triage import raising
from runbooks.alerting.triage.verdict import SPREAD
from storage.records import IncidentState
from storage.roster import Callee, Escalation
from storage.store import Unit
from tests.unit import test_pipeline
from tests.unit.test_pipeline import CRITICAL, GROUP, LI, WANG, Desk, alert
from tests.unit.test_respond import DIRECT, on_call, say, staff
from tests.unit.test_sender import Paper

desk = test_pipeline.desk


async def climb_of(desk: Desk, incident: int = 1) -> Escalation:
    async with desk.kit.store.view() as unit:
        found = await unit.escalations.last(incident)
    assert found
    return found


async def climbing(desk: Desk, *incidents: int) -> list[int]:
    return [each for each in incidents if (await climb_of(desk, each)).stopped_at is None]


async def open_(desk: Desk) -> list[int]:
    found = [i.id for i in await desk.incidents() if i.state is IncidentState.OPEN]
    return sorted(found)


async def three(desk: Desk) -> None:
    """Let three criticals climb, of which the second ends by itself."""
    await staff(desk, (LI, Role.ENGINEER, None), (WANG, Role.ENGINEER, None))
    for rule in ("A", "B", "C"):
        await desk.post(alert(rule, rule.lower(), CRITICAL))
        await desk.clock.sleep(20)
    await desk.post(alert("B", "b", CRITICAL, firing=False))


# -- several at once ----------------------------------------------------------------------------


@pytest.mark.parametrize(("chat", "whose"), [(GROUP, ""), (DIRECT, "海蓝科技：")])
async def test_one_that_is_over_keeps_none_of_the_others(
    desk: Desk, chat: Chat, whose: str
) -> None:
    """The call itself says to type them all, and one of them may end meanwhile."""
    await three(desk)
    said = await say(desk, "/ack 1 2 3", chat, LI)
    assert f"{whose}已确认 #1、#3；#2 已经恢复" in said
    assert await open_(desk) == []
    assert await climbing(desk, 1, 2, 3) == []


@pytest.mark.parametrize("chat", [GROUP, DIRECT])
@pytest.mark.parametrize("typed", ["#1、#3", "#1，#3", "1,3", "＃１ ＃３", "#1 #3"])
async def test_numbers_are_typed_as_the_cards_write_them(
    desk: Desk, chat: Chat, typed: str
) -> None:
    """Whoever is woken at three copies what is on the card."""
    await three(desk)
    assert "已确认 #1、#3" in await say(desk, f"/ack {typed}", chat, LI)
    assert await climbing(desk, 1, 3) == []


@pytest.mark.parametrize("typed", ["全部", "12.0", "99999999999999999999"])
async def test_what_is_no_number_is_asked_for_as_one(desk: Desk, typed: str) -> None:
    await staff(desk, (LI, Role.ENGINEER, None))
    said = await say(desk, f"/ack {typed}", GROUP, LI)
    assert f"「{typed}」不是编号，请填数字，例如 12" in said


@pytest.mark.parametrize("chat", [GROUP, DIRECT])
async def test_one_that_a_colleague_has_keeps_none_of_the_others(desk: Desk, chat: Chat) -> None:
    await three(desk)
    await say(desk, "/ack 1", GROUP, WANG)
    await desk.clock.sleep(1)
    said = await say(desk, "/ack 1 3 3 99", chat, LI)
    assert "已确认 #3：C" in said
    assert "#1 已由 王工 确认" in said
    assert "#99" in said
    assert said.count("#3") == 1, "typed twice is meant once"
    assert await climbing(desk, 1, 3) == []


@pytest.mark.parametrize("chat", [GROUP, DIRECT])
async def test_when_none_of_them_can_be_acknowledged_that_is_said_of_each(
    desk: Desk, chat: Chat
) -> None:
    await three(desk)
    said = await say(desk, "/ack 2 99", chat, LI)
    assert "请再看一下" in said
    assert "#2 已经恢复" in said
    assert "#99" in said
    assert await open_(desk) == [1, 3]
    assert await climbing(desk, 1, 3) == [1, 3]


async def test_what_is_typed_wrong_is_answered_with_what_to_type(desk: Desk) -> None:
    """No number is asked for where there is none to give."""
    await staff(desk, (LI, Role.ENGINEER, None))
    assert "现在没有未确认的告警组" in (none := await say(desk, "/ack", GROUP, LI))
    assert "请写明编号" not in none
    assert "现在没有已确认的告警组" in await say(desk, "/unack", GROUP, LI)
    assert "「abc」不是编号，请填数字，例如 12" in await say(desk, "/ack abc", GROUP, LI)


# -- all, where one is rung ---------------------------------------------------------------------


async def rung(desk: Desk, number: int) -> str:
    """Let so many criticals climb until 李工 is rung about all of them; return what that call said."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await on_call(desk, Callee("李工", person=LI))
    paper = Paper()
    kit = replace(desk.kit, chats={"paper": paper})
    await desk.post(*(alert(f"R{n:02}", "a", CRITICAL) for n in range(number)))
    for seconds in (300, 30):
        await desk.clock.sleep(seconds)
        assert await ladder.climb(kit) == number

    async def draw(key: str, unit: Unit) -> Card:
        return Card(key)

    await Sender(kit.store, kit.chats, draw, desk.clock).drain()
    (said,) = [each for each in paper.posts.values() if isinstance(each, str)]
    return said


async def test_all_of_a_call_can_be_acknowledged_where_it_is_read(desk: Desk) -> None:
    """It names twenty and says to type /ack 0; what came after it, it has not told of."""
    said = await rung(desk, 22)
    assert "/ack 0 确认全部" in said
    await desk.post(alert("late", "b", CRITICAL))
    assert "海蓝科技：已确认 22 个告警组" in await say(desk, "/ack 0", DIRECT, LI)
    assert await open_(desk) == [23]
    assert await climbing(desk, *range(1, 24)) == [23]
    await desk.clock.sleep(1)
    assert "都已有人确认或已恢复" in await say(desk, "/ack 0", DIRECT, LI)
    assert await open_(desk) == [23]


async def test_of_a_call_only_what_is_still_open_is_acknowledged(desk: Desk) -> None:
    await rung(desk, 3)
    await say(desk, "/ack 2", GROUP, LI)
    await desk.clock.sleep(1)
    assert "海蓝科技：已确认 #1、#3" in await say(desk, "/ack 0", DIRECT, LI)


async def test_who_was_never_called_acknowledges_nothing_by_it(desk: Desk) -> None:
    """They are told where to type it: a colleague's calls are not theirs."""
    await rung(desk, 2)
    await staff(desk, (WANG, Role.ENGINEER, None))
    said = await say(desk, "/ack 0", DIRECT, WANG)
    assert "没有呼叫过您" in said
    assert "到客户群输入 /ack 0" in said
    assert await open_(desk) == [1, 2]


# -- taken back ---------------------------------------------------------------------------------


async def unacked(desk: Desk, *typed: str) -> None:
    """Let a critical be acknowledged, something be typed, and the acknowledgement be taken back."""
    await staff(desk, (LI, Role.LEAD, None))
    for text in ("/ack 1", *typed, "/unack 1"):
        await desk.clock.sleep(1)
        await say(desk, text, GROUP, LI)


async def test_who_takes_back_an_acknowledgement_has_people_called_again(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    await unacked(desk)
    assert await climbing(desk, 1) == [1]
    assert (await climb_of(desk)).began_at == desk.clock.now()
    assert "下一次升级" in await desk.said("incident:1")


async def test_for_a_critical_that_is_over_nobody_is_called_again(desk: Desk) -> None:
    """Only a warning of its incident fires on."""
    await desk.post(alert("Disk", "a", CRITICAL), alert("Disk", "b"))
    await staff(desk, (LI, Role.ENGINEER, None))
    await say(desk, "/ack 1", GROUP, LI)
    await desk.post(alert("Disk", "a", CRITICAL, firing=False))
    await desk.clock.sleep(3600)
    assert "已取消确认 #1" in await say(desk, "/unack 1", GROUP, LI)
    assert await climbing(desk, 1) == []
    assert "下一次升级" not in await desk.said("incident:1")
    await desk.clock.sleep(301)
    assert await ladder.climb(desk.kit) == 0


async def test_for_a_critical_that_is_hidden_nobody_is_called_until_it_is_seen(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    await unacked(desk, "/silence host=a 12h 换盘")
    assert await climbing(desk, 1) == []
    await desk.clock.sleep(12 * 3600)
    await pipeline.look(desk.kit)
    assert await climbing(desk, 1) == [1]


async def test_what_was_raised_is_called_for_again(desk: Desk) -> None:
    """None of its alerts is critical: what it was raised for fires on."""
    await desk.post(*(alert("Disk", f"h{n}") for n in range(SPREAD)))
    assert await raising.by_rules(desk.kit) == 1
    await unacked(desk)
    assert await climbing(desk, 1) == [1]


# -- what is no answer --------------------------------------------------------------------------


async def over_and_acknowledged(desk: Desk, hours: int) -> None:
    """Let a critical end after two minutes, a warning open its incident again, and somebody
    acknowledge that so many hours later."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await desk.post(alert("Disk", "a", CRITICAL))
    await desk.clock.sleep(120)
    await desk.post(alert("Disk", "a", CRITICAL, firing=False))
    await desk.clock.sleep(120)
    await desk.post(alert("Disk", "b"))
    await desk.clock.sleep(hours * 3600)
    assert "已确认 #1" in await say(desk, "/ack 1", GROUP, LI)


async def test_an_acknowledgement_after_a_climb_has_ended_is_no_answer_to_it(desk: Desk) -> None:
    """The mean time to acknowledge is of what was being called for."""
    await over_and_acknowledged(desk, 6)
    found = figures([await climb_of(desk)])
    assert (found.acked, found.to_ack, found.to_act) == (0, None, None)


async def test_a_critical_after_an_acknowledgement_is_called_for_anew(desk: Desk) -> None:
    """However soon after the one before it: somebody has answered since then."""
    await over_and_acknowledged(desk, 0)
    await desk.clock.sleep(180)
    await desk.post(alert("Disk", "a", CRITICAL))
    climb = await climb_of(desk)
    assert (climb.round, climb.began_at, climb.stopped_at) == (2, desk.clock.now(), None)
    assert await ladder.climb(desk.kit) == 0


async def test_a_critical_that_nobody_waited_for_is_counted(desk: Desk) -> None:
    """It has no part in MTTA: a mean of answers alone would say that all is well."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await desk.post(alert("A", "a", CRITICAL))
    await desk.clock.sleep(1800)
    assert "1 轮在等；0 轮没有人处理" in await say(desk, "/escalate stats", GROUP, LI)
    await desk.clock.sleep(1)
    await desk.post(alert("A", "a", CRITICAL, firing=False))
    stats = await say(desk, "/escalate stats", GROUP, LI)
    assert "0 轮在等；1 轮没有人处理就已结束" in stats
    assert "MTTA：—（0 次确认）" in stats

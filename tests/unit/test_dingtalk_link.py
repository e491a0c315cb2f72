"""DingTalk's link against its simulator: what goes wrong there, and what comes out here."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.card import Button, Buttons, Card, Entry, Form, Input, Text, say
from adapters.dingtalk import socket, wire
from adapters.dingtalk.link import DingTalk
from adapters.port import Fault, InDoubt, Permanent, Transient
from adapters.words import Chat, Click, File, Message, Person, Receipt, Secret, Submission
from bot.sender import Sender
from storage.records import Lane
from storage.store import Store, Unit
from tests.sim.dingtalk import DingTalkSim, Refused, Wrong

LI = Person("dingtalk", "staff-li", "Li")
WANG = Person("dingtalk", "staff-wang", "Wang")
PDF = File("a.pdf", b"1")
Deed = Callable[[], Awaitable[object]]
ACK = Card("告警", blocks=(Buttons((Button("收到", "ack:1"),)),))


class Clock:
    """Time that moves when somebody sleeps on it or moves it."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 11, 25, 3, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    async def sleep(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    def go(self, **by: float) -> None:
        self.instant += timedelta(**by)


class Far:
    """The far side, the clock of both, and a client."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.sim = DingTalkSim(now=self.clock.now)
        self.sim.people = {one.id: one for one in (LI, WANG)}
        self.path = path

    def client(self, **more: Any) -> DingTalk:
        given: dict[str, Any] = {
            "robot_code": self.sim.robot,
            "state": self.path / "dingtalk.sqlite",
            "clock": self.clock,
            "card_template": self.sim.template,
            "group_template": self.sim.group_template,
            "api_url": self.sim.url,
            "oapi_url": self.sim.url,
            "answer_within": 0.05,
        }
        return DingTalk(self.sim.client_id, Secret(self.sim.secret), **{**given, **more})


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[Far]:
    far = Far(tmp_path)
    await far.sim.start()
    yield far
    await far.sim.stop()


async def first(link: DingTalk) -> Any:
    async with asyncio.timeout(5):
        return await anext(link.events())


async def group(link: DingTalk) -> Chat:
    return await link.open_chat("客户甲", [LI, WANG], key="group")


# -- saying -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (Wrong.QPS, Transient),
        (Wrong.MONTH, Transient),
        (Wrong.HTML, Transient),
        (Wrong.ERROR, Transient),
        (Wrong.DROPPED, Transient),
        (Wrong.LATE_ERROR, Transient),
    ],
)
async def test_a_card_that_went_wrong_is_there_once_when_it_is_sent_again(
    far: Far, how: Wrong, error: type[Exception]
) -> None:
    """The outTrackId makes a second try harmless, whether the first was done or not."""
    async with far.client() as link:
        chat = await group(link)
        far.sim.go_wrong("/v1.0/card/instances/createAndDeliver", how)
        with pytest.raises(error):
            await link.send(chat, say("你好"), key="1")
        receipt = await link.send(chat, say("你好"), key="1")
        assert far.sim.seen(chat) == ["【你好】"]
        far.sim.go_wrong("/v1.0/card/instances", how)
        with pytest.raises(error):
            await link.edit(receipt, say("再见"))
        await link.edit(receipt, say("再见"))
        assert far.sim.seen(chat) == ["【再见】"]


async def test_a_card_that_an_unseen_post_made_is_brought_up_to_date(far: Far) -> None:
    """DingTalk keeps the first data of an outTrackId: what the second try brought is not shown yet."""
    async with far.client() as link:
        chat = await group(link)
        far.sim.go_wrong("/v1.0/card/instances/createAndDeliver", Wrong.DROPPED)
        with pytest.raises(Transient):
            await link.send(chat, say("旧"), key="1")
        receipt = await link.send(chat, say("新"), key="1")
        await link.edit(receipt, say("新"))
        assert far.sim.seen(chat) == ["【新】"]


@pytest.mark.parametrize("how", [Wrong.QPS, Wrong.MONTH, Wrong.HTML])
async def test_a_refused_message_may_be_sent_again(far: Far, how: Wrong) -> None:
    """What was surely not done leaves no mark on its key."""
    async with far.client() as link:
        chat = await group(link)
        deeds: list[tuple[str, Deed]] = [
            ("/v1.0/robot/groupMessages", lambda: link.upload(chat, PDF, key="1")),
            ("/v1.0/robot/ding", lambda: link.ring(LI, "醒醒", key="1")),
        ]
        for path, deed in deeds:
            far.sim.go_wrong(path, how)
            with pytest.raises(Transient):
                await deed()
            await deed()
        assert far.sim.seen(chat) == ["a.pdf"]
        assert far.sim.rung(LI.id) == ["醒醒"]


@pytest.mark.parametrize("how", [Wrong.DROPPED, Wrong.LATE_ERROR])
async def test_what_was_perhaps_done_is_in_doubt_and_stays_so(far: Far, how: Wrong) -> None:
    """A file and a DING have no key: an unseen end is never silently repeated, even later."""
    async with far.client() as link:
        chat = await group(link)
        far.sim.go_wrong("/v1.0/robot/groupMessages", how)
        far.sim.go_wrong("/v1.0/robot/ding", how)
        with pytest.raises(InDoubt):
            await link.upload(chat, PDF, key="1")
        with pytest.raises(InDoubt):
            await link.ring(LI, "醒醒", key="1")
    async with far.client() as link:
        with pytest.raises(InDoubt):
            await link.upload(chat, PDF, key="1")
        with pytest.raises(InDoubt):
            await link.ring(LI, "醒醒", key="1")
    assert far.sim.seen(chat) == ["a.pdf"]
    assert far.sim.rung(LI.id) == ["醒醒"]


async def test_a_kill_in_the_middle_of_a_file_leaves_a_doubt(far: Far) -> None:
    """A cancelled upload was perhaps done: the next client of the same memory says so."""
    async with far.client() as link:
        chat = await group(link)
        far.sim.go_wrong("/v1.0/robot/groupMessages", Wrong.HANG)
        task = asyncio.create_task(link.upload(chat, PDF, key="1"))
        await far.sim.until(lambda: far.sim.seen(chat) == ["a.pdf"])
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with far.client() as link:
        with pytest.raises(InDoubt):
            await link.upload(chat, PDF, key="1")


async def test_a_group_is_made_once_though_the_answer_was_lost(far: Far) -> None:
    """The uuid finds the group again."""
    async with far.client() as link:
        far.sim.go_wrong("/v1.0/im/sceneGroups", Wrong.DROPPED)
        with pytest.raises(Transient):
            await group(link)
        await group(link)
        assert len(far.sim.groups) == 1


@pytest.mark.parametrize("template", ["card-template.schema", ""], ids=["card", "typed"])
async def test_a_group_without_the_robot_is_refused_with_words(far: Far, template: str) -> None:
    """Somebody removed it: what is said there is given up at once, with what was tried and why; once
    it is back, the same key may be used."""
    async with far.client(card_template=template) as link:
        chat = await group(link)
        deeds: list[tuple[str, Deed]] = [
            ("发卡片" if template else "发消息", lambda: link.send(chat, say("你好"), key="1")),
            ("发消息", lambda: link.upload(chat, PDF, key="1")),
            ("加群成员", lambda: link.invite(chat, [LI])),
        ]
        far.sim.groups[chat.id].has_bot = False
        for doing, deed in deeds:
            with pytest.raises(Permanent) as refused:
                await deed()
            assert refused.value.fault is Fault.REFUSED
            assert f"钉钉不接受，{doing}：" in refused.value.reason
            assert "the robot is not there" in refused.value.reason
        assert far.sim.seen(chat) == []
        far.sim.groups[chat.id].has_bot = True
        for _, deed in deeds:
            await deed()
        assert len(far.sim.seen(chat)) == 2


async def test_more_people_come_into_a_group(far: Far) -> None:
    """Members are added to a scene group by its openConversationId."""
    async with far.client() as link:
        chat = await link.open_chat("客户甲", [LI], key="1")
        await link.invite(chat, [WANG])
        assert far.sim.groups[chat.id].members == [LI.id, WANG.id]


async def test_without_a_group_template_no_group_is_made(far: Far) -> None:
    """The platform says what it can do, and why not."""
    async with far.client(group_template="") as link:
        assert not link.can.creates_chats
        with pytest.raises(Permanent, match="场景群模板"):
            await group(link)


async def test_a_ring_without_the_edition_becomes_a_message(far: Far) -> None:
    """DING is for the professional edition: otherwise the person is written to alone."""
    far.sim.edition_has_ding = False
    async with far.client() as link:
        await link.ring(LI, "P1\n磁盘满", key="1")
        await link.ring(LI, "P2", key="2")
        assert far.sim.rung(LI.id) == ["P1\n磁盘满", "P2"]
        assert far.sim.calls.count("POST /v1.0/robot/ding/send") == 1


@pytest.mark.parametrize("edition", [True, False])
async def test_a_call_about_many_long_incidents_reaches_the_person(far: Far, edition: bool) -> None:
    """Twenty of them, each with the longest title: whom, how many and what to do are there, and
    that something is left out; refused or cut off it would wake nobody who knows why."""
    far.sim.edition_has_ding = edition
    lines = [f"#{n} {'数据库主从_延迟' * 50}：无人确认 5 分钟" for n in range(20)]
    text = "\n".join(
        ["【告警升级 @Li】", "事件：20 个，新的在前", *lines, "请输入 /ack 0 确认全部"]
    )
    async with far.client() as link:
        await link.ring(LI, text, key="1")
        (told,) = far.sim.rung(LI.id)
        assert told.startswith("【告警升级 @Li】\n事件：20 个，新的在前\n#0 数据库主从_延迟")
        assert told.endswith("\n请输入 /ack 0 确认全部")
        assert ("……另有" in told) == edition
        assert len(told) <= wire.DING_CHARS or not edition


async def test_a_throttled_person_in_a_good_answer_is_noticed(far: Far) -> None:
    """200 with the person on a list is no success; it is tried again later and goes through."""
    far.sim.throttled.add(LI.id)
    async with far.client(ding=False) as link:
        with pytest.raises(Transient) as refused:
            await link.ring(LI, "醒醒", key="1")
        assert refused.value.retry_after
        far.sim.throttled.clear()
        await link.ring(LI, "醒醒", key="1")
        with pytest.raises(Permanent, match="可见范围"):
            await link.ring(Person("dingtalk", "nobody"), "醒醒", key="2")
        assert far.sim.rung(LI.id) == ["醒醒"]


async def test_one_to_one_cards_reach_the_person(far: Far) -> None:
    """A direct chat has cards as a group has."""
    async with far.client() as link:
        chat = wire.direct(LI)
        receipt = await link.send(chat, ACK, key="1")
        assert far.sim.seen(chat) == ["【告警】\n[收到](ack:1)"]
        await far.sim.press(LI, receipt.id, "ack:1")
        assert (await first(link)).chat == chat


# -- token and secrets ------------------------------------------------------------------------


async def test_many_calls_at_once_fetch_one_token(far: Far) -> None:
    """Whoever comes while the token is fetched waits for the same one; then it is renewed once."""
    async with far.client() as link:
        chat = await group(link)
        asked = "POST /v1.0/oauth2/accessToken"
        await asyncio.gather(*(link.send(chat, say("x"), key=f"{n}") for n in range(9)))
        assert far.sim.calls.count(asked) == 1
        far.clock.go(minutes=116)
        await asyncio.gather(*(link.send(chat, say("x"), key=f"b{n}") for n in range(9)))
        assert far.sim.calls.count(asked) == 2


async def test_a_token_that_is_no_longer_known_is_renewed(far: Far) -> None:
    """Both kinds of interfaces say so in their own way, and the call goes through."""
    async with far.client() as link:
        chat = await group(link)
        far.sim.go_wrong("/v1.0/card", Wrong.TOKEN)
        await link.send(chat, say("x"), key="1")
        far.sim._tokens.clear()
        await link.upload(chat, PDF, key="2")
        assert far.sim.seen(chat) == ["【x】", "a.pdf"]
        asked = "POST /v1.0/oauth2/accessToken"
        before = far.sim.calls.count(asked)
        far.sim._tokens.clear()
        await asyncio.gather(*(link.send(chat, say("y"), key=f"y{n}") for n in range(9)))
        assert far.sim.calls.count(asked) == before + 1


async def test_a_token_that_is_refused_again_costs_no_message(far: Far) -> None:
    """Whatever DingTalk has against the token, it has nothing against the message."""
    async with far.client() as link:
        chat = await group(link)
        deeds: list[tuple[str, Deed]] = [
            ("/v1.0/card", lambda: link.send(chat, say("告警"), key="1")),
            ("/v1.0/robot/ding", lambda: link.ring(LI, "醒醒", key="1")),
        ]
        for path, deed in deeds:
            far.sim.go_wrong(path, Wrong.TOKEN, times=2)
            with pytest.raises(Transient):
                await deed()
            await deed()
        assert far.sim.seen(chat) == ["【告警】"]
        assert far.sim.dings == [(LI.id, "醒醒")]


async def test_a_secret_that_was_changed_is_not_shown(far: Far) -> None:
    """The platform may repeat what it was given; the error does not."""
    async with far.client() as link:
        far.sim.secret, given = "another", far.sim.secret
        with pytest.raises(Permanent, match="invalidClientIdOrSecret") as refused:
            await link.ring(LI, "x", key="1")
        assert given not in refused.value.reason
        assert given not in str(refused.value)


async def test_a_hanging_token_server_is_no_doubt_about_the_deed(far: Far) -> None:
    """A message whose token never came was surely not sent; the loop goes on meanwhile."""
    async with far.client() as link:
        chat = await group(link)
        far.clock.go(hours=3)
        far.sim.go_wrong("/v1.0/oauth2", Wrong.DROPPED)
        with pytest.raises(Transient):
            await link.ring(LI, "醒醒", key="1")
        await link.ring(LI, "醒醒", key="1")
        assert far.sim.rung(LI.id) == ["醒醒"]
        far.clock.go(hours=3)
        far.sim.go_wrong("/v1.0/oauth2", Wrong.HANG)
        task = asyncio.create_task(link.send(chat, say("x"), key="2"))
        await far.sim.until(lambda: far.sim.calls[-1].endswith("accessToken"))
        lags = []
        for _ in range(20):
            before = asyncio.get_running_loop().time()
            await asyncio.sleep(0)
            lags.append(asyncio.get_running_loop().time() - before)
        assert max(lags) < 0.05
        task.cancel()


async def test_wrong_secrets_are_told_at_once_and_not_shown(
    far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    """Who enters with a wrong secret learns it; the secret is in no error and no log."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Permanent) as refused:
        async with DingTalk(
            far.sim.client_id,
            Secret("wrong-secret-word"),
            robot_code="r",
            state=far.path / "x.sqlite",
            clock=far.clock,
            api_url=far.sim.url,
        ):
            pass
    assert "wrong-secret-word" not in str(refused.value)
    assert "wrong-secret-word" not in caplog.text


async def test_the_token_is_in_no_log_line(far: Far, caplog: pytest.LogCaptureFixture) -> None:
    """The old upload interface has the token in its address, and httpx logs addresses."""
    caplog.set_level(logging.INFO, logger="httpx")
    async with far.client() as link:
        await link.upload(await group(link), PDF, key="1")
        assert "media/upload" in caplog.text
        assert link._auth._token.reveal() not in caplog.text


# -- the month --------------------------------------------------------------------------------


async def test_progress_is_refused_before_alarms_starve(far: Far) -> None:
    """The meter says where the reserve begins, and no name is asked for from there on; cards, files
    and rings go on; the count survives."""
    async with far.client(monthly_calls=10, alarm_reserve=6) as link:
        chat = await group(link)
        receipt = await link.send(chat, ACK, key="1")
        await link.edit(receipt, say("二"))
        await link.edit(receipt, say("二"))
        assert link.quota.used == 3
        assert link.meter.saving == ""
        await link.edit(receipt, ACK)
        assert "只剩 6 次调用，留给告警" in link.meter.saving
        await link.ring(LI, "醒醒", key="1")
        assert link.quota.warning == ""
    async with far.client(monthly_calls=10, alarm_reserve=6) as link:
        assert link.quota.used == 5
        for n in range(3):
            await link.send(chat, say("告警"), key=f"a{n}")
        assert "8/10" in link.quota.warning
        await far.sim.press(WANG, receipt.id, "ack:1")
        assert (await first(link)).sender.name == ""
        assert link.quota.used == 8
        far.clock.go(days=7)
        assert link.quota.used == 0
        assert link.meter.saving == ""


async def test_an_alarm_does_not_outwait_the_month(far: Far) -> None:
    """Refused for the month's calls, it is due again within the hour, and with the new month's first
    second: by Hangzhou's calendar, which is eight hours ahead."""
    async with far.client() as link:
        chat = await group(link)
        far.sim.month = 0
        for now, pause in (
            (datetime(2026, 12, 31, 14, 59, 59, tzinfo=UTC), 3600),
            (datetime(2026, 12, 31, 15, 59, 50, tzinfo=UTC), 10),
        ):
            far.clock.instant = now
            with pytest.raises(Transient) as refused:
                await link.send(chat, say("告警"), key="1")
            assert refused.value.retry_after == pause
        far.clock.go(seconds=10)
        far.sim.month = 10_000
        await link.send(chat, say("告警"), key="1")
        assert link.meter.period == "2027-01"


async def test_in_the_reserve_an_alarms_card_is_still_redrawn(far: Far, store: Store) -> None:
    """Somebody acknowledged it: the group sees so at once, and progress waits for the next month."""

    async def drawn(key: str, unit: Unit) -> Card:
        living = await unit.outbox.living(key)
        assert living is not None
        return say(f"{key} 第 {living.version} 版")

    async def marked(lane: Lane, *keys: str) -> list[str]:
        far.clock.go(seconds=30)
        async with store.unit() as unit:
            for key in keys:
                await unit.outbox.mark(key, chat, far.clock.now(), lane=lane)
        await sender.drain()
        return far.sim.seen(chat)

    async with far.client(monthly_calls=10, alarm_reserve=7) as link:
        chat = await group(link)
        sender = Sender(store, {"dingtalk": link}, drawn, far.clock)
        assert await marked(Lane.PROGRESS, "run:1", "run:2") == [
            "【run:1 第 1 版】",
            "【run:2 第 1 版】",
        ]
        assert link.meter.saving
        assert await marked(Lane.PROGRESS, "run:1") == ["【run:1 第 1 版】", "【run:2 第 1 版】"]
        assert await marked(Lane.ALARM, "run:2") == ["【run:1 第 1 版】", "【run:2 第 2 版】"]
        # What waits is brought forward, when it becomes urgent.
        assert await marked(Lane.ALARM, "run:1") == ["【run:1 第 3 版】", "【run:2 第 2 版】"]


async def test_a_card_is_not_redrawn_all_the_time(far: Far) -> None:
    """Four drawings in half a minute, then a pause that the error names."""
    async with far.client() as link:
        receipt = await link.send(await group(link), say("0"), key="1")
        for n in range(4):
            await link.edit(receipt, say(f"{n + 1}"))
        with pytest.raises(Transient) as refused:
            await link.edit(receipt, say("5"))
        assert refused.value.retry_after
        far.clock.go(seconds=refused.value.retry_after)
        await link.edit(receipt, say("5"))


# -- the stream -------------------------------------------------------------------------------


async def test_a_press_is_answered_with_what_the_roof_says(far: Far) -> None:
    """The answer goes to the presser alone, inside the callback."""
    async with far.client(answer_within=5) as link:
        receipt = await link.send(await group(link), ACK, key="1")
        told = asyncio.create_task(far.sim.press(LI, receipt.id, "ack:1"))
        event = await first(link)
        await link.answer(event, "已确认", ok=True)
        assert await told == "✅ 已确认"
        assert far.sim.cards[receipt.id].private[LI.id] == {"notice": "✅ 已确认"}
        await link.answer(event, "太晚", ok=False)


async def test_a_press_that_nobody_answers_is_received(far: Far) -> None:
    """Before the budget ends the presser reads a neutral word, and the press is kept."""
    async with far.client() as link:
        receipt = await link.send(await group(link), ACK, key="1")
        assert await far.sim.press(LI, receipt.id, "ack:1") == "✅ 已收到"
    async with far.client() as link:
        assert (await first(link)).action == "ack:1"


async def test_a_card_is_not_updated_while_its_press_is_unanswered(far: Far) -> None:
    """DingTalk forbids it: the edit waits for the answer."""
    async with far.client(answer_within=5) as link:
        receipt = await link.send(await group(link), ACK, key="1")
        told = asyncio.create_task(far.sim.press(LI, receipt.id, "ack:1"))
        event = await first(link)
        edit = asyncio.create_task(link.edit(receipt, say("完成")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert "PUT /v1.0/card/instances" not in far.sim.calls
        await link.answer(event, "好", ok=True)
        await told
        await edit


async def test_what_cannot_be_kept_is_not_acknowledged_as_kept(far: Far) -> None:
    """With a disk that refuses, the presser sees a failure and may press again."""
    async with far.client() as link:
        chat = await group(link)
        receipt = await link.send(chat, ACK, key="1")
        assert link._memory._db
        link._memory._db.execute("PRAGMA query_only = ON")
        with pytest.raises(Refused, match="请求失败"):
            await far.sim.press(LI, receipt.id, "ack:1")
        with pytest.raises(Transient) as refused:
            await link.upload(chat, PDF, key="2")
        assert refused.value.fault is Fault.DISK
        link._memory._db.execute("PRAGMA query_only = OFF")
        await far.sim.press(LI, receipt.id, "ack:1")
        assert (await first(link)).action == "ack:1"


async def test_a_stale_press_is_told_so_and_is_no_event(far: Far) -> None:
    """A phone that still shows the old card is answered as such."""
    async with far.client() as link:
        chat = await group(link)
        receipt = await link.send(chat, ACK, key="1")
        await link.edit(receipt, say("完成"))
        params = {"action": "ack:1", "chat": chat.id}
        told = await far.sim.tap(LI, receipt.id, "press", params)
        assert told == f"⚠️ {wire.STALE}"
        told = await far.sim.tap(LI, receipt.id, "submit", {**params, "form1": {}})
        assert told == f"⚠️ {wire.STALE_FORM}"
        await far.sim.say(LI, chat, "后来")
        assert isinstance(await first(link), Message)


async def test_who_has_spoken_is_known_by_name_when_pressing(far: Far) -> None:
    """A press carries an id alone; the name is remembered from earlier words, over a restart."""
    async with far.client() as link:
        receipt = await link.send(await group(link), ACK, key="1")
        await far.sim.say(LI, wire.direct(LI), "在吗")
    async with far.client() as link:
        await far.sim.press(LI, receipt.id, "ack:1")
        events = link.events()
        async with asyncio.timeout(5):
            assert [(await anext(events)).sender.name for _ in range(2)] == ["Li", "Li"]


@pytest.mark.parametrize(("hidden", "name"), [(False, "Wang"), (True, "")])
async def test_who_never_spoke_is_asked_for_once(far: Far, hidden: bool, name: str) -> None:
    """A signature needs a name: the directory is asked, and not again where it does not tell."""
    far.sim.hides_names = hidden
    async with far.client() as link:
        chat = await group(link)
        receipt = await link.send(chat, ACK, key="1")
        events = link.events()
        for _ in range(2):
            await far.sim.press(WANG, receipt.id, "ack:1")
            assert (await anext(events)).sender.name == name
        assert far.sim.calls.count("POST /topapi/v2/user/get") == 1


@pytest.mark.parametrize("how", Wrong)
async def test_a_press_is_heard_once_though_its_name_cannot_be_had(far: Far, how: Wrong) -> None:
    """Who it was is known by the id, and the directory is not asked again; the next one is named."""
    async with far.client(timeout=0.2) as link:
        receipt = await link.send(await group(link), ACK, key="1")
        far.sim.go_wrong("/topapi/v2/user/get", how)
        events = link.events()
        heard = []
        for who in (WANG, WANG, LI):
            await far.sim.press(who, receipt.id, "ack:1")
            async with asyncio.timeout(5):
                heard.append((await anext(events)).sender)
        far.sim.release()
        # A token that is not known any more is renewed inside the one question.
        name = "Wang" if how is Wrong.TOKEN else ""
        assert [(one.id, one.name) for one in heard] == [
            (WANG.id, name),
            (WANG.id, name),
            (LI.id, "Li"),
        ]
        assert not far.sim.wrong
        assert far.sim.connections == 1


async def test_no_secret_is_kept_longer_than_needed(far: Far) -> None:
    """A password typed into a form leaves the files once the next event was asked for."""
    form = Form("a", (Input("password", "密码", Entry.SECRET),))
    async with far.client() as link:
        chat = await group(link)
        receipt = await link.send(chat, Card("c", blocks=(form,)), key="1")
        await far.sim.submit(LI, receipt.id, "a", {"password": "s3cret-word"})
        assert b"s3cret-word" in everything_in(far.path)
        await far.sim.say(LI, chat, "后来")
        events = link.events()
        async with asyncio.timeout(5):
            await anext(events)
            await anext(events)
        assert b"s3cret-word" not in everything_in(far.path)
        assert all(one.stat().st_mode & 0o077 == 0 for one in far.path.iterdir())


def everything_in(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.iterdir())


async def test_a_crowd_of_presses_is_answered_in_time(far: Far) -> None:
    """Two hundred at once, each kept and answered inside the callback's two seconds."""
    async with far.client(answer_within=1.5) as link:
        receipt = await link.send(await group(link), ACK, key="1")

        async def roof() -> None:
            async for event in link.events():
                assert isinstance(event, Click)
                await link.answer(event, "好", ok=True)

        reading = asyncio.create_task(roof())
        crowd = (far.sim.press(LI, receipt.id, "ack:1") for _ in range(200))
        assert set(await asyncio.gather(*crowd)) <= {"✅ 好", "✅ 已收到"}
        reading.cancel()
        await asyncio.wait({reading})


async def test_a_card_of_another_replica_is_left_to_the_inbox(far: Far) -> None:
    """What this memory has not drawn is passed on as it came."""
    async with far.client() as link:
        chat = await group(link)
        receipt = await link.send(chat, ACK, key="1")
    async with far.client(state=far.path / "other.sqlite") as link:
        await far.sim.press(WANG, receipt.id, "ack:1")
        event = await first(link)
        assert (event.chat, event.sender, event.action) == (chat, WANG, "ack:1")


async def test_a_button_that_asks_counts_at_the_second_press(far: Far) -> None:
    """The template's buttons have no dialog: the first press asks, another person's does too."""
    card = Card("删", blocks=(Buttons((Button("删除", "rm:1", confirm="真的删？"),)),))
    async with far.client() as link:
        chat = await group(link)
        receipt = await link.send(chat, card, key="1")
        params = {"action": "rm:1", "chat": chat.id}
        assert (await far.sim.tap(LI, receipt.id, "press", params)).startswith("❓ 真的删？")
        assert (await far.sim.tap(WANG, receipt.id, "press", params)).startswith("❓")
        far.clock.go(seconds=61)
        assert (await far.sim.tap(LI, receipt.id, "press", params)).startswith("❓")
        assert await far.sim.tap(LI, receipt.id, "press", params) == "✅ 已收到"
        event = await first(link)
        assert (event.sender, event.action) == (LI, "rm:1")


async def test_a_duplicate_delivery_has_the_same_id(far: Far) -> None:
    """The inbox can tell: a message by its msgId, a press by the frame's messageId."""
    async with far.client() as link:
        chat = await group(link)
        receipt = await link.send(chat, ACK, key="1")
        data = {
            "outTrackId": receipt.id,
            "userId": LI.id,
            "content": json.dumps(
                {
                    "cardPrivateData": {
                        "actionIds": ["press"],
                        "params": {"action": "ack:1", "chat": chat.id},
                    }
                }
            ),
        }
        events = link.events()

        async def again() -> None:
            future = await far.sim.push("CALLBACK", socket.CARDS, data, message_id="same")
            assert future
            await future

        await again()
        await again()
        await far.sim.say(LI, chat, "后来")
        async with asyncio.timeout(5):
            one, later = await anext(events), await anext(events)
            await again()
            other = await anext(events)
        assert one.id == other.id == "same"
        assert isinstance(later, Message)


async def test_events_and_pings_are_acknowledged_as_the_protocol_says(far: Far) -> None:
    """An EVENT wants a status and not its echo; a ping wants its own data."""
    async with far.client():
        event = await far.sim.push("EVENT", "*", {"a": 1}, eventType="chat_add_member")
        ping = await far.sim.push("SYSTEM", "ping", {"opaque": "x"})
        assert event
        assert ping
        assert json.loads((await event)["data"])["status"] == "SUCCESS"
        assert json.loads((await ping)["data"]) == {"opaque": "x"}


async def test_a_broken_frame_hurts_nobody(far: Far) -> None:
    """It gets no good answer, the socket lives on, and the next one is heard."""
    async with far.client() as link:
        for topic, data in (
            (socket.MESSAGES, "{no json"),
            (socket.MESSAGES, {"msgtype": "text"}),
            (socket.CARDS, {"content": "[]"}),
        ):
            await far.sim.push("CALLBACK", topic, data)
            for _ in range(2):
                ping = await far.sim.push("SYSTEM", "ping", {"opaque": "x"})
                assert ping
                async with asyncio.timeout(5):
                    await ping
        assert far.sim.connections == 1
        assert len(far.sim.acks) == 6
        await far.sim.say(LI, wire.direct(LI), "在吗")
        assert (await first(link)).text == "在吗"


async def test_a_closed_or_cut_socket_is_opened_again(far: Far) -> None:
    """Asked to leave, closed and cut: there is one socket, one loop and no task left over."""
    async with far.client() as link:
        tasks = len(asyncio.all_tasks())
        for n in range(30):
            await far.sim.until(lambda: bool(far.sim._sockets))
            before = far.sim.connections
            if n % 3 == 0:
                await far.sim.push("SYSTEM", "disconnect", {"reason": "x"})
            elif n % 3 == 1:
                await far.sim.close_sockets()
            else:
                far.sim.abort_sockets()
            await far.sim.until(lambda before=before: far.sim.connections > before)  # type: ignore[misc]
        await far.sim.until(lambda: len(far.sim._sockets) == 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= tasks + 2  # the server's own, of the last connection
        await far.sim.say(LI, wire.direct(LI), "在吗")
        assert (await first(link)).text == "在吗"


async def test_a_gateway_that_fails_is_asked_again(far: Far) -> None:
    """What goes wrong before a socket is there only costs time."""
    for how in (Wrong.ERROR, Wrong.DROPPED, Wrong.HTML, Wrong.QPS):
        far.sim.go_wrong("/v1.0/gateway", how)
    async with far.client():
        await far.sim.until(lambda: far.sim.connections == 1)


async def test_a_half_open_link_is_given_up(far: Far) -> None:
    """Nothing comes back, not even to pings: a new socket is opened."""

    async def opener(subscriptions: list[dict[str, str]]) -> tuple[str, str]:
        body = {"clientId": far.sim.client_id, "clientSecret": far.sim.secret}
        given = far.sim._open({**body, "subscriptions": subscriptions, "ua": "", "localIp": ""})
        return given["endpoint"], given["ticket"]

    async def on_frame(topic: str, headers: dict[str, Any], data: Any) -> str:
        return "OK"

    far.sim.half_open = True
    for ping, idle in ((0.05, 90), (90, 0.05)):
        before = far.sim.connections
        stream = socket.Stream(opener, on_frame, far.clock, ping=ping, idle=idle)
        task = asyncio.create_task(stream.run())
        await far.sim.until(lambda before=before: far.sim.connections >= before + 2)  # type: ignore[misc]
        task.cancel()
        await asyncio.wait({task})


# -- files and typed answers --------------------------------------------------------------------


async def test_a_file_that_cannot_be_had_does_not_lose_the_words(far: Far) -> None:
    """The command arrives without it."""
    async with far.client() as link:
        far.sim.go_wrong("/v1.0/robot/messageFiles", Wrong.ERROR, 3)
        await far.sim.say(LI, await group(link), "@Vigilbot /x", [File("a.csv", b"1")])
        event = await first(link)
        assert (event.text, event.files) == ("/x", ())
        assert far.sim.replies == ["⚠️ 有文件没有取到，请重新发送"]


@pytest.mark.parametrize("how", Wrong)
async def test_words_with_a_file_are_heard_once_whatever_goes_wrong(far: Far, how: Wrong) -> None:
    """The file is asked for again, and what is said next is heard next."""
    async with far.client(timeout=0.2) as link:
        chat = await group(link)
        far.sim.go_wrong("/v1.0/robot/messageFiles", how)
        await far.sim.say(LI, chat, "@Vigilbot /x", [PDF])
        await far.sim.say(LI, chat, "@Vigilbot /y")
        events = link.events()
        async with asyncio.timeout(5):
            heard = [await anext(events) for _ in range(2)]
        far.sim.release()
        told = [(one.text, one.files) for one in heard if isinstance(one, Message)]
        assert told == [("/x", (PDF,)), ("/y", ())]
        assert not far.sim.wrong
        assert far.sim.connections == 1


async def test_a_file_waits_over_a_restart(far: Far) -> None:
    """It was sent to the robot, then the bot was updated, then came the command."""
    async with far.client():
        await far.sim.hand_over(LI, PDF)
    far.clock.go(minutes=5)
    async with far.client() as link:
        await far.sim.say(LI, wire.direct(LI), "/x")
        assert (await first(link)).files == (PDF,)


async def test_a_file_waits_for_its_senders_words_only(far: Far) -> None:
    """Another's words do not take it, and after half an hour nobody's do."""
    async with far.client() as link:
        chat = await group(link)
        events = link.events()

        async def files() -> tuple[File, ...]:
            event = await anext(events)
            assert isinstance(event, Message)
            return event.files

        await far.sim.say(LI, wire.direct(LI), "", [File("a.csv", b"1")])
        assert await files() == (File("a.csv", b"1"),)
        await far.sim.say(LI, chat, "@Vigilbot 一次就够")
        assert await files() == ()
        far.sim.papers["code"] = File("b.csv", b"2")
        paper = {"msgtype": "file", "content": {"fileName": "b.csv", "downloadCode": "code"}}
        await far.sim._message(LI, wire.direct(LI), paper)
        await far.sim.say(WANG, chat, "@Vigilbot 我的")
        assert await files() == ()
        far.clock.go(minutes=31)
        await far.sim.say(LI, chat, "@Vigilbot 太晚")
        assert await files() == ()


FORM = Form(
    "intake:1",
    (
        Input("company", "公司", required=True),
        Input("tier", "套餐", Entry.CHOICE, (("basic", "基础版"), ("pro", "专业版")), "basic"),
        Input("list", "清单", Entry.FILE),
    ),
    "登记",
)


async def test_without_a_template_people_answer_by_numbers(far: Far) -> None:
    """The numbers of a chat go on from card to card, and are known after a restart."""
    card = Card(
        "验收", blocks=(Text("请确认"), Buttons((Button("通过", "yes:1"), Button("不行", "no:1"))))
    )
    async with far.client(card_template="") as link:
        assert not link.can.can_edit
        chat = await group(link)
        receipt = await link.send(chat, card, key="1")
        assert await link.send(chat, card, key="1") == receipt
        await link.send(chat, card, key="2")
        assert far.sim.seen(chat) == [
            "验收\n请确认\n➤ 通过：回复“确认 1”\n➤ 不行：回复“确认 2”",
            "验收\n请确认\n➤ 通过：回复“确认 3”\n➤ 不行：回复“确认 4”",
        ]
        with pytest.raises(Permanent, match="模板"):
            await link.edit(receipt, say("x"))
    async with far.client(card_template="") as link:
        await far.sim.say(LI, chat, "@Vigilbot 确认 ４")
        event = await first(link)
        assert isinstance(event, Click)
        assert (event.chat, event.sender, event.action) == (chat, LI, "no:1")
        await link.answer(event, "好的", ok=True)
        assert far.sim.replies == ["✅ 好的"]
        await far.sim.say(LI, chat, "确认 99")
        assert "没有编号 99" in far.sim.replies[-1]


async def test_without_a_template_a_form_is_typed(far: Far) -> None:
    """Lines under the number fill the inputs; what is wrong is told, and nothing is sent."""
    async with far.client(card_template="") as link:
        chat = await group(link)
        await link.send(chat, Card("登记", blocks=(FORM,)), key="1")
        (blank,) = far.sim.seen(chat)
        assert "提交 1\n公司：（必填）\n套餐：basic（basic=基础版/pro=专业版）" in blank
        await far.sim.say(LI, chat, "提交 1\n公司：\n套餐：gold")
        assert far.sim.replies[-1] == "⚠️ 请填写：公司；请从列出的选项中选择：套餐"
        await far.sim.say(LI, chat, "确认 1")
        assert "提交 1" in far.sim.replies[-1]
        await far.sim.say(LI, chat, "提交 1\n城市：上海")
        assert "城市" in far.sim.replies[-1]
        sheet = File("a.csv", b"1")
        copied = blank[blank.index("提交 1") :].replace("公司：（必填）", "公司：甲: 乙（必填）")
        await far.sim.say(LI, chat, copied, [sheet])
        event = await first(link)
        assert isinstance(event, Submission)
        assert event.values == {"company": "甲: 乙", "tier": "basic"}
        assert event.files == (sheet,)


async def test_a_message_without_a_template_that_was_cut_is_in_doubt(far: Far) -> None:
    """Without cards there is no key in force, and the platform says so."""
    async with far.client(card_template="") as link:
        assert not link.can.has_idempotency
        chat = await group(link)
        far.sim.go_wrong("/v1.0/robot/groupMessages", Wrong.DROPPED)
        with pytest.raises(InDoubt):
            await link.send(chat, say("x"), key="1")


async def test_a_file_that_cannot_be_written_is_one_of_our_errors(far: Far) -> None:
    """A memory that is no database is told when entered."""
    (far.path / "broken").write_bytes(b"no database at all" * 100)
    with pytest.raises(Permanent, match="数据文件"):
        async with far.client(state=far.path / "broken"):
            pass


async def test_what_is_asked_of_nobody_was_not_done(tmp_path: Path) -> None:
    """With nobody listening at all the link is entered all the same, and says Transient."""
    far = Far(tmp_path)
    async with far.client() as link:
        deeds: list[Deed] = [
            lambda: link.send(Chat("dingtalk", "cid"), say("x"), key="1"),
            lambda: link.upload(Chat("dingtalk", "cid"), File("a", b"1"), key="1"),
            lambda: link.ring(LI, "x", key="1"),
            lambda: link.edit(Receipt(Chat("dingtalk", "cid"), "x"), say("x")),
        ]
        for deed in deeds:
            with pytest.raises(Transient) as refused:
                await deed()
            assert refused.value.fault is Fault.NETWORK


async def test_the_sdk_asks_the_gateway_as_we_do(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of the SDK that the loop leans on are there, and its own request is ours."""
    bodies: list[Any] = []
    real = far.sim._open

    def listened(body: Any) -> Any:
        bodies.append(body)
        return real(body)

    monkeypatch.setattr(far.sim, "_open", listened)
    async with far.client():

        async def on_frame(topic: str, headers: dict[str, Any], data: Any) -> str:
            return "OK"

        session = socket._Session(None, on_frame)
        session.credential.client_id = far.sim.client_id
        session.credential.client_secret = far.sim.secret
        monkeypatch.setattr(
            type(session).__mro__[1],
            "OPEN_CONNECTION_API",
            f"{far.sim.url}/v1.0/gateway/connections/open",
        )
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await asyncio.to_thread(session.open_connection)
    ours, theirs = bodies
    assert {**ours, "localIp": ""} == {**theirs, "localIp": ""}
    for name in ("route_message", "websocket", "callback_handler_map", "TAG_DISCONNECT"):
        assert hasattr(session, name)

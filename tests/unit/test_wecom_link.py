"""The line to WeCom, against a strict enterprise on the loopback."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.card import Button, Buttons, Card, Entry, Form, Input, Text, Tone, say
from adapters.port import InDoubt, Permanent, Transient, UsageError
from adapters.wecom import wire
from adapters.wecom.app import App, Robot, plainly
from adapters.wecom.link import FRESH, WeCom
from adapters.wecom.pace import Pace
from adapters.wecom.pages import OPEN_FOR
from adapters.wecom.socket import BACK_OFF, Alone
from adapters.words import Chat, Click, Event, File, Message, Person, Secret, Submission
from tests.sim.slack import SimClock
from tests.sim.wecom import AES_KEY, AGENT, APP_SECRET, BOT_ID, CORP, NAME, SECRET, TOKEN, WeComSim

FORM = Form("run|skip|7", (Input("reason", "原因", required=True),), "跳过这一步")
VOTE = Form(
    "pick", (Input("channels", "渠道", Entry.CHOICES, (("dd", "钉钉"), ("fs", "飞书"))),), "选好了"
)
CARD = Card(
    "等待签字", Tone.WARNING, (Text("请签字"), Buttons((Button("签字", "sign|7"),)), FORM, VOTE)
)


class Scene:
    """An enterprise, a link to it, a clock that is moved by hand, and Li in a group."""

    def __init__(self, sim: WeComSim, state: Path, clock: SimClock) -> None:
        self.sim = sim
        self.state = state
        self.clock = clock
        self.li, self.wang = sim.user("Li"), sim.user("Wang")
        self.room = sim.found("客户甲", self.li, self.wang)
        self.chat = Chat("wecom", self.room.id)
        self.link = self.new()
        self.read_from: WeCom | None = None
        self.events: AsyncIterator[Event]

    def new(self, **more: Any) -> WeCom:
        return WeCom(
            BOT_ID,
            Secret(more.pop("secret", SECRET)),
            state=self.state,
            clock=self.clock,
            ws_url=self.sim.ws_url,
            public_url="http://bot",
            ack=2.0,
            **more,
        )

    async def event(self) -> Event:
        """Return the next event; asking says that the last one is kept."""
        if self.read_from is not self.link:
            self.read_from, self.events = self.link, self.link.events()
        async with asyncio.timeout(5):
            return await anext(self.events)

    async def until(self, true: Callable[[], bool]) -> None:
        """Let the loop run until something is so."""
        async with asyncio.timeout(5):
            for _ in itertools.count():
                if true():
                    return
                await asyncio.sleep(0)

    async def ask(self, text: str = "/status") -> Message:
        await self.sim.say(self.li, self.room.id, f"@{NAME} {text}")
        event = await self.event()
        assert isinstance(event, Message)
        return event

    async def press(self, receipt: str, key: str, card: int = 0, **selected: str) -> None:
        await self.sim.press(self.li, self.room.id, f"{receipt}-{card}", key, **selected)

    async def replaced(self) -> None:
        async with asyncio.timeout(5):
            await self.sim.updated.wait()
        self.sim.updated.clear()

    def texts(self) -> list[str]:
        return self.sim.texts(self.room.id)

    async def dialled_again(self, times: int) -> None:
        """Let the pause before the next dial pass, and wait until it is subscribed."""
        async with asyncio.timeout(5):
            while self.sim.dialled < times or not self.link._socket.ready.is_set():
                self.clock.move(BACK_OFF[-1] if self.clock.sleeping else 0)
                await asyncio.sleep(0)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = SimClock()
    async with WeComSim(clock.now) as sim:
        scene = Scene(sim, tmp_path / "wecom.sqlite", clock)
        async with scene.link:
            yield scene


# -- who may be spoken to -------------------------------------------------------------------------


async def test_a_chat_that_has_not_spoken_is_told_how(scene: Scene) -> None:
    """Nothing is tried: the reason says what somebody must do there."""
    with pytest.raises(Permanent, match="先在里面 @机器人"):
        await scene.link.send(scene.chat, say("你好"), key="1")
    assert "aibot_send_msg" not in scene.sim.calls


async def test_who_has_spoken_once_is_known_after_a_restart(scene: Scene, tmp_path: Path) -> None:
    """The chat is remembered in the file, not in the process."""
    await scene.ask()
    await scene.link.__aexit__(None, None, None)
    async with scene.new() as link:
        await link.send(scene.chat, say("又来了"), key="1")
    assert scene.texts() == ["【又来了】"]


async def test_a_person_who_never_wrote_cannot_be_rung(scene: Scene) -> None:
    with pytest.raises(Permanent, match="还没有私聊过机器人"):
        await scene.link.ring(Person("wecom", scene.wang), "醒醒", key="1")


async def test_a_group_cannot_be_made(scene: Scene) -> None:
    with pytest.raises(Permanent, match="/bind"):
        await scene.link.open_chat("客户甲", [Person("wecom", scene.li)], key="1")


async def test_an_account_behind_an_at_is_somebody_who_has_spoken(scene: Scene) -> None:
    """WeCom tells no id of whom a message means. A name is nobody; an account that was written out,
    in whatever case, is who has it, once they have spoken to the bot."""
    said = await scene.ask("/role @U-Wang 客户")
    assert said.mentions == ()
    await scene.sim.say(scene.wang, scene.room.id, f"@{NAME} /whoami")
    assert isinstance(await scene.event(), Message)
    said = await scene.ask("/role @U-Wang 客户，@王经理 也是")
    assert said.mentions == (Person("wecom", scene.wang),)
    assert [person.name for person in said.mentions] == ["U-Wang"]


async def test_the_robot_is_the_last_way_to_be_heard(scene: Scene) -> None:
    """Once for each key; without a robot it is refused."""
    with pytest.raises(Permanent, match="没有设置"):
        await scene.link.relay("P1 告警", key="1")
    await scene.link.__aexit__(None, None, None)
    robot = Robot(Secret(scene.sim.robot_url), scene.clock)
    async with scene.new(robot=robot) as link:
        for _ in range(2):
            await link.relay("P1 告警", key="1")
    assert [one["content"] for one in scene.sim.robot_said] == ["P1 告警"]


async def test_a_call_that_one_way_refuses_goes_the_next(scene: Scene, app: App) -> None:
    """The app cannot see everybody, the bot may have been refused a chat it knew: then the robot's
    group is told, with the name. What nobody can do is refused with the first reason."""
    await scene.sim.say(scene.li, f"@{scene.li}", "/whoami")
    await scene.event()
    await scene.link.__aexit__(None, None, None)
    robot = Robot(Secret(scene.sim.robot_url), scene.clock)
    async with scene.new(app=app, robot=robot) as link:
        scene.sim.misbehave("message/send", 60011)
        await link.ring(Person("wecom", scene.li), "P1 甲", key="1")
        assert scene.sim.texts(f"@{scene.li}") == ["P1 甲"]
        await link.ring(Person("wecom", "u-hidden"), "P1 乙", key="2")
        assert scene.sim.robot_said == [{"content": "P1 乙", "mentioned_list": ["u-hidden"]}]
        scene.sim.misbehave("message/send", 60011)
        scene.sim.misbehave("aibot_send_msg", 93006)
        scene.sim.misbehave("webhook/send", 93000)
        with pytest.raises(Permanent, match="60011"):
            await link.ring(Person("wecom", scene.li), "P1 丙", key="3")


# -- presses ----------------------------------------------------------------------------------------


async def test_a_press_replaces_the_card_for_everybody(scene: Scene) -> None:
    """A button cannot be disabled: one that says what came of it takes its place, and a press on
    that one is nobody's business."""
    await scene.ask()
    receipt = await scene.link.send(scene.chat, CARD, key="1")
    await scene.press(receipt.id, "b:sign|7")
    event = await scene.event()
    assert isinstance(event, Click)
    assert event.action == "sign|7"
    await scene.link.answer(event, "已签字", ok=True)
    await scene.replaced()
    card = scene.sim.card(scene.wang, scene.room.id, f"{receipt.id}-0")
    assert card["button_list"] == [{"text": "已签字 ✓", "style": 4, "key": "done"}]
    await scene.press(receipt.id, "done")
    assert (await scene.ask("后来")).text == "后来"


async def test_a_refused_press_is_told_to_its_presser_alone(scene: Scene) -> None:
    await scene.ask()
    receipt = await scene.link.send(scene.chat, CARD, key="1")
    await scene.press(receipt.id, "b:sign|7")
    event = await scene.event()
    assert isinstance(event, Click)
    await scene.link.answer(event, "这一步需要客户来操作", ok=False)
    await scene.replaced()
    mine = scene.sim.card(scene.li, scene.room.id, f"{receipt.id}-0")
    assert mine["sub_title_text"] == "这一步需要客户来操作"
    assert (
        scene.sim.card(scene.wang, scene.room.id, f"{receipt.id}-0")["sub_title_text"] == "请签字"
    )
    await scene.press(receipt.id, "b:sign|7")  # and may be tried again


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_button_that_is_pressed_twice_is_pressed_once(scene: Scene, when: str) -> None:
    """Its second press was on the way when the first was answered: it changes nothing, least of all what
    its presser sees. Somebody else's press is another one."""
    await scene.ask()
    receipt = await scene.link.send(scene.chat, CARD, key="1")
    task = f"{receipt.id}-0"
    await scene.press(receipt.id, "b:sign|7")
    if when == "before":
        await scene.sim.tap(scene.li, scene.room.id, task, "b:sign|7")
    event = await scene.event()
    assert isinstance(event, Click)
    await scene.link.answer(event, "已签字", ok=True)
    await scene.replaced()
    if when == "after":
        await scene.sim.tap(scene.li, scene.room.id, task, "b:sign|7")
    await scene.sim.tap(scene.wang, scene.room.id, task, "b:sign|7")
    other = await scene.event()
    assert isinstance(other, Click)
    assert other.sender.id == scene.wang
    assert scene.sim.card(scene.li, scene.room.id, task)["button_list"][0]["key"] == "done"


async def test_a_press_is_answered_in_time_whatever_we_do(scene: Scene) -> None:
    """Nobody has answered after four seconds: the card says that it was received."""
    await scene.ask()
    receipt = await scene.link.send(scene.chat, CARD, key="1")
    await scene.press(receipt.id, "b:sign|7")
    event = await scene.event()
    assert isinstance(event, Click)
    scene.clock.move(4)
    await scene.replaced()
    await scene.link.answer(event, "太晚了", ok=True)
    shown = scene.sim.card(scene.li, scene.room.id, f"{receipt.id}-0")
    assert shown["button_list"][0]["text"] == "已收到 ✓"


@pytest.mark.parametrize("fault", [846605, -1, "lost", "gone", "closed", "cut"])
@pytest.mark.parametrize("by", ["the roof", "the clock"])
async def test_a_card_that_cannot_be_replaced_costs_nothing_but_its_looks(
    scene: Scene, by: str, fault: str | int
) -> None:
    """Whatever becomes of the replacement: the press was heard, once, and who listens goes on to hear."""
    await scene.ask()
    receipt = await scene.link.send(scene.chat, CARD, key="1")
    scene.sim.misbehave("aibot_respond_update_msg", fault)
    await scene.press(receipt.id, "b:sign|7")
    event = await scene.event()
    assert isinstance(event, Click)
    (in_time,) = scene.link._tasks
    if by == "the roof":
        await scene.link.answer(event, "已签字", ok=True)
    else:
        scene.clock.move(4)
        await asyncio.wait({in_time}, timeout=5)
    await scene.dialled_again(2 if fault in {"closed", "cut"} else 1)
    assert scene.sim.calls.count("aibot_respond_update_msg") == 1
    assert (await scene.ask("还在吗")).text == "还在吗"


async def test_a_dangerous_press_is_made_sure_of(scene: Scene) -> None:
    """The question is the presser's alone; going back restores the card, being sure is the press."""
    await scene.ask()
    sure = Buttons((Button("下线", "retire|7", confirm="确定下线？"),))
    receipt = await scene.link.send(scene.chat, Card("下线", blocks=(sure,)), key="1")
    await scene.press(receipt.id, "b:retire|7")
    await scene.replaced()
    mine = scene.sim.card(scene.li, scene.room.id, f"{receipt.id}-0")
    assert mine["sub_title_text"] == "确定下线？"
    assert len(scene.sim.card(scene.wang, scene.room.id, f"{receipt.id}-0")["button_list"]) == 1
    await scene.press(receipt.id, "n")
    await scene.replaced()
    await scene.press(receipt.id, "b:retire|7")
    await scene.replaced()
    await scene.press(receipt.id, "y:retire|7")
    event = await scene.event()
    assert isinstance(event, Click)
    assert event.action == "retire|7"


async def test_a_vote_is_asked_on_the_card(scene: Scene) -> None:
    await scene.ask()
    receipt = await scene.link.send(scene.chat, CARD, key="1")
    await scene.press(receipt.id, "s:pick", 1, channels="dd,fs")
    event = await scene.event()
    assert isinstance(event, Submission)
    assert (event.action, event.values) == ("pick", {"channels": "dd,fs"})


async def test_a_press_that_was_not_kept_comes_again_after_a_kill(scene: Scene) -> None:
    """WeCom tells of a press once only, so it is on our disk before anybody reads it."""
    await scene.ask()
    receipt = await scene.link.send(scene.chat, CARD, key="1")
    await scene.press(receipt.id, "b:sign|7")
    lost = await scene.event()
    await scene.link.__aexit__(None, None, None)
    async with scene.new() as link:
        scene.link = link
        assert await scene.event() == lost


# -- forms on a page --------------------------------------------------------------------------------


async def page_of(scene: Scene, key: str) -> str:
    """Have Li press for the form, and return the token of the page that Li alone is shown."""
    receipt = await scene.link.send(scene.chat, CARD, key=key)
    await scene.press(receipt.id, "f:run|skip|7")
    await scene.replaced()
    assert "jump_list" not in scene.sim.card(scene.wang, scene.room.id, f"{receipt.id}-0")
    card = scene.sim.card(scene.li, scene.room.id, f"{receipt.id}-0")
    return str(card["jump_list"][0]["url"]).rpartition("/")[2]


async def test_a_form_is_sent_once_from_its_page(scene: Scene) -> None:
    """What was wrong can be mended on the page; what was taken closes it."""
    await scene.ask()
    token = await page_of(scene, "1")
    with pytest.raises(UsageError, match="请填写：原因"):
        await scene.link.filled(token, {}, ())
    for ok, said in ((False, "这一步需要负责人来操作"), (True, "已收到")):
        sending = asyncio.create_task(scene.link.filled(token, {"reason": "演练"}, ()))
        event = await scene.event()
        assert isinstance(event, Submission)
        assert (event.chat, event.sender.id, event.values) == (
            scene.chat,
            scene.li,
            {"reason": "演练"},
        )
        await scene.link.answer(event, said, ok=ok)
        assert await sending == (ok, said)
    assert await scene.link.asked(token) is None
    assert not (await scene.link.filled(token, {"reason": "又一次"}, ()))[0]


async def test_a_page_has_its_time(scene: Scene) -> None:
    await scene.ask()
    token = await page_of(scene, "1")
    assert await scene.link.asked(token) == FORM
    assert await scene.link.asked("guessed") is None
    scene.clock.move(OPEN_FOR.total_seconds())
    assert await scene.link.asked(token) is None


# -- streams ----------------------------------------------------------------------------------------


async def test_an_answer_goes_to_the_message_itself(scene: Scene) -> None:
    """It is quoted there, and ends what is in progress for its sender."""
    asked = await scene.ask()
    await scene.link.send(scene.chat, say("进度", "一切正常"), key=f"reply:wecom:{asked.id}")
    assert [one.kind for one in scene.room.shown] == ["stream"]
    assert not scene.room.shown[0].open
    assert scene.texts() == ["【进度】\n一切正常"]


async def test_a_stream_is_redrawn_until_its_time_is_over(scene: Scene) -> None:
    """Sealed by us before the platform does it, with what it last showed."""
    await scene.ask()
    receipt = await scene.link.open_stream(scene.chat, say("一"), key="run:1")
    assert receipt
    await scene.link.edit(receipt, say("二"))
    assert scene.texts() == ["【二】"]
    scene.clock.move(FRESH.total_seconds())
    await scene.until(lambda: not scene.room.shown[0].open)
    with pytest.raises(Permanent, match="不能修改"):
        await scene.link.edit(receipt, say("三"))
    assert await scene.link.open_stream(scene.chat, say("三"), key="run:2") is None


async def test_a_person_always_has_room_for_another_message(scene: Scene) -> None:
    """Of three messages in progress we hold two at most."""
    for number in range(3):
        await scene.ask()
        opened = await scene.link.open_stream(scene.chat, say("一"), key=f"run:{number}")
        assert bool(opened) == (number < 2)


@pytest.mark.parametrize(
    ("end", "shown"), [("too long", "一"), ("lost", "二"), ("refused", "一"), ("unseen", "一")]
)
async def test_no_stream_is_left_open(scene: Scene, end: str, shown: str) -> None:
    """An open one keeps "typing", and is one of the three messages its asker may have in progress:
    whatever ends our part of it, it is sealed with what it last showed."""
    await scene.ask()
    if end == "unseen":
        scene.sim.misbehave("aibot_respond_msg", "lost")
        with pytest.raises(InDoubt):
            await scene.link.open_stream(scene.chat, say("一"), key="run:1")
    else:
        receipt = await scene.link.open_stream(scene.chat, say("一"), key="run:1")
        assert receipt
        if end != "too long":
            scene.sim.misbehave("aibot_respond_msg", "lost" if end == "lost" else 40058)
        with pytest.raises(Permanent):
            await scene.link.edit(receipt, say("二", "字" * 7000 if end == "too long" else ""))
    await scene.until(lambda: not scene.room.shown[0].open)
    assert scene.texts() == [f"【{shown}】"]


async def test_who_leaves_seals_its_streams(scene: Scene) -> None:
    """After a restart their asker has all three messages again. Two of one message are sealed one
    after the other: its frames share their number."""
    await scene.ask()
    for number in range(2):
        assert await scene.link.open_stream(scene.chat, say("一"), key=f"run:{number}")
    with capture_logs() as logs:
        await scene.link.__aexit__(None, None, None)
    assert [one.open for one in scene.room.shown] == [False, False]
    assert "wecom_stream_not_sealed" not in [line["event"] for line in logs]


async def test_where_a_message_takes_one_stream_the_next_is_said_anew(scene: Scene) -> None:
    scene.sim.answers_once = True
    asked = await scene.ask()
    await scene.link.send(scene.chat, say("好"), key=f"reply:wecom:{asked.id}")
    assert await scene.link.open_stream(scene.chat, say("一"), key="run:1") is None


@pytest.mark.parametrize("why", ["once", "late"])
async def test_an_answer_that_its_message_no_longer_takes_is_said_anew(
    scene: Scene, why: str
) -> None:
    """The living card was first to answer, or the platform ended the matter: no answer is lost."""
    scene.sim.answers_once = why == "once"
    asked = await scene.ask()
    assert await scene.link.open_stream(scene.chat, say("进度"), key="run:1")
    if why == "late":
        scene.sim.misbehave("aibot_respond_msg", 846608)
    for _ in range(2):
        await scene.link.send(scene.chat, say("好"), key=f"reply:wecom:{asked.id}")
    assert scene.texts() == ["【进度】", "【好】"]
    assert scene.room.shown[1].kind == "markdown"


async def test_a_stream_that_the_platform_ended_is_no_longer_ours(scene: Scene) -> None:
    await scene.ask()
    receipt = await scene.link.open_stream(scene.chat, say("一"), key="run:1")
    assert receipt
    scene.sim.misbehave("aibot_respond_msg", 846608)
    with pytest.raises(Permanent, match="已经结束"):
        await scene.link.edit(receipt, say("二"))


# -- the connection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["clean", "1011", "abort"])
async def test_a_connection_that_ends_is_made_anew(scene: Scene, end: str) -> None:
    """A clean close is the one that the SDKs sleep through."""
    if end == "abort":
        scene.sim.abort()
    else:
        await scene.sim.shut(1000 if end == "clean" else 1011)
    await scene.dialled_again(2)
    assert (await scene.ask("还在吗")).text == "还在吗"


async def test_being_thrown_out_is_an_alarm_and_no_war(scene: Scene) -> None:
    """It does not come back; what is to be said is refused with the reason; the robot says so."""
    await scene.ask()
    await scene.link.__aexit__(None, None, None)
    robot = Robot(Secret(scene.sim.robot_url), scene.clock)
    async with scene.new(robot=robot) as link:
        before = scene.sim.dialled
        await scene.sim.kick()
        assert link._running
        await link._running
        with pytest.raises(Permanent, match="另一个程序用同一个机器人"):
            await link.send(scene.chat, say("你好"), key="1")
        scene.clock.move(3600)
        assert scene.sim.dialled == before
        assert "已停止" in scene.sim.robot_said[0]["content"]
        await link.ring(Person("wecom", scene.li), "P1 告警", key="2")
        assert scene.sim.robot_said[1]["mentioned_list"] == [scene.li]


async def test_a_wrong_secret_is_tried_three_times(scene: Scene) -> None:
    """Subscribing is rate-protected: a name that is refused is not knocked with for ever."""
    scene.state = scene.state.with_name("other.sqlite")
    before = scene.sim.dialled
    async with scene.new(secret="wrong") as link:
        async with asyncio.timeout(5):
            while link._socket.ended is None:
                scene.clock.move(BACK_OFF[-1] if scene.clock.sleeping else 0)
                await asyncio.sleep(0)
        assert scene.sim.dialled == before + 3
        assert "Secret 不对" in link._socket.ended.reason
        assert "wrong" not in link._socket.ended.reason


async def test_without_the_lease_nobody_dials(scene: Scene) -> None:
    """Of two replicas one holds the connection; the other takes over when it may."""

    class Given(Alone):
        mine = False

        async def take(self) -> bool:
            return self.mine

    lease = Given()
    scene.state = scene.state.with_name("other.sqlite")
    before = scene.sim.dialled
    async with scene.new(lease=lease) as link:
        assert scene.sim.dialled == before
        lease.mine = True
        scene.link = link
        await scene.dialled_again(before + 1)


async def test_a_lost_answer_is_in_doubt_and_never_sent_twice(scene: Scene) -> None:
    await scene.ask()
    scene.sim.misbehave("aibot_send_msg", "lost")
    for _ in range(2):
        with pytest.raises(InDoubt):
            await scene.link.send(scene.chat, say("一"), key="1")
    assert scene.texts() == ["【一】"]


async def test_too_much_is_told_with_a_time(scene: Scene) -> None:
    """The thirty-first in a minute is refused, and may be tried when the minute is over."""
    await scene.ask()
    for number in range(30):
        await scene.link.send(scene.chat, say("一"), key=str(number))
    with pytest.raises(Transient) as refused:
        await scene.link.send(scene.chat, say("一"), key="30")
    assert refused.value.retry_after == 60
    scene.clock.move(60)
    await scene.link.send(scene.chat, say("一"), key="30")
    assert len(scene.texts()) == 31


async def test_while_it_is_down_nothing_is_lost(scene: Scene) -> None:
    """It was not sent, so it is no doubt: the sender tries again."""
    await scene.ask()
    await scene.sim.shut()
    await scene.until(lambda: not scene.link._socket.ready.is_set())
    with pytest.raises(Transient, match="正在重连"):
        await scene.link.send(scene.chat, say("一"), key="1")
    await scene.dialled_again(2)
    await scene.link.send(scene.chat, say("一"), key="1")
    assert scene.texts() == ["【一】"]


async def test_half_of_a_card_is_not_said_twice(scene: Scene) -> None:
    """The text went out and its buttons did not: only these are sent the second time."""
    await scene.ask()
    long = Card("签字", blocks=(Text("很长的一段话" * 20), *CARD.blocks[1:2]))
    scene.sim.misbehave("aibot_send_msg", "ok", 45009)
    with pytest.raises(Transient):
        await scene.link.send(scene.chat, long, key="1")
    await scene.link.send(scene.chat, long, key="1")
    assert [one.kind for one in scene.room.shown] == ["markdown", "template_card"]


async def test_a_message_that_comes_twice_is_one_event(scene: Scene) -> None:
    """The same msgid before the first was read; after that the inbox knows it."""
    for _ in range(2):
        await scene.sim.say(scene.li, scene.room.id, f"@{NAME} 一", msgid="m-same")
    await scene.sim.say(scene.li, scene.room.id, f"@{NAME} 二")
    events = scene.link.events()
    texts = []
    async with asyncio.timeout(5):
        for _ in range(2):
            event = await anext(events)
            assert isinstance(event, Message)
            texts.append(event.text)
    assert texts == ["一", "二"]


async def test_half_of_a_long_text_is_not_said_twice(scene: Scene, app: App) -> None:
    """The second of three pieces was refused for now: the second time it goes on from there."""
    await scene.link.__aexit__(None, None, None)
    robot = Robot(Secret(scene.sim.robot_url), scene.clock)
    long, li = "告警" * 800, Person("wecom", scene.li)
    async with scene.new(app=app, robot=robot) as link:
        for call, say_it in (
            ("message/send", partial(link.ring, li, long, key="1")),
            ("webhook/send", partial(link.relay, long, key="2")),
        ):
            scene.sim.misbehave(call, "ok", 45009)
            with pytest.raises(Transient):
                await say_it()
            await say_it()
    rung = [one.body for one in scene.sim.app_rooms[f"app:@{scene.li}"].shown]
    assert (len(rung), "".join(rung)) == (3, long)
    relayed = [one["content"] for one in scene.sim.robot_said]
    assert (len(relayed), "".join(relayed)) == (3, long)


async def test_a_large_file_goes_in_pieces(scene: Scene) -> None:
    await scene.ask()
    content = bytes(range(256)) * 5000
    await scene.link.upload(scene.chat, File("报告.pdf", content), key="1")
    assert scene.texts() == ["报告.pdf"]
    assert list(scene.sim.files.values()) == [("报告.pdf", content)]
    with pytest.raises(Permanent, match="不能是空的"):
        await scene.link.upload(scene.chat, File("空", b""), key="2")


async def test_a_file_comes_from_a_direct_chat_and_with_a_quote(scene: Scene) -> None:
    """It lies sealed at an address of its own. In a group the bot is told of it when it is quoted."""
    direct = f"@{scene.li}"
    content = bytes(range(256)) * 40
    await scene.sim.send_file(scene.li, direct, "服务器 清单.csv", content)
    alone = await scene.event()
    await scene.sim.send_file(scene.li, scene.room.id, "名单.csv", b"x", "/server add")
    quoting = await scene.event()
    assert isinstance(alone, Message)
    assert isinstance(quoting, Message)
    assert (alone.text, alone.chat.id) == ("", direct)
    assert [(one.name, one.content) for one in alone.files] == [("服务器 清单.csv", content)]
    assert (quoting.text, quoting.chat) == ("/server add", scene.chat)
    assert [(one.name, one.content) for one in quoting.files] == [("名单.csv", b"x")]


@pytest.mark.parametrize("broken", ["gone", "cut"])
async def test_a_file_that_cannot_be_had_loses_no_words(scene: Scene, broken: str) -> None:
    """Its five minutes are over, or it is not what was sealed."""
    sealed = scene.sim.seal_file

    def spoiled(name: str, content: bytes) -> dict[str, str]:
        told = sealed(name, content)
        number = told["url"].rpartition("/")[2]
        body = scene.sim.sealed.pop(number)[1]
        if broken == "cut":
            scene.sim.sealed[number] = (name, body[:-7])
        return told

    scene.sim.seal_file = spoiled  # type: ignore[method-assign] # the far side's fault
    await scene.sim.send_file(scene.li, scene.room.id, "名单.csv", b"x" * 99, "/server add")
    event = await scene.event()
    assert isinstance(event, Message)
    assert (event.text, event.files) == ("/server add", ())


# -- the app and the robot --------------------------------------------------------------------------


@pytest.fixture
def app(scene: Scene) -> App:
    return App(
        CORP,
        AGENT,
        Secret(APP_SECRET),
        token=Secret(TOKEN),
        aes_key=Secret(AES_KEY),
        clock=scene.clock,
        base_url=scene.sim.base_url,
    )


@pytest.fixture
async def helped(scene: Scene, app: App) -> AsyncIterator[WeCom]:
    """The link with a self-built app beside it."""
    await scene.link.__aexit__(None, None, None)
    async with scene.new(app=app) as link:
        scene.link = link
        yield link


async def test_the_app_makes_a_group_once_and_asks_for_the_bot(scene: Scene, helped: WeCom) -> None:
    """The answer was lost: the group's id is ours, so it is found there."""
    people = [Person("wecom", scene.li), Person("wecom", scene.wang)]
    scene.sim.misbehave("appchat/create", "lost")
    with pytest.raises(Transient):
        await helped.open_chat("客户甲 监控交付", people, key="1")
    chat = await helped.open_chat("客户甲 监控交付", people, key="1")
    assert await helped.open_chat("客户甲 监控交付", people, key="1") == chat
    (room,) = scene.sim.app_rooms.values()
    assert room.members == {scene.li, scene.wang}
    (said,) = room.shown
    assert "/bind" in said.body
    await helped.send(chat, CARD, key="2")
    assert [one.kind for one in room.shown] == ["markdown", "markdown"]


async def test_one_token_serves_all_and_is_renewed(scene: Scene, helped: WeCom) -> None:
    """Fetched once for those who wait together; taken back early, it is fetched again."""
    li = Person("wecom", scene.li)
    scene.sim.token_life = 60
    await asyncio.gather(*(helped.ring(li, "醒醒", key=str(n)) for n in range(5)))
    assert scene.sim.calls.count("gettoken") == 1
    scene.clock.move(61)
    await helped.ring(li, "醒醒", key="9")
    assert scene.sim.calls.count("gettoken") == 2
    assert len(scene.sim.app_rooms[f"app:@{scene.li}"].shown) == 6


@pytest.mark.parametrize("fault", ["500", "gone", "lost"])
async def test_without_a_token_nothing_was_said(scene: Scene, helped: WeCom, fault: str) -> None:
    """The token's server fails: the call itself never left, so it is no doubt and is tried again."""
    scene.sim.misbehave("gettoken", fault)
    with pytest.raises(Transient, match="取令牌"):
        await helped.ring(Person("wecom", scene.li), "P1 告警", key="1")
    assert "message/send" not in scene.sim.calls
    await helped.ring(Person("wecom", scene.li), "P1 告警", key="1")
    assert [one.body for one in scene.sim.app_rooms[f"app:@{scene.li}"].shown] == ["P1 告警"]


async def test_no_secret_is_in_the_log(
    scene: Scene, helped: WeCom, caplog: pytest.LogCaptureFixture
) -> None:
    """This platform has its secrets in the address, and httpx logs addresses."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="httpx")
    await scene.sim.shut()
    await scene.dialled_again(scene.sim.dialled + 1)
    await helped.ring(Person("wecom", scene.li), "醒醒", key="1")
    assert "/cgi-bin/message/send" in caplog.text
    assert SECRET not in caplog.text
    assert APP_SECRET not in caplog.text
    assert "token-1" not in caplog.text


async def test_a_press_on_a_card_of_the_app_is_answered_by_its_code(
    scene: Scene, helped: WeCom
) -> None:
    """The card in a direct chat: its code is good once, and the callback is answered empty."""
    chat = Chat("wecom", f"app:@{scene.li}")
    receipt = await helped.send(chat, CARD, key="1")
    task = f"{receipt.id}-0"
    query, body = scene.sim.callback(scene.sim.app_press(scene.li, task, "b:sign|7"))
    assert await helped.sealed_call(query, body) == (200, "")
    event = await scene.event()
    assert isinstance(event, Click)
    assert (event.chat, event.sender.id, event.action) == (chat, scene.li, "sign|7")
    await helped.answer(event, "已签字", ok=True)
    await scene.replaced()
    shown = scene.sim.app_rooms[f"app:@{scene.li}"].shown[0].body
    assert shown["replace_text"] == "已签字 ✓"
    scene.link._memory.drop("event", event.id)
    assert await helped.sealed_call(query, body) == (200, "")  # delivered again: nothing new
    assert scene.link._memory.first("event") is None


@pytest.mark.parametrize("what", ["a press", "words"])
async def test_a_call_that_could_not_be_kept_is_taken_the_next_time(
    scene: Scene, helped: WeCom, what: str
) -> None:
    """The disk refuses, so it is no 200: WeCom tells the very same call again, and that is no replay."""
    receipt = await helped.send(Chat("wecom", f"app:@{scene.li}"), CARD, key="1")
    said = (
        f"<xml><FromUserName>{scene.li}</FromUserName><CreateTime>1790000000</CreateTime>"
        "<MsgType>text</MsgType><Content>/whoami</Content><MsgId>77</MsgId></xml>"
    )
    pressed = scene.sim.app_press(scene.li, f"{receipt.id}-0", "b:sign|7")
    query, body = scene.sim.callback(pressed if what == "a press" else said)
    helped._know(scene.li, scene.clock.now())
    database = helped._memory._opened()
    database.execute("PRAGMA query_only = ON")
    with pytest.raises(Transient, match="写不进去"):
        await helped.sealed_call(query, body)
    database.execute("PRAGMA query_only = OFF")
    for _ in range(2):
        assert await helped.sealed_call(query, body) == (200, "")
    event = await scene.event()
    assert isinstance(event, Click if what == "a press" else Message)
    helped._memory.drop("event", event.id)
    assert helped._memory.first("event") is None


async def test_what_is_written_to_the_app_is_heard(scene: Scene, helped: WeCom) -> None:
    said = (
        f"<xml><FromUserName>{scene.li}</FromUserName><CreateTime>1790000000</CreateTime>"
        "<MsgType>text</MsgType><Content><![CDATA[/whoami]]></Content><MsgId>77</MsgId></xml>"
    )
    query, body = scene.sim.callback(said)
    assert await helped.sealed_call(query, body) == (200, "")
    event = await scene.event()
    assert isinstance(event, Message)
    assert (event.id, event.text, event.chat.id) == ("app:77", "/whoami", f"app:@{scene.li}")


async def test_a_call_that_is_not_sealed_or_too_old_is_refused(scene: Scene, helped: WeCom) -> None:
    """A signature never grows old by itself: ten minutes are allowed."""
    query, body = scene.sim.callback("<xml/>", age=601)
    assert (await helped.sealed_call(query, body))[0] == 401
    query, body = scene.sim.callback("<xml/>", age=599)
    assert (await helped.sealed_call({**query, "msg_signature": "0" * 40}, body))[0] == 401
    assert (await helped.sealed_call(query, b"<xml/>"))[0] == 401
    assert (await helped.sealed_call({}, b"x"))[0] == 401
    assert (await helped.sealed_call(query, body))[0] == 200


async def test_the_address_is_proved_with_what_was_sealed(scene: Scene, helped: WeCom) -> None:
    query, body = scene.sim.callback("1616140317555161061")
    echo = {**query, "echostr": body.decode().partition("CDATA[")[2].partition("]]")[0]}
    assert await helped.sealed_call(echo, b"") == (200, "1616140317555161061")


async def test_without_an_app_there_is_no_such_address(scene: Scene) -> None:
    assert await scene.link.sealed_call({}, b"") == (404, "")


async def test_the_robot_keeps_to_twenty_a_minute(scene: Scene) -> None:
    """A long text is several messages, and goes whole or not at all; what never fits is refused."""
    robot = Robot(Secret(scene.sim.robot_url), scene.clock)
    long = "告警" * 2000
    for number in range(15):
        scene.clock.move(1)
        await robot.say(f"告警 {number}", "", plainly)
    with pytest.raises(Transient, match="20 条") as refused:
        await robot.say(long, "", plainly)
    assert refused.value.retry_after == 46  # until the first of the fifteen is a minute old
    assert len(scene.sim.robot_said) == 15
    scene.clock.move(46)
    await robot.say(long, "", plainly)
    assert len(scene.sim.robot_said) == 21
    assert "".join(one["content"] for one in scene.sim.robot_said[15:]) == long
    with pytest.raises(Permanent, match="24 条"):
        await robot.say(long * 4, "", plainly)
    assert scene.sim.calls.count("webhook/send") == 21
    await robot.close()


async def test_the_app_keeps_to_what_one_member_may_have(scene: Scene, helped: WeCom) -> None:
    """Beyond it WeCom drops and says nothing: so a call waits here, however it was asked for, and
    another member's does not."""
    chat = Chat("wecom", f"app:@{scene.li}")
    await helped.send(chat, say("长", "很长的一段话" * 200), key="long")  # three messages
    for number in range(27):
        await helped.ring(Person("wecom", scene.li), f"P1 告警 {number}", key=str(number))
    li = Person("wecom", scene.li)
    for again in (
        partial(helped.ring, li, "P1 告警", key="29"),
        partial(helped.send, chat, say("一"), key="30"),
    ):
        with pytest.raises(Transient, match="每分钟只能发 30 条") as refused:
            await again()
        assert refused.value.retry_after == 60
    await helped.ring(Person("wecom", scene.wang), "P1 告警", key="wang")
    scene.clock.move(60)
    await helped.ring(Person("wecom", scene.li), "P1 告警", key="29")
    shown = scene.sim.app_rooms[f"app:@{scene.li}"].shown
    assert len(shown) == 31
    assert scene.sim.dropped == []


def test_an_hour_has_a_measure_of_its_own() -> None:
    """A thousand, two seconds apart, are no more than thirty a minute; then the first must grow old."""
    clock = SimClock()
    pace = Pace(clock, "应用", per_minute=30, per_hour=1000)
    for _ in range(1000):
        clock.move(2)
        pace.take("li", 1)
    clock.move(2)
    with pytest.raises(Transient, match="每小时只能发 1000 条") as refused:
        pace.take("li", 1)
    assert refused.value.retry_after == 3600 - 1000 * 2
    pace.take("wang", 30)
    clock.move(refused.value.retry_after)
    pace.take("li", 1)


def test_every_refusal_has_words() -> None:
    """A code that we know says what to do; one that we do not know is still a refusal."""
    assert isinstance(wire.refusal(45009, "发消息"), Transient)
    assert "@机器人" in wire.refusal(93006, "发消息").reason
    assert "12345" in wire.refusal(12345, "发消息").reason

"""The line to Slack, with the real SDK between it and a strict workspace on the loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from slack_sdk.signature import SignatureVerifier

from adapters.card import Button, Buttons, Card, Entry, Form, Input, Text, say
from adapters.port import InDoubt, OutsideError, Permanent, Transient
from adapters.slack import ledger
from adapters.slack.link import BUDGET, MAX_AGE, Slack
from adapters.slack.socket import proxy_for
from adapters.words import Chat, Click, Event, File, Message, Person, Receipt, Secret, Submission
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, BURST, SimClock, SlackSim

FORM = Form("intake:7", (Input("company", "公司", required=True), Input("f", "清单", Entry.FILE)))


class Scene:
    """A workspace, a link to it, a clock, and Li in a channel."""

    def __init__(self, sim: SlackSim, slack: Slack, clock: SimClock) -> None:
        self.sim = sim
        self.slack = slack
        self.clock = clock
        self.li = sim.user("Li")
        self.room = sim.channel("room", self.li)
        self.chat = Chat("slack", self.room)

    async def event(self) -> Event:
        async with asyncio.timeout(5):
            return await anext(self.slack.events())

    def texts(self) -> list[str]:
        return [one["text"] for one in self.sim.said(self.room)]


def link_to(sim: SlackSim, clock: SimClock, *, timeout: float = 10.0, ping: float = 0.2) -> Slack:
    return Slack(
        Secret(BOT_TOKEN),
        Secret(APP_TOKEN),
        base_url=sim.base_url,
        clock=clock,
        timeout=timeout,
        ping=ping,
    )


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock = SimClock()
    async with SlackSim() as sim, link_to(sim, clock) as slack:
        yield Scene(sim, slack, clock)


# -- said once ------------------------------------------------------------------------------------


async def test_a_lost_answer_is_looked_up(scene: Scene) -> None:
    """The post was taken and its answer lost: its stamp in the channel proves it, once."""
    scene.sim.misbehave("chat.postMessage", "lost")
    receipt = await scene.slack.send(scene.chat, say("一"), key="1")
    assert await scene.slack.send(scene.chat, say("一"), key="1") == receipt
    assert scene.texts() == ["【一】"]


async def test_what_cannot_be_proved_is_in_doubt(scene: Scene) -> None:
    """No answer and no trace: it may still appear, so it is neither done nor not done."""
    scene.sim.misbehave("chat.postMessage", "gone")
    with pytest.raises(InDoubt, match="没有收到回答"):
        await scene.slack.send(scene.chat, say("一"), key="1")


async def test_a_late_message_is_found_before_it_is_said_again(scene: Scene) -> None:
    """Not there when we looked, there afterwards: after a doubt the channel is read anew."""
    scene.sim.misbehave("chat.postMessage", "late")
    with pytest.raises(InDoubt):
        await scene.slack.send(scene.chat, say("一"), key="1")
    scene.sim.land()
    receipt = await scene.slack.send(scene.chat, say("一"), key="1")
    await scene.slack.edit(receipt, say("二"))
    assert scene.texts() == ["【二】"]


async def test_a_look_that_fails_leaves_the_doubt(scene: Scene) -> None:
    """Neither the answer nor the channel can be had: in doubt, and looked up the next time."""
    await scene.slack.send(scene.chat, say("零"), key="0")
    scene.sim.misbehave("chat.postMessage", "lost")
    scene.sim.misbehave("conversations.history", "500")
    with pytest.raises(InDoubt):
        await scene.slack.send(scene.chat, say("一"), key="1")
    await scene.slack.send(scene.chat, say("一"), key="1")
    assert scene.texts() == ["【零】", "【一】"]


async def test_the_oldest_stamps_are_forgotten_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel of years does not grow in memory; what was just said is still known."""
    monkeypatch.setattr(ledger, "REMEMBERED", 3)
    for number in range(6):
        receipt = await scene.slack.send(scene.chat, say("一"), key=str(number))
        assert await scene.slack.send(scene.chat, say("一"), key=str(number)) == receipt
    assert len(scene.texts()) == 6
    assert len(scene.slack._ledger._stamps[scene.room]) == 3


async def test_a_silent_far_side_is_in_doubt_and_bounded(scene: Scene) -> None:
    """An answer that never comes ends the call, and the look at the channel tells."""
    scene.sim.misbehave("chat.postMessage", "silent")
    async with AsyncExitStack() as stack:
        quick = await stack.enter_async_context(link_to(scene.sim, scene.clock, timeout=1.5))
        await quick.send(scene.chat, say("一"), key="1")
    assert scene.texts() == ["【一】"]


async def test_an_upload_whose_answer_is_lost_is_found(scene: Scene) -> None:
    """A file carries its stamp in the block under which it is shown."""
    scene.sim.misbehave("files.completeUploadExternal", "lost")
    receipt = await scene.slack.upload(scene.chat, File("a.txt", b"1"), key="1")
    assert receipt.id.startswith("F")
    assert await scene.slack.upload(scene.chat, File("a.txt", b"1"), key="1") == receipt
    assert len(scene.sim.said(scene.room)) == 1
    assert scene.sim.content(receipt.id) == b"1"
    assert not scene.sim.overshared


async def test_an_upload_that_nobody_saw_is_simply_tried_again(scene: Scene) -> None:
    """Before its last call a file is invisible: a failure there is Transient."""
    scene.sim.misbehave("files.getUploadURLExternal", "gone")
    with pytest.raises(Transient):
        await scene.slack.upload(scene.chat, File("a.txt", b"1"), key="1")


async def test_a_channel_whose_answer_is_lost_is_found(scene: Scene) -> None:
    """The channel's name ends with the key's stamp, on whatever page of the list it is."""
    for number in range(5):
        scene.sim.channel(f"other-{number}")
    scene.sim.misbehave("conversations.create", "lost")
    chat = await scene.slack.open_chat("客户甲", [Person("slack", scene.li)], key="1")
    made = [one for one in scene.sim.channels.values() if one.creator]
    assert [one.id for one in made] == [chat.id]
    assert made[0].name.startswith("客户甲-")
    assert made[0].purpose == "客户甲"
    assert scene.li in made[0].members


async def test_two_customers_of_one_name_get_two_channels(scene: Scene) -> None:
    """Names collide, keys do not."""
    first = await scene.slack.open_chat("客户甲", [], key="1")
    second = await scene.slack.open_chat("客户甲", [], key="2")
    assert first != second


async def test_a_workspace_of_latin_names_gets_a_plain_name(scene: Scene) -> None:
    """Where the title's letters are refused, the purpose alone tells the title."""
    scene.sim.latin_only = True
    chat = await scene.slack.open_chat("客户甲", [], key="1")
    channel = scene.sim.channels[chat.id]
    assert channel.name.startswith("vigilbot-")
    assert channel.purpose == "客户甲"


async def test_a_customer_of_another_company_comes_by_mail(scene: Scene) -> None:
    """An e-mail address as id is invited through Slack Connect."""
    await scene.slack.open_chat("客户甲", [Person("slack", "wang@example.com")], key="1")
    assert scene.sim.invited_by_mail == ["wang@example.com"]


# -- errors ---------------------------------------------------------------------------------------


async def test_a_limit_names_its_pause(scene: Scene) -> None:
    """429 is Transient with Slack's own Retry-After, and nothing was said."""
    scene.sim.misbehave("chat.postMessage", "429")
    with pytest.raises(Transient) as limited:
        await scene.slack.send(scene.chat, say("一"), key="1")
    assert limited.value.retry_after == 7
    assert scene.texts() == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("404", Permanent),
        ("500", InDoubt),
        ("fatal_error", InDoubt),
        ("internal_error", InDoubt),
        ("service_unavailable", Transient),
        ("gone", InDoubt),
        ("not_in_channel", Permanent),
        ("invalid_auth", Permanent),
        ("some_new_error", Permanent),
    ],
)
async def test_a_post_that_went_wrong_is_named_rightly(
    scene: Scene, fault: str, kind: type[OutsideError]
) -> None:
    """What Slack may have done is in doubt; what it refused is permanent."""
    scene.sim.misbehave("chat.postMessage", fault)
    with pytest.raises(kind, match="Slack"):
        await scene.slack.send(scene.chat, say("一"), key="1")


@pytest.mark.parametrize("fault", ["500", "fatal_error", "gone", "429"])
async def test_an_edit_that_went_wrong_may_be_repeated(scene: Scene, fault: str) -> None:
    """Redrawing twice harms nobody, so nothing about it is in doubt."""
    receipt = await scene.slack.send(scene.chat, say("一"), key="1")
    scene.sim.misbehave("chat.update", fault)
    with pytest.raises(Transient):
        await scene.slack.edit(receipt, say("二"))
    await scene.slack.edit(receipt, say("二"))
    assert scene.texts() == ["【二】"]


async def test_an_edited_card_keeps_its_stamp(scene: Scene) -> None:
    """After an edit and a restart the key is still known, though Slack drops unsent metadata."""
    receipt = await scene.slack.send(scene.chat, say("一"), key="1")
    await scene.slack.edit(receipt, say("二"))
    async with link_to(scene.sim, scene.clock) as again:
        assert await again.send(scene.chat, say("一"), key="1") == receipt
    assert scene.texts() == ["【二】"]


async def test_a_bad_token_is_said_at_once(scene: Scene) -> None:
    """A wrong bot token or app token ends the entering, and is named in no error."""
    for bot, app in ((APP_TOKEN, APP_TOKEN), (BOT_TOKEN, BOT_TOKEN), ("xoxb-wrong", APP_TOKEN)):
        bad = Slack(Secret(bot), Secret(app), base_url=scene.sim.base_url, clock=scene.clock)
        with pytest.raises(Permanent, match="令牌") as refused:
            await bad.__aenter__()
        assert bot not in str(refused.value)
        assert app not in str(refused.value)


async def test_nobody_listens_there(scene: Scene) -> None:
    """A far side that is down keeps nobody from beginning: what is to be said waits for it."""
    slack = Slack(
        Secret(BOT_TOKEN), Secret(APP_TOKEN), base_url="http://127.0.0.1:9/api", clock=scene.clock
    )
    async with slack:
        with pytest.raises(Transient, match="还没有连上"):
            await slack.send(scene.chat, say("一"), key="1")
        with pytest.raises(Transient, match="还没有连上"):
            await slack.open_chat("客户甲", [], key="1")
    with pytest.raises(Transient, match="没有连接"):
        await slack.send(scene.chat, say("一"), key="1")


@pytest.mark.parametrize("call", ["auth.test", "apps.connections.open"])
async def test_who_begins_while_slack_is_down_is_there_when_it_is_up(
    scene: Scene, call: str
) -> None:
    """It goes on trying, with pauses, and then speaks and hears as ever."""
    await scene.slack.__aexit__(None, None, None)
    scene.sim.misbehave(call, "500", "429", "gone")
    async with link_to(scene.sim, scene.clock) as slack:
        scene.slack = slack
        assert not scene.sim.sockets
        await heard_again(scene, 2)
        await slack.send(scene.chat, say("一"), key="1")
    assert scene.texts() == ["【一】"]


async def test_no_token_and_no_ticket_is_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even at DEBUG neither the SDK nor we write down what opens a door, or what was typed."""
    caplog.set_level(logging.DEBUG)
    scene.sim.refuse_sockets = 1
    await scene.sim.hang_up()
    await heard_again(scene, 3)
    await scene.sim.deliver({"type": "app_mention", "user": "s3cret-word"})
    view = await opened_form(scene)
    await scene.sim.submit(scene.li, view, {"company": "s3cret-word"})
    assert isinstance(await scene.event(), Submission)
    said = caplog.text + "".join(capsys.readouterr())
    assert "slack_disconnected" in said
    for secret in (BOT_TOKEN, APP_TOKEN, "ticket=", "s3cret-word"):
        assert secret not in said


# -- what people do -------------------------------------------------------------------------------


async def test_a_mention_in_a_thread_is_a_message(scene: Scene) -> None:
    """A slash command cannot be given in a thread; a mention can."""
    await scene.sim.say(scene.li, scene.room, "@vigilbot /ack 3", thread="1764040000.000001")
    event = await scene.event()
    assert isinstance(event, Message)
    assert (event.text, event.chat, event.sender.name) == ("/ack 3", scene.chat, "Li")


@pytest.mark.parametrize("fault", ["", "lost", "late"])
async def test_what_is_asked_in_a_thread_is_answered_there(scene: Scene, fault: str) -> None:
    """The inbox names its reply after the message; a reply whose answer was lost is looked up in
    the thread, which the channel's history does not show, and after a restart too."""
    await scene.sim.say(scene.li, scene.room, "先说点别的")
    start = scene.sim.channels[scene.room].messages[0]["ts"]
    await scene.sim.say(scene.li, scene.room, "@vigilbot /status", thread=start)
    event = await scene.event()
    key = f"reply:slack:{event.id}"
    if fault:
        scene.sim.misbehave("chat.postMessage", fault)
    if fault == "late":
        with pytest.raises(InDoubt):
            await scene.slack.send(scene.chat, say("好"), key=key)
        scene.sim.land()
    receipt = await scene.slack.send(scene.chat, say("好"), key=key)
    async with link_to(scene.sim, scene.clock) as again:
        assert await again.send(scene.chat, say("好"), key=key) == receipt
    (answer,) = scene.sim.said(scene.room)
    assert answer["thread_ts"] == start
    await scene.slack.edit(receipt, say("改"))
    await scene.slack.send(scene.chat, say("群里的"), key="reply:slack:C9:1.1:2.2")
    assert [one.get("thread_ts") for one in scene.sim.said(scene.room)] == [start, None]


async def test_a_slash_command_is_a_message(scene: Scene) -> None:
    """`/vigil status` and a registered command are the same words; people in it are named."""
    await scene.sim.slash(scene.li, scene.room, "/vigil", "status")
    await scene.sim.slash(scene.li, scene.room, "/role", "<@ULI|li> lead")
    events = scene.slack.events()
    first, second = await anext(events), await anext(events)
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert first.text == "/status"
    assert second.text == "/role @Li lead"
    assert second.mentions == (Person("slack", "ULI"),)


async def test_a_direct_message_needs_no_mention(scene: Scene) -> None:
    """Alone with the bot, everything is said to it; a space before it keeps a slash from Slack's client."""
    alone = scene.sim.channel("", scene.li, im=True)
    await scene.sim.say(scene.li, alone, " /status")
    event = await scene.event()
    assert isinstance(event, Message)
    assert event.text == "/status"


async def test_one_message_delivered_twice_has_one_id(scene: Scene) -> None:
    """Retries and second subscriptions repeat the id, by which the inbox knows them."""
    await scene.sim.say(scene.li, scene.room, "@vigilbot 一", times=2)
    events = scene.slack.events()
    first = await anext(events)
    await scene.sim.say(scene.li, scene.room, "@vigilbot 二")
    rest = [await anext(events)]
    if rest[-1].id == first.id:
        rest.append(await anext(events))
    assert {one.id for one in rest} - {first.id}


async def test_what_the_bot_said_itself_is_not_heard(scene: Scene) -> None:
    """Its own messages, edits and joins are acknowledged and nothing more."""
    own = {"type": "app_mention", "user": "UBOT", "text": "<@UBOT>", "ts": "1.1", "channel": "C1"}
    edit = {"type": "message", "channel_type": "im", "subtype": "message_changed", "ts": "1.2"}
    join = {"type": "member_joined_channel", "user": "ULI"}
    for event in (own, edit, join):
        envelope = await scene.sim.deliver(event)
        async with asyncio.timeout(5):
            assert await envelope.acked == {}
    await scene.sim.say(scene.li, scene.room, "@vigilbot 后来")
    assert isinstance(await scene.event(), Message)


async def test_a_payload_of_another_shape_is_acknowledged(scene: Scene) -> None:
    """What is not understood today will not be tomorrow: it is not delivered for ever."""
    envelope = await scene.sim.deliver({"type": "app_mention", "user": "ULI", "ts": "x"})
    async with asyncio.timeout(5):
        assert await envelope.acked == {}


async def test_a_message_is_acknowledged_when_it_is_kept(scene: Scene) -> None:
    """Slack tells it again until the reader has asked for the next event."""
    envelope = await scene.sim.say(scene.li, scene.room, "@vigilbot 一")
    assert envelope
    events = scene.slack.events()
    await anext(events)
    scene.clock.move(BUDGET)
    other = await scene.sim.deliver({"type": "member_joined_channel", "user": scene.li})
    async with asyncio.timeout(5):
        await other.acked
    assert not envelope.acked.done()
    await scene.sim.say(scene.li, scene.room, "@vigilbot 二")
    await anext(events)
    async with asyncio.timeout(5):
        assert await envelope.acked == {}


async def test_a_press_is_acknowledged_within_the_budget(scene: Scene) -> None:
    """Before the three seconds are over, whoever is slow."""
    card = Card("一", blocks=(Buttons((Button("好", "go"),)),))
    receipt = await scene.slack.send(scene.chat, card, key="1")
    envelope = await scene.sim.press(scene.li, scene.room, receipt.id.partition("#")[0], "go")
    assert isinstance(await scene.event(), Click)
    assert not envelope.acked.done()
    scene.clock.move(BUDGET - 0.4)
    async with asyncio.timeout(5):
        assert await envelope.acked == {}


async def test_an_answer_is_seen_by_the_one_who_pressed(scene: Scene) -> None:
    """The press is acknowledged at once and the words come in a whisper."""
    card = Card("一", blocks=(Buttons((Button("好", "go"),)),))
    receipt = await scene.slack.send(scene.chat, card, key="1")
    envelope = await scene.sim.press(scene.li, scene.room, receipt.id.partition("#")[0], "go")
    click = await scene.event()
    assert isinstance(click, Click)
    await scene.slack.answer(click, "已确认 <!channel>", ok=True)
    async with asyncio.timeout(5):
        assert await envelope.acked == {}
    whisper = (scene.room, scene.li, "已确认 &lt;!channel&gt;")
    assert scene.sim.whispers == [whisper]


async def opened_form(scene: Scene) -> str:
    card = Card("登记", blocks=(Text("请填"), FORM))
    receipt = await scene.slack.send(scene.chat, card, key="form")
    return await scene.sim.open_form(scene.li, scene.room, receipt.id.partition("#")[0])


async def test_a_form_opens_after_a_restart(scene: Scene) -> None:
    """The button holds the whole form: nothing of it is in our memory."""
    card = Card("登记", blocks=(FORM,))
    receipt = await scene.slack.send(scene.chat, card, key="form")
    ts = receipt.id.partition("#")[0]
    await scene.slack.__aexit__(None, None, None)
    async with link_to(scene.sim, scene.clock) as again:
        view = await scene.sim.open_form(scene.li, scene.room, ts)
        sheet = File("s.csv", b"a,b")
        await scene.sim.submit(scene.li, view, {"company": "甲"}, [sheet])
        async with asyncio.timeout(5):
            sent = await anext(again.events())
    assert isinstance(sent, Submission)
    assert (sent.chat, sent.action, dict(sent.values)) == (
        scene.chat,
        "intake:7",
        {"company": "甲"},
    )
    assert sent.files == (sheet,)


async def test_a_refused_form_stays_open_with_the_reason(scene: Scene) -> None:
    """An answer that is not ok, in time, is an error under the first input."""
    view = await opened_form(scene)
    envelope = await scene.sim.submit(scene.li, view, {"company": "甲"})
    sent = await scene.event()
    assert isinstance(sent, Submission)
    await scene.slack.answer(sent, "公司已登记", ok=False)
    async with asyncio.timeout(5):
        assert await envelope.acked == {
            "response_action": "errors",
            "errors": {"company": "公司已登记"},
        }
    assert scene.sim.whispers == []


async def test_a_form_that_is_refused_too_late_is_whispered(scene: Scene) -> None:
    """After the budget the modal is gone, so the reason comes in the channel."""
    view = await opened_form(scene)
    envelope = await scene.sim.submit(scene.li, view, {"company": "甲"})
    sent = await scene.event()
    assert isinstance(sent, Submission)
    scene.clock.move(BUDGET)
    async with asyncio.timeout(5):
        await envelope.acked
    await scene.slack.answer(sent, "公司已登记", ok=False)
    assert scene.sim.whispers == [(scene.room, scene.li, "公司已登记")]


async def test_a_slow_file_holds_up_no_acknowledgement(scene: Scene) -> None:
    """The modal closes in time, the file comes after it, and what is wrong is whispered."""
    view = await opened_form(scene)
    scene.sim.downloads.clear()
    envelope = await scene.sim.submit(scene.li, view, {"company": "甲"}, [File("s", b"1")])
    await scene.sim.until(lambda: scene.sim.asked_for)
    scene.clock.move(BUDGET)
    async with asyncio.timeout(5):
        assert await envelope.acked == {}
    scene.sim.downloads.set()
    sent = await scene.event()
    assert isinstance(sent, Submission)
    assert sent.files == (File("s", b"1"),)
    await scene.slack.answer(sent, "清单读不了", ok=False)
    assert scene.sim.whispers == [(scene.room, scene.li, "清单读不了")]


async def test_a_form_that_does_not_open_is_said(scene: Scene) -> None:
    """The trigger lives three seconds; the person is asked to press again."""
    scene.sim.misbehave("views.open", "expired_trigger_id")
    card = Card("登记", blocks=(FORM,))
    receipt = await scene.slack.send(scene.chat, card, key="form")
    (button,) = scene.sim.said(scene.room)[0]["blocks"][1]["elements"]
    await scene.sim.press(scene.li, scene.room, receipt.id.partition("#")[0], button["value"])
    await scene.sim.until(lambda: scene.sim.whispers)
    assert "再按一次" in scene.sim.whispers[0][2]


async def test_a_file_from_elsewhere_is_not_fetched(scene: Scene) -> None:
    """Our token goes to Slack's hosts alone; the message arrives without the file."""
    event = {
        "type": "app_mention",
        "user": scene.li,
        "text": "<@UBOT> 看",
        "ts": "1764040000.000009",
        "channel": scene.room,
        "files": [
            {"id": "F1", "name": "a", "url_private_download": "https://slack.com.evil.org/a"},
            {"id": "F2", "name": "b", "url_private_download": "http://files.slack.com/b"},
        ],
    }
    await scene.sim.deliver(event)
    heard = await scene.event()
    assert isinstance(heard, Message)
    assert heard.files == ()


# -- the socket -----------------------------------------------------------------------------------


async def heard_again(scene: Scene, dialled: int) -> None:
    """Let pauses pass, until a new socket is there and hears a message."""
    scene.clock.quick = 60.0
    await scene.sim.until(lambda: scene.sim.dialled >= dialled and scene.sim.sockets)
    await scene.sim.say(scene.li, scene.room, "@vigilbot 在吗")
    assert isinstance(await scene.event(), Message)


@pytest.mark.parametrize("code", [1000, 1011])
async def test_a_closed_socket_is_replaced(scene: Scene, code: int) -> None:
    """A clean close is a loss like any other."""
    await scene.sim.hang_up(code)
    await heard_again(scene, 2)


async def test_an_aborted_socket_is_replaced(scene: Scene) -> None:
    scene.sim.abort()
    await heard_again(scene, 2)


async def test_a_half_open_socket_is_replaced(scene: Scene) -> None:
    """Pings that nobody answers are a dead line, though it looks open."""
    scene.sim.freeze()
    await heard_again(scene, 2)


async def test_a_new_socket_comes_before_the_old_one_goes(scene: Scene) -> None:
    """A refresh loses nothing: for a moment there are two."""
    scene.clock.quick = 60.0
    await scene.sim.refresh()
    await scene.sim.until(lambda: len(scene.sim.sockets) == 2)
    await scene.sim.until(lambda: len(scene.sim.sockets) == 1)
    await heard_again(scene, 2)


async def test_a_deaf_socket_does_not_live_for_ever(scene: Scene) -> None:
    """Alive but deaf cannot be seen from here, so no socket grows old."""
    assert MAX_AGE in scene.clock.sleeping
    scene.clock.move(MAX_AGE)
    await heard_again(scene, 2)


async def test_a_refused_dial_is_tried_with_a_new_ticket(scene: Scene) -> None:
    """Tickets open one socket; each try asks for its own, with pauses between."""
    scene.sim.refuse_sockets = 2
    scene.sim.misbehave("apps.connections.open", "429")
    await scene.sim.hang_up()
    await heard_again(scene, 4)
    assert scene.sim.count("apps.connections.open") == 5


async def test_a_revoked_app_token_ends_the_events(scene: Scene) -> None:
    """Deaf for good is said aloud: whoever listens gets the error."""
    scene.sim.misbehave("apps.connections.open", "token_revoked")
    scene.clock.quick = 60.0
    await scene.sim.hang_up()
    with pytest.raises(Permanent, match="撤销"):
        await scene.event()


async def test_closing_is_bounded_and_leaves_nothing(scene: Scene) -> None:
    """Even when the far side never answers the close."""
    scene.sim.freeze()
    before = {task for task in asyncio.all_tasks() if task.get_name() == "slack-socket"}
    assert before
    async with asyncio.timeout(8):
        await scene.slack.__aexit__(None, None, None)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "slack-socket"]
    with pytest.raises(Transient):
        await scene.slack.send(scene.chat, say("一"), key="1")
    assert [event async for event in scene.slack.events()] == []


async def test_many_reconnects_leave_nothing_behind(scene: Scene) -> None:
    """A dozen lost sockets later there are as many tasks and sockets as after the first."""
    scene.clock.quick = 60.0
    heard: set[str] = set()

    async def listen() -> None:
        async for event in scene.slack.events():
            assert isinstance(event, Message)
            heard.add(event.text)

    async def lose(number: int) -> int:
        dialled = scene.sim.dialled
        if number % 2:
            await scene.sim.hang_up()
        else:
            scene.sim.abort()
        await scene.sim.until(lambda: scene.sim.dialled > dialled and scene.sim.sockets)
        told = await scene.sim.say(scene.li, scene.room, f"@vigilbot {number}")
        await scene.sim.until(lambda: told and told.acked.done())
        await scene.sim.until(lambda: len(scene.sim.sockets) == 1)
        return len(asyncio.all_tasks())

    listening = asyncio.create_task(listen())
    counts = [await lose(number) for number in range(12)]
    listening.cancel()
    assert heard == {str(number) for number in range(12)}
    assert max(counts[1:]) <= counts[0] + 2


def test_a_proxy_is_used_and_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would ignore NO_PROXY."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "wss-primary.slack.com")
    assert proxy_for("wss://wss-backup.slack.com/link") == "http://proxy:3128"
    assert proxy_for("wss://wss-primary.slack.com/link") is None
    assert proxy_for("ws://127.0.0.1:1/link") is None


# -- over HTTP ------------------------------------------------------------------------------------


def signed(body: str, *, secret: str = "shh", age: int = 0) -> dict[str, str]:
    at = str(int(time.time()) - age)
    verifier = SignatureVerifier(secret)
    signature = verifier.generate_signature(timestamp=at, body=body)
    assert signature
    kind = "application/json" if body.startswith("{") else "application/x-www-form-urlencoded"
    return {
        "content-type": kind,
        "x-slack-request-timestamp": at,
        "x-slack-signature": signature,
    }


@pytest.fixture
async def called(scene: Scene) -> AsyncIterator[Slack]:
    slack = Slack(
        Secret(BOT_TOKEN),
        Secret(""),
        base_url=scene.sim.base_url,
        clock=scene.clock,
        signing_secret=Secret("shh"),
    )
    async with slack:
        yield slack


def mention(text: str) -> str:
    event = {"type": "app_mention", "user": "ULI", "text": f"<@UBOT> {text}", "ts": "1764040000.1"}
    return json.dumps({"type": "event_callback", "event": {**event, "channel": "C1"}})


async def test_a_signed_delivery_is_kept_and_then_answered(scene: Scene, called: Slack) -> None:
    """Without an app token Slack calls us; the 200 comes when the event is kept."""
    body = mention("/status")
    answer = asyncio.create_task(called.receive(body, signed(body)))
    events = called.events()
    event = await anext(events)
    assert isinstance(event, Message)
    assert event.text == "/status"
    assert not answer.done()
    following = asyncio.ensure_future(anext(events))
    assert (await answer)[0] == 200
    following.cancel()
    assert scene.sim.dialled == 1  # the scene's own


async def test_what_is_not_kept_in_time_is_told_again(scene: Scene, called: Slack) -> None:
    """503 before Slack's three seconds are over; the second delivery is the same event."""
    body = mention("/status")
    answer = asyncio.create_task(called.receive(body, signed(body)))
    first = await anext(called.events())
    scene.clock.move(BUDGET)
    assert (await answer)[0] == 503
    again = asyncio.create_task(called.receive(body, signed(body)))
    scene.clock.quick = 60.0
    assert (await again)[0] == 503
    assert first.id == "C1:1764040000.1"


@pytest.mark.parametrize(
    ("secret", "age", "status"), [("wrong", 0, 401), ("shh", 301, 401), ("shh", 200, 200)]
)
async def test_only_slack_is_believed(called: Slack, secret: str, age: int, status: int) -> None:
    """A wrong signature and an old one are refused, before anything is read."""
    body = json.dumps({"type": "url_verification", "challenge": "c"})
    answer = await called.receive(body, signed(body, secret=secret, age=age))
    assert answer[0] == status
    if status == 200:
        assert "c" in answer[2]


async def test_a_body_that_is_no_json_is_refused(called: Slack) -> None:
    assert (await called.receive("{", signed("{")))[0] == 400


async def test_a_link_over_sockets_takes_no_http(scene: Scene) -> None:
    """Without a signing secret nothing that comes over HTTP can be believed."""
    body = mention("/status")
    assert (await scene.slack.receive(body, signed(body)))[0] == 503


async def test_some_way_in_is_needed(scene: Scene) -> None:
    slack = Slack(Secret(BOT_TOKEN), Secret(""), base_url=scene.sim.base_url, clock=scene.clock)
    with pytest.raises(Permanent, match="signing_secret"):
        await slack.__aenter__()


async def test_a_receipt_of_elsewhere_is_refused(scene: Scene) -> None:
    """Only what is Slack's is Slack's."""
    with pytest.raises(Permanent):
        await scene.slack.edit(Receipt(Chat("web", "g-1"), "1"), say("?"))


# -- the simulator itself -------------------------------------------------------------------------


async def test_the_simulator_fails_on_a_call_that_it_does_not_know() -> None:
    """Whoever calls what Slack does not have is told when the test ends."""
    sim = await SlackSim().__aenter__()
    async with link_to(sim, SimClock()) as slack:
        with pytest.raises(Permanent, match="unknown_method"):
            await slack._calls.call("chat.frobnicate", {}, again=True)
    with pytest.raises(AssertionError, match="frobnicate"):
        await sim.__aexit__(None)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "header", "text": {"type": "plain_text", "text": "字" * 151}},
        {"type": "header", "text": {"type": "plain_text", "text": "好"}, "colour": "red"},
        {"type": "actions", "elements": []},
        {"type": "marquee"},
    ],
)
async def test_the_simulator_refuses_what_slack_refuses(scene: Scene, block: object) -> None:
    """Sizes, unknown properties and unknown blocks."""
    call = {"channel": scene.room, "text": "好", "blocks": [block]}
    with pytest.raises(Permanent, match="格式"):
        await scene.slack._calls.call("chat.postMessage", call, again=False)


async def test_the_simulator_keeps_a_channel_to_its_pace(scene: Scene) -> None:
    """A burst, and then a message a second."""
    for number in range(BURST):
        await scene.slack.send(scene.chat, say("一"), key=str(number))
    scene.sim.channels[scene.room].tokens = 0
    with pytest.raises(Transient, match="频率") as limited:
        await scene.slack.send(scene.chat, say("一"), key="more")
    assert limited.value.retry_after == 1

"""Every misbehaviour of Slack's at every deed: one of the three errors, and in the end one deed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.card import Button, Buttons, Card, Entry, Form, Input, say
from adapters.port import InDoubt, OutsideError, Permanent, Transient
from adapters.slack.link import Slack
from adapters.words import Chat, Click, File, Message, Person, Receipt, Secret, Submission
from bot.web import callbacks
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, SimClock, SlackSim
from tests.unit.test_slack_link import mention, signed

LI, WANG = Person("slack", "ULI", "Li"), Person("slack", "UWANG", "Wang")
GUEST = Person("slack", "guest@hailan.example")

Deed = Callable[[Slack, Chat, Receipt, str], Awaitable[object]]
"""(link, a channel, a message there, the key)"""


def link(sim: SlackSim, clock: SimClock, *, app_token: str = APP_TOKEN, secret: str = "") -> Slack:
    return Slack(
        Secret(BOT_TOKEN),
        Secret(app_token),
        signing_secret=Secret(secret),
        base_url=sim.base_url,
        clock=clock,
        timeout=0.5,
        ping=0.2,
    )


@pytest.fixture
async def sim() -> AsyncIterator[SlackSim]:
    async with SlackSim() as made:
        made.user("Li")
        made.user("Wang")
        yield made


async def _send(slack: Slack, chat: Chat, _: Receipt, key: str) -> object:
    return await slack.send(chat, say("新"), key=key)


async def _edit(slack: Slack, _: Chat, receipt: Receipt, __: str) -> object:
    return await slack.edit(receipt, say("新"))


async def _upload(slack: Slack, chat: Chat, _: Receipt, key: str) -> object:
    return await slack.upload(chat, File("报告.txt", b"1"), key=key)


async def _ring(slack: Slack, _: Chat, __: Receipt, key: str) -> object:
    return await slack.ring(LI, "醒醒", key=key)


async def _open(slack: Slack, _: Chat, __: Receipt, key: str) -> object:
    return await slack.open_chat("客户乙", [LI, WANG, GUEST], key=key)


DEEDS: dict[str, tuple[Deed, str]] = {
    "send": (_send, "chat.postMessage"),
    "edit": (_edit, "chat.update"),
    "upload": (_upload, "files.getUploadURLExternal"),
    "upload-post": (_upload, "files.completeUploadExternal"),
    "ring": (_ring, "conversations.open"),
    "ring-post": (_ring, "chat.postMessage"),
    "open": (_open, "conversations.create"),
    "open-purpose": (_open, "conversations.setPurpose"),
    "open-members": (_open, "conversations.invite"),
    "open-guests": (_open, "conversations.inviteShared"),
}
ONCE = {"send", "upload-post", "ring-post", "open"}
"""What may not be done twice, and has no key at Slack: a lost answer is looked up or in doubt."""

FAULTS: dict[str, tuple[type[OutsideError] | None, type[OutsideError] | None]] = {
    "429": (Transient, Transient),
    "ratelimited": (Transient, Transient),
    "service_unavailable": (Transient, Transient),
    "500": (Transient, InDoubt),
    "internal_error": (Transient, InDoubt),
    "lost": (Transient, None),
    "silent": (Transient, None),
    "gone": (Transient, InDoubt),
    "late": (Transient, InDoubt),
    "404": (Permanent, Permanent),
    "missing_scope": (Permanent, Permanent),
    "invalid_auth": (Permanent, Permanent),
}
"""A misbehaviour -> the error where a call may be repeated, and where it may not be; None: it was
found to be done."""


def picture(sim: SlackSim) -> list[object]:
    """Return everything that people can see, without the ids."""
    rooms = [
        (
            one.name,
            sorted(one.members),
            [said["text"] or said["files"][0]["title"] for said in ours],
        )
        for one in sim.channels.values()
        for ours in [sim.said(one.id)]
    ]
    return [*rooms, sorted(set(sim.invited_by_mail))]


@pytest.mark.parametrize("deed", DEEDS)
async def test_whatever_goes_wrong_it_is_done_once(sim: SlackSim, deed: str) -> None:
    """Each misbehaviour ends in the right error, and as the sender does it, once more under the same
    key, the deed is done once: what came late has landed by then."""
    do, method = DEEDS[deed]
    async with link(sim, SimClock()) as slack:
        for key, (may, may_not) in FAULTS.items():
            expected = may_not if deed in ONCE else may
            chat = await slack.open_chat("客户甲", [LI], key=f"chat {key}")
            receipt = await slack.send(chat, say("旧"), key="k")
            sim.misbehave(method, key)
            if expected is None:
                await do(slack, chat, receipt, key)
            else:
                with pytest.raises(expected) as refused:
                    await do(slack, chat, receipt, key)
                if key == "429":
                    assert cast("Transient", refused.value).retry_after == 7
                assert BOT_TOKEN not in str(refused.value)
            sim.land()
            first = await do(slack, chat, receipt, key)
            once = picture(sim)
            assert await do(slack, chat, receipt, key) == first
            assert picture(sim) == once


FIELDS = (Input("a", "甲"), Input("list", "清单", Entry.FILE))
CARD = Card("卡片", blocks=(Buttons((Button("收到", "ack:1"),)), Form("f:1", FIELDS, "登记")))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_press_is_kept_whatever_becomes_of_its_answer(sim: SlackSim, fault: str) -> None:
    """The whisper to the presser may be lost; the press itself is heard and acknowledged."""
    async with link(sim, SimClock()) as slack:
        chat = await slack.open_chat("客户甲", [LI], key="k")
        receipt = await slack.send(chat, CARD, key="k")
        sim.misbehave("chat.postEphemeral", fault)
        envelope = await sim.press(LI.id, chat.id, receipt.id.partition("#")[0], "ack:1")
        async with asyncio.timeout(5):
            event = await anext(slack.events())
        assert isinstance(event, Click)
        assert event.action == "ack:1"
        with suppress(OutsideError):
            await slack.answer(event, "已收到", ok=True)
        await sim.until(envelope.acked.done)


@pytest.mark.parametrize("fault", [one for one in FAULTS if one not in {"lost", "silent", "late"}])
async def test_a_form_that_did_not_open_opens_at_the_next_press(sim: SlackSim, fault: str) -> None:
    """A trigger works once: the presser is told to press again, and the next one opens it."""
    async with link(sim, SimClock()) as slack:
        chat = await slack.open_chat("客户甲", [LI], key="k")
        ts = (await slack.send(chat, CARD, key="k")).id.partition("#")[0]
        sim.misbehave("views.open", fault)
        shown = next(one for one in sim.said(chat.id) if one["ts"] == ts)
        value = next(
            element["value"]
            for block in shown["blocks"]
            if block["type"] == "actions"
            for element in block["elements"]
            if element["action_id"].startswith("form:")
        )
        await sim.press(LI.id, chat.id, ts, value)
        await sim.until(lambda: sim.whispers)
        assert sim.whispers == [(chat.id, LI.id, "表单没有打开，请再按一次")]
        assert await sim.open_form(LI.id, chat.id, ts)


@pytest.mark.parametrize(
    ("faults", "names"),
    [(["500", "gone"], ["清单.csv"]), (["429"], ["清单.csv"]), (["500", "gone", "503"], [])],
    ids=str,
)
@pytest.mark.parametrize("way", ["message", "form"])
async def test_a_file_is_asked_for_thrice(
    sim: SlackSim, way: str, faults: list[str], names: list[str]
) -> None:
    """Nobody sends it again: without it the words come, and who sent it is told."""
    clock = SimClock()
    clock.quick = 60.0
    file = File("清单.csv", b"1")
    async with link(sim, clock) as slack:
        chat = await slack.open_chat("客户甲", [LI], key="k")
        ts = (await slack.send(chat, CARD, key="k")).id.partition("#")[0]
        sim.misbehave("download", *faults)
        if way == "message":
            await sim.say(LI.id, chat.id, "@vigilbot /server add", files=[file])
        else:
            await sim.submit(LI.id, await sim.open_form(LI.id, chat.id, ts), {"a": "1"}, [file])
        async with asyncio.timeout(5):
            event = await anext(slack.events())
        assert isinstance(event, Message | Submission)
        assert [one.name for one in event.files] == names
        if not names:
            await sim.until(lambda: sim.whispers)
        assert [text for _, _, text in sim.whispers] == ["有文件没有取到，请重新发送"] * (not names)


@pytest.mark.parametrize(
    ("faults", "names"), [([], ["清单.csv"]), (["429"], ["清单.csv"]), (["file_not_found"], [])]
)
async def test_a_file_of_a_channel_that_is_shared_is_looked_up(
    sim: SlackSim, faults: list[str], names: list[str]
) -> None:
    """With a customer's own people in the channel (Slack Connect) an event has a file's id alone."""
    clock = SimClock()
    clock.quick = 60.0
    async with link(sim, clock) as slack:
        chat = await slack.open_chat("客户甲", [LI, GUEST], key="k")
        sim.channels[chat.id].shared = True
        sim.misbehave("files.info", *faults)
        await sim.say(LI.id, chat.id, "@vigilbot /server add", files=[File("清单.csv", b"1")])
        async with asyncio.timeout(5):
            event = await anext(slack.events())
        assert isinstance(event, Message)
        assert [one.name for one in event.files] == names
        if not names:
            await sim.until(lambda: sim.whispers)


async def test_a_form_opens_once_though_its_press_is_told_twice(sim: SlackSim) -> None:
    """The second trigger is used up: that is no failure to tell of."""
    async with link(sim, SimClock()) as slack:
        chat = await slack.open_chat("客户甲", [LI], key="k")
        ts = (await slack.send(chat, CARD, key="k")).id.partition("#")[0]
        sim.outgoing.copies = 2
        await sim.open_form(LI.id, chat.id, ts)
        await sim.until(lambda: sim.count("views.open") == 2)
        await sim.say(LI.id, chat.id, "@vigilbot 后来")
        async with asyncio.timeout(5):
            assert isinstance(await anext(slack.events()), Message)
        assert sim.whispers == []
        assert len(sim.views) == 1


# -- over HTTP, through the web server ------------------------------------------------------------


def site(slack: Slack) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(callbacks.router(cast("Any", SimpleNamespace(chats={"slack": slack}))))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bot")


async def test_slack_calls_the_web_server(sim: SlackSim) -> None:
    """Its own question is answered; what is signed is kept first; a body without answer is empty."""
    async with link(sim, SimClock(), app_token="", secret="shh") as slack, site(slack) as http:
        body = json.dumps({"type": "url_verification", "challenge": "c"})
        answer = await http.post("/callbacks/slack", content=body, headers=signed(body))
        assert (answer.status_code, answer.json()) == (200, {"challenge": "c"})

        body = mention("/status")
        post = http.post("/callbacks/slack", content=body, headers=signed(body))
        posting = asyncio.ensure_future(post)
        events = slack.events()
        event = await anext(events)
        assert isinstance(event, Message)
        assert event.text == "/status"
        assert not posting.done()
        following = asyncio.ensure_future(anext(events, None))
        answer = await posting
        assert (answer.status_code, answer.content) == (200, b"")
        assert sim.dialled == 0
    assert await following is None


@pytest.mark.parametrize(
    ("secret", "age", "status"), [("wrong", 0, 401), ("shh", 301, 401), ("shh", -360, 401)]
)
async def test_the_web_server_believes_slack_alone(
    sim: SlackSim, secret: str, age: int, status: int
) -> None:
    """Unsigned, wrongly signed, stale and from the future: refused, and told nothing."""
    async with link(sim, SimClock(), app_token="", secret="shh") as slack, site(slack) as http:
        body = mention("/status")
        headers = signed(body, secret=secret, age=age)
        answer = await http.post("/callbacks/slack", content=body, headers=headers)
        assert (answer.status_code, answer.content) == (status, b"")
        assert (await http.post("/callbacks/slack", content=body)).status_code == 401
        assert (await http.post("/callbacks/slack", content=b"\xff")).status_code == 400


async def test_over_a_socket_nobody_calls_the_web_server(sim: SlackSim) -> None:
    async with link(sim, SimClock()) as slack, site(slack) as http:
        body = mention("/status")
        answer = await http.post("/callbacks/slack", content=body, headers=signed(body))
        assert answer.status_code == 403

"""Feishu's link against its simulator, with lark-oapi's frames in between."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.card import Button, Buttons, Card, Entry, Form, Input, Text, say
from adapters.feishu.link import Feishu, Hook, Pace
from adapters.port import InDoubt, OutsideError, Permanent, Transient
from adapters.words import Chat, Click, Event, File, Message, Person, Receipt, Secret, Submission
from tests.conftest import HandClock
from tests.sim.feishu import BOT, Fault, FeishuSim

LI = Person("feishu", "ou_li", "Li")
WANG = Person("feishu", "ou_wang", "Wang")
PRESSED = "ack:1|v=2"
STATES: dict[str, Path] = {}
"""The file of each app's bot."""


@pytest.fixture
async def sim(clock: HandClock, tmp_path: Path) -> AsyncIterator[FeishuSim]:
    async with FeishuSim(clock) as running:
        running.person("Li")
        running.person("Wang")
        STATES[running.app_id] = tmp_path / "feishu.sqlite"
        yield running


def link(
    sim: FeishuSim,
    patience: float = 60.0,
    beat: float = 20.0,
    hook: Hook | None = None,
    urgency: str = "app",
    owner: str = "",
) -> Feishu:
    """Return a link that is not judged by how slow this machine is."""
    return Feishu(
        sim.app_id,
        Secret(sim.secret),
        state=STATES[sim.app_id],
        clock=sim.clock,
        base_url=sim.base_url,
        patience=patience,
        beat=beat,
        hook=hook,
        urgency=urgency,
        owner=owner,
    )


def now(sim: FeishuSim) -> HandClock:
    assert isinstance(sim.clock, HandClock)
    return sim.clock


def button(action: str = PRESSED) -> Card:
    return Card("请确认", blocks=(Buttons((Button("收到", action),)),))


async def next_event(feishu: Feishu) -> Event:
    async with asyncio.timeout(10):
        return await anext(feishu.events())


async def everything_answered(feishu: Feishu) -> None:
    """Wait until each delivery's answer, if it gets one, has been read by the far side."""
    assert feishu._socket
    await feishu._socket.settle()
    await (await feishu._socket._conn.ping())


async def longest_turn() -> float:
    """Return the longest that the loop took for a turn, of some."""
    loop, lags = asyncio.get_running_loop(), []
    for _ in range(20):
        before = loop.time()
        await asyncio.sleep(0)
        lags.append(loop.time() - before)
    return max(lags)


class Reader:
    """Takes events in order, as the roof does: asking for the next one keeps the last."""

    def __init__(self, feishu: Feishu) -> None:
        self._events = feishu.events()

    async def next(self) -> Event:
        async with asyncio.timeout(10):
            return await anext(self._events)


# -- deeds that go wrong ----------------------------------------------------------------------

Deed = Callable[[Feishu, Chat, Receipt], Awaitable[object]]


async def _send(feishu: Feishu, chat: Chat, _: Receipt) -> object:
    return await feishu.send(chat, say("新"), key="deed")


async def _edit(feishu: Feishu, _: Chat, receipt: Receipt) -> object:
    return await feishu.edit(receipt, say("改"))


async def _upload(feishu: Feishu, chat: Chat, _: Receipt) -> object:
    return await feishu.upload(chat, File("报告.txt", b"1"), key="deed")


async def _ring(feishu: Feishu, chat: Chat, _: Receipt) -> object:
    return await feishu.ring(LI, "醒醒", key="deed")


async def _open(feishu: Feishu, chat: Chat, _: Receipt) -> object:
    return await feishu.open_chat("客户乙", [LI, WANG], key="deed")


DEEDS: dict[str, tuple[Deed, str]] = {
    "send": (_send, "POST /open-apis/im/v1/messages"),
    "edit": (_edit, "PATCH /open-apis/im/v1/messages"),
    "upload": (_upload, "POST /open-apis/im/v1/files"),
    "upload-post": (_upload, "POST /open-apis/im/v1/messages"),
    "ring": (_ring, "POST /open-apis/im/v1/messages"),
    "ring-urgent": (_ring, "urgent_app"),
    "open": (_open, "POST /open-apis/im/v1/chats"),
    "open-members": (_open, "/members"),
}
PASSING = [Fault.TOO_MANY, Fault.TOO_OFTEN_400, Fault.BROKEN, Fault.LOST, Fault.ABORTED]


def picture(sim: FeishuSim) -> list[object]:
    """Return everything that people can see, without the ids."""
    shown = [(one.title, sorted(one.members), sim.seen(one.id)) for one in sim.groups.values()]
    return [*shown, sim.rung(LI.id)]


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("fault", PASSING, ids=str)
async def test_what_went_wrong_is_tried_again_and_done_once(
    sim: FeishuSim, deed: str, fault: Fault
) -> None:
    """Whatever the platform does to a call, it is Transient, and the same key ends in one deed."""
    do, path = DEEDS[deed]
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("旧"), key="k")
        sim.misbehave(path, fault)
        with pytest.raises(Transient) as refused:
            await do(feishu, chat, receipt)
        first = await do(feishu, chat, receipt)
        once = picture(sim)
        assert await do(feishu, chat, receipt) == first
        assert picture(sim) == once
        if fault is Fault.TOO_MANY:
            assert refused.value.retry_after == 7


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_token_that_is_refused_is_renewed_at_once(sim: FeishuSim, deed: str) -> None:
    """A token that died early costs one more request and nobody notices."""
    do, path = DEEDS[deed]
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("旧"), key="k")
        sim.misbehave(path, Fault.STALE)
        await do(feishu, chat, receipt)
        assert sim.calls["POST /open-apis/auth/v3/tenant_access_token/internal"] == 2


async def test_a_token_that_is_refused_again_costs_no_message(sim: FeishuSim) -> None:
    """While half an hour of it remains Feishu hands out the same token, whoever refuses it: the word
    was not the message's, which goes out when it is over."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.misbehave("POST /open-apis/im/v1/messages", Fault.STALE, Fault.STALE)
        with pytest.raises(Transient):
            await feishu.send(chat, say("告警"), key="1")
        await feishu.send(chat, say("告警"), key="1")
        assert sim.seen(chat.id) == [say("告警")]


@pytest.mark.parametrize("deed", [one for one in DEEDS if one != "ring-urgent"])
async def test_a_missing_permission_is_named(sim: FeishuSim, deed: str) -> None:
    """What only a person can mend is Permanent, and says so in Chinese with the code."""
    do, path = DEEDS[deed]
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("旧"), key="k")
        sim.misbehave(path, Fault.DENIED)
        with pytest.raises(Permanent, match=r"权限.*99991672"):
            await do(feishu, chat, receipt)


@pytest.mark.parametrize(
    ("urgency", "denied", "taken"),
    [
        ("app", [], ["app"]),
        ("sms", [], ["sms"]),
        ("phone", [], ["phone"]),
        ("phone", ["phone"], ["sms"]),
        ("phone", ["phone", "sms"], ["app"]),
        ("phone", ["phone", "sms", "app"], []),
    ],
)
async def test_a_ring_insists_as_far_as_it_may(
    sim: FeishuSim, urgency: str, denied: list[str], taken: list[str]
) -> None:
    """What is refused is done in the next milder way, and the words reach the person anyhow."""
    async with link(sim, urgency=urgency) as feishu:
        for how in denied:
            sim.misbehave(f"urgent_{how}", Fault.DENIED)
        receipt = await feishu.ring(LI, "醒醒", key="1")
        assert sim.urgencies == taken
        assert sim.seen(receipt.chat.id) == ["醒醒"]
        assert sim.rung(LI.id) == (["醒醒"] if taken else [])


async def test_a_doubtful_send_is_not_repeated_when_feishu_has_forgotten_it(
    sim: FeishuSim,
) -> None:
    """Feishu knows a uuid for an hour: a try after that would say it twice, so it is InDoubt."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.misbehave("POST /open-apis/im/v1/messages", Fault.LOST)
        with pytest.raises(Transient):
            await feishu.send(chat, say("新"), key="1")
        await now(sim).sleep(timedelta(minutes=51).total_seconds())
        with pytest.raises(InDoubt):
            await feishu.send(chat, say("新"), key="1")
        assert sim.seen(chat.id) == [say("新")]


@pytest.mark.parametrize("deed", ["send", "upload-post", "ring", "open"])
async def test_a_doubt_outlives_a_restart(sim: FeishuSim, deed: str) -> None:
    """Two hours after a lost answer another process asks for the same: it is not done twice, and
    within the hour the same key finds what was done."""
    do, path = DEEDS[deed]
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("旧"), key="k")
        sim.misbehave(path, Fault.LOST)
        with pytest.raises(Transient):
            await do(feishu, chat, receipt)
        done = picture(sim)
    await now(sim).sleep(timedelta(hours=2).total_seconds())
    async with link(sim) as feishu:
        with pytest.raises(InDoubt):
            await do(feishu, chat, receipt)
    assert picture(sim) == done


async def test_a_deed_that_a_kill_cut_short_is_in_doubt(sim: FeishuSim) -> None:
    """It was done, and nobody was left to hear of it: hours later it is not done again."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.misbehave("POST /open-apis/im/v1/messages", Fault.SILENT)
        sending = asyncio.create_task(feishu.send(chat, say("新"), key="1"))
        await sim.until(lambda: bool(sim.posts))
        sending.cancel()
        await asyncio.wait({sending})
    await now(sim).sleep(timedelta(hours=2).total_seconds())
    async with link(sim) as feishu:
        with pytest.raises(InDoubt):
            await feishu.send(chat, say("新"), key="1")
    assert sim.seen(chat.id) == [say("新")]


@pytest.mark.parametrize("deed", ["send", "upload-post", "ring", "open"])
async def test_what_is_done_is_known_when_feishu_has_forgotten_it(
    sim: FeishuSim, deed: str
) -> None:
    """Killed after the answer and before it was written down elsewhere: two hours later the same
    key gives what it gave."""
    do, _ = DEEDS[deed]
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("旧"), key="k")
        first, done = await do(feishu, chat, receipt), picture(sim)
    await now(sim).sleep(timedelta(hours=2).total_seconds())
    async with link(sim) as feishu:
        assert await do(feishu, chat, receipt) == first
    assert picture(sim) == done


async def test_what_was_refused_is_not_in_doubt(sim: FeishuSim) -> None:
    """Feishu said no, and nothing was done: hours later, after a restart, it is simply sent."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        for fault in (Fault.TOO_MANY, Fault.DENIED):
            sim.misbehave("POST /open-apis/im/v1/messages", fault)
            with pytest.raises((Transient, Permanent)):
                await feishu.send(chat, say("新"), key="1")
    await now(sim).sleep(timedelta(hours=2).total_seconds())
    async with link(sim) as feishu:
        await feishu.send(chat, say("新"), key="1")
    assert sim.seen(chat.id) == [say("新")]


async def test_feishu_forgets_a_key_after_an_hour(sim: FeishuSim, tmp_path: Path) -> None:
    """A bot that has lost its file says it twice: so the file is what the others lean on."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        await feishu.send(chat, say("新"), key="1")
    STATES[sim.app_id] = tmp_path / "other.sqlite"
    async with link(sim) as feishu:
        await now(sim).sleep(timedelta(minutes=59).total_seconds())
        await feishu.send(chat, say("新"), key="1")
        assert len(sim.seen(chat.id)) == 1
    STATES[sim.app_id] = tmp_path / "third.sqlite"
    async with link(sim) as feishu:
        await now(sim).sleep(timedelta(minutes=1).total_seconds())
        await feishu.send(chat, say("新"), key="1")
    assert len(sim.seen(chat.id)) == 2


async def test_a_living_card_is_posted_anew_before_feishu_lets_it_die(sim: FeishuSim) -> None:
    """On the thirteenth day: the old one names the new one, once, though the first try was cut; the
    new one is pinned and lives on. A restart asks Feishu how old the card is."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("一"), key="1")
        await now(sim).sleep(timedelta(days=12).total_seconds())
        assert await feishu.edit(receipt, say("二")) == receipt
    await now(sim).sleep(timedelta(days=1).total_seconds())
    async with link(sim) as feishu:
        sim.misbehave("PATCH /open-apis/im/v1/messages", Fault.LOST)
        with pytest.raises(Transient):
            await feishu.edit(receipt, say("三"))
        heir = await feishu.edit(receipt, say("三"))
        old, new = sim.seen(chat.id)
        assert isinstance(old, Card)
        assert "已移到新卡片" in old.title
        assert new == say("三")
        assert list(sim.pins) == [receipt.id, heir.id]
        await now(sim).sleep(timedelta(days=12).total_seconds())
        assert await feishu.edit(heir, say("四")) == heir


async def test_an_heir_whose_post_nobody_saw_is_brought_up_to_date(sim: FeishuSim) -> None:
    """Feishu keeps what was posted first under a uuid; the edit that asks again knows more."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="1")
        old = await feishu.send(chat, say("第 1 天"), key="card")
        await now(sim).sleep(timedelta(days=13).total_seconds())
        sim.misbehave("POST /open-apis/im/v1/messages", Fault.LOST)
        with pytest.raises(Transient):
            await feishu.edit(old, say("第 13 天"))
        heir = await feishu.edit(old, say("第 14 天"))
        assert [one.title for one in sim.seen(chat.id) if isinstance(one, Card)][1:] == ["第 14 天"]
        assert heir != old


async def test_a_card_that_died_while_the_bot_was_off_has_one_heir(sim: FeishuSim) -> None:
    """Feishu refuses to touch the old one by then; that is no reason to post a third."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("一"), key="1")
        await now(sim).sleep(timedelta(days=15).total_seconds())
        heir = await feishu.edit(receipt, say("二"))
        assert heir != receipt
        assert sim.seen(chat.id) == [say("一"), say("二")]


async def test_a_card_that_cannot_be_pinned_is_drawn_all_the_same(sim: FeishuSim) -> None:
    """Without the permission the pin is tried once; after a lost call it is tried again."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("一"), key="1")
        sim.misbehave("/pins", Fault.BROKEN, Fault.DENIED)
        for text in ("二", "三", "四"):
            await feishu.edit(receipt, say(text))
        other = await feishu.send(chat, say("另一张"), key="2")
        await feishu.edit(other, say("五"))
        assert sim.seen(chat.id) == [say("四"), say("五")]
        assert sim.calls["POST /open-apis/im/v1/pins"] == 2
        assert not sim.pins


async def test_a_group_where_the_bot_may_not_pin_costs_no_other_its_pin(sim: FeishuSim) -> None:
    """One that was founded by hand and lets its owner alone pin is no missing permission."""
    async with link(sim) as feishu:
        by_hand = sim.found("客户甲", [LI.id])
        by_hand.owner, by_hand.owner_pins = LI.id, True
        theirs = Chat("feishu", by_hand.id)
        ours = await feishu.open_chat("客户乙", [WANG], key="k")
        cards = [await feishu.send(chat, say("一"), key=chat.id) for chat in (theirs, ours)]
        for text in ("二", "三"):
            for card in cards:
                await feishu.edit(card, say(text))
        assert list(sim.pins) == [cards[1].id]
        assert sim.calls["POST /open-apis/im/v1/pins"] == 2


async def test_a_storm_of_calls_keeps_to_the_limits(sim: FeishuSim) -> None:
    """Five a second are Feishu's limit for a chat and for a message: nothing is refused."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, say("一"), key="1")
        for number in range(12):
            await feishu.send(chat, say("告警"), key=f"s{number}")
        for number in range(12):
            await feishu.edit(receipt, say(f"{number}"))
        assert len(sim.seen(chat.id)) == 13


async def test_a_storm_of_calls_keeps_to_the_minute_of_each_interface(sim: FeishuSim) -> None:
    """Feishu has 50 calls a second and 1,000 a minute for one interface: more than that is asked for
    and nothing is refused. Another interface is not held up by it."""
    async with link(sim) as feishu:
        began = now(sim).now()
        await ask(feishu, 900, pause=0)
        await feishu.open_chat("客户甲", [LI], key="k")
        assert now(sim).now() - began < timedelta(minutes=1)
        await ask(feishu, 101, pause=0)
        assert now(sim).now() - began >= timedelta(minutes=1)


async def test_feishu_refuses_what_is_too_often(sim: FeishuSim, monkeypatch: Any) -> None:
    """Without our own pace the far side says no, and for how long."""
    monkeypatch.setattr(Pace, "turn", _at_once)
    async with link(sim) as feishu:
        with pytest.raises(Transient) as refused:
            await ask(feishu, 51, pause=0)
        assert refused.value.retry_after == 1
        await now(sim).sleep(1)
        with pytest.raises(Transient) as refused:
            await ask(feishu, 1000, pause=0.03)
        assert refused.value.retry_after == 60


async def ask(feishu: Feishu, count: int, *, pause: float) -> None:
    """Call one interface so often, with seconds between."""
    for _ in range(count):
        await feishu._clock.sleep(pause)
        await feishu.lacking()


async def _at_once(_: Pace, key: str) -> None:
    """Wait for nothing."""


@pytest.mark.parametrize("owner", [WANG.id, ""])
async def test_a_new_group_has_the_owner_that_was_set_and_the_bot_as_manager(
    sim: FeishuSim, owner: str
) -> None:
    """A manager may take people in and insist, whoever owns the group; without an owner it is the
    bot's."""
    async with link(sim, owner=owner) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
    group = sim.groups[chat.id]
    assert (group.owner, group.managers) == (owner or BOT, {BOT})


async def test_a_group_that_threw_the_bot_out_is_named(sim: FeishuSim) -> None:
    """Only a person can take it in again: Permanent, and a form there keeps its words."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.groups[chat.id].has_bot = False
        with pytest.raises(Permanent, match=r"机器人不在这个群里.*230002"):
            await feishu.send(chat, say("新"), key="1")
        with pytest.raises(Permanent, match="230002"):
            await feishu.upload(chat, File("报告.txt", b"1"), key="1")
        assert sim.seen(chat.id) == []
        sim.groups[chat.id].has_bot = True
        await feishu.send(chat, say("新"), key="1")
        assert sim.seen(chat.id) == [say("新")]


async def test_who_has_200_urgent_ones_unread_gets_the_words_alone(sim: FeishuSim) -> None:
    """Feishu takes no more urgent ones then, in no way; once they are read it does."""
    async with link(sim, urgency="phone") as feishu:
        direct = sim.direct(LI.id)
        for number in range(200):
            sim.insist(sim._keep(direct.id, BOT, "text", f'{{"text": "{number}"}}'), LI.id)
        await feishu.ring(LI, "醒醒", key="1")
        assert sim.seen(direct.id)[-1] == "醒醒"
        assert sim.urgencies == []
        sim.look(LI.id)
        await feishu.ring(LI, "再醒醒", key="2")
        assert sim.urgencies == ["phone"]


async def test_who_cannot_be_taken_in_is_named(sim: FeishuSim) -> None:
    """The others are in the group, and once the person can be, the same key goes on with it."""
    sim.out_of_range.add(WANG.id)
    async with link(sim) as feishu:
        with pytest.raises(Permanent, match="Wang"):
            await feishu.open_chat("客户甲", [LI, WANG], key="k")
        sim.out_of_range.clear()
        chat = await feishu.open_chat("客户甲", [LI, WANG], key="k")
        assert sim.groups[chat.id].members == [LI.id, WANG.id]
        assert len(sim.groups) == 1


async def test_a_large_group_is_filled_by_one_call_after_another(sim: FeishuSim) -> None:
    """Fifty at once are Feishu's most, and two calls at once about one group are refused."""
    people = [Person("feishu", sim.person(f"P{n}"), f"P{n}") for n in range(120)]
    async with link(sim) as feishu:
        chats = await asyncio.gather(*(feishu.open_chat("全员", people, key="k") for _ in range(2)))
        assert chats[0] == chats[1]
        assert len(sim.groups[chats[0].id].members) == 120


async def test_a_file_that_feishu_would_refuse_is_not_sent(sim: FeishuSim) -> None:
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        for content in (b"", b"1" * 30_000_001):
            with pytest.raises(Permanent, match="文件"):
                await feishu.upload(chat, File("a", content), key="1")
        assert not [name for name in sim.calls if name.endswith("/files")]


# -- the token --------------------------------------------------------------------------------

TOKEN = "POST /open-apis/auth/v3/tenant_access_token/internal"


async def test_one_token_is_fetched_for_all(sim: FeishuSim) -> None:
    """Calls that find the token too old wait for one of them to fetch it."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        await now(sim).sleep(6700)
        await asyncio.gather(*(feishu.send(chat, say("?"), key=f"{n}") for n in range(4)))
        assert sim.calls[TOKEN] == 2


async def test_a_token_server_that_hangs_holds_nobody_but_its_callers(sim: FeishuSim) -> None:
    """While it hangs the loop goes on, events come in, and a caller may give up for itself alone."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        await now(sim).sleep(6700)
        sim.misbehave("tenant_access_token", Fault.HANGS)
        gives_up, waits = (
            asyncio.create_task(feishu.send(chat, say("?"), key=key)) for key in ("2", "3")
        )
        await sim.until(lambda: sim.calls[TOKEN] >= 1)
        await sim.press(LI.id, receipt.id, PRESSED)
        assert isinstance(await next_event(feishu), Click)
        assert await longest_turn() < 0.05
        gives_up.cancel()
        async with asyncio.timeout(10):
            await waits
        sim.release()
        assert gives_up.cancelled()


@pytest.mark.parametrize(
    "down", [TOKEN, "GET /open-apis/bot/v3/info", "POST /callback/ws/endpoint"]
)
async def test_who_begins_while_feishu_is_down_is_there_when_it_is_up(
    sim: FeishuSim, down: str
) -> None:
    """The rest of the bot begins without it; it goes on trying, and then speaks and hears as ever."""
    sim.misbehave(down, Fault.BROKEN, Fault.ABORTED)
    async with link(sim) as feishu:
        await sim.until(lambda: bool(sim.links))
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        await sim.say(LI.id, chat.id, "@Vigilbot 你好")
        assert isinstance(await next_event(feishu), Message)


async def test_an_app_that_is_refused_when_feishu_is_up_again_is_told(sim: FeishuSim) -> None:
    sim.misbehave("GET /open-apis/bot/v3/info", Fault.BROKEN, Fault.DENIED)
    async with link(sim) as feishu:
        with pytest.raises(Permanent, match="权限"):
            await next_event(feishu)


async def test_a_callback_before_the_bot_knows_itself_is_to_come_again(sim: FeishuSim) -> None:
    """Whether a message mentions the bot cannot be told yet; taken for none, it would be lost."""
    sim.misbehave("GET /open-apis/bot/v3/info", Fault.BROKEN, Fault.HANGS)
    async with link(sim, patience=0.05, hook=Hook(Secret("v"))) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        body = json.dumps(sim.said(LI.id, chat.id, "@Vigilbot 你好")).encode()
        assert await feishu.callback({}, body) == (503, {})
        assert not feishu._pending
        sim.release()
        assert feishu._beginning
        await feishu._beginning
        assert await feishu.callback({}, body) == (503, {})
        assert isinstance(await next_event(feishu), Message)


async def test_wrong_credentials_are_named_and_not_shown(
    sim: FeishuSim, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what to check; neither it nor the log holds the secret."""
    state, secret = STATES[sim.app_id], Secret("wr0ng-s3cret")
    wrong = Feishu("cli_x", secret, state=state, clock=sim.clock, base_url=sim.base_url)
    with pytest.raises(Permanent, match="App Secret") as refused:
        await wrong.__aenter__()
    assert "wr0ng-s3cret" not in repr(refused.value) + str(refused.value.__cause__)
    assert "wr0ng-s3cret" not in "".join(capsys.readouterr())


async def test_nothing_secret_is_printed(
    sim: FeishuSim, capsys: pytest.CaptureFixture[str]
) -> None:
    """The SDK logs the URL that it connects to, ticket and all; here nothing of it gets out."""
    async with link(sim) as feishu:
        await feishu.open_chat("客户甲", [LI], key="k")
        sim.abort()
        await sim.until(lambda: sim.calls["GET /ws"] == 2 and bool(sim.links))
    printed = "".join(capsys.readouterr())
    assert "ticket" not in printed
    assert sim.secret not in printed
    assert not [one for one in sim.tokens if one in printed]
    # Its handler holds the output that was there at import, which no test can read.
    assert not logging.getLogger("Lark").isEnabledFor(logging.ERROR)


# -- presses and forms ------------------------------------------------------------------------

FORM = Form(
    "intake:7",
    (
        Input("count", "台数", Entry.NUMBER, value="3"),
        Input("list", "清单", Entry.FILE),
    ),
)


async def test_a_press_is_answered_by_a_toast(
    sim: FeishuSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that is given while the callback is open is what the presser sees."""
    monkeypatch.setattr("adapters.feishu.link.NAMES_PATIENCE", 60.0)
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        pressed = await sim.press(LI.id, receipt.id, PRESSED)
        click = await next_event(feishu)
        assert isinstance(click, Click)
        assert (click.id, click.sender.name) == (pressed["header"]["event_id"], "Li")
        await feishu.answer(click, "还没轮到你", ok=False)
        await sim.until(lambda: bool(sim.acks))
        assert sim.acks == [(click.id, 200, {"toast": {"type": "error", "content": "还没轮到你"}})]


async def test_a_press_is_answered_with_the_card_as_it_is_now(sim: FeishuSim) -> None:
    """The answer redraws the pressed card for everybody, before any edit of it."""
    after = say("已确认")
    drawn: list[str] = []

    async def redraw(message: str) -> Card | None:
        drawn.append(message)
        return after

    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        await sim.press(LI.id, receipt.id, PRESSED)
        click = await next_event(feishu)
        assert isinstance(click, Click)
        await feishu.answer(click, "好", ok=True, redraw=redraw)
        await sim.until(lambda: bool(sim.acks))
        assert drawn == [receipt.id]
        assert sim.seen(chat.id) == [after]
        assert sim.acks[0][2]["toast"] == {"type": "success", "content": "好"}


@pytest.mark.parametrize(
    "card", [None, Card("太大", blocks=(Text("字" * 20_000),))], ids=["none", "huge"]
)
async def test_a_card_that_no_answer_can_carry_is_left_to_the_edit(
    sim: FeishuSim, card: Card | None
) -> None:
    """Nothing living, or more than Feishu takes: the presser is told all the same."""

    async def redraw(_: str) -> Card | None:
        return card

    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        await sim.press(LI.id, receipt.id, PRESSED)
        click = await next_event(feishu)
        assert isinstance(click, Click)
        await feishu.answer(click, "好", ok=True, redraw=redraw)
        await sim.until(lambda: bool(sim.acks))
        assert sim.acks[0][2] == {"toast": {"type": "success", "content": "好"}}
        assert sim.seen(chat.id) == [button()]


async def test_a_press_without_an_answer_is_acknowledged_in_time(sim: FeishuSim) -> None:
    """Nobody answers, nobody even reads it: the presser still does not see an error."""
    async with link(sim, patience=0.05) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        await sim.press(LI.id, receipt.id, PRESSED)
        await sim.until(lambda: bool(sim.acks))
        assert sim.acks[0][1:] == (200, {"toast": {"type": "info", "content": "已收到"}})
        click = await next_event(feishu)
        assert isinstance(click, Click)
        await feishu.answer(click, "晚了", ok=True)
        assert len(sim.acks) == 1


async def test_a_press_that_was_taken_is_acknowledged_at_once(sim: FeishuSim) -> None:
    """Asking for the next event says that the press is kept: no need to wait for an answer."""
    async with link(sim, patience=60) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        reader = Reader(feishu)
        await sim.press(LI.id, receipt.id, PRESSED)
        await reader.next()
        await sim.say(LI.id, chat.id, "后来")
        await reader.next()
        await sim.until(lambda: bool(sim.acks))
        assert sim.acks[0][2]["toast"]["content"] == "已收到"


async def test_a_card_is_not_redrawn_while_a_press_on_it_is_open(sim: FeishuSim) -> None:
    """An update that overtakes the callback's answer is undone by it, so it waits its turn."""
    async with link(sim, patience=60) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        other = await feishu.send(chat, say("别的"), key="2")
        await sim.press(LI.id, receipt.id, PRESSED)
        click = await next_event(feishu)
        assert isinstance(click, Click)
        redrawing = asyncio.create_task(feishu.edit(receipt, say("完成")))
        for _ in range(3):
            await feishu.edit(other, say("照常"))
        assert sim.seen(chat.id) == [button(), say("照常")]
        await feishu.answer(click, "好", ok=True)
        await redrawing
        assert sim.seen(chat.id) == [say("完成"), say("照常")]


async def test_each_press_of_a_burst_has_its_own_answer(sim: FeishuSim) -> None:
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, button(), key="1")
        reader = Reader(feishu)
        for _ in range(100):
            await sim.press(LI.id, receipt.id, PRESSED)
        for _ in range(100):
            click = await reader.next()
            assert isinstance(click, Click)
            await feishu.answer(click, click.id, ok=True)
        await sim.until(lambda: len(sim.acks) == 100)
        assert all(body["toast"]["content"] == event_id for event_id, _, body in sim.acks)


async def test_a_number_that_is_none_is_said_in_a_toast(sim: FeishuSim) -> None:
    """Feishu's client cannot check it: the bot does, and the inbox never hears of it."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, Card("信息", blocks=(FORM,)), key="1")
        await sim.submit(LI.id, receipt.id, FORM.action, {"count": "三"})
        await sim.until(lambda: bool(sim.acks))
        assert sim.acks[0][2]["toast"] == {"type": "error", "content": "请填写数字：台数"}
        await sim.say(LI.id, chat.id, "后来")
        assert isinstance(await next_event(feishu), Message)


async def test_a_form_takes_the_files_that_its_sender_posted_since(sim: FeishuSim) -> None:
    """Not what was there before the card, not what another person posted."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI, WANG], key="k")
        sim.post_file(LI.id, chat.id, File("旧.csv", b"0"))
        await now(sim).sleep(5)
        receipt = await feishu.send(chat, Card("信息", blocks=(FORM,)), key="1")
        mine = [File("甲.csv", b"1"), File("乙.csv", b"2")]
        for file in mine:
            sim.post_file(LI.id, chat.id, file)
        sim.post_file(WANG.id, chat.id, File("别人的.csv", b"3"))
        await sim.submit(LI.id, receipt.id, FORM.action, {})
        form = await next_event(feishu)
        assert isinstance(form, Submission)
        assert form.files == tuple(mine)
        assert form.values == {"count": "3"}


async def test_a_form_finds_its_file_in_a_busy_chat(sim: FeishuSim) -> None:
    """However much was said between the file and the press: a page of the history is 50 messages."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI, WANG], key="k")
        receipt = await feishu.send(chat, Card("信息", blocks=(FORM,)), key="1")
        mine = [File("甲.csv", b"1"), File("乙.csv", b"2")]
        for file in mine:
            sim.post_file(LI.id, chat.id, file)
            for n in range(60):
                sim.said(WANG.id, chat.id, str(n))
        await sim.submit(LI.id, receipt.id, FORM.action, {})
        form = await next_event(feishu)
        assert isinstance(form, Submission)
        assert form.files == tuple(mine)


@pytest.mark.parametrize(
    ("faults", "names"),
    [
        ([Fault.DENIED], []),
        ([Fault.BROKEN, Fault.TOO_MANY], ["甲.csv"]),
        ([Fault.BROKEN, Fault.LOST, Fault.ABORTED], []),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", ["messages", "/resources/"])
async def test_a_forms_files_are_asked_for_thrice(
    sim: FeishuSim, call: str, faults: list[Fault], names: list[str]
) -> None:
    """It is never sent again, so it is not thrown away: without its files what reads it asks for
    them."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        receipt = await feishu.send(chat, Card("信息", blocks=(FORM,)), key="1")
        sim.post_file(LI.id, chat.id, File("甲.csv", b"1"))
        sim.misbehave("GET /open-apis/im/v1/messages" if call == "messages" else call, *faults)
        await sim.submit(LI.id, receipt.id, FORM.action, {})
        form = await next_event(feishu)
        assert isinstance(form, Submission)
        assert [one.name for one in form.files] == names


# -- messages ---------------------------------------------------------------------------------


async def test_a_message_is_acknowledged_when_it_is_kept(sim: FeishuSim) -> None:
    """Until the reader asks for more it is not; a redelivery meanwhile is the same event."""
    async with link(sim, patience=0.05) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        reader = Reader(feishu)
        payload = await sim.say(LI.id, chat.id, "一")
        assert await reader.next() == await next_event(feishu)
        await everything_answered(feishu)
        assert sim.acks == []
        again = {**payload, "header": {**payload["header"], "event_id": "another"}}
        await sim.deliver(again)
        await sim.say(LI.id, chat.id, "二")
        second = await reader.next()
        assert isinstance(second, Message)
        assert second.text == "二"
        await sim.deliver(again)
        await sim.until(lambda: "another" in [one[0] for one in sim.acks])
        assert {code for _, code, _ in sim.acks} == {200}


async def test_nothing_is_lost_over_the_whole_time_of_redeliveries(sim: FeishuSim) -> None:
    """Nobody keeps it for seven hours: it comes five times, is one event, and is then given up."""
    async with link(sim, patience=0.01) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        payload = await sim.say(LI.id, chat.id, "一")
        first = await next_event(feishu)
        for pause in (15, 300, 3600, 6 * 3600):
            await now(sim).sleep(pause)
            await sim.redeliver()
            assert await next_event(feishu) == first
        await everything_answered(feishu)
        assert len(sim._sent[payload["header"]["event_id"]]) == 5
        assert sim.acks == []
        await sim.redeliver()
        assert sim.unacked == {}


async def test_two_bots_of_one_app_share_what_comes(sim: FeishuSim) -> None:
    """Each delivery goes to one of the connections, by chance; both together hear everything."""
    async with link(sim) as one, link(sim) as other:
        chat = await one.open_chat("客户甲", [LI], key="k")
        for number in range(20):
            await sim.say(LI.id, chat.id, f"{number}")
        heard: list[list[Event]] = [[], []]
        everything = asyncio.Event()

        async def hear(feishu: Feishu, share: list[Event]) -> None:
            async for event in feishu.events():
                share.append(event)
                if sum(map(len, heard)) == 20:
                    everything.set()

        hearing = [
            asyncio.create_task(hear(feishu, share))
            for feishu, share in zip((one, other), heard, strict=True)
        ]
        async with asyncio.timeout(10):
            await everything.wait()
        assert all(heard)
        assert len({event.id for share in heard for event in share}) == 20
        for task in hearing:
            task.cancel()


async def test_fragments_are_one_message_however_often_they_come(sim: FeishuSim) -> None:
    """Three parts, twice: one event, and each delivery is acknowledged once."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        payload = sim.said(LI.id, chat.id, f"@Vigilbot {'长' * 300}")
        reader = Reader(feishu)
        await sim.deliver(payload, parts=3)
        await sim.deliver(payload, parts=3)
        assert isinstance(await reader.next(), Message)
        await sim.say(LI.id, chat.id, "后来")
        later = await reader.next()
        assert isinstance(later, Message)
        assert later.text == "后来"
        await sim.until(lambda: len(sim.acks) == 2)


async def test_a_message_whose_file_cannot_be_had_is_sent_again(sim: FeishuSim) -> None:
    """It is not acknowledged, so Feishu repeats it, and then it is whole."""
    file = File("服务器.csv", b"name,host\n")
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.misbehave("/resources/", Fault.BROKEN)
        payload = await sim.say(LI.id, chat.id, "/server add", [file])
        await sim.until(lambda: any("/resources/" in name for name in sim.calls))
        await asyncio.gather(*feishu._fetching)
        assert not feishu._pending
        await sim.deliver(payload)
        message = await next_event(feishu)
        assert isinstance(message, Message)
        assert message.files == (file,)


async def test_an_answer_to_a_message_without_a_file_is_a_message(sim: FeishuSim) -> None:
    """People answer cards, and messages that were recalled: their words count all the same."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        card = await feishu.send(chat, button(), key="1")
        list_ = sim.post_file(LI.id, chat.id, File("服务器.csv", b"1"))
        list_.recalled = True
        reader = Reader(feishu)
        for parent in (card.id, "om_gone", list_.id):
            await sim.deliver(sim.said(LI.id, chat.id, "@Vigilbot 好的", parent))
            message = await reader.next()
            assert isinstance(message, Message)
            assert (message.text, message.files) == ("好的", ())


async def test_an_answer_that_is_not_understood_costs_no_message(sim: FeishuSim) -> None:
    """The message is not acknowledged, and taken when Feishu sends it again."""
    file = File("服务器.csv", b"name,host\n")
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.misbehave("GET /open-apis/im/v1/messages/", Fault.SENSELESS)
        payload = await sim.say(LI.id, chat.id, "/server add", [file])
        await sim.until(lambda: any(name.startswith("GET /open-apis/im") for name in sim.calls))
        await asyncio.gather(*feishu._fetching, return_exceptions=True)
        assert not feishu._pending
        await sim.deliver(payload)
        message = await next_event(feishu)
        assert isinstance(message, Message)
        assert message.files == (file,)


async def test_what_is_no_act_of_a_person_is_acknowledged_and_dropped(sim: FeishuSim) -> None:
    """Other bots' words, and events that nobody handles: unanswered they would come again."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        bots = sim.said(LI.id, chat.id, "我是机器人")
        bots["event"]["sender"]["sender_type"] = "app"
        added = sim.event("im.chat.member.user.added_v1", {"chat_id": chat.id, "name": "客户甲"})
        await sim.deliver(bots)
        await sim.deliver(added)
        await sim.until(lambda: len(sim.acks) == 2)
        assert [code for _, code, _ in sim.acks] == [200, 200]
        assert not feishu._pending


async def test_a_person_may_write_to_the_bot_alone(sim: FeishuSim) -> None:
    """A message of the direct chat needs no mention, and an answer finds its way back."""
    async with link(sim) as feishu:
        direct = sim.direct(LI.id).id
        await sim.say(LI.id, direct, "/status")
        message = await next_event(feishu)
        assert isinstance(message, Message)
        assert (message.chat.id, message.text) == (direct, "/status")
        await feishu.send(message.chat, say("正常"), key="1")
        assert sim.seen(direct)[-1] == say("正常")


async def test_a_bare_command_in_a_group_is_heard(sim: FeishuSim) -> None:
    """With im:message.group_msg Feishu tells of every word in a group: a command needs no mention,
    and brings the file that it answers."""
    file = File("服务器.csv", b"name,host\n")
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        posted = sim.post_file(LI.id, chat.id, file)
        await sim.deliver(sim.said(LI.id, chat.id, "/server add", posted.id))
        message = await next_event(feishu)
        assert isinstance(message, Message)
        assert (message.chat.id, message.text, message.files) == (chat.id, "/server add", (file,))


async def test_what_people_post_for_each_other_is_not_fetched(sim: FeishuSim) -> None:
    """A file in a group, and an answer to one, that ask nothing of the bot: they are heard and left
    where they are. Said to the bot alone, or with a mention, they are fetched."""
    file = File("工资.xlsx", b"1")
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        reader = Reader(feishu)
        posted = sim.post_file(LI.id, chat.id, file)
        await sim.deliver(sim.told(posted))
        await sim.deliver(sim.said(LI.id, chat.id, "看一下这个", posted.id))
        for _ in range(2):
            message = await reader.next()
            assert isinstance(message, Message)
            assert message.files == ()
        assert not [name for name in sim.calls if name.startswith("GET /open-apis/im/v1/messages")]
        await sim.deliver(sim.said(LI.id, chat.id, "@Vigilbot 看一下这个", posted.id))
        await sim.deliver(sim.told(sim.post_file(LI.id, sim.direct(LI.id).id, file)))
        for _ in range(2):
            message = await reader.next()
            assert isinstance(message, Message)
            assert message.files == (file,)


async def test_a_menu_is_a_command(sim: FeishuSim) -> None:
    async with link(sim) as feishu:
        operator = {"operator_name": "Li", "operator_id": {"open_id": LI.id}}
        event = {"operator": operator, "event_key": "/status"}
        await sim.deliver(sim.event("application.bot.menu_v6", event))
        message = await next_event(feishu)
        assert isinstance(message, Message)
        assert (message.text, message.sender) == ("/status", LI)
        await feishu.send(message.chat, say("正常"), key="1")
        assert sim.seen(sim.direct(LI.id).id) == [say("正常")]


async def test_whoever_takes_the_bot_into_a_group_is_told_what_it_can_do(sim: FeishuSim) -> None:
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        event = {"chat_id": chat.id, "name": "客户甲", "operator_id": {"open_id": LI.id}}
        await sim.deliver(sim.event("im.chat.member.bot.added_v1", event))
        message = await next_event(feishu)
        assert isinstance(message, Message)
        assert (message.chat, message.sender, message.text) == (chat, LI, "/help")


async def test_a_payload_that_is_not_understood_harms_nothing(sim: FeishuSim) -> None:
    """It is not acknowledged, and the next one is taken."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        await sim.deliver(sim.event("im.message.receive_v1", {"sender": {}}))
        await sim.links[-1].ws.send_bytes(b"\xff\xff")
        await sim.links[-1].ws.send_str("text")
        await sim.say(LI.id, chat.id, "后来")
        assert isinstance(await next_event(feishu), Message)
        assert [code for _, code, _ in sim.acks] == []


# -- the connection ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "abort", "half-open"])
async def test_a_lost_connection_is_made_anew(sim: FeishuSim, how: str) -> None:
    """Within seconds after a close or an abort; a half-open one is noticed by its missing pong."""
    async with link(sim, beat=0.1 if how == "half-open" else 20.0) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        if how == "close":
            await sim.close_links()
        elif how == "abort":
            sim.abort()
        else:
            sim.freeze()
        await sim.until(lambda: sim.calls["GET /ws"] >= 2)
        await sim.until(lambda: bool(sim.links) and not any(one.frozen for one in sim.links))
        await sim.say(LI.id, chat.id, "还在吗")
        assert isinstance(await next_event(feishu), Message)
        assert now(sim).slept[0] < 5


async def test_what_was_said_while_the_link_was_down_is_heard(sim: FeishuSim) -> None:
    """Feishu keeps what nobody acknowledged."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.abort()
        sim.said(LI.id, chat.id, "@Vigilbot 断线时")
        message = await next_event(feishu)
        assert isinstance(message, Message)
        assert message.text == "断线时"


async def test_an_app_that_feishu_no_longer_accepts_is_no_silent_zombie(sim: FeishuSim) -> None:
    """A refusal at the reconnect ends the reader: a deaf bot that looks alive is worse."""
    async with link(sim) as feishu:
        reading = asyncio.create_task(Reader(feishu).next())
        sim.refuse_links = (1000040344, "no credential")
        sim.abort()
        with pytest.raises(Permanent, match="1000040344"):
            await reading


async def test_a_refused_handshake_is_named(sim: FeishuSim) -> None:
    sim.forbid_links = True
    with pytest.raises(Permanent, match="403"):
        await link(sim).__aenter__()


async def test_too_many_connections_are_waited_for(sim: FeishuSim) -> None:
    """Another replica has to go first: it is tried again each minute, and nobody dies of it."""
    async with link(sim) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        sim.refuse_links = (1000040350, "exceed conn limit")
        sim.abort()
        await sim.until(lambda: 60 in now(sim).slept)
        sim.refuse_links = None
        await sim.until(lambda: bool(sim.links))
        await sim.say(LI.id, chat.id, "还在吗")
        assert isinstance(await next_event(feishu), Message)


async def test_the_servers_ping_interval_is_heeded(sim: FeishuSim) -> None:
    """Pings go out as Feishu's own frames, and the pong may bring other settings."""
    sim.client_config["PingInterval"] = 77
    async with link(sim) as feishu:
        await sim.until(lambda: sim.calls["ping"] >= 1)
        assert feishu._socket
        assert feishu._socket._ping_interval == 77


async def test_a_closed_link_says_so(sim: FeishuSim) -> None:
    feishu = link(sim)
    async with feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
    for deed in (feishu.send(chat, say("?"), key="1"), feishu.ring(LI, "?", key="1")):
        with pytest.raises(OutsideError, match="没有连接"):
            await deed
    assert [event async for event in feishu.events()] == []


# -- HTTP callback mode -----------------------------------------------------------------------


async def test_callbacks_by_http_need_no_connection(sim: FeishuSim) -> None:
    """The same payloads, by the web server: taken, answered, and 503 while nobody keeps them."""
    async with link(sim, patience=0.05, hook=Hook(Secret("v"))) as feishu:
        chat = await feishu.open_chat("客户甲", [LI], key="k")
        body = json.dumps(sim.said(LI.id, chat.id, "@Vigilbot 你好")).encode()
        assert await feishu.callback({}, body) == (503, {})
        reader = Reader(feishu)
        await reader.next()
        receipt = await feishu.send(chat, button(), key="1")
        press = await sim.press(LI.id, receipt.id, PRESSED)
        answering = asyncio.create_task(feishu.callback({}, json.dumps(press).encode()))
        click = await reader.next()
        assert isinstance(click, Click)
        await feishu.answer(click, "好", ok=True)
        assert await answering == (200, {"toast": {"type": "success", "content": "好"}})
        assert await feishu.callback({}, body) == (200, {})
        hello = {"type": "url_verification", "token": "v", "challenge": "c"}
        assert await feishu.callback({}, json.dumps(hello).encode()) == (200, {"challenge": "c"})
        assert sim.calls["GET /ws"] == 0
        assert replace(click.sender, name="") == LI
        assert BOT not in sim.people
    with pytest.raises(Permanent):
        await link(sim).callback({}, body)

"""Whatever the platform does to whatever is said: through the outbox to its end, and what the ledger
then says. Nothing is lost, nothing is there twice where a key is in force, elsewhere it is in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.card import Button, Buttons, Card, Entry, Form, Input, dumps, say
from adapters.dingtalk import socket
from adapters.dingtalk.link import DingTalk
from adapters.feishu.link import BEAT, Feishu
from adapters.feishu.socket import pause
from adapters.port import ChatPlatform, InDoubt, Transient
from adapters.words import Chat, Click, Event, Person, Secret, Submission
from bot.sender import Sender
from storage.records import Delivery, DeliveryState, Lane
from storage.store import Store, Unit
from storage.vault import Seal
from tests.conftest import HandClock
from tests.sim.dingtalk import DingTalkSim, Wrong
from tests.sim.feishu import Fault, FeishuSim

SOON = 0.3
"""Seconds of patience with a far side that says nothing."""


@dataclass
class Place:
    """A platform, its far side, a group with Li in it, and how to make the next call go wrong."""

    platform: ChatPlatform
    chat: Chat
    li: Person
    seen: Callable[[Chat], list[str]]
    rung: Callable[[], list[str]]
    groups: Callable[[], int]
    wrong: Callable[[str, Any], None]


@asynccontextmanager
async def in_feishu(folder: Path, clock: HandClock) -> AsyncIterator[Place]:
    async with FeishuSim(clock) as sim:
        li = Person("feishu", sim.person("Li"), "Li")
        async with Feishu(
            sim.app_id, Secret(sim.secret), clock=clock, base_url=sim.base_url, timeout=SOON
        ) as platform:
            chat = await platform.open_chat("客户甲", [li], key="0")
            yield Place(
                platform,
                chat,
                li,
                lambda one: [x if isinstance(x, str) else x.title for x in sim.seen(one.id)],
                lambda: sim.rung(li.id),
                lambda: sum(not one.direct for one in sim.groups.values()),
                sim.misbehave,
            )


@asynccontextmanager
async def in_dingtalk(folder: Path, clock: HandClock) -> AsyncIterator[Place]:
    sim = DingTalkSim(now=clock.now)
    li = Person("dingtalk", "staff-li", "Li")
    sim.people[li.id] = li
    await sim.start()
    try:
        async with DingTalk(
            sim.client_id,
            Secret(sim.secret),
            robot_code=sim.robot,
            state=folder / "dingtalk.sqlite",
            clock=clock,
            card_template=sim.template,
            group_template=sim.group_template,
            api_url=sim.url,
            oapi_url=sim.url,
            timeout=SOON,
        ) as platform:
            chat = await platform.open_chat("客户甲", [li], key="0")
            yield Place(
                platform,
                chat,
                li,
                lambda one: [text.strip("【】") for text in sim.seen(one)],
                lambda: sim.rung(li.id),
                lambda: len(sim.groups),
                sim.go_wrong,
            )
    finally:
        await sim.stop()


World = Callable[[Path, HandClock], AbstractAsyncContextManager[Place]]

IM = "/open-apis/im/v1/"
FEISHU_DEEDS = {
    "send": f"POST {IM}messages",
    "edit": f"PATCH {IM}messages",
    "upload": f"POST {IM}files",
    "upload-post": f"POST {IM}messages",
    "ring": f"POST {IM}messages",
    "ring-urgent": "urgent_app",
}
DINGTALK_DEEDS = {
    "send": "/v1.0/card/instances/createAndDeliver",
    "edit": "/v1.0/card/instances",
    "upload": "/media/upload",
    "upload-post": "/v1.0/robot/groupMessages",
    "ring": "/v1.0/robot/ding",
}
FEISHU_FAULTS = [one for one in Fault if one not in {Fault.DENIED, Fault.HANGS}]
"""A missing permission is for a person to mend, and HANGS is what SILENT is, less the deed."""
SPEECHLESS = {"edit", "ring-urgent"}
"""Deeds whose good answer has nothing in it: there SENSELESS is no fault but a lie."""

CASES: list[tuple[World, str, str, Any]] = [
    *(
        (in_feishu, deed, path, one)
        for deed, path in FEISHU_DEEDS.items()
        for one in FEISHU_FAULTS
        if not (deed in SPEECHLESS and one is Fault.SENSELESS)
    ),
    *((in_dingtalk, deed, path, one) for deed, path in DINGTALK_DEEDS.items() for one in Wrong),
]
KEYLESS = {"upload-post", "ring"}
"""What DingTalk has no idempotency key for."""
UNSEEN_END = {Wrong.ERROR, Wrong.DROPPED, Wrong.LATE_ERROR, Wrong.HANG}
"""After these nobody can tell whether it was done."""


def entry(deed: str, place: Place, at: Any) -> Delivery:
    bare = Delivery(0, "deed", place.chat, Lane.NORMAL, DeliveryState.WAITING, at)
    match deed.partition("-")[0]:
        case "send":
            return _with(bare, card=dumps(say("新")))
        case "upload":
            return _with(bare, file_name="a.txt", file=b"1")
        case _:
            return _with(bare, card=dumps(Card("醒醒")), ring=place.li)


def _with(bare: Delivery, **more: Any) -> Delivery:
    return Delivery(bare.id, bare.key, bare.chat, bare.lane, bare.state, bare.at, **more)


async def to_its_end(sender: Sender, store: Store, clock: HandClock) -> list[Delivery]:
    """Drain at each instant at which something is due, until nothing waits; return the ledger."""
    for _ in range(20):
        await sender.drain()
        async with store.view() as unit:
            ledger = list(await unit.outbox.latest(20))
        waiting = [one for one in ledger if one.state is DeliveryState.WAITING]
        if not waiting:
            return ledger
        due = [one.due for one in waiting if one.due]
        await clock.sleep(max(1.0, (min(due) - clock.now()).total_seconds()) if due else 1.0)
    raise AssertionError(ledger)


@pytest.mark.parametrize(
    ("world", "deed", "path", "fault"),
    CASES,
    ids=[f"{w.__name__[3:]}-{d}-{f.name}" for w, d, _, f in CASES],
)
async def test_what_is_said_ends_once_or_in_doubt(
    world: World, deed: str, path: str, fault: Any, tmp_path: Path, clock: HandClock
) -> None:
    text = {"now": "旧"}

    async def draw(key: str, unit: Unit) -> Card:
        return say(text["now"])

    url = f"sqlite+aiosqlite:///{tmp_path / 'b.sqlite'}"
    async with Store(url, Seal(Seal.new_key())) as store, world(tmp_path, clock) as place:
        await store.create()
        sender = Sender(store, {place.platform.name: place.platform}, draw, clock)
        if deed == "edit":
            async with store.unit() as unit:
                await unit.outbox.mark("card", place.chat, clock.now())
            await to_its_end(sender, store, clock)
            text["now"] = "改"
        place.wrong(path, fault)
        async with store.unit() as unit:
            if deed == "edit":
                await unit.outbox.mark("card", place.chat, clock.now())
            else:
                await unit.outbox.put(entry(deed, place, clock.now()))
        ledger = await to_its_end(sender, store, clock)

        shown = {"send": ["新"], "edit": ["改"], "upload": ["a.txt"]}.get(
            deed.partition("-")[0], []
        )
        rung = ["【醒醒】"] if deed.startswith("ring") else []
        if world is in_dingtalk and deed in KEYLESS and fault in UNSEEN_END:
            assert [one.state for one in ledger] == [DeliveryState.DOUBT]
            assert ledger[0].reason
            assert place.seen(place.chat) in ([], shown)
            assert place.rung() in ([], rung)
        else:
            assert {one.state for one in ledger} == {DeliveryState.SENT}
            assert place.seen(place.chat) == shown
            assert place.rung() == rung


GROUPS: list[tuple[World, str, Any]] = [
    *((in_feishu, f"POST {IM}chats", one) for one in FEISHU_FAULTS),
    *((in_feishu, "/members", one) for one in FEISHU_FAULTS if one is not Fault.SENSELESS),
    *((in_dingtalk, "/v1.0/im/sceneGroups", one) for one in Wrong),
]


@pytest.mark.parametrize(
    ("world", "path", "fault"),
    GROUPS,
    ids=[f"{w.__name__[3:]}-{p.rpartition('/')[2]}-{f.name}" for w, p, f in GROUPS],
)
async def test_a_group_is_made_once(
    world: World, path: str, fault: Any, tmp_path: Path, clock: HandClock
) -> None:
    """Asked for again with the same key until it is there: there is one, with its people in it."""
    async with world(tmp_path, clock) as place:
        place.wrong(path, fault)
        made = None
        for _ in range(3):
            try:
                made = await place.platform.open_chat("客户乙", [place.li], key="1")
            except Transient as error:
                await clock.sleep(error.retry_after or 1.0)
            except InDoubt as error:
                raise AssertionError(error.reason) from error
        assert made
        assert place.groups() == 2
        await place.platform.send(made, say("到齐"), key="2")


# -- presses and forms --------------------------------------------------------------------------

CARD = Card(
    "请确认",
    blocks=(
        Buttons((Button("收到", "ack:1"),)),
        Form("form:1", (Input("why", "原因", Entry.LINE, required=True),)),
    ),
)


async def heard(platform: ChatPlatform, count: int, answered: str = "好") -> list[Event]:
    """Take events as the roof does, answering each press."""
    taken: list[Event] = []
    async with asyncio.timeout(10):
        async for event in platform.events():
            if isinstance(event, Click | Submission):
                await platform.answer(event, answered, ok=True)
            taken.append(event)
            if len({one.id for one in taken}) == count:
                return taken
    raise AssertionError(taken)


@pytest.mark.parametrize("fault", ["twice", "closed", "cut"])
async def test_a_press_and_a_form_of_feishu_come_once_whatever_the_link_does(
    fault: str, tmp_path: Path, clock: HandClock
) -> None:
    """A second delivery is known by its id; after a close or a cut the next press comes by the new
    link. (A press that is on the way while a link dies is the presser's to repeat: Feishu says so.)"""
    async with FeishuSim(clock) as sim:
        li = Person("feishu", sim.person("Li"), "Li")
        async with Feishu(
            sim.app_id, Secret(sim.secret), clock=clock, base_url=sim.base_url, patience=30
        ) as feishu:
            chat = await feishu.open_chat("客户甲", [li], key="0")
            receipt = await feishu.send(chat, CARD, key="1")
            if fault != "twice":
                made = sim.calls["GET /ws"]
                sim.abort() if fault == "cut" else await sim.close_links()
                await sim.until(lambda: sim.calls["GET /ws"] > made and bool(sim.links))
            press = await sim.press(li.id, receipt.id, "ack:1")
            form = await sim.submit(li.id, receipt.id, "form:1", {"why": "慢"})
            if fault == "twice":
                await sim.deliver(press)
                await sim.deliver(form, parts=3)
            events = await heard(feishu, 2)
            assert len(events) == 2
            assert {type(one) for one in events} == {Click, Submission}


@pytest.mark.parametrize("fault", ["closed", "cut", "asked to leave"])
async def test_a_press_and_a_form_of_dingtalk_are_kept_whatever_the_link_does(
    fault: str, tmp_path: Path, clock: HandClock
) -> None:
    """What was acknowledged is delivered, though the link went and the bot was started anew."""
    sim = DingTalkSim(now=clock.now)
    li = Person("dingtalk", "staff-li", "Li")
    sim.people[li.id] = li
    await sim.start()

    def client() -> DingTalk:
        return DingTalk(
            sim.client_id,
            Secret(sim.secret),
            robot_code=sim.robot,
            state=tmp_path / "dingtalk.sqlite",
            clock=clock,
            card_template=sim.template,
            group_template=sim.group_template,
            api_url=sim.url,
            oapi_url=sim.url,
            answer_within=0.05,
        )

    async with client() as ding:
        chat = await ding.open_chat("客户甲", [li], key="0")
        receipt = await ding.send(chat, CARD, key="1")
        before = sim.connections
        match fault:
            case "closed":
                await sim.close_sockets()
            case "cut":
                sim.abort_sockets()
            case _:
                await sim.push("SYSTEM", "disconnect", {"reason": "x"})
        await sim.until(lambda: sim.connections > before)
        await sim.press(li, receipt.id, "ack:1")
        await sim.submit(li, receipt.id, "form:1", {"why": "慢"})
    async with client() as ding:
        events = await heard(ding, 2)
        assert [type(one) for one in events] == [Click, Submission]
        assert isinstance(events[1], Submission)
        assert dict(events[1].values) == {"why": "慢"}
    await sim.stop()


# -- how soon a link is back ---------------------------------------------------------------------


class Noted(HandClock):
    """Notes the pauses before each new try, and lets the rest of the loop run meanwhile."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


async def test_a_closed_link_is_back_within_five_seconds(tmp_path: Path) -> None:
    """Fifty closes of each platform: no pause before the next try is longer, and every one succeeds."""
    clock = Noted()
    async with (
        FeishuSim(clock) as sim,
        Feishu(sim.app_id, Secret(sim.secret), clock=clock, base_url=sim.base_url),
    ):
        await sim.until(lambda: bool(sim.links))
        for made in range(2, 52):
            await sim.close_links()
            await sim.until(lambda made=made: sim.calls["GET /ws"] == made and bool(sim.links))  # type: ignore[misc]
    assert len(clock.slept) >= 50
    assert max(clock.slept) < 5

    clock = Noted()
    far = DingTalkSim(now=clock.now, qps=1000)
    await far.start()
    async with DingTalk(
        far.client_id,
        Secret(far.secret),
        robot_code=far.robot,
        state=tmp_path / "d.sqlite",
        clock=clock,
        api_url=far.url,
        oapi_url=far.url,
    ):
        for made in range(1, 51):
            await far.until(lambda made=made: far.connections == made)  # type: ignore[misc]
            await far.close_sockets()
        await far.until(lambda: far.connections == 51)
    await far.stop()
    assert len(clock.slept) >= 50
    assert max(clock.slept) < 5


def test_a_half_open_link_is_back_within_a_minute() -> None:
    """Ping, the wait for its answer, the close, the pause: the sum of what production sets. (That each
    of them is heeded is seen in the links' own tests, with shorter ones.)"""
    feishu = BEAT + BEAT + BEAT / 4 + max(pause(1, chance) for chance in (0.0, 1.0))
    dingtalk = socket.PING + socket.PING + 2 + socket.FIRST_PAUSE
    assert feishu < 60
    assert dingtalk < 60

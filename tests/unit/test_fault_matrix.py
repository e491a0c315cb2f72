"""Whatever a platform does to whatever is said: through the outbox to its end, and what the ledger
then says. Nothing is lost, nothing is there twice where a key is in force, elsewhere it is in doubt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.card import Card, dumps, say
from adapters.port import InDoubt, Permanent, Transient
from adapters.words import Chat
from bot.sender import DOUBTED, Sender
from storage.records import Delivery, DeliveryState, Lane
from storage.store import Store, Unit
from storage.vault import Seal
from tests import blank
from tests.conftest import HandClock
from tests.sim.dingtalk import Wrong
from tests.sim.feishu import Fault
from tests.sim.place import Enter, Place
from tests.sim.places import (
    SlackPlace,
    in_dingtalk,
    in_feishu,
    in_slack,
    in_wecom,
    in_wecom_with_app,
)
from tests.sim.slack import UPDATES, SimClock

SOON = 0.3
"""Seconds of patience with a far side that says nothing."""
SENT, DOUBT, FAILED = DeliveryState.SENT, DeliveryState.DOUBT, DeliveryState.FAILED


def patient() -> SimClock:
    """Return a clock on which a pause is over at once, and what is to last lasts."""
    clock = SimClock()
    clock.quick = 15.0
    return clock


@dataclass(frozen=True)
class World:
    """A platform, what can go wrong there with what, and where that leaves a doubt."""

    enter: Enter
    clock: Callable[[], HandClock | SimClock]
    deeds: Mapping[str, str]
    """What the sender does -> the call of it that goes wrong."""
    faults: Sequence[Any]
    opening: Mapping[str, str]
    """Calls by which a group is made, likewise."""
    refusals: Collection[Any] = ()
    """For a person to mend: nothing is done, and the reason is in the ledger."""
    otherwise: Collection[str] = ()
    """Deeds that are then done in another way: a card that cannot be redrawn is posted anew."""
    keyless: Collection[str] = ()
    """Deeds without an idempotency key at the platform."""
    unseen: Collection[Any] = ()
    """Faults after which nobody can tell whether such a deed was done."""
    harmless: Collection[tuple[str, Any]] = ()
    """Where a fault is none, for a good answer has nothing in it."""


IM = "/open-apis/im/v1/"
FEISHU = World(
    in_feishu,
    HandClock,
    {
        "send": f"POST {IM}messages",
        "alarm": f"POST {IM}messages",
        "edit": f"PATCH {IM}messages",
        "upload": f"POST {IM}files",
        "upload-post": f"POST {IM}messages",
        "ring": f"POST {IM}messages",
        "ring-urgent": "urgent_app",
    },
    # A missing permission is for a person to mend, and HANGS is what SILENT is, less the deed.
    [one for one in Fault if one not in {Fault.DENIED, Fault.HANGS}],
    {"chats": f"POST {IM}chats", "members": "/members"},
    harmless=[(deed, Fault.SENSELESS) for deed in ("edit", "ring-urgent", "members")],
)
DINGTALK = World(
    in_dingtalk,
    HandClock,
    {
        "send": "/v1.0/card/instances/createAndDeliver",
        "alarm": "/v1.0/card/instances/createAndDeliver",
        "edit": "/v1.0/card/instances",
        "upload": "/media/upload",
        "upload-post": "/v1.0/robot/groupMessages",
        "ring": "/v1.0/robot/ding",
    },
    list(Wrong),
    {"groups": "/v1.0/im/sceneGroups"},
    keyless={"upload-post", "ring"},
    unseen={Wrong.ERROR, Wrong.DROPPED, Wrong.LATE_ERROR, Wrong.HANG},
)
SLACK = World(
    in_slack,
    patient,
    {
        "send": "chat.postMessage",
        "alarm": "chat.postMessage",
        "edit": "chat.update",
        "upload": "files.getUploadURLExternal",
        "upload-post": "files.completeUploadExternal",
        "ring": "conversations.open",
        "ring-post": "chat.postMessage",
    },
    [
        *("429", "ratelimited", "service_unavailable", "500", "internal_error"),
        *("lost", "silent", "gone", "late", "404", "missing_scope", "invalid_auth"),
    ],
    {
        "create": "conversations.create",
        "purpose": "conversations.setPurpose",
        "members": "conversations.invite",
    },
    refusals={"404", "missing_scope", "invalid_auth"},
    otherwise={"edit"},
    keyless={"send", "alarm", "upload-post", "ring-post", "create"},
    unseen={"500", "internal_error", "gone", "late"},  # what is lost or silent is looked up
)
WECOM = World(
    in_wecom,
    patient,
    {
        "send": "aibot_send_msg",
        "alarm": "aibot_send_msg",
        "edit": "aibot_send_msg",  # said anew
        "upload": "aibot_upload_media_init",
        "upload-piece": "aibot_upload_media_chunk",
        "upload-end": "aibot_upload_media_finish",
        "upload-post": "aibot_send_msg",
        "ring": "aibot_send_msg",
    },
    [45009, -1, 846609, 40201, "lost", "closed", "gone", "cut"],
    {},
    refusals={40201},
    keyless={"send", "alarm", "edit", "upload-post", "ring"},
    unseen={"lost", "closed", "gone", "cut"},
)
WECOM_APP = World(
    in_wecom_with_app,
    patient,
    {},
    [45009, -1, 42001, "500", "lost", "gone"],
    {"appchat": "appchat/create", "token": "gettoken"},
)
WORLDS = {"feishu": FEISHU, "dingtalk": DINGTALK, "slack": SLACK, "wecom": WECOM}


def faults(world: World, deed: str) -> list[Any]:
    return [one for one in world.faults if (deed, one) not in world.harmless]


def ending(world: World, deed: str, fault: Any) -> DeliveryState:
    """Return how a deed must end."""
    if fault in world.refusals:
        return SENT if deed in world.otherwise else FAILED
    return DOUBT if deed in world.keyless and fault in world.unseen else SENT


async def to_its_end(
    sender: Sender, store: Store, clock: HandClock | SimClock, chat: Chat
) -> list[Delivery]:
    """Drain at each instant at which something is due, until nothing waits; return the ledger of a
    chat, the oldest first."""
    for _ in range(40):
        await sender.drain()
        async with store.view() as unit:
            ledger = [one for one in await unit.outbox.latest(500) if one.chat == chat]
        waiting = [one for one in ledger if one.state is DeliveryState.WAITING]
        if not waiting:
            return sorted(ledger, key=lambda one: one.id)
        due = [one.due for one in waiting if one.due]
        seconds = max(1.0, (min(due) - clock.now()).total_seconds()) if due else 5.0
        if isinstance(clock, SimClock):
            clock.move(seconds)
        else:
            await clock.sleep(seconds)
    raise AssertionError(ledger)


class Told:
    """A bot that says things in a place, and its ledger."""

    def __init__(self, place: Place, store: Store, clock: HandClock | SimClock) -> None:
        self.place, self.store, self.clock = place, store, clock
        self.text: dict[str, str] = {}
        self.sender = Sender(store, {place.platform.name: place.platform}, self._draw, clock)

    async def _draw(self, key: str, unit: Unit) -> Card:
        return say(self.text[key], self.text[key])

    async def living(self, key: str, chat: Chat, text: str) -> list[Delivery]:
        """Have a living card show a text."""
        self.text[key] = text
        async with self.store.unit() as unit:
            await unit.outbox.mark(key, chat, self.clock.now())
        return await to_its_end(self.sender, self.store, self.clock, chat)

    async def entry(self, key: str, chat: Chat, **more: Any) -> list[Delivery]:
        """Put one entry into the outbox and see it through."""
        now = self.clock.now()
        bare = Delivery(0, key, chat, Lane.NORMAL, DeliveryState.WAITING, now)
        async with self.store.unit() as unit:
            await unit.outbox.put(replace(bare, **more))
        return await to_its_end(self.sender, self.store, self.clock, chat)

    async def do(self, deed: str, key: str, chat: Chat) -> list[Delivery]:
        match deed.partition("-")[0]:
            case "send":
                return await self.entry(key, chat, card=dumps(say("新")))
            case "alarm":
                return await self.entry(key, chat, card=dumps(say("新")), lane=Lane.ALARM)
            case "edit":
                return await self.living(key, chat, "改")
            case "upload":
                return await self.entry(key, chat, file_name="a.txt", file=b"1")
            case _:
                return await self.entry(key, chat, card=dumps(Card(key)), ring=self.place.li)


SHOWN = {"send": "新", "alarm": "新", "edit": "改", "upload": "a.txt"}


def check(
    world: World, told: Told, deed: str, fault: Any, key: str, ledger: list[Delivery]
) -> None:
    """Look at the chat, at Li's phone and at the ledger after one case."""
    place, chat = told.place, ledger[0].chat
    kind, end, case = deed.partition("-")[0], ending(world, deed, fault), f"{deed} {fault!r}"
    mine = next(one for one in ledger if one.key == (f"{key}#2" if kind == "edit" else key))
    assert mine.state is end, f"{case}: {ledger}"
    assert end is SENT or mine.reason, case
    seen = place.seen(chat)
    if kind == "ring":
        rung = sum(key in one for one in place.rung())
        assert rung == (end is SENT) or (end is DOUBT and rung == 1), case
        assert seen == [], case
        return
    once = [SHOWN[kind]] if end is SENT else []
    if kind == "edit" and not (place.platform.can.can_edit and fault not in world.refusals):
        once = ["旧", *once]  # what can no longer be edited is said anew
    marked = [f"{SHOWN[kind]}{DOUBTED}"] if kind in {"alarm", "edit"} and end is DOUBT else []
    possible = [once] if end is not DOUBT else [once, [*once, SHOWN[kind]]]
    assert sorted(seen) in [sorted([*one, *marked]) for one in possible], f"{case}: {seen}"


@pytest.mark.parametrize(
    ("world", "deed"),
    [(world, deed) for world in WORLDS.values() for deed in world.deeds],
    ids=[f"{name}-{deed}" for name, world in WORLDS.items() for deed in world.deeds],
)
async def test_what_is_said_ends_once_or_in_doubt(world: World, deed: str, tmp_path: Path) -> None:
    """Each misbehaviour in turn, each in a chat of its own."""
    clock = world.clock()
    url = blank.sqlite(tmp_path / "b.sqlite")
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store(url, Seal(Seal.new_key())))
        place = await stack.enter_async_context(world.enter(tmp_path, clock, SOON))
        told = Told(place, store, clock)
        for number, fault in enumerate(faults(world, deed)):
            chat, key = await place.room(f"客户{number}"), f"deed{number}!"
            if deed == "edit":
                await told.living(key, chat, "旧")
            place.wrong(world.deeds[deed], fault)
            ledger = await told.do(deed, key, chat)
            place.land()
            check(world, told, deed, fault, key, ledger)


GROUPS = {**WORLDS, "wecom-app": WECOM_APP}


@pytest.mark.parametrize(
    ("world", "call"),
    [(world, call) for world in GROUPS.values() for call in world.opening],
    ids=[f"{name}-{call}" for name, world in GROUPS.items() for call in world.opening],
)
async def test_a_group_is_made_once(world: World, call: str, tmp_path: Path) -> None:
    """Asked for again with the same key until it is there: there is one, and the bot can speak in
    it. What is for a person to mend is said, and made when it is mended."""
    clock = world.clock()
    async with world.enter(tmp_path, clock, SOON) as place:
        for number, fault in enumerate(faults(world, call)):
            title = f"客户{number}"
            place.wrong(world.opening[call], fault)
            chat, met = await insisted(place, title, clock)
            assert (Permanent in met) == (fault in world.refusals), (call, fault, met)
            doubtful = call in world.keyless and fault in world.unseen
            assert (InDoubt in met) == doubtful, (call, fault, met)
            assert place.groups(title) == 1, (call, fault)
            await place.platform.send(chat, say("到齐"), key=title)
            assert place.seen(chat)[-1] == "到齐"


async def insisted(
    place: Place, title: str, clock: HandClock | SimClock
) -> tuple[Chat, list[type[Exception]]]:
    """Ask for a group until it is there; return it and what came in between."""
    met: list[type[Exception]] = []
    people = [place.li, *place.others]
    for _ in range(4):
        try:
            return await place.platform.open_chat(title, people, key=title), met
        except Transient as error:
            met.append(Transient)
            if isinstance(clock, SimClock):
                clock.move(error.retry_after or 1.0)
            else:
                await clock.sleep(error.retry_after or 1.0)
        except (InDoubt, Permanent) as error:
            met.append(type(error))
            place.land()
    raise AssertionError(met)


async def test_where_the_bot_makes_no_group_people_are_told_how(tmp_path: Path) -> None:
    """WeCom without an app: refused before anything is asked, with the way to do it."""
    async with in_wecom(tmp_path, patient(), SOON) as place:
        for _ in range(2):
            with pytest.raises(Permanent, match="/bind"):
                await place.platform.open_chat("客户甲", [place.li], key="1")
        assert place.groups("客户甲") == 0


async def test_slack_redraws_in_time_what_does_not_fit_a_minute(tmp_path: Path) -> None:
    """Fifty redrawings a minute are a whole workspace's: of sixty customers' cards that change at
    once the rest waits as long as Slack says, and each is drawn in the end, none said anew. An alarm
    is posted meanwhile, which is another method with a measure of its own."""
    clock = patient()
    async with AsyncExitStack() as stack:
        url = blank.sqlite(tmp_path / "b.sqlite")
        store = await stack.enter_async_context(Store(url, Seal(Seal.new_key())))
        place = await stack.enter_async_context(in_slack(tmp_path, clock, 5.0))
        assert isinstance(place, SlackPlace)
        told = Told(place, store, clock)
        names = [place.sim.channel(f"c{number}", place.li.id) for number in range(60)]
        chats = [Chat("slack", name) for name in names]
        for text in ("旧", "新"):
            clock.move(60)
            async with store.unit() as unit:
                for chat in chats:
                    told.text[chat.id] = text
                    await unit.outbox.mark(chat.id, chat, clock.now())
            await told.sender.drain()
        assert 0 < place.sim.limited.count("chat.update") == 60 - UPDATES
        late = next(chat for chat in chats if place.seen(chat) == ["旧"])
        (alarm,) = [
            one
            for one in await told.entry("P1", late, card=dumps(say("P1")), lane=Lane.ALARM)
            if one.key == "P1"
        ]
        assert alarm.state is SENT
        began = clock.now()
        while any(place.seen(chat)[0] == "旧" for chat in chats):
            clock.move(2)
            await told.sender.drain()
            assert clock.now() - began < timedelta(minutes=1)
        assert [place.seen(chat)[0] for chat in chats] == ["新"] * 60
        assert sum(len(place.seen(chat)) for chat in chats) == 61
        assert set(place.sim.limited) == {"chat.update"}

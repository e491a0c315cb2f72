"""Two replicas of the bot on one database: WeCom has one connection for both, and each chat one speaker."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from inspect import isawaitable
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapters.card import Button, Buttons, Card, Form, Input, Text, dumps, say
from adapters.port import InDoubt, Permanent, Transient
from adapters.wecom.link import WeCom
from adapters.wecom.socket import PING, STANDBY
from adapters.words import Chat, Click, Secret, Submission
from bot.sender import ASK_TURN, Sender
from storage.records import Delivery, DeliveryState, Lane
from storage.replicas import AHEAD, TERM, Lease, Shared, Turns
from storage.store import Store, Unit
from tests.sim.slack import SimClock
from tests.sim.wecom import BOT_ID, NAME, SECRET, WeComSim
from tests.unit.test_sender import Paper

FORM = Form("run|skip|7", (Input("reason", "原因", required=True),), "跳过这一步")
CARD = Card("等待签字", blocks=(Text("请签字"), Buttons((Button("签字", "sign|7"),)), FORM))


@dataclass
class Replica:
    """One of them: its link, its sender, and its own file."""

    link: WeCom
    sender: Sender
    lease: Lease


class Pair:
    """An enterprise, two replicas that share a store and a clock, and Li in a group."""

    def __init__(self, sim: WeComSim, store: Store, clock: SimClock, folder: Path) -> None:
        self.sim = sim
        self.store = store
        self.clock = clock
        self.folder = folder
        self.li = sim.user("Li")
        self.room = sim.found("客户甲", self.li)
        self.chat = Chat("wecom", self.room.id)
        self.one, self.two = self.new("one"), self.new("two")

    def new(self, name: str) -> Replica:
        lease = Lease(self.store, f"wecom:{BOT_ID}", name, self.clock)
        link = WeCom(
            BOT_ID,
            Secret(SECRET),
            state=self.folder / f"{name}.sqlite",
            clock=self.clock,
            ws_url=self.sim.ws_url,
            public_url="http://bot",
            lease=lease,
            shared=Shared(self.store, "wecom"),
            ack=2.0,
        )

        async def draw(key: str, unit: Unit) -> Card:
            return say(key)

        return Replica(link, Sender(self.store, {"wecom": link}, draw, self.clock), lease)

    async def put(self, key: str, lane: Lane = Lane.ALARM) -> None:
        now, state = self.clock.now(), DeliveryState.WAITING
        async with self.store.unit() as unit:
            await unit.outbox.put(
                Delivery(0, key, self.chat, lane, state, now, card=dumps(say(key)))
            )

    async def entry(self, key: str) -> Delivery:
        async with self.store.view() as unit:
            found = await unit.outbox.by_key(key)
        assert found
        return found

    async def until(
        self, true: Callable[[], bool | Awaitable[bool]], pause: float = math.inf
    ) -> None:
        """Let the loop run until something is so, and each such pause be over as soon as it began."""
        async with asyncio.timeout(5):
            for _ in itertools.count():
                said = true()
                if await said if isawaitable(said) else said:
                    return
                self.clock.move(pause if pause in self.clock.sleeping else 0)
                await asyncio.sleep(0)

    async def asked(self, text: str = "/status") -> None:
        """Have Li ask in the group, and the one who listens take it."""
        await self.sim.say(self.li, self.room.id, f"@{NAME} {text}")
        listening = self.one if self.one.link.speaks else self.two
        async with asyncio.timeout(5):
            await anext(listening.link.events())

    async def die(self, replica: Replica) -> None:
        """Kill it: nothing is given up, nothing is written any more."""
        running = replica.link._running
        assert running
        running.cancel()
        await asyncio.wait({running})

    def texts(self) -> list[str]:
        return self.sim.texts(self.room.id)


@pytest.fixture
async def pair(store: Store, tmp_path: Path) -> AsyncIterator[Pair]:
    clock = SimClock()
    async with WeComSim(clock.now) as sim:
        pair = Pair(sim, store, clock, tmp_path)
        async with pair.one.link, pair.two.link:
            yield pair


async def test_one_connects_and_it_alone_speaks(pair: Pair) -> None:
    """The other's sender finds the entry, and leaves it as it is: no try, no failure, no doubt."""
    assert (pair.one.link.speaks, pair.two.link.speaks, pair.sim.dialled) == (True, False, 1)
    await pair.asked()
    await pair.put("P1")
    before = await pair.entry("P1")
    assert await pair.two.sender.drain() == 0
    assert await pair.entry("P1") == before
    assert await pair.one.sender.drain() == 1
    assert await pair.two.sender.drain() == 0
    assert pair.texts() == ["【P1】"]
    assert (await pair.entry("P1")).state is DeliveryState.SENT


async def test_both_senders_at_once_say_everything_once(pair: Pair) -> None:
    await pair.asked()
    for number in range(8):
        await pair.put(f"P{number}")
    await asyncio.gather(pair.one.sender.drain(), pair.two.sender.drain())
    assert pair.texts() == [f"【P{number}】" for number in range(8)]


async def test_who_leaves_is_followed_at_once(pair: Pair) -> None:
    """The lease is given up, so the other need not wait for its end. It may speak where people have
    spoken to the first only."""
    await pair.asked()
    await pair.one.link.__aexit__(None, None, None)
    await pair.put("P1")
    await pair.until(lambda: STANDBY in pair.clock.sleeping)
    pair.clock.move(STANDBY)
    await pair.until(pair.two.link._socket.ready.is_set)
    await pair.two.sender.drain()
    assert pair.texts() == ["【P1】"]


async def test_who_is_killed_is_followed_when_its_time_is_over(pair: Pair) -> None:
    await pair.asked()
    await pair.die(pair.one)
    began = pair.clock.now()
    await pair.until(pair.two.link._socket.ready.is_set, pause=STANDBY)
    waited = pair.clock.now() - began
    assert timedelta(seconds=60) <= waited <= timedelta(seconds=90 + STANDBY)
    await pair.put("P1")
    await pair.two.sender.drain()
    assert pair.texts() == ["【P1】"]


async def test_who_comes_back_from_the_dead_need_not_wait(pair: Pair) -> None:
    """Its name is kept in its data folder, so the lease of the process that was killed is its own."""
    await pair.die(pair.one)
    again = pair.new("one")
    async with again.link:
        assert again.link.speaks
        assert again.link._socket.ready.is_set()


async def test_a_press_on_a_card_that_the_other_drew_is_taken(pair: Pair) -> None:
    await pair.asked()
    receipt = await pair.one.link.send(pair.chat, CARD, key="1")
    await pair.one.link.__aexit__(None, None, None)
    await pair.until(pair.two.link._socket.ready.is_set, pause=STANDBY)
    await pair.sim.press(pair.li, pair.room.id, f"{receipt.id}-0", "b:sign|7")
    async with asyncio.timeout(5):
        pressed = await anext(pair.two.link.events())
    assert isinstance(pressed, Click)
    assert pressed.action == "sign|7"


async def test_a_form_that_the_other_opened_is_sent_once(pair: Pair) -> None:
    """Whoever balances the web's load may lead the presser to any of the two."""
    await pair.asked()
    receipt = await pair.one.link.send(pair.chat, CARD, key="1")
    await pair.sim.press(pair.li, pair.room.id, f"{receipt.id}-0", "f:run|skip|7")
    async with asyncio.timeout(5):
        await pair.sim.updated.wait()
    card = pair.sim.card(pair.li, pair.room.id, f"{receipt.id}-0")
    token = card["jump_list"][0]["url"].rpartition("/")[2]
    assert await pair.two.link.asked(token) == FORM
    sending = asyncio.create_task(pair.two.link.filled(token, {"reason": "演练"}, ()))
    async with asyncio.timeout(5):
        sent = await anext(pair.two.link.events())
    assert isinstance(sent, Submission)
    await pair.two.link.answer(sent, "已收到", ok=True)
    assert await sending == (True, "已收到")
    assert not (await pair.one.link.filled(token, {"reason": "又一次"}, ()))[0]


async def test_what_was_in_doubt_stays_in_doubt_for_the_next(pair: Pair) -> None:
    """The first did not hear whether it was said: the second must not simply say it again."""
    await pair.asked()
    pair.sim.misbehave("aibot_send_msg", "lost")
    with pytest.raises(InDoubt):
        await pair.one.link.send(pair.chat, say("一"), key="1")
    await pair.one.link.__aexit__(None, None, None)
    await pair.until(pair.two.link._socket.ready.is_set, pause=STANDBY)
    with pytest.raises(InDoubt):
        await pair.two.link.send(pair.chat, say("一"), key="1")
    assert pair.texts() == ["【一】"]


async def test_thrown_out_by_the_other_replica_is_no_alarm(pair: Pair) -> None:
    """Ours slept through the end of its lease (a machine that was suspended): it stands by, and a
    message that is due then is not refused for good."""
    await pair.asked()
    async with pair.store.unit() as unit:
        await unit.leases.give_up(f"wecom:{BOT_ID}", "one")
    pair.clock.move(STANDBY)
    await pair.until(pair.two.link._socket.ready.is_set)
    await pair.until(lambda: not pair.one.link.speaks)
    assert pair.one.link._socket.ended is None
    await pair.put("P1")
    await asyncio.gather(pair.one.sender.drain(), pair.two.sender.drain())
    assert pair.texts() == ["【P1】"]


@pytest.mark.parametrize("end", ["left", "killed"])
async def test_who_wakes_up_when_the_other_has_gone_takes_over_again(pair: Pair, end: str) -> None:
    """It slept for longer than its lease, the other held it meanwhile and threw it out, and is not
    there any more: that was no stranger, and the bot must not stand still for ever."""
    await pair.asked()
    asleep = pair.one.link._socket._ws
    assert asleep
    asleep.transport.pause_reading()
    async with pair.store.unit() as unit:
        await unit.leases.take(f"wecom:{BOT_ID}", "one", pair.clock.now(), pair.clock.now())
    pair.clock.move(STANDBY)
    await pair.until(pair.two.link._socket.ready.is_set)
    if end == "left":
        await pair.two.link.__aexit__(None, None, None)
    else:
        await pair.die(pair.two)
        pair.clock.move(TERM.total_seconds())
    asleep.transport.resume_reading()
    await pair.until(lambda: pair.sim.dialled == 3 and pair.sim.subscribed.is_set(), pause=STANDBY)
    assert pair.one.link._socket.ended is None
    await pair.until(pair.one.link._socket.ready.is_set)
    await pair.put("P1")
    await pair.one.sender.drain()
    assert pair.texts() == ["【P1】"]


async def test_thrown_out_by_a_stranger_keeps_the_other_from_the_quarrel(pair: Pair) -> None:
    """The lease is still ours, so it was none of us: both stay away until somebody has looked."""
    await pair.asked()
    await pair.sim.kick()
    await pair.until(lambda: pair.one.link._socket.ended is not None)
    for _ in range(10):
        await pair.until(lambda: PING in pair.clock.sleeping)
        pair.clock.move(PING)
    assert pair.sim.dialled == 1
    assert not pair.two.link.speaks
    with pytest.raises(Permanent, match="另一个程序"):
        await pair.one.link.send(pair.chat, say("一"), key="1")


async def test_a_database_that_fails_costs_no_connection_that_is_surely_ours(pair: Pair) -> None:
    """Without its table nothing can be asked. For half its time the lease counts, then the
    connection is let go; nobody's task dies, and when the table is there again so are we."""
    await pair.asked()
    await _sql(pair.store, "ALTER TABLE leases RENAME TO gone")
    assert await pair.one.lease.take()
    assert not await pair.two.lease.take()
    pair.clock.move((TERM - AHEAD).total_seconds() - 1)
    assert await pair.one.lease.take()
    pair.clock.move(1)
    assert not await pair.one.lease.take()
    await pair.until(lambda: not pair.sim.subscribed.is_set(), pause=PING)
    assert not pair.one.link.speaks
    await _sql(pair.store, "ALTER TABLE gone RENAME TO leases")
    await pair.until(pair.sim.subscribed.is_set, pause=STANDBY)
    assert pair.one.link.speaks != pair.two.link.speaks


async def test_a_slow_database_does_not_keep_the_pings(store: Store) -> None:
    """Somebody writes for long: the answer is what is known, and the late one counts afterwards."""
    clock = SimClock()
    lease = Lease(store, "wecom:x", "one", clock, within=0.05)
    async with store.unit():
        async with asyncio.timeout(2):
            assert not await lease.take()
    assert lease._asking
    await lease._asking
    async with store.unit():
        async with asyncio.timeout(2):
            assert await lease.take()
    await lease.give_up()


async def test_a_chat_that_cannot_be_shared_is_shared_with_its_next_word(pair: Pair) -> None:
    await _sql(pair.store, "ALTER TABLE platform_rows RENAME TO gone")
    await pair.asked()
    await pair.until(lambda: pair.chat.id not in pair.one.link._met)
    await _sql(pair.store, "ALTER TABLE gone RENAME TO platform_rows")
    await pair.asked("又一次")

    async def shared() -> bool:
        async with pair.store.view() as unit:
            return await unit.platforms.get("wecom", "chat", pair.chat.id) is not None

    await pair.until(shared)


class Two:
    """Two replicas of a bot on a platform that takes words from both, each with a link of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = SimClock()
        self.said: list[str] = []
        self.chat = Chat("paper", "g")
        self.papers = [Paper(), Paper()]
        self.turns = [Turns(store, name, self.clock) for name in ("one", "two")]
        self.senders = [
            Sender(store, {"paper": paper}, self.draw, self.clock, turns=turns)
            for paper, turns in zip(self.papers, self.turns, strict=True)
        ]

    async def draw(self, key: str, _: Unit) -> Card:
        return say(key)

    async def put(self, key: str) -> None:
        now, state = self.clock.now(), DeliveryState.WAITING
        async with self.store.unit() as unit:
            await unit.outbox.put(
                Delivery(0, key, self.chat, Lane.ALARM, state, now, card=dumps(say(key)))
            )

    def posts(self) -> list[list[str]]:
        return [list(paper.posts) for paper in self.papers]


async def test_where_both_could_speak_one_does(store: Store) -> None:
    """Slack, mail: neither knows what the other has just said, so each chat is one replica's while it
    speaks there, and what it has said is not said again by who comes after it."""
    two = Two(store)
    for number in range(4):
        await two.put(f"P{number}")
        await asyncio.gather(*(sender.drain() for sender in two.senders))
    first = 0 if two.papers[0].posts else 1
    assert two.posts()[first] == ["P0", "P1", "P2", "P3"]
    assert two.posts()[1 - first] == []
    await two.put("P4")
    await two.turns[first].__aexit__(None, None, None)
    two.clock.move(ASK_TURN.total_seconds())
    await two.senders[1 - first].drain()
    assert two.posts()[1 - first] == ["P4"]


async def test_who_cannot_speak_lets_the_other(store: Store) -> None:
    """One is killed, or its own way to the platform is broken: the other's may be open."""
    two = Two(store)
    await two.put("P0")
    await two.senders[0].drain()
    await two.put("P1")
    await two.senders[1].drain()
    assert two.posts() == [["P0"], []]
    two.papers[0].faults.append(Transient("连不上"))
    await two.senders[0].drain()
    two.clock.move(ASK_TURN.total_seconds())
    await two.senders[1].drain()
    await two.put("P2")
    two.clock.move(TERM.total_seconds() - 1)
    await two.senders[0].drain()
    assert two.posts() == [["P0"], ["P1"]]
    two.clock.move(ASK_TURN.total_seconds())
    await two.senders[0].drain()
    assert two.posts() == [["P0", "P2"], ["P1"]]


async def test_what_is_old_is_forgotten(store: Store) -> None:
    """By its kind: who has spoken never is."""
    clock, shared = SimClock(), Shared(store, "wecom")
    for kind in ("deed", "chat"):
        await shared.keep(kind, "k", json.dumps("old"), clock.now())
    clock.move(timedelta(days=31).total_seconds())
    await shared.forget({"deed": timedelta(days=30)}, clock.now())
    assert await shared.get("deed", "k") is None
    assert await shared.get("chat", "k")


async def _sql(store: Store, statement: str) -> None:
    async with store._begin() as connection:
        await connection.execute(sa.text(statement))

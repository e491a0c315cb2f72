"""The way out: order, back-off, doubt, and a living card that is never stale."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

import pytest

from adapters.card import Button, Buttons, Card, Fields, Form, Input, Table, Text, dumps, loads, say
from adapters.port import Capabilities, InDoubt, Permanent, Transient
from adapters.words import Chat, Click, Event, File, Person, Receipt, Submission
from bot.sender import DOUBTED, Sender
from storage.records import Delivery, DeliveryState, Lane
from storage.store import Store, Unit

GROUP = Chat("paper", "g1")


@dataclass
class Paper:
    """A small chat platform that keeps what was said, and fails when it is told to."""

    posts: dict[str, Card | str] = field(default_factory=dict)
    edits: int = 0
    faults: list[Exception] = field(default_factory=list)
    hang: asyncio.Event | None = None
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    said: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = "paper"
    can: Capabilities = field(default_factory=Capabilities)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def events(self) -> AsyncIterator[Event]:
        nobody: tuple[Event, ...] = ()
        for event in nobody:
            yield event

    async def answer(self, event: Click | Submission, text: str, *, ok: bool) -> None: ...

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self._fault()
        if self.hang and chat == GROUP:
            self.hung.set()
            await self.hang.wait()
        self.posts.setdefault(key, card)
        self.said.set()
        return Receipt(chat, key)

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._fault()
        self.posts[receipt.id] = card
        self.edits += 1
        return receipt

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        return Chat(self.name, key, title)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        self._fault()
        self.posts.setdefault(key, file.name)
        return Receipt(chat, key)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        self._fault()
        self.posts.setdefault(key, text)
        return Receipt(Chat(self.name, person.id), key)

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def sender(store: Store, paper: Paper, clock: Any) -> Sender:
    async def draw(key: str, unit: Unit) -> Card:
        living = await unit.outbox.living(key)
        assert living is not None
        return say(f"第 {living.version} 版")

    return Sender(store, {"paper": paper}, draw, clock)


def entry(at: datetime, key: str, lane: Lane = Lane.NORMAL, **more: Any) -> Delivery:
    card = dumps(say(key))
    return Delivery(0, key, GROUP, lane, DeliveryState.WAITING, at, card=card, **more)


async def put(store: Store, *entries: Delivery) -> None:
    async with store.unit() as unit:
        for each in entries:
            await unit.outbox.put(each)


async def found(store: Store, key: str) -> Delivery:
    async with store.view() as unit:
        delivery = await unit.outbox.by_key(key)
    assert delivery is not None
    return delivery


async def test_what_was_written_is_said_in_order_and_alarms_first(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    now = clock.now()
    ring = entry(now, "r", Lane.ALARM, ring=Person("paper", "li"))
    await put(store, entry(now, "a"), entry(now, "b"), ring)
    await put(store, entry(now, "f", file_name="合同.docx", file=b"PK"))
    assert await sender.drain() == 4
    assert list(paper.posts) == ["r", "a", "b", "f"]
    assert (await found(store, "a")).state is DeliveryState.SENT
    assert paper.posts["f"] == "合同.docx"


async def test_a_busy_platform_is_tried_again_when_it_said(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    paper.faults = [Transient("太快了", retry_after=30.0)]
    await put(store, entry(clock.now(), "a"), entry(clock.now(), "b"))
    await sender.drain()
    assert paper.posts == {}
    await clock.sleep(30)
    await sender.drain()
    assert list(paper.posts) == ["a", "b"]


async def test_a_chat_whose_platform_hangs_delays_no_other(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    """The second chat's entry is written while the first chat's platform does not answer."""
    paper.hang = asyncio.Event()
    await put(store, entry(clock.now(), "slow"))
    draining = asyncio.create_task(sender.drain())
    await paper.hung.wait()
    other = replace(entry(clock.now(), "quick"), chat=Chat("paper", "g2"))
    await put(store, other)
    async with asyncio.timeout(5):
        while "quick" not in paper.posts:
            await paper.said.wait()
    assert "slow" not in paper.posts
    paper.hang.set()
    assert await draining == 2


async def test_what_is_refused_is_kept_with_the_reason(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    paper.faults = [Permanent("机器人不在群里")]
    await put(store, entry(clock.now(), "a"), entry(clock.now(), "b"))
    await sender.drain()
    refused = await found(store, "a")
    assert (refused.state, refused.reason) == (DeliveryState.FAILED, "机器人不在群里")
    assert list(paper.posts) == ["b"]


async def test_in_doubt_an_alarm_is_said_again_and_marked_and_the_rest_is_not(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    paper.faults = [InDoubt("超时"), InDoubt("超时"), InDoubt("超时")]
    now = clock.now()
    await put(store, entry(now, "alarm", Lane.ALARM), entry(now, "note"))
    await sender.drain()
    assert paper.posts == {}
    assert (await found(store, "alarm~2")).state is DeliveryState.DOUBT

    await put(store, entry(now, "next", Lane.ALARM))
    paper.faults = [InDoubt("超时")]
    await sender.drain()
    (said,) = paper.posts.values()
    assert said == say("next" + DOUBTED)
    assert (await found(store, "note")).state is DeliveryState.DOUBT


async def test_a_living_card_is_posted_once_and_edited_after(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    for _ in range(3):
        async with store.unit() as unit:
            for _ in range(4):
                await unit.outbox.mark("run:r1", GROUP, clock.now())
        await sender.drain()
        await sender.drain()
        await clock.sleep(1)
    assert paper.posts == {"run:r1#1": say("第 12 版")}
    assert paper.edits == 2


async def test_a_fact_that_comes_while_the_card_is_drawn_is_drawn_too(
    store: Store, paper: Paper, clock: Any
) -> None:
    late = [True]

    async def draw(key: str, unit: Unit) -> Card:
        living = await unit.outbox.living(key)
        assert living is not None
        if late.pop() if late else False:
            async with store.unit() as other:
                await other.outbox.mark(key, GROUP, clock.now())
        return say(f"第 {living.version} 版")

    async with store.unit() as unit:
        await unit.outbox.mark("run:r1", GROUP, clock.now())
    sender = Sender(store, {"paper": paper}, draw, clock)
    await sender.drain()
    await clock.sleep(1)
    await sender.drain()
    assert paper.posts == {"run:r1#1": say("第 2 版")}


async def test_a_living_card_that_the_platform_lost_is_posted_anew(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    faults: list[list[Exception]] = [[], [Permanent("消息已被撤回")]]
    for fault in faults:
        async with store.unit() as unit:
            await unit.outbox.mark("run:r1", GROUP, clock.now())
        paper.faults = fault
        await clock.sleep(1)
        await sender.drain()
    assert paper.posts == {"run:r1#1": say("第 1 版"), "run:r1#2": say("第 2 版")}


async def test_progress_leaves_room_for_an_alarm(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    paper.can = Capabilities(per_chat_per_minute=10)
    now = clock.now()
    await put(store, *(entry(now, f"p{n:02}", Lane.PROGRESS) for n in range(12)))
    await sender.drain()
    assert len(paper.posts) == 6
    await put(store, *(entry(now, f"a{n}", Lane.ALARM) for n in range(5)))
    await sender.drain()
    assert [key for key in paper.posts if key.startswith("a")] == ["a0", "a1", "a2", "a3"]
    await clock.sleep(60)
    await sender.drain()
    assert list(paper.posts)[10] == "a4"
    assert len(paper.posts) == 16


async def test_a_living_card_is_not_drawn_twice_within_a_second(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    for _ in range(3):
        async with store.unit() as unit:
            await unit.outbox.mark("run:r1", GROUP, clock.now())
        await sender.drain()
    assert paper.posts == {"run:r1#1": say("第 1 版")}
    await clock.sleep(1)
    await sender.drain()
    assert paper.posts == {"run:r1#1": say("第 3 版")}


async def test_a_first_drawing_in_doubt_is_drawn_again_under_another_key(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    """A platform without idempotency keys would answer the same key with the same doubt."""
    async with store.unit() as unit:
        await unit.outbox.mark("run:r1", GROUP, clock.now())
    paper.faults = [InDoubt("超时")]
    await sender.drain()
    await clock.sleep(1)
    await sender.drain()
    assert paper.posts == {"run:r1#2": say("第 2 版")}


def test_a_card_comes_back_as_it_was_kept() -> None:
    card = Card(
        "标题",
        blocks=(
            Text("文字"),
            Fields((("公司", "海蓝"),)),
            Table(("主机",), (("web-01",),)),
            Buttons((Button("签收", "sign:1"),)),
            Form("intake", (Input("name", "公司名称", required=True),)),
        ),
    )
    assert loads(dumps(card)) == card
    assert loads(dumps(say("\ud83d 半个表情"))) == say("? 半个表情")

"""The way out: order, back-off, doubt, and a living card that is never stale."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

import pytest

from adapters.card import (
    Button,
    Buttons,
    Card,
    Checklist,
    Fields,
    Form,
    Input,
    Item,
    Mark,
    Progress,
    Table,
    Text,
    Tone,
    dumps,
    loads,
    plain,
    say,
)
from adapters.port import Capabilities, InDoubt, Permanent, Redraw, Transient
from adapters.words import Chat, Click, Event, File, Person, Receipt, Submission
from bot.sender import DOUBTED, Sender, no_paper
from runbooks.walk import OPERATIONS
from storage.records import Customer, Delivery, DeliveryState, Lane
from storage.store import Store, Unit

GROUP = Chat("paper", "g1")


@dataclass
class Paper:
    """A small chat platform that keeps what was said, and fails when it is told to."""

    posts: dict[str, Card | str] = field(default_factory=dict)
    edits: int = 0
    faults: list[Exception] = field(default_factory=list)
    lost: list[BaseException] = field(default_factory=list)
    """How the next posts end though they are done."""
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

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None: ...

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        if self.lost:
            self.posts.setdefault(key, card)
            raise self.lost.pop(0)
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


async def test_what_goes_by_a_channel_that_is_not_set_up_fails_with_its_name(
    store: Store, sender: Sender, clock: Any
) -> None:
    """A customer reads it: on their own card, and on the console."""
    mail = replace(entry(clock.now(), "a"), chat=Chat("mail", "ops@a.example"))
    await put(store, mail)
    await sender.drain()
    assert (await found(store, "a")).reason == "机器人没有启用「邮件」"


async def test_a_fault_of_ours_costs_one_message_and_not_the_process(
    store: Store, paper: Paper, clock: Any
) -> None:
    """A card that breaks its drawing is tried once more, then given up and told to operations; the
    other chats never wait."""
    ops = Chat("paper", "ops")

    async def draw(key: str, unit: Unit) -> Card:
        if key == "run:bad":
            raise ZeroDivisionError
        return say(key)

    sender = Sender(store, {"paper": paper}, draw, clock)
    async with store.unit() as unit:
        await unit.outbox.mark(OPERATIONS, ops, clock.now())
        await unit.outbox.mark("run:bad", GROUP, clock.now())
    await put(store, replace(entry(clock.now(), "other"), chat=Chat("paper", "g2")))
    await sender.drain()
    assert "other" in paper.posts
    assert (await found(store, "run:bad#1")).state is DeliveryState.WAITING
    await clock.sleep(1)
    await sender.drain()
    given_up = await found(store, "run:bad#1")
    assert given_up.state is DeliveryState.FAILED
    assert given_up.reason == "内部错误 ZeroDivisionError"
    assert "broken:run:bad#1" in paper.posts


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


@pytest.mark.parametrize(
    "how", [Transient("没有答复"), asyncio.CancelledError()], ids=["lost", "kill"]
)
async def test_a_card_whose_first_post_nobody_saw_shows_what_is_so_now(
    store: Store, sender: Sender, paper: Paper, clock: Any, how: BaseException
) -> None:
    """A platform that knows the key names the card that is there, as it was posted: what came since
    would be missing on it until the next fact, a button among it."""
    paper.lost = [how]
    async with store.unit() as unit:
        await unit.outbox.mark("run:r1", GROUP, clock.now())
    with suppress(asyncio.CancelledError):
        await sender.drain()
    assert paper.posts == {"run:r1#1": say("第 1 版")}
    async with store.unit() as unit:
        await unit.outbox.mark("run:r1", GROUP, clock.now())
    await clock.sleep(1)
    heir = Sender(store, {"paper": paper}, sender._draw, clock)
    await (heir if isinstance(how, asyncio.CancelledError) else sender).drain()
    assert paper.posts == {"run:r1#1": say("第 2 版")}


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
    assert [key for key in paper.posts if key.startswith("a")] == ["a0", "a1", "a2"]
    await clock.sleep(60)
    await sender.drain()
    assert list(paper.posts)[9:11] == ["a3", "a4"]
    assert len(paper.posts) == 15


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
    """A platform without idempotency keys would answer the same key with the same doubt. The new
    post says that it may be the second, until it is redrawn."""
    async with store.unit() as unit:
        await unit.outbox.mark("run:r1", GROUP, clock.now())
    paper.faults = [InDoubt("超时")]
    await sender.drain()
    await clock.sleep(1)
    await sender.drain()
    assert paper.posts == {"run:r1#2": say("第 2 版" + DOUBTED)}
    async with store.unit() as unit:
        await unit.outbox.mark("run:r1", GROUP, clock.now())
    await clock.sleep(1)
    await sender.drain()
    assert paper.posts == {"run:r1#2": say("第 3 版")}


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


# -- where nothing can be edited later --------------------------------------------------------------


@dataclass
class Spoken(Paper):
    """Paper on which nothing can be rubbed out; an answer that is still being said can go on."""

    streams: int = 0
    can: Capabilities = field(
        default_factory=lambda: Capabilities(can_edit=False, per_chat_per_minute=60)
    )

    async def open_stream(self, chat: Chat, card: Card, *, key: str) -> Receipt | None:
        if not self.streams:
            return None
        self.streams -= 1
        return await self.send(chat, card, key=key)

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        if not receipt.id.endswith("~stream"):
            raise Permanent("发出后不能修改")
        return await super().edit(receipt, card)


def walked(done: int, *more: Any, tone: Tone = Tone.WORKING) -> Card:
    """A procedure of which so many lines are done."""
    marks = [Mark.DONE if n < done else Mark.TODO for n in range(4)]
    items = tuple(Item(mark, f"第 {n} 步") for n, mark in enumerate(marks))
    return Card("接入", tone, (Progress(done, 4), Checklist(items), *more))


BUTTON = Buttons((Button("签收", "sign:1"),))


@dataclass
class Telling:
    """A procedure, told to a chat in which nothing can be edited."""

    store: Store
    paper: Spoken
    clock: Any
    card: Card = field(default_factory=lambda: walked(0))

    def __post_init__(self) -> None:
        async def draw(key: str, unit: Unit) -> Card:
            return self.card

        self.sender = Sender(self.store, {"paper": self.paper}, draw, self.clock)

    async def goes_on(self, card: Card, seconds: float = 2) -> list[str]:
        """Let something happen, and return what is then said anew."""
        before = dict(self.paper.posts)
        self.card = card
        async with self.store.unit() as unit:
            await unit.outbox.mark("run:r1", GROUP, self.clock.now())
        await self.clock.sleep(seconds)
        await self.sender.drain()
        posts = self.paper.posts
        return [
            plain(one)
            for key, one in posts.items()
            if before.get(key) != one and isinstance(one, Card)
        ]


@pytest.fixture
def telling(store: Store, clock: Any) -> Telling:
    return Telling(store, Spoken(), clock)


async def test_what_goes_on_is_gathered_into_a_digest(telling: Telling) -> None:
    """Three lines end within half a minute: one post, and it names those three alone."""
    assert await telling.goes_on(walked(1)) == [plain(walked(1))]
    assert await telling.goes_on(walked(2)) == []
    assert await telling.goes_on(walked(3)) == []
    (said,) = await telling.goes_on(walked(4), 30)
    assert said == "【接入】\n██████████ 4/4\n  ✅ 第 1 步\n  ✅ 第 2 步\n  ✅ 第 3 步"


async def test_a_digest_is_said_without_another_fact(telling: Telling) -> None:
    """The last line of all ends, and nothing more happens: it is told when its time comes."""
    await telling.goes_on(walked(1))
    assert await telling.goes_on(walked(2)) == []
    before = len(telling.paper.posts)
    await telling.clock.sleep(30)
    await telling.sender.drain()
    assert len(telling.paper.posts) == before + 1


async def test_waiting_for_a_digest_spends_nothing(telling: Telling) -> None:
    """Looking whether it is time is no message: of sixteen in a minute fifteen are still there."""
    await telling.goes_on(walked(1))
    telling.paper.can = replace(telling.paper.can, per_chat_per_minute=20)
    for _ in range(4):
        assert await telling.goes_on(walked(2), 6) == []
    await put(telling.store, *(entry(telling.clock.now(), f"a{n}") for n in range(16)))
    await telling.sender.drain()
    assert sum(key.startswith("a") for key in telling.paper.posts) == 15


async def test_what_somebody_must_do_is_said_at_once_and_anew(telling: Telling) -> None:
    """A gate, and then each signature at it, draws the card with its buttons anew."""
    await telling.goes_on(walked(1))
    (gate,) = await telling.goes_on(walked(2, Text("0 / 2 人"), BUTTON, tone=Tone.WARNING))
    assert gate.endswith("  ✅ 第 1 步\n0 / 2 人\n[签收](sign:1)")
    (signed,) = await telling.goes_on(walked(2, Text("1 / 2 人"), BUTTON, tone=Tone.WARNING))
    assert signed.endswith("1 / 2 人\n[签收](sign:1)")


async def test_a_fact_that_changes_nothing_is_not_said(telling: Telling) -> None:
    """A line that merely began is news to nobody."""
    await telling.goes_on(walked(1))
    begun = Checklist((Item(Mark.DONE, "第 0 步"), Item(Mark.DOING, "第 1 步")))
    assert await telling.goes_on(Card("接入", Tone.WORKING, (Progress(1, 4), begun)), 60) == []
    delivery = await found(telling.store, "run:r1#2")
    assert delivery.state is DeliveryState.SENT


async def test_while_a_stream_is_open_it_is_redrawn_in_place(telling: Telling) -> None:
    """Somebody has just asked: the answer goes on, until it is over or somebody must act."""
    telling.paper.streams = 1
    await telling.goes_on(walked(0))
    await telling.goes_on(walked(1), 5)
    assert list(telling.paper.posts) == ["run:r1#1~stream"]
    await telling.goes_on(walked(1, BUTTON, tone=Tone.WARNING), 5)
    assert list(telling.paper.posts) == ["run:r1#1~stream", "run:r1#3"]
    telling.paper.faults = [Permanent("流已结束")]
    await telling.goes_on(walked(3), 5)
    assert list(telling.paper.posts)[2:] == ["run:r1#4"]


async def test_an_overview_is_said_again_now_and_then(telling: Telling) -> None:
    """A card without steps is not repeated with each change of its table."""
    rows = [Card("一览", Tone.NEUTRAL, (Table(("客户",), ((name,),)),)) for name in "甲乙丙"]
    await telling.goes_on(rows[0])
    assert await telling.goes_on(rows[1], 30) == []
    assert await telling.goes_on(rows[2], 60) == ["【一览】\n客户\n丙"]


async def test_a_card_without_news_spends_nothing(telling: Telling) -> None:
    """Its turn comes again and again and nothing is said: all that may be said still may be."""
    await telling.goes_on(walked(1))
    telling.paper.can = replace(telling.paper.can, per_chat_per_minute=20)
    begun = Checklist((Item(Mark.DONE, "第 0 步"), Item(Mark.DOING, "第 1 步")))
    for _ in range(3):
        assert await telling.goes_on(Card("接入", Tone.WORKING, (Progress(1, 4), begun)), 31) == []
    before = len(telling.paper.posts)
    await put(telling.store, *(entry(telling.clock.now(), f"a{n}") for n in range(20)))
    await telling.sender.drain()
    assert len(telling.paper.posts) - before == 16


async def test_an_hour_has_its_own_limit(store: Store, paper: Paper, clock: Any) -> None:
    """Within each minute there is room, and yet the hour is spent."""
    paper.can = Capabilities(per_chat_per_minute=60, per_chat_per_hour=10)

    async def draw(key: str, unit: Unit) -> Card:
        return say(key)

    sender = Sender(store, {"paper": paper}, draw, clock)
    for n in range(10):
        await put(store, entry(clock.now(), f"n{n}"))
        await clock.sleep(60)
        await sender.drain()
    assert len(paper.posts) == 8
    await clock.sleep(3600)
    await sender.drain()
    assert len(paper.posts) == 10


async def test_what_takes_several_messages_is_charged_for_all(
    store: Store, paper: Paper, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card may be a text and its buttons: of sixteen that a minute has, eight cards take all."""
    paper.can = Capabilities(per_chat_per_minute=20)
    post = paper.send

    async def double(chat: Chat, card: Card, *, key: str) -> Receipt:
        return replace(await post(chat, card, key=key), messages=2)

    monkeypatch.setattr(paper, "send", double)
    await put(store, *(entry(clock.now(), f"a{n}") for n in range(20)))
    await Sender(store, {"paper": paper}, _nothing, clock).drain()
    assert len(paper.posts) == 8


@dataclass
class Held(Paper):
    """Paper with one connection, which another replica may take at any time."""

    speaks: bool = True

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self.speaks = False
        raise Transient("由另一个副本来发")


async def test_what_another_replica_has_taken_over_is_left_as_it_is(
    store: Store, clock: Any
) -> None:
    """The connection went while we spoke: the entry is the other's now, and so are its tries."""
    paper = Held()
    sender = Sender(store, {"paper": paper}, _nothing, clock)
    await put(store, entry(clock.now(), "a"), entry(clock.now(), "b"))
    before = await found(store, "a")
    assert await sender.drain() == 1
    assert await sender.drain() == 0
    assert await found(store, "a") == before


@dataclass
class Relaying(Paper):
    """Paper beside which our own people can be told; `relayed` is what they were."""

    relayed: list[str] = field(default_factory=list)
    deaf: list[Exception] = field(default_factory=list)

    async def relay(self, text: str, *, key: str) -> Receipt:
        if self.deaf:
            raise self.deaf.pop(0)
        self.relayed.append(text)
        return Receipt(Chat(self.name, "robot"), key)


async def test_an_alarm_that_its_chat_cannot_have_is_told_to_our_own_people(
    store: Store, clock: Any
) -> None:
    """It names the customer whose group it is, and the ledger says why. What is no alarm fails."""
    paper = Relaying(faults=[Permanent("没有和机器人说过话")] * 2)
    async with store.unit() as unit:
        await unit.customers.add(Customer(0, "甲公司", "jia", clock.now(), GROUP))
    await put(store, entry(clock.now(), "P1", Lane.ALARM), entry(clock.now(), "note"))
    await Sender(store, {"paper": paper}, _nothing, clock).drain()
    (said,) = paper.relayed
    assert "客户「甲公司」的群" in said
    assert "P1" in said
    alarm, note = await found(store, "P1"), await found(store, "note")
    assert (alarm.state, alarm.reason) == (
        DeliveryState.SENT,
        "已代发给内部人员：没有和机器人说过话",
    )
    assert note.state is DeliveryState.FAILED


@pytest.mark.parametrize(
    ("deaf", "state"),
    [
        (Permanent("没有设置"), DeliveryState.FAILED),
        (Transient("太快", retry_after=60), DeliveryState.WAITING),
        (InDoubt("超时"), DeliveryState.DOUBT),
    ],
)
async def test_where_they_cannot_be_told_the_alarm_ends_as_that(
    store: Store, clock: Any, deaf: Exception, state: DeliveryState
) -> None:
    paper = Relaying(faults=[Permanent("没有和机器人说过话")], deaf=[deaf])
    await put(store, entry(clock.now(), "P1", Lane.ALARM))
    await Sender(store, {"paper": paper}, _nothing, clock).drain()
    told = await found(store, "P1")
    assert told.state is state
    if state is DeliveryState.FAILED:
        assert told.reason == "没有和机器人说过话"


async def _nothing(key: str, unit: Unit) -> Card:
    raise AssertionError(key)


async def test_what_is_not_yet_due_holds_nothing_back(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    """Mentions that are gathered wait for their time, and the next alarm does not wait for them."""
    later = clock.now() + timedelta(seconds=10)
    await put(store, entry(clock.now(), "gathered", Lane.ALARM, due=later))
    await put(store, entry(clock.now(), "now", Lane.ALARM))
    await sender.drain()
    assert list(paper.posts) == ["now"]
    await clock.sleep(10)
    await sender.drain()
    assert list(paper.posts) == ["now", "gathered"]


async def test_an_urgent_mark_is_drawn_at_once_and_the_next_one_in_its_turn(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    async def mark(lane: Lane) -> None:
        async with store.unit() as unit:
            await unit.outbox.mark("storm:1", GROUP, clock.now(), lane=lane)
        await sender.drain()

    await mark(Lane.PROGRESS)
    await clock.sleep(0.1)
    await mark(Lane.PROGRESS)
    assert paper.edits == 0
    await mark(Lane.ALARM)
    assert paper.edits == 1
    await mark(Lane.PROGRESS)
    assert paper.edits == 1
    assert (await found(store, "storm:1#4")).lane is Lane.PROGRESS


async def test_a_mention_goes_before_the_card_that_shows_it(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    async with store.unit() as unit:
        await unit.outbox.mark("storm:1", GROUP, clock.now(), lane=Lane.ALARM)
    await put(store, entry(clock.now(), "mention", Lane.ALARM))
    await sender.drain()
    assert list(paper.posts) == ["mention", "storm:1#1"]


async def test_urgent_edits_leave_room_for_mentions(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    """Of twenty a minute fifteen may be spent on edits, and eighteen in all."""
    paper.can = Capabilities(per_chat_per_minute=20)
    for _ in range(30):
        async with store.unit() as unit:
            await unit.outbox.mark("storm:1", GROUP, clock.now(), lane=Lane.ALARM)
        await sender.drain()
        await clock.sleep(1)
    assert paper.edits + len(paper.posts) == 15
    await put(store, *(entry(clock.now(), f"a{n}", Lane.ALARM) for n in range(5)))
    await sender.drain()
    assert [key for key in paper.posts if key.startswith("a")] == ["a0", "a1", "a2"]


async def test_where_little_may_be_said_edits_are_spread_over_the_minute(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    paper.can = Capabilities(per_chat_per_minute=20)
    for _ in range(30):
        async with store.unit() as unit:
            await unit.outbox.mark("storm:1", GROUP, clock.now())
        await sender.drain()
        await clock.sleep(1)
    assert paper.edits == 5


@pytest.mark.parametrize("lane", [Lane.PROGRESS, Lane.ALARM])
async def test_what_comes_while_an_alarm_is_drawn_has_its_own_urgency(
    store: Store, paper: Paper, clock: Any, lane: Lane
) -> None:
    drawings = 0

    async def draw(key: str, unit: Unit) -> Card:
        nonlocal drawings
        drawings += 1
        if drawings == 1:
            await clock.sleep(0.1)
            async with store.unit() as writing:
                await writing.outbox.mark(key, GROUP, clock.now(), lane=lane)
        return say(f"第 {drawings} 次")

    async with store.unit() as unit:
        await unit.outbox.mark("storm:1", GROUP, clock.now(), lane=Lane.ALARM)
    await Sender(store, {"paper": paper}, draw, clock).drain()
    assert paper.edits == (1 if lane is Lane.ALARM else 0)


async def test_a_card_that_was_never_shown_can_be_taken_back(
    store: Store, sender: Sender, paper: Paper, clock: Any
) -> None:
    later = clock.now() + timedelta(seconds=3)
    async with store.unit() as unit:
        await unit.outbox.mark("incident:1", GROUP, clock.now(), due=later)
        assert await unit.outbox.withdraw("incident:1")
        assert not await unit.outbox.withdraw("incident:2")
        await unit.outbox.mark("incident:2", GROUP, clock.now())
    await clock.sleep(5)
    await sender.drain()
    assert list(paper.posts) == ["incident:2#1"]
    async with store.unit() as unit:
        await unit.outbox.mark("incident:2", GROUP, clock.now())
        assert not await unit.outbox.withdraw("incident:2")


async def test_a_paper_is_made_when_its_turn_comes(store: Store, clock: Any) -> None:
    """It is of that moment, made anew for each try, and kept nowhere; one that there is not fails."""
    made: list[str] = []
    paper = Paper(faults=[Transient("满了")])

    async def make(key: str, unit: Unit) -> File:
        if key != "alerts:1":
            return await no_paper(key, unit)
        made.append(key)
        return File(f"alerts-{len(made)}.txt", b"...")

    entry = Delivery(0, "k", GROUP, Lane.NORMAL, DeliveryState.WAITING, clock.now())
    async with store.unit() as unit:
        await unit.outbox.put(replace(entry, paper="alerts:1"))
        await unit.outbox.put(replace(entry, key="l", paper="alerts:2"))
    sender = Sender(store, {"paper": paper}, _nothing, clock, make)
    await sender.drain()
    await clock.sleep(60)
    await sender.drain()
    assert paper.posts == {"k": "alerts-2.txt"}
    async with store.view() as unit:
        sent, failed = await unit.outbox.by_key("k"), await unit.outbox.by_key("l")
    assert sent
    assert (sent.state, sent.file) == (DeliveryState.SENT, b"")
    assert failed
    assert (failed.state, failed.reason) == (DeliveryState.FAILED, "没有这份文件：alerts:2")

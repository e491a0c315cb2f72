"""A model sees a customer's alerts only where their own people, or the lead, have said yes on the card."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from adapters.card import Button, Buttons, Card, loads, plain
from adapters.documents import OfficeDocuments
from adapters.port import Answer
from adapters.ssh import SshKeys
from adapters.words import Chat, Click, Message, Person, Role, Secret
from bot.inbox import Inbox
from commands.contents import BOOK
from runbooks.alerting.triage import consent
from runbooks.case import Onboarding
from runbooks.kit import Errand, House, Kit
from runbooks.steps import acceptance
from storage.advice import CONSENT
from storage.records import Customer, Member, Tier
from storage.store import Store

GROUP = Chat("paper", "g1", "海蓝科技 监控交付")
LI = Person("paper", "li", "李工")
ZHAO = Person("paper", "zhao", "赵主管")
WANG = Person("paper", "wang", "王经理")
HOUSE = House(ai_url="https://models.example.com/v1", ai_model="sage-2", ai_key=Secret("k"))


class Room:
    """A customer's group, and the inbox that listens to it."""

    def __init__(self, store: Store, clock: Any) -> None:
        self.store, self.clock = store, clock
        self.house = HOUSE
        self.count = 0
        self.customer: Customer

    async def open(self) -> None:
        now = self.clock.now()
        async with self.store.unit() as unit:
            one = Customer(0, "海蓝科技", "hailan", now, GROUP, Tier.PRO)
            self.customer = await unit.customers.add(one)
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(ZHAO, Role.LEAD))
            await unit.people.put(Member(WANG, Role.CUSTOMER, self.customer.id))

    async def _take(self, event: Any) -> Card:
        async def go(run: object) -> None:
            raise AssertionError("consent walks nothing")

        documents = OfficeDocuments()
        inbox = Inbox(self.store, {}, self.clock, go, BOOK, documents, SshKeys(), house=self.house)
        await inbox.take(event)
        async with self.store.view() as unit:
            said = await unit.outbox.by_key(f"reply:paper:{event.id}")
        assert said
        return loads(said.card)

    async def say(self, text: str, by: Person = WANG) -> Card:
        self.count += 1
        event = Message(f"m{self.count}", GROUP, by, text, self.clock.now())
        return await self._take(event)

    async def press(self, card: Card, title: str, by: Person = WANG) -> Card:
        self.count += 1
        (button,) = (b for b in buttons(card) if b.label == title)
        return await self._take(Click(f"c{self.count}", GROUP, by, button.action, self.clock.now()))

    async def allowed(self) -> bool:
        async with self.store.view() as unit:
            choice = await unit.choices.get(self.customer.id, CONSENT)
        return consent.allowed(choice, self.house)

    async def deeds(self) -> list[tuple[str, str]]:
        async with self.store.view() as unit:
            return [(e.actor, e.deed) for e in await unit.audit.entries()]


def buttons(card: Card) -> list[Button]:
    return [b for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]


@pytest.fixture
async def room(store: Store, clock: Any) -> Room:
    room = Room(store, clock)
    await room.open()
    return room


async def test_nobody_agrees_to_what_they_were_not_shown(room: Room) -> None:
    """Even `/ai on` only shows the card: what is sent, what is not, to whom, and how to withdraw."""
    for asked in ("/ai", "/ai on", "/ai status"):
        card = await room.say(asked)
        assert not await room.allowed()
    text = plain(card)
    for said in ("发送什么", "不发送", "sage-2（models.example.com）", "/ai off", "还没有人决定"):
        assert said in text
    assert "海蓝" not in text


@pytest.mark.parametrize("who", [WANG, ZHAO])
async def test_the_customer_or_the_lead_says_yes_and_takes_it_back(room: Room, who: Person) -> None:
    """Each word of theirs is in the audit trail."""
    after = await room.press(await room.say("/ai"), "同意", who)
    assert await room.allowed()
    assert f"已允许（{who.name}" in plain(after)
    await room.press(after, "撤回同意", who)
    assert not await room.allowed()
    await room.press(await room.say("/ai"), "同意", who)
    await room.say("/ai off", who)
    assert not await room.allowed()
    deeds = ["ai-allow", "ai-withdraw"] * 2
    assert await room.deeds() == [(who.name, deed) for deed in deeds]


async def test_an_engineer_may_stop_it_and_not_begin_it(room: Room) -> None:
    """Who works for the provider does not consent for the customer."""
    refused = await room.press(await room.say("/ai"), "同意", LI)
    assert "由客户或负责人决定" in plain(refused)
    assert not await room.allowed()
    await room.press(await room.say("/ai"), "同意", WANG)
    await room.say("/ai off", LI)
    assert not await room.allowed()


async def test_a_model_elsewhere_is_another_question(room: Room) -> None:
    """A yes to one address is none to the next, and the old card's button is stale."""
    old = await room.say("/ai")
    await room.press(old, "同意")
    room.house = replace(HOUSE, ai_url="https://elsewhere.example.net/v1")
    assert not await room.allowed()
    assert "请重新决定" in plain(await room.say("/ai"))
    assert "已过期" in plain(await room.press(old, "同意"))
    assert not await room.allowed()


async def test_the_basic_tier_has_no_button_to_agree(room: Room) -> None:
    """It is a part of 专业版; a card from before the change of tier does not help."""
    old = await room.say("/ai")
    async with room.store.unit() as unit:
        await unit.customers.set_tier(room.customer.id, Tier.BASIC)
    assert buttons(await room.say("/ai")) == []
    assert "专业版" in plain(await room.press(old, "同意"))
    assert not await room.allowed()


async def test_the_onboarding_asks_once_and_not_who_has_decided(room: Room) -> None:
    """The step that tries the model puts the card into the group."""
    now = room.clock.now()
    async with room.store.unit() as unit:
        assert await consent.ask(room.customer.id, "r1:ai:consent", now, HOUSE, unit)
        assert await consent.ask(room.customer.id, "r1:ai:consent", now, HOUSE, unit)
    async with room.store.view() as unit:
        (entry,) = [e for e in await unit.outbox.heads(now) if e.key == "r1:ai:consent"]
    card = loads(entry.card)
    assert card == await room.say("/ai")
    await room.press(card, "不同意")
    async with room.store.unit() as unit:
        assert not await consent.ask(room.customer.id, "r2:ai:consent", now, HOUSE, unit)


def test_what_is_no_button_of_the_card_is_none() -> None:
    """Other buttons' words are left to others."""
    for text in ("", "ai", "ai|yes", "ai|maybe|host", "alert|ack|1|2", "run|yes|r|l|1"):
        assert consent.answered(text) is None
    answer = consent.answered("ai|no|models.example.com")
    assert answer == consent.Answer(yes=False, to="models.example.com")
    assert consent.answered(consent.action(cast("Any", answer))) == answer


async def test_the_step_that_tries_the_model_asks_the_customer(room: Room) -> None:
    """The sample it sends is nobody's; its proof says that the group was asked."""

    class Sample:
        name = "sage-2"

        async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
            assert "海蓝" not in question
            return Answer("先看日志。", self.name, 12)

    nobody = cast("Any", None)
    kit = Kit(room.clock, room.store, {}, nobody, nobody, nobody, HOUSE, Sample())
    case = Onboarding(room.customer.id, "海蓝科技", (), (), Tier.PRO)
    for proof in ("已在群里请客户决定", "已在群里请客户决定"):
        _, said = await acceptance.ai(case, Errand(kit, "r1", "ai"))
        assert f"先看日志；{proof}" in said
    async with room.store.view() as unit:
        entries = await unit.outbox.latest(10)
    assert [entry.key for entry in entries] == ["r1:ai:consent"]
    await room.press(loads(entries[0].card), "同意")
    _, said = await acceptance.ai(case, Errand(kit, "r2", "ai"))
    assert "决定" not in said

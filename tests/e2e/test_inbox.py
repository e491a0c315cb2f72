"""From a press in the web chat to the next line, and what is said to those who may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.card import Buttons, Card, Form, plain
from adapters.documents import OfficeDocuments
from adapters.ssh import SshKeys
from adapters.webchat.link import WebChat
from adapters.words import Chat, Click, Message, Person, Role
from bot.inbox import Inbox
from bot.sender import Sender
from commands.contents import BOOK as BOOK_OF_COMMANDS
from runbooks import walk as walking
from runbooks.book import Gate, Phase, Runbook, Step
from runbooks.cards import drawn
from runbooks.kit import Errand, Kit
from runbooks.onboarding import ONBOARDING
from runbooks.press import press
from storage.records import Customer, Member, Run, RunStatus
from storage.store import Store, Unit

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
WANG = Person("web", "wang", "王经理")


@dataclass(frozen=True, slots=True)
class Case:
    pass


async def ok(case: Case, errand: Errand) -> tuple[Case, str]:
    return case, "好"


BOOK: Runbook[Case] = Runbook(
    "sample",
    "客户接入",
    Case,
    (
        Phase("签约"),
        Gate("signed", "确认合同已签", Role.LEAD, timedelta(days=7)),
        Step("next", "下一步", ok),
    ),
)
BOOKS: dict[str, Runbook[Any]] = {"sample": BOOK, ONBOARDING.name: ONBOARDING}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[WebChat]:
    async with WebChat(tmp_path / "web.sqlite") as opened:
        yield opened


class House:
    """An inbox, a sender and a chat, wired as the roof wires them; the engine walks at once."""

    def __init__(self, store: Store, web: WebChat, clock: Any) -> None:
        self.store, self.web, self.clock = store, web, clock
        nobody = cast("Any", None)
        self.kit = Kit(clock, store, {"web": web}, nobody, nobody, OfficeDocuments())
        self.inbox = Inbox(
            store, BOOKS, clock, self.go, BOOK_OF_COMMANDS, OfficeDocuments(), SshKeys()
        )
        self.sender = Sender(store, {"web": web}, self.draw, clock)

    async def go(self, run: Run) -> None:
        await walking.walk(BOOKS, run.id, self.kit)

    async def draw(self, key: str, unit: Unit) -> Card:
        return await drawn(BOOKS, key.removeprefix("run:"), unit)

    async def begin(self) -> Chat:
        group = await self.web.open_chat("海蓝 监控交付", [LI, ZHAO, WANG], key="g")
        now = self.clock.now()
        async with self.store.unit() as unit:
            customer = await unit.customers.add(Customer(0, "海蓝", "hailan", now, group))
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(ZHAO, Role.LEAD))
            await unit.people.put(Member(WANG, Role.CUSTOMER, customer.id))
            run = Run("r1", "sample", customer.id, "", RunStatus.WALKING, 0, "{}", LI, now, now)
            await walking.start(BOOK, run, unit)
        await walking.walk(BOOKS, "r1", self.kit)
        await self.sender.drain()
        return group

    async def speak(self) -> int:
        """A second later, everything that is due goes out."""
        await self.clock.sleep(1)
        return await self.sender.drain()

    def button(self, group: Chat) -> tuple[str, str]:
        """Return the receipt and the action of the one button that is drawn."""
        ((post, action),) = [
            (post.id, button.action)
            for post in self.web.history(group)
            for block in (post.card.blocks if post.card else ())
            if isinstance(block, Buttons)
            for button in block.buttons
        ]
        return post, action

    def said(self, group: Chat) -> str:
        last = self.web.history(group)[-1].card
        assert last is not None
        return plain(last)


@pytest.fixture
def house(store: Store, web: WebChat, clock: Any) -> House:
    return House(store, web, clock)


async def test_the_lead_opens_the_gate_and_the_card_shows_it(house: House) -> None:
    group = await house.begin()
    receipt, action = house.button(group)
    click = await house.web.press(ZHAO, group, receipt, action)
    await house.inbox.take(click)
    await house.inbox.take(click)
    await house.speak()
    assert len(house.web.history(group)) == 1
    assert "2/2" in house.said(group)
    assert "✅ 确认合同已签（赵主管 确认）" in house.said(group)


@pytest.mark.parametrize("who", [LI, WANG])
async def test_who_may_not_is_told_who_may(house: House, who: Person) -> None:
    group = await house.begin()
    receipt, action = house.button(group)
    await house.inbox.take(await house.web.press(who, group, receipt, action))
    await house.speak()
    assert f"{who.name}：这一步需要负责人来操作" in house.said(group)
    async with house.store.view() as unit:
        run = await unit.runs.get("r1")
    assert run is not None
    assert run.status is RunStatus.WAITING


async def test_a_press_on_an_old_card_is_answered_as_such(house: House) -> None:
    group = await house.begin()
    _, action = house.button(group)
    now = house.clock.now()
    await house.inbox.take(Click("e1", group, ZHAO, action, now))
    await house.inbox.take(Click("e2", group, ZHAO, action, now))
    await house.speak()
    assert walking.STALE in house.said(group)


async def test_a_card_of_another_group_cannot_be_pressed_here(house: House) -> None:
    group = await house.begin()
    _, action = house.button(group)
    elsewhere = await house.web.open_chat("别家", [ZHAO], key="g2")
    await house.inbox.take(Click("e1", elsewhere, ZHAO, action, house.clock.now()))
    await house.speak()
    assert "不属于本群" in house.said(elsewhere)


async def test_a_command_is_obeyed_once_and_answered(house: House) -> None:
    group = await house.begin()
    message = await house.web.say(WANG, group, "／ｓｔａｔｕｓ")
    heard = Message(message.id, group, WANG, message.text, house.clock.now())
    await house.inbox.take(heard)
    await house.inbox.take(heard)
    await house.speak()
    assert len(house.web.history(group)) == 3
    assert "【客户接入 · 海蓝】" in house.said(group)
    assert "⏳ 确认合同已签" in house.said(group)


@pytest.mark.parametrize(
    ("who", "text", "said"),
    [
        (WANG, "/skip 不想等了", "负责人"),
        (ZHAO, "/skip", "/skip"),
        (LI, "/stauts", "/status"),
        (LI, "/retry", walking.STALE),
        (LI, "/bind 没有这家", "/onboard 没有这家"),
    ],
)
async def test_what_cannot_be_done_is_answered_with_what_to_type(
    house: House, who: Person, text: str, said: str
) -> None:
    group = await house.begin()
    await house.inbox.take(Message("m1", group, who, text, house.clock.now()))
    await house.speak()
    assert said in house.said(group)


async def test_a_line_is_skipped_with_its_reason_and_the_run_goes_on(house: House) -> None:
    group = await house.begin()
    message = Message("m1", group, ZHAO, "/skip 合同下周补签", house.clock.now())
    await house.inbox.take(message)
    await house.speak()
    async with house.store.view() as unit:
        run = await unit.runs.get("r1")
        trail = await unit.audit.entries()
        lines = await unit.lines.of("r1")
    assert run is not None
    assert run.status is RunStatus.DONE
    assert lines["signed"].note == "合同下周补签"
    assert [(entry.actor, entry.deed) for entry in trail] == [("赵主管", "skip")]


async def test_a_typed_onboard_becomes_a_group_with_a_contract(house: House) -> None:
    """The thinnest path: a form in the operations group, and a second sending of it."""
    ops = await house.web.open_chat("运营群", [LI, ZHAO], key="ops")
    async with house.store.unit() as unit:
        await unit.people.put(Member(LI, Role.ENGINEER))
    typed = Message("m1", ops, LI, "/onboard 海蓝科技", house.clock.now())
    await house.inbox.take(typed)
    await house.speak()
    form = house.web.history(ops)[-1]
    values = {
        "contacts": "王经理，13800000000",
        "servers": "web-01 10.0.0.1 22 root",
        "channels": "feishu",
    }
    sent = await house.web.submit(LI, ops, form.id, "onboard", values)
    await house.inbox.take(sent)
    again = await house.web.submit(LI, ops, form.id, "onboard", values)
    await house.inbox.take(again)
    await house.speak()
    assert "已经存在" in house.said(ops)
    (group,) = [g for g in house.web.chats(LI) if g.title == "海蓝科技 监控交付"]
    names = [file.name for post in house.web.history(group) for file in post.files]
    assert names == ["服务合同-海蓝科技.docx", "客户信息表-海蓝科技.xlsx"]
    async with house.store.view() as unit:
        (run,) = await unit.runs.open()
    assert (run.status, run.line) == (RunStatus.WAITING, "signed")


async def test_a_stuck_card_shows_its_log_and_takes_a_reason_to_skip(house: House) -> None:
    group = await house.begin()
    async with house.store.unit() as unit:
        run = await unit.runs.get("r1")
        assert run is not None
        stuck = replace(run, status=RunStatus.STUCK, note="连不上", updated_at=house.clock.now())
        await unit.runs.advance(run, stuck)
        await walking.mark(stuck, unit)
    await house.speak()
    card = house.web.history(group)[0]
    assert card.card is not None
    log, form = press_texts(card.card)
    await house.inbox.take(await house.web.press(LI, group, card.id, log))
    await house.speak()
    (file,) = house.web.history(group)[-1].files
    content = house.web.content(file.id, LI)
    assert content is not None
    assert "signed waiting" in content.content.decode()

    reason = {"reason": "合同下周补签"}
    await house.inbox.take(await house.web.submit(LI, group, card.id, form, reason))
    await house.speak()
    assert "需要负责人" in house.said(group)
    await house.inbox.take(await house.web.submit(ZHAO, group, card.id, form, reason))
    async with house.store.view() as unit:
        done = await unit.runs.get("r1")
    assert done is not None
    assert done.status is RunStatus.DONE


def press_texts(card: Card) -> tuple[str, str]:
    """Return the actions of the log button and of the form."""
    buttons = [b for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]
    (log,) = [b.action for b in buttons if b.label == "查看日志"]
    (form,) = [block.action for block in card.blocks if isinstance(block, Form)]
    return log, form


async def test_a_customer_may_act_only_in_their_own_group(house: House) -> None:
    await house.begin()
    elsewhere = await house.web.open_chat("别家", [WANG], key="g2")
    await house.inbox.take(Message("m1", elsewhere, WANG, "大家好", house.clock.now()))
    assert house.web.history(elsewhere) == ()
    await house.inbox.take(Message("m2", elsewhere, WANG, "/status", house.clock.now()))
    await house.speak()
    assert "您只能在贵公司自己的群里操作" in house.said(elsewhere)


async def test_people_may_talk_without_the_bot_answering(house: House) -> None:
    group = await house.begin()
    await house.inbox.take(Message("m1", group, WANG, "大家好", house.clock.now()))
    assert await house.speak() == 0


def test_what_is_no_button_of_a_run_is_none() -> None:
    for action in ("", "run|yes|r1|line", "run|yes|r1|line|²", "walk|yes|r1|line|1"):
        assert press(action) is None

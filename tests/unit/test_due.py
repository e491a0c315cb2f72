"""Phase 6 as it lives: what is due is asked for once a day, and a press ends it until next time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from adapters.card import Buttons, Card, plain
from adapters.documents import OfficeDocuments
from adapters.ssh import SshKeys
from adapters.words import Chat, Click, Person, Role
from bot import ticks
from bot.inbox import Inbox
from commands.contents import BOOK
from runbooks import due
from runbooks.duties import DUTIES, Duty, Rhythm, outstanding
from runbooks.kit import CHINA
from runbooks.walk import OPERATIONS
from storage.records import Customer, Member, Tier
from storage.store import Store

LI = Person("web", "li", "李工")
WANG = Person("web", "wang", "王经理")
OPS = Chat("web", "ops", "运营群")
GROUP = Chat("web", "g1", "海蓝")
BEGUN = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
WEEK_LATER = datetime(2026, 12, 2, 2, 0, tzinfo=UTC)
WEEKLY, MONTHLY = Duty("w", "周", Rhythm.WEEKLY), Duty("m", "月", Rhythm.MONTHLY)


async def serve(store: Store, *, tier: Tier = Tier.BASIC, service: bool = True) -> None:
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", BEGUN, GROUP, tier))
        other = await unit.customers.add(Customer(0, "新客", "new", BEGUN))
        assert other.in_service_since is None
        if service:
            await unit.customers.begin_service(customer.id, BEGUN)
        await unit.outbox.mark(OPERATIONS, OPS, BEGUN)
        await unit.people.put(Member(LI, Role.ENGINEER))


async def card(store: Store, day: date) -> Card:
    async with store.view() as unit:
        return await due.drawn(day, CHINA, unit)


def actions(card: Card) -> list[str]:
    return [b.action for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]


def inbox_of(store: Store, clock: Any) -> Inbox:
    async def go(run: object) -> None:
        raise AssertionError("a duty walks nothing")

    return Inbox(store, {}, clock, go, BOOK, OfficeDocuments(), SshKeys())


@pytest.mark.parametrize(
    ("duty", "done", "today", "since"),
    [
        (WEEKLY, None, "2026-12-01", None),
        (WEEKLY, None, "2026-12-02", "2026-12-02"),
        (WEEKLY, None, "2026-12-20", "2026-12-02"),
        (WEEKLY, "2026-12-02", "2026-12-08", None),
        (WEEKLY, "2026-12-04", "2026-12-09", "2026-12-09"),
        (MONTHLY, "2026-11-01", "2026-12-25", "2026-12-25"),
    ],
)
def test_a_duty_is_owed_until_it_is_done(
    duty: Duty, done: str | None, today: str, since: str | None
) -> None:
    last = date.fromisoformat(done) if done else None
    found = outstanding(duty, date(2026, 11, 25), last, date.fromisoformat(today))
    assert found == (date.fromisoformat(since) if since else None)


async def test_one_card_a_day_from_the_morning_on(store: Store) -> None:
    await serve(store)
    early = WEEK_LATER.replace(hour=0)
    assert not await ticks.ask_for_duties(early, CHINA, store)
    assert not await ticks.ask_for_duties(BEGUN.replace(day=30), CHINA, store)
    assert await ticks.ask_for_duties(WEEK_LATER, CHINA, store)
    assert not await ticks.ask_for_duties(WEEK_LATER.replace(hour=9), CHINA, store)
    async with store.view() as unit:
        living = await unit.outbox.living("duties:2026-12-02")
    assert living is not None
    assert living.chat == OPS
    said = plain(await card(store, date(2026, 12, 2)))
    assert "海蓝 | 异常趋势分析 | 2026-12-02" in said
    assert "新客" not in said
    assert await ticks.ask_for_duties(WEEK_LATER.replace(day=3), CHINA, store), "still owed"


async def test_nobody_is_asked_before_service_begins(store: Store) -> None:
    await serve(store, service=False)
    assert not await ticks.ask_for_duties(WEEK_LATER, CHINA, store)


async def test_a_press_ends_it_until_next_time(store: Store, clock: Any) -> None:
    """Only staff, only in the operations group, only once; audited, with the next day said."""
    await serve(store)
    await clock.sleep((WEEK_LATER - clock.now()).total_seconds())
    await ticks.ask_for_duties(clock.now(), CHINA, store)
    (action,) = actions(await card(store, date(2026, 12, 2)))
    inbox = inbox_of(store, clock)

    async def press(number: str, chat: Chat, who: Person) -> str:
        await inbox.take(Click(number, chat, who, action, clock.now()))
        async with store.view() as unit:
            reply = await unit.outbox.by_key(f"reply:web:{number}")
        assert reply is not None
        return reply.card

    assert "需要工程师" in await press("e1", OPS, WANG)
    assert "不属于本群" in await press("e2", GROUP, LI)
    assert "下次到期：2026-12-09" in await press("e3", OPS, LI)
    assert "已经由别人处理" in await press("e4", OPS, LI)
    async with store.view() as unit:
        (done,) = await unit.duties.of(1)
        trail = [(entry.actor, entry.deed) for entry in await unit.audit.entries()]
        living = await unit.outbox.living("duties:2026-12-02")
    assert (done.duty, done.due, done.by) == ("duty-weekly", "2026-12-02", LI)
    assert trail == [("李工", "duty-done")]
    assert living is not None
    assert living.version == 2, "the card is drawn anew"
    assert "都已完成" in plain(await card(store, date(2026, 12, 2)))
    assert actions(await card(store, date(2026, 12, 9))) == ["duty|1|duty-weekly|2026-12-09"]


async def test_a_long_list_is_counted_and_follows(store: Store) -> None:
    async with store.unit() as unit:
        for number in range(30):
            made = await unit.customers.add(Customer(0, f"客户{number}", f"c{number}", BEGUN))
            await unit.customers.begin_service(made.id, BEGUN)
    shown = await card(store, date(2026, 12, 2))
    assert len(actions(shown)) == due.SHOWN
    assert "另有 10 项" in plain(shown)


def test_what_is_no_button_of_a_duty_is_none() -> None:
    assert due.owed_by("run|yes|r1|x|1") is None
    assert due.owed_by("duty|x|y|z") is None
    assert due.day_of("run:r1") is None
    assert {duty.key for duty in DUTIES if duty.rhythm is Rhythm.WEEKLY} == {"duty-weekly"}

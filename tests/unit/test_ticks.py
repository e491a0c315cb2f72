"""What the clock alone causes: reminders of gates, and memories that end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.card import loads, plain
from adapters.words import Chat, Person, Role
from bot import ticks
from runbooks.book import Gate, Phase, Runbook
from storage.records import Customer, Delivery, Run, RunStatus
from storage.store import Store

LI = Person("web", "li", "李工")
GROUP = Chat("web", "g1")


@dataclass(frozen=True, slots=True)
class Case:
    pass


BOOK = Runbook(
    "sample",
    "样例",
    Case,
    (Phase("一"), Gate("signed", "确认合同已签", Role.LEAD, timedelta(days=7))),
)
BOOKS: dict[str, Runbook[Any]] = {"sample": BOOK}


async def parked(
    store: Store, clock: Any, *, chat: Chat | None = GROUP, line: str = "signed"
) -> Run:
    """A run that waits at its gate, due in seven days."""
    now = clock.now()
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", now, chat))
        run = Run("r1", "sample", customer.id, line, RunStatus.WAITING, 3, "{}", LI, now, now)
        run = replace(run, deadline=now + timedelta(days=7))
        await unit.runs.add(run)
    return run


async def heads(store: Store, clock: Any) -> list[Delivery]:
    async with store.view() as unit:
        return list(await unit.outbox.heads(clock.now()))


async def test_nothing_is_said_before_the_deadline(store: Store, clock: Any) -> None:
    await parked(store, clock)
    await clock.sleep(7 * 86_400 - 1)
    assert await ticks.remind(BOOKS, clock.now(), store) == 0
    assert await heads(store, clock) == []


async def test_an_overdue_gate_is_named_with_who_must_act_once_a_day(
    store: Store, clock: Any
) -> None:
    await parked(store, clock)
    await clock.sleep(7 * 86_400)
    assert await ticks.remind(BOOKS, clock.now(), store) == 1
    assert await ticks.remind(BOOKS, clock.now(), store) == 0
    (first,) = await heads(store, clock)
    said = plain(loads(first.card))
    assert first.chat == GROUP
    assert "确认合同已签" in said
    assert "负责人" in said
    assert "7 天 0 小时" in said
    async with store.view() as unit:
        run = await unit.runs.get("r1")
    assert run is not None
    assert (run.status, run.deadline) == (RunStatus.WAITING, clock.now() + timedelta(hours=24))
    assert run.attempt == 3, "the button on the card must stay good"

    await clock.sleep(86_400)
    assert await ticks.remind(BOOKS, clock.now(), store) == 1


async def test_a_gate_that_was_opened_is_not_reminded_of(store: Store, clock: Any) -> None:
    run = await parked(store, clock)
    await clock.sleep(8 * 86_400)
    async with store.unit() as unit:
        opened = replace(run, status=RunStatus.WALKING, attempt=4, deadline=None)
        assert await unit.runs.advance(run, opened)
    assert await ticks.remind(BOOKS, clock.now(), store) == 0


@pytest.mark.parametrize("books", [{}, BOOKS])
async def test_a_gate_that_no_book_has_any_more_is_the_leads_business(
    store: Store, clock: Any, books: dict[str, Runbook[Any]]
) -> None:
    await parked(store, clock, line="gone")
    await clock.sleep(8 * 86_400)
    assert await ticks.remind(books, clock.now(), store) == 1
    (said,) = await heads(store, clock)
    assert "gone" in said.card
    assert "负责人" in said.card


async def test_a_customer_without_a_chat_keeps_nobody_busy(store: Store, clock: Any) -> None:
    await parked(store, clock, chat=None)
    await clock.sleep(8 * 86_400)
    assert await ticks.remind(BOOKS, clock.now(), store) == 0
    async with store.view() as unit:
        assert await unit.runs.due(clock.now()) == []


async def test_deliveries_are_forgotten_after_eight_days(store: Store, clock: Any) -> None:
    async with store.unit() as unit:
        assert await unit.people.see("web", "e1", clock.now())
    await clock.sleep(8 * 86_400)
    assert await ticks.forget(clock.now(), store) == 0
    await clock.sleep(1)
    assert await ticks.forget(clock.now(), store) == 1

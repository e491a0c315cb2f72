"""A look that fails or hangs is told to the operations group, and not only written to a log."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest
import sqlalchemy as sa

from adapters.card import loads, plain
from adapters.words import Chat, Severity
from bot.guard import LONG, Guard
from bot.schedule import Look
from runbooks.alerting import pipeline
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.records import Customer, Incident, IncidentState, Storm, StormPhase
from storage.store import Store

NOBODY = cast("Any", None)


@pytest.fixture
async def guard(store: Store, clock: Any) -> Guard:
    async with store.unit() as unit:
        await unit.outbox.mark(OPERATIONS, Chat("paper", "ops"), clock.now())
    return Guard(Kit(clock, store, {}, NOBODY, NOBODY, NOBODY))


async def alarms(store: Store) -> list[str]:
    async with store.view() as unit:
        entries = await unit.outbox.latest(100)
    return [plain(loads(each.card)) for each in entries if each.key.startswith("look:")]


async def test_a_look_that_fails_is_told_once_an_hour(
    guard: Guard, store: Store, clock: Any
) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    take = guard.over(Look("climb", 1, fails))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await take()
    (told,) = await alarms(store)
    assert "climb" in told
    assert "ZeroDivisionError" in told
    await clock.sleep(3600)
    with pytest.raises(ZeroDivisionError):
        await take()
    assert len(await alarms(store)) == 2


async def test_a_look_that_hangs_is_told_by_the_next_one(
    guard: Guard, store: Store, clock: Any
) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        begun.set()
        await end.wait()

    async def works() -> None: ...

    hanging = asyncio.ensure_future(guard.over(Look("poll", 60, hangs))())
    await begun.wait()
    other = guard.over(Look("climb", 1, works))
    await clock.sleep(LONG.total_seconds())
    await other()
    assert await alarms(store) == []
    await clock.sleep(1)
    await other()
    (told,) = await alarms(store)
    assert "poll" in told
    end.set()
    await hanging
    assert guard.hanging() == []


async def test_what_is_being_looked_at_ends_before_its_database_is_closed(guard: Guard) -> None:
    """In order, and it is no failure."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def looks() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as a transaction that is rolled back
            ended.set()

    taken = asyncio.ensure_future(guard.over(Look("climb", 1, looks))())
    await begun.wait()
    await guard.end()
    assert ended.is_set()
    await taken


async def test_a_customer_who_cannot_be_looked_at_keeps_no_other(
    guard: Guard, store: Store, clock: Any
) -> None:
    """The fault is raised, so that it is told; the storm of the customer after is looked at."""
    long_ago = clock.now() - timedelta(days=1)
    async with store.unit() as unit:
        numbers = []
        for name in ("a", "b"):
            made = Customer(0, name, name, clock.now(), Chat("paper", name))
            numbers.append((await unit.customers.add(made)).id)
            storm = Storm(numbers[-1], StormPhase.DRAIN, long_ago, long_ago, number=1)
            await unit.incidents.save_storm(storm)
        state, low = IncidentState.OPEN, Severity.INFO
        bad = Incident(0, numbers[0], "g", "t", low, state, long_ago, long_ago)
        await unit.incidents.add(bad)
        await unit.aside._db.execute(sa.text("UPDATE incidents SET state = 'of a newer program'"))
    kit = Kit(clock, store, {}, NOBODY, NOBODY, NOBODY)
    with pytest.raises(ExceptionGroup):
        await guard.over(Look("storms", 5, partial(pipeline.look, kit)))()
    async with store.view() as unit:
        (left,) = await unit.incidents.raging()
    assert left.customer == numbers[0]
    assert len(await alarms(store)) == 1

"""After a year of alerts: what is looked for all the time is found by an index, not among all that is over."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from adapters.card import Card
from adapters.port import ChatPlatform
from adapters.words import Chat, Person, Receipt
from bot.living import REMEMBERED, Teller
from bot.web import health
from bot.web.console import facts
from runbooks.alerting import pipeline, repeating, watch, windows
from runbooks.alerting.oncall import ladder
from runbooks.alerting.policy import POLICY
from runbooks.alerting.triage import raising
from runbooks.kit import House, Kit
from storage.records import Customer, LivingCard
from storage.store import Store
from storage.vault import Seal
from tests import blank
from tests.conftest import HandClock
from tests.unit.test_folding import kit_of

GROWS = re.compile(r"SCAN (outbox|incidents|alerts_known|rungs|escalations|living_cards|audit)\b")
LI = Person("web", "li", "李工")


@pytest.fixture
async def kit(tmp_path: Path, clock: HandClock) -> AsyncIterator[Kit]:
    """A house that repeats what nobody acknowledged, with one customer."""
    async with Store(blank.sqlite(tmp_path / "bot.sqlite"), Seal(Seal.new_key())) as store:
        async with store.unit() as unit:
            await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now(), Chat("web", "g")))
        house = House(alerting=replace(POLICY, repeat=timedelta(hours=1)))
        yield replace(kit_of(store, clock), house=house)


async def heads(kit: Kit) -> None:
    async with kit.store.view() as unit:
        await unit.outbox.heads(kit.clock.now())
        await unit.outbox.next_due(kit.clock.now())


async def calls_of_somebody(kit: Kit) -> None:
    async with kit.store.view() as unit:
        await unit.escalations.told_to(LI)
        await unit.escalations.proved(LI)


LOOKS: Mapping[str, Callable[[Kit], Any]] = {
    "announce": watch.announce,
    "climb": ladder.climb,
    "health": partial(health.reasons, intake=None),
    "raise": raising.by_rules,
    "repeat": repeating.repeat,
    "sender": heads,
    "storms": pipeline.look,
    "windows": windows.announce,
}


async def console(kit: Kit) -> None:
    async with kit.store.view() as unit:
        await facts(unit)


async def read(kit: Kit, look: Callable[[Kit], Any]) -> list[tuple[str, Any]]:
    """Return all that a look reads, as it asks for it."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, text: str, values: Any, *more: Any) -> None:
        if text.startswith("SELECT"):
            asked.append((text, values))

    engine = kit.store._reader.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    await look(kit)
    sa.event.remove(engine, "before_cursor_execute", note)
    return asked


async def plans(kit: Kit, look: Callable[[Kit], Any]) -> list[str]:
    """Return SQLite's plan for all that a look reads, as it is without figures of the tables' sizes."""
    asked, found = await read(kit, look), list[str]()
    async with kit.store.view() as unit:
        for text, values in asked:
            plan = await unit.outbox._db.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            found += [row.detail for row in plan]
    assert found
    return found


@pytest.mark.parametrize("name", LOOKS)
async def test_a_look_does_not_read_all_that_ever_was(kit: Kit, name: str) -> None:
    assert not [line for line in await plans(kit, LOOKS[name]) if GROWS.search(line)]


async def test_who_was_called_is_looked_up_among_their_own_calls(kit: Kit) -> None:
    """`/ack` in a direct chat asks it in the one writer's turn, and a new critical waits for that."""
    found = [line for line in await plans(kit, calls_of_somebody) if " outbox " in line]
    assert len(found) == 2
    assert all("chat_platform=? AND chat_id=?" in line for line in found), found


async def test_the_console_reads_the_audit_trail_in_parts(kit: Kit) -> None:
    """It checks all of it at each look, in the loop that answers presses: of 46,000 entries at once
    that was deaf for two seconds."""
    found = [text for text, _ in await read(kit, console) if "FROM audit" in text]
    assert found
    assert all("LIMIT" in text for text in found)


class Paper:
    """A place where nothing can be edited later."""

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        return Receipt(chat, key)


async def test_of_a_years_cards_what_was_told_last_is_remembered(clock: HandClock) -> None:
    """Where nothing can be edited each card is kept to know what is new: not those of a whole year."""
    teller, paper = Teller(), cast("ChatPlatform", Paper())
    cards = [
        LivingCard(f"incident:{number}", Chat("wecom", "g"), 1, 1, "sent")
        for number in range(REMEMBERED + 1)
    ]
    for living in cards:
        await teller.show(living, Card("磁盘将满"), paper, living.key, clock.now())
    first, *_, last = cards
    assert not teller.speaks(last, Card("磁盘将满"))
    assert teller.speaks(first, Card("磁盘将满"))

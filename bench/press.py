"""From a press in the chat to the beginning of the next line, through inbox and engine.

    python -m bench.press [--presses 200]

One run per press on SQLite, beside 200 other parked runs; the clock starts when the chat hands
over the click and stops when the next line's deed begins. The peer is the same walk without an
engine: the price of durability is the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from adapters.words import Chat, Click, Person, Role
from bench.table import quantile, show
from bot.app import SystemClock
from bot.inbox import Inbox
from commands.contents import BOOK as COMMANDS
from runbooks import walk as walking
from runbooks.book import Gate, Phase, Runbook, Step
from runbooks.engine import Engine
from runbooks.kit import Errand, Kit
from runbooks.press import action
from storage.journal import journal_in
from storage.records import Customer, Member, Run, RunStatus
from storage.store import Store
from storage.vault import Seal

ZHAO = Person("web", "zhao", "赵主管")
GOAL = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    pass


class Watch:
    """Knows when the line behind the gate began."""

    def __init__(self) -> None:
        self.at: asyncio.Future[float]

    async def begun(self, case: Case, errand: Errand) -> tuple[Case, str]:
        self.at.set_result(time.perf_counter())
        return case, "ok"


async def parked(
    book: Runbook[Case], kit: Kit, count: int, by: Person = ZHAO
) -> list[tuple[Run, Chat]]:
    """Make runs that wait at the gate, each in a group of its own."""
    books: dict[str, Runbook[Any]] = {book.name: book}
    made = []
    for number in range(count):
        now, chat = kit.clock.now(), Chat(by.platform, f"g{number}")
        async with kit.store.unit() as unit:
            customer = Customer(0, f"c{number}", f"c{number}", now, chat)
            customer = await unit.customers.add(customer)
            status = RunStatus.WALKING
            run = Run(f"r{number}", "bench", customer.id, "", status, 0, "{}", by, now, now)
            await walking.start(book, run, unit)
        made.append((await walking.walk(books, f"r{number}", kit), chat))
    return made


async def presses(
    runs: list[tuple[Run, Chat]], watch: Watch, kit: Kit, inbox: Inbox
) -> list[float]:
    """Press each run's button once, one after another, and return the times."""
    took = []
    for run, chat in runs:
        watch.at = asyncio.get_running_loop().create_future()
        click = Click(f"click-{run.id}", chat, ZHAO, action("yes", run), kit.clock.now())
        began = time.perf_counter()
        await inbox.take(click)
        took.append(await watch.at - began)
    return took


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--presses", type=int, default=200)
    count = parser.parse_args().presses
    watch, nobody = Watch(), cast("Any", None)
    book = Runbook(
        "bench",
        "bench",
        Case,
        (
            Phase("-"),
            Gate("gate", "gate", Role.LEAD, timedelta(days=1)),
            Step("next", "next", watch.begun),
        ),
    )
    books: dict[str, Runbook[Any]] = {book.name: book}
    with TemporaryDirectory() as name:
        url = f"sqlite+aiosqlite:///{name}/bot.sqlite"
        async with Store(url, Seal(Seal.new_key())) as store:
            await store.create()
            async with store.unit() as unit:
                await unit.people.put(Member(ZHAO, Role.LEAD))
            kit = Kit(SystemClock(), store, {}, nobody, nobody, nobody)
            runs = await parked(book, kit, 2 * count)

            async def plainly(run: Run) -> None:
                await walking.walk(books, run.id, kit)

            async def timed(go: Callable[[Run], Awaitable[None]], part: int) -> list[float]:
                inbox = Inbox(store, books, kit.clock, go, COMMANDS, nobody, nobody)
                return await presses(runs[part::2], watch, kit, inbox)

            async with Engine(books, kit, journal_in(Path(name) / "dbos.sqlite")) as engine:
                mine = await timed(engine.go, 0)
                peer = await timed(plainly, 1)
    rows = [
        (way, f"{quantile(t, 0.5) * 1000:.0f} ms", f"{quantile(t, 0.99) * 1000:.0f} ms", goal)
        for way, t, goal in (
            ("inbox + engine (DBOS)", mine, f"p99 under {GOAL * 1000:.0f} ms"),
            ("inbox + walk, no engine", peer, ""),
        )
    ]
    ratio = quantile(mine, 0.5) / quantile(peer, 0.5)
    rows.append(("engine / no engine", f"{ratio:.2f}", "", ""))
    show(f"{count} presses to the next line, SQLite", ("way", "p50", "p99", "budget"), rows)


if __name__ == "__main__":
    asyncio.run(main())

"""What 10,000 parked runs cost: CPU and memory above the same process holding none.

    python -m bench.parked [--runs 10000] [--seconds 60]

Two processes, one after the other: each is the whole bot (store, engine, the clock's jobs, inbox,
sender, web chat and its page), warms up, and then only waits. Every run has a customer, a group and
a living card of its own, which the chat shows already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import psutil

from adapters.webchat.link import WebChat
from adapters.words import Chat, Person, Secret
from bench.table import show
from bot.app import SystemClock, working
from bot.web.site import create_site, listening, serving
from runbooks import walk as walking
from runbooks.case import Onboarding
from runbooks.kit import Kit
from runbooks.onboarding import ONBOARDING
from storage.journal import journal_in
from storage.records import Customer, DeliveryState, Run, RunStatus
from storage.store import Store
from storage.vault import Seal

LI = Person("web", "li", "李工")
WARM = 8.0
MEGA = 1 << 20


BOOK, GATE = ONBOARDING.name, "signed"
CASE = walking.dump(Onboarding(1, "c", (), ("web-01",)))


async def fill(store: Store, count: int) -> None:
    """Write the rows of runs that wait at the gate, each with its customer and its drawn card."""
    now = SystemClock().now()
    deadline = now + timedelta(days=7)
    async with store.unit() as unit:
        for number in range(count):
            chat = Chat("web", f"g{number}", f"客户 {number}")
            customer = Customer(0, f"c{number}", f"c{number}", now, chat)
            customer = await unit.customers.add(customer)
            status = RunStatus.WAITING
            run = Run(
                f"r{number}",
                BOOK,
                customer.id,
                GATE,
                status,
                1,
                CASE,
                LI,
                now,
                now,
                "",
                "",
                deadline,
            )
            await unit.runs.add(run)
            card = await unit.outbox.mark(walking.card_of(run), chat, now)
            await unit.outbox.drawn(card.key, card.version, f"receipt{number}")
            entry = await unit.outbox.by_key(f"{card.key}#{card.version}")
            assert entry is not None
            await unit.outbox.save(replace(entry, state=DeliveryState.SENT, sent_at=now))


async def hold(folder: Path, seconds: float) -> None:
    """Be the bot over what is in the folder; print CPU seconds and resident bytes."""
    nobody = cast("Any", None)
    async with AsyncExitStack() as stack:
        seal = Seal(Secret((folder / "key").read_text()))
        url = f"sqlite+aiosqlite:///{folder}/bot.sqlite"
        store = await stack.enter_async_context(Store(url, seal))
        await store.create()
        web = await stack.enter_async_context(WebChat(folder / "webchat.sqlite"))
        kit = Kit(SystemClock(), store, {web.name: web}, nobody, nobody, nobody)
        journal = journal_in(folder / "dbos.sqlite")
        stack.callback(journal.dispose)
        bot = await stack.enter_async_context(working(kit, journal))
        taken = stack.enter_context(listening("127.0.0.1", 0))
        await stack.enter_async_context(serving(create_site(kit, bot, web, people=(LI,)), taken))
        await asyncio.sleep(WARM)
        me, began = psutil.Process(), time.process_time()
        await asyncio.sleep(seconds)
        used = time.process_time() - began
        sys.stdout.write(json.dumps([used, me.memory_info().rss]))


def held(count: int, seconds: float) -> tuple[float, float]:
    """Return (share of one core, megabytes) of a fresh process over so many parked runs."""

    async def prepare(folder: Path) -> None:
        key = Seal.new_key()
        (folder / "key").write_text(key.reveal())
        async with Store(f"sqlite+aiosqlite:///{folder}/bot.sqlite", Seal(key)) as store:
            await store.create()
            await fill(store, count)

    with TemporaryDirectory() as name:
        asyncio.run(prepare(Path(name)))
        words = [sys.executable, "-m", "bench.parked", "--hold", name, "--seconds", str(seconds)]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    used, rss = json.loads(said)
    return used / seconds, rss / MEGA


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hold", type=Path, help="internal: be the process that is measured")
    asked = parser.parse_args()
    if asked.hold:
        asyncio.run(hold(asked.hold, asked.seconds))
        return
    none, many = held(0, asked.seconds), held(asked.runs, asked.seconds)
    rows = [
        ("none", f"{none[0]:.2%}", f"{none[1]:.0f} MB", ""),
        (f"{asked.runs}", f"{many[0]:.2%}", f"{many[1]:.0f} MB", ""),
        ("above none", f"{many[0] - none[0]:.2%}", f"{many[1] - none[1]:.1f} MB", "2 %, 50 MB"),
        ("ratio", f"{many[0] / none[0]:.2f}", f"{many[1] / none[1]:.2f}", ""),
    ]
    show(
        f"parked runs, {asked.seconds:g} s",
        ("runs", "CPU of one core", "RSS", "budget: under"),
        rows,
    )


if __name__ == "__main__":
    main()

"""What 10,000 parked runs cost: CPU and memory above the same process holding none.

    python -m bench.parked [--runs 10000] [--seconds 60]

Two processes, one after the other: each runs the store, the engine and the scheduler's jobs as
the bot does, warms up, and then only waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import psutil
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from adapters.words import Chat, Person, Role
from bench.table import show
from bot import ticks
from bot.app import FORGET, REMIND, SWEEP, SystemClock
from runbooks.book import Gate, Phase, Runbook
from runbooks.engine import Engine
from runbooks.kit import Kit
from storage.journal import journal_in
from storage.records import Customer, Run, RunStatus
from storage.store import Store
from storage.vault import Seal

LI = Person("web", "li", "李工")
WARM = 8.0
MEGA = 1 << 20


@dataclass(frozen=True, slots=True)
class Case:
    pass


BOOK = Runbook(
    "bench",
    "bench",
    Case,
    (Phase("-"), Gate("gate", "gate", Role.LEAD, timedelta(days=7))),
)
BOOKS: dict[str, Runbook[Any]] = {BOOK.name: BOOK}


async def fill(store: Store, count: int) -> None:
    """Write the rows of runs that wait at the gate."""
    now = SystemClock().now()
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "c", "c", now, Chat("web", "g")))
        for number in range(count):
            run = Run(
                f"r{number}",
                "bench",
                customer.id,
                "gate",
                RunStatus.WAITING,
                1,
                "{}",
                LI,
                now,
                now,
            )
            await unit.runs.add(replace(run, deadline=now + timedelta(days=7)))


async def hold(folder: Path, seconds: float) -> None:
    """Be the bot over what is in the folder; print CPU seconds and resident bytes."""
    nobody = cast("Any", None)
    async with Store(f"sqlite+aiosqlite:///{folder}/bot.sqlite", Seal(Seal.new_key())) as store:
        await store.create()
        kit = Kit(SystemClock(), store, {}, nobody, nobody, nobody)
        async with Engine(BOOKS, kit, journal_in(folder / "dbos.sqlite")) as engine:

            async def remind() -> None:
                await ticks.remind(BOOKS, kit.clock.now(), store)

            async def forget() -> None:
                await ticks.forget(kit.clock.now(), store)

            scheduler = AsyncIOScheduler(timezone=UTC)
            scheduler.add_job(engine.sweep, "interval", seconds=SWEEP)
            scheduler.add_job(remind, "interval", seconds=REMIND)
            scheduler.add_job(forget, "interval", seconds=FORGET)
            scheduler.start()
            await asyncio.sleep(WARM)
            me, began = psutil.Process(), time.process_time()
            await asyncio.sleep(seconds)
            used = time.process_time() - began
            sys.stdout.write(json.dumps([used, me.memory_info().rss]))
            scheduler.shutdown(wait=False)


def held(count: int, seconds: float) -> tuple[float, float]:
    """Return (share of one core, megabytes) of a fresh process over so many parked runs."""

    async def prepare(folder: Path) -> None:
        url = f"sqlite+aiosqlite:///{folder}/bot.sqlite"
        async with Store(url, Seal(Seal.new_key())) as store:
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

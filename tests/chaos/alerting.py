"""The bot that is killed while alerts come in: intake over HTTP, fold, sender, ladder, all as it runs.

A life of it begins with FOLDER, DATABASE_URL, BEGAN and KILL_AT (`tests/chaos/mother.py`). It says
`listens PORT`, and kills itself at the instant KILL_AT (0: never). The clock runs SPEED times as fast, and reads the same in every life, because it counts from BEGAN
(seconds of the epoch). On SIGTERM a bot does what is left, minute by minute until every storm is
over, and ends.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from adapters.words import Person
from bot import app
from bot.folding import ALL
from bot.web.site import create_api, listening, serving
from runbooks.alerting import pipeline
from runbooks.alerting.oncall import ladder
from runbooks.alerting.policy import Policy
from runbooks.kit import House, Kit
from storage.intake import Intake, Row
from storage.vault import Seal
from tests.chaos.child import Fate, MortalChat, MortalStore, journal
from tests.chaos.mother import say

LI, ZHAO = Person("web", "li", "李工"), Person("web", "zhao", "赵工")
EPOCH = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
SPEED = 20.0
POLICY = Policy(storm_incidents=6)
"""So that whoever has few incidents never has a storm."""
MINUTE = timedelta(minutes=1)
AFTERWARDS = 12
"""Minutes after the last alert: a storm calms down in 2 and drains for 5, calls come at 1 and 2."""
PATIENCE = timedelta(minutes=30)
"""A bot that is busy for longer than that (90 s of ours) hangs."""


class RacingClock:
    """A clock that is SPEED times as fast as the machine's, and that may be moved."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._moved = timedelta()

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=(time.time() - self._began) * SPEED) + self._moved

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)

    def move(self, span: timedelta) -> None:
        self._moved += span


class MortalIntake(Intake):
    """An intake whose process may die before each commit and after it."""

    def __init__(self, url: str, fate: Fate) -> None:
        super().__init__(url)
        self._fate = fate

    def _add(self, rows: list[Row]) -> int:
        self._fate.instant()
        first = super()._add(rows)
        self._fate.instant()
        return first


async def tick(kit: Kit, clock: RacingClock, told: asyncio.Event) -> None:
    """Until told to end, do what is due by the clock as often as that races, beside the bot's own
    ticks: another replica's might be at work just so."""
    while not told.is_set():
        await ladder.climb(kit)
        await pipeline.look(kit)
        await clock.sleep(1)


async def settle(kit: Kit, clock: RacingClock, web: MortalChat, intake: Intake) -> None:
    """Do what is left to do, now and in the minutes after it."""
    for _ in range(AFTERWARDS):
        until = clock.now() + PATIENCE
        await pipeline.look(kit)
        await ladder.climb(kit)
        while not await quiet(kit, web, intake):
            if clock.now() > until:
                raise TimeoutError("the bot hangs")
            await clock.sleep(1)
        clock.move(MINUTE)


async def quiet(kit: Kit, web: MortalChat, intake: Intake) -> bool:
    """Is everything folded, everything said that is due, and everything heard?"""
    async with kit.store.view() as unit:
        cursors = await unit.incidents.cursors()
        heads = await unit.outbox.heads(kit.clock.now())
    return web.quiet and not heads and not await intake.after(cursors.get(ALL, 0), 1)


async def main(place: str, url: str, began: str, kill_at: str) -> None:
    folder = Path(place)
    fate, clock, nobody = Fate(kill_at), RacingClock(float(began)), cast("Any", None)
    async with AsyncExitStack() as stack:
        taken = stack.enter_context(listening("127.0.0.1", 0))
        store = await stack.enter_async_context(MortalStore(url, Seal(Seal.new_key()), fate))
        await store.create()
        web = MortalChat(folder / "web.sqlite", fate, clock)
        await stack.enter_async_context(web)
        house = House(alerting=POLICY)
        kit = Kit(clock, store, {web.name: web}, nobody, nobody, nobody, house)
        log = journal(folder, url)
        stack.callback(log.dispose)
        intake = await stack.enter_async_context(MortalIntake(url, fate))
        bot = await stack.enter_async_context(app.working(kit, log, posts=intake))
        await stack.enter_async_context(serving(create_api(kit, bot, None), taken))
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        say(f"listens {taken.getsockname()[1]}")
        await tick(kit, clock, told)
        await settle(kit, clock, web, intake)

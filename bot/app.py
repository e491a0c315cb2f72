"""Wires everything: the only file, with the command line and the demo, that names what is concrete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from adapters.card import Card
from adapters.port import ChatPlatform, OutsideError
from adapters.sources import SOURCES, Source, heartbeat
from adapters.ssh import SshKeys
from adapters.words import Message
from bot import ticks
from bot.folding import Folding
from bot.inbox import Inbox
from bot.sender import Draw, Sender
from commands.contents import BOOK
from runbooks import due
from runbooks.acceptance import ACCEPTANCE
from runbooks.alerting import (
    advise,
    heartbeats,
    ladder,
    pipeline,
    show,
    watch,
    watchdog,
    windows,
)
from runbooks.book import Runbook
from runbooks.cards import drawn, operations
from runbooks.credentials import PASSWORDS
from runbooks.engine import Engine
from runbooks.handover import HANDOVER
from runbooks.hook_address import HOOK_ADDRESS
from runbooks.install_agent import INSTALL_AGENT
from runbooks.kit import Kit
from runbooks.onboarding import ONBOARDING
from runbooks.retire import RETIRE
from runbooks.test_alert import TEST_ALERT
from runbooks.walk import OPERATIONS
from storage.intake import Intake
from storage.journal import Journal
from storage.store import Unit

BOOKS: Mapping[str, Runbook[Any]] = {
    book.name: book
    for book in (
        ONBOARDING,
        INSTALL_AGENT,
        TEST_ALERT,
        ACCEPTANCE,
        PASSWORDS,
        HANDOVER,
        HOOK_ADDRESS,
        RETIRE,
    )
}

SWEEP = 5
"""Seconds between two looks for runs that nobody walks."""

REMIND = 30
"""Seconds between two looks for gates that are overdue, and for duties that are due."""

FORGET = 3600
"""Seconds between two rounds of forgetting."""

ANNOUNCE = 1
"""Seconds between two looks for alerts that have lasted."""

ANALYSE = 5
"""Seconds between two looks for alerts that the model is to be asked about."""

POLL = 60
"""Seconds between two looks at every customer's monitor: it judges as often."""

STORM = 5
"""Seconds between two looks for storms that are over, and for alerts that nothing hides any more."""

BEATS = 5
"""Seconds between two looks for jobs that were not heard of in time."""

CLIMB = 1
"""Seconds between two looks for calls that nobody's acknowledgement has stopped."""

PATIENCE = 1.0
"""Seconds without news after which the sender looks for entries that have backed off."""


log = structlog.get_logger()


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Bot:
    """The whole program at work."""

    kit: Kit
    engine: Engine
    inbox: Inbox
    sender: Sender
    intake: Intake | None = None
    """Where monitors' posts are kept; without one only VigilOps is heard."""
    sources: Mapping[str, Source] = field(default_factory=lambda: SOURCES)

    async def listen(self, platform: ChatPlatform) -> None:
        """Take what people do on one platform, in order."""
        async for event in platform.events():
            if isinstance(event, Message):
                await self.inbox.take(event)
                continue
            wrong = await self.inbox.take(event, quiet=platform.can.answers_privately)
            try:
                await platform.answer(event, wrong or "已收到", ok=not wrong)
            except OutsideError as error:
                # What was pressed is kept and done; only the presser's toast is lost.
                log.warning("press not answered", platform=platform.name, reason=error.reason)

    async def speak(self) -> None:
        """Send what is due, as soon as something was written, and what backed off in time."""
        news = self.kit.store.changed
        while True:
            await self.sender.drain()
            try:
                async with asyncio.timeout(PATIENCE):
                    await news.wait()
            except TimeoutError:
                continue


def drawing(kit: Kit) -> Draw:
    """Return how every living card is drawn, by its key."""

    async def draw(key: str, unit: Unit) -> Card:
        if key == OPERATIONS:
            return await operations(BOOKS, unit)
        if day := due.day_of(key):
            return await due.drawn(day, kit.house.zone, unit)
        if show.drawn_here(key):
            return await show.drawn(key, kit, unit)
        return await drawn(BOOKS, key.removeprefix("run:"), unit)

    return draw


@asynccontextmanager
async def working(
    kit: Kit,
    journal: Journal,
    *,
    executor: str = "vigilbot-1",
    posts: Intake | None = None,
    sources: Mapping[str, Source] = SOURCES,
) -> AsyncIterator[Bot]:
    """Run the bot over a kit whose ports are open, with the engine's own journal beside its store;
    leaving ends every task that it began. `posts` is what the intake has kept, each to be read by
    one of `sources`."""
    async with Engine(BOOKS, kit, journal, executor=executor) as engine:
        inbox = Inbox(
            kit.store,
            BOOKS,
            kit.clock,
            engine.go,
            BOOK,
            kit.documents,
            SshKeys(),
            kit.house.zone,
            kit.house,
        )
        sender = Sender(kit.store, kit.chats, drawing(kit), kit.clock)
        bot = Bot(kit, engine, inbox, sender, posts, sources)
        scheduler = AsyncIOScheduler(timezone=UTC)
        scheduler.add_job(engine.sweep, "interval", seconds=SWEEP, max_instances=1)

        async def remind() -> None:
            await ticks.remind(BOOKS, kit.clock.now(), kit.store)

        async def owed() -> None:
            await ticks.ask_for_duties(kit.clock.now(), kit.house.zone, kit.store)

        async def quotas() -> None:
            await ticks.warn_of_quota(kit.chats.values(), kit.clock.now(), kit.store)

        async def forget() -> None:
            await ticks.forget(kit.clock.now(), kit.store)

        scheduler.add_job(remind, "interval", seconds=REMIND, max_instances=1)
        scheduler.add_job(owed, "interval", seconds=REMIND, max_instances=1)
        scheduler.add_job(quotas, "interval", seconds=REMIND, max_instances=1)
        scheduler.add_job(forget, "interval", seconds=FORGET, max_instances=1)
        scheduler.add_job(watch.announce, "interval", [kit], seconds=ANNOUNCE, max_instances=1)
        scheduler.add_job(advise.advise, "interval", [kit], seconds=ANALYSE, max_instances=1)
        scheduler.add_job(windows.announce, "interval", [kit], seconds=REMIND, max_instances=1)
        scheduler.add_job(watch.poll, "interval", [kit], seconds=POLL, max_instances=1)
        scheduler.add_job(pipeline.look, "interval", [kit], seconds=STORM, max_instances=1)
        scheduler.add_job(ladder.climb, "interval", [kit], seconds=CLIMB, max_instances=1)
        scheduler.add_job(watchdog.watch, "interval", [kit], seconds=REMIND, max_instances=1)
        scheduler.add_job(watchdog.warn, "interval", [kit], seconds=FORGET, max_instances=1)
        if posts:
            scheduler.add_job(
                heartbeats.look, "interval", [kit, posts], seconds=BEATS, max_instances=1
            )
        scheduler.start()
        try:
            # Whoever dies takes the bot down with it: a deaf bot that looks alive is worse.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(bot.speak(), name="speak")]
                tasks += [
                    group.create_task(bot.listen(chat), name=f"listen:{name}")
                    for name, chat in kit.chats.items()
                ]
                if posts:
                    beats = Source(heartbeat.NAME, heartbeat.TITLE, heartbeat.decode)
                    folding = Folding(kit, posts, {**sources, beats.name: beats})
                    tasks.append(group.create_task(folding.run(), name="fold"))
                try:
                    yield bot
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            scheduler.shutdown(wait=False)

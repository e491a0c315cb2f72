"""Wires everything: the only file, with the command line and the demo, that names what is concrete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from adapters.card import Card
from adapters.port import ChatPlatform, OutsideError, Redraw
from adapters.sources import SOURCES, Source, heartbeat
from adapters.ssh import SshKeys
from adapters.words import Chat, File, Message, Receipt
from bot.folding import Folding
from bot.guard import Guard
from bot.inbox import Inbox
from bot.schedule import Look, looks_of
from bot.sender import Draw, Make, Sender
from commands.contents import BOOK
from runbooks import due
from runbooks.acceptance import ACCEPTANCE
from runbooks.alerting import full_list, heartbeats, show
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
from runbooks.threshold import THRESHOLD
from runbooks.walk import OPERATIONS
from storage.intake import Intake
from storage.journal import Journal
from storage.replicas import Turns
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
        THRESHOLD,
    )
}

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
    looks: tuple[Look, ...] = ()
    """What is done by the clock alone."""

    async def listen(self, platform: ChatPlatform) -> None:
        """Take what people do on one platform, in order."""
        async for event in platform.events():
            if isinstance(event, Message):
                await self.inbox.take(event)
                continue
            wrong = await self.inbox.take(event, quiet=platform.can.answers_privately)
            try:
                await platform.answer(
                    event, wrong or "已收到", ok=not wrong, redraw=self._redraw(event.chat)
                )
            except OutsideError as error:
                # What was pressed is kept and done; only the presser's toast is lost.
                log.warning("press not answered", platform=platform.name, reason=error.reason)

    def _redraw(self, chat: Chat) -> Redraw:
        """Return how the living card is drawn that a message in a chat shows."""

        async def redraw(receipt: str) -> Card | None:
            async with self.kit.store.view() as unit:
                key = await unit.outbox.shown_as(Receipt(chat, receipt))
                return await drawing(self.kit)(key, unit) if key else None

        return redraw

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


def making(kit: Kit) -> Make:
    """Return how every paper is made, by its key."""

    async def make(key: str, unit: Unit) -> File:
        return await full_list.made(key, kit.clock.now(), kit.house, unit)

    return make


@asynccontextmanager
async def working(
    kit: Kit,
    journal: Journal,
    *,
    executor: str = "vigilbot-1",
    posts: Intake | None = None,
    sources: Mapping[str, Source] = SOURCES,
    more: Sequence[Look] = (),
    turns: Turns | None = None,
) -> AsyncIterator[Bot]:
    """Run the bot over a kit whose ports are open, with the engine's own journal beside its store;
    leaving ends every task that it began. `posts` is what the intake has kept, each to be read by
    one of `sources`; `more` are looks that want what is not in the kit, `turns` says which replica
    speaks where."""
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
            kit.chats,
        )
        sender = Sender(kit.store, kit.chats, drawing(kit), kit.clock, making(kit), turns)
        looks = (*looks_of(kit, engine, BOOKS, posts), *more)
        bot = Bot(kit, engine, inbox, sender, posts, sources, looks)
        scheduler, guard = AsyncIOScheduler(timezone=UTC), Guard(kit)
        for look in looks:
            scheduler.add_job(
                guard.over(look), "interval", seconds=look.every, name=look.name, max_instances=1
            )
        if posts:
            await heartbeats.resume(kit)
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
            scheduler.pause()
            await guard.end()
            scheduler.shutdown(wait=False)

"""The bot that a storm is played at: the whole of it with its site, and a chat that takes little.

    python -m bench.storm_bot FOLDER

It says `listens PORT` once it does, and then every word that the chat is handed, as JSON: when (by
the machine's monotonic clock, which its other processes share), what, to which chat, the text, how
many bytes. Beyond what the chat takes in a minute it refuses, as DingTalk's and WeCom's robots do.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import structlog

from adapters.card import Card, dumps, plain
from adapters.port import Capabilities, Redraw, Transient
from adapters.webchat.link import WebChat
from adapters.words import Chat, Click, Event, File, Person, Receipt, Secret, Submission
from bot.app import SystemClock, working
from bot.signals import until_told
from bot.web.site import create_site, listening, serving
from runbooks.kit import Kit
from storage.intake import Intake
from storage.journal import journal_in
from storage.records import Customer
from storage.store import Store
from storage.vault import Seal

PER_MINUTE = 20
"""What a group takes, sends and edits together."""
MINUTE = 60.0
NOISY, QUIET = "noisy", "quiet"
LI = Person("web", "li", "李工")


def token(name: str) -> str:
    """Return the hook's token of a customer."""
    return name * 9


@dataclass
class Paper:
    """A chat that says what it was handed, and refuses what is too much."""

    name: str = "paper"
    can: Capabilities = field(default_factory=lambda: Capabilities(per_chat_per_minute=PER_MINUTE))
    lately: dict[Chat, deque[float]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def events(self) -> AsyncIterator[Event]:
        nobody: tuple[Event, ...] = ()
        for event in nobody:
            yield event

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None: ...

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self._take("send", chat, plain(card), len(dumps(card).encode()))
        return Receipt(chat, key)

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._take("edit", receipt.chat, plain(card), len(dumps(card).encode()))
        return receipt

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        return Chat(self.name, key, title)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        self._take("upload", chat, file.name, 0)
        return Receipt(chat, key)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        chat = Chat(self.name, person.id)
        self._take("ring", chat, text, len(text.encode()))
        return Receipt(chat, key)

    def _take(self, what: str, chat: Chat, text: str, size: int) -> None:
        now = time.monotonic()
        lately = self.lately.setdefault(chat, deque())
        while lately and now - lately[0] >= MINUTE:
            lately.popleft()
        if len(lately) >= PER_MINUTE:
            say(json.dumps([now, "refused", chat.id, text, size]))
            raise Transient("too much in a minute", retry_after=MINUTE - (now - lately[0]))
        lately.append(now)
        say(json.dumps([now, what, chat.id, text, size]))


def say(words: str) -> None:
    """Write one line by one system call."""
    os.write(1, f"{words}\n".encode())


async def serve(folder: Path) -> None:
    """Be the bot until told to stop."""
    # A tick that finds the one before still at work is left out, and would say so.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    # What is said on standard output is read by whoever started us.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    nobody, clock = cast("Any", None), SystemClock()
    url = f"sqlite+aiosqlite:///{folder}/bot.sqlite"
    async with AsyncExitStack() as stack:
        told = await stack.enter_async_context(until_told())
        taken = stack.enter_context(listening("127.0.0.1", 0))
        store = await stack.enter_async_context(Store(url, Seal(Seal.new_key())))
        await store.create()
        async with store.unit() as unit:
            for name in (NOISY, QUIET):
                chat = Chat("paper", name)
                made = await unit.customers.add(Customer(0, name, name, clock.now(), chat))
                await unit.hooks.add(made.id, "alertmanager", Secret(token(name)), clock.now())
        web = await stack.enter_async_context(WebChat(folder / "webchat.sqlite"))
        await web.direct(LI)
        paper = Paper()
        kit = Kit(clock, store, {web.name: web, paper.name: paper}, nobody, nobody, nobody)
        journal = journal_in(folder / "dbos.sqlite")
        stack.callback(journal.dispose)
        intake = await stack.enter_async_context(Intake(url))
        bot = await stack.enter_async_context(working(kit, journal, posts=intake))
        await stack.enter_async_context(serving(create_site(kit, bot, web, people=(LI,)), taken))
        gc.freeze()  # as whoever starts the bot does
        say(f"listens {taken.getsockname()[1]}")
        await told.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))

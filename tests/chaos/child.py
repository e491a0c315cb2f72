"""The program that is killed: the real bot over a small book, with a fate that counts instants.

A life of it begins with FOLDER, DATABASE_URL and KILL_AT (`tests/chaos/mother.py`). It works until
nothing is left that it could do by itself, says where its run stands as JSON and ends; at the instant of the number or the name KILL_AT (0: never) it kills itself with SIGKILL. Everything that
outlives it is in the folder and in the database: the chat's file, the world's file of deeds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.card import Card, dumps, say
from adapters.port import Clock, InDoubt
from adapters.webchat.link import WebChat
from adapters.words import Chat, File, Person, Receipt, Role
from bot.app import Bot, SystemClock
from bot.inbox import Inbox
from bot.sender import Sender
from commands.contents import BOOK as COMMANDS
from runbooks import walk as walking
from runbooks.book import Each, Gate, Phase, Runbook, Step
from runbooks.cards import drawn
from runbooks.engine import Engine
from runbooks.kit import Errand, Kit
from storage.journal import journal_in
from storage.records import Customer, Delivery, DeliveryState, Lane, Member, Run, RunStatus
from storage.store import Store, Unit
from storage.vault import Seal
from tests.chaos import mother

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
HOSTS = tuple(f"web-{number:02}" for number in range(1, 9))
PATIENCE = timedelta(seconds=100)
"""A bot that is busy for longer than this hangs."""
LOOK = 0.02
CLOCK = SystemClock()


class Fate:
    """Counts the instants of this process, and ends it at one of them."""

    def __init__(self, kill_at: str) -> None:
        self.instants = 0
        self._kill_at = kill_at

    def instant(self, name: str = "") -> None:
        self.instants += 1
        if self._kill_at in (str(self.instants), name):
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(Store):
    """A store whose process may die before each commit and after it."""

    def __init__(self, url: str, seal: Seal, fate: Fate) -> None:
        super().__init__(url, seal)
        self._fate = fate

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        # Units and the commits that many share: both begin here.
        async with super()._begin() as connection:
            yield connection
            self._fate.instant()
        self._fate.instant()


class MortalChat(WebChat):
    """A chat whose bot may die before each call and after it."""

    def __init__(self, path: Path, fate: Fate, clock: Clock = CLOCK) -> None:
        super().__init__(path, now=clock.now)
        self._fate = fate

    @property
    def quiet(self) -> bool:
        """Has everything that people did been taken?"""
        return not self._pending

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self._fate.instant()
        receipt = await super().send(chat, card, key=key)
        self._fate.instant()
        return receipt

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._fate.instant()
        edited = await super().edit(receipt, card)
        self._fate.instant()
        return edited

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        self._fate.instant()
        receipt = await super().upload(chat, file, key=key)
        self._fate.instant()
        return receipt

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        self._fate.instant()
        chat = await super().open_chat(title, members, key=key)
        self._fate.instant()
        return chat

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        self._fate.instant()
        receipt = await super().ring(person, text, key=key)
        self._fate.instant()
        return receipt


class World:
    """Where deeds happen: one line for each that began, and one for each that was finished."""

    def __init__(self, file: Path, fate: Fate) -> None:
        self._file = file
        self._fate = fate

    def write(self, word: str, deed: str) -> None:
        self._fate.instant()
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{word} {deed}\n".encode())
        os.fsync(handle)
        os.close(handle)
        self._fate.instant(f"{word} {deed}")

    def lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    async def do(self, deed: str) -> str:
        self.write("begun", deed)
        await asyncio.sleep(0)  # another host's turn: the fan-out is really in the middle
        self.write("finished", deed)
        return "0.9.0"

    async def look(self, deed: str) -> str | None:
        """What was begun is found, and finished if need be; what was not is surely absent."""
        lines = self.lines()
        if f"begun {deed}" not in lines:
            return None
        if f"finished {deed}" not in lines:
            self.write("finished", deed)
        return "0.9.0"

    async def blind(self, deed: str) -> str | None:
        """This kind of deed leaves no trace that could be read back."""
        self.write("asked", deed)
        raise InDoubt("对方没有回答是否已经执行")


@dataclass(frozen=True, slots=True)
class Case:
    hosts: tuple[str, ...] = HOSTS
    group: str = ""


def book_of(world: World) -> Runbook[Case]:
    async def group(case: Case, errand: Errand) -> tuple[Case, str]:
        deed = errand.key("found")
        await errand.once("found", lambda: world.do(deed), lambda: world.look(deed))
        return case, "群已建"

    async def call(case: Case, errand: Errand) -> tuple[Case, str]:
        deed = errand.key("call")
        await errand.once("call", lambda: world.do(deed), lambda: world.blind(deed))
        return case, "已致电"

    async def install(case: Case, errand: Errand, host: str) -> str:
        deed = errand.key("install")
        version = await errand.once("install", lambda: world.do(deed), lambda: world.look(deed))
        return str(version)

    async def paper(case: Case, errand: Errand) -> tuple[Case, str]:
        now = errand.kit.clock.now()
        async with errand.kit.store.unit() as unit:
            run = await unit.runs.get(errand.run)
            assert run is not None
            customer = await unit.customers.get(run.customer)
            assert customer is not None
            assert customer.chat is not None
            card = dumps(say("交付报告", "请查收"))
            said = Delivery(
                0,
                errand.key("said"),
                customer.chat,
                Lane.NORMAL,
                DeliveryState.WAITING,
                now,
                card=card,
            )
            file = Delivery(
                0,
                errand.key("file"),
                customer.chat,
                Lane.NORMAL,
                DeliveryState.WAITING,
                now,
                file_name="report.txt",
                file=b"8 hosts",
            )
            await unit.outbox.put(said)
            if await unit.outbox.put(file):
                await unit.audit.add(now, "Vigilbot", "report", {"run": run.id})
        return case, "report.txt"

    async def close(case: Case, errand: Errand) -> tuple[Case, str]:
        deed = errand.key("close")
        await errand.once("close", lambda: world.do(deed), lambda: world.look(deed))
        return case, "完成"

    return Runbook(
        "sample",
        "样例",
        Case,
        (
            Phase("签约"),
            Step("group", "建立客户群", group),
            Step("call", "电话告知", call),
            Gate("signed", "确认合同已签", Role.LEAD, timedelta(days=7)),
            Phase("安装"),
            Each("install", "安装 Agent", lambda case: case.hosts, install, at_once=3),
            Step("paper", "交付报告", paper),
            Step("close", "完成", close),
        ),
    )


def journal(folder: Path, url: str) -> sa.Engine:
    """The engine's journal is of the same kind as the database."""
    if url.startswith("sqlite"):
        return journal_in(folder / "dbos.sqlite")
    return sa.create_engine(url)


async def begin(book: Runbook[Case], store: Store, web: MortalChat, now: datetime) -> None:
    """The customer, the staff and the run, in one transaction; a second start finds them."""
    group = await web.open_chat("海蓝 监控交付", [LI, ZHAO], key="g")
    async with store.unit() as unit:
        if await unit.runs.get("r1"):
            return
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", now, group))
        await unit.people.put(Member(LI, Role.ENGINEER))
        await unit.people.put(Member(ZHAO, Role.LEAD))
        case = walking.dump(Case())
        run = Run("r1", "sample", customer.id, "", RunStatus.WALKING, 0, case, LI, now, now)
        await walking.mark(await walking.start(book, run, unit), unit)


async def settled(store: Store, web: MortalChat, clock: SystemClock) -> Run:
    """Wait until nothing is left to do without a person."""
    until = clock.now() + PATIENCE
    while clock.now() < until:
        quiet = web.quiet
        async with store.view() as unit:
            run = await unit.runs.get("r1")
            heads = await unit.outbox.heads(datetime.max.replace(tzinfo=UTC))
        if quiet and web.quiet and run and run.status is not RunStatus.WALKING and not heads:
            return run
        await clock.sleep(LOOK)
    raise TimeoutError("the bot hangs")


async def main(place: str, url: str, kill_at: str) -> None:
    folder = Path(place)
    fate = Fate(kill_at)
    world, clock = World(folder / "world.log", fate), SystemClock()
    book = book_of(world)
    books: dict[str, Runbook[Any]] = {book.name: book}
    seal = Seal(Seal.new_key())  # nothing is sealed in this story
    nobody = cast("Any", None)

    async def draw(key: str, unit: Unit) -> Card:
        return await drawn(books, key.removeprefix("run:"), unit)

    web = MortalChat(folder / "web.sqlite", fate)
    async with MortalStore(url, seal, fate) as store, web:
        await store.create()
        await begin(book, store, web, clock.now())
        kit = Kit(clock, store, {"web": web}, nobody, nobody, nobody)
        async with Engine(books, kit, journal(folder, url)) as engine:
            inbox = Inbox(store, books, clock, engine.go, COMMANDS, nobody, nobody)
            bot = Bot(kit, engine, inbox, Sender(store, kit.chats, draw, clock))
            async with asyncio.TaskGroup() as group:
                work: list[Callable[[], Any]] = [bot.speak, lambda: bot.listen(web)]
                tasks = [group.create_task(one()) for one in work]
                run = await settled(store, web, clock)
                for task in tasks:
                    task.cancel()
    mother.say(json.dumps({"status": run.status, "instants": fate.instants}))

"""A storm of 20,000 alerts in one second over 200 hosts, through intake, fold, sender and a chat.

    python -m bench.storm [--rounds 20] [--long 62] [--active 100000]

Each round is a storm with a new critical in its middle, and one of a quiet neighbour at the same
instant; the clock starts when the critical's post is handed to the intake and stops when the chat
is handed the mention, and the edit that shows it. Then one storm goes on with repeats for a minute,
so that the messages of a group that takes 20 a minute can be counted. Every storm is looked
through afterwards: are all its alerts in the rows, and was any message too large? At last so many
alerts are active at once, for what the process grows by.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, Self, cast

import psutil

from adapters.card import Card, dumps, plain
from adapters.port import Capabilities
from adapters.sources import SOURCES
from adapters.words import Chat, Click, Event, File, Person, Receipt, Submission
from bench.table import quantile, show
from bot.app import SystemClock, drawing
from bot.folding import Folding
from bot.sender import Sender
from runbooks.kit import Kit
from storage.intake import Intake
from storage.records import Customer
from storage.store import Store
from storage.vault import Seal

ALERTS, HOSTS, PER_POST = 20_000, 200, 100
PER_MINUTE = 20
"""What the group takes, sends and edits together: DingTalk's and WeCom's robots."""
LARGEST = 20_000
"""Bytes of the largest message that DingTalk takes."""
GOAL = 1.0
NEW = ("send", "upload", "ring")


@dataclass
class Paper:
    """A chat that notes when it was handed what."""

    said: list[tuple[float, str, Chat, str]] = field(default_factory=list)
    largest: int = 0
    name: str = "paper"
    can: Capabilities = field(default_factory=lambda: Capabilities(per_chat_per_minute=PER_MINUTE))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def events(self) -> AsyncIterator[Event]:
        nobody: tuple[Event, ...] = ()
        for event in nobody:
            yield event

    async def answer(self, event: Click | Submission, text: str, *, ok: bool) -> None: ...

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self._note("send", chat, card)
        return Receipt(chat, key)

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._note("edit", receipt.chat, card)
        return receipt

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        return Chat(self.name, key, title)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        self.said.append((time.perf_counter(), "upload", chat, file.name))
        return Receipt(chat, key)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        self.said.append((time.perf_counter(), "ring", Chat(self.name, person.id), text))
        return Receipt(Chat(self.name, person.id), key)

    def _note(self, what: str, chat: Chat, card: Card) -> None:
        self.largest = max(self.largest, len(dumps(card).encode()))
        self.said.append((time.perf_counter(), what, chat, plain(card)))

    def first(self, what: str, chat: Chat, text: str) -> float | None:
        """Return when a text was first handed over by a mention (send) or an edit."""
        for at, how, where, said in self.said:
            mention = said.startswith("【🔴 新的严重告警")
            if where == chat and text in said and how == what and mention is (what == "send"):
                return at
        return None


@dataclass
class World:
    """The bot's parts that a storm goes through, over files of their own."""

    kit: Kit
    intake: Intake
    paper: Paper
    noisy: Customer
    quiet: Customer


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    nobody, clock, paper = cast("Any", None), SystemClock(), Paper()
    with TemporaryDirectory() as name:
        url = f"sqlite+aiosqlite:///{name}/bot.sqlite"
        async with Store(url, Seal(Seal.new_key())) as store, Intake(url) as intake:
            await store.create()
            async with store.unit() as unit:
                people = [
                    await unit.customers.add(
                        Customer(0, name, name, clock.now(), Chat("paper", name))
                    )
                    for name in ("noisy", "quiet")
                ]
            kit = Kit(clock, store, {"paper": paper}, nobody, nobody, nobody)
            sender = Sender(store, kit.chats, drawing(kit), clock)
            tasks = [
                asyncio.create_task(Folding(kit, intake, SOURCES).run()),
                asyncio.create_task(_speak(sender, store)),
            ]
            try:
                yield World(kit, intake, paper, people[0], people[1])
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _speak(sender: Sender, store: Store) -> None:
    while True:
        await sender.drain()
        try:
            async with asyncio.timeout(1):
                await store.changed.wait()
        except TimeoutError:
            continue


def post(alerts: Sequence[tuple[str, str, str]]) -> bytes:
    """Return what Alertmanager posts for alerts of a rule, a host and a severity."""
    return json.dumps(
        {
            "version": "4",
            "groupKey": "{}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "bot",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager",
            "alerts": [
                {
                    "status": "firing",
                    "labels": {"alertname": rule, "instance": host, "severity": severity},
                    "annotations": {"summary": f"{rule} on {host} for five minutes"},
                    "startsAt": "2026-11-25T03:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "http://prometheus/graph",
                    "fingerprint": f"{rule}@{host}",
                }
                for rule, host, severity in alerts
            ],
        }
    ).encode()


def gale() -> list[bytes]:
    """Return the posts of one storm: every alert a distinct one."""
    alerts = [
        (f"Rule{n // HOSTS:03}", f"host-{n % HOSTS:03}", "warning" if n % 3 else "info")
        for n in range(ALERTS)
    ]
    return [post(alerts[n : n + PER_POST]) for n in range(0, ALERTS, PER_POST)]


async def storm(there: World, posts: Sequence[bytes], mark: str) -> tuple[float, float]:
    """Post a storm within a second, with a critical of each customer in its middle; return when
    those were handed to the intake."""
    begun, middle = time.perf_counter(), len(posts) // 2
    waiting, handed = [], (0.0, 0.0)
    for n, body in enumerate(posts):
        await asyncio.sleep(max(0.0, begun + n / len(posts) - time.perf_counter()))
        now = there.kit.clock.now()
        if n == middle:
            at = time.perf_counter()
            for customer in (there.noisy, there.quiet):
                critical = post([("DBDown", mark, "critical")])
                accept = there.intake.accept(customer.id, "alertmanager", critical, now)
                waiting.append(asyncio.create_task(accept))
            handed = (at, at)
        accept = there.intake.accept(there.noisy.id, "alertmanager", body, now)
        waiting.append(asyncio.create_task(accept))
    await asyncio.gather(*waiting)
    return handed


async def settled(there: World, within: float) -> None:
    """Wait until everything is folded."""
    async with asyncio.timeout(within):
        while True:
            async with there.kit.store.view() as unit:
                done = (await unit.incidents.cursors()).get(0, 0)
            if not await there.intake.after(done, 1):
                return
            await asyncio.sleep(0.05)


async def short() -> tuple[float, float, float, int, int]:
    """Play one storm; return how long the mention, the edit and the neighbour's mention took, how
    many alerts are missing, and the largest message."""
    async with world() as there:
        handed, _ = await storm(there, gale(), "db-01")
        await settled(there, 60)
        await asyncio.sleep(1)
        noisy, quiet = Chat("paper", "noisy"), Chat("paper", "quiet")
        found = (
            there.paper.first("send", noisy, "db-01"),
            there.paper.first("edit", noisy, "db-01"),
            there.paper.first("send", quiet, "db-01"),
        )
        async with there.kit.store.view() as unit:
            tallies = await unit.incidents.tallies(there.noisy.id)
        missing = ALERTS + 1 - sum(tally.count for tally in tallies)
        late = [60.0 if at is None else at - handed for at in found]
        return late[0], late[1], late[2], missing, there.paper.largest


async def long(seconds: int) -> tuple[int, int, int]:
    """Let one storm go on with repeats and a new critical every 7 s; return how many messages the
    group got in its first minute, how many of them new ones, and the largest."""
    async with world() as there:
        posts, begun, n = gale(), time.perf_counter(), 0
        await storm(there, posts, "db-01")
        while (gone := time.perf_counter() - begun) < seconds:
            bodies = [posts[n % len(posts)]]
            if gone > 7 * (n // 7 + 1):
                bodies.append(post([("DBDown", f"db-{n:03}", "critical")]))
            for body in bodies:
                now = there.kit.clock.now()
                await there.intake.accept(there.noisy.id, "alertmanager", body, now)
            n += 1
            await asyncio.sleep(1)
        mine = [each for each in there.paper.said if each[2].id == "noisy"]
        first = [each for each in mine if each[0] - mine[0][0] < 60]
        return len(first), sum(each[1] in NEW for each in first), there.paper.largest


async def active(count: int) -> tuple[int, int]:
    """Have so many alerts fire at once; return how many do, and by how many MB the process grew."""
    async with world() as there:
        me = psutil.Process()
        await asyncio.sleep(1)
        before = most = me.memory_info().rss
        for start in range(0, count, PER_POST):
            numbers = range(start, min(start + PER_POST, count))
            alerts = [(f"Rule{n // HOSTS:04}", f"host-{n % HOSTS:03}", "warning") for n in numbers]
            now = there.kit.clock.now()
            await there.intake.accept(there.noisy.id, "alertmanager", post(alerts), now)
            most = max(most, me.memory_info().rss)
        await settled(there, 300)
        most = max(most, me.memory_info().rss)
        async with there.kit.store.view() as unit:
            firing = sum(tally.count for tally in await unit.incidents.tallies(there.noisy.id))
        return firing, (most - before) // 2**20


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--long", type=int, default=62, help="seconds, 0 for none")
    parser.add_argument("--active", type=int, default=100_000, help="alerts, 0 for none")
    asked = parser.parse_args()
    rounds = [await short() for _ in range(asked.rounds)]
    rows: list[tuple[object, ...]] = []
    for place, what in enumerate(("mention", "edit of the card", "mention of the neighbour")):
        took = [each[place] for each in rounds]
        p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
        rows.append((what, f"{p50:.2f} s", f"{p99:.2f} s", f"p99 under {GOAL:.0f} s"))
    largest = max(each[4] for each in rounds)
    rows.append(("alerts lost", "", sum(each[3] for each in rounds), "0"))
    if asked.long:
        total, new, size = await long(asked.long)
        largest = max(largest, size)
        rows.append(("sends and edits in the first minute", "", total, "at most 18"))
        rows.append(("of them new messages", "", new, "at most 10"))
    if asked.active:
        firing, grown = await active(asked.active)
        rows.append((f"growth with {firing:,} active alerts", "", f"{grown} MB", "250 MB"))
    rows.append(("largest message", "", f"{largest:,} bytes", f"at most {LARGEST:,}"))
    title = f"{ALERTS:,} alerts in one second over {HOSTS} hosts, {len(rounds)} rounds"
    show(title, ("what", "p50", "p99 or count", "budget"), rows)


if __name__ == "__main__":
    asyncio.run(main())

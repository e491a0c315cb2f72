"""A storm of 20,000 alerts in one second over 200 hosts, over HTTP, beside a real Alertmanager.

    python -m bench.storm [--rounds 4] [--minute 62] [--active 100000]

Each round is a storm at a new process of the whole bot, with a new critical in its middle and one
of a quiet neighbour at the same instant, while its pages are looked at 20 times a second; the clock
starts when the critical is posted and stops when the chat is handed the mention, and the edit that
shows it. Then a new Alertmanager is posted the same. Then one storm goes on with repeats for a
minute, at both of them at once, so that what a group gets can be counted; meanwhile so many alerts
are made active at two others, for what the processes grow by. Every storm is looked through
afterwards: are all its alerts in the rows, and was any message too large?
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from dataclasses import dataclass

from bench.gale import ALERTS, HOSTS, Target, alertmanager, bot, fetched, gale, load, storm
from bench.storm_bot import NOISY, QUIET
from bench.table import median, quantile, show
from bot.folding import ALL
from storage.store import Store
from storage.vault import Seal

MARK = "db-01"
PAGES = 20
"""Looks at the bot's pages in each second."""
LARGEST = 20_000
"""Bytes of the largest message that DingTalk takes."""
NEW = ("send", "upload", "ring")
NEVER = 60.0
"""Seconds for what did not come at all."""
MEGA = 2**20
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """What one storm came to."""

    mention: float
    edit: float
    neighbour: float
    lost: int
    largest: int
    posts: list[float]
    """Seconds until each post was answered, by the bot"""
    theirs: list[float]
    """and by Alertmanager."""
    pages: list[float]


@dataclass(frozen=True, slots=True)
class Minute:
    """What a group got in the first minute."""

    messages: int
    new: int
    refused: int
    largest: int
    theirs: int
    """Notifications of Alertmanager,"""
    their_bytes: int
    their_critical: float
    """and how long the critical took to be in one."""


async def folded(target: Target, posts: int, within: float) -> int:
    """Wait until so many posts are folded; return how many alerts of the noisy customer fire."""
    async with Store(target.url, Seal(Seal.new_key())) as store, asyncio.timeout(within):
        while True:
            async with store.view() as unit:
                done = (await unit.incidents.cursors()).get(ALL, 0)
                if done >= posts:
                    return sum(tally.count for tally in await unit.incidents.tallies(1))
            await asyncio.sleep(0.1)


async def one() -> Round:
    """Play one storm at the bot, then at Alertmanager."""
    posts, pages = gale(), list[float]()
    async with bot() as ours, asyncio.TaskGroup() as group:
        looking = group.create_task(fetched(ours, PAGES, pages))
        handed = await storm(ours, posts, MARK)
        firing = await folded(ours, len(ours.took), 300)
        await asyncio.sleep(1)
        looking.cancel()
    found = (
        ours.first("send", NOISY, MARK),
        ours.first("edit", NOISY, MARK),
        ours.first("send", QUIET, MARK),
    )
    late = [NEVER if at is None else at - handed for at in found]
    async with alertmanager() as theirs:
        await storm(theirs, posts, MARK)
    largest = max(said.size for said in ours.said)
    lost = ALERTS + 1 - firing
    return Round(late[0], late[1], late[2], lost, largest, ours.took, theirs.took, pages)


async def minute(seconds: int) -> Minute:
    """Let one storm go on at both with repeats and a new critical every 7 s."""
    async with bot() as ours, alertmanager() as theirs:
        _, (took, count, size) = await asyncio.gather(
            _goes_on(ours, seconds), _notified(theirs, seconds)
        )
    mine = [said for said in ours.said if said.chat == NOISY]
    taken = [said for said in mine if said.what != "refused"]
    first = [said for said in taken if said.at - taken[0].at < NEVER]
    return Minute(
        len(first),
        sum(said.what in NEW for said in first),
        len(mine) - len(taken),
        max(said.size for said in ours.said),
        count,
        size,
        took,
    )


async def _goes_on(target: Target, seconds: int) -> float:
    """Return when the first critical was posted."""
    posts, begun = gale(), time.monotonic()
    handed = await storm(target, posts, MARK)
    number = 0
    while (gone := time.monotonic() - begun) < seconds:
        await target.post(NOISY, posts[number % len(posts)])
        if gone > 7 * (number // 7 + 1):
            await target.post(NOISY, [("DBDown", f"db-1{number:03}", "critical")])
        number += 1
        await asyncio.sleep(1)
    return handed


async def _notified(theirs: Target, seconds: int) -> tuple[float, int, int]:
    """Return how long the critical took, and the notifications of the minute and their bytes."""
    handed = await _goes_on(theirs, seconds)
    mine = [said for said in theirs.said if said.chat == NOISY]
    first = [said for said in mine if said.at - handed < NEVER]
    took = next((said.at - handed for said in mine if MARK in said.text), NEVER)
    return took, len(first), sum(said.size for said in first)


async def active(count: int) -> tuple[int, int, int]:
    """Have so many alerts fire at once; return how many do, and by how many MB each process grew."""
    async with bot() as ours:
        grown, posts = await _grown(ours, count)
        firing = await folded(ours, posts, 300)
        grown = max(grown, ours.process.memory_info().rss - ours.idle)
    async with alertmanager() as theirs:
        theirs_grown, _ = await _grown(theirs, count)
    return firing, grown // MEGA, theirs_grown // MEGA


async def _grown(target: Target, count: int) -> tuple[int, int]:
    await asyncio.sleep(1)
    target.idle = most = target.process.memory_info().rss
    for alerts in gale(count):
        await target.post(NOISY, alerts)
        most = max(most, target.process.memory_info().rss)
    return most - target.idle, len(target.took)


def waits(rounds: list[Round], theirs: float) -> list[Row]:
    """Return the rows of what somebody waits for."""
    rows: list[Row] = []
    for what, took, peer in (
        ("critical to mention", [each.mention for each in rounds], theirs),
        ("critical to the card's edit", [each.edit for each in rounds], theirs),
        ("quiet neighbour's critical to mention", [each.neighbour for each in rounds], 0.0),
    ):
        middle, worst = median(took), quantile(took, 0.99)
        beside = f"{peer:.2f} s" if peer else ""
        ratio = f"{middle / peer:.2f}" if peer else ""
        rows.append((what, f"{middle:.2f} s", f"{worst:.2f} s", beside, ratio, "p99 under 1 s"))
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        ours = median([quantile(each.posts, share) for each in rounds])
        peer = median([quantile(each.theirs, share) for each in rounds])
        what = f"post of 100 to its answer, {name}"
        rows.append((what, _ms(ours), "", _ms(peer), f"{ours / peer:.2f}", ""))
    pages = [took for each in rounds for took in each.pages]
    rows.append(("page meanwhile", _ms(median(pages)), _ms(quantile(pages, 0.99)), "", "", ""))
    rows.append(("of them failed", "", sum(map(math.isinf, pages)), "", "", "0"))
    return rows


def _ms(seconds: float) -> str:
    return "never" if math.isinf(seconds) else f"{seconds * 1000:.0f} ms"


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--minute", type=int, default=62, help="seconds")
    parser.add_argument("--active", type=int, default=100_000, help="alerts")
    asked = parser.parse_args()
    rounds = [await one() for _ in range(asked.rounds)]
    long, (firing, grown, their_grown) = await asyncio.gather(
        minute(asked.minute), active(asked.active)
    )
    lost = sum(each.lost for each in rounds) + asked.active - firing
    largest = max(long.largest, *(each.largest for each in rounds))
    rows = [
        *waits(rounds, long.their_critical),
        ("alerts lost", "", lost, "", "", "0"),
        ("messages of the first minute", "", long.messages, long.theirs, "", "at most 18"),
        ("of them new", "", long.new, "", "", "at most 10"),
        ("refused by the chat", "", long.refused, "", "", "0"),
        (
            "largest message",
            "",
            f"{largest:,} bytes",
            f"{long.their_bytes:,} in all",
            "",
            f"{LARGEST:,}",
        ),
        (
            f"growth with {firing:,} active alerts",
            "",
            f"{grown} MB",
            f"{their_grown} MB",
            f"{grown / their_grown:.2f}",
            "250 MB",
        ),
    ]
    title = f"{ALERTS:,} alerts in one second over {HOSTS} hosts, over HTTP, {len(rounds)} rounds"
    columns = ("what", "median", "p99 or count", "Alertmanager", "ratio", "budget")
    show(f"{title}, {load()}", columns, rows)


if __name__ == "__main__":
    asyncio.run(main())

"""From the intake to the fold: in order, each post once, over crashes, and nobody waits for another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from adapters.sources import SOURCES
from adapters.words import Chat
from bot.folding import ALL, SLICE, Folding
from runbooks.kit import Kit
from storage.intake import Intake
from storage.records import Accepted, Customer, Incident
from storage.store import Store


@dataclass
class Shelf:
    """An intake that is a list."""

    posts: list[Accepted] = field(default_factory=list)
    trimmed: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, customer: int, body: bytes, at: datetime, source: str = "alertmanager") -> None:
        self.posts.append(Accepted(len(self.posts) + 1, customer, source, at, body))
        self.news.set()

    async def after(self, id: int, limit: int) -> Sequence[Accepted]:  # noqa: A002
        return [post for post in self.posts if post.id > id][:limit]

    def go_on_after(self, id: int) -> None:  # noqa: A002
        assert id <= len(self.posts), "this list is never lost"

    async def trim(self, id: int) -> None:  # noqa: A002
        self.trimmed = id


def body(*said: tuple[str, str, str], status: str = "firing") -> bytes:
    return json.dumps(
        {
            "version": "4",
            "status": status,
            "alerts": [
                {
                    "status": status,
                    "labels": {"alertname": rule, "instance": host, "severity": severity},
                    "annotations": {},
                    "startsAt": "2026-11-25T03:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "fingerprint": f"{rule}@{host}",
                }
                for rule, host, severity in said
            ],
        }
    ).encode()


def kit_of(store: Store, clock: Any) -> Kit:
    nobody = cast("Any", None)
    return Kit(clock, store, {}, nobody, nobody, nobody)


async def customer_of(store: Store, clock: Any, name: str) -> int:
    async with store.unit() as unit:
        made = Customer(0, name, name, clock.now(), Chat("paper", name))
        return (await unit.customers.add(made)).id


async def fold_all(folding: Folding) -> None:
    await folding.resume()
    while await folding.round():
        pass


async def incidents(store: Store, customer: int) -> Sequence[Incident]:
    async with store.view() as unit:
        return await unit.incidents.open_of(customer)


async def mentions(store: Store) -> int:
    async with store.view() as unit:
        entries = await unit.outbox.latest(1000)
    return sum(entry.key.startswith("critical:") for entry in entries)


async def test_a_restart_goes_on_where_the_last_process_ended(store: Store, clock: Any) -> None:
    """What was folded is not folded again, also when the intake still has it."""
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    await fold_all(Folding(kit, shelf, SOURCES))
    await clock.sleep(60)
    shelf.put(customer, body(("Disk", "a", "critical"), status="resolved"), clock.now())
    await fold_all(Folding(kit, shelf, SOURCES))
    assert await incidents(store, customer) == []
    await fold_all(Folding(kit, shelf, SOURCES))
    assert await incidents(store, customer) == []
    assert await mentions(store) == 1


async def test_a_fold_that_failed_is_done_again_by_the_next_process(
    store: Store, clock: Any
) -> None:
    """The cursor, the incident and the mention are one transaction: all of them or none."""
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    folding = Folding(kit, shelf, SOURCES)
    await folding.resume()

    task = asyncio.create_task(folding.round())
    for _ in range(8):  # somewhere in the middle of it
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with store.view() as unit:
        assert (customer in await unit.incidents.cursors()) is bool(
            await unit.incidents.open_of(customer)
        )
    await fold_all(Folding(kit, shelf, SOURCES))
    assert len(await incidents(store, customer)) == 1
    assert await mentions(store) == 1


async def test_two_replicas_fold_each_post_once(store: Store, clock: Any) -> None:
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    for n in range(30):
        shelf.put(customer, body(("Disk", f"h{n}", "critical")), clock.now())
    one, other = Folding(kit, shelf, SOURCES), Folding(kit, shelf, SOURCES)
    await asyncio.gather(fold_all(one), fold_all(other))
    async with store.view() as unit:
        (tally,) = await unit.incidents.tallies(customer)
        storm = await unit.incidents.storm(customer)
    assert tally.count == 30
    assert storm.received == 30


async def test_a_quiet_customer_does_not_wait_for_a_noisy_one(store: Store, clock: Any) -> None:
    """One slice of the neighbour's storm at most, whatever lies before it."""
    shelf, kit = Shelf(), kit_of(store, clock)
    noisy, quiet = [await customer_of(store, clock, name) for name in ("noisy", "quiet")]
    for n in range(40):
        storm = [(f"r{n}", f"h{i}", "warning") for i in range(100)]
        shelf.put(noisy, body(*storm), clock.now())
    shelf.put(quiet, body(("Disk", "a", "critical")), clock.now())
    folding = Folding(kit, shelf, SOURCES)
    await folding.resume()
    await folding.round()
    assert len(await incidents(store, quiet)) == 1
    async with store.view() as unit:
        done = sum(tally.count for tally in await unit.incidents.tallies(noisy))
        cursors = await unit.incidents.cursors()
    assert done == SLICE
    assert cursors[ALL] == cursors[noisy] < cursors[quiet]


async def test_a_critical_overtakes_the_storm_before_it_and_is_told_once(
    store: Store, clock: Any
) -> None:
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    for n in range(40):
        storm = [(f"r{n}", f"h{i}", "warning") for i in range(100)]
        shelf.put(customer, body(*storm), clock.now())
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    folding = Folding(kit, shelf, SOURCES)
    await folding.resume()
    await folding.round()
    assert await mentions(store) == 1
    while await folding.round():
        pass
    assert await mentions(store) == 1
    async with store.view() as unit:
        assert sum(t.count for t in await unit.incidents.tallies(customer)) == 4001


async def test_a_critical_does_not_overtake_what_is_said_of_itself(
    store: Store, clock: Any
) -> None:
    """A warning and then critical, while the fold was busy: it is a new critical once, not twice."""
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    for part in range(2):
        storm = [(f"r{part}-{i}", "h", "warning") for i in range(SLICE)]
        shelf.put(customer, body(*storm), clock.now())
    shelf.put(customer, body(("Disk", "a", "warning")), clock.now())
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    folding = Folding(kit, shelf, SOURCES)
    await folding.resume()
    while await folding.round():
        await clock.sleep(15)
    assert await mentions(store) == 1


async def test_what_cannot_be_read_stops_nothing(store: Store, clock: Any) -> None:
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    shelf.put(customer, b"{", clock.now())
    shelf.put(customer, b"{}", clock.now(), source="unheard-of")
    shelf.put(customer + 7, body(("Disk", "a", "critical")), clock.now())
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    await fold_all(Folding(kit, shelf, SOURCES))
    assert len(await incidents(store, customer)) == 1
    async with store.view() as unit:
        assert (await unit.incidents.cursors())[ALL] == 4


async def test_a_log_that_was_lost_is_gone_on_with(
    store: Store, clock: Any, tmp_path: Path
) -> None:
    """Counted from 1 again, what comes next would be taken for folded, and never told."""
    kit = kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    for log, host in (("one", "web-1"), ("two", "web-2")):
        async with Intake(f"sqlite+aiosqlite:///{tmp_path / log}") as intake:
            folding = Folding(kit, intake, SOURCES)
            await folding.resume()
            posted = body((host, host, "critical"))
            await intake.accept(customer, "alertmanager", posted, clock.now())
            while await folding.round():
                pass
    assert {each.title for each in await incidents(store, customer)} == {"web-1", "web-2"}

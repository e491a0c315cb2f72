"""From the intake to the fold: in order, each post once, over crashes, and nobody waits for another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from adapters.card import loads, plain
from adapters.sources import SOURCES, Source, with_shapes
from adapters.sources.mapping import Shape
from adapters.words import Alert, Chat, Severity
from bot.folding import ALL, FEW, SLICE, Folding
from bot.refolding import again
from runbooks.alerting import quiet, show
from runbooks.kit import House, Kit
from runbooks.walk import OPERATIONS
from storage.intake import Intake
from storage.records import Accepted, Customer, Incident, Storm, StormPhase, Truncation
from storage.store import DatabaseError, Store
from storage.vault import Seal


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


async def test_a_neighbour_with_many_criticals_takes_nobodys_early_turn(
    store: Store, clock: Any
) -> None:
    """Of one who has too many the first are told early as well, and all are counted once."""
    shelf, kit = Shelf(), kit_of(store, clock)
    noisy, quiet = [await customer_of(store, clock, name) for name in ("a", "b")]
    storm = [(f"r{n}", f"h{n}", "critical") for n in range(FEW + 5)]
    shelf.put(noisy, body(*((f"w{n}", "h", "warning") for n in range(SLICE))), clock.now())
    shelf.put(noisy, body(*storm), clock.now())
    shelf.put(quiet, body(("Disk", "a", "critical")), clock.now())
    folding = Folding(kit, shelf, SOURCES)
    await folding.resume()
    await folding._fill()
    assert len(await incidents(store, quiet)) == 1
    assert len(await incidents(store, noisy)) == FEW
    while await folding.round():
        pass
    assert len(await incidents(store, quiet)) == 1
    async with store.view() as unit:
        assert (await unit.incidents.storm(noisy)).received == SLICE + FEW + 5


class Died(BaseException):
    """The process is gone: nothing below may catch it."""


async def test_the_first_critical_does_not_wait_until_all_of_the_rest_is_read(
    store: Store, clock: Any
) -> None:
    """Of a page of large posts, on whose reading others wait."""
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    half = [body(*((f"r{n}", f"h{i}", "warning") for i in range(100))) for n in range(20)]
    for content in (*half, body(("Disk", "a", "critical")), *half, b"the last one"):
        shelf.put(customer, content, clock.now())
    usual = SOURCES["alertmanager"]

    def decode(content: bytes, now: datetime) -> tuple[Alert, ...]:
        if content == b"the last one":
            raise Died
        return usual.decode(content, now)

    folding = Folding(kit, shelf, {usual.name: replace(usual, decode=decode)})
    await folding.resume()
    with pytest.raises(Died):
        await folding.round()
    assert await mentions(store) == 1


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


POISON = "\ud800"
"""Half a character: no database takes it."""


def broken(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Read a post of which the second alert cannot be kept; one without alerts breaks the reader."""
    names = json.loads(body)
    assert names, "a reader with a fault"
    return tuple(Alert(name, True, Severity.CRITICAL, name, host="a") for name in names)


BROKEN = {**SOURCES, "broken": Source("broken", "坏的", broken)}


async def operations_of(store: Store, clock: Any) -> None:
    async with store.unit() as unit:
        await unit.outbox.mark(OPERATIONS, Chat("paper", "ops"), clock.now())


async def told_operations(store: Store) -> list[str]:
    async with store.view() as unit:
        entries = await unit.outbox.latest(100)
    return [plain(loads(each.card)) for each in entries if each.key.startswith("aside:")]


async def test_a_post_that_cannot_be_folded_is_set_aside_and_the_next_ones_go_on(
    store: Store, clock: Any
) -> None:
    """Its other alerts are told, its words are kept, and operations know what to do; the customer's
    posts before and after it are folded, and those of the others."""
    await operations_of(store, clock)
    shelf, kit = Shelf(), kit_of(store, clock)
    one, other = [await customer_of(store, clock, name) for name in ("a", "b")]
    shelf.put(one, body(("Before", "a", "critical")), clock.now())
    bad = json.dumps(["Good", POISON, "Fine"]).encode()
    shelf.put(one, bad, clock.now(), source="broken")
    shelf.put(one, b"[]", clock.now(), source="broken")
    shelf.put(one, body(("After", "a", "critical")), clock.now())
    shelf.put(other, body(("Disk", "b", "critical")), clock.now())
    await fold_all(Folding(kit, shelf, BROKEN))
    titles = {each.title for each in await incidents(store, one)}
    assert titles == {"Before", "Good", "Fine", "After"}
    assert len(await incidents(store, other)) == 1
    async with store.view() as unit:
        kept = await unit.aside.all()
        assert (await unit.incidents.cursors())[ALL] == 5
    assert [(each.post, each.body, each.source) for each in kept] == [
        (2, bad, "broken"),
        (3, b"[]", "broken"),
    ]
    (told,) = await told_operations(store)
    assert "vigilbot refold" in told
    await fold_all(Folding(kit, shelf, BROKEN))
    async with store.view() as unit:
        assert await unit.aside.count() == 2, "it is set aside once"


async def test_what_was_set_aside_is_folded_again_when_it_can_be(
    store: Store, clock: Any, tmp_path: Path
) -> None:
    """By a program that knows its source: and what it still cannot read is set aside again."""
    kit, customer = kit_of(store, clock), await customer_of(store, clock, "a")
    async with Intake(f"sqlite+aiosqlite:///{tmp_path / 'log'}") as intake:
        begun = clock.now()
        await intake.accept(customer, "broken", b'["Disk"]', begun)
        await intake.accept(customer, "unheard-of", b"{}", begun)
        await fold_all(Folding(kit, intake, SOURCES))
        assert await incidents(store, customer) == []
        await clock.sleep(600)
        assert await again(store, intake) == 2
        await fold_all(Folding(kit, intake, BROKEN))
        (incident,) = await incidents(store, customer)
        assert incident.critical_at == begun, "it counts from when it was accepted"
        async with store.view() as unit:
            (left,) = await unit.aside.all()
        assert left.source == "unheard-of"


async def rename(store: Store, name: str, to: str) -> None:
    async with store.unit() as unit:
        await unit.aside._db.execute(sa.text(f"ALTER TABLE {name} RENAME TO {to}"))


async def test_a_database_that_fails_is_no_posts_fault(store: Store, clock: Any) -> None:
    """The process ends, and the next one finds the post where it was."""
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    for name in ("incidents", "aside"):
        await rename(store, name, f"{name}_gone")
    with pytest.raises(DatabaseError):
        await fold_all(Folding(kit, shelf, SOURCES))
    for name in ("incidents", "aside"):
        await rename(store, f"{name}_gone", name)
    await fold_all(Folding(kit, shelf, SOURCES))
    assert len(await incidents(store, customer)) == 1
    async with store.view() as unit:
        assert await unit.aside.count() == 0


async def test_nothing_is_set_aside_for_a_database_that_is_away(tmp_path: Path, clock: Any) -> None:
    """What a SQLite file without its table raises is what one on a full or lost disk raises."""
    async with Store(f"sqlite+aiosqlite:///{tmp_path / 'b'}", Seal(Seal.new_key())) as store:
        await store.create()
        shelf, kit = Shelf(), kit_of(store, clock)
        customer = await customer_of(store, clock, "a")
        shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
        await rename(store, "incidents", "gone")
        with pytest.raises(sa.exc.OperationalError):
            await fold_all(Folding(kit, shelf, SOURCES))
        async with store.view() as unit:
            assert await unit.aside.count() == 0
            assert await unit.incidents.cursors() == {}


async def test_a_source_that_falls_silent_is_told_on_its_cards_and_closes_nothing(
    store: Store, clock: Any
) -> None:
    """Once when it has become long, and once a day; another source's card is left in peace."""
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    await fold_all(Folding(kit, shelf, SOURCES))
    (incident,) = await incidents(store, customer)

    async def card() -> str:
        async with store.view() as unit:
            return plain(await show.incident(incident.id, kit.house, clock.now(), unit))

    await clock.sleep(6 * 3600 - 1)
    assert await quiet.look(kit) == 0
    assert "没有消息" not in await card()
    await clock.sleep(1)
    assert await quiet.look(kit) == 1
    assert "来源 Alertmanager 已 6 小时没有消息" in await card()
    await clock.sleep(3600)
    assert await quiet.look(kit) == 0, "once is enough"
    await clock.sleep(17 * 3600)
    assert await quiet.look(kit) == 1
    assert len(await incidents(store, customer)) == 1
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    await fold_all(Folding(kit, shelf, SOURCES))
    assert "没有消息" not in await card(), "a repeat changes no alert, and says that it is there"


async def test_a_card_that_told_of_silence_is_drawn_once_when_its_source_speaks(
    store: Store, clock: Any
) -> None:
    """A repeat is no news, so nothing else would draw it; and the next repeats say nothing new."""
    shelf, kit = Shelf(), kit_of(store, clock)
    customer = await customer_of(store, clock, "a")
    shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
    await fold_all(Folding(kit, shelf, SOURCES))
    (incident,) = await incidents(store, customer)
    await clock.sleep(6 * 3600)
    assert await quiet.look(kit) == 1
    versions = []
    for _ in range(4):
        async with store.view() as unit:
            living = await unit.outbox.living(f"incident:{incident.id}")
        assert living
        versions.append(living.version)
        shelf.put(customer, body(("Disk", "a", "critical")), clock.now())
        await fold_all(Folding(kit, shelf, SOURCES))
        await clock.sleep(60)
    assert versions == [versions[0], *[versions[0] + 1] * 3]


async def test_a_monitor_of_ones_own_is_called_as_the_configuration_calls_it(
    store: Store, clock: Any
) -> None:
    own = with_shapes({"mine": Shape(rule="rule", label="自研监控")})
    house = House(sources={name: source.title for name, source in own.items()})
    shelf, kit = Shelf(), replace(kit_of(store, clock), house=house)
    customer = await customer_of(store, clock, "a")
    shelf.put(customer, b'{"rule": "backup"}', clock.now(), "mine")
    await fold_all(Folding(kit, shelf, own))
    (incident,) = await incidents(store, customer)
    await clock.sleep(6 * 3600)
    async with store.unit() as unit:
        left_out = Truncation(customer, "mine", "g", 3, {}, frozenset(), clock.now())
        await unit.truncations.put(left_out)
        text = plain(await show.incident(incident.id, house, clock.now(), unit))
        await unit.incidents.save_storm(Storm(customer, StormPhase.STORM, clock.now()))
        storm = plain(await show.storm(customer, house, clock.now(), unit))
    assert "来源 自研监控 已 6 小时没有消息" in text
    assert "3 条未送达：请调大 max_alerts（自研监控）" in text
    assert "3 条未送达：请调大 max_alerts（自研监控）" in storm


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


async def test_a_quiet_customers_critical_does_not_wait_behind_anothers_storm(
    store: Store, clock: Any
) -> None:
    """It is told before the first slice of what came before it is folded, and once."""
    shelf, kit = Shelf(), kit_of(store, clock)
    noisy = await customer_of(store, clock, "noisy")
    quiet = await customer_of(store, clock, "quiet")
    shelf.put(noisy, body(*((f"R{n}", "a", "warning") for n in range(9))), clock.now())
    shelf.put(quiet, body(("Disk", "b", "critical")), clock.now())
    await fold_all(Folding(kit, shelf, SOURCES))
    async with store.view() as unit:
        said = sorted(await unit.outbox.latest(100), key=lambda entry: entry.id)
    assert said[0].key.startswith(f"critical:{quiet}:")
    assert await mentions(store) == 1

"""What is remembered: units of work, compare-and-set, the outbox, the vault, the audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapters.port import UsageError
from adapters.words import Chat, Person, Receipt, Role, Secret
from storage.audit import first_break
from storage.outbox import LET_PASS
from storage.people import ports_of
from storage.records import (
    Choice,
    Customer,
    Delivery,
    DeliveryState,
    EffectState,
    Ended,
    HeldAlert,
    HostLine,
    Inflow,
    Lane,
    Line,
    LineState,
    Member,
    Run,
    RunStatus,
    Server,
    Storm,
    Tier,
)
from storage.store import Store, Unit
from storage.tables import alerts_held, audit, storms
from storage.together import Together
from storage.vault import Seal

NOW = datetime(2026, 11, 25, 3, 0, 0, 123456, tzinfo=UTC)
GROUP = Chat("webchat", "g1", "海蓝 监控交付")
LI = Person("webchat", "li", "李工")
KEY = Seal.new_key()


async def customer_of(store: Store, name: str = "海蓝科技", slug: str = "hailan") -> Customer:
    async with store.unit() as unit:
        return await unit.customers.add(Customer(0, name, slug, NOW, None, Tier.PRO))


def run_of(customer: Customer) -> Run:
    return Run("r1", "onboarding", customer.id, "probe", RunStatus.WALKING, 1, "{}", LI, NOW, NOW)


async def test_ends_that_an_older_program_kept_are_read(store: Store) -> None:
    """It kept what had ended, and not when."""
    customer = await customer_of(store)
    held = HeldAlert(customer.id, "disk", "web-01", ended=(Ended("1@then", NOW),))
    async with store.unit() as unit:
        await unit.held.save(held)
        assert await unit.held.get(customer.id, "disk", "web-01") == held
        await unit.held._db.execute(sa.update(alerts_held).values(ended='["1@then","2@then"]'))
    async with store.view() as unit:
        found = await unit.held.get(customer.id, "disk", "web-01")
    assert found.ended == (Ended("1@then"), Ended("2@then"))


async def test_a_storms_minute_that_an_older_program_kept_is_read(store: Store) -> None:
    """It did not keep how much had come."""
    customer = await customer_of(store)
    storm = Storm(customer.id, recent=(Inflow(NOW, 20, 1, 35),))
    async with store.unit() as unit:
        await unit.incidents.save_storm(storm)
        assert await unit.incidents.storm(customer.id) == storm
        old = f'[["{NOW.isoformat()}",20,1]]'
        await unit.incidents._db.execute(sa.update(storms).values(recent=old))
    async with store.view() as unit:
        assert (await unit.incidents.storm(customer.id)).recent == (Inflow(NOW, 20, 1, 0),)


async def test_a_customer_comes_back_as_it_was_kept(store: Store) -> None:
    kept = await customer_of(store)
    async with store.unit() as unit:
        await unit.customers.bind(kept.id, GROUP)
        await unit.customers.begin_service(kept.id, NOW)
    async with store.view() as unit:
        found = await unit.customers.of_chat(GROUP)
    assert found == replace(kept, chat=GROUP, in_service_since=NOW)


async def test_one_group_belongs_to_one_customer(store: Store) -> None:
    first = await customer_of(store)
    second = await customer_of(store, "蓝海", "lanhai")
    async with store.unit() as unit:
        await unit.customers.bind(first.id, GROUP)
    with pytest.raises(UsageError, match="海蓝科技"):
        async with store.unit() as unit:
            await unit.customers.bind(second.id, GROUP)


async def test_a_unit_that_fails_leaves_nothing(store: Store) -> None:
    kept = await customer_of(store)
    web = Server(0, kept.id, "web-01", "10.0.0.1")

    async def add_both() -> None:
        async with store.unit() as unit:
            await unit.servers.add(web)
            await unit.servers.add(replace(web, port=2222))

    with pytest.raises(UsageError, match="web-01"):
        await add_both()
    async with store.view() as unit:
        assert await unit.servers.of(kept.id) == []


async def test_the_slower_of_two_presses_changes_nothing(store: Store) -> None:
    run = run_of(await customer_of(store))
    async with store.unit() as unit:
        await unit.runs.add(run)
    parked = replace(run, status=RunStatus.WAITING, line="sign", deadline=NOW)

    async def press(note: str) -> bool:
        async with store.unit() as unit:
            return await unit.runs.advance(
                parked, replace(parked, status=RunStatus.WALKING, attempt=2, note=note)
            )

    async with store.unit() as unit:
        assert await unit.runs.advance(run, parked)
        assert [r.id for r in await unit.runs.due(NOW)] == ["r1"]
    won = [await press("王"), await press("赵")]
    assert won == [True, False]
    async with store.view() as unit:
        found = await unit.runs.get("r1")
    assert found is not None
    assert (found.note, found.attempt) == ("王", 2)


async def test_a_deed_that_was_begun_is_seen_after_a_crash(store: Store) -> None:
    run = run_of(await customer_of(store))
    async with store.unit() as unit:
        await unit.runs.add(run)
        await unit.effects.begin("chat:r1", "r1", "group", NOW)
    async with store.unit() as unit:
        again = await unit.effects.begin("chat:r1", "r1", "group", NOW + timedelta(hours=1))
        assert again.at == NOW
        assert [e.key for e in await unit.effects.in_doubt("r1")] == ["chat:r1"]
        await unit.effects.done(again, '"g1"', NOW)
    async with store.view() as unit:
        assert await unit.effects.in_doubt("r1") == []
        found = await unit.effects.get("chat:r1")
    assert found is not None
    assert (found.state, found.result) == (EffectState.DONE, '"g1"')


async def test_a_reopened_line_forgets_its_hosts(store: Store) -> None:
    run = run_of(await customer_of(store))
    async with store.unit() as unit:
        await unit.runs.add(run)
        await unit.lines.put(Line("r1", "probe", LineState.DONE, NOW, NOW, proof="2/2", by=LI))
        await unit.lines.put_host(HostLine("r1", "probe", "web-01", LineState.DONE, NOW))
        await unit.lines.put_host(HostLine("r1", "probe", "web-01", LineState.FAILED, NOW))
    async with store.unit() as unit:
        assert (await unit.lines.of("r1"))["probe"].by == LI
        assert (await unit.lines.hosts("r1", "probe"))["web-01"].state is LineState.FAILED
        await unit.lines.reopen("r1", ["probe"])
        assert await unit.lines.of("r1") == {}
        assert await unit.lines.hosts("r1", "probe") == {}


def entry(key: str, lane: Lane = Lane.NORMAL, chat: Chat = GROUP) -> Delivery:
    return Delivery(0, key, chat, lane, DeliveryState.WAITING, NOW, card="{}")


async def test_an_alarm_overtakes_and_a_key_is_said_once(store: Store) -> None:
    async with store.unit() as unit:
        assert await unit.outbox.put(entry("a"))
        assert not await unit.outbox.put(entry("a"))
        await unit.outbox.put(entry("b"))
        await unit.outbox.put(entry("c", Lane.ALARM))
        await unit.outbox.put(entry("d", chat=Chat("webchat", "g2")))
    async with store.view() as unit:
        heads = await unit.outbox.heads(NOW)
    assert [d.key for d in heads] == ["c", "d"]


async def test_an_entry_that_backs_off_keeps_its_place(store: Store) -> None:
    async with store.unit() as unit:
        await unit.outbox.put(entry("a"))
        await unit.outbox.put(entry("b"))
        (first,) = await unit.outbox.heads(NOW)
        await unit.outbox.save(replace(first, tries=1, due=NOW + timedelta(seconds=5)))
    async with store.view() as unit:
        assert await unit.outbox.heads(NOW) == []
        later = await unit.outbox.heads(NOW + timedelta(seconds=5))
    assert [d.key for d in later] == ["a"]


async def test_an_alarm_that_is_never_taken_lets_the_later_ones_pass(store: Store) -> None:
    """Before so many tries it keeps its place; after them it is still tried, when nothing else is."""
    soon = NOW + timedelta(minutes=1)
    async with store.unit() as unit:
        for key in ("old", "older", "new"):
            await unit.outbox.put(entry(key, Lane.ALARM))
        (old,) = await unit.outbox.heads(NOW)
        await unit.outbox.save(replace(old, tries=LET_PASS - 1, due=soon))
        assert await unit.outbox.heads(NOW) == []
        await unit.outbox.save(replace(old, tries=LET_PASS, due=soon))
        (older,) = await unit.outbox.heads(NOW)
        await unit.outbox.save(replace(older, tries=LET_PASS, due=soon - timedelta(seconds=1)))
        (new,) = await unit.outbox.heads(soon)
        assert (older.key, new.key) == ("older", "new")
        await unit.outbox.save(replace(new, state=DeliveryState.SENT, sent_at=NOW))
        assert await unit.outbox.heads(NOW) == []
        assert [each.key for each in await unit.outbox.heads(soon)] == ["older"]


async def test_marks_of_a_living_card_do_not_pile_up(store: Store) -> None:
    async with store.unit() as unit:
        for _ in range(5):
            card = await unit.outbox.mark("run:r1", GROUP, NOW)
    assert card.version == 5
    async with store.unit() as unit:
        (waiting,) = await unit.outbox.heads(NOW)
        await unit.outbox.save(replace(waiting, state=DeliveryState.SENT, sent_at=NOW))
        await unit.outbox.drawn("run:r1", 5, "m1")
        assert await unit.outbox.heads(NOW) == []
        await unit.outbox.mark("run:r1", GROUP, NOW)
        assert [d.living for d in await unit.outbox.heads(NOW)] == ["run:r1"]
        drawn = await unit.outbox.living("run:r1")
    assert drawn is not None
    assert (drawn.version, drawn.drawn, drawn.receipt) == (6, 5, "m1")


async def test_a_living_card_is_found_by_the_message_that_shows_it(store: Store) -> None:
    """By the newest one alone, and in its own chat."""
    async with store.unit() as unit:
        await unit.outbox.mark("run:1", GROUP, NOW)
        await unit.outbox.drawn("run:1", 1, "om_1")
        assert await unit.outbox.shown_as(Receipt(GROUP, "om_1")) == "run:1"
        await unit.outbox.drawn("run:1", 1, "om_2")
        assert await unit.outbox.shown_as(Receipt(GROUP, "om_2")) == "run:1"
        assert not await unit.outbox.shown_as(Receipt(GROUP, "om_1"))
        assert not await unit.outbox.shown_as(Receipt(replace(GROUP, id="g2"), "om_2"))


async def test_ports_are_never_given_twice_on_a_host(store: Store) -> None:
    names = [(f"客户{n}", f"c{n}") for n in range(6)]
    customers = [await customer_of(store, *name) for name in names]

    async def allocate(customer: Customer) -> set[int]:
        async with store.unit() as unit:
            block = await unit.ports.allocate("ecs-1", customer.id, busy=frozenset({8201}))
            assert await unit.ports.allocate("ecs-1", customer.id) == block
            return ports_of(block)

    given = [await allocate(customer) for customer in customers]
    assert sum(map(len, given)) == len(set().union(*given))
    assert 8101 in given[0]
    assert 8201 not in set().union(*given)


async def test_a_delivery_is_seen_once(store: Store) -> None:
    async with store.unit() as unit:
        assert await unit.people.see("feishu", "e1", NOW)
        assert not await unit.people.see("feishu", "e1", NOW)
        assert await unit.people.see("slack", "e1", NOW)
        assert await unit.people.forget_events(NOW + timedelta(days=1)) == 2


async def test_a_member_is_what_was_said_last(store: Store) -> None:
    async with store.unit() as unit:
        await unit.people.put(Member(LI, Role.ENGINEER))
        await unit.people.put(Member(LI, Role.LEAD, title="交付主管"))
        assert await unit.people.with_role(Role.ENGINEER) == []
        found = await unit.people.get(LI)
    assert found == Member(LI, Role.LEAD, None, "交付主管")


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


async def test_a_secret_is_sealed_under_its_own_name(store: Store, tmp_path: Path) -> None:
    async with store.unit() as unit:
        await unit.vault.put("server:1:password", Secret("hunter2-蓝"))
        kept = await unit.vault.get("server:1:password")
        assert await unit.vault.get("server:2:password") is None
    assert kept == Secret("hunter2-蓝")
    assert not [f for f in files_in(tmp_path) if b"hunter2" in f.read_bytes()]


def test_a_sealed_value_opens_neither_elsewhere_nor_with_another_key() -> None:
    sealed = Seal(KEY).close("a", Secret("x"))
    with pytest.raises(UsageError, match="无法解封"):
        Seal(KEY).open("b", sealed)
    with pytest.raises(UsageError, match="无法解封"):
        Seal(Seal.new_key()).open("a", sealed)
    with pytest.raises(UsageError, match="密钥无效"):
        Seal(Secret("short"))


async def test_the_audit_trail_shows_where_it_was_changed(store: Store) -> None:
    async with store.unit() as unit:
        for deed in ("sign", "skip", "role"):
            await unit.audit.add(NOW, "李工", deed, {"run": "r1"})
    async with store.view() as unit:
        chain = await unit.audit.entries()
    assert first_break(chain) is None
    assert first_break((chain[0], replace(chain[1], actor="王"), chain[2])) == 2
    assert first_break((chain[0], chain[2])) == 3


async def test_a_long_trail_is_checked_in_parts(store: Store) -> None:
    """Years of it at once would keep every press waiting; where a part begins nothing is overlooked."""

    async def changed(change: sa.UpdateBase) -> int | None:
        async with store.unit() as unit:
            await unit.audit._db.execute(change)
            return await unit.audit.broken(part=2)

    async with store.unit() as unit:
        for number in range(6):
            await unit.audit.add(NOW, "李工", "skip", {"run": str(number)})
        assert [entry.id for entry in await unit.audit.latest(2)] == [6, 5]
        assert await unit.audit.broken(part=2) is None
        assert await unit.audit.broken(part=4) is None
    assert await changed(sa.update(audit).where(audit.c.id == 5).values(actor="王")) == 5
    assert await changed(sa.delete(audit).where(audit.c.id == 3)) == 4


async def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    await customer_of(store)
    async with store.unit() as unit:
        await unit.customers.add(Customer(0, "乙", "b", NOW))
        async with asyncio.timeout(5), store.view() as other:
            assert [c.slug for c in await other.customers.all()] == ["hailan"]


async def test_writes_that_come_together_share_a_commit(store: Store) -> None:
    """Each gets its own result, in the order in which they came."""
    together = 50
    seen: set[int] = set()

    async def put(number: int) -> int:
        async def change(unit: Unit) -> int:
            seen.add(id(unit.audit._db))
            return (await unit.customers.add(Customer(0, f"c{number}", f"c{number}", NOW))).id

        return await store.write(change)

    numbers = await asyncio.gather(*map(put, range(together)))
    assert numbers == sorted(numbers)
    async with store.view() as unit:
        assert [c.slug for c in await unit.customers.all()] == [f"c{n}" for n in range(together)]
    assert len(seen) == 1


async def test_a_write_that_fails_spoils_no_other(store: Store) -> None:
    kept = await customer_of(store)
    web, twin = (Server(0, kept.id, name, "10.0.0.1") for name in ("web-01", "web-02"))

    async def add(server: Server) -> None:
        async def change(unit: Unit) -> None:
            await unit.customers.begin_service(kept.id, NOW)
            await unit.servers.add(server)

        await store.write(change)

    async def rename(unit: Unit) -> None:
        await unit.customers.set_tier(kept.id, Tier.BASIC)

    ended = await asyncio.gather(add(web), add(twin), store.write(rename), return_exceptions=True)
    assert [type(each) for each in ended] == [type(None), UsageError, type(None)]
    async with store.view() as unit:
        assert [server.name for server in await unit.servers.of(kept.id)] == ["web-01"]
        found = await unit.customers.get(kept.id)
    assert found is not None
    assert found.tier is Tier.BASIC


async def test_what_a_failed_write_did_before_is_taken_back(store: Store) -> None:
    kept = await customer_of(store)

    async def half(unit: Unit) -> None:
        await unit.customers.begin_service(kept.id, NOW)
        raise UsageError("半途")

    with pytest.raises(UsageError, match="半途"):
        await store.write(half)
    async with store.view() as unit:
        assert await unit.customers.get(kept.id) == kept


async def test_who_is_cancelled_takes_no_other_write_with_him(store: Store) -> None:
    begun = asyncio.Event()

    async def first(unit: Unit) -> None:
        begun.set()
        await unit.customers.add(Customer(0, "甲", "a", NOW))

    async def second(unit: Unit) -> None:
        await unit.customers.add(Customer(0, "乙", "b", NOW))

    ahead, beside = (asyncio.create_task(store.write(each)) for each in (first, second))
    await begun.wait()
    ahead.cancel()
    await beside
    async with store.view() as unit:
        assert [c.slug for c in await unit.customers.all()] == ["a", "b"]


async def test_a_commit_that_fails_is_told_to_everybody_who_shared_it() -> None:
    full = [True, False]

    @asynccontextmanager
    async def begin() -> AsyncIterator[list[str]]:
        yield []
        if full.pop(0):
            raise OSError("No space left on device")

    async def change(done: list[str]) -> int:
        done.append("x")
        return len(done)

    together = Together(begin)
    writes = (together.write(change), together.write(change))
    ended = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(each) for each in ended] == [OSError, OSError]
    assert await together.write(change) == 1  # the next commit is another one


async def test_leaving_the_store_waits_for_writes_that_nobody_awaits(tmp_path: Path) -> None:
    url, begun = f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}", asyncio.Event()

    async def add(unit: Unit) -> None:
        begun.set()
        await unit.customers.add(Customer(0, "甲", "a", NOW))

    async with Store(url, Seal(KEY)) as store:
        await store.create()
        alone = asyncio.create_task(store.write(add))
        await begun.wait()
        alone.cancel()
    async with Store(url, Seal(KEY)) as store, store.view() as unit:
        assert [c.slug for c in await unit.customers.all()] == ["a"]


async def test_one_server_is_read_by_its_name_and_twins_by_their_hostname(store: Store) -> None:
    kept = await customer_of(store)
    async with store.unit() as unit:
        web = await unit.servers.add(Server(0, kept.id, "web", "10.0.0.1", hostname="node"))
        twin = await unit.servers.add(Server(0, kept.id, "twin", "10.0.0.2", hostname="node"))
        await unit.servers.add(Server(0, kept.id, "db", "10.0.0.3", hostname="db"))
        assert await unit.servers.named(kept.id, "web") == web
        assert await unit.servers.named(kept.id, "none") is None
        assert await unit.servers.named(kept.id + 1, "web") is None
        assert await unit.servers.sharing(kept.id, "node") == [web, twin]


async def test_a_lease_is_one_holders_until_it_ends(store: Store) -> None:
    """Two replicas: the first keeps it for as long as it renews it, then the other gets it."""
    later = NOW + timedelta(seconds=90)
    async with store.unit() as unit:
        assert await unit.leases.take("wecom", "one", NOW, later)
        assert not await unit.leases.take("wecom", "two", NOW, later)
        assert await unit.leases.take("slack", "two", NOW, later)
        renewed = later + timedelta(seconds=30)
        assert await unit.leases.take("wecom", "one", NOW + timedelta(seconds=30), renewed)
        assert not await unit.leases.take("wecom", "two", later, renewed)
        assert await unit.leases.take("wecom", "two", renewed, renewed + timedelta(seconds=90))
        assert not await unit.leases.take("wecom", "one", renewed, renewed + timedelta(seconds=90))


async def test_a_lease_that_is_given_up_is_free_at_once(store: Store) -> None:
    """Only its holder can give it up."""
    later = NOW + timedelta(seconds=90)
    async with store.unit() as unit:
        await unit.leases.take("wecom", "one", NOW, later)
        await unit.leases.give_up("wecom", "two")
        assert not await unit.leases.take("wecom", "two", NOW, later)
        await unit.leases.give_up("wecom", "one")
        assert await unit.leases.take("wecom", "two", NOW, later)


async def test_the_last_choice_of_each_kind_counts(store: Store) -> None:
    """And without one nobody decided: the settings do."""
    customer = await customer_of(store)
    yes = Choice(customer.id, "ai", "yes", NOW, LI)
    no = replace(yes, value="no", at=NOW + timedelta(hours=1))
    async with store.unit() as unit:
        assert await unit.choices.get(customer.id, "ai") is None
        await unit.choices.put(yes)
        await unit.choices.put(no)
        assert await unit.choices.get(customer.id, "ai") == no
        assert await unit.choices.of("ai") == {customer.id: no}
        assert await unit.choices.drop(customer.id, "ai")
        assert not await unit.choices.drop(customer.id, "ai")
        assert await unit.choices.of("ai") == {}

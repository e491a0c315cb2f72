"""Jobs that must report: registered again, retired, and spared for the time in which nobody listened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.card import loads, plain
from adapters.sources import SOURCES, Source, heartbeat
from adapters.webchat.link import WebChat
from adapters.words import Message, Role, Secret
from bot.app import working
from bot.folding import Folding
from bot.inbox import Inbox
from commands.contents import BOOK
from runbooks import hook_address
from runbooks.alerting import heartbeats
from runbooks.kit import Kit
from storage.hooks import hash_of
from storage.intake import Intake
from storage.journal import journal_in
from storage.records import Customer, Heartbeat, Member, Run
from storage.store import Store
from storage.vault import Seal
from tests import blank
from tests.unit.test_pipeline import GROUP, LI

NOBODY = cast("Any", None)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
READERS = {**SOURCES, heartbeat.NAME: Source(heartbeat.NAME, heartbeat.TITLE, heartbeat.decode)}


class Yard:
    """One customer's jobs, and the bot that waits for them."""

    def __init__(self, kit: Kit, clock: Any, customer: Customer, intake: Intake) -> None:
        self.kit, self.clock, self.customer, self.intake = kit, clock, customer, intake
        self.count = 0

    async def register(self, name: str, every: timedelta, token: str) -> None:
        """As `/hook beat` does it, with a token that we know."""
        now, seconds = self.clock.now(), int(every.total_seconds())
        row = Heartbeat(self.customer.id, name, hash_of(Secret(token)), seconds, now + every)
        async with self.kit.store.unit() as unit:
            await unit.heartbeats.put(row)

    async def beat(self, token: str) -> bool:
        return await heartbeats.beat(self.kit, self.intake, Secret(token))

    async def look(self) -> int:
        """Look once, and fold what that told."""
        count = await heartbeats.look(self.kit, self.intake)
        await self.fold()
        return count

    async def pass_by(self, span: timedelta, step: timedelta = timedelta(seconds=30)) -> None:
        """Let time go by in which a bot looks."""
        for _ in range(span // step):
            await self.clock.sleep(step.total_seconds())
            await self.look()

    async def down(self, span: timedelta) -> None:
        """Let time go by in which no bot is there, and start one."""
        await self.clock.sleep(span.total_seconds())
        await heartbeats.resume(self.kit)

    async def fold(self) -> None:
        folding = Folding(self.kit, self.intake, READERS)
        await folding.resume()
        while await folding.round():
            pass

    async def late(self) -> list[str]:
        """Return the jobs whose alert is open."""
        async with self.kit.store.view() as unit:
            firing = await unit.incidents.firing(self.customer.id, 100)
            open_ = await unit.incidents.open_of(self.customer.id)
        assert bool(open_) == bool(firing)
        return [alert.fingerprint for alert in firing]

    async def calls(self) -> int:
        """Return how many calls are still to be made."""
        async with self.kit.store.view() as unit:
            return len(await unit.escalations.due(self.clock.now() + DAY))

    async def jobs(self) -> list[Heartbeat]:
        async with self.kit.store.view() as unit:
            return list(await unit.heartbeats.of(self.customer.id))

    async def type(self, text: str) -> str:
        """Type a line as the lead, and return the answer."""
        self.count += 1
        inbox = Inbox(self.kit.store, {}, self.clock, _go, BOOK, NOBODY, NOBODY)
        message = Message(f"m{self.count}", GROUP, LI, text, self.clock.now())
        wrong = await inbox.take(message)
        async with self.kit.store.view() as unit:
            entry = await unit.outbox.by_key(f"reply:{GROUP.platform}:m{self.count}")
        return wrong or (plain(loads(entry.card)) if entry else "")


async def _go(run: Run) -> None:
    raise AssertionError(run)


@pytest.fixture
async def yard(store: Store, clock: Any, tmp_path: Path) -> AsyncIterator[Yard]:
    kit = Kit(clock, store, {}, NOBODY, NOBODY, NOBODY)
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now(), GROUP))
        await unit.people.put(Member(LI, Role.LEAD))
    async with Intake(f"sqlite+aiosqlite:///{tmp_path / 'posts.sqlite'}") as intake:
        yield Yard(kit, clock, customer, intake)


async def test_a_late_job_that_is_registered_again_ends_its_alert_when_it_reports(
    yard: Yard,
) -> None:
    """It takes longer now, and has another address: it is the same job, and nobody is called on."""
    await yard.register("备份", HOUR, "old")
    await yard.clock.sleep(3700)
    assert await yard.look() == 1
    assert await yard.late() == ["备份"]
    assert await yard.calls() > 0
    now = yard.clock.now()
    async with yard.kit.store.unit() as unit:
        await hook_address.expect(yard.customer, "备份", 2 * HOUR, LI, now, unit)
    await yard.register("备份", 2 * HOUR, "new")
    assert await yard.late() == ["备份"], "nothing was heard of it yet"
    await yard.clock.sleep(3 * 3600)
    assert await yard.look() == 0, "its silence was told"
    assert await yard.beat("new")
    await yard.look()
    assert await yard.late() == []
    assert await yard.calls() == 0
    assert not await yard.beat("old")


async def test_jobs_are_not_late_because_the_bot_was_not_there(yard: Yard) -> None:
    """Their reports of twenty minutes reached nobody. Who does not report afterwards is late."""
    for n in range(3):
        await yard.register(f"job{n}", timedelta(minutes=5), f"t{n}")
    await yard.look()
    await yard.down(timedelta(minutes=20))
    assert await yard.look() == 0
    await yard.pass_by(timedelta(minutes=4))
    assert await yard.beat("t0")
    await yard.pass_by(timedelta(minutes=1))
    assert sorted(await yard.late()) == ["job1", "job2"]


async def test_a_short_restart_or_another_replica_spares_nobody(yard: Yard) -> None:
    """One replica has listened all the time: what it did not hear of was not sent."""
    await yard.register("备份", timedelta(minutes=5), "t")
    await yard.pass_by(timedelta(minutes=4, seconds=30))
    await yard.down(timedelta(seconds=30))
    assert await yard.look() == 1
    assert await yard.late() == ["备份"]


async def test_a_dead_job_is_missed_though_the_bot_is_restarted_every_day(yard: Yard) -> None:
    """Each time two minutes go by without it: a turn is given anew once, not for ever."""
    await yard.register("周备份", 7 * DAY, "t")
    late_on = []
    for day in range(10):
        if await yard.late():
            late_on.append(day)
        await yard.pass_by(DAY, step=6 * HOUR)
        await yard.down(timedelta(minutes=2))
    assert late_on == [8, 9], "a turn after the first restart, and the minutes of the others"


async def test_who_has_reported_since_is_spared_again(yard: Yard) -> None:
    await yard.register("备份", timedelta(minutes=5), "t")
    for _ in range(3):
        await yard.pass_by(timedelta(minutes=4, seconds=30))
        await yard.down(timedelta(minutes=20))
        await yard.pass_by(timedelta(minutes=4))
        assert await yard.beat("t")
    assert await yard.late() == []


async def test_a_look_is_noted_twice_a_minute_at_the_most(yard: Yard) -> None:
    """And not at all where no job is waited for."""

    async def noted() -> datetime | None:
        async with yard.kit.store.view() as unit:
            return await unit.looks.at(heartbeats.LOOK)

    await yard.look()
    assert await noted() is None
    await yard.register("备份", HOUR, "t")
    found = set()
    for _ in range(24):
        await yard.clock.sleep(5)
        await yard.look()
        found.add(await noted())
    assert len(found) == 4
    await yard.clock.sleep(-3600)
    await yard.look()
    assert await noted() == yard.clock.now(), "a clock that was wrong"


async def test_whoever_starts_spares_the_jobs_before_the_first_look(
    clock: Any, tmp_path: Path
) -> None:
    url = blank.sqlite(tmp_path / "own.sqlite")
    async with (
        Store(url, Seal(Seal.new_key())) as store,
        WebChat(tmp_path / "web.sqlite") as web,
        Intake(f"sqlite+aiosqlite:///{tmp_path / 'posts.sqlite'}") as intake,
    ):
        kit = Kit(clock, store, {"web": web}, NOBODY, NOBODY, NOBODY)
        async with store.unit() as unit:
            owner = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now(), GROUP))
        yard = Yard(kit, clock, owner, intake)
        await yard.register("备份", timedelta(minutes=5), "t")
        await clock.sleep(1200)
        journal = journal_in(tmp_path / "engine.sqlite")
        async with working(kit, journal, posts=intake) as bot:
            (look,) = [each for each in bot.looks if each.name == "heartbeats"]
            assert await look.do() == 0
        (job,) = await yard.jobs()
    assert job.due == clock.now() + timedelta(minutes=5)


async def test_a_retired_job_ends_its_alert_and_its_address_is_nobodys(yard: Yard) -> None:
    await yard.register("备份", HOUR, "t")
    await yard.register("报表", HOUR, "u")
    await yard.clock.sleep(3700)
    assert await yard.beat("u")
    await yard.look()
    assert await yard.late() == ["备份"]
    assert "不再等待 备份" in await yard.type("/hook unbeat 备份")
    assert not await yard.beat("t")
    listed = await yard.type("/hook list")
    assert "报表" in listed
    assert "备份" not in listed
    assert "没有登记过任务「备份」" in await yard.type("/hook unbeat 备份")
    await yard.look()
    assert await yard.late() == []
    assert await yard.calls() == 0
    await yard.type("/hook unbeat 报表")
    await yard.pass_by(3 * HOUR, step=HOUR)
    assert await yard.late() == []
    async with yard.kit.store.view() as unit:
        assert await unit.heartbeats.retired() == []


async def test_a_retired_job_may_be_registered_again_before_its_end_is_told(yard: Yard) -> None:
    await yard.register("备份", HOUR, "t")
    await yard.clock.sleep(3700)
    await yard.look()
    await yard.type("/hook unbeat 备份")
    await yard.register("备份", HOUR, "new")
    await yard.look()
    assert await yard.late() == ["备份"]
    assert await yard.beat("new")
    await yard.look()
    assert await yard.late() == []


class Retiring(Intake):
    """An intake that is so slow that a job is retired before its silence is kept, or else its end."""

    retire: Callable[[], Coroutine[Any, Any, object]]
    when: bool = True

    async def accept(self, customer: int, source: str, body: bytes, at: datetime) -> int:
        if heartbeat.decode(body, at)[0].firing is self.when:
            await self.retire()
        return await super().accept(customer, source, body, at)


@pytest.mark.parametrize("told", [False, True])
async def test_a_job_that_is_retired_while_its_silence_is_told_is_not_left_silent(
    yard: Yard, tmp_path: Path, *, told: bool
) -> None:
    """Whether another replica has told of it, too, or not."""
    await yard.register("备份", HOUR, "t")
    await yard.clock.sleep(3700)

    async def retire() -> None:
        async with yard.kit.store.unit() as unit:
            (job,) = await unit.heartbeats.of(yard.customer.id)
            if told:
                await unit.heartbeats.put(
                    Heartbeat(job.customer, job.name, "x", 1, job.due, missed=True)
                )
            await unit.heartbeats.retire(yard.customer.id, "备份")

    async with Retiring(f"sqlite+aiosqlite:///{tmp_path / 'slow.sqlite'}") as slow:
        slow.retire = retire
        await heartbeats.look(yard.kit, slow)
        await heartbeats.look(yard.kit, slow)
        posts = [heartbeat.decode(post.body, post.at)[0] for post in await slow.after(0, 10)]
    assert [post.firing for post in posts][:2] == [True, False]
    assert not posts[-1].firing
    assert await yard.jobs() == []


async def test_a_job_that_is_retired_while_it_reports_stays_retired(
    yard: Yard, tmp_path: Path
) -> None:
    await yard.register("备份", HOUR, "t")
    await yard.clock.sleep(3700)
    await yard.look()

    async def retire() -> None:
        async with yard.kit.store.unit() as unit:
            await unit.heartbeats.retire(yard.customer.id, "备份")

    async with Retiring(f"sqlite+aiosqlite:///{tmp_path / 'slow.sqlite'}") as slow:
        slow.retire, slow.when = retire, False
        assert await heartbeats.beat(yard.kit, slow, Secret("t"))
    assert await yard.jobs() == []
    assert not await yard.beat("t")

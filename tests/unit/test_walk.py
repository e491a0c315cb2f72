"""Walking a book: parking, sticking, and being killed at every instant."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol, cast

import pytest

from adapters.port import Fault, InDoubt, Permanent, Transient, UsageError
from adapters.words import Chat, Person, Role
from runbooks import walk as walking
from runbooks.book import Decision, Each, Gate, Phase, Runbook, Step
from runbooks.kit import Errand, Kit
from storage.records import Customer, LineState, Run, RunStatus
from storage.store import Store

LI = Person("webchat", "li", "李工")
ZHAO = Person("webchat", "zhao", "赵主管")
GROUP = Chat("webchat", "g1")
HOSTS = tuple(f"web-{n:02}" for n in range(1, 8))


class Clock(Protocol):
    slept: list[float]

    def now(self) -> Any: ...

    async def sleep(self, seconds: float) -> None: ...


class Killed(BaseException):
    """The process is gone: nothing below the walk may catch it."""


@dataclass(frozen=True, slots=True)
class Case:
    hosts: tuple[str, ...] = HOSTS
    group: str = ""


@dataclass
class World:
    """What is outside: deeds done, and the instants at which the process dies."""

    groups: list[str] = field(default_factory=list)
    installs: list[str] = field(default_factory=list)
    kill_at: int = -1
    """The how-manieth instant is the last; -1 for none."""
    instants: int = 0
    bad: dict[str, Exception] = field(default_factory=dict)
    blind: bool = False
    """The world cannot tell whether a group was made."""

    def instant(self) -> None:
        self.instants += 1
        if self.instants == self.kill_at:
            raise Killed


def book_of(world: World, **each: Any) -> Runbook[Case]:  # noqa: C901 - a book and its deeds
    async def open_group(case: Case, errand: Errand) -> tuple[Case, str]:
        async def do() -> str:
            world.instant()
            world.groups.append(errand.key("group"))
            world.instant()
            return "g1"

        async def look() -> str | None:
            if world.blind:
                raise InDoubt("平台没有回答是否已建群")
            return "g1" if errand.key("group") in world.groups else None

        group = await errand.once("group", do, look)
        world.instant()
        return replace(case, group=group), f"群 {group}"

    async def install(case: Case, errand: Errand, host: str) -> str:
        if host in world.bad:
            raise world.bad[host]

        async def do() -> str:
            world.instant()
            world.installs.append(host)
            world.instant()
            return "0.9.0"

        async def look() -> str | None:
            return "0.9.0" if host in world.installs else None

        version: str = await errand.once("install", do, look)
        world.instant()
        return version

    def over(case: Case) -> tuple[str, ...]:
        return case.hosts

    async def close(case: Case, errand: Errand) -> tuple[Case, str]:
        world.instant()
        return case, case.group

    return Runbook(
        "sample",
        "样例",
        Case,
        (
            Phase("签约"),
            Step("group", "建立客户群", open_group),
            Gate("signed", "确认合同已签", Role.LEAD, timedelta(days=7)),
            Phase("安装"),
            Each("install", "安装 Agent", over, install, at_once=3, **each),
            Step("close", "完成", close),
        ),
    )


@pytest.fixture
def kit(store: Store, clock: Clock) -> Kit:
    # These books touch no server, no monitor and no document.
    nobody = cast("Any", None)
    return Kit(clock, store, {}, nobody, nobody, nobody)


async def begin(book: Runbook[Case], kit: Kit) -> Run:
    now = kit.clock.now()
    async with kit.store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", now, GROUP))
        case = walking.dump(Case())
        run = Run("r1", "sample", customer.id, "", RunStatus.WALKING, 0, case, LI, now, now)
        return await walking.start(book, run, unit)


async def to_the_end(book: Runbook[Case], kit: Kit) -> Run:
    """Walk as often as the process is killed, and open the gate when the run waits there."""
    books = {"sample": book}
    for _ in range(5):
        try:
            run = await walking.walk(books, "r1", kit)
        except Killed:
            continue
        except BaseExceptionGroup as group:
            _, other = group.split(Killed)
            if other:
                raise
            continue
        if run.status is not RunStatus.WAITING:
            return run
        async with kit.store.unit() as unit:
            await walking.decide(books, Decision(unit, run, ZHAO, kit.clock.now()))
    raise AssertionError("it does not end")


async def test_it_parks_at_the_gate_and_goes_on_when_it_is_opened(kit: Kit) -> None:
    world = World()
    book = book_of(world)
    await begin(book, kit)
    parked = await walking.walk({"sample": book}, "r1", kit)
    assert (parked.status, parked.line) == (RunStatus.WAITING, "signed")
    assert parked.deadline == kit.clock.now() + timedelta(days=7)
    assert world.installs == []

    done = await to_the_end(book, kit)
    assert done.status is RunStatus.DONE
    assert sorted(world.installs) == list(HOSTS)
    async with kit.store.view() as unit:
        lines = await unit.lines.of("r1")
        living = await unit.outbox.living("run:r1")
    assert (lines["signed"].by, lines["signed"].proof) == (ZHAO, "赵主管 确认")
    assert lines["install"].proof == "7/7 台完成"
    assert living is not None
    assert living.version > len(lines)


@pytest.mark.parametrize("instant", range(1, 26))
async def test_killed_at_any_instant_nothing_is_done_twice(kit: Kit, instant: int) -> None:
    """A deed has an instant before it, one between deed and record, and one after."""
    world = World(kill_at=instant)
    book = book_of(world)
    await begin(book, kit)
    done = await to_the_end(book, kit)
    assert done.status is RunStatus.DONE
    assert world.groups == ["r1:group:group"]
    assert sorted(world.installs) == list(HOSTS)


async def test_a_deed_in_doubt_is_asked_about_and_not_repeated(kit: Kit) -> None:
    world = World(kill_at=2, blind=True)
    book = book_of(world)
    await begin(book, kit)
    stuck = await to_the_end(book, kit)
    assert (stuck.status, stuck.line) == (RunStatus.STUCK, "group")
    assert "请核实后再决定" in stuck.note
    assert len(world.groups) == 1
    async with kit.store.view() as unit:
        (doubt,) = await unit.effects.in_doubt("r1")
    assert doubt.asked


async def test_a_retry_visits_only_the_hosts_that_failed(kit: Kit) -> None:
    world = World(bad={"web-03": Permanent("sudo 需要密码", fault=Fault.SUDO)})
    book = book_of(world)
    await begin(book, kit)
    stuck = await to_the_end(book, kit)
    assert stuck.status is RunStatus.STUCK
    assert stuck.fault == "sudo"
    assert "6/7 台完成；1 台（web-03）：sudo 需要密码" in stuck.note

    world.bad.clear()
    async with kit.store.unit() as unit:
        await walking.retry(stuck, kit.clock.now(), unit)
    assert (await to_the_end(book, kit)).status is RunStatus.DONE
    assert sorted(world.installs) == list(HOSTS)


async def test_a_canary_that_fails_keeps_the_rest_untouched(kit: Kit) -> None:
    world = World(bad={HOSTS[0]: Transient("连不上", fault=Fault.NETWORK)})
    book = book_of(world, canary=True)
    await begin(book, kit)
    stuck = await to_the_end(book, kit)
    assert stuck.status is RunStatus.STUCK
    assert "6 台尚未开始" in stuck.note
    assert world.installs == []


async def test_too_many_failures_stop_the_wave(kit: Kit) -> None:
    world = World(bad=dict.fromkeys(HOSTS, Transient("连不上")))
    book = book_of(world, stop_after=0.4)
    await begin(book, kit)
    stuck = await to_the_end(book, kit)
    async with kit.store.view() as unit:
        hosts = await unit.lines.hosts("r1", "install")
    assert stuck.status is RunStatus.STUCK
    assert 3 <= len(hosts) < len(HOSTS)


async def test_of_two_who_press_at_once_one_is_told_that_it_was_late(kit: Kit) -> None:
    book = book_of(World())
    await begin(book, kit)
    books = {"sample": book}
    parked = await walking.walk(books, "r1", kit)

    async def press(by: Person) -> str:
        try:
            async with kit.store.unit() as unit:
                await walking.decide(books, Decision(unit, parked, by, kit.clock.now()))
        except UsageError as error:
            return str(error)
        return "ok"

    said = [await press(ZHAO), await press(LI)]
    assert said == ["ok", walking.STALE]


async def test_a_line_is_left_out_only_with_a_reason(kit: Kit) -> None:
    book = book_of(World(bad={"web-03": Permanent("没有 sudo")}))
    await begin(book, kit)
    stuck = await to_the_end(book, kit)
    now = kit.clock.now()
    with pytest.raises(UsageError, match="必须说明原因"):
        async with kit.store.unit() as unit:
            await walking.skip({"sample": book}, stuck, ZHAO, " ", now, unit)
    async with kit.store.unit() as unit:
        await walking.skip({"sample": book}, stuck, ZHAO, "明日补装", now, unit)
    assert (await to_the_end(book, kit)).status is RunStatus.DONE
    async with kit.store.view() as unit:
        line = (await unit.lines.of("r1"))["install"]
    assert (line.state, line.note, line.by) == (LineState.SKIPPED, "明日补装", ZHAO)


async def test_a_cancelled_run_stays_cancelled_under_a_live_segment(kit: Kit) -> None:
    book = book_of(World())
    run = await begin(book, kit)

    async def stop() -> None:
        async with kit.store.unit() as unit:
            await walking.cancel(run, "客户改期", kit.clock.now(), unit)

    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(case: Case, errand: Errand) -> tuple[Case, str]:
        entered.set()
        await go.wait()
        return case, "ok"

    slow_book = replace_first(book, slow)
    segment = asyncio.create_task(walking.walk({"sample": slow_book}, "r1", kit))
    await entered.wait()
    await stop()
    go.set()
    ended = await segment
    assert (ended.status, ended.note) == (RunStatus.CANCELLED, "客户改期")


def replace_first(book: Runbook[Case], do: Any) -> Runbook[Case]:
    phase, step, *rest = book.rows
    assert isinstance(step, Step)
    return Runbook(book.name, book.title, book.case, (phase, replace(step, do=do), *rest))


async def test_a_passing_fault_is_tried_again_and_a_lasting_one_is_not(kit: Kit) -> None:
    tried: list[str] = []

    async def shaky(case: Case, errand: Errand) -> tuple[Case, str]:
        tried.append("x")
        if len(tried) < 3:
            raise Transient("忙", retry_after=7.0 if len(tried) == 1 else None)
        raise Permanent("不行")

    book: Runbook[Case] = Runbook(
        "sample", "样例", Case, (Phase("一"), Step("a", "甲", shaky, tries=5))
    )
    await begin(book, kit)
    run = await walking.walk({"sample": book}, "r1", kit)
    assert (run.status, run.note) == (RunStatus.STUCK, "不行")
    assert cast("Clock", kit.clock).slept == [7.0, 2.0]


async def test_hosts_that_end_together_share_a_commit(kit: Kit) -> None:
    """500 commits would take longer than 500 commands over SSH."""
    together = 200

    async def do(case: Case, errand: Errand, host: str) -> str:
        return host

    def over(case: Case) -> tuple[str, ...]:
        return tuple(f"web-{n:03}" for n in range(together))

    book = Runbook("wide", "样例", Case, (Phase("一"), Each("all", "全部", over, do, at_once=50)))
    now = kit.clock.now()
    async with kit.store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", now, GROUP))
        run = Run("r1", "wide", customer.id, "", RunStatus.WALKING, 0, "{}", LI, now, now)
        await walking.start(book, run, unit)
    done = await walking.walk({"wide": book}, "r1", kit)
    assert done.status is RunStatus.DONE
    async with kit.store.view() as unit:
        hosts = await unit.lines.hosts("r1", "all")
        living = await unit.outbox.living("run:r1")
    assert {name: host.note for name, host in hosts.items()} == {name: name for name in hosts}
    assert len(hosts) == together
    assert living is not None
    assert living.version < together / 10

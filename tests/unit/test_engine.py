"""The engine: segments on DBOS, the sweep, and a process that is really killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.words import Chat, Person, Role
from runbooks import walk as walking
from runbooks.book import Decision, Gate, Phase, Runbook, Step
from runbooks.engine import POISONED, Engine
from runbooks.kit import Errand, Kit
from storage.journal import journal_in
from storage.records import Customer, Run, RunStatus
from storage.store import Store
from storage.vault import Seal
from tests import blank

LI = Person("webchat", "li", "李工")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@dataclass(frozen=True, slots=True)
class Case:
    pass


class World:
    """Deeds done, and whether the first line has a bug."""

    def __init__(self) -> None:
        self.deeds: list[str] = []
        self.bug = False
        self.done = asyncio.Event()


def book_of(world: World) -> Runbook[Case]:
    def deed(name: str) -> Any:
        async def do(case: Case, errand: Errand) -> tuple[Case, str]:
            if world.bug:
                raise RuntimeError("a bug of ours")
            world.deeds.append(name)
            if name == "b":
                world.done.set()
            return case, name

        return do

    return Runbook(
        "sample",
        "样例",
        Case,
        (
            Phase("一"),
            Step("a", "甲", deed("a")),
            Gate("gate", "确认", Role.LEAD, timedelta(days=1)),
            Step("b", "乙", deed("b")),
        ),
    )


@pytest.fixture
async def kit(tmp_path: Path, clock: Any) -> AsyncIterator[Kit]:
    nobody = cast("Any", None)
    async with Store(blank.sqlite(tmp_path / "bot.sqlite"), Seal(Seal.new_key())) as s:
        yield Kit(clock, s, {}, nobody, nobody, nobody)


async def begin(book: Runbook[Case], kit: Kit) -> Run:
    now = kit.clock.now()
    async with kit.store.unit() as unit:
        customer = await unit.customers.add(
            Customer(0, "海蓝", "hailan", now, Chat("webchat", "g"))
        )
        run = Run("r1", "sample", customer.id, "", RunStatus.WALKING, 0, "{}", LI, now, now)
        return await walking.start(book, run, unit)


async def state(kit: Kit) -> Run:
    async with kit.store.view() as unit:
        run = await unit.runs.get("r1")
    assert run is not None
    return run


async def until(kit: Kit, status: RunStatus) -> Run:
    async with asyncio.timeout(20):
        run = await state(kit)
        while run.status is not status:
            run = await state(kit)
    return run


async def test_a_press_starts_the_next_segment(kit: Kit, tmp_path: Path) -> None:
    world = World()
    book = book_of(world)
    run = await begin(book, kit)
    async with Engine({"sample": book}, kit, journal_in(tmp_path / "dbos.sqlite")) as engine:
        await engine.go(run)
        parked = await until(kit, RunStatus.WAITING)
        assert world.deeds == ["a"]
        async with kit.store.unit() as unit:
            opened = await walking.decide(
                {"sample": book}, Decision(unit, parked, LI, kit.clock.now())
            )
        await engine.go(opened)
        await engine.go(opened)
        await until(kit, RunStatus.DONE)
    assert world.deeds == ["a", "b"]


async def test_a_run_whose_start_was_lost_is_found_by_the_sweep(kit: Kit, tmp_path: Path) -> None:
    """The process died between the commit and the start of the segment."""
    world = World()
    book = book_of(world)
    await begin(book, kit)
    async with Engine({"sample": book}, kit, journal_in(tmp_path / "dbos.sqlite")):
        await until(kit, RunStatus.WAITING)
    assert world.deeds == ["a"]


async def test_a_poisoned_line_becomes_a_question(kit: Kit, tmp_path: Path) -> None:
    world = World()
    world.bug = True
    book = book_of(world)
    await begin(book, kit)
    async with Engine({"sample": book}, kit, journal_in(tmp_path / "dbos.sqlite")) as engine:
        async with asyncio.timeout(20):
            while (run := await state(kit)).status is RunStatus.WALKING:
                await engine.sweep()
    assert (run.status, run.failures) == (RunStatus.STUCK, POISONED)
    assert "多次异常中断" in run.note


async def test_a_sweep_gives_a_run_no_second_walker(kit: Kit, tmp_path: Path) -> None:
    """The segment is at its second line, after whose attempt no workflow is named."""
    entered: list[str] = []
    there, go_on = asyncio.Event(), asyncio.Event()

    async def quick(case: Case, errand: Errand) -> tuple[Case, str]:
        return case, "quick"

    async def slow(case: Case, errand: Errand) -> tuple[Case, str]:
        entered.append(errand.line)
        there.set()
        await go_on.wait()
        return case, "slow"

    rows = (Phase("一"), Step("a", "甲", quick), Step("b", "乙", slow))
    book = Runbook("sample", "样例", Case, rows)
    run = await begin(book, kit)
    async with Engine({"sample": book}, kit, journal_in(tmp_path / "dbos.sqlite")) as engine:
        await engine.go(run)
        await there.wait()
        swept = [await engine.sweep() for _ in range(3)]
        # However a second segment came about, it waits for its turn and finds nothing to do.
        second = asyncio.create_task(engine.walk(run.id))
        await kit.store.answers(1)
        go_on.set()
        await until(kit, RunStatus.DONE)
        await second
    assert swept == [0, 0, 0]
    assert entered == ["b"]


async def test_a_walk_ends_before_its_engine_is_left_and_is_begun_again(
    kit: Kit, tmp_path: Path
) -> None:
    """A stop in order is no death: it is not counted, and nothing works on with what is closed."""
    there, ended = asyncio.Event(), list[str]()

    async def slow(case: Case, errand: Errand) -> tuple[Case, str]:
        if not ended:
            there.set()
            try:
                await asyncio.Event().wait()
            finally:
                async with kit.store.view() as unit:  # as what is undone then
                    await unit.runs.get("r1")
                ended.append(errand.line)
        return case, "slow"

    book = Runbook("sample", "样例", Case, (Phase("一"), Step("a", "甲", slow)))
    run = await begin(book, kit)
    async with Engine({"sample": book}, kit, journal_in(tmp_path / "dbos.sqlite")) as engine:
        await engine.go(run)
        await there.wait()
    assert ended == ["a"]
    assert await asyncio.to_thread(sum, (1, 2)) == 3, "what is closed next has threads"
    async with Engine({"sample": book}, kit, journal_in(tmp_path / "dbos.sqlite")):
        done = await until(kit, RunStatus.DONE)
    assert done.failures == 0

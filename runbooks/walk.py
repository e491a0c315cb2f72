"""Walks a book, one segment at a time: from the present line to the next gate.

The run's row is the truth. Whoever walks may be killed at any instant and walked again: each
line ends in one transaction that holds what became of it, the run's next line and the mark on
the card, and that transaction is a compare-and-set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import uuid4

import msgspec

from adapters.port import Fault, InDoubt, OutsideError, Transient, UsageError
from adapters.words import Person
from runbooks.book import Decision, Each, Gate, Row, Ruling, Runbook, Step, failures
from runbooks.fit import unfit_answer
from runbooks.kit import Errand, Kit
from storage.records import HostLine, Line, LineState, Run, RunStatus
from storage.store import Unit

BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the tries of a line, where the other side names no time."""

OPERATIONS = "operations"
"""Key of the operations group's living card."""

ENDED = (LineState.DONE, LineState.SKIPPED)

STALE = "这一步已经由别人处理，或卡片已过期：请看最新的进度卡，或输入 /status"

Books = Mapping[str, Runbook[Any]]


def load(book: Runbook[Any], run: Run) -> Any:
    """Return the run's case."""
    return msgspec.json.decode(run.case, type=book.case)


def dump(case: Any) -> str:
    """Return a case as JSON."""
    return msgspec.json.encode(case).decode()


def card_of(run: Run) -> str:
    """Return the key of the run's living card."""
    return f"run:{run.id}"


def fresh(book: Runbook[Any], customer: int, case: str, by: Person, now: datetime) -> Run:
    """Return a new run of a book for a customer, that `start` is to place; `case` is its JSON."""
    return Run(uuid4().hex[:12], book.name, customer, "", RunStatus.WALKING, 0, case, by, now, now)


async def start(book: Runbook[Any], run: Run, unit: Unit) -> Run:
    """Put a new run at its book's first line, in the caller's transaction."""
    first = book.after("", load(book, run))
    assert first is not None
    placed = replace(run, line=first.key, status=RunStatus.WALKING, attempt=1)
    await unit.runs.add(placed)
    return placed


async def walk(books: Books, number: str, kit: Kit) -> Run:
    """Walk a run until it parks, sticks or ends, and return it as it then is.

    A run that is not walking is returned as it is, so a segment may be started twice.
    """
    while True:
        async with kit.store.view() as unit:
            run = await unit.runs.get(number)
        if run is None:
            raise UsageError(f"没有编号为 {number} 的流程")
        if run.status is not RunStatus.WALKING:
            return run
        book = books[run.book]
        line = book.line(run.line)
        if isinstance(line, Gate):
            await _park(run, line, kit)
        else:
            await _deed(book, run, line, kit)


async def decide(books: Books, decision: Decision) -> Run:
    """A person presses or fills in something at the gate where `decision.run` is parked.

    The decision's run is the run as it was drawn: line and attempt stand on the button. Raises
    UsageError when it is too late, or when the gate says no.
    """
    unit, now = decision.unit, decision.now
    run = await _still(decision.run, (RunStatus.WAITING,), unit)
    book = books[run.book]
    gate = book.line(run.line)
    if not isinstance(gate, Gate):
        raise UsageError(STALE)
    for text in decision.values.values():
        _fits(text)
    case = load(book, run)
    if gate.decide:
        ruling = await gate.decide(case, decision)
    elif decision.verb == "yes":
        ruling = Ruling(case, f"{decision.by.name} 确认")
    else:
        raise UsageError(STALE)
    decided = replace(run, case=dump(ruling.case))
    if ruling.reopen:
        return await _go_back(book, decided, ruling.reopen, now, unit)
    if not ruling.proof:
        return await _swap(run, replace(decided, updated_at=now), unit)
    ended = Line(
        run.id, run.line, LineState.DONE, run.updated_at, now, proof=ruling.proof, by=decision.by
    )
    return await _go_on(book, decided, ended, now, unit)


async def remind(run: Run, again: timedelta, now: datetime, unit: Unit) -> bool:
    """Note that a gate's deadline has passed and set the next; False when somebody was faster.

    Its card is drawn again, though it says the same: Feishu lets a card that nobody redraws for
    two weeks die, and its buttons with it.
    """
    if not await unit.runs.advance(run, replace(run, deadline=now + again)):
        return False
    await mark(replace(run, updated_at=now), unit)
    return True


async def retry(seen: Run, now: datetime, unit: Unit) -> Run:
    """Walk the line again at which `seen` is stuck; hosts that are done stay done."""
    run = await _still(seen, (RunStatus.STUCK,), unit)
    again = replace(
        run, status=RunStatus.WALKING, attempt=run.attempt + 1, updated_at=now, note="", fault=""
    )
    return await _swap(run, again, unit)


async def skip(books: Books, seen: Run, by: Person, reason: str, now: datetime, unit: Unit) -> Run:
    """Leave a line out, for a reason that the acceptance report will show."""
    if not reason.strip():
        raise UsageError("跳过必须说明原因，例如：/skip 客户机房今晚断网，明日补做")
    _fits(reason)
    run = await _still(seen, (RunStatus.STUCK, RunStatus.WAITING), unit)
    ended = Line(run.id, run.line, LineState.SKIPPED, run.updated_at, now, note=reason, by=by)
    return await _go_on(books[run.book], run, ended, now, unit)


async def cancel(seen: Run, reason: str, now: datetime, unit: Unit) -> Run:
    """End a run before its end; a segment that is on it stops at its next line."""
    _fits(reason)
    live = (RunStatus.WALKING, RunStatus.WAITING, RunStatus.STUCK)
    run = await _still(seen, live, unit)
    ended = replace(
        run, status=RunStatus.CANCELLED, attempt=run.attempt + 1, updated_at=now, note=reason
    )
    return await _swap(run, replace(ended, deadline=None), unit)


def _fits(text: str) -> None:
    """Raise UsageError unless what was written can stand on a card and in the report."""
    if said := unfit_answer(text):
        raise UsageError(f"填写的内容{said}，改正后再提交")


async def _still(seen: Run, allowed: tuple[RunStatus, ...], unit: Unit) -> Run:
    run = await unit.runs.get(seen.id)
    if run is None or (run.line, run.attempt) != (seen.line, seen.attempt):
        raise UsageError(STALE)
    if run.status not in allowed:
        raise UsageError(STALE)
    return run


async def _swap(seen: Run, new: Run, unit: Unit) -> Run:
    if not await unit.runs.advance(seen, new):
        raise UsageError(STALE)
    await mark(new, unit)
    return new


async def mark(run: Run, unit: Unit) -> None:
    """Have the run's living card drawn anew, when its customer has a group."""
    customer = await unit.customers.get(run.customer)
    if customer and customer.chat:
        await unit.outbox.mark(card_of(run), customer.chat, run.updated_at)
    # The operations group, where one is known, has a line for each customer.
    if operations := await unit.outbox.living(OPERATIONS):
        await unit.outbox.mark(OPERATIONS, operations.chat, run.updated_at)


async def _go_on(book: Runbook[Any], run: Run, ended: Line, now: datetime, unit: Unit) -> Run:
    following = await _next(book, run, unit)
    new = replace(
        run,
        line=following.key if following else "",
        status=RunStatus.WALKING if following else RunStatus.DONE,
        attempt=run.attempt + 1,
        updated_at=now,
        note="",
        fault="",
        deadline=None,
        failures=0,
    )
    await _swap(run, new, unit)
    await unit.lines.put(ended)
    return new


async def _next(book: Runbook[Any], run: Run, unit: Unit) -> Row | None:
    """Return the next line that has not ended: after a refusal most of them have."""
    case, ended = load(book, run), await unit.lines.of(run.id)
    line = book.after(run.line, case)
    while line and line.key in ended and ended[line.key].state in ENDED:
        line = book.after(line.key, case)
    return line


async def _go_back(
    book: Runbook[Any], run: Run, keys: Sequence[str], now: datetime, unit: Unit
) -> Run:
    first = next(line.key for line in book.lines if line.key in keys)
    await unit.lines.reopen(run.id, (*keys, run.line))
    again = replace(
        run,
        line=first,
        status=RunStatus.WALKING,
        attempt=run.attempt + 1,
        updated_at=now,
        deadline=None,
    )
    return await _swap(run, again, unit)


async def _park(run: Run, gate: Gate, kit: Kit) -> None:
    now = kit.clock.now()
    parked = replace(run, status=RunStatus.WAITING, updated_at=now, deadline=now + gate.within)
    async with kit.store.unit() as unit:
        if await unit.runs.advance(run, parked):
            await unit.lines.put(Line(run.id, gate.key, LineState.WAITING, now))
            await mark(parked, unit)


async def _deed(book: Runbook[Any], run: Run, line: Step | Each, kit: Kit) -> None:
    began = kit.clock.now()
    async with kit.store.unit() as unit:
        await unit.lines.put(Line(run.id, line.key, LineState.DOING, began))
        await mark(run, unit)
    case = load(book, run)
    try:
        match line:
            case Step():
                case, proof = await _step(run, line, case, kit)
            case Each():
                proof = await _each(run, line, case, kit)
            case _:
                assert_never(line)
    except OutsideError as error:
        await _stick(run, line, began, error, kit)
        return
    now = kit.clock.now()
    ended = Line(run.id, line.key, LineState.DONE, began, now, proof=proof)
    async with kit.store.unit() as unit:
        current = await unit.runs.get(run.id)
        # Somebody cancelled it meanwhile: what was done stays in the ledger, the run stays ended.
        if current != run:
            return
        changed = replace(run, case=dump(case))
        await _go_on(book, changed, ended, now, unit)


async def _step(run: Run, line: Step, case: Any, kit: Kit) -> tuple[Any, str]:
    errand = Errand(kit, run.id, line.key)
    proof = await line.unless(case, errand) if line.unless else ""
    if proof:
        return case, proof
    for tried in range(1, line.tries + 1):
        try:
            done: tuple[Any, str] = await line.do(case, errand)
        except Transient as error:
            if tried == line.tries:
                raise
            pause = BACK_OFF[min(tried, len(BACK_OFF)) - 1]
            await kit.clock.sleep(error.retry_after or pause)
        else:
            return done
    raise AssertionError("a line is tried at least once")


async def _each(run: Run, line: Each, case: Any, kit: Kit) -> str:
    names = list(line.over(case))
    async with kit.store.view() as unit:
        known = await unit.lines.hosts(run.id, line.key)
    done = {n for n, host in known.items() if host.state is LineState.DONE}
    todo = [name for name in names if name not in done]
    failed = 0
    house = kit.house
    limit = len(names) * (house.stop_after if line.stop_after is None else line.stop_after)
    gate = asyncio.Semaphore(line.at_once or house.at_once)
    notes = _Notes(run, kit)

    async def visit(name: str) -> None:
        nonlocal failed
        async with gate:
            if failed and failed >= limit:
                return
            host = await _visit(run, line, case, kit, name)
            failed += host.state is LineState.FAILED
        await notes.put(host)

    if line.canary and todo and not done:
        await visit(todo[0])
        todo = [] if failed else todo[1:]
    async with asyncio.TaskGroup() as group:
        for name in todo:
            group.create_task(visit(name))
    async with kit.store.view() as unit:
        hosts = await unit.lines.hosts(run.id, line.key)
    return _verdict(line, names, hosts)


async def _visit(run: Run, line: Each, case: Any, kit: Kit, name: str) -> HostLine:
    state, note, fault = LineState.DONE, "", ""
    try:
        note = await line.do(case, Errand(kit, run.id, line.key, name), name)
    except OutsideError as error:
        state, note, fault = LineState.FAILED, error.reason, str(error.fault)
    return HostLine(run.id, line.key, name, state, kit.clock.now(), note, fault)


class _Notes:
    """Writes down what became of each host, and marks the card.

    Hosts that end while a commit is on its way share the next one: with a commit each, writing
    takes longer than the deeds.
    """

    def __init__(self, run: Run, kit: Kit) -> None:
        self._run = run
        self._kit = kit
        self._waiting: list[HostLine] = []

    async def put(self, host: HostLine) -> None:
        """Return once `host` is committed."""
        self._waiting.append(host)
        await self._kit.store.write(self._flush)

    async def _flush(self, unit: Unit) -> None:
        if not self._waiting:
            return  # another host's turn in the same commit wrote it
        hosts, self._waiting = self._waiting, []
        await unit.lines.put_hosts(hosts)
        await mark(replace(self._run, updated_at=self._kit.clock.now()), unit)


def _verdict(line: Each, names: list[str], hosts: Mapping[str, HostLine]) -> str:
    done = sum(n in hosts and hosts[n].state is LineState.DONE for n in names)
    if done == len(names):
        return f"{done}/{len(names)} 台完成"
    groups = failures({n: hosts[n] for n in names if n in hosts})
    parts = [f"{len(g.hosts)} 台（{'、'.join(g.hosts[:3])}）：{g.note}" for g in groups]
    waiting = len(names) - sum(n in hosts for n in names)
    if waiting:
        parts.append(f"{waiting} 台尚未开始（失败过多，已停下）")
    fault = Fault(groups[0].fault) if groups and groups[0].fault else Fault.OTHER
    raise Transient(f"{line.title}：{done}/{len(names)} 台完成；" + "；".join(parts), fault=fault)


async def _stick(run: Run, line: Row, began: datetime, error: OutsideError, kit: Kit) -> None:
    now = kit.clock.now()
    doubt = "（可能已执行，请核实后再决定）" if isinstance(error, InDoubt) else ""
    stuck = replace(
        run,
        status=RunStatus.STUCK,
        updated_at=now,
        note=error.reason + doubt,
        fault=str(error.fault),
        failures=run.failures + 1,
    )
    async with kit.store.unit() as unit:
        if await unit.runs.advance(run, stuck):
            note = stuck.note
            await unit.lines.put(Line(run.id, line.key, LineState.FAILED, began, now, note))
            await mark(stuck, unit)

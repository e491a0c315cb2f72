"""A procedure as a value: it can be read, drawn, printed and walked.

The table *is* the procedure. Nothing in here waits, asks the time or touches the world.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from adapters.card import Block, Checklist, Item, Mark, Progress
from adapters.port import UsageError
from adapters.words import Person, Role
from storage.records import HostLine, Line, LineState, Run
from storage.store import Unit

Case = TypeVar("Case")

Proof = str
"""The evidence in words, as the card and the acceptance report show it."""

Do = Callable[[Any, Any], Awaitable[tuple[Any, Proof]]]
"""(case, kit) -> (the case as it is now, the proof)."""

Look = Callable[[Any, Any], Awaitable[Proof]]
"""(case, kit) -> the proof that nothing needs doing, or an empty text."""

Subjects = Callable[[Any], Sequence[str]]
"""case -> the names of the hosts that a line fans out over."""

DoEach = Callable[[Any, Any, str], Awaitable[Proof]]
"""(case, kit, host name) -> the proof for that host."""

Condition = Callable[[Any], bool]
"""case -> does the line concern it?"""


@dataclass(frozen=True, slots=True)
class Phase:
    """A heading. `day` is the SOP's day, `minutes` what the phase is expected to take."""

    title: str
    day: str = ""
    minutes: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A deed. `unless` looks first: a proof there means that it is so already."""

    key: str
    title: str
    do: Do
    unless: Look | None = None
    when: Condition | None = None
    tries: int = 1
    sop: tuple[str, ...] = ()
    """Which items of the SOP this line answers for, by their ids in the golden list."""


@dataclass(frozen=True, slots=True)
class Each:
    """A deed for every host, many at once; `canary` goes first, and too many failures stop it."""

    key: str
    title: str
    over: Subjects
    do: DoEach
    at_once: int | None = None
    """How many at the same time; None for as many as the house allows."""
    canary: bool = False
    stop_after: float | None = 1.0
    """Share of hosts that may fail before no further host is begun; None for the house's."""
    when: Condition | None = None
    sop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody pressed or filled in at a gate, in the transaction that will hold it."""

    unit: Unit
    run: Run
    by: Person
    now: datetime
    verb: str = "yes"
    values: Mapping[str, str] = field(default_factory=dict)
    """What a form's inputs hold."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What comes of a decision: a proof opens the gate, none leaves it shut."""

    case: Any
    proof: Proof = ""
    reopen: tuple[str, ...] = ()
    """Keys of lines that are to be walked again (a refusal names them); needs no proof."""


Decide = Callable[[Any, Decision], Awaitable[Ruling]]
"""(case, decision) -> the ruling; raises UsageError when that person may not, or filled in wrong."""

Draw = Callable[[Any, Run, Unit], Awaitable[tuple[Block, ...]]]
"""(case, run, view) -> what the card shows while the run waits there: evidence, a form, buttons."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A person decides. The run is parked in its row until they do, or `within` is over.

    Without `decide` one press of a person of the role `by` opens it. With `draw` the card shows
    that in the place of the one button.
    """

    key: str
    title: str
    by: Role
    within: timedelta
    decide: Decide | None = None
    draw: Draw | None = None
    when: Condition | None = None
    sop: tuple[str, ...] = ()


Row = Step | Each | Gate


@dataclass(frozen=True)
class Runbook(Generic[Case]):
    """A procedure. `rows` is the table from top to bottom, headings among the lines."""

    name: str
    title: str
    case: type[Case]
    rows: tuple[Phase | Row, ...]
    closing: Draw | None = None
    """What the card shows below the lines when all of them are done."""
    lines: tuple[Row, ...] = field(init=False)
    """The rows without the headings."""

    def __post_init__(self) -> None:
        lines = tuple(row for row in self.rows if not isinstance(row, Phase))
        keys = [line.key for line in lines]
        if len(set(keys)) != len(keys):
            raise ValueError(f"{self.name}: two lines have one key")
        object.__setattr__(self, "lines", lines)

    def line(self, key: str) -> Row:
        """Return the line of that key.

        Raises UsageError when the book no longer has it: a run that was parked there under an
        older release must be looked at by a person.
        """
        for line in self.lines:
            if line.key == key:
                return line
        raise UsageError(
            f"流程「{self.title}」已没有「{key}」这一步：请用 /status 查看并由负责人处理"
        )

    def after(self, key: str, case: Case) -> Row | None:
        """Return the next line that concerns `case`; with an empty key, the first; None at the
        end."""
        keys = [line.key for line in self.lines]
        start = keys.index(self.line(key).key) + 1 if key else 0
        return next((line for line in self.lines[start:] if concerns(line, case)), None)

    def phase(self, title: str) -> tuple[Phase | Row, ...]:
        """Return a heading with the lines below it, for a book that walks only these."""
        heading, below = next(pair for pair in self.phases() if pair[0].title == title)
        return (heading, *below)

    def phases(self) -> Iterator[tuple[Phase, tuple[Row, ...]]]:
        """Yield each heading with the lines below it."""
        heading: Phase | None = None
        below: list[Row] = []
        for row in self.rows:
            if isinstance(row, Phase):
                if heading:
                    yield heading, tuple(below)
                heading, below = row, []
            else:
                below.append(row)
        if heading:
            yield heading, tuple(below)


def concerns(line: Row, case: Any) -> bool:
    """Does this line have to be walked for this case?"""
    return line.when is None or line.when(case)


_MARKS = {
    LineState.DOING: Mark.DOING,
    LineState.DONE: Mark.DONE,
    LineState.SKIPPED: Mark.SKIPPED,
    LineState.WAITING: Mark.WAITING,
    LineState.FAILED: Mark.FAILED,
}


def checklist(book: Runbook[Case], case: Case, lines: Mapping[str, Line]) -> Checklist:
    """Return the book as it stands: a phase is as its lines are."""
    items: list[Item] = []
    for phase, rows in book.phases():
        below = [_item(row, lines.get(row.key)) for row in rows if concerns(row, case)]
        if below:
            items.append(Item(_whole(below), phase.title, phase.day, level=0))
            items.extend(below)
    return Checklist(tuple(items))


def progress(book: Runbook[Case], case: Case, run: Run, lines: Mapping[str, Line]) -> Progress:
    """Return how far a run is, with the present line's title beside the bar."""
    all_lines = [line for line in book.lines if concerns(line, case)]
    ended = (LineState.DONE, LineState.SKIPPED)
    done = sum(line.key in lines and lines[line.key].state in ended for line in all_lines)
    here = next((line.title for line in all_lines if line.key == run.line), "")
    return Progress(done, len(all_lines), here)


@dataclass(frozen=True, slots=True)
class Failure:
    """Hosts that failed alike: one fault and one note, however many they are."""

    fault: str
    note: str
    hosts: tuple[str, ...]


def failures(hosts: Mapping[str, HostLine]) -> tuple[Failure, ...]:
    """Group the failed hosts of a line by what went wrong, the most frequent first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, line in hosts.items():
        if line.state is LineState.FAILED:
            groups.setdefault((line.fault, line.note), []).append(name)
    found = [Failure(fault, note, tuple(names)) for (fault, note), names in groups.items()]
    return tuple(sorted(found, key=lambda failure: (-len(failure.hosts), failure.hosts)))


def printed(book: Runbook[Case]) -> str:
    """Return the book as Markdown: the documentation is made of what runs."""
    kinds = {Step: "自动", Each: "逐台并行", Gate: "人工确认"}
    parts = [f"# {book.title}"]
    for phase, rows in book.phases():
        parts += ["", f"## {phase.title}" + (f"（{phase.day}）" if phase.day else ""), ""]
        parts += ["| 步骤 | 方式 | 键 |", "|---|---|---|"]
        parts += [f"| {row.title} | {kinds[type(row)]} | `{row.key}` |" for row in rows]
    return "\n".join(parts) + "\n"


def _item(row: Row, line: Line | None) -> Item:
    if line is None:
        return Item(Mark.TODO, row.title)
    return Item(_MARKS[line.state], row.title, line.note or line.proof)


def _whole(items: Sequence[Item]) -> Mark:
    marks = {item.mark for item in items}
    for loud in (Mark.FAILED, Mark.WAITING, Mark.DOING):
        if loud in marks:
            return loud
    if marks == {Mark.TODO}:
        return Mark.TODO
    return Mark.DOING if Mark.TODO in marks else Mark.DONE

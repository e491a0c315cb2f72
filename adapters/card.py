"""The neutral card: what is to be said, before any platform has drawn it.

All texts are plain: whoever draws a card for a platform escapes them. Limits of a platform never
live here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import msgspec

from adapters.chart import Chart, words
from adapters.words import Person, Severity


class Tone(StrEnum):
    """The colour of a card's head."""

    NEUTRAL = "neutral"
    WORKING = "working"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Mark(StrEnum):
    """How a line of a checklist stands."""

    TODO = "todo"
    DOING = "doing"
    DONE = "done"
    SKIPPED = "skipped"
    WAITING = "waiting"
    FAILED = "failed"


SIGNS = {
    Mark.TODO: "⬜",
    Mark.DOING: "🔄",
    Mark.DONE: "✅",
    Mark.SKIPPED: "⏭️",
    Mark.WAITING: "⏳",
    Mark.FAILED: "❌",
}


class Style(StrEnum):
    """How a text is set, or how heavily a button is drawn."""

    PLAIN = "plain"
    STRONG = "strong"
    QUIET = "quiet"
    CODE = "code"
    PRIMARY = "primary"
    DANGER = "danger"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; line breaks are kept."""

    text: str
    style: Style = Style.PLAIN
    full: str = ""
    """Where it stands whole: a text that says so may be cut where a platform has no room for it."""


@dataclass(frozen=True, slots=True)
class Mention:
    """People who are called by name; whoever is of the card's own platform is notified by it, where
    that platform lets a bot do so."""

    people: tuple[Person, ...]

    @property
    def text(self) -> str:
        """Return the names as they are read where nobody is notified."""
        return " ".join(f"@{person.name or person.id}" for person in self.people)


@dataclass(frozen=True, slots=True)
class Fields:
    """Pairs of a label and a value."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; every row is as long as `columns`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    full: str = ""
    """Where all rows stand, as 见完整清单: a table that says so may lose rows where there is no room."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total`, with a word beside the bar."""

    done: int
    total: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a checklist; `level` 0 is a phase, 1 a line of it."""

    mark: Mark
    title: str
    note: str = ""
    level: int = 1


@dataclass(frozen=True, slots=True)
class Checklist:
    """Lines with a mark each."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Button:
    """Press it and `action` comes back as a Click; with a `url` it opens that instead."""

    label: str
    action: str = ""
    style: Style = Style.PLAIN
    confirm: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Buttons:
    """A row of buttons."""

    buttons: tuple[Button, ...]


DATE_FORM = "格式 2026-11-25"


class Entry(StrEnum):
    """What an input of a form takes."""

    LINE = "line"
    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    CHOICE = "choice"
    CHOICES = "choices"
    SECRET = "secret"  # noqa: S105 - a kind of input
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Input:
    """One input; CHOICES comes back as its values joined by commas, DATE as 2026-11-25 (ISO 8601),
    FILE as an attached file."""

    name: str
    label: str
    entry: Entry = Entry.LINE
    options: tuple[tuple[str, str], ...] = ()
    """(value, label) of each choice."""
    value: str = ""
    hint: str = ""
    required: bool = False

    @property
    def told(self) -> str:
        """Return the hint of an input that is typed: of a date, its format too."""
        form = DATE_FORM if self.entry is Entry.DATE else ""
        return "，".join(part for part in (self.hint, form) if part)


def is_date(text: str) -> bool:
    """Is this a day as DATE comes back, 2026-11-25, and one that the calendar has?"""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def no_date(one: Input) -> str:
    """Return what whoever entered no such day is told."""
    return f"请填写日期，{DATE_FORM}：{one.label}"


@dataclass(frozen=True, slots=True)
class Form:
    """Inputs and the one button that sends them as a Submission of `action`."""

    action: str
    inputs: tuple[Input, ...]
    submit: str = "提交"


Block = Text | Mention | Fields | Table | Progress | Checklist | Chart | Buttons | Form


@dataclass(frozen=True, slots=True)
class Card:
    """What is said: a head with a tone, and blocks below it."""

    title: str
    tone: Tone = Tone.NEUTRAL
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Summons:
    """Whom a gateway for telephone and SMS is to reach, and about which incidents: kept in a card as
    fields, so that it is read wherever a card is, and taken apart where a machine reads it."""

    person: str
    phone: str
    incidents: tuple[int, ...]
    """The one that was longest due leads."""
    severity: Severity

    @property
    def fields(self) -> Fields:
        """Return it as a block of a card."""
        numbers = " ".join(str(number) for number in self.incidents)
        values = (self.person, self.phone, numbers, str(self.severity))
        return Fields(tuple(zip(_SUMMONS, values, strict=True)))


_SUMMONS = ("呼叫", "电话", "事件编号", "级别")


def summons_of(card: Card) -> Summons | None:
    """Return the summons that a card has; None when it has none."""
    for block in card.blocks:
        if isinstance(block, Fields) and tuple(name for name, _ in block.pairs) == _SUMMONS:
            person, phone, numbers, severity = (value for _, value in block.pairs)
            incidents = tuple(int(number) for number in numbers.split())
            return Summons(person, phone, incidents, Severity(severity))
    return None


def say(title: str, *lines: str, tone: Tone = Tone.NEUTRAL) -> Card:
    """Return a card of paragraphs: the short way to answer somebody."""
    return Card(title, tone, tuple(Text(line) for line in lines if line))


def plain(card: Card) -> str:
    """Return the card as text: for terminals, logs, played conversations and fallbacks."""
    parts = [f"【{card.title}】", *(_plain_block(block) for block in card.blocks)]
    return "\n".join(part for part in parts if part)


def _plain_block(block: Block) -> str:
    match block:
        case Text() | Mention():
            return block.text
        case Fields(pairs):
            return "\n".join(f"{label}：{value}" for label, value in pairs)
        case Table(columns, rows):
            return "\n".join(" | ".join(cells) for cells in (columns, *rows))
        case Progress(done, total, text):
            filled = round(10 * done / total) if total else 0
            bar = "█" * filled + "░" * (10 - filled)
            return f"{bar} {done}/{total} {text}".rstrip()
        case Checklist(items):
            return "\n".join(_plain_item(item) for item in items)
        case Chart():
            return words(block)
        case Buttons(buttons):
            return " ".join(f"[{b.label}]({b.url or b.action})" for b in buttons)
        case Form(action, inputs, submit):
            lines = [
                f"  {i.name}{'*' if i.required else ''}：{i.label}"
                + ("（" + "/".join(value for value, _ in i.options) + "）" if i.options else "")
                + (f"（{DATE_FORM}）" if i.entry is Entry.DATE else "")
                + (f" = {i.value}" if i.value and i.entry is not Entry.SECRET else "")
                for i in inputs
            ]
            return "\n".join([f"表单 {action}", *lines, f"[{submit}]"])


def _plain_item(item: Item) -> str:
    note = f"（{item.note}）" if item.note else ""
    return f"{'  ' * item.level}{SIGNS[item.mark]} {item.title}{note}"


_BLOCKS: dict[str, type[Block]] = {
    kind.__name__: kind
    for kind in (Text, Mention, Fields, Table, Progress, Checklist, Chart, Buttons, Form)
}


def dumps(card: Card) -> str:
    """Return the card as JSON, as the outbox keeps it; half a character becomes a "?"."""
    blocks = [[type(block).__name__, msgspec.to_builtins(block)] for block in card.blocks]
    text = json.dumps([card.title, card.tone, blocks], ensure_ascii=False)
    return text.encode(errors="replace").decode()


def loads(text: str) -> Card:
    """Return the card that `dumps` kept."""
    title, tone, pairs = msgspec.json.decode(text, type=tuple[str, Tone, list[tuple[str, object]]])
    blocks = tuple(msgspec.convert(inner, _BLOCKS[kind]) for kind, inner in pairs)
    return Card(title, tone, blocks)

"""Between records and rows: a record's fields are columns; a Chat or a Person is three of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_type_hints

from adapters.words import Chat, Person

Record = TypeVar("Record")
Value = TypeVar("Value")

MANY = 500
"""Values in one question: SQLite takes no more than so many thousand."""

_PARTS: Mapping[str, tuple[type[Chat | Person], tuple[str, ...]]] = {
    "chat": (Chat, ("platform", "id", "title")),
    "by": (Person, ("platform", "id", "name")),
    "started_by": (Person, ("platform", "id", "name")),
    "ring": (Person, ("platform", "id", "name")),
    "acked_by": (Person, ("platform", "id", "name")),
    "resolved_by": (Person, ("platform", "id", "name")),
    "ended_by": (Person, ("platform", "id", "name")),
    "person": (Person, ("platform", "id", "name")),
}
_PREFIX = {"started_by": "by"}


def to_row(record: Any) -> dict[str, Any]:
    """Return the record as column values; an absent Chat is empty texts, an absent Person NULL."""
    row: dict[str, Any] = {}
    for name, _ in _fields(type(record)):  # type: ignore[arg-type] # every class is hashable
        value = getattr(record, name)
        if name in _PARTS:
            kind, parts = _PARTS[name]
            prefix = _PREFIX.get(name, name)
            nothing = "" if kind is Chat else None
            for part in parts:
                row[f"{prefix}_{part}"] = nothing if value is None else getattr(value, part)
        else:
            row[name] = str(value) if isinstance(value, StrEnum) else value
    return row


def to_record(kind: type[Record], row: Mapping[Any, Any]) -> Record:
    """Return the row as a record of `kind`."""
    values: dict[str, Any] = {}
    for name, word in _fields(kind):  # type: ignore[arg-type] # every class is hashable
        if name in _PARTS:
            whole, parts = _PARTS[name]
            prefix = _PREFIX.get(name, name)
            cells = [row[f"{prefix}_{part}"] for part in parts]
            values[name] = whole(*cells) if cells[1] else None
        else:
            values[name] = word(row[name]) if word else row[name]
    return kind(**values)


def parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield values in parts that fit into one question each."""
    for start in range(0, len(values), MANY):
        yield values[start : start + MANY]


@cache
def _fields(kind: type[Any]) -> tuple[tuple[str, type[StrEnum] | None], ...]:
    """Return a record's fields, each with its enumeration where it is one.

    Remembered: to evaluate the annotations takes fifty times as long as to read a row.
    """
    hints = get_type_hints(kind)
    words = {
        name: hint
        for name, hint in hints.items()
        if isinstance(hint, type) and issubclass(hint, StrEnum)
    }
    return tuple((field.name, words.get(field.name)) for field in fields(kind))

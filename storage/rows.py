"""Between records and rows: a record's fields are columns; a Chat or a Person is three of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

from adapters.words import Chat, Person

Record = TypeVar("Record")

_PARTS: Mapping[str, tuple[type[Chat | Person], tuple[str, ...]]] = {
    "chat": (Chat, ("platform", "id", "title")),
    "by": (Person, ("platform", "id", "name")),
    "started_by": (Person, ("platform", "id", "name")),
    "ring": (Person, ("platform", "id", "name")),
    "person": (Person, ("platform", "id", "name")),
}
_PREFIX = {"started_by": "by"}


def to_row(record: Any) -> dict[str, Any]:
    """Return the record as column values; an absent Chat is empty texts, an absent Person NULL."""
    row: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in _PARTS:
            kind, parts = _PARTS[field.name]
            prefix = _PREFIX.get(field.name, field.name)
            nothing = "" if kind is Chat else None
            for part in parts:
                row[f"{prefix}_{part}"] = nothing if value is None else getattr(value, part)
        else:
            row[field.name] = str(value) if isinstance(value, StrEnum) else value
    return row


def to_record(kind: type[Record], row: Mapping[Any, Any]) -> Record:
    """Return the row as a record of `kind`."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type] # every record is a dataclass
        if field.name in _PARTS:
            word, parts = _PARTS[field.name]
            prefix = _PREFIX.get(field.name, field.name)
            cells = [row[f"{prefix}_{part}"] for part in parts]
            values[field.name] = word(*cells) if cells[1] else None
        else:
            value = row[field.name]
            hint = hints[field.name]
            is_word = isinstance(hint, type) and issubclass(hint, StrEnum)
            values[field.name] = hint(value) if is_word else value
    return kind(**values)

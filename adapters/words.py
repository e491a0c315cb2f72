"""The words of chat that every floor shares: frozen, with no behaviour of a platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import final


@final
class Secret:
    """A text that must not be seen: it prints as a mask and is read only by `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; call it at the moment of use and keep no copy."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


NOTHING = Secret("")


class Role(StrEnum):
    """What a person may do. A lead may do all that an engineer may."""

    CUSTOMER = "customer"
    ENGINEER = "engineer"
    LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation on a platform: a group, or the direct chat with one person."""

    platform: str
    id: str
    title: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on a platform. The name is for reading; the id is who they are."""

    platform: str
    id: str
    name: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class File:
    """A file that is sent or was received; `content` is the whole of it."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """Somebody wrote; `text` has the bot's own mention already removed."""

    id: str
    chat: Chat
    sender: Person
    text: str
    at: datetime
    files: tuple[File, ...] = ()
    mentions: tuple[Person, ...] = ()


@dataclass(frozen=True, slots=True)
class Click:
    """Somebody pressed a button; `action` is exactly what was drawn on it."""

    id: str
    chat: Chat
    sender: Person
    action: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Submission:
    """Somebody sent a form; `values` maps each input's name to what was entered."""

    id: str
    chat: Chat
    sender: Person
    action: str
    values: Mapping[str, str]
    at: datetime
    files: tuple[File, ...] = ()


Event = Message | Click | Submission


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform's own name for something it took: what `edit` needs."""

    chat: Chat
    id: str

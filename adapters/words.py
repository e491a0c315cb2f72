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


class Severity(StrEnum):
    """How bad an alert is; `rank` orders them."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Return 0 for the least."""
        return tuple(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Alert:
    """What a monitor says of one thing at one instant, whichever monitor it is.

    `fingerprint` is the source's own name for the alert, the same while it fires, when it repeats
    and when it ends; of a source that has none, a hash of the sorted labels.
    """

    fingerprint: str
    firing: bool
    severity: Severity
    rule: str
    """What is wrong: the rule's or alert's name. Alerts of one rule belong together."""
    host: str = ""
    """Where; empty when the source does not say."""
    title: str = ""
    """One line for people; empty means the rule and the host."""
    text: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All that the source says for machines: matchers read these."""
    starts_at: datetime | None = None
    """Since when it fires, by the source's clock; None when it does not say."""
    ends_at: datetime | None = None
    url: str = ""
    """Where a person can look at it."""
    ends: bool = True
    """Will its source say when it is over? Of False nobody can rely on that: a person ends it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform's own name for something it took: what `edit` needs."""

    chat: Chat
    id: str
    messages: int = field(default=1, compare=False)
    """How many messages the chat's budget was charged for it."""

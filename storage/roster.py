"""The records of who is on call and how an alarm climbs: plain frozen dataclasses.

A roster and a policy are documents, kept as JSON; what was changed for a while, and what was rung,
are rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum

from adapters.words import Person


@dataclass(frozen=True, slots=True)
class Callee:
    """Somebody who can be on call. The name is unique in a roster: iCal and overrides say it."""

    name: str
    phone: str = ""
    email: str = ""
    person: Person | None = None
    """None when nobody was pointed at: then whoever of the staff has this name is meant."""


class Days(StrEnum):
    """On which days a layer is staffed; 调休 makes a weekend's day a workday."""

    EVERY = "every"
    WORKDAYS = "workdays"
    HOLIDAYS = "holidays"
    """Weekends and public holidays."""


@dataclass(frozen=True, slots=True)
class Layer:
    """People who take turns, within hours of some days. A layer goes before those below it."""

    name: str
    people: tuple[str, ...]
    """Names of callees in the order of their turns."""
    since: date
    """The day on which the first one's turn begins."""
    every: int = 7
    """Days of one turn."""
    handoff: time = time(9)
    """When a turn changes, by the roster's zone."""
    days: Days = Days.EVERY
    begins: time = time(0)
    ends: time = time(0)
    """Not after `begins` means on the next day; alike means the whole day."""


@dataclass(frozen=True, slots=True)
class Roster:
    """A customer's on-call."""

    customer: int
    zone: str
    callees: tuple[Callee, ...] = ()
    layers: tuple[Layer, ...] = ()
    """The first one that is staffed decides."""


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody is on call for a while, whatever the layers say; of two the newer one holds."""

    id: int
    customer: int
    begins: datetime
    ends: datetime
    name: str
    """Of the callee."""
    at: datetime
    by: Person
    note: str = ""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What whoever was on call told the next one."""

    id: int
    customer: int
    at: datetime
    by: Person
    name: str
    """Of the callee who takes over."""
    note: str


class Way(StrEnum):
    """How somebody is called; the last two are the names of channels that only speak."""

    MENTION = "mention"
    """By name in the customer's group."""
    DIRECT = "direct"
    """Alone, by the same port as RING: no platform offers us a calmer one."""
    RING = "ring"
    """The platform's urgent call."""
    WEBHOOK = "webhook"
    """To the house's gateway for telephone and SMS; where there is none, to the customer's own."""
    EMAIL = "mail"


@dataclass(frozen=True, slots=True)
class Level:
    """Who is called how, so many minutes after the first critical was accepted."""

    after: int
    ahead: int = 0
    """So many places behind whoever is on call then."""
    ways: tuple[Way, ...] = (Way.MENTION, Way.RING)
    """In this order, `Policy.between` seconds from one to the next."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How an alarm climbs until somebody acknowledges it."""

    levels: tuple[Level, ...]
    repeat: int = 30
    """Minutes from the last level until all begins again; 0 means it does not."""
    between: int = 30


@dataclass(frozen=True, slots=True)
class Escalation:
    """One climb for one incident. The policy is the one of the instant at which it began."""

    incident: int
    round: int
    """Counts up when a new critical re-opens an acknowledged incident."""
    customer: int
    title: str
    began_at: datetime
    """When the critical was durably accepted: every deadline counts from here."""
    policy: str
    """As JSON."""
    stopped_at: datetime | None = None
    acked_at: datetime | None = None
    resolved_at: datetime | None = None
    acted_at: datetime | None = None
    """When a person first did something about it: acknowledged, hid or closed it."""


class RungState(StrEnum):
    """What became of one call."""

    DUE = "due"
    DONE = "done"
    HELD = "held"
    """It was called, and what says so has yet to go out: the next way does not wait for it."""
    STOPPED = "stopped"
    """Somebody had acknowledged before it was due."""
    WITHDRAWN = "withdrawn"
    """It was called, and its climb stopped before what says so had gone out: it was taken back. Where
    it was under way just then, its entry in the outbox says that it went out nevertheless."""
    NOBODY = "nobody"
    """There was no way to call: the note says why."""
    FAILED = "failed"
    """The platform or gateway refused it for good: the note says why."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One call of one climb, by its absolute deadline."""

    incident: int
    round: int
    lap: int
    """Counts the repeats from 0."""
    level: int
    place: int
    """Of the way within its level."""
    way: Way
    due: datetime
    state: RungState = RungState.DUE
    at: datetime | None = None
    """When it was done, or when its climb stopped."""
    name: str = ""
    """Who was called."""
    note: str = ""
    told: str = ""
    """Key of the outbox's entry that told it: its own, or that of the call which it shared."""

    @property
    def key(self) -> str:
        """Names it; the key of its entry in the outbox where it leads the call."""
        return f"ladder:{self.incident}:{self.round}:{self.lap}:{self.level}:{self.place}"


@dataclass(frozen=True, slots=True)
class Watch:
    """One night's proof: how many calls were due between two instants, and how many were missed."""

    id: int
    at: datetime
    since: datetime
    until: datetime
    due: int
    missed: int

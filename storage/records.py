"""The records we remember: plain frozen dataclasses, apart from the tables that keep them.

Times are UTC with their zone. Secrets are never in a record: they are in the vault under a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from adapters.words import Chat, Person, Role, Severity


class Tier(StrEnum):
    """The service level of the contract."""

    BASIC = "basic"
    PRO = "pro"


TIER_NAMES = {Tier.BASIC: "托管基础版", Tier.PRO: "托管专业版"}
TIER_PRICES = {Tier.BASIC: 699, Tier.PRO: 1599}
"""Yuan a month."""


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody whose servers we operate. `slug` names their instance: [a-z0-9-], unique."""

    id: int
    name: str
    slug: str
    created_at: datetime
    chat: Chat | None = None
    tier: Tier = Tier.BASIC
    in_service_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A customer's server: what was declared, and what was found. `name` is unique per customer.

    The password, sudo password and private key are in the vault under `server:{id}:...`.
    """

    id: int
    customer: int
    name: str
    host: str
    port: int = 22
    user: str = "root"
    bastion: str = ""
    os: str = ""
    cpu: int = 0
    memory_gb: float = 0
    disk_gb: float = 0
    location: str = ""
    host_key: str = ""
    """Pinned on first contact; empty before."""
    hostname: str = ""
    """What `hostname` printed there: the name the monitor must show."""
    sudo: str = ""
    """How root is reached: root, free (NOPASSWD), password; empty before the first probe."""
    agent_token: int = 0
    """The monitor's id of the token that its agent uses; 0 before there is one."""


class RunStatus(StrEnum):
    """Where a run stands."""

    WALKING = "walking"
    """A segment is on it, or the sweep will start one."""
    WAITING = "waiting"
    """Parked at a gate for a person, or until the deadline."""
    STUCK = "stuck"
    """A line failed, or a deed is in doubt: a person decides."""
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Run:
    """One walk through a book. The row is the truth; whoever changes it must name the
    `attempt` and `status` that it saw (compare-and-set)."""

    id: str
    book: str
    customer: int
    line: str
    """Stable key of the present line; empty when done."""
    status: RunStatus
    attempt: int
    case: str
    """The book's case as JSON."""
    started_by: Person
    started_at: datetime
    updated_at: datetime
    note: str = ""
    fault: str = ""
    deadline: datetime | None = None
    failures: int = 0
    """Failed or poisoned segments in a row at this line."""


class LineState(StrEnum):
    """How a line of a run stands. A line without a row is yet to come."""

    DOING = "doing"
    DONE = "done"
    SKIPPED = "skipped"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one line of a run, with the proof that it is so."""

    run: str
    key: str
    state: LineState
    started_at: datetime
    ended_at: datetime | None = None
    note: str = ""
    proof: str = ""
    """The evidence in words: figures, names, ids, times."""
    by: Person | None = None
    """Who pressed, confirmed, signed or skipped."""


@dataclass(frozen=True, slots=True)
class HostLine:
    """What became of one host in a line that fans out. `subject` is the server's name."""

    run: str
    key: str
    subject: str
    state: LineState
    at: datetime
    note: str = ""
    fault: str = ""


class EffectState(StrEnum):
    """BEGUN was committed before the deed, DONE after it."""

    BEGUN = "begun"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Effect:
    """A deed that must not happen twice, under a deterministic key."""

    key: str
    run: str
    line: str
    state: EffectState
    result: str
    """JSON, empty while begun."""
    at: datetime
    asked: bool = False
    """True when the world could not tell and a person is asked."""


AGAIN = "~2"
"""Ends the key of an alarm's second entry, which tells again what was in doubt."""


class DeliveryState(StrEnum):
    """Where an entry of the outbox stands."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    DOUBT = "doubt"
    WITHDRAWN = "withdrawn"
    """Taken back before it had gone out, because nobody needs to hear it any more."""


class Lane(StrEnum):
    """What goes first when the budget is short."""

    ALARM = "alarm"
    NORMAL = "normal"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry of the outbox: exactly one of a card, a file, or a living card's dirty mark."""

    id: int
    key: str
    """Unique: the idempotency key given to the platform."""
    chat: Chat
    lane: Lane
    state: DeliveryState
    at: datetime
    card: str = ""
    """A Card as JSON."""
    file_name: str = ""
    file: bytes = field(default=b"", repr=False)
    paper: str = ""
    """Key of a file that is made when its turn comes: it may be long, and shall be of that moment."""
    living: str = ""
    """Key of the living card to draw: `run:{id}` and the like."""
    ring: Person | None = None
    """Reach this person instead of the chat."""
    tries: int = 0
    due: datetime | None = None
    """Not before; None means now."""
    reason: str = ""
    receipt: str = ""
    sent_at: datetime | None = None

    @property
    def gathering(self) -> bool:
        """May more be added to it? Not once the sender has taken it, for it may be on its way."""
        waiting = self.state is DeliveryState.WAITING and not self.tries
        return waiting and self.due is not None and not self.living


@dataclass(frozen=True, slots=True)
class LivingCard:
    """A card that is edited in place for as long as it lives. `version` counts its facts'
    changes, `drawn` is the version that the chat shows."""

    key: str
    chat: Chat
    version: int = 0
    drawn: int = 0
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """What somebody is: staff have no customer; a customer's people have theirs."""

    person: Person
    role: Role
    customer: int | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who accepted or refused what they saw, when. `evidence` is the hash on their card."""

    run: str
    signer: str
    """The approver's name as listed."""
    evidence: str
    accepted: bool
    at: datetime
    person: Person | None = None
    """None when signed through a one-time link."""
    reason: str = ""
    way: str = "card"
    """card or link."""
    deputy_for: str = ""


@dataclass(frozen=True, slots=True)
class OneTimeLink:
    """A link that opens once: `token_hash` is the SHA-256 of what is in the address."""

    token_hash: str
    purpose: str
    """sign, handover, server-passwords, monitor-password."""
    subject: str
    """JSON: what it is for."""
    code_hash: str
    """SHA-256 of the code that must be typed; empty when none."""
    expires_at: datetime
    used_at: datetime | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class DutyDone:
    """A duty of phase 6 that somebody says is done. `due` is the day it was owed on, YYYY-MM-DD."""

    customer: int
    duty: str
    due: str
    at: datetime
    by: Person


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert of the monitor that has not ended. `episode` names it: its id there and its instant."""

    episode: str
    fired_at: datetime
    """By the monitor's clock, but never after `seen_at`."""
    seen_at: datetime
    """When it was first heard of, by ours."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An alert of which the monitor said that it has ended; `episode` as in Firing."""

    episode: str
    at: datetime | None = None
    """When it said so, by our clock; None in rows of older programs, which did not keep it."""


@dataclass(frozen=True, slots=True)
class HeldAlert:
    """What is known of one rule on one host of a customer, and when its group is to be told."""

    customer: int
    rule: str
    """Key of a line of the tier's table; of another rule its name in the monitor."""
    host: str
    firing: tuple[Firing, ...] = ()
    """The monitor's alerts that have not ended, oldest first."""
    ended: tuple[Ended, ...] = ()
    """Those that ended lately: a notice that one fires is late, the monitor's list may know better."""
    due: datetime | None = None
    """When it will have lasted; None when nothing fires, or the group knows."""
    announced_at: datetime | None = None
    """When the group was told; None when it was not, or the end was told too."""
    title: str = ""
    message: str = ""
    severity: str = ""
    """The worst since it began."""
    found: str = ""
    """hook, or poll when the webhook was lost."""
    note: str = ""
    """How it was made sure of, or why nothing was said."""
    dropped_at: datetime | None = None
    """When the monitor showed it no more as it was to be told, so that it was not; of the last time."""


@dataclass(frozen=True, slots=True)
class PortPlan:
    """Where the blocks of ports begin on a host, and how far apart two customers are (SOP:
    8101/3101, 8201/3201, ...)."""

    backend: int = 8101
    frontend: int = 3101
    postgres: int = 5533
    redis: int = 6480
    stride: int = 100


@dataclass(frozen=True, slots=True)
class PortBlock:
    """Four host ports of one customer's instance on one host: never twice on one host."""

    host: str
    customer: int
    backend: int
    frontend: int
    postgres: int
    redis: int


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A link of the hash chain: `hash` covers the entry and the hash before it."""

    id: int
    at: datetime
    actor: str
    deed: str
    detail: Mapping[str, str]
    hash: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """One post of a monitor as it was taken in: kept before it was answered."""

    id: int
    """Rises with each; what is folded is remembered by it."""
    customer: int
    source: str
    at: datetime
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A post that could not be folded, kept as it came."""

    id: int
    post: int
    """Its id in the log where it was accepted."""
    customer: int
    source: str
    at: datetime
    """When it was accepted."""
    body: bytes = field(repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unread:
    """A customer's monitor that cannot be asked."""

    customer: int
    since: datetime
    """When it was first asked in vain."""
    reason: str = ""
    told_at: datetime | None = None
    """When its customer's group was told; None before."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A job that says that it is alive: when it does not, that is an alert (a dead man's switch)."""

    customer: int
    name: str
    token_hash: str = field(repr=False)
    every: int
    """Seconds within which it must be heard again."""
    due: datetime
    last_at: datetime | None = None
    missed: bool = False
    """Was its silence told?"""
    spared: bool = False
    """Was it given its whole time anew, because nobody of us was there to hear of it?"""
    retired: bool = False
    """Nobody waits for it any more; that its silence is over has yet to be told."""


class IncidentState(StrEnum):
    """Where an incident stands. An acknowledged one is open again when a new critical joins it."""

    OPEN = "open"
    ACKED = "acked"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts that belong together, for the people who must do something about them."""

    id: int
    customer: int
    group: str
    """What its alerts have in common, as grouping names it; one open incident for each."""
    title: str
    severity: Severity
    """The worst that it had, or what a person or the model raised it to."""
    state: IncidentState
    opened_at: datetime
    """When its first alert was durably accepted."""
    changed_at: datetime
    critical_at: datetime | None = None
    """When its first critical was durably accepted: escalation counts from here."""
    acked_at: datetime | None = None
    acked_by: Person | None = None
    resolved_at: datetime | None = None
    resolved_by: Person | None = None
    """None when its alerts ended by themselves."""
    began_at: datetime | None = None
    """When the first of its alerts began, hidden or not, by its source's clock. For people alone: every
    deadline counts from when we accepted it."""

    @property
    def since(self) -> datetime:
        """Return what people are told of when it began."""
        return min(self.began_at or self.opened_at, self.opened_at)


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert as it stands: one row for each that a source of a customer ever named."""

    customer: int
    source: str
    fingerprint: str
    incident: int
    """The incident that it belongs to, or last did; 0 while it is hidden and never was in one."""
    group: str
    firing: bool
    severity: Severity
    rule: str
    host: str
    title: str
    text: str
    url: str
    labels: Mapping[str, str]
    since: datetime
    """When its present or last episode was durably accepted."""
    changed_at: datetime
    flips: tuple[datetime, ...] = ()
    """When it lately began or ended, the oldest first."""
    hidden: str = ""
    """What a person set that hides it, with its end, in words; empty while it is seen."""
    ends: bool = True
    """Will its source say when it is over? Else it fires until a person closes its incident."""
    began_at: datetime | None = None
    """When that episode began, hidden or not: by its source's clock where that was before we
    accepted it. For people alone."""
    sender_group: str = ""
    """A digest of the sender's name for the group of alerts in whose post it began; empty of senders
    that name none."""


class StormPhase(StrEnum):
    """How a customer's group is told of alerts: each incident by itself, or all on one card."""

    NORMAL = "normal"
    STORM = "storm"
    DRAIN = "drain"
    """It has calmed down; the card stays until it is quiet."""


class Inflow(NamedTuple):
    """What one fold brought, in the instant of that fold."""

    at: datetime
    alerts: int
    """New ones."""
    incidents: int
    """New ones."""
    received: int = 0
    """All that came with them, repeats included."""


@dataclass(frozen=True, slots=True)
class Storm:
    """How much comes for a customer, and what phase that has led to."""

    customer: int
    phase: StormPhase = StormPhase.NORMAL
    since: datetime | None = None
    """When the present storm began; None in NORMAL."""
    calm_since: datetime | None = None
    """Since when little comes; None while much does."""
    critical_at: datetime | None = None
    """When the last new critical came."""
    recent: tuple[Inflow, ...] = ()
    """What the folds of the last minute brought, those that brought nothing new left out."""
    usual: float = 0.0
    """New alerts a minute, smoothed over the calm hours."""
    measured_at: datetime | None = None
    peak: int = 0
    """Most new alerts in one minute of this storm."""
    received: int = 0
    """Alerts that came in this storm, repeats included."""
    number: int = 0
    """Counts the storms of this customer: the card's key has it."""
    gathering_until: datetime | None = None
    """When the last window of shared messages of new criticals is over: from then on one goes at once."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody wants to hear nothing of some alerts until then. It is ended, and never deleted."""

    id: int
    customer: int
    matchers: str
    """As typed in Alertmanager's syntax, all of which must hold."""
    starts_at: datetime
    ends_at: datetime
    by: Person
    reason: str = ""
    ended_by: Person | None = None
    """Who ended it before its time: then `ends_at` is that instant."""


class Every(StrEnum):
    """How often a maintenance window comes back, by the clock of the house."""

    ONCE = "once"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Planned work, during which some alerts of a customer are expected."""

    id: int
    customer: int
    matchers: str
    """Empty: everything of the customer."""
    starts_at: datetime
    """Of the first time."""
    minutes: int
    every: Every
    by: Person
    created_at: datetime
    reason: str = ""
    day: int = 0
    """Of the month, for MONTH; -1 is the last."""
    ended_at: datetime | None = None
    """When somebody called it off: it hides nothing from then on."""
    ended_by: Person | None = None


@dataclass(frozen=True, slots=True)
class Muted:
    """An alert that would have fired: what a maintenance window's report is made of."""

    maintenance: int
    starts_at: datetime
    """Which time of the window."""
    fingerprint: str
    severity: Severity
    rule: str
    host: str
    title: str
    first_at: datetime
    last_at: datetime
    count: int = 1
    """How often it began to fire."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody decided for a customer, in place of what the settings say for all."""

    customer: int
    name: str
    """What it is about; who reads it knows the form of the value."""
    value: str
    at: datetime
    by: Person


@dataclass(frozen=True, slots=True)
class Truncation:
    """A group of alerts whose last post its sender cut."""

    customer: int
    source: str
    group: str
    """A digest of the sender's name for it."""
    left: int
    """Alerts that were not in the post."""
    labels: Mapping[str, str]
    """What all alerts of the group have."""
    seen: frozenset[str]
    """Fingerprints of those that were in its posts since they are cut."""
    at: datetime

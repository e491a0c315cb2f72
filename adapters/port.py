"""The sockets of the house: what a step, a command or the roof may ask of the outside world.

Whatever is behind a port, it raises `Transient`, `Permanent` or `InDoubt` and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self, runtime_checkable

from adapters.card import Card
from adapters.words import NOTHING, Chat, Click, Event, File, Person, Receipt, Secret, Submission

# -- errors -----------------------------------------------------------------------------------


class Fault(StrEnum):
    """What kind of thing went wrong: equal faults are grouped on a card and share a cure."""

    OTHER = "other"
    NETWORK = "network"
    """Refused, timed out, no route, name not found."""
    SSH_AUTH = "ssh_auth"
    """Wrong user, key or password."""
    HOST_KEY = "host_key"
    """The host key is not the one that was pinned."""
    SUDO = "sudo"
    """sudo is missing, asks for a password we do not have, or refused the one we have."""
    DISK = "disk"
    CLOCK = "clock"
    DROPPED = "dropped"
    """The connection ended in the middle of a command: it may have run or not."""
    COMMAND = "command"
    """A command ended with another exit code than 0."""
    SILENT = "silent"
    """The agent was installed, yet the monitor does not see fresh figures."""
    MONITOR = "monitor"
    """VigilOps is down or answers with an error."""
    REFUSED = "refused"
    """The other side understood and said no."""
    PORT = "port"
    """A port that is needed is in use."""


class OutsideError(Exception):
    """Something outside did not do what was asked. The text is for an engineer, in Chinese."""

    def __init__(self, reason: str, *, fault: Fault = Fault.OTHER) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault


class Transient(OutsideError):
    """It was not done, and may well be done when tried again after `retry_after` seconds."""

    def __init__(
        self, reason: str, *, retry_after: float | None = None, fault: Fault = Fault.NETWORK
    ) -> None:
        super().__init__(reason, fault=fault)
        self.retry_after = retry_after


class Permanent(OutsideError):
    """It was not done, and will not be until a person changes something."""


class InDoubt(OutsideError):
    """It was perhaps done: the other side cannot tell, so somebody must look or decide."""


class UsageError(Exception):
    """A person asked for something wrong and can mend it; the text says how, in Chinese."""


# -- chat -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a platform can do, as the outbox and the documentation need to know it."""

    can_edit: bool = True
    edit_only_on_click: bool = False
    needs_prior_contact: bool = False
    creates_chats: bool = True
    invites_by_mail: bool = False
    """People of another company are asked into a new group by their e-mail address."""
    has_idempotency: bool = True
    """Two sends with one key make one message."""
    without_key: str = ""
    """What is said without such a key all the same, in Chinese; its unseen end is a doubt."""
    forms: bool = True
    files: bool = True
    hears_files: bool = True
    """A file that somebody posts in a group reaches the bot."""
    hears_mentions: bool = True
    """Who is mentioned in a message comes with it, by their id."""
    answers_privately: bool = False
    """A press is answered to its presser alone: a toast, a line that nobody else sees."""
    callback_budget: float = 3.0
    """Seconds in which a press must be answered."""
    max_card_bytes: int = 30_000
    per_chat_per_minute: int = 60
    """Sends and edits together."""
    per_chat_per_hour: int = 0
    """The same in an hour; 0 where no such limit is known."""


Redraw = Callable[[str], Awaitable[Card | None]]
"""(id of a message of ours) -> the living card that it shows, as it is now; None when it shows none."""


class ChatPlatform(Protocol):
    """One chat platform. Entering it connects; leaving it closes everything."""

    @property
    def name(self) -> str: ...

    @property
    def can(self) -> Capabilities: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def events(self) -> AsyncIterator[Event]:
        """Yield what people do; the same delivery may come twice, the inbox knows its id."""
        ...

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None:
        """Tell who pressed what came of it, inside the callback budget; later it does nothing.

        Where the answer can carry the pressed card anew, `redraw` draws it; it is edited all the
        same afterwards, for nobody says whether the answer arrived.
        """
        ...

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        """Post `card`; the same `key` posts once."""
        ...

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        """Redraw a posted card; the receipt returned is the one to edit next time."""
        ...

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        """Create a group with `members`; the same `key` creates it once."""
        ...

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        """Post a file; the same `key` posts it once."""
        ...

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """Reach one person as urgently as the platform can, outside any group."""
        ...


@dataclass(frozen=True, slots=True)
class Meter:
    """How many of a period's calls a platform has had from us; `period` names it, as 2026-11."""

    period: str
    used: int
    limit: int
    warning: str = ""
    """What a person should know, in Chinese; empty while there is enough left."""
    saving: str = ""
    """Why only alarms may be edited now, in Chinese; empty while there is enough left."""


@runtime_checkable
class Metered(Protocol):
    """A platform whose calls are counted and end."""

    @property
    def meter(self) -> Meter: ...


@runtime_checkable
class Exclusive(Protocol):
    """A platform with one connection, which one of several replicas holds."""

    @property
    def speaks(self) -> bool:
        """Is it ours? What is to be said waits, untouched, for the replica whose it is."""
        ...


def speaks_here(platform: ChatPlatform) -> bool:
    """Is this the replica that speaks on a platform?"""
    return not isinstance(platform, Exclusive) or platform.speaks


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why and since when a platform's connection is over for good: only a person can mend it."""

    at: datetime
    reason: str
    """In Chinese, with what to do."""


@runtime_checkable
class Stoppable(Protocol):
    """A platform that may give its connection up, and does not take the process down with it."""

    @property
    def stopped(self) -> Stopped | None:
        """None while it is connected, or tries to be."""
        ...


def stopped(platform: ChatPlatform) -> Stopped | None:
    """Return why a platform has given up; None where it has not, or never does."""
    return platform.stopped if isinstance(platform, Stoppable) else None


@runtime_checkable
class Relay(Protocol):
    """A platform with a last way to be heard by our own people, where a chat cannot be written to."""

    async def relay(self, text: str, *, key: str) -> Receipt:
        """Say it there; Permanent where no such way is set up."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A platform that cannot edit later, but can go on with an answer for a while."""

    async def open_stream(self, chat: Chat, card: Card, *, key: str) -> Receipt | None:
        """Post a card's text that `edit` redraws for a while, and then refuses with Permanent.

        None when nobody has just asked for anything in the chat.
        """
        ...


# -- servers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Login:
    """How to get a shell on a server. `pinned` is its host key line, empty on first contact."""

    host: str
    port: int = 22
    user: str = "root"
    password: Secret = NOTHING
    key: Secret = NOTHING
    """A private key in OpenSSH format."""
    sudo_password: Secret = NOTHING
    pinned: str = ""
    via: Login | None = None
    """The bastion to go through (ProxyJump)."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    exit: int
    out: str
    err: str


class Shell(Protocol):
    """An open connection to one server; many commands may run on it, one after another."""

    @property
    def host_key(self) -> str:
        """The host key that was presented, as an OpenSSH public key line."""
        ...

    async def run(
        self, command: str, *, stdin: bytes = b"", timeout: float = 60.0, root: bool = False
    ) -> Ran:
        """Run a command line; a non-zero exit is a result, not an error.

        With `root`, through sudo, with the password on stdin where one is needed. Raises
        Transient when it surely did not start, InDoubt(DROPPED) when it may have run, Permanent
        with fault SUDO when sudo refuses.
        """
        ...

    async def unpack(self, archive: bytes, to: str, *, timeout: float = 120.0) -> None:
        """Unpack a .tar.gz into the directory `to`, which is made; through tar on stdin."""
        ...


class Servers(Protocol):
    """The way to every server."""

    def shell(self, login: Login) -> AbstractAsyncContextManager[Shell]:
        """Connect and give a shell.

        Raises Transient(NETWORK) when the server cannot be reached, Permanent(SSH_AUTH) when it
        refuses us, Permanent(HOST_KEY) when its key is not the pinned one.
        """
        ...


class Keys(Protocol):
    """Makes key pairs for SSH."""

    def make(self, comment: str) -> tuple[Secret, str]:
        """Return a new private key in OpenSSH format, and its public line."""
        ...


# -- the monitor ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """Who signs in to a monitor."""

    email: str
    password: Secret
    name: str = "Vigilbot"


@dataclass(frozen=True, slots=True)
class Health:
    """`GET /api/v1/health`: `status` counts, not the HTTP code."""

    ok: bool
    checks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AgentToken:
    """A token for one agent; `secret` is only known when it was just made."""

    id: int
    name: str
    prefix: str
    active: bool
    secret: Secret = NOTHING


@dataclass(frozen=True, slots=True)
class MonitoredHost:
    """A host as the monitor sees it; figures are None when it has none, or stale ones."""

    id: int
    hostname: str
    online: bool
    recorded_at: datetime | None
    cpu_percent: float | None
    memory_percent: float | None
    disk_percent: float | None
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a host's agent reported at one instant, in per cent; None is what it did not report."""

    at: datetime
    cpu_percent: float | None
    memory_percent: float | None
    disk_percent: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """`GET /dashboard/summary`."""

    hosts_total: int
    hosts_online: int
    alerts_firing: int
    health_score: int


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule; `id` 0 means one that is yet to be made."""

    name: str
    metric: str
    operator: str
    threshold: float
    severity: str
    target_type: str = "host"
    rule_type: str = "metric"
    duration_seconds: int = 0
    cooldown_seconds: int = 300
    log_keyword: str | None = None
    enabled: bool = True
    channel_ids: tuple[int, ...] | None = None
    builtin: bool = False
    id: int = 0


@dataclass(frozen=True, slots=True)
class Channel:
    """A notification channel of the monitor."""

    id: int
    name: str
    type: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class MonitorAlert:
    """A row of `/alerts`."""

    id: int
    rule_id: int
    host_id: int | None
    severity: str
    status: str
    title: str
    message: str
    fired_at: datetime


class Monitor(Protocol):
    """One VigilOps instance, signed in as the bot's own account.

    Every write is read back before it returns; a 500 is "perhaps applied" and is looked up.
    Lookups are by exact name. Raises Transient(MONITOR), Permanent(REFUSED), InDoubt(MONITOR).
    """

    @property
    def url(self) -> str: ...

    async def health(self) -> Health: ...

    async def register_admin(self) -> bool:
        """Make the bot's account the first user. False: this generation cannot (always 500)."""
        ...

    async def me(self) -> str:
        """Sign in if need be and return the account's role (admin, operator, viewer)."""
        ...

    async def create_user(self, email: str, name: str, role: str, password: Secret) -> None:
        """Make a user, or find it there already with that role."""
        ...

    async def set_password(self, email: str, password: Secret) -> None:
        """Give a user another password; Permanent when there is no such user."""
        ...

    async def users(self) -> Sequence[tuple[str, str]]:
        """Return (email, role) of every user."""
        ...

    async def configure_ai(self, base_url: str, model: str, key: Secret) -> str:
        """Store the default AI configuration once; return the masked key read back."""
        ...

    async def set_retention(self, days: Mapping[str, int]) -> Mapping[str, int]:
        """Set how long data is kept, in days per kind; return what was read back."""
        ...

    async def agent_tokens(self) -> Sequence[AgentToken]: ...

    async def create_agent_token(self, name: str) -> AgentToken: ...

    async def revoke_agent_token(self, token_id: int) -> None: ...

    async def hosts(self) -> Sequence[MonitoredHost]:
        """Return every host, all pages of them."""
        ...

    async def history(self, host: int, hours: int = 1) -> Sequence[Sample]:
        """Return what a host (by its id there) has reported in the last hours, the oldest first."""
        ...

    async def summary(self) -> Summary: ...

    async def rules(self) -> Sequence[Rule]: ...

    async def ensure_rule(self, rule: Rule) -> Rule:
        """Make the rule of that exact name, or bring it to these values; return it read back."""
        ...

    async def channels(self) -> Sequence[Channel]: ...

    async def ensure_only_channel(self, name: str, type_: str, config: Mapping[str, object]) -> int:
        """Have exactly one enabled channel, this one; return its id."""
        ...

    async def disable_channel(self, channel_id: int) -> None: ...

    async def test_channel(self, channel_id: int) -> bool:
        """Have the monitor post a test; True says only that it believes it did."""
        ...

    async def alerts(self, status: str = "") -> Sequence[MonitorAlert]: ...

    async def alert(self, alert_id: int) -> MonitorAlert | None:
        """Return one alert as it is now; None when the monitor has none with this id."""
        ...

    async def ack(self, alert_id: int) -> None: ...

    async def root_cause(self, alert_id: int) -> str:
        """Have the monitor's AI analyse an alert; return its words."""
        ...


class Monitors(Protocol):
    """The way to every customer's monitor; one signed-in session per instance is shared."""

    def at(self, url: str, account: Account) -> Monitor: ...


# -- the model, documents, time -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said."""

    text: str
    model: str
    tokens: int


class Model(Protocol):
    """A language model behind an OpenAI-compatible interface."""

    @property
    def name(self) -> str: ...

    async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
        """Ask once; raises Transient or Permanent."""
        ...


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A server as somebody declared it, in a form, a paste or a spreadsheet."""

    name: str
    host: str
    port: int = 22
    user: str = "root"
    os: str = ""
    cpu: int = 0
    memory_gb: float = 0
    disk_gb: float = 0
    location: str = ""
    bastion: str = ""
    """`user@host:port` of the jump host, empty when none is needed."""
    password: Secret = NOTHING
    sudo_password: Secret = NOTHING


@dataclass(frozen=True, slots=True)
class Paper:
    """What a document is made of: a template's name and the values that it shows."""

    template: str
    file_name: str
    values: Mapping[str, object] = field(default_factory=dict)


class Documents(Protocol):
    """Documents out and server lists in. Pure: no network, but CPU-bound, so off the loop."""

    async def write(self, paper: Paper) -> File:
        """Fill a template; raises Permanent when a value it shows is missing."""
        ...

    def read_servers(self, source: File | str) -> tuple[ServerRow, ...]:
        """Read a CSV or XLSX file, or pasted text; all rows or none.

        Raises UsageError that names every bad cell by row and column, in Chinese.
        """
        ...


class Clock(Protocol):
    """Time, so that a test may own it."""

    def now(self) -> datetime:
        """Return the present instant in UTC, with its zone."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; nothing durable may depend on it."""
        ...

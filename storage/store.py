"""The database: SQLite in a file, or PostgreSQL, and the unit of work over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from storage import migrate
from storage.advice import Advices
from storage.aside import Aside
from storage.audit import Audit
from storage.choices import Choices
from storage.duties import Duties
from storage.heard import Heard
from storage.heartbeats import Heartbeats
from storage.held import Held
from storage.hooks import SHUT, Hooks
from storage.incidents import Incidents
from storage.leases import Leases
from storage.listing import Listing
from storage.looks import Looks
from storage.oncall import Escalations, OnCall
from storage.outbox import Outbox
from storage.people import Customers, People, Ports, Servers
from storage.platform_rows import PlatformRows
from storage.questions import Questions
from storage.runs import Effects, Lines, Runs
from storage.silences import Maintenances, Silences
from storage.together import Together
from storage.truncations import Truncations
from storage.trust import Links, Signatures
from storage.unread import Unreads
from storage.vault import Seal, Vault

T = TypeVar("T")

READERS = 4
PATIENCE = 300.0
"""Seconds for which somebody waits for a connection: late is better than dead in a storm."""
WRITER = 0x76696769
"""Name of the lock in PostgreSQL that the one writer holds."""


DatabaseError = (sa.exc.SQLAlchemyError, OSError)
"""What is raised when the database did not do what was asked, whoever is at fault."""
DatabaseAway = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, OSError)
"""What is raised when it does not answer, or has no room: what was asked is not at fault."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One transaction: all that is done through it happens together, or not at all."""

    advices: Advices
    aside: Aside
    audit: Audit
    choices: Choices
    customers: Customers
    duties: Duties
    effects: Effects
    escalations: Escalations
    heard: Heard
    heartbeats: Heartbeats
    held: Held
    hooks: Hooks
    incidents: Incidents
    leases: Leases
    lines: Lines
    links: Links
    listing: Listing
    looks: Looks
    maintenance: Maintenances
    oncall: OnCall
    outbox: Outbox
    people: People
    platforms: PlatformRows
    ports: Ports
    questions: Questions
    runs: Runs
    servers: Servers
    signatures: Signatures
    silences: Silences
    truncations: Truncations
    unread: Unreads
    vault: Vault


class Store:
    """The way to all that we remember. Enter it to connect; leaving it closes the connections."""

    def __init__(self, url: str, seal: Seal) -> None:
        """`url` is `sqlite+aiosqlite:///FILE` or `postgresql+psycopg://...`."""
        self._url = sa.make_url(url)
        self._seal = seal
        self._open = AsyncExitStack()
        self._sqlite = self._url.get_backend_name() == "sqlite"
        # SQLite has one writer; waiting here is fair and cheap, waiting in the file is neither.
        self._writing = asyncio.Lock() if self._sqlite else None
        self._together = Together(self._begin)
        self.changed = asyncio.Event()
        """Set after each commit; who waits for news clears it before he looks."""
        self.shut = 0
        """Counts the commits that shut a hook's token: who remembers one asks anew after each."""
        self._writer: AsyncEngine
        self._reader: AsyncEngine

    async def __aenter__(self) -> Self:
        if self._sqlite:
            self._writer = self._engine(1, "BEGIN IMMEDIATE")
            self._reader = self._engine(READERS, "BEGIN")
            self._open.push_async_callback(self._reader.dispose)
        else:
            self._writer = self._reader = create_async_engine(self._url, hide_parameters=True)
        self._open.push_async_callback(self._writer.dispose)
        self._open.push_async_callback(self._together.settle)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    @property
    def shared(self) -> bool:
        """May other replicas have the same database?"""
        return not self._sqlite

    async def create(self) -> None:
        """Make the database, or bring it to the form that this program needs."""
        async with self._begin() as connection:
            await connection.run_sync(migrate.prepare)

    async def answers(self, within: float) -> bool:
        """Does the database answer in so many seconds?"""
        try:
            async with asyncio.timeout(within), self._reader.connect() as connection:
                await connection.execute(sa.select(1))
        except (TimeoutError, OSError, sa.exc.SQLAlchemyError):
            return False
        return True

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Unit]:
        """Give a transaction that may write; it commits when the block ends well."""
        async with self._begin() as connection:
            yield self._of(connection)

    async def write(self, change: Callable[[Unit], Awaitable[T]]) -> T:
        """Do `change` in a transaction, and return its result once that is committed.

        Changes that come while a commit is on its way share the next one, in their order. One
        that raises undoes its own part alone. For many small writes at once: a unit of its own
        for each would wait for as many commits. Who is cancelled cannot know whether it was done.
        """

        async def alone(connection: AsyncConnection) -> T:
            async with connection.begin_nested():
                return await change(self._of(connection))

        return await self._together.write(alone)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Unit]:
        """Give a transaction that only reads: it never waits for a writer."""
        async with self._reader.connect() as connection:
            yield self._of(connection)

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            if self._writing:
                await stack.enter_async_context(self._writing)
            connection = await stack.enter_async_context(self._writer.begin())
            if not self._sqlite:
                # One writer at a time, on every replica: what a unit has read stays true until
                # it commits, and none is refused in the middle (SERIALIZABLE would refuse some).
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITER)))
            yield connection
            # Of a transaction that was rolled back it may be left over: that costs one look more.
            shut = connection.info.pop(SHUT, False)
        self.shut += shut
        self.changed.set()

    def _of(self, connection: AsyncConnection) -> Unit:
        return Unit(
            Advices(connection),
            Aside(connection),
            Audit(connection),
            Choices(connection),
            Customers(connection),
            Duties(connection),
            Effects(connection),
            Escalations(connection),
            Heard(connection),
            Heartbeats(connection),
            Held(connection),
            Hooks(connection),
            Incidents(connection),
            Leases(connection),
            Lines(connection),
            Links(connection),
            Listing(connection),
            Looks(connection),
            Maintenances(connection),
            OnCall(connection),
            Outbox(connection),
            People(connection),
            PlatformRows(connection),
            Ports(connection),
            Questions(connection),
            Runs(connection),
            Servers(connection),
            Signatures(connection),
            Silences(connection),
            Truncations(connection),
            Unreads(connection),
            Vault(connection, self._seal),
        )

    def _engine(self, connections: int, begin: str) -> AsyncEngine:
        engine = create_async_engine(
            self._url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=PATIENCE,
            # An error is written to the log, and what people wrote is none of its readers' business.
            hide_parameters=True,
        )

        def prepare(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves, below
            cursor = connection.cursor()
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "busy_timeout=30000",
            ):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        def start(connection: Any) -> None:
            connection.exec_driver_sql(begin)

        sa.event.listen(engine.sync_engine, "connect", prepare)
        sa.event.listen(engine.sync_engine, "begin", start)
        return engine

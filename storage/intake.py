"""What monitors post, kept before they are answered: many posts share one commit.

A log and an offset: posts are only ever added here, and whoever folds them remembers the last one
in the main database, in the transaction of what it caused. So a crash between the two is harmless.
On SQLite the log is a file of its own, because folding and accepting would wait for each other's
commits; on PostgreSQL it is a table beside the others.

The event loop takes the posts, their future and the next group in one step, and hands them to one
writing thread (`facts/alert-storms.md`, section 3: a thread that takes them by itself races).
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self

import sqlalchemy as sa
import structlog

from storage.migrate import CONNECT_TIMEOUT
from storage.records import Accepted
from storage.tables import Instant, alerts_accepted

ROOM = 64 * 2**20
"""Bytes that may wait for their commit; beyond it posts are refused."""

AT_ONCE = 8 * 2**20
"""Bytes that are read at once: posts of the largest kind must not fill the memory."""

LOCK = 0x76696761
"""Name of the lock in PostgreSQL that whoever adds holds: ids are seen in the order they rise in."""

log = structlog.get_logger()

SWITCH = 0.0005
"""Seconds: the writing thread wants the interpreter back after each statement, and with the 5 ms
that are usual a busy loop lets it starve (measured: 15.0k against 18.4k posts per CPU-second)."""

_NAMES = ("id", "customer", "source", "at", "body")
_ADD = sa.insert(alerts_accepted)
_ADD_TO_FILE = "INSERT INTO alerts_accepted (id, customer, source, at, body) VALUES (?, ?, ?, ?, ?)"
_NEWEST = "SELECT max(id) FROM alerts_accepted"
_INSTANT = Instant()


class Overloaded(Exception):
    """A post was not kept: too many wait, or the database refused. The sender must try again."""


Row = tuple[int, str, datetime, bytes]
"""Customer, source, instant, body."""


@dataclass(slots=True)
class _Job:
    """Something for the writing thread, and what becomes of it."""

    done: asyncio.Future[Any]
    work: Callable[[], Any]


@dataclass(slots=True)
class _Group:
    """Posts that share a commit."""

    done: asyncio.Future[int]
    """The id of the first."""
    rows: list[Row] = field(default_factory=list)
    size: int = 0
    waiting: list[asyncio.Future[int]] = field(default_factory=list)
    """One for each row: whoever hangs up must not take the others' commit with him."""


class Intake:
    """The way in. Enter it to open; leaving it commits what was taken, and closes."""

    def __init__(self, url: str, *, room: int = ROOM) -> None:
        """`url` is the store's; `room` is how many bytes may wait."""
        self._url = _own(url)
        self._room = room
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        self._writing = False
        self._least = 0
        self.news = asyncio.Event()
        """Set after each commit; who waits for news clears it before he looks."""
        self._loop: asyncio.AbstractEventLoop
        self._group: _Group
        self._begun: _Group
        self._adding: sa.Engine
        self._looking: sa.Engine
        self._reader: ThreadPoolExecutor
        self._writer: Thread
        self._switch: float

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._group = self._new_group()
        self._adding = _engine(self._url, "BEGIN IMMEDIATE")
        self._looking = _engine(self._url, "BEGIN")
        self._reader = ThreadPoolExecutor(1, "intake-reader")
        await self._loop.run_in_executor(self._reader, self._create)
        self._switch = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        self._writer = Thread(target=self._write, name="intake-writer", daemon=True)
        self._writer.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        while self._writing:
            await asyncio.sleep(0)  # the group is given to the thread
            await asyncio.wait({self._begun.done})
            await asyncio.sleep(0)  # what its end does comes first
        self._jobs.put(None)
        await self._loop.run_in_executor(self._reader, self._writer.join)
        self._reader.shutdown()
        self._looking.dispose()
        self._adding.dispose()
        sys.setswitchinterval(self._switch)

    async def accept(self, customer: int, source: str, body: bytes, at: datetime) -> int:
        """Keep a post, and return its id once it is committed; raise Overloaded if it was not."""
        if self._waiting + len(body) > self._room:
            raise Overloaded("too much waits to be kept")
        group = self._group
        group.rows.append((customer, source, at, body))
        kept: asyncio.Future[int] = self._loop.create_future()
        group.waiting.append(kept)
        group.size += len(body)
        self._waiting += len(body)
        self._hand_over()
        return await kept

    async def after(self, id: int, limit: int) -> Sequence[Accepted]:  # noqa: A002 - the log's word
        """Return the posts that were accepted after this one, the oldest first: at most so many, and
        no more bytes than `AT_ONCE`, yet one at least."""
        return await self._loop.run_in_executor(self._reader, self._after, id, limit)

    def go_on_after(self, id: int) -> None:  # noqa: A002 - the log's word
        """Give no id up to this one: it was folded, even where the log itself has been lost."""
        self._least = max(self._least, id)

    async def trim(self, id: int) -> None:  # noqa: A002 - the log's word
        """Throw away the posts up to this one; the newest stays, because ids go on from it."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Job(done, lambda: self._trim(id)))
        await done

    # -- on the loop --------------------------------------------------------------------------

    def _new_group(self) -> _Group:
        return _Group(self._loop.create_future())

    def _hand_over(self) -> None:
        """Let the writing thread have the group soon, unless it is at work: then the group grows."""
        if self._writing or not self._group.rows:
            return
        self._writing = True
        # Those that were read from their sockets in this turn of the loop shall come along.
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        group = self._begun = self._group
        self._group = self._new_group()
        group.done.add_done_callback(lambda done: self._ended(group, done))
        self._jobs.put(_Job(group.done, lambda: self._add(group.rows)))

    def _ended(self, group: _Group, done: asyncio.Future[int]) -> None:
        self._waiting -= group.size
        self._writing = False
        wrong = done.exception()
        for place, kept in enumerate(group.waiting):
            if kept.done():  # its sender has hung up
                continue
            if wrong:
                kept.set_exception(wrong)
            else:
                kept.set_result(done.result() + place)
        if wrong is None:
            self.news.set()
        self._hand_over()

    # -- on the writing thread ----------------------------------------------------------------

    def _write(self) -> None:
        while job := self._jobs.get():
            try:
                result, why = job.work(), None
            except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
                result, why = None, Overloaded(type(error).__name__)
            except Exception as error:
                # Whatever it is: without this thread nobody who posts would ever be answered.
                log.exception("posts not kept")
                result, why = None, Overloaded(type(error).__name__)
            self._loop.call_soon_threadsafe(_settle, job.done, result, why)

    def _add(self, rows: list[Row]) -> int:
        if self._adding.dialect.name == "sqlite":
            return self._add_to_file(rows)
        with self._adding.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            newest = connection.scalar(sa.select(sa.func.max(alerts_accepted.c.id)))
            first = max(newest or 0, self._least) + 1
            named = [
                dict(zip(_NAMES, (number, *row), strict=True))
                for number, row in enumerate(rows, first)
            ]
            connection.execute(_ADD, named)
        return first

    def _add_to_file(self, rows: list[Row]) -> int:
        # By the driver itself: around a commit of few posts an engine's own work is the most of it.
        pooled = self._adding.raw_connection()
        try:
            cursor = pooled.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            ((newest,),) = cursor.execute(_NEWEST)
            first = max(newest or 0, self._least) + 1
            cursor.executemany(
                _ADD_TO_FILE,
                [
                    (number, customer, source, _INSTANT.process_bind_param(at, None), body)
                    for number, (customer, source, at, body) in enumerate(rows, first)
                ],
            )
            cursor.execute("COMMIT")
        finally:
            pooled.close()  # rolls back what was not committed
        return first

    def _trim(self, last: int) -> None:
        ids = alerts_accepted.c.id
        with self._adding.begin() as connection:
            newest = sa.select(sa.func.max(ids)).scalar_subquery()
            connection.execute(sa.delete(alerts_accepted).where(ids <= last, ids < newest))

    # -- on the reading thread ----------------------------------------------------------------

    def _create(self) -> None:
        with self._adding.begin() as connection:
            alerts_accepted.create(connection, checkfirst=True)

    def _after(self, last: int, limit: int) -> list[Accepted]:
        ids, length = alerts_accepted.c.id, sa.func.length(alerts_accepted.c.body)
        asked = sa.select(alerts_accepted).where(ids > last).order_by(ids)
        sizes = sa.select(ids, length).where(ids > last).order_by(ids).limit(limit)
        with self._looking.connect() as connection:
            upto, size = last, 0
            for number, bytes_of_it in connection.execute(sizes):
                size += bytes_of_it
                if size > AT_ONCE and upto > last:
                    break
                upto = number
            if upto == last:
                return []
            asked = asked.where(ids <= upto)
            return [
                Accepted(row.id, row.customer, row.source, row.at, bytes(row.body))
                for row in connection.execute(asked)
            ]


def _settle(done: asyncio.Future[Any], result: Any, wrong: Overloaded | None) -> None:
    if done.done():  # a trim that nobody waits for any more
        return
    if wrong is None:
        done.set_result(result)
    else:
        done.set_exception(wrong)


def _own(url: str) -> sa.URL:
    """Return where the log is: beside a SQLite file, inside PostgreSQL."""
    place = sa.make_url(url)
    if place.get_backend_name() != "sqlite":
        return place
    return place.set(drivername="sqlite", database=f"{place.database}-intake.sqlite")


def _engine(place: sa.URL, begin: str) -> sa.Engine:
    if place.get_backend_name() != "sqlite":
        # A server that was started anew has closed what lies in the pool.
        patience = {"connect_timeout": CONNECT_TIMEOUT}
        return sa.create_engine(
            place, pool_pre_ping=True, connect_args=patience, hide_parameters=True
        )
    engine = sa.create_engine(place, hide_parameters=True)

    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", start)
    return engine

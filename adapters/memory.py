"""What a platform's link must remember itself: rows by kind and id, in one SQLite file for its owner
alone. Platforms differ in what they keep and for how long; how it is kept is here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from adapters.port import Fault, Permanent, Transient

DAY = timedelta(days=1)

BEGUN = ""
"""The body of a deed that was begun and whose end nobody saw."""

KEEP = """
INSERT INTO kept (kind, id, body, at) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, at = excluded.at
"""
DROP = "DELETE FROM kept WHERE kind = ? AND id = ?"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    at TEXT NOT NULL, UNIQUE (kind, id));
"""


class Rows:
    """Rows by kind and id, in the order in which they were first written."""

    title: ClassVar[str]
    """The platform, as people are told of it."""
    forget: ClassVar[Mapping[str, timedelta]]
    """How long each kind is kept; others are never forgotten."""
    synchronous: ClassVar[str] = "FULL"
    more: ClassVar[str] = ""
    """Tables beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._tidied: datetime | None = None

    def open(self, now: datetime) -> None:
        """Open the file and forget what is too old; Permanent when it cannot be opened."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            db = sqlite3.connect(self._path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {self.synchronous}")
            db.execute("PRAGMA secure_delete = ON")  # a form may have held a password
            with db:
                db.executescript(_SCHEMA + self.more)
                self._forget_old(db, now)
        except (OSError, sqlite3.Error) as problem:
            raise Permanent(f"打不开{self.title}的数据文件 {self._path}：{problem}") from problem
        self._db = db

    def tidy(self, now: datetime) -> None:
        """Forget what is too old by now, once a day at the most: the file may stay open for years.
        Transient when the disk refuses."""
        db = self._opened()
        if self._tidied and now - self._tidied < DAY:
            return
        try:
            with db:
                self._forget_old(db, now)
        except sqlite3.Error as problem:
            raise self._unwritable(problem) from problem

    def _forget_old(self, db: sqlite3.Connection, now: datetime) -> None:
        for kind, age in self.forget.items():
            old = (kind, (now - age).isoformat())
            db.execute("DELETE FROM kept WHERE kind = ? AND at < ?", old)
        self._tidied = now

    def close(self) -> None:
        if self._db:
            self._db.close()
        self._db = None

    @property
    def is_open(self) -> bool:
        return self._db is not None

    def first(self, kind: str) -> tuple[str, str] | None:
        """Return (id, body) of the oldest of a kind."""
        query = "SELECT id, body FROM kept WHERE kind = ? ORDER BY number LIMIT 1"
        row = self._opened().execute(query, (kind,)).fetchone()
        return (str(row[0]), str(row[1])) if row else None

    def wipe(self) -> None:
        """Empty the log of what was written: what was dropped is then nowhere in the files."""
        with suppress(sqlite3.OperationalError):  # somebody reads the file: the next time, then
            self._opened().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _dated(self, kind: str, name: str) -> tuple[str, datetime] | None:
        """Return (body, when it was written)."""
        query = "SELECT body, at FROM kept WHERE kind = ? AND id = ?"
        row = self._opened().execute(query, (kind, name)).fetchone()
        return (str(row[0]), datetime.fromisoformat(row[1])) if row else None

    def _write(self, statement: str, values: tuple[str, ...]) -> None:
        """Write by one statement; Transient when the disk refuses."""
        db = self._opened()
        try:
            with db:
                db.execute(statement, values)
        except sqlite3.Error as problem:
            raise self._unwritable(problem) from problem

    @contextmanager
    def _on_the_disk(self) -> Iterator[None]:
        """Have what is written meanwhile on the disk itself: not even a power cut undoes it."""
        db = self._opened()
        db.execute("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            db.execute(f"PRAGMA synchronous = {self.synchronous}")

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise Transient(f"{self.title}没有打开")
        return self._db

    def _unwritable(self, problem: sqlite3.Error) -> Transient:
        return Transient(f"{self.title}的数据文件写不进去：{problem}", fault=Fault.DISK)

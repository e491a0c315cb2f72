"""What the link must remember itself, in one SQLite file for its owner alone.

DingTalk has no idempotency key for a robot's message, a file or a DING, and never delivers a bot
message twice. So a deed is written down before it is begun and again when it is done, and what
people do waits here until the reader of `events` asks for the next. The calls of the month are
counted here, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from adapters.port import Fault, Permanent, Transient

BEGUN = ""
"""The body of a deed that was begun and whose end nobody saw."""

FORGET = {
    "deed": timedelta(days=30),
    "card": timedelta(days=90),
    "choice": timedelta(days=90),
    "paper": timedelta(minutes=30),
}
"""How long each kind is kept. A waiting event is never forgotten."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    at TEXT NOT NULL, UNIQUE (kind, id));
CREATE TABLE IF NOT EXISTS counted (name TEXT PRIMARY KEY, amount INTEGER NOT NULL);
"""
_KEEP = """
INSERT INTO kept (kind, id, body, at) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, at = excluded.at
"""
_COUNT = """
INSERT INTO counted (name, amount) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount RETURNING amount
"""
Row = tuple[str, str, str]
"""(kind, id, body)"""


class Memory:
    """Rows by kind and id, in the order in which they were first written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def open(self, now: datetime) -> None:
        """Open the file and forget what is too old; Permanent when it cannot be opened."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            db = sqlite3.connect(self._path)
            # A kill loses nothing of this, and a crowd of presses is kept without a wait for the
            # disk, which on the loop would cost each of them 10 ms of its two seconds.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")  # a form may have held a password
            with db:
                db.executescript(_SCHEMA)
                for kind, age in FORGET.items():
                    old = (kind, (now - age).isoformat())
                    db.execute("DELETE FROM kept WHERE kind = ? AND at < ?", old)
        except (OSError, sqlite3.Error) as problem:
            raise Permanent(f"打不开钉钉的数据文件 {self._path}：{problem}") from problem
        self._db = db

    def close(self) -> None:
        if self._db:
            self._db.close()
        self._db = None

    @property
    def is_open(self) -> bool:
        return self._db is not None

    def get(self, kind: str, name: str) -> str | None:
        query = "SELECT body FROM kept WHERE kind = ? AND id = ?"
        row = self._opened().execute(query, (kind, name)).fetchone()
        return str(row[0]) if row else None

    def all(self, kind: str, prefix: str = "") -> list[tuple[str, str, datetime]]:
        """Return (id, body, written at) of a kind, the oldest first."""
        query = "SELECT id, body, at FROM kept WHERE kind = ? ORDER BY number"
        rows = self._opened().execute(query, (kind,)).fetchall()
        return [(n, b, datetime.fromisoformat(at)) for n, b, at in rows if n.startswith(prefix)]

    def first(self, kind: str) -> tuple[str, str] | None:
        """Return (id, body) of the oldest of a kind."""
        query = "SELECT id, body FROM kept WHERE kind = ? ORDER BY number LIMIT 1"
        row = self._opened().execute(query, (kind,)).fetchone()
        return (str(row[0]), str(row[1])) if row else None

    def keep(self, now: datetime, *rows: Row, gone: Sequence[tuple[str, str]] = ()) -> None:
        """Write rows and drop others (kind, id), together; Transient when the disk refuses."""
        db = self._opened()
        try:
            with db:
                db.executemany(_KEEP, [(*row, now.isoformat()) for row in rows])
                db.executemany("DELETE FROM kept WHERE kind = ? AND id = ?", gone)
        except sqlite3.Error as problem:
            raise _unwritable(problem) from problem

    def begin(self, now: datetime, name: str) -> None:
        """Write down that a deed is begun, on the disk itself: not even a power cut repeats it."""
        db = self._opened()
        db.execute("PRAGMA synchronous = FULL")
        try:
            self.keep(now, ("deed", name, BEGUN))
        finally:
            db.execute("PRAGMA synchronous = NORMAL")

    def wipe(self) -> None:
        """Empty the log of what was written: what was dropped is then nowhere in the files."""
        with suppress(sqlite3.OperationalError):  # somebody reads the file: the next time, then
            self._opened().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def drop(self, kind: str, name: str) -> None:
        db = self._opened()
        try:
            with db:
                db.execute("DELETE FROM kept WHERE kind = ? AND id = ?", (kind, name))
        except sqlite3.Error as problem:
            raise _unwritable(problem) from problem

    def count(self, name: str, more: int) -> int:
        """Add to a counter and return what it is now."""
        db = self._opened()
        if not more:
            row = db.execute("SELECT amount FROM counted WHERE name = ?", (name,)).fetchone()
            return int(row[0]) if row else 0
        try:
            with db:
                return int(db.execute(_COUNT, (name, more)).fetchone()[0])
        except sqlite3.Error as problem:
            raise _unwritable(problem) from problem

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise Transient("钉钉没有打开")
        return self._db


def _unwritable(problem: sqlite3.Error) -> Transient:
    return Transient(f"钉钉的数据文件写不进去：{problem}", fault=Fault.DISK)

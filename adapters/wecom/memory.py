"""What the link must remember itself, in one SQLite file for its owner alone.

WeCom has no idempotency key, gives a message no id that could be looked up, and tells of a press
once only. So a deed is written down before it is begun and again when it is done, a press waits here
until the reader of `events` asks for the next, and who has spoken to the bot is never forgotten.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from adapters.port import Fault, Permanent, Transient

BEGUN = ""
"""The body of a deed that was begun and whose end nobody saw."""

FORGET = {"deed": timedelta(days=30), "card": timedelta(days=90), "form": timedelta(hours=1)}
"""How long each kind is kept. Chats, and events that wait, are never forgotten."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    at TEXT NOT NULL, UNIQUE (kind, id))
"""
_KEEP = """
INSERT INTO kept (kind, id, body, at) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, at = excluded.at
"""


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
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA secure_delete = ON")  # a form may have held a password
            with db:
                db.execute(_SCHEMA)
                for kind, age in FORGET.items():
                    old = (kind, (now - age).isoformat())
                    db.execute("DELETE FROM kept WHERE kind = ? AND at < ?", old)
        except (OSError, sqlite3.Error) as problem:
            raise Permanent(f"打不开企业微信的数据文件 {self._path}：{problem}") from problem
        self._db = db

    def close(self) -> None:
        if self._db:
            self._db.close()
        self._db = None

    @property
    def is_open(self) -> bool:
        return self._db is not None

    def get(self, kind: str, name: str) -> tuple[str, datetime] | None:
        """Return (body, when it was written)."""
        query = "SELECT body, at FROM kept WHERE kind = ? AND id = ?"
        row = self._opened().execute(query, (kind, name)).fetchone()
        return (str(row[0]), datetime.fromisoformat(row[1])) if row else None

    def first(self, kind: str) -> tuple[str, str] | None:
        """Return (id, body) of the oldest of a kind."""
        query = "SELECT id, body FROM kept WHERE kind = ? ORDER BY number LIMIT 1"
        row = self._opened().execute(query, (kind,)).fetchone()
        return (str(row[0]), str(row[1])) if row else None

    def keep(self, kind: str, name: str, body: str, now: datetime) -> None:
        """Write a row, on the disk itself; Transient when the disk refuses."""
        self._write(_KEEP, (kind, name, body, now.isoformat()))

    def drop(self, kind: str, name: str) -> None:
        """Drop a row, and what it said from every file."""
        self._write("DELETE FROM kept WHERE kind = ? AND id = ?", (kind, name))
        with suppress(sqlite3.OperationalError):  # somebody reads the file: the next time, then
            self._opened().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _write(self, statement: str, values: tuple[str, ...]) -> None:
        db = self._opened()
        try:
            with db:
                db.execute(statement, values)
        except sqlite3.Error as problem:
            reason = f"企业微信的数据文件写不进去：{problem}"
            raise Transient(reason, fault=Fault.DISK) from problem

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise Transient("企业微信没有打开")
        return self._db

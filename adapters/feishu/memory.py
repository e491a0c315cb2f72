"""What the link must remember itself, in one SQLite file for its owner alone.

Feishu takes a uuid for whatever is posted or founded, and forgets it after an hour. So a deed is
written down before it is begun and again when it is done: its key acts once, or ends in doubt,
however long the bot was away in between.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta

from adapters.memory import BEGUN, DROP, KEEP, Rows

__all__ = ["BEGUN", "Memory"]

_BEGIN = "INSERT INTO kept (kind, id, body, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_DEED = "deed"


class Memory(Rows):
    """Feishu's deeds by their uuid: begun at an instant, or done and what Feishu answered."""

    title = "飞书"
    forget = {_DEED: timedelta(days=30)}  # noqa: RUF012 - a constant
    # That a deed is done may be lost in a power cut: it is then begun, and asked for again.
    synchronous = "NORMAL"

    def get(self, uuid: str) -> tuple[str, datetime] | None:
        """Return (BEGUN or the answer, when that was written)."""
        query = "SELECT body, at FROM kept WHERE kind = ? AND id = ?"
        row = self._opened().execute(query, (_DEED, uuid)).fetchone()
        return (str(row[0]), datetime.fromisoformat(row[1])) if row else None

    def begin(self, uuid: str, now: datetime) -> None:
        """Write down that a deed is begun, unless it is there: the first time counts. It is on the
        disk itself, so that not even a power cut repeats it; Transient when the disk refuses."""
        db = self._opened()
        db.execute("PRAGMA synchronous = FULL")
        try:
            self._write(_BEGIN, (_DEED, uuid, BEGUN, now.isoformat()))
        finally:
            db.execute(f"PRAGMA synchronous = {self.synchronous}")

    def end(self, uuid: str, answer: str, now: datetime) -> None:
        self._write(KEEP, (_DEED, uuid, answer, now.isoformat()))

    def drop(self, uuid: str) -> None:
        self._write(DROP, (_DEED, uuid))

    def _write(self, statement: str, values: tuple[str, ...]) -> None:
        db = self._opened()
        try:
            with db:
                db.execute(statement, values)
        except sqlite3.Error as problem:
            raise self._unwritable(problem) from problem

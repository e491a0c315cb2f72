"""What the link must remember itself, in one SQLite file for its owner alone.

DingTalk has no idempotency key for a robot's message, a file or a DING, and never delivers a bot
message twice. So a deed is written down before it is begun and again when it is done, and what
people do waits here until the reader of `events` asks for the next. The calls of the month are
counted here, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from adapters.memory import BEGUN, DROP, KEEP, Rows

__all__ = ["BEGUN", "Memory"]

_COUNT = """
INSERT INTO counted (name, amount) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount RETURNING amount
"""
Row = tuple[str, str, str]
"""(kind, id, body)"""


class Memory(Rows):
    """DingTalk's rows, and counters beside them. A waiting event is never forgotten."""

    title = "钉钉"
    forget = {  # noqa: RUF012 - a constant
        "deed": timedelta(days=30),
        "card": timedelta(days=90),
        "choice": timedelta(days=90),
        "paper": timedelta(minutes=30),
    }
    # A kill loses nothing of this, and a crowd of presses is kept without a wait for the disk, which
    # on the loop would cost each of them 10 ms of its two seconds.
    synchronous = "NORMAL"
    more = "CREATE TABLE IF NOT EXISTS counted (name TEXT PRIMARY KEY, amount INTEGER NOT NULL);"

    def get(self, kind: str, name: str) -> str | None:
        found = self._dated(kind, name)
        return found[0] if found else None

    def all(self, kind: str, prefix: str = "") -> list[tuple[str, str, datetime]]:
        """Return (id, body, written at) of a kind, the oldest first."""
        query = "SELECT id, body, at FROM kept WHERE kind = ? ORDER BY number"
        rows = self._opened().execute(query, (kind,)).fetchall()
        return [(n, b, datetime.fromisoformat(at)) for n, b, at in rows if n.startswith(prefix)]

    def keep(self, now: datetime, *rows: Row, gone: Sequence[tuple[str, str]] = ()) -> None:
        """Write rows and drop others (kind, id), together; Transient when the disk refuses."""
        self.tidy(now)
        db = self._opened()
        try:
            with db:
                db.executemany(KEEP, [(*row, now.isoformat()) for row in rows])
                db.executemany(DROP, gone)
        except sqlite3.Error as problem:
            raise self._unwritable(problem) from problem

    def begin(self, now: datetime, name: str) -> None:
        """Write down that a deed is begun, on the disk itself: not even a power cut repeats it."""
        with self._on_the_disk():
            self.keep(now, ("deed", name, BEGUN))

    def drop(self, kind: str, name: str) -> None:
        self._write(DROP, (kind, name))

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
            raise self._unwritable(problem) from problem

"""What the link must remember itself, in one SQLite file for its owner alone.

Feishu takes a uuid for whatever is posted or founded, and forgets it after an hour. So a deed is
written down before it is begun and again when it is done: its key acts once, or ends in doubt,
however long the bot was away in between.
"""

from __future__ import annotations

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
        return self._dated(_DEED, uuid)

    def begin(self, uuid: str, now: datetime) -> None:
        """Write down that a deed is begun, unless it is there: the first time counts. It is on the
        disk itself, so that not even a power cut repeats it; Transient when the disk refuses."""
        self.tidy(now)
        with self._on_the_disk():
            self._write(_BEGIN, (_DEED, uuid, BEGUN, now.isoformat()))

    def end(self, uuid: str, answer: str, now: datetime) -> None:
        self._write(KEEP, (_DEED, uuid, answer, now.isoformat()))

    def drop(self, uuid: str) -> None:
        self._write(DROP, (_DEED, uuid))

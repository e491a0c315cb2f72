"""The database objects that the durable engine is handed: its own file beside ours.

One file for both starved our writers, so the engine's journal is a second one. The engine's own
default for SQLite has no write-ahead log and a weaker `synchronous`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa


def journal_in(file: Path) -> sa.Engine:
    """Return a synchronous engine over a SQLite file, WAL and synchronous=FULL."""
    engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 30.0})

    def prepare(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(engine, "connect", prepare)
    return engine

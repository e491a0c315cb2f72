"""The database objects that the durable engine is handed: its own beside ours.

On SQLite that is a second file: one file for both starved our writers, and the engine's own
default has no write-ahead log and a weaker `synchronous`. On PostgreSQL the server is the same:
the engine keeps to the schema `dbos`, which it makes, and ours is `public`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

Journal = sa.Engine
"""What the engine is handed; nobody else looks into it."""


def journal_at(url: str) -> Journal:
    """Return the journal at an address such as a store has, its password in its place."""
    place = sa.make_url(url)
    if place.get_backend_name() == "sqlite":
        return journal_in(Path(place.database or ""))
    # A server that was started anew has closed what lies in the pool.
    return sa.create_engine(place, pool_pre_ping=True)


def journal_in(file: Path) -> Journal:
    """Return a synchronous engine over a SQLite file, WAL and synchronous=FULL."""
    engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 30.0})

    def prepare(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(engine, "connect", prepare)
    return engine

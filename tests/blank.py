"""Databases that hold nothing yet, made once and copied: most tests begin with one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from storage import migrate
from storage.tables import metadata

DELETES = "; ".join(f'DELETE FROM "{table.name}"' for table in reversed(metadata.sorted_tables))
COLUMNS = (
    "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
    " AND a.attnum > 0 AND NOT a.attisdropped"
)
WANTED = {(table.name, column.name) for table in metadata.tables.values() for column in table.c} | {
    ("alembic_version", "version_num")
}
RESTARTS = (
    "SELECT setval(oid::regclass, 1, false) FROM pg_class"
    " WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
)


def sqlite(file: Path) -> str:
    """Lay an empty database into `file` and return a store's address of it."""
    file.write_bytes(_made())
    return f"sqlite+aiosqlite:///{file}"


def postgres(url: str) -> str:
    """Empty a database of PostgreSQL, whatever a test before has left there; return its address."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        # Its columns, not its tables alone: a test of the migrations may have taken one away.
        if {tuple(row) for row in connection.execute(sa.text(COLUMNS))} == WANTED:
            connection.execute(sa.text(DELETES))
            connection.execute(sa.text(RESTARTS))
        else:
            connection.execute(sa.text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
            migrate.prepare(connection)
    engine.dispose()
    return url


@cache
def _made() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "blank.sqlite"
        engine = migrate.plain_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            migrate.prepare(connection)
        engine.dispose()
        return file.read_bytes()

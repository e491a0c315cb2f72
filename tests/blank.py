"""Databases that hold nothing yet, made once and copied: most tests begin with one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from storage import migrate
from storage.tables import metadata

DELETES = "; ".join(f'DELETE FROM "{table.name}"' for table in reversed(metadata.sorted_tables))
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
        if set(sa.inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}:
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

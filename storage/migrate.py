"""The database's form, brought up to date by numbered steps that are never changed afterwards."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage.tables import metadata

FOLDER = Path(__file__).parent / "migrations"
LOCK = 0x7669676D
"""Name of the lock in PostgreSQL that a migrating replica holds."""

CONNECT_TIMEOUT = 10
"""Seconds; PostgreSQL alone is far away."""


def upgrade(url: str) -> str:
    """Bring a database to the newest form and return its number; one that is there changes nothing."""
    engine = plain_engine(url)
    try:
        with engine.begin() as connection:
            upgrade_on(connection)
            return _number(connection)
    finally:
        engine.dispose()


def upgrade_on(connection: sa.Connection) -> None:
    """Bring a database to the newest form inside the caller's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    command.upgrade(_config(connection), "head")


def prepare(connection: sa.Connection) -> None:
    """Make what is missing in the caller's transaction: a new database is made whole and numbered
    as the newest, an older one goes up step by step.

    A new one walks no steps, for start-up's sake; a test holds both ways against each other.
    """
    if number := _number(connection):
        if number != newest():
            upgrade_on(connection)
        return
    there = bool(sa.inspect(connection).get_table_names())
    metadata.create_all(connection, checkfirst=there)
    MigrationContext.configure(connection).stamp(ScriptDirectory(str(FOLDER)), "head")


def current(url: str) -> str:
    """Return the number of a database's form; empty when it has none."""
    engine = plain_engine(url)
    try:
        with engine.connect() as connection:
            return _number(connection)
    finally:
        engine.dispose()


def newest() -> str:
    """Return the number of the form that this program needs."""
    return ScriptDirectory(str(FOLDER)).get_current_head() or ""


def differences(url: str) -> list[str]:
    """Say where a database is not what the tables say; for tests and `doctor`."""
    engine = plain_engine(url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return [str(each) for each in compare_metadata(context, metadata)]
    finally:
        engine.dispose()


def _number(connection: sa.Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def plain_engine(url: str) -> sa.Engine:
    """Return a synchronous engine: SQLite's own driver begins no transaction before DDL."""
    made = sa.make_url(url)
    if made.get_backend_name() != "sqlite":
        patience = {"connect_timeout": CONNECT_TIMEOUT}
        return sa.create_engine(made, poolclass=sa.NullPool, connect_args=patience)
    engine = sa.create_engine(made.set(drivername="sqlite"), poolclass=sa.NullPool)

    def prepare(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def plainly(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined] # we say BEGIN ourselves

    sa.event.listen(engine, "connect", plainly)
    sa.event.listen(engine, "begin", prepare)
    return engine

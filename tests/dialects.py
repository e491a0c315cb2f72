"""SQLAlchemy's dialects, with what was compiled for one database kept for the next one.

Each test has a database of its own, and so an engine, which would compile every statement anew: a
third of what most tests take.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import URL, Dialect, Engine

COMPILED: dict[Any, Any] = {}
"""By dialect and statement: a dialect of the same class is the same one."""


class _Shared(Dialect):
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=COMPILED)


class SQLite(_Shared, SQLiteDialect_aiosqlite):
    supports_statement_cache = True


class PostgreSQL(_Shared, PGDialectAsync_psycopg):
    supports_statement_cache = True


class AnyPostgreSQL(_Shared, PGDialect_psycopg):
    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[Dialect]:
        return PostgreSQL


def register() -> None:
    """Have every store of this process use them."""
    registry.register("sqlite.aiosqlite", __name__, SQLite.__name__)
    registry.register("postgresql.psycopg", __name__, AnyPostgreSQL.__name__)

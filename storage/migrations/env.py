"""Alembic's way into our database: always on a connection that `storage.migrate` hands over."""

from __future__ import annotations

from typing import Literal

from alembic import context

from storage.tables import Instant, metadata


def plain(kind: str, item: object, _: object) -> str | Literal[False]:
    """Write an instant as what it is in the database: a step outlives the class of today."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Instant) else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by copying it
    compare_type=True,
    render_item=plain,
)
with context.begin_transaction():
    context.run_migrations()

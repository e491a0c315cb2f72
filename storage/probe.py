"""Whether the database can be used: looked at and written to, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic.util import CommandError

from adapters.port import Permanent
from storage import migrate
from storage.tables import living_cards, seen_events, vault
from storage.vault import Seal


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found. `form` is the number of the database's form, empty when it has no tables."""

    form: str
    sealed: str = ""
    """Name of a vault entry that is there; empty when the vault is."""


def probe(url: str) -> Probed:
    """Read the form, write a row and roll it back; blocks, so call it off the loop.

    Raises Permanent with what the database said.
    """
    found: list[Probed] = []
    if why := reason_of(lambda: found.append(_probe(url))):
        raise Permanent(why)
    return found[0]


def unseal(url: str, seal: Seal, name: str) -> None:
    """Open one vault entry; UsageError when it was sealed with another key."""
    engine = migrate.plain_engine(url)
    try:
        with engine.connect() as connection:
            query = sa.select(vault.c.sealed).where(vault.c.name == name)
            sealed = connection.scalar(query)
    finally:
        engine.dispose()
    if sealed is not None:
        seal.open(name, sealed)


def shown(url: str, key: str) -> bool:
    """Is there a living card of this key? Blocks, so call it off the loop.

    Raises Permanent with what the database said.
    """
    found: list[bool] = []
    if why := reason_of(lambda: found.append(_shown(url, key))):
        raise Permanent(why)
    return found[0]


def reason_of(deed: Callable[[], None]) -> str:
    """Do something with a database and return why it failed, without the password; or nothing."""
    try:
        deed()
    except sa.exc.DBAPIError as error:
        return f"{type(error.orig).__name__}：{error.orig}".strip()
    except (sa.exc.SQLAlchemyError, CommandError, OSError) as error:
        return f"{type(error).__name__}：{error}"
    return ""


def _shown(url: str, key: str) -> bool:
    engine = migrate.plain_engine(url)
    try:
        with engine.connect() as connection:
            query = sa.select(living_cards.c.key).where(living_cards.c.key == key)
            return connection.scalar(query) is not None
    finally:
        engine.dispose()


def _probe(url: str) -> Probed:
    form = migrate.current(url)
    if not form:
        return Probed("")
    engine = migrate.plain_engine(url)
    try:
        with engine.connect() as connection:
            row = {"platform": "doctor", "event": "doctor", "at": datetime.now(tz=UTC)}
            connection.execute(sa.insert(seen_events).values(row))
            connection.rollback()
            name = connection.scalar(sa.select(vault.c.name).order_by(vault.c.name).limit(1))
    finally:
        engine.dispose()
    return Probed(form, name or "")

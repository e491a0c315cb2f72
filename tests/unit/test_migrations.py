"""The steps of the database lead to what the tables say, on both kinds of database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine

from adapters.words import Secret
from storage import migrate
from storage.address import address
from storage.store import Store
from storage.tables import metadata
from storage.vault import Seal


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'empty.sqlite'}"
    url = str(request.getfixturevalue("postgres"))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return url


def test_the_steps_lead_to_what_the_tables_say(empty: str) -> None:
    assert migrate.current(empty) == ""
    assert migrate.upgrade(empty) == migrate.newest() == migrate.current(empty)
    assert migrate.differences(empty) == []
    assert migrate.upgrade(empty) == migrate.newest()


async def test_a_new_database_is_made_whole_and_numbered(empty: str) -> None:
    """Without walking the steps: and it is what they would have made."""
    async with Store(empty, Seal(Seal.new_key())) as store:
        await store.create()
        await store.create()
    assert migrate.current(empty) == migrate.newest()
    assert migrate.differences(empty) == []


async def test_a_database_from_before_the_steps_is_numbered(empty: str) -> None:
    engine = create_async_engine(empty)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    async with Store(empty, Seal(Seal.new_key())) as store:
        await store.create()
    assert migrate.current(empty) == migrate.newest()
    assert migrate.differences(empty) == []


async def test_the_steps_and_the_program_make_one_database(tmp_path: Path) -> None:
    """To the letter: nobody should be able to tell which way a database came to be."""
    stepped, made = (f"sqlite+aiosqlite:///{tmp_path / name}" for name in ("a.sqlite", "b.sqlite"))
    migrate.upgrade(stepped)
    async with Store(made, Seal(Seal.new_key())) as store:
        await store.create()
    assert _columns(tmp_path / "a.sqlite") == _columns(tmp_path / "b.sqlite")


def _columns(file: Path) -> dict[str, object]:
    engine = sa.create_engine(f"sqlite:///{file}")
    look = sa.inspect(engine)
    found: dict[str, object] = {}
    for table in look.get_table_names():
        columns = [
            (c["name"], str(c["type"]), c["nullable"], c["default"])
            for c in look.get_columns(table)
        ]
        unique = sorted(tuple(u["column_names"]) for u in look.get_unique_constraints(table))
        keys = sorted(str(k["constrained_columns"]) for k in look.get_foreign_keys(table))
        indexes = sorted(str((i["name"], i["column_names"])) for i in look.get_indexes(table))
        key = look.get_pk_constraint(table)["constrained_columns"]
        found[table] = (columns, key, unique, keys, indexes)
    engine.dispose()
    return found


def test_a_missing_column_is_seen(empty: str) -> None:
    migrate.upgrade(empty)
    engine = sa.create_engine(empty.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE servers DROP COLUMN sudo"))
    engine.dispose()
    (found,) = migrate.differences(empty)
    assert "sudo" in found


def test_the_password_is_laid_into_the_address() -> None:
    url = "postgresql+psycopg://bot@db/vigilbot"
    assert address(url, Secret("p@ss/w")) == "postgresql+psycopg://bot:p%40ss%2Fw@db/vigilbot"
    assert address(url, Secret("")) == url


def test_what_no_monitor_ends_is_over_where_a_person_had_closed_it(empty: str) -> None:
    """Before there was `ends` it fired on for ever, and its next post was taken for a repeat."""
    text, alarm = '{"topic":"urn:smn:x"}', '{"topic":"x","alertname":"cpu","alarm_id":"al1"}'
    engine = migrate.plain_engine(empty)
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0005")
        customer = {"id": 1, "name": "a", "slug": "a", "created_at": 0, "tier": "basic"}
        _add(connection, "customers", customer)
        times = {"customer": 1, "group": "g", "severity": "warning", "changed_at": 0}
        for number, state in ((1, "resolved"), (2, "open")):
            row = {"id": number, "title": "t", "state": state, "opened_at": 0}
            _add(connection, "incidents", times | row)
        for source, fingerprint, labels, incident in (
            ("alertmanager", "unreadable", "{}", 1),
            ("alertmanager", "cpu", "{}", 1),
            ("huawei", "text", text, 1),
            ("huawei", "text-open", text, 2),
            ("huawei", "alarm", alarm, 1),
            ("tencent", "reboot", "{}", 1),
        ):
            row = {"source": source, "fingerprint": fingerprint, "labels": labels, "since": 0}
            more = {"incident": incident, "firing": True, "rule": "r", "flips": "[]"}
            _add(connection, "alerts_known", times | row | more)
    assert migrate.upgrade(empty) == migrate.newest()
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT fingerprint, firing, ends FROM alerts_known"))
        told = {name: (bool(firing), bool(ends)) for name, firing, ends in found}
    assert told == {
        "unreadable": (False, False),
        "cpu": (True, True),
        "text": (False, False),
        "text-open": (True, False),
        "alarm": (True, True),
        "reboot": (False, True),
    }


def _add(connection: sa.Connection, table: str, row: Mapping[str, object]) -> None:
    """Add a row to a table as it once was: the program's own may have more columns by now."""
    connection.execute(sa.insert(sa.table(table, *map(sa.column, row))).values(row))

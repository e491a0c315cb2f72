"""What stands in the log: enough to mend it, and nothing that must not be seen."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
import structlog

from bot import logs
from storage.store import DatabaseError, Store

TOKEN = "T0ken-of-somebody"


def test_a_traceback_names_the_place_and_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    def post(token: str) -> None:
        raise ZeroDivisionError(len(token))

    logs.configure()
    try:
        post(TOKEN)
    except ZeroDivisionError:
        structlog.get_logger().exception("hook not answered", source="zabbix")
    written = capsys.readouterr().out
    for part in ("hook not answered", "zabbix", "ZeroDivisionError", "in post"):
        assert part in written
    assert TOKEN not in written


async def test_an_error_of_the_database_tells_no_parameters(store: Store) -> None:
    """They are what customers and their monitors wrote."""
    with pytest.raises(DatabaseError) as raised:
        async with store.unit() as unit:
            await unit.hooks._db.execute(sa.text("SELECT :token FROM nowhere"), {"token": TOKEN})
    assert "nowhere" in str(raised.value)
    assert TOKEN not in str(raised.value)

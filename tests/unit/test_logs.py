"""What stands in the log: enough to mend it, and nothing that must not be seen."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog

from bot import logs
from bot.start import run
from storage.store import DatabaseError, Store
from storage.vault import Seal

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


def test_the_log_is_written_as_the_settings_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is less grave is left out, and a machine can read the rest: what libraries say, too."""
    monkeypatch.setenv("KEY", Seal.new_key().reveal())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "vigilbot.toml"
        config.write_text(
            f'[vault]\nkey = "env:KEY"\n[web]\nport = {port}\npassword = "env:KEY"\n'
            '[log]\nlevel = "warning"\nformat = "json"\n'
        )
        assert run(config) == 1  # the port is taken
    capsys.readouterr()
    try:
        structlog.get_logger().info("nobody asked for this")
        structlog.get_logger().warning("断线", platform="feishu")
        assert logging.lastResort  # who has no handler is written by it; pytest is one
        said = logging.LogRecord("a.library", logging.ERROR, "", 0, "lost %s", (3,), None)
        logging.lastResort.handle(said)
    finally:
        logs.configure()
    ours, theirs = (json.loads(text) for text in capsys.readouterr())
    assert (ours["event"], ours["platform"], ours["level"]) == ("断线", "feishu", "warning")
    assert (theirs["event"], theirs["level"]) == ("lost 3", "error")


async def test_an_error_of_the_database_tells_no_parameters(store: Store) -> None:
    """They are what customers and their monitors wrote."""
    with pytest.raises(DatabaseError) as raised:
        async with store.unit() as unit:
            await unit.hooks._db.execute(sa.text("SELECT :token FROM nowhere"), {"token": TOKEN})
    assert "nowhere" in str(raised.value)
    assert TOKEN not in str(raised.value)

"""What the settings say is what the bot is built of."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.port import UsageError
from adapters.words import NOTHING, Secret
from bot.build import engine_file, house_of, with_password
from bot.config import Settings, load
from storage.vault import Seal

ENV = {"K": Seal.new_key().reveal(), "P": "open", "KEY": "a private key"}


def settings_of(folder: Path, more: str = "") -> Settings:
    path = folder / "vigilbot.toml"
    path.write_text(f'[vault]\nkey = "env:K"\n[web]\npassword = "env:P"\n{more}', encoding="utf-8")
    return load(path, ENV)


def test_the_password_is_put_into_the_address_and_nowhere_else() -> None:
    url = "postgresql+psycopg://bot@db.local:5432/vigil"
    word = Secret("p@ss/w:rd")
    assert (
        with_password(url, word) == "postgresql+psycopg://bot:p%40ss%2Fw%3Ard@db.local:5432/vigil"
    )
    assert with_password(url, NOTHING) == url
    assert with_password("sqlite+aiosqlite:////data/a@b.db", word).endswith(":////data/a@b.db")


def test_the_engine_keeps_its_own_file(tmp_path: Path) -> None:
    """What cannot be done is refused, not passed over."""
    assert engine_file(settings_of(tmp_path)) == tmp_path / "data" / "engine.db"
    mine = '[database]\nengine_url = "sqlite+aiosqlite:///{data_dir}/mine.db"'
    assert engine_file(settings_of(tmp_path, mine)) == tmp_path / "data" / "mine.db"
    far = '[database]\nengine_url = "postgresql+psycopg://bot@db/engine"'
    with pytest.raises(UsageError, match="engine_url"):
        engine_file(settings_of(tmp_path, far))


def test_our_own_server_is_known_when_it_has_an_address(tmp_path: Path) -> None:
    assert house_of(settings_of(tmp_path)).managed is None
    more = '[deploy]\nmanaged_host = "10.0.0.9"\nmanaged_key = "env:KEY"\nretention_days = 30'
    house = house_of(settings_of(tmp_path, more))
    assert house.managed is not None
    assert (house.managed.host, house.managed.key) == ("10.0.0.9", Secret("a private key"))
    assert house.retention["host_metrics"] == 30
    assert house.retention["audit_logs"] == 365

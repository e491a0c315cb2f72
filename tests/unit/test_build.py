"""What the settings say is what the bot is built of."""

from __future__ import annotations

from pathlib import Path

from adapters.words import NOTHING, Secret
from bot.build import house_of, with_password
from bot.config import Settings, load
from storage.journal import journal_at
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


def test_the_engine_keeps_its_own_file_and_on_postgresql_its_own_schema(tmp_path: Path) -> None:
    """The same address that a store has, for a driver that does not wait."""
    journal = journal_at(settings_of(tmp_path).engine_url)
    assert (journal.name, journal.url.database) == ("sqlite", str(tmp_path / "data/engine.db"))
    mine = '[database]\nengine_url = "sqlite+aiosqlite:///{data_dir}/mine.db"'
    journal = journal_at(settings_of(tmp_path, mine).engine_url)
    assert journal.url.database == str(tmp_path / "data/mine.db")
    far = '[database]\nurl = "postgresql+psycopg://bot@db/vigil"'
    journal = journal_at(with_password(settings_of(tmp_path, far).engine_url, Secret("p@ss")))
    assert (journal.name, journal.url.database) == ("postgresql", "vigil")
    assert journal.url.password == "p@ss"


def test_our_own_server_is_known_when_it_has_an_address(tmp_path: Path) -> None:
    assert house_of(settings_of(tmp_path)).managed is None
    more = '[deploy]\nmanaged_host = "10.0.0.9"\nmanaged_key = "env:KEY"\nretention_days = 30'
    house = house_of(settings_of(tmp_path, more))
    assert house.managed is not None
    assert (house.managed.host, house.managed.key) == ("10.0.0.9", Secret("a private key"))
    assert house.retention["host_metrics"] == 30
    assert house.retention["audit_logs"] == 365

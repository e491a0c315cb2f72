"""What is set for WeCom becomes a link with what belongs beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.config import ConfigError, Settings, load
from bot.platforms import enabled
from storage.store import Store
from storage.vault import Seal
from tests.conftest import HandClock

ENV = {"VIGILBOT_KEY": "k", "PW": "pw", "S": "secret", "AES": "a" * 43, "ROBOT": "http://r/?key=k"}
BARE = """
[vault]
key = "env:VIGILBOT_KEY"
[web]
password = "env:PW"
[platforms.wecom]
enabled = true
bot_id = "aib"
secret = "env:S"
"""
APP = """
corp_id = "ww"
agent_id = 7
app_secret = "env:S"
app_token = "env:S"
app_aes_key = "env:AES"
robot_url = "env:ROBOT"
"""


def read(folder: Path, text: str) -> Settings:
    path = folder / "vigilbot.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, ENV)


def nowhere(folder: Path) -> Store:
    """A store that nobody has entered."""
    return Store(f"sqlite+aiosqlite:///{folder / 'x.sqlite'}", Seal(Seal.new_key()))


async def test_groups_are_made_where_an_app_is_set_up(tmp_path: Path, clock: HandClock) -> None:
    (bare,) = enabled(read(tmp_path, BARE), clock, nowhere(tmp_path), "one")
    (helped,) = enabled(read(tmp_path, BARE + APP), clock, nowhere(tmp_path), "one")
    assert (bare.name, bare.can.creates_chats, helped.can.creates_chats) == ("wecom", False, True)
    assert not helped.can.can_edit


@pytest.mark.parametrize(
    ("line", "said"),
    [("agent_id = 7", "agent_id"), ('app_aes_key = "env:AES"', "app_aes_key")],
)
def test_half_an_app_is_no_app(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, BARE + APP.replace(line, ""))


def test_a_key_of_another_length_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="43"):
        read(tmp_path, BARE + APP.replace("env:AES", "env:S"))


def test_the_robot_address_is_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="明文"):
        read(tmp_path, BARE + APP.replace("env:ROBOT", "http://r/?key=k"))


async def test_nothing_is_left_open(tmp_path: Path, clock: HandClock) -> None:
    """A platform that was made and never entered holds nothing that must be closed."""
    before = len(asyncio.all_tasks())
    list(enabled(read(tmp_path, BARE + APP), clock, nowhere(tmp_path), "one"))
    assert len(asyncio.all_tasks()) == before

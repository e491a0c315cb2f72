"""The command line, typed as a person would."""

import runpy
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.port import Permanent
from bot import start
from bot.cli import main, shown

NEEDED = """
[vault]
key = "env:VIGILBOT_KEY"
[web]
password = "env:VIGILBOT_WEB_PASSWORD"
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGILBOT_KEY", "sealing-key")
    monkeypatch.setenv("VIGILBOT_WEB_PASSWORD", "open-sesame")


def code(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code


def test_check_shows_what_is_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key with its value, and secrets as a mask."""
    path = tmp_path / "vigilbot.toml"
    path.write_text(NEEDED, encoding="utf-8")
    assert code("check", "--config", str(path)) == 0
    told = {
        tuple(line.strip("│ ").split())[:1]: line for line in capsys.readouterr().out.splitlines()
    }
    assert "***" in told["vault.key",]
    assert "8080" in told["web.port",]
    assert "***" not in told["model.api_key",]
    assert "sealing-key" not in "".join(told.values())
    assert "open-sesame" not in "".join(told.values())


def test_check_names_each_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a problem, and an exit code that scripts can use."""
    path = tmp_path / "vigilbot.toml"
    path.write_text(NEEDED + "prot = 1\n[log]\nlevel = '[red]'", encoding="utf-8")
    assert code("check", "--config", str(path)) == 1
    lines = sorted(capsys.readouterr().out.splitlines())
    assert [line.split(":")[0] for line in lines] == ["log.level", "web.prot"]


def test_check_reads_the_file_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --config it is vigilbot.toml here; when there is none, it says so."""
    monkeypatch.chdir(tmp_path)
    assert code("check") == 1
    assert capsys.readouterr().out.startswith("vigilbot.toml: 读不到配置文件")
    Path("vigilbot.toml").write_text(NEEDED, encoding="utf-8")
    assert code("check") == 0


def test_what_a_platform_refuses_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong token, say: its reason says what to mend, and nobody reads a trace for it."""

    @asynccontextmanager
    async def refused() -> AsyncIterator[str]:
        raise Permanent("Slack auth.test：令牌无效，请检查 bot_token 和 app_token")
        yield ""

    assert start._serve(refused) == 1
    assert capsys.readouterr().err == "Slack auth.test：令牌无效，请检查 bot_token 和 app_token\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints its name, installed or not."""
    assert code("--version") in {0, None}
    assert capsys.readouterr().out.startswith("vigilbot ")


def test_an_unknown_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A typo is no success."""
    assert code("chekc") == 2
    assert "chekc" in "".join(capsys.readouterr())


def test_python_m_bot_is_the_same_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For those whose PATH lacks the script."""
    monkeypatch.setattr(sys, "argv", ["vigilbot", "--version"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("bot", run_name="__main__")
    assert left.value.code in {0, None}
    assert capsys.readouterr().out.startswith("vigilbot ")


def test_values_are_shown_for_people() -> None:
    """Lists with commas, booleans as TOML writes them, nothing as a dash."""
    assert [shown(value) for value in ((5, 15), True, None, "", 3)] == [
        "5, 15",
        "true",
        "-",
        "-",
        "3",
    ]

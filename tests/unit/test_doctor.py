"""Every check of the doctor, well and ill, against real servers of every kind."""

from __future__ import annotations

import asyncio
import io
import socket
import sqlite3
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import bot.demo.hosts as sandbox
from adapters.llm import OpenAiModel
from adapters.port import Account, Answer, Monitor
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.words import Chat, Secret
from bot.cli import main
from bot.config import Settings, load
from bot.demo.hosts import Hosts, Spec
from bot.demo.vigilops import World, serve
from bot.doctor import (
    WEB_CHAT,
    Finding,
    Mark,
    Tools,
    bundle,
    compose,
    data_dir,
    examine,
    web_chat,
    web_port,
)
from runbooks.walk import OPERATIONS
from storage import migrate
from storage.store import Store
from storage.vault import Seal
from tests.sim.mail import PASSWORD, USER, Certificate, MailSim

AGENT = Path("bot/demo/agent_bundle")
KEY = Seal.new_key().reveal()


class NoMonitors:
    """No instance is configured, so none is asked."""

    def at(self, url: str, account: Account) -> Monitor:
        raise AssertionError(url)


TOOLS = Tools(SshServers(), NoMonitors())


def configured(folder: Path, *, key: str = KEY, **env: str) -> Settings:
    """Settings of a folder; each keyword is a variable after VIGILBOT_."""
    variables = {f"VIGILBOT_{name}": value for name, value in env.items()}
    secrets = {"KEY": key, "PASS": "open-sesame", "HOST": "pass-of-the-host"}
    variables.setdefault("VIGILBOT_WEB__PORT", str(free_port()))
    variables |= {
        "VIGILBOT_BOT__DATA_DIR": str(folder),
        "VIGILBOT_VAULT__KEY": "env:KEY",
        "VIGILBOT_WEB__PASSWORD": "env:PASS",
    }
    return load(None, {**secrets, **variables})


def contents(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    assert isinstance(port, int)
    return port


async def found(settings: Settings, name: str, tools: Tools = TOOLS) -> Finding:
    findings = await examine(settings, tools)
    return next(finding for finding in findings if finding.name.startswith(name))


# -- ours -------------------------------------------------------------------------------------


async def test_a_new_installation_has_nothing_wrong(tmp_path: Path) -> None:
    """And looking at it makes nothing."""
    findings = await examine(configured(tmp_path / "data"), TOOLS)
    assert [finding.name for finding in findings if finding.mark is Mark.FAILED] == []
    assert {finding.name for finding in findings if finding.mark is Mark.WARNING} == {
        "Agent 安装包",
        "AI 模型",
    }
    assert not any(contents(tmp_path))


async def test_a_database_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    async with Store(settings.database_url, Seal(Secret(KEY))) as store:
        await store.create()
        async with store.unit() as unit:
            await unit.vault.put("a", Secret("b"))
        group = await found(settings, "运营群")
        assert (group.mark, "/ops" in group.what) == (Mark.WARNING, True)
        async with store.unit() as unit:
            await unit.outbox.mark(OPERATIONS, Chat("web", "ops"), datetime.now(tz=UTC))
    assert await found(settings, "运营群") == Finding("运营群", Mark.OK, "已设置")
    assert await found(settings, "数据库") == Finding(
        "数据库", Mark.OK, f"可以写入，版本 {migrate.newest()}"
    )
    assert (await found(settings, "保险库密钥")).what == "密钥有效，能打开已存的内容"
    other = configured(tmp_path, key=Seal.new_key().reveal())
    wrong = await found(other, "保险库密钥")
    assert (wrong.mark, "不匹配" in wrong.what) == (Mark.FAILED, True)
    none = await found(configured(tmp_path, key="short"), "保险库密钥")
    assert (none.mark, "32 字节" in none.what) == (Mark.FAILED, True)
    with sqlite3.connect(tmp_path / "vigilbot.db") as db:
        assert db.execute("SELECT count(*) FROM seen_events").fetchone() == (0,)
    db.close()


async def test_a_database_that_is_none_or_locked_is_told(tmp_path: Path) -> None:
    (tmp_path / "vigilbot.db").write_bytes(b"no database at all, however long one looks at it")
    broken = await found(configured(tmp_path), "数据库")
    assert (broken.mark, "not a database" in broken.what) == (Mark.FAILED, True)
    (tmp_path / "vigilbot.db").write_bytes(b"")
    empty = await found(configured(tmp_path), "数据库")
    assert (empty.mark, "vigilbot migrate" in empty.what) == (Mark.WARNING, True)


async def test_a_database_server_that_is_away_is_told(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://bot@127.0.0.1:{free_port()}/bot"
    away = await found(
        configured(tmp_path, DATABASE__URL=url, DATABASE__PASSWORD="env:HOST"), "数据库"
    )
    assert away.mark is Mark.FAILED
    assert "pass-of-the-host" not in away.what


async def test_a_database_server_that_is_there_is_well(
    tmp_path: Path, store: Store, request: pytest.FixtureRequest
) -> None:
    """On both kinds: the fixture has made the tables."""
    kind = request.node.callspec.params["store"]
    url = f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").replace("postgres:@", "postgres@")
    seen = await found(configured(tmp_path, DATABASE__URL=url), "数据库")
    assert seen.mark is Mark.OK, seen.what


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert data_dir(tmp_path / "not" / "yet")[0] is Mark.OK
    (tmp_path / "file").touch()
    mark, what = data_dir(tmp_path / "file" / "data")
    assert (mark, "bot.data_dir" in what) == (Mark.FAILED, True)


def test_a_port_in_use_and_an_address_that_is_not_ours_are_told() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        port = door.getsockname()[1]
        assert web_port("127.0.0.1", port)[0] is Mark.WARNING
    assert web_port("127.0.0.1", port)[0] is Mark.OK
    assert web_port("203.0.113.1", port)[0] is Mark.FAILED


def test_a_broken_web_chat_is_told(tmp_path: Path) -> None:
    file = tmp_path / WEB_CHAT
    assert web_chat(file)[0] is Mark.OK
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE kept (id TEXT)")
    db.close()
    assert web_chat(file) == (Mark.OK, f"{WEB_CHAT} 完好")
    file.write_bytes(b"x" * 4096)
    assert web_chat(file)[0] is Mark.FAILED


# -- artifacts --------------------------------------------------------------------------------


def packed(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


def test_a_bundle_is_looked_into(tmp_path: Path) -> None:
    assert bundle(AGENT)[0] is Mark.OK
    good = packed(tmp_path / "a.tar.gz", "./scripts/install-agent.sh", "./agent/run.py")
    assert bundle(good)[0] is Mark.OK
    mark, what = bundle(packed(tmp_path / "b.tar.gz", "scripts/install-agent.sh"))
    assert (mark, "缺少 agent/" in what) == (Mark.FAILED, True)
    (tmp_path / "c.tar.gz").write_bytes(b"no archive")
    assert bundle(tmp_path / "c.tar.gz")[0] is Mark.FAILED


@pytest.mark.parametrize(
    ("content", "mark"),
    [
        (b"services:\n  backend: {}\n", Mark.OK),
        (b"services:\n  db: {image: '${POSTGRES_IMAGE}'}\n", Mark.OK),
        (b"services:\n  db: {image: '${NO_SUCH_IMAGE}'}\n", Mark.FAILED),
        (b"services: {\n", Mark.FAILED),
        (b"version: 3\n", Mark.FAILED),
        (b"\xff\xfe", Mark.FAILED),
    ],
)
def test_a_compose_template_names_services(tmp_path: Path, content: bytes, mark: Mark) -> None:
    file = tmp_path / "compose.yml"
    file.write_bytes(content)
    assert compose(file)[0] is mark


# -- the world outside ------------------------------------------------------------------------


async def test_the_managed_host_needs_a_login_sudo_and_compose(tmp_path: Path) -> None:
    specs = (
        Spec("good", password=Secret("pass-of-the-host")),
        Spec("bare", password=Secret("pass-of-the-host"), docker=False),
        Spec("plain", password=Secret("pass-of-the-host"), sudo=sandbox.Sudo.MISSING),
    )
    async with Hosts(tmp_path / "hosts", specs=specs) as hosts:

        def our(name: str) -> Settings:
            spec = hosts[name].spec
            return configured(
                tmp_path,
                DEPLOY__MANAGED_HOST=spec.host,
                DEPLOY__MANAGED_PORT=str(spec.port),
                DEPLOY__MANAGED_USER=spec.user,
                DEPLOY__MANAGED_PASSWORD="env:HOST",
            )

        good = await found(our("good"), "托管主机")
        assert (good.mark, "ompose" in good.what) == (Mark.OK, True), good.what
        bare = await found(our("bare"), "托管主机")
        assert (bare.mark, "compose 插件" in bare.what) == (Mark.FAILED, True), bare.what
        plain = await found(our("plain"), "托管主机")
        assert (plain.mark, "sudo" in plain.what) == (Mark.FAILED, True), plain.what
        await hosts["good"].inject(sandbox.Fault.WRONG_PASSWORD)
        shut = await found(our("good"), "托管主机")
        assert (shut.mark, "密码" in shut.what) == (Mark.FAILED, True)
        assert "pass-of-the-host" not in shut.what


async def test_an_instance_at_a_fixed_address_is_asked_how_it_is(tmp_path: Path) -> None:
    async with serve(World()) as url, VigilOpsMonitors() as monitors:
        tools = Tools(SshServers(), monitors)
        well = await found(configured(tmp_path, VIGILOPS__BASE_URL__B=url), "VigilOps", tools)
        assert well == Finding(f"VigilOps {url}", Mark.OK, "健康")
        away = f"http://127.0.0.1:{free_port()}"
        gone = await found(configured(tmp_path, VIGILOPS__BASE_URL__A=away), "VigilOps", tools)
        assert gone.mark is Mark.FAILED


class Slow:
    """A model that never answers."""

    name = "slow"

    async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError


async def test_what_does_not_answer_in_time_is_told_and_holds_up_nobody(tmp_path: Path) -> None:
    tools = Tools(SshServers(), NoMonitors(), Slow())
    findings = await examine(configured(tmp_path), tools, patience=0.5)
    (late,) = [finding for finding in findings if finding.mark is Mark.FAILED]
    assert (late.name, late.what) == ("AI 模型", "0.5 秒内没有结果：请检查网络和地址")


async def test_a_model_that_is_away_is_told(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    async with OpenAiModel(url, "deepseek-chat", Secret("sk-of-the-house")) as model:
        gone = await found(
            configured(tmp_path), "AI 模型", Tools(SshServers(), NoMonitors(), model)
        )
    assert gone.mark is Mark.FAILED
    assert "sk-of-the-house" not in gone.what


# -- as it is typed ---------------------------------------------------------------------------


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[Any, str]]:
    monkeypatch.setenv("KEY", KEY)
    file = tmp_path / "vigilbot.toml"
    file.write_text(
        f'[vault]\nkey = "env:KEY"\n[web]\nport = {free_port()}\npassword = "env:KEY"\n',
        encoding="utf-8",
    )

    def run(word: str) -> tuple[Any, str]:
        with pytest.raises(SystemExit) as left:
            main((word, "--config", str(file)))
        return left.value.code, capsys.readouterr().out

    return run


def test_the_exit_code_tells_scripts(tmp_path: Path, typed: Callable[[str], Any]) -> None:
    code, said = typed("doctor")
    assert (code, "数据库" in said) == (0, True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vigilbot.db").write_bytes(b"no database at all, however long one looks")
    code, said = typed("doctor")
    assert (code, "失败" in said) == (1, True)
    code, said = typed("migrate")
    assert (code, "数据库升级失败" in said) == (1, True)


def test_migrate_says_from_where_to_where(typed: Callable[[str], Any]) -> None:
    assert typed("migrate") == (0, f"数据库：空 → {migrate.newest()}\n")
    assert typed("migrate") == (0, f"已是最新：{migrate.newest()}\n")


async def test_a_gateway_that_is_told_numbers_in_the_open_is_named(tmp_path: Path) -> None:
    env = {"ESCALATION__GATEWAY_KEY": "env:PASS"}
    open_ = configured(tmp_path, ESCALATION__GATEWAY_URL="http://sms.example/call", **env)
    warned = await found(open_, "呼叫网关")
    assert (warned.mark, "明文" in warned.what) == (Mark.WARNING, True)
    safe = configured(tmp_path, ESCALATION__GATEWAY_URL="https://sms.example/call", **env)
    assert (await found(safe, "呼叫网关")).mark is Mark.OK


async def test_the_mail_server_is_signed_in_to(tmp_path: Path) -> None:
    """Well, with a wrong password, and with a webhook that may go where it should not."""
    certificate = Certificate(tmp_path)
    async with MailSim(certificate) as sim:
        env = {
            "CHANNELS__MAIL__ENABLED": "true",
            "CHANNELS__MAIL__HOST": "127.0.0.1",
            "CHANNELS__MAIL__PORT": str(sim.port),
            "CHANNELS__MAIL__USERNAME": USER,
            "CHANNELS__MAIL__SENDER": USER,
            "CHANNELS__MAIL__CA_FILE": str(certificate.file),
            "CHANNELS__WEBHOOK__ENABLED": "true",
            "CHANNELS__WEBHOOK__ALLOW": "127.0.0.1/32",
        }
        (tmp_path / "password").write_text(PASSWORD)
        (tmp_path / "password").chmod(0o600)
        right = f"file:{tmp_path / 'password'}"
        found = await examine(configured(tmp_path, CHANNELS__MAIL__PASSWORD=right, **env), TOOLS)
        mail, hook = (one for one in found if one.name in {"邮件", "Webhook"})
        assert (mail.mark, hook.mark) == (Mark.OK, Mark.WARNING)
        assert f"以 {USER} 登录" in mail.what
        assert "缩小 channels.webhook.allow" in hook.what
        env["CHANNELS__WEBHOOK__ALLOW"] = "10.0.0.0/8"
        found = await examine(
            configured(tmp_path, CHANNELS__MAIL__PASSWORD="env:PASS", **env), TOOLS
        )
        mail, hook = (one for one in found if one.name in {"邮件", "Webhook"})
        assert (mail.mark, hook.mark) == (Mark.FAILED, Mark.OK)
        assert "535" in mail.what
    assert sim.letters == []

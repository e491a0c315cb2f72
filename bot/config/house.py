"""The house itself: who we are, where we remember, where we answer, what we carry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator

from adapters.words import NOTHING
from bot.config.problems import wrong
from bot.config.values import (
    Artifact,
    Count,
    Folder,
    OptionalSecretRef,
    Port,
    RequiredUrl,
    Seconds,
    SecretRef,
    Section,
    Share,
    Text,
    Url,
    bracketed,
)

_SCHEMES = ("sqlite+aiosqlite", "postgresql+psycopg")


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise wrong(
            "不认识的时区，例如 Asia/Shanghai", "unknown time zone; for example Asia/Shanghai"
        ) from None
    return text


def _database(text: str) -> str:
    scheme = text.partition("://")[0]
    if scheme not in _SCHEMES:
        raise wrong(
            "应以 sqlite+aiosqlite:/// 或 postgresql+psycopg:// 开头",
            "must begin with sqlite+aiosqlite:/// or postgresql+psycopg://",
        )
    try:
        parts = urlsplit(text)
        named = {key.lower() for key, _ in parse_qsl(parts.query)}
        word = parts.password
    except ValueError:
        raise wrong("不是合法的地址", "not a valid address") from None
    if word is not None or "password" in named:
        raise wrong(
            '地址里不能带密码，请写到 database.password = "env:变量名"',
            'no password inside the address: set database.password = "env:NAME"',
        )
    return text


def _optional_database(text: str) -> str:
    return _database(text) if text else text


class Bot(Section):
    """`company` is the provider named in contracts; `hotline` stands in the handover."""

    data_dir: Folder = Field(default_factory=lambda: Path("data"), validate_default=True)
    time_zone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    company: Text = "托管运维服务商"
    hotline: str = ""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Database(Section):
    """`{data_dir}` in an address stands for `bot.data_dir`. See `Settings.database_url`."""

    url: Annotated[str, AfterValidator(_database)] = "sqlite+aiosqlite:///{data_dir}/vigilbot.db"
    engine_url: Annotated[str, AfterValidator(_optional_database)] = ""
    password: OptionalSecretRef = NOTHING


class Vault(Section):
    """The key under which every stored secret is sealed."""

    key: SecretRef


class Web(Section):
    """`password` is what the console asks for; `public_url` is how others reach us."""

    host: Text = "127.0.0.1"
    port: Port = 8080
    public_url: Url = ""
    username: Text = "admin"
    password: SecretRef
    session_hours: Count = 12

    @property
    def url(self) -> str:
        return self.public_url or f"http://{bracketed(self.host)}:{self.port}"


class Model(Section):
    """An OpenAI-compatible model; without `api_key` the bot works and does not analyse."""

    base_url: RequiredUrl = "https://api.deepseek.com/v1"
    model: Text = "deepseek-chat"
    api_key: OptionalSecretRef = NOTHING
    timeout_seconds: Seconds = 60


class Artifacts(Section):
    """Files we bring to servers; unset means: what this program carries, or nothing."""

    agent_bundle: Artifact = None
    compose_template: Artifact = None
    deploy_script: Artifact = None

    @field_validator("agent_bundle")
    @classmethod
    def _complete(cls, path: Path | None) -> Path | None:
        if path is None or (path.is_file() and path.name.endswith(".tar.gz")):
            return path
        if (path / "scripts/install-agent.sh").is_file() and (path / "agent").is_dir():
            return path
        raise wrong(
            "应为 .tar.gz，或含有 scripts/install-agent.sh 和 agent/ 的目录",
            "must be a .tar.gz, or a directory with scripts/install-agent.sh and agent/",
        )

    @field_validator("compose_template", "deploy_script")
    @classmethod
    def _file(cls, path: Path | None) -> Path | None:
        if path is None or path.is_file():
            return path
        raise wrong("应为文件", "must be a file")


class Runs(Section):
    """`stop_after_failures` is the share of a wave's hosts whose failure stops the next wave."""

    at_once: Count = 50
    stop_after_failures: Share = 0.3


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"

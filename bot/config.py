"""What an operator may set: one TOML file and the environment above it, read once, then frozen.

`VIGILBOT_<SECTION>__<KEY>` overrides the file (`VIGILBOT_WEB__PORT=9000`). A secret is never
written down, only where it is: `env:NAME` or `file:PATH`. Relative paths start at the folder of
the file. Everything wrong is told at once, each problem by its dotted path.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, ClassVar, Literal, Self, get_origin
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from rapidfuzz import fuzz, process

from adapters.port import Login, UsageError
from adapters.sources import SOURCES, Source, mapping, with_shapes
from adapters.sources.mapping import Shape
from adapters.words import NOTHING, Secret, Severity
from runbooks.alerting.inhibition import Inhibition
from runbooks.alerting.intervals import Interval, interval
from runbooks.alerting.matchers import Matcher, parse_one
from runbooks.alerting.muting import Rules
from runbooks.alerting.policy import POLICY, Policy
from runbooks.alerting.routes import Route, Routing
from runbooks.compose import IMAGES, Images

MINUTE = timedelta(minutes=1)
PREFIX = "VIGILBOT_"
BETWEEN = "__"
_NEAR = 60
_SCHEMES = ("sqlite+aiosqlite", "postgresql+psycopg")
_PLACEHOLDERS = frozenset({"host", "port", "slug"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `source` is the environment variable it came from, if not the file."""

    path: str
    zh: str
    en: str
    source: str = ""

    def __str__(self) -> str:
        origin = f" [{self.source}]" if self.source else ""
        return f"{self.path}{origin}: {self.zh} / {self.en}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where references and relative paths are looked up."""

    env: Mapping[str, str]
    folder: Path

    def at(self, path: str) -> Path:
        return self.folder / Path(path).expanduser()


def _origin(info: ValidationInfo) -> _Origin:
    return info.context if isinstance(info.context, _Origin) else _Origin({}, Path())


def _wrong(zh: str, en: str) -> PydanticCustomError:
    return PydanticCustomError("vigilbot", "{en}", {"zh": zh, "en": en})


# --- kinds of value ---------------------------------------------------------------------------


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise _wrong("应为数字，不是 true/false", "must be a number, not true/false")
    return value


def _secret(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("plain_secret", "in plain text")
    kind, _, name = value.partition(":")
    if kind == "env" and re.fullmatch(r"[A-Za-z_]\w*", name):
        return _from_environment(name, _origin(info).env)
    if kind == "file" and name:
        return _from_file(_origin(info).at(name))
    raise PydanticCustomError("plain_secret", "in plain text")


def _from_environment(name: str, env: Mapping[str, str]) -> Secret:
    text = env.get(name, "")
    if not text:
        raise _wrong(f"环境变量 {name} 没有设置", f"environment variable {name} is not set")
    return Secret(text)


def _from_file(path: Path) -> Secret:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        raise _wrong(f"读不到密钥文件 {path}", f"cannot read the secret file {path}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _wrong(
            f"密钥文件 {path} 别人也能读({mode:04o})，请执行 chmod 600 {path}",
            f"others may read the secret file ({mode:04o}): chmod 600 {path}",
        )
    if not text:
        raise _wrong(f"密钥文件 {path} 是空的", f"the secret file {path} is empty")
    return Secret(text)


def _optional_secret(value: object, info: ValidationInfo) -> Secret:
    return NOTHING if value == "" else _secret(value, info)


def _url(text: str) -> str:
    if not text:
        return text
    try:
        parts = urlsplit(text)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        fine = False
    if not fine:
        raise _wrong(
            "应为 http:// 或 https:// 开头的地址", "must be an http:// or https:// address"
        )
    if parts.username is not None:
        raise _wrong("地址里不能带账号密码", "no user or password inside the address")
    return text.rstrip("/")


def _url_template(text: str) -> str:
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError:
        names = {""}
    if names - _PLACEHOLDERS:
        raise _wrong(
            "只能使用占位符 {host} {port} {slug}", "only {host}, {port} and {slug} may stand in it"
        )
    filled = re.sub(r"\{\w+\}", "1", text)
    if "{" in filled:
        raise _wrong("占位符里不能有格式", "a placeholder takes no format")
    _url(filled)
    return text.rstrip("/")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise _wrong(
            "不认识的时区，例如 Asia/Shanghai", "unknown time zone; for example Asia/Shanghai"
        ) from None
    return text


def _database(text: str) -> str:
    scheme = text.partition("://")[0]
    if scheme not in _SCHEMES:
        raise _wrong(
            "应以 sqlite+aiosqlite:/// 或 postgresql+psycopg:// 开头",
            "must begin with sqlite+aiosqlite:/// or postgresql+psycopg://",
        )
    try:
        parts = urlsplit(text)
        named = {key.lower() for key, _ in parse_qsl(parts.query)}
        word = parts.password
    except ValueError:
        raise _wrong("不是合法的地址", "not a valid address") from None
    if word is not None or "password" in named:
        raise _wrong(
            '地址里不能带密码，请写到 database.password = "env:变量名"',
            'no password inside the address: set database.password = "env:NAME"',
        )
    return text


def _optional_database(text: str) -> str:
    return _database(text) if text else text


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise _wrong(
            "应为网段，例如 10.0.0.0/8", "must be a network, for example 10.0.0.0/8"
        ) from None


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise _wrong("应从小到大", "must rise from one to the next")
    return values


def _folder(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise _wrong("应为路径", "must be a path")
    return _origin(info).at(str(value))


def _artifact(value: object, info: ValidationInfo) -> Path | None:
    if value is None or value == "":
        return None
    path = _folder(value, info)
    if not path.exists():
        raise _wrong(f"找不到 {path}", f"there is no {path}")
    return path


def _source_path(text: str) -> str:
    try:
        mapping.parse(text)
    except UsageError:
        raise _wrong(
            '不是路径，例如 rule.name、hosts[0].ip、"带.的键".x、$.site',
            'not a path; for example rule.name, hosts[0].ip, "dotted.key".x, $.site',
        ) from None
    return text


def _source_name(text: str) -> str:
    if text in SOURCES:
        raise _wrong("与内置的告警源重名", "is the name of a source that is built in")
    return text


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    # `min_length` would be told once more beside each item that is wrong.
    if not values:
        raise _wrong("至少要有 1 项", "must hold at least one")
    return values


def _condition(value: object) -> Matcher:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be text")
    try:
        return parse_one(value)
    except UsageError as error:
        raise _wrong(str(error), 'not a condition such as host=~"web-.*"') from None


Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=65535)]
Condition = Annotated[Matcher, PlainValidator(_condition)]
"""A condition on an alert's labels: `host=~"web-.*"`."""
Conditions = Annotated[tuple[Condition, ...], AfterValidator(_some)]
Days = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=3650)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=1)]
Percent = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=100)]
Text = Annotated[str, Field(min_length=1)]
Url = Annotated[str, AfterValidator(_url)]
RequiredUrl = Annotated[str, Field(min_length=1), AfterValidator(_url)]
UrlTemplate = Annotated[str, Field(min_length=1), AfterValidator(_url_template)]
SecretRef = Annotated[Secret, PlainValidator(_secret)]
OptionalSecretRef = Annotated[Secret, PlainValidator(_optional_secret)]
Artifact = Annotated[Path | None, PlainValidator(_artifact)]
Network = Annotated[str, AfterValidator(_network)]
SourcePath = Annotated[str, Field(min_length=1), AfterValidator(_source_path)]
OptionalSourcePath = Annotated[str, AfterValidator(_source_path)]
SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$"), AfterValidator(_source_name)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


# --- sections ---------------------------------------------------------------------------------


Image = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./:@{}-]*$")]
"""The name of a container image; `{generation}` stands for vigilops or nightmend."""


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )


class Bot(Section):
    """`company` is the provider named in contracts; `hotline` stands in the handover."""

    data_dir: Annotated[Path, PlainValidator(_folder)] = Field(
        default_factory=lambda: Path("data"), validate_default=True
    )
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
        return self.public_url or f"http://{_bracketed(self.host)}:{self.port}"


class WebChat(Section):
    enabled: bool = True


class Platform(Section):
    """A chat platform that needs an app of the customer's enterprise."""

    needs: ClassVar[tuple[str, ...]] = ()
    """What must be set where it is enabled."""
    enabled: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        empty = [name for name in self.needs if not getattr(self, name)]
        if self.enabled and empty:
            named = "、".join(empty)
            raise _wrong(f"启用后还要填写 {named}", f"enabled, so it needs {', '.join(empty)}")
        return self


class Feishu(Platform):
    needs = ("app_id", "app_secret")
    app_id: str = ""
    app_secret: OptionalSecretRef = NOTHING
    owner: str = ""
    urgency: Literal["app", "sms", "phone"] = "app"
    verification_token: OptionalSecretRef = NOTHING
    """With it events come by HTTP, to /callbacks/feishu, and there is no long connection."""
    encrypt_key: OptionalSecretRef = NOTHING
    base_url: RequiredUrl = "https://open.feishu.cn"


class DingTalk(Platform):
    needs = ("client_id", "client_secret", "robot_code")
    client_id: str = ""
    client_secret: OptionalSecretRef = NOTHING
    robot_code: str = ""
    card_template: str = ""
    group_template: str = ""
    group_owner: str = ""
    ding: bool = True
    monthly_calls: Count = 10_000
    alarm_reserve: Count = 1_000
    base_url: RequiredUrl = "https://api.dingtalk.com"
    oapi_url: RequiredUrl = "https://oapi.dingtalk.com"


class Slack(Platform):
    needs = ("bot_token",)
    bot_token: OptionalSecretRef = NOTHING
    app_token: OptionalSecretRef = NOTHING
    """With it the bot dials out (Socket Mode)."""
    signing_secret: OptionalSecretRef = NOTHING
    """In its place Slack calls /callbacks/slack, and there is no socket."""
    base_url: RequiredUrl = "https://slack.com/api"

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.enabled and bool(self.app_token) == bool(self.signing_secret):
            raise _wrong(
                "app_token（长连接）和 signing_secret（HTTP 回调）要填写其中一个",
                "one of app_token (socket mode) and signing_secret (HTTP) must be set",
            )
        return self


class WeCom(Platform):
    """`corp_id` and what follows are of an optional self-built app; `robot_url` is of an optional
    group robot, and a secret because its key is in it."""

    needs = ("bot_id", "secret")
    bot_id: str = ""
    secret: OptionalSecretRef = NOTHING
    ws_url: Annotated[str, Field(pattern=r"^wss?://[^\s@]+$")] = "wss://openws.work.weixin.qq.com"
    corp_id: str = ""
    agent_id: Annotated[int, BeforeValidator(_no_bool), Field(ge=0)] = 0
    app_secret: OptionalSecretRef = NOTHING
    app_token: OptionalSecretRef = NOTHING
    app_aes_key: OptionalSecretRef = NOTHING
    base_url: RequiredUrl = "https://qyapi.weixin.qq.com"
    robot_url: OptionalSecretRef = NOTHING

    @model_validator(mode="after")
    def _whole_app(self) -> Self:
        parts = (self.agent_id, self.app_secret, self.app_token, self.app_aes_key)
        if self.corp_id and not all(parts):
            raise _wrong(
                "自建应用还要填写 agent_id、app_secret、app_token、app_aes_key",
                "the self-built app needs agent_id, app_secret, app_token and app_aes_key",
            )
        key = self.app_aes_key.reveal()
        if key and not re.fullmatch(r"[A-Za-z0-9]{43}", key):
            raise _wrong("app_aes_key 应为 43 位", "app_aes_key must be 43 characters")
        return self


class Platforms(Section):
    webchat: WebChat = WebChat()
    feishu: Feishu = Feishu()
    dingtalk: DingTalk = DingTalk()
    slack: Slack = Slack()
    wecom: WeCom = WeCom()


class Mail(Platform):
    """One-way: alerts by e-mail. `sender` is both who writes and where bounces come back to."""

    needs = ("host", "sender")
    host: str = ""
    port: Port = 587
    security: Literal["starttls", "tls"] = "starttls"
    username: str = ""
    password: OptionalSecretRef = NOTHING
    sender: Annotated[str, Field(pattern=r"^$|^[\w.+-]+@[\w.-]+\.[a-zA-Z]+$")] = ""
    ca_file: Artifact = None
    timeout_seconds: Seconds = 30


class Webhook(Platform):
    """One-way: signed posts to an address of the customer's. `allow` names the networks of ours
    that such an address may nevertheless lead into."""

    allow: Annotated[tuple[Network, ...], BeforeValidator(_comma_list)] = ()
    ca_file: Artifact = None
    timeout_seconds: Seconds = 10


class Channels(Section):
    mail: Mail = Mail()
    webhook: Webhook = Webhook()


class BaseUrls(Section):
    """Where a customer's instance answers: way A theirs, B ours, C given by them (no default)."""

    a: UrlTemplate = "http://{host}:{port}"
    b: UrlTemplate = "http://{host}:{port}"

    def of(self, way: Literal["a", "b"], *, host: str, port: int, slug: str) -> str:
        """Return the address of the instance of `slug`, whose backend is published on `port`."""
        template = {"a": self.a, "b": self.b}[way]
        return template.format(host=_bracketed(host), port=port, slug=slug)


class VigilOps(Section):
    base_url: BaseUrls = BaseUrls()
    account_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] = (
        "vigilbot@example.com"
    )
    timeout_seconds: Seconds = 30
    verify_tls: bool = True


class Deploy(Section):
    """`managed_*` is the login of our own host for way B; the starts are the first customer's."""

    managed_host: str = ""
    managed_port: Port = 22
    managed_user: Text = "root"
    managed_key: OptionalSecretRef = NOTHING
    managed_password: OptionalSecretRef = NOTHING
    managed_sudo_password: OptionalSecretRef = NOTHING
    root_dir: Annotated[str, Field(pattern=r"^/")] = "/opt"
    backend_port_start: Port = 8101
    frontend_port_start: Port = 3101
    postgres_port_start: Port = 5533
    redis_port_start: Port = 6480
    port_stride: Count = 100
    backend_image: Image = IMAGES.backend
    frontend_image: Image = IMAGES.frontend
    postgres_image: Image = IMAGES.postgres
    redis_image: Image = IMAGES.redis
    retention_days: Days = 90
    backup_at: TimeOfDay = "03:20"
    backup_keep_days: Days = 14

    @property
    def images(self) -> Images:
        """What an instance of ours runs."""
        return Images(
            self.backend_image, self.frontend_image, self.postgres_image, self.redis_image
        )

    @property
    def managed(self) -> Login:
        """Our own host for way B; its host is empty when there is none."""
        return Login(
            self.managed_host,
            self.managed_port,
            self.managed_user,
            self.managed_password,
            self.managed_key,
            self.managed_sudo_password,
        )


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
        raise _wrong(
            "应为 .tar.gz，或含有 scripts/install-agent.sh 和 agent/ 的目录",
            "must be a .tar.gz, or a directory with scripts/install-agent.sh and agent/",
        )

    @field_validator("compose_template", "deploy_script")
    @classmethod
    def _file(cls, path: Path | None) -> Path | None:
        if path is None or path.is_file():
            return path
        raise _wrong("应为文件", "must be a file")


class Runs(Section):
    """`stop_after_failures` is the share of a wave's hosts whose failure stops the next wave."""

    at_once: Count = 50
    stop_after_failures: Share = 0.3


class Promise(Section):
    """What a tier promises: minutes until a person answers, per cent of the month available."""

    critical_minutes: Count = 30
    warning_minutes: Count = 120
    availability_percent: Percent = 99.5


class ProPromise(Promise):
    critical_minutes: Count = 15
    warning_minutes: Count = 60
    availability_percent: Percent = 99.9


class Sla(Section):
    """What the contract promises, by tier."""

    basic: Promise = Promise()
    pro: ProPromise = ProPromise()


class Escalation(Section):
    """`after_minutes`: when each next level is called, counted from the alert's acceptance."""

    after_minutes: Annotated[
        tuple[Count, ...],
        BeforeValidator(_comma_list),
        Field(min_length=1),
        AfterValidator(_rising),
    ] = (5, 15, 30)
    repeat_minutes: Count = 30


class SourceShape(Section):
    """A monitor of one's own whose posts are JSON: paths of where things stand in them."""

    rule: SourcePath
    label: str = ""
    each: OptionalSourcePath = ""
    title: OptionalSourcePath = ""
    text: OptionalSourcePath = ""
    host: OptionalSourcePath = ""
    severity: OptionalSourcePath = ""
    status: OptionalSourcePath = ""
    fingerprint: Annotated[tuple[SourcePath, ...], BeforeValidator(_one_or_many)] = ()
    starts_at: OptionalSourcePath = ""
    ends_at: OptionalSourcePath = ""
    url: OptionalSourcePath = ""
    labels: OptionalSourcePath = ""
    severities: dict[str, Severity] = Field(default_factory=dict)
    firing: tuple[str, ...] = mapping.FIRING
    resolved: tuple[str, ...] = mapping.RESOLVED

    @property
    def shape(self) -> Shape:
        return Shape(**{name: getattr(self, name) for name in type(self).model_fields})


class Inhibit(Section):
    """While a `source` fires, the `target`s with the same values of `equal` are not told. `set_by`
    is who wants it so: without, no critical is hidden."""

    source: Conditions
    target: Conditions
    equal: tuple[Text, ...] = ()
    set_by: str = ""


class Period(Section):
    """Instants, as Alertmanager writes them; several of one name are alternatives."""

    name: Text
    times: tuple[tuple[str, str], ...] = ()
    weekdays: tuple[str, ...] = ()
    days_of_month: tuple[str, ...] = ()
    months: tuple[str, ...] = ()
    years: tuple[str, ...] = ()
    location: str = ""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        try:
            self.interval("UTC")
        except UsageError as error:
            raise _wrong(str(error), "not a time, day, month, year or zone") from None
        return self

    def interval(self, zone: str) -> Interval:
        """Return what it means; `zone` is where it is, unless it says so itself."""
        return interval(
            self.times,
            self.weekdays,
            self.days_of_month,
            self.months,
            self.years,
            self.location or zone,
        )


class RouteTo(Section):
    """How the alerts that match are told: the first route counts, unless it says `continue`."""

    matchers: tuple[Condition, ...] = ()
    go_on: bool = Field(default=False, alias="continue")
    group_by: Annotated[tuple[Text, ...] | None, AfterValidator(_some)] = None
    mute: tuple[Text, ...] = ()
    active: tuple[Text, ...] = ()
    set_by: str = ""
    routes: tuple[RouteTo, ...] = ()

    @property
    def route(self) -> Route:
        """Return it with all that is below it."""
        return Route(
            matchers=self.matchers,
            go_on=self.go_on,
            routes=tuple(one.route for one in self.routes),
            group_by=self.group_by,
            mute=self.mute,
            active=self.active,
            set_by=self.set_by,
        )

    def names(self) -> Iterator[str]:
        """Yield the periods that it and those below it name."""
        yield from (*self.mute, *self.active)
        for one in self.routes:
            yield from one.names()


class Alerts(Section):
    """How alerts become incidents and storms; which are not told, and who wants it so."""

    group_by: Annotated[tuple[Text, ...], BeforeValidator(_comma_list)] = POLICY.group_by
    wait_seconds: Seconds = POLICY.wait.total_seconds()
    reopen_minutes: Seconds = POLICY.reopen / MINUTE
    flaps: Count = POLICY.flaps
    flap_minutes: Seconds = POLICY.flap_window / MINUTE
    storm_incidents: Count = POLICY.storm_incidents
    storm_alerts: Count = POLICY.storm_alerts
    storm_factor: Seconds = POLICY.storm_factor
    calm_minutes: Seconds = POLICY.calm / MINUTE
    drain_minutes: Seconds = POLICY.drain / MINUTE
    gather_seconds: Seconds = POLICY.gather.total_seconds()
    maintenance_notice_minutes: Count = 60
    inhibit: tuple[Inhibit, ...] = ()
    periods: tuple[Period, ...] = ()
    routes: tuple[RouteTo, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        known = {period.name for period in self.periods}
        for name in (name for route in self.routes for name in route.names()):
            if name not in known:
                raise _wrong(
                    f"routes 提到的时段「{name}」不在 periods 里",
                    f"a route names the period {name!r}, and there is none in periods",
                )
        return self

    @property
    def policy(self) -> Policy:
        """How alerts are grouped, and when they are a storm."""
        return Policy(
            self.group_by,
            timedelta(seconds=self.wait_seconds),
            self.reopen_minutes * MINUTE,
            self.flaps,
            self.flap_minutes * MINUTE,
            self.storm_incidents,
            self.storm_alerts,
            self.storm_factor,
            self.calm_minutes * MINUTE,
            self.drain_minutes * MINUTE,
            timedelta(seconds=self.gather_seconds),
        )

    def rules(self, zone: str) -> Rules:
        """Return what they mean; a period without a location is in `zone`."""
        periods: dict[str, tuple[Interval, ...]] = {}
        for period in self.periods:
            there = periods.get(period.name, ())
            periods[period.name] = (*there, period.interval(zone))
        return Rules(
            tuple(Inhibition(i.source, i.target, i.equal, i.set_by) for i in self.inhibit),
            Routing(Route(routes=tuple(one.route for one in self.routes)), periods),
            timedelta(minutes=self.maintenance_notice_minutes),
        )


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(Section):
    """Everything that can be set, checked and frozen; made by `load`."""

    bot: Bot
    database: Database
    vault: Vault
    web: Web
    platforms: Platforms
    channels: Channels
    vigilops: VigilOps
    deploy: Deploy
    model: Model
    artifacts: Artifacts
    runs: Runs
    sla: Sla
    escalation: Escalation
    alerts: Alerts
    log: Log
    sources: dict[SourceName, SourceShape] = Field(default_factory=dict)

    @property
    def known_sources(self) -> Mapping[str, Source]:
        """Every monitor whose posts are understood: the built-in ones, and those described here."""
        return with_shapes({name: source.shape for name, source in self.sources.items()})

    @property
    def database_url(self) -> str:
        """Where we remember, without the password (`database.password`)."""
        return self._placed(self.database.url)

    @property
    def engine_url(self) -> str:
        """Where the engine remembers: a file of its own on SQLite, else a schema of its own beside
        ours. `database.password` opens both."""
        if self.database.engine_url:
            return self._placed(self.database.engine_url)
        if self.database.url.startswith("sqlite"):
            return self._placed("sqlite+aiosqlite:///{data_dir}/engine.db")
        return self.database_url

    def _placed(self, url: str) -> str:
        return url.replace("{data_dir}", str(self.bot.data_dir))


# --- reading ----------------------------------------------------------------------------------


def load(path: Path | None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read `path` (None: the environment alone) and `env`.

    Raises `ConfigError` with every problem found.
    """
    tree = {} if path is None else _read(path)
    sources = _override(tree, env)
    _open_sections(tree, Settings)
    folder = Path.cwd() if path is None else path.absolute().parent
    found: list[ErrorDetails] = []
    try:
        return Settings.model_validate(tree, context=_Origin(env, folder))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    # outside of the handler: the pydantic error holds what was written, perhaps a secret
    raise ConfigError(tuple(_problem(error, sources) for error in found))


class _Sources(BaseModel):
    """Of a file the sources alone: to try a mapping one needs no key and no password."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)
    sources: dict[SourceName, SourceShape] = Field(default_factory=dict)


def load_shapes(path: Path) -> Mapping[str, Shape]:
    """Read what `path` says of sources, by their names; raise `ConfigError` as `load` does."""
    found: list[ErrorDetails] = []
    try:
        read = _Sources.model_validate(_read(path))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    else:
        return {name: source.shape for name, source in read.sources.items()}
    raise ConfigError(tuple(_problem(error, {}) for error in found))


def known_keys(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every key that may be set."""
    for name, child in _children(section):
        if child is None:
            yield f"{prefix}{name}"
        else:
            yield from known_keys(child, f"{prefix}{name}.")


def flatten(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key with its value; a secret stays a `Secret` and prints as a mask."""
    for name in type(section).model_fields:
        value: object = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, dict) and all(isinstance(x, BaseModel) for x in value.values()):
            for named, child in value.items():
                yield from flatten(child, f"{prefix}{name}.{named}.")
        else:
            yield f"{prefix}{name}", value


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problem = Problem(
            str(path),
            "读不到配置文件，可从 config.example.toml 复制一份",
            f"cannot be read ({error.strerror}); copy config.example.toml",
        )
    except UnicodeDecodeError:
        problem = Problem(str(path), "不是 UTF-8 文本", "not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problem = Problem(str(path), "不是合法的 TOML", f"not TOML: {error}")
    raise ConfigError((problem,))


def _override(tree: dict[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Lay the environment over the file; return which dotted path came from which variable."""
    sources: dict[str, str] = {}
    for variable in sorted(env):
        if not variable.startswith(PREFIX) or BETWEEN not in variable:
            continue
        *sections, key = variable.removeprefix(PREFIX).lower().split(BETWEEN)
        place = tree
        for name in sections:
            below = place.setdefault(name, {})
            if not isinstance(below, dict):
                break  # `web = 3` in the file: told as such by the validation
            place = below
        else:
            place[key] = env[variable]
            sources[".".join((*sections, key))] = variable
    return sources


def _open_sections(tree: dict[str, Any], section: type[BaseModel]) -> None:
    """Give each section that was not written an empty one, so that what lacks is told by key."""
    for name, child in _children(section):
        if child is None:
            continue
        below = tree.setdefault(name, {})
        if isinstance(below, dict):
            _open_sections(below, child)


def _children(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel] | None]]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if get_origin(kind) is dict:
            continue  # sections that the operator names: there are none until then
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield name, kind
        else:
            yield name, None


# --- telling ----------------------------------------------------------------------------------

_WORDS: Mapping[str, tuple[str, str]] = {
    "missing": ("必须设置", "must be set"),
    "model_type": ("应为一节 [{path}]", "must be a section, [{path}]"),
    "plain_secret": (
        '密钥不能写明文，请写成 "env:变量名" 或 "file:路径"，例如 "env:{name}"',
        'never in plain text: write "env:NAME" or "file:PATH", for example "env:{name}"',
    ),
    "bool_parsing": ("应为 true 或 false", "must be true or false"),
    "bool_type": ("应为 true 或 false", "must be true or false"),
    "int_parsing": ("应为整数", "must be a whole number"),
    "int_type": ("应为整数", "must be a whole number"),
    "int_from_float": ("应为整数", "must be a whole number"),
    "float_parsing": ("应为数字", "must be a number"),
    "float_type": ("应为数字", "must be a number"),
    "finite_number": ("应为有限的数", "must be finite"),
    "string_type": ("应为文字（加引号）", "must be text, in quotes"),
    "string_too_short": ("不能为空", "must not be empty"),
    "string_pattern_mismatch": ("格式不对，应符合 {pattern}", "must match {pattern}"),
    "tuple_type": ("应为列表 [..]", "must be a list, [..]"),
    "too_short": ("至少要有 {min_length} 项", "must hold at least {min_length}"),
    "enum": ("只能是 {expected}", "must be {expected}"),
    "literal_error": ("只能是 {expected}", "must be {expected}"),
    "greater_than": ("必须大于 {gt}", "must be greater than {gt}"),
    "greater_than_equal": ("不能小于 {ge}", "must not be less than {ge}"),
    "less_than": ("必须小于 {lt}", "must be less than {lt}"),
    "less_than_equal": ("不能大于 {le}", "must not be greater than {le}"),
}


def _problem(error: ErrorDetails, sources: Mapping[str, str]) -> Problem:
    path = _dotted(error["loc"])
    zh, en = _say(error, path)
    return Problem(path, zh, en, sources.get(path, ""))


def _say(error: ErrorDetails, path: str) -> tuple[str, str]:
    context = error.get("ctx", {})
    if error["type"] == "vigilbot":
        return str(context["zh"]), str(context["en"])
    if error["type"] == "extra_forbidden":
        return _unknown(path)
    if error["type"] not in _WORDS:
        return "值不合法", error["msg"]
    zh, en = _WORDS[error["type"]]
    words = {**context, "path": path, "name": PREFIX + path.upper().replace(".", "_")}
    return zh.format_map(words), en.format_map(words)


def _unknown(path: str) -> tuple[str, str]:
    near = _nearest(path)
    if not near:
        return "没有这个设置", "unknown key"
    return f"没有这个设置，是不是 {near}？", f"unknown key; did you mean {near}?"


def _nearest(path: str) -> str:
    """Look among the neighbours first, then for the same word in other sections."""
    places = [*_sections(), *known_keys()]
    parent, _, word = path.rpartition(".")
    neighbours = {place: _leaf(place) for place in places if place.rpartition(".")[0] == parent}
    elsewhere = {place: _leaf(place) for place in places}
    for choices, cutoff in ((neighbours, _NEAR), (elsewhere, 85)):
        best = process.extractOne(word, choices, scorer=fuzz.ratio, score_cutoff=cutoff)
        if best is not None:
            return best[2]
    return ""


def _sections(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    for name, child in _children(section):
        if child is not None:
            yield f"{prefix}{name}"
            yield from _sections(child, f"{prefix}{name}.")


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _dotted(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        if part == "[key]":  # pydantic's way to say that the name before it is what is wrong
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")

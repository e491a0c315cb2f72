"""VigilOps over HTTP: one signed-in session per instance, and every write looked at afterwards.

What the real program does, measured, shapes this file: a 500 may mean "applied" and closes the
connection, each login ends the previous session of the account, five logins in five minutes lock
the address, nothing but a user's email is unique, and reads mask what writes must not put back.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Generic, Self, TypeVar, final
from urllib.parse import urlsplit

import httpx
import msgspec

from adapters.port import (
    Account,
    AgentToken,
    Channel,
    Fault,
    Health,
    InDoubt,
    Monitor,
    MonitorAlert,
    MonitoredHost,
    Permanent,
    Rule,
    Summary,
    Transient,
)
from adapters.words import Secret

T = TypeVar("T")

LOGINS = 5
LOGIN_WINDOW = 300.0
"""Five logins in 300 s per address; refused ones count too, so none is sent in vain."""
PAGE_SIZE = 100
MAX_PAGES = 1000
RETENTION_MAX = {
    "host_metrics": 3650,
    "db_metrics": 3650,
    "log_entries": 365,
    "ai_insights": 3650,
    "audit_logs": 3650,
}
AI_FEATURE = "default"
MASKED = frozenset({"smtp_password", "secret", "token", "password", "api_key"})
"""The top-level keys of a channel's config that a read shows masked."""

HTTP_UNAUTHORIZED = 401
HTTP_CONFLICT = 409
HTTP_TOO_MANY = 429
MAX_MESSAGE = 200
MIN_SECRET = 4
TOKENS = re.compile(r"vop_[0-9A-Za-z]+|eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?|sk-[\w-]{6,}")

UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
CLOSED = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.CloseError)


# -- the wire ---------------------------------------------------------------------------------


class _Nothing(msgspec.Struct):
    """An answer of which only the status counts."""


class _Tokens(msgspec.Struct):
    access_token: str
    refresh_token: str


class _Me(msgspec.Struct):
    role: str


class _Page(msgspec.Struct, Generic[T]):
    items: list[T]
    total: int


class _Health(msgspec.Struct):
    status: str
    checks: dict[str, str] = {}


class _User(msgspec.Struct):
    id: int
    email: str
    role: str
    is_active: bool = True


class _AiConfig(msgspec.Struct):
    id: str
    feature_key: str
    base_url: str
    model: str
    has_api_key: bool = False
    api_key_mask: str | None = None
    enabled: bool = True


class _AgentToken(msgspec.Struct):
    id: int
    name: str
    token_prefix: str
    is_active: bool


class _NewAgentToken(msgspec.Struct):
    id: int
    token: str


class _Metrics(msgspec.Struct):
    recorded_at: datetime | None = None
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None


class _Host(msgspec.Struct):
    id: int
    hostname: str
    status: str
    agent_version: str | None = None
    latest_metrics: _Metrics | None = None


class _HostCounts(msgspec.Struct):
    total: int
    online: int


class _AlertCounts(msgspec.Struct):
    firing: int


class _Summary(msgspec.Struct):
    hosts: _HostCounts
    alerts: _AlertCounts
    health_score: float


class _Rule(msgspec.Struct):
    id: int
    name: str
    severity: str
    operator: str
    threshold: float
    duration_seconds: int
    cooldown_seconds: int
    is_enabled: bool
    metric: str | None = None
    is_builtin: bool = False
    target_type: str = "host"
    rule_type: str = "metric"
    log_keyword: str | None = None
    notification_channel_ids: list[int] | None = None


class _Channel(msgspec.Struct):
    id: int
    name: str
    type: str
    is_enabled: bool
    config: dict[str, object] = {}


class _Test(msgspec.Struct):
    success: bool


class _Alert(msgspec.Struct):
    id: int
    severity: str
    status: str
    title: str
    fired_at: datetime
    rule_id: int | None = None
    host_id: int | None = None
    message: str | None = None


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _token(wire: _AgentToken) -> AgentToken:
    return AgentToken(wire.id, wire.name, wire.token_prefix, wire.is_active)


def _host(wire: _Host) -> MonitoredHost:
    figures = wire.latest_metrics or _Metrics()
    return MonitoredHost(
        id=wire.id,
        hostname=wire.hostname,
        online=wire.status == "online",
        recorded_at=_utc(figures.recorded_at) if figures.recorded_at else None,
        cpu_percent=figures.cpu_percent,
        memory_percent=figures.memory_percent,
        disk_percent=figures.disk_percent,
        agent_version=wire.agent_version or "",
    )


def _rule(wire: _Rule) -> Rule:
    ids = wire.notification_channel_ids
    return Rule(
        name=wire.name,
        metric=wire.metric or "",
        operator=wire.operator,
        threshold=wire.threshold,
        severity=wire.severity,
        target_type=wire.target_type,
        rule_type=wire.rule_type,
        duration_seconds=wire.duration_seconds,
        cooldown_seconds=wire.cooldown_seconds,
        log_keyword=wire.log_keyword,
        enabled=wire.is_enabled,
        channel_ids=None if ids is None else tuple(ids),
        builtin=wire.is_builtin,
        id=wire.id,
    )


def _alert(wire: _Alert) -> MonitorAlert:
    return MonitorAlert(
        id=wire.id,
        rule_id=wire.rule_id or 0,
        host_id=wire.host_id,
        severity=wire.severity,
        status=wire.status,
        title=wire.title,
        message=wire.message or "",
        fired_at=_utc(wire.fired_at),
    )


def _rule_body(rule: Rule) -> dict[str, object]:
    """Return what the rule says; channels that it does not name are left out: null means all."""
    body: dict[str, object] = {
        "metric": rule.metric,
        "operator": rule.operator,
        "threshold": rule.threshold,
        "severity": rule.severity,
        "target_type": rule.target_type,
        "rule_type": rule.rule_type,
        "duration_seconds": rule.duration_seconds,
        "cooldown_seconds": rule.cooldown_seconds,
        "log_keyword": rule.log_keyword,
        "is_enabled": rule.enabled,
    }
    if rule.channel_ids is not None:
        body["notification_channel_ids"] = sorted(rule.channel_ids)
    return body


def _rule_changes(wanted: Rule, found: Rule) -> dict[str, object]:
    """Return only what differs: writing an equal threshold would resolve open alerts."""
    have = _rule_body(found)
    return {
        field: value
        for field, value in _rule_body(wanted).items()
        if field not in have or have[field] != value
    }


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)


def _readable(config: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in config.items() if key not in MASKED}


class _PerhapsAppliedError(Exception):
    """A write got no clear answer. `again`: it is no longer under way, so one may ask anew."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


# -- one instance -----------------------------------------------------------------------------


@final
class VigilOps(Monitor):
    """One VigilOps instance and the one session that its account has there."""

    def __init__(
        self,
        url: str,
        account: Account,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 20.0,
        ai_timeout: float = 120.0,
        verify: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(self._url)
        self._where = parts.netloc.rpartition("@")[2] or "VigilOps"
        self._account = account
        self._ai_timeout = ai_timeout
        self._now = now
        self._access = ""
        self._refresh = ""
        self._flight: asyncio.Task[None] | None = None
        self._logins: deque[float] = deque()
        self._login_barred_until = 0.0
        # An unhandled 500 closes its connection: with none kept, no request meets a dead one.
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=timeout,
            verify=verify,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=0),
        )

    def __repr__(self) -> str:
        return f"VigilOps({self._where!r})"

    @property
    def url(self) -> str:
        return self._url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is under way and close; the session at the far side stays as it is."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])
        await self._client.aclose()

    def use(self, account: Account) -> None:
        """Take another password for the same account; the session lives on."""
        self._account = account

    # -- asking -------------------------------------------------------------------------------

    def _clean(self, text: str, secrets: Sequence[str]) -> str:
        known = [self._account.password.reveal(), self._access, self._refresh, *secrets]
        for secret in sorted(known, key=len, reverse=True):
            if len(secret) >= MIN_SECRET:
                text = text.replace(secret, "***")
        return TOKENS.sub("***", text)[:MAX_MESSAGE]

    def _message(self, response: httpx.Response, secrets: Sequence[str]) -> str:
        """Return the server's own words; never the `input` of a 422, which repeats the body."""
        try:
            body = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        if not isinstance(body, dict):
            return ""
        detail = body.get("detail")
        if isinstance(detail, list):
            said = "; ".join(
                f"{'.'.join(str(step) for step in row.get('loc') or ())}: {row.get('msg', '')}"
                for row in detail
                if isinstance(row, dict)
            )
        else:
            said = str(body.get("message") or detail or "")
        return self._clean(said, secrets)

    def _retry_after(self, response: httpx.Response) -> float:
        said: object = response.headers.get("Retry-After")
        if said is None:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                body = msgspec.json.decode(response.content)
                said = body.get("retry_after") if isinstance(body, dict) else None
        try:
            return max(1.0, float(str(said)))
        except ValueError:
            return 60.0

    async def _raw(
        self,
        method: str,
        path: str,
        *,
        body: object,
        params: Mapping[str, str | int] | None,
        bearer: str,
        repeatable: bool,
        timeout: float | None,
    ) -> httpx.Response:
        """Send, and again on a new connection if it was closed and may be asked twice."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        left = 2 if repeatable else 1
        while True:
            left -= 1
            try:
                return await self._client.request(
                    method,
                    f"{self._url}/api/v1{path}",
                    json=body,
                    params=params,
                    headers=headers,
                    timeout=timeout or httpx.USE_CLIENT_DEFAULT,
                )
            except UNSENT:
                raise Transient(f"连不上 VigilOps（{self._where}）", fault=Fault.MONITOR) from None
            except httpx.InvalidURL:
                raise Permanent(
                    f"VigilOps 地址不合法（{self._where}）", fault=Fault.REFUSED
                ) from None
            except CLOSED:
                if left:
                    continue
                why, again = "连接中断", True
            except httpx.HTTPError as error:
                timed_out = isinstance(error, httpx.TimeoutException)
                why, again = ("应答超时" if timed_out else "应答无法读取"), False
            if repeatable:
                raise Transient(
                    f"VigilOps（{self._where}）{why}：{method} {path}", fault=Fault.MONITOR
                ) from None
            raise _PerhapsAppliedError(why, again=again) from None

    def _judge(
        self,
        response: httpx.Response,
        what: str,
        *,
        repeatable: bool,
        secrets: Sequence[str],
    ) -> None:
        status = response.status_code
        if response.is_success:
            return
        said = self._message(response, secrets)
        words = f"HTTP {status}" + (f"：{said}" if said else "")
        if status == HTTP_TOO_MANY:
            raise Transient(
                f"VigilOps（{self._where}）限流（{what}）",
                retry_after=self._retry_after(response),
                fault=Fault.MONITOR,
            )
        if response.is_server_error:
            if repeatable:
                raise Transient(
                    f"VigilOps（{self._where}）出错（{what}），{words}", fault=Fault.MONITOR
                )
            raise _PerhapsAppliedError(words, again=status != httpx.codes.GATEWAY_TIMEOUT)
        if response.is_redirect:
            raise Permanent(
                f"VigilOps（{self._where}）要求跳转（{what}），请检查地址，{words}",
                fault=Fault.REFUSED,
            )
        raise Permanent(
            f"VigilOps（{self._where}）拒绝了请求（{what}），{words}", fault=Fault.REFUSED
        )

    async def _ask(
        self,
        method: str,
        path: str,
        shape: type[T],
        *,
        body: object = None,
        params: Mapping[str, str | int] | None = None,
        secrets: Sequence[str] = (),
        signed_in: bool = True,
        repeatable: bool | None = None,
        timeout: float | None = None,
    ) -> T:
        """Ask for one thing. What is not `repeatable` may raise _PerhapsAppliedError."""
        repeat = method == "GET" if repeatable is None else repeatable
        bearer = ""
        renewals = 2
        while True:
            if signed_in:
                bearer = self._access or await self._renewed("")
            response = await self._raw(
                method,
                path,
                body=body,
                params=params,
                bearer=bearer,
                repeatable=repeat,
                timeout=timeout,
            )
            if response.status_code != HTTP_UNAUTHORIZED or not signed_in or not renewals:
                break
            renewals -= 1
            await self._renewed(bearer)
        self._judge(response, f"{method} {path}", repeatable=repeat, secrets=secrets)
        if shape is _Nothing:
            return shape()
        try:
            return msgspec.json.decode(response.content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if not repeat:
                raise _PerhapsAppliedError("应答不是预期的格式", again=False) from None
        raise Permanent(
            f"VigilOps（{self._where}）的应答不是预期的格式（{method} {path}），请检查地址和版本",
            fault=Fault.REFUSED,
        )

    # -- the session --------------------------------------------------------------------------

    async def _renewed(self, stale: str) -> str:
        """Return an access token other than `stale`; all who wait share one renewal."""
        if self._flight is None:
            if self._access and self._access != stale:
                return self._access
            self._flight = asyncio.create_task(self._renew())
            self._flight.add_done_callback(self._landed)
        await asyncio.shield(self._flight)
        return self._access

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # whoever waited has it; nobody may have

    async def _renew(self) -> None:
        if self._refresh:
            answer = await self._raw(
                "POST",
                "/auth/refresh",
                body={"refresh_token": self._refresh},
                params=None,
                bearer="",
                repeatable=True,
                timeout=None,
            )
            if answer.status_code != HTTP_UNAUTHORIZED:
                self._judge(answer, "刷新会话", repeatable=True, secrets=())
                self._keep(answer)
                return
            self._refresh = ""  # ended, or signed in elsewhere: only a login helps
        await self._login()

    async def _login(self) -> None:
        now = self._now()
        while self._logins and now - self._logins[0] >= LOGIN_WINDOW:
            self._logins.popleft()
        free_at = self._login_barred_until
        if len(self._logins) >= LOGINS:
            free_at = max(free_at, self._logins[0] + LOGIN_WINDOW)
        if free_at > now:
            raise Transient(
                f"登录 VigilOps（{self._where}）过于频繁，稍后再试；该账号可能被别处共用",
                retry_after=free_at - now,
                fault=Fault.MONITOR,
            )
        self._logins.append(now)
        try:
            answer = await self._raw(
                "POST",
                "/auth/login",
                body={
                    "email": self._account.email,
                    "password": self._account.password.reveal(),
                },
                params=None,
                bearer="",
                repeatable=False,
                timeout=None,
            )
        except _PerhapsAppliedError as error:
            raise Transient(
                f"登录 VigilOps（{self._where}）时{error.reason}", fault=Fault.MONITOR
            ) from None
        if answer.status_code == HTTP_TOO_MANY:
            self._login_barred_until = now + self._retry_after(answer)
        self._judge(answer, "登录", repeatable=True, secrets=())
        self._keep(answer)

    def _keep(self, answer: httpx.Response) -> None:
        try:
            tokens = msgspec.json.decode(answer.content, type=_Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError):
            tokens = None
        if tokens is None:
            raise Permanent(
                f"VigilOps（{self._where}）的登录应答不是预期的格式，请检查地址",
                fault=Fault.REFUSED,
            )
        self._access, self._refresh = tokens.access_token, tokens.refresh_token

    # -- reading and writing ------------------------------------------------------------------

    async def _pages(
        self, path: str, shape: type[_Page[T]], params: Mapping[str, str | int] | None = None
    ) -> list[T]:
        rows: list[T] = []
        for page in range(1, MAX_PAGES + 1):
            asked = {**(params or {}), "page": page, "page_size": PAGE_SIZE}
            got = await self._ask("GET", path, shape, params=asked)
            rows.extend(got.items)
            if not got.items or page * PAGE_SIZE >= got.total:
                break
        return rows

    def _in_doubt(self, what: str, why: str) -> InDoubt:
        return InDoubt(
            f"VigilOps（{self._where}）：{what}可能已生效，请人工核对（{why}）", fault=Fault.MONITOR
        )

    async def _settle(
        self,
        what: str,
        write: Callable[[], Awaitable[object]],
        look: Callable[[], Awaitable[T | None]],
    ) -> T:
        """Write, then look; if nothing came of an unclear write, write once more."""
        why = "回读不到"
        for _ in range(2):
            again = False
            try:
                await write()
            except _PerhapsAppliedError as error:
                why, again = error.reason, error.again
            found = await look()
            if found is not None:
                return found
            if not again:
                break
        raise self._in_doubt(what, why)

    # -- the instance and its people ----------------------------------------------------------

    async def health(self) -> Health:
        got = await self._ask("GET", "/health", _Health, signed_in=False)
        return Health(ok=got.status == "ok", checks=got.checks)

    async def register_admin(self) -> bool:
        account = self._account
        failed = ""
        crashed = False
        try:
            tokens = await self._ask(
                "POST",
                "/auth/register",
                _Tokens,
                body={
                    "email": account.email,
                    "name": account.name,
                    "password": account.password.reveal(),
                },
                signed_in=False,
            )
        except _PerhapsAppliedError as error:
            failed = error.reason
            crashed = failed.startswith("HTTP 500")
        except Permanent as error:
            if f"HTTP {HTTP_CONFLICT}" not in error.reason:
                raise
        else:
            self._access, self._refresh = tokens.access_token, tokens.refresh_token
        try:
            role = await self.me()
        except Permanent:
            if crashed:
                return False  # the old generation: there is no such account
            if failed:
                raise self._in_doubt("注册管理员", failed) from None
            raise
        if role != "admin":
            raise Permanent(
                f"VigilOps（{self._where}）里机器人账号的角色是 {role}，不是 admin："
                "已有别的首个用户，请人工提升权限",
                fault=Fault.REFUSED,
            )
        return True

    async def me(self) -> str:
        return (await self._ask("GET", "/auth/me", _Me)).role

    async def _user(self, email: str) -> _User | None:
        rows = await self._pages("/users", _Page[_User])
        return next((row for row in rows if row.email.casefold() == email.casefold()), None)

    async def create_user(self, email: str, name: str, role: str, password: Secret) -> None:
        found = await self._user(email)
        if found is None:
            secret = password.reveal()
            found = await self._settle(
                f"创建用户 {email} ",
                lambda: self._ask(
                    "POST",
                    "/users",
                    _Nothing,
                    body={"email": email, "name": name, "password": secret, "role": role},
                    secrets=(secret,),
                ),
                lambda: self._user(email),
            )
        if found.role != role or not found.is_active:
            state = "" if found.is_active else "（已停用）"
            raise Permanent(
                f"VigilOps（{self._where}）里用户 {email} 已存在，角色是 {found.role}{state}，"
                f"不是 {role}",
                fault=Fault.REFUSED,
            )

    async def set_password(self, email: str, password: Secret) -> None:
        found = await self._user(email)
        if found is None:
            raise Permanent(f"VigilOps（{self._where}）里没有用户 {email}", fault=Fault.REFUSED)
        secret = password.reveal()
        await self._ask(
            "PUT",
            f"/users/{found.id}/password",
            _Nothing,
            body={"new_password": secret},
            repeatable=True,  # the same password twice is the same password
            secrets=(secret,),
        )

    async def users(self) -> Sequence[tuple[str, str]]:
        return [(row.email, row.role) for row in await self._pages("/users", _Page[_User])]

    # -- settings -----------------------------------------------------------------------------

    async def _ai_config(self) -> _AiConfig | None:
        rows = await self._ask("GET", "/ops/ai-configs/admin", list[_AiConfig])
        return next((row for row in rows if row.feature_key == AI_FEATURE), None)

    async def configure_ai(self, base_url: str, model: str, key: Secret) -> str:
        secret = key.reveal()
        body = {
            "feature_key": AI_FEATURE,
            "name": "vigilbot",
            "base_url": base_url,
            "model": model,
            "api_key": secret,
            "enabled": True,
        }

        async def as_wanted() -> _AiConfig | None:
            row = await self._ai_config()
            fits = (
                row is not None
                and row.enabled
                and row.has_api_key
                and row.base_url.rstrip("/") == base_url.rstrip("/")
                and row.model == model
                and (row.api_key_mask or "").rpartition("*")[2] in {"", secret[-4:]}
            )
            return row if fits else None

        async def write() -> None:
            row = await self._ai_config()
            if row is None:
                method, path = "POST", "/ops/ai-configs"
            else:
                method, path = "PUT", f"/ops/ai-configs/{row.id}"
            await self._ask(method, path, _Nothing, body=body, secrets=(secret,))

        found = await as_wanted()
        if found is None:
            found = await self._settle("写入 AI 配置", write, as_wanted)
        return found.api_key_mask or ""

    async def _retention(self) -> dict[str, int]:
        return await self._ask("GET", "/data-retention/settings", dict[str, int])

    async def set_retention(self, days: Mapping[str, int]) -> Mapping[str, int]:
        for kind, count in days.items():
            most = RETENTION_MAX.get(kind)
            if most is None:
                raise Permanent(f"VigilOps 没有这种数据的保留期：{kind}", fault=Fault.REFUSED)
            if not 1 <= count <= most:
                raise Permanent(
                    f"{kind} 的保留期须在 1 到 {most} 天之间，给的是 {count}", fault=Fault.REFUSED
                )
        have = await self._retention()
        wanted = {kind: days.get(kind, have.get(kind, 0)) for kind in RETENTION_MAX}
        if all(have.get(kind) == count for kind, count in wanted.items()):
            return have

        async def look() -> dict[str, int] | None:
            got = await self._retention()
            return got if all(got.get(kind) == count for kind, count in wanted.items()) else None

        return await self._settle(
            "设置数据保留期",
            lambda: self._ask("PUT", "/data-retention/settings", _Nothing, body=wanted),
            look,
        )

    # -- agents and hosts ---------------------------------------------------------------------

    async def agent_tokens(self) -> Sequence[AgentToken]:
        return [_token(row) for row in await self._ask("GET", "/agent-tokens", list[_AgentToken])]

    async def create_agent_token(self, name: str) -> AgentToken:
        """Make a token. One whose secret was lost on the way is revoked before the next try."""
        what = f"创建 Agent 令牌 {name} "
        before = {token.id for token in await self.agent_tokens()}
        why = "回读不到"
        for _ in range(2):
            made: _NewAgentToken | None = None
            again = False
            try:
                made = await self._ask("POST", "/agent-tokens", _NewAgentToken, body={"name": name})
            except _PerhapsAppliedError as error:
                why, again = error.reason, error.again
            try:
                fresh = [t for t in await self.agent_tokens() if t.id not in before]
            except Transient as error:
                raise self._in_doubt(what, error.reason) from None
            mine = [token for token in fresh if token.name == name and token.active]
            if made is not None:
                for token in mine:
                    if token.id == made.id:
                        return AgentToken(
                            token.id, token.name, token.prefix, token.active, Secret(made.token)
                        )
                break
            for orphan in mine:
                await self.revoke_agent_token(orphan.id)
            if not mine and not again:
                break
        raise self._in_doubt(what, why)

    async def revoke_agent_token(self, token_id: int) -> None:
        async def look() -> bool | None:
            rows = await self.agent_tokens()
            return None if any(row.id == token_id and row.active for row in rows) else True

        await self._settle(
            f"吊销 Agent 令牌 {token_id} ",
            lambda: self._ask("DELETE", f"/agent-tokens/{token_id}", _Nothing),
            look,
        )

    async def hosts(self) -> Sequence[MonitoredHost]:
        rows = {row.id: row for row in await self._pages("/hosts", _Page[_Host])}
        return [_host(row) for row in rows.values()]

    async def summary(self) -> Summary:
        got = await self._ask("GET", "/dashboard/summary", _Summary)
        return Summary(
            hosts_total=got.hosts.total,
            hosts_online=got.hosts.online,
            alerts_firing=got.alerts.firing,
            health_score=round(got.health_score),
        )

    # -- rules --------------------------------------------------------------------------------

    async def rules(self) -> Sequence[Rule]:
        return [_rule(row) for row in await self._ask("GET", "/alert-rules", list[_Rule])]

    async def _rule_named(self, name: str) -> Rule | None:
        named = [rule for rule in await self.rules() if rule.name == name]
        return min(named, key=lambda rule: rule.id, default=None)

    async def ensure_rule(self, rule: Rule) -> Rule:
        """Make or mend the rule; `channel_ids` None leaves the channels it has."""

        async def as_wanted() -> Rule | None:
            found = await self._rule_named(rule.name)
            return found if found is not None and not _rule_changes(rule, found) else None

        async def write() -> None:
            found = await self._rule_named(rule.name)
            if found is None:
                body = {"name": rule.name, **_rule_body(rule)}
                await self._ask("POST", "/alert-rules", _Nothing, body=body)
            elif changes := _rule_changes(rule, found):
                await self._ask("PUT", f"/alert-rules/{found.id}", _Nothing, body=changes)

        found = await as_wanted()
        if found is None:
            found = await self._settle(f"告警规则 {rule.name} ", write, as_wanted)
        return found

    # -- channels -----------------------------------------------------------------------------

    async def _channels(self) -> list[_Channel]:
        return await self._ask("GET", "/notification-channels", list[_Channel])

    async def _channel(self, channel_id: int) -> _Channel | None:
        return next((row for row in await self._channels() if row.id == channel_id), None)

    async def channels(self) -> Sequence[Channel]:
        return [
            Channel(row.id, row.name, row.type, row.is_enabled) for row in await self._channels()
        ]

    async def ensure_only_channel(self, name: str, type_: str, config: Mapping[str, object]) -> int:
        """Have one enabled channel. The others go first: two at once break the alert engine."""
        secrets = tuple(_leaves(config))
        # A masked secret cannot be compared: it is written each time, and counts as written when
        # the answer to the write, which is not masked, repeats it.
        confirmed = not MASKED & config.keys()

        async def own() -> _Channel | None:
            rows = [row for row in await self._channels() if (row.name, row.type) == (name, type_)]
            return min(rows, key=lambda row: row.id, default=None)

        async def as_wanted() -> _Channel | None:
            row = await own()
            fits = row and row.is_enabled and _readable(row.config) == _readable(config)
            return row if fits and confirmed else None

        async def write() -> None:
            nonlocal confirmed
            row = await own()
            if row is None:
                method, path = "POST", "/notification-channels"
                body: dict[str, object] = {"name": name, "type": type_}
            else:
                method, path = "PUT", f"/notification-channels/{row.id}"
                body = {"is_enabled": True}
            body["config"] = dict(config)
            answer = await self._ask(method, path, _Channel, body=body, secrets=secrets)
            confirmed = confirmed or answer.config == dict(config)

        keep = await own()
        for row in await self._channels():
            if row.is_enabled and (keep is None or row.id != keep.id):
                await self.disable_channel(row.id)
        ready = await as_wanted()
        if ready is None:
            ready = await self._settle(f"通知渠道 {name} ", write, as_wanted)
        enabled = [row.id for row in await self._channels() if row.is_enabled]
        if enabled != [ready.id]:
            raise self._in_doubt(
                f"通知渠道 {name} ", f"回读到启用的渠道是 {enabled}，应只有 {ready.id}"
            )
        return ready.id

    async def disable_channel(self, channel_id: int) -> None:
        row = await self._channel(channel_id)
        if row is None:
            raise Permanent(
                f"VigilOps（{self._where}）没有通知渠道 {channel_id}", fault=Fault.REFUSED
            )
        if not row.is_enabled:
            return

        async def look() -> bool | None:
            found = await self._channel(channel_id)
            return None if found is not None and found.is_enabled else True

        await self._settle(
            f"停用通知渠道 {channel_id} ",
            lambda: self._ask(
                "PUT",
                f"/notification-channels/{channel_id}",
                _Nothing,
                body={"is_enabled": False},
            ),
            look,
        )

    async def test_channel(self, channel_id: int) -> bool:
        try:
            got = await self._ask("POST", f"/notification-channels/{channel_id}/test", _Test)
        except _PerhapsAppliedError as error:
            raise self._in_doubt(f"通知渠道 {channel_id} 的测试消息", error.reason) from None
        return got.success

    # -- alerts -------------------------------------------------------------------------------

    async def alerts(self, status: str = "") -> Sequence[MonitorAlert]:
        params: dict[str, str | int] = {"status": status} if status else {}
        rows = {row.id: row for row in await self._pages("/alerts", _Page[_Alert], params)}
        return [_alert(row) for row in rows.values()]

    async def ack(self, alert_id: int) -> None:
        """Acknowledge. Not twice: the second would overwrite who did it and when."""
        path = f"/alerts/{alert_id}"

        async def look() -> bool | None:
            got = await self._ask("GET", path, _Alert)
            return None if got.status == "firing" else True

        if (await self._ask("GET", path, _Alert)).status == "acknowledged":
            return
        await self._settle(
            f"确认告警 {alert_id} ", lambda: self._ask("POST", f"{path}/ack", _Nothing), look
        )

    async def root_cause(self, alert_id: int) -> str:
        """Ask the monitor's AI; asking twice harms nobody, so a failure is never in doubt."""
        got = await self._ask(
            "POST",
            "/ai/root-cause",
            dict[str, object],
            params={"alert_id": alert_id},
            repeatable=True,
            timeout=self._ai_timeout,
        )
        said = [str(got[part]) for part in ("root_cause", "diagnosis", "impact") if got.get(part)]
        for part in ("suggestions", "recommendations"):
            rows = got.get(part)
            if isinstance(rows, list):
                said.extend(f"- {row}" for row in rows)
        text = "\n".join(said) or str(got.get("analysis") or "")
        if not text or text.startswith("分析失败"):
            raise Transient(
                f"VigilOps（{self._where}）的 AI 没有给出结论（告警 {alert_id}）",
                fault=Fault.MONITOR,
            )
        return TOKENS.sub("***", text)


# -- all instances ----------------------------------------------------------------------------


class VigilOpsMonitors:
    """The way to every customer's VigilOps; leaving it closes every session."""

    def __init__(
        self,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 20.0,
        ai_timeout: float = 120.0,
        verify: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._timeout = timeout
        self._verify = verify
        self._ai_timeout = ai_timeout
        self._now = now
        self._monitors: dict[tuple[str, str], VigilOps] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every session."""
        monitors = list(self._monitors.values())
        self._monitors.clear()
        await asyncio.gather(*(monitor.aclose() for monitor in monitors))

    def at(self, url: str, account: Account) -> VigilOps:
        """Return the monitor at `url`: the same session for the same email."""
        key = (url.rstrip("/"), account.email.casefold())
        monitor = self._monitors.get(key)
        if monitor is None:
            monitor = self._monitors[key] = VigilOps(
                url,
                account,
                transport=self._transport,
                timeout=self._timeout,
                ai_timeout=self._ai_timeout,
                verify=self._verify,
                now=self._now,
            )
        else:
            monitor.use(account)
        return monitor

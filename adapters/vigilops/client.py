"""A `Monitor` that is VigilOps: nothing but a user's email is unique there, and reads mask what writes
must not put back, so each write is compared with what is read afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self, final

import httpx

from adapters.port import (
    Account,
    AgentToken,
    Channel,
    Fault,
    Health,
    Monitor,
    MonitorAlert,
    MonitoredHost,
    Permanent,
    Rule,
    Sample,
    Summary,
    Transient,
)
from adapters.vigilops.session import TOKENS, AbsentError, PerhapsAppliedError, Session
from adapters.vigilops.wire import (
    MASKED,
    AiConfig,
    AlertTold,
    ChannelTold,
    HealthTold,
    HostTold,
    Me,
    NewToken,
    Nothing,
    Page,
    PointTold,
    RuleTold,
    SummaryTold,
    TestTold,
    Tokens,
    TokenTold,
    UserTold,
    alert_of,
    host_of,
    leaves,
    readable,
    rule_body,
    rule_changes,
    rule_of,
    token_of,
    utc,
)
from adapters.words import Secret

RETENTION_MAX = {
    "host_metrics": 3650,
    "db_metrics": 3650,
    "log_entries": 365,
    "ai_insights": 3650,
    "audit_logs": 3650,
}
AI_FEATURE = "default"
HTTP_CONFLICT = 409


@final
class VigilOps(Monitor):
    """One VigilOps instance, spoken to in the name of one account."""

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
        self._ai_timeout = ai_timeout
        self._session = Session(
            url, account, transport=transport, timeout=timeout, verify=verify, now=now
        )

    def __repr__(self) -> str:
        return f"VigilOps({self._session.where!r})"

    @property
    def url(self) -> str:
        return self._session.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is under way and close; the session at the far side stays as it is."""
        await self._session.aclose()

    def use(self, account: Account) -> None:
        """Take another password for the same account; the session lives on."""
        self._session.account = account

    # -- the instance and its people ----------------------------------------------------------

    async def health(self) -> Health:
        got = await self._session.ask("GET", "/health", HealthTold, signed_in=False)
        return Health(ok=got.status == "ok", checks=got.checks)

    async def register_admin(self) -> bool:
        account = self._session.account
        failed = ""
        crashed = False
        try:
            tokens = await self._session.ask(
                "POST",
                "/auth/register",
                Tokens,
                body={
                    "email": account.email,
                    "name": account.name,
                    "password": account.password.reveal(),
                },
                signed_in=False,
            )
        except PerhapsAppliedError as error:
            failed = error.reason
            crashed = failed.startswith("HTTP 500")
        except Permanent as error:
            if f"HTTP {HTTP_CONFLICT}" not in error.reason:
                raise
        else:
            self._session.hold(tokens)
        try:
            role = await self.me()
        except Permanent:
            if crashed:
                return False  # the old generation: there is no such account
            if failed:
                raise self._session.in_doubt("注册管理员", failed) from None
            raise
        if role != "admin":
            raise Permanent(
                f"VigilOps（{self._session.where}）里机器人账号的角色是 {role}，不是 admin："
                "已有别的首个用户，请人工提升权限",
                fault=Fault.REFUSED,
            )
        return True

    async def me(self) -> str:
        return (await self._session.ask("GET", "/auth/me", Me)).role

    async def _user(self, email: str) -> UserTold | None:
        rows = await self._session.pages("/users", Page[UserTold])
        return next((row for row in rows if row.email.casefold() == email.casefold()), None)

    async def create_user(self, email: str, name: str, role: str, password: Secret) -> None:
        found = await self._user(email)
        if found is None:
            secret = password.reveal()
            found = await self._session.settle(
                f"创建用户 {email} ",
                lambda: self._session.ask(
                    "POST",
                    "/users",
                    Nothing,
                    body={"email": email, "name": name, "password": secret, "role": role},
                    secrets=(secret,),
                ),
                lambda: self._user(email),
            )
        if found.role != role or not found.is_active:
            state = "" if found.is_active else "（已停用）"
            raise Permanent(
                f"VigilOps（{self._session.where}）里用户 {email} 已存在，角色是 {found.role}{state}，"
                f"不是 {role}",
                fault=Fault.REFUSED,
            )

    async def set_password(self, email: str, password: Secret) -> None:
        found = await self._user(email)
        if found is None:
            raise Permanent(
                f"VigilOps（{self._session.where}）里没有用户 {email}", fault=Fault.REFUSED
            )
        secret = password.reveal()
        await self._session.ask(
            "PUT",
            f"/users/{found.id}/password",
            Nothing,
            body={"new_password": secret},
            repeatable=True,  # the same password twice is the same password
            secrets=(secret,),
        )

    async def users(self) -> Sequence[tuple[str, str]]:
        rows = await self._session.pages("/users", Page[UserTold])
        return list({row.id: (row.email, row.role) for row in rows}.values())

    # -- settings -----------------------------------------------------------------------------

    async def _ai_config(self) -> AiConfig | None:
        rows = await self._session.ask("GET", "/ops/ai-configs/admin", list[AiConfig])
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

        async def as_wanted() -> AiConfig | None:
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
            await self._session.ask(method, path, Nothing, body=body, secrets=(secret,))

        found = await as_wanted()
        if found is None:
            found = await self._session.settle("写入 AI 配置", write, as_wanted)
        return found.api_key_mask or ""

    async def _retention(self) -> dict[str, int]:
        return await self._session.ask("GET", "/data-retention/settings", dict[str, int])

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

        return await self._session.settle(
            "设置数据保留期",
            lambda: self._session.ask("PUT", "/data-retention/settings", Nothing, body=wanted),
            look,
        )

    # -- agents and hosts ---------------------------------------------------------------------

    async def agent_tokens(self) -> Sequence[AgentToken]:
        return [
            token_of(row)
            for row in await self._session.ask("GET", "/agent-tokens", list[TokenTold])
        ]

    async def create_agent_token(self, name: str) -> AgentToken:
        """Make a token. One whose secret was lost on the way is revoked before the next try."""
        what = f"创建 Agent 令牌 {name} "
        before = {token.id for token in await self.agent_tokens()}
        why = "回读不到"
        for _ in range(2):
            made: NewToken | None = None
            again = False
            try:
                made = await self._session.ask(
                    "POST", "/agent-tokens", NewToken, body={"name": name}
                )
            except PerhapsAppliedError as error:
                why, again = error.reason, error.again
            try:
                fresh = [t for t in await self.agent_tokens() if t.id not in before]
            except Transient as error:
                raise self._session.in_doubt(what, error.reason) from None
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
        raise self._session.in_doubt(what, why)

    async def revoke_agent_token(self, token_id: int) -> None:
        async def look() -> bool | None:
            rows = await self.agent_tokens()
            return None if any(row.id == token_id and row.active for row in rows) else True

        await self._session.settle(
            f"吊销 Agent 令牌 {token_id} ",
            lambda: self._session.ask("DELETE", f"/agent-tokens/{token_id}", Nothing),
            look,
        )

    async def hosts(self) -> Sequence[MonitoredHost]:
        rows = {row.id: row for row in await self._session.pages("/hosts", Page[HostTold])}
        return [host_of(row) for row in rows.values()]

    async def history(self, host: int, hours: int = 1) -> Sequence[Sample]:
        asked: dict[str, str | int] = {"hours": hours, "interval": "raw"}
        rows = await self._session.ask(
            "GET", f"/hosts/{host}/metrics", list[PointTold], params=asked
        )
        found = [
            Sample(utc(row.recorded_at), row.cpu_percent, row.memory_percent, row.disk_percent)
            for row in rows
        ]
        return sorted(found, key=lambda sample: sample.at)

    async def summary(self) -> Summary:
        got = await self._session.ask("GET", "/dashboard/summary", SummaryTold)
        return Summary(
            hosts_total=got.hosts.total,
            hosts_online=got.hosts.online,
            alerts_firing=got.alerts.firing,
            health_score=round(got.health_score),
        )

    # -- rules --------------------------------------------------------------------------------

    async def rules(self) -> Sequence[Rule]:
        return [
            rule_of(row) for row in await self._session.ask("GET", "/alert-rules", list[RuleTold])
        ]

    async def _rule_named(self, name: str) -> Rule | None:
        named = [rule for rule in await self.rules() if rule.name == name]
        return min(named, key=lambda rule: rule.id, default=None)

    async def ensure_rule(self, rule: Rule) -> Rule:
        """Make or mend the rule; `channel_ids` None leaves the channels it has."""

        async def as_wanted() -> Rule | None:
            found = await self._rule_named(rule.name)
            return found if found is not None and not rule_changes(rule, found) else None

        async def write() -> None:
            found = await self._rule_named(rule.name)
            if found is None:
                body = {"name": rule.name, **rule_body(rule)}
                await self._session.ask("POST", "/alert-rules", Nothing, body=body)
            elif changes := rule_changes(rule, found):
                await self._session.ask("PUT", f"/alert-rules/{found.id}", Nothing, body=changes)

        found = await as_wanted()
        if found is None:
            found = await self._session.settle(f"告警规则 {rule.name} ", write, as_wanted)
        return found

    # -- channels -----------------------------------------------------------------------------

    async def _channels(self) -> list[ChannelTold]:
        return await self._session.ask("GET", "/notification-channels", list[ChannelTold])

    async def _channel(self, channel_id: int) -> ChannelTold | None:
        return next((row for row in await self._channels() if row.id == channel_id), None)

    async def channels(self) -> Sequence[Channel]:
        return [
            Channel(row.id, row.name, row.type, row.is_enabled) for row in await self._channels()
        ]

    async def ensure_only_channel(self, name: str, type_: str, config: Mapping[str, object]) -> int:
        """Have one enabled channel. The others go first: two at once break the alert engine."""
        secrets = tuple(leaves(config))
        # A masked secret cannot be compared: it is written each time, and counts as written when
        # the answer to the write, which is not masked, repeats it.
        confirmed = not MASKED & config.keys()

        async def own() -> ChannelTold | None:
            rows = [row for row in await self._channels() if (row.name, row.type) == (name, type_)]
            return min(rows, key=lambda row: row.id, default=None)

        async def as_wanted() -> ChannelTold | None:
            row = await own()
            fits = row and row.is_enabled and readable(row.config) == readable(config)
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
            answer = await self._session.ask(method, path, ChannelTold, body=body, secrets=secrets)
            confirmed = confirmed or answer.config == dict(config)

        keep = await own()
        for row in await self._channels():
            if row.is_enabled and (keep is None or row.id != keep.id):
                await self.disable_channel(row.id)
        ready = await as_wanted()
        if ready is None:
            ready = await self._session.settle(f"通知渠道 {name} ", write, as_wanted)
        enabled = [row.id for row in await self._channels() if row.is_enabled]
        if enabled != [ready.id]:
            raise self._session.in_doubt(
                f"通知渠道 {name} ", f"回读到启用的渠道是 {enabled}，应只有 {ready.id}"
            )
        return ready.id

    async def disable_channel(self, channel_id: int) -> None:
        row = await self._channel(channel_id)
        if row is None:
            raise Permanent(
                f"VigilOps（{self._session.where}）没有通知渠道 {channel_id}", fault=Fault.REFUSED
            )
        if not row.is_enabled:
            return

        async def look() -> bool | None:
            found = await self._channel(channel_id)
            return None if found is not None and found.is_enabled else True

        await self._session.settle(
            f"停用通知渠道 {channel_id} ",
            lambda: self._session.ask(
                "PUT",
                f"/notification-channels/{channel_id}",
                Nothing,
                body={"is_enabled": False},
            ),
            look,
        )

    async def test_channel(self, channel_id: int) -> bool:
        try:
            got = await self._session.ask(
                "POST", f"/notification-channels/{channel_id}/test", TestTold
            )
        except PerhapsAppliedError as error:
            raise self._session.in_doubt(
                f"通知渠道 {channel_id} 的测试消息", error.reason
            ) from None
        return got.success

    # -- alerts -------------------------------------------------------------------------------

    async def alerts(self, status: str = "") -> Sequence[MonitorAlert]:
        params: dict[str, str | int] = {"status": status} if status else {}
        rows = {
            row.id: row for row in await self._session.pages("/alerts", Page[AlertTold], params)
        }
        return [alert_of(row) for row in rows.values()]

    async def alert(self, alert_id: int) -> MonitorAlert | None:
        try:
            return alert_of(await self._session.ask("GET", f"/alerts/{alert_id}", AlertTold))
        except AbsentError:
            return None

    async def ack(self, alert_id: int) -> None:
        """Acknowledge. Not twice: the second would overwrite who did it and when."""
        path = f"/alerts/{alert_id}"

        async def look() -> bool | None:
            got = await self._session.ask("GET", path, AlertTold)
            return None if got.status == "firing" else True

        if (await self._session.ask("GET", path, AlertTold)).status == "acknowledged":
            return
        await self._session.settle(
            f"确认告警 {alert_id} ", lambda: self._session.ask("POST", f"{path}/ack", Nothing), look
        )

    async def root_cause(self, alert_id: int) -> str:
        """Ask the monitor's AI; asking twice harms nobody, so a failure is never in doubt."""
        got = await self._session.ask(
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
                f"VigilOps（{self._session.where}）的 AI 没有给出结论（告警 {alert_id}）",
                fault=Fault.MONITOR,
            )
        return TOKENS.sub("***", text)


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

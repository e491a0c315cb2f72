"""The VigilOps client against a small VigilOps that answers in the recorded shapes."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.port import (
    Account,
    Fault,
    InDoubt,
    Monitor,
    Monitors,
    OutsideError,
    Permanent,
    Rule,
    Transient,
)
from adapters.vigilops import VigilOps, VigilOpsMonitors
from adapters.words import Secret

GOLDEN = Path(__file__).parents[1] / "golden" / "vigilops"
PASSWORD = "Passw0rd-of-the-bot"
ACCOUNT = Account("bot@example.com", Secret(PASSWORD))
CRASH = "rule_create_silence"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))["response"]


def http_error(status: int, message: str) -> httpx.Response:
    return httpx.Response(
        status,
        json={"error": "http_error", "message": message, "detail": None, "status_code": status},
    )


class World:
    """A VigilOps in memory. `plan` says what goes wrong with the next requests of a kind."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.cookies_seen: list[str] = []
        self.plan: dict[str, deque[str | httpx.Response]] = {}
        self.session = 0
        self.valid: set[str] = set()
        self.password = PASSWORD
        self.role = "admin"
        self.registered = True
        self.old_generation = False
        self.elsewhere = False
        self.users: list[dict[str, Any]] = golden("users_list")["items"]
        self.hosts: list[dict[str, Any]] = golden("hosts_list")["items"]
        self.rules: list[dict[str, Any]] = golden("rules_list")
        self.tokens: list[dict[str, Any]] = golden("agent_token_list")
        self.channels: list[dict[str, Any]] = []
        self.ai: list[dict[str, Any]] = []
        self.retention: dict[str, int] = golden("retention_get")
        self.alert: dict[str, Any] = golden("alert_get")
        self.gate: asyncio.Event | None = None

    def fail(self, call: str, *how: str | httpx.Response) -> None:
        self.plan[call] = deque(how)

    def count(self, call: str) -> int:
        return Counter(f"{method} {path}" for method, path, _ in self.calls)[call]

    def writes(self) -> list[tuple[str, str, Any]]:
        return [call for call in self.calls if call[0] != "GET" and "/auth/" not in call[1]]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        body = json.loads(request.content) if request.content else None
        self.calls.append((request.method, path, body))
        self.cookies_seen.extend(request.headers.get_list("cookie"))
        call = f"{request.method} {path}"
        steps = self.plan.get(call)
        step = steps.popleft() if steps else ""
        if isinstance(step, httpx.Response):
            return step
        if step == "closed":
            raise httpx.ReadError(f"with {PASSWORD}", request=request)
        if step == "refused":
            raise httpx.ConnectError(f"with {PASSWORD}", request=request)
        if step == "slow":
            raise httpx.ReadTimeout(f"with {PASSWORD}", request=request)
        if step == "crash":
            return httpx.Response(500, json=golden(CRASH))
        answer = self.answer(request, path, body)
        if self.gate is not None and path == "/auth/login":
            await self.gate.wait()
        if step == "applied, then crash":
            return httpx.Response(500, json=golden(CRASH))
        if step == "applied, then closed":
            raise httpx.ReadError("", request=request)
        return answer

    def signed_in(self, status: int = 200) -> httpx.Response:
        self.session += 1
        self.valid = {f"access-token-{self.session}"}
        return httpx.Response(
            status,
            json={
                **golden("auth_login"),
                "access_token": f"access-token-{self.session}",
                "refresh_token": f"refresh-token-{self.session}",
            },
            headers={"Set-Cookie": f"access_token=access-token-{self.session}; Path=/"},
        )

    def auth(self, path: str, body: Any) -> httpx.Response | None:
        if path == "/auth/login":
            if not self.registered or body["password"] != self.password:
                return httpx.Response(401, json=golden("auth_login_bad"))
            self.elsewhere = False
            return self.signed_in()
        if path == "/auth/refresh":
            if self.elsewhere:
                return httpx.Response(401, json=golden("session_elsewhere"))
            return self.signed_in()
        if path == "/auth/register":
            if self.old_generation:
                return httpx.Response(500, json=golden(CRASH))
            if self.registered:
                return http_error(409, "Email already registered")
            self.registered = True
            return self.signed_in(201)
        return None

    def answer(self, request: httpx.Request, path: str, body: Any) -> httpx.Response:
        if path == "/health":
            return httpx.Response(200, json=golden("health"))
        if found := self.auth(path, body):
            return found
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            return httpx.Response(401, json=golden("session_elsewhere"))
        head, _, rest = path.strip("/").partition("/")
        routes: dict[str, Callable[[httpx.Request, str, Any], Any]] = {
            "auth": lambda *_: {**golden("auth_me"), "role": self.role},
            "users": self.on_users,
            "hosts": self.on_hosts,
            "dashboard": lambda *_: golden("dashboard_summary"),
            "agent-tokens": self.on_tokens,
            "alert-rules": self.on_rules,
            "notification-channels": self.on_channels,
            "ops": self.on_ai,
            "data-retention": self.on_retention,
            "alerts": self.on_alerts,
            "ai": lambda *_: golden("ai_root_cause"),
        }
        got = routes[head](request, rest, body)
        return got if isinstance(got, httpx.Response) else httpx.Response(200, json=got)

    def page(self, request: httpx.Request, rows: list[dict[str, Any]]) -> dict[str, Any]:
        page = int(request.url.params["page"])
        size = min(int(request.url.params["page_size"]), 100)
        part = rows[(page - 1) * size : page * size]
        return {"items": part, "total": len(rows), "page": page, "page_size": size}

    def on_hosts(self, request: httpx.Request, rest: str, body: Any) -> Any:
        return golden("recorded/host_metrics") if rest else self.page(request, self.hosts)

    def on_users(self, request: httpx.Request, rest: str, body: Any) -> Any:
        if request.method == "GET":
            return self.page(request, self.users)
        kept = {key: body[key] for key in ("email", "name", "role")}
        self.users.append({"id": len(self.users) + 1, "is_active": True, **kept})
        return self.users[-1]

    def on_tokens(self, request: httpx.Request, rest: str, body: Any) -> Any:
        if request.method == "GET":
            return self.tokens
        if request.method == "DELETE":
            for row in self.tokens:
                row["is_active"] = row["is_active"] and row["id"] != int(rest)
            return httpx.Response(204)
        row = {**self.tokens[0], "id": len(self.tokens) + 1, "name": body["name"]}
        row["is_active"] = True
        self.tokens.append(row)
        return httpx.Response(201, json={**row, "token": f"vop_{row['id']:048x}"})

    def on_rules(self, request: httpx.Request, rest: str, body: Any) -> Any:
        if request.method == "POST":
            base = {**self.rules[0], "is_builtin": False, "id": len(self.rules) + 1}
            self.rules.append({**base, **body})
        if request.method == "PUT":
            next(row for row in self.rules if row["id"] == int(rest)).update(body)
        return self.rules

    def on_channels(self, request: httpx.Request, rest: str, body: Any) -> Any:
        if rest.endswith("/test"):
            return golden("channel_test_feishu")
        if request.method == "POST":
            self.channels.append({"id": len(self.channels) + 1, "is_enabled": True, **body})
        if request.method == "PUT":
            row = next(row for row in self.channels if row["id"] == int(rest))
            row.update(body)
            return row
        if request.method == "GET":
            masked = deepcopy(self.channels)
            for row in masked:
                if "secret" in row["config"]:
                    row["config"]["secret"] = row["config"]["secret"][:3] + "***"
            return masked
        return self.channels[-1]

    def on_ai(self, request: httpx.Request, rest: str, body: Any) -> Any:
        if request.method in {"POST", "PUT"}:
            key = body["api_key"]
            kept = {name: body[name] for name in ("feature_key", "base_url", "model")}
            row = {**golden("ai_config_create"), **kept, "id": "cfg-1"}
            row["api_key_mask"] = f"{key[:3]}****{key[-4:]}"
            self.ai = [row]
        return self.ai

    def on_retention(self, request: httpx.Request, rest: str, body: Any) -> Any:
        if request.method == "PUT":
            if set(body) != set(self.retention):
                return httpx.Response(422, json=golden("retention_put_422"))
            self.retention = body
        return self.retention

    def on_alerts(self, request: httpx.Request, rest: str, body: Any) -> Any:
        if rest.endswith("/ack"):
            self.alert["status"] = "acknowledged"
        return self.alert if rest else self.page(request, [self.alert])


class Watch:
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def monitor(world: World, watch: Watch) -> Any:
    transport = httpx.MockTransport(world)
    async with VigilOps("http://vo.example:8001/", ACCOUNT, transport=transport, now=watch) as it:
        yield it


def told(error: BaseException) -> str:
    return repr(error) + str(error) + "".join(traceback.format_exception(error))


# -- the session ------------------------------------------------------------------------------


async def test_the_client_is_the_port(monitor: VigilOps) -> None:
    port: Monitor = monitor
    async with VigilOpsMonitors() as monitors:
        way: Monitors = monitors
        assert way.at("http://a", ACCOUNT).url == "http://a"
    assert port.url == "http://vo.example:8001"


async def test_the_account_signs_in_once_for_many_requests_at_once(
    monitor: VigilOps, world: World
) -> None:
    await asyncio.gather(*(monitor.hosts() for _ in range(20)))
    assert world.count("POST /auth/login") == 1


async def test_no_cookie_is_ever_sent_back(monitor: VigilOps, world: World) -> None:
    await monitor.me()
    await monitor.summary()
    assert world.cookies_seen == []


async def test_many_expired_requests_share_one_refresh(monitor: VigilOps, world: World) -> None:
    await monitor.me()
    world.valid.clear()
    await asyncio.gather(*(monitor.hosts() for _ in range(20)))
    assert world.count("POST /auth/refresh") == 1
    assert world.count("POST /auth/login") == 1


async def test_a_late_refusal_of_the_old_token_does_not_refresh_the_new_one(
    monitor: VigilOps, world: World
) -> None:
    await monitor.me()
    world.valid.clear()
    await monitor.me()
    assert await monitor._session._renewed("access-token-1") == "access-token-2"
    assert world.count("POST /auth/refresh") == 1


async def test_a_session_taken_over_elsewhere_is_signed_in_again_once(
    monitor: VigilOps, world: World
) -> None:
    await monitor.me()
    world.valid.clear()
    world.elsewhere = True
    await asyncio.gather(*(monitor.hosts() for _ in range(20)))
    assert world.count("POST /auth/refresh") == 1
    assert world.count("POST /auth/login") == 2


async def test_the_sixth_login_in_five_minutes_is_not_sent(
    monitor: VigilOps, world: World, watch: Watch
) -> None:
    for _ in range(5):
        await monitor.me()
        world.valid.clear()
        world.elsewhere = True
        watch.at += 10
    with pytest.raises(Transient) as caught:
        await monitor.me()
    assert world.count("POST /auth/login") == 5
    assert caught.value.retry_after == 250
    watch.at += 250
    assert await monitor.me() == "admin"


async def test_a_lock_on_logins_is_waited_out_without_asking(
    monitor: VigilOps, world: World, watch: Watch
) -> None:
    locked = {"error": "Rate limit exceeded", "message": "slow down", "retry_after": "300"}
    world.fail("POST /auth/login", httpx.Response(429, json=locked))
    for _ in range(3):
        with pytest.raises(Transient) as caught:
            await monitor.me()
        assert caught.value.retry_after == 300
    assert world.count("POST /auth/login") == 1


async def test_a_wrong_password_is_refused_once_for_all_who_wait(
    monitor: VigilOps, world: World
) -> None:
    world.password = "another"
    answers = await asyncio.gather(*(monitor.hosts() for _ in range(9)), return_exceptions=True)
    assert all(isinstance(answer, Permanent) for answer in answers)
    assert world.count("POST /auth/login") == 1


async def test_one_who_gives_up_does_not_end_the_login_of_the_others(
    monitor: VigilOps, world: World
) -> None:
    world.gate = asyncio.Event()
    first = asyncio.create_task(monitor.hosts())
    second = asyncio.create_task(monitor.me())
    while world.count("POST /auth/login") == 0:
        await asyncio.wait([second], timeout=0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    world.gate.set()
    assert await second == "admin"
    assert world.count("POST /auth/login") == 1


async def test_one_session_is_shared_per_url_and_email(world: World) -> None:
    async with VigilOpsMonitors(transport=httpx.MockTransport(world)) as monitors:
        one = monitors.at("http://vo.example:8001", ACCOUNT)
        world.password = "changed-Passw0rd"
        same = monitors.at(
            "http://vo.example:8001/", Account(ACCOUNT.email, Secret(world.password))
        )
        other = monitors.at("http://vo.example:8002", ACCOUNT)
        assert one is same
        assert one is not other
        assert await one.me() == "admin"
    assert one._session._client.is_closed
    assert other._session._client.is_closed


# -- errors -----------------------------------------------------------------------------------


async def test_a_read_is_repeated_once_on_a_closed_connection(
    monitor: VigilOps, world: World
) -> None:
    world.fail("GET /hosts", "closed")
    assert len(await monitor.hosts()) == 1
    world.fail("GET /hosts", "closed", "closed")
    with pytest.raises(Transient) as caught:
        await monitor.hosts()
    assert caught.value.fault is Fault.MONITOR


async def test_a_failing_or_busy_monitor_is_transient(monitor: VigilOps, world: World) -> None:
    world.fail("GET /hosts", "crash")
    with pytest.raises(Transient):
        await monitor.hosts()
    world.fail("GET /hosts", "refused")
    with pytest.raises(Transient):
        await monitor.hosts()
    world.fail("GET /hosts", httpx.Response(429, json={}, headers={"Retry-After": "42"}))
    with pytest.raises(Transient) as caught:
        await monitor.hosts()
    assert caught.value.retry_after == 42


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_a_refusal_is_permanent_and_gives_the_servers_words(
    monitor: VigilOps, world: World, status: int
) -> None:
    world.fail("GET /alerts/999", http_error(status, "Alert not found"))
    with pytest.raises(Permanent, match=r"拒绝.*Alert not found") as caught:
        await monitor.ack(999)
    assert caught.value.fault is Fault.REFUSED


async def test_a_page_instead_of_json_is_refused(monitor: VigilOps, world: World) -> None:
    world.fail("GET /hosts", httpx.Response(200, html="<html></html>"))
    with pytest.raises(Permanent, match="预期的格式"):
        await monitor.hosts()


async def test_no_secret_is_in_any_error_or_repr(monitor: VigilOps, world: World) -> None:
    await monitor.me()
    secret = "Sesame-open-1"
    leak = f"{secret} {PASSWORD} access-token-1 refresh-token-1 vop_00ff00ff"
    seen = [repr(monitor)]

    async def note(doing: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(OutsideError) as caught:
            await doing()
        seen.append(told(caught.value))

    detail = [{"loc": ["body", "password"], "msg": f"bad {leak}", "input": {"password": secret}}]
    world.fail("POST /users", httpx.Response(422, json={"detail": detail}))
    await note(lambda: monitor.create_user("a@example.com", "a", "viewer", Secret(secret)))
    world.fail("POST /users", httpx.Response(500, json={"message": leak}), "slow")
    await note(lambda: monitor.create_user("a@example.com", "a", "viewer", Secret(secret)))
    world.fail("POST /ops/ai-configs", http_error(400, leak))
    await note(lambda: monitor.configure_ai("http://ai/v1", "m", Secret(secret)))
    world.fail("POST /notification-channels", http_error(400, leak))
    await note(lambda: monitor.ensure_only_channel("b", "feishu", {"secret": secret}))
    for how in ("refused", "closed", "slow"):
        world.valid.clear()
        world.elsewhere = True
        world.fail("POST /auth/login", how)
        await note(monitor.me)
    for word in (secret, PASSWORD, "access-token-1", "refresh-token-1", "vop_00ff00ff"):
        assert all(word not in text for text in seen)
    assert any("body.password" in text for text in seen)


# -- first user, users, settings --------------------------------------------------------------


async def test_the_first_user_is_registered_and_is_admin(monitor: VigilOps, world: World) -> None:
    world.registered = False
    assert await monitor.register_admin() is True
    assert await monitor.register_admin() is True
    assert world.count("POST /auth/login") == 0


async def test_the_old_generation_cannot_register(monitor: VigilOps, world: World) -> None:
    world.registered = False
    world.old_generation = True
    assert await monitor.register_admin() is False


async def test_a_registration_that_was_cut_off_is_found_by_signing_in(
    monitor: VigilOps, world: World
) -> None:
    world.registered = False
    world.fail("POST /auth/register", "applied, then closed")
    assert await monitor.register_admin() is True


async def test_a_bot_that_came_second_is_told_that_it_is_no_admin(
    monitor: VigilOps, world: World
) -> None:
    world.role = "operator"
    with pytest.raises(Permanent, match="operator"):
        await monitor.register_admin()


@pytest.mark.parametrize("how", ["", "crash", "closed", "applied, then crash"])
async def test_a_user_is_made_exactly_once_whatever_happens(
    monitor: VigilOps, world: World, how: str
) -> None:
    world.fail("POST /users", how)
    for _ in range(2):
        await monitor.create_user("li@example.com", "li", "operator", Secret("Passw0rd1"))
    assert (await monitor.users()).count(("li@example.com", "operator")) == 1


async def test_a_user_with_another_role_is_not_taken_for_the_wanted_one(
    monitor: VigilOps, world: World
) -> None:
    with pytest.raises(Permanent, match="operator"):
        await monitor.create_user("op1@example.com", "op", "viewer", Secret("Passw0rd1"))


async def test_the_ai_configuration_is_written_once(monitor: VigilOps, world: World) -> None:
    for _ in range(2):
        mask = await monitor.configure_ai("http://ai/v1", "deepseek", Secret("sk-abcdef-7890"))
        assert mask == "sk-****7890"
    await monitor.configure_ai("http://ai/v1", "deepseek", Secret("sk-abcdef-1111"))
    assert [method for method, _, _ in world.writes()] == ["POST", "PUT"]


async def test_retention_is_sent_whole_and_read_back(monitor: VigilOps, world: World) -> None:
    world.fail("PUT /data-retention/settings", "applied, then crash")
    got = await monitor.set_retention({"host_metrics": 90, "log_entries": 365})
    assert got == {**golden("retention_get"), "host_metrics": 90, "log_entries": 365}
    await monitor.set_retention({"host_metrics": 90})
    assert len(world.writes()) == 1


async def test_logs_cannot_be_kept_for_more_than_a_year(monitor: VigilOps, world: World) -> None:
    with pytest.raises(Permanent, match="365"):
        await monitor.set_retention({"log_entries": 366})
    assert world.calls == []


# -- agents and hosts -------------------------------------------------------------------------


async def test_a_new_token_is_read_back_with_its_secret(monitor: VigilOps, world: World) -> None:
    token = await monitor.create_agent_token("acme")
    assert token.secret.reveal().startswith("vop_")
    assert token.secret.reveal() not in repr(token)
    assert [t.secret for t in await monitor.agent_tokens()] == [Secret("")] * 2
    await monitor.revoke_agent_token(token.id)
    assert [t.active for t in await monitor.agent_tokens()] == [True, False]


async def test_a_token_whose_secret_was_lost_is_revoked_and_made_anew(
    monitor: VigilOps, world: World
) -> None:
    world.fail("POST /agent-tokens", "applied, then closed")
    token = await monitor.create_agent_token("acme")
    assert [t.id for t in await monitor.agent_tokens() if t.active] == [1, token.id]
    assert token.secret


async def test_a_token_that_may_still_be_on_its_way_is_in_doubt(
    monitor: VigilOps, world: World
) -> None:
    world.fail("POST /agent-tokens", "slow")
    with pytest.raises(InDoubt) as caught:
        await monitor.create_agent_token("acme")
    assert caught.value.fault is Fault.MONITOR
    assert world.count("POST /agent-tokens") == 1


async def test_hosts_of_all_pages_are_returned(monitor: VigilOps, world: World) -> None:
    row = world.hosts[0]
    world.hosts = [{**row, "id": n, "hostname": f"srv-{n}"} for n in range(1, 252)]
    world.hosts[-1]["latest_metrics"] = None
    world.hosts[-1]["status"] = "offline"
    hosts = await monitor.hosts()
    assert len(hosts) == 251
    assert hosts[0].cpu_percent == 57.1
    assert hosts[0].recorded_at is not None
    assert hosts[-1].cpu_percent is None
    assert not hosts[-1].online


async def test_what_a_host_reported_is_read_as_recorded(monitor: VigilOps, world: World) -> None:
    samples = await monitor.history(1)
    first, last = samples[0], samples[-1]
    assert (first.cpu_percent, first.memory_percent, first.disk_percent) == (90.3, 3.7, 25.1)
    assert first.at.isoformat() == "2026-11-23T00:06:37.950191+00:00"
    assert first.at < last.at
    assert world.calls[-1][:2] == ("GET", "/hosts/1/metrics")
    world.fail("GET /hosts/9/metrics", http_error(404, "Host 9 not found"))
    with pytest.raises(Permanent):
        await monitor.history(9)


async def test_health_and_summary_say_what_was_recorded(monitor: VigilOps, world: World) -> None:
    assert (await monitor.health()).ok
    assert world.count("POST /auth/login") == 0
    world.fail("GET /health", httpx.Response(200, json={"status": "degraded", "checks": {}}))
    assert not (await monitor.health()).ok
    assert (await monitor.summary()).health_score == 96


# -- rules ------------------------------------------------------------------------------------

DISK = Rule("磁盘 85%", "disk_percent", ">", 85, "warning", cooldown_seconds=60, channel_ids=(1,))


@pytest.mark.parametrize("how", ["", "crash", "closed", "applied, then crash"])
async def test_a_rule_is_made_exactly_once_with_no_duration(
    monitor: VigilOps, world: World, how: str
) -> None:
    world.fail("POST /alert-rules", how)
    made = await monitor.ensure_rule(DISK)
    assert await monitor.ensure_rule(DISK) == made
    assert made.duration_seconds == 0
    assert made.channel_ids == (1,)
    assert [rule.name for rule in await monitor.rules()].count(DISK.name) == 1


async def test_a_rule_that_fits_is_not_written(monitor: VigilOps, world: World) -> None:
    for rule in await monitor.rules():
        await monitor.ensure_rule(rule)
    assert world.writes() == []


async def test_only_changed_fields_of_a_rule_are_written(monitor: VigilOps, world: World) -> None:
    offline = next(rule for rule in await monitor.rules() if rule.metric == "host_offline")
    world.fail("PUT /alert-rules/4", "applied, then crash")
    wanted = Rule(**{**{f: getattr(offline, f) for f in Rule.__slots__}, "channel_ids": (7,)})
    assert (await monitor.ensure_rule(wanted)).channel_ids == (7,)
    assert world.writes() == [("PUT", "/alert-rules/4", {"notification_channel_ids": [7]})]


async def test_a_rule_that_names_no_channels_keeps_those_it_has(
    monitor: VigilOps, world: World
) -> None:
    await monitor.ensure_rule(DISK)
    loose = Rule("磁盘 85%", "disk_percent", ">", 85, "warning", cooldown_seconds=60)
    assert (await monitor.ensure_rule(loose)).channel_ids == (1,)
    assert len(world.writes()) == 1


async def test_a_write_that_left_no_trace_twice_is_in_doubt(
    monitor: VigilOps, world: World
) -> None:
    world.fail("POST /alert-rules", "crash", "crash")
    with pytest.raises(InDoubt, match="磁盘"):
        await monitor.ensure_rule(DISK)
    assert world.count("POST /alert-rules") == 2


async def test_a_write_that_may_still_be_under_way_is_not_repeated(
    monitor: VigilOps, world: World
) -> None:
    world.fail("POST /alert-rules", "slow")
    with pytest.raises(InDoubt, match="超时"):
        await monitor.ensure_rule(DISK)
    assert world.count("POST /alert-rules") == 1


async def test_a_write_that_never_left_is_transient(monitor: VigilOps, world: World) -> None:
    world.fail("POST /alert-rules", "refused")
    with pytest.raises(Transient):
        await monitor.ensure_rule(DISK)


# -- channels ---------------------------------------------------------------------------------

CONFIG = {"webhook_url": "http://bot:9/hook", "secret": "SEC-of-the-channel"}


@pytest.mark.parametrize("how", ["", "crash", "applied, then closed"])
async def test_exactly_one_channel_is_enabled(monitor: VigilOps, world: World, how: str) -> None:
    for n in (1, 2):
        world.channels.append({**golden("channel_create_feishu"), "id": n, "name": f"old-{n}"})
    world.fail("POST /notification-channels", how)
    mine = await monitor.ensure_only_channel("vigilbot", "feishu", CONFIG)
    assert await monitor.ensure_only_channel("vigilbot", "feishu", CONFIG) == mine
    assert [c.id for c in await monitor.channels() if c.enabled] == [mine]
    assert [row["name"] for row in world.channels] == ["old-1", "old-2", "vigilbot"]
    order = [(method, path) for method, path, _ in world.writes()]
    assert order[:2] == [("PUT", f"/notification-channels/{n}") for n in (1, 2)]


async def test_a_masked_config_is_never_written_back(monitor: VigilOps, world: World) -> None:
    await monitor.ensure_only_channel("vigilbot", "feishu", CONFIG)
    await monitor.disable_channel(1)
    await monitor.ensure_only_channel("vigilbot", "feishu", CONFIG)
    assert world.channels[0]["config"] == CONFIG
    assert all("***" not in json.dumps(body) for _, _, body in world.writes())


@pytest.mark.parametrize("how", ["", "crash", "applied, then crash"])
async def test_a_changed_secret_arrives_although_it_cannot_be_read_back(
    monitor: VigilOps, world: World, how: str
) -> None:
    await monitor.ensure_only_channel("vigilbot", "feishu", CONFIG)
    world.fail("PUT /notification-channels/1", how)
    changed = {**CONFIG, "secret": "SEC-another"}
    assert await monitor.ensure_only_channel("vigilbot", "feishu", changed) == 1
    assert world.channels[0]["config"] == changed


async def test_a_channel_without_secrets_that_fits_is_not_written_again(
    monitor: VigilOps, world: World
) -> None:
    config = {"url": "http://bot:9/hook", "headers": {"X-Bot-Token": "s3cret"}}
    for _ in range(2):
        assert await monitor.ensure_only_channel("vigilbot", "webhook", config) == 1
    assert len(world.writes()) == 1


async def test_a_channel_that_stays_enabled_against_orders_is_in_doubt(
    monitor: VigilOps, world: World
) -> None:
    world.channels.append({**golden("channel_create_feishu"), "id": 1})
    await monitor.me()

    def deaf(request: httpx.Request, rest: str, body: Any) -> Any:
        return world.channels

    world.on_channels = deaf  # type: ignore[method-assign]
    with pytest.raises(InDoubt):
        await monitor.disable_channel(1)


async def test_a_test_message_is_believed_or_in_doubt(monitor: VigilOps, world: World) -> None:
    assert await monitor.test_channel(2) is True
    failed = {**golden("channel_test_feishu"), "success": False}
    world.fail("POST /notification-channels/2/test", httpx.Response(200, json=failed))
    assert await monitor.test_channel(2) is False
    world.fail("POST /notification-channels/2/test", "closed")
    with pytest.raises(InDoubt):
        await monitor.test_channel(2)


# -- alerts -----------------------------------------------------------------------------------


async def test_an_alert_is_acknowledged_once(monitor: VigilOps, world: World) -> None:
    assert [alert.status for alert in await monitor.alerts("firing")] == ["firing"]
    world.fail("POST /alerts/2/ack", "applied, then crash")
    await monitor.ack(2)
    await monitor.ack(2)
    assert world.count("POST /alerts/2/ack") == 1


async def test_one_alert_is_read_and_one_that_is_not_there_is_none(
    monitor: VigilOps, world: World
) -> None:
    (listed,) = await monitor.alerts()
    assert await monitor.alert(2) == listed
    world.fail("GET /alerts/3", http_error(404, "Alert not found"))
    assert await monitor.alert(3) is None
    world.fail("GET /alerts/2", http_error(403, "Not allowed"))
    with pytest.raises(Permanent):
        await monitor.alert(2)


@pytest.mark.parametrize("gone", [1, 100, 101, 250])
async def test_what_moves_up_while_a_list_is_read_is_not_missed(
    monitor: VigilOps, world: World, gone: int
) -> None:
    """So many of the first go after the third page was read, and once more while it is read again."""
    row = world.hosts[0]
    world.hosts = [{**row, "id": n, "hostname": f"srv-{n}"} for n in range(1, 552)]
    whole = world.on_hosts
    pages: list[int] = []

    def shrinking(request: httpx.Request, rest: str, body: Any) -> Any:
        got = whole(request, rest, body)
        pages.append(got["page"])
        if len(pages) in {3, 4}:
            del world.hosts[:gone]
        return got

    world.on_hosts = shrinking  # type: ignore[method-assign]
    found = {host.id for host in await monitor.hosts()}
    assert found >= {row["id"] for row in world.hosts}
    assert len(pages) <= 12


async def test_the_ais_words_are_returned_and_its_failure_is_transient(
    monitor: VigilOps, world: World
) -> None:
    assert "CPU busy loop" in await monitor.root_cause(2)
    for answer in (
        httpx.Response(200, json={"root_cause": "分析失败: 401"}),
        http_error(503, "AI 服务不可用"),
    ):
        world.fail("POST /ai/root-cause", answer)
        with pytest.raises(Transient):
            await monitor.root_cause(2)

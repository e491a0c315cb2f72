from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.vigilops import Down, Generation, Limits, Traps, World, create_app, serve

RECORDED = Path(__file__).parents[1] / "golden" / "vigilops" / "recorded"
V1 = "/api/v1"
ADMIN = {"email": "admin@example.com", "name": "Admin", "password": "Passw0rd123"}
HOOK = "http://bot.invalid/hook"
FIGURES = {
    "cpu_percent": 57.1,
    "cpu_load_1": 2.57,
    "cpu_load_5": 2.42,
    "cpu_load_15": 1.32,
    "memory_used_mb": 977,
    "memory_percent": 4.1,
    "disk_used_mb": 26683,
    "disk_total_mb": 258019,
    "disk_percent": 25.7,
}


def names_in(path: Path) -> list[str]:
    return [p.name for p in path.iterdir()]


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def assert_same_shape(ours: Any, theirs: Any, at: str = "") -> None:
    """Same keys and kinds of values; where either has null there is nothing to compare."""
    if ours is None or theirs is None:
        return
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), at
        assert ours.keys() == theirs.keys(), at
        for key, value in theirs.items():
            assert_same_shape(ours[key], value, f"{at}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), at
        for n, item in enumerate(ours if theirs else ()):
            assert_same_shape(item, theirs[min(n, len(theirs) - 1)], f"{at}[]")
    else:
        number = isinstance(theirs, int | float) and not isinstance(theirs, bool)
        kind = (int, float) if number else type(theirs)
        assert isinstance(ours, kind), f"{at}: {ours!r} is not like {theirs!r}"


def assert_like(answer: httpx.Response, sample: str) -> Any:
    told = recorded(sample)
    assert answer.status_code == told["status"], answer.text
    body = answer.json()
    assert_same_shape(body, told["response"], sample)
    return body


class Stage:
    """A world with a clock and a receiver of our own, and a client that may sign in."""

    def __init__(self, **world: Any) -> None:
        self.at = datetime(2026, 11, 23, 0, 5, 0, 123456, tzinfo=UTC)
        self.posts: list[tuple[Any, httpx.Headers]] = []
        self.receiver_says = [200]
        self.pauses: list[float] = []
        self.world = World(
            now=lambda: self.at,
            transport=httpx.MockTransport(self.receive),
            pause=self.pause,
            **world,
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(self.world), raise_app_exceptions=False),
            base_url="http://monitor",
        )

    def receive(self, request: httpx.Request) -> httpx.Response:
        self.posts.append((json.loads(request.content), request.headers))
        says = self.receiver_says
        return httpx.Response(says.pop(0) if len(says) > 1 else says[0])

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return await self.http.request(method, V1 + path, json=body, **more)

    async def enter(self) -> None:
        answer = await self.call("POST", "/auth/register", ADMIN)
        assert answer.status_code == 201
        self.carry(answer)

    def carry(self, answer: httpx.Response) -> None:
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def agent(self, hostname: str = "srv-01") -> tuple[dict[str, str], int]:
        token = (await self.call("POST", "/agent-tokens", {"name": "t1"})).json()["token"]
        auth = {"Authorization": f"Bearer {token}"}
        told = {"hostname": hostname, "ip_address": "127.0.0.1", "private_ip": "127.0.0.1"}
        answer = await self.call("POST", "/agent/register", told, headers=auth)
        host_id = answer.json()["host_id"]
        await self.report(auth, host_id)
        return auth, host_id

    async def report(self, auth: dict[str, str], host_id: int, **figures: float) -> None:
        beat = await self.call("POST", "/agent/heartbeat", {"host_id": host_id}, headers=auth)
        assert beat.json()["heartbeat_interval"] == 60
        body = {"host_id": host_id, **FIGURES, **figures}
        answer = await self.call("POST", "/agent/metrics", body, headers=auth)
        assert answer.status_code == 201

    async def channel(self, url: str = HOOK, name: str = "bot-webhook") -> httpx.Response:
        config = {"url": url, "headers": {"X-Bot-Token": "s3cret"}}
        body = {"name": name, "type": "webhook", "config": config}
        return await self.call("POST", "/notification-channels", body)

    async def rule(self, **values: Any) -> httpx.Response:
        body = {"name": "GOLD disk", "severity": "critical", "metric": "disk_percent"}
        more = {"operator": ">", "threshold": 1, "duration_seconds": 0, "cooldown_seconds": 60}
        return await self.call("POST", "/alert-rules", {**body, **more, **values})

    async def alerts(self, status: str = "") -> list[dict[str, Any]]:
        answer = await self.call("GET", f"/alerts?status={status}")
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@asynccontextmanager
async def stage(**world: Any) -> AsyncIterator[Stage]:
    made = Stage(**world)
    async with made.http:
        yield made


async def test_people_come_in_as_recorded() -> None:
    async with stage() as s:
        assert_like(await s.call("GET", "/hosts"), "auth_noauth")
        await s.enter()
        assert_like(await s.call("GET", "/auth/me"), "auth_me")
        wrong = {**ADMIN, "password": "nonsense1"}
        assert_like(await s.call("POST", "/auth/login", wrong), "auth_login_bad")
        s.later(1)
        pair = assert_like(await s.call("POST", "/auth/login", ADMIN), "auth_login")
        assert_like(await s.call("GET", "/auth/me"), "session_elsewhere")
        old = {"refresh_token": pair["refresh_token"]}
        answer = await s.call("POST", "/auth/refresh", old)
        assert_like(answer, "auth_refresh")
        s.carry(answer)
        made = {"email": "op1@example.com", "name": "op1", "password": "x", "role": "operator"}
        assert_like(await s.call("POST", "/users", made), "user_create")
        assert (await s.call("POST", "/users", made)).status_code == 409
        assert (await s.call("POST", "/users", {**made, "role": "boss"})).status_code == 400
        assert_like(await s.call("GET", "/users"), "users_list")
        local = {**ADMIN, "email": "admin@vigilops.local"}
        refused = await s.call("POST", "/auth/register", local)
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "email"]
        s.later(7200)
        assert (await s.call("GET", "/auth/me")).status_code == 401


async def test_login_is_limited_by_the_second() -> None:
    async with stage() as s:
        await s.enter()
        for _ in range(5):
            s.later(1)
            assert (await s.call("POST", "/auth/login", ADMIN)).status_code == 200
        s.later(1)
        answer = await s.call("POST", "/auth/login", ADMIN)
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "300"
        assert answer.json()["retry_after"] == "300"
        s.later(301)
        assert (await s.call("POST", "/auth/login", ADMIN)).status_code == 200


async def test_roles_are_kept_apart() -> None:
    async with stage(limits=Limits(0, 0, 0)) as s:
        await s.enter()
        s.world.insert_user("view@example.com", "v", "secret", "viewer")
        viewer = {"email": "view@example.com", "password": "secret"}
        s.carry(await s.call("POST", "/auth/login", viewer))
        assert (await s.call("GET", "/agent-tokens")).status_code == 403
        assert (await s.rule()).status_code == 403
        assert (await s.call("GET", "/alerts")).status_code == 200


async def test_errors_have_the_recorded_shapes() -> None:
    async with stage() as s:
        await s.enter()
        assert_like(await s.call("GET", "/hosts/999"), "host_404")
        assert (await s.call("GET", "/nowhere")).json() == {"detail": "Not Found"}
        answer = await s.call("PATCH", "/auth/login")
        assert answer.status_code == 405
        assert answer.json() == {"detail": "Method Not Allowed"}
        bad = await s.call("POST", "/alert-rules", {"metric": "cpu_percent"})
        assert bad.json() == recorded("rule_create_422")["response"]
        part = recorded("retention_put_422")
        answer = await s.call("PUT", "/data-retention/settings", part["request"]["json"])
        assert answer.json() == part["response"]
        assert_like(await s.call("PUT", "/settings", {"ai_api_key": "x"}), "settings_put_bad")
        good = {"metrics_retention_days": "60"}
        assert_like(await s.call("PUT", "/settings", good), "settings_put")


async def test_hosts_and_agents_are_as_recorded() -> None:
    async with stage() as s:
        await s.enter()
        assert_like(await s.call("GET", "/health"), "health")
        made = await s.call("POST", "/agent-tokens", {"name": "t1"})
        told = assert_like(made, "agent_token_create")
        assert told["token"].startswith(told["token_prefix"])
        assert len(told["token"]) == 4 + 48
        auth, host_id = await s.agent()
        assert_like(await s.call("GET", "/agent-tokens"), "agent_token_list")
        assert_like(await s.call("GET", "/hosts"), "hosts_list")
        one = assert_like(await s.call("GET", f"/hosts/{host_id}"), "host_get")
        assert one["latest_metrics"]["disk_percent"] == 25.7
        past = assert_like(await s.call("GET", f"/hosts/{host_id}/metrics?hours=1"), "host_metrics")
        assert [(row["host_id"], row["disk_percent"]) for row in past] == [(host_id, 25.7)]
        assert (await s.call("GET", f"/hosts/{host_id}/metrics?hours=0")).status_code == 422
        assert_like(await s.call("GET", "/dashboard/summary"), "dashboard_summary")
        body = {"hostname": "srv-01"}
        again = await s.call("POST", "/agent/register", body, headers=auth)
        assert again.json() == {
            "host_id": host_id,
            "hostname": "srv-01",
            "status": "online",
            "created": False,
        }
        await s.agent()
        assert (await s.call("GET", "/hosts")).json()["total"] == 2
        other = {"host_id": host_id + 1}
        assert (await s.call("POST", "/agent/metrics", other, headers=auth)).status_code == 403
        await s.call("DELETE", "/agent-tokens/2")
        assert (await s.call("POST", "/agent/heartbeat", other, headers=auth)).status_code == 401
        s.later(601)
        assert len((await s.call("GET", f"/hosts/{host_id}/metrics")).json()) == 1
        assert (await s.call("GET", "/hosts?page_size=1")).json()["items"][0][
            "latest_metrics"
        ] is None


async def test_promql_speaks_the_generation() -> None:
    async with stage() as s:
        await s.enter()
        await s.agent()
        path = "/promql/query?query="
        assert_like(await s.call("GET", path + "avg(nightmend_host_cpu_percent)"), "promql_ok")
        assert_like(await s.call("GET", path + "nightmend_host_disk_percent"), "promql_ok2")
        refused = await s.call("GET", path + "vigilops_host_cpu_percent")
        assert refused.json() == recorded("promql")["response"]
        s.world.traps.generation = Generation.OLD
        answer = await s.call("GET", path + "max(vigilops_host_cpu_percent) by (hostname)")
        (row,) = answer.json()["data"]["result"]
        assert row["metric"]["hostname"] == "srv-01"
        assert row["value"][1] == "57.1"


async def test_rules_and_channels_are_as_recorded() -> None:
    async with stage() as s:
        await s.enter()
        theirs = recorded("rules_list")["response"]
        rules = assert_like(await s.call("GET", "/alert-rules"), "rules_list")
        stamps = ("created_at", "updated_at")
        ours = [{k: v for k, v in r.items() if k not in stamps} for r in rules]
        assert ours == [{k: v for k, v in r.items() if k not in stamps} for r in theirs[:5]]
        disk = recorded("rule_create_disk")["request"]["json"]
        assert_like(await s.call("POST", "/alert-rules", disk), "rule_create_disk")
        odd = recorded("rule_create_badmetric")["request"]["json"]
        assert_like(await s.call("POST", "/alert-rules", odd), "rule_create_badmetric")
        assert_like(await s.rule(silence_start="22:00"), "rule_create_silence")
        assert (await s.call("DELETE", "/alert-rules/1")).status_code == 400
        assert (await s.call("DELETE", "/alert-rules/6")).status_code == 204
        assert_like(await s.channel(), "channel_create_webhook")
        change = {"config": {"url": HOOK, "secret": "SECRET"}}
        answer = await s.call("PUT", "/notification-channels/1", change)
        assert answer.json()["config"]["secret"] == "SECRET"
        shown = (await s.call("GET", "/notification-channels")).json()
        assert shown[0]["config"] == {"url": HOOK, "secret": "SEC***"}
        assert (await s.call("DELETE", "/notification-channels/1")).status_code == 204
        assert (await s.call("GET", "/notification-channels")).json() == []


async def test_settings_and_ai_are_as_recorded() -> None:
    async with stage() as s:
        await s.enter()
        assert_like(await s.call("GET", "/data-retention/settings"), "retention_get")
        wish = recorded("retention_put")["request"]["json"]
        assert_like(await s.call("PUT", "/data-retention/settings", wish), "retention_put")
        assert (await s.call("GET", "/data-retention/settings")).json() == wish
        await s.agent()
        await s.rule()
        await s.world.evaluate()
        assert (await s.call("POST", "/ai/root-cause?alert_id=1")).status_code == 503
        body = recorded("ai_config_create")["request"]["json"]
        made = assert_like(await s.call("POST", "/ops/ai-configs", body), "ai_config_create")
        assert made["api_key_mask"] == "sk-****7890"
        assert (await s.call("POST", "/ops/ai-configs", body)).status_code == 400
        assert_like(await s.call("GET", "/ops/ai-configs/admin"), "ai_configs_after")
        assert_like(await s.call("POST", "/ai/root-cause?alert_id=1"), "ai_root_cause")


async def test_an_alert_lives_as_recorded() -> None:
    async with stage() as s:
        await s.enter()
        auth, host_id = await s.agent()
        await s.channel()
        await s.rule(notification_channel_ids=[1])
        await s.world.evaluate()
        first, headers = s.posts.pop()
        assert_same_shape(first, recorded("captured_hook_webhook_first")["body"])
        assert headers["X-Bot-Token"] == "s3cret"
        assert first["message"] == "disk_percent = 25.7 > 1.0"
        assert_like(await s.call("GET", "/alerts/1"), "alert_get")
        assert_like(await s.call("GET", "/alerts"), "alerts_list_first")
        assert_like(await s.call("POST", "/alerts/1/ack"), "alert_ack")
        s.later(30)
        assert await s.world.evaluate() == []
        s.later(30)
        await s.world.evaluate()
        again, _ = s.posts.pop()
        assert_same_shape(again, recorded("captured_hook_webhook_continuous")["body"])
        assert again["message"] == "disk_percent = 25.7 > 1.0 (已持续 60秒)"
        assert again["duration_human"] == "1分钟"
        s.later(125)
        await s.report(auth, host_id, disk_percent=0.5)
        (sent,) = await s.world.evaluate()
        assert sent.sent
        over, _ = s.posts.pop()
        assert_same_shape(over, recorded("captured_hook_webhook_recovery")["body"])
        assert (over["notification_type"], over["status"]) == ("recovery", "resolved")
        assert over["duration_human"] == "3分钟5秒"
        assert (await s.call("POST", "/alerts/1/ack")).status_code == 400
        logs = (await s.call("GET", "/notification-channels/logs?status=sent")).json()
        assert [log["response_code"] for log in logs] == [200, 200, 200]


async def test_a_changed_rule_resolves_unheard() -> None:
    async with stage() as s:
        await s.enter()
        await s.agent()
        await s.channel()
        await s.rule()
        await s.world.evaluate()
        await s.call("PUT", "/alert-rules/6", {"name": "new name"})
        assert len(await s.alerts("firing")) == 1
        await s.call("PUT", "/alert-rules/6", {"cooldown_seconds": 61})
        assert len(await s.alerts("resolved")) == 1
        assert (await s.call("PUT", "/alert-rules/6", {"threshold": None})).status_code == 500
        assert len(s.posts) == 1


async def test_a_silent_host_goes_offline_and_comes_back() -> None:
    async with stage() as s:
        await s.enter()
        auth, host_id = await s.agent()
        await s.channel()
        s.later(299)
        assert await s.world.evaluate() == []
        s.later(1)
        (sent,) = await s.world.evaluate()
        assert (sent.body["title"], sent.body["severity"]) == ("主机离线 - srv-01", "critical")
        summary = (await s.call("GET", "/dashboard/summary")).json()
        assert summary["hosts"] == {"total": 1, "online": 0, "offline": 1}
        await s.report(auth, host_id)
        (sent,) = await s.world.evaluate()
        assert sent.kind == "recovery"


async def test_a_rule_with_a_duration_is_stuck_as_the_real_one() -> None:
    async with stage() as s:
        await s.enter()
        auth, host_id = await s.agent()
        await s.report(auth, host_id, cpu_percent=1.0)
        await s.rule(metric="cpu_percent", threshold=90, duration_seconds=120)
        await s.rule(metric="cpu_percent", threshold=90, duration_seconds=0)
        s.later(30)
        await s.report(auth, host_id, cpu_percent=99.0)
        await s.world.evaluate()
        assert [a["rule_id"] for a in await s.alerts()] == [7]
        s.later(121)
        await s.report(auth, host_id, cpu_percent=99.0)
        await s.world.evaluate()
        assert sorted(a["rule_id"] for a in await s.alerts("firing")) == [6, 7]
        s.later(15)
        await s.report(auth, host_id, cpu_percent=1.0)
        await s.world.evaluate()
        s.later(300)
        await s.report(auth, host_id, cpu_percent=1.0)
        await s.world.evaluate()
        assert [a["rule_id"] for a in await s.alerts("firing")] == [6]


async def test_two_channels_roll_the_alert_back() -> None:
    async with stage() as s:
        await s.enter()
        auth, host_id = await s.agent()
        await s.channel()
        await s.channel(name="second")
        await s.rule()
        await s.world.evaluate()
        assert [body["alert_id"] for body, _ in s.posts] == [1, 1]
        assert (await s.call("GET", "/alerts/1")).status_code == 404
        s.later(60)
        (sent, _) = await s.world.evaluate()
        assert (sent.kind, sent.body["alert_id"]) == ("continuous", 2)
        s.world.traps.two_channels_abort = False
        s.later(60)
        await s.world.evaluate()
        assert len(await s.alerts("firing")) == 1
        s.world.traps.two_channels_abort = True
        await s.report(auth, host_id, disk_percent=0.5)
        (sent, _) = await s.world.evaluate()
        assert sent.kind == "recovery"
        assert len(await s.alerts("firing")) == 1
        s.world.traps.two_channels_abort = False
        await s.report(auth, host_id)
        assert await s.world.evaluate() == [], "it fires on, and nobody hears of it"
        s.later(60)
        assert {sent.kind for sent in await s.world.evaluate()} == {"continuous"}


async def test_a_receiver_that_fails_is_tried_three_times() -> None:
    async with stage() as s:
        await s.enter()
        await s.agent()
        await s.channel()
        await s.rule()
        s.receiver_says = [500]
        (sent,) = await s.world.evaluate()
        assert not sent.sent
        assert s.pauses == [1.0, 2.0]
        (log,) = (await s.call("GET", "/notification-channels/logs")).json()
        assert (log["status"], log["response_code"], log["retries"]) == ("failed", 500, 2)


async def test_a_channel_test_and_its_traps() -> None:
    async with stage() as s:
        await s.enter()
        await s.channel("http://127.0.0.1:1/hook")
        refused = await s.call("POST", "/notification-channels/1/test")
        assert refused.json()["success"] is False
        assert "不安全的 Webhook URL" in refused.json()["message"]
        s.world.traps.ssrf_guard = False
        answer = await s.call("POST", "/notification-channels/1/test")
        assert assert_like(answer, "channel_test_webhook")["success"] is True
        body, _ = s.posts.pop()
        assert_same_shape(body, recorded("captured_hook_webhook_test")["body"])
        s.world.traps.deaf_test = True
        answer = await s.call("POST", "/notification-channels/1/test")
        assert answer.json()["success"] is True
        assert s.posts == []
        await s.call("PUT", "/notification-channels/1", {"is_enabled": False})
        assert (await s.call("POST", "/notification-channels/1/test")).status_code == 400


async def test_the_old_generation_cannot_register() -> None:
    async with stage(traps=Traps(generation=Generation.OLD)) as s:
        answer = await s.call("POST", "/auth/register", ADMIN)
        assert answer.status_code == 500
        assert answer.json()["error"] == "internal_server_error"
        s.world.insert_user(ADMIN["email"], "Admin", ADMIN["password"], "admin")
        assert (await s.call("POST", "/auth/login", ADMIN)).status_code == 200


async def test_a_500_may_have_been_applied() -> None:
    async with stage() as s:
        await s.enter()
        s.world.traps.applied_500["POST /api/v1/agent-tokens"] = 1
        assert (await s.call("POST", "/agent-tokens", {"name": "t"})).status_code == 500
        assert [t["name"] for t in (await s.call("GET", "/agent-tokens")).json()] == ["t"]
        assert (await s.call("POST", "/agent-tokens", {"name": "u"})).status_code == 201


async def test_a_kicked_session_says_so_once() -> None:
    async with stage() as s:
        await s.enter()
        s.world.traps.kick = 1
        assert_like(await s.call("GET", "/hosts"), "session_elsewhere")
        assert_like(await s.call("GET", "/hosts"), "session_elsewhere")
        s.carry(await s.call("POST", "/auth/login", ADMIN))
        assert (await s.call("GET", "/hosts")).status_code == 200


async def test_metrics_may_be_late_or_missing() -> None:
    async with stage() as s:
        await s.enter()
        _, host_id = await s.agent()
        s.world.traps.late_metrics = 300
        one = (await s.call("GET", f"/hosts/{host_id}")).json()
        seen = datetime.fromisoformat(one["latest_metrics"]["recorded_at"])
        assert s.at - seen == timedelta(seconds=300)
        s.world.traps.null_metrics = True
        one = (await s.call("GET", f"/hosts/{host_id}")).json()
        assert one["latest_metrics"] is None


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    async with stage(path=path) as s:
        await s.enter()
        auth, host_id = await s.agent()
        await s.channel()
        await s.rule()
        await s.world.evaluate()
        token = s.http.headers["Authorization"]
        before = (await s.call("GET", "/hosts")).json()
    assert names_in(tmp_path) == ["world.json"]
    assert mode_of(path) == 0o600
    async with stage(path=path) as s:
        s.http.headers["Authorization"] = token
        assert (await s.call("GET", "/hosts")).json() == before
        assert len(await s.alerts("firing")) == 1
        assert await s.world.evaluate() == []
        await s.report(auth, host_id)
        assert (await s.rule(name="next")).json()["id"] == 7


async def test_a_served_world_can_be_cut_and_go_down() -> None:
    made = Stage()
    made.world.insert_user(ADMIN["email"], "Admin", ADMIN["password"], "admin")
    traps = made.world.traps
    async with serve(made.world) as url, httpx.AsyncClient(base_url=url + V1) as http:
        answer = await http.post("/auth/login", json=ADMIN)
        http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        traps.cut["POST /api/v1/agent-tokens"] = 1
        traps.cut_applied["POST /api/v1/alert-rules"] = 1
        with pytest.raises(httpx.TransportError):
            await http.post("/agent-tokens", json={"name": "t"})
        assert (await http.get("/agent-tokens")).json() == []
        with pytest.raises(httpx.TransportError):
            await http.post("/alert-rules", json={"name": "mine"})
        assert (await http.get("/alert-rules")).json()[-1]["name"] == "mine"
        traps.down_until = made.at + timedelta(seconds=10)
        assert (await http.get("/health")).status_code == 503
        traps.down_as = Down.RESET
        with pytest.raises(httpx.TransportError):
            await http.get("/health")
        made.later(10)
        assert (await http.get("/health")).json()["status"] == "ok"
        broken = await http.put("/settings", json={"nonsense": "1"})
        assert broken.status_code == 500
    port = int(url.rpartition(":")[2])
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url + "/health")
    async with serve(made.world, port=port) as again, httpx.AsyncClient() as http:
        assert again == url
        assert (await http.get(url + "/health")).status_code == 200
    await made.http.aclose()

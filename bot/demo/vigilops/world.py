"""The alert engine of the stand-in, with the quirks of the real one, and its deliveries."""

from __future__ import annotations

import asyncio
import ipaddress
import operator
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from adapters.tls import trusted
from bot.demo.vigilops.state import Row, State, utc_now
from bot.demo.vigilops.traps import Limits, Traps

OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
GAUGES: Final = frozenset(
    {"cpu_percent", "memory_percent", "disk_percent", "cpu_load_1", "cpu_load_5", "cpu_load_15"}
)
OFFLINE: Final = "host_offline"
OPEN: Final = frozenset({"firing", "acknowledged"})
STATUS_TEXT: Final = {"first": "告警触发", "continuous": "持续告警", "recovery": "已恢复"}
PAUSES: Final = (1.0, 2.0)
MULTIPLE: Final = 2
OK: Final = range(200, 300)
UNSAFE: Final = "不安全的 Webhook URL"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice that the engine tried to post."""

    channel_id: int
    kind: str
    sent: bool
    body: Mapping[str, object]


class _CycleAborted(Exception):
    """Two notices shared one database session."""


def human(seconds: int) -> str:
    """Write a duration as the monitor does."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "小时"), (minutes, "分钟"), (rest, "秒"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0秒"


class World(State):
    """Everything one VigilOps is: what it remembers, and what it does every minute."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = utc_now,
        path: Path | None = None,
        traps: Traps | None = None,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(now=now, path=path, traps=traps, limits=limits)
        self.transport = transport
        self.pause = pause
        self.diagnose: Callable[[Row], Row] = diagnosis
        """What the AI says of an alert."""
        self._cycle = asyncio.Lock()
        if path is not None and path.exists():
            self.restore(path)

    # -- the engine ---------------------------------------------------------------------------

    async def evaluate(self, now: datetime | None = None) -> list[Delivery]:
        """Run one engine cycle; return what it tried to post."""
        done: list[Delivery] = []
        async with self._cycle:
            moment = (now or self.now()).astimezone(UTC)
            self._mark_offline(moment)
            try:
                for host in self.rows("hosts"):
                    for rule in self.rows("rules"):
                        await self._judge(rule, host, moment, done)
            except _CycleAborted:
                pass
            self.save()
        return done

    def _mark_offline(self, now: datetime) -> None:
        cooldowns = [r["cooldown_seconds"] for r in self.rows("rules") if r["metric"] == OFFLINE]
        silent = timedelta(seconds=max([120, *cooldowns[:1]]))
        for host in self.rows("hosts"):
            if now - datetime.fromisoformat(host["last_heartbeat"]) >= silent:
                host["status"] = "offline"

    def _value(self, rule: Row, host: Row, now: datetime) -> float | None:
        if rule["metric"] == OFFLINE:
            return 1.0 if host["status"] == "offline" else 0.0
        latest = self.latest(host["id"], now)
        value = latest.get(rule["metric"]) if latest and rule["metric"] in GAUGES else None
        return None if value is None else float(value)

    def _lasted(self, rule: Row, host: Row, now: datetime, *, violated: bool) -> bool:
        """Say whether every point of the rule's duration is the same: one is enough."""
        if not rule["duration_seconds"]:
            return True
        if rule["metric"] == OFFLINE:
            return False
        since = now - timedelta(seconds=rule["duration_seconds"])
        test = OPERATORS[rule["operator"]]
        points = [p for p in self.points.get(host["id"], []) if self.received(p) >= since]
        values = [p[rule["metric"]] for p in points if p[rule["metric"]] is not None]
        return bool(values) and all(test(v, rule["threshold"]) is violated for v in values)

    def open_alert(self, rule_id: int, host_id: int) -> Row | None:
        for alert in self.rows("alerts"):
            same = alert["rule_id"] == rule_id and alert["host_id"] == host_id
            if same and alert["status"] in OPEN:
                return alert
        return None

    async def _judge(self, rule: Row, host: Row, now: datetime, done: list[Delivery]) -> None:
        if not rule["is_enabled"] or rule["rule_type"] != "metric" or rule["target_type"] != "host":
            return
        value = self._value(rule, host, now)
        if value is None or rule["operator"] not in OPERATORS:
            return
        if OPERATORS[rule["operator"]](value, rule["threshold"]):
            await self._violated(rule, host, value, now, done)
        else:
            await self._clean(rule, host, now, done)

    async def _violated(
        self, rule: Row, host: Row, value: float, now: datetime, done: list[Delivery]
    ) -> None:
        key = f"{rule['id']}:{host['id']}:{rule['metric']}"
        kind = "first"
        if key in self.dedup:
            waited = (now - datetime.fromisoformat(self.dedup[key])).total_seconds()
            if not rule["continuous_alert"] or waited < rule["cooldown_seconds"]:
                return
            kind = "continuous"
        self.dedup[key] = now.isoformat()
        if not self._lasted(rule, host, now, violated=True):
            return  # the slot of `first` is spent all the same
        alert = self.open_alert(rule["id"], host["id"])
        if alert is not None and kind == "first":
            return  # after a recovery that was rolled back nobody hears of it before the cooldown
        before = None if alert is None else dict(alert)
        text = f"{rule['metric']} = {value} {rule['operator']} {float(rule['threshold'])}"
        if alert is None:
            alert = self._fire(rule, host, now)
        lasted = int((now - datetime.fromisoformat(alert["fired_at"])).total_seconds())
        alert["message"] = f"{text} (已持续 {lasted}秒)" if lasted else text
        alert["metric_value"] = value
        try:
            await self._notify(rule, host, alert, kind, lasted, done)
        except _CycleAborted:
            del self.tables["alerts"][alert["id"]]
            if before is not None:
                self.tables["alerts"][alert["id"]] = before
            raise

    def _fire(self, rule: Row, host: Row, now: datetime) -> Row:
        stamp = now.isoformat()
        row: Row = {
            "rule_id": rule["id"],
            "host_id": host["id"],
            "service_id": None,
            "severity": rule["severity"],
            "status": "firing",
            "title": f"{rule['name']} - {host['hostname']}",
            "title_en": f"{rule['name_en'] or rule['name']} - {host['hostname']}",
            "message": "",
            "metric_value": 0.0,
            "threshold": float(rule["threshold"]),
            "fired_at": stamp,
            "resolved_at": None,
            "acknowledged_at": None,
            "acknowledged_by": None,
            "created_at": stamp,
            "remediation_status": None,
        }
        return self.add("alerts", row)

    async def _clean(self, rule: Row, host: Row, now: datetime, done: list[Delivery]) -> None:
        if self.dedup.pop(f"{rule['id']}:{host['id']}:{rule['metric']}", None) is None:
            return
        alert = self.open_alert(rule["id"], host["id"])
        if alert is None or not self._lasted(rule, host, now, violated=False):
            return  # it stays firing for ever, as the real one does
        before = dict(alert)
        alert.update(status="resolved", resolved_at=now.isoformat())
        lasted = int((now - datetime.fromisoformat(alert["fired_at"])).total_seconds())
        try:
            await self._notify(rule, host, alert, "recovery", lasted, done)
        except _CycleAborted:
            self.tables["alerts"][alert["id"]] = before
            raise

    def resolve_silently(self, rule_id: int) -> None:
        """Do what a changed rule does: forget its dedup state and end its alerts unheard."""
        for key in [k for k in self.dedup if k.startswith(f"{rule_id}:")]:
            del self.dedup[key]
        for alert in self.rows("alerts"):
            if alert["rule_id"] == rule_id and alert["status"] in OPEN:
                alert.update(status="resolved", resolved_at=self.stamp())

    # -- deliveries ---------------------------------------------------------------------------

    async def _notify(
        self, rule: Row, host: Row, alert: Row, kind: str, lasted: int, done: list[Delivery]
    ) -> None:
        wanted = rule["notification_channel_ids"]
        channels = [
            c
            for c in self.rows("channels")
            if c["is_enabled"] and (wanted is None or c["id"] in wanted)
        ]
        copied = ("title", "message", "severity", "status", "metric_value", "threshold")
        body: Row = {
            "alert_id": alert["id"],
            **{name: alert[name] for name in copied},
            "host_id": host["id"],
            "host_name": host["display_name"],
            "host_ip": host["ip_address"] or "-",
            "private_ip": host["private_ip"] or "-",
            "public_ip": host["public_ip"] or "-",
            "service_id": None,
            "fired_at": alert["fired_at"],
            "resolved_at": alert["resolved_at"],
            "notification_type": kind,
            "status_text": STATUS_TEXT[kind],
            "duration_seconds": lasted,
            "duration_human": human(lasted),
        }
        aborts = self.traps.two_channels_abort and len(channels) >= MULTIPLE
        for channel in channels:
            code, error, retries = await self.post(channel, body)
            done.append(Delivery(channel["id"], kind, not error, body))
            if not aborts:
                log: Row = {"alert_id": alert["id"], "channel_id": channel["id"]}
                log |= {"status": "failed" if error else "sent", "response_code": code}
                log |= {"error": error, "retries": retries, "sent_at": self.stamp()}
                self.add("logs", log)
        if aborts:
            raise _CycleAborted

    async def post(self, channel: Row, body: Row) -> tuple[int | None, str | None, int]:
        """Post to a channel; return the HTTP code, what went wrong, and the retries."""
        if channel["type"] != "webhook":
            return None, f"Unsupported channel type: {channel['type']}", 0
        url = str(channel["config"].get("url", ""))
        if self.traps.ssrf_guard and await unsafe(url):
            return None, UNSAFE, 0
        code: int | None = None
        error: str | None = None
        async with httpx.AsyncClient(
            verify=trusted(), transport=self.transport, timeout=10.0, trust_env=False
        ) as client:
            for attempt in range(len(PAUSES) + 1):
                if attempt:
                    await self.pause(PAUSES[attempt - 1])
                try:
                    answer = await client.post(
                        url, json=body, headers=channel["config"].get("headers") or {}
                    )
                except (httpx.HTTPError, httpx.InvalidURL) as problem:
                    code, error = None, str(problem) or type(problem).__name__
                    continue
                code = answer.status_code
                if code in OK:
                    return code, None, attempt
                error = f"HTTP {code}"
        return code, error, len(PAUSES)


async def unsafe(url: str) -> bool:
    """Say whether a URL leads to loopback, private or reserved addresses."""
    name = urlsplit(url).hostname
    if not name:
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # an unresolvable name passes the real guard too
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return any(a.is_private or a.is_loopback or a.is_reserved or a.is_link_local for a in addresses)


def diagnosis(alert: Row) -> Row:
    """Give a made-up analysis in the shape the model is asked for."""
    metric = str(alert["message"]).partition(" ")[0]
    return {
        "severity": alert["severity"],
        "title": alert["title"],
        "summary": f"{alert['title']}: {alert['message']}",
        "diagnosis": f"指标 {metric} 超过阈值 {alert['threshold']}",
        "root_cause": f"{metric} 在告警时刻为 {alert['metric_value']}, 超过阈值, 疑似负载突增",
        "confidence": 0.9,
        "risk_level": "auto",
        "runbook": "service_restart",
        "anomalies": [],
        "predictions": [],
        "evidence": [str(alert["message"])],
        "recommendations": ["检查占用资源最多的进程", "确认近期是否有变更"],
    }

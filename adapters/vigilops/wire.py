"""What VigilOps says and is told, and what it means in our words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

from adapters.port import AgentToken, MonitorAlert, MonitoredHost, Rule

T = TypeVar("T")

MASKED = frozenset({"smtp_password", "secret", "token", "password", "api_key"})
"""The top-level keys of a channel's config that a read shows masked."""


class Nothing(msgspec.Struct):
    """An answer of which only the status counts."""


class Tokens(msgspec.Struct):
    access_token: str
    refresh_token: str


class Me(msgspec.Struct):
    role: str


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    total: int


class HealthTold(msgspec.Struct):
    status: str
    checks: dict[str, str] = {}


class UserTold(msgspec.Struct):
    id: int
    email: str
    role: str
    is_active: bool = True


class AiConfig(msgspec.Struct):
    id: str
    feature_key: str
    base_url: str
    model: str
    has_api_key: bool = False
    api_key_mask: str | None = None
    enabled: bool = True


class TokenTold(msgspec.Struct):
    id: int
    name: str
    token_prefix: str
    is_active: bool


class NewToken(msgspec.Struct):
    id: int
    token: str


class MetricsTold(msgspec.Struct):
    recorded_at: datetime | None = None
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None


class HostTold(msgspec.Struct):
    id: int
    hostname: str
    status: str
    agent_version: str | None = None
    latest_metrics: MetricsTold | None = None


class PointTold(msgspec.Struct):
    recorded_at: datetime
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None


class HostCounts(msgspec.Struct):
    total: int
    online: int


class AlertCounts(msgspec.Struct):
    firing: int


class SummaryTold(msgspec.Struct):
    hosts: HostCounts
    alerts: AlertCounts
    health_score: float


class RuleTold(msgspec.Struct):
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


class ChannelTold(msgspec.Struct):
    id: int
    name: str
    type: str
    is_enabled: bool
    config: dict[str, object] = {}


class TestTold(msgspec.Struct):
    success: bool


class AlertTold(msgspec.Struct):
    id: int
    severity: str
    status: str
    title: str
    fired_at: datetime
    rule_id: int | None = None
    host_id: int | None = None
    message: str | None = None


def utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def token_of(wire: TokenTold) -> AgentToken:
    return AgentToken(wire.id, wire.name, wire.token_prefix, wire.is_active)


def host_of(wire: HostTold) -> MonitoredHost:
    figures = wire.latest_metrics or MetricsTold()
    return MonitoredHost(
        id=wire.id,
        hostname=wire.hostname,
        online=wire.status == "online",
        recorded_at=utc(figures.recorded_at) if figures.recorded_at else None,
        cpu_percent=figures.cpu_percent,
        memory_percent=figures.memory_percent,
        disk_percent=figures.disk_percent,
        agent_version=wire.agent_version or "",
    )


def rule_of(wire: RuleTold) -> Rule:
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


def alert_of(wire: AlertTold) -> MonitorAlert:
    return MonitorAlert(
        id=wire.id,
        rule_id=wire.rule_id or 0,
        host_id=wire.host_id,
        severity=wire.severity,
        status=wire.status,
        title=wire.title,
        message=wire.message or "",
        fired_at=utc(wire.fired_at),
    )


def rule_body(rule: Rule) -> dict[str, object]:
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


def rule_changes(wanted: Rule, found: Rule) -> dict[str, object]:
    """Return only what differs: writing an equal threshold would resolve open alerts."""
    have = rule_body(found)
    return {
        field: value
        for field, value in rule_body(wanted).items()
        if field not in have or have[field] != value
    }


def leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)


def readable(config: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in config.items() if key not in MASKED}

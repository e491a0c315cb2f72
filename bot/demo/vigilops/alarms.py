"""Routes about alarms: rules, channels, alerts; and the settings and AI beside them."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from bot.demo.vigilops.state import Row, z
from bot.demo.vigilops.wire import (
    Admin,
    AiConfig,
    AiConfigChange,
    Anyone,
    Broken,
    ChannelChange,
    NewChannel,
    NewRule,
    Operator,
    Retention,
    RuleChange,
    W,
    found,
    paged,
)

router = APIRouter()
SENSITIVE = frozenset(
    {"threshold", "operator", "metric", "duration_seconds", "cooldown_seconds"}
    | {"continuous_alert", "severity", "is_enabled"}
)
NULLABLE = frozenset(
    {"description", "target_filter", "log_keyword", "log_level", "log_service"}
    | {"db_metric_name", "db_id", "silence_start", "silence_end", "notification_channel_ids"}
)
MASKED = frozenset({"smtp_password", "secret", "token", "password", "api_key"})
SETTINGS = frozenset(
    [
        "metrics_retention_days",
        "alert_check_interval",
        "ai_auto_scan",
        "ai_model",
        "ai_api_url",
        "notification_max_retries",
        "remediation_auto_mode",
        "remediation_approval_required",
        "dashboard_refresh_interval",
        "log_retention_days",
        "session_timeout_minutes",
        "max_login_attempts",
    ]
)
LEGACY = {"id": "legacy-default", "name": "AI 运维助手默认模型", "feature_key": "ops_assistant"}


def dated(row: Row, *stamps: str) -> Row:
    return {k: z(v) if k in stamps else v for k, v in row.items()}


def rule_of(row: Row) -> Row:
    return dated(row, "created_at", "updated_at")


def alert_of(row: Row) -> Row:
    return dated(row, "fired_at", "resolved_at", "acknowledged_at", "created_at")


@router.get("/alert-rules")
async def rules(_: Anyone, world: W) -> list[Row]:
    return [rule_of(r) for r in world.rows("rules")]


@router.post("/alert-rules", status_code=201)
async def create_rule(body: NewRule, _: Operator, world: W) -> Row:
    if body.silence_start or body.silence_end:
        raise Broken  # 'str' object has no attribute 'hour'
    return rule_of(world.add_rule(body.model_dump(exclude_none=True)))


@router.get("/alert-rules/{rule_id}")
async def rule(rule_id: int, _: Anyone, world: W) -> Row:
    return rule_of(found(world, "rules", rule_id, "Alert rule"))


@router.put("/alert-rules/{rule_id}")
async def change_rule(rule_id: int, body: RuleChange, _: Operator, world: W) -> Row:
    row = found(world, "rules", rule_id, "Alert rule")
    values = body.model_dump(exclude_unset=True)
    if body.silence_start or body.silence_end:
        raise Broken
    if any(v is None for k, v in values.items() if k not in NULLABLE):
        raise Broken  # the database refuses it
    if any(k in SENSITIVE and row[k] != v for k, v in values.items()):
        world.resolve_silently(rule_id)
    row.update(values, updated_at=world.stamp())
    return rule_of(row)


@router.delete("/alert-rules/{rule_id}", status_code=204)
async def delete_rule(rule_id: int, _: Operator, world: W) -> None:
    if found(world, "rules", rule_id, "Alert rule")["is_builtin"]:
        raise HTTPException(400, "Cannot delete built-in rule")
    del world.tables["rules"][rule_id]


@router.get("/notification-channels/logs")
async def logs(
    _: Anyone,
    world: W,
    alert_id: int | None = None,
    channel_id: int | None = None,
    status: str | None = None,
) -> list[Row]:
    wanted = {"alert_id": alert_id, "channel_id": channel_id, "status": status}
    asked = {k: v for k, v in wanted.items() if v is not None}
    rows = [r for r in reversed(world.rows("logs")) if all(r[k] == v for k, v in asked.items())]
    return [dated(r, "sent_at") for r in rows]


@router.get("/notification-channels")
async def channels(_: Anyone, world: W) -> list[Row]:
    told = []
    for row in world.rows("channels"):
        config = {
            k: f"{str(v)[:3]}***" if k in MASKED and v else v for k, v in row["config"].items()
        }
        told.append({**rule_of(row), "config": config})
    return told


@router.post("/notification-channels", status_code=201)
async def create_channel(body: NewChannel, _: Operator, world: W) -> Row:
    stamp = world.stamp()
    row = {**body.model_dump(), "created_at": stamp, "updated_at": stamp}
    return rule_of(world.add("channels", row))


@router.put("/notification-channels/{channel_id}")
async def change_channel(channel_id: int, body: ChannelChange, _: Operator, world: W) -> Row:
    row = found(world, "channels", channel_id, "Channel")
    row.update(body.model_dump(exclude_none=True), updated_at=world.stamp())
    return rule_of(row)


@router.delete("/notification-channels/{channel_id}", status_code=204)
async def delete_channel(channel_id: int, _: Admin, world: W) -> None:
    found(world, "channels", channel_id, "Channel")
    del world.tables["channels"][channel_id]


@router.post("/notification-channels/{channel_id}/test")
async def try_channel(channel_id: int, _: Anyone, world: W) -> Row:
    row = found(world, "channels", channel_id, "Channel")
    if not row["is_enabled"]:
        raise HTTPException(400, "Channel is disabled")
    name, type_ = row["name"], row["type"]
    at = world.now().strftime("%Y-%m-%d %H:%M:%S")
    text = (
        f"**{world.traps.generation.brand} 测试通知**\n\n这是一条测试通知，用于验证 "
        f"{name} ({type_}) 渠道配置是否正确。\n\n发送时间: {at}"
    )
    error = None
    if not world.traps.deaf_test:
        _code, error, _retries = await world.post(row, {"test": True, "text": text})
    message = f"测试通知发送失败: {error}" if error else f"测试通知已成功发送到渠道: {name}"
    told = {"success": error is None, "message": message}
    return {**told, "channel_type": type_, "channel_name": name}


@router.get("/alerts")
async def alerts(
    _: Anyone,
    world: W,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    status: str | None = None,
    severity: str | None = None,
    host_id: int | None = None,
) -> Row:
    wanted = {"status": status, "severity": severity, "host_id": host_id}
    asked = {k: v for k, v in wanted.items() if v not in (None, "")}
    rows = [
        a
        for a in reversed(world.rows("alerts"))
        if a["id"] not in world.traps.unlisted and all(a[k] == v for k, v in asked.items())
    ]
    return paged([alert_of(a) for a in rows], page, page_size)


@router.get("/alerts/{alert_id}")
async def alert(alert_id: int, _: Anyone, world: W) -> Row:
    return alert_of(found(world, "alerts", alert_id, "Alert"))


@router.post("/alerts/{alert_id}/ack")
async def ack(alert_id: int, user: Anyone, world: W) -> Row:
    row = found(world, "alerts", alert_id, "Alert")
    if row["status"] == "resolved":
        raise HTTPException(400, "Alert already resolved")
    row.update(status="acknowledged", acknowledged_at=world.stamp(), acknowledged_by=user["id"])
    return alert_of(row)


def ai_config_of(row: Row) -> Row:
    key = row.get("api_key")
    return {
        **{k: row[k] for k in ("id", "feature_key", "name", "base_url", "model")},
        "max_output_tokens": row["max_output_tokens"],
        "supports_deep_thinking": False,
        "deep_thinking_max_tokens": 0,
        "model_context_tokens": 200000,
        "allowed_context_tokens": 120000,
        "extra_context": "",
        "has_api_key": bool(key),
        "api_key_mask": f"{key[:3]}****{key[-4:]}" if key else None,
        "is_default": row["is_default"],
        "enabled": row["enabled"],
    }


def ai_row(world: W, config_id: str) -> Row:
    row = next((c for c in world.ai_configs if c["id"] == config_id), None)
    if row is None:
        raise HTTPException(404, "AI config not found")
    return row


@router.get("/ops/ai-configs")
@router.get("/ops/ai-configs/admin")
async def ai_configs(_: Admin, world: W) -> list[Row]:
    legacy = {"base_url": "https://api.deepseek.com/v1", "model": "deepseek-chat"}
    rest = {"max_output_tokens": 2000, "is_default": True, "enabled": True}
    return [ai_config_of(c) for c in ({**LEGACY, **legacy, **rest}, *world.ai_configs)]


@router.post("/ops/ai-configs")
async def create_ai_config(body: AiConfig, _: Admin, world: W) -> Row:
    taken = any(c["feature_key"] == body.feature_key for c in world.ai_configs)
    if taken and body.feature_key != "ops_assistant":
        raise HTTPException(400, "This feature already has a config")
    row = {"id": str(uuid.uuid4()), **body.model_dump(), "is_default": False}
    world.ai_configs.append(row)
    return ai_config_of(row)


@router.put("/ops/ai-configs/{config_id}")
async def change_ai_config(config_id: str, body: AiConfigChange, _: Admin, world: W) -> Row:
    row = ai_row(world, config_id)
    row.update(body.model_dump(exclude_none=True))
    return ai_config_of(row)


@router.delete("/ops/ai-configs/{config_id}", status_code=204)
async def delete_ai_config(config_id: str, _: Admin, world: W) -> None:
    world.ai_configs.remove(ai_row(world, config_id))


@router.post("/ai/root-cause")
async def root_cause(alert_id: int, _: Anyone, world: W) -> Row:
    row = found(world, "alerts", alert_id, "Alert")
    if not any(c["enabled"] and c["api_key"] for c in world.ai_configs):
        raise HTTPException(503, "AI 服务不可用")
    return world.diagnose(alert_of(row))


@router.get("/data-retention/settings")
async def retention(_: Anyone, world: W) -> dict[str, int]:
    return world.retention


@router.put("/data-retention/settings")
async def set_retention(body: Retention, _: Admin, world: W) -> dict[str, int]:
    world.retention = body.model_dump()
    return world.retention


@router.get("/settings")
async def settings(_: Operator, world: W) -> Row:
    rows: Row = {
        f"retention_days_{k}": {"value": str(v), "description": f"{k} 数据保留天数"}
        for k, v in world.retention.items()
    }
    return rows | {k: {"value": v, "description": ""} for k, v in world.settings.items()}


@router.put("/settings")
async def set_settings(body: dict[str, str], _: Admin, world: W) -> Row:
    if not body.keys() <= SETTINGS:
        raise Broken  # NameError in the real one
    world.settings |= body
    return {"status": "ok"}

"""Routes about what is watched: agents, hosts, dashboard, health, PromQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from bot.demo.vigilops.facts import FIGURES, HOST
from bot.demo.vigilops.state import Row, z
from bot.demo.vigilops.wire import Agent, Anyone, Beat, Figures, HostTold, W, found, paged
from bot.demo.vigilops.world import World

router = APIRouter()
open_router = APIRouter()
HOST_ROW = ("id", *HOST, "status", "last_heartbeat", "created_at", "updated_at")
METRICS = {
    "cpu_load_15m": "cpu_load_15",
    "cpu_load_1m": "cpu_load_1",
    "cpu_load_5m": "cpu_load_5",
    "cpu_percent": "cpu_percent",
    "disk_percent": "disk_percent",
    "memory_percent": "memory_percent",
    "network_bytes_received_total": "net_bytes_recv",
    "network_bytes_sent_total": "net_bytes_sent",
}
QUERY = re.compile(
    r"\s*(?:(sum|avg|min|max|count)\s*(?:by\s*\(([^)]*)\)\s*)?\(\s*)?"
    r"([A-Za-z_]\w*)\s*(?:\{([^}]*)\})?\s*\)?\s*(?:by\s*\(([^)]*)\))?\s*"
)
FOLDS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "avg": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
    "count": len,
}


def host_of(world: World, host: Row) -> Row:
    traps = world.traps
    latest = None if traps.null_metrics else world.latest(host["id"])
    if latest is not None and traps.late_metrics:
        seen = datetime.fromisoformat(latest["recorded_at"])
        latest["recorded_at"] = (seen - timedelta(seconds=traps.late_metrics)).isoformat()
    return {**{k: host[k] for k in HOST_ROW}, "latest_metrics": latest}


@router.post("/agent/register")
async def register(body: HostTold, token: Agent, world: W) -> Row:
    host, created = world.register_host(token["id"], body.model_dump())
    told = {"host_id": host["id"], "hostname": host["hostname"], "status": host["status"]}
    return {**told, "created": created}


@router.post("/agent/heartbeat")
async def heartbeat(body: Beat, _: Agent, world: W) -> Row:
    world.beat(found(world, "hosts", body.host_id, "Host"))
    return {"status": "ok", "server_time": world.stamp(), "heartbeat_interval": 60}


@router.post("/agent/metrics", status_code=201)
async def metrics(body: Figures, token: Agent, world: W) -> Row:
    host = world.tables["hosts"].get(body.host_id)
    if host is None or host["token_id"] != token["id"]:
        raise HTTPException(403, f"Host {body.host_id} is not registered with this agent token")
    world.record(body.host_id, body.model_dump(mode="json"))
    return {"status": "ok", "metric_id": sum(len(p) for p in world.points.values())}


@router.get("/hosts")
async def hosts(
    _: Anyone,
    world: W,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    status: str | None = None,
    group_name: str | None = None,
    search: str | None = None,
) -> Row:
    wild = re.escape(search or "").replace("%", ".*").replace("_", ".")
    rows = [
        host_of(world, h)
        for h in world.rows("hosts")
        if (not status or h["status"] == status)
        and (not group_name or h["group_name"] == group_name)
        and re.search(wild, h["hostname"], re.IGNORECASE)
    ]
    return paged(rows, page, page_size)


@router.get("/hosts/{host_id}")
async def host(host_id: int, _: Anyone, world: W) -> Row:
    told = host_of(world, found(world, "hosts", host_id, "Host"))
    return {**told, **{k: z(told[k]) for k in ("last_heartbeat", "created_at", "updated_at")}}


@router.get("/hosts/{host_id}/metrics")
async def history(
    host_id: int,
    _: Anyone,
    world: W,
    hours: Annotated[int, Query(ge=1, le=720)] = 1,
    interval: Annotated[str, Query(pattern="^(raw|5min|1h|1d)$")] = "raw",
) -> list[Row]:
    if interval != "raw":
        raise HTTPException(501, "The stand-in keeps what it was told and gathers nothing")
    since = world.now() - timedelta(hours=hours)
    points = [p for p in world.points.get(host_id, []) if world.received(p) >= since]
    return [
        {
            "id": number,
            "host_id": host_id,
            **{name: point[name] for name in FIGURES},
            "recorded_at": z(point["recorded_at"]),
        }
        for number, point in enumerate(points, 1)
    ]


@router.get("/dashboard/summary")
async def summary(_: Anyone, world: W) -> Row:
    rows = world.rows("hosts")
    online = sum(h["status"] == "online" for h in rows)
    alerts = world.rows("alerts")
    firing = sum(a["status"] == "firing" for a in alerts)
    hour_ago = (world.now() - timedelta(hours=1)).astimezone(UTC).isoformat()
    latest = [point for h in rows if (point := world.latest(h["id"]))]
    usage: Row = {}
    for name in ("cpu_percent", "memory_percent", "disk_percent"):
        values = [p[name] for p in latest if p[name] is not None]
        usage[name] = round(sum(values) / len(values), 1) if values else None
    breakdown = []
    if firing:
        points = -min(40, 4 * firing)
        breakdown.append({"reason": f"触发中告警 {firing} 条", "points": points})
    if online < len(rows):
        points = -min(40, 10 * (len(rows) - online))
        breakdown.append({"reason": f"离线主机 {len(rows) - online} 台", "points": points})
    enabled = sum(c["is_enabled"] for c in world.rows("channels"))
    return {
        "timestamp": world.stamp(),
        "hosts": {"total": len(rows), "online": online, "offline": len(rows) - online},
        "services": {"total": 0, "up": 0, "down": 0},
        "alerts": {"total": len(alerts), "firing": firing},
        "recent_1h": {
            "alert_count": sum(a["fired_at"] >= hour_ago for a in alerts),
            "error_log_count": 0,
        },
        "avg_usage": usage,
        "health_score": 100 + sum(int(str(b["points"])) for b in breakdown),
        "health_breakdown": breakdown,
        "notification_setup": {"configured": enabled > 0, "enabled_count": enabled},
    }


@open_router.get("/health")
@router.get("/health")
async def health(world: W) -> Row:
    checks = {"api": "ok", "database": "ok", "redis": "ok"}
    return {"status": "ok", "checks": checks, "timestamp": world.stamp()}


@router.get("/promql/query")
async def promql(query: str, _: Anyone, world: W) -> Row:
    match = QUERY.fullmatch(query)
    if match is None:
        raise HTTPException(400, f"Invalid query: {query}")
    fold, by_before, metric, wanted, by_after = match.groups()
    prefix = f"{world.traps.generation.prefix}_host_"
    if not metric.startswith(prefix) or metric.removeprefix(prefix) not in METRICS:
        supported = ", ".join(prefix + name for name in METRICS)
        raise HTTPException(400, f"Unknown metric: {metric}. Supported metrics: {supported}")
    figure = METRICS[metric.removeprefix(prefix)]
    labels = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', wanted or ""))
    series = [s for s in series_of(world, figure) if labels.items() <= s[0].items()]
    stamp = world.now().timestamp()
    if not fold:
        found_ = [({"__name__": metric, **tags}, at, value) for tags, at, value in series]
    else:
        keys = [k.strip() for k in (by_before or by_after or "").split(",") if k.strip()]
        groups: dict[tuple[str, ...], list[float]] = {}
        for tags, _at, value in series:
            groups.setdefault(tuple(tags.get(k, "") for k in keys), []).append(value)
        found_ = [
            ({"__name__": metric, **dict(zip(keys, group, strict=True))}, stamp, FOLDS[fold](vs))
            for group, vs in groups.items()
        ]
    result = [{"metric": tags, "value": [at, str(value)]} for tags, at, value in found_]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def series_of(world: World, figure: str) -> list[tuple[dict[str, str], float, float]]:
    found_ = []
    for row in world.rows("hosts"):
        latest = world.latest(row["id"])
        if latest is None or latest[figure] is None:
            continue
        tags = {
            "hostname": str(row["hostname"]),
            "host_ip": str(row["ip_address"] or ""),
            "group": str(row["group_name"] or "default"),
            "host_id": str(row["id"]),
        }
        at = datetime.fromisoformat(latest["recorded_at"]).timestamp()
        found_.append((tags, at, float(latest[figure])))
    return found_

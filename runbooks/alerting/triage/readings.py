"""What the hosts of an incident do just now, out of the customer's own monitor, in lines of text.

For the model that gives advice and for nobody who waits: whatever cannot be had in time is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

import structlog

from adapters.port import InDoubt, Monitor, MonitoredHost, Permanent, Sample, Transient
from runbooks.alerting import watch
from runbooks.kit import Kit
from runbooks.steps.monitor import signed_in
from storage.records import KnownAlert, Server

PATIENCE = 5.0
"""Seconds in which the monitor must have answered everything."""

HOSTS = 3
"""Hosts of an incident that are looked up: those of its worst alerts."""

KINDS: tuple[tuple[str, Callable[[MonitoredHost | Sample], float | None]], ...] = (
    ("CPU", lambda of: of.cpu_percent),
    ("内存", lambda of: of.memory_percent),
    ("磁盘", lambda of: of.disk_percent),
)

log = structlog.get_logger()


async def readings(customer: int, alerts: Sequence[KnownAlert], kit: Kit) -> tuple[str, ...]:
    """Return what is known of the hosts of these alerts: figures of now and of the last hour.

    It raises nothing: a monitor that fails or is slow means fewer lines, and the log says why.
    """
    async with kit.store.view() as unit:
        servers = await unit.servers.of(customer)
        case = await watch.case_of(customer, unit)
    wanted = hosts_of(alerts, servers)
    found: list[str] = []
    if case is None or not wanted:
        return ()
    try:
        async with asyncio.timeout(PATIENCE):
            monitor = await signed_in(case, kit)
            await _look(wanted, monitor, kit.house.zone, found)
    except (Transient, Permanent, InDoubt) as error:
        log.info("no figures for advice", customer=customer, reason=error.reason)
    except TimeoutError:
        log.info("no figures for advice", customer=customer, reason=f"over {PATIENCE:g} s")
    return tuple(found)


async def _look(wanted: Sequence[str], monitor: Monitor, zone: tzinfo, found: list[str]) -> None:
    """Add the lines of each host as they come, so that what was in time is kept."""
    there = {host.hostname.lower(): host for host in await monitor.hosts()}
    for name in wanted:
        if host := there.get(name.lower()):
            found.append(present(host, zone))
            if said := past(host.hostname, await monitor.history(host.id)):
                found.append(said)


def hosts_of(alerts: Sequence[KnownAlert], servers: Sequence[Server]) -> tuple[str, ...]:
    """Return the names that the monitor knows the hosts of these alerts by, the worst first.

    An alert may call a host by its name, its address, or either of them with a port behind it.
    """
    known = _names(servers)
    worst = sorted(alerts, key=lambda a: (not a.firing, -a.severity.rank, a.since))
    hosts = [alert.host.lower() for alert in worst if alert.host]
    bare = [host if host in known else host.rpartition(":")[0] or host for host in hosts]
    return tuple(dict.fromkeys(known.get(host, host) for host in bare))[:HOSTS]


def _names(servers: Sequence[Server]) -> Mapping[str, str]:
    return {
        name.lower(): server.hostname or server.name
        for server in servers
        for name in (server.host, server.name, server.hostname)
        if name
    }


def present(host: MonitoredHost, zone: tzinfo) -> str:
    """Return what a host's agent reported last."""
    figures = [f"{kind} {_percent(value)}" for kind, of in KINDS if (value := of(host)) is not None]
    if not host.online:
        return f"{host.hostname} 在监控里离线"
    if not figures or host.recorded_at is None:
        return f"{host.hostname} 在监控里在线，没有最近的指标"
    at = f"{host.recorded_at.astimezone(zone):%H:%M:%S}"
    return f"{host.hostname} 当前 {'，'.join(figures)}（{at} 采样）"


def past(hostname: str, samples: Sequence[Sample]) -> str:
    """Return how a host did in the last hour; empty when nothing was reported."""
    parts = []
    for kind, of in KINDS:
        values = [value for sample in samples if (value := of(sample)) is not None]
        if values:
            mean = sum(values) / len(values)
            parts.append(
                f"{kind} {_percent(values[0])} → {_percent(values[-1])}"
                f"（平均 {_percent(mean)}，最高 {_percent(max(values))}）"
            )
    return f"{hostname} 近 1 小时 {'，'.join(parts)}，{len(samples)} 次采样" if parts else ""


def _percent(value: float) -> str:
    return f"{value:.1f}%"

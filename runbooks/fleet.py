"""A customer's servers and tier, changed while an onboarding may be on its way."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from adapters.port import ServerRow, UsageError
from runbooks import walk as walking
from runbooks.case import Onboarding
from runbooks.onboarding import ONBOARDING
from storage.records import HostLine, LineState, Run, RunStatus, Server, Tier
from storage.runs import OPEN
from storage.store import Unit

RULES = "rules"
"""Key of the line that makes the tier's rules; what comes after it has seen the old tier's."""

BUSY = "流程正在执行这一步：请等它停下或完成后再试（/status 查看）"
LAST = "这是本次接入的最后一台服务器，不能移除：请先 /server add 其他服务器"

SECRETS = ("password", "sudo")
"""What a list of servers may hold for one of them, by the last part of its name in the vault."""

FORGOTTEN = (*SECRETS, "agent_token")
"""All that the vault keeps for a server."""


async def enlist(customer: int, rows: Sequence[ServerRow], unit: Unit) -> tuple[Server, ...]:
    """Keep servers and their secrets; UsageError names every one that is there already."""
    known = await unit.servers.of(customer)
    names = {server.name.casefold() for server in known}
    places = {(server.host, server.port) for server in known}
    wrong = [
        f"「{row.name}」（{row.host}:{row.port}）"
        for row in rows
        if row.name.casefold() in names or (row.host, row.port) in places
    ]
    if wrong:
        raise UsageError(
            f"有 {len(wrong)} 台的名称或地址已登记，一台都没有添加："
            + "、".join(wrong[:20])
            + "。请改名，或先 /server remove"
        )
    return tuple([await _kept(customer, row, unit) for row in rows])


async def onboarding(customer: int, unit: Unit) -> Run | None:
    """Return the customer's onboarding that has not ended."""
    runs = await unit.runs.of(customer, ONBOARDING.name)
    return next((run for run in runs if run.status in OPEN), None)


def case_of(run: Run) -> Onboarding:
    """Return what an onboarding knows."""
    case = walking.load(ONBOARDING, run)
    assert isinstance(case, Onboarding)
    return case


async def join(servers: Sequence[Server], run: Run, unit: Unit) -> None:
    """Take new servers into an onboarding; lines that have ended are not walked again."""
    case = case_of(run)
    names = (*case.servers, *(server.name for server in servers))
    await _change(run, replace(case, servers=names), unit)


async def dismiss(name: str, customer: int, now: datetime, unit: Unit) -> bool:
    """Forget a server and its secrets; False when there is none of that name."""
    server = next((s for s in await unit.servers.of(customer) if s.name == name), None)
    if server is None:
        return False
    run = await onboarding(customer, unit)
    if run and name in case_of(run).servers:
        await _leave(name, run, now, unit)
    for secret in FORGOTTEN:
        await unit.vault.drop(f"server:{server.id}:{secret}")
    return await unit.servers.remove(customer, name)


async def retier(customer: int, tier: Tier, unit: Unit) -> bool:
    """Change a customer's tier; False when an onboarding has made the old tier's rules already."""
    await unit.customers.set_tier(customer, tier)
    run = await onboarding(customer, unit)
    if run is None:
        return True
    line = (await unit.lines.of(run.id)).get(RULES)
    if line and line.state in walking.ENDED:
        return False
    await _change(run, replace(case_of(run), tier=tier), unit)
    return True


def fingerprint(line: str) -> str:
    """Return the SHA-256 fingerprint of an OpenSSH public key line, as ssh-keygen prints it."""
    try:
        blob = base64.b64decode(line.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


async def _kept(customer: int, row: ServerRow, unit: Unit) -> Server:
    server = await unit.servers.add(
        Server(
            0,
            customer,
            row.name,
            row.host,
            row.port,
            row.user,
            row.bastion,
            row.os,
            row.cpu,
            row.memory_gb,
            row.disk_gb,
            row.location,
        )
    )
    for name, secret in zip(SECRETS, (row.password, row.sudo_password), strict=True):
        if secret:
            await unit.vault.put(f"server:{server.id}:{name}", secret)
    return server


async def _leave(name: str, run: Run, now: datetime, unit: Unit) -> None:
    case = case_of(run)
    left = tuple(server for server in case.servers if server != name)
    if not left:
        raise UsageError(LAST)
    hosts = await unit.lines.hosts(run.id, run.line)
    if name in hosts:  # else the card would go on naming it among the failed ones
        gone = HostLine(run.id, run.line, name, LineState.SKIPPED, now, "已移除")
        await unit.lines.put_host(gone)
    await _change(run, replace(case, servers=left), unit)


async def _change(run: Run, case: Onboarding, unit: Unit) -> None:
    # A segment holds the case in its hands and would lay the old one over ours.
    if run.status is RunStatus.WALKING:
        raise UsageError(BUSY)
    changed = replace(run, case=walking.dump(case))
    if not await unit.runs.advance(run, changed):
        raise UsageError(walking.STALE)
    await walking.mark(changed, unit)

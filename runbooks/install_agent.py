"""Agent 安装 on its own: what `/install-agent` starts for servers that were added later.

The same lines as phase 3 of the onboarding, over the same case; the probe comes first, because
such a server was never looked at.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from adapters.port import UsageError
from adapters.words import Person
from runbooks import walk as walking
from runbooks.book import Each, Phase, Runbook
from runbooks.case import Onboarding
from runbooks.onboarding import ONBOARDING
from runbooks.steps import servers
from storage.records import Customer, Run
from storage.runs import OPEN
from storage.store import Unit

INSTALL_AGENT: Runbook[Onboarding] = Runbook(
    "install-agent",
    "安装 Agent",
    Onboarding,
    (
        Phase("检查服务器"),
        Each("probe", "检查服务器连通性", servers.names, servers.probe),
        *ONBOARDING.phase("Agent 安装"),
    ),
)

BUSY_LINES = frozenset({"probe", "agent"})
"""Lines of the onboarding that work on the servers themselves."""


async def begin(
    customer: Customer, names: tuple[str, ...], by: Person, now: datetime, unit: Unit
) -> Run:
    """Put a new installation at its first line, in the caller's transaction; without names, of
    every server.

    Raises UsageError when one is under way, when there is no monitor to report to, or when a
    name is none of this customer's.
    """
    runs = await unit.runs.of(customer.id)
    if any(run.status in OPEN and _installs(run) for run in runs):
        raise UsageError("已有一次 Agent 安装在进行：请看它的卡片，或用 /cancel 取消后再试")
    onboarding = next((run for run in runs if run.book == ONBOARDING.name), None)
    known: Onboarding | None = walking.load(ONBOARDING, onboarding) if onboarding else None
    if known is None or not known.url:
        raise UsageError("本客户还没有监控实例：请先完成接入流程的「环境评估与部署」")
    there = tuple(server.name for server in await unit.servers.of(customer.id))
    if strange := [name for name in names if name not in there]:
        raise UsageError(f"没有登记服务器「{'、'.join(strange)}」：请用 /server list 查看名称")
    chosen = tuple(name for name in there if not names or name in names)
    if not chosen:
        raise UsageError("还没有登记服务器：请先用 /server add 名称 地址")
    case = walking.dump(replace(known, servers=chosen))
    run = walking.fresh(INSTALL_AGENT, customer.id, case, by, now)
    placed = await walking.start(INSTALL_AGENT, run, unit)
    detail = {"run": placed.id, "servers": "、".join(chosen)}
    await unit.audit.add(now, by.name, "install-agent", detail)
    return placed


def _installs(run: Run) -> bool:
    return run.book == INSTALL_AGENT.name or run.line in BUSY_LINES

"""验收交付 on its own: what `/accept` starts for a customer whose onboarding is over.

The same lines as the last phase of the onboarding, over the same case.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from adapters.port import UsageError
from adapters.words import Person
from runbooks import walk as walking
from runbooks.book import Runbook
from runbooks.case import Onboarding
from runbooks.onboarding import ONBOARDING
from storage.records import Customer, Run, RunStatus
from storage.runs import OPEN
from storage.store import Unit

ACCEPTANCE: Runbook[Onboarding] = Runbook(
    "acceptance", "验收交付", Onboarding, ONBOARDING.phase("验收交付")
)


async def begin(customer: Customer, by: Person, now: datetime, unit: Unit) -> Run:
    """Put a new acceptance at its first line, in the caller's transaction.

    Raises UsageError when a run is open, or when there was no onboarding to take the facts from.
    """
    runs = await unit.runs.of(customer.id)
    if any(run.status in OPEN for run in runs):
        raise UsageError("已有进行中的流程，验收是它的最后阶段：请输入 /status 查看进度")
    last = next((run for run in runs if run.status is RunStatus.DONE), None)
    if last is None:
        raise UsageError(f"没有走完的接入流程，不能验收：请先输入 /onboard {customer.name}")
    known: Onboarding = walking.load(ONBOARDING, last)
    servers = tuple(server.name for server in await unit.servers.of(customer.id))
    case = replace(known, servers=servers, tier=customer.tier, evidence="", round=1, invitations=())
    number = uuid4().hex[:12]
    dumped = walking.dump(case)
    run = Run(number, ACCEPTANCE.name, customer.id, "", RunStatus.WALKING, 0, dumped, by, now, now)
    placed = await walking.start(ACCEPTANCE, run, unit)
    await unit.audit.add(now, by.name, "accept", {"run": number, "company": customer.name})
    return placed

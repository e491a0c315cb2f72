"""重新交付登录账号: a link that expired unopened is made anew, with a new password."""

from __future__ import annotations

from datetime import datetime

from adapters.port import UsageError
from adapters.words import Person
from runbooks import walk as walking
from runbooks.book import Phase, Runbook, Step
from runbooks.case import Onboarding
from runbooks.onboarding import ONBOARDING
from runbooks.steps import handover
from storage.records import Customer, Run
from storage.runs import OPEN
from storage.store import Unit

HANDOVER: Runbook[Onboarding] = Runbook(
    "handover",
    "重新交付登录账号",
    Onboarding,
    (
        Phase("重新交付登录账号"),
        Step("reset", "重设登录密码", handover.reset),
        Step("link", "发送一次性链接", handover.link),
    ),
)


async def begin(customer: Customer, by: Person, now: datetime, unit: Unit) -> Run:
    """Put a new handover at its first line, in the caller's transaction.

    Raises UsageError when the customer is not in service, or another handover is under way.
    """
    runs = await unit.runs.of(customer.id)
    onboarding = next((run for run in runs if run.book == ONBOARDING.name), None)
    if customer.in_service_since is None or onboarding is None:
        raise UsageError("客户还没有进入持续运维：登录账号会在接入流程的最后交付")
    if any(run.status in OPEN and run.book == HANDOVER.name for run in runs):
        raise UsageError("已有一次交付在进行：请看它的卡片，或用 /cancel 取消后再试")
    run = walking.fresh(HANDOVER, customer.id, onboarding.case, by, now)
    placed = await walking.start(HANDOVER, run, unit)
    await unit.audit.add(now, by.name, "handover", {"run": placed.id, "customer": customer.name})
    return placed

"""停用 Agent 令牌: a server that was removed must not go on speaking to the monitor as if it were ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from adapters.words import Person
from runbooks import walk as walking
from runbooks.book import Phase, Runbook, Step
from runbooks.case import Onboarding
from runbooks.kit import Errand
from runbooks.onboarding import ONBOARDING
from runbooks.steps.monitor import monitor
from storage.records import Customer, Run, Server
from storage.store import Unit


@dataclass(frozen=True, slots=True)
class Retirement:
    """A removed server's token: `token` is the monitor's id of it. Its name may be in use again
    when the server comes back."""

    onboarding: Onboarding
    server: str
    token: int


async def revoke(case: Retirement, errand: Errand) -> tuple[Retirement, str]:
    """Revoke the token, unless it is revoked already; the monitor's client looks that it is."""
    watch = await monitor(case.onboarding, errand)
    if any(token.id == case.token and token.active for token in await watch.agent_tokens()):
        await watch.revoke_agent_token(case.token)
    return case, f"{case.server} 的 Agent 令牌 {case.token} 已停用"


RETIRE: Runbook[Retirement] = Runbook(
    "retire-agent",
    "停用 Agent 令牌",
    Retirement,
    (Phase("停用 Agent 令牌"), Step("revoke", "停用令牌", revoke, tries=3)),
)


async def begin(
    customer: Customer, server: Server, by: Person, now: datetime, unit: Unit
) -> Run | None:
    """Begin to revoke a removed server's token; None when it has none, or there is no monitor."""
    runs = await unit.runs.of(customer.id, ONBOARDING.name)
    known: Onboarding | None = walking.load(ONBOARDING, runs[0]) if runs else None
    if not server.agent_token or known is None or not known.url:
        return None
    case = Retirement(known, server.name, server.agent_token)
    run = walking.fresh(RETIRE, customer.id, walking.dump(case), by, now)
    return await walking.start(RETIRE, run, unit)

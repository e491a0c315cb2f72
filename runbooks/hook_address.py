"""The address that a monitor posts to, told to who asked for it by a direct message.

Its token is a secret: hashed where it is looked up, sealed in the vault until it is told, and then
known to nobody of ours.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from adapters.sources import heartbeat
from adapters.words import Person, Secret
from runbooks import walk as walking
from runbooks.book import Phase, Runbook, Step
from runbooks.kit import Errand
from runbooks.steps import tickets
from storage.hooks import hash_of
from storage.records import Customer, Heartbeat, Run, RunStatus
from storage.store import Unit


@dataclass(frozen=True, slots=True)
class Telling:
    """An address that is to be told; `name` is what it is for, as people say it."""

    customer: int
    source: str
    name: str


async def tell(case: Telling, errand: Errand) -> tuple[Telling, str]:
    """Tell the address once, and forget its token."""
    async with errand.kit.store.view() as unit:
        run = await unit.runs.get(errand.run)
        token = await unit.vault.get(_sealed(errand.run))
    assert run is not None
    to = run.started_by
    if token:
        address = f"{errand.kit.house.public_url}/hooks/{case.source}/{token.reveal()}"
        text = f"「{case.name}」的告警地址（含密钥，不要发到群里）：{address}"
        await tickets.ring(errand, "address", to, text)
        async with errand.kit.store.unit() as unit:
            await unit.vault.drop(_sealed(errand.run))
    return case, f"地址已私信{to.name or to.id}"


HOOK_ADDRESS: Runbook[Telling] = Runbook(
    "hook-address",
    "告警接入地址",
    Telling,
    (Phase("告警接入地址"), Step("address", "私信告警地址", tell)),
)


async def open_hook(
    customer: Customer, source: str, title: str, by: Person, now: datetime, unit: Unit
) -> Run:
    """Make a new address beside those that there are, and begin to tell it."""
    token = Secret(secrets.token_urlsafe(32))
    await unit.hooks.add(customer.id, source, token, now)
    return await _begin(Telling(customer.id, source, title), token, by, now, unit)


async def rotate(
    customer: Customer, source: str, title: str, by: Person, now: datetime, unit: Unit
) -> Run:
    """Make a new address in the place of all others of that source, and begin to tell it."""
    token = Secret(secrets.token_urlsafe(32))
    await unit.hooks.add(customer.id, source, token, now)
    await unit.hooks.keep_only(customer.id, source, token)
    return await _begin(Telling(customer.id, source, title), token, by, now, unit)


async def expect(
    customer: Customer, name: str, every: timedelta, by: Person, now: datetime, unit: Unit
) -> Run:
    """Expect a job to be heard of that often, from now on, at a new address."""
    token = Secret(secrets.token_urlsafe(32))
    seconds = int(every.total_seconds())
    await unit.heartbeats.put(Heartbeat(customer.id, name, hash_of(token), seconds, now + every))
    telling = Telling(customer.id, heartbeat.NAME, f"{heartbeat.TITLE} {name}")
    return await _begin(telling, token, by, now, unit)


async def _begin(case: Telling, token: Secret, by: Person, now: datetime, unit: Unit) -> Run:
    status, number = RunStatus.WALKING, uuid4().hex[:12]
    words = walking.dump(case)
    run = Run(number, HOOK_ADDRESS.name, case.customer, "", status, 0, words, by, now, now)
    await unit.vault.put(_sealed(number), token)
    placed = await walking.start(HOOK_ADDRESS, run, unit)
    detail = {"customer": str(case.customer), "source": case.source, "for": case.name}
    await unit.audit.add(now, by.name, "hook-address", detail)
    return placed


def _sealed(run: str) -> str:
    return f"hook-address:{run}"

"""The address that a monitor posts to, told to who asked for it by a one-time link.

Its token is a secret: hashed where it is looked up, sealed in the vault until somebody opens the
link, and then known to nobody of ours. What it is exchanged for goes on until then, and for a while
after: a monitor is never without an address that works.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from adapters.port import UsageError
from adapters.sources import heartbeat
from adapters.words import Person, Secret
from runbooks import walk as walking
from runbooks.book import Phase, Runbook, Step
from runbooks.kit import Errand, House
from runbooks.steps import tickets
from storage.hooks import hash_of
from storage.records import Customer, Heartbeat, Run, RunStatus
from storage.store import Unit

PURPOSE = "hook-address"
"""What such a link is for."""

KEEPER = "监控管理员"
"""Whoever sets the monitor up: we need not know who that is."""


@dataclass(frozen=True, slots=True)
class Telling:
    """An address that is to be told; `name` is what it is for, as people say it."""

    customer: int
    source: str
    name: str


async def tell(case: Telling, errand: Errand) -> tuple[Telling, str]:
    """Tell the link and its code to whoever asked for the address."""
    async with errand.kit.store.view() as unit:
        run = await unit.runs.get(errand.run)
    assert run is not None
    subject = {
        "customer": case.customer,
        "source": case.source,
        "name": case.name,
        "secret": _sealed(errand.run),
    }
    text = json.dumps(subject, ensure_ascii=False)
    told = await tickets.tell(errand, "address", PURPOSE, text, run.started_by, KEEPER)
    return case, told


HOOK_ADDRESS: Runbook[Telling] = Runbook(
    "hook-address",
    "告警接入地址",
    Telling,
    (Phase("告警接入地址"), Step("address", "发送一次性链接", tell)),
)


async def claim(
    subject: Mapping[str, object], now: datetime, house: House, unit: Unit
) -> tuple[str, str]:
    """Return (what it is for, its address) and forget the token; what it was exchanged for ends
    after its grace, counted from now. Raises UsageError when it was claimed, or is none any more."""
    name, source, secret = (str(subject[part]) for part in ("name", "source", "secret"))
    token = await unit.vault.get(secret)
    if token is None:
        raise UsageError("地址已经领取过：请在客户群里用 /hook rotate 更换")
    await unit.vault.drop(secret)
    if source != heartbeat.NAME:
        if await unit.hooks.find(source, token, now) is None:
            raise UsageError("这个地址已经作废或又更换过：请用最新的链接")
        await unit.hooks.told(token, now + house.hook_grace)
    detail = {"customer": str(subject["customer"]), "source": source, "for": name}
    await unit.audit.add(now, "one-time link", "hook-address-told", detail)
    return name, f"{house.public_url}/hooks/{source}/{token.reveal()}"


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
    """Make a new address for all others of that source, and begin to tell it; they go on until it
    was claimed, and for their grace."""
    token = Secret(secrets.token_urlsafe(32))
    await unit.hooks.exchange(customer.id, source, token, now)
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

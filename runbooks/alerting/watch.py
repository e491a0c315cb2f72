"""From what a monitor says to the card in the customer's group, by way of rows.

VigilOps' webhooks are hints and its list of alerts is the truth (`facts/vigilops.md`): what is due
is looked up there before it is told, and the list is read every minute, so that a lost webhook is
found. All of it may be called at any time and as often as one likes, by several replicas.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from adapters.card import Card, dumps
from adapters.port import InDoubt, MonitorAlert, Permanent, Transient
from runbooks import reach
from runbooks import walk as walking
from runbooks.alerting import cards
from runbooks.alerting.hold import (
    SETTLE,
    Found,
    Heard,
    Kind,
    Say,
    episode_of,
    fingerprint,
    fold,
    judge,
    title_of,
    told_elsewhere,
)
from runbooks.case import Onboarding
from runbooks.kit import Kit
from runbooks.onboarding import ONBOARDING
from runbooks.steps.alerts import SOURCE
from runbooks.steps.monitor import signed_in
from storage.records import (
    Delivery,
    DeliveryState,
    HeldAlert,
    Lane,
    Run,
    RunStatus,
    Tier,
)
from storage.store import Unit

CONFIRM = 5.0
"""Seconds that a monitor has to answer before its alert is told without its word."""

LOOK = 30.0
"""Seconds that it has when nobody waits."""

AT_ONCE = 20
"""Monitors that are read at the same time."""

ASKED = 20.0
"""Seconds that the model has."""

SYSTEM = (
    "你是运维值班助手。根据一条监控告警，用不超过 100 字说明：可能的原因、先查什么。"
    "只根据给出的内容，不要编造数据。"
)


async def hear(customer: int, heard: Heard, zone: ZoneInfo, unit: Unit) -> None:
    """Keep what is said of an alert, in the caller's transaction; of its end the group is told."""
    if told_elsewhere(heard.title):
        return
    await _hear(await unit.held.get(customer, *fingerprint(heard.title)), heard, zone, unit)


async def _hear(before: HeldAlert, heard: Heard, zone: ZoneInfo, unit: Unit) -> None:
    after, say = fold(before, heard)
    if after != before:
        await unit.held.save(after)
    if say is Say.RECOVERED:
        card = cards.recovered(before, heard.at, zone)
        await _tell(before, "recovered", card, heard.at, unit)


# -- what has lasted ----------------------------------------------------------------------------


async def announce(kit: Kit) -> int:
    """Tell each group what has lasted, once the monitor has confirmed it; return how many cards."""
    async with kit.store.view() as unit:
        waiting = await unit.held.due(kit.clock.now())
    # No customer waits for another's monitor.
    told = await asyncio.gather(*(_announce(c, kit) for c in {held.customer for held in waiting}))
    return sum(told)


async def _announce(number: int, kit: Kit) -> int:
    async with kit.store.view() as unit:
        case = await _case(number, unit)
    listed = await _listed(case, kit, CONFIRM) if case else None
    shown = None if listed is None else frozenset(_episode(row) for row in listed)
    now, told = kit.clock.now(), 0
    async with kit.store.unit() as unit:
        customer = await unit.customers.get(number)
        # Read again: another replica may have told since, or it has ended.
        for held in await unit.held.due(now):
            if held.customer != number or customer is None:
                continue
            after, say = judge(held, shown, now)
            wanted = say and customer.tier is Tier.PRO and kit.model is not None
            after = replace(after, analyse=wanted)
            if after != held:
                await unit.held.save(after)
            if say:
                console = (case.console or case.url) if case else ""
                card = cards.firing(after, console, kit.house.zone)
                told += await _tell(after, "firing", card, now, unit)
    return told


# -- what the monitor's list shows --------------------------------------------------------------


async def poll(kit: Kit) -> None:
    """Read the alerts of every customer whose monitor tells us, in service or under onboarding."""
    async with kit.store.view() as unit:
        # Those without an address of ours are not even looked up: they may be thousands.
        numbers = await unit.hooks.customers(SOURCE)
        found = [(number, await _watched(number, unit)) for number in numbers]
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, case: Onboarding) -> None:
        async with room:
            await _poll(number, case, kit)

    await asyncio.gather(*(one(number, case) for number, case in found if case))


async def _poll(number: int, case: Onboarding, kit: Kit) -> None:
    asked, zone = kit.clock.now(), kit.house.zone
    listed = await _listed(case, kit, LOOK)
    if listed is None:
        return
    shown = {_episode(row): row for row in listed if not told_elsewhere(row.title)}
    async with kit.store.view() as unit:
        held = await unit.held.firing(number)
    # Nearly always both know the same, and a look does not wait for a writer.
    if shown.keys() == {each.episode for one in held for each in one.firing}:
        return
    async with kit.store.unit() as unit:
        for episode, row in shown.items():
            await hear(number, _seen(episode, row, asked), zone, unit)
        for one in await unit.held.firing(number):
            await _end_unshown(one, frozenset(shown), asked, zone, unit)


def _seen(episode: str, row: MonitorAlert, now: datetime) -> Heard:
    return Heard(
        Kind.FIRING, episode, row.fired_at, now, row.title, row.message, row.severity, Found.POLL
    )


async def _end_unshown(
    held: HeldAlert, shown: frozenset[str], asked: datetime, zone: ZoneInfo, unit: Unit
) -> None:
    """End what the list did not show, unless it may be too young to be on it."""
    for each in held.firing:
        if each.episode not in shown and asked - each.seen_at >= SETTLE:
            gone = Heard(Kind.GONE, each.episode, each.fired_at, asked, held.title)
            now = await unit.held.get(held.customer, held.rule, held.host)
            await _hear(now, gone, zone, unit)


async def _listed(case: Onboarding, kit: Kit, within: float) -> Sequence[MonitorAlert] | None:
    """Return what the monitor shows firing, acknowledged or not; None when it cannot be asked."""
    try:
        async with asyncio.timeout(within):
            watch = await signed_in(case, kit)
            return [*await watch.alerts("firing"), *await watch.alerts("acknowledged")]
    except (Transient, Permanent, InDoubt, TimeoutError):
        return None


def _episode(row: MonitorAlert) -> str:
    return episode_of(row.id, row.fired_at)


async def _watched(number: int, unit: Unit) -> Onboarding | None:
    """Return the case of a customer whose monitor is to be read; None when it is not."""
    customer = await unit.customers.get(number)
    runs = await unit.runs.of(number, ONBOARDING.name)
    if customer is None:
        return None
    if customer.in_service_since is None and all(r.status is RunStatus.CANCELLED for r in runs):
        return None
    return _told(runs)


async def _case(customer: int, unit: Unit) -> Onboarding | None:
    return _told(await unit.runs.of(customer, ONBOARDING.name))


def _told(runs: Sequence[Run]) -> Onboarding | None:
    """Return the newest case whose monitor has our channel: before that its rules are not ours."""
    cases = (walking.load(ONBOARDING, run) for run in runs)
    return next((case for case in cases if case.channel), None)


# -- what the model says ------------------------------------------------------------------------


async def analyse(kit: Kit) -> int:
    """Ask the model about what was told, and tell its answer; return how many answers.

    After the alert and apart from it: a model that fails or is slow costs the group nothing.
    """
    if kit.model is None:
        return 0
    async with kit.store.view() as unit:
        waiting = await unit.held.to_analyse()
    return sum([await _analyse(held, kit) for held in waiting])


async def _analyse(held: HeldAlert, kit: Kit) -> bool:
    assert kit.model is not None
    # Neither the customer's name nor the host's: they are nobody else's business.
    question = f"规则：{title_of(held.rule)}\n级别：{held.severity}\n内容：{held.message}"
    try:
        answer = await kit.model.ask(SYSTEM, question, timeout=ASKED)
    except (Transient, Permanent):
        answer = None
    async with kit.store.unit() as unit:
        now = await unit.held.get(held.customer, held.rule, held.host)
        # It may have ended since, and begun anew.
        if not now.analyse or now.announced_at != held.announced_at:
            return False
        await unit.held.save(replace(now, analyse=False))
        if answer is None or not answer.text.strip():
            return False
        card = cards.analysis(now, answer)
        return await _tell(now, "analysis", card, kit.clock.now(), unit, Lane.NORMAL)


async def _tell(
    held: HeldAlert, what: str, card: Card, now: datetime, unit: Unit, lane: Lane = Lane.ALARM
) -> bool:
    customer = await unit.customers.get(held.customer)
    if customer is None or customer.chat is None or held.announced_at is None:
        return False
    # When it was announced makes the key new for each time, and the same for all that is said of it.
    at = held.announced_at.isoformat()
    key = f"alert:{held.customer}:{held.rule}:{held.host}:{at}:{what}"
    said = Delivery(0, key, customer.chat, lane, DeliveryState.WAITING, now, card=dumps(card))
    return await reach.tell(said, await reach.reach(held.customer, unit), unit)

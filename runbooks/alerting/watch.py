"""From what a monitor says to the incidents of its customer, by way of rows.

VigilOps' webhooks are hints and its list of alerts is the truth (`facts/vigilops.md`): what is due
is looked up there before it is told, and the list is read every minute, so that a lost webhook is
found. All of it may be called at any time and as often as one likes, by several replicas.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, tzinfo

from adapters.port import Monitor, MonitorAlert, OutsideError
from adapters.sources.reading import severity_of
from adapters.sources.vigilops import NAME
from adapters.words import Alert
from runbooks import walk as walking
from runbooks.alerting import lost, pipeline
from runbooks.alerting.hold import (
    SETTLE,
    UNVERIFIED,
    Found,
    Heard,
    Kind,
    Say,
    episode_of,
    figures,
    fingerprint,
    fold,
    judge,
    number_of,
    since,
    title_of,
    told_elsewhere,
)
from runbooks.alerting.pipeline import Post
from runbooks.alerting.tuning import tuning_of
from runbooks.case import Onboarding
from runbooks.kit import House, Kit
from runbooks.onboarding import ONBOARDING
from runbooks.steps.alerts import SOURCE
from runbooks.steps.monitor import signed_in
from storage.records import Customer, HeldAlert, Run, RunStatus
from storage.store import Unit

CONFIRM = 5.0
"""Seconds that a monitor has to answer before its alert is told without its word."""

LOOK = 30.0
"""Seconds that it has when nobody waits."""

OPEN = ("firing", "acknowledged")
"""How the monitor calls what fires."""

ONE_BY_ONE = 50
"""Alerts of one monitor that are asked for by their ids in a round. Of more its list is read once
more: that asks less of it."""

AT_ONCE = 20
"""Monitors that are read at the same time."""

LOST = "由轮询发现：Webhook 没有到达机器人"


async def hear(customer: int, heard: Heard, house: House, unit: Unit) -> None:
    """Keep what is said of an alert, in the caller's transaction; its end ends it in its incident."""
    if told_elsewhere(heard.title):
        return
    held = await unit.held.get(customer, *fingerprint(heard.title))
    if over := await _hear(held, heard, house, unit):
        await _end(customer, (over,), heard.at, house, unit)


async def _hear(before: HeldAlert, heard: Heard, house: House, unit: Unit) -> Alert | None:
    """Keep what is said of an alert; return its end, if its incident must hear of that."""
    tuning = await tuning_of(before.customer, unit)
    after, say = fold(before, heard, tuning.hold(title_of(before.rule)))
    if after != before:
        await unit.held.save(after)
    return alert_of(before, "", house.zone, ended=heard.at) if say is Say.RECOVERED else None


async def _end(
    number: int, over: tuple[Alert, ...], at: datetime, house: House, unit: Unit
) -> None:
    """End alerts in their incidents, all in one fold: after a long silence they may be hundreds."""
    customer = await unit.customers.get(number) if over else None
    if customer:
        await _fold(customer, over, at, house, unit)


def alert_of(
    held: HeldAlert, console: str, zone: tzinfo, *, ended: datetime | None = None
) -> Alert:
    """Return what has lasted, or has ended, as every source says it; `console` is the monitor's
    address, or empty.

    It has no title: a card's line then shows the text, which says more than the rule and the host.
    """
    severity = severity_of(held.severity)
    rule = title_of(held.rule)
    return Alert(
        f"{held.rule}|{held.host}",
        ended is None,
        severity,
        rule,
        held.host,
        text=_text(held, zone),
        labels={"rule": rule, "host": held.host, "severity": str(severity)},
        starts_at=since(held),
        ends_at=ended,
        url=console,
    )


def _text(held: HeldAlert, zone: tzinfo) -> str:
    """Return the figures, since when, and what is to be known of how it was found: short, because
    cards cut it. A message without figures comes last."""
    shown, begun = figures(held.message), since(held)
    parts = (
        shown,
        f"始于 {begun.astimezone(zone):%H:%M}" if begun else "",
        UNVERIFIED if held.note == UNVERIFIED else "",
        LOST if held.found == Found.POLL else "",
        "" if shown else held.message,
    )
    return " ".join(part for part in parts if part)


async def _fold(
    customer: Customer, alerts: tuple[Alert, ...], at: datetime, house: House, unit: Unit
) -> None:
    await pipeline.fold(customer, (Post(NAME, at, alerts),), at, house, unit)


# -- what has lasted ----------------------------------------------------------------------------


async def announce(kit: Kit) -> int:
    """Make incidents of what has lasted, once the monitor has confirmed it; return of how many."""
    async with kit.store.view() as unit:
        waiting = await unit.held.due(kit.clock.now())
    # No customer waits for another's monitor.
    told = await asyncio.gather(*(_announce(c, kit) for c in {held.customer for held in waiting}))
    return sum(told)


async def _announce(number: int, kit: Kit) -> int:
    async with kit.store.view() as unit:
        case = await case_of(number, unit)
    listed = await _listed(case, kit, CONFIRM) if case else None
    shown = None if listed is None else frozenset(_episode(row) for row in listed)
    console = (case.console or case.url) if case else ""
    now, lasted = kit.clock.now(), []
    async with kit.store.unit() as unit:
        customer = await unit.customers.get(number)
        if customer is None:
            return 0
        tuning = await tuning_of(number, unit)
        # Read again: another replica may have told since, or it has ended.
        for held in await unit.held.due(now):
            if held.customer != number:
                continue
            after, say = judge(held, shown, now, tuning.hold(title_of(held.rule)))
            if after != held:
                await unit.held.save(after)
            if say:
                lasted.append(alert_of(after, console, kit.house.zone))
        if lasted:
            await _fold(customer, tuple(lasted), now, kit.house, unit)
    return len(lasted)


# -- what the monitor's list shows --------------------------------------------------------------


async def poll(kit: Kit) -> None:
    """Read the alerts of every customer whose monitor tells us, in service or under onboarding; one
    that cannot be read for long is an alert (`alerting/lost.py`)."""
    async with kit.store.view() as unit:
        # Those without an address of ours are not even looked up: they may be thousands.
        numbers = await unit.hooks.customers(SOURCE)
        found = [(number, await _watched(number, unit)) for number in numbers]
        unread = await unit.unread.all()
    watched = {number: case for number, case in found if case}
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, case: Onboarding) -> None:
        async with room:
            why = await _poll(number, case, kit)
        if why:
            await lost.silent(number, why, case.console or case.url, kit)
        elif number in unread:
            await lost.answered(number, kit)

    await asyncio.gather(*(one(number, case) for number, case in watched.items()))
    for number in unread.keys() - watched.keys():
        await lost.answered(number, kit)


async def _poll(number: int, case: Onboarding, kit: Kit) -> str:
    """Read one monitor; return why it cannot be read, empty when it was."""
    asked, house = kit.clock.now(), kit.house
    try:
        listed = await _list(case, kit, LOOK)
    except (OutsideError, TimeoutError) as error:
        return _why(error)
    shown = {_episode(row): row for row in listed if not told_elsewhere(row.title)}
    async with kit.store.view() as unit:
        held = await unit.held.firing(number)
    known = [each for one in held for each in one.firing]
    # Nearly always both know the same, and a look does not wait for a writer.
    if shown.keys() - {each.episode for each in known}:
        async with kit.store.unit() as unit:
            for episode, row in shown.items():
                await hear(number, _seen(episode, row, asked), house, unit)
    # One that was just posted may be too young to be on the list.
    unshown = [
        each.episode
        for each in known
        if each.episode not in shown and asked - each.seen_at >= SETTLE
    ]
    return await _end_unshown(number, unshown, asked, case, kit) if unshown else ""


def _why(error: OutsideError | TimeoutError) -> str:
    return error.reason if isinstance(error, OutsideError) else f"{LOOK:.0f} 秒内没有答复"


def _seen(episode: str, row: MonitorAlert, now: datetime) -> Heard:
    return Heard(
        Kind.FIRING, episode, row.fired_at, now, row.title, row.message, row.severity, Found.POLL
    )


async def _end_unshown(
    number: int, unshown: Sequence[str], asked: datetime, case: Onboarding, kit: Kit
) -> str:
    """End what the list did not show, if it is over; return why the monitor cannot be asked whether
    it is, empty when it was. What it did not answer is asked in the next round."""
    over: set[str] = set()
    why = ""
    try:
        async with asyncio.timeout(LOOK):
            async for episode in _over(unshown, case, kit):
                over.add(episode)
    except (OutsideError, TimeoutError) as error:
        why = _why(error)
    if over:
        async with kit.store.unit() as unit:
            await _end_gone(number, over, asked, kit.house, unit)
    return why


async def _over(unshown: Sequence[str], case: Onboarding, kit: Kit) -> AsyncIterator[str]:
    """Give what the monitor says is over, or knows nothing of, of what its list did not show.

    The list alone proves nothing: it is read in pages, and one that fires may fall between two.
    """
    watch = await signed_in(case, kit)
    if len(unshown) > ONE_BY_ONE:
        again = {_episode(row) for row in await _open(watch)}
        for episode in unshown:
            if episode not in again:
                yield episode
        return
    for episode in unshown:
        row = await watch.alert(number_of(episode))
        # Another instant: the monitor was set up anew, and counts from 1 again.
        if row is None or row.status not in OPEN or _episode(row) != episode:
            yield episode


async def _end_gone(
    number: int, over: Collection[str], asked: datetime, house: House, unit: Unit
) -> None:
    """End these alerts, and those of them that were told in their incidents."""
    told: list[Alert] = []
    for held in await unit.held.firing(number):
        for each in held.firing:
            if each.episode not in over:
                continue
            gone = Heard(Kind.GONE, each.episode, each.fired_at, asked, held.title)
            now = await unit.held.get(number, held.rule, held.host)
            if alert := await _hear(now, gone, house, unit):
                told.append(alert)
    await _end(number, tuple(told), asked, house, unit)


async def _listed(case: Onboarding, kit: Kit, within: float) -> Sequence[MonitorAlert] | None:
    """Return what the monitor shows firing, acknowledged or not; None when it cannot be asked."""
    try:
        return await _list(case, kit, within)
    except (OutsideError, TimeoutError):
        return None


async def _list(case: Onboarding, kit: Kit, within: float) -> Sequence[MonitorAlert]:
    """Return what the monitor shows firing; raises TimeoutError, and as `signed_in` does."""
    async with asyncio.timeout(within):
        return await _open(await signed_in(case, kit))


async def _open(watch: Monitor) -> Sequence[MonitorAlert]:
    # One that is acknowledged in between is on both lists: this order misses none.
    return [row for status in OPEN for row in await watch.alerts(status)]


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


async def case_of(customer: int, unit: Unit) -> Onboarding | None:
    """Return what is known of a customer's monitor; None before it has our channel and our rules."""
    return _told(await unit.runs.of(customer, ONBOARDING.name))


def _told(runs: Sequence[Run]) -> Onboarding | None:
    """Return the newest case whose monitor has our channel: before that its rules are not ours."""
    cases = (walking.load(ONBOARDING, run) for run in runs)
    return next((case for case in cases if case.channel), None)

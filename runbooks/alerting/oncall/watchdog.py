"""Each night: was everybody rung who was due? Recomputed from the climbs, not believed from the rungs.

What was due follows from when a critical was accepted, the policy of that instant and when it was
answered; the rungs and the outbox say what was done. Every difference is named. A call that was made
before its deadline, because it shared another's or the way before it failed, is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import structlog

from adapters.card import Block, Card, Style, Table, Text, Tone, say
from runbooks.alerting.oncall import ladder, reach, rota, rungs
from runbooks.alerting.oncall.rota import Shift, instant
from runbooks.alerting.oncall.rungs import Missed
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.records import AGAIN, Delivery, DeliveryState
from storage.roster import (
    Callee,
    Escalation,
    Override,
    Policy,
    Roster,
    Rung,
    RungState,
    Watch,
    Way,
)
from storage.store import Unit

log = structlog.get_logger()

HOUR = time(3)
"""By the house's zone: the night's quiet hour."""
TARDY = timedelta(hours=1)
"""A watchdog that comes so late was itself asleep, and says so."""
SHOWN = 20
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
PAUSE = timedelta(days=1)
"""The longest time after which a climb that had stopped by itself goes on: the longest cooldown."""
SETTLED = rungs.SETTLED
GRACE = max(rungs.LATE, SETTLED)
"""After its hour, when the watchdog comes: what was due last has settled by then, too."""
LONGEST = timedelta(days=8)
"""So long ago a critical may have been accepted for which a climb should be under way."""
NEVER_BEGUN = "没有开始升级"
AHEAD = timedelta(days=2)
"""How far a warning looks, from the day's begin."""
FORTNIGHT = timedelta(days=14)
"""So long before a year begins it is named when its holidays are not known."""
MIDNIGHT = time(0)


async def watch(kit: Kit) -> list[Missed] | None:
    """Prove the time up to the last night's hour; None when that was proved already, or when there
    is something to prove and no operations group to prove it to: then it is done once there is one."""
    now, zone = kit.clock.now(), kit.house.zone
    until = last_hour(now - GRACE, zone)
    async with kit.store.view() as unit:
        if _proved(await unit.escalations.watched(), until):
            return None
        nobody = await unit.outbox.living(OPERATIONS) is None
        if nobody and await _something_to_watch(until, unit):
            log.error("no operations group for the night's proof", until=until.isoformat())
            return None
    async with kit.store.unit() as unit:
        before = await unit.escalations.watched()
        # Read again: another replica may have been here since.
        if _proved(before, until):
            return None
        since = before.until if before else EARLIEST
        found, due = await judged(since, until, unit, now)
        await unit.escalations.watch(Watch(0, now, since, until, due, len(found)))
        tardy = now - until if before and now - until > TARDY else None
        if tardy or await _something_to_watch(until, unit):
            card = drawn(until.astimezone(zone).date(), due, found, tardy)
            await ladder.alarm(f"watchdog:{until.isoformat()}", card, now, unit)
    return found


async def _something_to_watch(until: datetime, unit: Unit) -> bool:
    """Has anybody ever been due? Before that a nightly card proves nothing to nobody."""
    return await unit.escalations.any() or bool(await unit.escalations.without(EARLIEST, until))


async def judged(
    since: datetime,
    until: datetime,
    unit: Unit,
    now: datetime | None = None,
    *,
    customer: int | None = None,
) -> tuple[list[Missed], int]:
    """Return what was missed between two instants, and how many calls were due: of one customer, or
    of all.

    `now` is when it is judged, `until` itself unless said: what was due less than `SETTLED` before
    that may still be on its way.
    """

    def asked(climbs: Sequence[Escalation]) -> list[Escalation]:
        return [climb for climb in climbs if customer in {None, climb.customer}]

    found: list[Missed] = []
    count = 0
    for climb in asked(await unit.escalations.climbing(since, until)):
        known = await unit.escalations.rungs(climb.incident, climb.round)
        owed = rungs.owed(climb, since - PAUSE, until)
        due = rungs.put_off(owed, known, since, min(until, climb.stopped_at or until))
        found += rungs.missed(climb, due, known)
        count += len(due)
        named = {each.rung.key for each in found}
        made = {rung.key: rung for rung in known}
        for rung in due:
            real = made.get(rung.key, rung)
            entry = await _outcome(real.told or rung.key, unit)
            why = undelivered(entry, rung.due, now or until) if entry else _lost(real)
            if why and rung.key not in named:
                found.append(Missed(climb, rung, why))
    for climb in asked(await _never_begun(since, until, unit)):
        if due := list(rungs.owed(climb, since, until)):
            found.append(Missed(climb, due[0], NEVER_BEGUN))
            count += len(due)
    return found, count


async def _outcome(key: str, unit: Unit) -> Delivery | None:
    """Return the entry that says what became of a call: of one in doubt, the copy that told it
    again."""
    entry = await unit.outbox.by_key(key)
    if entry and entry.state is DeliveryState.DOUBT:
        return await unit.outbox.by_key(f"{key}{AGAIN}") or entry
    return entry


async def _never_begun(since: datetime, until: datetime, unit: Unit) -> list[Escalation]:
    """Return the climbs that should have been: of criticals for which none began, and of those that
    fire in an incident that nobody has answered while nothing climbs for it."""
    found = []
    for incident in await unit.escalations.without(since - LONGEST, until):
        policy = await ladder.policy_of(unit, incident.customer)
        assert incident.critical_at is not None
        answered = [at for at in (incident.acked_at, incident.resolved_at) if at]
        found.append(
            Escalation(
                incident.id,
                0,
                incident.customer,
                incident.title,
                incident.critical_at,
                rungs.kept(policy),
                stopped_at=min(answered, default=None),
            )
        )
    named = {climb.incident for climb in found}
    for incident in await unit.escalations.forgotten():
        if incident.id not in named:
            whose = incident.customer
            kept = rungs.kept(await ladder.policy_of(unit, whose))
            # Each night anew, also where the policy calls no second time.
            at = max(incident.critical_at or incident.opened_at, since)
            found.append(Escalation(incident.id, 0, whose, incident.title, at, kept))
    return found


def undelivered(entry: Delivery, due: datetime, now: datetime) -> str:
    """Say why a call that was written down did not arrive in time; empty when it did."""
    match entry:
        case Delivery(state=DeliveryState.FAILED):
            return f"没有送达：{entry.reason}"
        case Delivery(state=DeliveryState.WAITING) if now - due > SETTLED:
            return f"还在排队：{entry.reason or '通道繁忙'}"
        case Delivery(state=DeliveryState.SENT, sent_at=at) if at and at - due > SETTLED:
            return f"晚了 {int((at - due).total_seconds()) // 60} 分钟才送达"
        case Delivery(state=DeliveryState.DOUBT):
            return f"不能确定是否送达：{entry.reason}"
        case _:
            return ""


def _lost(rung: Rung) -> str:
    """Say why a call did not arrive whose entry in the outbox is not there; empty when its row does
    not say that it failed."""
    failed = rung.state in {RungState.HELD, RungState.FAILED}
    return f"没有送达：{rung.note}" if failed else ""


def last_hour(now: datetime, zone: ZoneInfo) -> datetime:
    """Return the last instant at which a watchdog should have come."""
    today = now.astimezone(zone).date()
    return next(at for day in (today, today - rota.DAY) if (at := instant(day, HOUR, zone)) <= now)


def drawn(day: date, due: int, found: list[Missed], tardy: timedelta | None) -> Card:
    """Return the night's card."""
    title = f"升级核对 · {day.isoformat()}"
    late = (
        f"本次核对晚了 {int(tardy.total_seconds()) // 60} 分钟：机器人可能停机过" if tardy else ""
    )
    if not found:
        words = f"应执行 {due} 次升级通知，全部按时执行并送达" if due else "没有到期的升级通知"
        return say(title, words, late, tone=Tone.WARNING if tardy else Tone.GOOD)
    rows = tuple(
        (f"#{m.climb.incident} {m.climb.title}", f"第 {m.rung.level + 1} 级", m.rung.way, m.why)
        for m in found[:SHOWN]
    )
    more = f"另有 {len(found) - SHOWN} 次" if len(found) > SHOWN else ""
    blocks: tuple[Block, ...] = (
        Text(f"应执行 {due} 次升级通知，其中 {len(found)} 次有问题", Style.STRONG),
        Table(("事件", "级别", "方式", "问题"), rows),
        *(Text(line) for line in (more, late) if line),
    )
    return Card(title, Tone.BAD, blocks)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a customer's calls may reach nobody; `until` is when it is over by itself, if it ever is."""

    customer: str
    what: str
    until: datetime | None = None


async def warn(kit: Kit) -> int:
    """Name in the operations group whom a climb may call today or tomorrow, on any level, and cannot
    by one of its ways, the hours at which nobody is on call, and who has no roster; return how many
    customers that is about. Said once a day, and again on the same day when it has changed: whose
    holidays are not known, once a week."""
    now, zone = kit.clock.now(), kit.house.zone
    today = now.astimezone(zone).date()
    year, week, _ = today.isocalendar()
    async with kit.store.view() as unit:
        problems = await _problems(kit, today, unit)
        unknown = await _unpublished(zone, today, unit)
    told = await _tell(f"oncall-warning:{today.isoformat()}", "值班有问题", problems, kit)
    told |= await _tell(f"oncall-holidays:{year}-{week:02}", "节假日尚未收录", unknown, kit)
    return len(told)


async def _tell(key: str, title: str, problems: Sequence[Problem], kit: Kit) -> set[str]:
    """Name these problems once under a key, and again when they have changed; return the customers
    whose they are, none when nothing was said."""
    now = kit.clock.now()
    # Of what is over by now as well: that a gap ends is no news.
    key = f"{key}:{_digest(problems)}"
    rows = [(p.customer, p.what) for p in problems if p.until is None or p.until > now]
    async with kit.store.view() as unit:
        if not rows or await unit.outbox.by_key(key):
            return set()
    card = Card(title, Tone.WARNING, (Table(("客户", "问题"), tuple(rows)),))
    async with kit.store.unit() as unit:
        said = await ladder.alarm(key, card, now, unit)
    return {name for name, _ in rows} if said else set()


def _digest(problems: Sequence[Problem]) -> str:
    said = "\n".join(f"{each.customer}: {each.what}" for each in problems)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


async def _problems(kit: Kit, today: date, unit: Unit) -> list[Problem]:
    # Whole days, so that it is the same all day long while nobody changes anything.
    since, until = (instant(day, MIDNIGHT, kit.house.zone) for day in (today, today + AHEAD))
    found: list[Problem] = []
    for customer in await unit.customers.all():
        policy = await ladder.policy_of(unit, customer.id)
        shut = await reach.shut(customer, policy, kit.chats, unit)
        found += [Problem(customer.name, why) for why in shut]
        roster = await unit.oncall.roster(customer.id)
        if roster is None:
            found.append(Problem(customer.name, f"{rota.NO_LAYER}：请在客户群输入 /oncall add"))
            continue
        overrides = await unit.oncall.overrides(customer.id, since, until)
        shifts = rota.shifts(roster, overrides, since, until)
        zone = ZoneInfo(roster.zone)
        for gap in rota.gaps(shifts):
            begins, ends = gap.begins.astimezone(zone), gap.ends.astimezone(zone)
            what = f"{begins:%m-%d %H:%M} 至 {ends:%m-%d %H:%M} 无人值班：{gap.why}"
            found.append(Problem(customer.name, what, gap.ends))
        for callee, (ways, ends) in _called(roster, overrides, shifts, policy).items():
            obstacles = await reach.obstacles(callee, ways, kit.chats, unit)
            found += [Problem(customer.name, why, ends) for why in obstacles]
    return found


async def _unpublished(zone: ZoneInfo, today: date, unit: Unit) -> list[Problem]:
    """Name whose layers ask for workdays of a year, begun or soon to begin, whose holidays are not
    known."""
    since, until = (instant(day, MIDNIGHT, zone) for day in (today, today + FORTNIGHT))
    found = []
    for customer in await unit.customers.all():
        roster = await unit.oncall.roster(customer.id)
        if roster and (unknown := rota.planned(roster, since, until)):
            found.append(Problem(customer.name, unknown))
    return found


def _called(
    roster: Roster, overrides: Sequence[Override], shifts: Sequence[Shift], policy: Policy
) -> dict[Callee, tuple[frozenset[Way], datetime]]:
    """Return whoever a climb may call in these shifts, on whatever level: by which ways, and until
    when. In a gap too, since that never ends a climb."""
    found: dict[Callee, tuple[frozenset[Way], datetime]] = {}
    for shift in shifts:
        for level in policy.levels:
            callee, _ = rota.after(roster, overrides, shift.begins, level.ahead)
            if callee:
                before, _ = found.get(callee, (frozenset[Way](), shift.ends))
                found[callee] = (before | frozenset(level.ways), shift.ends)
    return found


def _proved(before: Watch | None, until: datetime) -> bool:
    return before is not None and before.until >= until

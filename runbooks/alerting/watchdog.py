"""Each night: was everybody rung who was due? Recomputed from the climbs, not believed from the rungs.

What was due follows from when a critical was accepted, the policy of that instant and when it was
answered; the rungs and the outbox say what was done. Every difference is named.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from adapters.card import Block, Card, Style, Table, Text, Tone, say
from runbooks.alerting import ladder, reach, rota, rungs
from runbooks.alerting.rota import instant
from runbooks.alerting.rungs import Missed
from runbooks.kit import Kit
from storage.records import Delivery, DeliveryState
from storage.roster import Watch
from storage.store import Unit

HOUR = time(3)
"""By the house's zone: the night's quiet hour."""
TARDY = timedelta(hours=1)
"""A watchdog that comes so late was itself asleep, and says so."""
SHOWN = 20
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
SETTLED = timedelta(minutes=5)
"""A call that is younger may still be on its way."""
AHEAD = timedelta(hours=24)


async def watch(kit: Kit) -> list[Missed] | None:
    """Prove the time up to the last night's hour; None when that was proved already."""
    now, zone = kit.clock.now(), kit.house.zone
    until = last_hour(now - rungs.LATE, zone)
    async with kit.store.view() as unit:
        if _proved(await unit.escalations.watched(), until):
            return None
    async with kit.store.unit() as unit:
        before = await unit.escalations.watched()
        # Read again: another replica may have been here since.
        if _proved(before, until):
            return None
        since = before.until if before else EARLIEST
        found, due = await judged(since, until, unit)
        await unit.escalations.watch(Watch(0, now, since, until, due, len(found)))
        tardy = now - until if before and now - until > TARDY else None
        card = drawn(until.astimezone(zone).date(), due, found, tardy)
        await ladder.alarm(f"watchdog:{until.isoformat()}", card, now, unit)
    return found


async def judged(since: datetime, until: datetime, unit: Unit) -> tuple[list[Missed], int]:
    """Return what was missed between two instants, and how many calls were due."""
    found: list[Missed] = []
    count = 0
    for climb in await unit.escalations.climbing(since, until):
        due = list(rungs.owed(climb, since, until))
        known = await unit.escalations.rungs(climb.incident, climb.round)
        found += rungs.missed(climb, due, known)
        count += len(due)
        named = {each.rung.key for each in found}
        for rung in due:
            entry = await unit.outbox.by_key(rung.key)
            if entry and rung.key not in named and (why := undelivered(entry, until)):
                found.append(Missed(climb, rung, why))
    return found, count


def undelivered(entry: Delivery, now: datetime) -> str:
    """Say why a call that was written down did not arrive; empty when it did."""
    match entry.state:
        case DeliveryState.FAILED:
            return f"没有送达：{entry.reason}"
        case DeliveryState.WAITING if now - entry.at > SETTLED:
            return f"还在排队：{entry.reason or '通道繁忙'}"
        case _:
            return ""


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


async def warn(kit: Kit) -> int:
    """Once a day, name in the operations group whoever will be on call within a day and cannot be
    reached, and the hours at which nobody is; return how many customers that is about."""
    now, zone = kit.clock.now(), kit.house.zone
    key = f"oncall-warning:{now.astimezone(zone).date().isoformat()}"
    async with kit.store.view() as unit:
        if await unit.outbox.by_key(key):
            return 0
        rows = await _warnings(kit, now, unit)
    if not rows:
        return 0
    card = Card("值班有问题", Tone.WARNING, (Table(("客户", "问题"), tuple(rows)),))
    async with kit.store.unit() as unit:
        return len({name for name, _ in rows}) if await ladder.alarm(key, card, now, unit) else 0


async def _warnings(kit: Kit, now: datetime, unit: Unit) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for customer in await unit.customers.all():
        roster = await unit.oncall.roster(customer.id)
        if roster is None:
            continue
        until = now + AHEAD
        overrides = await unit.oncall.overrides(customer.id, now, until)
        shifts = rota.shifts(roster, overrides, now, until)
        zone = ZoneInfo(roster.zone)
        said = [
            f"{gap.begins.astimezone(zone):%m-%d %H:%M} 至 {gap.ends.astimezone(zone):%m-%d %H:%M} "
            f"无人值班：{gap.why}"
            for gap in rota.gaps(shifts)
        ]
        callees = dict.fromkeys(shift.callee for shift in shifts if shift.callee)
        said += [await reach.obstacle(callee, kit.chats, unit) for callee in callees]
        said.append(rota.planned(roster, now, until))
        rows += [(customer.name, line) for line in said if line]
    return rows


def _proved(before: Watch | None, until: datetime) -> bool:
    return before is not None and before.until >= until

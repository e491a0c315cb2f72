"""Maintenance windows among people: planned by somebody, told to the customer's group before, at the
start and at the end, with a report of what would have fired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo

from adapters.card import Block, Card, Fields, Style, Table, Text, Tone, dumps, say
from adapters.port import UsageError
from adapters.words import Person, Severity
from runbooks.alerting import pipeline
from runbooks.alerting.incident_cards import NAMES
from runbooks.alerting.muting.maintenance import HOW, Plan, Times, following, rhythm, times
from runbooks.alerting.muting.matchers import spoken
from runbooks.alerting.muting.silences import cell, clock, who
from runbooks.kit import Kit
from storage.records import Customer, Delivery, DeliveryState, Lane, Maintenance, Muted
from storage.store import Unit

RECALL = timedelta(days=1)
"""After the end, how long a report is still told by a bot that was down."""

SHOWN = 20


async def plan(
    customer: Customer, planned: Plan, by: Person, now: datetime, unit: Unit
) -> Maintenance:
    """Keep a window, and write down who planned it."""
    made = await unit.maintenance.add(
        Maintenance(
            0,
            customer.id,
            spoken(planned.matchers),
            planned.starts_at,
            planned.lasts // timedelta(minutes=1),
            planned.every,
            by,
            now,
            planned.reason,
            planned.day,
        )
    )
    detail = {
        "customer": customer.name,
        "maintenance": str(made.id),
        "matchers": made.matchers,
        "starts": made.starts_at.isoformat(),
        "minutes": str(made.minutes),
        "every": str(made.every),
        "reason": made.reason,
    }
    await unit.audit.add(now, by.name, "maintain", detail)
    return made


async def call_off(
    number: int, customer: Customer, by: Person, now: datetime, unit: Unit
) -> Maintenance:
    """End a window now, with all its times to come; UsageError when there is none, or it has
    ended. One that runs is reported by the next tick."""
    there = await unit.maintenance.get(number)
    if there is None or there.customer != customer.id:
        raise UsageError(f"本群没有维护窗口 #{number}：请用 /maintain 查看")
    if there.ended_at:
        raise UsageError(f"维护窗口 #{number} 已经取消")
    ended = replace(there, ended_at=now, ended_by=by)
    await unit.maintenance.save(ended)
    detail = {"customer": customer.name, "maintenance": str(number)}
    await unit.audit.add(now, by.name, "maintain-end", detail)
    return ended


# -- what the clock causes ------------------------------------------------------------------------


async def announce(kit: Kit) -> int:
    """Tell each group what begins soon, begins or has ended; return how many cards. It may be called
    as often as one likes: the outbox knows what was told."""
    now = kit.clock.now()
    async with kit.store.view() as unit:
        # Nothing is due nearly always, and a look does not wait for a writer.
        if not await _owed(kit, now, unit):
            return 0
    told = 0
    async with kit.store.unit() as unit:
        for customer, phase, delivery in await _owed(kit, now, unit):
            told += await unit.outbox.put(delivery)
            if phase == "start":
                # What fires already is expected from now on.
                await pipeline.reconsider(customer, now, kit.house, unit)
    return told


async def _owed(kit: Kit, now: datetime, unit: Unit) -> list[tuple[Customer, str, Delivery]]:
    """Return what is to be said now, to whom and in which phase."""
    notice, zone = kit.house.muting.notice, kit.house.zone
    owed = list[tuple[Customer, str, Delivery]]()
    for window in await unit.maintenance.all(now - RECALL):
        customer = await unit.customers.get(window.customer)
        for one in times(window, now - RECALL, now + notice, zone):
            phase = _phase(window, one, now, notice)
            # The instant of the start makes the key new for each time, and the same for the same.
            key = f"maintenance:{window.id}:{one.starts_at.isoformat()}:{phase}"
            if not phase or await unit.outbox.by_key(key):
                continue
            if customer is None or customer.chat is None:
                continue
            hidden = await unit.maintenance.muted(window.id, one.starts_at)
            card = _CARDS[phase](window, one, hidden, zone)
            told = Delivery(
                0, key, customer.chat, Lane.NORMAL, DeliveryState.WAITING, now, card=dumps(card)
            )
            owed.append((customer, phase, told))
    return owed


def _phase(window: Maintenance, one: Times, now: datetime, notice: timedelta) -> str:
    """Return what is to be said of one time of a window now; empty when nothing is."""
    if now >= one.ends_at:
        return "end"
    if now >= one.starts_at:
        return "start"
    # Of one that was planned so late, the answer to whoever planned it is the notice.
    return "before" if window.created_at <= one.starts_at - notice else ""


# -- cards ----------------------------------------------------------------------------------------


def planned(window: Maintenance, zone: tzinfo) -> Card:
    """Return the answer to a new window."""
    pairs = (*_facts(window, zone), ("取消", f"/maintain end {window.id}"))
    return Card(f"🛠 维护窗口 #{window.id} 已计划", Tone.WARNING, (Fields(pairs), Text(MEANS)))


MEANS = "期间符合条件的告警（包括严重告警）只记录、不通知，结束后给出清单"


def before(window: Maintenance, one: Times, _: Sequence[Muted], zone: tzinfo) -> Card:
    """Return the notice of a window that begins soon."""
    title = f"🛠 即将维护：{clock(one.starts_at, zone)}"
    return Card(title, Tone.WARNING, (Fields(_facts(window, zone)), Text(MEANS)))


def begins(window: Maintenance, one: Times, _: Sequence[Muted], zone: tzinfo) -> Card:
    """Return what is said at the start."""
    pairs = (*_facts(window, zone), ("预计结束", clock(one.ends_at, zone)))
    return Card(f"🛠 维护开始：{cell(window.reason)}", Tone.WARNING, (Fields(pairs), Text(MEANS)))


def report(window: Maintenance, one: Times, hidden: Sequence[Muted], zone: tzinfo) -> Card:
    """Return what is said at the end: what would have fired, the worst first."""
    title = f"🛠 维护结束：{cell(window.reason)}"
    span = Text(f"{clock(one.starts_at, zone)} 至 {clock(one.ends_at, zone)}", Style.QUIET)
    if not hidden:
        return Card(title, Tone.GOOD, (span, Text("期间没有告警被隐藏")))
    criticals = sum(each.severity is Severity.CRITICAL for each in hidden)
    head = f"期间隐藏了 {len(hidden)} 个告警，其中严重 {criticals} 个；仍在触发的会重新通知"
    worst = sorted(hidden, key=lambda each: (-each.severity.rank, each.first_at))
    rows = tuple(
        (NAMES[each.severity], cell(each.title or each.rule), cell(each.host),
         clock(each.first_at, zone), str(each.count))
        for each in worst[:SHOWN]
    )  # fmt: skip
    blocks: list[Block] = [
        span,
        Text(head),
        Table(("级别", "告警", "服务器", "开始", "次数"), rows),
    ]
    if len(hidden) > SHOWN:
        blocks.append(Text(f"另有 {len(hidden) - SHOWN} 个", Style.QUIET))
    return Card(title, Tone.WARNING if criticals else Tone.NEUTRAL, tuple(blocks))


def called_off(window: Maintenance) -> Card:
    """Return the answer to whoever called a window off."""
    return say(f"🛠 维护窗口 #{window.id} 已取消", window.reason, tone=Tone.GOOD)


def listed(there: Sequence[Maintenance], now: datetime, zone: tzinfo) -> Card:
    """Return the list of the windows that run or are to come."""
    rows = list[tuple[str, ...]]()
    for window in there:
        one = following(window, now, zone)
        if one:
            state = "进行中" if one.starts_at <= now else f"下次 {clock(one.starts_at, zone)}"
            scope = cell(window.matchers) or "全部告警"
            rows.append((f"#{window.id}", rhythm(window, zone), state, scope, cell(window.reason)))
    if not rows:
        return say("维护窗口", "没有计划中的维护", HOW)
    shown: list[Block] = [Table(("编号", "时间", "状态", "范围", "内容"), tuple(rows[:SHOWN]))]
    if len(rows) > SHOWN:
        shown.append(Text(f"另有 {len(rows) - SHOWN} 个", Style.QUIET))
    shown.append(Text("取消：/maintain end 编号", Style.QUIET))
    return Card(f"维护窗口（{len(rows)} 个）", Tone.NEUTRAL, tuple(shown))


def _facts(window: Maintenance, zone: tzinfo) -> tuple[tuple[str, str], ...]:
    return (
        ("时间", rhythm(window, zone)),
        ("时长", _lasts(window.minutes)),
        ("范围", window.matchers or "全部告警"),
        ("内容", window.reason),
        ("计划人", who(window.by)),
    )


def _lasts(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    parts = (f"{hours} 小时" if hours else "", f"{rest} 分钟" if rest else "")
    return " ".join(filter(None, parts))


_CARDS = {"before": before, "start": begins, "end": report}

"""/oncall override, cancel, swap and handover: what is different for a while."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from commands.declare import Call, Numbered, Rest, Where, Who, command
from commands.desk import desk_of
from commands.oncall.desk import GROUP, audit, obstacles_of, override_of, ring, roster_of, shifts_of
from runbooks.alerting.oncall import reach, rostering, rota
from runbooks.alerting.oncall.rota_words import at, span
from storage.roster import HandedOver, Override, Roster

SWAPPED = "对调"
JUST = timedelta(minutes=10)
INSTANT = timedelta(microseconds=1)


@command(
    "/oncall override",
    where=Where.CUSTOMER,
    examples=("/oncall override @李工 12-01T09:00 12-02T09:00 赵工请假",),
    group=GROUP,
)
async def override(who: Who, begins: str, ends: str, note: Rest = "", *, call: Call) -> Card:
    """临时调班：在一段时间里指定一个人值班。

    Parameters
    ----------
    who
        人员，用 @ 选择。
    begins
        从，例如 12-01T09:00；只写日期是当天零点。
    ends
        到，例如 12-02T09:00；12-02T24:00 是当天结束。
    note
        原因。
    """
    desk = desk_of(call)
    roster, now = await roster_of(desk), desk.clock.now()
    zone = ZoneInfo(roster.zone)
    rostering.joined(ends, *note.split()[:1])
    since = rostering.when(begins, now, zone)
    until = rostering.when(ends, now, zone)
    if until <= max(since, now):
        raise UsageError("结束时间要晚于开始时间，并且还没有过去")
    callee = rostering.callee_of(roster, who)
    made = await override_of(roster, callee.name, since, until, note, call)
    words = f"{callee.name}：{at(since, roster)} 至 {at(until, roster)}"
    return say(f"已调班 #{made.id}", words, note, tone=Tone.GOOD)


@command("/oncall cancel", where=Where.CUSTOMER, examples=("/oncall cancel 3",), group=GROUP)
async def cancel_override(override: Numbered, *, call: Call) -> Card:
    """取消一次临时调班。

    Parameters
    ----------
    override
        编号，见 /oncall week。
    """
    desk = desk_of(call)
    if not await desk.unit.oncall.drop(desk.owner().id, override):
        raise UsageError(f"没有调班 #{override}：请用 /oncall week 查看编号")
    await audit("oncall-cancel", str(override), call)
    return say("已取消调班", f"#{override}", tone=Tone.GOOD)


@command("/oncall swap", where=Where.CUSTOMER, examples=("/oncall swap 12-01 12-08",), group=GROUP)
async def swap(first: str, second: str, *, call: Call) -> Card:
    """对调两天中午所在的两个班次。

    Parameters
    ----------
    first
        一天，例如 12-01。
    second
        另一天，例如 12-08。
    """
    desk = desk_of(call)
    roster, now = await roster_of(desk), desk.clock.now()
    zone = ZoneInfo(roster.zone)
    one, other = (rostering.when(f"{day}T12:00", now, zone) for day in (first, second))
    if min(one, other) < now:
        raise UsageError("已经过去的班次不能对调")
    await _not_just_swapped(roster, (one, other), call)
    found = await shifts_of(roster, now, max(one, other) + rota.longest(roster), desk)
    lines = []
    for shift, callee in rota.swapped(found, one, other):
        await override_of(roster, callee.name, shift.begins, shift.ends, SWAPPED, call)
        lines.append(f"{callee.name}：{span(shift, roster)}")
    return say("已对调", *lines, tone=Tone.GOOD)


async def _not_just_swapped(roster: Roster, days: Sequence[datetime], call: Call) -> None:
    """Refuse to swap two shifts that were swapped just now: both who agreed on it may type it, and
    the second time would undo it."""
    desk = desk_of(call)
    now, made = desk.clock.now(), list[Override]()
    for day in days:
        there = await desk.unit.oncall.overrides(roster.customer, day, day + INSTANT)
        made += there[-1:]
    if len(made) == len(days) and all(e.note == SWAPPED and now - e.at < JUST for e in made):
        by, names = made[0].by, " ".join(f"#{each.id}" for each in made)
        raise UsageError(
            f"这两段刚刚已由 {by.name or by.id} 对调（{names}），没有再换回去："
            f"要换回请用 /oncall cancel {made[0].id} 和 /oncall cancel {made[-1].id}"
        )


@command(
    "/oncall handover",
    where=Where.CUSTOMER,
    examples=("/oncall handover @赵工 db-01 磁盘在扩容，22 点前不要重启",),
    group=GROUP,
)
async def handover(who: Who, note: Rest, *, call: Call) -> Card:
    """把现在的班交给另一个人，直到本班结束，并留下交接说明。

    Parameters
    ----------
    who
        人员，用 @ 选择。
    note
        交接说明：正在处理什么，要注意什么。
    """
    desk = desk_of(call)
    roster, now, by = await roster_of(desk), desk.clock.now(), call.message.sender
    callee = rostering.callee_of(roster, who)
    shift, *later = await shifts_of(roster, now, now + rota.longest(roster), desk)
    # Shortly before a change it is whoever comes next: their turn goes on behind this one.
    theirs = [each.ends for each in takewhile(lambda each: each.callee == callee, later)]
    until = at(shift.ends, roster) + (f"，之后接着值到 {at(theirs[-1], roster)}" if theirs else "")
    if shift.callee != callee:
        await override_of(roster, callee.name, now, shift.ends, "交接", call)
    await desk.unit.oncall.hand_over(HandedOver(0, roster.customer, now, by, callee.name, note))
    card = say("交班给您", f"{desk.owner().name}，到 {until}", note)
    if person := await reach.person_of(callee, desk.unit):
        await desk.unit.outbox.put(ring(f"handover:{call.message.id}", card, person, now))
    return say(
        "已交接",
        f"{by.name} → {callee.name}，到 {until}",
        note,
        *await obstacles_of(roster, desk, callee),
        tone=Tone.GOOD,
    )


CHANGES = (override, cancel_override, swap, handover)

"""/oncall, /oncall week and /oncall test: who is on call, and can they be reached."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from adapters.card import Block, Card, Fields, Style, Table, Text, Tone, say
from commands.declare import Call, Where, command, number
from commands.desk import Desk, desk_of
from commands.oncall.desk import GROUP, YEAR, obstacles_of, ring, roster_of, shifts_of, shut_of
from runbooks.alerting.oncall import reach, rostering, rota
from runbooks.alerting.oncall.rota import Shift
from runbooks.alerting.oncall.rota_words import at, called, described, gaps
from storage.records import Customer
from storage.roster import Roster

FORTNIGHT = timedelta(days=14)
"""Within which gaps are named."""

ROWS = 100
"""Shifts that one card lists."""


@command("/oncall", examples=("/oncall",), group=GROUP)
async def oncall(*, call: Call) -> Card:
    """查看现在谁值班；在内部群列出所有客户。"""
    desk = desk_of(call)
    now = desk.clock.now()
    if desk.customer is None:
        rows = [await _line(customer, now, desk) for customer in await desk.unit.customers.all()]
        return Card("现在谁值班", blocks=(Table(("客户", "值班", "到"), tuple(rows)),))
    roster = await roster_of(desk)
    found = await shifts_of(roster, now, now + max(FORTNIGHT, rota.longest(roster)), desk)
    head, soon = found[0], [shift for shift in found if shift.begins < now + FORTNIGHT]
    pairs = [
        ("现在", called(head)),
        ("到", _until(found, roster)),
        ("接班", called(found[1]) if len(found) > 1 else "不变"),
        *((f"层：{layer.name}", described(layer)) for layer in roster.layers),
    ]
    last = await desk.unit.oncall.handed(roster.customer)
    if last:
        pairs.append(
            ("上次交接", f"{at(last.at, roster)} {last.by.name} → {last.name}：{last.note}")
        )
    warnings = [*await shut_of(desk), *await obstacles_of(roster, desk)]
    warnings += gaps(soon, roster)
    warnings.append(rota.planned(roster, now, now + YEAR))
    blocks: tuple[Block, ...] = (
        Fields(tuple(pairs)),
        *(Text(f"⚠️ {line}") for line in warnings if line),
    )
    tone = Tone.WARNING if any(warnings) or head.callee is None else Tone.GOOD
    return Card("值班", tone, blocks)


@command("/oncall week", where=Where.CUSTOMER, examples=("/oncall week",), group=GROUP)
async def week(days: Annotated[int, number(1, 92)] = 7, *, call: Call) -> Card:
    """查看接下来几天的班次、空档和临时调班。

    Parameters
    ----------
    days
        天数，默认 7。
    """
    desk = desk_of(call)
    roster, now = await roster_of(desk), desk.clock.now()
    until = now + timedelta(days=days)
    found = await shifts_of(roster, now, until, desk)
    rows = tuple((at(s.begins, roster), at(s.ends, roster), called(s), s.why) for s in found)
    blocks: list[Block] = [Table(("从", "到", "值班", "依据"), rows[:ROWS])]
    if len(rows) > ROWS:
        words = f"另有 {len(rows) - ROWS} 个班次没有列出：请用 /oncall export {days} 导出"
        blocks.append(Text(words))
    for each in await desk.unit.oncall.overrides(roster.customer, now, until):
        ends = at(each.ends, roster)
        words = f"调班 #{each.id}：{each.name} {at(each.begins, roster)} 至 {ends} {each.note}"
        blocks.append(Text(words, Style.QUIET))
    if warning := rota.planned(roster, now, until):
        blocks.append(Text(f"⚠️ {warning}"))
    return Card(f"班次 · {days} 天", Tone.NEUTRAL, tuple(blocks))


@command("/oncall test", where=Where.CUSTOMER, examples=("/oncall test",), group=GROUP)
async def test(*, call: Call) -> Card:
    """给值班表里的每个人发一次测试呼叫，确认能联系上。"""
    desk = desk_of(call)
    roster, now = await roster_of(desk), desk.clock.now()
    rung = []
    for place, callee in enumerate(roster.callees):
        if person := await reach.person_of(callee, desk.unit):
            card = say("值班测试呼叫", f"{desk.owner().name}：收到即可，无需处理")
            key = f"oncall-test:{call.message.id}:{place}"
            await desk.unit.outbox.put(ring(key, card, person, now))
            rung.append(callee.name)
    obstacles = await obstacles_of(roster, desk, being_rung=True)
    tone = Tone.WARNING if obstacles else Tone.GOOD
    told = f"已呼叫：{rostering.names(rung)}", "稍后输入 /oncall：还没有收到呼叫的人会写在那里"
    return say("测试呼叫", *told, *obstacles, tone=tone)


async def _line(customer: Customer, now: datetime, desk: Desk) -> tuple[str, str, str]:
    roster = await desk.unit.oncall.roster(customer.id)
    if roster is None or not roster.callees:
        return customer.name, f"无人（{rota.NO_LAYER}）", ""
    found = await shifts_of(roster, now, now + rota.longest(roster), desk)
    return customer.name, called(found[0]), _until(found, roster)


def _until(found: Sequence[Shift], roster: Roster) -> str:
    """Return when the first shift ends; one that nothing follows has no end."""
    return at(found[0].ends, roster) if len(found) > 1 else "不换班"


SHOW, TEST = (oncall, week), (test,)

"""/escalate: who is called next when nobody acknowledges."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo

from adapters.card import Block, Card, Fields, Style, Table, Text, Tone, say
from adapters.port import UsageError
from adapters.words import Role
from commands.declare import Call, Numbered, Where, command, number
from commands.desk import Desk, desk_of
from runbooks.alerting.oncall import ladder, reach, rota
from runbooks.alerting.oncall.figures import figures
from runbooks.alerting.trends import answers
from storage.roster import Level, Policy, Roster, Way

GROUP = "值班与升级"
WAYS = {
    "群内@": Way.MENTION,
    "私信": Way.DIRECT,
    "加急": Way.RING,
    "webhook": Way.WEBHOOK,
    "邮件": Way.EMAIL,
}
_NAMES = {way: name for name, way in WAYS.items()}
SHOWN = 20
"""Climbs that one card lists."""
MOST = 10
"""Levels of a policy."""
LONGEST = 1440
"""Minutes until the last level."""


@command("/escalate", where=Where.CUSTOMER, examples=("/escalate",), group=GROUP)
async def escalate(*, call: Call) -> Card:
    """查看本群客户的升级策略，和正在升级的事件。"""
    desk = desk_of(call)
    unit, now, customer = desk.unit, desk.clock.now(), desk.owner()
    policy = await ladder.policy_of(unit, customer.id)
    rows = tuple(
        (f"{level.after} 分钟", _whom(level), " → ".join(_NAMES[way] for way in level.ways))
        for level in policy.levels
    )
    again = f"最后一级之后每 {policy.repeat} 分钟重来，直到有人确认" if policy.repeat else "不重复"
    blocks: list[Block] = [Table(("无人确认", "通知谁", "方式"), rows), Text(again, Style.QUIET)]
    roster = await unit.oncall.roster(customer.id)
    zone = ZoneInfo(roster.zone) if roster else desk.house.zone
    all_ = await unit.escalations.climbing(now, now + timedelta(microseconds=1))
    # Each is a question of its own, in the one writer's turn: a neighbour's storm has thousands.
    climbs = [climb for climb in all_ if climb.customer == customer.id]
    for climb in climbs[:SHOWN]:
        if rung := await ladder.next_rung(unit, climb.incident):
            due = f"{rung.due.astimezone(zone):%H:%M:%S}"
            words = f"#{climb.incident} {climb.title}：{due} 通知第 {rung.level + 1} 级"
            blocks.append(Text(words, Style.STRONG))
    if len(climbs) > SHOWN:
        blocks.append(Text(f"另有 {len(climbs) - SHOWN} 个正在升级：请用 /alerts 查看"))
    warnings = await _obstacles(policy, roster, desk)
    blocks += (Text(f"⚠️ {line}") for line in warnings)
    return Card("升级策略", Tone.WARNING if warnings else Tone.NEUTRAL, tuple(blocks))


@command("/escalate now", where=Where.CUSTOMER, examples=("/escalate now 12",), group=GROUP)
async def now_(incident: Numbered, *, call: Call) -> Card:
    """不等期限，立即通知一个事件的下一级。

    Parameters
    ----------
    incident
        事件编号。
    """
    desk = desk_of(call)
    climb = await desk.unit.escalations.last(incident)
    if climb is None or climb.customer != desk.owner().id:
        raise UsageError(f"本群没有正在升级的事件 #{incident}")
    rung = await ladder.hasten(desk.unit, incident, desk.clock.now())
    if rung is None:
        raise UsageError(f"事件 #{incident} 已经确认，或已没有下一级")
    detail = {"customer": desk.owner().name, "incident": str(incident)}
    await desk.unit.audit.add(desk.clock.now(), call.message.sender.name, "escalate-now", detail)
    return say("立即升级", f"#{incident} {climb.title}：通知第 {rung.level + 1} 级", tone=Tone.GOOD)


@command(
    "/escalate set",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/escalate set 5,15,30", "/escalate set 3,10 --ways 群内@,加急,邮件 --repeat 20"),
    group=GROUP,
)
async def set_(
    minutes: str,
    *,
    ways: str = "群内@,加急",
    repeat: Annotated[int, number(0, LONGEST)] = 30,
    between: Annotated[int, number(0, 600)] = 30,
    call: Call,
) -> Card:
    """设置升级策略：每一级通知值班表里的下一个人；只影响以后的事件。

    Parameters
    ----------
    minutes
        分钟数，逐级递增，例如 5,15,30。
    ways
        方式，按先后：群内@、私信、加急、webhook、邮件。
    repeat
        重复间隔，最后一级之后的分钟数，0 为不重复。
    between
        方式间隔，同一级两种方式之间的秒数。
    """
    desk = desk_of(call)
    found = _ways(ways)
    levels = tuple(Level(after, ahead, found) for ahead, after in enumerate(_minutes(minutes)))
    await desk.unit.escalations.set_policy(desk.owner().id, Policy(levels, repeat, between))
    detail = {"customer": desk.owner().name, "minutes": minutes, "ways": ways}
    await desk.unit.audit.add(desk.clock.now(), call.message.sender.name, "escalate-set", detail)
    return await escalate.run(call=call) or say("已设置")


@command("/escalate stats", where=Where.CUSTOMER, examples=("/escalate stats 30",), group=GROUP)
async def stats(days: Annotated[int, number(1, 3650)] = 30, *, call: Call) -> Card:
    """查看严重告警的平均确认时间（MTTA）和平均恢复时间（MTTR）。

    Parameters
    ----------
    days
        天数，默认 30。
    """
    desk = desk_of(call)
    now, customer = desk.clock.now(), desk.owner().id
    since = now - timedelta(days=days)
    climbs = await desk.unit.escalations.since(customer, since)
    known, roster = figures(climbs), await desk.unit.oncall.roster(customer)
    pairs = (
        ("严重事件", f"{known.incidents} 个，升级 {known.rounds} 轮"),
        ("平均确认时间 MTTA", f"{_span(known.to_ack)}（{known.acked} 次确认）"),
        ("平均首次处理时间", f"{_span(known.to_act)}（确认、静默或关闭，取最早的一次）"),
        ("静默", f"{known.silenced} 次（停止升级，不计入确认时间）"),
        ("平均恢复时间 MTTR", f"{_span(known.to_resolve)}（{known.resolved} 个恢复）"),
        ("无人确认", f"{known.waiting} 轮在等；{known.unanswered} 轮没有人处理就已结束"),
    )
    zone = ZoneInfo(roster.zone) if roster else desk.house.zone
    charts = answers(climbs, since, now, zone)
    return Card(f"响应统计 · {days} 天", Tone.NEUTRAL, (Fields(pairs), *charts))


async def _obstacles(policy: Policy, roster: Roster | None, desk: Desk) -> list[str]:
    """Say which ways of a policy reach nobody, and whom of the roster they do not reach."""
    found = await reach.shut(desk.owner(), policy, desk.chats, desk.unit)
    if roster is None or not roster.callees:
        return [*found, f"{rota.NO_LAYER}：请输入 /oncall add @某人"]
    ways = {way for level in policy.levels for way in level.ways}
    for callee in roster.callees:
        found += await reach.obstacles(callee, ways, desk.chats, desk.unit)
    return found


def _whom(level: Level) -> str:
    return f"值班人之后第 {level.ahead} 位" if level.ahead else "值班人"


def _span(span: timedelta | None) -> str:
    if span is None:
        return "—"
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    return f"{minutes} 分 {seconds} 秒"


def _minutes(text: str) -> tuple[int, ...]:
    parts = [part for part in re.split(r"[,，、/]+", text) if part]
    found = tuple(int(part) for part in parts if re.fullmatch("[0-9]{1,4}", part))
    rising = all(early < late for early, late in pairwise(found))
    if len(found) != len(parts) or not 1 <= len(found) <= MOST or not rising or found[-1] > LONGEST:
        raise UsageError(f"请填 1 到 {MOST} 个逐级递增的分钟数（最多 {LONGEST}），例如 5,15,30")
    return found


def _ways(text: str) -> tuple[Way, ...]:
    words = [word for word in re.split(r"[,，、]+", text) if word]
    unknown = [word for word in words if word not in WAYS]
    if unknown or not words or len(set(words)) < len(words):
        raise UsageError(f"方式请从这些里选，不重复：{'、'.join(WAYS)}")
    return tuple(WAYS[word] for word in words)


ESCALATE = (escalate, now_, set_, stats)

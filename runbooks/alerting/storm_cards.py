"""What a group is shown of a storm: one card while it lasts, and a summary when it is over. Pure.

The newest criticals come first and none is left out: beyond those that are named, all are counted
by their rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from adapters.card import Block, Button, Buttons, Card, Fields, Style, Table, Text, Tone
from adapters.chart import Chart
from adapters.words import Severity
from runbooks.alerting.incident_cards import (
    LINE,
    LINES,
    NAMED,
    NEXT_CALL,
    SIGNS,
    STATES,
    TOP,
    action,
    clock,
    counted,
    hidden_lines,
    lasted,
    line,
    microseconds,
    severities,
)
from runbooks.alerting.policy import Policy
from runbooks.alerting.thresholds import THOUSANDTHS, Raise, Suggestion, Wait
from storage.incidents import Tally
from storage.records import Incident, IncidentState, KnownAlert, Storm, StormPhase

SUGGESTED = 3
"""Silences that a summary suggests."""

FULL = "见完整清单"
LAST_MINUTE = "最近一分钟新增"
AFTER = "详情见「告警风暴总结」；仍未恢复的告警组输入 /alerts 查看"


@dataclass(frozen=True, slots=True)
class StormView:
    """All that a storm's card shows, as it is read in one moment."""

    storm: Storm
    tallies: Sequence[Tally]
    hosts: Sequence[tuple[str, int]]
    criticals: Sequence[KnownAlert]
    """Those that fire and are seen, the newest first: NAMED of them are enough, `tallies` count all."""
    incidents: Sequence[Incident]
    hidden: Sequence[tuple[str, Severity, int]] = ()
    next_escalation: datetime | None = None
    customer: int = 0
    more: tuple[Block, ...] = ()
    raised: int = 0
    """Incidents that were raised to critical though none of their alerts is, or was."""


def storm_card(view: StormView, policy: Policy, now: datetime, zone: tzinfo) -> Card:
    """Return the one card of a storm: the newest criticals first, and never cut. Of one that is over
    it says only what stays true: it is not drawn again, and its summary has the rest."""
    storm, counts = view.storm, severities(view.tallies)
    if storm.phase is StormPhase.NORMAL:
        return Card("✅ 告警风暴已结束", Tone.GOOD, (Text(AFTER),))
    acked = sum(each.state is IncidentState.ACKED for each in view.incidents)
    blocks: list[Block] = []
    if view.criticals:
        named, rest = view.criticals[:NAMED], _unnamed(view)
        total = len(named) + sum(rest.values())
        blocks.append(Text(f"严重告警 {total} 条，新的在前", Style.STRONG))
        blocks.append(Text("\n".join(line(alert, policy, now, zone) for alert in named)))
        if rest:
            words = "、".join(f"{rule} {n} 条" for rule, n in rest.most_common(LINES))
            others = sum(n for _, n in rest.most_common()[LINES:])
            more = f"、其他规则 {others} 条" if others else ""
            blocks.append(
                Text(f"另有严重告警 {sum(rest.values())} 条：{words}{more}（{FULL}）", full=FULL)
            )
    pairs = [
        ("触发中", counted(counts) or "0 条"),
        ("告警组", f"{len(view.incidents)} 个，已确认 {acked} 个"),
        ("提为严重", f"{view.raised} 个告警组（/alerts）" if view.raised else ""),
        (LAST_MINUTE, f"{sum(each.alerts for each in storm.recent)} 条"),
        ("本次共收到", f"{storm.received:,} 条"),
        ("开始于", clock(storm.since, zone) if storm.since else ""),
        (NEXT_CALL, clock(view.next_escalation, zone) if view.next_escalation else ""),
    ]
    blocks.append(Fields(tuple(pair for pair in pairs if pair[1])))
    blocks += _tops(view.tallies, view.hosts, zone)
    blocks += [*view.more, *hidden_lines(view.hidden)]
    blocks.append(Buttons(_storm_buttons(view, now)))
    title = f"🌪️ 告警风暴：{counted(counts) or '已平息'}"
    if storm.phase is StormPhase.DRAIN:
        title = f"{title}（正在平息）"
    bad = counts.get(Severity.CRITICAL) or view.raised
    tone = Tone.BAD if bad else Tone.WARNING
    return Card(title, tone, tuple(blocks))


def _unnamed(view: StormView) -> Counter[str]:
    """Count the criticals beyond those that are named, by their rule."""
    found = Counter[str]()
    for tally in view.tallies:
        if tally.severity is Severity.CRITICAL:
            found[tally.rule[:LINE]] += tally.count
    return found - Counter(alert.rule[:LINE] for alert in view.criticals[:NAMED])


def summary(
    storm: Storm,
    tallies: Sequence[Tally],
    incidents: Sequence[Incident],
    now: datetime,
    zone: tzinfo,
    suggested: Sequence[Suggestion] = (),
    course: Sequence[Chart] = (),
) -> Card:
    """Return what a storm was, when it is over, and what would make the next one smaller.

    `storm` is as it was in its last moment, `tallies` count all that fired since it began, and
    `course` shows when.
    """
    since = storm.since or now
    by = [each for i in incidents for each in (i.acked_by, i.resolved_by) if each]
    people = sorted({each.name or each.id for each in by})
    open_ = sum(each.state is not IncidentState.RESOLVED for each in incidents)
    distinct = sum(tally.count for tally in tallies)
    # What began long before its storm was seen is not in its count, and came at least once.
    received = max(storm.received, distinct)
    pairs = (
        ("时间", f"{clock(since, zone)} 起，{lasted(now - since)}"),
        ("收到", f"{received:,} 条，其中不同的告警 {distinct:,} 条"),
        ("级别", counted(severities(tallies)) or "无"),
        ("最多一分钟", f"{storm.peak:,} 条新告警"),
        ("告警组", f"{len(incidents)} 个，仍未恢复 {open_} 个"),
        ("处理人", _who(people)),
    )
    blocks: list[Block] = [Fields(pairs), *course, *_tops(tallies, (), zone)]
    blocks += _left(incidents, storm.customer)
    noisy = suggestions(tallies)
    if noisy:
        blocks.append(Text("建议（按一下即生效）", Style.STRONG))
        buttons = tuple(
            Button(
                f"静默「{tally.rule[:20]}」2 小时",
                action("quiet", tally.rule, 120),
                confirm=f"2 小时内不再提醒「{tally.rule[:20]}」的警告和提示？严重告警照常。",
            )
            for tally in noisy
        )
        blocks.append(Buttons((*buttons, *map(_suggested, suggested))))
        if suggested:
            blocks.append(Text("\n".join(map(_explained, suggested)), Style.QUIET))
    return Card("告警风暴总结", Tone.NEUTRAL, tuple(blocks))


def _who(people: Sequence[str]) -> str:
    more = f" 等 {len(people)} 人" if len(people) > NAMED else ""
    return "、".join(name[:LINE] for name in people[:NAMED]) + more or "没有人确认"


def worst_first(incidents: Sequence[Incident]) -> list[Incident]:
    """Return incidents with those first that need somebody most: not acknowledged, the worst, new."""
    return sorted(
        incidents, key=lambda i: (i.state is not IncidentState.OPEN, -i.severity.rank, -i.id)
    )


def _left(incidents: Sequence[Incident], customer: int) -> list[Block]:
    """Return what is still open after a storm, which had no card of its own, with what answers it."""
    left = worst_first([i for i in incidents if i.state is not IncidentState.RESOLVED])
    if not left:
        return []
    lines = [
        f"{SIGNS[i.severity]} #{i.id} {' '.join(i.title[:LINE].split())}：{STATES[i.state]}"
        for i in left[:NAMED]
    ]
    more = [f"另有 {len(left) - NAMED} 个：/alerts"] if len(left) > NAMED else []
    blocks: list[Block] = [
        Text(f"仍未恢复 {len(left)} 个", Style.STRONG),
        Text("\n".join([*lines, *more]), full="/alerts"),
    ]
    acks = _acks(left, customer)
    return [*blocks, Buttons(acks)] if acks else blocks


def _suggested(what: Suggestion) -> Button:
    """Return the button that does what is suggested."""
    rule = what.rule[:20]
    match what:
        case Raise(was=was, wanted=wanted):
            label = f"「{rule}」阈值 {was:g} → {wanted:g}"
            sure = f"把监控里「{rule}」的阈值从 {was:g} 调到 {wanted:g}？它现有的告警会先结束。"
            return Button(
                label, action("raise", what.rule, round(wanted * THOUSANDTHS)), confirm=sure
            )
        case Wait(minutes=minutes):
            label = f"「{rule}」持续 {minutes} 分钟才提醒"
            sure = f"以后「{rule}」的警告持续 {minutes} 分钟才提醒？严重告警照常。"
            return Button(label, action("hold", what.rule, minutes), confirm=sure)


def _explained(what: Suggestion) -> str:
    """Say why this is suggested."""
    rule = what.rule[:20]
    match what:
        case Raise(was=was, wanted=wanted):
            return f"阈值：「{rule}」{was:g} → {wanted:g}，这次 95% 的数值不超过它，或已是上限"
        case Wait(minutes=minutes):
            return f"持续时间：「{rule}」的告警要持续 {minutes} 分钟才提醒，短暂的不再打扰"


def suggestions(tallies: Sequence[Tally]) -> Sequence[Tally]:
    """Return the rules that made the most noise: never a critical one, that is not ours to hide."""
    critical = {tally.rule for tally in tallies if tally.severity is Severity.CRITICAL}
    by_rule: dict[str, Tally] = {}
    for one in tallies:
        if one.rule not in critical and len(one.rule) <= LINE:
            # A button is for all that a rule says, so warnings and what is less are one.
            there = by_rule.get(one.rule)
            count = one.count + (there.count if there else 0)
            by_rule[one.rule] = replace(there or one, count=count)
    noisy = [each for each in by_rule.values() if each.count >= TOP]
    return sorted(noisy, key=lambda each: -each.count)[:SUGGESTED]


def _tops(tallies: Sequence[Tally], hosts: Sequence[tuple[str, int]], zone: tzinfo) -> list[Block]:
    blocks: list[Block] = []
    if tallies:
        rows = tuple(
            (
                f"{SIGNS[tally.severity]} {tally.rule[:40]}",
                f"{tally.count:,}",
                f"{tally.hosts}",
                f"{tally.since.astimezone(zone):%H:%M:%S}",
            )
            for tally in tallies[:TOP]
        )
        blocks.append(Table(("规则", "条数", "服务器数", "自"), rows, FULL))
        if len(tallies) > TOP:
            blocks.append(Text(f"另有 {len(tallies) - TOP} 条规则，{FULL}", Style.QUIET))
    if hosts:
        words = "、".join(f"{host[:40]}（{count}）" for host, count in hosts[:TOP])
        blocks.append(Text(f"告警最多的服务器：{words}", full=FULL))
    return blocks


def _storm_buttons(view: StormView, now: datetime) -> tuple[Button, ...]:
    full = Button("完整清单", action("list", str(view.customer), microseconds(now)))
    return (*_acks(view.incidents, view.customer), full)


def _acks(incidents: Sequence[Incident], customer: int) -> tuple[Button, ...]:
    """Return the button that acknowledges all of these that nobody has yet; none where that is none.

    It carries the newest change that is shown, not the present: what is being folded just now has the
    instant at which that began, and is not on the card.
    """
    open_ = sum(each.state is IncidentState.OPEN for each in incidents)
    if not open_:
        return ()
    seen = microseconds(max(each.changed_at for each in incidents))
    wanted = action("ack-all", str(customer), seen)
    return (Button(f"确认全部（{open_}）", wanted, Style.PRIMARY),)

"""What a group is shown of a storm: one card while it lasts, and a summary when it is over. Pure.

The newest criticals come first and none is left out: beyond those that are named, all are counted
by their rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from adapters.card import Block, Button, Buttons, Card, Fields, Style, Table, Text, Tone
from adapters.words import Severity
from runbooks.alerting.incident_cards import (
    LINE,
    LINES,
    NAMED,
    NAMES,
    SIGNS,
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
from storage.incidents import Tally
from storage.records import Incident, IncidentState, KnownAlert, Storm, StormPhase

SUGGESTED = 3
"""Silences that a summary suggests."""


@dataclass(frozen=True, slots=True)
class StormView:
    """All that a storm's card shows, as it is read in one moment."""

    storm: Storm
    tallies: Sequence[Tally]
    hosts: Sequence[tuple[str, int]]
    criticals: Sequence[KnownAlert]
    """Those that fire and are seen, the newest first."""
    incidents: Sequence[Incident]
    hidden: Sequence[tuple[str, Severity, int]] = ()
    next_escalation: datetime | None = None
    customer: int = 0


def storm_card(view: StormView, policy: Policy, now: datetime, zone: tzinfo) -> Card:
    """Return the one card of a storm: the newest criticals first, and never cut."""
    storm, counts = view.storm, severities(view.tallies)
    acked = sum(each.state is IncidentState.ACKED for each in view.incidents)
    over = storm.phase is StormPhase.NORMAL
    blocks: list[Block] = []
    if view.criticals:
        blocks.append(Text(f"严重告警 {len(view.criticals)} 条，新的在前", Style.STRONG))
        named = view.criticals[:NAMED]
        blocks.append(Text("\n".join(line(alert, policy, now, zone) for alert in named)))
        rest = Counter(alert.rule[:LINE] for alert in view.criticals[NAMED:])
        if rest:
            words = "、".join(f"{rule} {n} 条" for rule, n in rest.most_common(LINES))
            others = sum(n for _, n in rest.most_common()[LINES:])
            more = f"、其他规则 {others} 条" if others else ""
            blocks.append(
                Text(f"另有严重告警 {sum(rest.values())} 条：{words}{more}（见完整清单）")
            )
    pairs = [
        ("触发中", counted(counts) or "0 条"),
        ("告警组", f"{len(view.incidents)} 个，已确认 {acked} 个"),
        ("最近一分钟新增", f"{sum(n for at, n, _ in storm.recent)} 条"),
        ("本次共收到", f"{storm.received:,} 条"),
        ("开始于", clock(storm.since, zone) if storm.since else ""),
        ("下一次升级", clock(view.next_escalation, zone) if view.next_escalation else ""),
    ]
    blocks.append(Fields(tuple(pair for pair in pairs if pair[1])))
    blocks += _tops(view.tallies, view.hosts, zone)
    blocks += hidden_lines(view.hidden)
    if not over:
        blocks.append(Buttons(_storm_buttons(view, now)))
    title = "✅ 告警风暴已结束" if over else f"🌪️ 告警风暴：{counted(counts) or '已平息'}"
    if storm.phase is StormPhase.DRAIN:
        title = f"{title}（正在平息）"
    tone = Tone.BAD if counts.get(Severity.CRITICAL) else Tone.WARNING
    return Card(title, Tone.GOOD if over else tone, tuple(blocks))


def summary(
    storm: Storm,
    tallies: Sequence[Tally],
    incidents: Sequence[Incident],
    now: datetime,
    zone: tzinfo,
) -> Card:
    """Return what a storm was, when it is over, and what would make the next one smaller.

    `storm` is as it was in its last moment, `tallies` count all that fired since it began.
    """
    since = storm.since or now
    people = sorted({i.acked_by.name or i.acked_by.id for i in incidents if i.acked_by})
    open_ = sum(each.state is not IncidentState.RESOLVED for each in incidents)
    distinct = sum(tally.count for tally in tallies)
    pairs = (
        ("时间", f"{clock(since, zone)} 起，{lasted(now - since)}"),
        ("收到", f"{storm.received:,} 条，其中不同的告警 {distinct:,} 条"),
        ("级别", counted(severities(tallies)) or "无"),
        ("最多一分钟", f"{storm.peak:,} 条新告警"),
        ("告警组", f"{len(incidents)} 个，仍未恢复 {open_} 个"),
        ("处理人", "、".join(people) or "没有人确认"),
    )
    blocks: list[Block] = [Fields(pairs), *_tops(tallies, (), zone)]
    noisy = suggestions(tallies)
    if noisy:
        blocks.append(Text("建议（按一下即生效）", Style.STRONG))
        buttons = tuple(
            Button(
                f"静默「{tally.rule[:20]}」2 小时",
                action("quiet", tally.rule, 120),
                confirm=f"2 小时内不再提醒「{tally.rule[:20]}」的{NAMES[tally.severity]}级告警？",
            )
            for tally in noisy
        )
        blocks.append(Buttons(buttons))
        words = "、".join(f"「{tally.rule[:20]}」（{tally.hosts} 台）" for tally in noisy)
        blocks.append(Text(f"若阈值过低：请调高 {words} 的阈值或持续时间", Style.QUIET))
    return Card("告警风暴总结", Tone.NEUTRAL, tuple(blocks))


def suggestions(tallies: Sequence[Tally]) -> Sequence[Tally]:
    """Return the rules that made the most noise: never a critical one, that is not ours to hide."""
    critical = {tally.rule for tally in tallies if tally.severity is Severity.CRITICAL}
    noisy = [
        t for t in tallies if t.rule not in critical and t.count >= TOP and len(t.rule) <= LINE
    ]
    return noisy[:SUGGESTED]


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
        blocks.append(Table(("规则", "条数", "服务器数", "自"), rows))
        if len(tallies) > TOP:
            blocks.append(Text(f"另有 {len(tallies) - TOP} 条规则，见完整清单", Style.QUIET))
    if hosts:
        words = "、".join(f"{host[:40]}（{count}）" for host, count in hosts[:TOP])
        blocks.append(Text(f"告警最多的服务器：{words}"))
    return blocks


def _storm_buttons(view: StormView, now: datetime) -> tuple[Button, ...]:
    seen, customer = microseconds(now), str(view.customer)
    open_ = sum(each.state is IncidentState.OPEN for each in view.incidents)
    acks = (
        (Button(f"确认全部（{open_}）", action("ack-all", customer, seen), Style.PRIMARY),)
        if open_
        else ()
    )
    return (*acks, Button("完整清单", action("list", customer, seen)))

"""What a group is shown of incidents. Pure: rows go in, cards come out.

Every text that a monitor wrote is cut, so that no card can outgrow what a platform takes; a
critical alert is never left out: beyond those that are named, all are counted by their rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from adapters.card import Block, Button, Buttons, Card, Fields, Mention, Style, Table, Text, Tone
from adapters.words import Person, Severity
from runbooks.alerting.flapping import flapping
from runbooks.alerting.policy import Policy
from storage.incidents import Tally
from storage.records import Incident, IncidentState, KnownAlert

SIGNS = {Severity.CRITICAL: "🔴", Severity.WARNING: "🟠", Severity.INFO: "🔵"}
NAMES = {Severity.CRITICAL: "严重", Severity.WARNING: "警告", Severity.INFO: "提示"}
STATES = {
    IncidentState.OPEN: "❗ 未确认",
    IncidentState.ACKED: "👀 已确认",
    IncidentState.RESOLVED: "✅ 已恢复",
}

NAMED = 20
"""Critical alerts that are named one by one on a storm's card."""
LINES = 8
"""Alerts that are named on an incident's card."""
TOP = 5
LINE = 50
"""Characters of each text that a monitor wrote: twenty lines of three such, in Chinese or in signs
of four bytes, are within the smallest card that a platform takes (20,000 bytes)."""
NEXT_CALL = "下一次升级"
HUSH = 60
"""Minutes for which a card's button silences."""


def action(verb: str, subject: str, seen: int) -> str:
    """Return what a button says: `seen` is what the card showed, so an old one is known as such."""
    return f"alert|{verb}|{seen}|{subject}"


@dataclass(frozen=True, slots=True)
class IncidentView:
    """All that an incident's card shows."""

    incident: Incident
    alerts: Sequence[KnownAlert]
    next_escalation: datetime | None = None
    more: tuple[Block, ...] = field(default=())


def incident_card(view: IncidentView, policy: Policy, now: datetime, zone: tzinfo) -> Card:
    """Return the living card of one incident."""
    incident = view.incident
    firing = [alert for alert in view.alerts if alert.firing and not alert.hidden]
    quiet = [alert for alert in view.alerts if alert.firing and alert.hidden]
    hosts = {alert.host for alert in shown(view.alerts) if alert.host}
    pairs = [
        ("级别", f"{SIGNS[incident.severity]} {NAMES[incident.severity]}"),
        ("状态", _state(incident, zone)),
        ("告警", f"{len(firing)} 条在触发" if firing else "没有在触发的"),
        ("服务器", _some(sorted(hosts))),
        ("开始于", clock(incident.since, zone)),
    ]
    if incident.resolved_at:
        pairs.append(("持续", lasted(incident.resolved_at - incident.since)))
    if view.next_escalation and incident.state is IncidentState.OPEN:
        pairs.append((NEXT_CALL, clock(view.next_escalation, zone)))
    blocks: list[Block] = [Fields(tuple(pair for pair in pairs if pair[1]))]
    full = f"/incident {incident.id}"
    lines = [line(alert, policy, now, zone) for alert in _worst_first(firing)[:LINES]]
    if lines:
        blocks.append(Text("\n".join(lines), full=full))
    if len(firing) > LINES:
        blocks.append(Text(f"另有 {len(firing) - LINES} 条：{full}", Style.QUIET))
    blocks += [Text(f"🔕 {n} 条已隐藏：{why}", Style.QUIET, full) for why, n in _reasons(quiet)]
    blocks += view.more
    if incident.state is not IncidentState.RESOLVED:
        blocks.append(Buttons(_buttons(incident, view.alerts)))
    return Card(f"{_sign(incident)} 告警：{incident.title[:LINE]}", _tone(incident), tuple(blocks))


def mention(
    alerts: Sequence[KnownAlert],
    policy: Policy,
    now: datetime,
    zone: tzinfo,
    earlier: Card | None = None,
    whom: Person | None = None,
) -> Card:
    """Return the message that names new criticals, those of a message that has yet to go (`earlier`)
    below them; beyond NAMED the rest are counted. `whom` of this chat's platform it calls by name."""
    lines = [line(alert, policy, now, zone) for alert in alerts]
    more = 0
    for block in earlier.blocks if earlier else ():
        if isinstance(block, Text) and block.style is Style.PLAIN:
            lines += block.text.split("\n")
        elif isinstance(block, Fields):
            more += int(block.pairs[0][1])
    total = len(lines) + more
    named = [Mention((whom,))] if whom else []
    blocks: list[Block] = [*named, Text("\n".join(lines[:NAMED]), full="/alerts")]
    if total > NAMED:
        blocks.append(Fields((("另有", str(total - len(lines[:NAMED]))),)))
        blocks.append(Text("完整清单：/alerts", Style.QUIET))
    count = f" {total} 条" if total > 1 else ""
    return Card(f"🔴 新的严重告警{count}", Tone.BAD, tuple(blocks))


def recovered(incident: Incident, zone: tzinfo) -> Card:
    """Return the message of an incident that has ended."""
    end = incident.resolved_at or incident.changed_at
    pairs = [
        ("开始于", clock(incident.since, zone)),
        ("恢复于", clock(end, zone)),
        ("持续", lasted(end - incident.since)),
    ]
    if incident.resolved_by:
        pairs.append(("由谁关闭", incident.resolved_by.name or incident.resolved_by.id))
    return Card(f"✅ 已恢复：{incident.title[:LINE]}", Tone.GOOD, (Fields(tuple(pairs)),))


def overview(incidents: Sequence[Incident], counts: Sequence[Tally], zone: tzinfo) -> list[Block]:
    """Return the table of a customer's open incidents, the worst and newest first."""
    ordered = sorted(incidents, key=lambda i: (-i.severity.rank, -i.id))
    rows = [
        (
            f"#{each.id}",
            f"{SIGNS[each.severity]} {each.title[:40]}",
            _state(each, zone),
            clock(each.since, zone),
        )
        for each in ordered[:20]
    ]
    blocks: list[Block] = [Fields((("触发中", counted(severities(counts)) or "0 条"),))]
    if rows:
        blocks.append(Table(("编号", "告警组", "状态", "开始于"), tuple(rows)))
    if len(ordered) > len(rows):
        blocks.append(Text(f"另有 {len(ordered) - len(rows)} 个告警组", Style.QUIET))
    return blocks


def line(alert: KnownAlert, policy: Policy, now: datetime, zone: tzinfo) -> str:
    """Return one alert as one line."""
    words = " ".join((alert.title or alert.text).split())
    about = " · ".join(part for part in (alert.rule[:LINE], alert.host[:LINE]) if part)
    said = f"：{words[:LINE]}" if words and words not in {about, alert.rule} else ""
    shaky = " 〰️抖动" if flapping(alert.flips, now, policy) else ""
    return f"{SIGNS[alert.severity]} {alert.since.astimezone(zone):%H:%M:%S} {about}{said}{shaky}"


def severities(tallies: Sequence[Tally]) -> dict[Severity, int]:
    """Count alerts by severity, the worst first."""
    counts = {
        severity: sum(tally.count for tally in tallies if tally.severity is severity)
        for severity in reversed(Severity)
    }
    return {severity: count for severity, count in counts.items() if count}


def hidden_lines(hidden: Sequence[tuple[str, Severity, int]]) -> list[Block]:
    """Say what is hidden and by whom: a critical that nobody sees is at least counted."""
    return [
        Text(f"🔕 {count:,} 条{NAMES[severity]}告警已隐藏：{why[:LINE]}", Style.QUIET, "/alerts")
        for why, severity, count in hidden[:LINES]
    ]


def clock(at: datetime, zone: tzinfo) -> str:
    """Return an instant as the house's cards name it."""
    return f"{at.astimezone(zone):%m-%d %H:%M:%S}"


def lasted(span: timedelta) -> str:
    """Return a span in words; its instants are shown by whole seconds, so it is one of these, too."""
    minutes = round(span.total_seconds()) // 60
    if minutes < 1:
        return "不到 1 分钟"
    return f"{minutes // 60} 小时 {minutes % 60} 分钟" if minutes >= 60 else f"{minutes} 分钟"  # noqa: PLR2004 - an hour


def _buttons(incident: Incident, alerts: Sequence[KnownAlert]) -> tuple[Button, ...]:
    seen = microseconds(_newest(incident, alerts))
    number = str(incident.id)
    url = next((alert.url for alert in alerts if alert.url.startswith(("http://", "https://"))), "")
    first = (
        Button("确认", action("ack", number, seen), Style.PRIMARY)
        if incident.state is IncidentState.OPEN
        else Button("取消确认", action("unack", number, seen))
    )
    opened = (Button("打开监控", url=url),) if url else ()
    return (
        first,
        Button("我来接手", action("take", number, seen)),
        Button(
            "静默 1 小时",
            action("silence", number, seen),
            confirm=f"1 小时内这些服务器上不再提醒「{incident.title[:20]}」？",
        ),
        Button("已解决", action("resolve", number, seen), confirm="确定已经解决？"),
        *opened,
    )


def shown(alerts: Sequence[KnownAlert]) -> Sequence[KnownAlert]:
    """Return the alerts whose hosts an incident's card names: those that fire and are seen, or all."""
    return [alert for alert in alerts if alert.firing and not alert.hidden] or alerts


def _newest(incident: Incident, alerts: Sequence[KnownAlert]) -> datetime:
    """Return when the last of what a card shows was accepted. It is not the incident's own change:
    what was accepted before that may have yet to be folded."""
    at = [alert.changed_at for alert in shown(alerts)]
    return max([incident.critical_at or incident.opened_at, *at])


def microseconds(at: datetime) -> int:
    """Return an instant as a button carries it."""
    return int(at.timestamp() * 1_000_000)


def _state(incident: Incident, zone: tzinfo) -> str:
    words = STATES[incident.state]
    if incident.state is IncidentState.ACKED and incident.acked_by:
        who = incident.acked_by.name or incident.acked_by.id
        return f"{words}（{who}）"
    return words


def _tone(incident: Incident) -> Tone:
    if incident.state is IncidentState.RESOLVED:
        return Tone.GOOD
    if incident.state is IncidentState.ACKED:
        return Tone.WORKING
    return Tone.BAD if incident.severity is Severity.CRITICAL else Tone.WARNING


def _sign(incident: Incident) -> str:
    return "✅" if incident.state is IncidentState.RESOLVED else SIGNS[incident.severity]


def counted(counts: dict[Severity, int]) -> str:
    """Return how many alerts of each severity there are, in words."""
    return " · ".join(f"{NAMES[severity]} {count:,}" for severity, count in counts.items())


def _worst_first(alerts: Sequence[KnownAlert]) -> list[KnownAlert]:
    return sorted(alerts, key=lambda a: (-a.severity.rank, -a.since.timestamp(), a.fingerprint))


def _reasons(alerts: Sequence[KnownAlert]) -> list[tuple[str, int]]:
    return Counter(alert.hidden[:LINE] for alert in alerts).most_common(LINES)


def _some(names: Sequence[str]) -> str:
    shown = "、".join(name[:40] for name in names[:TOP])
    return f"{shown} 等 {len(names)} 台" if len(names) > TOP else shown

"""What people decide about a customer's alerts from chat or by a press: in one transaction, and at
once in force for what is held back just now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.card import Block, Button, Buttons, Card, Style, Table, Text, Tone
from adapters.port import UsageError
from adapters.sources.reading import severity_of
from adapters.words import Person, Severity
from runbooks.alerting import pipeline
from runbooks.alerting.hold import hold_of, rescheduled, title_of
from runbooks.alerting.incident_cards import action
from runbooks.alerting.muting.silences import who
from runbooks.alerting.policy import Policy
from runbooks.alerting.thresholds import HOW, KNOBS, Last, Set, percentage
from runbooks.alerting.tuning import Hold, Tuning, keep, tuning_of
from runbooks.kit import House
from runbooks.rules import rules_of
from storage.records import Customer
from storage.store import Unit

MOST = 100
"""Rules of one customer that may be held back."""


@dataclass(frozen=True, slots=True)
class Adjuster:
    """Somebody who decides about a customer's alerts, in one transaction."""

    customer: Customer
    by: Person
    now: datetime
    house: House
    unit: Unit

    async def set(self, what: Set) -> str:
        """Set a number of the policy; return the old and the new one in words."""
        tuning, knob = await self._tuning(), what.knob
        before = getattr(tuning.applied(self.house.alerting), knob.field)
        if knob.seconds:
            spans = {**tuning.spans, knob.field: float(what.value * knob.seconds)}
            after = replace(tuning, spans=spans)
        else:
            after = replace(tuning, counts={**tuning.counts, knob.field: what.value})
        said = f"{knob.word}：{knob.spoken(before)} → {what.value} {knob.unit}"
        await self._keep(after, {"set": said})
        return said

    async def hold(self, what: Last) -> Card:
        """Have a rule's alerts last so long before they are told; 0 minutes is not at all. Answers
        with a card that has the way back."""
        tuning = await self._tuning()
        before = tuning.hold(what.rule)
        others = tuple(each for each in tuning.holds if each.rule != what.rule)
        after = Hold(what.rule, what.minutes, who(self.by), what.critical)
        if what.minutes and before and not what.critical and before.critical:
            after = replace(
                after, critical=True
            )  # what a command said is not taken back by a press
        holds = (*others, after) if what.minutes else others
        if len(holds) > MOST:
            raise UsageError(f"最多对 {MOST} 条规则设置持续时间：请先用 /threshold reset 去掉一些")
        said = f"{_minutes(before)} → {_minutes(after)}"
        await self._keep(replace(tuning, holds=holds), {"rule": what.rule, "hold": said})
        await self._redue(what.rule, after if what.minutes else None)
        await pipeline.reconsider(self.customer, self.now, self.house, self.unit)
        return _held(what.rule, before, after, said)

    async def reset(self, knob_or_rule: str) -> str:
        """Let the settings decide again on a number or a rule's time; return what that was, empty
        when nobody had decided."""
        tuning = await self._tuning()
        knob = next((each for each in KNOBS if each.word == knob_or_rule), None)
        if knob is None:
            if tuning.hold(knob_or_rule) is None:
                return ""
            await self.hold(Last(knob_or_rule, 0, critical=False))
            return f"「{knob_or_rule}」的持续时间"
        if knob.field not in {*tuning.spans, *tuning.counts}:
            return ""
        after = replace(
            tuning,
            spans={name: n for name, n in tuning.spans.items() if name != knob.field},
            counts={name: n for name, n in tuning.counts.items() if name != knob.field},
        )
        usual = knob.spoken(getattr(self.house.alerting, knob.field))
        await self._keep(after, {"reset": knob.word})
        return f"{knob.word}（现在是 {usual}）"

    async def _tuning(self) -> Tuning:
        return await tuning_of(self.customer.id, self.unit)

    async def _keep(self, tuning: Tuning, what: dict[str, str]) -> None:
        await keep(self.customer, tuning, self.by, self.now, what, self.unit)

    async def _redue(self, rule: str, chosen: Hold | None) -> None:
        """Have the monitor's alerts that are waiting be due as it is chosen now."""
        for held in await self.unit.held.firing(self.customer.id):
            if title_of(held.rule) == rule and held.announced_at is None:
                await self.unit.held.save(rescheduled(held, chosen))


async def hidden(customer: int, unit: Unit) -> Sequence[tuple[str, Severity, int]]:
    """Count what fires and is not told, by why and severity: what is hidden, and those of VigilOps
    that wait because somebody chose that they must last."""
    tuning = await tuning_of(customer, unit)
    there = await unit.incidents.hidden(customer)
    if not tuning.holds:
        return there
    waiting = Counter(
        (hold.told(), severity_of(held.severity))
        for held in await unit.held.firing(customer)
        if held.announced_at is None and (hold := tuning.hold(title_of(held.rule)))
    )
    return [*there, *((why, severity, n) for (why, severity), n in waiting.items())]


async def listed(customer: Customer, policy: Policy, unit: Unit) -> Card:
    """Return what is in force for a customer: rules with thresholds and times, and numbers of the
    policy. The thresholds are those that were last read back in VigilOps."""
    tuning = await tuning_of(customer.id, unit)
    ours = policy
    policy = tuning.applied(policy)
    knobs = tuple(
        (
            knob.word,
            knob.spoken(getattr(policy, knob.field)),
            knob.title,
            "本客户" if getattr(policy, knob.field) != getattr(ours, knob.field) else "默认",
        )
        for knob in KNOBS
    )
    blocks: list[Block] = [
        Table(("规则（VigilOps）", "阈值", "持续"), _rules(customer, tuning)),
        *await _holds(customer, tuning, unit),
        Table(("名称", "现在", "含义", "来自"), knobs),
        Text(f"{HOW}；恢复默认：/threshold reset 风暴", Style.QUIET),
    ]
    return Card("告警阈值", Tone.NEUTRAL, tuple(blocks))


def _rules(customer: Customer, tuning: Tuning) -> tuple[tuple[str, ...], ...]:
    rows = []
    for line in rules_of(customer.tier):
        if not line.metric:
            continue
        value = tuning.thresholds.get(line.title, line.value)
        chosen = f"{value:g}（标准 {line.value:g}）" if value != line.value else f"{value:g}"
        lasts = hold_of(line.key, line.severity, tuning.hold(line.title))
        minutes = int(lasts.total_seconds()) // 60
        shown = chosen if percentage(line.title) else "—"
        rows.append((line.title, shown, f"{minutes} 分钟" if minutes else "立即"))
    there = {row[0] for row in rows}
    rows += [(rule, f"{n:g}", "—") for rule, n in tuning.thresholds.items() if rule not in there]
    return tuple(rows)


async def _holds(customer: Customer, tuning: Tuning, unit: Unit) -> Sequence[Block]:
    if not tuning.holds:
        return ()
    waiting = await unit.held.firing(customer.id)
    hidden = await unit.incidents.hidden_by_rule(customer.id)
    rows = []
    for hold in tuning.holds:
        here = sum(title_of(h.rule) == hold.rule and h.announced_at is None for h in waiting)
        here += hidden.get((hold.rule, hold.told()), 0)
        kinds = "含严重" if hold.critical else "不含严重"
        rows.append((hold.rule, f"{hold.minutes} 分钟", kinds, hold.by, f"{here} 条"))
    return (Table(("持续才提醒的规则", "持续", "级别", "谁定的", "正在等"), tuple(rows)),)


def _held(rule: str, before: Hold | None, after: Hold, said: str) -> Card:
    minutes = before.minutes if before else 0
    back = Button(
        "恢复原值",
        action("hold", rule, minutes),
        confirm=f"「{rule[:20]}」恢复为「{_minutes(before)}」？",
    )
    lines = [f"{rule}：{said}"]
    if after.minutes:
        lines.append(
            "包括严重告警" if after.critical else "严重告警照常立即提醒；正在等的会计数在卡片上"
        )
    return Card("持续时间已更改", Tone.GOOD, (Text("\n".join(lines)), Buttons((back,))))


def _minutes(hold: Hold | None) -> str:
    return f"持续 {hold.minutes} 分钟才提醒" if hold and hold.minutes else "不另外等"

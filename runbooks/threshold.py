"""调整告警阈值: a rule of the customer's VigilOps is to fire at another figure, and can be put back.

What the bot says is one rule may be several there: ours, and the monitor's own that watches the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from adapters.card import Block, Button, Buttons, Fields
from adapters.port import Fault, Permanent, Rule, UsageError
from adapters.sources import vigilops
from adapters.words import Person
from runbooks import walk as walking
from runbooks.alerting.hold import fingerprint, title_of, told_elsewhere
from runbooks.alerting.incident_cards import action, microseconds
from runbooks.alerting.thresholds import percentage
from runbooks.alerting.tuning import keep, tuning_of
from runbooks.alerting.watch import case_of
from runbooks.book import Phase, Runbook, Step
from runbooks.case import Onboarding
from runbooks.kit import Errand
from runbooks.rules import OURS, RULES, TEST
from runbooks.steps.monitor import monitor
from storage.records import Customer, Run, RunStatus
from storage.runs import OPEN
from storage.store import Unit

RISING = (">", ">=")
"""Operators of rules that a higher threshold makes quieter."""
LEAST, MOST = 1.0, 99.0
"""Of a percentage."""
NAMED = 10
"""Rules that are named when there is none of that name."""
EVER = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """One rule of the monitor, and its threshold before and after."""

    name: str
    was: float
    wanted: float


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is to be changed: found out in the monitor first, or taken from the run that it undoes."""

    onboarding: Onboarding
    rule: str
    """As cards name it."""
    wanted: float
    changes: tuple[Change, ...] = ()
    undoes: str = ""
    """Number of the run whose changes are taken back."""


# -- the lines ----------------------------------------------------------------------------------


async def look(case: Adjustment, errand: Errand) -> tuple[Adjustment, str]:
    """Find the monitor's rules, and what is to be changed of them."""
    rules = await (await monitor(case.onboarding, errand)).rules()
    there = alike(rules, case.rule)
    if not there:
        real = (rule.name for rule in rules if not rule.name.startswith(TEST))
        titles = dict.fromkeys(title_of(fingerprint(f"{name} - ")[0]) for name in real)
        names = "、".join([*titles][:NAMED])
        raise Permanent(f"监控里没有规则「{case.rule}」。现有：{names}", fault=Fault.REFUSED)
    if case.undoes:
        now = {rule.name: rule.threshold for rule in there}
        moved = [c.name for c in case.changes if now.get(c.name) not in {c.was, c.wanted}]
        if moved:
            raise Permanent(
                f"监控里的「{'、'.join(moved)}」后来又改过，没有恢复：请用 /threshold 写明要的阈值",
                fault=Fault.REFUSED,
            )
    else:
        case = replace(case, changes=changes_of(there, case.wanted))
    return case, _told(case) or f"监控里已经是 {case.wanted:g}，没有要改的"


async def change(case: Adjustment, errand: Errand) -> tuple[Adjustment, str]:
    """Write each threshold once and read all of them back; then they are what counts for the
    customer, also when the rules are set up anew."""
    watch = await monitor(case.onboarding, errand)
    for one in case.changes:

        async def now(one: Change = one) -> float | None:
            found = next((r for r in await watch.rules() if r.name == one.name), None)
            return one.wanted if found and found.threshold == one.wanted else None

        async def write(one: Change = one) -> float:
            found = next((r for r in await watch.rules() if r.name == one.name), None)
            if found is None:
                raise Permanent(f"监控里的规则「{one.name}」不见了", fault=Fault.REFUSED)
            return (await watch.ensure_rule(replace(found, threshold=one.wanted))).threshold

        await errand.once(f"threshold:{one.name}", write, now)
    kept = {rule.name: rule.threshold for rule in await watch.rules()}
    wrong = [one.name for one in case.changes if kept.get(one.name) != one.wanted]
    if wrong:
        raise Permanent(f"回读不对：{'、'.join(wrong)}", fault=Fault.REFUSED)
    await _remember(case, errand)
    return case, _told(case) or "没有要改的"


def alike(rules: Sequence[Rule], title: str) -> list[Rule]:
    """Return the monitor's rules that are this one on cards."""
    return [
        rule
        for rule in rules
        if not told_elsewhere(rule.name) and title_of(fingerprint(f"{rule.name} - ")[0]) == title
    ]


def changes_of(there: Sequence[Rule], wanted: float) -> tuple[Change, ...]:
    """Return what is to be changed so that the rule fires at `wanted`, and not before.

    Ours gets it; another that watches the same only if it would fire sooner. Raises Permanent for
    what is no threshold.
    """
    odd = [rule for rule in there if rule.operator not in RISING]
    if odd:
        raise Permanent(
            f"「{odd[0].name}」不是「大于」的规则，机器人不改它：请在 VigilOps 里改",
            fault=Fault.REFUSED,
        )
    if any(rule.metric.endswith("_percent") for rule in there) and not LEAST <= wanted <= MOST:
        raise Permanent(f"百分比的阈值请填 {LEAST:g} 到 {MOST:g}", fault=Fault.REFUSED)
    ours = [rule for rule in there if rule.name.startswith(OURS)] or list(there)
    return tuple(
        Change(rule.name, rule.threshold, wanted)
        for rule in there
        if rule.threshold < wanted or (rule in ours and rule.threshold != wanted)
    )


async def _remember(case: Adjustment, errand: Errand) -> None:
    now = errand.kit.clock.now()
    async with errand.kit.store.unit() as unit:
        run, customer = (
            await unit.runs.get(errand.run),
            await unit.customers.get(case.onboarding.customer),
        )
        assert run is not None
        assert customer is not None
        tuning = await tuning_of(customer.id, unit)
        if tuning.thresholds.get(case.rule) == case.wanted and not case.changes:
            return
        thresholds = {**tuning.thresholds, case.rule: case.wanted}
        if case.wanted == standard(case.rule):
            del thresholds[case.rule]
        if thresholds == tuning.thresholds:
            return  # a process before this one came so far
        what = {"rule": case.rule, "changes": _told(case), "run": errand.run}
        await keep(
            customer, replace(tuning, thresholds=thresholds), run.started_by, now, what, unit
        )


def standard(rule: str) -> float | None:
    """Return the threshold of the tiers' table; None of a rule that is not in it."""
    return next((line.value for line in RULES if line.title == rule and line.metric), None)


def _told(case: Adjustment) -> str:
    return "；".join(f"{one.name}：{one.was:g} → {one.wanted:g}" for one in case.changes)


# -- the card at the end ------------------------------------------------------------------------


async def closing(case: Adjustment, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Show what was changed, and the button that puts it back until somebody has pressed it."""
    pairs = tuple((one.name, f"{one.was:g} → {one.wanted:g}（已回读）") for one in case.changes)
    if not pairs:
        return ()
    if case.undoes or await _undone(run, unit):
        return (Fields(pairs),)
    sure = f"恢复原值？{'；'.join(f'{one.name} {one.was:g}' for one in case.changes)}"
    button = Button(
        "恢复原值", action("restore", run.id, microseconds(run.updated_at)), confirm=sure
    )
    return (Fields(pairs), Buttons((button,)))


async def _undone(run: Run, unit: Unit) -> bool:
    there = await unit.runs.of(run.customer, THRESHOLD.name)
    return any(
        walking.load(THRESHOLD, each).undoes == run.id
        for each in there
        if each.status is not RunStatus.CANCELLED
    )


THRESHOLD: Runbook[Adjustment] = Runbook(
    "threshold",
    "调整告警阈值",
    Adjustment,
    (
        Phase("调整告警阈值"),
        Step("look", "查看监控里的规则", look, tries=3),
        Step("change", "修改并逐条回读", change, tries=3),
    ),
    closing,
)


# -- how it begins ------------------------------------------------------------------------------


async def begin(
    customer: Customer, rule: str, wanted: float, by: Person, now: datetime, unit: Unit
) -> Run:
    """Put a run that sets a rule's threshold at its first line, in the caller's transaction.

    Raises UsageError when the rule has no threshold that the bot can set.
    """
    seen = await unit.incidents.of_rule(customer.id, rule, EVER, 1)
    instead = f"请改用：/threshold {rule} 持续 5分钟"
    if seen and seen[0].source != vigilops.NAME:
        raise UsageError(f"「{rule}」来自 {seen[0].source}，机器人改不了它的阈值。{instead}")
    onboarding = await case_of(customer.id, unit)
    if onboarding is None:
        raise UsageError(f"本客户没有由机器人设置规则的 VigilOps，改不了阈值。{instead}")
    if standard(rule) is not None and not percentage(rule):
        raise UsageError(f"「{rule}」没有阈值。{instead}")
    if percentage(rule) and not LEAST <= wanted <= MOST:
        raise UsageError(f"「{rule}」的阈值是百分比，请填 {LEAST:g} 到 {MOST:g}")
    return await _start(customer, Adjustment(onboarding, rule, wanted), by, now, unit)


async def restore(customer: Customer, number: str, by: Person, now: datetime, unit: Unit) -> Run:
    """Put a run that takes back what run `number` changed at its first line; UsageError when that
    is not to be had any more."""
    done = await unit.runs.get(number)
    if done is None or done.customer != customer.id or done.book != THRESHOLD.name:
        raise UsageError("这张卡片不属于本群")
    case: Adjustment = walking.load(THRESHOLD, done)
    if done.status is not RunStatus.DONE or case.undoes or await _undone(done, unit):
        raise UsageError("已经恢复过，请看最新的卡片")
    back = tuple(Change(one.name, one.wanted, one.was) for one in case.changes)
    again = replace(case, wanted=_first(back, case), changes=back, undoes=number)
    begun = await _start(customer, again, by, now, unit)
    await walking.mark(done, unit)  # its button goes
    return begun


def _first(back: Sequence[Change], case: Adjustment) -> float:
    """Return the threshold of our rule among these; of the first where none is ours."""
    known: Mapping[str, float] = {one.name: one.wanted for one in back}
    return known.get(f"{OURS}{case.rule}", next(iter(known.values()), case.wanted))


async def _start(
    customer: Customer, case: Adjustment, by: Person, now: datetime, unit: Unit
) -> Run:
    for each in await unit.runs.of(customer.id, THRESHOLD.name):
        if each.status in OPEN and walking.load(THRESHOLD, each).rule == case.rule:
            raise UsageError(
                f"「{case.rule}」的阈值正在调整：请看它的卡片，或用 /cancel 取消后再试"
            )
    run = walking.fresh(THRESHOLD, customer.id, walking.dump(case), by, now)
    placed = await walking.start(THRESHOLD, run, unit)
    detail = {"customer": customer.name, "rule": case.rule, "run": placed.id}
    await unit.audit.add(now, by.name or by.id, "threshold-begun", detail)
    return placed

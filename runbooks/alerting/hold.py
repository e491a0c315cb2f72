"""The "for five minutes" of the rules: what the monitor says goes in, what the group is told comes out.

Pure. VigilOps repeats itself, drops alerts and keeps durations badly (`facts/vigilops.md`, section
6), so its rules have none, and an alert counts here once it has lasted: as long as the tier's table
says, or what somebody chose for this customer. Only which alerts have begun and which have ended is
remembered: so neither the order nor a repeat of deliveries matters. What was told and has become
worse is due once more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from runbooks.alerting.tuning import Hold
from runbooks.rules import OURS, RULES, TEST, TierRule
from storage.records import Ended, Firing, HeldAlert

BUILT_IN: Mapping[str, str] = {
    "CPU 使用率过高": "cpu_percent",
    "内存使用率过高": "memory_percent",
    "磁盘使用率过高": "disk_percent",
    "服务不可用": "service_down",
}
"""The monitor's own rules that watch what ours watch, by their names there. 主机离线 has no like."""

REMEMBERED = 20
"""Ended alerts of one rule and host that are known again when they are told late."""

LONGEST = 200
"""Characters of each half of a fingerprint: PostgreSQL's keys have an end, and so has a host's name."""

SEVERITIES = ("", "info", "warning", "critical")
"""From the least; what the monitor lets through beside them counts as the least."""

SETTLE = timedelta(seconds=15)
"""From a webhook to when the monitor's list must agree with it: it posts before it commits."""

VERIFIED = "已向监控核实"
UNVERIFIED = "未能核实：监控当时连不上"
DROPPED = "到期时监控里已不在触发，未通知"

_FIGURE = re.compile(r"当前值：(-?[0-9]+(?:\.[0-9]+)?) ")
_READING = re.compile(r"[a-z_0-9]+ = (-?[0-9.]+) \S+ (-?[0-9.]+)")


class Kind(StrEnum):
    """What is said of an alert."""

    FIRING = "firing"
    """It fires, or still does."""
    RECOVERED = "recovered"
    """It has ended, by the monitor's notice: no notice opens it again, only the monitor's list."""
    GONE = "gone"
    """The monitor's list does not show it firing: believed until it is said to fire again."""


class Found(StrEnum):
    """How an alert came to be known."""

    HOOK = "hook"
    POLL = "poll"


class Say(StrEnum):
    """What the customer's group is to hear of."""

    NOTHING = "nothing"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Heard:
    """One word about one alert of the monitor, at the instant `at` of our clock."""

    kind: Kind
    episode: str
    fired_at: datetime
    at: datetime
    title: str
    message: str = ""
    severity: str = ""
    found: Found = Found.HOOK


def episode_of(number: int, fired_at: datetime) -> str:
    """Return an alert's name: with the instant, since a monitor set up anew counts from 1 again."""
    return f"{number}@{fired_at.isoformat()}"


def number_of(episode: str) -> int:
    """Return the monitor's id of an alert."""
    return int(episode.partition("@")[0])


def told_elsewhere(title: str) -> bool:
    """Is it an alert of a rule that only tests? It has a card of its own."""
    return title.startswith(TEST)


def fingerprint(title: str) -> tuple[str, str]:
    """Return what an alert is about: the rule and the host.

    Our rules and the built-in ones that watch the same are one rule, by its key in the tables; of
    another the name is kept. An alert's title is "RULE - HOST".
    """
    known, _, behind = title.partition(" - ")
    # No rule of the tables has such a dash in its name, and a service may.
    if rule := _tier_rule(known):
        return rule.key, behind[:LONGEST]
    name, dash, host = title.rpartition(" - ")
    return (name if dash else title)[:LONGEST], (host if dash else "")[:LONGEST]


def hold_of(rule: str, severity: str = "", chosen: Hold | None = None) -> timedelta:
    """Return how long an alert of a rule (as in a fingerprint) must last before it counts; what
    somebody chose is for a critical one only when they said so."""
    if chosen and (chosen.critical or severity != SEVERITIES[-1]):
        return chosen.lasts
    return timedelta(seconds=next((r.hold_seconds for r in RULES if r.key == rule), 0))


def title_of(rule: str) -> str:
    """Return how a rule (as in a fingerprint) is called on a card."""
    return next((r.title for r in RULES if r.key == rule), rule.removeprefix(OURS))


def reading(message: str) -> tuple[str, str]:
    """Return the figure and the threshold that a message names; empty texts when it names none."""
    found = _READING.match(message)
    return (found[1], found[2]) if found else ("", "")


def figures(message: str) -> str:
    """Return the figure and the threshold that a message names, in words; empty when it has none."""
    figure, threshold = reading(message)
    return f"当前值：{figure} 阈值：{threshold}" if figure else ""


def figure_in(text: str) -> float | None:
    """Return the figure of a text that `figures` is in; None when it is not."""
    found = _FIGURE.search(text)
    return float(found[1]) if found else None


def since(held: HeldAlert) -> datetime | None:
    """Return since when it has been firing without a gap; None when it is not."""
    return min((each.fired_at for each in held.firing), default=None)


def fold(held: HeldAlert, heard: Heard, chosen: Hold | None = None) -> tuple[HeldAlert, Say]:
    """Return the state after one word about one of its alerts, and what the group is told of it.

    When it must be announced is in `due`: the clock does that, since nobody says anything then.
    """
    others = tuple(each for each in held.firing if each.episode != heard.episode)
    if heard.kind is Kind.FIRING:
        return _fires(held, others, heard, chosen), Say.NOTHING
    ended = held.ended
    if heard.kind is Kind.RECOVERED:
        ended = (*_ended_beside(held, heard), Ended(heard.episode, heard.at))[-REMEMBERED:]
    return _ends(replace(held, firing=others, ended=ended), chosen)


def rescheduled(held: HeldAlert, chosen: Hold | None) -> HeldAlert:
    """Return the state after somebody chose anew how long its rule's alerts must last."""
    return replace(held, due=_due(held, chosen))


def judge(
    held: HeldAlert, shown: frozenset[str] | None, now: datetime, chosen: Hold | None = None
) -> tuple[HeldAlert, bool]:
    """Return the state of what is due, and whether the group is to be told of it now.

    `shown` is what the monitor's list shows firing; None when it cannot be asked: then it is
    better to be told in vain. What the list does not show after SETTLE never was, or has ended.
    """
    if shown is None:
        return _announced(held, now, UNVERIFIED), True
    if held.announced_at:
        return _judge_worse(held, shown, now)
    firing = tuple(
        each for each in held.firing if each.episode in shown or now - each.seen_at < SETTLE
    )
    kept = replace(held, firing=firing)
    if not firing:
        return replace(kept, due=None, note=DROPPED, dropped_at=now), False
    # Without the oldest, the rest may not have lasted yet.
    kept = replace(kept, due=_due(kept, chosen))
    sure = any(each.episode in shown for each in firing)
    if not sure or kept.due is None or kept.due > now:
        return kept, False
    return _announced(kept, now, VERIFIED), True


def _judge_worse(held: HeldAlert, shown: frozenset[str], now: datetime) -> tuple[HeldAlert, bool]:
    """Judge what was told already and has become worse. Its end is for the poll to find."""
    if any(each.episode in shown for each in held.firing):
        return replace(held, due=None, note=VERIFIED), True
    young = any(now - each.seen_at < SETTLE for each in held.firing)
    return (held if young else replace(held, due=None)), False


def _announced(held: HeldAlert, at: datetime, note: str) -> HeldAlert:
    return replace(held, due=None, announced_at=at, note=note)


def _fires(
    held: HeldAlert, others: tuple[Firing, ...], heard: Heard, chosen: Hold | None
) -> HeldAlert:
    if any(each.episode == heard.episode for each in held.ended):
        if not _rolled_back(held, heard):
            return held
        held = replace(held, ended=_ended_beside(held, heard))
    known = next((each for each in held.firing if each.episode == heard.episode), None)
    # A monitor whose clock is ahead must not put an alert off.
    one = known or Firing(heard.episode, min(heard.fired_at, heard.at), heard.at)
    begins = not held.firing
    worst = "" if begins else held.severity
    firing = tuple(sorted((*others, one), key=lambda each: (each.fired_at, each.episode)))
    after = replace(
        held,
        firing=firing,
        title=heard.title,
        message=heard.message,
        severity=max(worst, heard.severity, key=_rank),
        # A poll may see it while its webhook is on the way.
        found=heard.found if begins or heard.found is Found.HOOK else held.found,
        note="" if begins else held.note,
    )
    if held.announced_at and _rank(after.severity) > _rank(held.severity):
        return replace(after, due=heard.at)
    return replace(after, due=_due(after, chosen))


def _rolled_back(held: HeldAlert, heard: Heard) -> bool:
    """Did the monitor take back that it has ended? Only its list can say so, once it had time to agree.

    A notice cannot: it has no instant of its own, and its duration begins anew after a recovery. So
    one that was posted before the end and came late looks like one that was posted after it.
    """
    if heard.found is not Found.POLL:
        return False
    said = next(each.at for each in held.ended if each.episode == heard.episode)
    return said is None or heard.at - said >= SETTLE


def _ended_beside(held: HeldAlert, heard: Heard) -> tuple[Ended, ...]:
    return tuple(each for each in held.ended if each.episode != heard.episode)


def _ends(held: HeldAlert, chosen: Hold | None) -> tuple[HeldAlert, Say]:
    if held.firing:
        return replace(held, due=_due(held, chosen)), Say.NOTHING
    after = replace(held, due=None, announced_at=None)
    return after, Say.RECOVERED if held.announced_at else Say.NOTHING


def _due(held: HeldAlert, chosen: Hold | None) -> datetime | None:
    begun = since(held)
    if begun is None or held.announced_at:
        # What was told is due only when it has become worse, and stays so until it was judged.
        return held.due if begun else None
    return begun + hold_of(held.rule, held.severity, chosen)


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0


def _tier_rule(name: str) -> TierRule | None:
    metric = BUILT_IN.get(name)
    for rule in RULES:
        if rule.metric and (name == f"{OURS}{rule.title}" or rule.metric == metric):
            return rule
    return None

"""What a storm suggests, and what people type of thresholds. Pure.

A suggestion is explained by what was seen: a threshold above nearly all of the figures that the
storm showed, or a time that half of its alerts did not last.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from adapters.port import UsageError
from runbooks.alerting.muting.silences import duration
from runbooks.rules import RULES, TierRule

HIGHEST = 98.0
"""Of a percentage: a threshold above it would fire when it is too late."""
STEP = 5.0
"""Percentage points that a suggestion raises at least: less would not be felt."""
THOUSANDTHS = 1000
"""A button carries whole numbers: a threshold's thousandths."""
LEAST = 5
"""Minutes that are suggested where nothing is known."""
MINUTES = (2, 5, 10, 15, 30)
"""What is suggested otherwise."""
LONGEST = 1440
"""Minutes that an alert may be held back, and"""
LONGEST_CRITICAL = 60
"""minutes for a critical one."""

WITH_CRITICAL = "含严重"
LASTS = "持续"
HOW = (
    "例如：/threshold CPU 95、/threshold 磁盘将满 持续 10分钟、/threshold 风暴 50；"
    "什么都不写就列出现在的设置"
)

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")
_QUOTES = "「」『』“”\"'"
SHORT = {"CPU": "cpu", "内存": "memory", "磁盘": "disk", "服务": "service"}
"""How the tiers' rules are called for short."""


# -- suggestions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Raise:
    """A rule of the customer's VigilOps is to fire later."""

    rule: str
    was: float
    wanted: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A rule's alerts are to be told once they have lasted."""

    rule: str
    minutes: int


Suggestion = Raise | Wait


def raised(was: float, seen: Sequence[float]) -> float | None:
    """Return a better threshold for a percentage; None when there is none above the present one.

    It is what 95 % of the figures seen did not pass (rounded up), but at least STEP above the
    present one and at most HIGHEST.
    """
    figure = float(math.ceil(p95(seen))) if seen else 0.0
    wanted = min(HIGHEST, max(was + STEP, figure))
    return wanted if wanted > was else None


def p95(seen: Sequence[float]) -> float:
    """Return the figure that 95 % of those seen do not pass (nearest rank)."""
    ordered = sorted(seen)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def waited(lasted: Sequence[timedelta]) -> int:
    """Return how many minutes an alert should last: the first of MINUTES within which half of
    those that have ended did end; LEAST when that is more than any."""
    for minutes in MINUTES:
        ended = sum(each <= timedelta(minutes=minutes) for each in lasted)
        if lasted and 2 * ended >= len(lasted):
            return minutes
    return LEAST


def percentage(rule: str) -> TierRule | None:
    """Return the line of the tiers' table whose threshold is a percentage, by its name on cards."""
    return next((r for r in RULES if r.title == rule and r.metric.endswith("_percent")), None)


# -- what people type ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Knob:
    """A number of the policy that can be set for one customer."""

    word: str
    """What is typed."""
    field: str
    """Of the policy."""
    title: str
    unit: str
    least: int
    most: int

    @property
    def seconds(self) -> int:
        """Seconds of one of its unit; 0 when it counts."""
        return {"秒": 1, "分钟": 60}.get(self.unit, 0)

    def spoken(self, value: float | timedelta) -> str:
        """Return a value of the policy as it is typed."""
        if isinstance(value, timedelta):
            return f"{value.total_seconds() / self.seconds:g} {self.unit}"
        return f"{value:g} {self.unit}"


KNOBS = (
    Knob("风暴", "storm_alerts", "一分钟内新告警超过这么多算风暴", "条", 2, 100_000),
    Knob("风暴组", "storm_incidents", "一分钟内新告警组达到这么多算风暴", "个", 2, 1_000),
    Knob("平息", "calm", "低于一半这么久后算平息", "分钟", 1, 60),
    Knob("等待", "wait", "新告警组等这么久再发卡（聚合；严重告警不等）", "秒", 0, 3_600),
    Knob(
        "间隔", "interval", "告警组的卡片最快这么久更新一次（聚合；严重告警不等）", "秒", 0, 3_600
    ),
    Knob("冷却", "reopen", "恢复后这么久内再触发，仍是原来的告警组（冷却期）", "分钟", 0, 1_440),
    Knob("重复", "repeat", "无人确认时每隔这么久再提醒一次（0 为不重复）", "分钟", 0, 10_080),
)


@dataclass(frozen=True, slots=True)
class Set:
    """A number of the policy."""

    knob: Knob
    value: int
    """In the knob's unit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule of VigilOps is to have this threshold."""

    rule: str
    value: float


@dataclass(frozen=True, slots=True)
class Last:
    """A rule's alerts are to last so long before they are told."""

    rule: str
    minutes: int
    critical: bool


def knob(word: str) -> Knob | None:
    """Return the number of the policy that is called so."""
    return next((each for each in KNOBS if each.word == word), None)


def read(text: str) -> Set | Limit | Last:
    """Return what `CPU 95`, `磁盘将满 持续 10分钟` or `风暴 50` asks for; UsageError says what to
    write instead."""
    words = text.split()
    known = knob(words[0]) if words else None
    if known and len(words) <= 2:  # noqa: PLR2004 - its name and its number
        return Set(known, _of(known, words[1] if len(words) > 1 else ""))
    if LASTS in words:
        return _last(words, words.index(LASTS))
    if len(words) < 2 or not _NUMBER.fullmatch(words[-1].removesuffix("%")):  # noqa: PLR2004
        raise UsageError(f"请写明规则和阈值。{HOW}")
    return Limit(rule_of(" ".join(words[:-1])), float(words[-1].removesuffix("%")))


def rule_of(text: str) -> str:
    """Return a rule as cards name it: those of the tiers' table may be called for short."""
    plain = unicodedata.normalize("NFKC", text).strip().strip(_QUOTES).strip()
    key = SHORT.get(plain.upper(), plain.lower())
    return next((r.title for r in RULES if r.metric and key in {r.key, r.title.lower()}), plain)


def _of(known: Knob, text: str) -> int:
    span = duration(text)
    plain = text.removesuffix(known.unit)
    number = int(plain) if plain.isascii() and plain.isdecimal() else None
    if known.seconds and number is None and span is not None:
        number = int(span.total_seconds()) // known.seconds
    if number is None or not known.least <= number <= known.most:
        raise UsageError(
            f"「{known.word}」请填 {known.least} 到 {known.most} {known.unit}，"
            f"例如：/threshold {known.word} {max(known.least, 10)}"
        )
    return number


def _last(words: Sequence[str], at: int) -> Last:
    rule, rest = rule_of(" ".join(words[:at])), list(words[at + 1 :])
    critical = WITH_CRITICAL in rest
    if critical:
        rest.remove(WITH_CRITICAL)
    text = "".join(rest)
    span = duration(f"{text}分钟" if text.isdecimal() else text)
    longest = LONGEST_CRITICAL if critical else LONGEST
    minutes = int(span.total_seconds()) // 60 if span else 0
    if not rule or not 1 <= minutes <= longest:
        which = "（含严重告警时）" if critical else ""
        raise UsageError(
            f"请写明规则和持续时间，1 到 {longest} 分钟{which}，"
            "例如：/threshold 磁盘将满 持续 10分钟"
        )
    return Last(rule, minutes, critical)

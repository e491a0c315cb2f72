"""A chart of a card: figures over labels, and how they are said where nothing can be drawn. Pure.

The words are made for a phone: a short chart is a bar a line, a long one a row of blocks for each
series, with its highest, lowest and newest figure beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Figures = tuple[float | None, ...]
"""One for each label; None where there is none, which is another thing than 0."""

MAX_LABELS = 150
MAX_SERIES = 6
LONGEST = 100
"""Characters of a title, a name, a unit or a label."""

COLOURS = ("#3157d5", "#d92d20", "#d98a1f", "#178a4e", "#7a5af8", "#0e9384")
"""Of the series, in order, where they are drawn."""

ROWS = 8
"""Labels that words say one by one."""

BLOCKS = "▁▂▃▅▆▇"
"""From low to high. ▄ and █ are left out: some fonts draw them lower or wider than the others."""

MANY_BLOCKS = 24
"""Blocks that stand on one line of a phone."""

GAP = "·"
NONE = "—"
BAR = "▇"
LONGEST_BAR = 8
WHOLE = 100
"""From here on, decimals say nothing."""


class Kind(StrEnum):
    """How the figures are drawn."""

    LINE = "line"
    BAR = "bar"


SIGNS = {Kind.LINE: "📈", Kind.BAR: "📊"}


@dataclass(frozen=True, slots=True)
class Series:
    """Figures that belong together; `name` says which, where there are several."""

    name: str
    values: Figures

    @property
    def known(self) -> tuple[float, ...]:
        return tuple(value for value in self.values if value is not None)


@dataclass(frozen=True, slots=True)
class Chart:
    """Figures over labels, which stand in order, such as times.

    Raises ValueError when it is no chart: nothing to draw, a series of another length than the
    labels, a figure that is not finite, two series of one name, or more than people can read.
    """

    title: str
    kind: Kind
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    unit: str = ""

    def __post_init__(self) -> None:
        if why := _wrong(self):
            raise ValueError(f"{self.title[:LONGEST]}: {why}")

    @property
    def head(self) -> str:
        """Return the title with its unit."""
        return f"{self.title}（{self.unit}）" if self.unit else self.title


def _wrong(chart: Chart) -> str:
    names = [one.name for one in chart.series]
    texts = (chart.title, chart.unit, *chart.labels, *names)
    if not 1 <= len(chart.labels) <= MAX_LABELS:
        return f"1 to {MAX_LABELS} labels, not {len(chart.labels)}"
    if not 1 <= len(names) <= MAX_SERIES or len(set(names)) < len(names):
        return f"1 to {MAX_SERIES} series, each of its own name"
    if any(len(one.values) != len(chart.labels) for one in chart.series):
        return "each series has a figure for each label"
    if not all(math.isfinite(value) for one in chart.series for value in one.known):
        return "figures are finite"
    if not any(one.known for one in chart.series):
        return "there is no figure"
    if any(len(text) > LONGEST or "\n" in text for text in texts):
        return f"texts are of one line and at most {LONGEST} characters"
    return ""


def number(value: float) -> str:
    """Return a figure as people read it: 1,234 or 12.5."""
    if abs(value) >= WHOLE or value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}".removesuffix(".0")


def words(chart: Chart) -> str:
    """Return the chart as lines of text."""
    if len(chart.series) == 1 and len(chart.labels) <= ROWS:
        return "\n".join((f"{SIGNS[chart.kind]} {chart.head}", *_rows(chart)))
    span = f"{chart.labels[0]} → {chart.labels[-1]}"
    lines = [f"{SIGNS[chart.kind]} {chart.head}，{span}"]
    several = len(chart.series) > 1
    for one in chart.series:
        name = f"{one.name} " if several else ""
        lines += [f"{name}{_blocks(one.values)}", ends(one, chart)]
    return "\n".join(lines)


def brief(chart: Chart) -> str:
    """Return the chart as one line: the highest and the newest figure of each series."""
    several = len(chart.series) > 1
    said = ((f"{one.name} " if several else "") + ends(one, chart) for one in chart.series)
    return f"{chart.head}：{'；'.join(said)}"


def ends(one: Series, chart: Chart) -> str:
    """Say what was the highest figure, and where, and what is the last."""
    if not one.known:
        return f"没有数据 {NONE}"
    top, last = max(one.known), one.values[-1]
    highest = f"最高 {number(top)}（{chart.labels[one.values.index(top)]}）"
    return f"{highest}，最新 {NONE if last is None else number(last)}"


def _rows(chart: Chart) -> list[str]:
    (one,) = chart.series
    top = max((abs(value) for value in one.known), default=0)
    rows = []
    for label, value in zip(chart.labels, one.values, strict=True):
        bar = BAR * _length(value, top)
        figure = NONE if value is None else number(value)
        rows.append(" ".join(part for part in (label, bar, figure) if part))
    return rows


def _length(value: float | None, top: float) -> int:
    """Return how long a bar is: whatever is not nothing has one."""
    return max(1, round(LONGEST_BAR * abs(value) / top)) if value and top else 0


def _blocks(values: Figures) -> str:
    """Return a block for each figure; of more than a line takes, the highest of each few, so that
    no peak is lost."""
    step = math.ceil(len(values) / MANY_BLOCKS)
    few = [_highest(values[at : at + step]) for at in range(0, len(values), step)]
    known = [value for value in few if value is not None]
    low, high = min(0, *known, 0), max(0, *known, 0)
    return "".join(GAP if value is None else BLOCKS[_level(value, low, high)] for value in few)


def _level(value: float, low: float, high: float) -> int:
    if high <= low:
        return 0
    share = (value - low) / (high - low)
    return math.ceil((len(BLOCKS) - 1) * share)


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)

"""A chart as HTML and SVG: no script, and every text of it a text node, whatever it holds. Pure.

The SVG is stretched over its place and holds lines alone; texts are HTML beside it, so that they
are as large on a phone as on a desk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from adapters.chart import COLOURS, GAP, Chart, Kind, Series, ends, number, words

TICKS = 4
"""Steps of the scale, or one more."""

FINEST = 1e-6
"""The least step of a scale."""

NAMED = 6
"""Labels that are written below, at most; a phone writes every other one of them."""

TOLD = 10
"""Bars that bear their figure, at most: those of one series, where there is room beside each."""

BROAD = 70
"""Percent of a label's column that its bars take."""

DOTTED = 14
"""Points of a line that are marked each; of more, those alone that no line reaches."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From where to where the figures are drawn, in steps of round numbers."""

    low: float
    high: float
    step: float

    def at(self, value: float) -> float:
        """Return where a figure stands, in percent from below."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        many = round((self.high - self.low) / self.step)
        return tuple(self.low + self.step * each for each in range(many + 1))


def scale(chart: Chart) -> Scale:
    """Return the scale of a chart: nothing is always on it, so that no difference looks larger than
    it is."""
    known = [value for one in chart.series for value in one.known]
    low, high = min(0.0, *known), max(0.0, *known)
    rough = max((high - low) / TICKS, FINEST) if high > low else 1
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough * 0.999)
    if all(value == round(value) for value in known):
        step = math.ceil(step)
    return Scale(step * math.floor(low / step), step * math.ceil(high / step) or step, step)


def markup(chart: Chart) -> str:
    """Return a chart as a piece of a page."""
    drawn = scale(chart)
    figure = Element("figure", {"class": "vb-chart", "role": "img", "aria-label": words(chart)})
    _add(figure, "figcaption", "vb-chart-title", chart.head)
    plot = _add(figure, "div", "vb-plot")
    scales = _add(plot, "div", "vb-scale")
    for tick in drawn.ticks:
        _add(scales, "span", "", number(tick), f"bottom:{drawn.at(tick)}%")
    area = _add(plot, "div", "vb-area")
    for tick in drawn.ticks:
        _add(area, "div", "vb-grid", "", f"bottom:{drawn.at(tick)}%")
    if chart.kind is Kind.LINE:
        _lines(area, chart, drawn)
    _columns(area, chart, drawn)
    _labels(figure, chart)
    _legend(figure, chart)
    return tostring(figure, encoding="unicode", method="html")


def _add(parent: Element, tag: str, classes: str, text: str = "", style: str = "") -> Element:
    named = {"class": classes, "style": style}
    child = SubElement(parent, tag, {name: value for name, value in named.items() if value})
    child.text = text
    return child


def _place(at: int, chart: Chart) -> float:
    """Return the middle of a label's column, in percent from the left."""
    return round(100 * (at + 0.5) / len(chart.labels), 2)


def _lines(area: Element, chart: Chart, drawn: Scale) -> None:
    picture = SubElement(area, "svg", {"viewBox": "0 0 100 100", "preserveAspectRatio": "none"})
    for place, one in enumerate(chart.series):
        colour = COLOURS[place]
        for run in _runs(one):
            points = [(_place(at, chart), round(100 - drawn.at(value), 2)) for at, value in run]
            line = " ".join(f"{x},{y}" for x, y in points)
            if place == 0:
                floor = round(100 - drawn.at(max(0, drawn.low)), 2)
                under = f"{points[0][0]},{floor} {line} {points[-1][0]},{floor}"
                SubElement(picture, "polygon", {"points": under, "fill": colour})
            SubElement(picture, "polyline", {"points": line, "stroke": colour})


def _runs(one: Series) -> list[list[tuple[int, float]]]:
    """Return the pieces of a line between its gaps."""
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(one.values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]


def _columns(area: Element, chart: Chart, drawn: Scale) -> None:
    """Draw the bars, or the dots of lines; each column says its figures where a mouse rests."""
    columns = _add(area, "div", "vb-columns")
    alone = {(id(one), run[0][0]) for one in chart.series for run in _runs(one) if len(run) == 1}
    for at, label in enumerate(chart.labels):
        column = _add(columns, "div", "vb-column")
        column.set("title", f"{label}　{'　'.join(_said(one, at) for one in chart.series)}")
        for place, one in enumerate(chart.series):
            value, colour = one.values[at], f"background:{COLOURS[place]}"
            if chart.kind is Kind.BAR:
                _bar(column, chart, value, drawn, colour)
            elif value is not None and (len(chart.labels) <= DOTTED or (id(one), at) in alone):
                _add(column, "div", "vb-dot", "", f"bottom:{drawn.at(value)}%;{colour}")


def _bar(column: Element, chart: Chart, value: float | None, drawn: Scale, colour: str) -> None:
    """Draw one bar; a gap keeps its place, so that its neighbours keep theirs."""
    many = len(chart.series)
    bar = _add(column, "div", "vb-column-bar", "", f"width:{BROAD // many}%")
    if value is None:
        return
    low, high = sorted((drawn.at(0), drawn.at(value)))
    size = f"bottom:{low}%;height:{round(high - low, 2)}%;{colour}"
    _add(bar, "div", "vb-fill", "", size)
    if many == 1 and len(chart.labels) <= TOLD:
        _add(bar, "span", "vb-figure", number(value), f"bottom:{high}%")


def _said(one: Series, at: int) -> str:
    value = one.values[at]
    return f"{one.name} {GAP if value is None else number(value)}".strip()


def _labels(figure: Element, chart: Chart) -> None:
    row = _add(figure, "div", "vb-labels")
    step = math.ceil(len(chart.labels) / NAMED)
    for nth, at in enumerate(range(0, len(chart.labels), step)):
        classes = "vb-every-other" if nth % 2 else ""
        _add(row, "span", classes, chart.labels[at], f"left:{_place(at, chart)}%")


def _legend(figure: Element, chart: Chart) -> None:
    legend = _add(figure, "div", "vb-legend")
    for place, one in enumerate(chart.series):
        entry = _add(legend, "span", "vb-legend-entry")
        if len(chart.series) > 1:
            _add(entry, "span", "vb-key", "", f"background:{COLOURS[place]}")
            _add(entry, "span", "vb-legend-name", one.name)
        _add(entry, "span", "", ends(one, chart))

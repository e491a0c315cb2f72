"""Figures over time, as charts: what a storm brought, and how fast people answered. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from adapters.chart import Chart, Kind, Series
from adapters.words import Severity
from runbooks.alerting.oncall.figures import figures
from storage.roster import Escalation

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

POINTS = 30
"""Points of a storm's course, at most."""

FEW = 3
"""Points below which a course over time tells nothing."""

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 720, 1440)
"""Minutes between two points: those that people count in."""

TREND = 2
"""Figures below which there is no change to be seen."""

COLUMNS = 12
"""Figures up to which each is a column."""

LONG = timedelta(hours=3)
"""From here on, figures are in hours."""


# -- a storm ----------------------------------------------------------------------------------


def marks(since: datetime, now: datetime) -> tuple[datetime, ...]:
    """Return the instants between which a storm's new alerts are counted, the end included."""
    begun = since.replace(second=0, microsecond=0)
    whole = math.floor((now - begun) / MINUTE) + 1
    days = math.ceil(whole / POINTS / STEPS[-1]) * STEPS[-1]
    step = next((each for each in STEPS if whole <= each * POINTS), days)
    return tuple(begun + each * step * MINUTE for each in range(math.ceil(whole / step) + 1))


def course(
    counts: Mapping[Severity, Sequence[int]], at: Sequence[datetime], zone: tzinfo
) -> tuple[Chart, ...]:
    """Return the chart of how many new alerts came between these instants; none when it would tell
    nothing."""
    points = len(at) - 1
    every = [sum(row[place] for row in counts.values()) for place in range(points)]
    if points < FEW or not any(every):
        return ()
    form = "%H:%M" if at[-1] - at[0] <= DAY else "%m-%d %H:%M"
    labels = tuple(f"{each.astimezone(zone):{form}}" for each in at[:-1])
    series = [Series("全部", tuple(map(float, every)))]
    criticals = counts.get(Severity.CRITICAL, ())
    if any(criticals):
        series.append(Series("严重", tuple(map(float, criticals))))
    return (Chart(f"每{_step(at[1] - at[0])}新告警", Kind.LINE, labels, tuple(series), "条"),)


def _step(span: timedelta) -> str:
    minutes = round(span / MINUTE)
    for size, unit in ((1440, "天"), (60, "小时")):
        if minutes % size == 0:
            return unit if minutes == size else f" {minutes // size} {unit}"
    return "分钟" if minutes == 1 else f" {minutes} 分钟"


# -- people's answers -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grain:
    """How finely time is looked at: `span` is as long as the longest of its pieces."""

    word: str
    span: timedelta
    form: str

    def opening(self, day: date) -> date:
        """Return the first day of the piece that a day is in."""
        if self.span == DAY:
            return day
        return day - timedelta(days=day.weekday() if self.span == 7 * DAY else day.day - 1)

    def pieces(self, since: date, until: date) -> list[date]:
        """Return the first days of all pieces from one day to another."""
        found = [self.opening(since)]
        while (after := self.opening(found[-1] + self.span)) <= until:
            found.append(after)
        return found


BY_DAY = Grain("按天", DAY, "%m-%d")
BY_WEEK = Grain("按周", 7 * DAY, "%m-%d")
BY_MONTH = Grain("按月", 31 * DAY, "%Y-%m")


def grain(days: int) -> Grain:
    """Return how finely so many days are looked at: in at most 27 pieces, or by the month."""
    if days <= 14:  # noqa: PLR2004 - two weeks
        return BY_DAY
    return BY_WEEK if days <= 182 else BY_MONTH  # noqa: PLR2004 - half a year


def answers(
    climbs: Sequence[Escalation], since: datetime, now: datetime, zone: tzinfo
) -> tuple[Chart, ...]:
    """Return MTTA and MTTR over the days, weeks or months in which incidents began; none of what
    has figures in fewer than two of these."""
    first: dict[int, datetime] = {}
    for climb in climbs:
        first[climb.incident] = min(climb.began_at, first.get(climb.incident, climb.began_at))
    fine = grain(math.ceil((now - since) / DAY))
    pieces = fine.pieces(*(at.astimezone(zone).date() for at in (since, now)))
    of: dict[date, list[Escalation]] = {each: [] for each in pieces}
    for climb in climbs:
        of[fine.opening(first[climb.incident].astimezone(zone).date())].append(climb)
    found = {each: figures(those) for each, those in of.items()}
    acked = {each: known.to_ack for each, known in found.items()}
    resolved = {each: known.to_resolve for each, known in found.items()}
    return (*_over("平均确认时间 MTTA", acked, fine), *_over("平均恢复时间 MTTR", resolved, fine))


def _over(title: str, spans: Mapping[date, timedelta | None], fine: Grain) -> tuple[Chart, ...]:
    known = [span for span in spans.values() if span is not None]
    if len(known) < TREND:
        return ()
    size, unit = (HOUR, "小时") if max(known) >= LONG else (MINUTE, "分钟")
    values = tuple(None if span is None else round(span / size, 1) for span in spans.values())
    labels = tuple(f"{each:{fine.form}}" for each in spans)
    kind = Kind.BAR if len(labels) <= COLUMNS else Kind.LINE
    return (Chart(f"{title}，{fine.word}", kind, labels, (Series("", values),), unit),)

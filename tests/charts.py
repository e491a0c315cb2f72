"""Two charts that the tests of every platform draw: a course of two series with a gap, and columns."""

from __future__ import annotations

from adapters.chart import Chart, Kind, Series

COURSE = Chart(
    "每分钟新告警",
    Kind.LINE,
    ("21:00", "21:01", "21:02", "21:03"),
    (Series("全部", (900.0, 3204.0, 60.0, 0.0)), Series("严重 <b>", (0.0, 41.0, None, 0.0))),
    "条",
)
COLUMNS = Chart(
    "平均确认时间 *MTTA*",
    Kind.BAR,
    ("11-09", "11-16", "11-23"),
    (Series("", (12.5, None, 3.0)),),
    "分钟",
)

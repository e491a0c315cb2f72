"""A chart: what is one, how it reads in words, and how it gives way where there is no room."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.card import Card, Text, Tone, dumps, loads, plain
from adapters.chart import MAX_LABELS, MAX_SERIES, Chart, Kind, Series, brief, words
from adapters.dingtalk import draw as dingtalk
from adapters.feishu import draw as feishu
from adapters.fitted import fitted, lighter
from adapters.mail import as_html
from adapters.port import Fault, Permanent
from adapters.slack import draw as slack
from adapters.webchat.charts import markup, scale
from adapters.wecom import wire as wecom
from adapters.words import Chat
from tests.charts import COLUMNS, COURSE

CRITICAL = "🔴 主机失联：db-1 已离线 3 分钟"


def chart(*values: float | None, kind: Kind = Kind.LINE) -> Chart:
    labels = tuple(f"{n // 60 + 8:02}:{n % 60:02}" for n in range(len(values)))
    return Chart("新告警", kind, labels, (Series("", values),), "条")


# -- what is a chart --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "series", "why"),
    [
        ((), (Series("", ()),), "labels"),
        (("a",) * (MAX_LABELS + 1), (Series("", (1.0,) * (MAX_LABELS + 1)),), "labels"),
        (("a",), (), "series"),
        (("a",), tuple(Series(f"{n}", (1.0,)) for n in range(MAX_SERIES + 1)), "series"),
        (("a",), (Series("x", (1.0,)), Series("x", (2.0,))), "own name"),
        (("a", "b"), (Series("", (1.0,)),), "for each label"),
        (("a",), (Series("", (float("nan"),)),), "finite"),
        (("a",), (Series("", (float("inf"),)),), "finite"),
        (("a",), (Series("", (None,)),), "no figure"),
        (("a\nb",), (Series("", (1.0,)),), "one line"),
        (("a" * 101,), (Series("", (1.0,)),), "100 characters"),
    ],
)
def test_what_cannot_be_drawn_is_no_chart(
    labels: tuple[str, ...], series: tuple[Series, ...], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Chart("新告警", Kind.LINE, labels, series)


def test_a_card_with_charts_is_the_same_after_the_outbox() -> None:
    """And what an outbox holds from before there were charts is read as ever."""
    card = Card("报告", Tone.GOOD, (COURSE, Text("一"), COLUMNS))
    assert loads(dumps(card)) == card
    old = '["报告", "good", [["Text", {"text": "一", "style": "plain"}]]]'
    assert loads(old) == Card("报告", Tone.GOOD, (Text("一"),))


# -- in words ---------------------------------------------------------------------------------


def test_a_course_is_a_row_of_blocks_for_each_series() -> None:
    """A gap is no nothing, and a peak has its place."""
    assert plain(Card("报告", blocks=(COURSE,))) == (
        "【报告】\n"
        "📈 每分钟新告警（条），21:00 → 21:03\n"
        "全部 ▃▇▂▁\n"
        "最高 3,204（21:01），最新 0\n"
        "严重 <b> ▁▇·▁\n"
        "最高 41（21:01），最新 0"
    )


def test_a_few_figures_are_a_line_each() -> None:
    assert words(COLUMNS) == (
        "📊 平均确认时间 *MTTA*（分钟）\n11-09 ▇▇▇▇▇▇▇▇ 12.5\n11-16 —\n11-23 ▇▇ 3"
    )


def test_a_long_course_keeps_its_peak_on_one_line_of_a_phone() -> None:
    """Of sixty minutes the highest of each three is shown."""
    values = [0.0] * 60
    values[31] = 900.0
    row = words(chart(*values)).split("\n")[1]
    assert row == "▁" * 10 + "▇" + "▁" * 9


def test_one_line_says_the_highest_and_the_newest() -> None:
    assert brief(COURSE) == (
        "每分钟新告警（条）：全部 最高 3,204（21:01），最新 0；严重 <b> 最高 41（21:01），最新 0"
    )


FIGURES = st.one_of(st.none(), st.floats(-1e9, 1e9), st.integers(0, 5).map(float))
NAMES = st.text(st.characters(exclude_characters="\n"), max_size=12)


@st.composite
def charts(draw: st.DrawFn) -> Chart:
    many = draw(st.integers(1, 40))
    rows = st.lists(FIGURES, min_size=many, max_size=many).map(tuple)
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    series = [Series(name, draw(rows)) for name in names]
    series[0] = Series(names[0], (draw(st.floats(-1e9, 1e9)), *series[0].values[1:]))
    labels = draw(st.lists(NAMES, min_size=many, max_size=many))
    return Chart(draw(NAMES), draw(st.sampled_from(Kind)), tuple(labels), tuple(series))


@settings(max_examples=50)
@given(charts())
def test_every_chart_can_be_said_and_drawn(any_chart: Chart) -> None:
    """Whatever the figures: the words are few lines, and each figure stands on the scale."""
    assert len(words(any_chart).split("\n")) <= max(9, 1 + 2 * len(any_chart.series))
    assert "\n" not in brief(any_chart)
    drawn = scale(any_chart)
    known = [value for one in any_chart.series for value in one.known]
    assert all(-0.01 <= drawn.at(value) <= 100.01 for value in (*known, 0.0))
    assert 1 <= len(drawn.ticks) <= 8
    assert loads(dumps(Card("", blocks=(any_chart,)))).blocks[0]


def test_a_letter_tells_a_chart_in_words() -> None:
    """Of HTML in its names nothing is left to act."""
    page = as_html(Card("报告", blocks=(COURSE,)))
    assert "严重 &lt;b&gt; ▁▇·▁<br>最高 41（21:01），最新 0" in page


# -- on a page --------------------------------------------------------------------------------


class Page(HTMLParser):
    """What stands on a page: its elements, and the texts between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_page_shows_what_a_chart_is_called_letter_by_letter() -> None:
    """HTML in its texts makes no element, in a tag's quotes neither."""
    evil = '"><img src=x onerror="hacked=1"><script>'
    bad = Chart(evil, Kind.BAR, (evil,), (Series(evil, (1.0,)), Series("b", (2.0,))), evil)
    page = Page(markup(bad))
    assert set(page.tags) == {"figure", "figcaption", "div", "span"}
    assert page.texts.count(evil) == 2
    assert f"{evil}（{evil}）" in page.texts


def test_a_line_breaks_where_there_is_no_figure() -> None:
    """Two pieces and, of what stands alone, a dot."""
    drawn = markup(chart(*([1.0, 2.0] * 10), None, 3.0, None, 4.0, 5.0))
    assert drawn.count("<polyline") == 3
    assert drawn.count("vb-dot") == 1


def test_a_scale_begins_at_nothing_and_counts_whole_things_whole() -> None:
    assert scale(chart(3.0, 2.0)).ticks == (0, 1, 2, 3)
    assert scale(chart(0.0)).ticks == (0, 1)
    assert scale(chart(3204.0)).ticks == (0, 1000, 2000, 3000, 4000)
    assert scale(chart(-5.0, 12.5)).ticks == (-5, 0, 5, 10, 15)


# -- where there is no room -------------------------------------------------------------------


def test_a_chart_gives_way_and_what_is_urgent_never() -> None:
    """Drawn, then in words, then in a line: what else the card says is the same each time."""
    card = Card("告警", Tone.BAD, (Text(CRITICAL), COURSE, Text("末尾")))
    assert [plain(each).replace("\n", "|") for each in lighter(card)] == [
        plain(card).replace("\n", "|"),
        plain(card).replace("\n", "|"),
        f"【告警】|{CRITICAL}|{brief(COURSE)}|末尾",
    ]
    assert lighter(Card("告警", blocks=(Text(CRITICAL),))) == (
        Card("告警", blocks=(Text(CRITICAL),)),
    )


def test_a_card_that_is_too_long_without_its_charts_is_refused_once_for_all() -> None:
    seen: list[Card] = []

    def refuse(card: Card) -> None:
        seen.append(card)
        raise Permanent(f"第 {len(seen)} 次", fault=Fault.REFUSED)

    with pytest.raises(Permanent, match="第 3 次"):
        fitted(Card("告警", blocks=(COURSE,)), refuse)


GROUP = Chat("dingtalk", "cid1")
LONG = tuple(f"08:{n:02}" for n in range(60))
WIDE = Chart(
    "每分钟新告警",
    Kind.LINE,
    LONG,
    tuple(Series(f"第 {n} 组机房", tuple(float(n + m) for m in range(60))) for n in range(5)),
    "条",
)


@pytest.mark.parametrize(
    ("drawn", "filling"),
    [
        (feishu.content, "字" * 9_500),
        (lambda card: json.dumps(slack.message(card)["blocks"], ensure_ascii=False), "字" * 12_600),
        (lambda card: json.dumps(dingtalk.draw(card, GROUP), ensure_ascii=False), "字" * 3_600),
        (lambda card: wecom.draw(card, "k").markdown, "字" * 6_550),
    ],
    ids=["feishu", "slack", "dingtalk", "wecom"],
)
def test_on_every_platform_a_full_card_gives_up_its_charts_first(
    drawn: Callable[[Card], str], filling: str
) -> None:
    """The critical and every other letter are said; of each chart a line is left."""
    said = drawn(Card("告警", Tone.BAD, (Text(CRITICAL), WIDE, WIDE, Text(filling))))
    assert CRITICAL in said
    assert said.count("字") == len(filling)
    assert "▇" not in said
    assert "第 4 组机房 最高 63（08:59），最新 63" in said

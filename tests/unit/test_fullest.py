"""The fullest cards, on every platform: each is drawn, and no critical goes missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from adapters.card import Card, Table, Text, plain
from adapters.dingtalk import draw as dingtalk
from adapters.dingtalk import numbered
from adapters.dingtalk import wire as dingtalk_wire
from adapters.feishu import draw as feishu
from adapters.fitted import fitted, lighter
from adapters.slack import draw as slack
from adapters.sources import TITLES
from adapters.wecom import wire as wecom
from adapters.words import Chat, Person, Role, Severity
from runbooks.alerting import incident_cards, storm_cards, truncation, windows
from runbooks.alerting.incident_cards import LINES, NAMED, TOP, IncidentView
from runbooks.alerting.muting import silences
from runbooks.alerting.muting.maintenance import Times
from runbooks.alerting.policy import POLICY
from runbooks.alerting.storm_cards import StormView
from runbooks.alerting.thresholds import Raise
from runbooks.book import Gate, Runbook
from runbooks.cards import CUSTOMERS, overview
from storage.incidents import Tally
from storage.records import (
    Customer,
    Every,
    Incident,
    IncidentState,
    Inflow,
    KnownAlert,
    Maintenance,
    Muted,
    Run,
    RunStatus,
    Silence,
    Storm,
    StormPhase,
    Truncation,
)

T0 = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
ZONE = timezone(timedelta(hours=8))
GROUP = Chat("dingtalk", "cid1")
LI = Person("dingtalk", "li", "李" * 30)

Draw = Callable[[Card], str]


def _typed(card: Card) -> str:
    """Draw it as DingTalk's Markdown, where no card template is set up."""

    def one(shown: Card) -> str:
        title, text = numbered.markdown(shown, 1)
        param = {"title": title, "text": text}
        return str(dingtalk_wire.message(GROUP, "sampleMarkdown", param, robot="r")[1])

    return fitted(card, one)


PLATFORMS: dict[str, Draw] = {
    "feishu": feishu.content,
    "slack": lambda card: json.dumps(slack.message(card)["blocks"], ensure_ascii=False),
    "dingtalk": lambda card: json.dumps(dingtalk.draw(card, GROUP), ensure_ascii=False),
    "dingtalk-typed": _typed,
    "wecom": lambda card: wecom.draw(card, "k").markdown,
}
SIGNS = {"chinese": "规", "less": "<", "and": "&", "star": "*", "four-bytes": "𝔥"}
"""Signs that take room: by their bytes, or because a platform escapes them."""

FAR = "https://prometheus/graph?g0.expr=" + "%28" * 655
"""As long an address as a source may have: an expression that was written into it."""

SOURCES = ("alertmanager", "grafana")


def alert(n: int, sign: str, hidden: str = "") -> KnownAlert:
    """Return a flapping alert whose every text is longer than any card shows."""
    at, long = T0 - timedelta(seconds=n), sign * 100
    flips = tuple(T0 - timedelta(seconds=each) for each in range(20))
    return KnownAlert(
        1, "alertmanager", f"f{n}", 1, "rule=x", True, Severity.CRITICAL, f"{n:03}{long}",
        f"{n:03}{long}", f"题{long}", "", FAR, {}, at, at, flips, hidden,
    )  # fmt: skip


def incident(n: int, sign: str) -> Incident:
    return Incident(
        n, 1, "rule=x", sign * 100, Severity.CRITICAL, IncidentState.OPEN, T0, T0, critical_at=T0
    )


def truncated() -> tuple[Text, ...]:
    return truncation.lines(
        [Truncation(1, one, "g", 99_999, {}, frozenset(), T0) for one in SOURCES], TITLES
    )


def storm(sign: str) -> Card:
    """Return the card of a storm in which all that it may name is there, and more."""
    alerts = [alert(n, sign) for n in range(400)]
    tallies = [Tally(f"{n:03}{sign * 100}", Severity.CRITICAL, 99_999, 9_999, T0) for n in range(9)]
    raging = Storm(1, StormPhase.DRAIN, T0, recent=(Inflow(T0, 99_999, 99),), received=999_999)
    view = StormView(
        raging,
        tallies,
        [(f"{n:03}{sign * 100}", 99_999) for n in range(TOP)],
        alerts,
        [incident(n, sign) for n in range(400)],
        [(f"{n:03}{sign * 100}", Severity.CRITICAL, 99_999) for n in range(20)],
        T0,
        1,
        truncated(),
    )
    return storm_cards.storm_card(view, POLICY, T0, ZONE)


def fullest(sign: str) -> Card:
    """Return the card of an incident in which all that it may name is there, and more."""
    alerts = [alert(n, sign) for n in range(40)]
    quiet = [alert(100 + n, sign, hidden=f"{n:03}{sign * 100}") for n in range(40)]
    view = IncidentView(incident(1, sign), [*alerts, *quiet], T0, truncated())
    return incident_cards.incident_card(view, POLICY, T0, ZONE)


def news(sign: str) -> Card:
    """Return the message of more new criticals than it names."""
    return incident_cards.mention([alert(n, sign) for n in range(40)], POLICY, T0, ZONE)


def times(said: str, named: int) -> list[int]:
    """Return which of the newest criticals are not in what is said, each known by its time."""
    at = ((T0 - timedelta(seconds=n)).astimezone(ZONE) for n in range(named))
    return [n for n, each in enumerate(at) if f"{each:%H:%M:%S}" not in said]


ALARMS = pytest.mark.parametrize(
    ("make", "named"),
    [(storm, NAMED), (fullest, LINES), (news, NAMED)],
    ids=["storm", "incident", "news"],
)
"""The cards that name alerts, and how many of them each names."""


@pytest.mark.parametrize("draw", PLATFORMS.values(), ids=PLATFORMS)
@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS)
@ALARMS
def test_the_fullest_card_of_an_alarm_fits_everywhere(
    make: Callable[[str], Card], named: int, sign: str, draw: Draw
) -> None:
    """A refused one would be seen by nobody: its names are cut, and each critical keeps its line."""
    said = draw(make(sign))
    assert times(said, named) == []


@ALARMS
def test_however_short_a_critical_keeps_its_time(make: Callable[[str], Card], named: int) -> None:
    """It is what tells two alerts of one rule apart, also where their names are cut to the least."""
    assert [times(plain(each), named) for each in lighter(make("规"))] == [[]] * 7


def test_what_stands_elsewhere_gives_way_before_the_criticals() -> None:
    """The table first, then the lists; the criticals' names last, and none of their lines ever."""
    card = storm("规")
    lines = plain(card).split("\n")
    critical = [line for line in lines if line.startswith("🔴 1")]
    assert len(critical) == NAMED
    widths: list[tuple[int, int, int]] = []
    for each in lighter(card):
        tables = [block for block in each.blocks if isinstance(block, Table)]
        texts = [block.text for block in each.blocks if isinstance(block, Text)]
        named = next(text for text in texts if text.startswith("🔴 1")).split("\n")
        assert len(named) == NAMED
        top = next(text for text in texts if text.startswith("告警最多"))
        widths.append((sum(len(one.rows) for one in tables), len(top), len(named[0])))
    rows, listed, names = (list(column) for column in zip(*widths, strict=True))
    assert rows == [5, 3, 1, 0, 0, 0, 0]
    assert listed == sorted(listed, reverse=True)
    assert [width == names[0] for width in names] == [True] * 4 + [False] * 3
    assert "另有 5 行，见完整清单" in plain(lighter(card)[-1])
    assert [line.split(" ")[1] for line in critical] == [
        line.split(" ")[1]
        for line in plain(lighter(card)[-1]).split("\n")
        if line.startswith("🔴 1")
    ]


def test_an_address_is_never_cut_and_a_card_that_stands_nowhere_else_is_not_shortened() -> None:
    """What somebody signs, or a link, is as it is or not at all."""
    link = "https://bot.example.com/once/" + "a" * 60
    bare = Card("告警", blocks=(Text(link), Table(("甲",), (("乙" * 90,),) * 9)))
    assert lighter(bare) == (bare,)
    told = replace(bare, blocks=(*bare.blocks, Text("丙" * 90, full="/alerts")))
    assert plain(lighter(told)[-1]) == plain(replace(told, blocks=(
        *bare.blocks, Text("丙" * 4 + "…" + "丙" * 7),
    )))  # fmt: skip


# -- what people look up or are told later --------------------------------------------------------


def reported(sign: str) -> Card:
    """Return the report of a window that hid more than it names, of the longest titles."""
    long = sign * 200
    hid = [Muted(1, T0, f"{n}", Severity.CRITICAL, long, long, long, T0, T0) for n in range(40)]
    return windows.report(window(sign), Times(T0, T0 + timedelta(hours=1)), hid, ZONE)


def window(sign: str) -> Maintenance:
    hosts, reason = f'host=~"{sign * 900}"', sign * 1000
    return Maintenance(1, 1, hosts, T0, 120, Every.WEEK, LI, T0, reason)


def planned(sign: str) -> Card:
    return windows.listed([window(sign)] * 25, T0, ZONE)


def silenced(sign: str) -> Card:
    """Return the list of silences as presses of a card make them, twenty hosts in each."""
    hosts, reason = f'host=~"{sign * 900}"', sign * 1000
    there = [Silence(n, 1, hosts, T0, T0, LI, reason) for n in range(25)]
    return silences.listed(there, ZONE)


def summed_up(sign: str) -> Card:
    """Return the summary of a storm in which everybody has pressed."""
    tallies = [Tally(f"{n}{sign * 49}", Severity.WARNING, 99_999, 9_999, T0) for n in range(9)]
    advice = [Raise(tally.rule, 1, 2) for tally in tallies[: storm_cards.SUGGESTED]]
    acked = [
        replace(incident(n, sign), acked_by=Person("x", f"{n}{sign * 30}")) for n in range(400)
    ]
    return storm_cards.summary(Storm(1), tallies, acked, T0, ZONE, advice)


@pytest.mark.parametrize("make", [reported, planned, silenced, summed_up])
def test_the_fullest_list_fits_everywhere(make: Callable[[str], Card]) -> None:
    """A refused one would be an answer that nobody gets, and what a window hid nobody would know."""
    for draw in PLATFORMS.values():
        for sign in ("规", "<", "𝔥"):
            assert draw(make(sign))


# -- the operations group -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """Nothing to remember."""


BOOKS = {
    "sample": Runbook(
        "sample", "样例", Case, (Gate("signed", "确认合同已经签字盖章", Role.LEAD, timedelta(7)),)
    )
}


def house(sign: str, *statuses: RunStatus | None) -> Card:
    """Return the operations group's card of one customer for each status; None is one without a
    run."""
    found: list[tuple[Customer, Run | None]] = []
    for n, status in enumerate(statuses):
        note = f"{n:03}{sign * 90}"
        one = Customer(n, f"{n:03}{sign * 60}", f"c{n}", T0)
        if status is None:
            found.append((one, None))
            continue
        run = Run(f"r{n}", "sample", n, "signed", status, 0, "{}", LI, T0, T0, note)
        found.append((one, run))
    return overview(BOOKS, found)


@pytest.mark.parametrize("draw", PLATFORMS.values(), ids=PLATFORMS)
@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS)
def test_three_hundred_customers_are_one_card(sign: str, draw: Draw) -> None:
    card = house(sign, *[RunStatus.STUCK] * 30, *[RunStatus.DONE] * 270)
    assert "000" in draw(card)
    assert "另有 280 家（10 家进行中），见控制台" in plain(card)


def test_who_waits_for_somebody_is_seen_first() -> None:
    """What stopped comes before what waits and what goes on; all others keep their order."""
    done = [RunStatus.DONE] * 30
    card = house("乙", None, *done, RunStatus.WALKING, RunStatus.STUCK, RunStatus.WAITING)
    (table,) = (block for block in card.blocks if isinstance(block, Table))
    assert [row[0][:3] for row in table.rows[:5]] == ["032", "033", "031", "000", "001"]
    assert len(table.rows) == CUSTOMERS
    assert "另有 14 家，见控制台" in plain(card)


def test_a_few_customers_are_all_there() -> None:
    card = house("乙", *[RunStatus.DONE] * CUSTOMERS)
    assert len(card.blocks) == 1
    assert plain(card).count("乙乙 | ✅ 完成") == CUSTOMERS

"""The folds of storms, flapping, clusters and incidents, as properties: no clock, no database."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.card import Text, dumps, plain
from adapters.words import Alert, Severity
from runbooks.alerting import incident_cards, storm_cards
from runbooks.alerting import storm as storms
from runbooks.alerting.cluster import cluster_of, masked
from runbooks.alerting.flapping import KEPT, flapping, flip
from runbooks.alerting.grouping import LONGEST, Change, group_of, is_new_critical, joined, step
from runbooks.alerting.policy import POLICY, Policy
from runbooks.alerting.storm import Gust, Turn
from runbooks.alerting.storm_cards import StormView
from storage.incidents import Tally
from storage.records import Incident, IncidentState, KnownAlert, Storm, StormPhase

T0 = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
ZONE = timezone(timedelta(hours=8))
LARGEST = 20_000
"""Bytes of the largest card that any platform of ours takes."""

severities = st.sampled_from(list(Severity))
words = st.builds(
    Alert,
    fingerprint=st.sampled_from(["a", "b"]),
    firing=st.booleans(),
    severity=severities,
    rule=st.just("Disk"),
    host=st.sampled_from(["h1", "h2"]),
)
gusts = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 60), st.integers(0, 5), st.integers(0, 3)),
    max_size=40,
)


def seconds(n: float) -> datetime:
    return T0 + timedelta(seconds=n)


def known(n: int, rule: str = "Disk", severity: Severity = Severity.CRITICAL) -> KnownAlert:
    at = seconds(n)
    return KnownAlert(
        1, "s", f"f{n}", 1, f"rule={rule}", True, severity, rule, f"host-{n}", "", "", "", {}, at, at
    )  # fmt: skip


# -- alerts and incidents -------------------------------------------------------------------------


@given(st.lists(words, max_size=30))
def test_only_a_change_of_state_or_severity_is_news(said: list[Alert]) -> None:
    """Whatever is repeated, the alert stands as its last word says, and a repeat changes nothing."""
    for fingerprint in ("a", "b"):
        now: KnownAlert | None = None
        for n, word in enumerate(each for each in said if each.fingerprint == fingerprint):
            before = now
            now, change = step(now, word, (1, "s"), "g", seconds(n), "", POLICY)
            again, nothing = step(now, word, (1, "s"), "g", seconds(n + 0.5), "", POLICY)
            assert (again, nothing) == (now, Change.NOTHING)
            if before == now:
                assert change is Change.NOTHING
            if now:
                assert now.firing is word.firing
                assert now.severity is word.severity or not word.firing


@given(st.lists(words, max_size=30))
def test_every_time_an_alert_becomes_critical_is_a_new_critical(said: list[Alert]) -> None:
    now: KnownAlert | None = None
    for n, word in enumerate(said):
        before = now
        now, change = step(now, word, (1, "s"), "g", seconds(n), "", POLICY)
        was = before is not None and before.firing and before.severity is Severity.CRITICAL
        is_ = word.firing and word.severity is Severity.CRITICAL
        assert (now is not None and is_new_critical(now, change)) is (is_ and not was)


@given(st.lists(st.tuples(st.booleans(), severities), min_size=1, max_size=20))
def test_an_incident_has_the_worst_severity_and_opens_for_each_new_critical(
    said: list[tuple[bool, Severity]],
) -> None:
    """Acknowledged or not before: with a new critical it is open, without it stays as it was."""
    incident: Incident | None = None
    worst = Severity.INFO
    for n, (ack, severity) in enumerate(said):
        if incident and ack:
            state = IncidentState.ACKED
            incident = Incident(
                **{f: getattr(incident, f) for f in incident.__slots__} | {"state": state}
            )
        before = incident
        incident = joined(before, known(n, severity=severity), Change.BEGAN)
        worst = max(worst, severity, key=lambda each: each.rank)
        assert incident.severity is worst
        if severity is Severity.CRITICAL:
            assert incident.state is IncidentState.OPEN
        elif before:
            assert incident.state is before.state
    assert incident
    assert (incident.critical_at is not None) is (worst is Severity.CRITICAL)


def test_alerts_are_grouped_as_the_settings_say() -> None:
    alert = Alert("f", True, Severity.INFO, "CPU", "web-01", labels={"env": "prod"})
    assert group_of(alert, POLICY.group_by) == "rule=CPU"
    assert group_of(alert, ("host", "env")) == "host=web-01 env=prod"
    assert group_of(alert, ()) == ""


def group(labels: dict[str, str], *by: str, rule: str = "CPU") -> str:
    return group_of(Alert("f", True, Severity.INFO, rule, labels=labels), by)


def test_long_values_that_differ_at_their_end_are_two_groups() -> None:
    """Of the same values there is one, whose name is no longer than a database takes."""
    pods = [group({"pod": "p" * 500 + end}, "rule", "pod") for end in ("a", "b", "a")]
    assert pods[0] != pods[1]
    assert pods[0] == pods[2]
    assert [len(each) for each in pods] == [LONGEST] * 3


def test_values_that_read_alike_together_are_two_groups() -> None:
    one, other = {"a": "1 b=2", "b": ""}, {"a": "1", "b": "2 b="}
    assert group(one, "a", "b") != group(other, "a", "b")


def test_other_groups_are_named_as_ever() -> None:
    """Their incidents are open in the databases of older programs."""
    assert group({"a": "x" * (LONGEST - 2)}, "a") == "a=" + "x" * (LONGEST - 2)
    assert group({"a": "1 a=2 b=3"}, "a") == "a=1 a=2 b=3"
    assert group({"a": "k=v x=y", "b": "#1"}, "rule", "a", "b") == "rule=CPU a=k=v x=y b=#1"
    titled = Alert("f", True, Severity.INFO, "", "web", title="disk host=web is full")
    assert group_of(titled, ("rule", "host")) == "title=disk host=web is full host=web"


@given(
    st.lists(st.tuples(st.text("12 ab=", max_size=9), st.text("12 ab=", max_size=9)), max_size=9)
)
def test_no_two_pairs_of_values_are_one_group(pairs: list[tuple[str, str]]) -> None:
    names = {group({"a": a, "b": b}, "a", "b") for a, b in pairs}
    assert len(names) == len(set(pairs))


def test_alerts_without_a_rule_are_grouped_by_their_masked_title() -> None:
    first = Alert("f", True, Severity.INFO, "", title="磁盘 /dev/sda1 使用 91.5%（10.0.0.7）")
    other = Alert("g", True, Severity.INFO, "", title="磁盘 /dev/sda1 使用 97.0%（10.0.0.9）")
    assert group_of(first, ["rule"]) == group_of(other, ["rule"])


@given(st.text(max_size=300))
def test_masking_twice_changes_nothing_more(title: str) -> None:
    once = masked(title)
    assert masked(once) == once or len(once) == 200
    assert cluster_of(title, [once]) == once


def test_an_unseen_title_joins_the_one_that_is_most_like_it() -> None:
    there = ["connection to database orders refused", "certificate expires soon"]
    assert cluster_of("connection to database orders was refused", there) == there[0]
    assert cluster_of("fan failure", there) == "fan failure"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("host 10.0.0.1 down", "mysql replication down on host 10.0.0.2"),
        ("12345", "CPU 95 on web-01"),
        ("disk full", "disk full on backup of payment database primary"),
        ("服务 异常", "服务 异常 支付 网关 证书 过期"),
    ],
)
def test_a_title_whose_words_are_all_in_another_is_not_the_other(short: str, long: str) -> None:
    assert cluster_of(long, [masked(short)]) == masked(long)
    assert cluster_of(short, [masked(long)]) == masked(short)


@given(st.sets(st.integers(0, 2000), max_size=40))
def test_flapping_is_four_changes_in_ten_minutes(changes: set[int]) -> None:
    flips: tuple[datetime, ...] = ()
    for n in sorted(changes):
        flips = flip(flips, seconds(n), POLICY)
        lately = sum(n - 600 < each <= n for each in changes)
        assert flapping(flips, seconds(n), POLICY) is (lately >= 4) or len(flips) == KEPT
    assert len(flips) <= KEPT


# -- storms ---------------------------------------------------------------------------------------


def after(*brought: tuple[float, Gust], policy: Policy = POLICY) -> list[tuple[Storm, Turn]]:
    now, turns = Storm(1), list[tuple[Storm, Turn]]()
    for at, gust in brought:
        now, turn = storms.fold(now, gust, seconds(at), policy)
        turns.append((now, turn))
    return turns


def test_three_new_incidents_within_a_minute_are_a_storm_and_over_longer_are_none() -> None:
    one = Gust(1, 1, 0, 1)
    assert [t for _, t in after((0, one), (20, one), (59, one))][-1] is Turn.BEGUN
    assert [t for _, t in after((0, one), (31, one), (62, one), (93, one))] == [Turn.NOTHING] * 4


def test_what_is_usual_for_a_customer_is_no_storm() -> None:
    """Ten a minute for an hour, then thirty: four times the usual would be forty."""
    calm = [(60 * n, Gust(10, 0, 0, 10)) for n in range(60)]
    *_, (now, turn) = after(*calm, (3600, Gust(30, 0, 0, 30)))
    assert turn is Turn.NOTHING
    assert 8 < now.usual < 12
    *_, (_, turn) = after((0, Gust(30, 0, 0, 30)))
    assert turn is Turn.BEGUN


def test_a_storm_drains_and_ends_and_a_new_critical_holds_it() -> None:
    begun = (0, Gust(50, 5, 0, 50))
    steps = [(10 * n, storms.NONE) for n in range(1, 100)]
    turns = after(begun, *steps)
    phases = [now.phase for now, _ in turns]
    drained, over = phases.index(StormPhase.DRAIN), phases.index(StormPhase.NORMAL)
    assert 0 < drained < over
    assert turns[over][1] is Turn.ENDED
    late = (10 * drained + 1, Gust(1, 0, 1, 1))
    held = after(begun, *steps[:drained], late, *steps[drained:])
    assert held[drained + 1][0].phase is StormPhase.STORM
    assert [t for _, t in held].index(Turn.ENDED) > over + 10


@given(gusts)
def test_a_storm_begins_and_ends_in_turns(said: list[tuple[int, int, int, int]]) -> None:
    """BEGUN and ENDED alternate, each where the phase says so, and what came is counted."""
    now, at, raging = Storm(1), 0, False
    for gap, alerts, incidents, criticals in said:
        at += gap
        gust = Gust(alerts, min(incidents, alerts), min(criticals, alerts), alerts + 1)
        before = now
        now, turn = storms.fold(now, gust, seconds(at), POLICY)
        if turn is Turn.BEGUN:
            assert not raging
            assert now.received >= sum(each.alerts for each in now.recent)
            raging = True
        if turn is Turn.ENDED:
            assert raging
            raging = False
        assert (now.phase is not StormPhase.NORMAL) is raging
        if raging and turn is Turn.NOTHING:
            assert now.received == before.received + gust.received


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200))
def test_criticals_cost_few_messages_and_each_has_one(gaps: list[int]) -> None:
    """In no minute are there more than seven mentions, and none waits for more than ten seconds."""
    now, at, sent = Storm(1), 0, list[float]()
    for gap in gaps:
        at += gap
        now, due = storms.window(now, seconds(at), POLICY)
        now, _ = storms.fold(now, Gust(1, 0, 1, 1), seconds(at), POLICY)
        goes = (due - T0).total_seconds() if due else at
        assert at <= goes <= at + 10
        if goes not in sent:
            sent.append(goes)
    assert all(sum(a <= b < a + 60 for b in sent) <= 7 for a in sent)


def test_a_critical_waits_only_for_a_message_that_goes() -> None:
    """In the first window none came that shares its message; one that only comes and goes does not."""
    now, due = storms.window(Storm(1), seconds(0), POLICY)
    now, _ = storms.fold(now, Gust(1, 1, 1, 1), seconds(0), POLICY)
    now, _ = storms.fold(now, Gust(1, 0, 1, 1), seconds(5), POLICY)
    assert due is None
    now, due = storms.window(now, seconds(12), POLICY)
    assert due is None
    now, due = storms.window(now, seconds(13), POLICY)
    assert due == seconds(22)
    now, due = storms.window(now, seconds(21), POLICY)
    assert due == seconds(22)
    now, due = storms.window(now, seconds(31), POLICY)
    assert due == seconds(32)
    assert storms.window(now, seconds(42), POLICY)[1] is None


def test_a_clock_that_is_put_back_puts_no_critical_off_and_no_storm_on() -> None:
    """By an hour: what was then to come would else hold for that hour."""
    ahead = 3600
    now, _ = storms.window(Storm(1), seconds(ahead), POLICY)
    now, _ = storms.fold(now, Gust(30, 2, 1, 30), seconds(ahead), POLICY)
    now, due = storms.window(now, seconds(ahead + 5), POLICY)
    assert due == seconds(ahead + 10)
    now, due = storms.window(now, seconds(0), POLICY)
    assert due is None
    now, turn = storms.fold(now, Gust(1, 1, 1, 1), seconds(0), POLICY)
    assert sum(each.alerts for each in now.recent) == 1
    for n in range(5, 600, 5):
        now, turn = storms.fold(now, storms.NONE, seconds(n), POLICY)
        if turn is Turn.ENDED:
            break
    assert (now.phase, turn) == (StormPhase.NORMAL, Turn.ENDED)
    flips = tuple(seconds(ahead + n) for n in range(POLICY.flaps))
    assert flapping(flips, seconds(ahead + 10), POLICY)
    assert not flapping(flips, seconds(0), POLICY)
    assert flip(flips, seconds(0), POLICY) == (seconds(0),)


# -- cards ----------------------------------------------------------------------------------------


printed = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=300)


@given(st.integers(0, 400), printed, printed, st.integers(0, 60))
@example(400, "规" * 300, "𝔥" * 300, 60)
def test_no_storm_card_outgrows_a_platform_and_no_critical_is_left_out(
    criticals: int, rule: str, host: str, rules: int
) -> None:
    alerts = [
        replace(known(n, f"{n % 50}{rule}"), host=f"{n}{host}", title=f"{n}：{host}")
        for n in range(criticals)
    ]
    tallies = [Tally(f"{rule}{n}", Severity.WARNING, 9, 9, T0) for n in range(rules)]
    for named, count in Counter(alert.rule for alert in alerts).items():
        tallies.append(Tally(named, Severity.CRITICAL, count, 1, T0))
    assert len(dumps(incident_cards.mention(alerts, POLICY, T0, ZONE)).encode()) < LARGEST
    storm = Storm(1, StormPhase.STORM, T0)
    hosts = [(host, 3)] * 5
    hidden = [(rule, Severity.WARNING, 4)] * 20
    card = storm_cards.storm_card(
        StormView(storm, tallies, hosts, alerts[: incident_cards.NAMED], (), hidden, None, 1),
        POLICY,
        T0,
        ZONE,
    )
    assert len(dumps(card).encode()) < LARGEST
    if criticals:
        assert isinstance(card.blocks[0], Text)
        assert f"严重告警 {criticals} 条" in card.blocks[0].text
    if criticals > incident_cards.NAMED:
        assert f"另有严重告警 {criticals - incident_cards.NAMED} 条" in plain(card)


def test_a_summary_suggests_a_rule_once_though_its_alerts_are_of_two_severities() -> None:
    """Its button is for warnings and what is less alike: another of them would do the same again."""
    mild = (Severity.WARNING, Severity.INFO)
    tallies = [Tally(rule, each, 9, 9, T0) for rule in ("CPU", "内存") for each in mild]
    few = [Tally("磁盘", each, incident_cards.TOP - 1, 1, T0) for each in mild]
    said = plain(storm_cards.summary(Storm(1), [*tallies, *few], (), T0, ZONE))
    assert [said.count(f"[静默「{rule}」") for rule in ("CPU", "内存", "磁盘")] == [1, 1, 1]


@given(st.lists(st.integers(1, 80), min_size=1, max_size=6))
def test_a_shared_mention_counts_everyone(batches: list[int]) -> None:
    card, n = None, 0
    for batch in batches:
        alerts = [known(n + i) for i in range(batch)]
        n += batch
        card = incident_cards.mention(alerts, POLICY, T0, ZONE, card)
        assert len(dumps(card).encode()) < LARGEST
    assert card
    assert f"新的严重告警 {n} 条" in card.title or n == 1


def test_what_lasted_from_one_whole_second_to_another_lasted_the_time_between_them() -> None:
    """Cards show whole seconds, and what comes in has fractions."""
    three = timedelta(hours=3)
    assert incident_cards.lasted(three - timedelta(milliseconds=3)) == "3 小时 0 分钟"
    assert incident_cards.lasted(three - timedelta(seconds=1)) == "2 小时 59 分钟"
    assert incident_cards.lasted(timedelta(seconds=59)) == "不到 1 分钟"

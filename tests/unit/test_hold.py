"""The "for five minutes" as a pure fold: what is announced, when, and how often."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.alerting.hold import (
    SETTLE,
    UNVERIFIED,
    VERIFIED,
    Found,
    Heard,
    Kind,
    Say,
    episode_of,
    fingerprint,
    fold,
    hold_of,
    judge,
    reading,
    since,
    title_of,
    told_elsewhere,
)
from storage.records import Ended, HeldAlert

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
FIVE = timedelta(minutes=5)
CPU = HeldAlert(1, "cpu", "web-01")


def heard(kind: Kind, number: int, fired: float, at: float, found: Found = Found.HOOK) -> Heard:
    """A word about alert `number`; instants are in seconds after START."""
    began = START + timedelta(seconds=fired)
    title = "Vigilbot CPU > 90% - web-01"
    return Heard(
        kind,
        episode_of(number, began),
        began,
        START + timedelta(seconds=at),
        title,
        "cpu_percent = 95.0 > 90.0",
        "warning",
        found,
    )


def after(*words: Heard) -> tuple[HeldAlert, list[Say]]:
    held, said = CPU, []
    for word in words:
        held, say = fold(held, word)
        said.append(say)
    return held, said


# -- what an alert is about ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "expected", "hold"),
    [
        ("Vigilbot CPU > 90% - web-01", ("cpu", "web-01"), FIVE),
        ("CPU 使用率过高 - web-01", ("cpu", "web-01"), FIVE),
        ("Vigilbot 内存 > 85% - web-01", ("memory", "web-01"), FIVE),
        ("内存使用率过高 - web-01", ("memory", "web-01"), FIVE),
        ("Vigilbot 磁盘 > 90% - web-01", ("disk", "web-01"), timedelta(0)),
        ("磁盘使用率过高 - web-01", ("disk", "web-01"), timedelta(0)),
        ("服务不可用 - nginx", ("service", "nginx"), timedelta(0)),
        ("服务不可用 - 官网 - 首页", ("service", "官网 - 首页"), timedelta(0)),
        ("Vigilbot 服务宕机 - 官网 - 首页", ("service", "官网 - 首页"), timedelta(0)),
        ("主机离线 - web-01", ("主机离线", "web-01"), timedelta(0)),
        ("客户 - 自己的规则 - web-01", ("客户 - 自己的规则", "web-01"), timedelta(0)),
        ("没有主机", ("没有主机", ""), timedelta(0)),
    ],
)
def test_what_watches_the_same_is_one_rule(
    title: str, expected: tuple[str, str], hold: timedelta
) -> None:
    assert fingerprint(title) == expected
    assert hold_of(expected[0]) == hold


def test_a_rule_is_called_as_in_the_table() -> None:
    assert (title_of("cpu"), title_of("主机离线")) == ("CPU > 90%", "主机离线")
    assert told_elsewhere("Vigilbot 测试 r1-1 - web-01")
    assert not told_elsewhere("Vigilbot CPU > 90% - web-01")
    assert reading("cpu_percent = 95.0 > 90.0 (已持续 60秒)") == ("95.0", "90.0")
    assert reading("日志里有 ERROR") == ("", "")


# -- when it is due -----------------------------------------------------------------------------


def test_a_recovery_before_five_minutes_says_nothing() -> None:
    held, _ = after(heard(Kind.FIRING, 1, 0, 1))
    assert held.due == START + FIVE
    held, said = after(heard(Kind.FIRING, 1, 0, 1), heard(Kind.RECOVERED, 1, 0, 240))
    assert (held.due, said) == (None, [Say.NOTHING, Say.NOTHING])


def test_what_recovered_begins_anew() -> None:
    words = (heard(Kind.FIRING, 1, 0, 1), heard(Kind.RECOVERED, 1, 0, 240))
    held, _ = after(*words, heard(Kind.FIRING, 2, 300, 301))
    assert held.due == START + timedelta(seconds=300) + FIVE


def test_the_built_in_rule_ending_first_does_not_end_ours() -> None:
    """Memory above 85 % goes on when it is no longer above 90 %."""
    ours, theirs = heard(Kind.FIRING, 1, 0, 1), heard(Kind.FIRING, 2, 60, 61)
    both, _ = after(theirs, ours)
    assert (since(both), both.due) == (START, START + FIVE)
    held, said = after(ours, theirs, heard(Kind.RECOVERED, 2, 60, 120))
    assert (since(held), held.due, said[-1]) == (START, START + FIVE, Say.NOTHING)


def test_a_monitor_with_a_fast_clock_does_not_put_an_alert_off() -> None:
    held, _ = after(heard(Kind.FIRING, 1, 600, 0))
    assert held.due == START + FIVE


def test_an_end_that_overtakes_its_beginning() -> None:
    held, said = after(heard(Kind.RECOVERED, 1, 0, 240), heard(Kind.FIRING, 1, 0, 241))
    assert (held.firing, held.due, set(said)) == ((), None, {Say.NOTHING})


def test_an_end_that_was_rolled_back_is_taken_back_by_the_list_alone() -> None:
    """A notice that came late says the same as one that was posted after the end."""
    over = (heard(Kind.FIRING, 1, 0, 1), heard(Kind.RECOVERED, 1, 0, 240))
    late, _ = after(*over, heard(Kind.FIRING, 1, 0, 3600))
    assert late.firing == ()
    early = 240 + SETTLE.total_seconds() - 1
    soon, _ = after(*over, heard(Kind.FIRING, 1, 0, early, Found.POLL))
    assert soon.firing == (), "it is posted before it is committed"
    back, _ = after(*over, heard(Kind.FIRING, 1, 0, early + 1, Found.POLL))
    assert (since(back), back.due, back.ended) == (START, START + FIVE, ())
    again, said = fold(back, heard(Kind.RECOVERED, 1, 0, 300))
    assert (again.firing, said) == ((), Say.NOTHING)
    assert [each.at for each in again.ended] == [START + timedelta(seconds=300)]


def test_an_end_counts_from_when_it_was_last_told() -> None:
    held, _ = after(heard(Kind.RECOVERED, 1, 0, 240), heard(Kind.RECOVERED, 1, 0, 300))
    assert fold(held, heard(Kind.FIRING, 1, 0, 301, Found.POLL))[0].firing == ()


def test_of_an_end_without_its_instant_the_list_knows_better() -> None:
    """Older programs did not keep it."""
    held = replace(CPU, ended=(Ended(episode_of(1, START)),))
    assert fold(held, heard(Kind.FIRING, 1, 0, 300))[0].firing == ()
    assert fold(held, heard(Kind.FIRING, 1, 0, 300, Found.POLL))[0].firing


# -- when it is told ----------------------------------------------------------------------------


def test_what_is_on_the_list_is_announced_and_its_end_is_told_once() -> None:
    held, _ = after(heard(Kind.FIRING, 1, 0, 1))
    now = START + FIVE
    told, say = judge(held, frozenset({held.firing[0].episode}), now)
    assert (say, told.note, told.due, told.announced_at) == (True, VERIFIED, None, now)
    told, again = fold(told, heard(Kind.FIRING, 1, 0, 360))
    assert (told.due, again) == (None, Say.NOTHING)
    told, end = fold(told, heard(Kind.RECOVERED, 1, 0, 400))
    assert end is Say.RECOVERED
    for kind in (Kind.RECOVERED, Kind.GONE, Kind.FIRING):
        told, more = fold(told, heard(kind, 1, 0, 401))
        assert (more, told.due) == (Say.NOTHING, None)


def test_a_phantom_is_dropped_once_the_list_had_time_to_show_it() -> None:
    """The webhook is posted before the monitor commits: absent at first proves nothing."""
    disk, _ = fold(HeldAlert(1, "disk", "web-01"), heard(Kind.FIRING, 1, 0, 0))
    assert disk.due == START
    young, say = judge(disk, frozenset(), START + timedelta(seconds=10))
    assert (say, young.due) == (False, START)
    gone, say = judge(disk, frozenset(), START + SETTLE)
    assert (say, gone.firing, gone.due) == (False, (), None)
    assert "未通知" in gone.note
    back, _ = fold(gone, heard(Kind.FIRING, 1, 0, 60, Found.POLL))
    assert back.due == START, "the list shows it after all"


def test_a_monitor_that_cannot_be_asked_hides_nothing() -> None:
    held, _ = after(heard(Kind.FIRING, 1, 0, 1))
    told, say = judge(held, None, START + FIVE)
    assert (say, told.note) == (True, UNVERIFIED)


def test_without_its_oldest_alert_the_rest_has_to_last_too() -> None:
    held, _ = after(heard(Kind.FIRING, 1, 0, 1), heard(Kind.FIRING, 2, 240, 241))
    newer = held.firing[1].episode
    kept, say = judge(held, frozenset({newer}), START + FIVE)
    assert (say, kept.due) == (False, START + timedelta(seconds=240) + FIVE)


# -- properties ---------------------------------------------------------------------------------

EPISODES = st.lists(
    st.tuples(st.integers(0, 900), st.one_of(st.none(), st.integers(1, 900))), max_size=6
)
"""When each alert fired, and how long it lasted; None: it still does."""


def words_of(episodes: list[tuple[int, int | None]]) -> list[Heard]:
    words = []
    for number, (fired, lasted) in enumerate(episodes, start=1):
        words.append(heard(Kind.FIRING, number, fired, fired))
        if lasted is not None:
            words.append(heard(Kind.FIRING, number, fired, fired + lasted / 2))
            words.append(heard(Kind.RECOVERED, number, fired, fired + lasted))
    return words


@given(EPISODES, st.data())
def test_neither_order_nor_repeats_matter(
    episodes: list[tuple[int, int | None]], data: st.DataObject
) -> None:
    words = words_of(episodes)
    repeats = data.draw(st.lists(st.sampled_from(words), max_size=5)) if words else []
    mixed = data.draw(st.permutations([*words, *repeats]))
    straight, _ = after(*words)
    other, said = after(*mixed)
    assert {each.episode for each in other.firing} == {each.episode for each in straight.firing}
    assert since(other) == since(straight)
    assert other.due == straight.due
    assert set(said) <= {Say.NOTHING}, "nothing was announced, so no end is told"


@given(EPISODES)
def test_told_once_per_episode_and_never_before_it_lasted(
    episodes: list[tuple[int, int | None]],
) -> None:
    """The clock ticks, and the monitor's list says what is so."""
    words = sorted(words_of(episodes), key=lambda word: word.at)
    held, told, ended = CPU, 0, 0
    begun: datetime | None = None
    for second in range(0, 2415, 15):
        now = START + timedelta(seconds=second)
        while words and words[0].at <= now:
            held, say = fold(held, words.pop(0))
            if say is Say.RECOVERED:
                ended += 1
                assert ended == told, "an end is told of what was announced, once"
            if not held.firing:
                begun = None
            elif begun is None:
                begun = since(held)
        if held.due and held.due <= now:
            oldest = since(held)
            shown = frozenset(each.episode for each in held.firing)
            held, say_now = judge(held, shown, now)
            assert say_now
            assert oldest is not None
            assert begun is not None
            assert now - oldest >= FIVE
            assert now - begun >= FIVE
            told += 1
            assert told == ended + 1, "not twice without an end between"
    assert told - ended == (1 if held.firing else 0)


def test_what_was_told_and_is_worse_is_due_once_more_and_is_looked_up() -> None:
    """Only when the monitor shows it; what it does not show is for the poll to end."""
    told = replace(after(heard(Kind.FIRING, 1, 0, 0))[0], due=None, announced_at=START + FIVE)
    worse = replace(heard(Kind.FIRING, 2, 400, 400), severity="critical")
    held, say = fold(told, worse)
    assert (held.due, say) == (worse.at, Say.NOTHING)
    assert fold(held, heard(Kind.FIRING, 1, 0, 401))[0].due == worse.at, (
        "a repeat takes nothing back"
    )
    sure, tell = judge(held, frozenset({worse.episode}), worse.at)
    assert (sure.due, sure.announced_at, tell) == (None, told.announced_at, True)
    assert judge(held, None, worse.at)[1], "a monitor that is down hides nothing"
    young, tell = judge(held, frozenset(), worse.at)
    assert (young, tell) == (held, False)
    gone, tell = judge(held, frozenset(), worse.at + SETTLE)
    assert (gone.due, gone.firing, tell) == (None, held.firing, False)
    milder = replace(heard(Kind.FIRING, 3, 500, 500), severity="info")
    assert fold(sure, milder)[0].due is None

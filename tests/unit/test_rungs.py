"""Which calls are made together, which are put off, and what becomes due sooner: nothing but values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runbooks.alerting.oncall import rungs
from runbooks.alerting.oncall.rungs import BREATH, Turn
from storage.roster import Escalation, Level, Policy, RungState, Way

START = datetime(2026, 11, 25, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = Policy((Level(5), Level(15, 1)), repeat=30, between=30)
AT_ONCE = Policy((Level(0, 0, (Way.RING,)),), repeat=0)


def climb(incident: int, began: float, policy: Policy = POLICY, customer: int = 1) -> Escalation:
    at = START + SECOND * began
    return Escalation(incident, 1, customer, f"磁盘 {incident}", at, rungs.kept(policy))


def turns(*climbs: Escalation, name: str = "李工") -> list[Turn]:
    return [Turn(rung, each, name) for each in climbs for rung in rungs.lap(each, 0)]


def told(found: list[tuple[Turn, ...]]) -> list[list[int]]:
    return [[turn.climb.incident for turn in call] for call in found]


def test_what_is_soon_due_for_the_same_person_is_told_in_the_call_that_is_due() -> None:
    """Ways and levels are calls of their own; so are other people and other customers."""
    there = turns(climb(1, 0), climb(2, 50), climb(3, 59))
    there += turns(climb(4, 1), name="赵工")
    there += turns(climb(5, 1, customer=2))
    there += [turn for turn in turns(climb(6, -600)) if turn.rung.level == 1]
    now = START + SECOND * 300
    soon = [turn for turn in there if turn.rung.due <= now + SECOND * 60]
    found = rungs.together(soon, {}, now)
    assert told(found) == [[1, 2, 3], [6]]
    assert {turn.rung.way for turn in found[0]} == {Way.MENTION}
    assert [call[0].rung.level for call in found] == [0, 1]


def test_nothing_is_told_before_a_call_is_due() -> None:
    soon = turns(climb(1, 0), climb(2, 1))
    assert rungs.together(soon, {}, START + SECOND * 299) == []


def test_whoever_was_just_called_is_left_in_peace_from_what_began_since() -> None:
    """Half a minute at the most, so that it is not late; not if it began before that call."""
    now = START + SECOND * 10
    there = turns(climb(1, 9, AT_ONCE), climb(2, 10, AT_ONCE))
    line = there[0].line
    assert rungs.together(there, {line: START + SECOND * 8}, now) == []
    assert told(rungs.together(there, {line: START + SECOND * 9}, now)) == [[1, 2]]
    later = START + SECOND * 8 + BREATH
    assert told(rungs.together(there, {line: START + SECOND * 8}, later)) == [[1, 2]]
    assert later - there[0].rung.due < rungs.LATE


def test_who_is_called_by_a_persons_word_is_not_put_off() -> None:
    hastened = climb(1, 9)
    (turn, *_) = turns(hastened)
    now = START + SECOND * 10
    turn = replace(turn, rung=replace(turn.rung, due=now))
    assert told(rungs.together([turn], {turn.line: START + SECOND * 8}, now)) == [[1]]


@given(
    st.lists(st.integers(0, 900), min_size=1, max_size=30),
    st.sampled_from((0, 30, 60, 120)),
    st.integers(1, 40),
)
def test_no_call_is_lost_late_or_made_twice_and_one_line_rings_once_a_window(
    began: list[int], window: int, tick: int
) -> None:
    """However criticals come, each one's call is executed by its deadline, one tick aside."""
    climbs = [climb(number, at) for number, at in enumerate(began)]
    left = {turn.rung.key: turn for turn in turns(*climbs)}
    rung: dict[str, datetime] = {}
    calls: dict[rungs.Line, list[datetime]] = {}
    for seconds in range(0, 2100, tick):
        now = START + SECOND * seconds
        here = [turn for turn in left.values() if turn.climb.began_at <= now]
        soon = [turn for turn in here if turn.rung.due <= now + SECOND * window]
        lately = {line: at[-1] for line, at in calls.items()}
        for call in rungs.together(soon, lately, now):
            calls.setdefault(call[0].line, []).append(now)
            for turn in call:
                rung[left.pop(turn.rung.key).rung.key] = now
    assert not left
    for turn in turns(*climbs):
        at = rung[turn.rung.key]
        assert turn.rung.due - SECOND * window <= at < turn.rung.due + SECOND * tick
    for times in calls.values():
        gaps = [later - early for early, later in pairwise(times)]
        assert all(gap > SECOND * window for gap in gaps)


def test_the_way_after_one_that_failed_is_due_at_once() -> None:
    now = START + SECOND * 301
    there = rungs.lap(climb(1, 0), 0)
    (ring,) = rungs.sooner(there, there[0], 30, now)
    assert (ring.level, ring.place, ring.due) == (0, 1, now)


def test_after_the_last_way_of_a_level_the_whole_next_one_comes_forward() -> None:
    now = START + SECOND * 331
    mention, ring, *above = rungs.lap(climb(1, 0), 0)
    there = [replace(mention, state=RungState.DONE), ring, *above]
    found = rungs.sooner(there, ring, 30, now)
    assert [(r.level, r.place, r.due) for r in found] == [(1, 0, now), (1, 1, now + SECOND * 30)]


def test_what_was_called_since_is_reason_enough_to_hasten_nothing() -> None:
    """Nor does the end of a lap bring the next one forward: that would go round and round."""
    now = START + SECOND * 400
    there = [*rungs.lap(climb(1, 0), 0), *rungs.lap(climb(1, 0), 1)]
    there[1] = replace(there[1], state=RungState.DONE)
    assert rungs.sooner(there, there[0], 30, now) == ()
    assert rungs.sooner(there, there[3], 30, now) == ()
    three = Policy((Level(5, 0, (Way.RING, Way.EMAIL, Way.MENTION)),), repeat=0)
    ring, mail, mention = rungs.lap(climb(2, 0, three), 0)
    mail = replace(mail, state=RungState.DONE)
    assert rungs.sooner([ring, mail, mention], ring, 30, now) == ()
    overdue = START + SECOND * 2000
    assert [r.due for r in rungs.sooner(there, there[1], 30, overdue)] == [
        rung.due for rung in there[2:4]
    ], "what is due already keeps its deadline"

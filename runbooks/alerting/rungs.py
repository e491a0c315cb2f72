"""Which calls a climb owes and when: pure, the same for the ladder that makes them and for the
watchdog that counts them afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from storage.roster import Escalation, Level, Policy, Rung, RungState, Way

LATE = timedelta(seconds=60)
"""A call that was made so much after its deadline is late, and that is an alarm of its own."""


def policy_of(climb: Escalation) -> Policy:
    """Return the policy under which a climb began."""
    return msgspec.json.decode(climb.policy, type=Policy)


def kept(policy: Policy) -> str:
    """Return a policy as JSON."""
    return msgspec.json.encode(policy).decode()


def from_minutes(
    minutes: Sequence[int], repeat: int, ways: tuple[Way, ...] = (Way.MENTION, Way.RING)
) -> Policy:
    """Return the policy that calls one more place of the roster after each of these minutes."""
    levels = tuple(Level(after, ahead, ways) for ahead, after in enumerate(minutes))
    return Policy(levels, repeat)


def lap_length(policy: Policy) -> timedelta | None:
    """Return how long it takes until all begins again; None when it does not."""
    if not policy.levels or not policy.repeat:
        return None
    return timedelta(minutes=policy.levels[-1].after + policy.repeat)


def lap(climb: Escalation, number: int) -> tuple[Rung, ...]:
    """Return the calls of one lap with their absolute deadlines."""
    policy = policy_of(climb)
    length = lap_length(policy)
    if number and length is None:
        return ()
    base = climb.began_at + (length * number if length else timedelta())
    return tuple(
        Rung(climb.incident, climb.round, number, place, way_place, way, due)
        for place, level in enumerate(policy.levels)
        for way_place, way in enumerate(level.ways)
        for due in (base + timedelta(minutes=level.after, seconds=policy.between * way_place),)
    )


def next_lap(climb: Escalation, done: int, now: datetime) -> int:
    """Return the number of the lap after `done`; of laps that passed wholly while nobody was here,
    only the one that holds the present is rung: twenty calls in one second wake nobody better."""
    length = lap_length(policy_of(climb))
    if length is None:
        return done + 1
    return max(done + 1, (now - climb.began_at) // length)


def owed(climb: Escalation, since: datetime, until: datetime) -> Iterator[Rung]:
    """Yield every call whose deadline came between the two while the climb was under way."""
    end = min(until, climb.stopped_at) if climb.stopped_at else until
    length = lap_length(policy_of(climb))
    number = max(0, (since - climb.began_at) // length - 1) if length else 0
    while True:
        of_lap = lap(climb, number)
        yield from (rung for rung in of_lap if since <= rung.due < end)
        if length is None or climb.began_at + length * (number + 1) >= end:
            return
        number += 1


@dataclass(frozen=True, slots=True)
class Missed:
    """A call that was due and was not made, made late, or did not arrive."""

    climb: Escalation
    rung: Rung
    why: str


def missed(climb: Escalation, due: Sequence[Rung], known: Sequence[Rung]) -> list[Missed]:
    """Return which of the calls that were due were not made, or were made late."""
    by_key = {rung.key: rung for rung in known}
    found: list[Missed] = []
    for rung in due:
        real = by_key.get(rung.key)
        if why := _wrong(rung, real):
            found.append(Missed(climb, real or rung, why))
    return found


def _wrong(owed: Rung, real: Rung | None) -> str:
    match real:
        case None:
            return "没有执行"
        case Rung(state=RungState.DUE):
            return "到期未执行"
        case Rung(state=RungState.NOBODY):
            return f"没有人可以通知（{real.note}）"
        case Rung(state=RungState.STOPPED, at=at) if at and at - owed.due > LATE:
            return f"确认之前 {int((at - owed.due).total_seconds())} 秒到期，没有执行"
        case Rung(state=RungState.DONE, at=at) if at and at - owed.due > LATE:
            return f"晚了 {int((at - owed.due).total_seconds())} 秒"
    return ""

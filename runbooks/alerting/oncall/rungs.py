"""Which calls a climb owes and when: pure, the same for the ladder that makes them and for the
watchdog that counts them afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from storage.roster import Escalation, Level, Policy, Rung, RungState, Way

LATE = timedelta(seconds=60)
"""A call that was made so much after its deadline is late, and that is an alarm of its own."""

SETTLED = timedelta(minutes=5)
"""A call that is younger may still be on its way; one that took longer arrived too late."""

BREATH = LATE / 2
"""After a call, how long the same person is left in peace from incidents that began since then: they
could not be named in it. Half of what is late, so that nobody's deadline is missed for it."""


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


Line = tuple[int, str, Way, int]
"""A customer, the name of who is called, the way and the level: what one call can tell."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A call that a climb owes, and the name of who would be called now; empty for nobody."""

    rung: Rung
    climb: Escalation
    name: str

    @property
    def line(self) -> Line:
        return self.climb.customer, self.name, self.rung.way, self.rung.level


def together(
    turns: Sequence[Turn], lately: Mapping[Line, datetime], now: datetime
) -> list[tuple[Turn, ...]]:
    """Return the calls to make now: what the same person would be called for by the same way and
    level is one call. In each the longest due comes first.

    `turns` are those that are due and those that soon will be: these are told ahead of their time
    when a call is made anyway, and never make one. `lately` is when a line was last called.
    """
    lines: dict[Line, list[Turn]] = {}
    for turn in sorted(turns, key=lambda each: (each.rung.due, each.rung.key)):
        lines.setdefault(turn.line, []).append(turn)
    return [
        tuple(there)
        for line, there in lines.items()
        if there[0].rung.due <= now and not _in_peace(there, lately.get(line), now)
    ]


def _in_peace(there: Sequence[Turn], last: datetime | None, now: datetime) -> bool:
    """May these wait, because all that is due began after a call that was just now?"""
    if last is None or now - last >= BREATH:
        return False
    due = [turn for turn in there if turn.rung.due <= now]
    # What was hastened is not what its deadline says: that was a person, or a call that failed.
    return all(turn.climb.began_at > last and turn.rung == _fresh(turn) for turn in due)


def _fresh(turn: Turn) -> Rung | None:
    """Return a call as it was first written down."""
    there = lap(turn.climb, turn.rung.lap)
    return next((rung for rung in there if rung.key == turn.rung.key), None)


def sooner(known: Sequence[Rung], failed: Rung, between: int, now: datetime) -> tuple[Rung, ...]:
    """Return what becomes due sooner because a call cannot be made: the next one of its lap at once,
    and the ways after it in the same level `between` seconds from one to the next; none when the
    next one was called already, or the lap ends here. `known` are the climb's rungs.
    """
    of_lap = sorted((r for r in known if r.lap == failed.lap), key=lambda r: (r.level, r.place))
    after = [r for r in of_lap if (r.level, r.place) > (failed.level, failed.place)]
    if not after or after[0].state is not RungState.DUE:
        return ()
    first = after[0]
    return tuple(
        replace(rung, due=min(rung.due, now + timedelta(seconds=between * place)))
        for place, rung in enumerate(after)
        if rung.level == first.level and rung.state is RungState.DUE
    )


def resumed(known: Sequence[Rung], between: int, at: datetime) -> tuple[Rung, ...]:
    """Return what is owed again when a climb that had stopped goes on `at`: by its old deadlines, and
    what came due meanwhile, or was called and heard by nobody, at once, `between` seconds from one to
    the next."""
    unheard = {RungState.STOPPED, RungState.WITHDRAWN}
    stopped = [rung for rung in known if rung.state in unheard]
    return tuple(
        replace(
            rung,
            state=RungState.DUE,
            at=None,
            told="",
            due=at + timedelta(seconds=between * place) if rung.due < at else rung.due,
        )
        for place, rung in enumerate(sorted(stopped, key=lambda each: (each.due, each.key)))
    )


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


def put_off(
    owed: Iterable[Rung], known: Sequence[Rung], since: datetime, until: datetime
) -> list[Rung]:
    """Return the calls that were owed between the two by the deadlines that they really had: what
    came due while its climb had stopped by itself is owed from when that went on (`resumed`)."""
    real = {rung.key: rung.due for rung in known}
    moved = [replace(rung, due=max(rung.due, real.get(rung.key, rung.due))) for rung in owed]
    return [rung for rung in moved if since <= rung.due < until]


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
        case Rung(state=RungState.WITHDRAWN, at=at) if at and at - owed.due > SETTLED:
            return f"{int((at - owed.due).total_seconds()) // 60} 分钟没有送出，之后撤回"
        case Rung(state=RungState.DONE | RungState.HELD, at=at) if at and at - owed.due > LATE:
            return f"晚了 {int((at - owed.due).total_seconds())} 秒"
    return ""

"""MTTA and MTTR, from the rows of the climbs themselves: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from storage.roster import Escalation


@dataclass(frozen=True, slots=True)
class Figures:
    """How fast somebody answered, and how fast it was over; None when none was."""

    incidents: int
    rounds: int
    """A critical that re-opens an incident begins another one."""
    acked: int
    silenced: int
    """Rounds that somebody's silence stopped: no acknowledgement, and not in its mean."""
    resolved: int
    to_ack: timedelta | None
    """Mean from the critical's acceptance to the acknowledgement, over the rounds that have one."""
    to_act: timedelta | None
    """Mean to the first thing that a person did: an acknowledgement, a silence or a closing."""
    to_resolve: timedelta | None
    """Mean from the first critical's acceptance to the end, over the incidents that are over."""
    waiting: int
    """Rounds that nobody has answered yet."""
    unanswered: int
    """Rounds that were over before anybody did anything: what a mean of answers cannot show."""


def figures(climbs: Sequence[Escalation]) -> Figures:
    """Return the figures of one customer's climbs, whole incidents only."""
    first: dict[int, Escalation] = {}
    last: dict[int, Escalation] = {}
    for climb in sorted(climbs, key=lambda each: (each.incident, each.round)):
        first.setdefault(climb.incident, climb)
        last[climb.incident] = climb
    answered = [c.acked_at - c.began_at for c in climbs if c.acked_at]
    # Climbs from before this was written down have their acknowledgement.
    acted = [at - c.began_at for c in climbs if (at := c.acted_at or c.acked_at)]
    over = [
        ended - first[number].began_at
        for number, climb in last.items()
        if (ended := climb.resolved_at)
    ]
    return Figures(
        len(first),
        len(climbs),
        len(answered),
        sum(_silenced(climb) for climb in climbs),
        len(over),
        _mean(answered),
        _mean(acted),
        _mean(over),
        sum(climb.stopped_at is None for climb in climbs),
        sum(bool(c.stopped_at) and not (c.acted_at or c.acked_at) for c in climbs),
    )


def _silenced(climb: Escalation) -> bool:
    """Did a person stop it who neither acknowledged nor closed it?"""
    stopped = climb.stopped_at
    other = stopped in {climb.acked_at, climb.resolved_at}
    return stopped is not None and climb.acted_at == stopped and not other


def _mean(spans: Iterable[timedelta]) -> timedelta | None:
    known = list(spans)
    return sum(known, timedelta()) / len(known) if known else None

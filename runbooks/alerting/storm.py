"""NORMAL, STORM, DRAIN: when a customer's group is told of everything on one card. Pure.

A minute's new incidents or new alerts begin it (a burst of distinct ones, never repeats); half of
that for a while, and no new critical, ends it (`facts/alert-storms.md`, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from runbooks.alerting.policy import Policy
from storage.records import Inflow, Storm, StormPhase

MINUTE = timedelta(minutes=1)

SMOOTH = 0.2
"""Weight of the newest minute in what is usual."""

LONGEST_GAP = 60
"""Minutes of silence after which what was usual is forgotten."""


class Turn(StrEnum):
    """What one look at a storm changed."""

    NOTHING = "nothing"
    BEGUN = "begun"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Gust:
    """What one fold brought: new alerts, new incidents and new criticals among them, and all
    that came, repeats included."""

    alerts: int = 0
    incidents: int = 0
    criticals: int = 0
    received: int = 0


NONE = Gust()


def fold(storm: Storm, gust: Gust, now: datetime, policy: Policy) -> tuple[Storm, Turn]:
    """Return the storm after a gust, or after nothing but time, and what turned."""
    measured = _measured(storm, now)
    recent = tuple(each for each in measured.recent if _within(each.at, now, MINUTE))
    if gust.alerts or gust.incidents:
        recent = (*recent, Inflow(now, gust.alerts, gust.incidents, gust.received))
    after = replace(
        measured,
        recent=recent,
        critical_at=now if gust.criticals else storm.critical_at,
        received=storm.received + gust.received,
    )
    alerts = sum(each.alerts for each in recent)
    incidents = sum(each.incidents for each in recent)
    if storm.phase is StormPhase.NORMAL:
        if not _much(alerts, incidents, storm.usual, policy):
            return replace(after, received=0), Turn.NOTHING
        begun = replace(
            after,
            phase=StormPhase.STORM,
            since=recent[0][0],
            calm_since=None,
            peak=alerts,
            # With what made it one in the minute before.
            received=sum(each.received for each in recent),
            number=storm.number + 1,
        )
        return begun, Turn.BEGUN
    return _goes_on(replace(after, peak=max(storm.peak, alerts)), alerts, incidents, now, policy)


def _goes_on(
    storm: Storm, alerts: int, incidents: int, now: datetime, policy: Policy
) -> tuple[Storm, Turn]:
    half = _much(2 * alerts, 2 * incidents, storm.usual, policy)
    lately = storm.critical_at is not None and _within(storm.critical_at, now, policy.calm)
    if half or lately:
        return replace(storm, phase=StormPhase.STORM, calm_since=None), Turn.NOTHING
    calm = min(storm.calm_since or now, now)
    for_ = now - calm
    if for_ >= policy.calm + policy.drain:
        over = replace(
            storm, phase=StormPhase.NORMAL, since=None, calm_since=None, recent=(), peak=0
        )
        return over, Turn.ENDED
    phase = StormPhase.DRAIN if for_ >= policy.calm else storm.phase
    return replace(storm, phase=phase, calm_since=calm), Turn.NOTHING


def _much(alerts: int, incidents: int, usual: float, policy: Policy) -> bool:
    return incidents >= policy.storm_incidents or alerts > max(
        policy.storm_alerts, policy.storm_factor * usual
    )


def _measured(storm: Storm, now: datetime) -> Storm:
    """Return the storm with what is usual brought up to now; a storm's own minutes do not count."""
    if storm.measured_at is None or storm.measured_at > now:
        return replace(storm, measured_at=now)
    minutes = int((now - storm.measured_at) / MINUTE)
    if minutes < 1:
        return storm
    if storm.phase is not StormPhase.NORMAL:
        return replace(storm, measured_at=now)
    first = storm.measured_at + MINUTE
    rate = sum(each.alerts for each in storm.recent if each.at < first)
    usual = (1 - SMOOTH) * storm.usual + SMOOTH * rate
    silent = min(minutes - 1, LONGEST_GAP)
    return replace(storm, usual=usual * (1 - SMOOTH) ** silent, measured_at=now)


def _within(at: datetime, now: datetime, span: timedelta) -> bool:
    """Is an instant so near? One further ahead is of a clock that was put back since, and would count
    until that instant comes again; another replica's may be ahead by a little."""
    return abs(now - at) < span


def window(storm: Storm, now: datetime, policy: Policy) -> tuple[Storm, datetime | None]:
    """Return the storm at news of a critical (before it is folded), and when its mention goes: None
    is now.

    The first goes at once; those of the next ten seconds share one message when they are over, and
    so on without a gap: a steady flow costs the group six messages a minute. A window in which none
    came has no message at its end, so whoever comes after it waits for nothing.
    """
    until = storm.gathering_until
    # None is further ahead than that, unless the clock was put back: nobody waits for it to come again.
    if until is None or now >= until or until - now > 2 * policy.gather:
        return replace(storm, gathering_until=now + policy.gather), None
    if now < until - policy.gather:
        return storm, until - policy.gather
    # The first of this window: its message will go, and the window after it begins there.
    return replace(storm, gathering_until=until + policy.gather), until

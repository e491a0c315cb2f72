"""Which way an alert goes: a tree of routes, the first that matches unless it says to go on.

The meaning is Alertmanager's: what a route does not say it has from the one above it, except the
times at which it is mute, which are each route's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from runbooks.alerting.muting.intervals import Interval, holds
from runbooks.alerting.muting.matchers import Matcher, matches

ALL = "..."
"""In `group_by`: every label, so each alert is alone."""


@dataclass(frozen=True, slots=True)
class Route:
    """One place of the tree. None and empty mean: as above."""

    receiver: str = ""
    matchers: tuple[Matcher, ...] = ()
    go_on: bool = False
    """Look at the routes behind it too (Alertmanager's `continue`)."""
    routes: tuple[Route, ...] = ()
    group_by: tuple[str, ...] | None = None
    wait: timedelta | None = None
    interval: timedelta | None = None
    repeat: timedelta | None = None
    mute: tuple[str, ...] = ()
    """Names of intervals during which it says nothing."""
    active: tuple[str, ...] = ()
    """Names of intervals outside of which it says nothing."""
    set_by: str = ""
    """Who wants those times; without, they hide no critical."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an alert is told, with everything that its route has from above."""

    receiver: str
    group_by: tuple[str, ...] = ()
    wait: timedelta = timedelta(seconds=30)
    interval: timedelta = timedelta(minutes=5)
    repeat: timedelta = timedelta(hours=4)
    mute: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    set_by: str = ""


@dataclass(frozen=True, slots=True)
class Routing:
    """The tree and the intervals that it names."""

    root: Route = field(default_factory=Route)
    intervals: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)


def ways(root: Route, labels: Mapping[str, str]) -> tuple[Way, ...]:
    """Return every way that an alert with these labels goes: one at least, since the root takes
    what nobody else does."""
    return _ways(root, labels, Way("")) or (_merged(root, Way("")),)


def group_key(way: Way, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what an alert has in common with those that are told with it; a label that it has not
    is no part of it."""
    names = labels if ALL in way.group_by else way.group_by
    return tuple(sorted((name, labels[name]) for name in names if name in labels))


def grouped_by(
    routing: Routing, labels: Mapping[str, str], otherwise: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what the alerts of one incident have in common, by the first way that this one goes;
    `otherwise` when no route says it."""
    names = ways(routing.root, labels)[0].group_by if routing.root.routes else ()
    return tuple(sorted(labels)) if ALL in names else names or otherwise


def muted(routing: Routing, way: Way, at: datetime) -> bool:
    """Does this way say nothing at an instant?"""
    return _in(routing, way.mute, at) or (bool(way.active) and not _in(routing, way.active, at))


def held(routing: Routing, at: datetime) -> frozenset[str]:
    """Return the names of the intervals in which an instant lies."""
    return frozenset(name for name in routing.intervals if _in(routing, (name,), at))


def muted_everywhere(routing: Routing, labels: Mapping[str, str], at: datetime) -> str | None:
    """Return who made every way of an alert mute at an instant (empty when nobody is named); None
    when one of them speaks."""
    if not routing.intervals:
        return None
    gone = ways(routing.root, labels)
    if not all(muted(routing, way, at) for way in gone):
        return None
    # One mute that nobody put his name to is enough for a critical to be heard.
    return "、".join(dict.fromkeys(w.set_by for w in gone)) if all(w.set_by for w in gone) else ""


def _ways(route: Route, labels: Mapping[str, str], above: Way) -> tuple[Way, ...]:
    if not matches(route.matchers, labels):
        return ()
    here = _merged(route, above)
    found: tuple[Way, ...] = ()
    for child in route.routes:
        below = _ways(child, labels, here)
        found = (*found, *below)
        if below and not child.go_on:
            break
    return found or (here,)


def _merged(route: Route, above: Way) -> Way:
    return replace(
        above,
        receiver=route.receiver or above.receiver,
        group_by=above.group_by if route.group_by is None else route.group_by,
        wait=above.wait if route.wait is None else route.wait,
        interval=above.interval if route.interval is None else route.interval,
        repeat=above.repeat if route.repeat is None else route.repeat,
        mute=route.mute,
        active=route.active,
        set_by=route.set_by,
    )


def _in(routing: Routing, names: tuple[str, ...], at: datetime) -> bool:
    return any(holds(one, at) for name in names for one in routing.intervals[name])

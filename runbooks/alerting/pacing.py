"""How fast a group is told of one incident: what somebody chose for the customer, else what its route
says, else what the settings say for all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from runbooks.alerting.muting.routes import Route, Routing, ways
from runbooks.alerting.policy import Policy
from runbooks.alerting.tuning import Tuning


@dataclass(frozen=True, slots=True)
class Pace:
    """The three spans, as the policy means them."""

    wait: timedelta
    interval: timedelta
    repeat: timedelta


def pace(policy: Policy, routing: Routing, tuning: Tuning, labels: Mapping[str, str]) -> Pace:
    """Return how fast an incident is told whose first alert has these labels; `policy` is the
    customer's own already."""
    found = Pace(policy.wait, policy.interval, policy.repeat)
    if not routing.root.routes:
        return found
    root = replace(
        routing.root,
        wait=_or(routing.root.wait, policy.wait),
        interval=_or(routing.root.interval, policy.interval),
        repeat=_or(routing.root.repeat, policy.repeat),
    )
    way = ways(root, labels)[0]
    chosen = tuning.spans
    return Pace(
        found.wait if "wait" in chosen else way.wait,
        found.interval if "interval" in chosen else way.interval,
        found.repeat if "repeat" in chosen else way.repeat,
    )


def repeats(policy: Policy, routing: Routing) -> bool:
    """May any incident be told again for want of an answer?"""
    return bool(policy.repeat) or _repeats(routing.root)


def _repeats(route: Route) -> bool:
    return bool(route.repeat) or any(_repeats(each) for each in route.routes)


def _or(said: timedelta | None, otherwise: timedelta) -> timedelta:
    return otherwise if said is None else said

"""Who is told of an alert: the receivers that its routes name, as places. Pure.

Where no route names one it is told as always: in the customer's group, and what is critical also by the
channels that the customer prefers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runbooks.alerting.grouping import alert_of
from runbooks.alerting.muting.matchers import labels_of
from runbooks.alerting.muting.places import ALWAYS, Place, Receivers
from runbooks.alerting.muting.routes import Routing, ways
from storage.records import KnownAlert


def places_of(alert: KnownAlert, routing: Routing, receivers: Receivers) -> frozenset[Place]:
    """Return where an alert is told, by all the ways that it goes."""
    if not receivers:
        return ALWAYS
    names = {way.receiver for way in ways(routing.root, labels_of(alert_of(alert)))}
    return together(receivers[name] if name else ALWAYS for name in names)


def by_places(
    alerts: Iterable[KnownAlert], routing: Routing, receivers: Receivers
) -> Mapping[frozenset[Place], Sequence[KnownAlert]]:
    """Return alerts that are told in the same places together."""
    found: dict[frozenset[Place], list[KnownAlert]] = {}
    for alert in alerts:
        found.setdefault(places_of(alert, routing, receivers), []).append(alert)
    return found


def by_incident(
    alerts: Iterable[KnownAlert], routing: Routing, receivers: Receivers
) -> Mapping[int, frozenset[Place]]:
    """Return where each of these alerts' incidents is told: wherever one of its alerts is."""
    found: dict[int, frozenset[Place]] = {}
    for alert in alerts:
        here = found.get(alert.incident, frozenset())
        found[alert.incident] = here | places_of(alert, routing, receivers)
    return found


def together(places: Iterable[frozenset[Place]]) -> frozenset[Place]:
    """Return all of them."""
    return frozenset().union(*places)


def suffix(places: frozenset[Place]) -> str:
    """Return what an entry's key has behind it for these places; nothing for what is as always."""
    return "" if places == ALWAYS else f":{'+'.join(sorted(places))}"

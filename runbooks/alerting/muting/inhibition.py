"""One alert that explains others: while the source fires, its targets are not told.

The meaning is Alertmanager's: a missing label and an empty one are alike, and an alert that is both
source and target of a rule is not hidden by another such one, so none hides itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapters.words import Alert
from runbooks.alerting.muting.matchers import Matcher, labels_of, matches


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert that matches `source` fires, those that match `target` and have the same
    values of `equal` are hidden. `set_by` names who wants it so; without, no critical is hidden."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()
    set_by: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A firing alert that hides others, and whether it is a target of the same rule."""

    alert: Alert
    both: bool


Sources = Mapping[tuple[int, tuple[str, ...]], tuple[Source, ...]]
"""By the rule's place and the values of its `equal`: so that many alerts are judged fast."""


def sources(
    rules: tuple[Inhibition, ...], firing: Iterable[Alert], earlier: Sources | None = None
) -> Sources:
    """Return which of the alerts hide others, beside those that did `earlier`. Of those with the same
    values at most two are kept, one of each kind: more hide nothing more."""
    found = dict(earlier or {})
    for alert in firing if rules else ():
        if not alert.firing:
            continue
        labels = labels_of(alert)
        for place, rule in enumerate(rules):
            if not matches(rule.source, labels):
                continue
            key = (place, _values(rule, labels))
            there, both = found.get(key, ()), matches(rule.target, labels)
            if all(each.both is not both for each in there):
                found[key] = (*there, Source(alert, both))
    return found


def gained(there: Sources, earlier: Sources) -> Sources:
    """Return those that may hide what none did `earlier`."""
    return {key: found for key, found in there.items() if earlier.get(key) != found}


def inhibited_by(
    rules: tuple[Inhibition, ...], labels: Mapping[str, str], there: Sources
) -> tuple[Inhibition, Alert] | None:
    """Return the first rule that hides an alert with these labels, and an alert that does it; rules
    of a named person come first."""
    found: tuple[Inhibition, Alert] | None = None
    for place, rule in enumerate(rules):
        candidates = there.get((place, _values(rule, labels)), ())
        if not candidates or not matches(rule.target, labels):
            continue
        itself = matches(rule.source, labels)
        source = next((each for each in candidates if not (itself and each.both)), None)
        if source and rule.set_by:
            return rule, source.alert
        if source and not found:
            found = rule, source.alert
    return found


def _values(rule: Inhibition, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in rule.equal)

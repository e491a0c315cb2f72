"""From alerts to incidents. Pure: what a monitor says goes in, what changed comes out.

One alert is known by its source and fingerprint; a repeat changes nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b

from adapters.words import Alert, Severity
from runbooks.alerting.cluster import cluster_of, rule_name
from runbooks.alerting.flapping import flapping, flip
from runbooks.alerting.policy import Policy
from storage.records import Incident, IncidentState, KnownAlert

BY_TITLE = "title="
"""How the groups of alerts without a rule begin."""

LONGEST = 400
"""Characters of a group's name, and of an incident's title: PostgreSQL's keys have an end."""

LONGEST_TEXT = 2000

OLDEST = timedelta(days=30)
"""What a source says began before that, it has more likely got wrong."""


class Change(StrEnum):
    """What one word about an alert changes."""

    NOTHING = "nothing"
    BEGAN = "began"
    """It fires and did not, or is seen again after it was hidden."""
    WORSE = "worse"
    EASED = "eased"
    """It fires on, with a lesser severity."""
    NOTED = "noted"
    """It fires on, and nobody need hear of what is known of it now."""
    ENDED = "ended"
    HIDDEN = "hidden"
    """It fires where nobody wants to hear of it."""
    PASSED = "passed"
    """A critical has begun and ended before anybody could be told."""
    STILL = "still"
    """A critical fires on, though somebody has closed its incident."""


NEWS = frozenset({Change.BEGAN, Change.WORSE, Change.STILL})


def group_of(alert: Alert, by: Sequence[str], clusters: Sequence[str] = ()) -> str:
    """Return what an alert has in common with those of its incident: the values of `by`.

    `clusters` are the titles of the groups that are open, for alerts without a rule.
    """
    ours = {"rule": alert.rule, "host": alert.host}
    values = {name: ours.get(name, alert.labels.get(name, "")) for name in by}
    parts = [f"{name}={values[name]}" for name in by]
    if "rule" in by and not alert.rule:
        title = BY_TITLE + cluster_of(alert.title or alert.text, clusters)
        parts = [title if name == "rule" else part for name, part in zip(by, parts, strict=True)]
    name = " ".join(parts)
    # Only such names are marked: the others are those of incidents that are open.
    doubtful = any(f" {each}=" in value for each in by[1:] for value in values.values())
    return _marked(name, parts) if doubtful or len(name) > LONGEST else name


def _marked(name: str, parts: Sequence[str]) -> str:
    """Return a group's name that others would have as well, or whose end is cut off, with a digest of
    what is in it."""
    digest = blake2b(repr(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{name[: LONGEST - len(digest) - 2]} #{digest}"


def step(
    known: KnownAlert | None,
    alert: Alert,
    place: tuple[int, str],
    group: str,
    at: datetime,
    hidden: str,
    policy: Policy,
) -> tuple[KnownAlert | None, Change]:
    """Return how an alert stands after one more word about it, and what that changed.

    `place` is its customer and source; `hidden` says what hides it, and is empty when nothing
    does. None stands for an alert that was never heard of: the end of one is no news.
    """
    if not alert.firing:
        if known is None or not known.firing:
            return known, Change.NOTHING
        flips = flip(known.flips, at, policy)
        return replace(known, firing=False, changed_at=at, flips=flips), Change.ENDED
    if known is None or not known.firing:
        return _begins(known, alert, place, group, at, hidden, policy)
    if hidden != known.hidden:
        worst = max(known.severity, alert.severity, key=lambda each: each.rank)
        changed = replace(known, hidden=hidden, changed_at=at, severity=worst)
        if hidden:
            return changed, Change.HIDDEN
        return replace(changed, since=at), Change.BEGAN
    return _repeats(known, alert, at)


def _repeats(known: KnownAlert, alert: Alert, at: datetime) -> tuple[KnownAlert, Change]:
    if alert.severity is known.severity:
        if alert.ends is known.ends:
            return known, Change.NOTHING
        return replace(known, ends=alert.ends), Change.NOTED
    changed = replace(_told(known, alert), severity=alert.severity, changed_at=at)
    if alert.severity.rank < known.severity.rank:
        return changed, Change.EASED
    return changed, Change.HIDDEN if known.hidden else Change.WORSE


def _begins(
    known: KnownAlert | None,
    alert: Alert,
    place: tuple[int, str],
    group: str,
    at: datetime,
    hidden: str,
    policy: Policy,
) -> tuple[KnownAlert, Change]:
    customer, source = place
    begun = KnownAlert(
        customer,
        source,
        alert.fingerprint,
        known.incident if known else 0,
        group,
        firing=True,
        severity=alert.severity,
        rule=rule_name(alert),
        host=alert.host,
        title=alert.title[:LONGEST],
        text=alert.text[:LONGEST_TEXT],
        url=alert.url[:LONGEST_TEXT],
        labels=alert.labels,
        since=at,
        changed_at=at,
        flips=flip(known.flips if known else (), at, policy),
        hidden=hidden,
        ends=alert.ends,
        began_at=_began_at(alert, at),
    )
    return begun, Change.HIDDEN if hidden else Change.BEGAN


def _began_at(alert: Alert, at: datetime) -> datetime:
    said = alert.starts_at
    return said if said and at - OLDEST <= said < at else at


def _told(known: KnownAlert, alert: Alert) -> KnownAlert:
    """Return an alert with what its source says of it now."""
    return replace(
        known,
        title=alert.title[:LONGEST],
        text=alert.text[:LONGEST_TEXT],
        url=alert.url[:LONGEST_TEXT],
        ends=alert.ends,
    )


def closed(known: KnownAlert, at: datetime) -> KnownAlert:
    """Return an alert whose end nobody but a person says, after a person has said it.

    What comes of it later is heard as if it were the first: to close it is no flapping.
    """
    return replace(known, firing=False, changed_at=at, flips=())


def alert_of(known: KnownAlert) -> Alert:
    """Return a kept alert as the source said it, for matchers."""
    return Alert(
        known.fingerprint,
        known.firing,
        known.severity,
        known.rule,
        known.host,
        known.title,
        known.text,
        known.labels,
        known.since,
        url=known.url,
        ends=known.ends,
    )


def is_new_critical(alert: KnownAlert, change: Change) -> bool:
    """Is it a critical that nobody was told of? Nothing but a named person's word hides one."""
    return change in NEWS and alert.severity is Severity.CRITICAL


def worth_telling(alert: KnownAlert, change: Change, policy: Policy) -> bool:
    """Is the group to be told of this news by itself? Of a flapping alert it is not, unless it is
    a critical one: that is only marked."""
    return change in NEWS and (
        alert.severity is Severity.CRITICAL or not flapping(alert.flips, alert.changed_at, policy)
    )


def joined(incident: Incident | None, alert: KnownAlert, change: Change) -> Incident:
    """Return the incident after news of one of its alerts; None stands for none that is open or
    was lately. The `id` of a new one is 0.

    An acknowledged incident is open again when a new critical joins it, and only then.
    """
    at, critical = alert.changed_at, is_new_critical(alert, change)
    if incident is None:
        return Incident(
            0,
            alert.customer,
            alert.group,
            title_of(alert),
            alert.severity,
            IncidentState.OPEN,
            at,
            at,
            critical_at=at if critical else None,
            began_at=alert.began_at,
        )
    incident = _since(incident, alert)
    if incident.state is IncidentState.RESOLVED:
        return replace(
            incident,
            state=IncidentState.OPEN,
            severity=alert.severity,
            changed_at=at,
            critical_at=at if critical else None,
            acked_at=None,
            acked_by=None,
            resolved_at=None,
            resolved_by=None,
        )
    if not critical and incident.changed_at == at and incident.severity is alert.severity:
        return incident  # most of a storm
    worst = max(incident.severity, alert.severity, key=lambda each: each.rank)
    after = replace(incident, severity=worst, changed_at=at)
    if not critical:
        return after
    if incident.state is IncidentState.ACKED:
        # It counts from this critical: of the ones before somebody took care.
        return replace(
            after, state=IncidentState.OPEN, critical_at=at, acked_at=None, acked_by=None
        )
    return replace(after, critical_at=incident.critical_at or at)


def _since(incident: Incident, alert: KnownAlert) -> Incident:
    """Return an incident that began no later than this alert of it."""
    if alert.began_at is None or alert.began_at >= incident.since:
        return incident
    return replace(incident, began_at=alert.began_at)


def over_already(alert: KnownAlert, now: datetime) -> Incident:
    """Return the incident of a critical that has begun and ended before anybody could be told."""
    begun = joined(None, replace(alert, changed_at=alert.since), Change.BEGAN)
    return replace(begun, state=IncidentState.RESOLVED, resolved_at=now)


def title_of(alert: KnownAlert) -> str:
    """Return how an incident is called that begins with this alert."""
    if "host=" in alert.group and alert.host:
        return f"{alert.rule} · {alert.host}"[:LONGEST]
    return alert.rule[:LONGEST]

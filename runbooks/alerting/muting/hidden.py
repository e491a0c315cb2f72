"""The one question: why is this alert hidden, by whom, and until when?

It is asked when somebody is to be told, with what stands at that instant. A critical alert is hidden
only by what a named person has set: a silence, a maintenance window, or a rule of the configuration
that says who set it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum

from adapters.port import UsageError
from adapters.words import Alert, Severity
from runbooks.alerting.cluster import rule_name
from runbooks.alerting.muting.inhibition import Inhibition, Sources, inhibited_by, sources
from runbooks.alerting.muting.maintenance import Times, running
from runbooks.alerting.muting.matchers import Matcher, labels_of, matches, parse, spoken
from runbooks.alerting.muting.places import Place
from runbooks.alerting.muting.routes import Routing, muted_everywhere
from runbooks.alerting.muting.silences import clock, who
from storage.records import Maintenance, Muted, Silence
from storage.store import Unit


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of alerts that are not to be told."""

    inhibitions: tuple[Inhibition, ...] = ()
    routing: Routing = field(default_factory=Routing)
    notice: timedelta = timedelta(hours=1)
    """How long before a maintenance window the customer's group is told of it."""
    receivers: Mapping[str, frozenset[Place]] = field(default_factory=dict)
    """Who is told, by the names that routes have for them."""


NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Standing:
    """What hides alerts of one customer at about one instant."""

    customer: int
    silences: tuple[tuple[Silence, tuple[Matcher, ...]], ...] = ()
    windows: tuple[tuple[Maintenance, Times, tuple[Matcher, ...]], ...] = ()
    rules: Rules = NO_RULES


class Why(StrEnum):
    """What hides an alert."""

    MAINTENANCE = "maintenance"
    SILENCE = "silence"
    INHIBITION = "inhibition"
    INTERVAL = "interval"


TITLES = {
    Why.MAINTENANCE: "维护窗口",
    Why.SILENCE: "静默",
    Why.INHIBITION: "抑制规则",
    Why.INTERVAL: "静音时段",
}


@dataclass(frozen=True, slots=True)
class Hidden:
    """Why an alert is hidden: the same for as long as the cause is."""

    why: Why
    number: int = 0
    """Of the silence or the window."""
    by: str = ""
    """Who set it; empty when a rule names nobody."""
    until: datetime | None = None
    """None while nobody can know: the end of another alert, or of a time of day."""
    reason: str = ""
    starts_at: datetime | None = None
    """Which time of a maintenance window."""


async def standing(unit: Unit, customer: int, at: datetime, rules: Rules, zone: tzinfo) -> Standing:
    """Load what hides a customer's alerts at an instant; `zone` is the house's."""
    windows = [
        (window, now, read)
        for window in await unit.maintenance.of(customer, at)
        if (now := running(window, at, zone)) and (read := _read(window.matchers)) is not None
    ]
    quiet = [
        (silence, read)
        for silence in await unit.silences.of(customer, at)
        if (read := _read(silence.matchers)) is not None
    ]
    return Standing(customer, tuple(quiet), tuple(windows), rules)


def why_hidden(
    alert: Alert,
    customer: int,
    at: datetime,
    standing: Standing,
    firing: Sequence[Alert] | Sources,
) -> Hidden | None:
    """Return what hides an alert of a customer at an instant; None when it is to be told.

    `firing` is everything of the customer's that fires, hidden or not; whoever asks for many alerts
    gives `hiding(standing, firing)` instead. Of several causes of a kind, the one that lasts
    longest is named.
    """
    if standing.customer != customer:
        raise ValueError(f"customer {customer} is judged by what {standing.customer} has set")
    labels = labels_of(alert)
    if found := _set_by_people(labels, at, standing):
        return found
    there = firing if isinstance(firing, Mapping) else hiding(standing, firing)
    critical = alert.severity is Severity.CRITICAL
    for each in (_inhibited(labels, standing, there), _mute(labels, at, standing)):
        if each and (each.by or not critical):
            return each
    return None


def hiding(standing: Standing, firing: Iterable[Alert], earlier: Sources | None = None) -> Sources:
    """Return which firing alerts hide others, beside those that did `earlier`, made ready for many
    questions."""
    return sources(standing.rules.inhibitions, firing, earlier)


def told(hidden: Hidden, zone: tzinfo) -> str:
    """Return why something is hidden, by whom and until when, in words for a card."""
    number = f" #{hidden.number}" if hidden.number else ""
    until = f"至 {clock(hidden.until, zone)}" if hidden.until else ""
    parts = "，".join(part for part in (hidden.by, until, hidden.reason) if part)
    return f"{TITLES[hidden.why]}{number}" + (f"（{parts}）" if parts else "")


async def note(unit: Unit, hidden: Hidden, alert: Alert, at: datetime) -> None:
    """Keep what a maintenance window has hidden, for its report; other causes have none."""
    if hidden.why is not Why.MAINTENANCE or hidden.starts_at is None:
        return
    one = Muted(
        hidden.number, hidden.starts_at, alert.fingerprint, alert.severity, rule_name(alert),
        alert.host, alert.title, at, at,
    )  # fmt: skip
    await unit.maintenance.note(one)


def _set_by_people(labels: Mapping[str, str], at: datetime, standing: Standing) -> Hidden | None:
    windows = [
        Hidden(Why.MAINTENANCE, one.id, who(one.by), now.ends_at, one.reason, now.starts_at)
        for one, now, matchers in standing.windows
        if now.starts_at <= at < now.ends_at and matches(matchers, labels)
    ]
    quiet = [
        Hidden(Why.SILENCE, one.id, who(one.by), one.ends_at, one.reason)
        for one, matchers in standing.silences
        if one.starts_at <= at < one.ends_at and matches(matchers, labels)
    ]
    return max(windows or quiet, key=lambda each: (each.until or at, -each.number), default=None)


def _inhibited(labels: Mapping[str, str], standing: Standing, there: Sources) -> Hidden | None:
    found = inhibited_by(standing.rules.inhibitions, labels, there)
    if found is None:
        return None
    # Named by what the rule says, not by the alert that happens to be the source just now.
    rule, _ = found
    return Hidden(Why.INHIBITION, by=rule.set_by, reason=f"{spoken(rule.source)} 触发期间")


def _mute(labels: Mapping[str, str], at: datetime, standing: Standing) -> Hidden | None:
    by = muted_everywhere(standing.rules.routing, labels, at)
    return None if by is None else Hidden(Why.INTERVAL, by=by)


def _read(text: str) -> tuple[Matcher, ...] | None:
    """What was right once and is refused now hides nothing: better heard than lost."""
    try:
        return parse(text)
    except UsageError:
        return None

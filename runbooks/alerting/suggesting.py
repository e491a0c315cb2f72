"""What a storm's summary suggests of its noisiest rules, out of what was seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from adapters.sources import vigilops
from runbooks.alerting.hold import figure_in
from runbooks.alerting.thresholds import (
    MINUTES,
    Raise,
    Suggestion,
    Wait,
    percentage,
    raised,
    waited,
)
from runbooks.alerting.tuning import Tuning
from storage.records import KnownAlert
from storage.store import Unit

LOOKED_AT = 500
"""Alerts of a rule that are looked at: more of them say nothing more."""


async def suggest(
    customer: int, rules: Sequence[str], since: datetime, tuning: Tuning, unit: Unit
) -> Sequence[Suggestion]:
    """Return what would make the next storm of these rules smaller, for those where anything
    would."""
    found = []
    for rule in rules:
        seen = await unit.incidents.of_rule(customer, rule, since, LOOKED_AT)
        if made := suggestion(rule, seen, tuning):
            found.append(made)
    return found


def suggestion(rule: str, seen: Sequence[KnownAlert], tuning: Tuning) -> Suggestion | None:
    """Return what is suggested of a rule whose alerts were these: a higher threshold where the bot
    can set one, else that they must last; None when neither would help."""
    line = percentage(rule)
    if line and seen and all(alert.source == vigilops.NAME for alert in seen):
        was = tuning.thresholds.get(rule, line.value)
        figures = [figure for alert in seen if (figure := figure_in(alert.text)) is not None]
        if wanted := raised(was, figures):
            return Raise(rule, was, wanted)
    ended = [alert.changed_at - alert.since for alert in seen if not alert.firing]
    chosen = tuning.hold(rule)
    now = chosen.minutes if chosen else line.hold_seconds // 60 if line else 0
    wanted = waited(ended)
    if wanted <= now:
        wanted = next((each for each in MINUTES if each > now), 0)
    return Wait(rule, wanted) if wanted else None

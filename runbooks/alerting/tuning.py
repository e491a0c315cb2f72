"""What people decided about one customer's alerts, in place of what the settings say for all.

All of it is one choice, so that a fold reads one row more, however many alerts it folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from adapters.words import Person, Severity
from runbooks.alerting.policy import Policy
from storage.records import Choice, Customer
from storage.store import Unit

NAME = "alerting"
"""Of the choice."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A rule's alerts are told once they have lasted: "for N minutes", kept by the bot."""

    rule: str
    """As cards name it."""
    minutes: int
    by: str
    """Who wants it so."""
    critical: bool = False
    """Does it hold back critical ones too? Only by a command that says so."""

    @property
    def lasts(self) -> timedelta:
        """How long an alert must last."""
        return timedelta(minutes=self.minutes)

    def covers(self, severity: Severity) -> bool:
        """Does it hold back an alert of this severity?"""
        return self.critical or severity is not Severity.CRITICAL

    def told(self) -> str:
        """Return why an alert is held back, in words: the same for as long as this stands."""
        return f"持续 {self.minutes} 分钟才提醒（{self.by} 设定）"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was decided; what is not in it is as the settings say."""

    spans: Mapping[str, float] = field(default_factory=dict)
    """Seconds, by the field of the policy."""
    counts: Mapping[str, int] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Of the customer's VigilOps, by the rule as cards name it, as they were read back there."""

    def hold(self, rule: str) -> Hold | None:
        """Return how long a rule's alerts must last; None when nobody decided that."""
        return next((each for each in self.holds if each.rule == rule), None)

    def applied(self, policy: Policy) -> Policy:
        """Return the policy with what was decided; fields of another release are left alone."""
        known = {each.name for each in fields(Policy)}
        spans = {name: timedelta(seconds=n) for name, n in self.spans.items()}
        said: Mapping[str, Any] = {**spans, **self.counts}
        return replace(policy, **{name: value for name, value in said.items() if name in known})


AS_SET = Tuning()
"""Nobody decided anything."""


async def tuning_of(customer: int, unit: Unit) -> Tuning:
    """Return what was decided for a customer."""
    choice = await unit.choices.get(customer, NAME)
    return _read(choice) if choice else AS_SET


async def tunings(unit: Unit) -> Mapping[int, Tuning]:
    """Return, by customer, for whom anything was decided."""
    return {number: _read(choice) for number, choice in (await unit.choices.of(NAME)).items()}


async def keep(
    customer: Customer,
    tuning: Tuning,
    by: Person,
    at: datetime,
    what: Mapping[str, str],
    unit: Unit,
) -> None:
    """Keep what is decided from now on, and write `what` changed into the audit trail."""
    value = msgspec.json.encode(tuning).decode()
    await unit.choices.put(Choice(customer.id, NAME, value, at, by))
    detail = {"customer": customer.name, **what}
    await unit.audit.add(at, by.name or by.id, "threshold", detail)


def _read(choice: Choice) -> Tuning:
    return msgspec.json.decode(choice.value, type=Tuning)

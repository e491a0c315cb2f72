"""Alerts that begin and end again and again: by explicit counts, and by nothing learned.

Only changes count, never a repeat of the same state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from runbooks.alerting.policy import Policy

KEPT = 20
"""Changes that are remembered: more of them say no more."""


def flip(flips: Sequence[datetime], at: datetime, policy: Policy) -> tuple[datetime, ...]:
    """Return the changes that still count, with one more at `at`."""
    return (*(each for each in flips if _near(each, at, policy)), at)[-KEPT:]


def flapping(flips: Sequence[datetime], now: datetime, policy: Policy) -> bool:
    """Did it change so often within the window that ends now?"""
    return sum(_near(each, now, policy) for each in flips) >= policy.flaps


def _near(flip: datetime, at: datetime, policy: Policy) -> bool:
    """Is a change within the window? One further ahead is of a clock that was put back since, and would
    count until that instant comes again."""
    return abs(at - flip) < policy.flap_window

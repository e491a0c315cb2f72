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
    since = at - policy.flap_window
    return (*(each for each in flips if each > since), at)[-KEPT:]


def flapping(flips: Sequence[datetime], now: datetime, policy: Policy) -> bool:
    """Did it change so often within the window that ends now?"""
    since = now - policy.flap_window
    return sum(each > since for each in flips) >= policy.flaps

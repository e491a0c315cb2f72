"""What may be set of how alerts are told; times without another word are spans."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of `[alerts]`. The defaults are those of `facts/alert-storms.md`, section 6."""

    group_by: tuple[str, ...] = ("rule",)
    """What alerts of one incident have in common: rule, host, or the name of a label; with none,
    all of a customer's are one."""
    wait: timedelta = timedelta(seconds=3)
    """From an incident's first alert to its card; a critical one waits for nothing."""
    reopen: timedelta = timedelta(minutes=10)
    """An incident that comes back sooner is the same one, on the same card."""
    flaps: int = 4
    """So many changes within `flap_window` are flapping."""
    flap_window: timedelta = timedelta(minutes=10)
    storm_incidents: int = 3
    """So many new incidents within a minute are a storm."""
    storm_alerts: int = 20
    """So many new alerts within a minute are one, and"""
    storm_factor: float = 4.0
    """so many times the usual number."""
    calm: timedelta = timedelta(minutes=2)
    """How long less than half of that must come, and no new critical, until the storm drains."""
    drain: timedelta = timedelta(minutes=5)
    """How long it must then stay so until it is over."""
    gather: timedelta = timedelta(seconds=10)
    """After a mention of a critical, the next ones within this time share one message."""
    interval: timedelta = timedelta(0)
    """The least between two drawings of an incident's card that only has more alerts; one with a
    critical, and one that has ended, waits for nothing."""
    repeat: timedelta = timedelta(0)
    """After so long again and again it is said that nobody has acknowledged an incident; zero is
    never. About critical ones people are called instead."""


POLICY = Policy()

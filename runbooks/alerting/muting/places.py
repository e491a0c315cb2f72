"""Where somebody may be told of an alert."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Place(StrEnum):
    """Where somebody may be told."""

    GROUP = "group"
    """The customer's group."""
    OPS = "ops"
    """Our operations group."""
    MAIL = "mail"
    WEBHOOK = "webhook"
    BESIDE = "beside"
    """Both of these, of what is critical alone; no setting names it."""


ONE_WAY = (Place.OPS, Place.MAIL, Place.WEBHOOK)
"""Where an incident has no card: it is said when it begins, and when it is over."""

ALWAYS = frozenset({Place.GROUP, Place.BESIDE})
"""Where no route names a receiver."""

Receivers = Mapping[str, frozenset[Place]]

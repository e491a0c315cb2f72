"""Which texts are about the same thing: by the masked title, and by likeness for unseen ones.

Alerts have a rule nearly always, and that is the best name there is; only those that have none
come here (`facts/alert-storms.md`, section 5, says why no template miner does).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rapidfuzz import fuzz, process

from adapters.words import Alert

LIKE = 85
"""Of 100; below it two titles are two things."""

LONGEST = 200
"""Characters of a title that count."""

_VARIABLE = re.compile(
    r"\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"  # an IPv4 address, with a port
    r"|0x[0-9a-fA-F]+|\b(?=[0-9a-fA-F-]*\d)[0-9a-fA-F-]{8,}\b"  # hashes, UUIDs
    r"|\d+(?:[.:,]\d+)*"
)


def masked(title: str) -> str:
    """Return a title without what differs from one occurrence to the next."""
    return _VARIABLE.sub("*", " ".join(title.split()))[:LONGEST]


def cluster_of(title: str, known: Sequence[str]) -> str:
    """Return the cluster of a title: its own mask, or the one of `known` that is most like it."""
    mask = masked(title)
    if mask in known:
        return mask
    # By all words: one that takes the words of the shorter for the whole is content with a few.
    near = process.extractOne(mask, known, scorer=fuzz.token_sort_ratio, score_cutoff=LIKE)
    return near[0] if near else mask


def rule_name(alert: Alert) -> str:
    """Return the rule of an alert as cards and conditions name it: of one without a rule its masked
    title."""
    return alert.rule or masked(alert.title or alert.text)

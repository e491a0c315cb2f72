"""What a sender left out of its posts: said on the cards until a later post of the group is whole.

Who cuts a post keeps the ends of alerts back as well as their beginnings. A whole post is all of its
group that there is: what was seen of the group while it was cut, and is not in it, has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

from adapters.card import Style, Text
from adapters.sources import SOURCES
from adapters.sources.cut import Cut
from adapters.words import Alert
from runbooks.alerting.grouping import alert_of
from runbooks.alerting.muting.matchers import labels_of
from storage.records import KnownAlert, Truncation
from storage.store import Unit

REMEMBERED = timedelta(days=1)
"""A group that was not heard of for so long has ended, or nobody would say so anyway."""

MOST = 2000
"""Alerts of a group that are remembered; beyond them an end is not noticed."""

SETTINGS = {"alertmanager": "max_alerts", "grafana": "联络点的 Max Alerts"}
"""What the sender calls the number that is too small."""

Seen = tuple[str, Cut | None, Sequence[Alert], datetime]
"""Of a post: its source, what it left out, its alerts, and when it was accepted."""


class Ledger:
    """What one customer's groups leave out, over the posts of one fold."""

    def __init__(self, customer: int, kept: Sequence[Truncation]) -> None:
        self._customer = customer
        self._before = {(each.source, each.group): each for each in kept}
        self._now = dict(self._before)
        self.touched: set[tuple[str, str]] = set()
        """Alerts of groups that leave out more or less than before, by source and fingerprint."""

    @classmethod
    async def opened(cls, customer: int, unit: Unit) -> Ledger:
        """Read what the customer's groups leave out."""
        return cls(customer, await unit.truncations.of(customer))

    def hear(self, post: Seen) -> frozenset[str]:
        """Take one post in; return the fingerprints of what has ended without a word."""
        source, cut, alerts, at = post
        if cut is None:
            return frozenset()
        name = (source, digest(cut.group))
        known = self._now.get(name)
        here = frozenset(alert.fingerprint for alert in alerts)
        if cut.left:
            seen = frozenset(sorted(here | (known.seen if known else frozenset()))[:MOST])
            left, labels = cut.left, cut.labels
            self._now[name] = Truncation(self._customer, *name, left, labels, seen, at)
        elif known:
            del self._now[name]
        if cut.left != (known.left if known else 0):
            self.touched |= {(source, each) for each in here}
        return known.seen - here if known and not cut.left else frozenset()

    async def keep(self, now: datetime, unit: Unit) -> None:
        """Write what has changed, and forget what nobody has spoken of for long."""
        for name, one in self._before.items():
            if name not in self._now or now - one.at > REMEMBERED:
                await unit.truncations.drop(one)
        for name, one in self._now.items():
            if one != self._before.get(name):
                await unit.truncations.put(one)


def digest(group: str) -> str:
    """Return a short name of a group: the sender's may be as long as it likes."""
    return blake2b(group.encode("utf-8", "replace"), digest_size=16).hexdigest()


def about(alerts: Sequence[KnownAlert], kept: Sequence[Truncation]) -> Sequence[Truncation]:
    """Return what was left out of the groups that an incident's alerts may belong to."""
    sources: Mapping[str, list[KnownAlert]] = {
        each.source: [alert for alert in alerts if alert.source == each.source] for each in kept
    }
    return [each for each in kept if any(_of(alert, each) for alert in sources[each.source])]


def _of(alert: KnownAlert, one: Truncation) -> bool:
    labels = labels_of(alert_of(alert))
    return all(labels.get(name, "") == value for name, value in one.labels.items())


def lines(kept: Sequence[Truncation]) -> tuple[Text, ...]:
    """Say on a card how many alerts have not come, by their sender, and what to do about it."""
    counts: dict[str, int] = {}
    for each in kept:
        counts[each.source] = counts.get(each.source, 0) + each.left
    return tuple(
        Text(
            f"⚠️ 上游截断了 {count:,} 条未送达：请调大 {SETTINGS.get(source, 'max_alerts')}"
            f"（{SOURCES[source].title if source in SOURCES else source}）",
            Style.STRONG,
        )
        for source, count in counts.items()
    )

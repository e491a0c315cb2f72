"""What a sender left out of its posts: said on the cards until a later post of the group is whole.

Who cuts a post keeps the ends of alerts back as well as their beginnings. A whole post is all of its
group that there is: what began in the group, or was seen of it while it was cut, and is not in it, has
ended. Of what has the group's labels and began elsewhere, in another sender's group of that name
perhaps, nobody knows: the cards say so until it is named again or ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b

from adapters.card import Style, Text
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

Firing = Mapping[str, tuple[str, Alert]]
"""What fires of a source, by fingerprint: the sender's group in which it began, and what it says."""

Seen = tuple[str, Cut | None, Sequence[Alert], datetime]
"""Of a post: its source, what it left out, its alerts, and when it was accepted."""


class Ledger:
    """What one customer's groups leave out, over the posts of one fold."""

    def __init__(self, customer: int, kept: Sequence[Truncation]) -> None:
        self._customer = customer
        self._before = {(each.source, each.group): each for each in kept}
        self._now = dict(self._before)
        self.touched: set[tuple[str, str]] = set()
        """Alerts of groups that leave out more or less than before, and such as may have ended or are
        known to fire again, by source and fingerprint."""

    @classmethod
    async def opened(cls, customer: int, unit: Unit) -> Ledger:
        """Read what the customer's groups leave out."""
        return cls(customer, await unit.truncations.of(customer))

    def ends(self, source: str, cut: Cut | None) -> bool:
        """Is a post that left this out the first whole one of its group?"""
        known = self._now.get((source, digest(cut.group))) if cut and not cut.left else None
        return known is not None and known.left > 0

    def hear(self, post: Seen, firing: Firing) -> frozenset[str]:
        """Take one post in; return the fingerprints of what has ended without a word. `firing` is asked
        for only where the post `ends` what was cut."""
        source, cut, alerts, at = post
        if cut is None:
            return frozenset()
        name = (source, digest(cut.group))
        known = self._now.get(name)
        here = frozenset(alert.fingerprint for alert in alerts)
        gone: frozenset[str] = frozenset()
        if cut.left:
            seen = here | (known.seen if known and known.left else frozenset())
            left, labels, some = cut.left, cut.labels, frozenset(sorted(seen)[:MOST])
            self._now[name] = Truncation(self._customer, *name, left, labels, some, at)
        elif known and known.left:
            gone = (_begun_in(name[1], firing) | known.seen) - here
            doubtful = _alike(cut.labels, firing) - here - gone
            self._now[name] = replace(known, left=0, seen=doubtful, at=at)
            self.touched |= {(source, each) for each in doubtful}
        elif known:
            self._now[name] = replace(known, at=at)
        if cut.left != (known.left if known else 0):
            self.touched |= {(source, each) for each in here}
        self._name(source, here)
        return gone

    def _name(self, source: str, here: frozenset[str]) -> None:
        """Doubt no more of what a post names: it fires, or it has ended by a word of its own."""
        for name, one in [*self._now.items()]:
            if name[0] != source or one.left:
                continue
            self.touched |= {(source, each) for each in one.seen & here}
            if one.seen <= here:
                del self._now[name]
            elif one.seen & here:
                self._now[name] = replace(one, seen=one.seen - here)

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


def _begun_in(group: str, firing: Firing) -> frozenset[str]:
    return frozenset(name for name, (begun_in, _) in firing.items() if begun_in == group)


def _alike(labels: Mapping[str, str], firing: Firing) -> frozenset[str]:
    """Return what has a group's labels; of a group without labels nothing, since all would have them."""
    found = sorted(name for name, (_, alert) in firing.items() if labels and _has(alert, labels))
    return frozenset(found[:MOST])


def about(alerts: Sequence[KnownAlert], kept: Sequence[Truncation]) -> Sequence[Truncation]:
    """Return what was left out of the groups that an incident's alerts may belong to, and which of
    them may have ended."""
    found = []
    for one in kept:
        ours = [alert for alert in alerts if alert.source == one.source]
        if one.left and any(_has(alert_of(alert), one.labels) for alert in ours):
            found.append(one)
        doubtful = {alert.fingerprint for alert in ours if alert.firing} & one.seen
        if not one.left and doubtful:
            found.append(replace(one, seen=frozenset(doubtful)))
    return found


def _has(alert: Alert, wanted: Mapping[str, str]) -> bool:
    labels = labels_of(alert)
    return all(labels.get(name, "") == value for name, value in wanted.items())


def lines(kept: Sequence[Truncation], titles: Mapping[str, str]) -> tuple[Text, ...]:
    """Say on a card how many alerts have not come, by their sender, and what to do about it, and how
    many may have ended; `titles` are what sources are called."""
    counts: dict[str, int] = {}
    doubtful: set[tuple[str, str]] = set()
    for each in kept:
        counts[each.source] = counts.get(each.source, 0) + each.left
        doubtful |= {(each.source, one) for one in each.seen if not each.left}
    maybe = f"❔ {len(doubtful):,} 条可能已恢复：上游截断之后没有再提到，请到监控上确认"
    said = (Text(maybe, Style.STRONG),) if doubtful else ()
    return said + tuple(
        Text(
            f"⚠️ 上游截断了 {count:,} 条未送达：请调大 {SETTINGS.get(source, 'max_alerts')}"
            f"（{titles.get(source, source)}）",
            Style.STRONG,
        )
        for source, count in counts.items()
        if count
    )

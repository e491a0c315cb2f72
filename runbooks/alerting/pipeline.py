"""From accepted posts to incidents, storms, what the group is told, and when somebody is called.

What is read from the rows, folded and written back is one transaction with the intake's cursor: so
a crash between two of them repeats nothing and loses nothing, and nothing is kept in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from adapters.words import Alert
from runbooks.alerting import muting
from runbooks.alerting.grouping import (
    BY_TITLE,
    NEWS,
    Change,
    alert_of,
    group_of,
    step,
)
from runbooks.alerting.inhibition import Sources
from runbooks.alerting.matchers import labels_of
from runbooks.alerting.routes import grouped_by
from runbooks.alerting.settling import Folded, Name, Settling
from runbooks.kit import House, Kit
from storage.records import (
    Customer,
    KnownAlert,
)
from storage.store import Unit

FIRING_ROOM = 20_000
"""Alerts that inhibition may look through: a rule that nobody could check is no reason to stop."""


@dataclass(frozen=True, slots=True)
class Post:
    """What one accepted post said, decoded."""

    source: str
    at: datetime
    """When it was durably accepted."""
    alerts: tuple[Alert, ...]


async def fold(
    customer: Customer, posts: Sequence[Post], now: datetime, house: House, unit: Unit
) -> int:
    """Fold a customer's posts in the caller's transaction; return how many alerts changed.

    Every new critical is mentioned, and its escalation counts from when its post was accepted.
    """
    names = {(post.source, alert.fingerprint) for post in posts for alert in post.alerts}
    folded = Folded(await unit.incidents.known(customer.id, sorted(names)))
    await _fold_alerts(customer.id, posts, folded, now, house, unit)
    await Settling(customer, now, house, unit).settle(folded)
    return len(folded.alerts)


async def reconsider(customer: Customer, now: datetime, house: House, unit: Unit) -> int:
    """Look again at all that fires, because what hides alerts may have changed: what is hidden from
    now on is told no more, and what nothing hides any more is news; return how many changed."""
    there = unit.incidents
    firing = [
        *await there.firing(customer.id, FIRING_ROOM),
        *await there.firing(customer.id, FIRING_ROOM, hidden=True),
    ]
    folded = Folded({(known.source, known.fingerprint): known for known in firing})
    curtain = await _Curtain.drawn(customer.id, now, house, unit)
    for name, known in folded.before.items():
        alert = alert_of(known)
        hidden = curtain.why(known.source, alert, now)
        place = (customer.id, known.source)
        after, change = step(known, alert, place, known.group, now, hidden, house.alerting)
        if after is not None and change is not Change.NOTHING:
            _note(folded, name, after, change)
    await curtain.note(folded, now, unit)
    await Settling(customer, now, house, unit).settle(folded)
    return len(folded.alerts)


async def look(kit: Kit) -> int:
    """Do what is due by the clock alone: storms that have calmed down, and alerts that nothing
    hides any more; return how many customers were looked at."""
    now = kit.clock.now()
    async with kit.store.view() as unit:
        raging = {storm.customer for storm in await unit.incidents.raging()}
        hiding = set(await unit.incidents.hiding())
        numbers = sorted(raging | hiding)
    for number in numbers:
        async with kit.store.unit() as unit:
            customer = await unit.customers.get(number)
            if customer is None:
                continue
            if number in hiding:
                await reconsider(customer, now, kit.house, unit)
            else:
                await Settling(customer, now, kit.house, unit).settle(Folded({}))
    return len(numbers)


async def _fold_alerts(
    customer: int, posts: Sequence[Post], folded: Folded, now: datetime, house: House, unit: Unit
) -> None:
    new = [alert for post in posts for alert in post.alerts]
    curtain = await _Curtain.drawn(customer, now, house, unit, new)
    clusters = await _clusters(customer, new, unit)
    policy = house.alerting
    for post in posts:
        folded.received += len(post.alerts)
        for alert in post.alerts:
            name = (post.source, alert.fingerprint)
            known = folded.alerts.get(name) or folded.before.get(name)
            hidden = curtain.why(post.source, alert, now) if alert.firing else ""
            if known and known.firing:
                group = known.group
            else:
                group = group_of(alert, _by(alert, house), clusters)
            place = (customer, post.source)
            after, change = step(known, alert, place, group, post.at, hidden, policy)
            if after is not None and change is not Change.NOTHING:
                _note(folded, name, after, change)
    await curtain.note(folded, now, unit)


def _by(alert: Alert, house: House) -> tuple[str, ...]:
    """Return what an alert is grouped by: as its route says, or else as for all."""
    routing, otherwise = house.muting.routing, house.alerting.group_by
    return grouped_by(routing, labels_of(alert), otherwise) if routing.root.routes else otherwise


def _note(folded: Folded, name: Name, alert: KnownAlert, change: Change) -> None:
    folded.alerts[name] = alert
    if change in NEWS:
        folded.news[name] = change
        return
    if change is not Change.EASED:
        # What began and ended in one breath is no news, except that it was there.
        folded.news.pop(name, None)
    if alert.incident:
        (folded.eased if change is Change.EASED else folded.ended).add(alert.incident)


async def _clusters(customer: int, alerts: Sequence[Alert], unit: Unit) -> Sequence[str]:
    """Return the open groups' titles, where an alert has no rule to be grouped by."""
    if all(alert.rule for alert in alerts):
        return ()
    open_ = await unit.incidents.open_of(customer)
    return [i.group.removeprefix(BY_TITLE) for i in open_ if i.group.startswith(BY_TITLE)]


@dataclass(frozen=True, slots=True)
class _Curtain:
    """What hides alerts of one customer just now, and those alerts that it hid."""

    customer: int
    standing: muting.Standing
    sources: Sources
    zone: tzinfo
    hid: dict[Name, tuple[muting.Hidden, Alert]] = field(default_factory=dict)

    @classmethod
    async def drawn(
        cls, customer: int, now: datetime, house: House, unit: Unit, new: Sequence[Alert] = ()
    ) -> _Curtain:
        """Load what hides; `new` alerts may hide others before they have a row."""
        standing = await muting.standing(unit, customer, now, house.muting, house.zone)
        firing: list[Alert] = []
        if house.muting.inhibitions:
            there = [
                *await unit.incidents.firing(customer, FIRING_ROOM),
                *await unit.incidents.firing(customer, FIRING_ROOM, hidden=True),
            ]
            ended = {alert.fingerprint for alert in new if not alert.firing}
            firing = [alert_of(known) for known in there if known.fingerprint not in ended]
            firing += [alert for alert in new if alert.firing]
        return cls(customer, standing, muting.hiding(standing, firing), house.zone)

    def why(self, source: str, alert: Alert, now: datetime) -> str:
        """Return what hides an alert, in words; empty when nothing does."""
        if self.open:
            return ""
        hidden = muting.why_hidden(alert, self.customer, now, self.standing, self.sources)
        if hidden is None:
            return ""
        self.hid[source, alert.fingerprint] = (hidden, alert)
        return muting.told(hidden, self.zone)

    @property
    def open(self) -> bool:
        """Is nothing set that could hide anything?"""
        there, rules = self.standing, self.standing.rules
        return not (there.silences or there.windows or rules.inhibitions or rules.routing.intervals)

    async def note(self, folded: Folded, now: datetime, unit: Unit) -> None:
        """Keep for its report what a maintenance window hides from now on."""
        for name, (hidden, alert) in self.hid.items():
            if name in folded.alerts and folded.alerts[name].hidden:
                await muting.note(unit, hidden, alert, now)

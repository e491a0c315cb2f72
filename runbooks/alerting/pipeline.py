"""From accepted posts to incidents, storms, what the group is told, and when somebody is called.

What is read from the rows, folded and written back is one transaction with the intake's cursor: so
a crash between two of them repeats nothing and loses nothing, and nothing is kept in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo

from adapters.sources import vigilops
from adapters.sources.cut import Cut
from adapters.words import Alert, Severity
from runbooks.alerting.cluster import rule_name
from runbooks.alerting.grouping import (
    BY_TITLE,
    NEWS,
    Change,
    alert_of,
    group_of,
    step,
)
from runbooks.alerting.muting import hidden as hiding
from runbooks.alerting.muting.inhibition import Sources, gained, inhibited_by
from runbooks.alerting.muting.matchers import labels_of
from runbooks.alerting.muting.routes import grouped_by, held
from runbooks.alerting.policy import Policy
from runbooks.alerting.settling import Folded, Name, Settling
from runbooks.alerting.truncation import Ledger, digest
from runbooks.alerting.tuning import AS_SET, Tuning, tuning_of, tunings
from runbooks.kit import House, Kit
from storage.records import (
    Customer,
    KnownAlert,
)
from storage.store import Unit

FIRING_ROOM = 20_000
"""Alerts that inhibition may look through: a rule that nobody could check is no reason to stop."""

INTERVALS = "intervals"
"""The name of the look for times at which routes are mute."""


@dataclass(frozen=True, slots=True)
class Post:
    """What one accepted post said, decoded."""

    source: str
    at: datetime
    """When it was durably accepted."""
    alerts: tuple[Alert, ...]
    cut: Cut | None = None
    """What its sender left out of it; None: such a sender never says."""
    early: bool = False
    """Is it folded before its turn? Then it comes again, and is counted only then."""

    @property
    def sender_group(self) -> str:
        """Return a digest of its sender's name for it; empty when there is none."""
        return digest(self.cut.group) if self.cut else ""


async def fold(
    customer: Customer, posts: Sequence[Post], now: datetime, house: House, unit: Unit
) -> int:
    """Fold a customer's posts in the caller's transaction; return how many alerts changed.

    Every new critical is mentioned, and its escalation counts from when its post was accepted.
    """
    tuning = await tuning_of(customer.id, unit)
    house = _tuned(house, tuning)
    # What comes before its turn is only a part of its post, and says nothing of the rest of its group.
    tells = any(post.cut and not post.early for post in posts)
    ledger = await Ledger.opened(customer.id, unit) if tells else None
    if ledger:
        posts = await _whole(customer.id, posts, ledger, unit)
    names = {(post.source, alert.fingerprint) for post in posts for alert in post.alerts}
    folded = Folded(await unit.incidents.known(customer.id, sorted(names)))
    await _fold_alerts(customer.id, posts, folded, now, house, tuning, unit)
    await Settling(customer, now, house, unit, tuning).settle(folded)
    if ledger:
        await ledger.keep(now, unit)
        await _redraw(customer.id, ledger.touched, now, unit)
    return len(folded.alerts)


async def _whole(
    customer: int, posts: Sequence[Post], ledger: Ledger, unit: Unit
) -> Sequence[Post]:
    """Return posts with the ends that their senders left out, as far as a whole post tells them."""
    said: dict[Name, tuple[str, Alert]] = {}
    there: dict[Name, tuple[str, Alert]] | None = None
    found: list[Post] = []
    for post in posts:
        firing: dict[str, tuple[str, Alert]] = {}
        if ledger.ends(post.source, post.cut):
            if there is None:
                there = await _firing(customer, unit)
            last = [(name, each) for name, each in (there | said).items() if each[1].firing]
            firing = {name[1]: each for name, each in last if name[0] == post.source}
        gone = ledger.hear((post.source, post.cut, post.alerts, post.at), firing)
        ended = [firing[each][1] for each in sorted(gone) if each in firing]
        over = tuple(replace(one, firing=False, ends_at=post.at) for one in ended)
        found.append(replace(post, alerts=(*post.alerts, *over)) if over else post)
        group = post.sender_group
        said |= {(post.source, each.fingerprint): (group, each) for each in found[-1].alerts}
    return found


async def _firing(customer: int, unit: Unit) -> dict[Name, tuple[str, Alert]]:
    """Return what fires of a customer, and in which of its senders' groups it began."""
    known = [
        *await unit.incidents.firing(customer, FIRING_ROOM),
        *await unit.incidents.firing(customer, FIRING_ROOM, hidden=True),
    ]
    return {(one.source, one.fingerprint): (one.sender_group, alert_of(one)) for one in known}


async def _redraw(customer: int, names: set[Name], now: datetime, unit: Unit) -> None:
    """Have the cards of these alerts' incidents drawn, where there are any."""
    known = await unit.incidents.known(customer, sorted(names)) if names else {}
    for number in sorted({one.incident for one in known.values()}):
        card = await unit.outbox.living(f"incident:{number}")
        if card:
            await unit.outbox.mark(card.key, card.chat, now)


async def reconsider(customer: Customer, now: datetime, house: House, unit: Unit) -> int:
    """Look again at all that fires, because what hides alerts may have changed: what is hidden from
    now on is told no more, and what nothing hides any more is news; return how many changed."""
    seen = await unit.incidents.firing(customer.id, FIRING_ROOM)
    return await _reveal(customer, now, house, unit, seen)


async def _reveal(
    customer: Customer, now: datetime, house: House, unit: Unit, seen: Sequence[KnownAlert] = ()
) -> int:
    """Look again at what is hidden, and at these that are seen: of thousands it would take long, and
    what hides any of them tells so itself."""
    there, tuning = unit.incidents, await tuning_of(customer.id, unit)
    house = _tuned(house, tuning)
    firing = [*seen, *await there.firing(customer.id, FIRING_ROOM, hidden=True)]
    folded = Folded({(known.source, known.fingerprint): known for known in firing})
    curtain = await _Curtain.drawn(customer.id, now, house, tuning, unit)
    for name, known in folded.before.items():
        alert = alert_of(known)
        hidden = curtain.why(known.source, alert, now, known)
        place = (customer.id, known.source)
        after, change = step(known, alert, place, known.group, now, hidden, house.alerting)
        if after is not None and change is not Change.NOTHING:
            _note(folded, name, after, change)
    await curtain.note(folded, now, unit)
    await Settling(customer, now, house, unit, tuning).settle(folded)
    return len(folded.alerts)


async def look(kit: Kit) -> int:
    """Do what is due by the clock alone: storms that have calmed down, alerts that nothing hides
    any more or that a time of day does, such as have lasted, and criticals that fire on though
    somebody closed their incident; return how many customers were looked at. Raises an
    ExceptionGroup when some could not be: the others were, nevertheless."""
    now = kit.clock.now()
    async with kit.store.view() as unit:
        raging = {storm.customer for storm in await unit.incidents.raging()}
        hiding, closed = await _to_reconsider(now, unit), await _to_open(now, kit.house, unit)
        if turned := await _turned(now, kit.house, unit):
            hiding |= await unit.incidents.seen()
        numbers = sorted(raging | hiding | set(closed))

    async def one(number: int) -> None:
        async with kit.store.unit() as unit:
            customer = await unit.customers.get(number)
            if customer is None:
                return
            if number in closed:
                await _open_again(customer, closed[number], now, kit.house, unit)
            if number in hiding:
                again = reconsider if turned else _reveal
                await again(customer, now, kit.house, unit)
            else:
                tuning = await tuning_of(number, unit)
                house = _tuned(kit.house, tuning)
                await Settling(customer, now, house, unit, tuning).settle(Folded({}))

    wrong: list[Exception] = []
    for number in numbers:
        try:
            await one(number)
        except Exception as error:  # noqa: BLE001 - raised below, once the others had their turn
            error.add_note(f"customer {number}")
            wrong.append(error)
    if wrong:
        raise ExceptionGroup("customers that could not be looked at", wrong)
    if turned:
        async with kit.store.unit() as unit:
            await unit.looks.note(INTERVALS, now)
    return len(numbers)


async def _turned(now: datetime, house: House, unit: Unit) -> bool:
    """Is it another of the times that routes name than when all that fires was last looked at for
    them? What nobody posts again would be heard on through a time at which its route is mute."""
    routing = house.muting.routing
    if not routing.intervals:
        return False
    last = await unit.looks.at(INTERVALS)
    return last is None or held(routing, last) != held(routing, now)


async def _to_reconsider(now: datetime, unit: Unit) -> set[int]:
    """Return the customers whose hidden alerts may be hidden no more; what is only held back is
    looked at when the first of it has lasted, and not before."""
    decided = await tunings(unit)
    found = set()
    for number, why, since in await unit.incidents.hiding():
        holds = decided[number].holds if number in decided else ()
        lasts = min((each.lasts for each in holds if each.told() == why), default=None)
        if lasts is None or since + lasts <= now:
            found.add(number)
    return found


async def _to_open(now: datetime, house: House, unit: Unit) -> Mapping[int, Sequence[int]]:
    """Return by customer the incidents that somebody closed, and of which a critical fires on so long
    afterwards that it would be another one if it began now."""
    decided = await tunings(unit)
    found: dict[int, list[int]] = {}
    for customer, number, at in await unit.incidents.closed_early():
        policy = decided.get(customer, AS_SET).applied(house.alerting)
        if at + policy.reopen < now:
            found.setdefault(customer, []).append(number)
    return found


async def _open_again(
    customer: Customer, closed: Sequence[int], now: datetime, house: House, unit: Unit
) -> None:
    """Tell of the criticals of these incidents as of new ones: what somebody took for solved is not."""
    tuning, folded = await tuning_of(customer.id, unit), Folded({})
    for number in closed:
        for known in await unit.incidents.alerts(number):
            folded.still(known, now)
    await Settling(customer, now, _tuned(house, tuning), unit, tuning).settle(folded)


def _tuned(house: House, tuning: Tuning) -> House:
    """Return the house as it is for one customer."""
    return (
        replace(house, alerting=tuning.applied(house.alerting)) if tuning is not AS_SET else house
    )


async def _fold_alerts(
    customer: int,
    posts: Sequence[Post],
    folded: Folded,
    now: datetime,
    house: House,
    tuning: Tuning,
    unit: Unit,
) -> None:
    new = [alert for post in posts for alert in post.alerts]
    last = {(post.source, alert.fingerprint): alert for post in posts for alert in post.alerts}
    curtain = await _Curtain.drawn(customer, now, house, tuning, unit, last)
    clusters = await _clusters(customer, new, unit)
    policy = house.alerting
    for post in posts:
        sender_group = post.sender_group
        folded.received += 0 if post.early else len(post.alerts)
        for alert in post.alerts:
            name = (post.source, alert.fingerprint)
            known = folded.alerts.get(name) or folded.before.get(name)
            hidden = ""
            if alert.firing:
                hidden = curtain.why(post.source, _as_known(alert, known), now, known)
            if known and known.firing:
                group = known.group
            else:
                group = group_of(alert, _by(alert, house), clusters)
            place = (customer, post.source)
            after, change = step(known, alert, place, group, post.at, hidden, policy)
            if after is not None and sender_group and not (known and known.firing):
                after = replace(after, sender_group=sender_group)
            if after is not None and change is not Change.NOTHING:
                _note(folded, name, after, change)
    _overtake(curtain, folded, now, policy)
    await curtain.note(folded, now, unit)


def _as_known(alert: Alert, known: KnownAlert | None) -> Alert:
    """Return an alert under the rule that it began under: the title of one without a rule may change
    while it fires, and what silences it has its first one."""
    return replace(alert, rule=known.rule) if known and known.firing and not alert.rule else alert


def _overtake(curtain: _Curtain, folded: Folded, now: datetime, policy: Policy) -> None:
    """Hide what was seen so far and what a source hides that has begun after it: many senders say
    once that something fires, so that it would be seen for as long as it lasts."""
    for known in curtain.seen if curtain.gained else ():
        name, alert = (known.source, known.fingerprint), alert_of(known)
        if name in folded.before or not curtain.overtakes(alert):
            continue
        if hidden := curtain.why(known.source, alert, now, known):
            folded.before[name] = known
            place = (known.customer, known.source)
            after, change = step(known, alert, place, known.group, now, hidden, policy)
            if after is not None:
                _note(folded, name, after, change)


def _by(alert: Alert, house: House) -> tuple[str, ...]:
    """Return what an alert is grouped by: as its route says, or else as for all."""
    routing, otherwise = house.muting.routing, house.alerting.group_by
    return grouped_by(routing, labels_of(alert), otherwise) if routing.root.routes else otherwise


def _note(folded: Folded, name: Name, alert: KnownAlert, change: Change) -> None:
    folded.alerts[name] = alert
    if change is Change.NOTED:
        return
    if change in NEWS:
        folded.news[name] = change
        return
    if change is not Change.EASED:
        # What began and ended in one breath is no news, except that it was there; a critical is.
        heard = folded.news.pop(name, None)
        if heard and change is Change.ENDED and alert.severity is Severity.CRITICAL:
            folded.news[name] = Change.PASSED
    known = folded.before.get(name)
    if known and known.firing and not known.hidden and known.severity is Severity.CRITICAL:
        folded.calmed.add(known.incident)
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
    standing: hiding.Standing
    sources: Sources
    zone: tzinfo
    tuning: Tuning = AS_SET
    seen: Sequence[KnownAlert] = ()
    """What fires and nothing has hidden so far; left out while no rule has alerts hide others."""
    gained: Sources = field(default_factory=dict)
    """What the new alerts may hide that nothing hid before them."""
    hid: dict[Name, tuple[hiding.Hidden, Alert]] = field(default_factory=dict)

    @classmethod
    async def drawn(
        cls,
        customer: int,
        now: datetime,
        house: House,
        tuning: Tuning,
        unit: Unit,
        new: Mapping[Name, Alert] | None = None,
    ) -> _Curtain:
        """Load what hides; `new` alerts, as their last post has them, hide others before that is in
        their row."""
        standing = await hiding.standing(unit, customer, now, house.muting, house.zone)
        if not house.muting.inhibitions:
            return cls(customer, standing, {}, house.zone, tuning)
        seen = await unit.incidents.firing(customer, FIRING_ROOM)
        unseen = await unit.incidents.firing(customer, FIRING_ROOM, hidden=True)
        begun = [alert for alert in (new or {}).values() if alert.firing]
        ended = {name for name, alert in (new or {}).items() if not alert.firing}
        known = [k for k in (*seen, *unseen) if (k.source, k.fingerprint) not in ended]
        before = hiding.hiding(standing, map(alert_of, known))
        there = hiding.hiding(standing, begun, before)
        return cls(
            customer, standing, there, house.zone, tuning, seen, gained=gained(there, before)
        )

    def why(self, source: str, alert: Alert, now: datetime, known: KnownAlert | None) -> str:
        """Return what hides an alert that is `known` so far, in words; empty when nothing does."""
        if self.open:
            return self._held(source, alert, now, known)
        hidden = hiding.why_hidden(alert, self.customer, now, self.standing, self.sources)
        if hidden is None:
            return self._held(source, alert, now, known)
        self.hid[source, alert.fingerprint] = (hidden, alert)
        return hiding.told(hidden, self.zone)

    def overtakes(self, alert: Alert) -> bool:
        """Does one of the new alerts hide this one?"""
        rules = self.standing.rules.inhibitions
        return inhibited_by(rules, labels_of(alert), self.gained) is not None

    def _held(self, source: str, alert: Alert, now: datetime, known: KnownAlert | None) -> str:
        """Return why an alert is held back that has not lasted yet: what was told is so no more.

        Those of VigilOps were held back before they came here (`alerting/hold.py`).
        """
        if not self.tuning.holds or source == vigilops.NAME:
            return ""
        told = known is not None and known.firing and not known.hidden
        hold = self.tuning.hold(rule_name(alert))
        if told or hold is None or not hold.covers(alert.severity):
            return ""
        since = known.since if known and known.firing else now
        return hold.told() if now < since + hold.lasts else ""

    @property
    def open(self) -> bool:
        """Is nothing set that could hide anything?"""
        there, rules = self.standing, self.standing.rules
        return not (there.silences or there.windows or rules.inhibitions or rules.routing.intervals)

    async def note(self, folded: Folded, now: datetime, unit: Unit) -> None:
        """Keep for its report what a maintenance window hides from now on."""
        for name, (hidden, alert) in self.hid.items():
            if name in folded.alerts and folded.alerts[name].hidden:
                await hiding.note(unit, hidden, alert, now)

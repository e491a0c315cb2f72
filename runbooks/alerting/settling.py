"""Writes what was folded: the incidents, the alerts, the storm, who is called, and what the customer's
group is to be told of it, all in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.card import Card, dumps
from adapters.words import Chat, Severity
from runbooks import reach
from runbooks.alerting import incident_cards, mentioning, storm_cards, suggesting, trends
from runbooks.alerting import storm as storms
from runbooks.alerting.elsewhere import Elsewhere
from runbooks.alerting.flapping import flapping
from runbooks.alerting.grouping import (
    NEWS,
    Change,
    alert_of,
    is_new_critical,
    joined,
    over_already,
    worth_telling,
)
from runbooks.alerting.mentioning import Mentions
from runbooks.alerting.muting.matchers import labels_of
from runbooks.alerting.muting.places import Place
from runbooks.alerting.oncall import ladder
from runbooks.alerting.pacing import Pace, pace
from runbooks.alerting.policy import Policy
from runbooks.alerting.receivers import by_incident
from runbooks.alerting.storm import Gust, Turn
from runbooks.alerting.tuning import AS_SET, Tuning
from runbooks.kit import House
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    KnownAlert,
    Lane,
    Storm,
    StormPhase,
)
from storage.store import Unit

BREATH = timedelta(seconds=2)
"""Between two urgent edits of a storm's card: in a flood of criticals the mentions need the room."""

LEFT = 5
"""Incidents without a card that get one when a storm is over: the worst. All are on its summary."""

Name = tuple[str, str]


@dataclass(slots=True)
class Folded:
    """What a fold found out on its way, before it is written."""

    before: dict[Name, KnownAlert]
    alerts: dict[Name, KnownAlert] = field(default_factory=dict)
    """Those that changed."""
    news: dict[Name, Change] = field(default_factory=dict)
    """The changes that an incident must hear of, the last of each alert."""
    ended: set[int] = field(default_factory=set)
    """Incidents in which an alert ended or was hidden."""
    eased: set[int] = field(default_factory=set)
    calmed: set[int] = field(default_factory=set)
    """Incidents in which a critical that was seen ended, was hidden or eased."""
    received: int = 0

    def still(self, known: KnownAlert, now: datetime) -> None:
        """Have it told of a critical that it fires on; of anything else, and of what the fold itself
        has changed, nothing."""
        name = (known.source, known.fingerprint)
        seen = known.firing and not known.hidden
        if name in self.alerts or not seen or known.severity is not Severity.CRITICAL:
            return
        self.before[name] = known
        self.alerts[name] = replace(known, changed_at=now)
        self.news[name] = Change.STILL


@dataclass(frozen=True, slots=True)
class Joined:
    """The incidents that there is news of, and by their numbers what that news is."""

    incidents: tuple[Incident, ...]
    new: frozenset[int]
    back: frozenset[int]
    """Those that were over."""
    told: frozenset[int]
    """Those that it is to be told of."""


@dataclass(frozen=True, slots=True)
class Settling:
    """Writes what was folded, and what the customer's group is to be told of it."""

    customer: Customer
    now: datetime
    house: House
    """As it is for this customer."""
    unit: Unit
    tuning: Tuning = AS_SET

    @property
    def policy(self) -> Policy:
        return self.house.alerting

    @property
    def _elsewhere(self) -> Elsewhere:
        return Elsewhere(self.customer, self.now, self.unit)

    async def settle(self, folded: Folded) -> None:
        """Write the incidents, the alerts and the storm, and mark what is to be drawn."""
        storm = await self.unit.incidents.storm(self.customer.id)
        joined_ = await self._join(folded)
        closed = await self._close(folded)
        news = [(folded.alerts[name], change) for name, change in folded.news.items()]
        criticals = [alert for alert, change in news if is_new_critical(alert, change)]
        named = mentioning.named(news, self.policy)
        places, here = self._places(folded), [*folded.news]
        if self.house.muting.receivers:
            # A storm is of what the group hears.
            here = [n for n in here if Place.GROUP in places[folded.alerts[n].incident]]
        heard = {folded.alerts[name].incident for name in here}
        loud = [each for each in criticals if each.incident in heard]
        gust = Gust(len(here), len(joined_.new & heard), len(loud), folded.received)
        gathering, due = storm, None
        if named.steady:
            gathering, due = storms.window(storm, self.now, self.policy)
        after, turn = storms.fold(gathering, gust, self.now, self.policy)
        if after != storm:
            await self.unit.incidents.save_storm(after)
        await Mentions(self.customer, self.now, self.house, self.unit).say(named, due)
        chat, incidents = self.customer.chat, joined_.incidents
        touched = [each for each in incidents if each.id in joined_.told]
        if self.house.muting.receivers or chat is None:
            begun = [each for each in incidents if each.id in joined_.new | joined_.back]
            await self._tell_elsewhere(begun, closed, places, _firsts(folded))
            touched = [each for each in touched if each.id in heard]
        if chat is None:
            return
        if after.phase is StormPhase.NORMAL and turn is not Turn.ENDED:
            await self._show(touched, joined_.new, closed, folded, chat)
            there = {folded.alerts[n].incident for n in here if folded.news[n] in NEWS}
            for number in sorted(there - joined_.told):
                await self._mark(f"incident:{number}", chat, due=self._settled)
            return
        back = [each for each in incidents if each.id in joined_.back]
        await self._correct([*closed, *back], after, chat)
        if folded.received or folded.alerts or (after.phase, turn) != (storm.phase, Turn.NOTHING):
            await self._rage(storm, after, turn, bool(loud), chat)

    def _places(self, folded: Folded) -> Mapping[int, frozenset[Place]]:
        """Return where each incident that there is news of is told."""
        if not self.house.muting.receivers and self.customer.chat:
            return {}
        return self._by_incident([folded.alerts[name] for name in folded.news])

    def _by_incident(self, alerts: Sequence[KnownAlert]) -> Mapping[int, frozenset[Place]]:
        """Return where each of these alerts' incidents is told; the operations group hears what is
        for a customer's group that is not there yet."""
        rules = self.house.muting
        found = by_incident(alerts, rules.routing, rules.receivers)
        if self.customer.chat:
            return found
        return {
            number: places | {Place.OPS} if Place.GROUP in places else places
            for number, places in found.items()
        }

    async def _tell_elsewhere(
        self,
        begun: Sequence[Incident],
        closed: Sequence[Incident],
        places: Mapping[int, frozenset[Place]],
        firsts: Mapping[int, KnownAlert],
    ) -> None:
        """Tell the places where an incident has no card."""
        there = self._elsewhere
        waits = {each.id: self._pace(firsts[each.id]).wait for each in begun}
        await there.begun(begun, places, waits)
        ended = [alert for each in closed for alert in await self.unit.incidents.alerts(each.id)]
        await there.over(closed, self._by_incident(ended))

    async def _join(self, folded: Folded) -> Joined:
        """Put news into incidents."""
        since = self.now - self.policy.reopen
        wanted = sorted({folded.alerts[name].group for name in folded.news})
        before = await self.unit.incidents.by_groups(self.customer.id, wanted, since)
        await self._wake(folded, before)
        after: dict[str, Incident] = dict(before)
        loud: set[str] = set()
        called: dict[str, datetime] = {}
        for name, change in folded.news.items():
            alert = folded.alerts[name]
            if change is Change.PASSED:
                # Where there is one nothing changes: somebody may have acknowledged it.
                after.setdefault(alert.group, over_already(alert, self.now))
            else:
                after[alert.group] = joined(after.get(alert.group), alert, change)
            if is_new_critical(alert, change):
                called[alert.group] = min(
                    called.get(alert.group, alert.changed_at), alert.changed_at
                )
            if worth_telling(alert, change, self.policy) or alert.group not in before:
                loud.add(alert.group)
        for group, incident in after.items():
            if incident == before.get(group):
                continue
            # Not when a post was accepted: what a card shows that was drawn since then has none of it.
            written = replace(incident, changed_at=self.now)
            if incident.id == 0:
                after[group] = await self.unit.incidents.add(written)
            else:
                after[group] = written
                await self.unit.incidents.save(written)
        for group, at in called.items():
            was = before.get(group)
            acked = was is not None and was.state is IncidentState.ACKED
            # While somebody is being called this changes nothing; what somebody had acknowledged is
            # called for anew, and does not go on where it was.
            soon = timedelta() if acked else self.policy.reopen
            await ladder.begin(self.unit, after[group], at, soon)
        await self._pass(folded, before, after)
        for name in folded.news:
            alert = folded.alerts[name]
            folded.alerts[name] = replace(alert, incident=after[alert.group].id)
        new = [alert for name, alert in folded.alerts.items() if name not in folded.before]
        old = [alert for name, alert in folded.alerts.items() if name in folded.before]
        await self.unit.incidents.put_alerts(new, old)
        over = {g for g, each in before.items() if each.state is IncidentState.RESOLVED}
        return Joined(
            tuple(after.values()),
            new=frozenset(each.id for group, each in after.items() if group not in before),
            back=frozenset(after[group].id for group in over),
            told=frozenset(after[group].id for group in loud),
        )

    async def _wake(self, folded: Folded, before: Mapping[str, Incident]) -> None:
        """Tell again of the criticals that fire on in what somebody had closed and a lesser alert opens:
        it is theirs as well, and else it would be open with nobody called for them."""
        news = [(folded.alerts[n], c) for n, c in folded.news.items() if c is not Change.PASSED]
        called = {alert.group for alert, change in news if is_new_critical(alert, change)}
        opened = {alert.group for alert, _ in news} - called
        closed = [before[g].id for g in opened if g in before and before[g].resolved_by]
        for number in sorted(await self.unit.incidents.loud(closed)) if closed else ():
            for known in await self.unit.incidents.alerts(number):
                folded.still(known, self.now)

    async def _pass(
        self, folded: Folded, before: Mapping[str, Incident], after: Mapping[str, Incident]
    ) -> None:
        """Write down which calls were owed, while they lasted, for criticals that are over."""
        ends: dict[str, datetime] = {}
        for name, change in folded.news.items():
            if change is Change.PASSED:
                group, at = folded.alerts[name].group, folded.alerts[name].changed_at
                ends[group] = max(at, ends.get(group, at))
        for group, at in ends.items():
            incident = after[group]
            if group not in before and incident.state is IncidentState.RESOLVED:
                await ladder.begin(self.unit, incident, at)
                await ladder.stop(self.unit, incident, at)

    async def _close(self, folded: Folded) -> list[Incident]:
        """Resolve the incidents whose alerts have all ended; of those whose alerts, or whose criticals,
        are all hidden or over nobody is called any more."""
        closed = []
        numbers = sorted(folded.ended | folded.calmed)
        loud = await self.unit.incidents.loud(sorted(folded.calmed)) if folded.calmed else set()
        visible = await self.unit.incidents.standing(numbers) if numbers else {}
        for number in numbers:
            incident = await self.unit.incidents.get(number)
            if incident is None or incident.state is IncidentState.RESOLVED:
                continue
            if number not in visible:
                state = IncidentState.RESOLVED
                incident = replace(incident, state=state, changed_at=self.now, resolved_at=self.now)
                await self.unit.incidents.save(incident)
            if not visible.get(number) or (number in folded.calmed and number not in loud):
                await ladder.stop(self.unit, incident, self.now)
            closed.append(incident)
        return closed

    async def _show(
        self,
        touched: Sequence[Incident],
        begun: frozenset[int],
        closed: Sequence[Incident],
        folded: Folded,
        chat: Chat,
    ) -> None:
        """Have each incident's own card drawn: a critical one at once, others after the wait, and
        those that only have more alerts when their interval is over."""
        firsts, shaky = _firsts(folded), _shaky(folded, self.policy)
        for incident in touched:
            urgent = incident.critical_at is not None and incident.state is IncidentState.OPEN
            new = incident.id in begun
            fast = self._pace(firsts[incident.id])
            span = fast.wait if new else fast.interval
            due = self.now + span if (new or span) and not urgent else None
            lane = Lane.ALARM if urgent else Lane.PROGRESS
            await self._mark(f"incident:{incident.id}", chat, lane, due)
        hushed = await self._hushed(closed)
        for incident in closed:
            key, over = f"incident:{incident.id}", incident.state is IncidentState.RESOLVED
            if (over or incident.id in hushed) and await self.unit.outbox.withdraw(key):
                continue  # it ended, or was hidden, before anybody was told of it
            if not await self.unit.outbox.begun(key):
                continue
            if incident.id in shaky and not incident.critical_at:
                # Not even that it is over: it never was for long.
                await self._mark(key, chat, due=self._settled, put_off=over)
                continue
            await self._mark(key, chat)
            if over and incident.critical_at:
                await self._recovered(incident, chat)
        for number in folded.eased - {each.id for each in (*touched, *closed)}:
            if await self.unit.outbox.living(f"incident:{number}"):
                await self._mark(f"incident:{number}", chat)

    @property
    def _settled(self) -> datetime:
        """When what flaps is drawn, unless it changes again: as it stands then."""
        return self.now + self.policy.flap_window

    async def _hushed(self, incidents: Sequence[Incident]) -> set[int]:
        """Return those of which nothing is seen any more; one with a critical was told already."""
        some = [
            each.id
            for each in incidents
            if each.state is not IncidentState.RESOLVED and not each.critical_at
        ]
        visible = await self.unit.incidents.standing(some) if some else {}
        return {number for number, count in visible.items() if not count}

    def _pace(self, first: KnownAlert) -> Pace:
        routing = self.house.muting.routing
        return pace(self.policy, routing, self.tuning, labels_of(alert_of(first)))

    async def _correct(self, incidents: Sequence[Incident], storm: Storm, chat: Chat) -> None:
        """Have the cards of before a storm drawn that would say until its end what is no longer so; its
        first minute is left to what begins."""
        settled = (storm.since or self.now - storms.MINUTE) + storms.MINUTE
        due = settled if self.now < settled else None
        for incident in incidents:
            key, over = f"incident:{incident.id}", incident.state is IncidentState.RESOLVED
            if over and await self.unit.outbox.withdraw(key):
                continue
            if await self.unit.outbox.begun(key):
                await self._mark(key, chat, due=due)

    async def _recovered(self, incident: Incident, chat: Chat) -> None:
        """Say that an incident has ended: of each end once."""
        at = incident.resolved_at or self.now
        card = incident_cards.recovered(incident, self.house.zone)
        await self._say(f"recovered:{incident.id}:{at.isoformat()}", card, chat)

    async def _go_on(self, incidents: Sequence[Incident], chat: Chat) -> None:
        """When a storm is over, have the cards of before it drawn and said what of them has ended; of
        what has no card the worst get one."""
        bare = []
        for incident in incidents:
            key = f"incident:{incident.id}"
            shown = await self.unit.outbox.begun(key)
            if incident.state is IncidentState.RESOLVED:
                if shown and incident.critical_at and not incident.resolved_by:
                    # Not sooner: a storm's messages are for what begins.
                    await self._recovered(incident, chat)
            elif shown:
                # It was left alone while the storm's spoke for it.
                await self._mark(key, chat)
            else:
                bare.append(incident)
        for incident in storm_cards.worst_first(bare)[:LEFT]:
            await self._mark(f"incident:{incident.id}", chat)

    async def _rage(
        self, before: Storm, storm: Storm, turn: Turn, critical: bool, chat: Chat
    ) -> None:
        """Have the storm's one card drawn; when it begins a new one, when it ends a summary too."""
        key = f"storm:{self.customer.id}"
        if turn is Turn.BEGUN:
            await self.unit.outbox.move(key, chat)
            for incident in await self.unit.incidents.open_of(self.customer.id):
                if self.now - incident.opened_at < storms.MINUTE:
                    await self.unit.outbox.withdraw(f"incident:{incident.id}")
        if turn is Turn.ENDED:
            # A storm begins when it is folded, its alerts when they were accepted, which was before.
            since = (before.since or self.now) - storms.MINUTE
            tallies = await self.unit.incidents.tallies(self.customer.id, since)
            incidents = await self.unit.incidents.open_since(self.customer.id, since)
            zone = self.house.zone
            rules = [tally.rule for tally in storm_cards.suggestions(tallies)]
            better = await suggesting.suggest(
                self.customer.id, rules, since, self.tuning, self.unit
            )
            at = trends.marks(since, self.now)
            counts = await self.unit.incidents.course(self.customer.id, at)
            course = trends.course(counts, at, zone)
            card = storm_cards.summary(before, tallies, incidents, self.now, zone, better, course)
            await self._say(f"storm-over:{self.customer.id}:{before.number}", card, chat)
            await self._go_on(incidents, chat)
        urgent = turn is Turn.BEGUN or critical
        early = before.critical_at is not None and self.now - before.critical_at < BREATH
        due = self.now + BREATH if critical and early and turn is Turn.NOTHING else None
        await self._mark(key, chat, Lane.ALARM if urgent else Lane.PROGRESS, due)

    async def _mark(
        self,
        key: str,
        chat: Chat,
        lane: Lane = Lane.PROGRESS,
        due: datetime | None = None,
        *,
        put_off: bool = False,
    ) -> None:
        await self.unit.outbox.mark(key, chat, self.now, lane=lane, due=due, put_off=put_off)

    async def _say(
        self,
        key: str,
        card: Card,
        chat: Chat,
        lane: Lane = Lane.NORMAL,
        due: datetime | None = None,
    ) -> None:
        delivery = Delivery(
            0, key, chat, lane, DeliveryState.WAITING, self.now, card=dumps(card), due=due
        )
        await reach.tell(delivery, await self._beside(), self.unit)

    async def _beside(self) -> Sequence[Chat]:
        return await reach.reach(self.customer.id, self.unit)


def _firsts(folded: Folded) -> Mapping[int, KnownAlert]:
    """Return, by incident, an alert of those that it has news of."""
    found: dict[int, KnownAlert] = {}
    for name in folded.news:
        alert = folded.alerts[name]
        found.setdefault(alert.incident, alert)
    return found


def _shaky(folded: Folded, policy: Policy) -> set[int]:
    """Return the incidents of which nothing has changed but warnings that flap."""
    shaky, other = set[int](), set[int]()
    for alert in folded.alerts.values():
        mild = alert.severity is not Severity.CRITICAL and not alert.hidden
        flaps = mild and flapping(alert.flips, alert.changed_at, policy)
        (shaky if flaps else other).add(alert.incident)
    return shaky - other

"""Writes what was folded: the incidents, the alerts, the storm, who is called, and what the customer's
group is to be told of it, all in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.card import Card, dumps, loads
from adapters.words import Chat
from runbooks import reach
from runbooks.alerting import incident_cards, ladder, storm_cards
from runbooks.alerting import storm as storms
from runbooks.alerting.grouping import (
    Change,
    is_new_critical,
    joined,
    worth_telling,
)
from runbooks.alerting.policy import Policy
from runbooks.alerting.storm import Gust, Turn
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
    received: int = 0


@dataclass(frozen=True, slots=True)
class Settling:
    """Writes what was folded, and what the customer's group is to be told of it."""

    customer: Customer
    now: datetime
    house: House
    unit: Unit

    @property
    def policy(self) -> Policy:
        return self.house.alerting

    async def settle(self, folded: Folded) -> None:
        """Write the incidents, the alerts and the storm, and mark what is to be drawn."""
        storm = await self.unit.incidents.storm(self.customer.id)
        incidents, opened, told = await self._join(folded)
        closed = await self._close(folded, {each.id for each in incidents.values()})
        criticals = [
            folded.alerts[name]
            for name, change in folded.news.items()
            if is_new_critical(folded.alerts[name], change)
        ]
        gust = Gust(len(folded.news), opened, len(criticals), folded.received)
        gathering, due = storm, None
        if criticals:
            gathering, due = storms.window(storm, self.now, self.policy)
        after, turn = storms.fold(gathering, gust, self.now, self.policy)
        if after != storm:
            await self.unit.incidents.save_storm(after)
        chat = self.customer.chat
        if chat is None:
            return
        if criticals:
            await self._mention(criticals, due, chat)
        touched = [each for each in incidents.values() if each.id in told]
        if after.phase is StormPhase.NORMAL and turn is not Turn.ENDED:
            await self._show(touched, closed, folded, chat)
            return
        if folded.received or folded.alerts or (after.phase, turn) != (storm.phase, Turn.NOTHING):
            await self._rage(storm, after, turn, bool(criticals), chat)

    async def _join(self, folded: Folded) -> tuple[Mapping[str, Incident], int, frozenset[int]]:
        """Put news into incidents; return those by group, how many are new, and which of them the
        group is told of."""
        since = self.now - self.policy.reopen
        wanted = sorted({folded.alerts[name].group for name in folded.news})
        before = await self.unit.incidents.by_groups(self.customer.id, wanted, since)
        after: dict[str, Incident] = dict(before)
        loud: set[str] = set()
        called: dict[str, datetime] = {}
        for name, change in folded.news.items():
            alert = folded.alerts[name]
            after[alert.group] = joined(after.get(alert.group), alert, change)
            if is_new_critical(alert, change):
                called[alert.group] = min(
                    called.get(alert.group, alert.changed_at), alert.changed_at
                )
            if worth_telling(alert, change, self.policy) or alert.group not in before:
                loud.add(alert.group)
        for group, incident in after.items():
            if incident.id == 0:
                after[group] = await self.unit.incidents.add(incident)
            elif incident != before[group]:
                await self.unit.incidents.save(incident)
        for group, at in called.items():
            # While somebody is being called this changes nothing.
            await ladder.begin(self.unit, after[group], at)
        for name in folded.news:
            alert = folded.alerts[name]
            folded.alerts[name] = replace(alert, incident=after[alert.group].id)
        new = [alert for name, alert in folded.alerts.items() if name not in folded.before]
        old = [alert for name, alert in folded.alerts.items() if name in folded.before]
        await self.unit.incidents.put_alerts(new, old)
        told = frozenset(after[group].id for group in loud)
        return after, len(after) - len(before), told

    async def _close(self, folded: Folded, joined_: set[int]) -> list[Incident]:
        """Resolve the incidents whose alerts have all ended; of those whose alerts are all hidden
        nobody is called any more."""
        closed = []
        numbers = sorted(folded.ended)
        visible = await self.unit.incidents.standing(numbers) if numbers else {}
        for number in numbers:
            incident = await self.unit.incidents.get(number)
            if incident is None or incident.state is IncidentState.RESOLVED:
                continue
            if number not in visible:
                state = IncidentState.RESOLVED
                incident = replace(incident, state=state, changed_at=self.now, resolved_at=self.now)
                await self.unit.incidents.save(incident)
            if not visible.get(number):
                await ladder.stop(self.unit, incident, self.now)
            closed.append(incident)
        return closed

    async def _mention(
        self, criticals: Sequence[KnownAlert], due: datetime | None, chat: Chat
    ) -> None:
        """Say which criticals are new: at once, or with those that come until `due`."""
        zone = self.house.zone
        newest = sorted(criticals, key=lambda alert: alert.since, reverse=True)
        key = f"critical:{self.customer.id}:{(due or self.now).isoformat()}"
        waiting = await self.unit.outbox.by_key(key) if due else None
        earlier = loads(waiting.card) if waiting else None
        card = incident_cards.mention(newest, self.policy, self.now, zone, earlier)
        if waiting and waiting.state is DeliveryState.WAITING:
            await reach.amend(replace(waiting, card=dumps(card)), await self._beside(), self.unit)
            return
        await self._say(key, card, chat, Lane.ALARM, due)

    async def _show(
        self,
        touched: Sequence[Incident],
        closed: Sequence[Incident],
        folded: Folded,
        chat: Chat,
    ) -> None:
        """Have each incident's own card drawn: a critical one at once, others after the wait."""
        for incident in touched:
            urgent = incident.critical_at is not None and incident.state is IncidentState.OPEN
            new = incident.opened_at == incident.changed_at
            due = self.now + self.policy.wait if new and not urgent else None
            lane = Lane.ALARM if urgent else Lane.PROGRESS
            await self._mark(f"incident:{incident.id}", chat, lane, due)
        for incident in closed:
            key = f"incident:{incident.id}"
            if incident.state is IncidentState.RESOLVED and await self.unit.outbox.withdraw(key):
                continue  # it ended before anybody was told of it
            if await self.unit.outbox.living(key) is None:
                continue
            await self._mark(key, chat)
            if incident.state is IncidentState.RESOLVED and incident.critical_at:
                card = incident_cards.recovered(incident, self.house.zone)
                told = f"recovered:{incident.id}:{self.now.isoformat()}"
                await self._say(told, card, chat)
        for number in folded.eased - {each.id for each in (*touched, *closed)}:
            await self._mark(f"incident:{number}", chat)

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
            since = before.since or self.now
            tallies = await self.unit.incidents.tallies(self.customer.id, since)
            incidents = await self.unit.incidents.opened_since(self.customer.id, since)
            zone = self.house.zone
            card = storm_cards.summary(before, tallies, incidents, self.now, zone)
            await self._say(f"storm-over:{self.customer.id}:{before.number}", card, chat)
            for incident in incidents:
                # A card of its own was left alone while the storm's spoke for it.
                if await self.unit.outbox.living(f"incident:{incident.id}"):
                    await self._mark(f"incident:{incident.id}", chat)
        urgent = turn is Turn.BEGUN or critical
        early = before.critical_at is not None and self.now - before.critical_at < BREATH
        due = self.now + BREATH if critical and early and turn is Turn.NOTHING else None
        await self._mark(key, chat, Lane.ALARM if urgent else Lane.PROGRESS, due)

    async def _mark(
        self, key: str, chat: Chat, lane: Lane = Lane.PROGRESS, due: datetime | None = None
    ) -> None:
        await self.unit.outbox.mark(key, chat, self.now, lane=lane, due=due)

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

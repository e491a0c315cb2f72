"""Names new criticals wherever they are told, beside the cards: the first at once, what comes close
together in one message, what comes and goes in one for each window of flapping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from adapters.card import dumps, loads
from adapters.words import Chat, Person
from runbooks import reach
from runbooks.alerting import incident_cards, naming
from runbooks.alerting.elsewhere import Elsewhere
from runbooks.alerting.flapping import flapping
from runbooks.alerting.grouping import Change, is_new_critical
from runbooks.alerting.incident_cards import LINE
from runbooks.alerting.policy import Policy
from runbooks.alerting.receivers import by_places, suffix
from runbooks.kit import House
from storage.records import Customer, Delivery, DeliveryState, KnownAlert, Lane
from storage.store import Unit

REMARKS = {Change.PASSED: "发生后已恢复", Change.STILL: "人工关闭后仍在触发"}
"""What is said of a critical in its mention, beside what its source says."""


@dataclass(frozen=True, slots=True)
class Named:
    """The criticals that are to be named after a fold."""

    steady: tuple[KnownAlert, ...]
    shaky: tuple[KnownAlert, ...]
    """Those that come and go: the group knows of them, and is not told each time anew."""


def named(news: Iterable[tuple[KnownAlert, Change]], policy: Policy) -> Named:
    """Return which alerts that there is news of are to be named, with what is to be said of them."""
    steady: list[KnownAlert] = []
    shaky: list[KnownAlert] = []
    for alert, change in news:
        if change is Change.PASSED or is_new_critical(alert, change):
            comes_and_goes = flapping(alert.flips, alert.changed_at, policy)
            (shaky if comes_and_goes else steady).append(_remarked(alert, change))
    return Named(tuple(steady), tuple(shaky))


@dataclass(frozen=True, slots=True)
class Mentions:
    """Says which criticals of a customer are new, in the caller's transaction."""

    customer: Customer
    now: datetime
    house: House
    """As it is for this customer."""
    unit: Unit

    async def say(self, alerts: Named, due: datetime | None) -> None:
        """Name criticals: the steady ones at once, or with those that come until `due`."""
        if alerts.steady:
            await self._mention(alerts.steady, due)
        if alerts.shaky:
            await self._mention(alerts.shaky, self._flap_over())

    def _flap_over(self) -> datetime:
        """Return when the message goes that names what comes and goes: the end of this window."""
        window, begun = self.house.alerting.flap_window, datetime.fromtimestamp(0, UTC)
        return begun + window * ((self.now - begun) // window + 1)

    async def _mention(self, criticals: Sequence[KnownAlert], due: datetime | None) -> None:
        newest, rules = sorted(criticals, key=lambda a: a.since, reverse=True), self.house.muting
        base = f"critical:{self.customer.id}:{(due or self.now).isoformat()}"
        whom = await naming.on_call(self.customer.id, self.now, self.unit)
        there = Elsewhere(self.customer, self.now, self.unit)
        for places, some in by_places(newest, rules.routing, rules.receivers).items():
            key = f"{base}{suffix(places)}"
            for chat in await there.chats(places):
                its = key if chat == self.customer.chat else reach.beside(key, chat)
                here = whom if whom and whom.platform == chat.platform else None
                await self._name(some, its, due, chat, here)

    async def _name(
        self,
        newest: Sequence[KnownAlert],
        key: str,
        due: datetime | None,
        chat: Chat,
        whom: Person | None,
    ) -> None:
        """Name new criticals in one chat: in the message that waits there, or in one of their own."""
        there = await self.unit.outbox.by_key(key) if due else None
        waiting = there if there and there.gathering else None
        earlier, house = loads(waiting.card) if waiting else None, self.house
        made = incident_cards.mention(newest, house.alerting, self.now, house.zone, earlier, whom)
        if self.customer.chat is None:
            made = replace(made, title=f"{made.title}：{self.customer.name[:LINE]}")
        card = dumps(made)
        if waiting:
            await self.unit.outbox.save(replace(waiting, card=card))
            return
        if there:
            # Its time came while we folded: what it does not say any more goes at once.
            key, due = f"{key}~{self.now.isoformat()}", None
        state, at = DeliveryState.WAITING, self.now
        said = Delivery(0, key, chat, Lane.ALARM, state, at, card=card, due=due)
        await self.unit.outbox.put(said)


def _remarked(alert: KnownAlert, change: Change) -> KnownAlert:
    """Return an alert with what is to be said of it beside its source's words."""
    remark = REMARKS.get(change)
    return replace(alert, title=f"{remark}：{alert.title or alert.text}") if remark else alert

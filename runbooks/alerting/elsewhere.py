"""Tells an incident where it has no card: in the operations group, by mail and by webhook, for the routes
that say so. What comes within a minute shares one message, so that a storm is no flood there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from adapters.card import Block, Card, Fields, Style, Text, Tone, dumps, loads
from adapters.words import Chat
from runbooks import reach
from runbooks.alerting.incident_cards import LINE, NAMED, SIGNS, lasted
from runbooks.alerting.muting.places import ONE_WAY, Place
from runbooks.walk import OPERATIONS
from storage.records import Customer, Delivery, DeliveryState, Incident, IncidentState, Lane
from storage.store import Unit

EVERY = timedelta(minutes=1)
"""Between two messages to one place about one customer."""

NEAR = 3
"""Minutes from an incident's begin in which its line must have been written."""

OVER = "✅"
EARLY = "通知前已恢复"

Places = Mapping[int, frozenset[Place]]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The places beside a customer's group, in the caller's transaction."""

    customer: Customer
    now: datetime
    unit: Unit

    async def chats(self, places: frozenset[Place]) -> tuple[Chat, ...]:
        """Return the chats of these places, the customer's group first; it also takes what no other
        place is set up for. While there is no group the operations group stands in for it."""
        found: list[Chat] = []
        group = self.customer.chat
        if group and Place.GROUP in places:
            found.append(group)
        if group is None and Place.GROUP in places:
            places |= {Place.OPS}
        for place in ONE_WAY:
            if place in places or (place is not Place.OPS and Place.BESIDE in places):
                found += await self._of(place)
        return tuple(found) or await self._instead()

    async def begun(
        self, incidents: Sequence[Incident], places: Places, waits: Mapping[int, timedelta]
    ) -> None:
        """Tell of incidents that have begun, each after its wait."""
        for place in ONE_WAY:
            mine = [each for each in incidents if place in places[each.id]]
            if mine:
                wait = min(waits[each.id] for each in mine)
                await self._tell(place, [_line(each) for each in mine], wait)

    async def over(self, incidents: Sequence[Incident], places: Places) -> None:
        """Tell of incidents that are over; of what ended before anybody was told, nothing."""
        ended = [each for each in incidents if each.state is IncidentState.RESOLVED]
        for place in ONE_WAY:
            mine = [each for each in ended if place in places[each.id]]
            told = [each for each in mine if not await self._unsaid(place, each)]
            if told:
                await self._tell(place, [_over(each) for each in told], timedelta())

    async def _of(self, place: Place) -> Sequence[Chat]:
        if place is Place.OPS:
            operations = await self.unit.outbox.living(OPERATIONS)
            return (operations.chat,) if operations else ()
        beside = await reach.reach(self.customer.id, self.unit)
        return [chat for chat in beside if chat.platform == str(place)]

    async def _heard(self, place: Place) -> Sequence[Chat]:
        """Return who hears what is said at a place: the group, where it is not set up."""
        return await self._of(place) or await self._instead()

    async def _instead(self) -> tuple[Chat, ...]:
        """Return who hears what nobody else does: the group, or the operations group without one."""
        group = self.customer.chat
        return (group,) if group else tuple(await self._of(Place.OPS))

    async def _tell(self, place: Place, lines: Sequence[str], wait: timedelta) -> None:
        for chat in await self._heard(place):
            await self._add(place, chat, lines, wait)

    async def _add(self, place: Place, chat: Chat, lines: Sequence[str], wait: timedelta) -> None:
        """Add lines to the message of this minute, or of the next when that has gone."""
        slot = _slot(self.now)
        while True:
            key = self._key(place, chat, slot)
            there = await self.unit.outbox.by_key(key)
            if there is None:
                begins = datetime.fromtimestamp(slot * EVERY.total_seconds(), UTC)
                due = max(self.now + wait, begins)
                card, state = dumps(self._card(lines, None)), DeliveryState.WAITING
                entry = Delivery(0, key, chat, Lane.NORMAL, state, self.now, card, due=due)
                await self.unit.outbox.put(entry)
                return
            if there.gathering:
                card = dumps(self._card(lines, loads(there.card)))
                await self.unit.outbox.save(replace(there, card=card))
                return
            slot += 1

    async def _unsaid(self, place: Place, incident: Incident) -> bool:
        """Take an incident out of the messages that have yet to go; False when it was told."""
        taken = False
        first = _slot(incident.opened_at)
        for chat in await self._heard(place):
            for slot in range(first, first + NEAR):
                there = await self.unit.outbox.by_key(self._key(place, chat, slot))
                taken = (await self._take_out(incident, there) if there else False) or taken
        return taken

    async def _take_out(self, incident: Incident, entry: Delivery) -> bool:
        lines = _lines(loads(entry.card))
        kept = [line for line in lines if not _is_of(incident, line)]
        if not entry.gathering or kept == lines:
            return False
        if not kept:
            early = replace(entry, state=DeliveryState.FAILED, reason=EARLY)
            await self.unit.outbox.save(early)
            return True
        rest = replace(loads(entry.card), blocks=_counts(loads(entry.card)))
        await self.unit.outbox.save(replace(entry, card=dumps(self._card(kept, rest))))
        return True

    def _key(self, place: Place, chat: Chat, slot: int) -> str:
        return reach.beside(f"told:{self.customer.id}:{place}:{slot}", chat)

    def _card(self, lines: Sequence[str], earlier: Card | None) -> Card:
        shown = [*_lines(earlier), *lines] if earlier else list(lines)
        more = _more(earlier) + max(0, len(shown) - NAMED)
        blocks: list[Block] = [Text("\n".join(shown[:NAMED]))]
        if more:
            blocks.append(Fields((("另有", str(more)),)))
            blocks.append(Text("完整清单：在客户群输入 /alerts", Style.QUIET))
        return Card(f"告警：{self.customer.name[:LINE]}", Tone.WARNING, tuple(blocks))


def _line(incident: Incident) -> str:
    sign = SIGNS[incident.severity]
    return f"{sign} #{incident.id} {' '.join(incident.title[:LINE].split())}"


def _is_of(incident: Incident, line: str) -> bool:
    """Is it this incident's line? Another one's title may name such a number as well."""
    return line.split(" ", 2)[1:2] == [f"#{incident.id}"]


def _over(incident: Incident) -> str:
    end = incident.resolved_at or incident.changed_at
    title = " ".join(incident.title[:LINE].split())
    return f"{OVER} #{incident.id} {title}：已恢复，持续{lasted(end - incident.since)}"


def _lines(card: Card | None) -> list[str]:
    blocks = card.blocks if card else ()
    plain = [b for b in blocks if isinstance(b, Text) and b.style is Style.PLAIN]
    return [line for block in plain for line in block.text.split("\n") if line]


def _counts(card: Card | None) -> tuple[Fields, ...]:
    return tuple(b for b in (card.blocks if card else ()) if isinstance(b, Fields))


def _more(card: Card | None) -> int:
    return sum(int(block.pairs[0][1]) for block in _counts(card))


def _slot(at: datetime) -> int:
    return int(at.timestamp() // EVERY.total_seconds())

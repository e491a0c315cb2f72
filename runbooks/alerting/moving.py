"""What a customer's group is shown of alerts goes on in the group that the customer is bound to anew: the
one of before may be anybody's."""

from __future__ import annotations

from datetime import datetime, timedelta

from adapters.words import Chat
from runbooks.alerting import storm_cards
from storage.records import IncidentState, StormPhase
from storage.store import Unit

LEFT = 5
"""Incidents whose cards are drawn there at once: the worst. Of the others the next news is."""


async def move(customer: int, chat: Chat, reopen: timedelta, now: datetime, unit: Unit) -> None:
    """Have the cards of a customer's alerts drawn in another group from now on; those of incidents that
    ended less than `reopen` ago too, since they may come back."""
    storm = f"storm:{customer}"
    await unit.outbox.move(storm, chat)
    raging = (await unit.incidents.storm(customer)).phase is not StormPhase.NORMAL
    if raging:
        await unit.outbox.mark(storm, chat, now)
    there = await unit.incidents.open_since(customer, now - reopen)
    for incident in there:
        # One that was withdrawn in a storm too: when that is over it may be drawn nevertheless.
        await unit.outbox.move(f"incident:{incident.id}", chat)
    left = [each for each in there if each.state is not IncidentState.RESOLVED]
    shown = [each for each in left if await unit.outbox.begun(f"incident:{each.id}")]
    for incident in [] if raging else storm_cards.worst_first(shown)[:LEFT]:
        await unit.outbox.mark(f"incident:{incident.id}", chat, now)

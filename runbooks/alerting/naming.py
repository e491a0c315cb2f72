"""Who a new critical's first message names, before anybody is called for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from adapters.words import Person
from runbooks.alerting.oncall import ladder, reach
from storage.store import Unit


async def on_call(customer: int, at: datetime, unit: Unit) -> Person | None:
    """Return who is on call for a customer, as chats name them; None when nobody is, or when it is
    not known who they are in chat."""
    callee, _ = await ladder.on_call(unit, customer, at)
    person = await reach.person_of(callee, unit) if callee else None
    if callee is None or person is None:
        return None
    return replace(person, name=person.name or callee.name)

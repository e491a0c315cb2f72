"""Dead man's switches: a job that is not heard of in time is an alert, by way of the intake.

The alert is accepted before the row says that it was told, so a crash between the two tells it
again, with the same fingerprint, and never not at all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from adapters.sources import heartbeat
from adapters.words import Secret
from runbooks.kit import Kit
from storage.intake import Intake, Overloaded
from storage.records import Heartbeat


async def beat(kit: Kit, intake: Intake | None, token: Secret) -> bool:
    """Note that a job was heard of; False when the token is nobody's.

    Raises Overloaded when the end of its silence could not be kept.
    """
    now = kit.clock.now()
    async with kit.store.view() as unit:
        known = await unit.heartbeats.by(token)
    if known is None:
        return False
    if known.missed:
        await _tell(kit, intake, known, firing=False)
    after = replace(known, due=now + timedelta(seconds=known.every), last_at=now, missed=False)
    # Who came in between was heard of as well, or was found silent: then the next look tells it.
    await kit.store.write(lambda unit: unit.heartbeats.move(known, after))
    return True


async def look(kit: Kit, intake: Intake) -> int:
    """Tell of each job that was not heard of in time; return how many."""
    async with kit.store.view() as unit:
        silent = await unit.heartbeats.due(kit.clock.now())
    for known in silent:
        await _tell(kit, intake, known, firing=True)
        async with kit.store.unit() as unit:
            late = await unit.heartbeats.move(known, replace(known, missed=True))
        if not late:  # it was heard of just now
            await _tell(kit, intake, known, firing=False)
    return len(silent)


async def _tell(kit: Kit, intake: Intake | None, known: Heartbeat, *, firing: bool) -> None:
    if intake is None:
        raise Overloaded("there is no intake")
    body = heartbeat.encode(known.name, firing=firing, every=known.every, last_at=known.last_at)
    await intake.accept(known.customer, heartbeat.NAME, body, kit.clock.now())

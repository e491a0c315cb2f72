"""Dead man's switches: a job that is not heard of in time is an alert, by way of the intake.

The alert is accepted before the row says that it was told, so a crash between the two tells it
again, with the same fingerprint, and never not at all. What was sent while none of us was there has
reached nobody: whoever starts after such a time spares the jobs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from adapters.sources import heartbeat
from adapters.words import Secret
from runbooks.kit import Kit
from storage.intake import Intake, Overloaded
from storage.records import Heartbeat

LOOK = "heartbeats"
"""The name of the look for silent jobs: whoever looks is there to hear of them as well."""

DEAF = timedelta(minutes=1)
"""Without a look for so long nobody was there: to exchange a program takes less."""

NOTED = timedelta(seconds=30)
"""A look is not noted more often: nobody asks to the second, and each is a commit."""


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
    due = now + timedelta(seconds=known.every)
    after = replace(known, due=due, last_at=now, missed=False, spared=False)
    # Who came in between was heard of as well, or was found silent: then the next look tells it.
    await kit.store.write(lambda unit: unit.heartbeats.move(known, after))
    return True


async def look(kit: Kit, intake: Intake) -> int:
    """Tell of each job that was not heard of in time, and return how many; tell the end of those that
    nobody waits for any more."""
    now = kit.clock.now()
    async with kit.store.view() as unit:
        silent = await unit.heartbeats.due(now)
        retired = await unit.heartbeats.retired()
        last = await unit.looks.at(LOOK)
        stale = last is None or not last <= now < last + NOTED
        note = stale and await unit.heartbeats.waited_for()
    if note:
        await kit.store.write(lambda unit: unit.looks.note(LOOK, now))
    for each in retired:
        await _tell(kit, intake, each, firing=False)
        async with kit.store.unit() as unit:
            await unit.heartbeats.drop(each)
    for known in silent:
        await _tell(kit, intake, known, firing=True)
        async with kit.store.unit() as unit:
            late = await unit.heartbeats.move(known, replace(known, missed=True))
        if not late:  # it was heard of just now
            await _tell(kit, intake, known, firing=False)
    return len(silent)


async def resume(kit: Kit) -> int:
    """Spare the jobs that may have called while none of us was there; return how many. To be done
    before the first look of a process: of several replicas one may have been there all the time.
    """
    now = kit.clock.now()
    async with kit.store.unit() as unit:
        last = await unit.looks.at(LOOK)
        if last is not None and now - last <= DEAF:
            return 0
        waited_for = await unit.heartbeats.waited_for()
        for known in waited_for:
            await unit.heartbeats.move(known, _spared(known, now, last))
        await unit.looks.note(LOOK, now)
    return len(waited_for)


def _spared(known: Heartbeat, now: datetime, last: datetime | None) -> Heartbeat:
    """Return a job that may have called in vain since `last`: its next call may be a whole turn away.
    A second time without a word of it only that span is added, or a dead job would never be missed
    where somebody restarts us often."""
    if known.spared:
        return replace(known, due=known.due + (now - last)) if last else known
    due = now + timedelta(seconds=known.every)
    return replace(known, due=max(known.due, due), spared=True)


async def _tell(kit: Kit, intake: Intake | None, known: Heartbeat, *, firing: bool) -> None:
    if intake is None:
        raise Overloaded("there is no intake")
    body = heartbeat.encode(known.name, firing=firing, every=known.every, last_at=known.last_at)
    await intake.accept(known.customer, heartbeat.NAME, body, kit.clock.now())

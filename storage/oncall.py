"""Who is on call, and what was rung: rosters, overrides, hand-overs, policies and climbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Person, Severity
from storage.records import AGAIN, DeliveryState, Incident, IncidentState, Lane
from storage.roster import (
    Escalation,
    HandedOver,
    Override,
    Policy,
    Roster,
    Rung,
    RungState,
    Watch,
)
from storage.rows import parts, to_record, to_row
from storage.tables import (
    alerts_known,
    escalations,
    handed_over,
    incidents,
    outbox,
    overrides,
    policies,
    rosters,
    rungs,
    watches,
)

_RUNG = ("incident", "round", "lap", "level", "place")


class OnCall:
    """Rosters, and what was changed in them for a while."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def roster(self, customer: int) -> Roster | None:
        text = await self._db.scalar(
            sa.select(rosters.c.roster).where(rosters.c.customer == customer)
        )
        return None if text is None else msgspec.json.decode(text, type=Roster)

    async def save(self, roster: Roster) -> None:
        """Keep a roster in the place of the one before. The caller's unit is the writer."""
        text = msgspec.json.encode(roster).decode()
        await self._db.execute(sa.delete(rosters).where(rosters.c.customer == roster.customer))
        await self._db.execute(sa.insert(rosters).values(customer=roster.customer, roster=text))

    async def override(self, override: Override) -> Override:
        """Add an override (`id` is ignored) and return it numbered."""
        row = to_row(override)
        del row["id"]
        number = await self._db.scalar(sa.insert(overrides).values(row).returning(overrides.c.id))
        assert number is not None
        return replace(override, id=number)

    async def overrides(
        self, customer: int, since: datetime, until: datetime
    ) -> Sequence[Override]:
        """Return what holds at some instant between the two, the oldest first."""
        rows = await self._db.execute(
            sa.select(overrides)
            .where(
                (overrides.c.customer == customer)
                & (overrides.c.begins < until)
                & (overrides.c.ends > since)
            )
            .order_by(overrides.c.id)
        )
        return [to_record(Override, row) for row in rows.mappings()]

    async def drop(self, customer: int, number: int) -> bool:
        """Forget an override; False when the customer has none of that number."""
        gone = await self._db.execute(
            sa.delete(overrides).where(
                (overrides.c.customer == customer) & (overrides.c.id == number)
            )
        )
        return gone.rowcount > 0

    async def drop_of(self, customer: int, name: str, now: datetime) -> int:
        """Forget the overrides of a callee that are not over yet; return how many."""
        gone = await self._db.execute(
            sa.delete(overrides).where(
                (overrides.c.customer == customer)
                & (overrides.c.name == name)
                & (overrides.c.ends > now)
            )
        )
        return gone.rowcount

    async def rename(self, customer: int, old: str, new: str) -> None:
        """Have a customer's overrides say the new name of a callee."""
        await self._db.execute(
            sa.update(overrides)
            .where((overrides.c.customer == customer) & (overrides.c.name == old))
            .values(name=new)
        )

    async def hand_over(self, note: HandedOver) -> None:
        row = to_row(note)
        del row["id"]
        await self._db.execute(sa.insert(handed_over).values(row))

    async def handed(self, customer: int) -> HandedOver | None:
        """Return the last hand-over."""
        rows = await self._db.execute(
            sa.select(handed_over)
            .where(handed_over.c.customer == customer)
            .order_by(handed_over.c.id.desc())
            .limit(1)
        )
        found = rows.mappings().first()
        return to_record(HandedOver, found) if found else None


class Escalations:
    """Policies, climbs and their rungs."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def policy(self, customer: int) -> Policy | None:
        text = await self._db.scalar(
            sa.select(policies.c.policy).where(policies.c.customer == customer)
        )
        return None if text is None else msgspec.json.decode(text, type=Policy)

    async def set_policy(self, customer: int, policy: Policy) -> None:
        text = msgspec.json.encode(policy).decode()
        await self._db.execute(sa.delete(policies).where(policies.c.customer == customer))
        await self._db.execute(sa.insert(policies).values(customer=customer, policy=text))

    async def add(self, climb: Escalation) -> None:
        await self._db.execute(sa.insert(escalations).values(to_row(climb)))

    async def save(self, climb: Escalation) -> None:
        await self._db.execute(
            sa.update(escalations)
            .where(
                (escalations.c.incident == climb.incident) & (escalations.c.round == climb.round)
            )
            .values(to_row(climb))
        )

    async def any(self) -> bool:
        """Has anything ever climbed?"""
        return await self._db.scalar(sa.select(escalations.c.incident).limit(1)) is not None

    async def last(self, incident: int) -> Escalation | None:
        """Return an incident's newest climb."""
        found = await self._climbs(escalations.c.incident == incident)
        return max(found, key=lambda climb: climb.round) if found else None

    async def climb(self, incident: int, number: int) -> Escalation | None:
        found = await self._climbs(
            (escalations.c.incident == incident) & (escalations.c.round == number)
        )
        return found[0] if found else None

    async def since(self, customer: int, at: datetime) -> Sequence[Escalation]:
        """Return a customer's climbs that began then or later."""
        return await self._climbs(
            (escalations.c.customer == customer) & (escalations.c.began_at >= at)
        )

    async def climbing(self, since: datetime, until: datetime) -> Sequence[Escalation]:
        """Return the climbs of all customers that were under way at some time between the two."""
        running = escalations.c.stopped_at.is_(None) | (escalations.c.stopped_at > since)
        return await self._climbs((escalations.c.began_at < until) & running)

    async def without(self, since: datetime, until: datetime) -> Sequence[Incident]:
        """Return the incidents with a critical that was accepted between the two for which nothing
        has climbed from then on, the oldest first."""
        at = incidents.c.critical_at
        running = escalations.c.stopped_at.is_(None) | (escalations.c.stopped_at >= at)
        climbed = sa.exists().where((escalations.c.incident == incidents.c.id) & running)
        rows = await self._db.execute(
            sa.select(incidents)
            .where((at >= since) & (at < until) & ~climbed)
            .order_by(incidents.c.id)
        )
        return [to_record(Incident, row) for row in rows.mappings()]

    async def forgotten(self) -> Sequence[Incident]:
        """Return the open incidents in which a critical fires and is seen while nothing climbs for
        them, the oldest first."""
        on = alerts_known.c.incident == incidents.c.id
        seen = alerts_known.c.firing & (alerts_known.c.hidden == "")
        critical = alerts_known.c.severity == str(Severity.CRITICAL)
        running = escalations.c.stopped_at.is_(None)
        climbs = sa.exists().where((escalations.c.incident == incidents.c.id) & running)
        rows = await self._db.execute(
            sa.select(incidents)
            .where(
                (incidents.c.state == str(IncidentState.OPEN))
                & sa.exists().where(on & seen & critical)
                & ~climbs
            )
            .order_by(incidents.c.id)
        )
        return [to_record(Incident, row) for row in rows.mappings()]

    async def put(self, new: Sequence[Rung]) -> None:
        if new:
            await self._db.execute(sa.insert(rungs), [to_row(rung) for rung in new])

    async def mark(self, rung: Rung) -> None:
        """Keep what became of a rung."""
        row = to_row(rung)
        where = sa.and_(*(rungs.c[part] == row.pop(part) for part in _RUNG))
        await self._db.execute(sa.update(rungs).where(where).values(row))

    async def mark_all(self, changed: Sequence[Rung]) -> None:
        """Keep what became of many."""
        if not changed:
            return
        where = sa.and_(*(rungs.c[part] == sa.bindparam(f"the_{part}") for part in _RUNG))
        rows = [to_row(rung) for rung in changed]
        named = [{f"the_{part}": row.pop(part) for part in _RUNG} | row for row in rows]
        values: dict[str, Any] = {name: sa.bindparam(name) for name in rows[0]}
        await self._db.execute(sa.update(rungs).where(where).values(values), named)

    async def due(self, until: datetime) -> Sequence[Rung]:
        """Return what is to be rung until then, the longest due first."""
        return await self._rungs((rungs.c.state == str(RungState.DUE)) & (rungs.c.due <= until))

    async def done(self, since: datetime) -> Sequence[Rung]:
        """Return what was rung of that which was due then or later."""
        return await self._rungs((rungs.c.state == str(RungState.DONE)) & (rungs.c.due >= since))

    async def refused(self, since: datetime) -> Sequence[tuple[Rung, str]]:
        """Return what was rung since then and has failed for good on its way; with the reason."""
        failed = (outbox.c.state == str(DeliveryState.FAILED)) & (outbox.c.at >= since)
        return await self._told(failed, RungState.DONE, RungState.HELD)

    async def queued(self, before: datetime) -> Sequence[tuple[Rung, str]]:
        """Return what was rung before then and has yet to go out, with the reason; what was noted
        as HELD is not in it."""
        waits = (outbox.c.state == str(DeliveryState.WAITING)) & (outbox.c.at <= before)
        return await self._told(waits & (outbox.c.lane == str(Lane.ALARM)), RungState.DONE)

    async def _told(
        self, entries: sa.ColumnElement[bool], *states: RungState
    ) -> Sequence[tuple[Rung, str]]:
        """Return the rungs of these states that these entries of the outbox tell; with the reason."""
        said = entries & (outbox.c.living == "")
        rows = await self._db.execute(sa.select(outbox.c.key, outbox.c.reason).where(said))
        # What was in doubt is told by a copy of its entry: what becomes of that is the outcome.
        why = {row.key.removesuffix(AGAIN): row.reason for row in rows}
        found: list[Rung] = []
        # In two questions: as one, all that was lately rung would be looked through each time.
        for part in parts(sorted(why)):
            of_state = rungs.c.state.in_([str(state) for state in states])
            found += await self._rungs(rungs.c.told.in_(part) & of_state)
        return [(rung, why[rung.told]) for rung in found]

    async def left(self, incidents: Sequence[int]) -> set[tuple[int, int]]:
        """Return the (incident, round) of the climbs that still owe a call, of these incidents."""
        found: set[tuple[int, int]] = set()
        for part in parts(incidents):
            rows = await self._db.execute(
                sa.select(rungs.c.incident, rungs.c.round)
                .where(rungs.c.incident.in_(part) & (rungs.c.state == str(RungState.DUE)))
                .distinct()
            )
            found |= {(row.incident, row.round) for row in rows}
        return found

    async def of_incidents(self, incidents: Sequence[int]) -> Sequence[Escalation]:
        """Return all climbs of some incidents."""
        found: list[Escalation] = []
        for part in parts(incidents):
            found += await self._climbs(escalations.c.incident.in_(part))
        return found

    async def still_told(self, told: Sequence[str]) -> set[str]:
        """Return which of the calls with these keys tell of a climb that is under way."""
        same = (rungs.c.incident == escalations.c.incident) & (rungs.c.round == escalations.c.round)
        found: set[str] = set()
        for part in parts(told):
            found.update(
                await self._db.scalars(
                    sa.select(rungs.c.told)
                    .join(escalations, same)
                    .where(rungs.c.told.in_(part) & escalations.c.stopped_at.is_(None))
                    .distinct()
                )
            )
        return found

    async def told_by(self, keys: Sequence[str]) -> Sequence[Rung]:
        """Return the rungs that the calls with these keys tell of."""
        found: list[Rung] = []
        for part in parts(keys):
            found += await self._rungs(rungs.c.told.in_(part))
        return found

    async def told_to(self, person: Person) -> Sequence[int]:
        """Return the incidents of which the last call to this person alone told; none when they were
        never called."""
        heard = [str(DeliveryState.SENT), str(DeliveryState.DOUBT)]
        key = await self._db.scalar(
            sa.select(outbox.c.key)
            .where(_rung(person), outbox.c.key.startswith("ladder:"), outbox.c.state.in_(heard))
            .order_by(outbox.c.id.desc())
            .limit(1)
        )
        if key is None:
            return ()
        return sorted({rung.incident for rung in await self.told_by([key.removesuffix(AGAIN)])})

    async def rungs(self, incident: int, number: int) -> Sequence[Rung]:
        """Return all rungs of one climb in the order of their deadlines."""
        return await self._rungs((rungs.c.incident == incident) & (rungs.c.round == number))

    async def proved(self, person: Person) -> bool:
        """Has a call to this person ever got through?"""
        found = await self._db.scalar(
            sa.select(outbox.c.id)
            .where(_rung(person), outbox.c.state == str(DeliveryState.SENT))
            .limit(1)
        )
        return found is not None

    async def watched(self) -> Watch | None:
        """Return the last night's proof."""
        rows = await self._db.execute(sa.select(watches).order_by(watches.c.id.desc()).limit(1))
        found = rows.mappings().first()
        return to_record(Watch, found) if found else None

    async def watch(self, proof: Watch) -> None:
        row = to_row(proof)
        del row["id"]
        await self._db.execute(sa.insert(watches).values(row))

    async def _climbs(self, where: sa.ColumnElement[bool]) -> list[Escalation]:
        order = (escalations.c.began_at, escalations.c.incident, escalations.c.round)
        rows = await self._db.execute(sa.select(escalations).where(where).order_by(*order))
        return [to_record(Escalation, row) for row in rows.mappings()]

    async def _rungs(self, where: sa.ColumnElement[bool]) -> list[Rung]:
        order = (rungs.c.due, *(rungs.c[part] for part in _RUNG))
        rows = await self._db.execute(sa.select(rungs).where(where).order_by(*order))
        return [to_record(Rung, row) for row in rows.mappings()]


def _rung(person: Person) -> sa.ColumnElement[bool]:
    """Is an entry a call of this person? It stands in their own queue: in all that was ever said one
    would look for seconds."""
    own = (outbox.c.chat_platform == person.platform) & (outbox.c.chat_id == person.id)
    return own & (outbox.c.ring_platform == person.platform) & (outbox.c.ring_id == person.id)

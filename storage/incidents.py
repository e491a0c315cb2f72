"""Incidents, the alerts in them, each customer's storm, and how far the intake was folded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Severity
from storage.records import Incident, IncidentState, Inflow, KnownAlert, Storm, StormPhase
from storage.rows import parts, to_record, to_row
from storage.tables import alert_cursors, alerts_known, customers, incidents, storms

UNRESOLVED = (str(IncidentState.OPEN), str(IncidentState.ACKED))
_SEEN = alerts_known.c.firing & (alerts_known.c.hidden == "")
"""What people hear of."""
ANYBODYS = alerts_known.c.customer.in_(sa.select(customers.c.id))
"""True of every alert: who asks for what fires of all customers finds it by their index, and does not
look through all that ever fired."""
_OF_ANYBODY = incidents.c.customer.in_(sa.select(customers.c.id))
"""The same of every incident."""
NAME = ("customer", "source", "fingerprint")
BREATH = 200
"""Alerts that are read in one turn of the loop: 10 ms."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many alerts of one rule and severity fire, on how many hosts, since when."""

    rule: str
    severity: Severity
    count: int
    hosts: int
    since: datetime


class Incidents:
    """Everything that the fold of alerts remembers."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    # -- incidents --------------------------------------------------------------------------------

    async def add(self, incident: Incident) -> Incident:
        """Add an incident (`id` is ignored) and return it numbered."""
        row = to_row(incident)
        del row["id"]
        number = await self._db.scalar(sa.insert(incidents).values(row).returning(incidents.c.id))
        assert number is not None
        return replace(incident, id=number)

    async def save(self, incident: Incident) -> None:
        row = to_row(incident)
        number = row.pop("id")
        await self._db.execute(sa.update(incidents).where(incidents.c.id == number).values(row))

    async def get(self, number: int) -> Incident | None:
        found = await self._incidents(incidents.c.id == number)
        return found[0] if found else None

    async def open_of(self, customer: int) -> Sequence[Incident]:
        """Return a customer's incidents that are not resolved, the newest first."""
        return await self._incidents(
            (incidents.c.customer == customer) & incidents.c.state.in_(UNRESOLVED)
        )

    async def unanswered(self) -> Sequence[Incident]:
        """Return everybody's open incidents that are not critical: about those people are called."""
        open_ = incidents.c.state == str(IncidentState.OPEN)
        return await self._incidents(_OF_ANYBODY & open_ & incidents.c.critical_at.is_(None))

    async def acked(self) -> Sequence[Incident]:
        """Return everybody's incidents that somebody has acknowledged and that have not ended."""
        return await self._incidents(_OF_ANYBODY & (incidents.c.state == str(IncidentState.ACKED)))

    async def open_since(self, customer: int, since: datetime) -> Sequence[Incident]:
        """Return a customer's incidents that were open at any time since then, newest first."""
        return await self._incidents(
            (incidents.c.customer == customer)
            & (
                (incidents.c.opened_at >= since)
                | (incidents.c.resolved_at >= since)
                | incidents.c.state.in_(UNRESOLVED)
            )
        )

    async def by_groups(
        self, customer: int, groups: Sequence[str], since: datetime
    ) -> dict[str, Incident]:
        """Return each group's newest incident that is open, or was resolved after `since`."""
        found: dict[str, Incident] = {}
        for part in parts(groups):
            there = await self._incidents(
                (incidents.c.customer == customer)
                & incidents.c.group.in_(part)
                & (incidents.c.state.in_(UNRESOLVED) | (incidents.c.resolved_at >= since))
            )
            for incident in there:
                found.setdefault(incident.group, incident)
        return found

    async def closed_early(self) -> Sequence[tuple[int, int, datetime]]:
        """Return the incidents that somebody closed while a critical of them fires on and is seen:
        the customer, the number, and when it was closed."""
        critical = alerts_known.c.severity == str(Severity.CRITICAL)
        # From the few that fire, and not from all incidents that ever ended.
        firing = sa.select(alerts_known.c.incident).where(ANYBODYS & critical & _SEEN)
        rows = await self._db.execute(
            sa.select(incidents.c.customer, incidents.c.id, incidents.c.resolved_at)
            .where(
                (incidents.c.state == str(IncidentState.RESOLVED))
                & incidents.c.resolved_by_id.is_not(None)
                & incidents.c.id.in_(firing)
            )
            .order_by(incidents.c.id)
        )
        return [(customer, number, at) for customer, number, at in rows]

    # -- alerts -----------------------------------------------------------------------------------

    async def known(
        self, customer: int, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], KnownAlert]:
        """Return what is known of alerts, by their source and fingerprint."""
        found: dict[tuple[str, str], KnownAlert] = {}
        by_source: dict[str, list[str]] = {}
        for source, fingerprint in names:
            by_source.setdefault(source, []).append(fingerprint)
        for source, fingerprints in by_source.items():
            for part in parts(fingerprints):
                where = (
                    (alerts_known.c.customer == customer)
                    & (alerts_known.c.source == source)
                    & alerts_known.c.fingerprint.in_(part)
                )
                for alert in await self._alerts(where):
                    found[source, alert.fingerprint] = alert
        return found

    async def put_alerts(self, new: Sequence[KnownAlert], changed: Sequence[KnownAlert]) -> None:
        """Keep alerts: `new` ones have no row yet, `changed` ones have. Two statements in all."""
        if new:
            await self._db.execute(sa.insert(alerts_known), [_row(alert) for alert in new])
        if changed:
            where = sa.and_(*(alerts_known.c[n] == sa.bindparam(f"this_{n}") for n in NAME))
            rows = [
                {f"this_{n}" if n in NAME else n: value for n, value in _row(alert).items()}
                for alert in changed
            ]
            await self._db.execute(sa.update(alerts_known).where(where), rows)

    async def alerts(self, incident: int) -> Sequence[KnownAlert]:
        """Return the alerts of an incident, the newest change first."""
        return await self._alerts(alerts_known.c.incident == incident)

    async def of_rule(
        self, customer: int, rule: str, since: datetime, limit: int
    ) -> Sequence[KnownAlert]:
        """Return a rule's alerts that have fired since then, the newest first."""
        here = (alerts_known.c.customer == customer) & (alerts_known.c.rule == rule)
        return await self._alerts(here & (alerts_known.c.since >= since), limit)

    async def firing(
        self, customer: int, limit: int, severity: Severity | None = None, *, hidden: bool = False
    ) -> Sequence[KnownAlert]:
        """Return what fires and is seen (or is hidden), the newest first."""
        where = _firing(customer) & (
            alerts_known.c.hidden != "" if hidden else alerts_known.c.hidden == ""
        )
        if severity:
            where &= alerts_known.c.severity == str(severity)
        return await self._alerts(where, limit)

    async def standing(self, numbers: Sequence[int]) -> dict[int, int]:
        """Return how many alerts of incidents fire and are seen; an incident none of whose alerts
        fires at all is not in it, one whose firing alerts are all hidden has 0."""
        seen = sa.func.sum(sa.case((alerts_known.c.hidden == "", 1), else_=0))
        found: dict[int, int] = {}
        for part in parts(numbers):
            rows = await self._db.execute(
                sa.select(alerts_known.c.incident, seen)
                .where(alerts_known.c.incident.in_(part) & alerts_known.c.firing)
                .group_by(alerts_known.c.incident)
            )
            found.update({number: int(count) for number, count in rows})
        return found

    async def loud(self, numbers: Sequence[int]) -> set[int]:
        """Return which of these incidents have a critical that fires and is seen."""
        return await self._critical(numbers, _SEEN)

    async def critical(self, numbers: Sequence[int]) -> set[int]:
        """Return which of these incidents have a critical at all: it may be over, or hidden."""
        return await self._critical(numbers, sa.true())

    async def _critical(self, numbers: Sequence[int], where: sa.ColumnElement[bool]) -> set[int]:
        found: set[int] = set()
        for part in parts(numbers):
            some = alerts_known.c.incident.in_(part)
            critical = alerts_known.c.severity == str(Severity.CRITICAL)
            found.update(
                await self._db.scalars(
                    sa.select(alerts_known.c.incident).where(some & critical & where).distinct()
                )
            )
        return found

    async def tallies(self, customer: int, since: datetime | None = None) -> Sequence[Tally]:
        """Count what fires and is seen by rule and severity, the most first; with `since`, all
        that has fired since then."""
        where = (
            _firing(customer) & (alerts_known.c.hidden == "")
            if since is None
            else (alerts_known.c.customer == customer) & (alerts_known.c.since >= since)
        )
        count = sa.func.count()
        rows = await self._db.execute(
            sa.select(
                alerts_known.c.rule,
                alerts_known.c.severity,
                count,
                sa.func.count(alerts_known.c.host.distinct()),
                sa.func.min(alerts_known.c.since),
            )
            .where(where)
            .group_by(alerts_known.c.rule, alerts_known.c.severity)
            .order_by(count.desc(), alerts_known.c.rule)
        )
        return [Tally(rule, Severity(s), n, hosts, at) for rule, s, n, hosts, at in rows]

    async def course(
        self, customer: int, marks: Sequence[datetime]
    ) -> Mapping[Severity, Sequence[int]]:
        """Count the alerts whose last episode began between each of these instants and the next,
        by severity. One statement, and a row for each severity."""
        since = alerts_known.c.since
        sums = [
            sa.func.sum(sa.case(((since >= begins) & (since < ends), 1), else_=0))
            for begins, ends in pairwise(marks)
        ]
        rows = await self._db.execute(
            sa.select(alerts_known.c.severity, *sums)
            .where(
                (alerts_known.c.customer == customer) & (since >= marks[0]) & (since < marks[-1])
            )
            .group_by(alerts_known.c.severity)
        )
        return {Severity(severity): [int(n) for n in counts] for severity, *counts in rows}

    async def top_hosts(self, customer: int, limit: int) -> Sequence[tuple[str, int]]:
        """Return the hosts on which the most alerts fire and are seen."""
        count = sa.func.count()
        rows = await self._db.execute(
            sa.select(alerts_known.c.host, count)
            .where(_firing(customer) & (alerts_known.c.hidden == "") & (alerts_known.c.host != ""))
            .group_by(alerts_known.c.host)
            .order_by(count.desc(), alerts_known.c.host)
            .limit(limit)
        )
        return [(host, number) for host, number in rows]

    async def hidden(self, customer: int) -> Sequence[tuple[str, Severity, int]]:
        """Count what fires and is hidden, by what hides it and severity."""
        count = sa.func.count()
        rows = await self._db.execute(
            sa.select(alerts_known.c.hidden, alerts_known.c.severity, count)
            .where(_firing(customer) & (alerts_known.c.hidden != ""))
            .group_by(alerts_known.c.hidden, alerts_known.c.severity)
            .order_by(count.desc(), alerts_known.c.hidden)
        )
        return [(why, Severity(severity), number) for why, severity, number in rows]

    async def hidden_by_rule(self, customer: int) -> dict[tuple[str, str], int]:
        """Count what fires and is hidden, by rule and what hides it."""
        rows = await self._db.execute(
            sa.select(alerts_known.c.rule, alerts_known.c.hidden, sa.func.count())
            .where(_firing(customer) & (alerts_known.c.hidden != ""))
            .group_by(alerts_known.c.rule, alerts_known.c.hidden)
        )
        return {(rule, why): number for rule, why, number in rows}

    async def hiding(self) -> Sequence[tuple[int, str, datetime]]:
        """Return the customers some of whose firing alerts are hidden, by what hides them, and
        since when the first of them fires."""
        rows = await self._db.execute(
            sa.select(
                alerts_known.c.customer, alerts_known.c.hidden, sa.func.min(alerts_known.c.since)
            )
            .where(ANYBODYS & alerts_known.c.firing & (alerts_known.c.hidden != ""))
            .group_by(alerts_known.c.customer, alerts_known.c.hidden)
        )
        return [(customer, why, since) for customer, why, since in rows]

    async def seen(self) -> set[int]:
        """Return the customers some of whose firing alerts are seen."""
        return set(
            await self._db.scalars(
                sa.select(alerts_known.c.customer).where(ANYBODYS & _SEEN).distinct()
            )
        )

    # -- storms -----------------------------------------------------------------------------------

    async def storm(self, customer: int) -> Storm:
        """Return a customer's storm; of one who never had any, the calm."""
        row = await self._db.execute(sa.select(storms).where(storms.c.customer == customer))
        found = row.mappings().first()
        return _storm(found) if found else Storm(customer)

    async def raging(self) -> Sequence[Storm]:
        """Return the storms that are not over."""
        rows = await self._db.execute(
            sa.select(storms).where(storms.c.phase != str(StormPhase.NORMAL))
        )
        return [_storm(row) for row in rows.mappings()]

    async def save_storm(self, storm: Storm) -> None:
        row = to_row(storm)
        row["recent"] = msgspec.json.encode(storm.recent).decode()
        changed = await self._db.execute(
            sa.update(storms).where(storms.c.customer == storm.customer).values(row)
        )
        if not changed.rowcount:
            await self._db.execute(sa.insert(storms).values(row))

    # -- how far ----------------------------------------------------------------------------------

    async def cursors(self) -> dict[int, int]:
        """Return the last folded post of each customer; of customer 0, that up to which all are."""
        rows = await self._db.execute(sa.select(alert_cursors.c.customer, alert_cursors.c.folded))
        return {customer: folded for customer, folded in rows}  # noqa: C416 - rows, not pairs

    async def move_cursor(self, customer: int, folded: int) -> None:
        """Say up to which post a customer's were folded (of 0: everybody's)."""
        changed = await self._db.execute(
            sa.update(alert_cursors)
            .where(alert_cursors.c.customer == customer)
            .values(folded=folded)
        )
        if not changed.rowcount:
            await self._db.execute(
                sa.insert(alert_cursors).values(customer=customer, folded=folded)
            )

    async def _incidents(self, where: sa.ColumnElement[bool]) -> list[Incident]:
        rows = await self._db.execute(
            sa.select(incidents).where(where).order_by(incidents.c.id.desc())
        )
        return [to_record(Incident, row) for row in rows.mappings()]

    async def _alerts(
        self, where: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[KnownAlert]:
        order = (alerts_known.c.since.desc(), alerts_known.c.fingerprint)
        rows = await self._db.execute(
            sa.select(alerts_known).where(where).order_by(*order).limit(limit)
        )
        found: list[KnownAlert] = []
        for row in rows.mappings():
            found.append(_alert(row))
            if not len(found) % BREATH:
                await asyncio.sleep(0)  # an incident may have thousands, and others have their turn
        return found


def _firing(customer: int) -> sa.ColumnElement[bool]:
    return (alerts_known.c.customer == customer) & alerts_known.c.firing


def _row(alert: KnownAlert) -> dict[str, Any]:
    row = to_row(alert)
    row["labels"] = msgspec.json.encode(alert.labels).decode()
    row["flips"] = msgspec.json.encode(alert.flips).decode()
    return row


def _alert(row: Mapping[Any, Any]) -> KnownAlert:
    return replace(
        to_record(KnownAlert, row),
        labels=msgspec.json.decode(row["labels"], type=dict[str, str]),
        flips=msgspec.json.decode(row["flips"], type=tuple[datetime, ...]),
    )


def _storm(row: Mapping[Any, Any]) -> Storm:
    recent = msgspec.json.decode(row["recent"], type=tuple[Inflow, ...])
    return replace(to_record(Storm, row), recent=recent)

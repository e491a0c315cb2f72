"""What fires for a customer, to be listed in full: light rows, filtered and in pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Severity
from storage.tables import alerts_known


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be listed; empty is all of it."""

    severity: Severity | None = None
    rule: str = ""
    """In the rule's name, wherever it stands there, in capitals or not."""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """One alert that fires."""

    severity: Severity
    rule: str
    host: str
    since: datetime
    title: str
    text: str
    hidden: str
    incident: int
    url: str


_RANK = sa.case({str(s): s.rank for s in Severity}, value=alerts_known.c.severity)


class Listing:
    """Lists what fires, hidden or not: the worst first, of those the newest."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def count(self, customer: int, wanted: Wanted = Wanted()) -> int:
        """Return how many there are."""
        where = _where(customer, wanted)
        found = await self._db.scalar(sa.select(sa.func.count()).where(where))
        return found or 0

    async def page(
        self,
        customer: int,
        limit: int,
        offset: int = 0,
        wanted: Wanted = Wanted(),
    ) -> Sequence[Listed]:
        """Return some of them."""
        of = alerts_known.c
        columns = (
            of.severity, of.rule, of.host, of.since, of.title, of.text, of.hidden, of.incident, of.url,
        )  # fmt: skip
        rows = await self._db.execute(
            sa.select(*columns)
            .where(_where(customer, wanted))
            .order_by(_RANK.desc(), of.since.desc(), of.source, of.fingerprint)
            .limit(limit)
            .offset(offset)
        )
        return [Listed(Severity(severity), *rest) for severity, *rest in rows]


def _where(customer: int, wanted: Wanted) -> sa.ColumnElement[bool]:
    of: Any = alerts_known.c
    where: sa.ColumnElement[bool] = (of.customer == customer) & of.firing
    if wanted.severity:
        where &= of.severity == str(wanted.severity)
    for column, text in ((of.rule, wanted.rule), (of.host, wanted.host)):
        if text:
            where &= column.icontains(text, autoescape=True)
    return where

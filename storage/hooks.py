"""The ways in for alerts: a secret address for each customer and source, and what came by it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Secret
from storage.rows import to_record, to_row
from storage.tables import alerts_seen, hooks


@dataclass(frozen=True, slots=True)
class SeenAlert:
    """One notice as it came. `key` is the source's name for it: a repeat has the same."""

    customer: int
    source: str
    key: str
    at: datetime
    """When it first came."""
    last_at: datetime
    """When it last came."""
    kind: str
    """first, continuous, recovery, test, text."""
    title: str
    message: str = ""
    host: str = ""
    severity: str = ""
    status: str = ""
    figure: float | None = None
    threshold: float | None = None
    fired_at: datetime | None = None
    """By the source's own clock."""


class Hooks:
    """Tokens are kept as SHA-256: they have 256 random bits, so no salt and no slow hash."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, customer: int, source: str, token: Secret, at: datetime) -> None:
        """Let a token in beside those that are there; the same one again changes nothing."""
        if await self.customer_of(source, token) == customer:
            return
        await self._db.execute(
            sa.insert(hooks).values(
                token_hash=hash_of(token), source=source, customer=customer, at=at
            )
        )

    async def keep_only(self, customer: int, source: str, token: Secret) -> int:
        """Shut out every other token of the customer and source; return how many that were."""
        gone = await self._db.execute(
            sa.delete(hooks).where(
                (hooks.c.customer == customer)
                & (hooks.c.source == source)
                & (hooks.c.token_hash != hash_of(token))
            )
        )
        return gone.rowcount

    async def customer_of(self, source: str, token: Secret) -> int | None:
        """Return whose token it is; None when it is nobody's, or for another source."""
        wanted = hash_of(token)
        row = (await self._db.execute(sa.select(hooks).where(hooks.c.token_hash == wanted))).first()
        if row is None or not hmac.compare_digest(row.token_hash, wanted) or row.source != source:
            return None
        return int(row.customer)

    async def of(self, customer: int) -> Sequence[tuple[str, datetime]]:
        """Return (source, since when) of each address of a customer's, the oldest first."""
        rows = await self._db.execute(
            sa.select(hooks.c.source, hooks.c.at)
            .where(hooks.c.customer == customer)
            .order_by(hooks.c.at, hooks.c.source)
        )
        return [(row.source, row.at) for row in rows]

    async def customers(self, source: str) -> Sequence[int]:
        """Return the customers that a source was ever given an address for."""
        rows = await self._db.scalars(
            sa.select(hooks.c.customer)
            .where(hooks.c.source == source)
            .distinct()
            .order_by(hooks.c.customer)
        )
        return list(rows)

    async def accept(self, alert: SeenAlert) -> bool:
        """Keep a notice; False when it had come before. The caller's unit is the writer."""
        again = await self._db.execute(
            sa.update(alerts_seen)
            .where(
                (alerts_seen.c.customer == alert.customer)
                & (alerts_seen.c.source == alert.source)
                & (alerts_seen.c.key == alert.key)
            )
            .values(last_at=alert.last_at)
        )
        if again.rowcount:
            return False
        await self._db.execute(sa.insert(alerts_seen).values(to_row(alert)))
        return True

    async def titled(self, customer: int, prefix: str) -> SeenAlert | None:
        """Return the first alert that came for a customer and whose title begins so."""
        return await self._first(
            (alerts_seen.c.customer == customer)
            & alerts_seen.c.title.startswith(prefix, autoescape=True)
        )

    async def tested(self, customer: int, source: str, since: datetime) -> bool:
        """Did a source's own test message come since then?"""
        found = await self._first(
            (alerts_seen.c.customer == customer)
            & (alerts_seen.c.source == source)
            & (alerts_seen.c.kind == "test")
            & (alerts_seen.c.last_at >= since)
        )
        return found is not None

    async def _first(self, where: sa.ColumnElement[bool]) -> SeenAlert | None:
        rows = await self._db.execute(
            sa.select(alerts_seen).where(where).order_by(alerts_seen.c.at, alerts_seen.c.key)
        )
        row = rows.mappings().first()
        return to_record(SeenAlert, row) if row else None


def hash_of(token: Secret) -> str:
    """Return what is kept of a token. A path may hold half a character: that is no token of ours."""
    return hashlib.sha256(token.reveal().encode(errors="replace")).hexdigest()

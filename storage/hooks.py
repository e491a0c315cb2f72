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

SHUT = "vigilbot.hooks.shut"
"""Set in a connection's notes by a transaction that shuts a way in: see `Store.shut`."""


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


@dataclass(frozen=True, slots=True)
class Address:
    """A way in as it stands. One that was exchanged goes on beside its successor for a while: until
    that one was told to somebody nobody could use it instead."""

    token_hash: str
    source: str
    customer: int
    at: datetime
    successor: str = ""
    """Hash of the token that it was exchanged for."""
    ends_at: datetime | None = None
    """Shut from then on; None while nobody was told its successor, or it has none."""
    used_at: datetime | None = None
    """When it was first used, of one that was exchanged for another."""


class Hooks:
    """Tokens are kept as SHA-256: they have 256 random bits, so no salt and no slow hash."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, customer: int, source: str, token: Secret, at: datetime) -> None:
        """Let a token in beside those that are there; the same one again changes nothing."""
        if await self.customer_of(source, token, at) == customer:
            return
        await self._db.execute(
            sa.insert(hooks).values(
                token_hash=hash_of(token), source=source, customer=customer, at=at
            )
        )

    async def keep_only(self, customer: int, source: str, token: Secret) -> int:
        """Shut out every other token of the customer and source; return how many that were."""
        return await self._shut(
            (hooks.c.customer == customer)
            & (hooks.c.source == source)
            & (hooks.c.token_hash != hash_of(token))
        )

    async def exchange(self, customer: int, source: str, token: Secret, at: datetime) -> None:
        """Add a token that takes the place of all others of the customer and source, once it is
        told; one that was never told is dropped for it."""
        there = [each for each in await self.of(customer) if each.source == source]
        untold = {each.successor for each in there if each.successor and each.ends_at is None}
        if untold:
            await self._shut(hooks.c.token_hash.in_(sorted(untold)))
        await self.add(customer, source, token, at)
        await self._db.execute(
            sa.update(hooks)
            .where(
                (hooks.c.customer == customer)
                & (hooks.c.source == source)
                & (hooks.c.token_hash != hash_of(token))
                & hooks.c.ends_at.is_(None)
            )
            .values(successor=hash_of(token))
        )

    async def told(self, token: Secret, ends_at: datetime) -> None:
        """Let those that a token was exchanged for go on until then: somebody knows it now."""
        await self._end(hash_of(token), ends_at)

    async def used(self, address: Address, at: datetime, ends_at: datetime) -> None:
        """Note that a token is in use: those that it was exchanged for end then at the latest."""
        await self._db.execute(
            sa.update(hooks).where(hooks.c.token_hash == address.token_hash).values(used_at=at)
        )
        await self._end(address.token_hash, ends_at)

    async def _end(self, successor: str, ends_at: datetime) -> None:
        await self._db.execute(
            sa.update(hooks)
            .where(
                (hooks.c.successor == successor)
                & (hooks.c.ends_at.is_(None) | (hooks.c.ends_at > ends_at))
            )
            .values(ends_at=ends_at)
        )

    async def revoke_old(self, customer: int, source: str) -> int:
        """Shut those that were exchanged, at once; return how many that were."""
        return await self._shut(
            (hooks.c.customer == customer) & (hooks.c.source == source) & (hooks.c.successor != "")
        )

    async def revoke(self, customer: int, source: str) -> int:
        """Shut all of the customer and source at once; return how many that were."""
        return await self._shut((hooks.c.customer == customer) & (hooks.c.source == source))

    async def forget(self, now: datetime) -> int:
        """Forget those whose time is over; return how many that were."""
        return await self._shut(hooks.c.ends_at <= now)

    async def _shut(self, where: sa.ColumnElement[bool]) -> int:
        gone = await self._db.execute(sa.delete(hooks).where(where))
        if gone.rowcount:
            self._db.info[SHUT] = True
        return gone.rowcount

    async def customer_of(self, source: str, token: Secret, at: datetime) -> int | None:
        """Return whose token it is; None when it is nobody's, shut, or for another source."""
        found = await self.find(source, token, at)
        return found.customer if found else None

    async def find(self, source: str, token: Secret, at: datetime) -> Address | None:
        """Return the way in that a token opens at an instant; None when it opens none."""
        wanted = hash_of(token)
        rows = await self._db.execute(sa.select(hooks).where(hooks.c.token_hash == wanted))
        row = rows.mappings().first()
        found = to_record(Address, row) if row else None
        if found is None or not hmac.compare_digest(found.token_hash, wanted):
            return None
        shut = found.ends_at is not None and found.ends_at <= at
        return None if shut or found.source != source else found

    async def replaces(self, address: Address) -> bool:
        """Is there one that this was exchanged for, and that is still open?"""
        found = await self._db.scalar(
            sa.select(hooks.c.token_hash).where(hooks.c.successor == address.token_hash).limit(1)
        )
        return found is not None

    async def of(self, customer: int) -> Sequence[Address]:
        """Return the addresses of a customer's, the oldest first."""
        rows = await self._db.execute(
            sa.select(hooks)
            .where(hooks.c.customer == customer)
            .order_by(hooks.c.at, hooks.c.source)
        )
        return [to_record(Address, row) for row in rows.mappings()]

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

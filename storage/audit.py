"""The audit trail: a hash chain that can be checked without the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import AuditEntry
from storage.tables import audit

GENESIS = "0" * 64

PART = 250
"""Entries that are checked in one breath, about 20 ms: years of them take seconds, in which others on
the loop want their turns."""


def chained(
    before: str, number: int, at: datetime, actor: str, deed: str, detail: Mapping[str, str]
) -> str:
    """Return the SHA-256 (hex) of an entry and of the hash before it."""
    body = json.dumps(
        [before, number, at.isoformat(), actor, deed, dict(detail)],
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(body.encode()).hexdigest()


def first_break(entries: Iterable[AuditEntry], before: str = GENESIS, after: int = 0) -> int | None:
    """Return the id of the first entry that does not follow from those before it, or None. These are
    the entries behind `after`, whose hash is `before`."""
    for number, entry in enumerate(entries, start=after + 1):
        expected = chained(before, number, entry.at, entry.actor, entry.deed, entry.detail)
        if entry.id != number or entry.hash != expected:
            return entry.id
        before = entry.hash
    return None


class Audit:
    """Who did what; entries are only ever added."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(
        self, at: datetime, actor: str, deed: str, detail: Mapping[str, str]
    ) -> AuditEntry:
        """Add an entry behind the last; the caller's transaction is the only writer."""
        last = (
            await self._db.execute(
                sa.select(audit.c.id, audit.c.hash).order_by(audit.c.id.desc()).limit(1)
            )
        ).first()
        number, before = (last.id + 1, last.hash) if last else (1, GENESIS)
        entry = AuditEntry(
            number, at, actor, deed, detail, chained(before, number, at, actor, deed, detail)
        )
        await self._db.execute(
            sa.insert(audit).values(
                id=entry.id,
                at=at,
                actor=actor,
                deed=deed,
                detail=json.dumps(dict(detail), ensure_ascii=False),
                hash=entry.hash,
            )
        )
        return entry

    async def entries(self) -> tuple[AuditEntry, ...]:
        """Return the whole chain, oldest first."""
        return await self._entries(sa.select(audit).order_by(audit.c.id))

    async def latest(self, count: int) -> tuple[AuditEntry, ...]:
        """Return the entries that were added last, the newest first."""
        return await self._entries(sa.select(audit).order_by(audit.c.id.desc()).limit(count))

    async def broken(self, part: int = PART) -> int | None:
        """Return what `first_break` says of the whole chain, read in parts."""
        before, last = GENESIS, 0
        following = sa.select(audit).order_by(audit.c.id).limit(part)
        while entries := await self._entries(following.where(audit.c.id > last)):
            found = first_break(entries, before, last)
            if found is not None:
                return found
            before, last = entries[-1].hash, entries[-1].id
        return None

    async def _entries(self, which: sa.Select[Any]) -> tuple[AuditEntry, ...]:
        rows = await self._db.execute(which)
        return tuple(
            AuditEntry(r.id, r.at, r.actor, r.deed, json.loads(r.detail), r.hash) for r in rows
        )

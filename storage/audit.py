"""The audit trail: a hash chain that can be checked without the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import AuditEntry
from storage.tables import audit

GENESIS = "0" * 64


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


def first_break(entries: Iterable[AuditEntry]) -> int | None:
    """Return the id of the first entry that does not follow from those before it, or None."""
    before = GENESIS
    for number, entry in enumerate(entries, start=1):
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
        rows = await self._db.execute(sa.select(audit).order_by(audit.c.id))
        return tuple(
            AuditEntry(r.id, r.at, r.actor, r.deed, json.loads(r.detail), r.hash) for r in rows
        )

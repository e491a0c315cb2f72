"""Whether an address is ours: what a monitor asked, kept until it was answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.rows import to_record, to_row
from storage.tables import questions


@dataclass(frozen=True, slots=True)
class Question:
    """One question as it was posted."""

    key: str
    """The same for the same question that is asked again."""
    customer: int
    source: str
    body: bytes
    at: datetime
    due: datetime
    """When it is answered, or tried once more."""
    tries: int = 0


class Questions:
    """What waits for an answer."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, question: Question, most: int) -> bool:
        """Keep a question, once; False when so many of the customer's wait already."""
        theirs = questions.c.customer == question.customer
        known = await self._db.scalars(sa.select(questions.c.key).where(theirs))
        keys = set(known)
        if question.key in keys:
            return True
        if len(keys) >= most:
            return False
        await self._db.execute(sa.insert(questions).values(to_row(question)))
        return True

    async def due(self, now: datetime) -> Sequence[Question]:
        """Return what is to be answered, the longest due first."""
        rows = await self._db.execute(
            sa.select(questions)
            .where(questions.c.due <= now)
            .order_by(questions.c.due, questions.c.key)
        )
        return [to_record(Question, row) for row in rows.mappings()]

    async def save(self, question: Question) -> None:
        """Keep when it is tried again."""
        row = to_row(question)
        key = row.pop("key")
        await self._db.execute(sa.update(questions).where(questions.c.key == key).values(row))

    async def drop(self, key: str) -> bool:
        """Forget a question; False when somebody else has answered it."""
        gone = await self._db.execute(sa.delete(questions).where(questions.c.key == key))
        return gone.rowcount > 0

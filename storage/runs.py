"""Runs, what became of their lines, and the ledger of deeds that must not happen twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import Effect, EffectState, HostLine, Line, Run, RunStatus
from storage.rows import to_record, to_row
from storage.tables import effects, host_lines, lines, runs

OPEN = (RunStatus.WALKING, RunStatus.WAITING, RunStatus.STUCK)


class Runs:
    """Every walk through a book."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, run: Run) -> None:
        await self._db.execute(sa.insert(runs).values(to_row(run)))

    async def get(self, number: str) -> Run | None:
        row = (await self._db.execute(sa.select(runs).where(runs.c.id == number))).mappings()
        found = row.first()
        return to_record(Run, found) if found else None

    async def advance(self, seen: Run, new: Run) -> bool:
        """Put `new` in the place of `seen`, if the row still has the attempt, status and line
        that `seen` has; False when somebody was faster.

        So a replayed segment or a second press can never overwrite what happened since.
        """
        row = to_row(new)
        del row["id"]
        changed = await self._db.execute(
            sa.update(runs)
            .where(
                (runs.c.id == seen.id)
                & (runs.c.attempt == seen.attempt)
                & (runs.c.status == str(seen.status))
                & (runs.c.line == seen.line)
            )
            .values(row)
        )
        return changed.rowcount == 1

    async def walking(self) -> Sequence[Run]:
        """Return the runs that somebody should be walking."""
        return await self._where(runs.c.status == str(RunStatus.WALKING))

    async def due(self, now: datetime) -> Sequence[Run]:
        """Return the waiting runs whose deadline has come."""
        return await self._where(
            (runs.c.status == str(RunStatus.WAITING)) & (runs.c.deadline <= now)
        )

    async def of(self, customer: int, book: str = "") -> Sequence[Run]:
        """Return a customer's runs, newest first."""
        where = runs.c.customer == customer
        if book:
            where &= runs.c.book == book
        return await self._where(where)

    async def open(self) -> Sequence[Run]:
        """Return every run that has not ended."""
        return await self._where(runs.c.status.in_([str(s) for s in OPEN]))

    async def tally(self) -> dict[RunStatus, int]:
        """Count the runs by their status."""
        rows = await self._db.execute(
            sa.select(runs.c.status, sa.func.count()).group_by(runs.c.status)
        )
        return dict.fromkeys(RunStatus, 0) | {RunStatus(s): n for s, n in rows}

    async def _where(self, where: sa.ColumnElement[bool]) -> Sequence[Run]:
        rows = await self._db.execute(
            sa.select(runs).where(where).order_by(runs.c.started_at.desc(), runs.c.id)
        )
        return [to_record(Run, r) for r in rows.mappings()]


class Lines:
    """What became of each line, and of each host in a line that fans out."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, line: Line) -> None:
        """Say how a line stands, in place of how it stood."""
        await self._db.execute(
            sa.delete(lines).where((lines.c.run == line.run) & (lines.c.key == line.key))
        )
        await self._db.execute(sa.insert(lines).values(to_row(line)))

    async def of(self, run: str) -> dict[str, Line]:
        rows = await self._db.execute(sa.select(lines).where(lines.c.run == run))
        found = [to_record(Line, r) for r in rows.mappings()]
        return {line.key: line for line in found}

    async def reopen(self, run: str, keys: Sequence[str]) -> None:
        """Forget how these lines ended, hosts included: they are to be walked again."""
        for table in (lines, host_lines):
            await self._db.execute(
                sa.delete(table).where((table.c.run == run) & table.c.key.in_(keys))
            )

    async def put_host(self, line: HostLine) -> None:
        """Say how a host stands in a line, in place of how it stood."""
        await self.put_hosts([line])

    async def put_hosts(self, found: Sequence[HostLine]) -> None:
        """Say how hosts of one line stand: two statements, however many they are."""
        first = found[0]
        await self._db.execute(
            sa.delete(host_lines).where(
                (host_lines.c.run == first.run)
                & (host_lines.c.key == first.key)
                & host_lines.c.subject.in_([line.subject for line in found])
            )
        )
        await self._db.execute(sa.insert(host_lines), [to_row(line) for line in found])

    async def hosts(self, run: str, key: str) -> dict[str, HostLine]:
        """Return how each host stands in a line, by its name."""
        rows = await self._db.execute(
            sa.select(host_lines)
            .where((host_lines.c.run == run) & (host_lines.c.key == key))
            .order_by(host_lines.c.subject)
        )
        found = [to_record(HostLine, r) for r in rows.mappings()]
        return {line.subject: line for line in found}


class Effects:
    """The ledger: BEGUN is committed before a deed, DONE after it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def get(self, key: str) -> Effect | None:
        row = (await self._db.execute(sa.select(effects).where(effects.c.key == key))).mappings()
        found = row.first()
        return to_record(Effect, found) if found else None

    async def begin(self, key: str, run: str, line: str, at: datetime) -> Effect:
        """Write the intent; the row that is already there is returned as it stands."""
        known = await self.get(key)
        if known:
            return known
        effect = Effect(key, run, line, EffectState.BEGUN, "", at)
        await self._db.execute(sa.insert(effects).values(to_row(effect)))
        return effect

    async def done(self, effect: Effect, result: str, at: datetime) -> Effect:
        """Write the outcome (JSON)."""
        new = replace(effect, state=EffectState.DONE, result=result, at=at, asked=False)
        await self._put(new)
        return new

    async def ask(self, effect: Effect) -> None:
        """Note that a person is asked, because the world could not tell."""
        await self._put(replace(effect, asked=True))

    async def forget(self, key: str) -> None:
        """A person or the world says that the deed was not done: it may be begun again."""
        await self._db.execute(sa.delete(effects).where(effects.c.key == key))

    async def in_doubt(self, run: str) -> Sequence[Effect]:
        """Return what was begun and not finished."""
        rows = await self._db.execute(
            sa.select(effects)
            .where((effects.c.run == run) & (effects.c.state == str(EffectState.BEGUN)))
            .order_by(effects.c.key)
        )
        return [to_record(Effect, r) for r in rows.mappings()]

    async def _put(self, effect: Effect) -> None:
        row = to_row(effect)
        del row["key"]
        await self._db.execute(sa.update(effects).where(effects.c.key == effect.key).values(row))

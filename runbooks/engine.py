"""Makes sure that somebody walks every run that should be walking. DBOS is named here alone.

DBOS runs segments, from the present line to the next gate, under the workflow id
`run:{id}:{attempt}`. Nothing waits inside it for a person, and a segment has no DBOS steps: when
it is recovered it starts again from the run's row, and the effects ledger is its journal.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self
from weakref import WeakValueDictionary

from dbos import DBOS, DBOSConfig, SetWorkflowID

from runbooks import walk as walking
from runbooks.kit import Kit
from storage.records import Run, RunStatus

VERSION = "1"
"""Pinned: DBOS would otherwise strand running segments at every change of a workflow's source."""

POISONED = 3
"""Segments that died at one line before a person is asked."""

PATIENCE = 5.0
"""Seconds that a walk has to end when the program ends: what it undoes is short."""

ENDED = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})

_live: dict[str, Engine] = {}
_log = logging.getLogger("dbos")


@DBOS.workflow(name="segment", max_recovery_attempts=None)
async def _segment(engine: str, run: str) -> None:
    await _live[engine].walk(run)


class Engine:
    """The durable walker. Enter it after the kit is whole; leaving it ends what it runs.

    There is one in a process, because DBOS is a global of its library.
    """

    def __init__(
        self, books: walking.Books, kit: Kit, journal: Any, *, executor: str = "vigilbot-1"
    ) -> None:
        """`journal` is the engine's database; `executor` is stable per replica."""
        self._books = books
        self._kit = kit
        self._executor = executor
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._walks: set[asyncio.Task[Any]] = set()
        self._config = DBOSConfig(
            name="vigilbot",
            system_database_engine=journal,
            application_version=VERSION,
            executor_id=executor,
            max_executor_threads=8,
            log_level="WARNING",
            notification_listener_polling_interval_sec=1.0,
        )

    async def __aenter__(self) -> Self:
        # Registered before the launch: recovery may call a segment at once.
        _live[self._executor] = self
        if not _log.handlers and logging.lastResort:
            # DBOS' own handler keeps the stderr of its first day; this one asks for it each time.
            _log.addHandler(logging.lastResort)
            _log.propagate = False
        DBOS(config=self._config)
        # Migrations and recovery block; workflows must nevertheless run on this loop.
        DBOS.launch()
        await self.sweep()
        return self

    async def __aexit__(self, *exc: object) -> None:
        # DBOS leaves them to the loop, where they would go on with a database that is closed. Its
        # journal has them as begun, and so they are begun again.
        for walk in self._walks:
            walk.cancel()
        if self._walks:
            await asyncio.wait(self._walks, timeout=PATIENCE)
        await asyncio.to_thread(DBOS.destroy)
        # It had put its own pool there, and has shut it: whatever is closed after us may want one.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        del _live[self._executor]

    @property
    def running(self) -> bool:
        """Is this the engine that walks in this process?"""
        return _live.get(self._executor) is self

    async def walk(self, number: str) -> None:
        """Walk one segment, in this process; a run has one walker at a time."""
        task = asyncio.current_task()
        assert task is not None
        turn = self._turns.setdefault(number, asyncio.Lock())
        self._walks.add(task)
        try:
            async with turn:
                await walking.walk(self._books, number, self._kit)
        finally:
            self._walks.discard(task)

    async def go(self, run: Run) -> None:
        """Start the segment of a run that was just set walking; a second call does nothing.

        Call it after the commit. Should the process die in between, the sweep finds the run.
        """
        with SetWorkflowID(_workflow(run)):
            await DBOS.start_workflow_async(_segment, self._executor, run.id)

    async def sweep(self) -> int:
        """Start what should be walking and is not; return how many segments were started.

        A segment that ended while its run was still walking has died: the next attempt is
        counted in the row, and after `POISONED` of them a person is asked on the card.
        """
        async with self._kit.store.view() as unit:
            runs = await unit.runs.walking()
        begun = 0
        for run in runs:
            # A segment keeps the name of the attempt that began it, and counts on with each line.
            if (turn := self._turns.get(run.id)) and turn.locked():
                continue
            status = await DBOS.get_workflow_status_async(_workflow(run))
            if status is None:
                await self.go(run)
                begun += 1
            elif status.status in ENDED:
                begun += await self._again(run)
        return begun

    async def _again(self, run: Run) -> bool:
        poisoned = run.failures + 1 >= POISONED
        new = replace(
            run,
            attempt=run.attempt + 1,
            failures=run.failures + 1,
            status=RunStatus.STUCK if poisoned else RunStatus.WALKING,
            note="这一步多次异常中断，请查看日志后重试或跳过" if poisoned else run.note,
            updated_at=self._kit.clock.now(),
        )
        async with self._kit.store.unit() as unit:
            if not await unit.runs.advance(run, new):
                return False
            await walking.mark(new, unit)
        if poisoned:
            return False
        await self.go(new)
        return True


def _workflow(run: Run) -> str:
    return f"run:{run.id}:{run.attempt}"

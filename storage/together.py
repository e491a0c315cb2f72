"""Commits that many share: who comes while one is on its way goes with the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Transaction = TypeVar("Transaction")


class _Round(Generic[Transaction]):
    """The changes that go into one transaction, and what became of each."""

    def __init__(self) -> None:
        self.changes: list[Callable[[Transaction], Awaitable[Any]]] = []
        self.ended: list[asyncio.Future[Any]] = []
        self.commit: asyncio.Task[None]


class Together(Generic[Transaction]):
    """Does many callers' changes in few transactions."""

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[Transaction]]) -> None:
        """`begin` gives a transaction that commits when its block ends well."""
        self._begin = begin
        self._next: _Round[Transaction] | None = None
        self._commits: set[asyncio.Task[None]] = set()

    async def write(self, change: Callable[[Transaction], Awaitable[T]]) -> T:
        """Return what `change` returned, once it is committed.

        Raises what it raised: it must then have left the transaction fit for the others. Raises
        what the commit raised, to everybody who shared it.
        """
        going = self._next or self._open()
        place = len(going.changes)
        going.changes.append(change)
        # A caller who is cancelled must not take the others' commit with him.
        await asyncio.shield(going.commit)
        result: T = going.ended[place].result()
        return result

    async def settle(self) -> None:
        """Wait for the commits that are on their way, also those that nobody waits for any more."""
        if self._commits:
            await asyncio.wait(self._commits)

    def _open(self) -> _Round[Transaction]:
        going = self._next = _Round()
        going.commit = asyncio.create_task(self._commit(going))
        self._commits.add(going.commit)
        going.commit.add_done_callback(self._commits.discard)
        return going

    async def _commit(self, going: _Round[Transaction]) -> None:
        try:
            async with self._begin() as transaction:
                # Only now, when it is our turn to write: until then others may come along.
                self._next = None
                for change in going.changes:
                    ended = asyncio.ensure_future(change(transaction))
                    await asyncio.wait({ended})
                    going.ended.append(ended)
        finally:
            if self._next is going:
                self._next = None

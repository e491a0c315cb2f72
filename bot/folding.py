"""Takes what the intake has kept to the fold, customer by customer, so that none waits for another.

The last folded post is remembered in the transaction of what it caused; a crash between the two
files is harmless, and a second replica finds nothing left to do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from adapters.port import UsageError
from adapters.sources import Source
from adapters.words import Severity
from runbooks.alerting.pipeline import Post, fold
from runbooks.kit import Kit
from storage.records import Accepted

SLICE = 1000
"""Alerts of one customer that are folded before it is another's turn."""

PAGE = 200
"""Posts that are read at once."""

FEW = 20
"""New criticals of one page that are folded before their turn: of more, the first are told anyway."""

ROOM = 32 * 2**20
"""Bytes of posts that wait here; the rest waits where it was accepted."""

PATIENCE = 1.0
"""Seconds without news after which we look nevertheless: another process may have accepted."""

ALL = 0
"""The customer number of the cursor up to which everybody's posts are folded."""

TRIM = 1000
"""Posts after which the folded ones are thrown away."""

log = structlog.get_logger()


class Posts(Protocol):
    """The intake, as the fold needs it."""

    news: asyncio.Event

    async def after(self, id: int, limit: int) -> Sequence[Accepted]:  # noqa: A002 - the intake's word
        """Return the posts that were accepted after this one, the oldest first."""
        ...

    def go_on_after(self, id: int) -> None:  # noqa: A002 - the intake's word
        """Give no post a number up to this one."""
        ...

    async def trim(self, id: int) -> None:  # noqa: A002 - the intake's word
        """Throw away the posts up to this one."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A post that was read and has yet to be folded; one that could not be read has None."""

    id: int
    size: int
    post: Post | None

    @property
    def alerts(self) -> int:
        return len(self.post.alerts) if self.post else 0

    def criticals(self) -> Post | None:
        """Return the criticals that it says fire; None when there are none."""
        if self.post is None:
            return None
        found = tuple(a for a in self.post.alerts if a.firing and a.severity is Severity.CRITICAL)
        return Post(self.post.source, self.post.at, found) if found else None

    def names(self, source: str, fingerprints: frozenset[str]) -> bool:
        """Does it say anything of one of these alerts?"""
        post = self.post
        return (
            post is not None
            and post.source == source
            and any(alert.fingerprint in fingerprints for alert in post.alerts)
        )


class Folding:
    """The one who folds. `sources` say how a post is read, by the name that it came in under."""

    def __init__(self, kit: Kit, posts: Posts, sources: Mapping[str, Source]) -> None:
        self._kit = kit
        self._posts = posts
        self._sources = sources
        self._waiting: dict[int, deque[_Waiting]] = {}
        self._bytes = 0
        self._read = 0
        self._trimmed = 0
        self._folded: dict[int, int] = {}

    async def run(self) -> None:
        """Fold for ever."""
        await self.resume()
        while True:
            self._posts.news.clear()
            if await self.round():
                continue
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._posts.news.wait()
            except TimeoutError:
                continue

    async def resume(self) -> None:
        """Go on where the last process ended."""
        async with self._kit.store.view() as unit:
            self._folded = await unit.incidents.cursors()
        self._read = self._trimmed = self._folded.get(ALL, 0)
        # A log that was lost would count from 1 again, and what it holds would be taken for folded.
        self._posts.go_on_after(max(self._folded.values(), default=0))

    async def round(self) -> int:
        """Fold one slice of each customer who has any; return how many posts were folded."""
        done = 0
        await self._fill()
        for customer in list(self._waiting):
            done += await self._slice(customer)
            await self._fill()
        if self._done() - self._trimmed >= TRIM:
            self._trimmed = self._done()
            await self._posts.trim(self._trimmed)
        return done

    async def _fill(self) -> None:
        """Read what was accepted, as far as there is room, and tell new criticals at once."""
        while self._bytes < ROOM:
            page = await self._posts.after(self._read, PAGE)
            early: list[tuple[int, Post]] = []
            for accepted in page:
                self._read = accepted.id
                if accepted.id > self._folded.get(accepted.customer, 0):
                    early += self._queue(accepted)
            if early and sum(len(post.alerts) for _, post in early) <= FEW:
                await self._fold_early(early)
            if len(page) < PAGE:
                return
            await asyncio.sleep(0)  # what else there is to do must not wait for all of them

    def _queue(self, accepted: Accepted) -> list[tuple[int, Post]]:
        """Put a post behind those of its customer; return its criticals, if they would wait there
        and nothing that is said of them would be overtaken."""
        read = _Waiting(accepted.id, len(accepted.body), self._decoded(accepted))
        waiting = self._waiting.setdefault(accepted.customer, deque())
        criticals = read.criticals() if waiting else None
        names = frozenset(a.fingerprint for a in criticals.alerts) if criticals else frozenset()
        overtaken = any(each.names(accepted.source, names) for each in waiting if names)
        waiting.append(read)
        self._bytes += read.size
        return [(accepted.customer, criticals)] if criticals and not overtaken else []

    async def _fold_early(self, early: Sequence[tuple[int, Post]]) -> None:
        """Fold criticals before their turn. When that comes they are a repeat, which changes
        nothing; so the cursors stay where they are."""
        now = self._kit.clock.now()
        for number in {customer for customer, _ in early}:
            async with self._kit.store.unit() as unit:
                if customer := await unit.customers.get(number):
                    posts = [post for owner, post in early if owner == number]
                    await fold(customer, posts, now, self._kit.house, unit)

    async def _slice(self, customer: int) -> int:
        """Fold some posts of one customer, in one transaction with its cursor."""
        waiting = self._waiting[customer]
        taken: list[_Waiting] = []
        alerts = 0
        while waiting and alerts < SLICE:
            taken.append(waiting.popleft())
            alerts += taken[-1].alerts
        if not waiting:
            del self._waiting[customer]
        last, now = taken[-1].id, self._kit.clock.now()
        async with self._kit.store.unit() as unit:
            # Another replica may have folded some of them since they were read.
            folded = (await unit.incidents.cursors()).get(customer, 0)
            new = [each.post for each in taken if each.post and each.id > folded]
            found = await unit.customers.get(customer)
            if new and found:
                await fold(found, new, now, self._kit.house, unit)
            await unit.incidents.move_cursor(customer, max(last, folded))
            await unit.incidents.move_cursor(ALL, self._done())
        self._folded[customer] = last
        self._bytes -= sum(each.size for each in taken)
        return len(taken)

    def _decoded(self, accepted: Accepted) -> Post | None:
        source = self._sources.get(accepted.source)
        if source is None:
            log.warning("post of an unknown source", id=accepted.id, source=accepted.source)
            return None
        try:
            alerts = source.decode(accepted.body, accepted.at)
        except UsageError as error:
            # It was readable when it was accepted: a newer program reads it otherwise.
            log.warning("post not readable", id=accepted.id, reason=str(error))
            return None
        return Post(accepted.source, accepted.at, tuple(alerts))

    def _done(self) -> int:
        """Return up to which post everything is folded."""
        heads = [waiting[0].id for waiting in self._waiting.values()]
        return min(heads) - 1 if heads else self._read

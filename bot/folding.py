"""Takes what the intake has kept to the fold, customer by customer, so that none waits for another.

The last folded post is remembered in the transaction of what it caused; a crash between the two
files is harmless, and a second replica finds nothing left to do.

A post that cannot be folded, by itself either, is set aside with all it said, and the next ones go on:
one customer's must keep nobody, and nothing that was accepted is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from adapters.card import Tone, say
from adapters.port import UsageError
from adapters.sources import Source, heartbeat
from adapters.sources.cut import Cut
from adapters.words import Severity
from runbooks.alerting import quiet
from runbooks.alerting.oncall import ladder
from runbooks.alerting.pipeline import Post, fold
from runbooks.kit import Kit
from storage.records import Accepted
from storage.store import DatabaseAway, Unit

SLICE = 1000
"""Alerts of one customer that are folded before it is another's turn."""

PAGE = 200
"""Posts that are read at once."""

FEW = 20
"""New criticals of one customer that are folded before their turn at once: the first of more."""

BREATH = 128 * 1024
"""Bytes of posts that are decoded before others have their turn: a few milliseconds."""

ROOM = 32 * 2**20
"""Bytes of posts that wait here; the rest waits where it was accepted."""

PATIENCE = 1.0
"""Seconds without news after which we look nevertheless: another process may have accepted."""

ALL = 0
"""The customer number of the cursor up to which everybody's posts are folded."""

TRIM = 1000
"""Posts after which the folded ones are thrown away."""

BAD = 8
"""Alerts of one post that cannot be folded, after which the rest of it is not tried one by one."""

SHORT = 120
"""Characters of a reason."""

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
class _Unreadable:
    """A post that could not be read, and why."""

    accepted: Accepted
    reason: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A post that was accepted and has yet to be folded."""

    id: int
    size: int
    read: Post | _Unreadable

    @property
    def post(self) -> Post | None:
        """Return what it said; None when it could not be read."""
        return self.read if isinstance(self.read, Post) else None

    @property
    def alerts(self) -> int:
        return len(self.post.alerts) if self.post else 0

    def criticals(self) -> Post | None:
        """Return the criticals that it says fire; None when there are none."""
        if self.post is None:
            return None
        found = tuple(a for a in self.post.alerts if a.firing and a.severity is Severity.CRITICAL)
        return replace(self.post, alerts=found, early=True) if found else None

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
            told, size = 0, 0
            for accepted in page:
                self._read = accepted.id
                if accepted.id > self._folded.get(accepted.customer, 0):
                    early += self._queue(accepted)
                size += len(accepted.body)
                if size > BREATH:
                    size = 0
                    if not told:  # the first does not wait until all of the page is read
                        told = await self._fold_early(early)
                    await asyncio.sleep(0)  # who posts just now is answered meanwhile
            if told < len(early) and self._behind() > 1:
                await self._fold_early(early[told:])
            if not page:
                return
            await asyncio.sleep(0)  # what else there is to do must not wait for all of them

    def _queue(self, accepted: Accepted) -> list[tuple[int, Post]]:
        """Put a post behind those of its customer; return its criticals, if nothing that is said of
        them would be overtaken."""
        read = _Waiting(accepted.id, len(accepted.body), self._decoded(accepted))
        criticals = read.criticals()
        waiting = self._waiting.setdefault(accepted.customer, deque())
        names = frozenset(a.fingerprint for a in criticals.alerts) if criticals else frozenset()
        overtaken = any(each.names(accepted.source, names) for each in waiting if names)
        waiting.append(read)
        self._bytes += read.size
        return [(accepted.customer, criticals)] if criticals and not overtaken else []

    async def _fold_early(self, early: Sequence[tuple[int, Post]]) -> int:
        """Fold the first criticals of each customer before their turn; return how many posts of any
        were given.

        When their turn comes they are a repeat, which changes nothing; so the cursors stay where
        they are.
        """
        by_owner: dict[int, list[Post]] = {}
        for owner, post in early:
            by_owner.setdefault(owner, []).append(post)
        # Who has one does not wait for those who have many.
        for number, posts in sorted(by_owner.items(), key=lambda each: _count(each[1])):
            try:
                await self._fold_only(number, _first(posts, FEW))
            except DatabaseAway:
                raise
            except Exception:
                # Their turn comes, and then it is found out which of them it is.
                log.exception("criticals not told before their turn", customer=number)
        return len(early)

    async def _fold_only(self, number: int, posts: Sequence[Post]) -> None:
        now = self._kit.clock.now()
        async with self._kit.store.unit() as unit:
            if customer := await unit.customers.get(number):
                await fold(customer, posts, now, self._kit.house, unit)

    async def _slice(self, customer: int) -> int:
        """Fold some posts of one customer; where that fails each of them by itself, and what fails
        again is set aside."""
        taken: list[_Waiting] = []
        alerts = 0
        while customer in self._waiting and alerts < SLICE:
            taken.append(self._next(customer))
            alerts += taken[-1].alerts
        try:
            await self._fold(customer, taken)
        except Exception:
            log.exception("posts not folded together", customer=customer, first=taken[0].id)
            # Back in their place: what is not folded must be before the cursor of all.
            self._waiting.setdefault(customer, deque()).extendleft(reversed(taken))
            for _ in taken:
                await self._alone(customer)
        return len(taken)

    async def _alone(self, customer: int) -> None:
        """Fold a customer's next post, or else set it aside."""
        one = self._next(customer)
        try:
            await self._fold(customer, [one])
        except DatabaseAway:
            raise  # no post is at fault: whoever starts us again finds it where it was
        except Exception as error:
            log.exception("post not folded", id=one.id, customer=customer)
            kept = await self._posts.after(one.id - 1, 1)
            if not kept or kept[0].id != one.id:  # another replica has folded it, and it is trimmed
                log.warning("post is folded elsewhere", id=one.id)
                return
            if one.post:
                await self._fold_parts(customer, one.post)
            why = f"{type(error).__name__}: {error}".split("\n", 1)[0][:SHORT]
            await self._fold(customer, [replace(one, read=_Unreadable(kept[0], why))])

    async def _fold_parts(self, customer: int, post: Post) -> None:
        """Fold the alerts of a post that can be folded: it may be one of hundreds that cannot. They
        are repeats when the post is folded again, and change nothing."""
        parts, bad = [post.alerts], 0
        while parts and bad < BAD:
            part = parts.pop()
            half = len(part) // 2
            try:
                await self._fold_only(customer, [replace(post, alerts=part, cut=None)])
            except DatabaseAway:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are tried
                parts += [part[half:], part[:half]] if half else []
                bad += not half
                log.warning("alerts not folded", count=len(part), error=type(error).__name__)

    def _next(self, customer: int) -> _Waiting:
        """Take a customer's next post, who has one."""
        waiting = self._waiting[customer]
        one = waiting.popleft()
        if not waiting:
            del self._waiting[customer]
        return one

    async def _fold(self, customer: int, taken: Sequence[_Waiting]) -> None:
        """Fold posts in one transaction with their customer's cursor; set those aside that could not
        be read."""
        last, now = taken[-1].id, self._kit.clock.now()
        async with self._kit.store.unit() as unit:
            # Another replica may have folded some of them since they were read.
            folded = (await unit.incidents.cursors()).get(customer, 0)
            left = [each for each in taken if each.id > folded]
            new = [each.post for each in left if each.post]
            found = await unit.customers.get(customer)
            if new and found:
                await fold(found, new, now, self._kit.house, unit)
                # A heartbeat is a post only when its job is late.
                for name in {post.source for post in new} - {heartbeat.NAME}:
                    await quiet.hear(customer, name, new[-1].at, now, unit)
            for each in left:
                if isinstance(each.read, _Unreadable):
                    await self._set_aside(each.read, found.name if found else "", unit)
            await unit.incidents.move_cursor(customer, max(last, folded))
            await unit.incidents.move_cursor(ALL, self._done())
        self._folded[customer] = last
        self._bytes -= sum(each.size for each in taken)

    async def _set_aside(self, unreadable: _Unreadable, whose: str, unit: Unit) -> None:
        """Keep a post for later, and tell the operations group: once an hour for each customer."""
        post, now = unreadable.accepted, self._kit.clock.now()
        await unit.aside.put(post, unreadable.reason)
        card = say(
            "有告警没能处理，已原样保留",
            f"{whose or f'客户 {post.customer}'}：来源 {post.source} 的推送 #{post.id}"
            f"（{unreadable.reason}）。现在共保留 {await unit.aside.count()} 条，后面的告警照常处理",
            "请看日志或升级程序，然后运行 vigilbot refold 重新处理",
            tone=Tone.BAD,
        )
        await ladder.alarm(f"aside:{post.customer}:{now:%Y%m%d%H}", card, now, unit)

    def _decoded(self, accepted: Accepted) -> Post | _Unreadable:
        source = self._sources.get(accepted.source)
        if source is None:
            log.warning("post of an unknown source", id=accepted.id, source=accepted.source)
            return _Unreadable(accepted, "没有这种来源")
        try:
            alerts = source.decode(accepted.body, accepted.at)
            return Post(accepted.source, accepted.at, tuple(alerts), _cut(source, accepted))
        except UsageError as error:
            # It was readable when it was accepted: a newer program reads it otherwise.
            log.warning("post not readable", id=accepted.id, reason=str(error))
            return _Unreadable(accepted, str(error)[:SHORT])
        except Exception as error:
            log.exception("post breaks its reader", id=accepted.id)
            return _Unreadable(accepted, type(error).__name__)

    def _behind(self) -> int:
        """Return how many posts wait: of one alone the turn is next."""
        return sum(len(waiting) for waiting in self._waiting.values())

    def _done(self) -> int:
        """Return up to which post everything is folded."""
        heads = [waiting[0].id for waiting in self._waiting.values()]
        return min(heads) - 1 if heads else self._read


def _count(posts: Sequence[Post]) -> int:
    return sum(len(post.alerts) for post in posts)


def _first(posts: Sequence[Post], few: int) -> list[Post]:
    """Return the posts with their first alerts, so many in all."""
    found: list[Post] = []
    for post in posts:
        if few > 0:
            found.append(replace(post, alerts=post.alerts[:few]))
            few -= len(post.alerts)
    return found


def _cut(source: Source, accepted: Accepted) -> Cut | None:
    """Return what a post says that it left out: when that is unreadable its alerts are not."""
    try:
        return source.truncated(accepted.body)
    except UsageError as error:
        log.warning("what was left out is not readable", id=accepted.id, reason=str(error))
        return None

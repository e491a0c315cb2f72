"""Puts the demo's clock forward so that nothing is skipped: from one due instant to the next, and at
each of them the bot does what it would have done.

What was lived through so is the same as if somebody had waited: calls have their times, storms their
phases, and the watchdog its nights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.port import UsageError
from adapters.webchat.link import WebChat
from bot.app import Bot
from bot.demo import due
from bot.demo.agenda import Agenda
from bot.demo.clock import DemoClock
from runbooks.kit import Kit
from storage.records import Lane

PATIENCE = 60.0
"""Seconds of the machine's time that one play may take: then it stops where it is, and says so."""

SETTLED = 10.0
"""Seconds of it that one instant may take."""

GLANCE = 0.002
"""Seconds of it between two looks whether all is done."""

OFTEN = 30
"""Looks that are taken at least so often are taken at every stop. What is rarer needs no exact
instant: it is taken as often as it would have been."""

WALKING = (
    "「{}」正在执行：连接服务器和监控要花真实的时间，不能快进。请等它停下（轮到人处理）再推进时钟"
)


@dataclass(frozen=True, slots=True)
class Played:
    """How far a play has come. `stopped` says why it went no further; empty when it did."""

    since: datetime
    until: datetime
    at: datetime
    stops: int = 0
    stopped: str = ""

    @property
    def share(self) -> float:
        """Return how much of it is done, from 0 to 1."""
        whole = (self.until - self.since).total_seconds()
        return min(1.0, (self.at - self.since).total_seconds() / whole) if whole > 0 else 1.0


Follow = Callable[[timedelta], None]
"""Told of each leap, and of none where the clock goes on by itself: what runs beside the bot must
come along."""


class Forward:
    """Whoever turns the hands."""

    def __init__(
        self,
        kit: Kit,
        clock: DemoClock,
        bot: Bot,
        web: WebChat,
        agenda: Agenda,
        follow: Follow,
    ) -> None:
        self._kit = kit
        self._clock = clock
        self._bot = bot
        self._web = web
        self._agenda = agenda
        self._follow = follow
        self._looked: dict[str, datetime] = {}
        self._turn = asyncio.Lock()
        self.played: Played | None = None
        """The play that is under way, or else the last one."""

    @property
    def playing(self) -> bool:
        return self._turn.locked()

    async def play(self, until: datetime) -> Played:
        """Live through everything up to an instant, and go on from there.

        Raises UsageError when another play is under way, or when something is being done that
        takes real time.
        """
        if self.playing:
            raise UsageError("时钟正在推进，请等它停下")
        async with self._turn:
            if walking := await self._walking():
                raise UsageError(walking)
            since = self._clock.now()
            self.played = Played(since, until, since)
            try:
                return await self._play(self.played)
            finally:
                self._clock.release()
                self._follow(timedelta())
                self._kit.store.changed.set()

    async def settle(self) -> None:
        """Do what the agenda has for now, and wait until the bot has taken all of it in."""
        await self._agenda.keep(self._clock.now())
        await self._settle()

    async def _play(self, played: Played) -> Played:
        loop = asyncio.get_running_loop()
        ends = loop.time() + PATIENCE
        self._clock.hold(played.since)
        while True:
            stopped = await self._live()
            if not stopped and loop.time() >= ends:
                stopped = (
                    f"已播放 {PATIENCE:.0f} 秒，先停在这里：这段时间里事情太多，请再按一次继续"
                )
            at = self._clock.now()
            stops = played.stops + 1
            played = Played(
                played.since, played.until, at, stops, stopped if at < played.until else ""
            )
            self.played = played
            if at >= played.until or stopped:
                return played
            self._leap(await self._next(at, played.until))

    async def _live(self) -> str:
        """Do all that is due at this instant; return why there is no going on, empty when there is."""
        try:
            async with asyncio.timeout(SETTLED):
                await self.settle()
                await self._look()
                await self._settle()
        except TimeoutError:
            return "机器人还没有忙完这一刻的事，请稍后再按一次"
        return await self._walking()

    async def _look(self) -> None:
        now = self._clock.now()
        for look in self._bot.looks:
            last = self._looked.get(look.name)
            often = look.every <= OFTEN
            if often or last is None or now - last >= timedelta(seconds=look.every):
                self._looked[look.name] = now
                await look.do()

    def _leap(self, at: datetime) -> None:
        by = at - self._clock.now()
        self._clock.hold(at)
        self._follow(by)
        # Entries that backed off and cards that were left in peace are due now: that is news.
        self._kit.store.changed.set()

    async def _next(self, now: datetime, until: datetime) -> datetime:
        async with self._kit.store.view() as unit:
            at = await due.next_due(now, until, self._kit.house, unit)
        return due.earliest((self._agenda.next(),), now, at)

    async def _settle(self) -> None:
        """Wait until what people did is taken, what came in is folded, and what may be said is said."""
        # `store.changed` is the sender's to clear, and a press that was taken sets nothing.
        while not await self._quiet():  # noqa: ASYNC110 - there is no event for all three
            await asyncio.sleep(GLANCE)

    async def _quiet(self) -> bool:
        if self._web.untaken:
            return False
        async with self._kit.store.view() as unit:
            folded = (await unit.incidents.cursors()).get(0, 0)
            heads = await unit.outbox.heads(self._clock.now())
        if any(not head.living or head.lane is Lane.ALARM for head in heads):
            return False
        posts = self._bot.intake
        return posts is None or not await posts.after(folded, 1)

    async def _walking(self) -> str:
        async with self._kit.store.view() as unit:
            walking = await unit.runs.walking()
            if not walking:
                return ""
            customer = await unit.customers.get(walking[0].customer)
        return WALKING.format(customer.name if customer else walking[0].id)

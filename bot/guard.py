"""Watches the looks that the clock takes: one that fails or hangs is told to the operations group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from adapters.card import Card, Tone, say
from bot.schedule import Look
from runbooks.alerting.oncall import ladder
from runbooks.kit import Kit

LONG = timedelta(minutes=10)
"""A look that takes longer than this hangs."""

PATIENCE = 5.0
"""Seconds that a look has to end: one that hangs shall not keep the whole program from it."""

log = structlog.get_logger()


class Guard:
    """Takes looks, and tells of those that fail or hang: once an hour for each of them."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._begun: dict[str, datetime] = {}
        self._taking: set[asyncio.Task[Any]] = set()
        self._ending = False

    def over(self, look: Look) -> Callable[[], Awaitable[None]]:
        """Return how a look is taken. What it raises is raised, once it has been told."""

        async def take() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._taking.add(task)
            try:
                await self._take(look)
            except asyncio.CancelledError:
                # It is we who end it: to the scheduler it would be a failure with a traceback.
                if not self._ending:
                    raise
            finally:
                self._taking.discard(task)

        return take

    async def end(self) -> None:
        """End the looks that are being taken, and wait for it: what they use is closed next."""
        self._ending = True
        for task in self._taking:
            task.cancel()
        if self._taking:
            await asyncio.wait(self._taking, timeout=PATIENCE)

    async def _take(self, look: Look) -> None:
        await self._tell_of_hanging()
        self._begun[look.name] = self._kit.clock.now()
        try:
            await look.do()
        except Exception as error:
            log.exception("look failed", look=look.name)
            why = f"出错：{type(error).__name__}。机器人在运行，但这一项可能没有做"
            await self._tell(look.name, "failed", why)
            raise
        finally:
            del self._begun[look.name]

    def hanging(self) -> list[str]:
        """Return the names of the looks that have taken too long and have not ended."""
        now = self._kit.clock.now()
        return sorted(name for name, at in self._begun.items() if now - at > LONG)

    async def _tell_of_hanging(self) -> None:
        minutes = int(LONG.total_seconds()) // 60
        for name in self.hanging():
            await self._tell(name, "hangs", f"{minutes} 分钟没有做完，可能卡住了")

    async def _tell(self, name: str, what: str, why: str) -> None:
        now = self._kit.clock.now()
        key = f"look:{what}:{name}:{now:%Y%m%d%H}"
        async with self._kit.store.view() as unit:
            if await unit.outbox.by_key(key):
                return
        async with self._kit.store.unit() as unit:
            await ladder.alarm(key, told(name, why), now, unit)


def told(name: str, why: str) -> Card:
    """Return what the operations group is told of a look."""
    return say(f"定时检查 {name} 不正常", why, "请看日志；查不出原因就重启机器人", tone=Tone.BAD)

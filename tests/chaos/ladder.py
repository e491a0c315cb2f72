"""The program that is killed while it calls people: one look of the ladder and of the sender.

A life of it begins with FOLDER, DATABASE_URL, NOW and KILL_AT (`tests/chaos/mother.py`). NOW is an
instant of ISO 8601. Before its statement to the database of the number KILL_AT (0: never)
it kills itself with SIGKILL; a life that ends by itself says how many statements it made.
"""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from adapters.card import Card
from adapters.webchat.link import WebChat
from bot.sender import Sender
from runbooks.alerting.oncall import ladder
from runbooks.kit import Kit
from storage.store import Store, Unit
from storage.vault import Seal
from tests.chaos.mother import say


class StandingClock:
    """It is always the same instant."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def main(folder: str, url: str, now: str, kill_at: str) -> None:
    count = 0

    def before(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    clock, nobody = StandingClock(datetime.fromisoformat(now)), cast("Any", None)
    async with (
        Store(url, Seal(Seal.new_key())) as store,
        WebChat(Path(folder) / "chat.sqlite") as web,
    ):

        async def draw(key: str, unit: Unit) -> Card:
            return Card(key)

        kit = Kit(clock, store, {"web": web}, nobody, nobody, nobody)
        await ladder.climb(kit)
        await Sender(store, kit.chats, draw, clock).drain()
    say(str(count))

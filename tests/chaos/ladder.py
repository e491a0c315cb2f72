"""The program that is killed while it calls people: one look of the ladder and of the sender.

    python tests/chaos/ladder.py FOLDER DATABASE_URL NOW KILL_AT

NOW is an instant of ISO 8601. Before its statement to the database of the number KILL_AT (0: never)
it kills itself with SIGKILL; a life that ends by itself prints how many statements it made.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
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


class StandingClock:
    """It is always the same instant."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def live(folder: Path, url: str, now: datetime, kill_at: int) -> int:
    count = 0

    def before(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    clock, nobody = StandingClock(now), cast("Any", None)
    async with (
        Store(url, Seal(Seal.new_key())) as store,
        WebChat(folder / "chat.sqlite") as web,
    ):

        async def draw(key: str, unit: Unit) -> Card:
            return Card(key)

        kit = Kit(clock, store, {"web": web}, nobody, nobody, nobody)
        await ladder.climb(kit)
        await Sender(store, kit.chats, draw, clock).drain()
    return count


if __name__ == "__main__":
    place, address, instant, number = sys.argv[1:]
    lived = live(Path(place), address, datetime.fromisoformat(instant), int(number))
    sys.stdout.write(str(asyncio.run(lived)))

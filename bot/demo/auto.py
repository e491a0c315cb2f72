"""The demo unattended: it plays engineer, lead and customer through the same web chat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.words import Secret
from bot.demo.world import staged
from bot.play.player import Player, Started
from bot.play.script import read

SCRIPT = Path(__file__).with_name("auto.yaml")


async def auto(directory: Path, port: int, tell: Callable[[str], None]) -> int:
    """Take a customer from `/onboard` to the signed acceptance; return 0, or 1 at the first step
    that does not come about, which is told.

    The timeline of every line with its proof is told at the end.
    """
    script = read(SCRIPT.read_text(encoding="utf-8"), SCRIPT.name)
    async with staged(directory, port) as world:

        @asynccontextmanager
        async def started() -> AsyncIterator[Started]:
            yield world

        servers = Secret(world.servers.content.decode("utf-8-sig"))
        outcome = await Player(script, started, tell, {"servers": servers}).play()
    return 1 if outcome.failed else 0

"""The address of Feishu's long connection is asked for, and nobody answers; in a loop whose time leaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.feishu.link import CONNECTING, Feishu
from adapters.feishu.socket import DISCOVERY
from adapters.words import Message, Person, Secret
from tests.sim.feishu import Fault, FeishuSim
from tests.sim.leap import LoopClock, leaping
from tests.sim.places import FeishuPlace

ENDPOINT = "POST /callback/ws/endpoint"
PATIENCE = 600.0
"""Seconds that another call may take: it is the discovery's own limit that counts here."""


@asynccontextmanager
async def far_side() -> AsyncIterator[FeishuSim]:
    """Feishu, which answers whatever still hangs at the end."""
    async with FeishuSim(LoopClock()) as sim:
        sim.person("Li")
        yield sim
        sim.release()


def bot(sim: FeishuSim, folder: Path) -> Feishu:
    return Feishu(
        sim.app_id,
        Secret(sim.secret),
        state=folder / "feishu.sqlite",
        clock=sim.clock,
        base_url=sim.base_url,
        timeout=PATIENCE,
    )


def test_a_discovery_that_hangs_is_given_up_and_tried_again(tmp_path: Path) -> None:
    """At the start and after a cut: ten seconds each, then the next try connects and words arrive."""

    async def story() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        async with far_side() as sim:
            sim.misbehave(ENDPOINT, Fault.HANGS)
            began = loop.time()
            async with bot(sim, tmp_path) as feishu:
                start = loop.time() - began
                place = FeishuPlace(sim, feishu, Person("feishu", "ou_li", "Li"))
                chat = await place.room("客户甲")
                sim.misbehave(ENDPOINT, Fault.HANGS)
                began = loop.time()
                place.cut()
                await place.until(lambda: place.dialled() == 2 and place.linked() == 1)
                again = loop.time() - began
                await place.say(chat, "还在吗")
                heard = await anext(feishu.events())
                assert isinstance(heard, Message)
                assert heard.text == "还在吗"
                return start, again

    start, again = leaping(story())
    assert DISCOVERY <= start < CONNECTING
    assert DISCOVERY <= again < CONNECTING


def test_a_start_that_only_hangs_goes_on_without_feishu(tmp_path: Path) -> None:
    """The rest of the bot waits no longer than that; the link is tried on, and stands in the end."""

    async def story() -> float:
        loop = asyncio.get_running_loop()
        async with far_side() as sim:
            sim.misbehave(ENDPOINT, *[Fault.HANGS] * 4)
            began = loop.time()
            async with bot(sim, tmp_path) as feishu:
                waited = loop.time() - began
                place = FeishuPlace(sim, feishu, Person("feishu", "ou_li", "Li"))
                assert place.linked() == 0
                await place.until(lambda: place.linked() == 1)
                return waited

    assert CONNECTING <= leaping(story()) < CONNECTING + DISCOVERY

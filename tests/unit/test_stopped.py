"""A platform that has given up, as WeCom when another program takes its bot's place: who runs us is told
of it in each way that does not lead through that platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from adapters.card import loads, plain
from adapters.wecom.link import WeCom
from adapters.words import Chat, Secret
from bot import ticks
from bot.app import working
from bot.web.site import create_api
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.journal import journal_in
from storage.records import Lane
from storage.store import Store
from tests.sim.slack import SimClock
from tests.sim.wecom import BOT_ID, SECRET, WeComSim

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
NOBODY = cast("Any", None)


class Scene:
    """A WeCom without a group robot, and its far side."""

    def __init__(self, sim: WeComSim, link: WeCom, clock: SimClock) -> None:
        self.sim, self.link, self.clock = sim, link, clock

    async def throw_out(self) -> None:
        await self.sim.kick()
        assert self.link._running
        await self.link._running

    async def told(self, store: Store) -> int:
        return await ticks.tell_of_stopped([self.link], self.clock.now(), store)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = SimClock()
    async with (
        WeComSim(clock.now) as sim,
        WeCom(
            BOT_ID,
            Secret(SECRET),
            state=tmp_path / "wecom.sqlite",
            clock=clock,
            ws_url=sim.ws_url,
            ack=2.0,
        ) as link,
    ):
        yield Scene(sim, link, clock)


async def at_work_in(store: Store, chat: Chat, scene: Scene) -> None:
    async with store.unit() as unit:
        await unit.outbox.mark(OPERATIONS, chat, scene.clock.now())


async def test_the_operations_group_hears_of_it_once(scene: Scene, store: Store) -> None:
    """As an alarm, with what to do, in a group on another platform."""
    await at_work_in(store, Chat("slack", "C1"), scene)
    assert await scene.told(store) == 0
    await scene.throw_out()
    assert await scene.told(store) == 1
    scene.clock.move(3600)
    assert await scene.told(store) == 0
    assert scene.link.stopped
    async with store.view() as unit:
        key = f"stopped:wecom:{scene.link.stopped.at.isoformat()}"
        said = await unit.outbox.by_key(key)
    assert said
    assert (said.chat, said.lane) == (Chat("slack", "C1"), Lane.ALARM)
    assert "停掉其中一个，再重启本程序" in plain(loads(said.card))


async def test_nothing_is_said_by_way_of_what_has_stopped(scene: Scene, store: Store) -> None:
    """It would only fail there; and before there is an operations group, nobody is there to read."""
    await scene.throw_out()
    assert await scene.told(store) == 0
    await at_work_in(store, Chat("wecom", "wr-1"), scene)
    assert await scene.told(store) == 0


async def test_health_and_metrics_say_so(scene: Scene, store: Store, tmp_path: Path) -> None:
    """It is no longer among the living. The process itself is well: a supervisor that restarted it for
    this would begin the quarrel anew."""
    await at_work_in(store, Chat("slack", "C1"), scene)
    kit = Kit(cast("Any", scene.clock), store, {"wecom": scene.link}, NOBODY, NOBODY, NOBODY)
    async with working(kit, journal_in(tmp_path / "engine.sqlite")) as bot:
        transport = httpx.ASGITransport(create_api(kit, bot, None))
        async with httpx.AsyncClient(transport=transport, base_url="http://bot") as web:
            told = (await web.get("/healthz")).json()
            assert (told["platforms"], told["stopped"]) == (["wecom"], [])
            lines = (await web.get("/metrics")).text.splitlines()
            assert 'vigilbot_platform_speaks{platform="wecom"} 1.0' in lines
            assert 'vigilbot_platform_stopped{platform="wecom"} 0.0' in lines
            await scene.throw_out()
            assert scene.link.stopped
            (look,) = [one for one in bot.looks if one.name == "stopped"]
            await look.do()
            async with store.view() as unit:
                key = f"stopped:wecom:{scene.link.stopped.at.isoformat()}"
                assert await unit.outbox.by_key(key)
            answer = await web.get("/healthz")
            told = answer.json()
            assert (answer.status_code, told["platforms"], told["stopped"]) == (200, [], ["wecom"])
            lines = (await web.get("/metrics")).text.splitlines()
            assert 'vigilbot_platform_speaks{platform="wecom"} 0.0' in lines
            assert 'vigilbot_platform_stopped{platform="wecom"} 1.0' in lines

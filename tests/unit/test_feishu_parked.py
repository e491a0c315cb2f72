"""A run that waits at its gate for longer than Feishu redraws a card."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.card import Card, plain
from adapters.feishu.link import Feishu
from adapters.words import Chat, Secret
from bot import ticks
from bot.sender import Sender
from runbooks import cards, walk
from storage.store import Store, Unit
from tests.conftest import HandClock
from tests.sim.feishu import FeishuSim
from tests.unit.test_ticks import BOOKS, parked


@pytest.fixture
async def sim(clock: HandClock) -> AsyncIterator[FeishuSim]:
    async with FeishuSim(clock) as running:
        running.person("Li")
        yield running


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_run_parked_for_15_days_has_a_card_that_lives(
    store: Store, sim: FeishuSim, clock: HandClock, tmp_path: Path
) -> None:
    """Nobody presses anything. On the 13th day the reminder has the card posted anew, the old one
    names it, and two days later the new one can still be drawn."""

    async def draw(key: str, unit: Unit) -> Card:
        return await cards.drawn(BOOKS, key.removeprefix("run:"), unit)

    secret, state = Secret(sim.secret), tmp_path / "feishu.sqlite"
    async with Feishu(
        sim.app_id, secret, state=state, clock=clock, base_url=sim.base_url
    ) as feishu:
        chat = Chat("feishu", sim.found("海蓝", ["ou_li"]).id)
        run = await parked(store, clock, chat=chat)
        sender = Sender(store, {"feishu": feishu}, draw, clock)
        async with store.unit() as unit:
            await walk.mark(run, unit)
        await sender.drain()
        for _ in range(15):
            await clock.sleep(timedelta(days=1).total_seconds())
            await ticks.remind(BOOKS, clock.now(), store)
            await sender.drain()
            await clock.sleep(60)
            await sender.drain()
    async with store.view() as unit:
        living = await unit.outbox.living(walk.card_of(run))
    assert living is not None
    heir = sim.posts[living.receipt]
    assert clock.now() - heir.at < timedelta(days=3)
    assert "确认合同已签" in plain(_card(sim, heir.id))
    moved = [one.id for one in sim.posts.values() if "已移到新卡片" in _title(sim, one.id)]
    assert len(moved) == 1
    assert moved != [heir.id]


def _card(sim: FeishuSim, message: str) -> Card:
    shown = sim.shown(sim.posts[message])
    assert isinstance(shown, Card)
    return shown


def _title(sim: FeishuSim, message: str) -> str:
    return _card(sim, message).title

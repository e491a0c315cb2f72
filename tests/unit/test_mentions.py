"""A fold that takes its time: the message that its criticals were to share may have gone meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any, cast

import pytest

from adapters.card import plain
from bot.sender import Sender
from runbooks.alerting import pipeline
from runbooks.alerting.pipeline import Post
from runbooks.kit import Kit
from storage.records import Customer
from storage.store import Store
from tests.unit.test_pipeline import CRITICAL, GROUP, Desk, alert
from tests.unit.test_sender import Paper

WINDOW = timedelta(seconds=10)


@pytest.fixture
async def desk(store: Store, clock: Any) -> Desk:
    """One critical was told at once, and one waits for the end of the window that this began."""
    nobody = cast("Any", None)
    kit = Kit(clock, store, {}, nobody, nobody, nobody)
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", clock.now(), GROUP))
    made = Desk(kit, clock, customer)
    await made.post(alert("CPU", "first", CRITICAL))
    await clock.sleep(1)
    await made.post(alert("CPU", "second", CRITICAL))
    return made


async def late(desk: Desk) -> None:
    """Fold one more critical that came within the window, now that this has ended."""
    came = desk.clock.now() - WINDOW / 2
    said = [Post("alertmanager", came, (alert("CPU", "third", CRITICAL),))]
    async with desk.kit.store.unit() as unit:
        await pipeline.fold(desk.customer, said, came, desk.kit.house, unit)


def named(paper: Paper) -> Counter[str]:
    mentions = [post for post in paper.posts.values() if not isinstance(post, str)]
    said = "\n".join(plain(post) for post in mentions if "新的严重告警" in post.title)
    return Counter({name: said.count(f"· {name}") for name in ("first", "second", "third")})


async def drained(desk: Desk, paper: Paper) -> None:
    async def draw(key: str, unit: Any) -> Any:
        return await desk.card(key)

    await Sender(desk.kit.store, {"paper": paper}, draw, desk.clock).drain()


async def test_a_critical_is_named_though_its_message_is_gone(desk: Desk) -> None:
    paper = Paper()
    await desk.clock.sleep(10)
    await drained(desk, paper)
    await late(desk)
    await drained(desk, paper)
    assert named(paper) == {"first": 1, "second": 1, "third": 1}


async def test_a_critical_is_named_though_its_message_is_on_its_way(desk: Desk) -> None:
    """The chat has been given the message, and has not answered yet."""
    paper = Paper()
    await drained(desk, paper)
    await desk.clock.sleep(10)
    paper.hang = asyncio.Event()
    draining = asyncio.create_task(drained(desk, paper))
    await paper.hung.wait()
    await late(desk)
    paper.hang.set()
    await draining
    assert named(paper) == {"first": 1, "second": 1, "third": 1}

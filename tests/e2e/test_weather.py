"""The demo's storm: a press on a page, one card in the group, and the criticals by themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from adapters.card import plain
from bot.demo.sample import NAME
from bot.demo.toys import ALERT, PATH, STORM
from bot.demo.world import LI, staged
from tests.e2e.test_demo_toys import played

# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = [
    pytest.mark.xdist_group("ports"),
    pytest.mark.usefixtures("own_pages"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]


async def test_a_storm_of_the_demo_is_one_card_with_its_criticals(tmp_path: Path) -> None:
    async with (
        staged(tmp_path, 0) as world,
        httpx.AsyncClient(base_url=world.address, timeout=30) as http,
    ):
        page = await http.get(PATH)
        assert "开始一场风暴" in page.text
        assert page.headers["content-security-policy"]
        assert (await http.post(STORM)).status_code == 303
        news = asyncio.Event()
        stop = world.webchat.watch(lambda _: news.set())
        async with asyncio.timeout(60):
            while True:
                news.clear()
                chats = [chat for chat in world.webchat.chats(LI) if chat.id == "sample"]
                posts = world.webchat.history(chats[0]) if chats else []
                # Whether a model may look is asked of every group, and is no alert; what the rules
                # raise they raise in their own time.
                cards = [post.card for post in posts if post.card and "AI" not in post.card.title]
                titles = [card.title for card in cards if "提为严重" not in card.title]
                if "🔴 新的严重告警" in titles and "数据库宕机" in plain(cards[0]):
                    break
                await news.wait()
        stop()
        assert (await http.post(ALERT)).status_code == 303
        there = await played(http, "rung")
        assert "告警升级 @" in there, "not where a call of the storm would have been, which is over"
        ops = next(chat for chat in world.webchat.chats(LI) if chat.id == "ops")
        cards = [post.card for post in world.webchat.history(ops) if post.card]
        (overview,) = [plain(card) for card in cards if card.title == "客户一览"]
        assert NAME in overview, "the sample is a customer like others"
    assert len([title for title in titles if "告警风暴" in title]) == 1
    assert len(titles) == 2

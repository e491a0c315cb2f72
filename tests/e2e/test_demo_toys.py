"""The demo's clock at a press: an alert that nobody answers is lived through, call by call."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from adapters.card import plain
from adapters.webchat.wire import Post
from bot.demo.toys import ALERT, CLOCK, PATH
from bot.demo.weather import LASTS
from bot.demo.world import LI, World, staged
from runbooks.alerting.oncall import watchdog
from storage.records import IncidentState
from storage.roster import RungState

# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = [
    pytest.mark.xdist_group("ports"),
    pytest.mark.usefixtures("own_pages"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]


def group(world: World) -> list[Post]:
    chat = next(chat for chat in world.webchat.chats(LI) if chat.id == "sample")
    return list(world.webchat.history(chat))


async def played(http: httpx.AsyncClient, to: str) -> str:
    """Press a button of the clock, and return the page once it stands still."""
    assert (await http.post(CLOCK, data={"to": to})).status_code == 303
    async with asyncio.timeout(60):
        while True:
            page = (await http.get(PATH)).text
            if "正在推进" not in page:
                return page


async def test_an_alert_that_nobody_answers_is_lived_through_to_its_end(tmp_path: Path) -> None:
    """One press to the next call, one over the rest: each call at its time, none missed; the
    monitor's servers and the pages go on; nobody else's page may press."""
    async with (
        staged(tmp_path, 0) as world,
        httpx.AsyncClient(base_url=world.address, timeout=30) as http,
    ):
        page = await http.get(PATH)
        assert page.headers["content-security-policy"]
        assert "与真实时间一致" in page.text
        strange = await http.post(CLOCK, data={"to": "30d"}, headers={"origin": "http://evil.test"})
        assert strange.status_code == 403
        assert "没有在升级的事件" in await played(http, "rung")
        assert (await http.post(ALERT)).status_code == 303
        assert "告警升级 @" in await played(http, "rung")
        page_after = await played(http, "1d")
        assert "比真实时间快 1 天" in page_after
        async with world.store.view() as unit:
            climb = await unit.escalations.last(1)
            assert climb
            assert climb.stopped_at
            rungs = await unit.escalations.rungs(1, 1)
            incident = await unit.incidents.get(1)
            until = climb.stopped_at + timedelta(days=1)
            missed, owed = await watchdog.judged(climb.began_at, until, unit)
        done = [rung for rung in rungs if rung.state is RungState.DONE]
        assert incident
        assert incident.state is IncidentState.RESOLVED
        assert climb.stopped_at - climb.began_at < LASTS + timedelta(minutes=1)
        assert (missed, owed) == ([], len(done))
        assert {rung.lap for rung in done} == {0, 1, 2}, "three laps of an hour"
        assert all(rung.at and rung.at - rung.due < timedelta(seconds=1) for rung in done)
        cards = [plain(post.card) for post in group(world) if post.card]
        assert not [card for card in cards if "请再看一下" in card]
        assert len([card for card in cards if "告警升级 @" in card]) == 9, "one for each level"
        assert (await http.get("/chat")).status_code == 200
        host = json.loads((tmp_path / "hosts/web-01/.sandbox/host.json").read_text())
        assert host["lead"] > timedelta(days=1).total_seconds()

"""The web around the enterprise platforms: their callbacks by HTTP, and their calls that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.card import loads, plain, say
from adapters.dingtalk.link import DingTalk
from adapters.feishu.link import Feishu, Hook
from adapters.words import Chat, Click, Person, Secret
from bot import ticks
from bot.app import working
from bot.web import callbacks
from bot.web.site import create_api
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.journal import journal_in
from storage.store import Store
from tests.conftest import HandClock
from tests.sim.dingtalk import DingTalkSim
from tests.sim.feishu import FeishuSim, sealed
from tests.unit.test_feishu_link import PRESSED, button

NOBODY = cast("Any", None)
LI = Person("feishu", "ou_li", "Li")
KEY, TOKEN = Secret("encrypt-key"), Secret("v")


@pytest.fixture
async def sim(clock: HandClock) -> AsyncIterator[FeishuSim]:
    async with FeishuSim(clock) as running:
        running.person("Li")
        yield running


@pytest.fixture
async def feishu(sim: FeishuSim, clock: HandClock, tmp_path: Path) -> AsyncIterator[Feishu]:
    async with Feishu(
        sim.app_id,
        Secret(sim.secret),
        state=tmp_path / "feishu.sqlite",
        clock=clock,
        base_url=sim.base_url,
        hook=Hook(TOKEN, KEY),
    ) as link:
        yield link


@pytest.fixture
async def web(feishu: Feishu, clock: HandClock) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(
        callbacks.router(Kit(clock, NOBODY, {"feishu": feishu}, NOBODY, NOBODY, NOBODY))
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
        yield client


def signed(body: bytes, clock: HandClock) -> dict[str, str]:
    stamp = str(int(clock.now().timestamp()))
    digest = sha256((stamp + "n0nce" + KEY.reveal()).encode() + body).hexdigest()
    return {
        "X-Lark-Request-Timestamp": stamp,
        "X-Lark-Request-Nonce": "n0nce",
        "X-Lark-Signature": digest,
    }


async def test_a_press_by_http_is_answered_with_a_toast(
    web: httpx.AsyncClient, feishu: Feishu, sim: FeishuSim, clock: HandClock
) -> None:
    """Sealed and signed on the wire, a Click inside, and what the roof says in the same answer; the
    same request a second time does nothing more."""
    chat = await feishu.open_chat("客户甲", [LI], key="k")
    receipt = await feishu.send(chat, button(), key="1")
    body = sealed(await sim.press(LI.id, receipt.id, PRESSED), KEY.reveal())
    asking = asyncio.create_task(
        web.post("/callbacks/feishu", content=body, headers=signed(body, clock))
    )
    events = feishu.events()
    click = await anext(events)
    assert isinstance(click, Click)
    await feishu.answer(click, "好", ok=True)
    answer = await asking
    assert answer.json() == {"toast": {"type": "success", "content": "好"}}
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # the roof asks for the next event: the last one is kept
    again = await web.post("/callbacks/feishu", content=body, headers=signed(body, clock))
    assert again.json()["toast"]["content"] == "已收到"
    following.cancel()


async def test_who_is_not_feishu_is_turned_away(
    web: httpx.AsyncClient, sim: FeishuSim, clock: HandClock
) -> None:
    """Forged, replayed after the window, not sealed, too long, another platform: and not told why."""
    body = sealed(sim.event("im.chat.updated_v1", {}), KEY.reveal())
    good = signed(body, clock)
    forged = {**good, "X-Lark-Signature": "0" * 64}
    assert (await web.post("/callbacks/feishu", content=body, headers=forged)).status_code == 403
    assert (await web.post("/callbacks/feishu", content=b"{}", headers=good)).status_code == 403
    assert (await web.post("/callbacks/slack", content=body, headers=good)).status_code == 404
    huge = b"x" * (callbacks.MOST + 1)
    assert (await web.post("/callbacks/feishu", content=huge, headers=good)).status_code == 413
    assert (await web.post("/callbacks/feishu", content=body, headers=good)).status_code == 200
    await clock.sleep(301)
    late = await web.post("/callbacks/feishu", content=body, headers=good)
    assert (late.status_code, late.json()) == (403, {})


async def test_the_address_is_proved_to_feishu(web: httpx.AsyncClient) -> None:
    """Feishu asks once, when the address is entered, sealed and unsigned."""
    asked = {"type": "url_verification", "token": TOKEN.reveal(), "challenge": "c"}
    answer = await web.post("/callbacks/feishu", content=sealed(asked, KEY.reveal()))
    assert answer.json() == {"challenge": "c"}


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_calls_that_end_are_counted_and_warned_of(
    store: Store, clock: HandClock, tmp_path: Path
) -> None:
    """At 80 % of the month one card goes into the operations group; /metrics shows it all along."""
    far = DingTalkSim(now=clock.now)
    await far.start()
    ding = DingTalk(
        far.client_id,
        Secret(far.secret),
        robot_code=far.robot,
        state=tmp_path / "d.sqlite",
        clock=clock,
        card_template=far.template,
        monthly_calls=10,
        alarm_reserve=1,
        api_url=far.url,
        oapi_url=far.url,
    )
    ops = far.found("运营群")
    async with ding:
        async with store.unit() as unit:
            await unit.outbox.mark(OPERATIONS, Chat("web", "ops"), clock.now())
        for number in range(8):
            assert await ticks.warn_of_quota([ding], clock.now(), store) == 0
            await ding.send(ops, say("你好"), key=str(number))
        assert await ticks.warn_of_quota([ding], clock.now(), store) == 1
        await clock.sleep(3600)
        assert await ticks.warn_of_quota([ding], clock.now(), store) == 0
        async with store.view() as unit:
            deliveries = await unit.outbox.heads(clock.now())
        (warning,) = [one for one in deliveries if one.key.startswith("quota:dingtalk:2026-")]
        assert "8/10" in plain(loads(warning.card))

        kit = Kit(clock, store, {}, NOBODY, NOBODY, NOBODY)
        async with working(kit, journal_in(tmp_path / "engine.sqlite")) as bot:
            seen = Kit(clock, store, {"dingtalk": ding}, NOBODY, NOBODY, NOBODY)
            transport = httpx.ASGITransport(create_api(seen, bot, None))
            async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
                lines = (await client.get("/metrics")).text.splitlines()
        assert 'vigilbot_platform_calls{platform="dingtalk"} 8.0' in lines
        assert 'vigilbot_platform_calls_limit{platform="dingtalk"} 10.0' in lines
    await far.stop()

"""Huawei asks whether a hook is ours: kept before it is answered, and answered only to Huawei."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.card import loads, plain
from adapters.port import Permanent
from adapters.smn import LONGEST, Subscriptions
from adapters.sources import huawei
from adapters.words import Chat, Secret
from bot.web.hooks import Hook, router
from runbooks.alerting import subscribing
from runbooks.kit import Kit
from storage.records import Customer
from storage.store import Store
from tests.conftest import HandClock
from tests.sim.smn import CERTIFICATE_HOST, CERTIFICATE_PATH, CONFIRM_HOST, SmnSim

NOBODY = cast("Any", None)
TOKEN = Secret("t" * 43)
GOLDEN = Path("tests/golden/sources/huawei/subscription.json").read_bytes()
GROUP = Chat("web", "g", "海蓝")
CERTIFICATE = f"{CERTIFICATE_HOST}{CERTIFICATE_PATH}"
CONFIRMED = f"{CONFIRM_HOST}/smn/subscription/confirm"


@dataclass(frozen=True)
class Desk:
    """A hook for Huawei, and the SMN that it may reach."""

    kit: Kit
    http: httpx.AsyncClient
    smn: Subscriptions
    sim: SmnSim

    async def post(self, body: bytes) -> int:
        answer = await self.http.post(f"/hooks/huawei/{TOKEN.reveal()}", content=body)
        return answer.status_code

    async def answer(self) -> int:
        return await subscribing.answer(self.kit, self.smn.confirm)

    async def said(self) -> list[str]:
        async with self.kit.store.view() as unit:
            return [plain(loads(entry.card)) for entry in await unit.outbox.latest(100)]

    async def waiting(self) -> list[tuple[int, timedelta]]:
        """Return how often each question was tried, and in what time it is tried again."""
        now = self.kit.clock.now()
        async with self.kit.store.view() as unit:
            found = await unit.questions.due(now + timedelta(days=9))
        return [(each.tries, each.due - now) for each in found]


@asynccontextmanager
async def desk_of(store: Store, clock: HandClock, sim: SmnSim) -> AsyncIterator[Desk]:
    kit = Kit(clock, store, {}, NOBODY, NOBODY, NOBODY)
    app = FastAPI()
    app.include_router(router(Hook(kit)))
    transport = httpx.ASGITransport(app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://bot") as http,
        Subscriptions(transport=sim.way_out()) as smn,
    ):
        yield Desk(kit, http, smn, sim)


@pytest.fixture
async def desk(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Desk]:
    async with store.unit() as unit:
        made = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now(), GROUP))
        await unit.hooks.add(made.id, "huawei", TOKEN, clock.now())
    async with SmnSim(tmp_path) as sim, desk_of(store, clock, sim) as there:
        yield there


async def test_what_huawei_signed_is_answered_once_and_said(desk: Desk) -> None:
    """Its certificate is fetched first, over a TLS that proves the host; then it gets its yes."""
    assert await desk.post(desk.sim.question()) == 200
    assert await desk.post(desk.sim.question()) == 200
    assert desk.sim.seen == [], "not while SMN waits for its 200"
    assert await desk.answer() == 1
    assert desk.sim.seen == [CERTIFICATE, CONFIRMED]
    assert desk.sim.confirmed == ["t-1"]
    (said,) = await desk.said()
    assert "订阅已确认" in said
    assert "urn:smn:cn-east-3:p1:alarms" in said
    assert (await desk.waiting(), await desk.answer()) == ([], 0)


async def test_a_question_survives_a_restart(desk: Desk, clock: HandClock) -> None:
    """Another life on the same rows answers what the first one had only taken."""
    assert await desk.post(desk.sim.question()) == 200
    async with desk_of(desk.kit.store, clock, desk.sim) as next_life:
        assert await next_life.answer() == 1
    assert desk.sim.confirmed == ["t-1"]


async def test_a_host_that_is_not_huaweis_by_its_certificate_is_not_believed(
    store: Store, clock: HandClock, tmp_path: Path
) -> None:
    """Its name leads there and its CA is trusted: the certificate is for another host of theirs."""
    async with store.unit() as unit:
        made = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now(), GROUP))
        await unit.hooks.add(made.id, "huawei", TOKEN, clock.now())
    hosts = ("obs.cn-east-3.myhuaweicloud.com", CONFIRM_HOST)
    async with SmnSim(tmp_path, hosts) as sim, desk_of(store, clock, sim) as there:
        assert await there.post(sim.question()) == 200
        assert await there.answer() == 0
        assert (sim.seen, sim.confirmed) == ([], [])
        assert await there.waiting() == [(1, timedelta(seconds=5))]


async def test_what_was_altered_after_it_was_signed_gets_no_yes_and_is_said(desk: Desk) -> None:
    assert await desk.post(desk.sim.question(topic_urn="urn:smn:other")) == 200
    assert await desk.answer() == 0
    assert (desk.sim.seen, desk.sim.confirmed) == ([CERTIFICATE], [])
    (said,) = await desk.said()
    assert "订阅没有确认" in said
    assert "不是华为云签名的请求" in said
    assert await desk.waiting() == []


async def test_while_huawei_is_ill_it_is_tried_again_for_two_days(
    desk: Desk, clock: HandClock
) -> None:
    await desk.post(desk.sim.question())
    pauses = []
    for _ in range(6):
        desk.sim.trouble = [503]
        assert await desk.answer() == 0
        ((_, pause),) = await desk.waiting()
        pauses.append(pause.total_seconds())
        await clock.sleep(pause.total_seconds() - 1)
        assert len(desk.sim.seen) == len(pauses), "not before its time"
        assert await desk.answer() == 0
        await clock.sleep(1)
    assert pauses == [5, 30, 120, 600, 1800, 1800]
    assert await desk.answer() == 1
    await desk.post(desk.sim.question())
    await clock.sleep(subscribing.VALID.total_seconds())
    desk.sim.trouble = [503]
    assert await desk.answer() == 0
    assert await desk.waiting() == []
    assert "HTTP 503" in (await desk.said())[0]


@pytest.mark.parametrize("status", [302, 403, 404])
async def test_a_redirect_is_not_followed_and_a_refusal_is_final(desk: Desk, status: int) -> None:
    await desk.post(desk.sim.question())
    desk.sim.trouble = [status]
    assert await desk.answer() == 0
    assert desk.sim.seen == [CERTIFICATE]
    assert f"HTTP {status}" in (await desk.said())[0]


async def test_whoever_knows_the_address_cannot_ask_without_an_end(desk: Desk) -> None:
    for number in range(subscribing.MOST):
        url = f"https://{CONFIRM_HOST}/smn/subscription/confirm?token={number}"
        assert await desk.post(desk.sim.question(subscribe_url=url)) == 200
    assert await desk.post(desk.sim.question()) == 503
    assert len(await desk.waiting()) == subscribing.MOST


async def test_an_endless_certificate_is_not_read() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 100 * LONGEST:
            read += 10_000
            yield b"x" * 10_000

    def world(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=endless())

    asked = huawei.confirmation(GOLDEN)
    assert asked is not None
    async with Subscriptions(transport=httpx.MockTransport(world)) as smn:
        with pytest.raises(Permanent, match="太长"):
            await smn.confirm(asked)
    assert read < 2 * LONGEST

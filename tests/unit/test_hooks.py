"""The ways in for alerts: whose they are, what is let in, and that it is kept before the 200."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.words import Secret
from bot.web.hooks import MOST, Hook, router
from runbooks.kit import Kit
from storage.hooks import SeenAlert
from storage.records import Customer
from storage.store import Store, Unit
from storage.vault import Seal

RECORDED = Path("tests/golden/vigilops/recorded")
TOKEN, OTHER = Secret("t" * 43), Secret("u" * 43)
NOBODY = cast("Any", None)


def recorded(name: str) -> bytes:
    file = RECORDED / f"captured_hook_webhook_{name}.json"
    return json.dumps(json.loads(file.read_text())["body"]).encode()


async def two_customers(unit: Unit, clock: Any) -> tuple[int, int]:
    now = clock.now()
    one = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
    two = await unit.customers.add(Customer(0, "山青", "shanqing", now))
    return one.id, two.id


@pytest.fixture
async def web(store: Store, clock: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with store.unit() as unit:
        one, _ = await two_customers(unit, clock)
        await unit.hooks.add(one, "vigilops", TOKEN, clock.now())
    app = FastAPI()
    app.include_router(router(Hook(Kit(clock, store, {}, NOBODY, NOBODY, NOBODY))))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
        yield client


def address(token: Secret = TOKEN, source: str = "vigilops") -> str:
    return f"/hooks/{source}/{token.reveal()}"


async def test_a_token_opens_one_customers_one_source(store: Store, clock: Any) -> None:
    async with store.unit() as unit:
        one, two = await two_customers(unit, clock)
        await unit.hooks.add(one, "vigilops", TOKEN, clock.now())
        await unit.hooks.add(one, "vigilops", TOKEN, clock.now())
        await unit.hooks.add(two, "vigilops", OTHER, clock.now())
    async with store.view() as unit:
        assert await unit.hooks.customer_of("vigilops", TOKEN, clock.now()) == one
        assert await unit.hooks.customer_of("vigilops", OTHER, clock.now()) == two
        assert await unit.hooks.customer_of("zabbix", TOKEN, clock.now()) is None
        assert await unit.hooks.customer_of("vigilops", Secret(""), clock.now()) is None


async def test_a_token_is_exchanged_without_a_gap(store: Store, clock: Any) -> None:
    """Both are let in until the new one is in use; then the old one is shut out."""
    async with store.unit() as unit:
        one, two = await two_customers(unit, clock)
        new = Secret("n" * 43)
        for token, customer in ((TOKEN, one), (new, one), (OTHER, two)):
            await unit.hooks.add(customer, "vigilops", token, clock.now())
        assert await unit.hooks.customer_of("vigilops", TOKEN, clock.now()) == one
        assert await unit.hooks.customer_of("vigilops", new, clock.now()) == one
        assert await unit.hooks.keep_only(one, "vigilops", new) == 1
        assert await unit.hooks.customer_of("vigilops", TOKEN, clock.now()) is None
        assert await unit.hooks.customer_of("vigilops", new, clock.now()) == one
        assert await unit.hooks.customer_of("vigilops", OTHER, clock.now()) == two


async def test_an_address_may_be_exchanged_again_before_the_new_one_was_told(
    store: Store, clock: Any
) -> None:
    """What nobody was told is dropped for the newest; what was told goes on for its own time."""
    now, other = clock.now(), Secret("o" * 43)
    lost, new = Secret("l" * 43), Secret("n" * 43)
    async with store.unit() as unit:
        one, two = await two_customers(unit, clock)
        for token, customer, source in (
            (TOKEN, one, "zabbix"),
            (OTHER, two, "zabbix"),
            (other, one, "grafana"),
        ):
            await unit.hooks.add(customer, source, token, now)
        await unit.hooks.exchange(one, "zabbix", lost, now)
        await unit.hooks.exchange(one, "zabbix", new, now)
        assert await unit.hooks.customer_of("zabbix", lost, now) is None
        await unit.hooks.told(lost, now)
        assert await unit.hooks.customer_of("zabbix", TOKEN, now) == one
        await unit.hooks.told(new, now + timedelta(hours=1))
        await unit.hooks.told(new, now + timedelta(hours=2))
        later = now + timedelta(hours=1)
        assert await unit.hooks.customer_of("zabbix", TOKEN, later) is None
        assert await unit.hooks.customer_of("zabbix", new, later) == one
        assert await unit.hooks.forget(later) == 1
        assert await unit.hooks.revoke_old(one, "zabbix") == 0
        assert await unit.hooks.revoke(one, "zabbix") == 1
        assert await unit.hooks.customer_of("zabbix", OTHER, later) == two
        assert await unit.hooks.customer_of("grafana", other, later) == one


async def test_whoever_remembers_tokens_hears_that_one_was_shut(store: Store, clock: Any) -> None:
    async with store.unit() as unit:
        one, _ = await two_customers(unit, clock)
        await unit.hooks.add(one, "zabbix", TOKEN, clock.now())
    before = store.shut
    async with store.unit() as unit:
        await unit.hooks.add(one, "zabbix", OTHER, clock.now())
        assert await unit.hooks.revoke_old(one, "zabbix") == 0
    assert store.shut == before

    async def revoke(unit: Unit) -> int:
        return await unit.hooks.revoke(one, "zabbix")

    assert await store.write(revoke) == 2
    assert store.shut == before + 1


async def test_the_database_holds_no_token(tmp_path: Path, clock: Any) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'own.sqlite'}"
    async with Store(url, Seal(Seal.new_key())) as store:
        await store.create()
        async with store.unit() as unit:
            one, _ = await two_customers(unit, clock)
            await unit.hooks.add(one, "vigilops", TOKEN, clock.now())
    content = contents(tmp_path)
    assert b"hailan" in content
    assert TOKEN.reveal().encode() not in content


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("own.sqlite*"))


async def test_a_repeat_is_known_and_its_time_is_kept(store: Store, clock: Any) -> None:
    now = clock.now()
    later = now + timedelta(seconds=5)
    async with store.unit() as unit:
        one, two = await two_customers(unit, clock)
        alert = SeenAlert(one, "vigilops", "k", now, now, "test", "磁盘_1 - a")
        again = SeenAlert(one, "vigilops", "k", later, later, "test", "磁盘_1 - a")
        elsewhere = SeenAlert(two, "vigilops", "k", now, now, "test", "磁盘_1 - a")
        assert await unit.hooks.accept(alert)
        assert not await unit.hooks.accept(again)
        assert await unit.hooks.accept(elsewhere)
    async with store.view() as unit:
        found = await unit.hooks.titled(one, "磁盘_1 - ")
        assert found is not None
        assert (found.at, found.last_at) == (now, later)
        assert await unit.hooks.titled(one, "磁盘%") is None
        assert await unit.hooks.titled(one, "磁盘11") is None
        assert await unit.hooks.tested(one, "vigilops", later)
        assert not await unit.hooks.tested(one, "vigilops", later + timedelta(seconds=1))
        assert not await unit.hooks.tested(one, "zabbix", now)


async def test_what_is_answered_200_is_kept(web: httpx.AsyncClient, store: Store) -> None:
    first = await web.post(address(), content=recorded("first"))
    again = await web.post(address(), content=recorded("first"))
    assert (first.status_code, first.json()) == (200, {"ok": True, "new": True})
    assert (again.status_code, again.json()) == (200, {"ok": True, "new": False})
    async with store.view() as unit:
        found = await unit.hooks.titled(1, "GOLD disk - ")
    assert found is not None
    assert (found.host, found.figure, found.kind) == ("srv-01", 25.7, "first")


@pytest.mark.parametrize(
    "path",
    [address(OTHER), address(source="zabbix"), "/hooks/vigilops/%ff%00", address(OTHER, "x")],
)
async def test_a_wrong_address_is_not_found(web: httpx.AsyncClient, path: str) -> None:
    answer = await web.post(path, content=recorded("first"))
    assert answer.status_code == 404
    assert answer.json()["error"] == "没有这个地址 / no such hook"


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 900_000, b'{"alert_id": "x"}', b"\xff"])
async def test_bad_json_is_the_senders_fault(web: httpx.AsyncClient, body: bytes) -> None:
    answer = await web.post(address(), content=body)
    assert answer.status_code == 400
    assert "无法识别的告警内容" in answer.json()["error"]
    assert "not a VigilOps webhook" in answer.json()["error"]


async def test_half_a_character_and_a_nul_are_no_500(web: httpx.AsyncClient) -> None:
    body = json.loads(recorded("first")) | {"title": "a\x00\ud800b"}
    answer = await web.post(address(), content=json.dumps(body).encode())
    assert answer.status_code in {200, 400}


async def test_more_than_a_megabyte_is_not_read(web: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 3 * MOST:
            read += 100_000
            yield b" " * 100_000

    answer = await web.post(address(), content=endless())
    assert answer.status_code == 413
    assert read < 2 * MOST
    at_most = recorded("first") + b" " * (MOST - len(recorded("first")))
    assert (await web.post(address(), content=at_most)).status_code == 200
    assert (await web.post(address(), content=at_most + b" ")).status_code == 413

"""/hook: an address is told by a one-time link to who asked, and nobody else ever sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.port import UsageError
from adapters.sources import TITLES
from adapters.webchat.link import WebChat
from adapters.words import Person, Role, Secret
from bot.web.links import router
from commands.hook import _known
from runbooks import hook_address
from runbooks import walk as walking
from runbooks.alerting import heartbeats
from runbooks.hook_address import HOOK_ADDRESS
from runbooks.kit import House, Kit
from storage.hooks import hash_of
from storage.records import Customer, Heartbeat, Run, RunStatus
from storage.store import Store
from storage.vault import Seal
from tests import blank
from tests.unit import test_pipeline
from tests.unit.test_pipeline import GROUP, LI, Desk
from tests.unit.test_respond import say, staff

desk = test_pipeline.desk

NOBODY = cast("Any", None)
ZHAO = Person("web", "zhao", "赵主管")
BOOKS: dict[str, Any] = {HOOK_ADDRESS.name: HOOK_ADDRESS}


@pytest.fixture
async def kit(tmp_path: Path, clock: Any) -> AsyncIterator[Kit]:
    url = blank.sqlite(tmp_path / "own.sqlite")
    async with Store(url, Seal(Seal.new_key())) as store, WebChat(tmp_path / "web.sqlite") as web:
        yield Kit(clock, store, {"web": web}, NOBODY, NOBODY, NOBODY)


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("own.sqlite*"))


async def told(kit: Kit, run: Run) -> tuple[str, str]:
    """Walk the run to its end; return the link's path and the code that ZHAO was told last."""
    done = await walking.walk(BOOKS, run.id, kit)
    assert done.status is RunStatus.DONE
    web = kit.chats["web"]
    assert isinstance(web, WebChat)
    said = "".join(str(post) for post in web.history(await web.direct(ZHAO)))
    assert "/hooks/" not in said
    return re.findall(r"/links/[\w-]+", said)[-1], re.findall(r"验证码：(\d{6})", said)[-1]


async def opened(kit: Kit, path: str, code: str) -> tuple[int, str]:
    """Open a link with a code; return the answer's status, and the token or what it says."""
    app = FastAPI()
    app.include_router(router(kit, BOOKS, NOBODY))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bot") as http:
        assert (await http.get(path)).status_code == 200
        answer = await http.post(path, data={"code": code})
    found = re.search(r"/hooks/[a-z]+/([\w-]{43})", answer.text)
    return answer.status_code, found[1] if found else answer.text


async def test_an_address_is_told_once_by_a_link_and_the_old_one_waits_for_that(
    kit: Kit, tmp_path: Path, clock: Any
) -> None:
    """Whoever asked for another one and never opens its link has not closed the first."""
    now, grace = clock.now(), kit.house.hook_grace
    async with kit.store.unit() as unit:
        owner = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
        first = await hook_address.open_hook(owner, "zabbix", "Zabbix", ZHAO, now, unit)
    path, code = await told(kit, first)
    assert (await opened(kit, path, "wrong!"))[0] == 403
    _, old = await opened(kit, path, code)
    async with kit.store.unit() as unit:
        assert await unit.vault.get(f"hook-address:{first.id}") is None, "known to nobody of ours"
        assert await unit.hooks.customer_of("zabbix", Secret(old), now) == owner.id
        second = await hook_address.rotate(owner, "zabbix", "Zabbix", ZHAO, now, unit)
    path, code = await told(kit, second)
    await clock.sleep(86_400)
    async with kit.store.view() as unit:
        far = clock.now() + timedelta(days=365)
        assert await unit.hooks.customer_of("zabbix", Secret(old), far) == owner.id
    _, new = await opened(kit, path, code)
    async with kit.store.view() as unit:
        over = clock.now() + grace
        just = over - timedelta(seconds=1)
        assert await unit.hooks.customer_of("zabbix", Secret(old), just) == owner.id
        assert await unit.hooks.customer_of("zabbix", Secret(old), over) is None
        assert await unit.hooks.customer_of("zabbix", Secret(new), over) == owner.id
    kept = contents(tmp_path)
    assert b"hailan" in kept
    for secret in (old, new):
        assert secret.encode() not in kept


async def test_a_link_whose_address_was_exchanged_again_says_so(kit: Kit, clock: Any) -> None:
    now = clock.now()
    async with kit.store.unit() as unit:
        owner = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
        await unit.hooks.add(owner.id, "zabbix", Secret("z" * 43), now)
        lost = await hook_address.rotate(owner, "zabbix", "Zabbix", ZHAO, now, unit)
    path, code = await told(kit, lost)
    async with kit.store.unit() as unit:
        await hook_address.rotate(owner, "zabbix", "Zabbix", ZHAO, now, unit)
    status, said = await opened(kit, path, code)
    assert status == 409
    assert "请用最新的链接" in said
    async with kit.store.view() as unit:
        assert await unit.hooks.customer_of("zabbix", Secret("z" * 43), now) == owner.id


async def test_a_jobs_address_is_told_the_same_way(kit: Kit, clock: Any) -> None:
    now = clock.now()
    async with kit.store.unit() as unit:
        owner = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
        run = await hook_address.expect(owner, "备份", timedelta(hours=1), ZHAO, now, unit)
    _, token = await opened(kit, *await told(kit, run))
    assert await heartbeats.beat(kit, None, Secret(token))


def test_a_source_that_is_none_is_named_with_those_that_are() -> None:
    house = House(sources={**TITLES, "mine": "自研监控"})
    assert _known(" Zabbix", house) == "zabbix"
    assert _known("Mine", house) == "mine"
    with pytest.raises(UsageError, match=r"没有告警源「nagios」，可用：alertmanager、.*、mine$"):
        _known("nagios", house)
    with pytest.raises(UsageError, match="接入流程自动配置"):
        _known("vigilops", house)


async def test_a_source_that_is_described_no_more_can_still_be_shut(desk: Desk) -> None:
    """Its token may be known to somebody, and it may be described again some day."""
    lead, now, token = replace(ZHAO, platform="paper"), desk.clock.now(), Secret("m" * 43)
    await staff(desk, (lead, Role.LEAD, None))
    async with desk.kit.store.unit() as unit:
        await unit.hooks.add(desk.customer.id, "mine", token, now)
    assert "没有告警源「mine」" in await say(desk, "/hook rotate mine", GROUP, lead)
    assert "没有旧地址" in await say(desk, "/hook revoke mine", GROUP, lead)
    assert "已关闭 mine 的 1 个地址" in await say(desk, "/hook revoke mine 全部", GROUP, lead)
    await desk.clock.sleep(1)
    assert "没有告警源「mine」" in await say(desk, "/hook revoke mine", GROUP, lead)
    async with desk.kit.store.view() as unit:
        assert await unit.hooks.customer_of("mine", token, now) is None


async def test_without_any_hook_the_list_names_what_can_be_opened(desk: Desk) -> None:
    lead = replace(ZHAO, platform="paper")
    await staff(desk, (lead, Role.LEAD, None))
    house = replace(desk.kit.house, sources={**TITLES, "mine": "自研监控"})
    desk.kit = replace(desk.kit, house=house)
    said = await say(desk, "/hook list", GROUP, lead)
    assert "alertmanager、grafana" in said
    assert "、mine" in said
    assert "vigilops" not in said


async def test_a_list_of_many_jobs_names_the_silent_ones_and_counts_the_rest(
    desk: Desk,
) -> None:
    """Hundreds of them no platform takes: whoever asked had no answer."""
    await staff(desk, (LI, Role.ENGINEER, None))
    now, owner = desk.clock.now(), desk.customer.id
    async with desk.kit.store.unit() as unit:
        for n in range(40):
            due, missed = now + timedelta(minutes=n), n in {35, 38}
            await unit.heartbeats.put(
                Heartbeat(owner, f"备份-{n:03}", hash_of(Secret(str(n))), 60, due, missed=missed)
            )
    said = await say(desk, "/hook list", GROUP, LI)
    assert said.count("备份-") == 30
    assert "备份-035 | 每 1 分钟 | 中断\n备份-038 | 每 1 分钟 | 中断\n备份-000" in said
    assert "另有 10 个任务" in said

"""/hook: an address is told to who asked, by a direct message, and nobody else ever sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from adapters.port import UsageError
from adapters.smn import Subscriptions
from adapters.sources import huawei
from adapters.webchat.link import WebChat
from adapters.words import Person, Secret
from commands.hook import _known
from runbooks import hook_address
from runbooks import walk as walking
from runbooks.hook_address import HOOK_ADDRESS
from runbooks.kit import Kit
from storage.records import Customer, Run, RunStatus
from storage.store import Store
from storage.vault import Seal

SUBSCRIPTION = Path("tests/golden/sources/huawei/subscription.json").read_bytes()
NOBODY = cast("Any", None)
ZHAO = Person("web", "zhao", "赵主管")
BOOKS: dict[str, Any] = {HOOK_ADDRESS.name: HOOK_ADDRESS}


@pytest.fixture
async def kit(tmp_path: Path, clock: Any) -> AsyncIterator[Kit]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'own.sqlite'}"
    async with Store(url, Seal(Seal.new_key())) as store, WebChat(tmp_path / "web.sqlite") as web:
        await store.create()
        yield Kit(clock, store, {"web": web}, NOBODY, NOBODY, NOBODY)


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("own.sqlite*"))


async def told(kit: Kit, run: Run) -> str:
    """Walk the run to its end; return the token in the address that ZHAO was told last."""
    done = await walking.walk(BOOKS, run.id, kit)
    assert done.status is RunStatus.DONE
    web = kit.chats["web"]
    assert isinstance(web, WebChat)
    said = json.dumps([str(post) for post in web.history(await web.direct(ZHAO))])
    return said.rpartition("/hooks/zabbix/")[2][:43]


async def test_an_address_is_told_once_and_an_exchanged_one_is_shut_out(
    kit: Kit, tmp_path: Path, clock: Any
) -> None:
    now = clock.now()
    async with kit.store.unit() as unit:
        owner = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
        first = await hook_address.open_hook(owner, "zabbix", "Zabbix", ZHAO, now, unit)
    old = await told(kit, first)
    async with kit.store.unit() as unit:
        assert await unit.hooks.customer_of("zabbix", Secret(old)) == owner.id
        second = await hook_address.rotate(owner, "zabbix", "Zabbix", ZHAO, now, unit)
    new = await told(kit, second)
    async with kit.store.view() as unit:
        assert await unit.hooks.customer_of("zabbix", Secret(old)) is None
        assert await unit.hooks.customer_of("zabbix", Secret(new)) == owner.id
    kept = contents(tmp_path)
    assert b"hailan" in kept
    assert old.encode() not in kept
    assert new.encode() not in kept


def test_a_source_that_is_none_is_named_with_those_that_are() -> None:
    assert _known(" Zabbix") == "zabbix"
    for wrong in ("nagios", "vigilops"):
        with pytest.raises(UsageError):
            _known(wrong)


async def answered(asked: Sequence[huawei.Confirmation]) -> list[str]:
    """Let the questions be answered against a world that signs nothing; return who was asked."""
    seen: list[str] = []

    def world(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, content=b"not a certificate")

    async with Subscriptions(transport=httpx.MockTransport(world)) as smn:
        for each in asked:
            smn.confirm(each)
        await smn.settled()
    return seen


async def test_a_question_that_huawei_did_not_sign_is_not_answered() -> None:
    """Its certificate is looked at; the address that it names is not."""
    asked = huawei.confirmation(SUBSCRIPTION)
    assert asked is not None
    assert await answered([asked]) == [asked.certificate_url]

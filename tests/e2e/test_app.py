"""The whole bot at work: typed, filled in, pressed, and started again in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.card import Buttons, plain
from adapters.documents import OfficeDocuments
from adapters.ssh import SshServers
from adapters.webchat.link import WebChat
from adapters.webchat.wire import Post
from adapters.words import Chat, Person, Role, Secret
from bot.app import SystemClock, working
from bot.demo.hosts import Hosts
from runbooks.kit import Kit
from storage.journal import journal_in
from storage.records import Customer, Firing, HeldAlert, Member
from storage.store import Store
from storage.vault import Seal

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@asynccontextmanager
async def at_work(folder: Path, key: Secret) -> AsyncIterator[WebChat]:
    """The bot as it is started on a machine: everything it knows is in the folder."""
    url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
    async with Store(url, Seal(key)) as store, WebChat(folder / "web.sqlite") as web:
        await store.create()
        async with store.unit() as unit:
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(ZHAO, Role.LEAD))
        kit = Kit(
            SystemClock(), store, {"web": web}, SshServers(), cast("Any", None), OfficeDocuments()
        )
        async with working(kit, journal_in(folder / "dbos.sqlite")):
            yield web


async def shown(web: WebChat, person: Person, title: str, text: str) -> tuple[Chat, Post]:
    """Wait until a card of a chat shows a text."""
    news = asyncio.Event()
    stop = web.watch(lambda _: news.set())
    try:
        async with asyncio.timeout(20):
            while True:
                news.clear()
                for chat in web.chats(person):
                    for post in web.history(chat):
                        if chat.title == title and post.card and text in plain(post.card):
                            return chat, post
                await news.wait()
    finally:
        stop()


async def test_an_alert_that_is_due_is_told_by_the_clock(tmp_path: Path) -> None:
    """Nobody does anything: what was taken in before the start is told after it."""
    key, now = Seal.new_key(), SystemClock().now()
    async with WebChat(tmp_path / "web.sqlite") as web:
        group = await web.found("海蓝科技 监控交付", [LI], chat_id="g1")
    async with Store(f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}", Seal(key)) as store:
        await store.create()
        async with store.unit() as unit:
            customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", now, group))
            firing = (Firing("1", now, now),)
            title = "Vigilbot 磁盘 > 90% - web-01"
            await unit.held.save(
                HeldAlert(customer.id, "disk", "web-01", firing, (), now, None, title)
            )
    async with at_work(tmp_path, key) as web:
        _, card = await shown(web, LI, group.title, "告警：磁盘 > 90%")
    assert card.card is not None
    assert "web-01" in plain(card.card)
    assert "未能核实" in plain(card.card)


async def test_an_onboarding_goes_on_after_a_restart(tmp_path: Path) -> None:
    key = Seal.new_key()
    async with Hosts(tmp_path / "hosts", count=2) as hosts:
        async with at_work(tmp_path, key) as web:
            ops = await web.found("运营群", [LI, ZHAO], chat_id="ops")
            await web.say(LI, ops, "/onboard 海蓝科技")
            _, form = await shown(web, LI, "运营群", "客户接入登记")
            rows = ["名称,地址,端口,用户,密码"]
            rows += [
                f"{s.name},{s.host},{s.port},{s.user},{s.password.reveal()}" for s in hosts.specs
            ]
            values = {
                "contacts": "王经理，13800000000",
                "channels": "feishu",
                "servers": "\n".join(rows),
            }
            await web.submit(LI, ops, form.id, "onboard", values)
            await shown(web, ZHAO, "海蓝科技 监控交付", "⏳ 确认合同已签")

        async with at_work(tmp_path, key) as web:
            group, card = await shown(web, ZHAO, "海蓝科技 监控交付", "⏳ 确认合同已签")
            assert card.card is not None
            (action,) = [
                button.action
                for block in card.card.blocks
                if isinstance(block, Buttons)
                for button in block.buttons
            ]
            await web.press(ZHAO, group, card.id, action)
            await shown(web, ZHAO, "海蓝科技 监控交付", "✅ 检查服务器连通性（2/2 台完成）")
            cards = [post for post in web.history(group) if post.card]
            assert len(cards) == 1

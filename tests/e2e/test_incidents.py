"""The whole bot over its web chat: a monitor posts, the group sees a card, somebody presses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import pytest

from adapters.card import Buttons, plain
from adapters.documents import OfficeDocuments
from adapters.sources import SOURCES
from adapters.ssh import SshServers
from adapters.webchat.link import WebChat
from adapters.webchat.wire import Post
from adapters.words import Chat, Person, Role, Secret
from bot.app import SystemClock, working
from bot.build import house_of
from bot.config import Settings, load
from bot.web.site import create_api
from runbooks.kit import House, Kit
from storage.intake import Intake
from storage.journal import journal_in
from storage.records import Customer, Member
from storage.store import Store
from storage.vault import Seal

LI = Person("web", "li", "李工")
WANG = Person("web", "wang", "王经理")
ZHAO = Person("web", "zhao", "赵主管")
TOKEN = "t" * 43
FOUND = TypeVar("FOUND")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@dataclass(frozen=True, slots=True)
class Group:
    """A customer's group, the bot in it, and the address that its monitor posts to."""

    web: WebChat
    chat: Chat
    http: httpx.AsyncClient

    async def post(
        self, *alerts: tuple[str, str, str], status: str = "firing", token: str = TOKEN
    ) -> None:
        body = {
            "version": "4",
            "status": status,
            "alerts": [
                {
                    "status": status,
                    "labels": {"alertname": rule, "instance": host, "severity": severity},
                    "annotations": {"summary": f"{rule} on {host}"},
                    "startsAt": "2026-11-25T03:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "fingerprint": f"{rule}@{host}",
                }
                for rule, host, severity in alerts
            ],
        }
        answer = await self.http.post(f"/hooks/alertmanager/{token}", content=json.dumps(body))
        assert answer.status_code == 200

    async def until(self, look: Callable[[], FOUND | None]) -> FOUND:
        news = asyncio.Event()
        stop = self.web.watch(lambda _: news.set())
        try:
            async with asyncio.timeout(30):
                while True:
                    news.clear()
                    found = look()
                    if found is not None:
                        return found
                    await news.wait()
        finally:
            stop()

    async def shows(self, title: str, text: str = "") -> Post:
        """Wait for a card with this in its title and its text."""

        def look() -> Post | None:
            for post in reversed(self.web.history(self.chat)):
                if post.card and title in post.card.title and text in plain(post.card):
                    return post
            return None

        return await self.until(look)

    async def claim(self, to: Person, number: int, source: str = "alertmanager") -> str:
        """Open the so-manieth link that somebody was told, with its code; return the token in the
        address that its page shows."""
        chat = await self.web.direct(to)

        def look() -> tuple[str, str] | None:
            said = "".join(str(post) for post in self.web.history(chat))
            links = re.findall(r"/links/[\w-]+", said)
            codes = re.findall(r"验证码：(\d{6})", said)
            return (links[number], codes[number]) if len(codes) > number else None

        path, code = await self.until(look)
        page = await self.http.post(path, data={"code": code})
        (token,) = re.findall(rf"/hooks/{source}/([\w-]{{43}})", page.text)
        return str(token)

    async def press(self, post: Post, label: str, by: Person = LI) -> None:
        assert post.card
        (action,) = [
            button.action
            for block in post.card.blocks
            if isinstance(block, Buttons)
            for button in block.buttons
            if button.label.startswith(label)
        ]
        await self.web.press(by, self.chat, post.id, action)


@asynccontextmanager
async def at_work(
    folder: Path, key: Secret, settings: Settings | None = None
) -> AsyncIterator[Group]:
    """The bot as it is started on a machine; the second time it finds what the first one left."""
    url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
    async with (
        Store(url, Seal(key)) as store,
        Intake(url) as intake,
        WebChat(folder / "web.sqlite") as web,
    ):
        await store.create()
        chat = await web.found("海蓝科技 监控交付", [LI, WANG, ZHAO], chat_id="g1")
        clock = SystemClock()
        async with store.unit() as unit:
            if not await unit.customers.named("海蓝科技"):
                made = Customer(0, "海蓝科技", "hailan", clock.now(), chat)
                customer = await unit.customers.add(made)
                await unit.people.put(Member(LI, Role.ENGINEER))
                await unit.people.put(Member(ZHAO, Role.LEAD))
                await unit.people.put(Member(WANG, Role.CUSTOMER, customer.id))
                await unit.hooks.add(customer.id, "alertmanager", Secret(TOKEN), clock.now())
        house = house_of(settings) if settings else House()
        sources = settings.known_sources if settings else SOURCES
        monitors, documents = cast("Any", None), OfficeDocuments()
        kit = Kit(clock, store, {"web": web}, SshServers(), monitors, documents, house)
        journal = journal_in(folder / "dbos.sqlite")
        async with working(kit, journal, posts=intake, sources=sources) as bot:
            transport = httpx.ASGITransport(app=create_api(kit, bot, None))
            async with httpx.AsyncClient(transport=transport, base_url="http://bot") as http:
                yield Group(web, chat, http)


async def test_a_critical_is_mentioned_acknowledged_and_recovers(tmp_path: Path) -> None:
    async with at_work(tmp_path, Seal.new_key()) as group:
        await group.post(("磁盘满", "db-01", "critical"))
        await group.shows("新的严重告警", "磁盘满 · db-01")
        card = await group.shows("告警：磁盘满", "❗ 未确认")
        await group.press(card, "确认")
        acked = await group.shows("告警：磁盘满", "👀 已确认（李工）")
        assert acked.id == card.id
        await group.post(("磁盘满", "db-01", "critical"), status="resolved")
        await group.shows("✅ 已恢复：磁盘满")
        await group.shows("✅ 告警：磁盘满", "✅ 已恢复")


async def test_a_customer_may_look_and_may_not_acknowledge(tmp_path: Path) -> None:
    async with at_work(tmp_path, Seal.new_key()) as group:
        await group.post(("磁盘满", "db-01", "critical"))
        card = await group.shows("告警：磁盘满", "❗ 未确认")
        await group.press(card, "确认", WANG)
        await group.shows("请再看一下", "这一步需要工程师来操作")


async def test_a_storm_is_one_card_and_commands_do_what_buttons_do(tmp_path: Path) -> None:
    async with at_work(tmp_path, Seal.new_key()) as group:
        await group.post(*((f"规则{n}", f"web-{n % 9}", "warning") for n in range(60)))
        await group.shows("告警风暴", "警告 60")
        await group.post(("数据库宕机", "db-01", "critical"))
        storm = await group.shows("告警风暴", "数据库宕机 · db-01")
        await group.shows("新的严重告警", "数据库宕机 · db-01")
        await group.press(storm, "确认全部")
        await group.shows("告警风暴", "已确认 61 个")
        titles = [post.card.title for post in group.web.history(group.chat) if post.card]
        assert len([title for title in titles if "告警风暴" in title]) == 1
        assert len(titles) == 2
        await group.web.say(LI, group.chat, "/alerts")
        await group.shows("告警", "数据库宕机")
        await group.web.say(LI, group.chat, "/unack 61")
        await group.shows("告警", "已取消确认 #61")
        await group.web.say(LI, group.chat, "/incident 61")
        await group.shows("告警：数据库宕机", "❗ 未确认")
        await group.web.say(LI, group.chat, "/resolve 61")
        await group.shows("告警", "已关闭 #61")
        await group.web.say(LI, group.chat, "/ack 9999")
        await group.shows("请再看一下", "没有这个告警组")


async def test_what_was_accepted_before_a_restart_is_told_after_it(tmp_path: Path) -> None:
    """The intake's file alone has it: nobody had folded it yet."""
    key = Seal.new_key()
    async with at_work(tmp_path, key) as group:
        chat = group.chat
    url = f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    async with Store(url, Seal(key)) as store, Intake(url) as intake:
        async with store.view() as unit:
            customer = await unit.customers.of_chat(chat)
        assert customer
        alert = {
            "labels": {"alertname": "磁盘满", "severity": "critical"},
            "annotations": {},
            "status": "firing",
            "fingerprint": "1",
            "startsAt": "2026-11-25T03:00:00Z",
        }
        body = json.dumps({"version": "4", "status": "firing", "alerts": [alert]}).encode()
        await intake.accept(customer.id, "alertmanager", body, SystemClock().now())
    async with at_work(tmp_path, key) as group:
        await group.shows("新的严重告警", "磁盘满")


async def test_a_typed_hook_becomes_a_link_an_address_and_an_incident(tmp_path: Path) -> None:
    """Nothing of it is in the group: the lead opens the link, and the monitor posts where it says.
    Then it is exchanged, the old one goes on, and is shut by a word."""
    async with at_work(tmp_path, Seal.new_key()) as group:
        await group.web.say(ZHAO, group.chat, "/hook add alertmanager")
        await group.shows("开通 Alertmanager", "一次性链接将私信给您")
        first = await group.claim(ZHAO, 0)
        await group.post(("磁盘满", "db-01", "critical"), token=first)
        await group.shows("告警：磁盘满", "❗ 未确认")
        await group.web.say(ZHAO, group.chat, "/hook rotate alertmanager")
        await group.shows("更换 Alertmanager 的地址", "/hook revoke alertmanager")
        second = await group.claim(ZHAO, 1)
        await group.post(("内存满", "db-02", "critical"), token=first)
        await group.shows("告警：内存满", "❗ 未确认")
        await group.post(("磁盘满", "db-01", "critical"), token=second, status="resolved")
        await group.shows("✅ 已恢复：磁盘满")
        await group.web.say(ZHAO, group.chat, "/hook list")
        await group.shows("告警接入", "旧地址，")
        await group.web.say(ZHAO, group.chat, "/hook revoke alertmanager")
        await group.shows("已关闭 Alertmanager 的 2 个地址")
        gone = await group.http.post(f"/hooks/alertmanager/{first}", content=b"{}")
        assert gone.status_code == 404
        await group.web.say(ZHAO, group.chat, "/hook revoke alertmanager")
        await group.shows("请再看一下", "没有旧地址")
        await group.post(("内存满", "db-02", "critical"), token=second, status="resolved")
        await group.shows("✅ 已恢复：内存满")
        said = "".join(str(post) for post in group.web.history(group.chat))
        assert "/links/" not in said
        assert first not in said


OWN = """
[vault]
key = "env:K"
[web]
password = "env:P"
[sources.my_monitor-2]
label = "自研监控"
rule = "rule"
host = "host"
severity = "level"
"""


async def test_a_monitor_that_the_configuration_describes_gets_its_address(tmp_path: Path) -> None:
    """What it posts has no end, so a person closes it; what it posts then is told again."""
    key, name = Seal.new_key(), "my_monitor-2"
    (tmp_path / "own.toml").write_text(OWN, encoding="utf-8")
    settings = load(tmp_path / "own.toml", {"K": key.reveal(), "P": "open"})
    said = json.dumps({"rule": "备份失败", "host": "db-01", "level": "critical"})
    async with at_work(tmp_path, key, settings) as group:
        await group.web.say(ZHAO, group.chat, "/hook add nagios")
        await group.shows("请再看一下", f"zabbix、aliyun、tencent、huawei、{name}")
        await group.web.say(ZHAO, group.chat, f"/hook add {name}")
        await group.shows("开通 自研监控", "一次性链接将私信给您")
        old = await group.claim(ZHAO, 0, name)
        assert (await group.http.post(f"/hooks/{name}/{old}", content=said)).status_code == 200
        card = await group.shows("告警：备份失败", "❗ 未确认")
        await group.press(card, "已解决")
        await group.shows("✅ 告警：备份失败", "没有在触发的")
        await group.web.say(ZHAO, group.chat, f"/hook rotate {name}")
        await group.shows("更换 自研监控 的地址")
        token = await group.claim(ZHAO, 1, name)
        assert (await group.http.post(f"/hooks/{name}/{token}", content=said)).status_code == 200
        await group.shows("🔴 告警：备份失败", "❗ 未确认")

"""What people do so as not to be told, through the real inbox and outbox: silences and maintenance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.card import plain
from adapters.documents import OfficeDocuments
from adapters.ssh import SshKeys, SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.words import Alert, Chat, Message, Person, Role, Severity
from bot.inbox import Inbox
from bot.sender import Sender
from commands.contents import BOOK
from runbooks.alerting import pipeline, show, windows
from runbooks.alerting.muting import maintenance, silences
from runbooks.alerting.pipeline import Post
from runbooks.kit import House, Kit
from storage.records import Customer, Member, Muted, Run
from storage.store import Store, Unit

LI = Person("web", "li", "李工")
WANG = Person("web", "wang", "王经理")
NONE: Mapping[str, Any] = {}
HOUR = timedelta(hours=1)


class Group:
    """A customer's group with an engineer and somebody of the customer's."""

    def __init__(self, kit: Kit, web: WebChat, clock: Any) -> None:
        self.kit, self.web, self.clock = kit, web, clock
        self.store = kit.store
        self.inbox = Inbox(
            kit.store, NONE, clock, self.go, BOOK, kit.documents, SshKeys(), house=kit.house
        )
        self.sender = Sender(kit.store, {"web": web}, self.draw, clock)
        self.count = 0
        self.chat: Chat
        self.customer: Customer

    async def go(self, run: Run) -> None:
        raise AssertionError(f"nobody asked to walk {run.id}")

    async def draw(self, key: str, unit: Unit) -> Any:
        return await show.drawn(key, self.kit, unit)

    async def open(self) -> None:
        self.chat = await self.web.open_chat("海蓝 监控交付", [LI, WANG], key="g")
        async with self.store.unit() as unit:
            one = Customer(0, "海蓝", "hailan", self.clock.now(), self.chat)
            self.customer = await unit.customers.add(one)
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(WANG, Role.CUSTOMER, self.customer.id))

    async def type(self, text: str, by: Person = LI) -> str:
        """Say something and return the bot's answer."""
        self.count += 1
        message = Message(f"m{self.count}", self.chat, by, text, self.clock.now())
        await self.inbox.take(message)
        await self.speak()
        async with self.store.view() as unit:
            reply = await unit.outbox.by_key(f"reply:web:m{self.count}")
        assert reply
        return next(
            plain(post.card)
            for post in self.web.history(self.chat)
            if post.id == reply.receipt and post.card
        )

    async def speak(self) -> None:
        for _ in range(3):
            await self.clock.sleep(2)
            await self.sender.drain()

    async def post(self, *alerts: Alert) -> None:
        """A monitor tells of alerts."""
        now = self.clock.now()
        async with self.store.unit() as unit:
            told = Post("test", now, alerts)
            await pipeline.fold(self.customer, [told], now, self.kit.house, unit)

    async def hidden(self) -> list[str]:
        async with self.store.view() as unit:
            found = await unit.incidents.firing(self.customer.id, 100, hidden=True)
        return [one.hidden for one in found]

    async def tick(self) -> list[str]:
        """Let the clock do what is due, and return what the group was told."""
        before = {post.id for post in self.web.history(self.chat)}
        await windows.announce(self.kit)
        await pipeline.look(self.kit)
        await self.speak()
        said = [post for post in self.web.history(self.chat) if post.id not in before]
        return [plain(post.card) for post in said if post.card]

    async def sleep(self, span: timedelta) -> None:
        await self.clock.sleep(span.total_seconds())


@pytest.fixture
async def group(store: Store, tmp_path: Path, clock: Any) -> AsyncIterator[Group]:
    async with WebChat(tmp_path / "web.sqlite") as web, VigilOpsMonitors() as monitors:
        kit = Kit(clock, store, {"web": web}, SshServers(), monitors, OfficeDocuments(), House())
        one = Group(kit, web, clock)
        await one.open()
        yield one


def alert(host: str, severity: Severity = Severity.CRITICAL, *, firing: bool = True) -> Alert:
    return Alert(f"cpu {host}", firing, severity, "CPU", host, f"CPU 过高 {host}")


async def test_a_silence_is_set_listed_and_ended_and_all_of_it_is_written_down(
    group: Group,
) -> None:
    said = await group.type("/silence host=web-01 2h 正在换硬盘")
    assert "已静默 #1" in said
    assert "11-25 13:00" in said
    assert 'host="web-01"' in await group.type("/silence")
    await group.post(alert("web-01"))
    (why,) = await group.hidden()
    assert why.startswith("静默 #1（李工，至 11-25 13:00，正在换硬盘）")
    assert "已解除静默 #1" in await group.type("/unsilence 1")
    assert await group.hidden() == []
    assert "已经结束" in await group.type("/unsilence 1")
    assert "现在没有静默" in await group.type("/silence")
    async with group.store.view() as unit:
        kept = await unit.silences.get(1)
        deeds = [entry.deed for entry in await unit.audit.entries()]
    assert kept
    assert kept.ended_by == LI
    assert deeds == ["silence", "unsilence"]


async def test_a_silence_hides_what_fires_already(group: Group) -> None:
    await group.post(alert("web-01"), alert("web-02"))
    await group.type("/silence host=web-01 2h 正在换硬盘")
    assert len(await group.hidden()) == 1
    await group.sleep(2 * HOUR)
    await group.tick()
    assert await group.hidden() == []


async def test_only_staff_silences(group: Group) -> None:
    assert "工程师" in await group.type("/silence host=web-01 2h 原因", WANG)
    assert "工程师" in await group.type("/maintain 现在 1h 原因", WANG)


async def test_what_is_of_another_customer_is_out_of_reach(group: Group) -> None:
    now = group.clock.now()
    async with group.store.unit() as unit:
        other = await unit.customers.add(Customer(0, "别家", "bie", now))
        asked = silences.read("host=web-01 2h 正在换硬盘")
        await silences.silence(other, asked, LI, now, unit)
        plan = maintenance.read("现在 1h 换交换机", now, House().zone)
        await windows.plan(other, plan, LI, now, unit)
    await group.post(alert("web-01"))
    assert await group.hidden() == []
    assert "本群没有静默 #1" in await group.type("/unsilence 1")
    assert "本群没有维护窗口 #1" in await group.type("/maintain end 1")
    assert "现在没有静默" in await group.type("/silence")
    assert "没有计划中的维护" in await group.type("/maintain")


async def test_a_window_is_told_before_at_the_start_and_at_the_end_with_what_it_hid(
    group: Group,
) -> None:
    said = await group.type("/maintain 14:00 1h host=~“web-.*” 升级数据库")
    assert "维护窗口 #1 已计划" in said
    assert "下次 11-25 14:00" in await group.type("/maintain")
    assert await group.tick() == []
    await group.sleep(2 * HOUR)
    (notice,) = await group.tick()
    assert "即将维护：11-25 14:00" in notice
    assert await group.tick() == []
    await group.post(alert("web-01", Severity.WARNING))
    await group.speak()
    await group.sleep(HOUR)
    said_at_start = await group.tick()
    assert any("维护开始：升级数据库" in each for each in said_at_start)
    assert len(await group.hidden()) == 1, "what fired before is hidden too"
    await group.post(alert("web-02"))
    await group.post(alert("web-02", firing=False))
    await group.post(alert("web-02"))
    assert not any("web-02" in each for each in await group.tick())
    await group.sleep(HOUR)
    told = await group.tick()
    report = next(each for each in told if "维护结束" in each)
    assert "隐藏了 2 个告警，其中严重 1 个" in report
    assert "严重 | CPU 过高 web-02 | web-02 |" in report
    assert report.splitlines()[-2].endswith("| 2")
    assert await group.hidden() == []
    assert not any("维护" in each for each in await group.tick())


async def test_a_window_that_comes_back_is_told_each_time(group: Group) -> None:
    await group.type("/maintain 每天 12:30 30m 备份")
    told = list[str]()
    for _ in range(5 * 24):
        told += await group.tick()
        await group.sleep(HOUR / 2)
    heads = [each.splitlines()[0] for each in told]
    assert sum("即将维护" in each for each in heads) == len(heads) / 3
    assert sum("维护结束" in each for each in heads) in {2, 3}
    assert all("没有告警被隐藏" in each for each in told if "维护结束" in each)


async def test_a_window_called_off_hides_nothing_and_is_reported(group: Group) -> None:
    await group.type("/maintain 现在 2h 换交换机")
    await group.tick()
    await group.post(alert("web-01"))
    assert len(await group.hidden()) == 1
    assert "已取消" in await group.type("/maintain end 1")
    assert await group.hidden() == []
    assert "已经取消" in await group.type("/maintain end 1")
    assert "没有计划中的维护" in await group.type("/maintain")
    assert any("隐藏了 1 个告警" in each for each in await group.tick())


async def test_what_a_window_hid_is_counted_with_its_worst(group: Group) -> None:
    await group.type("/maintain 现在 2h 换交换机")
    now = group.clock.now()
    first = Muted(1, now, "f", Severity.WARNING, "CPU", "web-01", "", now, now)
    worse = Muted(1, now, "f", Severity.CRITICAL, "CPU", "web-01", "", now + HOUR, now + HOUR)
    async with group.store.unit() as unit:
        for each in (first, worse, first):
            await unit.maintenance.note(each)
        (kept,) = await unit.maintenance.muted(1, now)
    assert (kept.severity, kept.count, kept.first_at) == (Severity.CRITICAL, 3, now)

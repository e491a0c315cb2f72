"""The whole SOP in WeCom, where a group is made by hand, a form is a page, and nothing that was said
can be edited: from the command to the signed acceptance."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from adapters.card import Card, loads, plain
from adapters.port import ChatPlatform
from adapters.wecom import wire
from adapters.wecom.link import WeCom
from adapters.words import Chat, File, Person, Secret
from bot.app import SystemClock
from bot.demo.hosts import Spec
from runbooks.onboarding import ONBOARDING
from tests.e2e.abroad import Abroad, abroad
from tests.e2e.stage import answers, sheet
from tests.sim.wecom import BOT_ID, NAME, SECRET, Shown, WeComSim, read

# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = pytest.mark.xdist_group("ports")

COMPANY = "海蓝科技"
SPECS = (Spec("web-01", cpu=4, memory_mb=8192, disk_gb=100), Spec("db-01", cpu=2))
NOT_WALKED = {"invite"}
"""Lines that do not concern this customer: everybody signs in the chat."""


class WeComCountry:
    """An enterprise and its people; the page of a form is opened with a browser of theirs."""

    def __init__(self) -> None:
        self.sim = WeComSim(SystemClock().now)

    async def start(self) -> None:
        await self.sim.__aenter__()

    async def stop(self) -> None:
        await self.sim.__aexit__(None)

    def platform(self, folder: Path) -> ChatPlatform:
        self.link = WeCom(
            BOT_ID,
            Secret(SECRET),
            state=folder / "wecom.sqlite",
            clock=SystemClock(),
            ws_url=self.sim.ws_url,
        )
        return self.link

    def person(self, name: str) -> Person:
        return Person("wecom", self.sim.user(name), name)

    def found(self, title: str, *people: Person) -> Chat:
        room = self.sim.found(title, *(one.id for one in people))
        return Chat("wecom", room.id, title)

    def find(self, title: str) -> Chat | None:
        rooms = [room for room in self.sim.rooms.values() if room.title == title]
        return Chat("wecom", rooms[0].id, title) if rooms else None

    def join(self, chat: Chat, *people: Person) -> None:
        self.sim.rooms[chat.id].members |= {one.id for one in people}

    async def until(self, true: Callable[[], bool], within: float) -> None:
        async with asyncio.timeout(within):
            for _ in itertools.count():
                if true():
                    return
                await asyncio.sleep(0.02)

    def posts(self, chat: Chat) -> list[tuple[str, str]]:
        """Return what was said; what can be pressed and filled in is read off its card."""
        return [self._read(one) for one in self.sim.rooms[chat.id].shown]

    def _read(self, one: Shown) -> tuple[str, str]:
        if one.kind != "template_card":
            return "", read(one)
        task = one.body["task_id"]
        return task, plain(self._card(task)) if "✓" not in str(one.body) else read(one)

    def _card(self, task: str) -> Card:
        found = self.link._memory.get("card", task)
        assert found
        return loads(json.loads(found[0])[2])

    async def say(self, person: Person, chat: Chat, text: str) -> None:
        alone = chat.id.startswith("@")
        await self.sim.say(person.id, chat.id, text if alone else f"@{NAME} {text}")

    async def press(self, person: Person, chat: Chat, card: str, action: str) -> None:
        await self._press(person, chat, card, f"{wire.PRESS}{action}")
        sure = f"{wire.SURE}{action}"
        seen = self.sim.card(person.id, chat.id, card)
        if any(button["key"] == sure for button in seen["button_list"]):
            await self.sim.press(person.id, chat.id, card, sure)

    async def submit(
        self,
        person: Person,
        chat: Chat,
        card: str,
        action: str,
        values: Mapping[str, str],
        file: File | None,
    ) -> None:
        """Have the page opened that only the presser is shown, and send what it asks."""
        await self._press(person, chat, card, f"{wire.ASK}{action}")
        url = self.sim.card(person.id, chat.id, card)["jump_list"][0]["url"]
        async with httpx.AsyncClient(trust_env=False, timeout=30) as browser:
            page = await browser.get(url)
            assert page.status_code == 200, page.text
            told = _filled(page.text) | {
                name: value.split(",") if name == "channels" else value
                for name, value in values.items()
            }
            posted = [("file", (file.name, file.content))] if file else []
            sent = await browser.post(url, data=told, files=posted or {"": ("", b"")})
            assert sent.status_code == 200, sent.text
            again = await browser.get(url)
            assert again.status_code == 410

    async def _press(self, person: Person, chat: Chat, card: str, key: str) -> None:
        self.sim.updated.clear()
        await self.sim.press(person.id, chat.id, card, key)
        async with asyncio.timeout(10):
            await self.sim.updated.wait()


def _filled(page: str) -> dict[str, str | list[str]]:
    """Return what the page is prefilled with, as a browser would send it."""
    boxes = re.findall(r'<input type="(?:text|number)" name="(\w+)" value="([^"]*)"', page)
    areas = re.findall(r'<textarea name="(\w+)"[^>]*>([^<]*)</textarea>', page)
    chosen: dict[str, str | list[str]] = dict(boxes + areas)
    for name, options in re.findall(r'<select name="(\w+)">(.*?)</select>', page):
        picked = re.findall(r'value="([^"]*)" selected', options)
        chosen[name] = picked[0] if picked else ""
    return chosen


def servers(world: Abroad) -> File:
    reach = [world.hosts[spec.name].spec for spec in SPECS]
    return sheet([(s.name, s.host, s.port, s.user, s.password.reveal()) for s in reach])


async def test_a_customer_is_onboarded_and_signs(tmp_path: Path) -> None:
    """Every line of the table ends well, and the group reads of it in a few posts."""
    country = WeComCountry()
    async with abroad(country, tmp_path, SPECS) as world:
        country.link.pages.public_url = world.address
        li, zhao, wang, chen = world.li, world.zhao, world.wang, world.chen
        # Who is to be told an address alone must have written to the bot alone.
        await country.say(li, Chat("wecom", f"@{li.id}"), "/whoami")
        await country.say(zhao, world.ops, "/ops")
        await country.say(li, world.ops, f"/onboard {COMPANY}")
        values = answers(tier="pro", domain="ops.hailan.example.com", location="cloud")
        await world.fill(li, world.ops, "客户接入登记", values, servers(world))

        await world.shows(world.ops, "/bind 公司名", title="客户一览", within=75)
        group = country.found(f"{COMPANY} 监控交付", li, zhao)
        await country.say(li, group, f"/bind {COMPANY}")
        await world.shows(group, "确认合同已签", title="客户接入")
        await world.shows(group, "服务合同", title=".docx")
        await world.introduce(group)
        country.join(group, wang, chen)
        await world.press(zhao, group, "确认合同已签")

        await world.fill(li, group, "⏳ 确认通知渠道", {"email": "ops@hailan.example.com"})
        await world.press(wang, group, "收到")
        on_call = {"on_call": "李工，13700000000\n赵主管，13600000000", "minutes": "5，15"}
        await world.fill(li, group, "⏳ 设置告警升级策略", on_call)

        approvers = {"approvers": "王经理\n陈总", "need": "2"}
        await world.fill(li, group, "⏳ 指定验收人", approvers)
        drill = {"host": "web-01", "done": "清理 /tmp 下的临时文件，磁盘使用率下降"}
        await world.fill(li, group, "⏳ 自动修复演练", drill)
        await world.press(wang, group, "已培训")
        await world.press(wang, group, "签字验收")
        await world.press(chen, group, "签字验收")

        await world.shows(group, "✅ 进入持续运维")
        told = await world.timeline()
        for line in ONBOARDING.lines:
            assert (f"✅ {line.title} " in told) == (line.key not in NOT_WALKED), told
        posts = country.posts(group)
        assert len([text for _, text in posts if "客户接入 · " in text]) < 40
        assert any("验收报告" in text for _, text in posts)

"""The whole bot at work in a Slack workspace: a command, a modal, a press, and a restart between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.documents import OfficeDocuments
from adapters.slack.link import Slack
from adapters.ssh import SshServers
from adapters.words import Person, Role, Secret
from bot.app import SystemClock, working
from bot.demo.hosts import Hosts
from runbooks.kit import Kit
from storage.journal import journal_in
from storage.records import Member
from storage.store import Store
from storage.vault import Seal
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, Channel, SlackSim

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@asynccontextmanager
async def at_work(folder: Path, key: Secret, sim: SlackSim) -> AsyncIterator[None]:
    """The bot as it is started on a machine; Li is an engineer, Zhao a lead."""
    url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
    clock = SystemClock()
    slack = Slack(Secret(BOT_TOKEN), Secret(APP_TOKEN), base_url=sim.base_url, clock=clock)
    async with Store(url, Seal(key)) as store, slack:
        await store.create()
        async with store.unit() as unit:
            await unit.people.put(Member(Person("slack", sim.user("Li")), Role.ENGINEER))
            await unit.people.put(Member(Person("slack", sim.user("Zhao")), Role.LEAD))
        chats = {"slack": slack}
        kit = Kit(clock, store, chats, SshServers(), cast("Any", None), OfficeDocuments())
        async with working(kit, journal_in(folder / "dbos.sqlite")):
            yield


async def shown(sim: SlackSim, text: str) -> tuple[Channel, dict[str, Any]]:
    """Wait until a message of the bot's shows a text."""

    def found() -> list[tuple[Channel, dict[str, Any]]]:
        return [
            (channel, one)
            for channel in sim.channels.values()
            for one in sim.said(channel.id)
            if text in one["text"]
        ]

    await sim.until(found)
    return found()[0]


async def test_an_onboarding_goes_on_in_slack_after_a_restart(tmp_path: Path) -> None:
    """From a slash command to the probed servers: one living card, redrawn in one channel."""
    key = Seal.new_key()
    async with Hosts(tmp_path / "hosts", count=2) as hosts, SlackSim() as sim:
        li, zhao = sim.user("Li"), sim.user("Zhao")
        ops = sim.channel("ops", li, zhao)
        async with at_work(tmp_path, key, sim):
            await sim.slash(li, ops, "/onboard", "海蓝科技")
            _, form = await shown(sim, "客户接入登记")
            rows = ["名称,地址,端口,用户,密码"]
            rows += [
                f"{s.name},{s.host},{s.port},{s.user},{s.password.reveal()}" for s in hosts.specs
            ]
            values = {
                "contacts": "王经理，IT 主管，13800000000，wang@hailan.example",
                "channels": "feishu",
                "servers": "\n".join(rows),
            }
            view = await sim.open_form(li, ops, form["ts"])
            await sim.submit(li, view, values)
            room, _ = await shown(sim, "⏳ 确认合同已签")
            assert room.name.startswith("海蓝科技-监控交付-")
            assert li in room.members
            assert sim.invited_by_mail == ["wang@hailan.example"]

        async with at_work(tmp_path, key, sim):
            room, card = await shown(sim, "⏳ 确认合同已签")
            room.members.add(zhao)
            (button,) = [
                element
                for block in card["blocks"]
                if block["type"] == "actions"
                for element in block["elements"]
            ]
            await sim.press(zhao, room.id, card["ts"], button["value"])
            await shown(sim, "✅ 检查服务器连通性（2/2 台完成）")
            cards = [one for one in sim.said(room.id) if one.get("metadata")]
            assert len(cards) == 1
            files = [one["files"][0]["title"] for one in sim.said(room.id) if one.get("files")]
            assert files[0] == "服务合同-海蓝科技.docx"

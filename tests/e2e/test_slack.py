"""The whole bot at work in a Slack workspace, by a socket and by its own address: a command, a modal,
a press, and a restart between."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.documents import OfficeDocuments
from adapters.slack.link import Slack
from adapters.ssh import SshServers
from adapters.words import NOTHING, Person, Role, Secret
from bot import pairing
from bot.app import Bot, SystemClock, working
from bot.demo.hosts import Hosts
from bot.web.site import create_api, listening, serving
from runbooks.kit import Kit
from storage.journal import journal_in
from storage.records import Member
from storage.store import Store
from storage.vault import Seal
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, Channel, SlackSim
from tests.sim.slack_calls import SIGNING_SECRET

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
KNOWN = {"Li": Role.ENGINEER, "Zhao": Role.LEAD}


@asynccontextmanager
async def by_socket(folder: Path, key: Secret, sim: SlackSim) -> AsyncIterator[None]:
    slack = Slack(Secret(BOT_TOKEN), Secret(APP_TOKEN), base_url=sim.base_url, clock=SystemClock())
    async with at_work(folder, key, sim, slack):
        yield


@asynccontextmanager
async def by_address(folder: Path, key: Secret, sim: SlackSim) -> AsyncIterator[None]:
    """No socket: Slack calls the bot's own site, whose only proof is the signature."""
    slack = Slack(
        Secret(BOT_TOKEN),
        NOTHING,
        base_url=sim.base_url,
        clock=SystemClock(),
        signing_secret=Secret(SIGNING_SECRET),
    )
    with listening("127.0.0.1", 0) as taken:
        async with (
            at_work(folder, key, sim, slack) as (kit, bot),
            serving(create_api(kit, bot, None), taken),
        ):
            sim.address = f"http://127.0.0.1:{taken.getsockname()[1]}/callbacks/slack"
            yield
    assert sim.dialled == 0
    assert set(sim.answered) == {200}


@asynccontextmanager
async def at_work(
    folder: Path,
    key: Secret,
    sim: SlackSim,
    slack: Slack,
    known: Mapping[str, Role] = KNOWN,
) -> AsyncIterator[tuple[Kit, Bot]]:
    """The bot as it is started on a machine, and whom it knows."""
    url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
    async with Store(url, Seal(key)) as store, slack:
        await store.create()
        async with store.unit() as unit:
            for name, role in known.items():
                await unit.people.put(Member(Person("slack", sim.user(name)), role))
        chats = {"slack": slack}
        monitors = cast("Any", None)
        kit = Kit(SystemClock(), store, chats, SshServers(), monitors, OfficeDocuments())
        async with working(kit, journal_in(folder / "dbos.sqlite")) as bot:
            yield kit, bot


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


async def test_a_newcomer_leads_as_the_page_says(tmp_path: Path) -> None:
    """docs/slack.md, section 3: what the program prints is typed alone with the bot, then the operations
    channel is named, and `/onboard` is no longer refused."""
    async with SlackSim() as sim:
        slack = Slack(
            Secret(BOT_TOKEN), Secret(APP_TOKEN), base_url=sim.base_url, clock=SystemClock()
        )
        async with at_work(tmp_path, Seal.new_key(), sim, slack, known={}) as (kit, _):
            code = await pairing.first_code(kit.store, kit.clock.now())
            assert code
            (way,) = re.findall(r"Slack：(\S+) (.*)", pairing.told(code, kit.chats))
            li = sim.user("Li")
            alone, ops = sim.channel("", li, im=True), sim.channel("ops", li)
            await sim.slash(li, alone, *way)
            await shown(sim, "现在是负责人")
            await sim.slash(li, ops, "/vigil", "ops")
            room, _ = await shown(sim, "运营群")
            assert room.id == ops
            await sim.slash(li, ops, "/onboard", "海蓝科技")
            await shown(sim, "客户接入登记")


Way = Callable[[Path, Secret, SlackSim], AbstractAsyncContextManager[None]]


@pytest.mark.parametrize("way", [by_socket, by_address])
async def test_an_onboarding_goes_on_in_slack_after_a_restart(way: Way, tmp_path: Path) -> None:
    """From a slash command to the probed servers: one living card, redrawn in one channel."""
    key = Seal.new_key()
    async with Hosts(tmp_path / "hosts", count=2) as hosts, SlackSim() as sim:
        li, zhao = sim.user("Li"), sim.user("Zhao")
        ops = sim.channel("ops", li, zhao)
        async with way(tmp_path, key, sim):
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

        async with way(tmp_path, key, sim):
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

"""The vendors' own Node SDKs against our simulators: if a foreign official client works, the frames are
right. Not collected with the other tests, because it needs node and packages from npm; `.ci/run`
installs those and names their folder in VIGILBOT_NODE_SDKS."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.dingtalk import draw
from adapters.words import Person
from bot.app import SystemClock
from tests.sim.dingtalk import DingTalkSim, Drawn
from tests.sim.feishu import FeishuSim
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, SlackSim
from tests.sim.wecom import BOT_ID, NAME, SECRET, WeComSim

HERE = Path(__file__).parent


@asynccontextmanager
async def node(script: str, *words: str, **secrets: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run a script with the vendor's SDK until left; what it tells comes as lines of JSON."""
    modules = Path(os.environ["VIGILBOT_NODE_SDKS"]) / "node_modules"
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / script),
        *words,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "NODE_PATH": str(modules),
            **{name.upper(): secret for name, secret in secrets.items()},
        },
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def told(lines: asyncio.StreamReader, kind: str) -> Any:
    """Return the next thing of that kind that the script tells; the SDKs' own lines are passed over."""
    async with asyncio.timeout(20):
        while line := await lines.readline():
            if line.startswith(b"{"):
                said = json.loads(line)
                if said["kind"] == kind:
                    return said["data"]
    raise AssertionError(kind)


async def test_feishus_node_sdk_is_at_home_in_our_simulator() -> None:
    """Discovery, a message in three fragments, a card by the interface, a press with its toast, and a
    new connection after the old one is closed."""
    async with FeishuSim(SystemClock()) as sim:
        sim.client_config = {**sim.client_config, "ReconnectNonce": 0, "ReconnectInterval": 1}
        li = sim.person("Li")
        chat = sim.found("客户甲", [li]).id
        async with node("feishu.cjs", sim.base_url, sim.app_id, app_secret=sim.secret) as lines:
            await sim.until(lambda: bool(sim.links), 20)
            await sim.deliver(sim.said(li, chat, "你好"), parts=3)
            assert await told(lines, "message") == {"text": "你好", "from": li}
            card = await told(lines, "sent")
            press = await sim.press(li, card, "ok")
            assert await told(lines, "press") == "ok"
            event = press["header"]["event_id"]
            await sim.until(lambda: event in sim.acked)
            answers = {one: (code, body) for one, code, body in sim.acks}
            toast = {"type": "success", "content": "from node"}
            assert answers[event] == (200, {"toast": toast})
            await sim.close_links()
            await sim.until(lambda: sim.calls["GET /ws"] == 2 and bool(sim.links), 30)
            await sim.say(li, chat, "还在吗")
            assert (await told(lines, "message"))["text"].endswith("还在吗")


async def test_dingtalks_node_sdk_is_at_home_in_our_simulator() -> None:
    """The gateway, a ticket, a message, a press with its answer, a ping, and a new connection."""
    sim = DingTalkSim()
    li = Person("dingtalk", "staff-li", "Li")
    sim.people[li.id] = li
    group = sim.found("客户甲", li.id)
    sim.cards["card"] = Drawn(dict.fromkeys(draw.VARIABLES, ""), group)
    await sim.start()
    async with node("dingtalk.cjs", sim.url, sim.client_id, app_secret=sim.secret) as lines:
        await sim.until(lambda: sim.connections == 1, 20)
        await sim.say(li, group, f"@{sim.bot_name} 你好")
        assert await told(lines, "message") == {"text": "你好", "from": li.id}
        params = {"action": "ack:1", "chat": group.id}
        assert await sim.tap(li, "card", "press", params) == "from node"
        assert await told(lines, "press") == "ack:1"
        ping = await sim.push("SYSTEM", "ping", {"opaque": "o-1"})
        assert ping
        assert json.loads((await ping)["data"]) == {"opaque": "o-1"}
        await sim.close_sockets()
        await sim.until(lambda: sim.connections == 2, 20)
        await sim.say(li, group, f"@{sim.bot_name} 还在吗")
        assert (await told(lines, "message"))["text"] == "还在吗"
    await sim.stop()


async def test_wecoms_node_sdk_is_at_home_in_our_simulator() -> None:
    """The subscription, a stream, a pushed card and a file in two pieces, a press that replaces the
    card, heartbeats, a new connection after a clean close, and none after being thrown out."""
    async with WeComSim(SystemClock().now) as sim:
        li = sim.user("Li")
        room = sim.found("客户甲", li)
        async with node("wecom.cjs", sim.ws_url, BOT_ID, app_secret=SECRET) as lines:
            await sim.until(sim.subscribed.is_set, 20)
            await sim.say(li, room.id, f"@{NAME} 卡片")
            assert await told(lines, "message") == {"text": f"@{NAME} 卡片", "from": li}
            assert await told(lines, "answered") == room.id
            assert sim.texts(room.id) == ["一二", "【echo】\n[OK]()", "a.txt"]
            assert not room.shown[0].open
            assert list(sim.files.values()) == [("a.txt", b"1" * 600_000)]
            await sim.press(li, room.id, "node-1", "ok")
            assert await told(lines, "press") == "ok"
            assert sim.card(li, room.id, "node-1")["button_list"][0]["text"] == "OK ✓"
            await sim.until(lambda: sim.calls.count("ping") >= 4)
            assert sim.dialled == 1
            await sim.shut()
            await sim.say(li, room.id, f"@{NAME} 还在吗")
            assert (await told(lines, "message"))["text"].endswith("还在吗")
            assert await told(lines, "answered") == room.id
            await sim.kick()
            assert await told(lines, "thrown out") == BOT_ID
            assert sim.dialled == 2


async def test_wecoms_node_sdk_understands_our_refusal() -> None:
    """A wrong secret is said with WeCom's code, and the second time is the last."""
    async with (
        WeComSim(SystemClock().now) as sim,
        node("wecom.cjs", sim.ws_url, BOT_ID, app_secret="wrong") as lines,
    ):
        for _ in range(2):
            assert "853000" in await told(lines, "error")
        assert "Max auth failure attempts" in await told(lines, "error")
        assert not sim.subscribed.is_set()


async def test_slacks_node_sdks_are_at_home_in_our_simulator() -> None:
    """A ticket, a mention, a card and a file, a press that opens a form and redraws the card, a
    form sent back with what is wrong, a slash command, and a new connection when told to."""
    async with SlackSim() as sim:
        li = sim.user("Li")
        room = sim.channel("room", li)
        tokens = {"app_token": APP_TOKEN, "bot_token": BOT_TOKEN}
        async with node("slack.cjs", sim.base_url, **tokens) as lines:
            await sim.until(lambda: sim.sockets, 20)
            await sim.say(li, room, "@vigilbot 你好")
            assert await told(lines, "message") == {"text": "<@UBOT> 你好", "from": li}
            card = await told(lines, "sent")
            shown, file = sim.said(room)
            assert (shown["ts"], shown["text"]) == (card, "echo")
            assert (file["text"], file["files"][0]["name"]) == ("for you", "a.txt")
            assert sim.content(file["files"][0]["id"]) == b"1" * 9_000

            press = await sim.press(li, room, card, "ok")
            assert await told(lines, "press") == "ok"
            assert press.acked.done()
            assert sim.said(room)[0]["text"] == "done"
            (view,) = sim.views
            form = await sim.submit(li, view, {"why": "慢"})
            assert await told(lines, "form") == "慢"
            assert (await form.acked)["errors"] == {"why": "too short"}
            command = await sim.slash(li, room, "/vigil", "status 甲")
            assert await command.acked == {"text": "/vigil status 甲"}

            await sim.refresh()
            await sim.until(lambda: sim.dialled == 2 and sim.sockets, 20)
            await sim.say(li, room, "@vigilbot 还在吗")
            assert (await told(lines, "message"))["text"].endswith("还在吗")
            await told(lines, "sent")


async def test_slacks_node_sdk_understands_our_refusal() -> None:
    """A wrong app token is refused in Slack's words, and nothing is dialled."""
    async with SlackSim() as sim:
        tokens = {"app_token": "xapp-wrong", "bot_token": BOT_TOKEN}
        async with node("slack.cjs", sim.base_url, **tokens) as lines:
            assert await told(lines, "refused") == "invalid_auth"
        assert sim.dialled == 0

"""The vendors' own Node SDKs against our simulators: if a foreign official client works, the frames are
right. Not collected with the other tests, because it needs node and two packages from npm; `.ci/run`
installs those and names their folder in VIGILBOT_NODE_SDKS."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.dingtalk import wire
from adapters.words import Person
from bot.app import SystemClock
from tests.sim.dingtalk import DingTalkSim, Drawn
from tests.sim.feishu import FeishuSim

HERE = Path(__file__).parent


@asynccontextmanager
async def node(script: str, *words: str, secret: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run a script with the vendor's SDK until left; what it tells comes as lines of JSON."""
    modules = Path(os.environ["VIGILBOT_NODE_SDKS"]) / "node_modules"
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / script),
        *words,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(modules), "APP_SECRET": secret},
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
        async with node("feishu.cjs", sim.base_url, sim.app_id, secret=sim.secret) as lines:
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
    sim.cards["card"] = Drawn(dict.fromkeys(wire.VARIABLES, ""), group)
    await sim.start()
    async with node("dingtalk.cjs", sim.url, sim.client_id, secret=sim.secret) as lines:
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

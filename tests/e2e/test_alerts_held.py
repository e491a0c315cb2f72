"""An alert from the monitor's engine through the real hook to the incident: once, and when it lasted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from adapters.card import plain
from adapters.port import Account, Answer, Transient
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.words import Secret
from bot.app import SystemClock, drawing
from bot.demo.vigilops import Traps, World, serve
from bot.sender import Sender
from bot.web.hooks import Hook, router
from runbooks.alerting import watch
from runbooks.alerting.oncall import ladder
from runbooks.alerting.policy import Policy
from runbooks.alerting.respond import Responder, deed
from runbooks.alerting.triage import consent
from runbooks.alerting.triage.advise import advise
from runbooks.case import Contact, Onboarding
from runbooks.kit import House, Kit
from storage.advice import CONSENT
from storage.records import Choice, Customer, HeldAlert, Incident, IncidentState, RunStatus, Tier
from storage.roster import Rung
from storage.store import Store, Unit
from storage.vault import Seal
from tests.e2e.test_alerts_setup import GROUP, LI, PASSWORD, Minutes, Scene, serving

NOBODY = cast("Any", None)
CPU, DISK = "CPU > 90%", "磁盘 > 90%"
NEW = "🔴 新的严重告警"


class Advisor:
    """A model that knows one answer, or none."""

    name = "advisor"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False

    async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
        assert timeout <= 30
        self.asked.append(question)
        if self.silent:
            raise Transient("模型没有回答")
        said = {"severity": "critical", "summary": "快满了", "suggestions": [], "citations": ["A1"]}
        return Answer(json.dumps(said), self.name, 20)


class Ward(Scene):
    """A customer whose monitor tells us of its one host, minute by minute."""

    advisor: Advisor
    web: WebChat

    async def minutes(self, count: int, **figures: float) -> None:
        """Let the host show these figures for so long; the bot's clock ticks each minute."""
        for _ in range(count):
            self.world.record(1, {"cpu_percent": 3.0, "disk_percent": 41.5, **figures})
            await self.kit.clock.sleep(60)
            await watch.announce(self.kit)

    async def said(self, kit: Kit | None = None) -> list[str]:
        """Return what stands in the group about alerts, oldest first, once all was sent."""
        kit = kit or self.kit
        await Sender(kit.store, kit.chats, drawing(kit), kit.clock).drain()
        cards = [post.card for post in self.web.history(GROUP) if post.card]
        return [plain(card) for card in cards if "告警" in card.title or "恢复" in card.title]

    async def heads(self) -> list[str]:
        return [text.partition("\n")[0].strip("【】") for text in await self.said()]

    async def incident(self) -> Incident:
        async with self.store.view() as unit:
            found = await unit.incidents.get(1)
        assert found
        return found

    async def held(self, rule: str) -> HeldAlert:
        async with self.store.view() as unit:
            return await unit.held.get(self.case.customer, rule, "web-01")

    async def due(self, unit: Unit) -> Sequence[Rung]:
        """Return what is to be rung within the hour."""
        return await unit.escalations.due(self.kit.clock.now() + timedelta(hours=1))

    def deafen(self, *, deaf: bool = True) -> None:
        """Have no webhook of the monitor's arrive."""
        for channel in self.world.rows("channels"):
            channel["type"] = "nowhere" if deaf else "webhook"


@asynccontextmanager
async def watched(store: Store, folder: Path) -> AsyncIterator[Ward]:
    """Give a customer whose monitor has our channel and our rules."""
    clock = Minutes()

    async def at_once(_: float) -> None:
        """The monitor's pauses between its tries."""

    world = World(now=clock.now, traps=Traps(ssrf_guard=False), pause=at_once)
    clock.world = world
    app = FastAPI()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(world))
        hook = await stack.enter_async_context(serving(app))
        monitors = await stack.enter_async_context(VigilOpsMonitors())
        advisor = Advisor()
        web = await stack.enter_async_context(WebChat(folder / "web.sqlite"))
        await web.found(GROUP.title, [LI], chat_id=GROUP.id)
        # Nobody waits for what may belong together: minutes pass between two looks.
        house = House(public_url=hook, alerting=Policy(wait=timedelta(0)))
        kit = Kit(clock, store, {"web": web}, NOBODY, monitors, NOBODY, house, advisor)
        app.include_router(router(Hook(kit)))
        assert await monitors.at(url, Account(kit.house.account, PASSWORD)).register_admin()
        agent = world.make_agent_token("web-01", 1)
        host, _ = world.register_host(agent["id"], {"hostname": "web-01", "display_name": "网站"})
        assert host["id"] == 1
        async with store.unit() as unit:
            customer = await unit.customers.add(
                Customer(0, "海蓝科技", "hailan", clock.now(), GROUP)
            )
            await unit.vault.put(f"monitor:{customer.id}:password", PASSWORD)
            yes = consent.value(consent.address(house))
            await unit.choices.put(Choice(customer.id, CONSENT, yes, clock.now(), LI))
        contacts = (Contact("王经理", phone="13800000000"),)
        case = Onboarding(
            customer.id, "海蓝科技", contacts, ("web-01",), url=url, console="https://m.example"
        )
        ward = Ward(store, world, kit, case)
        ward.advisor, ward.web = advisor, web
        run = await ward.begin()
        assert run.line == "channels", run.note
        # No host goes offline on a clock that jumps.
        for rule in world.rows("rules"):
            rule["is_enabled"] = rule["metric"] != "host_offline"
        yield ward


@pytest.fixture
async def ward(store: Store, tmp_path: Path) -> AsyncIterator[Ward]:
    async with watched(store, tmp_path) as ward:
        yield ward


async def test_four_minutes_say_nothing(ward: Ward) -> None:
    await ward.minutes(4, cpu_percent=95.0)
    assert (await ward.held("cpu")).due is not None
    await ward.minutes(3)
    assert await ward.said() == []
    assert (await ward.held("cpu")).due is None


async def test_five_minutes_say_it_once_and_its_end_once(ward: Ward) -> None:
    """Two rules of the monitor watch the CPU, ours and its own; and it repeats itself."""
    await ward.minutes(5, cpu_percent=95.0)
    assert await ward.said() == []
    await ward.minutes(8, cpu_percent=95.0)
    (card,) = await ward.said()
    assert f"【🟠 告警：{CPU}】" in card
    for part in ("当前值：95.0 阈值：90.0 始于 11:01", "web-01", "1 条在触发", "[打开监控]"):
        assert part in card
    assert "未能核实" not in card
    assert "轮询" not in card
    await watch.poll(ward.kit)
    await ward.minutes(2)
    await watch.poll(ward.kit)
    (card,) = await ward.said()
    assert f"【✅ 告警：{CPU}】" in card
    assert "没有在触发的" in card
    assert "持续：13 分钟" in card, "from when the monitor saw it"
    assert (await ward.incident()).state is IncidentState.RESOLVED


async def test_a_full_disk_is_said_at_once(ward: Ward) -> None:
    await ward.minutes(1, disk_percent=97.0)
    told = [NEW, f"🔴 告警：{DISK}"]
    assert await ward.heads() == told
    await ward.minutes(1, disk_percent=92.0)
    assert await ward.heads() == told, "the built-in rule of 95 % ended, ours of 90 % did not"
    await ward.minutes(1)
    assert await ward.heads() == [NEW, f"✅ 告警：{DISK}", f"✅ 已恢复：{DISK}"]
    await ward.minutes(1)
    await watch.poll(ward.kit)
    assert len(await ward.said()) == 3


async def test_who_acknowledges_by_a_press_is_called_no_more(ward: Ward) -> None:
    await ward.minutes(1, disk_percent=97.0)
    assert await ladder.climb(ward.kit) == 0
    await ward.minutes(6, disk_percent=97.0)
    assert await ladder.climb(ward.kit) > 0, "nobody has acknowledged it for five minutes"
    card = next(text for text in await ward.said() if f"告警：{DISK}" in text)
    pressed = deed(card.split("[确认](", 1)[1].split(")", 1)[0])
    assert pressed
    async with ward.store.unit() as unit:
        customer = await unit.customers.get(ward.case.customer)
        assert customer
        who = Responder(customer, LI, ward.kit.clock.now(), ward.kit.house, unit)
        await who.press(pressed, "press-1")
    await ward.minutes(60, disk_percent=97.0)
    assert await ladder.climb(ward.kit) == 0
    assert (await ward.incident()).state is IncidentState.ACKED
    async with ward.store.view() as unit:
        assert await ladder.next_rung(unit, 1) is None
    assert any("👀 已确认（李工）" in text for text in await ward.said())


async def test_a_lost_webhook_is_found_by_looking(ward: Ward) -> None:
    ward.deafen()
    await ward.minutes(2, disk_percent=97.0)
    assert await ward.said() == []
    await watch.poll(ward.kit)
    await watch.announce(ward.kit)
    first, card = await ward.said()
    assert f"告警：{DISK}" in card
    assert "由轮询发现：Webhook 没有到达机器人" in first
    assert "由轮询发现：Webhook 没有到达机器人" in card
    await ward.minutes(1)
    assert len(await ward.said()) == 2
    await watch.poll(ward.kit)
    await watch.poll(ward.kit)
    assert (await ward.heads())[1:] == [f"✅ 告警：{DISK}", f"✅ 已恢复：{DISK}"]


async def test_what_ended_while_nobody_heard_it_is_one_fold(ward: Ward) -> None:
    """However much the list shows to be over: the customer's storm is looked at once."""
    await ward.minutes(6, cpu_percent=95.0, disk_percent=97.0)
    assert len(await ward.heads()) == 3
    ward.deafen()
    await ward.minutes(2)
    folds: list[str] = []

    def noted(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM storms" in statement:
            folds.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", noted)
    await watch.poll(ward.kit)
    sa.event.remove(sa.Engine, "before_cursor_execute", noted)
    over = [head for head in await ward.heads() if head.startswith("✅ 告警")]
    assert sorted(over) == [f"✅ 告警：{CPU}", f"✅ 告警：{DISK}"]
    assert len(folds) == 1


async def test_five_minutes_are_kept_without_any_webhook(ward: Ward) -> None:
    ward.deafen()
    for _ in range(5):
        await ward.minutes(1, cpu_percent=95.0)
        await watch.poll(ward.kit)
    assert await ward.said() == []
    await ward.minutes(1, cpu_percent=95.0)
    assert await ward.heads() == [f"🟠 告警：{CPU}"]


async def test_a_phantom_is_dropped(ward: Ward) -> None:
    """The monitor posted an alert and then rolled it back."""
    await ward.minutes(1, cpu_percent=95.0)
    ward.world.tables["alerts"].clear()
    ward.world.dedup.clear()
    ward.deafen()
    await ward.minutes(6)
    assert await ward.said() == []
    held = await ward.held("cpu")
    assert (held.firing, held.due) == ((), None)
    assert "未通知" in held.note


async def test_a_monitor_that_is_down_hides_nothing(ward: Ward) -> None:
    await ward.minutes(5, cpu_percent=95.0)
    ward.world.traps.down_until = ward.kit.clock.now() + timedelta(hours=1)
    await ward.minutes(1, cpu_percent=95.0)
    (card,) = await ward.said()
    assert "未能核实：监控当时连不上" in card
    await watch.poll(ward.kit)
    assert len(await ward.said()) == 1


async def test_a_dead_monitor_is_an_alert_and_its_return_ends_it(ward: Ward) -> None:
    """Its silence would look like peace. What it told before stays as it is; it is told once."""
    await ward.minutes(6, cpu_percent=95.0)
    ward.world.traps.down_until = ward.kit.clock.now() + timedelta(hours=1)
    for _ in range(5):
        await watch.poll(ward.kit)
        await ward.kit.clock.sleep(60)
    assert await ward.heads() == [f"🟠 告警：{CPU}"], "five minutes are not over"
    for _ in range(3):
        await watch.poll(ward.kit)
    assert NEW in await ward.heads()
    assert sum("监控失联" in text for text in await ward.said()) == 2, "a card and a mention"
    async with ward.store.view() as unit:
        assert await ward.due(unit), "somebody is called for it"
    ward.world.traps.down_until = None
    await watch.poll(ward.kit)
    async with ward.store.view() as unit:
        titles = [each.title for each in await unit.incidents.open_of(ward.case.customer)]
        assert await unit.unread.all() == {}
        assert not await ward.due(unit)
    assert titles == [CPU]


async def test_the_model_speaks_afterwards_and_for_the_dearer_tier_alone(ward: Ward) -> None:
    await ward.minutes(2, disk_percent=97.0)
    assert await advise(ward.kit) == 0
    async with ward.store.unit() as unit:
        await unit.customers.set_tier(ward.case.customer, Tier.PRO)
    await ward.minutes(1, disk_percent=97.0)
    assert ward.advisor.asked == [], "the alert did not wait for it"
    assert await advise(ward.kit) == 1
    assert await advise(ward.kit) == 0
    (asked,) = ward.advisor.asked
    assert "web-01" not in asked
    assert "海蓝" not in asked
    assert await ward.heads() == [NEW, f"🔴 告警：{DISK}"], "and its word is a card of its own"
    titles = [post.card.title for post in ward.web.history(GROUP) if post.card]
    assert titles.count(f"AI 分析：{DISK}") == 1


async def test_a_model_that_fails_costs_nothing(ward: Ward) -> None:
    ward.advisor.silent = True
    async with ward.store.unit() as unit:
        await unit.customers.set_tier(ward.case.customer, Tier.PRO)
    await ward.minutes(2, disk_percent=97.0)
    assert await advise(ward.kit) == 0
    assert await advise(ward.kit) == 0
    assert len(ward.advisor.asked) == 1
    assert await ward.heads() == [NEW, f"🔴 告警：{DISK}"]


async def test_a_cancelled_onboarding_is_not_watched_and_a_customer_in_service_is(
    ward: Ward,
) -> None:
    async with ward.store.unit() as unit:
        run = await unit.runs.get("r1")
        assert run
        assert await unit.runs.advance(run, replace(run, status=RunStatus.CANCELLED))
    ward.deafen()
    await ward.minutes(1, disk_percent=97.0)
    await watch.poll(ward.kit)
    await watch.announce(ward.kit)
    assert await ward.said() == []
    async with ward.store.unit() as unit:
        await unit.customers.begin_service(ward.case.customer, ward.kit.clock.now())
    await watch.poll(ward.kit)
    await watch.announce(ward.kit)
    assert await ward.heads() == [NEW, f"🔴 告警：{DISK}"]


async def test_a_test_alert_has_a_card_of_its_own(ward: Ward) -> None:
    await ward.minutes(1)
    run = await ward.press(await ward.walk(), LI)
    assert run.line == "test-received", run.note
    await watch.announce(ward.kit)
    await watch.poll(ward.kit)
    await watch.announce(ward.kit)
    assert await ward.heads() == ["测试告警"]
    async with ward.store.view() as unit:
        assert await unit.incidents.get(1) is None


async def test_killed_after_the_200_it_is_said_once_by_the_next_process(ward: Ward) -> None:
    """The process that took it dies at once; this one has only the database."""
    ward.deafen()
    await ward.minutes(1, disk_percent=97.0)
    (alert,) = [row for row in ward.world.rows("alerts") if row["title"].startswith("Vigilbot")]
    body = {name: alert[name] for name in ("title", "message", "severity", "status", "fired_at")}
    body |= {"alert_id": alert["id"], "notification_type": "first", "host_name": "网站"}
    url = ward.store._url.render_as_string(hide_password=False)
    code = f"from {__name__} import take; take()"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", code, url, await ward.token(), json.dumps(body)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    assert (out.decode().strip(), child.returncode) == ("200", -signal.SIGKILL)
    assert await ward.said() == []
    async with Store(url, ward.store._seal) as store:
        kit = replace(ward.kit, store=store)
        told = await asyncio.gather(watch.announce(kit), watch.announce(kit))
        assert sum(told) == 1
        _, card = await ward.said(kit)
    assert f"告警：{DISK}" in card
    assert "轮询" not in card
    assert "未能核实" not in card


def take() -> None:
    """Take one notice through the hook, say what it was answered, and die. In a process of its own."""
    url, token, body = sys.argv[1:]

    async def post() -> None:
        async with Store(url, Seal(Seal.new_key())) as store:
            app = FastAPI()
            app.include_router(router(Hook(Kit(SystemClock(), store, {}, NOBODY, NOBODY, NOBODY))))
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
                path = f"/hooks/vigilops/{Secret(token).reveal()}"
                answer = await client.post(path, content=body)
            sys.stdout.write(str(answer.status_code))
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(post())

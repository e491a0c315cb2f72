"""Phase 4 against a VigilOps that really posts, and a hook that really listens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

import commands.test_alert as command
from adapters.card import Card, loads, plain
from adapters.port import Account, UsageError
from adapters.vigilops import VigilOpsMonitors
from adapters.words import Chat, Message, Person, Role, Secret
from bot.channels import one_way
from bot.config import load
from bot.demo.vigilops import Traps, World, serve
from bot.sender import Sender
from bot.web.hooks import REMEMBERED, Hook, router
from commands.declare import Book, Call
from commands.desk import Desk
from runbooks import walk as walking
from runbooks.book import Decision, Gate, Phase, Runbook, Step
from runbooks.cards import drawn
from runbooks.case import Contact, Onboarding
from runbooks.kit import House, Kit
from runbooks.reach import notify_name
from runbooks.rules import RULES
from runbooks.steps import alerts
from runbooks.test_alert import TEST_ALERT
from storage.hooks import SeenAlert
from storage.records import Customer, DeliveryState, Member, Run, RunStatus, Tier
from storage.store import Store, Unit
from tests.sim.hook import KEY, HookSim
from tests.sim.mail import PASSWORD as MAIL_PASSWORD
from tests.sim.mail import USER, Certificate, MailSim

LI = Person("web", "li", "李工")
WANG = Person("web", "wang", "王经理")
GUEST = Person("web", "guest", "客户新同事")
STRANGER = Person("web", "stranger", "别家的人")
GROUP = Chat("web", "g1", "海蓝科技 监控交付")
PASSWORD = Secret("Wache2026pass")
DAY = timedelta(days=1)
NOBODY = cast("Any", None)

PHASE_4: Runbook[Onboarding] = Runbook(
    "onboarding",
    "客户接入",
    Onboarding,
    (
        Phase("告警配置", "Day 2"),
        Step("channel", "告警渠道", alerts.channel),
        Step("rules", "告警规则", alerts.rules),
        Gate(
            "channels",
            "确认通知渠道",
            Role.ENGINEER,
            DAY,
            alerts.channels_confirmed,
            alerts.channels_drawn,
        ),
        Step("test-send", "发送测试告警", alerts.test_send),
        Gate(
            "test-received",
            "客户确认收到测试告警",
            Role.CUSTOMER,
            DAY,
            alerts.received,
            alerts.received_drawn,
        ),
        Gate(
            "escalation",
            "设置告警升级策略",
            Role.ENGINEER,
            DAY,
            alerts.escalation_set,
            alerts.escalation_drawn,
        ),
    ),
)
BOOKS: dict[str, Runbook[Any]] = {"onboarding": PHASE_4, "test-alert": TEST_ALERT}


class Minutes:
    """A clock on which time passes only while somebody sleeps, and then the monitor evaluates."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
        self.world: World | None = None
        self.awaited: Callable[[], Awaitable[None]] | None = None

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        if self.world:
            await self.world.evaluate()
        if self.awaited:
            await self.awaited()


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on a free port."""
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, log_level="critical")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        await server.startup(sockets=[listening])
        ticking = asyncio.create_task(server.main_loop())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await ticking
            await server.shutdown(sockets=[listening])


class Scene:
    """A customer whose monitor stands, with one host that reports, and the bot's hook."""

    def __init__(self, store: Store, world: World, kit: Kit, case: Onboarding) -> None:
        self.store, self.world, self.kit, self.case = store, world, kit, case

    async def begin(self, *, channels: tuple[str, ...] = ("飞书",)) -> Run:
        case = replace(self.case, channels=channels)
        now = self.kit.clock.now()
        run = Run(
            "r1",
            "onboarding",
            case.customer,
            "",
            RunStatus.WALKING,
            0,
            walking.dump(case),
            LI,
            now,
            now,
        )
        async with self.store.unit() as unit:
            await walking.start(PHASE_4, run, unit)
        return await self.walk()

    async def walk(self, number: str = "r1") -> Run:
        return await walking.walk(BOOKS, number, self.kit)

    async def press(
        self, run: Run, by: Person, values: Mapping[str, str] | None = None, verb: str = "yes"
    ) -> Run:
        async with self.store.unit() as unit:
            now = self.kit.clock.now()
            await walking.decide(BOOKS, Decision(unit, run, by, now, verb, values or {}))
        return await self.walk(run.id)

    async def retry(self, run: Run) -> Run:
        async with self.store.unit() as unit:
            await walking.retry(run, self.kit.clock.now(), unit)
        return await self.walk(run.id)

    async def card(self, run: Run) -> str:
        async with self.store.view() as unit:
            return plain(await drawn(BOOKS, run.id, unit))

    async def proofs(self) -> dict[str, str]:
        async with self.store.view() as unit:
            return {key: line.proof for key, line in (await unit.lines.of("r1")).items()}

    async def token(self) -> str:
        async with self.store.view() as unit:
            token = await unit.vault.get(alerts.token_name(self.case.customer))
        assert token is not None
        return token.reveal()


@pytest.fixture
async def scene(store: Store) -> AsyncIterator[Scene]:
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
        kit = Kit(clock, store, {}, NOBODY, monitors, NOBODY, House(public_url=hook))
        app.include_router(router(Hook(kit)))
        assert await monitors.at(url, Account(kit.house.account, PASSWORD)).register_admin()
        agent = world.make_agent_token("web-01", 1)
        host, _ = world.register_host(agent["id"], {"hostname": "web-01"})
        world.record(host["id"], {"cpu_percent": 3.0, "disk_percent": 41.5})
        async with store.unit() as unit:
            customer = await unit.customers.add(
                Customer(0, "海蓝科技", "hailan", clock.now(), GROUP, Tier.PRO)
            )
            await unit.vault.put(f"monitor:{customer.id}:password", PASSWORD)
            other = await unit.customers.add(Customer(0, "山青", "shanqing", clock.now()))
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(WANG, Role.CUSTOMER, customer.id))
            await unit.people.put(Member(STRANGER, Role.CUSTOMER, other.id))
        case = Onboarding(
            customer.id,
            "海蓝科技",
            (Contact("王经理", phone="13800000000"),),
            ("web-01",),
            Tier.PRO,
            url=url,
        )
        yield Scene(store, world, kit, case)


async def test_the_channel_is_the_only_one_and_on_every_rule(scene: Scene) -> None:
    """The instance had a channel and a rule of its own."""
    old: dict[str, Any] = {"name": "旧飞书", "type": "webhook", "config": {}, "is_enabled": True}
    scene.world.add("channels", {**old, "created_at": None, "updated_at": None})
    scene.world.add_rule({"name": "旧规则", "metric": "cpu_load_1", "threshold": 50.0})

    run = await scene.begin()
    assert (run.status, run.line) == (RunStatus.WAITING, "channels"), run.note
    (ours,) = [row for row in scene.world.rows("channels") if row["is_enabled"]]
    assert ours["config"]["url"].endswith(f"/hooks/vigilops/{await scene.token()}")
    kept = scene.world.rows("rules")
    assert {tuple(rule["notification_channel_ids"]) for rule in kept} == {(ours["id"],)}
    of_ours = [r for r in kept if r["is_builtin"] or r["name"].startswith("Vigilbot ")]
    assert len(of_ours) == 9
    assert {rule["duration_seconds"] for rule in of_ours} == {0}
    assert [r["duration_seconds"] for r in kept if r["name"] == "旧规则"] == [300]
    proofs = await scene.proofs()
    assert proofs["channel"] == (
        "渠道 #2「Vigilbot」是唯一启用的渠道，另有 1 个已停用；测试消息已到达"
    )
    assert proofs["rules"].startswith("11 条规则，均只通知渠道 #2；VigilOps 执行 4 条：CPU > 90%")
    assert "待后续启用 7 条（目前无人监看）：异常检测、慢查询、日志异常" in proofs["rules"]
    assert "其中 CPU > 90%、内存 > 85% 的「持续 5 分钟」由机器人计时" in proofs["rules"]
    assert len(RULES) == 11


async def test_where_the_customer_wants_to_be_told(scene: Scene) -> None:
    """Mail and a webhook are asked for and kept in the vault; without their channels set up the
    ledger says so."""
    run = await scene.begin(channels=("飞书", "邮件", "Webhook"))
    assert "邮件：填写后登记；机器人启用了这个渠道时，测试告警也会发到这里" in await scene.card(run)
    key = {"webhook_key": "k" * 16}
    with pytest.raises(UsageError, match="「邮件收件人」不是邮件地址：ops@"):
        await scene.press(run, LI, {"email": "ops@", "webhook": "https://a.example/x", **key})
    no_ports = ("https://a.example:0/", "https://a.example:99999/")
    no_urls = (
        "",
        "a.example",
        "ftp://a.example",
        "https://a.example/\nx",
        "http://[x",
        "https://a:b@c.d/",
    )
    for address in (*no_urls, *no_ports):
        with pytest.raises(UsageError, match="「Webhook 地址」请写成"):
            await scene.press(run, LI, {"email": "ops@a.example", "webhook": address, **key})
    with pytest.raises(UsageError, match="「Webhook 签名密钥」至少 16 位"):
        await scene.press(run, LI, {"email": "ops@a.example", "webhook": "https://a.example/x"})
    target = "https://hook.example/robot?key=s3cret-key"
    given = {"email": "ops@a.example，b@a.example", "webhook": target, **key}
    run = await scene.press(run, LI, given)
    assert run.line == "test-received", run.note
    drawn = await scene.card(run)
    assert "级别：提示" in drawn
    async with scene.store.view() as unit:
        mail = await unit.vault.get(notify_name(run.customer, "email"))
        web = await unit.vault.get(notify_name(run.customer, "webhook"))
    assert mail == Secret("ops@a.example\nb@a.example")
    assert web == Secret(target)
    proof = (await scene.proofs())["channels"]
    assert proof == (
        "李工 确认：客户群：「海蓝科技 监控交付」，已启用；飞书：已登记；客户群不在这个平台，"
        "告警发到客户群；邮件：2 个收件人，已登记；Webhook：地址和签名密钥已登记"
    )
    await hides(scene, await scene.token(), "s3cret-key", "k" * 16, PASSWORD.reveal())


async def test_the_preferred_channels_really_carry_the_test_alert(
    scene: Scene, tmp_path: Path
) -> None:
    """Over TLS to a mailbox, signed to a receiver, and a bounce that everybody can read."""
    certificate = Certificate(tmp_path)
    async with AsyncExitStack() as stack:
        post = await stack.enter_async_context(MailSim(certificate))
        hook = await stack.enter_async_context(HookSim())
        settings = {
            "CHANNELS__MAIL__ENABLED": "true",
            "CHANNELS__MAIL__HOST": "127.0.0.1",
            "CHANNELS__MAIL__PORT": str(post.port),
            "CHANNELS__MAIL__USERNAME": USER,
            "CHANNELS__MAIL__PASSWORD": "env:MAIL",
            "CHANNELS__MAIL__SENDER": USER,
            "CHANNELS__MAIL__CA_FILE": str(certificate.file),
            "CHANNELS__WEBHOOK__ENABLED": "true",
            "CHANNELS__WEBHOOK__ALLOW": "127.0.0.1/32",
            "VAULT__KEY": "env:MAIL",
            "WEB__PASSWORD": "env:MAIL",
        }
        env = {f"VIGILBOT_{name}": value for name, value in settings.items()}
        made = one_way(load(None, {"MAIL": MAIL_PASSWORD, **env}), scene.kit.clock, scene.store)
        channels = {each.name: await stack.enter_async_context(each) for each in made}
        sender = Sender(scene.store, channels, nothing_to_draw, scene.kit.clock)
        speaking = asyncio.create_task(speak(sender, scene.store))
        # Its seconds pass at once, a mail's do not.
        assert isinstance(scene.kit.clock, Minutes)
        scene.kit.clock.awaited = partial(delivered, scene.store, channels)
        post.misbehave("rcpt", "550 5.1.1 no such user")
        run = await scene.begin(channels=("邮件", "Webhook"))
        given = {"email": "gone@a.example\nops@a.example", "webhook_key": KEY}
        given["webhook"] = f"http://127.0.0.1:{hook.port}/robot"
        run = await scene.press(run, LI, given)
        speaking.cancel()
    assert run.line == "test-received", run.note
    ((to, letter),) = post.letters
    assert letter["Subject"] == "测试告警"
    (told,) = hook.told
    assert told["facts"]["标题"] == "Vigilbot 测试 r1-1 - web-01"
    proof = (await scene.proofs())["test-send"]
    lost, came = ("go…@a.example", "op…@a.example")
    if to != "ops@a.example":
        lost, came = came, lost
    assert f"邮件 {lost}：失败：邮件服务器 550：5.1.1 no such user，已退回" in proof
    assert f"邮件 {came}：对方已收下" in proof
    assert "Webhook：对方已收下" in proof
    assert f"邮件 {came}：对方已收下" in await scene.card(run)
    assert "ops@a.example" not in proof


async def nothing_to_draw(key: str, unit: Unit) -> Card:
    raise AssertionError(key)


async def delivered(store: Store, channels: Container[str]) -> None:
    """Wait until nothing waits for these channels."""
    while True:
        store.changed.clear()
        async with store.view() as unit:
            entries = await unit.outbox.latest(100)
        waiting = [each for each in entries if each.state is DeliveryState.WAITING]
        if not any(each.chat.platform in channels for each in waiting):
            return
        await store.changed.wait()


async def speak(sender: Sender, store: Store) -> None:
    while True:
        await sender.drain()
        await store.changed.wait()


async def test_an_alert_travels_and_only_the_customer_says_received(scene: Scene) -> None:
    run = await scene.press(await scene.begin(), LI)
    assert (run.status, run.line) == (RunStatus.WAITING, "test-received"), run.note
    name = "Vigilbot 测试 r1-1"
    (test_rule,) = [rule for rule in scene.world.rows("rules") if rule["name"] == name]
    assert test_rule["is_enabled"] is False
    async with scene.store.view() as unit:
        entry = await unit.outbox.by_key("r1:test-send:alert:1")
    assert entry is not None
    assert (entry.chat, str(entry.lane)) == (GROUP, "alarm")
    assert f"{name} - web-01" in plain(loads(entry.card))
    async with scene.store.unit() as unit:
        sent = scene.kit.clock.now() + timedelta(seconds=1.5)
        await unit.outbox.save(replace(entry, sent_at=sent))
    shown = await scene.card(run)
    assert "disk_percent = 41.5 > 0.0" in shown
    way = "VigilOps 触发 11:00:02 → 机器人收到 11:00:02（+0.0 秒） → 客户群送达 11:00:03（+1.5 秒）"
    assert way in shown
    assert "[收到]" in shown

    for wrong in (LI, STRANGER):
        with pytest.raises(UsageError, match="要由客户方人员来按"):
            await scene.press(run, wrong)
    run = await scene.press(run, WANG)
    assert (run.status, run.line) == (RunStatus.WAITING, "escalation"), run.note
    assert (await scene.proofs())["test-received"] == (
        "王经理 于 11:00:02 确认收到「Vigilbot 测试 r1-1 - web-01」（到达后 0 秒）"
    )


async def test_who_is_rung_and_when(scene: Scene) -> None:
    run = await scene.press(await scene.press(await scene.begin(), LI), WANG)
    assert "minutes*：升级间隔（分钟） = 5，15，30" in await scene.card(run)
    people = "李工，139-0000-0001\n赵主管，+86 13900000002"
    for minutes in ("", "5,5", "0", "15，5", "x", "1 2 3 4 5 6", "5，9999"):
        with pytest.raises(UsageError, match="「升级间隔」请填"):
            await scene.press(run, LI, {"on_call": people, "minutes": minutes})
    twice = "李工，13900000001\n赵主管，13900000001"
    for names in ("", "李工", "李工，abc", "，13900000001", f"{'长' * 41}，13900000001", twice):
        with pytest.raises(UsageError, match="「值班人」"):
            await scene.press(run, LI, {"on_call": names, "minutes": "5"})
    run = await scene.press(run, LI, {"on_call": people, "minutes": "３，１０"})
    assert run.status is RunStatus.DONE, run.note
    case = walking.load(PHASE_4, run)
    assert case.escalate_after == (3, 10)
    assert case.on_call == (
        Contact("李工", phone="139-0000-0001"),
        Contact("赵主管", phone="+86 13900000002"),
    )


async def hides(scene: Scene, *secret: str) -> None:
    """Look for secrets in all that people or logs may read."""
    async with scene.store.view() as unit:
        run = await unit.runs.get("r1")
        entry = await unit.outbox.by_key("r1:test-send:alert:1")
        effect = await unit.effects.get("r1:channel:token")
        lines = await unit.lines.of("r1")
    assert run is not None
    assert effect is not None
    seen = "".join(map(repr, (run, entry, effect, lines, await scene.card(run))))
    assert not [text for text in secret if text in seen]


async def test_somebody_new_in_the_customers_group_may_say_received(scene: Scene) -> None:
    run = await scene.press(await scene.begin(), LI)
    run = await scene.press(run, GUEST)
    assert run.line == "escalation", run.note
    assert "客户新同事 于" in (await scene.proofs())["test-received"]


async def test_a_monitor_that_may_not_reach_us_is_named_and_mended(scene: Scene) -> None:
    """The guard of VigilOps refuses our address; when it may, the same token is used."""
    scene.world.traps.ssrf_guard = True
    stuck = await scene.begin()
    assert (stuck.status, stuck.line) == (RunStatus.STUCK, "channel")
    assert "VigilOps 发不出测试消息" in stuck.note
    before = await scene.token()

    scene.world.traps.ssrf_guard, scene.world.traps.deaf_test = False, True
    stuck = await scene.retry(stuck)
    assert "VigilOps 说测试消息已发出，机器人却没有收到" in stuck.note
    await hides(scene, before)

    scene.world.traps.deaf_test = False
    run = await scene.retry(stuck)
    assert run.line == "channels", run.note
    assert await scene.token() == before
    assert len(scene.world.rows("channels")) == 1


async def test_a_customers_token_outlives_the_run_that_made_it(scene: Scene) -> None:
    """The onboarding was cancelled and begun anew."""
    async with scene.store.unit() as unit:
        await unit.vault.put(alerts.token_name(scene.case.customer), Secret("older-token"))
    run = await scene.begin()
    assert run.line == "channels", run.note
    (ours,) = scene.world.rows("channels")
    assert ours["config"]["url"].endswith("/hooks/vigilops/older-token")


async def test_a_test_message_that_came_counts_whatever_the_answer_was(scene: Scene) -> None:
    scene.world.traps.cut_applied = {"POST /api/v1/notification-channels/*/test": 1}
    run = await scene.begin()
    assert run.line == "channels", run.note


async def test_a_lost_webhook_is_told_from_an_alert_that_never_fired(scene: Scene) -> None:
    run = await scene.begin()
    async with scene.store.unit() as unit:
        await unit.hooks.keep_only(run.customer, "vigilops", Secret("another"))
    await scene.kit.clock.sleep(REMEMBERED.total_seconds())
    stuck = await scene.press(run, LI)
    assert (stuck.status, stuck.line) == (RunStatus.STUCK, "test-send")
    assert "VigilOps 已在 11:00:04 触发告警 #1" in stuck.note
    assert "但 Webhook 在 180 秒内没有到达机器人" in stuck.note
    tests = [r for r in scene.world.rows("rules") if r["name"].startswith("Vigilbot 测试")]
    assert [rule["is_enabled"] for rule in tests] == [False]

    scene.world.points.clear()
    stuck = await scene.retry(stuck)
    assert (stuck.status, stuck.fault) == (RunStatus.STUCK, "silent")
    assert "VigilOps 在 180 秒内没有触发测试规则「Vigilbot 测试 r1-1」" in stuck.note

    scene.world.record(1, {"disk_percent": 41.5})
    async with scene.store.unit() as unit:
        token = Secret(await scene.token())
        await unit.hooks.add(run.customer, "vigilops", token, scene.kit.clock.now())
    run = await scene.retry(stuck)
    assert run.line == "test-received", run.note


async def test_an_alert_that_came_late_is_not_asked_for_again(scene: Scene) -> None:
    run = await scene.begin()
    async with scene.store.unit() as unit:
        await unit.hooks.keep_only(run.customer, "vigilops", Secret("another"))
    await scene.kit.clock.sleep(REMEMBERED.total_seconds())
    stuck = await scene.press(run, LI)
    (rule,) = [r for r in scene.world.rows("rules") if r["name"] == "Vigilbot 测试 r1-1"]
    before = rule["updated_at"]
    await scene.kit.clock.sleep(60)
    now = scene.kit.clock.now()
    late = SeenAlert(run.customer, "vigilops", "k", now, now, "first", f"{rule['name']} - web-01")
    async with scene.store.unit() as unit:
        await unit.hooks.accept(late)
    run = await scene.retry(stuck)
    assert run.line == "test-received", run.note
    assert rule["updated_at"] == before


async def test_what_a_killed_test_left_is_ended_by_the_next(scene: Scene) -> None:
    run = await scene.begin()
    scene.world.add_rule({"name": "Vigilbot 测试 r0-1", "metric": "disk_percent"})
    await scene.press(run, LI)
    tests = [r for r in scene.world.rows("rules") if r["name"].startswith("Vigilbot 测试")]
    assert [rule["is_enabled"] for rule in tests] == [False, False]


async def test_an_alert_that_fired_while_we_were_dead_fires_again(scene: Scene) -> None:
    """The monitor posts each alert once: a bot that comes back does not wait for that one."""
    run = await scene.begin()
    name, channel = "Vigilbot 测试 r1-1", walking.load(PHASE_4, run).channel
    scene.world.add_rule(
        {"name": name, "metric": "disk_percent", "severity": "info", "duration_seconds": 0}
        | {"notification_channel_ids": [channel]}
    )
    async with scene.store.unit() as unit:
        await unit.hooks.keep_only(run.customer, "vigilops", Secret("another"))
    await scene.kit.clock.sleep(REMEMBERED.total_seconds())
    await scene.kit.clock.sleep(60)
    assert [alert["title"] for alert in scene.world.rows("alerts")] == [f"{name} - web-01"]
    async with scene.store.unit() as unit:
        token = Secret(await scene.token())
        await unit.hooks.add(run.customer, "vigilops", token, scene.kit.clock.now())
    began = scene.kit.clock.now()
    run = await scene.press(run, LI)
    assert run.line == "test-received", run.note
    assert scene.kit.clock.now() - began < timedelta(seconds=10)


async def test_a_lost_answer_and_a_500_that_applied_make_nothing_twice(scene: Scene) -> None:
    traps = scene.world.traps
    traps.applied_500 = {"POST /api/v1/notification-channels": 1, "POST /api/v1/alert-rules": 2}
    traps.cut_applied = {"PUT /api/v1/alert-rules/*": 2}
    run = await scene.press(await scene.begin(), LI)
    assert run.line == "test-received", run.note
    assert len(scene.world.rows("channels")) == 1
    names = [rule["name"] for rule in scene.world.rows("rules")]
    assert len(set(names)) == len(names) == 10


async def test_two_rules_of_one_name_are_asked_about(scene: Scene) -> None:
    for _ in range(2):
        scene.world.add_rule({"name": "重名", "metric": "cpu_load_1"})
    stuck = await scene.begin()
    assert (stuck.status, stuck.line) == (RunStatus.STUCK, "rules")
    assert "1 条规则改不过来：重名" in stuck.note


async def test_webhooks_that_come_at_once_are_each_kept_once(scene: Scene) -> None:
    """And each is answered to its own sender, whether it was new."""
    await scene.begin()
    url = f"{scene.kit.house.public_url}/hooks/vigilops/{await scene.token()}"
    fields = {"status": "firing", "notification_type": "first", "fired_at": "2026-11-25T03:00:00Z"}
    async with httpx.AsyncClient(trust_env=False) as client:

        async def post(number: int) -> tuple[int, bool]:
            body = {"alert_id": number, "title": f"t{number}", **fields}
            return number, (await client.post(url, json=body)).json()["new"]

        answers = await asyncio.gather(*(post(number % 20) for number in range(40)))
    assert sorted(answers) == sorted((number, new) for number in range(20) for new in (True, False))


# -- /test-alert --------------------------------------------------------------------------------


async def ask(scene: Scene) -> tuple[str, str]:
    """Type /test-alert in the group; return what is answered and the new run's number."""
    now = scene.kit.clock.now()
    message = Message("m", GROUP, LI, "/test-alert", now)
    parsed = Book(command.test_alert).parse(message.text)
    assert parsed is not None
    async with scene.store.unit() as unit:
        customer = await unit.customers.of_chat(GROUP)
        desk = Desk(unit, BOOKS, scene.kit.clock, customer, NOBODY, NOBODY)
        call = Call(message, Role.ENGINEER, customer.id if customer else None, desk)
        card = await parsed.run(call)
    assert card is not None
    (run,) = desk.begun
    return plain(card), run.id


async def test_the_command_tests_the_whole_way_again(scene: Scene) -> None:
    """Also for a customer who is long in service: the onboarding's channel is taken."""
    with pytest.raises(UsageError, match="还没有配置告警渠道"):
        await ask(scene)
    scene.world.traps.ssrf_guard = True
    stuck = await scene.begin()
    with pytest.raises(UsageError, match="还没有配置告警渠道"):
        await ask(scene)
    scene.world.traps.ssrf_guard = False
    run = await scene.press(await scene.retry(stuck), LI)
    with pytest.raises(UsageError, match="已有一条测试告警在进行"):
        await ask(scene)
    run = await scene.press(run, WANG)
    await scene.press(run, LI, {"on_call": "李工，13900000001", "minutes": "5"})

    said, number = await ask(scene)
    assert "一般一分钟内到达" in said
    run = await scene.walk(number)
    assert (run.status, run.line) == (RunStatus.WAITING, "test-received"), run.note
    assert f"Vigilbot 测试 {number}-1 - web-01" in await scene.card(run)
    run = await scene.press(run, WANG)
    assert run.status is RunStatus.DONE

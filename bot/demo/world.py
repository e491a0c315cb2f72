"""A whole world in one directory: the bot, a customer's servers, and the people who take part.

Everything that it knows is in that directory, so it may be killed at any instant and goes on.
"""

from __future__ import annotations

import asyncio
import csv
import fcntl
import io
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from adapters.card import Button, Buttons, Card, Style, Text, Tone, dumps
from adapters.documents import OfficeDocuments
from adapters.port import Login, UsageError
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.words import Chat, File, Person, Role, Secret
from bot.app import BOOKS, working
from bot.demo import model, vigilops
from bot.demo.agenda import Agenda
from bot.demo.clock import DemoClock, system_now
from bot.demo.docker import Containers
from bot.demo.forward import Follow, Forward
from bot.demo.hosts import AGENT_BUNDLE, Host, Hosts, Spec
from bot.demo.month import Month
from bot.demo.sample import SLUG, Sample
from bot.demo.toys import PATH, Toys, ToyShop
from bot.demo.weather import Weather
from bot.late import LateModel
from bot.web.site import create_site, listening, serving
from runbooks.book import Runbook
from runbooks.kit import House, Kit
from runbooks.walk import OPERATIONS
from storage.intake import Intake
from storage.journal import journal_in
from storage.records import Delivery, DeliveryState, Lane, Member
from storage.store import Store, Unit
from storage.vault import Seal

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
SUN = Person("web", "sun", "孙工")
WANG = Person("web", "wang", "王经理")
CHEN = Person("web", "chen", "陈总")
CUSTOMERS = ((WANG, "IT 经理"), (CHEN, "总经理"))
STAFF = (
    Member(LI, Role.ENGINEER, title="交付工程师"),
    Member(ZHAO, Role.LEAD, title="交付主管"),
    Member(SUN, Role.ENGINEER, title="值班工程师"),
)
PEOPLE = (LI, ZHAO, WANG, CHEN, SUN)

COMPANY = "海蓝科技"
SERVERS = (
    Spec("web-01", cpu=4, memory_mb=8192, disk_gb=100),
    Spec("app-01", cpu=8, memory_mb=16_384, disk_gb=200),
    Spec("db-01", cpu=2, memory_mb=4096, disk_gb=40),
)
MANAGED = Spec("managed-01", cpu=16, memory_mb=65_536, disk_gb=500)

LOOK = 1.0
"""Seconds between two looks for what docker was told on the hosts."""

HANDBOOKS = Path(__file__).with_name("runbooks")

KEY = "vault.key"
"""Name of the file that marks a demo's directory, and holds the key of its vault."""
SHEET = "演示服务器.csv"
CLOCK = "clock"
"""Name of the file that keeps how far the demo's clock is ahead."""


@dataclass(frozen=True, slots=True)
class World:
    """The demo at work, for whoever takes part in it from within this process."""

    address: str
    store: Store
    webchat: WebChat
    books: Mapping[str, Runbook[Any]]
    servers: File
    """The list of the customer's servers, passwords and all."""


@asynccontextmanager
async def demo(directory: Path, port: int) -> AsyncIterator[str]:
    """Run the world until left, and give its address; see `staged`."""
    async with staged(directory, port) as world:
        yield world.address


@asynccontextmanager
async def staged(directory: Path, port: int) -> AsyncIterator[World]:
    """Run the world until left, and give what it is made of; port 0 takes a free one.

    Raises UsageError when another process runs this directory, or has the port.
    """
    async with AsyncExitStack() as stack:
        stack.callback(os.close, _alone(directory))
        seal = Seal(vault_key(directory / KEY))
        taken = stack.enter_context(listening("127.0.0.1", port))
        specs = (*SERVERS, MANAGED)
        clock = DemoClock(directory / CLOCK)
        hosts = await stack.enter_async_context(Hosts(directory / "hosts", specs=specs))
        make = partial(monitor, now=clock.now)
        containers = await stack.enter_async_context(Containers(hosts, every=LOOK, make=make))

        def follow(leap: timedelta) -> None:
            containers.outlast(leap)
            if not leap:  # it goes on from here: agents and `date` go by the new time
                for host in hosts:
                    host.keep_time(clock.lead)

        follow(timedelta())
        customers = [hosts[spec.name] for spec in SERVERS]
        yield await stack.enter_async_context(
            peopled(directory, taken, seal, hosts[MANAGED.name], customers, clock, follow)
        )


@asynccontextmanager
async def peopled(
    directory: Path,
    taken: socket.socket,
    seal: Seal,
    managed: Host,
    customers: list[Host],
    clock: DemoClock,
    follow: Follow,
) -> AsyncIterator[World]:
    """Run the bot and its people over hosts that run somewhere, with its page on `taken`; whatever
    must keep up with the clock is told by `follow`."""
    async with AsyncExitStack() as stack:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ai_url = await stack.enter_async_context(model.serve())
        house = _house(address, managed, ai_url)
        url = f"sqlite+aiosqlite:///{directory / 'vigilbot.db'}"
        store = await stack.enter_async_context(Store(url, seal))
        await store.create()
        web = await stack.enter_async_context(WebChat(directory / "webchat.sqlite", now=clock.now))
        monitors = await stack.enter_async_context(VigilOpsMonitors())
        kit = Kit(
            clock,
            store,
            {web.name: web},
            SshServers(),
            monitors,
            OfficeDocuments(),
            house,
            await stack.enter_async_context(LateModel(house.ai_url, house.ai_model, house.ai_key)),
        )
        await _set_the_stage(kit, web, customers)
        journal = journal_in(directory / "engine.db")
        stack.callback(journal.dispose)
        # Opened before who folds it, and closed after.
        intake = await stack.enter_async_context(Intake(url))
        bot = await stack.enter_async_context(working(kit, journal, posts=intake))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        joining = group.create_task(_join(store, web), name="join")
        stack.callback(joining.cancel)
        site = create_site(kit, bot, web, people=PEOPLE)
        agenda = Agenda()
        keeping = group.create_task(agenda.run(clock), name="agenda")
        stack.callback(keeping.cancel)
        forward = Forward(kit, clock, bot, web, agenda, follow)
        sample = Sample(kit, intake, web, (LI, SUN, ZHAO))
        weather, month = Weather(sample, agenda), Month(sample, agenda, forward, ZHAO)
        toys = Toys(sample, clock, forward, weather, month)
        shop = ToyShop(toys, house.zone, (LI, ZHAO, SUN), group.create_task)
        stack.callback(shop.close)
        shop.attach(site)
        await stack.enter_async_context(serving(site, taken))
        yield World(address, store, web, BOOKS, server_list(customers))


def clear(directory: Path) -> None:
    """Forget a demo; UsageError when the directory is there and is not one of ours."""
    if not directory.exists():
        return
    if not (directory / KEY).is_file():
        raise UsageError(f"{directory} 不是演示目录（里面没有 {KEY}），没有删除任何东西")
    os.close(_alone(directory))
    shutil.rmtree(directory)


def vault_key(path: Path) -> Secret:
    """Return the key in the file; the first time, make one that its owner alone can read."""
    if not path.exists():
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(Seal.new_key().reveal())
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)  # whole or not at all: half a key would lock everything away
    return Secret(path.read_text(encoding="utf-8"))


def server_list(hosts: list[Host]) -> File:
    """Return the sheet that a newcomer uploads in the form: how to reach the demo's servers."""
    out = io.StringIO()
    sheet = csv.writer(out, lineterminator="\n")
    sheet.writerow(("名称", "地址", "端口", "用户", "密码", "CPU", "内存", "磁盘"))
    for host in hosts:
        s = host.spec
        reach = (s.name, s.host, s.port, s.user, s.password.reveal())
        sheet.writerow((*reach, s.cpu, s.memory_mb // 1024, s.disk_gb))
    # The mark tells Excel that this is UTF-8.
    return File(SHEET, b"\xef\xbb\xbf" + out.getvalue().encode())


def welcome() -> Card:
    """Return the first card that a newcomer reads."""
    return Card(
        "欢迎：从这里开始",
        Tone.GOOD,
        (
            Text(f"您现在是{LI.name}（交付工程师），在运营群里。", Style.STRONG),
            Text(f"1. 下载下面的「{SHEET}」，再在底部输入："),
            Text(f"/onboard {COMPANY}", Style.CODE),
            Text(
                f"2. 填登记表：联系人写「{WANG.name}，IT 经理，13800000000」；"
                f"「{SHEET}」传到「服务器清单文件」；选一个告警渠道；提交。"
            ),
            Text(
                f"3. 左侧会出现新群「{COMPANY} 监控交付」：点进去看进度卡片。"
                "卡片写着轮到谁；右上角「去处理」跳到要按的按钮。"
            ),
            Text(
                f"4. 轮到别人时，在左下角切换身份：{ZHAO.name}是负责人，"
                f"{WANG.name}和{CHEN.name}是客户。验收后，登录链接和验证码在{LI.name}的单聊里。"
            ),
            Buttons(
                (
                    Button("打开控制台", url="/console"),
                    Button("告警风暴、时钟、一个月值班", url=PATH),
                )
            ),
            Text("/help 列出所有命令。清单里是沙箱密码；真实客户请用 /server key。", Style.QUIET),
        ),
    )


def monitor(path: Path, now: Callable[[], datetime] = system_now) -> vigilops.World:
    """Return a monitor that may call this very machine; the real one refuses private addresses."""
    traps = vigilops.Traps(ssrf_guard=False)
    return vigilops.World(now=now, path=path, traps=traps, limits=vigilops.Limits(login=0))


def _house(address: str, managed: Host, ai_url: str) -> House:
    spec = managed.spec
    return House(
        provider="演示运维服务商",
        contact=ZHAO.name,
        public_url=address,
        managed=Login(spec.host, spec.port, spec.user, spec.password),
        ai_url=ai_url,
        ai_model="demo",
        ai_key=Secret("demo-key"),
        bundle=AGENT_BUNDLE,
        handbooks=HANDBOOKS,
    )


async def _set_the_stage(kit: Kit, web: WebChat, hosts: list[Host]) -> None:
    """Make the operations group with its card, the first time; later it is there already."""
    ops = await web.found("运营群", [LI, ZHAO], chat_id="ops")
    sheet, now = server_list(hosts), kit.clock.now()
    async with kit.store.unit() as unit:
        for member in STAFF:
            await unit.people.put(member)
        await unit.outbox.mark(OPERATIONS, ops, now)
        said = Delivery(0, "demo:welcome", ops, Lane.NORMAL, DeliveryState.WAITING, now)
        await unit.outbox.put(replace(said, card=dumps(welcome())))
        sent = replace(said, key="demo:servers", file_name=sheet.name, file=sheet.content)
        await unit.outbox.put(sent)


async def _join(store: Store, web: WebChat) -> None:
    """Take the customer's people into each new customer's group, and say whose they are.

    There is one cast: it belongs to the customer that came last.
    """
    news = asyncio.Event()
    stop = web.watch(lambda _: news.set())
    try:
        while True:
            news.clear()
            if strange := [chat for chat in web.chats(LI) if _strange(web, chat)]:
                await _introduce(store, web, strange)
            await news.wait()
    finally:
        stop()


def _strange(web: WebChat, chat: Chat) -> bool:
    return chat.id != "ops" and not web.is_direct(chat) and CHEN not in web.members(chat)


async def _introduce(store: Store, web: WebChat, strange: list[Chat]) -> None:
    for chat in strange:
        async with store.unit() as unit:
            customer = await unit.customers.of_chat(chat)
            if customer is None:
                continue  # the group is made before it is bound; the next post comes after that
            if customer.slug == SLUG and await _have_a_customer(unit):
                continue  # whoever plays with the sample must not lose the customer they are with
            for person, title in CUSTOMERS:
                await unit.people.put(Member(person, Role.CUSTOMER, customer.id, title))
        for person, _ in CUSTOMERS:
            await web.join(chat, person)


async def _have_a_customer(unit: Unit) -> bool:
    return any([await unit.people.get(person) for person, _ in CUSTOMERS])


def _alone(directory: Path) -> int:
    """Hold the directory for this process alone; the lock ends with the process, however it ends."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(directory / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise UsageError(f"{directory} 正由另一个演示进程使用：请先结束它，或换一个目录") from None
    return handle

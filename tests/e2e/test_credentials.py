"""Passwords by one-time link, and what else is done for servers and accounts out of the group."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.card import plain
from adapters.documents import OfficeDocuments
from adapters.port import Account, Permanent
from adapters.ssh import SshKeys, SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.words import Chat, Click, Message, Person, Role, Secret, Submission
from bot.app import BOOKS
from bot.demo.hosts import Hosts, Spec, Sudo
from bot.demo.vigilops import World, serve
from bot.inbox import Inbox
from bot.sender import Sender
from bot.web.links import router
from commands.contents import BOOK
from runbooks import walk as walking
from runbooks.cards import PASSWORD, drawn, operations
from runbooks.case import Contact, Onboarding, Way
from runbooks.kit import House, Kit
from runbooks.onboarding import ONBOARDING
from runbooks.press import Press
from runbooks.steps.servers import bastion_password
from runbooks.walk import OPERATIONS
from storage.records import Customer, LineState, Member, Run, RunStatus, Server
from storage.store import Store, Unit

pytestmark = pytest.mark.xdist_group("ports")

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
WANG = Person("web", "wang", "王经理")
BOT_PASSWORD = "Bot-Passw0rd-77"
TYPED = "Kunde-Geheim-2026"


class Present:
    """The machine's time, as its hosts have it; whoever waits here moves on alone."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(tz=UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass
class Desk:
    """Inbox, sender, chat and link pages; the engine walks at once."""

    kit: Kit
    web: WebChat
    http: httpx.AsyncClient
    group: Chat
    count: int = 0

    def __post_init__(self) -> None:
        docs = OfficeDocuments()
        kit = self.kit
        self.inbox = Inbox(kit.store, BOOKS, kit.clock, self.go, BOOK, docs, SshKeys())
        self.sender = Sender(kit.store, kit.chats, self.draw, kit.clock)

    async def go(self, run: Run) -> None:
        await walking.walk(BOOKS, run.id, self.kit)

    async def draw(self, key: str, unit: Unit) -> Any:
        if key == OPERATIONS:
            return await operations(BOOKS, unit)
        return await drawn(BOOKS, key.removeprefix("run:"), unit)

    async def type(self, who: Person, text: str, chat: Chat | None = None) -> str:
        self.count += 1
        number, now = f"m{self.count}", self.kit.clock.now()
        await self.inbox.take(Message(number, chat or self.group, who, text, now))
        async with self.kit.store.view() as unit:
            reply = await unit.outbox.by_key(f"reply:web:{number}")
        assert reply is not None
        await self.speak()
        return reply.card

    async def press(self, who: Person, verb: str) -> None:
        self.count += 1
        run = await self.run("r1")
        action = Press(verb, run.id, run.line, run.attempt).text()
        now = self.kit.clock.now()
        await self.inbox.take(Click(f"c{self.count}", self.group, who, action, now))
        await self.speak()

    async def speak(self) -> None:
        for _ in range(4):
            await self.kit.clock.sleep(1)
            await self.sender.drain()

    async def run(self, number: str) -> Run:
        async with self.kit.store.view() as unit:
            run = await unit.runs.get(number)
        assert run is not None
        return run

    async def kept(self, name: str) -> str:
        async with self.kit.store.view() as unit:
            found = await unit.vault.get(name)
        return found.reveal() if found else ""

    def shown(self) -> str:
        """Return all that stands in the group."""
        posts = self.web.history(self.group)
        return "\n".join((plain(post.card) if post.card else "") + post.text for post in posts)

    def told(self, person: Person) -> list[tuple[str, str]]:
        """Return (path, code) of each link that was told in somebody's direct chat."""
        directs = [c for c in self.web.chats(person) if c.id == f"d-{person.id}"]
        texts = [post.text for chat in directs for post in self.web.history(chat)]
        paths = [found[1] for text in texts if (found := re.search(r"http://bot(\S+)", text))]
        codes = [found[1] for text in texts if (found := re.search(r"验证码：(\d{6})", text))]
        return list(zip(paths, codes, strict=True))


@asynccontextmanager
async def opened(
    store: Store, folder: Path, clock: Any, *, monitors: Any = None
) -> AsyncIterator[Desk]:
    async with WebChat(folder / "web.sqlite") as web:
        group = await web.open_chat("海蓝科技 监控交付", [LI, ZHAO, WANG], key="g")
        house = House(public_url="http://bot")
        nobody = monitors or cast("Any", None)
        kit = Kit(clock, store, {"web": web}, SshServers(), nobody, OfficeDocuments(), house)
        app = FastAPI()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bot") as http:
            desk = Desk(kit, web, http, group)
            app.include_router(router(kit, BOOKS, desk.go))
            yield desk


async def found(desk: Desk, servers: list[Server], line: str = "signed", **case: Any) -> None:
    """Have a customer with these servers, whose onboarding stands at a line."""
    now = desk.kit.clock.now()
    async with desk.kit.store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", now, desk.group))
        for person, role in ((LI, Role.ENGINEER), (ZHAO, Role.LEAD)):
            await unit.people.put(Member(person, role))
        await unit.people.put(Member(WANG, Role.CUSTOMER, customer.id))
        for server in servers:
            await unit.servers.add(replace(server, customer=customer.id))
        names = tuple(server.name for server in servers)
        contacts = (Contact("王经理", "IT 经理", "13800000000"),)
        known = Onboarding(customer.id, "海蓝科技", contacts, names, **case)
        text, waiting = walking.dump(known), RunStatus.WAITING
        await unit.runs.add(Run("r1", "onboarding", 1, line, waiting, 3, text, LI, now, now))


SERVERS = [
    Server(0, 0, "web-01", "10.0.0.1"),
    Server(0, 0, "web-02", "10.0.0.2", bastion="jump@203.0.113.5:22"),
]


async def test_passwords_go_from_a_page_into_the_vault_and_nowhere_else(
    store: Store, tmp_path: Path, clock: Any
) -> None:
    """One for all, one of its own, the bastion's; a link opens once; the group reads no secret."""
    async with opened(store, tmp_path, clock) as desk:
        await found(desk, SERVERS)
        assert "私信" in await desk.type(LI, "/server password")
        ((path, code),) = desk.told(LI)
        page = await desk.http.get(path)
        assert page.status_code == 200
        assert "web-02：sudo 密码" in page.text
        assert "跳板机 203.0.113.5" in page.text
        typed = {
            "all-password": TYPED,
            "all-sudo": f"{TYPED}-s",
            "2-password": f"{TYPED}-2",
            "bastion-0": f"{TYPED}-b",
        }
        assert (await desk.http.get(path, params={"code": code, **typed})).status_code == 200
        assert await desk.kept("server:1:password") == "", "what is in an address is not taken"
        empty = await desk.http.post(path, data={"code": code})
        assert (empty.status_code, "至少填一项" in empty.text) == (409, True)
        bad = await desk.http.post(path, data={"code": code, "all-password": "x\ny"})
        assert (bad.status_code, "不像密码" in bad.text) == (409, True)
        done = await desk.http.post(path, data={"code": code, **typed})
        assert done.status_code == 200, done.text
        assert TYPED not in done.text
        assert (await desk.http.post(path, data={"code": code, **typed})).status_code == 410
        await desk.speak()
        assert await desk.kept("server:1:password") == TYPED
        assert await desk.kept("server:2:password") == f"{TYPED}-2"
        assert await desk.kept("server:2:sudo") == f"{TYPED}-s"
        assert await desk.kept(bastion_password(1, "203.0.113.5")) == f"{TYPED}-b"
        shown = desk.shown()
        assert "已通过一次性链接登记 5 项密码" in shown
        async with store.view() as unit:
            written = [repr(entry) for entry in await unit.audit.entries()]
            written += [entry.card for entry in await unit.outbox.latest(100)]
        for secret in (TYPED, path, code):
            assert not any(secret in text for text in [shown, *written])


async def test_five_wrong_codes_and_time_end_such_a_link(
    store: Store, tmp_path: Path, clock: Any
) -> None:
    async with opened(store, tmp_path, clock) as desk:
        await found(desk, SERVERS)
        await desk.type(LI, "/server password web-01")
        ((path, code),) = desk.told(LI)
        typed = {"1-password": TYPED}
        wrong = {"code": "000000" if code != "000000" else "000001", **typed}
        answers = [(await desk.http.post(path, data=wrong)).status_code for _ in range(5)]
        assert answers == [403, 403, 403, 403, 423]
        assert (await desk.http.post(path, data={"code": code, **typed})).status_code == 423
        await desk.type(LI, "/server password web-01")
        assert (await desk.http.get(path)).status_code == 404, "the old one is replaced"
        path, code = desk.told(LI)[-1]
        await clock.sleep(timedelta(days=3).total_seconds())
        assert (await desk.http.post(path, data={"code": code, **typed})).status_code == 410
        assert await desk.kept("server:1:password") == ""


async def test_only_who_may_is_given_a_link(store: Store, tmp_path: Path, clock: Any) -> None:
    async with opened(store, tmp_path, clock) as desk:
        await found(desk, SERVERS)
        assert "只有工程师" in await desk.type(WANG, "/server password")
        assert "没有登记服务器「web-09」" in await desk.type(LI, "/server password web-09")
        assert "只有负责人" in await desk.type(LI, "/monitor password")
        assert "方式 C" in await desk.type(ZHAO, "/monitor password")
        assert "还没有进入持续运维" in await desk.type(LI, "/handover")
        assert desk.told(LI) == desk.told(WANG) == desk.told(ZHAO) == []


async def test_a_stuck_probe_is_cured_by_its_button_and_the_page(
    store: Store, tmp_path: Path
) -> None:
    """Stuck for want of a password, the engineer presses, the keeper fills in, and it goes on."""
    clock = Present()
    specs = (Spec("web-01", sudo=Sudo.PASSWORD),)
    async with (
        Hosts(tmp_path / "hosts", specs=specs) as hosts,
        opened(store, tmp_path, clock) as desk,
    ):
        spec = hosts["web-01"].spec
        await found(desk, [Server(0, 0, "web-01", spec.host, spec.port, spec.user)])
        run = await desk.run("r1")
        async with store.unit() as unit:
            probing = replace(run, line="probe", status=RunStatus.WALKING, attempt=4)
            assert await unit.runs.advance(run, probing)
        await desk.go(probing)
        stuck = await desk.run("r1")
        assert (stuck.line, stuck.fault) == ("probe", "ssh_auth"), stuck.note
        await desk.speak()
        assert "/server password" in desk.shown()
        assert "[登记密码]" in desk.shown()
        await desk.press(WANG, PASSWORD)
        assert desk.told(LI) == []
        await desk.press(LI, PASSWORD)
        ((path, code),) = desk.told(LI)
        secret = spec.password.reveal()
        typed = {"1-password": secret, "1-sudo": secret}
        assert (await desk.http.post(path, data={"code": code, **typed})).status_code == 200
        await desk.speak()
        assert "可以重试停下的步骤了" in desk.shown()
        assert secret not in desk.shown()
        await desk.press(LI, "retry")
        async with store.view() as unit:
            lines = await unit.lines.of("r1")
        assert lines["probe"].state is LineState.DONE, lines["probe"]


async def test_the_line_told_after_the_intake_opens_a_server_without_a_password(
    store: Store, tmp_path: Path
) -> None:
    clock = Present()
    async with (
        Hosts(tmp_path / "hosts", specs=(Spec("web-01"),)) as hosts,
        opened(store, tmp_path, clock) as desk,
    ):
        ops = await desk.web.open_chat("运营群", [LI], key="ops")
        async with store.unit() as unit:
            await unit.people.put(Member(LI, Role.ENGINEER))
        spec = hosts["web-01"].spec
        values = {
            "company": "海蓝科技",
            "contacts": "王经理，IT 经理，13800000000",
            "servers": f"名称 地址 端口 用户\nweb-01 {spec.host} {spec.port} {spec.user}",
            "location": "cloud",
            "channels": "email",
            "tier": "basic",
            "way": "b",
        }
        now = clock.now()
        await desk.inbox.take(Submission("s1", ops, LI, "onboard", values, now))
        await desk.speak()
        said = "\n".join(plain(p.card) for p in desk.web.history(ops) if p.card)
        (group,) = [
            c for c in desk.web.chats(LI) if c.title == "海蓝科技 监控交付" and c != desk.group
        ]
        there = "\n".join(plain(p.card) for p in desk.web.history(group) if p.card)
        assert "1 台没有登记密码：web-01" in there
        line = next(row for row in said.splitlines() if row.startswith("ssh-ed25519 "))
        assert "1 台没有登记密码：web-01" in said
        assert "PRIVATE" not in said
        hosts["web-01"].authorize(line)
        async with store.view() as unit:
            (run,) = await unit.runs.of(1)
        async with store.unit() as unit:
            probing = replace(run, line="probe", status=RunStatus.WALKING, attempt=9)
            assert await unit.runs.advance(run, probing)
        await desk.go(probing)
        async with store.view() as unit:
            (server,) = await unit.servers.of(1)
        assert server.hostname == "web-01"


# -- the monitor's side ---------------------------------------------------------------------------


@asynccontextmanager
async def served(store: Store, folder: Path, clock: Any) -> AsyncIterator[tuple[Desk, World, str]]:
    world = World(now=clock.now)
    async with serve(world) as url, VigilOpsMonitors() as monitors:
        watch = monitors.at(url, Account("vigilbot@example.com", Secret(BOT_PASSWORD)))
        await watch.register_admin()
        async with opened(store, folder, clock, monitors=monitors) as desk:
            yield desk, world, url


async def test_the_password_of_a_standing_instance_is_asked_of_the_lead(
    store: Store, tmp_path: Path, clock: Any
) -> None:
    async with served(store, tmp_path, clock) as (desk, _, url):
        await found(desk, SERVERS, way=Way.STANDING, url=url)
        assert "私信" in await desk.type(ZHAO, "/monitor password")
        ((path, code),) = desk.told(ZHAO)
        assert "机器人账号的密码" in (await desk.http.get(path)).text
        data = {"code": code, "monitor": BOT_PASSWORD}
        assert (await desk.http.post(path, data=data)).status_code == 200
        assert await desk.kept("monitor:1:password") == BOT_PASSWORD


async def test_a_removed_server_loses_its_token_here_and_there(
    store: Store, tmp_path: Path, clock: Any
) -> None:
    async with served(store, tmp_path, clock) as (desk, _, url):
        watch = desk.kit.monitors.at(url, Account("vigilbot@example.com", Secret(BOT_PASSWORD)))
        token = await watch.create_agent_token("hailan-web-01")
        other = await watch.create_agent_token("hailan-web-02")
        await found(desk, [replace(SERVERS[0], agent_token=token.id), SERVERS[1]], url=url)
        async with store.unit() as unit:
            await unit.vault.put("monitor:1:password", Secret(BOT_PASSWORD))
            await unit.vault.put("server:1:agent_token", token.secret)
        assert "已移除" in await desk.type(ZHAO, "/server remove web-01")
        live = {found.id for found in await watch.agent_tokens() if found.active}
        assert live == {other.id}
        assert await desk.kept("server:1:agent_token") == ""
        async with store.view() as unit:
            runs = await unit.runs.of(1, "retire-agent")
        assert [run.status for run in runs] == [RunStatus.DONE]


async def test_a_handover_that_expired_is_made_anew(
    store: Store, tmp_path: Path, clock: Any
) -> None:
    """A new password that opens, by a new link; the old password and the old link do not."""
    async with served(store, tmp_path, clock) as (desk, _, url):
        monitors = desk.kit.monitors
        watch = monitors.at(url, Account("vigilbot@example.com", Secret(BOT_PASSWORD)))
        await watch.create_user("hailan@example.com", "海蓝", "viewer", Secret("Old-Passw0rd"))
        with pytest.raises(Permanent, match="没有用户"):
            await watch.set_password("nobody@example.com", Secret("New-Passw0rd"))
        await found(desk, SERVERS, url=url, console="http://console")
        async with store.unit() as unit:
            await unit.vault.put("monitor:1:password", Secret(BOT_PASSWORD))
            await unit.vault.put("customer:1:login", Secret("Old-Passw0rd"))
            await unit.customers.begin_service(1, clock.now())
        assert "已私信" not in await desk.type(WANG, "/handover")
        await desk.type(LI, "/handover")
        ((old, _),) = desk.told(LI)
        await desk.type(LI, "/handover")
        (path, code) = desk.told(LI)[-1]
        assert (await desk.http.get(old)).status_code == 404
        page = await desk.http.post(path, data={"code": code})
        shown = re.search(r"初始密码</td><td>([^<]+)</td>", page.text)
        assert shown is not None, page.text
        assert shown[1] != "Old-Passw0rd"
        assert shown[1] not in desk.shown()
        async with VigilOpsMonitors() as others:
            login = Account("hailan@example.com", Secret(shown[1]))
            assert await others.at(url, login).me() == "viewer"
        async with store.view() as unit:
            runs = await unit.runs.of(1, "handover")
        assert [run.status for run in runs] == [RunStatus.DONE] * 2, runs[0].note


def test_the_books_of_errands_are_known_to_the_bot() -> None:
    assert {"passwords", "handover", "retire-agent", ONBOARDING.name} <= set(BOOKS)

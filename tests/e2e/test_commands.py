"""What people type about people, servers and tiers, through the real inbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from adapters.card import plain
from adapters.documents import OfficeDocuments
from adapters.port import Login
from adapters.ssh import SshKeys, SshServers
from adapters.webchat.link import WebChat
from adapters.words import Chat, File, Message, Person, Role, Secret
from bot.demo.hosts import Hosts
from bot.inbox import Inbox
from bot.sender import Sender
from commands.contents import BOOK
from runbooks import fleet, pairing
from runbooks import walk as walking
from runbooks.cards import drawn, operations
from runbooks.case import Contact, Onboarding
from runbooks.onboarding import ONBOARDING
from runbooks.steps.servers import bastion_password, login_to
from runbooks.walk import OPERATIONS
from storage.records import (
    Customer,
    HostLine,
    Line,
    LineState,
    Member,
    Run,
    RunStatus,
    Server,
    Tier,
)
from storage.store import Store, Unit

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
WANG = Person("web", "wang", "王经理")
BOOKS: Mapping[str, Any] = {ONBOARDING.name: ONBOARDING}

SHEET = (
    "名称,地址,用户,密码,sudo密码\nweb-02,10.0.0.2,ops,pass-of-02,sudo-of-02\nweb-03,10.0.0.3,,,\n"
)


class House:
    """An inbox and a sender over a real chat, with a customer who is being taken on."""

    def __init__(self, store: Store, web: WebChat, clock: Any) -> None:
        self.store, self.web, self.clock = store, web, clock
        self.inbox = Inbox(store, BOOKS, clock, self.go, BOOK, OfficeDocuments(), SshKeys())
        self.sender = Sender(store, {"web": web}, self.draw, clock)
        self.count = 0

    async def go(self, run: Run) -> None:
        raise AssertionError(f"nobody asked to walk {run.id}")

    async def draw(self, key: str, unit: Unit) -> Any:
        if key == OPERATIONS:
            return await operations(BOOKS, unit)
        return await drawn(BOOKS, key.removeprefix("run:"), unit)

    async def begin(self, status: RunStatus = RunStatus.WAITING) -> Chat:
        """Found the customer's group; the run is parked at the contract's gate."""
        group = await self.web.open_chat("海蓝 监控交付", [LI, ZHAO, WANG], key="g")
        now = self.clock.now()
        async with self.store.unit() as unit:
            owner = await unit.customers.add(Customer(0, "海蓝", "hailan", now, group))
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(ZHAO, Role.LEAD))
            await unit.people.put(Member(WANG, Role.CUSTOMER, owner.id))
            await unit.servers.add(Server(0, owner.id, "web-01", "10.0.0.1"))
            case = Onboarding(owner.id, "海蓝", (Contact("王经理"),), ("web-01",))
            text = walking.dump(case)
            run = Run("r1", "onboarding", owner.id, "signed", status, 3, text, LI, now, now)
            await unit.runs.add(run)
        return group

    async def type(
        self, chat: Chat, who: Person, text: str, *, files: tuple[File, ...] = (), at: Any = ()
    ) -> str:
        """Say something and return the bot's answer to it."""
        self.count += 1
        now = self.clock.now()
        await self.inbox.take(Message(f"m{self.count}", chat, who, text, now, files, at))
        await self.speak()
        async with self.store.view() as unit:
            reply = await unit.outbox.by_key(f"reply:web:m{self.count}")
        assert reply is not None
        return next(
            plain(post.card)
            for post in self.web.history(chat)
            if post.id == reply.receipt and post.card
        )

    async def speak(self) -> None:
        for _ in range(3):
            await self.clock.sleep(2)
            await self.sender.drain()

    async def case(self) -> Onboarding:
        async with self.store.view() as unit:
            run = await unit.runs.get("r1")
        assert run is not None
        return fleet.case_of(run)

    async def servers(self) -> dict[str, Server]:
        async with self.store.view() as unit:
            return {server.name: server for server in await unit.servers.of(1)}

    async def secret(self, name: str) -> str:
        async with self.store.view() as unit:
            found = await unit.vault.get(name)
        return found.reveal() if found else ""

    async def trail(self) -> list[tuple[str, str]]:
        async with self.store.view() as unit:
            return [(entry.actor, entry.deed) for entry in await unit.audit.entries()]


@pytest.fixture
async def house(store: Store, tmp_path: Path, clock: Any) -> AsyncIterator[House]:
    async with WebChat(tmp_path / "web.sqlite") as web:
        yield House(store, web, clock)


async def test_how_the_last_run_ended_is_still_told(house: House) -> None:
    """A customer who has been taken on is not told to begin again."""
    group = await house.begin(RunStatus.DONE)
    assert "客户接入 · 海蓝" in await house.type(group, WANG, "/status")
    told = await house.type(group, ZHAO, "/skip 不需要")
    assert "都已结束，输入 /status" in told
    assert "/onboard" not in told


# -- people -----------------------------------------------------------------------------------


async def test_the_printed_code_makes_the_first_lead(house: House) -> None:
    room = await house.web.direct(ZHAO)
    async with house.store.unit() as unit:
        code = (await pairing.offer(house.clock.now(), unit)).reveal()
    assert "配对码不对" in await house.type(room, ZHAO, "/pair AAAAAAAAAA")
    async with house.store.view() as unit:
        offer = await pairing.standing(house.clock.now(), unit)
    assert offer is not None
    assert offer.tries == 1
    assert "现在是负责人" in await house.type(room, ZHAO, f"/pair {code}")
    assert "已经有负责人" in await house.type(room, LI, f"/pair {code}")


async def test_a_lead_gets_a_code_for_a_colleague_in_private(house: House) -> None:
    group = await house.web.open_chat("内部", [LI, ZHAO], key="in")
    async with house.store.unit() as unit:
        await unit.people.put(Member(ZHAO, Role.LEAD))
    assert "只有负责人" in await house.type(group, LI, "/pair new")
    assert "已私信" in await house.type(group, ZHAO, "/pair new")
    whispered = house.web.history(await house.web.direct(ZHAO))[-1].text
    code = whispered.partition("/pair ")[2][: pairing.LENGTH]
    shown = " ".join(plain(post.card) for post in house.web.history(group) if post.card)
    assert code not in shown
    assert "李工 现在是负责人" in await house.type(group, LI, f"/pair {code}")


async def test_roles_are_given_and_taken_but_one_lead_stays(house: House) -> None:
    group = await house.begin()
    assert "负责人" in await house.type(group, LI, "/role @王经理 lead", at=(WANG,))
    said = await house.type(group, ZHAO, "/role @赵主管 工程师", at=(ZHAO,))
    assert "最后一位负责人" in said
    assert "李工：负责人" in await house.type(group, ZHAO, "/role @李工 lead", at=(LI,))
    assert "赵主管：无" in await house.type(group, LI, "/role @赵主管 none", at=(ZHAO,))
    assert "赵主管：客户" in await house.type(group, LI, "/role @赵主管 customer", at=(ZHAO,))
    async with house.store.view() as unit:
        member = await unit.people.get(ZHAO)
    assert member is not None
    assert (member.role, member.customer) == (Role.CUSTOMER, 1)
    assert await house.trail() == [("赵主管", "role"), ("李工", "role"), ("李工", "role")]
    inside = await house.web.open_chat("内部", [LI, ZHAO], key="in")
    said = await house.type(inside, LI, "/role @赵主管 customer", at=(ZHAO,))
    assert "客户群" in said


async def test_the_operations_group_may_move(house: House) -> None:
    await house.begin()
    first = await house.web.open_chat("运营一", [ZHAO], key="o1")
    second = await house.web.open_chat("运营二", [ZHAO], key="o2")
    for room in (first, second):
        await house.type(room, ZHAO, "/ops")
        cards = [plain(post.card) for post in house.web.history(room) if post.card]
        assert any("客户一览" in card and "海蓝" in card for card in cards)
    async with house.store.view() as unit:
        card = await unit.outbox.living(OPERATIONS)
    assert card is not None
    assert card.chat == second


# -- servers ----------------------------------------------------------------------------------


async def test_a_typed_server_joins_the_onboarding(house: House) -> None:
    group = await house.begin()
    text = "/server add 数据库（主） 10.0.0.9 --port 2222 --user ops --bastion jump@10.9.9.9:22"
    assert "已添加 1 台" in await house.type(group, LI, text)
    server = (await house.servers())["数据库(主)"]
    assert (server.host, server.port, server.user) == ("10.0.0.9", 2222, "ops")
    assert server.bastion == "jump@10.9.9.9:22"
    assert (await house.case()).servers == ("web-01", "数据库(主)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/server add", "请写名称和地址"),
        ("/server add web-02", "请写名称和地址"),
        ("/server add web-02 10.0.0.300", "「地址」"),
        ("/server add web-02 10.0.0.2 --port 70000", "65535"),
        ("/server add web-02 10.0.0.2 --password x", "--password"),
        ("/server add WEB-01 10.0.0.2", "已登记"),
        ("/server add web-02 10.0.0.1", "已登记"),
        ("/server add\nweb-02 10.0.0.2\nweb-03 10.0.0.2", "重复"),
        ("/server add\n名称,地址,密码\nweb-02,10.0.0.2,hunter2", "密码不能直接写在群里"),
        ("/server add web-02 10.0.0.2\nweb-03 10.0.0.3", "后面多了"),
    ],
)
async def test_a_server_that_is_wrong_is_not_added(house: House, text: str, said: str) -> None:
    group = await house.begin()
    assert said in await house.type(group, LI, text)
    assert list(await house.servers()) == ["web-01"]
    assert (await house.case()).servers == ("web-01",)


async def test_a_pasted_list_is_all_or_nothing(house: House) -> None:
    group = await house.begin()
    said = await house.type(group, LI, "/server add\nweb-02 10.0.0.2\nweb-01 10.0.0.5")
    assert "一台都没有添加" in said
    assert list(await house.servers()) == ["web-01"]
    said = await house.type(
        group, LI, "／ｓｅｒｖｅｒ ａｄｄ\nweb-02 10.0.0.2 2222 ops\nweb-03 10.0.0.3"
    )
    assert "已添加 2 台：web-02、web-03" in said
    assert (await house.servers())["web-02"].port == 2222


async def test_an_uploaded_list_puts_its_passwords_into_the_vault(house: House) -> None:
    group = await house.begin()
    file = File("服务器.csv", SHEET.encode())
    assert "已添加 2 台" in await house.type(group, LI, "/server add", files=(file,))
    number = (await house.servers())["web-02"].id
    assert await house.secret(f"server:{number}:password") == "pass-of-02"
    assert await house.secret(f"server:{number}:sudo") == "sudo-of-02"
    shown = " ".join(plain(post.card) for post in house.web.history(group) if post.card)
    assert "of-02" not in shown
    both = await house.type(group, LI, "/server add\nweb-09 10.0.0.9", files=(file,))
    assert "二选一" in both
    assert "二选一" in await house.type(
        group, LI, "/server add web-09 10.0.0.9", files=(File("b.csv", b"web-08,10.0.0.8"),)
    )
    broken = await house.type(group, LI, "/server add", files=(File("x.pdf", b"%PDF-1.4"),))
    assert "不是可以识别的表格" in broken


async def test_a_customer_adds_none(house: House) -> None:
    group = await house.begin()
    assert "工程师" in await house.type(group, WANG, "/server add web-02 10.0.0.2")
    assert list(await house.servers()) == ["web-01"]


async def test_a_server_is_removed_with_its_password(house: House) -> None:
    group = await house.begin()
    assert "最后一台" in await house.type(group, ZHAO, "/server remove web-01")
    await house.type(group, LI, "/server add", files=(File("s.csv", SHEET.encode()),))
    number = (await house.servers())["web-02"].id
    assert "负责人" in await house.type(group, LI, "/server remove web-02")
    assert "没有服务器" in await house.type(group, ZHAO, "/server remove web-99")
    assert "web-02" in await house.type(group, ZHAO, "/server remove web-02")
    assert await house.secret(f"server:{number}:password") == ""
    assert (await house.case()).servers == ("web-01", "web-03")
    assert list(await house.servers()) == ["web-01", "web-03"]


async def test_a_failed_server_that_is_removed_leaves_the_card(house: House) -> None:
    group = await house.begin(RunStatus.STUCK)
    await house.type(group, LI, "/server add web-02 10.0.0.2")
    now = house.clock.now()
    async with house.store.unit() as unit:
        bad = HostLine("r1", "signed", "web-02", LineState.FAILED, now, "连不上", "network")
        await unit.lines.put_host(bad)
    assert "连不上" in await house.type(group, LI, "/status")
    await house.type(group, ZHAO, "/server remove web-02")
    assert "连不上" not in await house.type(group, LI, "/status")


@pytest.mark.parametrize(
    "text", ["/server remove web-01", "/server add web-02 10.0.0.2", "/tier 专业版"]
)
async def test_nothing_changes_under_a_walking_run(house: House, text: str) -> None:
    """The segment would lay its own case over ours."""
    group = await house.begin(RunStatus.WALKING)
    assert fleet.BUSY in await house.type(group, ZHAO, text)
    assert list(await house.servers()) == ["web-01"]
    async with house.store.view() as unit:
        customer = await unit.customers.get(1)
    assert customer is not None
    assert customer.tier is Tier.BASIC


async def test_the_list_shows_the_fingerprint(house: House) -> None:
    group = await house.begin()
    line = asyncssh.generate_private_key("ssh-ed25519")
    public = line.export_public_key().decode().strip()
    async with house.store.unit() as unit:
        (server,) = await unit.servers.of(1)
        known = replace(server, host_key=public, sudo="free", agent_token=7)
        await unit.servers.save(known)
    await house.type(group, LI, "/server add web-02 10.0.0.2")
    said = await house.type(group, LI, "/server list")
    assert line.get_fingerprint() in said
    assert f"{line.get_fingerprint()}=" not in said
    for words in ("root@10.0.0.1:22", "免密码", "已登记", "未检查", "未安装", "未连接过"):
        assert words in said


async def test_the_template_is_a_file_that_can_be_sent_back(house: House) -> None:
    group = await house.begin()
    await house.type(group, LI, "/server template")
    (file,) = [file for post in house.web.history(group) for file in post.files]
    content = house.web.content(file.id, LI)
    assert content is not None
    assert file.name == "服务器清单模板.xlsx"
    said = await house.type(group, LI, "/server add", files=(content,))
    assert "没有读到任何服务器" in said


async def test_the_key_line_opens_a_real_server(house: House, tmp_path: Path) -> None:
    group = await house.begin()
    said = await house.type(group, LI, "/server key")
    (line,) = [row for row in said.splitlines() if row.strip().startswith("ssh-ed25519 ")]
    assert line in await house.type(group, LI, "/server key")
    private = await house.secret("customer:1:ssh_key")
    assert "PRIVATE KEY" in private
    assert "PRIVATE" not in said
    async with Hosts(tmp_path / "hosts", count=1) as hosts:
        hosts[0].authorize(line.strip())
        spec = hosts.specs[0]
        login = Login(spec.host, spec.port, spec.user, key=Secret(private))
        async with SshServers().shell(login) as shell:
            assert (await shell.run("true")).exit == 0


# -- tier -------------------------------------------------------------------------------------


async def test_a_tier_changes_before_the_rules(house: House) -> None:
    group = await house.begin()
    said = await house.type(group, ZHAO, "/tier 专业版")
    assert "¥699 → ¥1,599" in said
    assert "慢查询" in said
    assert "重新执行" not in said
    assert (await house.case()).tier is Tier.PRO
    assert await house.trail() == [("赵主管", "tier")]
    assert "已经是" in await house.type(group, ZHAO, "/tier pro")
    assert "负责人" in await house.type(group, LI, "/tier 基础版")


async def test_a_tier_after_the_rules_says_that_they_are_to_be_made_again(house: House) -> None:
    group = await house.begin()
    now = house.clock.now()
    async with house.store.unit() as unit:
        await unit.lines.put(Line("r1", fleet.RULES, LineState.DONE, now, now))
    assert "必须重新执行告警配置" in await house.type(group, ZHAO, "/tier 专业版")
    assert (await house.case()).tier is Tier.BASIC
    async with house.store.view() as unit:
        customer = await unit.customers.get(1)
    assert customer is not None
    assert customer.tier is Tier.PRO


# -- bastions ---------------------------------------------------------------------------------


async def test_a_bastion_is_opened_with_its_own_secret_first(store: Store, clock: Any) -> None:
    """Its own password, or the server's, tried after the customer's key."""
    async with store.unit() as unit:
        owner = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now()))
        server = await unit.servers.add(
            Server(0, owner.id, "web-01", "10.0.0.1", user="ops", bastion="10.9.9.9")
        )
        await unit.vault.put(f"server:{server.id}:password", Secret("of-the-server"))
        via = (await login_to(server, unit)).via
        assert via is not None
        assert (via.host, via.user, via.password.reveal()) == ("10.9.9.9", "ops", "of-the-server")
        await unit.vault.put(f"customer:{owner.id}:ssh_key", Secret("the-key"))
        via = (await login_to(server, unit)).via
        assert via is not None
        assert (via.password.reveal(), via.key.reveal()) == ("of-the-server", "the-key")
        await unit.vault.put(bastion_password(owner.id, "10.9.9.9"), Secret("of-the-bastion"))
        login = await login_to(server, unit)
        six = replace(server, bastion="jump@[2001:db8::9]:2222")
        via = (await login_to(six, unit)).via
        assert via is not None
        assert (via.host, via.port, via.user) == ("2001:db8::9", 2222, "jump")
    assert login.via is not None
    assert login.via.password.reveal() == "of-the-bastion"
    assert login.password.reveal() == "of-the-server"

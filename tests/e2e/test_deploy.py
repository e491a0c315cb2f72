"""Phase 2's second half over real SSH and real HTTP; only docker itself is a stand-in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.port import Login
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.words import Chat, Person, Secret
from bot.demo.docker import Containers
from bot.demo.hosts import Host, Hosts, Spec, Sudo
from bot.demo.vigilops import Generation, Traps, World, serve
from runbooks import walk as walking
from runbooks.book import Each, Phase, Runbook, Step
from runbooks.case import Onboarding, Way
from runbooks.compose import SECRETS, Addresses
from runbooks.kit import RETENTION, House, Kit
from runbooks.steps import deploy, instance, servers
from runbooks.steps.deploy import clash, listening
from runbooks.steps.instance import insertion
from storage.records import Customer, Run, RunStatus, Server
from storage.store import Store

LI = Person("web", "li", "李工")
GROUP = Chat("web", "g1", "海蓝科技 监控交付")
GOLDEN = Path(__file__).parents[1] / "golden/commands/deploy.txt"
BOOK = Runbook(
    "onboarding",
    "客户接入",
    Onboarding,
    (
        Phase("环境评估与部署", "Day 1"),
        Step("ports", "规划端口", deploy.ports),
        Step("deploy", "部署监控实例", deploy.up),
        Step("healthy", "检查实例健康", instance.healthy, tries=12),
        Each("reach", "检查服务器到实例的连通", servers.names, instance.reach),
        Step("admin", "创建管理员账号", instance.admin),
        Step("ai-key", "配置 AI 密钥", instance.ai),
        Step("retention", "设置数据保留期", instance.retention),
        Step("backup", "配置备份", instance.backup, when=deploy.is_ours),
    ),
)
BOOKS = {"onboarding": BOOK}
KEY = Secret("sk-0123456789abcdef")


@dataclass
class Passing:
    """Whoever waits here waits for containers: time passes for them."""

    containers: Containers | None = None
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        assert self.containers is not None
        await self.containers.look()


def login(host: Host) -> Login:
    spec = host.spec
    return Login(spec.host, spec.port, spec.user, spec.password, sudo_password=spec.password)


def kit_of(store: Store, monitors: VigilOpsMonitors, clock: Passing, house: House) -> Kit:
    return Kit(clock, store, {}, SshServers(), monitors, cast("Any", None), house)


async def begin(store: Store, hosts: Hosts, way: Way, kit: Kit, url: str = "") -> int:
    now = kit.clock.now()
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", now, GROUP))
        named = [spec for spec in hosts.specs if spec.name != "managed"]
        for spec in named:
            server = await unit.servers.add(
                Server(0, customer.id, spec.name, spec.host, spec.port, spec.user)
            )
            await unit.vault.put(f"server:{server.id}:password", spec.password)
        names = tuple(spec.name for spec in named)
        case = Onboarding(customer.id, "海蓝科技", (), names, way=way, url=url)
        text = walking.dump(case)
        run = Run("r1", BOOK.name, customer.id, "", RunStatus.WALKING, 0, text, LI, now, now)
        await walking.start(BOOK, run, unit)
    return customer.id


async def proofs(store: Store) -> Mapping[str, str]:
    async with store.view() as unit:
        return {key: line.proof for key, line in (await unit.lines.of("r1")).items()}


pytestmark = pytest.mark.xdist_group("ports")  # of this machine: one world plans at a time

# The process's number says which blocks are busy.
BUSY = (22, *(8101 + 100 * number for number in range(1 + os.getpid() % 100)))
SPECS = (Spec("managed", user="root", ports=BUSY), Spec("web-01"), Spec("web-02"))


async def test_way_b_from_ports_to_backup(store: Store, tmp_path: Path) -> None:
    """A busy port moves the block; the instance starts late; nothing secret is in any argv."""
    clock = Passing()
    async with (
        Hosts(tmp_path / "hosts", specs=SPECS) as hosts,
        Containers([hosts["managed"]], every=3600) as containers,
        VigilOpsMonitors() as monitors,
    ):
        managed = hosts["managed"]
        clock.containers = containers
        house = House(managed=login(managed), ai_key=KEY)
        kit = kit_of(store, monitors, clock, house)
        customer = await begin(store, hosts, Way.MANAGED, kit)

        done = await walking.walk(BOOKS, "r1", kit)
        assert done.status is RunStatus.DONE, done.note
        case = walking.load(BOOK, done)
        said = await proofs(store)
        async with store.view() as unit:
            block = await unit.ports.of("127.0.0.1", customer)
            kept = [await unit.vault.get(f"instance:{customer}:env:{k}") for k in SECRETS]
            password = await unit.vault.get(f"monitor:{customer}:password")
        assert block is not None
        assert block.backend != 8101
        assert case.url == f"http://127.0.0.1:{block.backend}"
        assert case.console == f"http://127.0.0.1:{block.frontend}"
        assert clock.slept == [1.0]
        assert said["admin"] == "vigilbot@example.com：admin（可以登录）"
        assert said["ai-key"].startswith("deepseek-chat，密钥 ")
        assert said["retention"].count("天") == len(RETENTION)

        directory = managed.root / "opt/vigilbot/hailan"
        assert (directory / ".env").stat().st_mode & 0o777 == 0o600
        dumps = list((directory / "backups").glob("*.sql.gz"))
        assert len(dumps) == 1
        assert f"{dumps[0].name}（{dumps[0].stat().st_size} 字节）已验证可读" in said["backup"]
        saved = dumps[0].with_name(dumps[0].name.replace(".sql.gz", ".env"))
        assert saved.read_text() == (directory / ".env").read_text()
        timed = managed.root / "etc/cron.d/vigilbot-vigilops-hailan"
        assert timed.read_text() == "20 3 * * * root /bin/sh /opt/vigilbot/hailan/backup.sh\n"

        hidden = [secret.reveal() for secret in (*kept, password, KEY) if secret]
        assert len(hidden) == 5
        shown = "\n".join((*managed.commands, *managed.docker_calls, *said.values(), done.case))
        assert not any(secret in shown for secret in hidden)
        root = str(managed.root)
        told = "\n".join((*managed.commands, "", *managed.docker_calls)).replace(root, "") + "\n"
        assert told == GOLDEN.read_text("utf-8")


async def test_walked_again_it_keeps_its_secrets_and_its_world(
    store: Store, tmp_path: Path
) -> None:
    """What was made once stays: ports, keys, the account, the data. It answers where the settings say."""
    clock = Passing()
    async with (
        Hosts(tmp_path / "hosts", specs=SPECS) as hosts,
        VigilOpsMonitors() as monitors,
    ):
        ours = Addresses(b="http://localhost:{port}")
        kit = kit_of(store, monitors, clock, House(managed=login(hosts["managed"]), addresses=ours))
        env = hosts["managed"].root / "opt/vigilbot/hailan/.env"
        async with Containers([hosts["managed"]], every=3600) as containers:
            clock.containers = containers
            await begin(store, hosts, Way.MANAGED, kit)
            first = await walking.walk(BOOKS, "r1", kit)
            assert first.status is RunStatus.DONE, first.note
            assert walking.load(BOOK, first).url.startswith("http://localhost:")
            before = env.read_text()
        async with Containers([hosts["managed"]], every=3600) as containers:
            clock.containers = containers
            async with store.unit() as unit:
                again = replace(first, id="r2")
                await walking.start(BOOK, again, unit)
            done = await walking.walk(BOOKS, "r2", kit)
            assert done.status is RunStatus.DONE, done.note
            assert env.read_text() == before
            (world,) = containers.worlds.values()
            assert len(world.rows("users")) == 1
        assert (await proofs(store))["ai-key"] == "未配置 AI 密钥：监控自带的 AI 分析不可用"


async def test_an_old_generation_takes_its_admin_by_sql(store: Store, tmp_path: Path) -> None:
    """Its API cannot register; the statement goes to psql once, through stdin."""
    clock = Passing()

    async def insert(world: World) -> None:
        async with store.view() as unit:
            password = await unit.vault.get("monitor:1:password")
        assert password is not None
        if world.user_by_email("vigilbot@example.com") is None:
            world.insert_user("vigilbot@example.com", "Vigilbot", password.reveal(), "admin")

    def old(path: Path) -> World:
        return World(path=path, traps=Traps(generation=Generation.OLD))

    specs = (Spec("managed", sudo=Sudo.PASSWORD, ports=BUSY), Spec("web-01"))
    async with (
        Hosts(tmp_path / "hosts", specs=specs) as hosts,
        Containers([hosts["managed"]], every=3600, make=old, psql=insert) as containers,
        VigilOpsMonitors() as monitors,
    ):
        clock.containers = containers
        kit = kit_of(store, monitors, clock, House(managed=login(hosts["managed"])))
        await begin(store, hosts, Way.MANAGED, kit)
        stuck = await walking.walk(BOOKS, "r1", kit)
        assert (stuck.status, stuck.line) == (RunStatus.STUCK, "admin"), stuck.note
        await containers.look()
        async with store.unit() as unit:
            # As a process leaves it that is killed before it can write down what it did.
            await unit.effects.forget("r1:admin:insert")
            await unit.effects.begin("r1:admin:insert", "r1", "admin", kit.clock.now())
            await walking.retry(stuck, kit.clock.now(), unit)
        done = await walking.walk(BOOKS, "r1", kit)
        assert done.status is RunStatus.DONE, done.note
        async with store.view() as unit:
            assert await unit.effects.in_doubt("r1") == []
        calls = [c for c in hosts["managed"].docker_calls if "compose" in c and " psql " in c]
        assert len(calls) == 1
        assert "INSERT" not in calls[0]


async def test_way_a_names_the_port_that_is_taken(store: Store, tmp_path: Path) -> None:
    specs = (Spec("web-01", ports=(22, 8001)),)
    async with Hosts(tmp_path / "hosts", specs=specs) as hosts, VigilOpsMonitors() as monitors:
        kit = kit_of(store, monitors, Passing(), House())
        await begin(store, hosts, Way.CUSTOMER, kit)
        stuck = await walking.walk(BOOKS, "r1", kit)
    assert (stuck.status, stuck.fault) == (RunStatus.STUCK, "port")
    assert "8001" in stuck.note


async def test_way_c_asks_for_the_password_and_then_uses_what_stands(
    store: Store, tmp_path: Path
) -> None:
    world = World()
    world.insert_user("vigilbot@example.com", "Vigilbot", "Wache2026pass", "admin")
    async with (
        Hosts(tmp_path / "hosts", specs=SPECS[1:]) as hosts,
        VigilOpsMonitors() as monitors,
        serve(world) as url,
    ):
        kit = kit_of(store, monitors, Passing(), House())
        customer = await begin(store, hosts, Way.STANDING, kit, url)
        stuck = await walking.walk(BOOKS, "r1", kit)
        assert (stuck.status, stuck.line) == (RunStatus.STUCK, "healthy"), stuck.note
        assert "密码" in stuck.note
        async with store.unit() as unit:
            await unit.vault.put(f"monitor:{customer}:password", Secret("Wache2026pass"))
            await walking.retry(stuck, kit.clock.now(), unit)
        done = await walking.walk(BOOKS, "r1", kit)
        assert done.status is RunStatus.DONE, done.note
        assert "backup" not in await proofs(store)


async def test_a_server_that_cannot_reach_the_instance_is_named(
    store: Store, tmp_path: Path
) -> None:
    specs = (Spec("web-01"),)
    book: Runbook[Onboarding] = replace(
        BOOK, rows=(Phase("x"), Each("reach", "连通", servers.names, instance.reach))
    )
    async with Hosts(tmp_path / "hosts", specs=specs) as hosts, VigilOpsMonitors() as monitors:
        kit = kit_of(store, monitors, Passing(), House())
        await begin(store, hosts, Way.STANDING, kit, "http://127.0.0.1:9")
        async with store.unit() as unit:
            run = await unit.runs.get("r1")
            assert run is not None
            await unit.runs.advance(run, replace(run, line="reach"))
        stuck = await walking.walk({"onboarding": book}, "r1", kit)
    assert (stuck.status, stuck.fault) == (RunStatus.STUCK, "network"), stuck.note
    assert "web-01" in stuck.note


def test_ports_are_read_out_of_ss() -> None:
    shown = (
        "State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
        "LISTEN 0 4096 0.0.0.0:8001 0.0.0.0:*\nLISTEN 0 128 [::]:22 [::]:*\n"
    )
    assert listening(shown) == {8001, 22}
    assert clash((8001, 3001), listening(shown)) == (8001,)


@pytest.mark.parametrize("email", ["a@b.cn", "o'hara@b.cn"])
def test_an_email_is_quoted(email: str) -> None:
    quoted = email.replace("'", "''")
    assert f"VALUES ('{quoted}', 'Vigilbot', 'h', 'admin', true)" in insertion(email, b"h")

"""Phase 3 with real agents on the sandbox's servers, reporting to a VigilOps over real HTTP."""

from __future__ import annotations

import asyncio
import io
import re
import sqlite3
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.card import plain
from adapters.port import Account, AgentToken, Permanent, UsageError
from adapters.ssh import SshServers
from adapters.vigilops import VigilOps, VigilOpsMonitors
from adapters.words import Chat, Message, Person, Role, Secret
from bot.demo.hosts import AGENT_BUNDLE, Hosts
from bot.demo.vigilops import Row, World, serve
from commands.contents import BOOK
from commands.declare import Call
from commands.desk import Desk
from runbooks import walk as walking
from runbooks.book import Runbook
from runbooks.cards import drawn
from runbooks.case import Onboarding
from runbooks.install_agent import INSTALL_AGENT
from runbooks.kit import Errand, House, Kit
from runbooks.onboarding import ONBOARDING
from runbooks.steps import agent
from storage.records import Customer, HostLine, Run, RunStatus, Server
from storage.store import Store
from storage.vault import Seal
from tests import blank

LI = Person("web", "li", "李工")
GROUP = Chat("web", "g1", "海蓝科技 监控交付")
PASSWORD = Secret("Wache2026pass")
NOBODY = cast("Any", None)
GOLDEN = Path(__file__).parents[1] / "golden/commands/agent.txt"
BOOKS: dict[str, Runbook[Any]] = {"install-agent": INSTALL_AGENT, "onboarding": ONBOARDING}


class Killed(BaseException):
    """The process is gone: nothing below the walk may catch it."""


@dataclass
class Hours:
    """This machine's clock, which the servers have too; when hurried, a pause passes at once."""

    ahead: timedelta = timedelta(0)
    hurried: bool = False

    def now(self) -> datetime:
        return datetime.now(tz=UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        if self.hurried:
            self.ahead += timedelta(seconds=seconds)
        else:
            await asyncio.sleep(min(seconds, 0.2))


class Deaf(World):
    """A VigilOps that may refuse every agent."""

    deaf = False

    def agent_token(self, token: str) -> Row | None:
        return None if self.deaf else super().agent_token(token)


@dataclass
class Deadly:
    """A way to the monitors on which the process may die right after a token was made."""

    inner: VigilOpsMonitors
    kills: int = 0
    made: list[AgentToken] = field(default_factory=list)
    looks: int = 0

    def at(self, url: str, account: Account) -> Any:
        return DeadlyMonitor(self, self.inner.at(url, account))


class DeadlyMonitor:
    """One monitor on that way."""

    def __init__(self, way: Deadly, inner: VigilOps) -> None:
        self._way, self._inner = way, inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def hosts(self) -> Sequence[Any]:
        self._way.looks += 1
        return await self._inner.hosts()

    async def create_agent_token(self, name: str) -> AgentToken:
        token = await self._inner.create_agent_token(name)
        self._way.made.append(token)
        if self._way.kills:
            self._way.kills -= 1
            raise Killed
        return token


@dataclass
class Scene:
    """A customer with three servers and a monitor that stands."""

    store: Store
    database: Path
    hosts: Hosts
    world: Deaf
    way: Deadly
    clock: Hours
    kit: Kit
    case: Onboarding

    async def begin(self) -> None:
        async with self.store.unit() as unit:
            await walking.start(INSTALL_AGENT, self.run(INSTALL_AGENT.name), unit)

    def run(self, book: str, number: str = "r1") -> Run:
        now, case = self.clock.now(), walking.dump(self.case)
        return Run(number, book, self.case.customer, "", RunStatus.WALKING, 0, case, LI, now, now)

    async def walk(self) -> Run:
        return await walking.walk(BOOKS, "r1", self.kit)

    async def retry(self, run: Run) -> Run:
        async with self.store.unit() as unit:
            await walking.retry(run, self.clock.now(), unit)
        return await self.walk()

    async def found(self, line: str) -> dict[str, HostLine]:
        async with self.store.view() as unit:
            return dict(await unit.lines.hosts("r1", line))

    async def servers(self) -> Sequence[Server]:
        async with self.store.view() as unit:
            return await unit.servers.of(self.case.customer)

    def active(self) -> list[str]:
        return [row["name"] for row in self.world.rows("agent_tokens") if row["is_active"]]

    def all_rows(self) -> str:
        with sqlite3.connect(self.database) as opened:
            return "\n".join(opened.iterdump())


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock, world, database = Hours(), Deaf(), tmp_path / "bot.sqlite"
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(world))
        hosts = await stack.enter_async_context(
            Hosts(tmp_path / "hosts", count=3, agent_interval=0.2)
        )
        inner = await stack.enter_async_context(VigilOpsMonitors())
        store = await stack.enter_async_context(Store(blank.sqlite(database), Seal(Seal.new_key())))
        house = House(bundle=AGENT_BUNDLE)
        way = Deadly(inner)
        kit = Kit(clock, store, {}, SshServers(), way, NOBODY, house)
        assert await inner.at(url, Account(house.account, PASSWORD)).register_admin()
        async with store.unit() as unit:
            customer = await unit.customers.add(
                Customer(0, "海蓝科技", "hailan", clock.now(), GROUP)
            )
            await unit.vault.put(f"monitor:{customer.id}:password", PASSWORD)
            for spec in hosts.specs:
                server = await unit.servers.add(
                    Server(0, customer.id, spec.name, spec.host, spec.port, spec.user)
                )
                await unit.vault.put(f"server:{server.id}:password", spec.password)
        names = tuple(spec.name for spec in hosts.specs)
        case = Onboarding(customer.id, "海蓝科技", (), names, url=url)
        yield Scene(store, database, hosts, world, way, clock, kit, case)


async def test_three_servers_report_and_are_counted(scene: Scene) -> None:
    """Proof, tokens, one upload each; and no secret in any row, card or command."""
    await scene.begin()
    run = await scene.walk()
    assert run.status is RunStatus.DONE, run.note
    proofs = await scene.found("online")
    for host in scene.hosts:
        assert len(host.installs) == 1
        pattern = rf"{host.spec.hostname}：CPU 12\.5% 内存 37\.0% 磁盘 30\.0%，[\d:]{{8}} 上报"
        assert re.fullmatch(pattern, proofs[host.spec.name].note), proofs
        assert not list(host.root.rglob("install-agent.sh"))
    async with scene.store.view() as unit:
        counted = (await unit.lines.of("r1"))["counted"].proof
        card = plain(await drawn(BOOKS, "r1", unit))
    assert re.fullmatch(r"仪表盘：在线 3/3 台，健康分 \d+；自检正常", counted)
    assert sorted(scene.active()) == [f"hailan-{name}" for name in sorted(scene.case.servers)]
    ids = {token.name: token.id for token in scene.way.made}
    for server in await scene.servers():
        assert server.agent_token == ids[f"hailan-{server.name}"]
    sent = "\n".join(command for host in scene.hosts for command in host.commands)
    rows = scene.all_rows()
    for token in scene.way.made:
        assert token.secret
        for text in (rows, card, sent, run.case):
            assert token.secret.reveal() not in text
    assert masked(scene) == GOLDEN.read_text(encoding="utf-8")


def masked(scene: Scene) -> str:
    """Return what was sent to the first server, without what differs from run to run."""
    host = scene.hosts[0]
    sent = "\n---\n".join(host.commands) + "\n"
    for text, mask in (
        (str(host.root), "ROOT"),
        (scene.case.url, "URL"),
        (host.spec.hostname, "HOSTNAME"),
    ):
        sent = sent.replace(text, mask)
    return re.sub(r"vigilbot-[0-9a-f]{16}", "MARK", sent)


async def test_who_reports_already_is_left_alone(scene: Scene) -> None:
    """A second run installs nothing, makes no token, and still proves the figures."""
    await scene.begin()
    assert (await scene.walk()).status is RunStatus.DONE
    async with scene.store.unit() as unit:
        await walking.start(INSTALL_AGENT, scene.run(INSTALL_AGENT.name, "r2"), unit)
    again = await walking.walk(BOOKS, "r2", scene.kit)
    assert again.status is RunStatus.DONE, again.note
    async with scene.store.view() as unit:
        said = await unit.lines.hosts("r2", "agent")
    assert {line.note for line in said.values()} == {agent.ALREADY}
    assert [len(host.installs) for host in scene.hosts] == [1, 1, 1]
    assert len(scene.way.made) == 3


async def test_a_canary_that_fails_stops_the_rest(scene: Scene) -> None:
    await scene.begin()
    canary = scene.hosts[0]
    archive = scene.database.with_name("bad.tar.gz")
    with tarfile.open(archive, "w:gz") as made:
        for name, text in (
            (
                "scripts/install-agent.sh",
                b"echo no network $PIP_NO_INDEX $PIP_FIND_LINKS >&2\nexit 1\n",
            ),
            ("agent/pyproject.toml", b""),
            ("wheels/agent.whl", b""),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            made.addfile(member, io.BytesIO(text))
    good = scene.kit
    scene.kit = replace(good, house=replace(good.house, bundle=archive))
    stuck = await scene.walk()
    assert (stuck.status, stuck.line, stuck.fault) == (RunStatus.STUCK, "agent", "command")
    # The bundle holds wheels, so nothing was to be fetched.
    assert re.search(r"no network 1 /\S+/\.vigilbot/agent/wheels", stuck.note)
    assert "离线安装包" in stuck.note
    assert set(await scene.found("agent")) == {canary.spec.name}
    assert len(scene.way.made) == 1

    scene.kit = good
    done = await scene.retry(stuck)
    assert done.status is RunStatus.DONE, done.note
    assert len(scene.way.made) == 3


async def test_a_canary_that_stays_silent_stops_the_rest(scene: Scene) -> None:
    """Its agent was installed and runs, and is refused by the monitor."""
    await scene.begin()
    scene.clock.hurried = True
    scene.world.deaf = True
    stuck = await scene.walk()
    assert (stuck.status, stuck.line, stuck.fault) == (RunStatus.STUCK, "agent", "silent")
    assert "120 秒内没有上报（监控里没有这台主机）" in stuck.note
    assert [len(host.installs) for host in scene.hosts] == [1, 0, 0]

    scene.world.deaf = False
    scene.clock.hurried, scene.clock.ahead = False, timedelta(0)
    done = await scene.retry(stuck)
    assert done.status is RunStatus.DONE, done.note
    assert [len(host.installs) for host in scene.hosts] == [1, 1, 1]


async def test_killed_between_a_token_and_its_record(scene: Scene) -> None:
    """The lost secret's token is revoked: one token lives for each server, and one host."""
    await scene.begin()
    scene.way.kills = 1
    with pytest.raises(Killed):
        await scene.walk()
    done = await scene.walk()
    assert done.status is RunStatus.DONE, done.note
    assert Counter(scene.active()) == {f"hailan-{name}": 1 for name in scene.case.servers}
    assert len(scene.way.made) == 4
    lost = scene.way.made[0]
    (row,) = [row for row in scene.world.rows("agent_tokens") if row["id"] == lost.id]
    assert not row["is_active"]
    assert len(scene.world.rows("hosts")) == 3
    assert lost.secret.reveal() not in scene.all_rows()


@dataclass
class Dying:
    """A way to the servers that dies when the installer has ended, before it is told."""

    inner: SshServers
    kills: int = 1

    def shell(self, login: Any) -> Any:
        return DyingShell(self, self.inner.shell(login))


class DyingShell:
    """One connection on that way."""

    def __init__(self, way: Dying, opening: Any) -> None:
        self._way, self._opening = way, opening
        self._shell: Any = None

    async def __aenter__(self) -> DyingShell:
        self._shell = await self._opening.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._opening.__aexit__(*exc)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shell, name)

    async def run(self, command: str, **how: Any) -> Any:
        ran = await self._shell.run(command, **how)
        if "--token" in command and self._way.kills:
            self._way.kills -= 1
            raise Killed
        return ran


async def test_killed_between_the_installation_and_its_record(scene: Scene) -> None:
    """The server itself is asked, and nothing is installed twice, nor is a token made again."""
    await scene.begin()
    scene.kit = replace(scene.kit, servers=cast("Any", Dying(SshServers())))
    scene.world.deaf = True
    with pytest.raises(Killed):
        await scene.walk()
    # The monitor knows nothing of it, so only the server can tell.
    assert scene.world.rows("hosts") == []
    looking = asyncio.create_task(scene.walk())
    while not any("echo there" in command for command in scene.hosts[0].commands):
        await asyncio.wait({looking}, timeout=0.05)
    scene.world.deaf = False
    done = await looking
    assert done.status is RunStatus.DONE, done.note
    assert [len(host.installs) for host in scene.hosts] == [1, 1, 1]
    assert len(scene.way.made) == 3


async def test_killed_after_the_installation_and_back_when_it_reports(scene: Scene) -> None:
    """The ledger learns that the deed was done, and the proof says who installed it."""
    await scene.begin()
    scene.kit = replace(scene.kit, servers=cast("Any", Dying(SshServers())))
    with pytest.raises(Killed):
        await scene.walk()
    watch = scene.way.at(scene.case.url, Account(scene.kit.house.account, PASSWORD))
    name = scene.hosts[0].spec.hostname
    errand = Errand(scene.kit, "r1", "agent")
    while not agent.reporting(await agent.hosts_of(watch, errand), name, scene.clock.now()):
        await scene.clock.sleep(0.05)
    done = await scene.walk()
    assert done.status is RunStatus.DONE, done.note
    async with scene.store.view() as unit:
        assert await unit.effects.in_doubt("r1") == []
    assert "已安装" in (await scene.found("agent"))[scene.hosts[0].spec.name].note
    assert [len(host.installs) for host in scene.hosts] == [1, 1, 1]


SLOW = b"""touch "$VIGIL_HOST_ROOT/begun"
until [ -e "$VIGIL_HOST_ROOT/go" ]; do sleep 0.05; done
exec sh "$(dirname "$0")/real.sh" "$@"
"""


def slow_bundle(path: Path) -> Path:
    """Pack an installer that waits on its host until somebody lets it go."""
    with tarfile.open(path, "w:gz") as made:
        made.add(AGENT_BUNDLE / "agent", "agent")
        made.add(AGENT_BUNDLE / agent.SCRIPT, "scripts/real.sh")
        member = tarfile.TarInfo(agent.SCRIPT)
        member.size = len(SLOW)
        made.addfile(member, io.BytesIO(SLOW))
    return path


async def test_killed_while_the_installer_runs(scene: Scene) -> None:
    """It goes on without us: whoever comes back waits for its end and asks nobody."""
    await scene.begin()
    bundle = slow_bundle(scene.database.with_name("slow.tar.gz"))
    scene.kit = replace(scene.kit, house=replace(scene.kit.house, bundle=bundle))
    first, *others = scene.hosts
    for host in others:
        (host.root / "go").touch()
    walk = asyncio.create_task(scene.walk())
    # Only then has it its token: killed before, it would have ended with us.
    while not (first.root / "begun").exists() and not walk.done():
        await asyncio.wait({walk}, timeout=0.05)
    walk.cancel()
    await asyncio.wait({walk})
    again = asyncio.create_task(scene.walk())
    # A second look is one whose first has seen it run.
    while sum("echo running" in command for command in first.commands) < 2 and not again.done():
        await asyncio.wait({again}, timeout=0.05)
    (first.root / "go").touch()
    done = await again
    assert done.status is RunStatus.DONE, done.note
    assert [len(host.installs) for host in scene.hosts] == [1, 1, 1]


async def test_hosts_in_flight_share_one_look(scene: Scene) -> None:
    """Fifty that ask at once cost the monitor one look."""
    kit, way = scene.kit, scene.way
    watch = way.at(scene.case.url, Account(kit.house.account, PASSWORD))
    errand = Errand(kit, "r1", "online")
    await asyncio.gather(*(agent.hosts_of(watch, errand) for _ in range(50)))
    assert way.looks == 1


async def test_two_servers_of_one_hostname_are_refused(scene: Scene) -> None:
    async with scene.store.unit() as unit:
        for server in await unit.servers.of(scene.case.customer):
            await unit.servers.save(replace(server, hostname="localhost"))
    errand = Errand(scene.kit, "r1", "agent", scene.case.servers[0])
    with pytest.raises(Permanent, match="主机名 localhost 与「"):
        await agent.install(scene.case, errand, scene.case.servers[0])


async def test_the_command_starts_it_once(scene: Scene) -> None:
    async def say(text: str) -> Desk:
        async with scene.store.unit() as unit:
            customer = await unit.customers.get(scene.case.customer)
            desk = Desk(unit, BOOKS, scene.clock, customer, NOBODY, NOBODY)
            parsed = BOOK.parse(text)
            assert parsed is not None
            message = Message("m", GROUP, LI, text, scene.clock.now())
            await parsed.run(Call(message, Role.ENGINEER, scene.case.customer, desk))
            return desk

    with pytest.raises(UsageError, match="还没有监控实例"):
        await say("/install-agent")
    async with scene.store.unit() as unit:
        await unit.runs.add(
            replace(scene.run(ONBOARDING.name, "r0"), status=RunStatus.DONE, line="")
        )
    with pytest.raises(UsageError, match="没有登记服务器「nope」"):
        await say("/install-agent nope")
    second = scene.case.servers[1]
    desk = await say(f"/install-agent {second}")
    (run,) = desk.begun
    assert walking.load(INSTALL_AGENT, run).servers == (second,)
    with pytest.raises(UsageError, match="已有一次 Agent 安装在进行"):
        await say("/install-agent")
    done = await walking.walk(BOOKS, run.id, scene.kit)
    assert done.status is RunStatus.DONE, done.note
    assert [len(host.installs) for host in scene.hosts] == [0, 1, 0]


def test_the_bundle_is_packed_once_and_must_be_whole(tmp_path: Path) -> None:
    once = agent._bundle(AGENT_BUNDLE)
    assert agent._bundle(AGENT_BUNDLE) is once
    with tarfile.open(fileobj=io.BytesIO(once)) as archive:
        assert "agent/vigilops_agent/__main__.py" in archive.getnames()
    with pytest.raises(Permanent, match="安装包不完整"):
        agent._bundle(tmp_path)


def test_the_newer_generation_has_its_own_names() -> None:
    command = agent.install_command("/root/x", "http://m:8001", "web-01", "nightmend")
    assert "/etc/nightmend/agent.yaml" in command
    assert "systemctl is-active nightmend-agent" in command
    assert "vigilops" not in command + agent.look_command("http://m:8001", "nightmend")

"""The real onboarding, killed with SIGKILL and started again until the customer has signed.

Servers, monitor, model and chat stay as they are when the bot dies, as they would out there.
`make test` kills three times in one story, in three phases, at instants drawn from a seed
(`VIGILBOT_SEED`); `make chaos` tells a story for every `VIGILBOT_EVERY`th instant, on both databases.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from adapters.card import Tone, plain
from adapters.webchat.link import WebChat
from adapters.words import Secret
from bot.demo import model, vigilops
from bot.demo.docker import Containers
from bot.demo.hosts import Hosts
from bot.demo.world import COMPANY, LI, MANAGED, SERVERS, server_list
from runbooks.onboarding import ONBOARDING
from storage.audit import first_break
from storage.records import LineState, Run, RunStatus
from storage.store import Store
from storage.vault import Seal
from tests.chaos.mother import KILLED, Mother, mother
from tests.chaos.onboarding import TITLE, Stage
from tests.chaos.test_kill import NEVER, SEED, fresh

EVERY = int(os.environ.get("VIGILBOT_EVERY") or 40)
"""The long form kills at each so-manieth instant: a whole story has about 500."""
PHASES = (("contract", 60), ("deploy", 100), ("rules", 150))
"""Where the short form begins to count, and how many instants there are from there on."""
LOOK = 0.2
"""Seconds between two rounds of the monitor: the real one takes a minute."""
BEAT = 0.5
"""Seconds between two reports of an agent."""
LIVES = 6
"""Restarts after the last kill before we say that it never ends."""
NOT_WALKED = {"invite"}
FILES = (
    f"服务合同-{COMPANY}.docx",
    f"客户信息表-{COMPANY}.xlsx",
    f"验收报告-{COMPANY}.docx",
    f"运维报告模板-{COMPANY}.docx",
    f"紧急联系方式-{COMPANY}.docx",
    f"服务使用手册-{COMPANY}.docx",
)

# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = [pytest.mark.xdist_group("ports"), pytest.mark.timeout(300)]


@dataclass
class Story:
    """One onboarding in one world, from the first start of the bot to the signed acceptance."""

    folder: Path
    url: str
    seal: Seal
    hosts: Hosts
    containers: Containers
    deaths: int = 0
    instants: list[int] = field(default_factory=list)
    """How many instants each process lived that was not killed."""

    async def tell(self, kills: Iterable[str]) -> None:
        """Start the bot again and again until its run is done."""
        async with mother("tests.chaos.onboarding") as born:
            for kill_at in kills:
                await self._life(born, kill_at)
            for _ in range(LIVES):
                if await self._life(born, NEVER) == RunStatus.DONE:
                    return
        raise AssertionError("never done")

    async def _life(self, born: Mother, kill_at: str) -> str:
        code, said = await born.life(str(self.folder), self.url, kill_at)
        if kill_at != NEVER and code == KILLED:
            self.deaths += 1
            return "killed"
        assert code == 0, said
        told = json.loads(said[-1])
        self.instants.append(told["instants"])
        return str(told["status"])

    async def check(self) -> None:
        """Assert what must be true at the end, whatever happened on the way."""
        run = await self._check_memory()
        await self._check_chat(run)
        self._check_servers()
        self._check_monitor(run)

    async def _check_memory(self) -> Run:
        async with Store(self.url, self.seal) as store, store.view() as unit:
            (customer,) = await unit.customers.all()
            (run,) = await unit.runs.of(customer.id)
            lines = await unit.lines.of(run.id)
            doubt = await unit.effects.in_doubt(run.id)
            signed = await unit.signatures.of(run.id)
            trail = await unit.audit.entries()
            block = await unit.ports.of("127.0.0.1", customer.id)
            servers = await unit.servers.of(customer.id)
        assert run.status is RunStatus.DONE
        assert customer.in_service_since
        assert set(lines) == {line.key for line in ONBOARDING.lines} - NOT_WALKED
        assert {line.state for line in lines.values()} == {LineState.DONE}
        assert [effect.key for effect in doubt if not effect.asked] == []
        assert sorted(each.signer for each in signed if each.accepted) == ["王经理", "陈总"]
        assert len(signed) == 2
        assert first_break(trail) is None
        assert block is not None
        assert sorted(server.name for server in servers) == sorted(s.name for s in SERVERS)
        return run

    async def _check_chat(self, run: Run) -> None:
        async with WebChat(self.folder / "web.sqlite") as web:
            (group,) = [chat for chat in web.chats(LI) if chat.title == TITLE]
            posts = web.history(group)
            assert Counter(file.name for post in posts for file in post.files) == Counter(FILES)
            titles = Counter(post.card.title for post in posts if post.card)
            living = f"{ONBOARDING.title} · {COMPANY}"
            for title in (living, "测试告警", "进入持续运维"):
                assert titles[title] == 1, titles
            (card,) = [post.card for post in posts if post.card and post.card.title == living]
            assert card.tone is Tone.GOOD
            assert "✅ 进入持续运维" in plain(card)
            assert "[" not in plain(card), "a finished card has no buttons"
            rung = [post.text for post in web.history(await web.direct(LI)) if post.urgent]
            assert len(rung) == len(set(rung)) == 2, "the address and the code, once each"

    def _check_servers(self) -> None:
        for spec in SERVERS:
            host = self.hosts[spec.name]
            assert len(host.installs) == 1, host.installs
            assert host.agent_pid()
        root = self.hosts[MANAGED.name].root
        assert list(root.rglob("backups/*.sql.gz"))
        assert len(list(root.rglob("etc/cron.d/vigilbot-*"))) == 1
        assert len(self.containers.worlds) == 1

    def _check_monitor(self, run: Run) -> None:
        (world,) = self.containers.worlds.values()
        admins = [user["email"] for user in world.rows("users") if user["role"] == "admin"]
        assert admins == ["vigilbot@example.com"]
        assert len(world.rows("users")) == 2, "and the customer's own"
        active = Counter(row["name"] for row in world.rows("agent_tokens") if row["is_active"])
        assert sorted(active.values()) == [1] * len(SERVERS)
        names = sorted(host["hostname"] for host in world.rows("hosts"))
        assert names == sorted(spec.name for spec in SERVERS)
        assert [channel["is_enabled"] for channel in world.rows("channels")] == [True]
        rules = Counter(rule["name"] for rule in world.rows("rules"))
        assert set(rules.values()) == {1}, rules
        testing = [rule for rule in world.rows("rules") if run.id in rule["name"]]
        assert [rule["is_enabled"] for rule in testing] == [False]


def monitor_at(path: Path) -> vigilops.World:
    """Return a monitor that may call this very machine; the real one refuses private addresses."""
    traps = vigilops.Traps(ssrf_guard=False)
    return vigilops.World(path=path, traps=traps, limits=vigilops.Limits(0, 0, 0))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def staged(folder: Path, url: str) -> AsyncIterator[Story]:
    """Run the world in this process until left."""
    specs = (*SERVERS, MANAGED)
    key = Seal.new_key()
    async with (
        Hosts(folder / "hosts", specs=specs, agent_interval=BEAT) as hosts,
        Containers(hosts, every=LOOK, make=monitor_at) as containers,
        model.serve() as ai_url,
    ):
        managed = hosts[MANAGED.name].spec
        sheet = server_list([hosts[spec.name] for spec in SERVERS])
        stage = Stage(
            free_port(),
            key.reveal(),
            managed.port,
            managed.user,
            managed.password.reveal(),
            ai_url,
            sheet.content.decode("utf-8-sig"),
        )
        await asyncio.to_thread((folder / "stage.json").write_bytes, msgspec.json.encode(stage))
        yield Story(folder, url, Seal(Secret(key.reveal())), hosts, containers)


async def test_an_onboarding_killed_in_three_phases_does_everything_once(tmp_path: Path) -> None:
    print(f"VIGILBOT_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(SEED)
    async with staged(tmp_path, f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}") as story:
        await story.tell(f"{line}:{dice.randint(1, most)}" for line, most in PHASES)
        assert story.deaths == len(PHASES)
        await story.check()


@pytest.mark.chaos_long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_an_onboarding_killed_at_any_instant_does_everything_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    killed, instant = True, 1
    while killed:
        folder = tmp_path / str(instant)
        folder.mkdir()
        url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
        if kind == "postgresql":
            url = fresh(request.getfixturevalue("postgres"), "chaos_onboarding")
        async with staged(folder, url) as story:
            await story.tell([str(instant)])
            await story.check()
        # A process that ends before its instant has no later ones either.
        killed = bool(story.deaths)
        instant += EVERY

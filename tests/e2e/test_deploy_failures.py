"""What goes wrong while an instance is put up, and way A by the upstream's script, on real SSH."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.words import Chat, Person, Secret
from bot.demo.docker import Containers
from bot.demo.hosts import Fault, Host, Hosts, Spec
from runbooks import walk as walking
from runbooks.book import Each, Phase, Runbook, Step
from runbooks.case import Onboarding, Way
from runbooks.compose import Instance, Laid
from runbooks.kit import House, Kit
from runbooks.steps import deploy, instance, servers, upstream
from storage.records import Customer, Run, RunStatus, Server
from storage.store import Store

pytestmark = pytest.mark.xdist_group("ports")  # of this machine: one world plans at a time

LI = Person("web", "li", "李工")
GROUP = Chat("web", "g1", "海蓝科技 监控交付")
KEY = Secret("sk-0123456789abcdef")
BOOK = Runbook(
    "onboarding",
    "客户接入",
    Onboarding,
    (
        Phase("环境评估与部署"),
        Step("ports", "规划端口", deploy.ports),
        Step("deploy", "部署监控实例", deploy.up),
        Step("healthy", "检查实例健康", instance.healthy, tries=2),
        Each("reach", "检查服务器到实例的连通", servers.names, instance.reach),
        Step("admin", "创建管理员账号", instance.admin),
        Step("ai-key", "配置 AI 密钥", instance.ai),
        Step("backup", "配置备份", instance.backup, when=deploy.is_ours),
    ),
)
BOOKS = {"onboarding": BOOK}

UPSTREAM = r"""#!/usr/bin/env bash
# As the upstream's script behaves: it writes an .env and a compose file of its own, waits for a
# health that does not come, prints a password, and ends well.
set -euo pipefail
die() { echo "$1" >&2; exit 1; }
while [ $# -gt 0 ]; do
    case "$1" in
    --domain) DOMAIN=$2 ;;
    --ai-key) AI_KEY=$2 ;;
    --ai-model) AI_MODEL=$2 ;;
    --ai-base) AI_BASE=$2 ;;
    --port) PORT=$2 ;;
    --backend-port) BACKEND=$2 ;;
    --install-dir) DIR=$2 ;;
    *) die "unknown option: $1" ;;
    esac
    shift 2
done
[ ! -e "$DIR" ] || [ -z "$(ls -A "$DIR")" ] || die "fatal: destination path '$DIR' is not empty"
mkdir -p "$DIR"
cd "$DIR"
umask 077
cat >.env <<END
POSTGRES_DB=vigilops
POSTGRES_USER=vigilops
POSTGRES_PASSWORD=chosen-by-the-script
JWT_SECRET_KEY=0123456789012345678901234567890123456789
AI_API_KEY=$AI_KEY
FRONTEND_PORT=$PORT
BACKEND_PORT=$BACKEND
END
echo "services: {}" >docker-compose.prod.yml
docker compose -f docker-compose.prod.yml up -d
echo "WARN: /docs did not answer in 120 s" >&2
echo "admin password: PrintedByTheScript1"
exit 0
"""


@dataclass
class Passing:
    """Whoever waits here waits for containers: time passes for them."""

    containers: Containers | None = None
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.containers:
            await self.containers.look()


@dataclass
class Site:
    """A customer's server that is to carry the customer's own instance."""

    store: Store
    host: Host
    kit: Kit
    clock: Passing

    async def walk(self) -> Run:
        return await walking.walk(BOOKS, "r1", self.kit)

    async def again(self, stuck: Run) -> Run:
        async with self.store.unit() as unit:
            await walking.retry(stuck, self.kit.clock.now(), unit)
        return await self.walk()

    def seen(self) -> str:
        """Return all that the host was told."""
        return "\n".join((*self.host.commands, *self.host.docker_calls))


@asynccontextmanager
async def site(store: Store, folder: Path, house: House, **spec: Any) -> AsyncIterator[Site]:
    """Way A on one server, at its first line."""
    clock = Passing()
    specs = (Spec("web-01", **spec),)
    async with Hosts(folder / "hosts", specs=specs) as hosts, VigilOpsMonitors() as monitors:
        host, nobody = hosts["web-01"], cast("Any", None)
        kit = Kit(clock, store, {}, SshServers(), monitors, nobody, house)
        now = clock.now()
        async with store.unit() as unit:
            customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", now, GROUP))
            told = host.spec
            server = await unit.servers.add(
                Server(0, customer.id, "web-01", told.host, told.port, told.user)
            )
            await unit.vault.put(f"server:{server.id}:password", told.password)
            case = Onboarding(customer.id, "海蓝科技", (), ("web-01",), way=Way.CUSTOMER)
            text = walking.dump(case)
            run = Run("r1", BOOK.name, customer.id, "", RunStatus.WALKING, 0, text, LI, now, now)
            await walking.start(BOOK, run, unit)
        yield Site(store, host, kit, clock)


def script(folder: Path, text: str = UPSTREAM) -> House:
    file = folder / "upstream.sh"
    file.write_text(text, "utf-8")
    return House(deploy_script=file, ai_key=KEY)


# -- way A by the upstream's script ---------------------------------------------------------------


async def test_way_a_by_the_script_ends_with_what_the_script_left_broken_mended(
    store: Store, tmp_path: Path
) -> None:
    """It ended with 0 and no health; its .env is completed, our compose file takes its place."""
    async with (
        site(store, tmp_path, script(tmp_path)) as at,
        Containers([at.host], every=3600) as containers,
    ):
        at.clock.containers = containers
        done = await at.walk()
        assert done.status is RunStatus.DONE, done.note
        folder = at.host.root / "opt/vigilops"
        env = upstream.pairs((folder / ".env").read_text())
        assert env["POSTGRES_PASSWORD"] == "chosen-by-the-script", "what it wrote stays"
        assert len(env["AGENT_TOKEN_HMAC_KEY"]) == 64
        assert (env["ENVIRONMENT"], env["POSTGRES_HOST"]) == ("production", "postgres")
        assert (folder / ".env").stat().st_mode & 0o777 == 0o600
        assert '"--workers", "1"' in (folder / "compose.yml").read_text()
        assert (folder / "docker-compose.prod.yml").exists()
        assert list((folder / "backups").glob("*.sql.gz"))
        ups = [call for call in at.host.docker_calls if " up " in f"{call} "]
        assert len(ups) == 2
        assert " -p vigilops " in ups[1], "the project that the script began"
        assert KEY.reveal() not in at.seen()
        assert "PrintedByTheScript1" not in at.seen() + done.case + done.note

        async with store.unit() as unit:
            ran = sum("flock" in command for command in at.host.commands)
            again = Run(**{name: getattr(done, name) for name in done.__slots__} | {"id": "r2"})
            await walking.start(BOOK, again, unit)
        assert (await walking.walk(BOOKS, "r2", at.kit)).status is RunStatus.DONE
        assert sum("flock" in command for command in at.host.commands) == ran, "once is enough"


async def test_a_script_that_says_well_while_nothing_is_healthy_is_not_believed(
    store: Store, tmp_path: Path
) -> None:
    """Nothing serves behind the containers: the walk stops at the health, whatever was exited."""
    async with site(store, tmp_path, script(tmp_path)) as at:
        stuck = await at.walk()
        assert (stuck.status, stuck.line) == (RunStatus.STUCK, "healthy"), stuck.note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'git: clone failed' >&2\nexit 0\n", "退出码 0）：git: clone failed"),
        (UPSTREAM.replace("POSTGRES_DB=vigilops", "POSTGRES_DB=monitor"), "POSTGRES_DB 不是"),
        ('echo "key ${@: -1}" >&2\nexit 1\n', "退出码 1）：key ***"),
    ],
)
async def test_a_script_that_did_not_do_its_work_is_named(
    store: Store, tmp_path: Path, text: str, said: str
) -> None:
    async with site(store, tmp_path, script(tmp_path, text)) as at:
        stuck = await at.walk()
        assert (stuck.status, stuck.line) == (RunStatus.STUCK, "deploy")
        assert said in stuck.note, stuck.note
        assert KEY.reveal() not in stuck.note


def test_an_env_is_completed_and_nothing_in_it_is_changed() -> None:
    ours = Laid(".env", "A=1\nB=2\nPOSTGRES_DB=vigilops\n", 0o600)
    (merged,) = upstream.merged((ours,), "# theirs\nB = 'x'\nPOSTGRES_DB=vigilops", "vigilops")
    assert merged.text == "# theirs\nB = 'x'\nPOSTGRES_DB=vigilops\nA=1\n"
    assert not upstream.mended("B=2")
    assert upstream.mended(merged.text + "AGENT_TOKEN_HMAC_KEY=x")
    place = Instance("p", "/opt/x y", "vigilops", 1, 2, 3, 4)
    assert "'/opt/x y'" in upstream.calling(place, "", "m", "u")
    assert "--domain" not in upstream.calling(place, "", "m", "u")


# -- what goes wrong ------------------------------------------------------------------------------


async def test_a_full_disk_is_named_and_the_retry_goes_on(store: Store, tmp_path: Path) -> None:
    async with (
        site(store, tmp_path, House()) as at,
        Containers([at.host], every=3600) as containers,
    ):
        at.clock.containers = containers
        await at.host.inject(Fault.DISK_FULL)
        stuck = await at.walk()
        assert (stuck.status, stuck.line, stuck.fault) == (RunStatus.STUCK, "deploy", "disk")
        await at.host.mend()
        done = await at.again(stuck)
        assert done.status is RunStatus.DONE, done.note


async def test_a_host_without_docker_is_named_before_anything_is_laid(
    store: Store, tmp_path: Path
) -> None:
    async with site(store, tmp_path, House(), docker=False) as at:
        stuck = await at.walk()
        assert (stuck.status, stuck.line) == (RunStatus.STUCK, "deploy")
        assert "请先安装 Docker" in stuck.note
        assert not (at.host.root / "opt/vigilops").exists()


async def test_an_up_that_fails_shows_its_last_words_without_a_secret(
    store: Store, tmp_path: Path
) -> None:
    """The words of docker are shown to the group: no secret of the .env may be among them."""
    async with site(store, tmp_path, House()) as at:
        real = (at.host.root / "bin/docker").read_text()
        broken = (
            "#!/bin/sh\ncase \" $* \" in *' up '*) "
            'echo "bad: $(grep JWT_SECRET_KEY /opt/vigilops/.env)" >&2; exit 17;; esac\n'
        )
        (at.host.root / "bin/docker").write_text(
            at.host.confine(broken) + real.partition("\n")[2], "utf-8"
        )
        stuck = await at.walk()
        assert (stuck.status, stuck.line, stuck.fault) == (RunStatus.STUCK, "deploy", "command")
        assert "退出码 17）：bad: JWT_SECRET_KEY=***" in stuck.note, stuck.note


async def test_a_connection_that_ends_during_up_is_a_question_and_a_retry_looks(
    store: Store, tmp_path: Path
) -> None:
    """It may have run or not: a person is asked, and trying again is harmless, it runs once more
    over the same files and keeps the same secrets."""
    async with (
        site(store, tmp_path, House()) as at,
        Containers([at.host], every=3600) as containers,
    ):
        at.clock.containers = containers
        await at.host.inject(Fault.DROP, match="up -d", times=1)
        stuck = await at.walk()
        assert (stuck.status, stuck.line, stuck.fault) == (RunStatus.STUCK, "deploy", "dropped")
        env = at.host.root / "opt/vigilops/.env"
        before = env.read_text()
        done = await at.again(stuck)
        assert done.status is RunStatus.DONE, done.note
        assert env.read_text() == before
        assert len(containers.worlds) == 1


async def test_a_host_without_cron_gets_no_backup_that_nobody_starts(
    store: Store, tmp_path: Path
) -> None:
    async with (
        site(store, tmp_path, House()) as at,
        Containers([at.host], every=3600) as containers,
    ):
        at.clock.containers = containers
        stopped = [at.host.root / f"run/{name}.stopped" for name in ("cron", "crond")]
        stopped[0].touch()
        stuck = await at.walk()
        assert (stuck.status, stuck.line) == (RunStatus.STUCK, "backup")
        assert "没有运行 cron" in stuck.note
        stopped[0].unlink()
        assert (await at.again(stuck)).status is RunStatus.DONE


async def test_a_dump_that_cannot_be_read_to_its_end_is_no_backup(
    store: Store, tmp_path: Path
) -> None:
    """pg_dump ended well and half of it is missing: the test-read says so."""
    async with (
        site(store, tmp_path, House()) as at,
        Containers([at.host], every=3600) as containers,
    ):
        at.clock.containers = containers
        tool = at.host.root / "bin/docker"
        whole = tool.read_text()
        assert "dump complete" in whole
        tool.write_text(whole.replace("PostgreSQL database dump complete", "cut o"), "utf-8")
        stuck = await at.walk()
        assert (stuck.status, stuck.line) == (RunStatus.STUCK, "backup")
        assert "备份读不出来" in stuck.note
        tool.write_text(whole, "utf-8")

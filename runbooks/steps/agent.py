"""Phase 3: every server gets a token and an agent of its own, and the monitor proves it reports.

An agent's identity is its hostname together with its token, and the monitor cannot delete a host:
a second token on one machine makes a second row, and the first one alarms for ever. So whatever
reports already is left alone, and a token is made anew only when its secret is lost.
"""

from __future__ import annotations

import asyncio
import io
import re
import shlex
import tarfile
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

from adapters.port import Fault, Monitor, MonitoredHost, OutsideError, Permanent, Ran, Transient
from adapters.words import Secret
from runbooks.case import Onboarding
from runbooks.kit import Errand
from runbooks.steps.monitor import monitor
from runbooks.steps.servers import listed, login_to
from storage.records import Server
from storage.store import Store, Unit

ALREADY = "已在上报"
"""Proof that nothing was installed, because nothing had to be."""

FRESH = timedelta(seconds=120)
PATIENCE = timedelta(seconds=120)
"""Until an agent that was installed must report: it does after two seconds where all is well."""
FIRST_POLL = 1.0
LAST_POLL = 10.0
SHARED = timedelta(seconds=1)
"""For so long one answer of the monitor serves every host that asks."""

INSTALLING = 900.0
"""Seconds: on a slow line the installer fetches a Python and a dozen packages."""

FOLDER = ".vigilbot/agent"
"""Where the bundle is unpacked, below the login user's home; gone after the installation."""

STAND_IN = "vop_set-by-vigilbot"
"""What the installer is given as the token.

It takes the token as an argument only, where `ps` shows it to every user of the server. So it gets
this, and the real token comes on stdin and is put into the agent's own file (0600) by the shell's
builtins, before the agent is restarted. Until then the agent is refused, which it bears.
"""

SCRIPT = "scripts/install-agent.sh"
_PARTS = ("scripts", "agent", "wheels")
_PLAIN = re.compile(r"[A-Za-z0-9._:/\[\]%?&=~+@-]+")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_PACKING = threading.Lock()
_SAID = 300

CLEAR_FOLDER = f"rm -rf {FOLDER}"
"""As root: an installer that was killed leaves files of root's there."""

MAKE_FOLDER = f"umask 077 && mkdir -p {FOLDER} && cd {FOLDER} && pwd -P"


# -- what is already there ------------------------------------------------------------------------


@dataclass(slots=True)
class _Roll:
    """The monitor's last answer, good or bad, for all the hosts that wait for one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    at: datetime | None = None
    hosts: tuple[MonitoredHost, ...] = ()
    error: OutsideError | None = None


# By store, which is this program's one and only: a roll ends with it.
_ROLLS: WeakKeyDictionary[Store, dict[str, _Roll]] = WeakKeyDictionary()


async def hosts_of(watch: Monitor, errand: Errand) -> tuple[MonitoredHost, ...]:
    """Return the monitor's hosts; whoever asks within a second of another gets the same answer."""
    clock = errand.kit.clock
    roll = _ROLLS.setdefault(errand.kit.store, {}).setdefault(watch.url, _Roll())
    async with roll.lock:
        if roll.at is None or not timedelta(0) <= clock.now() - roll.at < SHARED:
            roll.hosts, roll.error = (), None
            try:
                roll.hosts = tuple(await watch.hosts())
            except OutsideError as error:
                roll.error = error
            roll.at = clock.now()
        if roll.error:
            raise roll.error
        return roll.hosts


def reporting(hosts: tuple[MonitoredHost, ...], name: str, now: datetime) -> MonitoredHost | None:
    """Return the host of exactly that name if it is online with fresh and complete figures."""
    for host in hosts:
        known = (host.cpu_percent, host.memory_percent, host.disk_percent)
        fresh = host.recorded_at is not None and now - host.recorded_at <= FRESH
        if host.hostname == name and host.online and fresh and None not in known:
            return host
    return None


def figures(host: MonitoredHost, errand: Errand) -> str:
    """Return a reporting host's figures in words."""
    assert host.recorded_at is not None
    return (
        f"{host.hostname}：CPU {host.cpu_percent:.1f}% 内存 {host.memory_percent:.1f}% "
        f"磁盘 {host.disk_percent:.1f}%，"
        f"{host.recorded_at.astimezone(errand.kit.house.zone):%H:%M:%S} 上报"
    )


# -- the bundle -----------------------------------------------------------------------------------


async def bundle(path: Path | None) -> bytes:
    """Return the agent bundle as a .tar.gz, packed once for all hosts and off the loop."""
    if path is None:
        raise Permanent("没有 Agent 安装包：请在配置的 [artifacts] agent_bundle 写明目录或 .tar.gz")
    return await asyncio.to_thread(_bundle, path)


def _bundle(path: Path) -> bytes:
    try:
        inside = [path] if path.is_file() else [path, *path.rglob("*")]
        stamp = max(each.stat().st_mtime_ns for each in inside)
        with _PACKING:  # fifty hosts ask at once, and one packs
            return _packed(path, stamp)
    except (OSError, tarfile.TarError) as error:
        what = f"{path}（{type(error).__name__}）"
        raise Permanent(f"Agent 安装包读不出来：{what}：请检查配置的 [artifacts]") from None


@lru_cache(maxsize=2)
def _packed(path: Path, stamp: int) -> bytes:
    packed = path.read_bytes() if path.is_file() else _tar(path)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    if SCRIPT not in names or "agent/pyproject.toml" not in names:
        raise Permanent(f"Agent 安装包不完整：{path} 里需要 {SCRIPT} 和 agent/pyproject.toml")
    return packed


def _tar(path: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for part in _PARTS:
            if (path / part).exists():
                archive.add(path / part, part, filter=_kept)
    return made.getvalue()


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member


# -- the commands ---------------------------------------------------------------------------------


def install_command(folder: str, url: str, hostname: str, generation: str) -> str:
    """Return what root runs in the unpacked bundle; the token comes on its stdin."""
    config, unit = f"/etc/{generation}/agent.yaml", f"{generation}-agent"
    return f"""\
cd {shlex.quote(folder)} || exit
trap 'rm -rf "$PWD"' EXIT
echo $$ >pid
IFS= read -r token || exit
if [ -d wheels ]; then export PIP_NO_INDEX=1 PIP_FIND_LINKS="$PWD/wheels"; fi
case "$(head -n 1 {SCRIPT})" in *bash*) shell=bash ;; *) shell=sh ;; esac
"$shell" {SCRIPT} --server {shlex.quote(url)} --token {STAND_IN} \
--hostname {shlex.quote(hostname)} </dev/null || exit
umask 077
while IFS= read -r line; do
    case "$line" in
    *{STAND_IN}*) printf '%s%s%s\\n' "${{line%%{STAND_IN}*}}" "$token" "${{line#*{STAND_IN}}}" ;;
    *) printf '%s\\n' "$line" ;;
    esac
done <{config} >{config}.new && mv -f {config}.new {config} || exit
systemctl restart {unit} && systemctl is-active {unit}"""


def look_command(url: str, generation: str) -> str:
    """Return what tells whether an installation still runs, is there, or is absent."""
    config, unit = f"/etc/{generation}/agent.yaml", f"{generation}-agent"
    return f"""\
if [ -f {FOLDER}/pid ] && grep -qs install-agent "/proc/$(cat {FOLDER}/pid)/cmdline"
then echo running
elif systemctl is-active --quiet {unit} && grep -qsF {shlex.quote(url)} {config} \
&& ! grep -q {STAND_IN} {config}
then echo there
else echo absent
fi"""


# -- the lines ------------------------------------------------------------------------------------


async def install(case: Onboarding, errand: Errand, name: str) -> str:
    """Install the agent on one server, unless it reports already; the proof says which it was."""
    kit = errand.kit
    server = await _server(case, errand, name)
    watch = await monitor(case, errand)
    if reporting(await hosts_of(watch, errand), server.hostname, kit.clock.now()):
        # A process that was killed may have begun it: then it was this run that installed it.
        if await errand.settle("install", server.hostname):
            return _installed_proof(server, server.agent_token)
        return ALREADY
    archive = await bundle(kit.house.bundle)
    number = await _token(errand, server, watch)
    await _installed(errand, server, watch.url, archive)
    # The first host is the canary: one that is installed and stays silent must stop the rest.
    if name == case.servers[0]:
        await _until_reporting(errand, server.hostname, watch)
    return _installed_proof(server, number)


def _installed_proof(server: Server, token: int) -> str:
    return f"{server.hostname}：已安装，令牌 #{token}"


async def online(case: Onboarding, errand: Errand, name: str) -> str:
    """Wait until the monitor shows a server with fresh figures; the proof is those."""
    server = await _server(case, errand, name)
    host = await _until_reporting(errand, server.hostname, await monitor(case, errand))
    return figures(host, errand)


async def counted(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """See that the dashboard counts the servers and that the monitor calls itself healthy."""
    watch = await monitor(case, errand)
    health, summary = await watch.health(), await watch.summary()
    said = f"在线 {summary.hosts_online}/{summary.hosts_total} 台，健康分 {summary.health_score}"
    if not health.ok:
        bad = "、".join(f"{part} {state}" for part, state in health.checks.items())
        raise Transient(f"监控自检不正常（{bad}）：请检查监控实例", fault=Fault.MONITOR)
    if summary.hosts_online < len(case.servers):
        raise Transient(
            f"仪表盘少算了服务器：{said}，应有 {len(case.servers)} 台：请在监控的主机列表核对",
            fault=Fault.SILENT,
        )
    return case, f"仪表盘：{said}；自检正常"


async def _server(case: Onboarding, errand: Errand, name: str) -> Server:
    async with errand.kit.store.view() as unit:
        server = await listed(case, name, unit)
        twins = await unit.servers.sharing(case.customer, server.hostname)
    if not server.hostname:
        raise Permanent(f"还不知道「{name}」的主机名：请先完成「检查服务器连通性」")
    if not _PLAIN.fullmatch(server.hostname) or server.hostname.startswith("-"):
        raise Permanent(f"「{name}」的主机名含有特殊字符：请用 hostnamectl 改名后重新检查")
    if others := [twin.name for twin in twins if twin.name != name]:
        raise Permanent(
            f"主机名 {server.hostname} 与「{'、'.join(others)}」相同，监控分不清它们："
            "请用 hostnamectl 改名后重新检查"
        )
    return server


def token_name(slug: str, server: Server) -> str:
    """Return the name of a server's token in the monitor."""
    return f"{slug}-{server.name}"


def secret_name(server: Server) -> str:
    """Return the vault's name of a server's agent token."""
    return f"server:{server.id}:agent_token"


async def _token(errand: Errand, server: Server, watch: Monitor) -> int:
    """See that a server has exactly one token whose secret we hold, and return its id."""
    kit = errand.kit
    async with kit.store.view() as unit:
        customer = await unit.customers.get(server.customer)
    assert customer is not None
    name = token_name(customer.slug, server)

    async def look() -> int | None:
        async with kit.store.view() as unit:
            secret = await unit.vault.get(secret_name(server))
            kept = (await _now(server, unit)).agent_token
        found = None
        for token in await watch.agent_tokens():
            if token.name != name or not token.active:
                continue
            if secret and token.id == kept and secret.reveal().startswith(token.prefix):
                found = token.id
            else:  # nobody has its secret any more, so no agent may ever use it
                await watch.revoke_agent_token(token.id)
        return found

    async def do() -> int:
        # An earlier run may have made it, so the world is looked at here as well.
        if known := await look():
            return known
        token = await watch.create_agent_token(name)

        async def keep(unit: Unit) -> None:
            await unit.vault.put(secret_name(server), token.secret)
            await unit.servers.save(replace(await _now(server, unit), agent_token=token.id))

        await kit.store.write(keep)
        return token.id

    number: int = await errand.once("token", do, look)
    return number


async def _now(server: Server, unit: Unit) -> Server:
    """Return the server's row as it is in this transaction."""
    now = await unit.servers.named(server.customer, server.name)
    return now if now and now.id == server.id else server


async def _installed(errand: Errand, server: Server, url: str, archive: bytes) -> None:
    """Bring the bundle there and run its installer, once."""
    kit = errand.kit
    generation = kit.house.generation
    async with kit.store.view() as unit:
        login = await login_to(server, unit)
        secret = await unit.vault.get(secret_name(server))
    if secret is None or not _TOKEN.fullmatch(secret.reveal()):
        raise Permanent(f"「{server.name}」的 Agent 令牌不在保险库里：请重试，会重新生成")
    # The installer pastes it unescaped between double quotes.
    if not _PLAIN.fullmatch(url):
        raise Permanent("监控地址含有引号或空白，安装程序不接受：请更正实例地址")

    async def look() -> str | None:
        until = kit.clock.now() + timedelta(seconds=INSTALLING)
        async with kit.servers.shell(login) as shell:
            while True:
                seen = (await shell.run(look_command(url, generation), root=True)).out.strip()
                if seen != "running":
                    return server.hostname if seen == "there" else None
                if kit.clock.now() >= until:
                    break
                # Whoever began it is dead, and it is not: its end is waited for as his would be.
                await kit.clock.sleep(FIRST_POLL)
        raise Transient(f"「{server.name}」上一次安装仍在进行：请稍后重试", fault=Fault.DROPPED)

    async def do() -> str:
        async with kit.servers.shell(login) as shell:
            await shell.run(CLEAR_FOLDER, root=True)
            made = await shell.run(MAKE_FOLDER)
            folder = made.out.strip()
            if made.exit or not folder.startswith("/"):
                raise _failed("准备目录失败", made, secret)
            await shell.unpack(archive, folder)
            ran = await shell.run(
                install_command(folder, url, server.hostname, generation),
                stdin=secret.reveal().encode() + b"\n",
                timeout=INSTALLING,
                root=True,
            )
        if ran.exit:
            raise _failed("安装程序失败", ran, secret)
        return server.hostname

    await errand.once("install", do, look)


def _failed(what: str, ran: Ran, secret: Secret) -> Permanent:
    full = "No space left" in ran.err
    said = (ran.err.strip() or ran.out.strip()).replace(secret.reveal(), "***")[-_SAID:]
    cure = "请清理磁盘后重试" if full else "服务器不能上网时请使用离线安装包（内含 wheels 目录）"
    return Permanent(
        f"{what}（退出码 {ran.exit}）：{said}；{cure}",
        fault=Fault.DISK if full else Fault.COMMAND,
    )


async def _until_reporting(errand: Errand, hostname: str, watch: Monitor) -> MonitoredHost:
    """Return the host as soon as it reports; SILENT when it has not in time."""
    clock = errand.kit.clock
    deadline, pause = clock.now() + PATIENCE, FIRST_POLL
    while True:
        trouble: Transient | None = None
        hosts: tuple[MonitoredHost, ...] = ()
        try:
            hosts = await hosts_of(watch, errand)
        except Transient as error:  # it may be back before the deadline
            trouble = error
        now = clock.now()
        if host := reporting(hosts, hostname, now):
            return host
        if now >= deadline:
            raise trouble or _silent(hosts, hostname)
        await clock.sleep(min(pause, (deadline - now).total_seconds()))
        pause = min(pause * 1.5, LAST_POLL)


def _silent(hosts: tuple[MonitoredHost, ...], hostname: str) -> Transient:
    known = [host for host in hosts if host.hostname == hostname]
    if not known:
        seen = "监控里没有这台主机"
    elif any(host.online for host in known):
        seen = "在线，但没有新的 CPU、内存、磁盘数据"
    else:
        seen = "监控显示离线"
    return Transient(
        f"{hostname}：{PATIENCE.total_seconds():.0f} 秒内没有上报（{seen}）："
        "请确认服务器能访问监控地址、时钟已同步，或使用离线安装包",
        fault=Fault.SILENT,
    )

"""Phase 2: every server is looked at, and what is found is held against what was declared."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from adapters.port import Fault, Login, Permanent
from adapters.words import NOTHING, Secret
from runbooks.case import Onboarding
from runbooks.kit import Errand
from storage.records import Server
from storage.store import Unit

PROBE = "uname -a && free -h && df -h"
"""The SOP's own line."""

FIGURES = (
    "hostname; nproc; free -m | awk '/^Mem:/{print $2}'; "
    "df -Pk / | awk 'NR==2{print $2, $4}'; date -u +%s"
)

LEAST_FREE_GB = 2.0
"""Agent, its Python and its logs."""

MOST_SKEW = 60.0
"""Seconds: beyond, fresh figures look stale to the monitor."""

TOLERANCE = 0.2
"""A machine of 8 GB shows less: kernel and firmware keep some."""

_LINES = 5
_BASTION = re.compile(
    r"(?:(?P<user>[^@]+)@)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>\d+))?"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a server says of itself."""

    hostname: str
    cpu: int
    memory_gb: float
    disk_gb: float
    free_gb: float
    clock: float
    """Seconds since 1970."""


def names(case: Onboarding) -> tuple[str, ...]:
    """Return the servers that a line fans out over."""
    return case.servers


async def listed(case: Onboarding, name: str, unit: Unit) -> Server:
    """Return one server of a line's customer; Permanent when it was removed meanwhile."""
    server = await unit.servers.named(case.customer, name)
    if server is None:
        raise Permanent(f"服务器「{name}」已不在登记中：请用 /server list 核对")
    return server


def read(output: str) -> Found:
    """Return what the figures' command printed; Permanent when it is something else."""
    lines = output.splitlines()
    try:
        hostname, cpu, memory, disk, clock = lines[:_LINES]
        total, free = disk.split()
        return Found(
            hostname.strip(),
            int(cpu),
            int(memory) / 1024,
            int(total) / 1024**2,
            int(free) / 1024**2,
            float(clock),
        )
    except ValueError:
        raise Permanent(
            "看不懂服务器的回答：登录后的提示信息可能混进了输出，请检查该用户的 shell 配置",
            fault=Fault.COMMAND,
        ) from None


def differences(declared: Server, found: Found) -> tuple[str, ...]:
    """Say, in Chinese, where a server is not what was declared; undeclared figures are skipped."""
    said: list[str] = []
    if declared.cpu and declared.cpu != found.cpu:
        said.append(f"CPU 申报 {declared.cpu} 核，实际 {found.cpu} 核")
    if declared.memory_gb and _apart(declared.memory_gb, found.memory_gb):
        said.append(f"内存申报 {declared.memory_gb:g} GB，实际 {found.memory_gb:.1f} GB")
    if declared.disk_gb and _apart(declared.disk_gb, found.disk_gb):
        said.append(f"磁盘申报 {declared.disk_gb:g} GB，实际 {found.disk_gb:.0f} GB")
    return tuple(said)


async def probe(case: Onboarding, errand: Errand, name: str) -> str:
    """Log in, look, pin the host key, and keep what was found."""
    kit = errand.kit
    async with kit.store.view() as unit:
        server = await listed(case, name, unit)
        login = await login_to(server, unit)
    async with kit.servers.shell(login) as shell:
        ran = await shell.run(PROBE)
        if ran.exit:
            raise Permanent(f"基本检查失败：{ran.err.strip()[:200]}", fault=Fault.COMMAND)
        found = read((await shell.run(FIGURES)).out)
        skew = abs(found.clock - kit.clock.now().timestamp())
        await shell.run("true", root=True)
        host_key = shell.host_key
    if found.free_gb < LEAST_FREE_GB:
        raise Permanent(
            f"磁盘剩余 {found.free_gb:.1f} GB，至少需要 {LEAST_FREE_GB:g} GB：请清理后重试",
            fault=Fault.DISK,
        )
    if skew > MOST_SKEW:
        raise Permanent(f"时钟相差 {skew:.0f} 秒：请启用 NTP 对时后重试", fault=Fault.CLOCK)
    pinned = replace(server, host_key=host_key, hostname=found.hostname)
    await kit.store.write(lambda unit: unit.servers.save(pinned))
    facts = f"{found.hostname}，{found.cpu} 核 / {found.memory_gb:.1f} GB / {found.disk_gb:.0f} GB"
    return "；".join((facts, *differences(server, found)))


async def login_to(server: Server, unit: Unit) -> Login:
    """Return how to get onto a server, with the vault's secrets for it and for its bastion."""

    async def kept(name: str) -> Secret:
        return await unit.vault.get(name) or NOTHING

    jump = bastion_of(server)
    return login_of(
        server,
        await kept(f"server:{server.id}:password"),
        await kept(f"server:{server.id}:sudo"),
        await kept(f"customer:{server.customer}:ssh_key"),
        await kept(bastion_password(server.customer, jump.host)) if jump else NOTHING,
    )


def bastion_password(customer: int, host: str) -> str:
    """Return the vault's name for the password of a customer's bastion."""
    return f"customer:{customer}:bastion:{host}:password"


def bastion_of(server: Server) -> Login | None:
    """Return where a server's bastion is, without its secrets; None when it has none."""
    match = _BASTION.fullmatch(server.bastion)
    if match is None:
        return None
    host = match["six"] or match["host"]
    return Login(host, int(match["port"] or 22), match["user"] or server.user)


def login_of(
    server: Server,
    password: Secret,
    sudo_password: Secret,
    key: Secret,
    bastion: Secret = NOTHING,
) -> Login:
    """Return how to get onto a server, through its bastion where it has one.

    The bastion takes its own password, or the server's, which is tried after the customer's key:
    what opens one machine is not shown to another without need.
    """
    via = bastion_of(server)
    if via:
        via = replace(via, password=bastion or password, key=key)
    return Login(
        server.host,
        server.port,
        server.user,
        password,
        key,
        sudo_password,
        server.host_key,
        via,
    )


def _apart(declared: float, found: float) -> bool:
    return abs(declared - found) > TOLERANCE * declared

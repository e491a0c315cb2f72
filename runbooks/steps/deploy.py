"""Phase 2: ports are planned, and the customer's instance is put on its host."""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from adapters.port import Fault, Login, Permanent, Ran, Shell, Transient, UsageError
from adapters.words import Secret
from runbooks.case import Onboarding, Way
from runbooks.compose import SECRETS, Instance, files, packed
from runbooks.kit import Errand, House
from runbooks.steps import upstream
from runbooks.steps.servers import login_to
from storage.records import Customer, PortBlock

OWN = PortBlock("", 0, backend=8001, frontend=3001, postgres=5433, redis=6380)
"""Way A has a host to itself: the ports of the monitor's own documentation."""

PULLING = 900.0
"""Seconds: images come over the customer's line."""

SCRIPTED = 1800.0
"""Seconds: the upstream's script may install Docker first."""

PARTS = 4
_SHOWN = 200
_PORT = re.compile(r":(\d+)\s")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance is: how to get onto its host, and what it is called there."""

    login: Login
    instance: Instance


def is_ours(case: Onboarding) -> bool:
    """Is the instance deployed by us? In way C it stands already."""
    return case.way is not Way.STANDING


def listening(output: str) -> frozenset[int]:
    """Return the ports on which something listens, out of what `ss -ltn` printed."""
    found = (_PORT.search(line) for line in output.splitlines() if line.startswith("LISTEN"))
    return frozenset(int(match[1]) for match in found if match)


def clash(wanted: Iterable[int], busy: Collection[int]) -> tuple[int, ...]:
    """Return which of the ports are in use."""
    return tuple(port for port in wanted if port in busy)


async def ports(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Find out which ports are free on the instance's host, and keep a block of them for it."""
    if not is_ours(case):
        return case, "已有实例，不需要端口"
    login, project = await _host(case, errand), await _project(case, errand)
    async with errand.kit.servers.shell(login) as shell:
        busy = listening(checked(await shell.run("ss -ltn"), "查看端口失败").out)
        up = (await shell.run("docker compose ls -q", root=True)).out.split()
    if case.way is Way.MANAGED:
        block = await _allocated(case, errand, login.host, busy)
        return case, f"{login.host}：{_said(block)}"
    wanted = (OWN.backend, OWN.frontend, OWN.postgres, OWN.redis)
    taken = clash(wanted, busy)
    if taken and project not in up:  # its own ports are no obstacle to an instance
        said = "、".join(map(str, taken))
        raise Permanent(
            f"{login.host} 的端口 {said} 已被占用：请停掉占用的程序后重试", fault=Fault.PORT
        )
    return case, f"{login.host}：{_said(OWN)}"


async def up(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Lay the compose file and its .env on the host and start what they say; twice is harmless."""
    if not is_ours(case):
        return await _standing(case)
    at = await place(case, errand)
    made, house = await _made(case, errand), errand.kit.house
    laid = files(at.instance, made, house.compose, house.images, house.backup)
    async with errand.kit.servers.shell(at.login) as shell:
        if scripted(case, house):
            theirs = await _by_script(shell, at, case, house)
            laid = upstream.merged(laid, theirs, house.generation)
        version = await shell.run("docker compose version --short", root=True)
        checked(version, f"{at.login.host} 上没有 docker compose v2，请先安装 Docker")
        await lay(shell, at.instance, packed(laid))
        command = f"{at.instance.compose} up -d --remove-orphans"
        ran = await shell.run(command, root=True, timeout=PULLING)
        checked(ran, "启动监控实例失败", *made.values())
        seen = await shell.run(f"{at.instance.compose} ps -q --status running", root=True)
        running = len(checked(seen, "查看容器失败").out.split())
    if running < PARTS:
        raise Permanent(
            f"只有 {running}/{PARTS} 个容器在运行：请在 {at.login.host} 上执行 "
            f"{at.instance.compose} logs 查看原因",
            fault=Fault.COMMAND,
        )
    instance, slug = at.instance, (await _customer(case, errand)).slug
    url = house.addresses.of(case.way, host=at.login.host, port=instance.backend, slug=slug)
    console = _domain(case.domain) or f"http://{_shown_host(at.login.host)}:{instance.frontend}"
    proof = f"{instance.project}（{instance.directory}）：{running} 个容器在运行，接口 {url}"
    return replace(case, url=url, console=console), proof


def scripted(case: Onboarding, house: House) -> bool:
    """Is the instance put up by the upstream's own script?"""
    return case.way is Way.CUSTOMER and house.deploy_script is not None


async def _by_script(shell: Shell, at: Place, case: Onboarding, house: House) -> str:
    """Have the upstream's script put the instance up, and return the .env that it wrote.

    Its exit code is not believed: what it wrote counts, and health is asked for by the next line.
    """
    known = (await shell.run(upstream.reading(at.instance), root=True)).out
    if upstream.mended(known):
        return known
    assert house.deploy_script is not None
    script = await asyncio.to_thread(house.deploy_script.read_bytes)
    where = at.login.host
    checked(await shell.run(upstream.laying(), stdin=script, root=True), "写入部署脚本失败")
    ran = await shell.run(
        upstream.calling(at.instance, case.domain, house.ai_model, house.ai_url),
        stdin=f"{house.ai_key.reveal()}\n".encode(),
        root=True,
        timeout=SCRIPTED,
    )
    if ran.exit == upstream.RUNNING:
        raise Transient(f"{where} 上的部署脚本还在运行：等它结束后重试", fault=Fault.COMMAND)
    wrote = await shell.run(upstream.reading(at.instance), root=True)
    if not upstream.pairs(wrote.out):
        hidden = (house.ai_key,) if house.ai_key else ()
        # Its stdout is not shown: it prints a password there.
        raise failed(ran, "部署脚本没有写出 .env", *hidden)
    return wrote.out


async def place(case: Onboarding, errand: Errand) -> Place:
    """Return where the customer's instance is; Permanent when its ports were never planned."""
    house = errand.kit.house
    login, project = await _host(case, errand), await _project(case, errand)
    block: PortBlock | None = OWN
    directory = f"/opt/{house.generation}"
    if case.way is Way.MANAGED:
        directory = f"{house.managed_root}/{project.removeprefix('vigilops-')}"
        async with errand.kit.store.view() as unit:
            block = await unit.ports.of(login.host, case.customer)
    if block is None:
        raise Permanent("还没有分配端口：请先重试「规划端口」", fault=Fault.PORT)
    instance = Instance(
        project,
        directory,
        house.generation,
        block.backend,
        block.frontend,
        block.postgres,
        block.redis,
    )
    return Place(login, instance)


async def lay(shell: Shell, instance: Instance, archive: bytes) -> None:
    """Unpack into the instance's directory, which only root may enter."""
    where = shlex.quote(instance.directory)
    command = f"umask 077 && mkdir -p {where} && tar -xzpf - -C {where}"
    checked(await shell.run(command, stdin=archive, root=True), f"写入 {instance.directory} 失败")


def checked(ran: Ran, what: str, *hidden: Secret) -> Ran:
    """Return what ran; Permanent with its last words when it failed, without the `hidden` ones."""
    if ran.exit == 0:
        return ran
    raise failed(ran, what, *hidden)


def failed(ran: Ran, what: str, *hidden: Secret) -> Permanent:
    """Return what is to be said of a command that did not do its work."""
    said = ran.err
    for secret in hidden:
        said = said.replace(secret.reveal(), "***")
    full = "no space left" in said.lower()
    return Permanent(
        f"{what}（退出码 {ran.exit}）：{' '.join(said.split())[-_SHOWN:]}",
        fault=Fault.DISK if full else Fault.COMMAND,
    )


async def _standing(case: Onboarding) -> tuple[Onboarding, str]:
    if not case.url:
        raise Permanent("方式 C 需要已有实例的地址：请重新发起接入并填写地址", fault=Fault.MONITOR)
    console = case.console or _domain(case.domain) or case.url
    return replace(case, console=console), f"使用已有实例 {case.url}"


async def _host(case: Onboarding, errand: Errand) -> Login:
    if case.way is Way.MANAGED:
        if errand.kit.house.managed is None:
            raise Permanent("没有配置托管主机：请在配置文件的 deploy 一节填写后重试")
        return errand.kit.house.managed
    async with errand.kit.store.view() as unit:
        servers = await unit.servers.of(case.customer)
        first = next((s for s in servers if case.servers and s.name == case.servers[0]), None)
        if first is None:
            raise Permanent("方式 A 需要客户的一台服务器：请先登记服务器")
        return await login_to(first, unit)


async def _project(case: Onboarding, errand: Errand) -> str:
    if scripted(case, errand.kit.house):
        return errand.kit.house.generation  # as docker calls what the script starts, by its folder
    return f"vigilops-{(await _customer(case, errand)).slug}"


async def _customer(case: Onboarding, errand: Errand) -> Customer:
    async with errand.kit.store.view() as unit:
        customer = await unit.customers.get(case.customer)
    assert customer is not None
    return customer


async def _allocated(
    case: Onboarding, errand: Errand, host: str, busy: frozenset[int]
) -> PortBlock:
    try:
        async with errand.kit.store.unit() as unit:
            return await unit.ports.allocate(
                host, case.customer, busy=busy, plan=errand.kit.house.ports
            )
    except UsageError as error:
        said = str(error)
    raise Permanent(said, fault=Fault.PORT)


async def _made(case: Onboarding, errand: Errand) -> dict[str, Secret]:
    """Return the instance's secrets, made once: the data outlives any number of deploys."""
    found: dict[str, Secret] = {}
    async with errand.kit.store.unit() as unit:
        for key in SECRETS:
            name = f"instance:{case.customer}:env:{key}"
            secret = await unit.vault.get(name)
            if secret is None:
                secret = Secret(secrets.token_hex(32))
                await unit.vault.put(name, secret)
            found[key] = secret
    return found


def _said(block: PortBlock) -> str:
    return (
        f"接口 {block.backend}，页面 {block.frontend}，数据库 {block.postgres}，缓存 {block.redis}"
    )


def _shown_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _domain(domain: str) -> str:
    return domain if not domain or "://" in domain else f"http://{domain}"

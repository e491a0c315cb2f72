"""`vigilbot doctor`: tries every configured thing and says what to mend."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import sqlite3
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from ipaddress import ip_network
from pathlib import Path, PurePosixPath

import yaml
from rich.console import Console
from rich.table import Table

from adapters.port import Account, Model, Monitors, OutsideError, Servers, UsageError
from adapters.words import NOTHING, Secret
from bot import permissions
from bot.config import ConfigError, Settings, load
from bot.options import DEFAULT_CONFIG, Config
from runbooks.compose import IMAGES, SECRETS, Images, Instance, files, unset
from runbooks.walk import OPERATIONS
from storage.address import address
from storage.migrate import newest
from storage.probe import probe, shown, unseal
from storage.vault import Seal

PATIENCE = 30.0
"""Seconds that one check may take; all run at once."""

LEAST_FREE_GB = 1.0
WEB_CHAT = "webchat.sqlite"
"""Name of the web chat's file in `bot.data_dir`."""


class Mark(StrEnum):
    """How a check ended."""

    OK = "正常"
    WARNING = "注意"
    FAILED = "失败"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; unless it is OK, `what` says in Chinese how to mend it."""

    name: str
    mark: Mark
    what: str


@dataclass(frozen=True, slots=True)
class Tools:
    """The ports that the checks speak through."""

    servers: Servers
    monitors: Monitors
    model: Model | None = None


Verdict = tuple[Mark, str]
Check = Callable[[], Awaitable[Verdict]]


def doctor(config: Config = DEFAULT_CONFIG) -> int:
    """诊断: try every configured thing; exits 1 if one of them failed."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        settings = load(config)
    except ConfigError as error:
        for problem in error.problems:
            console.print(str(problem))
        return 1
    findings = asyncio.run(_with_tools(settings))
    table = Table("项目", "结果", "说明")
    for finding in findings:
        table.add_row(finding.name, str(finding.mark), finding.what)
    console.print(table)
    return int(any(finding.mark is Mark.FAILED for finding in findings))


async def examine(
    settings: Settings, tools: Tools, *, patience: float = PATIENCE
) -> tuple[Finding, ...]:
    """Run all checks at once, and return what each found in the order of the list."""

    async def one(name: str, check: Check) -> Finding:
        try:
            async with asyncio.timeout(patience):
                return Finding(name, *await check())
        except TimeoutError:
            return Finding(name, Mark.FAILED, f"{patience:g} 秒内没有结果：请检查网络和地址")
        except OutsideError as error:
            return Finding(name, Mark.FAILED, error.reason)
        except UsageError as error:
            return Finding(name, Mark.FAILED, str(error))

    checks = checks_of(settings, tools)
    return tuple(await asyncio.gather(*(one(name, check) for name, check in checks.items())))


SAMPLE = Instance("vigilops-x", "/opt/x", "vigilops", 8101, 3101, 5533, 6480)
"""What a template is rendered for when it is only looked at."""


def checks_of(settings: Settings, tools: Tools) -> Mapping[str, Check]:
    """Return the checks of what is configured, by the name that people read."""
    checks: dict[str, Check] = {
        "数据目录": lambda: asyncio.to_thread(data_dir, settings.bot.data_dir),
        "数据库": lambda: asyncio.to_thread(database, settings),
        "运营群": lambda: asyncio.to_thread(operations, settings),
        "保险库密钥": lambda: asyncio.to_thread(vault_key, settings),
        "网页端口": lambda: asyncio.to_thread(web_port, settings.web.host, settings.web.port),
        "Agent 安装包": lambda: asyncio.to_thread(bundle, settings.artifacts.agent_bundle),
    }
    if settings.platforms.webchat.enabled:
        file = settings.bot.data_dir / WEB_CHAT
        checks["网页聊天"] = lambda: asyncio.to_thread(web_chat, file)
    checks |= {
        name: partial(platform, settings, ask)
        for name, ask in permissions.of_enabled(settings).items()
    }
    if settings.channels.mail.enabled:
        checks["邮件"] = lambda: mail(settings)
    if settings.channels.webhook.enabled:
        checks["Webhook"] = lambda: webhook(settings.channels.webhook.allow)
    if settings.escalation.gateway_url:
        checks["呼叫网关"] = lambda: gateway(settings.escalation.gateway_url)
    template = settings.artifacts.compose_template
    checks["compose 模板"] = lambda: asyncio.to_thread(compose, template, settings.deploy.images)
    if settings.deploy.managed_host:
        checks["托管主机"] = lambda: managed_host(settings, tools.servers)
    for url in standing(settings):
        checks[f"VigilOps {url}"] = lambda url=url: instance(settings, url, tools.monitors)  # type: ignore[misc] # a default of a lambda has no annotation
    if model := tools.model:
        checks["AI 模型"] = lambda: question(model)
    else:
        checks["AI 模型"] = no_model
    return checks


# -- the checks -------------------------------------------------------------------------------


def data_dir(folder: Path) -> Verdict:
    """Can we write there, and is there room?"""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        return Mark.FAILED, f"{place} 不能写入（{error.strerror}）：请改权限或换 bot.data_dir"
    free = shutil.disk_usage(place).free / 1024**3
    if free < LEAST_FREE_GB:
        return Mark.WARNING, f"{place} 只剩 {free:.1f} GB：请清理磁盘"
    return Mark.OK, f"{folder}，剩余 {free:.1f} GB"


def database(settings: Settings) -> Verdict:
    """Can it be opened and written to, and is its form the program's?"""
    if _unmade(settings):
        return Mark.OK, "还没有建立：首次启动或 vigilbot migrate 时自动建立"
    form = probe(_address(settings)).form
    if not form:
        return Mark.WARNING, "可以连接，还没有表：请执行 vigilbot migrate"
    if form != newest():
        return Mark.WARNING, f"版本 {form}，程序需要 {newest()}：请执行 vigilbot migrate"
    return Mark.OK, f"可以写入，版本 {form}"


def operations(settings: Settings) -> Verdict:
    """Is there a group that hears when nobody could be called?"""
    # Of a database without tables the check of the database has said so.
    if _unmade(settings) or not probe(_address(settings)).form:
        return Mark.OK, "启动以后，请在内部群输入 /ops 设置"
    if not shown(_address(settings), OPERATIONS):
        return (
            Mark.WARNING,
            "还没有运营群，升级失败和每晚的核对无人收到：请由负责人在内部群输入 /ops",
        )
    return Mark.OK, "已设置"


def vault_key(settings: Settings) -> Verdict:
    """Is it a key, and the one that sealed what is there?"""
    seal = Seal(settings.vault.key)
    name = "" if _unmade(settings) else probe(_address(settings)).sealed
    if not name:
        return Mark.OK, "密钥有效，保险库还是空的"
    unseal(_address(settings), seal, name)
    return Mark.OK, "密钥有效，能打开已存的内容"


def web_port(host: str, port: int) -> Verdict:
    """Could we listen there?"""
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return (
                Mark.WARNING,
                f"{host}:{port} 已被占用：若不是机器人自己在运行，请换 web.port",
            )
        return (
            Mark.FAILED,
            f"不能监听 {host}:{port}（{error.strerror}）：请检查 web.host 和 web.port",
        )
    return Mark.OK, f"{host}:{port} 空闲"


def web_chat(file: Path) -> Verdict:
    """Is the file whole?"""
    if not file.exists():
        return Mark.OK, "还没有建立：首次启动时自动建立"
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        return Mark.FAILED, f"{file} 已损坏（{said}）：请从备份恢复，或移走后重新启动"
    return Mark.OK, f"{file.name} 完好"


async def platform(settings: Settings, ask: permissions.Ask) -> Verdict:
    """Does the platform know the app, and has it every permission?"""
    whole, what = await ask(settings)
    return {True: Mark.OK, None: Mark.WARNING, False: Mark.FAILED}[whole], what


async def mail(settings: Settings) -> Verdict:
    """Can we sign in to the mail server, over TLS?"""
    # Imported here: see _with_tools.
    from bot.app import SystemClock  # noqa: PLC0415
    from bot.channels import mail_of  # noqa: PLC0415

    spoken = await mail_of(settings, SystemClock()).check()
    who = (
        f"以 {settings.channels.mail.username} 登录"
        if settings.channels.mail.username
        else "不登录"
    )
    return Mark.OK, f"{spoken}，{who}，发件人 {settings.channels.mail.sender}"


async def webhook(allow: Sequence[str]) -> Verdict:
    """Which private networks may a customer's webhook lead into?"""
    networks = [ip_network(each) for each in allow]
    named = "、".join(allow)
    if any(each.is_loopback or not each.prefixlen for each in networks):
        return (
            Mark.WARNING,
            f"放行了 {named}：客户填写的地址可以访问本机，请缩小 channels.webhook.allow",
        )
    return Mark.OK, f"只发往公网{f'和 {named}' if named else ''}"


async def gateway(url: str) -> Verdict:
    """Do numbers and names go to the gateway unread? Nobody is called to find out more."""
    if url.startswith("http://"):
        return Mark.WARNING, "escalation.gateway_url 不是 https：姓名和电话会明文传输，请改用 https"
    return Mark.OK, "已设置，呼叫用签名密钥签名；能否接通请用一次真实的升级验证"


def bundle(path: Path | None) -> Verdict:
    """Does the agent bundle hold the installer and the agent's tree?"""
    if path is None:
        return Mark.WARNING, "没有设置：安装 Agent 前请设置 artifacts.agent_bundle"
    try:
        names = _names(path)
    except (OSError, tarfile.TarError) as error:
        return Mark.FAILED, f"{path} 读不了（{type(error).__name__}）：请重新打包"
    missing = [
        part
        for part, there in (
            ("scripts/install-agent.sh", "scripts/install-agent.sh" in names),
            ("agent/", any(name.startswith("agent/") for name in names)),
        )
        if not there
    ]
    if missing:
        return Mark.FAILED, f"{path} 里缺少 {'、'.join(missing)}：请重新打包"
    return Mark.OK, f"{path.name}，{len(names)} 个文件"


def compose(path: Path | None, images: Images = IMAGES) -> Verdict:
    """Does the template, ours when there is none, name services, and does its .env fill it?"""
    made = dict.fromkeys(SECRETS, Secret("0" * 64))
    name = path.name if path else "程序自带"
    try:
        laid = files(SAMPLE, made, path, images)
        read = yaml.safe_load(laid[0].text)
    except (OSError, UnicodeDecodeError):
        return Mark.FAILED, f"{path} 读不了：请检查权限，应为 UTF-8 文本"
    except yaml.YAMLError:
        return Mark.FAILED, f"{path} 不是 YAML：请检查缩进和冒号"
    if not isinstance(read, dict) or not isinstance(read.get("services"), dict):
        return Mark.FAILED, f"{path} 没有 services 一节：这不是 compose 模板"
    if missing := unset(laid):
        return Mark.FAILED, f"{name} 用到的变量 .env 里没有：{'、'.join(missing)}"
    return Mark.OK, f"{name}，{len(read['services'])} 个服务"


async def managed_host(settings: Settings, servers: Servers) -> Verdict:
    """Can we log in, become root and find Docker Compose?"""
    async with servers.shell(settings.deploy.managed) as shell:
        ran = await shell.run("docker compose version", root=True)
    if ran.exit:
        return Mark.FAILED, "可以登录，但没有 Docker Compose：请安装 docker 和 compose 插件"
    return Mark.OK, f"可以登录和提权，{ran.out.strip()[:80]}"


async def instance(settings: Settings, url: str, monitors: Monitors) -> Verdict:
    """Does a VigilOps that stands at a fixed address feel well?"""
    account = Account(settings.vigilops.account_email, NOTHING)
    health = await monitors.at(url, account).health()
    if not health.ok:
        bad = "、".join(f"{name}：{state}" for name, state in health.checks.items())
        return Mark.FAILED, f"可以连接，但不健康（{bad}）：请查看它的容器日志"
    return Mark.OK, "健康"


async def question(model: Model) -> Verdict:
    """Does the model answer?"""
    answer = await model.ask("只回答一个字。", "好吗？")
    return Mark.OK, f"{answer.model}，{answer.tokens} tokens"


async def no_model() -> Verdict:
    """Say what is missing without a model."""
    return Mark.WARNING, "没有设置 model.api_key：不做 AI 分析（专业版需要）"


# -- what they share --------------------------------------------------------------------------


def standing(settings: Settings) -> Sequence[str]:
    """Return the instances whose address is fixed: a template with a placeholder is none."""
    bases = settings.vigilops.base_url
    return tuple(dict.fromkeys(url for url in (bases.a, bases.b) if "{" not in url))


def _address(settings: Settings) -> str:
    return address(settings.database_url, settings.database.password)


def _unmade(settings: Settings) -> bool:
    """Is it a SQLite file that is not there yet? To look at it would be to make it."""
    scheme, _, file = settings.database_url.partition(":///")
    return scheme.startswith("sqlite") and not Path(file.partition("?")[0]).exists()


def _names(path: Path) -> set[str]:
    if path.is_dir():
        return {str(file.relative_to(path).as_posix()) for file in path.rglob("*")}
    with tarfile.open(path) as archive:
        return {str(PurePosixPath(name)) for name in archive.getnames()}


async def _with_tools(settings: Settings) -> tuple[Finding, ...]:
    # Imported here: `vigilbot check` should not wait for three SDKs.
    from adapters.llm import OpenAiModel  # noqa: PLC0415
    from adapters.ssh import SshServers  # noqa: PLC0415
    from adapters.vigilops import VigilOpsMonitors  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        monitors = await stack.enter_async_context(VigilOpsMonitors())
        model = None
        if settings.model.api_key:
            made = OpenAiModel(
                settings.model.base_url, settings.model.model, settings.model.api_key
            )
            model = await stack.enter_async_context(made)
        return await examine(settings, Tools(SshServers(), monitors, model))

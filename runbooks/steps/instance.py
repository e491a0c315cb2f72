"""Phase 2: the instance is healthy, has our account, its settings and a backup that was read."""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex

import bcrypt

from adapters.port import Fault, Monitor, Permanent, Transient
from adapters.words import Secret
from runbooks.case import Onboarding
from runbooks.compose import PUBLIC, Instance
from runbooks.kit import Errand
from runbooks.steps.deploy import checked, is_ours, place
from runbooks.steps.monitor import monitor, password_name
from runbooks.steps.servers import listed, login_to

ACCOUNT_NAME = "Vigilbot"
DUMPING = 600.0
_NO_CURL = 127
_BACKUP = re.compile(r"(?P<name>[\w.]+) (?P<size>\d+)")


async def healthy(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Ask the instance how it is; its `status` counts, since the HTTP code is always 200."""
    health = await (await _monitor(case, errand)).health()
    said = "，".join(f"{name} {state}" for name, state in health.checks.items())
    if not health.ok:
        raise Transient(f"监控实例还没有就绪：{said}", fault=Fault.MONITOR)
    return case, f"{case.url} 正常：{said}"


async def reach(case: Onboarding, errand: Errand, name: str) -> str:
    """Ask for the instance's health from a server: its agent will take the same way."""
    kit = errand.kit
    async with kit.store.view() as unit:
        login = await login_to(await listed(case, name, unit), unit)
    async with kit.servers.shell(login) as shell:
        ran = await shell.run(f"curl -fsS -m 10 -o /dev/null {shlex.quote(case.url + '/health')}")
    if ran.exit == _NO_CURL:
        raise Permanent("服务器上没有 curl：请安装后重试", fault=Fault.COMMAND)
    if ran.exit:
        raise Permanent(
            f"服务器连不到监控实例 {case.url}（curl 退出码 {ran.exit}）："
            "请在安全组和防火墙放行该端口的出入方向后重试",
            fault=Fault.NETWORK,
        )
    return f"可以访问 {case.url}"


async def admin(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Have the bot's account be the admin: through the API, or by SQL where the API cannot."""
    account = errand.kit.house.account
    at = await _monitor(case, errand)
    how = "已有账号"
    if is_ours(case):
        how = "可以登录"
        if await at.register_admin():
            # Where a killed process has written it into the database, it can be signed in to now.
            await errand.settle("insert", how)
        else:
            how = await errand.once(
                "insert", lambda: _inserted(case, errand), lambda: _seen(at, account)
            )
    role = await at.me()
    if role != "admin":
        raise Permanent(
            f"账号 {account} 的角色是 {role}，需要 admin：请在监控的用户管理里改为管理员后重试",
            fault=Fault.REFUSED,
        )
    return case, f"{account}：{role}（{how}）"


async def ai(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Give the instance our key for its AI analysis, when we have one."""
    house = errand.kit.house
    if not house.ai_key:
        return case, "未配置 AI 密钥：监控自带的 AI 分析不可用"
    at = await _monitor(case, errand)
    mask = await at.configure_ai(house.ai_url, house.ai_model, house.ai_key)
    return case, f"{house.ai_model}，密钥 {mask}"


async def retention(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Set for how long data is kept, and say what was read back."""
    kept = await (await _monitor(case, errand)).set_retention(errand.kit.house.retention)
    return case, "，".join(f"{kind} {days} 天" for kind, days in sorted(kept.items()))


async def backup(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Have a backup made every night, make the first one now, and read it."""
    at, plan = await place(case, errand), errand.kit.house.backup
    hour, _, minute = plan.at.partition(":")
    script = shlex.quote(f"{at.instance.directory}/backup.sh")
    async with errand.kit.servers.shell(at.login) as shell:
        cron = await shell.run("systemctl is-active cron || systemctl is-active crond", root=True)
        checked(cron, f"{at.login.host} 上没有运行 cron，备份不会按时进行：请安装并启动 cron")
        timed = f"/etc/cron.d/vigilbot-{at.instance.project}"
        line = f"{int(minute)} {int(hour)} * * * root /bin/sh {script}\n".encode()
        command = f"mkdir -p /etc/cron.d && cat >{timed} && chmod {PUBLIC:o} {timed}"
        checked(await shell.run(command, stdin=line, root=True), "写入定时任务失败")
        made = await shell.run(f"/bin/sh {script}", root=True, timeout=DUMPING)
        checked(made, "第一次备份失败")
        read = await shell.run(_reading(at.instance), root=True, timeout=DUMPING)
    found = _BACKUP.fullmatch(checked(read, "备份读不出来").out.strip())
    if found is None:
        raise Permanent("备份读不出来：没有备份文件", fault=Fault.COMMAND)
    return case, (
        f"每天 {plan.at}（主机时间）备份，保留 {plan.keep} 天；"
        f"第一份 {found['name']}（{found['size']} 字节）已验证可读，.env 一并保存"
    )


def _reading(instance: Instance) -> str:
    """Return a command that reads the newest dump to its end, and says its name and its size."""
    where = shlex.quote(f"{instance.directory}/backups")
    return (
        f"cd {where} && f=$(ls -1 *.sql.gz | tail -n 1) && gzip -t $f && "
        "gzip -dc $f | grep -q 'PostgreSQL database dump complete' && "
        'test -s "${f%.sql.gz}.env" && echo "$f $(wc -c <$f)"'
    )


async def _monitor(case: Onboarding, errand: Errand) -> Monitor:
    """Return the monitor; an instance of ours gets its account's password here, once."""
    if is_ours(case):
        async with errand.kit.store.unit() as unit:
            name = password_name(case.customer)
            if await unit.vault.get(name) is None:
                # The monitor asks for a letter and a digit, which chance alone does not promise.
                await unit.vault.put(name, Secret(f"Vb1{secrets.token_urlsafe(24)}"))
    return await monitor(case, errand)


async def _inserted(case: Onboarding, errand: Errand) -> str:
    account = errand.kit.house.account
    async with errand.kit.store.view() as unit:
        password = await unit.vault.get(password_name(case.customer))
    assert password is not None
    hashed = await asyncio.to_thread(bcrypt.hashpw, password.reveal().encode(), bcrypt.gensalt(12))
    at = await place(case, errand)
    name = at.instance.generation
    psql = f"{at.instance.compose} exec -T postgres psql -q -v ON_ERROR_STOP=1 -U {name} -d {name}"
    async with errand.kit.servers.shell(at.login) as shell:
        ran = await shell.run(psql, stdin=insertion(account, hashed).encode(), root=True)
    if ran.exit:
        first = ran.err.strip().partition("\n")[0]  # the lines below it repeat the statement
        raise Permanent(f"写入管理员失败（退出码 {ran.exit}）：{first[:200]}", fault=Fault.MONITOR)
    return "这一代监控不能通过接口注册，已写入数据库"


def insertion(email: str, hashed: bytes) -> str:
    """Return the statement that makes an admin; where the email is known it changes nothing."""
    values = (email, ACCOUNT_NAME, hashed.decode(), "admin")
    said = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return (
        "INSERT INTO users (email, name, hashed_password, role, is_active) "  # noqa: S608 - quoted above
        f"VALUES ({said}, true) ON CONFLICT (email) DO NOTHING;\n"
    )


async def _seen(at: Monitor, account: str) -> str | None:
    """Say that the account is there; None when it is not, as a refused sign-in tells."""
    try:
        await at.me()
    except Permanent:
        return None
    return f"{account} 已在数据库里"

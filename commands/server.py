"""/server: the servers of this group's customer."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from typing import Annotated

from adapters.card import Card, Table, Tone, say
from adapters.port import Paper, ServerRow, UsageError
from adapters.words import File, Message, Role
from commands.declare import Call, Rest, Verbatim, Where, command, number
from commands.desk import Desk, desk_of
from runbooks import credentials, fleet, retire
from storage.records import Delivery, DeliveryState, Lane, RunStatus, Server

ADD = "/server add"
TITLES = ("名称", "地址", "端口", "用户", "跳板机", "位置")
ROOTS = {"root": "root 登录", "free": "免密码", "password": "需密码"}
SPOKEN = (
    "密码不能直接写在群里：请删除这条消息，改用 /server password 的一次性链接，"
    "或用 /server key 配置 SSH 公钥"
)


def listed(message: Message) -> File | str | None:
    """Return the list of servers that comes with a message: a file, or the lines below `/server
    add`; None when it has none. UsageError when it has more than one."""
    first, _, below = message.text.strip().partition("\n")
    if ADD not in " ".join(_words(first)):
        return None
    pasted = below.strip() and _is_bare(first)
    sources: list[File | str] = [*message.files, *([below] if pasted else [])]
    if len(sources) > 1:
        raise UsageError("服务器清单请只给一份：粘贴或上传，二选一")
    return sources[0] if sources else None


def unpasted(text: str) -> str:
    """Return the command without the list that was pasted below it."""
    first, _, _ = text.strip().partition("\n")
    return first if _is_bare(first) else text


def open_passwords(rows: tuple[ServerRow, ...]) -> None:
    """Raise UsageError when a pasted list holds a password: the whole group has read it."""
    if any(row.password or row.sudo_password for row in rows):
        raise UsageError(SPOKEN)


@command(
    "/server add",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=(
        "/server add web-02 10.0.0.12",
        "/server add db-01 10.0.0.21 --port 2222 --user ops --bastion jump@203.0.113.5:22",
        "/server add",
    ),
    group="服务器",
)
async def add(
    name: Verbatim = "",
    host: Verbatim = "",
    *,
    port: Annotated[int, number(1, 65_535)] = 22,
    user: str = "root",
    bastion: str = "",
    location: Verbatim = "",
    call: Call,
) -> Card:
    """添加服务器：写一台，或在下一行起粘贴清单，或附上 CSV/XLSX 文件。

    Parameters
    ----------
    name
        名称，同一客户内唯一。
    host
        地址，IP 或域名。
    port
        SSH 端口。
    user
        SSH 用户。
    bastion
        跳板机，写成 用户@地址:端口。
    location
        位置，云厂商和地域或机房。
    """
    desk = desk_of(call)
    customer = desk.owner()
    if name and desk.rows:
        raise UsageError("服务器请写在命令里，或用清单，二选一")
    rows = desk.rows or _typed((name, host, str(port), user, bastion, location), desk)
    servers = await fleet.enlist(customer.id, rows, desk.unit)
    run = await fleet.onboarding(customer.id, desk.unit)
    if run:
        await fleet.join(servers, run, desk.unit)
    now = desk.clock.now()
    detail = {"customer": customer.name, "servers": "、".join(s.name for s in servers)}
    await desk.unit.audit.add(now, call.message.sender.name, "server-add", detail)
    words = f"已添加 {len(servers)} 台：{detail['servers'][:500]}"
    if run:
        words += "。本次接入还没走到的步骤会包含它们；已完成的步骤不会重做"
    return say("服务器已添加", words, tone=Tone.GOOD)


@command(
    "/server remove",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/server remove web-02",),
    group="服务器",
)
async def remove(name: Verbatim, *, call: Call) -> Card:
    """移除一台服务器，连同已存的密码。

    Parameters
    ----------
    name
        名称，见 /server list。
    """
    desk = desk_of(call)
    customer = desk.owner()
    now = desk.clock.now()
    # Another book than the onboarding may be on the server just now: none is asked which.
    runs = await desk.unit.runs.of(customer.id)
    if any(run.status is RunStatus.WALKING for run in runs):
        raise UsageError(fleet.BUSY)
    there = await desk.unit.servers.of(customer.id)
    if not await fleet.dismiss(name, customer.id, now, desk.unit):
        raise UsageError(f"没有服务器「{name}」：请用 /server list 查看名称")
    gone, by = next(server for server in there if server.name == name), call.message.sender
    if run := await retire.begin(customer, gone, by, now, desk.unit):
        desk.begun.append(run)
    detail = {"customer": customer.name, "server": name}
    await desk.unit.audit.add(now, call.message.sender.name, "server-remove", detail)
    return say(
        "服务器已移除", f"{name}：登记、密码和 Agent 令牌已删除，服务器上的 Agent 程序请自行卸载"
    )


@command(
    "/server list",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/server list",),
    group="服务器",
)
async def list_(*, call: Call) -> Card:
    """列出本群客户的服务器。"""
    desk = desk_of(call)
    servers = await desk.unit.servers.of(desk.owner().id)
    if not servers:
        return say("服务器", "还没有服务器：请输入 /server add")
    rows = tuple(_row(server) for server in servers)
    return Card(
        f"服务器（{len(rows)} 台）",
        blocks=(Table(("名称", "地址", "sudo", "Agent", "主机密钥指纹"), rows),),
    )


@command("/server template", role=Role.ENGINEER, examples=("/server template",), group="服务器")
async def template(*, call: Call) -> Card:
    """发送服务器清单的 Excel 模板。"""
    desk = desk_of(call)
    chat = call.message.chat
    file = await desk.documents.write(Paper("server-template", "服务器清单模板.xlsx"))
    await desk.unit.outbox.put(
        Delivery(
            0,
            f"template:{chat.platform}:{call.message.id}",
            chat,
            Lane.NORMAL,
            DeliveryState.WAITING,
            desk.clock.now(),
            file_name=file.name,
            file=file.content,
        )
    )
    return say("服务器清单模板", "填好后连同 /server add 一起上传；需要密码时可加「密码」列")


@command(
    "/server key",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/server key",),
    group="服务器",
)
async def key(*, call: Call) -> Card:
    """给出一行 SSH 公钥，客户粘贴到各服务器的 authorized_keys 即可免密码。"""
    desk = desk_of(call)
    customer = desk.owner()
    line = await credentials.key_line(customer, desk.keys, desk.unit)
    now, by = desk.clock.now(), call.message.sender.name
    await desk.unit.audit.add(now, by, "server-key", {"customer": customer.name})
    return say("SSH 公钥", f"请把下面一行加到各服务器的 ~/.ssh/authorized_keys：\n{line}")


@command(
    "/server password",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/server password", "/server password web-01 web-02"),
    group="服务器",
)
async def password(servers: Rest = "", *, call: Call) -> Card:
    """给出一次性链接，登记服务器的登录、sudo 和跳板机密码。

    Parameters
    ----------
    servers
        服务器名称，用空格分开；不写就是全部。
    """
    desk = desk_of(call)
    names = tuple(filter(None, re.split(r"[\s,，、]+", servers)))
    customer, by = desk.owner(), call.message.sender
    run = await credentials.ask_servers(customer, names, by, desk.clock.now(), desk.unit)
    desk.begun.append(run)
    return say("登记密码", "一次性链接和验证码将私信给您，不要发到群里", tone=Tone.WORKING)


def _words(first: str) -> list[str]:
    return unicodedata.normalize("NFKC", first).casefold().split()


def _is_bare(first: str) -> bool:
    return _words(first)[-2:] == ADD.split()


def _typed(cells: tuple[str, ...], desk: Desk) -> tuple[ServerRow, ...]:
    """Read what was typed as a sheet of one row: the same checks, the same words."""
    if not cells[0] or not cells[1]:
        raise UsageError(
            "请写名称和地址，例如 /server add web-02 10.0.0.12；"
            "多台请从下一行起粘贴清单，或附上文件（/server template 有模板）"
        )
    sheet = io.StringIO(newline="")
    csv.writer(sheet, quoting=csv.QUOTE_ALL).writerows((TITLES, cells))
    return desk.documents.read_servers(sheet.getvalue())


def _row(server: Server) -> tuple[str, ...]:
    via = f"，经 {server.bastion}" if server.bastion else ""
    return (
        server.name,
        f"{server.user}@{server.host}:{server.port}{via}",
        ROOTS.get(server.sudo, "未检查"),
        "已登记" if server.agent_token else "未安装",
        fleet.fingerprint(server.host_key) or "未连接过",
    )


SERVER = (add, remove, list_, template, key, password)

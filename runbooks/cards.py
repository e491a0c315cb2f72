"""The living card of a run: drawn from the present state, whenever its turn comes.

A button carries the line and the attempt that it was drawn for, so a press on an old card is
known as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapters.card import (
    Block,
    Button,
    Buttons,
    Card,
    Fields,
    Form,
    Input,
    Style,
    Table,
    Text,
    Tone,
    say,
)
from adapters.port import UsageError
from adapters.words import Role
from runbooks.book import Each, Gate, Runbook, checklist, failures, progress
from runbooks.press import action
from runbooks.walk import STALE, load
from storage.records import Customer, HostLine, Line, LineState, Run, RunStatus
from storage.runs import OPEN
from storage.store import Unit

SHOWN = 20
"""Failing hosts named on a card, one by one; the rest are counted."""

CUSTOMERS = 20
"""Customers on the operations group's card: in Chinese, with the longest notes, they are within the
smallest card that a platform takes."""

NAME = 30
"""Characters of a customer's name there."""

CONSOLE = "见控制台"
"""Where all customers and their runs are."""

PASSWORD = "password"  # noqa: S105 - a verb
"""Of the button that asks for passwords by a one-time link."""

CURED = frozenset({"ssh_auth", "sudo"})
"""What a new password may cure."""

TONES = {
    RunStatus.WALKING: Tone.WORKING,
    RunStatus.WAITING: Tone.WARNING,
    RunStatus.STUCK: Tone.BAD,
    RunStatus.DONE: Tone.GOOD,
    RunStatus.CANCELLED: Tone.NEUTRAL,
}

WHO = {Role.CUSTOMER: "客户", Role.ENGINEER: "工程师", Role.LEAD: "负责人"}
"""Whose turn it is at a gate."""

CURES = {
    "network": "请确认网络连通、安全组放行 SSH 端口；内网主机请登记跳板机",
    "ssh_auth": "请确认用户名，并用 /server password 登记密码或 /server key 粘贴公钥；该用户要允许 SSH 登录",
    "host_key": "主机密钥与首次连接不同：请核实是否重装，确认后重新登记该服务器",
    "sudo": "请为该用户开通 sudo，或用 /server password 登记 sudo 密码",
    "disk": "请清理磁盘后重试",
    "clock": "请启用 NTP 对时后重试",
    "monitor": "监控实例没有正常回答：请确认它在运行、地址和账号可用，恢复后重试，已完成的不会重做",
    "silent": "Agent 已装但没有数据：请确认服务器能访问监控地址，或使用离线安装包",
}
"""By fault: the SOP's cures, in words an engineer can act on."""


async def drawn(books: Mapping[str, Runbook[Any]], number: str, unit: Unit) -> Card:
    """Return a run's card as it is now."""
    run = await unit.runs.get(number)
    if run is None:
        raise UsageError(STALE)
    lines = await unit.lines.of(number)
    hosts = await unit.lines.hosts(number, run.line)
    customer = await unit.customers.get(run.customer)
    book = books[run.book]
    shown = card(book, run, lines, hosts, customer.name if customer else "")
    line = book.line(run.line) if run.line else None
    if run.status is RunStatus.WAITING and isinstance(line, Gate) and line.draw:
        return replace(shown, blocks=shown.blocks + await line.draw(load(book, run), run, unit))
    if run.status is RunStatus.DONE and book.closing:
        return replace(shown, blocks=shown.blocks + await book.closing(load(book, run), run, unit))
    return shown


async def operations(books: Mapping[str, Runbook[Any]], unit: Unit) -> Card:
    """Return the operations group's card."""
    found: list[tuple[Customer, Run | None]] = []
    for customer in await unit.customers.all():
        runs = await unit.runs.of(customer.id)
        # What is open says more than a link that was sent meanwhile.
        shown = next((run for run in runs if run.status in OPEN), runs[0] if runs else None)
        found.append((customer, shown))
    return overview(books, found)


def overview(
    books: Mapping[str, Runbook[Any]], found: Sequence[tuple[Customer, Run | None]]
) -> Card:
    """Return one line for each customer with its run, what somebody must see to first; beyond
    CUSTOMERS the rest are counted."""
    if not found:
        return say("客户一览", "还没有客户。输入 /onboard 加公司名，登记第一家。")
    ordered = sorted(found, key=lambda each: _urgency(each[1]))
    rows = tuple((one.name[:NAME], *_standing(books, run)) for one, run in ordered[:CUSTOMERS])
    blocks: list[Block] = [Table(("客户", "状态", "当前步骤", "说明"), rows, CONSOLE)]
    if rest := ordered[CUSTOMERS:]:
        open_ = sum(run is not None and run.status in OPEN for _, run in rest)
        busy = f"（{open_} 家进行中）" if open_ else ""
        blocks.append(Text(f"另有 {len(rest)} 家{busy}，{CONSOLE}", Style.QUIET))
    return Card("客户一览", Tone.NEUTRAL, tuple(blocks))


def _urgency(run: Run | None) -> int:
    """Return how soon somebody should look: what stopped, what waits, what goes on, all others."""
    order = (RunStatus.STUCK, RunStatus.WAITING, RunStatus.WALKING)
    return order.index(run.status) if run and run.status in order else len(order)


STATES = {
    RunStatus.WALKING: "🔄 进行中",
    RunStatus.WAITING: "⏳ 等待确认",
    RunStatus.STUCK: "❌ 已停下",
    RunStatus.DONE: "✅ 完成",
    RunStatus.CANCELLED: "已取消",
}


def _standing(books: Mapping[str, Runbook[Any]], run: Run | None) -> tuple[str, str, str]:
    if run is None:
        return ("—", "", "")
    line = books[run.book].line(run.line).title if run.line else ""
    return (STATES[run.status], line, run.note[:60])


def card(
    book: Runbook[Any],
    run: Run,
    lines: Mapping[str, Line],
    hosts: Mapping[str, HostLine],
    customer: str,
) -> Card:
    """Return the card of a run: progress, checklist, failing hosts with a cure, and buttons."""
    case = load(book, run)
    blocks: list[Block] = [
        progress(book, case, run, lines),
        _times(book, run),
        checklist(book, case, lines),
        *_failing(hosts),
    ]
    if run.note:
        blocks.append(Text(run.note, Style.STRONG))
    if run.fault in CURES:
        blocks.append(Text(CURES[run.fault], Style.QUIET))
    if buttons := _buttons(book, run):
        blocks.append(Buttons(buttons))
    if run.status is RunStatus.STUCK:
        reason = Input("reason", "跳过的原因", hint="负责人填写，会写进验收报告", required=True)
        blocks.append(Form(action("skip", run), (reason,), "跳过这一步"))
    return Card(f"{book.title} · {customer}", TONES[run.status], tuple(blocks))


def log_of(run: Run, lines: Mapping[str, Line], hosts: Mapping[str, HostLine]) -> str:
    """Return the log of a run as text: every line, then every host of the present line."""
    parts = [
        f"流程 {run.book} {run.id}，{STATES[run.status]}，{run.updated_at:%Y-%m-%d %H:%M:%S %Z}"
    ]
    for line in sorted(lines.values(), key=lambda line: line.started_at):
        end = f"{line.ended_at:%H:%M:%S}" if line.ended_at else "…"
        words = line.note or line.proof
        parts.append(f"{line.started_at:%H:%M:%S}-{end} {line.key} {line.state} {words}")
    for name, host in hosts.items():
        parts.append(f"{host.at:%H:%M:%S} {run.line}/{name} {host.state} {host.fault} {host.note}")
    return "\n".join(parts) + "\n"


def _times(book: Runbook[Any], run: Run) -> Fields:
    used = int((run.updated_at - run.started_at).total_seconds())
    expected = sum(phase.minutes for phase, _ in book.phases())
    pairs = [("已用", _clock(used))]
    line = book.line(run.line) if run.line else None
    if run.status is RunStatus.WAITING and isinstance(line, Gate):
        pairs.append(("轮到", f"{WHO[line.by]}：{line.title}"))
    if expected and run.status is not RunStatus.DONE:
        pairs.append(("预计", f"{expected} 分钟（不含等待确认）"))
    return Fields(tuple(pairs))


def _clock(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} 小时 {rest // 60} 分" if hours else f"{rest // 60} 分 {rest % 60} 秒"


def _failing(hosts: Mapping[str, HostLine]) -> list[Block]:
    groups = failures(hosts)
    if not groups:
        return []
    done = sum(line.state is LineState.DONE for line in hosts.values())
    rows = [(host, group.note) for group in groups for host in group.hosts]
    blocks: list[Block] = [
        Fields((("已完成", f"{done} 台"), ("失败", f"{len(rows)} 台"))),
        Table(("服务器", "原因"), tuple(rows[:SHOWN])),
    ]
    if len(rows) > SHOWN:
        blocks.append(Text(f"另有 {len(rows) - SHOWN} 台失败，原因同类", Style.QUIET))
    return blocks


def _buttons(book: Runbook[Any], run: Run) -> tuple[Button, ...]:
    if not run.line:
        return ()
    line = book.line(run.line)

    if run.status is RunStatus.WAITING and isinstance(line, Gate) and not line.draw:
        sure = f"确定：{line.title}？"
        return (Button(line.title, action("yes", run), Style.PRIMARY, confirm=sure),)
    if run.status is RunStatus.STUCK:
        label = "重试失败主机" if isinstance(line, Each) else "重试"
        log = Button("查看日志", action("log", run))
        retry = Button(label, action("retry", run), Style.PRIMARY)
        asks = (Button("登记密码", action(PASSWORD, run)),) if run.fault in CURED else ()
        return (retry, *asks, log)
    return ()

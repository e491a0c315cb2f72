"""The console: what the bot remembers, to be read. Nothing can be pressed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from nicegui import ui

from bot.web.alert_list import PATH
from runbooks.book import Runbook
from runbooks.kit import Kit
from storage.records import (
    TIER_NAMES,
    AuditEntry,
    Customer,
    Delivery,
    DeliveryState,
    Line,
    LineState,
    Run,
    RunStatus,
)
from storage.store import Unit

SHOWN = 100
"""Rows of the deliveries and of the audit trail that are shown, the newest first."""

SHORT = 14
"""Characters of a cell that is never broken: a time, a state, a name."""

RUN_STATES = {
    RunStatus.WALKING: "进行中",
    RunStatus.WAITING: "等待确认",
    RunStatus.STUCK: "已停下",
    RunStatus.DONE: "完成",
    RunStatus.CANCELLED: "已取消",
}
LINE_STATES = {
    LineState.DOING: "进行中",
    LineState.DONE: "完成",
    LineState.SKIPPED: "已跳过",
    LineState.WAITING: "等待",
    LineState.FAILED: "失败",
}
DELIVERY_STATES = {
    DeliveryState.WAITING: "待发送",
    DeliveryState.SENT: "已发送",
    DeliveryState.FAILED: "失败",
    DeliveryState.DOUBT: "不确定",
    DeliveryState.WITHDRAWN: "已撤回",
}

Row = tuple[str, ...]
Table = tuple[Row, Sequence[Row]]
"""The titles of the columns, and the rows."""

AT_ONCE = 2
"""Looks into the database at the same time: the others of its readers are for alarms, whoever looks
at pages meanwhile."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a page shows, read in one look."""

    customers: Sequence[Customer]
    runs: Sequence[Run]
    lines: Mapping[str, Mapping[str, Line]]
    """By the run's id, then by the line's key."""
    deliveries: Sequence[Delivery]
    trail: Sequence[AuditEntry]
    broken: int | None
    """The first entry of the audit trail that does not follow from those before it."""


async def facts(unit: Unit) -> Facts:
    """Read what the console shows."""
    customers = await unit.customers.all()
    runs = [run for customer in customers for run in await unit.runs.of(customer.id)]
    return Facts(
        customers,
        runs,
        {run.id: await unit.lines.of(run.id) for run in runs},
        await unit.outbox.latest(SHOWN),
        await unit.audit.latest(SHOWN),
        await unit.audit.broken(),
    )


def customers_table(found: Facts, zone: tzinfo) -> Table:
    rows = [
        (c.name, TIER_NAMES[c.tier], c.chat.title if c.chat else "—", _at(c.created_at, zone))
        for c in found.customers
    ]
    return ("客户", "服务等级", "群", "登记时间"), rows


def lines_table(book: Runbook[Any], lines: Mapping[str, Line], zone: tzinfo) -> Table:
    """Return the lines that were begun, in the book's order, each with its proof."""
    known = [(row.title, lines[row.key]) for row in book.lines if row.key in lines]
    rows = [
        (
            title,
            LINE_STATES[line.state],
            line.note or line.proof,
            line.by.name if line.by else "",
            _at(line.started_at, zone),
            _at(line.ended_at, zone),
        )
        for title, line in known
    ]
    return ("步骤", "状态", "证据", "操作人", "开始", "结束"), rows


def deliveries_table(found: Facts, zone: tzinfo) -> Table:
    rows = [
        (
            _at(d.at, zone),
            d.chat.title or d.chat.id,
            d.file_name or ("实时卡片" if d.living else "呼叫" if d.ring else "卡片"),
            DELIVERY_STATES[d.state],
            _at(d.sent_at, zone),
            d.reason,
        )
        for d in found.deliveries
    ]
    return ("写入", "会话", "内容", "状态", "发出", "原因"), rows


def audit_table(found: Facts, zone: tzinfo) -> Table:
    rows = [
        (
            str(e.id),
            _at(e.at, zone),
            e.actor,
            e.deed,
            "，".join(f"{k}={v}" for k, v in e.detail.items()),
            e.hash[:12],
        )
        for e in found.trail
    ]
    return ("序号", "时间", "操作人", "动作", "详情", "哈希"), rows


def chain_told(found: Facts) -> str:
    """Say whether the audit trail is whole."""
    if found.broken is None:
        return "哈希链完整"
    return f"哈希链在第 {found.broken} 条断开：数据库被改动过，请导出并核查"


def attach(app: FastAPI) -> None:
    """Put NiceGUI on the application, where there is no web chat that has done so."""
    ui.run_with(app, title="Vigilbot", language="zh-CN", show_welcome_message=False)


def mount(kit: Kit, books: Mapping[str, Runbook[Any]], admits: Callable[[Request], bool]) -> None:
    """Show the console at /console to whoever is admitted; others are sent to sign in."""
    zone, room = kit.house.zone, asyncio.Semaphore(AT_ONCE)

    @ui.page("/console", title="Vigilbot 控制台", language="zh-CN")
    async def page(request: Request) -> Response | None:
        if not admits(request):
            return RedirectResponse("/login")
        async with room, kit.store.view() as unit:
            found = await facts(unit)
        _draw(found, books, zone)
        return None


def _draw(found: Facts, books: Mapping[str, Runbook[Any]], zone: tzinfo) -> None:
    ui.colors(primary="#3157d5", positive="#178a4e", negative="#cf3326")
    names = {customer.id: customer.name for customer in found.customers}
    with ui.column().classes("w-full max-w-6xl mx-auto gap-2"):
        with ui.row().classes("items-center w-full justify-between"):
            ui.label("Vigilbot 控制台").classes("text-xl font-semibold")
            ui.link("打开聊天", "/chat")
        _section("客户", customers_table(found, zone))
        with ui.row():
            for customer in found.customers:
                ui.link(f"{customer.name}的告警清单", f"{PATH}/{customer.slug}")
        ui.label("流程").classes("text-lg font-semibold pt-4")
        for run in found.runs:
            book = books[run.book]
            head = f"{names[run.customer]} · {book.title} · {RUN_STATES[run.status]}"
            with ui.expansion(head, value=len(found.runs) == 1).classes("w-full bg-white"):
                ui.label(run.note).classes("text-grey-8 whitespace-pre-wrap")
                _table(lines_table(book, found.lines[run.id], zone))
        _section(f"消息（最近 {SHOWN} 条）", deliveries_table(found, zone))
        _section(f"审计记录（最近 {SHOWN} 条）", audit_table(found, zone))
        tone = "text-positive" if found.broken is None else "text-negative"
        ui.label(chain_told(found)).classes(f"font-semibold {tone}")


def _section(title: str, table: Table) -> None:
    ui.label(title).classes("text-lg font-semibold pt-4")
    _table(table)


def _table(table: Table) -> None:
    titles, rows = table
    columns = [
        {"name": title, "label": title, "field": title, "align": "left"}
        | ({"classes": "whitespace-nowrap", "headerClasses": "whitespace-nowrap"} if short else {})
        for at, title in enumerate(titles)
        for short in [all(len(row[at]) <= SHORT for row in rows)]
    ]
    told = [{"id": n, **dict(zip(titles, row, strict=True))} for n, row in enumerate(rows)]
    ui.table(columns=columns, rows=told, row_key="id").props(
        'flat bordered dense wrap-cells no-data-label="还没有"'
    ).classes("w-full")


def _at(instant: datetime | None, zone: tzinfo) -> str:
    return f"{instant.astimezone(zone):%m-%d %H:%M:%S}" if instant else ""

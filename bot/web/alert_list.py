"""The full list of what fires for a customer, as a page of the console: filtered, in pages, no script.

The console's account is our own people's, who may see every customer; nobody else is let in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from html import escape
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from adapters.card import Text
from adapters.words import Severity
from bot.web.links import HEADERS, STYLE
from runbooks.alerting import quiet, truncation
from runbooks.alerting.incident_cards import NAMES, SIGNS
from runbooks.kit import House, Kit
from storage.listing import Listed, Wanted
from storage.records import Customer, HeldAlert, Truncation

PATH = "/console/alerts"
ROWS = 100
"""Alerts of a page."""

DROPPED = timedelta(days=1)
"""How long it stands here that an alert was not told."""

LONGEST = 100
"""Characters of a filter."""

SHORT = 8
"""Digits that no number of a page has."""

COLUMNS = ("级别", "规则", "服务器", "开始于", "内容", "告警组", "隐藏")
NOT_FOUND = 404
WIDE = ".wide{max-width:80em}.wide td{word-break:break-word}"


def router(kit: Kit, admits: Callable[[Request], bool]) -> APIRouter:
    """Return the page; who is not admitted is sent to sign in, and learns of no customer."""
    pages = APIRouter(prefix=PATH)

    @pages.get("/{slug}")
    async def look(
        slug: str,
        request: Request,
        severity: str = "",
        rule: str = "",
        host: str = "",
        page: str = "1",
    ) -> Response:
        if not admits(request):
            return RedirectResponse("/login")
        wanted = Wanted(_severity(severity), rule.strip()[:LONGEST], host.strip()[:LONGEST])
        number = int(page) if page.isascii() and page.isdecimal() and len(page) < SHORT else 1
        now = kit.clock.now()
        async with kit.store.view() as unit:
            customer = next((c for c in await unit.customers.all() if c.slug == slug), None)
            if customer is None:
                return _told(NOT_FOUND, "没有这个客户", "")
            total = await unit.listing.count(customer.id, wanted)
            number = min(max(1, number), _pages(total))
            offset = (number - 1) * ROWS
            rows = await unit.listing.page(customer.id, ROWS, offset, wanted)
            cut = await unit.truncations.of(customer.id, now - truncation.REMEMBERED)
            heard = await unit.heard.of(customer.id)
            dropped = await unit.held.dropped(customer.id, now - DROPPED)
        silent = quiet.lines(heard, heard, now, kit.house.sources)
        body = (
            _form(wanted)
            + _cut(cut, kit.house)
            + _lines(silent)
            + _found(customer, wanted, total, number)
        )
        body += _table(rows, kit.house) + _dropped(dropped, kit.house)
        return _told(200, f"告警清单：{customer.name}", body)

    return pages


def _severity(text: str) -> Severity | None:
    return next((each for each in Severity if str(each) == text), None)


def _pages(total: int) -> int:
    return max(1, -(-total // ROWS))


def _form(wanted: Wanted) -> str:
    options = "".join(
        f'<option value="{each}"{" selected" if each is wanted.severity else ""}>'
        f"{NAMES[each]}</option>"
        for each in reversed(Severity)
    )
    return (
        '<form method="get"><select name="severity" aria-label="级别">'
        f'<option value="">全部级别</option>{options}</select> '
        f'<input name="rule" placeholder="规则包含" value="{escape(wanted.rule)}"> '
        f'<input name="host" placeholder="服务器包含" value="{escape(wanted.host)}"> '
        "<button>筛选</button></form>"
    )


def _cut(cut: Sequence[Truncation], house: House) -> str:
    return _lines(truncation.lines(cut, house.sources))


def _lines(lines: Sequence[Text]) -> str:
    return "".join(f"<p>{escape(line.text)}</p>" for line in lines)


def _dropped(dropped: Sequence[HeldAlert], house: House) -> str:
    """Say what the monitor posted and did not show any more when it was to be told: perhaps it was
    rolled back there, perhaps it had ended and the notice of that was lost."""
    told = [
        f"<li>{at.astimezone(house.zone):%m-%d %H:%M} {escape(each.title)}</li>"
        for each in dropped
        if (at := each.dropped_at)
    ]
    head = "<p>24 小时内监控报过、到期时已不在触发，因此没有通知：</p>"
    return f"{head}<ul>{''.join(told)}</ul>" if told else ""


def _found(customer: Customer, wanted: Wanted, total: int, number: int) -> str:
    kept = {"severity": str(wanted.severity or ""), "rule": wanted.rule, "host": wanted.host}

    def link(to: int, text: str) -> str:
        asked = urlencode({**{k: v for k, v in kept.items() if v}, "page": to})
        return f'<a href="{escape(f"{PATH}/{customer.slug}?{asked}")}">{text}</a>'

    parts = [f"触发中 {total:,} 条，第 {number} / {_pages(total)} 页"]
    if number > 1:
        parts += [link(1, "首页"), link(number - 1, "上一页")]
    if number < _pages(total):
        parts += [link(number + 1, "下一页"), link(_pages(total), "末页")]
    return f"<p>{' · '.join(parts)}</p>"


def _table(rows: Sequence[Listed], house: House) -> str:
    head = "".join(f"<th>{title}</th>" for title in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in _cells(row, house)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>" if rows else "<p>没有符合的告警</p>"


def _cells(row: Listed, house: House) -> tuple[str, ...]:
    title = escape(row.title or row.text)
    if row.url.startswith(("http://", "https://")):
        title = f'<a href="{escape(row.url)}" rel="noreferrer">{title or "查看"}</a>'
    return (
        f"{SIGNS[row.severity]} {NAMES[row.severity]}",
        escape(row.rule),
        escape(row.host),
        f"{row.since.astimezone(house.zone):%m-%d %H:%M:%S}",
        title,
        f"#{row.incident}" if row.incident else "",
        escape(row.hidden),
    )


def _told(status: int, title: str, body: str) -> HTMLResponse:
    html = (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>{escape(title)}'
        f'</title><meta name="viewport" content="width=device-width"><style>{STYLE}{WIDE}</style>'
        f'</head><body class="wide"><h1>{escape(title)}</h1>{body}'
        '<p><a href="/console">控制台</a></p></body></html>'
    )
    return HTMLResponse(html, status, HEADERS)

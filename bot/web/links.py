"""One-time link pages: a signature, an account, or passwords, of somebody who is not in the chat.

No cookie, no session, no script: whoever posts must hold the address and the code, so a forged
form of another site can do nothing. Looking at a page never uses the link up.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from adapters.port import UsageError
from adapters.words import Person
from runbooks import credentials, hook_address
from runbooks import evidence as proofs
from runbooks import walk as walking
from runbooks.book import Decision, Runbook
from runbooks.case import Onboarding
from runbooks.kit import Kit
from runbooks.steps import acceptance
from runbooks.steps.tickets import LINKS
from storage.records import OneTimeLink, Run, RunStatus
from storage.store import Unit
from storage.trust import TRIES, Opening, standing

Go = Callable[[Run], Awaitable[None]]
Books = Mapping[str, Runbook[Any]]

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
}

SAID = {
    Opening.UNKNOWN: (404, "没有这个链接：请向工程师要新的链接"),
    Opening.USED: (410, "这个链接已经用过：每个链接只能用一次"),
    Opening.EXPIRED: (410, "这个链接已过期：请向工程师要新的链接"),
    Opening.LOCKED: (423, f"验证码错了 {TRIES} 次，链接已锁定：请向工程师要新的链接"),
    Opening.WRONG: (403, "验证码不对：请核对工程师在电话里告诉您的 6 位数字"),
}

CONFLICT = 409

ASKED = frozenset({credentials.SERVERS, credentials.MONITOR})
"""What a link may be for that takes passwords."""

STYLE = (
    "body{font:16px/1.6 sans-serif;max-width:46em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{border:1px solid #bbb;padding:.3em .5em;text-align:left}"
    "code{word-break:break-all}button,input,textarea{font:inherit;padding:.4em;margin:.3em 0}"
)


def router(kit: Kit, books: Books, go: Go) -> APIRouter:
    """Return the pages; `go` walks a run that a signature has set walking."""
    pages = APIRouter(prefix=LINKS)

    @pages.get("/{token}")
    async def look(token: str) -> HTMLResponse:
        async with kit.store.view() as unit:
            link = await unit.links.get(token)
            how = standing(link, kit.clock.now())
            if link is None or how is not Opening.OPENED:
                return _refused(how)
            return await _shown(books, link, unit)

    @pages.post("/{token}")
    async def post(
        request: Request,
        token: str,
        code: Annotated[str, Form()] = "",
        verb: Annotated[str, Form()] = "",
        reason: Annotated[str, Form()] = "",
        lines: Annotated[list[str] | None, Form()] = None,
    ) -> HTMLResponse:
        now = kit.clock.now()
        run: Run | None = None
        try:
            async with kit.store.unit() as unit:
                link = await unit.links.get(token)
                how = await unit.links.open(token, code.strip(), now)
                if link is None or how is not Opening.OPENED:
                    return _refused(how)
                if link.purpose == "handover":
                    return await _handed_over(kit, link, unit)
                if link.purpose == hook_address.PURPOSE:
                    return await _address(kit, link, unit)
                if link.purpose in ASKED:
                    return await _kept(await request.form(), link, now, unit)
                values = {"reason": reason, "lines": ",".join(lines or ())}
                run = await _signed(kit, books, link, unit, verb, values)
        except UsageError as error:
            # The link was not used up: what the unit had written is undone.
            return _page("没有提交", f"<p>{escape(str(error))}</p>", CONFLICT)
        if run.status is RunStatus.WALKING:
            await go(run)
        return _page("已提交", "<p>已记录，谢谢。可以关闭本页。</p>")

    return pages


async def _shown(books: Books, link: OneTimeLink, unit: Unit) -> HTMLResponse:
    """Show what an open link is for; that alone changes nothing."""
    if link.purpose == "handover":
        return _page("领取登录账号", _account_form())
    if link.purpose == hook_address.PURPOSE:
        return _page("领取告警接入地址", _address_form())
    if link.purpose in ASKED:
        return _page("登记密码", await _password_form(link, unit))
    return _page("签字验收", await _evidence(books, link, unit))


async def _signed(
    kit: Kit, books: Books, link: OneTimeLink, unit: Unit, verb: str, values: Mapping[str, str]
) -> Run:
    subject = json.loads(link.subject)
    run = await _at_the_gate(subject["run"], unit)
    name = subject["approver"]
    by = Person(acceptance.LINK, name, name)
    if verb.partition("-")[0] not in {"sign", "refuse"}:
        raise UsageError(walking.STALE)
    decision = Decision(unit, run, by, kit.clock.now(), verb, values)
    return await walking.decide(books, decision)


async def _at_the_gate(number: str, unit: Unit) -> Run:
    run = await unit.runs.get(number)
    if run is None or run.line != "sign" or run.status is not RunStatus.WAITING:
        raise UsageError("现在没有等待签字的检查单：可能已经签完，或正在重新检查，请稍后再打开")
    return run


async def _handed_over(kit: Kit, link: OneTimeLink, unit: Unit) -> HTMLResponse:
    """Show the account once, and forget its password."""
    subject = json.loads(link.subject)
    password = await unit.vault.get(subject["secret"])
    if password is None:
        raise UsageError("密码已经领取过：请向工程师要求重置")
    await unit.vault.drop(subject["secret"])
    detail = {"customer": str(subject["customer"]), "email": subject["email"]}
    await unit.audit.add(kit.clock.now(), "one-time link", "handed-over", detail)
    rows = (
        ("登录地址", subject["url"]),
        ("账号", subject["email"]),
        ("初始密码", password.reveal()),
    )
    body = _table(("项目", "内容"), rows)
    return _page("登录账号", f"{body}<p>本页只显示这一次：请立即保存，首次登录后修改密码。</p>")


async def _address(kit: Kit, link: OneTimeLink, unit: Unit) -> HTMLResponse:
    """Show a monitor's address once, and forget its token."""
    subject, now = json.loads(link.subject), kit.clock.now()
    name, address = await hook_address.claim(subject, now, kit.house, unit)
    body = _table(("用于", "地址"), ((name, address),))
    said = "<p>本页只显示这一次：请立即填进监控系统。地址里有密钥，不要发到群里。</p>"
    return _page("告警接入地址", body + said)


async def _password_form(link: OneTimeLink, unit: Unit) -> str:
    fields = await credentials.fields_of(link.purpose, json.loads(link.subject), unit)
    inputs = "".join(
        f'<p><label>{escape(field.label)}<br><input type="password" name="{escape(field.name)}" '
        f'maxlength="{credentials.LONGEST}" autocomplete="off"></label></p>'
        for field in fields
    )
    return (
        "<p>只填需要登记的项，其余留空。提交后直接加密保存，不会再显示，也不会出现在群里。</p>"
        f"{_form(inputs, '<button>提交</button>')}"
    )


async def _kept(
    typed: Mapping[str, object], link: OneTimeLink, now: datetime, unit: Unit
) -> HTMLResponse:
    """Take the passwords straight into the vault; the page shows none of them again."""
    texts = {name: value for name, value in typed.items() if isinstance(value, str)}
    count = await credentials.keep(link.purpose, json.loads(link.subject), texts, now, unit)
    return _page("已提交", f"<p>已登记 {count} 项，谢谢。可以关闭本页。</p>")


async def _evidence(books: Books, link: OneTimeLink, unit: Unit) -> str:
    subject = json.loads(link.subject)
    try:
        run = await _at_the_gate(subject["run"], unit)
    except UsageError as error:
        return f"<p>{escape(str(error))}</p>"
    case: Onboarding = walking.load(books[run.book], run)
    evidence = await acceptance.evidence_of(case, run.id, unit)
    if evidence is None:
        return "<p>没有可签的检查单：请联系工程师。</p>"
    mark = proofs.short(case.evidence)
    rows = tuple((i.title, str(i.result), i.evidence, proofs.when(i.at)) for i in evidence.items)
    skipped = tuple((s.title, s.reason, s.by) for s in evidence.skipped)
    options = acceptance.choices(await unit.lines.of(run.id))
    boxes = "".join(
        f'<label><input type="checkbox" name="lines" value="{escape(key)}"> {escape(title)}'
        "</label><br>"
        for key, title in options
    )
    sign = f'<button name="verb" value="sign-{mark}">签字验收</button>'
    why = '<p><textarea name="reason" rows="3" cols="50" placeholder="原因"></textarea></p>'
    refuse = f'<button name="verb" value="refuse-{mark}">退回</button>'
    return "".join(
        (
            f"<p>{escape(case.company)}，验收人：{escape(subject['approver'])}</p>",
            _table(("检查项", "结果", "证据", "时间"), rows),
            _table(("跳过的步骤", "原因", "决定人"), skipped) if skipped else "",
            f"<p>证据哈希：<code>{escape(case.evidence)}</code></p>",
            f"<h2>同意验收</h2>{_form(sign)}",
            f"<h2>不通过</h2>{_form(why, f'<p>要重做的步骤：<br>{boxes}</p>', refuse)}",
        )
    )


def _account_form() -> str:
    return (
        "<p>账号和初始密码只显示一次。请输入工程师在电话里告诉您的 6 位验证码。</p>"
        f"{_form('<button>显示账号</button>')}"
    )


def _address_form() -> str:
    return (
        "<p>地址只显示一次，请在填写监控系统时打开。请输入私信里的 6 位验证码。</p>"
        f"{_form('<button>显示地址</button>')}"
    )


def _form(*parts: str) -> str:
    return f'<form method="post">{_code_input()}{"".join(parts)}</form>'


def _code_input() -> str:
    return (
        '<label>验证码 <input name="code" inputmode="numeric" maxlength="6" size="8" '
        'autocomplete="off" required></label> '
    )


def _table(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _refused(how: Opening) -> HTMLResponse:
    status, said = SAID[how]
    return _page("链接", f"<p>{escape(said)}</p>", status)


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    html = (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>{escape(title)}'
        f'</title><meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HTMLResponse(html, status, HEADERS)

"""The page of a form, where a platform's card cannot ask for all of it.

The address is a secret that one person was shown in answer to their press: whoever holds it is that
person, for half an hour and one form that is taken. Looking at the page uses nothing up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol, runtime_checkable

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.datastructures import UploadFile

from adapters.card import Entry, Form, Input
from adapters.port import OutsideError, UsageError
from adapters.words import File
from bot.web.links import HEADERS, STYLE
from runbooks.kit import Kit

MOST = 25_000_000
"""Bytes of everything that is posted."""
GONE, TOO_LARGE, REFUSED, UNAVAILABLE = 410, 413, 409, 503
GONE_WORDS = "这个链接已经用过或已过期：请在群里重新按一次按钮"
TYPES = {Entry.NUMBER: "number", Entry.DATE: "date", Entry.SECRET: "password", Entry.FILE: "file"}


@runtime_checkable
class Paged(Protocol):
    """A platform whose longer forms are asked on a page of ours."""

    async def asked(self, token: str) -> Form | None: ...

    async def filled(
        self, token: str, values: Mapping[str, str], files: Sequence[File]
    ) -> tuple[bool, str]: ...


def router(kit: Kit) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/forms")

    @pages.get("/{token}")
    async def look(token: str) -> HTMLResponse:
        try:
            found = await _found(kit, token)
        except OutsideError:
            return _later()
        return _page(found[1].submit, _form(found[1], {})) if found else _gone()

    @pages.post("/{token}")
    async def post(token: str, request: Request) -> HTMLResponse:
        if int(request.headers.get("content-length") or MOST + 1) > MOST:
            return _page("太大", "<p>文件太大：最多 25 MB</p>", TOO_LARGE)
        try:
            found = await _found(kit, token)
            if found is None:
                return _gone()
            platform, form = found
            values, files = await _typed(form, request)
            ok, text = await platform.filled(token, values, files)
        except UsageError as error:
            ok, text = False, str(error)
        except OutsideError:
            return _later()
        if ok:
            return _page("已提交", f"<p>{escape(text)}。可以关闭本页，回到群里查看。</p>")
        told = "".join(f"<p role='alert'>{escape(line)}</p>" for line in text.splitlines())
        return _page("没有提交", told + _form(form, values), REFUSED)

    return pages


async def _found(kit: Kit, token: str) -> tuple[Paged, Form] | None:
    """Return the platform that asks on this page, and what it asks."""
    for platform in kit.chats.values():
        if isinstance(platform, Paged) and (form := await platform.asked(token)):
            return platform, form
    return None


async def _typed(form: Form, request: Request) -> tuple[dict[str, str], tuple[File, ...]]:
    """Read what was entered; of several choices the values are joined by commas."""
    values: dict[str, str] = {}
    files: list[File] = []
    async with request.form() as posted:
        for each in form.inputs:
            given = posted.getlist(each.name)
            if each.entry is Entry.FILE:
                uploads = [one for one in given if isinstance(one, UploadFile) and one.filename]
                files += [File(one.filename or "", await one.read()) for one in uploads]
            else:
                texts = [one for one in given if isinstance(one, str)]
                # A browser ends a line by CR LF, a chat by LF.
                values[each.name] = ",".join(texts).replace("\r\n", "\n")
    return values, tuple(files)


def _form(form: Form, values: Mapping[str, str]) -> str:
    fields = "".join(_field(each, values.get(each.name, each.value)) for each in form.inputs)
    return (
        f'<form method="post" enctype="multipart/form-data">{fields}'
        f"<p><button>{escape(form.submit)}</button></p></form>"
    )


def _field(each: Input, value: str) -> str:
    name, star = escape(each.name), " *" if each.required else ""
    hint = f"<br><small>{escape(each.hint)}</small>" if each.hint else ""
    head = f"<p><label>{escape(each.label)}{star}{hint}<br>"
    match each.entry:
        case Entry.TEXT:
            box = f'<textarea name="{name}" rows="5" cols="60">{escape(value)}</textarea>'
        case Entry.CHOICE:
            options = [("", ""), *each.options] if not each.required else each.options
            box = f'<select name="{name}">{"".join(_option(o, value) for o in options)}</select>'
        case Entry.CHOICES:
            chosen = value.split(",")
            boxes = "".join(_box(name, option, chosen) for option in each.options)
            return f"<fieldset><legend>{escape(each.label)}{star}{hint}</legend>{boxes}</fieldset>"
        case _:
            kind = TYPES.get(each.entry, "text")
            shown = "" if each.entry in {Entry.SECRET, Entry.FILE} else escape(value)
            more = ' step="any"' if each.entry is Entry.NUMBER else ' autocomplete="off"'
            box = f'<input type="{kind}" name="{name}" value="{shown}" size="50"{more}>'
    return f"{head}{box}</label></p>"


def _option(option: tuple[str, str], value: str) -> str:
    chosen = " selected" if option[0] == value else ""
    return f'<option value="{escape(option[0])}"{chosen}>{escape(option[1])}</option>'


def _box(name: str, option: tuple[str, str], chosen: Sequence[str]) -> str:
    checked = " checked" if option[0] in chosen else ""
    return (
        f'<label><input type="checkbox" name="{name}" value="{escape(option[0])}"{checked}> '
        f"{escape(option[1])}</label> "
    )


def _gone() -> HTMLResponse:
    return _page("链接", f"<p>{GONE_WORDS}</p>", GONE)


def _later() -> HTMLResponse:
    return _page("稍后再试", "<p>暂时处理不了：请过一会儿刷新本页再提交</p>", UNAVAILABLE)


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    html = (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>{escape(title)}'
        f'</title><meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HTMLResponse(html, status, HEADERS)

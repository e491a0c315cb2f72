"""The port `Documents`: Word papers, Excel sheets, and server lists read back."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from pathlib import PurePath

import jinja2
from docxtpl import DocxTemplate

from adapters.documents.reader import read_servers
from adapters.documents.sheets import customer_sheet, server_template
from adapters.documents.templates import template
from adapters.documents.terms import Promises
from adapters.documents.values import plain, prepared, shown, terms_in
from adapters.port import Paper, Permanent, ServerRow
from adapters.words import File

_LONGEST_NAME = 120
NONE: Promises = {}


class OfficeDocuments:
    """Writes .docx and .xlsx files and reads server lists."""

    def __init__(self, promises: Promises = NONE) -> None:
        self._promises = promises

    async def write(self, paper: Paper) -> File:
        """Fill a template in a thread; raises Permanent naming every value that is missing."""
        return await asyncio.to_thread(write, paper, self._promises)

    def read_servers(self, source: File | str) -> tuple[ServerRow, ...]:
        """Read a list of servers; raises UsageError that lists every bad cell."""
        return read_servers(source)


def write(paper: Paper, promises: Promises = NONE) -> File:
    """Fill a template; CPU-bound."""
    values = prepared(paper.template, paper.values)
    if paper.template == "server-template":
        return File(_file_name(paper.file_name, ".xlsx"), server_template(values))
    if paper.template == "customer-sheet":
        content = customer_sheet(values, terms_in(values, promises))
        return File(_file_name(paper.file_name, ".xlsx"), content)
    return File(_file_name(paper.file_name, ".docx"), _docx(paper.template, values, promises))


def _docx(name: str, values: Mapping[str, object], promises: Promises) -> bytes:
    context = {key: _shown(value) for key, value in values.items()}
    if "tier" in values:
        context["terms"] = terms_in(values, promises)
    document = DocxTemplate(io.BytesIO(template(name)))
    rules = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
    try:
        document.render(context, rules, autoescape=True)
    except jinja2.UndefinedError as error:
        raise Permanent(f"文档“{name}”缺少值：{error.message}") from error
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _shown(value: object) -> object:
    if isinstance(value, list):
        return [{key: shown(cell) for key, cell in row.items()} for row in value]
    return shown(value)


def _file_name(name: str, suffix: str) -> str:
    """A name that is only a name, with the suffix that its content has."""
    base = PurePath(plain(name).replace("\n", " ").replace("\\", "/")).name.strip(" .")
    stem = base.removesuffix(suffix)[:_LONGEST_NAME] or "文档"
    return stem + suffix

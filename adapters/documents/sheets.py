"""The Excel sheets. Every text is written as a text, so none can become a formula or a link."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import xlsxwriter

from adapters.documents.columns import COLUMNS, MAX_ROWS, SERVER_SHEET
from adapters.documents.terms import Terms

_LONGEST_CELL = 32_767
_NUMBERS = frozenset({"port", "cpu", "memory_gb", "disk_gb"})


class _Book:
    """A workbook in memory."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._book: Any = xlsxwriter.Workbook(
            self._buffer,
            {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False},
        )
        font = {"font_name": "宋体", "font_size": 11, "valign": "vcenter"}
        self.body = self._book.add_format({**font, "text_wrap": True})
        self.head = self._book.add_format(
            {**font, "bold": True, "bg_color": "#DDEBF7", "border": 1}
        )
        self.title = self._book.add_format({**font, "bold": True, "font_size": 14})

    def sheet(self, name: str) -> Any:
        return self._book.add_worksheet(name)

    def close(self) -> bytes:
        self._book.close()
        return self._buffer.getvalue()

    def put(self, sheet: Any, row: int, column: int, value: object, style: Any = None) -> None:
        style = style or self.body
        if isinstance(value, int | float) and not isinstance(value, bool):
            sheet.write_number(row, column, value, style)
        else:
            sheet.write_string(row, column, str(value)[:_LONGEST_CELL], style)


def server_template(values: Mapping[str, Any]) -> bytes:
    """The sheet a customer fills in."""
    book = _Book()
    _servers(book, values["servers"])
    notes = book.sheet("填写说明")
    notes.set_column(0, 0, 16)
    notes.set_column(1, 1, 60)
    book.put(notes, 0, 0, "列", book.head)
    book.put(notes, 0, 1, "怎样填写", book.head)
    for row, column in enumerate(COLUMNS, 1):
        book.put(notes, row, 0, column.title)
        book.put(notes, row, 1, column.hint)
    for row, text in enumerate(
        (
            f"每行一台服务器，最多 {MAX_ROWS} 台；请不要改动第一行的列名。",
            "请不要在表格中填写密码：密码通过一次性链接提交。",
            "示例：web-01 | 10.0.0.11 | 22 | root | Ubuntu 22.04 | 4 | 16 | 200 | 阿里云 华东1 |",
        ),
        len(COLUMNS) + 2,
    ):
        book.put(notes, row, 1, text)
    return book.close()


def customer_sheet(values: Mapping[str, Any], terms: Terms) -> bytes:
    """What we know of a customer: SOP phase 1."""
    book = _Book()
    sheet = book.sheet("客户信息")
    sheet.set_column(0, 0, 18)
    sheet.set_column(1, 3, 28)
    book.put(sheet, 0, 0, "客户信息表", book.title)
    facts = (
        ("公司名称", values["company"]),
        ("服务等级", f"{terms.name} {terms.price}"),
        ("核心业务系统", values["systems"]),
        ("现有监控方案", values["monitoring"]),
        ("告警通知渠道", values["channels"]),
        ("服务器数量", len(values["servers"])),
    )
    for row, (label, value) in enumerate(facts, 1):
        book.put(sheet, row, 0, label, book.head)
        book.put(sheet, row, 1, value)
    top = len(facts) + 2
    for place, title in enumerate(("联系人", "职责", "电话", "邮箱")):
        book.put(sheet, top, place, title, book.head)
    for row, person in enumerate(values["contacts"], top + 1):
        for place, key in enumerate(("name", "role", "phone", "email")):
            book.put(sheet, row, place, str(person[key]))
    _servers(book, values["servers"])
    return book.close()


def _servers(book: _Book, servers: Sequence[Mapping[str, Any]]) -> None:
    sheet = book.sheet(SERVER_SHEET)
    sheet.freeze_panes(1, 0)
    for place, column in enumerate(COLUMNS):
        sheet.set_column(place, place, column.width)
        title = f"{column.title}*" if column.required else column.title
        book.put(sheet, 0, place, title, book.head)
        sheet.write_comment(0, place, column.hint, {"visible": False})
        check = _CHECKS.get(column.key)
        if check is not None:
            sheet.data_validation(
                1,
                place,
                MAX_ROWS,
                place,
                {
                    **check,
                    "input_title": column.title,
                    "input_message": column.hint,
                    "error_title": "请检查",
                },
            )
    for row, server in enumerate(servers, 1):
        for place, column in enumerate(COLUMNS):
            value = server[column.key]
            book.put(sheet, row, place, value if column.key in _NUMBERS else str(value))


_CHECKS: Mapping[str, Mapping[str, object]] = {
    "name": {
        "validate": "length",
        "criteria": "between",
        "minimum": 1,
        "maximum": 64,
        "error_message": "名称为 1–64 个字符",
    },
    "host": {
        "validate": "length",
        "criteria": "between",
        "minimum": 1,
        "maximum": 253,
        "error_message": "请填写 IP 或域名",
    },
    "port": {
        "validate": "integer",
        "criteria": "between",
        "minimum": 1,
        "maximum": 65535,
        "error_message": "端口为 1–65535 的整数",
    },
    "cpu": {
        "validate": "integer",
        "criteria": "between",
        "minimum": 0,
        "maximum": 4096,
        "error_message": "CPU 为整数核数",
    },
    "memory_gb": {
        "validate": "decimal",
        "criteria": ">=",
        "value": 0,
        "error_message": "内存为以 GB 为单位的数字",
    },
    "disk_gb": {
        "validate": "decimal",
        "criteria": ">=",
        "value": 0,
        "error_message": "磁盘为以 GB 为单位的数字",
    },
}

"""Read a list of servers from a spreadsheet or pasted text: all rows, or the list of bad cells.

An error names rows and columns and never shows what a cell holds: in a shifted row it may be
somebody's password.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import PurePath

import openpyxl

from adapters.documents.columns import (
    COLUMNS,
    MAX_BYTES,
    MAX_ROWS,
    REMARKS,
    SECRET_COLUMNS,
    SERVER_SHEET,
    Column,
)
from adapters.port import ServerRow, UsageError
from adapters.words import NOTHING, File, Secret

MAX_ERRORS = 20
_MAX_UNPACKED = 32_000_000
_MAX_PARTS = 500
_MAX_COLUMNS = 64
_LAST_EXCEL_ROW = 1_048_576
_MAX_PORT = 65_535
_MAX_CORES = 4096
_MAX_GB = 10_000_000.0

Grid = Iterable[tuple[int, Sequence[str]]]
"""Rows by the number that a person sees beside them, each a list of raw cells."""

_NOT_A_SHEET = "这不是可以识别的表格，请发送 CSV 或 XLSX 文件，或直接粘贴服务器清单"
_EMPTY = "没有读到任何服务器，请按模板每行填写一台"
_TOO_MANY = f"服务器超过 {MAX_ROWS} 台，请分成几份发送"
_TOO_BIG = f"清单超过 {MAX_BYTES // 1_000_000} MB，请分成几份发送"

_INTEGER = re.compile(r"([0-9]{1,9})(?:\.0+)?")
_CORES = re.compile(r"([0-9]{1,9})(?:\.0+)?\s*(?:核|c|cores?|vcpus?)?", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(m|g|t)?(?:i?b)?", re.IGNORECASE)
_PER_GB = {"m": 1 / 1024, "g": 1.0, "t": 1024.0}
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
_LOOKS_LIKE_IP = re.compile(r"[0-9.]+")
_ADDRESS = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,9}))?"
)
_BLANKS = re.compile("[ \t\u00a0\u3000]+")
_LINE_END = re.compile("\r\n|\r|\n")
_INVISIBLE = str.maketrans("", "", "\ufeff\u200b")
_CONTROL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def read_servers(source: File | str) -> tuple[ServerRow, ...]:
    """Read every server; raises UsageError that lists the bad cells by row and column."""
    grid = _grid_of_text(source) if isinstance(source, str) else _grid_of_file(source)
    rows = []
    for number, cells in grid:
        if not any(_clean(cell) for cell in cells):
            continue
        rows.append((number, cells))
        if len(rows) > MAX_ROWS + 1:
            raise UsageError(_TOO_MANY)
    if not rows:
        raise UsageError(_EMPTY)
    return _read(rows)


# -- from bytes and text to cells ----------------------------------------------------------------


def _grid_of_text(text: str) -> Grid:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise UsageError(_TOO_BIG)
    lines = _LINE_END.split(text)
    first = next((line for line in lines if _clean(line)), "")
    if "\t" in first.strip():
        return _split(text, "\t")
    if "," in first or "，" in first:
        return _split(text.replace("，", ","), ",")
    if ";" in first or "；" in first:
        return _split(text.replace("；", ";"), ";")
    return [
        (number, [cell for cell in _BLANKS.split(line) if cell])
        for number, line in enumerate(lines, 1)
    ]


def _grid_of_file(file: File) -> Grid:
    if len(file.content) > MAX_BYTES:
        raise UsageError(_TOO_BIG)
    suffix = PurePath(file.name).suffix.lower()
    if suffix == ".xls" or file.content.startswith(b"\xd0\xcf\x11\xe0"):
        raise UsageError("这是旧版 Excel 文件，请另存为 .xlsx 或 CSV 后再发送")
    if file.content.startswith(b"PK"):
        return _grid_of_workbook(file.content)
    if suffix not in {"", ".csv", ".tsv", ".txt"} or file.content.startswith(b"%PDF"):
        raise UsageError(_NOT_A_SHEET)
    return _grid_of_text(_decode(file.content))


def _decode(content: bytes) -> str:
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # what Excel calls "Unicode text"
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UsageError(_NOT_A_SHEET)


def _split(text: str, delimiter: str) -> Grid:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, Sequence[str]]] = []
    try:
        for number, cells in enumerate(reader, 1):
            rows.append((number, cells))
            if number > _LAST_EXCEL_ROW:
                raise UsageError(_TOO_MANY)
    except csv.Error:
        raise UsageError(f"第 {len(rows) + 1} 行的引号不成对或内容过长，无法拆成单元格") from None
    return rows


def _grid_of_workbook(content: bytes) -> Grid:
    try:
        _check_archive(content)
        book = openpyxl.load_workbook(
            io.BytesIO(content), read_only=True, data_only=True, keep_links=False
        )
        try:
            names = [sheet.title for sheet in book.worksheets]
            sheet = book.worksheets[names.index(SERVER_SHEET) if SERVER_SHEET in names else 0]
            rows: list[tuple[int, Sequence[str]]] = []
            grid = sheet.iter_rows(max_row=_LAST_EXCEL_ROW, max_col=_MAX_COLUMNS, values_only=True)
            for number, values in enumerate(grid, 1):
                if any(value is not None for value in values):
                    rows.append((number, [_text_of(value) for value in values]))
                if len(rows) > 2 * MAX_ROWS:
                    raise UsageError(_TOO_MANY)
            return rows
        finally:
            book.close()
    except UsageError:
        raise
    except Exception:  # noqa: BLE001 - a broken workbook fails anywhere inside openpyxl
        raise UsageError(_NOT_A_SHEET) from None


def _check_archive(content: bytes) -> None:
    """Refuse zip bombs and entity bombs; zipfile never inflates more than a part declares."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > _MAX_UNPACKED:
            raise UsageError("这个表格解压后过大，请只保留服务器清单后再发送")
        for part in parts:
            if part.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in archive.read(part):
                raise UsageError(_NOT_A_SHEET)


def _text_of(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


# -- from cells to servers -----------------------------------------------------------------------


@dataclass(slots=True)
class _Faults:
    """What is wrong so far."""

    lines: list[str] = field(default_factory=list)

    def add(self, row: int, column: str, what: str) -> None:
        self.lines.append(f"第 {row} 行「{column}」：{what}")

    def finish(self) -> None:
        if not self.lines:
            return
        text = [f"服务器清单有 {len(self.lines)} 处需要改正，改好后请重新发送："]
        text += self.lines[:MAX_ERRORS]
        if len(self.lines) > MAX_ERRORS:
            text.append(f"……另有 {len(self.lines) - MAX_ERRORS} 处")
        raise UsageError("\n".join(text))


class _BadCellError(Exception):
    """The text says what is wrong with one cell, without showing it."""


def _clean(cell: str) -> str:
    return unicodedata.normalize("NFKC", cell.translate(_INVISIBLE)).strip()


def _title_key(cell: str) -> str:
    """`* SSH 端口（可选）` and `ssh_端口` are one title."""
    plain = re.sub(r"\([^)]*\)", "", _clean(cell).casefold())
    return re.sub(r"[\s*_:#/-]", "", plain)


_BY_TITLE = {
    _title_key(title): column
    for column in (*COLUMNS, *SECRET_COLUMNS)
    for title in (column.title, column.key, *column.aliases)
}


def _read(rows: Sequence[tuple[int, Sequence[str]]]) -> tuple[ServerRow, ...]:
    faults = _Faults()
    number, first = rows[0]
    titled = _is_header(first)
    columns = _header(number, first, faults) if titled else COLUMNS
    faults.finish()
    body = rows[1:] if titled else rows
    if not body:
        raise UsageError(_EMPTY)
    if len(body) > MAX_ROWS:
        raise UsageError(_TOO_MANY)
    servers: list[ServerRow] = []
    names: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for number, cells in body:
        server = _server(number, cells, columns, faults)
        if server is None:
            continue
        earlier = names.setdefault(server.name.casefold(), number)
        if earlier != number:
            faults.add(number, "名称", f"与第 {earlier} 行重复")
        earlier = places.setdefault((server.host, server.port), number)
        if earlier != number:
            faults.add(number, "地址", f"地址和端口与第 {earlier} 行重复")
        servers.append(server)
    faults.finish()
    return tuple(servers)


def _is_header(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if _clean(cell)]
    known = sum(_title_key(cell) in _BY_TITLE for cell in filled)
    return known >= min(2, len(filled))


def _header(number: int, cells: Sequence[str], faults: _Faults) -> tuple[Column | None, ...]:
    columns: list[Column | None] = []
    for place, cell in enumerate(cells, 1):
        key = _title_key(cell)
        column = _BY_TITLE.get(key)
        if column is None and key and key not in REMARKS:
            faults.add(number, f"第 {place} 列", "不认识的列名，请使用模板中的列名")
        if column is not None and column in columns:
            faults.add(number, column.title, "这一列出现了两次")
        columns.append(column)
    for column in COLUMNS:
        if column.required and column not in columns:
            faults.add(number, column.title, "缺少这一列")
    return tuple(columns)


def _server(
    number: int, cells: Sequence[str], columns: Sequence[Column | None], faults: _Faults
) -> ServerRow | None:
    before = len(faults.lines)
    given: dict[str, str] = {}
    for place, cell in enumerate(cells):
        if place >= len(columns):
            if _clean(cell):
                faults.add(number, f"第 {place + 1} 列", "多出的内容，没有对应的列")
            continue
        column = columns[place]
        if column is None:
            continue
        try:
            given[column.key] = _checked(cell, column)
        except _BadCellError as bad:
            faults.add(number, column.title, str(bad))
    values = _values(number, given, faults)
    if len(faults.lines) > before:
        return None
    return ServerRow(**values)  # type: ignore[arg-type]  # every key comes from its own parser


def _checked(cell: str, column: Column) -> str:
    text = cell.strip() if column in SECRET_COLUMNS else _clean(cell)
    if len(text) > column.longest:
        raise _BadCellError(f"太长，最多 {column.longest} 个字符")
    if any(unicodedata.category(letter) in _CONTROL for letter in text):
        raise _BadCellError("含有换行或控制字符")
    return text


def _values(number: int, given: Mapping[str, str], faults: _Faults) -> dict[str, object]:
    values: dict[str, object] = {}
    for column in COLUMNS:
        text = given.get(column.key, "")
        if (column.required and column.key in given and not text) or (
            column.required and column.key not in given and not _failed(number, column, faults)
        ):
            faults.add(number, column.title, "不能为空")
        if not text:
            continue
        try:
            values[column.key] = _PARSERS[column.key](text)
        except _BadCellError as bad:
            faults.add(number, column.title, str(bad))
    place = values.pop("host", None)
    if isinstance(place, _Place):
        _merge(number, place, values, faults)
    values["password"] = Secret(given["password"]) if given.get("password") else NOTHING
    sudo = given.get("sudo_password")
    values["sudo_password"] = Secret(sudo) if sudo else NOTHING
    return values


def _failed(number: int, column: Column, faults: _Faults) -> bool:
    return any(line.startswith(f"第 {number} 行「{column.title}」") for line in faults.lines)


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int | None
    user: str


def _merge(number: int, place: _Place, values: dict[str, object], faults: _Faults) -> None:
    values["host"] = place.host
    if place.port is not None and values.setdefault("port", place.port) != place.port:
        faults.add(number, "端口", "与「地址」中的端口不一致")
    if place.user and values.setdefault("user", place.user) != place.user:
        faults.add(number, "用户", "与「地址」中的用户不一致")


# -- one cell -------------------------------------------------------------------------------------


def _place(text: str) -> _Place:
    try:
        return _Place(str(ipaddress.IPv6Address(text)), None, "")
    except ValueError:
        pass
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise _BadCellError("应为 IP 或域名，也可写成 用户@地址:端口")
    port = _port(found["port"]) if found["port"] else None
    user = _user(found["user"]) if found["user"] else ""
    return _Place(_six(found["six"]) if found["six"] else _host(found["host"]), port, user)


def _six(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise _BadCellError("方括号里应为 IPv6 地址") from None


def _host(text: str) -> str:
    if _LOOKS_LIKE_IP.fullmatch(text):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise _BadCellError("不是有效的 IP 地址") from None
    if not _HOST_NAME.fullmatch(text):
        raise _BadCellError("应为 IP 或域名，也可写成 用户@地址:端口")
    return text.lower()


def _port(text: str) -> int:
    found = _INTEGER.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= _MAX_PORT:
        raise _BadCellError(f"应为 1–{_MAX_PORT} 的整数")
    return int(found[1])


def _user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise _BadCellError("用户名只能用字母、数字、点、横线和下划线")
    return text


def _cores(text: str) -> int:
    found = _CORES.fullmatch(text)
    if found is None or int(found[1]) > _MAX_CORES:
        raise _BadCellError(f"应为核数（0–{_MAX_CORES} 的整数）")
    return int(found[1])


def _gigabytes(text: str) -> float:
    found = _SIZE.fullmatch(text)
    size = float(found[1]) * _PER_GB[(found[2] or "g").lower()] if found else -1.0
    if not 0 <= size <= _MAX_GB:
        raise _BadCellError("应为以 GB 为单位的数字")
    return size


def _bastion(text: str) -> str:
    place = _place(text)
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{place.user or 'root'}@{host}:{place.port or 22}"


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "name": str,
    "host": _place,
    "port": _port,
    "user": _user,
    "os": str,
    "cpu": _cores,
    "memory_gb": _gigabytes,
    "disk_gb": _gigabytes,
    "location": str,
    "bastion": _bastion,
}

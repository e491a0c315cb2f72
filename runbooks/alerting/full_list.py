"""Everything that fires for a customer, as a file that every platform takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from adapters.port import Fault, Permanent
from adapters.words import File
from runbooks.alerting.incident_cards import NAMES
from runbooks.kit import House
from storage.listing import Listed
from storage.records import Customer
from storage.store import Unit

MOST = 100_000
"""Lines of a file."""

LARGEST = 10_000_000
"""Bytes of a file: mail takes 15 MB, DingTalk 20."""

_KEY = "alerts:"

CELL = 200
"""Characters of a cell: a list is looked through, and the rest is a press away."""

HEAD = "级别\t规则\t服务器\t开始于\t内容\t告警组\t隐藏"


def page_of(customer: Customer, house: House) -> str:
    """Return the address of the console's page with all of it, filters and all."""
    return f"{house.public_url}/console/alerts/{customer.slug}"


def key_of(customer: Customer) -> str:
    """Return the key of the file: it is made when its turn to be sent comes."""
    return f"{_KEY}{customer.id}"


async def made(key: str, now: datetime, house: House, unit: Unit) -> File:
    """Return the file with this key. Permanent when there is none."""
    number = key.removeprefix(_KEY)
    customer = await unit.customers.get(int(number)) if number.isdecimal() else None
    if customer is None:
        raise Permanent(f"没有这份文件：{key}", fault=Fault.REFUSED)
    return await file_of(customer, now, house, unit)


async def file_of(customer: Customer, now: datetime, house: House, unit: Unit) -> File:
    """Return the file of what fires, hidden alerts too: the worst come first, and what has no room
    is counted."""
    total = await unit.listing.count(customer.id)
    rows = await unit.listing.page(customer.id, MOST)
    text = await asyncio.to_thread(_text, rows, total, now, page_of(customer, house), house)
    return File(f"alerts-{now.astimezone(house.zone):%Y%m%d-%H%M%S}.txt", text)


def _text(
    rows: Sequence[Listed], total: int, now: datetime, page: str, house: House, room: int = LARGEST
) -> bytes:
    lines: list[bytes] = []
    size = 0
    for row in rows:
        told = _line(row, house).encode()
        size += len(told) + 1
        if size > room:
            break
        lines.append(told)
    at = f"{now.astimezone(house.zone):%Y-%m-%d %H:%M:%S}"
    rest = f"，这里是最严重的 {len(lines):,} 条，其余见 {page}" if len(lines) < total else ""
    head = f"{at} 共 {total:,} 条{rest}"
    return b"\n".join((head.encode(), HEAD.encode(), *lines))


def _line(row: Listed, house: House) -> str:
    cells = (
        NAMES[row.severity],
        row.rule,
        row.host,
        f"{row.since.astimezone(house.zone):%Y-%m-%d %H:%M:%S}",
        row.title or row.text,
        f"#{row.incident}" if row.incident else "",
        row.hidden,
    )
    return "\t".join(" ".join(cell[:CELL].split()) for cell in cells)

"""What every bench shares: medians, percentiles, and a table on the screen."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(title: str, columns: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table with the machine and the day below it."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    table.caption = f"{machine()}, {datetime.now(tz=UTC):%Y-%m-%d %H:%M}Z"
    Console(width=140).print(table)


def machine() -> str:
    """Return what the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text()
    names = [line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line]
    name = names[0] if names else platform.machine()
    return f"{len(names)} x {name}, {platform.system()}, Python {platform.python_version()}"

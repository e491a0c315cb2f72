"""The command that shows what a source's mapping makes of a sample, before a monitor is set up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from adapters.port import UsageError
from adapters.sources import Source, mapping, with_shapes
from adapters.sources.mapping import Shape
from adapters.words import Alert
from bot.config import ConfigError, load_shapes
from bot.options import DEFAULT_CONFIG, Config

Sample = Annotated[Path, Parameter(name="--try", help="A file with what the monitor posts.")]


def map_command(name: str = "", *, sample: Sample, config: Config = DEFAULT_CONFIG) -> int:
    """试映射: show what `[sources.NAME]` makes of a sample: each field with its path.

    Parameters
    ----------
    name
        Of the source; not needed when the configuration describes only one. One that is built in
        may be tried too.
    sample
        A file with what the monitor posts.
    config
        The TOML file; only its sources are read.
    """
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        shapes = load_shapes(config) if config.exists() or config != DEFAULT_CONFIG else {}
        source = _chosen(name, shapes)
        alerts = source.decode(sample.read_bytes(), datetime.now(UTC))
    except (ConfigError, UsageError) as error:
        console.print(str(error))
        return 1
    except OSError as error:
        console.print(f"读不到 {sample} / cannot be read: {error.strerror}")
        return 1
    paths = mapping.texts(shapes[source.name]) if source.name in shapes else {}
    for number, alert in enumerate(alerts, 1):
        console.print(_table(f"{source.title} {number}/{len(alerts)}", alert, paths))
    if not alerts:
        console.print("这份样例里没有告警 / no alert in this sample")
    return 0


def _chosen(name: str, shapes: Mapping[str, Shape]) -> Source:
    sources = with_shapes(shapes)
    if not name and len(shapes) == 1:
        name = next(iter(shapes))
    if name not in sources:
        known = "、".join(sources)
        raise UsageError(
            f"请写明告警源：{known} / name a source"
            if not name
            else f"没有告警源 {name}，只有：{known} / no such source"
        )
    return sources[name]


def _table(title: str, alert: Alert, paths: Mapping[str, str]) -> Table:
    table = Table("字段 / field", "值 / value", "路径 / path", title=title)
    for key, value in _rows(alert):
        table.add_row(key, value or "-", paths.get(key, ""))
    return table


def _rows(alert: Alert) -> Iterator[tuple[str, str]]:
    firing = "firing 触发" if alert.ends else "firing 触发，由人来结束"
    yield "status", firing if alert.firing else "resolved 恢复"
    yield "severity", str(alert.severity)
    yield "rule", alert.rule
    yield "host", alert.host
    yield "title", alert.title
    yield "text", alert.text
    yield "fingerprint", alert.fingerprint
    yield "starts_at", alert.starts_at.isoformat() if alert.starts_at else ""
    yield "ends_at", alert.ends_at.isoformat() if alert.ends_at else ""
    yield "url", alert.url
    yield "labels", ", ".join(f"{key}={value}" for key, value in sorted(alert.labels.items()))

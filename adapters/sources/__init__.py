"""Alert sources: one file each, pure decode of what it posts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from adapters.sources import (
    alertmanager,
    aliyun,
    grafana,
    huawei,
    mapping,
    nightingale,
    tencent,
    vigilops,
    zabbix,
)
from adapters.sources.cut import Cut
from adapters.sources.huawei import Confirmation
from adapters.sources.mapping import Shape
from adapters.words import Alert


def _none_left_out(body: bytes) -> Cut | None:
    return None


def _not_looked_at(body: bytes) -> bool:
    return False


def _no_handshake(body: bytes) -> Confirmation | None:
    return None


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of monitor: how what it posts becomes alerts."""

    name: str
    """As in the address of its hook."""
    title: str
    decode: Callable[[bytes, datetime], tuple[Alert, ...]]
    """Raises UsageError, in Chinese and English, for what cannot be read, and nothing else."""
    plain: Callable[[bytes], bool] = _not_looked_at
    """Does `decode` surely find alerts in it? Asked where posts are many; raises as `decode` does."""
    truncated: Callable[[bytes], Cut | None] = _none_left_out
    """What the sender says that it left out, asked of what `decode` has read; raises as it does.
    None: such a sender never says."""
    handshake: Callable[[bytes], Confirmation | None] = _no_handshake
    """The question whether the address is ours, if that was posted; raises as `decode` does."""


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(vigilops.NAME, vigilops.TITLE, vigilops.alerts),
        Source(
            alertmanager.NAME,
            alertmanager.TITLE,
            alertmanager.decode,
            alertmanager.plain,
            alertmanager.truncated,
        ),
        Source(grafana.NAME, grafana.TITLE, grafana.decode, truncated=grafana.truncated),
        Source(nightingale.NAME, nightingale.TITLE, nightingale.decode),
        Source(zabbix.NAME, zabbix.TITLE, zabbix.decode),
        Source(aliyun.NAME, aliyun.TITLE, aliyun.decode),
        Source(tencent.NAME, tencent.TITLE, tencent.decode),
        Source(huawei.NAME, huawei.TITLE, huawei.decode, handshake=huawei.confirmation),
    )
}


TITLES: Mapping[str, str] = {source.name: source.title for source in SOURCES.values()}
"""What each of them is called, by its name."""


def with_shapes(shapes: Mapping[str, Shape]) -> Mapping[str, Source]:
    """Return all sources, with those that the configuration describes by their names in it.

    Raises UsageError when a path of theirs is none.
    """
    described = {
        name: Source(name, shape.label or name, mapping.decoder(name, shape))
        for name, shape in shapes.items()
    }
    return {**SOURCES, **described}

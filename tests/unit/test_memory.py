"""What the links remember themselves is forgotten in time, also where nobody starts the bot anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.dingtalk.memory import Memory as DingTalk
from adapters.feishu.memory import Memory as Feishu
from adapters.memory import Rows
from adapters.wecom.memory import Kept
from adapters.wecom.memory import Memory as WeCom
from storage.replicas import Shared
from storage.store import Store

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def feishu(memory: Feishu, name: str, at: datetime) -> None:
    memory.begin(name, at)


def dingtalk(memory: DingTalk, name: str, at: datetime) -> None:
    memory.begin(at, name)


def wecom(memory: WeCom, name: str, at: datetime) -> None:
    memory.keep("deed", name, "done", at)


@pytest.mark.parametrize(
    ("kind", "write"), [(Feishu, feishu), (DingTalk, dingtalk), (WeCom, wecom)]
)
def test_a_file_that_stays_open_forgets_what_is_too_old(
    tmp_path: Path, kind: type[Rows], write: Callable[[Rows, str, datetime], None]
) -> None:
    memory = kind(tmp_path / "kept.sqlite")
    memory.open(NOW)
    for days in (0, 29, 31):
        write(memory, f"on day {days}", NOW + days * DAY)
    memory.close()
    with closing(sqlite3.connect(tmp_path / "kept.sqlite")) as db:
        found = [name for (name,) in db.execute("SELECT id FROM kept ORDER BY number")]
    assert found == ["on day 29", "on day 31"]


async def test_what_replicas_share_is_forgotten_too(store: Store, tmp_path: Path) -> None:
    memory = WeCom(tmp_path / "kept.sqlite")
    memory.open(NOW)
    kept = Kept(memory, Shared(store, "wecom"))
    await kept.forget(NOW)
    for days in (0, 29, 31):
        await kept.keep("deed", f"on day {days}", "done", NOW + days * DAY)
    found = [await kept.get("deed", f"on day {days}") is not None for days in (0, 29, 31)]
    memory.close()
    assert found == [False, True, True]

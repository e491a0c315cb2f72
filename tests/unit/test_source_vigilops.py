"""What was recorded of the real VigilOps is understood, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.port import UsageError
from adapters.sources.vigilops import LONGEST, Kind, Notice, decode

RECORDED = Path("tests/golden/vigilops/recorded")


def recorded(name: str) -> dict[str, Any]:
    file = RECORDED / f"captured_hook_webhook_{name}.json"
    body: dict[str, Any] = json.loads(file.read_text())["body"]
    return body


def read(body: object) -> Notice:
    return decode(json.dumps(body).encode())


def test_a_first_alert() -> None:
    assert read(recorded("first")) == Notice(
        "2@2026-11-23T00:09:14.181678+00:00:first:0",
        Kind.FIRST,
        "GOLD disk - srv-01",
        "disk_percent = 25.7 > 1.0",
        "srv-01",
        "critical",
        "firing",
        25.7,
        1.0,
        datetime(2026, 11, 23, 0, 9, 14, 181678, tzinfo=UTC),
        2,
    )


def test_a_continuous_one_and_a_recovery_have_keys_of_their_own() -> None:
    again, over = read(recorded("continuous")), read(recorded("recovery"))
    assert again.key == "2@2026-11-23T00:09:14.181678+00:00:continuous:60"
    assert (over.kind, over.status, over.host) == (Kind.RECOVERY, "resolved", "sim-A")
    assert over.key == "4@2026-11-23T00:12:14.977715+00:00:recovery:185"


def test_a_channels_own_test_is_no_alert() -> None:
    found = read(recorded("test"))
    assert (found.kind, found.title) == (Kind.TEST, "**NightMend 测试通知**")
    assert "bot-webhook (webhook)" in found.message
    assert found.fired_at is None


def test_a_bare_text_is_kept_as_one() -> None:
    found = read({"text": "✅ 修复成功\n主机 srv-01"})
    assert (found.kind, found.title) == (Kind.TEXT, "✅ 修复成功")


def test_an_instance_that_counts_from_one_again_is_no_repeat() -> None:
    later = {**recorded("first"), "fired_at": "2026-12-01T00:00:00Z"}
    assert read(later).key != read(recorded("first")).key


def test_what_no_database_keeps_is_left_out() -> None:
    found = read({**recorded("first"), "title": "a\x00b\x1b[31m c\nd", "message": "长" * 9000})
    assert found.title == "ab[31m c\nd"
    assert len(found.message) == LONGEST


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"alert_id": 1}',
        b'{"test": true}',
        b"[" * 500_000,
        b'{"x": ' + b"[" * 500_000,
        json.dumps({**recorded("first"), "notification_type": "x" * 9000}).encode(),
        json.dumps({**recorded("first"), "fired_at": "0001-01-01T00:00:00+23:00"}).encode(),
        json.dumps({**recorded("first"), "metric_value": "much"}).encode(),
    ],
)
def test_anything_else_is_said_in_both_languages(body: bytes) -> None:
    with pytest.raises(
        UsageError, match=r"无法识别的告警内容.* / not a VigilOps webhook"
    ) as caught:
        decode(body)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_break_it(body: bytes) -> None:
    try:
        decode(body)
    except UsageError:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    st.lists,
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(recorded("first"), JSON)))
def test_no_fields_break_it(changes: dict[str, Any]) -> None:
    try:
        found = read({**recorded("first"), **changes})
    except UsageError:
        return
    assert found.kind in Kind

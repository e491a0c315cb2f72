"""What VigilOps posts to a channel of type `webhook`: bytes in, a notice out.

It has no delivery id, no rule id and no signature (`facts/vigilops.md`, section 8). The same URL
gets alerts, a channel's test, and bare texts (remediation, and alerts under a custom template).
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from adapters.port import UsageError
from adapters.sources import reading
from adapters.words import Alert

NAME = "vigilops"
TITLE = "VigilOps"

LONGEST = 2000
"""Characters kept of a text; the monitor's own are far shorter."""
LONGEST_REASON = 200
"""The decoder may repeat what was posted."""


class Kind(StrEnum):
    """What a notice is."""

    FIRST = "first"
    CONTINUOUS = "continuous"
    RECOVERY = "recovery"
    TEST = "test"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Notice:
    """One delivery; a repeated one has the same `key`. Times are UTC with their zone."""

    key: str
    kind: Kind
    title: str
    message: str
    host: str = ""
    severity: str = ""
    status: str = ""
    figure: float | None = None
    threshold: float | None = None
    fired_at: datetime | None = None
    number: int = 0
    """The alert's id in the monitor; 0 when it is about none."""


class _Alert(msgspec.Struct):
    alert_id: int
    title: str
    status: str
    notification_type: Kind
    fired_at: datetime
    message: str | None = None
    severity: str | None = None
    host_name: str | None = None
    metric_value: float | None = None
    threshold: float | None = None
    duration_seconds: int = 0


class _Text(msgspec.Struct):
    text: str
    test: bool = False


def decode(body: bytes) -> Notice:
    """Return what was posted; raise UsageError, in Chinese and English, when it is no notice."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, object])
        if "alert_id" in fields:
            return _alert(msgspec.convert(fields, _Alert))
        return _text(msgspec.convert(fields, _Text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        why = str(error)[:LONGEST_REASON]
        raise UsageError(
            f"无法识别的告警内容：不是 VigilOps 的 Webhook 格式 / not a VigilOps webhook: {why}"
        ) from None


def alerts(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return what was posted as an alert; none for a test and for a bare text, which name none.

    It has no rule of its own: an alert's title is "RULE - HOST".
    """
    notice = decode(body)
    if not notice.number or notice.fired_at is None:
        return ()
    rule, dash, host = notice.title.rpartition(" - ")
    rule, host = (rule if dash else notice.title), notice.host or host
    firing = notice.kind is not Kind.RECOVERY
    labels = {
        "alertname": rule,
        "host": host,
        "severity": notice.severity,
        "alert_id": str(notice.number),
    }
    return (
        Alert(
            f"{notice.number}@{notice.fired_at.isoformat()}",
            firing,
            reading.severity_of(notice.severity),
            reading.line(rule),
            reading.line(host),
            reading.line(notice.title) or TITLE,
            notice.message,
            {key: value for key, value in labels.items() if value},
            reading.instant(notice.fired_at, now),
            None if firing else now,
        ),
    )


def _alert(wire: _Alert) -> Notice:
    at = wire.fired_at
    fired = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    # With the instant, a monitor that was set up anew and counts from 1 is not taken for a repeat.
    number = f"{wire.alert_id}@{fired.isoformat()}"
    return Notice(
        f"{number}:{wire.notification_type}:{wire.duration_seconds}",
        wire.notification_type,
        _clean(wire.title),
        _clean(wire.message),
        _clean(wire.host_name),
        _clean(wire.severity),
        _clean(wire.status),
        wire.metric_value,
        wire.threshold,
        fired,
        wire.alert_id,
    )


def _text(wire: _Text) -> Notice:
    text = _clean(wire.text)
    kind = Kind.TEST if wire.test else Kind.TEXT
    digest = hashlib.sha256(wire.text.encode()).hexdigest()
    return Notice(f"{kind}:{digest}", kind, text.partition("\n")[0], text)


def _clean(text: str | None) -> str:
    """Leave out what no card shows and PostgreSQL refuses; line breaks stay."""
    kept = (c for c in text or "" if c == "\n" or unicodedata.category(c) not in {"Cc", "Cs"})
    return "".join(kept).strip()[:LONGEST]

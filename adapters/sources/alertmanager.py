"""What Prometheus Alertmanager posts to a `webhook_config`, version 4.

Its shape is in Alertmanager's `docs/configuration.md`, and was captured from a running one
(`facts/alertmanager-webhooks.jsonl`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct, field

from adapters.sources import cut, reading
from adapters.sources.cut import Cut
from adapters.sources.reading import Labels, Text, Wrong
from adapters.words import Alert

NAME = "alertmanager"
TITLE = "Alertmanager"
WRONG = Wrong(TITLE)


class _Alert(Struct, rename="camel", gc=False):
    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: Labels = {}
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    url: Text = field(name="generatorURL", default="")
    fingerprint: Text = ""


class _Webhook(Struct):
    alerts: list[_Alert]


_WEBHOOK = msgspec.json.Decoder(_Webhook)


def decode(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return the alerts of one webhook; raise UsageError when it is none."""
    webhook = reading.quick(_WEBHOOK, body, WRONG)
    if webhook is not None:
        return tuple([_alert(one, now) for one in webhook.alerts])
    entries = reading.listed(reading.tree(body, WRONG), "alerts", WRONG)
    return reading.each(entries, reading.typed(_Alert, _alert, WRONG), WRONG, now)


def plain(body: bytes) -> bool:
    """Is it a webhook with alerts that `decode` reads the fast way? False is no verdict."""
    webhook = reading.quick(_WEBHOOK, body, WRONG)
    return webhook is not None and bool(webhook.alerts)


def truncated(body: bytes) -> Cut:
    """Return what Alertmanager left out (`max_alerts`): their end is not seen either."""
    return cut.read(body, WRONG)


def _alert(wire: _Alert, now: datetime) -> Alert:
    labels, notes = wire.labels, wire.annotations
    firing = wire.status == "firing"
    rule = reading.line(labels.get("alertname", ""))
    return Alert(
        reading.named(wire.fingerprint) or reading.of_labels(labels),
        firing,
        reading.severity_of(labels.get("severity") or labels.get("priority") or ""),
        rule,
        reading.host_of(labels),
        reading.line(notes.get("summary") or notes.get("title") or "") or ("" if rule else TITLE),
        notes.get("description") or notes.get("message") or "",
        labels,
        reading.instant(wire.starts_at, now),
        None if firing else reading.instant(wire.ends_at, now),
        reading.link(wire.url),
    )

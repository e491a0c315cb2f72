"""What Grafana's unified alerting posts to a contact point of type Webhook.

Alertmanager's shape with more in each alert (Grafana's `webhook-notifier.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct, field

from adapters.sources import cut, reading
from adapters.sources.cut import Cut
from adapters.sources.reading import Labels, Text, Wrong
from adapters.words import Alert

NAME = "grafana"
TITLE = "Grafana"
WRONG = Wrong(TITLE)


class _Alert(Struct, rename="camel"):
    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: Labels = {}
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    values: dict[str, float | str | None] | None = None
    fingerprint: Text = ""
    url: Text = field(name="generatorURL", default="")
    dashboard: Text = field(name="dashboardURL", default="")
    panel: Text = field(name="panelURL", default="")


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


def truncated(body: bytes) -> Cut:
    """Return what Grafana left out (the contact point's Max Alerts)."""
    return cut.read(body, WRONG)


def _alert(wire: _Alert, now: datetime) -> Alert:
    labels, notes = wire.labels, wire.annotations
    firing = wire.status == "firing"
    rule = reading.line(_rule(labels))
    described = notes.get("description") or notes.get("message") or ""
    return Alert(
        reading.named(wire.fingerprint) or reading.of_labels(labels),
        firing,
        reading.severity_of(labels.get("severity") or labels.get("priority") or ""),
        rule,
        reading.host_of(labels),
        reading.line(notes.get("summary") or "") or ("" if rule else TITLE),
        "\n".join(filter(None, (described, _figures(wire.values))))[: reading.LONGEST],
        labels,
        reading.instant(wire.starts_at, now),
        None if firing else reading.instant(wire.ends_at, now),
        reading.link(wire.panel or wire.dashboard or wire.url),
    )


def _rule(labels: Mapping[str, str]) -> str:
    """Return the rule; that its query failed or gave no data is said of the rule, in `rulename`."""
    name = labels.get("alertname", "")
    if name in {"DatasourceNoData", "DatasourceError"} and "rulename" in labels:
        return f"{labels['rulename']} ({name})"
    return name


def _figures(values: Mapping[str, float | str | None] | None) -> str:
    return ", ".join(f"{name}={value}" for name, value in (values or {}).items())

"""What Nightingale (夜莺) posts: its Callback processor one event, its Callback channel a list.

The shape is its `AlertCurEvent` (`models/alert_cur_event.go`). A recovery has the same `hash`.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from adapters.sources import reading
from adapters.sources.reading import Labels, Text, Wrong
from adapters.words import Alert, Severity

NAME = "nightingale"
TITLE = "夜莺 Nightingale"
WRONG = Wrong(TITLE)

SEVERITIES = {1: Severity.CRITICAL, 2: Severity.WARNING, 3: Severity.INFO}


class _Event(Struct):
    hash: Text
    rule_name: Text
    severity: int = 2
    rule_note: Text = ""
    is_recovered: bool = False
    target_ident: Text = ""
    trigger_time: float = 0
    first_trigger_time: float | None = None
    trigger_value: Text = ""
    prom_ql: Text = ""
    group_name: Text = ""
    cluster: Text = ""
    runbook_url: Text = ""
    tags: list[Text] | None = None
    tags_map: Labels | None = None
    annotations: Labels | None = None


_EVENTS = msgspec.json.Decoder(_Event | list[_Event])


def decode(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return the alerts of one callback; raise UsageError when it is none."""
    found = reading.quick(_EVENTS, body, WRONG)
    if found is not None:
        events = found if isinstance(found, list) else [found]
        return tuple([_alert(one, now) for one in events])
    tree = reading.tree(body, WRONG)
    entries = tree if isinstance(tree, list) else [tree]
    return reading.each(entries, reading.typed(_Event, _alert, WRONG), WRONG, now)


def _alert(wire: _Event, now: datetime) -> Alert:
    firing = not wire.is_recovered
    labels = _labels(wire)
    notes = wire.annotations or {}
    text = notes.get("description") or wire.rule_note
    if wire.trigger_value:
        text = f"{text}\n触发值：{wire.trigger_value}".strip()
    return Alert(
        reading.named(wire.hash) or reading.of_labels(labels),
        firing,
        SEVERITIES.get(wire.severity, Severity.WARNING),
        reading.line(wire.rule_name) or TITLE,
        reading.line(wire.target_ident) or reading.host_of(labels),
        reading.line(notes.get("summary", "")),
        text[: reading.LONGEST],
        labels,
        reading.epoch(wire.first_trigger_time or wire.trigger_time, now),
        None if firing else reading.epoch(wire.trigger_time, now),
        reading.link(wire.runbook_url),
    )


def _labels(wire: _Event) -> dict[str, str]:
    """Return the tags, and what else a matcher may ask for; a tag wins over a field."""
    fields = {
        "alertname": wire.rule_name,
        "host": wire.target_ident,
        "severity": str(SEVERITIES.get(wire.severity, Severity.WARNING)),
        "group": wire.group_name,
        "cluster": wire.cluster,
    }
    listed = dict(tag.split("=", 1) for tag in wire.tags or () if "=" in tag)
    return {k: v for k, v in fields.items() if v} | (wire.tags_map or listed)

"""What our media type makes Zabbix post: `docs/zabbix-media-type.yaml` has its script.

Zabbix has no shape of its own for webhooks; the script sends the macros that are named here.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from adapters.sources import reading
from adapters.sources.reading import Text, Wrong
from adapters.words import Alert, Severity

NAME = "zabbix"
TITLE = "Zabbix"
WRONG = Wrong(TITLE)

SEVERITIES = (
    Severity.INFO,  # not classified
    Severity.INFO,
    Severity.WARNING,
    Severity.WARNING,  # average
    Severity.CRITICAL,  # high
    Severity.CRITICAL,  # disaster
)
"""By `{EVENT.NSEVERITY}`."""


class _Tag(Struct):
    tag: Text
    value: Text = ""


class _Event(Struct):
    event_id: Text
    trigger_id: Text
    value: Text
    """`{EVENT.VALUE}`: 1 for a problem, 0 when it is over."""
    name: Text
    severity: Text = ""
    host: Text = ""
    host_ip: Text = ""
    opdata: Text = ""
    url: Text = ""
    started_at: float = 0
    ended_at: float = 0
    tags: list[_Tag] = []


_EVENT = msgspec.json.Decoder(_Event)


def decode(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return the alert of one post; raise UsageError when it is none.

    A trigger may have several problems at a time, which differ by their tags; a problem that comes
    again has another event id. So the trigger with the tags is what stays the same.
    """
    wire = reading.read(_EVENT, body, WRONG)
    if wire.value not in {"0", "1"}:
        raise WRONG.told(f"value = {wire.value!r}：应为 0 或 1 / must be 0 or 1")
    firing = wire.value == "1"
    number = int(wire.severity) if wire.severity in {"0", "1", "2", "3", "4", "5"} else -1
    severity = SEVERITIES[number] if number >= 0 else reading.severity_of(wire.severity)
    tags = sorted((tag.tag, tag.value) for tag in wire.tags)
    fields = {
        "alertname": wire.name,
        "host": wire.host,
        "instance": wire.host_ip,
        "severity": str(severity),
        "trigger_id": wire.trigger_id,
        "event_id": wire.event_id,
    }
    return (
        Alert(
            reading.identity(wire.trigger_id, *(part for tag in tags for part in tag)),
            firing,
            severity,
            reading.line(wire.name) or TITLE,
            reading.line(wire.host),
            "",
            wire.opdata,
            dict(tags) | {k: v for k, v in fields.items() if v},
            reading.epoch(wire.started_at, now),
            None if firing else reading.epoch(wire.ended_at, now) or now,
            reading.link(wire.url),
        ),
    )

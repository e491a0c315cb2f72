"""What Tencent Cloud's monitor (腾讯云可观测平台) posts to an alarm's callback.

Its shape is in cloud.tencent.com/document/product/248/9066. It tries three times, five seconds
each, and has no signature. Numbers come as numbers or as texts, whichever they feel like.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from adapters.sources import reading
from adapters.sources.reading import Text, Wrong
from adapters.words import Alert, Severity

NAME = "tencent"
TITLE = "腾讯云可观测平台"
WRONG = Wrong(TITLE)

LEVELS = {
    "Remind": Severity.INFO,
    "Warn": Severity.WARNING,
    "Serious": Severity.CRITICAL,
}
"""Of policies with levels: `alertId` is then `sessionId_LEVEL`; others have none."""

EVENT = "event"
"""Something that has happened, by `alarmType`; the others are figures beyond a threshold."""

HOSTS = ("unInstanceId", "instanceId", "instanceid", "InstanceId", "vm_uuid", "uuid", "objName")
"""Under these the dimensions of the products name what an alarm is about."""

Figure = Text | int | float | None


class _Conditions(Struct, rename="camel", frozen=True):
    metric_name: Text = ""
    metric_show_name: Text = ""
    event_name: Text = ""
    event_show_name: Text = ""
    calc_type: Text = ""
    calc_value: Figure = None
    current_value: Figure = None
    unit: Text | None = None


class _Policy(Struct, rename="camel"):
    policy_id: Text = ""
    policy_name: Text = ""
    policy_type: Text = ""
    conditions: _Conditions = _Conditions()


class _Object(Struct, frozen=True):
    region: Text = ""
    namespace: Text = ""
    dimensions: dict[str, object] | None = None


class _Callback(Struct, rename="camel"):
    alarm_status: int | Text
    alarm_policy_info: _Policy
    session_id: Text = ""
    alert_id: Text = ""
    alarm_type: Text = "metric"
    alarm_obj_info: _Object = _Object()
    first_occur_time: Text = ""
    recover_time: Text = ""


_CALLBACK = msgspec.json.Decoder(_Callback)


def decode(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return the alert of one callback; raise UsageError when it is none.

    The policy, what it measures and where is what stays the same: whether a session does when an
    alarm of a policy with levels becomes worse is not documented. Of some events there is no end,
    such as of a reboot, and a callback does not tell which these are.
    """
    wire = reading.read(_CALLBACK, body, WRONG)
    status = str(wire.alarm_status)
    if status not in {"0", "1"}:
        raise WRONG.told(f"alarmStatus = {status!r}：应为 0 或 1 / must be 0 or 1")
    firing = status == "1"
    policy, what = wire.alarm_policy_info, wire.alarm_policy_info.conditions
    level = wire.alert_id.removeprefix(f"{wire.session_id}_")
    severity = LEVELS.get(level, Severity.WARNING)
    dimensions = _dimensions(wire.alarm_obj_info.dimensions)
    rule = policy.policy_name or policy.policy_id
    name = what.metric_show_name or what.event_show_name or what.metric_name or what.event_name
    labels = {
        "alertname": rule,
        "severity": str(severity),
        "metric": what.metric_name or what.event_name,
        "namespace": wire.alarm_obj_info.namespace,
        "region": wire.alarm_obj_info.region,
        "policy_id": policy.policy_id,
        "policy_type": policy.policy_type,
    }
    labels = dimensions | {key: value for key, value in labels.items() if value}
    where = [part for pair in sorted(dimensions.items()) for part in pair]
    return (
        Alert(
            reading.identity(policy.policy_id or rule, labels.get("metric", ""), *where),
            firing,
            severity,
            reading.line(rule) or TITLE,
            reading.line(next((dimensions[key] for key in HOSTS if key in dimensions), "")),
            reading.line(f"{rule} {name}"),
            _told(what, name),
            labels,
            reading.written(wire.first_occur_time, now),
            None if firing else reading.written(wire.recover_time, now) or now,
            ends=wire.alarm_type != EVENT,
        ),
    )


def _dimensions(wire: Mapping[str, object] | None) -> dict[str, str]:
    plain = {key: value for key, value in (wire or {}).items() if isinstance(value, (str, int))}
    return {
        reading.clean(key)[: reading.LONGEST_KEY]: reading.clean(str(value))
        for key, value in list(plain.items())[: reading.MOST_LABELS]
    }


def _told(what: _Conditions, name: str) -> str:
    """Return the figure and the threshold; an event has neither."""
    if what.current_value is None:
        return name
    unit = what.unit or ""
    told = f"{name}：当前值 {what.current_value}{unit}"
    if what.calc_value is not None:
        told += f"，阈值 {what.calc_type} {what.calc_value}{unit}"
    return told[: reading.LONGEST]

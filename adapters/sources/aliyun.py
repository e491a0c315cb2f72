"""What Alibaba Cloud's CloudMonitor (阿里云云监控) posts to an alert's callback: a form, not JSON.

Its fields are in alibabacloud.com/help/doc-detail/60714.htm. It tries three times, five seconds
each. What is unset comes as the text `null`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl

import msgspec

from adapters.sources import reading
from adapters.sources.reading import Wrong
from adapters.words import Alert

NAME = "aliyun"
TITLE = "阿里云云监控"
WRONG = Wrong(TITLE)

MOST_FIELDS = 100
NO_DATA = "数据不足 / INSUFFICIENT_DATA"

_PAIR = re.compile(r"([^\s{},=]+)=([^,}]*)")
_JSON = msgspec.json.Decoder(list[dict[str, str | int]] | dict[str, str | int])


def decode(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return the alert of one callback; raise UsageError when it is none.

    That data lack does not end an alert: nobody knows then whether it is over.
    """
    form = _form(body)
    name, state = form.get("alertName", ""), form.get("alertState", "")
    if not name or state not in {"OK", "ALERT", "ALARM", "INSUFFICIENT_DATA"}:
        raise WRONG.told("没有 alertName 或 alertState / no alertName or alertState")
    firing = state != "OK"
    level = form.get("triggerLevel", "")
    # A recovery's own level is OK: which it was is in the one before.
    severity = reading.severity_of(level if firing else form.get("preTriggerLevel", level))
    dimensions = _dimensions(form.get("dimensions", ""))
    at = _at(form, now)
    labels = {
        "alertname": name,
        "severity": str(severity),
        "metric": form.get("rawMetricName") or form.get("metricName", ""),
        "namespace": form.get("namespace") or form.get("metricProject", ""),
        "region": form.get("regionId", ""),
        "rule_id": form.get("ruleId", ""),
    }
    return (
        Alert(
            reading.identity(form.get("ruleId") or name, *_flat(dimensions)),
            firing,
            severity,
            reading.line(name),
            reading.line(form.get("instanceName") or dimensions.get("instanceId", "")),
            "",
            _told(form, state),
            dimensions | {key: value for key, value in labels.items() if value},
            at if firing else None,
            None if firing else at,
        ),
    )


def _form(body: bytes) -> dict[str, str]:
    try:
        text = reading.fitting(body, WRONG).decode()
        pairs = parse_qsl(text, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as error:  # too many fields, or not UTF-8
        raise WRONG.told(str(error)) from None
    cleaned = {reading.clean(key): reading.clean(value) for key, value in pairs}
    return {key: value for key, value in cleaned.items() if value and value != "null"}


def _dimensions(text: str) -> dict[str, str]:
    """Return what `{userId=1, instanceId=i-1}` names, Java's way to write a map; or, as other releases
    of its documentation have it, `[{"userId":"1","instanceId":"i-1"}]`."""
    try:
        read = _JSON.decode(text)
        there = [
            pair for each in (read if isinstance(read, list) else [read]) for pair in each.items()
        ]
    except (msgspec.DecodeError, RecursionError):
        there = list[tuple[str, str | int]](_PAIR.findall(text))
    return {
        reading.clean(key)[: reading.LONGEST_KEY]: reading.clean(str(value))
        for key, value in there[:MOST_FIELDS]
        if key != "userId"
    }


def _flat(dimensions: Mapping[str, str]) -> list[str]:
    return [part for pair in sorted(dimensions.items()) for part in pair]


def _at(form: Mapping[str, str], now: datetime) -> datetime | None:
    text = form.get("timestamp", "")
    return reading.epoch(float(text), now) if re.fullmatch(r"[0-9]{1,15}", text) else None


def _told(form: Mapping[str, str], state: str) -> str:
    parts = {
        "表达式": form.get("expression", ""),
        "当前值": form["curValue"] + form.get("unit", "") if "curValue" in form else "",
        "持续": form.get("lastTime", ""),
        "状态": NO_DATA if state == "INSUFFICIENT_DATA" else "",
    }
    told = "\n".join(f"{name}：{value}" for name, value in parts.items() if value)
    return told[: reading.LONGEST]

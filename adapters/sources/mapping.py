"""Any monitor that posts JSON: where in it things stand is said in the configuration.

A path is `rule.name`, `hosts[0].ip`, `"dotted.key".x`, or `$.meta.site`, which starts at the whole
document instead of at the alert. What an optional path does not find is empty; what it finds and
cannot use is an error that names the path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapters.port import UsageError
from adapters.sources import reading
from adapters.sources.reading import Wrong
from adapters.words import Alert, Severity

FIRING = ("firing", "alerting", "alert", "alarm", "problem", "triggered", "open", "1", "true")
RESOLVED = ("resolved", "ok", "normal", "recovered", "recovery", "closed", "0", "false")

_STEP = re.compile(r'\.?(?:"([^"]+)"|([^."\[\]\s]+))|\[([0-9]{1,6})\]')
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path; `whole` when it starts at the document."""

    text: str
    steps: tuple[str | int, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """Where things stand in what one monitor posts: paths, and what its words mean."""

    rule: str
    label: str = ""
    """What the monitor is called; empty means by its name in the configuration."""
    each: str = ""
    """Where the list of alerts is; empty when the document is the alert, or a list of alerts."""
    title: str = ""
    text: str = ""
    host: str = ""
    severity: str = ""
    status: str = ""
    """Without it every alert fires, and ends when a person says so."""
    fingerprint: tuple[str, ...] = ()
    """Together they name an alert; without them the rule, the host and the labels do."""
    starts_at: str = ""
    ends_at: str = ""
    url: str = ""
    labels: str = ""
    """Where an object is whose texts and numbers become labels."""
    severities: Mapping[str, Severity] = field(default_factory=dict)
    """Beside the words that everybody uses."""
    firing: tuple[str, ...] = FIRING
    resolved: tuple[str, ...] = RESOLVED


def parse(text: str) -> Path:
    """Return a path; raise UsageError when it is none."""
    whole = text == "$" or text.startswith(("$.", "$["))
    rest, steps = text[1:] if whole else text, list[str | int]()
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        # Between two names stands a dot, and at the very beginning none.
        dotted = found is not None and found[0].startswith(".")
        if found is None or (found[3] is None and dotted != bool(at or whole)):
            raise UsageError(f"路径写法不对 / not a path: {text}（第 {at + 1} 个字符 / character）")
        steps.append(found[1] or found[2] or int(found[3]))
        at = found.end()
    return Path(text, tuple(steps), whole)


def decoder(name: str, shape: Shape) -> Callable[[bytes, datetime], tuple[Alert, ...]]:
    """Return the decode of a source with this shape; raise UsageError when one of its paths is ill.

    The decode raises UsageError with the path for what it cannot use, as every source's does.
    """
    ready = _Ready(name, shape)
    return ready.decode


def texts(shape: Shape) -> Mapping[str, str]:
    """Return the paths of a shape that are set, by what they are of."""
    named = {
        key: getattr(shape, key)
        for key in (
            "rule", "host", "severity", "status", "title", "text",
            "starts_at", "ends_at", "url", "labels", "each",
        )
    }  # fmt: skip
    named["fingerprint"] = " + ".join(shape.fingerprint)
    return {key: text for key, text in named.items() if text}


class _Ready:
    """A shape whose paths are parsed, once for all that will be posted."""

    def __init__(self, name: str, shape: Shape) -> None:
        self._shape = shape
        self._wrong = Wrong(shape.label or name)
        self._each = parse(shape.each)
        self._paths = {
            key: parse(text)
            for key, text in texts(shape).items()
            if key not in {"each", "fingerprint"}
        }
        self._fingerprint = tuple(parse(text) for text in shape.fingerprint)
        self._firing = frozenset(word.lower() for word in shape.firing)
        self._resolved = frozenset(word.lower() for word in shape.resolved)

    def decode(self, body: bytes, now: datetime) -> tuple[Alert, ...]:
        whole = reading.tree(body, self._wrong)
        found = _at(whole, self._each)
        if found is None:
            raise self._told(self._each.text, "找不到 / not found")
        entries = found if isinstance(found, list) else [found]
        numbered = list(enumerate(entries)) if isinstance(found, list) else [(None, found)]
        return reading.each(
            numbered, lambda one, at: self._alert(one[1], whole, one[0], at), self._wrong, now
        )

    def _alert(self, entry: object, whole: object, number: int | None, now: datetime) -> Alert:
        where = "" if number is None else f"{self._shape.each}[{number}]."

        def text(key: str) -> str:
            path = self._paths.get(key)
            return "" if path is None else self._text(entry, whole, path, where)

        rule = reading.line(text("rule"))
        if not rule:
            raise self._told(f"{where}{self._shape.rule}", "找不到，或为空 / not found, or empty")
        firing = self._fires(text("status"), where)
        host, labels = reading.line(text("host")), self._labels(entry, whole, where)
        severity = self._severity(text("severity"))
        named = {"alertname": rule, "host": host, "severity": str(severity)}
        labels |= {key: value for key, value in named.items() if value}
        parts = [self._text(entry, whole, path, where) for path in self._fingerprint]
        known = any(parts)
        moving = {key: value for key, value in labels.items() if key != "severity"}
        return Alert(
            reading.identity(*parts) if known else reading.of_labels(moving),
            firing,
            severity,
            rule,
            host,
            reading.line(text("title")),
            text("text"),
            labels,
            self._when(text("starts_at"), "starts_at", where, now),
            None if firing else self._when(text("ends_at"), "ends_at", where, now) or now,
            reading.link(text("url")),
            ends=bool(self._shape.status),
        )

    def _text(self, entry: object, whole: object, path: Path, where: str) -> str:
        found = _at(whole if path.whole else entry, path)
        if isinstance(found, (dict, list)):
            kind = "object" if isinstance(found, dict) else "list"
            where = "" if path.whole else where
            raise self._told(f"{where}{path.text}", f"应为文字或数字 / must be a text, not {kind}")
        return _plain(found)

    def _labels(self, entry: object, whole: object, where: str) -> dict[str, str]:
        path = self._paths.get("labels")
        if path is None:
            return {}
        found = _at(whole if path.whole else entry, path)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self._told(f"{where}{path.text}", "应为对象 / must be an object")
        plain = {key: value for key, value in found.items() if not isinstance(value, (dict, list))}
        return {key: _plain(value) for key, value in plain.items() if value is not None}

    def _fires(self, word: str, where: str) -> bool:
        if not self._shape.status or word.lower() in self._firing:
            return True
        if word.lower() in self._resolved:
            return False
        raise self._told(
            f"{where}{self._shape.status}",
            f"{word!r} 不在 firing 和 resolved 里 / is neither in firing nor in resolved",
        )

    def _severity(self, word: str) -> Severity:
        return self._shape.severities.get(word) or reading.severity_of(word)

    def _when(self, text: str, key: str, where: str, now: datetime) -> datetime | None:
        if not text:
            return None
        if _NUMBER.fullmatch(text):
            return reading.epoch(float(text), now)
        try:
            return reading.instant(datetime.fromisoformat(text), now)
        except ValueError:
            path = f"{where}{self._paths[key].text}"
            raise self._told(path, f"不是时间 / not a time: {text!r}") from None

    def _told(self, path: str, why: str) -> UsageError:
        return self._wrong.told(f"{path}: {why}")


def _at(value: object, path: Path) -> object:
    """Return what stands at a path; None when nothing does."""
    for step in path.steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _plain(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)

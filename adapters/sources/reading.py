"""What every decoder needs: JSON within limits, clean texts, one word for a severity, an instant.

The fast way is msgspec's typed decoding, with the limits in the types. What it refuses, and what
holds characters that no card shows, is read again slowly: mended where it is nearly JSON, cleaned and
cut to the limits, and alert by alert, so that one that is ill does not cost the others.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from adapters.port import UsageError
from adapters.words import Alert, Severity

LARGEST = 8 * 1024 * 1024
"""Bytes of one delivery: about 13,000 alerts of Alertmanager's."""

MOST_LABELS = 100
LONGEST_KEY = 200
LONGEST = 2000
"""Characters kept of any text."""
LONGEST_LINE = 200
"""Characters kept of a rule's, a host's and a title's line."""
LONGEST_REASON = 200
"""A decoder's error may repeat what was posted."""
DEEPEST = 32
"""JSON inside JSON; no monitor's goes below 8."""

Text = Annotated[str, Meta(max_length=LONGEST)]
Labels = Annotated[
    dict[Annotated[str, Meta(max_length=LONGEST_KEY)], Text], Meta(max_length=MOST_LABELS)
]

CHINA = timezone(timedelta(hours=8))
"""Of the clouds' and monitors' times without a zone."""

UNREADABLE = "unreadable"
"""The fingerprint of the alert that says that others could not be read."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, halves of characters, and what turns the direction of writing; tab and line end stay."""

_SUSPECT = re.compile(
    rb"\\[bfr]|\\u(?:00[0189]|007[fF]|202|206|[dD][89a-fA-F])"
    rb"|\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]"
)
"""What `_UNSEEN` looks like in JSON, or nearly: a body without it needs no cleaning."""

BROKEN = "\ufffd"
"""Stands where a character could not be read."""

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)

_WORDS: Mapping[Severity, str] = {
    Severity.CRITICAL: "critical crit p0 p1 s1 sev1 emergency emerg alert fatal disaster urgent "
    "page high error major 紧急 严重 致命 灾难 重要 高",
    Severity.WARNING: "warning warn p2 p3 s2 sev2 average medium minor 警告 告警 一般 次要 中",
    Severity.INFO: "info information informational notice none ok debug low p4 p5 s3 sev3 "
    "提示 通知 信息 低",
}
SEVERITIES: Mapping[str, Severity] = {
    word: severity for severity, words in _WORDS.items() for word in words.split()
}
"""Monitors' words. Major is critical: in ITU-T X.733 it asks for urgent action, minor does not."""

E = TypeVar("E")
T = TypeVar("T")


def severity_of(word: str) -> Severity:
    """Return what a monitor's word means; an unknown or absent one is a warning, never less."""
    return SEVERITIES.get(word) or SEVERITIES.get(word.strip().lower(), Severity.WARNING)


def clean(text: str) -> str:
    """Leave out what no card shows and PostgreSQL refuses, and cut; tab and line end stay."""
    return _UNSEEN.sub("", text).strip()[:LONGEST]


def line(text: str) -> str:
    """Return the first line of a text, cut to what stands in a title."""
    return text.strip().partition("\n")[0].strip()[:LONGEST_LINE]


def link(text: str) -> str:
    """Return an address that a card may show; empty for anything but http and https."""
    return text if text.startswith(("https://", "http://")) and len(text) < LONGEST else ""


def host_of(labels: Mapping[str, str]) -> str:
    """Return the host that Prometheus' labels name, without the exporter's port."""
    for key in ("host", "hostname", "nodename", "node", "instance"):
        if name := labels.get(key):
            return without_port(name)
    return ""


def without_port(name: str) -> str:
    """Return `web-1` for `web-1:9100`: the exporters of one host are one host."""
    host, colon, port = name.rpartition(":")
    bare = not colon or not port.isdecimal() or (":" in host and not host.endswith("]"))
    return (name if bare else host)[:LONGEST_LINE]


def identity(*parts: str) -> str:
    """Return a name of fixed length for what has none of its own: a hash of what it consists of."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def of_labels(labels: Mapping[str, str]) -> str:
    """Return the fingerprint of an alert whose source gives none: its sorted labels' hash."""
    return identity(*(part for pair in sorted(labels.items()) for part in pair))


def named(fingerprint: str) -> str:
    """Return a source's own fingerprint, or its hash if it is too long for a key."""
    return fingerprint if len(fingerprint) <= LONGEST_LINE else identity(fingerprint)


def instant(at: datetime | None, now: datetime) -> datetime | None:
    """Return when an alert began, in UTC: None for no time, never later than `now`.

    Go's zero time is the year 1; a monitor whose clock is ahead must not put an alert off.
    """
    if at is None or not 1971 <= at.year <= 9000:  # noqa: PLR2004 a shift of zone stays in range
        return None
    if at.tzinfo is not UTC:
        at = (at if at.tzinfo else at.replace(tzinfo=CHINA)).astimezone(UTC)
    return min(at, now)


def epoch(number: float | None, now: datetime) -> datetime | None:
    """Return the instant of a Unix time in seconds or milliseconds; None for 0 and nonsense."""
    if not number or number < 0:
        return None
    seconds = number / 1000 if number > 1e11 else number  # noqa: PLR2004 that is the year 5138
    try:
        return instant(datetime.fromtimestamp(seconds, UTC), now)
    except (ValueError, OverflowError, OSError):
        return None


def written(text: str, now: datetime) -> datetime | None:
    """Return the instant that a text of ISO's shape names, in China's time if it names no zone."""
    try:
        return instant(datetime.fromisoformat(text.strip()), now)
    except ValueError:
        return None


# -- JSON ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wrong:
    """Whose format it is not: for the error."""

    title: str

    def told(self, why: str) -> UsageError:
        """Return the error to raise."""
        return UsageError(
            f"无法识别的告警内容：不是{self.title}的格式 / not what {self.title} posts: "
            f"{clean(why)[:LONGEST_REASON]}"
        )


def fitting(body: bytes, wrong: Wrong) -> bytes:
    """Return a body that is not too large; raise UsageError for one that is."""
    if len(body) > LARGEST:
        raise wrong.told(f"{len(body)} 字节，超过 {LARGEST} / larger than {LARGEST} bytes")
    return body


def quick(decoder: msgspec.json.Decoder[T], body: bytes, wrong: Wrong) -> T | None:
    """Return a JSON document by its type; None when it must be tidied or mended first, with `tree`."""
    try:
        return None if _SUSPECT.search(fitting(body, wrong)) else decoder.decode(body)
    except _FAULTS:
        return None  # perhaps only a text is too long, or half a character


def read(decoder: msgspec.json.Decoder[T], body: bytes, wrong: Wrong) -> T:
    """Return a JSON document by its type, clean and within the limits; raise UsageError if not."""
    found = quick(decoder, body, wrong)
    return convert(tree(body, wrong), decoder.type, wrong) if found is None else found


def exact(decoder: msgspec.json.Decoder[T], body: bytes, wrong: Wrong) -> T:
    """Return a JSON document by its type with its texts as they were posted, controls and all."""
    try:
        return decoder.decode(fitting(body, wrong))
    except _FAULTS as error:
        raise wrong.told(str(error)) from None


def convert(value: object, kind: type[T], wrong: Wrong) -> T:
    """Return a tidied value by its type; raise UsageError if it is another."""
    try:
        return msgspec.convert(value, kind)
    except _FAULTS as error:
        raise wrong.told(str(error)) from None


def tree(body: bytes, wrong: Wrong) -> object:
    """Return a JSON document whatever its shape, clean and cut to the limits."""
    fitting(body, wrong)
    try:
        value = msgspec.json.decode(body)
    except _FAULTS as error:
        value = _mended(body, error, wrong)
    return _tidy(value, DEEPEST, wrong)


def _mended(body: bytes, error: Exception, wrong: Wrong) -> object:
    """Return what is nearly JSON: a mark at its begin, a raw line end or half a character in a text,
    or bytes of GBK must not cost the good alerts beside them."""
    try:
        return json.loads(_text(body), strict=False, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise wrong.told(str(error)) from None


def _text(body: bytes) -> str:
    text = body.decode("utf-8-sig", errors="replace")
    broken = text.count(BROKEN)
    # A text that was cut has one broken character among many; where most are, it is another code.
    if broken > sum(character > "\x7f" for character in text) - broken:
        with contextlib.suppress(UnicodeDecodeError):
            return body.decode("gb18030")
    return text


def _tidy(value: object, deep: int, wrong: Wrong) -> object:
    if isinstance(value, str):
        return clean(value)
    if not isinstance(value, (dict, list)):
        return value
    if not deep:
        raise wrong.told(f"嵌套超过 {DEEPEST} 层 / nested deeper than {DEEPEST}")
    if isinstance(value, list):
        return [_tidy(each, deep - 1, wrong) for each in value]
    kept = list(value.items())[:MOST_LABELS]
    return {clean(key)[:LONGEST_KEY]: _tidy(each, deep - 1, wrong) for key, each in kept}


def listed(value: object, key: str, wrong: Wrong) -> list[object]:
    """Return the list that an object holds under `key`; raise UsageError if there is none."""
    entries = value.get(key) if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise wrong.told(f"没有列表 {key} / no list {key}")
    return entries


def each(
    entries: Iterable[E], one: Callable[[E, datetime], Alert], wrong: Wrong, now: datetime
) -> tuple[Alert, ...]:
    """Return the alerts of a delivery of which some may be ill, and one more that says so.

    Raises UsageError if none can be read: then nothing was kept, and the sender must know.
    """
    good: list[Alert] = []
    ill: list[str] = []
    for entry in entries:
        try:
            good.append(one(entry, now))
        except UsageError as error:
            ill.append(str(error))
    if ill and not good:
        raise UsageError(ill[0])
    return (*good, _unreadable(wrong, ill, now)) if ill else tuple(good)


def typed(
    kind: type[T], one: Callable[[T, datetime], Alert], wrong: Wrong
) -> Callable[[object, datetime], Alert]:
    """Return the reader of an alert that was tidied and has no type yet, for `each`."""
    return lambda entry, now: one(convert(entry, kind, wrong), now)


def _unreadable(wrong: Wrong, ill: list[str], now: datetime) -> Alert:
    return Alert(
        UNREADABLE,
        firing=True,
        severity=Severity.WARNING,
        rule="无法识别的告警",
        title=f"{wrong.title}发来的告警中有 {len(ill)} 条无法识别",
        text=ill[0],
        labels={"alertname": "无法识别的告警"},
        starts_at=now,
        ends=False,
    )

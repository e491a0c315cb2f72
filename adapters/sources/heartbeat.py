"""What the bot posts to itself when a job is not heard of in time, and when it is again."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from adapters.sources import reading
from adapters.sources.reading import Text, Wrong
from adapters.words import Alert, Severity

NAME = "heartbeat"
TITLE = "心跳"
WRONG = Wrong(TITLE)
RULE = "心跳中断"


class _Silence(Struct):
    name: Text
    firing: bool
    every: int
    last_at: datetime | None = None


_SILENCE = msgspec.json.Decoder(_Silence)


def encode(name: str, *, firing: bool, every: int, last_at: datetime | None) -> bytes:
    """Return the post that says of a job whether it is silent; `every` is in seconds."""
    return msgspec.json.encode(_Silence(name, firing, every, last_at))


def decode(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return the alert of one post; raise UsageError when it is none."""
    wire = reading.read(_SILENCE, body, WRONG)
    last = "从未收到" if wire.last_at is None else f"上次收到：{wire.last_at:%Y-%m-%d %H:%M:%S} UTC"
    return (
        Alert(
            wire.name,
            wire.firing,
            Severity.CRITICAL,
            RULE,
            title=reading.line(f"{RULE} - {wire.name}"),
            text=f"「{wire.name}」应每 {wire.every} 秒报到一次，{last}",
            labels={"alertname": RULE, "job": wire.name, "severity": str(Severity.CRITICAL)},
            starts_at=now if wire.firing else None,
            ends_at=None if wire.firing else now,
        ),
    )

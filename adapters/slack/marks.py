"""The marks of our keys on what was said: Slack takes no idempotency key, so we look for ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

STAMP = "vigilbot_key"
"""The event type of our messages' metadata."""


def stamp(key: str) -> str:
    """Return what a key looks like in a channel, where every app may read it."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:32]


def metadata(mark: str) -> dict[str, Any]:
    """Return the metadata that carries a stamp."""
    return {"event_type": STAMP, "event_payload": {"key": mark}}


def stamps(messages: Sequence[Mapping[str, Any]], me: str) -> dict[str, str]:
    """Return what our own messages in a channel's history (newest first) say: stamp -> ts, or the
    id of a file."""
    found: dict[str, str] = {}
    for one in reversed(messages):  # the oldest first: that is what is forgotten first
        if one.get("user") != me:
            continue
        data = one.get("metadata") or {}
        if data.get("event_type") == STAMP:
            found[data["event_payload"]["key"]] = one["ts"]
        for block in one.get("blocks", ()):
            kind, _, mark = block.get("block_id", "").partition(":")
            if kind == STAMP and one.get("files"):
                found[mark] = one["files"][0]["id"]
    return found

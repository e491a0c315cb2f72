"""Slack calling the bot's own address, where no socket is held: each kind of delivery in its encoding,
signed with the app's secret (docs.slack.dev, verifying requests from Slack)."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import aiohttp

Json = dict[str, Any]

SIGNING_SECRET = "signing-sim-secret"
BUDGET = 3.0
"""Seconds in which the address must have answered."""


async def call(
    http: aiohttp.ClientSession, address: str, delivery: Json, tries: int
) -> tuple[int, str]:
    """Post a delivery that was told `tries` times before; return status and body of the answer, 0
    and nothing where there was none in time."""
    kind, body = _encoded(delivery)
    headers = {"content-type": kind, **signature(body)}
    if tries:
        headers |= {"x-slack-retry-num": str(tries), "x-slack-retry-reason": "http_timeout"}
    within = aiohttp.ClientTimeout(total=BUDGET)
    try:
        async with http.post(address, data=body, headers=headers, timeout=within) as answer:
            return answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return 0, ""


def signature(body: str) -> dict[str, str]:
    """Return the headers that prove a body to be Slack's, now."""
    at = str(int(time.time()))
    said = f"v0:{at}:{body}".encode()
    proof = hmac.new(SIGNING_SECRET.encode(), said, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": at, "x-slack-signature": f"v0={proof}"}


def _encoded(delivery: Json) -> tuple[str, str]:
    payload = delivery["payload"]
    match delivery["type"]:
        case "events_api":
            return "application/json", json.dumps(payload)
        case "slash_commands":
            return "application/x-www-form-urlencoded", urlencode(payload)
        case _:
            form = {"payload": json.dumps(payload)}
            return "application/x-www-form-urlencoded", urlencode(form)

"""The tenant token: one for all requests, fetched by one of them while the others wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime, timedelta
from json import JSONDecodeError

import httpx

from adapters.feishu.wire import STALE_TOKEN
from adapters.port import Clock
from adapters.words import NOTHING, Secret

EARLY = timedelta(minutes=10)
"""How long before its end a token is given up. Feishu hands out the same one while 30 minutes
remain, and below that a second one beside it, so both sides of the change are valid."""

Fetch = Callable[[], Awaitable[tuple[Secret, float]]]
"""Asks Feishu for a token; returns it and the seconds that it lasts."""


class TenantToken(httpx.Auth):
    """Signs each request; one that Feishu refuses for its token is sent once more with a new one."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token = NOTHING
        self._until: datetime | None = None
        self._one = asyncio.Lock()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self._valid()
        request.headers["Authorization"] = f"Bearer {token.reveal()}"
        response = yield request
        if await _is_stale(response):
            token = await self._valid(refused=token)
            request.headers["Authorization"] = f"Bearer {token.reveal()}"
            yield request

    async def _valid(self, refused: Secret = NOTHING) -> Secret:
        # Whoever is cancelled while fetching lets the next one in the queue fetch.
        async with self._one:
            now = self._clock.now()
            if self._until is None or now >= self._until or self._token == refused:
                token, seconds = await self._fetch()
                self._token, self._until = token, now + timedelta(seconds=seconds) - EARLY
            return self._token


async def _is_stale(response: httpx.Response) -> bool:
    if response.status_code < 400:  # noqa: PLR2004 - the first status of a failure
        return False
    await response.aread()
    try:
        body = response.json()
    except (JSONDecodeError, UnicodeDecodeError):
        return False
    return isinstance(body, dict) and body.get("code") in STALE_TOKEN

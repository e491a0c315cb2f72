"""Says yes to Huawei's SMN when it asks whether a hook is ours: a GET of the address it named.

The address is Huawei's by the check of `huawei.confirmation`, its question is signed by the holder
of a certificate that lies on a host of SMN's, and a redirect is not followed. Not in the path of
the hook: whoever knows one must not make us wait for another server.
"""

from __future__ import annotations

import asyncio
from typing import Self

import httpx
import structlog

from adapters.sources.huawei import Confirmation, genuine

MOST_WAITING = 100
"""Questions; SMN asks again when somebody presses its button."""

LONGEST = 64 * 1024
"""Bytes of a certificate."""

OK = 200

log = structlog.get_logger()


class Subscriptions:
    """Enter it to begin to answer; leaving it drops what was not answered."""

    def __init__(
        self, *, timeout: float = 10.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._timeout = timeout
        self._transport = transport
        self._asked: asyncio.Queue[Confirmation] = asyncio.Queue(MOST_WAITING)
        self._http: httpx.AsyncClient
        self._answering: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(
            timeout=self._timeout, transport=self._transport, follow_redirects=False
        )
        self._answering = asyncio.create_task(self._run(), name="smn")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._answering.cancel()
        await asyncio.wait({self._answering})
        await self._http.aclose()

    def confirm(self, asked: Confirmation) -> None:
        """Answer a question later; it is dropped when too many wait."""
        if self._asked.full():
            log.warning("subscription dropped", topic=asked.topic)
            return
        self._asked.put_nowait(asked)

    async def settled(self) -> None:
        """Wait until all that was asked is answered."""
        await self._asked.join()

    async def _run(self) -> None:
        while True:
            asked = await self._asked.get()
            try:
                told = await self._answer(asked)
                log.info("subscription", topic=asked.topic, outcome=told)
            except httpx.HTTPError as error:
                log.warning("subscription not confirmed", topic=asked.topic, why=repr(error))
            finally:
                self._asked.task_done()

    async def _answer(self, asked: Confirmation) -> str:
        certificate = await self._http.get(asked.certificate_url)
        if certificate.status_code != OK or not genuine(asked, certificate.content[:LONGEST]):
            return "not signed by Huawei"
        answer = await self._http.get(asked.subscribe_url)
        return "confirmed" if answer.status_code == OK else f"HTTP {answer.status_code}"

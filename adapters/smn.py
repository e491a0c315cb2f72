"""Says yes to Huawei's SMN when it asks whether a hook is ours: a GET of the address it named.

The address is Huawei's by the check of `huawei.confirmation`, its question is signed by the holder
of a certificate that lies on a host of SMN's, which TLS proves to be that host, and a redirect is
not followed. Not in the path of the hook: whoever knows one must not make us wait for another server.
"""

from __future__ import annotations

from typing import Self

import httpx

from adapters.port import Permanent, Transient
from adapters.sources.huawei import Confirmation, genuine
from adapters.tls import trusted

LONGEST = 64 * 1024
"""Bytes of a certificate, or of an answer."""

OK = 200
LATER = frozenset({408, 425, 429})
FAULTS = 500
"""From here on it is the server's fault, and may be over soon."""


class Subscriptions:
    """Enter it to be able to answer. `transport` is what requests go out by, for a network that has
    its own way out."""

    def __init__(
        self, *, timeout: float = 10.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._timeout = timeout
        self._transport = transport
        self._http: httpx.AsyncClient

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(
            verify=trusted(),
            timeout=self._timeout,
            transport=self._transport,
            follow_redirects=False,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    async def confirm(self, asked: Confirmation) -> None:
        """Say yes to a question; the same one again changes nothing.

        Raises Permanent when Huawei did not sign it or takes no answer to it, and Transient.
        """
        if not genuine(asked, await self._get(asked.certificate_url)):
            raise Permanent("不是华为云签名的请求 / not signed by Huawei")
        await self._get(asked.subscribe_url)

    async def _get(self, url: str) -> bytes:
        read = b""
        try:
            async with self._http.stream("GET", url) as answer:
                async for part in answer.aiter_bytes():
                    read += part
                    if len(read) > LONGEST:
                        raise Permanent("华为云的回答太长 / the answer is too long")
        except httpx.HTTPError as error:
            raise Transient(f"连接不上华为云 / Huawei cannot be reached: {error!r}") from error
        status = answer.status_code
        if status >= FAULTS or status in LATER:
            raise Transient(f"华为云暂时不可用 / Huawei answers HTTP {status}")
        if status != OK:
            raise Permanent(f"华为云不接受确认 / Huawei refuses it: HTTP {status}")
        return read

"""A customer's webhook receiver on the loopback: it verifies as the standard has it, drops what it
has seen, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections import deque
from typing import Any, Self

from aiohttp import web

KEY = "a-key-of-the-customers"


class HookSim:
    """The far side. Faults: a status ("503", "429:7" with Retry-After, "302"), `gone` (breaks off
    unread), `lost` (takes it and breaks off), `silent` (takes it and says nothing), `endless` (an
    answer without end)."""

    def __init__(self, secure: ssl.SSLContext | None = None) -> None:
        self._secure = secure
        self._faults: deque[str] = deque()
        self.told: list[dict[str, Any]] = []
        self.attempts: list[dict[str, str]] = []
        self._seen: set[str] = set()
        self._closing = asyncio.Event()
        self.port = 0

    def misbehave(self, *faults: str) -> None:
        self._faults.extend(faults)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/robot", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._secure).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        fault = self._faults.popleft() if self._faults else ""
        self.attempts.append(dict(request.headers))
        assert request.transport
        if fault == "gone":
            request.transport.abort()
            return web.Response()
        status, _, wait = fault.partition(":")
        if status.isdigit():
            headers = {"Retry-After": wait} if wait else {}
            headers |= {"Location": "http://169.254.169.254/"} if status == "302" else {}
            return web.Response(status=int(status), headers=headers)
        self._keep(request, await request.read())
        if fault == "lost":
            request.transport.abort()
        elif fault == "silent":
            await self._closing.wait()
        elif fault == "endless":
            answer = web.StreamResponse()
            await answer.prepare(request)
            while not self._closing.is_set() and not request.transport.is_closing():
                await answer.write(b"x" * 1000)
                await asyncio.sleep(0)
            return answer
        return web.Response(status=204)

    def _keep(self, request: web.Request, body: bytes) -> None:
        its_id, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        signed = f"{its_id}.{at}.".encode() + body
        made = hmac.new(KEY.encode(), signed, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(made).decode()}"
        assert hmac.compare_digest(request.headers["webhook-signature"], wanted)
        if its_id not in self._seen:
            self._seen.add(its_id)
            self.told.append(json.loads(body))

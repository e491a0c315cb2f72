"""The calls of Slack's Web API over one HTTP client, and the bytes of files.

Whatever goes wrong is one of the three errors.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import httpx

from adapters.port import Fault, InDoubt, Permanent, Transient
from adapters.slack import wire
from adapters.tls import trusted
from adapters.words import File, Secret


class Bearer(httpx.Auth):
    """Puts the token on a request at the moment of use."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request


class Calls:
    """The far side, as the bot's token may call it; `open` comes first."""

    def __init__(self, token: Secret, base_url: str, *, timeout: float) -> None:
        self._token = Bearer(token)
        self._base = base_url.rstrip("/") + "/"
        self._timeout = timeout
        self._http: httpx.AsyncClient | None = None

    @property
    def is_open(self) -> bool:
        return self._http is not None

    def open(self) -> None:
        self._http = httpx.AsyncClient(timeout=self._timeout, verify=trusted())

    async def close(self) -> None:
        """Close; what is under way ends as Transient."""
        client, self._http = self._http, None
        if client:
            await client.aclose()

    def reach(self) -> None:
        """Raise Transient where nothing is open."""
        self._client()

    async def call(
        self,
        method: str,
        body: Mapping[str, Any],
        *,
        again: bool,
        fine: Collection[str] = (),
        auth: httpx.Auth | None = None,
    ) -> dict[str, Any]:
        """Call a method of the Web API; `again` says that a second call does no harm, `fine` are
        the errors that the caller reads for itself.

        Raises the three errors; a lost answer is InDoubt only where a second call would harm.
        """
        reply, _ = await self.asked(method, body, again=again, fine=fine, auth=auth)
        return reply

    async def asked(
        self,
        method: str,
        body: Mapping[str, Any],
        *,
        again: bool,
        fine: Collection[str] = (),
        auth: httpx.Auth | None = None,
    ) -> tuple[dict[str, Any], httpx.Headers]:
        """Call as `call` does, and return the answer's headers too."""
        request = self._client().build_request(
            "POST", self._base + method, data=_form(body), timeout=self._timeout
        )
        response = await self._ask_far_side(request, method, auth or self._token, again=again)
        try:
            reply = response.json()
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            if response.is_client_error:  # not Slack's own way to say no: a proxy, a wrong base_url
                reason = f"Slack {method}：HTTP {response.status_code}，请检查 base_url 和代理"
                raise Permanent(reason, fault=Fault.REFUSED)
            raise _lost(f"Slack {method}：回答不是 JSON", again=again)
        if reply.get("ok") is not True:
            error = str(reply.get("error", "unknown_error"))
            if error in fine:
                return reply, response.headers
            raise wire.fault(method, error, again=again, retry_after=_retry_after(response))
        return reply, response.headers

    async def put(self, url: str, content: bytes) -> None:
        """Hand over a file's bytes; the address is its own ticket and takes no token."""
        request = self._client().build_request("POST", url, content=content)
        response = await self._ask_far_side(request, "上传文件", None, again=True)
        if response.status_code != httpx.codes.OK:
            raise Permanent(f"Slack 上传文件：HTTP {response.status_code}", fault=Fault.REFUSED)

    async def fetch(self, file: wire.Attached) -> File:
        """Get a file that somebody sent; the token goes to Slack's own hosts alone."""
        if not wire.trusted(file.url, self._base):
            raise Permanent("文件不在 Slack 上", fault=Fault.REFUSED)
        request = self._client().build_request("GET", file.url)
        response = await self._ask_far_side(request, "下载文件", self._token, again=True)
        if response.status_code != httpx.codes.OK:
            # Without files:read Slack redirects to a page where one signs in.
            raise Permanent(f"Slack 下载文件：HTTP {response.status_code}", fault=Fault.REFUSED)
        return File(file.name, response.content)

    async def _ask_far_side(
        self, request: httpx.Request, what: str, auth: httpx.Auth | None, *, again: bool
    ) -> httpx.Response:
        try:
            response = await self._client().send(request, auth=auth)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as problem:
            raise Transient(f"连不上 Slack（{type(problem).__name__}）") from problem
        except httpx.HTTPError as problem:
            reason = f"Slack {what}：没有收到回答（{type(problem).__name__}）"
            raise _lost(reason, again=again) from problem
        except RuntimeError as problem:  # httpx: the client was closed under a call
            raise Transient("Slack 没有连接") from problem
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            pause = _retry_after(response)
            raise Transient(f"Slack {what}：超过频率限制", retry_after=pause)
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _lost(f"Slack {what}：HTTP {response.status_code}", again=again)
        return response

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise Transient("Slack 没有连接")
        return self._http


def _form(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the body as a form, which every method takes; some take no JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in body.items()
    }


def _lost(reason: str, *, again: bool) -> Transient | InDoubt:
    return Transient(reason) if again else InDoubt(reason, fault=Fault.NETWORK)


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None

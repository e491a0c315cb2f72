"""The calls of DingTalk's interfaces, new and old, over one HTTP client; each is counted.

Whatever goes wrong is one of our errors.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import httpx

from adapters.dingtalk import refusals
from adapters.dingtalk import token as tokens
from adapters.dingtalk.quota import Quota
from adapters.port import InDoubt, Permanent, Transient
from adapters.tls import trusted

UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_hide = tokens.HideTokens()


class Calls:
    """The far side, as the app may call it; `open` comes first. Seconds for `timeout`."""

    def __init__(
        self,
        auth: tokens.TokenAuth,
        quota: Quota,
        *,
        api_url: str,
        timeout: float,
        proxy: str | None,
    ) -> None:
        self._auth = auth
        self._quota = quota
        self._api_url = api_url
        self._timeout = httpx.Timeout(timeout, connect=min(5.0, timeout))
        self._proxy = proxy
        self._http: httpx.AsyncClient | None = None

    def open(self) -> None:
        logging.getLogger("httpx").addFilter(_hide)
        self._http = httpx.AsyncClient(
            verify=trusted(), timeout=self._timeout, trust_env=False, proxy=self._proxy
        )

    async def close(self) -> None:
        if self._http:
            await self._http.aclose()
        self._http = None

    async def ask(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        repeatable: bool = True,
        counted: bool = True,
        **request: Any,
    ) -> Mapping[str, Any]:
        """Return the answer's JSON object; raises one of our errors, secrets masked.

        `repeatable` says that a second time does no harm, so an unseen end is Transient.
        """
        url = path if path.startswith("http") else f"{self._api_url}{path}"
        client = self.client()
        if counted:
            self._quota.spend()
        try:
            response = await client.request(method, url, **{"auth": self._auth, **request})
        except UNSENT as problem:
            raise Transient(f"连不上钉钉，{doing}：{type(problem).__name__}") from problem
        except httpx.TransportError as problem:
            token = problem.request.url.path == tokens.PATH
            if repeatable or token:
                raise Transient(f"钉钉没有答复，{doing}：{type(problem).__name__}") from problem
            raise InDoubt(f"钉钉没有答复，不知道做了没有，{doing}") from problem
        except httpx.InvalidURL as problem:
            raise Permanent(f"钉钉的地址不对，{doing}") from problem
        error = refusals.refusal(
            response.status_code,
            self._auth.masked(response.text),
            doing=doing,
            repeatable=repeatable,
            month_left=self._quota.renewed_in,
        )
        if error:
            raise error
        return _object(response, doing, repeatable=repeatable)

    def client(self) -> httpx.AsyncClient:
        """Return the open client; raises Transient where there is none."""
        if self._http is None:
            raise Transient("钉钉没有打开")
        return self._http


def _object(response: httpx.Response, doing: str, *, repeatable: bool) -> Mapping[str, Any]:
    try:
        body = json.loads(response.text or "{}")
    except ValueError as problem:
        if repeatable:
            raise Transient(f"钉钉答非所问，{doing}") from problem
        raise InDoubt(f"钉钉答非所问，不知道做了没有，{doing}") from problem
    return body if isinstance(body, dict) else {}


def need(answer: Mapping[str, Any], name: str) -> str:
    """Return a text of an answer that may as well be asked for again."""
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise Transient(f"钉钉的答复里没有 {name}")
    return value


def done(answer: Mapping[str, Any], name: str) -> str:
    """Return the name of what was done: without it nobody can tell what became of it."""
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise InDoubt(f"钉钉的答复里没有 {name}，不知道做了没有")
    return value

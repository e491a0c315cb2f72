"""The app's access token: fetched once for all who wait, renewed before it ends."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec

from adapters.dingtalk import refusals
from adapters.port import Clock, Fault, OutsideError, Permanent
from adapters.words import NOTHING, Secret

PATH = "/v1.0/oauth2/accessToken"
HEADER = "x-acs-dingtalk-access-token"
EARLY = timedelta(minutes=5)
"""How long before its end a token is no longer used: a call under way must not outlive it."""
HTTP_UNAUTHORIZED = 401


class _Token(msgspec.Struct):
    accessToken: str  # noqa: N815 - the platform's word
    expireIn: int  # noqa: N815


class TokenAuth(httpx.Auth):
    """Puts the token where it belongs: in a header, or for the old interfaces in the query."""

    def __init__(
        self, client_id: str, secret: Secret, clock: Clock, *, api_url: str, oapi_url: str
    ) -> None:
        self._client_id = client_id
        self._secret = secret
        self._clock = clock
        self._api_url = api_url
        self._oapi = httpx.URL(oapi_url)
        self._one = asyncio.Lock()
        self._token = NOTHING
        self._until: datetime | None = None

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        async with self._one:
            if self._stale():
                await self._take((yield self._ask()))
        used = self._token
        response = yield self._with(used, request)
        await response.aread()
        if not _refused(response):
            return
        async with self._one:
            if self._token == used:  # nobody else has renewed it meanwhile
                await self._take((yield self._ask()))
        yield self._with(self._token, request)

    def masked(self, text: str) -> str:
        """Return the text without the token and the secret, whoever put them there."""
        for secret in (self._secret, self._token):
            text = text.replace(secret.reveal(), "***") if secret else text
        return text

    def _stale(self) -> bool:
        return self._until is None or self._clock.now() >= self._until

    def _ask(self) -> httpx.Request:
        body = {"appKey": self._client_id, "appSecret": self._secret.reveal()}
        return httpx.Request("POST", f"{self._api_url}{PATH}", json=body)

    async def _take(self, response: httpx.Response) -> None:
        await response.aread()
        error = refusals.refusal(
            response.status_code, response.text, doing="取令牌", repeatable=True
        )
        if error is not None:
            raise self._without_secret(error)
        try:
            token = msgspec.json.decode(response.content, type=_Token)
        except msgspec.MsgspecError as problem:
            raise Permanent("钉钉的令牌接口答非所问", fault=Fault.REFUSED) from problem
        self._token = Secret(token.accessToken)
        self._until = self._clock.now() + timedelta(seconds=token.expireIn) - EARLY

    def _without_secret(self, error: OutsideError) -> OutsideError:
        error.reason = self.masked(error.reason)
        error.args = (error.reason,)
        return error

    def _with(self, token: Secret, request: httpx.Request) -> httpx.Request:
        if request.url.netloc == self._oapi.netloc and not request.url.path.startswith("/v1.0/"):
            request.url = request.url.copy_set_param("access_token", token.reveal())
        else:
            request.headers[HEADER] = token.reveal()
        return request


def _refused(response: httpx.Response) -> bool:
    code = refusals.code(response.text)[0]
    return response.status_code == HTTP_UNAUTHORIZED or code in refusals.STALE_TOKEN


class HideTokens(logging.Filter):
    """Keeps tokens out of httpx's own log lines: the old interfaces have them in the address."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_hidden(arg) for arg in record.args)
        return True


def _hidden(arg: Any) -> Any:
    text = str(arg)
    return re.sub(r"access_token=[^&\s]+", "access_token=***", text) if "=" in text else arg

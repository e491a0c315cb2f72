"""One signed-in session per instance, and every write looked at afterwards.

What the real program does, measured, shapes this file: a 500 may mean "applied" and closes the
connection, each login ends the previous session of the account, five logins in five minutes lock
the address.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from adapters.port import Account, Fault, InDoubt, Permanent, Transient
from adapters.tls import trusted
from adapters.vigilops.wire import Nothing, Page, Tokens

T = TypeVar("T")

LOGINS = 5
LOGIN_WINDOW = 300.0
"""Five logins in 300 s per address; refused ones count too, so none is sent in vain."""
PAGE_SIZE = 100
MAX_PAGES = 1000

HTTP_UNAUTHORIZED = 401
HTTP_NOT_FOUND = 404
HTTP_TOO_MANY = 429
MAX_MESSAGE = 200
MIN_SECRET = 4
TOKENS = re.compile(r"vop_[0-9A-Za-z]+|eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?|sk-[\w-]{6,}")

UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
CLOSED = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.CloseError)


class PerhapsAppliedError(Exception):
    """A write got no clear answer. `again`: it is no longer under way, so one may ask anew."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


class AbsentError(Permanent):
    """There is no such thing (404)."""


class Session:
    """The one session that an account has with an instance, and what is asked through it."""

    def __init__(
        self,
        url: str,
        account: Account,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 20.0,
        verify: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self.where = parts.netloc.rpartition("@")[2] or "VigilOps"
        self.account = account
        self._now = now
        self._access = ""
        self._refresh = ""
        self._flight: asyncio.Task[None] | None = None
        self._logins: deque[float] = deque()
        self._login_barred_until = 0.0
        # An unhandled 500 closes its connection: with none kept, no request meets a dead one.
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=timeout,
            verify=trusted() if verify else False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        """End what is under way and close; the session at the far side stays as it is."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])
        await self._client.aclose()

    # -- asking -------------------------------------------------------------------------------

    def _clean(self, text: str, secrets: Sequence[str]) -> str:
        known = [self.account.password.reveal(), self._access, self._refresh, *secrets]
        for secret in sorted(known, key=len, reverse=True):
            if len(secret) >= MIN_SECRET:
                text = text.replace(secret, "***")
        return TOKENS.sub("***", text)[:MAX_MESSAGE]

    def _message(self, response: httpx.Response, secrets: Sequence[str]) -> str:
        """Return the server's own words; never the `input` of a 422, which repeats the body."""
        try:
            body = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        if not isinstance(body, dict):
            return ""
        detail = body.get("detail")
        if isinstance(detail, list):
            said = "; ".join(
                f"{'.'.join(str(step) for step in row.get('loc') or ())}: {row.get('msg', '')}"
                for row in detail
                if isinstance(row, dict)
            )
        else:
            said = str(body.get("message") or detail or "")
        return self._clean(said, secrets)

    def _retry_after(self, response: httpx.Response) -> float:
        said: object = response.headers.get("Retry-After")
        if said is None:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                body = msgspec.json.decode(response.content)
                said = body.get("retry_after") if isinstance(body, dict) else None
        try:
            return max(1.0, float(str(said)))
        except ValueError:
            return 60.0

    async def _raw(
        self,
        method: str,
        path: str,
        *,
        body: object,
        params: Mapping[str, str | int] | None,
        bearer: str,
        repeatable: bool,
        timeout: float | None,
    ) -> httpx.Response:
        """Send, and again on a new connection if it was closed and may be asked twice."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        left = 2 if repeatable else 1
        while True:
            left -= 1
            try:
                return await self._client.request(
                    method,
                    f"{self.url}/api/v1{path}",
                    json=body,
                    params=params,
                    headers=headers,
                    timeout=timeout or httpx.USE_CLIENT_DEFAULT,
                )
            except UNSENT:
                raise Transient(f"连不上 VigilOps（{self.where}）", fault=Fault.MONITOR) from None
            except httpx.InvalidURL:
                raise Permanent(
                    f"VigilOps 地址不合法（{self.where}）", fault=Fault.REFUSED
                ) from None
            except CLOSED:
                if left:
                    continue
                why, again = "连接中断", True
            except httpx.HTTPError as error:
                timed_out = isinstance(error, httpx.TimeoutException)
                why, again = ("应答超时" if timed_out else "应答无法读取"), False
            if repeatable:
                raise Transient(
                    f"VigilOps（{self.where}）{why}：{method} {path}", fault=Fault.MONITOR
                ) from None
            raise PerhapsAppliedError(why, again=again) from None

    def _judge(
        self,
        response: httpx.Response,
        what: str,
        *,
        repeatable: bool,
        secrets: Sequence[str],
    ) -> None:
        status = response.status_code
        if response.is_success:
            return
        said = self._message(response, secrets)
        words = f"HTTP {status}" + (f"：{said}" if said else "")
        if status == HTTP_TOO_MANY:
            raise Transient(
                f"VigilOps（{self.where}）限流（{what}）",
                retry_after=self._retry_after(response),
                fault=Fault.MONITOR,
            )
        if response.is_server_error:
            if repeatable:
                raise Transient(
                    f"VigilOps（{self.where}）出错（{what}），{words}", fault=Fault.MONITOR
                )
            raise PerhapsAppliedError(words, again=status != httpx.codes.GATEWAY_TIMEOUT)
        if response.is_redirect:
            raise Permanent(
                f"VigilOps（{self.where}）要求跳转（{what}），请检查地址，{words}",
                fault=Fault.REFUSED,
            )
        refusal = AbsentError if status == HTTP_NOT_FOUND else Permanent
        raise refusal(f"VigilOps（{self.where}）拒绝了请求（{what}），{words}", fault=Fault.REFUSED)

    async def ask(
        self,
        method: str,
        path: str,
        shape: type[T],
        *,
        body: object = None,
        params: Mapping[str, str | int] | None = None,
        secrets: Sequence[str] = (),
        signed_in: bool = True,
        repeatable: bool | None = None,
        timeout: float | None = None,
    ) -> T:
        """Ask for one thing. What is not `repeatable` may raise PerhapsAppliedError."""
        repeat = method == "GET" if repeatable is None else repeatable
        bearer = ""
        renewals = 2
        while True:
            if signed_in:
                bearer = self._access or await self._renewed("")
            response = await self._raw(
                method,
                path,
                body=body,
                params=params,
                bearer=bearer,
                repeatable=repeat,
                timeout=timeout,
            )
            if response.status_code != HTTP_UNAUTHORIZED or not signed_in or not renewals:
                break
            renewals -= 1
            await self._renewed(bearer)
        self._judge(response, f"{method} {path}", repeatable=repeat, secrets=secrets)
        if shape is Nothing:
            return shape()
        try:
            return msgspec.json.decode(response.content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if not repeat:
                raise PerhapsAppliedError("应答不是预期的格式", again=False) from None
        raise Permanent(
            f"VigilOps（{self.where}）的应答不是预期的格式（{method} {path}），请检查地址和版本",
            fault=Fault.REFUSED,
        )

    # -- the session --------------------------------------------------------------------------

    async def _renewed(self, stale: str) -> str:
        """Return an access token other than `stale`; all who wait share one renewal."""
        if self._flight is None:
            if self._access and self._access != stale:
                return self._access
            self._flight = asyncio.create_task(self._renew())
            self._flight.add_done_callback(self._landed)
        await asyncio.shield(self._flight)
        return self._access

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # whoever waited has it; nobody may have

    async def _renew(self) -> None:
        if self._refresh:
            answer = await self._raw(
                "POST",
                "/auth/refresh",
                body={"refresh_token": self._refresh},
                params=None,
                bearer="",
                repeatable=True,
                timeout=None,
            )
            if answer.status_code != HTTP_UNAUTHORIZED:
                self._judge(answer, "刷新会话", repeatable=True, secrets=())
                self._keep(answer)
                return
            self._refresh = ""  # ended, or signed in elsewhere: only a login helps
        await self._login()

    async def _login(self) -> None:
        now = self._now()
        while self._logins and now - self._logins[0] >= LOGIN_WINDOW:
            self._logins.popleft()
        free_at = self._login_barred_until
        if len(self._logins) >= LOGINS:
            free_at = max(free_at, self._logins[0] + LOGIN_WINDOW)
        if free_at > now:
            raise Transient(
                f"登录 VigilOps（{self.where}）过于频繁，稍后再试；该账号可能被别处共用",
                retry_after=free_at - now,
                fault=Fault.MONITOR,
            )
        self._logins.append(now)
        try:
            answer = await self._raw(
                "POST",
                "/auth/login",
                body={
                    "email": self.account.email,
                    "password": self.account.password.reveal(),
                },
                params=None,
                bearer="",
                repeatable=False,
                timeout=None,
            )
        except PerhapsAppliedError as error:
            raise Transient(
                f"登录 VigilOps（{self.where}）时{error.reason}", fault=Fault.MONITOR
            ) from None
        if answer.status_code == HTTP_TOO_MANY:
            self._login_barred_until = now + self._retry_after(answer)
        self._judge(answer, "登录", repeatable=True, secrets=())
        self._keep(answer)

    def hold(self, tokens: Tokens) -> None:
        """Go on with these tokens."""
        self._access, self._refresh = tokens.access_token, tokens.refresh_token

    def _keep(self, answer: httpx.Response) -> None:
        try:
            tokens = msgspec.json.decode(answer.content, type=Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError):
            tokens = None
        if tokens is None:
            raise Permanent(
                f"VigilOps（{self.where}）的登录应答不是预期的格式，请检查地址",
                fault=Fault.REFUSED,
            )
        self.hold(tokens)

    # -- reading and writing ------------------------------------------------------------------

    async def pages(
        self, path: str, shape: type[Page[T]], params: Mapping[str, str | int] | None = None
    ) -> list[T]:
        """Return the rows of all pages of a list; one may come twice, and as it was at two instants.

        When rows go, those behind them move up, some onto a page that was read already. So when the
        list has become shorter, it is read again from as many pages before.
        """
        rows: list[T] = []
        page, total = 1, 0
        for _ in range(MAX_PAGES):
            asked = {**(params or {}), "page": page, "page_size": PAGE_SIZE}
            got = await self.ask("GET", path, shape, params=asked)
            rows.extend(got.items)
            back = min(page - 1, -(-max(0, total - got.total) // PAGE_SIZE))
            if not back and (not got.items or page * PAGE_SIZE >= got.total):
                break
            page, total = (page - back if back else page + 1), got.total
        return rows

    def in_doubt(self, what: str, why: str) -> InDoubt:
        """Return the error of a write of which nobody can tell whether it was done."""
        return InDoubt(
            f"VigilOps（{self.where}）：{what}可能已生效，请人工核对（{why}）", fault=Fault.MONITOR
        )

    async def settle(
        self,
        what: str,
        write: Callable[[], Awaitable[object]],
        look: Callable[[], Awaitable[T | None]],
    ) -> T:
        """Write, then look; if nothing came of an unclear write, write once more."""
        why = "回读不到"
        for _ in range(2):
            again = False
            try:
                await write()
            except PerhapsAppliedError as error:
                why, again = error.reason, error.again
            found = await look()
            if found is not None:
                return found
            if not again:
                break
        raise self.in_doubt(what, why)

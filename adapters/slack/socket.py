"""One Socket Mode connection of slack-sdk, and the Bolt app behind it; imported when needed.

The SDK's client reconnects by itself, yet dials a used ticket again and again, and can end alive
but deaf (bolt-python#1529, #417). Here it only says that it is worn; who entered it dials anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from slack_bolt.adapter.socket_mode.async_internals import run_async_bolt_app, send_async_response
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.port import Transient
from adapters.slack.wire import Dropped
from adapters.words import Secret

Take = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]
"""Takes a payload; its answer is the acknowledgement's own payload."""

Answer = tuple[int, Mapping[str, str], str]
"""Status, headers and body of an HTTP answer."""


_JSON = {"content-type": "application/json"}

_log = structlog.get_logger(__name__)


def _silent() -> logging.Logger:
    """Return a logger that says nothing: the SDK's lines name tickets and what was typed."""
    logger = logging.getLogger("vigilbot.slack.sdk")
    logger.setLevel(logging.CRITICAL + 1)
    return logger


def bolt(identity: Mapping[str, str], take: Take, signing_secret: Secret) -> AsyncApp:
    """Return a Bolt app that hands every payload to `take` and drops the bot's own messages.

    What comes over HTTP must be signed, within 300 s (slack_sdk/signature); a socket is our own call.
    """

    async def authorize() -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=None,
            team_id=identity.get("team_id"),
            bot_id=identity.get("bot_id"),
            bot_user_id=identity.get("user_id"),
            bot_token="xoxb-held-by-the-link",  # noqa: S106 -- Bolt wants one and calls nothing
        )

    app = AsyncApp(
        logger=_silent(),
        name="vigilbot",
        client=AsyncWebClient(logger=_silent()),
        authorize=authorize,
        signing_secret=signing_secret.reveal(),
    )

    async def everything(body: dict[str, Any]) -> BoltResponse:
        try:
            answer = await take(body)
        except Dropped:
            return BoltResponse(status=503)
        if answer is None:
            return BoltResponse(status=200)
        return BoltResponse(status=200, body=json.dumps(answer), headers=dict(_JSON))

    app.middleware(everything)
    return app


async def over_http(app: AsyncApp, body: str, headers: Mapping[str, str]) -> Answer:
    """Have the app take one HTTP delivery; what cannot even be read is a 400."""
    try:
        request = AsyncBoltRequest(body=body, headers=dict(headers), mode="http")
    except ValueError:
        return 400, {}, ""
    response = await app.async_dispatch(request)
    return response.status, response.first_headers_without_set_cookie(), response.body or ""


def proxy_for(url: str) -> str | None:
    """Return the proxy through which the environment has us dial, with regard to NO_PROXY."""
    there = urlsplit(url)
    if proxy_bypass(there.hostname or ""):
        return None
    return getproxies().get("https" if there.scheme == "wss" else "http")


class Socket(SocketModeClient):
    """One connection, from its hello to the moment when it is worn."""

    def __init__(self, url: str, app: AsyncApp, *, ping: float) -> None:
        super().__init__(
            app_token="xapp-held-by-the-link",  # noqa: S106 -- the link opens the address
            logger=_silent(),
            web_client=AsyncWebClient(logger=_silent()),
            ping_interval=ping,
        )
        self.wss_uri = url
        # The SDK reads HTTPS_PROXY and not NO_PROXY (slack_sdk/proxy_env_variable_loader.py).
        self.proxy = proxy_for(url)
        self.worn = asyncio.Event()
        self.greeted: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        """Its hello came; with the seconds that Slack means to keep it, where it says so."""
        self._app = app
        self.on_message_listeners.append(self._heard)
        self.socket_mode_request_listeners.append(self._handle)

    async def connect(self) -> None:
        """Dial once and hear the hello; raises Transient."""
        try:
            self.current_session = await self.aiohttp_client_session.ws_connect(
                str(self.wss_uri), autoping=False, heartbeat=self.ping_interval, proxy=self.proxy
            )
        except (aiohttp.ClientError, OSError) as problem:
            kind = type(problem).__name__  # its text names the ticket
            raise Transient(f"连不上 Slack 的长连接（{kind}）") from None
        self.current_session_monitor = asyncio.ensure_future(self.monitor_current_session())
        self.message_receiver = asyncio.ensure_future(self.receive_messages())
        worn = asyncio.ensure_future(self.worn.wait())
        either: set[asyncio.Future[Any]] = {worn, self.greeted}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            worn.cancel()
        if not self.greeted.done():
            raise Transient("Slack 的长连接没有打招呼就断开了")

    async def connect_to_new_endpoint(self, force: bool = False) -> None:
        """Take the SDK's wish to reconnect (lost, silent, or told to disconnect) as the news that
        this connection is worn."""
        self.worn.set()

    async def shut(self, within: float) -> None:
        """Close, in bounded time: the far side may never answer the close (hermes-agent#91630)."""
        self.closed = True
        self.worn.set()
        try:
            if self.current_session is not None:
                async with asyncio.timeout(within):
                    await self.current_session.close()
        except TimeoutError:
            _log.warning("slack_close_unanswered")
        finally:
            tasks = [self.message_processor, self.current_session_monitor, self.message_receiver]
            running = [task for task in tasks if task is not None]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self.aiohttp_client_session.close()

    async def _heard(self, message: aiohttp.WSMessage) -> None:
        said = json.loads(message.data) if message.data.startswith("{") else {}
        if said.get("type") == "hello" and not self.greeted.done():
            keep = said.get("debug_info", {}).get("approximate_connection_time")
            self.greeted.set_result(float(keep) if keep else None)

    async def _handle(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        response = cast("BoltResponse", await run_async_bolt_app(self._app, request))
        await send_async_response(client, request, response, 0.0)

"""What may stand beside the AI bot: a self-built app (groups, direct messages, cards in them) and a
group robot that can only speak.

The app's group is its own: the AI bot is not in it until a person takes it in, and hears nothing
of what is said there (90235, 90248).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from xml.etree import ElementTree as ET

import httpx

from adapters.port import Clock, Fault, InDoubt, Permanent, Transient
from adapters.tls import trusted
from adapters.wecom import wire
from adapters.wecom.crypto import Seal, Unsealed, sealed_in
from adapters.wecom.pace import Pace
from adapters.words import NOTHING, Chat, File, Message, Person, Secret

EARLY = timedelta(minutes=5)
"""How long before its end a token is no longer used."""
INVALID = frozenset({40014, 42001, 40001})
"""What is said of a token that is over or was taken back early (91039)."""
BUSY = frozenset({-1, 45009, 45033})
WORDS = {
    40001: "app_secret 不对",
    40013: "corp_id 不对",
    40056: "agent_id 不对",
    301002: "agent_id 不是这个 app_secret 的应用",
    60020: "本机的出口地址不在应用的「企业可信 IP」里",
}
"""What some refusals mean (90313)."""
TEXT_BYTES = 2048
"""Of a message of the app or the robot."""
ROBOT_PER_MINUTE = 20
MEMBER_PER_MINUTE, MEMBER_PER_HOUR = 30, 1000
"""Of the app's messages to one member; what is beyond is dropped and nobody is told (90236)."""
GROUP_NAME = 50
LEAST_GROUP = 2
Once = Callable[[int, Callable[[], Awaitable[None]]], Awaitable[None]]
"""(which piece of a text, how it is sent): sends it unless that was done before."""
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class TokenAuth(httpx.Auth):
    """Puts the access token into the query: fetched once for all who wait, renewed early."""

    def __init__(self, corp_id: str, secret: Secret, clock: Clock, base_url: str) -> None:
        self._corp_id = corp_id
        self._secret = secret
        self._clock = clock
        self._url = f"{base_url}/cgi-bin/gettoken"
        self._one = asyncio.Lock()
        self._token = NOTHING
        self._until: datetime | None = None

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        async with self._one:
            if self._until is None or self._clock.now() >= self._until:
                await self._take((yield self._ask()))
        used = self._token
        response = yield self._with(used, request)
        await response.aread()
        if _code(response) not in INVALID:
            return
        async with self._one:
            if self._token == used:  # nobody else has renewed it meanwhile
                await self._take((yield self._ask()))
        yield self._with(self._token, request)

    def asked(self, problem: httpx.HTTPError) -> bool:
        """Was it the token that got no answer? Then what it was for was never sent."""
        return isinstance(problem, httpx.RequestError) and str(problem.request.url).startswith(
            self._url
        )

    def _ask(self) -> httpx.Request:
        word = {"corpid": self._corp_id, "corpsecret": self._secret.reveal()}
        return httpx.Request("GET", self._url, params=word)

    async def _take(self, response: httpx.Response) -> None:
        await response.aread()
        try:
            told = _told(response, "取令牌")
        except InDoubt as problem:  # what was to be done with it has not begun
            raise Transient(problem.reason) from problem
        if not told.get("access_token"):
            raise Permanent("企业微信的令牌接口答非所问", fault=Fault.REFUSED)
        self._token = Secret(str(told["access_token"]))
        self._until = self._clock.now() + timedelta(seconds=int(told["expires_in"])) - EARLY

    def _with(self, token: Secret, request: httpx.Request) -> httpx.Request:
        request.url = request.url.copy_set_param("access_token", token.reveal())
        return request


class App:
    """A self-built app. `token` and `aes_key` are of its callback address."""

    def __init__(
        self,
        corp_id: str,
        agent_id: int,
        secret: Secret,
        *,
        token: Secret,
        aes_key: Secret,
        clock: Clock,
        base_url: str = "https://qyapi.weixin.qq.com",
    ) -> None:
        self._corp_id = corp_id
        self._agent = agent_id
        self._base = base_url.rstrip("/")
        self._clock = clock
        self._seal = Seal(token, aes_key, corp_id)
        self._auth = TokenAuth(corp_id, secret, clock, self._base)
        self._http = _client()
        self._pace = Pace(
            clock, "企业微信应用给同一个人", per_minute=MEMBER_PER_MINUTE, per_hour=MEMBER_PER_HOUR
        )
        self._codes: dict[str, str] = {}

    async def close(self) -> None:
        await self._http.aclose()

    async def described(self) -> Mapping[str, Any]:
        """Return what the enterprise says of the app: who sees it, and is it switched on (90227)."""
        return await self._ask("GET", "agent/get", params={"agentid": self._agent}, doing="查应用")

    # -- what is said ---------------------------------------------------------------------------

    async def create_group(self, chat_id: str, title: str, users: Sequence[str]) -> None:
        """Make a group of that id, or find it there already (90245)."""
        if len(users) < LEAST_GROUP:
            raise Permanent("企业微信建群至少要两个人", fault=Fault.REFUSED)
        query = {"chatid": chat_id}
        known = await self._ask("GET", "appchat/get", params=query, doing="查群", fine=True)
        if known.get("errcode", 0) == 0:
            return
        body = {
            "name": title[:GROUP_NAME],
            "owner": users[0],
            "userlist": list(users),
            "chatid": chat_id,
        }
        try:
            await self._ask("POST", "appchat/create", json=body, doing="建群")
        except InDoubt as problem:  # its id is ours: asked again, it is found
            raise Transient(problem.reason) from problem

    async def say(self, place: str, text: str, once: Once) -> None:
        """Write Markdown to a group of the app, or to a person (@ and who)."""
        parts = pieces(text, TEXT_BYTES)
        self._spend(place, len(parts))
        each = once if len(parts) > 1 else plainly
        for number, piece in enumerate(parts):
            body = {"msgtype": "markdown", "markdown": {"content": piece}}
            await each(number, partial(self._send, place, body))

    async def show(self, place: str, card: wire.Json) -> None:
        self._spend(place, 1)
        await self._send(place, {"msgtype": "template_card", "template_card": card})

    async def post(self, place: str, file: File) -> None:
        """Post a file."""
        try:
            media = await self._ask(
                "POST",
                "media/upload",
                params={"type": "file"},
                files={"media": (file.name, file.content)},
                doing="上传文件",
            )
        except InDoubt as problem:
            raise Transient(problem.reason) from problem
        self._spend(place, 1)
        await self._send(place, {"msgtype": "file", "file": {"media_id": media["media_id"]}})

    async def update(self, code: str, card: wire.Json) -> None:
        """Replace a pressed card by its one-time code, which is good for 72 hours (94888)."""
        over = [b["text"] for b in card.get("button_list", ()) if b["key"] == wire.OVER]
        shown = {**card, "replace_text": over[0]} if over else card
        body = {"agentid": self._agent, "response_code": code, "template_card": shown}
        await self._ask("POST", "message/update_template_card", json=body, doing="更新卡片")

    def _spend(self, place: str, count: int) -> None:
        if place.startswith("@"):
            self._pace.take(place, count)

    async def _send(self, place: str, what: wire.Json) -> None:
        if place.startswith("@"):
            body = {"touser": place[1:], "agentid": self._agent, **what}
            told = await self._ask("POST", "message/send", json=body, doing="发消息")
            if told.get("invaliduser"):
                raise Permanent("这个人不在企业微信应用的可见范围内", fault=Fault.REFUSED)
            return
        await self._ask("POST", "appchat/send", json={"chatid": place, **what}, doing="发群消息")

    async def _ask(
        self, method: str, path: str, *, doing: str, fine: bool = False, **more: Any
    ) -> Mapping[str, Any]:
        """Call an interface; with `fine` its own refusal is an answer. Raises the three errors."""
        try:
            response = await self._http.request(
                method, f"{self._base}/cgi-bin/{path}", auth=self._auth, **more
            )
        except UNSENT as problem:
            raise Transient(f"连不上企业微信（{type(problem).__name__}）") from problem
        except httpx.HTTPError as problem:
            if self._auth.asked(problem):
                reason = f"企业微信取令牌：没有收到回答（{type(problem).__name__}）"
                raise Transient(reason) from problem
            reason = f"企业微信{doing}：没有收到回答（{type(problem).__name__}）"
            raise InDoubt(reason, fault=Fault.NETWORK) from problem
        return _told(response, doing, fine=fine)

    # -- what is heard --------------------------------------------------------------------------

    def proved(self, query: Mapping[str, str]) -> tuple[int, str]:
        """Answer the proof of the address, which is asked for when it is set (90238)."""
        try:
            return 200, self._opened(query, query.get("echostr", "")).decode()
        except (Unsealed, UnicodeDecodeError):
            return 401, ""

    def opened(
        self, query: Mapping[str, str], body: bytes
    ) -> tuple[int, wire.Press | Message | None]:
        """Return the status to answer with, and what somebody did; a repeat of what was `taken` is
        nothing new."""
        try:
            text = self._opened(query, sealed_in(body)).decode()
            told = ET.fromstring(text)  # noqa: S314 - only who holds our key can have sealed it
        except (Unsealed, UnicodeDecodeError, ET.ParseError):
            return 401, None
        if self._seal.again(query["msg_signature"], self._clock.now()):
            return 200, None
        return 200, self._heard(told)

    def taken(self, query: Mapping[str, str]) -> None:
        """Note that what a call told of is kept: what is not kept is told again."""
        self._seal.taken(query["msg_signature"], self._clock.now())

    def code_of(self, press: str) -> str:
        """Return the update code that came with a press."""
        return self._codes.pop(press, "")

    def _opened(self, query: Mapping[str, str], sealed: str) -> bytes:
        names = ("msg_signature", "timestamp", "nonce")
        signature, timestamp, nonce = (query.get(name, "") for name in names)
        return self._seal.open(signature, timestamp, nonce, sealed, self._clock.now())

    def _heard(self, told: ET.Element) -> wire.Press | Message | None:
        user, kind = _text(told, "FromUserName"), _text(told, "MsgType")
        who, chat = Person(wire.PLATFORM, user, user), Chat(wire.PLATFORM, f"app:@{user}")
        at = datetime.fromtimestamp(int(_text(told, "CreateTime") or 0), tz=UTC)
        if kind == "text":
            number = f"app:{_text(told, 'MsgId')}"
            return Message(number, chat, who, _text(told, "Content").strip(), at)
        if _text(told, "Event") != "template_card_event":
            return None
        key, code = _text(told, "EventKey"), _text(told, "ResponseCode")
        # An event has no id: who and when is what the platform says to know it by (90238).
        number = f"app:{user}:{_text(told, 'CreateTime')}:{_text(told, 'TaskId')}"
        self._codes[number] = code
        values = {
            _text(item, "QuestionKey"): ",".join(o.text or "" for o in item.iter("OptionId"))
            for item in told.iter("SelectedItem")
        }
        return wire.Press(number, chat, who, _text(told, "TaskId"), key, values, at)


class Robot:
    """A group robot's address: it speaks into its one group and hears nothing (99110)."""

    def __init__(self, url: Secret, clock: Clock) -> None:
        self._url = url
        self._pace = Pace(clock, "企业微信群机器人", per_minute=ROBOT_PER_MINUTE)
        self._http = _client()

    async def close(self) -> None:
        await self._http.aclose()

    async def say(self, text: str, user: str, once: Once) -> None:
        """Write a text and mention one person; raises the three errors. 20 a minute are allowed."""
        parts = pieces(text, TEXT_BYTES)
        self._pace.take("", len(parts))
        mentions = {"mentioned_list": [user]} if user else {}
        each = once if len(parts) > 1 else plainly
        for number, piece in enumerate(parts):
            await each(number, partial(self._post, {"content": piece, **mentions}))

    async def _post(self, text: wire.Json) -> None:
        try:
            response = await self._http.post(
                self._url.reveal(), json={"msgtype": "text", "text": text}
            )
        except UNSENT as problem:
            raise Transient(f"连不上企业微信（{type(problem).__name__}）") from None
        except httpx.HTTPError as problem:
            reason = f"企业微信群机器人：没有收到回答（{type(problem).__name__}）"
            raise InDoubt(reason, fault=Fault.NETWORK) from None
        _told(response, "群机器人发消息")


class HideQueries(logging.Filter):
    """Keeps secrets out of httpx's own log lines: this platform has them in the address."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_bare(arg) for arg in record.args)
        return True


_hide = HideQueries()


def _client() -> httpx.AsyncClient:
    logging.getLogger("httpx").addFilter(_hide)
    return httpx.AsyncClient(timeout=10, verify=trusted())


def _bare(arg: Any) -> Any:
    text = str(arg)
    return f"{text.partition('?')[0]}?***" if "/cgi-bin/" in text else arg


async def plainly(_: int, do: Callable[[], Awaitable[None]]) -> None:
    """Send a piece, for who never sends it again."""
    await do()


def pieces(text: str, most: int) -> list[str]:
    """Cut a text into pieces of so many bytes: between lines, and a longer line where it must."""
    found = [""]
    for line in re.findall(r"[^\n]*\n|[^\n]+", text.encode(errors="replace").decode()):
        rest = line
        while len((found[-1] + rest).encode()) > most:
            if found[-1]:
                found.append("")
                continue
            fits = rest.encode()[:most].decode(errors="ignore")
            found[-1], rest = fits, rest[len(fits) :]
        found[-1] += rest
    return [piece.rstrip("\n") for piece in found if piece.strip()]


def _code(response: httpx.Response) -> int:
    try:
        told = response.json()
    except ValueError:
        return 0
    return int(told.get("errcode", 0)) if isinstance(told, dict) else 0


def _told(response: httpx.Response, doing: str, *, fine: bool = False) -> Mapping[str, Any]:
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise InDoubt(f"企业微信{doing}：HTTP {response.status_code}", fault=Fault.NETWORK)
    try:
        told = response.json()
    except ValueError:
        told = None
    if response.status_code != httpx.codes.OK or not isinstance(told, dict):
        reason = f"企业微信{doing}：HTTP {response.status_code}，请检查 base_url 和代理"
        raise Permanent(reason, fault=Fault.REFUSED)
    code = int(told.get("errcode", 0))
    if code in BUSY:
        raise Transient(f"企业微信{doing}：太频繁（{code}）", retry_after=10)
    if code and not fine:
        words = WORDS.get(code, "被拒绝")
        raise Permanent(f"企业微信{doing}：{words}（{code}）", fault=Fault.REFUSED)
    return told


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(name) or ""

"""Feishu on loopback: it enforces what the facts and the official pages say, and misbehaves on demand.

The people who use it act through `say`, `press` and `submit`, which refuse what Feishu's own client
would not let them do. Its time is a clock that the test owns.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
from base64 import b64decode, b64encode
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from hashlib import sha256
from typing import Any, Self
from uuid import uuid4

from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from adapters.card import (
    Button,
    Buttons,
    Card,
    Entry,
    Form,
    Input,
    Mention,
    Table,
    Text,
    is_date,
)
from adapters.chart import Chart, Kind, Series
from adapters.port import Clock, UsageError
from adapters.words import File, Person
from tests.sim.outgoing import Outgoing

Json = dict[str, Any]

BOT = "ou_bot"
BOT_NAME = "Vigilbot"

RETRIES = (
    timedelta(seconds=15),
    timedelta(minutes=5),
    timedelta(hours=1),
    timedelta(hours=6),
)

KEY_LIFE = timedelta(hours=1)
"""For how long a uuid keeps a second request from doing the same (message/create)."""

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
INTERFACE = ((50, SECOND), (1000, MINUTE))
"""How often an app may call one interface (frequency-control)."""
SAME_TOKEN = timedelta(minutes=30)
"""While so much of a token remains it is handed out again; below that a second one beside it."""
RECALLED = "This message was recalled"
"""What stands in the place of a recalled message's content, whatever its type; it is no JSON."""
UNREAD = 200
"""Urgent messages that a person may have unread (message/urgent_app)."""

_LOOK = {"element_id", "margin"}
_NAMED = {"name", "required", "width", "disabled", "placeholder", "confirm", "behaviors", "type"}
KNOWN: Mapping[str, set[str]] = {
    "plain_text": {"content", "text_size", "text_color", "text_align", "lines", "i18n_content"},
    "div": {*_LOOK, "width", "text", "icon"},
    "markdown": {*_LOOK, "content", "text_align", "text_size", "icon"},
    "table": {
        *_LOOK,
        "page_size",
        "row_height",
        "row_max_height",
        "freeze_first_column",
        "header_style",
        "columns",
        "rows",
    },
    "column_set": {*_LOOK, "flex_mode", "horizontal_spacing", "background_style", "columns"},
    "column": {*_LOOK, "width", "weight", "vertical_align", "padding", "elements"},
    "button": {
        *_LOOK,
        *_NAMED,
        "text",
        "size",
        "icon",
        "form_action_type",
        "hover_tips",
        "disabled_tips",
    },
    "form": {*_LOOK, "name", "elements", "direction", "padding", "vertical_spacing"},
    "input": {
        *_LOOK,
        *_NAMED,
        "label",
        "label_position",
        "default_value",
        "input_type",
        "rows",
        "auto_resize",
        "max_rows",
        "max_length",
        "show_icon",
    },
    "date_picker": {*_LOOK, *_NAMED - {"type"}, "initial_date"},
    "select_static": {*_LOOK, *_NAMED, "options", "initial_option", "initial_index"},
    "multi_select_static": {*_LOOK, *_NAMED, "options", "selected_values"},
    "chart": {*_LOOK, "aspect_ratio", "color_theme", "chart_spec", "preview", "height"},
}
"""What a component may have (card JSON 2.0 pages); anything else is an error."""

PARTS: Mapping[str, set[str]] = {
    "": {"schema", "config", "header", "body", "card_link"},
    "config": {"update_multi", "streaming_mode", "width_mode", "summary", "style", "locales"},
    "header": {"title", "subtitle", "template", "icon", "text_tag_list", "padding"},
    "body": {"elements", "direction", "padding", "vertical_spacing", "horizontal_spacing"},
}
TEMPLATES = {"blue", "wathet", "turquoise", "green", "yellow", "orange", "red", "carmine"}
TEMPLATES |= {"violet", "purple", "indigo", "grey", "default"}

CHAT_BODY = {"name", "description", "owner_id", "user_id_list", "bot_id_list", "chat_mode"}
CHAT_BODY |= {"chat_type", "external", "membership_approval", "urgent_setting"}


class Fault(Enum):
    """How one request goes wrong."""

    TOO_MANY = auto()
    """429 with the seconds to wait."""
    TOO_OFTEN_400 = auto()
    """400 with 230020, as the per-chat limit answers."""
    BROKEN = auto()
    """502 with a page that is no JSON; nothing was done."""
    LOST = auto()
    """It is done, and the connection breaks before the answer."""
    ABORTED = auto()
    """The connection breaks before anything is done."""
    STALE = auto()
    """The token is refused, though it was good."""
    DENIED = auto()
    """The app has no permission for this."""
    SENSELESS = auto()
    """It succeeds, and the answer has nothing in it."""
    HANGS = auto()
    """Nothing happens until `release`."""
    SILENT = auto()
    """It is done, and nothing is answered."""


class Refused(Exception):
    def __init__(self, code: int, msg: str, *, status: int = 400, **headers: str) -> None:
        super().__init__(msg)
        self.body = {"code": code, "msg": msg}
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


REFUSALS = {
    Fault.TOO_MANY: Refused(99991400, "frequency limit", status=429, x_ogw_ratelimit_reset="7"),
    Fault.TOO_OFTEN_400: Refused(230020, "frequency limit"),
    Fault.STALE: Refused(99991663, "Invalid access token for authorization."),
    Fault.DENIED: Refused(99991672, "Access denied. One of these scopes is required"),
}


@dataclass
class Group:
    id: str
    title: str
    members: list[str]
    direct: bool = False
    owner: str = BOT
    managers: set[str] = field(default_factory=set)
    has_bot: bool = True
    owner_pins: bool = False
    """Only its owner and managers may pin (`pin_manage_setting`)."""


@dataclass
class Posted:
    id: str
    chat: str
    sender: str
    kind: str
    content: str
    at: datetime
    urgent: set[str] = field(default_factory=set)
    recalled: bool = False
    unread: set[str] = field(default_factory=set)
    """To whom it is urgent and who has not looked."""


@dataclass(eq=False)
class Link:
    ws: web.WebSocketResponse
    transport: asyncio.Transport
    frozen: bool = False


class FeishuSim:
    """Feishu's servers and the clients of the people in it. What it kept outlives `stop`."""

    def __init__(self, clock: Clock) -> None:
        self.app_id = f"cli_{uuid4().hex[:16]}"
        self.secret = uuid4().hex
        self.clock = clock
        self.people: dict[str, str] = {}
        self.out_of_range: set[str] = set()
        self.groups: dict[str, Group] = {}
        self.posts: dict[str, Posted] = {}
        self.files: dict[str, File] = {}
        self.keys: dict[str, tuple[str, datetime]] = {}
        """What was done under a uuid, and when: Feishu forgets it after an hour."""
        self.scopes: set[str] = set()
        self.withheld: set[str] = set()
        """Asked for, and not yet approved by an administrator."""
        self.pins: dict[str, datetime] = {}
        self.paid = {"sms": 100, "phone": 100}
        self.urgencies: list[str] = []
        self.tokens: dict[str, datetime] = {}
        self.tickets: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.unacked: dict[str, Json] = {}
        self._sent: dict[str, list[datetime]] = {}
        self.acks: list[tuple[str, int, Json]] = []
        self.pressed: dict[str, str] = {}
        self.acked: set[str] = set()
        self.links: list[Link] = []
        self.outgoing = Outgoing()
        self.news = asyncio.Condition()
        self.expire = 7200
        self.forbid_links = False
        self.refuse_links: tuple[int, str] | None = None
        self.client_config: Json = {
            "ReconnectCount": -1,
            "ReconnectInterval": 120,
            "ReconnectNonce": 30,
            "PingInterval": 120,
        }
        self._faults: list[tuple[str, Fault]] = []
        self._spent: dict[str, deque[datetime]] = {}
        self._held = asyncio.Event()
        self._adding: set[str] = set()
        self._number = 0
        self._chance = random.Random(7)
        self._runner: web.AppRunner | None = None
        self.base_url = ""

    # -- its life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._held, self.news = asyncio.Event(), asyncio.Condition()
        self.outgoing = Outgoing()
        app = web.Application(middlewares=[self._rules], client_max_size=40_000_000)
        im = "/open-apis/im/v1"
        app.router.add_post("/open-apis/auth/v3/tenant_access_token/internal", self._token)
        app.router.add_post("/callback/ws/endpoint", self._discover)
        app.router.add_get("/ws", self._link)
        app.router.add_get("/open-apis/bot/v3/info", self._bot_info)
        app.router.add_get("/open-apis/application/v6/scopes", self._scopes)
        app.router.add_post(f"{im}/chats", self._create_chat)
        app.router.add_post(f"{im}/chats/{{chat}}/members", self._add_members)
        app.router.add_get(f"{im}/chats/{{chat}}/members", self._members)
        app.router.add_post(f"{im}/messages", self._post)
        app.router.add_get(f"{im}/messages", self._history)
        app.router.add_get(f"{im}/messages/{{message}}", self._message)
        app.router.add_patch(f"{im}/messages/{{message}}", self._patch)
        for how in ("app", "sms", "phone"):
            app.router.add_patch(f"{im}/messages/{{message}}/urgent_{how}", self._urgent)
        app.router.add_post(f"{im}/pins", self._pin)
        app.router.add_get(f"{im}/messages/{{message}}/resources/{{key}}", self._resource)
        app.router.add_post(f"{im}/files", self._upload)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        self._held.set()
        for link in self.links:
            link.transport.abort()
        assert self._runner
        await self._runner.cleanup()
        assert not self.unexpected, self.unexpected

    # -- what it does wrong -----------------------------------------------------------------

    def misbehave(self, path: str, *faults: Fault) -> None:
        """Let the next requests whose "METHOD /path" contains `path` go wrong, one by one."""
        self._faults += [(path, fault) for fault in faults]

    def release(self) -> None:
        self._held.set()

    def freeze(self) -> None:
        """Leave the links half-open: nothing arrives by them any more, on either side."""
        for link in self.links:
            link.frozen = True

    def abort(self) -> None:
        for link in self.links:
            link.transport.abort()

    async def close_links(self) -> None:
        for link in list(self.links):
            await link.ws.close()

    async def until(self, is_so: Callable[[], bool], within: float = 10) -> None:
        """Wait until something is so; it is looked at whenever somebody calls, comes or goes."""
        async with asyncio.timeout(within), self.news:
            await self.news.wait_for(is_so)

    async def _changed(self) -> None:
        async with self.news:
            self.news.notify_all()

    # -- rules ------------------------------------------------------------------------------

    @web.middleware
    async def _rules(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        name = f"{request.method} {request.path}"
        self.calls[name] += 1
        fault = next((one for one in self._faults if one[0] in name), None)
        if fault:
            self._faults.remove(fault)
        try:
            answer = await self._answer(request, handler, fault[1] if fault else None)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)
        except web.HTTPNotFound:
            self.unexpected.append(name)
            raise
        finally:
            await self._changed()
        return answer

    async def _answer(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        fault: Fault | None,
    ) -> web.StreamResponse:
        assert request.transport
        if request.path.startswith("/open-apis/") and "/auth/" not in request.path:
            self._authorized(request)
            self._interface(request)
        if fault in REFUSALS:
            if fault is Fault.STALE:
                self.tokens.clear()
            raise REFUSALS[fault]
        match fault:
            case Fault.BROKEN:
                return web.Response(status=502, text="<html>bad gateway</html>")
            case Fault.SENSELESS:
                return _ok()
            case Fault.ABORTED:
                request.transport.abort()
                return web.Response()
            case Fault.LOST:
                await handler(request)
                request.transport.abort()
                return web.Response()
            case Fault.HANGS:
                await self._held.wait()
            case Fault.SILENT:
                answer = await handler(request)
                await self._changed()
                await self._held.wait()
                return answer
        return await handler(request)

    def _authorized(self, request: web.Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        until = self.tokens.get(token)
        if until is None or until <= self.clock.now():
            raise Refused(99991663, "Invalid access token for authorization.")

    def _interface(self, request: web.Request) -> None:
        resource = request.match_info.route.resource
        name = f"{request.method} {resource.canonical if resource else ''}"
        for limit, window in INTERFACE:
            if not self._spend(f"{name} {window}", limit, window):
                wait = str(int(window.total_seconds()))
                raise Refused(
                    99991400,
                    "request trigger frequency limit",
                    status=429,
                    x_ogw_ratelimit_reset=wait,
                )

    def _in_time(self, target: str) -> None:
        if not self._spend(target, 5, SECOND):
            raise Refused(230020, "This operation triggers the frequency limit.")

    def _spend(self, target: str, limit: int, window: timedelta) -> bool:
        """Count a call; False when there were too many within the window."""
        now, spent = self.clock.now(), self._spent.setdefault(target, deque())
        while spent and now - spent[0] >= window:
            spent.popleft()
        if len(spent) < limit:
            spent.append(now)
            return True
        return False

    async def _body(self, request: web.Request, allowed: set[str]) -> Json:
        body = await request.json()
        if not isinstance(body, dict) or set(body) - allowed:
            raise Refused(230001, f"Your request contains an invalid parameter: {list(body)}")
        return body

    # -- the interface ----------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body != {"app_id": self.app_id, "app_secret": self.secret}:
            return web.json_response({"code": 10014, "msg": "app secret invalid"})
        now = self.clock.now()
        young = [one for one, until in self.tokens.items() if until - now >= SAME_TOKEN]
        token = young[-1] if young else f"t-{uuid4().hex}"
        until = self.tokens.setdefault(token, now + timedelta(seconds=self.expire))
        left = int((until - now).total_seconds())
        answer = {"code": 0, "msg": "ok", "tenant_access_token": token, "expire": left}
        return web.json_response(answer)

    async def _bot_info(self, request: web.Request) -> web.Response:
        bot = {"open_id": BOT, "app_name": BOT_NAME, "activate_status": 2}
        return web.json_response({"code": 0, "msg": "ok", "bot": bot})

    async def _scopes(self, request: web.Request) -> web.Response:
        names = [(one, 1) for one in sorted(self.scopes)]
        names += [(one, 2) for one in sorted(self.withheld)]
        return _ok(
            scopes=[
                {"scope_name": one, "grant_status": status, "scope_type": "tenant"}
                for one, status in names
            ]
        )

    async def _create_chat(self, request: web.Request) -> web.Response:
        body = await self._body(request, CHAT_BODY)
        uuid = request.query.get("uuid", "")
        if len(uuid) > 50 or set(request.query) - {"user_id_type", "set_bot_manager", "uuid"}:
            raise Refused(232001, "param invalid")
        known = self._known(uuid)
        if not known:
            group = self.found(body["name"], [body["owner_id"]] if "owner_id" in body else [])
            group.owner = body.get("owner_id", BOT)
            if request.query.get("set_bot_manager") == "true":
                group.managers.add(BOT)
            known = group.id
            self.keys[uuid] = (known, self.clock.now())
        return _ok(chat_id=known, name=body["name"])

    def _known(self, uuid: str) -> str:
        """Return what was done under a uuid within the last hour, "" when nothing was."""
        found, at = self.keys.get(uuid, ("", self.clock.now()))
        return found if self.clock.now() - at < KEY_LIFE else ""

    def found(self, title: str, members: list[str], *, direct: bool = False) -> Group:
        group = Group(f"oc_{uuid4().hex}", title, members, direct)
        self.groups[group.id] = group
        return group

    def _group(self, chat_id: str) -> Group:
        group = self.groups.get(chat_id)
        if group is None:
            raise Refused(230001, "invalid receive_id")
        return group

    def _in_group(self, group: Group) -> None:
        if not group.has_bot:
            raise Refused(230002, "The bot can not be outside the group.")

    async def _add_members(self, request: web.Request) -> web.Response:
        body = await self._body(request, {"id_list"})
        group = self._group(request.match_info["chat"])
        assert request.query.get("member_id_type") == "open_id"
        if group.id in self._adding:
            raise Refused(232019, "concurrent member operations")
        if not body["id_list"] or len(body["id_list"]) > 50:
            raise Refused(232001, "param invalid")
        self._adding.add(group.id)
        await asyncio.sleep(0.01)  # a change takes its time: a second one meanwhile is seen
        self._adding.discard(group.id)
        bad = [one for one in body["id_list"] if one not in self.people or one in self.out_of_range]
        for one in body["id_list"]:
            if one not in bad and one not in group.members:
                group.members.append(one)
        return _ok(invalid_id_list=bad, not_existed_id_list=[], pending_approval_id_list=[])

    async def _members(self, request: web.Request) -> web.Response:
        group = self._group(request.match_info["chat"])
        items = [
            {"member_id": one, "member_id_type": "open_id", "name": self.people[one]}
            for one in group.members
        ]
        return _ok(items=items, has_more=False, page_token="")

    async def _post(self, request: web.Request) -> web.Response:
        body = await self._body(request, {"receive_id", "msg_type", "content", "uuid"})
        kind = request.query["receive_id_type"]
        if len(body.get("uuid", "")) > 50:
            raise Refused(230001, "uuid too long")
        group = self._receiver(kind, body["receive_id"])
        self._in_group(group)
        self._in_time(group.id)
        uuid = body.get("uuid") or uuid4().hex
        known = self.posts.get(self._known(uuid))
        if known is None:
            self._check(body["msg_type"], body["content"])
            known = self._keep(group.id, BOT, body["msg_type"], body["content"])
            self.keys[uuid] = (known.id, self.clock.now())
        return _ok(**self._item(known))

    def _receiver(self, kind: str, one: str) -> Group:
        if kind == "chat_id":
            return self._group(one)
        if kind != "open_id" or one not in self.people or one in self.out_of_range:
            raise Refused(230013, "Bot has NO availability to this user.")
        return self.direct(one)

    def _check(self, kind: str, content: str) -> None:
        body = json.loads(content)
        if kind == "text" and len(content.encode()) > 150_000:
            raise Refused(230025, "message content too long")
        if kind == "interactive":
            if len(content.encode()) > 30_720:
                raise Refused(230025, "message content too long")
            if wrong := wrong_in(body):
                raise Refused(230099, f"Failed to create card content: {wrong}")
        if kind == "file" and body["file_key"] not in self.files:
            raise Refused(230001, "invalid file_key")

    def _keep(self, chat: str, sender: str, kind: str, content: str) -> Posted:
        one = Posted(f"om_{uuid4().hex}", chat, sender, kind, content, self.clock.now())
        self.posts[one.id] = one
        return one

    def _item(self, one: Posted) -> Json:
        return {
            "message_id": one.id,
            "chat_id": one.chat,
            "msg_type": one.kind,
            "create_time": _ms(one.at),
            "deleted": one.recalled,
            "sender": {"id": one.sender, "id_type": "open_id"},
            "body": {"content": RECALLED if one.recalled else one.content},
        }

    def _own(self, request: web.Request) -> Posted:
        one = self.posts.get(request.match_info["message"])
        if one is None:
            raise Refused(230001, "invalid message_id")
        return one

    async def _message(self, request: web.Request) -> web.Response:
        return _ok(items=[self._item(self._own(request))])

    async def _history(self, request: web.Request) -> web.Response:
        query = request.query
        assert query["container_id_type"] == "chat"
        assert query["sort_type"] == "ByCreateTimeDesc"
        since = int(query["start_time"])
        self._in_group(self._group(query["container_id"]))
        items = [
            self._item(one)
            for one in reversed(self.posts.values())
            if one.chat == query["container_id"] and int(one.at.timestamp()) >= since
        ]
        size, start = int(query["page_size"]), int(query.get("page_token") or 0)
        if not 1 <= size <= 50:
            raise Refused(230001, "page_size")
        more = len(items) > start + size
        token = str(start + size) if more else ""
        return _ok(items=items[start : start + size], has_more=more, page_token=token)

    async def _patch(self, request: web.Request) -> web.Response:
        body = await self._body(request, {"content"})
        one = self._own(request)
        self._in_time(one.id)
        if one.sender != BOT or one.kind != "interactive":
            raise Refused(230017, "not the owner")
        if one.recalled:
            raise Refused(230011, "The message was recalled.")
        if self.clock.now() - one.at > timedelta(days=14):
            raise Refused(230031, "The message is too old to be updated")
        self._check("interactive", body["content"])
        one.content = body["content"]
        return _ok()

    async def _urgent(self, request: web.Request) -> web.Response:
        body = await self._body(request, {"user_id_list"})
        assert request.query["user_id_type"] == "open_id"
        one = self._own(request)
        outsiders = set(body["user_id_list"]) - set(self.groups[one.chat].members)
        self._in_group(self.groups[one.chat])
        if one.sender != BOT or outsiders:
            raise Refused(230001, "not a member")
        if any(self._unread(who) >= UNREAD for who in body["user_id_list"]):
            raise Refused(230023, "too many unread urgent messages")  # its code is not verified
        how = request.path.rpartition("_")[2]
        if how != "app":
            if self.paid[how] <= 0:
                raise Refused(230023, "the quota of the tenant is used up")
            self.paid[how] -= 1
        self.urgencies.append(how)
        self.insist(one, *body["user_id_list"])
        return _ok(invalid_user_id_list=[])

    def insist(self, one: Posted, *people: str) -> None:
        """Make a message urgent to people, who have it unread until they `look`."""
        one.urgent |= set(people)
        one.unread |= set(people)

    def look(self, person: str) -> None:
        """Read everything, as that person."""
        for one in self.posts.values():
            one.unread.discard(person)

    def _unread(self, person: str) -> int:
        return sum(person in one.unread for one in self.posts.values())

    async def _pin(self, request: web.Request) -> web.Response:
        body = await self._body(request, {"message_id"})
        if body["message_id"] not in self.posts:
            raise Refused(230001, "invalid message_id")
        group = self.groups[self.posts[body["message_id"]].chat]
        self._in_group(group)
        if group.owner_pins and BOT not in {group.owner, *group.managers}:
            raise Refused(230027, "no permission to pin in this chat")  # its code is not verified
        self.pins[body["message_id"]] = self.clock.now()
        return _ok(pin={"message_id": body["message_id"]})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        part = form["file"]
        assert isinstance(part, web.FileField)
        if set(form) - {"file_type", "file_name", "file", "duration"}:
            raise Refused(234001, "param invalid")
        content = part.file.read()
        if not content or len(content) > 30_000_000:
            raise Refused(234010, "file size is 0 or too large")
        key = f"file_{uuid4().hex}"
        self.files[key] = File(str(form["file_name"]), content)
        return _ok(file_key=key)

    async def _resource(self, request: web.Request) -> web.Response:
        one, key = self._own(request), request.match_info["key"]
        if key not in one.content or request.query["type"] != one.kind:
            raise Refused(234003, "File not in msg.")
        return web.Response(body=self.files[key].content)

    # -- the long connection ----------------------------------------------------------------

    async def _discover(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body != {"AppID": self.app_id, "AppSecret": self.secret}:
            return web.json_response({"code": 1000040344, "msg": "no credential"})
        if self.refuse_links:
            code, msg = self.refuse_links
            return web.json_response({"code": code, "msg": msg})
        ticket = uuid4().hex
        self.tickets.add(ticket)
        url = f"{self.base_url.replace('http', 'ws')}/ws?device_id=d1&service_id=7&ticket={ticket}"
        data = {"URL": url, "ClientConfig": self.client_config}
        return web.json_response({"code": 0, "msg": "ok", "data": data})

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query["ticket"]
        if self.forbid_links or ticket not in self.tickets:  # one ticket, one connection
            headers = {"handshake-status": "403", "handshake-msg": "forbidden"}
            return web.Response(status=403, headers=headers)
        self.tickets.remove(ticket)
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        link = Link(ws, request.transport)
        self.links.append(link)
        await self._changed()
        for payload in list(self.unacked.values()):  # a redelivery, without its 15 seconds
            await self.deliver(payload)
        try:
            async for data in ws:
                if link.frozen:
                    continue
                if data.type is WSMsgType.PING:
                    await ws.pong(data.data)
                elif data.type is WSMsgType.BINARY:
                    await self._frame(ws, data.data)
        finally:
            self.links.remove(link)
            await self._changed()
        return ws

    async def _frame(self, ws: web.WebSocketResponse, data: bytes) -> None:
        frame = _frame_type()()
        frame.ParseFromString(data)
        headers = {one.key: one.value for one in frame.headers}
        if frame.method == 0:
            assert headers == {"type": "ping"}
            assert frame.service == 7
            self.calls["ping"] += 1
            frame.headers[0].value = "pong"
            frame.payload = json.dumps(self.client_config).encode()
            await ws.send_bytes(frame.SerializeToString())
            await self._changed()
            return
        int(
            headers["biz_rt"]
        )  # of Feishu's Node SDK it is negative: it takes the end from the start
        answer = json.loads(frame.payload)
        body = json.loads(b64decode(answer["data"])) if "data" in answer else {}
        event_id = headers["trace_id"]
        self.acks.append((event_id, answer["code"], body))
        self.acked.add(event_id)
        if answer["code"] == 200:
            self.unacked.pop(event_id, None)
            self._redraw(event_id, body)
        await self._changed()

    def _redraw(self, event_id: str, answer: Json) -> None:
        """Take the card that came with the answer of a press, as Feishu does: for everybody."""
        if "card" not in answer:
            return
        assert set(answer) <= {"toast", "card"}
        assert set(answer["card"]) == {"type", "data"}
        assert answer["card"]["type"] == "raw"
        content = json.dumps(answer["card"]["data"], ensure_ascii=False)
        self._check("interactive", content)
        self.posts[self.pressed[event_id]].content = content

    async def deliver(self, payload: Json, *, parts: int = 1) -> None:
        """Send a payload to one connection, which Feishu picks by chance; it waits for the ack."""
        if not self.links:
            return
        link = self._chance.choice(self.links)
        self._sent.setdefault(payload["header"]["event_id"], []).append(self.clock.now())
        data = json.dumps(payload, ensure_ascii=False).encode()
        size = -(-len(data) // parts)
        self._number += 1
        for at in range(parts):
            frame = _frame_type()()
            frame.SeqID, frame.LogID, frame.service, frame.method = self._number, 1, 7, 1
            frame.payload = data[at * size : (at + 1) * size]
            headers = {
                "type": "event",
                "message_id": f"m{self._number}",
                "trace_id": payload["header"]["event_id"],
                "sum": str(parts),
                "seq": str(at),
            }
            for key, value in headers.items():
                header = frame.headers.add()
                header.key, header.value = key, value
            await self.outgoing.push(partial(self._put, link, frame.SerializeToString()))

    async def _put(self, link: Link, frame: bytes) -> None:
        if not link.frozen:
            await link.ws.send_bytes(frame)

    async def redeliver(self) -> None:
        """Send again what is due: 15 s, 5 min, 1 h and 6 h after the one before, then no more."""
        for event_id, payload in list(self.unacked.items()):
            sent = self._sent[event_id]
            if len(sent) > len(RETRIES):
                del self.unacked[event_id]
            elif self.clock.now() - sent[-1] >= RETRIES[len(sent) - 1]:
                await self.deliver(payload)

    def event(self, kind: str, event: Json) -> Json:
        """Return a v2 event; a card's time is in microseconds, the others' in milliseconds."""
        at = _ms(self.clock.now()) + ("000" if kind.startswith("card.") else "")
        header = {
            "event_id": uuid4().hex,
            "event_type": kind,
            "create_time": at,
            "token": "v",
            "app_id": self.app_id,
            "tenant_key": "t",
        }
        return {"schema": "2.0", "header": header, "event": event}

    # -- what people do ---------------------------------------------------------------------

    def person(self, name: str) -> str:
        open_id = f"ou_{name.lower()}"
        self.people[open_id] = name
        return open_id

    def direct(self, person: str) -> Group:
        known = [one for one in self.groups.values() if one.direct and one.members == [person]]
        return known[0] if known else self.found("", [person], direct=True)

    def post_file(self, person: str, chat: str, file: File) -> Posted:
        """Post a file; the bot is not told of it in a group: it is not mentioned."""
        key = f"file_{uuid4().hex}"
        self.files[key] = file
        content = json.dumps({"file_key": key, "file_name": file.name})
        return self._keep(chat, person, "file", content)

    def said(self, person: str, chat: str, text: str, parent: str = "") -> Json:
        """Write, and return the event; "@name" of a member or the bot is a mention."""
        group = self.groups[chat]
        members = {self.people[one]: one for one in group.members} | {BOT_NAME: BOT}
        mentions: list[Json] = []
        for name, open_id in members.items():
            if f"@{name}" in text:
                key = f"@_user_{len(mentions) + 1}"
                text = text.replace(f"@{name}", key)
                mentions.append({"key": key, "id": {"open_id": open_id}, "name": name})
        content = json.dumps({"text": text}, ensure_ascii=False)
        return self.told(self._keep(chat, person, "text", content), parent, mentions)

    def told(self, post: Posted, parent: str = "", mentions: Sequence[Json] = ()) -> Json:
        """Return the event of what was posted; in a group without a mention of the bot it needs
        im:message.group_msg."""
        message = {
            "message_id": post.id,
            "parent_id": parent,
            "create_time": _ms(post.at),
            "chat_id": post.chat,
            "chat_type": "p2p" if self.groups[post.chat].direct else "group",
            "message_type": post.kind,
            "content": post.content,
            "mentions": list(mentions),
        }
        sender = {"sender_id": {"open_id": post.sender}, "sender_type": "user", "tenant_key": "t"}
        payload = self.event("im.message.receive_v1", {"sender": sender, "message": message})
        self.unacked[payload["header"]["event_id"]] = payload
        return payload

    async def say(self, person: str, chat: str, text: str, files: Sequence[File] = ()) -> Json:
        """Write to the bot, in a group by mentioning it; a file is posted first and answered."""
        if not self.groups[chat].direct and f"@{BOT_NAME}" not in text:
            text = f"@{BOT_NAME} {text}"
        parent = ""
        for file in files:
            parent = self.post_file(person, chat, file).id
        payload = self.said(person, chat, text, parent)
        await self.deliver(payload)
        return payload

    def _seen_card(self, person: str, message: str) -> Json:
        post = self.posts[message]
        if person not in self.groups[post.chat].members:
            raise UsageError(f"{person} 不在这个群里，看不到这张卡片")
        card: Json = json.loads(post.content)
        return card

    async def press(self, person: str, message: str, action: str) -> Json:
        """Press the button that carries `action`, as it is now drawn; return the event."""
        for one in _all(self._seen_card(person, message), "button"):
            value = carried(one)
            if value.get("action") == action and "form_action_type" not in one:
                return await self.trigger(person, message, {"value": value, "tag": "button"})
        raise UsageError("这张卡片已更新，上面没有这个按钮了")

    async def submit(
        self, person: str, message: str, action: str, entered: Mapping[str, str]
    ) -> Json:
        """Fill in the form and send it; refused by what Feishu's client checks."""
        form, button = self.form(person, message, action)
        press = {"value": carried(button), "tag": "button", "name": button["name"]}
        press["form_value"] = _fill(form, entered)
        return await self.trigger(person, message, press)

    def fill(self, person: str, message: str, action: str, entered: Mapping[str, str]) -> Json:
        """Return the form_value that would be sent, or refuse as Feishu's client does."""
        return _fill(self.form(person, message, action)[0], entered)

    def form(self, person: str, message: str, action: str) -> tuple[Json, Json]:
        """Return a form as it is now drawn, and the button that sends it."""
        for form in _all(self._seen_card(person, message), "form"):
            button = form["elements"][-1]
            if carried(button)["action"] == action:
                return form, button
        raise UsageError("这张卡片已更新，上面没有这个表单了")

    async def trigger(self, person: str, message: str, action: Json) -> Json:
        """Send what the client sends for a press: `action` as the platform writes it."""
        event = {
            "operator": {"open_id": person, "tenant_key": "t"},
            "token": f"c-{uuid4().hex}",
            "action": action,
            "host": "im_message",
            "context": {"open_message_id": message, "open_chat_id": self.posts[message].chat},
        }
        payload = self.event("card.action.trigger", event)
        self.pressed[payload["header"]["event_id"]] = message
        await self.deliver(payload)
        return payload

    def rung(self, person: str) -> list[str]:
        """Return the texts that reached one person as urgent."""
        urgent = [one for one in self.posts.values() if person in one.urgent]
        return [str(self.shown(one)) for one in urgent]

    def seen(self, chat: str) -> list[str | Card]:
        """Return what the chat shows: cards as they can be read, texts, names of files."""
        return [self.shown(one) for one in self.posts.values() if one.chat == chat]

    def shown(self, one: Posted) -> str | Card:
        body = json.loads(one.content)
        match one.kind:
            case "interactive":
                return read(body)
            case "file":
                return self.files[body["file_key"]].name
            case _:
                return str(body["text"])


def carried(button: Json) -> Json:
    """Return what a button carries, as it comes back when it is pressed; {} for a link."""
    value: Json = button["behaviors"][0].get("value", {})
    return value


def sealed(payload: Json, key: str) -> bytes:
    """Return the body of a callback by HTTP: AES-256-CBC, the IV first, the key hashed, PKCS7."""
    padder = PKCS7(128).padder()
    data = padder.update(json.dumps(payload).encode()) + padder.finalize()
    vector = b"0123456789abcdef"
    encryptor = Cipher(algorithms.AES(sha256(key.encode()).digest()), modes.CBC(vector)).encryptor()
    blob = vector + encryptor.update(data) + encryptor.finalize()
    return json.dumps({"encrypt": b64encode(blob).decode()}).encode()


def _ok(**data: Any) -> web.Response:
    return web.json_response({"code": 0, "msg": "success", "data": data})


def _ms(at: datetime) -> str:
    return str(int(at.timestamp() * 1000))


def _frame_type() -> Any:
    from lark_oapi.ws.pb.pbbp2_pb2 import Frame  # noqa: PLC0415 - the SDK takes seconds to import

    return Frame


def _all(value: Any, tag: str) -> list[Json]:
    if isinstance(value, list):
        return [found for one in value for found in _all(one, tag)]
    if not isinstance(value, dict):
        return []
    mine = [value] if value.get("tag") == tag else []
    return mine + [found for one in value.values() for found in _all(one, tag)]


def _fill(form: Json, entered: Mapping[str, str]) -> Json:
    """Return the form_value that Feishu's client sends, or refuse as it does."""
    left, filled, bad = dict(entered), {}, []
    label = ""
    for one in form["elements"]:
        if one["tag"] == "div":
            label = one["text"]["content"]
            continue
        if one["tag"] == "button":
            continue
        label = one.get("label", {}).get("content", label)
        value = left.pop(one["name"].split("_", 1)[1], None)
        if value is None:
            value = one.get("default_value") or one.get("initial_option") or ""
            value = value or one.get("initial_date", "")
        if one.get("required") and not value.strip():
            bad.append(f"请填写：{label}")
        offered = {option["value"] for option in one.get("options", ())}
        chosen = [part for part in value.split(",") if part] if offered else []
        if offered and not set(chosen) <= offered:
            bad.append(f"没有这个选项：{label}")
        if one["tag"] == "date_picker" and value:
            bad += [] if is_date(value) else [f"没有这一天：{label}"]
            value = f"{value} +0800"
        filled[one["name"]] = chosen if one["tag"].startswith("multi") else value
    bad += [f"表单里没有“{name}”这一项" for name in left]
    if bad:
        raise UsageError("；".join(bad))
    return filled


# -- the card's schema ------------------------------------------------------------------------


def wrong_in(card: Json) -> str:
    """Return what Feishu would not take in a card JSON 2.0, "" when it is good."""
    looks = (
        _wrong_parts,
        _wrong_components,
        _wrong_mentions,
        _wrong_tables,
        _wrong_charts,
        _wrong_forms,
        _wrong_buttons,
    )
    return next((wrong for look in looks if (wrong := look(card))), "")


def _wrong_parts(card: Json) -> str:
    if card.get("schema") != "2.0" or card.get("config", {}).get("update_multi") is not True:
        return "schema 2.0 and update_multi are needed"
    for part, allowed in PARTS.items():
        if unknown := set(card.get(part, {}) if part else card) - allowed:
            return f"unknown property in {part or 'card'}: {unknown}"
    return "" if card["header"]["template"] in TEMPLATES else "unknown template"


def _wrong_components(card: Json) -> str:
    if unknown := set(_tags(card)) - set(KNOWN):
        return f"unknown tag: {unknown}"
    if len(_tags(card)) > 200:
        return "more than 200 components"
    for one in (found for tag in KNOWN for found in _all(card, tag)):
        unknown = set(one) - KNOWN[one["tag"]] - {"tag"}
        unknown |= set(one.get("confirm", ())) - {"title", "text"}
        if unknown:
            return f"unknown property in {one['tag']}: {unknown}"
        if one["tag"] == "plain_text" and not one["content"]:
            return "empty text"
        if one["tag"] in {"form", "table"} and one not in card["body"]["elements"]:
            return f"{one['tag']} only at the root"
    return ""


def _wrong_mentions(card: Json) -> str:
    for one in _all(card, "markdown"):
        said = re.sub(r"^```.*?^```$", "", one["content"], flags=re.DOTALL | re.MULTILINE)
        if "<at" in AT.sub("", said):
            return f"a mention of nobody: {said}"
    return ""


AT = re.compile(r"<at id=(ou_\w+)></at>")
"""A mention in the Markdown component (card JSON 2.0, rich text)."""


def _tags(value: Any) -> list[str]:
    if isinstance(value, list):
        return [tag for one in value for tag in _tags(one)]
    if not isinstance(value, dict):
        return []
    mine = [value["tag"]] if "tag" in value else []
    return mine + [tag for one in value.values() for tag in _tags(one)]


def _wrong_tables(card: Json) -> str:
    tables = _all(card, "table")
    if len(tables) > 5:
        return "more than 5 tables"
    for one in tables:
        names = [column["name"] for column in one["columns"]]
        if not 1 <= one.get("page_size", 5) <= 10 or len(set(names)) != len(names):
            return "table: page_size or columns"
        if any(set(row) - set(names) for row in one["rows"]):
            return "table: a row has an unknown column"
    return ""


RATIOS = {"1:1", "2:1", "4:3", "16:9"}
THEMES = {"brand", "rainbow", "complementary", "converse", "primary"}
HEIGHT = re.compile(r"auto|[1-9][0-9]{0,2}px")
SPEC = {"type", "title", "data", "xField", "yField", "seriesField", "legends", "label", "color"}
"""Of VChart's many properties those that a line or bar chart of ours may have; it ignores others."""


def _wrong_charts(card: Json) -> str:
    charts = _all(card, "chart")
    if len(charts) > 5:
        return "more than 5 charts"
    for one in charts:
        if one.get("aspect_ratio", "16:9") not in RATIOS:
            return "chart: aspect_ratio"
        if one.get("color_theme", "brand") not in THEMES:
            return "chart: color_theme"
        if not HEIGHT.fullmatch(one.get("height", "auto")):
            return "chart: height"
        if wrong := _wrong_spec(one["chart_spec"]):
            return f"chart: {wrong}"
    return ""


def _wrong_spec(spec: Json) -> str:
    if spec["type"] not in {"line", "bar"} or set(spec) - SPEC:
        return f"chart_spec: {set(spec) - SPEC or spec['type']}"
    names = [spec["xField"]] if isinstance(spec["xField"], str) else spec["xField"]
    series = spec.get("seriesField")
    fields = {*names, spec["yField"], *([series] if series else [])}
    points = spec["data"]["values"]
    if not points or any(set(point) != fields for point in points):
        return "data.values does not fit the fields"
    if any(not isinstance(point[spec["yField"]], int | float | None) for point in points):
        return "yField is a number"
    # Two points in one place would be drawn upon each other, or stacked.
    places = [tuple(point[name] for name in fields - {spec["yField"]}) for point in points]
    if len(set(places)) < len(places) or (spec["type"] == "bar" and series and len(names) == 1):
        return "two points in one place"
    return ""


def _wrong_forms(card: Json) -> str:
    forms = _all(card, "form")
    children = [one for form in forms for one in form["elements"] if one["tag"] != "div"]
    names = [one.get("name") for one in (*forms, *children)]
    if None in names or len(set(names)) != len(names):
        return "form: names must be there and unique"
    for form in forms:
        if _all(form["elements"], "form") or _all(form["elements"], "table"):
            return "form: holds a form or a table"
        submits = [one for one in form["elements"] if one.get("form_action_type") == "submit"]
        if not submits:
            return "form: no submit button"
    if any(not 1 <= one.get("max_length", 1) <= 1000 for one in children):
        return "input: max_length"
    if any(one.get("input_type", "text") not in INPUTS for one in children):
        return "input: input_type"
    return next((wrong for one in children if (wrong := _wrong_date(one))), "")


def _wrong_date(one: Json) -> str:
    if one["tag"] != "date_picker":
        return ""
    first = one.get("initial_date")
    if first is None and not one.get("placeholder"):
        return "date_picker: needs a placeholder or an initial_date"
    return "" if first is None or is_date(first) else "date_picker: initial_date"


INPUTS = {"text", "multiline_text", "password"}


def _wrong_buttons(card: Json) -> str:
    for one in _all(card, "button"):
        for behavior in one.get("behaviors", ()):
            if behavior["type"] == "callback" and not isinstance(behavior["value"], dict):
                return "button: value must be an object"
            if behavior["type"] not in {"callback", "open_url"}:
                return "button: behavior"
    return ""


# -- the card as a person reads it ------------------------------------------------------------


def read(card: Json) -> Card:
    """Return what a person sees of a card, in neutral words."""
    blocks = [_block(one) for one in card["body"]["elements"]]
    return Card(card["header"]["title"]["content"], blocks=tuple(blocks))


def _block(one: Json) -> Text | Mention | Table | Chart | Buttons | Form:
    match one["tag"]:
        case "chart":
            return _read_chart(one["chart_spec"])
        case "div":
            return Text(one["text"]["content"])
        case "markdown":
            if ids := AT.findall(one["content"]):
                return Mention(tuple(Person("feishu", user) for user in ids))
            return Text(one["content"].removeprefix("```\n").removesuffix("\n```"))
        case "table":
            titles = tuple(column["display_name"] for column in one["columns"])
            rows = (tuple(row[c["name"]] for c in one["columns"]) for row in one["rows"])
            return Table(titles, tuple(rows))
        case "form":
            return _read_form(one)
        case _:
            return Buttons(tuple(_read_button(button) for button in _all(one, "button")))


def _read_chart(spec: Json) -> Chart:
    points = spec["data"]["values"]
    labels = tuple(dict.fromkeys(point["x"] for point in points))
    names = dict.fromkeys(point.get("s", "") for point in points)
    series = (
        Series(name, tuple(point["y"] for point in points if point.get("s", "") == name))
        for name in names
    )
    title, _, unit = spec["title"]["text"].removesuffix("）").partition("（")
    return Chart(title, Kind(spec["type"]), labels, tuple(series), unit)


def _read_button(one: Json) -> Button:
    behavior = one["behaviors"][0]
    action = carried(one).get("action", "")
    return Button(one["text"]["content"], action, url=behavior.get("default_url", ""))


def _read_form(form: Json) -> Form:
    *elements, button = form["elements"]
    value = carried(button)
    files = iter(value.get("files", {}).items())
    inputs: list[Input] = []
    label = ""
    for one in elements:
        if one["tag"] == "div":
            label = one["text"]["content"]
            if label.startswith("📎"):
                name, title = next(files)
                inputs.append(Input(name, title, Entry.FILE, required="（必需）" in label))
            continue
        inputs.append(
            Input(
                one["name"].split("_", 1)[1],
                one.get("label", {}).get("content", label),
                options=tuple((o["value"], o["text"]["content"]) for o in one.get("options", ())),
                entry=Entry.DATE if one["tag"] == "date_picker" else Entry.LINE,
                value=next(
                    (
                        one[k]
                        for k in ("default_value", "initial_option", "initial_date")
                        if one.get(k)
                    ),
                    "",
                ),
                required=one["required"],
            )
        )
    return Form(value["action"], tuple(inputs), button["text"]["content"])

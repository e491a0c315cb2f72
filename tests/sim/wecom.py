"""An enterprise on the loopback: WeCom's AI bot connection, a self-built app and a group robot, as
strict as the real ones (facts/wecom-slack.md, sections 1 to 3 and 6), misbehaving when told to.

A frame or a call that it does not know is a failure when it closes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import os
import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self
from urllib.parse import quote, urlencode

from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from adapters.port import UsageError
from adapters.wecom.crypto import Seal
from adapters.words import Secret
from tests.sim.outgoing import Outgoing

BOT_ID, SECRET = "aib-sim", "wecom-sim-secret"
CORP, AGENT, APP_SECRET = "ww-sim", 1000002, "app-sim-secret"
TOKEN, AES_KEY = "callback-token", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
NAME = "Vigilbot"
STREAM = timedelta(minutes=6)
BUDGET = timedelta(seconds=5)
IN_PROGRESS = 3
ROBOT_PER_MINUTE, MEMBER_PER_MINUTE, MEMBER_PER_HOUR = 20, 30, 1000

Json = dict[str, Any]

_ACTIONS = {"text", "style", "key"}
_CARD = {
    "button_interaction": {"button_list"},
    "vote_interaction": {"checkbox", "submit_button"},
    "multiple_interaction": {"select_list", "submit_button"},
    "text_notice": {"card_action"},
}
_ANY = {"card_type", "main_title", "sub_title_text", "task_id", "jump_list", "card_action"}
_ANY |= {"horizontal_content_list", "source"}


class No(Exception):
    """The far side refuses, with this errcode."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def check_card(card: Any) -> None:
    """Refuse a template card that WeCom would refuse."""
    need(isinstance(card, dict) and card.get("card_type") in _CARD, 42037, "card_type")
    own = _CARD[card["card_type"]]
    need(own <= set(card), 42045, f"{own} required")
    need(set(card) <= own | _ANY, 40058, f"unknown {set(card) - own - _ANY}")
    need(bool(card.get("main_title", {}).get("title")), 40058, "main_title")
    if card["card_type"] != "text_notice":
        named = re.fullmatch(r"[0-9A-Za-z_\-@]{1,128}", str(card.get("task_id")))
        need(named is not None, 42044, "task_id")
    for button in card.get("button_list", [{"text": "", "key": "-"}]):
        need(set(button) <= _ACTIONS, 40058, "button")
        need(0 < len(button["key"].encode()) <= 1024, 40058, "key")
        need(button.get("style", 1) in {1, 2, 3, 4}, 40058, "style")
    need(1 <= len(card.get("button_list", [0])) <= 6, 40058, "button_list")
    need(len(card.get("jump_list", ())) <= 3, 40058, "jump_list")
    need(len(card.get("horizontal_content_list", ())) <= 6, 40058, "horizontal_content_list")
    need(1 <= len(card.get("select_list", [0])) <= 3, 40058, "select_list")
    for select in card.get("select_list", ()):
        need(1 <= len(select["option_list"]) <= 10, 40058, "option_list")
    if box := card.get("checkbox"):
        need(1 <= len(box["option_list"]) <= 20, 40058, "checkbox")


def need(fine: bool, code: int, why: str) -> None:
    if not fine:
        raise No(code, why)


@dataclass
class Shown:
    """One message of a chat; `only` has what single people see instead of a card."""

    kind: str
    body: Any
    stream: str = ""
    open: bool = False
    at: datetime | None = None
    only: dict[str, Json] = field(default_factory=dict)


@dataclass
class Room:
    """A chat: a group, or one person's talk with the bot (its id is @ and who)."""

    id: str
    title: str
    members: set[str]
    spoken: bool = False
    shown: list[Shown] = field(default_factory=list)
    sent: deque[datetime] = field(default_factory=deque)


@dataclass
class _Callback:
    kind: str
    room: Room
    user: str
    at: datetime
    task: str = ""


class WeComSim:
    """The far side. `async with` it; `ws_url` and `base_url` are what the link is told."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.users: dict[str, str] = {}
        self.rooms: dict[str, Room] = {}
        self.app_rooms: dict[str, Room] = {}
        self.robot_said: list[Json] = []
        self._robot_sent: deque[datetime] = deque()
        self.dropped: list[Json] = []
        """Messages of the app beyond a member's measure: it was told that they are sent."""
        self.files: dict[str, tuple[str, bytes]] = {}
        self.sealed: dict[str, tuple[str, bytes]] = {}
        self.failures: list[str] = []
        self.calls: list[str] = []
        self.dialled = 0
        self.answers_once = False
        """A message takes one stream only."""
        self.updated = asyncio.Event()
        self.token_life = 7200
        self.sees, self.closed = {1}, False
        """Departments that see the app; it is switched off."""
        self._faults: defaultdict[str, deque[str | int]] = defaultdict(deque)
        self._callbacks: dict[str, _Callback] = {}
        self._uploads: dict[str, Json] = {}
        self._live: web.WebSocketResponse | None = None
        self.outgoing = Outgoing()
        self.subscribed = asyncio.Event()
        self._tokens: dict[str, datetime] = {}
        self._codes: dict[str, tuple[str, str]] = {}
        self._count = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._open: set[web.WebSocketResponse] = set()
        self._frozen: set[web.WebSocketResponse] = set()
        self._changed = asyncio.Event()
        self.released = asyncio.Event()
        """Ends the silence of calls over HTTP."""
        self.seal = Seal(Secret(TOKEN), Secret(AES_KEY), CORP)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/ws", self._socket)
        app.router.add_route("*", "/cgi-bin/{path:.*}", self._http)
        app.router.add_get("/sealed/{number}", self._sealed)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.ws_url, self.base_url = f"ws://127.0.0.1:{port}/ws", f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.released.set()
        for ws in tuple(self._open):
            await ws.close()
        if self._runner:
            await self._runner.cleanup()
        assert not self.failures, self.failures

    async def until(self, true: Callable[[], object], within: float = 10) -> None:
        """Wait until something is so; it is looked at whenever somebody calls, comes or goes."""
        async with asyncio.timeout(within):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    # -- people -----------------------------------------------------------------------------------

    def user(self, name: str) -> str:
        """Return the id of a member of the enterprise, who is made on first sight."""
        user = f"u-{name.lower()}"
        self.users[user] = name
        self.rooms.setdefault(f"@{user}", Room(f"@{user}", name, {user}))
        return user

    def found(self, title: str, *users: str) -> Room:
        """Make a group by hand, with the bot in it."""
        for room in self.rooms.values():
            if room.title == title and not room.id.startswith("@"):
                return room
        room = Room(f"wr-{len(self.rooms)}", title, set(users))
        self.rooms[room.id] = room
        return room

    async def say(
        self, user: str, room: str, text: str, *, kind: str = "text", msgid: str = ""
    ) -> str:
        """Write in a chat; in a group the bot hears of mentions alone. Returns the req_id."""
        here = self.rooms[room]
        if user not in here.members:
            raise UsageError("您不在这个会话里")
        if not room.startswith("@"):
            if f"@{NAME}" not in text:
                return ""
            text = f"@{NAME} {text.replace(f'@{NAME}', '').strip()}".rstrip()
        shown = [one for each in self.rooms.values() for one in each.shown]
        if sum(one.open and one.only["asked"]["by"] == user for one in shown) >= IN_PROGRESS:
            raise UsageError("您有 3 条消息还在处理")
        here.spoken = True
        said: Json = {"text": {"content": text}} if kind == "text" else {"image": {"url": "x"}}
        body = {"msgtype": kind, **said, **({"msgid": msgid} if msgid else {})}
        return await self._deliver("aibot_msg_callback", here, user, body)

    async def send_file(
        self, user: str, room: str, name: str, content: bytes, quoted: str = ""
    ) -> str:
        """Send a file to the bot alone or, with what is `quoted` of it, ask it about one in a group."""
        here = self.rooms[room]
        if quoted:
            file = {"msgtype": "file", "file": self.seal_file(name, content)}
            said: Json = {
                "msgtype": "text",
                "text": {"content": f"@{NAME} {quoted}"},
                "quote": file,
            }
        elif room.startswith("@"):
            said = {"msgtype": "file", "file": self.seal_file(name, content)}
        else:
            return ""  # no bot hears of a file in a group
        here.spoken = True
        return await self._deliver("aibot_msg_callback", here, user, said)

    def seal_file(self, name: str, content: bytes) -> Json:
        """Put a file where it can be fetched, sealed with a key of its own."""
        key, number = os.urandom(32), f"{next(self._count)}"
        pad = 32 - len(content) % 32
        seal = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
        body = seal.update(content + bytes([pad]) * pad) + seal.finalize()
        self.sealed[number] = (name, body)
        url = f"{self.base_url}/sealed/{number}"
        return {"url": url, "aeskey": base64.b64encode(key).decode()}

    async def _sealed(self, request: web.Request) -> web.Response:
        found = self.sealed.get(request.match_info["number"])
        if found is None:
            return web.Response(status=404)
        named = f"attachment; filename*=UTF-8''{quote(found[0])}"
        return web.Response(body=found[1], headers={"Content-Disposition": named})

    async def press(self, user: str, room: str, task: str, key: str, **selected: str) -> str:
        """Press a button of a card as this person sees it. Returns the req_id."""
        card = self.card(user, room, task)
        keys = [b["key"] for b in card.get("button_list", ())]
        keys += [card["submit_button"]["key"]] if "submit_button" in card else []
        if key not in keys:
            raise UsageError("卡片已更新，没有这个按钮了" if "✓" in str(card) else "没有这个按钮")
        return await self.tap(user, room, task, key, **selected)

    async def tap(self, user: str, room: str, task: str, key: str, **selected: str) -> str:
        """Send what the client sends for a press, whatever is drawn."""
        card = self.card(user, room, task)
        event: Json = {"card_type": card["card_type"], "event_key": key, "task_id": task}
        if selected:
            items = [
                {"question_key": name, "option_ids": {"option_id": value.split(",")}}
                for name, value in selected.items()
            ]
            event["selected_items"] = {"selected_item": items}
        body = {
            "msgtype": "event",
            "create_time": self._seconds(),
            "event": {"eventtype": "template_card_event", "template_card_event": event},
        }
        return await self._deliver("aibot_event_callback", self.rooms[room], user, body, task)

    def card(self, user: str, room: str, task: str) -> Json:
        """Return a template card as this person sees it."""
        here = self.rooms[room]
        if user not in here.members:
            raise UsageError("您不在这个会话里")
        for one in here.shown:
            if one.kind == "template_card" and one.body["task_id"] == task:
                mine: Json = one.only.get(user, one.body)
                return mine
        raise UsageError("没有这张卡片")

    async def _deliver(self, cmd: str, room: Room, user: str, body: Json, task: str = "") -> str:
        number = f"req-{next(self._count)}"
        self._callbacks[number] = _Callback(cmd, room, user, self.now(), task)
        where: Json = {"chattype": "single"}
        if not room.id.startswith("@"):
            where = {"chattype": "group", "chatid": room.id}
        known = {"msgid": f"m-{number}", "aibotid": BOT_ID, "from": {"userid": user}}
        frame = {"cmd": cmd, "headers": {"req_id": number}, "body": {**known, **where, **body}}
        async with asyncio.timeout(5):
            await self.subscribed.wait()
        assert self._live is not None
        await self.outgoing.push(partial(self._put, self._live, frame))
        return number

    def _seconds(self) -> int:
        return int(self.now().timestamp())

    # -- faults -----------------------------------------------------------------------------------

    def misbehave(self, cmd: str, *faults: str | int) -> None:
        """Have the next calls of a kind end so: an errcode; "lost" and "closed" (done, and no answer
        or a closed connection), "gone" and "cut" (not done, the same); over HTTP "silent", too."""
        self._faults[cmd] += faults

    async def shut(self, code: int = 1000) -> None:
        """Close the connection from our side."""
        if self._live is not None:
            live, self._live = self._live, None
            self.subscribed.clear()
            await live.close(code=code)

    def abort(self) -> None:
        """Cut the wire."""
        for ws in self._open:
            if ws._req is not None and ws._req.transport is not None:
                ws._req.transport.abort()
        self.subscribed.clear()

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def is_answered(self, req: str) -> bool:
        """Was the card of this press replaced?"""
        return req not in self._callbacks

    def freeze(self) -> None:
        """Leave the connection half-open: nothing arrives by it any more, on either side. What WeCom
        says then it does not say again."""
        self._frozen.update(self._open)

    async def _put(self, ws: web.WebSocketResponse, frame: Json) -> None:
        if ws not in self._frozen:
            await ws.send_json(frame)

    async def kick(self) -> None:
        """Another connection takes the bot's place."""
        live = self._live
        assert live is not None
        self._live = None
        self.subscribed.clear()
        await self._thrown_out(live)

    async def _thrown_out(self, ws: web.WebSocketResponse) -> None:
        event = {"msgtype": "event", "event": {"eventtype": "disconnected_event"}}
        body = {"msgid": "m-x", "aibotid": BOT_ID, "create_time": self._seconds(), **event}
        frame = {"cmd": "aibot_event_callback", "headers": {"req_id": "x"}, "body": body}
        with suppress(ConnectionError):
            await self._put(ws, frame)
            await ws.close(code=1000)

    # -- the long connection ----------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.dialled += 1
        self._open.add(ws)
        try:
            async for raw in ws:
                if raw.type is WSMsgType.TEXT:
                    await self._frame(ws, json.loads(raw.data))
        finally:
            self._open.discard(ws)
            if self._live is ws:
                self._live = None
                self.subscribed.clear()
            self._changed.set()
        return ws

    async def _frame(self, ws: web.WebSocketResponse, frame: Json) -> None:
        cmd, req, body = frame["cmd"], frame["headers"]["req_id"], frame.get("body")
        self.calls.append(cmd)
        if ws in self._frozen:
            return
        fault = self._faults[cmd].popleft() if self._faults[cmd] else None
        if fault == "cut":
            self.abort()
            return
        answer: Json = {"errcode": 0, "errmsg": "ok"}
        try:
            need(not isinstance(fault, int), fault if isinstance(fault, int) else 0, "fault")
            if fault != "gone":
                need(cmd == "aibot_subscribe" or self._live is ws, 846609, "not subscribed")
                if more := await self._do(ws, cmd, req, body):
                    answer["body"] = more
        except No as no:
            answer = {"errcode": no.code, "errmsg": str(no)}
        except (KeyError, TypeError, ValueError) as problem:
            self.failures.append(f"{cmd}: {problem!r}")
            answer = {"errcode": 40058, "errmsg": "invalid parameter"}
        if fault == "closed":
            await self.shut()
        elif fault not in {"lost", "gone"}:
            frame = {"headers": {"req_id": req}, **answer}
            await self.outgoing.push(partial(self._put, ws, frame))
        self._changed.set()

    async def _do(self, ws: web.WebSocketResponse, cmd: str, req: str, body: Any) -> Json | None:
        match cmd:
            case "aibot_subscribe":
                need(body["bot_id"] == BOT_ID, 93019, "bot_id")
                need(body["secret"] == SECRET, 853000, "secret")
                old, self._live = self._live, ws
                if old is not None and old is not ws:
                    await self._thrown_out(old)
                self.subscribed.set()
            case "ping":
                need(body is None, 40058, "ping has no body")
            case "aibot_send_msg":
                self._push(body)
            case "aibot_respond_msg":
                self._respond(req, body)
            case "aibot_respond_update_msg":
                self._update(req, body)
            case _ if cmd.startswith("aibot_upload_media_"):
                return self._upload(cmd.rpartition("_")[2], body)
            case _:
                self.failures.append(f"unexpected {cmd}")
                raise No(40008, "cmd")
        return None

    def _push(self, body: Json) -> None:
        direct = f"@{body['chatid']}"
        # 1 is a person, 2 a group, 0 whichever there is, groups first (101463).
        named = {0: (body["chatid"], direct), 1: (direct,), 2: (body["chatid"],)}
        there = named[body.get("chat_type", 0)]
        room = next((self.rooms[one] for one in there if one in self.rooms), None)
        if room is None or not room.spoken:
            raise No(93006, "chatid")
        kind = body["msgtype"]
        need(kind in {"markdown", "template_card", "file"}, 40008, "msgtype")
        content = body[kind]
        self._spend(room)
        if kind == "markdown":
            need(0 < len(content["content"].encode()) <= 20480, 40058, "content")
            content = content["content"]
        elif kind == "template_card":
            check_card(content)
            tasks = [s.body["task_id"] for s in room.shown if s.kind == kind]
            need(content["task_id"] not in tasks, 42044, "task_id used")
        else:
            need(content["media_id"] in self.files, 40007, "media_id")
            content = self.files[content["media_id"]][0]
        room.shown.append(Shown(kind, content))

    def _respond(self, req: str, body: Json) -> None:
        asked = self._callbacks.get(req)
        if asked is None or asked.kind != "aibot_msg_callback":
            raise No(846605, "req_id")
        need(body["msgtype"] == "stream", 40008, "msgtype")
        stream = body["stream"]
        need(len(stream["content"].encode()) <= 20480, 40058, "content")
        known = [s for s in asked.room.shown if s.stream and s.stream.startswith(f"{req}/")]
        mine = [s for s in known if s.stream == f"{req}/{stream['id']}"]
        if mine:
            fresh = mine[0].at is not None and self.now() - mine[0].at <= STREAM
            need(mine[0].open and fresh, 846608, "stream is over")
            mine[0].body, mine[0].open = stream["content"], not stream["finish"]
            return
        need(not (known and self.answers_once), 846605, "answered")
        self._spend(asked.room)
        shown = Shown("stream", stream["content"], f"{req}/{stream['id']}", not stream["finish"])
        shown.at = self.now()
        shown.only = {"asked": {"by": asked.user}}
        asked.room.shown.append(shown)

    def _update(self, req: str, body: Json) -> None:
        pressed = self._callbacks.pop(req, None)
        if pressed is None or not pressed.task or self.now() - pressed.at > BUDGET:
            raise No(846605, "req_id")
        need(body["response_type"] == "update_template_card", 40058, "response_type")
        card = body["template_card"]
        check_card(card)
        need(card["task_id"] == pressed.task, 42044, "another task_id")
        for one in pressed.room.shown:
            if one.kind == "template_card" and one.body["task_id"] == pressed.task:
                if "userids" in body:
                    one.only |= dict.fromkeys(body["userids"], card)
                else:
                    one.body, one.only = card, {}
        self.updated.set()

    def _spend(self, room: Room) -> None:
        need(self._measure(room.sent, 30, 1000), 45009, "over quota")

    def _measure(self, sent: deque[datetime], per_minute: int, per_hour: int = 1_000_000) -> bool:
        """Is there room for one more? Then it is counted."""
        now = self.now()
        while sent and now - sent[0] >= timedelta(hours=1):
            sent.popleft()
        minute = sum(now - at < timedelta(minutes=1) for at in sent)
        if minute >= per_minute or len(sent) >= per_hour:
            return False
        sent.append(now)
        return True

    def _upload(self, step: str, body: Json) -> Json | None:
        if step == "init":
            need(body["type"] == "file" and body["total_chunks"] <= 100, 40058, "init")
            number = f"up-{next(self._count)}"
            self._uploads[number] = {**body, "pieces": {}}
            return {"upload_id": number}
        upload = self._uploads[body["upload_id"]]
        if step == "chunk":
            piece = base64.b64decode(body["base64_data"])
            need(len(piece) <= 512 * 1024, 40058, "chunk")
            upload["pieces"][body["chunk_index"]] = piece
            return None
        content = b"".join(upload["pieces"][n] for n in range(upload["total_chunks"]))
        need(hashlib.md5(content).hexdigest() == upload["md5"], 40058, "md5")
        media = f"media-{next(self._count)}"
        self.files[media] = (upload["filename"], content)
        return {"type": "file", "media_id": media}

    # -- the app and the robot --------------------------------------------------------------------

    async def _http(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.calls.append(path)
        fault = self._faults[path].popleft() if self._faults[path] else None
        if fault == "500":
            return web.Response(status=500)
        if fault == "silent":
            await self.released.wait()
        try:
            need(not isinstance(fault, int), fault if isinstance(fault, int) else 0, "fault")
            told = {} if fault == "gone" else await self._called(path, request)
        except No as no:
            return web.json_response({"errcode": no.code, "errmsg": str(no)})
        if fault in {"lost", "gone"} and request.transport is not None:
            request.transport.abort()
        return web.json_response({"errcode": 0, "errmsg": "ok", **told})

    async def _called(self, path: str, request: web.Request) -> Json:
        query = request.query
        if path == "gettoken":
            need(query["corpid"] == CORP and query["corpsecret"] == APP_SECRET, 40001, "secret")
            token = f"token-{next(self._count)}"
            self._tokens[token] = self.now() + timedelta(seconds=self.token_life)
            return {"access_token": token, "expires_in": 7200}
        if path == "webhook/send":
            need(query["key"] == "robot-key", 93000, "key")
            body = await request.json()
            need(body["msgtype"] == "text", 40008, "msgtype")
            need(len(body["text"]["content"].encode()) <= 2048, 40058, "text")
            need(self._measure(self._robot_sent, ROBOT_PER_MINUTE), 45009, "over quota")
            self.robot_said.append(body["text"])
            return {}
        until = self._tokens.get(query.get("access_token", ""))
        if until is None or self.now() >= until:
            raise No(42001, "token")
        if path == "agent/get":
            need(query["agentid"] == str(AGENT), 301002, "agentid")
            parties = {"partyid": sorted(self.sees)}
            return {"agentid": AGENT, "allow_partys": parties, "close": int(self.closed)}
        if path == "appchat/get":
            need(query["chatid"] in self.app_rooms, 86001, "chatid")
            return {}
        if path == "media/upload":
            form = await request.post()
            media, given = f"media-{next(self._count)}", form["media"]
            assert isinstance(given, web.FileField)
            self.files[media] = (given.filename, given.file.read())
            return {"media_id": media}
        body = await request.json()
        return self._app_call(path, body)

    def _app_call(self, path: str, body: Json) -> Json:
        match path:
            case "appchat/create":
                need(2 <= len(body["userlist"]) <= 2000, 86006, "userlist")
                need(len(body["name"]) <= 50, 86007, "name")
                need(re.fullmatch(r"[0-9a-zA-Z]{1,32}", body["chatid"]) is not None, 86001, "id")
                need(body["chatid"] not in self.app_rooms, 86215, "chatid exists")
                room = Room(body["chatid"], body["name"], set(body["userlist"]), spoken=True)
                self.app_rooms[room.id] = room
            case "appchat/send":
                need(body["chatid"] in self.app_rooms, 86001, "chatid")
                need(body["msgtype"] in {"markdown", "file"}, 40008, "no template_card here")
                self._app_said(self.app_rooms[body["chatid"]], body)
            case "message/send":
                need(body["agentid"] == AGENT, 40056, "agentid")
                if body["touser"] not in self.users:
                    return {"invaliduser": body["touser"]}
                name = f"app:@{body['touser']}"
                room = self.app_rooms.setdefault(name, Room(name, "", {body["touser"]}))
                if not self._measure(room.sent, MEMBER_PER_MINUTE, MEMBER_PER_HOUR):
                    self.dropped.append(body)
                    return {}
                self._app_said(room, body)
            case "message/update_template_card":
                name, task = self._codes.pop(body["response_code"], ("", ""))
                need(bool(name), 40058, "response_code")
                card = dict(body["template_card"])
                card.pop("replace_text", None)
                check_card(card)
                for one in self.app_rooms[name].shown:
                    if one.kind == "template_card" and one.body["task_id"] == task:
                        one.body = body["template_card"]
                self.updated.set()
            case _:
                self.failures.append(f"unexpected {path}")
                raise No(40008, "path")
        return {}

    def _app_said(self, room: Room, body: Json) -> None:
        kind = body["msgtype"]
        content = body[kind]
        if kind == "markdown":
            need(len(content["content"].encode()) <= 2048, 40058, "content")
            content = content["content"]
        elif kind == "template_card":
            check_card(content)
        else:
            content = self.files[content["media_id"]][0]
        room.shown.append(Shown(kind, content))

    def callback(self, inner: str, *, age: float = 0.0, nonce: str = "n") -> tuple[Json, bytes]:
        """Return the query and body by which WeCom would tell the app of something."""
        stamp = str(int(self.now().timestamp() - age))
        sealed = self.seal.close(inner.encode())
        signature = self.seal.sign(stamp, nonce, sealed)
        query = {"msg_signature": signature, "timestamp": stamp, "nonce": nonce}
        body = f"<xml><ToUserName>{CORP}</ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"
        return query, body.encode()

    def app_press(self, user: str, task: str, key: str) -> str:
        """Return what WeCom tells of a press on a card of the app."""
        code = f"code-{next(self._count)}"
        self._codes[code] = (f"app:@{user}", task)
        return (
            f"<xml><FromUserName>{user}</FromUserName><CreateTime>{int(self.now().timestamp())}"
            f"</CreateTime><MsgType>event</MsgType><Event>template_card_event</Event>"
            f"<EventKey><![CDATA[{key}]]></EventKey><TaskId>{task}</TaskId>"
            f"<ResponseCode>{code}</ResponseCode></xml>"
        )

    @property
    def robot_url(self) -> str:
        return f"{self.base_url}/cgi-bin/webhook/send?{urlencode({'key': 'robot-key'})}"

    # -- what is seen -----------------------------------------------------------------------------

    def texts(self, room: str) -> list[str]:
        """Return what a chat shows, each message as text, without the unseen characters."""
        return [read(one) for one in self.rooms[room].shown]


def read(one: Shown) -> str:
    """Return a message as people read it, in the words of `plain`."""
    if one.kind != "template_card":
        text = re.sub(r"^### (.*)$", r"【\1】", one.body, count=1, flags=re.MULTILINE)
        text = re.sub(r"^\*\*((?s:.)*?)\*\*$", r"\1", text, flags=re.MULTILINE)
        return re.sub(r"^> ", "", text, flags=re.MULTILINE).replace("\u200b", "")
    return read_card(one.body)


def read_card(card: Mapping[str, Any]) -> str:
    lines = [f"【{card['main_title']['title']}】", card.get("sub_title_text", "")]
    buttons: Sequence[Json] = card.get("button_list", ())
    pressed = [b for b in buttons if not b["key"].startswith("f:")]
    lines.append(" ".join(f"[{b['text']}]({b['key'].partition(':')[2]})" for b in pressed))
    return "\n".join(line for line in lines if line)

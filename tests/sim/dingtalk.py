"""A DingTalk on loopback: it enforces what the facts give, and misbehaves when told to.

REST and the gateway's socket are one server. Time is a parameter. Whatever it does not know, or
is asked against the rules in a way that a real platform would punish later, is a failure when it
closes.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import socket
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

from aiohttp import WSMsgType, web

from adapters.dingtalk import draw, wire
from adapters.dingtalk.link import DingTalk
from adapters.port import ChatPlatform, UsageError
from adapters.words import Chat, File, Person, Receipt, Secret
from tests.sim.outgoing import Outgoing

TOKEN_LIFE = timedelta(seconds=7200)
TICKET_LIFE = timedelta(seconds=90)
CALLBACK_BUDGET = 2.0
FORM_TYPES = {"TEXT", "SELECT", "MULTI_SELECT"}
FIELD_KEYS = {
    "name",
    "label",
    "type",
    "required",
    "readOnly",
    "placeholder",
    "options",
    "defaultValue",
}


class Wrong(StrEnum):
    """How a request may go wrong; the first word of each says when."""

    QPS = "before: 403 of the app's rate"
    MONTH = "before: 403 of the month"
    HTML = "before: an HTML page, the address is banned"
    ERROR = "before: 500"
    TOKEN = "before: the token is not known any more"
    DROPPED = "after: done, and the connection is cut"
    LATE_ERROR = "after: done, and 500 is answered"
    HANG = "after: done, and nothing is answered"


class Refused(Exception):
    """The phone did not do it, or shows what the bot answered; the text is in Chinese."""


@dataclass
class Post:
    """One entry of a chat: a card by its outTrackId, or a text, or a file's name."""

    text: str = ""
    track: str = ""


@dataclass
class Group:
    chat: Chat
    members: list[str]
    uuid: str
    posts: list[Post] = field(default_factory=list)
    has_bot: bool = True


@dataclass
class Drawn:
    params: dict[str, str]
    chat: Chat
    private: dict[str, dict[str, str]] = field(default_factory=dict)
    at: frozenset[str] = frozenset()
    """Whose phones rang when it came."""
    unanswered: int = 0
    versions: int = 1


class Answered(Exception):
    """An HTTP answer that ends a handler early."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, "requestid": "0"}


def bad(message: str, code: str = "param.error", status: int = 400) -> Answered:
    return Answered(status, code, message)


Handler = Callable[[Any], Any]


class DingTalkSim:
    """The platform of one organisation with one app and its robot."""

    def __init__(
        self,
        *,
        client_id: str = "dingapp",
        secret: str = "app-secret-word",
        robot: str = "dingapp",
        now: Callable[[], datetime] = lambda: datetime(2026, 11, 25, 3, tzinfo=UTC),
        qps: int = 20,
        month: int = 10_000,
        edition_has_ding: bool = True,
    ) -> None:
        self.client_id, self.secret, self.robot = client_id, secret, robot
        self.template, self.group_template = "card-template.schema", "group-template"
        self.bot_name, self.bot_user = "Vigilbot", "$:LWCP_v1:$bot"
        self.now, self.qps, self.month = now, qps, month
        self.edition_has_ding = edition_has_ding
        self.people: dict[str, Person] = {}
        self.groups: dict[str, Group] = {}
        self.direct: dict[str, list[Post]] = {}
        self.cards: dict[str, Drawn] = {}
        self.media: dict[str, File] = {}
        self.papers: dict[str, File] = {}
        self.dings: list[tuple[str, str]] = []
        self.replies: list[str] = []
        self.calls: list[str] = []
        self.failures: list[str] = []
        self.throttled: set[str] = set()
        self.wrong: deque[tuple[str, Wrong]] = deque()
        self.acks: list[dict[str, Any]] = []
        self.lost: list[dict[str, Any]] = []
        self.connections = 0
        self.outgoing = Outgoing()
        self.half_open = False
        self.hides_names = False
        self.denied: set[str] = set()
        self._tokens: dict[str, datetime] = {}
        self._tickets: dict[str, datetime] = {}
        self._sockets: list[web.WebSocketResponse] = []
        self._frozen: set[web.WebSocketResponse] = set()
        self._futures: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._number = count(1)
        self._recent: dict[str, deque[datetime]] = {}
        self._released = asyncio.Event()
        self._moved = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = _free_port()

    # -- the server ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=40 << 20)
        app.router.add_route("*", "/{path:.*}", self._any)
        self._released, self._moved = asyncio.Event(), asyncio.Event()
        self.outgoing = Outgoing()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        """Close; what was asked against the rules is told now."""
        self._released.set()
        if self._runner:
            await self._runner.cleanup()
        self._runner = None
        self._sockets.clear()
        assert not self.failures, self.failures

    def release(self) -> None:
        """Answer what was left to hang."""
        self._released.set()

    async def until(self, true: Callable[[], bool], within: float = 5) -> None:
        """Wait until something is so; it is looked at whenever somebody calls, comes or goes."""
        async with asyncio.timeout(within):
            while not true():
                self._moved.clear()
                await self._moved.wait()

    def go_wrong(self, path: str, how: Wrong, times: int = 1) -> None:
        """Let the next requests whose path begins so go wrong."""
        self.wrong.extend([(path, how)] * times)

    async def _any(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/connect":
            return await self._connect(request)
        self.calls.append(f"{request.method} {path}")
        self._moved.set()
        how = self._fault(path)
        try:
            if how and how.startswith("before"):
                return self._refuse(how)
            if path.startswith("/file/"):
                return web.Response(body=self.papers[path.removeprefix("/file/")].content)
            body = await self._handle(request)
            self._moved.set()
        except Answered as answer:
            return web.json_response(answer.body, status=answer.status)
        if how is Wrong.DROPPED:
            assert request.transport is not None
            request.transport.abort()
        if how is Wrong.HANG:
            await self._released.wait()
        if how is Wrong.LATE_ERROR:
            return web.json_response({"code": "system.error", "message": "x"}, status=500)
        return web.json_response(body)

    def _fault(self, path: str) -> Wrong | None:
        for entry in self.wrong:
            if path.startswith(entry[0]):
                self.wrong.remove(entry)
                return entry[1]
        return None

    def _refuse(self, how: Wrong) -> web.Response:
        match how:
            case Wrong.QPS:
                raise bad("qps", "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", 403)
            case Wrong.MONTH:
                raise bad("month", "Forbidden.AccessDenied.ApiCountLimitForOrg", 403)
            case Wrong.HTML:
                return web.Response(text="<html>1111</html>", content_type="text/html")
            case Wrong.TOKEN:
                self._tokens.clear()
                raise bad("token", "InvalidAuthentication", 401)
            case _:
                raise bad("boom", "ServiceUnavailable", 500)

    async def _handle(self, request: web.Request) -> Any:
        where = f"{request.method} {request.path}"
        if where == "POST /media/upload":
            return await self._upload(request)
        body = await request.json()
        if where == "POST /topapi/v2/user/get":
            return self._user(request, body)
        if where == "POST /v1.0/oauth2/accessToken":
            return self._token(body)
        if where == "POST /v1.0/gateway/connections/open":
            return self._open(body)
        if request.path.startswith("/session/"):
            only(body, {"msgtype", "text"})
            self.replies.append(body["text"]["content"])
            return {"errcode": 0}
        handler = self._handlers().get(where)
        if handler is None:
            self.failures.append(f"unexpected call: {where}")
            raise bad("no such interface", "NotFound", 404)
        self._authorised(request.headers.get("x-acs-dingtalk-access-token", ""))
        if request.path in self.denied:
            raise bad("no permission", "Forbidden.AccessDenied.AccessTokenPermissionDenied", 403)
        self._limited(where)
        return handler(body)

    def _handlers(self) -> dict[str, Handler]:
        return {
            "POST /v1.0/card/instances/createAndDeliver": self._create_card,
            "PUT /v1.0/card/instances": self._update_card,
            "POST /v1.0/robot/groupMessages/send": self._group_message,
            "POST /v1.0/robot/oToMessages/batchSend": self._one_to_one,
            "POST /v1.0/robot/ding/send": self._ding,
            "POST /v1.0/robot/messageFiles/download": self._download,
            "POST /v1.0/im/sceneGroups": self._create_group,
            "POST /v1.0/im/sceneGroup/member/add": self._add_members,
        }

    def _authorised(self, token: str) -> None:
        until = self._tokens.get(token)
        if until is None or self.now() >= until:
            raise bad("不合法的access_token", "InvalidAuthentication", 401)

    def _limited(self, where: str) -> None:
        recent = self._recent.setdefault(where, deque())
        now = self.now()
        while recent and now - recent[0] >= timedelta(seconds=1):
            recent.popleft()
        if len(recent) >= self.qps:
            raise bad("qps", "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", 403)
        recent.append(now)
        self.month -= 1
        if self.month < 0:
            raise bad("month", "Forbidden.AccessDenied.ApiCountLimitForOrg", 403)

    # -- interfaces ---------------------------------------------------------------------------

    def _token(self, body: Any) -> Any:
        only(body, {"appKey", "appSecret"})
        if (body["appKey"], body["appSecret"]) != (self.client_id, self.secret):
            # The real one may well repeat what it was given: an error must not carry it on.
            raise bad(f"invalid secret {body['appSecret']}", "invalidClientIdOrSecret", 400)
        token = f"token-{next(self._number)}"
        self._tokens[token] = self.now() + TOKEN_LIFE
        return {"accessToken": token, "expireIn": int(TOKEN_LIFE.total_seconds())}

    def _open(self, body: Any) -> Any:
        only(body, {"clientId", "clientSecret", "subscriptions", "ua", "localIp"})
        if (body["clientId"], body["clientSecret"]) != (self.client_id, self.secret):
            raise bad("unauthorised", "authFailed", 401)
        kinds = {(one["type"], one["topic"]) for one in body["subscriptions"]}
        if not kinds:
            raise bad("no subscriptions")
        # No "+": DingTalk's Node SDK does not quote it, so no real ticket has one.
        ticket = f"ticket{next(self._number)}/="
        self._tickets[ticket] = self.now() + TICKET_LIFE
        return {"endpoint": f"ws://127.0.0.1:{self._port}/connect", "ticket": ticket}

    def _params(self, body: Any) -> dict[str, str]:
        params = only(body["cardData"], {"cardParamMap"})["cardParamMap"]
        known = set(draw.VARIABLES)
        for name, value in params.items():
            if name not in known or len(name.encode()) > 100:
                raise bad(f"unknown variable {name}")
            if not isinstance(value, str) or len(value.encode()) > 1024:
                raise bad(f"{name} is no string of at most 1 KB")
        for name in (*draw.ROWS, *(n for s in (1, 2) for n in draw.form_names(s))):
            if params.get(name):
                _schema(name, json.loads(params[name]))
        return dict(params)

    def _create_card(self, body: Any) -> Any:
        only(
            body,
            {
                "cardTemplateId",
                "outTrackId",
                "callbackType",
                "cardData",
                "userIdType",
                "openSpaceId",
                "imGroupOpenSpaceModel",
                "imGroupOpenDeliverModel",
                "imRobotOpenSpaceModel",
                "imRobotOpenDeliverModel",
            },
        )
        if body["cardTemplateId"] != self.template or body["callbackType"] != "STREAM":
            raise bad("template or callback type")
        params = self._params(body)
        at: frozenset[str] = frozenset()
        space = body["openSpaceId"].removeprefix("dtv1.card//")
        kind, _, identity = space.partition(".")
        if kind == "IM_GROUP":
            chat, posts = self._group(identity).chat, self._group(identity).posts
            model = only(body["imGroupOpenDeliverModel"], {"robotCode", "atUserIds", "recipients"})
            robot = model["robotCode"]
            for user, name in model.get("atUserIds", {}).items():
                self._person(user)
                if not isinstance(name, str):
                    raise bad("atUserIds maps a userId to a name")
            at = frozenset(model.get("atUserIds", {}))
        else:
            self._person(identity)
            chat = Chat(wire.PLATFORM, f"{wire.DIRECT}{identity}")
            posts = self.direct.setdefault(identity, [])
            robot = body["imRobotOpenDeliverModel"]["robotCode"]
        self._robot(robot)
        track = body["outTrackId"]
        if track not in self.cards:  # the idempotency key: the same id with new data is ignored
            self.cards[track] = Drawn(params, chat, at=at)
            posts.append(Post(track=track))
        deliver = [{"spaceType": kind, "spaceId": identity, "success": True}]
        return {"success": True, "result": {"outTrackId": track, "deliverResults": deliver}}

    def _update_card(self, body: Any) -> Any:
        only(body, {"outTrackId", "cardData", "cardUpdateOptions", "userIdType"})
        card = self.cards.get(body["outTrackId"])
        if card is None:
            raise bad("card not exist", "param.cardNotExist")
        if card.unanswered:
            self.failures.append("a card was updated while its callback was not yet answered")
        params = self._params(body)
        by_key = body.get("cardUpdateOptions", {}).get("updateCardDataByKey", False)
        card.params = {**card.params, **params} if by_key else params
        card.versions += 1
        return {"success": True, "result": True}

    def _group_message(self, body: Any) -> Any:
        only(body, {"robotCode", "msgKey", "msgParam", "openConversationId"})
        self._robot(body["robotCode"])
        self._group(body["openConversationId"]).posts.append(self._said(body))
        return {"processQueryKey": f"query-{next(self._number)}"}

    def _one_to_one(self, body: Any) -> Any:
        only(body, {"robotCode", "msgKey", "msgParam", "userIds"})
        self._robot(body["robotCode"])
        post = self._said(body)
        users = body["userIds"]
        if not 1 <= len(users) <= 20:
            raise bad("userIds")
        known = [u for u in users if u in self.people]
        for user in known:
            if user not in self.throttled:
                self.direct.setdefault(user, []).append(post)
        return {
            "processQueryKey": f"query-{next(self._number)}",
            "invalidStaffIdList": [u for u in users if u not in self.people],
            "flowControlledStaffIdList": [u for u in known if u in self.throttled],
        }

    def _said(self, body: Any) -> Post:
        if len(body["msgParam"].encode()) > 15_000:
            raise bad("msgParam is too long")
        param = json.loads(body["msgParam"])
        match body["msgKey"]:
            case "sampleMarkdown":
                return Post(only(param, {"title", "text"})["text"])
            case "sampleFile":
                only(param, {"mediaId", "fileName", "fileType"})
                if param["mediaId"] not in self.media:
                    raise bad("no such media")
                return Post(param["fileName"])
            case kind:
                raise bad(f"no such message {kind}")

    def _ding(self, body: Any) -> Any:
        only(body, {"robotCode", "remindType", "receiverUserIdList", "content"})
        self._robot(body["robotCode"])
        if not self.edition_has_ding:
            raise bad("no edition", "Forbidden.AccessDenied.AccessTokenPermissionDenied", 403)
        users = body["receiverUserIdList"]
        if not 1 <= len(users) <= 200:
            raise bad("receivers", "ding.receivercount.limit")
        failed = [user for user in users if user not in self.people]
        self.dings += [(user, body["content"]) for user in users if user not in failed]
        return {"openDingId": f"ding-{next(self._number)}", "failedList": failed}

    def _create_group(self, body: Any) -> Any:
        only(body, {"groupName", "groupOwnerId", "templateId", "userIdList", "uuid"})
        if body["templateId"] != self.group_template:
            raise bad("template", "665036")
        for user in (body["groupOwnerId"], *body["userIdList"]):
            self._person(user)
        known = [g.chat for g in self.groups.values() if g.uuid == body["uuid"]]
        members = dict.fromkeys([body["groupOwnerId"], *body["userIdList"]])
        chat = known[0] if known else self.found(body["groupName"], *members, uuid=body["uuid"])
        return {"openConversationId": chat.id, "chatId": "chat"}

    def found(self, title: str, *members: str, uuid: str = "") -> Chat:
        """Make a group with the robot in it."""
        identity = f"cid{b64encode(str(next(self._number)).encode()).decode()}=="
        chat = Chat(wire.PLATFORM, identity, title)
        self.groups[identity] = Group(chat, list(members), uuid)
        return chat

    def _add_members(self, body: Any) -> Any:
        only(body, {"openConversationId", "userIds"})
        group = self._group(body["openConversationId"])
        for user in body["userIds"].split(","):
            self._person(user)
            if user not in group.members:
                group.members.append(user)
        return {"success": True}

    async def _upload(self, request: web.Request) -> Any:
        try:
            self._authorised(request.query.get("access_token", ""))
        except Answered:
            return {"errcode": 40014, "errmsg": "不合法的access_token"}
        self._limited("POST /media/upload")
        if request.query.get("type") != "file":
            return {"errcode": 40004, "errmsg": "type"}
        part = (await request.post())["media"]
        assert isinstance(part, web.FileField)
        content = part.file.read()
        if len(content) > 20_000_000:
            return {"errcode": 40009, "errmsg": "too big"}
        media = f"@media{next(self._number)}"
        self.media[media] = File(part.filename, content)
        return {"errcode": 0, "errmsg": "ok", "media_id": media, "type": "file"}

    def _user(self, request: web.Request, body: Any) -> Any:
        only(body, {"userid", "language"})
        self._authorised(request.query.get("access_token", ""))
        if self.hides_names:
            return {"errcode": 60011, "errmsg": "没有调用该接口的权限"}
        return {"errcode": 0, "errmsg": "ok", "result": {"name": self._person(body["userid"]).name}}

    def _download(self, body: Any) -> Any:
        only(body, {"downloadCode", "robotCode"})
        self._robot(body["robotCode"])
        if body["downloadCode"] not in self.papers:
            raise bad("expired", "param.downloadCode")
        return {"downloadUrl": f"{self.url}/file/{body['downloadCode']}"}

    def _robot(self, code: str) -> None:
        if code != self.robot:
            raise bad("robot", "robot.notExist")

    def _person(self, user: str) -> Person:
        if user not in self.people:
            raise bad(f"no such user {user}", "staffId.notExisted")
        return self.people[user]

    def _group(self, identity: str) -> Group:
        group = self.groups.get(identity)
        if group is None or not group.has_bot:
            raise bad("the robot is not there", "miss.openConversationId")
        return group

    # -- the stream ---------------------------------------------------------------------------

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        until = self._tickets.pop(request.query.get("ticket", ""), None)
        if until is None or self.now() >= until:
            return web.Response(status=401)
        ws = web.WebSocketResponse(autoping=False, autoclose=False, timeout=0.1)
        await ws.prepare(request)
        self.connections += 1
        self._sockets.append(ws)
        if self.half_open:
            self.freeze()
        self._moved.set()
        try:
            async for message in ws:
                if ws in self._frozen:
                    continue
                if message.type is WSMsgType.PING:
                    with suppress(ConnectionError):
                        await ws.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    self._acked(json.loads(message.data))
        finally:
            if ws in self._sockets:
                self._sockets.remove(ws)
            self._moved.set()
        return ws

    def _acked(self, ack: Any) -> None:
        only(ack, {"code", "headers", "message", "data"})
        future = self._futures.pop(ack["headers"]["messageId"], None)
        # An answer to a ping may have all of the ping's headers: DingTalk's Node SDK gives them back.
        if ack["headers"].get("topic") != "ping":
            only(ack["headers"], {"messageId", "contentType"})
        assert isinstance(ack["data"], str)
        self.acks.append(ack)
        if future and not future.done():
            future.set_result(ack)

    async def close_sockets(self) -> None:
        for ws in tuple(self._sockets):
            await ws.close()

    def freeze(self) -> None:
        """Leave the sockets half-open: nothing arrives by them any more, on either side, not even a ping.
        What DingTalk says then it does not say again."""
        self._frozen.update(self._sockets)

    def abort_sockets(self) -> None:
        for ws in tuple(self._sockets):
            transport = ws._req.transport if ws._req else None
            if transport is not None:
                transport.abort()

    async def push(
        self, kind: str, topic: str, data: Any, *, message_id: str = "", **headers: str
    ) -> asyncio.Future[dict[str, Any]] | None:
        """Push a frame to one connection; the answer is awaited by who wants it.

        None: nobody was connected, and DingTalk does not say it again.
        """
        message_id = message_id or f"frame-{next(self._number)}"
        stamp = str(int(self.now().timestamp() * 1000))
        frame = {
            "specVersion": "1.0",
            "type": kind,
            "headers": {
                "appId": "app",
                "connectionId": "c",
                "contentType": "application/json",
                "messageId": message_id,
                "time": stamp,
                "topic": topic,
                **headers,
            },
            "data": data if isinstance(data, str) else json.dumps(data),
        }
        if not self._sockets:
            self.lost.append(frame)
            return None
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._futures[message_id] = future
        await self.outgoing.push(partial(self._put, self._sockets[-1], frame))
        return future

    async def _put(self, ws: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if ws in self._frozen:
            self.lost.append(frame)
            return
        await ws.send_str(json.dumps(frame))

    # -- what people do -------------------------------------------------------------------------

    async def say(
        self, person: Person, chat: Chat, text: str, files: Sequence[File] = (), **more: str
    ) -> None:
        """Write in a chat; files are sent to the robot alone first: a message has no both."""
        for file in files:
            await self.hand_over(person, file)
        await self._message(person, chat, self._text(chat, text), **more)

    async def hand_over(self, person: Person, file: File) -> None:
        """Send a file to the robot, in its talk with this person."""
        code = f"code{next(self._number)}"
        self.papers[code] = file
        content = {"fileName": file.name, "downloadCode": code, "fileId": "1", "spaceId": "1"}
        await self._message(person, wire.direct(person), {"msgtype": "file", "content": content})

    def _text(self, chat: Chat, text: str) -> dict[str, Any]:
        group = self.groups.get(chat.id)
        members = [self.people[user] for user in group.members] if group else []
        at = [
            {"dingtalkId": f"$:LWCP_v1:${person.id}", "staffId": person.id}
            for person in members
            if f"@{person.name}" in text
        ]
        if group:  # without its mention a robot hears nothing in a group; the mention is cut out
            at.append({"dingtalkId": self.bot_user})
            text = " " + text.replace(f"@{self.bot_name}", "").lstrip()
        return {"msgtype": "text", "text": {"content": text}, "atUsers": at}

    async def _message(self, person: Person, chat: Chat, body: dict[str, Any], **more: str) -> None:
        group = self.groups.get(chat.id)
        if group and person.id not in group.members:
            raise Refused(f"{person.name} 不在群里")
        number = next(self._number)
        data = {
            "msgId": f"msg{number}==",
            "conversationId": chat.id if group else f"cid-single-{person.id}",
            "conversationType": "2" if group else "1",
            "conversationTitle": group.chat.title if group else "",
            "senderStaffId": person.id,
            "senderId": f"$:LWCP_v1:${person.id}",
            "senderNick": person.name,
            "chatbotUserId": self.bot_user,
            "createAt": int(self.now().timestamp() * 1000),
            "isInAtList": bool(group),
            "robotCode": self.robot,
            "sessionWebhook": f"{self.url}/session/{number}",
            "sessionWebhookExpiredTime": int(self.now().timestamp() * 1000) + 5_400_000,
            **body,
            **more,
        }
        future = await self.push("CALLBACK", "/v1.0/im/bot/messages/get", data)
        if future:
            async with asyncio.timeout(5):
                ack = await future
            assert ack["code"] == 200, ack

    async def tap(
        self, person: Person, track: str, action_id: str, params: Mapping[str, Any]
    ) -> str:
        """Send a card's callback as a phone does; return what the presser is then told."""
        card = self.cards[track]
        data = {
            "type": "actionCallback",
            "outTrackId": track,
            "corpId": "corp",
            "userId": person.id,
            "userIdType": 1,
            "spaceId": card.chat.id,
            "spaceType": "IM",
            "extension": "{}",
            "content": json.dumps(
                {"cardPrivateData": {"actionIds": [action_id], "params": dict(params)}}
            ),
        }
        future = await self.push("CALLBACK", "/v1.0/card/instances/callback", data)
        if future is None:
            raise Refused("请求超时")
        card.unanswered += 1
        try:
            async with asyncio.timeout(CALLBACK_BUDGET):
                ack = await future
        except TimeoutError:
            raise Refused("请求超时") from None
        finally:
            card.unanswered -= 1
        if ack["code"] != 200:
            raise Refused("请求失败")
        answer = only(json.loads(ack["data"]), {"response"})["response"]
        only(answer, {"cardUpdateOptions", "cardData", "userPrivateData"})
        private = answer["userPrivateData"]["cardParamMap"]
        only(private, {draw.NOTICE})
        if len(private[draw.NOTICE].encode()) > 1024:
            raise Refused("请求失败")
        card.private.setdefault(person.id, {}).update(private)
        return read(str(private[draw.NOTICE]))

    async def press(self, person: Person, track: str, action: str) -> str:
        """Press the button of the card as it is now; asked whether they are sure, people are."""
        params = self._buttons(self._mine(person, track)).get(action)
        if not action or params is None:
            raise Refused(wire.STALE)
        told = await self.tap(person, track, "press", params)
        return await self.tap(person, track, "press", params) if told.startswith("❓") else told

    async def submit(
        self, person: Person, track: str, action: str, values: Mapping[str, str]
    ) -> str:
        """Fill the form of the card and send it; what was not touched keeps what was drawn."""
        card = self._mine(person, track)
        for slot in (1, 2):
            if card.params.get(f"action{slot}") == action:
                drawn = _forms(card.params, slot)
                values = _spread(values, [field for fields in drawn for field in fields])
                parts = [_entered(fields, values) for fields in drawn]
                known = {name for part in parts for name in part}
                parts[0] |= {name: v for name, v in values.items() if name not in known}
                params = {"action": action, "chat": card.params["chat"]}
                sent = {f"form{n}": part for n, part in enumerate(parts, 1)}
                return await self.tap(person, track, "submit", {**params, **sent})
        raise Refused(wire.STALE_FORM)

    def _mine(self, person: Person, track: str) -> Drawn:
        card = self.cards[track]
        group = self.groups.get(card.chat.id)
        if group and person.id not in group.members:
            raise Refused(f"{person.name} 不在群里")
        return card

    def _buttons(self, card: Drawn) -> dict[str, dict[str, str]]:
        rows = [b for name in draw.ROWS for b in json.loads(card.params[name] or "[]")]
        pressed = [b["event"]["params"] for b in rows if b["event"]["type"] == "sendCardRequest"]
        return {one["params"]["action"]: one["params"] for one in pressed}

    # -- what is to be seen -------------------------------------------------------------------

    def seen(self, chat: Chat) -> list[str]:
        posts = self.groups[chat.id].posts if chat.id in self.groups else []
        return [self.reads(post) for post in posts or self.direct.get(wire.user_of(chat), [])]

    def reads(self, post: Post) -> str:
        return shown(self.cards[post.track].params) if post.track else read(post.text)

    def rung(self, user: str) -> list[str]:
        return [text for who, text in self.dings if who == user] + [
            read(post.text) for post in self.direct.get(user, []) if not post.track
        ]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def only(body: Any, names: Iterable[str]) -> Any:
    """Return the object; refuse what is none, and properties that are not known."""
    if not isinstance(body, dict):
        raise bad("no object")
    if unknown := set(body) - set(names):
        raise bad(f"unknown properties {sorted(unknown)}")
    return body


def _schema(name: str, value: Any) -> None:
    """Refuse buttons and form fields that the template's components do not know."""
    if name.startswith("buttons"):
        for button in value:
            only(button, {"text", "color", "status", "event"})
            event = only(button["event"], {"type", "params"})
            if event["type"] == "openLink":
                only(event["params"], {"url"})
            elif event["type"] == "sendCardRequest":
                only(event["params"], {"actionId", "params"})
            else:
                raise bad("event")
        return
    for one in only(value, {"fields"})["fields"]:
        only(one, FIELD_KEYS)
        if one["type"] not in FORM_TYPES:
            raise bad("field type")


def _forms(params: Mapping[str, str], slot: int) -> list[list[dict[str, Any]]]:
    return [json.loads(params[name])["fields"] for name in draw.form_names(slot) if params[name]]


def _spread(values: Mapping[str, str], fields: list[dict[str, Any]]) -> dict[str, str]:
    """Return what is chosen in each field of an input whose options did not fit one."""
    chosen = dict(values)
    pieces = [one for one in fields if draw.PIECE in one["name"]]
    split = {one["name"].partition(draw.PIECE)[0] for one in pieces}
    for one in fields:
        name = one["name"].partition(draw.PIECE)[0]
        if name in split and name in values:
            offered = {option["value"] for option in one["options"]}
            picked = [value for value in values[name].split(",") if value in offered]
            chosen[one["name"]] = ",".join(picked)
    return chosen


def _entered(fields: list[dict[str, Any]], values: Mapping[str, str]) -> dict[str, Any]:
    """Return what a form component sends: a text, {index, value}, or lists of both."""
    result: dict[str, Any] = {}
    for one in fields:
        if one.get("readOnly"):
            continue
        value = values.get(one["name"], one.get("defaultValue", ""))
        offered = [option["value"] for option in one.get("options", ())]
        chosen = value.split(",") if value else []
        match one["type"]:
            case "SELECT":
                index = offered.index(value) if value in offered else -1
                result[one["name"]] = {"index": index, "value": value}
            case "MULTI_SELECT":
                index_of = [offered.index(v) for v in chosen if v in offered]
                result[one["name"]] = {"index": index_of, "value": chosen}
            case _:
                result[one["name"]] = value
    return result


def read(markdown: str) -> str:
    """Return Markdown as a person reads it."""
    lines = []
    for line in markdown.split("  \n"):
        bare = re.sub(r"(\\.)|\*\*", lambda m: m[1] or "", line.replace("\n", " "))
        text = html.unescape(re.sub(r"\\(.)", r"\1", bare))
        inner = text.lstrip("　")
        lines.append("  " * (len(text) - len(inner)) + inner)
    return "\n".join(lines)


def shown(params: Mapping[str, str]) -> str:
    """Return the template filled with these variables, as plain text."""
    lines = [f"【{params['title']}】"]
    lines += [read(params[name]) for name in draw.BODIES if params[name]]
    buttons = [b for name in draw.ROWS for b in json.loads(params[name] or "[]")]
    if buttons:
        lines.append(" ".join(_shown_button(button) for button in buttons))
    for slot in (1, 2):
        if params[f"action{slot}"]:
            lines.append(f"表单 {params[f'action{slot}']}")
            lines += [_shown_field(one) for part in _forms(params, slot) for one in part]
            lines.append(f"[{params[f'submit{slot}']}]")
    return "\n".join(lines)


def _shown_button(button: Mapping[str, Any]) -> str:
    params = button["event"]["params"]
    return f"[{button['text']}]({params.get('url') or params['params']['action']})"


def _shown_field(one: Mapping[str, Any]) -> str:
    options = "/".join(option["value"] for option in one.get("options", ()))
    return (
        f"  {one['name']}{'*' if one.get('required') else ''}：{one['label']}"
        + (f"（{options}）" if options else "")
        + (f" = {one['defaultValue']}" if "defaultValue" in one else "")
    )


# -- the contract suite's far side ------------------------------------------------------------


class _Served(DingTalk):
    """A client whose far side is up as long as it is."""

    def __init__(self, sim: DingTalkSim, state: Path) -> None:
        super().__init__(
            sim.client_id,
            Secret(sim.secret),
            robot_code=sim.robot,
            state=state,
            clock=_Still(sim.now),
            card_template=sim.template,
            group_template=sim.group_template,
            api_url=sim.url,
            oapi_url=sim.url,
            answer_within=0.05,
        )
        self._sim = sim

    async def __aenter__(self) -> Self:
        await self._sim.start()
        return await super().__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        await self._sim.stop()


class _Still:
    """A clock that stands where the simulator's does."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class DingTalkWorld:
    """The organisation, as people and the contract suite see it."""

    def __init__(self, path: Path) -> None:
        self._path = path / "dingtalk.sqlite"
        self.sim = DingTalkSim()

    def person(self, name: str) -> Person:
        person = Person(wire.PLATFORM, f"staff-{name.lower()}", name)
        return self.sim.people.setdefault(person.id, person)

    def platform(self) -> ChatPlatform:
        return _Served(self.sim, self._path)

    def seen(self, chat: Chat) -> list[str]:
        return self.sim.seen(chat)

    def member_names(self, chat: Chat) -> set[str]:
        return {self.sim.people[user].name for user in self.sim.groups[chat.id].members}

    def rung(self, person: Person) -> list[str]:
        return self.sim.rung(person.id)

    async def say(self, person: Person, chat: Chat, text: str, files: Sequence[File]) -> None:
        await self.sim.say(person, chat, text, files)

    async def press(self, person: Person, receipt: Receipt, action: str) -> None:
        try:
            _accepted(await self.sim.press(person, receipt.id, action))
        except Refused as no:
            raise UsageError(str(no)) from no

    async def submit(
        self, person: Person, receipt: Receipt, action: str, values: dict[str, str], file: File
    ) -> None:
        """Send the file to the robot alone, as the form says, then the form."""
        await self.sim.hand_over(person, file)
        try:
            _accepted(await self.sim.submit(person, receipt.id, action, values))
        except Refused as no:
            raise UsageError(str(no)) from no


def _accepted(told: str) -> None:
    if told.startswith(wire.BAD_SIGN):
        raise Refused(told)

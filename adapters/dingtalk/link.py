"""DingTalk as a chat platform: the stream for what people do, REST for what is said.

What the platform has no key for (a robot's message, a file, a DING) is written down in the link's
own memory before it is begun, so that the same key acts once or ends in doubt. A press is kept
there before it is answered, because DingTalk delivers it once.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import httpx
import structlog

from adapters.card import Card, dumps, loads
from adapters.dingtalk import draw, forms, numbered, probes, refusals, wire
from adapters.dingtalk import token as tokens
from adapters.dingtalk.calls import Calls, done, need
from adapters.dingtalk.memory import BEGUN, Memory
from adapters.dingtalk.numbered import Choice
from adapters.dingtalk.presses import Presses
from adapters.dingtalk.probes import Probe
from adapters.dingtalk.quota import RESERVE, STANDARD, Quota
from adapters.dingtalk.wire import Arrival, Paper
from adapters.fitted import fitted
from adapters.port import (
    Capabilities,
    Clock,
    Fault,
    InDoubt,
    Meter,
    OutsideError,
    Permanent,
    Redraw,
    Transient,
    UsageError,
)
from adapters.words import Chat, Click, Event, File, Message, Person, Receipt, Secret, Submission

if TYPE_CHECKING:
    from adapters.dingtalk.socket import Stream

BUDGET = 2.0
"""Seconds in which a card's callback must be answered."""
MARGIN = 0.5
TIMEOUT = 15.0
"""Seconds for an answer of the interface."""
FIRST_CONNECTION = 10.0
EDITS, EDIT_WINDOW = 4, timedelta(seconds=30)
"""Drawings of one card: a few at once, then one every 7.5 s, or a month's calls last 5 hours.

That is the standard edition: with more calls a month the window is shorter, down to LEAST_WINDOW.
"""
LEAST_WINDOW = timedelta(seconds=1)
FETCH_TRIES = 3
NAME_PATIENCE = 0.8
PER_CHAT, MOST_PER_CHAT = 20, 240
"""Sends and edits of a chat in a minute: of the standard edition's calls, and of any number; both are
far below the 20 calls a second of an app."""

_log = structlog.get_logger(__name__)


class DingTalk:
    """A `ChatPlatform`. Without a card template its cards are Markdown, answered by typing.

    `group_template` is the template of the groups that it may found, `group_owner` who owns them
    (else the first member). Raises `Transient`, `Permanent` and `InDoubt` only.
    """

    def __init__(
        self,
        client_id: str,
        secret: Secret,
        *,
        robot_code: str,
        state: Path,
        clock: Clock,
        card_template: str = "",
        group_template: str = "",
        group_owner: str = "",
        ding: bool = True,
        monthly_calls: int = STANDARD,
        alarm_reserve: int = RESERVE,
        api_url: str = "https://api.dingtalk.com",
        oapi_url: str = "https://oapi.dingtalk.com",
        proxy: str | None = None,
        answer_within: float = BUDGET - MARGIN,
        timeout: float = TIMEOUT,
    ) -> None:
        self._client_id = client_id
        self._secret = secret
        self._robot = robot_code
        self._clock = clock
        self._template = card_template
        self._group_template = group_template
        self._group_owner = group_owner
        self._ding = ding
        self._oapi_url = oapi_url.rstrip("/")
        self._proxy = proxy
        self._memory = Memory(state)
        wealth = max(1.0, monthly_calls / STANDARD)
        self._edit_window = max(LEAST_WINDOW, EDIT_WINDOW / wealth)
        self._per_chat = int(min(MOST_PER_CHAT, PER_CHAT * wealth))
        self.quota = Quota(clock, self._memory.count, limit=monthly_calls, reserve=alarm_reserve)
        api_url = api_url.rstrip("/")
        self._auth = tokens.TokenAuth(
            client_id, secret, clock, api_url=api_url, oapi_url=self._oapi_url
        )
        self._calls = Calls(self._auth, self.quota, api_url=api_url, timeout=timeout, proxy=proxy)
        self._presses = Presses(
            self._memory, clock, self._deliver, self._has_files, within=answer_within
        )
        self._stream: Stream | None = None
        self._socket: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._reply_to: dict[str, str] = {}
        self._edits: dict[str, deque[datetime]] = {}
        self._shown: dict[str, str] = {}
        self._nameless: set[str] = set()

    # -- the port ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return wire.PLATFORM

    @property
    def can(self) -> Capabilities:
        return Capabilities(
            answers_privately=True,
            can_edit=bool(self._template),
            creates_chats=bool(self._group_template),
            has_idempotency=bool(self._template),
            without_key="文件、DING、单聊消息",
            callback_budget=BUDGET,
            max_card_bytes=draw.CARD_BYTES,
            per_chat_per_minute=self._per_chat,
        )

    @property
    def meter(self) -> Meter:
        quota = self.quota
        return Meter(quota.month, quota.used, quota.limit, quota.warning, quota.saving)

    async def __aenter__(self) -> Self:
        """Connect. What cannot be reached is tried on in the background; wrong secrets are told."""
        self._speak()
        try:
            await self._listen()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def _speak(self) -> None:
        self._memory.open(self._clock.now())
        self._arrived = asyncio.Event()
        self._presses.open()
        self._calls.open()

    async def __aexit__(self, *exc: object) -> None:
        await self._presses.close(MARGIN)
        if self._socket:
            self._socket.cancel()
            await asyncio.wait({self._socket})
            if not self._socket.cancelled() and (problem := self._socket.exception()):
                _log.error("dingtalk_stream_died", problem=repr(problem)[:200])
        self._socket = None
        await self._calls.close()
        self._memory.close()
        self._arrived.set()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what people do; asking for the next event says that the last one is kept.

        Raises what ended the stream's own loop, if anything did.
        """
        while self._memory.is_open:
            waiting = self._memory.first("event")
            if waiting is None:
                self._arrived.clear()
                await self._arrived.wait()
                if self._socket and self._socket.done() and not self._socket.cancelled():
                    self._socket.result()
                continue
            name, body = waiting
            event, papers = wire.kept(body)
            files = [file for paper in papers if (file := await self._fetch(paper)) is not None]
            if not self._memory.is_open:
                return  # what could not be fetched while closing comes again with its files
            if len(files) < len(papers):
                text = f"{wire.BAD_SIGN}有文件没有取到，请重新发送"
                await self._reply(self._reply_to.get(name, ""), text)
            event = replace(event, sender=await self._named(event.sender))
            yield event if isinstance(event, Click) else replace(event, files=tuple(files))
            if self._memory.is_open:
                self._memory.drop("event", name)
                if isinstance(event, Submission):
                    self._memory.wipe()  # it may have held what was typed into a SECRET input
                self._reply_to.pop(name, None)

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self._reach(chat)
        if not self._template:
            return await self._once("send", key, chat, lambda: self._post(chat, card))
        out_track = wire.track(key)
        params = draw.draw(card, chat)
        known = self._memory.get("card", out_track)
        if known is None:
            at = wire.called(card)
            body = wire.create_card(
                out_track, chat, params, at, template=self._template, robot=self._robot
            )
            path = "/v1.0/card/instances/createAndDeliver"
            answer = await self._calls.ask("POST", path, "发卡片", json=body)
            if why := refusals.undelivered(answer):
                raise Permanent(f"钉钉没有把卡片投到会话里：{why}", fault=Fault.REFUSED)
            # What it shows is not known: one that an unseen try has made keeps its first data.
            self._memory.keep(self._clock.now(), ("card", out_track, dumps(card)))
        return Receipt(chat, out_track)

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._reach(receipt.chat)
        if not self._template:
            raise Permanent("没有配置卡片模板，钉钉的消息发出后不能修改", fault=Fault.REFUSED)
        params = draw.draw(card, receipt.chat)
        if self._shown.get(receipt.id) == draw.digest(params):
            return receipt  # a call of the month's is saved
        self._pace(receipt.id)
        # DingTalk forbids an update while a press of the same card is not yet answered.
        await self._presses.until_answered(receipt.id)
        self._shown.pop(receipt.id, None)
        body = wire.update_card(receipt.id, params)
        await self._calls.ask("PUT", "/v1.0/card/instances", "更新卡片", json=body)
        self._memory.keep(self._clock.now(), ("card", receipt.id, dumps(card)))
        self._shown[receipt.id] = draw.digest(params)
        return receipt

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        self._calls.client()
        if not self._group_template:
            raise Permanent("没有配置场景群模板，不能建群，请用 /bind", fault=Fault.REFUSED)
        for person in members:
            self._own(person)
        owner = self._group_owner or (members[0].id if members else "")
        if not owner:
            raise Permanent("建群要有群主", fault=Fault.REFUSED)
        known = self._memory.get("deed", f"open:{key}")
        if known:
            return Chat(self.name, known, title)
        body = wire.scene_group(
            title, owner, members, template=self._group_template, uuid=wire.group_uuid(key)
        )
        answer = await self._calls.ask("POST", "/v1.0/im/sceneGroups", "建群", json=body)
        chat = Chat(self.name, need(answer, "openConversationId"), title)
        self._memory.keep(self._clock.now(), ("deed", f"open:{key}", chat.id))
        return chat

    async def invite(self, chat: Chat, members: Sequence[Person]) -> None:
        """Take people into a scene group; who is there already stays."""
        self._reach(chat)
        for person in members:
            self._own(person)
        users = ",".join(person.id for person in members)
        body = {"openConversationId": chat.id, "userIds": users}
        await self._calls.ask("POST", "/v1.0/im/sceneGroup/member/add", "加群成员", json=body)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        self._reach(chat)
        if len(file.content) > wire.FILE_BYTES:
            raise Permanent("文件太大，钉钉最多收 20 MB", fault=Fault.REFUSED)
        return await self._once("upload", key, chat, lambda: self._post_file(chat, file))

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """DING a person; where the edition has none, write to them alone."""
        self._calls.client()
        self._own(person)
        return await self._once("ring", key, wire.direct(person), lambda: self._ring(person, text))

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None:
        """Answer a press inside its budget; later it was answered already, and this does nothing.

        A typed answer is replied to at the message's own address, which costs no call.
        """
        sign = wire.GOOD_SIGN if ok else wire.BAD_SIGN
        if self._presses.answer(event.id, text, sign):
            return
        if address := self._reply_to.pop(event.id, ""):
            await self._reply(address, sign + text)

    async def lacking(self) -> tuple[Probe, ...]:
        """Return the permissions that the app does not have, for `vigilbot doctor`.

        The platform is not entered for it: a second stream takes a running bot's deliveries away.
        """
        self._speak()
        missing = []
        try:
            for probe in probes.probes(self._robot):
                oapi = probe.path.startswith("/topapi/")
                url = f"{self._oapi_url}{probe.path}" if oapi else probe.path
                try:
                    await self._calls.ask(probe.method, url, "查权限", json=dict(probe.body))
                except Permanent as error:
                    if probes.is_unknown(error):
                        raise
                    missing += [probe] if probes.is_denied(error) else []
        finally:
            await self.__aexit__()
        return tuple(missing)

    # -- the stream -------------------------------------------------------------------------

    async def _listen(self) -> None:
        # The SDK brings `requests` and 0.3 s of imports along: only who is here needs it.
        socket: ModuleType = await asyncio.to_thread(
            importlib.import_module, "adapters.dingtalk.socket"
        )
        stream: Stream = socket.Stream(
            self._connection, self._frame, self._clock, proxy=self._proxy
        )
        self._stream = stream
        self._socket = asyncio.create_task(stream.run(), name="dingtalk-stream")
        self._socket.add_done_callback(lambda _: self._arrived.set())
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_CONNECTION):
                await stream.tried.wait()
        if isinstance(stream.failed, Permanent):
            raise stream.failed

    async def _connection(self, subscriptions: list[dict[str, str]]) -> tuple[str, str]:
        """Ask the gateway for an endpoint and a ticket: valid for 90 s and one connection."""
        body = {
            "clientId": self._client_id,
            "clientSecret": self._secret.reveal(),
            "subscriptions": subscriptions,
            "ua": "dingtalk-sdk-python/v0.24.3-union",
            "localIp": "",
        }
        path = "/v1.0/gateway/connections/open"
        answer = await self._calls.ask(
            "POST", path, "开长连接", json=body, auth=None, counted=False
        )
        return need(answer, "endpoint"), need(answer, "ticket")

    async def _frame(
        self, topic: str, headers: dict[str, Any], data: Any
    ) -> dict[str, Any] | str | None:
        """Keep what a frame says before its answer; None when it could not be kept."""
        try:
            if topic.endswith("/messages/get"):
                await self._heard(wire.arrival(data))
                return "OK"
            press = wire.press(data)
            name = self._memory.get("name", press.sender.id) or ""
            press = replace(press, sender=replace(press.sender, name=name))
            return await self._presses.take(press, str(headers["messageId"]))
        except Transient as error:
            _log.error("dingtalk_not_kept", reason=error.reason)
            return None

    async def _heard(self, arrival: Arrival) -> None:
        """Keep a message. A file alone waits for its sender's next words: DingTalk has no message
        with both."""
        event, now = arrival.event, self._clock.now()
        self._remember(event.sender)
        if arrival.papers and not event.text:
            rows = [
                (
                    "paper",
                    f"{event.sender.id}:{event.id}:{n}",
                    draw.compact([paper.name, paper.code]),
                )
                for n, paper in enumerate(arrival.papers)
            ]
            self._memory.keep(now, *rows)
            return
        try:
            answered = self._typed(event)
        except UsageError as error:
            await self._reply(arrival.reply_to, f"{wire.BAD_SIGN}{error}")
            return
        if arrival.reply_to:
            self._reply_to[event.id] = arrival.reply_to
        self._deliver(answered or event, arrival.papers)

    def _typed(self, message: Message) -> Event | None:
        """Return the press or the form that a text stands for, if its number is known here."""
        said = numbered.typed(message.text)
        if said is None:
            return None
        kept = self._memory.get("choice", f"{message.chat.id}#{said.number}")
        if kept is None:
            raise UsageError(f"没有编号 {said.number}，请看最新的卡片")
        action, form_card = json.loads(kept)
        if not form_card:
            return Click(message.id, message.chat, message.sender, action, message.at)
        form = forms.find_form(loads(form_card), action)
        if form is None or not said.form:
            raise UsageError(f"编号 {said.number} 是表单，请用“提交 {said.number}”并附上内容")
        files = self._has_files(message.sender)
        values = forms.fill(form, numbered.entered(form, said.lines), files=files)
        return Submission(message.id, message.chat, message.sender, action, values, message.at)

    def _remember(self, person: Person) -> None:
        """Keep who has which name: a press names nobody, and the audit trail should."""
        if person.name and self._memory.get("name", person.id) != person.name:
            self._memory.keep(self._clock.now(), ("name", person.id, draw.clean(person.name)))

    async def _named(self, person: Person) -> Person:
        """Name who pressed: a callback has the id alone, and a signature needs a name. One call a
        person, which is not waited for when a press would be answered too late."""
        known = person.name or self._memory.get("name", person.id)
        unasked = person.id in self._nameless or wire.is_outsider(person)
        if known or unasked or self.quota.saving:
            return replace(person, name=known or "")
        self._nameless.add(person.id)
        body = {"userid": person.id, "language": "zh_CN"}
        try:
            async with asyncio.timeout(NAME_PATIENCE):
                url = f"{self._oapi_url}/topapi/v2/user/get"
                answer = await self._calls.ask("POST", url, "查姓名", json=body)
        except (OutsideError, TimeoutError) as problem:
            _log.info("dingtalk_name_unknown", why=type(problem).__name__)
            return person
        named = replace(person, name=str((answer.get("result") or {}).get("name") or ""))
        self._remember(named)
        return named

    def _deliver(self, event: Event, papers: Sequence[Paper] = ()) -> None:
        if self._memory.get("event", event.id) is not None:
            return  # told again before it was read: the files that wait are not its own
        now = self._clock.now()
        waiting = self._papers(event.sender)
        all_papers = [*(Paper(*json.loads(body)) for _, body in waiting), *papers]
        gone = [("paper", name) for name, _ in waiting]
        row = ("event", event.id, wire.keep(event, all_papers))
        self._memory.keep(now, row, gone=gone)
        self._arrived.set()

    def _papers(self, sender: Person) -> list[tuple[str, str]]:
        """Return (id, body) of the files that the person sent in the last minutes."""
        young = self._clock.now() - timedelta(minutes=30)
        rows = self._memory.all("paper", f"{sender.id}:")
        return [(name, body) for name, body, at in rows if at >= young]

    def _has_files(self, sender: Person) -> bool:
        return bool(self._papers(sender))

    async def _fetch(self, paper: Paper) -> File | None:
        """Return the file; None when it cannot be had: the words that came with it still count."""
        body = {"downloadCode": paper.code, "robotCode": self._robot}
        for _ in range(FETCH_TRIES):
            try:
                answer = await self._calls.ask(
                    "POST", "/v1.0/robot/messageFiles/download", "取文件", json=body
                )
                response = await self._calls.client().get(need(answer, "downloadUrl"))
                if response.status_code < refusals.HTTP_BAD:
                    return File(paper.name, response.content)
            except httpx.InvalidURL:
                return None
            except httpx.TransportError as problem:
                _log.info("dingtalk_file", reason=type(problem).__name__, name=paper.name)
            except Permanent as error:
                _log.warning("dingtalk_file", reason=error.reason, name=paper.name)
                return None
            except Transient as error:
                _log.info("dingtalk_file", reason=error.reason, name=paper.name)
            await self._clock.sleep(1)
        _log.warning("dingtalk_file", reason="给了三次都没取到", name=paper.name)
        return None

    # -- saying -----------------------------------------------------------------------------

    async def _once(
        self, kind: str, key: str, chat: Chat, deed: Callable[[], Awaitable[str]]
    ) -> Receipt:
        """Do what has no key on the far side: once, or InDoubt when nobody saw how it ended."""
        name = f"{kind}:{key}"
        known = self._memory.get("deed", name)
        if known == BEGUN:
            raise InDoubt("上次发到一半，钉钉不能查，不知道发出去没有")
        if known is not None:
            return Receipt(chat, known)
        self._memory.begin(self._clock.now(), name)
        try:
            receipt = Receipt(chat, await deed())
        except (Transient, Permanent):
            self._memory.drop("deed", name)
            raise
        self._memory.keep(self._clock.now(), ("deed", name, receipt.id))
        return receipt

    async def _post(self, chat: Chat, card: Card) -> str:
        found = numbered.choices(card)
        first = self._memory.count(f"choice:{chat.id}", 0) + 1
        path, body = fitted(card, lambda shown: self._markdown(chat, shown, first))
        if found:  # kept before the message is out: somebody may answer at once
            self._memory.count(f"choice:{chat.id}", len(found))
            rows = [self._choice(chat, n, one, card) for n, one in enumerate(found, first)]
            self._memory.keep(self._clock.now(), *rows)
        return await self._robot_says(path, body, chat)

    def _markdown(self, chat: Chat, card: Card, first: int) -> tuple[str, Any]:
        title, text = numbered.markdown(card, first)
        param = {"title": title, "text": text}
        return wire.message(chat, "sampleMarkdown", param, robot=self._robot)

    def _choice(self, chat: Chat, number: int, one: Choice, card: Card) -> tuple[str, str, str]:
        body = draw.compact([one.action, dumps(card) if one.form else ""])
        return ("choice", f"{chat.id}#{number}", body)

    async def _post_file(self, chat: Chat, file: File) -> str:
        answer = await self._calls.ask(
            "POST",
            f"{self._oapi_url}/media/upload",
            "上传文件",
            params={"type": "file"},
            files={"media": (draw.clean(file.name), file.content)},
        )
        param = wire.file_param(file.name, need(answer, "media_id"))
        path, body = wire.message(chat, "sampleFile", param, robot=self._robot)
        return await self._robot_says(path, body, chat)

    async def _robot_says(self, path: str, body: Any, chat: Chat) -> str:
        answer = await self._calls.ask("POST", path, "发消息", json=body, repeatable=False)
        if left := refusals.left_out(answer, wire.user_of(chat)):
            raise left
        return done(answer, "processQueryKey")

    async def _ring(self, person: Person, text: str) -> str:
        if self._ding:
            body = wire.ding(person, text, robot=self._robot)
            path = "/v1.0/robot/ding/send"
            try:
                answer = await self._calls.ask("POST", path, "DING", json=body, repeatable=False)
            except Permanent as error:
                _log.warning("dingtalk_ding", reason=error.reason)
                self._ding = not refusals.is_edition(error)  # asked again after a restart
            else:
                if person.id not in (answer.get("failedList") or ()):
                    return done(answer, "openDingId")
        path, message = wire.urgent(person, text, robot=self._robot)
        return await self._robot_says(path, message, wire.direct(person))

    async def _reply(self, address: str, text: str) -> None:
        """Answer at a sessionWebhook; it is no part of the durable outbox, so errors end here."""
        if not address:
            return
        body = {"msgtype": "text", "text": {"content": text}}
        try:
            await self._calls.client().post(address, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            _log.warning("dingtalk_reply", problem=type(problem).__name__)

    def _pace(self, out_track: str) -> None:
        now = self._clock.now()
        drawn = self._edits.setdefault(out_track, deque())
        while drawn and now - drawn[0] >= self._edit_window:
            drawn.popleft()
        if len(drawn) >= EDITS:
            wait = (drawn[0] + self._edit_window - now).total_seconds()
            raise Transient("卡片刚刷新过，省着用钉钉的调用次数", retry_after=wait)
        drawn.append(now)

    def _reach(self, chat: Chat) -> None:
        self._calls.client()
        if chat.platform != self.name or not chat.id:
            raise Permanent(f"这不是钉钉的会话：{chat.id}", fault=Fault.REFUSED)

    def _own(self, person: Person) -> None:
        if person.platform != self.name or not person.id:
            raise Permanent(f"此人不在钉钉里：{person.name or person.id}", fault=Fault.REFUSED)

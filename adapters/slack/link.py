"""The line to Slack: one supervised socket in, and every call out over one HTTP client.

Slack has no idempotency key for what is posted. So each message of ours carries a stamp of its key
(metadata, or a block_id where a file is posted), the first word in a channel after a start reads
what was said there last, and after a lost answer the channel is looked at again: what is not found
then is `InDoubt`, because it may still appear.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
import structlog

from adapters.card import Card
from adapters.port import (
    Capabilities,
    Clock,
    Fault,
    InDoubt,
    OutsideError,
    Permanent,
    Transient,
)
from adapters.slack import wire
from adapters.words import (
    NOTHING,
    Chat,
    Click,
    Event,
    File,
    Person,
    Receipt,
    Secret,
    Submission,
)

if TYPE_CHECKING:
    from slack_bolt.app.async_app import AsyncApp

    from adapters.slack.socket import Socket

BUDGET = 3.0
"""Seconds in which Slack wants an acknowledgement, or shows the person a failure."""

MARGIN = 0.5

MAX_AGE = 900.0
"""Seconds after its hello when a socket is replaced, alive or deaf: one that answers pings and
brings nothing (bolt-python#1529) cannot be told from a quiet one, so none is trusted for long."""

HELLO = 10.0
"""Seconds in which a new socket must have greeted."""

CLOSE = 3.0

BACK_OFF = (1.0, 2.0, 5.0, 15.0)
"""Seconds between two tries to dial; the last one is 30."""

HISTORY = 200
"""Messages of a channel that are looked through for stamps."""

REMEMBERED = 500
"""Stamps of one channel that are kept in memory."""

MAX_FILE_BYTES = 50_000_000

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class _Bearer(httpx.Auth):
    """Puts the token on a request at the moment of use."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request


@dataclass(eq=False, slots=True)
class _Delivery:
    """An event on its way to the inbox, and the acknowledgement that Slack waits for."""

    event: Event
    body: Mapping[str, Any]
    ack: asyncio.Future[Mapping[str, Any] | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, answer: Mapping[str, Any] | None = None) -> bool:
        """Acknowledge; False when that was done before."""
        if self.ack.done():
            return False
        self.ack.set_result(answer)
        return True

    def drop(self, error: Exception) -> None:
        if not self.ack.done():
            self.ack.set_exception(error)
            self.ack.exception()  # the far side may be gone: then nobody else asks for it


class Slack:
    """A `ChatPlatform` over Slack's Web API.

    `bot_token` (xoxb-) speaks, `app_token` (xapp-, connections:write) opens the socket. Without an
    app token Slack calls us instead: the web server hands what it gets to `receive`, and
    `signing_secret` proves that it was Slack.
    """

    def __init__(
        self,
        bot_token: Secret,
        app_token: Secret,
        *,
        clock: Clock,
        base_url: str = "https://slack.com/api/",
        signing_secret: Secret = NOTHING,
        name: str = "slack",
        timeout: float = 10.0,
        ping: float = 5.0,
    ) -> None:
        self._bot = _Bearer(bot_token)
        self._app = _Bearer(app_token) if app_token else None
        self._signing_secret = signing_secret
        self._clock = clock
        self._base = base_url.rstrip("/") + "/"
        self._name = name
        self._timeout = timeout
        self._ping = ping
        self._http: httpx.AsyncClient | None = None
        self._bolt: AsyncApp | None = None
        self._socket: Socket | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._me = ""
        self._names: dict[str, str] = {}
        self._stamps: dict[str, dict[str, str]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._heard: asyncio.Queue[_Delivery | BaseException | None] = asyncio.Queue()
        self._unsettled: dict[str, _Delivery] = {}
        self._overdue: set[str] = set()
        """Triggers that were acknowledged before their event was ready."""
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- the port ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._name

    @property
    def can(self) -> Capabilities:
        return Capabilities(
            answers_privately=True,
            invites_by_mail=True,
            has_idempotency=False,
            callback_budget=BUDGET,
            max_card_bytes=wire.MAX_TOTAL,  # a character is at least a byte
            per_chat_per_minute=60,
        )

    async def __aenter__(self) -> Self:
        """Prove the tokens and connect; raises Permanent for a bad token, else Transient."""
        if not self._app and not self._signing_secret:
            raise Permanent("Slack 需要 app_token（长连接）或 signing_secret（HTTP 回调）")
        from adapters.slack.socket import bolt  # noqa: PLC0415 -- a second to import, if at all

        self._http = httpx.AsyncClient(timeout=self._timeout)
        self._heard = asyncio.Queue()
        self._stamps.clear()
        try:
            identity = await self._call("auth.test", {}, again=True)
            self._me = identity["user_id"]
            self._bolt = bolt(identity, self._supervised, self._signing_secret)
            if self._app:
                self._socket = await self._dial(self._app)
        except BaseException:
            await self._http.aclose()
            self._http = None
            raise
        if self._app and self._socket:
            kept = self._keep(self._app, self._socket)
            self._keeper = asyncio.create_task(kept, name="slack-socket")
            self._keeper.add_done_callback(self._report)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close in bounded time; what was not kept is not acknowledged, so Slack tells it again."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        await self._drop_all()
        if self._socket:
            await self._socket.shut(CLOSE)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http:
            await self._http.aclose()
        self._http = self._socket = self._keeper = None
        self._heard.put_nowait(None)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what people do; asking for the next event says that the last one is kept."""
        while self._http:
            heard = await self._heard.get()
            if heard is None:
                return
            if isinstance(heard, BaseException):
                raise heard
            yield heard.event
            heard.settle()

    async def answer(self, event: Click | Submission, text: str, *, ok: bool) -> None:
        """Tell the one who pressed what came of it, under the eyes of nobody else.

        A form that is refused in time stays open and shows the text; raises the three errors.
        """
        delivery = self._unsettled.get(event.id)
        if delivery and isinstance(event, Submission) and not ok:
            shown = delivery.settle(wire.refused(delivery.body, text)) if text else False
            if shown:
                return
        if delivery:
            delivery.settle()
        if text:
            await self._whisper(event.chat.id, event.sender.id, text)

    async def receive(
        self, body: str, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], str]:
        """Take one HTTP delivery and return status, headers and body of the answer.

        401 when it is not signed or older than 300 s; 503 when it was not kept within the budget,
        so that Slack tells it again.
        """
        from adapters.slack.socket import over_http  # noqa: PLC0415 -- see __aenter__

        if not self._bolt or not self._http or not self._signing_secret:
            return 503, {}, ""
        return await over_http(self._bolt, body, headers)

    async def callback(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, Any] | None]:
        """Take what came to the web server, and return status and JSON; None is an empty body.

        Raises Permanent when Slack does not call us here.
        """
        if not self._signing_secret:
            raise Permanent("Slack 没有启用 HTTP 回调", fault=Fault.REFUSED)
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return 400, None
        status, _, said = await self.receive(text, headers)
        try:
            answer = json.loads(said) if said and status < 300 else None  # noqa: PLR2004 - refused
        except ValueError:
            answer = None
        return status, answer

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self._own(chat.platform, chat.id)
        body = wire.message(card)
        mark = wire.stamp(f"send:{key}")
        thread = wire.thread_of(key, chat.id)
        return Receipt(chat, await self._post(chat.id, body, mark, thread))

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._own(receipt.chat.platform, receipt.chat.id)
        ts, _, mark = receipt.id.partition("#")
        body = {"channel": receipt.chat.id, "ts": ts, **wire.message(card)}
        if mark:
            # Whether chat.update keeps the metadata by itself is not verified.
            body["metadata"] = wire.metadata(mark)
        await self._call("chat.update", body, again=True)
        return receipt

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        """Create a private channel whose name ends with the key's stamp, so it is found again."""
        self._connected()
        for person in members:
            self._own(person.platform, person.id)
        channel = await self._create(wire.channel_name(title, key))
        if channel is None:  # this workspace takes other letters only
            channel = await self._create(wire.plain_channel_name(key))
        if channel is None:
            raise Permanent("Slack 不接受这个频道名", fault=Fault.REFUSED)
        purpose = {"channel": channel, "purpose": wire.mended(title)[:250]}
        await self._call("conversations.setPurpose", purpose, again=True)
        await self._invite(channel, members)
        return Chat(self._name, channel, title)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        """Post a file by the external flow; until its last call nobody can see it."""
        self._own(chat.platform, chat.id)
        if not 0 < len(file.content) <= MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 1_000_000
            raise Permanent(f"文件须在 1 字节到 {limit} MB 之间", fault=Fault.REFUSED)
        mark = wire.stamp(f"upload:{key}")
        async with self._locks[chat.id]:
            known = await self._said(chat.id)
            if mark not in known:
                known[mark] = await self._share(chat.id, file, mark)
            return Receipt(chat, known[mark])

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """Write to the person alone: Slack notifies of a direct message at once."""
        self._own(person.platform, person.id)
        opened = await self._call("conversations.open", {"users": person.id}, again=True)
        channel = opened["channel"]["id"]
        said = await self._post(channel, wire.note(text), wire.stamp(f"ring:{key}"))
        return Receipt(Chat(self._name, channel), said)

    # -- deeds that may not be done twice -----------------------------------------------------

    async def _post(
        self, channel: str, body: Mapping[str, Any], mark: str, thread: str = ""
    ) -> str:
        """Post once; return `ts#stamp`, which is what an edit needs."""
        place = f"{channel}/{thread}" if thread else channel
        async with self._locks[channel]:
            known = await self._said(place)
            if mark not in known:
                call = {"channel": channel, **body, "metadata": wire.metadata(mark)}
                if thread:
                    call["thread_ts"] = thread

                async def deed() -> str:
                    reply = await self._call("chat.postMessage", call, again=False)
                    return str(reply["ts"])

                known[mark] = await self._once(place, mark, deed)
            return f"{known[mark]}#{mark}"

    async def _share(self, channel: str, file: File, mark: str) -> str:
        name = wire.mended(file.name) or "file"
        ask = {"filename": name, "length": len(file.content)}
        slot = await self._call("files.getUploadURLExternal", ask, again=True)
        await self._put(slot["upload_url"], file.content)
        call = {
            "channel_id": channel,
            "files": [{"id": slot["file_id"], "title": name}],
            "blocks": [wire.file_note(name, mark)],
        }

        async def deed() -> str:
            reply = await self._call("files.completeUploadExternal", call, again=False)
            return str(reply["files"][0]["id"])

        return await self._once(channel, mark, deed)

    async def _once(self, place: str, mark: str, deed: Callable[[], Awaitable[str]]) -> str:
        """Do it; when the answer is lost, look whether it is there."""
        try:
            return await deed()
        except InDoubt:
            self._stamps.pop(place, None)
            try:
                known = await self._said(place)
            except (Transient, Permanent):
                known = {}
            if mark in known:
                return known[mark]
            self._stamps.pop(place, None)  # it may still appear: look again before it is redone
            raise

    async def _said(self, place: str) -> dict[str, str]:
        """Return the stamps of what we said in a channel, or in a thread of it (channel/thread),
        whose replies its history does not show; read from Slack once after a start."""
        known = self._stamps.get(place)
        if known is None:
            channel, _, thread = place.partition("/")
            ask = {"channel": channel, "limit": HISTORY, "include_all_metadata": True}
            if thread:
                messages = (await self._replies({**ask, "ts": thread}))[::-1]
            else:
                page = await self._call("conversations.history", ask, again=True)
                messages = page["messages"]
            known = self._stamps[place] = wire.stamps(messages, self._me)
        while len(known) > REMEMBERED:
            del known[next(iter(known))]
        return known

    async def _replies(self, ask: Mapping[str, Any]) -> list[Any]:
        """Return all of a thread, the oldest first: so Slack turns its pages."""
        messages: list[Any] = []
        cursor = ""
        while True:
            page = await self._call("conversations.replies", {**ask, "cursor": cursor}, again=True)
            messages += page["messages"]
            cursor = page.get("response_metadata", {}).get("next_cursor", "")
            if not cursor:
                return messages

    async def _create(self, name: str) -> str | None:
        """Make a private channel, or find the one of that name that we made before; None when
        Slack does not take the name."""
        call = {"name": name, "is_private": True}
        fine = {"name_taken", *wire.BAD_NAMES}
        try:
            made = await self._call("conversations.create", call, again=False, fine=fine)
        except InDoubt:
            found = await self._find(name)
            if not found:
                raise
            return found
        if made["ok"]:
            return str(made["channel"]["id"])
        if made["error"] in wire.BAD_NAMES:
            return None
        found = await self._find(name)
        if not found:
            raise wire.fault("conversations.create", "name_taken", again=True)
        return found

    async def _find(self, name: str) -> str:
        cursor = ""
        while True:
            ask = {"types": "private_channel", "limit": 200, "cursor": cursor}
            page = await self._call("users.conversations", ask, again=True)
            for channel in page["channels"]:
                if channel["name"] == name and channel.get("creator") == self._me:
                    return str(channel["id"])
            cursor = page.get("response_metadata", {}).get("next_cursor", "")
            if not cursor:
                return ""

    async def _invite(self, channel: str, members: Sequence[Person]) -> None:
        """Have everybody in: colleagues directly, other companies' people (an e-mail address as
        id) through Slack Connect."""
        for person in dict.fromkeys(members):
            if "@" in person.id:
                call = {"channel": channel, "emails": [person.id], "external_limited": False}
                await self._call("conversations.inviteShared", call, again=True)
                continue
            call = {"channel": channel, "users": person.id}
            fine = {"already_in_channel"}
            await self._call("conversations.invite", call, again=True, fine=fine)

    # -- what people do -------------------------------------------------------------------------

    async def _supervised(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take a payload, and return its acknowledgement within the budget.

        An Events API delivery has no person waiting and is told again until it is acknowledged;
        everything else never comes again, so it is acknowledged whatever we are still doing.
        """
        # Bolt swallows what its middleware raises: in a task of ours it is reported.
        task = self._background(self._take(body))
        told_again = body.get("type") == "event_callback"
        if told_again and self._app:
            return await task
        await self._before(task, BUDGET - MARGIN)
        if task.done():
            return task.result()
        if told_again:  # over HTTP a caller is not left waiting
            raise wire.Dropped
        trigger = body.get("trigger_id", "")
        self._overdue.add(trigger)
        task.add_done_callback(lambda _: self._overdue.discard(trigger))
        if delivery := self._unsettled.get(trigger):
            delivery.settle()
        return None

    def _background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._report)
        return task

    async def _take(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take one payload and return the payload of its acknowledgement."""
        try:
            if body.get("type") == "event_callback":
                return await self._message(body)
            if body.get("type") == "block_actions":
                return await self._pressed(body)
            if body.get("type") == "view_submission":
                return await self._submitted(body)
            if "command" in body:
                names = await self._named(body.get("text", ""))
                at = self._clock.now()
                said = wire.slash(body, platform=self._name, bot=self._me, names=names, at=at)
                return await self._offer(said, body)
        except wire.MALFORMED as problem:
            # Acknowledged: it would not be understood the next time either.
            _log.warning("slack_payload_not_understood", problem=type(problem).__name__)
        return None

    async def _message(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        event = wire.said(body)
        if event is None:
            return None
        names = await self._named(f"<@{event['user']}>{event['text']}")
        files = await self._fetch_all(wire.attached(event.get("files") or ()))
        said = wire.message_said(event, platform=self._name, bot=self._me, names=names, files=files)
        return await self._offer(said, body)

    async def _pressed(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        pressed = wire.click(body, platform=self._name, at=self._clock.now())
        if isinstance(pressed, wire.Pressed):
            self._background(self._ask(pressed))
            return None
        return await self._offer(pressed, body) if pressed else None

    async def _submitted(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        _, attached = wire.entered(body["view"])
        files = await self._fetch_all(attached)
        at = self._clock.now()
        sent = wire.submission(body, platform=self._name, files=files, at=at)
        return await self._offer(sent, body)

    async def _offer(self, event: Event, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Queue an event and wait until it is kept or answered."""
        delivery = self._unsettled.get(event.id)
        if delivery is None:
            delivery = self._unsettled[event.id] = _Delivery(event, body)
            self._heard.put_nowait(delivery)
            if event.id in self._overdue:
                delivery.settle()
        try:
            return await asyncio.shield(delivery.ack)
        finally:
            if delivery.ack.done():
                self._unsettled.pop(event.id, None)

    async def _before(self, waited: asyncio.Future[Any], seconds: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        both: set[asyncio.Future[Any]] = {waited, timer}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    async def _ask(self, pressed: wire.Pressed) -> None:
        """Open the form that a button stands for; tell the person when that failed."""
        try:
            view = wire.modal(pressed.form, pressed.home)
            await self._call(
                "views.open", {"trigger_id": pressed.trigger, "view": view}, again=True
            )
        except OutsideError as problem:
            _log.warning("slack_form_not_opened", reason=problem.reason)
            try:
                text = "表单没有打开，请再按一次"
                await self._whisper(pressed.home.chat, pressed.sender.id, text)
            except OutsideError as silence:
                _log.warning("slack_whisper_failed", reason=silence.reason)

    async def _whisper(self, channel: str, user: str, text: str) -> None:
        call = {"channel": channel, "user": user, **wire.note(text)}
        await self._call("chat.postEphemeral", call, again=False)

    async def _named(self, text: str) -> Mapping[str, str]:
        """Return the names of the people whom a text mentions; an unknown name is no reason to
        lose the message."""
        for user in wire.mentioned(text):
            if user in self._names or user == self._me:
                continue
            try:
                found = await self._call("users.info", {"user": user}, again=True)
            except OutsideError as problem:
                _log.info("slack_name_unknown", reason=problem.reason)
                continue
            self._names[user] = wire.name_of(found["user"])
        return self._names

    async def _fetch_all(self, files: Sequence[wire.Attached]) -> tuple[File, ...]:
        fetched: list[File] = []
        for file in files:
            try:
                fetched.append(await self._fetch(file))
            except OutsideError as problem:
                _log.warning("slack_file_not_fetched", reason=problem.reason)
        return tuple(fetched)

    # -- the socket -----------------------------------------------------------------------------

    async def _dial(self, app_token: httpx.Auth) -> Socket:
        """Open a socket that has greeted; raises Transient, or Permanent for a bad token."""
        from adapters.slack.socket import Socket  # noqa: PLC0415 -- see __aenter__

        opened = await self._call("apps.connections.open", {}, again=True, auth=app_token)
        assert self._bolt
        socket = Socket(opened["url"], self._bolt, ping=self._ping)
        try:
            async with asyncio.timeout(HELLO):
                await socket.connect()
        except BaseException as problem:
            await socket.shut(CLOSE)
            if isinstance(problem, TimeoutError):
                raise Transient("Slack 的长连接没有按时打招呼") from None
            raise
        return socket

    async def _keep(self, app_token: httpx.Auth, socket: Socket) -> None:
        """Replace the socket whenever it is worn or old: the new one first, then away with the
        old one, so that nothing falls between them."""
        while True:
            began = self._clock.now()
            worn = asyncio.ensure_future(socket.worn.wait())
            try:
                await self._before(worn, min(socket.greeted.result() or MAX_AGE, MAX_AGE))
            finally:
                worn.cancel()
            if (self._clock.now() - began).total_seconds() < BACK_OFF[0]:
                await self._clock.sleep(BACK_OFF[0])  # a far side that hangs up on every hello
            new = await self._redial(app_token)
            old, self._socket, socket = socket, new, new
            try:
                await self._settled()
            finally:
                await old.shut(CLOSE)

    async def _redial(self, app_token: httpx.Auth) -> Socket:
        for pause in chain(BACK_OFF, repeat(30.0)):
            try:
                return await self._dial(app_token)
            except Transient as problem:
                _log.warning("slack_disconnected", reason=problem.reason)
                await self._clock.sleep(problem.retry_after or pause)
        raise AssertionError  # the pauses never end

    async def _settled(self) -> None:
        """Wait a little for the acknowledgements that only the old socket can carry."""
        waiting = [delivery.ack for delivery in self._unsettled.values()]
        if waiting:
            everything = asyncio.gather(*waiting, return_exceptions=True)
            await self._before(asyncio.shield(everything), BUDGET)

    async def _drop_all(self) -> None:
        for delivery in tuple(self._unsettled.values()):
            delivery.drop(wire.Dropped())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE)

    def _report(self, task: asyncio.Future[Any]) -> None:
        """A failure that nobody awaits ends the events: a deaf bot that looks alive is worse."""
        if task.cancelled():
            return
        problem = task.exception()
        if problem and not isinstance(problem, wire.Dropped):
            self._heard.put_nowait(problem)

    # -- calls ----------------------------------------------------------------------------------

    def _connected(self) -> httpx.AsyncClient:
        if self._http is None:
            raise Transient("Slack 没有连接")
        return self._http

    def _own(self, platform: str, its_id: str) -> None:
        self._connected()
        if platform != self._name or not its_id:
            raise Permanent(f"不是 Slack 上的人或频道：{its_id}", fault=Fault.REFUSED)

    async def _call(
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
        request = self._connected().build_request(
            "POST", self._base + method, data=_form(body), timeout=self._timeout
        )
        response = await self._ask_far_side(request, method, auth or self._bot, again=again)
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
                return reply
            raise wire.fault(method, error, again=again, retry_after=_retry_after(response))
        return reply

    async def _ask_far_side(
        self, request: httpx.Request, what: str, auth: httpx.Auth | None, *, again: bool
    ) -> httpx.Response:
        try:
            response = await self._connected().send(request, auth=auth)
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

    async def _put(self, url: str, content: bytes) -> None:
        """Hand over a file's bytes; the address is its own ticket and takes no token."""
        request = self._connected().build_request("POST", url, content=content)
        response = await self._ask_far_side(request, "上传文件", None, again=True)
        if response.status_code != httpx.codes.OK:
            raise Permanent(f"Slack 上传文件：HTTP {response.status_code}", fault=Fault.REFUSED)

    async def _fetch(self, file: wire.Attached) -> File:
        """Get a file that somebody sent; the token goes to Slack's own hosts alone."""
        if not wire.trusted(file.url, self._base):
            raise Permanent("文件不在 Slack 上", fault=Fault.REFUSED)
        request = self._connected().build_request("GET", file.url)
        response = await self._ask_far_side(request, "下载文件", self._bot, again=True)
        if response.status_code != httpx.codes.OK:
            # Without files:read Slack redirects to a page where one signs in.
            raise Permanent(f"Slack 下载文件：HTTP {response.status_code}", fault=Fault.REFUSED)
        return File(file.name, response.content)


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

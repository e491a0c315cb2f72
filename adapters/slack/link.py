"""The line to Slack: one supervised socket in, and every call out over one HTTP client.

What is posted goes through the ledger, which says it once; what people do waits for the inbox.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import (
    AsyncIterator,
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
    Redraw,
    Transient,
)
from adapters.slack import draw, marks, modal, wire
from adapters.slack.calls import Bearer, Calls
from adapters.slack.ledger import Ledger
from adapters.slack.scopes import SOCKET, Scope, lacking
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

MAX_FILE_BYTES = 50_000_000

T = TypeVar("T")

_log = structlog.get_logger(__name__)


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
        self._calls = Calls(bot_token, base_url, timeout=timeout)
        self._ledger = Ledger(self._calls)
        self._app = Bearer(app_token) if app_token else None
        self._signing_secret = signing_secret
        self._clock = clock
        self._name = name
        self._ping = ping
        self._bolt: AsyncApp | None = None
        self._socket: Socket | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._me = ""
        self._names: dict[str, str] = {}
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
            max_card_bytes=draw.MAX_TOTAL,  # a character is at least a byte
            per_chat_per_minute=60,
        )

    async def __aenter__(self) -> Self:
        """Prove the tokens and connect; raises Permanent for a bad token. What cannot be reached is
        tried on in the background."""
        if not self._app and not self._signing_secret:
            raise Permanent("Slack 需要 app_token（长连接）或 signing_secret（HTTP 回调）")
        self._calls.open()
        self._heard = asyncio.Queue()
        self._me, self._socket = "", None
        try:
            await self._begin()
        except Transient as problem:
            _log.warning("slack_disconnected", reason=problem.reason)
        except BaseException:
            await self._calls.close()
            raise
        self._keeper = asyncio.create_task(self._work(), name="slack-socket")
        self._keeper.add_done_callback(self._report)
        return self

    async def _begin(self) -> None:
        """Do what is left of the beginning; raises Permanent for a bad token, else Transient."""
        from adapters.slack.socket import bolt  # noqa: PLC0415 -- a second to import, if at all

        if not self._me:
            identity = await self._calls.call("auth.test", {}, again=True)
            self._ledger.open(identity["user_id"])
            self._bolt = bolt(identity, self._supervised, self._signing_secret)
            self._me = identity["user_id"]
        if self._app and not self._socket:
            self._socket = await self._dial(self._app)

    async def _work(self) -> None:
        """Begin, where that was not possible at once, and keep the socket."""
        for pause in chain(BACK_OFF, repeat(30.0)):
            if self._me and (self._socket or not self._app):
                break
            await self._clock.sleep(pause)
            try:
                await self._begin()
            except Transient as problem:
                _log.warning("slack_disconnected", reason=problem.reason)
        if self._app and self._socket:
            await self._keep(self._app, self._socket)

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
        await self._calls.close()
        self._socket = self._keeper = None
        self._heard.put_nowait(None)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what people do; asking for the next event says that the last one is kept."""
        while self._calls.is_open:
            heard = await self._heard.get()
            if heard is None:
                return
            if isinstance(heard, BaseException):
                raise heard
            yield heard.event
            heard.settle()

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None:
        """Tell the one who pressed what came of it, under the eyes of nobody else.

        A form that is refused in time stays open and shows the text; raises the three errors.
        """
        delivery = self._unsettled.get(event.id)
        if delivery and isinstance(event, Submission) and not ok:
            shown = delivery.settle(modal.refused(delivery.body, text)) if text else False
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

        if not self._bolt or not self._calls.is_open or not self._signing_secret:
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
        body = draw.message(card)
        mark = marks.stamp(f"send:{key}")
        thread = wire.thread_of(key, chat.id)
        return Receipt(chat, await self._post(chat.id, body, mark, thread))

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._own(receipt.chat.platform, receipt.chat.id)
        ts, _, mark = receipt.id.partition("#")
        body = {"channel": receipt.chat.id, "ts": ts, **draw.message(card)}
        if mark:
            # Whether chat.update keeps the metadata by itself is not verified.
            body["metadata"] = marks.metadata(mark)
        await self._calls.call("chat.update", body, again=True)
        return receipt

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        """Create a private channel whose name ends with the key's stamp, so it is found again."""
        self._reach()
        for person in members:
            self._own(person.platform, person.id)
        channel = await self._create(wire.channel_name(title, key))
        if channel is None:  # this workspace takes other letters only
            channel = await self._create(wire.plain_channel_name(key))
        if channel is None:
            raise Permanent("Slack 不接受这个频道名", fault=Fault.REFUSED)
        purpose = {"channel": channel, "purpose": draw.mended(title)[:250]}
        await self._calls.call("conversations.setPurpose", purpose, again=True)
        await self._invite(channel, members)
        return Chat(self._name, channel, title)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        """Post a file by the external flow; until its last call nobody can see it."""
        self._own(chat.platform, chat.id)
        if not 0 < len(file.content) <= MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 1_000_000
            raise Permanent(f"文件须在 1 字节到 {limit} MB 之间", fault=Fault.REFUSED)
        mark = marks.stamp(f"upload:{key}")
        shared = await self._ledger.once(chat.id, mark, lambda: self._share(chat.id, file, mark))
        return Receipt(chat, shared)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """Write to the person alone: Slack notifies of a direct message at once."""
        self._own(person.platform, person.id)
        opened = await self._calls.call("conversations.open", {"users": person.id}, again=True)
        channel = opened["channel"]["id"]
        said = await self._post(channel, draw.note(text), marks.stamp(f"ring:{key}"))
        return Receipt(Chat(self._name, channel), said)

    async def lacking(self) -> tuple[Scope, ...]:
        """Return the permissions that the installation lacks, for `vigilbot doctor`.

        Proves both tokens and connects to nothing: a second socket would take a running bot's
        deliveries. Raises Permanent for a bad token, else Transient.
        """
        self._calls.open()
        opened: Mapping[str, Any] = {"ok": True}
        try:
            _, headers = await self._calls.asked("auth.test", {}, again=True)
            if self._app:
                fine = {"missing_scope"}
                opened = await self._calls.call(
                    "apps.connections.open", {}, again=True, fine=fine, auth=self._app
                )
        finally:
            await self._calls.close()
        granted = headers.get("x-oauth-scopes")
        if granted is None:
            raise Permanent("Slack 没有说明授予了哪些权限，请检查 base_url 和代理")
        return lacking(granted) if opened["ok"] else (*lacking(granted), SOCKET)

    # -- deeds that may not be done twice -----------------------------------------------------

    async def _post(
        self, channel: str, body: Mapping[str, Any], mark: str, thread: str = ""
    ) -> str:
        """Post once; return `ts#stamp`, which is what an edit needs."""
        call = {"channel": channel, **body, "metadata": marks.metadata(mark)}
        if thread:
            call["thread_ts"] = thread

        async def deed() -> str:
            reply = await self._calls.call("chat.postMessage", call, again=False)
            return str(reply["ts"])

        said = await self._ledger.once(channel, mark, deed, thread=thread)
        return f"{said}#{mark}"

    async def _share(self, channel: str, file: File, mark: str) -> str:
        name = draw.mended(file.name) or "file"
        ask = {"filename": name, "length": len(file.content)}
        slot = await self._calls.call("files.getUploadURLExternal", ask, again=True)
        await self._calls.put(slot["upload_url"], file.content)
        call = {
            "channel_id": channel,
            "files": [{"id": slot["file_id"], "title": name}],
            "blocks": [draw.file_note(name, mark)],
        }
        reply = await self._calls.call("files.completeUploadExternal", call, again=False)
        return str(reply["files"][0]["id"])

    async def _create(self, name: str) -> str | None:
        """Make a private channel, or find the one of that name that we made before; None when
        Slack does not take the name."""
        call = {"name": name, "is_private": True}
        fine = {"name_taken", *wire.BAD_NAMES}
        try:
            made = await self._calls.call("conversations.create", call, again=False, fine=fine)
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
            page = await self._calls.call("users.conversations", ask, again=True)
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
                await self._calls.call("conversations.inviteShared", call, again=True)
                continue
            call = {"channel": channel, "users": person.id}
            fine = {"already_in_channel"}
            await self._calls.call("conversations.invite", call, again=True, fine=fine)

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
        attached = wire.attached(event.get("files") or ())
        files = await self._fetch_all(attached)
        said = wire.message_said(event, platform=self._name, bot=self._me, names=names, files=files)
        self._own_up(said, len(attached) - len(files))
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
        self._own_up(sent, len(attached) - len(files))
        return await self._offer(sent, body)

    def _own_up(self, event: Event, missing: int) -> None:
        """Tell who sent files that some could not be had."""
        if missing:
            text = "有文件没有取到，请重新发送"
            self._background(self._told(event.chat.id, event.sender.id, text))

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
            view = modal.modal(pressed.form, pressed.home)
            call = {"trigger_id": pressed.trigger, "view": view}
            # Told twice of one press: it has opened.
            await self._calls.call("views.open", call, again=True, fine={"exchanged_trigger_id"})
        except OutsideError as problem:
            _log.warning("slack_form_not_opened", reason=problem.reason)
            await self._told(pressed.home.chat, pressed.sender.id, "表单没有打开，请再按一次")

    async def _told(self, channel: str, user: str, text: str) -> None:
        """Whisper what is of use now or never."""
        try:
            await self._whisper(channel, user, text)
        except OutsideError as silence:
            _log.warning("slack_whisper_failed", reason=silence.reason)

    async def _whisper(self, channel: str, user: str, text: str) -> None:
        call = {"channel": channel, "user": user, **draw.note(text)}
        await self._calls.call("chat.postEphemeral", call, again=False)

    async def _named(self, text: str) -> Mapping[str, str]:
        """Return the names of the people whom a text mentions; an unknown name is no reason to
        lose the message."""
        for user in wire.mentioned(text):
            if user in self._names or user == self._me:
                continue
            try:
                found = await self._calls.call("users.info", {"user": user}, again=True)
            except OutsideError as problem:
                _log.info("slack_name_unknown", reason=problem.reason)
                continue
            self._names[user] = wire.name_of(found["user"])
        return self._names

    async def _fetch_all(self, files: Sequence[wire.Attached]) -> tuple[File, ...]:
        fetched: list[File] = []
        for file in files:
            try:
                fetched.append(await self._insisted(file))
            except OutsideError as problem:
                _log.warning("slack_file_not_fetched", reason=problem.reason)
        return tuple(fetched)

    async def _insisted(self, file: wire.Attached) -> File:
        """Fetch a file; it is asked for thrice, because nobody sends it again."""
        for pause in BACK_OFF[:2]:
            try:
                return await self._fetched(file)
            except Transient as problem:
                await self._clock.sleep(problem.retry_after or pause)
        return await self._fetched(file)

    async def _fetched(self, file: wire.Attached) -> File:
        if not file.url:
            told = await self._calls.call("files.info", {"file": file.id}, again=True)
            (file,) = wire.attached([told["file"]])
        return await self._calls.fetch(file)

    # -- the socket -----------------------------------------------------------------------------

    async def _dial(self, app_token: httpx.Auth) -> Socket:
        """Open a socket that has greeted; raises Transient, or Permanent for a bad token."""
        from adapters.slack.socket import Socket  # noqa: PLC0415 -- see __aenter__

        opened = await self._calls.call("apps.connections.open", {}, again=True, auth=app_token)
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

    def _reach(self) -> None:
        self._calls.reach()
        if not self._me:
            raise Transient("还没有连上 Slack")

    def _own(self, platform: str, its_id: str) -> None:
        self._reach()
        if platform != self._name or not its_id:
            raise Permanent(f"不是 Slack 上的人或频道：{its_id}", fault=Fault.REFUSED)

"""The line to WeCom: the AI bot's long connection, with a self-built app and a group robot beside it
where they are set up.

Nothing that was sent can be edited, looked up or taken back. A press is the one moment in which its
card can be replaced, so a press is answered from what is known here, and the work comes afterwards.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import structlog

from adapters.card import Card, Form, dumps
from adapters.port import (
    Capabilities,
    Clock,
    Fault,
    InDoubt,
    OutsideError,
    Permanent,
    Redraw,
    Stopped,
    Transient,
)
from adapters.wecom import wire
from adapters.wecom.app import App, Once, Robot, plainly
from adapters.wecom.media import fetched, hand_over
from adapters.wecom.memory import BEGUN, Kept, Memory, Shared
from adapters.wecom.pages import Pages
from adapters.wecom.presses import BUDGET, CODE, Presses
from adapters.wecom.socket import ACK, Alone, Lease, Socket
from adapters.words import Chat, Click, Event, File, Message, Person, Receipt, Secret, Submission

FRESH = timedelta(minutes=5)
"""How long a message can be answered with a stream: 6 minutes in 101463, 10 in newer texts."""
STREAMS = 2
"""Open streams of one person's: WeCom has three messages of theirs in progress at most (100719)."""
REMEMBERED = 500
"""Messages whose answer may still be tied to them."""
FIRST = 5.0
DONE = "done"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message that can be answered at its own address."""

    req: str
    chat: Chat
    user: str
    at: datetime


class WeCom:
    """A `ChatPlatform` whose groups are made by hand.

    `state` is a file of its own; `public_url` is where the pages of forms are. Of several replicas
    `lease` says which one connects, and `shared` is what the next one must know. Raises `Transient`,
    `Permanent` and `InDoubt` only.
    """

    def __init__(
        self,
        bot_id: str,
        secret: Secret,
        *,
        state: Path,
        clock: Clock,
        ws_url: str = "wss://openws.work.weixin.qq.com",
        public_url: str = "",
        lease: Lease | None = None,
        shared: Shared | None = None,
        app: App | None = None,
        robot: Robot | None = None,
        ack: float = ACK,
    ) -> None:
        self._clock = clock
        self._public_url = public_url.rstrip("/")
        self._app = app
        self._robot = robot
        self._memory = Memory(state)
        self._kept = Kept(self._memory, shared)
        self.pages = Pages(self._kept, clock, self._public_url, self._keep)
        self._lease = lease or Alone()
        self._socket = Socket(
            bot_id, secret, self._take, url=ws_url, clock=clock, lease=self._lease, ack=ack
        )
        self._presses = Presses(
            self._memory,
            self._kept,
            self.pages,
            self._socket,
            app=app,
            clock=clock,
            keep=self._keep,
            spawn=self._spawn,
        )
        self._running: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._asked: dict[str, _Asked] = {}
        self._streams: dict[str, _Asked] = {}
        self._last: dict[str, str] = {}
        """What each open stream shows."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._people: set[str] = set()
        self._met: set[str] = set()
        """Chats that have spoken since we are here."""
        self._broken: BaseException | None = None
        self._stopped: Stopped | None = None

    # -- the port ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return wire.PLATFORM

    @property
    def can(self) -> Capabilities:
        return Capabilities(
            can_edit=False,
            edit_only_on_click=True,
            needs_prior_contact=True,
            creates_chats=self._app is not None,
            has_idempotency=False,
            hears_files=False,
            hears_mentions=False,
            answers_privately=True,
            callback_budget=BUDGET,
            max_card_bytes=wire.MARKDOWN_BYTES,
            per_chat_per_minute=30,
            per_chat_per_hour=1000,
        )

    @property
    def speaks(self) -> bool:
        """Is the one connection this replica's? While it is another's, that one is to speak."""
        return self._socket.mine

    @property
    def stopped(self) -> Stopped | None:
        """Set when we were thrown out or refused for good. `speaks` stays as it is then: what is to be
        said is refused with the reason, and an alarm goes to the group robot."""
        return self._stopped

    async def __aenter__(self) -> Self:
        """Connect. What cannot be reached is tried on in the background; a wrong secret is told."""
        self._memory.open(self._clock.now())
        await self._kept.forget(self._clock.now())
        self._arrived = asyncio.Event()
        self._running = asyncio.create_task(self._connected(), name="wecom-socket")
        self._running.add_done_callback(self._report)
        tried = asyncio.create_task(self._socket.tried.wait())
        try:
            await asyncio.wait({tried}, timeout=FIRST)
        finally:
            tried.cancel()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close; who pressed and was not answered is told that it is kept, and no stream stays open."""
        await self._presses.settle_all()
        await asyncio.gather(*(self._end(name) for name in tuple(self._streams)))
        for task in (*self._tasks, *([self._running] if self._running else [])):
            task.cancel()
            await asyncio.wait({task})
        self._running = None
        await self._lease.give_up()
        if self._app:
            await self._app.close()
        if self._robot:
            await self._robot.close()
        self._memory.close()
        self._arrived.set()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what people do; asking for the next event says that the last one is kept."""
        while self._memory.is_open:
            waiting = self._memory.first("event")
            if waiting is None:
                self._arrived.clear()
                await self._arrived.wait()
                if self._broken:
                    raise self._broken
                continue
            name, body = waiting
            yield wire.restored(body)
            if self._memory.is_open:
                self._memory.drop("event", name)

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None:
        """Replace the card that was pressed: for everybody when it counts, for the presser alone
        when not. Of a form's page, tell it on the page."""
        self.pages.settle(event.id, text, ok=ok)
        await self._presses.settle(event.id, text, ok=ok)

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        """Say the card's text, then what can be pressed on it."""
        await self._reach(chat)
        name = wire.ident(key)
        drawn = wire.draw(card, name, self._public_url)
        if self._app and (place := _of_app(chat)):
            # A group of the app takes no template cards (90248).
            drawn = drawn if place.startswith("@") else wire.one_way(card, self._public_url)
        for one in drawn.cards:
            body = json.dumps([chat.id, one, dumps(card)], ensure_ascii=False)
            self._memory.keep("card", one["task_id"], body, self._clock.now())
            if self._kept.shares:
                await self._kept.keep("card", one["task_id"], body, self._clock.now())
        if drawn.markdown:
            # The inbox calls its answer after the message: that one is answered at its own address.
            asked = self._fresh(self._asked.get(key.rpartition(":")[2]))
            await self._once(f"say:{key}", lambda: self._say(chat, drawn.markdown, asked, name))
        for one in drawn.cards:
            await self._once(f"card:{one['task_id']}", partial(self._show, chat, one))
        return Receipt(chat, name, bool(drawn.markdown) + len(drawn.cards))

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        """Redraw a stream that is open; Permanent for all else that was ever sent."""
        asked = self._streams.get(receipt.id)
        if asked is None:
            raise Permanent("企业微信的消息发出后不能修改", fault=Fault.REFUSED)
        before = self._last[receipt.id]
        try:
            self._last[receipt.id] = wire.streamed(card, self._public_url)
            await self._stream(asked, receipt.id, self._last[receipt.id], finish=False)
        except (Permanent, InDoubt) as problem:
            if isinstance(problem, Permanent):
                self._last[receipt.id] = before
            self._spawn(self._end(receipt.id))
            raise Permanent(problem.reason, fault=problem.fault) from problem
        return receipt

    async def open_stream(self, chat: Chat, card: Card, *, key: str) -> Receipt | None:
        """Answer the chat's newest message with a text that `edit` can redraw for a while; None
        when nobody has just asked."""
        heard = [one for one in self._asked.values() if one.chat == chat]
        asked = self._fresh(heard[-1]) if heard else None
        if asked is None or sum(s.user == asked.user for s in self._streams.values()) >= STREAMS:
            return None
        name = wire.ident(key)
        try:
            text = wire.streamed(card, self._public_url)
            self._streams[name], self._last[name] = asked, text
            await self._once(f"say:{key}", lambda: self._stream(asked, name, text, finish=False))
        except InDoubt:
            self._spawn(self._end(name))
            raise
        except (Transient, Permanent) as problem:
            self._streams.pop(name, None)
            self._last.pop(name, None)
            if isinstance(problem, Transient):
                raise
            return None  # what was said long ago is no longer answered: it is said anew
        self._spawn(self._seal(name, asked))
        return Receipt(chat, name)

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        """Make a group by the self-built app: a person must still take the bot into it."""
        self._opened()
        if self._app is None:
            reason = "企业微信的机器人不能建群：请手工建群并拉进机器人，在群里 @机器人 /bind 公司名"
            raise Permanent(reason, fault=Fault.REFUSED)
        for person in members:
            self._own(person)
        name = wire.ident(key)
        await self._app.create_group(name, title, [person.id for person in members])
        chat = Chat(self.name, f"app:{name}", title)
        await self.send(chat, wire.INVITATION, key=f"invite:{key}")
        return chat

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        await self._reach(chat)
        if not file.content or len(file.content) > wire.FILE_BYTES:
            raise Permanent("企业微信的文件不能是空的，最多 50 MB", fault=Fault.REFUSED)
        await self._once(f"file:{key}", lambda: self._post(chat, file))
        return Receipt(chat, wire.ident(key))

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """Write to one person: by the app, else by the bot, else in the robot's group with their name."""
        self._opened()
        self._own(person)
        await self._once(f"ring:{key}", lambda: self._ring(person.id, text, key))
        return Receipt(wire.direct(person.id), wire.ident(key))

    async def relay(self, text: str, *, key: str) -> Receipt:
        """Say a text in the group of the robot, for a chat that cannot be written to."""
        self._opened()
        robot = self._robot
        if robot is None:
            raise Permanent("没有设置企业微信群机器人", fault=Fault.REFUSED)
        await self._once(f"relay:{key}", lambda: robot.say(text, "", self._pieces(f"relay:{key}")))
        return Receipt(Chat(self.name, "robot"), wire.ident(key))

    # -- the pages of forms ---------------------------------------------------------------------

    async def asked(self, token: str) -> Form | None:
        """Return the form of a page; None when there is none, or its time is over."""
        return await self.pages.asked(token)

    async def filled(
        self, token: str, values: Mapping[str, str], files: Sequence[File]
    ) -> tuple[bool, str]:
        """Take what was entered on a page and return what came of it; see `Pages.filled`."""
        return await self.pages.filled(token, values, files)

    # -- what people do -------------------------------------------------------------------------

    async def sealed_call(self, query: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """Take a call of the self-built app's address and return (status, text) at once."""
        if self._app is None:
            return 404, ""
        if not body:
            return self._app.proved(query)
        status, heard = self._app.opened(query, body)
        if isinstance(heard, wire.Press):
            self._presses.take(f"{CODE}{self._app.code_of(heard.id)}", heard)
        elif heard:
            self._know(heard.sender.id, self._clock.now())
            self._keep(replace(heard, mentions=self._named(heard.text)))
        if heard:
            self._app.taken(query)
        return status, ""

    def _take(self, cmd: str, req: str, body: Mapping[str, Any]) -> None:
        now = self._clock.now()
        chat = wire.chat_of(body)
        self._meet(chat, now)
        if cmd == "aibot_msg_callback":
            self._know(body["from"]["userid"], now)
            files = wire.attached(body)
            if said := wire.message(body, now) or (wire.bare(body, now) if files else None):
                said = replace(said, mentions=self._named(said.text))
                self._asked[said.id] = _Asked(req, chat, said.sender.id, now)
                for old in list(self._asked)[:-REMEMBERED]:
                    del self._asked[old]
                if files:
                    self._spawn(self._fetch(said, files))
                else:
                    self._keep(said)
        elif pressed := wire.press(body, now):
            self._presses.take(req, pressed)
        self._arrived.set()

    async def _fetch(self, said: Message, files: Sequence[wire.Attached]) -> None:
        """Keep a message with its files; one that cannot be had is no reason to lose the words."""
        found: list[File] = []
        for file in files:
            try:
                found.append(await fetched(file))
            except OutsideError as problem:
                _log.warning("wecom_file_not_fetched", reason=problem.reason)
        self._keep(replace(said, files=tuple(found)))

    def _meet(self, chat: Chat, now: datetime) -> None:
        """Remember that a chat has spoken."""
        if chat.id in self._met:
            return
        self._met.add(chat.id)
        if self._memory.get("chat", chat.id) is None:
            self._memory.keep("chat", chat.id, DONE, now)
        if self._kept.shares:
            self._spawn(self._introduce(chat, now))

    def _know(self, user: str, now: datetime) -> None:
        """Remember an account that has spoken: it can be written behind an @. Case is nothing there."""
        if user not in self._people:
            self._people.add(user)
            self._memory.keep("person", user.casefold(), user, now)

    def _named(self, text: str) -> tuple[Person, ...]:
        """Return whom a text means by their accounts; who never spoke to the bot is nobody."""
        found = []
        for name in wire.named(text):
            known = self._memory.get("person", name.casefold())
            if known:
                # As it was written, so that the command finds it again.
                found.append(Person(self.name, known[0], name))
        return tuple(found)

    async def _introduce(self, chat: Chat, now: datetime) -> None:
        try:
            await self._kept.keep("chat", chat.id, DONE, now)
        except Transient as problem:
            self._met.discard(chat.id)  # told again at its next word
            _log.warning("wecom_chat_not_shared", reason=problem.reason)

    def _keep(self, event: Event) -> None:
        self._memory.keep("event", event.id, wire.kept(event), self._clock.now())
        self._arrived.set()

    # -- what is said ---------------------------------------------------------------------------

    async def _say(self, chat: Chat, text: str, asked: _Asked | None, name: str) -> None:
        if self._app and (place := _of_app(chat)):
            await self._app.say(place, text, self._pieces(f"say:{name}"))
        elif not (asked and await self._answered(asked, name, text)):
            await self._push(chat, {"msgtype": "markdown", "markdown": {"content": text}})

    async def _answered(self, asked: _Asked, name: str, text: str) -> bool:
        """Answer a message at its own address; False where it takes no answer any more."""
        try:
            await self._stream(asked, name, text, finish=True)
        except Permanent as problem:
            _log.info("wecom_not_answered", reason=problem.reason)
            return False
        return True

    async def _show(self, chat: Chat, card: wire.Json) -> None:
        if self._app and (place := _of_app(chat)):
            await self._app.show(place, card)
        else:
            await self._push(chat, {"msgtype": "template_card", "template_card": card})

    async def _push(self, chat: Chat, body: wire.Json) -> None:
        await self._socket.call("aibot_send_msg", {**wire.target(chat), **body}, doing="发消息")

    async def _stream(self, asked: _Asked, name: str, text: str, *, finish: bool) -> None:
        stream = {"id": name, "finish": finish, "content": text}
        body = {"msgtype": "stream", "stream": stream}
        await self._socket.call("aibot_respond_msg", body, req=asked.req, doing="回复")

    async def _seal(self, name: str, asked: _Asked) -> None:
        await self._clock.sleep((asked.at + FRESH - self._clock.now()).total_seconds())
        await self._end(name)

    async def _end(self, name: str) -> None:
        """End a stream with what it last showed: an open one looks as if we were typing, and is one of
        the three messages that its asker may have in progress."""
        asked = self._streams.pop(name, None)
        if asked is None:
            return
        try:
            await self._stream(asked, name, self._last.pop(name), finish=True)
        except OutsideError as problem:
            _log.warning("wecom_stream_not_sealed", reason=problem.reason)

    async def _post(self, chat: Chat, file: File) -> None:
        if self._app and (place := _of_app(chat)):
            await self._app.post(place, file)
            return
        media = await hand_over(self._socket, file)
        await self._push(chat, {"msgtype": "file", "file": {"media_id": media}})

    async def _ring(self, user: str, text: str, key: str) -> None:
        """Go on to the next way where one is refused; raise what the first was refused with."""
        direct = wire.direct(user)
        ways: list[Callable[[], Awaitable[None]]] = []
        if self._app:
            ways.append(partial(self._app.say, direct.id, text, self._pieces(f"ring:{key}:app")))
        if not self._socket.ended and await self._known(direct):
            body = {"msgtype": "markdown", "markdown": {"content": text}}
            ways.append(partial(self._push, direct, body))
        if self._robot:
            ways.append(partial(self._robot.say, text, user, self._pieces(f"ring:{key}:robot")))
        refused: list[Permanent] = []
        for way in ways:
            try:
                await way()
            except Permanent as problem:
                refused.append(problem)
            else:
                return
        raise refused[0] if refused else Permanent(self._lost() or wire.UNMET, fault=Fault.REFUSED)

    async def _once(self, name: str, do: Callable[[], Awaitable[None]]) -> None:
        """Do a deed unless it is done; one that was begun and whose end nobody saw is in doubt."""
        known = await self._kept.get("deed", name)
        if known and known[0] == BEGUN:
            raise InDoubt("企业微信没有回答是否发出，也无法查询", fault=Fault.NETWORK)
        if known:
            return
        await self._kept.keep("deed", name, BEGUN, self._clock.now())
        try:
            await do()
        except (Transient, Permanent):
            await self._noted(self._kept.drop("deed", name))
            raise
        await self._noted(self._kept.keep("deed", name, DONE, self._clock.now()))

    def _pieces(self, name: str) -> Once:
        """Return how the pieces of one text are sent, each once: a refused one keeps none before it
        from being done."""
        return lambda number, do: self._once(f"{name}:{number}", do)

    async def _noted(self, writing: Awaitable[None]) -> None:
        """Write how a deed ended. What cannot be written stays begun: asked again it is in doubt."""
        try:
            await writing
        except Transient as problem:
            _log.warning("wecom_end_not_noted", reason=problem.reason)

    # -- what is known --------------------------------------------------------------------------

    def _opened(self) -> None:
        if not self._memory.is_open:
            raise Transient("企业微信没有打开")

    def _own(self, person: Person) -> None:
        if person.platform != self.name or not person.id:
            raise Permanent(f"不是企业微信的成员：{person.id}", fault=Fault.REFUSED)

    async def _reach(self, chat: Chat) -> None:
        """Raise what keeps us from speaking in a chat."""
        self._opened()
        if chat.platform != self.name:
            raise Permanent(f"不是企业微信的会话：{chat.id}", fault=Fault.REFUSED)
        if _of_app(chat):
            if self._app is None:
                raise Permanent("没有配置企业微信的自建应用", fault=Fault.REFUSED)
        elif reason := self._lost():
            raise Permanent(reason, fault=Fault.DROPPED)
        elif not await self._known(chat):
            raise Permanent(wire.UNHEARD, fault=Fault.REFUSED)

    async def _known(self, chat: Chat) -> bool:
        return chat.id in self._met or await self._kept.get("chat", chat.id) is not None

    def _lost(self) -> str:
        return self._socket.ended.reason if self._socket.ended else ""

    def _fresh(self, asked: _Asked | None) -> _Asked | None:
        late = asked is None or self._clock.now() - asked.at >= FRESH
        return None if late else asked

    # -- tasks ------------------------------------------------------------------------------------

    async def _connected(self) -> None:
        """Hold the connection. When it is over for good, say so and stay: to come back would only
        throw the other one out, and the other platforms go on."""
        await self._socket.run()
        reason = self._lost()
        self._stopped = Stopped(self._clock.now(), reason)
        _log.error("wecom_stopped", reason=reason)
        self._spawn(self._socket.hold())
        if self._robot:
            try:
                await self._robot.say(f"企业微信机器人已停止：{reason}", "", plainly)
            except OutsideError as problem:
                _log.error("wecom_alarm_not_sent", reason=problem.reason)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._report)

    def _report(self, task: asyncio.Task[None]) -> None:
        """A failure that nobody awaits ends the events: a deaf bot that looks alive is worse."""
        if not task.cancelled() and (problem := task.exception()):
            self._broken = problem
            self._arrived.set()


def _of_app(chat: Chat) -> str:
    """Return whom the app is to write to: a group of its own, or @ and a person; else empty."""
    return chat.id.removeprefix("app:") if chat.id.startswith("app:") else ""

"""Feishu as a `ChatPlatform`: all REST on one client, events by lark-oapi's long connection."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import structlog

from adapters.card import Card
from adapters.feishu import draw, wire
from adapters.feishu.memory import BEGUN, Memory
from adapters.feishu.token import TenantToken
from adapters.feishu.wire import Attached, Call, Incoming, Need
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
from adapters.tls import trusted
from adapters.words import (
    NOTHING,
    Chat,
    Click,
    Event,
    File,
    Message,
    Person,
    Receipt,
    Secret,
    Submission,
)

if TYPE_CHECKING:
    from adapters.feishu.socket import Socket

PATIENCE = 2.5
"""Seconds after which a press is acknowledged without an answer: Feishu waits for 3."""

BEAT = 20.0
"""Seconds between two pings of the link, and for the pong: half-open is noticed after 45."""

TIMEOUT = 10.0
"""Seconds for an answer of the interface."""

KEY_LIFE = timedelta(minutes=50)
"""How long a doubtful send may be repeated under its uuid: Feishu knows it for an hour."""

KEPT = ("message_id", "chat_id", "create_time")
"""What is remembered of the answer to a deed."""

PER_SECOND = 4
"""Calls to one chat, or about one message: Feishu has 5, and other bots share a chat's."""

APP_PER_SECOND = 40
"""Calls of the app: Feishu has 50 for each of its interfaces."""

INTERFACE_PER_MINUTE = 900
"""Calls of one interface: Feishu has 1,000."""

NAMES_LIFE = timedelta(minutes=10)
NAMES_PATIENCE = 1.5
FETCH_PAUSES = (1.0, 2.0)
"""Seconds before another try to fetch a form's files."""
REMEMBERED = 10_000
"""Deliveries that are known to have been taken: a redelivery of them is only acknowledged."""

RENEWED = timedelta(days=13)
"""Age at which a living card is posted anew: Feishu redraws a message for 14 days."""

MAX_PAGES = 20
CONNECTING = 20.0
"""Seconds for which a start waits for the long connection, which is then tried on without it."""
BEGIN_AGAIN = (1.0, 2.0, 5.0, 15.0)
"""Seconds between the tries to begin where Feishu could not be reached; then 30."""

_log = structlog.get_logger(__name__)


class Pace:
    """Lets `count` calls through within a `window`, by key; who comes too early waits for a turn."""

    def __init__(self, count: int, clock: Clock, window: timedelta = timedelta(seconds=1)) -> None:
        self._count = count
        self._clock = clock
        self._window = window
        self._turns: dict[str, deque[datetime]] = {}

    async def turn(self, key: str) -> None:
        now, window = self._clock.now(), self._window
        if key not in self._turns:
            self._turns = {one: at for one, at in self._turns.items() if at[-1] + window > now}
        turns = self._turns.setdefault(key, deque(maxlen=self._count))
        mine = max(now, turns[0] + window) if len(turns) == self._count else now
        turns.append(mine)
        if mine > now:
            await self._clock.sleep((mine - now).total_seconds())


@dataclass(frozen=True, slots=True)
class Hook:
    """HTTP callback mode: what the app's page shows under event encryption."""

    token: Secret
    """Verification Token."""
    encrypt_key: Secret = NOTHING
    """Without it nothing is signed and nothing sealed: the token is all that tells Feishu."""


@dataclass(slots=True)
class _Pending:
    """A delivery on its way to the inbox; `event` is None until its files are here."""

    card: str
    """The message whose button was pressed, "" for what was written."""
    event: Event | None = None
    answer: asyncio.Future[Mapping[str, Any] | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, answer: Mapping[str, Any] | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Feishu:
    """One self-built app.

    `state` is the file of what is begun and done: Feishu forgets that after an hour. `owner` is the
    open_id of who shall own new groups, else the bot does. With a `hook` events come by `callback`,
    from the web server, and there is no long connection. `urgency` is how `ring` insists, one of
    `wire.URGENCIES`.
    """

    def __init__(
        self,
        app_id: str,
        secret: Secret,
        *,
        state: Path,
        clock: Clock,
        base_url: str = "https://open.feishu.cn",
        name: str = "feishu",
        owner: str = "",
        hook: Hook | None = None,
        urgency: str = "app",
        patience: float = PATIENCE,
        beat: float = BEAT,
        timeout: float = TIMEOUT,
    ) -> None:
        self._app_id = app_id
        self._secret = secret
        self._memory = Memory(state)
        self._clock = clock
        self._base_url = base_url
        self._name = name
        self._owner = owner
        self._hook = hook
        self._urgencies = wire.URGENCIES[wire.URGENCIES.index(urgency) :: -1]
        self._patience = patience
        self._beat = beat
        self._timeout = timeout
        self._http: httpx.AsyncClient | None = None
        self._auth = TenantToken(self._fetch_token, clock)
        self._socket: Socket | None = None
        self._running: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._bot = ""
        self._pending: dict[str, _Pending] = {}
        self._taken: dict[str, None] = {}
        self._fetching: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()
        self._members = asyncio.Lock()
        self._names: dict[str, str] = {}
        self._listed: dict[str, datetime] = {}
        self._posted: dict[str, datetime] = {}
        self._pinned: set[str] = set()
        self._pins = True
        self._pace = Pace(PER_SECOND, clock)
        self._app_pace = Pace(APP_PER_SECOND, clock)
        self._interface_pace = Pace(INTERFACE_PER_MINUTE, clock, timedelta(minutes=1))

    # -- the port ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._name

    @property
    def can(self) -> Capabilities:
        return Capabilities(
            answers_privately=True,
            callback_budget=3.0,
            max_card_bytes=draw.MAX_BYTES,
            per_chat_per_minute=200,
        )

    async def __aenter__(self) -> Self:
        """Connect. What cannot be reached is tried on in the background; a refused app is told."""
        self._memory.open(self._clock.now())
        timeout = httpx.Timeout(self._timeout, connect=min(5.0, self._timeout))
        self._http = httpx.AsyncClient(base_url=self._base_url, timeout=timeout, verify=trusted())
        try:
            await self._begin()
        except Transient as problem:
            _log.warning("feishu_not_reached", why=problem.reason)
            self._beginning = asyncio.create_task(self._begin_later(), name="feishu-begin")
            self._beginning.add_done_callback(lambda _: self._arrived.set())
        except BaseException:
            await self._close()
            raise
        return self

    async def _begin(self) -> None:
        """Do what is left of the beginning; raises Permanent for a refused app, else Transient."""
        if not self._bot:
            self._bot = (await self._again(wire.ask_bot()))["bot"]["open_id"]
        if self._hook is None and self._socket is None:
            await self._connect()

    async def _begin_later(self) -> None:
        for pause in chain(BEGIN_AGAIN, repeat(30.0)):
            await self._clock.sleep(pause)
            try:
                await self._begin()
            except Transient as problem:
                _log.warning("feishu_not_reached", why=problem.reason)
            else:
                return

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what people do; asking for the next event says that the last one is kept.

        Raises Permanent when Feishu refuses the app: a deaf bot that looks alive is worse.
        """
        while self._http:
            for task in (self._beginning, self._running):
                if task and task.done():
                    task.result()
            event = next((one.event for one in self._pending.values() if one.event), None)
            if event is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            yield event
            self._keep(event)

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None:
        """Show the presser a toast and everybody the card as it is now; too late for the callback,
        neither is shown."""
        pending = self._pending.get(event.id)
        if pending is None:
            return
        card = await redraw(pending.card) if redraw and not pending.answer.done() else None
        anew = wire.redrawn(card) if card else {}
        pending.settle({**wire.toast(text, ok=ok), **anew})

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        self._ours(chat.platform)
        uuid = wire.uuid_of("send", key)
        sent = await self._once(uuid, wire.post_card(chat.id, card, uuid), chat.id)
        if "create_time" in sent:
            self._posted[sent["message_id"]] = wire.instant(sent["create_time"])
        return Receipt(chat, sent["message_id"])

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        """Redraw the card in place and return its receipt, or the new one of a card that was posted
        anew: Feishu redraws for 14 days, so before that the old card is made to name its heir.

        Only a living card is ever redrawn; it is pinned in its chat.
        """
        self._ours(receipt.chat.platform)
        await self._answered(receipt.id)
        if self._clock.now() - await self._posted_at(receipt.id) >= RENEWED:
            return await self._renew(receipt, card)
        await self._again(wire.patch_card(receipt.id, card), receipt.id)
        await self._pin(receipt)
        return receipt

    async def _renew(self, old: Receipt, card: Card) -> Receipt:
        heir = await self.send(old.chat, card, key=f"renew:{old.id}")
        # One that an unseen try has posted shows what was so at that time.
        await self._again(wire.patch_card(heir.id, card), heir.id)
        try:
            await self._again(wire.patch_card(old.id, draw.moved(card)), old.id)
        except Permanent as problem:  # the bot was off for two weeks: the old card stays as it is
            _log.warning("feishu_old_card_stays", why=problem.reason)
        await self._pin(heir)
        return heir

    async def _posted_at(self, message_id: str) -> datetime:
        """Return when the message was posted; asked once in a process' life."""
        if message_id not in self._posted:
            answer = await self._again(wire.ask_message(message_id))
            items = (answer.get("data") or {}).get("items")
            if not items:
                raise Transient("飞书没有说这张卡片是何时发的")
            self._posted[message_id] = wire.instant(items[0]["create_time"])
        return self._posted[message_id]

    async def _pin(self, receipt: Receipt) -> None:
        """Pin it, once in a process' life; a card that is not pinned is still the card."""
        if receipt.id in self._pinned or not self._pins:
            return
        self._pinned.add(receipt.id)
        try:
            await self._again(wire.pin(receipt.id))
        except Transient:
            self._pinned.discard(receipt.id)
        except Permanent as problem:
            self._pins = not isinstance(problem, wire.Unscoped)  # else asked again after a restart
            _log.warning("feishu_not_pinned", why=problem.reason)

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        """Create a private group that the bot manages.

        Permanent when somebody cannot be taken in: the group is there, and the same key goes on.
        """
        for person in members:
            self._ours(person.platform)
        uuid = wire.uuid_of("open", key)
        found = wire.create_chat(title, self._owner, uuid)
        made = await self._once(uuid, found, wanted="chat_id")
        people = {person.id: person.name or person.id for person in members}
        missing = await self._add(made["chat_id"], list(people))
        if missing:
            named = "、".join(people.get(one, one) for one in missing)
            reason = f"群已建好，但加不进这些人：{named}（不在应用的可用范围内，或需要审批）"
            raise Permanent(reason, fault=Fault.REFUSED)
        return Chat(self._name, made["chat_id"], title)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        self._ours(chat.platform)
        uuid = wire.uuid_of("upload", key)
        kept = (await self._again(wire.upload(file))).get("data") or {}
        if "file_key" not in kept:
            raise Transient("飞书的答复里没有 file_key")
        call = wire.post_file(chat.id, kept["file_key"], uuid)
        sent = await self._once(uuid, call, chat.id)
        return Receipt(chat, sent["message_id"])

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """Write to the person alone and make it urgent: by a call, by SMS, in the app.

        Where Feishu refuses (no permission, no quota left, 200 unread ones) the next milder way is
        taken; at the end the message stands alone.
        """
        self._ours(person.platform)
        uuid = wire.uuid_of("ring", key)
        sent = await self._once(uuid, wire.post_text(person.id, text, uuid), person.id)
        message_id = sent["message_id"]
        for how in self._urgencies:
            try:
                await self._again(wire.urgent(message_id, person.id, how), message_id)
            except Permanent as problem:
                _log.warning("feishu_not_urgent", how=how, why=problem.reason)
            else:
                break
        return Receipt(Chat(self._name, sent["chat_id"]), message_id)

    async def lacking(self) -> tuple[Need, ...]:
        """Return the permissions that the app does not have, for `vigilbot doctor`."""
        return wire.lacking(await self._again(wire.ask_scopes()), self._urgencies[0])

    # -- the life of the link ---------------------------------------------------------------

    async def _connect(self) -> None:
        assert self._http
        # The SDK takes seconds to import, and its module takes the thread's loop: not in ours.
        module = await asyncio.to_thread(_load_socket)
        self._socket = module.Socket(
            self._app_id,
            self._secret,
            base_url=self._base_url,
            http=self._http,
            take=self.take,
            clock=self._clock,
            beat=self._beat,
        )
        self._running = asyncio.create_task(self._socket.run(), name="feishu-socket")
        self._running.add_done_callback(lambda _: self._arrived.set())
        connected = asyncio.create_task(self._socket.connected.wait())
        both = {self._running, connected}
        try:
            await asyncio.wait(both, timeout=CONNECTING, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connected.cancel()
        if self._running.done():
            self._running.result()
        if not self._socket.connected.is_set():
            raise Transient("连不上飞书的长连接，请检查网络")

    async def _close(self) -> None:
        http, self._http = self._http, None
        if self._beginning:
            self._beginning.cancel()
            await asyncio.wait({self._beginning})
            self._beginning = None
        if self._fetching:
            for task in self._fetching:
                task.cancel()
            await asyncio.wait(set(self._fetching))
        for pending in self._pending.values():
            pending.settle(None)  # not kept: Feishu shall send it again
        self._pending.clear()
        self._arrived.set()
        if self._socket:
            await self._socket.settle()
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running})
        self._socket = self._running = None
        if http:
            await http.aclose()
        self._memory.close()

    # -- what people do ---------------------------------------------------------------------

    async def take(self, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take one payload, from the socket or an HTTP callback; return what answers it.

        None says: do not acknowledge it, it is not kept. The inbox has to take a message before it
        is acknowledged; a press, which is never sent again, is within the budget whatever happens.
        """
        if self._http is None or not self._bot:
            return None  # nobody can say yet whether we are meant
        incoming = wire.decode(payload, platform=self._name, bot=self._bot)
        if incoming is None:
            return {}
        if incoming.complaint:
            return wire.toast(incoming.complaint, ok=False)
        if incoming.event.id in self._taken:
            return _taken(incoming.card)
        pending = self._pending.get(incoming.event.id)
        if pending is None:
            pending = self._pending[incoming.event.id] = _Pending(incoming.card)
            task = asyncio.create_task(self._complete(incoming, pending), name="feishu-fetch")
            self._fetching.add(task)
            task.add_done_callback(partial(self._fetched, incoming.event.id))
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(pending.answer)
        except TimeoutError:
            if not pending.card:
                return None
            pending.settle(wire.TAKEN)
            return wire.TAKEN

    async def callback(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, Any]]:
        """Take one HTTP callback; return the status and the JSON to answer with.

        Raises Permanent when it is not Feishu's, or too old: answer 403. Header names in lower case.
        """
        if self._hook is None:
            raise Permanent("飞书没有启用 HTTP 回调", fault=Fault.REFUSED)
        payload = wire.callback(
            headers,
            body,
            encrypt_key=self._hook.encrypt_key,
            token=self._hook.token,
            now=self._clock.now(),
        )
        challenge = wire.challenge(payload)
        if challenge is not None:
            return 200, challenge
        answer = await self.take(payload)
        return (503, {}) if answer is None else (200, answer)

    def _keep(self, event: Event) -> None:
        pending = self._pending.pop(event.id, None)
        if pending is None:
            return
        self._taken[event.id] = None
        for old in list(islice(self._taken, max(0, len(self._taken) - REMEMBERED))):
            del self._taken[old]
        pending.settle(_taken(pending.card))

    async def _complete(self, incoming: Incoming, pending: _Pending) -> None:
        """Fetch what belongs to the event, then let it be read."""
        event = incoming.event
        try:
            files = await self._insisted(incoming)
        except Transient as problem:
            if not pending.card:  # Feishu sends a message again, and its files are fetched then
                _log.warning("feishu_files_not_fetched", why=problem.reason)
                self._pending.pop(event.id, None)
                pending.settle(None)
                return
            files = ()
        except OutsideError as problem:
            _log.warning("feishu_files_not_fetched", why=problem.reason)
            files = ()
        sender = await self._person(event)
        if isinstance(event, Click):
            pending.event = replace(event, sender=sender)
        else:
            pending.event = replace(event, sender=sender, files=files)
        self._arrived.set()

    def _fetched(self, event_id: str, task: asyncio.Task[None]) -> None:
        self._fetching.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem:  # an answer that we do not understand: let Feishu send the event again
            _log.error("feishu_event_not_completed", kind=type(problem).__name__)
            pending = self._pending.pop(event_id, None)
            if pending:
                pending.settle(None)

    async def _insisted(self, incoming: Incoming) -> tuple[File, ...]:
        """Return the files of an event; those of a form, which nobody sends again, are asked for
        thrice."""
        for pause in FETCH_PAUSES if incoming.card else ():
            try:
                return await self._files(incoming)
            except Transient as problem:
                await self._clock.sleep(problem.retry_after or pause)
        return await self._files(incoming)

    async def _files(self, incoming: Incoming) -> tuple[File, ...]:
        attached = list(incoming.attached)
        if incoming.parent:
            attached += await self._of_parent(incoming.parent)
        if incoming.posted:
            attached += await self._since_card(incoming.card, incoming.event)
        return tuple([await self._download(one) for one in attached])

    async def _of_parent(self, message_id: str) -> Sequence[Attached]:
        answer = await self._again(wire.ask_message(message_id))
        return [one for item in answer["data"]["items"] for one in wire.attached_to(item)]

    async def _since_card(self, message_id: str, event: Event) -> Sequence[Attached]:
        """Find what the person posted in the chat since the form was: a form takes no files."""
        card = (await self._again(wire.ask_message(message_id)))["data"]["items"][0]
        since = wire.instant(card["create_time"])
        items: list[Mapping[str, Any]] = []
        page = ""
        for _ in range(MAX_PAGES):
            data = (await self._again(wire.history(event.chat.id, since, page)))["data"]
            items += data["items"]
            page = data.get("page_token") or ""
            if not (page and data.get("has_more")):
                break
        return wire.posted_by(event.sender.id, items)

    async def _download(self, one: Attached) -> File:
        response = await self._request(wire.resource(one), self._auth)
        problem = None
        if not response.is_success:
            problem = wire.refusal(response.status_code, response.headers, _json(response))
        if isinstance(problem, InDoubt):
            raise Transient(problem.reason)
        if problem:
            raise problem
        return File(one.name, response.content)

    async def _person(self, event: Event) -> Person:
        """Name the sender, as far as the chat's member list can; nothing waits for it for long."""
        who, chat = event.sender, event.chat.id
        if isinstance(event, Message):
            self._names |= {one.id: one.name for one in event.mentions if one.name}
        now = self._clock.now()
        asked = self._listed.get(chat)
        if who.id not in self._names and (asked is None or now - asked > NAMES_LIFE):
            self._listed[chat] = now
            try:
                async with asyncio.timeout(NAMES_PATIENCE):
                    await self._list(chat)
            except (OutsideError, TimeoutError):
                _log.info("feishu_names_unknown", chat=chat)
        return replace(who, name=self._names.get(who.id, who.name))

    async def _list(self, chat_id: str) -> None:
        if wire.receiver(chat_id) != "chat_id":
            return
        page = ""
        for _ in range(MAX_PAGES):
            data = (await self._again(wire.members_of(chat_id, page)))["data"]
            self._names |= {one["member_id"]: one["name"] for one in data.get("items") or ()}
            page = data.get("page_token") or ""
            if not page:
                return

    # -- requests ---------------------------------------------------------------------------

    def _ours(self, platform: str) -> None:
        if platform != self._name:
            raise Permanent("这个人或会话不在飞书里", fault=Fault.REFUSED)

    def _connected(self) -> httpx.AsyncClient:
        if self._http is None:
            raise Transient("飞书没有连接")
        return self._http

    async def _answered(self, message_id: str) -> None:
        """Wait until no press on the card is open: an update before the answer is undone by it."""
        pressed = [one.answer for one in self._pending.values() if one.card == message_id]
        if pressed:
            await asyncio.wait(pressed, timeout=self._patience)

    async def _add(self, chat_id: str, ids: Sequence[str]) -> tuple[str, ...]:
        missing: tuple[str, ...] = ()
        # Two calls at once about one group's members are refused (232019).
        async with self._members:
            for start in range(0, len(ids), wire.MEMBERS_AT_ONCE):
                part = ids[start : start + wire.MEMBERS_AT_ONCE]
                added = await self._again(wire.add_members(chat_id, part), chat_id)
                missing += wire.left_out(added)
        return missing

    async def _once(
        self, uuid: str, call: Call, target: str = "", *, wanted: str = "message_id"
    ) -> Mapping[str, Any]:
        """Do what Feishu does once a uuid, and return the answer, which has what is `wanted`.

        What is done is not asked for again. What was begun, and nobody saw its end, may be tried
        again while Feishu knows the uuid; after that it is InDoubt.
        """
        self._connected()
        began = self._clock.now()
        known = self._memory.get(uuid)
        if known and known[0] != BEGUN:
            return dict(json.loads(known[0]))
        if known and began - known[1] > KEY_LIFE:
            raise InDoubt("飞书没有答复，且已过去太久，不能确定是否发出")
        self._memory.begin(uuid, began)
        try:
            answer = await self._call(call, target)
        except InDoubt as problem:
            # Whoever asked for the same at the same time, and was refused, has dropped it.
            self._memory.begin(uuid, began)
            raise Transient(problem.reason) from problem
        except (Transient, Permanent):
            if known is None:
                self._memory.drop(uuid)
            raise
        data: Mapping[str, Any] = answer.get("data") or {}
        if wanted not in data:
            raise Transient(f"飞书的答复里没有 {wanted}")
        self._done(uuid, {name: data[name] for name in KEPT if name in data})
        return data

    def _done(self, uuid: str, answer: Mapping[str, Any]) -> None:
        """Write that it is done. What cannot be written stays begun: Feishu knows it for an hour."""
        try:
            self._memory.end(uuid, draw.compact(answer), self._clock.now())
        except Transient as problem:
            _log.warning("feishu_end_not_noted", why=problem.reason)

    async def _again(self, call: Call, target: str = "") -> Mapping[str, Any]:
        """Do what may be repeated without harm: in doubt it is simply to be tried again."""
        try:
            return await self._call(call, target)
        except InDoubt as problem:
            raise Transient(problem.reason) from problem

    async def _call(self, call: Call, target: str = "") -> Mapping[str, Any]:
        if target:
            await self._pace.turn(target)
        return await self._ask(call, self._auth)

    async def _ask(self, call: Call, auth: httpx.Auth | None) -> Mapping[str, Any]:
        response = await self._request(call, auth)
        body = _json(response)
        problem = wire.refusal(response.status_code, response.headers, body)
        if problem:
            raise problem
        assert body is not None
        return body

    async def _request(self, call: Call, auth: httpx.Auth | None) -> httpx.Response:
        await self._interface_pace.turn(f"{call.method} {call.uri}")
        await self._app_pace.turn("")
        http = self._connected()
        try:
            return await http.request(
                call.method, call.path, params=dict(call.query), auth=auth, **_parts(call)
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as problem:
            raise Transient(f"连不上飞书（{type(problem).__name__}）") from problem
        except httpx.HTTPError as problem:
            raise InDoubt(f"飞书没有答复（{type(problem).__name__}）") from problem

    async def _fetch_token(self) -> tuple[Secret, float]:
        try:
            body = await self._ask(wire.ask_token(self._app_id, self._secret), None)
        except InDoubt as problem:
            raise Transient(problem.reason) from problem
        except Permanent as problem:
            reason = "飞书不认这个应用：请核对 App ID 和 App Secret"
            raise Permanent(reason, fault=Fault.REFUSED) from problem
        return Secret(body["tenant_access_token"]), float(body["expire"])


def _taken(card: str) -> Mapping[str, Any]:
    return wire.TAKEN if card else {}


def _parts(call: Call) -> dict[str, Any]:
    if call.file:
        return {"data": call.body, "files": {"file": (call.file.name, call.file.content)}}
    if call.body is None:
        return {}
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return {"content": draw.compact(call.body).encode(), "headers": headers}


def _json(response: httpx.Response) -> Mapping[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _load_socket() -> Any:
    """Import the SDK, and close the loop that it makes at import for a thread that has none."""
    module = import_module("adapters.feishu.socket")
    made = module.sdk.loop
    if not made.is_running():
        made.close()
    return module

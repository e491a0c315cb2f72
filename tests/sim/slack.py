"""A workspace on the loopback: Slack's Web API, its files, its socket and its calls of the bot's own
address, as strict as the real ones.

It enforces what docs.slack.dev and facts/wecom-slack.md say (tokens, single-use tickets and triggers,
who is in a channel, Block Kit's properties and sizes, a post a second) and misbehaves when told to.
A call that it does not know is a failure when it closes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Self
from uuid import uuid4

from aiohttp import ClientSession, WSMsgType, web

from adapters.port import UsageError
from adapters.words import File
from tests.sim.outgoing import Outgoing
from tests.sim.slack_blocks import (
    Json,
    No,
    check_blocks,
    check_view,
    content_of,
    inputs_of,
    is_empty,
)
from tests.sim.slack_calls import call
from tests.sim.slack_scopes import manifest, needed, registered

BOT, BOT_TOKEN, APP_TOKEN = "UBOT", "xoxb-sim-secret", "xapp-sim-secret"
BURST = 40
"""Posts in a channel that may come at once; then one a second."""
UPDATES = 50
"""Calls of chat.update in a minute, of the whole workspace (its tier is 3: "50+")."""
PAUSE = {"chat.update": "2"}
"""The Retry-After of a method, in seconds; of any other it is one."""


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


class SimClock:
    """A clock that goes on only when a test moves it; who sleeps on it waits for that."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
        self._moved: set[asyncio.Future[None]] = set()
        self.sleeping: list[float] = []
        self.quick = 0.0
        """A sleep of fewer seconds than this is over at once."""

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds < self.quick:
            self.move(seconds)
            return
        until = self._now + timedelta(seconds=seconds)
        self.sleeping.append(seconds)
        try:
            while self._now < until and seconds >= self.quick:
                moved = asyncio.get_running_loop().create_future()
                self._moved.add(moved)
                await moved
        finally:
            self.sleeping.remove(seconds)

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        for moved in self._moved:
            if not moved.done():
                moved.set_result(None)
        self._moved.clear()


@dataclass
class Channel:
    id: str
    name: str
    members: set[str]
    im: bool = False
    shared: bool = False
    """With another company, by Slack Connect: its events name files by their id alone."""
    creator: str = ""
    purpose: str = ""
    messages: list[Json] = field(default_factory=list)
    tokens: float = BURST
    at: float = 0.0


@dataclass
class _Envelope:
    body: Json
    keep: bool
    acked: asyncio.Future[Json]
    tries: int = 0


class SlackSim:
    """The far side. `async with` it; `base_url` is what the link is told."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is what rates are measured by, in seconds."""
        self._now = now
        self._updates, self._updated_at = float(UPDATES), 0.0
        self.limited: list[str] = []
        """Methods of calls that came too fast."""
        self.users: dict[str, str] = {BOT: "vigilbot"}
        self.channels: dict[str, Channel] = {}
        self.calls: list[tuple[str, Json]] = []
        self.whispers: list[tuple[str, str, str]] = []
        self.invited_by_mail: list[str] = []
        self.failures: list[str] = []
        self.scopes = manifest()
        """What the installed bot may do."""
        self.commands = registered()
        """The slash commands that its users can type."""
        self.app_scopes = {"connections:write"}
        self.latin_only = False
        self.lived: float | None = None
        """What the hello says about how long the socket will be kept."""
        self.greets = True
        self.downloads = asyncio.Event()
        """Cleared, files are slow."""
        self.downloads.set()
        self.asked_for: list[str] = []
        self.refuse_sockets = 0
        self.address = ""
        """Set, it is called with everything that happens, and no socket is told."""
        self.answered: list[int] = []
        """What the address answered; 0 where it did not, in time."""
        self.overshared: list[str] = []
        """Files whose upload carried our token: Slack does not mind, a storage beyond might."""
        self.views: dict[str, Json] = {}
        self._faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self._late: list[tuple[str, Json]] = []
        self._files: dict[str, Json] = {}
        self._uploads: dict[str, str] = {}
        self._tickets: set[str] = set()
        self._triggers: dict[str, str] = {}
        self._envelopes: dict[str, _Envelope] = {}
        self.sockets: list[web.WebSocketResponse] = []
        self.outgoing = Outgoing()
        self.dialled = 0
        self._frozen: set[web.WebSocketResponse] = set()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._count = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._http: ClientSession | None = None
        self._calling: set[asyncio.Task[None]] = set()
        self.base_url = ""

    async def __aenter__(self) -> Self:
        """Open the doors; what is remembered outlives a closing, so it may be entered again."""
        self._closing.clear()
        app = web.Application(client_max_size=60_000_000)
        app.router.add_post("/api/{method}", self._api)
        app.router.add_post("/upload/{ticket}", self._upload)
        app.router.add_get("/files/{id}", self._download)
        app.router.add_get("/link", self._link)
        self._runner = web.AppRunner(app, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self._home = f"http://{host}:{port}"
        self.base_url = f"{self._home}/api/"
        self._http = ClientSession()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._closing.set()
        assert self._runner
        assert self._http
        for calling in tuple(self._calling):
            calling.cancel()
        await asyncio.gather(*self._calling, return_exceptions=True)
        await self._http.close()
        for socket in tuple(self.sockets):
            await socket.close()
        await self._runner.cleanup()
        if kind is None:
            assert not self.failures, self.failures

    # -- looking ------------------------------------------------------------------------------

    async def until(self, true: Callable[[], object], within: float = 30) -> None:
        """Wait until something has come about over here."""
        async with asyncio.timeout(within):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    def said(self, channel: str) -> list[Json]:
        """Return what the bot said in a channel, as it now looks."""
        return [one for one in self.channels[channel].messages if one["user"] == BOT]

    def content(self, file: str) -> bytes:
        """Return what was uploaded under a file's id."""
        content: bytes = self._files[file]["content"]
        return content

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)

    # -- misbehaving --------------------------------------------------------------------------

    def misbehave(self, method: str, *faults: str) -> None:
        """Have the next calls of a method go wrong, one each.

        `404`, `429`, `500`, or an error of Slack's instead of the deed; `lost` and `silent` after the
        deed: the connection breaks, or nothing more is said; `gone` breaks it before the deed,
        `late` too, and `land` does the deed afterwards.
        """
        self._faults[method].extend(faults)

    def land(self) -> None:
        """Do what came late."""
        for method, form in self._late:
            with suppress(No):  # it was done meanwhile
                self._deed(method, form)
        self._late.clear()

    async def hang_up(self, code: int = 1000) -> None:
        for socket in tuple(self.sockets):
            await socket.close(code=code)

    def abort(self) -> None:
        for socket in tuple(self.sockets):
            assert socket._req
            transport = socket._req.transport
            assert transport
            transport.abort()

    async def refresh(self, reason: str = "refresh_requested") -> None:
        for socket in tuple(self.sockets):
            await socket.send_str(json.dumps({"type": "disconnect", "reason": reason}))

    def freeze(self) -> None:
        """Leave the connections half-open: nothing arrives by them any more, on either side."""
        self._frozen.update(self.sockets)

    async def redeliver(self) -> None:
        """Do as after three seconds: send again what was not acknowledged."""
        for envelope in {id(one): one for one in self._envelopes.values()}.values():
            if envelope.keep and not envelope.acked.done():
                await self._push(envelope)

    # -- what people do -----------------------------------------------------------------------

    def user(self, name: str) -> str:
        its_id = "U" + re.sub(r"[^A-Z0-9]", "", name.upper())
        self.users[its_id] = name
        return its_id

    def channel(self, name: str, *members: str, im: bool = False) -> str:
        its_id = f"{'D' if im else 'C'}{next(self._count):08d}"
        self.channels[its_id] = Channel(its_id, name, {*members, BOT}, im=im)
        return its_id

    async def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        files: Sequence[File] = (),
        thread: str = "",
        times: int = 1,
    ) -> _Envelope | None:
        """Write; the app is told of mentions and of what is said to it alone. What begins with a slash
        is no message: see `slash`."""
        there = self._entered(user, channel)
        if text.startswith("/"):
            raise UsageError(f"{text} 是命令，不是消息")
        wire = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for its_id, name in self.users.items():
            wire = re.sub(rf"@{re.escape(name)}\b", f"<@{its_id}>", wire, flags=re.IGNORECASE)
        event: Json = {"user": user, "text": wire, "ts": self._ts(), "channel": channel}
        if thread:
            event["thread_ts"] = thread
        if files:
            kept = [self._keep_file(one) for one in files]
            if there.shared:
                access = {"mode": "file_access", "file_access": "check_file_info"}
                kept = [{"id": one["id"], **access} for one in kept]
            event |= {"subtype": "file_share", "files": kept}
        there.messages.append(dict(event))
        if there.im:
            event |= {"type": "message", "channel_type": "im"}
        elif f"<@{BOT}>" in wire:
            event["type"] = "app_mention"
            event.pop("subtype", None)
        else:
            return None
        envelope = None
        event_id = f"Ev{uuid4().hex[:10].upper()}"
        for _ in range(times):
            envelope = await self.deliver(event, event_id=event_id)
        return envelope

    async def deliver(self, event: Json, *, event_id: str = "Ev1") -> _Envelope:
        payload = {"type": "event_callback", "team_id": "T1", "event_id": event_id, "event": event}
        return await self._envelope("events_api", payload, keep=True)

    async def slash(self, user: str, channel: str, command: str, text: str = "") -> _Envelope:
        """Type a command; Slack's client sends none that nobody has registered."""
        there = self.channels[channel]
        if command not in self.commands:
            raise UsageError(f"{command} is not a valid command")
        payload = {
            "command": command,
            "text": text,
            "user_id": user,
            "user_name": self.users[user],
            "channel_id": channel,
            "channel_name": there.name,
            "trigger_id": self._trigger(),
            "team_id": "T1",
        }
        return await self._envelope("slash_commands", payload, keep=False)

    async def press(self, user: str, channel: str, ts: str, value: str) -> _Envelope:
        """Press the button that carries `value`."""
        there = self._entered(user, channel)
        shown = next((one for one in there.messages if one["ts"] == ts), None)
        buttons = [
            element
            for block in (shown or {}).get("blocks", ())
            if block["type"] == "actions"
            for element in block["elements"]
        ]
        drawn = next((one for one in buttons if one.get("value") == value), None)
        if drawn is None:
            raise UsageError("这张卡片已更新，上面没有这个按钮了")
        return await self._act(user, there, shown or {}, drawn)

    async def tap(self, user: str, channel: str, value: str) -> _Envelope:
        """Send what the client sends for a press, whatever is drawn."""
        there = self.channels[channel]
        button = {"type": "button", "action_id": "press:1", "value": value}
        return await self._act(user, there, there.messages[-1], button)

    async def open_form(self, user: str, channel: str, ts: str, place: int = 0) -> str:
        """Press the button of a form and return the id of the view that it opened."""
        there = self._entered(user, channel)
        shown = next(one for one in there.messages if one["ts"] == ts)
        drawn = [
            element
            for block in shown["blocks"]
            if block["type"] == "actions"
            for element in block["elements"]
            if element["action_id"].startswith("form:")
        ]
        before = set(self.views)
        await self._act(user, there, shown, drawn[place])
        await self.until(lambda: set(self.views) - before)
        (view,) = set(self.views) - before
        return view

    async def submit(
        self, user: str, view_id: str, values: Mapping[str, str], files: Sequence[File] = ()
    ) -> _Envelope:
        """Send a view as the client does, which refuses what its inputs do not take."""
        view = self.views[view_id]
        state: Json = {}
        bad = [f"没有 {name} 这一项" for name in values if name not in inputs_of(view)]
        for name, block in inputs_of(view).items():
            element = block["element"]
            label = block["label"]["text"]
            try:
                filled = self._filled(element, values.get(name), files)
            except ValueError:
                bad.append(label)
                continue
            state[name] = {element["action_id"]: filled}
            if not block.get("optional") and is_empty(filled):
                bad.append(label)
        if bad:
            raise UsageError("；".join(bad))
        payload = {
            "type": "view_submission",
            "user": {"id": user, "name": self.users[user]},
            "trigger_id": self._trigger(),
            "view": {**view, "id": view_id, "state": {"values": state}},
        }
        return await self._envelope("interactive", payload, keep=False)

    def expire_triggers(self) -> None:
        for trigger in self._triggers:
            self._triggers[trigger] = "expired_trigger_id"

    # -- inside: people -----------------------------------------------------------------------

    def _entered(self, user: str, channel: str) -> Channel:
        there = self.channels[channel]
        if user not in there.members:
            raise UsageError(f"{self.users[user]} 不在这个频道里")
        return there

    async def _act(self, user: str, there: Channel, shown: Json, drawn: Json) -> _Envelope:
        payload = {
            "type": "block_actions",
            "user": {"id": user, "username": self.users[user]},
            "channel": {"id": there.id, "name": there.name},
            "message": shown,
            "trigger_id": self._trigger(),
            "actions": [{**drawn, "action_ts": self._ts()}],
        }
        return await self._envelope("interactive", payload, keep=False)

    def _filled(self, element: Json, value: str | None, files: Sequence[File]) -> Json:
        kind = element["type"]
        options = {one["value"]: one for one in element.get("options", ())}
        match kind:
            case "file_input":
                return {"type": kind, "files": [self._keep_file(one) for one in files]}
            case "static_select":
                chosen = element.get("initial_option")
                if value is not None:
                    chosen = options.get(value)
                    if chosen is None:
                        raise ValueError(value)
                return {"type": kind, "selected_option": chosen}
            case "datepicker":
                return {"type": kind, "selected_date": _picked(element, value)}
            case "multi_static_select":
                many = element.get("initial_options", [])
                if value is not None:
                    if not set(value.split(",")) <= set(options):
                        raise ValueError(value)
                    many = [options[one] for one in value.split(",")]
                return {"type": kind, "selected_options": many}
            case _:
                text = element.get("initial_value") if value is None else value
                if kind == "number_input" and text:
                    float(text)
                return {"type": kind, "value": text or None}

    def _keep_file(self, file: File) -> Json:
        its_id = f"F{next(self._count):08d}"
        self._files[its_id] = {"name": file.name, "content": file.content}
        return self._file(its_id)

    def _file(self, its_id: str) -> Json:
        url = f"{self._home}/files/{its_id}"
        return {"id": its_id, "name": self._files[its_id]["name"], "url_private_download": url}

    def _ts(self) -> str:
        return f"1764040000.{next(self._count):06d}"

    def _trigger(self) -> str:
        made = f"{next(self._count)}.sim.{uuid4().hex[:8]}"
        self._triggers[made] = ""
        return made

    # -- inside: the socket -------------------------------------------------------------------

    async def _envelope(self, kind: str, payload: Json, *, keep: bool) -> _Envelope:
        body = {"type": kind, "payload": payload, "accepts_response_payload": True}
        envelope = _Envelope(body, keep, asyncio.get_running_loop().create_future())
        if not keep and not self.sockets and not self.address:
            raise UsageError("dispatch_failed：应用没有连上")
        await self._push(envelope)
        return envelope

    async def _push(self, envelope: _Envelope) -> None:
        its_id = uuid4().hex
        self._envelopes[its_id] = envelope
        if self.address:
            calling = asyncio.create_task(self._call(envelope))
            self._calling.add(calling)
            calling.add_done_callback(self._calling.discard)
            return
        body = {**envelope.body, "envelope_id": its_id}
        if envelope.tries:
            body |= {"retry_attempt": envelope.tries, "retry_reason": "timeout"}
        if self.sockets:
            envelope.tries += 1
            # Where it breaks as we speak, it is told again over the next one.
            await self.outgoing.push(partial(self._put, self.sockets[-1], json.dumps(body)))

    async def _put(self, socket: web.WebSocketResponse, text: str) -> None:
        if socket not in self._frozen:
            await socket.send_str(text)

    async def _call(self, envelope: _Envelope) -> None:
        assert self._http
        tries, envelope.tries = envelope.tries, envelope.tries + 1
        status, said = await call(self._http, self.address, envelope.body, tries)
        self.answered.append(status)
        if status == web.HTTPOk.status_code and not envelope.acked.done():
            envelope.acked.set_result(json.loads(said) if said else {})
        self._changed.set()

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=404)
        self._tickets.discard(ticket)
        self.dialled += 1
        if self.refuse_sockets:
            self.refuse_sockets -= 1
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        if self.greets:
            debug = {"host": "sim", "approximate_connection_time": self.lived}
            hello = {"type": "hello", "num_connections": len(self.sockets) + 1, "debug_info": debug}
            await socket.send_str(json.dumps(hello))
        self.sockets.append(socket)
        self._changed.set()
        await self.redeliver()
        try:
            async for frame in socket:
                if socket in self._frozen:
                    continue
                if frame.type is WSMsgType.PING:
                    with suppress(ConnectionError):  # an aborted one still has frames to read
                        await socket.pong(frame.data)
                elif frame.type is WSMsgType.TEXT:
                    self._acknowledged(json.loads(frame.data))
        finally:
            self.sockets.remove(socket)
            self._changed.set()
        return socket

    def _acknowledged(self, frame: Json) -> None:
        envelope = self._envelopes.get(frame.get("envelope_id", ""))
        if envelope is None or set(frame) - {"envelope_id", "payload"}:
            self.failures.append(f"an acknowledgement of nothing: {frame}")
            return
        if not envelope.acked.done():
            envelope.acked.set_result(frame.get("payload") or {})
        self._changed.set()

    # -- inside: the Web API ------------------------------------------------------------------

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.calls.append((method, form))
        fault = self._faults[method].popleft() if self._faults[method] else ""
        if fault == "429":
            return web.json_response(
                {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "7"}
            )
        if fault in {"404", "500"}:
            return web.Response(status=int(fault), text="oops")
        if fault == "late":
            self._late.append((method, form))
        if fault in {"gone", "late"}:
            return self._break(request)
        if fault and fault not in {"lost", "silent"}:
            return web.json_response({"ok": False, "error": fault})
        reply = self._reply(method, form, request)
        if reply.get("error") == "ratelimited":
            self.limited.append(method)
            return web.json_response(
                reply, status=429, headers={"Retry-After": PAUSE.get(method, "1")}
            )
        if fault == "lost":
            return self._break(request)
        if fault == "silent":
            await self._closing.wait()
        return web.json_response(reply, headers=self._named(request))

    def _named(self, request: web.Request) -> dict[str, str]:
        """Return the header in which every answer names what its token may do."""
        scopes = {BOT_TOKEN: self.scopes, APP_TOKEN: self.app_scopes}.get(_token(request))
        return {} if scopes is None else {"x-oauth-scopes": ",".join(sorted(scopes))}

    def _reply(self, method: str, form: Json, request: web.Request) -> Json:
        try:
            self._authorised(method, request)
            granted = self.app_scopes if method == "apps.connections.open" else self.scopes
            if (scope := needed(method, self._sort(form))) and scope not in granted:
                told = {"needed": scope, "provided": ",".join(sorted(granted))}
                return {"ok": False, "error": "missing_scope", **told}
            return {"ok": True, **self._deed(method, form)}
        except No as no:
            return {"ok": False, "error": str(no)}
        except (KeyError, ValueError) as problem:
            self.failures.append(f"{method}: {problem!r}")
            return {"ok": False, "error": "invalid_arguments"}
        finally:
            self._changed.set()

    def _break(self, request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    def _authorised(self, method: str, request: web.Request) -> None:
        given = _token(request)
        wanted = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
        if given not in {APP_TOKEN, BOT_TOKEN}:
            raise No("invalid_auth")
        if given != wanted:
            raise No("not_allowed_token_type")

    def _sort(self, form: Json) -> str:
        """Return what scopes call the channel of a call."""
        there = self.channels.get(form.get("channel", ""))
        if there is None:
            return ""
        return "im" if there.im else "groups" if there.creator == BOT else "channels"

    def _deed(self, method: str, form: Json) -> Json:
        deed = METHODS.get(method)
        if deed is None:
            self.failures.append(f"an unexpected call: {method}")
            raise No("unknown_method")
        return deed(self, form)

    def _auth_test(self, form: Json) -> Json:
        return {"user_id": BOT, "bot_id": "B1", "team_id": "T1"}

    def _apps_connections_open(self, form: Json) -> Json:
        ticket = uuid4().hex
        self._tickets.add(ticket)
        return {"url": f"{self._home}/link?ticket={ticket}".replace("http", "ws", 1)}

    def _users_info(self, form: Json) -> Json:
        name = self.users.get(form["user"])
        if name is None:
            raise No("user_not_found")
        return {"user": {"id": form["user"], "profile": {"display_name": name}}}

    def _files_info(self, form: Json) -> Json:
        if form["file"] not in self._files:
            raise No("file_not_found")
        return {"file": self._file(form["file"])}

    def _views_open(self, form: Json) -> Json:
        return self._open_view(form)

    def _chat_post_message(self, form: Json) -> Json:
        there = self._there(form["channel"])
        self._spend(there)
        posted = {"user": BOT, "bot_id": "B1", "ts": self._ts(), **content_of(form)}
        if thread := form.get("thread_ts", ""):
            if all(one["ts"] != thread for one in there.messages):
                raise No("thread_not_found")
            posted["thread_ts"] = thread
        there.messages.append(posted)
        return {"ts": posted["ts"], "channel": there.id}

    def _chat_update(self, form: Json) -> Json:
        there = self._there(form["channel"])
        now = self._now()
        self._updates = min(UPDATES, self._updates + (now - self._updated_at) * UPDATES / 60)
        self._updated_at = now
        if self._updates < 1:
            raise No("ratelimited")
        self._updates -= 1
        old = [one for one in there.messages if one["ts"] == form["ts"]]
        if not old:
            raise No("message_not_found")
        if old[0]["user"] != BOT:
            raise No("cant_update_message")
        content = content_of(form)
        if "metadata" not in content:
            old[0].pop("metadata", None)
        old[0].update(content)
        return {"ts": form["ts"], "channel": there.id}

    def _chat_post_ephemeral(self, form: Json) -> Json:
        there = self._there(form["channel"])
        if form["user"] not in there.members:
            raise No("user_not_in_channel")
        self.whispers.append((there.id, form["user"], content_of(form)["text"]))
        return {"message_ts": self._ts()}

    def _files_get_upload_url(self, form: Json) -> Json:
        if not form["filename"] or int(form["length"]) < 1:
            raise No("invalid_arguments")
        its_id, ticket = f"F{next(self._count):08d}", uuid4().hex
        self._files[its_id] = {"name": form["filename"], "length": int(form["length"])}
        self._uploads[ticket] = its_id
        return {"file_id": its_id, "upload_url": f"{self._home}/upload/{ticket}"}

    def _files_complete_upload_external(self, form: Json) -> Json:
        return self._complete(form)

    def _conversations_history(self, form: Json) -> Json:
        there = self._there(form["channel"])
        ours = [one for one in there.messages if one.get("thread_ts", one["ts"]) == one["ts"]]
        return {"messages": self._told(form, ours[::-1][: int(form["limit"])])}

    def _conversations_replies(self, form: Json) -> Json:
        there, thread = self._there(form["channel"]), form["ts"]
        ours = [one for one in there.messages if one.get("thread_ts", one["ts"]) == thread]
        if not ours:
            raise No("thread_not_found")
        start = int(form["cursor"] or 0)
        more = str(start + 2) if start + 2 < len(ours) else ""
        page = self._told(form, ours[start : start + 2])
        return {"messages": page, "response_metadata": {"next_cursor": more}}

    def _told(self, form: Json, messages: Sequence[Json]) -> list[Json]:
        bare = form.get("include_all_metadata") != "true"
        return [
            {k: v for k, v in one.items() if not (bare and k == "metadata")} for one in messages
        ]

    def _conversations_create(self, form: Json) -> Json:
        name = form["name"]
        letters = r"[a-z0-9_-]{1,80}" if self.latin_only else r"[^\sA-Z.,!@#]{1,80}"
        if not re.fullmatch(letters, name):
            raise No("invalid_name_specials")
        if any(one.name == name for one in self.channels.values()):
            raise No("name_taken")
        made = self.channels[self.channel(name)]
        made.creator = BOT
        return {"channel": {"id": made.id, "name": name, "creator": BOT}}

    def _conversations_set_purpose(self, form: Json) -> Json:
        self._there(form["channel"]).purpose = form["purpose"]
        return {}

    def _conversations_invite(self, form: Json) -> Json:
        there = self._there(form["channel"])
        if form["users"] not in self.users:
            raise No("user_not_found")
        if form["users"] in there.members:
            raise No("already_in_channel")
        there.members.add(form["users"])
        return {}

    def _conversations_invite_shared(self, form: Json) -> Json:
        self._there(form["channel"])
        self.invited_by_mail += json.loads(form["emails"])
        return {}

    def _conversations_open(self, form: Json) -> Json:
        if form["users"] not in self.users:
            raise No("user_not_found")
        members = {form["users"], BOT}
        for one in self.channels.values():
            if one.im and one.members == members:
                return {"channel": {"id": one.id}}
        return {"channel": {"id": self.channel("", form["users"], im=True)}}

    def _users_conversations(self, form: Json) -> Json:
        mine = [one for one in self.channels.values() if BOT in one.members and not one.im]
        start = int(form["cursor"] or 0)
        page = mine[start : start + 2]  # small pages: whoever does not turn them is caught
        rows = [{"id": c.id, "name": c.name, "creator": c.creator} for c in page]
        more = str(start + 2) if start + 2 < len(mine) else ""
        return {"channels": rows, "response_metadata": {"next_cursor": more}}

    def _there(self, channel: str) -> Channel:
        there = self.channels.get(channel)
        if there is None or BOT not in there.members:
            raise No("channel_not_found")
        return there

    def _spend(self, there: Channel) -> None:
        now = self._now()
        there.tokens = min(BURST, there.tokens + (now - there.at if there.at else 0))
        there.at = now
        if there.tokens < 1:
            raise No("ratelimited")
        there.tokens -= 1

    def _open_view(self, form: Json) -> Json:
        state = self._triggers.get(form["trigger_id"], "invalid_trigger_id")
        if state:
            raise No(state)
        self._triggers[form["trigger_id"]] = "exchanged_trigger_id"
        view = json.loads(form["view"])
        check_view(view)
        its_id = f"V{next(self._count):08d}"
        self.views[its_id] = view
        return {"view": {"id": its_id}}

    def _complete(self, form: Json) -> Json:
        there = self._there(form["channel_id"])
        done = []
        for one in json.loads(form["files"]):
            kept = self._files.get(one["id"])
            if kept is None or "content" not in kept or kept.get("shared"):
                raise No("file_not_found")
            kept["shared"] = True
            done.append({"id": one["id"], "name": kept["name"], "title": one["title"]})
        told: Json = {"text": form.get("initial_comment", "")}
        if "blocks" in form:
            told["blocks"] = json.loads(form["blocks"])
            check_blocks(told["blocks"])
        posted = {"user": BOT, "ts": self._ts(), **told, "files": done}
        there.messages.append(posted)
        return {"files": done}

    async def _upload(self, request: web.Request) -> web.Response:
        its_id = self._uploads.pop(request.match_info["ticket"], "")
        content = await _posted(request)
        if not its_id or len(content) != self._files[its_id]["length"]:
            return web.Response(status=400)
        if "Authorization" in request.headers:
            self.overshared.append(its_id)
        self._files[its_id]["content"] = content
        return web.Response(text=f"OK - {len(content)}")

    async def _download(self, request: web.Request) -> web.Response:
        if _token(request) != BOT_TOKEN or "files:read" not in self.scopes:
            raise web.HTTPFound("/sign-in")
        self.asked_for.append(request.match_info["id"])
        self._changed.set()
        await self.downloads.wait()
        fault = self._faults["download"].popleft() if self._faults["download"] else ""
        if fault == "gone":
            return self._break(request)
        if fault:
            return web.Response(status=int(fault))
        return web.Response(body=self._files[request.match_info["id"]]["content"])


METHODS: dict[str, Callable[[SlackSim, Json], Json]] = {
    "auth.test": SlackSim._auth_test,
    "apps.connections.open": SlackSim._apps_connections_open,
    "users.info": SlackSim._users_info,
    "views.open": SlackSim._views_open,
    "chat.postMessage": SlackSim._chat_post_message,
    "chat.update": SlackSim._chat_update,
    "chat.postEphemeral": SlackSim._chat_post_ephemeral,
    "files.getUploadURLExternal": SlackSim._files_get_upload_url,
    "files.info": SlackSim._files_info,
    "files.completeUploadExternal": SlackSim._files_complete_upload_external,
    "conversations.replies": SlackSim._conversations_replies,
    "conversations.history": SlackSim._conversations_history,
    "conversations.create": SlackSim._conversations_create,
    "conversations.setPurpose": SlackSim._conversations_set_purpose,
    "conversations.invite": SlackSim._conversations_invite,
    "conversations.inviteShared": SlackSim._conversations_invite_shared,
    "conversations.open": SlackSim._conversations_open,
    "users.conversations": SlackSim._users_conversations,
}


async def _posted(request: web.Request) -> bytes:
    """Return an uploaded file: the body itself, or the one part of a form."""
    if request.content_type != "multipart/form-data":
        return await request.read()
    (part,) = (await request.post()).values()
    assert isinstance(part, web.FileField)
    return part.file.read()


def _picked(element: Json, value: str | None) -> str | None:
    """Return the day that a datepicker holds; Slack's client lets nothing else be entered."""
    day = element.get("initial_date") if value is None else value
    return date.fromisoformat(day).isoformat() if day else None

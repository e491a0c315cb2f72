"""The platform itself: its memory is one SQLite file, as Feishu's is a server far away.

What people do waits in that file until the reader of `events` asks for the next event, so a kill
between the two delivers it again. It may hold what was typed into a SECRET input for that long:
the file is for its owner alone, and what is deleted is overwritten.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import uuid4

import structlog

from adapters.card import Card
from adapters.port import (
    Capabilities,
    Fault,
    OutsideError,
    Permanent,
    Redraw,
    Transient,
    UsageError,
)
from adapters.webchat import wire
from adapters.webchat.wire import Attachment, Group, Post
from adapters.words import Chat, Click, Event, File, Message, Person, Receipt, Submission

MAX_CARD_BYTES = 1_000_000
MAX_FILE_BYTES = 50_000_000
MAX_TEXT = 200_000

Watcher = Callable[[Post | None], None]

_log = structlog.get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    at INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (kind, id));
CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, name TEXT NOT NULL, content BLOB NOT NULL);
"""
_KEEP = """
INSERT INTO kept (kind, id, body) VALUES (?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body
"""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class WebChat:
    """A `ChatPlatform` in this process, and the acts of the people who use it.

    The port's methods raise `Transient` or `Permanent`; the acts of people raise `UsageError`.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str = "web",
        bot: str = "Vigilbot",
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._path = path
        self._name = name
        self.bot = bot
        self._now = now
        self._db: sqlite3.Connection | None = None
        self._groups: dict[str, Group] = {}
        self._posts: dict[str, Post] = {}
        self._by_chat: dict[str, list[str]] = {}
        self._done: dict[str, str] = {}
        self._pending: dict[str, Event] = {}
        self._arrived = asyncio.Event()
        self._watchers: list[Watcher] = []

    # -- the port ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._name

    @property
    def can(self) -> Capabilities:
        return Capabilities(max_card_bytes=MAX_CARD_BYTES, per_chat_per_minute=6_000)

    async def __aenter__(self) -> Self:
        try:
            self._open()
        except (OSError, sqlite3.Error) as problem:
            raise Permanent(f"打不开网页聊天的数据文件 {self._path}：{problem}") from problem
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._db:
            self._db.close()
        self._db = None
        self._arrived.set()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what people do; asking for the next event says that the last one is kept."""
        while self._db:
            event = next(iter(self._pending.values()), None)
            if event is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            yield event
            if self._db:
                self._forget(event)

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None:
        """Do nothing: the page shows a press at once, and what it caused as a card."""

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        group = self._reach(chat)
        post = self._write(group, key=f"send:{key}", card=card)
        return Receipt(post.chat, post.id)

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        self._reach(receipt.chat)
        post = self._posts.get(receipt.id)
        if post is None or post.chat != receipt.chat or post.card is None:
            raise Permanent("要更新的卡片不存在", fault=Fault.REFUSED)
        if post.card != card:
            self._commit(replace(post, card=card, edited=True))
        return Receipt(post.chat, post.id)

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        self._connected()
        chat_id = self._done.get(f"open:{key}")
        if chat_id:
            return self._groups[chat_id].chat
        for person in members:
            self._own(person)
        return self._found(title, members, f"g-{uuid4().hex[:12]}", key=f"open:{key}")

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        post = self._write(self._reach(chat), key=f"upload:{key}", files=(file,))
        return Receipt(post.chat, post.id)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        self._connected()
        self._own(person)
        group = self._groups[self._direct(person).id]
        post = self._write(group, key=f"ring:{key}", text=text, urgent=True)
        return Receipt(post.chat, post.id)

    # -- what people do ---------------------------------------------------------------------

    async def say(self, person: Person, chat: Chat, text: str, files: Sequence[File] = ()) -> Post:
        """Write in a chat as one of its members (`direct` gives a person's own chat)."""
        group = self._member(person, chat)
        if not text.strip() and not files:
            raise UsageError("请先输入内容或选择文件")
        if len(text) > MAX_TEXT:
            raise UsageError(f"消息太长：最多 {MAX_TEXT} 字，请改为上传文件")
        if any(len(file.content) > MAX_FILE_BYTES for file in files):
            raise UsageError(f"文件太大：最多 {MAX_FILE_BYTES // 1_000_000} MB")
        said, mentions = wire.mentioned(text, self.bot, group.members)
        at = self._now()
        post = Post(uuid4().hex, group.chat, person, at, text)
        event = Message(post.id, group.chat, person, said, at, tuple(files), mentions)
        try:
            return self._commit(post, files=tuple(files), event=event)
        except OutsideError as problem:
            raise UsageError(problem.reason) from problem

    async def press(self, person: Person, chat: Chat, receipt_id: str, action: str) -> Click:
        """Press a button; refused when the card, as now drawn, has no such button."""
        group = self._member(person, chat)
        if not wire.has_button(self._card(group, receipt_id), action):
            raise UsageError("这张卡片已更新，上面没有这个按钮了，请看卡片的最新内容")
        click = Click(uuid4().hex, group.chat, person, action, self._now())
        self._deliver(click)
        return click

    async def submit(
        self,
        person: Person,
        chat: Chat,
        receipt_id: str,
        action: str,
        values: Mapping[str, str],
        *,
        files: Sequence[File] = (),
    ) -> Submission:
        """Send a form; inputs that are not in `values` keep what was drawn in them."""
        group = self._member(person, chat)
        form = wire.find_form(self._card(group, receipt_id), action)
        if form is None:
            raise UsageError("这张卡片已更新，上面没有这个表单了，请看卡片的最新内容")
        kept = tuple(files)
        if any(len(file.content) > MAX_FILE_BYTES for file in kept):
            raise UsageError(f"文件太大：最多 {MAX_FILE_BYTES // 1_000_000} MB")
        filled = wire.fill(form, dict(values), kept)
        sent = Submission(uuid4().hex, group.chat, person, action, filled, self._now(), kept)
        self._deliver(sent)
        return sent

    # -- groups, and what is to be seen -----------------------------------------------------

    async def found(self, title: str, members: Sequence[Person], *, chat_id: str) -> Chat:
        """Make a group of a known id by hand (the operations group), or find it there already."""
        known = self._groups.get(chat_id)
        if known:
            return known.chat
        return self._found(title, members, chat_id)

    async def join(self, chat: Chat, person: Person) -> None:
        """Take somebody into a group; who is there already stays."""
        group = self._reach(chat)
        self._own(person)
        if person not in group.members:
            self._keep_group(replace(group, members=(*group.members, person)))

    async def direct(self, person: Person) -> Chat:
        """Return the person's own chat with the bot."""
        self._own(person)
        return self._direct(person)

    def chats(self, person: Person) -> tuple[Chat, ...]:
        """Return the chats that the person is in, the oldest first."""
        return tuple(group.chat for group in self._groups.values() if person in group.members)

    def members(self, chat: Chat) -> tuple[Person, ...]:
        return self._reach(chat).members

    def is_direct(self, chat: Chat) -> bool:
        return self._reach(chat).direct

    def history(self, chat: Chat) -> tuple[Post, ...]:
        """Return everything that was said in the chat, as it now looks, the oldest first."""
        return tuple(self._posts[one] for one in self._by_chat.get(chat.id, ()))

    def content(self, file_id: str, person: Person) -> File | None:
        """Return an attached file; None when there is none, or none that the person may see."""
        seen = any(
            file.id == file_id
            for chat in self.chats(person)
            for post in self.history(chat)
            for file in post.files
        )
        if not seen:
            return None
        query = "SELECT name, content FROM files WHERE id = ?"
        with closing(self._connected().execute(query, (file_id,))) as found:
            row = found.fetchone()
        return File(row[0], row[1]) if row else None

    @property
    def untaken(self) -> int:
        """How many things that people did the reader of `events` has not taken yet."""
        return len(self._pending)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` after each change, with the post or None for a group; return its end."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    # -- inside -----------------------------------------------------------------------------

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path)
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = ON")
        db.executescript(_SCHEMA)
        self._db = db
        self._arrived = asyncio.Event()
        for memory in (self._groups, self._posts, self._by_chat, self._done, self._pending):
            memory.clear()
        for kind, key, body in db.execute("SELECT kind, id, body FROM kept ORDER BY at"):
            match kind:
                case "group":
                    self._groups[key] = wire.group_from_json(body)
                case "post":
                    self._remember(wire.post_from_json(body))
                case "done":
                    self._done[key] = body
                case "event":
                    self._pending[key] = wire.event_from_json(body)

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            raise Transient("网页聊天没有打开")
        return self._db

    def _reach(self, chat: Chat) -> Group:
        self._connected()
        group = self._groups.get(chat.id)
        if group is None or chat.platform != self.name:
            raise Permanent(f"网页聊天里没有这个会话：{chat.id}", fault=Fault.REFUSED)
        return group

    def _own(self, person: Person) -> None:
        if person.platform != self.name or not person.id:
            raise Permanent(f"此人不在网页聊天里：{person.name or person.id}", fault=Fault.REFUSED)

    def _member(self, person: Person, chat: Chat) -> Group:
        group = self._groups.get(chat.id)
        if self._db is None:
            raise UsageError("网页聊天没有打开，请稍后再试")
        if group is None or chat.platform != self.name:
            raise UsageError("没有这个会话，请从左侧列表中选择")
        if person not in group.members:
            raise UsageError(f"{person.name or person.id} 不在“{group.chat.title}”里，不能在此操作")
        return group

    def _card(self, group: Group, post_id: str) -> Card:
        post = self._posts.get(post_id)
        if post is None or post.chat != group.chat or post.card is None:
            raise UsageError("没有这张卡片，请看会话中的最新内容")
        return post.card

    def _direct(self, person: Person) -> Chat:
        chat_id = f"d-{person.id}"
        known = self._groups.get(chat_id)
        if known:
            return known.chat
        chat = Chat(self.name, chat_id, f"{self.bot} · {person.name or person.id}")
        self._keep_group(Group(chat, (person,), direct=True))
        return chat

    def _found(self, title: str, members: Sequence[Person], chat_id: str, *, key: str = "") -> Chat:
        group = Group(Chat(self.name, chat_id, title), tuple(dict.fromkeys(members)))
        self._keep_group(group, key=key)
        return group.chat

    def _keep_group(self, group: Group, *, key: str = "") -> None:
        rows = [("group", group.chat.id, wire.group_to_json(group))]
        if key:
            rows.append(("done", key, group.chat.id))
        self._store(rows)
        self._groups[group.chat.id] = group
        if key:
            self._done[key] = group.chat.id
        self._tell(None)

    def _write(
        self,
        group: Group,
        *,
        key: str,
        text: str = "",
        card: Card | None = None,
        files: tuple[File, ...] = (),
        urgent: bool = False,
    ) -> Post:
        known = self._done.get(key)
        if known:
            return self._posts[known]
        if any(len(file.content) > MAX_FILE_BYTES for file in files):
            raise Permanent("文件太大", fault=Fault.REFUSED)
        post = Post(uuid4().hex, group.chat, None, self._now(), text, card, urgent=urgent)
        return self._commit(post, key=key, files=files)

    def _commit(
        self,
        post: Post,
        *,
        key: str = "",
        files: tuple[File, ...] = (),
        event: Event | None = None,
    ) -> Post:
        contents = [(uuid4().hex, file.name, file.content) for file in files]
        if contents:
            named = tuple(Attachment(one, name, len(content)) for one, name, content in contents)
            post = replace(post, files=named)
        body = wire.post_to_json(post)
        if post.card and len(body.encode(errors="replace")) > MAX_CARD_BYTES:
            raise Permanent("卡片太大", fault=Fault.REFUSED)
        post = wire.post_from_json(body)  # as it will be after a restart, half characters mended
        rows = [("post", post.id, body)]
        if key:
            rows.append(("done", key, post.id))
        if event:
            rows.append(("event", event.id, wire.event_to_json(event)))
        self._store(rows, contents)
        self._remember(post)
        if key:
            self._done[key] = post.id
        if event:
            self._queue(event)
        self._tell(post)
        return post

    def _deliver(self, event: Event) -> None:
        try:
            self._store([("event", event.id, wire.event_to_json(event))])
        except OutsideError as problem:
            raise UsageError(problem.reason) from problem
        self._queue(event)

    def _queue(self, event: Event) -> None:
        self._pending[event.id] = event
        self._arrived.set()

    def _forget(self, event: Event) -> None:
        db = self._connected()
        try:
            with db:
                db.execute("DELETE FROM kept WHERE kind = 'event' AND id = ?", (event.id,))
        except sqlite3.Error as problem:
            raise Transient(f"网页聊天写不了数据文件：{problem}", fault=Fault.DISK) from problem
        self._pending.pop(event.id, None)

    def _remember(self, post: Post) -> None:
        if post.id not in self._posts:
            self._by_chat.setdefault(post.chat.id, []).append(post.id)
        self._posts[post.id] = post

    def _store(
        self,
        rows: Sequence[tuple[str, str, str]],
        files: Sequence[tuple[str, str, bytes]] = (),
    ) -> None:
        db = self._connected()
        try:
            with db:
                db.executemany(_KEEP, rows)
                db.executemany("INSERT INTO files (id, name, content) VALUES (?, ?, ?)", files)
        except UnicodeEncodeError as problem:
            raise Permanent("文字里有无法保存的字符", fault=Fault.REFUSED) from problem
        except sqlite3.Error as problem:
            raise Transient(f"网页聊天写不了数据文件：{problem}", fault=Fault.DISK) from problem

    def _tell(self, post: Post | None) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher(post)
            except Exception:  # noqa: BLE001 -- a page that breaks must not undo what was said
                _log.exception("webchat_watcher_failed")

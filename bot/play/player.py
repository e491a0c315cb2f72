"""Plays a script against a bot, through the acts that people have in the web chat.

Everything that appears is printed with the seconds since the beginning; the first expectation
that is not met ends the play with the step's number, what was wanted and what was seen.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
import msgspec

from adapters.card import Card, Entry, Form
from adapters.port import OutsideError, UsageError
from adapters.webchat.link import WebChat
from adapters.webchat.wire import Post
from adapters.words import Chat, File, Person, Secret
from bot.play import look
from bot.play.render import changed, heading, masked, post_text, timelines
from bot.play.script import (
    Act,
    ApproveMany,
    Capture,
    Expect,
    Fill,
    Join,
    Open,
    Press,
    Restart,
    Say,
    Script,
    ScriptError,
    Step,
    Upload,
    filled,
    texts,
)
from runbooks.book import Runbook
from storage.records import Run
from storage.store import Store

SEEN = 1_500
"""Characters of what was seen instead, as a failure tells them."""

Found = TypeVar("Found")


class Started(Protocol):
    """A bot at work, as far as a play has to know it."""

    @property
    def webchat(self) -> WebChat: ...

    @property
    def store(self) -> Store: ...

    @property
    def books(self) -> Mapping[str, Runbook[Any]]: ...


Start = Callable[[], AbstractAsyncContextManager[Started]]
"""Starts the bot; called again it starts it anew, from the same configuration and data."""

Print = Callable[[str], None]


class UnmetError(Exception):
    """A step did not come about; the text says what was wanted and what was seen."""


PROBLEMS = (UnmetError, UsageError, OutsideError, httpx.HTTPError, httpx.InvalidURL)
"""What makes a step fail; anything else is a fault of the program."""

LINKS = (re.compile(r"/links/([\w-]{20,})"), re.compile(r"验证码：(\d{6})"))
"""What opens a one-time link: its own reader may see it in the chat, and a terminal keeps it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a play ended. `failed` is the number of the step that did not come about, 0 for none."""

    failed: int = 0
    reason: str = ""


class Player:
    """Plays one script. The variables are known beside the script's own, and go before them."""

    def __init__(
        self,
        script: Script,
        start: Start,
        tell: Print,
        variables: Mapping[str, str | Secret] | None = None,
        folder: Path = Path(),
    ) -> None:
        self._script = script
        self._start = start
        self._print = tell
        self._folder = folder
        self._given = variables or {}
        self._variables: dict[str, str] = {}
        self._secrets: set[str] = set()
        self._patterns = [
            *LINKS,
            *(
                re.compile(step.act.capture)
                for step in script.steps
                if isinstance(step.act, Capture) and step.act.hidden
            ),
        ]
        self._people: dict[str, Person] = {}
        self._shown: dict[str, Post] = {}
        self._before_act: dict[str, Post] = {}
        self._news = asyncio.Event()
        self._running = AsyncExitStack()
        self._began = self._deadline = 0.0
        self._bot: Started

    async def play(self) -> Outcome:
        """Play it to the end or to the first step that fails, print the timeline, and say how."""
        self._began = _now()
        outcome = Outcome()
        self._remember_variables()
        async with self._running:
            await self._enter()
            self._shown = self._all()
            async with self._bot.store.view() as unit:
                before: dict[str, Run] = {
                    run.id: run
                    for customer in await unit.customers.all()
                    for run in await unit.runs.of(customer.id)
                }
            for step in self._script.steps:
                try:
                    await self._take(step)
                except PROBLEMS as problem:
                    where = f"第 {step.number} 步（第 {step.line} 行，{step.act.verb}）"
                    reason = self._masked(f"{where}没有成功：{problem or type(problem).__name__}")
                    outcome = Outcome(step.number, reason)
                    break
            self._show()
            async with self._bot.store.view() as unit:
                told = await timelines(self._bot.books, unit, before)
        for text in ("—— 时间线 ——", *told, outcome.reason or "全部步骤已完成"):
            self._print(self._masked(text))
        return outcome

    # -- the bot, and what it shows -----------------------------------------------------------

    async def _enter(self) -> None:
        self._bot = await self._running.enter_async_context(self._start())
        web = self._bot.webchat
        self._running.callback(web.watch(self._changed))
        for key, actor in self._script.people.items():
            self._people[key] = Person(web.name, key, actor.name or key)
        for key, group in self._script.groups.items():
            members = [self._people[one] for one in group.members]
            chat = await web.found(group.title, members, chat_id=key)
            for person in members:
                await web.join(chat, person)

    def _remember_variables(self) -> None:
        for name, raw in self._script.variables.items():
            if name in self._given:
                continue
            try:
                self._variables[name] = self._value(raw)
            except UnmetError as problem:
                raise ScriptError(f"变量 {name}：{problem}") from None
        for name, value in self._given.items():
            self._variables[name] = self._hide(value) if isinstance(value, Secret) else value

    def _changed(self, _: Post | None) -> None:
        # At once, not in the next round of the loop: a card may be redrawn twice in one.
        self._show()
        self._news.set()

    def _all(self) -> dict[str, Post]:
        web = self._bot.webchat
        chats = {chat.id: chat for one in self._people.values() for chat in web.chats(one)}
        return {post.id: post for chat in chats.values() for post in web.history(chat)}

    def _show(self) -> None:
        for post in self._all().values():
            before = self._shown.get(post.id)
            if before == post:
                continue
            self._shown[post.id] = post
            if text := changed(before, post):
                self._say(f"{heading(post, self._bot.webchat.bot, before)}\n{text}")

    def _say(self, text: str) -> None:
        passed = _now() - self._began
        body = self._masked(text).replace("\n", "\n           ")
        self._print(f"[{passed:8.2f}s] {body}")

    def _masked(self, text: str) -> str:
        return masked(text, self._secrets, self._patterns)

    # -- the steps ----------------------------------------------------------------------------

    async def _take(self, step: Step) -> None:
        self._deadline = _now() + step.within
        act = step.act
        if not isinstance(act, Expect | Capture):
            self._before_act = dict(self._shown)
        match act:
            case Expect():
                await self._expect(act)
            case Capture():
                await self._capture(act)
            case Open():
                await self._open(act)
            case ApproveMany():
                for key in act.many:
                    self._deadline = _now() + step.within
                    await self._approve(act, self._people[key])
            case Restart():
                self._say("—— 重新启动 ——")
                await self._running.aclose()
                await self._enter()
                self._show()
            case _:
                await self._do(act)

    async def _do(self, act: Say | Press | Fill | Upload | Join) -> None:
        match act:
            case Say():
                await self._web.say(self._who(act), await self._chat(act), self._text(act.say))
            case Press():
                await self._press(act, self._who(act), act.card, act.press)
            case Fill():
                await self._fill(act, self._who(act), act.fill, act.submit, act.values)
            case Upload():
                file = self._file(self._text(act.upload))
                chat = await self._chat(act)
                await self._web.say(self._who(act), chat, self._text(act.text), (file,))
            case Join():
                chat = await self._chat(act)
                for key in texts(act.join):
                    await self._web.join(chat, self._people[key])

    async def _press(self, act: Act, who: Person, card: str, label: str) -> None:
        chat, label = await self._chat(act), self._text(label)
        wanted = f"按钮「{label}」"
        post, button = await self._card(chat, card, lambda one: look.button(one, label), wanted)
        self._say(f"{who.name} 按下「{label}」")
        await self._web.press(who, chat, post.id, button.action)

    async def _fill(
        self, act: Act, who: Person, card: str, submit: str, values: Mapping[str, str]
    ) -> None:
        chat, submit = await self._chat(act), self._text(submit)
        wanted = f"表单「{submit or card}」"
        post, form = await self._card(chat, card, lambda one: look.form(one, submit), wanted)
        entered, files = self._entered(form, values)
        self._say(f"{who.name} 提交表单「{post.card.title if post.card else ''}」")
        await self._web.submit(who, chat, post.id, form.action, entered, files=files)

    async def _approve(self, act: ApproveMany, who: Person) -> None:
        if act.values is None:
            await self._press(act, who, act.card, act.press)
        else:
            await self._fill(act, who, act.card, act.press, act.values)

    async def _expect(self, act: Expect) -> None:
        chat = await self._chat(act)
        contains = tuple(map(self._text, texts(act.expect.contains)))
        wanted = msgspec.structs.replace(
            act.expect,
            title=self._text(act.expect.title),
            item=self._text(act.expect.item),
            contains=contains,
        )

        def met() -> bool | None:
            seen = any(
                look.meets(post, wanted)
                for post in self._web.history(chat)
                if not wanted.new or self._before_act.get(post.id) != post
            )
            return True if seen is not wanted.absent else None

        if not await self._until(met):
            raise UnmetError(self._instead(look.wish(wanted), chat))

    async def _capture(self, act: Capture) -> None:
        chat, card = await self._chat(act), self._text(act.card)

        def group() -> str | None:
            for post in reversed(self._web.history(chat)):
                match = re.search(act.capture, post_text(post))
                if match and match[1] and card in post_text(post):
                    return match[1]
            return None

        found = await self._until(group)
        if found is None:
            raise UnmetError(self._instead(f"与 {act.capture} 相符的内容", chat))
        self._variables[act.into] = self._hide(Secret(found)) if act.hidden else found

    async def _open(self, act: Open) -> None:
        address = self._text(act.open)
        fields = {name: self._value(raw) for name, raw in act.fields.items()} or None
        left = max(self._deadline - _now(), 0.1)
        async with httpx.AsyncClient(timeout=left, follow_redirects=True) as client:
            page = await client.request(
                act.method,
                address,
                params=None if act.method == "POST" else fields,
                data=fields if act.method == "POST" else None,
            )
        # Neither the address nor the page: one opens a door, the other shows what is behind it.
        self._say(f"打开链接 {act.method} {page.url.host} → {page.status_code}")
        missing = [one for one in map(self._text, texts(act.contains)) if one not in page.text]
        if page.status_code != act.status or missing:
            wanted = "，".join([str(act.status), *(f"含「{one}」" for one in missing)])
            raise UnmetError(f"要的是 {wanted}；看到的是 {page.status_code}")

    # -- looking ------------------------------------------------------------------------------

    @property
    def _web(self) -> WebChat:
        return self._bot.webchat

    def _who(self, act: Act) -> Person:
        return self._people[act.by]

    async def _chat(self, act: Act) -> Chat:
        name = self._text(act.chat)
        if name.startswith("@"):
            return await self._web.direct(self._people[name[1:]])
        people = [self._people[act.by]] if act.by else list(self._people.values())

        def there() -> Chat | None:
            known = [chat for person in people for chat in self._web.chats(person)]
            return next((c for c in reversed(known) if name in (c.id, c.title)), None)

        found = await self._until(there)
        if found is None:
            titles = dict.fromkeys(c.title for one in people for c in self._web.chats(one))
            raise UnmetError(f"没有会话「{name}」；有的是：{'、'.join(titles) or '一个也没有'}")
        return found

    async def _card(
        self, chat: Chat, part: str, fits: Callable[[Card], Found | None], wanted: str
    ) -> tuple[Post, Found]:
        part = self._text(part)

        def there() -> tuple[Post, Found] | None:
            for post in reversed(self._web.history(chat)):
                if post.card and look.concerns(post, part):
                    found = fits(post.card)
                    if found is not None:
                        return post, found
            return None

        found = await self._until(there)
        if found is None:
            raise UnmetError(self._instead(f"「{part}」卡片上的{wanted}", chat))
        return found

    async def _until(self, there: Callable[[], Found | None]) -> Found | None:
        try:
            async with asyncio.timeout_at(self._deadline):
                while True:
                    self._news.clear()
                    found = there()
                    if found is not None:
                        return found
                    await self._news.wait()
        except TimeoutError:
            return None

    def _instead(self, wanted: str, chat: Chat) -> str:
        seen = "\n".join(post_text(post) for post in self._web.history(chat)[-3:])
        # Masked before it is cut: half a secret would no longer be known as one.
        told = self._masked(seen)[-SEEN:] or "什么也没有"
        return f"要的是{wanted}；在「{chat.title or chat.id}」里看到的是：\n{told}"

    # -- values -------------------------------------------------------------------------------

    def _text(self, text: str) -> str:
        try:
            return filled(text, self._variables)
        except KeyError as missing:
            raise UnmetError(f"变量 {missing.args[0]} 还没有值") from None

    def _value(self, raw: str) -> str:
        """Return what a script's value stands for; what is said in a chat never names a secret."""
        kind, _, name = raw.partition(":")
        if kind == "env":
            if name not in os.environ:
                raise UnmetError(f"环境变量 {name} 没有设置")
            return self._hide(Secret(os.environ[name]))
        if kind == "file":
            return self._hide(Secret(self._file(name).content.decode(errors="replace").rstrip()))
        return self._text(raw)

    def _entered(
        self, form: Form, values: Mapping[str, str]
    ) -> tuple[dict[str, str], tuple[File, ...]]:
        kinds = {one.name: one.entry for one in form.inputs}
        entered: dict[str, str] = {}
        files: list[File] = []
        for name, raw in values.items():
            if kinds.get(name) is Entry.FILE:
                files.append(self._file(self._text(raw.removeprefix("file:"))))
                continue
            entered[name] = self._value(raw)
            if kinds.get(name) is Entry.SECRET:
                self._hide(Secret(entered[name]))
        return entered, tuple(files)

    def _file(self, path: str) -> File:
        whole = self._folder / path
        try:
            return File(whole.name, whole.read_bytes())
        except OSError as problem:
            raise UnmetError(f"读不了文件 {path}：{problem.strerror}") from None

    def _hide(self, secret: Secret) -> str:
        self._secrets.add(secret.reveal())
        return secret.reveal()


def _now() -> float:
    return asyncio.get_running_loop().time()

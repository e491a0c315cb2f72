"""A chat in a terminal: what is said is printed as it comes, and what is typed is said.

`/press N` and `/fill N` act on the numbers that stand below a card; everything else is a message.
"""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, Self

from adapters.card import Button, Buttons, Entry, Form, Input
from adapters.port import UsageError
from adapters.webchat.link import MAX_TEXT, WebChat
from adapters.webchat.wire import Post
from adapters.words import Chat, File, Person
from bot.play.render import changed, heading

PROMPT = "> "
_CHUNK = 65_536
_HINT = "输入消息并回车；/press N 按按钮，/fill N 填表单，/quit 或 Ctrl-D 离开"


class Keyboard(Protocol):
    """Where lines come from."""

    async def line(self) -> str | None:
        """Return the next line without its end, None when there will be none."""
        ...

    def unseen(self) -> AbstractContextManager[None]:
        """For as long as the block lasts, what is typed is not shown."""
        ...


class Terminal:
    """One person in one chat."""

    def __init__(
        self, web: WebChat, person: Person, chat: Chat, keys: Keyboard, write: Callable[[str], None]
    ) -> None:
        self._web = web
        self._person = person
        self._chat = chat
        self._keys = keys
        self._write = write
        self._shown: dict[str, Post] = {}
        self._numbers: dict[tuple[str, str], int] = {}

    async def talk(self) -> None:
        """Show what was said, then what is said, and do what is typed until there is no more."""
        self._write(f"{self._chat.title or self._chat.id}\n{_HINT}\n")
        self._show()
        stop = self._web.watch(lambda _: self._show())
        try:
            while True:
                self._write(PROMPT)
                typed = await self._keys.line()
                if typed is None or typed.strip() == "/quit":
                    return
                if typed.strip():
                    await self._take(typed.strip())
        finally:
            stop()

    async def _take(self, typed: str) -> None:
        verb, _, rest = typed.partition(" ")
        try:
            if verb == "/press":
                await self._press(rest)
            elif verb == "/fill":
                await self._fill(rest)
            else:
                await self._web.say(self._person, self._chat, typed)
        except UsageError as problem:
            self._write(f"！{problem}\n")

    async def _press(self, number: str) -> None:
        post, action = self._numbered(number)
        sure = next((b.confirm for b in _buttons(post) if b.action == action), "")
        if sure and not await self._yes(sure):
            return
        await self._web.press(self._person, self._chat, post.id, action)

    async def _yes(self, question: str) -> bool:
        self._write(f"{question} [y/N] ")
        return (await self._keys.line() or "").strip().lower() in {"y", "yes", "是"}

    async def _fill(self, number: str) -> None:
        post, action = self._numbered(number)
        form = next((one for one in _forms(post) if one.action == action), None)
        if form is None:
            raise UsageError("这个号是按钮：请用 /press")
        values: dict[str, str] = {}
        files: list[File] = []
        for one in form.inputs:
            answer = await self._ask(one)
            if answer is None:
                return
            if answer and one.entry is Entry.FILE:
                files.append(_file(answer))
            elif answer:
                values[one.name] = answer
        await self._web.submit(
            self._person, self._chat, post.id, action, values, files=tuple(files)
        )

    async def _ask(self, one: Input) -> str | None:
        """Ask for one input: an empty answer keeps what was drawn; a TEXT ends with an empty line."""
        if one.entry is Entry.SECRET:
            with self._keys.unseen():
                self._write(_question(one))
                answer = await self._keys.line()
            self._write("\n")
            return answer
        self._write(_question(one))
        answer = await self._keys.line()
        if answer is None or one.entry is not Entry.TEXT or not answer:
            return answer
        lines = [answer]
        while (more := await self._keys.line()) not in (None, ""):
            assert more is not None
            lines.append(more)
        return "\n".join(lines)

    def _numbered(self, text: str) -> tuple[Post, str]:
        for (post_id, action), number in self._numbers.items():
            if str(number) == text.strip():
                return self._shown[post_id], action
        raise UsageError("没有这个号：请看卡片下面的编号，例如 /press 1")

    def _show(self) -> None:
        for post in self._web.history(self._chat):
            before = self._shown.get(post.id)
            if before == post:
                continue
            self._shown[post.id] = post
            text = changed(before, post)
            acts = "\n".join(self._acts(post))
            told = "\n".join(part for part in (text, acts) if part)
            self._write(f"\r{heading(post, self._web.bot, before)}\n{told}\n")

    def _acts(self, post: Post) -> Iterator[str]:
        """Number what can be done on a card: a button that is still there keeps its number."""
        for button in _buttons(post):
            if not button.url:
                yield f"  /press {self._number(post, button.action)}  {button.label}"
        for form in _forms(post):
            yield f"  /fill {self._number(post, form.action)}  {form.submit}"

    def _number(self, post: Post, action: str) -> int:
        return self._numbers.setdefault((post.id, action), len(self._numbers) + 1)


class Descriptor:
    """Lines from a file descriptor: a terminal, a pipe or a file, read without blocking the loop.

    A terminal stays in its line mode, so that its own editing keys work.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._stream = asyncio.StreamReader(limit=MAX_TEXT * 4)
        self._plain = False

    def __enter__(self) -> Self:
        try:
            asyncio.get_running_loop().add_reader(self._fd, self._read)
        except PermissionError:
            # A plain file, or /dev/null, is always ready, and the loop's selector refuses it.
            self._plain = True
            while self._read():
                pass
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._plain:
            asyncio.get_running_loop().remove_reader(self._fd)

    async def line(self) -> str | None:
        found = await self._stream.readline()
        return found.decode(errors="replace").rstrip("\r\n") if found else None

    @contextmanager
    def unseen(self) -> Iterator[None]:
        if not os.isatty(self._fd):
            yield
            return
        before = termios.tcgetattr(self._fd)
        quiet = [*before]
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(self._fd, termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, _CHUNK)
        except OSError:
            data = b""  # a terminal whose other end is gone says so with EIO
        if data:
            self._stream.feed_data(data)
            return True
        self._stream.feed_eof()
        if not self._plain:
            asyncio.get_running_loop().remove_reader(self._fd)
        return False


def _question(one: Input) -> str:
    offered = "，".join(f"{value}={label}" for value, label in one.options)
    hints = (
        "必填" if one.required else "",
        offered,
        one.told,
        "多行，空行结束" if one.entry is Entry.TEXT else "",
        "文件路径" if one.entry is Entry.FILE else "",
        f"回车为 {one.value}" if one.value and one.entry is not Entry.SECRET else "",
    )
    told = "；".join(hint for hint in hints if hint)
    return f"{one.label}{f'（{told}）' if told else ''}：" + (
        "\n" if one.entry is Entry.TEXT else ""
    )


def _file(path: str) -> File:
    try:
        whole = Path(path).expanduser()
        return File(whole.name, whole.read_bytes())
    except OSError as problem:
        raise UsageError(f"读不了文件 {path}：{problem.strerror}") from None


def _buttons(post: Post) -> list[Button]:
    blocks = post.card.blocks if post.card else ()
    return [one for block in blocks if isinstance(block, Buttons) for one in block.buttons]


def _forms(post: Post) -> list[Form]:
    blocks = post.card.blocks if post.card else ()
    return [block for block in blocks if isinstance(block, Form)]

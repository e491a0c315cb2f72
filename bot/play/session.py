"""A play, or a talk in the terminal, over a bot that somebody else knows how to start."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapters.port import UsageError
from adapters.webchat.link import WebChat
from adapters.words import Person
from bot import build
from bot.config import Settings
from bot.play.player import Player, Start, Started
from bot.play.script import Script, ScriptError, read
from bot.play.terminal import Descriptor, Keyboard, Terminal
from runbooks.book import Runbook
from storage.store import Store

Write = Callable[[str], None]


async def played(path: Path, start: Start, tell: Write, variables: Mapping[str, str]) -> int:
    """Play the script of that file; return 0, or 1 where a step did not come about.

    Raises ScriptError before anything is started.
    """
    script = await asyncio.to_thread(_script_at, path, variables)
    outcome = await Player(script, start, tell, folder=path.parent).play()
    return 1 if outcome.failed else 0


async def chatted(start: Start, person: Person, title: str, keys: Keyboard, write: Write) -> int:
    """Talk as that person in the chat of that title, or in their own with the bot."""
    async with start() as bot:
        web = bot.webchat
        chats = web.chats(person)
        chat = next((c for c in reversed(chats) if title in (c.id, c.title)), None)
        if chat or not title:
            talk = Terminal(web, person, chat or await web.direct(person), keys, write)
            await talk.talk()
            return 0
    # Not above: the bot's task group would wrap it.
    titles = "、".join(c.title for c in chats) or "一个也没有"
    raise UsageError(f"{person.id} 没有会话「{title}」；有的是：{titles}")


async def play(settings: Settings, path: Path, pairs: Sequence[str], tell: Write) -> int:
    """Play against a bot of these settings; each pair is `name=value`."""
    variables = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    return await played(path, lambda: _started(settings, tell), tell, variables)


async def chat(settings: Settings, who: str, title: str, write: Write) -> int:
    """Talk with a bot of these settings, from this process' standard input."""
    person = Person("web", who, who)
    with Descriptor(sys.stdin.fileno()) as keys:
        return await chatted(lambda: _started(settings, write), person, title, keys, write)


@dataclass(frozen=True, slots=True)
class _Bot:
    webchat: WebChat
    store: Store
    books: Mapping[str, Runbook[Any]]


@asynccontextmanager
async def _started(settings: Settings, tell: Write) -> AsyncIterator[Started]:
    # The pairing code of a first start is told: it would be lost otherwise.
    async with build.assembled(settings, lambda text: tell(f"{text}\n")) as bot:
        if bot.web is None:
            raise UsageError("platforms.webchat.enabled 要为 true：对话在网页聊天里进行")
        yield _Bot(bot.web, bot.store, bot.books)


def _script_at(path: Path, variables: Mapping[str, str]) -> Script:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise ScriptError(f"{path}: 读不到脚本") from None
    script = read(text, path.name)
    if unknown := set(variables) - set(script.variables):
        raise ScriptError(f"{path.name}：variables 里没有 {'、'.join(sorted(unknown))}")
    return replace(script, variables={**script.variables, **variables})

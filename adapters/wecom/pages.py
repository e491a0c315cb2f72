"""Forms that are longer than a card: each press opens a page of its own, for the presser alone.

Of the address only its SHA-256 is kept. A page is closed by what is taken from it, or by time.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from adapters.card import Form
from adapters.port import Clock, Transient
from adapters.wecom import wire
from adapters.wecom.memory import Kept
from adapters.words import Chat, Event, File, Person, Submission

OPEN_FOR = timedelta(minutes=30)
PATIENCE = 5.0
"""Seconds in which whoever sent a form waits for what came of it."""
OVER = "这个链接已经用过或已过期：请在群里重新按一次按钮"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Page:
    """A form on its page, as the file keeps it."""

    chat: str
    user: str
    form: Form


class Pages:
    """The pages that are open, whichever replica opened them. `keep` takes what was entered, durably."""

    def __init__(
        self, kept: Kept, clock: Clock, public_url: str, keep: Callable[[Event], None]
    ) -> None:
        self._kept = kept
        self._clock = clock
        self._keep = keep
        self._typed: dict[str, asyncio.Future[tuple[bool, str]]] = {}
        self.public_url = public_url

    async def open(self, chat: Chat, user: str, form: Form) -> str:
        """Open a page for one person and return its address."""
        token = secrets.token_urlsafe(32)
        page = msgspec.json.encode(_Page(chat.id, user, form)).decode()
        await self._kept.keep("form", _hash(token), page, self._clock.now())
        return f"{self.public_url}/forms/{token}"

    async def asked(self, token: str) -> Form | None:
        """Return the form of a page; None when there is none, or its time is over."""
        page = await self._page(token)
        return page.form if page else None

    async def filled(
        self, token: str, values: Mapping[str, str], files: Sequence[File]
    ) -> tuple[bool, str]:
        """Take what was entered and return what came of it: (is it done, in words).

        Raises UsageError that names what is wrong; a page that was refused can be sent again.
        """
        page = await self._page(token)
        if page is None or token in self._typed:
            return False, OVER
        told = wire.filled(page.form, values, files)
        who, chat = Person(wire.PLATFORM, page.user, page.user), Chat(wire.PLATFORM, page.chat)
        number, now = f"form:{secrets.token_hex(16)}", self._clock.now()
        event = Submission(number, chat, who, page.form.action, told, now, tuple(files))
        answer = asyncio.get_running_loop().create_future()
        self._typed[number] = self._typed[token] = answer
        try:
            self._keep(event)
            ok, text = await _answered(answer)
            if ok:
                await self._close(token)
        finally:
            del self._typed[number], self._typed[token]
        return ok, text

    def settle(self, number: str, text: str, *, ok: bool) -> None:
        """Tell on the page what came of an event that it sent."""
        typed = self._typed.get(number)
        if typed and not typed.done():
            typed.set_result((ok, text))

    async def _close(self, token: str) -> None:
        try:
            await self._kept.drop("form", _hash(token))
        except Transient as problem:  # what was sent is kept; the page ends by itself
            _log.warning("wecom_page_not_closed", reason=problem.reason)

    async def _page(self, token: str) -> _Page | None:
        found = await self._kept.get("form", _hash(token))
        if found is None or self._clock.now() - found[1] >= OPEN_FOR:
            return None
        return msgspec.json.decode(found[0], type=_Page)


async def _answered(answer: asyncio.Future[tuple[bool, str]]) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await answer
    except TimeoutError:
        return True, wire.RECEIVED


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()

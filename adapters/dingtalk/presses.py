"""Presses on the way to the inbox: each is checked against its card, and answered in time.

DingTalk delivers a press once and wants an answer within its budget; while one is not answered it
forbids an update of the same card.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from adapters.card import loads
from adapters.dingtalk import forms, wire
from adapters.dingtalk.memory import Memory
from adapters.dingtalk.wire import Press
from adapters.port import Clock, UsageError
from adapters.words import Event, Person

CONFIRM_WITHIN = timedelta(seconds=60)

Answer = tuple[str, str]
"""(text, sign) of the answer to a press."""


class Presses:
    """The presses that wait for their answers, at most `within` seconds each.

    `deliver` keeps an event for the inbox (Transient when it cannot); `has_files` tells whether a
    person has sent files for a form just now.
    """

    def __init__(
        self,
        memory: Memory,
        clock: Clock,
        deliver: Callable[[Event], None],
        has_files: Callable[[Person], bool],
        *,
        within: float,
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._deliver = deliver
        self._has_files = has_files
        self._within = within
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._answering: dict[str, int] = {}
        self._answered = asyncio.Event()
        self._asked: dict[tuple[str, str, str], datetime] = {}

    def open(self) -> None:
        """Begin in this loop."""
        self._answered = asyncio.Event()

    async def close(self, within: float) -> None:
        """Answer whatever waits, and give the answers some seconds to go out."""
        for future in self._waiting.values():
            if not future.done():
                future.set_result((wire.RECEIVED, wire.GOOD_SIGN))
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._answering:
                    self._answered.clear()
                    await self._answered.wait()

    async def take(self, press: Press, event_id: str) -> dict[str, Any]:
        """Keep a press and wait for its answer, as long as the budget has time."""
        try:
            values = self._checked(press)
        except UsageError as error:
            return wire.notice(str(error), wire.BAD_SIGN)
        if question := self._question(press):
            return wire.notice(f"{question}（再按一次确认）", wire.ASK_SIGN)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(event_id, future)
        self._answering[press.track] = self._answering.get(press.track, 0) + 1
        try:
            self._deliver(wire.event_of(press, event_id, self._clock.now(), values))
            async with asyncio.timeout(self._within):
                return wire.notice(*await asyncio.shield(self._waiting[event_id]))
        except TimeoutError:
            return wire.notice(wire.RECEIVED, wire.GOOD_SIGN)
        finally:
            self._waiting.pop(event_id, None)
            asyncio.get_running_loop().call_soon(self._over, press.track)

    def answer(self, event_id: str, text: str, sign: str) -> bool:
        """Answer a press; False when none of that id waits."""
        future = self._waiting.get(event_id)
        if future and not future.done():
            future.set_result((text, sign))
        return future is not None

    async def until_answered(self, out_track: str) -> None:
        """Wait until no press of that card is unanswered."""
        while self._answering.get(out_track):
            self._answered.clear()
            await self._answered.wait()

    def _over(self, out_track: str) -> None:
        self._answering[out_track] -= 1
        if not self._answering[out_track]:
            del self._answering[out_track]
        self._answered.set()

    def _checked(self, press: Press) -> dict[str, str] | None:
        """Return the values of a form, all of them; UsageError when the card has nothing such.

        A card that another replica has drawn is not known here: then the inbox alone judges.
        """
        known = self._memory.get("card", press.track)
        if known is None:
            return None if press.values is None else dict(press.values)
        card = loads(known)
        if press.values is None:
            if forms.has_button(card, press.action) is None:
                raise UsageError(wire.STALE)
            return None
        form = forms.find_form(card, press.action)
        if form is None:
            raise UsageError(wire.STALE_FORM)
        return forms.fill(form, press.values, files=self._has_files(press.sender))

    def _question(self, press: Press) -> str:
        """Return what is to be asked before this press counts; "" when it was asked already.

        The dynamic buttons of a template have no dialog of their own.
        """
        known = self._memory.get("card", press.track)
        button = forms.has_button(loads(known), press.action) if known else None
        if press.values is not None or button is None or not button.confirm:
            return ""
        now, mark = self._clock.now(), (press.track, press.action, press.sender.id)
        asked = self._asked.pop(mark, None)
        if asked and now - asked <= CONFIRM_WITHIN:
            return ""
        self._asked = {m: at for m, at in self._asked.items() if now - at <= CONFIRM_WITHIN}
        self._asked[mark] = now
        return button.confirm

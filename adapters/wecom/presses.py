"""Presses on cards. A press is the one moment in which its card can be replaced: so it is answered in
time, whatever the rest of the program does, and what is lost of the answer is only how the card looks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from adapters.card import Button, Buttons, Card, Form, loads
from adapters.port import Clock, OutsideError, Transient
from adapters.wecom import wire
from adapters.wecom.app import App
from adapters.wecom.memory import Kept, Memory
from adapters.wecom.pages import OPEN_FOR, Pages
from adapters.wecom.socket import Socket
from adapters.words import Event

BUDGET = 5.0
"""Seconds after a press in which its card can be replaced (101027)."""
MARGIN = 1.0
REMEMBERED = 500
"""Presses that count, of which a second one is known."""
CODE = "code:"
"""Before a one-time update code, where a press came by the app."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Pressed:
    """A press whose card waits to be replaced."""

    req: str
    user: str
    card: wire.Json
    key: str

    @property
    def deed(self) -> tuple[str, str, str]:
        """What was pressed, and by whom: a second press of it is the same one."""
        return self.card["task_id"], self.key, self.user


class Presses:
    """The presses that wait for their answer. `keep` takes a deed, durably; `spawn` runs work beside."""

    def __init__(
        self,
        memory: Memory,
        kept: Kept,
        pages: Pages,
        socket: Socket,
        *,
        app: App | None,
        clock: Clock,
        keep: Callable[[Event], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._memory = memory
        self._kept = kept
        self._pages = pages
        self._socket = socket
        self._app = app
        self._clock = clock
        self._keep = keep
        self._spawn = spawn
        self._waiting: dict[str, list[_Pressed]] = {}
        """By their event: a press, and those that repeat it before it is answered."""
        self._under_way: dict[tuple[str, str, str], str] = {}
        self._counted: dict[tuple[str, str, str], str] = {}
        """What came of the last presses that count."""

    def take(self, req: str, pressed: wire.Press) -> None:
        """Take a press on a card of ours; one that another replica has drawn is looked up first."""
        if pressed.key == wire.OVER:
            return
        if found := self._memory.get("card", pressed.task):
            self._act(req, pressed, found[0])
        elif self._kept.shares:
            self._spawn(self._pressed_there(req, pressed))

    async def _pressed_there(self, req: str, pressed: wire.Press) -> None:
        try:
            found = await self._kept.get("card", pressed.task)
        except Transient as problem:
            _log.warning("wecom_press_lost", reason=problem.reason)
            return
        if found:
            self._act(req, pressed, found[0])

    def _act(self, req: str, pressed: wire.Press, drawn: str) -> None:
        """Answer what only leads to another card; keep what is a deed, and answer it in time."""
        _, card, told = json.loads(drawn)
        here = _Pressed(req, pressed.sender.id, card, pressed.key)
        neutral = loads(told)
        button = _button(neutral, pressed.key)
        if pressed.key == wire.BACK:
            self._spawn(self._replace(here, card, alone=True))
        elif button and button.confirm:
            self._spawn(self._replace(here, wire.ask_again(card, button), alone=True))
        elif form := _form(neutral, pressed.key):
            self._spawn(self._to_page(here, pressed, form))
        elif event := wire.acted(pressed):
            self._deed(here, event)

    def _deed(self, here: _Pressed, event: Event) -> None:
        """Keep a deed; one that repeats another is answered as that one is, and is no deed."""
        if text := self._counted.get(here.deed):
            self._spawn(self._replace(here, wire.confirmed(here.card, text), alone=False))
        elif number := self._under_way.get(here.deed):
            self._waiting[number].append(here)
        else:
            self._spawn(self._in_time(event.id))
            self._keep(event)  # what cannot be kept is told again, and is then no repetition
            self._under_way[here.deed] = event.id
            self._waiting[event.id] = [here]

    async def _to_page(self, here: _Pressed, pressed: wire.Press, form: Form) -> None:
        try:
            url = await self._pages.open(pressed.chat, here.user, form)
        except Transient as problem:
            await self._replace(here, wire.refused(here.card, problem.reason), alone=True)
            return
        card = wire.to_page(here.card, form, url, int(OPEN_FOR.total_seconds() // 60))
        await self._replace(here, card, alone=True)

    async def _in_time(self, number: str) -> None:
        await self._clock.sleep(BUDGET - MARGIN)
        await self.settle(number, wire.RECEIVED, ok=True)

    async def settle(self, number: str, text: str, *, ok: bool) -> None:
        """Say what came of a press: to everybody when it counts, to its presser alone when not. One
        that was answered already is left as it is."""
        for here in self._waiting.pop(number, ()):
            self._under_way.pop(here.deed, None)
            if ok:
                self._count(here, text)
            card = wire.confirmed(here.card, text) if ok else wire.refused(here.card, text)
            await self._replace(here, card, alone=not ok)

    def _count(self, here: _Pressed, text: str) -> None:
        self._counted[here.deed] = text
        for old in list(self._counted)[:-REMEMBERED]:
            del self._counted[old]

    async def _replace(self, here: _Pressed, card: wire.Json, *, alone: bool) -> None:
        """Replace a card in answer to its press; what is lost here is only how it looks."""
        try:
            if self._app and here.req.startswith(CODE):
                await self._app.update(here.req.removeprefix(CODE), card)
                return
            body = wire.update(card, here.user if alone else "")
            await self._socket.call(
                "aibot_respond_update_msg", body, req=here.req, doing="更新卡片"
            )
        except OutsideError as problem:
            _log.warning("wecom_card_not_replaced", reason=problem.reason)

    async def settle_all(self) -> None:
        """Tell who pressed and was not answered that it is kept."""
        for number in tuple(self._waiting):
            await self.settle(number, wire.RECEIVED, ok=True)


def _button(card: Card, key: str) -> Button | None:
    buttons = [b for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]
    return next((b for b in buttons if f"{wire.PRESS}{b.action}" == key), None)


def _form(card: Card, key: str) -> Form | None:
    forms = [block for block in card.blocks if isinstance(block, Form)]
    return next((form for form in forms if f"{wire.ASK}{form.action}" == key), None)

"""What channels that only speak have in common: nobody can press, answer or type there.

Where such a channel cannot do what the port asks, it says so with `Permanent`; where the port asks
for what people do, it waits until it is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Self

from adapters.card import Block, Button, Buttons, Card, Form, Style, Text
from adapters.port import Fault, Permanent, Redraw
from adapters.words import Chat, Click, Event, Person, Receipt, Submission

NOBODY: tuple[Event, ...] = ()


class OneWay:
    """The half of the port that is the same for every channel that only speaks."""

    title = ""
    """The channel in people's words."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._closed.clear()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closed.set()

    async def events(self) -> AsyncIterator[Event]:
        """Yield nothing until it is closed."""
        await self._closed.wait()
        for event in NOBODY:
            yield event

    async def answer(
        self, event: Click | Submission, text: str, *, ok: bool, redraw: Redraw | None = None
    ) -> None:
        """Do nothing: there is nothing to press."""

    async def edit(self, receipt: Receipt, card: Card) -> Receipt:
        """Raise Permanent: what is out is out, and the sender says it anew."""
        raise Permanent(f"{self.title}发出后不能修改", fault=Fault.REFUSED)

    async def open_chat(self, title: str, members: Sequence[Person], *, key: str) -> Chat:
        """Raise Permanent: there are no groups."""
        raise Permanent(f"{self.title}不能建群", fault=Fault.REFUSED)


def readable(card: Card) -> Card:
    """Return the card without what cannot be done where it is read: of buttons the links stay, and
    a line says where the rest is."""
    blocks = [part for block in card.blocks for part in _readable(block)]
    return replace(card, blocks=tuple(blocks))


def _readable(block: Block) -> tuple[Block, ...]:
    match block:
        case Buttons(buttons):
            links = tuple(button for button in buttons if button.url)
            left = [button for button in buttons if not button.url]
            kept: tuple[Block, ...] = (Buttons(links),) if links else ()
            return (*kept, _elsewhere(left)) if left else kept
        case Form(submit=submit):
            return (_elsewhere([Button(submit)]),)
        case _:
            return (block,)


def _elsewhere(buttons: Sequence[Button]) -> Text:
    labels = "、".join(f"「{button.label}」" for button in buttons)
    return Text(f"请到群里操作：{labels}", Style.QUIET)

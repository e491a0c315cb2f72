"""Where a platform has no room for a card: its charts grow lighter first, then what stands whole
elsewhere is listed shorter, and the names that a monitor wrote are cut last. No line is left out
that nothing else counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from adapters.card import Block, Card, Fields, Style, Table, Text
from adapters.chart import Chart, brief, words
from adapters.port import Permanent

Drawn = TypeVar("Drawn")

ANY = 10_000
"""More characters than any name has."""

TAIL = 7
"""Characters that are kept of a long name's end: a host's number stands there, or a count."""

_PARTS = re.compile(r"(\n|(?<=\d:\d\d) | · |：|、)")
"""What stands between the names of a line, and after its time."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a card may take: rows of a table, characters of a name in what stands whole elsewhere
    (`listed`), and in all other words (`named`)."""

    rows: int
    listed: int
    named: int = ANY


ROOMS = (Room(3, ANY), Room(1, 24), Room(0, 12), Room(0, 12, 40), Room(0, 12, 28), Room(0, 12, 20))
"""From wide to narrow; with the last, 12 signs of five bytes each are still known by both ends."""


def fitted(card: Card, draw: Callable[[Card], Drawn]) -> Drawn:
    """Draw the card; where that is Permanent, draw it lighter and lighter. Raises what the lightest
    one raises."""
    *heavy, lightest = lighter(card)
    for tried in heavy:
        try:
            return draw(tried)
        except Permanent:  # the lightest one says what is wrong, if it is not the room
            continue
    return draw(lightest)


def lighter(card: Card) -> tuple[Card, ...]:
    """Return the card as it is, and the same one lighter and lighter: with its charts in words, in
    a line each, and then, if it says where it stands whole, shorter in each of ROOMS."""
    cards = [card]
    if any(isinstance(block, Chart) for block in card.blocks):
        cards += [_said(card, words), _said(card, brief)]
    if any(isinstance(block, Text | Table) and block.full for block in card.blocks):
        cards += [_short(cards[-1], room) for room in ROOMS]
    return tuple(cards)


def _said(card: Card, say: Callable[[Chart], str]) -> Card:
    blocks = (Text(say(block)) if isinstance(block, Chart) else block for block in card.blocks)
    return replace(card, blocks=tuple(blocks))


def _short(card: Card, room: Room) -> Card:
    return replace(card, blocks=tuple(each for block in card.blocks for each in _cut(block, room)))


def _cut(block: Block, room: Room) -> Iterator[Block]:
    match block:
        case Table(rows=rows, full=full) if full:
            kept = tuple(tuple(_names(cell, room.listed) for cell in row) for row in rows)
            if room.rows:
                yield replace(block, rows=kept[: room.rows])
            if left := len(rows[room.rows :]):
                yield Text(f"另有 {left} 行，{full}", Style.QUIET, full)
        case Text(text, full=full) if full:
            yield replace(block, text=_names(text, room.listed))
        case Text(text, Style.PLAIN):
            yield replace(block, text=_names(text, room.named))
        case Fields(pairs):
            yield Fields(tuple((label, _names(value, room.named)) for label, value in pairs))
        case _:
            yield block


def _names(text: str, most: int) -> str:
    """Return a text with the middle of each long name left out; an address is of no use then."""
    return "".join(
        part if len(part) <= most or "://" in part else f"{part[: most - TAIL - 1]}…{part[-TAIL:]}"
        for part in _PARTS.split(text)
    )

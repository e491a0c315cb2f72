"""A living card where nothing can be edited later: a stream while one is open, then what is new.

What somebody must act on is said at once; what merely went on is gathered into a digest, and a card
that is an overview is said again now and then. All of it is always to be had by /status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from adapters.card import (
    Block,
    Buttons,
    Card,
    Checklist,
    Fields,
    Form,
    Item,
    Mark,
    Progress,
)
from adapters.port import ChatPlatform, Permanent, Streaming
from adapters.words import Receipt
from runbooks.alerting.incident_cards import NEXT_CALL
from runbooks.alerting.storm_cards import LAST_MINUTE
from storage.records import Delivery, Lane, LivingCard

DIGEST = timedelta(seconds=30)
"""Between two posts of what merely went on in a procedure."""
OVERVIEW = timedelta(minutes=1)
"""Between two posts of a card that has no steps."""
PRESSING = timedelta(seconds=20)
"""The same where it can be pressed, or alarms: a new critical has a message of its own besides,
which says it at once."""
Kept = TypeVar("Kept")
REMEMBERED = 2000
"""Cards of which it is remembered what was told, those told last: of one that is over nobody asks any more,
and a year of them would fill a gigabyte."""
PASSING = frozenset({NEXT_CALL, LAST_MINUTE})
"""Names of fields that change by themselves: a message of its own says what they are about."""
SETTLED = frozenset({Mark.DONE, Mark.SKIPPED, Mark.WAITING, Mark.FAILED})


@dataclass(frozen=True, slots=True)
class _Told:
    """What the chat was last told of a card, when, and the stream that still shows it."""

    card: Card
    at: datetime
    stream: Receipt | None = None


def remember(kept: dict[str, Kept], key: str, value: Kept) -> None:
    """Keep a value for a card, and of all only those that were kept last."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > REMEMBERED:
        del kept[next(iter(kept))]


class Teller:
    """Remembers what each chat was told of the cards that were told last. What a restart forgets, or so
    many others since, is told whole once more."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def due(self, entry: Delivery, living: LivingCard, card: Card, now: datetime) -> bool:
        """Is it time to say something, or may it wait for a digest?"""
        told = self._known(living)
        if told is None or told.stream or urgent(told.card, card):
            return True
        alarm = entry.lane is Lane.ALARM
        if _items(card):
            return alarm or now - told.at >= DIGEST
        return now - told.at >= (PRESSING if alarm or _asking(card) else OVERVIEW)

    def speaks(self, living: LivingCard, card: Card) -> bool:
        """Does showing it say anything? What is no news costs nothing."""
        told = self._known(living)
        return told is None or told.stream is not None or news(told.card, card) is not None

    async def show(
        self, living: LivingCard, card: Card, platform: ChatPlatform, key: str, now: datetime
    ) -> Receipt:
        """Say what is new, if anything is; raises what the platform raises."""
        told = self._known(living)
        stream = await _redrawn(told.stream, card, platform) if told and told.stream else None
        if told and stream and not urgent(told.card, card):
            self._remember(living, _Told(card, now, stream))
            return stream
        part = news(told.card, card) if told else card
        if told and part is None:
            self._remember(living, replace(told, card=card, stream=None))
            return Receipt(living.chat, living.receipt)
        if stream is None and isinstance(platform, Streaming) and not _asking(card):
            stream = await platform.open_stream(living.chat, card, key=f"{key}~stream")
            if stream:
                self._remember(living, _Told(card, now, stream))
                return stream
        receipt = await platform.send(living.chat, part or card, key=key)
        self._remember(living, _Told(card, now, stream))
        return receipt

    def _remember(self, living: LivingCard, told: _Told) -> None:
        remember(self._told, living.key, told)

    def _known(self, living: LivingCard) -> _Told | None:
        return self._told.get(living.key) if living.receipt else None


async def _redrawn(stream: Receipt, card: Card, platform: ChatPlatform) -> Receipt | None:
    """Go on with a stream; None when it is over."""
    try:
        return await platform.edit(stream, card)
    except Permanent:
        return None


def urgent(before: Card, after: Card) -> bool:
    """Did a card begin to ask for something, ask for something else, or change its colour? An
    overview has its buttons all the time: of what it shows nothing asks."""
    if before.tone != after.tone:
        return True
    if not _items(after):
        return _asking(after) and not _asking(before)
    return _asking(after) and _rest(before) != _rest(after)


def news(before: Card, after: Card) -> Card | None:
    """Return the card of what is new since `before`; None when nothing is that people wait for."""
    known = {(item.level, item.title): item for item in _items(before)}
    items = tuple(
        item
        for item in _items(after)
        if item.mark in SETTLED and known.get((item.level, item.title)) != item
    )
    rest = _rest(after)
    said = rest if urgent(before, after) else tuple(b for b in rest if b not in _rest(before))
    if not items and not said and before.tone == after.tone:
        return None
    if not _items(after):
        return after  # an overview is said whole: one message tells all, and can be pressed
    standing = tuple(block for block in after.blocks if isinstance(block, (Progress, Fields)))
    list_ = (Checklist(items),) if items else ()
    return replace(after, blocks=(*standing, *list_, *said))


def _items(card: Card) -> tuple[Item, ...]:
    lists = (block for block in card.blocks if isinstance(block, Checklist))
    return tuple(item for block in lists for item in block.items)


def _rest(card: Card) -> tuple[Block, ...]:
    """Return the blocks that say more than how far it has come, without what only goes on."""
    standing = (Progress, Fields, Checklist) if _items(card) else ()
    return tuple(_lasting(block) for block in card.blocks if not isinstance(block, standing))


def _lasting(block: Block) -> Block:
    if not isinstance(block, Fields):
        return block
    return replace(block, pairs=tuple(pair for pair in block.pairs if pair[0] not in PASSING))


def _asking(card: Card) -> bool:
    buttons = [b for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]
    return any(b.action for b in buttons) or any(isinstance(b, Form) for b in card.blocks)

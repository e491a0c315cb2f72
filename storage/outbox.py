"""Everything that is to be said, written in the transaction of the fact that caused it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Chat, Receipt
from storage.records import Delivery, DeliveryState, Lane, LivingCard
from storage.rows import parts, to_record, to_row
from storage.tables import living_cards, outbox

LET_PASS = 5
"""Tries after which an alarm that cannot be said lets the others of its chat pass: one that the
platform never takes must not keep all later ones."""


class Outbox:
    """The queue of each chat."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, delivery: Delivery) -> bool:
        """Add an entry (`id` is ignored); False when one with its key is there already. One that was
        withdrawn makes room."""
        known = await self._db.scalar(sa.select(outbox.c.state).where(outbox.c.key == delivery.key))
        if known == str(DeliveryState.WITHDRAWN):
            await self._db.execute(sa.delete(outbox).where(outbox.c.key == delivery.key))
        elif known is not None:
            return False
        row = to_row(delivery)
        del row["id"]
        await self._db.execute(sa.insert(outbox).values(row))
        return True

    async def mark(
        self,
        key: str,
        chat: Chat,
        at: datetime,
        *,
        lane: Lane = Lane.PROGRESS,
        due: datetime | None = None,
        put_off: bool = False,
    ) -> LivingCard:
        """Mark a living card dirty: its version counts up, and one entry waits to draw it.

        Marks never pile up: while an entry waits, another mark only raises the version, and brings
        it forward when it is more urgent. With `due` it is not drawn before; with `put_off` neither
        is what waits for an earlier instant.
        """
        card = await self.living(key)
        if card is None:
            card = LivingCard(key, chat, version=1)
            await self._db.execute(sa.insert(living_cards).values(to_row(card)))
        else:
            card = replace(card, version=card.version + 1)
            await self._save(card)
        waiting = await self._waiting(key)
        if waiting is None:
            await self.put(
                Delivery(
                    id=0,
                    key=f"{key}#{card.version}",
                    chat=card.chat,
                    lane=lane,
                    state=DeliveryState.WAITING,
                    at=at,
                    living=key,
                    due=due,
                )
            )
        elif put_off and due and waiting.due and not waiting.tries:
            await self.save(replace(waiting, due=max(due, waiting.due)))
        elif lane is Lane.ALARM or (waiting.due and not waiting.tries):
            sooner = due if due and waiting.due and due < waiting.due else waiting.due
            await self._db.execute(
                sa.update(outbox)
                .where(outbox.c.id == waiting.id)
                # The instant tells the sender, who may be drawing just now, of the urgency.
                .values(lane=_first(lane, waiting.lane), due=sooner if due else None, at=at)
            )
        return card

    async def withdraw(self, key: str) -> bool:
        """Take back a living card that was never shown; False when it was, or nothing waits."""
        card = await self.living(key)
        if card is None or card.drawn:
            return False
        gone = await self._db.execute(
            sa.delete(outbox).where(
                (outbox.c.living == key) & (outbox.c.state == str(DeliveryState.WAITING))
            )
        )
        return gone.rowcount > 0

    async def begun(self, key: str) -> bool:
        """Was a living card ever shown or tried to be, or does it wait for that?"""
        card = await self.living(key)
        if card is None or card.drawn:
            return card is not None
        entry = await self._db.scalar(sa.select(outbox.c.id).where(outbox.c.living == key).limit(1))
        return entry is not None

    async def waiting(self, keys: Sequence[str]) -> Sequence[str]:
        """Return which of these entries have yet to go out."""
        found: list[str] = []
        for part in parts(keys):
            there = outbox.c.key.in_(part) & (outbox.c.state == str(DeliveryState.WAITING))
            found += await self._db.scalars(sa.select(outbox.c.key).where(there))
        return found

    async def recall(self, keys: Sequence[str], reason: str) -> None:
        """Withdraw entries that wait, so that they are not said. One that is on its way just now
        cannot be called back: the sender notes that it was said, and never tries it again."""
        for part in parts(keys):
            there = outbox.c.key.in_(part) & (outbox.c.state == str(DeliveryState.WAITING))
            gone = {"state": str(DeliveryState.WITHDRAWN), "reason": reason, "due": None}
            await self._db.execute(sa.update(outbox).where(there).values(gone))

    async def _waiting(self, key: str) -> Delivery | None:
        rows = await self._db.execute(
            sa.select(outbox).where(
                (outbox.c.living == key) & (outbox.c.state == str(DeliveryState.WAITING))
            )
        )
        found = rows.mappings().first()
        return to_record(Delivery, found) if found else None

    async def move(self, key: str, chat: Chat) -> None:
        """Have a living card drawn in another chat from now on; the old one stays as it is."""
        place = {"chat_platform": chat.platform, "chat_id": chat.id, "chat_title": chat.title}
        await self._db.execute(
            sa.update(living_cards).where(living_cards.c.key == key).values(**place, receipt="")
        )
        await self._db.execute(
            sa.update(outbox)
            .where((outbox.c.living == key) & (outbox.c.state == str(DeliveryState.WAITING)))
            .values(place)
        )

    async def living(self, key: str) -> LivingCard | None:
        row = await self._db.execute(sa.select(living_cards).where(living_cards.c.key == key))
        found = row.mappings().first()
        return to_record(LivingCard, found) if found else None

    async def shown_as(self, receipt: Receipt) -> str:
        """Return the key of the living card that a message shows; empty when it shows none."""
        place = (living_cards.c.chat_platform, living_cards.c.chat_id, living_cards.c.receipt)
        found = await self._db.scalar(
            sa.select(living_cards.c.key).where(
                sa.tuple_(*place) == (receipt.chat.platform, receipt.chat.id, receipt.id)
            )
        )
        return found or ""

    async def drawn(self, key: str, version: int, receipt: str) -> None:
        """Note which version the chat now shows, and what to edit next time."""
        card = await self.living(key)
        assert card is not None
        await self._save(replace(card, drawn=max(version, card.drawn), receipt=receipt))

    async def heads(self, now: datetime) -> Sequence[Delivery]:
        """Return, for each chat that has something due, its next entry.

        Alarms go before the rest, the rest in the order in which it was written; an entry that
        backs off holds back its own lane only, and an alarm not even that after `LET_PASS` tries;
        one whose time has yet to come holds back none.
        """
        passed = (outbox.c.lane == str(Lane.ALARM)) & (outbox.c.tries >= LET_PASS)
        waiting = (outbox.c.state == str(DeliveryState.WAITING)) & (
            outbox.c.due.is_(None) | (outbox.c.due <= now) | (outbox.c.tries > 0)
        )
        order = (
            # After the others, and of these the one whose turn comes first.
            sa.case((passed, outbox.c.due)).asc().nulls_first(),
            # What is said once goes before a card that is drawn again and again.
            outbox.c.due.desc().nulls_last(),
            outbox.c.living != "",
            outbox.c.id,
        )
        first = (
            sa.select(
                outbox,
                sa.func.row_number()
                .over(
                    partition_by=(outbox.c.chat_platform, outbox.c.chat_id, outbox.c.lane),
                    order_by=order,
                )
                .label("place"),
            )
            .where(waiting)
            .subquery()
        )
        ready = (first.c.place == 1) & (first.c.due.is_(None) | (first.c.due <= now))
        rank = sa.case(
            {str(Lane.ALARM): 0, str(Lane.NORMAL): 1, str(Lane.PROGRESS): 2}, value=first.c.lane
        )
        rows = await self._db.execute(sa.select(first).where(ready).order_by(rank, first.c.id))
        heads: dict[Chat, Delivery] = {}
        for row in rows.mappings():
            delivery = to_record(Delivery, row)
            heads.setdefault(delivery.chat, delivery)
        return list(heads.values())

    async def next_due(self, after: datetime) -> datetime | None:
        """Return when the next entry's time comes that has yet to come; None when there is none."""
        found: datetime | None = await self._db.scalar(
            sa.select(sa.func.min(outbox.c.due)).where(
                (outbox.c.state == str(DeliveryState.WAITING)) & (outbox.c.due > after)
            )
        )
        return found

    async def latest(self, count: int) -> Sequence[Delivery]:
        """Return the entries that were written last, the newest first."""
        rows = await self._db.execute(sa.select(outbox).order_by(outbox.c.id.desc()).limit(count))
        return [to_record(Delivery, r) for r in rows.mappings()]

    async def tally(self) -> dict[DeliveryState, int]:
        """Count the entries by their state."""
        rows = await self._db.execute(
            sa.select(outbox.c.state, sa.func.count()).group_by(outbox.c.state)
        )
        return dict.fromkeys(DeliveryState, 0) | {DeliveryState(s): n for s, n in rows}

    async def save(self, delivery: Delivery) -> None:
        """Keep what became of an entry."""
        row = to_row(delivery)
        number = row.pop("id")
        await self._db.execute(sa.update(outbox).where(outbox.c.id == number).values(row))

    async def by_key(self, key: str) -> Delivery | None:
        row = (await self._db.execute(sa.select(outbox).where(outbox.c.key == key))).mappings()
        found = row.first()
        return to_record(Delivery, found) if found else None

    async def _save(self, card: LivingCard) -> None:
        row = to_row(card)
        key = row.pop("key")
        await self._db.execute(sa.update(living_cards).where(living_cards.c.key == key).values(row))


def _first(one: Lane, other: Lane) -> Lane:
    """Return the more urgent lane."""
    order = tuple(Lane)
    return min(one, other, key=order.index)

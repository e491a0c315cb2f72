"""Drains the outbox: the only way out to a chat.

One entry per chat at a time, in order. A living card is drawn from the present state when its
turn comes, so it can be neither stale nor pile up. Back-off lives here alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from adapters.card import Card, Tone, dumps, loads, plain, say
from adapters.port import (
    ChatPlatform,
    Clock,
    Exclusive,
    Fault,
    InDoubt,
    Metered,
    Permanent,
    Relay,
    Transient,
    speaks_here,
)
from adapters.words import Chat, File, Receipt
from bot.budget import Budget, gap
from bot.living import Teller, remember
from runbooks import reach
from runbooks.alerting.oncall import ladder
from storage.records import AGAIN, Delivery, DeliveryState, Lane, LivingCard
from storage.replicas import Turns
from storage.store import DatabaseAway, Store, Unit

BACK_OFF = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before the next try, where the platform names no time."""

ASK_AGAIN = 3600.0
"""Seconds before a card that can wait is looked at again, where calls are saved for alarms."""

ASK_TURN = timedelta(seconds=2)
"""How long a chat in which another replica speaks is left alone."""

LONG_AGO = datetime.min.replace(tzinfo=UTC)

DOUBTED = "（可能重复）"

BROKEN = "broken:"
"""How the keys begin of what is told of entries that were given up for a fault of ours."""

log = structlog.get_logger()

Draw = Callable[[str, Unit], Awaitable[Card]]
"""(key of a living card, a view of what we remember) -> the card as it is now."""

Make = Callable[[str, Unit], Awaitable[File]]
"""(key of a paper, a view of what we remember) -> the file as it is now."""


async def no_paper(key: str, _: Unit) -> File:
    """Make nothing: for who sends no papers."""
    raise Permanent(f"没有这份文件：{key}", fault=Fault.REFUSED)


class Sender:
    """The one who speaks. `chats` are the platforms by name."""

    def __init__(
        self,
        store: Store,
        chats: Mapping[str, ChatPlatform],
        draw: Draw,
        clock: Clock,
        make: Make = no_paper,
        turns: Turns | None = None,
    ) -> None:
        self._store = store
        self._chats = chats
        self._draw = draw
        self._make = make
        self._clock = clock
        self._turns = turns
        """Set where other replicas speak, too."""
        self._elsewhere: dict[Chat, datetime] = {}
        """Chats in which another replica speaks, and when to ask again."""
        self._budget = Budget()
        self._teller = Teller()
        self._since = clock.now()
        self._drawn: dict[str, datetime] = {}
        self._gathering: set[str] = set()
        """Living cards that wait for their digest: not even an alarm is looked at all the time."""
        self._doubted: set[str] = set()
        """Living cards whose last post perhaps arrived: the next one says so."""
        self._broken: set[str] = set()
        """Entries that have once met a fault of ours."""
        self._busy: set[Chat] = set()

    async def drain(self) -> int:
        """Send what is due until nothing may go out; return how many entries had their turn.

        A chat has one entry under way at a time, and none waits for another chat's platform.
        """
        turns = 0
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                self._store.changed.clear()
                for head in await self._heads():
                    self._busy.add(head.chat)
                    under_way.add(group.create_task(self._turn(head)))
                if not under_way:
                    return turns
                news = group.create_task(self._news())
                await asyncio.wait({news, *under_way}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                turns += sum(task.done() for task in under_way)
                under_way = {task for task in under_way if not task.done()}

    async def _heads(self) -> list[Delivery]:
        # Asked before the look: a turn that ends meanwhile leaves its old head in what we read.
        busy, now = frozenset(self._busy), self._clock.now()
        async with self._store.view() as unit:
            heads = await unit.outbox.heads(now)
        self._elsewhere = {chat: at for chat, at in self._elsewhere.items() if at > now}
        busy |= self._elsewhere.keys()
        return [head for head in heads if head.chat not in busy and self._may(head, now)]

    async def _turn(self, head: Delivery) -> None:
        try:
            if await self._ours(head):
                await self._deliver(head)
        except DatabaseAway:
            raise  # no entry is at fault: whoever starts us again finds them where they were
        except Exception as error:
            log.exception("entry not delivered", key=head.key)
            await self._stumbled(head, type(error).__name__)
        finally:
            self._busy.discard(head.chat)

    async def _ours(self, head: Delivery) -> bool:
        """Is it our turn in the chat, and has no other replica said it meanwhile?"""
        platform = self._chats.get(head.chat.platform)
        if self._turns is None or isinstance(platform, Exclusive):
            return True
        if not await self._turns.take(head.chat):
            self._elsewhere[head.chat] = self._clock.now() + ASK_TURN
            return False
        async with self._store.view() as unit:
            there = await unit.outbox.by_key(head.key)
        return there is not None and there.state is DeliveryState.WAITING

    async def _news(self) -> None:
        await self._store.changed.wait()

    def _may(self, entry: Delivery, now: datetime) -> bool:
        """Are we the one to say it, is there room in the chat's budget, and was a living card left
        in peace long enough? An alarm waits for no peace."""
        platform = self._chats.get(entry.chat.platform)
        if platform and not speaks_here(platform):
            return False
        limit = platform.can.per_chat_per_minute if platform else 1
        early = now - self._drawn.get(entry.living, LONG_AGO) < gap(limit)
        alarm = entry.lane is Lane.ALARM and entry.living not in self._gathering
        if entry.living and early and not alarm:
            return False
        edit, hourly = bool(entry.living), platform.can.per_chat_per_hour if platform else 0
        return self._budget.allows(entry.chat, entry.lane, limit, now, edit=edit, per_hour=hourly)

    async def _deliver(self, entry: Delivery) -> None:
        platform = self._chats.get(entry.chat.platform)
        if platform is None:
            name = reach.NAMES.get(entry.chat.platform, entry.chat.platform)
            await self._fail(entry, f"机器人没有启用「{name}」")
            return
        if entry.gathering:
            entry = await self._taken(entry)
        if not entry.living:
            self._budget.spend(entry.chat, self._clock.now())
        try:
            if entry.living:
                remember(self._drawn, entry.living, self._clock.now())
                await self._redraw(entry, platform)
            else:
                receipt = await _say(await self._made(entry), platform)
                self._charge(receipt)
                await self._sent(entry, receipt)
        except Transient as error:
            if speaks_here(platform):  # else another replica has taken over, and the entry with it
                await self._later(entry, error)
        except Permanent as error:
            await self._refused(entry, platform, error.reason)
        except InDoubt as error:
            await self._doubt(entry, error.reason)

    async def _made(self, entry: Delivery) -> Delivery:
        """Return the entry with its paper, which is kept nowhere."""
        if not entry.paper:
            return entry
        async with self._store.view() as unit:
            file = await self._make(entry.paper, unit)
        return replace(entry, file_name=file.name, file=file.content)

    async def _refused(self, entry: Delivery, platform: ChatPlatform, reason: str) -> None:
        """Fail; yet an alarm that its chat cannot have is told to our own people, if they can be."""
        alarm = entry.lane is Lane.ALARM and entry.card and not entry.ring
        if not alarm or not isinstance(platform, Relay) or await self._withdrawn(entry):
            await self._fail(entry, reason)
            return
        async with self._store.view() as unit:
            customer = await unit.customers.of_chat(entry.chat)
        whose = f"客户「{customer.name}」的群" if customer else entry.chat.title or entry.chat.id
        text = f"代发给{whose}，那里发不出去：{reason}\n{plain(loads(entry.card))}"
        try:
            receipt = await platform.relay(text, key=entry.key)
        except Transient as error:
            await self._later(entry, error)
        except Permanent:
            await self._fail(entry, reason)
        except InDoubt as error:
            await self._doubt(entry, error.reason)
        else:
            await self._sent(entry, receipt, f"已代发给内部人员：{reason}")

    async def _taken(self, entry: Delivery) -> Delivery:
        """Return an entry that has gathered as it is now, and let nothing more come to it: what was
        added while it is on its way would be said by nobody."""
        async with self._store.unit() as unit:
            taken = replace(await unit.outbox.by_key(entry.key) or entry, due=None)
            await unit.outbox.save(taken)
        return taken

    async def _redraw(self, entry: Delivery, platform: ChatPlatform) -> None:
        async with self._store.view() as unit:
            living = await unit.outbox.living(entry.living)
            assert living is not None
            card = await self._draw(entry.living, unit)
        now, edits = self._clock.now(), platform.can.can_edit
        if edits and living.receipt:
            _spare(entry, platform)
        if not edits and not self._teller.due(entry, living, card, now):
            self._gathering.add(entry.living)
            return  # it waits for its digest, and is looked at again after its pause
        self._gathering.discard(entry.living)
        if edits or self._teller.speaks(living, card):
            self._budget.spend(entry.chat, now)
        if entry.living in self._doubted and not (edits and living.receipt):
            card = replace(card, title=card.title + DOUBTED)
        if edits:
            # Tried before us, by a process that may have been killed in the middle.
            tried = entry.tries > 0 or entry.at < self._since
            receipt = await _show(entry, living, card, platform, tried=tried)
        else:
            anew = f"{living.key}#{living.version}" if living.receipt else entry.key
            receipt = await self._teller.show(living, card, platform, anew, now)
        self._doubted.discard(entry.living)
        self._charge(receipt)
        async with self._store.unit() as unit:
            await unit.outbox.drawn(entry.living, living.version, receipt.id)
            present = await unit.outbox.living(entry.living)
            assert present is not None
            # A fact that came while we drew found this entry waiting and added none of its own.
            stale = present.version > living.version
            state = DeliveryState.WAITING if stale else DeliveryState.SENT
            # Read again: such a fact may be more urgent than the one that we drew for, or less.
            waiting = await unit.outbox.by_key(entry.key) or entry
            lane = waiting.lane if waiting.at != entry.at else Lane.PROGRESS
            at = self._clock.now()
            sent = replace(waiting, lane=lane, state=state, receipt=receipt.id, sent_at=at)
            await unit.outbox.save(replace(sent, tries=0, due=None))

    def _charge(self, receipt: Receipt) -> None:
        """Spend what something took beyond the one message that it was let go for."""
        self._budget.spend(receipt.chat, self._clock.now(), receipt.messages - 1)

    async def _sent(self, entry: Delivery, receipt: Receipt, reason: str = "") -> None:
        sent = replace(entry, state=DeliveryState.SENT, receipt=receipt.id, reason=reason)
        await self._save(replace(sent, sent_at=self._clock.now()))

    async def _later(self, entry: Delivery, error: Transient) -> None:
        pause = error.retry_after or BACK_OFF[min(entry.tries, len(BACK_OFF) - 1)]
        due = self._clock.now() + timedelta(seconds=pause)
        await self._save(replace(entry, tries=entry.tries + 1, due=due, reason=error.reason))
        if self._turns:  # what does not get out here may get out of another replica
            await self._turns.give_up(entry.chat)

    async def _stumbled(self, entry: Delivery, error: str) -> None:
        """Try again what met a fault of our own or of an adapter's; the second time give it up, and
        tell the operations group: one message must not keep all the others."""
        reason = f"内部错误 {error}"
        if entry.key not in self._broken:
            self._broken.add(entry.key)
            await self._later(entry, Transient(reason))
            return
        self._broken.discard(entry.key)
        now, where = self._clock.now(), entry.chat.title or entry.chat.id
        told = say(
            "有一条消息发不出去", f"发往 {where}：{entry.key}", f"{reason}，请看日志", tone=Tone.BAD
        )
        async with self._store.unit() as unit:
            if await _taken_back(entry, unit):
                return
            await unit.outbox.save(replace(entry, state=DeliveryState.FAILED, reason=reason))
            if not entry.key.startswith(BROKEN):
                await ladder.alarm(BROKEN + entry.key, told, now, unit)

    async def _fail(self, entry: Delivery, reason: str) -> None:
        await self._save(replace(entry, state=DeliveryState.FAILED, reason=reason))

    async def _doubt(self, entry: Delivery, reason: str) -> None:
        """An alarm is said again and marked, and a living card drawn again, marked where that is a
        new message; the rest is kept as doubtful, for a person to look at."""
        async with self._store.unit() as unit:
            if await _taken_back(entry, unit):
                return
            await unit.outbox.save(replace(entry, state=DeliveryState.DOUBT, reason=reason))
            now = self._clock.now()
            if entry.living:
                self._doubted.add(entry.living)
                await unit.outbox.mark(entry.living, entry.chat, now)
            elif entry.lane is Lane.ALARM and entry.card and DOUBTED not in entry.card:
                card = loads(entry.card)
                marked = dumps(replace(card, title=card.title + DOUBTED))
                await unit.outbox.put(
                    replace(entry, key=f"{entry.key}{AGAIN}", card=marked, at=now)
                )

    async def _save(self, entry: Delivery) -> None:
        """Keep what became of an entry: of one that was withdrawn while it was on its way, only that
        it was said nevertheless."""
        async with self._store.unit() as unit:
            if entry.state is DeliveryState.SENT or not await _taken_back(entry, unit):
                await unit.outbox.save(entry)

    async def _withdrawn(self, entry: Delivery) -> bool:
        async with self._store.view() as unit:
            return await _taken_back(entry, unit)


async def _taken_back(entry: Delivery, unit: Unit) -> bool:
    """Was an entry withdrawn since we took it up? Then it is neither tried again nor said elsewhere."""
    there = await unit.outbox.by_key(entry.key)
    return there is not None and there.state is DeliveryState.WITHDRAWN


async def _say(entry: Delivery, platform: ChatPlatform) -> Receipt:
    if entry.ring:
        return await platform.ring(entry.ring, plain(loads(entry.card)), key=entry.key)
    if entry.file_name:
        file = File(entry.file_name, entry.file)
        return await platform.upload(entry.chat, file, key=entry.key)
    return await platform.send(entry.chat, loads(entry.card), key=entry.key)


def _spare(entry: Delivery, platform: ChatPlatform) -> None:
    """Raise Transient where a card that can wait would take the last calls, which alarms need."""
    alarm = entry.lane is Lane.ALARM
    if not alarm and isinstance(platform, Metered) and (why := platform.meter.saving):
        raise Transient(why, retry_after=ASK_AGAIN, fault=Fault.REFUSED)


async def _show(
    entry: Delivery, living: LivingCard, card: Card, platform: ChatPlatform, *, tried: bool
) -> Receipt:
    """Edit in place; post anew where the platform cannot edit, or has lost the message.

    The first post has its entry's key: the same after a restart, and another one after a doubt.
    What an earlier try has posted under that key shows what was so at that time, and is edited.
    """
    key = entry.key
    if living.receipt:
        try:
            return await platform.edit(Receipt(living.chat, living.receipt), card)
        except Permanent:
            key = f"{living.key}#{living.version}"
    receipt = await platform.send(living.chat, card, key=key)
    if not tried:
        return receipt
    try:
        edited = await platform.edit(receipt, card)
    except Permanent:  # it is there, though perhaps as it was
        return receipt
    return replace(edited, messages=receipt.messages + edited.messages)

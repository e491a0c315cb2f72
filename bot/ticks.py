"""What is due by the clock alone: a gate that nobody opens, the duties of phase 6, and memories that
have had their time.

Everything here may be called at any time and as often as one likes: each call does what is due
at that instant, in the transaction that finds it due, so two replicas never say it twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from adapters.card import Card, Fields, Text, Tone, dumps, say
from adapters.port import ChatPlatform, Metered, UsageError, stopped
from adapters.words import Role
from commands.whoami import TITLES
from runbooks import due
from runbooks import walk as walking
from runbooks.book import Gate
from storage.records import Delivery, DeliveryState, Lane, Run
from storage.store import Store, Unit

AGAIN = timedelta(hours=24)
"""From one reminder of a gate to the next."""

MORNING = 9
"""Hour of the house's day from which duties are asked for."""

REMEMBERED = timedelta(days=8)
"""How long the id of a delivery is kept: longer than any platform delivers again."""


async def remind(books: walking.Books, now: datetime, store: Store) -> int:
    """Say in each customer's chat which gate is overdue and who must act; return how many."""
    # Nothing is due nearly always, and a look does not wait for a writer.
    async with store.view() as unit:
        if not await unit.runs.due(now):
            return 0
    reminded = 0
    async with store.unit() as unit:
        # Read again: another replica may have reminded since.
        for run in await unit.runs.due(now):
            if await walking.remind(run, AGAIN, now, unit):
                reminded += await _say(books, run, now, unit)
    return reminded


async def ask_for_duties(now: datetime, zone: ZoneInfo, store: Store) -> bool:
    """From MORNING on, put one card a day into the operations group that names what is due for whom;
    False when nothing is, or it is there already."""
    local = now.astimezone(zone)
    if local.hour < MORNING:
        return False
    key = due.card_key(local.date())
    async with store.view() as unit:
        if await unit.outbox.living(key) or not await due.standing(local.date(), zone, unit):
            return False
    async with store.unit() as unit:
        operations = await unit.outbox.living(walking.OPERATIONS)
        # Read again: another replica may have asked since.
        if operations is None or await unit.outbox.living(key):
            return False
        await unit.outbox.mark(key, operations.chat, now)
    return True


async def warn_of_quota(platforms: Iterable[ChatPlatform], now: datetime, store: Store) -> int:
    """Say in the operations group, once a month and platform, that its calls come to an end; return
    how many were said."""
    meters = [(one.name, one.meter) for one in platforms if isinstance(one, Metered)]
    warnings = [(name, meter) for name, meter in meters if meter.warning]
    if not warnings:
        return 0
    said = 0
    async with store.unit() as unit:
        operations = await unit.outbox.living(walking.OPERATIONS)
        if operations is None:
            return 0
        for name, meter in warnings:
            card = dumps(say("接口调用快用完了", meter.warning, tone=Tone.WARNING))
            key, state = f"quota:{name}:{meter.period}", DeliveryState.WAITING
            entry = Delivery(0, key, operations.chat, Lane.NORMAL, state, now, card)
            said += await unit.outbox.put(entry)
    return said


async def tell_of_stopped(platforms: Iterable[ChatPlatform], now: datetime, store: Store) -> int:
    """Say in the operations group, once for each time, that a platform has given up; return how many
    were said. Where that group is on such a platform itself, its log and the health page say it."""
    over = {one.name: why for one in platforms if (why := stopped(one))}
    if not over:
        return 0
    async with store.view() as unit:
        operations = await unit.outbox.living(walking.OPERATIONS)
        if operations is None or operations.chat.platform in over:
            return 0
        keys = {name: f"stopped:{name}:{why.at.isoformat()}" for name, why in over.items()}
        new = [name for name, key in keys.items() if await unit.outbox.by_key(key) is None]
    if not new:
        return 0
    said = 0
    async with store.unit() as unit:
        for name in new:
            effect = "那里收不到消息，也发不到群里，直到有人处理"
            card = dumps(say(f"平台 {name} 已停止", over[name].reason, effect, tone=Tone.BAD))
            waiting = DeliveryState.WAITING
            entry = Delivery(0, keys[name], operations.chat, Lane.ALARM, waiting, now, card)
            said += await unit.outbox.put(entry)
    return said


async def forget(now: datetime, store: Store) -> int:
    """Forget deliveries that no platform will repeat any more, and hooks' addresses whose time is
    over; return how many deliveries."""
    async with store.unit() as unit:
        await unit.hooks.forget(now)
        return await unit.people.forget_events(now - REMEMBERED)


async def _say(books: walking.Books, run: Run, now: datetime, unit: Unit) -> bool:
    customer = await unit.customers.get(run.customer)
    if customer is None or customer.chat is None or run.deadline is None:
        return False
    # The deadline makes the key new for each reminder, and the same for the same one.
    key = f"remind:{run.id}:{run.attempt}:{run.deadline.isoformat()}"
    card = reminder(books, run, now)
    return await unit.outbox.put(
        Delivery(0, key, customer.chat, Lane.NORMAL, DeliveryState.WAITING, now, card=dumps(card))
    )


def reminder(books: walking.Books, run: Run, now: datetime) -> Card:
    """Return the card that names the gate where a run waits, since when, and who must act."""
    title, who = _gate(books, run)
    hours = int((now - run.updated_at).total_seconds()) // 3600
    waited = f"{hours // 24} 天 {hours % 24} 小时" if hours >= 24 else f"{hours} 小时"  # noqa: PLR2004 - a day
    facts = Fields((("等待的步骤", title), ("需要谁处理", who), ("已等待", waited)))
    hint = Text("请在进度卡上处理；找不到卡片时输入 /status")
    return Card(f"等待超时：{title}", Tone.WARNING, (facts, hint))


def _gate(books: walking.Books, run: Run) -> tuple[str, str]:
    """Return a gate's title and who opens it; of one that no book has any more, what is known."""
    book = books.get(run.book)
    try:
        line = book.line(run.line) if book else None
    except UsageError:
        line = None
    return (
        (line.title, TITLES[line.by]) if isinstance(line, Gate) else (run.line, TITLES[Role.LEAD])
    )

"""A source that says nothing for long leaves its incidents as they were: the cards say so, and nothing
is closed. Whether it is down or merely has nothing to say, it alone knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from adapters.card import Style, Text
from runbooks.kit import Kit
from storage.records import KnownAlert
from storage.store import Unit

SILENT = timedelta(hours=6)
"""Longer than Alertmanager waits before it repeats what still fires (four hours, unless it is set)."""

EVERY = timedelta(hours=1)
"""From one look to the next."""

DAY = timedelta(days=1)


def lines(
    sources: Iterable[str],
    heard: Mapping[str, datetime],
    now: datetime,
    titles: Mapping[str, str],
) -> tuple[Text, ...]:
    """Return what a card says of those of its alerts' sources that have said nothing for long;
    `titles` are what sources are called."""
    silent = {name: now - heard[name] for name in sorted(set(sources) & heard.keys())}
    return tuple(
        Text(
            f"来源 {titles.get(name, name)} 已 {span // timedelta(hours=1)} 小时没有消息，告警可能已恢复，也可能来源停了：请确认",
            Style.QUIET,
        )
        for name, span in silent.items()
        if span >= SILENT
    )


def firing(alerts: Iterable[KnownAlert]) -> set[str]:
    """Return the sources of alerts that fire."""
    return {alert.source for alert in alerts if alert.firing}


async def look(kit: Kit) -> int:
    """Have the cards drawn again whose source has just become silent, and then once a day; return
    how many."""
    now = kit.clock.now()
    async with kit.store.view() as unit:
        silent = await unit.heard.silent(now - SILENT)
        due = [
            number
            for customer, source, at in silent
            if _stage(now - at) != _stage(now - EVERY - at)
            for number in await _of(customer, source, unit)
        ]
    marked = 0
    for number in sorted(set(due)):
        async with kit.store.unit() as unit:
            marked += await _redraw(number, now, unit)
    return marked


async def hear(customer: int, source: str, at: datetime, now: datetime, unit: Unit) -> None:
    """Note that a source was heard of; were the cards told of its silence, then they are drawn again.
    A repeat changes no alert, so nothing else would draw them."""
    last = await unit.heard.note(customer, source, at)
    if last and at - last >= SILENT:
        for number in await _of(customer, source, unit):
            await _redraw(number, now, unit)


async def _redraw(number: int, now: datetime, unit: Unit) -> bool:
    card = await unit.outbox.living(f"incident:{number}")
    if card:
        await unit.outbox.mark(card.key, card.chat, now)
    return card is not None


async def _of(customer: int, source: str, unit: Unit) -> list[int]:
    """Return the open incidents in which a source's alerts fire."""
    return [
        each.id
        for each in await unit.incidents.open_of(customer)
        if source in firing(await unit.incidents.alerts(each.id))
    ]


def _stage(silence: timedelta) -> int:
    """Return 0 before it is long, and then a number that rises each day."""
    return 1 + silence // DAY if silence >= SILENT else 0

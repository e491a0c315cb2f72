"""Phase 6 as it lives: one card a day says what is due for whom, and a press says that it is done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from adapters.card import Block, Button, Buttons, Card, Style, Table, Text, Tone, say
from adapters.port import UsageError
from adapters.words import Chat, Person
from runbooks.duties import Duty, next_due, outstanding, owed
from runbooks.walk import OPERATIONS, STALE
from storage.records import Customer, DutyDone
from storage.store import Unit

SHOWN = 20
"""Duties on one card; the rest follow as these are done."""

_KEY = "duties:"


@dataclass(frozen=True, slots=True)
class Owed:
    """One thing that is due: for whom, what, and since which day."""

    customer: int
    duty: str
    due: str

    def text(self) -> str:
        """Return the button's action."""
        return "|".join(("duty", str(self.customer), self.duty, self.due))


def owed_by(action: str) -> Owed | None:
    """Return what a pressed button says is done; None when it is another button."""
    match action.split("|"):
        case ["duty", customer, duty, due] if customer.isascii() and customer.isdecimal():
            return Owed(int(customer), duty, due)
    return None


def card_key(day: date) -> str:
    """Return the key of a day's living card."""
    return f"{_KEY}{day.isoformat()}"


def day_of(key: str) -> date | None:
    """Return the day of a living card of duties; None when it is another card's key."""
    return date.fromisoformat(key.removeprefix(_KEY)) if key.startswith(_KEY) else None


async def standing(day: date, zone: ZoneInfo, unit: Unit) -> list[tuple[Customer, Duty, date]]:
    """Return what is due on a day and not done, for every customer in service, the oldest first."""
    found: list[tuple[Customer, Duty, date]] = []
    for customer in await unit.customers.all():
        since = customer.in_service_since
        if since is None:
            continue
        begun, last = since.astimezone(zone).date(), await unit.duties.last(customer.id)
        for duty in owed(customer.tier):
            done = last[duty.key].at.astimezone(zone).date() if duty.key in last else None
            if due := outstanding(duty, begun, done, day):
                found.append((customer, duty, due))
    return sorted(found, key=lambda each: (each[2], each[0].id))


async def drawn(day: date, zone: ZoneInfo, unit: Unit) -> Card:
    """Return a day's card as it is now; what was done is gone from it."""
    left = await standing(day, zone, unit)
    title = f"今日到期的运维事项 · {day.isoformat()}"
    if not left:
        return say(title, "都已完成", tone=Tone.GOOD)
    shown = left[:SHOWN]
    rows = tuple((c.name, duty.title, due.isoformat()) for c, duty, due in shown)
    buttons = tuple(
        Button(
            f"已完成：{customer.name} {duty.title}",
            Owed(customer.id, duty.key, due.isoformat()).text(),
        )
        for customer, duty, due in shown
    )
    blocks: list[Block] = [Table(("客户", "事项", "应于"), rows), Buttons(buttons)]
    if len(left) > SHOWN:
        more = f"另有 {len(left) - SHOWN} 项，完成上面的以后显示"
        blocks.insert(1, Text(more, Style.QUIET))
    return Card(title, Tone.WARNING, tuple(blocks))


async def finish(
    what: Owed, chat: Chat, by: Person, now: datetime, zone: ZoneInfo, unit: Unit
) -> Card:
    """Note that something is done and say when it is next due; UsageError on an old button, or in
    another chat than the operations group."""
    operations = await unit.outbox.living(OPERATIONS)
    if operations is None or operations.chat != chat:
        raise UsageError("这张卡片不属于本群")
    today = now.astimezone(zone).date()
    left = await standing(today, zone, unit)
    found = next(
        (each for each in left if Owed(each[0].id, each[1].key, str(each[2])) == what), None
    )
    if found is None:
        raise UsageError(STALE)
    customer, duty, _ = found
    await unit.duties.add(DutyDone(what.customer, what.duty, what.due, now, by))
    detail = {"customer": customer.name, "duty": duty.key, "due": what.due}
    await unit.audit.add(now, by.name, "duty-done", detail)
    if await unit.outbox.living(card_key(today)):
        await unit.outbox.mark(card_key(today), chat, now)
    assert customer.in_service_since is not None
    following = next_due(duty, customer.in_service_since.astimezone(zone).date(), today)
    return say(
        "已完成",
        f"{customer.name}：{duty.title}（{by.name or by.id}）",
        f"下次到期：{following}",
        tone=Tone.GOOD,
    )

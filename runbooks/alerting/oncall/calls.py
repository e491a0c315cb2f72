"""One call: whom it reaches by which way, and what it says. It may tell of many incidents at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.card import Block, Card, Fields, Mention, Style, Summons, Text, Tone, dumps
from adapters.port import ChatPlatform
from adapters.words import Chat, Severity
from runbooks.alerting.oncall import reach, rota, rungs
from runbooks.alerting.oncall.rungs import Turn
from runbooks.reach import GATEWAY, notify_name
from runbooks.walk import OPERATIONS
from storage.records import Customer, Delivery, DeliveryState, Lane
from storage.roster import Callee, Escalation, Rung, Way
from storage.store import Unit

NAMED = 20
"""Incidents that one call names; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is called: nobody when the roster has nobody; `gap` says why nobody is on call."""

    callee: Callee | None
    gap: str = ""

    @property
    def name(self) -> str:
        return self.callee.name if self.callee else ""


@dataclass(frozen=True, slots=True)
class Call:
    """What is said to one person at once; of `turns` the longest due comes first and leads."""

    customer: Customer
    whom: Whom
    turns: tuple[Turn, ...]

    @property
    def rung(self) -> Rung:
        return self.turns[0].rung


async def whom(rung: Rung, climb: Escalation, now: datetime, unit: Unit) -> Whom:
    """Return who is to be called for a rung at this instant."""
    roster = await unit.oncall.roster(climb.customer)
    if roster is None:
        return Whom(None, rota.NO_LAYER)
    overrides = await unit.oncall.overrides(climb.customer, now, now + rota.DAY)
    policy = rungs.policy_of(climb)
    callee, _ = rota.after(roster, overrides, now, policy.levels[rung.level].ahead)
    there, why = rota.on_call(roster, overrides, now)
    return Whom(callee, "" if there else why)


async def entry(
    call: Call, now: datetime, chats: Mapping[str, ChatPlatform], unit: Unit
) -> Delivery | str:
    """Return what goes out for a call, or why nothing can."""
    made = await _addressed(call, now, chats, unit)
    if isinstance(made, Delivery) and made.chat.platform not in chats:
        return f"通道 {made.chat.platform} 没有启用"
    return made


async def _addressed(
    call: Call, now: datetime, chats: Mapping[str, ChatPlatform], unit: Unit
) -> Delivery | str:
    customer, callee, way = call.customer, call.whom.callee, call.rung.way
    card = words(call, now)
    said = Delivery(
        0,
        call.rung.key,
        Chat("", ""),
        Lane.ALARM,
        DeliveryState.WAITING,
        now,
        card=dumps(card),
    )
    if way is Way.MENTION:
        operations = await unit.outbox.living(OPERATIONS)
        chat = customer.chat or (operations.chat if operations else None)
        if chat is None:
            return "客户还没有绑定群"
        person = await reach.person_of(callee, unit) if callee else None
        if callee and person:
            named = Mention((replace(person, name=person.name or callee.name),))
            card = replace(card, blocks=(named, *card.blocks))
        return replace(said, chat=chat, card=dumps(card))
    if way is Way.WEBHOOK:
        return _summoned(call, card, said, chats)
    if callee is None:
        return f"没有人可以通知：{call.whom.gap}"
    if way is Way.EMAIL:
        chat = Chat(Way.EMAIL, callee.email)
        return replace(said, chat=chat) if callee.email else f"{callee.name} 没有登记邮箱"
    person = await reach.person_of(callee, unit)
    if person is None:
        return await reach.unknown(callee, unit)
    # A queue of their own: whoever is rung does not wait behind what the group is told.
    return replace(said, chat=Chat(person.platform, person.id), ring=person)


def _summoned(
    call: Call, card: Card, said: Delivery, chats: Mapping[str, ChatPlatform]
) -> Delivery | str:
    """Return the entry for a gateway: the house's, or where it has none the customer's own, which
    need not be a telephone's and is told of whoever has no number, too."""
    callee = call.whom.callee
    asked = Summons(
        call.whom.name,
        callee.phone if callee else "",
        tuple(turn.climb.incident for turn in call.turns),
        Severity.CRITICAL,  # nothing else climbs
    )
    card = replace(card, blocks=(*card.blocks, asked.fields))
    if GATEWAY not in chats:
        chat = Chat(Way.WEBHOOK, notify_name(call.customer.id, Way.WEBHOOK))
        return replace(said, chat=chat, card=dumps(card))
    if callee is None:
        return f"没有人可以通知：{call.whom.gap}"
    if not callee.phone:
        return f"{callee.name} 没有登记电话"
    # A queue for each number: nobody waits for another's call.
    return replace(said, chat=Chat(GATEWAY, callee.phone), card=dumps(card))


def words(call: Call, now: datetime) -> Card:
    """Return the card of one call: who is meant, what it is about, since when, what to press."""
    turns = newest_first(call.turns)
    facts = [("客户", call.customer.name), *_about(turns, now), ("级别", _level(call.rung))]
    if call.whom.gap:
        facts.append(("值班空档", call.whom.gap))
    if why := "；".join(dict.fromkeys(turn.rung.note for turn in turns if turn.rung.note)):
        facts.append(("提前通知", why))
    named: tuple[Block, ...] = tuple(Text(line) for line in _lines(turns, now))
    press = Text(f"{_press(turns)}；无人确认将继续升级", Style.STRONG)
    return Card(
        f"告警升级 @{call.whom.name or '所有人'}", Tone.BAD, (Fields(tuple(facts)), *named, press)
    )


def newest_first(turns: Sequence[Turn]) -> list[Turn]:
    """Return the calls by when their climbs began, the last one first."""
    return sorted(turns, key=lambda turn: (turn.climb.began_at, turn.climb.incident), reverse=True)


def beside(order: Sequence[Turn], one: Turn) -> str:
    """Say with which other incidents one was told, `order` being all with the newest first; empty when
    it was told alone."""
    count = len(order) - 1
    if not count:
        return ""
    others = [turn for turn in order[: NAMED + 1] if turn is not one][:NAMED]
    more = f" 等 {count} 个" if count > NAMED else ""
    return f"与 {'、'.join(f'#{turn.climb.incident}' for turn in others)}{more} 一次通知"


def _about(turns: Sequence[Turn], now: datetime) -> list[tuple[str, str]]:
    if len(turns) > 1:
        return [("事件", f"{len(turns)} 个，新的在前")]
    (turn,) = turns
    return [
        ("事件", f"#{turn.climb.incident} {turn.climb.title}"),
        ("无人确认", f"{_minutes(turn, now)} 分钟"),
    ]


def _lines(turns: Sequence[Turn], now: datetime) -> list[str]:
    if len(turns) == 1:
        return []
    lines = [
        f"#{turn.climb.incident} {turn.climb.title}：无人确认 {_minutes(turn, now)} 分钟"
        for turn in turns[:NAMED]
    ]
    if len(turns) > NAMED:
        lines.append(f"另有 {len(turns) - NAMED} 个：请输入 /alerts 查看")
    return lines


def _press(turns: Sequence[Turn]) -> str:
    numbers = " ".join(str(turn.climb.incident) for turn in turns[:NAMED])
    if len(turns) == 1:
        return f"请输入 /ack {numbers} 确认"
    if len(turns) > NAMED:
        return "请输入 /ack 0 确认全部"
    return f"请输入 /ack 编号 逐个确认，或 /ack {numbers} 确认这些，/ack 0 确认全部"


def _level(rung: Rung) -> str:
    again = f"（第 {rung.lap + 1} 遍）" if rung.lap else ""
    return f"第 {rung.level + 1} 级{again}"


def _minutes(turn: Turn, now: datetime) -> int:
    return int((now - turn.climb.began_at).total_seconds()) // 60

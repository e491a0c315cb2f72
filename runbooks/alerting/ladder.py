"""An alarm that nobody acknowledges climbs: each call has an absolute deadline in a row.

A call and its row's new state are one transaction, and its entry in the outbox has the row's key:
killed between the deadline and the deed, nothing is lost and nothing said twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from adapters.card import Card, Fields, Mention, Style, Text, Tone, dumps, say
from adapters.port import ChatPlatform
from adapters.words import Chat
from runbooks.alerting import reach, rota, rungs
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.records import Customer, Delivery, DeliveryState, Incident, IncidentState, Lane
from storage.roster import Callee, Escalation, Policy, Rung, RungState, Way
from storage.store import Unit

DEFAULT = rungs.from_minutes((5, 15, 30), 30)
"""For a customer who has no policy of their own yet."""


async def begin(unit: Unit, incident: Incident, at: datetime) -> None:
    """Begin to climb for an incident that has a critical, counted from its accept time; nothing
    while it climbs. One that had stopped begins another round, counted from `at`."""
    if incident.critical_at is None:
        return
    last = await unit.escalations.last(incident.id)
    await _start(unit, incident, at if last else incident.critical_at, last)


async def reopen(unit: Unit, incident: Incident, at: datetime) -> None:
    """Climb again: a new critical was accepted `at`, or an acknowledgement was taken back."""
    await _start(unit, incident, at, await unit.escalations.last(incident.id))


async def stop(unit: Unit, incident: Incident, at: datetime) -> None:
    """Stop, because the incident was acknowledged or resolved, or a person has hidden all of it: in
    the transaction that says so. Only the first of these is an answer that counts as one."""
    last = await unit.escalations.last(incident.id)
    if last is None:
        return
    acked = incident.state is IncidentState.ACKED
    resolved = incident.state is IncidentState.RESOLVED
    known = replace(
        last,
        stopped_at=last.stopped_at or at,
        acked_at=last.acked_at or at if acked else last.acked_at,
        resolved_at=at if resolved else last.resolved_at,
    )
    await unit.escalations.save(known)
    for rung in await unit.escalations.rungs(last.incident, last.round):
        if rung.state is RungState.DUE:
            await unit.escalations.mark(replace(rung, state=RungState.STOPPED, at=at))


async def next_rung(unit: Unit, incident: int) -> Rung | None:
    """Return the next call that an incident's climb owes, for its card."""
    last = await unit.escalations.last(incident)
    if last is None or last.stopped_at:
        return None
    left = await unit.escalations.rungs(incident, last.round)
    return next((rung for rung in left if rung.state is RungState.DUE), None)


async def hasten(unit: Unit, incident: int, at: datetime) -> Rung | None:
    """Make the next level due at once, because a person asks for it; None when none is left."""
    first = await next_rung(unit, incident)
    if first is None:
        return None
    for rung in await unit.escalations.rungs(incident, first.round):
        same = (rung.lap, rung.level) == (first.lap, first.level)
        if same and rung.state is RungState.DUE and rung.due > at:
            await unit.escalations.mark(replace(rung, due=at))
    return first


async def on_call(unit: Unit, customer: int, at: datetime) -> tuple[Callee | None, str]:
    """Return who is on call for a customer, or None and the gap's name."""
    roster = await unit.oncall.roster(customer)
    if roster is None:
        return None, rota.NO_LAYER
    overrides = await unit.oncall.overrides(customer, at, at + rota.DAY)
    return rota.on_call(roster, overrides, at)


async def policy_of(unit: Unit, customer: int) -> Policy:
    """Return the customer's policy, or the one for whoever has none."""
    return await unit.escalations.policy(customer) or DEFAULT


async def climb(kit: Kit) -> int:
    """Make every call that is due, and return how many were made."""
    now = kit.clock.now()
    # Nothing is due nearly always, and a look does not wait for a writer.
    async with kit.store.view() as unit:
        if not await unit.escalations.due(now):
            return 0
    async with kit.store.unit() as unit:
        # Read again: another replica may have called since.
        due = await unit.escalations.due(now)
        late = [rung for rung in due if now - rung.due > rungs.LATE]
        for rung in due:
            await _call(rung, now, kit.chats, unit)
        if late:
            await _confess(late, now, unit)
    return len(due)


async def alarm(key: str, card: Card, now: datetime, unit: Unit) -> bool:
    """Say something to the operations group at once; False when there is none, or it was said."""
    operations = await unit.outbox.living(OPERATIONS)
    return operations is not None and await _put(key, operations.chat, card, now, unit)


async def _start(unit: Unit, incident: Incident, began: datetime, last: Escalation | None) -> None:
    if last and last.stopped_at is None:
        return
    made = Escalation(
        incident.id,
        last.round + 1 if last else 1,
        incident.customer,
        incident.title,
        began,
        rungs.kept(await policy_of(unit, incident.customer)),
    )
    await unit.escalations.add(made)
    await unit.escalations.put(rungs.lap(made, 0))


async def _call(rung: Rung, now: datetime, chats: Mapping[str, ChatPlatform], unit: Unit) -> None:
    found = await unit.escalations.climb(rung.incident, rung.round)
    assert found is not None
    customer = await unit.customers.get(found.customer)
    assert customer is not None
    callee, gap = await _whom(rung, found, now, unit)
    entry = await _entry(rung, found, customer, callee, gap, now, unit)
    wrong = _wrong(entry, chats) if isinstance(entry, Delivery) else entry
    name = callee.name if callee else ""
    if isinstance(entry, Delivery) and not wrong:
        await unit.outbox.put(entry)
        await unit.escalations.mark(
            replace(rung, state=RungState.DONE, at=now, name=name, note=gap)
        )
    else:
        await unit.escalations.mark(
            replace(rung, state=RungState.NOBODY, at=now, name=name, note=wrong)
        )
        card = say(
            "升级通知无法发出",
            f"{customer.name} 事件 #{rung.incident}「{found.title}」第 {rung.level + 1} 级",
            wrong,
            tone=Tone.BAD,
        )
        await alarm(f"{rung.key}:nobody", card, now, unit)
    await _go_on(rung, found, now, unit)


async def _go_on(rung: Rung, climb: Escalation, now: datetime, unit: Unit) -> None:
    """Write the next lap down when the last call of this one was made."""
    left = await unit.escalations.rungs(climb.incident, climb.round)
    if not any(each.state is RungState.DUE for each in left):
        await unit.escalations.put(rungs.lap(climb, rungs.next_lap(climb, rung.lap, now)))


async def _whom(
    rung: Rung, climb: Escalation, now: datetime, unit: Unit
) -> tuple[Callee | None, str]:
    """Return who is called, and the gap's name when nobody is on call."""
    roster = await unit.oncall.roster(climb.customer)
    if roster is None:
        return None, rota.NO_LAYER
    overrides = await unit.oncall.overrides(climb.customer, now, now + rota.DAY)
    policy = rungs.policy_of(climb)
    callee, _ = rota.after(roster, overrides, now, policy.levels[rung.level].ahead)
    there, why = rota.on_call(roster, overrides, now)
    return callee, "" if there else why


async def _entry(
    rung: Rung,
    climb: Escalation,
    customer: Customer,
    callee: Callee | None,
    gap: str,
    now: datetime,
    unit: Unit,
) -> Delivery | str:
    """Return what goes out for a call, or why nothing can."""
    card = words(rung, climb, customer, callee, gap, now)
    entry = Delivery(
        0,
        rung.key,
        Chat("", ""),
        Lane.ALARM,
        DeliveryState.WAITING,
        now,
        card=dumps(card),
    )
    if rung.way is Way.MENTION:
        operations = await unit.outbox.living(OPERATIONS)
        chat = customer.chat or (operations.chat if operations else None)
        if chat is None:
            return "客户还没有绑定群"
        person = await reach.person_of(callee, unit) if callee else None
        if callee and person:
            named = Mention((replace(person, name=person.name or callee.name),))
            card = replace(card, blocks=(named, *card.blocks))
        return replace(entry, chat=chat, card=dumps(card))
    if rung.way is Way.WEBHOOK:
        return replace(entry, chat=Chat(Way.WEBHOOK, f"customer:{customer.id}:notify:webhook"))
    if callee is None:
        return f"没有人可以通知：{gap}"
    if rung.way is Way.EMAIL:
        chat = Chat(Way.EMAIL, callee.email)
        return replace(entry, chat=chat) if callee.email else f"{callee.name} 没有登记邮箱"
    person = await reach.person_of(callee, unit)
    if person is None:
        return await reach.unknown(callee, unit)
    # A queue of their own: whoever is rung does not wait behind what the group is told.
    return replace(entry, chat=Chat(person.platform, person.id), ring=person)


def _wrong(entry: Delivery, chats: Mapping[str, ChatPlatform]) -> str:
    return "" if entry.chat.platform in chats else f"通道 {entry.chat.platform} 没有启用"


def words(
    rung: Rung,
    climb: Escalation,
    customer: Customer,
    callee: Callee | None,
    gap: str,
    now: datetime,
) -> Card:
    """Return the card of one call: who is meant, what it is about, since when, what to press."""
    called = callee.name if callee else "所有人"
    minutes = int((now - climb.began_at).total_seconds()) // 60
    again = f"（第 {rung.lap + 1} 遍）" if rung.lap else ""
    facts = [
        ("客户", customer.name),
        ("事件", f"#{climb.incident} {climb.title}"),
        ("无人确认", f"{minutes} 分钟"),
        ("级别", f"第 {rung.level + 1} 级{again}"),
    ]
    if gap:
        facts.append(("值班空档", gap))
    return Card(
        f"告警升级 @{called}",
        Tone.BAD,
        (
            Fields(tuple(facts)),
            Text(f"请输入 /ack {climb.incident} 确认；无人确认将继续升级", Style.STRONG),
        ),
    )


async def _confess(late: Sequence[Rung], now: datetime, unit: Unit) -> None:
    """Alarm the operations group when calls were made late: then the bot itself was ill."""
    worst = max(now - rung.due for rung in late)
    card = say(
        "升级晚了",
        f"{len(late)} 次升级通知晚于期限执行，最多晚 {int(worst.total_seconds())} 秒："
        "机器人可能停机过或负载过高，请检查",
        f"事件：{'、'.join(f'#{number}' for number in sorted({r.incident for r in late})[:20])}",
        tone=Tone.BAD,
    )
    await alarm(f"late:{late[0].key}", card, now, unit)


async def _put(key: str, chat: Chat, card: Card, now: datetime, unit: Unit) -> bool:
    return await unit.outbox.put(
        Delivery(0, key, chat, Lane.ALARM, DeliveryState.WAITING, now, card=dumps(card))
    )

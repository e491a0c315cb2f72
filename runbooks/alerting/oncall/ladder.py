"""An alarm that nobody acknowledges climbs: each call has an absolute deadline in a row.

A call and its rows' new state are one transaction, and its entry in the outbox has the first row's
key: killed between the deadline and the deed, nothing is lost and nothing said twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from adapters.card import Card, Tone, dumps, plain, say
from adapters.port import ChatPlatform
from adapters.words import Chat
from runbooks.alerting.muting.hidden import TITLES, Why
from runbooks.alerting.oncall import calls, rota, rungs
from runbooks.alerting.oncall.calls import Call, Whom
from runbooks.alerting.oncall.rungs import Turn
from runbooks.alerting.policy import POLICY
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.records import (
    AGAIN,
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    Lane,
    StormPhase,
)
from storage.roster import Callee, Escalation, Policy, Rung, RungState
from storage.store import Unit

log = structlog.get_logger()

DEFAULT = rungs.from_minutes((5, 15, 30), 30)
"""For a customer who has no policy of their own yet."""

HELD_AFTER = timedelta(minutes=2)
"""A call that has not gone out so long after it was made is not waited for: its platform may be down."""

MADE = frozenset({RungState.DONE, RungState.HELD})
"""The calls that may have an entry which has yet to go out."""

REFUSED_WITHIN = timedelta(hours=1)
"""A call that fails later than this after it was made hastens nothing: the watchdog names it."""


async def begin(
    unit: Unit, incident: Incident, at: datetime, soon: timedelta = POLICY.reopen
) -> None:
    """Begin to climb for an incident that has a critical, counted from its accept time; nothing
    while it climbs. One that stopped by itself less than `soon` before goes on where it was: else an
    alert that comes and goes would never get to the first level. Any other that had stopped begins
    another round, counted from `at`."""
    if incident.critical_at is None:
        return
    last = await unit.escalations.last(incident.id)
    if last and last.stopped_at and not last.acted_at and at - last.stopped_at < soon:
        known = await unit.escalations.rungs(last.incident, last.round)
        left = rungs.resumed(known, rungs.policy_of(last).between, at)
        if left:
            await unit.escalations.save(replace(last, stopped_at=None, resolved_at=None))
            await unit.escalations.mark_all(left)
            return
    await _start(unit, incident, at if last else incident.critical_at, last)


async def reopen(unit: Unit, incident: Incident, at: datetime) -> None:
    """Climb again: a new critical was accepted `at`, or an acknowledgement was taken back."""
    await _start(unit, incident, at, await unit.escalations.last(incident.id))


async def stop(unit: Unit, incident: Incident, at: datetime) -> None:
    """Stop, because the incident was acknowledged or resolved, or all of it, or of its criticals, is
    hidden or over: in the transaction that says so.

    Only the first is an acknowledgement; a silence or a closing by hand is something that a person
    did, an end by itself and a planned window are not. What somebody does after it had stopped is no
    answer to it. Calls that have yet to go out are taken back.
    """
    last = await unit.escalations.last(incident.id)
    if last is None:
        return
    acked = incident.state is IncidentState.ACKED
    resolved = incident.state is IncidentState.RESOLVED
    acted = acked or (resolved and incident.resolved_by is not None)
    if not acked and not resolved:
        acted = await _silenced(incident.id, unit)
    climbs = last.stopped_at is None
    known = replace(
        last,
        acted_at=at if acted and climbs else last.acted_at,
        stopped_at=at if climbs else last.stopped_at,
        acked_at=at if acked and climbs else last.acked_at,
        resolved_at=at if resolved else last.resolved_at,
    )
    await unit.escalations.save(known)
    if not climbs:
        return
    there = await unit.escalations.rungs(last.incident, last.round)
    due = [rung for rung in there if rung.state is RungState.DUE]
    await unit.escalations.mark_all([replace(rung, state=RungState.STOPPED, at=at) for rung in due])
    await _recall(there, _ended(incident, silenced=acted), unit)


def _ended(incident: Incident, *, silenced: bool) -> str:
    """Say why nobody needs to hear of an incident any more."""
    match incident.state:
        case IncidentState.ACKED:
            return "已确认"
        case IncidentState.RESOLVED:
            return "已关闭" if incident.resolved_by else "已恢复"
    return "已静默" if silenced else "严重告警已恢复或已隐藏"


async def _recall(known: Sequence[Rung], why: str, unit: Unit) -> None:
    """Take back those of a climb's calls that have yet to go out, unless they tell of others that
    still climb. `known` are its rungs; it has stopped."""
    made = sorted({rung.told for rung in known if rung.state in MADE and rung.told})
    # What was in doubt is told by a copy: that is taken back, and its call perhaps arrived.
    waiting = await unit.outbox.waiting([*made, *(f"{key}{AGAIN}" for key in made)])
    if not waiting:
        return
    still = await unit.escalations.still_told([key.removesuffix(AGAIN) for key in waiting])
    gone = [key for key in waiting if key.removesuffix(AGAIN) not in still]
    await unit.outbox.recall(gone, why)
    # Also those of climbs that had stopped before this one, the last that it told of.
    told = [rung for rung in await unit.escalations.told_by(gone) if rung.state in MADE]
    climbs = await _climbs(told, unit)
    await unit.escalations.mark_all(
        [
            replace(
                rung,
                state=RungState.WITHDRAWN,
                at=climbs[rung.incident, rung.round].stopped_at,
                note=_noted(rung, f"没有送出就撤回：{why}"),
            )
            for rung in told
        ]
    )


async def _silenced(incident: int, unit: Unit) -> bool:
    """Is one of an incident's alerts hidden by somebody's silence?"""
    word = TITLES[Why.SILENCE]
    return any(alert.hidden.startswith(word) for alert in await unit.incidents.alerts(incident))


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
    """Make every call that is due, and return how many were made: what one call tells of many
    incidents counts for each of them."""
    now = kit.clock.now()
    # Nothing is due nearly always, and a look does not wait for a writer.
    async with kit.store.view() as unit:
        failed = await _refused(now, unit) or await _queued(now, unit)
        if not failed and not await unit.escalations.due(now):
            return 0
    async with kit.store.unit() as unit:
        # Read again: another replica may have called since.
        for rung, why in await _refused(now, unit):
            await _note_refused(rung, why, now, unit)
        for rung, why in await _queued(now, unit):
            await _note_held(rung, why, now, unit)
        late = [rung for rung in await unit.escalations.due(now) if now - rung.due > rungs.LATE]
        made: list[Turn] = []
        # What cannot be called makes the next way due at once, and that is called as well.
        while there := await _ready(now, kit.house.escalate_together, unit):
            for call in there:
                await _make(call, now, kit.chats, unit)
                made += call.turns
        await _redraw(made, now, unit)
        if late:
            await _confess(late, now, unit)
    return len(made)


async def alarm(key: str, card: Card, now: datetime, unit: Unit) -> bool:
    """Say something to the operations group at once; False when there is none, or it was said."""
    operations = await unit.outbox.living(OPERATIONS)
    if operations is None:
        # Nobody else reads it: at least whoever looks into the log, and `vigilbot doctor`.
        log.error("no operations group for an alarm", key=key, said=plain(card))
        return False
    return await _put(key, operations.chat, card, now, unit)


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


async def _refused(now: datetime, unit: Unit) -> Sequence[tuple[Rung, str]]:
    return await unit.escalations.refused(now - REFUSED_WITHIN)


async def _queued(now: datetime, unit: Unit) -> Sequence[tuple[Rung, str]]:
    return await unit.escalations.queued(now - HELD_AFTER)


async def _note_refused(rung: Rung, why: str, now: datetime, unit: Unit) -> None:
    """Write down that a call failed for good on its way, and do not wait for the next one."""
    found, customer = await _failed(rung, RungState.FAILED, why, unit)
    await _sooner(rung, found, f"上一种方式失败：{why}", now, unit)
    # Those that one call told have its key, so that it is said once.
    await _cannot(f"{rung.told}:refused", "升级通知没有送达", rung, found, customer, why, now, unit)


async def _note_held(rung: Rung, reason: str, now: datetime, unit: Unit) -> None:
    """Write down that a call has yet to go out, and do not wait for it: it may still arrive."""
    why = f"{int(HELD_AFTER.total_seconds()) // 60} 分钟后仍未送出：{reason or '通道繁忙'}"
    found, customer = await _failed(rung, RungState.HELD, why, unit)
    if found.stopped_at:
        return
    await _sooner(rung, found, f"上一种方式 {why}", now, unit)
    await _cannot(f"{rung.told}:held", "升级通知还没有送出", rung, found, customer, why, now, unit)


async def _failed(
    rung: Rung, state: RungState, why: str, unit: Unit
) -> tuple[Escalation, Customer]:
    """Write down why a call has not arrived, and return whose it is."""
    found = await unit.escalations.climb(rung.incident, rung.round)
    assert found is not None
    await unit.escalations.mark(replace(rung, state=state, note=_noted(rung, why)))
    customer = await unit.customers.get(found.customer)
    assert customer is not None
    return found, customer


async def _ready(now: datetime, window: timedelta, unit: Unit) -> list[Call]:
    """Return the calls to make now, each with all that the same person can be told at once."""
    due = await unit.escalations.due(now + window)
    if not due or due[0].due > now:
        return []
    climbs = await _climbs(due, unit)
    there: dict[tuple[int, int], Whom] = {}
    turns = []
    for rung in due:
        climb = climbs[rung.incident, rung.round]
        ahead = rungs.policy_of(climb).levels[rung.level].ahead
        known = there.get((climb.customer, ahead))
        person = known or await calls.whom(rung, climb, now, unit)
        there[climb.customer, ahead] = person
        turns.append(Turn(rung, climb, person.name))
    lately = await _lately(now, unit)
    ready = []
    for together in rungs.together(turns, lately, now):
        lead = together[0]
        customer = await unit.customers.get(lead.climb.customer)
        assert customer is not None
        ahead = rungs.policy_of(lead.climb).levels[lead.rung.level].ahead
        ready.append(Call(customer, there[customer.id, ahead], together))
    return ready


async def _lately(now: datetime, unit: Unit) -> dict[rungs.Line, datetime]:
    """Return when each line was last called, of those that were just now."""
    done = await unit.escalations.done(now - rungs.BREATH - rungs.LATE)
    fresh = [rung for rung in done if rung.at and now - rung.at < rungs.BREATH]
    climbs = await _climbs(fresh, unit)
    found: dict[rungs.Line, datetime] = {}
    for rung in sorted(fresh, key=lambda each: each.at or now):
        line = Turn(rung, climbs[rung.incident, rung.round], rung.name).line
        found[line] = rung.at or now
    return found


async def _climbs(of: Sequence[Rung], unit: Unit) -> dict[tuple[int, int], Escalation]:
    incidents = sorted({rung.incident for rung in of})
    found = await unit.escalations.of_incidents(incidents)
    return {(climb.incident, climb.round): climb for climb in found}


async def _make(call: Call, now: datetime, chats: Mapping[str, ChatPlatform], unit: Unit) -> None:
    """Make one call: each incident's row is marked, and the next lap of each is written down."""
    entry = await calls.entry(call, now, chats, unit)
    reached = isinstance(entry, Delivery)
    state = RungState.DONE if reached else RungState.NOBODY
    said = call.whom.gap if isinstance(entry, Delivery) else entry
    told = call.rung.key if reached else ""
    order = calls.newest_first(call.turns)
    marked = [
        replace(
            turn.rung,
            state=state,
            at=now,
            name=call.whom.name,
            note=_noted(turn.rung, said, calls.beside(order, turn)),
            told=told,
        )
        for turn in call.turns
    ]
    await unit.escalations.mark_all(marked)
    if isinstance(entry, Delivery):
        await unit.outbox.put(entry)
    else:
        lead = call.turns[0]
        key = f"{call.rung.key}:nobody"
        more = calls.beside(order, lead)
        why = f"{entry}（{more}）" if more else entry
        title = "升级通知无法发出"
        await _cannot(key, title, lead.rung, lead.climb, call.customer, why, now, unit)
        for turn in call.turns:
            await _sooner(turn.rung, turn.climb, f"上一种方式失败：{entry}", now, unit)
    await _go_on(call.turns, now, unit)


def _noted(rung: Rung, *more: str) -> str:
    """Return a rung's note with more said in it."""
    return "；".join(part for part in (rung.note, *more) if part)


async def _sooner(rung: Rung, climb: Escalation, why: str, now: datetime, unit: Unit) -> None:
    """Have the next way called at once, because this one cannot be, and say why on its row."""
    known = await unit.escalations.rungs(climb.incident, climb.round)
    between = rungs.policy_of(climb).between
    changed = rungs.sooner(known, rung, between, now)
    if changed:
        first = replace(changed[0], note=why)
        await unit.escalations.mark_all([first, *changed[1:]])


async def _cannot(
    key: str,
    title: str,
    rung: Rung,
    climb: Escalation,
    customer: Customer,
    why: str,
    now: datetime,
    unit: Unit,
) -> None:
    """Tell the operations group that somebody was not reached."""
    card = say(
        title,
        f"{customer.name} 事件 #{rung.incident}「{climb.title}」第 {rung.level + 1} 级",
        why,
        tone=Tone.BAD,
    )
    await alarm(key, card, now, unit)


async def _go_on(turns: Sequence[Turn], now: datetime, unit: Unit) -> None:
    """Write the next lap down of each climb whose lap has no call left."""
    climbs = {(turn.climb.incident, turn.climb.round): turn for turn in turns}
    left = await unit.escalations.left(sorted({turn.climb.incident for turn in turns}))
    over = [turn for name, turn in climbs.items() if name not in left]
    await unit.escalations.put(
        [
            rung
            for turn in over
            for rung in rungs.lap(turn.climb, rungs.next_lap(turn.climb, turn.rung.lap, now))
        ]
    )


async def _redraw(made: Sequence[Turn], now: datetime, unit: Unit) -> None:
    """Have those cards drawn that say when somebody is called next: in a storm its one card, which
    speaks for all."""
    incidents: dict[int, set[int]] = {}
    for turn in made:
        incidents.setdefault(turn.climb.customer, set()).add(turn.climb.incident)
    for customer, numbers in sorted(incidents.items()):
        calm = (await unit.incidents.storm(customer)).phase is StormPhase.NORMAL
        own = [f"incident:{number}" for number in sorted(numbers)]
        for key in own if calm else [f"storm:{customer}"]:
            if card := await unit.outbox.living(key):
                await unit.outbox.mark(key, card.chat, now)


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

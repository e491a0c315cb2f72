"""What the commands about on-call share: the customer's roster, its shifts, and the audit of changes."""

from __future__ import annotations

from datetime import datetime, timedelta

from adapters.card import Card, dumps
from adapters.port import UsageError
from adapters.words import Chat, Person
from commands.declare import Call
from commands.desk import Desk, desk_of
from runbooks.alerting.oncall import ladder, reach, rota
from runbooks.alerting.oncall.rota import Shift
from storage.records import Delivery, DeliveryState, Lane
from storage.roster import Callee, Override, Roster

GROUP = "值班与升级"
YEAR = timedelta(days=366)
EMPTY = "还没有值班表：请输入 /oncall add @某人"


async def roster_of(desk: Desk) -> Roster:
    """Return the roster of the group's customer; UsageError when nobody is in it."""
    roster = await desk.unit.oncall.roster(desk.owner().id)
    if roster is None or not roster.callees:
        raise UsageError(EMPTY)
    return roster


async def shifts_of(
    roster: Roster, since: datetime, until: datetime, desk: Desk
) -> tuple[Shift, ...]:
    """Return who is on call from then until then, with what was changed for a while."""
    overrides = await desk.unit.oncall.overrides(roster.customer, since, until)
    return rota.shifts(roster, overrides, since, until)


async def obstacles_of(
    roster: Roster, desk: Desk, *only: Callee, being_rung: bool = False
) -> list[str]:
    """Say who cannot be addressed or called by one of the policy's ways, and whom no call has reached
    yet: that nobody knows of those who are being rung just now."""
    policy = await ladder.policy_of(desk.unit, roster.customer)
    ways = {way for level in policy.levels for way in level.ways}
    found = []
    for callee in only or roster.callees:
        person = await reach.person_of(callee, desk.unit)
        if why := await reach.obstacle(callee, desk.chats, desk.unit):
            found.append(why)
        elif person and not being_rung and not await desk.unit.escalations.proved(person):
            found.append(f"{callee.name} 还没有收到过机器人的呼叫：请用 /oncall test 验证")
        found += reach.unregistered(callee, ways, desk.chats)
    return found


async def shut_of(desk: Desk) -> list[str]:
    """Say which ways of the policy of the group's customer reach nobody."""
    policy = await ladder.policy_of(desk.unit, desk.owner().id)
    return await reach.shut(desk.owner(), policy, desk.chats, desk.unit)


async def keep(roster: Roster, deed: str, what: str, call: Call) -> None:
    """Keep a roster, and who changed it."""
    await desk_of(call).unit.oncall.save(roster)
    await audit(deed, what, call)


async def override_of(
    roster: Roster, name: str, begins: datetime, ends: datetime, note: str, call: Call
) -> Override:
    """Put somebody on call for a while, and keep who wanted it."""
    desk, by = desk_of(call), call.message.sender
    row = Override(0, roster.customer, begins, ends, name, desk.clock.now(), by, note)
    await audit("oncall-override", f"{name} {begins.isoformat()} {ends.isoformat()}", call)
    return await desk.unit.oncall.override(row)


async def audit(deed: str, what: str, call: Call) -> None:
    """Keep who did what about the on-call of the group's customer."""
    desk = desk_of(call)
    detail = {"customer": desk.owner().name, "what": what}
    await desk.unit.audit.add(desk.clock.now(), call.message.sender.name, deed, detail)


def ring(key: str, card: Card, person: Person, now: datetime) -> Delivery:
    """Return a call of somebody that waits behind no alarm."""
    chat = Chat(person.platform, person.id)
    return Delivery(
        0, key, chat, Lane.NORMAL, DeliveryState.WAITING, now, card=dumps(card), ring=person
    )

"""/ack and /unack: somebody takes care of an incident, or does not any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Person
from commands.declare import Call, Numbered, Several, Where, command
from commands.desk import Desk, desk_of
from runbooks.alerting.incident_cards import NAMED, microseconds
from runbooks.alerting.respond import Responder
from storage.records import Incident, IncidentState

Find = Callable[[int, Call], Awaitable[tuple[Responder, Incident]]]
"""Returns the incident of a number with who acknowledges it, or raises UsageError."""

_ALL = "确认一个客户的全部请到客户群输入 /ack 0"


def responder(call: Call) -> Responder:
    """Return the caller as somebody who may do something about this group's incidents."""
    desk = desk_of(call)
    customer, now = desk.owner(), desk.clock.now()
    return Responder(customer, call.message.sender, now, desk.house, desk.unit)


async def meant(number: int, state: IncidentState, call: Call) -> Incident:
    """Return the incident of that number; of 0 the only one in that state, or say what to type."""
    who = responder(call)
    if number:
        return await who.find(number)
    found = [incident for incident in await who.open() if incident.state is state]
    if not found:
        called = "未确认" if state is IncidentState.OPEN else "已确认"
        raise UsageError(f"现在没有{called}的告警组")
    if len(found) > 1:
        names = "、".join(f"#{each.id} {each.title[:20]}" for each in found[:5])
        raise UsageError(f"请写明编号。现在有 {len(found)} 个：{names}")
    return found[0]


@command("/ack", examples=("/ack 12", "/ack", "/ack 12 13"), group="告警")
async def ack(*numbers: Several, call: Call) -> Card:
    """确认告警组：停止升级，表示有人在处理。只有一个未确认的时候可以不写编号；私聊里要写编号。

    Parameters
    ----------
    numbers
        告警组的编号，见 /alerts；0 表示全部，在私聊里是最近一次呼叫您的全部。
    """
    desk, by = desk_of(call), call.message.sender
    asked = [number for some in numbers for number in some]
    if desk.customer is None:
        # Whoever is rung reads there what to type, and is to type it there.
        if 0 in asked:
            return _done(await _ack_each(await _called_for(by, desk), _anybodys, call))
        if not asked:
            raise UsageError(f"这里不是客户群：请写明编号，例如 /ack 12；{_ALL}")
        return _done(await _ack_each(asked, _anybodys, call))
    who = responder(call)
    if 0 in asked:
        return _done(await who.ack_all(microseconds(desk.clock.now())))
    if not asked:
        return _done(await who.ack(await meant(0, IncidentState.OPEN, call)))
    return _done(await _ack_each(asked, _ours, call))


async def _ours(number: int, call: Call) -> tuple[Responder, Incident]:
    """Return the caller, and an incident of this group's customer."""
    who = responder(call)
    return who, await who.find(number)


async def _anybodys(number: int, call: Call) -> tuple[Responder, Incident]:
    """Return the caller as one of its customer's group, and an incident from outside of that group,
    where only our own people may."""
    desk = desk_of(call)
    found = await desk.unit.incidents.get(number)
    customer = await desk.unit.customers.get(found.customer) if found else None
    if found is None or customer is None:
        raise UsageError(f"没有告警组 #{number}：请看通知里的编号")
    now = desk.clock.now()
    return Responder(customer, call.message.sender, now, desk.house, desk.unit), found


async def _called_for(by: Person, desk: Desk) -> Sequence[int]:
    """Return the open incidents of which the last call to somebody told."""
    unit = desk.unit
    told = await unit.escalations.told_to(by)
    if not told:
        raise UsageError(f"这里不是客户群，也没有呼叫过您：请写明编号，例如 /ack 12；{_ALL}")
    there = [await unit.incidents.get(number) for number in told]
    open_ = [each.id for each in there if each and each.state is IncidentState.OPEN]
    if not open_:
        raise UsageError(f"最近一次呼叫您的告警组都已有人确认或已恢复；{_ALL}")
    return open_


async def _ack_each(numbers: Sequence[int], find: Find, call: Call) -> str:
    """Acknowledge incidents, and say which and what kept the others: one that is over, or somebody
    else's by now, keeps none of them. Raises UsageError when it keeps all."""
    said: list[str] = []
    wrong: list[str] = []
    done: dict[str, list[int]] = {}
    for number in dict.fromkeys(numbers):
        try:
            who, incident = await find(number, call)
            said.append(_from(who.customer.name, call) + await who.ack(incident))
            done.setdefault(who.customer.name, []).append(number)
        except UsageError as error:
            wrong.append(_about(number, str(error)))
    if not done:
        raise UsageError("；".join(wrong))
    if len(said) == 1:
        return "；".join([*said, *wrong])
    counted = [f"{_from(name, call)}已确认 {_named(there)}" for name, there in done.items()]
    return "；".join([*counted, *wrong])


def _from(customer: str, call: Call) -> str:
    """Return whose an incident is, where that does not go without saying."""
    return "" if desk_of(call).customer else f"{customer}："


def _about(number: int, wrong: str) -> str:
    return wrong if f"#{number}" in wrong else f"#{number} {wrong}"


def _named(numbers: Sequence[int]) -> str:
    if len(numbers) > NAMED:
        return f"{len(numbers)} 个告警组"
    return "、".join(f"#{number}" for number in numbers)


@command("/unack", where=Where.CUSTOMER, examples=("/unack 12",), group="告警")
async def unack(number: Numbered = 0, *, call: Call) -> Card:
    """取消确认：继续按升级策略通知。

    Parameters
    ----------
    number
        告警组的编号，见 /alerts。
    """
    incident = await meant(number, IncidentState.ACKED, call)
    return _done(await responder(call).unack(incident))


def _done(*lines: str) -> Card:
    return say("告警", *lines, tone=Tone.GOOD)


ACK = (ack, unack)

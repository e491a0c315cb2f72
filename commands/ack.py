"""/ack and /unack: somebody takes care of an incident, or does not any more."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks.alerting.incident_cards import microseconds
from runbooks.alerting.respond import Responder
from storage.records import Incident, IncidentState


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
    if len(found) != 1:
        names = "、".join(f"#{each.id} {each.title[:20]}" for each in found[:5])
        there = f"现在有 {len(found)} 个：{names}" if found else "现在没有这样的告警组"
        raise UsageError(f"请写明编号。{there}")
    return found[0]


@command("/ack", examples=("/ack 12", "/ack", "/ack 12 13"), group="告警")
async def ack(*numbers: int, call: Call) -> Card:
    """确认告警组：停止升级，表示有人在处理。只有一个未确认的时候可以不写编号；私聊里要写编号。

    Parameters
    ----------
    numbers
        告警组的编号，见 /alerts；0 表示全部。
    """
    desk = desk_of(call)
    if desk.customer is None:
        # Whoever is rung reads there what to type, and is to type it there.
        return _done(*await _ack_here(numbers, call))
    who = responder(call)
    if 0 in numbers:
        return _done(await who.ack_all(microseconds(desk.clock.now())))
    found = [await meant(number, IncidentState.OPEN, call) for number in numbers or (0,)]
    return _done(*[await who.ack(incident) for incident in found])


async def _ack_here(numbers: Sequence[int], call: Call) -> list[str]:
    """Acknowledge incidents outside of their customers' groups, where only our own people may."""
    if not numbers or 0 in numbers:
        raise UsageError("这里不是客户群：请写明编号，例如 /ack 12；确认全部请到客户群输入 /ack 0")
    desk, said = desk_of(call), []
    for number in numbers:
        found = await desk.unit.incidents.get(number)
        customer = await desk.unit.customers.get(found.customer) if found else None
        if found is None or customer is None:
            raise UsageError(f"没有告警组 #{number}：请看通知里的编号")
        by, now = call.message.sender, desk.clock.now()
        done = await Responder(customer, by, now, desk.house, desk.unit).ack(found)
        said.append(f"{customer.name}：{done}")
    return said


@command("/unack", where=Where.CUSTOMER, examples=("/unack 12",), group="告警")
async def unack(number: int = 0, *, call: Call) -> Card:
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

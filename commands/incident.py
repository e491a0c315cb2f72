"""/incident: everything about one incident."""

from __future__ import annotations

from adapters.card import Card
from commands.ack import responder
from commands.declare import Call, Numbered, Where, command
from commands.desk import desk_of
from runbooks.alerting import show


@command("/incident", where=Where.CUSTOMER, examples=("/incident 12",), group="告警")
async def incident(number: Numbered, *, call: Call) -> Card:
    """查看一个告警组：告警、状态、下一次升级和可以做的事。

    Parameters
    ----------
    number
        告警组的编号，见 /alerts。
    """
    desk = desk_of(call)
    found = await responder(call).find(number)
    return await show.incident(found.id, desk.house, desk.clock.now(), desk.unit)

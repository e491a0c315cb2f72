"""/resolve: an incident is over, by a person's word."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from commands.ack import responder
from commands.declare import Call, Numbered, Where, command


@command("/resolve", where=Where.CUSTOMER, examples=("/resolve 12",), group="告警")
async def resolve(number: Numbered, *, call: Call) -> Card:
    """关闭告警组：问题已经解决。

    Parameters
    ----------
    number
        告警组的编号，见 /alerts。
    """
    who = responder(call)
    return say("告警", await who.resolve(await who.find(number)), tone=Tone.GOOD)

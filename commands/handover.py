"""/handover: a new password for the customer's own account, by a new one-time link."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.words import Role
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks.handover import begin


@command(
    "/handover", role=Role.ENGINEER, where=Where.CUSTOMER, examples=("/handover",), group="流程"
)
async def handover(*, call: Call) -> Card:
    """重设客户登录账号的密码，并给出新的一次性链接。"""
    desk = desk_of(call)
    run = await begin(desk.owner(), call.message.sender, desk.clock.now(), desk.unit)
    desk.begun.append(run)
    return say("重新交付登录账号", "新的一次性链接和验证码将私信给您", tone=Tone.WORKING)

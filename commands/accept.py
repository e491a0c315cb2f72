"""/accept: the acceptance again, for a customer whose onboarding is over."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Role
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks.acceptance import begin


@command("/accept", role=Role.ENGINEER, where=Where.CUSTOMER, examples=("/accept",), group="流程")
async def accept(*, call: Call) -> Card:
    """重新发起验收：检查单、签字、报告。"""
    desk = desk_of(call)
    if desk.customer is None:
        raise UsageError("本群还没有绑定客户：请输入 /bind 公司名")
    run = await begin(desk.customer, call.message.sender, desk.clock.now(), desk.unit)
    desk.begun.append(run)
    return say("验收已发起", f"客户「{desk.customer.name}」：请看进度卡", tone=Tone.WORKING)

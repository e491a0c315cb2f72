"""/bind: this group belongs to that customer."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Role
from commands.declare import Call, Verbatim, command
from commands.desk import desk_of
from runbooks.credentials import offer


@command("/bind", role=Role.ENGINEER, examples=("/bind 海蓝科技",), group="客户")
async def bind(company: Verbatim, *, call: Call) -> Card:
    """把本群绑定给一个客户。

    Parameters
    ----------
    company
        公司名，与合同一致。
    """
    desk = desk_of(call)
    customer = await desk.unit.customers.named(company)
    if customer is None:
        raise UsageError(f"没有客户「{company}」：请先输入 /onboard {company}")
    chat = call.message.chat
    await desk.unit.customers.bind(customer.id, chat)
    await offer(customer, chat, desk.clock.now(), desk.unit)
    return say("已绑定", f"本群属于客户「{customer.name}」", tone=Tone.GOOD)

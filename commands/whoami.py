"""/whoami: who the bot takes somebody for."""

from __future__ import annotations

from adapters.card import Card, Fields
from adapters.words import Role
from commands.declare import Call, command
from commands.desk import desk_of

TITLES = {Role.CUSTOMER: "客户", Role.ENGINEER: "工程师", Role.LEAD: "负责人"}


@command("/whoami", role=Role.CUSTOMER, examples=("/whoami",), group="其他")
async def whoami(*, call: Call) -> Card:
    """查看我的身份和本群的客户。"""
    customer = desk_of(call).customer
    pairs = (
        ("姓名", call.message.sender.name),
        ("账号", call.message.sender.id),
        ("角色", TITLES[call.role]),
        ("本群客户", customer.name if customer else "未绑定"),
    )
    return Card("我是谁", blocks=(Fields(pairs),))

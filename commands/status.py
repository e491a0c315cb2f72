"""/status: where the customer's run stands, or how the last one ended."""

from __future__ import annotations

from adapters.card import Card
from adapters.words import Role
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks.cards import drawn


@command("/status", role=Role.CUSTOMER, where=Where.CUSTOMER, examples=("/status",), group="流程")
async def status(*, call: Call) -> Card:
    """查看本群流程的当前进度。"""
    desk = desk_of(call)
    run = await desk.latest_run()
    return await drawn(desk.books, run.id, desk.unit)

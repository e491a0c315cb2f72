"""/ops: this group is where operations looks at every customer."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.words import Role
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks.walk import OPERATIONS


@command("/ops", role=Role.LEAD, where=Where.STAFF, examples=("/ops",), group="其他")
async def ops(*, call: Call) -> Card:
    """把本群设为运营群，显示所有客户的一览卡片。"""
    desk = desk_of(call)
    chat, now = call.message.chat, desk.clock.now()
    known = await desk.unit.outbox.living(OPERATIONS)
    if known and known.chat != chat:
        await desk.unit.outbox.move(OPERATIONS, chat)
    await desk.unit.outbox.mark(OPERATIONS, chat, now)
    await desk.unit.audit.add(now, call.message.sender.name, "ops", {"chat": chat.id})
    return say("运营群", "每个客户一行的一览卡片会显示在本群", tone=Tone.GOOD)

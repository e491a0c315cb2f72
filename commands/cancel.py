"""/cancel: end a run before its end."""

from __future__ import annotations

from adapters.card import Card, say
from adapters.words import Role
from commands.declare import Call, Rest, Where, command
from commands.desk import desk_of
from runbooks import walk as walking


@command(
    "/cancel",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/cancel 客户改期到下个月",),
    group="流程",
)
async def cancel(reason: Rest, *, call: Call) -> Card:
    """取消本群的流程，已做的事保留在台账里。

    Parameters
    ----------
    reason
        原因，必填。
    """
    desk = desk_of(call)
    run = await desk.run()
    now = desk.clock.now()
    await walking.cancel(run, reason, now, desk.unit)
    await desk.unit.audit.add(now, call.message.sender.name, "cancel", {"run": run.id})
    return say("已取消", reason)

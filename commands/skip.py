"""/skip: leave a line out, for a reason that the acceptance report will show."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.words import Role
from commands.declare import Call, Rest, Where, command
from commands.desk import desk_of
from runbooks import walk as walking


@command(
    "/skip",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/skip 客户机房今晚断网，明日补做",),
    group="流程",
)
async def skip(reason: Rest, *, call: Call) -> Card:
    """跳过当前步骤，原因会写进验收报告。

    Parameters
    ----------
    reason
        原因，必填。
    """
    desk = desk_of(call)
    run = await desk.run()
    by, now = call.message.sender, desk.clock.now()
    title = desk.books[run.book].line(run.line).title
    desk.begun.append(await walking.skip(desk.books, run, by, reason, now, desk.unit))
    await desk.unit.audit.add(now, by.name, "skip", {"run": run.id, "line": run.line})
    return say("已跳过", f"{title}：{reason}", tone=Tone.WARNING)

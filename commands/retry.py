"""/retry: walk the line again at which the run is stuck."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.words import Role
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks import walk as walking


@command("/retry", role=Role.ENGINEER, where=Where.CUSTOMER, examples=("/retry",), group="流程")
async def retry(*, call: Call) -> Card:
    """重试停下的步骤，已完成的服务器不会重做。"""
    desk = desk_of(call)
    run = await desk.run()
    desk.begun.append(await walking.retry(run, desk.clock.now(), desk.unit))
    return say(
        "重试", f"已重新开始：{desk.books[run.book].line(run.line).title}", tone=Tone.WORKING
    )

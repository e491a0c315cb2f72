"""/oncall export and import: the shifts as a calendar's file, out and in."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from commands.declare import Call, Where, command, number
from commands.desk import desk_of
from commands.oncall.desk import GROUP, override_of, roster_of, shifts_of
from runbooks.alerting.oncall import ical, rota
from storage.records import Delivery, DeliveryState, Lane


@command("/oncall export", where=Where.CUSTOMER, examples=("/oncall export",), group=GROUP)
async def export(days: Annotated[int, number(1, 366)] = 92, *, call: Call) -> Card:
    """导出班次为日历文件（.ics）。

    Parameters
    ----------
    days
        天数，默认 92。
    """
    desk = desk_of(call)
    roster, now, customer = await roster_of(desk), desk.clock.now(), desk.owner()
    # From before the running shift began: it is known by its begin, in each file the same.
    all_ = await shifts_of(roster, rota.steady(roster, now), now + timedelta(days=days), desk)
    found = [shift for shift in all_ if shift.ends > now]
    content = ical.written(f"{customer.name} 值班", roster, found, now)
    entry = Delivery(
        0,
        f"oncall-ics:{call.message.chat.platform}:{call.message.id}",
        call.message.chat,
        Lane.NORMAL,
        DeliveryState.WAITING,
        now,
        file_name=f"oncall-{customer.slug}.ics",
        file=content,
    )
    await desk.unit.outbox.put(entry)
    return say("值班日历", f"{len(found)} 个班次，见文件", tone=Tone.GOOD)


@command("/oncall import", where=Where.CUSTOMER, examples=("/oncall import",), group=GROUP)
async def import_(*, call: Call) -> Card:
    """把附上的日历文件（.ics）导入为临时调班；按天、按周重复的事件导入一年。"""
    desk = desk_of(call)
    roster, now = await roster_of(desk), desk.clock.now()
    if len(call.message.files) != 1:
        raise UsageError("请在同一条消息里附上一份 .ics 文件")
    entries = ical.read(call.message.files[0].content, roster, now)
    ahead = [entry for entry in entries if entry.ends > now]
    for entry in ahead:
        await override_of(roster, entry.name, entry.begins, entry.ends, "日历导入", call)
    past = len(entries) - len(ahead)
    words = f"{len(ahead)} 个班次" + (f"；{past} 个已经过去，没有导入" if past else "")
    return say("已导入", words, tone=Tone.GOOD)


FILES = (export, import_)

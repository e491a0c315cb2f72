"""/maintain: planned work on this group's customer, during which alerts are expected."""

from __future__ import annotations

from adapters.card import Card
from adapters.words import Role
from commands.declare import Call, Numbered, Rest, Where, command
from commands.desk import desk_of
from runbooks.alerting import pipeline, windows
from runbooks.alerting.muting import maintenance


@command(
    "/maintain",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=(
        "/maintain 11-28 22:00 2h host=db-01 升级数据库",
        "/maintain 每周六 22:00 2h 例行重启",
        "/maintain 现在 1h 更换交换机",
        "/maintain",
    ),
    group="告警",
)
async def maintain(what: Rest = "", *, call: Call) -> Card:
    """计划维护窗口，期间的告警只记录不通知；什么都不写就列出现有的窗口。

    Parameters
    ----------
    what
        开始、时长、条件和内容，例如 11-28 22:00 2h host=db-01 升级数据库。
    """
    desk = desk_of(call)
    customer, now = desk.owner(), desk.clock.now()
    if not what.strip():
        there = await desk.unit.maintenance.of(customer.id, now)
        return windows.listed(there, now, desk.house.zone)
    plan = maintenance.read(what, now, desk.house.zone)
    made = await windows.plan(customer, plan, call.message.sender, now, desk.unit)
    await pipeline.reconsider(customer, now, desk.house, desk.unit)
    return windows.planned(made, desk.house.zone)


@command(
    "/maintain end",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/maintain end 2",),
    group="告警",
)
async def end(number: Numbered, *, call: Call) -> Card:
    """取消或提前结束一个维护窗口。

    Parameters
    ----------
    number
        编号，见 /maintain。
    """
    desk = desk_of(call)
    by, now = call.message.sender, desk.clock.now()
    ended = await windows.call_off(number, desk.owner(), by, now, desk.unit)
    await pipeline.reconsider(desk.owner(), now, desk.house, desk.unit)
    return windows.called_off(ended)


MAINTAIN = (maintain, end)

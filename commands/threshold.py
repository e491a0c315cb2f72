"""/threshold: when this group's customer is told of alerts, and when they are a storm."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Role
from commands.declare import Call, Rest, Where, command
from commands.desk import desk_of
from runbooks import threshold as raising
from runbooks.alerting.adjust import Adjuster, listed
from runbooks.alerting.thresholds import HOW, Last, Limit, Set, knob, read, rule_of
from runbooks.alerting.tuning import tuning_of


def adjuster(call: Call) -> Adjuster:
    """Return the caller as somebody who decides about this group's alerts."""
    desk = desk_of(call)
    return Adjuster(desk.owner(), call.message.sender, desk.clock.now(), desk.house, desk.unit)


@command(
    "/threshold",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=(
        "/threshold CPU 95",
        "/threshold 磁盘将满 持续 10分钟",
        "/threshold 主机离线 持续 3分钟 含严重",
        "/threshold 风暴 50",
        "/threshold",
    ),
    group="告警",
)
async def threshold(what: Rest = "", *, call: Call) -> Card:
    """调整告警阈值、持续时间、风暴阈值、冷却和聚合；什么都不写就列出现在的设置。

    Parameters
    ----------
    what
        规则和新的值，例如 CPU 95、磁盘将满 持续 10分钟、风暴 50。
    """
    desk = desk_of(call)
    if not what.strip():
        return await listed(desk.owner(), desk.house.alerting, desk.unit)
    match read(what):
        case Set() as asked:
            return say("告警阈值", f"已更改 {await adjuster(call).set(asked)}", tone=Tone.GOOD)
        case Last() as asked:
            return await adjuster(call).hold(asked)
        case Limit(rule, value):
            return await _raise(rule, value, call)


@command(
    "/threshold reset",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/threshold reset CPU", "/threshold reset 风暴"),
    group="告警",
)
async def reset(what: Rest, *, call: Call) -> Card:
    """恢复一条规则或一项设置的默认值。

    Parameters
    ----------
    what
        规则或设置的名称，见 /threshold。
    """
    desk = desk_of(call)
    customer = desk.owner()
    name = what.strip() if knob(what.strip()) else rule_of(what)
    tuning = await tuning_of(customer.id, desk.unit)
    usual = raising.standard(name)
    gone = await adjuster(call).reset(name)
    if name in tuning.thresholds and usual is not None:
        return await _raise(name, usual, call)
    if gone:
        return say("告警阈值", f"已恢复默认：{gone}", tone=Tone.GOOD)
    if name in tuning.thresholds:
        raise UsageError(f"「{name}」没有标准阈值：请写明要的值，例如 /threshold {name} 90")
    raise UsageError(f"「{name}」现在就是默认值。{HOW}")


async def _raise(rule: str, value: float, call: Call) -> Card:
    """Begin to set a threshold in the customer's VigilOps: the run's card says what came of it."""
    desk = desk_of(call)
    by, now = call.message.sender, desk.clock.now()
    desk.begun.append(await raising.begin(desk.owner(), rule, value, by, now, desk.unit))
    return say("告警阈值", f"正在把监控里「{rule}」的阈值改为 {value:g}", tone=Tone.WORKING)


THRESHOLD = (threshold, reset)

"""/tier: another service level for this group's customer."""

from __future__ import annotations

from typing import Annotated

from adapters.card import Card, Fields, Style, Text, Tone
from adapters.port import UsageError
from adapters.words import Role
from commands.declare import Call, Where, choice, command
from commands.desk import desk_of
from runbooks import fleet
from runbooks.rules import rules_of
from storage.records import TIER_NAMES, TIER_PRICES, Tier

TIERS = {"基础版": Tier.BASIC, "专业版": Tier.PRO}


@command(
    "/tier",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/tier 专业版",),
    group="客户",
)
async def tier(level: Annotated[Tier, choice(TIERS)], *, call: Call) -> Card:
    """更改本群客户的服务等级。

    Parameters
    ----------
    level
        服务等级：基础版或专业版。
    """
    desk = desk_of(call)
    customer = desk.owner()
    if customer.tier is level:
        raise UsageError(f"客户「{customer.name}」已经是{TIER_NAMES[level]}")
    in_time = await fleet.retier(customer.id, level, desk.unit)
    detail = {"customer": customer.name, "from": str(customer.tier), "to": str(level)}
    await desk.unit.audit.add(desk.clock.now(), call.message.sender.name, "tier", detail)
    before, after = ({rule.title for rule in rules_of(t)} for t in (customer.tier, level))
    pairs = (
        ("等级", f"{TIER_NAMES[customer.tier]} → {TIER_NAMES[level]}"),
        ("月费", f"¥{TIER_PRICES[customer.tier]:,} → ¥{TIER_PRICES[level]:,}"),
        ("增加的告警规则", "、".join(sorted(after - before)) or "无"),
        ("减少的告警规则", "、".join(sorted(before - after)) or "无"),
    )
    paper = Text("已发出的合同仍是原等级：请与客户另签补充协议", Style.QUIET)
    if in_time and customer.in_service_since is None:
        return Card("服务等级已更改", Tone.GOOD, (Fields(pairs), paper))
    again = Text("监控里的告警规则还是原等级的：必须重新执行告警配置才会生效", Style.STRONG)
    return Card("服务等级已更改", Tone.WARNING, (Fields(pairs), again, paper))

"""The alert rules of the SOP, by tier: both of its tables as data.

VigilOps keeps `duration_seconds` badly (a rule of 120 s may never fire, one of 300 s may never
recover), so every rule there has duration 0 and the "for five minutes" is kept by us.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.records import Tier


class Action(StrEnum):
    """What is done when a rule fires, in the SOP's words."""

    NOTIFY = "通知"
    ANALYSE_NOTIFY = "AI 分析 + 通知"
    ANALYSE = "AI 分析"
    RUNBOOK = "自动执行 Runbook"
    HUMAN = "人工介入"
    CUSTOM = "自动/半自动"
    EARLY = "提前通知"


@dataclass(frozen=True, slots=True)
class TierRule:
    """One line of a tier's table."""

    key: str
    title: str
    threshold: str
    """As the SOP words it."""
    action: Action
    tier: Tier
    metric: str = ""
    """The monitor's metric; empty when the bot itself watches."""
    operator: str = ">"
    value: float = 0.0
    severity: str = "warning"
    target: str = "host"
    hold_seconds: int = 0
    """How long it must last before it counts; kept by the bot."""


OURS = "Vigilbot "
"""What the names of our rules in the monitor begin with."""
TEST = "Vigilbot 测试 "
"""What the names of the rules that only test begin with."""

FIVE_MINUTES = 300

RULES: tuple[TierRule, ...] = (
    TierRule(
        "cpu", "CPU > 90%", "持续 5 分钟", Action.NOTIFY, Tier.BASIC,
        "cpu_percent", ">", 90.0, hold_seconds=FIVE_MINUTES,
    ),
    TierRule(
        "memory", "内存 > 85%", "持续 5 分钟", Action.NOTIFY, Tier.BASIC,
        "memory_percent", ">", 85.0, hold_seconds=FIVE_MINUTES,
    ),
    TierRule(
        "disk", "磁盘 > 90%", "立即", Action.NOTIFY, Tier.BASIC,
        "disk_percent", ">", 90.0, "critical",
    ),
    TierRule(
        "service", "服务宕机", "立即", Action.NOTIFY, Tier.BASIC,
        "service_down", "==", 1.0, "critical", "service",
    ),
    TierRule("anomaly", "异常检测", "AI 判定", Action.ANALYSE_NOTIFY, Tier.PRO),
    TierRule("slow-query", "慢查询", "> 1s", Action.ANALYSE, Tier.PRO, value=1.0),
    TierRule("log", "日志异常", "关键字匹配", Action.ANALYSE_NOTIFY, Tier.PRO),
    TierRule("remediation", "自动修复", "预设条件", Action.RUNBOOK, Tier.PRO),
    TierRule("sla", "SLA 违规预警", "接近阈值", Action.HUMAN, Tier.PRO),
    TierRule("custom", "定制 Runbook", "客户定义", Action.CUSTOM, Tier.PRO),
    TierRule("capacity", "容量预测", "AI 预测", Action.EARLY, Tier.PRO),
)  # fmt: skip


def rules_of(tier: Tier) -> tuple[TierRule, ...]:
    """Return the rules of a tier: 专业版 has those of 基础版 and more."""
    return tuple(rule for rule in RULES if tier is Tier.PRO or rule.tier is Tier.BASIC)

"""Phase 6, 持续运维: what is owed to a customer in service, and how often.

Until a duty has hands of its own, the clock asks for it in the operations group when it is due,
and a person says that it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from storage.records import Tier


class Rhythm(StrEnum):
    """How often a duty is owed."""

    ALWAYS = "always"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"


@dataclass(frozen=True, slots=True)
class Duty:
    """One line of phase 6. `key` is its id in the hand-written list of the SOP."""

    key: str
    title: str
    rhythm: Rhythm
    tier: Tier = Tier.BASIC
    """The lowest tier that is owed it."""


DUTIES: tuple[Duty, ...] = (
    Duty("duty-respond", "告警监控和响应", Rhythm.ALWAYS),
    Duty("duty-ai", "AI 自动分析和修复", Rhythm.ALWAYS, Tier.PRO),
    Duty("duty-weekly", "异常趋势分析", Rhythm.WEEKLY),
    Duty("duty-monthly", "运维报告 + 容量评估", Rhythm.MONTHLY),
    Duty("duty-monthly-send", "月度运维报告发送", Rhythm.MONTHLY),
    Duty("duty-upgrade", "VigilOps 版本升级", Rhythm.MONTHLY),
    Duty("duty-agents", "Agent 批量更新", Rhythm.MONTHLY),
    Duty("duty-rules", "告警规则优化", Rhythm.MONTHLY),
    Duty("duty-quarterly", "服务回顾 + 优化建议", Rhythm.QUARTERLY),
)

CURES: dict[str, str] = {
    "cure-network": "请确认网络连通性：端口放行、路由、DNS",
    "cure-ssh": "请确认 SSH 权限：用户、密码或密钥、sudo",
    "cure-offline": "无法联网的服务器请使用离线安装包",
    "cure-thresholds": "告警过多时先调整阈值：按风暴总结上的按钮，或 /threshold",
    "cure-noise": "启用告警降噪：冷却期 + 聚合，/threshold 冷却、等待、间隔",
    "cure-priority": "由 AI 自动分类优先级，只升不降",
    "cure-effort": "定制需求先评估工作量",
    "cure-free": "专业版每月含免费定制工时",
    "cure-quote": "超出部分单独报价",
}
"""The SOP's frequent problems: what is done about each, by its id."""

WEEK = timedelta(days=7)
QUARTER = 3


def owed(tier: Tier) -> tuple[Duty, ...]:
    """Return the duties that a tier is owed."""
    return tuple(duty for duty in DUTIES if tier is Tier.PRO or duty.tier is Tier.BASIC)


def next_due(duty: Duty, begun: date, after: date) -> date | None:
    """Return the first day after `after` on which a duty falls due, counted from the day on which
    service began; None for what is owed at every hour.

    A month that has no such day (the 31st) has its last day instead.
    """
    if duty.rhythm is Rhythm.ALWAYS:
        return None
    if duty.rhythm is Rhythm.WEEKLY:
        weeks = max((after - begun).days // 7 + 1, 1)
        return begun + weeks * WEEK
    step = QUARTER if duty.rhythm is Rhythm.QUARTERLY else 1
    months = step
    while (day := _months_later(begun, months)) <= after:
        months += step
    return day


def outstanding(duty: Duty, begun: date, done: date | None, today: date) -> date | None:
    """Return the day since which a duty is owed and not done; None when it is not due. `done` is the
    day on which it was last done."""
    due = next_due(duty, begun, max(done or begun, begun))
    return due if due and due <= today else None


def _months_later(start: date, months: int) -> date:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    first_of_next = date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    last = (first_of_next - timedelta(days=1)).day
    return date(year, month + 1, min(start.day, last))

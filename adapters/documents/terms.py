"""What each tier promises. Prices, rules and report rhythm are the SOP's; it names no figures
for response and availability, so those here are the house's offer, in one place to be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Terms:
    name: str
    price: str
    hours: str
    availability: str
    response: tuple[tuple[str, str, str, str], ...]
    """Severity, what it means, first response within, target of recovery."""
    scope: tuple[tuple[str, str, str], ...]
    """Metric, threshold, action: the SOP's alert tables."""
    reports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Promise:
    """What a provider promises in place of the figures below."""

    critical: int
    """Minutes until a person answers."""
    warning: int
    availability: float
    """Per cent of a month."""


Promises = Mapping[str, Promise]
"""By the tier's code."""

HOUR = 60

_BASIC_SCOPE = (
    ("CPU > 90%", "持续 5 分钟", "通知"),
    ("内存 > 85%", "持续 5 分钟", "通知"),
    ("磁盘 > 90%", "立即", "通知"),
    ("服务宕机", "立即", "通知"),
)

_PRO_SCOPE = (
    *_BASIC_SCOPE,
    ("异常检测", "AI 判定", "AI 分析 + 通知"),
    ("慢查询", "> 1s", "AI 分析"),
    ("日志异常", "关键字匹配", "AI 分析 + 通知"),
    ("自动修复", "预设条件", "自动执行 Runbook"),
    ("SLA 违规预警", "接近阈值", "人工介入"),
    ("定制 Runbook", "客户定义", "自动/半自动"),
    ("容量预测", "AI 预测", "提前通知"),
)

BASIC = Terms(
    name="托管基础版",
    price="¥699/月",
    hours="告警监控 7×24 小时；人工响应 工作日 9:00–18:00，严重故障 7×24 小时",
    availability="监控平台月可用性不低于 99.5%",
    response=(
        ("严重", "服务宕机或核心业务不可用", "30 分钟", "4 小时"),
        ("警告", "性能下降或资源接近上限", "2 小时", "1 个工作日"),
        ("提示", "咨询与变更申请", "1 个工作日", "3 个工作日"),
    ),
    scope=_BASIC_SCOPE,
    reports=(
        "每周：异常趋势分析",
        "每月：运维报告 + 容量评估",
        "每季：服务回顾 + 优化建议",
    ),
)

PRO = Terms(
    name="托管专业版",
    price="¥1,599/月",
    hours="告警监控与人工响应 7×24 小时",
    availability="监控平台月可用性不低于 99.9%",
    response=(
        ("严重", "服务宕机或核心业务不可用", "15 分钟", "2 小时"),
        ("警告", "性能下降或资源接近上限", "1 小时", "8 小时"),
        ("提示", "咨询与变更申请", "4 小时", "1 个工作日"),
    ),
    scope=_PRO_SCOPE,
    reports=(
        *BASIC.reports,
        "容量预测达到阈值时提前通知；SLA 接近违约时由人工说明",
    ),
)

_BY_NAME = {
    "basic": BASIC,
    "基础版": BASIC,
    BASIC.name: BASIC,
    "pro": PRO,
    "专业版": PRO,
    PRO.name: PRO,
}


def terms_of(tier: str, promises: Promises) -> Terms | None:
    """Find a tier by its code (`basic`, `pro`) or its Chinese name, with what is promised for it."""
    terms = _BY_NAME.get(tier.strip().lower())
    if terms is None:
        return None
    promise = promises.get("pro" if terms is PRO else "basic")
    return promised(terms, promise) if promise else terms


def promised(terms: Terms, promise: Promise) -> Terms:
    """Return the terms with these figures."""
    critical, warning, *rest = terms.response
    return replace(
        terms,
        availability=f"监控平台月可用性不低于 {promise.availability:g}%",
        response=(
            (*critical[:2], _duration(promise.critical), critical[3]),
            (*warning[:2], _duration(promise.warning), warning[3]),
            *rest,
        ),
    )


def _duration(minutes: int) -> str:
    hours, left = divmod(minutes, HOUR)
    return f"{minutes} 分钟" if left or not hours else f"{hours} 小时"

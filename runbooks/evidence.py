"""The acceptance checklist with the evidence behind each item: drawn up once, hashed, signed.

Pure: what the lines proved and what the monitor shows go in, canonical JSON comes out. Whoever
has the JSON can compute the hash again with `sha256sum`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from runbooks.case import Onboarding
from storage.records import Line, LineState, Tier

SHORT = 8
"""Letters of the hash that stand on a card and in a button."""


class Result(StrEnum):
    """How an item of the checklist stands, in the words of the report."""

    PASSED = "通过"
    SKIPPED = "跳过"
    MISSING = "未通过"


@dataclass(frozen=True, slots=True)
class Check:
    """One item of the SOP's checklist, and the lines whose proof is its evidence."""

    key: str
    """Its id in the hand-written list of the SOP."""
    title: str
    lines: tuple[str, ...] = ()
    tier: Tier = Tier.BASIC
    """The lowest tier that it concerns."""
    figure: str = ""
    """The figure read from the monitor that belongs to it; empty when the lines say it all."""


CHECKS = (
    Check("accept-data", "所有服务器数据正常采集", figure="data"),
    Check("accept-dashboard", "Dashboard 展示正确", figure="dashboard"),
    Check("accept-rules", "告警规则生效（模拟触发测试）", ("simulate",), figure="rules"),
    Check("accept-channels", "通知渠道畅通", ("test-received",), figure="channel"),
    Check("accept-ai", "AI 分析功能正常", ("ai",), Tier.PRO),
    Check("accept-remediation", "自动修复功能测试通过", ("remediation",), Tier.PRO),
    Check("accept-training", "客户管理员已培训", ("training",)),
)

TITLES = {
    "group": "建立客户群",
    "contract": "生成服务合同",
    "sheet": "生成客户信息表",
    "signed": "确认合同已签",
    "probe": "检查服务器连通性",
    "ports": "规划端口",
    "deploy": "部署监控实例",
    "healthy": "检查实例健康",
    "reach": "检查服务器到实例的连通",
    "admin": "创建管理员账号",
    "ai-key": "配置 AI 密钥",
    "retention": "设置数据保留策略",
    "backup": "配置备份",
    "agent": "安装 Agent",
    "online": "确认数据上报",
    "counted": "仪表盘核对",
    "channel": "配置告警渠道",
    "rules": "配置告警规则",
    "channels": "确认通知渠道",
    "test-send": "发送测试告警",
    "test-received": "客户确认收到测试告警",
    "escalation": "设置告警升级策略",
    "approvers": "指定验收人",
    "simulate": "模拟告警",
    "ai": "AI 分析测试",
    "remediation": "自动修复演练",
    "training": "客户管理员已培训",
    "checklist": "生成验收检查单",
    "invite": "私信签字链接",
    "sign": "客户签字验收",
    "report": "生成验收报告",
    "papers": "交付报告模板、联系方式、手册",
    "handover": "交付登录账号",
    "service": "进入持续运维",
}
"""What a skipped line, or one that a refusal may reopen, is called; its key when not in here."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What the monitor showed when it was asked: `ok` is whether that is as it must be."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item with what proves it."""

    key: str
    title: str
    result: Result
    evidence: str
    at: str
    """ISO 8601 with the house's offset."""
    link: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that was left out, by whom and why."""

    key: str
    title: str
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the approvers are shown, and nothing else."""

    run: str
    company: str
    tier: str
    round: int
    at: str
    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """When the monitor was asked, where, and what it showed, by the figure's name."""

    at: datetime
    link: str
    figures: Mapping[str, Figure]
    zone: ZoneInfo


def drawn_up(run: str, case: Onboarding, lines: Mapping[str, Line], reading: Reading) -> Evidence:
    """Hold the SOP's checklist against what was proved."""
    return Evidence(
        run,
        case.company,
        str(case.tier),
        case.round,
        _stamp(reading.at, reading.zone),
        tuple(_item(check, lines, reading) for check in checks_of(case.tier)),
        tuple(
            Skipped(key, title_of(key), line.note, line.by.name if line.by else "")
            for key, line in sorted(lines.items())
            if line.state is LineState.SKIPPED
        ),
    )


def checks_of(tier: Tier) -> tuple[Check, ...]:
    """Return the items that concern a tier."""
    return tuple(c for c in CHECKS if tier is Tier.PRO or c.tier is Tier.BASIC)


def title_of(key: str) -> str:
    """Return what a line is called."""
    return TITLES.get(key, key)


def gaps(evidence: Evidence) -> tuple[Item, ...]:
    """Return the items that nothing proves and nobody skipped: nobody may sign over them."""
    return tuple(item for item in evidence.items if item.result is Result.MISSING)


def canonical(evidence: Evidence) -> str:
    """Return the one JSON text of an evidence: sorted keys, no spaces, UTF-8 as it is."""
    return json.dumps(asdict(evidence), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    """Return the SHA-256 (hex) of a canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()


def short(hash_: str) -> str:
    """Return the part of a hash that people compare by eye."""
    return hash_[:SHORT]


def when(at: str) -> str:
    """Return an item's time as a card tells it; the evidence itself keeps the zone."""
    return f"{datetime.fromisoformat(at):%m-%d %H:%M:%S}" if at else ""


def read(text: str) -> Evidence:
    """Return the evidence of a canonical text."""
    return msgspec.json.decode(text, type=Evidence)


def _item(check: Check, lines: Mapping[str, Line], reading: Reading) -> Item:
    mine = [lines[key] for key in check.lines if key in lines]
    figure = reading.figures.get(check.figure) if check.figure else None
    skipped = [line for line in mine if line.state is LineState.SKIPPED]
    done = [line for line in mine if line.state is LineState.DONE]
    if skipped:
        result, parts = Result.SKIPPED, [f"跳过：{line.note}" for line in skipped]
    elif len(done) < len(check.lines) or (figure and not figure.ok):
        absent = [key for key in check.lines if key not in {line.key for line in done}]
        result, parts = Result.MISSING, [f"「{title_of(key)}」没有完成" for key in absent]
    else:
        result, parts = Result.PASSED, [line.proof for line in done]
    if figure:
        parts.append(figure.text)
    ended = [line.ended_at for line in (*done, *skipped) if line.ended_at]
    at = _stamp(max(ended) if ended and not figure else reading.at, reading.zone)
    link = reading.link if figure else ""
    return Item(check.key, check.title, result, "；".join(_distinct(parts)), at, link, check.lines)


def _distinct(parts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(part for part in parts if part))


def _stamp(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).isoformat(timespec="seconds")

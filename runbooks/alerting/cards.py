"""What a customer's group is told of an alert."""

from __future__ import annotations

from datetime import datetime, tzinfo

from adapters.card import Block, Button, Buttons, Card, Fields, Style, Text, Tone
from adapters.port import Answer
from runbooks.alerting.hold import UNVERIFIED, Found, reading, since, title_of
from storage.records import HeldAlert

SIGNS = {"critical": "🔴", "warning": "🟠"}
NAMES = {"critical": "严重", "warning": "警告", "info": "提示"}
LOST = "由轮询发现：VigilOps 的 Webhook 没有到达机器人"
LONGEST = 600
"""Characters of a model's analysis that are shown."""


def firing(held: HeldAlert, console: str, zone: tzinfo) -> Card:
    """Return the card of an alert that has lasted; `console` is the monitor's address, or empty."""
    figure, threshold = reading(held.message)
    rows = [("规则", title_of(held.rule)), ("服务器", held.host)]
    rows += [("当前值", figure), ("阈值", threshold)] if figure else [("内容", held.message)]
    rows += [("级别", NAMES.get(held.severity, held.severity)), ("开始于", _clock(held, zone))]
    blocks: list[Block] = [Fields(tuple((label, value) for label, value in rows if value))]
    if held.note == UNVERIFIED:
        blocks.append(Text(UNVERIFIED, Style.STRONG))
    if held.found == Found.POLL:
        blocks.append(Text(LOST, Style.QUIET))
    if console:
        blocks.append(Buttons((Button("打开监控", url=console),)))
    sign = SIGNS.get(held.severity, "🔵")
    tone = Tone.BAD if held.severity == "critical" else Tone.WARNING
    return Card(f"{sign} 告警：{name(held)}", tone, tuple(blocks))


def recovered(held: HeldAlert, at: datetime, zone: tzinfo) -> Card:
    """Return the card of its end; `held` is as it was before."""
    begun = since(held) or at
    minutes = int((at - begun).total_seconds()) // 60
    rows = (
        ("开始于", _clock(held, zone)),
        ("恢复于", f"{at.astimezone(zone):%m-%d %H:%M:%S}"),
        ("持续", f"{minutes} 分钟" if minutes else "不到 1 分钟"),
    )
    return Card(f"✅ 已恢复：{name(held)}", Tone.GOOD, (Fields(rows),))


def analysis(held: HeldAlert, answer: Answer) -> Card:
    """Return what the model says; its words are shown and never acted upon."""
    said = Text(answer.text.strip()[:LONGEST])
    return Card(
        f"AI 分析：{name(held)}",
        Tone.NEUTRAL,
        (said, Text(f"由模型 {answer.model} 生成，仅供参考", Style.QUIET)),
    )


def name(held: HeldAlert) -> str:
    """Return an alert's rule and host, as heads of cards name them."""
    return " · ".join(part for part in (title_of(held.rule), held.host) if part)


def _clock(held: HeldAlert, zone: tzinfo) -> str:
    begun = since(held)
    return f"{begun.astimezone(zone):%m-%d %H:%M:%S}" if begun else ""

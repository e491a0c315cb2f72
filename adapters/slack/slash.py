"""The slash commands that a workspace registers for us: docs/slack-manifest.yaml asks for the same.

Slack's client refuses what nobody has registered, and keeps some names (`/status`) for itself: such a
command is typed behind `/vigil`, or told to the bot behind its mention.
"""

from __future__ import annotations

from dataclasses import dataclass

ANY = "/vigil"
"""Takes every command, without its slash."""


@dataclass(frozen=True, slots=True)
class Slash:
    """A registered command: what Slack shows of it while it is typed."""

    command: str
    description: str
    usage_hint: str = ""


SLASHES = (
    Slash(ANY, "任何命令，例如 /vigil status", "status | help | 命令和参数"),
    Slash("/pair", "用启动时打印的配对码成为负责人", "配对码"),
    Slash("/ops", "把本频道设为运营频道"),
    Slash("/whoami", "我是谁，能做什么"),
    Slash("/role", "给同事或客户登记角色", "@某人 角色"),
    Slash("/onboard", "开始接入一个客户", "客户名称"),
    Slash("/bind", "把本频道和一个客户绑定", "客户名称"),
    Slash("/server", "查看和登记服务器", "list | add | template"),
    Slash("/install-agent", "在服务器上安装监控代理"),
    Slash("/test-alert", "发一条测试告警"),
    Slash("/accept", "发起验收"),
)
"""What a newcomer needs from the first lead to the signed acceptance; the rest goes behind `/vigil`."""

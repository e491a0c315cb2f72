"""What the bot must be allowed in a workspace, and why: docs/slack-manifest.yaml asks for the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """A permission and what it is for; `must`: the bot does not work without it."""

    name: str
    why: str
    must: bool = True


SCOPES = (
    Scope("app_mentions:read", "接收 @机器人 的消息"),
    Scope("channels:history", "公开频道里发过的不再发"),
    Scope("chat:write", "发消息和刷新卡片"),
    Scope("commands", "接收 /命令"),
    Scope("conversations.connect:write", "按邮箱邀请其他公司的客户", must=False),
    Scope("files:read", "读取上传的服务器清单", must=False),
    Scope("files:write", "发文件"),
    Scope("groups:history", "客户频道里发过的不再发"),
    Scope("groups:read", "重启后找回客户频道"),
    Scope("groups:write", "建客户频道、拉人"),
    Scope("im:history", "接收私信"),
    Scope("im:write", "私信呼叫值班的人"),
    Scope("users:read", "显示姓名"),
)
SOCKET = Scope("connections:write", "长连接：重新生成有这项权限的 app_token")
"""Of the app token, which has no other."""


def lacking(granted: str) -> tuple[Scope, ...]:
    """Return what is not among the scopes of a token, as `x-oauth-scopes` lists them by commas."""
    have = {name.strip() for name in granted.split(",")}
    return tuple(scope for scope in SCOPES if scope.name not in have)

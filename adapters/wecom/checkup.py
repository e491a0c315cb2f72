"""What can be known of a WeCom set-up before the bot runs: for `vigilbot doctor`.

The bot's own id and secret are proved by a subscription alone, and that would throw a running bot
out; a group robot's address is proved by a message alone. So neither is tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI

from adapters.port import Permanent, Transient

ROOT = 1
"""The id of the department that holds all others (90208)."""
WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that is wrong, and how to mend it; `must`: what was set up does not work."""

    what: str
    must: bool = True


async def reachable(ws_url: str) -> None:
    """Open the long connection and close it, without a subscription: nobody is thrown out.

    Raises Transient or Permanent.
    """
    try:
        async with connect(ws_url, open_timeout=WITHIN, close_timeout=2):
            return
    except InvalidURI as problem:
        raise Permanent("企业微信的 ws_url 不是 ws:// 或 wss:// 地址") from problem
    except (OSError, InvalidHandshake) as problem:
        kind = type(problem).__name__
        raise Transient(f"连不上企业微信的长连接（{kind}）：请检查网络、代理和 ws_url") from problem


def of_app(told: Mapping[str, Any]) -> Iterator[Lack]:
    """Yield what is wrong with a self-built app, from what `App.described` returned."""
    if told.get("close"):
        yield Lack("自建应用已停用：请在管理后台的应用管理里启用")
    parties = (told.get("allow_partys") or {}).get("partyid") or ()
    if ROOT not in parties:
        yield Lack(
            "自建应用的可见范围没有根部门，不能建群：请在应用的可见范围里选根部门", must=False
        )


def of_callback(token: str) -> Iterator[Lack]:
    """Yield what is wrong with the secrets of the address that WeCom calls."""
    if not re.fullmatch(r"[A-Za-z0-9]{3,32}", token):
        yield Lack("app_token 应为 3 到 32 位英文或数字：请与管理后台“接收消息”里的 Token 一致")


def of_pages(public_url: str) -> Iterator[Lack]:
    """Yield what keeps members from the pages of forms."""
    if not public_url:
        yield Lack(
            "web.public_url 没有设置：成员打不开表单页面，自建应用的回调也到不了", must=False
        )


def of_robot(url: str) -> Iterator[Lack]:
    """Yield what is wrong with the shape of a group robot's address (99110)."""
    there = urlsplit(url)
    key = parse_qs(there.query).get("key", [""])[0]
    if there.scheme not in {"http", "https"} or not there.path.endswith("/cgi-bin/webhook/send"):
        yield Lack("robot_url 应是整个 Webhook 地址：https://…/cgi-bin/webhook/send?key=…")
    elif not key:
        yield Lack("robot_url 缺少 key：请从群机器人的设置里复制整个 Webhook 地址")

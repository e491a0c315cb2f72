"""`vigilbot doctor` for Feishu and DingTalk: are the secrets right, and which permissions lack?

The long connections are left alone: a second one would take a running bot's deliveries away.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.config import Settings

Told = tuple[bool | None, str]
"""(True: all is there, None: only what is optional lacks, False: it does not work, the words)."""


async def feishu(settings: Settings) -> Told:
    """Are app and secret right, and is every permission granted?"""
    # Imported here: with them come the SDKs.
    from adapters.feishu.link import Feishu, Hook  # noqa: PLC0415
    from bot.app import SystemClock  # noqa: PLC0415

    own = settings.platforms.feishu
    hook = Hook(own.verification_token)  # no long connection
    link = Feishu(
        own.app_id,
        own.app_secret,
        clock=SystemClock(),
        base_url=own.base_url,
        hook=hook,
        urgency=own.urgency,
    )
    async with link:
        lacks = await link.lacking()
    told = [(f"{need.names[0]}（{need.why}）", need.must) for need in lacks]
    if own.verification_token and not own.encrypt_key:
        told.append(("encrypt_key 没有设置：回调没有签名，请在事件订阅页启用加密", False))
    return _told("应用凭证有效", told, "在开发者后台“权限管理”开通并发布版本")


async def dingtalk(settings: Settings) -> Told:
    """Are the secrets right, and is every permission granted? Costs six of the month's calls."""
    from adapters.dingtalk.link import DingTalk  # noqa: PLC0415
    from bot.app import SystemClock  # noqa: PLC0415

    own = settings.platforms.dingtalk
    with TemporaryDirectory() as folder:  # a running bot has its own file, and its own count
        link = DingTalk(
            own.client_id,
            own.client_secret,
            robot_code=own.robot_code,
            state=Path(folder) / "dingtalk.sqlite",
            clock=SystemClock(),
            api_url=own.base_url,
            oapi_url=own.oapi_url,
        )
        lacks = await link.lacking()
    told = [(f"{probe.name}（{probe.why}）", probe.must) for probe in lacks]
    for value, text in (
        (own.card_template, "card_template 没有设置：卡片以文字代替，不能刷新"),
        (own.group_template, "group_template 没有设置：不能建群，请用 /bind"),
    ):
        if not value:
            told.append((text, False))
    return _told("应用凭证有效", told, "在开发者后台“权限管理”申请并发布版本")


def _told(good: str, lacks: Sequence[tuple[str, bool]], cure: str) -> Told:
    must = [text for text, needed in lacks if needed]
    may = [text for text, needed in lacks if not needed]
    if must:
        return False, f"缺少 {'、'.join(must + may)}：请{cure}"
    if may:
        return None, f"{good}；还缺少 {'、'.join(may)}"
    return True, f"{good}，权限齐全"

"""`vigilbot doctor` for the enterprise platforms: are the secrets right, and which permissions lack?

The long connections are left alone: a second one would take a running bot's deliveries away.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.config import Settings

Told = tuple[bool | None, str]
"""(True: all is there, None: only what is optional lacks, False: it does not work, the words)."""
Ask = Callable[[Settings], Awaitable[Told]]


def of_enabled(settings: Settings) -> Mapping[str, Ask]:
    """Return what is to be asked of each platform that is set up, by the name that people read."""
    own = settings.platforms
    known: Mapping[str, tuple[bool, Ask]] = {
        "飞书": (own.feishu.enabled, feishu),
        "钉钉": (own.dingtalk.enabled, dingtalk),
        "企业微信": (own.wecom.enabled, wecom),
        "Slack": (own.slack.enabled, slack),
    }
    return {name: ask for name, (enabled, ask) in known.items() if enabled}


async def feishu(settings: Settings) -> Told:
    """Are app and secret right, and is every permission granted?"""
    # Imported here: with them come the SDKs.
    from adapters.feishu.link import Feishu, Hook  # noqa: PLC0415
    from bot.app import SystemClock  # noqa: PLC0415

    own = settings.platforms.feishu
    hook = Hook(own.verification_token)  # no long connection
    with TemporaryDirectory() as folder:  # a running bot has its own file
        link = Feishu(
            own.app_id,
            own.app_secret,
            state=Path(folder) / "feishu.sqlite",
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


async def slack(settings: Settings) -> Told:
    """Are the tokens right, and was the app installed with every permission?"""
    from adapters.slack.link import Slack  # noqa: PLC0415
    from bot.app import SystemClock  # noqa: PLC0415

    own = settings.platforms.slack
    link = Slack(
        own.bot_token,
        own.app_token,
        clock=SystemClock(),
        base_url=own.base_url,
        signing_secret=own.signing_secret,
    )
    told = [(f"{scope.name}（{scope.why}）", scope.must) for scope in await link.lacking()]
    if own.signing_secret:
        told += _of_callbacks(own.signing_secret.reveal(), settings.web.public_url)
    return _told("令牌有效", told, "按 docs/slack.md 核对配置，更新应用并重新安装")


def _of_callbacks(secret: str, public_url: str) -> Iterator[tuple[str, bool]]:
    """Yield what keeps Slack from calling us; the secret is proved by its first call alone."""
    if not re.fullmatch(r"[0-9a-f]{32}", secret):
        yield "32 位十六进制的 signing_secret（在 Basic Information 页）", True
    if not public_url.startswith("https://"):
        yield "https 的 web.public_url（Slack 从公网回调）", True


async def wecom(settings: Settings) -> Told:
    """Is what can be proved without a subscription and without a message in order?"""
    from adapters.wecom import checkup  # noqa: PLC0415
    from adapters.wecom.app import App  # noqa: PLC0415
    from bot.app import SystemClock  # noqa: PLC0415

    own, public_url = settings.platforms.wecom, settings.web.public_url
    await checkup.reachable(own.ws_url)
    lacks = [*checkup.of_pages(public_url)]
    good, untried = ["长连接可以到达"], ["Bot ID 和 Secret（再登录一次会把正在运行的机器人挤下线）"]
    if own.corp_id:
        app = App(
            own.corp_id,
            own.agent_id,
            own.app_secret,
            token=own.app_token,
            aes_key=own.app_aes_key,
            clock=SystemClock(),
            base_url=own.base_url,
        )
        try:
            lacks += checkup.of_app(await app.described())
        finally:
            await app.close()
        lacks += checkup.of_callback(own.app_token.reveal())
        good.append("自建应用凭证有效")
    if own.robot_url:
        lacks += checkup.of_robot(own.robot_url.reveal())
        untried.append("群机器人的 key（要发一条消息才知道）")
    whole = None if lacks else True
    if any(lack.must for lack in lacks):
        whole = False
    said = "；".join((*good, *(lack.what for lack in lacks)))
    return whole, f"{said}。没有检查：{'、'.join(untried)}"


def _told(good: str, lacks: Sequence[tuple[str, bool]], cure: str) -> Told:
    must = [text for text, needed in lacks if needed]
    may = [text for text, needed in lacks if not needed]
    if must:
        return False, f"缺少 {'、'.join(must + may)}：请{cure}"
    if may:
        return None, f"{good}；还缺少 {'、'.join(may)}"
    return True, f"{good}，权限齐全"

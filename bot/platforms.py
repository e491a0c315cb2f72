"""From settings to chat platforms; each brings its SDK only where it is enabled."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.port import ChatPlatform, Clock
from bot.config import Settings
from storage.replicas import Lease, Shared
from storage.store import Store


def enabled(settings: Settings, clock: Clock, store: Store, me: str) -> Iterator[ChatPlatform]:
    """Yield the enterprise platforms of these settings, not yet entered; `me` is our name among the
    replicas that share the store."""
    platforms, folder = settings.platforms, settings.bot.data_dir
    if platforms.feishu.enabled:
        from adapters.feishu.link import Feishu, Hook  # noqa: PLC0415 - with it comes lark-oapi

        feishu = platforms.feishu
        token = feishu.verification_token
        yield Feishu(
            feishu.app_id,
            feishu.app_secret,
            state=folder / "feishu.sqlite",
            clock=clock,
            base_url=feishu.base_url,
            owner=feishu.owner,
            hook=Hook(token, feishu.encrypt_key) if token else None,
            urgency=feishu.urgency,
        )
    if platforms.dingtalk.enabled:
        from adapters.dingtalk.link import DingTalk  # noqa: PLC0415 - with it comes its SDK

        ding = platforms.dingtalk
        yield DingTalk(
            ding.client_id,
            ding.client_secret,
            robot_code=ding.robot_code,
            state=folder / "dingtalk.sqlite",
            clock=clock,
            card_template=ding.card_template,
            group_template=ding.group_template,
            group_owner=ding.group_owner,
            ding=ding.ding,
            monthly_calls=ding.monthly_calls,
            alarm_reserve=ding.alarm_reserve,
            api_url=ding.base_url,
            oapi_url=ding.oapi_url,
        )
    if platforms.slack.enabled:
        from adapters.slack.link import Slack  # noqa: PLC0415 - with it comes slack-bolt

        slack = platforms.slack
        yield Slack(
            slack.bot_token,
            slack.app_token,
            clock=clock,
            base_url=slack.base_url,
            signing_secret=slack.signing_secret,
        )
    if platforms.wecom.enabled:
        from adapters.wecom.app import App, Robot  # noqa: PLC0415 - with it comes websockets
        from adapters.wecom.link import WeCom  # noqa: PLC0415

        wecom = platforms.wecom
        yield WeCom(
            wecom.bot_id,
            wecom.secret,
            state=folder / "wecom.sqlite",
            clock=clock,
            ws_url=wecom.ws_url,
            public_url=settings.web.url,
            lease=Lease(store, f"wecom:{wecom.bot_id}", me, clock),
            shared=Shared(store, "wecom"),
            app=App(
                wecom.corp_id,
                wecom.agent_id,
                wecom.app_secret,
                token=wecom.app_token,
                aes_key=wecom.app_aes_key,
                clock=clock,
                base_url=wecom.base_url,
            )
            if wecom.corp_id
            else None,
            robot=Robot(wecom.robot_url, clock) if wecom.robot_url else None,
        )

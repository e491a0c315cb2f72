"""Where people are: the chat platforms, and the channels that only go out."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from adapters.words import NOTHING
from bot.config.problems import wrong
from bot.config.values import (
    Artifact,
    Count,
    Network,
    OptionalSecretRef,
    Port,
    RequiredUrl,
    Seconds,
    Section,
    comma_list,
    no_bool,
)


class WebChat(Section):
    enabled: bool = True


class Platform(Section):
    """A chat platform that needs an app of the customer's enterprise."""

    needs: ClassVar[tuple[str, ...]] = ()
    """What must be set where it is enabled."""
    enabled: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        empty = [name for name in self.needs if not getattr(self, name)]
        if self.enabled and empty:
            named = "、".join(empty)
            raise wrong(f"启用后还要填写 {named}", f"enabled, so it needs {', '.join(empty)}")
        return self


class Feishu(Platform):
    needs = ("app_id", "app_secret")
    app_id: str = ""
    app_secret: OptionalSecretRef = NOTHING
    owner: str = ""
    urgency: Literal["app", "sms", "phone"] = "app"
    verification_token: OptionalSecretRef = NOTHING
    """With it events come by HTTP, to /callbacks/feishu, and there is no long connection."""
    encrypt_key: OptionalSecretRef = NOTHING
    base_url: RequiredUrl = "https://open.feishu.cn"


class DingTalk(Platform):
    needs = ("client_id", "client_secret", "robot_code")
    client_id: str = ""
    client_secret: OptionalSecretRef = NOTHING
    robot_code: str = ""
    card_template: str = ""
    group_template: str = ""
    group_owner: str = ""
    ding: bool = True
    monthly_calls: Count = 10_000
    alarm_reserve: Count = 1_000
    base_url: RequiredUrl = "https://api.dingtalk.com"
    oapi_url: RequiredUrl = "https://oapi.dingtalk.com"


class Slack(Platform):
    needs = ("bot_token",)
    bot_token: OptionalSecretRef = NOTHING
    app_token: OptionalSecretRef = NOTHING
    """With it the bot dials out (Socket Mode)."""
    signing_secret: OptionalSecretRef = NOTHING
    """In its place Slack calls /callbacks/slack, and there is no socket."""
    base_url: RequiredUrl = "https://slack.com/api"

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.enabled and bool(self.app_token) == bool(self.signing_secret):
            raise wrong(
                "app_token（长连接）和 signing_secret（HTTP 回调）要填写其中一个",
                "one of app_token (socket mode) and signing_secret (HTTP) must be set",
            )
        return self


class WeCom(Platform):
    """`corp_id` and what follows are of an optional self-built app; `robot_url` is of an optional
    group robot, and a secret because its key is in it."""

    needs = ("bot_id", "secret")
    bot_id: str = ""
    secret: OptionalSecretRef = NOTHING
    ws_url: Annotated[str, Field(pattern=r"^wss?://[^\s@]+$")] = "wss://openws.work.weixin.qq.com"
    corp_id: str = ""
    agent_id: Annotated[int, BeforeValidator(no_bool), Field(ge=0)] = 0
    app_secret: OptionalSecretRef = NOTHING
    app_token: OptionalSecretRef = NOTHING
    app_aes_key: OptionalSecretRef = NOTHING
    base_url: RequiredUrl = "https://qyapi.weixin.qq.com"
    robot_url: OptionalSecretRef = NOTHING

    @model_validator(mode="after")
    def _whole_app(self) -> Self:
        parts = (self.agent_id, self.app_secret, self.app_token, self.app_aes_key)
        if self.corp_id and not all(parts):
            raise wrong(
                "自建应用还要填写 agent_id、app_secret、app_token、app_aes_key",
                "the self-built app needs agent_id, app_secret, app_token and app_aes_key",
            )
        key = self.app_aes_key.reveal()
        if key and not re.fullmatch(r"[A-Za-z0-9]{43}", key):
            raise wrong("app_aes_key 应为 43 位", "app_aes_key must be 43 characters")
        return self


class Platforms(Section):
    webchat: WebChat = WebChat()
    feishu: Feishu = Feishu()
    dingtalk: DingTalk = DingTalk()
    slack: Slack = Slack()
    wecom: WeCom = WeCom()


class Mail(Platform):
    """One-way: alerts by e-mail. `sender` is both who writes and where bounces come back to."""

    needs = ("host", "sender")
    host: str = ""
    port: Port = 587
    security: Literal["starttls", "tls"] = "starttls"
    username: str = ""
    password: OptionalSecretRef = NOTHING
    sender: Annotated[str, Field(pattern=r"^$|^[\w.+-]+@[\w.-]+\.[a-zA-Z]+$")] = ""
    ca_file: Artifact = None
    timeout_seconds: Seconds = 30


class Webhook(Platform):
    """One-way: signed posts to an address of the customer's. `allow` names the networks of ours
    that such an address may nevertheless lead into."""

    allow: Annotated[tuple[Network, ...], BeforeValidator(comma_list)] = ()
    ca_file: Artifact = None
    timeout_seconds: Seconds = 10


class Channels(Section):
    mail: Mail = Mail()
    webhook: Webhook = Webhook()

"""The doctor's look at the enterprise platforms: which permission lacks, and what it is for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.dingtalk import probes as ding
from adapters.feishu import wire
from adapters.slack.scopes import SCOPES, Scope
from bot import permissions
from bot.config import Settings, load
from bot.doctor import Finding, Mark, Tools, examine
from tests.conftest import HandClock
from tests.sim.dingtalk import DingTalkSim
from tests.sim.feishu import FeishuSim
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, SlackSim
from tests.sim.slack_scopes import manifest
from tests.sim.wecom import AES_KEY, AGENT, APP_SECRET, CORP, WeComSim
from tests.unit.test_doctor import KEY, TOOLS


@pytest.fixture
async def feishu() -> AsyncIterator[FeishuSim]:
    async with FeishuSim(HandClock()) as sim:
        sim.scopes = {need.names[0] for need in (*wire.NEEDS, wire.URGENT["app"])}
        yield sim


@pytest.fixture
async def dingtalk() -> AsyncIterator[DingTalkSim]:
    sim = DingTalkSim()
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
async def slack() -> AsyncIterator[SlackSim]:
    async with SlackSim() as sim:
        yield sim


@pytest.fixture
async def wecom(clock: HandClock) -> AsyncIterator[WeComSim]:
    async with WeComSim(clock.now) as sim:
        yield sim


def configured(folder: Path, secret: str, **env: str) -> Settings:
    variables = {f"VIGILBOT_PLATFORMS__{name}": value for name, value in env.items()}
    fixed = {
        "VIGILBOT_BOT__DATA_DIR": str(folder),
        "VIGILBOT_VAULT__KEY": "env:KEY",
        "VIGILBOT_WEB__PASSWORD": "env:PASS",
        "KEY": KEY,
        "PASS": "open-sesame",
        "SECRET": secret,
    }
    return load(None, {**fixed, **variables})


def of_feishu(folder: Path, sim: FeishuSim, **more: str) -> Settings:
    return configured(
        folder,
        sim.secret,
        FEISHU__ENABLED="true",
        FEISHU__APP_ID=sim.app_id,
        FEISHU__APP_SECRET="env:SECRET",
        FEISHU__BASE_URL=sim.base_url,
        **{f"FEISHU__{name}": value for name, value in more.items()},
    )


def of_dingtalk(folder: Path, sim: DingTalkSim, **more: str) -> Settings:
    given = {"CARD_TEMPLATE": sim.template, "GROUP_TEMPLATE": sim.group_template, **more}
    return configured(
        folder,
        sim.secret,
        DINGTALK__ENABLED="true",
        DINGTALK__CLIENT_ID=sim.client_id,
        DINGTALK__CLIENT_SECRET="env:SECRET",
        DINGTALK__ROBOT_CODE=sim.robot,
        DINGTALK__BASE_URL=sim.url,
        DINGTALK__OAPI_URL=sim.url,
        **{f"DINGTALK__{name}": value for name, value in given.items()},
    )


def of_slack(folder: Path, sim: SlackSim, **more: str) -> Settings:
    bot = f"file:{written(folder, 'bot', BOT_TOKEN)}"
    given = {"BOT_TOKEN": bot, "APP_TOKEN": "env:SECRET", **more}
    return configured(
        folder,
        APP_TOKEN,
        SLACK__ENABLED="true",
        SLACK__BASE_URL=sim.base_url,
        **{f"SLACK__{name}": value for name, value in given.items() if value},
    )


def of_wecom(folder: Path, sim: WeComSim, **more: str) -> Settings:
    given = {
        "WS_URL": sim.ws_url,
        "CORP_ID": CORP,
        "AGENT_ID": str(AGENT),
        "APP_SECRET": "env:SECRET",
        "APP_TOKEN": f"file:{written(folder, 'token', 'callbacktoken')}",
        "APP_AES_KEY": f"file:{written(folder, 'aes', AES_KEY)}",
        "ROBOT_URL": f"file:{written(folder, 'robot', sim.robot_url)}",
        **more,
    }
    settings = configured(
        folder,
        APP_SECRET,
        WECOM__ENABLED="true",
        WECOM__BOT_ID="aib",
        WECOM__SECRET="env:PASS",
        WECOM__BASE_URL=sim.base_url,
        **{f"WECOM__{name}": value for name, value in given.items() if value},
    )
    return reached(settings, "https://bot.example.com")


def reached(settings: Settings, public_url: str) -> Settings:
    web = settings.web.model_copy(update={"public_url": public_url})
    return settings.model_copy(update={"web": web})


def written(folder: Path, name: str, secret: str) -> Path:
    (folder / name).touch(mode=0o600)
    (folder / name).write_text(secret, encoding="utf-8")
    return folder / name


async def found(settings: Settings, name: str, tools: Tools = TOOLS) -> Finding:
    return next(one for one in await examine(settings, tools) if one.name == name)


async def test_a_whole_feishu_app_is_well(feishu: FeishuSim, tmp_path: Path) -> None:
    """And no long connection was made: it would take a running bot's deliveries."""
    finding = await found(of_feishu(tmp_path, feishu), "飞书")
    assert finding == Finding("飞书", Mark.OK, "应用凭证有效，权限齐全")
    assert feishu.calls["POST /callback/ws/endpoint"] == 0


@pytest.mark.parametrize("need", wire.NEEDS, ids=lambda need: need.names[0])
async def test_each_permission_of_feishu_is_missed(
    feishu: FeishuSim, tmp_path: Path, need: wire.Need
) -> None:
    """Asked for and not approved is not granted. It is named with what it is for; only what can be done without is a warning."""
    feishu.scopes -= set(need.names)
    feishu.withheld = set(need.names)
    finding = await found(of_feishu(tmp_path, feishu), "飞书")
    assert finding.mark is (Mark.FAILED if need.must else Mark.WARNING)
    assert f"{need.names[0]}（{need.why}）" in finding.what


async def test_a_paid_urgency_needs_its_own_permission(feishu: FeishuSim, tmp_path: Path) -> None:
    finding = await found(of_feishu(tmp_path, feishu, URGENCY="phone"), "飞书")
    assert finding.mark is Mark.WARNING
    assert "im:message.urgent:phone" in finding.what
    assert "im:message.urgent:sms" in finding.what


async def test_wrong_secrets_of_feishu_are_told(feishu: FeishuSim, tmp_path: Path) -> None:
    settings = of_feishu(tmp_path, feishu)
    feishu.secret = "another"
    finding = await found(settings, "飞书")
    assert finding.mark is Mark.FAILED
    assert finding.what.startswith("飞书不认这个应用")


async def test_callbacks_without_a_signature_are_warned_of(
    feishu: FeishuSim, tmp_path: Path
) -> None:
    finding = await found(of_feishu(tmp_path, feishu, VERIFICATION_TOKEN="env:PASS"), "飞书")
    assert finding.mark is Mark.WARNING
    assert "encrypt_key" in finding.what


async def test_a_whole_dingtalk_app_is_well(dingtalk: DingTalkSim, tmp_path: Path) -> None:
    """The probes name nothing that there is, and nothing came of them; there was no stream."""
    finding = await found(of_dingtalk(tmp_path, dingtalk), "钉钉")
    assert finding == Finding("钉钉", Mark.OK, "应用凭证有效，权限齐全")
    assert dingtalk.connections == 0
    assert not any((dingtalk.groups, dingtalk.direct, dingtalk.cards, dingtalk.dings))
    assert not (tmp_path / "dingtalk.sqlite").exists()


@pytest.mark.parametrize("probe", ding.probes("r"), ids=lambda probe: probe.path)
async def test_each_permission_of_dingtalk_is_missed(
    dingtalk: DingTalkSim, tmp_path: Path, probe: ding.Probe
) -> None:
    dingtalk.denied.add(probe.path)
    dingtalk.hides_names = probe.path.startswith("/topapi/")
    finding = await found(of_dingtalk(tmp_path, dingtalk), "钉钉")
    assert finding.mark is (Mark.FAILED if probe.must else Mark.WARNING)
    assert f"{probe.name}（{probe.why}）" in finding.what


async def test_what_dingtalk_works_without_is_named(dingtalk: DingTalkSim, tmp_path: Path) -> None:
    settings = of_dingtalk(tmp_path, dingtalk, CARD_TEMPLATE="", GROUP_TEMPLATE="")
    whole, what = await permissions.dingtalk(settings)
    assert whole is None
    assert "card_template" in what
    assert "/bind" in what


async def test_wrong_secrets_of_dingtalk_are_told(dingtalk: DingTalkSim, tmp_path: Path) -> None:
    settings = of_dingtalk(tmp_path, dingtalk)
    dingtalk.secret = "another"
    finding = await found(settings, "钉钉")
    assert finding.mark is Mark.FAILED
    assert "取令牌" in finding.what


# -- Slack --------------------------------------------------------------------------------------


def test_the_manifest_asks_for_what_the_bot_needs() -> None:
    """One list: what is pasted is what is looked for."""
    assert {scope.name for scope in SCOPES} == manifest()


async def test_a_whole_slack_app_is_well(slack: SlackSim, tmp_path: Path) -> None:
    """Both tokens are proved, and no socket was opened: it would take a running bot's events."""
    finding = await found(of_slack(tmp_path, slack), "Slack")
    assert finding == Finding("Slack", Mark.OK, "令牌有效，权限齐全")
    assert (slack.count("apps.connections.open"), slack.dialled) == (1, 0)


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.name)
async def test_each_scope_of_slack_is_missed(slack: SlackSim, tmp_path: Path, scope: Scope) -> None:
    slack.scopes.remove(scope.name)
    finding = await found(of_slack(tmp_path, slack), "Slack")
    assert finding.mark is (Mark.FAILED if scope.must else Mark.WARNING)
    assert f"{scope.name}（{scope.why}）" in finding.what


async def test_an_app_token_without_its_scope_is_told(slack: SlackSim, tmp_path: Path) -> None:
    slack.app_scopes.clear()
    finding = await found(of_slack(tmp_path, slack), "Slack")
    assert finding.mark is Mark.FAILED
    assert "connections:write（长连接" in finding.what


@pytest.mark.parametrize("which", ["BOT_TOKEN", "APP_TOKEN"])
async def test_a_wrong_token_of_slack_is_told(slack: SlackSim, tmp_path: Path, which: str) -> None:
    finding = await found(of_slack(tmp_path, slack, **{which: "env:PASS"}), "Slack")
    assert finding.mark is Mark.FAILED
    assert "令牌无效" in finding.what


async def test_slack_over_http_needs_a_secret_and_an_address(
    slack: SlackSim, tmp_path: Path
) -> None:
    """No app token, so no socket is asked for; the secret's shape is all that can be looked at."""
    shape = f"file:{written(tmp_path, 'signing', '0123456789abcdef' * 2)}"
    settings = of_slack(tmp_path, slack, APP_TOKEN="", SIGNING_SECRET=shape)
    whole = reached(settings, "https://bot.example.com")
    assert (await found(whole, "Slack")).mark is Mark.OK
    assert slack.count("apps.connections.open") == 0
    finding = await found(settings, "Slack")
    assert finding.mark is Mark.FAILED
    assert "https 的 web.public_url" in finding.what
    wrong = of_slack(tmp_path, slack, APP_TOKEN="", SIGNING_SECRET="env:PASS")
    assert "signing_secret" in (await found(wrong, "Slack")).what


# -- WeCom --------------------------------------------------------------------------------------


async def test_a_whole_wecom_is_well_and_what_is_untried_is_said(
    wecom: WeComSim, tmp_path: Path
) -> None:
    """The connection was opened and nobody subscribed; no message was sent."""
    finding = await found(of_wecom(tmp_path, wecom), "企业微信")
    assert finding.mark is Mark.OK
    assert finding.what.startswith("长连接可以到达；自建应用凭证有效。没有检查：Bot ID")
    assert "群机器人的 key" in finding.what
    assert wecom.dialled == 1
    assert sorted(wecom.calls) == ["agent/get", "gettoken"]
    assert not (tmp_path / "wecom.sqlite").exists()


@pytest.mark.parametrize(
    ("broken", "mark", "said"),
    [
        ({"APP_SECRET": "env:PASS"}, Mark.FAILED, "app_secret 不对"),
        ({"AGENT_ID": "7"}, Mark.FAILED, "agent_id 不是这个 app_secret 的应用"),
        ({"APP_TOKEN": "env:PASS"}, Mark.FAILED, "app_token 应为"),
        ({"ROBOT_URL": "env:PASS"}, Mark.FAILED, "robot_url 应是整个 Webhook 地址"),
        ({"WS_URL": "ws://127.0.0.1:9/ws"}, Mark.FAILED, "连不上企业微信的长连接"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
async def test_what_is_wrong_with_wecom_is_named(
    wecom: WeComSim, tmp_path: Path, broken: dict[str, str], mark: Mark, said: str
) -> None:
    finding = await found(of_wecom(tmp_path, wecom, **broken), "企业微信")
    assert finding.mark is mark
    assert said in finding.what
    assert APP_SECRET not in finding.what


async def test_a_robot_address_without_its_key_is_told(wecom: WeComSim, tmp_path: Path) -> None:
    bare = f"file:{written(tmp_path, 'bare', wecom.robot_url.partition('?')[0])}"
    finding = await found(of_wecom(tmp_path, wecom, ROBOT_URL=bare), "企业微信")
    assert finding.mark is Mark.FAILED
    assert "缺少 key" in finding.what


async def test_an_address_that_is_not_trusted_is_told(wecom: WeComSim, tmp_path: Path) -> None:
    """The commonest one: the token is given, and every other call is refused."""
    wecom.misbehave("agent/get", 60020)
    finding = await found(of_wecom(tmp_path, wecom), "企业微信")
    assert finding.mark is Mark.FAILED
    assert "企业可信 IP" in finding.what


async def test_an_app_that_few_see_makes_no_groups(wecom: WeComSim, tmp_path: Path) -> None:
    wecom.sees = {7}
    finding = await found(of_wecom(tmp_path, wecom), "企业微信")
    assert finding.mark is Mark.WARNING
    assert "根部门" in finding.what
    wecom.closed = True
    assert (await found(of_wecom(tmp_path, wecom), "企业微信")).mark is Mark.FAILED


async def test_a_bare_wecom_bot_needs_an_address_for_its_forms(
    wecom: WeComSim, tmp_path: Path
) -> None:
    bare = dict.fromkeys(
        ("CORP_ID", "AGENT_ID", "APP_SECRET", "APP_TOKEN", "APP_AES_KEY", "ROBOT_URL"), ""
    )
    settings = of_wecom(tmp_path, wecom, **bare)
    assert (await found(settings, "企业微信")).mark is Mark.OK
    finding = await found(reached(settings, ""), "企业微信")
    assert finding.mark is Mark.WARNING
    assert "web.public_url 没有设置" in finding.what
    assert "群机器人" not in finding.what

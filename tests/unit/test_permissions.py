"""The doctor's look at Feishu and DingTalk: which permission lacks, and what it is for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.dingtalk import wire as ding
from adapters.feishu import wire
from bot import permissions
from bot.config import Settings, load
from bot.doctor import Finding, Mark, Tools, examine
from tests.conftest import HandClock
from tests.sim.dingtalk import DingTalkSim
from tests.sim.feishu import FeishuSim
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

"""The whole SOP in Feishu, in DingTalk and in Slack, from the command to the signed acceptance,
through the official SDKs: the same story on each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.words import File
from bot.demo.hosts import Spec
from runbooks.onboarding import ONBOARDING
from tests.e2e.abroad import Abroad, Country, DingTalkCountry, FeishuCountry, abroad
from tests.e2e.abroad_slack import SlackCountry
from tests.e2e.stage import answers, sheet

# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = pytest.mark.xdist_group("abroad")

COMPANY = "海蓝科技"
SPECS = (Spec("web-01", cpu=4, memory_mb=8192, disk_gb=100), Spec("db-01", cpu=2))
NOT_WALKED = {"invite"}
"""Lines that do not concern this customer: everybody signs in the chat."""


def servers(world: Abroad) -> File:
    reach = [world.hosts[spec.name].spec for spec in SPECS]
    return sheet([(s.name, s.host, s.port, s.user, s.password.reveal()) for s in reach])


@pytest.mark.parametrize(
    "country", [FeishuCountry, DingTalkCountry, SlackCountry], ids=["feishu", "dingtalk", "slack"]
)
async def test_a_customer_is_onboarded_and_signs(
    country: Callable[[], Country], tmp_path: Path
) -> None:
    """A form with a file, presses by lead and customer, forms on the living card, documents, two
    signatures: every line of the table ends well, and one card shows it all."""
    async with abroad(country(), tmp_path, SPECS) as world:
        li, zhao, wang, chen = world.li, world.zhao, world.wang, world.chen
        await world.country.say(li, world.ops, f"/onboard {COMPANY}")
        values = answers(tier="pro", domain="ops.hailan.example.com", location="cloud")
        await world.fill(li, world.ops, "客户接入登记", values, servers(world))

        group = await world.group(f"{COMPANY} 监控交付")
        await world.shows(group, "⏳ 确认合同已签")
        await world.shows(group, "服务合同", title=".docx")
        await world.introduce(group)
        world.country.join(group, wang, chen)
        await world.press(zhao, group, "确认合同已签")

        await world.shows(group, "⏳ 确认通知渠道")
        await world.fill(li, group, "⏳ 确认通知渠道", {"email": "ops@hailan.example.com"})
        await world.press(wang, group, "收到")
        on_call = {"on_call": "李工，13700000000\n赵主管，13600000000", "minutes": "5，15"}
        await world.fill(li, group, "⏳ 设置告警升级策略", on_call)

        approvers = {"approvers": "王经理\n陈总", "need": "2"}
        await world.fill(li, group, "⏳ 指定验收人", approvers)
        drill = {"host": "web-01", "done": "清理 /tmp 下的临时文件，磁盘使用率下降"}
        await world.fill(li, group, "⏳ 自动修复演练", drill)
        await world.press(wang, group, "已培训")
        await world.press(wang, group, "签字验收")
        await world.press(chen, group, "签字验收")

        card, text = await world.shows(group, "✅ 进入持续运维")
        told = await world.timeline()
        for line in ONBOARDING.lines:
            assert (f"✅ {line.title} " in told) == (line.key not in NOT_WALKED), told
        assert "赵主管 确认" in text
        assert "王经理 于" in text
        posts = world.country.posts(group)
        assert [one for one, shown in posts if "客户接入 · " in shown.partition("\n")[0]] == [card]
        assert any("验收报告" in shown for _, shown in posts)

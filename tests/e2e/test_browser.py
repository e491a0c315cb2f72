"""The whole SOP by hand: every press, form and signature clicked in a real Chromium, once."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, Locator, Page, expect

from bot.demo.world import PEOPLE
from tests.e2e.test_demo import browsing, started

# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = pytest.mark.xdist_group("ports")

PATIENT = 60_000
"""Milliseconds: two cores are shared by the bot, its sandbox, the browser and other tests."""
PICTURES = os.environ.get("VIGILBOT_PICTURES", "")
"""A folder for screenshots of what the test saw; empty for none."""
WHO = {person.name: person.id for person in PEOPLE}
GROUP = "海蓝科技 监控交付"


@dataclass(frozen=True, slots=True)
class Hand:
    """One person at the page: looks at the customer's living card, and presses on it."""

    page: Page

    @property
    def card(self) -> Locator:
        return self.page.locator(".vb-card", has_text="客户接入 · 海蓝科技")

    async def become(self, name: str) -> None:
        """Take another person's place; the open chat stays the same."""
        await self.page.get_by_label("当前身份（演示）").click()
        await self.page.get_by_role("option", name=name).click()
        # The page that is left shows the name as well, and would take the next press with it.
        await expect(self.page).to_have_url(re.compile(f"who={WHO[name]}"))

    async def enter(self, chat: str) -> None:
        await self.page.locator(".vb-chat", has_text=chat).click()
        await expect(self.page.locator(".vb-head-title")).to_contain_text(chat)

    async def see(self, line: str, mark: str) -> None:
        await expect(self.card.locator(f".vb-item.{mark}", has_text=line)).to_be_visible()

    async def press(self, label: str, sure: str = "") -> None:
        await self.card.get_by_role("button", name=label, exact=True).click()
        if sure:
            dialog = self.page.get_by_role("dialog")
            await dialog.get_by_role("button", name=sure).click()

    async def fill(self, submit: str, **values: str) -> None:
        """Fill in the inputs of the card's form by their labels, and send it."""
        for label, value in values.items():
            await self.card.get_by_label(label).fill(value)
        await self.press(submit)

    async def choose(self, where: Locator, label: str, *options: str) -> None:
        await where.get_by_label(label).click()
        for option in options:
            await self.page.get_by_role("option", name=option).click()
        await self.page.keyboard.press("Escape")

    async def picture(self, name: str) -> None:
        if PICTURES:
            await self.page.screenshot(path=f"{PICTURES}/{name}.png")


@pytest.fixture(autouse=True)
def _patience() -> None:
    expect.set_options(timeout=PATIENT)


@pytest.mark.timeout(300)
async def test_a_customer_is_clicked_through_from_onboard_to_continuous_operations(
    tmp_path: Path,
) -> None:
    """Engineer, lead and two approvers take turns at one page; one refusal sends a line back; the
    account is read once, through its link, by somebody who is not in the chat."""
    async with started(tmp_path / "demo") as (_, address), browsing() as browser:
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENT)
        await page.goto(address)
        hand = Hand(page)
        await expect(page.locator(".vb-card-head", has_text="欢迎")).to_be_visible()
        await hand.picture("welcome")
        await _registered(hand)
        await _deployed(hand)
        await _alarmed(hand)
        await _examined(hand)
        await _signed(hand)
        await _handed_over(hand, browser)
        await hand.enter("运营群")
        await expect(page.locator(".vb-card", has_text="客户一览")).to_contain_text("完成")
        await page.goto(f"{address}/console")
        await expect(page.get_by_text("哈希链完整")).to_be_visible()
        await expect(page.get_by_text("2/2 位签字（需要 2）：王经理、陈总")).to_be_visible()
        await hand.picture("console")


async def _registered(hand: Hand) -> None:
    """Phase 1: the command, the form with the group's file, and the lead's gate."""
    page = hand.page
    async with page.expect_download() as download:
        await page.get_by_role("link", name="演示服务器.csv").click()
    sheet = await (await download.value).path()
    box = page.get_by_label("消息", exact=True)
    await box.fill("/onboard 海蓝科技")
    await box.press("Enter")
    form = page.locator(".vb-form")
    await expect(form.get_by_label("公司名称")).to_have_value("海蓝科技")
    people = "王经理，IT 经理，13800000000\n陈总，总经理，13900000000"
    await form.get_by_label("联系人").fill(people)
    await hand.choose(form, "告警通知渠道", "飞书", "邮件")
    await hand.choose(form, "服务等级", "专业版")
    content = await asyncio.to_thread(sheet.read_bytes)
    file: FilePayload = {"name": "servers.csv", "mimeType": "text/csv", "buffer": content}
    await form.locator("input[type=file]").set_input_files(file)
    await expect(form.locator(".vb-files .q-chip")).to_contain_text("servers.csv")
    await hand.picture("form")
    await form.get_by_role("button", name="提交登记").click()
    await hand.enter(GROUP)
    await hand.see("确认合同已签", "waiting")
    await hand.picture("contract")
    await hand.become("赵主管")
    await hand.press("确认合同已签", sure="确认合同已签")


async def _deployed(hand: Hand) -> None:
    """Phases 2 and 3 run by themselves."""
    await hand.see("安装 Agent", "doing")
    await hand.picture("screenshot")
    await hand.see("确认通知渠道", "waiting")
    await hand.picture("channels")
    await hand.enter("运营群")
    customers = hand.page.locator(".vb-card", has_text="客户一览")
    await expect(customers).to_contain_text("等待确认")
    await customers.evaluate("card => card.scrollIntoView({block: 'start'})")
    await hand.picture("operations")
    await hand.enter(GROUP)


async def _alarmed(hand: Hand) -> None:
    """Phase 4: channels, a test alert that the customer has seen, and who is rung when."""
    await hand.become("李工")
    await hand.fill("确认已配置", 邮件收件人="ops@hailan.example.com")
    await hand.see("客户确认收到测试告警", "waiting")
    await hand.become("王经理")
    await hand.picture("alert")
    await hand.press("收到")
    await hand.see("设置告警升级策略", "waiting")
    await hand.become("李工")
    duty = {"值班人": "李工，13700000000\n赵主管，13600000000", "升级间隔": "5，15"}
    await hand.fill("保存升级策略", **duty)


async def _examined(hand: Hand) -> None:
    """Phase 5 up to the checklist: approvers, the drill, the training."""
    await hand.see("指定验收人", "waiting")
    await hand.fill("确定验收人", 验收人="王经理\n陈总", 至少几位签字="2")
    await _drilled(hand, "清理 /tmp 下的临时文件")
    await hand.see("客户管理员已培训", "waiting")
    await hand.become("王经理")
    await hand.press("已培训")


async def _drilled(hand: Hand, what: str) -> None:
    await hand.see("自动修复演练", "waiting")
    await hand.fill("演练通过", 演练服务器="web-01", 做了什么=what)


async def _signed(hand: Hand) -> None:
    """A refusal with a reason sends the drill back; then both approvers sign."""
    await hand.see("客户签字验收", "waiting")
    await hand.picture("signature")
    await hand.card.get_by_label("不通过的原因").fill("演练没有写清楚结果")
    await hand.choose(hand.card, "要重做的步骤", "自动修复演练")
    await hand.press("不通过，退回")
    await hand.become("李工")
    await _drilled(hand, "清理 /tmp 下 3 GB，磁盘从 91% 降到 62%")
    await hand.see("客户签字验收", "waiting")
    await expect(hand.card).to_contain_text("曾拒绝：演练没有写清楚结果")
    for name, signed in (("王经理", "已签 1，需要 2"), ("陈总", "")):
        await hand.become(name)
        await hand.press("签字验收", sure="确认签字验收")
        if signed:
            await expect(hand.card).to_contain_text(signed)
            await hand.picture("half-signed")
    await expect(hand.card.locator(".tone-good")).to_be_visible()
    await expect(hand.page.locator(".vb-card-head", has_text="进入持续运维")).to_be_visible()
    await hand.picture("done")


async def _handed_over(hand: Hand, browser: Browser) -> None:
    """The engineer alone has been told address and code; the page shows the account once."""
    await hand.become("李工")
    await hand.enter("Vigilbot · 李工")
    told = hand.page.locator(".vb-post.urgent .vb-bubble")
    await expect(told).to_have_count(2)
    await hand.picture("direct")
    link = _found(r"(http://\S+/links/\S+)", await told.nth(0).inner_text())
    code = _found(r"验证码：(\d{6})", await told.nth(1).inner_text())
    strangers = await browser.new_context()
    other = await strangers.new_page()
    await other.goto(link)
    await other.get_by_label("验证码").fill(code)
    await other.get_by_role("button", name="显示账号").click()
    table = other.get_by_role("table")
    await expect(table).to_contain_text("@example.com")
    password = _found(r"初始密码\s+(\S+)", await table.inner_text())
    again = await other.goto(link)
    assert again is not None
    assert again.status == 410
    await expect(other.locator("body")).to_contain_text("这个链接已经用过")
    await strangers.close()
    await hand.enter(GROUP)
    assert password not in await hand.page.content()


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, text
    return found[1]

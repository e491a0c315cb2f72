"""The demo as a newcomer meets it: a process, a page in a real Chromium, and a kill in the middle."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, Page, async_playwright, expect
from playwright.async_api import TimeoutError as NotYet

from bot.demo import world
from tests import needs

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = pytest.mark.xdist_group("ports")

PATIENT = 60_000
"""Milliseconds: two cores are shared by the bot, its sandbox, the browser and other tests."""
PEOPLE = {person.name: person.id for person in world.PEOPLE}
ROOT = Path(__file__).parents[2]
PICTURE = os.environ.get("VIGILBOT_PICTURES", "")
"""A folder for screenshots of what the test saw; empty for none."""


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`vigilbot demo` in a process of its own, and the address that it prints."""
    words = ("-m", "bot", "demo", "--port", "0", "--directory", str(folder))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield process, found[0]
    finally:
        if process.returncode is None:
            process.terminate()  # what it started on its sandbox ends with it
        try:
            async with asyncio.timeout(30):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            raise


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    chromium = needs.program("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield browser
        await browser.close()


async def opened(browser: Browser, address: str) -> Page:
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENT)
    await page.goto(address)
    return page


async def become(page: Page, name: str) -> None:
    await page.get_by_label("当前身份（演示）").click()
    await page.get_by_role("option", name=name).click()
    # The page that is left shows the name as well, and would take the next press with it.
    await expect(page).to_have_url(re.compile(f"who={PEOPLE[name]}"), timeout=PATIENT)


async def register(page: Page) -> None:
    """Type the command of the welcome card, and fill in the form with the file of the group."""
    async with page.expect_download() as download:
        await page.get_by_role("link", name="演示服务器.csv").click(timeout=PATIENT)
    sheet = await (await download.value).path()
    box = page.get_by_label("消息", exact=True)
    await box.fill("/onboard 海蓝科技")
    await box.press("Enter")
    form = page.locator(".vb-form")
    await expect(form.get_by_label("公司名称")).to_have_value("海蓝科技", timeout=PATIENT)
    await form.get_by_label("联系人").fill("王经理，IT 经理，13800000000")
    await form.get_by_label("告警通知渠道").click()
    await page.get_by_role("option", name="飞书").click()
    await page.keyboard.press("Escape")
    content = await asyncio.to_thread(sheet.read_bytes)
    file: FilePayload = {"name": "servers.csv", "mimeType": "text/csv", "buffer": content}
    await form.locator("input[type=file]").set_input_files(file)
    await expect(form.locator(".vb-files .q-chip")).to_contain_text("servers.csv", timeout=PATIENT)
    await form.get_by_role("button", name="提交登记").click()


async def into_the_group(page: Page) -> None:
    chat = page.locator(".vb-chat", has_text="海蓝科技 监控交付")
    await chat.click(timeout=PATIENT)
    await expect(page.locator(".vb-head-title")).to_have_text("海蓝科技 监控交付", timeout=PATIENT)


async def picture(page: Page, name: str) -> None:
    if PICTURE:
        await page.screenshot(path=f"{PICTURE}/{name}.png")


async def sure(page: Page, label: str) -> None:
    """Press a button that asks back, and say yes. A page that comes up while its bot does may miss
    a press on a busy machine: whoever sees no question presses again."""
    question = page.get_by_role("dialog").get_by_role("button", name=label)
    async with asyncio.timeout(PATIENT / 1000):
        while not await question.count():
            await page.get_by_role("button", name=label).first.click()
            with suppress(NotYet):
                await question.wait_for(timeout=5_000)
    await question.click()


@pytest.mark.timeout(240)
async def test_a_newcomer_takes_a_customer_in_and_a_kill_changes_nothing(tmp_path: Path) -> None:
    """Typed, filled in, killed at the gate, started again, pressed by the lead, probed."""
    folder = tmp_path / "demo"
    async with browsing() as browser:
        async with started(folder) as (process, address):
            page = await opened(browser, address)
            await expect(page.locator(".vb-card-head", has_text="欢迎")).to_be_visible(
                timeout=PATIENT
            )
            await picture(page, "1-welcome")
            await register(page)
            await into_the_group(page)
            members = page.locator(".vb-head .vb-head-note")
            await expect(members).to_contain_text("陈总", timeout=PATIENT)
            gate = page.locator(".vb-item.waiting", has_text="确认合同已签")
            await expect(gate).to_be_visible(timeout=PATIENT)
            await picture(page, "2-gate")
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
            await page.close()

        async with started(folder) as (process, address):
            page = await opened(browser, address)
            await become(page, "赵主管")
            await into_the_group(page)
            await sure(page, "确认合同已签")
            done = page.locator(".vb-item.done", has_text="检查服务器连通性")
            await expect(done).to_contain_text("3/3 台完成", timeout=PATIENT)
            await expect(page.locator(".vb-card")).to_have_count(1)
            await picture(page, "3-probed")
            await page.goto(f"{address}/console")
            await expect(page.get_by_text("哈希链完整")).to_be_visible(timeout=PATIENT)
            await expect(page.get_by_text("服务合同-海蓝科技.docx").first).to_be_visible()
            await picture(page, "4-console")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def test_a_directory_has_one_demo_and_a_strange_one_is_left_alone(tmp_path: Path) -> None:
    """A second process is told so; --fresh deletes nothing that is not a demo's."""
    folder, strange = tmp_path / "demo", tmp_path / "strange"
    await asyncio.to_thread(strange.mkdir)
    kept = strange / "letter.txt"
    await asyncio.to_thread(kept.write_text, "dear")
    async with started(folder):
        assert "正由另一个演示进程使用" in await refused("--directory", str(folder))
        told = await refused("--fresh", "--directory", str(strange))
    assert "不是演示目录" in told
    assert await asyncio.to_thread(kept.read_text) == "dear"
    mode = (await asyncio.to_thread((folder / "vault.key").stat)).st_mode
    assert mode & 0o777 == 0o600


async def refused(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bot", "demo", "--port", "0", *words),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    _, told = await process.communicate()
    assert process.returncode == 1
    return told.decode()

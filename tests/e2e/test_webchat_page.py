"""The web chat as a person meets it: a real server, a real Chromium, no sleeps."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI, Request
from playwright.async_api import Browser, FloatRect, Locator, Page, async_playwright, expect

from adapters.card import (
    Block,
    Button,
    Buttons,
    Card,
    Checklist,
    Entry,
    Fields,
    Form,
    Input,
    Item,
    Mark,
    Progress,
    Style,
    Table,
    Text,
    Tone,
    say,
)
from adapters.chart import Chart, Kind, Series, words
from adapters.webchat.link import WebChat
from adapters.webchat.pages import mount
from adapters.words import Chat, Click, Event, File, Message, Person, Submission
from tests import needs
from tests.charts import COLUMNS, COURSE
from tests.conftest import fresh_pages

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
]

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LI, WANG = Person("web", "li", "李工"), Person("web", "wang", "王经理")
BOXES = "(all) => all.map((each) => each.getBoundingClientRect().toJSON())"
EVIL = '<img src=x onerror="window.hacked=1"> **粗** [x](javascript:alert(1))'

FORM = Form(
    "intake:1",
    (
        Input("company", "公司名称", required=True, hint="与合同一致"),
        Input("note", "备注", Entry.TEXT),
        Input("count", "服务器台数", Entry.NUMBER, value="3"),
        Input(
            "tier", "服务套餐", Entry.CHOICE, (("basic", "基础版 ¥699"), ("pro", "专业版 ¥1,599"))
        ),
        Input(
            "channels",
            "通知渠道",
            Entry.CHOICES,
            (("dd", "钉钉"), ("fs", "飞书"), ("mail", "邮件")),
        ),
        Input("password", "sudo 密码", Entry.SECRET),
        Input("list", "服务器清单", Entry.FILE, hint="CSV 或 XLSX"),
    ),
    "提交资料",
)
PROGRESS: tuple[Block, ...] = (
    Text("华东制造 · 专业版", Style.STRONG),
    Text("预计 25 分钟，已用 8 分钟", Style.QUIET),
    Fields((("负责人", "李工"), ("部署方式", "方式 B：我方托管"), ("域名", "ops.example.com"))),
    Progress(2, 5, "阶段 3：Agent 安装"),
    Checklist(
        (
            Item(Mark.DONE, "签约", level=0),
            Item(Mark.DONE, "合同与客户档案", "已上传"),
            Item(Mark.DOING, "Agent 安装", level=0),
            Item(Mark.DOING, "金丝雀主机", "web-1"),
            Item(Mark.FAILED, "db-1 安装失败", "SSH 密码错误"),
            Item(Mark.WAITING, "客户签字"),
        )
    ),
    Table(
        ("主机", "地址", "CPU", "状态"),
        (("web-1", "10.0.0.11", "12 %", "在线"), ("db-1", "10.0.0.21", "—", "SSH 密码错误")),
    ),
    Text("Permission denied (publickey,password).", Style.CODE),
    Buttons(
        (
            Button("重试失败主机", "retry:7", Style.PRIMARY),
            Button("跳过", "skip:7", Style.DANGER, confirm="确定跳过 db-1？原因会写进验收报告。"),
            Button("查看日志", url="https://ops.example.com/log"),
        )
    ),
)


@dataclass
class Site:
    url: str
    web: WebChat
    browser: Browser

    @asynccontextmanager
    async def page(self, person: Person, chat: Chat) -> AsyncIterator[Page]:
        page = await self.browser.new_page(viewport={"width": 1280, "height": 1100})
        try:
            await page.goto(f"{self.url}/chat?who={person.id}&chat={chat.id}")
            await expect(page.locator(".vb-head-title")).to_have_text(chat.title)
            yield page
        finally:
            await page.close()


def signed_in(request: Request) -> Person | None:
    return {"li": LI, "wang": WANG}.get(request.cookies.get("session", ""))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    chromium = needs.program("chromium")
    with fresh_pages(), socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with WebChat(tmp_path_factory.mktemp("web") / "web.sqlite") as web:
            app = FastAPI()
            app.add_api_route("/login", lambda: "请登录")
            mount(app, web, viewer=signed_in, path="/work", attach=False)
            mount(app, web, people=(LI, WANG))
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=chromium, args=CHROMIUM_ARGS
                )
                yield Site(url, web, browser)
                await browser.close()
            server.should_exit = True
            await serving


async def heard(web: WebChat) -> Event:
    """Return what the bot hears next, and keep it."""
    events = web.events()
    async with asyncio.timeout(10):
        event = await anext(events)
    web._forget(event)
    return event


async def test_what_is_typed_reaches_the_bot_and_the_page(site: Site) -> None:
    """Enter sends; the text stands in the chat, without its HTML or Markdown doing anything."""
    chat = await site.web.open_chat(f"华东 {EVIL}", [LI, WANG], key="text")
    async with site.page(LI, chat) as page, site.page(WANG, chat) as other:
        box = page.get_by_label("消息", exact=True)
        await box.fill(f"/status {EVIL}")
        await box.press("Enter")
        await expect(other.locator(".vb-bubble")).to_have_text(f"/status {EVIL}")
        await expect(box).to_have_value("")
        event = await heard(site.web)
        assert isinstance(event, Message)
        assert (event.text, event.sender) == (f"/status {EVIL}", LI)
        assert await other.evaluate("window.hacked") is None


async def test_a_rich_card_is_drawn_and_a_confirmed_button_pressed(site: Site) -> None:
    """Each block is on the page; a press that is not confirmed is none, a confirmed one is."""
    chat = await site.web.open_chat("华东制造", [LI, WANG], key="rich")
    await site.web.send(chat, Card("接入进度", Tone.WORKING, PROGRESS), key="rich")
    await site.web.upload(chat, File("合同 <b>.docx", b"PK\x03"), key="rich-file")
    async with site.page(LI, chat) as page:
        card = page.locator(".vb-card")
        await expect(card.locator(".vb-card-head")).to_have_text("接入进度")
        await expect(card.locator(".vb-item")).to_have_count(6)
        await expect(card.locator("tbody tr")).to_have_count(2)
        await expect(card).to_contain_text("2/5 阶段 3：Agent 安装")
        await expect(card.get_by_role("link", name="查看日志")).to_have_attribute(
            "href", "https://ops.example.com/log"
        )
        await card.get_by_role("button", name="跳过").click()
        await page.get_by_role("button", name="取消").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await card.get_by_role("button", name="跳过").click()
        await expect(page.get_by_role("dialog")).to_contain_text("确定跳过 db-1？")
        await page.get_by_role("button", name="确认跳过").click()
        event = await heard(site.web)
        assert isinstance(event, Click)
        assert (event.action, event.sender, event.chat) == ("skip:7", LI, chat)
        async with page.expect_download() as download:
            await page.get_by_role("link", name="合同 <b>.docx").click()
        got = await (await download.value).path()
        assert await asyncio.to_thread(got.read_bytes) == b"PK\x03"


async def test_a_form_is_filled_in_and_sent(site: Site, tmp_path: Path) -> None:
    """Every kind of input comes back under its name; a missing one is said and nothing is sent."""
    chat = await site.web.open_chat("填表", [LI], key="form")
    receipt = await site.web.send(chat, Card("客户资料", Tone.NEUTRAL, (FORM,)), key="form")
    sheet = tmp_path / "servers.csv"
    sheet.write_bytes(b"name,host\n")
    async with site.page(LI, chat) as page:
        form = page.locator(".vb-form")
        await form.get_by_role("button", name="提交资料").click()
        await expect(page.get_by_text("请填写：公司名称")).to_be_visible()
        await form.get_by_label("公司名称").fill("华东制造")
        newer = replace(FORM, action="intake:2")
        await site.web.edit(receipt, Card("客户资料（已更新）", Tone.WORKING, (newer,)))
        await expect(page.locator(".vb-card-head")).to_have_text("客户资料（已更新）")
        await form.get_by_label("备注").fill("一\n二")
        await form.get_by_label("服务套餐").click()
        await page.get_by_role("option", name="专业版 ¥1,599").click()
        await form.get_by_label("通知渠道").click()
        await page.get_by_role("option", name="邮件").click()
        await page.get_by_role("option", name="钉钉").click()
        await page.keyboard.press("Escape")
        await form.get_by_label("sudo 密码").fill("pa55")
        await form.locator("input[type=file]").set_input_files(sheet)
        await expect(form.locator(".vb-files .q-chip")).to_contain_text("servers.csv")
        await form.get_by_role("button", name="提交资料").click()
        event = await heard(site.web)
    assert isinstance(event, Submission)
    assert event.action == "intake:2"
    assert dict(event.values) == {
        "company": "华东制造",
        "note": "一\n二",
        "count": "3",
        "tier": "pro",
        "channels": "dd,mail",
        "password": "pa55",
    }
    assert event.files == (File("servers.csv", b"name,host\n"),)


async def test_html_and_markdown_in_a_card_do_nothing(site: Site) -> None:
    """Every place of a card shows the text as it is, and a `javascript:` link cannot be followed."""
    chat = await site.web.open_chat("转义", [LI], key="evil")
    choice = Input("e", EVIL, Entry.CHOICE, (("1", EVIL),), "1", hint=EVIL, required=True)
    blocks: tuple[Block, ...] = (
        *(Text(EVIL, style) for style in Style),
        Fields(((EVIL, EVIL),)),
        Table((EVIL,), ((EVIL,),)),
        Progress(1, 2, EVIL),
        Checklist((Item(Mark.DONE, EVIL, EVIL),)),
        Chart(EVIL, Kind.BAR, (EVIL,), (Series(EVIL, (1.0,)), Series("b", (2.0,))), EVIL),
        Buttons((Button(EVIL, "a", confirm=EVIL), Button("坏", url="javascript:hacked=1"))),
        Form("f", (choice, Input("x", EVIL, Entry.FILE, hint=EVIL, required=True)), EVIL),
    )
    await site.web.send(chat, Card(EVIL, Tone.BAD, blocks), key="evil")
    await site.web.upload(chat, File(f"{EVIL}.txt", b"1"), key="evil")
    async with site.page(LI, chat) as page:
        card = page.locator(".vb-card")
        await expect(card.locator(".vb-card-head")).to_have_text(EVIL)
        await expect(card.locator("td")).to_have_text(EVIL)
        await card.locator(".vb-form button").last.click()
        await expect(page.get_by_text("请选择文件")).to_be_visible()
        await card.locator(".q-select").click()
        await expect(page.get_by_role("option")).to_have_text(EVIL)
        await page.keyboard.press("Escape")
        await card.locator(".vb-buttons button").first.click()
        await expect(page.get_by_role("dialog")).to_contain_text(EVIL)
        await expect(card.get_by_text("坏")).to_be_visible()
        await expect(page.locator("img[src=x], a[href^=javascript]")).to_have_count(0)
        assert await page.evaluate("window.hacked") is None


async def test_a_chart_is_drawn_as_it_counts_on_a_desk_and_on_a_phone(site: Site) -> None:
    """Twice the figure is twice the column, the lines are in their place, and nothing sticks out."""
    chat = await site.web.open_chat("报告", [LI], key="chart")
    half = Chart("确认", Kind.BAR, ("一", "二", "三"), (Series("", (12.0, 6.0, None)),), "分钟")
    await site.web.send(chat, Card("报告", Tone.NEUTRAL, (COURSE, COLUMNS, half)), key="chart")
    async with site.page(LI, chat) as page:
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 900})
            charts = page.locator(".vb-chart")
            await expect(charts).to_have_count(3)
            await expect(charts.first).to_have_attribute("aria-label", words(COURSE))
            first = charts.nth(2)
            await expect(first.locator(".vb-fill")).to_have_count(2)
            # Both in one look: the list may just be going to its end.
            high, low = await first.locator(".vb-fill").evaluate_all(BOXES)
            assert high["height"] == pytest.approx(2 * low["height"], abs=1)
            assert high["bottom"] == pytest.approx(low["bottom"], abs=1)
            plot = await box(charts.first.locator(".vb-area"))
            line = await box(charts.first.locator("polyline").first)
            assert 0 <= line["x"] - plot["x"] < line["width"] < plot["width"]
            # 3,204 on a scale up to 4,000.
            assert line["height"] / plot["height"] == pytest.approx(0.8, abs=0.05)
            wide = "(e) => e.scrollWidth - e.clientWidth"
            assert await page.locator(".vb-card-body").evaluate(wide) <= 0


async def box(element: Locator) -> FloatRect:
    found = await element.bounding_box()
    assert found
    return found


async def test_an_edit_is_seen_in_place(site: Site) -> None:
    """The card changes where it stands, on an open page, and its old button is gone."""
    chat = await site.web.open_chat("更新", [LI], key="edit")
    button = Buttons((Button("收到", "ack:1", confirm="确定收到？"),))
    receipt = await site.web.send(chat, Card("告警", Tone.BAD, (button,)), key="edit")
    await site.web.send(chat, say("下面的卡片"), key="edit-2")
    async with site.page(LI, chat) as page:
        heads = page.locator(".vb-card-head")
        await expect(heads).to_have_text(["告警", "下面的卡片"])
        await expect(heads.first).to_have_class(re.compile("tone-bad"))
        await page.get_by_role("button", name="收到", exact=True).click()
        await expect(page.get_by_role("dialog")).to_contain_text("确定收到？")
        await site.web.edit(receipt, Card("已恢复", Tone.GOOD, (Text("李工已处理"),)))
        await expect(heads).to_have_text(["已恢复", "下面的卡片"])
        await expect(heads.first).to_have_class(re.compile("tone-good"))
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.get_by_role("button", name="确认收到").click()
        await expect(page.get_by_text("这张卡片已更新")).to_be_visible()
        await expect(page.get_by_role("button", name="收到")).to_have_count(0)


async def test_a_button_that_looks_the_same_stays_and_does_what_is_new(site: Site) -> None:
    """Drawn anew, it would take the press with it that is made in that instant."""
    chat = await site.web.open_chat("按钮", [LI], key="stays")
    buttons = Buttons((Button("收到", "ack:1"),))
    receipt = await site.web.send(chat, Card("告警", Tone.BAD, (Text("一"), buttons)), key="stays")
    async with site.page(LI, chat) as page:
        button = page.get_by_role("button", name="收到", exact=True)
        drawn = await button.element_handle()
        assert drawn
        buttons = Buttons((Button("收到", "ack:2"),))
        await site.web.edit(receipt, Card("告警", Tone.BAD, (Text("二"), buttons)))
        await expect(page.locator(".vb-text", has_text="二")).to_be_visible()
        await drawn.click()
        event = await heard(site.web)
        assert isinstance(event, Click)
        assert event.action == "ack:2"


async def test_a_quiet_phase_is_folded_and_stays_as_its_reader_turned_it(site: Site) -> None:
    """What is done takes one line; opened by a click it stays open when the card is edited."""
    chat = await site.web.open_chat("折叠", [LI], key="fold")
    lines = Checklist(
        (
            Item(Mark.DONE, "签约", "Day 0", level=0),
            Item(Mark.DONE, "生成合同", "证据在此"),
            Item(Mark.DOING, "部署", "Day 1", level=0),
            Item(Mark.DOING, "启动实例"),
        )
    )
    receipt = await site.web.send(chat, Card("接入", Tone.WORKING, (lines,)), key="fold")
    async with site.page(LI, chat) as page:
        await expect(page.get_by_text("启动实例")).to_be_visible()
        await expect(page.get_by_text("证据在此")).to_be_hidden()
        await expect(page.locator("summary").first).to_contain_text("1/1")
        await page.get_by_text("签约", exact=True).click()
        await expect(page.get_by_text("证据在此")).to_be_visible()
        more = replace(lines, items=(*lines.items, Item(Mark.TODO, "检查健康")))
        await site.web.edit(receipt, Card("接入", Tone.WORKING, (more,)))
        await expect(page.get_by_text("检查健康")).to_be_visible()
        await expect(page.get_by_text("证据在此")).to_be_visible()


async def test_what_waits_for_somebody_is_in_sight(site: Site) -> None:
    """A chat opens at the button of the card that waits, however much was said after it."""
    chat = await site.web.open_chat("等人", [LI], key="sight")
    gate = Buttons((Button("确认合同已签", "yes:1"),))
    receipt = await site.web.send(chat, Card("接入", Tone.WARNING, (gate,)), key="sight")
    for number in range(12):
        await site.web.send(chat, say(f"第 {number} 条", "一\n二\n三"), key=f"sight-{number}")
    async with site.page(LI, chat) as page:
        last = page.locator(".vb-card-head", has_text="第 11 条")
        await expect(page.get_by_role("button", name="确认合同已签")).to_be_in_viewport()
        await expect(last).not_to_be_in_viewport()
        await last.scroll_into_view_if_needed()
        await page.get_by_role("button", name="去处理").click()
        await expect(page.get_by_role("button", name="确认合同已签")).to_be_in_viewport()
        await site.web.send(chat, say("第 12 条", "一\n二"), key="sight-12")
        await expect(page.get_by_role("button", name="确认合同已签")).to_be_in_viewport()
        await site.web.send(chat, say("主库没有应答", tone=Tone.BAD), key="sight-alarm")
        await expect(page.locator(".vb-card-head", has_text="主库")).to_be_in_viewport()
        await site.web.edit(receipt, Card("接入", Tone.GOOD, (Text("已确认"),)))
        await expect(page.get_by_role("button", name="去处理")).to_be_hidden()


async def test_the_chat_that_was_chosen_is_still_open_when_the_page_is_loaded_again(
    site: Site,
) -> None:
    one = await site.web.open_chat("先打开的群", [LI, WANG], key="first-chosen")
    await site.web.open_chat("后选的群", [LI, WANG], key="then-chosen")
    async with site.page(LI, one) as page:
        await page.locator(".vb-chat", has_text="后选的群").click()
        await expect(page.locator(".vb-head-title")).to_have_text("后选的群")
        await page.reload()
        await expect(page.locator(".vb-head-title")).to_have_text("后选的群")


async def test_on_a_phone_the_chats_and_the_person_can_be_read(site: Site) -> None:
    """They stand above the open chat, which has the width for itself; more of them are swiped."""
    chat = await site.web.open_chat("海蓝科技 监控交付", [LI, WANG], key="phone")
    async with site.page(LI, chat) as page:
        await page.set_viewport_size({"width": 390, "height": 844})
        row = page.locator(".vb-chat-title", has_text="海蓝科技 监控交付")
        assert await row.evaluate("e => e.scrollWidth <= e.clientWidth"), "its name is not cut"
        who = page.locator(".vb-who").get_by_text("李工", exact=True)
        assert (box := await who.bounding_box())
        assert box["width"] >= 28
        assert await page.locator(".vb-main").evaluate("e => e.clientWidth") == 390
        assert await page.evaluate("document.documentElement.scrollWidth") == 390


async def test_the_person_is_switched(site: Site) -> None:
    """In the demo one page can be anybody; each sees their own chats alone."""
    chat = await site.web.open_chat("共同的群", [LI, WANG], key="who")
    await site.web.open_chat("李工的群", [LI], key="who-2")
    await site.web.ring(WANG, "P1 告警", key="who-3")
    async with site.page(LI, chat) as page:
        await expect(page.locator(".vb-chats")).to_contain_text("李工的群")
        await page.get_by_label("当前身份（演示）").click()
        await page.get_by_role("option", name="王经理").click()
        await expect(page).to_have_url(re.compile("who=wang"))
        await expect(page.locator(".vb-head-title")).to_have_text("共同的群")
        await expect(page.locator(".vb-chats")).not_to_contain_text("李工的群")
        await page.get_by_role("button", name="Vigilbot · 王经理").click()
        await expect(page.locator(".urgent .vb-bubble")).to_have_text("P1 告警")


async def test_without_the_demo_one_is_who_one_signed_in_as(site: Site) -> None:
    """Nobody is sent to the login; `who` in the address changes nothing; files need membership."""
    mine = await site.web.open_chat("李工的文件", [LI], key="login")
    await site.web.upload(mine, File("a.txt", b"1"), key="login")
    (file,) = site.web.history(mine)[0].files
    context = await site.browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(f"{site.url}/work?who=li")
        await expect(page).to_have_url(f"{site.url}/login")
        address = f"{site.url}/work/files/{file.id}"
        assert (await context.request.get(address)).status == 404
        await context.add_cookies([{"name": "session", "value": "wang", "url": site.url}])
        await page.goto(f"{site.url}/work?who=li&chat={mine.id}")
        await expect(page.locator(".vb-who")).to_have_text("王经理")
        await expect(page.locator(".vb-chats")).not_to_contain_text("李工的文件")
        assert (await context.request.get(address)).status == 404
        await context.add_cookies([{"name": "session", "value": "li", "url": site.url}])
        assert await (await context.request.get(address)).body() == b"1"
    finally:
        await context.close()

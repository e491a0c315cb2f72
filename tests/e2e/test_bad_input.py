"""What people get wrong, and what goes wrong around them: each is answered with what to do, in
Chinese, and nothing is left half done."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from playwright.async_api import expect

from adapters.card import plain
from adapters.port import UsageError
from adapters.words import Chat, Click, File, Person, Secret, Submission
from bot.demo.hosts import Fault, Spec, Sudo
from bot.demo.world import LI, ZHAO
from runbooks import intake
from runbooks.steps import agent
from storage.records import RunStatus
from tests.e2e.stage import MANAGED, QIAN, REFUSED, Stage, answers, sheet, stage
from tests.e2e.test_demo import PATIENT, browsing, opened, started

pytestmark = [
    pytest.mark.xdist_group("ports"),  # worlds side by side would plan the same ports
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

COMPANY = "海蓝科技"
LONG = "长" * 100_000
BIDI = "海蓝\u202e技科"
CONTROL = "海蓝\x07科技"
EVIL = '<img src=x onerror="window.hacked=1"> **粗** [x](javascript:alert(1))'
EVIL_CONTACT = "<b>王</b> *经理*"
EVIL_SERVER = "<script>hacked=1</script>"
GOOD = "web-01 10.0.0.11 22 ops"

WRONG_FORMS: Sequence[tuple[str, dict[str, str], tuple[str, ...]]] = (
    ("端口", {"servers": "web-01 10.0.0.11 99999 ops"}, ("第 1 行「端口」", "1–65535 的整数")),
    ("重名", {"servers": f"{GOOD}\nWEB-01 10.0.0.12"}, ("第 2 行「名称」：与第 1 行重复",)),
    ("重址", {"servers": f"{GOOD}\nweb-02 10.0.0.11"}, ("第 2 行「地址」", "与第 1 行重复")),
    ("地址", {"servers": "web-01 10.0.0.999"}, ("第 1 行「地址」：不是有效的 IP 地址",)),
    ("公司太长", {"company": LONG}, ("「公司名称」最多 80 个字",)),
    ("公司控制符", {"company": CONTROL}, ("「公司名称」含有看不见的控制字符",)),
    ("公司方向符", {"company": BIDI}, ("「公司名称」含有看不见的控制字符",)),
    ("联系人太长", {"contacts": f"{LONG}，13800000000"}, ("「联系人」",)),
    ("联系人方向符", {"contacts": f"{BIDI}，13800000000"}, ("「联系人」", "控制字符")),
    ("联系人控制符", {"contacts": f"{CONTROL}，13800000000"}, ("「联系人」", "控制字符")),
    ("联系人太多", {"contacts": "王，13800000000\n" * 10_000}, ("「联系人」最多",)),
    ("系统太长", {"systems": LONG}, ("「核心业务系统」第 1 行最多 80 个字",)),
    ("系统方向符", {"systems": BIDI}, ("「核心业务系统」", "控制字符")),
    ("监控太长", {"monitoring": LONG}, ("「现有监控方案」最多",)),
    ("监控控制符", {"monitoring": CONTROL}, ("「现有监控方案」", "控制字符")),
    ("域名", {"domain": "http://x/y"}, ("「访问域名」不是域名", "ops.example.com")),
    ("域名太长", {"domain": LONG}, ("「访问域名」不是域名",)),
    ("实例地址", {"way": "c", "url": "ftp://x"}, ("「已有实例地址」", "https://")),
    ("实例地址太长", {"way": "c", "url": f"http://{LONG}"}, ("「已有实例地址」",)),
    ("名称太长", {"servers": f"{LONG} 10.0.0.11"}, ("第 1 行「名称」：太长，最多 64 个字符",)),
    ("名称方向符", {"servers": "web\u202e01 10.0.0.11"}, ("第 1 行「名称」：含有换行或控制字符",)),
    ("清单太长", {"servers": LONG}, ("第 1 行「名称」",)),
    ("清单太大", {"servers": GOOD + LONG * 20}, ("超过 5 MB", "分成几份")),
    ("没有清单", {"servers": ""}, ("「服务器清单」请粘贴或上传一份文件，二选一",)),
)
"""By name: what is changed in a form that is right, and what the answer says."""

MONITOR_DOWN = "监控实例没有正常回答：请确认它在运行"
NO_SHEETS = (
    File("servers.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
    File("servers.xlsx", b"PK\x03\x04 not an archive"),
    File("servers.pdf", b"%PDF-1.7"),
    File("servers.docx", b"\x00\x01\x02"),
)


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage on which no server is ever to be touched."""
    async with stage(tmp_path, (Spec("web-01"), Spec(MANAGED))) as on:
        yield on


async def untouched(on: Stage) -> None:
    """No customer, no run, no group, and no server heard of it."""
    assert await on.customers() == []
    assert [chat for chat in on.webchat.chats(LI) if not on.webchat.is_direct(chat)] == [on.ops]
    assert [host.commands for host in on.hosts] == [[], []]
    assert not any(host.connections for host in on.hosts)


async def test_a_form_that_is_wrong_is_answered_and_nothing_is_begun(small: Stage) -> None:
    """Each wrong answer is named with what to write instead, and the same form then goes through."""
    form = await small.form(COMPANY)
    for name, changed, said in WRONG_FORMS:
        told = await small.refusal(
            small.ops, small.submit(form, answers(**{"servers": GOOD, **changed}))
        )
        assert all(part in told for part in (*said, "改正后再提交")), (name, told[:400])
        assert len(told) < 1000, name
    for file in NO_SHEETS:
        told = await small.refusal(small.ops, small.submit(form, answers(), [file]))
        assert "不是可以识别的表格，请发送 CSV 或 XLSX 文件" in told, file.name
    both = answers(servers=GOOD)
    told = await small.refusal(small.ops, small.submit(form, both, [sheet([("a", "b", 1, "c")])]))
    assert "二选一" in told
    await untouched(small)
    await small.submit(form, answers(servers=GOOD))
    await small.group(COMPANY)
    assert [each.name for each in await small.customers()] == [COMPANY]


async def test_what_a_form_does_not_offer_is_refused_twice(small: Stage) -> None:
    """The page knows the tiers, and so does the bot, whatever a platform lets through."""
    form = await small.form(COMPANY)
    with pytest.raises(UsageError, match="请从列出的选项中选择：服务等级"):
        await small.submit(form, answers(servers=GOOD, tier="platinum"))
    now = datetime.now(tz=UTC)
    values = answers(company=COMPANY, servers=GOOD, tier="platinum", location="cloud")
    sent = Submission("s1", small.ops, LI, intake.ACTION, values, now)
    told = await small.refusal(small.ops, small.bot.inbox.take(sent))
    assert "「服务等级」请从列表中选一项" in told
    await untouched(small)


async def test_a_message_of_any_length_is_no_harm(small: Stage) -> None:
    """Talk is left alone; a command that is too long, or hides letters, says what to do."""
    talk = small.ids(small.ops)
    await small.webchat.say(LI, small.ops, LONG)
    told = await small.refusal(small.ops, small.webchat.say(LI, small.ops, f"/onboard {LONG}"))
    assert "100009 个字，超过了 4000 个字的上限，没有执行" in told
    answered = [p for p in small.webchat.history(small.ops) if p.id not in talk and p.card]
    assert [post.card.title for post in answered if post.card] in ([REFUSED], ["客户一览", REFUSED])
    with pytest.raises(UsageError, match="消息太长：最多 200000 字，请改为上传文件"):
        await small.webchat.say(LI, small.ops, LONG * 3)
    form = await small.form(f"{BIDI}\x00\x1b[31m")
    assert form.card
    assert "海蓝技科[31m" in plain(form.card)
    await untouched(small)


async def test_a_form_that_comes_twice_begins_one_onboarding(small: Stage) -> None:
    """Delivered again by the platform, and sent again by a person who was not sure."""
    form = await small.form(COMPANY)
    now, values = datetime.now(tz=UTC), answers(company=COMPANY, servers=GOOD)
    values |= {"tier": "basic", "location": "cloud"}
    sent = Submission("s1", small.ops, LI, intake.ACTION, values, now)
    await asyncio.gather(*(small.bot.inbox.take(sent) for _ in range(3)))
    told = await small.refusal(small.ops, small.submit(form, answers(servers=GOOD)))
    assert f"客户「{COMPANY}」已经存在" in told
    assert "请用 /status 查看" in told
    group = await small.group(COMPANY)
    await small.shows(group, "⏳ 确认合同已签")
    assert len(await small.customers()) == len(await small.runs()) == 1
    names = [file.name for post in small.webchat.history(group) for file in post.files]
    assert sorted(names) == [f"客户信息表-{COMPANY}.xlsx", f"服务合同-{COMPANY}.docx"]


async def test_two_press_at_once_and_one_presses_an_old_card(small: Stage) -> None:
    """One of them is heard, the other is told; a press on what was drawn before changes nothing."""
    form = await small.form(COMPANY)
    await small.submit(form, answers(servers=f"web-01 127.0.0.1 {small.hosts[0].spec.port} ops"))
    group = await small.group(COMPANY)
    await small.shows(group, "⏳ 确认合同已签")
    (run,) = await small.runs()
    action = await small.until(lambda: small.action(group, "确认合同已签"))
    now = datetime.now(tz=UTC)
    both = [Click(f"c-{who.id}", group, who, action, now) for who in (ZHAO, QIAN)]
    told = await small.refusal(group, asyncio.gather(*map(small.bot.inbox.take, both)))
    assert "已经由别人处理" in told
    assert "/status" in told
    # The key was never given, so the next line stops and asks.
    await small.shows(group, "❌ 检查服务器连通性")
    old = Click("c-old", group, ZHAO, action, now)
    assert "卡片已过期" in await small.refusal(group, small.bot.inbox.take(old))
    again = await small.until(lambda: small.action(group, "重试失败主机"))
    await retried(small, group)
    twice = Click("c-again", group, LI, again, now)
    assert "卡片已过期" in await small.refusal(group, small.bot.inbox.take(twice))
    (after,) = await small.runs()
    assert (after.id, after.line, after.status) == (run.id, "probe", RunStatus.STUCK)
    async with small.store.view() as unit:
        signed = (await unit.lines.of(run.id))["signed"]
    assert signed.by in (ZHAO, QIAN)


async def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """HTML and Markdown in names stay letters: on the card, the page, in documents and file names."""
    async with stage(tmp_path, (Spec("web-01"), Spec(MANAGED))) as on:
        form = await on.form(COMPANY)
        values = answers(company=EVIL, contacts=f"{EVIL_CONTACT}，13800000000", systems=EVIL)
        row = (EVIL_SERVER, "127.0.0.1", on.hosts[0].spec.port, "ops", "no")
        await on.submit(form, values, [sheet([row])])
        group = await on.group(EVIL)
        await on.shows(group, f"客户接入 · {EVIL}", "⏳ 确认合同已签")
        await on.press("确认合同已签", ZHAO, group)
        await on.shows(group, f"{EVIL_SERVER} | 127.0.0.1", "都被拒绝")
        files = {file.name: file.id for post in on.webchat.history(group) for file in post.files}
        assert len(files) == 2
        assert f"服务合同-{EVIL}.docx" in files
        for name, number in files.items():
            content = on.webchat.content(number, LI)
            assert content
            with zipfile.ZipFile(io.BytesIO(content.content)) as archive:
                xml = [archive.read(p).decode() for p in archive.namelist() if p.endswith(".xml")]
            assert EVIL in unescape("".join(xml)), name
            assert EVIL_CONTACT in unescape("".join(xml)), name
            assert not any("<img" in part or "<script" in part for part in xml), name
    async with started(tmp_path) as (_, address), browsing() as browser:
        page = await opened(browser, f"{address}/chat?who=li&chat={group.id}")
        await expect(page.locator(".vb-head-title")).to_have_text(f"{EVIL} 监控交付")
        card = page.locator(".vb-card", has_text="客户接入")
        await expect(card).to_contain_text(EVIL, timeout=PATIENT)
        await expect(card).to_contain_text(EVIL_SERVER)
        await expect(page.locator(".vb-file").first).to_contain_text(EVIL)
        injected = "img[src=x], .vb-main script, .vb-main b, .vb-card em, a[href^=javascript]"
        await expect(page.locator(injected)).to_have_count(0)
        await page.goto(f"{address}/console")
        await expect(page.get_by_text(EVIL).first).to_be_visible(timeout=PATIENT)
        await expect(page.locator("img[src=x], a[href^=javascript]")).to_have_count(0)
        assert await page.evaluate("window.hacked === undefined")


@pytest.mark.timeout(180)
async def test_servers_that_cannot_be_worked_on_are_named_and_mended(tmp_path: Path) -> None:
    """Each fault in its own words with its cure; after the mend, /retry takes up what was left."""
    password = Secret("Richtig-2026-abc")
    named = {
        "down-01": (Fault.REFUSE, "连接被拒绝，请确认 SSH 服务已启动、端口正确"),
        "pass-01": (Fault.WRONG_PASSWORD, "都被拒绝，请核对用户名、密码"),
        "full-01": (Fault.DISK_FULL, "磁盘剩余 0.0 GB，至少需要 2 GB：请清理后重试"),
        "late-01": (Fault.CLOCK_SKEW, "请启用 NTP 对时后重试"),
        "sudo-01": (Fault.NO_SUDO, "sudo"),
    }
    asks = Spec("asks-01", password=password, sudo=Sudo.PASSWORD)
    specs = (*(Spec(name, password=password) for name in ("good-01", *named)), asks, Spec(MANAGED))
    async with stage(tmp_path, specs) as on:
        for name, (fault, _) in named.items():
            await on.hosts[name].inject(fault)
        rows = [(s.name, s.host, s.port, s.user, s.password.reveal()) for s in on.hosts.specs[:-1]]
        wrong = ("port-01", "127.0.0.1", 9, "ops", "no")
        form = await on.form(COMPANY)
        await on.submit(form, answers(), [sheet([*rows, wrong])])
        group = await on.group(COMPANY)
        await on.press("确认合同已签", ZHAO, group)
        shown = await on.shows(group, "❌ 检查服务器连通性", "1/8 台完成")
        for name, (_, said) in named.items():
            (row,) = [each for each in shown.splitlines() if each.strip().startswith(f"{name} | ")]
            assert said in row, row
        assert "asks-01 | 127.0.0.1" in shown
        assert "sudo 要求输入密码，但没有登记 sudo 密码，请登记或配置 NOPASSWD" in shown
        assert "port-01 | 127.0.0.1:9：连接被拒绝，请确认 SSH 服务已启动、端口正确" in shown
        # Nothing went on without them, and who is not a lead cannot make it go on.
        assert on.hosts[MANAGED].commands == []
        assert "只有负责人" in await on.refusal(group, on.webchat.say(LI, group, "/skip 急"))

        for name in named:
            await on.hosts[name].mend()
        for name in ("asks-01", "port-01"):
            await answered(on, group, ZHAO, f"/server remove {name}", "服务器已移除")
        again = sheet([(*rows[-1], password.reveal())], "sudo密码")
        await answered(on, group, LI, "/server add", "服务器已添加", again)
        # The first server is reinstalled meanwhile: its key was pinned, and is not believed.
        await on.hosts["good-01"].inject(Fault.NEW_HOST_KEY)
        await retried(on, group)
        shown = await on.shows(group, "❌ 检查服务器到实例的连通", "6/7 台完成")
        assert "good-01 | 127.0.0.1" in shown
        assert "主机密钥变了：记录的是 SHA256:" in shown
        assert "可能被冒充，也可能重装过，请核对后再继续" in shown
        assert "请核实是否重装" in shown
        before = len(on.hosts["good-01"].commands)
        await retried(on, group)
        assert len(on.hosts["good-01"].commands) == before
        await answered(on, group, ZHAO, "/server remove good-01", "服务器已移除")

        await goes_on_after_an_outage(on, group, {*named, "asks-01"})


async def goes_on_after_an_outage(on: Stage, group: Chat, servers: set[str]) -> None:
    """The monitor goes down while agents are installed; once it is back, nothing is done twice."""
    (world,) = on.containers.worlds.values()
    await on.hosts["down-01"].inject(Fault.DISK_FULL)
    await retried(on, group)
    await on.shows(group, "❌ 安装 Agent", "请清理磁盘后重试")
    await on.hosts["down-01"].mend()
    world.traps.down_until = datetime.max.replace(tzinfo=UTC)
    # Asked within a second of the last time, nobody would notice before the canary has waited for long.
    agent._ROLLS.clear()
    await retried(on, group)
    await on.shows(group, "❌ 安装 Agent", MONITOR_DOWN)
    world.traps.down_until = None
    await on.webchat.say(LI, group, "/retry")
    await on.shows(group, "⏳ 确认通知渠道")
    assert {host["hostname"] for host in world.rows("hosts")} == servers
    assert [len(on.hosts[name].installs) for name in servers] == [1] * len(servers)
    long = {"email": f"{LONG}@example.com"}
    assert "最多 2000 个字" in await on.refusal(group, on.fill(long, LI, group, "yes"))


async def retried(on: Stage, group: Chat) -> None:
    """Type /retry, and wait until the run has stopped again."""
    before = on.action(group, "重试失败主机")
    await on.webchat.say(LI, group, "/retry")

    def stopped() -> str | None:
        now = on.action(group, "重试失败主机")
        return None if now == before else now

    await on.until(stopped)


async def answered(
    on: Stage, group: Chat, who: Person, words: str, title: str, *files: File
) -> None:
    """Say something, and wait for the answer of that title."""
    before = on.ids(group)
    await on.webchat.say(who, group, words, files)
    await on.until(lambda: on.new(group, before, title))

"""Phase 5, played: named, tested, trained, refused, signed by card and by link, handed over."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import docx
import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from adapters.card import Buttons, Card, Form, plain
from adapters.documents import OfficeDocuments
from adapters.llm import OpenAiModel
from adapters.port import Account, UsageError
from adapters.ssh import SshKeys
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.words import Chat, Click, Message, Person, Role, Secret, Submission
from bot.demo import model as stand_in
from bot.demo.vigilops import Traps, World, serve
from bot.inbox import Inbox
from bot.sender import Sender
from bot.web import hooks
from bot.web.links import router
from commands.accept import accept
from commands.declare import Book
from runbooks import acceptance as book
from runbooks import walk as walking
from runbooks.acceptance import ACCEPTANCE
from runbooks.book import Phase, Runbook, Step
from runbooks.cards import drawn
from runbooks.case import Contact, Onboarding
from runbooks.evidence import short
from runbooks.kit import Errand, House, Kit
from runbooks.onboarding import ONBOARDING
from runbooks.press import Press
from runbooks.steps import alerts
from runbooks.steps.acceptance import known, read_approvers
from storage.audit import first_break
from storage.records import Customer, LineState, Member, Run, RunStatus, Server, Tier
from storage.store import Store, Unit
from storage.tables import metadata

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
WANG = Person("web", "wang", "王经理")
ZHOU = Person("web", "zhou", "周助理")
SUN = Person("web", "sun", "孙总监")
OTHER = Person("web", "he", "孙总监")
"""Of another company, and of the same name."""
TEAM = [LI, ZHAO, WANG, ZHOU, SUN]
BOT_PASSWORD = "Bot-Passw0rd-77"
APPROVERS = {"approvers": "王经理 / 周助理\n陈总\n孙总监", "need": "2"}
DRILL = {"host": "web-01", "done": "清理 /tmp 3 GB"}
PAPERS = [
    "验收报告-海蓝科技.docx",
    "运维报告模板-海蓝科技.docx",
    "紧急联系方式-海蓝科技.docx",
    "服务使用手册-海蓝科技.docx",
]


async def received(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """What phase 4 leaves behind."""
    return case, "王经理 11:00:09 按了「收到」"


BOOK: Runbook[Onboarding] = Runbook(
    "onboarding",
    "客户接入",
    Onboarding,
    (
        Phase("告警配置"),
        Step("channel", "告警渠道", alerts.channel),
        Step("rules", "告警规则", alerts.rules),
        Step("test-received", "测试通知到达", received),
        *ONBOARDING.phase("验收交付"),
    ),
)
BOOKS: dict[str, Runbook[Any]] = {BOOK.name: BOOK, ACCEPTANCE.name: ACCEPTANCE}


class Play:
    """Inbox, sender, web chat and link pages over a real monitor; the engine walks at once."""

    def __init__(self, kit: Kit, web: WebChat, world: World, http: httpx.AsyncClient) -> None:
        self.kit, self.store, self.web, self.world, self.http = kit, kit.store, web, world, http
        self.group = Chat("web", "")
        self.events = 0
        docs = OfficeDocuments()
        self.inbox = Inbox(kit.store, BOOKS, kit.clock, self.go, Book(accept), docs, SshKeys())
        self.sender = Sender(kit.store, kit.chats, self.draw, kit.clock)

    async def go(self, run: Run) -> None:
        await walking.walk(BOOKS, run.id, self.kit)

    async def draw(self, key: str, unit: Unit) -> Card:
        return await drawn(BOOKS, key.removeprefix("run:"), unit)

    async def begin(self, tier: Tier = Tier.PRO) -> None:
        self.group = await self.web.open_chat("海蓝科技 监控交付", TEAM, key="g")
        now = self.kit.clock.now()
        async with self.store.unit() as unit:
            customer = await unit.customers.add(
                Customer(0, "海蓝科技", "hailan", now, self.group, tier)
            )
            other = await unit.customers.add(Customer(0, "别家", "other", now))
            await unit.servers.add(Server(0, customer.id, "web-01", "10.0.0.1", hostname="web-01"))
            for person, role in ((LI, Role.ENGINEER), (ZHAO, Role.LEAD)):
                await unit.people.put(Member(person, role))
            for person in (WANG, ZHOU, SUN):
                await unit.people.put(Member(person, Role.CUSTOMER, customer.id))
            await unit.people.put(Member(OTHER, Role.CUSTOMER, other.id))
            await unit.vault.put(f"monitor:{customer.id}:password", Secret(BOT_PASSWORD))
            case = Onboarding(
                customer.id,
                "海蓝科技",
                (Contact("王经理", "IT 主管", "13800000000"),),
                ("web-01",),
                tier,
                url=self.kit.house.ai_url,
                contract="VB-1",
            )
            text = walking.dump(case)
            run = Run("r1", "onboarding", customer.id, "", RunStatus.WALKING, 0, text, LI, now, now)
            await walking.start(BOOK, run, unit)
        await self.go(run)
        await self.sender.drain()

    async def run(self) -> Run:
        async with self.store.view() as unit:
            run = await unit.runs.get("r1")
        assert run is not None
        return run

    async def case(self) -> Onboarding:
        found: Onboarding = walking.load(BOOK, await self.run())
        return found

    async def action(self, verb: str) -> str:
        run = await self.run()
        return Press(verb, run.id, run.line, run.attempt).text()

    async def drawn(self) -> Card:
        async with self.store.view() as unit:
            return await drawn(BOOKS, "r1", unit)

    async def verb(self, start: str) -> str:
        """Return the verb of a button or a form that stands on the card."""
        card = await self.drawn()
        actions = [
            b.action for block in card.blocks if isinstance(block, Buttons) for b in block.buttons
        ]
        actions += [block.action for block in card.blocks if isinstance(block, Form)]
        verbs = [action.split("|")[1] for action in actions]
        return next(verb for verb in verbs if verb.startswith(start))

    async def press(self, who: Person, verb: str, action: str = "") -> str:
        """Press, and return what is said last in the group."""
        self.events += 1
        pressed = action or await self.action(verb)
        number, now = f"e{self.events}", self.kit.clock.now()
        await self.inbox.take(Click(number, self.group, who, pressed, now))
        return await self.said()

    async def fill(self, who: Person, verb: str, values: dict[str, str]) -> str:
        self.events += 1
        number, now, action = f"e{self.events}", self.kit.clock.now(), await self.action(verb)
        await self.inbox.take(Submission(number, self.group, who, action, values, now))
        return await self.said()

    async def type(self, who: Person, text: str) -> str:
        self.events += 1
        number, now = f"e{self.events}", self.kit.clock.now()
        await self.inbox.take(Message(number, self.group, who, text, now))
        return await self.said()

    async def said(self) -> str:
        await self.sender.drain()
        cards = [post.card for post in self.web.history(self.group) if post.card]
        return plain(cards[-1])

    async def reach_signing(self, tier: Tier = Tier.PRO, absent: str = "陈总") -> None:
        await self.begin(tier)
        text = APPROVERS["approvers"].replace("陈总", absent)
        await self.fill(LI, "yes", {**APPROVERS, "approvers": text})
        if tier is Tier.PRO:
            await self.fill(LI, "yes", DRILL)
        await self.press(WANG, "yes")
        run = await self.run()
        assert (run.line, run.status) == ("sign", RunStatus.WAITING), run.note

    def told(self, person: Person) -> list[tuple[str, str]]:
        """Return (path, code) of each link that was told in somebody's direct chat."""
        (direct,) = [c for c in self.web.chats(person) if c.id == f"d-{person.id}"]
        texts = [post.text for post in self.web.history(direct)]
        paths = [found[1] for text in texts if (found := re.search(r"http://bot(\S+)", text))]
        codes = [found[1] for text in texts if (found := re.search(r"验证码：(\d{6})", text))]
        return list(zip(paths, codes, strict=True))


@asynccontextmanager
async def playing(store: Store, folder: Path, clock: Minutes) -> AsyncIterator[Play]:
    app = FastAPI()
    world = World(
        now=clock.now,
        traps=Traps(ssrf_guard=False),
        transport=httpx.ASGITransport(app),
    )
    clock.world = world
    behaviour = stand_in.Behaviour()
    async with (
        serve(world) as monitor_url,
        stand_in.serve(behaviour) as model_url,
        OpenAiModel(model_url, "deepseek-chat", Secret("demo-key")) as model,
        VigilOpsMonitors() as monitors,
        WebChat(folder / "web.sqlite") as web,
    ):
        house = House(public_url="http://bot", ai_url=monitor_url)
        nobody = cast("Any", None)
        kit = Kit(clock, store, {"web": web}, nobody, monitors, OfficeDocuments(), house, model)
        watch = monitors.at(monitor_url, Account(house.account, Secret(BOT_PASSWORD)))
        await watch.register_admin()
        host, _ = world.register_host(1, {"hostname": "web-01"})
        world.record(
            host["id"], {"cpu_percent": 12.5, "memory_percent": 40.0, "disk_percent": 50.0}
        )
        app.include_router(hooks.router(hooks.Hook(kit)))
        play = Play(kit, web, world, httpx.AsyncClient())
        app.include_router(router(kit, BOOKS, play.go))
        await play.http.aclose()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bot") as http:
            play.http = http
            yield play


class Minutes:
    """A clock on which time passes only while somebody sleeps; then the monitor evaluates."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
        self.world: World | None = None

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        if self.world:
            await self.world.evaluate()


@pytest.fixture
async def play(store: Store, tmp_path: Path) -> AsyncIterator[Play]:
    async with playing(store, tmp_path, Minutes()) as opened:
        yield opened


def words(content: bytes) -> str:
    document = docx.Document(BytesIO(content))
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return "\n".join([*(p.text for p in document.paragraphs), *cells])


async def test_from_the_approvers_to_the_service(play: Play, store: Store, tmp_path: Path) -> None:
    """Refused once, signed by a link and a card in the second round, and handed over."""
    await play.reach_signing()
    first, card = await play.case(), plain(await play.drawn())
    assert [(a.name, a.id, a.deputy_id) for a in first.approvers] == [
        ("王经理", "wang", "zhou"),
        ("陈总", "", ""),
        ("孙总监", "sun", ""),
    ]
    figures = "web-01 CPU 12.5% 内存 40.0% 磁盘 50.0%"
    for part in (figures, "磁盘将满", "清理 /tmp 3 GB", "需要 2", first.evidence):
        assert part in card

    await refused(play)
    second = await play.case()
    assert second.round == 2
    assert second.evidence not in ("", first.evidence)
    await signed_by_link(play, second.evidence)
    await play.press(SUN, await play.verb("sign-"))
    done = await play.run()
    assert done.status is RunStatus.DONE, done.note
    await play.sender.drain()
    await remembered(play, store, first.evidence, second.evidence)
    password = await handed_over(play, second.url)
    told = [part for pair in play.told(LI) for part in pair]
    assert len(told) == 4
    await assert_unknown([password, BOT_PASSWORD, *told], store, play, tmp_path)


async def refused(play: Play) -> None:
    """The deputy signs, another refuses and names what to do again; then it is signed anew."""
    await play.press(ZHOU, await play.verb("sign-"))
    assert "代理人 周助理 已签" in plain(await play.drawn())
    assert "已经签过" in await play.press(WANG, await play.verb("sign-"))
    old = await play.verb("sign-")
    refusal = {"reason": "新来的同事没有培训", "lines": "training"}
    await play.fill(SUN, await play.verb("refuse-"), refusal)
    run = await play.run()
    assert (run.line, run.status) == ("training", RunStatus.WAITING)
    await play.press(WANG, "yes")
    assert "证据已更新" in await play.press(SUN, old)
    card = plain(await play.drawn())
    assert "曾拒绝：新来的同事没有培训" in card
    assert "已签 0" in card


async def signed_by_link(play: Play, evidence: str) -> None:
    assert "由工程师生成" in await play.press(WANG, "link-1")
    await play.press(LI, await play.verb("link-"))
    ((path, code),) = play.told(LI)
    page = await play.http.get(path)
    assert page.status_code == 200
    assert evidence in page.text
    assert page.headers["cache-control"] == "no-store"
    sign, wrong = f"sign-{short(evidence)}", "111111" if code != "111111" else "222222"
    told = [
        (await play.http.post(path, data={"code": typed, "verb": sign})).status_code
        for typed in (wrong, wrong, code, code)
    ]
    assert told == [403, 403, 200, 410]
    assert "已签 1" in plain(await play.drawn())


async def remembered(play: Play, store: Store, first: str, second: str) -> None:
    posts = play.web.history(play.group)
    assert [file.name for post in posts for file in post.files] == PAPERS
    assert any(post.card and post.card.title == "进入持续运维" for post in posts)
    assert "进入持续运维" in plain(await play.drawn())
    async with store.view() as unit:
        customer = await unit.customers.named("海蓝科技")
        report = await unit.outbox.by_key("r1:report:acceptance")
        trail = await unit.audit.entries()
        signed = await unit.signatures.of("r1")
    assert customer is not None
    assert customer.in_service_since == play.kit.clock.now()
    assert report is not None
    sealed = words(report.file)
    for part in (second, first, "代理人（代 王经理）", "链接签字", "不通过：新来"):
        assert part in sealed
    assert [(s.signer, s.accepted, s.way, s.evidence) for s in signed] == [
        ("周助理", True, "card", first),
        ("孙总监", False, "card", first),
        ("陈总", True, "link", second),
        ("孙总监", True, "card", second),
    ]
    deeds = ["approvers", "remediation-drill", "trained", "sign", "refuse", "trained", "sign-link"]
    assert [entry.deed for entry in trail] == [*deeds, "sign", "sign"]
    assert first_break(trail) is None


async def handed_over(play: Play, url: str) -> str:
    """The account's link shows the password once, and it opens the monitor."""
    path, code = play.told(LI)[-1]
    assert "hailan@example.com" not in (await play.http.get(path)).text
    shown = await play.http.post(path, data={"code": code})
    found = re.search(r"初始密码</td><td>([^<]+)</td>", shown.text)
    assert found is not None
    async with VigilOpsMonitors() as others:
        login = Account("hailan@example.com", Secret(found[1]))
        assert await others.at(url, login).me() == "viewer"
    assert (await play.http.post(path, data={"code": code})).status_code == 410
    return found[1]


async def assert_unknown(secrets: list[str], store: Store, play: Play, folder: Path) -> None:
    """None of these is in a row of the database, in its file, in the group, or in a document."""
    tokens = [secret.removeprefix("/links/") for secret in secrets]
    long = [token.encode() for token in tokens if len(token) > 6]
    assert len(long) > 3
    async with store.unit() as unit:
        connection = unit.audit._db
        for table in metadata.sorted_tables:
            rows = (await connection.execute(sa.select(table))).all()
            for row in rows:
                # Six digits are found in any hash: as a whole cell or a word they must not stand.
                assert not set(tokens) & {str(cell) for cell in row}, table.name
                text = repr(tuple(row)).encode()
                assert not any(token in text for token in long), table.name
    for name, content in files_of(folder).items():
        assert not any(token in content for token in long), name
    for post in play.web.history(play.group):
        said = (plain(post.card) if post.card else "") + post.text
        assert not any(token.decode() in said for token in long)
        assert not any(f"验证码：{token}" in said for token in tokens)
    async with store.view() as unit:
        for key in ("report:acceptance", "papers:manual", "papers:contacts"):
            paper = await unit.outbox.by_key(f"r1:{key}")
            assert paper is not None
            assert not any(token.decode() in words(paper.file) for token in long)


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("bot.sqlite*")}


async def test_two_press_at_once_and_both_count(play: Play) -> None:
    await play.reach_signing(Tier.BASIC)
    action = await play.action(await play.verb("sign-"))
    now = play.kit.clock.now()
    clicks = [Click(f"c{n}", play.group, who, action, now) for n, who in enumerate((WANG, SUN))]
    await asyncio.gather(*(play.inbox.take(click) for click in clicks))
    run = await play.run()
    assert run.status is RunStatus.DONE, run.note
    async with play.store.view() as unit:
        signed = await unit.signatures.of("r1")
        lines = await unit.lines.of("r1")
    assert {s.signer for s in signed} == {"王经理", "孙总监"}
    assert lines["sign"].proof.startswith("2/3 位签字（需要 2）")
    assert "ai" not in lines


async def test_one_press_sent_twice_is_one_signature(play: Play) -> None:
    await play.reach_signing(Tier.BASIC)
    verb = await play.verb("sign-")
    await play.press(WANG, verb)
    assert "已经签过" in await play.press(WANG, verb)
    assert "已经签过" in await play.press(ZHOU, verb)
    assert (await play.run()).status is RunStatus.WAITING


async def test_nobody_signs_twice_not_even_for_somebody_else(play: Play) -> None:
    await play.begin(Tier.BASIC)
    await play.fill(LI, "yes", {"approvers": "王经理 / 孙总监\n孙总监", "need": "2"})
    await play.press(WANG, "yes")
    verb = await play.verb("sign-")
    await play.press(SUN, verb)
    assert "已经签过" in await play.press(SUN, verb)
    assert (await play.run()).status is RunStatus.WAITING


async def test_who_joins_later_signs_by_name_when_it_is_one_persons(play: Play) -> None:
    await play.reach_signing(Tier.BASIC)
    verb, case = await play.verb("sign-"), await play.case()
    twins = [Person("web", number, "陈总") for number in ("chen-1", "chen-2")]
    async with play.store.unit() as unit:
        for twin in twins:
            await unit.people.put(Member(twin, Role.CUSTOMER, case.customer))
    assert "只有名单上的验收人" in await play.press(twins[0], verb)
    async with play.store.unit() as unit:
        await unit.people.drop(twins[1])
    await play.press(twins[0], verb)
    assert "已签 1" in plain(await play.drawn())


async def test_nobody_else_can_sign(play: Play) -> None:
    """Of another company, of ours, unknown with an approver's name, from another platform."""
    await play.reach_signing(Tier.BASIC)
    action = await play.action(await play.verb("sign-"))
    for who, said in (
        (OTHER, "只能在贵公司自己的群里操作"),
        (LI, "只有名单上的验收人"),
        (ZHAO, "只有名单上的验收人"),
        (Person("web", "new", "孙总监"), "只有名单上的验收人"),
        (Person("link", "陈总", "陈总"), ""),
    ):
        chat = Chat("link", play.group.id) if who.platform == "link" else play.group
        before = len(play.web.history(play.group))
        click = Click(f"by {who.id}", chat, who, action, play.kit.clock.now())
        await play.inbox.take(click)
        async with play.store.view() as unit:
            assert await unit.signatures.of("r1") == [], who
        if said:
            assert said in await play.said(), who
            assert len(play.web.history(play.group)) == before + 1, "each is answered for itself"


async def test_five_wrong_codes_lock_a_link_and_a_new_one_works(play: Play) -> None:
    await play.reach_signing(Tier.BASIC)
    await play.press(LI, await play.verb("link-"))
    ((path, code),) = play.told(LI)
    sign = await play.verb("sign-")
    wrong = "111111" if code != "111111" else "222222"
    told = [(await play.http.post(path, data={"code": wrong, "verb": sign})) for _ in range(5)]
    assert [answer.status_code for answer in told] == [403, 403, 403, 403, 423]
    assert (await play.http.post(path, data={"code": code, "verb": sign})).status_code == 423
    assert (await play.http.get(path)).status_code == 423
    await play.press(LI, await play.verb("link-"))
    _, (path, code) = play.told(LI)
    assert (await play.http.post(path, data={"code": code, "verb": sign})).status_code == 200
    assert "已签 1" in plain(await play.drawn())


async def test_a_link_ends_and_an_unknown_one_is_said_to_be_so(play: Play) -> None:
    await play.reach_signing(Tier.BASIC)
    await play.press(LI, await play.verb("link-"))
    ((path, code),) = play.told(LI)
    await play.kit.clock.sleep(timedelta(days=3).total_seconds())
    assert (await play.http.get(path)).status_code == 410
    assert (await play.http.post(path, data={"code": code})).status_code == 410
    assert (await play.http.get("/links/x")).status_code == 404


async def test_what_people_wrote_is_text_on_a_page_too(play: Play) -> None:
    await play.reach_signing(Tier.BASIC, absent="<script>陈总")
    await play.press(LI, await play.verb("link-"))
    page = await play.http.get(play.told(LI)[0][0])
    assert "&lt;script&gt;陈总" in page.text
    assert "<script" not in page.text


async def test_a_refused_post_leaves_the_link_as_it_was(play: Play) -> None:
    """Another hash than the present one, a refusal without a reason: the link is still good."""
    await play.reach_signing(Tier.BASIC)
    await play.press(LI, await play.verb("link-"))
    ((path, code),) = play.told(LI)
    refuse = await play.verb("refuse-")
    for verb, said in (("sign-00000000", "证据已更新"), (refuse, "必填"), ("link-1", "卡片已过期")):
        answer = await play.http.post(path, data={"code": code, "verb": verb})
        assert answer.status_code == 409
        assert said in answer.text
    form = {"code": code, "verb": refuse, "reason": "<b>不行</b>", "lines": ["training"]}
    assert (await play.http.post(path, data=form)).status_code == 200
    assert (await play.run()).line == "training"
    await play.press(WANG, "yes")
    assert "<b>不行</b>" in plain(await play.drawn())


async def test_a_refusal_of_the_simulated_alert_sends_a_real_one(play: Play) -> None:
    """It fires in the monitor, comes in by its webhook, and stands in the group and the proof."""
    await play.reach_signing(Tier.BASIC)
    refusal = {"reason": "没看到模拟告警", "lines": "simulate"}
    await play.fill(WANG, await play.verb("refuse-"), refusal)
    run = await play.run()
    assert (run.line, run.status) == ("sign", RunStatus.WAITING), run.note
    await play.sender.drain()
    cards = [post.card.title for post in play.web.history(play.group) if post.card]
    assert cards.count("测试告警") == 1
    assert "Vigilbot 测试 r1-2 - web-01" in plain(await play.drawn())


async def test_a_silent_server_stops_the_checklist_before_the_customer_sees_it(play: Play) -> None:
    await play.begin(Tier.BASIC)
    await play.fill(LI, "yes", APPROVERS)
    await play.kit.clock.sleep(3600)
    await play.press(WANG, "yes")
    run = await play.run()
    assert (run.line, run.status, run.fault) == ("checklist", RunStatus.STUCK, "silent")
    assert "没有新鲜数据：web-01" in run.note


async def test_without_a_model_the_engineer_is_told_what_to_configure(
    play: Play,
) -> None:
    play.kit = Kit(
        play.kit.clock,
        play.store,
        play.kit.chats,
        play.kit.servers,
        play.kit.monitors,
        play.kit.documents,
        play.kit.house,
    )
    await play.begin()
    await play.fill(LI, "yes", APPROVERS)
    run = await play.run()
    assert (run.line, run.status) == ("ai", RunStatus.STUCK)
    assert "没有配置 AI 模型" in run.note


async def test_staff_cannot_say_for_the_customer_that_they_were_trained(play: Play) -> None:
    await play.begin(Tier.BASIC)
    await play.fill(LI, "yes", APPROVERS)
    assert "客户自己确认" in await play.press(LI, "yes")
    assert (await play.run()).line == "training"


async def test_a_wrong_list_of_approvers_is_answered_with_what_to_write(play: Play) -> None:
    await play.begin(Tier.BASIC)
    for text, need, said in (
        ("", "1", "1 到 20 位"),
        ("王经理\n王经理", "1", "第 2 行"),
        ("王经理 / 王经理", "1", "重复"),
        ("/ 周助理", "1", "第 1 行"),
        ("a / b / c", "1", "第 1 行"),
        ("王" * 41, "1", "第 1 行"),
        ("王经理", "2", "1 到 1"),
        ("王经理", "0", "1 到 1"),
        ("王经理", "²", "1 到 1"),
    ):
        before = len(play.web.history(play.group))
        told = await play.fill(LI, "yes", {"approvers": text, "need": need})
        assert said in told, (text, need)
        assert len(play.web.history(play.group)) == before + 1, "each is answered for itself"
        assert (await play.run()).line == "approvers"


def test_two_people_of_one_name_are_nobody_until_it_is_clear_who() -> None:
    members = [Member(Person("web", i, "张三"), Role.CUSTOMER, 1) for i in ("a", "b")]
    assert known("张三", members) == ""
    assert known("张三", members[:1]) == "a"
    assert known("", [Member(Person("web", "c", ""), Role.CUSTOMER, 1)]) == ""
    (approver,) = read_approvers("张三／李四", members)
    assert (approver.id, approver.deputy) == ("", "李四")


async def test_an_acceptance_of_its_own_begins_only_when_nothing_else_is_open(play: Play) -> None:
    """/accept: refused while the onboarding is open, and by whom it may; then it starts anew."""
    await play.reach_signing(Tier.BASIC)
    assert "/status" in await play.type(LI, "/accept")
    for who in (WANG, SUN):
        await play.press(who, await play.verb("sign-"))
    assert "工程师" in await play.type(WANG, "/accept")
    await play.type(LI, "/accept")
    async with play.store.view() as unit:
        (run,) = await unit.runs.open()
        trail = await unit.audit.entries()
    assert (run.book, run.line, run.status) == ("acceptance", "approvers", RunStatus.WAITING)
    again: Onboarding = walking.load(ACCEPTANCE, run)
    assert (again.evidence, again.round, again.channel) == ("", 1, (await play.case()).channel)
    assert (trail[-1].actor, trail[-1].deed) == ("李工", "accept")


async def test_there_is_no_acceptance_without_an_onboarding(play: Play) -> None:
    await play.begin(Tier.BASIC)
    async with play.store.unit() as unit:
        other = await unit.customers.named("别家")
        assert other is not None
        with pytest.raises(UsageError, match="/onboard 别家"):
            await book.begin(other, LI, play.kit.clock.now(), unit)


async def test_what_the_lead_skipped_stands_in_the_report(play: Play) -> None:
    await play.begin()
    await play.fill(LI, "yes", APPROVERS)
    async with play.store.unit() as unit:
        now = play.kit.clock.now()
        run = await walking.skip(BOOKS, await play.run(), ZHAO, "客户下周自己演练", now, unit)
    await play.go(run)
    await play.press(WANG, "yes")
    assert "客户下周自己演练" in plain(await play.drawn())
    for who in (WANG, SUN):
        await play.press(who, await play.verb("sign-"))
    async with play.store.view() as unit:
        report = await unit.outbox.by_key("r1:report:acceptance")
        lines = await unit.lines.of("r1")
    assert report is not None
    assert "客户下周自己演练" in words(report.file)
    assert lines["remediation"].state is LineState.SKIPPED

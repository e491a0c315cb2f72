"""What every chat platform keeps, whichever it is: the same cases, one factory a platform."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    nullcontext,
    suppress,
)
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import pytest

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
    Mention,
    Progress,
    Style,
    Table,
    Text,
    Tone,
    plain,
    say,
)
from adapters.port import (
    ChatPlatform,
    InDoubt,
    OutsideError,
    Permanent,
    Transient,
    UsageError,
)
from adapters.webchat.link import WebChat
from adapters.words import Chat, Click, Event, File, Message, Person, Receipt, Submission
from tests.charts import COLUMNS, COURSE
from tests.contract.feishu_world import FeishuWorld
from tests.contract.slack_world import SlackCalledWorld, SlackWorld
from tests.contract.wecom_world import WeComWorld
from tests.sim.dingtalk import DingTalkWorld


class World(Protocol):
    """A platform's far side, as the suite looks at it and as people act on it."""

    def person(self, name: str) -> Person: ...

    def platform(self) -> ChatPlatform:
        """Return a new client of the same far side: what a restart gets."""
        ...

    def seen(self, chat: Chat) -> list[str]:
        """Return what the chat shows, as plain text: a card, a text or the names of files."""
        ...

    def member_names(self, chat: Chat) -> set[str]: ...

    def rung(self, person: Person) -> list[str]: ...

    async def say(self, person: Person, chat: Chat, text: str, files: Sequence[File]) -> None: ...

    async def press(self, person: Person, receipt: Receipt, action: str) -> None: ...

    async def submit(
        self, person: Person, receipt: Receipt, action: str, values: dict[str, str], file: File
    ) -> None: ...


@runtime_checkable
class Lossy(Protocol):
    """A far side at the end of a wire, which may swallow an answer."""

    def lose_answer(self, *, blind: bool = False) -> None:
        """Have the next deed of each kind done and its answer lost; `blind`: looking fails too."""
        ...


@runtime_checkable
class ByHand(Protocol):
    """A far side whose groups people make, because the platform cannot."""

    async def found(self, title: str, people: Sequence[Person]) -> Chat: ...


class WebWorld:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._now = WebChat(path)

    def person(self, name: str) -> Person:
        return Person("web", name.lower(), name)

    def platform(self) -> ChatPlatform:
        self._now = WebChat(self._path)
        return self._now

    def seen(self, chat: Chat) -> list[str]:
        return [
            (plain(post.card) if post.card else post.text) or ",".join(f.name for f in post.files)
            for post in self._now.history(chat)
        ]

    def member_names(self, chat: Chat) -> set[str]:
        return {person.name for person in self._now.members(chat)}

    def rung(self, person: Person) -> list[str]:
        return [
            post.text
            for chat in self._now.chats(person)
            if self._now.is_direct(chat)
            for post in self._now.history(chat)
            if post.urgent
        ]

    async def say(self, person: Person, chat: Chat, text: str, files: Sequence[File]) -> None:
        await self._now.say(person, chat, text, files)

    async def press(self, person: Person, receipt: Receipt, action: str) -> None:
        await self._now.press(person, receipt.chat, receipt.id, action)

    async def submit(
        self, person: Person, receipt: Receipt, action: str, values: dict[str, str], file: File
    ) -> None:
        await self._now.submit(person, receipt.chat, receipt.id, action, values, files=[file])


Factory = Callable[[Path], World]
FACTORIES: list[Factory] = [
    lambda path: WebWorld(path / "web.sqlite"),
    lambda _: SlackWorld(),
    lambda _: SlackCalledWorld(),
    DingTalkWorld,
    FeishuWorld,
    WeComWorld,
]


@pytest.fixture(params=FACTORIES, ids=["web", "slack", "slack-http", "dingtalk", "feishu", "wecom"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    factory: Factory = request.param
    return factory(tmp_path)


def opened(world: World) -> AbstractAsyncContextManager[ChatPlatform]:
    return world.platform()


async def group(
    world: World, platform: ChatPlatform, title: str, people: Sequence[Person], key: str
) -> Chat:
    """Have a group with the bot in it; one that it cannot make is refused, and made by hand."""
    if platform.can.creates_chats:
        return await platform.open_chat(title, people, key=key)
    with pytest.raises(Permanent):
        await platform.open_chat(title, people, key=key)
    assert isinstance(world, ByHand)
    return await world.found(title, people)


async def first(platform: ChatPlatform) -> Event:
    """Return the next event, and leave it unacknowledged, as a kill would."""
    async with asyncio.timeout(5):
        return await anext(platform.events())


async def pressed(platform: ChatPlatform) -> Click:
    event = await first(platform)
    assert isinstance(event, Click)
    return event


FORM = Form(
    "intake:7",
    (
        Input("company", "公司", required=True),
        Input("note", "备注", Entry.TEXT, value="无"),
        Input("count", "台数", Entry.NUMBER, value="3"),
        Input("tier", "套餐", Entry.CHOICE, (("basic", "基础版"), ("pro", "专业版")), "basic"),
        Input("channels", "渠道", Entry.CHOICES, (("dd", "钉钉"), ("fs", "飞书"))),
        Input("password", "密码", Entry.SECRET),
        Input("list", "清单", Entry.FILE),
    ),
)
BLOCKS: tuple[Block, ...] = (
    Text("<b>一</b>\n*二*", Style.STRONG),
    Fields((("域名", "ops.example.com"),)),
    Table(("主机", "状态"), (("web-1", "在线"), ("web-2", "离线"))),
    Mention((Person("elsewhere", "x", "李工"),)),
    Progress(1, 3, "台"),
    Checklist((Item(Mark.DONE, "签约", level=0), Item(Mark.FAILED, "部署", "端口占用"))),
    COURSE,
    COLUMNS,
    Buttons((Button("收到", "ack:1|v=2", Style.PRIMARY, confirm="确定？"), Button("看", url="/x"))),
    FORM,
)
RICH = Card("接入进度", Tone.WORKING, BLOCKS)


async def test_the_same_key_acts_once(world: World) -> None:
    """Each deed done twice with one key is there once, and both answers name the same thing."""
    li = world.person("Li")
    async with opened(world) as platform:
        chats = [await group(world, platform, "客户甲", [li], "k") for _ in range(2)]
        cards = [await platform.send(chats[0], say("你好"), key="k") for _ in range(2)]
        files = [await platform.upload(chats[0], File("a.txt", b"1"), key="k") for _ in range(2)]
        rings = [await platform.ring(li, "醒醒", key="k") for _ in range(2)]
        assert chats[0] == chats[1]
        assert cards[0] == cards[1]
        assert files[0] == files[1]
        assert rings[0] == rings[1]
        assert world.seen(chats[0]) == ["【你好】", "a.txt"]
        assert world.rung(li) == ["醒醒"]


async def test_the_same_key_acts_once_after_a_restart(world: World) -> None:
    """The far side remembers keys: a deed repeated after closing and reopening is not redone."""
    li = world.person("Li")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "open")
        card = await platform.send(chat, RICH, key="card")
        file = await platform.upload(chat, File("合同.docx", b"PK"), key="file")
        ring = await platform.ring(li, "醒醒", key="ring")
        before = world.seen(chat)
    async with opened(world) as platform:
        assert await group(world, platform, "客户甲", [li], "open") == chat
        assert await platform.send(chat, RICH, key="card") == card
        assert await platform.upload(chat, File("合同.docx", b"PK"), key="file") == file
        assert await platform.ring(li, "醒醒", key="ring") == ring
        assert world.seen(chat) == before == [plain(RICH), "合同.docx"]
        assert world.rung(li) == ["醒醒"]


T = TypeVar("T")


def once_more(platform: ChatPlatform) -> AbstractContextManager[object]:
    """What comes of asking again after a doubt: where nothing that was said can be found again,
    it stays in doubt, and is not said twice."""
    return nullcontext() if platform.can.can_edit else pytest.raises(InDoubt)


async def insisted(platform: ChatPlatform, deed: Callable[[], Awaitable[T]]) -> T | None:
    """Do it as the sender does: once more with the same key, when it is not known to be done.

    In doubt may only end what has no keys at the platform.
    """
    try:
        return await deed()
    except Transient:
        return await deed()
    except InDoubt:
        assert not platform.can.has_idempotency
        with once_more(platform):
            return await deed()
    return None


async def test_a_deed_whose_answer_is_lost_is_not_done_twice(world: World) -> None:
    """Done over there, unanswered, asked for again: each deed is there once.

    The web chat has no wire that could swallow an answer: there it is the plain deed.
    """
    li = world.person("Li")
    async with opened(world) as platform:
        if isinstance(world, Lossy):
            world.lose_answer()
        chat = await insisted(platform, lambda: group(world, platform, "客户甲", [li], "1"))
        assert chat
        await insisted(platform, lambda: platform.send(chat, say("你好"), key="1"))
        await insisted(platform, lambda: platform.upload(chat, File("a.txt", b"1"), key="1"))
        assert world.seen(chat) == ["【你好】", "a.txt"]
        assert world.member_names(chat) == {"Li"}
        if isinstance(world, Lossy):
            world.lose_answer()
        await insisted(platform, lambda: platform.ring(li, "醒醒", key="1"))
        assert world.rung(li) == ["醒醒"]


async def test_what_cannot_be_proved_ends_in_doubt(world: World) -> None:
    """Done, unanswered, and not to be looked at: in doubt where there are no keys, and still
    once when the sender asks again; where there are keys, it may simply be tried again.

    Where no wire can swallow an answer, the second time is the plain deed."""
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [world.person("Li")], "1")
        await platform.send(chat, say("先"), key="0")
        if isinstance(world, Lossy):
            world.lose_answer(blind=True)
            expected = Transient if platform.can.has_idempotency else InDoubt
            with pytest.raises(expected):
                await platform.send(chat, say("你好"), key="1")
        with once_more(platform):
            await platform.send(chat, say("你好"), key="1")
        assert world.seen(chat) == ["【先】", "【你好】"]


async def test_a_new_key_acts_again(world: World) -> None:
    """Keys, not contents, decide: the same words under another key are said a second time."""
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [world.person("Li")], "1")
        await platform.send(chat, say("你好"), key="1")
        await platform.send(chat, say("你好"), key="2")
        assert world.seen(chat) == ["【你好】", "【你好】"]


async def test_only_the_three_errors_come_out(world: World) -> None:
    """What cannot be done, and whatever is asked of a closed platform, is one of our errors."""
    li = world.person("Li")
    stranger = Person("another-platform", "x", "X")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "1")
        nowhere = Chat(chat.platform, "nowhere")
        huge = say("长", "字" * platform.can.max_card_bytes)
        with pytest.raises(Permanent):
            await platform.send(nowhere, say("?"), key="2")
        with pytest.raises(Permanent):
            await platform.upload(nowhere, File("a", b""), key="3")
        with pytest.raises(Permanent):
            await platform.edit(Receipt(chat, "no-such-card"), say("?"))
        with pytest.raises(Permanent):
            await platform.ring(stranger, "?", key="4")
        with pytest.raises(Permanent):
            await platform.open_chat("?", [stranger], key="5")
        with pytest.raises(Permanent):
            await platform.send(chat, huge, key="6")
        assert world.seen(chat) == []
        with suppress(OutsideError):  # half a character is mended or refused, as the platform can
            await platform.send(chat, say("\ud800"), key="7")
    with pytest.raises(OutsideError):
        await platform.send(chat, say("?"), key="8")
    with pytest.raises(OutsideError):
        await platform.open_chat("?", [li], key="9")


async def test_a_pressed_button_comes_back_as_drawn(world: World) -> None:
    """The action of a Click is exactly the button's, whoever is told about it."""
    li = world.person("Li")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "1")
        receipt = await platform.send(chat, RICH, key="2")
        await world.press(li, receipt, "ack:1|v=2")
        event = await first(platform)
        assert isinstance(event, Click)
        assert (event.chat, event.sender, event.action) == (chat, li, "ack:1|v=2")


async def test_a_button_that_is_not_drawn_cannot_be_pressed(world: World) -> None:
    """After an edit the old button is gone; links and strangers' presses are refused too."""
    li = world.person("Li")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "1")
        receipt = await platform.send(chat, RICH, key="2")
        with pytest.raises(UsageError, match="不在"):
            await world.press(world.person("Wang"), receipt, "ack:1|v=2")
        with pytest.raises(UsageError, match="没有这个按钮"):
            await world.press(li, receipt, "")
        if not platform.can.can_edit:
            # What was sent stays as it was; the card changes in answer to a press alone.
            with pytest.raises(Permanent, match="不能修改"):
                await platform.edit(receipt, say("完成"))
            await world.press(li, receipt, "ack:1|v=2")
            await platform.answer(await pressed(platform), "已收到", ok=True)
        else:
            await platform.edit(receipt, say("完成"))
        with pytest.raises(UsageError, match="卡片已更新"):
            await world.press(li, receipt, "ack:1|v=2")


async def test_a_submitted_form_comes_back_as_entered(world: World) -> None:
    """Given values, prefilled values and the file arrive under the names that were drawn."""
    li = world.person("Li")
    sheet = File("servers.csv", b"name,host\n")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "1")
        receipt = await platform.send(chat, RICH, key="2")
        entered = {"company": "甲<b>", "tier": "pro", "channels": "dd,fs", "password": "s3cret"}
        await world.submit(li, receipt, "intake:7", entered, sheet)
        event = await first(platform)
        assert isinstance(event, Submission)
        assert (event.chat, event.sender, event.action) == (chat, li, "intake:7")
        assert dict(event.values) == {**entered, "note": "无", "count": "3"}
        assert event.files == (sheet,)


async def test_a_form_is_checked_by_what_was_drawn(world: World) -> None:
    """A missing, wrong or invented value is named, and nothing is sent."""
    li = world.person("Li")
    wrong = {"count": "三", "tier": "gold", "channels": "dd,xx", "extra": "1"}
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "1")
        receipt = await platform.send(chat, RICH, key="2")
        with pytest.raises(UsageError) as refused:
            await world.submit(li, receipt, "intake:7", wrong, File("a", b""))
        for word in ("extra", "公司", "台数", "套餐", "渠道"):
            assert word in str(refused.value)
        await world.say(li, chat, "后来", ())
        assert isinstance(await first(platform), Message)


async def test_a_date_comes_back_as_a_day_of_the_calendar(world: World) -> None:
    """Chosen or left as drawn it is 2026-11-25 everywhere; what is no day is named and not sent."""
    li = world.person("Li")
    due = Input("due", "交付日", Entry.DATE, value="2026-11-25", required=True)
    form = Form("plan:7", (due, Input("next", "复查日", Entry.DATE)))
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "1")
        receipt = await platform.send(chat, Card("计划", blocks=(form,)), key="2")
        with pytest.raises(UsageError, match="复查日"):
            await world.submit(li, receipt, "plan:7", {"next": "2026-02-30"}, File("a", b""))
        await world.submit(li, receipt, "plan:7", {"next": "2026-12-01"}, File("a", b""))
        event = await first(platform)
        assert isinstance(event, Submission)
        assert dict(event.values) == {"due": "2026-11-25", "next": "2026-12-01"}


async def test_a_message_arrives_whole(world: World) -> None:
    """The bot's mention is removed, members that are mentioned are named, files come along."""
    li, wang = world.person("Li"), world.person("Wang")
    file = File("服务器.csv", b"\x00\xff")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li, wang], "1")
        await world.say(li, chat, "@Vigilbot /onboard 甲 @Wang", (file,))
        event = await first(platform)
        assert isinstance(event, Message)
        assert (event.chat, event.sender) == (chat, li)
        assert event.text == "/onboard 甲 @Wang"
        if platform.can.hears_files:
            assert event.files == (file,)
        assert event.mentions == ((wang,) if platform.can.hears_mentions else ())


async def test_an_event_that_was_not_kept_comes_again(world: World) -> None:
    """A kill between delivery and the request for more repeats that one event and no other."""
    li = world.person("Li")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li], "1")
        for text in ("一", "二"):
            await world.say(li, chat, text, ())
        events = platform.events()
        kept, lost = await anext(events), await anext(events)
    async with opened(world) as platform:
        assert await first(platform) == lost != kept


async def test_an_edit_redraws_in_place(world: World) -> None:
    """The card stays where it is, shows the new text alone, and can be edited after a restart."""
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [world.person("Li")], "1")
        receipt = await platform.send(chat, say("一"), key="2")
        await platform.send(chat, say("别的"), key="3")
        if not platform.can.can_edit:
            with pytest.raises(Permanent, match="不能修改"):
                await platform.edit(receipt, say("二"))
            return
        receipt = await platform.edit(receipt, say("二"))
    async with opened(world) as platform:
        assert world.seen(chat) == ["【二】", "【别的】"]
        await platform.edit(receipt, RICH)
        assert world.seen(chat) == [plain(RICH), "【别的】"]


async def test_a_new_group_has_its_members(world: World) -> None:
    """Exactly the people who were asked for are in the new group."""
    people = [world.person("Li"), world.person("Wang")]
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", people, "1")
        assert chat.title == "客户甲"
        assert world.member_names(chat) == {"Li", "Wang"}


async def test_a_ring_reaches_one_person_outside_the_groups(world: World) -> None:
    """Only the person who is rung sees it."""
    li, wang = world.person("Li"), world.person("Wang")
    async with opened(world) as platform:
        chat = await group(world, platform, "客户甲", [li, wang], "1")
        await platform.ring(li, "P1 告警", key="2")
        assert world.rung(li) == ["P1 告警"]
        assert world.rung(wang) == []
        assert world.seen(chat) == []


def everything_in(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.iterdir())


async def test_the_web_chat_keeps_no_secret_longer_than_needed(tmp_path: Path) -> None:
    """A password typed into a form leaves the file once the bot has asked for the next event."""
    path = tmp_path / "web.sqlite"
    li = Person("web", "li", "Li")
    async with WebChat(path) as web:
        chat = await web.open_chat("客户甲", [li], key="1")
        receipt = await web.send(chat, RICH, key="2")
        entered = {"company": "甲", "password": "s3cret-word"}
        await web.submit(li, chat, receipt.id, "intake:7", entered)
        assert b"s3cret-word" in path.read_bytes()
        await web.say(li, chat, "后来")
        events = web.events()
        await anext(events)
        await anext(events)
        assert b"s3cret-word" not in everything_in(tmp_path)
        assert path.stat().st_mode & 0o077 == 0


async def test_the_web_chat_shows_a_file_to_members_alone(tmp_path: Path) -> None:
    """Knowing the id of a file is not enough to read it."""
    li, wang = Person("web", "li", "Li"), Person("web", "wang", "Wang")
    async with WebChat(tmp_path / "web.sqlite") as web:
        chat = await web.open_chat("客户甲", [li], key="1")
        await web.upload(chat, File("a.bin", b"\x00"), key="2")
        (attachment,) = web.history(chat)[0].files
        assert web.content(attachment.id, li) == File("a.bin", b"\x00")
        assert web.content(attachment.id, wang) is None

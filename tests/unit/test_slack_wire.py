"""Slack's JSON and our words, letter by letter. `tests/golden/slack` holds what goes and comes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block, BlockElement

from adapters.card import (
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
)
from adapters.port import InDoubt, Permanent, Transient
from adapters.slack import draw, marks, modal, wire
from adapters.slack.slash import SLASHES
from adapters.words import Chat, Click, Message, Person, Submission
from commands.contents import BOOK
from runbooks import intake
from tests.charts import COLUMNS, COURSE
from tests.sim import slack_blocks
from tests.sim.slack_blocks import check_blocks, check_view

GOLDEN = Path(__file__).parent.parent / "golden" / "slack"
DOCS = Path(__file__).parent.parent.parent / "docs"
AT = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
LI, WANG = Person("slack", "U1LI", "li"), Person("slack", "U2WANG", "Wang")

FORM = Form(
    "intake:7",
    (
        Input("company", "公司", required=True, hint="全称"),
        Input("note", "备注", Entry.TEXT, value="无"),
        Input("count", "台数", Entry.NUMBER, value="3"),
        Input("due", "交付日", Entry.DATE, value="2026-11-25"),
        Input("tier", "套餐", Entry.CHOICE, (("basic", "基础版"), ("pro", "专业版")), "basic"),
        Input("channels", "渠道", Entry.CHOICES, (("dd", "钉钉"), ("fs", "飞书")), "dd"),
        Input("password", "密码", Entry.SECRET, value="known"),
        Input("list", "清单", Entry.FILE),
    ),
)
RICH = Card(
    "接入进度",
    Tone.WORKING,
    (
        Text("<b>一</b>\n*二* <!channel>", Style.STRONG),
        Text("小字", Style.QUIET),
        Text("uptime", Style.CODE),
        Mention((LI, Person("slack", "!here"), Person("web", "UWANG", "<王工>"))),
        Fields((("域名", "ops.example.com"), ("空", ""))),
        Table(("主机", "状态"), (("web-1", "在线"),)),
        Progress(1, 3, "台"),
        Checklist((Item(Mark.DONE, "签约", level=0), Item(Mark.FAILED, "部署", "端口占用"))),
        COURSE,
        COLUMNS,
        Buttons(
            (
                Button("收到", "ack:1|v=2", Style.PRIMARY, confirm="确定？"),
                Button("停", "stop", Style.DANGER),
                Button("看", url="https://ops.example.com/x"),
                Button("控制台", url="/x"),
            )
        ),
        FORM,
    ),
)


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def as_sent(value: object) -> Any:
    return json.loads(json.dumps(value))


# -- out ------------------------------------------------------------------------------------------


def test_a_card_is_drawn_as_the_golden_file_has_it() -> None:
    drawn = draw.message(RICH)
    assert as_sent(drawn) == golden("card")
    check_blocks(as_sent(drawn["blocks"]))


def test_a_modal_is_drawn_as_the_golden_file_has_it() -> None:
    """A secret that is known is not shown again, and one that is typed is warned about."""
    view = modal.modal(FORM, modal.Home("C1", "customer-a", "intake:7"))
    assert as_sent(view) == golden("modal")
    check_view(as_sent(view))
    assert "known" not in json.dumps(view)
    assert modal.SEEN_WHILE_TYPING in json.dumps(view, ensure_ascii=False)


def parsed(blocks: list[Any]) -> list[Any]:
    """Return blocks as Slack's own SDK understands them: it lets fall what it does not know."""
    return [as_sent(block.to_dict()) for block in Block.parse_all(blocks)]


def test_slacks_own_sdk_knows_all_that_is_drawn() -> None:
    """Mentions and date pickers too; a property that Slack does not have would be missing."""
    message, view = draw.message(RICH)["blocks"], modal.modal(FORM, modal.Home("C1", "a", "b"))
    assert '"type": "user", "user_id": "U' in json.dumps(message)
    assert "datepicker" in {one["element"]["type"] for one in view["blocks"]}
    assert parsed(message) == as_sent(message)
    assert parsed(view["blocks"]) == as_sent(view["blocks"])
    wrong = [{"type": "header", "text": {"type": "plain_text", "text": "a"}, "colour": "red"}]
    assert parsed(wrong) != wrong


def test_the_simulator_takes_nothing_that_slacks_own_sdk_does_not_know() -> None:
    """Of blocks and of elements; the SDK names what each of them may have."""
    kinds = {**slack_blocks._BLOCKS, **slack_blocks._ELEMENTS}
    models = {kind.type: kind for kind in everything(Block, BlockElement)}
    for name, allowed in kinds.items():
        model = models[name]
        assert allowed <= model.__new__(model).attributes, name


def everything(*kinds: type[Any]) -> Iterator[Any]:
    """Yield all kinds that come of these and have a name of Slack's."""
    for kind in kinds:
        yield from everything(*kind.__subclasses__())
        if getattr(kind, "type", None):
            yield kind


def test_what_people_typed_can_mention_nobody() -> None:
    """Texts are shown letter by letter, and the fallback is escaped."""
    drawn = draw.message(Card("<!here>", blocks=(Text("<!channel> <@U1> &"),)))
    assert drawn["text"] == "【&lt;!here&gt;】\n&lt;!channel&gt; &lt;@U1&gt; &amp;"
    assert "mrkdwn" not in json.dumps(drawn)


def test_a_long_text_is_cut_where_a_line_ends_and_nothing_is_lost() -> None:
    lines = [f"第{number}行 {'字' * 50}" for number in range(100)]
    blocks = draw.message(Card("", blocks=(Text("\n".join(lines)),)))["blocks"]
    parts = [block["elements"][0]["elements"][0]["text"] for block in blocks]
    assert len(parts) > 1
    assert all(len(part) <= draw.MAX_TEXT for part in parts)
    assert "\n".join(parts) == "\n".join(lines)


@pytest.mark.parametrize("length", [150, 151, 4_000])
def test_a_title_that_no_header_takes_is_said_whole(length: int) -> None:
    blocks = draw.message(Card("题" * length))["blocks"]
    check_blocks(as_sent(blocks))
    assert "".join(re.findall("题", json.dumps(blocks, ensure_ascii=False))) == "题" * length


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (Card("长", blocks=(Text("字" * 13_001),)), "13000 字"),
        (Card("多", blocks=(Text("行"),) * 50), "50 块"),
        (Card("钮", blocks=(Buttons((Button("好", "x" * 2_001),)),)), "按钮"),
        (Card("表", blocks=(Form("a", (Input("n", "无", Entry.CHOICE),)),)), ""),
    ],
)
def test_what_slack_would_refuse_is_refused_here(card: Card, why: str) -> None:
    """Too large a card is Permanent, with the limit named; an empty choice when it is opened."""
    if not why:
        (form,) = card.blocks
        assert isinstance(form, Form)
        with pytest.raises(Permanent, match="选项"):
            modal.modal(form, modal.Home("C1", "", "a"))
        return
    with pytest.raises(Permanent, match=why):
        draw.message(card)


def test_more_buttons_than_a_row_takes_make_more_rows() -> None:
    buttons = tuple(Button(str(number), f"go:{number}") for number in range(60))
    blocks = draw.message(Card("", blocks=(Buttons(buttons),)))["blocks"]
    assert [len(block["elements"]) for block in blocks] == [25, 25, 10]
    check_blocks(as_sent(blocks))


letters = st.text(max_size=200)


@given(title=letters, text=letters, label=letters, value=st.text(max_size=400))
def test_whatever_is_said_is_taken(title: str, text: str, label: str, value: str) -> None:
    """Any text gives blocks that Slack takes, half characters and control characters included."""
    blocks = (
        Text(text),
        Text(text, Style.QUIET),
        Fields(((label, value), (value, label))),
        Checklist((Item(Mark.TODO, text, value),)),
        Buttons((Button(label, value, confirm=text),)),
    )
    drawn = draw.message(Card(title, Tone.BAD, blocks))
    drawn["text"].encode()
    if drawn["blocks"]:
        check_blocks(as_sent(drawn["blocks"]))


@given(name=letters, label=letters, value=letters, hint=letters)
def test_a_form_survives_its_button(name: str, label: str, value: str, hint: str) -> None:
    """What is packed into a button is the form that opens."""
    form = Form(name, (Input(label, label, value=value, hint=hint),), label)
    mended = tuple(draw.mended(part) for part in (name, label, value, hint))
    again = draw.unpack(draw.pack(form))
    assert (again.action, again.submit) == (mended[0], mended[1])
    assert again.inputs[0].hint == mended[3]


def test_the_longest_form_of_the_house_fits_its_button() -> None:
    """Forty lines to choose from, as the acceptance card has them."""
    lines = tuple((f"step_number_{n}", f"第 {n} 步：核对第 {n} 台主机的指标") for n in range(40))
    form = Form("refuse:1:2:3", (Input("lines", "要重做的步骤", Entry.CHOICES, lines),))
    assert len(draw.pack(form)) < draw.MAX_VALUE


def test_the_form_of_every_new_customer_opens() -> None:
    """The intake form, as the product draws it, fits its button and makes a modal."""
    (form,) = [block for block in intake.form("客户甲").blocks if isinstance(block, Form)]
    assert draw.unpack(draw.pack(form)) == form
    check_view(as_sent(modal.modal(form, modal.Home("C1", "", form.action))))


def test_an_option_of_no_value_is_no_choice() -> None:
    """Nothing chosen comes back as the empty text by itself."""
    one = Input("tier", "套餐", Entry.CHOICE, (("", "不选"), ("pro", "专业版")))
    view = modal.modal(Form("a", (one,)), modal.Home("C1", "", "a"))
    assert [option["value"] for option in view["blocks"][0]["element"]["options"]] == ["pro"]


@given(title=st.text(max_size=120), key=st.text(max_size=40))
def test_a_channel_name_keeps_the_rules(title: str, key: str) -> None:
    """Lower case, no spaces or dots, at most 80; one key, one name."""
    name = wire.channel_name(title, key)
    assert re.fullmatch(r"[\w-]{8,80}", name)
    assert name == name.lower() or not name.isascii()
    assert name.endswith(marks.stamp(key)[:8])
    assert re.fullmatch(r"[a-z0-9-]{1,80}", wire.plain_channel_name(key))


# -- in -------------------------------------------------------------------------------------------


def test_a_mention_is_read_as_it_was_typed() -> None:
    body = golden("app_mention")
    event = wire.said(body)
    assert event is not None
    names = {"U1LI": "li", "U2WANG": "Wang"}
    said = wire.message_said(event, platform="slack", bot="UBOT", names=names, files=())
    text = "/server add a & b <c> @Wang ops.example.com/x li@example.com room"
    at = datetime.fromtimestamp(1764040000.000247, UTC)
    chat = Chat("slack", "C123ABC456")
    its_id = "C123ABC456:1764040000.000247:1764039999.000001"
    assert wire.thread_of(f"reply:slack:{its_id}", chat.id) == "1764039999.000001"
    for key in (f"reply:slack:{its_id}#2", f"log:slack:{its_id}", "reply:slack:C123ABC456:1.2"):
        assert wire.thread_of(key, chat.id) == ""
    assert said == Message(its_id, chat, LI, text, at, (), (WANG,))
    (file,) = wire.attached(event["files"])
    assert file.name == "服务器.csv"
    assert file.url.startswith("https://files.slack.com/")


def test_a_slash_command_is_read() -> None:
    body = golden("slash_command")
    names = {"U2WANG": "Wang"}
    said = wire.slash(body, platform="slack", bot="UBOT", names=names, at=AT)
    chat = Chat("slack", "C2147483705")
    text = "/role @Wang lead"
    assert said == Message(body["trigger_id"], chat, LI, text, AT, (), (WANG,))
    assert wire.slash({**body, "command": "/tier", "text": ""}, platform="slack", bot="UBOT",
                      names=names, at=AT).text == "/tier"  # fmt: skip


def test_a_press_is_read() -> None:
    body = golden("block_actions")
    click = Click("12466734323.1395872398", Chat("slack", "C1"), LI, "ack:1|v=2", AT)
    assert wire.click(body, platform="slack", at=AT) == click
    link = {**body, "actions": [{"action_id": "press:2", "url": "https://x", "type": "button"}]}
    assert wire.click(link, platform="slack", at=AT) is None


def test_a_press_on_a_form_is_read() -> None:
    body = golden("block_actions")
    body["actions"][0] |= {"action_id": "form:0", "value": draw.pack(FORM)}
    pressed = wire.click(body, platform="slack", at=AT)
    home = modal.Home("C1", "customer-a", "intake:7")
    assert pressed == wire.Pressed("12466734323.1395872398", FORM, home, LI)


def test_a_submission_is_read() -> None:
    """An input that was left empty comes as an empty text; files are not among the values."""
    body = golden("view_submission")
    sent = wire.submission(body, platform="slack", files=(), at=AT)
    values = {
        "company": "甲<b>", "note": "", "count": "3", "tier": "pro", "later": "",
        "channels": "dd,fs",
    }  # fmt: skip
    chat = Chat("slack", "C1")
    assert sent == Submission(body["trigger_id"], chat, LI, "intake:7", values, AT)
    assert [file.name for file in wire.entered(body["view"])[1]] == ["servers.csv"]
    assert modal.refused(body, "不行") == {
        "response_action": "errors",
        "errors": {"company": "不行"},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"subtype": "message_changed"},
        {"bot_id": "B9"},
        {"type": "message"},
        {"type": "message", "channel_type": "channel"},
        {"user": ""},
        {"type": "reaction_added"},
    ],
)
def test_what_is_not_said_to_the_bot_is_not_heard(change: dict[str, str]) -> None:
    body = golden("app_mention")
    assert wire.said({**body, "event": body["event"] | change}) is None


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://files.slack.com/files-pri/T1-F1/x.csv", True),
        ("http://files.slack.com/x", False),
        ("https://slack.com.evil.org/x", False),
        ("https://evil-slack.com/x", False),
        ("https://files.slack.com@evil.org/x", False),
        ("http://127.0.0.1:8080/files/F1", True),
        ("http://127.0.0.1:8081/files/F1", False),
        ("", False),
    ],
)
def test_the_token_goes_to_slack_alone(url: str, may: bool) -> None:
    assert wire.trusted(url, "http://127.0.0.1:8080/api/") is may


# -- faults and stamps ----------------------------------------------------------------------------


def test_faults_are_named_in_chinese() -> None:
    later = wire.fault("chat.postMessage", "ratelimited", again=False, retry_after=3)
    assert isinstance(later, Transient)
    assert later.retry_after == 3
    assert isinstance(wire.fault("m", "fatal_error", again=False), InDoubt)
    assert isinstance(wire.fault("m", "fatal_error", again=True), Transient)
    assert "/invite" in wire.fault("m", "not_in_channel", again=False).reason
    assert isinstance(wire.fault("m", "whatever", again=True), Permanent)


def test_only_our_own_stamps_count() -> None:
    """Somebody else may copy a stamp; a key's text cannot be read from it."""
    mark = marks.stamp("send:客户甲")
    ours = {"user": "UBOT", "ts": "1.1", "metadata": marks.metadata(mark)}
    file = {
        "user": "UBOT",
        "ts": "1.2",
        "blocks": [draw.file_note("a", "m2")],
        "files": [{"id": "F1"}],
    }
    assert marks.stamps([ours, file, {**ours, "user": "U9", "ts": "2"}, {"ts": "3"}], "UBOT") == {
        mark: "1.1",
        "m2": "F1",
    }
    assert re.fullmatch(r"[0-9a-f]{32}", mark)
    newest_first = [{**ours, "metadata": marks.metadata(one)} for one in ("c", "b", "a")]
    assert list(marks.stamps(newest_first, "UBOT")) == ["a", "b", "c"]


# -- the manifest ---------------------------------------------------------------------------------

SLACKS_OWN = {"/status", "/invite", "/who", "/remind", "/topic", "/leave", "/search", "/mute"}


def test_the_manifest_registers_commands_that_exist() -> None:
    """Each is one of ours, is none of Slack's own, and has its mentions escaped; they are those of the
    code, with what a newcomer needs before anything else works."""
    manifest = yaml.safe_load((DOCS / "slack-manifest.yaml").read_text(encoding="utf-8"))
    listed = manifest["features"]["slash_commands"]
    told = [(one["command"], one["description"], one.get("usage_hint", "")) for one in listed]
    assert told == [(one.command, one.description, one.usage_hint) for one in SLASHES]
    names = {one["command"] for one in listed}
    assert {"/vigil", "/pair", "/ops", "/onboard"} <= names
    ours = {command.name.split()[0] for command in BOOK.commands}
    assert names - {"/vigil"} <= ours
    assert not names & SLACKS_OWN
    assert all(one["should_escape"] for one in listed)
    assert len(names) == len(listed) <= 50
    assert manifest["settings"]["socket_mode_enabled"]
    assert manifest["settings"]["event_subscriptions"]["bot_events"] == [
        "app_mention", "message.im",
    ]  # fmt: skip

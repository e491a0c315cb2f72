"""DingTalk's wire: cards into the template's variables and Markdown, and people's acts back."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    plain,
)
from adapters.dingtalk import draw, forms, numbered, refusals, wire
from adapters.port import InDoubt, OutsideError, Permanent, Transient, UsageError
from adapters.words import Chat, Message, Person, Submission
from runbooks import intake
from tests.charts import COLUMNS, COURSE
from tests.sim import dingtalk as sim

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/dingtalk"
CHAT = Chat("dingtalk", "cid9FTRQSLo+sK==", "客户甲")
RICH = Card(
    "接入进度",
    Tone.WORKING,
    (
        Text("<b>一</b>\n*二*", Style.STRONG),
        Mention((Person("dingtalk", "li", "李工"), Person("web", "w", "*王工*"))),
        Fields((("域名", "ops.example.com"),)),
        Table(("主机", "状态"), (("web|1", "在线"),)),
        Progress(1, 3, "台"),
        Checklist((Item(Mark.DONE, "签约", level=0), Item(Mark.FAILED, "部署", "端口占用"))),
        COURSE,
        COLUMNS,
        Buttons((Button("收到", "ack:1|v=2", Style.PRIMARY), Button("看", url="https://x/y"))),
        Form(
            "intake:7",
            (
                Input("company", "公司", required=True, hint="全称"),
                Input("count", "台数", Entry.NUMBER, value="3"),
                Input(
                    "tier", "套餐", Entry.CHOICE, (("basic", "基础版"), ("pro", "专业版")), "pro"
                ),
                Input("channels", "渠道", Entry.CHOICES, (("dd", "钉钉"), ("fs", "飞书"))),
                Input("password", "密码", Entry.SECRET, value="never shown"),
                Input("list", "清单", Entry.FILE),
            ),
        ),
    ),
)


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def test_a_card_fills_the_template() -> None:
    """Every variable is a string, and those with something in them are as written down."""
    params = draw.draw(RICH, CHAT)
    assert set(params) == set(draw.VARIABLES)
    filled = {name: value for name, value in params.items() if value}
    assert filled == golden("card.json")


def test_a_card_is_read_as_it_was_meant() -> None:
    """What the template shows is the neutral card, whatever signs are in its texts."""
    assert sim.shown(draw.draw(RICH, CHAT)) == plain(RICH)


def test_a_group_card_notifies_whoever_it_names() -> None:
    """By userId, as the SDK's own model has it; nobody of elsewhere, and nobody twice in a talk of
    their own."""
    people = (Person("dingtalk", "li", "李工"), Person("dingtalk", "$:outside"), Person("web", "w"))
    at = wire.called(Card("升级", blocks=(Mention(people),)))
    assert at == {"li": "李工"}
    params = draw.draw(RICH, CHAT)
    body = wire.create_card("t", CHAT, params, at, template="T", robot="R")
    assert body["imGroupOpenDeliverModel"] == {"robotCode": "R", "atUserIds": {"li": "李工"}}
    talk = wire.create_card("t", wire.direct(people[0]), params, at, template="T", robot="R")
    assert "atUserIds" not in json.dumps(talk)


def test_a_date_is_typed_in_the_format_that_is_said() -> None:
    due = Input("due", "交付日", Entry.DATE)
    form = Form("go", (due,))
    _, text = numbered.markdown(Card("卡", blocks=(form,)), 1)
    assert "交付日：（格式 2026-11-25）" in text
    assert "格式 2026-11-25" in draw.draw(Card("卡", blocks=(form,)), CHAT)["form1_1"]
    typed = numbered.entered(form, ["交付日:2026-02-28(格式 2026-11-25)"])
    assert forms.fill(form, typed, files=False) == {"due": "2026-02-28"}
    for wrong in ("2026-02-30", "20260228", "2026-2-8", "明天"):
        with pytest.raises(UsageError, match="格式 2026-11-25：交付日"):
            forms.fill(form, {"due": wrong}, files=False)


def test_a_card_without_a_template_is_markdown() -> None:
    """Buttons and forms have numbers, which go on from where the chat is."""
    title, text = numbered.markdown(RICH, 7)
    assert {"title": title, "text": text} == golden("markdown.json")
    assert numbered.choices(RICH) == (
        numbered.Choice("ack:1|v=2"),
        numbered.Choice("intake:7", form=True),
    )


@given(st.text(max_size=400), st.text(max_size=3000), st.text(max_size=200))
def test_every_value_is_within_its_bytes_or_the_card_is_refused(
    title: str, text: str, label: str
) -> None:
    """No text makes a card that DingTalk would cut or refuse."""
    card = Card(title, blocks=(Text(text), Buttons((Button(label, "a"),) * 3)))
    try:
        params = draw.draw(card, CHAT)
    except Permanent:
        return
    assert all(draw.size(value) <= draw.VALUE_BYTES for value in params.values())
    for name in draw.ROWS:
        json.loads(params[name] or "[]")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200))
def test_escaped_text_is_read_as_it_is(text: str) -> None:
    """No sign of Markdown does anything inside a text."""
    text = text.lstrip("　")
    assert sim.read(draw.escape(text)) == text


def test_the_onboarding_form_fits_the_template() -> None:
    """The largest real form is spread over the parts of one slot."""
    params = draw.draw(intake.form("某某有限公司"), CHAT)
    parts = [json.loads(params[name])["fields"] for name in draw.form_names(1) if params[name]]
    assert len(parts) > 1
    asked = next(b for b in intake.form().blocks if isinstance(b, Form))
    assert [f["name"] for part in parts for f in part] == [i.name for i in asked.inputs]


@pytest.mark.parametrize(
    "card",
    [
        Card("长", blocks=(Text("字" * 5_000),)),
        Card("钮", blocks=(Buttons((Button("钮" * 50, "a" * 500),) * 9),)),
        Card("表", blocks=(Form("a", ()), Form("b", ()), Form("c", ()))),
        Card("值", blocks=(Form("a", (Input("n", "l", value="字" * 500),)),)),
    ],
)
def test_too_much_is_refused(card: Card) -> None:
    """A card that the template cannot hold is refused before anything is sent."""
    with pytest.raises(Permanent, match="放不下"):
        draw.draw(card, CHAT)


def test_a_long_card_is_spread_over_its_paragraphs() -> None:
    """Hundreds of lines and one very long one are all there, in order."""
    lines = "\n".join(f"{n}. *主机* web-{n} 在线" for n in range(200))
    card = Card("清单", blocks=(Text(lines), Text("长" * 1_000)))
    params = draw.draw(card, CHAT)
    assert params["body5"]
    read = sim.shown(params)
    assert lines in read
    assert read.replace("\n", "").endswith("长" * 1_000)


@pytest.mark.parametrize("text", ["第 2 行：db_01_a\n第 3 行：*，#1 <b>", "\\" * 900, "字" * 900])
def test_what_a_presser_is_told_is_read_as_it_is(text: str) -> None:
    """The private line of the template is Markdown: names and rows of a bad list stay what they are,
    and what does not fit ends in an ellipsis."""
    told = wire.notice(text, wire.BAD_SIGN)["userPrivateData"]["cardParamMap"][draw.NOTICE]
    assert draw.size(told) <= draw.VALUE_BYTES
    read, _, cut = sim.read(told).partition("…")
    assert f"{wire.BAD_SIGN}{text}".startswith(read)
    assert (not cut, len(read) > 300 or read.endswith(text)) == (True, True)


@pytest.mark.parametrize("lead", range(4))
@pytest.mark.parametrize("sign", ["\\", "\\*", "*"])
def test_a_line_of_backslashes_ends(sign: str, lead: int) -> None:
    """A monitor may write nothing else: it is cut between its signs, and none of them is lost."""
    text = "a" * lead + sign * 1_200
    parts = draw.pieces([draw.escape(text)])
    assert all(draw.size(part) <= draw.VALUE_BYTES for part in parts)
    assert "".join(sim.read(part) for part in parts) == text


def test_a_link_that_no_value_holds_is_left_out_and_said() -> None:
    """The longest address that fits is a button; one byte more costs the card its link alone."""
    bare = draw.draw(Card("c", blocks=(Buttons((Button("看", url="x"),)),)), CHAT)
    room = draw.VALUE_BYTES - draw.size(bare["buttons1"]) + 1
    for length, there in ((room, True), (room + 1, False)):
        row = Buttons((Button("确认", "ack"), Button("看", url="x" * length)))
        read = sim.shown(draw.draw(Card("告警", blocks=(row,)), CHAT))
        assert ("[看](x" in read, f"看：{draw.FAR}" in read) == (there, not there)
        assert "[确认](ack)" in read


def test_a_form_is_cut_where_its_bytes_end() -> None:
    """Whatever the length of its inputs, no part of a form is too long for its variable."""
    for length in range(100):
        form = Form("a", tuple(Input(f"n{n}", "x" * length) for n in range(12)))
        params = draw.draw(Card("c", blocks=(form,)), CHAT)
        assert all(draw.size(params[name]) <= draw.VALUE_BYTES for name in draw.form_names(1))


def test_a_choice_with_more_options_than_a_value_holds_is_several_fields() -> None:
    """They are filled as one: whatever is chosen, in whichever, comes back under the one name."""
    options = tuple((f"line-{n}", f"第 {n} 步：检查") for n in range(30))
    steps = Input("lines", "要重做的步骤", Entry.CHOICES, options, "line-0,line-29", required=True)
    form = Form("a", (Input("why", "原因"), steps))
    params = draw.draw(Card("c", blocks=(form,)), CHAT)
    assert all(draw.size(value) <= draw.VALUE_BYTES for value in params.values())
    parts = [json.loads(params[n])["fields"] for n in draw.form_names(1) if params[n]]
    fields = [one for part in parts for one in part]
    offered = [(o["value"], o["text"]) for one in fields for o in one.get("options", ())]
    assert offered == list(options)
    assert [one["name"] for one in fields] == ["why", "lines", "lines~2"]
    assert [one.get("defaultValue") for one in fields] == [None, "line-0", "line-29"]
    pressed = golden("press.json")
    chosen: dict[str, object] = {
        "form1": {"why": "慢"},
        "form2": {"lines": {"index": [3], "value": ["line-3"]}},
        "form3": {"lines~2": {"index": [1], "value": ["line-28"]}},
    }
    sent = {"action": "a", "chat": CHAT.id, **chosen}
    private = {"cardPrivateData": {"actionIds": ["submit"], "params": sent}}
    values = wire.press({**pressed, "content": json.dumps(private)}).values
    assert values == {"why": "慢", "lines": "line-3,line-28"}
    assert forms.fill(form, values, files=False) == dict(values)


def test_half_a_character_is_mended() -> None:
    """JSON cannot carry it, so it becomes a question mark."""
    params = draw.draw(Card("\ud800", blocks=(Text("\ud800"),)), CHAT)
    assert (params["title"], params["body1"]) == ("?", "?")


def test_a_message_of_the_stream() -> None:
    """The bot's mention is gone, other people's are persons, and the answer's address is kept."""
    arrived = wire.arrival(golden("message.json"))
    assert arrived.event == Message(
        "msgHWmG==",
        Chat("dingtalk", "cidgroup=="),
        Person("dingtalk", "012345", "李"),
        "/onboard 甲 @王",
        datetime(2026, 11, 25, 3, 0, 0, 500_000, tzinfo=UTC),
        (),
        (Person("dingtalk", "067890"),),
    )
    assert arrived.event.chat.title == "客户甲"
    assert arrived.reply_to == "https://oapi.dingtalk.com/robot/sendBySession?session=x"


def test_other_kinds_of_messages() -> None:
    """Files and pictures are fetched by their codes; an outsider has only a sender id."""
    base = {**golden("message.json"), "conversationType": "1", "atUsers": None}
    file = {"msgtype": "file", "content": {"fileName": "a.csv", "downloadCode": "c1"}}
    alone = wire.arrival({**base, **file})
    assert alone.papers == (wire.Paper("a.csv", "c1"),)
    assert alone.event.chat == Chat("dingtalk", "user:012345")
    rich = {"richText": [{"text": "看"}, {"downloadCode": "c2"}, {"text": "这个"}]}
    mixed = wire.arrival({**base, "msgtype": "richText", "content": rich})
    assert (mixed.event.text, mixed.papers) == ("看这个", (wire.Paper("图片1.png", "c2"),))
    picture = wire.arrival({**base, "msgtype": "picture", "content": {"downloadCode": "c3"}})
    assert picture.papers == (wire.Paper("图片.png", "c3"),)
    named = [{"dingtalkId": base["chatbotUserId"], "staffId": "bot"}]
    assert wire.arrival({**base, "atUsers": named}).event.mentions == ()
    outsider = wire.arrival({**base, "senderStaffId": "", "msgtype": "audio"})
    assert (outsider.event.sender.id, outsider.event.text) == ("$:LWCP_v1:$abc", "")


def test_a_press_of_the_stream() -> None:
    """The action and the chat come back as they were drawn; a form with its values as texts."""
    pressed = wire.press(golden("press.json"))
    assert pressed == wire.Press(
        "vigilbot-1", CHAT, Person("dingtalk", "012345"), "ack:1|v=2", None
    )
    sent = wire.press(golden("submit.json"))
    assert sent.values == {
        "company": "甲",
        "count": "3",
        "tier": "pro",
        "channels": "dd,fs",
        "note": "",
    }
    event = wire.event_of(sent, "id", datetime(2026, 1, 1, tzinfo=UTC), sent.values)
    assert isinstance(event, Submission)
    assert wire.kept(wire.keep(event, [wire.Paper("a", "c")])) == (event, (wire.Paper("a", "c"),))


@pytest.mark.parametrize("broken", ["{}", '{"content":"[]"}', '{"content":"{}"}'])
def test_a_broken_press_is_an_error(broken: str) -> None:
    """The socket catches these and leaves the frame unanswered."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        wire.press(json.loads(broken))


@pytest.mark.parametrize(
    ("status", "text", "repeatable", "kind"),
    [
        (200, "{}", True, None),
        (200, "", True, None),
        (200, '{"errcode":0,"errmsg":"ok"}', True, None),
        (200, '{"errcode":88,"errmsg":"no"}', True, Permanent),
        (200, '{"errcode":90018,"errmsg":"qps"}', False, Transient),
        (403, '{"code":"Forbidden.AccessDenied.QpsLimitForApi"}', False, Transient),
        (403, '{"code":"Forbidden.AccessDenied.ApiCountLimitForOrg"}', False, Transient),
        (403, '{"code":"Forbidden.AccessDenied.AccessTokenPermissionDenied"}', True, Permanent),
        (429, "{}", False, Transient),
        (200, '{"errcode":88,"errmsg":"ding talk error[subcode=90018,submsg=x]"}', True, Transient),
        (400, '{"code":"staffId.notExisted","message":"no 0190002016900187"}', True, Permanent),
        (400, '{"code":"staffId.notExisted","message":"no manager90020"}', True, Permanent),
        (200, "<html>", False, Transient),
        (200, '{"status":1111}', False, Transient),
        (500, '{"code":"x"}', True, Transient),
        (502, "<html>", False, InDoubt),
        (400, '{"code":"param.error","message":"m"}', False, Permanent),
    ],
)
def test_what_an_answer_means(
    status: int, text: str, repeatable: bool, kind: type[OutsideError] | None
) -> None:
    """The code is looked at before the status: a 403 may be a limit, and a 200 a refusal."""
    error = refusals.refusal(status, text, doing="发消息", repeatable=repeatable)
    assert (type(error) if error else None) is kind


def test_typed_answers() -> None:
    """Full-width digits and blanks will do; other texts are no answers."""
    assert numbered.typed(" 确认 １２ ") == numbered.Typed(12, form=False, lines=())
    assert numbered.typed("提交3\n公司：甲\n\n 台数: 2") == numbered.Typed(
        3, form=True, lines=("公司:甲", "台数: 2")
    )
    assert numbered.typed("确认一下 3") is None
    assert numbered.typed("请确认 3") is None


def test_a_form_is_filled_and_checked() -> None:
    """Prefilled values stay, and every bad one is named in one sentence."""
    form = next(block for block in RICH.blocks if isinstance(block, Form))
    filled = forms.fill(form, {"company": "甲"}, files=False)
    assert (filled["count"], filled["tier"], filled["channels"]) == ("3", "pro", "")
    with pytest.raises(UsageError) as refused:
        forms.fill(form, {"count": "nan", "tier": "x", "channels": "dd,y", "z": "1"}, files=True)
    for word in ("公司", "台数", "套餐", "渠道", "z"):
        assert word in str(refused.value)
    needed = Form("a", (Input("f", "清单", Entry.FILE, required=True),))
    with pytest.raises(UsageError, match="清单"):
        forms.fill(needed, {}, files=False)
    assert forms.fill(needed, {}, files=True) == {}


def test_the_shipped_template_knows_every_variable() -> None:
    """The card builder's file declares what a card fills, and shows each of them."""
    path = ROOT / "docs/dingtalk-card-template.json"
    envelope = json.loads(path.read_text(encoding="utf-8"))
    editor = json.loads(envelope["editorData"])
    declared = {one["name"]: one["private"] for one in editor["variableList"]}
    assert {name for name, private in declared.items() if not private} == set(draw.VARIABLES)
    assert {name for name, private in declared.items() if private} == {draw.NOTICE}
    tree = json.dumps(editor["schema"]["componentsTree"])
    for name in (*draw.VARIABLES, draw.NOTICE):
        assert f'"{name}"' in tree or f"${{{name}}}" in tree, name


_NAMES = re.compile(r"`(\w+?)(\d+)` … `\1(\d+)`|`(\w+)`")


def _declared(cell: str) -> list[str]:
    """Return the names in a cell of the guide's table: `a1` … `a3` are three."""
    return [
        name
        for stem, low, high, alone in _NAMES.findall(cell)
        for name in ([alone] if alone else [f"{stem}{n}" for n in range(int(low), int(high) + 1)])
    ]


def test_the_guide_declares_what_the_shipped_template_does() -> None:
    """Whoever builds it by hand finds every variable with its type, and every colour of `tone`."""
    guide = (ROOT / "docs/dingtalk.md").read_text(encoding="utf-8")
    table = guide.partition("| 组件 | 变量 | 类型 | 说明 |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.split("\n")[2:]]
    told = [(name, kind) for _, names, kind, _ in rows for name in _declared(names)]
    envelope = json.loads((ROOT / "docs/dingtalk-card-template.json").read_text(encoding="utf-8"))
    editor = json.loads(envelope["editorData"])
    declared = [*editor["variableList"], *editor["localList"]]
    assert sorted(told) == sorted((one["name"], one["type"]) for one in declared)
    (tone,) = (what for _, names, _, what in rows if names == "`tone`")
    assert set(re.findall(r"`(\w+)`", tone)) == set(draw.COLOURS.values())


def test_the_guide_tries_it_out_and_names_what_the_bot_says_when_it_fails() -> None:
    """Run it, pair, choose the operations group, begin; what stands in its fault table is said."""
    guide = (ROOT / "docs/dingtalk.md").read_text(encoding="utf-8")
    trying = guide.partition("试一遍\n")[2].partition("\n## ")[0]
    steps, _, faults = trying.partition("| 现象 | 原因 |")
    said = ("vigilbot run", "/pair ", "/ops", "/onboard ", "/bind ")
    assert sorted(steps.index(each) for each in said) == [steps.index(each) for each in said]
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "adapters/dingtalk").glob("*.py"))
    )
    cells = [row.split("|")[1] for row in faults.split("\n")[2:] if row]
    words = [
        quoted for cell in cells for quoted in re.findall(r"`([^`]*[\u4e00-\u9fff][^`]*)`", cell)
    ]
    pieces = [part for each in words for part in re.split(r" … |，", each) if part != "确认 3"]
    assert len(pieces) > 6
    assert [part for part in pieces if part not in code] == []

"""WeCom's frames to our words and back: what is written down in tests/golden/wecom is what is meant."""

from __future__ import annotations

import json
from dataclasses import replace
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
    say,
)
from adapters.port import Permanent, UsageError
from adapters.wecom import wire
from adapters.wecom.app import pieces
from adapters.wecom.crypto import Seal, Unsealed, sealed_in
from adapters.words import Chat, Click, File, Message, Person, Secret, Submission
from tests.charts import COLUMNS, COURSE
from tests.sim.wecom import check_card

GOLDEN = Path(__file__).parents[1] / "golden/wecom"
AT = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TIER = Input("tier", "套餐", Entry.CHOICE, (("basic", "基础版"), ("pro", "专业版")), "basic")
CHANNELS = Input("channels", "渠道", Entry.CHOICES, (("dd", "钉钉"), ("fs", "飞书")), "fs")
LONG = Form("onboard", (Input("company", "公司", required=True), TIER), "提交登记")
CARD = Card(
    "接入进度",
    Tone.WORKING,
    (
        Progress(1, 3, "步"),
        Mention((Person("wecom", "li", "李工"), Person("web", "w", "<@all>"))),
        Fields((("域名", "ops.example.com"),)),
        Checklist((Item(Mark.DONE, "签约", level=0), Item(Mark.FAILED, "部署", "端口占用"))),
        COURSE,
        COLUMNS,
        Table(("主机", "状态"), (("web-1", "在线"),)),
        Text("等待签字", Style.STRONG),
        Text("找不到卡片时输入 /status", Style.QUIET),
        Buttons(
            (
                Button("签字", "sign|1", Style.PRIMARY),
                Button("退回", "refuse|1", Style.DANGER),
                Button("手册", url="/docs"),
            )
        ),
        LONG,
        Form("tier", (TIER,), "选好了"),
        Form("vote", (CHANNELS,), "就这些"),
    ),
)


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def test_a_card_is_drawn_as_written_down() -> None:
    """A text first; then buttons with the longer form among them, a select and a vote."""
    drawn = wire.draw(CARD, "k", "https://bot.example.com")
    assert {"markdown": drawn.markdown, "cards": list(drawn.cards)} == golden("card")


def test_a_group_message_is_read() -> None:
    """The mention goes, whatever the bot is called; the msgid is what a repeat is known by."""
    chat, li = Chat("wecom", "wrkSFfCgAA"), Person("wecom", "lisi")
    expected = Message("CAIQ16HMjQYY", chat, li, "/onboard 海蓝科技", AT)
    assert wire.message(golden("message"), AT) == expected


def test_a_bot_may_have_a_name_of_two_words() -> None:
    said = wire.message({**golden("message"), "text": {"content": "@Vigil Bot /status"}}, AT)
    assert said
    assert said.text == "/status"


def test_a_mixed_message_is_read_by_its_text() -> None:
    said = wire.message(golden("mixed"), AT)
    assert said
    assert said.text == "/status\n谢谢"


def test_a_direct_message_belongs_to_the_chat_with_its_person() -> None:
    body = {**golden("message"), "chattype": "single"}
    del body["chatid"]
    said = wire.message({**body, "text": {"content": "/whoami"}}, AT)
    assert said
    assert (said.chat, said.text) == (Chat("wecom", "@lisi"), "/whoami")


def test_what_has_no_text_is_no_message() -> None:
    """A picture, or the bare mention: it still tells that the chat has spoken."""
    body = golden("message")
    assert wire.message({**body, "text": {"content": "@Vigilbot "}}, AT) is None
    assert wire.message({**body, "text": {"content": "@Vigilbot"}}, AT) is None


def test_a_press_is_read_where_the_platform_puts_it() -> None:
    """Under event.template_card_event (101027); the official SDK's types say otherwise."""
    pressed = wire.press(golden("press"), AT)
    assert pressed
    assert pressed.task == "k-0"
    where = ("m-2", Chat("wecom", "wrkSFfCgAA"), Person("wecom", "lisi"))
    assert wire.acted(pressed) == Click(*where, "sign|1", AT)
    sent = wire.acted(replace(pressed, key="s:vote"))
    assert sent == Submission(*where, "vote", {"channels": "dd,fs"}, AT)
    assert wire.acted(replace(pressed, key="n")) is None


def test_being_thrown_out_is_seen() -> None:
    assert wire.kicked({"event": {"eventtype": "disconnected_event"}})
    assert not wire.kicked(golden("press"))


def test_an_event_comes_back_as_it_was_kept() -> None:
    who = (Chat("wecom", "g"), Person("wecom", "li"))
    for event in (
        Message("1", *who, "你好", AT),
        Click("2", *who, "a|b", AT),
        Submission("3", *who, "f", {"a": "b"}, AT, (File("a.csv", b"\x00\xff"),)),
    ):
        assert wire.restored(wire.kept(event)) == event


def test_nobody_draws_a_link_or_a_heading_of_ours() -> None:
    """Words of others stay words: no link, no colour, no heading comes of them."""
    evil = say("标题", "[点我](http://evil)", '<font color="info">好</font>', "# 大", "**粗**")
    text = wire.markdown(evil)
    for sign in ("](http", "<font", "</font", "\n# ", "**"):
        assert sign not in text


def test_nothing_is_cut_off() -> None:
    with pytest.raises(Permanent, match="20480"):
        wire.draw(say("长", "字" * 7000), "k")


@given(
    st.lists(st.text(min_size=1, max_size=8), max_size=20),
    st.lists(st.sampled_from([LONG, Form("t", (TIER,)), Form("v", (CHANNELS,))]), max_size=4),
)
def test_whatever_is_drawn_is_taken(labels: list[str], forms: list[Form]) -> None:
    """Any number of buttons and forms becomes cards that the platform takes, none of them lost."""
    buttons = tuple(Button(label, f"a{n}") for n, label in enumerate(labels))
    card = Card("标题", blocks=(Buttons(buttons), *forms))
    drawn = wire.draw(card, "k")
    for one in drawn.cards:
        check_card(one)
    keys = [b["key"] for one in drawn.cards for b in one.get("button_list", ())]
    assert [key for key in keys if key.startswith("b:")] == [f"b:a{n}" for n in range(len(labels))]
    assert len({one["task_id"] for one in drawn.cards}) == len(drawn.cards)
    sent = [one for one in drawn.cards if "submit_button" in one]
    assert len(sent) + sum(key.startswith("f:") for key in keys) == len(forms)


def test_every_answer_to_a_press_is_taken() -> None:
    """A whole card each time, with the task_id that was pressed."""
    (card, *_) = wire.draw(CARD, "k").cards
    button = Button("签字", "sign|1", confirm="确定签字？")
    for one in (
        wire.confirmed(card, "已收到"),
        wire.refused(card, "这一步需要客户来操作"),
        wire.ask_again(card, button),
        wire.to_page(card, LONG, "https://bot/forms/x", 30),
    ):
        check_card(one)
        assert one["task_id"] == card["task_id"]


def test_a_page_names_everything_that_is_wrong() -> None:
    count = Input("count", "台数", Entry.NUMBER)
    sheet = Input("list", "清单", Entry.FILE, required=True)
    form = Form("f", (*LONG.inputs, CHANNELS, count, sheet))
    wrong = {"tier": "gold", "channels": "dd,xx", "count": "三", "more": "1"}
    with pytest.raises(UsageError) as refused:
        wire.filled(form, wrong, ())
    for word in ("more", "公司", "套餐", "渠道", "台数", "清单"):
        assert word in str(refused.value)
    right = wire.filled(form, {"company": "甲"}, (File("a", b"1"),))
    assert right == {"company": "甲", "tier": "basic", "channels": "fs", "count": ""}


# -- the seal ---------------------------------------------------------------------------------------

# Published by Tencent as the worked example of this scheme.
KNOWN = Seal(
    Secret("QDG6eK"),
    Secret("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"),
    "wx5823bf96d3bd56c7",
)
ECHO = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ=="


def test_the_published_example_opens() -> None:
    when = datetime.fromtimestamp(1409659589, tz=UTC)
    signature = "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3"
    assert KNOWN.open(signature, "1409659589", "263014780", ECHO, when) == b"1616140317555161061"
    with pytest.raises(Unsealed, match="age"):
        KNOWN.open(signature, "1409659589", "263014780", ECHO, AT)


def test_what_is_meant_for_another_is_refused() -> None:
    """The same token and key, another enterprise."""
    other = Seal(KNOWN._token, KNOWN._aes_key, "ww-other").close(b"x")
    stamp = str(int(AT.timestamp()))
    with pytest.raises(Unsealed, match="receiver"):
        KNOWN.open(KNOWN.sign(stamp, "n", other), stamp, "n", other, AT)


@given(st.binary(max_size=200))
def test_what_is_closed_opens(message: bytes) -> None:
    sealed = KNOWN.close(message)
    stamp = str(int(AT.timestamp()))
    assert KNOWN.open(KNOWN.sign(stamp, "n", sealed), stamp, "n", sealed, AT) == message


@given(st.text(max_size=60), st.binary(max_size=200))
def test_what_others_send_is_refused_and_nothing_else(sealed: str, body: bytes) -> None:
    """Whatever comes, it is Unsealed: even with a right signature over nonsense."""
    stamp = str(int(AT.timestamp()))
    clean = sealed.encode(errors="replace").decode()
    with pytest.raises(Unsealed):
        KNOWN.open(KNOWN.sign(stamp, "n", clean), stamp, "n", clean, AT)
    with pytest.raises(Unsealed):
        sealed_in(body)


@given(st.text(max_size=300), st.integers(4, 50))
def test_a_long_text_is_sent_in_pieces(text: str, most: int) -> None:
    """No piece is too long, and nothing but line ends is lost between them."""
    clean = text.encode(errors="replace").decode()
    found = pieces(clean, most)
    assert all(0 < len(piece.encode()) <= most for piece in found)
    if clean.strip():
        assert "".join("".join(found).split()) == "".join(clean.split())

"""Feishu's JSON and our words, without a network."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from adapters.card import (
    SIGNS,
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
from adapters.chart import Chart, Kind, Series
from adapters.feishu import draw, wire
from adapters.feishu.socket import Fragments, pause
from adapters.feishu.wire import Attached
from adapters.port import InDoubt, Permanent, Transient
from adapters.words import NOTHING, Chat, Click, File, Message, Person, Secret, Submission
from tests.charts import COLUMNS, COURSE
from tests.sim.feishu import read, wrong_in

GOLDEN = Path(__file__).parents[1] / "golden" / "feishu"
BOT = "ou_bot"
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)

RICH = Card(
    "接入进度",
    Tone.WORKING,
    (
        Text("<b>一</b>\n*二*", Style.STRONG),
        Text("小字", Style.QUIET),
        Text("df -h\n```\nrm", Style.CODE),
        Mention((Person("feishu", "ou_li", "ou_li"), Person("feishu", "ou_an", "ou_an"))),
        Mention((Person("feishu", "all"), Person("web", "ou_wang", "王工"))),
        Fields((("域名", "ops.example.com"), ("套餐", "专业版"))),
        Table(("主机", "状态"), (("web-1", "在线"), ("web-2", "离线"))),
        Progress(1, 3, "台"),
        Checklist((Item(Mark.DONE, "签约", level=0), Item(Mark.FAILED, "部署", "端口占用"))),
        COURSE,
        COLUMNS,
        Buttons(
            (
                Button("收到", "ack:1|v=2", Style.PRIMARY, confirm="确定？"),
                Button("删除", "del:1", Style.DANGER),
                Button("查看", url="https://ops.example.com/"),
            )
        ),
        Form(
            "intake:7",
            (
                Input("company", "公司", required=True, hint="全称"),
                Input("note", "备注", Entry.TEXT, value="无"),
                Input("count", "台数", Entry.NUMBER, value="3"),
                Input("due", "交付日", Entry.DATE, value="2026-11-25"),
                Input(
                    "tier", "套餐", Entry.CHOICE, (("basic", "基础版"), ("pro", "专业版")), "pro"
                ),
                Input("channels", "渠道", Entry.CHOICES, (("dd", "钉钉"), ("fs", "飞书")), "fs"),
                Input("password", "密码", Entry.SECRET, value="never"),
                Input("list", "清单", Entry.FILE, hint="CSV 或 XLSX", required=True),
            ),
        ),
    ),
)


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


# -- cards ------------------------------------------------------------------------------------


def test_every_kind_of_block_is_drawn() -> None:
    """The golden card is one that Feishu takes, and a secret's value is not in it."""
    drawn = draw.draw(RICH)
    assert drawn == golden("card.json")
    assert wrong_in(drawn) == ""
    assert "never" not in json.dumps(drawn)


def test_a_date_comes_without_its_offset_and_is_a_day() -> None:
    """The picker sends "2026-11-25 +0800"; a client that sends no day is answered in a toast."""
    form = Form("go", (Input("due", "交付日", Entry.DATE), Input("note", "备注")))
    button = draw.draw(Card("", blocks=(form,)))["body"]["elements"][0]["elements"][-1]
    value = button["behaviors"][0]["value"]
    picked = wire.values(value, {"f0_due": "2026-11-25 +0800", "f0_note": "a b"})
    assert picked == {"due": "2026-11-25", "note": "a b"}
    assert wire.complaint(value, picked) == ""
    assert wire.complaint(value, {"due": ""}) == ""
    assert "格式 2026-11-25：交付日" in wire.complaint(value, {"due": "2026-02-30"})


def test_feishu_takes_no_mention_of_nobody() -> None:
    """The stand-in refuses an `<at>` without an open_id, but for one in a fence, which is code."""
    at = "<at id=all></at>"
    bad = draw.draw(RICH)
    bad["body"]["elements"].append({"tag": "markdown", "content": at})
    assert "a mention of nobody" in wrong_in(bad)
    assert wrong_in(draw.draw(Card("码", blocks=(Text(at, Style.CODE),)))) == ""


def test_a_drawn_card_says_what_the_neutral_one_says() -> None:
    """What a person reads is what `plain` gives, but for the fence that is guarded."""
    seen = plain(read(draw.draw(RICH)))
    assert seen.replace("\u200b", "") == plain(RICH).replace(" = fs", "")


WORDS = st.text(max_size=30)
LABELS = st.text(min_size=1, max_size=10)
INPUTS = st.builds(
    Input,
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
    LABELS,
    st.sampled_from(Entry),
    st.just((("a", "甲"), ("b", "乙"))),
    st.sampled_from(["", "a"]),
    WORDS,
    st.booleans(),
)
BLOCKS = st.one_of(
    st.builds(Text, WORDS, st.sampled_from([Style.PLAIN, Style.STRONG, Style.CODE])),
    st.builds(Fields, st.lists(st.tuples(WORDS, WORDS), max_size=3).map(tuple)),
    st.builds(
        Mention,
        st.lists(
            st.builds(Person, st.sampled_from(["feishu", "web"]), WORDS, WORDS), max_size=3
        ).map(tuple),
    ),
    st.just(Table(("一", "二"), (("", "<at id=all></at>"),))),
    st.sampled_from([COURSE, COLUMNS]),
    st.builds(Progress, st.integers(0, 5), st.integers(0, 5), WORDS),
    st.builds(
        Checklist,
        st.lists(st.builds(Item, st.sampled_from(list(SIGNS)), WORDS), max_size=3).map(tuple),
    ),
    st.builds(
        Buttons, st.lists(st.builds(Button, LABELS, WORDS, confirm=WORDS), max_size=3).map(tuple)
    ),
    st.builds(Form, WORDS, st.lists(INPUTS, max_size=3, unique_by=lambda one: one.name).map(tuple)),
)


@given(st.builds(Card, WORDS, st.sampled_from(Tone), st.lists(BLOCKS, max_size=8).map(tuple)))
def test_whatever_is_said_is_a_card_that_feishu_takes(card: Card) -> None:
    """No words of anybody make an unknown property, an empty text or two inputs of one name."""
    try:
        content = draw.content(card)
    except Permanent:
        assert draw.tags(draw.draw(card)) > draw.MAX_TAGS
        return
    assert wrong_in(json.loads(content)) == ""


@pytest.mark.parametrize(
    "block",
    [
        Text("字" * 10_000),
        Buttons(tuple(Button("按", f"{n}") for n in range(80))),
    ],
)
def test_a_card_beyond_the_limits_is_refused(block: Block) -> None:
    with pytest.raises(Permanent, match="卡片"):
        draw.content(Card("大", blocks=(block,)))


def test_the_sixth_table_is_lines() -> None:
    """Feishu takes five: what is beyond is still said."""
    table = Table(("主机",), (("web-1",),))
    drawn = draw.draw(Card("表", blocks=(table,) * 6))
    assert [one["tag"] for one in drawn["body"]["elements"]] == ["table"] * 5 + ["div"]
    assert wrong_in(drawn) == ""


def test_the_sixth_chart_is_words() -> None:
    """Feishu advises five."""
    drawn = draw.draw(Card("图", blocks=(COURSE,) * 6))
    assert [one["tag"] for one in drawn["body"]["elements"]] == ["chart"] * 5 + ["div"]
    assert wrong_in(drawn) == ""
    assert plain(read(drawn)) == plain(Card("图", blocks=(COURSE,) * 6))


def test_labels_that_look_the_same_stand_apart() -> None:
    """An hour that the clock has twice: VChart would put both into one place."""
    twice = Chart("新告警", Kind.BAR, ("01:00", "01:00"), (Series("", (1.0, 2.0)),))
    drawn = draw.draw(Card("图", blocks=(twice,)))
    assert wrong_in(drawn) == ""
    assert plain(read(drawn)).replace("\u200b", "") == plain(Card("图", blocks=(twice,)))


def test_columns_of_several_series_stand_beside_each_other() -> None:
    both = Chart(
        "时间", Kind.BAR, ("一", "二"), (Series("a", (1.0, 2.0)), Series("b", (3.0, None)))
    )
    drawn = draw.draw(Card("图", blocks=(both,)))
    assert drawn["body"]["elements"][0]["chart_spec"]["xField"] == ["x", "s"]
    assert wrong_in(drawn) == ""


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("colour", "red", "unknown property in chart"),
        ("aspect_ratio", "3:1", "aspect_ratio"),
        ("color_theme", "dark", "color_theme"),
        ("height", "1000px", "height"),
        ("chart_spec.onClick", "() => 1", "onClick"),
        ("chart_spec.type", "spline", "spline"),
        ("chart_spec.yField", "z", "does not fit"),
        ("chart_spec.data", {"values": []}, "does not fit"),
        ("chart_spec.data", {"values": [{"x": "a", "y": "1", "s": "b"}]}, "a number"),
        ("chart_spec.data", {"values": [{"x": "a", "y": 1, "s": "b"}] * 2}, "one place"),
        ("chart_spec.type", "bar", "one place"),
    ],
)
def test_the_simulator_takes_no_chart_that_feishu_would_not_show(
    place: str, value: object, why: str
) -> None:
    card = draw.draw(Card("图", blocks=(COURSE,)))
    there = chart = card["body"]["elements"][0]
    *inner, name = place.split(".")
    for step in inner:
        there = there[step]
    there[name] = value
    assert why in wrong_in(card)
    card["body"]["elements"] = [chart] * 6
    assert wrong_in(card)


@pytest.mark.parametrize(
    ("name", "value"),
    [("type", "default"), ("placeholder", None), ("initial_date", "2026-02-30"), ("value", "a")],
)
def test_the_simulator_takes_no_date_picker_that_feishu_would_not_show(
    name: str, value: object
) -> None:
    """It has neither a type nor a value, and without a date it needs words to show."""
    card = draw.draw(Card("", blocks=(Form("go", (Input("due", "交付日", Entry.DATE),)),)))
    assert wrong_in(card) == ""
    picker = card["body"]["elements"][0]["elements"][1]
    assert picker["tag"] == "date_picker"
    picker[name] = value
    assert "date_picker" in wrong_in(card)


def test_half_a_character_is_mended() -> None:
    assert "?" in draw.content(say("\ud800"))
    assert wire.create_chat("\ud800", "", "u").body == {
        "name": "?",
        "chat_mode": "group",
        "chat_type": "private",
    }


# -- requests ---------------------------------------------------------------------------------


def test_a_key_of_any_length_is_a_uuid_that_feishu_takes() -> None:
    """Fifty characters at most, the same for the same deed, another for another."""
    names = {wire.uuid_of(deed, key) for deed in ("send", "ring") for key in ("k", "k" * 900)}
    assert len(names) == 4
    assert all(len(name) <= 50 for name in names)
    assert wire.uuid_of("send", "k") in names


def test_an_id_cannot_break_out_of_its_place_in_the_path() -> None:
    call = wire.ask_message("../../x?y=1")
    assert call.path == "/open-apis/im/v1/messages/..%2F..%2Fx%3Fy%3D1"


def test_a_call_does_not_show_the_secret() -> None:
    assert "s3cret" not in repr(wire.ask_token("cli_1", Secret("s3cret")))


def test_a_person_is_addressed_by_who_they_are() -> None:
    assert wire.post_text("ou_1", "?", "u").query == {"receive_id_type": "open_id"}
    assert wire.post_text("oc_1", "?", "u").query == {"receive_id_type": "chat_id"}


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [99991400, 230020, 11232])
@pytest.mark.parametrize("status", [200, 400, 429])
def test_too_often_is_told_by_the_code(code: int, status: int) -> None:
    """The HTTP status differs between the interfaces, and the header says how long to wait."""
    problem = wire.refusal(status, {"x-ogw-ratelimit-reset": "7"}, {"code": code})
    assert isinstance(problem, Transient)
    assert problem.retry_after == 7


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"code": 0}, type(None)),
        (429, None, Transient),
        (200, None, InDoubt),
        (502, None, InDoubt),
        (500, {"code": 2200, "msg": "Internal Error"}, InDoubt),
        (400, {"code": 232019}, Transient),
        (400, {"code": 230049}, Transient),
        (400, {"code": 230002}, Permanent),
        (400, {"code": 999, "msg": "what"}, Permanent),
    ],
)
def test_an_answer_is_one_of_the_three_errors_or_none(
    status: int, body: dict[str, Any] | None, kind: type
) -> None:
    assert type(wire.refusal(status, {}, body)) is kind


# -- what people do ---------------------------------------------------------------------------


def decode(name: str) -> wire.Incoming:
    incoming = wire.decode(golden(name), platform="feishu", bot=BOT)
    assert incoming
    return incoming


def test_the_permissions_that_the_page_asks_for_are_those_that_are_checked() -> None:
    """What is pasted in bulk is what `vigilbot doctor` looks for, and each is explained below."""
    page = (Path(__file__).parents[2] / "docs/feishu.md").read_text(encoding="utf-8")
    pasted, table = page.split("```json\n")[1].split("```")[:2]
    asked = json.loads(pasted)["scopes"]["tenant"]
    checked = [need.names[0] for need in (*wire.NEEDS, wire.URGENT["app"])]
    assert sorted(asked) == sorted(checked)
    assert [name for name in checked if f"| `{name}`" not in table] == []


def test_a_message_of_a_group() -> None:
    """Its id is the message's, the bot's mention is gone, the others are named, the tenth too."""
    came = decode("message.json")
    assert came.event == Message(
        "om_5ce6d572455d361153b7cb51da133945",
        Chat("feishu", "oc_5ce6d572455d361153b7cb5xxfsdfsdfdsf"),
        Person("feishu", "ou_84aad35d084aa403a838cf73ee18467"),
        "/onboard 甲 @Wang @十号",
        datetime(2026, 11, 25, 3, 0, 1, 250_000, tzinfo=UTC),
        mentions=(Person("feishu", "ou_wang"), Person("feishu", "ou_ten")),
    )
    assert came.parent == "om_file"


def test_a_rich_message_has_its_words_and_pictures() -> None:
    text, files = wire.contents("om_1", "post", json.dumps(golden("post.json")))
    assert text == "周报\n请看 @_user_1 附图\nhttps://ops.example.com"
    assert files == (Attached("om_1", "img_1", "img_1.png", "image"),)


def test_a_file_is_not_yet_fetched() -> None:
    content = '{"file_key": "file_1", "file_name": "服务器.xlsx"}'
    assert wire.contents("om_1", "file", content) == (
        "",
        (Attached("om_1", "file_1", "服务器.xlsx"),),
    )
    assert wire.contents("om_1", "sticker", "{}") == ("", ())


def test_a_press() -> None:
    came = decode("press.json")
    assert came.event == Click(
        "f7984f25108f8137722bb63c****",
        Chat("feishu", "oc_1"),
        Person("feishu", "ou_li"),
        "ack:1|v=2",
        datetime(2026, 11, 25, 3, 0, 1, 250_001, tzinfo=UTC),
    )
    assert (came.card, came.posted, came.complaint) == ("om_card", False, "")


def test_a_form() -> None:
    """Names as they were drawn, what was left empty is empty, many choices are joined."""
    came = decode("form.json")
    form = came.event
    assert isinstance(form, Submission)
    assert form.action == "intake:7"
    assert form.values == {
        "company": "甲<b>",
        "note": "",
        "count": "三",
        "channels": "dd,fs",
    }
    assert came.posted
    assert came.complaint == "请填写数字：台数"


def test_presses_of_other_cards_are_not_ours() -> None:
    payload = golden("press.json")
    payload["event"]["action"]["value"] = {"key": "another bot's"}
    assert wire.decode(payload, platform="feishu", bot=BOT) is None


def test_who_posted_what() -> None:
    """The oldest first, without what was recalled."""

    def item(key: str, sender: str, *, deleted: bool = False) -> dict[str, Any]:
        body = {"content": json.dumps({"file_key": key, "file_name": key})}
        sent = {"id": sender}
        return {
            "message_id": f"om_{key}",
            "msg_type": "file",
            "sender": sent,
            "deleted": deleted,
            "body": body,
        }

    items = [item("3", "li"), item("2", "wang"), item("1", "li"), item("0", "li", deleted=True)]
    assert [one.key for one in wire.posted_by("li", items)] == ["1", "3"]


@given(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants bounds without a zone
def test_a_time_is_read_whatever_its_unit(at: datetime) -> None:
    whole = int(at.replace(microsecond=0).timestamp())
    micro = whole * 1_000_000 + at.microsecond
    assert wire.instant(str(micro)) == at
    assert wire.instant(str(micro // 1000)) == at - timedelta(microseconds=at.microsecond % 1000)
    assert wire.instant(str(whole)) == at.replace(microsecond=0)


# -- HTTP callback mode -----------------------------------------------------------------------

KEY = Secret("encrypt-key")
TOKEN = Secret("verification")


def sealed(payload: dict[str, Any]) -> bytes:
    padder = PKCS7(128).padder()
    data = padder.update(json.dumps(payload).encode()) + padder.finalize()
    vector = b"0123456789abcdef"
    cipher = Cipher(algorithms.AES(sha256(KEY.reveal().encode()).digest()), modes.CBC(vector))
    encryptor = cipher.encryptor()
    blob = vector + encryptor.update(data) + encryptor.finalize()
    return json.dumps({"encrypt": b64encode(blob).decode()}).encode()


def headers(body: bytes, at: datetime = NOW) -> dict[str, str]:
    stamp, nonce = str(int(at.timestamp())), "n0nce"
    signature = sha256((stamp + nonce + KEY.reveal()).encode() + body).hexdigest()
    return {
        "x-lark-request-timestamp": stamp,
        "x-lark-request-nonce": nonce,
        "x-lark-signature": signature,
    }


PAYLOAD = {"schema": "2.0", "header": {"token": "verification"}, "event": {}}


def opened(head: dict[str, str], body: bytes, now: datetime = NOW) -> object:
    return wire.callback(head, body, encrypt_key=KEY, token=TOKEN, now=now)


def test_a_sealed_callback_is_opened() -> None:
    body = sealed(PAYLOAD)
    assert opened(headers(body), body) == PAYLOAD


def test_a_callback_is_refused_that_is_forged_old_or_garbled() -> None:
    """Another body under the signature, no signature, a replay, another token, another key."""
    body = sealed(PAYLOAD)
    other = sealed({**PAYLOAD, "event": {"x": 1}})
    wrong = sealed({**PAYLOAD, "header": {"token": "another"}})
    with pytest.raises(Permanent, match="签名"):
        opened(headers(body), other)
    with pytest.raises(Permanent, match="签名"):
        opened({}, body)
    with pytest.raises(Permanent, match="重放"):
        opened(headers(body), body, NOW + timedelta(minutes=6))
    with pytest.raises(Permanent, match="Verification Token"):
        opened(headers(wrong), wrong)
    for garbled in (b"", b"[]", b'{"encrypt": 1}', b'{"encrypt": "AAAA"}', b'{"encrypt": "***"}'):
        with pytest.raises(Permanent, match="Encrypt Key"):
            opened(headers(garbled), garbled)


@pytest.mark.parametrize("key", [KEY, NOTHING], ids=["sealed", "open"])
@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"token": "\\ud800"}', b'{"encrypt": "\\ud800"}'],
    ids=["deep", "half-token", "half-sealed"],
)
def test_a_hostile_callback_is_refused_and_breaks_nothing(body: bytes, key: Secret) -> None:
    """Whoever finds the address may post: nesting without end, half a character."""
    with pytest.raises(Permanent):
        wire.callback({}, body, encrypt_key=key, token=Secret("t"), now=NOW)


def test_an_unsealed_body_is_not_taken_where_a_key_is_set() -> None:
    """Else whoever knows the token alone could skip the signature's key."""
    body = json.dumps(PAYLOAD).encode()
    with pytest.raises(Permanent, match="Encrypt Key"):
        opened(headers(body), body)


def test_a_url_verification_is_answered() -> None:
    """It is sealed, and not signed."""
    asked = {"type": "url_verification", "token": "verification", "challenge": "abc"}
    payload = wire.callback({}, sealed(asked), encrypt_key=KEY, token=TOKEN, now=NOW)
    assert wire.challenge(payload) == {"challenge": "abc"}
    assert wire.challenge(PAYLOAD) is None


# -- the socket's pure parts ------------------------------------------------------------------


def test_fragments_are_joined_in_their_order() -> None:
    """However they arrive; the whole once, and what is too old is forgotten."""
    parts = Fragments()
    assert parts.join("m", 1, 0, b"whole", NOW) == b"whole"
    assert parts.join("m", 3, 2, b"c", NOW) is None
    assert parts.join("m", 3, 0, b"a", NOW) is None
    assert parts.join("m", 3, 0, b"a", NOW) is None
    assert parts.join("m", 3, 1, b"b", NOW) == b"abc"
    assert parts.join("m", 3, 1, b"b", NOW) is None
    late = NOW + timedelta(seconds=6)
    assert parts.join("m", 3, 0, b"a", late) is None
    assert parts.join("m", 3, 2, b"c", late) is None


@given(st.integers(1, 5000), st.floats(0, 1))
def test_the_pause_before_a_reconnect_grows_to_a_limit(failures: int, chance: float) -> None:
    """The first is short enough for five seconds, the last is under a minute."""
    assert pause(1, chance) < 2
    assert 0 < pause(failures, chance) <= 45


def test_a_file_is_sent_under_its_name() -> None:
    call = wire.upload(File("合同\ud800.docx", b"PK"))
    assert call.file == File("合同?.docx", b"PK")
    assert call.body == {"file_type": "stream", "file_name": "合同?.docx"}

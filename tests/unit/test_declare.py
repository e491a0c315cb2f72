"""The parser of chat commands: what people type, what they meant, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import cyclopts
import pytest
from cyclopts import Token
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.card import Card, plain, say
from adapters.port import UsageError
from adapters.words import Chat, Message, Person, Role
from commands.declare import (
    MAX_LINE,
    Book,
    Call,
    Parsed,
    Rest,
    Verbatim,
    Where,
    Who,
    allowed,
    choice,
    command,
    explain,
    matching,
    number,
)


class Tier(StrEnum):
    BASIC = "basic"
    PRO = "pro"


TierName = Annotated[Tier, choice({"基础版": Tier.BASIC, "专业版": Tier.PRO})]
Port = Annotated[int, number(1, 65535)]
Host = Annotated[str, matching(r"[A-Za-z0-9.:-]+", "主机名或 IP 地址")]


@command("/onboard", examples=("/onboard 示例公司", "/onboard 「示例 公司」 10.0.0.1 --port 2222"))
async def onboard(
    customer: Verbatim, *hosts: Host, port: Port = 22, dry_run: bool = False, call: Call
) -> Card:
    """为一家公司开始入驻。

    Parameters
    ----------
    customer
        公司名，群和监控空间都用它。
    hosts
        主机：要安装 Agent 的地址。
    port
        端口，所有主机相同。
    dry_run
        试运行，不做任何改动。
    """
    return say(f"{customer} {hosts} {port} {dry_run} {call.context}")


@command("/server add", examples=("/server add web-1 10.0.0.1 --port 22",), group="服务器")
async def server_add(name: str, host: Host, *, port: Port = 22, call: Call) -> Card:
    """登记一台服务器。

    Parameters
    ----------
    name
        名称。
    host
        地址。
    port
        SSH 端口。
    """
    return say(f"{name} {host} {port}")


@command("/server list", examples=("/server list",), group="服务器")
async def server_list(*, call: Call) -> Card:
    """列出服务器。"""
    return say("list")


@command("/tier", where=Where.CUSTOMER, examples=("/tier 专业版",))
async def tier(tier: TierName, *, call: Call) -> Card:
    """更改套餐。

    Parameters
    ----------
    tier
        套餐，基础版或专业版。
    """
    return say(tier)


@command("/role", role=Role.LEAD, where=Where.STAFF, examples=("/role @张三 lead",))
async def role(who: Who, role: Role, *, call: Call) -> Card:
    """改变一个人的角色。

    Parameters
    ----------
    who
        谁：要改变的人。
    role
        角色。
    """
    return say(f"{who.id} {role}")


@command("/skip", role=Role.LEAD, examples=("/skip 客户机房停电，改日再装",))
async def skip(reason: Rest, *, line: int = 0, call: Call) -> Card:
    """跳过一行。

    Parameters
    ----------
    reason
        原因，会写进验收报告。
    line
        行号。
    """
    return say(reason)


@command("/note")
async def note(who: Who, text: Rest = "", *, call: Call) -> Card:
    """给一个人留言。

    Parameters
    ----------
    who
        谁。
    text
        内容。
    """
    return say(text)


BOOK = Book(onboard, server_add, server_list, tier, role, skip, note)
ZHANG = Person("web", "u1", "张三")
LONG = Person("web", "u2", "Li Lei")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def a_call(role: Role = Role.LEAD, customer: int | None = None) -> Call:
    message = Message("m", Chat("web", "c"), ZHANG, "", AT)
    return Call(message, role, customer, context="roof")


def given_to(line: str, *mentions: Person) -> dict[str, object]:
    parsed = BOOK.parse(line, mentions)
    assert parsed is not None
    return parsed.arguments


def refused(line: str, *mentions: Person) -> str:
    with pytest.raises(UsageError) as caught:
        BOOK.parse(line, mentions)
    return str(caught.value)


async def answered(line: str, call: Call) -> str:
    parsed = BOOK.parse(line)
    assert parsed is not None
    card = await parsed.run(call)
    assert card is not None
    return plain(card)


@pytest.mark.parametrize(
    "line",
    [
        "/onboard 示例公司 10.0.0.1 --port 2222",
        "／ｏｎｂｏａｒｄ　示例公司　１０.０.０.１　－－ｐｏｒｔ　２２２２",
        "\u200b\ufeff /onboard\t示例公司\n10.0.0.1 --port=2222",
        "@Vigilbot /onboard 示例公司 10.0.0.1 --port 2222",
        "＠Vigilbot，/Onboard 示例公司 10.0.0.1 ——port 2222",
        "/ onboard 「示例公司」 “10.0.0.1” --port 2222",
        "、onboard 示例公司 10.0.0.1 --port '2222'",
        "/onboard 示\x00例公\u202e司 10.0.0.1 --port 2222",
    ],
)
def test_one_command_typed_in_many_ways_is_one_call(line: str) -> None:
    expected = {"customer": "示例公司", "hosts": ("10.0.0.1",), "port": 2222}
    assert given_to(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "你好",
        "  ",
        "请看 /status",
        "、然后呢",
        "/etc/nginx/nginx.conf 在哪",
        "@张三 你好",
        "@Vigilbot",
    ],
)
def test_ordinary_talk_is_no_command(line: str) -> None:
    assert BOOK.parse(line) is None


def test_quotes_of_every_style_keep_spaces() -> None:
    for line in (
        "「a b」",
        "『a b』",
        "“a b”",
        "”a b“",
        '"a b"',
        "＂a b＂",
        "'a b'",
        "‘a b’",
        "｢a b｣",
    ):
        assert given_to(f"/onboard {line}") == {"customer": "a b"}
    assert given_to("/onboard --customer=「a b」") == {"customer": "a b"}
    assert given_to("/onboard “”") == {"customer": ""}
    assert given_to("/onboard O'Brien") == {"customer": "O'Brien"}


def test_a_name_keeps_its_full_width_characters() -> None:
    for line in (
        "示例（北京）公司",
        "「示例（北京）公司」",
        "--customer=示例（北京）公司",
        "－－customer＝“示例（北京）公司”",
    ):
        assert given_to(f"／onboard　{line}") == {"customer": "示例（北京）公司"}


def test_flags_and_enumerations() -> None:
    assert given_to("/onboard x --dry-run") == {"customer": "x", "dry_run": True}
    for word in ("专业版", "pro", "PRO", "ｐｒｏ"):
        assert given_to(f"/tier {word}") == {"tier": Tier.PRO}
    assert given_to("/server_add".replace("_", " ") + " web 10.0.0.1") == {
        "name": "web",
        "host": "10.0.0.1",
    }


def test_a_mention_becomes_a_person() -> None:
    assert given_to("/role @张三 lead", ZHANG) == {"who": ZHANG, "role": Role.LEAD}
    assert given_to("/role ＠Li Lei lead", ZHANG, LONG) == {"who": LONG, "role": Role.LEAD}
    assert "弹出的名单" in refused("/role @王五 lead", ZHANG)
    assert "弹出的名单" in refused("/role 张三 lead", ZHANG)
    assert "同名" in refused("/role @张三 lead", ZHANG, Person("web", "u9", "张三"))


def test_trailing_text_is_kept_as_it_was_typed() -> None:
    assert given_to("/skip 机房，停电！  --force 明天  再来 “好”") == {
        "reason": "机房，停电！  --force 明天  再来 “好”"
    }
    assert given_to("/skip --line 3 「停 电」") == {"reason": "停 电", "line": 3}
    assert given_to("/skip --line=3 a\nb") == {"reason": "a\nb", "line": 3}
    assert given_to("/note @张三 第一行\n第二行", ZHANG) == {"who": ZHANG, "text": "第一行\n第二行"}
    assert given_to("/note @张三", ZHANG) == {"who": ZHANG}
    assert given_to("/skip 客户说 「明天") == {"reason": "客户说 「明天"}
    assert given_to("/skip -1 也是原因") == {"reason": "-1 也是原因"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/onbord x", "您是不是想输入 /onboard？"),
        ("/入驻", "/help"),
        ("/--version", "/help"),
        ("/server", "用法：/server add <名称> <地址> [--port <SSH 端口>]"),
        ("/server ad x", "您是不是想输入 /server add？"),
        ("/server 删除", "没有「/server 删除」"),
        ("/onboard", "还缺少「公司名」"),
        ("/onboard x --version", "没有「--version」这个选项"),
        ("/onboard x --prot 3", "您是不是想输入 --port？"),
        ("/onboard x --port", "还缺少「端口」"),
        ("/onboard x --port 八千", "「端口」无法识别「八千」，这里要填 1 到 65535"),
        ("/onboard x --port 70000", "「端口」：70000 超出范围，请填 1 到 65535 之间的数"),
        ("/onboard x --port 1e999", "「端口」"),
        ("/onboard x --port 1 --port 2", "「--port」写了两次"),
        ("/onboard x 主机一", "请填主机名或 IP 地址"),
        ("/onboard 「x", "请在后面补上 」"),
        ("/skip --line=“3 x", "请在后面补上 ”"),
        ("/「", "没有「/「」这个命令"),
        ("/tier 企业版", "请填：基础版、专业版"),
        ("/role @张三 boss", "customer、engineer、lead"),
        ("/server list x y", "后面多了「x y」"),
        ("/skip", "还缺少「原因」"),
    ],
)
def test_a_mistake_is_answered_with_what_to_type(line: str, told: str) -> None:
    assert told in refused(line, ZHANG)


def test_where_no_message_names_anybody_by_id_it_is_said_how() -> None:
    """WeCom tells the bot no id of whom a message mentions: an account can be written out."""
    assert "请对方先对机器人发 /whoami" in refused("/role @张三 lead")
    assert "/whoami" not in refused("/role @王五 lead", ZHANG)


def test_a_mistake_is_answered_with_usage_and_an_example() -> None:
    assert refused("/onboard") == (
        "还缺少「公司名」。\n"
        "用法：/onboard <公司名> [<主机>…] [--port <端口>] [--dry-run]\n"
        "例如：/onboard 示例公司"
    )


def test_long_lines_are_refused_and_long_talk_is_not() -> None:
    assert "上传" in refused("/onboard " + "长" * MAX_LINE)
    assert BOOK.parse("长" * 100_000) is None
    assert len(given_to("/onboard " + "长" * (MAX_LINE - 9))["customer"]) == MAX_LINE - 9  # type: ignore[arg-type]


async def test_help_is_a_card_whichever_way_it_is_asked_for() -> None:
    whole = await answered("/help", a_call())
    assert "/onboard <公司名>" in whole
    assert "/role" in whole
    for line in ("/", "／", "/ --help", "/-h"):
        assert await answered(line, a_call()) == whole
    one = await answered("/help onboard", a_call())
    assert "用法：/onboard" in one
    assert "--port | 端口，所有主机相同。 | 1 到 65535" in one
    for line in ("/onboard --help", "/onboard x -h", "／ｈｅｌｐ　／ｏｎｂｏａｒｄ"):
        assert await answered(line, a_call()) == one
    assert "原因" in await answered("/skip --help", a_call())
    group = await answered("/server --help", a_call())
    assert "/server add" in group
    assert "/server list" in group
    assert await answered("/help server", a_call()) == group
    assert "用法：/server add" in await answered("/help server add", a_call())
    with pytest.raises(UsageError, match="您是不是想输入 /onboard"):
        await answered("/help onbord", a_call())


async def test_help_shows_only_what_one_may_do() -> None:
    shown = await answered("/help", a_call(Role.CUSTOMER, 1))
    assert "/help" in shown
    assert "/onboard" not in shown
    assert "/tier" not in plain(BOOK.help(Role.LEAD, Where.STAFF))
    assert "/role" not in plain(BOOK.help(Role.LEAD, Where.CUSTOMER))
    with pytest.raises(UsageError, match="负责人"):
        await answered("/role --help", a_call(Role.ENGINEER))


async def test_a_call_is_made_only_by_those_who_may() -> None:
    assert await answered("/onboard x", a_call()) == "【x () 22 False roof】"
    with pytest.raises(UsageError, match="只有工程师、负责人可以使用"):
        await answered("/onboard x", a_call(Role.CUSTOMER))
    with pytest.raises(UsageError, match="只能在客户群里使用"):
        await answered("/tier pro", a_call())
    assert await answered("/tier pro", a_call(customer=7)) == "【pro】"


def test_roles_and_places() -> None:
    assert allowed(onboard, Role.LEAD, Where.CUSTOMER)
    assert allowed(onboard, Role.ENGINEER, Where.STAFF)
    assert not allowed(onboard, Role.CUSTOMER, Where.STAFF)
    assert not allowed(role, Role.LEAD, Where.CUSTOMER)
    assert not allowed(role, Role.ENGINEER, Where.STAFF)


def test_the_table_of_the_readme() -> None:
    rows = BOOK.table()
    assert ("/role <谁> <角色>", "负责人", "内部群", "改变一个人的角色。") in rows
    assert ("/skip [--line <行号>] <原因>", "负责人", "任何群", "跳过一行。") in rows
    assert len(rows) == len(BOOK.commands)


def test_every_declared_example_parses() -> None:
    for declared in BOOK.commands:
        for example in declared.examples:
            parsed = BOOK.parse(example, (ZHANG,))
            assert isinstance(parsed, Parsed)
            assert parsed.command is declared


def kinds(root: type[cyclopts.CycloptsError]) -> Iterator[type[cyclopts.CycloptsError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == "cyclopts.exceptions":
            yield kind
            yield from kinds(kind)


def one_of(kind: type[cyclopts.CycloptsError]) -> cyclopts.CycloptsError:
    token = Token(keyword="--x", value="y")
    if kind is cyclopts.UnknownOptionError:
        known = cyclopts.App(default_command=homeless).assemble_argument_collection()
        return cyclopts.UnknownOptionError(token=token, argument_collection=known)
    if kind is cyclopts.RepeatArgumentError:
        return cyclopts.RepeatArgumentError(token=token)
    if kind is cyclopts.ArgumentOrderError:
        return cyclopts.ArgumentOrderError(
            token="y", prior_positional_or_keyword_supplied_as_keyword_arguments=[]
        )
    return kind()


def test_every_error_of_the_parser_has_words_of_its_own() -> None:
    said = [explain(one_of(kind), {}) for kind in kinds(cyclopts.CycloptsError)]
    assert len(said) >= 13
    assert len(set(said)) == len(said)
    assert explain(cyclopts.CycloptsError(), {}) not in said


async def mute(*, call: Call) -> None:
    return None


async def homeless() -> None:
    """没有 call。"""


async def bare(name: str, *, call: Call) -> None:
    """没有参数说明。"""


async def early(text: Rest, name: str, *, call: Call) -> None:
    """位置不对。

    Parameters
    ----------
    text
        内容。
    name
        名称。
    """


def test_a_wrong_declaration_is_found_at_once() -> None:
    with pytest.raises(TypeError, match="no docstring"):
        command("/x")(mute)
    with pytest.raises(TypeError, match="call"):
        command("/x")(homeless)
    with pytest.raises(TypeError, match="no name"):
        command("x")(bare)
    with pytest.raises(TypeError, match="documentation"):
        Book(command("/x")(bare))
    with pytest.raises(TypeError, match="last"):
        Book(command("/x")(early))
    with pytest.raises(TypeError, match="twice"):
        Book(onboard, onboard)


HEADS = st.sampled_from(
    [
        "/",
        "／",
        "、",
        "/onboard ",
        "/server ",
        "/server add ",
        "/tier ",
        "/role ",
        "/skip ",
        "/note ",
    ]
)
PIECES = st.sampled_from(
    [
        *("--port", "--port=", "--", "-", "「", "」", "“", '"', "'", "@张三", "@", "=", "1e999"),
        *("--help", "-h", "--dry-run", "--no-dry-run", "--hosts", "--customer", "--who"),
        *("--who.id=", "--call", "x", "3", "{}", "[]", "nan", "inf", "0x", "--line", "--reason"),
        *("—", "——port", "\x00", "\ud800", "1" * 3000, "0x" + "f" * 3900),
    ]
)
TAILS = st.text() | st.lists(PIECES | st.text(max_size=5), max_size=8).map(" ".join)


@settings(deadline=None)
@given(HEADS, TAILS, st.booleans())
def test_no_line_of_text_can_crash_the_parser(head: str, tail: str, mentioned: bool) -> None:
    with suppress(UsageError):
        BOOK.parse(head + tail, (ZHANG, LONG) if mentioned else ())


@settings(deadline=None)
@given(st.text(), st.text(max_size=10))
def test_no_text_or_name_can_crash_the_parser(text: str, name: str) -> None:
    with suppress(UsageError):
        BOOK.parse(text, (Person("web", "u", name),))


@settings(deadline=None)
@given(st.text(alphabet="ab中，。 -「", min_size=1))
def test_what_was_typed_as_a_reason_arrives(reason: str) -> None:
    words = f"x{reason}x"
    assert given_to(f"/skip {words}") == {"reason": words}

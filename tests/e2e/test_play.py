"""Played conversations against the whole bot, with real SSH hosts: passed, failed and refused."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.card import Button, Buttons, Card, Entry, Form, Input, say
from adapters.documents import OfficeDocuments
from adapters.port import UsageError
from adapters.ssh import SshServers
from adapters.webchat.link import WebChat
from adapters.words import Click, Person, Role, Secret, Submission
from bot.app import BOOKS, SystemClock, working
from bot.demo.hosts import Hosts
from bot.play.player import Outcome, Player, Start, Started
from bot.play.script import ScriptError, read
from bot.play.session import chatted, played
from bot.play.terminal import Descriptor, Terminal
from runbooks.book import Runbook
from runbooks.kit import Kit
from storage.journal import journal_in
from storage.records import Member
from storage.store import Store
from storage.vault import Seal

ROOT = Path(__file__).parents[2]
ONBOARD = ROOT / "tests" / "play" / "onboard.yaml"
LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@dataclass(frozen=True, slots=True)
class AtWork:
    webchat: WebChat
    store: Store
    books: Mapping[str, Runbook[Any]]


def starting(folder: Path) -> Start:
    """The bot as it is started on a machine: everything it knows is in the folder."""
    key = Seal.new_key()

    @asynccontextmanager
    async def start() -> AsyncIterator[Started]:
        url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
        async with Store(url, Seal(key)) as store, WebChat(folder / "web.sqlite") as web:
            await store.create()
            async with store.unit() as unit:
                await unit.people.put(Member(LI, Role.ENGINEER))
                await unit.people.put(Member(ZHAO, Role.LEAD))
            monitors = cast("Any", None)  # no line of these scripts gets as far as the monitor
            kit = Kit(SystemClock(), store, {"web": web}, SshServers(), monitors, OfficeDocuments())
            async with working(kit, journal_in(folder / "dbos.sqlite")):
                yield AtWork(web, store, BOOKS)

    return start


def quiet(folder: Path) -> Start:
    """A web chat where nobody answers: what is in it is what a test puts there."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Started]:
        url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
        async with (
            Store(url, Seal(Seal.new_key())) as store,
            WebChat(folder / "web.sqlite") as web,
        ):
            await store.create()
            yield AtWork(web, store, BOOKS)

    return start


HEAD = """
within: 20ms
people: {li: {name: 李工}, zhao: {name: 赵主管}}
groups: {ops: {title: 运营群, members: [li, zhao]}}
"""


async def shown_first(folder: Path, *cards: Card) -> None:
    async with WebChat(folder / "web.sqlite") as web:
        ops = await web.found("运营群", [LI, ZHAO], chat_id="ops")
        for number, card in enumerate(cards):
            await web.send(ops, card, key=str(number))


async def play(folder: Path, steps: str, **variables: str | Secret) -> tuple[Outcome, str]:
    told: list[str] = []
    script = read(f"{HEAD}\nsteps:\n{steps}")
    outcome = await Player(script, quiet(folder), told.append, variables, folder).play()
    return outcome, "\n".join(told)


# -- the whole bot --------------------------------------------------------------------------------


async def test_the_onboarding_script_passes(tmp_path: Path) -> None:
    """Asked for, registered, restarted, confirmed and probed; no password is ever printed."""
    told: list[str] = []
    async with Hosts(tmp_path / "hosts", count=2) as hosts:
        rows = ["名称,地址,端口,用户,密码"]
        rows += [f"{s.name},{s.host},{s.port},{s.user},{s.password.reveal()}" for s in hosts.specs]
        given = {"servers": Secret("\n".join(rows))}
        script = read(ONBOARD.read_text(encoding="utf-8"), ONBOARD.name)
        outcome = await Player(script, starting(tmp_path), told.append, given).play()
        passwords = [spec.password.reveal() for spec in hosts.specs]
    printed = "\n".join(told)
    assert outcome == Outcome(), printed
    _, timeline = printed.split("—— 时间线 ——")
    assert "✅ 确认合同已签" in timeline
    assert "赵主管 确认" in timeline
    assert "2/2 台完成" in timeline
    assert "【客户接入登记】" in printed
    assert "—— 重新启动 ——" in printed
    assert all(password and password not in printed for password in passwords)


async def test_a_failing_host_fails_the_step_and_shows_why(tmp_path: Path) -> None:
    """The exit code is 1, and what is seen instead is the card with the reason."""
    told: list[str] = []
    path = tmp_path / "refused.yaml"
    text = ONBOARD.read_text(encoding="utf-8").replace("within: 30s", "within: 5s")
    path.write_text(text.replace("env:PLAY_SERVERS", "x"), encoding="utf-8")
    servers = "web-1 127.0.0.1 1 root"
    assert await played(path, starting(tmp_path), told.append, {"servers": servers}) == 1
    assert told[-1].startswith("第 6 步（第 ")
    assert "检查服务器连通性" in told[-1]
    assert "0/1 台完成" in told[-1]


# -- each kind of unmet expectation ---------------------------------------------------------------

FORM = Card("登记", blocks=(Form("f", (Input("age", "年龄", Entry.NUMBER),), "交"),))
CARD = say("已就绪", "一切正常")


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        ("expect: {title: 未就绪}, chat: ops", "标题含「未就绪」"),
        ("expect: {title: 已就绪, contains: [正常, 异常]}, chat: ops", "含「异常」"),
        ("expect: {title: 已就绪, tone: bad}, chat: ops", "颜色 bad"),
        ("expect: {title: 已就绪, item: 检查, mark: done}, chat: ops", "清单项「检查」done"),
        ("expect: {title: 已就绪, absent: true}, chat: ops", "没有这样的内容"),
        ("expect: {title: 已就绪, new: true}, chat: ops", "且为新内容"),
        ("expect: {title: 已就绪}, chat: 没有的群", "没有会话「没有的群」；有的是：运营群"),
        ("press: 确认, card: 已就绪, as: li, chat: ops", "按钮「确认」"),
        ("fill: 已就绪, as: li, chat: ops", "表单「已就绪」"),
        ("fill: 登记, as: li, chat: ops, values: {age: 老}", "请填写数字：年龄"),
        ("upload: none.csv, as: li, chat: ops", "读不了文件 none.csv"),
        ("capture: '验证码 (\\d+)', into: code, chat: ops", "验证码"),
        ("say: '${nobody}', as: li, chat: ops", "变量 nobody 还没有值"),
        ("approve-many: [li, zhao], press: 同意, chat: ops", "按钮「同意」"),
        ("open: 'http://127.0.0.1:1/x'", "没有成功"),
    ],
)
async def test_what_does_not_come_about_is_told(tmp_path: Path, step: str, wanted: str) -> None:
    """The number and line of the step, what was wanted, and then nothing more is done."""
    await shown_first(tmp_path, FORM, CARD)
    steps = f"  - {{say: 一, as: li, chat: ops}}\n  - {{{step}}}\n"
    outcome, printed = await play(tmp_path, steps + "  - {say: 不该说, as: li, chat: ops}\n")
    assert outcome.failed == 2
    assert outcome.reason.startswith("第 2 步（第 8 行，")
    assert wanted in outcome.reason
    assert "不该说" not in printed


async def test_what_was_seen_instead_is_told(tmp_path: Path) -> None:
    await shown_first(tmp_path, CARD)
    outcome, _ = await play(tmp_path, "  - {expect: {title: 无}, chat: ops}\n")
    assert "看到的是：\n【已就绪】\n一切正常" in outcome.reason


# -- a bad script ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: [", "第 1 行：不是合法的 YAML"),
        ("title: 甲\ntilte: 乙\nsteps: []", "第 2 行：Object contains unknown field `tilte`"),
        ("people:\n  li: {nam: 李}\nsteps: []", "第 2 行："),
        ("title: 甲\ntitle: 乙\nsteps: []", "第 2 行：title 写了两次"),
        (f"{HEAD}steps:\n  - {{sya: x}}\n", "第 6 行，第 1 步：不认识的动作 sya"),
        (f"{HEAD}steps:\n  - {{say: x, chta: ops}}\n", "第 6 行，第 1 步：Object contains"),
        (f"{HEAD}steps:\n  - {{say: x, chat: ops}}\n", "请用 as 写明是谁"),
        (f"{HEAD}steps:\n  - {{say: x, as: li}}\n", "请用 chat 写明在哪个会话"),
        (f"{HEAD}steps:\n  - {{say: x, as: wu, chat: ops}}\n", "wu 没有在 people 里"),
        (f"{HEAD}steps:\n  - {{expect: {{}}, chat: ops}}\n", "expect 至少要写"),
        (f"{HEAD}steps:\n  - {{expect: {{title: x}}, chat: ops, within: 快}}\n", "时间请写成"),
        (f"{HEAD}steps:\n  - {{capture: x, into: y, chat: ops}}\n", "有且只有一个括号组"),
    ],
)
def test_a_bad_script_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ScriptError) as refused:
        read(text)
    assert told in str(refused.value)
    assert "行" in str(refused.value)


def test_the_documented_script_can_be_read() -> None:
    """What docs/play.md shows is what the reader takes."""
    text = (ROOT / "docs" / "play.md").read_text(encoding="utf-8")
    shown = text.split("```yaml\n")[1].split("```")[0]
    verbs = {step.act.verb for step in read(shown).steps}
    assert verbs == {
        "say", "press", "fill", "upload", "expect", "approve-many", "capture", "open", "join",
        "restart",
    }  # fmt: skip


# -- secrets, captures, links ---------------------------------------------------------------------


async def test_secrets_are_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the environment, nor from outside, nor what a hidden capture will find."""
    monkeypatch.setenv("PLAY_TOKEN", "tok-env-1")
    await shown_first(tmp_path, Card("登记", blocks=(Form("f", (Input("t", "令牌"),)),)))
    steps = """
  - {fill: 登记, as: li, chat: ops, values: {t: "env:PLAY_TOKEN"}}
  - {say: "环境 tok-env-1 给定 ${given}", as: li, chat: ops}
  - {say: "验证码 482913", as: li, chat: ops}
  - {capture: "验证码 (\\\\d+)", into: code, chat: ops, hidden: true}
  - {expect: {title: "无 ${code}"}, chat: ops}
"""
    outcome, printed = await play(tmp_path, steps, given=Secret("giv-2"))
    assert outcome.failed == 5
    for secret in ("tok-env-1", "giv-2", "482913"):
        assert secret not in printed
        assert secret not in outcome.reason
    assert "环境 *** 给定 ***" in printed
    assert "验证码 ***" in printed


async def test_a_captured_link_is_opened_with_its_code(tmp_path: Path) -> None:
    """A link and a code are taken out of a card, and sent as a form; the address stays unseen."""
    heard: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        heard.append(head.split(b"\r\n")[0].decode() + " " + body.decode())
        page = "已签收".encode()
        top = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(page)}"
        writer.write(f"{top}\r\nConnection: close\r\n\r\n".encode() + page)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        link = f"http://127.0.0.1:{port}/t/door-key"
        await shown_first(tmp_path, say("签收", f"链接 {link}", "验证码 482913"))
        steps = """
  - {capture: "链接 (\\\\S+)", into: link, chat: ops, hidden: true}
  - {capture: "验证码 (\\\\d+)", into: code, chat: ops, hidden: true}
  - {open: "${link}", method: POST, fields: {code: "${code}"}, contains: 已签收, within: 5s}
  - {open: "${link}", method: POST, fields: {code: "1"}, status: 410, within: 5s}
"""
        outcome, printed = await play(tmp_path, steps)
    assert heard[0] == "POST /t/door-key HTTP/1.1 code=482913"
    assert outcome.failed == 4
    assert "要的是 410；看到的是 200" in outcome.reason
    assert "door-key" not in printed


async def test_many_approve_one_card(tmp_path: Path) -> None:
    """Each of them presses the same button, and each press is theirs."""
    await shown_first(
        tmp_path, Card("验收", blocks=(Buttons((Button("拒绝", "no"), Button("同意", "yes"))),))
    )
    outcome, printed = await play(
        tmp_path, "  - {approve-many: [li, zhao], press: 同意, card: 验收, chat: ops}\n"
    )
    assert outcome == Outcome()
    assert "李工 按下「同意」" in printed
    async with WebChat(tmp_path / "web.sqlite") as web:
        pressed = [event async for event in _first(web, 2)]
    assert [(e.sender, e.action) for e in pressed] == [(LI, "yes"), (ZHAO, "yes")]


async def _first(web: WebChat, count: int) -> AsyncIterator[Any]:
    events = web.events()
    for _ in range(count):
        yield await anext(events)


# -- the terminal ---------------------------------------------------------------------------------


async def test_the_terminal_says_presses_and_fills(tmp_path: Path) -> None:
    """Typed on a real terminal: numbered acts, one question an input, and no echo of a secret."""
    form = Form("f", (Input("n", "名称", value="旧"), Input("p", "口令", Entry.SECRET)), "交")
    await shown_first(
        tmp_path, Card("卡", blocks=(Buttons((Button("好", "ok", confirm="确定？"),)), form))
    )
    ours, theirs = pty.openpty()
    written: list[str] = []
    try:
        async with WebChat(tmp_path / "web.sqlite") as web:
            with Descriptor(theirs) as keys:
                prompts = asyncio.Queue[str]()

                def write(text: str) -> None:
                    written.append(text)
                    prompts.put_nowait(text)

                ops = web.chats(LI)[0]
                talk = asyncio.create_task(Terminal(web, LI, ops, keys, write).talk())
                for prompt, typed in (
                    ("> ", "你好"),
                    ("> ", "/press 9"),
                    ("> ", "/press 1"),
                    ("确定？", "y"),
                    ("> ", "/fill 2"),
                    ("名称", ""),
                    ("口令", "s3cret"),
                    ("> ", "/quit"),
                ):
                    async with asyncio.timeout(5):
                        while prompt not in await prompts.get():
                            pass
                    os.write(ours, f"{typed}\n".encode())
                async with asyncio.timeout(5):
                    await talk
            said, click, sent = [event async for event in _first(web, 3)]
        echoed = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert said.text == "你好"
    assert isinstance(click, Click)
    assert click.action == "ok"
    assert isinstance(sent, Submission)
    assert sent.values == {"n": "旧", "p": "s3cret"}
    assert "你好" in echoed
    assert "s3cret" not in echoed + "".join(written)
    assert "没有这个号" in "".join(written)


async def test_the_terminal_prints_what_comes_and_ends_with_its_input(tmp_path: Path) -> None:
    """From a pipe: a card that comes is printed, a redrawn one with its new lines only."""
    out, into = os.pipe()
    written: list[str] = []
    async with WebChat(tmp_path / "web.sqlite") as web:
        ops = await web.found("运营群", [LI], chat_id="ops")
        with Descriptor(out) as keys:
            ready = asyncio.Event()

            def write(text: str) -> None:
                written.append(text)
                ready.set()

            talk = asyncio.create_task(Terminal(web, LI, ops, keys, write).talk())
            await ready.wait()
            receipt = await web.send(ops, say("进度", "甲", "乙\x1b[2J"), key="1")
            await web.edit(receipt, say("进度", "甲", "丙"))
            os.close(into)
            async with asyncio.timeout(5):
                await talk
    os.close(out)
    assert written[-2:] == [
        "\r运营群 | Vigilbot\n【进度】\n甲\n乙�[2J\n",
        "\r运营群 | Vigilbot（更新）\n丙\n",
    ]


async def test_the_terminal_reads_a_plain_file(tmp_path: Path) -> None:
    """As in `vigilbot chat < FILE`, which no selector can wait for."""
    path = tmp_path / "typed"
    path.write_text("甲\n乙", encoding="utf-8")
    file = os.open(path, os.O_RDONLY)
    with Descriptor(file) as keys:
        assert [await keys.line() for _ in range(3)] == ["甲", "乙", None]
    os.close(file)


async def test_a_chat_that_is_not_there_is_named(tmp_path: Path) -> None:
    await shown_first(tmp_path)
    keys = cast("Any", None)  # nothing is typed
    told: list[str] = []
    with pytest.raises(UsageError, match="有的是：运营群"):
        await chatted(quiet(tmp_path), LI, "没有", keys, told.append)


# -- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of a bot that was never started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PLAY_KEY", Seal.new_key().reveal())
    monkeypatch.setenv("PLAY_PASSWORD", "open-sesame-1")
    path = tmp_path / "vigilbot.toml"
    path.write_text(
        f"""
[vault]
key = "env:PLAY_KEY"
[web]
port = {port}
password = "env:PLAY_PASSWORD"
""",
        encoding="utf-8",
    )
    return path


def program(*given: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """The program itself: it starts the bot, and DBOS keeps a process' first stderr for good."""
    return subprocess.run(
        [sys.executable, "-m", "bot", *given],
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


def test_the_command_plays_against_a_configuration(tmp_path: Path, config: Path) -> None:
    """0 when all came about, 1 when a step did not, 2 when the script cannot be played."""
    path = tmp_path / "who.yaml"
    path.write_text(
        f"""{HEAD.replace("20ms", "10s")}
variables: {{command: /nothing}}
steps:
  - {{say: "${{command}}", as: li, chat: "@li"}}
  - {{expect: {{contains: 客户, new: true}}, chat: "@li"}}
  - {{restart: true}}
  - {{say: /whoami, as: li, chat: "@li"}}
  - {{expect: {{contains: 客户, new: true}}, chat: "@li", within: 300ms}}
""",
        encoding="utf-8",
    )
    told = ("play", str(path), "--config", str(config))
    good = program(*told, "--set", "command=/whoami")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "全部步骤已完成" in good.stdout
    bad = program(*told, "--set", "commando=/whoami")
    assert bad.returncode == 2
    assert "variables 里没有 commando" in bad.stderr


def test_the_command_talks_in_a_terminal(config: Path) -> None:
    """What comes through a pipe is said, and the end of the pipe ends it."""
    told = program("chat", "--config", str(config), "--as", "li", typed="你好\n/press 1\n")
    assert told.returncode == 0, told.stderr
    assert "Vigilbot · li | li\n你好" in told.stdout
    assert "没有这个号" in told.stdout


def test_the_command_names_a_chat_that_is_not_there(config: Path) -> None:
    told = program("chat", "--config", str(config), "--as", "li", "--chat", "无")
    assert told.returncode == 2
    assert "li 没有会话「无」" in told.stderr

"""One onboarding with secrets that are known, and then a search for every one of them, everywhere."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sqlite3
import threading
import traceback
import zipfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from adapters.card import plain
from adapters.llm import OpenAiModel
from adapters.port import Account, Login, OutsideError, Paper
from adapters.webchat.wire import post_to_json
from adapters.words import Chat, Secret
from bot.demo.auto import SCRIPT
from bot.demo.hosts import Spec, Sudo
from bot.demo.world import KEY, LI, PEOPLE, vault_key
from bot.play.player import Player, Started
from bot.play.script import read
from storage.vault import Seal
from tests.e2e.stage import MANAGED, QIAN, Stage, sheet, stage
from tests.e2e.test_demo import started as demo_process

pytestmark = [
    pytest.mark.xdist_group("ports"),  # worlds side by side would plan the same ports
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

COMPANY = "海蓝科技"
WORDS = {
    "password of web-01": "Geheim-web01-7dK2pQ",
    "password of app-01": "Geheim-app01-9xW4mZ",
    "password of db-01": "Geheim-db01-3cV8rT",
    "password of managed-01": "Geheim-mgd01-5hN6yB",
    "AI key": "sk-geheim-ai-1q2w3e4r5t",
}
WRONG = Secret("Geheim-falsch-8sL1vD")
"""What is shown to every adapter to make it fail."""
PASSWORD_ON_PAGE = re.compile(r"<td>初始密码</td><td>([^<]+)</td>")
LINES = {"title", "people", "variables", "within"}
SAMPLE = 0.03
"""Seconds between two looks at the machine's process list."""


class Seen:
    """What was found where: pieces of text and bytes under the name of the place."""

    def __init__(self) -> None:
        self.places: dict[str, bytes] = {}

    def add(self, place: str, what: str | bytes) -> None:
        raw = what if isinstance(what, bytes) else what.encode(errors="replace")
        self.places[place] = self.places.get(place, b"") + b"\n" + raw

    def holding(self, secret: str) -> set[str]:
        """Return the places that hold it; six digits of a longer number or time are none of it."""
        raw = secret.encode()
        if not secret.isdecimal():
            return {place for place, text in self.places.items() if raw in text}
        alone = re.compile(rb"(?<![\w.])" + raw + rb"(?!\w)")
        return {place for place, text in self.places.items() if alone.search(text)}


class Watched(threading.Thread):
    """Reads every command line of this machine, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lines: set[bytes] = set()
        self.end = threading.Event()

    def run(self) -> None:
        while not self.end.wait(SAMPLE):
            for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - the quickest
                try:
                    self.lines.add(Path(f"/proc/{pid}/cmdline").read_bytes())
                except OSError:
                    continue  # it has ended


@contextmanager
def watched() -> Iterator[Watched]:
    watch = Watched()
    watch.start()
    try:
        yield watch
    finally:
        watch.end.set()
        watch.join()


def parts() -> tuple[str, str]:
    """Return the demo's own script, cut at the contract's gate."""
    whole = yaml.safe_load(SCRIPT.read_text(encoding="utf-8"))
    head = {key: value for key, value in whole.items() if key in LINES}
    steps: list[dict[str, Any]] = whole["steps"]
    cut = next(n for n, step in enumerate(steps) if step.get("press") == "确认合同已签")
    first = [
        {**step, "values": _uploaded(step["values"])} if "fill" in step else step
        for step in steps[:cut]
    ]
    return _script(head, first), _script(head, steps[cut:])


def _uploaded(values: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in values.items() if name != "servers"}
    return {**kept, "file": "file:servers.csv"}


def _script(head: dict[str, Any], steps: list[dict[str, Any]]) -> str:
    return yaml.safe_dump({**head, "steps": steps}, allow_unicode=True, sort_keys=False)


async def play(text: str, on: Stage, told: list[str], folder: Path) -> None:
    @asynccontextmanager
    async def started() -> AsyncIterator[Started]:
        yield on

    outcome = await Player(read(text), started, told.append, {}, folder).play()
    assert not outcome.failed, "\n".join((outcome.reason, *told[-40:]))


def opened(store: Path, key: Secret) -> dict[str, str]:
    """Return every secret of the vault, opened, by its name."""
    seal = Seal(key)
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT name, sealed FROM vault").fetchall()
    return {name: seal.open(name, raw).reveal() for name, raw in rows}


def unpacked(name: str, content: bytes) -> Iterable[tuple[str, bytes]]:
    """Yield a file, and the parts of one that is an archive."""
    yield name, content
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for part in archive.namelist():
                yield f"{name}/{part}", archive.read(part)


def allowed(name: str, place: str) -> bool:
    """May a secret of this name be in this place?"""
    kind, _, whose = name.partition(" of ")
    instance = r"file hosts/managed-01/opt/vigilbot/[^/]+/"
    where = {
        "password": r"file hosts/hosts\.json",  # the sandbox's own note of how to get in
        "AI key": rf"{instance}world\.json",  # what the stand-in of VigilOps remembers
        "hook token": rf"{instance}world\.json",
        "agent token": rf"file hosts/{whose}/etc/vigilops/agent\.yaml|{instance}world\.json",
        "vault key": r"file vault\.key",
        "instance secret": rf"{instance}(backups/[^/]+)?\.env",
        # The two direct messages that hand a link over, which nobody else sees.
        "link token": r"direct chat of li|file webchat\.sqlite",
        "link code": r"direct chat of li|file webchat\.sqlite",
    }.get(kind, "")
    return bool(re.fullmatch(where, place))


@pytest.mark.timeout(150)
async def test_no_secret_is_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Everything that was said, written, run, logged and raised, and every file of the machine."""
    caplog.set_level(logging.DEBUG)
    seen, secrets = Seen(), dict(WORDS)
    with watched() as watch:
        await onboarded(tmp_path, seen, secrets)
    for path in filter(Path.is_file, sorted((tmp_path / "world").rglob("*"))):
        seen.add(f"file {path.relative_to(tmp_path / 'world')}", path.read_bytes())
    seen.add("log", re.sub(r"datetime\.datetime\([^)]*\)", "", caplog.text))
    for name, text in zip(("stdout", "stderr"), capfd.readouterr(), strict=True):
        seen.add(name, text)
    for line in watch.lines:
        seen.add("process list", line)
    await note_pages(tmp_path / "world", seen)
    secrets |= {
        "vault key": vault_key(tmp_path / "world" / KEY).reveal(),
        "session": "eyJhbGciOiJIUzI1NiJ9.",
    }
    strange = {
        f"{name}: {place}"
        for name, secret in secrets.items()
        for place in seen.holding(secret)
        if not allowed(name, place)
    }
    assert not strange
    assert {name.partition(" of ")[0] for name in secrets} >= EXPECTED
    # The search does find what is there, and who may not read it cannot.
    for secret in secrets.values():
        for place in seen.holding(secret):
            kind, _, file = place.partition(" ")
            if kind == "file" and not file.endswith("world.json"):
                assert (tmp_path / "world" / file).stat().st_mode & 0o077 == 0, place
    for name in ("password of web-01", "agent token of db-01", "hook token", "link code"):
        assert seen.holding(secrets[name]), name


EXPECTED = {
    "password",
    "AI key",
    "customer key",
    "agent token",
    "monitor password",
    "instance secret",
    "hook token",
    "link token",
    "link code",
    "login password",
    "wrong password",
    "session",
}


async def onboarded(folder: Path, seen: Seen, secrets: dict[str, str]) -> None:
    """Take a customer from /onboard to the account that was handed over, and note what was seen."""

    def known(name: str) -> Secret:
        return Secret(WORDS[f"password of {name}"])

    specs = (
        Spec("web-01", password=known("web-01"), sudo=Sudo.PASSWORD),
        Spec("app-01", password=known("app-01")),
        Spec("db-01", password=known("db-01")),
        Spec(MANAGED, password=known(MANAGED)),
    )
    told: list[str] = []
    first, second = parts()
    world, uploads = folder / "world", folder / "uploads"
    for each in (world, uploads):
        each.mkdir()
    async with stage(world, specs, ai_key=WORDS["AI key"]) as on:
        # web-01 has a sudo password; db-01 has none at all: its customer pastes our public key.
        web, app, db = on.hosts.specs[:3]
        rows = [
            (web.name, web.host, web.port, web.user, web.password.reveal(), web.password.reveal()),
            (app.name, app.host, app.port, app.user, app.password.reveal(), ""),
            (db.name, db.host, db.port, db.user, "", ""),
        ]
        (uploads / "servers.csv").write_bytes(sheet(rows, "sudo密码").content)
        await play(first, on, told, uploads)
        (uploads / "servers.csv").unlink()
        group = await on.group(COMPANY)
        await on.introduce(group)
        on.hosts["db-01"].authorize(await public_key(on, group))
        await play(second, on, told, uploads)
        secrets |= named(opened(world / "vigilbot.db", vault_key(world / KEY)))
        secrets |= await handed_over(on, seen)
        await asked_again(on, group)
        seen.add("told by the player", "\n".join(told))
        for note in [note_chats, note_hosts, note_rows, note_errors]:
            await note(on, seen)
    secrets["wrong password"] = WRONG.reveal()


async def public_key(on: Stage, group: Chat) -> str:
    before = on.ids(group)
    await on.webchat.say(LI, group, "/server key")
    post = await on.until(lambda: on.new(group, before, "SSH 公钥"))
    assert post.card
    return next(line for line in plain(post.card).splitlines() if line.startswith("ssh-"))


def named(vault: dict[str, str]) -> dict[str, str]:
    """Return the vault's secrets under the names of the search."""
    found: dict[str, str] = {}
    for name, secret in vault.items():
        match name.split(":"):
            case ["customer", _, "ssh_key"]:
                # The words around it are the same in every key, and line ends may be changed.
                found["customer key"] = secret.splitlines()[2]
            case ["server", number, "agent_token"]:
                host = ("web-01", "app-01", "db-01")[int(number) - 1]
                found[f"agent token of {host}"] = secret
            case ["monitor", _, "password"]:
                found["monitor password"] = secret
            case ["instance", _, "env", key]:
                found[f"instance secret of {key}"] = secret
            case ["customer", _, "login"]:
                found["login password"] = secret
            case ["hook", *_] | ["hooks", *_] | [_, _, "hook"]:
                found["hook token"] = secret
    return found


async def handed_over(on: Stage, seen: Seen) -> dict[str, str]:
    """Open the link of the account as the customer does, and return what was told for it."""
    direct = await on.webchat.direct(LI)
    words = "\n".join(post.text for post in on.webchat.history(direct))
    address, code = re.search(r"http\S+/links/(\S+)", words), re.search(r"验证码：(\d{6})", words)
    assert address
    assert code
    async with httpx.AsyncClient() as client:
        asked = await client.get(address[0])
        shown = await client.post(address[0], data={"code": code[1]})
        again = await client.post(address[0], data={"code": code[1]})
    seen.add("page of the link", asked.text + again.text)
    password = PASSWORD_ON_PAGE.search(shown.text)
    assert password
    return {"link token": address[1], "link code": code[1], "login password": password[1]}


async def asked_again(on: Stage, group: Chat) -> None:
    """Have what the bot knows of the customer told once more."""
    for words in ("/status", "/server list", "/whoami"):
        before = on.ids(group)
        await on.webchat.say(LI, group, words)
        await on.until(lambda before=before: on.new(group, before, ""))  # type: ignore[misc]


async def note_chats(on: Stage, seen: Seen) -> None:
    """Every message, card and document of every chat."""
    chats = {chat.id: chat for one in (*PEOPLE, QIAN) for chat in on.webchat.chats(one)}
    for chat in chats.values():
        member = on.webchat.members(chat)[0]
        where = f"direct chat of {member.id}" if on.webchat.is_direct(chat) else f"chat {chat.id}"
        for post in on.webchat.history(chat):
            seen.add(where, post_to_json(post))
            for file in post.files:
                content = on.webchat.content(file.id, member)
                assert content
                for name, raw in unpacked(file.name, content.content):
                    seen.add(f"document {name}", raw)


async def note_hosts(on: Stage, seen: Seen) -> None:
    """Every command line that a host was sent, and what its docker was told."""
    for host in on.hosts:
        seen.add(f"commands of {host.spec.name}", "\n".join(host.commands))
        seen.add(f"docker of {host.spec.name}", "\n".join(host.docker_calls))


async def note_pages(world: Path, seen: Seen) -> None:
    """What the chat and the console show to whoever opens them; both pages hold their content."""
    async with demo_process(world) as (_, address), httpx.AsyncClient(base_url=address) as client:
        for path in ("/console", "/chat?who=zhao", "/chat?who=wang", "/metrics", "/healthz"):
            page = await client.get(path)
            assert page.status_code == 200, path
            seen.add(f"page {path}", page.text)
    assert COMPANY.encode() in seen.places["page /console"]


async def note_rows(on: Stage, seen: Seen) -> None:
    """The audit trail, and what was sent, documents unpacked."""
    async with on.store.view() as unit:
        seen.add("audit trail", repr(await unit.audit.entries()))
    with sqlite3.connect(f"file:{on.directory / 'vigilbot.db'}?mode=ro", uri=True) as db:
        for number, (name, raw) in enumerate(db.execute("SELECT file_name, file FROM outbox")):
            for part, content in unpacked(name, raw):
                seen.add(f"delivery {number} {part}", content)


async def note_errors(on: Stage, seen: Seen) -> None:
    """What each adapter raises, with every local variable on its way."""
    spec = on.hosts["web-01"].spec
    login = Login(spec.host, spec.port, spec.user, WRONG)
    sudo = replace(login, password=spec.password, sudo_password=WRONG)
    address = json.loads((await on.runs())[0].case)["url"]
    watch = on.kit.monitors.at(address, Account("nobody@example.com", WRONG))
    paper = Paper("report-template", "x.docx", {"company": WRONG})

    async def enter(login: Login) -> None:
        async with on.kit.servers.shell(login) as shell:
            await shell.run("true", root=True)

    async def ask() -> None:
        async with OpenAiModel(on.kit.house.ai_url, "demo", WRONG) as model:
            await model.ask("s", "q")

    for name, act in (
        ("login", lambda: enter(login)),
        ("sudo", lambda: enter(sudo)),
        ("key", lambda: enter(replace(login, key=WRONG))),
        ("monitor", watch.me),
        ("model", ask),
        ("documents", lambda: on.kit.documents.write(paper)),
    ):
        with pytest.raises(OutsideError) as raised:
            await act()
        shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
        seen.add(f"error of {name}", "".join(shown.format()))

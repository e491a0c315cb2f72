"""Killed with SIGKILL at any instant and started again until done: nothing lost, nothing twice.

`make test` kills at a few instants drawn from a seed (`VIGILBOT_SEED` gives the same again);
`make chaos` kills at every one on SQLite and at every third on PostgreSQL.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapters.card import Buttons, Form, Tone, plain
from adapters.webchat.link import WebChat
from adapters.webchat.wire import Post
from storage.audit import first_break
from storage.records import EffectState, LineState, RunStatus
from storage.store import Store
from storage.vault import Seal
from tests.chaos.child import HOSTS, ZHAO
from tests.chaos.mother import KILLED, Mother, mother

SEED = int(os.environ.get("VIGILBOT_SEED") or random.SystemRandom().randrange(1_000_000))
KILLS = 5
"""In the short form, on each database."""
INSTANTS = 60
"""The short form draws from so many of each process: up to the gate there are about 40 of them,
behind it over 100."""
NEVER = "0"
SHARDS = 4
"""Parts of the long form, for as many workers."""
STRIDE = {"sqlite": 1, "postgresql": 3}
"""The long form kills at each so-manieth instant: a story is told in about 4 s."""
LOOKS = 15
"""Restarts after the last kill before we say that it never ends."""


@dataclass
class Story:
    """One run, from its first start to its end, killed on the way."""

    folder: Path
    url: str
    deaths: int = 0
    asked: bool = False
    """Did the card have to ask a person about a deed in doubt?"""
    instants: list[int] = field(default_factory=list)
    """How many instants each process lived that was not killed."""

    async def tell(self, kills: Iterable[str]) -> None:
        """Start the bot again and again until its run is done."""
        left = iter(kills)
        quiet = 0
        async with mother("tests.chaos.child") as born:
            while quiet < LOOKS:
                kill_at = next(left, NEVER)
                quiet += kill_at == NEVER
                status = await self._life(born, kill_at)
                if status == RunStatus.DONE:
                    return
                if status == RunStatus.WAITING:
                    await self._press_twice()
                elif status == RunStatus.STUCK:
                    await self._answer()
        raise AssertionError(f"not done: {status}")

    async def _life(self, born: Mother, kill_at: str) -> str:
        """Run the bot until it has nothing to do, or dies; return its run's status then."""
        code, said = await born.life(str(self.folder), self.url, kill_at)
        if kill_at != NEVER and code == KILLED:
            self.deaths += 1
            return "killed"
        assert code == 0, said
        told = json.loads(said[-1])
        self.instants.append(told["instants"])
        return str(told["status"])

    async def _press_twice(self) -> None:
        async with WebChat(self.folder / "web.sqlite") as web:
            (card,) = cards(web, "样例")
            (action,) = [
                button.action
                for block in (card.card.blocks if card.card else ())
                if isinstance(block, Buttons)
                for button in block.buttons
            ]
            for _ in range(2):
                await web.press(ZHAO, card.chat, card.id, action)

    async def _answer(self) -> None:
        """The card asks about the deed that leaves no trace; a lead rings them up, and answers."""
        async with WebChat(self.folder / "web.sqlite") as web:
            (card,) = cards(web, "样例")
            assert card.card is not None
            assert "对方没有回答是否已经执行（可能已执行，请核实后再决定）" in plain(card.card)
            (form,) = [block for block in card.card.blocks if isinstance(block, Form)]
            await web.submit(ZHAO, card.chat, card.id, form.action, {"reason": "已核实：打过了"})
        self.asked = True

    async def check(self) -> None:
        """Assert what must be true at the end, whatever happened on the way."""
        self._check_world()
        await self._check_memory()
        async with WebChat(self.folder / "web.sqlite") as web:
            (living,) = cards(web, "样例")
            assert living.card is not None
            assert living.card.tone is Tone.GOOD
            text = plain(living.card)
            assert "6/6" in text
            assert "✅ 安装 Agent（8/8 台完成）" in text
            assert "✅ 完成" in text
            assert "[" not in text, "a finished card has no buttons"
            posts = web.history(living.chat)
            assert len(cards(web, "交付报告")) == 1
            assert len(cards(web, "请再看一下")) == 1, "the second press is told that it is late"
            assert [f.name for post in posts for f in post.files] == ["report.txt"]
            assert len(posts) == 4
            assert len(web.chats(ZHAO)) == 1

    def _check_world(self) -> None:
        words = Counter((self.folder / "world.log").read_text().splitlines())
        deeds = ["r1:group:found", "r1:call:call", "r1:close:close"]
        deeds += [f"r1:install:{host}:install" for host in HOSTS]
        for deed in deeds:
            begun = words[f"begun {deed}"]
            # In doubt, the call may never have been made: that is why a person was asked.
            assert begun == 1 or (deed == "r1:call:call" and self.asked and not begun), deed
            assert begun == 0 or deed == "r1:call:call" or words[f"finished {deed}"] == 1, deed
        assert bool(words["asked r1:call:call"]) == self.asked

    async def _check_memory(self) -> None:
        async with Store(self.url, Seal(Seal.new_key())) as store, store.view() as unit:
            run = await unit.runs.get("r1")
            lines = await unit.lines.of("r1")
            hosts = await unit.lines.hosts("r1", "install")
            trail = await unit.audit.entries()
            doubt = await unit.effects.in_doubt("r1")
        assert run is not None
        assert run.status is RunStatus.DONE
        assert {name for name, host in hosts.items() if host.state is LineState.DONE} == set(HOSTS)
        skipped = {key for key, line in lines.items() if line.state is LineState.SKIPPED}
        assert skipped == ({"call"} if self.asked else set())
        assert len(lines) == 6
        assert first_break(trail) is None
        assert Counter(entry.deed for entry in trail) == {"report": 1} | dict.fromkeys(
            ["skip"] if self.asked else [], 1
        )
        assert [(effect.state, effect.line) for effect in doubt] == [
            (EffectState.BEGUN, line) for line in skipped
        ]


def cards(web: WebChat, title: str) -> list[Post]:
    """Return the posts in the customer's group whose card has that head."""
    (group,) = web.chats(ZHAO)
    return [post for post in web.history(group) if post.card and post.card.title.startswith(title)]


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of this test's own, of the kind that it is parametrized with."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    return fresh(request.getfixturevalue("postgres"), "chaos")


def fresh(server: str, name: str) -> str:
    """Make an empty database on a PostgreSQL server and return its address."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)

# A story is about ten starts of the program: 10 s when the machine is idle.
pytestmark = pytest.mark.timeout(300)


@both
async def test_a_bot_killed_at_a_few_instants_does_everything_once(
    database: str, tmp_path: Path
) -> None:
    print(f"VIGILBOT_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(SEED)
    story = Story(tmp_path, database)
    await story.tell(str(dice.randint(1, INSTANTS)) for _ in range(KILLS))
    await story.check()


async def test_a_deed_that_leaves_no_trace_is_asked_about(tmp_path: Path) -> None:
    """Killed between the call and its record: nobody can know, so the card asks."""
    story = Story(tmp_path, f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}")
    await story.tell(["finished r1:call:call"])
    assert (story.deaths, story.asked) == (1, True)
    await story.check()


@pytest.mark.chaos_long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("before", [[], ["0"]], ids=["up to the gate", "behind the gate"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_bot_killed_at_any_instant_does_everything_once(
    kind: str, before: list[str], shard: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stride = STRIDE[kind]
    killed, instant = True, shard * stride + 1
    while killed:
        folder = tmp_path / str(instant)
        folder.mkdir()
        url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
        if kind == "postgresql":
            url = fresh(request.getfixturevalue("postgres"), f"chaos_{shard}")
        story = Story(folder, url)
        await story.tell([*before, str(instant)])
        await story.check()
        # A process that ends before its instant has no later ones either.
        killed = bool(story.deaths)
        instant += SHARDS * stride

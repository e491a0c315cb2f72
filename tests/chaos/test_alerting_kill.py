"""Killed with SIGKILL at any instant, while monitors post, people acknowledge and alarms climb: every
alert that was answered 200 is there, each is told once, and nobody who was due was missed.

Monitors and people live in this process, which stays; chat and rows are in files or in PostgreSQL.
Half of the lives end after so many answers, wherever the bot is then, the others at a commit or
at a word to the chat. `make test` kills a few times, drawn from a seed (`VIGILBOT_SEED`); `make
chaos` does it often.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from adapters.card import Fields, Style, Text
from adapters.webchat.link import WebChat
from adapters.webchat.wire import Post
from adapters.words import Role, Secret, Severity
from runbooks.alerting.oncall import rungs, watchdog
from runbooks.walk import OPERATIONS
from storage.records import Customer, Incident, KnownAlert, Member, StormPhase
from storage.roster import Callee, Layer, Level, Policy, Roster, Rung, RungState, Way
from storage.store import Store
from storage.vault import Seal
from tests.chaos.alerting import EPOCH, LI, ZHAO, RacingClock
from tests.chaos.mother import KILLED, Mother, mother
from tests.chaos.test_kill import NEVER, SEED, both, database

__all__ = ["database"]  # the fixture

KILLS = 5
OFTEN = 80
INSTANTS = 250
"""A life that is killed at an instant is so at one of the first so many: it opens with about ten."""
ANSWERS = 100
"""One that is killed from outside is so after so many answers, at the most."""
LONGER = 6
"""In the long form both are so many times as many."""
MONITORS = 6
NOISY, QUIET = "noisy", "quiet"
RULES = 12
CRITICALS = 12
"""New criticals in one life, at the most."""
LATELY = 100
"""A monitor repeats and ends those of its alerts that it last posted."""
BUSY = (200, 503)
SELDOM = 4
"""Lives from one alert of the quiet customer to the next: so few are never a storm."""
ENDS = {RungState.DUE, RungState.DONE, RungState.STOPPED, RungState.WITHDRAWN}
LADDER = Policy((Level(1), Level(2, 1)))
FINE = re.compile(r"晚了 \d+ 秒|确认之前 \d+ 秒到期，没有执行")
"""What the watchdog may say: a bot that was dead is late, and names it."""

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Word:
    """What a monitor says of one alert."""

    fingerprint: str
    rule: str
    severity: str
    firing: bool = True


@dataclass
class Monitor:
    """Posts as Prometheus does: one post after another, each until it is answered 200."""

    name: str
    dice: random.Random
    known: list[Word] = field(default_factory=list)
    """Its alerts in the order in which they began, each as it was last answered."""
    criticals: int = 0
    """That it may still begin in this life."""

    def post(self) -> list[Word]:
        """Return what it posts next: new alerts, repeats, or ends."""
        lately = [word for word in self.known[-LATELY:] if word.firing]
        drawn = self.dice.random()
        if drawn < 0.2 or not lately:
            return [self._new(len(self.known) + n) for n in range(self.dice.randint(1, 6))]
        some = self.dice.sample(lately, min(len(lately), self.dice.randint(1, 6)))
        if drawn < 0.85:
            return some
        return [Word(each.fingerprint, each.rule, each.severity, firing=False) for each in some]

    def answered(self, said: Sequence[Word]) -> None:
        """Keep what was answered 200."""
        place = {word.fingerprint: n for n, word in enumerate(self.known)}
        for word in said:
            if word.fingerprint in place:
                self.known[place[word.fingerprint]] = word
            else:
                self.known.append(word)

    def _new(self, number: int) -> Word:
        critical = self.criticals > 0 and self.dice.random() < 0.1
        self.criticals -= critical
        severity = "critical" if critical else self.dice.choice(("warning", "info"))
        rule = f"Rule{self.dice.randrange(RULES):02}"
        return Word(f"{self.name}-{number:06}", rule, severity)


def body(said: Sequence[Word]) -> bytes:
    """Return the words as Alertmanager's webhook says them."""
    alerts = [
        {
            "status": "firing" if word.firing else "resolved",
            "labels": {
                "alertname": word.rule,
                "instance": word.fingerprint,
                "severity": word.severity,
            },
            "annotations": {},
            "startsAt": "2026-11-25T03:00:00Z",
            "fingerprint": word.fingerprint,
        }
        for word in said
    ]
    return json.dumps({"version": "4", "alerts": alerts}).encode()


@dataclass
class Life:
    """One bot, from its start to its death."""

    pid: int
    left: int
    """Answers until it is killed; below 0 it is not."""
    address: str = ""
    code: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self) -> None:
        self.left -= 1
        if self.left == 0 and self.code is None:
            os.kill(self.pid, signal.SIGKILL)


@dataclass
class Story:
    """The bot's lives, and those who post to it through all of them."""

    folder: Path
    url: str
    dice: random.Random
    began: float
    born: Mother
    web: httpx.AsyncClient
    monitors: list[Monitor] = field(default_factory=list)
    deaths: int = 0
    over: bool = False
    _life: Life | None = None
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    # -- the bot ------------------------------------------------------------------------------

    async def tell(self, kills: int, longer: int) -> None:
        """Let monitors post while the bot dies so often, then let it do what is left and end."""
        quiet = Monitor(QUIET, self.dice)
        async with asyncio.TaskGroup() as group:
            posting = [group.create_task(self._watch(monitor)) for monitor in self.monitors]
            for number in range(kills):
                for monitor in self.monitors:
                    monitor.criticals = CRITICALS // MONITORS
                if number % SELDOM == 0:
                    posting.append(group.create_task(self._say(quiet, [only(number)])))
                after = self.dice.randint(1, ANSWERS * longer) if number % 2 else -1
                instant = NEVER if number % 2 else str(self.dice.randint(1, INSTANTS * longer))
                life = await self._live(instant, after)
                await life.ended.wait()
                self.deaths += 1
                assert life.code == KILLED, f"VIGILBOT_SEED={SEED}"
                await self._acknowledge()
            self.over = True
            life = await self._live(NEVER, -1)
            dying = group.create_task(life.ended.wait())
            answered = group.create_task(asyncio.wait(posting))
            await asyncio.wait([dying, answered], return_when=asyncio.FIRST_COMPLETED)
            assert life.code is None, f"VIGILBOT_SEED={SEED}"
            os.kill(life.pid, signal.SIGTERM)
            await dying
        assert life.code == 0, f"VIGILBOT_SEED={SEED}"
        self.monitors.append(quiet)

    async def _live(self, instant: str, answers: int) -> Life:
        """Begin a life, and return it once it listens, or is over before."""
        words = (str(self.folder), self.url, str(self.began), instant)
        life = Life(await self.born.begin(*words), answers)
        word, number = (await self.born.line()).split()
        if word == "listens":
            life.address = f"http://127.0.0.1:{number}"
            self._life = life
            self._begun.set()
            self._dying = asyncio.create_task(self._dies(life))
        else:
            life.code = int(number)
            life.ended.set()
        return life

    async def _dies(self, life: Life) -> None:
        life.code, said = await self.born.end()
        assert not said
        self._begun.clear()
        self._life = None
        life.ended.set()

    # -- those who post -----------------------------------------------------------------------

    async def _watch(self, monitor: Monitor) -> None:
        while not self.over:
            await self._say(monitor, monitor.post())

    async def _say(self, monitor: Monitor, said: Sequence[Word]) -> None:
        """Post until it is answered 200, whoever is alive then."""
        while not await self._posted(f"/hooks/alertmanager/{token(monitor.name)}", body(said)):
            continue
        monitor.answered(said)

    async def _posted(self, path: str, content: bytes) -> bool:
        while self._life is None:
            await self._begun.wait()
        life = self._life
        try:
            answer = await self.web.post(life.address + path, content=content)
        except httpx.TransportError:
            await life.ended.wait()
            return False
        assert answer.status_code in BUSY, answer.text
        life.answered()
        return answer.status_code == BUSY[0]

    # -- people -------------------------------------------------------------------------------

    async def _acknowledge(self) -> None:
        """While the bot is dead, somebody types that they take care of what is open."""
        clock = RacingClock(self.began)
        async with opened(self.url) as store, store.view() as unit:
            customer = await unit.customers.get(1)
            assert customer
            assert customer.chat
            there = [i for i in await unit.incidents.open_of(1) if i.critical_at]
        if there and self.dice.random() < 0.5:
            incident = self.dice.choice(there)
            async with WebChat(self.folder / "web.sqlite", now=clock.now) as web:
                await web.say(LI, customer.chat, f"/ack {incident.id}")


def only(number: int) -> Word:
    """Return an alert of the quiet customer: each is of a rule of its own."""
    severity = "critical" if number % (2 * SELDOM) == 0 else "warning"
    return Word(f"{QUIET}-{number:06}", f"Only{number:03}", severity)


def token(name: str) -> str:
    """Return the hook's token of a monitor's customer."""
    return (QUIET if name == QUIET else NOISY) * 9


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    async with Store(url, Seal(Seal.new_key())) as store:
        yield store


async def begin(folder: Path, url: str) -> None:
    """Two customers with their groups, tokens, people on call and policies."""
    async with WebChat(folder / "web.sqlite") as web, opened(url) as store:
        await store.create()
        async with store.unit() as unit:
            for name in (NOISY, QUIET):
                group = await web.open_chat(name, [LI, ZHAO], key=name)
                customer = await unit.customers.add(Customer(0, name, name, EPOCH, group))
                await unit.hooks.add(customer.id, "alertmanager", Secret(token(name)), EPOCH)
                layer = Layer("主值班", ("李工", "赵工"), date(2026, 11, 23))
                callees = (Callee("李工"), Callee("赵工"))
                await unit.oncall.save(Roster(customer.id, "Asia/Shanghai", callees, (layer,)))
                await unit.escalations.set_policy(customer.id, LADDER)
            for person in (LI, ZHAO):
                await web.direct(person)
                await unit.people.put(Member(person, Role.ENGINEER))
            await unit.outbox.mark(OPERATIONS, await web.open_chat("运维", [LI], key="o"), EPOCH)


# -- what must be true at the end -------------------------------------------------------------


@dataclass
class Ledger:
    """What rows and chat hold when all is over."""

    alerts: dict[str, KnownAlert]
    incidents: list[Incident]
    storms: dict[str, int]
    """How many each customer had."""
    rungs: list[Rung]
    wrong: list[str]
    """What the watchdog says of the calls that were due."""
    posts: Mapping[str, Sequence[Post]]
    """By the title of the chat."""

    def of(self, customer: int) -> list[Incident]:
        return [each for each in self.incidents if each.customer == customer]

    def titles(self, chat: str) -> list[str]:
        return [post.card.title for post in self.posts[chat] if post.card]


async def read(story: Story) -> Ledger:
    names = [word.fingerprint for monitor in story.monitors for word in monitor.known]
    async with opened(story.url) as store, store.view() as unit:
        alerts: dict[str, KnownAlert] = {}
        incidents: list[Incident] = []
        storms: dict[str, int] = {}
        called: list[Rung] = []
        for customer in await unit.customers.all():
            known = await unit.incidents.known(
                customer.id, [("alertmanager", name) for name in names]
            )
            alerts |= {name: alert for (_, name), alert in known.items()}
            incidents += await unit.incidents.open_since(customer.id, EPOCH)
            storm = await unit.incidents.storm(customer.id)
            assert storm.phase is StormPhase.NORMAL
            storms[customer.name] = storm.number
            for climb in await unit.escalations.since(customer.id, EPOCH):
                called += await unit.escalations.rungs(climb.incident, climb.round)
        until = EPOCH + timedelta(days=1)
        last = max((rung.at for rung in called if rung.at), default=until)
        found, _ = await watchdog.judged(watchdog.EARLIEST, last, unit)
    async with WebChat(story.folder / "web.sqlite") as web:
        chats = {chat for person in (LI, ZHAO) for chat in web.chats(person)}
        posts = {chat.title: web.history(chat) for chat in chats}
    return Ledger(alerts, incidents, storms, called, [each.why for each in found], posts)


async def check(story: Story) -> None:
    ledger = await read(story)
    check_alerts(story, ledger)
    check_mentions(ledger)
    check_cards(ledger)
    check_calls(ledger)


def check_alerts(story: Story, ledger: Ledger) -> None:
    """Every alert that was answered 200 is there, as it was last said, in an incident."""
    numbers = {each.id for each in ledger.incidents}
    for monitor in story.monitors:
        for word in monitor.known:
            alert = ledger.alerts.get(word.fingerprint)
            assert alert, f"{word} is lost, VIGILBOT_SEED={SEED}"
            assert (alert.firing, alert.severity) == (word.firing, Severity(word.severity)), word
            # What began and ended before it was folded is in none, unless it was critical.
            assert alert.incident in numbers or not (alert.incident or alert.firing), word


def check_mentions(ledger: Ledger) -> None:
    """Each critical is told in one message, and each end of an incident."""
    for number, name in enumerate((NOISY, QUIET), 1):
        named: Counter[str] = Counter()
        more = 0
        for post in ledger.posts[name]:
            if post.card and post.card.title.startswith("🔴 新的严重告警"):
                for block in post.card.blocks:
                    if isinstance(block, Text) and block.style is Style.PLAIN:
                        named.update(re.findall(r"(?:m\d|quiet)-\d{6}", block.text))
                    elif isinstance(block, Fields):
                        more += int(block.pairs[0][1])
        critical = {
            alert.fingerprint
            for alert in ledger.alerts.values()
            if alert.customer == number and alert.severity is Severity.CRITICAL and alert.incident
        }
        assert set(named) <= critical
        assert set(named.values()) <= {1}, f"{named.most_common(3)}, VIGILBOT_SEED={SEED}"
        assert len(named) + more == len(critical), f"VIGILBOT_SEED={SEED}"


def check_cards(ledger: Ledger) -> None:
    """One living card for each incident and each storm, one summary for each storm."""
    for number, name in enumerate((NOISY, QUIET), 1):
        titles = ledger.titles(name)
        shown = Counter(title.partition("告警：")[2] for title in titles if " 告警：" in title)
        there = Counter(each.title for each in ledger.of(number))
        assert shown <= there, f"{shown - there}, VIGILBOT_SEED={SEED}"
        ended = Counter(t.partition("：")[2] for t in titles if t.startswith("✅ 已恢复："))
        assert ended <= there, f"{ended - there}, VIGILBOT_SEED={SEED}"
        cards = sum(title.startswith(("🌪️ 告警风暴", "✅ 告警风暴已结束")) for title in titles)
        assert (cards, titles.count("告警风暴总结")) == (ledger.storms[name],) * 2
        if name == QUIET:
            assert ledger.storms[name] == 0
            assert shown == there, "who has no storm sees every incident"
    assert ledger.storms[NOISY] > 0


def check_calls(ledger: Ledger) -> None:
    """Nobody was missed, nobody called twice or after an answer; and what was late is named."""
    assert not [why for why in ledger.wrong if not FINE.fullmatch(why)], ledger.wrong
    done = [rung for rung in ledger.rungs if rung.state is RungState.DONE]
    assert {rung.state for rung in ledger.rungs} <= ENDS
    # One call may tell of many incidents: their rows name the first one's key.
    keys = {way: {rung.told for rung in done if rung.way is way} for way in Way}
    in_groups = [title for name in (NOISY, QUIET) for title in ledger.titles(name)]
    called = sum(title.startswith("告警升级 @") for title in in_groups)
    assert called == len(keys[Way.MENTION]), f"VIGILBOT_SEED={SEED}"
    rung_ = [post for name in (LI, ZHAO) for post in ledger.posts[f"Vigilbot · {name.name}"]]
    assert sum(post.urgent for post in rung_) == len(keys[Way.RING]), f"VIGILBOT_SEED={SEED}"
    assert "" not in keys[Way.MENTION] | keys[Way.RING]
    late = sum(rung.at is not None and rung.at - rung.due > rungs.LATE for rung in done)
    confessed = [
        int(block.text.partition(" ")[0])
        for post in ledger.posts["运维"]
        if post.card and post.card.title == "升级晚了"
        for block in post.card.blocks[:1]
        if isinstance(block, Text)
    ]
    assert sum(confessed) == late, f"VIGILBOT_SEED={SEED}"


@asynccontextmanager
async def staged(folder: Path, url: str) -> AsyncIterator[Story]:
    """Have somebody who begins lives, and the last of them ended when this is left."""
    began, dice = time.time(), random.Random(SEED)
    async with mother("tests.chaos.alerting") as born, httpx.AsyncClient(timeout=60) as web:
        monitors = [Monitor(f"m{n}", dice) for n in range(MONITORS)]
        yield Story(folder, url, dice, began, born, web, monitors)


async def play(folder: Path, url: str, kills: int, longer: int) -> None:
    await begin(folder, url)
    async with staged(folder, url) as story:
        await story.tell(kills, longer)
    await check(story)


async def test_alerts_of_a_bot_that_dies_a_few_times_are_told_once(tmp_path: Path) -> None:
    print(f"VIGILBOT_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    await play(tmp_path, f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}", KILLS, 1)


@pytest.mark.chaos_long
@pytest.mark.timeout(3600)
@both
async def test_alerts_of_a_bot_that_dies_often_are_told_once(database: str, tmp_path: Path) -> None:
    await play(tmp_path, database, OFTEN, LONGER)

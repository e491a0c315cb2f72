"""The bot that is killed in the middle of the real onboarding; its world outlives it.

A life of it begins with FOLDER, DATABASE_URL and KILL_AT (`tests/chaos/mother.py`). It plays the
people, too: whoever a gate waits for acts in the web chat, twice where that must not matter. It
ends when the run is done, and says its instants as JSON; at the instant KILL_AT it kills itself
with SIGKILL. KILL_AT is a number (0: never), or `LINE:NUMBER`, counted from the
first commit that finds the run at that line. Servers, monitor and model are in other processes:
`stage.json` in the folder says where.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, cast

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.card import Buttons, Card, Form
from adapters.documents import OfficeDocuments
from adapters.port import Account, Login, Monitor, Shell
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.wire import Post
from adapters.words import Chat, File, Person, Role, Secret
from bot.app import SystemClock, working
from bot.demo.hosts import AGENT_BUNDLE
from bot.demo.world import CHEN, COMPANY, CUSTOMERS, LI, STAFF, WANG, ZHAO
from bot.late import LateModel
from bot.web.site import create_api, listening, serving
from runbooks.kit import House, Kit
from runbooks.walk import OPERATIONS
from storage.journal import journal_at
from storage.records import Member, Run, RunStatus
from storage.store import Store
from storage.vault import Seal
from tests.chaos import mother
from tests.chaos.child import Fate, MortalChat, MortalStore

PATIENCE = timedelta(seconds=120)
"""A bot that is busy for longer than this hangs."""
LOOK = 0.05
TITLE = f"{COMPANY} 监控交付"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the world is, and what a bot that is started again must have as before."""

    port: int
    """Of the bot's own site: the monitor posts to it, whichever bot is alive."""
    key: str
    managed_port: int
    managed_user: str
    managed_password: str
    ai_url: str
    servers: str
    """The sheet that is pasted into the intake form."""


@dataclass(frozen=True, slots=True)
class Act:
    """What the people do at a gate; without values it is a press of that button."""

    by: tuple[Person, ...]
    label: str
    values: Mapping[str, str] | None = None


INTAKE = {
    "contacts": "王经理，IT 经理，13800000000\n陈总，总经理，13900000000",
    "location": "cloud",
    "systems": "ERP\n官网",
    "monitoring": "Zabbix",
    "channels": "feishu,email",
    "tier": "pro",
    "domain": "ops.hailan.example.com",
    "way": "b",
}
ACTS = {
    "signed": Act((ZHAO, ZHAO), "确认合同已签"),
    "channels": Act((LI,), "确认已配置", {"email": "ops@hailan.example.com"}),
    "test-received": Act((WANG, WANG), "收到"),
    "escalation": Act(
        (LI,),
        "保存升级策略",
        {"on_call": "李工，13700000000\n赵主管，13600000000", "minutes": "5，15"},
    ),
    "approvers": Act((LI,), "确定验收人", {"approvers": "王经理\n陈总", "need": "2"}),
    "remediation": Act((LI,), "演练通过", {"host": "web-01", "done": "清理 /tmp，磁盘下降"}),
    "training": Act((WANG,), "已培训"),
    "sign": Act((WANG, CHEN), "签字验收"),
}


class LineFate(Fate):
    """A fate that may begin to count at a line of the run."""

    def __init__(self, kill_at: str) -> None:
        line, _, number = kill_at.rpartition(":")
        super().__init__(number)
        self._line = line
        self.reached = not line

    def instant(self, name: str = "") -> None:
        if self.reached:
            super().instant(name)

    def at(self, line: str) -> None:
        self.reached = self.reached or line == self._line


class SeeingStore(MortalStore):
    """A mortal store that tells its fate, before each commit, at which line the run will be."""

    def __init__(self, url: str, seal: Seal, fate: LineFate) -> None:
        super().__init__(url, seal, fate)
        self._line = fate

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with super()._begin() as connection:
            yield connection
            if not self._line.reached:
                for run in await self._of(connection).runs.open():
                    self._line.at(run.line)


class Mortal:
    """Any port: the process may die before each call of it and after it."""

    def __init__(self, port: object, fate: Fate) -> None:
        self._port = port
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not iscoroutinefunction(found):
            return found

        async def mortal(*given: Any, **named: Any) -> Any:
            self._fate.instant()
            answer = await found(*given, **named)
            self._fate.instant()
            return answer

        return mortal


class MortalServers:
    """The way to the servers: the process may die around each connection and each command."""

    def __init__(self, servers: SshServers, fate: Fate) -> None:
        self._servers = servers
        self._fate = fate

    @asynccontextmanager
    async def shell(self, login: Login) -> AsyncIterator[Shell]:
        self._fate.instant()
        async with self._servers.shell(login) as shell:
            yield cast("Shell", Mortal(shell, self._fate))


class MortalMonitors:
    """The way to the monitor: the process may die around each call."""

    def __init__(self, monitors: VigilOpsMonitors, fate: Fate) -> None:
        self._monitors = monitors
        self._fate = fate

    def at(self, url: str, account: Account) -> Monitor:
        return cast("Monitor", Mortal(self._monitors.at(url, account), self._fate))


class People:
    """Everybody who takes part, through the web chat; they start again where the cards are."""

    def __init__(self, store: Store, web: MortalChat, stage: Stage) -> None:
        self._store = store
        self._web = web
        self._stage = stage

    async def live(self) -> Run:
        """Act until the run is done and nothing is left to be said."""
        clock = SystemClock()
        until = clock.now() + PATIENCE
        run = None
        while clock.now() < until:
            quiet = self._web.quiet
            async with self._store.view() as unit:
                runs = [r for c in await unit.customers.all() for r in await unit.runs.of(c.id)]
                heads = await unit.outbox.heads(datetime.max.replace(tzinfo=UTC))
            run = runs[0] if runs else None
            walking = run is not None and run.status is RunStatus.WALKING
            if not quiet or not self._web.quiet or heads or walking:
                await clock.sleep(LOOK)
            elif run is None:
                await self._begin()
            elif run.status is RunStatus.DONE:
                return run
            elif run.status is RunStatus.WAITING:
                await self._act(run)
            else:
                raise AssertionError(f"nobody can go on: {run.line}: {run.note}")
        raise TimeoutError(f"the bot hangs: {run}")

    async def _begin(self) -> None:
        ops = next(chat for chat in self._web.chats(LI) if chat.id == "ops")
        for post, form in self._forms(ops, "提交登记"):
            sheet = File("servers.csv", self._stage.servers.encode())
            for _ in range(2):
                await self._web.submit(LI, ops, post.id, form.action, INTAKE, files=(sheet,))
            return
        await self._web.say(LI, ops, f"/onboard {COMPANY}")

    async def _act(self, run: Run) -> None:
        group = next(chat for chat in self._web.chats(LI) if chat.title == TITLE)
        async with self._store.unit() as unit:
            for person, title in CUSTOMERS:
                await unit.people.put(Member(person, Role.CUSTOMER, run.customer, title))
        act = ACTS[run.line]
        for person in act.by:
            await self._web.join(group, person)
        pressed = [
            (post.id, action)
            for post in self._web.history(group)
            for action in actions(post.card, act.label)
        ]
        (post, action) = pressed[-1]
        for person in act.by:
            if act.values is None:
                await self._web.press(person, group, post, action)
            else:
                await self._web.submit(person, group, post, action, act.values)

    def _forms(self, chat: Chat, submit: str) -> list[tuple[Post, Form]]:
        return [
            (post, block)
            for post in self._web.history(chat)
            for block in (post.card.blocks if post.card else ())
            if isinstance(block, Form) and block.submit == submit
        ]


def actions(card: Card | None, label: str) -> list[str]:
    """Return the actions of the buttons and forms of that label."""
    found = []
    for block in card.blocks if card else ():
        if isinstance(block, Buttons):
            found += [button.action for button in block.buttons if button.label == label]
        if isinstance(block, Form) and block.submit == label:
            found.append(block.action)
    return found


def house_of(stage: Stage) -> House:
    return House(
        provider="演示运维服务商",
        contact=ZHAO.name,
        public_url=f"http://127.0.0.1:{stage.port}",
        managed=Login(
            "127.0.0.1", stage.managed_port, stage.managed_user, Secret(stage.managed_password)
        ),
        ai_url=stage.ai_url,
        ai_model="demo",
        ai_key=Secret("demo-key"),
        bundle=AGENT_BUNDLE,
    )


def journal_url(folder: Path, url: str) -> str:
    return f"sqlite:///{folder / 'engine.db'}" if url.startswith("sqlite") else url


async def main(place: str, url: str, kill_at: str) -> None:
    folder = Path(place)
    fate, clock = LineFate(kill_at), SystemClock()
    stage = msgspec.json.decode((folder / "stage.json").read_bytes(), type=Stage)
    house = house_of(stage)
    async with AsyncExitStack() as stack:
        taken = stack.enter_context(listening("127.0.0.1", stage.port))
        store = SeeingStore(url, Seal(Secret(stage.key)), fate)
        await stack.enter_async_context(store)
        await store.create()
        web = await stack.enter_async_context(MortalChat(folder / "web.sqlite", fate))
        ops = await web.found("运营群", [LI, ZHAO], chat_id="ops")
        async with store.unit() as unit:
            for member in STAFF:
                await unit.people.put(member)
            await unit.outbox.mark(OPERATIONS, ops, clock.now())
        monitors = await stack.enter_async_context(VigilOpsMonitors())
        model = LateModel(house.ai_url, house.ai_model, house.ai_key)
        await stack.enter_async_context(model)
        documents = OfficeDocuments()
        servers = MortalServers(SshServers(), fate)
        dying = MortalMonitors(monitors, fate)
        kit = Kit(clock, store, {web.name: web}, servers, dying, documents, house, model)
        journal = journal_at(journal_url(folder, url))
        bot = await stack.enter_async_context(working(kit, journal))
        await stack.enter_async_context(serving(create_api(kit, bot, None), taken))
        run = await People(store, web, stage).live()
    mother.say(json.dumps({"status": run.status, "instants": fate.instants}))

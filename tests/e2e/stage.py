"""The whole program over a sandbox, with every part in reach: faults, traps, files, what is seen."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from adapters.card import plain
from adapters.documents import OfficeDocuments
from adapters.port import Login
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.webchat.wire import Post, find_form
from adapters.words import Chat, File, Person, Role, Secret
from bot.app import BOOKS, Bot, SystemClock, working
from bot.demo import model, vigilops
from bot.demo.docker import Containers
from bot.demo.hosts import AGENT_BUNDLE, Hosts, Spec
from bot.demo.world import CUSTOMERS, KEY, LI, ZHAO, vault_key
from bot.late import LateModel
from bot.web.site import create_api, listening, serving
from runbooks import intake
from runbooks.book import Runbook
from runbooks.kit import House, Kit
from runbooks.walk import OPERATIONS
from storage.journal import journal_in
from storage.records import Customer, Member, Run
from storage.store import Store
from storage.vault import Seal

QIAN = Person("web", "qian", "钱主管")
"""A second lead, for two who press at once."""
REFUSED = "请再看一下"
"""Title of the answer to whatever a person can mend."""
MANAGED = "managed-01"
FOUND = TypeVar("FOUND")


@dataclass(frozen=True, slots=True)
class Stage:
    """The bot at work, and all that it works on."""

    directory: Path
    address: str
    store: Store
    webchat: WebChat
    books: Mapping[str, Runbook[Any]]
    kit: Kit
    bot: Bot
    hosts: Hosts
    containers: Containers
    ops: Chat

    # -- what people do -----------------------------------------------------------------------

    async def form(self, company: str, by: Person = LI) -> Post:
        """Have the intake form opened, and return its card."""
        before = self.ids(self.ops)
        await self.webchat.say(by, self.ops, f"/onboard {company}")
        return await self.until(lambda: self.new(self.ops, before, "客户接入登记"))

    async def submit(
        self, form: Post, values: Mapping[str, str], files: Sequence[File] = (), by: Person = LI
    ) -> None:
        """Send an intake form."""
        await self.webchat.submit(by, self.ops, form.id, intake.ACTION, values, files=files)

    async def refusal(self, chat: Chat, act: Awaitable[object]) -> str:
        """Return what is answered to an act that a person can mend."""
        before = self.ids(chat)
        await act
        post = await self.until(lambda: self.new(chat, before, REFUSED))
        assert post.card
        return plain(post.card)

    async def press(self, label: str, by: Person, chat: Chat) -> None:
        """Press a button of the chat's living card."""
        action = await self.until(lambda: self.action(chat, label))
        post = next(one for one in reversed(self.webchat.history(chat)) if self.has(one, action))
        await self.webchat.press(by, chat, post.id, action)

    async def fill(self, values: Mapping[str, str], by: Person, chat: Chat, verb: str) -> None:
        """Fill in the form of the chat's living card that answers with a verb."""

        def there() -> tuple[Post, str] | None:
            for post in reversed(self.webchat.history(chat)):
                for block in post.card.blocks if post.card else ():
                    action = getattr(block, "action", "")
                    if action.startswith(f"run|{verb}|"):
                        return post, action
            return None

        post, action = await self.until(there)
        await self.webchat.submit(by, chat, post.id, action, values)

    # -- what is seen -------------------------------------------------------------------------

    def ids(self, chat: Chat) -> set[str]:
        return {post.id for post in self.webchat.history(chat)}

    def new(self, chat: Chat, before: set[str], title: str) -> Post | None:
        for post in self.webchat.history(chat):
            if post.id not in before and post.card and title in post.card.title:
                return post
        return None

    def action(self, chat: Chat, label: str) -> str | None:
        for post in reversed(self.webchat.history(chat)):
            for block in post.card.blocks if post.card else ():
                for button in getattr(block, "buttons", ()):
                    if button.label == label:
                        return str(button.action)
        return None

    def has(self, post: Post, action: str) -> bool:
        blocks = post.card.blocks if post.card else ()
        buttons = [button for block in blocks for button in getattr(block, "buttons", ())]
        return any(button.action == action for button in buttons) or bool(
            post.card and find_form(post.card, action)
        )

    def living(self, chat: Chat) -> str:
        """Return the text of the chat's living card, empty before it is drawn."""
        for post in reversed(self.webchat.history(chat)):
            if post.card and "客户接入 · " in post.card.title:
                return plain(post.card)
        return ""

    async def shows(self, chat: Chat, *parts: str) -> str:
        """Wait until the chat's living card shows all of these, and return it."""

        def there() -> str | None:
            text = self.living(chat)
            return text if all(part in text for part in parts) else None

        try:
            return await self.until(there)
        except TimeoutError:
            raise AssertionError(f"{parts} not in:\n{self.living(chat)}") from None

    async def group(self, company: str) -> Chat:
        """Wait for the customer's group."""

        def there() -> Chat | None:
            title = f"{company} 监控交付"
            return next((chat for chat in self.webchat.chats(LI) if chat.title == title), None)

        return await self.until(there)

    async def until(self, there: Callable[[], FOUND | None], within: float = 40) -> FOUND:
        """Look at every change of the chat until something is there."""
        news = asyncio.Event()
        stop = self.webchat.watch(lambda _: news.set())
        try:
            async with asyncio.timeout(within):
                while True:
                    news.clear()
                    if (found := there()) is not None:
                        return found
                    await news.wait()
        finally:
            stop()

    # -- what is remembered -------------------------------------------------------------------

    async def customers(self) -> Sequence[Customer]:
        async with self.store.view() as unit:
            return await unit.customers.all()

    async def runs(self) -> list[Run]:
        async with self.store.view() as unit:
            customers = await unit.customers.all()
            return [run for one in customers for run in await unit.runs.of(one.id)]

    async def introduce(self, chat: Chat) -> None:
        """Take the customer's people into their group, and say whose they are."""
        async with self.store.unit() as unit:
            customer = await unit.customers.of_chat(chat)
            assert customer
            for person, title in CUSTOMERS:
                await unit.people.put(Member(person, Role.CUSTOMER, customer.id, title))
        for person, _ in CUSTOMERS:
            await self.webchat.join(chat, person)


@asynccontextmanager
async def stage(
    directory: Path, specs: Sequence[Spec], *, ai_key: str = "demo-key"
) -> AsyncIterator[Stage]:
    """Run everything in one directory until left; `vigilbot demo` may then go on with it."""
    async with AsyncExitStack() as stack:
        taken = stack.enter_context(listening("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        hosts = await stack.enter_async_context(
            Hosts(directory / "hosts", specs=specs, agent_interval=0.2)
        )
        containers = await stack.enter_async_context(Containers(hosts, every=0.3, make=_monitor))
        ai_url = await stack.enter_async_context(model.serve(model.Behaviour(key=ai_key)))
        managed = hosts[MANAGED].spec
        house = House(
            public_url=address,
            managed=Login(managed.host, managed.port, managed.user, managed.password),
            ai_url=ai_url,
            ai_model="demo",
            ai_key=Secret(ai_key),
            bundle=AGENT_BUNDLE,
        )
        url = f"sqlite+aiosqlite:///{directory / 'vigilbot.db'}"
        store = await stack.enter_async_context(Store(url, Seal(vault_key(directory / KEY))))
        await store.create()
        web = await stack.enter_async_context(WebChat(directory / "webchat.sqlite"))
        kit = Kit(
            SystemClock(),
            store,
            {web.name: web},
            SshServers(connect_timeout=5),
            await stack.enter_async_context(VigilOpsMonitors()),
            OfficeDocuments(),
            house,
            await stack.enter_async_context(LateModel(ai_url, "demo", house.ai_key)),
        )
        ops = await web.found("运营群", [LI, ZHAO, QIAN], chat_id="ops")
        async with store.unit() as unit:
            for person, role in ((LI, Role.ENGINEER), (ZHAO, Role.LEAD), (QIAN, Role.LEAD)):
                await unit.people.put(Member(person, role))
            await unit.outbox.mark(OPERATIONS, ops, kit.clock.now())
        journal = journal_in(directory / "engine.db")
        stack.callback(journal.dispose)
        bot = await stack.enter_async_context(working(kit, journal))
        # No pages: NiceGUI is one in a process, and a test that has it must be the only one.
        await stack.enter_async_context(serving(create_api(kit, bot, None), taken))
        yield Stage(directory, address, store, web, BOOKS, kit, bot, hosts, containers, ops)


def sheet(rows: Sequence[Sequence[object]], *more: str) -> File:
    """Return a list of servers as CSV: name, address, port, user, password, and `more`."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("名称", "地址", "端口", "用户", "密码", *more))
    table.writerows(rows)
    return File("servers.csv", out.getvalue().encode())


def answers(**changed: str) -> dict[str, str]:
    """Return a form's answers that are right, but for what is changed."""
    right = {
        "contacts": "王经理，IT 经理，13800000000\n陈总，总经理，13900000000",
        "channels": "feishu,email",
        "way": "b",
    }
    return right | changed


def _monitor(path: Path) -> vigilops.World:
    """Return a monitor that may call this very machine."""
    traps = vigilops.Traps(ssrf_guard=False)
    return vigilops.World(path=path, traps=traps, limits=vigilops.Limits(login=0))

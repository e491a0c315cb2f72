"""The whole program over a sandbox, in an enterprise chat: the vendor's SDK between, its simulator
beyond, and the people there."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adapters.card import plain
from adapters.dingtalk import wire as ding
from adapters.dingtalk.link import DingTalk
from adapters.documents import OfficeDocuments
from adapters.feishu.link import Feishu
from adapters.port import ChatPlatform, Clock, Login
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.words import Chat, File, Person, Role, Secret
from bot.app import BOOKS, SystemClock, working
from bot.demo import model
from bot.demo.docker import Containers
from bot.demo.hosts import AGENT_BUNDLE, Hosts, Spec
from bot.demo.world import monitor
from bot.late import LateModel
from bot.play.render import timelines
from bot.web.site import create_api, listening, serving
from runbooks.kit import House, Kit
from storage.journal import journal_in
from storage.records import Member, PortPlan
from storage.store import Store
from storage.vault import Seal
from tests.sim.dingtalk import DingTalkSim
from tests.sim.feishu import FeishuSim, read

MANAGED = "managed-01"
MACHINE = SystemClock()
PORTS = PortPlan(18101, 13101, 15533, 16480)
"""Of this machine, and none that the other worlds plan: these run beside them."""


class Country(Protocol):
    """A platform and the people on it; whatever is shown is read as `plain` would write it."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def platform(self, folder: Path) -> ChatPlatform: ...

    def person(self, name: str) -> Person: ...

    def found(self, title: str, *people: Person) -> Chat:
        """Make a group by hand, with the bot in it."""
        ...

    def find(self, title: str) -> Chat | None:
        """Return the group of that title."""
        ...

    def join(self, chat: Chat, *people: Person) -> None:
        """Take people into a group."""
        ...

    async def until(self, true: Callable[[], bool], within: float) -> None:
        """Wait until something is so; TimeoutError when it does not come about."""
        ...

    def posts(self, chat: Chat) -> list[tuple[str, str]]:
        """Return (id, text) of all that a chat shows, the oldest first."""
        ...

    async def say(self, person: Person, chat: Chat, text: str) -> None: ...

    async def press(self, person: Person, chat: Chat, card: str, action: str) -> None: ...

    async def submit(
        self,
        person: Person,
        chat: Chat,
        card: str,
        action: str,
        values: Mapping[str, str],
        file: File | None,
    ) -> None: ...


class FeishuCountry:
    def __init__(self, clock: Clock = MACHINE) -> None:
        self.sim = FeishuSim(clock)

    async def start(self) -> None:
        await self.sim.start()

    async def stop(self) -> None:
        await self.sim.stop()

    def platform(self, folder: Path) -> ChatPlatform:
        return Feishu(
            self.sim.app_id,
            Secret(self.sim.secret),
            state=folder / "feishu.sqlite",
            clock=self.sim.clock,
            base_url=self.sim.base_url,
        )

    def person(self, name: str) -> Person:
        return Person("feishu", self.sim.person(name), name)

    def found(self, title: str, *people: Person) -> Chat:
        group = self.sim.found(title, [one.id for one in people])
        return Chat("feishu", group.id, title)

    def find(self, title: str) -> Chat | None:
        known = [one.id for one in self.sim.groups.values() if one.title == title]
        return Chat("feishu", known[0], title) if known else None

    def join(self, chat: Chat, *people: Person) -> None:
        self.sim.groups[chat.id].members += [one.id for one in people]

    async def until(self, true: Callable[[], bool], within: float) -> None:
        await self.sim.until(true, within)

    def posts(self, chat: Chat) -> list[tuple[str, str]]:
        shown = []
        for one in self.sim.posts.values():
            if one.chat == chat.id:
                body = json.loads(one.content)
                text = plain(read(body)) if one.kind == "interactive" else str(self.sim.shown(one))
                shown.append((one.id, text))
        return shown

    async def say(self, person: Person, chat: Chat, text: str) -> None:
        await self.sim.say(person.id, chat.id, text)

    async def press(self, person: Person, chat: Chat, card: str, action: str) -> None:
        await self.sim.press(person.id, card, action)

    async def submit(
        self,
        person: Person,
        chat: Chat,
        card: str,
        action: str,
        values: Mapping[str, str],
        file: File | None,
    ) -> None:
        if file:
            self.sim.post_file(person.id, chat.id, file)
        await self.sim.submit(person.id, card, action, values)


class DingTalkCountry:
    def __init__(self, clock: Clock = MACHINE) -> None:
        self.clock = clock
        self.sim = DingTalkSim(now=clock.now)

    async def start(self) -> None:
        await self.sim.start()

    async def stop(self) -> None:
        await self.sim.stop()

    def platform(self, folder: Path) -> ChatPlatform:
        return DingTalk(
            self.sim.client_id,
            Secret(self.sim.secret),
            robot_code=self.sim.robot,
            state=folder / "dingtalk.sqlite",
            clock=self.clock,
            card_template=self.sim.template,
            group_template=self.sim.group_template,
            monthly_calls=10_000_000,  # an edition whose calls need not be saved
            api_url=self.sim.url,
            oapi_url=self.sim.url,
        )

    def person(self, name: str) -> Person:
        person = Person(ding.PLATFORM, f"staff-{name}", name)
        return self.sim.people.setdefault(person.id, person)

    def found(self, title: str, *people: Person) -> Chat:
        return self.sim.found(title, *(one.id for one in people))

    def find(self, title: str) -> Chat | None:
        known = [one.chat for one in self.sim.groups.values() if one.chat.title == title]
        return known[0] if known else None

    def join(self, chat: Chat, *people: Person) -> None:
        self.sim.groups[chat.id].members += [one.id for one in people]

    async def until(self, true: Callable[[], bool], within: float) -> None:
        await self.sim.until(true, within)

    def posts(self, chat: Chat) -> list[tuple[str, str]]:
        user = ding.user_of(chat)
        posts = self.sim.direct.get(user, []) if user else self.sim.groups[chat.id].posts
        return [(post.track, self.sim.reads(post)) for post in posts]

    async def say(self, person: Person, chat: Chat, text: str) -> None:
        await self.sim.say(person, chat, f"@{self.sim.bot_name} {text}")

    async def press(self, person: Person, chat: Chat, card: str, action: str) -> None:
        await self.sim.press(person, card, action)

    async def submit(
        self,
        person: Person,
        chat: Chat,
        card: str,
        action: str,
        values: Mapping[str, str],
        file: File | None,
    ) -> None:
        if file:
            await self.sim.hand_over(person, file)
        told = await self.sim.submit(person, card, action, values)
        assert not told.startswith(ding.BAD_SIGN), told


@dataclass(frozen=True, slots=True)
class Abroad:
    """The bot at work in that chat; people read and act as they do on a phone."""

    country: Country
    store: Store
    hosts: Hosts
    li: Person
    zhao: Person
    wang: Person
    chen: Person
    ops: Chat
    address: str
    """Of the bot's own site."""

    async def shows(
        self, chat: Chat, *parts: str, within: float = 60, title: str = "客户接入"
    ) -> tuple[str, str]:
        """Wait for a post whose head has `title` and that shows all the parts: (id, text)."""

        def there() -> list[tuple[str, str]]:
            return [
                (card, text)
                for card, text in reversed(self.country.posts(chat))
                if title in text.partition("\n")[0] and all(part in text for part in parts)
            ]

        try:
            await self.country.until(lambda: bool(there()), within)
        except TimeoutError:
            seen = "\n\n".join(text for _, text in self.country.posts(chat))
            raise AssertionError(f"{parts} not in:\n{seen}") from None
        return there()[0]

    async def group(self, title: str) -> Chat:
        """Wait until the bot has founded a group."""
        await self.country.until(lambda: self.country.find(title) is not None, 30)
        chat = self.country.find(title)
        assert chat
        return chat

    async def press(self, person: Person, chat: Chat, label: str) -> None:
        """Press a button of the newest card that has it."""
        card, text = await self.shows(chat, f"[{label}](", title="")
        action = re.findall(rf"\[{re.escape(label)}\]\(([^)]+)\)", text)[-1]
        await self.country.press(person, chat, card, action)

    async def fill(
        self,
        person: Person,
        chat: Chat,
        part: str,
        values: Mapping[str, str],
        file: File | None = None,
    ) -> None:
        """Fill in the form of the newest card that shows `part` and has one."""
        card, text = await self.shows(chat, part, "表单 ", title="")
        action = re.findall(r"^表单 (\S+)$", text, re.MULTILINE)[0]
        await self.country.submit(person, chat, card, action, values, file)

    async def introduce(self, chat: Chat) -> None:
        """Say whose people the customer's are, as `/role` would."""
        async with self.store.unit() as unit:
            customer = await unit.customers.of_chat(chat)
            assert customer
            for person, title in ((self.wang, "IT 经理"), (self.chen, "总经理")):
                await unit.people.put(Member(person, Role.CUSTOMER, customer.id, title))

    async def timeline(self) -> str:
        async with self.store.view() as unit:
            return "\n".join(await timelines(BOOKS, unit, {}))


@asynccontextmanager
async def abroad(country: Country, directory: Path, specs: Sequence[Spec]) -> AsyncIterator[Abroad]:
    """Run everything in one directory until left."""
    async with AsyncExitStack() as stack:
        await country.start()
        stack.push_async_callback(country.stop)
        taken = stack.enter_context(listening("127.0.0.1", 0))
        hosts = await stack.enter_async_context(
            Hosts(directory / "hosts", specs=[*specs, Spec(MANAGED)], agent_interval=0.2)
        )
        await stack.enter_async_context(Containers(hosts, every=0.3, make=monitor))
        ai_url = await stack.enter_async_context(model.serve(model.Behaviour()))
        managed = hosts[MANAGED].spec
        house = House(
            public_url=f"http://127.0.0.1:{taken.getsockname()[1]}",
            managed=Login(managed.host, managed.port, managed.user, managed.password),
            ai_url=ai_url,
            ai_model="demo",
            ai_key=Secret("demo-key"),
            bundle=AGENT_BUNDLE,
            ports=PORTS,
        )
        url = f"sqlite+aiosqlite:///{directory / 'vigilbot.db'}"
        store = await stack.enter_async_context(Store(url, Seal(Seal.new_key())))
        await store.create()
        platform = await stack.enter_async_context(country.platform(directory))
        kit = Kit(
            MACHINE,
            store,
            {platform.name: platform},
            SshServers(connect_timeout=5),
            await stack.enter_async_context(VigilOpsMonitors()),
            OfficeDocuments(),
            house,
            await stack.enter_async_context(LateModel(ai_url, "demo", house.ai_key)),
        )
        li, zhao, wang, chen = map(country.person, ("李工", "赵主管", "王经理", "陈总"))
        async with store.unit() as unit:
            await unit.people.put(Member(li, Role.ENGINEER))
            await unit.people.put(Member(zhao, Role.LEAD))
        ops = country.found("运营群", li, zhao)
        journal = journal_in(directory / "engine.db")
        stack.callback(journal.dispose)
        bot = await stack.enter_async_context(working(kit, journal))
        await stack.enter_async_context(serving(create_api(kit, bot, None), taken))
        yield Abroad(country, store, hosts, li, zhao, wang, chen, ops, house.public_url)

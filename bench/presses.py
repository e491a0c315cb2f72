"""1,000 presses in a minute on each platform: are they all answered inside the callback's budget?

    python -m bench.presses [--presses 1000] [--seconds 60]

The vendor's SDK in between, its simulator on loopback; every press is a lead's, opens the gate of a
run of its own, and goes through inbox, SQLite and engine before its answer. The clock runs from the
frame on the wire to the answer, so that a late one is not only counted but measured.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from adapters.card import Button, Buttons, Card, say
from adapters.dingtalk.link import DingTalk
from adapters.feishu.link import Feishu
from adapters.port import ChatPlatform
from adapters.wecom.wire import PRESS
from adapters.words import Person, Role, Secret
from bench.press import Case, parked
from bench.table import quantile, show
from bot.app import Bot, SystemClock
from bot.inbox import Inbox
from bot.sender import Sender
from commands.contents import BOOK as COMMANDS
from runbooks.book import Gate, Phase, Runbook, Step
from runbooks.engine import Engine
from runbooks.kit import Errand, Kit
from runbooks.press import action
from storage.journal import journal_in
from storage.records import Member
from storage.store import Store
from storage.vault import Seal
from tests.sim.dingtalk import DingTalkSim, Drawn
from tests.sim.feishu import FeishuSim
from tests.sim.places import SlackPlace, WeComPlace, in_slack, in_wecom

Press = Callable[[str], Awaitable[None]]
"""Press the button that carries this action, and return when it is answered."""
CLOCK = SystemClock()
PATIENCE = 10.0


async def _next(case: Case, errand: Errand) -> tuple[Case, str]:
    return case, "ok"


BOOK = Runbook(
    "bench",
    "bench",
    Case,
    (Phase("-"), Gate("gate", "gate", Role.LEAD, timedelta(days=1)), Step("next", "next", _next)),
)


@asynccontextmanager
async def feishu(folder: Path) -> AsyncIterator[tuple[ChatPlatform, Person, Press]]:
    async with FeishuSim(CLOCK) as sim:
        who = Person("feishu", sim.person("Zhao"), "Zhao")
        secret = Secret(sim.secret)
        state = folder / "feishu.sqlite"
        async with Feishu(
            sim.app_id, secret, state=state, clock=CLOCK, base_url=sim.base_url
        ) as platform:
            chat = await platform.open_chat("bench", [who], key="0")
            card = (await platform.send(chat, say("bench"), key="1")).id

            async def press(words: str) -> None:
                pressed = {"value": {"action": words}, "tag": "button"}
                event = (await sim.trigger(who.id, card, pressed))["header"]["event_id"]
                await sim.until(lambda: event in sim.acked)

            yield platform, who, press


@asynccontextmanager
async def dingtalk(folder: Path) -> AsyncIterator[tuple[ChatPlatform, Person, Press]]:
    sim = DingTalkSim(now=CLOCK.now)
    who = Person("dingtalk", "zhao", "Zhao")
    sim.people[who.id] = who
    await sim.start()
    platform = DingTalk(
        sim.client_id,
        Secret(sim.secret),
        robot_code=sim.robot,
        state=folder / "dingtalk.sqlite",
        clock=CLOCK,
        card_template=sim.template,
        api_url=sim.url,
        oapi_url=sim.url,
    )
    chat = sim.found("bench", who.id)
    async with platform:
        sim.cards["card"] = Drawn({}, chat)  # another replica's: the inbox alone judges it

        async def press(words: str) -> None:
            await sim.tap(who, "card", "press", {"action": words, "chat": chat.id})

        yield platform, who, press
    await sim.stop()


@asynccontextmanager
async def slack(folder: Path) -> AsyncIterator[tuple[ChatPlatform, Person, Press]]:
    async with in_slack(folder, CLOCK, PATIENCE) as place:
        assert isinstance(place, SlackPlace)
        chat = await place.room("bench")
        await place.platform.send(chat, say("bench"), key="1")

        async def press(words: str) -> None:
            await (await place.sim.tap(place.li.id, chat.id, words)).acked

        yield place.platform, place.li, press


@asynccontextmanager
async def wecom(folder: Path) -> AsyncIterator[tuple[ChatPlatform, Person, Press]]:
    async with in_wecom(folder, CLOCK, PATIENCE) as place:
        assert isinstance(place, WeComPlace)
        chat = await place.room("bench")
        button = Buttons((Button("OK", "bench"),))
        card = await place.platform.send(chat, Card("bench", blocks=(button,)), key="1")

        async def press(words: str) -> None:
            key = f"{PRESS}{words}"
            req = await place.sim.tap(place.li.id, chat.id, f"{card.id}-0", key)
            await place.until(lambda: place.sim.is_answered(req))

        yield place.platform, place.li, press


async def measured(
    world: Callable[[Path], Any], count: int, seconds: float
) -> tuple[float, list[float]]:
    """Press `count` buttons, evenly over the seconds; return the budget and what each answer took."""
    nobody = cast("Any", None)
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            platform, who, press = await stack.enter_async_context(world(folder))
            url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
            store = await stack.enter_async_context(Store(url, Seal(Seal.new_key())))
            await store.create()
            async with store.unit() as unit:
                await unit.people.put(Member(who, Role.LEAD))
            kit = Kit(CLOCK, store, {platform.name: platform}, nobody, nobody, nobody)
            runs = await parked(BOOK, kit, count, who)
            books: dict[str, Runbook[Any]] = {BOOK.name: BOOK}
            engine = await stack.enter_async_context(
                Engine(books, kit, journal_in(folder / "dbos.sqlite"))
            )
            inbox = Inbox(store, books, CLOCK, engine.go, COMMANDS, nobody, nobody)
            bot = Bot(kit, engine, inbox, Sender(store, kit.chats, nobody, CLOCK))
            listening = asyncio.create_task(bot.listen(platform))
            took: list[float] = []

            async def one(number: int) -> None:
                await asyncio.sleep(number * seconds / count)
                began = time.perf_counter()
                await press(action("yes", runs[number][0]))
                took.append(time.perf_counter() - began)

            await asyncio.gather(*(one(number) for number in range(count)))
            listening.cancel()
            await asyncio.wait({listening})
            return platform.can.callback_budget, took


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--presses", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    rows = []
    worlds = {"Feishu": feishu, "DingTalk": dingtalk, "Slack": slack, "WeCom": wecom}
    for name, world in worlds.items():
        budget, took = await measured(world, given.presses, given.seconds)
        figures = (f"{quantile(took, share) * 1000:.0f} ms" for share in (0.5, 0.99, 1))
        late = sum(one > budget for one in took)
        rows.append((name, len(took), *figures, f"{budget * 1000:.0f} ms", late))
    columns = ("platform", "answered", "p50", "p99", "longest", "budget", "too late")
    show(f"{given.presses} presses in {given.seconds:.0f} s, SQLite", columns, rows)


if __name__ == "__main__":
    asyncio.run(main())

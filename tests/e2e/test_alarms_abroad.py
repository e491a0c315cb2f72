"""Alarms in an enterprise's group through the vendor's SDK: a card, an acknowledgement, a climb that
rings somebody, and a storm with its summary: the same story on each platform."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from adapters.documents import OfficeDocuments
from adapters.port import ChatPlatform
from adapters.ssh import SshServers
from adapters.words import Chat, Person, Role, Secret
from bot.app import Bot, working
from bot.folding import ALL
from bot.web.site import create_api
from runbooks.kit import Kit
from storage.intake import Intake
from storage.journal import journal_in
from storage.records import Customer, DeliveryState, Member
from storage.roster import Callee, Layer, Level, Policy, Roster
from storage.store import Store
from storage.vault import Seal
from tests.e2e.lands import ACKED, LANDS, RECEIVED, Land
from tests.sim.slack import SimClock

COMPANY, TOKEN = "海蓝科技", "t" * 43
MINUTE, HOUR = 60, 3600
PAUSE = 20
"""Seconds between two posts of an overview where nothing can be edited."""
MOST = 12
"""Messages that a storm's minute may cost a group: the smallest budget of a platform is 20."""
CRITICALS = 4
"""New ones in the story: whoever is on call is named with each, and once more by the climb of one."""
Said = tuple[str, str, str]
"""An alert: its rule, its host, how bad it is."""

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@dataclass(frozen=True, slots=True)
class Ward:
    """A customer's group on one platform, the bot at work in it, and a clock that a test moves."""

    land: Land
    platform: ChatPlatform
    bot: Bot
    clock: SimClock
    http: httpx.AsyncClient
    li: Person
    group: Chat

    async def post(self, alerts: Sequence[Said], status: str = "firing") -> None:
        """Have the customer's Alertmanager say something, and wait until it was folded."""
        told = [
            {
                "status": status,
                "fingerprint": f"{rule}@{host}",
                "labels": {"alertname": rule, "instance": host, "severity": severity},
                "annotations": {"summary": f"{rule} on {host}"},
                "startsAt": self.clock.now().isoformat(),
            }
            for rule, host, severity in alerts
        ]
        body = json.dumps({"version": "4", "status": status, "alerts": told})
        answer = await self.http.post(f"/hooks/alertmanager/{TOKEN}", content=body)
        assert answer.status_code == 200, answer.text
        assert self.bot.intake
        newest = (await self.bot.intake.after(0, 1000))[-1].id
        store = self.bot.kit.store
        while await self._folded() < newest:
            # The sender forgets news when it looks, so some may pass us by.
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await store.changed.wait()

    async def _folded(self) -> int:
        """Return up to which post everything is folded."""
        async with self.bot.kit.store.view() as unit:
            return (await unit.incidents.cursors()).get(ALL, 0)

    async def pass_(self, seconds: float, *looks: str) -> None:
        """Let time pass, then take these looks for what is due, and let the sender look as well."""
        self.clock.move(seconds)
        for look in self.bot.looks:
            if look.name in looks:
                await look.do()
        self.bot.kit.store.changed.set()

    async def until(self, true: Callable[[], object]) -> None:
        try:
            await self.land.until(lambda: bool(true()), 20)
        except TimeoutError:
            seen = "\n\n".join(text for _, text in self.land.posts(self.group))
            raise AssertionError(f"it did not come about in:\n{seen}") from None

    @property
    def acked(self) -> str:
        """Is what a card shows that Li has acknowledged."""
        return f"{ACKED}（{self.li.name}）"

    def told(self, card: str) -> str:
        """Return what Li was shown at once when he pressed a card."""
        return self.land.told(self.li, self.group, card)

    def names(self) -> int:
        """Return how many messages of the group mention Li."""
        return self.land.names(self.li, self.group)

    def calls(self) -> list[str]:
        """Return the calls of a climb that have reached Li alone."""
        return [text for text in self.land.rung(self.li) if "告警升级" in text]

    def cards(self, title: str, *parts: str) -> list[tuple[str, str]]:
        """Return (id, text) of the group's posts with this title that show all the parts."""
        return [
            (card, text)
            for card, text in self.land.posts(self.group)
            if title in text.partition("\n")[0] and all(part in text for part in parts)
        ]

    async def shows(self, title: str, *parts: str) -> tuple[str, str]:
        """Wait for such a post and return the newest."""
        await self.until(lambda: self.cards(title, *parts))
        return self.cards(title, *parts)[-1]

    async def press(self, title: str, label: str, *parts: str) -> str:
        """Have Li press a button of the newest such card; return the card's id."""
        card, text = await self.shows(title, f"[{label}", *parts)
        (action,) = re.findall(rf"\[{re.escape(label)}[^\]]*\]\(([^)]+)\)", text)
        await self.land.press(self.li, self.group, card, action)
        return card


@asynccontextmanager
async def standing(make: Callable[[SimClock], Land], folder: Path) -> AsyncIterator[Ward]:
    """A customer, bound to their group by a typed word; Li is on call, and rung after five minutes."""
    clock = SimClock()
    land = make(clock)
    url = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}"
    async with AsyncExitStack() as stack:
        await land.start()
        stack.push_async_callback(land.stop)
        store = await stack.enter_async_context(Store(url, Seal(Seal.new_key())))
        await store.create()
        intake = await stack.enter_async_context(Intake(url))
        platform = await stack.enter_async_context(land.platform(folder))
        li = land.person("李工")
        async with store.unit() as unit:
            customer = await unit.customers.add(Customer(0, COMPANY, "hailan", clock.now(), None))
            await unit.people.put(Member(li, Role.ENGINEER))
            await unit.hooks.add(customer.id, "alertmanager", Secret(TOKEN), clock.now())
            layer = Layer("主值班", (li.name,), date(2026, 11, 23))
            callees = (Callee(li.name, person=li),)
            await unit.oncall.save(Roster(customer.id, "Asia/Shanghai", callees, (layer,)))
            await unit.escalations.set_policy(customer.id, Policy((Level(5),)))
        chats, nobody = {platform.name: platform}, cast("Any", None)
        kit = Kit(clock, store, chats, SshServers(), nobody, OfficeDocuments())
        journal = journal_in(folder / "engine.db")
        stack.callback(journal.dispose)
        bot = await stack.enter_async_context(working(kit, journal, posts=intake))
        site = httpx.ASGITransport(app=create_api(kit, bot, None))
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=site, base_url="http://bot")
        )
        group = land.found(f"{COMPANY} 监控交付", li)
        ward = Ward(land, platform, bot, clock, http, li, group)
        await land.meet(li)
        await land.say(li, group, f"/bind {COMPANY}")
        await ward.shows("已绑定", COMPANY)
        yield ward


@pytest.mark.parametrize("land", LANDS.values(), ids=LANDS)
async def test_alarms_are_told_acknowledged_rung_and_gathered(
    land: Callable[[SimClock], Land], tmp_path: Path
) -> None:
    """A press ends a climb; another one goes on until a phone rings; a storm is one card, and its
    summary hides by a press what made the noise."""
    async with standing(land, tmp_path) as ward:
        await is_acknowledged_by_a_press(ward)
        await rings_until_a_word(ward)
        await blows_over(ward)
        await is_hushed_by_a_press(ward)
        assert len(ward.calls()) == 1
        assert ward.names() == CRITICALS + 2, "by a climb, and by what the rules have raised"
        async with ward.bot.kit.store.view() as unit:
            tally = await unit.outbox.tally()
        assert (tally[DeliveryState.FAILED], tally[DeliveryState.DOUBT]) == (0, 0)


async def is_acknowledged_by_a_press(ward: Ward) -> None:
    """The group is told of a critical; who presses sees it at once, and everybody a moment later."""
    await ward.post([("磁盘满", "db-01", "critical")])
    await ward.shows("新的严重告警", "磁盘满 · db-01")
    assert ward.names() == 1
    await ward.shows("告警：磁盘满", "❗ 未确认")
    card = await ward.press("告警：磁盘满", "确认")
    await ward.until(lambda: ward.land.at_once in ward.told(card))
    await ward.pass_(5)
    acked, _ = await ward.shows("告警：磁盘满", ward.acked, "[取消确认](")
    assert (acked == card) is ward.platform.can.can_edit
    # Nobody is called any more: what the end of the story counts would know.
    await ward.pass_(HOUR, "climb")


async def rings_until_a_word(ward: Ward) -> None:
    """Nobody acknowledges: Li is named in the group, then his phone rings, until he types a word."""
    await ward.post([("数据库宕机", "db-02", "critical")])
    await ward.shows("告警：数据库宕机", "❗ 未确认")
    assert ward.names() == 2, "once for each critical"
    await ward.pass_(5 * MINUTE, "climb")
    await ward.shows(f"告警升级 @{ward.li.name}", "数据库宕机", "/ack 2")
    assert ward.names() == 3, "and by the climb"
    assert ward.calls() == []
    await ward.pass_(30, "climb")
    await ward.until(ward.calls)
    (call,) = ward.calls()
    assert "数据库宕机" in call
    assert "/ack 2" in call
    await ward.land.say(ward.li, ward.group, "/ack 2")
    await ward.shows("告警", "已确认 #2：数据库宕机")
    await ward.pass_(5)
    await ward.shows("告警：数据库宕机", ward.acked)
    await ward.pass_(HOUR, "climb")


async def blows_over(ward: Ward) -> None:
    """Three hundred alerts, a critical among the last, are one card; acknowledged as a whole, they
    end, and a summary shows how it went."""
    before = len(ward.land.texts(ward.group))
    gale = [(f"规则{n % 10}", f"web-{n:03}", "warning") for n in range(300)]
    for part in range(0, 300, 100):
        await ward.post(gale[part : part + 100])
        await ward.shows("告警风暴", f"警告 {part + 100}")
        await ward.pass_(PAUSE, "storms")
    await ward.post([("支付中断", "pay-01", "critical")])
    await ward.shows("新的严重告警", "支付中断 · pay-01")
    await ward.pass_(PAUSE, "storms")
    await ward.shows("告警风暴", "支付中断 · pay-01")
    said = ward.land.texts(ward.group)[before:]
    storms = [text for text in said if "告警风暴" in text.partition("\n")[0]]
    newest = [text for text in storms if "新的在前" in text][-1]
    assert "支付中断 · pay-01" in newest.partition("新的在前")[2].splitlines()[1]
    assert len(said) <= MOST
    if ward.platform.can.can_edit:
        assert len(storms) == 1

    # Raised they are other than what an older card shows, and its press would not be for them.
    await ward.pass_(PAUSE, "raise")
    await ward.shows("按规则提为严重 10 个告警组")
    await ward.pass_(PAUSE, "storms")
    await ward.shows("告警风暴", "10 个告警组（/alerts）")
    card = await ward.press("告警风暴", "确认全部", "10 个告警组（/alerts）")
    await ward.until(lambda: RECEIVED in ward.told(card))
    await ward.pass_(PAUSE)
    await ward.shows("告警风暴", "13 个，已确认 13 个")
    await ward.post(gale, "resolved")
    for _ in range(9):
        await ward.pass_(MINUTE, "storms", "climb")
    await ward.shows("告警风暴总结", "不同的告警 301 条", f"处理人：{ward.li.name}")
    assert ward.land.draws(ward.group, "告警风暴总结")


async def is_hushed_by_a_press(ward: Ward) -> None:
    """What the summary suggests is done by a press: that rule is heard of no more, others are."""
    card = await ward.press("告警风暴总结", "静默「规则0」")
    await ward.until(lambda: RECEIVED in ward.told(card))
    await ward.shows("已静默「规则0」至")
    await ward.pass_(HOUR)
    mild = [(f"规则{n}", f"web-{n:03}", "warning") for n in (0, 1)]
    await ward.post([*mild, ("网关中断", "gw-01", "critical")])
    await ward.shows("新的严重告警", "网关中断 · gw-01")
    await ward.pass_(PAUSE)
    await ward.shows("告警：规则1")
    assert ward.cards("告警：规则0") == []

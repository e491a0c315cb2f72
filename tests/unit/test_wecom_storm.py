"""A storm in a WeCom group, where nothing that was said can be edited: what it costs, what is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.card import Card
from adapters.wecom.link import WeCom
from adapters.words import Alert, Chat, Secret, Severity
from bot.sender import Sender
from runbooks.alerting import pipeline, show
from runbooks.alerting.pipeline import Post
from runbooks.kit import House, Kit
from storage.records import Customer, DeliveryState
from storage.store import Store, Unit
from tests.sim.slack import SimClock
from tests.sim.wecom import BOT_ID, NAME, SECRET, Room, WeComSim

HOSTS, RULES, POSTS = 200, 100, 10
MINUTE, STEP, EVERY, GATHERED = 60, 2, 4, 12
MOST, PER_HOUR = 15, 1000
"""What a minute may cost, of the thirty that WeCom takes; and what it takes in an hour."""


@dataclass
class Gale:
    """A customer's group in WeCom, and what is posted for it."""

    kit: Kit
    clock: SimClock
    customer: Customer
    sender: Sender
    sim: WeComSim
    room: Room

    async def post(self, *alerts: Alert) -> None:
        now = self.clock.now()
        async with self.kit.store.unit() as unit:
            said = [Post("alertmanager", now, alerts)]
            await pipeline.fold(self.customer, said, now, self.kit.house, unit)

    async def goes_on(self, seconds: int) -> None:
        """Let the sender say what it may, and time pass."""
        await self.sender.drain()
        self.clock.move(seconds)

    def mentions(self) -> str:
        """Return what was said of new criticals, and not on the card."""
        texts = self.sim.texts(self.room.id)
        return "\n".join(text for text in texts if text.startswith("【🔴"))


@pytest.fixture
async def gale(store: Store, tmp_path: Path) -> AsyncIterator[Gale]:
    clock, nobody = SimClock(), cast("Any", None)
    async with WeComSim(clock.now) as sim:
        li = sim.user("Li")
        room = sim.found("客户甲", li)
        link = WeCom(
            BOT_ID,
            Secret(SECRET),
            state=tmp_path / "wecom.sqlite",
            clock=clock,
            ws_url=sim.ws_url,
            public_url="http://bot",
        )
        kit = Kit(clock, store, {"wecom": link}, nobody, nobody, nobody, House())

        async def draw(key: str, unit: Unit) -> Card:
            return await show.drawn(key, kit, unit)

        async with link:
            await sim.say(li, room.id, f"@{NAME} /bind 甲")
            await anext(link.events())
            customer = Customer(0, "甲", "jia", clock.now(), Chat("wecom", room.id))
            async with store.unit() as unit:
                customer = await unit.customers.add(customer)
            sender = Sender(store, kit.chats, draw, clock)
            yield Gale(kit, clock, customer, sender, sim, room)


def name(rule: int) -> str:
    return f"rule-{rule:03}"


def alert(rule: int, host: int, severity: Severity = Severity.WARNING) -> Alert:
    what, on = name(rule), f"host-{host:03}"
    labels = {"alertname": what, "instance": on}
    return Alert(f"{what}@{on}", True, severity, what, on, f"{what} on {on}", labels=labels)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_storm_costs_a_group_few_messages_and_hides_no_critical(gale: Gale) -> None:
    """20,000 alerts at once, then a new critical every few seconds for a minute. Each is named by a
    mention within the ten seconds in which mentions are gathered; the card is said three times a
    minute; WeCom refuses nothing, and could hear this rate for hours."""
    alerts = [alert(rule, host) for rule in range(RULES) for host in range(HOSTS)]
    size = len(alerts) // POSTS
    for number in range(POSTS):
        await gale.post(*alerts[number * size : (number + 1) * size])
    for second in range(0, MINUTE, STEP):
        if second % EVERY == 0:
            await gale.post(alert(RULES + second, 0, Severity.CRITICAL))
        await gale.goes_on(STEP)
        if (old := second - GATHERED) >= 0 and old % EVERY == 0:
            assert name(RULES + old) in gale.mentions()
    said = len(gale.room.shown)
    assert said <= MOST
    assert said * 60 < PER_HOUR
    cards = [text for text in gale.sim.texts(gale.room.id) if text.startswith("【🌪️")]
    newest = [text for text in cards if "新的在前" in text][-1].splitlines()
    place = next(n for n, line in enumerate(newest) if "新的在前" in line)
    shown = [line.partition("rule-")[2][:3] for line in newest[place + 1 : place + 11]]
    assert shown == sorted(shown, reverse=True)
    assert gale.sim.calls.count("aibot_send_msg") == said
    async with gale.kit.store.view() as unit:
        tally = await unit.outbox.tally()
    assert (tally[DeliveryState.FAILED], tally[DeliveryState.DOUBT]) == (0, 0)

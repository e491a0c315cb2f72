"""A warning that flaps is told no more, and how it settles is: over real databases and the real sender."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from adapters.card import Card, plain
from adapters.words import Severity
from bot.sender import Sender
from runbooks.alerting import pipeline, repeating, show
from storage.store import Unit
from tests.unit import test_pipeline
from tests.unit.test_pipeline import CRITICAL, WARNING, Desk, alert
from tests.unit.test_sender import Paper

desk = test_pipeline.desk

WINDOW = timedelta(minutes=10)
HALF = timedelta(seconds=30)
"""Between two changes of what flaps."""


@dataclass
class Drawing:
    """A customer's group, and the cards that it was shown with the instants of that."""

    desk: Desk
    paper: Paper = field(default_factory=Paper)
    cards: list[tuple[datetime, Card]] = field(default_factory=list)

    async def look(self) -> None:
        """Do what is due by the clock."""

        async def draw(key: str, unit: Unit) -> Card:
            card = await show.drawn(key, self.desk.kit, unit)
            self.cards.append((self.desk.clock.now(), card))
            return card

        await pipeline.look(self.desk.kit)
        await repeating.repeat(self.desk.kit)
        await Sender(self.desk.kit.store, {"paper": self.paper}, draw, self.desk.clock).drain()

    async def wait(self, span: timedelta, *, step: timedelta = HALF) -> None:
        """Let time pass, with looks on the way."""
        end = self.desk.clock.now() + span
        while self.desk.clock.now() < end:
            await self.desk.clock.sleep(step.total_seconds())
            await self.look()

    async def change(self, *, firing: bool, severity: Severity = WARNING, host: str = "a") -> None:
        await self.desk.post(alert("CPU", host, severity, firing=firing))
        await self.wait(HALF)

    async def flap(self, times: int, severity: Severity = WARNING) -> None:
        """Have the alert begin and end so often."""
        for _ in range(times):
            await self.change(firing=True, severity=severity)
            await self.change(firing=False, severity=severity)

    @property
    def titles(self) -> list[str]:
        return [card.title for _, card in self.cards]


@pytest.fixture
def drawing(desk: Desk) -> Drawing:
    return Drawing(desk)


async def test_what_flapped_and_fires_on_is_drawn_as_firing_once(drawing: Drawing) -> None:
    await drawing.flap(3)
    assert drawing.titles[-1] == "🟠 告警：CPU"
    shown = len(drawing.cards)
    settled = drawing.desk.clock.now()
    await drawing.change(firing=True)
    await drawing.wait(WINDOW)
    await drawing.wait(timedelta(hours=6), step=timedelta(hours=1))
    ((at, card),) = drawing.cards[shown:]
    assert card.title == "🟠 告警：CPU"
    assert "1 条在触发" in plain(card)
    assert at <= settled + WINDOW + HALF


async def test_what_flapped_and_is_over_is_drawn_as_recovered_once(drawing: Drawing) -> None:
    """And not before it has been over for as long as flapping is counted."""
    await drawing.flap(5)
    assert drawing.titles.count("✅ 告警：CPU") == 1
    shown = len(drawing.cards)
    ended = drawing.desk.clock.now() - HALF
    await drawing.wait(2 * WINDOW)
    ((at, card),) = drawing.cards[shown:]
    assert card.title == "✅ 告警：CPU"
    assert ended + WINDOW <= at <= ended + WINDOW + HALF


async def test_while_it_flaps_it_is_never_drawn_as_recovered(drawing: Drawing) -> None:
    await drawing.flap(2)
    shown = len(drawing.cards)
    await drawing.flap(12)
    assert "✅ 告警：CPU" not in drawing.titles[shown:]


async def test_what_flapped_before_its_card_was_shown_is_shown_when_it_fires_on(
    drawing: Drawing,
) -> None:
    """It ended each time within the wait, so there was nothing to show."""
    for _ in range(3):
        await drawing.desk.post(alert("CPU", "a"))
        await drawing.desk.clock.sleep(1)
        await drawing.desk.post(alert("CPU", "a", firing=False))
        await drawing.desk.clock.sleep(1)
    await drawing.look()
    assert drawing.cards == []
    await drawing.change(firing=True)
    await drawing.wait(WINDOW)
    assert drawing.titles == ["🟠 告警：CPU"]


async def test_another_alert_of_the_incident_is_told_at_once(drawing: Drawing) -> None:
    """Its begin and its end, though the first one flaps."""
    await drawing.flap(3)
    shown = len(drawing.cards)
    await drawing.change(firing=True, host="b")
    await drawing.change(firing=False, host="b")
    assert drawing.titles[shown:] == ["🟠 告警：CPU", "✅ 告警：CPU"]


async def test_a_critical_that_flaps_is_told_each_time(drawing: Drawing) -> None:
    await drawing.flap(4, CRITICAL)
    assert drawing.titles.count("✅ 告警：CPU") == 4


async def test_a_flapping_alert_that_is_silenced_is_drawn_at_once(drawing: Drawing) -> None:
    """Somebody waits for the answer to his press."""
    await drawing.flap(3)
    await drawing.change(firing=True)
    shown = len(drawing.cards)
    desk = drawing.desk
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "静默 1 小时"))
    await drawing.look()
    assert len(drawing.cards) == shown + 1


async def test_the_window_is_the_customers_own(drawing: Drawing) -> None:
    policy = replace(drawing.desk.kit.house.alerting, flap_window=2 * WINDOW)
    house = replace(drawing.desk.kit.house, alerting=policy)
    drawing.desk.kit = replace(drawing.desk.kit, house=house)
    await drawing.flap(3)
    shown, ended = len(drawing.cards), drawing.desk.clock.now() - HALF
    await drawing.wait(3 * WINDOW)
    ((at, _),) = drawing.cards[shown:]
    assert at >= ended + 2 * WINDOW

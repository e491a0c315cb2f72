"""What Alertmanager left out of its posts is said on the cards, until a post of the group is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from adapters.card import plain
from adapters.sources import SOURCES
from adapters.words import Chat
from bot.folding import Folding
from runbooks.alerting import show
from runbooks.alerting.truncation import REMEMBERED
from runbooks.kit import House, Kit
from storage.records import Accepted, Customer, KnownAlert, LivingCard, StormPhase
from storage.store import Store
from tests.unit.test_folding import Shelf, fold_all

GROUP = Chat("paper", "g1", "海蓝")
MAYBE = "{} 条可能已恢复：上游截断之后没有再提到"
SAID = "上游截断了 {} 条未送达：请调大 max_alerts（Alertmanager）"


def post(
    *hosts: str, left: int = 0, rule: str = "磁盘", sender: str = "am-1", **more: Any
) -> bytes:
    """What Alertmanager posts of one group."""
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": rule, "instance": host, "severity": "warning"},
            "startsAt": "2026-11-25T03:00:00Z",
            "fingerprint": f"{rule}@{host}",
        }
        for host in hosts
    ]
    body = {
        "version": "4",
        "alerts": alerts,
        "externalURL": f"http://{sender}:9093",
        "groupKey": f'{{}}:{{alertname="{rule}"}}',
        "groupLabels": {"alertname": rule},
        "truncatedAlerts": left,
    }
    return json.dumps(body | more).encode()


def critical(*hosts: str, **more: Any) -> bytes:
    """The same of alerts about which people are called."""
    return post(*hosts, **more).replace(b'"warning"', b'"critical"')


class Desk:
    """One customer whose Alertmanager posts, each post through the intake's fold."""

    def __init__(self, store: Store, clock: Any) -> None:
        nobody = cast("Any", None)
        self.kit = Kit(clock, store, {}, nobody, nobody, nobody, House())
        self.clock, self.store, self.shelf = clock, store, Shelf()

    async def open(self) -> None:
        async with self.store.unit() as unit:
            one = Customer(0, "海蓝", "hailan", self.clock.now(), GROUP)
            await unit.customers.add(one)

    async def hear(self, *posts: bytes) -> None:
        """Fold posts that came at once, by a process that has just started."""
        for body in posts:
            self.shelf.put(1, body, self.clock.now())
        await fold_all(Folding(self.kit, self.shelf, SOURCES))
        await self.clock.sleep(10)

    async def card(self, incident: int = 1) -> str:
        async with self.store.view() as unit:
            return plain(await show.incident(incident, self.kit.house, self.clock.now(), unit))

    async def storm(self) -> str:
        """Return the card of a storm that would be there now."""
        async with self.store.unit() as unit:
            before = await unit.incidents.storm(1)
            await unit.incidents.save_storm(replace(before, phase=StormPhase.STORM))
            card = await show.storm(1, self.kit.house, self.clock.now(), unit)
            await unit.incidents.save_storm(before)
            return plain(card)

    async def living(self, incident: int = 1) -> LivingCard:
        async with self.store.view() as unit:
            found = await unit.outbox.living(f"incident:{incident}")
        assert found
        return found

    async def firing(self) -> Sequence[KnownAlert]:
        async with self.store.view() as unit:
            return await unit.incidents.firing(1, 100)

    async def hosts(self) -> set[str]:
        return {alert.host for alert in await self.firing()}


@pytest.fixture
async def desk(store: Store, clock: Any) -> Desk:
    made = Desk(store, clock)
    await made.open()
    return made


async def test_what_was_left_out_stands_on_the_cards_until_a_post_is_whole(desk: Desk) -> None:
    """Over restarts: each fold here is by a new process."""
    await desk.hear(post("a", "b", left=35))
    assert SAID.format(35) in await desk.card()
    assert SAID.format(35) in await desk.storm()
    await desk.hear(post("a", "b", rule="内存"))
    assert SAID.format(35) in await desk.card()
    assert "截断" not in await desk.card(2)
    await desk.hear(post("a", "b", left=1200))
    assert SAID.format("1,200") in await desk.card()
    await desk.hear(post("a", "b"))
    assert "截断" not in await desk.card()
    assert "截断" not in await desk.storm()


async def test_the_card_is_drawn_when_the_number_changes_and_not_for_a_repeat(desk: Desk) -> None:
    """A repeat changes nothing else, so nothing else would draw it."""
    await desk.hear(post("a", "b"))
    versions = [(await desk.living()).version]
    for left in (7, 7, 9, 0, 0):
        await desk.hear(post("a", "b", left=left))
        versions.append((await desk.living()).version)
    first = versions[0]
    assert versions == [first, first + 1, first + 1, first + 2, first + 3, first + 3]


async def test_an_end_that_was_left_out_is_seen_in_the_next_whole_post(desk: Desk) -> None:
    """Of three alerts one ended while the posts were cut: it is not in what is whole."""
    await desk.hear(post("a", "b", left=1), post("b", "c", left=1))
    assert await desk.hosts() == {"a", "b", "c"}
    await desk.hear(post("b", "c"))
    assert await desk.hosts() == {"b", "c"}
    await desk.hear(post("c"))
    # It was not cut any more: who is not named has ended by a word of its own, or fires on.
    assert await desk.hosts() == {"b", "c"}


async def test_in_one_fold_the_order_of_the_posts_counts(desk: Desk) -> None:
    """Cut, whole, cut again: what came back fires."""
    await desk.hear(post("a", left=1), post("b"), post("a", left=1))
    assert await desk.hosts() == {"a", "b"}
    assert SAID.format(1) in await desk.card()
    await desk.hear(post("a", "b"), post("c", left=2), post("c"))
    assert await desk.hosts() == {"c"}


async def test_what_began_before_the_cut_and_ended_during_it_has_ended(desk: Desk) -> None:
    """It is in no cut post, so only that its group began with it tells that it was the group's. Nobody
    is called about it any more, a silenced one is forgotten as well."""
    await desk.hear(critical("a", "b", "c"), post("z", rule="内存"))
    await desk.hear(critical("a", "b", "a2", left=1))
    assert await desk.hosts() == {"a", "b", "c", "a2", "z"}
    await desk.hear(critical("a", "b", "a2"))
    assert await desk.hosts() == {"a", "b", "a2", "z"}
    assert "可能已恢复" not in await desk.card()
    await desk.hear(critical("a", left=2), critical("a"))
    assert await desk.hosts() == {"a", "z"}
    await desk.hear(critical(left=3), critical())
    assert await desk.hosts() == {"z"}
    async with desk.store.view() as unit:
        climb = await unit.escalations.last(1)
    assert climb
    assert climb.stopped_at


async def test_a_critical_that_was_told_before_its_turn_is_of_its_group_too(desk: Desk) -> None:
    """A critical that waits is folded by itself first, which is no whole post of its group."""
    await desk.hear(post("x", left=1))
    await desk.hear(post("x", left=1), *(critical("a", "b", rule="磁盘"),) * 3, post("x", left=2))
    assert await desk.hosts() == {"a", "b", "x"}
    await desk.hear(post("x"))
    assert await desk.hosts() == {"x"}


async def test_what_is_told_before_its_turn_is_no_whole_post(desk: Desk) -> None:
    """It has the criticals alone: of the others it says nothing."""
    mixed = json.loads(post("x", "a"))
    mixed["alerts"][1]["labels"]["severity"] = "critical"
    await desk.hear(post("x", left=1))
    await desk.hear(post("x", left=1), json.dumps(mixed).encode())
    flips = {alert.host: len(alert.flips) for alert in await desk.firing()}
    assert flips == {"a": 1, "x": 1}


async def test_what_is_hidden_ends_as_well(desk: Desk) -> None:
    await desk.hear(post("a", "c"))
    async with desk.store.unit() as unit:
        (one,) = [each for each in await unit.incidents.firing(1, 9) if each.host == "c"]
        await unit.incidents.put_alerts([], [replace(one, hidden="静默 #1")])
    await desk.hear(post("a", left=1), post("a"))
    async with desk.store.view() as unit:
        assert await unit.incidents.firing(1, 9, hidden=True) == []


async def test_of_another_group_of_that_name_nobody_knows_and_the_card_says_so(desk: Desk) -> None:
    """Perhaps it is the same monitor under another name, perhaps another one. The next word is heard."""
    await desk.hear(post("a", sender="am-1"), post("z", "y", sender="am-2"))
    await desk.hear(post("a", left=1, sender="am-1"))
    assert MAYBE.format(1) not in await desk.card()
    before = (await desk.living()).version
    await desk.hear(post("a", sender="am-1"))
    assert await desk.hosts() == {"a", "y", "z"}
    assert MAYBE.format(2) in await desk.card()
    assert (await desk.living()).version == before + 1
    await desk.hear(post("a", sender="am-1"))
    assert (await desk.living()).version == before + 1, "a repeat"
    await desk.hear(post("z", sender="am-2"))
    assert MAYBE.format(1) in await desk.card()
    assert MAYBE.format(1) in await desk.storm()
    await desk.hear(post("y", sender="am-2"))
    assert "可能已恢复" not in await desk.card()
    assert (await desk.living()).version == before + 3
    async with desk.store.view() as unit:
        assert [one.seen for one in await unit.truncations.of(1)] == []


async def test_that_nobody_knows_is_said_as_long_as_the_group_speaks(desk: Desk) -> None:
    await desk.hear(post("a", sender="am-1"), post("z", sender="am-2"))
    await desk.hear(post("a", left=1, sender="am-1"), post("a", sender="am-1"))
    for _ in range(3):
        await desk.clock.sleep(REMEMBERED.total_seconds() - 3600)
        assert MAYBE.format(1) in await desk.card()
        await desk.hear(post("a", sender="am-1"))
    await desk.clock.sleep(REMEMBERED.total_seconds())
    assert MAYBE.format(1) not in await desk.card()


async def test_a_group_without_labels_doubts_nothing_of_others(desk: Desk) -> None:
    """All that there is would have its labels. What began in it ends, whatever its labels are."""
    whole: dict[str, Any] = {"groupKey": "{}:{}", "groupLabels": {}}
    await desk.hear(post("a", "c", **whole), post("z", rule="内存"))
    await desk.hear(post("a", left=1, **whole), post("a", **whole))
    assert await desk.hosts() == {"a", "z"}
    assert "可能已恢复" not in await desk.card(2)


async def test_another_senders_group_of_the_same_name_ends_nothing(desk: Desk) -> None:
    """Two clusters' Alertmanagers name their groups alike."""
    await desk.hear(post("a", left=3))
    await desk.hear(post("z", sender="am-2"))
    assert await desk.hosts() == {"a", "z"}
    assert SAID.format(3) in await desk.card()


async def test_what_nobody_speaks_of_any_more_is_forgotten(desk: Desk) -> None:
    """A group of which nothing was heard for a day."""
    await desk.hear(post("a", left=3))
    await desk.clock.sleep(REMEMBERED.total_seconds())
    assert "截断" not in await desk.card()
    await desk.hear(post("b", rule="内存", left=1))
    async with desk.store.view() as unit:
        assert len(await unit.truncations.of(1)) == 1


@pytest.mark.parametrize(
    "more",
    [{"truncatedAlerts": "many"}, {"groupKey": 3}, {"groupLabels": ["x"]}, {"truncatedAlerts": -4}],
)
async def test_a_count_that_cannot_be_read_loses_no_alert(desk: Desk, more: dict[str, Any]) -> None:
    """What it left out is then not known."""
    await desk.hear(post("a", left=2, **more))
    assert await desk.hosts() == {"a"}
    assert "截断" not in await desk.card()


async def test_a_number_without_end_is_a_number(desk: Desk) -> None:
    """What a row can keep."""
    await desk.hear(post("a", left=10**30))
    assert SAID.format("1,000,000,000") in await desk.card()


async def test_grafanas_limit_has_its_own_name(desk: Desk) -> None:
    """People look for what it is called there."""
    desk.shelf.posts.append(Accepted(1, 1, "grafana", desk.clock.now(), post("a", left=4)))
    await desk.hear()
    assert "上游截断了 4 条未送达：请调大 联络点的 Max Alerts（Grafana）" in await desk.card()

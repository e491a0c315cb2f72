"""A route's receiver says who is told: the group, the operations group, mail or webhook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from adapters.card import loads, plain
from adapters.words import Alert, Chat, Person, Secret, Severity
from runbooks import reach
from runbooks.alerting import pipeline, repeating
from runbooks.alerting.muting.hidden import Rules
from runbooks.alerting.muting.matchers import Matcher, Operator
from runbooks.alerting.muting.places import ALWAYS, Place
from runbooks.alerting.muting.routes import Route, Routing
from runbooks.alerting.pipeline import Post
from runbooks.alerting.policy import Policy
from runbooks.alerting.receivers import by_places, places_of
from runbooks.kit import House, Kit
from runbooks.walk import OPERATIONS
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    IncidentState,
    KnownAlert,
    StormPhase,
)
from storage.store import Store

GROUP = Chat("paper", "g1", "海蓝 监控交付")
OPS = Chat("paper", "ops", "运营群")
MAIL = Chat("mail", "ops@hailan.example.com", "ops@hailan.example.com")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def env(name: str) -> tuple[Matcher, ...]:
    return (Matcher("env", Operator.IS, name),)


ROUTES = (
    Route("ours", env("test")),
    Route("post", env("mail"), wait=timedelta(seconds=30)),
    Route("all", env("both"), go_on=True),
    Route("ours", env("both")),
)
RULES = Rules(
    routing=Routing(Route(routes=ROUTES)),
    receivers={
        "ours": frozenset({Place.OPS}),
        "post": frozenset({Place.MAIL}),
        "all": frozenset({Place.GROUP}),
    },
)


class Desk:
    """One customer with a group and a mail address, an operations group, and what is posted."""

    def __init__(self, store: Store, clock: Any, house: House) -> None:
        self.store, self.clock, self.house = store, clock, house
        self.customer: Customer

    async def open(self) -> None:
        now = self.clock.now()
        async with self.store.unit() as unit:
            one = Customer(0, "海蓝", "hailan", now, GROUP)
            self.customer = await unit.customers.add(one)
            await unit.outbox.mark(OPERATIONS, OPS, now)
            await unit.vault.put(reach.notify_name(self.customer.id, "email"), Secret(MAIL.id))

    async def post(
        self, where: str, *rules: str, severity: Severity = Severity.WARNING, firing: bool = True
    ) -> None:
        now = self.clock.now()
        said = tuple(
            Alert(f"{where}{rule}", firing, severity, rule, "h", labels={"env": where})
            for rule in rules
        )
        async with self.store.unit() as unit:
            posts = [Post("grafana", now, said)]
            await pipeline.fold(self.customer, posts, now, self.house, unit)

    async def waiting(self, chat: Chat) -> Sequence[Delivery]:
        async with self.store.view() as unit:
            entries = await unit.outbox.latest(500)
        mine = [e for e in entries if e.chat == chat and e.living != OPERATIONS]
        return [e for e in reversed(mine) if e.state is DeliveryState.WAITING]

    async def said(self, chat: Chat) -> list[str]:
        return [plain(loads(e.card)) if e.card else e.living for e in await self.waiting(chat)]

    async def send(self) -> None:
        """Everything that is due has gone."""
        now = self.clock.now()
        async with self.store.unit() as unit:
            for entry in await unit.outbox.latest(500):
                if entry.state is DeliveryState.WAITING and (entry.due or now) <= now:
                    gone = replace(entry, state=DeliveryState.SENT, sent_at=now)
                    await unit.outbox.save(gone)


@pytest.fixture
async def desk(store: Store, clock: Any) -> Desk:
    made = Desk(store, clock, House(muting=RULES, alerting=Policy(storm_incidents=4)))
    await made.open()
    return made


async def test_without_a_receiver_it_is_as_always(desk: Desk) -> None:
    """A card in the group; a critical is also mailed."""
    await desk.post("live", "磁盘")
    assert await desk.said(GROUP) == ["incident:1"]
    assert await desk.said(MAIL) == await desk.said(OPS) == []
    await desk.post("live", "宕机", severity=Severity.CRITICAL)
    (mail,) = await desk.said(MAIL)
    assert "宕机" in mail
    assert await desk.said(OPS) == []


async def test_what_goes_to_us_alone_is_not_in_the_customers_group(desk: Desk) -> None:
    """When it begins and when it is over; no card stands in the group before or after."""
    await desk.post("test", "磁盘", "内存")
    (told,) = await desk.waiting(OPS)
    assert told.due == desk.clock.now() + desk.house.alerting.wait
    assert "#1 磁盘" in (said := plain(loads(told.card)))
    assert "#2 内存" in said
    await desk.clock.sleep(5)
    await desk.send()
    await desk.post("test", "磁盘", firing=False)
    (over,) = await desk.said(OPS)
    assert "✅ #1 磁盘：已恢复" in over
    assert await desk.said(GROUP) == await desk.said(MAIL) == []
    await desk.clock.sleep(60)
    await desk.send()
    await desk.post("test", "磁盘")
    (again,) = await desk.said(OPS)
    assert "#1 磁盘" in again


async def test_a_critical_is_mentioned_where_its_route_says(desk: Desk) -> None:
    """At once, and nowhere else."""
    await desk.post("test", "宕机", severity=Severity.CRITICAL)
    mention, *_ = await desk.waiting(OPS)
    assert (mention.key.partition(":")[0], mention.due) == ("critical", None)
    assert await desk.said(GROUP) == await desk.said(MAIL) == []
    async with desk.store.view() as unit:
        assert await unit.escalations.last(1)


async def test_a_routes_wait_is_kept_and_what_ends_within_it_is_not_told(desk: Desk) -> None:
    """By mail after its thirty seconds; of two the one that is over is taken out."""
    await desk.post("mail", "磁盘", "内存")
    (told,) = await desk.waiting(MAIL)
    assert told.due == desk.clock.now() + 30 * SECOND
    await desk.post("mail", "磁盘", firing=False)
    (said,) = await desk.said(MAIL)
    assert "内存" in said
    assert "磁盘" not in said
    await desk.post("mail", "内存", firing=False)
    assert await desk.said(MAIL) == []
    async with desk.store.view() as unit:
        kept = await unit.outbox.by_key(told.key)
    assert kept
    assert (kept.state, kept.reason) == (DeliveryState.FAILED, "通知前已恢复")


async def test_what_is_over_takes_no_other_out_whose_title_has_its_number(desk: Desk) -> None:
    """The line of 作业 #1 is of incident #2: nobody would be told of that one any more."""
    await desk.post("mail", "磁盘", "作业 #1 失败")
    await desk.post("mail", "磁盘", firing=False)
    (said,) = await desk.said(MAIL)
    assert "#2 作业 #1 失败" in said
    assert "磁盘" not in said


async def test_a_flood_is_one_message_a_minute_and_no_storm_for_the_group(desk: Desk) -> None:
    """Sixty incidents of ours in a minute; beyond twenty lines they are counted."""
    for wave in range(12):
        await desk.post("test", *(f"规则{5 * wave + n}" for n in range(5)))
        await desk.send()
        await desk.clock.sleep(5)
    async with desk.store.view() as unit:
        storm = await unit.incidents.storm(desk.customer.id)
        entries = await unit.outbox.latest(500)
    assert storm.phase is StormPhase.NORMAL
    told = [e for e in entries if e.chat == OPS and e.key.startswith("told:")]
    assert 1 < len(told) <= 3
    counted = 0
    for entry in told:
        lines = plain(loads(entry.card)).split("\n")
        counted += sum(" #" in line for line in lines)
        counted += sum(int(line.split("：")[-1]) for line in lines if line.startswith("另有"))
    assert counted == 60
    assert await desk.said(GROUP) == []


async def test_two_ways_tell_in_both_places(desk: Desk) -> None:
    """`continue`: a card in the group, and a line for us."""
    await desk.post("both", "磁盘")
    assert await desk.said(GROUP) == ["incident:1"]
    assert "#1 磁盘" in (await desk.said(OPS))[0]


async def test_a_place_that_is_not_set_up_is_no_hole(desk: Desk) -> None:
    """The group hears what nobody else would."""
    async with desk.store.unit() as unit:
        await unit.vault.drop(reach.notify_name(desk.customer.id, "email"))
    await desk.post("mail", "磁盘")
    assert "#1 磁盘" in (await desk.said(GROUP))[0]


def test_places_are_those_of_all_ways(clock: Any) -> None:
    """And with no receivers at all nothing is looked up."""
    at = clock.now()
    known = KnownAlert(
        1, "s", "f", 1, "g", True, Severity.INFO, "r", "h", "", "", "", {"env": "both"}, at, at
    )
    routing, receivers = RULES.routing, RULES.receivers
    both = frozenset({Place.GROUP, Place.OPS})
    assert places_of(known, routing, receivers) == both
    live = replace(known, labels={"env": "live"})
    assert by_places([known, live], routing, receivers) == {both: [known], ALWAYS: [live]}
    assert places_of(known, routing, {}) == ALWAYS


async def test_a_routes_reminder_goes_where_the_route_says(desk: Desk) -> None:
    """After its repeat nobody has acknowledged what was told to us alone: so are we reminded."""
    ours = Route("ours", env("test"), repeat=60 * MINUTE)
    rules = replace(RULES, routing=Routing(Route(routes=(ours,))))
    nobody = cast("Any", None)
    house = House(muting=rules)
    kit = Kit(desk.clock, desk.store, {}, nobody, nobody, nobody, house)
    desk.house = house
    await desk.post("test", "磁盘")
    await desk.post("live", "内存")
    await desk.clock.sleep(3599)
    assert await repeating.repeat(kit) == 0
    await desk.clock.sleep(1)
    assert await repeating.repeat(kit) == 1
    assert await repeating.repeat(kit) == 0
    assert "仍未处理 #1" in (await desk.said(OPS))[-1]
    assert await desk.said(GROUP) == ["incident:2"]


async def test_what_was_acknowledged_and_fires_on_is_said_again_once_a_day(desk: Desk) -> None:
    """Nobody is called about it any more: so who forgets it must be reminded."""
    nobody = cast("Any", None)
    house = desk.house = House(alerting=Policy(repeat=60 * MINUTE))
    kit = Kit(desk.clock, desk.store, {}, nobody, nobody, nobody, house)
    await desk.post("live", "磁盘", severity=Severity.CRITICAL)
    now, li = desk.clock.now(), Person("paper", "li", "李工")
    async with desk.store.unit() as unit:
        (incident,) = await unit.incidents.open_of(desk.customer.id)
        acked = replace(incident, state=IncidentState.ACKED, acked_at=now, acked_by=li)
        await unit.incidents.save(acked)
    await desk.clock.sleep(24 * 3600 - 1)
    assert await repeating.repeat(kit) == 0
    await desk.clock.sleep(1)
    assert await repeating.repeat(kit) == 1
    assert await repeating.repeat(kit) == 0
    (told,) = [text for text in await desk.said(GROUP) if "⏰" in text]
    assert "已确认，仍未恢复" in told
    assert "李工" in told
    await desk.clock.sleep(24 * 3600)
    assert await repeating.repeat(kit) == 1
    await desk.post("live", "磁盘", severity=Severity.CRITICAL, firing=False)
    await desk.clock.sleep(24 * 3600)
    assert await repeating.repeat(kit) == 0

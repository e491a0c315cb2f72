"""From posts to incidents, storms and mentions, over real databases: what the group is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from adapters.card import Card, loads, plain
from adapters.chart import Chart
from adapters.port import UsageError
from adapters.words import Alert, Chat, Person, Severity
from runbooks.alerting import full_list, pipeline, show
from runbooks.alerting.pipeline import Post
from runbooks.alerting.policy import Policy
from runbooks.alerting.respond import Responder, deed
from runbooks.kit import House, Kit
from storage import incidents
from storage.incidents import BREATH, Incidents
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    KnownAlert,
    Lane,
    Silence,
    StormPhase,
)
from storage.store import Store

HOUR = timedelta(hours=1)
GROUP = Chat("paper", "g1")
LI = Person("paper", "li", "李工")
WANG = Person("paper", "wang", "王工")
CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING


def alert(rule: str, host: str, severity: Severity = WARNING, *, firing: bool = True) -> Alert:
    labels = {"alertname": rule, "instance": host}
    return Alert(f"{rule}@{host}", firing, severity, rule, host, f"{rule} on {host}", labels=labels)


@dataclass
class Desk:
    """One customer's group, and what is posted for it."""

    kit: Kit
    clock: Any
    customer: Customer

    async def post(self, *alerts: Alert, at: datetime | None = None) -> None:
        now = self.clock.now()
        async with self.kit.store.unit() as unit:
            said = [Post("alertmanager", at or now, alerts)]
            await pipeline.fold(self.customer, said, now, self.kit.house, unit)

    async def incidents(self) -> list[Incident]:
        async with self.kit.store.view() as unit:
            return list(await unit.incidents.open_of(self.customer.id))

    async def waiting(self) -> Mapping[str, Delivery]:
        async with self.kit.store.view() as unit:
            return {each.key: each for each in await unit.outbox.latest(500)}

    async def mentions(self) -> list[Delivery]:
        found = [one for key, one in (await self.waiting()).items() if key.startswith("critical:")]
        return sorted(found, key=lambda each: each.id)

    async def card(self, key: str) -> Card:
        async with self.kit.store.view() as unit:
            return await show.drawn(key, self.kit, unit)

    async def said(self, key: str) -> str:
        return plain(await self.card(key))

    async def phase(self) -> StormPhase:
        async with self.kit.store.view() as unit:
            return (await unit.incidents.storm(self.customer.id)).phase

    async def press(self, action: str, by: Person = LI) -> str:
        pressed = deed(action)
        assert pressed
        async with self.kit.store.unit() as unit:
            who = Responder(self.customer, by, self.clock.now(), self.kit.house, unit)
            return await who.press(pressed, f"press-{self.clock.now()}")

    async def button(self, key: str, label: str) -> str:
        text = await self.said(key)
        return text.split(f"[{label}](", 1)[1].split(")", 1)[0]


@pytest.fixture
async def desk(store: Store, clock: Any) -> Desk:
    nobody = cast("Any", None)
    house = House(alerting=Policy(storm_incidents=4))
    kit = Kit(clock, store, {}, nobody, nobody, nobody, house)
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", clock.now(), GROUP))
    return Desk(kit, clock, customer)


async def test_alerts_of_one_rule_are_one_incident_and_repeats_change_nothing(desk: Desk) -> None:
    await desk.post(alert("CPU", "a"), alert("CPU", "b"))
    await desk.post(alert("CPU", "a"), alert("CPU", "b"))
    (incident,) = await desk.incidents()
    assert (incident.title, incident.severity) == ("CPU", WARNING)
    text = await desk.said(f"incident:{incident.id}")
    assert "2 条在触发" in text
    assert "a、b" in text
    (entry,) = (await desk.waiting()).values()
    assert (entry.living, entry.lane) == (f"incident:{incident.id}", Lane.PROGRESS)
    assert entry.due == desk.clock.now() + desk.kit.house.alerting.wait


async def test_a_warning_that_ends_within_the_wait_is_never_told(desk: Desk) -> None:
    await desk.post(alert("CPU", "a"))
    await desk.clock.sleep(2)
    await desk.post(alert("CPU", "a", firing=False))
    assert await desk.waiting() == {}
    assert await desk.incidents() == []


async def test_a_critical_is_told_at_once_on_its_card_and_by_a_mention(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    card, mention = sorted((await desk.waiting()).values(), key=lambda each: each.living == "")
    assert (card.lane, card.due) == (Lane.ALARM, None)
    assert (mention.lane, mention.due) == (Lane.ALARM, None)
    assert "Disk · a" in plain(loads(mention.card))


async def test_the_criticals_of_the_next_ten_seconds_share_one_mention(desk: Desk) -> None:
    """The first at once, then one message for those of ten seconds, and so on without a gap."""
    begun = desk.clock.now()
    for n in range(25):
        await desk.post(alert("Disk", f"h{n:02}", CRITICAL))
        await desk.clock.sleep(1)
    found = await desk.mentions()
    dues = [int(((each.due or each.at) - begun).total_seconds()) for each in found]
    assert dues == [0, 10, 20, 30]
    named = "".join(each.card for each in found)
    assert all(f"Disk · h{n:02}" in named for n in range(25))


async def test_a_warning_that_becomes_critical_is_a_new_critical(desk: Desk) -> None:
    await desk.post(alert("Disk", "a"))
    await desk.clock.sleep(60)
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    assert incident.critical_at == desk.clock.now()
    assert len(await desk.mentions()) == 1


async def test_escalation_counts_from_when_the_critical_was_accepted(desk: Desk) -> None:
    accepted = desk.clock.now()
    await desk.clock.sleep(30)
    await desk.post(alert("Disk", "a", CRITICAL), at=accepted)
    (incident,) = await desk.incidents()
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert climb.began_at == accepted == incident.critical_at


async def test_a_new_critical_opens_what_was_acknowledged_and_a_warning_does_not(
    desk: Desk,
) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    key = f"incident:{incident.id}"
    await desk.press(await desk.button(key, "确认"))
    assert "👀 已确认（李工）" in await desk.said(key)
    await desk.clock.sleep(5)
    await desk.post(alert("Disk", "b"))
    assert (await desk.incidents())[0].state is IncidentState.ACKED
    await desk.post(alert("Disk", "c", CRITICAL))
    (again,) = await desk.incidents()
    assert (again.state, again.acked_by) == (IncidentState.OPEN, None)
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert (climb.round, climb.stopped_at) == (2, None)


async def test_when_its_alerts_end_an_incident_is_closed_and_nobody_is_called(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL), alert("Disk", "b", CRITICAL))
    (incident,) = await desk.incidents()
    await desk.post(alert("Disk", "a", firing=False))
    assert await desk.incidents()
    async with desk.kit.store.unit() as unit:
        living = await unit.outbox.living(f"incident:{incident.id}")
        assert living
        await unit.outbox.drawn(living.key, living.version, "receipt")
    await desk.clock.sleep(90)
    await desk.post(alert("Disk", "b", firing=False))
    assert await desk.incidents() == []
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert climb.stopped_at == desk.clock.now()
    assert "持续：1 分钟" in await desk.said(f"incident:{incident.id}")
    assert any(key.startswith("recovered:") for key in await desk.waiting())


async def test_what_comes_back_soon_is_the_same_incident(desk: Desk) -> None:
    await desk.post(alert("CPU", "a"))
    (first,) = await desk.incidents()
    await desk.post(alert("CPU", "a", firing=False))
    await desk.clock.sleep(60)
    await desk.post(alert("CPU", "a"))
    (again,) = await desk.incidents()
    assert again.id == first.id
    await desk.post(alert("CPU", "a", firing=False))
    await desk.clock.sleep(601)
    await desk.post(alert("CPU", "a"))
    (later,) = await desk.incidents()
    assert later.id != first.id


async def test_a_storm_has_one_card_and_each_new_critical_is_still_mentioned(desk: Desk) -> None:
    await desk.post(*(alert(f"r{n}", f"h{n % 7}") for n in range(30)))
    assert await desk.phase() is StormPhase.STORM
    entries = await desk.waiting()
    assert [each.living for each in entries.values()] == [f"storm:{desk.customer.id}"]
    await desk.clock.sleep(20)
    await desk.post(alert("DBDown", "db-01", CRITICAL))
    text = await desk.said(f"storm:{desk.customer.id}")
    assert "警告 30" in text
    assert text.index("DBDown · db-01") < text.index("r0")
    assert "下一次升级" in text
    assert len(await desk.mentions()) == 1
    entries = await desk.waiting()
    (storm,) = (each for each in entries.values() if each.living)
    assert (storm.lane, storm.due) == (Lane.ALARM, None)


async def test_the_cards_of_the_first_alerts_are_taken_back_when_a_storm_begins(
    desk: Desk,
) -> None:
    for n in range(4):
        await desk.post(alert(f"r{n}", "a"))
    entries = await desk.waiting()
    assert [each.living for each in entries.values()] == [f"storm:{desk.customer.id}"]


async def test_acknowledging_all_spares_what_came_after_the_card(desk: Desk) -> None:
    await desk.post(*(alert(f"r{n}", "a", CRITICAL) for n in range(5)))
    action = await desk.button(f"storm:{desk.customer.id}", "确认全部（5）")
    await desk.clock.sleep(1)
    await desk.post(alert("late", "b", CRITICAL))
    assert await desk.press(action) == "已确认 5 个告警组"
    states = {incident.title: incident.state for incident in await desk.incidents()}
    assert states["late"] is IncidentState.OPEN
    assert states["r0"] is IncidentState.ACKED
    with pytest.raises(UsageError):
        await desk.press(action)


async def test_a_storm_that_is_over_is_summed_up_with_silences_to_press(desk: Desk) -> None:
    """All that fired is counted, though it was accepted a while before it was folded."""
    accepted = desk.clock.now() - timedelta(seconds=2)
    await desk.post(*(alert("Noise", f"h{n}") for n in range(40)), at=accepted)
    await desk.post(*(alert("Noise", f"h{n}", firing=False) for n in range(40)))
    key = f"storm-over:{desk.customer.id}:1"
    while key not in await desk.waiting():
        await desk.clock.sleep(30)
        await pipeline.look(desk.kit)
    assert await desk.phase() is StormPhase.NORMAL
    card = loads((await desk.waiting())[key].card)
    summary = plain(card)
    assert "收到：80 条，其中不同的告警 40 条" in summary
    assert "告警组：1 个" in summary
    (course,) = [block for block in card.blocks if isinstance(block, Chart)]
    assert course.title == "每分钟新告警"
    assert course.series[0].values[:3] == (40.0, 0.0, 0.0), "an end is no new alert"
    action = summary.split("[静默「Noise」2 小时](", 1)[1].split(")", 1)[0]
    await desk.press(action)
    await desk.post(alert("Noise", "h1"), alert("Noise", "h2", CRITICAL))
    async with desk.kit.store.view() as unit:
        ((why, severity, count),) = await unit.incidents.hidden(desk.customer.id)
        over = plain(await show.storm(desk.customer.id, desk.kit.house, desk.clock.now(), unit))
    assert "李工" in why
    assert (severity, count) == (WARNING, 1)
    assert len(await desk.mentions()) == 1
    assert "✅ 告警风暴已结束" in over
    assert "触发中" not in over, "it is not drawn again when that is over, too"


async def test_cards_say_when_it_began_by_its_source_and_calls_count_from_our_acceptance(
    desk: Desk,
) -> None:
    """The earliest of its alerts; of what says nothing, or nonsense, when we accepted it."""
    now = desk.clock.now()
    said = {
        "a": now - timedelta(hours=5),
        "b": now - timedelta(days=40),
        "c": now + HOUR,
        "d": None,
    }
    for host, at in said.items():
        await desk.post(replace(alert(f"r-{host}", host, CRITICAL), starts_at=at))
    async with desk.kit.store.view() as unit:
        began = {i.title: i.since for i in await unit.incidents.open_of(desk.customer.id)}
        climb = await unit.escalations.last(1)
    assert began == {"r-a": now - timedelta(hours=5), "r-b": now, "r-c": now, "r-d": now}
    assert climb
    assert climb.began_at == now
    assert "开始于：11-25 06:00:00" in await desk.said("incident:1")
    await desk.post(replace(alert("r-a", "a2"), starts_at=now - timedelta(hours=6)))
    await desk.post(replace(alert("r-a", "a3"), starts_at=now - timedelta(hours=1)))
    assert "开始于：11-25 05:00:00" in await desk.said("incident:1")
    await desk.clock.sleep(3600)
    await desk.post(*(alert("r-a", host, firing=False) for host in ("a", "a2", "a3")))
    assert "持续：7 小时 0 分钟" in await desk.said("incident:1")


@pytest.mark.parametrize("says", [True, False])
async def test_what_was_silenced_began_before_its_silence_ended(desk: Desk, *, says: bool) -> None:
    """Its calls count from then on; what people read is when it began, or came to us."""
    now = desk.clock.now()
    async with desk.kit.store.unit() as unit:
        ends = now + 2 * HOUR
        await unit.silences.add(Silence(0, desk.customer.id, "host=a", now, ends, LI))
    at = now - timedelta(hours=1) if says else None
    await desk.post(replace(alert("Disk", "a", CRITICAL), starts_at=at))
    assert await desk.incidents() == []
    await desk.clock.sleep(2 * 3600 + 1)
    await pipeline.look(desk.kit)
    (incident,) = await desk.incidents()
    assert incident.critical_at == incident.opened_at == desk.clock.now()
    assert incident.since == (at or now)


async def test_a_silenced_incident_is_counted_and_comes_back_when_the_silence_ends(
    desk: Desk,
) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    key = f"incident:{incident.id}"
    await desk.press(await desk.button(key, "静默 1 小时"))
    text = await desk.said(key)
    assert "🔕 1 条已隐藏" in text
    assert "李工" in text
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert climb.stopped_at == desk.clock.now()
    await desk.clock.sleep(3601)
    await pipeline.look(desk.kit)
    assert len(await desk.mentions()) == 2
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert climb.stopped_at is None


async def test_a_look_for_what_is_hidden_reads_nothing_that_is_seen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes every five seconds, and of thousands it would hold up everybody for as long as one of
    them is silenced."""
    await desk.post(*(alert("CPU", host) for host in ("a", "b", "c")))
    now, ends = desk.clock.now(), desk.clock.now() + HOUR
    async with desk.kit.store.unit() as unit:
        await unit.silences.add(Silence(0, desk.customer.id, "host=a", now, ends, LI))
        await pipeline.reconsider(desk.customer, now, desk.kit.house, unit)
    read = list[str]()
    real = Incidents.firing

    async def counted(self: Incidents, *args: Any, **named: Any) -> Sequence[KnownAlert]:
        found = await real(self, *args, **named)
        read.extend(each.host for each in found)
        return found

    monkeypatch.setattr(Incidents, "firing", counted)
    assert await pipeline.look(desk.kit) == 1
    assert read == ["a"]


async def test_an_incident_of_thousands_is_read_in_many_turns(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its card is drawn in the loop in which other customers' posts are answered."""
    many = 2 * BREATH + 10
    await desk.post(*(alert("CPU", f"h{number}") for number in range(many)))
    turns = [0]
    real = incidents._alert

    def counted(row: Mapping[Any, Any]) -> KnownAlert:
        turns[-1] += 1
        return real(row)

    async def others() -> None:
        while True:
            turns.append(0)
            await asyncio.sleep(0)

    monkeypatch.setattr(incidents, "_alert", counted)
    async with asyncio.TaskGroup() as group, desk.kit.store.view() as unit:
        busy = group.create_task(others())
        assert len(await unit.incidents.alerts(1)) == many
        busy.cancel()
    assert (sum(turns), max(turns)) == (many, BREATH)


async def test_an_incident_whose_critical_is_over_was_not_raised(desk: Desk) -> None:
    """Its warnings go on, and it stays as bad as it was: the storm's card says nothing of rules."""
    rest = [alert(f"r{number}", "a") for number in range(4)]
    await desk.post(alert("r0", "b", CRITICAL), *rest)
    await desk.post(alert("r0", "b", CRITICAL, firing=False))
    assert await desk.phase() is StormPhase.STORM
    said = await desk.said(f"storm:{desk.customer.id}")
    assert "触发中：警告 4" in said
    assert "提为严重" not in said


async def test_a_flapping_warning_is_marked_and_told_no_more(desk: Desk) -> None:
    await desk.post(alert("Ping", "a"))
    (incident,) = await desk.incidents()
    async with desk.kit.store.unit() as unit:
        living = await unit.outbox.living(f"incident:{incident.id}")
        assert living
        await unit.outbox.drawn(living.key, living.version, "receipt")
    for _ in range(4):
        for firing in (False, True):
            await desk.clock.sleep(20)
            await desk.post(alert("Ping", "a", firing=firing))
    assert "抖动" in await desk.said(f"incident:{incident.id}")
    assert len([one for one in await desk.incidents() if one.title == "Ping"]) == 1


async def test_one_customer_cannot_press_what_is_anothers(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    action = await desk.button(f"incident:{incident.id}", "确认")
    other = replace(desk.customer, id=desk.customer.id + 1)
    with pytest.raises(UsageError, match="没有这个告警组"):
        await Desk(desk.kit, desk.clock, other).press(action)


async def test_taking_over_and_giving_back(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    key = f"incident:{incident.id}"
    old = await desk.button(key, "确认")
    await desk.clock.sleep(1)
    await desk.press(old)
    with pytest.raises(UsageError, match="已由 李工 确认"):
        await desk.press(old, WANG)
    await desk.press(await desk.button(key, "我来接手"), WANG)
    assert "王工" in await desk.said(key)
    await desk.press(await desk.button(key, "取消确认"), WANG)
    assert "未确认" in await desk.said(key)
    await desk.press(await desk.button(key, "已解决"))
    assert await desk.incidents() == []
    await desk.post(alert("Disk", "a", CRITICAL))
    assert await desk.incidents() == []


async def test_the_full_list_is_a_file(desk: Desk) -> None:
    await desk.post(*(alert(f"r{n}", "a") for n in range(50)))
    action = await desk.button(f"storm:{desk.customer.id}", "完整清单")
    await desk.press(action)
    (entry,) = (each for each in (await desk.waiting()).values() if each.paper)
    assert (entry.state, entry.file) == (DeliveryState.WAITING, b"")
    async with desk.kit.store.view() as unit:
        file = await full_list.made(entry.paper, desk.clock.now(), desk.kit.house, unit)
    assert file.content.decode().count("\n") == 51

"""What has spread over many hosts is raised by the rules: for everybody, with a model or without."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.card import Mention, loads, plain
from adapters.words import Role, Severity
from runbooks.alerting.oncall import ladder
from runbooks.alerting.triage import raising
from runbooks.alerting.triage.verdict import SPREAD
from storage.records import Delivery, IncidentState, Lane, Member, StormPhase
from storage.roster import Callee
from tests.unit import test_pipeline
from tests.unit.test_pipeline import CRITICAL, LI, Desk, alert
from tests.unit.test_respond import on_call

desk = test_pipeline.desk


async def spread(desk: Desk, *rules: str, hosts: int = SPREAD, **of: Any) -> None:
    await desk.post(*(alert(rule, f"h{n}", **of) for rule in rules for n in range(hosts)))


async def said(desk: Desk) -> list[Delivery]:
    """Return the messages that something was raised."""
    return [each for key, each in (await desk.waiting()).items() if key.startswith("raised:")]


async def looked_at(desk: Desk) -> list[int]:
    """Return the incidents that a look would judge."""
    async with desk.kit.store.view() as unit:
        return [each.id for each in await unit.advices.spread(SPREAD)]


async def climbing(desk: Desk) -> list[int]:
    async with desk.kit.store.view() as unit:
        climbs = [(i.id, await unit.escalations.last(i.id)) for i in await desk.incidents()]
    return sorted(number for number, climb in climbs if climb and climb.stopped_at is None)


async def test_what_has_spread_is_raised_without_a_model(desk: Desk) -> None:
    """Of the basic tier, with no word of theirs about a model: people are called from now on."""
    assert desk.kit.model is None
    await spread(desk, "Disk", hosts=15)
    await desk.clock.sleep(5)
    assert await raising.by_rules(desk.kit) == 1
    (incident,) = await desk.incidents()
    assert (incident.severity, incident.critical_at) == (CRITICAL, desk.clock.now())
    assert await climbing(desk) == [incident.id]
    (entry,) = await said(desk)
    text = plain(loads(entry.card))
    assert (entry.lane, entry.due, entry.chat) == (Lane.ALARM, None, desk.customer.chat)
    assert "“Disk”同时出现在 15 台主机上" in text
    assert "/ack" in text
    assert "🔴 严重" in await desk.said(f"incident:{incident.id}")
    card = next(each for each in (await desk.waiting()).values() if each.living)
    assert (card.lane, card.due) == (Lane.ALARM, None), "its card is drawn at once"
    await desk.clock.sleep(timedelta(minutes=5).total_seconds())
    assert await ladder.climb(desk.kit)


async def test_what_is_raised_is_said_once(desk: Desk) -> None:
    """Nor do more hosts of it say so again."""
    await spread(desk, "Disk")
    assert await raising.by_rules(desk.kit) == 1
    await desk.clock.sleep(5)
    await spread(desk, "Disk", hosts=SPREAD + 5)
    assert await raising.by_rules(desk.kit) == 0
    assert len(await said(desk)) == 1


@pytest.mark.parametrize(
    ("hosts", "severity"), [(SPREAD - 1, Severity.WARNING), (SPREAD, Severity.INFO)]
)
async def test_with_nothing_to_say_nothing_is_said(
    desk: Desk, hosts: int, severity: Severity
) -> None:
    """Neither a card nor a call: one host short, or of what is for information only."""
    await spread(desk, "Disk", hosts=hosts, severity=severity)
    before = await desk.waiting()
    assert await looked_at(desk) == []
    assert await raising.by_rules(desk.kit) == 0
    assert await desk.waiting() == before
    assert await climbing(desk) == []


async def test_what_is_critical_already_is_not_raised(desk: Desk) -> None:
    await spread(desk, "Disk", severity=CRITICAL)
    assert await raising.by_rules(desk.kit) == 0
    assert await said(desk) == []


async def test_what_is_hidden_has_not_spread(desk: Desk) -> None:
    """A person's silence is not answered by a call."""
    await spread(desk, "Disk")
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "静默 1 小时"))
    await desk.post(alert("Disk", "other"))
    assert await looked_at(desk) == []
    assert await raising.by_rules(desk.kit) == 0
    assert (await desk.incidents())[0].severity is Severity.WARNING


async def test_what_has_ended_has_not_spread(desk: Desk) -> None:
    await spread(desk, "Disk")
    await desk.post(alert("Disk", "h0", firing=False))
    assert await raising.by_rules(desk.kit) == 0


async def test_two_rules_on_few_hosts_each_have_not_spread_together(desk: Desk) -> None:
    """One cause on many hosts is what is more than each of them."""
    await spread(desk, "Disk", "CPU", hosts=SPREAD - 1)
    assert await raising.by_rules(desk.kit) == 0


async def test_in_a_storm_it_is_raised_too_and_said_in_one_message(desk: Desk) -> None:
    """The storm's card counts alerts: it does not say what has become of them."""
    await spread(desk, "Disk", "CPU", "Ping", "Load", "Swap")
    assert await desk.phase() is not StormPhase.NORMAL
    assert await raising.by_rules(desk.kit) == 5
    (entry,) = await said(desk)
    card = loads(entry.card)
    assert "5 个告警组" in card.title
    assert all(f"#{each.id} {each.title}" in plain(card) for each in await desk.incidents())
    assert len(await climbing(desk)) == 5
    shown = await desk.said(f"storm:{desk.customer.id}")
    assert "5 个告警组（/alerts）" in shown, "the storm's card does not say something else"


async def test_many_are_raised_in_several_turns_of_the_writer_and_said_in_one_message(
    desk: Desk,
) -> None:
    """Else a new critical would wait until all of a storm's are raised."""
    many = raising.PART + 3
    await spread(desk, *(f"Rule{n}" for n in range(many)))
    assert await raising.by_rules(desk.kit) == many
    (entry,) = await said(desk)
    assert f"{many} 个告警组" in loads(entry.card).title
    assert len(await climbing(desk)) == many
    assert {each.severity for each in await desk.incidents()} == {CRITICAL}


async def test_an_acknowledged_incident_is_raised_and_nobody_is_called(desk: Desk) -> None:
    """Somebody takes care of it already."""
    await spread(desk, "Disk")
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "确认"))
    assert await raising.by_rules(desk.kit) == 1
    (incident,) = await desk.incidents()
    assert (incident.severity, incident.state) == (CRITICAL, IncidentState.ACKED)
    assert await climbing(desk) == []
    (entry,) = await said(desk)
    assert "/ack" not in plain(loads(entry.card))


async def acknowledged(desk: Desk, *hosts: str, rule: str = "Disk") -> None:
    """One of a rule fires on these hosts, somebody acknowledges it, and six hours pass."""
    await desk.post(*(alert(rule, host) for host in hosts))
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "确认"))
    await desk.clock.sleep(timedelta(hours=6).total_seconds())


@pytest.mark.parametrize("hosts", [1, SPREAD - 1])
async def test_what_spreads_after_it_was_acknowledged_is_open_again(desk: Desk, hosts: int) -> None:
    """Who took care of a few hosts in the evening does not take care of forty at night."""
    await acknowledged(desk, *(f"h{n}" for n in range(hosts)))
    await spread(desk, "Disk", hosts=40)
    assert await raising.by_rules(desk.kit) == 1
    (incident,) = await desk.incidents()
    assert (incident.severity, incident.state) == (CRITICAL, IncidentState.OPEN)
    assert (incident.acked_at, incident.acked_by) == (None, None)
    assert incident.critical_at == desk.clock.now(), "counted from now"
    assert await climbing(desk) == [incident.id]
    (entry,) = await said(desk)
    assert "需要重新确认" in plain(loads(entry.card))
    assert "/ack" in plain(loads(entry.card))
    await desk.press(await desk.button(f"incident:{incident.id}", "确认"))
    assert await climbing(desk) == []
    assert await raising.by_rules(desk.kit) == 0


async def test_a_rule_that_gets_worse_after_the_acknowledgement_has_spread_since(
    desk: Desk,
) -> None:
    """As information it was on all of these hosts before; that was nothing to call anybody for."""
    hosts = [f"h{n}" for n in range(SPREAD)]
    await desk.post(*(alert("Disk", host, severity=Severity.INFO) for host in hosts))
    await acknowledged(desk, "h0")
    await spread(desk, "Disk")
    assert await raising.by_rules(desk.kit) == 1
    (incident,) = await desk.incidents()
    assert incident.state is IncidentState.OPEN


async def test_what_had_spread_and_moves_on_is_not_open_again(desk: Desk) -> None:
    """When it was acknowledged it was on as many hosts: some are over since, and others are there."""
    await spread(desk, "Disk")
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "确认"))
    await desk.clock.sleep(1)
    await desk.post(alert("Disk", "h0", firing=False), alert("Disk", "h99"))
    assert await raising.by_rules(desk.kit) == 1
    (incident,) = await desk.incidents()
    assert (incident.severity, incident.state) == (CRITICAL, IncidentState.ACKED)
    assert await climbing(desk) == []


async def test_whoever_acknowledges_while_it_is_judged_has_seen_it(desk: Desk) -> None:
    """What was judged was what the earlier acknowledgement knew of."""
    await acknowledged(desk, "h0")
    await spread(desk, "Disk")
    (before,) = await desk.incidents()
    async with desk.kit.store.view() as unit:
        judged = await raising._judged(before, desk.kit.house, unit)
    assert judged
    assert judged.anew
    again = replace(before, acked_at=desk.clock.now())
    (now,) = raising._still([judged], {before.id: again})
    assert now.incident == again
    (now,) = raising._still([judged], {before.id: before})
    assert now.incident.state is IncidentState.OPEN


async def test_it_names_who_is_on_call(desk: Desk) -> None:
    """As every new critical does."""
    async with desk.kit.store.unit() as unit:
        await unit.people.put(Member(LI, Role.ENGINEER))
    await on_call(desk, Callee("李工"))
    await spread(desk, "Disk")
    await raising.by_rules(desk.kit)
    (entry,) = await said(desk)
    assert loads(entry.card).blocks[0] == Mention((LI,))


async def test_without_a_group_people_are_called_all_the_same(desk: Desk) -> None:
    """Nothing is said where nobody listens; the ladder knows other ways."""
    homeless = Desk(desk.kit, desk.clock, replace(desk.customer, chat=None))
    async with desk.kit.store.unit() as unit:
        homeless.customer = await unit.customers.add(
            replace(homeless.customer, name="新客户", slug="new")
        )
    await spread(homeless, "Disk")
    assert await raising.by_rules(desk.kit) == 1
    (incident,) = await homeless.incidents()
    assert incident.severity is CRITICAL
    assert await climbing(homeless) == [incident.id]

"""What is told already is hidden when its cause comes later, though nobody posts it again: the source of
an inhibition, or a time of day at which its route is mute. Over real databases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.words import Alert, Severity
from runbooks.alerting import pipeline
from runbooks.alerting.grouping import alert_of
from runbooks.alerting.muting.hidden import Rules
from runbooks.alerting.muting.inhibition import Inhibition
from runbooks.alerting.muting.intervals import interval
from runbooks.alerting.muting.matchers import parse
from runbooks.alerting.muting.routes import Route, Routing
from runbooks.alerting.pipeline import Post
from storage.records import KnownAlert
from tests.unit import test_pipeline
from tests.unit.test_pipeline import CRITICAL, WARNING, Desk, alert

desk = test_pipeline.desk

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
DOWN = Inhibition(parse("rule=HostDown"), parse("rule!=HostDown"), ("host",), "李工")
NIGHT = Routing(
    Route(
        "all",
        routes=(Route("db", parse('rule=~"CPU|Disk"'), mute=("night",), set_by="李工"),),
    ),
    {"night": (interval(times=[("12:00", "13:00")]),)},
)


def rules(desk: Desk, rules: Rules) -> None:
    """Have a desk's alerts judged by these rules."""
    desk.kit = replace(desk.kit, house=replace(desk.kit.house, muting=rules))


@pytest.fixture
def inhibited(desk: Desk) -> Desk:
    rules(desk, Rules(inhibitions=(DOWN,)))
    return desk


async def known(desk: Desk) -> Mapping[tuple[str, str], KnownAlert]:
    """Return a customer's firing alerts by their rule and host."""
    async with desk.kit.store.view() as unit:
        seen = await unit.incidents.firing(desk.customer.id, 100)
        unseen = await unit.incidents.firing(desk.customer.id, 100, hidden=True)
    return {(each.rule, each.host): each for each in (*seen, *unseen)}


async def called(desk: Desk) -> set[int]:
    """Return the incidents that somebody is to be called for."""
    async with desk.kit.store.view() as unit:
        rows = await unit.escalations.due(desk.clock.now() + HOUR)
        return {row.incident for row in rows}


async def fold(desk: Desk, *said: tuple[Alert, ...]) -> None:
    """Fold several posts at once."""
    now = desk.clock.now()
    async with desk.kit.store.unit() as unit:
        posts = [Post("zabbix", now, alerts) for alerts in said]
        await pipeline.fold(desk.customer, posts, now, desk.kit.house, unit)


# -- inhibition ---------------------------------------------------------------------------------


async def test_a_warning_within_its_wait_is_not_told_when_its_source_begins(
    inhibited: Desk,
) -> None:
    await inhibited.post(alert("CPU", "a"), alert("CPU", "b"))
    await inhibited.post(alert("Swap", "a"))
    await inhibited.clock.sleep(1)
    await inhibited.post(alert("HostDown", "a", CRITICAL))
    there = await known(inhibited)
    assert "抑制规则（李工" in there["CPU", "a"].hidden
    assert there["CPU", "b"].hidden == there["HostDown", "a"].hidden == ""
    waiting = {entry.living for entry in (await inhibited.waiting()).values() if entry.living}
    assert waiting == {"incident:1", "incident:3"}


async def test_it_is_told_when_its_source_is_over(inhibited: Desk) -> None:
    await inhibited.post(alert("CPU", "a"))
    await inhibited.post(alert("HostDown", "a", CRITICAL))
    await inhibited.post(alert("HostDown", "a", CRITICAL, firing=False))
    await inhibited.clock.sleep(5)
    await pipeline.look(inhibited.kit)
    assert (await known(inhibited))["CPU", "a"].hidden == ""
    assert "incident:1" in {entry.living for entry in (await inhibited.waiting()).values()}


async def test_what_ended_while_hidden_and_was_never_told_is_not_told(inhibited: Desk) -> None:
    await inhibited.post(alert("CPU", "a"))
    await inhibited.post(alert("HostDown", "a", CRITICAL))
    await inhibited.post(alert("CPU", "a", firing=False))
    living = {entry.living for entry in (await inhibited.waiting()).values() if entry.living}
    assert living == {"incident:2"}


async def test_nobody_is_called_for_a_critical_that_another_explains(inhibited: Desk) -> None:
    """Its card, which was told, says what hides it."""
    await inhibited.post(alert("CPU", "a", CRITICAL))
    await inhibited.clock.sleep(1)
    await inhibited.post(alert("HostDown", "a", CRITICAL))
    assert await called(inhibited) == {2}
    assert "🔕 1 条已隐藏：抑制规则" in await inhibited.said("incident:1")


async def test_a_rule_that_nobody_has_set_hides_no_critical(desk: Desk) -> None:
    rules(desk, Rules(inhibitions=(replace(DOWN, set_by=""),)))
    await desk.post(alert("CPU", "a", CRITICAL), alert("Swap", "a"))
    await desk.post(alert("HostDown", "a", CRITICAL))
    there = await known(desk)
    assert there["CPU", "a"].hidden == ""
    assert there["Swap", "a"].hidden
    assert await called(desk) == {1, 3}


async def test_a_source_that_became_one_by_its_severity_hides_too(desk: Desk) -> None:
    worse = Inhibition(parse("severity=critical"), parse("severity=warning"), ("host",), "李工")
    rules(desk, Rules(inhibitions=(worse,)))
    await desk.post(alert("CPU", "a"), alert("HostDown", "a"))
    assert not any(each.hidden for each in (await known(desk)).values())
    await desk.post(alert("HostDown", "a", CRITICAL))
    assert (await known(desk))["CPU", "a"].hidden


async def test_a_source_that_is_hidden_itself_hides_as_well(inhibited: Desk) -> None:
    """As Alertmanager has it: a silenced HostDown explains its host's alerts no less."""
    await inhibited.post(alert("HostDown", "a", CRITICAL))
    await inhibited.press(await inhibited.button("incident:1", "静默 1 小时"))
    await inhibited.post(alert("HostDown", "a", CRITICAL, firing=False))
    await inhibited.post(alert("CPU", "a"))
    await inhibited.post(alert("HostDown", "a", CRITICAL))
    there = await known(inhibited)
    assert "静默" in there["HostDown", "a"].hidden
    assert "抑制规则" in there["CPU", "a"].hidden


async def test_a_source_that_has_ended_in_the_same_posts_hides_nothing(inhibited: Desk) -> None:
    await inhibited.post(alert("CPU", "a"))
    down = alert("HostDown", "a", CRITICAL)
    await fold(inhibited, (down,), (replace(down, firing=False),))
    assert (await known(inhibited))["CPU", "a"].hidden == ""


async def test_alerts_are_judged_again_only_for_a_source_that_hides_more(
    inhibited: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a storm it may be twenty thousand, in the turn of the one writer."""
    judged = list[str]()

    def counted(of: KnownAlert) -> Alert:
        judged.append(of.rule)
        return alert_of(of)

    await inhibited.post(*(alert("CPU", f"h{n}") for n in range(10)))
    await inhibited.post(alert("HostDown", "h1", CRITICAL))
    monkeypatch.setattr(pipeline, "alert_of", counted)
    there = len(await known(inhibited))
    # Each is looked at once, for being a source itself.
    for again in (alert("HostDown", "h1", CRITICAL), alert("CPU", "h11")):
        judged.clear()
        await inhibited.post(again)
        assert len(judged) <= there
    judged.clear()
    await inhibited.post(*(alert("HostDown", f"h{n}", CRITICAL) for n in range(2, 5)))
    assert there < len(judged) <= 2 * (there + 1)


# -- times of day -------------------------------------------------------------------------------


@pytest.fixture
async def night(desk: Desk) -> Desk:
    """A desk a minute before its night, which has been looked at."""
    rules(desk, Rules(routing=NIGHT))
    eve = desk.clock.now().replace(hour=11, minute=59, second=0)
    await desk.clock.sleep((eve - desk.clock.now()).total_seconds())
    await pipeline.look(desk.kit)
    return desk


@pytest.mark.parametrize("severity", [WARNING, CRITICAL])
async def test_what_fires_is_hidden_when_its_route_becomes_mute(
    night: Desk, severity: Severity
) -> None:
    await night.post(alert("CPU", "a", severity), alert("Web", "a", severity))
    await night.clock.sleep(30)
    await pipeline.look(night.kit)
    assert not any(each.hidden for each in (await known(night)).values())
    await night.clock.sleep(30)
    await pipeline.look(night.kit)
    there = await known(night)
    assert "静音时段（李工" in there["CPU", "a"].hidden
    assert there["Web", "a"].hidden == ""
    assert await called(night) == ({2} if severity is CRITICAL else set())
    await night.clock.sleep(3600)
    await pipeline.look(night.kit)
    assert (await known(night))["CPU", "a"].hidden == ""


async def test_all_that_fires_is_looked_at_once_for_a_time_of_day(
    night: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await night.post(alert("Web", "a"))
    looks = list[datetime]()
    real = pipeline.reconsider

    async def counted(*args: Any) -> int:
        looks.append(night.clock.now())
        return await real(*args)

    monkeypatch.setattr(pipeline, "reconsider", counted)
    for _ in range(24):
        await night.clock.sleep(5)
        await pipeline.look(night.kit)
    assert [at.strftime("%H:%M:%S") for at in looks] == ["12:00:00"]

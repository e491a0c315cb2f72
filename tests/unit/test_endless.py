"""Alerts whose end no monitor says: a person ends them, and what is posted after that is another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from adapters.sources import SOURCES, mapping
from adapters.sources.mapping import Shape
from adapters.words import Alert, Severity
from runbooks.alerting import pipeline
from runbooks.alerting.pipeline import Post
from storage.records import IncidentState, KnownAlert
from tests.unit import test_pipeline
from tests.unit.test_pipeline import CRITICAL, WARNING, Desk, alert

desk = test_pipeline.desk

DAY = 86_400

OWN = mapping.decoder("mine", Shape(rule="rule", host="host", severity="level"))
ILL = {"labels": {"alertname": ["DBDown"]}, "status": "firing"}
FINE = {"labels": {"alertname": "CPU", "instance": "a"}, "status": "resolved"}


def own(level: str = "warning") -> bytes:
    return json.dumps({"rule": "备份失败", "host": "db", "level": level}).encode()


def smn(text: str) -> bytes:
    return json.dumps({"type": "Notification", "subject": "RDS 事件", "message": text}).encode()


def reboot() -> bytes:
    policy = {"policyId": "p1", "policyName": "云服务器事件", "conditions": {"eventName": "reboot"}}
    return json.dumps(
        {"alarmStatus": "1", "alarmType": "event", "alarmPolicyInfo": policy}
    ).encode()


def half_read() -> bytes:
    return json.dumps({"alerts": [FINE, ILL]}).encode()


POSTED = {
    "mapping": ("mine", own),
    "huawei": ("huawei", lambda: smn("主备切换失败")),
    "tencent": ("tencent", reboot),
    "unreadable": ("alertmanager", half_read),
}


async def hear(desk: Desk, source: str, body: bytes) -> None:
    now = desk.clock.now()
    decode = OWN if source == "mine" else SOURCES[source].decode
    async with desk.kit.store.unit() as unit:
        said = [Post(source, now, decode(body, now))]
        await pipeline.fold(desk.customer, said, now, desk.kit.house, unit)


async def close(desk: Desk) -> int:
    """Close the one open incident by its card; return its number."""
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "已解决"))
    assert await desk.incidents() == []
    return incident.id


async def known(desk: Desk, incident: int) -> list[KnownAlert]:
    async with desk.kit.store.view() as unit:
        return list(await unit.incidents.alerts(incident))


async def all_day(desk: Desk) -> None:
    """Look by the clock for a day: at once, when what is closed may open again, and in the end."""
    reopen = desk.kit.house.alerting.reopen.total_seconds()
    for seconds in (60, reopen, DAY):
        await desk.clock.sleep(seconds)
        await pipeline.look(desk.kit)


@pytest.mark.parametrize(("source", "posted"), POSTED.values(), ids=POSTED)
async def test_what_is_posted_after_a_person_has_closed_it_is_a_new_incident(
    desk: Desk, source: str, posted: Callable[[], bytes]
) -> None:
    """Each day's: the first is told and closed, and so are the next ones."""
    told: list[int] = []
    for _ in range(3):
        await hear(desk, source, posted())
        told.append(await close(desk))
        assert "没有在触发的" in await desk.said(f"incident:{told[-1]}")
        await all_day(desk)
        assert await desk.incidents() == [], "nothing was posted"
    assert len(set(told)) == 3


async def test_until_then_the_same_post_is_a_repeat(desk: Desk) -> None:
    await hear(desk, "mine", own())
    for _ in range(3):
        await desk.clock.sleep(DAY)
        await hear(desk, "mine", own())
    (incident,) = await desk.incidents()
    assert "1 条在触发" in await desk.said(f"incident:{incident.id}")


async def test_a_closed_critical_calls_again_when_it_is_posted_and_not_before(desk: Desk) -> None:
    await hear(desk, "mine", own("critical"))
    first = await close(desk)
    await all_day(desk)
    assert len(await desk.mentions()) == 1
    assert await desk.incidents() == []
    await hear(desk, "mine", own("critical"))
    (again,) = await desk.incidents()
    assert (again.state, again.critical_at) == (IncidentState.OPEN, desk.clock.now())
    assert again.id != first
    assert len(await desk.mentions()) == 2
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(again.id)
    assert climb
    assert climb.stopped_at is None


async def test_soon_after_the_closing_it_is_the_same_incident_and_no_flapping(desk: Desk) -> None:
    """Somebody closes too early, again and again: each time there is something to be told."""
    numbers = set()
    for _ in range(6):
        await hear(desk, "mine", own())
        numbers.add(await close(desk))
        await desk.clock.sleep(60)
    await hear(desk, "mine", own())
    (incident,) = await desk.incidents()
    assert numbers == {incident.id}
    assert "抖动" not in await desk.said(f"incident:{incident.id}")


async def test_what_has_an_end_fires_on_until_its_monitor_says_so(desk: Desk) -> None:
    endless = replace(alert("CPU", "b"), ends=False)
    await desk.post(alert("CPU", "a"), endless)
    number = await close(desk)
    assert {each.host: each.firing for each in await known(desk, number)} == {
        "a": True,
        "b": False,
    }
    await desk.clock.sleep(DAY)
    await desk.post(alert("CPU", "a"))
    assert await desk.incidents() == [], "a repeat"
    await desk.post(endless)
    assert await desk.incidents()


async def test_what_a_silence_hides_is_over_with_its_incident(desk: Desk) -> None:
    """It was told, and closed: when the silence ends there is no news of it."""
    await hear(desk, "mine", own())
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "静默 1 小时"))
    number = await close(desk)
    assert [each.firing for each in await known(desk, number)] == [False]
    await all_day(desk)
    assert await desk.incidents() == []


async def test_an_end_that_is_said_nevertheless_is_one(desk: Desk) -> None:
    """Some events have one."""
    endless = replace(alert("ping", "a", CRITICAL), ends=False)
    await desk.post(endless)
    await desk.clock.sleep(60)
    await desk.post(replace(endless, firing=False))
    assert await desk.incidents() == []


@pytest.mark.parametrize("severity", [WARNING, CRITICAL])
async def test_a_mapping_that_gains_or_loses_its_status_is_noticed(
    desk: Desk, severity: Severity
) -> None:
    """Whether there will be an end is what the last post says, and nobody is told of that."""

    async def ends(said: Alert) -> bool:
        await desk.clock.sleep(60)
        before = len(await desk.waiting())
        await desk.post(said)
        assert len(await desk.waiting()) == before
        (incident,) = await desk.incidents()
        (one,) = await known(desk, incident.id)
        assert one.since == begun
        return one.ends

    begun = desk.clock.now()
    told = alert("CPU", "a", severity)
    await desk.post(told)
    assert not await ends(replace(told, ends=False))
    assert await ends(told)
    assert not await ends(replace(told, ends=False))
    await close(desk)
    await desk.clock.sleep(DAY)
    await desk.post(replace(told, ends=False))
    assert await desk.incidents()

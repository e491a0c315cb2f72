"""Webhooks that the monitor takes back, and lists that move while they are read: `/alerts` is true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.demo.vigilops.traps import ALWAYS
from runbooks.alerting import watch
from runbooks.alerting.hold import number_of
from storage.records import IncidentState
from storage.store import Store
from tests.e2e.test_alerts_held import DISK, NEW, Ward, watched

LIST, ONE = "GET /api/v1/alerts", "GET /api/v1/alerts/*"


@pytest.fixture
async def ward(store: Store, tmp_path: Path) -> AsyncIterator[Ward]:
    async with watched(store, tmp_path) as ward:
        yield ward


@contextmanager
def two_channels(ward: Ward) -> Iterator[None]:
    """Have the disk's rules tell two channels: what they find is posted, and then rolled back."""
    other = ward.world.add("channels", {"name": "旧渠道", "type": "nowhere", "is_enabled": True})
    disk = [rule for rule in ward.world.rows("rules") if rule["metric"] == "disk_percent"]
    before = [rule["notification_channel_ids"] for rule in disk]
    for rule, ids in zip(disk, before, strict=True):
        rule["notification_channel_ids"] = [*ids, other["id"]]
    yield
    for rule, ids in zip(disk, before, strict=True):
        rule["notification_channel_ids"] = ids
    del ward.world.tables["channels"][other["id"]]


def fire(ward: Ward, count: int) -> list[dict[str, Any]]:
    """Have so many criticals fire unheard, R000 first, a second apart; return their rows."""
    begun = ward.world.now() - timedelta(seconds=count)
    rows = []
    for number in range(count):
        stamp = (begun + timedelta(seconds=number)).isoformat()
        row: dict[str, Any] = {
            "rule_id": 99,
            "host_id": 1000 + number,
            "severity": "critical",
            "status": "firing",
            "title": f"R{number:03} - h",
            "message": "x",
            "fired_at": stamp,
            "created_at": stamp,
            **dict.fromkeys(("resolved_at", "acknowledged_at")),
        }
        rows.append(ward.world.add("alerts", row))
    return rows


def resolve(row: dict[str, Any]) -> None:
    """End an alert as a changed rule does: nobody is told."""
    row["status"] = "resolved"


async def poll(ward: Ward) -> None:
    """Let a minute pass, look, and tell."""
    await ward.kit.clock.sleep(60)
    await watch.poll(ward.kit)
    await watch.announce(ward.kit)


async def fires(ward: Ward) -> set[str]:
    """Return the titles of what fires, as far as we know."""
    async with ward.store.view() as unit:
        held = await unit.held.firing(ward.case.customer)
    return {one.title.partition(" ")[0] for one in held}


async def told(ward: Ward) -> set[str]:
    """Return the titles of what is open in the group."""
    async with ward.store.view() as unit:
        return {each.title for each in await unit.incidents.open_of(ward.case.customer)}


# -- a recovery that is taken back --------------------------------------------------------------


async def test_a_recovery_that_was_rolled_back_is_taken_back_when_the_list_shows_it(
    ward: Ward,
) -> None:
    """The monitor posts the recovery, keeps the alert, and says nothing more before its cooldown."""
    await ward.minutes(1, disk_percent=97.0)
    assert await ward.heads() == [NEW, f"🔴 告警：{DISK}"]
    with two_channels(ward):
        await ward.minutes(2)
    over = [NEW, f"✅ 告警：{DISK}", f"✅ 已恢复：{DISK}"]
    assert await ward.heads() == over
    assert {row["status"] for row in ward.world.rows("alerts")} == {"firing"}
    await ward.minutes(1, disk_percent=99.0)
    assert await ward.heads() == over
    await watch.poll(ward.kit)
    await watch.announce(ward.kit)
    again = [NEW, f"🔴 告警：{DISK}", f"✅ 已恢复：{DISK}", NEW]
    assert await ward.heads() == again
    async with ward.store.view() as unit:
        (incident,) = await unit.incidents.open_of(ward.case.customer)
        assert incident.state is IncidentState.OPEN
        assert await ward.due(unit), "and somebody is called for it"
    await ward.minutes(2)
    assert (await ward.incident()).state is IncidentState.RESOLVED
    await poll(ward)
    assert await fires(ward) == set()


async def test_a_recovery_is_believed_while_the_list_had_no_time_to_agree(ward: Ward) -> None:
    """It is posted before it is committed: the built-in rule's was a minute ago, ours just now."""
    await ward.minutes(1, disk_percent=97.0)
    with two_channels(ward):
        await ward.minutes(2)
    assert (await ward.held("disk")).firing == ()
    await watch.poll(ward.kit)
    assert [number_of(each.episode) for each in (await ward.held("disk")).firing] == [1]
    await poll(ward)
    assert [number_of(each.episode) for each in (await ward.held("disk")).firing] == [1, 2]


# -- a list that moves --------------------------------------------------------------------------


async def test_a_list_that_moved_while_it_was_read_ends_nothing_that_fires(ward: Ward) -> None:
    """The newest of 150 ends after the first page was read: R049 moves up onto that page."""
    rows = fire(ward, 150)
    await poll(ward)
    everything = {f"R{number:03}" for number in range(150)}
    assert await told(ward) == everything
    said = await ward.said()
    ward.world.traps.then[LIST] = [lambda: resolve(rows[149])]
    await poll(ward)
    assert await told(ward) == everything, "the page had shown R149"
    await poll(ward)
    assert await told(ward) == everything - {"R149"}
    assert [text for text in await ward.said() if text not in said and NEW in text] == []


async def test_what_is_on_no_page_is_asked_for_by_its_id(ward: Ward) -> None:
    rows = fire(ward, 3)
    await poll(ward)
    ward.world.traps.unlisted = {row["id"] for row in rows}
    await poll(ward)
    assert await told(ward) == {"R000", "R001", "R002"}
    resolve(rows[0])
    del ward.world.tables["alerts"][rows[1]["id"]]
    await poll(ward)
    assert await told(ward) == {"R002"}
    rows[2]["status"] = "acknowledged"
    await poll(ward)
    assert await told(ward) == {"R002"}


async def test_another_alert_with_the_same_id_is_not_the_one_that_fired(ward: Ward) -> None:
    """The monitor was set up anew, and counts from 1 again."""
    (row,) = fire(ward, 1)
    await poll(ward)
    row["title"] = "S000 - h"
    row["fired_at"] = (datetime.fromisoformat(row["fired_at"]) + timedelta(minutes=1)).isoformat()
    await poll(ward)
    assert await told(ward) == {"S000"}


async def test_hundreds_that_ended_unheard_are_looked_for_in_the_list_once_more(
    ward: Ward,
) -> None:
    """One by one they would be hundreds of requests. One of them fires, and the first read missed it."""
    rows = fire(ward, 200)
    await poll(ward)
    for row in rows[1:]:
        resolve(row)
    traps = ward.world.traps
    traps.unlisted = {rows[0]["id"]}
    lists: list[int] = []

    def read() -> None:
        lists.append(len(lists))
        if len(lists) == 2:
            traps.unlisted = set()

    traps.then[LIST] = [read] * 100
    traps.then[ONE] = [lambda: lists.append(-1)] * 100
    await poll(ward)
    assert lists == [0, 1, 2, 3], "what fires and what is acknowledged, twice, and no single one"
    assert await told(ward) == {"R000"}


async def test_while_the_monitor_does_not_answer_nothing_ends(ward: Ward) -> None:
    """What it answered before it fell silent counts, and the rest is asked in the next round."""
    rows = fire(ward, 3)
    await poll(ward)
    for row in rows:
        resolve(row)
    ward.world.traps.cut[f"{LIST}/{rows[1]['id']}"] = ALWAYS
    await poll(ward)
    assert await told(ward) == {"R001", "R002"}
    async with ward.store.view() as unit:
        assert ward.case.customer in await unit.unread.all(), "it is on its way to be told as lost"
    ward.world.traps.cut.clear()
    await poll(ward)
    assert await told(ward) == set()

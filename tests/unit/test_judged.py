"""When a night's calls are judged: none while it may still arrive, and each of them once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.card import loads, plain
from runbooks.alerting.oncall import watchdog
from storage.roster import RungState
from storage.store import Store
from tests.conftest import HandClock
from tests.unit.ward import MINUTE, Ward, standing


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


async def test_what_was_due_just_before_the_hour_is_judged_once_it_has_settled(ward: Ward) -> None:
    """Due at 02:58 and 02:58:30 by the house's clock; nothing of it goes out. A minute after the hour
    both are young, and no later night looks at them again."""
    due = datetime(2026, 11, 25, 18, 58, tzinfo=UTC)
    accepted = due - MINUTE * 5
    await ward.clock.sleep((accepted - ward.clock.now()).total_seconds())
    ward.incident = replace(ward.incident, critical_at=accepted, opened_at=accepted)
    await ward.begin()
    for seconds in range(300, 490, 10):
        await ward.at(seconds / 60)
        await ward.climb()
    assert [rung.state for rung in (await ward.rungs())[:2]] == [RungState.HELD, RungState.HELD]
    assert await watchdog.watch(ward.kit) == [], "of the nights before"
    await ward.at(11.99)
    assert await watchdog.watch(ward.kit) is None
    await ward.at(12)
    found = await watchdog.watch(ward.kit)
    assert found is not None
    assert [(each.rung.key, each.why) for each in found] == [
        ("ladder:7:1:0:0:0", "还在排队：通道繁忙"),
        ("ladder:7:1:0:0:1", "还在排队：通道繁忙"),
    ]
    told = plain(loads((await ward.entry((await ward.said())[-1])).card))
    assert "应执行 2 次升级通知，其中 2 次有问题" in told


@pytest.mark.parametrize("state", [RungState.HELD, RungState.FAILED])
async def test_a_call_whose_row_says_that_it_failed_is_named_without_its_entry(
    ward: Ward, state: RungState
) -> None:
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    first, *_ = await ward.rungs()
    until, now = ward.clock.now() + MINUTE / 60, ward.clock.now() + MINUTE * 6
    async with ward.kit.store.unit() as unit:
        await unit.escalations.mark(replace(first, state=state, note="HTTP 502", told="gone"))
        found, due = await watchdog.judged(watchdog.EARLIEST, until, unit, now)
    assert due == 1
    assert [(each.rung.key, each.why) for each in found] == [(first.key, "没有送达：HTTP 502")]


async def test_a_call_that_was_held_and_arrived_in_time_is_none(ward: Ward) -> None:
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    await ward.at(7)
    await ward.climb()
    await ward.speak()
    first, *_ = await ward.rungs()
    assert first.state is RungState.HELD
    async with ward.kit.store.view() as unit:
        known = await watchdog.judged(
            watchdog.EARLIEST, first.due + MINUTE / 60, unit, ward.clock.now() + MINUTE * 6
        )
    assert known == ([], 1)

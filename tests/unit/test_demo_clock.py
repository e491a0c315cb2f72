"""The demo's clock is put forward: it never goes back, stops at all that is due, and skips nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from starlette.requests import Request

from adapters.card import plain, say
from adapters.webchat.wire import Post
from adapters.words import Chat
from bot.demo import due
from bot.demo.agenda import Agenda
from bot.demo.clock import DemoClock
from bot.demo.month import DAYS, OUTAGES, Lived, lived, summary
from bot.demo.toys import line_of, own, table_of
from bot.demo.vigilops import World
from runbooks.alerting.oncall import ladder, watchdog
from runbooks.alerting.oncall.rota import Shift
from runbooks.alerting.policy import POLICY
from runbooks.kit import House
from storage.records import Heartbeat, Inflow, Silence, Storm, StormPhase
from storage.roster import Level, Override, Policy, RungState
from storage.store import Store
from tests.conftest import HandClock
from tests.unit.ward import LI, Ward, standing

CHINA = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 11, 30, 4, 0, tzinfo=UTC)
"""Of a Monday in China."""
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class Machine:
    """A machine whose time the test owns."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        return self.at


# -- the clock ------------------------------------------------------------------------------------


def test_the_clock_stands_while_it_is_held_and_then_goes_on_ahead(tmp_path: Path) -> None:
    machine = Machine()
    clock = DemoClock(tmp_path / "clock", machine.now)
    clock.hold(NOON + DAY)
    machine.at += MINUTE
    assert clock.now() == NOON + DAY, "held, it stands"
    clock.release()
    machine.at += MINUTE
    assert clock.now() == NOON + DAY + 2 * MINUTE
    assert clock.lead == DAY


def test_the_clock_never_goes_back(tmp_path: Path) -> None:
    """Not when it is asked to, not when it was held for longer than it was put forward, not when
    the demo is started again."""
    machine = Machine()
    clock = DemoClock(tmp_path / "clock", machine.now)
    clock.hold(NOON + HOUR)
    clock.hold(NOON)
    assert clock.now() == NOON + HOUR
    machine.at += 2 * HOUR
    clock.release()
    assert clock.now() == NOON + 3 * HOUR
    again = DemoClock(tmp_path / "clock", machine.now)
    assert again.now() == clock.now()


async def test_a_sleeper_wakes_when_the_clock_is_put_past_its_time(tmp_path: Path) -> None:
    clock = DemoClock(tmp_path / "clock", Machine().now)
    sleeping = asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0)
    clock.hold(NOON + 59 * MINUTE)
    await asyncio.sleep(0)
    assert not sleeping.done()
    clock.hold(NOON + HOUR)
    await asyncio.wait_for(sleeping, 1)


# -- the agenda -----------------------------------------------------------------------------------


async def test_appointments_are_kept_once_and_in_order() -> None:
    agenda, kept = Agenda(), list[str]()

    async def keep(name: str) -> None:
        kept.append(name)
        if name == "first":
            agenda.add(NOON, partial(keep, "of the moment"))

    agenda.add(NOON + HOUR, partial(keep, "later"))
    agenda.add(NOON, partial(keep, "first"))
    agenda.add(NOON, partial(keep, "second"))
    assert agenda.next() == NOON
    assert await agenda.keep(NOON) == 3
    assert await agenda.keep(NOON) == 0
    assert kept == ["first", "second", "of the moment"]
    assert agenda.next() == NOON + HOUR


# -- what is due ----------------------------------------------------------------------------------


def test_a_day_has_midnight_the_watchdogs_hour_and_the_morning() -> None:
    found = sorted(due.daily(NOON, NOON + DAY, CHINA))
    local = [f"{at.astimezone(CHINA):%d %H:%M}" for at in found if NOON < at <= NOON + DAY]
    assert local == ["01 00:00", "01 03:05", "01 09:00"]


def test_the_next_instant_is_the_first_that_is_to_come() -> None:
    assert due.earliest((NOON - HOUR, NOON, None, NOON + HOUR), NOON, NOON + DAY) == NOON + HOUR
    assert due.earliest((NOON + 2 * DAY,), NOON, NOON + DAY) == NOON + DAY


def test_a_storm_turns_when_its_minute_its_calm_and_its_drain_are_over() -> None:
    raging = Storm(
        1,
        StormPhase.STORM,
        critical_at=NOON,
        calm_since=NOON + MINUTE,
        recent=(Inflow(NOON - MINUTE / 2, 30, 3),),
    )
    assert sorted(due.turns(raging, POLICY)) == [
        NOON + MINUTE / 2,
        NOON + POLICY.calm,
        NOON + MINUTE + POLICY.calm,
        NOON + MINUTE + POLICY.calm + POLICY.drain,
    ]


async def next_of(store: Store, now: datetime, until: datetime) -> datetime:
    async with store.view() as unit:
        return await due.next_due(now, until, House(), unit)


async def test_the_clock_stops_at_what_is_in_the_rows(ward: Ward) -> None:
    """At a job's time, a silence's end and both ends of an override: each by itself, in order."""
    store, now = ward.kit.store, ward.clock.now()
    async with store.unit() as unit:
        await unit.heartbeats.put(Heartbeat(1, "备份", "hash", 600, now + 10 * MINUTE))
        ends = now + 20 * MINUTE
        await unit.silences.add(Silence(0, 1, 'host="db"', now, ends, LI))
        begins, over = now + 30 * MINUTE, now + 40 * MINUTE
        await unit.oncall.override(Override(0, ward.customer.id, begins, over, "赵工", now, LI))
    await ward.speak()  # a card that waits for its peace would be a stop of its own
    stops = [now]
    while stops[-1] < now + DAY:
        stops.append(await next_of(store, stops[-1], now + DAY))
    assert stops[1:5] == [now + MINUTE * minutes for minutes in (10, 20, 30, 40)]
    assert stops == sorted(set(stops))


async def test_no_call_is_skipped_or_doubled_where_days_are_lived_through(ward: Ward) -> None:
    """Nobody answers for two days: each call is made once, at its own instant, and the watchdog
    that recomputes them all finds none missed."""
    store, begun = ward.kit.store, ward.clock.now()
    await ward.policy(Policy((Level(5), Level(15, 1)), repeat=585))
    await ward.begin()
    until = begun + 2 * DAY
    while (now := ward.clock.now()) < until:
        at = await next_of(store, now, until)
        await ward.clock.sleep((at - now).total_seconds())
        await ward.climb()
        await ward.speak()
    made = [rung for rung in await ward.rungs() if rung.state is RungState.DONE]
    assert len(made) == 20, "5 laps of 10 hours with two levels, each in two ways"
    assert all(rung.at == rung.due for rung in made)
    said = await ward.said()
    assert len(said) == len(set(said)) == 20
    async with store.view() as unit:
        missed, owed = await watchdog.judged(begun, until, unit)
    assert (missed, owed) == ([], 20)


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


# -- what comes along -----------------------------------------------------------------------------


def test_hosts_that_report_are_still_there_after_a_leap() -> None:
    machine = Machine()
    world = World(now=machine.now)
    host, _ = world.register_host(1, {"hostname": "web-01"})
    world.record(host["id"], {"cpu_percent": 12.5})
    machine.at += 30 * DAY
    world.outlast(30 * DAY)
    world._mark_offline(machine.at)
    assert host["status"] == "online"
    assert world.latest(host["id"]), "its figures are fresh"


# -- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8080"}, True),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-site"}, False),
        ({"origin": "null", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://evil.test"}, False),
        ({"origin": "null"}, False),
    ],
)
def test_only_a_page_of_ours_presses_the_buttons(headers: dict[str, str], *, allowed: bool) -> None:
    """A browser that hides the origin of our form, because the page asks for it, still says so."""
    told = {"host": "127.0.0.1:8080", **headers}
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    assert own(Request({"type": "http", "headers": raw})) is allowed


# -- the month ------------------------------------------------------------------------------------


def test_the_month_is_over_before_it_ends_and_tells_of_all_that_may_happen() -> None:
    assert all(0 < outage.day < DAYS for outage in OUTAGES)
    assert all(outage.answered < outage.over for outage in OUTAGES)
    climbs = [outage for outage in OUTAGES if outage.late]
    assert [outage.answered > 65 for outage in climbs] == [True], "into the second lap"


async def test_the_summary_counts_calls_and_says_what_was_missed(ward: Ward) -> None:
    await ward.begin()
    await ward.at(5)
    await ward.climb()
    await ward.speak()
    async with ward.kit.store.unit() as unit:
        await ladder.stop(unit, ward.incident, ward.clock.now())
        climbs = await unit.escalations.since(1, NOON - 30 * DAY)
    rungs = await ward.rungs()
    told = summary(Lived(NOON, NOON + DAY, (), climbs, rungs, [LI.name], 1, ()))
    rows = next(block.rows for block in told.blocks if hasattr(block, "rows"))
    assert rows[0][0] == LI.name
    assert rows[0][2:] == ("1 次", "1 次")


async def test_the_calls_of_the_summary_are_those_that_were_due_for_this_customer(
    ward: Ward,
) -> None:
    """Also for a critical of before the month; who is on call by halves of an hour is not rounded
    shift by shift."""
    await ward.begin()
    began = ward.clock.now()
    await ward.at(5)
    await ward.climb()
    await ward.speak()
    async with ward.kit.store.unit() as unit:
        known = await unit.oncall.roster(1)
        assert known
        halves = [
            Shift(began + n * HOUR, began + (n + 0.4) * HOUR, known.callees[0], "")
            for n in range(5)
        ]
        told = await lived(1, began + MINUTE, began + 5.2 * MINUTE, halves, unit)
        others = await lived(2, began + MINUTE, began + 5.2 * MINUTE, (), unit)
    shown = plain(summary(told))
    assert "应执行 1 次升级通知，漏 0 次" in shown
    assert f"{LI.name} | 2 小时 | 1 次 | 0 次" in shown
    assert "严重事件：0 个" in shown, "it was accepted before"
    assert "应执行 0 次升级通知，漏 0 次" in plain(summary(others))


# -- what the page says of a play -----------------------------------------------------------------


def test_a_line_of_the_page_says_where_it_is_cut_and_that_a_card_is_as_it_ended() -> None:
    """A number that is cut in the middle is another number."""
    chat = Chat("web", "sample", "示例客户 告警群")
    card = say("告警：磁盘将满", "服务器：" + "w" * 99)
    new = Post("1", chat, None, NOON, card=card)
    assert line_of(new).startswith("告警：磁盘将满：服务器：www")
    assert line_of(new).endswith("w…")
    assert "最后的样子" not in line_of(new)
    assert line_of(replace(new, edited=True)).startswith(
        "告警：磁盘将满（此后更新，这里是最后的样子）："
    )
    short = Post("2", chat, None, NOON, card=say("已调班", "孙工"))
    assert line_of(short) == "已调班：孙工"


def test_a_long_play_is_folded_but_for_its_latest_lines() -> None:
    rows = [f"<tr><td>{n}.</td></tr>" for n in range(40)]
    before, latest = table_of(rows).split("</details>")
    assert "更早的 28 条" in before
    assert ">27.<" in before
    assert ">28.<" in latest
    assert ">39.<" in latest
    assert "details" not in table_of(rows[:12])

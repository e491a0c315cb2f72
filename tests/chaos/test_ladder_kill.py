"""Killed with SIGKILL between a call's deadline and the call: started again, nobody who was due is
missed and nobody is called twice."""

from __future__ import annotations

import os
import random
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from adapters.webchat.link import WebChat
from adapters.words import Person, Role, Severity
from runbooks.alerting.oncall import ladder, watchdog
from runbooks.walk import OPERATIONS
from storage.records import Customer, Incident, IncidentState, Member
from storage.roster import Callee, Layer, Level, Policy, Roster, RungState
from storage.store import Store
from tests.chaos.mother import KILLED, mother
from tests.conftest import HandClock

SEED = int(os.environ.get("VIGILBOT_SEED") or random.SystemRandom().randrange(1_000_000))
KILLS = 5
INSTANTS = 65
"""A life that is not killed makes a few more statements than that."""
LI, ZHAO = Person("web", "li", "李工"), Person("web", "zhao", "赵工")
INCIDENTS = (7, 8)


async def begin(store: Store, folder: Path, now: datetime) -> None:
    """Take two criticals in for a customer whose policy calls two people in two ways each."""
    async with WebChat(folder / "chat.sqlite") as web, store.unit() as unit:
        group = await web.open_chat("海蓝", [LI, ZHAO], key="g")
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", now, group))
        await unit.outbox.mark(OPERATIONS, await web.open_chat("运维", [LI], key="o"), now)
        for person in (LI, ZHAO):
            await unit.people.put(Member(person, Role.ENGINEER))
        layer = Layer("主值班", ("李工", "赵工"), date(2026, 11, 23))
        callees = (Callee("李工"), Callee("赵工"))
        await unit.oncall.save(Roster(customer.id, "Asia/Shanghai", callees, (layer,)))
        levels = (Level(5), Level(6, 1))
        await unit.escalations.set_policy(customer.id, Policy(levels, 0, 0))
        for number in INCIDENTS:
            open_, critical = IncidentState.OPEN, Severity.CRITICAL
            made = Incident(number, customer.id, "g", "满", critical, open_, now, now, now)
            await ladder.begin(unit, made, now)


async def test_a_killed_ladder_calls_everybody_once(
    store: Store, clock: HandClock, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    if request.node.callspec.params["store"] == "postgresql":
        url = request.getfixturevalue("postgres")
    await begin(store, tmp_path, clock.now())
    now = clock.now() + timedelta(minutes=6, seconds=30)
    drawn = random.Random(SEED)
    given = (str(tmp_path), url, now.isoformat())
    async with mother("tests.chaos.ladder") as born:
        instants = [str(drawn.randrange(1, INSTANTS)) for _ in range(KILLS)]
        ends = [await born.life(*given, instant) for instant in instants]
        assert ends[0] == (KILLED, []), f"VIGILBOT_SEED={SEED}"
        assert {ended for ended, _ in ends} <= {0, KILLED}, f"VIGILBOT_SEED={SEED}"
        ended, (statements,) = await born.life(*given, "0")
    assert (ended, int(statements) > 0) == (0, True), f"VIGILBOT_SEED={SEED}"
    async with store.view() as unit:
        for number in INCIDENTS:
            rungs = await unit.escalations.rungs(number, 1)
            assert [rung.state for rung in rungs] == [RungState.DONE] * 4, f"VIGILBOT_SEED={SEED}"
        found, due = await watchdog.judged(watchdog.EARLIEST, now, unit)
    assert due == 8
    # The first level was due ninety seconds before anybody lived: late, and named as such.
    assert {each.why for each in found} == {"晚了 90 秒"}, f"VIGILBOT_SEED={SEED}"
    async with WebChat(tmp_path / "chat.sqlite") as web:
        for person in (LI, ZHAO):
            posts = web.history(await web.direct(person))
            # One call names both incidents.
            assert sum(post.urgent for post in posts) == 1, f"VIGILBOT_SEED={SEED}"
        group = web.chats(ZHAO)[0]
        mentions = [post for post in web.history(group) if post.card and "升级" in post.card.title]
    assert len(mentions) == 2, f"VIGILBOT_SEED={SEED}"

"""The roof's web without its pages: health, metrics, and who is let in for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from adapters.sources import SOURCES
from adapters.words import Chat, Secret, Severity
from bot.app import working
from bot.web.console import audit_table, chain_told, customers_table, deliveries_table, facts
from bot.web.health import reasons
from bot.web.session import COOKIE, TRIES, WINDOW, Access, session_key
from bot.web.site import create_api
from runbooks.alerting.oncall import ladder
from runbooks.kit import Kit
from storage.intake import Intake
from storage.journal import journal_in
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    Lane,
)
from storage.store import Store
from storage.vault import Seal
from tests import blank

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DBOS leaves its pool to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
NOBODY = cast("Any", None)
RIGHT = {"username": "admin", "password": "开门"}
WRONG = {"username": "admin", "password": "open"}


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(blank.sqlite(tmp_path / "b.sqlite"), Seal(Seal.new_key())) as store:
        yield store


@pytest.fixture
async def access(kept: Store) -> Access:
    return Access("admin", Secret("开门"), 12, await session_key(kept))


@pytest.fixture
async def web(
    kept: Store, access: Access, clock: Any, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    kit = Kit(clock, kept, {}, NOBODY, NOBODY, NOBODY)
    async with working(kit, journal_in(tmp_path / "engine.sqlite")) as bot:
        transport = httpx.ASGITransport(create_api(kit, bot, access))
        async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
            yield client


async def test_health_and_metrics(web: httpx.AsyncClient, kept: Store, clock: Any) -> None:
    told = (await web.get("/healthz")).json()
    assert told == {
        "ok": True,
        "late": [],
        "database": "ok",
        "engine": "ok",
        "platforms": [],
        "stopped": [],
        "standby": [],
    }
    async with kept.unit() as unit:
        chat = Chat("web", "g")
        waiting = Delivery(0, "k", chat, Lane.NORMAL, DeliveryState.FAILED, clock.now(), card="{}")
        await unit.outbox.put(waiting)
    lines = (await web.get("/metrics")).text.splitlines()
    assert 'vigilbot_deliveries{state="failed"} 1.0' in lines
    assert 'vigilbot_runs{state="stuck"} 0.0' in lines


async def test_a_bot_that_does_not_call_or_fold_in_time_is_sick(
    kept: Store, clock: Any, tmp_path: Path
) -> None:
    """Whoever restarts sick programs does so before a night is over."""
    kit = Kit(clock, kept, {}, NOBODY, NOBODY, NOBODY)
    now, critical = clock.now(), Severity.CRITICAL
    async with Intake(f"sqlite+aiosqlite:///{tmp_path / 'log'}") as intake:
        async with kept.unit() as unit:
            made = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
            open_ = Incident(0, made.id, "g", "t", critical, IncidentState.OPEN, now, now, now)
            await ladder.begin(unit, await unit.incidents.add(open_), now)
        await intake.accept(made.id, "alertmanager", b"{}", now)
        assert await reasons(kit, intake) == []
        await clock.sleep(121)
        (folding,) = await reasons(kit, intake)
        assert "告警没有及时处理" in folding
        await clock.sleep(5 * 60 + 61 - 121)
        calling, _ = await reasons(kit, intake)
        assert "升级通知没有按时执行" in calling
        engine = SimpleNamespace(running=True, go=NOBODY)
        bot = cast("Any", SimpleNamespace(intake=intake, sources=SOURCES, engine=engine))
        transport = httpx.ASGITransport(create_api(kit, bot, None))
        async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
            answer = await client.get("/healthz")
        assert (answer.status_code, len(answer.json()["late"])) == (503, 2)


async def test_the_right_password_gives_a_cookie_for_some_hours(
    web: httpx.AsyncClient, access: Access, clock: Any
) -> None:
    answer = await web.post("/login", data=RIGHT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    flags = answer.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    ticket = answer.cookies[COOKIE]
    now = clock.now()
    assert access.admits(ticket, now + timedelta(hours=12, seconds=-1))
    assert not access.admits(ticket, now + timedelta(hours=12))


async def test_a_cookie_that_was_touched_admits_nobody(access: Access, clock: Any) -> None:
    """Nor does one that was signed with another key, or under another password."""
    now = clock.now()
    until, _, signed = access.ticket(now).partition(".")
    for ticket in ("", ".", "x", f"{int(until) + 1}.{signed}", f"{until}.{'0' * 64}", f"{until}."):
        assert not access.admits(ticket, now)
    other = Access("admin", Secret("开门"), 12, Seal.new_key())
    newer = Access("admin", Secret("换了"), 12, access.key)
    assert not other.admits(access.ticket(now), now)
    assert not newer.admits(access.ticket(now), now)


async def test_who_guesses_must_wait(web: httpx.AsyncClient, clock: Any) -> None:
    """After some wrong ones even the right one is refused, until the time is over."""
    for _ in range(TRIES):
        assert (await web.post("/login", data=WRONG)).status_code == 401
    blocked = await web.post("/login", data=RIGHT)
    assert blocked.status_code == 429
    assert "5 分钟" in blocked.text
    await clock.sleep(WINDOW.total_seconds())
    assert (await web.post("/login", data=RIGHT)).status_code == 303


async def test_the_key_of_the_cookies_is_made_once(kept: Store) -> None:
    assert await session_key(kept) == await session_key(kept)


async def test_the_console_tells_what_is_remembered(kept: Store, clock: Any) -> None:
    async with kept.unit() as unit:
        chat = Chat("web", "g", "海蓝群")
        await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now(), chat))
        await unit.audit.add(clock.now(), "李工", "onboard", {"company": "海蓝"})
        sent = Delivery(
            0, "k", chat, Lane.NORMAL, DeliveryState.SENT, clock.now(), file_name="a.docx"
        )
        await unit.outbox.put(sent)
    async with kept.view() as unit:
        found = await facts(unit)
    assert [row[:3] for row in customers_table(found, UTC)[1]] == [("海蓝", "托管基础版", "海蓝群")]
    assert deliveries_table(found, UTC)[1][0][1:4] == ("海蓝群", "a.docx", "已发送")
    assert audit_table(found, UTC)[1][0][2:5] == ("李工", "onboard", "company=海蓝")
    assert chain_told(found) == "哈希链完整"

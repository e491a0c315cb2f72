"""Everything that fires, as a file that every platform takes, and as a page of the console."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.mail import MAX_FILE_BYTES
from adapters.port import Permanent
from adapters.words import Chat, Severity
from bot.web import alert_list
from runbooks.alerting import full_list
from runbooks.alerting.hold import Heard, Kind, fold, judge
from runbooks.kit import House, Kit
from storage.listing import Listed, Wanted
from storage.records import Customer, HeldAlert, KnownAlert, Truncation
from storage.store import Store

HOUSE = House(public_url="https://bot.example.com")


def alert(number: int, at: Any, **more: Any) -> KnownAlert:
    severity = Severity.CRITICAL if number % 10 == 0 else Severity.WARNING
    known = KnownAlert(
        1, "s", f"f{number}", 7, "g", True, severity, f"规则{number % 3}", f"web-{number:03}",
        f"第 {number} 条", "", "", {}, at, at,
    )  # fmt: skip
    return replace(known, **more)


@dataclass
class Web:
    """The page, and who looks at it."""

    store: Store
    clock: Any
    client: httpx.AsyncClient
    admitted: bool = True

    async def put(self, *alerts: KnownAlert) -> None:
        async with self.store.unit() as unit:
            await unit.incidents.put_alerts(alerts, ())

    async def look(self, **asked: str) -> str:
        answer = await self.client.get("/console/alerts/hailan", params=asked)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
async def web(store: Store, clock: Any) -> AsyncIterator[Web]:
    nobody = cast("Any", None)
    kit = Kit(clock, store, {}, nobody, nobody, nobody, HOUSE)
    app = FastAPI()
    app.include_router(alert_list.router(kit, lambda _: made.admitted))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
        made = Web(store, clock, client)
        async with store.unit() as unit:
            one = Customer(0, "海蓝", "hailan", clock.now(), Chat("paper", "g"))
            await unit.customers.add(one)
            await unit.customers.add(replace(one, name="绿洲", slug="oasis", chat=None))
        yield made


def rows(html: str) -> int:
    return html.count("<tr>") - 1


async def test_the_page_shows_the_worst_first_and_all_of_it_page_by_page(web: Web) -> None:
    """Two hundred and fifty alerts are three pages; another customer's are on none of them."""
    at = web.clock.now()
    await web.put(*(alert(n, at) for n in range(250)), alert(1, at, customer=2, host="other-host"))
    found = [await web.look(page=str(number)) for number in (1, 2, 3)]
    assert [rows(html) for html in found] == [100, 100, 50]
    assert "触发中 250 条，第 1 / 3 页" in found[0]
    assert found[0].count("🔴") == 25
    assert found[1].count("🔴") == found[2].count("🔴") == 0
    whole = "".join(found)
    assert all(f">web-{n:03}<" in whole for n in range(250))
    assert "other-host" not in whole
    assert "page=2" in found[0]
    assert "上一页" not in found[0]
    assert "下一页" not in found[2]


async def test_a_page_that_is_none_is_the_nearest(web: Web) -> None:
    """And never an error."""
    await web.put(*(alert(n, web.clock.now()) for n in range(101)))
    for page in ("0", "-1", "99", "x", "9" * 40, "١", ""):
        html = await web.look(page=page)
        assert ("第 2 / 2 页" if page == "99" else "第 1 / 2 页") in html, page


async def test_filters_are_kept_from_page_to_page_and_are_no_patterns(web: Web) -> None:
    """By severity, by what a rule's or a host's name contains; % and _ are only themselves."""
    at = web.clock.now()
    await web.put(*(alert(n, at) for n in range(250)), alert(999, at, host="DB_%1"))
    assert "触发中 25 条" in await web.look(severity="critical")
    found = await web.look(rule="规则1", host="web-")
    assert "触发中 83 条，第 1 / 1 页" in found
    assert 'value="规则1"' in found
    assert "触发中 1 条" in await web.look(host="db_%")
    assert "触发中 0 条" in await web.look(host="web_0")
    paged = await web.look(severity="warning", host="WEB")
    assert "severity=warning&amp;host=WEB&amp;page=2" in paged
    assert "没有符合的告警" in await web.look(rule="无")
    assert "触发中 251 条" in await web.look(severity="nonsense")


async def test_what_a_monitor_wrote_is_text(web: Web) -> None:
    """Neither a tag nor a link that runs; and the page takes no script at all."""
    hostile = "<script>alert(1)</script>\"'"
    one = alert(1, web.clock.now(), rule=hostile, host=hostile, title=hostile, hidden=hostile)
    await web.put(
        replace(one, url="javascript:alert(1)"), alert(2, web.clock.now(), url="https://m/x")
    )
    answer = await web.client.get("/console/alerts/hailan", params={"rule": hostile, "host": ""})
    assert "<script" not in answer.text
    assert "javascript:" not in answer.text
    assert rows(answer.text) == 1
    assert 'href="https://m/x"' in await web.look()
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_what_was_not_told_and_who_says_nothing_is_on_the_page(web: Web) -> None:
    """An alert that was over when it had lasted, for a day; a source that is silent for hours."""
    long, now = timedelta(hours=6), web.clock.now()
    word = Heard(Kind.FIRING, "1@x", now, now, "CPU <高>", "", "warning")
    held, _ = fold(HeldAlert(1, "cpu", "web-01"), word)
    dropped, told = judge(held, frozenset(), now + timedelta(minutes=5))
    assert not told
    async with web.store.unit() as unit:
        await unit.held.save(dropped)
        await unit.heard.note(1, "alertmanager", now - long)
        await unit.heard.note(1, "zabbix", now - long + timedelta(minutes=1))
    page = await web.look()
    assert "没有通知" in page
    assert "CPU &lt;高&gt;" in page
    assert "来源 Alertmanager 已 6 小时没有消息" in page
    assert "Zabbix" not in page
    await web.clock.sleep(24 * 3600 + 300 + 1)
    assert "没有通知" not in await web.look()


async def test_who_has_not_signed_in_learns_of_no_customer(web: Web) -> None:
    """Whether there is one or not, the answer is the same."""
    web.admitted = False
    for slug in ("hailan", "nobody"):
        answer = await web.client.get(f"/console/alerts/{slug}")
        assert (answer.status_code, answer.headers["location"]) == (307, "/login")
        assert "海蓝" not in answer.text
    web.admitted = True
    assert (await web.client.get("/console/alerts/nobody")).status_code == 404


async def test_what_was_cut_upstream_is_said_on_the_page(web: Web) -> None:
    """A full list that is not full says so."""
    now = web.clock.now()
    async with web.store.unit() as unit:
        one = Truncation(1, "alertmanager", "g", 35, {}, frozenset(), now)
        await unit.truncations.put(one)
    assert "上游截断了 35 条未送达" in await web.look()


async def test_the_file_has_every_alert_hidden_ones_too(web: Web) -> None:
    """One line each, the worst first; what ended is not in it."""
    at = web.clock.now()
    await web.put(*(alert(n, at) for n in range(50)), alert(99, at, hidden="静默\t#1", text="a\nb"))
    await web.put(alert(100, at, firing=False))
    async with web.store.view() as unit:
        customer = await unit.customers.get(1)
        assert customer
        file = await full_list.made(full_list.key_of(customer), at, HOUSE, unit)
        with pytest.raises(Permanent, match="没有这份文件"):
            await full_list.made("alerts:99", at, HOUSE, unit)
        assert await unit.listing.count(1, Wanted(Severity.CRITICAL)) == 5
    lines = file.content.decode().split("\n")
    assert len(lines) == 53
    assert lines[0].endswith("共 51 条")
    assert [line.split("\t")[0] for line in lines[2:8]] == ["严重"] * 5 + ["警告"]
    assert all(line.count("\t") == 6 for line in lines[1:])


def test_a_file_of_a_storm_fits_every_platform(clock: Any) -> None:
    """Twenty thousand alerts with the longest texts: what has no room is counted and found on the
    page. Mail takes the least."""
    at = clock.now()
    one = alert(1, at, rule="很" * 400, title="长" * 400, host="h" * 400, hidden="隐" * 400)
    row = Listed(one.severity, one.rule, one.host, at, one.title, "", one.hidden, 7, "")
    text = full_list._text([row] * 20_000, 20_000, at, "https://bot.example.com/x", HOUSE)
    assert len(text) < full_list.LARGEST + 1000 < MAX_FILE_BYTES
    head, _, *lines = text.decode().split("\n")
    assert (
        f"共 20,000 条，这里是最严重的 {len(lines):,} 条，其余见 https://bot.example.com/x" in head
    )
    assert 4_000 < len(lines) < 20_000

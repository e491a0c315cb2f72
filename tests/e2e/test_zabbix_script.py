"""The script that Zabbix runs is run, and what it posts is what our decoder reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from adapters.sources import SOURCES
from adapters.words import Alert, Severity
from tests.e2e.test_demo import browsing

MEDIA_TYPE = Path(__file__).parents[2] / "docs/zabbix-media-type.yaml"
NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)

RUN = """([script, given, status]) => {
    const posted = {headers: []};
    function HttpRequest() {}
    HttpRequest.prototype.addHeader = (header) => posted.headers.push(header);
    HttpRequest.prototype.post = (url, body) => { posted.url = url; posted.body = body; return 'busy'; };
    HttpRequest.prototype.getStatus = () => status;
    try {
        posted.result = new Function('value', 'HttpRequest', script)(given, HttpRequest);
    } catch (error) {
        posted.thrown = String(error);
    }
    return posted;
}"""
"""Zabbix gives a script its parameters as the text `value`, and `HttpRequest` to post with."""

MACROS = {
    "{ALERT.SENDTO}": "https://bot.example/hooks/zabbix/token",
    "{EVENT.ID}": "51234",
    "{TRIGGER.ID}": "16042",
    "{EVENT.VALUE}": "1",
    "{EVENT.NAME}": '磁盘 "/var" 空间不足',
    "{EVENT.NSEVERITY}": "4",
    "{HOST.NAME}": "web-1",
    "{HOST.IP}": "10.0.0.11",
    "{EVENT.OPDATA}": "剩余 3.1 %",
    "{EVENT.TAGSJSON}": '[{"tag":"scope","value":"capacity"}]',
    "{EVENT.DATE}": "2026.11.23",
    "{EVENT.TIME}": "08:10:00",
    "{EVENT.RECOVERY.DATE}": "2026.11.23",
    "{EVENT.RECOVERY.TIME}": "08:20:30",
}


def media_type() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(MEDIA_TYPE.read_text(encoding="utf-8"))
    (one,) = found["zabbix_export"]["media_types"]
    typed: dict[str, Any] = one
    return typed


def expanded(**changes: str) -> str:
    """Return the parameters as Zabbix passes them; a macro without a value stays as it is."""
    macros = {**MACROS, **{f"{{EVENT.{name}}}": text for name, text in changes.items()}}
    given = {each["name"]: each["value"] for each in media_type()["parameters"]}
    for macro, text in macros.items():
        given = {name: value.replace(macro, text) for name, value in given.items()}
    return json.dumps(given)


async def ran(given: str, status: int = 200) -> dict[str, Any]:
    async with browsing() as browser:
        # Zabbix' own clock stands in China here.
        page = await browser.new_page(timezone_id="Asia/Shanghai")
        found: dict[str, Any] = await page.evaluate(RUN, [media_type()["script"], given, status])
    return found


def read(posted: dict[str, Any]) -> Alert:
    (alert,) = SOURCES["zabbix"].decode(posted["body"].encode(), NOW)
    return alert


async def test_a_problem_and_its_end_are_one_alert() -> None:
    """Posted to the address of the user's media, with the times of the server's clock."""
    begun = await ran(expanded())
    assert begun["url"] == "https://bot.example/hooks/zabbix/token"
    assert begun["headers"] == ["Content-Type: application/json"]
    assert begun["result"] == "OK"
    problem = read(begun)
    assert (problem.firing, problem.severity) == (True, Severity.CRITICAL)
    assert (problem.rule, problem.host) == ('磁盘 "/var" 空间不足', "web-1")
    assert problem.starts_at == datetime(2026, 11, 23, 0, 10, tzinfo=UTC)
    assert problem.labels["scope"] == "capacity"
    assert problem.url == ""
    over = read(await ran(expanded(VALUE="0")))
    assert not over.firing
    assert over.fingerprint == problem.fingerprint
    assert over.ends_at == datetime(2026, 11, 23, 0, 20, 30, tzinfo=UTC)


async def test_macros_without_a_value_are_left_out() -> None:
    """Zabbix leaves such a macro as it is written, and the post is sent all the same."""
    odd = expanded(TAGSJSON="no json", OPDATA="{EVENT.OPDATA}", NSEVERITY="9")
    alert = read(await ran(odd.replace("{$ZABBIX.URL}", "https://zabbix.example/")))
    assert (alert.text, alert.severity) == ("", Severity.WARNING)
    assert alert.url == "https://zabbix.example/tr_events.php?triggerid=16042&eventid=51234"


async def test_a_bot_that_is_busy_is_asked_again() -> None:
    """What a script throws, Zabbix tries again, ten times half a minute apart."""
    posted = await ran(expanded(), status=503)
    assert posted["thrown"] == "Vigilbot: HTTP 503 busy"
    assert (media_type()["attempts"], media_type()["attempt_interval"]) == ("10", "30s")

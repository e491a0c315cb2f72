"""The hooks of every source: what is answered 200 is in the log, and rubbish costs nobody a thing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.card import loads, plain
from adapters.sources import SOURCES, heartbeat
from adapters.words import Chat, Secret
from bot.web import hooks
from bot.web.hook_schema import ANSWERS, SCHEMA
from runbooks.alerting import heartbeats
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.hooks import hash_of
from storage.intake import Intake
from storage.records import Accepted, Customer, Heartbeat
from storage.store import Store
from storage.vault import Seal
from tests import blank

NOBODY = cast("Any", None)
TOKEN = Secret("t" * 43)
GOOD = {
    "version": "4",
    "groupKey": "g",
    "status": "firing",
    "receiver": "r",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Down", "severity": "critical", "instance": "a"},
            "annotations": {},
            "startsAt": "2026-11-25T03:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "f1",
        }
    ],
}
BODY = json.dumps(GOOD).encode()


class Stage:
    """The hooks over a real store and a real intake, and the customer whose token is TOKEN."""

    def __init__(self, kit: Kit, intake: Intake, customer: int) -> None:
        self.kit, self.intake, self.customer = kit, intake, customer
        hook = hooks.Hook(kit, intake, SOURCES, slow=0.2)
        self.app = hooks.Site(hook)
        self.app.include_router(hooks.router(hook))

    async def __aenter__(self) -> Stage:
        transport = httpx.ASGITransport(self.app)
        self.web = httpx.AsyncClient(transport=transport, base_url="http://bot")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.web.aclose()

    async def post(self, source: str, body: bytes, token: Secret = TOKEN) -> httpx.Response:
        return await self.web.post(f"/hooks/{source}/{token.reveal()}", content=body)

    async def posts(self) -> Sequence[Accepted]:
        return await self.intake.after(0, 10_000)

    async def kept(self) -> list[bytes]:
        return [post.body for post in await self.posts()]


Act = Callable[[Stage], Coroutine[Any, Any, None]]


async def staged(folder: Path, clock: Any) -> AsyncGenerator[Stage, None]:
    url = blank.sqlite(folder / "bot.sqlite")
    async with Store(url, Seal(Seal.new_key())) as store, Intake(url) as intake:
        async with store.unit() as unit:
            made = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now()))
            for number, source in enumerate(SOURCES):
                token = TOKEN if source == "alertmanager" else Secret(f"{source}{number}")
                await unit.hooks.add(made.id, source, token, clock.now())
        kit = Kit(clock, store, {}, NOBODY, NOBODY, NOBODY)
        async with Stage(kit, intake, made.id) as stage:
            yield stage


@pytest.fixture
async def stage(tmp_path: Path, clock: Any) -> AsyncIterator[Stage]:
    async for each in staged(tmp_path, clock):
        yield each


def token_of(source: str) -> Secret:
    if source in {"alertmanager", heartbeat.NAME}:
        return TOKEN
    return Secret(f"{source}{list(SOURCES).index(source)}")


async def test_what_is_answered_200_is_in_the_log_as_it_came(stage: Stage) -> None:
    answer = await stage.post("alertmanager", BODY)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    (post,) = await stage.intake.after(0, 10)
    assert (post.customer, post.source, post.body) == (stage.customer, "alertmanager", BODY)


async def test_a_look_at_the_address_says_what_to_do(stage: Stage) -> None:
    path = f"/hooks/alertmanager/{TOKEN.reveal()}"
    assert "POST" in (await stage.web.get(path)).json()["hint"]
    assert (await stage.web.head(path)).status_code == 200
    assert (await stage.web.put(path)).status_code == 405
    assert (await stage.web.get("/hooks/alertmanager/wrong")).status_code == 404
    assert await stage.kept() == []


async def answers(stage: Stage, *tokens: Secret) -> list[int]:
    """Post by each of these; return what each was answered."""
    return [(await stage.post("alertmanager", BODY, token)).status_code for token in tokens]


async def test_a_revoked_token_is_out_at_once_though_it_was_remembered(stage: Stage) -> None:
    """In the very instant of the commit, and while others' tokens stay remembered."""
    assert await answers(stage, TOKEN) == [200]
    async with stage.kit.store.unit() as unit:
        assert await unit.hooks.revoke(stage.customer, "alertmanager") == 1
    assert await answers(stage, TOKEN) == [404]


async def test_another_replica_remembers_a_revoked_token_for_two_seconds(
    stage: Stage, tmp_path: Path, clock: Any
) -> None:
    """It is remembered, so that no post waits for the main database; but not for long."""
    assert await answers(stage, TOKEN) == [200]
    url = f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    async with Store(url, Seal(Seal.new_key())) as other, other.unit() as unit:
        await unit.hooks.revoke(stage.customer, "alertmanager")
    assert await answers(stage, TOKEN) == [200]
    await clock.sleep(hooks.REMEMBERED.total_seconds())
    assert await answers(stage, TOKEN) == [404]


async def test_an_exchanged_token_goes_on_until_its_grace_is_over(stage: Stage, clock: Any) -> None:
    """Not a moment of it is lost before somebody was told the new one, and not one is added."""
    new, grace = Secret("n" * 43), timedelta(hours=24)
    async with stage.kit.store.unit() as unit:
        await unit.hooks.exchange(stage.customer, "alertmanager", new, clock.now())
    await clock.sleep(timedelta(days=30).total_seconds())
    assert await answers(stage, TOKEN) == [200]
    async with stage.kit.store.unit() as unit:
        await unit.hooks.told(new, clock.now() + grace)
    await clock.sleep(grace.total_seconds() - 1)
    assert await answers(stage, TOKEN) == [200]
    await clock.sleep(1)
    assert await answers(stage, TOKEN, new) == [404, 200]


async def test_the_first_use_of_the_new_token_ends_the_old_one_an_hour_later(
    stage: Stage, clock: Any
) -> None:
    """A monitor may be several, which are not changed in one instant."""
    new = Secret("n" * 43)
    async with stage.kit.store.unit() as unit:
        await unit.hooks.exchange(stage.customer, "alertmanager", new, clock.now())
        await unit.hooks.told(new, clock.now() + timedelta(hours=24))
    assert await answers(stage, TOKEN, new, TOKEN) == [200, 200, 200]
    await clock.sleep(hooks.SETTLE.total_seconds() - 1)
    assert await answers(stage, TOKEN, new) == [200, 200]
    await clock.sleep(1)
    assert await answers(stage, TOKEN, new) == [404, 200]


async def test_a_full_intake_asks_to_try_again(tmp_path: Path, clock: Any) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    async with Store(url, Seal(Seal.new_key())) as store, Intake(url, room=10) as intake:
        await store.create()
        async with store.unit() as unit:
            made = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now()))
            await unit.hooks.add(made.id, "alertmanager", TOKEN, clock.now())
        async with Stage(Kit(clock, store, {}, NOBODY, NOBODY, NOBODY), intake, made.id) as stage:
            assert (await stage.post("alertmanager", BODY)).status_code == 503


async def test_a_database_that_fails_asks_to_try_again(stage: Stage) -> None:
    """Whatever it raised on the way: a 500 would have some senders drop the post."""
    async with stage.kit.store.unit() as unit:
        await unit.aside._db.execute(sa.text("ALTER TABLE hooks RENAME TO hooks_gone"))
    answer = await stage.post("alertmanager", BODY)
    assert (answer.status_code, answer.json()["ok"]) == (503, False)


HOSTILE = {
    "nothing": b"",
    "half": BODY[:-5],
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"alerts":' * 200_000,
    "deep label": b'{"version":"4","alerts":[{"labels":{"a":' + b"[" * 100_000,
    "bad UTF-8": b'{"version":"4","alerts":[{"labels":{"a":"\xff\xfe"}}]}',
    "half a character": json.dumps({**GOOD, "groupKey": "\ud800"}).encode(),
    "wrong types": json.dumps({**GOOD, "alerts": {"a": [1, None, {}]}}).encode(),
    "a number": b"1e999999",
    "long number": b"9" * 1_000_000,
    "10 MB": b'{"a":"' + b"x" * 10_000_000 + b'"}',
    "NULs": b"\x00" * 1000,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_rubbish_is_the_senders_fault(stage: Stage, source: str, body: bytes) -> None:
    """Never a 500, and a good post right after it is kept."""
    answer = await stage.post(source, body, token_of(source))
    assert answer.status_code in {200, 400, 413}
    assert (await stage.post("alertmanager", BODY)).status_code == 200
    assert (await stage.kept())[-1] == BODY


async def test_a_slow_sender_is_let_go_and_holds_up_nobody(stage: Stage) -> None:
    never = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await never.wait()

    path = f"/hooks/alertmanager/{TOKEN.reveal()}"
    slow = [asyncio.create_task(stage.web.post(path, content=dripping())) for _ in range(20)]
    assert (await stage.post("alertmanager", BODY)).status_code == 200
    assert {answer.status_code for answer in await asyncio.gather(*slow)} == {503}
    assert await stage.kept() == [BODY]


async def test_what_is_refused_of_a_customer_is_told_to_operations_once_an_hour(
    stage: Stage, clock: Any
) -> None:
    """Its sender alone would know, and does not try again. Of a stranger's post nothing is told."""
    store = stage.kit.store
    async with store.unit() as unit:
        await unit.outbox.mark(OPERATIONS, Chat("web", "ops"), clock.now())

    async def told() -> list[str]:
        async with store.view() as unit:
            entries = await unit.outbox.latest(100)
        return [plain(loads(each.card)) for each in entries if each.key.startswith("refused:")]

    for body in (b"{", b"x" * (hooks.MOST + 1), b"{"):
        assert (await stage.post("alertmanager", body)).status_code in {400, 413}
    assert (await stage.post("alertmanager", b"{", Secret("nobody's"))).status_code == 404
    (first,) = await told()
    assert "Alertmanager" in first
    odd = json.dumps({"alerts": [{"status": "t0ken-of-theirs", "labels": 1}]}).encode()
    answer = await stage.post("grafana", odd, token_of("grafana"))
    assert (answer.status_code, len(await told())) == (400, 2)
    assert not any("t0ken" in each for each in await told())
    path = f"/hooks/nightingale/{token_of('nightingale').reveal()}"
    assert (await stage.web.put(path, content=BODY)).status_code == 405
    assert sum("POST" in each for each in await told()) == 1
    await clock.sleep(3600)
    assert (await stage.post("alertmanager", b"x" * (hooks.MOST + 1))).status_code == 413
    assert any("8 MB" in each for each in await told())
    assert len(await told()) == 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(["alerts", "labels", "status", "startsAt", "version", "type", "message"])
NEARLY = st.dictionaries(KEYS, JSON).map(lambda value: json.dumps(GOOD | value).encode())
RUBBISH = st.binary(max_size=2000) | JSON.map(lambda value: json.dumps(value).encode()) | NEARLY


@pytest.fixture
def played(tmp_path: Path, clock: Any) -> Iterator[Callable[[Act], None]]:
    """Play acts on one stage, each to its end: for tests that are many examples."""
    with asyncio.Runner() as runner:
        opened = staged(tmp_path, clock)
        stage = runner.run(anext(opened))
        yield lambda act: runner.run(act(stage))
        runner.run(opened.aclose())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posts=st.lists(st.tuples(st.sampled_from(sorted(SOURCES)), RUBBISH), max_size=6))
def test_no_bytes_break_a_hook_or_lose_a_good_alert(
    played: Callable[[Act], None], posts: list[tuple[str, bytes]]
) -> None:
    """Whatever comes before and beside it, the good one is kept; and what is kept can be read."""

    async def act(stage: Stage) -> None:
        before = await stage.posts()
        answers = await asyncio.gather(
            *(stage.post(source, body, token_of(source)) for source, body in posts),
            stage.post("alertmanager", BODY),
        )
        assert {answer.status_code for answer in answers} <= {200, 400}
        assert answers[-1].status_code == 200
        kept = (await stage.posts())[len(before) :]
        assert BODY in [post.body for post in kept]
        for post in kept:
            assert SOURCES[post.source].decode(post.body, post.at)

    played(act)


OURS = schemathesis.openapi.from_dict(SCHEMA)["/hooks/{source}/{token}"]


@settings(suppress_health_check=list(HealthCheck))
@given(
    case=st.one_of([OURS[method].as_strategy() for method in ("GET", "POST")]),
    source=st.sampled_from([*SOURCES, heartbeat.NAME, ""]),
)
def test_schemathesis_gets_only_the_answers_that_are_told(
    played: Callable[[Act], None], case: schemathesis.Case[Any], source: str
) -> None:
    """By our own OpenAPI; with no source, its own address is posted to."""

    async def act(stage: Stage) -> None:
        sent = case.as_transport_kwargs(base_url="http://bot")
        path = urlsplit(sent["url"]).path
        if source:
            path = f"/hooks/{source}/{token_of(source).reveal()}"
        answer = await stage.web.request(
            sent["method"],
            path,
            content=sent.get("data") if isinstance(sent.get("data"), bytes) else None,
            data=sent.get("data") if isinstance(sent.get("data"), dict) else None,
            json=sent.get("json"),
        )
        assert str(answer.status_code) in ANSWERS
        assert isinstance(answer.json()["ok"], bool) or answer.status_code == 404

    played(act)


class Overtaken(Intake):
    """An intake that is so slow that a job is heard of before its silence is kept."""

    heard: Callable[[], Coroutine[Any, Any, object]]

    async def accept(self, customer: int, source: str, body: bytes, at: datetime) -> int:
        if heartbeat.decode(body, at)[0].firing:
            await self.heard()
        return await super().accept(customer, source, body, at)


async def test_a_job_that_is_heard_of_while_its_silence_is_told_is_not_left_silent(
    stage: Stage, clock: Any, tmp_path: Path
) -> None:
    token = Secret("h" * 43)
    async with stage.kit.store.unit() as unit:
        row = Heartbeat(stage.customer, "backup", hash_of(token), 60, clock.now())
        await unit.heartbeats.put(row)
    async with Overtaken(f"sqlite+aiosqlite:///{tmp_path / 'slow'}") as slow:
        slow.heard = lambda: heartbeats.beat(stage.kit, slow, token)
        await heartbeats.look(stage.kit, slow)
        told = [heartbeat.decode(p.body, p.at)[0].firing for p in await slow.after(0, 10)]
    assert told == [True, False], "its end comes after its beginning"
    async with stage.kit.store.view() as unit:
        (kept,) = await unit.heartbeats.of(stage.customer)
    assert not kept.missed


async def test_a_job_that_falls_silent_is_an_alert_and_its_return_ends_it(
    stage: Stage, clock: Any
) -> None:
    token = Secret("h" * 43)
    now = clock.now()
    async with stage.kit.store.unit() as unit:
        await unit.heartbeats.put(
            Heartbeat(stage.customer, "backup", hash_of(token), 60, now + timedelta(seconds=60))
        )
    assert (await stage.post(heartbeat.NAME, b"", Secret("x"))).status_code == 404
    await clock.sleep(59)
    assert await heartbeats.look(stage.kit, stage.intake) == 0
    assert (await stage.post(heartbeat.NAME, b"anything", token)).status_code == 200
    await clock.sleep(59)
    assert await heartbeats.look(stage.kit, stage.intake) == 0
    await clock.sleep(1)
    assert await heartbeats.look(stage.kit, stage.intake) == 1
    assert await heartbeats.look(stage.kit, stage.intake) == 0, "it is told once"
    assert (await stage.web.get(f"/hooks/heartbeat/{token.reveal()}")).status_code == 200
    posts = await stage.intake.after(0, 10)
    told = [heartbeat.decode(post.body, post.at)[0] for post in posts]
    assert [(alert.fingerprint, alert.firing) for alert in told] == [
        ("backup", True),
        ("backup", False),
    ]
    assert {(post.customer, post.source) for post in posts} == {(stage.customer, "heartbeat")}

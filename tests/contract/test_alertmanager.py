"""Ours beside a real Alertmanager: random matchers, routes, silences, inhibitions and times, judged by
both. What hides an alert there must hide it here, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from adapters.port import UsageError
from adapters.words import Alert, Person, Severity
from runbooks.alerting.muting.hidden import Rules, Standing, hiding, why_hidden
from runbooks.alerting.muting.inhibition import Inhibition
from runbooks.alerting.muting.intervals import Interval, holds, interval
from runbooks.alerting.muting.matchers import (
    Matcher,
    Operator,
    labels_of,
    matcher,
    narrow,
    parse,
    parse_one,
    spoken,
)
from runbooks.alerting.muting.routes import Route, Routing, group_key, muted, ways
from storage.records import Silence
from tests.sim.alertmanager import Alertmanager, accepts, alertmanager, routed

LI = Person("web", "li", "李工")
NAMES = ("rule", "host", "env", "zone")
VALUES = ("x", "y", "xy", "X", "x y", 'a"b', "a\\b", "磁盘", "x\ny", "a,b", "{x}", "n")
SHAPES = (
    "x", "x|y", "x.*", ".*", ".+", "", "[xy]+", "(?i)X", "^x$", "x?y?", "x y", "(x|y)", "[^x]*",
    "磁.", "x.y", "(?s)x.y", "a\\\\b", 'a"b', "\\w+", "\\W", "x{1,2}", "(?:x|xy)", "\\{x\\}", "a,b",
    "x.*|.*y", ".", "\\bx\\b.*", "y|",
)  # fmt: skip
HAPPENS = 400
"""Looks at an Alertmanager that has not settled yet."""


def fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def conditions(random: Random, most: int) -> tuple[Matcher, ...]:
    made = []
    for _ in range(random.randint(1, most)):
        operator = random.choice(list(Operator))
        like = operator in {Operator.LIKE, Operator.NOT_LIKE}
        value = random.choice(SHAPES if like else (*VALUES, ""))
        made.append(matcher(random.choice(NAMES), operator, value))
    return tuple(made)


def alerts_of(random: Random, count: int) -> list[Alert]:
    made = []
    for number in range(count):
        there = [name for name in NAMES if random.random() < 0.7]
        labels = {name: random.choice(VALUES[:8]) for name in there}
        labels |= {"id": str(number), "rule": random.choice(VALUES)}
        made.append(alert(labels, firing=random.random() < 0.9))
    return made


def alert(labels: dict[str, str], *, firing: bool = True) -> Alert:
    return Alert(labels["id"], firing, Severity.CRITICAL, labels["rule"], labels=labels)


def tree(random: Random, depth: int, names: list[str]) -> Route:
    name = f"r{len(names)}"
    names.append(name)
    children = random.randint(0, 3) if depth else 0
    return Route(
        receiver=name,
        matchers=conditions(random, 2),
        go_on=random.random() < 0.3,
        routes=tuple(tree(random, depth - 1, names) for _ in range(children)),
        group_by=random.choice((None, ("...",), ("host",), ("host", "env"))),
    )


def written(route: Route) -> dict[str, Any]:
    """Return a route as Alertmanager's configuration has it."""
    made: dict[str, Any] = {
        "receiver": route.receiver,
        "continue": route.go_on,
        "matchers": [str(each) for each in route.matchers],
        "routes": [written(each) for each in route.routes],
        "mute_time_intervals": list(route.mute),
        "active_time_intervals": list(route.active),
    }
    return made if route.group_by is None else {**made, "group_by": list(route.group_by)}


def config_of(root: Route, names: Sequence[str], **more: Any) -> dict[str, Any]:
    top = written(root)
    for name in ("continue", "matchers", "mute_time_intervals", "active_time_intervals"):
        del top[name]
    return {"route": top, "receivers": [{"name": name} for name in names], **more}


def sent(one: Alert, now: datetime) -> dict[str, Any]:
    begun = now - timedelta(minutes=5)
    ends = now + timedelta(hours=1) if one.firing else now - timedelta(minutes=1)
    return {
        "labels": labels_of(one),
        "startsAt": begun.isoformat(),
        "endsAt": ends.isoformat(),
    }


async def settled(there: Alertmanager) -> dict[str, Any]:
    """Return its alerts by id, once it has folded the canary, which was posted last."""
    for _ in range(HAPPENS):
        found = {each["labels"]["id"]: each for each in await there.get("/alerts")}
        by = found["target"]["status"]["inhibitedBy"] if "target" in found else []
        groups = await there.get("/alerts/groups")
        ids = {each["labels"]["id"] for group in groups for each in group["alerts"]}
        if "target" in ids and by and by[0] == found["source"]["fingerprint"]:
            return found
    raise AssertionError("Alertmanager does not settle")


async def silences_of(
    random: Random, there: Alertmanager, now: datetime
) -> list[tuple[str, Silence, tuple[Matcher, ...]]]:
    """Make random silences on both sides: running, over and still to come."""
    made = list[tuple[str, Silence, tuple[Matcher, ...]]]()
    hour = timedelta(hours=1)
    for number in range(8):
        wanted = conditions(random, 3)
        later = random.random() < 0.2
        begins, ends = (now + hour, now + 2 * hour) if later else (now, now + hour)
        body = {
            "matchers": [
                {
                    "name": each.name,
                    "value": each.value,
                    "isRegex": each.operator in {Operator.LIKE, Operator.NOT_LIKE},
                    "isEqual": each.operator in {Operator.IS, Operator.LIKE},
                }
                for each in wanted
            ],
            "startsAt": begins.isoformat(),
            "endsAt": ends.isoformat(),
            "createdBy": "li",
            "comment": "random",
        }
        name = await there.silence(body)
        assert bool(name) == narrow(wanted), spoken(wanted)
        if not name:
            continue
        if random.random() < 0.2:
            await there.expire(name)
            ends = min(begins, now)
        made.append((name, Silence(number, 1, spoken(wanted), begins, ends, LI), wanted))
    return made


async def compared(seed: int, folder: Path) -> int:
    """Judge one random world by both; return how many alerts were hidden."""
    random, now = Random(seed), datetime.now(UTC)
    names: list[str] = []
    tops = tuple(tree(random, 2, names) for _ in range(4))
    root = Route(receiver="root", routes=tops, group_by=("rule",))
    wait = Inhibition((parse_one("canary=source"),), (parse_one("canary=target"),), (), "李工")
    inhibitions = (
        wait,
        *(
            Inhibition(
                conditions(random, 2),
                conditions(random, 2),
                tuple(random.sample(NAMES, random.randint(0, 2))),
                "李工",
            )
            for _ in range(4)
        ),
    )
    rules = [
        {
            "source_matchers": [str(each) for each in rule.source],
            "target_matchers": [str(each) for each in rule.target],
            "equal": list(rule.equal),
        }
        for rule in inhibitions
    ]
    config = config_of(root, ["root", *names], inhibit_rules=rules)
    everything = [
        *alerts_of(random, 30),
        alert({"id": "source", "rule": "canary", "canary": "source"}),
        alert({"id": "target", "rule": "canary", "canary": "target"}),
    ]
    async with alertmanager(folder, config) as there:
        await there.post([sent(one, now) for one in everything])
        quiet = await silences_of(random, there, now)
        found = await settled(there)
        groups = await there.get("/alerts/groups")
    firing = [one for one in everything if one.firing]
    assert set(found) == {one.fingerprint for one in firing}
    at = datetime.now(UTC)
    hidden = 0
    for one in firing:
        status, labels = found[one.fingerprint]["status"], labels_of(one)
        # Each silence by itself: there all that match are named.
        matched = {
            name
            for name, silence, wanted in quiet
            if why_hidden(one, 1, at, Standing(1, ((silence, wanted),)), ())
        }
        assert set(status["silencedBy"]) == matched, (seed, labels)
        alone = Standing(1, rules=Rules(inhibitions))
        inhibited = why_hidden(one, 1, at, alone, firing)
        assert bool(status["inhibitedBy"]) == bool(inhibited), (seed, labels)
        whole = Standing(1, tuple((s, m) for _, s, m in quiet), (), Rules(inhibitions))
        answer = why_hidden(one, 1, at, whole, hiding(whole, firing))
        assert (status["state"] == "suppressed") == bool(answer), (seed, labels)
        hidden += answer is not None
        gone = ways(root, labels)
        told = [each["name"] for each in found[one.fingerprint]["receivers"]]
        assert sorted(told) == sorted(way.receiver for way in gone), (seed, labels)
        assert grouped(groups, one) == {(w.receiver, group_key(w, labels)) for w in gone}
        if all(value.isascii() and value.isalnum() for value in labels.values()):
            by_tool = await routed(folder, config, labels)
            assert by_tool == [way.receiver for way in gone], (seed, labels)
    return hidden


def grouped(groups: Any, one: Alert) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return in which groups of which receiver an alert is told."""
    return {
        (group["receiver"]["name"], tuple(sorted(group["labels"].items())))
        for group in groups
        if any(each["labels"]["id"] == one.fingerprint for each in group["alerts"])
    }


@pytest.mark.parametrize("seed", range(6))
async def test_random_worlds_are_judged_alike(seed: int, tmp_path: Path) -> None:
    """Silences, inhibitions, routes and groups of thirty random alerts."""
    assert await compared(seed, tmp_path) > 0


@pytest.mark.chaos_long
@pytest.mark.timeout(3600)
async def test_many_random_worlds_are_judged_alike(tmp_path: Path) -> None:
    """The same, three hundred times over."""
    hidden = [await compared(seed, fresh(tmp_path / str(seed))) for seed in range(1000, 1300)]
    assert sum(hidden) > 1000


# -- how matchers are written -------------------------------------------------------------------

PIECES = (
    "a", "rule", "host", "=", "=", "=~", "!=", "!~", '"', '"', "\\", "\\n", '\\"', ",", " ", "x", "x y",
    "{", "}", "磁盘", ".*", "x|y", "~", "!", "\n", "\t", "1", ":", "_",
)  # fmt: skip


def scrawl(random: Random) -> str:
    if random.random() < 0.5:
        return "".join(random.choice(PIECES) for _ in range(random.randint(1, 8)))
    value = "".join(random.choice(PIECES) for _ in range(random.randint(0, 4)))
    quoted = f'"{value}"' if random.random() < 0.5 else value
    return f"{random.choice(NAMES)}{random.choice(list(Operator))}{quoted}"


def understood(text: str) -> bool:
    try:
        parse(text)
    except UsageError:
        return False
    return True


async def scrawled(seed: int, count: int, folder: Path) -> None:
    """Write conditions badly: both take the same, and mean the same by them."""
    random, now = Random(seed), datetime.now(UTC)
    texts = [scrawl(random) for _ in range(count)]
    for text in texts:
        route = {"receiver": "root", "routes": [{"receiver": "root", "matchers": [text]}]}
        alone = {"route": route, "receivers": [{"name": "root"}]}
        assert await accepts(folder, alone) == understood(text), repr(text)
    good = [text for text in texts if understood(text)]
    names = [f"r{n}" for n in range(len(good))]
    routes = tuple(
        Route(name, parse(text), go_on=True) for name, text in zip(names, good, strict=True)
    )
    root = Route("root", routes=routes)
    config: dict[str, Any] = config_of(root, ["root", *names])
    for below, text in zip(config["route"]["routes"], good, strict=True):
        below["matchers"] = [text]
    everything = alerts_of(random, 20)
    async with alertmanager(folder, config) as there:
        await there.post([sent(one, now) for one in everything])
        found = {each["labels"]["id"]: each for each in await there.get("/alerts")}
    for one in everything:
        if one.firing:
            told = sorted(each["name"] for each in found[one.fingerprint]["receivers"])
            assert told == sorted(way.receiver for way in ways(root, labels_of(one)))


async def test_what_is_badly_written_is_read_alike(tmp_path: Path) -> None:
    """Quotes, escapes, commas, braces and blanks in every wrong place."""
    await scrawled(1, 80, tmp_path)


@pytest.mark.chaos_long
@pytest.mark.timeout(3600)
async def test_much_that_is_badly_written_is_read_alike(tmp_path: Path) -> None:
    """The same, for thousands."""
    for seed in range(100, 120):
        await scrawled(seed, 300, fresh(tmp_path / str(seed)))


# -- times --------------------------------------------------------------------------------------

ZONES = ("", "UTC", "Asia/Shanghai", "America/New_York", "Pacific/Apia", "Asia/Kathmandu")
WEEK = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
YEAR = ("january", "march", "may", "august", "november", "december")


def times_of(random: Random, now: datetime) -> dict[str, Any]:
    """Return an interval as ours takes it, perhaps a wrong one."""
    made: dict[str, Any] = {"location": random.choice(ZONES)}

    def some(make: Any) -> list[Any]:
        return [make() for _ in range(random.randint(1, 2))]

    def between(values: Sequence[Any]) -> str:
        return random.choice(
            (f"{random.choice(values)}:{random.choice(values)}", random.choice(values))
        )

    if random.random() < 0.5:
        clocks = [f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 17, 59)]
        made["times"] = some(lambda: (random.choice(clocks), random.choice([*clocks, "24:00"])))
    if random.random() < 0.4:
        made["weekdays"] = some(lambda: between(WEEK))
    if random.random() < 0.4:
        days = [*map(str, (1, 5, 10, 15, 20, 28, 30, 31, 0)), *map(str, (-1, -3, -10, -28, -31))]
        made["days"] = some(lambda: between(days))
    if random.random() < 0.3:
        made["months"] = some(lambda: between([*YEAR, "1", "6", "11", "12"]))
    if random.random() < 0.3:
        made["years"] = some(lambda: between([str(now.year + n) for n in (-1, 0, 1)]))
    return made


def as_theirs(made: Mapping[str, Any]) -> dict[str, Any]:
    names = {"days": "days_of_month"}
    theirs = {names.get(name, name): value for name, value in made.items() if value}
    if "times" in theirs:
        theirs["times"] = [{"start_time": a, "end_time": b} for a, b in theirs["times"]]
    return theirs


def ours(made: Mapping[str, Any]) -> Interval | None:
    try:
        return interval(**made)
    except UsageError:
        return None


async def timed(seed: int, checked: int, count: int, folder: Path) -> tuple[int, int]:
    """Judge random intervals by both at this very minute; return how many routes spoke, and how many
    were mute."""
    random, now = Random(seed), datetime.now(UTC)
    for _ in range(checked):
        made = times_of(random, now)
        alone = {
            "route": {"receiver": "root"},
            "receivers": [{"name": "root"}],
            "time_intervals": [{"name": "t", "time_intervals": [as_theirs(made)]}],
        }
        assert await accepts(folder, alone) == (ours(made) is not None), json.dumps(made)
    tries = (times_of(random, now) for _ in range(count * 20))
    good = [(made, read) for made in tries if (read := ours(made))][: count * 2]
    periods = {f"t{n}": (one,) for n, (_, one) in enumerate(good)}
    routes = tuple(
        Route(
            f"r{n}",
            (matcher("id", Operator.IS, str(n)),),
            mute=(f"t{2 * n}",) if n % 3 else (),
            active=() if n % 3 == 1 else (f"t{2 * n + 1}",),
        )
        for n in range(count)
    )
    root = Route("root", routes=routes, group_by=("...",))
    routing = Routing(root, periods)
    heard = set[str]()
    news = asyncio.Event()

    async def hear(request: web.Request) -> web.Response:
        heard.add(request.path.strip("/"))
        news.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/{name}", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    config = config_of(root, ["root"])
    config["route"]["group_wait"] = "0s"
    config["receivers"] += [
        {
            "name": each.receiver,
            "webhook_configs": [{"url": f"http://127.0.0.1:{port}/{each.receiver}"}],
        }
        for each in routes
    ]
    config["time_intervals"] = [
        {"name": f"t{n}", "time_intervals": [as_theirs(made)]} for n, (made, _) in enumerate(good)
    ]
    everything = [alert({"id": str(n), "rule": "x"}) for n in range(count)]
    before = datetime.now(UTC)
    try:
        async with alertmanager(folder, config) as there:
            await there.post([sent(one, now) for one in everything])
            async with asyncio.timeout(60):
                while len(heard) + there.muted < count:
                    news.clear()
                    there.news.clear()
                    waits = [asyncio.create_task(each.wait()) for each in (news, there.news)]
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    for each in waits:
                        each.cancel()
    finally:
        await runner.cleanup()
    after = datetime.now(UTC)
    for one, route in zip(everything, routes, strict=True):
        (way,) = ways(root, labels_of(one))
        # A minute that ended meanwhile may have been judged either way.
        answers = {not muted(routing, way, at) for at in (before, after)}
        assert (route.receiver in heard) in answers, route
    return len(heard), count - len(heard)


async def test_times_are_judged_alike(tmp_path: Path) -> None:
    """Which random intervals are refused, and which make a route mute at this minute."""
    spoke, mute = await timed(7, 60, 60, tmp_path)
    assert min(spoke, mute) > 5


@pytest.mark.chaos_long
@pytest.mark.timeout(3600)
async def test_many_times_are_judged_alike(tmp_path: Path) -> None:
    """The same for thousands, whatever minute it is."""
    for seed in range(100, 120):
        await timed(seed, 100, 150, fresh(tmp_path / str(seed)))


@pytest.mark.parametrize(
    "days",
    ["1:-27", "1:-28", "2:-26", "2:-27", "27:-1", "28:-1", "31:-1", "-31:-1", "-5:-6", "-1:1", "0", "32",
     "1:31", "5", "5:4"],
)  # fmt: skip
async def test_days_of_the_month_end_alike(tmp_path: Path, days: str) -> None:
    """Which ranges from the start and from the end of a month are refused."""
    config = {
        "route": {"receiver": "root"},
        "receivers": [{"name": "root"}],
        "time_intervals": [{"name": "t", "time_intervals": [{"days_of_month": [days]}]}],
    }
    assert await accepts(tmp_path, config) == (ours({"days": (days,)}) is not None)


def test_months_and_leap_years_are_as_long_as_they_are() -> None:
    """What the real one can only be asked today: the ends of months."""
    last = interval(days=("-1",))
    assert holds(last, datetime(2028, 2, 29, tzinfo=UTC))
    assert not holds(last, datetime(2028, 2, 28, tzinfo=UTC))
    assert not holds(interval(days=("31",)), datetime(2026, 4, 30, tzinfo=UTC))
    assert holds(interval(days=("28:31",)), datetime(2026, 4, 30, tzinfo=UTC))

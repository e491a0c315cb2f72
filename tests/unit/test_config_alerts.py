"""What an operator may set of alerts that are not told: read, checked by path, and meant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.words import Alert, Severity
from bot.build import house_of
from bot.config import ConfigError, Settings, load
from runbooks.alerting.muting.hidden import Standing, Why, why_hidden
from runbooks.alerting.muting.places import Place
from runbooks.alerting.muting.routes import grouped_by, ways
from runbooks.alerting.pacing import Pace, pace
from runbooks.alerting.tuning import AS_SET

ENV = {"VIGILBOT_KEY": "sealing-key", "VIGILBOT_WEB_PASSWORD": "open-sesame"}
NEEDED = """
[vault]
key = "env:VIGILBOT_KEY"
[web]
password = "env:VIGILBOT_WEB_PASSWORD"
"""
WHOLE = """
[alerts]
maintenance_notice_minutes = 30
[[alerts.inhibit]]
source = ["rule=HostDown"]
target = ["severity=~\\"warning|info\\""]
equal = ["host"]
[[alerts.periods]]
name = "夜间"
times = [["22:00", "24:00"]]
[[alerts.periods]]
name = "夜间"
times = [["00:00", "08:00"]]
location = "Asia/Shanghai"
[[alerts.routes]]
matchers = ["env=test"]
continue = false
group_by = ["host"]
mute = ["夜间"]
set_by = "赵主管"
[[alerts.routes.routes]]
matchers = ["team=db"]
"""
NIGHT = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
"""23:00 in China."""


def read(folder: Path, text: str, env: Mapping[str, str] = ENV) -> Settings:
    path = folder / "vigilbot.toml"
    path.write_text(NEEDED + text, encoding="utf-8")
    return load(path, env)


def problems(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return {problem.path: problem.zh for problem in caught.value.problems}


def test_what_is_written_is_what_is_done(tmp_path: Path) -> None:
    """From the file to the answer why an alert is hidden."""
    rules = house_of(read(tmp_path, WHOLE)).muting
    assert rules.notice == timedelta(minutes=30)
    there = Standing(1, rules=rules)
    down = Alert("1", True, Severity.CRITICAL, "HostDown", "web-01")
    slow = Alert("2", True, Severity.WARNING, "CPU", "web-01")
    hidden = why_hidden(slow, 1, NIGHT, there, (down, slow))
    assert hidden
    assert hidden.why is Why.INHIBITION
    tried = Alert("3", True, Severity.CRITICAL, "CPU", labels={"env": "test"})
    for at, mute in (
        (NIGHT, True),
        (NIGHT + timedelta(hours=8), True),
        (NIGHT - timedelta(hours=3), False),
        (NIGHT + timedelta(hours=9), False),
    ):
        assert bool(why_hidden(tried, 1, at, there, ())) is mute
    # A route below is mute by its own word only.
    below = Alert("4", True, Severity.CRITICAL, "CPU", labels={"env": "test", "team": "db"})
    assert why_hidden(below, 1, NIGHT, there, ()) is None
    assert grouped_by(rules.routing, {"env": "test", "team": "db"}, ("rule",)) == ("host",)


def test_how_fast_and_whom_a_route_tells_is_read(tmp_path: Path) -> None:
    """What a route does not say it has from the one above it, and that from the settings for all."""
    text = """
    [alerts]
    wait_seconds = 5
    interval_seconds = 60
    reopen_minutes = 7
    [[alerts.receivers]]
    name = "我们"
    to = ["ops", "mail"]
    [[alerts.routes]]
    matchers = ["env=test"]
    receiver = "我们"
    wait_seconds = 0
    repeat_minutes = 240
    [[alerts.routes.routes]]
    matchers = ["team=db"]
    interval_seconds = 300
    """
    house = house_of(read(tmp_path, text))
    rules, policy = house.muting, house.alerting
    assert (policy.wait, policy.reopen) == (timedelta(seconds=5), timedelta(minutes=7))
    labels = {"env": "test", "team": "db"}
    found = pace(policy, rules.routing, AS_SET, labels)
    assert found == Pace(timedelta(), timedelta(minutes=5), timedelta(hours=4))
    assert ways(rules.routing.root, labels)[0].receiver == "我们"
    assert rules.receivers == {"我们": {Place.OPS, Place.MAIL}}
    others = pace(policy, rules.routing, AS_SET, {"env": "live"})
    assert others == Pace(timedelta(seconds=5), timedelta(minutes=1), timedelta())


def test_nothing_is_hidden_by_default(tmp_path: Path) -> None:
    rules = house_of(read(tmp_path, "")).muting
    one = Alert("1", True, Severity.INFO, "CPU", "web-01")
    assert why_hidden(one, 1, NIGHT, Standing(1, rules=rules), (one,)) is None


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("[[alerts.inhibit]]\nsource = ['rule']\ntarget = ['a=b']", "alerts.inhibit[0].source[0]", "看不懂"),
        ("[[alerts.inhibit]]\nsource = []\ntarget = ['a=b']", "alerts.inhibit[0].source", "至少"),
        ("[[alerts.inhibit]]\nsource = ['a=b']", "alerts.inhibit[0].target", "必须设置"),
        ("[[alerts.inhibit]]\nsource = [3]\ntarget = ['a=b']", "alerts.inhibit[0].source[0]", "应为文字"),
        ("[[alerts.routes]]\nmatchers = ['a=~\"(a+)+\"']", "alerts.routes[0].matchers[0]", "很久"),
        ("[[alerts.routes]]\nreciever = 'x'", "alerts.routes[0].reciever", "没有这个设置"),
        ("[[alerts.routes]]\n[[alerts.routes.routes]]\nreceiver = 'x'", "alerts", "routes[0].routes[0].receiver 提到的「x」不在 receivers 里"),
        ("[[alerts.receivers]]\nname = 'x'\nto = []", "alerts.receivers[0].to", "至少"),
        ("[[alerts.receivers]]\nname = 'x'\nto = ['sms']", "alerts.receivers[0].to[0]", "只能是"),
        ("[[alerts.receivers]]\nname = 'x'\nto = ['ops']\n[[alerts.receivers]]\nname = 'x'\nto = ['ops']", "alerts", "重名"),
        ("[[alerts.routes]]\nwait_seconds = -1", "alerts.routes[0].wait_seconds", "不能小于"),
        ("[[alerts.routes]]\nrepeat_minutes = true", "alerts.routes[0].repeat_minutes", "应为数字"),
        ("[[alerts.routes]]\n[[alerts.routes.routes]]\nmatchers = ['a']", "alerts.routes[0].routes[0].matchers[0]", "看不懂"),
        ("[[alerts.routes]]\n[[alerts.routes.routes]]\nactive = ['白天']", "alerts", "白天"),
        ("[[alerts.routes]]\ngroup_by = []", "alerts.routes[0].group_by", "至少"),
        ("[[alerts.periods]]\nname = 'x'\ntimes = [['22:00', '08:00']]", "alerts.periods[0]", "晚于"),
        ("[[alerts.periods]]\nname = 'x'\nlocation = 'Mars'", "alerts.periods[0]", "时区"),
        ("[[alerts.periods]]\nname = 'x'\ndays_of_month = ['0']", "alerts.periods[0]", "日子"),
        ("[alerts]\nmaintenance_notice_minutes = 0", "alerts.maintenance_notice_minutes", "不能小于"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_by_its_path(tmp_path: Path, text: str, path: str, says: str) -> None:
    found = problems(tmp_path, text)
    assert list(found) == [path]
    assert says in found[path]

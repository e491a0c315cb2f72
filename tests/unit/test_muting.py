"""Why an alert is hidden, by whom and until when; and that nothing else hides a critical."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.port import UsageError
from adapters.words import Alert, Person, Severity
from runbooks.alerting.muting.hidden import Hidden, Rules, Standing, Why, told, why_hidden
from runbooks.alerting.muting.inhibition import Inhibition
from runbooks.alerting.muting.intervals import holds, interval
from runbooks.alerting.muting.maintenance import following, read, rhythm, running, times
from runbooks.alerting.muting.matchers import (
    Operator,
    labels_of,
    matcher,
    matches,
    parse,
    parse_one,
    spoken,
)
from runbooks.alerting.muting.patterns import MOST, pattern
from runbooks.alerting.muting.routes import Route, Routing, grouped_by, muted_everywhere, ways
from runbooks.alerting.muting.silences import conditions, duration
from runbooks.alerting.muting.silences import read as read_silence
from storage.records import Every, Maintenance, Silence

CHINA = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
LI = Person("web", "li", "李工")
HOUR = timedelta(hours=1)


def alert(severity: Severity = Severity.CRITICAL, rule: str = "CPU", **labels: str) -> Alert:
    return Alert(f"{rule}{labels}", True, severity, rule, labels=labels)


def silenced(text: str, begins: datetime = NOW, lasts: timedelta = HOUR) -> Standing:
    silence = Silence(3, 1, text, begins, begins + lasts, LI, "换硬盘")
    return Standing(1, ((silence, parse(text)),))


# -- silences -----------------------------------------------------------------------------------


def test_a_silence_hides_even_a_critical_and_says_who_and_until_when() -> None:
    hidden = why_hidden(alert(host="web-01"), 1, NOW, silenced("host=web-01"), ())
    assert hidden == Hidden(Why.SILENCE, 3, "李工", NOW + HOUR, "换硬盘")
    assert told(hidden, CHINA) == "静默 #3（李工，至 11-25 12:00，换硬盘）"


def test_a_silence_holds_from_its_first_instant_until_before_its_last() -> None:
    there = silenced("host=web-01")
    for after, hides in ((-1, False), (0, True), (3599, True), (3600, False)):
        at = NOW + timedelta(seconds=after)
        assert bool(why_hidden(alert(host="web-01"), 1, at, there, ())) is hides
    assert why_hidden(alert(host="web-02"), 1, NOW, there, ()) is None


def test_what_one_customer_silenced_is_never_asked_for_another() -> None:
    with pytest.raises(ValueError, match="customer 2"):
        why_hidden(alert(host="web-01"), 2, NOW, silenced("host=web-01"), ())


def test_of_two_silences_the_longer_one_is_named() -> None:
    long, short = silenced("host=web-01", lasts=2 * HOUR), silenced("rule=CPU")
    both = Standing(1, (*short.silences, *long.silences))
    hidden = why_hidden(alert(host="web-01"), 1, NOW, both, ())
    assert hidden
    assert hidden.until == NOW + 2 * HOUR


# -- what the configuration says ----------------------------------------------------------------


def rule(source: str, target: str, *equal: str, set_by: str = "") -> Inhibition:
    return Inhibition(parse(source), parse(target), equal, set_by)


def test_a_rule_that_names_nobody_hides_warnings_and_no_critical() -> None:
    source = alert(rule="HostDown", host="web-01")
    for set_by, critical in (("", False), ("赵主管", True)):
        there = Standing(
            1, rules=Rules((rule("rule=HostDown", "rule=CPU", "host", set_by=set_by),))
        )
        warned = alert(Severity.WARNING, host="web-01")
        hidden = why_hidden(warned, 1, NOW, there, (source,))
        assert hidden
        assert (hidden.why, hidden.by) == (Why.INHIBITION, set_by)
        assert bool(why_hidden(alert(host="web-01"), 1, NOW, there, (source,))) is critical
        assert why_hidden(alert(Severity.WARNING, host="web-02"), 1, NOW, there, (source,)) is None


def test_a_named_rule_behind_an_unnamed_one_still_hides_a_critical() -> None:
    source = alert(rule="HostDown")
    rules = (rule("rule=HostDown", "rule=CPU"), rule("rule=HostDown", "rule=CPU", set_by="赵主管"))
    hidden = why_hidden(alert(), 1, NOW, Standing(1, rules=Rules(rules)), (source,))
    assert hidden
    assert hidden.by == "赵主管"


def test_an_alert_on_both_sides_hides_neither_itself_nor_its_like() -> None:
    there = Standing(1, rules=Rules((rule('rule=~"CPU|MEM"', 'rule=~"CPU|DISK"', set_by="赵"),)))
    cpu, other, memory = alert(host="a"), alert(host="b"), alert(rule="MEM")
    assert why_hidden(cpu, 1, NOW, there, (cpu,)) is None
    assert why_hidden(cpu, 1, NOW, there, (cpu, other)) is None
    assert why_hidden(cpu, 1, NOW, there, (cpu, other, memory))
    assert why_hidden(alert(rule="DISK"), 1, NOW, there, (cpu,))


def test_a_missing_label_and_an_empty_one_are_equal() -> None:
    there = Standing(1, rules=Rules((rule("rule=HostDown", "rule=CPU", "zone", set_by="赵"),)))
    assert why_hidden(alert(zone=""), 1, NOW, there, (alert(rule="HostDown"),))
    assert why_hidden(alert(zone="a"), 1, NOW, there, (alert(rule="HostDown"),)) is None


def test_an_alert_that_has_ended_hides_nothing() -> None:
    there = Standing(1, rules=Rules((rule("rule=HostDown", "rule=CPU", set_by="赵"),)))
    over = Alert("1", False, Severity.CRITICAL, "HostDown")
    assert why_hidden(alert(), 1, NOW, there, (over,)) is None


def test_a_period_hides_a_critical_only_where_each_way_names_who_wants_it() -> None:
    night = {"夜间": (interval(times=(("00:00", "24:00"),)),)}
    ours = Route(matchers=parse("rule=CPU"), mute=("夜间",), go_on=True, set_by="赵主管")
    nobody = Route(matchers=parse("rule=CPU"), mute=("夜间",))
    loud = Route(matchers=parse("rule=CPU"))
    critical, warning = alert(), alert(Severity.WARNING)
    for routes, hides in (
        ((ours,), (True, True)),
        ((ours, nobody), (False, True)),
        ((ours, loud), (False, False)),
    ):
        there = Standing(1, rules=Rules(routing=Routing(Route(routes=routes), night)))
        found = [bool(why_hidden(one, 1, NOW, there, ())) for one in (critical, warning)]
        assert tuple(found) == hides


# -- routes -------------------------------------------------------------------------------------


def test_a_route_has_from_above_what_it_does_not_say_except_when_it_is_mute() -> None:
    child = Route(matchers=parse("env=test"), wait=timedelta(seconds=1))
    top = Route(
        "all", group_by=("rule",), interval=HOUR, repeat=2 * HOUR, mute=("x",), routes=(child,)
    )
    (way,) = ways(top, {"env": "test"})
    assert (way.receiver, way.group_by, way.mute) == ("all", ("rule",), ())
    assert (way.wait, way.interval, way.repeat) == (timedelta(seconds=1), HOUR, 2 * HOUR)
    (root,) = ways(top, {"env": "live"})
    assert (root.wait, root.mute) == (timedelta(seconds=30), ("x",))


def test_outside_of_its_active_periods_a_route_says_nothing() -> None:
    routing = Routing(Route(active=("day",)), {"day": (interval(times=(("09:00", "18:00"),)),)})
    assert muted_everywhere(routing, {}, NOW) == ""
    assert muted_everywhere(routing, {}, NOW + 7 * HOUR) is None


def test_a_route_says_what_alerts_of_one_incident_have_in_common() -> None:
    routes = (
        Route(matchers=parse("env=test"), group_by=("host",)),
        Route(matchers=parse("env=all"), group_by=("...",)),
    )
    routing = Routing(Route(routes=routes))
    assert grouped_by(routing, {"env": "test"}, ("rule",)) == ("host",)
    assert grouped_by(routing, {"env": "all", "a": "b"}, ("rule",)) == ("a", "env")
    assert grouped_by(routing, {"env": "live"}, ("rule",)) == ("rule",)


# -- periods ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "at", "holds_"),
    [
        ({"times": [("03:00", "04:00")]}, "2026-11-25T03:00", True),
        ({"times": [("03:00", "04:00")]}, "2026-11-25T03:59", True),
        ({"times": [("03:00", "04:00")]}, "2026-11-25T04:00", False),
        ({"times": [("03:00", "24:00")]}, "2026-11-25T23:59", True),
        ({"times": [("11:00", "12:00")], "location": "Asia/Shanghai"}, "2026-11-25T03:00", True),
        ({"weekdays": ["wednesday"]}, "2026-11-25T12:00", True),
        ({"weekdays": ["sunday:tuesday", "thursday:saturday"]}, "2026-11-25T12:00", False),
        ({"weekdays": ["sunday"]}, "2026-11-29T12:00", True),
        ({"weekdays": ["monday:saturday"]}, "2026-11-29T12:00", False),
        ({"weekdays": ["sunday"], "location": "Asia/Shanghai"}, "2026-11-28T16:00", True),
        ({"days": ["-1"]}, "2026-11-30T12:00", True),
        ({"days": ["-2"]}, "2026-11-30T12:00", False),
        ({"days": ["-3:-1"]}, "2028-02-27T12:00", True),
        ({"days": ["20:31"]}, "2026-02-28T12:00", True),
        ({"days": ["31"]}, "2026-04-30T12:00", False),
        ({"days": ["-31:-30"]}, "2026-02-01T12:00", False),
        ({"months": ["november"]}, "2026-11-25T12:00", True),
        ({"months": ["1:10", "12"]}, "2026-11-25T12:00", False),
        ({"years": ["2025:2026"]}, "2026-12-31T23:59", True),
        ({"years": ["2025:2026"]}, "2027-01-01T00:00", False),
        ({"months": ["11"], "weekdays": ["thursday"]}, "2026-11-25T12:00", False),
        ({}, "2026-11-25T12:00", True),
    ],
)
def test_a_period_is_when_it_was_said(written: dict[str, Any], at: str, holds_: bool) -> None:
    assert holds(interval(**written), datetime.fromisoformat(at).replace(tzinfo=UTC)) is holds_


# -- conditions ---------------------------------------------------------------------------------


def test_our_own_words_stand_above_a_source_s_labels() -> None:
    one = Alert("1", True, Severity.WARNING, "CPU", "web-01", labels={"host": "x", "severity": "3"})
    assert labels_of(one) == {"host": "web-01", "severity": "warning", "rule": "CPU"}


def test_an_alert_without_a_rule_is_meant_by_its_masked_title() -> None:
    """As its card names it; a label of the same name is the source's, and below it."""
    one = Alert("1", True, Severity.WARNING, "", "a", "磁盘 91% 10.0.0.1", labels={"rule": "x"})
    assert labels_of(one)["rule"] == "磁盘 *% *"
    assert "rule" not in labels_of(replace(one, title="", labels={}))


@given(st.text(max_size=20), st.sampled_from((Operator.IS, Operator.IS_NOT)))
def test_what_is_spoken_is_read_again(value: str, operator: Operator) -> None:
    """Whatever stands in a value, two conditions survive being written down."""
    made = (matcher("host", operator, value), matcher("rule", operator, value))
    assert parse(spoken(made)) == made
    assert parse_one(str(made[0])) == made[0]


@pytest.mark.parametrize(
    "text",
    ["(a+)+", "(a|a)*b", "(a?){30}a{30}", "a?" * 30 + "a" * 30, "(.*)*", "(a|ab|b)+c", ".*.*.*.*x",
     "(?=a)", r"(a)\1", "(", "[[:alpha:]]", "a" * 2000, "(a*)?" * 20, "(?x)a b", "\\磁"],
)  # fmt: skip
def test_an_expression_that_could_take_for_ever_is_refused(text: str) -> None:
    """Exponential ones, what Go has not, and what is none."""
    with pytest.raises(UsageError, match="正则表达式"):
        parse_one(f'host=~"{text}"'.replace("\\", "\\\\"))


@given(
    st.from_regex(r"([a-c.()|*+?\[\]]|\{[0-9]{1,2},?\}){1,12}", fullmatch=True), st.integers(0, 60)
)
def test_no_expression_that_is_taken_is_slow(text: str, length: int) -> None:
    """Whatever is taken judges the worst texts in a fraction of a second."""
    try:
        one = pattern(text)
    except UsageError:
        return
    for value in ("a" * length + "!", "ab" * length, "c" * 5000 + "!"):
        if one.judges(value):
            began = process_time()
            one.matches(value)
            assert process_time() - began < 2


def test_a_value_too_long_to_be_judged_is_seen_rather_than_hidden() -> None:
    long = {"host": "x" * MOST}
    assert not matches(parse('host=~".*a.*b.*"'), long)
    assert not matches(parse('host!~".*a.*b.*"'), long)
    assert matches(parse('host=~"x+"'), {"host": "x" * 5000})


# -- what people type ---------------------------------------------------------------------------


def test_a_silence_is_typed_as_conditions_a_span_and_a_reason() -> None:
    asked = read_silence('host=web-01 title=~"磁盘 .*" 1h30m 换 硬盘（张工）')
    assert spoken(asked.matchers) == 'host="web-01", title=~"磁盘 .*"'
    assert (asked.lasts, asked.reason) == (timedelta(minutes=90), "换 硬盘（张工）")


def test_a_chinese_keyboard_is_understood() -> None:
    asked = read_silence("host＝“web-01”，severity！=critical 2小时 压测")
    assert spoken(asked.matchers) == 'host="web-01", severity!="critical"'
    assert asked.lasts == 2 * HOUR


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2h 原因", "哪些告警"),
        ("host=web-01 原因", "多久"),
        ("host=web-01", "多久"),
        ("host=web-01 2h", "原因"),
        ("host=web-01 31d 原因", "最长 30 天"),
        ("host=web-01 0m 原因", "最长 30 天"),
        ('host=~".*" 2h 原因', "所有告警"),
        ('host=~"(a+)+" 2h 原因', "很久"),
    ],
)
def test_a_silence_that_lacks_something_is_answered_with_what(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_silence(text)


def test_spans_are_read_in_both_languages() -> None:
    words = {"30m": 30, "30分钟": 30, "1天": 1440, "1d12h": 2160, "1周": 10080, "2H": 120}
    for text, minutes in words.items():
        assert duration(text) == timedelta(minutes=minutes)
    assert [duration(text) for text in ("", "2", "h", "2h!", "web-01")] == [None] * 5
    assert conditions("2h 原因") == ((), "2h 原因")


# -- maintenance windows ------------------------------------------------------------------------


def window(text: str, now: datetime = NOW) -> Maintenance:
    plan = read(text, now, CHINA)
    minutes = plan.lasts // timedelta(minutes=1)
    return Maintenance(
        2, 1, spoken(plan.matchers), plan.starts_at, minutes, plan.every, LI, now, plan.reason, plan.day
    )  # fmt: skip


def starts(text: str, days: int, now: datetime = NOW) -> list[str]:
    made = window(text, now)
    found = times(made, now, now + timedelta(days=days), CHINA)
    return [f"{one.starts_at.astimezone(CHINA):%m-%d %H:%M}" for one in found]


def test_windows_come_when_it_was_said() -> None:
    """It is Wednesday, 25 November, 11:00 in China."""
    assert starts("现在 1h 换交换机", 30) == ["11-25 11:00"]
    assert starts("22:00 1h 换交换机", 30) == ["11-25 22:00"]
    assert starts("10:00 1h 换交换机", 30) == ["11-26 10:00"]
    assert starts("01-05 10:00 1h 换交换机", 60) == ["01-05 10:00"]
    assert starts("2026-12-01 10:00 1h 换交换机", 60) == ["12-01 10:00"]
    assert starts("每天 02:00 1h 备份", 3) == ["11-26 02:00", "11-27 02:00", "11-28 02:00"]
    assert starts("每周六 22:00 2h 重启", 14) == ["11-28 22:00", "12-05 22:00"]
    assert starts("每月31日 22:00 2h 重启", 100) == [
        "11-30 22:00", "12-31 22:00", "01-31 22:00", "02-28 22:00",
    ]  # fmt: skip
    assert starts("每月最后一天 22:00 2h 重启", 40) == ["11-30 22:00", "12-31 22:00"]


def test_a_start_that_passed_while_it_was_typed_is_now() -> None:
    """Twenty seconds after it, and over midnight."""
    late = datetime(2026, 11, 30, 22, 0, 20, tzinfo=CHINA)
    assert starts("11-30 22:00 2h 换交换机", 30, late) == ["11-30 22:00"]
    assert starts("22:00 2h 换交换机", 30, late) == ["11-30 22:00"]
    assert starts("每天 22:00 2h 备份", 2, late) == ["11-30 22:00", "12-01 22:00", "12-02 22:00"]
    assert starts("23:59 2h 换交换机", 30, late + 2 * HOUR) == ["11-30 23:59"]
    new_year = datetime(2027, 1, 1, 0, 0, 20, tzinfo=CHINA)
    assert starts("12-31 23:59 2h 换交换机", 30, new_year) == ["12-31 23:59"]
    assert starts("01-01 00:00 2h 换交换机", 30, new_year) == ["01-01 00:00"]
    assert starts("01-05 00:00 2h 换交换机", 30, new_year) == ["01-05 00:00"]


@pytest.mark.parametrize("typed", ["11-25 10:54", "11-24 22:00", "2026-11-24 22:00", "11-24 11:01"])
def test_a_day_that_is_hardly_past_is_not_next_years(typed: str) -> None:
    """It is 25 November, 11:00: what to type is said."""
    with pytest.raises(UsageError, match=r"已经过去：.*/maintain 现在 2h 原因.*2027-11-2"):
        read(f"{typed} 2h 换交换机", NOW, CHINA)


def test_a_window_across_midnight_is_one_time() -> None:
    made = window("每天 23:00 2h 备份")
    late = datetime(2026, 11, 26, 0, 30, tzinfo=CHINA)
    one = running(made, late, CHINA)
    assert one
    assert (one.starts_at, one.ends_at) == (late - 1.5 * HOUR, late + 0.5 * HOUR)
    assert running(made, late + 0.5 * HOUR, CHINA) is None
    again = following(made, late + 0.5 * HOUR, CHINA)
    assert again
    assert again.starts_at == datetime(2026, 11, 26, 23, 0, tzinfo=CHINA)


def test_a_window_keeps_the_clock_of_the_house_where_that_is_changed() -> None:
    """New York sets its clocks back on 1 November 2026: the window stays at 22:00 there."""
    zone, now = ZoneInfo("America/New_York"), datetime(2026, 10, 30, 12, 0, tzinfo=UTC)
    plan = read("每天 22:00 1h 备份", now, zone)
    made = Maintenance(1, 1, "", plan.starts_at, 60, plan.every, LI, now)
    found = [one.starts_at for one in times(made, now, now + timedelta(days=4), zone)]
    assert [at.astimezone(zone).hour for at in found] == [22] * 4
    assert {at.hour for at in found} == {2, 3}


def test_a_window_that_begins_in_an_hour_left_out_keeps_its_clock_afterwards() -> None:
    """Berlin leaves out 02:00 to 03:00 on Sunday, 29 March 2026: that time is held at 03:30."""
    zone, now = ZoneInfo("Europe/Berlin"), datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    held = {
        "每天": ["03-29 03:30", "03-30 02:30", "03-31 02:30"],
        "每周日": ["03-29 03:30", "04-05 02:30", "04-12 02:30"],
        "每月29日": ["03-29 03:30", "04-29 02:30", "05-29 02:30"],
    }
    for every, wanted in held.items():
        plan = read(f"{every} 02:30 20h 备份", now, zone)
        made = Maintenance(1, 1, "", plan.starts_at, 1200, plan.every, LI, now, day=plan.day)
        assert rhythm(made, zone) == f"{every.replace('29日', '29 日')} 02:30"
        assert running(made, now, zone) is None, "there was none before it was planned"
        found = [*times(made, now - timedelta(days=1), now + timedelta(days=70), zone)]
        assert [f"{one.starts_at.astimezone(zone):%m-%d %H:%M}" for one in found[:3]] == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("明晚 2h 升级", "开始的时间"),
        ("25:00 2h 升级", "没有这个时间"),
        ("02-30 22:00 2h 升级", "没有这个时间"),
        ("每月32日 22:00 2h 升级", "没有这个日子"),
        ("22:00 升级数据库", "多久"),
        ("22:00 8d 升级", "最长"),
        ("每天 22:00 25h 升级", "最长"),
        ("22:00 2h", "做什么"),
        ("2020-01-01 22:00 2h 升级", "一年以内"),
        ("2029-01-01 22:00 2h 升级", "一年以内"),
        ("10:57 2m 升级", "现在以后"),
        ("22:00 2h host=~( 升级", "正则表达式"),
    ],
)
def test_a_window_that_is_wrongly_typed_is_answered_with_what_lacks(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(text, NOW, CHINA)


def test_a_window_that_was_called_off_hides_nothing_from_then_on() -> None:
    made = window("现在 2h 换交换机")
    off = Maintenance(2, 1, "", NOW, 120, Every.ONCE, LI, NOW, ended_at=NOW + HOUR, ended_by=LI)
    assert running(made, NOW + 1.5 * HOUR, CHINA)
    assert running(off, NOW + 1.5 * HOUR, CHINA) is None
    assert running(off, NOW + 0.5 * HOUR, CHINA) == (NOW, NOW + HOUR)


def test_a_window_hides_what_it_names_and_goes_before_a_silence() -> None:
    made = window("现在 2h host=web-01 换交换机")
    one = running(made, NOW, CHINA)
    assert one
    quiet = silenced("host=web-01").silences
    there = Standing(1, quiet, ((made, one, parse(made.matchers)),))
    hidden = why_hidden(alert(host="web-01"), 1, NOW, there, ())
    assert hidden == Hidden(Why.MAINTENANCE, 2, "李工", NOW + 2 * HOUR, "换交换机", NOW)
    assert why_hidden(alert(host="web-02"), 1, NOW, there, ()) is None

"""Thresholds by a press and from chat: a rule of VigilOps is changed and put back, other rules are
held back until they have lasted, and each customer's storms are measured by their own numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.card import loads, plain
from adapters.port import Account, UsageError
from adapters.sources import vigilops
from adapters.vigilops import VigilOpsMonitors
from adapters.words import Chat, Click, Message, Person, Role, Secret, Severity
from bot.demo.vigilops import Traps, World, serve
from bot.inbox import Inbox
from commands.contents import BOOK
from runbooks import walk as walking
from runbooks.alerting import pipeline, repeating, watch
from runbooks.alerting.hold import Found, Heard, Kind, episode_of
from runbooks.alerting.muting.hidden import Rules
from runbooks.alerting.muting.matchers import Matcher, Operator
from runbooks.alerting.muting.routes import Route, Routing
from runbooks.alerting.pacing import Pace, pace
from runbooks.alerting.pipeline import Post
from runbooks.alerting.policy import POLICY
from runbooks.alerting.suggesting import suggestion
from runbooks.alerting.thresholds import (
    HIGHEST,
    MINUTES,
    STEP,
    Last,
    Limit,
    Raise,
    Set,
    Wait,
    knob,
    p95,
    raised,
    read,
    waited,
)
from runbooks.alerting.tuning import AS_SET, Hold, Tuning, tuning_of
from runbooks.cards import drawn
from runbooks.case import Onboarding
from runbooks.kit import Errand, House, Kit
from runbooks.onboarding import ONBOARDING
from runbooks.steps import alerts
from runbooks.threshold import THRESHOLD, Change
from storage.records import (
    Customer,
    EffectState,
    HeldAlert,
    IncidentState,
    KnownAlert,
    Member,
    Run,
    RunStatus,
    Storm,
    StormPhase,
)
from storage.store import Store
from tests.unit.test_pipeline import Desk, alert

GROUP = Chat("paper", "g1")
LI = Person("paper", "li", "李工")
WANG = Person("paper", "wang", "王经理")
PASSWORD = Secret("Wache2026pass")
CPU = "CPU > 90%"
OURS, BUILT_IN = f"Vigilbot {CPU}", "CPU 使用率过高"
BOOKS: Mapping[str, Any] = {ONBOARDING.name: ONBOARDING, THRESHOLD.name: THRESHOLD}
CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING

# -- what is suggested ----------------------------------------------------------------------------


@given(st.floats(1, 99), st.lists(st.floats(0, 100), max_size=60))
def test_a_suggested_threshold_is_felt_and_never_too_late(was: float, seen: list[float]) -> None:
    """At least five points more, at most 98, and above all but five in a hundred of the figures."""
    wanted = raised(was, seen)
    if wanted is None:
        assert was >= HIGHEST
        return
    assert was < wanted <= HIGHEST
    if wanted < HIGHEST:
        assert wanted >= was + STEP
        assert sum(figure > wanted for figure in seen) <= 0.05 * len(seen)


def test_the_figure_that_nearly_all_stay_below() -> None:
    assert p95([float(n) for n in range(1, 101)]) == 95.0
    assert p95([7.0]) == 7.0
    assert raised(90.0, [91.0, 92.0, 96.4]) == 97.0


def test_half_of_the_alerts_would_not_have_been_told() -> None:
    minutes = [timedelta(minutes=n) for n in (1, 4, 5, 40)]
    assert waited(minutes) == 5
    assert waited([timedelta(seconds=20)]) == MINUTES[0]
    assert waited([]) == waited([timedelta(hours=2)]) == 5


def seen(source: str, text: str = "") -> KnownAlert:
    at = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
    return KnownAlert(
        1, source, "f", 1, "g", True, WARNING, CPU, "h", "", text, "", {}, at, at
    )  # fmt: skip


def test_only_what_the_bot_can_change_is_suggested() -> None:
    """A rule that another source tells of too is held back; so is one that can go no higher."""
    ours = seen(vigilops.NAME, "当前值：93.0 阈值：90.0 始于 11:00")
    assert suggestion(CPU, [ours], AS_SET) == Raise(CPU, 90.0, 95.0)
    assert suggestion(CPU, [ours], Tuning(thresholds={CPU: 95.0})) == Raise(CPU, 95.0, 98.0)
    assert suggestion(CPU, [ours], Tuning(thresholds={CPU: 98.0})) == Wait(CPU, 10)
    assert suggestion(CPU, [ours, seen("alertmanager")], AS_SET) == Wait(CPU, 10)
    assert suggestion("磁盘将满", [seen("zabbix")], AS_SET) == Wait("磁盘将满", 5)
    held = Tuning(holds=(Hold("磁盘将满", 5, "李工"),))
    assert suggestion("磁盘将满", [seen("zabbix")], held) == Wait("磁盘将满", 10)
    held = Tuning(holds=(Hold("磁盘将满", 60, "李工"),))
    assert suggestion("磁盘将满", [seen("zabbix")], held) is None


# -- what people type -----------------------------------------------------------------------------


def test_what_is_typed() -> None:
    assert read("CPU 95") == read("cpu 95%") == read("「CPU > 90%」 95") == Limit(CPU, 95.0)
    assert read("我的规则 A 0.5") == Limit("我的规则 A", 0.5)
    assert read("磁盘将满 持续 10分钟") == Last("磁盘将满", 10, critical=False)
    assert read("磁盘将满 持续 1h") == Last("磁盘将满", 60, critical=False)
    assert read("主机 离线 持续 3 含严重") == Last("主机 离线", 3, critical=True)
    storm, wait, cool = knob("风暴"), knob("等待"), knob("冷却")
    assert storm
    assert wait
    assert cool
    assert read("风暴 50") == read("风暴 50条") == Set(storm, 50)
    assert read("等待 30") == read("等待 30秒") == Set(wait, 30)
    assert read("冷却 30分钟") == Set(cool, 30)
    assert read("冷却 1h") == Set(cool, 60)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CPU", "请写明规则和阈值"),
        ("CPU 很高", "请写明规则和阈值"),
        ("95", "请写明规则和阈值"),
        ("风暴", "「风暴」请填 2 到 100000 条"),
        ("风暴 1", "「风暴」请填 2 到 100000 条"),
        ("风暴 -5", "「风暴」请填"),
        ("等待 2h", "「等待」请填 0 到 3600 秒"),
        ("磁盘将满 持续", "1 到 1440 分钟"),
        ("磁盘将满 持续 很久", "1 到 1440 分钟"),
        ("磁盘将满 持续 3d", "1 到 1440 分钟"),
        ("持续 5分钟", "请写明规则和持续时间"),
        ("主机离线 持续 90 含严重", "1 到 60 分钟（含严重告警时）"),
    ],
)
def test_what_is_typed_wrong_is_told_how_to_write_it(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="/threshold") as wrong:
        read(text)
    assert said in str(wrong.value)


# -- how fast a group is told ---------------------------------------------------------------------


def test_a_choice_beats_a_route_and_a_route_beats_the_settings() -> None:
    slow = Route(matchers=(Matcher("env", Operator.IS, "test"),), wait=timedelta(minutes=5))
    routing = Routing(Route(routes=(slow,)))
    usual = Pace(POLICY.wait, timedelta(), timedelta())
    assert pace(POLICY, routing, AS_SET, {"env": "prod"}) == usual
    assert pace(POLICY, routing, AS_SET, {"env": "test"}).wait == timedelta(minutes=5)
    tuning = Tuning(spans={"wait": 20.0, "gone": 1.0}, counts={"storm_alerts": 50, "old": 2})
    mine = tuning.applied(POLICY)
    assert (mine.wait, mine.storm_alerts) == (timedelta(seconds=20), 50)
    assert pace(mine, routing, tuning, {"env": "test"}).wait == timedelta(seconds=20)


# -- over databases and a monitor -----------------------------------------------------------------


@dataclass
class Ward(Desk):
    """A customer with a VigilOps of their own, whose group types and presses."""

    world: World = field(default_factory=World)
    begun: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def inbox(self) -> Inbox:
        nobody = cast("Any", None)
        kit = self.kit
        return Inbox(kit.store, BOOKS, kit.clock, self.go, BOOK, nobody, nobody, house=kit.house)

    async def go(self, run: Run) -> None:
        self.begun.append(run.id)

    async def type(self, text: str, by: Person = LI) -> str:
        self.count += 1
        message = Message(f"m{self.count}", GROUP, by, text, self.clock.now())
        wrong = await self.inbox.take(message)
        entry = (await self.waiting()).get(f"reply:{GROUP.platform}:m{self.count}")
        return wrong or (plain(loads(entry.card)) if entry else "")

    async def click(self, action: str, by: Person = LI) -> str:
        self.count += 1
        return await self.inbox.take(Click(f"c{self.count}", GROUP, by, action, self.clock.now()))

    async def walked(self) -> Run:
        """Walk the run that was begun last, and return it."""
        return await walking.walk(BOOKS, self.begun[-1], self.kit)

    async def run_card(self, number: str) -> str:
        async with self.kit.store.view() as unit:
            return plain(await drawn(BOOKS, number, unit))

    def thresholds(self) -> dict[str, float]:
        return {row["name"]: row["threshold"] for row in self.world.rows("rules")}

    async def tuning(self) -> Tuning:
        async with self.kit.store.view() as unit:
            return await tuning_of(self.customer.id, unit)

    async def hidden(self) -> list[tuple[str, Severity, int]]:
        async with self.kit.store.view() as unit:
            return list(await unit.incidents.hidden(self.customer.id))

    async def over(self) -> str:
        """Let the storm end, and return its summary."""
        key = f"storm-over:{self.customer.id}:1"
        while key not in await self.waiting():
            await self.clock.sleep(60)
            await pipeline.look(self.kit)
        return plain(loads((await self.waiting())[key].card))


def action_of(card: str, label: str) -> str:
    return card.split(f"[{label}](", 1)[1].split(")", 1)[0]


@pytest.fixture
async def ward(store: Store, clock: Any) -> AsyncIterator[Ward]:
    nobody = cast("Any", None)
    world = World(now=clock.now, traps=Traps(ssrf_guard=False))
    world.add_rule({"name": OURS, "metric": "cpu_percent", "operator": ">", "threshold": 90.0})
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(world))
        monitors = await stack.enter_async_context(VigilOpsMonitors())
        kit = Kit(clock, store, {}, nobody, monitors, nobody, House())
        assert await monitors.at(url, Account(kit.house.account, PASSWORD)).register_admin()
        now = clock.now()
        async with store.unit() as unit:
            customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", now, GROUP))
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(WANG, Role.CUSTOMER, customer.id))
            await unit.vault.put(f"monitor:{customer.id}:password", PASSWORD)
            case = Onboarding(customer.id, "海蓝科技", (), (), url=url, channel=1)
            done = Run(
                "r1", "onboarding", customer.id, "", RunStatus.DONE, 1, walking.dump(case), LI,
                now, now,
            )  # fmt: skip
            await unit.runs.add(done)
        yield Ward(kit, clock, customer, world=world)


async def storm_of_cpu(ward: Ward) -> str:
    """Thirty hosts at 91 to 93 percent, and their end; return the summary."""
    now = ward.clock.now()
    hosts = [HeldAlert(ward.customer.id, "cpu", f"web-{n}") for n in range(30)]
    fire = [
        watch.alert_of(
            replace(held, message=f"cpu_percent = {91 + n % 3}.0 > 90.0", severity="warning"),
            "",
            ward.kit.house.zone,
        )
        for n, held in enumerate(hosts)
    ]
    for firing in (True, False):
        said = tuple(replace(each, firing=firing) for each in fire)
        async with ward.kit.store.unit() as unit:
            posts = [Post(vigilops.NAME, now, said)]
            await pipeline.fold(ward.customer, posts, now, ward.kit.house, unit)
    return await ward.over()


async def test_one_press_raises_the_threshold_in_vigilops_and_another_puts_it_back(
    ward: Ward,
) -> None:
    """The monitor's own rule that watches the same would go on firing: it is raised too."""
    summary = await storm_of_cpu(ward)
    assert "95% 的数值不超过它" in summary
    await ward.click(action_of(summary, f"「{CPU}」阈值 90 → 95"))
    run = await ward.walked()
    assert run.status is RunStatus.DONE, run.note
    assert ward.thresholds()[OURS] == ward.thresholds()[BUILT_IN] == 95.0
    card = await ward.run_card(run.id)
    assert f"{OURS}：90 → 95（已回读）" in card
    async with ward.kit.store.view() as unit:
        effect = await unit.effects.get(f"{run.id}:change:threshold:{OURS}")
        trail = await unit.audit.entries()
    assert effect
    assert effect.state is EffectState.DONE
    assert [entry.deed for entry in trail[-2:]] == ["threshold-begun", "threshold"]
    assert (trail[-1].actor, trail[-1].detail["rule"]) == ("李工", CPU)
    assert (await ward.tuning()).thresholds == {CPU: 95.0}
    back = action_of(card, "恢复原值")
    await ward.click(back)
    assert "恢复原值" not in await ward.run_card(run.id)
    restored = await ward.walked()
    assert restored.status is RunStatus.DONE, restored.note
    assert ward.thresholds()[OURS] == ward.thresholds()[BUILT_IN] == 90.0
    assert "恢复原值" not in await ward.run_card(restored.id)
    assert (await ward.tuning()).thresholds == {}
    assert "已经恢复过" in await ward.click(back)


async def test_a_customer_may_not_press_it(ward: Ward) -> None:
    summary = await storm_of_cpu(ward)
    said = await ward.click(action_of(summary, f"「{CPU}」阈值 90 → 95"), WANG)
    assert "需要工程师" in said
    assert ward.begun == []


async def test_two_presses_at_once_change_it_once(ward: Ward) -> None:
    summary = await storm_of_cpu(ward)
    action = action_of(summary, f"「{CPU}」阈值 90 → 95")
    await ward.click(action)
    assert "正在调整" in await ward.click(action)
    await ward.walked()
    await ward.click(action)
    again = await ward.walked()
    assert "监控里已经是 95，没有要改的" in await ward.run_card(again.id)


@pytest.mark.parametrize("reached", [90.0, 95.0])
async def test_a_process_that_died_while_it_wrote_is_made_up_for(
    ward: Ward, reached: float
) -> None:
    """Whether the monitor had heard of it or not: it is looked up, and ends as it was meant."""
    await ward.type("/threshold CPU 95")
    number = ward.begun[-1]
    (ours,) = (row for row in ward.world.rows("rules") if row["name"] == OURS)
    ours["threshold"] = reached
    async with ward.kit.store.unit() as unit:
        run = await unit.runs.get(number)
        assert run
        case = walking.load(THRESHOLD, run)
        case = replace(case, changes=(Change(OURS, 90.0, 95.0),))
        assert await unit.runs.advance(run, replace(run, line="change", case=walking.dump(case)))
        key = f"{number}:change:threshold:{OURS}"
        await unit.effects.begin(key, number, "change", ward.clock.now())
    done = await ward.walked()
    assert done.status is RunStatus.DONE, done.note
    assert ours["threshold"] == 95.0
    async with ward.kit.store.view() as unit:
        effect = await unit.effects.get(key)
        trail = await unit.audit.entries()
    assert effect
    assert (effect.state, effect.result) == (EffectState.DONE, "95.0")
    assert [entry.deed for entry in trail].count("threshold") == 1
    await ward.type("/threshold reset CPU")
    assert (await ward.walked()).status is RunStatus.DONE
    assert ours["threshold"] == 90.0


async def test_a_rule_that_somebody_has_changed_since_is_not_put_back(ward: Ward) -> None:
    await ward.type("/threshold CPU 95")
    run = await ward.walked()
    back = action_of(await ward.run_card(run.id), "恢复原值")
    (ours,) = (row for row in ward.world.rows("rules") if row["name"] == OURS)
    ours["threshold"] = 97.0
    await ward.click(back)
    stuck = await ward.walked()
    assert stuck.status is RunStatus.STUCK
    assert "后来又改过，没有恢复" in stuck.note
    assert ours["threshold"] == 97.0


async def test_a_chosen_threshold_stays_when_the_rules_are_set_up_anew(ward: Ward) -> None:
    await ward.type("/threshold CPU 95")
    await ward.walked()
    async with ward.kit.store.view() as unit:
        case = await watch.case_of(ward.customer.id, unit)
    assert case
    _, proof = await alerts.rules(case, Errand(ward.kit, "r2", "rules"))
    assert ward.thresholds()[OURS] == 95.0
    assert f"按客户选定的阈值：{CPU} 为 95" in proof


async def test_a_lower_threshold_changes_ours_alone(ward: Ward) -> None:
    await ward.type("/threshold CPU 80")
    await ward.walked()
    assert (ward.thresholds()[OURS], ward.thresholds()[BUILT_IN]) == (80.0, 90.0)


async def test_what_cannot_be_set_is_said_at_once(ward: Ward) -> None:
    for text, said in (
        ("/threshold CPU 100", "请填 1 到 99"),
        ("/threshold 服务 2", "没有阈值"),
        ("/threshold reset CPU", "现在就是默认值"),
        ("/threshold reset 风暴", "现在就是默认值"),
    ):
        assert said in await ward.type(text)
    assert ward.begun == []


async def test_a_rule_of_another_monitor_is_not_changed_there(ward: Ward) -> None:
    await ward.post(alert("磁盘将满", "db-01"))
    said = await ward.type("/threshold 磁盘将满 90")
    assert "来自 alertmanager" in said
    assert "/threshold 磁盘将满 持续 5分钟" in said


async def test_a_rule_that_vigilops_has_not_is_asked_about(ward: Ward) -> None:
    await ward.type("/threshold 不存在 90")
    stuck = await ward.walked()
    assert stuck.status is RunStatus.STUCK
    assert "监控里没有规则「不存在」" in stuck.note
    assert stuck.note.count(CPU) == 1, "ours and the built-in one are called the same"


async def test_one_press_holds_a_noisy_rule_back_and_another_undoes_it(ward: Ward) -> None:
    """What another monitor tells is told once it has lasted, and is counted meanwhile."""
    await ward.post(*(alert("Ping", f"h{n}") for n in range(40)))
    await ward.clock.sleep(90)
    await ward.post(*(alert("Ping", f"h{n}", firing=False) for n in range(40)))
    summary = await ward.over()
    await ward.click(action_of(summary, "「Ping」持续 2 分钟才提醒"))
    assert (await ward.tuning()).holds == (Hold("Ping", 2, "李工"),)
    begun = len(await ward.incidents())
    await ward.post(alert("Ping", "a"), alert("Ping", "b"))
    assert len(await ward.incidents()) == begun
    assert await ward.hidden() == [("持续 2 分钟才提醒（李工 设定）", WARNING, 2)]
    await ward.clock.sleep(60)
    await ward.post(alert("Ping", "b", firing=False))
    await pipeline.look(ward.kit)
    assert await ward.hidden() == [("持续 2 分钟才提醒（李工 设定）", WARNING, 1)]
    await ward.clock.sleep(60)
    await pipeline.look(ward.kit)
    assert await ward.hidden() == []
    (incident,) = await ward.incidents()
    assert "1 条在触发" in await ward.said(f"incident:{incident.id}")
    await ward.post(alert("Ping", "c"))
    answers = [one for key, one in (await ward.waiting()).items() if key.startswith("hold:")]
    await ward.click(action_of(plain(loads(answers[0].card)), "恢复原值"))
    assert (await ward.tuning()).holds == ()
    assert await ward.hidden() == [], "what was waiting is told at once"
    assert "2 条在触发" in await ward.said(f"incident:{incident.id}")


async def test_what_was_told_is_not_taken_back_by_holding_its_rule(ward: Ward) -> None:
    await ward.post(alert("Ping", "a"))
    await ward.type("/threshold Ping 持续 10分钟")
    await ward.post(alert("Ping", "a"))
    await pipeline.look(ward.kit)
    assert await ward.hidden() == []
    assert len(await ward.incidents()) == 1


async def test_a_critical_is_held_back_only_by_a_word_that_says_so(ward: Ward) -> None:
    await ward.type("/threshold Ping 持续 10分钟")
    await ward.post(alert("Ping", "a", CRITICAL), alert("Ping", "b"))
    assert len(await ward.mentions()) == 1
    await ward.clock.sleep(60)
    await ward.post(alert("Ping", "b", CRITICAL))
    assert len(await ward.mentions()) == 2, "what becomes critical waits no longer"
    assert "包括严重告警" in await ward.type("/threshold Ping 持续 10分钟 含严重")
    await ward.post(alert("Ping", "c", CRITICAL))
    assert len(await ward.mentions()) == 2
    assert await ward.hidden() == [("持续 10 分钟才提醒（李工 设定）", CRITICAL, 1)]
    await ward.clock.sleep(600)
    await pipeline.look(ward.kit)
    assert len(await ward.mentions()) == 3


async def test_a_rule_of_vigilops_lasts_as_long_as_was_chosen(ward: Ward) -> None:
    """Three minutes in place of the tier's five; who waits just now is due by the new time."""
    begun = ward.clock.now()
    heard = Heard(
        Kind.FIRING, episode_of(1, begun), begun, begun, f"{OURS} - web-01", "cpu_percent = 95.0 > 90.0",
        "warning", Found.HOOK,
    )  # fmt: skip
    async with ward.kit.store.unit() as unit:
        await watch.hear(ward.customer.id, heard, ward.kit.house, unit)
    await ward.type("/threshold CPU 持续 3分钟")
    async with ward.kit.store.view() as unit:
        held = await unit.held.get(ward.customer.id, "cpu", "web-01")
    assert held.due == begun + timedelta(minutes=3)
    listed = await ward.type("/threshold")
    assert f"{CPU} | 90 | 3 分钟" in listed
    assert f"{CPU} | 3 分钟 | 不含严重 | 李工 | 1 条" in listed
    waits = "🔕 1 条警告告警已隐藏：持续 3 分钟才提醒（李工 设定）"
    assert waits in await ward.type("/alerts")
    async with ward.kit.store.unit() as unit:
        await unit.incidents.save_storm(Storm(ward.customer.id, StormPhase.STORM, begun))
    assert waits in await ward.said(f"storm:{ward.customer.id}")
    async with ward.kit.store.unit() as unit:
        await unit.incidents.save_storm(Storm(ward.customer.id))
        await watch.hear(
            ward.customer.id, replace(heard, severity="critical"), ward.kit.house, unit
        )
        held = await unit.held.get(ward.customer.id, "cpu", "web-01")
    assert held.due == begun + timedelta(minutes=5), "as a critical it is the tier's time"


async def test_a_customers_storms_are_measured_by_their_own_numbers(ward: Ward) -> None:
    assert "风暴：20 条 → 50 条" in await ward.type("/threshold 风暴 50")
    await ward.post(*(alert("Ping", f"h{n}") for n in range(40)))
    assert await ward.phase() is StormPhase.NORMAL
    await ward.post(*(alert("Ping", f"g{n}") for n in range(40)))
    assert await ward.phase() is StormPhase.STORM
    listed = await ward.type("/threshold")
    assert "风暴 | 50 条 | 一分钟内新告警超过这么多算风暴 | 本客户" in listed
    assert "等待 | 3 秒" in listed
    assert "已恢复默认：风暴（现在是 20 条）" in await ward.type("/threshold reset 风暴")
    assert await ward.tuning() == Tuning()


async def test_more_alerts_of_a_group_wait_for_its_interval(ward: Ward) -> None:
    await ward.type("/threshold 间隔 60")
    await ward.type("/threshold 等待 30")
    await ward.post(alert("Ping", "a"))
    (incident,) = await ward.incidents()
    entry = next(one for one in (await ward.waiting()).values() if one.living)
    assert entry.due == ward.clock.now() + timedelta(seconds=30)
    async with ward.kit.store.unit() as unit:
        await unit.outbox.drawn(entry.living, 1, "receipt")
        await unit.outbox.save(replace(entry, state=type(entry.state).SENT))
    await ward.clock.sleep(40)
    await ward.post(alert("Ping", "b"))
    until = ward.clock.now() + timedelta(seconds=60)
    await ward.clock.sleep(10)
    await ward.post(alert("Ping", "c"))
    dues = [one.due for one in (await ward.waiting()).values() if one.living and one.id != entry.id]
    assert dues == [until]
    await ward.post(alert("Ping", "d", CRITICAL))
    dues = [one.due for one in (await ward.waiting()).values() if one.living and one.id != entry.id]
    assert dues == [None]
    assert incident.state is IncidentState.OPEN


async def test_what_nobody_acknowledges_is_said_again(ward: Ward) -> None:
    """Once for each turn, however often it is looked at; never when somebody has answered."""
    await ward.post(alert("Ping", "a"), alert("Disk", "a", CRITICAL))
    ping = next(each for each in await ward.incidents() if each.title == "Ping")
    await ward.clock.sleep(3600)
    assert await repeating.repeat(ward.kit) == 0, "nobody wants it so"
    await ward.type("/threshold 重复 30分钟")
    assert await repeating.repeat(ward.kit) == 1
    assert await repeating.repeat(ward.kit) == 0
    await ward.clock.sleep(1800)
    assert await repeating.repeat(ward.kit) == 1
    said = [one for key, one in (await ward.waiting()).items() if key.startswith("again:")]
    assert f"仍未处理 #{ping.id}：Ping" in said[0].card
    await ward.click(action_of(plain(loads(said[0].card)), "确认"))
    await ward.clock.sleep(3600)
    assert await repeating.repeat(ward.kit) == 0


async def test_a_route_may_say_again_what_the_settings_do_not(ward: Ward) -> None:
    often = Route(
        matchers=(Matcher("alertname", Operator.IS, "Ping"),), repeat=timedelta(minutes=10)
    )
    house = replace(ward.kit.house, muting=Rules(routing=Routing(Route(routes=(often,)))))
    ward.kit = replace(ward.kit, house=house)
    await ward.post(alert("Ping", "a"), alert("Disk", "b"))
    await ward.clock.sleep(600)
    assert await repeating.repeat(ward.kit) == 1


FIRES = {
    "rule_id": 1, "host_id": 1, "service_id": None, "status": "firing", "message": "",
    "metric_value": 95.0, "threshold": 90.0, "resolved_at": None, "acknowledged_at": None,
    "acknowledged_by": None,
}  # fmt: skip


async def test_one_that_was_told_as_a_warning_and_is_worse_is_told_again(ward: Ward) -> None:
    """VigilOps' rule was made critical there: the same rule and host fire anew."""
    begun = ward.clock.now()
    title = f"{OURS} - web-01"

    async def hear(number: int, severity: str) -> None:
        at = ward.clock.now()
        heard = Heard(Kind.FIRING, episode_of(number, at), at, at, title, "", severity, Found.POLL)
        async with ward.kit.store.unit() as unit:
            await watch.hear(ward.customer.id, heard, ward.kit.house, unit)
        stamp = at.isoformat()
        ward.world.add("alerts", FIRES | {"title": title, "fired_at": stamp, "severity": severity})

    await hear(1, "warning")
    await ward.clock.sleep(301)
    assert await watch.announce(ward.kit) == 1
    assert await ward.mentions() == []
    await hear(2, "critical")
    assert await watch.announce(ward.kit) == 1
    assert len(await ward.mentions()) == 1
    (incident,) = await ward.incidents()
    assert (incident.severity, incident.opened_at > begun) == (CRITICAL, True)
    async with ward.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert climb.began_at == incident.critical_at
    assert await watch.announce(ward.kit) == 0

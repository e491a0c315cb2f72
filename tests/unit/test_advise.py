"""The model is asked about each incident once, after it was told, and only where it may be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from adapters.card import loads, plain
from adapters.llm import OpenAiModel
from adapters.port import Answer, Transient
from adapters.words import Alert, Chat, Person, Role, Secret, Severity
from bot.demo.model import Behaviour, serve
from bot.schedule import looks_of
from runbooks.alerting import pipeline
from runbooks.alerting.muting import silences
from runbooks.alerting.muting.hidden import Rules
from runbooks.alerting.muting.matchers import Matcher, Operator
from runbooks.alerting.muting.places import Place
from runbooks.alerting.muting.routes import Route, Routing
from runbooks.alerting.pipeline import Post
from runbooks.alerting.policy import Policy
from runbooks.alerting.triage import consent, raising
from runbooks.alerting.triage.advise import AT_ONCE, GATHER, LATE, advise
from runbooks.case import Approver, Contact, Onboarding
from runbooks.engine import Engine
from runbooks.kit import House, Kit
from runbooks.walk import dump
from storage.advice import CONSENT, KEY
from storage.records import (
    Choice,
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    Lane,
    Member,
    Run,
    RunStatus,
    Server,
    Tier,
)
from storage.roster import Callee, Roster
from storage.store import Store

GROUP = Chat("paper", "g1", "海蓝科技 监控交付")
LI = Person("paper", "li", "李工")
ADVICE = {
    "severity": "warning",
    "summary": "[N1] 的磁盘快满了",
    "suggestions": ["看 du"],
    "citations": ["A1"],
}


class Scripted:
    """A model that answers what it was told to, and remembers what it was asked."""

    name = "scripted-1"

    def __init__(self) -> None:
        self.answer: object = ADVICE
        self.asked: list[str] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
        self.asked.append(question)
        if self.meanwhile:
            await self.meanwhile()
        if isinstance(self.answer, Exception):
            raise self.answer
        return Answer(json.dumps(self.answer, ensure_ascii=False), self.name, 10)


class Desk:
    """One customer's group, what is posted for it, and the model."""

    def __init__(self, kit: Kit, clock: Any, customer: Customer, model: Scripted) -> None:
        self.kit, self.clock, self.customer, self.model = kit, clock, customer, model

    async def post(self, severity: Severity, *hosts: str, firing: bool = True) -> None:
        now = self.clock.now()
        said = tuple(
            Alert(f"disk@{host}", firing, severity, "磁盘", host, text=f"海蓝科技 {host} 97 %")
            for host in hosts
        )
        async with self.kit.store.unit() as unit:
            posts = [Post("grafana", now, said)]
            await pipeline.fold(self.customer, posts, now, self.kit.house, unit)

    async def told(self, incident: int = 1) -> Delivery | None:
        async with self.kit.store.view() as unit:
            return await unit.outbox.by_key(f"{KEY}{incident}")

    async def incident(self, number: int = 1) -> Incident:
        async with self.kit.store.view() as unit:
            found = await unit.incidents.get(number)
        assert found
        return found

    async def after(self, time: timedelta = GATHER) -> int:
        await self.clock.sleep(time.total_seconds())
        return await advise(self.kit)


@pytest.fixture
async def desk(store: Store, clock: Any) -> Desk:
    nobody, model = cast("Any", None), Scripted()
    house = House(alerting=Policy(storm_incidents=4))
    kit = Kit(clock, store, {}, nobody, nobody, nobody, house, model)
    customer = Customer(0, "海蓝科技", "hailan", clock.now(), GROUP, Tier.PRO)
    async with store.unit() as unit:
        customer = await unit.customers.add(customer)
        await unit.servers.add(Server(0, customer.id, "web-1", "10.0.0.9"))
        await unit.people.put(Member(LI, Role.CUSTOMER, customer.id))
        yes = consent.value(consent.address(house))
        await unit.choices.put(Choice(customer.id, CONSENT, yes, clock.now(), LI))
    return Desk(kit, clock, customer, model)


async def test_the_group_is_told_once_what_the_model_makes_of_it(desk: Desk) -> None:
    """After the alert, without a name in the question and with it in the answer."""
    await desk.post(Severity.WARNING, "web-1")
    assert await desk.after(GATHER - timedelta(seconds=1)) == 0
    assert await desk.after(timedelta(seconds=1)) == 1
    (question,) = desk.model.asked
    assert question == "A1: 触发 | warning | 磁盘 | [N1] | [N2] [N1] 97 %"
    entry = await desk.told()
    assert entry
    assert (entry.lane, entry.state) == (Lane.NORMAL, DeliveryState.WAITING)
    assert "web-1 的磁盘快满了" in plain(loads(entry.card))
    assert await desk.after() == 0
    assert len(desk.model.asked) == 1


async def test_whoever_is_named_in_the_contract_or_called_has_a_stand_in(desk: Desk) -> None:
    """The customer's contacts and signatories, and the people on call."""
    contacts, named = (
        (Contact("张三丰", phone="13700000001"),),
        (Approver("王五一", deputy="赵六六"),),
    )
    case = Onboarding(desk.customer.id, "海蓝科技有限公司", contacts, (), approvers=named)
    now, done = desk.clock.now(), RunStatus.DONE
    run = Run("r1", "onboarding", desk.customer.id, "", done, 1, dump(case), LI, now, now)
    async with desk.kit.store.unit() as unit:
        await unit.runs.add(run)
        await unit.oncall.save(Roster(desk.customer.id, "Asia/Shanghai", (Callee("钱工程"),)))
        said = "张三丰 王五一 赵六六 钱工程"
        alert = Alert("disk@db", True, Severity.WARNING, "磁盘", "db", text=said)
        await pipeline.fold(desk.customer, [Post("grafana", now, (alert,))], now, House(), unit)
    assert await desk.after() == 1
    (asked,) = desk.model.asked
    assert not [name for name in said.split() if name in asked]


async def test_the_model_may_raise_and_then_somebody_is_called(desk: Desk) -> None:
    """From now on, not from when the alert came: until now nobody was due."""
    desk.model.answer = ADVICE | {"severity": "critical"}
    await desk.post(Severity.WARNING, "web-1")
    assert await desk.after() == 1
    incident = await desk.incident()
    assert (incident.severity, incident.critical_at) == (Severity.CRITICAL, desk.clock.now())
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert climb.began_at == desk.clock.now()


@pytest.mark.parametrize("thinking", [True, False])
async def test_for_what_somebody_has_silenced_nobody_is_called(desk: Desk, thinking: bool) -> None:
    """Before it was asked about, and while the model thought: the person's word holds."""

    async def hush() -> None:
        now = desk.clock.now()
        async with desk.kit.store.unit() as unit:
            asked = silences.read("rule=磁盘 2h 换硬盘")
            await silences.silence(desk.customer, asked, LI, now, unit)
            await pipeline.reconsider(desk.customer, now, desk.kit.house, unit)

    desk.model.answer = ADVICE | {"severity": "critical"}
    await desk.post(Severity.WARNING, "web-1")
    if thinking:
        desk.model.meanwhile = hush
    else:
        await hush()
    assert await desk.after() == 0
    assert len(desk.model.asked) == thinking
    assert (await desk.incident()).severity is Severity.WARNING
    async with desk.kit.store.view() as unit:
        assert await unit.escalations.last(1) is None


async def test_the_model_never_lowers(desk: Desk) -> None:
    """A critical stays one, whatever it says."""
    desk.model.answer = ADVICE | {"severity": "info"}
    await desk.post(Severity.CRITICAL, "web-1")
    before = await desk.incident()
    assert await desk.after() == 1
    assert await desk.incident() == before


async def test_a_hostile_answer_is_told_as_unusable_and_changes_nothing(desk: Desk) -> None:
    """Its words stay out of the group."""
    desk.model.answer = ADVICE | {"severity": "critical", "summary": "发 /silence rule=磁盘 24h"}
    await desk.post(Severity.WARNING, "web-1")
    before = await desk.incident()
    assert await desk.after() == 1
    assert await desk.incident() == before
    entry = await desk.told()
    assert entry
    assert "未采纳" in plain(loads(entry.card))
    assert "/silence" not in entry.card


async def test_a_model_that_fails_costs_the_group_nothing(desk: Desk) -> None:
    """It is not asked again, and the ledger says why nothing was told."""
    desk.model.answer = Transient("没有在 20 秒内回答")
    await desk.post(Severity.WARNING, "web-1")
    assert await desk.after() == 0
    entry = await desk.told()
    assert entry
    assert (entry.state, entry.reason) == (DeliveryState.FAILED, "没有在 20 秒内回答")
    assert await desk.after() == 0
    assert len(desk.model.asked) == 1


async def test_what_has_spread_is_raised_by_the_rules_while_the_model_thinks(desk: Desk) -> None:
    """Rules first, always: theirs is a look of its own, and what they raise is theirs to say."""
    engine = Engine({}, desk.kit, None)
    looks = {look.name: look for look in looks_of(desk.kit, engine, {}, None)}
    ruled: list[object] = []

    async def meanwhile() -> None:
        ruled.append(await looks["raise"].do())

    desk.model.meanwhile = meanwhile
    await desk.post(Severity.WARNING, *(f"h{number}" for number in range(10)))
    await desk.clock.sleep(GATHER.total_seconds())
    assert await looks["advise"].do() == 1
    assert ruled == [1]
    assert (await desk.incident()).severity is Severity.CRITICAL
    assert looks["raise"].every == 5


async def test_what_the_rules_have_yet_to_raise_is_left_to_them(desk: Desk) -> None:
    """They say why in a message of their own, and name who is on call."""
    await desk.post(Severity.WARNING, *(f"h{number}" for number in range(10)))
    assert await desk.after() == 1
    assert (await desk.incident()).severity is Severity.WARNING
    assert await raising.by_rules(desk.kit) == 1


@pytest.fixture
async def gateway(desk: Desk) -> AsyncIterator[Behaviour]:
    """The page of a gateway stands where the desk's model should be."""
    how = Behaviour(body=b"<html>502</html>", media_type="text/html")
    async with serve(how) as url, OpenAiModel(url, "m", Secret(how.key)) as model:
        desk.kit = replace(desk.kit, model=model)
        yield how


async def test_what_is_no_answer_at_all_is_asked_for_once(desk: Desk, gateway: Behaviour) -> None:
    """And the ledger says why nothing was told."""
    await desk.post(Severity.WARNING, "web-1")
    assert await desk.after() == 0
    assert await desk.after(timedelta(seconds=5)) == 0
    assert len(gateway.seen) == 1
    entry = await desk.told()
    assert entry
    assert (entry.state, entry.lane) == (DeliveryState.FAILED, Lane.NORMAL)
    assert "不是预期的格式" in entry.reason


async def several(desk: Desk, *rules: str) -> None:
    """Post one alert of each rule: each is an incident."""
    now = desk.clock.now()
    said = tuple(Alert(rule, True, Severity.WARNING, rule, "web-1") for rule in rules)
    async with desk.kit.store.unit() as unit:
        await pipeline.fold(desk.customer, [Post("grafana", now, said)], now, desk.kit.house, unit)


async def test_a_fault_of_our_own_costs_nobody_else_their_answer(desk: Desk) -> None:
    """It is written down and raised, so that it is told; the others are told theirs, and nothing of it
    is asked for ever."""

    class Odd(Scripted):
        async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
            answer = await super().ask(system, question, timeout=timeout)
            if "内存" in question:
                raise LookupError(question)
            await desk.clock.sleep(0)
            return answer

    model = Odd()
    model.answer = ADVICE | {"summary": "快满了"}
    desk.kit = replace(desk.kit, model=model)
    await several(desk, "内存", "磁盘", "网络")
    with pytest.raises(LookupError):
        await desk.after()
    odd, *others = [await desk.told(number) for number in (1, 2, 3)]
    assert odd
    assert (odd.state, odd.reason) == (DeliveryState.FAILED, "出错：LookupError，请看日志")
    assert [each.state for each in others if each] == [DeliveryState.WAITING] * 2
    assert await advise(desk.kit) == 0
    assert len(model.asked) == 3


async def test_what_the_group_does_not_hear_of_is_not_asked_about(desk: Desk) -> None:
    """Nor does it take the turn of what it does hear of."""
    theirs = Route("ours", (Matcher("rule", Operator.IS_NOT, "磁盘"),))
    rules = Rules(
        routing=Routing(Route(routes=(theirs,))), receivers={"ours": frozenset({Place.OPS})}
    )
    desk.kit = replace(desk.kit, house=replace(desk.kit.house, muting=rules))
    desk.model.answer = ADVICE | {"summary": "快满了"}
    await several(desk, *(f"规则{number}" for number in range(2 * AT_ONCE)), "磁盘")
    assert await desk.after() == 1
    assert await advise(desk.kit) == 0
    (question,) = desk.model.asked
    assert "磁盘" in question


async def test_who_is_not_to_be_asked_about(desk: Desk) -> None:
    """The basic tier, a group in a storm, what is over, and what is old news."""
    await desk.post(Severity.WARNING, "web-1")
    async with desk.kit.store.unit() as unit:
        await unit.customers.set_tier(desk.customer.id, Tier.BASIC)
    assert await desk.after() == 0
    async with desk.kit.store.unit() as unit:
        await unit.customers.set_tier(desk.customer.id, Tier.PRO)
        over = replace(await desk.incident(), state=IncidentState.RESOLVED)
        await unit.incidents.save(over)
    assert await desk.after() == 0
    async with desk.kit.store.unit() as unit:
        await unit.incidents.save(replace(over, state=IncidentState.OPEN))
    assert await desk.after(LATE) == 0
    assert desk.model.asked == []


async def test_in_a_storm_the_one_card_speaks_for_all(desk: Desk) -> None:
    """Advice on each of its incidents would be a storm of its own."""
    now = desk.clock.now()
    said = tuple(Alert(f"f{n}", True, Severity.WARNING, f"规则{n}", "h") for n in range(6))
    async with desk.kit.store.unit() as unit:
        await pipeline.fold(desk.customer, [Post("grafana", now, said)], now, desk.kit.house, unit)
    assert await desk.after() == 0
    assert desk.model.asked == []


async def test_without_a_model_nothing_is_asked(desk: Desk) -> None:
    """The bot works without one."""
    await desk.post(Severity.WARNING, "web-1")
    await desk.clock.sleep(GATHER.total_seconds())
    assert await advise(replace(desk.kit, model=None)) == 0


async def choose(desk: Desk, value: str) -> None:
    async with desk.kit.store.unit() as unit:
        choice = Choice(desk.customer.id, CONSENT, value, desk.clock.now(), LI)
        await unit.choices.put(choice)


async def test_without_the_customers_word_nothing_leaves_the_house(desk: Desk) -> None:
    """Neither where nobody decided, nor where they refused, nor where they meant another model."""
    await desk.post(Severity.WARNING, "web-1")
    async with desk.kit.store.unit() as unit:
        await unit.choices.drop(desk.customer.id, CONSENT)
    assert await desk.after() == 0
    for value in (consent.REFUSED, consent.value("elsewhere.example.net")):
        await choose(desk, value)
        assert await advise(desk.kit) == 0
    assert desk.model.asked == []
    await choose(desk, consent.value(consent.address(desk.kit.house)))
    assert await advise(desk.kit) == 1


async def test_a_withdrawal_while_the_model_thinks_counts(desk: Desk) -> None:
    """What comes back is not shown, and raises nothing."""
    desk.model.answer = ADVICE | {"severity": "critical"}
    desk.model.meanwhile = lambda: choose(desk, consent.REFUSED)
    await desk.post(Severity.WARNING, "web-1")
    before = await desk.incident()
    assert await desk.after() == 0
    assert len(desk.model.asked) == 1
    assert await desk.told() is None
    assert await desk.incident() == before


async def test_who_did_not_agree_takes_nobodys_turn(desk: Desk) -> None:
    """However many incidents of theirs came before: they are not even looked at."""
    now = desk.clock.now()
    async with desk.kit.store.unit() as unit:
        other = Customer(0, "绿洲", "oasis", now, Chat("paper", "g2"), Tier.PRO)
        other = await unit.customers.add(other)
        await unit.choices.put(Choice(other.id, CONSENT, consent.REFUSED, now, LI))
        for number in range(2 * AT_ONCE):
            group = f"rule=规则{number}"
            one = Incident(0, other.id, group, group, Severity.INFO, IncidentState.OPEN, now, now)
            await unit.incidents.add(one)
    await desk.post(Severity.WARNING, "web-1")
    assert await desk.after() == 1

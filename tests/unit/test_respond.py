"""What people press and type about incidents does what they saw, and nothing that they did not see."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from adapters.card import Mention, loads, plain
from adapters.documents import OfficeDocuments
from adapters.port import UsageError
from adapters.sources.mapping import Shape, decoder
from adapters.ssh import SshKeys
from adapters.words import Chat, Message, Person, Role
from bot.inbox import Inbox
from commands.contents import BOOK
from runbooks.alerting import pipeline
from runbooks.alerting.incident_cards import action
from storage.records import IncidentState, KnownAlert, Member
from storage.roster import Callee, Layer, Roster
from tests.unit import test_pipeline
from tests.unit.test_pipeline import CRITICAL, LI, WANG, Desk, alert

desk = test_pipeline.desk

DIRECT = Chat("paper", "direct-li")
SECOND = timedelta(seconds=1)


async def known(desk: Desk, incident: int) -> dict[str, KnownAlert]:
    """Return the alerts of an incident by their hosts."""
    async with desk.kit.store.view() as unit:
        return {each.host: each for each in await unit.incidents.alerts(incident)}


async def say(desk: Desk, text: str, chat: Chat, by: Person) -> str:
    """Return what is answered to a message."""

    async def go(run: object) -> None:
        raise AssertionError("nothing of this walks")

    documents, store = OfficeDocuments(), desk.kit.store
    house = desk.kit.house
    inbox = Inbox(store, {}, desk.clock, go, BOOK, documents, SshKeys(), house=house)
    event = Message(f"{text}-{desk.clock.now()}", chat, by, text, desk.clock.now())
    await inbox.take(event)
    async with store.view() as unit:
        said = await unit.outbox.by_key(f"reply:{chat.platform}:{event.id}")
    assert said
    return plain(loads(said.card))


async def staff(desk: Desk, *people: tuple[Person, Role, int | None]) -> None:
    async with desk.kit.store.unit() as unit:
        for person, role, customer in people:
            await unit.people.put(Member(person, role, customer))


# -- an old card --------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["确认", "我来接手", "已解决"])
async def test_a_card_from_before_a_critical_speaks_for_nobody(desk: Desk, label: str) -> None:
    """Where cards cannot be edited the old one stays: what came after it has yet to be seen."""
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    key = f"incident:{incident.id}"
    old = await desk.button(key, label)
    await desk.clock.sleep(600)
    await desk.post(alert("Disk", "b", CRITICAL))
    with pytest.raises(UsageError, match=f"/incident {incident.id}"):
        await desk.press(old)
    assert (await desk.incidents())[0].state is IncidentState.OPEN
    assert await desk.press(await desk.button(key, label))


async def test_a_critical_that_was_accepted_before_the_card_but_folded_after_it_is_unseen(
    desk: Desk,
) -> None:
    """A card shows what was folded; when it was drawn does not matter."""
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    accepted = desk.clock.now() + SECOND
    await desk.clock.sleep(3)
    old = await desk.button(f"incident:{incident.id}", "确认")
    await desk.post(alert("Disk", "b", CRITICAL), at=accepted)
    with pytest.raises(UsageError, match="新的严重告警"):
        await desk.press(old)


async def test_more_warnings_are_no_reason_to_refuse_an_acknowledgement(desk: Desk) -> None:
    """Only a critical calls people again; of a warning that flaps no new card is drawn."""
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    old = await desk.button(f"incident:{incident.id}", "确认")
    await desk.clock.sleep(5)
    await desk.post(alert("Disk", "b"))
    assert "已确认" in await desk.press(old)


async def test_a_critical_that_got_better_is_no_reason_either(desk: Desk) -> None:
    """It came after the card, and it is over."""
    await desk.post(alert("Disk", "a", CRITICAL))
    (incident,) = await desk.incidents()
    old = await desk.button(f"incident:{incident.id}", "确认")
    await desk.clock.sleep(5)
    await desk.post(alert("Disk", "b", CRITICAL))
    await desk.post(alert("Disk", "b", CRITICAL, firing=False))
    assert "已确认" in await desk.press(old)


# -- silence ------------------------------------------------------------------------------------


async def test_a_card_silences_the_hosts_that_it_shows_and_no_other(desk: Desk) -> None:
    """A critical on another host nobody has silenced: it is told at once."""
    await desk.post(alert("Disk", "a-1.x"), alert("Disk", "b"))
    (incident,) = await desk.incidents()
    button = await desk.button(f"incident:{incident.id}", "静默 1 小时")
    assert "2 台" in await desk.press(button)
    await desk.clock.sleep(60)
    await desk.post(alert("Disk", "c", CRITICAL), alert("Disk", "a-1.x", CRITICAL))
    (mention,) = await desk.mentions()
    assert "Disk · c" in plain(loads(mention.card))
    assert "a-1.x" not in mention.card
    hidden = {host: each.hidden for host, each in (await known(desk, incident.id)).items()}
    assert hidden["c"] == ""
    assert all("静默" in hidden[host] for host in ("a-1.x", "b"))


async def test_a_host_that_came_after_the_card_is_not_silenced_by_it(desk: Desk) -> None:
    """Between the card and the press."""
    await desk.post(alert("Disk", "a"))
    (incident,) = await desk.incidents()
    button = await desk.button(f"incident:{incident.id}", "静默 1 小时")
    await desk.clock.sleep(60)
    await desk.post(alert("Disk", "b", CRITICAL))
    await desk.press(button)
    there = await known(desk, incident.id)
    assert ("静默" in there["a"].hidden, there["b"].hidden) == (True, "")


async def test_a_warning_that_flaps_is_silenced_by_the_card_that_showed_it(desk: Desk) -> None:
    """It has begun anew since the card was drawn, and that is why somebody wants to silence it."""
    await desk.post(alert("Ping", "a"))
    (incident,) = await desk.incidents()
    button = await desk.button(f"incident:{incident.id}", "静默 1 小时")
    for firing in (False, True):
        await desk.clock.sleep(20)
        await desk.post(alert("Ping", "a", firing=firing))
    await desk.press(button)
    assert "静默" in (await known(desk, incident.id))["a"].hidden


@pytest.mark.parametrize(
    "name", ["web-{}.prod.example.com", "ip-10-0-{}-1.cn-north-1.compute.internal"]
)
async def test_hosts_in_their_hundreds_are_silenced_as_well(desk: Desk, name: str) -> None:
    """One expression has a longest, whatever a cloud calls its hosts: so several silences stand for
    one press."""
    hosts = [name.format(number) for number in range(100, 250)]
    await desk.post(*(alert("Noise", host) for host in hosts))
    (incident,) = await desk.incidents()
    await desk.press(await desk.button(f"incident:{incident.id}", "静默 1 小时"))
    assert all(each.hidden for each in (await known(desk, incident.id)).values())


async def test_a_host_that_only_a_label_names_is_silenced_by_the_card(desk: Desk) -> None:
    """The mapping of a monitor of one's own may say where labels are, and nothing of hosts."""
    shape = Shape("rule", label="自建", status="state", labels="tags")
    post = b'{"rule": "CPU", "state": "firing", "tags": {"host": "web-1"}}'
    (said,) = decoder("mine", shape)(post, desk.clock.now())
    await desk.post(said)
    await desk.press(await desk.button("incident:1", "静默 1 小时"))
    assert "静默" in (await known(desk, 1))[""].hidden


@pytest.mark.parametrize("title", ["host 10.0.0.1 down", "host 10.0.0.1 still down"])
async def test_what_has_no_rule_stays_silenced_when_it_is_posted_again(
    desk: Desk, title: str
) -> None:
    """Its card names it by its masked title, and so does the silence; that may change as it fires on."""
    first = replace(alert("", "a", CRITICAL), title="host 10.0.0.1 down", labels={})
    await desk.post(first)
    await desk.press(await desk.button("incident:1", "静默 1 小时"))
    for _ in range(3):
        await desk.clock.sleep(60)
        await desk.post(replace(first, title=title))
        await pipeline.look(desk.kit)
        assert "静默" in (await known(desk, 1))["a"].hidden
    assert len(await desk.mentions()) == 1
    async with desk.kit.store.view() as unit:
        assert not await unit.escalations.due(desk.clock.now() + timedelta(days=1))


async def test_what_has_no_rule_is_silenced_by_its_masked_title(desk: Desk) -> None:
    """Also where it begins anew: as a storm's summary offers it."""
    first = replace(alert("", "a"), title="host 10.0.0.1 down", labels={})
    await desk.post(first)
    await desk.press(action("quiet", "host * down", 120))
    await desk.post(replace(first, firing=False))
    await desk.clock.sleep(60)
    await desk.post(first, replace(first, fingerprint="2", host="b", title="host 10.0.0.2 down"))
    assert all("静默" in each.hidden for each in (await known(desk, 1)).values())
    async with desk.kit.store.view() as unit:
        unseen = await unit.incidents.firing(desk.customer.id, 10, hidden=True)
    assert {each.host for each in unseen} == {"a", "b"}


@pytest.mark.parametrize("typed", ["/silence host=a 2h 换硬盘", "/unsilence 1"])
async def test_a_silence_looks_once_at_all_that_fires(
    desk: Desk, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be twenty thousand alerts, in the turn of the one writer."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await desk.post(alert("Disk", "a"))
    assert desk.customer.chat
    if typed.startswith("/unsilence"):
        await say(desk, "/silence host=a 2h 换硬盘", desk.customer.chat, LI)
    looks = []
    real = pipeline.reconsider

    async def counted(*args: Any) -> int:
        looks.append(args)
        return await real(*args)

    monkeypatch.setattr(pipeline, "reconsider", counted)
    assert "静默 #1" in await say(desk, typed, desk.customer.chat, LI)
    assert len(looks) == 1


# -- where one is rung --------------------------------------------------------------------------


async def test_whoever_is_rung_acknowledges_where_they_read_it(desk: Desk) -> None:
    """The ring says /ack 1, and is a direct message: nobody has to look for the group at night."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await desk.post(alert("Disk", "a", CRITICAL))
    said = await say(desk, "/ack 1", DIRECT, LI)
    assert "海蓝科技：已确认 #1：Disk" in said
    (incident,) = await desk.incidents()
    assert (incident.state, incident.acked_by) == (IncidentState.ACKED, LI)
    async with desk.kit.store.view() as unit:
        climb = await unit.escalations.last(incident.id)
    assert climb
    assert climb.acked_at == desk.clock.now()


@pytest.mark.parametrize(
    ("typed", "answer"), [("/ack", "/ack 12"), ("/ack 0", "客户群"), ("/ack 7", "没有告警组 #7")]
)
async def test_in_a_direct_chat_the_number_must_be_said(
    desk: Desk, typed: str, answer: str
) -> None:
    """There is no group there whose incidents could be meant."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await desk.post(alert("Disk", "a", CRITICAL))
    assert answer in await say(desk, typed, DIRECT, LI)
    assert (await desk.incidents())[0].state is IncidentState.OPEN


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.ENGINEER])
async def test_a_customers_people_acknowledge_nothing_from_afar(desk: Desk, role: Role) -> None:
    """Whatever they are in their own group: a number could be anybody's."""
    await staff(desk, (WANG, role, desk.customer.id))
    await desk.post(alert("Disk", "a", CRITICAL))
    assert "自己的群" in await say(desk, "/ack 1", DIRECT, WANG)
    assert (await desk.incidents())[0].state is IncidentState.OPEN


async def test_a_stranger_acknowledges_nothing_from_afar(desk: Desk) -> None:
    await desk.post(alert("Disk", "a", CRITICAL))
    assert "工程师" in await say(desk, "/ack 1", DIRECT, WANG)
    assert (await desk.incidents())[0].state is IncidentState.OPEN


# -- who is named -------------------------------------------------------------------------------


async def on_call(desk: Desk, *callees: Callee) -> None:
    names = tuple(each.name for each in callees)
    layer = Layer("主值班", names, date(2026, 11, 23))
    async with desk.kit.store.unit() as unit:
        await unit.oncall.save(Roster(desk.customer.id, "Asia/Shanghai", callees, (layer,)))


async def named(desk: Desk) -> list[list[tuple[str, str]]]:
    """Return whom each message about new criticals names by a real mention."""
    return [
        [
            (person.id, person.name)
            for block in loads(each.card).blocks
            if isinstance(block, Mention)
            for person in block.people
        ]
        for each in await desk.mentions()
    ]


async def test_a_new_critical_names_who_is_on_call_from_its_first_message(desk: Desk) -> None:
    """Their phone rings at once, and not when the first level is due; of those that share a message
    it is named once."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await on_call(desk, Callee("李工"))
    await desk.post(alert("Disk", "a", CRITICAL))
    for host in ("b", "c"):
        await desk.clock.sleep(1)
        await desk.post(alert("Disk", host, CRITICAL))
    assert await named(desk) == [[("li", "李工")], [("li", "李工")]]


async def test_with_nobody_on_call_a_new_critical_is_told_as_it_was(desk: Desk) -> None:
    """Neither a roster nor anybody by that name in chat is needed for it."""
    await desk.post(alert("Disk", "a", CRITICAL))
    await on_call(desk, Callee("孙工"))
    await desk.clock.sleep(60)
    await desk.post(alert("Disk", "b", CRITICAL))
    assert await named(desk) == [[], []]


async def test_on_another_platform_nobody_is_named(desk: Desk) -> None:
    """An id of one is nobody's, or somebody else's, on the other."""
    await on_call(desk, Callee("李工", person=Person("other", "li", "李工")))
    await desk.post(alert("Disk", "a", CRITICAL))
    assert await named(desk) == [[]]


async def test_a_fold_asks_once_who_is_on_call(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many criticals it has; and not at all when it has none."""
    looks = []
    await on_call(desk, Callee("李工", person=LI))
    async with desk.kit.store.view() as unit:
        kind = type(unit.oncall)
    real = kind.roster

    async def counted(self: Any, customer: int) -> Any:
        looks.append(customer)
        return await real(self, customer)

    monkeypatch.setattr(kind, "roster", counted)
    await desk.post(alert("CPU", "a"))
    assert looks == []
    await desk.post(*(alert("Disk", f"h{n}", CRITICAL) for n in range(40)))
    assert looks == [desk.customer.id]


# -- another group ------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [1, 4])
async def test_cards_go_on_in_the_group_that_the_customer_is_bound_to_anew(
    desk: Desk, rules: int
) -> None:
    """The one of before may be another customer's; in a storm its one card goes, and no other."""
    await staff(desk, (LI, Role.ENGINEER, None))
    await desk.post(*(alert(f"r{number}", "a") for number in range(rules)))
    storm = f"storm:{desk.customer.id}"
    wanted = "incident:1" if rules == 1 else storm
    async with desk.kit.store.unit() as unit:
        await unit.outbox.drawn(wanted, 1, "shown in the group of before")
    second = Chat("paper", "g2")
    assert "已绑定" in await say(desk, "/bind 海蓝科技", second, LI)
    there = [each for each in (await desk.waiting()).values() if each.living]
    assert {(each.living, each.chat) for each in there} == {(wanted, second)}
    desk.customer = replace(desk.customer, chat=second)
    await desk.post(alert("r0", "b", CRITICAL))
    async with desk.kit.store.view() as unit:
        shown = await unit.outbox.living(wanted)
        cards = [await unit.outbox.living(f"incident:{n}") for n in range(1, rules + 1)]
    assert shown
    assert (shown.chat, shown.receipt) == (second, "")
    assert {each.chat for each in cards if each} <= {second}

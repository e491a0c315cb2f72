"""What people type about on-call and escalation, through the real inbox."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import icalendar
import pytest

from adapters.card import Card, plain
from adapters.documents import OfficeDocuments
from adapters.ssh import SshKeys
from adapters.webchat.link import WebChat
from adapters.words import Chat, File, Message, Person, Role, Severity
from bot.inbox import Inbox
from bot.sender import Sender
from commands.contents import BOOK
from runbooks.alerting.adopt import adopt
from runbooks.alerting.oncall import ladder, rungs
from runbooks.case import Contact, Onboarding
from runbooks.kit import Errand, House, Kit
from runbooks.steps.handover import service
from storage.records import Customer, Incident, IncidentState, Member, Run
from storage.roster import Way
from storage.store import Store, Unit
from tests.conftest import HandClock

LI, ZHAO, QIAN = (
    Person("web", "li", "李工"),
    Person("web", "zhao", "赵主管"),
    Person("web", "qian", "钱工"),
)
STAFF = (LI, ZHAO, QIAN)


async def draw(key: str, unit: Unit) -> Card:
    return Card(key)


async def go(run: Run) -> None:
    raise AssertionError(run)


class Room:
    """A customer's group whose service has begun: 李工 and 赵主管 were named in the SOP's line."""

    def __init__(self, store: Store, web: WebChat, clock: HandClock, group: Chat) -> None:
        self.store, self.web, self.clock, self.group = store, web, clock, group
        self.inbox = self.listening(House())
        self.sender = Sender(store, {"web": web}, draw, clock)
        self.count = 0

    def listening(self, house: House) -> Inbox:
        """Return who takes what is typed in this house."""
        chats = {"web": self.web}
        return Inbox(
            self.store,
            {},
            self.clock,
            go,
            BOOK,
            OfficeDocuments(),
            SshKeys(),
            house.zone,
            house,
            chats,
        )

    async def type(
        self,
        text: str,
        by: Person = ZHAO,
        chat: Chat | None = None,
        files: tuple[File, ...] = (),
        named: Sequence[Person] = STAFF,
    ) -> str:
        """Type a line and return the answer."""
        self.count += 1
        place = chat or self.group
        now = self.clock.now()
        await self.inbox.take(Message(f"m{self.count}", place, by, text, now, files, tuple(named)))
        async with self.store.view() as unit:
            answer = await unit.outbox.by_key(f"reply:web:m{self.count}")
        assert answer is not None
        await self.sender.drain()
        posts = [post for post in self.web.history(place) if post.card]
        return plain(posts[-1].card) if posts[-1].card else ""

    def rung(self, person: Person) -> list[str]:
        chat = Chat("web", f"d-{person.id}")
        return [post.text for post in self.web.history(chat) if post.urgent]


@pytest.fixture
async def room(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Room]:
    async with WebChat(tmp_path / "chat.sqlite") as web:
        group = await web.open_chat("海蓝", list(STAFF), key="g")
        async with store.unit() as unit:
            customer = await unit.customers.add(Customer(0, "海蓝", "hailan", clock.now(), group))
            for person, role in ((LI, Role.ENGINEER), (ZHAO, Role.LEAD), (QIAN, Role.ENGINEER)):
                await unit.people.put(Member(person, role))
        named = (Contact("李工", phone="13700000000"), Contact("赵主管", phone="13600000000"))
        case = Onboarding(customer.id, "海蓝", (), (), on_call=named, escalate_after=(3, 10))
        nobody = cast("Any", None)
        kit = Kit(clock, store, {"web": web}, nobody, nobody, nobody)
        await service(case, Errand(kit, "r1", "service"))
        yield Room(store, web, clock, group)


async def test_the_people_of_the_sop_are_the_first_rota_and_policy(room: Room) -> None:
    said = await room.type("/oncall", LI)
    assert "现在：李工" in said
    assert "接班：赵主管" in said
    assert "李工 还没有收到过机器人的呼叫" in said
    assert "自 2026-11-23 起" in said
    async with room.store.unit() as unit:
        again = await adopt(1, (), (9,), House(), room.clock.now(), unit)
    assert not again, "what people have changed since is theirs"
    policy = await room.type("/escalate", LI)
    assert "3 分钟 | 值班人 | 群内@ → 加急" in policy
    assert "10 分钟 | 值班人之后第 1 位" in policy
    assert "每 30 分钟重来" in policy


@pytest.mark.parametrize("address", ["zhao@example.com", ""])
async def test_the_first_policy_mails_where_everybody_has_an_address(
    room: Room, address: str
) -> None:
    """And calls by the house's gateway in any case."""
    named = (Contact("李工", email="li@example.com"), Contact("赵主管", email=address))
    house = House(escalate_ways=(Way.MENTION, Way.RING, Way.WEBHOOK, Way.EMAIL))
    now = room.clock.now()
    async with room.store.unit() as unit:
        other = await unit.customers.add(Customer(0, "山青", "shanqing", now))
        assert await adopt(other.id, named, (), house, now, unit)
        policy = await ladder.policy_of(unit, other.id)
    mailed = (Way.EMAIL,) if address else ()
    assert {level.ways for level in policy.levels} == {
        (Way.MENTION, Way.RING, Way.WEBHOOK, *mailed)
    }


async def test_a_test_call_proves_that_everybody_can_be_reached(room: Room) -> None:
    assert "还没有收到过机器人的呼叫：请用 /oncall test" in await room.type("/oncall", LI)
    said = await room.type("/oncall test", LI)
    assert "已呼叫：李工、赵主管" in said
    assert "请用 /oncall test" not in said, "that is what was typed just now"
    assert len(room.rung(LI)) == len(room.rung(ZHAO)) == 1
    assert "还没有收到过" not in await room.type("/oncall", LI)


async def test_somebody_joins_and_leaves_the_rota(room: Room) -> None:
    assert "已加入值班" in await room.type("/oncall add @钱工 13500000000 --email q@example.com")
    assert "李工 → 赵主管 → 钱工" in await room.type("/oncall")
    assert "剩余：赵主管、钱工" in await room.type("/oncall remove @李工")
    assert "现在：赵主管" in await room.type("/oncall")
    assert "不在值班表里" in await room.type("/oncall remove @李工")
    assert "负责人" in await room.type("/oncall add @李工", LI), "an engineer may not"


async def test_somebody_with_a_new_name_is_not_there_twice(room: Room) -> None:
    """李工 of the SOP's line is known by name alone, and bears another one since."""
    await room.type("/oncall override @李工 12-08 12-09")
    new = Person("web", "li", "李工（运维）")
    said = await room.type("/oncall add @李工（运维） 13911111111", named=(new, ZHAO))
    assert "李工（运维）：主值班" in said
    assert "李工（运维） → 赵主管，" in await room.type("/oncall")
    week = await room.type("/oncall week 21")
    assert "调班 #1：李工（运维）" in week
    assert "12-08 00:00 | 12-09 00:00 | 李工（运维） | 临时调班" in week
    await room.type("/oncall add @李工Li", named=(replace(new, name="李工Li"), ZHAO))
    async with room.store.view() as unit:
        roster = await unit.oncall.roster(1)
    assert roster
    assert [callee.name for callee in roster.callees] == ["李工Li", "赵主管"]
    assert roster.layers[0].people == ("李工Li", "赵主管")
    assert roster.callees[0].phone == "13911111111"


async def test_who_may_not_acknowledge_is_named_before_the_night(room: Room) -> None:
    """Whoever was never one of our people, and whoever has left them, would be rung in vain."""
    sun = Person("web", "sun", "孙工")
    await room.type("/oncall add @孙工", named=[sun])
    assert "孙工 不是工程师或负责人，收到呼叫后不能确认" in await room.type("/oncall")
    await room.type("/role @孙工 engineer", named=[sun])
    assert "孙工 不是工程师" not in await room.type("/escalate")
    await room.type("/oncall add @李工")
    await room.type("/role @李工 none")
    assert "李工 不是工程师或负责人" in await room.type("/escalate")


async def test_nobody_takes_the_name_of_another_one(room: Room) -> None:
    await room.type("/oncall add @钱工")
    new = replace(QIAN, name="赵主管")
    assert "已有另一位「赵主管」" in await room.type("/oncall add @赵主管", named=(new,))
    assert "李工 → 赵主管 → 钱工" in await room.type("/oncall")


async def test_a_new_roster_goes_by_the_houses_clock(room: Room) -> None:
    room.inbox = room.listening(House(zone=ZoneInfo("America/New_York")))
    there = await room.web.open_chat("乙", list(STAFF), key="g2")
    async with room.store.unit() as unit:
        await unit.customers.add(Customer(0, "乙", "yi", room.clock.now(), there))
    await room.type("/oncall add @李工 137", chat=there)
    async with room.store.view() as unit:
        roster = await unit.oncall.roster(2)
    assert roster
    assert roster.zone == "America/New_York"


async def test_an_override_holds_for_its_time_and_is_taken_back(room: Room) -> None:
    said = await room.type("/oncall override @赵主管 11-25T11:00 11-26T09:00 李工请假", LI)
    assert "已调班 #1" in said
    assert "现在：赵主管" in await room.type("/oncall", LI)
    week = await room.type("/oncall week", LI)
    assert "11-25 11:00 | 11-26 09:00 | 赵主管 | 临时调班" in week
    assert "李工请假" in week
    assert "已取消" in await room.type("/oncall cancel 1", LI)
    assert "现在：李工" in await room.type("/oncall", LI)
    assert "没有调班 #1" in await room.type("/oncall cancel 1", LI)
    assert "还没有过去" in await room.type("/oncall override @李工 11-25 11-25T10:00", LI)


@pytest.mark.parametrize(
    "typed", ["12-01 09:00 12-02 09:00 请假", "12-01 12-02 09:00 请假", "12-01 12-02 ９：００"]
)
async def test_a_time_apart_from_its_day_is_no_reason(room: Room, typed: str) -> None:
    """It would be the midnight before that: nine hours without whoever was meant."""
    said = await room.type(f"/oncall override @钱工 {typed}")
    assert "日期和时间之间请写 T" in said
    assert "调班 #" not in await room.type("/oncall week")


async def test_who_is_mentioned_may_be_followed_by_a_stop(room: Room) -> None:
    assert "李工 → 赵主管" in await room.type("/oncall layer 白班 @李工、@赵主管 --every 1")
    said = await room.type("/oncall handover @赵主管，db-01 在扩容：别重启")
    assert "→ 赵主管" in said
    assert "db-01 在扩容：别重启" in said


@pytest.mark.parametrize(
    "typed",
    [
        "/oncall override @李工 0001-01-01 9999-12-31T24:00",
        "/oncall swap 9999-12-30 9999-12-31",
        "/oncall cancel 99999999999999999999",
        "/escalate now 99999999999999999999",
        "/unsilence 99999999999999999999",
    ],
)
async def test_what_no_calendar_and_no_database_has_is_answered(room: Room, typed: str) -> None:
    assert "请再看一下" in await room.type(typed)


async def test_the_midnight_after_a_day_is_twenty_four_hundred(room: Room) -> None:
    """By China's clock: not the midnight before."""
    said = await room.type("/oncall override @李工 12-01T24:00 12-02T09:00")
    assert "李工：12-02 00:00 至 12-02 09:00" in said
    said = await room.type("/oncall override @李工 12-01T09:00 12-02T24:00")
    assert "李工：12-01 09:00 至 12-03 00:00" in said
    assert "不是时间" in await room.type("/oncall override @李工 12-05 12-06T24:30")
    assert "开始请写成 00:00" in await room.type("/oncall layer 夜 @李工 --handoff 24:00")
    assert "开始请写成 00:00" in await room.type("/oncall layer 夜 @李工 --hours 24:00-08:00")
    assert "18:00-00:00" in await room.type("/oncall layer 夜 @李工 --hours 18:00-24:00")


async def test_what_began_last_monday_is_not_next_years(room: Room) -> None:
    """It is Wednesday, 25 November: the turn that began on the 23rd ends on the 30th."""
    said = await room.type("/oncall layer 主值班 @赵主管 @李工 --since 11-23")
    assert "自 2026-11-23 起" in said
    assert "到：11-30 09:00" in await room.type("/oncall")
    assert "自 2026-12-07 起" in await room.type("/oncall layer 主值班 @李工 --since 12-07")
    assert "自 2027-01-04 起" in await room.type("/oncall layer 主值班 @李工 --since 01-04")


async def test_a_turn_of_ninety_days_is_seen_to_its_end(room: Room) -> None:
    """It began on 23 November, and the one after ends on 22 May."""
    await room.type("/oncall layer 主值班 @赵主管 @李工 --every 90 --since 11-23")
    assert "到：02-21 09:00" in await room.type("/oncall")
    ours = await room.web.open_chat("内部", list(STAFF), key="ours")
    assert "海蓝 | 赵主管 | 02-21 09:00" in await room.type("/oncall", chat=ours)
    said = await room.type("/oncall swap 11-26 03-01")
    assert "李工：11-25 11:00 至 02-21 09:00" in said
    assert "赵主管：02-21 09:00 至 05-22 09:00" in said
    assert "李工 → 赵主管" not in said
    handed = await room.type("/oncall handover @赵主管 说明")
    assert "到 02-21 09:00" in handed


async def test_two_shifts_are_swapped(room: Room) -> None:
    said = await room.type("/oncall swap 12-01 12-08", LI)
    assert "李工：11-30 09:00 至 12-07 09:00" in said
    assert "赵主管：12-07 09:00 至 12-14 09:00" in said
    await room.clock.sleep(86_400 * 7)
    assert "现在：李工" in await room.type("/oncall", LI)


async def test_two_who_agree_on_a_swap_may_both_type_it(room: Room) -> None:
    """The second time would undo it, and each of them would rely on the other."""
    first = await room.type("/oncall swap 12-01 12-08", LI)
    week = await room.type("/oncall week 20")
    second = await room.type("/oncall swap 12-08 12-01", ZHAO)
    assert "已对调" in first
    assert "这两段刚刚已由 李工 对调（#1 #2）" in second or "对调（#2 #1）" in second
    assert await room.type("/oncall week 20") == week
    await room.clock.sleep(600)
    assert "已对调" in await room.type("/oncall swap 12-01 12-08", LI), "who wants it back may"


async def test_with_whoever_leaves_go_their_overrides(room: Room) -> None:
    """None is listed that does not hold, and none comes to life when they come back."""
    await room.type("/oncall override @赵主管 11-26 11-27 替班")
    await room.type("/oncall override @李工 11-28 11-29 替班")
    assert "其 1 次临时调班随之取消" in await room.type("/oncall remove @赵主管")
    assert "调班 #2：李工" in (week := await room.type("/oncall week"))
    assert "赵主管" not in week
    await room.type("/oncall add @赵主管")
    assert "调班 #1" not in await room.type("/oncall week")


async def test_a_hand_over_reaches_whoever_takes_over_with_its_note(room: Room) -> None:
    said = await room.type("/oncall handover @赵主管 db-01 在扩容，别重启", LI)
    assert "李工 → 赵主管，到 11-30 09:00" in said
    assert "db-01 在扩容，别重启" in room.rung(ZHAO)[0]
    now = await room.type("/oncall", LI)
    assert "现在：赵主管" in now
    assert "李工 → 赵主管：db-01 在扩容，别重启" in now


async def test_who_takes_over_before_their_own_turn_is_told_when_that_ends(room: Room) -> None:
    """Five minutes before the change: not that their shift is over at nine."""
    monday = datetime(2026, 11, 30, 8, 55, tzinfo=ZoneInfo("Asia/Shanghai"))
    await room.clock.sleep((monday - room.clock.now()).total_seconds())
    said = await room.type("/oncall handover @赵主管 db-01 在扩容", LI)
    assert "李工 → 赵主管，到 11-30 09:00，之后接着值到 12-07 09:00" in said
    assert any("之后接着值到 12-07 09:00" in each for each in room.rung(ZHAO))


async def test_who_comes_without_a_name_is_written_down_all_the_same(room: Room) -> None:
    """A platform that may not list a group's members tells the id alone."""
    said = await room.type("/oncall handover @赵主管 db-01 在扩容", Person("web", "li"))
    assert "李工 → 赵主管" in said
    async with room.store.unit() as unit:
        await unit.people.put(Member(Person("web", "sun"), Role.LEAD))
    await room.type("/oncall layer 白班 @李工", Person("web", "sun"))
    async with room.store.view() as unit:
        trail = [(entry.actor, entry.deed) for entry in await unit.audit.entries()]
    assert trail == [("李工", "oncall-override"), ("sun", "oncall-layer")]


async def test_a_layer_with_hours_goes_above_and_its_gaps_are_named(room: Room) -> None:
    said = await room.type("/oncall layer 白班 @赵主管 --days 工作日 --hours 09:00-18:00 --every 1")
    assert "赵主管，工作日 09:00-18:00" in said
    now = await room.type("/oncall")
    assert "现在：赵主管" in now, "a Wednesday at eleven"
    assert "2027 年的法定节假日和调休尚未收录" in now
    assert "已去掉" in await room.type("/oncall unlayer 主值班")
    assert "无人值班" in await room.type("/oncall")
    assert "现有：白班" in await room.type("/oncall unlayer 夜班")


async def test_what_a_card_does_not_list_is_counted(room: Room) -> None:
    await room.type("/oncall layer 白班 @李工 @赵主管 --hours 09:00-18:00 --every 1")
    said = await room.type("/oncall week 92")
    assert said.count("| 白班") + said.count("| 主值班") == 100
    left = re.search(r"另有 (\d+) 个班次没有列出", said)
    assert left
    assert f"{100 + int(left[1])} 个班次" in await room.type("/oncall export 92")


async def test_a_calendar_goes_out_and_comes_in(room: Room) -> None:
    assert "已导入" not in await room.type("/oncall import", LI)
    await room.type("/oncall export 20", LI)
    sent = [file for post in room.web.history(room.group) for file in post.files]
    content = room.web.content(sent[0].id, LI)
    assert content is not None
    assert content.name == "oncall-hailan.ics"
    swapped = content.content.replace("李工".encode(), "赵主管".encode())
    said = await room.type("/oncall import", LI, files=(File("x.ics", swapped),))
    assert "4 个班次" in said
    await room.clock.sleep(60)
    assert "现在：赵主管" in await room.type("/oncall", LI)


async def test_the_running_shift_is_the_same_in_each_calendar(room: Room) -> None:
    """Made an hour later, it names no shift that the first one did not name; also where the same
    person is always on call."""

    async def exported() -> set[str]:
        await room.type("/oncall export 20", LI)
        sent = [file for post in room.web.history(room.group) for file in post.files]
        content = room.web.content(sent[-1].id, LI)
        assert content is not None
        events = icalendar.Calendar.from_ical(content.content).walk("VEVENT")
        return {str(event["UID"]) for event in events}

    first = await exported()
    assert "oncall-1-20261123T010000Z@vigilbot" in first
    await room.clock.sleep(3600)
    assert await exported() == first
    await room.type("/oncall layer 主值班 @李工")
    assert "到：不换班" in await room.type("/oncall")
    first = await exported()
    await room.clock.sleep(86_400 * 40)
    assert await exported() == first


async def test_our_own_group_sees_every_customers_on_call(room: Room) -> None:
    ours = await room.web.open_chat("内部", list(STAFF), key="ours")
    assert "海蓝 | 李工 | 11-30 09:00" in await room.type("/oncall", LI, ours)


async def test_what_climbs_in_a_storm_is_counted(room: Room) -> None:
    now = room.clock.now()
    async with room.store.unit() as unit:
        other = await unit.customers.add(Customer(0, "山青", "shanqing", now))
        for number in range(1, 24):
            whose = 1 if number <= 22 else other.id
            critical, state = Severity.CRITICAL, IncidentState.OPEN
            made = Incident(number, whose, "g", "磁盘", critical, state, now, now, critical_at=now)
            await ladder.begin(unit, made, now)
    said = await room.type("/escalate", LI)
    assert said.count("通知第 1 级") == 20
    assert "另有 2 个正在升级" in said


async def test_a_policy_is_set_for_what_comes_later(room: Room) -> None:
    said = await room.type("/escalate set 1,2,4 --ways 加急,邮件 --repeat 0")
    assert "4 分钟 | 值班人之后第 2 位 | 加急 → 邮件" in said
    assert "不重复" in said
    async with room.store.view() as unit:
        policy = await ladder.policy_of(unit, 1)
    assert [level.after for level in policy.levels] == [1, 2, 4]
    assert policy.levels[0].ways == (Way.RING, Way.EMAIL)
    for wrong in ("5,5", "0x1", "3000", "5 --ways 短信", "5 --ways 加急,加急"):
        assert "请再看一下" in await room.type(f"/escalate set {wrong}")
    assert "负责人" in await room.type("/escalate set 5", LI)


async def test_what_a_policys_ways_lack_is_said_when_it_is_set(room: Room) -> None:
    """Neither channel is there, and nobody has an address."""
    said = await room.type("/escalate set 5,15 --ways 邮件,webhook")
    assert "⚠️ 升级方式「邮件」不通" in said
    assert "⚠️ 升级方式「webhook」不通" in said
    assert "⚠️ 李工 没有登记邮箱：请输入 /oncall add @李工 --email 邮箱" in said
    assert "⚠️ 赵主管 没有登记邮箱" in said
    now = await room.type("/oncall")
    assert "⚠️ 升级方式「邮件」不通" in now
    assert "⚠️ 赵主管 没有登记邮箱" in now
    await room.type("/oncall add @赵主管 --email z@example.com")
    assert "赵主管 没有登记邮箱" not in await room.type("/escalate")
    assert "⚠️" not in await room.type("/escalate set 5,15")


async def test_the_next_level_is_called_at_once_and_the_answer_is_counted(room: Room) -> None:
    now = room.clock.now()
    incident = Incident(
        4, 1, "g", "磁盘已满", Severity.CRITICAL, IncidentState.OPEN, now, now, critical_at=now
    )
    async with room.store.unit() as unit:
        await ladder.begin(unit, incident, now)
    assert "#4 磁盘已满：11:03:00 通知第 1 级" in await room.type("/escalate", LI)
    assert "立即升级" in await room.type("/escalate now 4", LI)
    async with room.store.view() as unit:
        assert len(await unit.escalations.due(now)) == 2
    await room.clock.sleep(90)
    async with room.store.unit() as unit:
        acked = replace(incident, state=IncidentState.ACKED)
        await ladder.stop(unit, acked, room.clock.now())
    assert "已经确认" in await room.type("/escalate now 4", LI)
    assert "没有正在升级的事件 #5" in await room.type("/escalate now 5", LI)
    stats = await room.type("/escalate stats", LI)
    assert "平均确认时间 MTTA：1 分 30 秒（1 次确认）" in stats
    assert "平均恢复时间 MTTR：—" in stats
    assert "📊" not in stats, "one figure is no trend"
    assert timedelta(seconds=60) == rungs.LATE
    async with room.store.unit() as unit:
        last = await unit.escalations.last(4)
        assert last
        began = last.began_at - timedelta(days=14)
        ended = began + timedelta(minutes=3)
        await unit.escalations.add(
            replace(last, incident=3, began_at=began, stopped_at=ended, acked_at=ended)
        )
    stats = await room.type("/escalate stats", LI)
    assert "📊 平均确认时间 MTTA，按周（分钟）" in stats
    assert "11-09 ▇▇▇▇▇▇▇▇ 3\n11-16 —\n11-23 ▇▇▇▇ 1.5" in stats

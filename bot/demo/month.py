"""A month of on-call, as it might have been lived: what breaks, who answers, who swaps and hands over.

The plan is a table; what it says is typed, pressed and posted by the same people and monitors that
a newcomer plays, and the bot does not know that it is a play.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from itertools import pairwise
from zoneinfo import ZoneInfo

from adapters.card import Block, Card, Fields, Style, Table, Text, Tone, dumps
from adapters.port import UsageError
from adapters.words import Chat, Person
from bot.demo.agenda import Agenda
from bot.demo.forward import Forward, Played
from bot.demo.sample import Sample
from runbooks.alerting.oncall import ladder, rota, watchdog
from runbooks.alerting.oncall.figures import figures
from runbooks.alerting.oncall.rota import Shift
from runbooks.alerting.oncall.rungs import Missed
from storage.records import Customer, Delivery, DeliveryState, Incident, IncidentState, Lane
from storage.roster import Escalation, Override, Roster, Rung, RungState
from storage.store import Unit

DAYS = 30
MONTH = timedelta(days=DAYS)
HOUR = timedelta(hours=1)
FIRST = timedelta(minutes=1)
"""Before the end, when the figures are asked for: they are then inside of what is played."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Something breaks on a day of the month, counted from tomorrow as 1, and is over after so many
    minutes."""

    day: int
    at: time
    rule: str
    host: str
    over: int
    severity: str = "critical"
    answered: int = 0
    """Minutes until somebody acknowledges; 0 for nobody."""
    late: bool = False
    """Whoever is on call sleeps through it: the lead answers in the end."""


OUTAGES = (
    Outage(1, time(14, 20), "磁盘将满", "web-02", over=120, severity="warning"),
    Outage(2, time(3, 12), "数据库宕机", "db-01", over=41, answered=7),
    Outage(4, time(10, 5), "接口超时", "app-01", over=25, answered=3),
    Outage(6, time(21, 40), "内存不足", "app-02", over=50, answered=11),
    Outage(8, time(11, 15), "CPU 使用率过高", "web-01", over=35, severity="warning"),
    Outage(10, time(15, 30), "支付接口失败", "app-01", over=18, answered=2),
    Outage(12, time(2, 30), "主从复制中断", "db-02", over=135, answered=102, late=True),
    Outage(15, time(9, 50), "证书将到期", "gw-01", over=90, answered=4),
    Outage(17, time(16, 0), "磁盘将满", "web-02", over=240, severity="warning"),
    Outage(18, time(23, 5), "消息堆积", "mq-01", over=38, answered=6),
    Outage(20, time(22, 40), "数据库宕机", "db-01", over=20, answered=0),
    Outage(23, time(13, 45), "接口超时", "app-02", over=15, answered=1),
    Outage(26, time(4, 25), "数据库连接数过多", "db-01", over=55, answered=17),
    Outage(28, time(19, 10), "机房网络丢包", "gw-01", over=30, answered=5),
)


class Month:
    """Plays the month. `lead` sets everything up, and answers what nobody has answered."""

    def __init__(
        self,
        sample: Sample,
        agenda: Agenda,
        forward: Forward,
        lead: Person,
    ) -> None:
        self._sample = sample
        self._kit = sample.kit
        self._agenda = agenda
        self._forward = forward
        self._lead = lead
        self._people = sample.people

    async def play(self) -> Played:
        """Have a month lived through for the sample customer, up to its figures in the group.

        Raises UsageError when the clock is being put forward already.
        """
        if self._forward.playing:
            raise UsageError("时钟正在推进，请等它停下")
        customer = await self._sample.own()
        assert customer.chat is not None
        start = self._kit.clock.now()
        self._agenda.add(start, partial(self._set_up, customer.chat))
        self._plan(customer, customer.chat, start)
        end = start + MONTH
        self._agenda.add(
            end - 2 * FIRST, partial(self._say, customer.chat, f"/escalate stats {DAYS}")
        )
        self._agenda.add(end - FIRST, partial(self._sum_up, customer, customer.chat, start))
        return await self._forward.play(end)

    async def staffed(self, customer: Customer) -> None:
        """Give a customer a rota, where they have none."""
        async with self._kit.store.view() as unit:
            roster = await unit.oncall.roster(customer.id)
        if roster is None and customer.chat:
            await self._put_on_call(customer.chat)

    # -- the plan -----------------------------------------------------------------------------

    def _plan(self, customer: Customer, chat: Chat, start: datetime) -> None:
        zone = self._kit.house.zone
        today = start.astimezone(zone).date()

        def on(day: int, clock: time) -> datetime:
            return rota.instant(today + timedelta(days=day), clock, zone)

        def day_of(day: int) -> str:
            return (today + timedelta(days=day)).isoformat()

        for outage in OUTAGES:
            begins = on(outage.day, outage.at)
            what = (outage.rule, outage.host, outage.severity)
            self._agenda.add(begins, partial(self._sample.post, customer.id, [what]))
            if outage.answered:
                answers = begins + timedelta(minutes=outage.answered)
                self._agenda.add(answers, partial(self._answer, customer, chat, outage))
            over = begins + timedelta(minutes=outage.over)
            self._agenda.add(over, partial(self._sample.post, customer.id, [what], "resolved"))
        said = (
            (
                5,
                time(17, 30),
                f"/oncall override @孙工 {day_of(7)}T18:00 {day_of(8)}T09:00 李工体检",
            ),
            (16, time(14, 0), "/silence rule=磁盘将满 host=web-02 3d 扩容已排期，到货前不再提醒"),
            (19, time(10, 0), f"/maintain {day_of(20)} 22:00 2h host=db-01 数据库小版本升级"),
        )
        for day, clock, text in said:
            self._agenda.add(on(day, clock), partial(self._say, chat, text))
        self._agenda.add(on(1, time(9, 30)), partial(self._swap, customer, chat))
        self._agenda.add(on(9, time(20, 0)), partial(self._hand_over, customer, chat))

    async def _set_up(self, chat: Chat) -> None:
        await self._put_on_call(chat)
        names = [f"@{person.name}" for person in self._people]
        day = " ".join(names[1:])
        await self._say(
            chat, f"/oncall layer 工作日白班 {day} --days 工作日 --hours 09:00-18:00 --every 1"
        )
        await self._say(
            chat,
            f"/oncall layer 节假日白班 {names[0]} {names[-1]} --days 节假日 --hours 09:00-18:00",
        )
        await self._say(chat, f"/oncall week {DAYS}")

    async def _put_on_call(self, chat: Chat) -> None:
        for place, person in enumerate(self._people):
            await self._say(chat, f"/oncall add @{person.name} 1370000000{place}")
        await self._say(chat, "/escalate set 5,15,30 --ways 群内@,加急 --repeat 30")
        await self._say(chat, "/oncall test")

    # -- what people do -----------------------------------------------------------------------

    async def _say(self, chat: Chat, text: str, by: Person | None = None) -> None:
        await self._sample.web.say(by or self._lead, chat, text)

    async def _answer(self, customer: Customer, chat: Chat, outage: Outage) -> None:
        """Press 确认, as whoever is on call or as the lead; what is over needs no answer."""
        async with self._kit.store.view() as unit:
            callee, _ = await ladder.on_call(unit, customer.id, self._kit.clock.now())
            open_ = await unit.incidents.open_of(customer.id)
        found = next((each for each in open_ if _about(each, outage)), None)
        by = callee.person if callee and callee.person and not outage.late else self._lead
        if found is None:
            return
        try:
            await self._sample.acknowledge(found, by, chat)
        except UsageError:  # in a storm there is no card of its own: then one types
            await self._say(chat, f"/ack {found.id}", by)

    async def _swap(self, customer: Customer, chat: Chat) -> None:
        """Swap the first two day shifts to come that are different people's."""
        shifts, _ = await self._shifts(customer, rota.DAY, 14 * rota.DAY)
        zone = self._kit.house.zone
        noons = [(day, shift) for day, shift in _at_noon(shifts, zone) if shift.callee]
        for (one, first), (other, second) in pairwise(noons):
            if first.callee != second.callee:
                await self._say(chat, f"/oncall swap {one.isoformat()} {other.isoformat()}")
                return

    async def _hand_over(self, customer: Customer, chat: Chat) -> None:
        """Whoever is on call hands the rest of the turn to the next one, with a note."""
        async with self._kit.store.view() as unit:
            callee, _ = await ladder.on_call(unit, customer.id, self._kit.clock.now())
        holder = callee.person if callee and callee.person else self._lead
        place = self._people.index(holder) if holder in self._people else 0
        other = self._people[(place + 1) % len(self._people)]
        note = "明天支付通道切换，app-01 有抖动先看 nginx 日志，不要重启"
        await self._say(chat, f"/oncall handover @{other.name} {note}", holder)

    # -- the figures --------------------------------------------------------------------------

    async def _sum_up(self, customer: Customer, chat: Chat, start: datetime) -> None:
        now = self._kit.clock.now()
        shifts, _ = await self._shifts(customer, start - now, timedelta())
        async with self._kit.store.unit() as unit:
            card = summary(await lived(customer.id, start, now, shifts, unit))
            key, state = f"demo:month:{start.isoformat()}", DeliveryState.WAITING
            entry = Delivery(0, key, chat, Lane.NORMAL, state, now, card=dumps(card))
            await unit.outbox.put(entry)

    async def _shifts(
        self, customer: Customer, since: timedelta, until: timedelta
    ) -> tuple[tuple[Shift, ...], Roster]:
        now = self._kit.clock.now()
        async with self._kit.store.view() as unit:
            return await _shifts_of(customer.id, now + since, now + until, unit)


async def _shifts_of(
    customer: int, since: datetime, until: datetime, unit: Unit
) -> tuple[tuple[Shift, ...], Roster]:
    roster = await unit.oncall.roster(customer)
    assert roster is not None
    overrides: Sequence[Override] = await unit.oncall.overrides(customer, since, until)
    return rota.shifts(roster, overrides, since, until), roster


def _about(incident: Incident, outage: Outage) -> bool:
    return outage.rule in incident.title and incident.state is IncidentState.OPEN


def _at_noon(shifts: Iterable[Shift], zone: ZoneInfo) -> list[tuple[date, Shift]]:
    """Return for each day the shift that has its noon."""
    found: list[tuple[date, Shift]] = []
    for shift in shifts:
        day = shift.begins.astimezone(zone).date()
        while (noon := rota.instant(day, time(12), zone)) < shift.ends:
            if noon >= shift.begins:
                found.append((day, shift))
            day += rota.DAY
    return found


@dataclass(frozen=True, slots=True)
class Lived:
    """What a month of on-call was, from its rows."""

    since: datetime
    until: datetime
    shifts: Sequence[Shift]
    climbs: Sequence[Escalation]
    rungs: Sequence[Rung]
    acked: Sequence[str]
    """Who acknowledged, once for each incident."""
    due: int
    missed: Sequence[Missed]


async def lived(
    customer: int, since: datetime, until: datetime, shifts: Sequence[Shift], unit: Unit
) -> Lived:
    """Return what a customer's time from then until then was. A critical of before that is no event
    of it; who was called for it since then was called all the same."""
    climbs = await unit.escalations.since(customer, since)
    going = [c for c in await unit.escalations.climbing(since, until) if c.customer == customer]
    rungs = [
        rung
        for climb in going
        for rung in await unit.escalations.rungs(climb.incident, climb.round)
        if since <= rung.due < until
    ]
    found = [await unit.incidents.get(climb.incident) for climb in climbs]
    acked = [each.acked_by.name for each in found if each and each.acked_by]
    missed, due = await watchdog.judged(since, until, unit, customer=customer)
    return Lived(since, until, shifts, climbs, rungs, acked, due, missed)


def summary(lived: Lived) -> Card:
    """Return the month in figures: per person what they had and did, and the watchdog's proof."""
    known = figures(lived.climbs)
    calls = Counter(rung.name for rung in lived.rungs if rung.state is RungState.DONE)
    turns: defaultdict[str, timedelta] = defaultdict(timedelta)
    for shift in lived.shifts:
        if shift.callee:
            turns[shift.callee.name] += shift.ends - shift.begins
    acks = Counter(lived.acked)
    names = sorted({*turns, *calls, *acks}, key=lambda name: -turns[name])
    rows = tuple(
        (name, f"{round(turns[name] / HOUR)} 小时", f"{calls[name]} 次", f"{acks[name]} 次")
        for name in names
    )
    proof = f"应执行 {lived.due} 次升级通知，漏 {len(lived.missed)} 次"
    facts = (
        ("严重事件", f"{known.incidents} 个，已确认 {known.acked} 个"),
        ("平均确认时间 MTTA", minutes(known.to_ack)),
        ("平均恢复时间 MTTR", minutes(known.to_resolve)),
        ("升级核对", proof),
    )
    blocks: list[Block] = [
        Fields(facts),
        Table(("值班人", "值班", "被呼叫", "确认"), rows),
    ]
    if worst := _longest(lived.climbs):
        number = sum(
            rung.incident == worst.incident and rung.state is RungState.DONE for rung in lived.rungs
        )
        words = f"最久无人应答：#{worst.incident} {worst.title}，呼叫 {number} 次后才有人确认"
        blocks.append(Text(words, Style.STRONG))
    return Card("演示：一个月值班小结", Tone.BAD if lived.missed else Tone.GOOD, tuple(blocks))


def minutes(span: timedelta | None) -> str:
    """Return a mean as people say it."""
    if span is None:
        return "—"
    whole, seconds = divmod(round(span.total_seconds()), 60)
    return f"{whole} 分 {seconds} 秒"


def _longest(climbs: Sequence[Escalation]) -> Escalation | None:
    answered = [(c.acked_at - c.began_at, c.incident, c) for c in climbs if c.acked_at]
    return max(answered)[2] if answered else None

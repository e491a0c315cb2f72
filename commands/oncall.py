"""/oncall: who is called for this group's customer, and when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from adapters.card import Block, Card, Fields, Style, Table, Text, Tone, dumps, say
from adapters.port import UsageError
from adapters.words import Chat, Person, Role
from commands.declare import Call, Rest, Verbatim, Where, Who, choice, command, number
from commands.desk import Desk, desk_of
from runbooks.alerting import ical, reach, rostering, rota
from runbooks.alerting.adopt import HANDOFF, MAIN
from runbooks.alerting.rota import Shift
from runbooks.alerting.rota_words import DAYS, at, called, described, gaps, span
from runbooks.kit import CHINA
from storage.records import Customer, Delivery, DeliveryState, Lane
from storage.roster import Callee, Days, HandedOver, Layer, Override, Roster

GROUP = "值班与升级"
YEAR = timedelta(days=366)
EMPTY = "还没有值班表：请输入 /oncall add @某人"


@command("/oncall", examples=("/oncall",), group=GROUP)
async def oncall(*, call: Call) -> Card:
    """查看现在谁值班；在内部群列出所有客户。"""
    desk = desk_of(call)
    now = desk.clock.now()
    if desk.customer is None:
        rows = [await _line(customer, now, desk) for customer in await desk.unit.customers.all()]
        return Card("现在谁值班", blocks=(Table(("客户", "值班", "到"), tuple(rows)),))
    roster = await _roster(desk)
    found = await _shifts(roster, now, now + timedelta(days=14), desk)
    head = found[0]
    pairs = [
        ("现在", called(head)),
        ("到", at(head.ends, roster)),
        ("接班", called(found[1]) if len(found) > 1 else "不变"),
        *((f"层：{layer.name}", described(layer)) for layer in roster.layers),
    ]
    last = await desk.unit.oncall.handed(roster.customer)
    if last:
        pairs.append(
            ("上次交接", f"{at(last.at, roster)} {last.by.name} → {last.name}：{last.note}")
        )
    warnings = [*await _obstacles(roster, desk), *gaps(found, roster)]
    warnings.append(rota.planned(roster, now, now + YEAR))
    blocks: tuple[Block, ...] = (
        Fields(tuple(pairs)),
        *(Text(f"⚠️ {line}") for line in warnings if line),
    )
    tone = Tone.WARNING if any(warnings) or head.callee is None else Tone.GOOD
    return Card("值班", tone, blocks)


@command("/oncall week", where=Where.CUSTOMER, examples=("/oncall week",), group=GROUP)
async def week(days: Annotated[int, number(1, 92)] = 7, *, call: Call) -> Card:
    """查看接下来几天的班次、空档和临时调班。

    Parameters
    ----------
    days
        天数，默认 7。
    """
    desk = desk_of(call)
    roster, now = await _roster(desk), desk.clock.now()
    until = now + timedelta(days=days)
    found = await _shifts(roster, now, until, desk)
    rows = tuple((at(s.begins, roster), at(s.ends, roster), called(s), s.why) for s in found)
    blocks: list[Block] = [Table(("从", "到", "值班", "依据"), rows[:100])]
    for each in await desk.unit.oncall.overrides(roster.customer, now, until):
        ends = at(each.ends, roster)
        words = f"调班 #{each.id}：{each.name} {at(each.begins, roster)} 至 {ends} {each.note}"
        blocks.append(Text(words, Style.QUIET))
    if warning := rota.planned(roster, now, until):
        blocks.append(Text(f"⚠️ {warning}"))
    return Card(f"班次 · {days} 天", Tone.NEUTRAL, tuple(blocks))


@command(
    "/oncall add",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/oncall add @李工 13700000000", "/oncall add @赵工 --email zhao@example.com"),
    group=GROUP,
)
async def add(
    who: Who, phone: str = "", *, email: str = "", layer: Verbatim = "", call: Call
) -> Card:
    """把一个人加入值班；已在表里的，更新其账号和联系方式。

    Parameters
    ----------
    who
        人员，用 @ 选择。
    phone
        电话。
    email
        邮箱，用于邮件升级。
    layer
        层名，默认为最下面一层。
    """
    desk = desk_of(call)
    customer, now = desk.owner(), desk.clock.now()
    known = await desk.unit.oncall.roster(customer.id)
    roster = known or Roster(customer.id, str(CHINA))
    today = now.astimezone(ZoneInfo(roster.zone)).date()
    fresh = Layer(layer or MAIN, (), today - timedelta(days=today.weekday()), handoff=HANDOFF)
    if layer or not roster.layers:
        place = next((each for each in roster.layers if each.name == fresh.name), fresh)
    else:
        place = roster.layers[-1]
    callee = Callee(who.name or who.id, phone, email, who)
    after = rostering.added(roster, callee, place)
    await _keep(after, "oncall-add", callee.name, call)
    return say("已加入值班", f"{callee.name}：{place.name}", tone=Tone.GOOD)


@command(
    "/oncall remove",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/oncall remove @李工",),
    group=GROUP,
)
async def remove(who: Who, *, call: Call) -> Card:
    """把一个人移出值班表。

    Parameters
    ----------
    who
        人员，用 @ 选择。
    """
    desk = desk_of(call)
    roster = await _roster(desk)
    callee = rostering.callee_of(roster, who)
    after = rostering.removed(roster, callee)
    await _keep(after, "oncall-remove", callee.name, call)
    left = rostering.names([each.name for each in after.callees])
    return say("已移出值班", f"{callee.name}；剩余：{left}", tone=Tone.GOOD)


@command(
    "/oncall layer",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=(
        "/oncall layer 白班 @李工 @赵工 --days 工作日 --hours 09:00-18:00 --every 1",
        "/oncall layer 假日 @李工 --days 节假日",
    ),
    group=GROUP,
)
async def layer(  # the parts of a layer are its options
    name: Verbatim,
    *who: Who,
    days: Annotated[Days, choice(DAYS)] = Days.EVERY,
    hours: str = "",
    every: Annotated[int, number(1, 366)] = 7,
    handoff: str = "09:00",
    since: str = "",
    call: Call,
) -> Card:
    """设置一层轮班；新的一层在最上面，上面的层优先。

    Parameters
    ----------
    name
        层名，同名则替换。
    who
        人员，按轮班的顺序 @。
    days
        哪些天：每天、工作日（含调休）或节假日（含周末）。
    hours
        时段，例如 18:00-09:00，默认全天。
    every
        每班天数，默认 7。
    handoff
        交接时间，默认 09:00。
    since
        起始日期，默认今天。
    """
    desk = desk_of(call)
    roster, now = await _roster(desk), desk.clock.now()
    if not who:
        raise UsageError("请按轮班的顺序 @ 至少一个人")
    people = tuple(dict.fromkeys(rostering.callee_of(roster, each).name for each in who))
    today = now.astimezone(ZoneInfo(roster.zone)).date()
    begins, ends = rostering.hours_of(hours)
    made = Layer(
        name,
        people,
        rostering.day_of(since, today) if since else today,
        every,
        rostering.clock_of(handoff),
        days,
        begins,
        ends,
    )
    after = rostering.layered(roster, made)
    await _keep(after, "oncall-layer", name, call)
    warnings = [rota.planned(after, now, now + YEAR)]
    warnings += gaps(await _shifts(after, now, now + timedelta(days=14), desk), after)
    lines = [f"⚠️ {line}" for line in warnings if line]
    return say("已设置", f"{name}：{described(made)}", *lines, tone=Tone.GOOD)


@command(
    "/oncall unlayer",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/oncall unlayer 白班",),
    group=GROUP,
)
async def unlayer(name: Verbatim, *, call: Call) -> Card:
    """去掉一层轮班。

    Parameters
    ----------
    name
        层名。
    """
    roster = await _roster(desk_of(call))
    await _keep(rostering.unlayered(roster, name), "oncall-unlayer", name, call)
    return say("已去掉", name, tone=Tone.GOOD)


@command(
    "/oncall override",
    where=Where.CUSTOMER,
    examples=("/oncall override @李工 12-01T09:00 12-02T09:00 赵工请假",),
    group=GROUP,
)
async def override(who: Who, begins: str, ends: str, note: Rest = "", *, call: Call) -> Card:
    """临时调班：在一段时间里指定一个人值班。

    Parameters
    ----------
    who
        人员，用 @ 选择。
    begins
        从，例如 12-01T09:00。
    ends
        到，例如 12-02T09:00。
    note
        原因。
    """
    desk = desk_of(call)
    roster, now = await _roster(desk), desk.clock.now()
    zone = ZoneInfo(roster.zone)
    since = rostering.when(begins, now, zone)
    until = rostering.when(ends, now, zone)
    if until <= max(since, now):
        raise UsageError("结束时间要晚于开始时间，并且还没有过去")
    callee = rostering.callee_of(roster, who)
    made = await _override(roster, callee.name, since, until, note, call)
    words = f"{callee.name}：{at(since, roster)} 至 {at(until, roster)}"
    return say(f"已调班 #{made.id}", words, note, tone=Tone.GOOD)


@command("/oncall cancel", where=Where.CUSTOMER, examples=("/oncall cancel 3",), group=GROUP)
async def cancel_override(override: int, *, call: Call) -> Card:
    """取消一次临时调班。

    Parameters
    ----------
    override
        编号，见 /oncall week。
    """
    desk = desk_of(call)
    if not await desk.unit.oncall.drop(desk.owner().id, override):
        raise UsageError(f"没有调班 #{override}：请用 /oncall week 查看编号")
    await _audit("oncall-cancel", str(override), call)
    return say("已取消调班", f"#{override}", tone=Tone.GOOD)


@command("/oncall swap", where=Where.CUSTOMER, examples=("/oncall swap 12-01 12-08",), group=GROUP)
async def swap(first: str, second: str, *, call: Call) -> Card:
    """对调两天中午所在的两个班次。

    Parameters
    ----------
    first
        一天，例如 12-01。
    second
        另一天，例如 12-08。
    """
    desk = desk_of(call)
    roster, now = await _roster(desk), desk.clock.now()
    zone = ZoneInfo(roster.zone)
    one, other = (rostering.when(f"{day}T12:00", now, zone) for day in (first, second))
    if min(one, other) < now:
        raise UsageError("已经过去的班次不能对调")
    found = await _shifts(roster, now, max(one, other) + timedelta(days=31), desk)
    lines = []
    for shift, callee in rota.swapped(found, one, other):
        await _override(roster, callee.name, shift.begins, shift.ends, "对调", call)
        lines.append(f"{callee.name}：{span(shift, roster)}")
    return say("已对调", *lines, tone=Tone.GOOD)


@command(
    "/oncall handover",
    where=Where.CUSTOMER,
    examples=("/oncall handover @赵工 db-01 磁盘在扩容，22 点前不要重启",),
    group=GROUP,
)
async def handover(who: Who, note: Rest, *, call: Call) -> Card:
    """把现在的班交给另一个人，直到本班结束，并留下交接说明。

    Parameters
    ----------
    who
        人员，用 @ 选择。
    note
        交接说明：正在处理什么，要注意什么。
    """
    desk = desk_of(call)
    roster, now, by = await _roster(desk), desk.clock.now(), call.message.sender
    callee = rostering.callee_of(roster, who)
    # A month is longer than any turn that people hand over in the middle.
    shift = (await _shifts(roster, now, now + timedelta(days=31), desk))[0]
    if shift.callee != callee:
        await _override(roster, callee.name, now, shift.ends, "交接", call)
    await desk.unit.oncall.hand_over(HandedOver(0, roster.customer, now, by, callee.name, note))
    card = say("交班给您", f"{desk.owner().name}，到 {at(shift.ends, roster)}", note)
    if person := await reach.person_of(callee, desk.unit):
        await desk.unit.outbox.put(_ring(f"handover:{call.message.id}", card, person, now))
    return say(
        "已交接",
        f"{by.name} → {callee.name}，到 {at(shift.ends, roster)}",
        note,
        *await _obstacles(roster, desk, callee),
        tone=Tone.GOOD,
    )


@command("/oncall test", where=Where.CUSTOMER, examples=("/oncall test",), group=GROUP)
async def test(*, call: Call) -> Card:
    """给值班表里的每个人发一次测试呼叫，确认能联系上。"""
    desk = desk_of(call)
    roster, now = await _roster(desk), desk.clock.now()
    rung = []
    for place, callee in enumerate(roster.callees):
        if person := await reach.person_of(callee, desk.unit):
            card = say("值班测试呼叫", f"{desk.owner().name}：收到即可，无需处理")
            key = f"oncall-test:{call.message.id}:{place}"
            await desk.unit.outbox.put(_ring(key, card, person, now))
            rung.append(callee.name)
    obstacles = await _obstacles(roster, desk)
    tone = Tone.WARNING if obstacles else Tone.GOOD
    return say("测试呼叫", f"已呼叫：{rostering.names(rung)}", *obstacles, tone=tone)


@command("/oncall export", where=Where.CUSTOMER, examples=("/oncall export",), group=GROUP)
async def export(days: Annotated[int, number(1, 366)] = 92, *, call: Call) -> Card:
    """导出班次为日历文件（.ics）。

    Parameters
    ----------
    days
        天数，默认 92。
    """
    desk = desk_of(call)
    roster, now, customer = await _roster(desk), desk.clock.now(), desk.owner()
    found = await _shifts(roster, now, now + timedelta(days=days), desk)
    content = ical.written(f"{customer.name} 值班", roster, found, now)
    entry = Delivery(
        0,
        f"oncall-ics:{call.message.chat.platform}:{call.message.id}",
        call.message.chat,
        Lane.NORMAL,
        DeliveryState.WAITING,
        now,
        file_name=f"oncall-{customer.slug}.ics",
        file=content,
    )
    await desk.unit.outbox.put(entry)
    return say("值班日历", f"{len(found)} 个班次，见文件", tone=Tone.GOOD)


@command("/oncall import", where=Where.CUSTOMER, examples=("/oncall import",), group=GROUP)
async def import_(*, call: Call) -> Card:
    """把附上的日历文件（.ics）导入为临时调班。"""
    desk = desk_of(call)
    roster, now = await _roster(desk), desk.clock.now()
    if len(call.message.files) != 1:
        raise UsageError("请在同一条消息里附上一份 .ics 文件")
    entries = ical.read(call.message.files[0].content, roster)
    ahead = [entry for entry in entries if entry.ends > now]
    for entry in ahead:
        await _override(roster, entry.name, entry.begins, entry.ends, "日历导入", call)
    past = len(entries) - len(ahead)
    words = f"{len(ahead)} 个班次" + (f"；{past} 个已经过去，没有导入" if past else "")
    return say("已导入", words, tone=Tone.GOOD)


async def _roster(desk: Desk) -> Roster:
    roster = await desk.unit.oncall.roster(desk.owner().id)
    if roster is None or not roster.callees:
        raise UsageError(EMPTY)
    return roster


async def _shifts(
    roster: Roster, since: datetime, until: datetime, desk: Desk
) -> tuple[Shift, ...]:
    overrides = await desk.unit.oncall.overrides(roster.customer, since, until)
    return rota.shifts(roster, overrides, since, until)


async def _line(customer: Customer, now: datetime, desk: Desk) -> tuple[str, str, str]:
    roster = await desk.unit.oncall.roster(customer.id)
    if roster is None or not roster.callees:
        return customer.name, f"无人（{rota.NO_LAYER}）", ""
    head = (await _shifts(roster, now, now + timedelta(days=14), desk))[0]
    return customer.name, called(head), at(head.ends, roster)


async def _obstacles(roster: Roster, desk: Desk, *only: Callee) -> list[str]:
    """Say who cannot be addressed, and whom no call has reached yet."""
    found = []
    for callee in only or roster.callees:
        person = await reach.person_of(callee, desk.unit)
        if person is None:
            found.append(await reach.unknown(callee, desk.unit))
        elif not await desk.unit.escalations.proved(person):
            found.append(f"{callee.name} 还没有收到过机器人的呼叫：请用 /oncall test 验证")
    return found


async def _keep(roster: Roster, deed: str, what: str, call: Call) -> None:
    await desk_of(call).unit.oncall.save(roster)
    await _audit(deed, what, call)


async def _override(
    roster: Roster, name: str, begins: datetime, ends: datetime, note: str, call: Call
) -> Override:
    desk, by = desk_of(call), call.message.sender
    row = Override(0, roster.customer, begins, ends, name, desk.clock.now(), by, note)
    await _audit("oncall-override", f"{name} {begins.isoformat()} {ends.isoformat()}", call)
    return await desk.unit.oncall.override(row)


async def _audit(deed: str, what: str, call: Call) -> None:
    desk = desk_of(call)
    detail = {"customer": desk.owner().name, "what": what}
    await desk.unit.audit.add(desk.clock.now(), call.message.sender.name, deed, detail)


def _ring(key: str, card: Card, person: Person, now: datetime) -> Delivery:
    chat = Chat(person.platform, person.id)
    return Delivery(
        0, key, chat, Lane.NORMAL, DeliveryState.WAITING, now, card=dumps(card), ring=person
    )


ONCALL = (
    oncall,
    week,
    add,
    remove,
    layer,
    unlayer,
    override,
    cancel_override,
    swap,
    handover,
    test,
    export,
    import_,
)

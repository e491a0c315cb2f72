"""/oncall add, remove, layer and unlayer: who takes turns, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Person, Role
from commands.declare import Call, Verbatim, Where, Who, choice, command, number
from commands.desk import Desk, desk_of
from commands.oncall.desk import GROUP, YEAR, keep, roster_of, shifts_of
from runbooks.alerting.adopt import HANDOFF, MAIN
from runbooks.alerting.oncall import reach, rostering, rota
from runbooks.alerting.oncall.rota_words import DAYS, described, gaps
from storage.roster import Callee, Days, Layer, Roster


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
    roster = await _pointed(await _begun(customer.id, desk), who, desk)
    today = now.astimezone(ZoneInfo(roster.zone)).date()
    fresh = Layer(layer or MAIN, (), today - timedelta(days=today.weekday()), handoff=HANDOFF)
    if layer or not roster.layers:
        place = next((each for each in roster.layers if each.name == fresh.name), fresh)
    else:
        place = roster.layers[-1]
    before = rostering.bound(roster, who)
    callee = Callee(who.name or (before.name if before else who.id), phone, email, who)
    after = rostering.added(roster, callee, place)
    if before and before.name != callee.name:
        await desk.unit.oncall.rename(customer.id, before.name, callee.name)
    await keep(after, "oncall-add", callee.name, call)
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
    roster = await roster_of(desk)
    callee = rostering.callee_of(roster, who)
    after = rostering.removed(roster, callee)
    await keep(after, "oncall-remove", callee.name, call)
    gone = await desk.unit.oncall.drop_of(roster.customer, callee.name, desk.clock.now())
    left = rostering.names([each.name for each in after.callees])
    more = f"其 {gone} 次临时调班随之取消：请用 /oncall week 核对" if gone else ""
    return say("已移出值班", f"{callee.name}；剩余：{left}", more, tone=Tone.GOOD)


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
        起始日期，第一个人从这天开始值班，默认今天；可以是过去的，不写年份取最近的一天。
    """
    desk = desk_of(call)
    roster, now = await roster_of(desk), desk.clock.now()
    if not who:
        raise UsageError("请按轮班的顺序 @ 至少一个人")
    people = tuple(dict.fromkeys(rostering.callee_of(roster, each).name for each in who))
    today = now.astimezone(ZoneInfo(roster.zone)).date()
    begins, ends = rostering.hours_of(hours)
    made = Layer(
        name,
        people,
        rostering.nearest(since, today) if since else today,
        every,
        rostering.begin_of(handoff),
        days,
        begins,
        ends,
    )
    after = rostering.layered(roster, made)
    await keep(after, "oncall-layer", name, call)
    warnings = [rota.planned(after, now, now + YEAR)]
    warnings += gaps(await shifts_of(after, now, now + timedelta(days=14), desk), after)
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
    roster = await roster_of(desk_of(call))
    await keep(rostering.unlayered(roster, name), "oncall-unlayer", name, call)
    return say("已去掉", name, tone=Tone.GOOD)


async def _begun(customer: int, desk: Desk) -> Roster:
    """Return the customer's roster; one without layers has no hours yet, and goes by the house's
    zone."""
    known = await desk.unit.oncall.roster(customer) or Roster(customer, "")
    return known if known.layers else replace(known, zone=str(desk.house.zone))


async def _pointed(roster: Roster, who: Person, desk: Desk) -> Roster:
    """Return the roster in which whoever is known by name alone is pointed at, if it is them: their
    name may be another one now."""
    callees = [
        replace(each, person=who)
        if each.person is None and await reach.person_of(each, desk.unit) == who
        else each
        for each in roster.callees
    ]
    return replace(roster, callees=tuple(callees))


ROSTER = (add, remove, layer, unlayer)

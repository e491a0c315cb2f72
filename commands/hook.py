"""/hook: the addresses that this group's customer's monitors post to."""

from __future__ import annotations

from datetime import timedelta, tzinfo
from enum import StrEnum
from typing import Annotated

from adapters.card import Block, Card, Table, Text, Tone, say
from adapters.port import UsageError
from adapters.sources import vigilops
from adapters.words import Role
from commands.declare import Call, Verbatim, Where, choice, command, number
from commands.desk import desk_of
from runbooks import hook_address
from runbooks.kit import House
from storage.hooks import Address

SHOWN = 30
"""Jobs of a list: those that are silent, and those that must call next."""
NAME = 50
"""Characters of a job's name there."""

WHISPERED = "领取地址的一次性链接将私信给您：地址含密钥，请不要发到群里"


class Scope(StrEnum):
    """Which addresses are shut."""

    OLD = "old"
    """Those that were exchanged."""
    ALL = "all"


SCOPES = {"旧地址": Scope.OLD, "全部": Scope.ALL}


@command(
    "/hook list", role=Role.ENGINEER, where=Where.CUSTOMER, examples=("/hook list",), group="告警"
)
async def list_(*, call: Call) -> Card:
    """列出本群客户的告警接入和心跳。"""
    desk = desk_of(call)
    owner, zone = desk.owner().id, desk.house.zone
    now = desk.clock.now()
    opened = [
        each
        for each in await desk.unit.hooks.of(owner)
        if each.ends_at is None or each.ends_at > now
    ]
    beats = await desk.unit.heartbeats.of(owner)
    blocks: list[Block] = []
    if opened:
        rows = tuple(
            (each.source, f"{each.at.astimezone(zone):%Y-%m-%d %H:%M}", _stand(each, zone))
            for each in opened
        )
        blocks.append(Table(("告警源", "开通时间", "状态"), rows))
    if beats:
        silent_first = sorted(beats, key=lambda each: (not each.missed, each.due, each.name))
        rows3 = tuple(
            (
                beat.name[:NAME],
                f"每 {beat.every // 60} 分钟",
                "中断" if beat.missed else f"{beat.due.astimezone(zone):%m-%d %H:%M} 前",
            )
            for beat in silent_first[:SHOWN]
        )
        blocks.append(Table(("心跳", "周期", "下次报到"), rows3))
        if len(beats) > SHOWN:
            blocks.append(Text(f"另有 {len(beats) - SHOWN} 个任务"))
    if not blocks:
        blocks.append(Text(f"还没有。用 /hook add 告警源 开通：{_offered(desk.house)}"))
    return Card("告警接入", blocks=tuple(blocks))


@command(
    "/hook add",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/hook add alertmanager", "/hook add zabbix"),
    group="告警",
)
async def add(source: str, *, call: Call) -> Card:
    """开通一个告警源，私信给您领取地址的一次性链接；已有的地址继续有效。

    Parameters
    ----------
    source
        告警源，例如 alertmanager、grafana、zabbix，或配置 [sources] 里的名字。
    """
    desk = desk_of(call)
    name = _known(source, desk.house)
    by, now = call.message.sender, desk.clock.now()
    title = desk.house.sources[name]
    run = await hook_address.open_hook(desk.owner(), name, title, by, now, desk.unit)
    desk.begun.append(run)
    return say(f"开通 {title}", WHISPERED, tone=Tone.WORKING)


@command(
    "/hook rotate",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/hook rotate alertmanager",),
    group="告警",
)
async def rotate(source: str, *, call: Call) -> Card:
    """更换一个告警源的地址；旧地址在新地址被领取之后再用一段时间（默认 24 小时）。

    Parameters
    ----------
    source
        告警源，见 /hook list。
    """
    desk = desk_of(call)
    name, owner = _known(source, desk.house), desk.owner()
    if name not in {each.source for each in await desk.unit.hooks.of(owner.id)}:
        raise UsageError(f"还没有开通 {name}：请用 /hook add {name}")
    by, now, title = call.message.sender, desk.clock.now(), desk.house.sources[name]
    run = await hook_address.rotate(owner, name, title, by, now, desk.unit)
    desk.begun.append(run)
    hours = int(desk.house.hook_grace.total_seconds()) // 3600
    old = (
        f"旧地址继续有效，直到新地址被领取后 {hours} 小时，或新地址收到告警后 1 小时；"
        f"已经泄露的请立即输入 /hook revoke {name}"
    )
    return say(f"更换 {title} 的地址", WHISPERED, old, tone=Tone.WORKING)


@command(
    "/hook revoke",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/hook revoke alertmanager", "/hook revoke alertmanager 全部"),
    group="告警",
)
async def revoke(
    source: str, which: Annotated[Scope, choice(SCOPES)] = Scope.OLD, *, call: Call
) -> Card:
    """立即关闭一个告警源的地址：更换过的旧地址，或全部。

    Parameters
    ----------
    source
        告警源，见 /hook list。
    which
        范围，旧地址（默认）或全部。
    """
    desk = desk_of(call)
    owner, there = desk.owner(), desk.unit.hooks
    name = _named(source)
    if name not in {each.source for each in await there.of(owner.id)}:
        # What was opened can be shut, though the configuration describes it no more.
        name = _known(source, desk.house)
    if which is Scope.ALL:
        gone = await there.revoke(owner.id, name)
    else:
        gone = await there.revoke_old(owner.id, name)
    if not gone and which is Scope.OLD:
        raise UsageError(f"{name} 没有旧地址：要关闭现有的地址，请输入 /hook revoke {name} 全部")
    if not gone:
        raise UsageError(f"还没有开通 {name}：请用 /hook add {name}")
    detail = {"customer": owner.name, "source": name, "which": str(which), "count": str(gone)}
    await desk.unit.audit.add(desk.clock.now(), call.message.sender.name, "hook-revoke", detail)
    title = desk.house.sources.get(name, name)
    return say(f"已关闭 {title} 的 {gone} 个地址", "再发来的告警会得到 404", tone=Tone.GOOD)


@command(
    "/hook beat",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/hook beat 每日备份 1500",),
    group="告警",
)
async def beat(name: Verbatim, minutes: Annotated[int, number(1, 100_000)], *, call: Call) -> Card:
    """登记一个必须定期报到的任务，超时没有报到就告警。

    Parameters
    ----------
    name
        任务名，同名的会被替换。
    minutes
        分钟，这么久之内必须报到一次。
    """
    desk = desk_of(call)
    by, now, every = call.message.sender, desk.clock.now(), timedelta(minutes=minutes)
    run = await hook_address.expect(desk.owner(), name[:200], every, by, now, desk.unit)
    desk.begun.append(run)
    return say(f"心跳 {name[:200]}", f"每 {minutes} 分钟一次。{WHISPERED}", tone=Tone.WORKING)


@command(
    "/hook unbeat",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/hook unbeat 每日备份",),
    group="告警",
)
async def unbeat(name: Verbatim, *, call: Call) -> Card:
    """不再等一个任务报到：它的地址立即作废，它的告警随即结束。

    Parameters
    ----------
    name
        任务名，见 /hook list。
    """
    desk, job = desk_of(call), name[:200]
    owner, now = desk.owner(), desk.clock.now()
    if not await desk.unit.heartbeats.retire(owner.id, job):
        raise UsageError(f"没有登记过任务「{job[:50]}」：已登记的见 /hook list")
    detail = {"customer": owner.name, "job": job}
    await desk.unit.audit.add(now, call.message.sender.name, "hook-unbeat", detail)
    return say(f"不再等待 {job}", "它再来报到会得到 404；正在触发的心跳告警会结束", tone=Tone.GOOD)


def _named(source: str) -> str:
    name = source.strip().lower()
    if name == vigilops.NAME:
        raise UsageError("VigilOps 的地址由接入流程自动配置，不用手工开通")
    return name


def _known(source: str, house: House) -> str:
    """Return the name of a source that people may open; UsageError tells which there are."""
    name = _named(source)
    if name not in house.sources:
        raise UsageError(f"没有告警源「{name[:50]}」，可用：{_offered(house)}")
    return name


def _offered(house: House) -> str:
    return "、".join(each for each in house.sources if each != vigilops.NAME)


def _stand(address: Address, zone: tzinfo) -> str:
    if address.ends_at:
        return f"旧地址，{address.ends_at.astimezone(zone):%m-%d %H:%M} 关闭"
    return "有效；已申请更换，新地址待领取" if address.successor else "有效"


HOOK = (list_, add, rotate, revoke, beat, unbeat)

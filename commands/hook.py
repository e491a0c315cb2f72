"""/hook: the addresses that this group's customer's monitors post to."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from adapters.card import Block, Card, Table, Text, Tone, say
from adapters.port import UsageError
from adapters.sources import SOURCES, vigilops
from adapters.words import Role
from commands.declare import Call, Verbatim, Where, command, number
from commands.desk import desk_of
from runbooks import hook_address

WHISPERED = "地址将私信给您，含密钥，请不要发到群里"


@command(
    "/hook list", role=Role.ENGINEER, where=Where.CUSTOMER, examples=("/hook list",), group="告警"
)
async def list_(*, call: Call) -> Card:
    """列出本群客户的告警接入和心跳。"""
    desk = desk_of(call)
    owner, zone = desk.owner().id, desk.house.zone
    opened = await desk.unit.hooks.of(owner)
    beats = await desk.unit.heartbeats.of(owner)
    blocks: list[Block] = []
    if opened:
        rows = tuple((source, f"{at.astimezone(zone):%Y-%m-%d %H:%M}") for source, at in opened)
        blocks.append(Table(("告警源", "开通时间"), rows))
    if beats:
        rows3 = tuple(
            (
                beat.name,
                f"每 {beat.every // 60} 分钟",
                "中断" if beat.missed else f"{beat.due.astimezone(zone):%m-%d %H:%M} 前",
            )
            for beat in beats
        )
        blocks.append(Table(("心跳", "周期", "下次报到"), rows3))
    if not blocks:
        blocks.append(Text(f"还没有。用 /hook add 告警源 开通：{'、'.join(SOURCES)}"))
    return Card("告警接入", blocks=tuple(blocks))


@command(
    "/hook add",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/hook add alertmanager", "/hook add zabbix"),
    group="告警",
)
async def add(source: str, *, call: Call) -> Card:
    """开通一个告警源，地址私信给您；已有的地址继续有效。

    Parameters
    ----------
    source
        告警源，例如 alertmanager、grafana、zabbix。
    """
    desk, name = desk_of(call), _known(source)
    by, now = call.message.sender, desk.clock.now()
    title = _title(name)
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
    """更换一个告警源的地址，旧地址几秒内失效。

    Parameters
    ----------
    source
        告警源，见 /hook list。
    """
    desk, name = desk_of(call), _known(source)
    owner = desk.owner()
    if name not in {each for each, _ in await desk.unit.hooks.of(owner.id)}:
        raise UsageError(f"还没有开通 {name}：请用 /hook add {name}")
    by, now, title = call.message.sender, desk.clock.now(), _title(name)
    run = await hook_address.rotate(owner, name, title, by, now, desk.unit)
    desk.begun.append(run)
    return say(f"更换 {title} 的地址", f"{WHISPERED}；旧地址几秒内失效", tone=Tone.WORKING)


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


def _known(source: str) -> str:
    name = source.strip().lower()
    if name == vigilops.NAME:
        raise UsageError("VigilOps 的地址由接入流程自动配置，不用手工开通")
    if name not in SOURCES:
        offered = "、".join(each for each in SOURCES if each != vigilops.NAME)
        raise UsageError(f"没有告警源「{name[:50]}」，可用：{offered}")
    return name


def _title(name: str) -> str:
    return SOURCES[name].title


HOOK = (list_, add, rotate, beat)

"""/monitor: the monitor of this group's customer."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Role
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks import credentials
from runbooks.onboarding import ONBOARDING
from runbooks.steps.deploy import is_ours
from runbooks.walk import load


@command(
    "/monitor password",
    role=Role.LEAD,
    where=Where.CUSTOMER,
    examples=("/monitor password",),
    group="服务器",
)
async def password(*, call: Call) -> Card:
    """给出一次性链接，登记机器人在已有监控实例上的账号密码。"""
    desk = desk_of(call)
    customer, by = desk.owner(), call.message.sender
    runs = await desk.unit.runs.of(customer.id, ONBOARDING.name)
    if runs and is_ours(load(ONBOARDING, runs[0])):
        raise UsageError("只有方式 C 需要：我方部署的实例由机器人自己保管账号密码")
    run = await credentials.ask_monitor(customer, by, desk.clock.now(), desk.unit)
    desk.begun.append(run)
    return say("登记监控账号密码", "一次性链接和验证码将私信给您，不要发到群里", tone=Tone.WORKING)


MONITOR = (password,)

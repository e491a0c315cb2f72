"""/role: what a person may do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Person, Role
from commands.declare import Call, Who, choice, command
from commands.desk import Desk, desk_of
from storage.records import Member


class Duty(StrEnum):
    """A role, or none."""

    ENGINEER = "engineer"
    LEAD = "lead"
    CUSTOMER = "customer"
    NONE = "none"


DUTIES = {
    "工程师": Duty.ENGINEER,
    "负责人": Duty.LEAD,
    "客户": Duty.CUSTOMER,
    "无": Duty.NONE,
}
_NAMES = {duty: name for name, duty in DUTIES.items()}


@command(
    "/role",
    role=Role.LEAD,
    examples=("/role @李工 engineer", "/role @王经理 客户"),
    group="人员",
)
async def role(who: Who, duty: Annotated[Duty, choice(DUTIES)], *, call: Call) -> Card:
    """设置一个人的角色；在客户群里设为客户即属于该客户。

    Parameters
    ----------
    who
        人员，用 @ 选择。
    duty
        角色：engineer、lead、customer 或 none。
    """
    desk = desk_of(call)
    await _keep_a_lead(who, duty, desk)
    if duty is Duty.NONE:
        await desk.unit.people.drop(who)
    else:
        await desk.unit.people.put(Member(who, Role(duty), _tie(duty, desk)))
    now = desk.clock.now()
    detail = {"person": who.id, "role": str(duty)}
    await desk.unit.audit.add(now, call.message.sender.name, "role", detail)
    return say("角色已设置", f"{who.name or who.id}：{_NAMES[duty]}", tone=Tone.GOOD)


async def _keep_a_lead(who: Person, duty: Duty, desk: Desk) -> None:
    leads = {member.person for member in await desk.unit.people.with_role(Role.LEAD)}
    if leads == {who} and duty is not Duty.LEAD:
        raise UsageError("这是最后一位负责人，不能降级：请先 /role @别人 lead")


def _tie(duty: Duty, desk: Desk) -> int | None:
    if duty is not Duty.CUSTOMER:
        return None
    if desk.customer is None:
        raise UsageError("「客户」角色要在该客户的群里设置：请到客户群里输入 /role @某人 customer")
    return desk.customer.id

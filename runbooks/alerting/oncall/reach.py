"""Can somebody who is on call be reached at all? Found out before the night, not in it."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.port import ChatPlatform
from adapters.words import Person, Role
from storage.roster import Callee
from storage.store import Unit


async def person_of(callee: Callee, unit: Unit) -> Person | None:
    """Return who a callee is in chat: whoever was pointed at, or the one of our people with that
    name; None when there is none, or more than one."""
    if callee.person:
        return callee.person
    staff = [*await unit.people.with_role(Role.ENGINEER), *await unit.people.with_role(Role.LEAD)]
    # A customer's people may bear the same name: they are not who is on call.
    found = [m.person for m in staff if m.customer is None and m.person.name == callee.name]
    return found[0] if len(found) == 1 else None


async def unknown(callee: Callee, unit: Unit) -> str:
    """Say why nothing is known of a callee in chat; empty when they can be addressed."""
    if await person_of(callee, unit):
        return ""
    return f"{callee.name} 没有对应任何平台的人员：请输入 /oncall add @{callee.name}"


async def obstacle(callee: Callee, chats: Mapping[str, ChatPlatform], unit: Unit) -> str:
    """Say why somebody cannot be rung; empty when nothing is known to be in the way."""
    person = await person_of(callee, unit)
    if person is None:
        return await unknown(callee, unit)
    platform = chats.get(person.platform)
    if platform is None:
        return f"{callee.name} 所在的平台 {person.platform} 没有启用"
    if platform.can.needs_prior_contact and not await unit.escalations.proved(person):
        return (
            f"{callee.name} 还没有和机器人说过话，{person.platform} 不允许机器人先联系："
            "请本人先给机器人发一条消息，再用 /oncall test 验证"
        )
    return ""

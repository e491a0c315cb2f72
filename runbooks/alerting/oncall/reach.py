"""Can somebody who is on call be reached at all? Found out before the night, not in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from adapters.port import ChatPlatform
from adapters.words import Person, Role
from runbooks.reach import GATEWAY, notify_name
from runbooks.walk import OPERATIONS
from storage.records import Customer
from storage.roster import Callee, Policy, Way
from storage.store import Unit

BY_ACCOUNT = frozenset({Way.MENTION, Way.DIRECT, Way.RING})
"""The ways that need to know who somebody is in chat."""


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
    """Say why somebody cannot be rung, or not acknowledge what they are rung for; empty when nothing
    is known to be in the way."""
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
    member = await unit.people.get(person)
    if member is None or member.customer is not None or member.role is Role.CUSTOMER:
        return (
            f"{callee.name} 不是工程师或负责人，收到呼叫后不能确认："
            f"请负责人输入 /role @{callee.name} engineer，或用 /oncall remove 移出"
        )
    return ""


async def obstacles(
    callee: Callee, ways: Collection[Way], chats: Mapping[str, ChatPlatform], unit: Unit
) -> list[str]:
    """Say why somebody cannot be called by one of these ways; empty when nothing is known to be in
    the way."""
    by_account = await obstacle(callee, chats, unit) if BY_ACCOUNT & set(ways) else ""
    return [*([by_account] if by_account else []), *unregistered(callee, ways, chats)]


def unregistered(
    callee: Callee, ways: Collection[Way], chats: Mapping[str, ChatPlatform]
) -> list[str]:
    """Say which number or address of somebody these ways want and is not known."""
    add = f"请输入 /oncall add @{callee.name}"
    found = []
    # A customer's own webhook need not be a telephone's.
    if Way.WEBHOOK in ways and GATEWAY in chats and not callee.phone:
        found.append(f"{callee.name} 没有登记电话：{add} 电话")
    if Way.EMAIL in ways and not callee.email:
        found.append(f"{callee.name} 没有登记邮箱：{add} --email 邮箱")
    return found


async def shut(
    customer: Customer, policy: Policy, chats: Mapping[str, ChatPlatform], unit: Unit
) -> list[str]:
    """Say which ways of a customer's policy reach nobody, whoever is called."""
    ways = {way for level in policy.levels for way in level.ways}
    found = []
    if Way.MENTION in ways:
        found.append(await _no_group(customer, chats, unit))
    if Way.WEBHOOK in ways and GATEWAY not in chats:
        found.append(await _no_webhook(customer, chats, unit))
    if Way.EMAIL in ways and Way.EMAIL not in chats:
        found.append("升级方式「邮件」不通：没有配置邮件通道（channels.mail）")
    return [why for why in found if why]


async def _no_group(customer: Customer, chats: Mapping[str, ChatPlatform], unit: Unit) -> str:
    operations = await unit.outbox.living(OPERATIONS)
    chat = customer.chat or (operations.chat if operations else None)
    if chat is None:
        return "升级方式「群内@」不通：客户还没有绑定群"
    if chat.platform not in chats:
        return f"升级方式「群内@」不通：群所在的平台 {chat.platform} 没有启用"
    return ""


async def _no_webhook(customer: Customer, chats: Mapping[str, ChatPlatform], unit: Unit) -> str:
    if Way.WEBHOOK not in chats:
        return (
            "升级方式「webhook」不通：没有配置电话网关（escalation.gateway_url），"
            "也没有 Webhook 通道（channels.webhook）"
        )
    if await unit.vault.get(notify_name(customer.id, Way.WEBHOOK)) is None:
        return "升级方式「webhook」不通：没有配置电话网关，客户也没有登记 Webhook 地址"
    return ""

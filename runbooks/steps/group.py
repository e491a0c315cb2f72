"""Phase 1: the customer's group, made once or bound."""

from __future__ import annotations

from dataclasses import replace

from adapters.port import InDoubt, Permanent
from adapters.words import Chat, Role
from runbooks.case import Onboarding
from runbooks.credentials import offer
from runbooks.kit import Errand


async def bound(case: Onboarding, errand: Errand) -> str:
    """Does a group belong to the customer already?"""
    async with errand.kit.store.view() as unit:
        customer = await unit.customers.get(case.customer)
    if customer is None or customer.chat is None:
        return ""
    return f"已绑定群「{customer.chat.title or customer.chat.id}」"


async def make(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Create the group with the engineer who began and the leads, and make it the customer's."""
    kit = errand.kit
    async with kit.store.view() as unit:
        run = await unit.runs.get(errand.run)
        leads = await unit.people.with_role(Role.LEAD)
    assert run is not None
    begun_by = run.started_by
    others = [m.person for m in leads if m.person.platform == begun_by.platform]
    team = (begun_by, *(person for person in others if person != begun_by))
    platform = kit.chats[begun_by.platform]
    if not platform.can.creates_chats:
        raise Permanent("这个平台不能由机器人建群：请先手工建群，再在群里输入 /bind，然后重试")
    title = f"{case.company} 监控交付"

    async def do() -> str:
        key = errand.key("open")
        return (await platform.open_chat(title, team, key=key)).id

    async def look() -> str:
        if platform.can.has_idempotency:
            return await do()  # the same key gives the group that is there
        raise InDoubt("不能确认群是否已经建立：请查看群列表，建好了就在群里 /bind")

    chat = Chat(platform.name, await errand.once("group", do, look), title)
    async with kit.store.unit() as unit:
        await unit.customers.bind(case.customer, chat)
        customer = await unit.customers.get(case.customer)
        assert customer is not None
        await offer(customer, chat, kit.clock.now(), unit)
    return replace(case, group=chat), f"群「{title}」"

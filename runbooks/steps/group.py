"""Phase 1: the customer's group, made once or bound."""

from __future__ import annotations

from dataclasses import replace

from adapters.port import InDoubt, Permanent
from adapters.words import Chat, Person, Role
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
    """Create the group with the engineer who began and the leads, and the customer's own people
    where they can be asked in by mail; make it the customer's."""
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
        raise Permanent(
            "不能由机器人建群：请手工建群、拉进机器人，在群里 @机器人 /bind 公司名，会自动继续"
        )
    title = f"{case.company} 监控交付"
    guests = [
        Person(platform.name, contact.email, contact.name)
        for contact in case.contacts
        if contact.email and platform.can.invites_by_mail
    ]

    async def do() -> str:
        key = errand.key("open")
        return (await platform.open_chat(title, (*team, *guests), key=key)).id

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
    invited = f"，已向 {len(guests)} 位客户联系人发出邮件邀请" if guests else ""
    return replace(case, group=chat), f"群「{title}」{invited}"

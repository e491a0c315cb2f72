"""Phase 1: the contract and the customer sheet, drawn up and put into the group."""

from __future__ import annotations

from dataclasses import asdict, replace

from adapters.port import Paper, Permanent
from adapters.words import File
from runbooks.case import Onboarding
from runbooks.kit import Errand
from storage.records import TIER_NAMES, Delivery, DeliveryState, Lane


async def draft(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Draw up the service contract with the tier's SLA terms, and send it to the group."""
    house = errand.kit.house
    today = errand.kit.clock.now().astimezone(house.zone).date()
    number = case.contract or f"VB-{today:%Y%m%d}-{case.customer:04}"
    contact = case.contacts[0]
    paper = Paper(
        "contract",
        f"服务合同-{case.company}.docx",
        {
            "number": number,
            "company": case.company,
            "contact": contact.name,
            "phone": contact.phone,
            "provider": house.provider,
            "provider_contact": house.contact,
            "provider_phone": house.phone,
            "tier": str(case.tier),
            "server_count": len(case.servers),
            "systems": list(case.systems),
            "start": today.isoformat(),
            "term": "12 个月",
            "signed_on": today.isoformat(),
        },
    )
    file = await _written(paper, errand)
    return replace(case, contract=number), f"{file.name}（{number}）"


async def sheet(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Fill in the customer sheet with every server as it was declared."""
    async with errand.kit.store.view() as unit:
        servers = await unit.servers.of(case.customer)
    paper = Paper(
        "customer-sheet",
        f"客户信息表-{case.company}.xlsx",
        {
            "company": case.company,
            "contacts": [asdict(contact) for contact in case.contacts],
            "tier": str(case.tier),
            "systems": list(case.systems),
            "monitoring": case.monitoring,
            "channels": list(case.channels),
            "servers": list(servers),
        },
    )
    file = await _written(paper, errand)
    return case, f"{file.name}：{len(servers)} 台服务器，{TIER_NAMES[case.tier]}"


async def _written(paper: Paper, errand: Errand) -> File:
    """Write a document and put it into the outbox under this line's key: never twice."""
    file = await errand.kit.documents.write(paper)
    async with errand.kit.store.unit() as unit:
        run = await unit.runs.get(errand.run)
        customer = await unit.customers.get(run.customer) if run else None
        if customer is None or customer.chat is None:
            raise Permanent("客户还没有群：请在客户群里输入 /bind")
        await unit.outbox.put(
            Delivery(
                0,
                errand.key("file"),
                customer.chat,
                Lane.NORMAL,
                DeliveryState.WAITING,
                errand.kit.clock.now(),
                file_name=file.name,
                file=file.content,
            )
        )
    return file

"""Phase 5, its end: papers into the group, the account by a one-time link, and service begins."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence

from adapters.card import Card, Checklist, Fields, Item, Mark, Style, Text, Tone, dumps
from adapters.port import Account, Paper, Permanent
from adapters.words import Chat, Secret
from runbooks import evidence as proofs
from runbooks.alerting.adopt import adopt
from runbooks.case import Contact, Onboarding
from runbooks.duties import Rhythm, owed
from runbooks.kit import Errand, House
from runbooks.steps import tickets
from runbooks.steps.acceptance import evidence_of, lines_of
from runbooks.steps.monitor import monitor
from storage.records import (
    TIER_NAMES,
    Customer,
    Delivery,
    DeliveryState,
    Lane,
    Line,
    LineState,
    Signature,
)
from storage.store import Unit

ROLE = "viewer"
"""More would be dangerous: an operator may add a second channel, and two of them break the
monitor's notifying (facts/vigilops.md)."""

COMMANDS = (
    {"name": "/status", "use": "查看当前进度"},
    {"name": "/whoami", "use": "查看自己的身份"},
    {"name": "/help", "use": "查看可用命令"},
)
"""What the customer may type, as the manual tells it."""

NONE = "—"

RHYTHMS = {
    Rhythm.ALWAYS: "日常",
    Rhythm.WEEKLY: "每周",
    Rhythm.MONTHLY: "每月",
    Rhythm.QUARTERLY: "每季",
}


async def report(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Write the acceptance report, sealed with the hash that was signed, and put it into the group."""
    kit = errand.kit
    async with kit.store.view() as unit:
        evidence = await evidence_of(case, errand.run, unit)
        signed = await unit.signatures.of(errand.run)
        lines = await lines_of(case, unit)
    hash_ = case.evidence or NONE
    at = kit.clock.now().astimezone(kit.house.zone)
    items = [
        {"text": i.title, "result": str(i.result), "evidence": i.evidence, "at": i.at}
        for i in (evidence.items if evidence else ())
    ]
    skipped = [
        {"text": proofs.title_of(key), "reason": line.note, "by": line.by.name if line.by else NONE}
        for key, line in sorted(lines.items())
        if line.state is LineState.SKIPPED
    ]
    number = f"ACC-{case.contract or errand.run}-{case.round}"
    values = {
        **_common(case, kit.house),
        "number": number,
        "url": _address(case),
        "at": f"{at:%Y-%m-%d %H:%M}",
        "items": items or [{"text": "验收检查单", "result": "跳过", "evidence": "", "at": ""}],
        "skipped": skipped,
        "signatures": _signed(signed, lines, kit.house),
        "evidence_hash": hash_,
    }
    paper = Paper("acceptance", f"验收报告-{case.company}.docx", values)
    name = await _put(paper, case, errand)
    return case, f"{name}（{number}，{len(signed)} 条签字记录，哈希 {proofs.short(hash_)}）"


async def papers(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Put the report template, the emergency contacts and the user manual into the group."""
    house = errand.kit.house
    async with errand.kit.store.view() as unit:
        group = (await _home(case, unit))[1]
    common = _common(case, house)
    company = case.company
    wanted = (
        Paper("report-template", f"运维报告模板-{company}.docx", {**common, "period": ""}),
        Paper(
            "contacts",
            f"紧急联系方式-{company}.docx",
            {**common, "people": contacts(case, house), "escalation": escalation(case, house)},
        ),
        Paper(
            "manual",
            f"服务使用手册-{company}.docx",
            {
                **common,
                "url": _address(case),
                "group": group.title or group.id,
                "commands": list(COMMANDS),
            },
        ),
    )
    return case, "、".join([await _put(paper, case, errand) for paper in wanted])


async def account(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Make the customer's own account on the monitor, and hand it over by a one-time link."""
    kit = errand.kit
    async with kit.store.view() as unit:
        customer, _ = await _home(case, unit)
        run = await unit.runs.get(errand.run)
    assert run is not None
    email = login_name(case, customer, kit.house)
    name = password_name(case)
    watch = await monitor(case, errand)
    password = await _password(name, errand)
    await watch.create_user(email, f"{case.company} 管理员", ROLE, password)
    told = await tickets.tell(
        errand,
        "account",
        "handover",
        _subject(case, email),
        run.started_by,
        case.contacts[0].name,
    )
    return case, f"账号已建立（只读），{told}"


async def reset(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Give the customer's account a new password, and prove by a sign-in that it is the one."""
    kit = errand.kit
    async with kit.store.view() as unit:
        customer, _ = await _home(case, unit)
    email = login_name(case, customer, kit.house)
    new = f"{password_name(case)}:{errand.run}"
    password = await _password(new, errand)
    await (await monitor(case, errand)).set_password(email, password)
    # The customer's own session ends with it, as with any new password.
    await kit.monitors.at(case.url, Account(email, password)).me()
    async with kit.store.unit() as unit:
        await unit.vault.put(password_name(case), password)
        await unit.vault.drop(new)
    return case, f"{email} 的密码已重设，并已登录核对"


async def link(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Hand the account over by a new one-time link; an unopened one stops to work."""
    kit = errand.kit
    async with kit.store.view() as unit:
        customer, _ = await _home(case, unit)
        run = await unit.runs.get(errand.run)
    assert run is not None
    subject = _subject(case, login_name(case, customer, kit.house))
    name = case.contacts[0].name
    told = await tickets.tell(errand, "account", "handover", subject, run.started_by, name)
    return case, told


async def service(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Begin the continuous operations, and say in the group what is owed from now on."""
    kit = errand.kit
    async with kit.store.unit() as unit:
        customer, chat = await _home(case, unit)
        since = customer.in_service_since or kit.clock.now()
        if customer.in_service_since is None:
            await unit.customers.begin_service(customer.id, since)
        minutes = case.escalate_after
        await adopt(customer.id, case.on_call, minutes, kit.house, since, unit)
        card = begun(case, f"{since.astimezone(kit.house.zone):%Y-%m-%d}")
        await unit.outbox.put(_delivery(errand, "begun", chat, card=dumps(card)))
    return case, f"自 {since.astimezone(kit.house.zone):%Y-%m-%d %H:%M} 进入持续运维"


def begun(case: Onboarding, day: str) -> Card:
    """Return the card that says that service has begun."""
    duties = tuple(
        Item(Mark.TODO, f"{RHYTHMS[duty.rhythm]}：{duty.title}") for duty in owed(case.tier)
    )
    facts = (("客户", case.company), ("服务等级", TIER_NAMES[case.tier]), ("开始日期", day))
    note = Text("登录地址和账号已通过一次性链接交付，不在群里发送", Style.QUIET)
    return Card("进入持续运维", Tone.GOOD, (Fields(facts), Checklist(duties), note))


def contacts(case: Onboarding, house: House) -> list[dict[str, str]]:
    """Return who is called: the house, who is on call, and the customer's own people."""
    first = {"name": house.contact, "role": f"{house.provider} 联系人", "phone": house.phone}
    ours = [_called(each, each.role or "值班") for each in case.on_call]
    theirs = [_called(each, each.role or "客户联系人") for each in case.contacts]
    return [{**first, "channel": "客户群"}, *ours, *theirs]


def escalation(case: Onboarding, house: House) -> list[dict[str, str]]:
    """Return whom an alert reaches that nobody acknowledges, and after how long."""
    minutes = case.escalate_after or house.escalate_after
    names = [contact.name for contact in case.on_call] or [house.contact]
    return [
        {
            "after": f"{after} 分钟",
            "who": names[min(level, len(names) - 1)],
            "how": "群内 @ 与私信",
        }
        for level, after in enumerate(minutes)
    ]


def login_name(case: Onboarding, customer: Customer, house: House) -> str:
    """Return the account's e-mail: the first contact's, or one of the house's domain."""
    email = case.contacts[0].email if case.contacts else ""
    return email or f"{customer.slug}@{house.account.partition('@')[2]}"


def password_name(case: Onboarding) -> str:
    """Return the name under which the vault has the account's password until it is handed over."""
    return f"customer:{case.customer}:login"


def _subject(case: Onboarding, email: str) -> str:
    """Return what a handover's link is for: the same for the same account, so that one is open."""
    name = password_name(case)
    subject = {"customer": case.customer, "url": _address(case), "email": email, "secret": name}
    return json.dumps(subject, ensure_ascii=False)


async def _password(name: str, errand: Errand) -> Secret:
    async with errand.kit.store.unit() as unit:
        known = await unit.vault.get(name)
        if known:
            return known
        # The monitor wants a letter and a digit.
        made = Secret(f"{secrets.token_urlsafe(15)}a1")
        await unit.vault.put(name, made)
    return made


def _called(contact: Contact, role: str) -> dict[str, str]:
    return {
        "name": contact.name,
        "role": role,
        "phone": contact.phone or NONE,
        "channel": contact.email,
    }


def _common(case: Onboarding, house: House) -> dict[str, object]:
    return {"company": case.company, "provider": house.provider, "tier": str(case.tier)}


def _address(case: Onboarding) -> str:
    address = case.console or case.url
    if not address:
        raise Permanent("还没有监控的登录地址：请先完成「环境评估与部署」")
    return address


def _signed(
    signed: Sequence[Signature], lines: Mapping[str, Line], house: House
) -> list[dict[str, str]]:
    """Return the signatures and refusals; when the lead skipped them, who did and why."""
    rows = [
        {
            "role": _role(each),
            "name": each.signer,
            "at": f"{each.at.astimezone(house.zone):%Y-%m-%d %H:%M:%S}",
            "hash": each.evidence,
        }
        for each in signed
    ]
    if rows:
        return rows
    line = lines.get("sign")
    by, why = (line.by, line.note) if line else (None, "")
    return [
        {"role": f"未签字（跳过：{why or NONE}）", "name": by.name if by else NONE}
        | {"at": NONE, "hash": NONE}
    ]


def _role(signature: Signature) -> str:
    who = f"代理人（代 {signature.deputy_for}）" if signature.deputy_for else "客户验收人"
    way = "，链接签字" if signature.way == "link" else ""
    return who + way if signature.accepted else f"{who}{way}，不通过：{signature.reason}"


async def _home(case: Onboarding, unit: Unit) -> tuple[Customer, Chat]:
    customer = await unit.customers.get(case.customer)
    if customer is None or customer.chat is None:
        raise Permanent("客户还没有群：请在客户群里输入 /bind")
    return customer, customer.chat


async def _put(paper: Paper, case: Onboarding, errand: Errand) -> str:
    """Write a document and put it into the outbox under this line's key: never twice."""
    file = await errand.kit.documents.write(paper)
    async with errand.kit.store.unit() as unit:
        _, chat = await _home(case, unit)
        await unit.outbox.put(
            _delivery(errand, paper.template, chat, file_name=file.name, file=file.content)
        )
    return file.name


def _delivery(
    errand: Errand, deed: str, chat: Chat, *, card: str = "", file_name: str = "", file: bytes = b""
) -> Delivery:
    return Delivery(
        0,
        errand.key(deed),
        chat,
        Lane.NORMAL,
        DeliveryState.WAITING,
        errand.kit.clock.now(),
        card=card,
        file_name=file_name,
        file=file,
    )

"""A customer's word on whether a model may look at their alerts: no, until they say yes on a card that
names what is sent, and to whom.

It holds for the address that the card named. A model elsewhere is another question, and a withdrawal
takes effect at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from adapters.card import Block, Button, Buttons, Card, Fields, Style, Text, Tone, dumps
from adapters.port import UsageError
from adapters.words import Person, Role
from runbooks.kit import House
from storage.advice import CONSENT
from storage.records import Choice, Customer, Delivery, DeliveryState, Lane, Tier
from storage.store import Unit

STALE = "模型已换了地址，这张卡片已过期：请输入 /ai 看最新的"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a button of the card says: yes or no, to a model at that address."""

    yes: bool
    to: str


def action(answer: Answer) -> str:
    """Return what is written on a button."""
    return "|".join(("ai", "yes" if answer.yes else "no", answer.to))


def answered(text: str) -> Answer | None:
    """Return what a pressed button says; None when it is no button of this card."""
    match text.split("|", 2):
        case ["ai", ("yes" | "no") as word, to]:
            return Answer(word == "yes", to)
    return None


def address(house: House) -> str:
    """Return where the house's model is, as people are told it: the host alone."""
    return urlsplit(house.ai_url).hostname or ""


def value(to: str) -> str:
    """Return how a yes is kept: it is one to this address and to no other."""
    return json.dumps({"to": to})


REFUSED = json.dumps(None)
"""How a no is kept."""


def allowed(choice: Choice | None, house: House) -> bool:
    """Does this choice let the house's model look at the customer's alerts?"""
    return choice is not None and choice.value == value(address(house))


async def decide(
    answer: Answer, customer: Customer, by: Person, now: datetime, house: House, unit: Unit
) -> Card:
    """Keep what a customer's person or the lead decided, and return the card that says so.

    Raises UsageError when that person may not, or when the card was about another address.
    """
    if answer.yes:
        member = await unit.people.get(by)
        if member and member.role is Role.ENGINEER:
            raise UsageError("是否允许 AI 分析要由客户或负责人决定：请他们在卡片上按")
        if answer.to != address(house):
            raise UsageError(STALE)
        if customer.tier is not Tier.PRO:
            raise UsageError("AI 分析属于专业版：请负责人先用 /tier 更改服务等级")
    kept = value(answer.to) if answer.yes else REFUSED
    await unit.choices.put(Choice(customer.id, CONSENT, kept, now, by))
    detail = {"customer": customer.name, "to": answer.to}
    deed = "ai-allow" if answer.yes else "ai-withdraw"
    await unit.audit.add(now, by.name or by.id, deed, detail)
    return await shown(customer, house, unit)


async def ask(number: int, key: str, now: datetime, house: House, unit: Unit) -> bool:
    """Put the question into a customer's group, once under this key; False when it was decided."""
    customer = await unit.customers.get(number)
    if customer is None or customer.chat is None or await unit.choices.get(number, CONSENT):
        return False
    state, asked = DeliveryState.WAITING, dumps(card(customer, None, house))
    await unit.outbox.put(Delivery(0, key, customer.chat, Lane.NORMAL, state, now, card=asked))
    return True


async def shown(customer: Customer, house: House, unit: Unit) -> Card:
    """Return the card that says what would be sent to whom, how it stands, and asks."""
    choice = await unit.choices.get(customer.id, CONSENT)
    return card(customer, choice, house)


def card(customer: Customer, choice: Choice | None, house: House) -> Card:
    """Draw it from what was decided. Pure."""
    yes, to = allowed(choice, house), address(house)
    pairs = (
        ("现在", _standing(choice, yes, house)),
        ("发送什么", "告警的规则、级别和文字，相关主机的指标，处置手册里对应的段落"),
        ("不发送", "公司、服务器和人员的名字、IP、邮箱、手机号换成代号或去掉；密码和密钥去掉"),
        ("发给谁", f"模型 {house.ai_model}（{to}）"),
        ("做什么", "定级、概括、建议先查什么；只会提级，不降级、不隐藏、不操作"),
        ("撤回", "随时输入 /ai off，立即生效"),
    )
    blocks: list[Block] = [Fields(pairs)]
    if not house.ai_key:
        blocks.append(Text("服务商还没有配置模型：现在什么都不会发送", Style.STRONG))
    if customer.tier is not Tier.PRO:
        blocks.append(Text("AI 分析属于专业版；本客户是基础版，什么都不会发送", Style.STRONG))
        return Card("AI 分析告警", Tone.NEUTRAL, tuple(blocks))
    no = Button("撤回同意" if yes else "不同意", action(Answer(yes=False, to=to)))
    agree = Button("同意", action(Answer(yes=True, to=to)), Style.PRIMARY)
    blocks.append(Buttons((no,) if yes else (agree, no)))
    blocks.append(Text("由客户或负责人决定；不同意不影响告警通知", Style.QUIET))
    title = "AI 分析告警：已允许" if yes else "是否允许 AI 分析告警？"
    return Card(title, Tone.GOOD if yes else Tone.NEUTRAL, tuple(blocks))


def _standing(choice: Choice | None, yes: bool, house: House) -> str:
    if choice is None:
        return "未允许（还没有人决定）"
    who = f"{choice.by.name or choice.by.id}，{choice.at.astimezone(house.zone):%Y-%m-%d %H:%M}"
    if yes:
        return f"已允许（{who}）"
    return (
        f"未允许（{who}）"
        if choice.value == REFUSED
        else f"未允许：模型换了地址，请重新决定（{who}）"
    )

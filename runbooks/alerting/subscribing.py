"""Answers Huawei's SMN, which asks whether a hook is ours: from a row, so that a restart forgets none."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from adapters.card import Card, Tone, dumps, say
from adapters.port import Permanent, Transient
from adapters.sources import huawei
from adapters.sources.huawei import Confirmation
from runbooks.kit import Kit
from storage.questions import Question
from storage.records import Delivery, DeliveryState, Lane
from storage.store import Unit

Confirm = Callable[[Confirmation], Awaitable[None]]
"""Says yes to a question that Huawei has signed. Raises Permanent when it is none, and Transient."""

MOST = 20
"""Questions of one customer that may wait: whoever knows an address could ask without an end."""

PAUSES = (5, 30, 120, 600, 1800)
"""Seconds until a question is tried again; the last one from then on."""

VALID = timedelta(hours=48)
"""How long SMN lets a question be answered, by its manual; not verified against SMN."""


async def keep(
    customer: int, source: str, asked: Confirmation, body: bytes, now: datetime, unit: Unit
) -> bool:
    """Keep what was asked in the caller's transaction; False when too many wait."""
    key = hashlib.sha256(asked.subscribe_url.encode()).hexdigest()
    return await unit.questions.put(Question(key, customer, source, body, now, now), MOST)


async def answer(kit: Kit, confirm: Confirm) -> int:
    """Answer what is due, and return how many were confirmed."""
    now = kit.clock.now()
    async with kit.store.view() as unit:
        waiting = await unit.questions.due(now)
    return sum([await _answer(question, kit, confirm) for question in waiting])


async def _answer(question: Question, kit: Kit, confirm: Confirm) -> bool:
    asked = huawei.confirmation(question.body)
    assert asked is not None
    try:
        await confirm(asked)
        why = ""
    except Permanent as error:
        why = error.reason
    except Transient as error:
        why = error.reason
        if kit.clock.now() - question.at < VALID:
            await _later(question, kit)
            return False
    now = kit.clock.now()
    async with kit.store.unit() as unit:
        # To say yes twice is the same as once: of two replicas one writes it down.
        if await unit.questions.drop(question.key):
            await _tell(question, asked.topic, why, now, unit)
    return not why


async def _later(question: Question, kit: Kit) -> None:
    pause = PAUSES[min(question.tries, len(PAUSES) - 1)]
    due = kit.clock.now() + timedelta(seconds=pause)
    async with kit.store.unit() as unit:
        await unit.questions.save(replace(question, due=due, tries=question.tries + 1))


async def _tell(question: Question, topic: str, why: str, now: datetime, unit: Unit) -> None:
    customer = await unit.customers.get(question.customer)
    assert customer is not None
    detail = {"customer": customer.name, "topic": topic, "outcome": why or "confirmed"}
    await unit.audit.add(now, huawei.TITLE, "hook-subscription", detail)
    if customer.chat:
        key = f"subscription:{question.key}:{now.isoformat()}"
        said = Delivery(
            0,
            key,
            customer.chat,
            Lane.NORMAL,
            DeliveryState.WAITING,
            now,
            card=dumps(told(topic, why)),
        )
        await unit.outbox.put(said)


def told(topic: str, why: str) -> Card:
    """Return what the customer's group is told; `why` it was not confirmed, or empty."""
    if not why:
        return say(f"{huawei.TITLE} 订阅已确认", topic, "告警会从现在起发到本群", tone=Tone.GOOD)
    return say(
        f"{huawei.TITLE} 订阅没有确认",
        topic,
        why,
        "请在华为云 SMN 控制台对这个订阅重新「请求订阅」",
        tone=Tone.WARNING,
    )

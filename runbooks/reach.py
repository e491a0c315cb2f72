"""Where a customer is told beside their group: by the channels that they prefer and that only speak.

What they gave is in the vault: an address of a webhook is a secret, and so is the key that signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.words import Chat
from storage.records import Delivery
from storage.store import Unit

MAIL, WEBHOOK = "mail", "webhook"
"""Names of the channels, as the sender knows them."""

GATEWAY = "gateway"
"""Name of the house's own channel for telephone and SMS, where it has one."""

NAMES = {MAIL: "邮件", WEBHOOK: "Webhook"}


def notify_name(customer: int, kind: str) -> str:
    """Return the vault's name of a customer's target."""
    return f"customer:{customer}:notify:{kind}"


def key_name(target: str) -> str:
    """Return the vault's name of the key that signs what goes to a target."""
    return f"{target}:key"


async def reach(customer: int, unit: Unit) -> tuple[Chat, ...]:
    """Return where a customer is told beside their group, one chat for each address."""
    found: list[Chat] = []
    addresses = await unit.vault.get(notify_name(customer, "email"))
    if addresses:
        found += [Chat(MAIL, each, each) for each in addresses.reveal().splitlines()]
    webhook = notify_name(customer, WEBHOOK)
    if await unit.vault.get(webhook):
        found.append(Chat(WEBHOOK, webhook, "Webhook"))
    return tuple(found)


async def tell(delivery: Delivery, others: Sequence[Chat], unit: Unit) -> bool:
    """Put an entry into the outbox for its group, and for each place beside it; False when the
    group's was there already."""
    new = await unit.outbox.put(delivery)
    for chat in others:
        await unit.outbox.put(replace(delivery, key=beside(delivery.key, chat), chat=chat))
    return new


def beside(key: str, chat: Chat) -> str:
    """Return the key of an entry's copy for a place beside the group."""
    return f"{key}@{chat.platform}:{chat.id}"

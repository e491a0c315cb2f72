"""What the program prints at its first start, so that somebody can become the first lead."""

from __future__ import annotations

from datetime import datetime

from adapters.words import Role, Secret
from runbooks import pairing
from storage.store import Store


async def first_code(store: Store, now: datetime) -> Secret | None:
    """Return the code to print; None when there is a lead, or a code was printed and is open."""
    async with store.unit() as unit:
        if await unit.people.with_role(Role.LEAD) or await pairing.standing(now, unit):
            return None
        return await pairing.offer(now, unit)


def told(code: Secret) -> str:
    """Return what the console shows: the one place where the code can be read."""
    return (
        f"还没有负责人。请在聊天里私信机器人：/pair {code.reveal()}\n"
        f"配对码 24 小时内有效，只能用一次，最多试 {pairing.TRIES} 次。"
    )

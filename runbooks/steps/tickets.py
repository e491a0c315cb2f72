"""One-time links on their way: the address and the code are told by two direct messages.

Both go to somebody of ours, who passes them on by two ways; neither is ever in a group, in the
outbox or in the ledger. Until they are told they are in the vault, so that a restart tells the same.
"""

from __future__ import annotations

from datetime import timedelta

from adapters.port import InDoubt, Permanent
from adapters.words import Person
from runbooks.kit import Errand
from storage.records import EffectState
from storage.trust import Ticket, link_of, new_ticket

WITHIN = timedelta(days=3)

LINKS = "/links"
"""Where the bot's web shows them, below its public address."""


async def tell(errand: Errand, deed: str, purpose: str, subject: str, to: Person, name: str) -> str:
    """Make a link for `name` once, and tell its address and its code to `to`; return the proof."""
    kit = errand.kit
    done = f"发给{name}的一次性链接已私信{to.name or to.id}"
    async with kit.store.view() as unit:
        told = await unit.effects.get(errand.key(f"{deed}-code"))
    if told and told.state is EffectState.DONE:
        return done
    ticket = await _ticket(errand, deed, purpose, subject)
    address = f"{kit.house.public_url}{LINKS}/{ticket.token.reveal()}"
    hours = int(WITHIN.total_seconds() // 3600)
    await ring(
        errand,
        f"{deed}-address",
        to,
        f"请把这个地址只发给{name}本人，不要发到群里（{hours} 小时内有效，只能用一次）：{address}",
    )
    await ring(
        errand,
        f"{deed}-code",
        to,
        f"{name}的验证码：{ticket.code.reveal()}，请打电话告诉本人，不要和地址写在一起",
    )
    async with kit.store.unit() as unit:
        for part in ("token", "code"):
            await unit.vault.drop(_sealed(errand, deed, part))
    return done


async def _ticket(errand: Errand, deed: str, purpose: str, subject: str) -> Ticket:
    kit = errand.kit
    names = [_sealed(errand, deed, part) for part in ("token", "code")]
    async with kit.store.unit() as unit:
        token, code = [await unit.vault.get(name) for name in names]
        if token and code:
            return Ticket(token, code)
        ticket = new_ticket()
        for name, secret in zip(names, (ticket.token, ticket.code), strict=True):
            await unit.vault.put(name, secret)
        await unit.links.add(link_of(ticket, purpose, subject, kit.clock.now(), WITHIN))
    return ticket


async def ring(errand: Errand, deed: str, to: Person, text: str) -> None:
    """Tell somebody something by a direct message, once: not in a group, nor in the outbox."""
    platform = errand.kit.chats.get(to.platform)
    if platform is None:
        raise Permanent(f"平台 {to.platform} 没有启用，无法私信{to.name or to.id}")

    async def do() -> str:
        return (await platform.ring(to, text, key=errand.key(deed))).id

    async def look() -> str:
        if platform.can.has_idempotency:
            return await do()  # the same key rings once
        raise InDoubt(f"不能确认私信是否已送达{to.name or to.id}：请问本人，没有收到就重新生成链接")

    await errand.once(deed, do, look)


def _sealed(errand: Errand, deed: str, part: str) -> str:
    return f"ticket:{errand.key(deed)}:{part}"

"""One-time links and signatures, on both databases."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from adapters.words import Chat, Person
from storage.records import Customer, Run, RunStatus, Signature
from storage.store import Store
from storage.trust import TRIES, Opening, Ticket, link_of, new_ticket, standing

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
WITHIN = timedelta(days=3)
WANG = Person("web", "wang", "王经理")


async def put(store: Store, subject: str = "{}") -> Ticket:
    ticket = new_ticket()
    async with store.unit() as unit:
        await unit.links.add(link_of(ticket, "sign", subject, NOW, WITHIN))
    return ticket


async def opened(store: Store, ticket: Ticket, code: str = "", at: datetime = NOW) -> Opening:
    async with store.unit() as unit:
        return await unit.links.open(ticket.token.reveal(), code or ticket.code.reveal(), at)


def wrong(ticket: Ticket) -> str:
    return "000000" if ticket.code.reveal() != "000000" else "000001"


async def test_a_link_opens_once(store: Store) -> None:
    ticket = await put(store)
    assert await opened(store, ticket) is Opening.OPENED
    assert await opened(store, ticket) is Opening.USED


async def test_the_fifth_wrong_code_locks_it_for_the_right_one_too(store: Store) -> None:
    ticket = await put(store)
    told = [await opened(store, ticket, wrong(ticket)) for _ in range(TRIES)]
    assert told == [Opening.WRONG] * (TRIES - 1) + [Opening.LOCKED]
    assert await opened(store, ticket) is Opening.LOCKED


async def test_four_wrong_codes_do_not(store: Store) -> None:
    ticket = await put(store)
    for _ in range(TRIES - 1):
        await opened(store, ticket, wrong(ticket))
    assert await opened(store, ticket) is Opening.OPENED


async def test_a_link_ends_with_its_time(store: Store) -> None:
    ticket = await put(store)
    assert await opened(store, ticket, at=NOW + WITHIN) is Opening.EXPIRED
    assert await opened(store, ticket, at=NOW + WITHIN - timedelta(seconds=1)) is Opening.OPENED


async def test_a_new_link_for_the_same_thing_ends_the_old_one(store: Store) -> None:
    old, other = await put(store, "a"), await put(store, "b")
    new = await put(store, "a")
    assert await opened(store, old) is Opening.UNKNOWN
    assert await opened(store, other) is Opening.OPENED
    assert await opened(store, new) is Opening.OPENED


async def test_neither_token_nor_code_is_kept(store: Store) -> None:
    """Not even as a hash of six digits alone, which anybody could try through."""
    ticket = await put(store)
    async with store.view() as unit:
        link = await unit.links.get(ticket.token.reveal())
    assert link is not None
    assert ticket.token.reveal() not in repr(link)
    assert ticket.code.reveal() not in (link.subject, link.code_hash)
    assert link.code_hash != hashlib.sha256(ticket.code.reveal().encode()).hexdigest()


@pytest.mark.parametrize("text", ["", "x", "\ud800", "é" * 5000])
async def test_what_is_no_token_or_code_opens_nothing(store: Store, text: str) -> None:
    ticket = await put(store)
    assert await opened(store, ticket, text or "x") is Opening.WRONG
    async with store.unit() as unit:
        assert await unit.links.open(text, ticket.code.reveal(), NOW) is Opening.UNKNOWN
    assert standing(None, NOW) is Opening.UNKNOWN


async def test_signatures_come_back_in_their_order(store: Store) -> None:
    first = Signature("r1", "王经理", "ab" * 32, True, NOW, WANG)
    second = Signature(
        "r1", "周助理", "ab" * 32, False, NOW, reason="没有数据", way="link", deputy_for="张总"
    )
    async with store.unit() as unit:
        group = Chat("web", "g1", "群")
        customer = await unit.customers.add(Customer(0, "海蓝", "hailan", NOW, group))
        run = Run("r1", "b", customer.id, "sign", RunStatus.WAITING, 1, "{}", WANG, NOW, NOW)
        await unit.runs.add(run)
        await unit.signatures.add(first)
        await unit.signatures.add(second)
    async with store.view() as unit:
        assert await unit.signatures.of("r1") == [first, second]
        assert await unit.signatures.of("r2") == []

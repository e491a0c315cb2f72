"""The code that makes the first lead."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from adapters.words import Person, Role, Secret
from bot.pairing import WAYS, first_code, told
from runbooks import pairing
from runbooks.pairing import LIFE, TRIES, Outcome
from storage.records import Member
from storage.store import Store
from tests.unit.test_platforms_doc import platforms

ZHAO = Person("web", "zhao", "赵主管")


async def typed(store: Store, code: str, clock: Any) -> Outcome:
    async with store.unit() as unit:
        return await pairing.redeem(code, ZHAO, clock.now(), unit)


async def role(store: Store) -> Role | None:
    async with store.view() as unit:
        member = await unit.people.get(ZHAO)
    return member.role if member else None


async def test_the_printed_code_makes_one_lead(store: Store, clock: Any) -> None:
    """However it is typed; and it opens once."""
    code = await first_code(store, clock.now())
    assert code is not None
    assert code.reveal() in told(code, ["web"])
    assert await typed(store, f" {code.reveal()[:5]}-{code.reveal()[5:].lower()}", clock) is (
        Outcome.PAIRED
    )
    assert await role(store) is Role.LEAD
    assert await typed(store, code.reveal(), clock) is Outcome.DEAD
    assert await first_code(store, clock.now()) is None
    async with store.view() as unit:
        (entry,) = await unit.audit.entries()
    assert (entry.actor, entry.deed) == ("赵主管", "pair")
    assert code.reveal() not in str(entry)


def test_it_is_told_as_it_can_be_typed() -> None:
    """On each platform that is set up, and on no other. Slack's client sends no slash that nobody has
    registered; channels that only speak are no place to type."""
    both = told(Secret("K7MQ2XWB4T"), ["slack", "wecom", "mail"])
    assert "  企业微信：/pair K7MQ2XWB4T\n  Slack：/vigil pair K7MQ2XWB4T\n" in both
    assert "网页" not in both
    assert " /pair" not in told(Secret("K7MQ2XWB4T"), ["slack"])


def test_every_platform_that_hears_has_its_way(tmp_path: Path) -> None:
    hears = {name for name, one in platforms(tmp_path).items() if one.can.callback_budget}
    assert set(WAYS) == hears


async def test_a_second_start_prints_no_second_code_while_the_first_is_open(
    store: Store, clock: Any
) -> None:
    assert await first_code(store, clock.now()) is not None
    assert await first_code(store, clock.now()) is None
    later = clock.now() + LIFE
    assert await first_code(store, later - timedelta(seconds=1)) is None
    assert await first_code(store, later) is not None


async def test_five_wrong_ones_end_it(store: Store, clock: Any) -> None:
    code = await first_code(store, clock.now())
    assert code is not None
    for _ in range(TRIES):
        assert await typed(store, "WRONGWRONG", clock) is Outcome.WRONG
    assert await typed(store, code.reveal(), clock) is Outcome.DEAD
    assert await role(store) is None
    assert await first_code(store, clock.now()) is not None


async def test_an_old_one_is_dead(store: Store, clock: Any) -> None:
    code = await first_code(store, clock.now())
    assert code is not None
    await clock.sleep(LIFE.total_seconds())
    assert await typed(store, code.reveal(), clock) is Outcome.DEAD


async def test_the_code_itself_is_not_kept(store: Store, clock: Any) -> None:
    code = await first_code(store, clock.now())
    assert code is not None
    async with store.view() as unit:
        kept = await unit.vault.get(pairing.NAME)
    assert kept is not None
    assert code.reveal() not in kept.reveal()


async def test_where_a_lead_is_no_code_is_printed(store: Store, clock: Any) -> None:
    async with store.unit() as unit:
        await unit.people.put(Member(ZHAO, Role.LEAD))
    assert await first_code(store, clock.now()) is None

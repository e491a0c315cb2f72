"""The log of what monitors posted: committed before it is answered, in order, and never shared out
wrongly among those who wait for one commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from storage.intake import AT_ONCE, Intake, Overloaded
from storage.tables import alerts_accepted


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}"
    address = str(request.getfixturevalue("postgres"))
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        alerts_accepted.drop(connection, checkfirst=True)
    engine.dispose()
    return address


@pytest.fixture
async def intake(url: str) -> AsyncIterator[Intake]:
    async with Intake(url) as opened:
        yield opened


async def test_each_of_many_gets_the_id_of_its_own_post(intake: Intake, clock: Any) -> None:
    """Hundreds who share commits: the id that each is told leads to what it sent."""
    sent = [f"{number}".encode() for number in range(300)]
    ids = await asyncio.gather(*(intake.accept(1, "zabbix", body, clock.now()) for body in sent))
    kept = {post.id: post for post in await intake.after(0, 1000)}
    assert [kept[number].body for number in ids] == sent
    assert {(post.customer, post.source, post.at) for post in kept.values()} == {
        (1, "zabbix", clock.now())
    }


async def test_posts_are_read_in_order_and_page_by_page(intake: Intake, clock: Any) -> None:
    ids = [await intake.accept(7, "s", b"x", clock.now()) for _ in range(5)]
    assert ids == sorted(set(ids))
    assert [post.id for post in await intake.after(ids[1], 2)] == ids[2:4]
    assert await intake.after(ids[-1], 2) == []


async def test_large_posts_are_read_a_few_at_a_time(intake: Intake, clock: Any) -> None:
    """And one that is larger than all that may be read at once is read by itself."""
    sizes = (AT_ONCE // 2, AT_ONCE // 2, 1, AT_ONCE + 1, 2)
    for size in sizes:
        await intake.accept(1, "s", bytes(size), clock.now())
    last, read = 0, list[list[int]]()
    while page := await intake.after(last, 100):
        last = page[-1].id
        read.append([len(post.body) for post in page])
    assert read == [[AT_ONCE // 2] * 2, [1], [AT_ONCE + 1], [2]]


async def test_ids_go_on_after_all_was_thrown_away(url: str, clock: Any) -> None:
    """Or a new post would look as if it had been folded already."""
    async with Intake(url) as intake:
        last = [await intake.accept(1, "s", b"x", clock.now()) for _ in range(3)][-1]
        await intake.trim(last)
        assert len(await intake.after(0, 10)) == 1
    async with Intake(url) as intake:
        assert await intake.accept(1, "s", b"y", clock.now()) == last + 1


async def test_news_comes_with_the_commit(intake: Intake, clock: Any) -> None:
    assert not intake.news.is_set()
    await intake.accept(1, "s", b"x", clock.now())
    assert intake.news.is_set()


async def test_leaving_keeps_what_was_taken(url: str, clock: Any) -> None:
    async with Intake(url) as intake:
        taken = [asyncio.create_task(intake.accept(1, "s", b"x", clock.now())) for _ in range(50)]
        await asyncio.sleep(0)
    assert len(set(await asyncio.gather(*taken))) == 50


async def test_who_hangs_up_takes_nobody_along(intake: Intake, clock: Any) -> None:
    going = [asyncio.create_task(intake.accept(1, "s", b"x", clock.now())) for _ in range(20)]
    await asyncio.sleep(0)
    going[0].cancel()
    going[10].cancel()
    ended = await asyncio.gather(*going, return_exceptions=True)
    assert sum(isinstance(each, int) for each in ended) == 18
    assert len(await intake.after(0, 100)) == 20


async def test_more_than_there_is_room_for_is_refused(tmp_path: Path, clock: Any) -> None:
    """And when what waited is kept, there is room again."""
    async with Intake(f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}", room=100) as intake:
        first = asyncio.create_task(intake.accept(1, "s", b"x" * 60, clock.now()))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await intake.accept(1, "s", b"x" * 60, clock.now())
        await first
        await intake.accept(1, "s", b"x" * 60, clock.now())


async def test_what_the_database_refuses_is_not_answered_as_kept(
    tmp_path: Path, clock: Any
) -> None:
    """All who shared the commit are told; when the database is well again, so is the intake."""
    file = tmp_path / "bot.sqlite-intake.sqlite"
    async with Intake(f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}") as intake:
        engine = sa.create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            alerts_accepted.drop(connection)
        posts = [intake.accept(1, "s", b"x", clock.now()) for _ in range(9)]
        ended = await asyncio.gather(*posts, return_exceptions=True)
        assert [type(each) for each in ended] == [Overloaded] * 9
        with engine.begin() as connection:
            alerts_accepted.create(connection)
        engine.dispose()
        assert await intake.accept(1, "s", b"x", clock.now()) == 1


async def test_what_cannot_be_written_ends_nobody_elses_waiting(intake: Intake, clock: Any) -> None:
    """An instant without a zone is nothing that a row can hold: it is refused, and the next is kept."""
    with pytest.raises(Overloaded):
        await intake.accept(1, "s", b"x", clock.now().replace(tzinfo=None))
    kept = await intake.accept(1, "s", b"y", clock.now())
    assert [post.id for post in await intake.after(0, 10)] == [kept]

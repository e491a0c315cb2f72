"""`vigilbot refold`: give posts that were set aside to the fold once more, after its fault is mended."""

from __future__ import annotations

import asyncio

from rich.console import Console

from bot.config import ConfigError, load
from bot.options import DEFAULT_CONFIG, Config
from storage.address import address
from storage.intake import Intake, Overloaded
from storage.store import DatabaseError, Store
from storage.vault import Seal


def refold(config: Config = DEFAULT_CONFIG) -> int:
    """重新处理告警: fold again what was set aside; the bot may run, and what fails is kept again."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        settings = load(config)
    except ConfigError as error:
        for problem in error.problems:
            console.print(str(problem))
        return 1
    url = address(settings.database_url, settings.database.password)
    try:
        count = asyncio.run(_again(url, Seal(settings.vault.key)))
    except (*DatabaseError, Overloaded) as error:
        console.print(f"没有成功：数据库 {type(error).__name__}，请检查后再运行一次")
        return 1
    console.print(f"{count} 条已重新排队，由运行中的机器人处理；仍然失败的会再次保留并通知运维群")
    return 0


async def _again(url: str, seal: Seal) -> int:
    async with Store(url, seal) as store, Intake(url) as intake:
        return await again(store, intake)


async def again(store: Store, intake: Intake) -> int:
    """Accept again what is set aside, as of when it was accepted first; return how many posts.

    Each is accepted before it is forgotten here: in between it is twice, which folds to the same.
    Raises Overloaded when one could not be kept.
    """
    count = last = 0
    async with store.view() as unit:
        cursors = await unit.incidents.cursors()
    # The log may be new: what it numbers up to a cursor would be taken for folded.
    intake.go_on_after(max(cursors.values(), default=0))
    while True:
        async with store.view() as unit:
            posts = await unit.aside.all(after=last)
        if not posts:
            return count
        for post in posts:
            last = post.id
            await intake.accept(post.customer, post.source, post.body, post.at)
            async with store.unit() as unit:
                await unit.aside.drop(post.id)
            count += 1

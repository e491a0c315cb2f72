"""`vigilbot migrate`: bring the database to the form that this program needs."""

from __future__ import annotations

from rich.console import Console

from bot.config import ConfigError, load
from bot.options import DEFAULT_CONFIG, Config
from storage import migrate as steps
from storage.address import address
from storage.probe import reason_of


def migrate(config: Config = DEFAULT_CONFIG) -> int:
    """升级数据库: bring the database to the newest form; safe to repeat."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        settings = load(config)
    except ConfigError as error:
        for problem in error.problems:
            console.print(str(problem))
        return 1
    if settings.database_url.startswith("sqlite"):
        settings.bot.data_dir.mkdir(parents=True, exist_ok=True)
    url = address(settings.database_url, settings.database.password)
    why = reason_of(lambda: _go(url, console))
    if why:
        console.print(f"数据库升级失败：{why}")
        return 1
    return 0


def _go(url: str, console: Console) -> None:
    before = steps.current(url)
    after = steps.upgrade(url)
    console.print(
        f"数据库：{before or '空'} → {after}" if before != after else f"已是最新：{after}"
    )

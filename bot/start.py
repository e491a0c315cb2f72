"""Commands that start the bot and stay: what they need is imported when they are called."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.port import OutsideError, UsageError
from bot import logs
from bot.config import ConfigError, load
from bot.options import DEFAULT_CONFIG, Config
from bot.signals import until_told

DEMO = Path("demo-data")


def demo(
    *,
    port: int = 8080,
    directory: Path = DEMO,
    fresh: bool = False,
    auto: bool = False,
) -> int:
    """演示: the whole bot in a sandbox, with servers, customers and a web chat; no account needed.

    Parameters
    ----------
    port
        Of the page; 0 takes a free one.
    directory
        Where everything is kept: started again there, it goes on.
    fresh
        Forget what is there and begin anew.
    auto
        Play engineer, lead and customer from `/onboard` to the signed acceptance in a directory
        that is thrown away, print every line with its proof, and exit 0, or 1 where it failed.
    """
    if auto:
        return _auto()
    from bot.demo import world  # noqa: PLC0415 - `vigilbot check` does not wait for it

    def start() -> AbstractAsyncContextManager[str]:
        if fresh:
            world.clear(directory)
        return world.demo(directory, port)

    return _serve(start)


def _auto() -> int:
    from bot.demo.auto import auto  # noqa: PLC0415 - it brings the whole world

    # It would write every address that is opened, tokens and all.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with TemporaryDirectory(prefix="vigilbot-demo-") as folder:
        try:
            return asyncio.run(auto(Path(folder), 0, print_line))
        except (UsageError, OSError) as error:
            return _told([str(error)])


def run(config: Config = DEFAULT_CONFIG) -> int:
    """运行: the bot of a configuration, until it is told to stop (Ctrl-C or SIGTERM)."""
    try:
        settings = load(config)
    except ConfigError as error:
        return _told(map(str, error.problems))
    logs.configure(settings.log.level, settings.log.format)
    from bot import build  # noqa: PLC0415 - a wrong configuration is told at once

    return _serve(lambda: build.running(settings, print_line))


def new_key() -> int:
    """生成密钥: print a new key for the vault (VIGILBOT_KEY); keep it safe, it opens every secret."""
    from storage.vault import Seal  # noqa: PLC0415 - with it comes the whole of storage

    print_line(Seal.new_key().reveal())
    return 0


def print_line(text: str) -> None:
    """Show a line at once, also to a program that reads us through a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _serve(start: Callable[[], AbstractAsyncContextManager[str]]) -> int:
    """Run a world or a bot, print its address, and leave it in order when told to stop."""

    async def whole() -> None:
        async with until_told() as told, start() as address:
            # What has been made by now stays. To look through it at each full collection would keep
            # everybody waiting for 150 ms, in a storm above all.
            gc.freeze()
            print_line(f"Vigilbot: {address}/  (Ctrl-C 结束 / stops)")
            await told.wait()

    try:
        asyncio.run(whole())
    except (UsageError, OutsideError, OSError) as error:
        return _told([str(error)])
    return 0


def _told(problems: Iterable[str]) -> int:
    for problem in problems:
        sys.stderr.write(problem + "\n")
    return 1

"""`vigilbot play` and `vigilbot chat`: both start the bot in this process, and take part in it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adapters.port import OutsideError, UsageError
from bot import logs
from bot.config import ConfigError, Settings, load
from bot.options import DEFAULT_CONFIG, Config
from bot.play.script import ScriptError

BAD_USE = 2
"""Exit code where nothing was played: the script, the configuration or a word is wrong."""


def play_command(
    script: Path,
    config: Config = DEFAULT_CONFIG,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", help="name=value")] = (),
) -> int:
    """播放一段对话脚本: play a scripted conversation, exit non-zero where it goes wrong."""

    def play(settings: Settings) -> Coroutine[Any, Any, int]:
        from bot.play import session  # noqa: PLC0415 - a wrong configuration is told at once

        return session.play(settings, script, set_, lambda text: _write(f"{text}\n"))

    # It would write every address that is opened, tokens and all.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return _with(config, play)


def chat_command(
    config: Config = DEFAULT_CONFIG,
    as_: Annotated[str, Parameter(name="--as", help="Id of the person.")] = "admin",
    chat: Annotated[str, Parameter(help="Title of the chat.")] = "",
) -> int:
    """在终端里聊天: talk with the bot as one person, in one chat."""

    def talk(settings: Settings) -> Coroutine[Any, Any, int]:
        from bot.play import session  # noqa: PLC0415 - a wrong configuration is told at once

        return session.chat(settings, as_, chat, _write)

    return _with(config, talk)


def _with(config: Path, act: Callable[[Settings], Coroutine[Any, Any, int]]) -> int:
    """Load the configuration and act; mistakes are told, not raised."""
    try:
        settings = load(config)
        logs.configure(settings.log.level, settings.log.format)
        return asyncio.run(act(settings))
    except ConfigError as error:
        told = list(map(str, error.problems))
    except (ScriptError, UsageError, OutsideError, OSError) as error:
        told = [str(error)]
    sys.stderr.writelines(f"{line}\n" for line in told)
    return BAD_USE


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()

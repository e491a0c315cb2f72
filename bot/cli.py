"""The command line: each command is one function that returns its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from cyclopts import App
from rich.console import Console
from rich.table import Table

from adapters.words import NOTHING, Secret
from bot import logs
from bot.config import ConfigError, flatten, load
from bot.doctor import doctor
from bot.mapping import map_command
from bot.migrating import migrate
from bot.options import DEFAULT_CONFIG, Config
from bot.play.cli import chat_command, play_command
from bot.refolding import refold
from bot.start import demo, new_key, run
from runbooks.book import printed
from runbooks.onboarding import ONBOARDING


def _version() -> str:
    try:
        return f"vigilbot {installed('vigilbot')}"
    except PackageNotFoundError:
        return "vigilbot (not installed)"


app = App(
    name="vigilbot",
    help="托管运维机器人：从签约到验收都在一个群里。\n\nThe bot of managed operations.",
    version=_version,
)


app.command(demo)
app.command(run)
app.command(new_key, name="key")
app.command(doctor)
app.command(migrate)
app.command(refold)
app.command(map_command, name="map")
app.command(play_command, name="play")
app.command(chat_command, name="chat")


@app.command
def check(config: Config = DEFAULT_CONFIG) -> int:
    """检查配置: print every problem by its path, or what is set (secrets masked)."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        settings = load(config)
    except ConfigError as error:
        for problem in error.problems:
            console.print(str(problem))
        return 1
    table = Table("设置 / key", "值 / value", title=f"{config}: OK")
    for key, value in flatten(settings):
        table.add_row(key, shown(value))
    console.print(table)
    return 0


@app.command
def sop() -> int:
    """打印 SOP: the onboarding as the bot walks it, in Markdown (docs/sop.md)."""
    sys.stdout.write(printed(ONBOARDING))
    return 0


def shown(value: object) -> str:
    """Return a value as it may be seen on a screen: a secret only as set or not."""
    if isinstance(value, Secret):
        return "-" if value == NOTHING else "***"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(shown, value))
    return "-" if value in (None, "") else str(value)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the process was started with (or `words`), then exit."""
    logs.configure()
    app(sys.argv[1:] if words is None else words)

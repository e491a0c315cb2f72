"""How the log is written."""

from __future__ import annotations

import os
import sys

import structlog


def configure() -> None:
    """Write an exception as its plain traceback.

    What structlog does by itself where rich is installed shows the values of all variables: tokens
    and passwords among them, and a second of the event loop goes for each.
    """
    colours = not os.environ.get("NO_COLOR") and sys.stdout is not None and sys.stdout.isatty()
    console = structlog.dev.ConsoleRenderer(
        colors=colours, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], console])

"""How the log is written."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

LIBRARIES = logging.WARNING
"""What the libraries beneath us say is written from here on: below it, httpx would write addresses
with the tokens in them."""


def configure(level: str = "info", form: str = "console") -> None:
    """Write what is at least as grave as `level`: for people (`console`), or a JSON object in each
    line (`json`), instants in UTC.

    An exception is written as its plain traceback. What structlog does by itself where rich is
    installed shows the values of all variables: tokens and passwords among them, and a second of the
    event loop goes for each.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    first = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.dev.set_exc_info,
    )
    last = _json() if form == "json" else _console()
    structlog.configure(
        processors=[*first, *last], wrapper_class=structlog.make_filtering_bound_logger(least)
    )
    if libraries := logging.lastResort:
        libraries.setLevel(max(LIBRARIES, least))
        libraries.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                ],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            )
            if form == "json"
            else None
        )


def _console() -> list[Any]:
    colours = not os.environ.get("NO_COLOR") and sys.stdout is not None and sys.stdout.isatty()
    return [
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _json() -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]

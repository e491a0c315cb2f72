"""What an operator may set: one TOML file and the environment above it, read once, then frozen.

`VIGILBOT_<SECTION>__<KEY>` overrides the file (`VIGILBOT_WEB__PORT=9000`). A secret is never
written down, only where it is: `env:NAME` or `file:PATH`. Relative paths start at the folder of
the file. Everything wrong is told at once, each problem by its dotted path.
"""

from __future__ import annotations

from bot.config.problems import ConfigError, Problem
from bot.config.reading import load, load_shapes
from bot.config.settings import Settings, flatten, known_keys

__all__ = ["ConfigError", "Problem", "Settings", "flatten", "known_keys", "load", "load_shapes"]

"""The options that every command of the command line shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

DEFAULT_CONFIG = Path("vigilbot.toml")

Config = Annotated[Path, Parameter(name=["--config", "-c"], help="The TOML file.")]

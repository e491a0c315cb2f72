"""Read one TOML file and the environment above it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from adapters.sources.mapping import Shape
from bot.config.problems import ConfigError, Problem
from bot.config.settings import Settings, children
from bot.config.sources import SourceName, SourceShape
from bot.config.telling import PREFIX, problem
from bot.config.values import Origin

BETWEEN = "__"


def load(path: Path | None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read `path` (None: the environment alone) and `env`.

    Raises `ConfigError` with every problem found.
    """
    tree = {} if path is None else _read(path)
    sources = _override(tree, env)
    _open_sections(tree, Settings)
    folder = Path.cwd() if path is None else path.absolute().parent
    found: list[ErrorDetails] = []
    try:
        return Settings.model_validate(tree, context=Origin(env, folder))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    # outside of the handler: the pydantic error holds what was written, perhaps a secret
    raise ConfigError(tuple(problem(error, sources) for error in found))


class _Sources(BaseModel):
    """Of a file the sources alone: to try a mapping one needs no key and no password."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)
    sources: dict[SourceName, SourceShape] = Field(default_factory=dict)


def load_shapes(path: Path) -> Mapping[str, Shape]:
    """Read what `path` says of sources, by their names; raise `ConfigError` as `load` does."""
    found: list[ErrorDetails] = []
    try:
        read = _Sources.model_validate(_read(path))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    else:
        return {name: source.shape for name, source in read.sources.items()}
    raise ConfigError(tuple(problem(error, {}) for error in found))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problem = Problem(
            str(path),
            "读不到配置文件，可从 config.example.toml 复制一份",
            f"cannot be read ({error.strerror}); copy config.example.toml",
        )
    except UnicodeDecodeError:
        problem = Problem(str(path), "不是 UTF-8 文本", "not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problem = Problem(str(path), "不是合法的 TOML", f"not TOML: {error}")
    raise ConfigError((problem,))


def _override(tree: dict[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Lay the environment over the file; return which dotted path came from which variable."""
    sources: dict[str, str] = {}
    for variable in sorted(env):
        if not variable.startswith(PREFIX) or BETWEEN not in variable:
            continue
        *sections, key = variable.removeprefix(PREFIX).lower().split(BETWEEN)
        place = tree
        for name in sections:
            below = place.setdefault(name, {})
            if not isinstance(below, dict):
                break  # `web = 3` in the file: told as such by the validation
            place = below
        else:
            place[key] = env[variable]
            sources[".".join((*sections, key))] = variable
    return sources


def _open_sections(tree: dict[str, Any], section: type[BaseModel]) -> None:
    """Give each section that was not written an empty one, so that what lacks is told by key."""
    for name, child in children(section):
        if child is None:
            continue
        below = tree.setdefault(name, {})
        if isinstance(below, dict):
            _open_sections(below, child)

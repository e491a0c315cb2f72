"""Everything that can be set, and the dotted path of each key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_origin

from pydantic import BaseModel, Field

from adapters.sources import Source, with_shapes
from bot.config.alerts import Alerts, Escalation
from bot.config.customers import Deploy, Sla, VigilOps
from bot.config.house import Artifacts, Bot, Database, Log, Model, Runs, Vault, Web
from bot.config.platforms import Channels, Platforms
from bot.config.sources import SourceName, SourceShape
from bot.config.values import Section


class Settings(Section):
    """Everything that can be set, checked and frozen; made by `load`."""

    bot: Bot
    database: Database
    vault: Vault
    web: Web
    platforms: Platforms
    channels: Channels
    vigilops: VigilOps
    deploy: Deploy
    model: Model
    artifacts: Artifacts
    runs: Runs
    sla: Sla
    escalation: Escalation
    alerts: Alerts
    log: Log
    sources: dict[SourceName, SourceShape] = Field(default_factory=dict)

    @property
    def known_sources(self) -> Mapping[str, Source]:
        """Every monitor whose posts are understood: the built-in ones, and those described here."""
        return with_shapes({name: source.shape for name, source in self.sources.items()})

    @property
    def database_url(self) -> str:
        """Where we remember, without the password (`database.password`)."""
        return self._placed(self.database.url)

    @property
    def engine_url(self) -> str:
        """Where the engine remembers: a file of its own on SQLite, else a schema of its own beside
        ours. `database.password` opens both."""
        if self.database.engine_url:
            return self._placed(self.database.engine_url)
        if self.database.url.startswith("sqlite"):
            return self._placed("sqlite+aiosqlite:///{data_dir}/engine.db")
        return self.database_url

    def _placed(self, url: str) -> str:
        return url.replace("{data_dir}", str(self.bot.data_dir))


def known_keys(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every key that may be set."""
    for name, child in children(section):
        if child is None:
            yield f"{prefix}{name}"
        else:
            yield from known_keys(child, f"{prefix}{name}.")


def sections(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    for name, child in children(section):
        if child is not None:
            yield f"{prefix}{name}"
            yield from sections(child, f"{prefix}{name}.")


def flatten(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key with its value; a secret stays a `Secret` and prints as a mask."""
    for name in type(section).model_fields:
        value: object = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, dict) and all(isinstance(x, BaseModel) for x in value.values()):
            for named, child in value.items():
                yield from flatten(child, f"{prefix}{name}.{named}.")
        else:
            yield f"{prefix}{name}", value


def children(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel] | None]]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if get_origin(kind) is dict:
            continue  # sections that the operator names: there are none until then
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield name, kind
        else:
            yield name, None

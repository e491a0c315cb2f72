"""Monitors of one's own: where in their posts what stands."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from adapters.port import UsageError
from adapters.sources import SOURCES, heartbeat, mapping
from adapters.sources.mapping import Shape
from adapters.words import Severity
from bot.config.problems import wrong
from bot.config.values import Section


def _source_path(text: str) -> str:
    try:
        mapping.parse(text)
    except UsageError:
        raise wrong(
            '不是路径，例如 rule.name、hosts[0].ip、"带.的键".x、$.site',
            'not a path; for example rule.name, hosts[0].ip, "dotted.key".x, $.site',
        ) from None
    return text


def _source_name(text: str) -> str:
    if text in SOURCES or text == heartbeat.NAME:
        raise wrong("与内置的告警源重名", "is the name of a source that is built in")
    return text


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


SourcePath = Annotated[str, Field(min_length=1), AfterValidator(_source_path)]
OptionalSourcePath = Annotated[str, AfterValidator(_source_path)]
SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$"), AfterValidator(_source_name)]


class SourceShape(Section):
    """A monitor of one's own whose posts are JSON: paths of where things stand in them."""

    rule: SourcePath
    label: str = ""
    each: OptionalSourcePath = ""
    title: OptionalSourcePath = ""
    text: OptionalSourcePath = ""
    host: OptionalSourcePath = ""
    severity: OptionalSourcePath = ""
    status: OptionalSourcePath = ""
    fingerprint: Annotated[tuple[SourcePath, ...], BeforeValidator(_one_or_many)] = ()
    starts_at: OptionalSourcePath = ""
    ends_at: OptionalSourcePath = ""
    url: OptionalSourcePath = ""
    labels: OptionalSourcePath = ""
    severities: dict[str, Severity] = Field(default_factory=dict)
    firing: tuple[str, ...] = mapping.FIRING
    resolved: tuple[str, ...] = mapping.RESOLVED

    @property
    def shape(self) -> Shape:
        return Shape(**{name: getattr(self, name) for name in type(self).model_fields})

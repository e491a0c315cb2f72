"""What is wrong with a configuration, as it is told: everything at once, each by its path."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic_core import PydanticCustomError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `source` is the environment variable it came from, if not the file."""

    path: str
    zh: str
    en: str
    source: str = ""

    def __str__(self) -> str:
        origin = f" [{self.source}]" if self.source else ""
        return f"{self.path}{origin}: {self.zh} / {self.en}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def wrong(zh: str, en: str) -> PydanticCustomError:
    return PydanticCustomError("vigilbot", "{en}", {"zh": zh, "en": en})

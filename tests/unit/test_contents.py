"""The contents page lists every command that there is a file for."""

from __future__ import annotations

from pathlib import Path

from adapters.words import Person
from commands.contents import BOOK

SHARED = {"__init__", "contents", "declare", "desk"}


def test_every_command_is_on_the_contents_page() -> None:
    files = {file.stem for file in Path("commands").glob("*.py")} - SHARED
    names = [command.name.removeprefix("/").replace("-", "_") for command in BOOK.commands]
    listed = {name.split()[0] for name in names}
    assert files <= listed


def test_every_example_is_understood() -> None:
    for command in BOOK.commands:
        for example in command.examples:
            names = [word[1:] for word in example.split() if word.startswith("@")]
            parsed = BOOK.parse(example, [Person("web", name, name) for name in names])
            assert parsed is not None
            assert parsed.command is command

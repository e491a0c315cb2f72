"""The contents page lists every command that there is a file for."""

from __future__ import annotations

from pathlib import Path

from commands.contents import BOOK

SHARED = {"__init__", "contents", "declare", "desk"}


def test_every_command_is_on_the_contents_page() -> None:
    files = {file.stem for file in Path("commands").glob("*.py")} - SHARED
    listed = {command.name.removeprefix("/").replace("-", "_") for command in BOOK.commands}
    assert files <= listed


def test_every_example_is_understood() -> None:
    for command in BOOK.commands:
        for example in command.examples:
            parsed = BOOK.parse(example)
            assert parsed is not None
            assert parsed.command is command

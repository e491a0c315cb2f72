"""What the README promises is what the program says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.contents import BOOK

ROOT = Path(__file__).parents[2]
START, END = "held by tests/unit/test_readme.py -->\n", "\n<!-- /commands -->"


def as_markdown() -> str:
    head = ("命令", "谁可以用", "在哪里", "做什么")
    rows = [(f"`{usage}`", who, where, what) for usage, who, where, what in BOOK.table()]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * 4, *rows))


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_commands_in_the_readme_are_those_of_the_book(name: str) -> None:
    """When it is red, put what `as_markdown` returns between the two marks."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.partition(START)[2].partition(END)[0] == as_markdown()


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_picture_is_there_and_small(name: str) -> None:
    assert "(docs/screenshot.png)" in (ROOT / name).read_text(encoding="utf-8")
    assert 0 < (ROOT / "docs" / "screenshot.png").stat().st_size < 200_000

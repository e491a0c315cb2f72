"""A card where there is no template: Markdown with a number at each choice, and what is typed back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.card import Buttons, Card, Entry, Form, Input
from adapters.dingtalk import draw
from adapters.port import UsageError


@dataclass(frozen=True, slots=True)
class Choice:
    """What a number stands for: an action, and whether a form comes with it."""

    action: str
    form: bool = False


def choices(card: Card) -> tuple[Choice, ...]:
    """Return what can be answered to a card that has no buttons of its own, in reading order."""
    found: list[Choice] = []
    for block in card.blocks:
        if isinstance(block, Buttons):
            found += [Choice(button.action) for button in block.buttons if not button.url]
        if isinstance(block, Form):
            found.append(Choice(block.action, form=True))
    return tuple(found)


def markdown(card: Card, first: int) -> tuple[str, str]:
    """Return (title, Markdown) of a card that is answered by typing; numbers begin at `first`."""
    number = first
    lines = [f"**{draw.escape(card.title)}**"]
    for block in card.blocks:
        if isinstance(block, Buttons):
            for button in block.buttons:
                if button.url:
                    lines.append(f"[{draw.escape(button.label)}]({button.url})")
                    continue
                lines.append(f"➤ **{draw.escape(button.label)}**：回复“确认 {number}”")
                number += 1
        elif isinstance(block, Form):
            lines.append(f"➤ **{draw.escape(block.submit)}**：复制下面几行，填好后回复")
            lines.append(f"提交 {number}")
            lines += [_blank(entry) for entry in block.inputs]
            number += 1
        else:
            lines += draw.lines(block)
    return draw.cut(draw.clean(card.title)), draw.BREAK.join(lines)


def _blank(entry: Input) -> str:
    if entry.entry is Entry.FILE:
        return f"（{draw.escape(entry.label)}：{draw.ATTACH_HINT}）"
    value = "" if entry.entry is Entry.SECRET else entry.value
    offered = "/".join(f"{value}={text}" for value, text in entry.options)
    hint = "，".join(
        part for part in ("必填" if entry.required else "", offered, entry.told) if part
    )
    filled = f"{draw.escape(entry.label)}：{draw.escape(value)}"
    return f"{filled}（{draw.escape(hint)}）" if hint else filled


_TYPED = re.compile(r"(确认|提交)\s*(\d{1,9})\s*(?:\n(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Typed:
    """An answer to a numbered card: the number, and the lines of a form."""

    number: int
    form: bool
    lines: tuple[str, ...]


def typed(text: str) -> Typed | None:
    """Read `确认 1` or `提交 1` with lines below it; full-width digits will do."""
    found = _TYPED.fullmatch(unicodedata.normalize("NFKC", text.strip()))
    if found is None:
        return None
    lines = tuple(line.strip() for line in (found[3] or "").split("\n") if line.strip())
    return Typed(int(found[2]), found[1] == "提交", lines)


def entered(form: Form, lines: Sequence[str]) -> dict[str, str]:
    """Return what was typed, by the names of the inputs; UsageError names lines that fit none."""
    by_label = {unicodedata.normalize("NFKC", i.label): i for i in form.inputs}
    values: dict[str, str] = {}
    for line in lines:
        label, colon, value = line.partition(":")
        entry = by_label.get(label.strip())
        if line.startswith("(") and line.endswith(")"):
            continue  # the hint where a file goes, copied along
        if entry is None or not colon:
            raise UsageError(f"看不懂这一行：{line}。请按“名称：内容”填写")
        hint = re.escape(unicodedata.normalize("NFKC", _blank(entry)).partition("(")[2])
        values[entry.name] = re.sub(rf"\({hint}$" if hint else "$^", "", value).strip()
    return values

"""What a card, as it was drawn, lets people press and send, and whether a form is filled in well."""

from __future__ import annotations

import re
from collections.abc import Mapping

from adapters.card import Button, Buttons, Card, Entry, Form, Input, is_date, no_date
from adapters.port import UsageError


def has_button(card: Card, action: str) -> Button | None:
    """Return the button of the card, as drawn, that answers with `action`."""
    rows = (block.buttons for block in card.blocks if isinstance(block, Buttons))
    return next((b for row in rows for b in row if b.action == action and not b.url), None)


def find_form(card: Card, action: str) -> Form | None:
    """Return the form of the card that is sent as `action`."""
    forms = (block for block in card.blocks if isinstance(block, Form))
    return next((form for form in forms if form.action == action), None)


def fill(form: Form, values: Mapping[str, str], *, files: bool) -> dict[str, str]:
    """Return every input but FILE, prefilled values where none was given.

    Raises UsageError that names every bad input: a card's own check knows `required` at most.
    """
    asked = [i for i in form.inputs if i.entry is not Entry.FILE]
    names = {i.name for i in asked}
    bad = [f"表单里没有“{name}”这一项" for name in values if name not in names]
    if not files:
        bad += [
            f"请先把文件单独发给机器人：{i.label}"
            for i in form.inputs
            if i.entry is Entry.FILE and i.required
        ]
    filled = {i.name: values.get(i.name, i.value) for i in asked}
    bad += [problem for i in asked if (problem := _wrong(i, filled[i.name]))]
    if bad:
        raise UsageError("；".join(bad))
    return filled


def _wrong(entry: Input, value: str) -> str:
    if not value.strip():
        return f"请填写：{entry.label}" if entry.required else ""
    if entry.entry is Entry.NUMBER and not re.fullmatch(r"\s*[-+]?\d+(\.\d+)?\s*", value):
        return f"请填写数字：{entry.label}"
    if entry.entry is Entry.DATE and not is_date(value):
        return no_date(entry)
    offered = {option for option, _ in entry.options}
    chosen = value.split(",") if entry.entry is Entry.CHOICES else [value]
    if entry.entry in {Entry.CHOICE, Entry.CHOICES} and not offered.issuperset(chosen):
        return f"请从列出的选项中选择：{entry.label}"
    return ""

"""A form as Slack's modal: the view that a form's button opens, and what it says when refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from adapters.card import Entry, Form, Input, is_date
from adapters.port import Fault, Permanent
from adapters.slack import draw
from adapters.slack.draw import MAX_TEXT, Json

MAX_MODAL_TITLE = 24
MAX_OPTIONS = 100
MAX_OPTION = 75

SEEN_WHILE_TYPING = "输入时可见，请留意身后"


@dataclass(frozen=True, slots=True)
class Home:
    """What a modal remembers of the card that it was opened from: its `private_metadata`."""

    chat: str
    title: str
    action: str


def modal(form: Form, home: Home) -> Json:
    """Return the view that asks for what the form asks."""
    return {
        "type": "modal",
        "callback_id": draw.FORM,
        "private_metadata": json.dumps(msgspec.to_builtins(home), ensure_ascii=False),
        "title": draw.plain_text(draw.mended(form.submit)[:MAX_MODAL_TITLE] or "表单"),
        "submit": draw.plain_text(draw.mended(form.submit)[:MAX_MODAL_TITLE] or "提交"),
        "close": draw.plain_text("取消"),
        "blocks": [_input(one) for one in form.inputs],
    }


def _input(one: Input) -> Json:
    drawn: Json = {
        "type": "input",
        "block_id": one.name,
        "label": draw.plain_text(draw.mended(one.label)[:2_000]),
        "optional": not one.required,
        "element": _element(one),
    }
    if hint := _hint(one):
        drawn["hint"] = draw.plain_text(draw.mended(hint)[:2_000])
    return drawn


def _hint(one: Input) -> str:
    if one.entry is not Entry.SECRET:
        return one.hint
    return f"{one.hint}（{SEEN_WHILE_TYPING}）" if one.hint else SEEN_WHILE_TYPING


def _element(one: Input) -> Json:
    start: Json = {"initial_value": draw.mended(one.value)[:MAX_TEXT]} if one.value else {}
    match one.entry:
        case Entry.NUMBER:
            kind: Json = {"type": "number_input", "is_decimal_allowed": True}
            return {**kind, "action_id": "value", **start}
        case Entry.DATE:
            first = {"initial_date": one.value} if is_date(one.value) else {}
            return {"type": "datepicker", "action_id": "value", **first}
        case Entry.CHOICE:
            return _select(one, "static_select")
        case Entry.CHOICES:
            return _select(one, "multi_static_select")
        case Entry.FILE:
            return {"type": "file_input", "action_id": "value", "max_files": 10}
        case Entry.SECRET:
            # No `initial_value`: a secret that we know is not shown again.
            return {"type": "plain_text_input", "action_id": "value"}
        case _:
            many = {"multiline": True} if one.entry is Entry.TEXT else {}
            return {"type": "plain_text_input", "action_id": "value", **many, **start}


def _select(one: Input, kind: str) -> Json:
    # An empty value is what comes back when nothing is chosen: Slack knows no such option.
    options = [_option(value, label) for value, label in one.options if value]
    if not 0 < len(options) <= MAX_OPTIONS:
        reason = f"表单的选项要有 1 到 {MAX_OPTIONS} 个：{one.label}"
        raise Permanent(reason, fault=Fault.REFUSED)
    chosen = one.value.split(",") if kind.startswith("multi") else [one.value]
    start = [option for option in options if option["value"] in chosen]
    drawn: Json = {"type": kind, "action_id": "value", "options": options}
    if start and kind.startswith("multi"):
        drawn["initial_options"] = start
    elif start:
        drawn["initial_option"] = start[0]
    return drawn


def _option(value: str, label: str) -> Json:
    if len(value) > MAX_OPTION:
        raise Permanent(f"表单的选项太长：{label}", fault=Fault.REFUSED)
    return {"text": draw.plain_text(draw.label(label)), "value": draw.mended(value)}


def refused(body: Mapping[str, Any], text: str) -> Json:
    """Return the answer to a modal that keeps it open and shows why."""
    first = body["view"]["blocks"][0]["block_id"]
    return {"response_action": "errors", "errors": {first: draw.mended(text)[:MAX_TEXT]}}

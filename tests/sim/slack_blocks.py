"""What Slack takes in a message or a modal: properties and sizes as docs.slack.dev/reference/block-kit
has them. Whatever is not named here is refused."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

Json = dict[str, Any]

_TEXTS = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
_BLOCKS = {
    "header": {"type", "block_id", "text"},
    "section": {"type", "block_id", "text", "fields", "accessory"},
    "context": {"type", "block_id", "elements"},
    "actions": {"type", "block_id", "elements"},
    "rich_text": {"type", "block_id", "elements"},
    "input": {"type", "block_id", "label", "element", "hint", "optional", "dispatch_action"},
}
_RICH = {"rich_text_section", "rich_text_preformatted"}
_ELEMENTS = {
    "button": {"type", "action_id", "text", "url", "value", "style", "confirm"},
    "plain_text_input": {
        "type", "action_id", "initial_value", "multiline", "min_length", "max_length", "placeholder",
    },
    "number_input": {"type", "action_id", "is_decimal_allowed", "initial_value"},
    "datepicker": {"type", "action_id", "initial_date", "placeholder"},
    "static_select": {"type", "action_id", "options", "initial_option", "placeholder"},
    "multi_static_select": {"type", "action_id", "options", "initial_options", "placeholder"},
    "file_input": {"type", "action_id", "filetypes", "max_files"},
}  # fmt: skip


class No(Exception):
    """Slack's own word for why not."""


def content_of(form: Json) -> Json:
    """Return what a message shows, or refuse it."""
    content: Json = {"text": form.get("text", "")}
    if not content["text"] and "blocks" not in form:
        raise No("no_text")
    if len(content["text"]) > 40_000:
        raise No("msg_too_long")
    if "blocks" in form:
        content["blocks"] = json.loads(form["blocks"])
        check_blocks(content["blocks"])
    if "metadata" in form:
        data = json.loads(form["metadata"])
        if set(data) != {"event_type", "event_payload"}:
            raise No("invalid_metadata_format")
        content["metadata"] = data
    return content


def check_blocks(blocks: list[Json], most: int = 50) -> None:
    """Refuse what Slack refuses in a message."""
    if not 0 < len(blocks) <= most:
        raise No("invalid_blocks")
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(ids) != len(set(ids)) or any(not 0 < len(one) <= 255 for one in ids):
        raise No("invalid_blocks")
    for block in blocks:
        _check_block(block)
    if len("".join(_letters(blocks))) > 13_200:
        raise No("msg_blocks_too_long")


def check_view(view: Json) -> None:
    """Refuse what Slack refuses in a modal."""
    known = {"type", "callback_id", "private_metadata", "title", "submit", "close", "blocks"}
    if set(view) - known or view["type"] != "modal":
        raise No("invalid_arguments")
    if len(view.get("private_metadata", "")) > 3_000:
        raise No("invalid_arguments")
    for name in {"title"} | {"submit", "close"} & set(view):
        _check_text(view[name], 24)
    check_blocks(view["blocks"], 100)


def _check_block(block: Json) -> None:
    kind = block["type"]
    if kind not in _BLOCKS or set(block) - _BLOCKS[kind]:
        raise No("invalid_blocks")
    _CHECKS[kind](block)


def _check_header(block: Json) -> None:
    _check_text(block["text"], 150)


def _check_section(block: Json) -> None:
    _check_text(block["text"], 3_000)


def _check_context(block: Json) -> None:
    _sized(block["elements"], 10)
    for element in block["elements"]:
        _check_text(element, 3_000)


def _check_actions(block: Json) -> None:
    _sized(block["elements"], 25)
    names = [element["action_id"] for element in block["elements"]]
    if len(names) != len(set(names)):
        raise No("invalid_blocks")
    for element in block["elements"]:
        _check_element(element)


def _check_rich(block: Json) -> None:
    for part in block["elements"]:
        if part["type"] not in _RICH or set(part) != {"type", "elements"}:
            raise No("invalid_blocks")
        _sized(part["elements"], 1_000)
        for element in part["elements"]:
            if element["type"] == "user":
                _check_user(element, part)
            elif set(element) - {"type", "text", "style"} or not element["text"]:
                raise No("invalid_blocks")


def _check_user(element: Json, part: Json) -> None:
    # Nobody is mentioned in preformatted text; of elements there it takes texts and links.
    if set(element) - {"type", "user_id", "style"} or part["type"] != "rich_text_section":
        raise No("invalid_blocks")
    if not element["user_id"].startswith(("U", "W")):
        raise No("invalid_blocks")


def _check_input(block: Json) -> None:
    _check_text(block["label"], 2_000)
    if "hint" in block:
        _check_text(block["hint"], 2_000)
    _check_element(block["element"])


_CHECKS = {
    "header": _check_header,
    "section": _check_section,
    "context": _check_context,
    "actions": _check_actions,
    "rich_text": _check_rich,
    "input": _check_input,
}


def _check_element(element: Json) -> None:
    kind = element["type"]
    if kind not in _ELEMENTS or set(element) - _ELEMENTS[kind] or len(element["action_id"]) > 255:
        raise No("invalid_blocks")
    if kind == "button":
        _check_button(element)
    if "options" in element:
        _check_options(element)
    if kind == "datepicker" and "initial_date" in element:
        _check_date(element["initial_date"])
    if len(str(element.get("initial_value", ""))) > 3_000:
        raise No("invalid_blocks")
    if not 1 <= element.get("max_files", 1) <= 10:
        raise No("invalid_blocks")


def _check_date(text: str) -> None:
    if date.fromisoformat(text).isoformat() != text:
        raise No("invalid_blocks")


def _check_button(button: Json) -> None:
    _check_text(button["text"], 75)
    url = button.get("url", "https://")
    style = button.get("style", "primary")
    if not url.startswith(("https://", "http://")) or style not in {"primary", "danger"}:
        raise No("invalid_blocks")
    if len(button.get("value", "")) > 2_000:
        raise No("invalid_blocks")
    for name, text in button.get("confirm", {}).items():
        _check_text(text, {"title": 100, "text": 300, "confirm": 30, "deny": 30}[name])


def _check_options(element: Json) -> None:
    _sized(element["options"], 100)
    for option in element["options"]:
        _check_text(option["text"], 75)
        if not 0 < len(option["value"]) <= 150:
            raise No("invalid_blocks")
    first = element.get("initial_option", element["options"][0])
    for option in [first, *element.get("initial_options", ())]:
        if option not in element["options"]:
            raise No("invalid_blocks")


def _check_text(text: Json, most: int) -> None:
    if set(text) - _TEXTS.get(text["type"], set()) or not 0 < len(text["text"]) <= most:
        raise No("invalid_blocks")


def _sized(items: list[Json], most: int) -> None:
    if not 0 < len(items) <= most:
        raise No("invalid_blocks")


def _letters(value: object) -> list[str]:
    if isinstance(value, dict):
        text = value.get("text")
        own = [text] if isinstance(text, str) else []
        return own + [one for inner in value.values() for one in _letters(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _letters(inner)]
    return []


def inputs_of(view: Json) -> dict[str, Json]:
    return {block["block_id"]: block for block in view["blocks"] if block["type"] == "input"}


def is_empty(value: Json) -> bool:
    return not any(held for name, held in value.items() if name != "type")

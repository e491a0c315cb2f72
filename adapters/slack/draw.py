"""The neutral card as Slack's blocks, within the sizes that Slack takes.

Limits are those of docs.slack.dev/reference/block-kit, gathered in facts/wecom-slack.md.
Texts go out as `plain_text` or as `rich_text` elements, which Slack shows letter by letter: what a
person typed can never mention a channel or become a link.
"""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from adapters.card import (
    Block,
    Button,
    Buttons,
    Card,
    Checklist,
    Fields,
    Form,
    Mention,
    Progress,
    Style,
    Table,
    Text,
    Tone,
    plain,
)
from adapters.chart import Chart
from adapters.fitted import fitted
from adapters.port import Fault, Permanent
from adapters.slack import marks

Json = dict[str, Any]

MAX_BLOCKS = 50
MAX_TEXT = 3_000
MAX_TOTAL = 13_000
"""Characters of all blocks; beyond about 13 200 Slack answers msg_blocks_too_long (bolt-js#2509)."""
MAX_FALLBACK = 39_000
MAX_ACTIONS = 25
MAX_LABEL = 75
MAX_VALUE = 2_000
MAX_HEADER = 150

PLATFORM = "slack"

PRESS = "press"
FORM = "form"
"""The first part of a button's action_id: whether it is a Click, or opens a modal."""

_TONES = {
    Tone.NEUTRAL: "",
    Tone.WORKING: "🔵 ",
    Tone.GOOD: "🟢 ",
    Tone.WARNING: "🟡 ",
    Tone.BAD: "🔴 ",
}
_STYLES = {Style.PRIMARY: "primary", Style.DANGER: "danger"}


def message(card: Card) -> Json:
    """Return `text` and `blocks` of a message.

    Raises Permanent when Slack would refuse it for its size.
    """
    return fitted(card, _message)


def _message(card: Card) -> Json:
    blocks = _head(card)
    for block in card.blocks:
        blocks += _drawn(block)
    if len(blocks) > MAX_BLOCKS:
        raise Permanent(f"卡片太长：Slack 一条消息最多 {MAX_BLOCKS} 块", fault=Fault.REFUSED)
    if _weight(blocks) > MAX_TOTAL:
        raise Permanent(f"卡片太长：Slack 一条消息最多约 {MAX_TOTAL} 字", fault=Fault.REFUSED)
    fallback = html.escape(mended(plain(card)), quote=False)
    return {"text": fallback[:MAX_FALLBACK], "blocks": blocks}


def _head(card: Card) -> list[Json]:
    title = mended(_TONES[card.tone] + card.title).strip()
    if not title:
        return []
    if len(title) > MAX_HEADER:
        return _rich(title, bold=True)
    return [{"type": "header", "text": plain_text(title)}]


def _weight(blocks: Iterable[Json]) -> int:
    """Count the characters that people read."""
    return sum(len(text) for block in blocks for text in _texts(block))


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        text = value.get("text")
        if isinstance(text, str):
            yield text
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _drawn(block: Block) -> list[Json]:
    match block:
        case Text(text, style):
            return _paragraph(text, style)
        case Mention():
            return _mention(block)
        case Fields(pairs):
            return _pairs(pairs)
        case Table(columns, rows):
            return _fixed("\n".join(" | ".join(cells) for cells in (columns, *rows)))
        case Progress() | Checklist() | Chart():
            return _rich(plain(Card("", blocks=(block,))).partition("\n")[2])
        case Buttons(buttons):
            return _rows(buttons)
        case Form():
            return [_form_button(block)]


def _paragraph(text: str, style: Style) -> list[Json]:
    match style:
        case Style.CODE:
            return _fixed(text)
        case Style.QUIET:
            return [{"type": "context", "elements": [plain_text(part)]} for part in _parts(text)]
        case Style.STRONG:
            return _rich(text, bold=True)
        case _:
            return _rich(text)


def _parts(text: str) -> list[str]:
    """Cut a text where lines end, into parts that Slack takes."""
    parts: list[str] = []
    rest = mended(text).strip("\n")
    while len(rest) > MAX_TEXT:
        cut = rest.rfind("\n", 1, MAX_TEXT)
        cut = cut if cut > 0 else MAX_TEXT
        parts.append(rest[:cut])
        rest = rest[cut:].removeprefix("\n")
    return [part for part in (*parts, rest) if part]


def _rich(text: str, *, bold: bool = False) -> list[Json]:
    style: Json = {"style": {"bold": True}} if bold else {}
    return [
        _rich_block("rich_text_section", [{"type": "text", "text": part, **style}])
        for part in _parts(text)
    ]


_USER = re.compile(r"[UW][A-Z0-9]+")


def _mention(block: Mention) -> list[Json]:
    """Draw a real @ (a rich text's `user` element) for Slack's own people, others by name."""
    elements: list[Json] = []
    for person in block.people:
        elements += [{"type": "text", "text": " "}] if elements else []
        if person.platform == PLATFORM and _USER.fullmatch(person.id):
            elements.append({"type": "user", "user_id": person.id})
        else:
            elements.append({"type": "text", "text": mended(Mention((person,)).text)})
    return [_rich_block("rich_text_section", elements)] if elements else []


def _fixed(text: str) -> list[Json]:
    return [
        _rich_block("rich_text_preformatted", [{"type": "text", "text": part}])
        for part in _parts(text)
    ]


def _rich_block(kind: str, elements: list[Json]) -> Json:
    return {"type": "rich_text", "elements": [{"type": kind, "elements": elements}]}


def _pairs(pairs: tuple[tuple[str, str], ...]) -> list[Json]:
    if sum(len(label) + len(value) + 2 for label, value in pairs) > MAX_TEXT:
        return _rich("\n".join(f"{label}：{value}" for label, value in pairs))
    elements: list[Json] = []
    for label, value in pairs:
        end = "\n" if elements else ""
        elements.append(
            {"type": "text", "text": mended(f"{end}{label}："), "style": {"bold": True}}
        )
        if value:
            elements.append({"type": "text", "text": mended(value)})
    return [_rich_block("rich_text_section", elements)] if elements else []


def _rows(buttons: Sequence[Button]) -> list[Json]:
    """Draw buttons; an address that only the console's pages know is written out instead."""
    blocks: list[Json] = []
    real = [b for b in buttons if not b.url or b.url.startswith(("https://", "http://"))]
    for start in range(0, len(real), MAX_ACTIONS):
        row = real[start : start + MAX_ACTIONS]
        elements = [_button(button, start + place) for place, button in enumerate(row)]
        blocks.append({"type": "actions", "elements": elements})
    for button in buttons:
        if button not in real:
            blocks += _paragraph(f"{button.label}：{button.url}", Style.QUIET)
    return blocks


def _button(button: Button, place: int) -> Json:
    drawn: Json = {
        "type": "button",
        "action_id": f"{PRESS}:{place}",
        "text": plain_text(label(button.label)),
    }
    if button.url:
        drawn["url"] = mended(button.url)
    else:
        drawn["value"] = _value(button.action)
    if button.style in _STYLES:
        drawn["style"] = _STYLES[button.style]
    if button.confirm:
        drawn["confirm"] = {
            "title": plain_text(label(button.label)),
            "text": plain_text(mended(button.confirm)[:300]),
            "confirm": plain_text("确定"),
            "deny": plain_text("取消"),
        }
    return drawn


def _value(action: str) -> str:
    if len(action) > MAX_VALUE:
        raise Permanent(f"按钮的内容太长：Slack 最多 {MAX_VALUE} 字", fault=Fault.REFUSED)
    return mended(action)


# -- a form: a button that opens a modal ----------------------------------------------------------


def _form_button(form: Form) -> Json:
    element = {
        "type": "button",
        "action_id": f"{FORM}:0",
        "text": plain_text(label(f"📝 {form.submit}")),
        "style": "primary",
        "value": pack(form),
    }
    # The block_id keeps two forms of one card apart: action_ids need be unique in a block alone.
    return {
        "type": "actions",
        "block_id": f"{FORM}:{marks.stamp(form.action)}",
        "elements": [element],
    }


def pack(form: Form) -> str:
    """Return the form as a button's value, so that it opens after a restart too.

    Raises Permanent when it does not fit.
    """
    text = mended(json.dumps(msgspec.to_builtins(form), ensure_ascii=False, separators=(",", ":")))
    packed = base64.b85encode(zlib.compress(text.encode(), 9)).decode()
    if len(packed) > MAX_VALUE:
        raise Permanent("表单太长：Slack 的按钮装不下", fault=Fault.REFUSED)
    return packed


def unpack(value: str) -> Form:
    """Return the form that `pack` put into a button."""
    return msgspec.json.decode(zlib.decompress(base64.b85decode(value)), type=Form)


# -- lines that are no card -----------------------------------------------------------------------


def note(text: str) -> Json:
    """Return `text` and `blocks` of a line that one person alone sees."""
    body = {"text": html.escape(mended(text), quote=False)[:MAX_FALLBACK]}
    return {**body, "blocks": _rich(text)[:MAX_BLOCKS]}


def file_note(name: str, mark: str) -> Json:
    """Return the block under which a file is shown; its id is the stamp, as a file's message takes
    no metadata (that Slack keeps the id there is not verified)."""
    return {
        "type": "section",
        "block_id": f"{marks.STAMP}:{mark}",
        "text": plain_text(mended(name)),
    }


# -- texts ----------------------------------------------------------------------------------------


def mended(text: str) -> str:
    """Return the text with every half character as a "?"."""
    return text.encode(errors="replace").decode()


def plain_text(text: str) -> Json:
    """Return a text that Slack shows letter by letter."""
    return {"type": "plain_text", "text": text, "emoji": False}


def label(text: str) -> str:
    """Return what is written on a button or an option."""
    return mended(text)[:MAX_LABEL] or "…"

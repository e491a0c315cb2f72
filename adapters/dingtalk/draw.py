"""The neutral card as the variables of one card template, each within its bytes, and as Markdown.

Facts are from `facts/feishu-dingtalk.md`, part 2. What could not be checked against the real
platform is assumed here and nowhere else: the shape of the template's form variables, and how its
Markdown is escaped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapters.card import (
    SIGNS,
    Block,
    Button,
    Buttons,
    Card,
    Checklist,
    Entry,
    Fields,
    Form,
    Input,
    Item,
    Mention,
    Progress,
    Style,
    Table,
    Text,
    Tone,
)
from adapters.chart import Chart, words
from adapters.fitted import fitted
from adapters.port import Fault, Permanent
from adapters.words import Chat

VALUE_BYTES = 1_000
"""A value of a card's data is at most 1 KB, its key 100 B (official page, mirrored)."""
CARD_BYTES = 12_000
TITLE_CHARS = 60

BODIES = tuple(f"body{n}" for n in range(1, 13))
ROWS = tuple(f"buttons{n}" for n in range(1, 5))
FORMS = 2
PARTS = 3

COLOURS = {
    Tone.NEUTRAL: "gray",
    Tone.WORKING: "blue",
    Tone.GOOD: "green",
    Tone.WARNING: "orange",
    Tone.BAD: "red",
}
BUTTON_COLOURS = {Style.PRIMARY: "blue", Style.DANGER: "red"}
PLAIN_BUTTON = "gray"
BREAK = "  \n"
INDENT = "　"
FAR = "地址太长，钉钉放不下，请到监控系统查看"
"""What stands for a link whose address alone is more than a value holds: an alarm goes out without it."""
ATTACH_HINT = "请先把文件单独发给机器人，再提交"


def form_names(slot: int) -> tuple[str, ...]:
    """Return the names of the variables that the parts of form number `slot` fill."""
    return tuple(f"form{slot}_{part}" for part in range(1, PARTS + 1))


VARIABLES = (
    "title",
    "tone",
    "chat",
    *BODIES,
    *ROWS,
    *(name for slot in range(1, FORMS + 1) for name in form_names(slot)),
    *(f"{name}{slot}" for slot in range(1, FORMS + 1) for name in ("submit", "action")),
)
"""What the card template must know; a card fills every one of them, with "" when it has none."""
NOTICE = "notice"
"""The private variable in which the presser alone reads the answer to a press."""


def draw(card: Card, chat: Chat) -> dict[str, str]:
    """Return every variable of the template, each within its bytes; Permanent when it is too much.

    The template has fixed places: paragraphs first, then buttons, then forms.
    """
    return fitted(card, lambda shown: _draw(shown, chat))


def _draw(card: Card, chat: Chat) -> dict[str, str]:
    params = dict.fromkeys(VARIABLES, "")
    params |= {"title": cut(clean(card.title)), "tone": COLOURS[card.tone], "chat": chat.id}
    buttons = [b for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]
    far = [button for button in buttons if button.url and not _fits(button, chat)]
    said = [line for block in card.blocks for line in lines(block)]
    said += [f"{escape(button.label)}：{FAR}" for button in far]
    _fill_slots(params, BODIES, pieces(said))
    _fill_slots(params, ROWS, _rows([_button(b, chat) for b in buttons if b not in far]))
    forms = [block for block in card.blocks if isinstance(block, Form)]
    if len(forms) > FORMS:
        raise _too_big("表单太多")
    for slot, form in enumerate(forms, 1):
        fields = [field for one in form.inputs for field in _fields(one)]
        parts = [f'{{"fields":{part}}}' for part in _rows(fields, AROUND)]
        _fill_slots(params, form_names(slot), parts)
        params[f"submit{slot}"] = clean(form.submit)
        params[f"action{slot}"] = form.action
    if any(size(value) > VALUE_BYTES for value in params.values()):
        raise _too_big("有一项太长")
    return params


def digest(params: Mapping[str, str]) -> str:
    """Return what two equal drawings have in common, and nothing else does."""
    return hashlib.sha256(compact(params).encode()).hexdigest()


def _fill_slots(params: dict[str, str], names: Sequence[str], values: Sequence[str]) -> None:
    if len(values) > len(names):
        raise _too_big("内容太多")
    params.update(zip(names, values, strict=False))


def _too_big(why: str) -> Permanent:
    return Permanent(f"钉钉卡片放不下：{why}", fault=Fault.REFUSED)


def size(text: str) -> int:
    """Return the bytes of a text."""
    return len(text.encode(errors="replace"))


def clean(text: str) -> str:
    """Return the text with half characters mended: JSON cannot carry them."""
    return text.encode(errors="replace").decode()


def cut(title: str) -> str:
    """Return the title, as long as it may be."""
    return title if len(title) <= TITLE_CHARS else title[: TITLE_CHARS - 1] + "…"


def pieces(lines: Iterable[str]) -> list[str]:
    """Return the lines joined into as few texts as each may have bytes; long lines are split."""
    full: list[str] = []
    for line in (part for whole in lines for part in _split(whole)):
        joined = f"{full[-1]}{BREAK}{line}" if full else line
        if full and size(joined) <= VALUE_BYTES:
            full[-1] = joined
        else:
            full.append(line)
    return full


def _split(line: str) -> list[str]:
    parts: list[str] = []
    while size(line) > VALUE_BYTES:
        parts.append(beginning(line, VALUE_BYTES))
        line = line[len(parts[-1]) :]
    return [*parts, line]


def beginning(markdown: str, most: int) -> str:
    """Return what of escaped Markdown is within `most` bytes: a sign stays with the backslash that
    escapes it, and a pair of them is one sign."""
    head = markdown.encode()[:most].decode(errors="ignore")
    return head[:-1] if (len(head) - len(head.rstrip("\\"))) % 2 else head


def _rows(items: Sequence[Mapping[str, Any]], around: int = 0) -> list[str]:
    """Return the items as JSON arrays of at most VALUE_BYTES less `around`, in order."""
    rows: list[list[Mapping[str, Any]]] = []
    for item in items:
        if rows and size(compact([*rows[-1], item])) + around <= VALUE_BYTES:
            rows[-1].append(item)
        else:
            rows.append([item])
    return [compact(row) for row in rows]


def compact(value: object) -> str:
    """Return the value as JSON with no half characters in it."""
    return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _button(button: Button, chat: Chat) -> dict[str, Any]:
    event: dict[str, Any] = {"type": "openLink", "params": {"url": button.url}}
    if not button.url:
        params = {"action": button.action, "chat": chat.id}
        event = {"type": "sendCardRequest", "params": {"actionId": "press", "params": params}}
    colour = BUTTON_COLOURS.get(button.style, PLAIN_BUTTON)
    return {"text": clean(button.label), "color": colour, "status": "normal", "event": event}


def _fits(button: Button, chat: Chat) -> bool:
    return size(compact([_button(button, chat)])) <= VALUE_BYTES


_FIELDS = {Entry.CHOICE: "SELECT", Entry.CHOICES: "MULTI_SELECT"}
AROUND = len('{"fields":}')
PIECE = "~"
"""In a field's name: `lines~2` holds more of the options of `lines`, which do not fit one value."""


def _fields(entry: Input) -> list[dict[str, Any]]:
    """Return the field of an input, or several of one that has more options than a value can hold.

    Whether anything was chosen is then for `fill` to judge: each field alone may be left empty.
    """
    whole = _field(entry)
    if not entry.options or size(compact([whole])) + AROUND <= VALUE_BYTES:
        return [whole]
    bare = _field(replace(entry, options=(), required=False, value=""))
    room = AROUND + size(compact([bare])) + len(',"options":,"defaultValue":""~99（99）')
    room += size(entry.value)
    fields = []
    for number, row in enumerate(_rows(whole["options"], room), 1):
        options = json.loads(row)
        offered = {option["value"] for option in options}
        drawn = ",".join(one for one in entry.value.split(",") if one in offered)
        mark = (f"{PIECE}{number}", f"（{number}）") if number > 1 else ("", "")
        field = {**bare, "name": entry.name + mark[0], "label": bare["label"] + mark[1]}
        fields.append(field | {"options": options} | ({"defaultValue": drawn} if drawn else {}))
    return fields


def _field(entry: Input) -> dict[str, Any]:
    field: dict[str, Any] = {
        "name": entry.name,
        "label": clean(entry.label),
        "type": _FIELDS.get(entry.entry, "TEXT"),
    }
    if entry.required:
        field["required"] = True
    if entry.entry is Entry.FILE:  # a card has no input for files
        return {**field, "readOnly": True, "placeholder": ATTACH_HINT}
    if entry.told:
        field["placeholder"] = clean(entry.told)
    if entry.options:
        field["options"] = [{"value": value, "text": clean(text)} for value, text in entry.options]
    if entry.value and entry.entry is not Entry.SECRET:
        field["defaultValue"] = clean(entry.value)
    return field


# -- Markdown -----------------------------------------------------------------------------------

_SPECIAL = re.compile(r"([\\`*_~\[\]#|>])")


def escape(text: str) -> str:
    """Return the text as Markdown that shows exactly it, on one line."""
    text = clean(text).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", text)


def lines(block: Block) -> list[str]:
    """Return the block as lines of Markdown; none of what is pressed or filled in."""
    match block:
        case Text(text, style):
            return [_styled(line, style) for line in text.split("\n")]
        case Mention():
            return [escape(block.text)]
        case Fields(pairs):
            return [f"**{escape(label)}**：{_flat(value)}" for label, value in pairs]
        case Table(columns, rows):
            head = " \\| ".join(f"**{_flat(cell)}**" if cell else "" for cell in columns)
            return [head, *(" \\| ".join(_flat(cell) for cell in row) for row in rows)]
        case Progress(done, total, text):
            filled = round(10 * done / total) if total else 0
            return [f"{'█' * filled}{'░' * (10 - filled)} {done}/{total} {escape(text)}".rstrip()]
        case Checklist(items):
            return [_item(item) for item in items]
        case Chart():
            return [escape(line) for line in words(block).split("\n")]
        case _:
            return []


def _flat(text: str) -> str:
    return BREAK.join(escape(line) for line in text.split("\n"))


def _styled(line: str, style: Style) -> str:
    if not line.strip():
        return ""
    if style in {Style.STRONG, Style.DANGER}:
        return f"**{escape(line)}**"
    return escape(line)


def _item(item: Item) -> str:
    note = f"（{_flat(item.note)}）" if item.note else ""
    return f"{INDENT * item.level}{SIGNS[item.mark]} {escape(item.title)}{note}"

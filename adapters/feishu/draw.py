"""The neutral card as Feishu's card JSON 2.0, where an unknown property is an error.

Source: open.feishu.cn, card JSON 2.0 structure and components. People's words go into `plain_text`
alone, which Feishu does not interpret; only CODE is Markdown, and there the fence is guarded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.card import (
    Button,
    Buttons,
    Card,
    Checklist,
    Entry,
    Fields,
    Form,
    Input,
    Mention,
    Progress,
    Style,
    Table,
    Text,
    Tone,
    is_date,
    plain,
)
from adapters.chart import COLOURS, Chart, Kind
from adapters.fitted import fitted
from adapters.port import Fault, Permanent

PLATFORM = "feishu"
MAX_BYTES = 30_000
MAX_TAGS = 200
"""Elements and components of one card together (card JSON 2.0 structure)."""

MAX_TABLES = 5
MAX_CHARTS = 5
"""Charts of one card, as the chart component's page advises."""

MAX_INPUT = 1000
"""Characters that an input takes at most (input component)."""

PAGE = 10
"""Rows of a table on one page, the most that Feishu takes."""

MANY_LINES = 6
UNSEEN = "\u200b"

TEMPLATES = {
    Tone.NEUTRAL: "grey",
    Tone.WORKING: "blue",
    Tone.GOOD: "green",
    Tone.WARNING: "orange",
    Tone.BAD: "red",
}

_BUTTON = {Style.PRIMARY: "primary", Style.DANGER: "danger"}

Json = dict[str, Any]


def content(card: Card) -> str:
    """Return the card as the `content` of a message; Permanent when it is beyond Feishu's limits,
    though `fitted` made it as light as may be.

    Half a character, which JSON cannot carry, becomes a "?".
    """
    return fitted(card, _content)


def _content(card: Card) -> str:
    drawn = draw(card)
    text = compact(drawn)
    if len(text.encode()) > MAX_BYTES:
        raise Permanent("卡片太大：飞书最多 30 KB", fault=Fault.REFUSED)
    if tags(drawn) > MAX_TAGS:
        raise Permanent(f"卡片内容太多：飞书最多 {MAX_TAGS} 个组件", fault=Fault.REFUSED)
    return text


def moved(card: Card) -> Card:
    """Return what a card shows once it lives on in a newer message."""
    note = "这张卡片已满两周，飞书不再刷新它：请看本群最新的同名卡片（已置顶在 Pin 列表）"
    return Card(f"{card.title}（已移到新卡片）", Tone.NEUTRAL, (Text(note),))


def compact(value: object) -> str:
    """Return the value as JSON with no half characters in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace").decode()


def tags(value: object) -> int:
    """Count what Feishu counts: everything that has a `tag`."""
    if isinstance(value, Mapping):
        return ("tag" in value) + sum(tags(inner) for inner in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sum(tags(inner) for inner in value)
    return 0


def draw(card: Card) -> Json:
    """Return the card as card JSON 2.0."""
    elements: list[Json] = []
    tables = charts = forms = 0
    for block in card.blocks:
        match block:
            case Table() if tables < MAX_TABLES:
                tables += 1
                elements.append(_table(block))
            case Chart() if charts < MAX_CHARTS:
                charts += 1
                elements.append(_chart(block))
            case Form():
                elements.append(_form(block, forms))
                forms += 1
            case Buttons(buttons) if buttons:
                elements.append(_row([_button(button) for button in buttons]))
            case Buttons():
                continue
            case Text():
                elements.extend(_paragraph(block))
            case Mention():
                elements.extend(_mention(block))
            case Table() | Chart() | Fields() | Progress() | Checklist():
                elements.extend(_lines(block))
    return {
        "schema": "2.0",
        "config": {"update_multi": True, "width_mode": "fill"},
        "header": {"title": _words(card.title or " "), "template": TEMPLATES[card.tone]},
        "body": {"elements": elements},
    }


def _words(text: str) -> Json:
    return {"tag": "plain_text", "content": text}


def _div(text: str, **look: str) -> Json:
    return {"tag": "div", "text": {**_words(text), **look}}


def _paragraph(block: Text) -> list[Json]:
    if not block.text:
        return []
    match block.style:
        case Style.CODE:
            # A zero-width space keeps the text's own fence from closing ours.
            guarded = block.text.replace("```", f"`{UNSEEN}``")
            return [{"tag": "markdown", "content": f"```\n{guarded}\n```"}]
        case Style.STRONG:
            return [_div(block.text, text_size="heading")]
        case Style.QUIET:
            return [_div(block.text, text_size="notation", text_color="grey")]
        case _:
            return [_div(block.text)]


_OPEN_ID = re.compile(r"ou_[0-9A-Za-z]+(_[0-9A-Za-z]+)*")


def _mention(block: Mention) -> list[Json]:
    """Draw a real @ (the Markdown component's `<at>`) for whoever has an open_id; others by name."""
    ours = [p for p in block.people if p.platform == PLATFORM and _OPEN_ID.fullmatch(p.id)]
    ats = " ".join(f"<at id={person.id}></at>" for person in ours)
    rest = Mention(tuple(person for person in block.people if person not in ours)).text
    drawn: list[Json] = [{"tag": "markdown", "content": ats}] if ats else []
    return [*drawn, _div(rest)] if rest else drawn


def _lines(block: Table | Chart | Fields | Progress | Checklist) -> list[Json]:
    """Draw as lines what Feishu has no component for (or, of tables and charts, no more room)."""
    text = plain(Card("", blocks=(block,))).partition("\n")[2]
    return [_div(text)] if text else []


def _table(block: Table) -> Json:
    keys = [f"c{number}" for number in range(len(block.columns))]
    return {
        "tag": "table",
        "page_size": PAGE,
        "row_height": "auto",
        "columns": [
            {"name": key, "display_name": title, "data_type": "text"}
            for key, title in zip(keys, block.columns, strict=True)
        ],
        "rows": [dict(zip(keys, row, strict=True)) for row in block.rows],
    }


def _chart(block: Chart) -> Json:
    """Draw a chart by a VChart spec (visactor.io/vchart), which Feishu's clients understand.

    The points stand label by label, so that the axis keeps the labels' order where one series has
    a gap: null breaks a line. Tried with VChart 1.6 and 2.1.
    """
    several, labels = len(block.series) > 1, _apart(block.labels)
    points = [
        {"x": label, "y": one.values[at]} | ({"s": one.name} if several else {})
        for at, label in enumerate(labels)
        for one in block.series
    ]
    spec: Json = {
        "type": block.kind.value,
        "title": {"text": block.head},
        "data": {"values": points},
        "xField": "x",
        "yField": "y",
    }
    if several:
        # Without its name in the x field, VChart stacks a series upon the other.
        spec |= {"seriesField": "s", "legends": {"visible": True, "orient": "bottom"}}
        spec["color"] = list(COLOURS[: len(block.series)])
        spec |= {"xField": ["x", "s"]} if block.kind is Kind.BAR else {}
    elif block.kind is Kind.BAR:
        spec["label"] = {"visible": True}
    # A phone's own choice is 1:1, a screenful.
    return {"tag": "chart", "aspect_ratio": "16:9", "chart_spec": spec}


def _apart(labels: Sequence[str]) -> list[str]:
    """Return the labels, each another one: VChart puts what is called the same in one place."""
    return [label + UNSEEN * labels[:at].count(label) for at, label in enumerate(labels)]


def _row(buttons: list[Json]) -> Json:
    return {
        "tag": "column_set",
        "flex_mode": "flow",
        "columns": [{"tag": "column", "width": "auto", "elements": [one]} for one in buttons],
    }


def _button(button: Button) -> Json:
    drawn: Json = {
        "tag": "button",
        "text": _words(button.label),
        "type": _BUTTON.get(button.style, "default"),
    }
    if button.url:
        drawn["behaviors"] = [{"type": "open_url", "default_url": button.url}]
        return drawn
    drawn["behaviors"] = [{"type": "callback", "value": {"action": button.action}}]
    if button.confirm:
        drawn["confirm"] = {"title": _words(button.label), "text": _words(button.confirm)}
    return drawn


def _form(form: Form, number: int) -> Json:
    elements = [drawn for one in form.inputs for drawn in _input(one, number)]
    numbers = {one.name: one.label for one in form.inputs if one.entry is Entry.NUMBER}
    dates = {one.name: one.label for one in form.inputs if one.entry is Entry.DATE}
    files = {one.name: one.label for one in form.inputs if one.entry is Entry.FILE}
    # What Feishu's client cannot check or take rides along in the button, and is judged by `wire`.
    value: Json = {"action": form.action, "form": number}
    value["inputs"] = [one.name for one in form.inputs if one.entry is not Entry.FILE]
    value |= {"numbers": numbers} if numbers else {}
    value |= {"dates": dates} if dates else {}
    value |= {"files": files} if files else {}
    elements.append(
        {
            "tag": "button",
            "name": f"submit_{number}",
            "text": _words(form.submit),
            "type": "primary",
            "form_action_type": "submit",
            "behaviors": [{"type": "callback", "value": value}],
        }
    )
    return {"tag": "form", "name": f"form_{number}", "elements": elements}


def field(name: str, number: int) -> str:
    """Return an input's name, which must be unique in the whole card."""
    return f"f{number}_{name}"


def _input(one: Input, number: int) -> list[Json]:
    named: Json = {"name": field(one.name, number), "required": one.required, "width": "fill"}
    match one.entry:
        case Entry.FILE:
            must = "（必需）" if one.required else ""
            hint = f"📎 {one.label}{must}：请先把文件发到本聊天，再点“提交”"
            return [_div(f"{hint}\n{one.hint}" if one.hint else hint)]
        case Entry.DATE:
            return [_div(one.label), {**_date(one), **named}]
        case Entry.CHOICE | Entry.CHOICES:
            return [_div(one.label), {**_choice(one), **named}]
        case _:
            return [{**_entry(one), **named}]


def _date(one: Input) -> Json:
    drawn: Json = {"tag": "date_picker", "placeholder": _words(one.hint or "请选择日期")}
    return drawn | ({"initial_date": one.value} if is_date(one.value) else {})


def _choice(one: Input) -> Json:
    drawn: Json = {
        "placeholder": _words(one.hint or "请选择"),
        "options": [{"text": _words(label), "value": value} for value, label in one.options],
    }
    if one.entry is Entry.CHOICES:
        drawn["tag"] = "multi_select_static"
        drawn |= {"selected_values": one.value.split(",")} if one.value else {}
        return drawn
    drawn["tag"] = "select_static"
    drawn |= {"initial_option": one.value} if one.value else {}
    return drawn


def _entry(one: Input) -> Json:
    drawn: Json = {
        "tag": "input",
        "label": _words(one.label),
        "placeholder": _words((one.hint or "请输入")[:100]),
        "max_length": MAX_INPUT,
    }
    if one.entry is Entry.TEXT:
        drawn |= {"input_type": "multiline_text", "rows": MANY_LINES}
    if one.entry is Entry.SECRET:
        return drawn | {"input_type": "password"}
    if one.value:
        drawn["default_value"] = one.value
    return drawn

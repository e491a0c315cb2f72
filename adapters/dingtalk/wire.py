"""DingTalk's JSON and our words, both ways: plain functions, no await, no clock, no socket.

Facts are from `facts/feishu-dingtalk.md`, part 2. What could not be checked against the real
platform is assumed here and nowhere else: the shape of the template's form variables, the file
types of `sampleFile`, and how its Markdown is escaped.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

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
    is_date,
    no_date,
)
from adapters.port import Fault, InDoubt, OutsideError, Permanent, Transient, UsageError
from adapters.words import Chat, Click, Event, Message, Person, Submission

PLATFORM = "dingtalk"

VALUE_BYTES = 1_000
"""A value of a card's data is at most 1 KB, its key 100 B (official page, mirrored)."""
MESSAGE_BYTES = 15_000
"""`msgParam` of a robot's message, as JSON."""
CARD_BYTES = 12_000
FILE_BYTES = 20_000_000
TITLE_CHARS = 60
GROUP_NAME_CHARS = 256
DING_CHARS = 500

BODIES = tuple(f"body{n}" for n in range(1, 13))
ROWS = tuple(f"buttons{n}" for n in range(1, 5))
FORMS = 2
PARTS = 3

DIRECT = "user:"
"""A chat's id is a group's openConversationId, or this and the userId of one person."""

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
ATTACH_HINT = "请先把文件单独发给机器人，再提交"
RECEIVED = "已收到"
STALE = "这张卡片已更新，上面没有这个按钮了，请看卡片的最新内容"
STALE_FORM = "这张卡片已更新，上面没有这个表单了，请看卡片的最新内容"
GOOD_SIGN, BAD_SIGN, ASK_SIGN = "✅ ", "⚠️ ", "❓ "


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


# -- names ------------------------------------------------------------------------------------


def track(key: str) -> str:
    """Return the outTrackId of a card: the platform's idempotency key."""
    return f"vigilbot-{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:40]}"


def group_uuid(key: str) -> str:
    """Return the uuid by which the platform makes a group once."""
    return hashlib.sha256(f"open:{key}".encode(errors="replace")).hexdigest()[:32]


def direct(person: Person) -> Chat:
    """Return the talk of one person with the bot."""
    return Chat(PLATFORM, f"{DIRECT}{person.id}", person.name)


def is_outsider(person: Person) -> bool:
    """Is it somebody who is not of the organisation? Those have an encrypted id and no staff id."""
    return person.id.startswith("$:")


def user_of(chat: Chat) -> str:
    """Return whose talk with the bot this is; "" for a group."""
    return chat.id.removeprefix(DIRECT) if chat.id.startswith(DIRECT) else ""


# -- a card as the template's variables ---------------------------------------------------------


def draw(card: Card, chat: Chat) -> dict[str, str]:
    """Return every variable of the template, each within its bytes; Permanent when it is too much.

    The template has fixed places: paragraphs first, then buttons, then forms.
    """
    params = dict.fromkeys(VARIABLES, "")
    params |= {"title": _cut(clean(card.title)), "tone": COLOURS[card.tone], "chat": chat.id}
    lines = [line for block in card.blocks for line in _lines(block)]
    _fill_slots(params, BODIES, pieces(lines))
    buttons = [b for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]
    _fill_slots(params, ROWS, _rows([_button(b, chat) for b in buttons]))
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
    return len(text.encode(errors="replace"))


def clean(text: str) -> str:
    """Return the text with half characters mended: JSON cannot carry them."""
    return text.encode(errors="replace").decode()


def _cut(title: str) -> str:
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
        head = line.encode()[:VALUE_BYTES].decode(errors="ignore").rstrip("\\")
        parts.append(head)
        line = line[len(head) :]
    return [*parts, line]


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
    return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _button(button: Button, chat: Chat) -> dict[str, Any]:
    event: dict[str, Any] = {"type": "openLink", "params": {"url": button.url}}
    if not button.url:
        params = {"action": button.action, "chat": chat.id}
        event = {"type": "sendCardRequest", "params": {"actionId": "press", "params": params}}
    colour = BUTTON_COLOURS.get(button.style, PLAIN_BUTTON)
    return {"text": clean(button.label), "color": colour, "status": "normal", "event": event}


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


def _lines(block: Block) -> list[str]:
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
    lines = [f"**{escape(card.title)}**"]
    for block in card.blocks:
        if isinstance(block, Buttons):
            for button in block.buttons:
                if button.url:
                    lines.append(f"[{escape(button.label)}]({button.url})")
                    continue
                lines.append(f"➤ **{escape(button.label)}**：回复“确认 {number}”")
                number += 1
        elif isinstance(block, Form):
            lines.append(f"➤ **{escape(block.submit)}**：复制下面几行，填好后回复")
            lines.append(f"提交 {number}")
            lines += [_blank(entry) for entry in block.inputs]
            number += 1
        else:
            lines += _lines(block)
    return _cut(clean(card.title)), BREAK.join(lines)


def _blank(entry: Input) -> str:
    if entry.entry is Entry.FILE:
        return f"（{escape(entry.label)}：{ATTACH_HINT}）"
    value = "" if entry.entry is Entry.SECRET else entry.value
    offered = "/".join(f"{value}={text}" for value, text in entry.options)
    hint = "，".join(
        part for part in ("必填" if entry.required else "", offered, entry.told) if part
    )
    return f"{escape(entry.label)}：{escape(value)}" + (f"（{escape(hint)}）" if hint else "")


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


# -- what a form may hold -----------------------------------------------------------------------


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


# -- what people do -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paper:
    """A file that lies with DingTalk: a code to fetch it with, for a while."""

    name: str
    code: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message of the stream: the event without its files, and where those are.

    `reply_to` is the sessionWebhook: an address to answer at, for about 90 minutes.
    """

    event: Message
    papers: tuple[Paper, ...] = ()
    reply_to: str = ""


def instant(milliseconds: object) -> datetime:
    """Return the instant of a time in milliseconds, as number or text."""
    return datetime.fromtimestamp(int(str(milliseconds)) / 1000, tz=UTC)


def arrival(data: Mapping[str, Any]) -> Arrival:
    """Read a bot message (`/v1.0/im/bot/messages/get`); ValueError or KeyError when it is none.

    A group's conversationId is its openConversationId; outsiders have no staff id, so the
    encrypted senderId names them. The text has a blank in place of the bot's own mention.
    """
    sender = _person(data.get("senderStaffId") or data["senderId"], data.get("senderNick"))
    group = str(data["conversationType"]) == "2"
    chat = Chat(PLATFORM, str(data["conversationId"]), str(data.get("conversationTitle") or ""))
    text, papers = _content(data)
    mentions = tuple(
        _person(user["staffId"], "")
        for user in data.get("atUsers") or ()
        if user.get("staffId") and user.get("dingtalkId") != data.get("chatbotUserId")
    )
    event = Message(
        str(data["msgId"]),
        chat if group else direct(sender),
        sender,
        text.strip(),
        instant(data["createAt"]),
        (),
        mentions,
    )
    return Arrival(event, papers, str(data.get("sessionWebhook") or ""))


def _person(identity: object, name: object) -> Person:
    return Person(PLATFORM, str(identity), str(name or ""))


def _content(data: Mapping[str, Any]) -> tuple[str, tuple[Paper, ...]]:
    content = data.get("content") or {}
    match data.get("msgtype"):
        case "text":
            return str(data["text"]["content"]), ()
        case "file":
            return "", (Paper(str(content["fileName"]), str(content["downloadCode"])),)
        case "picture":
            return "", (Paper("图片.png", str(content["downloadCode"])),)
        case "richText":
            parts = content.get("richText") or ()
            text = "".join(str(part.get("text", "")) for part in parts)
            codes = [str(part["downloadCode"]) for part in parts if part.get("downloadCode")]
            return text, tuple(Paper(f"图片{n}.png", code) for n, code in enumerate(codes, 1))
        case _:
            return "", ()


@dataclass(frozen=True, slots=True)
class Press:
    """A callback of a card: who did what on which card; `values` is None for a plain button."""

    track: str
    chat: Chat
    sender: Person
    action: str
    values: Mapping[str, str] | None


def press(data: Mapping[str, Any]) -> Press:
    """Read a card callback (`/v1.0/card/instances/callback`); ValueError or KeyError if it is none.

    Which chat it was is drawn into the card itself: the platform's spaceId has several forms.
    """
    content = data["content"]
    private = (json.loads(content) if isinstance(content, str) else content)["cardPrivateData"]
    params = private["params"]
    values: dict[str, str] | None = None
    if private["actionIds"][0] == "submit":
        values = {}
        for slot_part in range(1, PARTS + 1):
            part = params.get(f"form{slot_part}") or {}
            part_of = json.loads(part) if isinstance(part, str) else part
            for name, value in part_of.items():
                whole, entered = str(name).partition(PIECE)[0], _value(value)
                values[whole] = ",".join(one for one in (values.get(whole), entered) if one)
    return Press(
        str(data["outTrackId"]),
        Chat(PLATFORM, str(params["chat"])),
        _person(data["userId"], ""),
        str(params["action"]),
        values,
    )


def _value(value: object) -> str:
    """Return one entered value: a text, or {"index":..,"value":..} of one choice or of many."""
    if isinstance(value, Mapping):
        return _value(value.get("value"))
    if isinstance(value, list):
        return ",".join(_value(one) for one in value)
    return "" if value is None else str(value)


def event_of(press: Press, event_id: str, at: datetime, values: Mapping[str, str] | None) -> Event:
    """Return the press as the event that the inbox takes."""
    if values is None:
        return Click(event_id, press.chat, press.sender, press.action, at)
    return Submission(event_id, press.chat, press.sender, press.action, dict(values), at)


def notice(text: str, sign: str) -> dict[str, Any]:
    """Return a callback's answer: the presser alone sees the text on the card.

    There is no toast that a server can ask for, so the template has a private line for it.
    """
    return {
        "cardUpdateOptions": {"updateCardDataByKey": True, "updatePrivateDataByKey": True},
        "userPrivateData": {"cardParamMap": {NOTICE: _short(sign + clean(text))}},
    }


def _short(text: str) -> str:
    return text if size(text) <= VALUE_BYTES else text.encode()[:990].decode(errors="ignore") + "…"


# -- what we ask of DingTalk --------------------------------------------------------------------


def called(card: Card) -> dict[str, str]:
    """Return whom a card's delivery notifies: the name by the userId (`atUserIds`, a group's alone;
    the robot's Markdown has nothing like it). Whoever is not of the organisation has no userId."""
    people = (p for block in card.blocks if isinstance(block, Mention) for p in block.people)
    mine = (p for p in people if p.platform == PLATFORM and not is_outsider(p))
    return {person.id: clean(person.name or person.id) for person in mine}


def create_card(
    out_track: str,
    chat: Chat,
    params: Mapping[str, str],
    at: Mapping[str, str],
    *,
    template: str,
    robot: str,
) -> dict[str, Any]:
    """Return the body of POST /v1.0/card/instances/createAndDeliver."""
    body: dict[str, Any] = {
        "cardTemplateId": template,
        "outTrackId": out_track,
        "callbackType": "STREAM",
        "cardData": {"cardParamMap": dict(params)},
        "userIdType": 1,
    }
    last = {"lastMessageI18n": {"ZH_CN": params["title"]}, "supportForward": False}
    if user := user_of(chat):
        return body | {
            "openSpaceId": f"dtv1.card//IM_ROBOT.{user}",
            "imRobotOpenSpaceModel": last,
            "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT", "robotCode": robot},
        }
    return body | {
        "openSpaceId": f"dtv1.card//IM_GROUP.{chat.id}",
        "imGroupOpenSpaceModel": last,
        "imGroupOpenDeliverModel": {"robotCode": robot} | ({"atUserIds": dict(at)} if at else {}),
    }


def update_card(out_track: str, params: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of PUT /v1.0/card/instances; all variables, so by key or not is the same."""
    return {
        "outTrackId": out_track,
        "cardData": {"cardParamMap": dict(params)},
        "cardUpdateOptions": {"updateCardDataByKey": True},
        "userIdType": 1,
    }


def message(chat: Chat, kind: str, param: Mapping[str, str], *, robot: str) -> tuple[str, Any]:
    """Return (path, body) of a robot's message to a group or to one person.

    Raises Permanent when it is longer than DingTalk takes.
    """
    text = compact(param)
    if size(text) > MESSAGE_BYTES:
        raise Permanent("消息太长，钉钉最多收 15,000 字节", fault=Fault.REFUSED)
    body = {"robotCode": robot, "msgKey": kind, "msgParam": text}
    if user := user_of(chat):
        return "/v1.0/robot/oToMessages/batchSend", {**body, "userIds": [user]}
    return "/v1.0/robot/groupMessages/send", {**body, "openConversationId": chat.id}


def file_param(name: str, media: str) -> dict[str, str]:
    """Return the `msgParam` of a sampleFile."""
    ending = name.rpartition(".")[2] if "." in name else "file"
    return {"mediaId": media, "fileName": clean(name), "fileType": ending.lower()}


def ding(person: Person, text: str, *, robot: str) -> dict[str, Any]:
    """Return the body of POST /v1.0/robot/ding/send: an urgent notice inside the app."""
    return {
        "robotCode": robot,
        "remindType": 1,
        "receiverUserIdList": [person.id],
        "content": clean(text)[:DING_CHARS],
    }


def scene_group(
    title: str, owner: str, members: Sequence[Person], *, template: str, uuid: str
) -> dict[str, Any]:
    """Return the body of POST /v1.0/im/sceneGroups; the robot comes with the group's template."""
    return {
        "groupName": clean(title)[:GROUP_NAME_CHARS],
        "groupOwnerId": owner,
        "templateId": template,
        "userIdList": list(dict.fromkeys(person.id for person in members)),
        "uuid": uuid,
    }


# -- what DingTalk answers ----------------------------------------------------------------------

TOLD_CHARS = 200
QPS_PAUSE = 1.0
BANNED_PAUSE = 300.0
MONTH_PAUSE = 3600.0
THROTTLED_PAUSE = 60.0
HTTP_TOO_MANY = 429
HTTP_SERVER = 500
HTTP_BAD = 400

_QPS = ("qpslimit", "90018", "90002", "toomuch.msg")
_MONTH = ("apicountlimitfororg", "90020")
_EDITION = ("serverquota", "forbidden", "accessdenied", "nopermission", "receivercount", "edition")


def refusal(status: int, text: str, *, doing: str, repeatable: bool) -> OutsideError | None:
    """Return what an answer means as one of our errors; None when the deed was done.

    A 403 may be a limit and not a lack of rights, so the code's text is looked at first. A 5xx
    after a deed that has no idempotency key may have been done.
    """
    code_, said, parsed = code(text)
    low = f"{code_} {said}".lower()
    told = f"{doing}：{code_} {said}".strip()[:TOLD_CHARS]
    if any(mark in low for mark in _QPS) or status == HTTP_TOO_MANY:
        return Transient(f"钉钉限流，{told}", retry_after=QPS_PAUSE, fault=Fault.REFUSED)
    if any(mark in low for mark in _MONTH):
        reason = f"钉钉本月的接口调用次数用完了，{told}"
        return Transient(reason, retry_after=MONTH_PAUSE, fault=Fault.REFUSED)
    if code_ == "1111" or (status < HTTP_SERVER and not parsed):
        reason = f"钉钉暂时封了本机地址或前面有代理，{doing}"
        return Transient(reason, retry_after=BANNED_PAUSE, fault=Fault.REFUSED)
    if status >= HTTP_SERVER:
        if repeatable:
            return Transient(f"钉钉出错，{told}", fault=Fault.NETWORK)
        return InDoubt(f"钉钉出错，不知道做了没有，{told}")
    if status >= HTTP_BAD or code_ not in {"", "0"}:
        return Permanent(f"钉钉不接受，{told}", fault=Fault.REFUSED)
    return None


def code(text: str) -> tuple[str, str, bool]:
    """Return (code, message, is it JSON?) of an answer of the new or the old interfaces."""
    try:
        body = json.loads(text or "{}")
    except ValueError:
        return "", "", False
    if not isinstance(body, dict):
        return "", "", True
    banned = "1111" if str(body.get("status")) == "1111" else ""
    code = banned or body.get("code", body.get("errcode", ""))
    said = body.get("message") or body.get("errmsg") or body.get("msg") or ""
    return str(code), str(said), True


def is_edition(error: OutsideError) -> bool:
    """Is it DING's edition or its bought amount that said no, and not the request?"""
    low = error.reason.lower()
    return isinstance(error, Permanent) and any(mark in low for mark in _EDITION)


@dataclass(frozen=True, slots=True)
class Probe:
    """A call about nothing that there is: refused either way, and how tells whether we may."""

    name: str
    """The permission as the console names it."""
    why: str
    method: str
    path: str
    body: Mapping[str, Any]
    must: bool = True


NOWHERE = "vigilbot-doctor"


def probes(robot: str) -> tuple[Probe, ...]:
    """Return a call for each permission that docs/dingtalk.md asks for."""
    text = {"robotCode": robot, "msgKey": "sampleMarkdown", "msgParam": '{"title":"-","text":"-"}'}
    group, card = {**text, "openConversationId": NOWHERE}, {"outTrackId": NOWHERE}
    members = {"openConversationId": NOWHERE, "userIds": NOWHERE}
    file = {"downloadCode": NOWHERE, "robotCode": robot}
    rung = {"robotCode": robot, "remindType": 1, "receiverUserIdList": [], "content": "-"}
    params: dict[str, Any] = {**card, "cardData": {"cardParamMap": {}}, "userIdType": 1}
    return (
        Probe(
            "企业内机器人发送消息", "发消息和文件", "POST", "/v1.0/robot/groupMessages/send", group
        ),
        Probe("互动卡片实例写权限", "发卡片和刷新卡片", "PUT", "/v1.0/card/instances", params),
        Probe(
            "钉钉群基础信息管理权限",
            "建客户群、拉人进群",
            "POST",
            "/v1.0/im/sceneGroup/member/add",
            members,
            must=False,
        ),
        Probe(
            "下载机器人接收的文件",
            "收服务器清单",
            "POST",
            "/v1.0/robot/messageFiles/download",
            file,
        ),
        Probe("机器人发 DING", "呼叫值班人", "POST", "/v1.0/robot/ding/send", rung, must=False),
        Probe(
            "成员信息读权限",
            "显示按按钮的人的姓名",
            "POST",
            "/topapi/v2/user/get",
            {"userid": NOWHERE, "language": "zh_CN"},
            must=False,
        ),
    )


_DENIED = ("permissiondenied", "60011 ", "nopermission")


def is_denied(error: OutsideError) -> bool:
    """Does the refusal say that the permission is missing, and not that there is no such thing?"""
    low = error.reason.lower()
    return isinstance(error, Permanent) and any(mark in low for mark in _DENIED)


def is_unknown(error: OutsideError) -> bool:
    """Is it the app's own id or secret that was not taken, while the token was fetched?"""
    return "取令牌" in error.reason


def undelivered(body: Mapping[str, Any]) -> str:
    """Return why a card was made but not put into the chat; "" when it was."""
    result = body.get("result") or {}
    for one in result.get("deliverResults") or ():
        if not one.get("success", True):
            return str(one.get("errorMsg") or "未投放")
    return ""


def left_out(body: Mapping[str, Any], user: str) -> OutsideError | None:
    """Return why the person was left out of a message that was answered with 200."""
    if user in (body.get("flowControlledStaffIdList") or ()):
        reason = "钉钉对此人限流，消息没有送达"
        return Transient(reason, retry_after=THROTTLED_PAUSE, fault=Fault.REFUSED)
    if user in (body.get("invalidStaffIdList") or ()):
        return Permanent("此人不在机器人的可见范围内", fault=Fault.REFUSED)
    if user in (body.get("filteredStaffIdList") or ()):
        return Permanent("此人被钉钉过滤，消息没有送达", fault=Fault.REFUSED)
    return None


# -- how events are kept ------------------------------------------------------------------------

_EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Message, Click, Submission)}


def keep(event: Event, papers: Sequence[Paper]) -> str:
    """Return an event that waits to be asked for, as JSON."""
    body = msgspec.to_builtins(event)
    return compact([type(event).__name__, body, msgspec.to_builtins(tuple(papers))])


def kept(text: str) -> tuple[Event, tuple[Paper, ...]]:
    """Return what `keep` kept."""
    kind, body, papers = msgspec.json.decode(text, type=tuple[str, object, tuple[Paper, ...]])
    return msgspec.convert(body, _EVENTS[kind]), papers

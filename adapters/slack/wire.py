"""Slack's JSON and our words: plain functions, no socket and no clock.

Limits are those of docs.slack.dev/reference/block-kit, gathered in facts/wecom-slack.md.
Texts go out as `plain_text` or as `rich_text` elements, which Slack shows letter by letter: what a
person typed can never mention a channel or become a link.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from adapters.card import (
    Block,
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
from adapters.port import Fault, InDoubt, OutsideError, Permanent, Transient
from adapters.words import Chat, Click, File, Message, Person, Submission

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
MAX_MODAL_TITLE = 24
MAX_OPTIONS = 100
MAX_OPTION = 75
MAX_NAME = 80

PLATFORM = "slack"

STAMP = "vigilbot_key"
"""The event type of our messages' metadata."""

PRESS = "press"
FORM = "form"
"""The first part of a button's action_id: whether it is a Click, or opens a modal."""

MALFORMED = (
    KeyError, IndexError, TypeError, AttributeError, ValueError, zlib.error, msgspec.MsgspecError,
)  # fmt: skip
"""What these functions raise for a payload of another shape than Slack documents."""

SEEN_WHILE_TYPING = "输入时可见，请留意身后"

_TONES = {
    Tone.NEUTRAL: "",
    Tone.WORKING: "🔵 ",
    Tone.GOOD: "🟢 ",
    Tone.WARNING: "🟡 ",
    Tone.BAD: "🔴 ",
}
_STYLES = {Style.PRIMARY: "primary", Style.DANGER: "danger"}


class Dropped(Exception):
    """A verdict on a payload: it was not kept, so Slack shall deliver it again."""


def stamp(key: str) -> str:
    """Return what a key looks like in a channel, where every app may read it."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:32]


def metadata(mark: str) -> Json:
    """Return the metadata that carries a stamp."""
    return {"event_type": STAMP, "event_payload": {"key": mark}}


def mended(text: str) -> str:
    """Return the text with every half character as a "?"."""
    return text.encode(errors="replace").decode()


def note(text: str) -> Json:
    """Return `text` and `blocks` of a line that one person alone sees."""
    body = {"text": html.escape(mended(text), quote=False)[:MAX_FALLBACK]}
    return {**body, "blocks": _rich(text)[:MAX_BLOCKS]}


def name_of(user: Mapping[str, Any]) -> str:
    """Return how people know a user of `users.info`."""
    profile = user.get("profile", {})
    names = (profile.get("display_name"), user.get("real_name"), user.get("name"))
    return next((str(name) for name in names if name), "")


# -- a card, drawn ------------------------------------------------------------------------------


def message(card: Card) -> Json:
    """Return `text` and `blocks` of a message.

    Raises Permanent when Slack would refuse it for its size.
    """
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
    return [{"type": "header", "text": _plain_text(title[:MAX_HEADER])}]


def _plain_text(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}


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
        case Progress() | Checklist():
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
            return [{"type": "context", "elements": [_plain_text(part)]} for part in _parts(text)]
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
        "text": _plain_text(_label(button.label)),
    }
    if button.url:
        drawn["url"] = mended(button.url)
    else:
        drawn["value"] = _value(button.action)
    if button.style in _STYLES:
        drawn["style"] = _STYLES[button.style]
    if button.confirm:
        drawn["confirm"] = {
            "title": _plain_text(_label(button.label)),
            "text": _plain_text(mended(button.confirm)[:300]),
            "confirm": _plain_text("确定"),
            "deny": _plain_text("取消"),
        }
    return drawn


def _label(label: str) -> str:
    return mended(label)[:MAX_LABEL] or "…"


def _value(action: str) -> str:
    if len(action) > MAX_VALUE:
        raise Permanent(f"按钮的内容太长：Slack 最多 {MAX_VALUE} 字", fault=Fault.REFUSED)
    return mended(action)


# -- a form: a button that opens a modal ----------------------------------------------------------


def _form_button(form: Form) -> Json:
    element = {
        "type": "button",
        "action_id": f"{FORM}:0",
        "text": _plain_text(_label(f"📝 {form.submit}")),
        "style": "primary",
        "value": pack(form),
    }
    # The block_id keeps two forms of one card apart: action_ids need be unique in a block alone.
    return {"type": "actions", "block_id": f"{FORM}:{stamp(form.action)}", "elements": [element]}


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
        "callback_id": FORM,
        "private_metadata": json.dumps(msgspec.to_builtins(home), ensure_ascii=False),
        "title": _plain_text(mended(form.submit)[:MAX_MODAL_TITLE] or "表单"),
        "submit": _plain_text(mended(form.submit)[:MAX_MODAL_TITLE] or "提交"),
        "close": _plain_text("取消"),
        "blocks": [_input(one) for one in form.inputs],
    }


def _input(one: Input) -> Json:
    drawn: Json = {
        "type": "input",
        "block_id": one.name,
        "label": _plain_text(mended(one.label)[:2_000]),
        "optional": not one.required,
        "element": _element(one),
    }
    if hint := _hint(one):
        drawn["hint"] = _plain_text(mended(hint)[:2_000])
    return drawn


def _hint(one: Input) -> str:
    if one.entry is not Entry.SECRET:
        return one.hint
    return f"{one.hint}（{SEEN_WHILE_TYPING}）" if one.hint else SEEN_WHILE_TYPING


def _element(one: Input) -> Json:
    start: Json = {"initial_value": mended(one.value)[:MAX_TEXT]} if one.value else {}
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
    return {"text": _plain_text(_label(label)), "value": mended(value)}


# -- what people do -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that somebody sent, still on Slack's side."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """Somebody pressed the button of a form: what `views.open` needs, within 3 s and once."""

    trigger: str
    form: Form
    home: Home
    sender: Person


_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|([^>]*))?>")
_LINK = re.compile(r"<(?:[#!])?([^|>@][^|>]*)(?:\|([^>]*))?>")


def mentioned(text: str) -> tuple[str, ...]:
    """Return the ids of the people whom a text mentions, in order."""
    return tuple(dict.fromkeys(found[1] for found in _MENTION.finditer(text)))


def unescaped(text: str, names: Mapping[str, str], bot: str) -> str:
    """Return what somebody typed: the bot's mention removed, people as @name, links as typed."""

    def person(found: re.Match[str]) -> str:
        if found[1] == bot:
            return ""
        return f"@{names.get(found[1]) or found[2] or found[1]}"

    def link(found: re.Match[str]) -> str:
        return found[2] or found[1]

    return html.unescape(_LINK.sub(link, _MENTION.sub(person, text))).strip()


def said(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the event of an Events API delivery that is somebody's message to the bot."""
    event = body.get("event", {})
    ours = event.get("type") == "app_mention" or (
        event.get("type") == "message" and event.get("channel_type") == "im"
    )
    # Edits, joins and bots have a subtype or a bot_id; a message with a file has file_share.
    if not ours or event.get("subtype", "file_share") != "file_share" or event.get("bot_id"):
        return None
    return event if event.get("user") else None


def attached(files: Iterable[Mapping[str, Any]]) -> tuple[Attached, ...]:
    """Return the files of a message, or of a modal's file_input."""
    return tuple(
        Attached(file.get("name") or file["id"], file.get("url_private_download", ""))
        for file in files
    )


def trusted(url: str, base_url: str) -> bool:
    """Tell whether our token may go to an address that somebody's message names: to Slack's own
    hosts, or to the server that we were told to talk to."""
    there, ours = urlsplit(url), urlsplit(base_url)
    if (there.scheme, there.netloc) == (ours.scheme, ours.netloc):
        return True
    return there.scheme == "https" and (there.hostname or "").endswith(".slack.com")


def message_said(
    event: Mapping[str, Any],
    *,
    platform: str,
    bot: str,
    names: Mapping[str, str],
    files: tuple[File, ...],
) -> Message:
    """Return the words of an app_mention or a direct message.

    Its id is channel and ts, and the thread's where it stands in one; they stay the same however
    often and by whichever subscription Slack delivers it.
    """
    people = [one for one in mentioned(event["text"]) if one != bot]
    return Message(
        ":".join((event["channel"], event["ts"], *_thread(event))),
        Chat(platform, event["channel"]),
        _person(platform, event["user"], names),
        unescaped(event["text"], names, bot),
        datetime.fromtimestamp(float(event["ts"]), UTC),
        files,
        tuple(_person(platform, one, names) for one in people),
    )


def _thread(event: Mapping[str, Any]) -> tuple[str, ...]:
    start = event.get("thread_ts", event["ts"])
    return () if start == event["ts"] else (start,)


_REPLY = re.compile(r"reply:[^:]*:(?P<channel>[A-Z0-9]+):[0-9.]+:(?P<thread>[0-9]+\.[0-9]+)")


def thread_of(key: str, channel: str) -> str:
    """Return the thread in which the reply of that key belongs; empty for the channel itself.

    The inbox names a reply after the message that it answers, so this holds after a restart too.
    """
    found = _REPLY.fullmatch(key)
    return found["thread"] if found and found["channel"] == channel else ""


def slash(
    body: Mapping[str, Any], *, platform: str, bot: str, names: Mapping[str, str], at: datetime
) -> Message:
    """Return the words of a slash command; `/vigil status` is `/status`, whose name Slack keeps."""
    command, text = body["command"], body.get("text", "")
    if command == "/vigil":
        command, text = f"/{text.lstrip('/')}", ""
    people = [one for one in mentioned(text or command) if one != bot]
    return Message(
        body["trigger_id"],
        Chat(platform, body["channel_id"], body.get("channel_name", "")),
        Person(platform, body["user_id"], body.get("user_name", "")),
        unescaped(f"{command} {text}", names, bot),
        at,
        (),
        tuple(_person(platform, one, names) for one in people),
    )


def click(body: Mapping[str, Any], *, platform: str, at: datetime) -> Click | Pressed | None:
    """Return the press of a button; None for one that only opens an address.

    A Click's id is the trigger_id: one for each press, the same when the press is redelivered.
    """
    action = body["actions"][0]
    kind = action["action_id"].partition(":")[0]
    channel = body.get("channel", {})
    sender = _actor(platform, body)
    if kind == FORM:
        form = unpack(action["value"])
        home = Home(channel["id"], channel.get("name", ""), form.action)
        return Pressed(body["trigger_id"], form, home, sender)
    if kind != PRESS or "value" not in action:
        return None
    chat = Chat(platform, channel["id"], channel.get("name", ""))
    return Click(body["trigger_id"], chat, sender, action["value"], at)


def entered(view: Mapping[str, Any]) -> tuple[dict[str, str], tuple[Attached, ...]]:
    """Return what a modal holds: each input's value, and the files."""
    values: dict[str, str] = {}
    files: tuple[Attached, ...] = ()
    for name, block in view["state"]["values"].items():
        element = block["value"]
        match element["type"]:
            case "file_input":
                files += attached(element.get("files") or ())
            case "static_select":
                values[name] = (element.get("selected_option") or {}).get("value", "")
            case "datepicker":
                values[name] = element.get("selected_date") or ""
            case "multi_static_select":
                chosen = element.get("selected_options") or ()
                values[name] = ",".join(option["value"] for option in chosen)
            case _:
                values[name] = element.get("value") or ""
    return values, files


def submission(
    body: Mapping[str, Any], *, platform: str, files: tuple[File, ...], at: datetime
) -> Submission:
    """Return the words of a modal that was sent; it belongs to the chat of its card."""
    home = msgspec.json.decode(body["view"]["private_metadata"], type=Home)
    values, _ = entered(body["view"])
    return Submission(
        body["trigger_id"],
        Chat(platform, home.chat, home.title),
        _actor(platform, body),
        home.action,
        values,
        at,
        files,
    )


def refused(body: Mapping[str, Any], text: str) -> Json:
    """Return the answer to a modal that keeps it open and shows why."""
    first = body["view"]["blocks"][0]["block_id"]
    return {"response_action": "errors", "errors": {first: mended(text)[:MAX_TEXT]}}


def _actor(platform: str, body: Mapping[str, Any]) -> Person:
    user = body["user"]
    return Person(platform, user["id"], user.get("name") or user.get("username", ""))


def _person(platform: str, user: str, names: Mapping[str, str]) -> Person:
    return Person(platform, user, names.get(user, ""))


# -- channels -------------------------------------------------------------------------------------


def channel_name(title: str, key: str) -> str:
    """Return the name of the channel that `key` makes: lower case, no spaces, at most 80 letters.

    The key's stamp at the end keeps two customers of one name apart, and finds the channel again.
    """
    folded = unicodedata.normalize("NFKC", mended(title)).lower()
    slug = re.sub(r"[^\w]+|_+", "-", folded).strip("-")
    tail = stamp(key)[:8]
    return f"{slug[: MAX_NAME - len(tail) - 1].rstrip('-')}-{tail}".lstrip("-")


def plain_channel_name(key: str) -> str:
    """Return a name that every workspace takes, for one that refuses the title's letters."""
    return f"vigilbot-{stamp(key)[:8]}"


# -- what came of a call --------------------------------------------------------------------------

BAD_NAMES = frozenset({
    "invalid_name", "invalid_name_specials", "invalid_name_punctuation", "invalid_name_maxlength",
    "invalid_name_required",
})  # fmt: skip

_LATER = frozenset({
    "ratelimited", "rate_limited", "service_unavailable", "team_added_to_org", "request_timeout",
})  # fmt: skip
_PERHAPS = frozenset({"fatal_error", "internal_error"})
"""Slack: "some aspect of the operation" may have succeeded before it."""

_REASONS = {
    "invalid_auth": "令牌无效，请检查 bot_token 和 app_token",
    "not_authed": "没有提供令牌",
    "token_revoked": "令牌已被撤销，请重新安装应用",
    "token_expired": "令牌已过期，请重新安装应用",
    "account_inactive": "机器人账号已停用",
    "missing_scope": "应用缺少权限，请按 docs/slack-manifest.yaml 更新并重新安装",
    "not_allowed_token_type": "令牌的种类不对：bot_token 以 xoxb- 开头，app_token 以 xapp- 开头",
    "channel_not_found": "找不到这个频道，或机器人不在里面：请先 /invite @Vigilbot",
    "not_in_channel": "机器人不在这个频道：请先 /invite @Vigilbot",
    "is_archived": "频道已归档",
    "message_not_found": "要更新的消息不存在",
    "cant_update_message": "只能更新机器人自己的消息",
    "edit_window_closed": "工作区不允许再修改这条消息",
    "user_not_found": "找不到这个人",
    "users_not_found": "找不到这个人",
    "cannot_dm_bot": "不能给机器人发私信",
    "msg_too_long": "消息太长",
    "msg_blocks_too_long": "卡片太长",
    "invalid_blocks": "卡片的格式被 Slack 拒绝",
    "restricted_action": "工作区的设置不允许这样做，请联系 Slack 管理员",
    "name_taken": "频道名已被占用，而机器人不在那个频道里",
    "expired_trigger_id": "按下之后过了太久，请再按一次",
    "exchanged_trigger_id": "这次按下已经用过，请再按一次",
}


def fault(
    method: str, error: str, *, again: bool, retry_after: float | None = None
) -> OutsideError:
    """Return the error for Slack's word; `again` says that the call may simply be repeated."""
    reason = f"Slack {method}：{_REASONS.get(error, error)}"
    if error in _LATER:
        return Transient(reason, retry_after=retry_after)
    if error in _PERHAPS:
        return Transient(reason) if again else InDoubt(reason)
    return Permanent(reason, fault=Fault.REFUSED)


def stamps(messages: Sequence[Mapping[str, Any]], me: str) -> dict[str, str]:
    """Return what our own messages in a channel's history (newest first) say: stamp -> ts, or the
    id of a file."""
    found: dict[str, str] = {}
    for one in reversed(messages):  # the oldest first: that is what is forgotten first
        if one.get("user") != me:
            continue
        data = one.get("metadata") or {}
        if data.get("event_type") == STAMP:
            found[data["event_payload"]["key"]] = one["ts"]
        for block in one.get("blocks", ()):
            kind, _, mark = block.get("block_id", "").partition(":")
            if kind == STAMP and one.get("files"):
                found[mark] = one["files"][0]["id"]
    return found


def file_note(name: str, mark: str) -> Json:
    """Return the block under which a file is shown; its id is the stamp, as a file's message takes
    no metadata (that Slack keeps the id there is not verified)."""
    return {"type": "section", "block_id": f"{STAMP}:{mark}", "text": _plain_text(mended(name))}

"""WeCom's JSON to our words and back: plain functions, no socket and no clock.

Facts: developer.work.weixin.qq.com/document/path/101463 (the long connection), 101027 and 101031
(a press and its answer), 100719 (messages), 90236 (the limits of a template card).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from adapters.card import (
    Block,
    Button,
    Buttons,
    Card,
    Entry,
    Form,
    Input,
    Style,
    Text,
    is_date,
    no_date,
    plain,
    say,
)
from adapters.fitted import fitted
from adapters.port import Fault, OutsideError, Permanent, Transient, UsageError
from adapters.words import Chat, Click, Event, File, Message, Person, Submission

PLATFORM = "wecom"

MARKDOWN_BYTES = 20_480
FILE_BYTES = 50_000_000
"""100 pieces of 512 KB."""
BUTTONS = 6
JUMPS = 3
SELECTS, OPTIONS, VOTES = 3, 10, 20
SHORT = 60
"""Characters of a text that stands on the card itself; a longer one is said before the card."""

PRESS, SURE, BACK, ASK, SEND, OVER = "b:", "y:", "n", "f:", "s:", "done"
"""Of a button's key: it presses, is sure, goes back, opens a form's page, sends a form, is over."""

RECEIVED = "已收到"
INVITATION = say(
    "还差一步", "请把智能机器人拉进本群，再 @机器人 /bind 公司名：之前本群只能看，不能按按钮"
)
UNMET = "这个人还没有私聊过机器人：请其私聊机器人说一句话（例如 /whoami），再重试"
UNHEARD = "这个会话还没有和机器人说过话：请先在里面 @机器人 说一句（例如 /bind 公司名），它才能发言"

_STYLES = {Style.PRIMARY: 1, Style.DANGER: 2}
_CONFIRMED = 4
_UNSEEN = "\u200b"
# The bot's name may hold spaces: before a command, everything up to its stroke is the mention.
_MENTION = re.compile(r"^\s*@[^/／\n]*(?=[/／])|^\s*@\S+\s*")

Json = dict[str, Any]


# -- in -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Press:
    """A button of a card of ours was pressed."""

    id: str
    chat: Chat
    sender: Person
    task: str
    key: str
    values: Mapping[str, str]
    at: datetime


def message(body: Mapping[str, Any], at: datetime) -> Message | None:
    """Return what somebody wrote; None for what has no text.

    In a group it begins with the bot's own mention, whatever the bot is called there.
    """
    parts = [body, *body.get("mixed", {}).get("msg_item", ())]
    text = "\n".join(part["text"]["content"] for part in parts if "text" in part)
    if body["chattype"] == "group":
        text = _MENTION.sub("", text)
    if not text.strip():
        return None
    return Message(body["msgid"], chat_of(body), _sender(body), text.strip(), at)


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that somebody sent: where it lies for five minutes, and the key that opens it."""

    url: str
    key: str = field(repr=False)


def attached(body: Mapping[str, Any]) -> tuple[Attached, ...]:
    """Return the files of a message: its own, which comes in direct chats alone, and the one that it
    quotes (100719)."""
    files = (part["file"] for part in (body, body.get("quote") or {}) if "file" in part)
    return tuple(Attached(file["url"], file["aeskey"]) for file in files if file.get("aeskey"))


def bare(body: Mapping[str, Any], at: datetime) -> Message:
    """Return what somebody sent without a word."""
    return Message(body["msgid"], chat_of(body), _sender(body), "", at)


def named(text: str) -> tuple[str, ...]:
    """Return what is written behind each @: WeCom tells no id of whom it means, so an account that
    was written out is all that can be known."""
    return tuple(re.findall(r"[@＠]([^\s@＠/／,，;；:：]+)", text))


def press(body: Mapping[str, Any], at: datetime) -> Press | None:
    """Return the press that an event tells of; None for any other event."""
    event = body.get("event", {}).get("template_card_event")
    if event is None:
        return None
    values = {
        one["question_key"]: ",".join(one.get("option_ids", {}).get("option_id", ()))
        for one in event.get("selected_items", {}).get("selected_item", ())
    }
    task, key = event["task_id"], event["event_key"]
    return Press(body["msgid"], chat_of(body), _sender(body), task, key, values, at)


def acted(pressed: Press) -> Click | Submission | None:
    """Return what a press means; None when it only leads to another card."""
    where = (pressed.id, pressed.chat, pressed.sender)
    for kind in (PRESS, SURE):
        if pressed.key.startswith(kind):
            return Click(*where, pressed.key.removeprefix(kind), pressed.at)
    if pressed.key.startswith(SEND):
        return Submission(*where, pressed.key.removeprefix(SEND), pressed.values, pressed.at)
    return None


def kicked(body: Mapping[str, Any]) -> bool:
    """Does this event say that another connection has taken our place?"""
    return bool(body.get("event", {}).get("eventtype") == "disconnected_event")


def chat_of(body: Mapping[str, Any]) -> Chat:
    """Return the group, or the direct chat, which is called after the person."""
    return Chat(PLATFORM, body.get("chatid") or direct(body["from"]["userid"]).id)


def direct(user: str) -> Chat:
    return Chat(PLATFORM, f"@{user}")


def _sender(body: Mapping[str, Any]) -> Person:
    # A callback names nobody: the id, which an enterprise chooses, is what people can read.
    user = body["from"]["userid"]
    return Person(PLATFORM, user, user)


EVENTS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in (Message, Click, Submission)}


def kept(event: Event) -> str:
    """Return an event as the link's file keeps it."""
    return json.dumps([type(event).__name__, msgspec.to_builtins(event)], ensure_ascii=False)


def restored(text: str) -> Event:
    """Return the event that `kept` wrote."""
    kind, body = msgspec.json.decode(text, type=tuple[str, object])
    return msgspec.convert(body, EVENTS[kind])


# -- out ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drawn:
    """A card as WeCom can say it: a text, and template cards for what can be pressed."""

    markdown: str
    cards: tuple[Json, ...]


def ident(key: str) -> str:
    """Return the name of what was said under a key; a task_id takes [0-9A-Za-z_@-] alone."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:32]


def target(chat: Chat) -> Json:
    """Return whom a push is for: 1 one person, 2 a group."""
    if chat.id.startswith("@"):
        return {"chatid": chat.id[1:], "chat_type": 1}
    return {"chatid": chat.id, "chat_type": 2}


def draw(card: Card, name: str, public_url: str = "") -> Drawn:
    """Draw a card. Raises Permanent when it is longer than WeCom takes: nothing is cut off, but
    as `fitted` makes it lighter."""
    return fitted(card, lambda shown: _draw(shown, name, public_url))


def streamed(card: Card, public_url: str = "") -> str:
    """Return what a stream shows of a card; raises Permanent as `draw` does."""
    return fitted(card, lambda shown: _whole(shown, public_url))


def _whole(card: Card, public_url: str) -> str:
    text = markdown(card, public_url)
    if len(text.encode(errors="replace")) > MARKDOWN_BYTES:
        raise Permanent("内容太长，企业微信一条最多 20480 字节", fault=Fault.REFUSED)
    return text


def _draw(card: Card, name: str, public_url: str) -> Drawn:
    cards = tuple(_interactive(card, name))
    text = _whole(card, public_url)
    body = _body(card, public_url)
    if cards and len(body) <= SHORT and "\n" not in body:
        return Drawn("", ({**cards[0], **({"sub_title_text": body} if body else {})}, *cards[1:]))
    return Drawn(text, cards)


def one_way(card: Card, public_url: str = "") -> Drawn:
    """Draw a card where nothing can be pressed: all of it is said as a text."""
    return Drawn(markdown(card, public_url), ())


def markdown(card: Card, public_url: str = "") -> str:
    """Return all that can be read on a card, without what can be pressed."""
    head = f"### {_safe(card.title)}"
    body = _body(card, public_url)
    return f"{head}\n{body}" if body else head


def _body(card: Card, public_url: str) -> str:
    lines = (_readable(block, public_url) for block in card.blocks)
    return "\n".join(line for line in lines if line)


def _readable(block: Block, public_url: str) -> str:
    match block:
        case Text(text, Style.STRONG):
            return f"**{_safe(text)}**"
        case Text(text, Style.QUIET):
            return f"> {_safe(text)}"
        case Form():
            return ""
        case Buttons(buttons):
            links = (b for b in buttons if b.url)
            return " ".join(f"[{_safe(b.label)}]({_absolute(b.url, public_url)})" for b in links)
        case _:
            return _safe(plain(Card("", blocks=(block,))).partition("\n")[2])


def _safe(text: str) -> str:
    """Return a text in which nobody's words become a link, a colour or a heading of ours."""
    text = text.encode(errors="replace").decode()
    for sign, harmless in (("](", f"]{_UNSEEN}("), ("<", f"<{_UNSEEN}"), ("**", f"*{_UNSEEN}*")):
        text = text.replace(sign, harmless)
    return re.sub(r"^(#+ |> )", rf"{_UNSEEN}\1", text, flags=re.MULTILINE)


def _absolute(url: str, public_url: str) -> str:
    return f"{public_url}{url}" if url.startswith("/") else url


def _interactive(card: Card, name: str) -> Iterator[Json]:
    """Yield the template cards of what can be pressed: buttons by six, each short form its own."""
    pressed = [
        {"text": b.label, "style": _STYLES.get(b.style, 3), "key": f"{PRESS}{b.action}"}
        for block in card.blocks
        if isinstance(block, Buttons)
        for b in block.buttons
        if not b.url
    ]
    forms = [block for block in card.blocks if isinstance(block, Form)]
    pressed += [
        {"text": form.submit, "style": 1, "key": f"{ASK}{form.action}"}
        for form in forms
        if not asked_here(form)
    ]
    shapes: list[Json] = [
        {"card_type": "button_interaction", "button_list": pressed[at : at + BUTTONS]}
        for at in range(0, len(pressed), BUTTONS)
    ]
    shapes += [_questions(form) for form in forms if asked_here(form)]
    title = {"title": card.title.encode(errors="replace").decode()}
    for number, shape in enumerate(shapes):
        yield {**shape, "main_title": title, "task_id": f"{name}-{number}"}


def asked_here(form: Form) -> bool:
    """Can a card ask this itself? Up to three selects, or one vote."""
    kinds = [each.entry for each in form.inputs]
    most = max((len(each.options) for each in form.inputs), default=0)
    if kinds == [Entry.CHOICES]:
        return 0 < most <= VOTES
    return 0 < len(kinds) <= SELECTS and set(kinds) == {Entry.CHOICE} and 0 < most <= OPTIONS


def _questions(form: Form) -> Json:
    button = {"text": form.submit, "key": f"{SEND}{form.action}"}
    first = form.inputs[0]
    if first.entry is Entry.CHOICES:
        chosen = first.value.split(",")
        options = [{"id": v, "text": t, "is_checked": v in chosen} for v, t in first.options]
        box = {"question_key": first.name, "mode": 1, "option_list": options}
        return {"card_type": "vote_interaction", "checkbox": box, "submit_button": button}
    selects = [_select(each) for each in form.inputs]
    return {
        "card_type": "multiple_interaction",
        "select_list": selects,
        "submit_button": button,
    }


def _select(each: Input) -> Json:
    options = [{"id": value, "text": label} for value, label in each.options]
    select = {"question_key": each.name, "title": each.label, "option_list": options}
    return {**select, "selected_id": each.value} if each.value else select


# -- the answer to a press ------------------------------------------------------------------------


def confirmed(card: Json, text: str) -> Json:
    """Return the whole card as it is after a press. A button cannot be disabled here: one that
    says what came of it takes the place of all."""
    return _buttons(card, text, ({"text": f"{text} ✓", "style": _CONFIRMED, "key": OVER},))


def refused(card: Json, text: str) -> Json:
    """Return the card as it was, with what is wrong on it."""
    return {**card, "sub_title_text": text}


def ask_again(card: Json, button: Button) -> Json:
    """Return the card that makes sure of a press."""
    sure = {"text": f"确定{button.label}", "style": 2, "key": f"{SURE}{button.action}"}
    return _buttons(card, button.confirm, (sure, {"text": "再想想", "style": 3, "key": BACK}))


def to_page(card: Json, form: Form, url: str, minutes: int) -> Json:
    """Return the card with the way to a form's page, which is the presser's alone."""
    told = f"链接只给您本人，{minutes} 分钟内有效，提交一次"
    again = ({"text": form.submit, "style": 1, "key": f"{ASK}{form.action}"},)
    jump = {"type": 1, "title": f"填写：{form.submit}", "url": url}
    return {**_buttons(card, told, again), "jump_list": [jump]}


def _buttons(card: Json, text: str, buttons: tuple[Json, ...]) -> Json:
    return {
        "card_type": "button_interaction",
        "main_title": card["main_title"],
        "sub_title_text": text,
        "button_list": list(buttons),
        "task_id": card["task_id"],
    }


def update(card: Json, only: str = "") -> Json:
    """Return the answer that replaces a card: for everybody, or for one person only."""
    body: Json = {"response_type": "update_template_card", "template_card": card}
    return {**body, "userids": [only]} if only else body


# -- refusals -------------------------------------------------------------------------------------

_BUSY = {45009: 60.0, 45033: 10.0, 846609: 1.0, -1: 5.0}
"""Over quota, too many at once, not subscribed, busy: seconds until the next try."""

_WORDS = {
    93006: UNHEARD,
    93001: "机器人不在这个会话里，或企业不许它在这里发言",
    846605: "回复得太晚，或回复的方式不对",
    846608: "这条流式回复已经结束",
    853000: "机器人的 Secret 不对，请核对 [platforms.wecom] secret",
    93019: "机器人的 Bot ID 不对，请核对 [platforms.wecom] bot_id",
    40201: "被企业微信判为骚扰消息",
}


def refusal(code: int, doing: str) -> OutsideError:
    """Return the error that an errcode stands for; the platform's own text may quote us."""
    if code in _BUSY:
        return Transient(f"企业微信{doing}：太频繁或没有接上（{code}）", retry_after=_BUSY[code])
    words = _WORDS.get(code, "被拒绝")
    return Permanent(f"企业微信{doing}：{words}（{code}）", fault=Fault.REFUSED)


# -- what a form's page was told --------------------------------------------------------------------


def filled(form: Form, values: Mapping[str, str], files: Sequence[File]) -> dict[str, str]:
    """Return what a form sends: every input but files, prefilled values where none was given.

    Raises UsageError that names every bad input.
    """
    inputs = [each for each in form.inputs if each.entry is not Entry.FILE]
    known = {each.name for each in inputs}
    wrong = [f"表单里没有「{name}」这一项" for name in values if name not in known]
    told = {each.name: values.get(each.name, each.value) for each in inputs}
    wrong += [why for each in inputs if (why := _wrong(each, told[each.name]))]
    wrong += [
        f"请选择文件：{each.label}"
        for each in form.inputs
        if each.entry is Entry.FILE and each.required and not files
    ]
    if wrong:
        raise UsageError("；".join(wrong))
    return told


def _wrong(each: Input, value: str) -> str:
    if not value.strip():
        return f"请填写：{each.label}" if each.required else ""
    offered = {option for option, _ in each.options}
    match each.entry:
        case Entry.NUMBER if not re.fullmatch(r"[+-]?\d+(\.\d+)?", value.strip()):
            return f"请填写数字：{each.label}"
        case Entry.DATE if not is_date(value):
            return no_date(each)
        case Entry.CHOICE if value not in offered:
            return f"请从列出的选项中选择：{each.label}"
        case Entry.CHOICES if not set(value.split(",")) <= offered:
            return f"请从列出的选项中选择：{each.label}"
        case _:
            return ""

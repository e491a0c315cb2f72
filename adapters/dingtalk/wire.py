"""DingTalk's JSON and our words, both ways: plain functions, no await, no clock, no socket.

Facts are from `facts/feishu-dingtalk.md`, part 2. What could not be checked against the real
platform is assumed here and nowhere else: the file types of `sampleFile`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapters.card import Card, Mention
from adapters.dingtalk import draw
from adapters.port import Fault, Permanent
from adapters.words import Chat, Click, Event, Message, Person, Submission

PLATFORM = "dingtalk"
MESSAGE_BYTES = 15_000
"""`msgParam` of a robot's message, as JSON."""
FILE_BYTES = 20_000_000
GROUP_NAME_CHARS = 256
DING_CHARS = 500
LINE_CHARS = 60
"""Characters of a line in a call that is too long for DingTalk."""

DIRECT = "user:"
"""A chat's id is a group's openConversationId, or this and the userId of one person."""

RECEIVED = "已收到"
STALE = "这张卡片已更新，上面没有这个按钮了，请看卡片的最新内容"
STALE_FORM = "这张卡片已更新，上面没有这个表单了，请看卡片的最新内容"
GOOD_SIGN, BAD_SIGN, ASK_SIGN = "✅ ", "⚠️ ", "❓ "


# -- names --------------------------------------------------------------------------------------


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
        for slot_part in range(1, draw.PARTS + 1):
            part = params.get(f"form{slot_part}") or {}
            part_of = json.loads(part) if isinstance(part, str) else part
            for name, value in part_of.items():
                whole, entered = str(name).partition(draw.PIECE)[0], _value(value)
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

    There is no toast that a server can ask for, so the template has a private line for it, which
    shows Markdown.
    """
    said = draw.BREAK.join(draw.escape(line) for line in f"{sign}{text}".split("\n"))
    return {
        "cardUpdateOptions": {"updateCardDataByKey": True, "updatePrivateDataByKey": True},
        "userPrivateData": {"cardParamMap": {draw.NOTICE: _short(said)}},
    }


def _short(text: str) -> str:
    if draw.size(text) <= draw.VALUE_BYTES:
        return text
    return draw.beginning(text, 990) + "…"


# -- what we ask of DingTalk --------------------------------------------------------------------


def called(card: Card) -> dict[str, str]:
    """Return whom a card's delivery notifies: the name by the userId (`atUserIds`, a group's alone;
    the robot's Markdown has nothing like it). Whoever is not of the organisation has no userId."""
    people = (p for block in card.blocks if isinstance(block, Mention) for p in block.people)
    mine = (p for p in people if p.platform == PLATFORM and not is_outsider(p))
    return {person.id: draw.clean(person.name or person.id) for person in mine}


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
    text = draw.compact(param)
    if draw.size(text) > MESSAGE_BYTES:
        raise Permanent("消息太长，钉钉最多收 15,000 字节", fault=Fault.REFUSED)
    body = {"robotCode": robot, "msgKey": kind, "msgParam": text}
    if user := user_of(chat):
        return "/v1.0/robot/oToMessages/batchSend", {**body, "userIds": [user]}
    return "/v1.0/robot/groupMessages/send", {**body, "openConversationId": chat.id}


def file_param(name: str, media: str) -> dict[str, str]:
    """Return the `msgParam` of a sampleFile."""
    ending = name.rpartition(".")[2] if "." in name else "file"
    return {"mediaId": media, "fileName": draw.clean(name), "fileType": ending.lower()}


def ding(person: Person, text: str, *, robot: str) -> dict[str, Any]:
    """Return the body of POST /v1.0/robot/ding/send: an urgent notice inside the app."""
    return {
        "robotCode": robot,
        "remindType": 1,
        "receiverUserIdList": [person.id],
        "content": shortened(draw.clean(text), lambda said: len(said) <= DING_CHARS)[:DING_CHARS],
    }


def urgent(person: Person, text: str, *, robot: str) -> tuple[str, Any]:
    """Return (path, body) of the message that stands for a DING where the edition has none."""

    def param(said: str) -> dict[str, str]:
        return {"title": "紧急", "text": draw.BREAK.join(map(draw.escape, said.split("\n")))}

    text = shortened(text, lambda said: draw.size(draw.compact(param(said))) <= MESSAGE_BYTES)
    return message(direct(person), "sampleMarkdown", param(text), robot=robot)


def shortened(text: str, fits: Callable[[str], bool]) -> str:
    """Return a call's words, where they do not fit with their long lines cut, and then with fewer of
    them: what comes first says whom and what it is about, the last line what to do."""
    if fits(text):
        return text
    *lines, last = text.split("\n")
    told = [line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 1]}…" for line in lines]
    if fits("\n".join((*told, last))):
        return "\n".join((*told, last))
    for kept in range(len(told) - 1, 0, -1):
        left = f"……另有 {len(told) - kept} 行"
        if fits(short := "\n".join((*told[:kept], left, last))):
            return short
    return text


def scene_group(
    title: str, owner: str, members: Sequence[Person], *, template: str, uuid: str
) -> dict[str, Any]:
    """Return the body of POST /v1.0/im/sceneGroups; the robot comes with the group's template."""
    return {
        "groupName": draw.clean(title)[:GROUP_NAME_CHARS],
        "groupOwnerId": owner,
        "templateId": template,
        "userIdList": list(dict.fromkeys(person.id for person in members)),
        "uuid": uuid,
    }


# -- how events are kept ------------------------------------------------------------------------

_EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Message, Click, Submission)}


def keep(event: Event, papers: Sequence[Paper]) -> str:
    """Return an event that waits to be asked for, as JSON."""
    body = msgspec.to_builtins(event)
    return draw.compact([type(event).__name__, body, msgspec.to_builtins(tuple(papers))])


def kept(text: str) -> tuple[Event, tuple[Paper, ...]]:
    """Return what `keep` kept."""
    kind, body, papers = msgspec.json.decode(text, type=tuple[str, object, tuple[Paper, ...]])
    return msgspec.convert(body, _EVENTS[kind]), papers

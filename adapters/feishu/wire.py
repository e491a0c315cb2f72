"""Feishu's JSON and our words: plain functions, no await, no clock, no socket.

Sources: open.feishu.cn (IM v1, events v2, card.action.trigger, request signature), lark-oapi 1.7.5;
what was measured is in the facts that the issue names.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from adapters.card import Card, Entry, Input, is_date, no_date
from adapters.feishu import draw
from adapters.port import Fault, InDoubt, OutsideError, Permanent, Transient
from adapters.words import Chat, Click, Event, File, Message, Person, Secret, Submission

MAX_FILE_BYTES = 30_000_000
MEMBERS_AT_ONCE = 50

BUSY = frozenset({99991400, 230020, 11232})
"""The codes of too many calls; the HTTP status is 429 or 400 (frequency-control)."""

SOON = {232019: 1.0, 230049: 1.0}
"""Codes that pass by themselves, with the seconds to wait: two changes of one group's members at
once, and a message of the same uuid that is just being sent."""

STALE_TOKEN = frozenset({99991661, 99991663, 99991664, 99991668})

NO_SCOPE = 99991672


class Unscoped(Permanent):
    """The app's own permission is missing, and not one in a chat."""


REASONS = {
    NO_SCOPE: "应用缺少这个接口的权限，请在开发者后台开通并发布版本",
    230001: "参数不对，或会话、消息不存在",
    230002: "机器人不在这个群里",
    230006: "应用没有启用机器人能力",
    230011: "消息已被撤回",
    230013: "对方不在应用的可用范围内",
    230017: "消息不是本机器人发的",
    230022: "内容含有敏感词",
    230025: "内容太长",
    230027: "没有权限",
    230028: "内容被企业的防泄漏规则拦下（例如明文手机号、邮箱）",
    230035: "没有在这个群里发言的权限",
    230099: "卡片内容不被接受",
}

EPOCH = datetime.fromtimestamp(0, UTC)

Json = Mapping[str, Any]


# -- requests ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `uri` is written as the SDK writes it, and `paths` fill its `:names`."""

    method: str
    uri: str
    paths: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = field(default=None, repr=False)
    """Not shown: one of them holds the app's secret."""
    file: File | None = None
    """The part `file` of a multipart body; `body` holds its other parts."""

    @property
    def path(self) -> str:
        parts = self.uri.split("/")
        filled = (quote(self.paths[one[1:]], safe="") if one[:1] == ":" else one for one in parts)
        return "/".join(filled)


def mend(text: str) -> str:
    """Return the text with "?" for half characters, which JSON cannot carry."""
    return text.encode(errors="replace").decode()


def uuid_of(deed: str, key: str) -> str:
    """Return the idempotency key of one deed; Feishu takes 50 characters."""
    return hashlib.sha256(f"{deed}\n{key}".encode(errors="replace")).hexdigest()[:48]


def receiver(chat_id: str) -> str:
    """Return what kind of id names a chat: a person's own (ou_) or a group's."""
    return "open_id" if chat_id.startswith("ou_") else "chat_id"


def ask_token(app_id: str, secret: Secret) -> Call:
    body = {"app_id": app_id, "app_secret": secret.reveal()}
    return Call("POST", "/open-apis/auth/v3/tenant_access_token/internal", body=body)


def ask_bot() -> Call:
    return Call("GET", "/open-apis/bot/v3/info")


def create_chat(title: str, owner: str, uuid: str) -> Call:
    """A private group; without `owner` (an open_id) the bot owns it, and it manages it anyway."""
    body = {"name": mend(title), "chat_mode": "group", "chat_type": "private"}
    if owner:
        body["owner_id"] = owner
    query = {"user_id_type": "open_id", "set_bot_manager": "true", "uuid": uuid}
    return Call("POST", "/open-apis/im/v1/chats", query=query, body=body)


def add_members(chat_id: str, ids: Sequence[str]) -> Call:
    """Take in whom Feishu can and name the rest (`succeed_type` 1)."""
    return Call(
        "POST",
        "/open-apis/im/v1/chats/:chat_id/members",
        {"chat_id": chat_id},
        {"member_id_type": "open_id", "succeed_type": "1"},
        {"id_list": list(ids)},
    )


def members_of(chat_id: str, page: str) -> Call:
    query = {"member_id_type": "open_id", "page_size": "100"} | (
        {"page_token": page} if page else {}
    )
    return Call("GET", "/open-apis/im/v1/chats/:chat_id/members", {"chat_id": chat_id}, query)


def post(chat_id: str, kind: str, content: str, uuid: str) -> Call:
    body = {"receive_id": chat_id, "msg_type": kind, "content": content, "uuid": uuid}
    query = {"receive_id_type": receiver(chat_id)}
    return Call("POST", "/open-apis/im/v1/messages", query=query, body=body)


def post_card(chat_id: str, card: Card, uuid: str) -> Call:
    return post(chat_id, "interactive", draw.content(card), uuid)


def post_text(chat_id: str, text: str, uuid: str) -> Call:
    return post(chat_id, "text", draw.compact({"text": text}), uuid)


def post_file(chat_id: str, file_key: str, uuid: str) -> Call:
    return post(chat_id, "file", draw.compact({"file_key": file_key}), uuid)


def patch_card(message_id: str, card: Card) -> Call:
    body = {"content": draw.content(card)}
    return Call(
        "PATCH", "/open-apis/im/v1/messages/:message_id", {"message_id": message_id}, {}, body
    )


def upload(file: File) -> Call:
    """Permanent when Feishu would refuse the file: nothing in it, or more than 30 MB."""
    if not file.content:
        raise Permanent("飞书不收空文件", fault=Fault.REFUSED)
    if len(file.content) > MAX_FILE_BYTES:
        raise Permanent("文件太大：飞书最多 30 MB", fault=Fault.REFUSED)
    name = mend(file.name)
    body = {"file_type": "stream", "file_name": name}
    return Call("POST", "/open-apis/im/v1/files", body=body, file=replace(file, name=name))


URGENCIES = ("app", "sms", "phone")
"""How a message may be made urgent, the mildest first: in the app, by SMS, by a call. The last two
burn a paid quota."""


def urgent(message_id: str, person_id: str, how: str = "app") -> Call:
    """Make our own message urgent to its reader; `how` is one of URGENCIES."""
    return Call(
        "PATCH",
        f"/open-apis/im/v1/messages/:message_id/urgent_{how}",
        {"message_id": message_id},
        {"user_id_type": "open_id"},
        {"user_id_list": [person_id]},
    )


def ask_scopes() -> Call:
    return Call("GET", "/open-apis/application/v6/scopes")


@dataclass(frozen=True, slots=True)
class Need:
    """A permission, by any one of its names, and what it is for; `must`: nothing works without."""

    names: tuple[str, ...]
    why: str
    must: bool = True


NEEDS = (
    Need(("im:message:send_as_bot", "im:message"), "发消息和卡片"),
    Need(("im:message:update", "im:message", "im:message:send_as_bot"), "刷新进度卡"),
    Need(("im:message.group_at_msg:readonly", "im:message.group_msg"), "接收群里 @机器人 的消息"),
    Need(("im:message.p2p_msg:readonly",), "接收单聊消息"),
    Need(("im:message:readonly", "im:message"), "取被回复的消息和卡片的发送时间"),
    Need(("im:resource",), "收发文件"),
    Need(("im:chat:create", "im:chat"), "建客户群"),
    Need(("im:chat.members:write_only", "im:chat"), "拉人进群"),
    Need(("im:chat.members:read", "im:chat:readonly", "im:chat"), "显示按按钮的人的姓名"),
    Need(("im:message.group_msg",), "表单附带的文件：读取群里刚发的文件", must=False),
    Need(("im:message.pins:write_only", "im:message"), "把进度卡置顶到 Pin", must=False),
    Need(
        ("im:chat.members:bot_access", "im:chat:readonly", "im:chat"),
        "机器人进群时收到通知，自动发一份用法",
        must=False,
    ),
)
"""What docs/feishu.md asks for; older, wider permissions hold newer, narrower ones."""

URGENT = {
    "app": Need(("im:message.urgent",), "应用内加急", must=False),
    "sms": Need(("im:message.urgent:sms",), "短信加急", must=False),
    "phone": Need(("im:message.urgent:phone",), "电话加急", must=False),
}


def lacking(body: Json, urgency: str) -> tuple[Need, ...]:
    """Return which permissions the answer to `ask_scopes` does not show as granted."""
    scopes = (body.get("data") or {}).get("scopes") or ()
    granted = {one.get("scope_name") for one in scopes if one.get("grant_status") == GRANTED}
    ways = URGENCIES[: URGENCIES.index(urgency) + 1]
    needs = (*NEEDS, *(URGENT[one] for one in ways))
    return tuple(need for need in needs if granted.isdisjoint(need.names))


GRANTED = 1


def pin(message_id: str) -> Call:
    return Call("POST", "/open-apis/im/v1/pins", body={"message_id": message_id})


def ask_message(message_id: str) -> Call:
    return Call("GET", "/open-apis/im/v1/messages/:message_id", {"message_id": message_id})


def history(chat_id: str, since: datetime, page: str) -> Call:
    """The chat's messages since an instant, the newest first, 50 on a page."""
    query = {
        "container_id_type": "chat",
        "container_id": chat_id,
        "start_time": str(int(since.timestamp())),
        "sort_type": "ByCreateTimeDesc",
        "page_size": "50",
    } | ({"page_token": page} if page else {})
    return Call("GET", "/open-apis/im/v1/messages", query=query)


def resource(one: Attached) -> Call:
    return Call(
        "GET",
        "/open-apis/im/v1/messages/:message_id/resources/:file_key",
        {"message_id": one.message, "file_key": one.key},
        {"type": one.kind},
    )


# -- refusals ---------------------------------------------------------------------------------


def refusal(status: int, headers: Mapping[str, str], body: Json | None) -> OutsideError | None:
    """Return what an answer means as an error, or None when it is a success.

    The code decides, not the HTTP status: Feishu sends both 429 and 400 for "too often". A 5xx or
    an answer that is not JSON says nothing about what was done.
    """
    code = body.get("code") if body else None
    if (isinstance(code, int) and code in BUSY) or status == 429:  # noqa: PLR2004 - Too Many Requests
        return Transient("飞书接口调用太频繁", retry_after=_pause(headers), fault=Fault.REFUSED)
    if isinstance(code, int) and code in SOON:
        return Transient("飞书正在处理同一个操作", retry_after=SOON[code], fault=Fault.REFUSED)
    if isinstance(code, int) and code in STALE_TOKEN:  # refused with a new one, too
        return Transient("飞书暂时不认令牌", fault=Fault.REFUSED)
    if code == 0 and status < 400:  # noqa: PLR2004 - the first status of a failure
        return None
    if code is None or status >= 500:  # noqa: PLR2004 - the server's own failures
        return InDoubt(f"飞书没有给出明确的答复（HTTP {status}）", fault=Fault.NETWORK)
    said = REASONS.get(code) or str(body.get("msg", "") if body else "")[:200]
    made = Unscoped if code == NO_SCOPE else Permanent
    return made(f"飞书拒绝：{said}（{code}）", fault=Fault.REFUSED)


def _pause(headers: Mapping[str, str]) -> float:
    said = headers.get("x-ogw-ratelimit-reset", "")
    return max(1.0, float(said)) if said.isdigit() else 1.0


def left_out(body: Json) -> tuple[str, ...]:
    """Return whom `add_members` could not take in."""
    data = body.get("data") or {}
    kinds = ("invalid_id_list", "not_existed_id_list", "pending_approval_id_list")
    return tuple(str(one) for kind in kinds for one in data.get(kind) or ())


# -- what people do ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """A file of a message, not yet fetched."""

    message: str
    key: str
    name: str
    kind: str = "file"
    """file | image"""


@dataclass(frozen=True, slots=True)
class Incoming:
    """What came in, and what must be fetched before it is whole."""

    event: Event
    attached: tuple[Attached, ...] = ()
    parent: str = ""
    """The message that was answered: a file there belongs to the command."""
    card: str = ""
    """The message whose button was pressed."""
    posted: bool = False
    """A form that asked for files: they were posted in the chat since the card was."""
    complaint: str = ""
    """What is wrong with a form, in Chinese: then it is answered and not delivered."""


def instant(text: str) -> datetime:
    """Return a time that Feishu wrote in seconds, milliseconds (messages) or microseconds (cards)."""
    scale = {10: 1, 13: 1_000, 16: 1_000_000}.get(len(text), 1_000)
    return EPOCH + timedelta(microseconds=int(text) * 1_000_000 // scale)


def decode(payload: Json, *, platform: str, bot: str) -> Incoming | None:
    """Return what a person did, or None for everything that is no message, press or form.

    `bot` is the bot's own open_id. A message's id is its message_id (a redelivery may carry another
    event_id: the page of im.message.receive_v1 says so), everything else's is the event_id.
    """
    header, event = payload.get("header") or {}, payload.get("event") or {}
    match header.get("event_type"):
        case "im.message.receive_v1":
            return _message(event, platform, bot)
        case "card.action.trigger":
            return _action(header, event, platform)
        case "application.bot.menu_v6":
            return _menu(header, event, platform)
        case "im.chat.member.bot.added_v1":
            return _added(header, event, platform)
        case _:
            return None


def _message(event: Json, platform: str, bot: str) -> Incoming | None:
    sender, message = event["sender"], event["message"]
    if sender.get("sender_type") != "user":
        return None
    mentions = message.get("mentions") or ()
    people = [(one["key"], one["id"].get("open_id", ""), one.get("name", "")) for one in mentions]
    text, files = contents(message["message_id"], message["message_type"], message["content"])
    ours = _to_us(message, text, [one for _, one, _ in people], bot)
    said = Message(
        message["message_id"],
        Chat(platform, message["chat_id"]),
        Person(platform, sender["sender_id"]["open_id"]),
        _named(text, people, bot),
        instant(message["create_time"]),
        mentions=tuple(
            Person(platform, one, name) for _, one, name in people if one and one != bot
        ),
    )
    return Incoming(said, files, message.get("parent_id") or "") if ours else Incoming(said)


SLASHES = ("/", "／", "、")
"""How a command begins, the keys of a Chinese keyboard among them."""


def _to_us(message: Json, text: str, mentioned: Sequence[str], bot: str) -> bool:
    """Is it for the bot? With `im:message.group_msg` Feishu tells of everything in a group, and what
    people post for each other is not ours to fetch."""
    alone = message.get("chat_type", "p2p") == "p2p"
    return alone or bot in mentioned or text.lstrip().startswith(SLASHES)


def _named(text: str, people: Sequence[tuple[str, str, str]], bot: str) -> str:
    # The longest first: "@_user_1" begins "@_user_10".
    for key, open_id, name in sorted(people, key=lambda one: -len(one[0])):
        text = text.replace(key, "" if open_id == bot else f"@{name}")
    return text.strip()


KINDS = frozenset({"text", "post", "file", "image"})
"""The messages with words or files that we can read."""


def contents(message_id: str, kind: str, content: str) -> tuple[str, tuple[Attached, ...]]:
    """Return the words and the files of a message's `content`, which is JSON in a string."""
    if kind not in KINDS:  # cards and stickers among them, whose content need not be JSON
        return "", ()
    body = json.loads(content)
    match kind:
        case "text":
            return str(body.get("text", "")), ()
        case "post":
            return _post(message_id, body)
        case "file":
            return "", (Attached(message_id, body["file_key"], body.get("file_name", "file")),)
        case _:
            return "", (_picture(message_id, body["image_key"]),)


def _picture(message_id: str, key: str) -> Attached:
    return Attached(message_id, key, f"{key}.png", "image")


def _post(message_id: str, body: Json) -> tuple[str, tuple[Attached, ...]]:
    lines, pictures = [str(body.get("title") or "")], []
    for line in body.get("content") or ():
        words = ""
        for part in line:
            match part.get("tag"):
                case "at":
                    words += str(part.get("user_id", ""))
                case "img":
                    pictures.append(_picture(message_id, part["image_key"]))
                case _:
                    words += str(part.get("text", ""))
        lines.append(words)
    return "\n".join(line for line in lines if line), tuple(pictures)


def _action(header: Json, event: Json, platform: str) -> Incoming | None:
    action, context = event["action"], event["context"]
    value = action.get("value") or {}
    if "action" not in value:
        return None
    press = Click(
        header["event_id"],
        Chat(platform, context["open_chat_id"]),
        Person(platform, event["operator"]["open_id"]),
        value["action"],
        instant(header["create_time"]),
    )
    card = context["open_message_id"]
    if "form" not in value:
        return Incoming(press, card=card)
    entered = values(value, action.get("form_value") or {})
    form = Submission(press.id, press.chat, press.sender, press.action, entered, press.at)
    posted = "files" in value
    return Incoming(form, card=card, posted=posted, complaint=complaint(value, entered))


def values(value: Json, form_value: Json) -> dict[str, str]:
    """Return what was entered, by the names that the form was drawn with; the rest is empty."""
    prefix = draw.field("", value["form"])
    given = {key.removeprefix(prefix): _text(one) for key, one in form_value.items()}
    # A date comes back with the offset of whoever picked it, "2026-11-25 +0800" (date picker).
    dates = value.get("dates") or {}
    given |= {name: given[name].partition(" ")[0] for name in dates if name in given}
    return {name: given.get(name, "") for name in value["inputs"]}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return "" if value is None else str(value)


def complaint(value: Json, entered: Mapping[str, str]) -> str:
    """Return what is wrong in a form that Feishu's client cannot check, or ""."""
    numbers: Mapping[str, str] = value.get("numbers") or {}
    wrong = [label for name, label in numbers.items() if not _is_number(entered.get(name, ""))]
    bad = [f"请填写数字：{label}" for label in wrong]
    dates: Mapping[str, str] = value.get("dates") or {}
    for name, label in dates.items():
        if entered.get(name) and not is_date(entered[name]):
            bad.append(no_date(Input(name, label, Entry.DATE)))
    return "；".join(bad)


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _menu(header: Json, event: Json, platform: str) -> Incoming:
    """A press in the bot's menu is its event key, typed by that person: "/status" and so on.

    The event names no chat; a person's own id is an address, too.
    """
    who = event["operator"]["operator_id"]["open_id"]
    chat, person = (
        Chat(platform, who),
        Person(platform, who, event["operator"].get("operator_name", "")),
    )
    at = instant(header["create_time"])
    return Incoming(Message(header["event_id"], chat, person, event["event_key"], at))


WELCOME = "/help"
"""What is said for whoever takes the bot into a group: the answer tells what it can do there."""


def _added(header: Json, event: Json, platform: str) -> Incoming:
    chat = Chat(platform, event["chat_id"], event.get("name") or "")
    who = Person(platform, event["operator_id"]["open_id"])
    return Incoming(Message(header["event_id"], chat, who, WELCOME, instant(header["create_time"])))


def posted_by(person: str, items: Sequence[Json]) -> tuple[Attached, ...]:
    """Return the files that one person posted, out of a chat's history; the oldest first."""
    files: list[Attached] = []
    for item in items:
        if (item.get("sender") or {}).get("id") == person:
            files[:0] = attached_to(item)
    return tuple(files)


def attached_to(item: Json) -> tuple[Attached, ...]:
    """Return the files of a message as the message API gives it; what was recalled has none, and
    words in place of its JSON."""
    if item.get("deleted"):
        return ()
    content = (item.get("body") or {}).get("content", "")
    return contents(item["message_id"], item["msg_type"], content)[1]


# -- answers in the callback ------------------------------------------------------------------


def toast(text: str, *, ok: bool) -> Json:
    """Return the body that answers a press."""
    return {"toast": {"type": "success" if ok else "error", "content": mend(text)}}


def redrawn(card: Card) -> Json:
    """Return what an answer adds to show a card anew, to everybody; nothing of one that is beyond
    Feishu's limits: the edit after it says so."""
    try:
        return {"card": {"type": "raw", "data": json.loads(draw.content(card))}}
    except Permanent:
        return {}


TAKEN: Json = {"toast": {"type": "info", "content": "已收到"}}


# -- HTTP callback mode -----------------------------------------------------------------------

FRESH = timedelta(minutes=5)
"""How old a signed request may be; the SDK itself does not look."""


def signed(headers: Mapping[str, str], body: bytes, encrypt_key: Secret) -> bool:
    """Is `X-Lark-Signature` sha256(timestamp + nonce + encrypt key + raw body), in hex?"""
    head = headers.get("x-lark-request-timestamp", "") + headers.get("x-lark-request-nonce", "")
    digest = hashlib.sha256((head + encrypt_key.reveal()).encode() + body).hexdigest()
    return hmac.compare_digest(digest.encode(), headers.get("x-lark-signature", "").encode())


def fresh(headers: Mapping[str, str], now: datetime) -> bool:
    said = headers.get("x-lark-request-timestamp", "")
    return said.isdecimal() and abs(now.timestamp() - int(said)) <= FRESH.total_seconds()


def decrypt(sealed: str, encrypt_key: Secret) -> bytes:
    """Open `{"encrypt": ...}`: AES-256-CBC, key sha256(encrypt key), the IV first, PKCS7.

    Raises ValueError when it was not sealed with this key.
    """
    try:
        blob = b64decode(sealed, validate=True)
    except NotBase64 as problem:
        raise ValueError("not base64") from problem
    key = hashlib.sha256(encrypt_key.reveal().encode()).digest()
    opener = Cipher(algorithms.AES(key), modes.CBC(blob[:16])).decryptor()
    padded = opener.update(blob[16:]) + opener.finalize()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


def callback(
    headers: Mapping[str, str], body: bytes, *, encrypt_key: Secret, token: Secret, now: datetime
) -> Json:
    """Return the payload of an HTTP callback, or raise Permanent: not Feishu's, or a replay.

    Header names are in lower case. A url_verification is not signed; its token is checked, and
    `challenge` answers it.
    """
    try:
        outer = json.loads(body)
        inner = json.loads(decrypt(outer["encrypt"], encrypt_key)) if encrypt_key else outer
        said = str(inner.get("token") or (inner.get("header") or {}).get("token") or "").encode()
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as problem:
        raise Permanent("飞书回调解不开：请核对 Encrypt Key", fault=Fault.REFUSED) from problem
    if not hmac.compare_digest(said, token.reveal().encode()):
        raise Permanent("飞书回调的 Verification Token 不对", fault=Fault.REFUSED)
    if challenge(inner) is None and encrypt_key:
        if not signed(headers, body, encrypt_key):
            raise Permanent("飞书回调的签名不对", fault=Fault.REFUSED)
        if not fresh(headers, now):
            raise Permanent("飞书回调太旧，可能是重放", fault=Fault.REFUSED)
    return dict(inner)


def challenge(payload: Json) -> Json | None:
    """Return the answer to a url_verification, None when it is something else."""
    if payload.get("type") != "url_verification":
        return None
    return {"challenge": payload.get("challenge", "")}

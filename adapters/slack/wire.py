"""Slack's JSON and our words: plain functions, no socket and no clock."""

from __future__ import annotations

import html
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from adapters.card import Form
from adapters.port import Fault, InDoubt, OutsideError, Permanent, Transient
from adapters.slack import draw, marks, modal
from adapters.slack.slash import ANY
from adapters.words import Chat, Click, File, Message, Person, Submission

MAX_NAME = 80

MALFORMED = (
    KeyError, IndexError, TypeError, AttributeError, ValueError, zlib.error, msgspec.MsgspecError,
)  # fmt: skip
"""What these functions raise for a payload of another shape than Slack documents."""


class Dropped(Exception):
    """A verdict on a payload: it was not kept, so Slack shall deliver it again."""


def name_of(user: Mapping[str, Any]) -> str:
    """Return how people know a user of `users.info`."""
    profile = user.get("profile", {})
    names = (profile.get("display_name"), user.get("real_name"), user.get("name"))
    return next((str(name) for name in names if name), "")


# -- what people do -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that somebody sent, still on Slack's side. Where a channel is shared with another company
    an event has its `id` alone, and `files.info` the rest (docs.slack.dev, Slack Connect files)."""

    name: str
    url: str
    id: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """Somebody pressed the button of a form: what `views.open` needs, within 3 s and once."""

    trigger: str
    form: Form
    home: modal.Home
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
        Attached(file.get("name") or file["id"], file.get("url_private_download", ""), file["id"])
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
    if command == ANY:
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
    if kind == draw.FORM:
        form = draw.unpack(action["value"])
        home = modal.Home(channel["id"], channel.get("name", ""), form.action)
        return Pressed(body["trigger_id"], form, home, sender)
    if kind != draw.PRESS or "value" not in action:
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
    home = msgspec.json.decode(body["view"]["private_metadata"], type=modal.Home)
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
    folded = unicodedata.normalize("NFKC", draw.mended(title)).lower()
    slug = re.sub(r"[^\w]+|_+", "-", folded).strip("-")
    tail = marks.stamp(key)[:8]
    return f"{slug[: MAX_NAME - len(tail) - 1].rstrip('-')}-{tail}".lstrip("-")


def plain_channel_name(key: str) -> str:
    """Return a name that every workspace takes, for one that refuses the title's letters."""
    return f"vigilbot-{marks.stamp(key)[:8]}"


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

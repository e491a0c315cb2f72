"""What the store keeps, as JSON and back: plain functions, no socket and no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import msgspec

from adapters.card import (
    Buttons,
    Card,
    Entry,
    Form,
    dumps,
    is_date,
    loads,
    no_date,
)
from adapters.port import UsageError
from adapters.words import Chat, Click, Event, File, Message, Person, Submission

EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Message, Click, Submission)}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a post, without its content: `WebChat.content` gives that."""

    id: str
    name: str
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Post:
    """One entry of a conversation. The sender is None when the bot wrote it."""

    id: str
    chat: Chat
    sender: Person | None
    at: datetime
    text: str = ""
    card: Card | None = None
    files: tuple[Attachment, ...] = ()
    urgent: bool = False
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A chat and who is in it; `direct` marks the talk of one person with the bot."""

    chat: Chat
    members: tuple[Person, ...]
    direct: bool = False


def post_to_json(post: Post) -> str:
    body = {
        "id": post.id,
        "chat": msgspec.to_builtins(post.chat),
        "sender": msgspec.to_builtins(post.sender),
        "at": post.at.isoformat(),
        "text": post.text,
        "card": dumps(post.card) if post.card else None,
        "files": msgspec.to_builtins(post.files),
        "urgent": post.urgent,
        "edited": post.edited,
    }
    return json.dumps(body, ensure_ascii=False)


def post_from_json(text: str) -> Post:
    body = json.loads(text)
    card = body.pop("card")
    bare = msgspec.convert({**body, "card": None}, _Bare)
    return Post(
        bare.id,
        bare.chat,
        bare.sender,
        bare.at,
        bare.text,
        loads(card) if card else None,
        bare.files,
        bare.urgent,
        bare.edited,
    )


@dataclass(frozen=True, slots=True)
class _Bare:
    id: str
    chat: Chat
    sender: Person | None
    at: datetime
    text: str
    files: tuple[Attachment, ...]
    urgent: bool
    edited: bool


def group_to_json(group: Group) -> str:
    return json.dumps(msgspec.to_builtins(group), ensure_ascii=False)


def group_from_json(text: str) -> Group:
    return msgspec.json.decode(text, type=Group)


def event_to_json(event: Event) -> str:
    return json.dumps([type(event).__name__, msgspec.to_builtins(event)], ensure_ascii=False)


def event_from_json(text: str) -> Event:
    kind, body = msgspec.json.decode(text, type=tuple[str, object])
    return msgspec.convert(body, EVENTS[kind])


def has_button(card: Card, action: str) -> bool:
    """Tell whether the card, as drawn, has a button that answers with `action`."""
    return any(
        button.action == action and not button.url
        for block in card.blocks
        if isinstance(block, Buttons)
        for button in block.buttons
    )


def find_form(card: Card, action: str) -> Form | None:
    """Return the form of the card that is sent as `action`."""
    forms = (block for block in card.blocks if isinstance(block, Form))
    return next((form for form in forms if form.action == action), None)


def fill(form: Form, values: dict[str, str], files: tuple[File, ...]) -> dict[str, str]:
    """Return what the form sends: every input but FILE, prefilled values where none was given.

    Raises UsageError that names every bad input.
    """
    known = {i.name for i in form.inputs if i.entry is not Entry.FILE}
    bad = [f"表单里没有“{name}”这一项" for name in values if name not in known]
    filled: dict[str, str] = {}
    for i in form.inputs:
        if i.entry is Entry.FILE:
            if i.required and not files:
                bad.append(f"请选择文件：{i.label}")
            continue
        value = values.get(i.name, i.value)
        filled[i.name] = value
        if not value.strip():
            if i.required:
                bad.append(f"请填写：{i.label}")
        elif i.entry is Entry.NUMBER and not _is_number(value):
            bad.append(f"请填写数字：{i.label}")
        elif i.entry is Entry.DATE and not is_date(value):
            bad.append(no_date(i))
        elif i.entry in {Entry.CHOICE, Entry.CHOICES} and not _is_offered(
            i.entry, value, i.options
        ):
            bad.append(f"请从列出的选项中选择：{i.label}")
    if bad:
        raise UsageError("；".join(bad))
    return filled


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_offered(entry: Entry, value: str, options: tuple[tuple[str, str], ...]) -> bool:
    offered = {option for option, _ in options}
    chosen = value.split(",") if entry is Entry.CHOICES else [value]
    return all(one in offered for one in chosen)


def mentioned(text: str, bot: str, members: tuple[Person, ...]) -> tuple[str, tuple[Person, ...]]:
    """Return the text without the bot's own mention, and the members that it mentions."""
    people = tuple(person for person in members if person.name and f"@{person.name}" in text)
    return text.replace(f"@{bot}", "").strip(), people

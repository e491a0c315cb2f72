"""What a step looks for in a chat: pure questions to what is drawn."""

from __future__ import annotations

from adapters.card import Button, Buttons, Card, Checklist, Form
from adapters.webchat.wire import Post
from bot.play.render import post_text
from bot.play.script import Wanted, texts


def concerns(post: Post, part: str) -> bool:
    """Is it a card whose title or text has that part?"""
    return post.card is not None and part in post_text(post)


def button(card: Card, label: str) -> Button | None:
    """Return the button of that label; one that opens an address is not pressed in a chat."""
    for block in card.blocks:
        if isinstance(block, Buttons):
            for one in block.buttons:
                if one.label == label and not one.url:
                    return one
    return None


def form(card: Card, submit: str) -> Form | None:
    """Return the form that is sent by the button `submit`, or the first where that is empty."""
    for block in card.blocks:
        if isinstance(block, Form) and submit in ("", block.submit):
            return block
    return None


def meets(post: Post, wanted: Wanted) -> bool:
    """Is the post all that is wanted?"""
    title, text = (post.card.title if post.card else ""), post_text(post)
    if wanted.title and wanted.title not in title:
        return False
    if wanted.tone and (post.card is None or post.card.tone is not wanted.tone):
        return False
    if any(one not in text for one in texts(wanted.contains)):
        return False
    return not wanted.item or _has_item(post.card, wanted)


def wish(wanted: Wanted) -> str:
    """Say what is wanted, in words."""
    parts = [
        f"标题含「{wanted.title}」" if wanted.title else "",
        f"颜色 {wanted.tone}" if wanted.tone else "",
        *(f"含「{one}」" for one in texts(wanted.contains)),
        f"清单项「{wanted.item}」{wanted.mark or ''}" if wanted.item else "",
        "且为新内容" if wanted.new else "",
    ]
    what = "，".join(part for part in parts if part)
    return f"没有这样的内容：{what}" if wanted.absent else what


def _has_item(card: Card | None, wanted: Wanted) -> bool:
    items = [
        item
        for block in (card.blocks if card else ())
        if isinstance(block, Checklist)
        for item in block.items
    ]
    return any(wanted.item in i.title and wanted.mark in (None, i.mark) for i in items)

"""What a person would see in a chat, as text: the same in played conversations and the terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapters.card import plain
from adapters.webchat.wire import Post
from runbooks.book import Runbook, concerns
from runbooks.walk import load
from storage.records import Line, LineState, Run
from storage.store import Unit

MASK = "***"


def post_text(post: Post) -> str:
    """Return all that a post shows: its text, its card, the names of its files."""
    files = "、".join(f"{file.name}（{file.size} 字节）" for file in post.files)
    parts = (post.text, plain(post.card) if post.card else "", f"📎 {files}" if files else "")
    return _harmless("\n".join(part for part in parts if part))


def changed(before: Post | None, now: Post) -> str:
    """Return what is new on a post: all of it at first, then the lines that were not there."""
    text = post_text(now)
    if before is None:
        return text
    known = set(post_text(before).splitlines())
    return "\n".join(line for line in text.splitlines() if line not in known)


def heading(post: Post, bot: str, before: Post | None) -> str:
    """Return who wrote where, and whether it is a card that was redrawn."""
    who = (post.sender.name or post.sender.id) if post.sender else bot
    again = "（更新）" if before else ""
    loud = "（加急）" if post.urgent else ""
    return f"{post.chat.title or post.chat.id} | {who}{again}{loud}"


def masked(text: str, secrets: Iterable[str], patterns: Iterable[re.Pattern[str]]) -> str:
    """Return the text with every secret, and whatever a pattern's group finds, as a mask."""
    found = {match[1] for pattern in patterns for match in pattern.finditer(text) if match[1]}
    # The longest first: a short secret may be a part of a long one.
    for secret in sorted({*secrets, *found}, key=len, reverse=True):
        if secret:
            text = text.replace(secret, MASK)
    return text


SIGNS = {
    LineState.DOING: "🔄",
    LineState.DONE: "✅",
    LineState.SKIPPED: "⏭️",
    LineState.WAITING: "⏳",
    LineState.FAILED: "❌",
}


def timeline(book: Runbook[Any], run: Run, lines: Mapping[str, Line], customer: str) -> str:
    """Return every line of a run with its state, duration and proof."""
    case = load(book, run)
    rows = [f"{book.title} · {customer} · {run.id} · {run.status}"]
    for row in book.lines:
        if not concerns(row, case):
            continue
        rows.append(_row(row.title, lines.get(row.key)))
    return "\n".join(rows)


async def timelines(
    books: Mapping[str, Runbook[Any]], unit: Unit, before: Mapping[str, Run]
) -> Sequence[str]:
    """Return the timeline of each run that is not as it was `before`, the oldest first."""
    told: list[str] = []
    for customer in await unit.customers.all():
        for run in reversed(await unit.runs.of(customer.id)):
            if run != before.get(run.id) and run.book in books:
                lines = await unit.lines.of(run.id)
                told.append(timeline(books[run.book], run, lines, customer.name))
    return told


def _row(title: str, line: Line | None) -> str:
    if line is None:
        return f"  ⬜ {title}"
    took = ""
    if line.ended_at:
        took = f" {(line.ended_at - line.started_at).total_seconds():.1f}s"
    told = "；".join(part for part in (line.proof, line.note) if part)
    return f"  {SIGNS[line.state]} {title}{took}" + (f"  {told}" if told else "")


def _harmless(text: str) -> str:
    """A terminal obeys control characters, and anybody may have typed them."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "�" for c in text)

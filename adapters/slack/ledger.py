"""What we have said in each channel, so that the same key says it once.

Slack has no idempotency key for what is posted. So each message of ours carries a stamp of its key
(metadata, or a block_id where a file is posted), the first word in a channel after a start reads
what was said there last, and after a lost answer the channel is looked at again: what is not found
then is `InDoubt`, because it may still appear.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from adapters.port import InDoubt, Permanent, Transient
from adapters.slack import marks
from adapters.slack.calls import Calls

HISTORY = 200
"""Messages of a channel that are looked through for stamps."""

REMEMBERED = 500
"""Stamps of one channel that are kept in memory."""


class Ledger:
    """The stamps of what the bot has said, by channel; read from Slack, kept in memory alone."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._me = ""
        self._stamps: dict[str, dict[str, str]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def open(self, me: str) -> None:
        """Begin anew, as the bot user `me`: what was said before is read again."""
        self._me = me
        self._stamps.clear()

    async def once(
        self, channel: str, mark: str, deed: Callable[[], Awaitable[str]], *, thread: str = ""
    ) -> str:
        """Return what the stamp stands for, and do the deed if it stands for nothing yet.

        The deed returns the id of what it has posted. Raises the three errors.
        """
        place = f"{channel}/{thread}" if thread else channel
        async with self._locks[channel]:
            known = await self._said(place)
            if mark not in known:
                known[mark] = await self._do(place, mark, deed)
            return known[mark]

    async def _do(self, place: str, mark: str, deed: Callable[[], Awaitable[str]]) -> str:
        """Do it; when the answer is lost, look whether it is there."""
        try:
            return await deed()
        except InDoubt:
            self._stamps.pop(place, None)
            try:
                known = await self._said(place)
            except (Transient, Permanent):
                known = {}
            if mark in known:
                return known[mark]
            self._stamps.pop(place, None)  # it may still appear: look again before it is redone
            raise

    async def _said(self, place: str) -> dict[str, str]:
        """Return the stamps of what we said in a channel, or in a thread of it (channel/thread),
        whose replies its history does not show; read from Slack once after a start."""
        known = self._stamps.get(place)
        if known is None:
            channel, _, thread = place.partition("/")
            ask = {"channel": channel, "limit": HISTORY, "include_all_metadata": True}
            if thread:
                messages = (await self._replies({**ask, "ts": thread}))[::-1]
            else:
                page = await self._calls.call("conversations.history", ask, again=True)
                messages = page["messages"]
            known = self._stamps[place] = marks.stamps(messages, self._me)
        while len(known) > REMEMBERED:
            del known[next(iter(known))]
        return known

    async def _replies(self, ask: Mapping[str, Any]) -> list[Any]:
        """Return all of a thread, the oldest first: so Slack turns its pages."""
        messages: list[Any] = []
        cursor = ""
        while True:
            page = await self._calls.call(
                "conversations.replies", {**ask, "cursor": cursor}, again=True
            )
            messages += page["messages"]
            cursor = page.get("response_metadata", {}).get("next_cursor", "")
            if not cursor:
                return messages

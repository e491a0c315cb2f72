"""How much may be said in a chat: a window of one minute, with room kept for what matters."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from adapters.words import Chat
from storage.records import Lane

WINDOW = timedelta(minutes=1)

SHARE = {Lane.ALARM: 1.0, Lane.NORMAL: 0.8, Lane.PROGRESS: 0.6}
"""Of a chat's budget, what each lane may fill: progress can never starve an alarm."""


class Budget:
    """What went out in the last minute, by chat. It is this process' own: a restart forgets it,
    and the platform's refusal (Transient) is then the brake."""

    def __init__(self) -> None:
        self._sent: dict[Chat, deque[datetime]] = {}

    def allows(self, chat: Chat, lane: Lane, per_minute: int, now: datetime) -> bool:
        """May an entry of this lane go out now?"""
        sent = self._sent.get(chat)
        if sent is None:
            return True
        while sent and now - sent[0] >= WINDOW:
            sent.popleft()
        return len(sent) < max(1, int(per_minute * SHARE[lane]))

    def spend(self, chat: Chat, now: datetime) -> None:
        """Note that something went out, or was tried: a refused call counts on most platforms."""
        self._sent.setdefault(chat, deque()).append(now)

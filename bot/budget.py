"""How much may be said in a chat: in a minute and, where it is so, in an hour, with room kept for what matters."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from adapters.words import Chat
from storage.records import Lane

WINDOW = timedelta(minutes=1)
HOUR = timedelta(hours=1)

SHARE = {Lane.ALARM: 0.9, Lane.NORMAL: 0.8, Lane.PROGRESS: 0.6}
"""Of a chat's budget, what each lane may fill: progress can never starve an alarm. The last tenth
is nobody's: platforms count a little differently than we do."""

EDITS = 0.75
"""Of it, what urgent edits of a card may fill: they can never starve a mention."""

GAP = timedelta(seconds=1)
"""Between two drawings of one living card: a person cannot read faster."""


def gap(per_minute: int) -> timedelta:
    """Return how long a living card is left in peace: where little may be said, its edits are
    spread over the minute instead of spent in its first seconds."""
    spread = WINDOW / (per_minute * SHARE[Lane.PROGRESS])
    return GAP if GAP * per_minute >= WINDOW else spread


class Budget:
    """What went out in the last hour, by chat. It is this process' own: a restart forgets it,
    and the platform's refusal (Transient) is then the brake."""

    def __init__(self) -> None:
        self._sent: dict[Chat, deque[datetime]] = {}

    def allows(
        self,
        chat: Chat,
        lane: Lane,
        per_minute: int,
        now: datetime,
        *,
        edit: bool = False,
        per_hour: int = 0,
    ) -> bool:
        """May an entry of this lane go out now? With `edit`, the drawing of a living card."""
        sent = self._sent.get(chat)
        if sent is None:
            return True
        while sent and now - sent[0] >= HOUR:
            sent.popleft()
        lately = sum(now - at < WINDOW for at in sent)
        share = min(SHARE[lane], EDITS) if edit else SHARE[lane]
        if per_hour and len(sent) >= max(1, int(per_hour * share)):
            return False
        return lately < max(1, int(per_minute * share))

    def spend(self, chat: Chat, now: datetime, messages: int = 1) -> None:
        """Note that something went out, or was tried: a refused call counts on most platforms."""
        self._sent.setdefault(chat, deque()).extend([now] * messages)

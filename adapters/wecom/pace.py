"""How much may be sent in a while. Beyond it the app's messages are dropped without a word (90236), and a
group robot is said to be shut out for minutes (99110): so it is counted here, before anything is sent."""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime, timedelta

from adapters.port import Clock, Permanent, Transient


class Pace:
    """Counts what each reader was sent in a minute and in an hour. It is forgotten with the process,
    and readers whose hour is over are, too."""

    def __init__(self, clock: Clock, what: str, *, per_minute: int, per_hour: int = 0) -> None:
        """`what` names the sender in a refusal; `per_hour` 0 is no such limit."""
        self._clock = clock
        self._what = what
        self._limits = [(timedelta(minutes=1), per_minute)]
        self._limits += [(timedelta(hours=1), per_hour)] if per_hour else []
        self._most = per_minute
        self._sent: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def take(self, reader: str, count: int) -> None:
        """Count so many messages to a reader, or none: Transient says when there is room for all of
        them, Permanent that there never is."""
        if count > self._most:
            raise Permanent(f"{self._what}一次最多发 {self._most} 条，这段文字要分成 {count} 条")
        now = self._clock.now()
        self._forget(now)
        sent = self._sent[reader]
        for span, limit in self._limits:
            recent = [at for at in sent if now - at < span]
            over = len(recent) + count - limit
            if over > 0:
                wait = (recent[over - 1] + span - now).total_seconds()
                words = "每分钟" if span == self._limits[0][0] else "每小时"
                raise Transient(f"{self._what}{words}只能发 {limit} 条", retry_after=wait)
        sent.extend([now] * count)

    def _forget(self, now: datetime) -> None:
        longest = self._limits[-1][0]
        for reader, sent in list(self._sent.items()):
            while sent and now - sent[0] >= longest:
                sent.popleft()
            if not sent:
                del self._sent[reader]

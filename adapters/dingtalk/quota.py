"""The calls of a month: 10,000 for an organisation on the standard edition, whoever makes them.

Ours are counted, others' of the same organisation are not seen: the platform's own refusal is
the last word, and this is how not to meet it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta, timezone
from math import ceil

import structlog

from adapters.port import Clock

STANDARD = 10_000
RESERVE = 1_000
WARN_AT = 0.8
CHINA = timezone(timedelta(hours=8))
"""A month begins when it begins in Hangzhou."""

_log = structlog.get_logger(__name__)


class Quota:
    """Counts calls by month through `count`, which adds and keeps: `(name, more) -> total`."""

    def __init__(
        self, clock: Clock, count: Callable[[str, int], int], *, limit: int, reserve: int
    ) -> None:
        self._clock = clock
        self._count = count
        self.limit = limit
        self.reserve = reserve

    @property
    def month(self) -> str:
        return f"{self._clock.now().astimezone(CHINA):%Y-%m}"

    @property
    def renewed_in(self) -> float:
        """Seconds until the next month begins."""
        now = self._clock.now().astimezone(CHINA)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return ((first + timedelta(days=32)).replace(day=1) - now).total_seconds()

    @property
    def used(self) -> int:
        """How many calls were made this month."""
        return self._count(self.month, 0)

    @property
    def warning(self) -> str:
        """What a person should know, from 80 % on; "" before."""
        return self._warning(self.used)

    def spend(self) -> None:
        """Note one call that is about to be made: a refused one counts as well."""
        used = self._count(self.month, 1)
        if used == ceil(self.limit * WARN_AT):
            _log.warning("dingtalk_quota", used=used, limit=self.limit, text=self._warning(used))

    @property
    def saving(self) -> str:
        """Why what can wait must wait, so that alarms have calls left; "" while it need not."""
        left = self.limit - self.used
        return f"钉钉本月只剩 {left} 次调用，留给告警，进度暂不刷新" if left <= self.reserve else ""

    def _warning(self, used: int) -> str:
        if used < self.limit * WARN_AT:
            return ""
        return f"钉钉本月的接口调用已用 {used}/{self.limit} 次，请减少刷新或升级版本"

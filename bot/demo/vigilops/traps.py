"""What the stand-in can be made to do wrong, as the real VigilOps was seen to do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

ALWAYS = -1


class Generation(StrEnum):
    """Which VigilOps it is: `old` is VigilOps by name, `new` calls itself NightMend."""

    OLD = "old"
    NEW = "new"

    @property
    def prefix(self) -> str:
        """Return what PromQL metric names begin with."""
        return "vigilops" if self is Generation.OLD else "nightmend"

    @property
    def brand(self) -> str:
        return "VigilOps" if self is Generation.OLD else "NightMend"


class Down(StrEnum):
    """How a monitor that is down looks; a refused connection is a `serve` that was left."""

    UNAVAILABLE = "503"
    RESET = "reset"


@dataclass
class Traps:
    """Switches; a request is named as `"PUT /api/v1/alert-rules/*"` (shell pattern).

    The value beside a pattern says how many more times it happens; `ALWAYS` never runs out.
    """

    generation: Generation = Generation.NEW
    applied_500: dict[str, int] = field(default_factory=dict)
    """Done, and then answered with 500."""
    cut: dict[str, int] = field(default_factory=dict)
    """Connection closed, nothing done."""
    cut_applied: dict[str, int] = field(default_factory=dict)
    """Done, and then the connection is closed."""
    then: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    """What happens in the monitor once it has read what it answers, one for each such request."""
    unlisted: set[int] = field(default_factory=set)
    """Alerts that are on no page of their list: of rows of one instant the order is not settled, so
    one may fall between two pages."""
    kick: int = 0
    """How many more user requests find that their account logged in elsewhere."""
    late_metrics: float = 0.0
    """Seconds by which `recorded_at` lies in the past."""
    null_metrics: bool = False
    deaf_test: bool = False
    """A channel test says success and posts nothing."""
    two_channels_abort: bool = True
    """Two channels on one alert roll it back and end the engine's cycle."""
    ssrf_guard: bool = True
    """Refuse webhooks to loopback, private and reserved addresses."""
    down_until: datetime | None = None
    down_as: Down = Down.UNAVAILABLE

    @staticmethod
    def take(trap: dict[str, int], request: str) -> bool:
        """Say whether the trap snaps at this request, and count it."""
        for pattern, left in trap.items():
            if left and fnmatchcase(request, pattern):
                if left > 0:
                    trap[pattern] = left - 1
                return True
        return False

    def go_on(self, request: str) -> None:
        """Let happen what happens behind this answer."""
        for pattern, deeds in self.then.items():
            if deeds and fnmatchcase(request, pattern):
                deeds.pop(0)()

    def take_kick(self) -> bool:
        if self.kick:
            self.kick -= 1 if self.kick > 0 else 0
            return True
        return False

    def is_down(self, now: datetime) -> bool:
        return self.down_until is not None and now < self.down_until


@dataclass
class Limits:
    """Requests per IP and window; 0 switches a limit off."""

    login: int = 5
    register: int = 3
    refresh: int = 10

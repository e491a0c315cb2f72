"""How often the bot looks for what is due: APScheduler calls each of these, and so may anybody else.

Everything here may be called at any time and as often as one likes; each call does what is due.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from bot import ticks
from runbooks import walk as walking
from runbooks.alerting import heartbeats, pipeline, quiet, repeating, watch, windows
from runbooks.alerting.oncall import ladder, watchdog
from runbooks.alerting.triage import advise, raising
from runbooks.engine import Engine
from runbooks.kit import Kit
from storage.intake import Intake

SWEEP = 5
"""Seconds between two looks for runs that nobody walks."""

REMIND = 30
"""Seconds between two looks for gates that are overdue, and for duties that are due."""

FORGET = 3600
"""Seconds between two rounds of forgetting."""

ANNOUNCE = 1
"""Seconds between two looks for alerts that have lasted."""

RAISE = 5
"""Seconds between two looks for what has spread over many hosts; it waits for no model."""

ANALYSE = 5
"""Seconds between two looks for alerts that the model is to be asked about."""

POLL = 60
"""Seconds between two looks at every customer's monitor: it judges as often."""

STORM = 5
"""Seconds between two looks for storms that are over, and for alerts that nothing hides any more."""

BEATS = 5
"""Seconds between two looks for jobs that were not heard of in time."""

QUESTIONS = 5
"""Seconds between two looks for questions whether a hook is ours: a person waits for the answer."""

STOPPED = 5
"""Seconds between two looks for platforms that have given up."""

CLIMB = 1
"""Seconds between two looks for calls that nobody's acknowledgement has stopped."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look for what is due, and the seconds until the next one."""

    name: str
    every: int
    do: Callable[[], Awaitable[object]]


def looks_of(
    kit: Kit, engine: Engine, books: walking.Books, posts: Intake | None
) -> tuple[Look, ...]:
    """Return every look that a bot takes; without `posts` nobody is missed by a heartbeat."""

    async def remind() -> None:
        await ticks.remind(books, kit.clock.now(), kit.store)

    async def owed() -> None:
        await ticks.ask_for_duties(kit.clock.now(), kit.house.zone, kit.store)

    async def quotas() -> None:
        await ticks.warn_of_quota(kit.chats.values(), kit.clock.now(), kit.store)

    async def stopped() -> None:
        await ticks.tell_of_stopped(kit.chats.values(), kit.clock.now(), kit.store)

    async def forget() -> None:
        await ticks.forget(kit.clock.now(), kit.store)

    beats = (Look("heartbeats", BEATS, partial(heartbeats.look, kit, posts)),) if posts else ()
    return (
        Look("sweep", SWEEP, engine.sweep),
        Look("remind", REMIND, remind),
        Look("duties", REMIND, owed),
        Look("quotas", REMIND, quotas),
        Look("stopped", STOPPED, stopped),
        Look("forget", FORGET, forget),
        Look("announce", ANNOUNCE, partial(watch.announce, kit)),
        Look("raise", RAISE, partial(raising.by_rules, kit)),
        Look("advise", ANALYSE, partial(advise.advise, kit)),
        Look("windows", REMIND, partial(windows.announce, kit)),
        Look("poll", POLL, partial(watch.poll, kit)),
        Look("storms", STORM, partial(pipeline.look, kit)),
        Look("repeat", REMIND, partial(repeating.repeat, kit)),
        Look("climb", CLIMB, partial(ladder.climb, kit)),
        Look("quiet", FORGET, partial(quiet.look, kit)),
        Look("watchdog", REMIND, partial(watchdog.watch, kit)),
        Look("oncall", FORGET, partial(watchdog.warn, kit)),
        *beats,
    )

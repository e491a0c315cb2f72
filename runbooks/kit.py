"""What a line of a book may touch: ports, and nothing concrete."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from adapters.port import (
    ChatPlatform,
    Clock,
    Documents,
    InDoubt,
    Login,
    Model,
    Monitors,
    Permanent,
    Servers,
    Transient,
)
from adapters.sources import TITLES
from adapters.words import NOTHING, Secret
from runbooks.alerting.muting.hidden import NO_RULES, Rules
from runbooks.alerting.policy import POLICY, Policy
from runbooks.compose import ADDRESSES, BACKUP, IMAGES, Addresses, Backup, Images
from storage.people import PORTS
from storage.records import Effect, EffectState, PortPlan
from storage.roster import Way
from storage.store import Store, Unit

RETENTION = {
    "host_metrics": 90,
    "db_metrics": 30,
    "ai_insights": 90,
    "audit_logs": 365,
    "log_entries": 7,  # more has no effect: another task of the monitor deletes logs after 7 days
}
"""Days, per kind of the monitor's data."""

CHINA = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class House:
    """The provider, as contracts and cards name it."""

    provider: str = "托管运维服务商"
    contact: str = "交付经理"
    phone: str = "400-000-0000"
    zone: ZoneInfo = CHINA
    public_url: str = "http://127.0.0.1:8080"
    """Where hooks and one-time links reach the bot's web; no slash at the end."""
    account: str = "vigilbot@example.com"
    """The bot's own account on every monitor."""
    managed: Login | None = None
    """Our server for way B; None when there is none."""
    managed_root: str = "/opt/vigilbot"
    """Where instances live on it, one directory each."""
    addresses: Addresses = ADDRESSES
    """Where instances of ours answer: the bot and the servers' agents go there."""
    ports: PortPlan = PORTS
    """Of the instances on it."""
    retention: Mapping[str, int] = field(default_factory=lambda: dict(RETENTION))
    ai_url: str = "https://api.deepseek.com/v1"
    ai_model: str = "deepseek-chat"
    ai_key: Secret = NOTHING
    bundle: Path | None = None
    """The agent bundle: a directory or .tar.gz with `scripts/install-agent.sh` and `agent/`."""
    compose: Path | None = None
    """The compose template; None for the one that is shipped."""
    images: Images = IMAGES
    """What an instance of ours runs."""
    backup: Backup = BACKUP
    deploy_script: Path | None = None
    """The upstream deploy script for way A; None for our own compose file."""
    generation: str = "vigilops"
    """Name in paths, units and images: vigilops, or nightmend for the newer ones."""
    at_once: int = 50
    stop_after: float = 0.3
    """Share of hosts that may fail before a wave is stopped."""
    escalate_after: tuple[int, ...] = (5, 15, 30)
    """Minutes until each level of the escalation policy, unless the customer wants others."""
    alerting: Policy = POLICY
    """How alerts are grouped, and when they are a storm."""
    muting: Rules = NO_RULES
    """Which alerts are not to be told, by the configuration."""
    handbooks: Path | None = None
    """Folder of Markdown files on what to do about an alert; see `runbooks/alerting/triage/handbook.py`."""
    escalate_ways: tuple[Way, ...] = (Way.MENTION, Way.RING)
    """How each level of a customer's first policy calls, one after the other."""
    escalate_repeat: int = 30
    """Minutes from the last level until all begins again."""
    escalate_together: timedelta = timedelta(seconds=60)
    """What somebody would be called for so soon after a call is told in that one."""
    hook_grace: timedelta = timedelta(hours=24)
    """How long an exchanged address of a hook goes on, from when somebody was told the new one."""
    sources: Mapping[str, str] = field(default_factory=lambda: TITLES)
    """The monitors whose posts are understood: what each is called, by its name."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The ports, as the roof has wired them."""

    clock: Clock
    store: Store
    chats: Mapping[str, ChatPlatform]
    """By the platform's name."""
    servers: Servers
    monitors: Monitors
    documents: Documents
    house: House = field(default_factory=House)
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Errand:
    """One line of one run, on its way: the kit, and the names that make its deeds unique."""

    kit: Kit
    run: str
    line: str
    subject: str = ""
    """The host's name, in a line that fans out."""

    def key(self, deed: str) -> str:
        """Return the idempotency key of a deed: the same after every restart."""
        return ":".join(part for part in (self.run, self.line, self.subject, deed) if part)

    async def once(
        self,
        deed: str,
        do: Callable[[], Awaitable[Any]],
        look: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Do what must not happen twice, and return its result (a JSON value, never None).

        The intent is committed before the deed and the result after it. When an intent is
        already there, an earlier process may have done the deed: `look` returns the result it
        finds in the world, None when it is surely absent (then it is done now), or raises
        InDoubt when the world cannot tell (then a person is asked, and nothing is repeated).
        """
        key, kit = self.key(deed), self.kit

        async def begin(unit: Unit) -> tuple[Effect | None, Effect]:
            known = await unit.effects.get(key)
            effect = known or await unit.effects.begin(key, self.run, self.line, kit.clock.now())
            return known, effect

        # Hosts that begin or end together share a commit: with two each, writing takes longer
        # than the deeds.
        known, effect = await kit.store.write(begin)
        if effect.state is EffectState.DONE:
            return json.loads(effect.result)
        result = await self._seen(key, look) if known else None
        if result is None:
            result = await self._acted(key, do)
        text = json.dumps(result, ensure_ascii=False)
        await kit.store.write(lambda unit: unit.effects.done(effect, text, kit.clock.now()))
        return result

    async def settle(self, deed: str, result: Any) -> bool:
        """Write down as done what an earlier process began, because the world shows it without
        being asked; False when nothing was left begun."""
        key, kit = self.key(deed), self.kit

        async def close(unit: Unit) -> bool:
            effect = await unit.effects.get(key)
            if effect is None or effect.state is EffectState.DONE:
                return False
            text = json.dumps(result, ensure_ascii=False)
            await unit.effects.done(effect, text, kit.clock.now())
            return True

        return await kit.store.write(close)

    async def _seen(self, key: str, look: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await look()
        except InDoubt:
            async with self.kit.store.unit() as unit:
                effect = await unit.effects.get(key)
                assert effect is not None
                await unit.effects.ask(effect)
            raise

    async def _acted(self, key: str, do: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await do()
        except (Transient, Permanent):
            # It surely was not done: the next try may begin anew.
            await self.kit.store.write(lambda unit: unit.effects.forget(key))
            raise

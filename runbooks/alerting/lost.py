"""A monitor that cannot be read is an alert of its own: otherwise its silence would look like peace.

Nothing is written while it answers. What is told and the row that says so are one transaction, so
two replicas tell it once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from adapters.sources.vigilops import NAME
from adapters.words import Alert, Severity
from runbooks.alerting import pipeline
from runbooks.alerting.pipeline import Post
from runbooks.kit import House, Kit
from storage.records import Unread
from storage.store import Unit

AFTER = timedelta(minutes=5)
"""How long a monitor may be silent before it is told: a restart takes less."""

RULE = "监控失联"
LONGEST = 120
"""Characters of a reason."""


async def silent(customer: int, reason: str, console: str, kit: Kit) -> bool:
    """Note that a monitor was asked in vain; True when that is told now. `console` is its address."""
    now = kit.clock.now()
    async with kit.store.unit() as unit:
        known = await unit.unread.get(customer)
        row = known or Unread(customer, now)
        tell = row.told_at is None and now - row.since >= AFTER
        after = replace(row, reason=reason[:LONGEST], told_at=now if tell else row.told_at)
        if after != known:
            await unit.unread.put(after)
        if tell:
            await _fold(_alert(after, now, console), customer, now, kit.house, unit)
    return tell


async def answered(customer: int, kit: Kit) -> None:
    """Note that a monitor was read, or is to be read no more; what was told of it ends."""
    now = kit.clock.now()
    async with kit.store.unit() as unit:
        known = await unit.unread.get(customer)
        if known is None:
            return
        await unit.unread.drop(customer)
        if known.told_at:
            over = replace(_alert(known, now, ""), firing=False, ends_at=now)
            await _fold(over, customer, now, kit.house, unit)


def _alert(row: Unread, now: datetime, console: str) -> Alert:
    minutes = int((now - row.since).total_seconds()) // 60
    return Alert(
        RULE,
        firing=True,
        severity=Severity.CRITICAL,
        rule=RULE,
        title=RULE,
        text=f"机器人已 {minutes} 分钟读不到监控，这期间的告警可能收不到：请检查监控（{row.reason}）",
        labels={"alertname": RULE, "rule": RULE, "severity": str(Severity.CRITICAL)},
        starts_at=row.since,
        url=console,
    )


async def _fold(alert: Alert, number: int, at: datetime, house: House, unit: Unit) -> None:
    if customer := await unit.customers.get(number):
        await pipeline.fold(customer, (Post(NAME, at, (alert,)),), at, house, unit)

"""What makes a bot sick that still answers: calls that are not made, and alerts that are not folded."""

from __future__ import annotations

from datetime import timedelta

from bot.folding import ALL
from runbooks.alerting.oncall.rungs import LATE
from runbooks.kit import Kit
from storage.intake import Intake

BEHIND = timedelta(minutes=2)
"""How long a post may wait for the fold."""


async def reasons(kit: Kit, intake: Intake | None) -> list[str]:
    """Return what is late, in words that name no customer; raises what the database raises."""
    now = kit.clock.now()
    async with kit.store.view() as unit:
        owed = await unit.escalations.due(now - LATE)
        cursors = await unit.incidents.cursors()
    found = []
    if owed:
        late = int((now - owed[0].due).total_seconds())
        found.append(f"升级通知没有按时执行：{len(owed)} 次，最久晚 {late} 秒")
    waiting = await intake.after(cursors.get(ALL, 0), 1) if intake else ()
    if waiting and now - waiting[0].at > BEHIND:
        late = int((now - waiting[0].at).total_seconds())
        found.append(f"告警没有及时处理：最久等了 {late} 秒")
    return found

"""A rota in people's words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from zoneinfo import ZoneInfo

from runbooks.alerting.oncall import rota
from runbooks.alerting.oncall.rota import Shift
from storage.roster import Days, Layer, Roster

DAYS = {"每天": Days.EVERY, "工作日": Days.WORKDAYS, "节假日": Days.HOLIDAYS}
_DAY_NAMES = {days: name for name, days in DAYS.items()}


def at(instant: datetime, roster: Roster) -> str:
    """Return an instant by the roster's zone."""
    return f"{instant.astimezone(ZoneInfo(roster.zone)):%m-%d %H:%M}"


def span(shift: Shift, roster: Roster) -> str:
    """Return from when to when a shift is."""
    return f"{at(shift.begins, roster)} 至 {at(shift.ends, roster)}"


def called(shift: Shift) -> str:
    """Return who is on call in a shift, or the gap by its name."""
    return shift.callee.name if shift.callee else f"无人（{shift.why}）"


def described(layer: Layer) -> str:
    """Return a layer's people in their order, its hours and its turns, and from when these count."""
    whole = layer.begins == layer.ends == time(0)
    hours = "全天" if whole else f"{layer.begins:%H:%M}-{layer.ends:%H:%M}"
    return (
        f"{' → '.join(layer.people)}，{_DAY_NAMES[layer.days]} {hours}，"
        f"每 {layer.every} 天 {layer.handoff:%H:%M} 交接，自 {layer.since.isoformat()} 起"
    )


def gaps(found: Sequence[Shift], roster: Roster, most: int = 5) -> list[str]:
    """Return the times without anybody, each by its name."""
    there = rota.gaps(found)
    lines = [f"{span(gap, roster)} 无人值班：{gap.why}" for gap in there[:most]]
    return [*lines, f"另有 {len(there) - most} 段空档"] if len(there) > most else lines

"""Changes of a roster, and how people write a time: pure; UsageError says what to mend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from adapters.port import UsageError
from adapters.words import Person
from runbooks.alerting.oncall.rota import instant
from storage.roster import Callee, Layer, Roster

_DAY = re.compile(r"(?:(\d{4})-)?(\d{1,2})-(\d{1,2})")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
MOST = 50
"""Callees of one roster, and people of one layer."""


def callee_of(roster: Roster, person: Person) -> Callee:
    """Return who of the roster somebody is: pointed at before, or of the same name."""
    for callee in roster.callees:
        if callee.person == person or (callee.person is None and callee.name == person.name):
            return callee
    raise UsageError(f"{person.name or person.id} 不在值班表里：请先 /oncall add @{person.name}")


def added(roster: Roster, callee: Callee, layer: Layer) -> Roster:
    """Return the roster with somebody in it, last in the turns of a layer; of somebody who is
    there already, what is new about them is kept."""
    before = next((each for each in roster.callees if each.name == callee.name), None)
    if before and before.person and callee.person and before.person != callee.person:
        raise UsageError(f"值班表里已有另一位「{callee.name}」：请先改一个显示名")
    known = replace(
        callee,
        phone=callee.phone or (before.phone if before else ""),
        email=callee.email or (before.email if before else ""),
    )
    callees = (
        tuple(known if each.name == known.name else each for each in roster.callees)
        if before
        else (*roster.callees, known)
    )
    if len(callees) > MOST:
        raise UsageError(f"值班表最多 {MOST} 人")
    people = layer.people if known.name in layer.people else (*layer.people, known.name)
    return layered(replace(roster, callees=callees), replace(layer, people=people))


def removed(roster: Roster, callee: Callee) -> Roster:
    """Return the roster without somebody; a layer that is left empty goes too."""
    layers = tuple(
        replace(layer, people=tuple(name for name in layer.people if name != callee.name))
        for layer in roster.layers
    )
    callees = tuple(each for each in roster.callees if each != callee)
    return replace(roster, callees=callees, layers=tuple(la for la in layers if la.people))


def layered(roster: Roster, layer: Layer) -> Roster:
    """Return the roster with a layer: in the place of the one of its name, or above all others."""
    if any(each.name == layer.name for each in roster.layers):
        layers = tuple(layer if each.name == layer.name else each for each in roster.layers)
    else:
        layers = (layer, *roster.layers)
    return replace(roster, layers=layers)


def unlayered(roster: Roster, name: str) -> Roster:
    """Return the roster without a layer."""
    layers = tuple(each for each in roster.layers if each.name != name)
    if layers == roster.layers:
        there = "、".join(each.name for each in layers) or "无"
        raise UsageError(f"没有名为「{name}」的一层，现有：{there}")
    return replace(roster, layers=layers)


def day_of(text: str, today: date) -> date:
    """Read 2026-12-01 or 12-01; without a year the next such day is meant."""
    found = _DAY.fullmatch(text)
    try:
        if found and found[1]:
            return date(int(found[1]), int(found[2]), int(found[3]))
        if found:
            day = date(today.year, int(found[2]), int(found[3]))
            return day if day >= today else day.replace(year=today.year + 1)
    except ValueError:
        pass
    raise UsageError(f"「{text[:40]}」不是日期，请写成 2026-12-01 或 12-01")


def clock_of(text: str) -> time:
    """Read 9:00; 24:00 is midnight."""
    found = _CLOCK.fullmatch(text)
    try:
        if found:
            return time(int(found[1]) % 24 if found[1] == "24" else int(found[1]), int(found[2]))
    except ValueError:
        pass
    raise UsageError(f"「{text[:40]}」不是时间，请写成 09:00")


def hours_of(text: str) -> tuple[time, time]:
    """Read 09:00-18:00; empty is the whole day."""
    if not text:
        return time(0), time(0)
    begins, dash, ends = text.partition("-")
    if not dash:
        raise UsageError(f"「{text[:40]}」不是时段，请写成 09:00-18:00")
    return clock_of(begins), clock_of(ends)


def when(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    """Read 12-01T09:00, 2026-12-01T09:00, or a day alone, which is its midnight."""
    day, _, clock = text.replace("t", "T").partition("T")
    at = day_of(day, now.astimezone(zone).date())
    return instant(at, clock_of(clock) if clock else time(0), zone)


def names(people: Sequence[str]) -> str:
    """Return names as one text."""
    return "、".join(people) or "无"

"""Changes of a roster, and how people write a time: pure; UsageError says what to mend."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from adapters.port import UsageError
from adapters.words import Person
from runbooks.alerting.oncall.rota import DAY, instant
from storage.roster import Callee, Layer, Roster

_DAY = re.compile(r"(?:(\d{4})-)?(\d{1,2})-(\d{1,2})")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_DAYS_END = "24:00"
"""As people write the midnight after a day."""
_TAKEN = "值班表里已有另一位「{}」：请先改一个显示名，或用 /oncall remove 移出其中一位"
_YEARS = range(2000, 2100)
"""What is further away is a slip of the finger."""
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
    there already, what is new about them is kept, a new name too."""
    if before := bound(roster, callee.person):
        roster = renamed(roster, before.name, callee.name)
    before = next((each for each in roster.callees if each.name == callee.name), None)
    if before and before.person and callee.person and before.person != callee.person:
        raise UsageError(_TAKEN.format(callee.name))
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
    # As it is now: whoever was renamed is in it by the new name.
    layer = next((each for each in roster.layers if each.name == layer.name), layer)
    people = layer.people if known.name in layer.people else (*layer.people, known.name)
    return layered(replace(roster, callees=callees), replace(layer, people=people))


def renamed(roster: Roster, old: str, new: str) -> Roster:
    """Return the roster in which somebody has another name, in the turns as well."""
    if old == new:
        return roster
    if any(each.name == new for each in roster.callees):
        raise UsageError(_TAKEN.format(new))
    callees = tuple(
        replace(each, name=new) if each.name == old else each for each in roster.callees
    )
    layers = tuple(
        replace(layer, people=tuple(new if name == old else name for name in layer.people))
        for layer in roster.layers
    )
    return replace(roster, callees=callees, layers=layers)


def bound(roster: Roster, person: Person | None) -> Callee | None:
    """Return who of the roster was pointed at as this person."""
    return next((each for each in roster.callees if person and each.person == person), None)


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
        if found and found[1] and int(found[1]) in _YEARS:
            return date(int(found[1]), int(found[2]), int(found[3]))
        if found and not found[1]:
            day = date(today.year, int(found[2]), int(found[3]))
            return day if day >= today else day.replace(year=today.year + 1)
    except ValueError:
        pass
    raise UsageError(f"「{text[:40]}」不是日期，请写成 2026-12-01 或 12-01")


def nearest(text: str, today: date) -> date:
    """Read 2026-11-23 or 11-23; without a year the nearest such day is meant, the past included: what
    began last Monday is as likely as what begins next Monday."""
    found = _DAY.fullmatch(text)
    if found is None or found[1]:
        return day_of(text, today)
    there = []
    for year in (today.year, today.year - 1, today.year + 1):
        with suppress(ValueError):  # 29 February
            there.append(date(year, int(found[2]), int(found[3])))
    return min(there, key=lambda day: abs(day - today)) if there else day_of(text, today)


def clock_of(text: str) -> time:
    """Read 9:00; 24:00 is midnight, and whoever asks must know whose: see `when`."""
    found = _CLOCK.fullmatch(text)
    try:
        if found:
            return time(0) if text == _DAYS_END else time(int(found[1]), int(found[2]))
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
    return begin_of(begins), clock_of(ends)


def begin_of(text: str) -> time:
    """Read a time at which something begins: never the end of the day before."""
    if text == _DAYS_END:
        raise UsageError("24:00 是一天的结束，开始请写成 00:00（当天的零点）")
    return clock_of(text)


def when(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    """Read 12-01T09:00, 2026-12-01T09:00, 12-01T24:00, which is the midnight after that day, or a day
    alone, which is the midnight before."""
    day, _, clock = text.replace("t", "T").partition("T")
    at = day_of(day, now.astimezone(zone).date())
    if clock == _DAYS_END:
        return instant(at + DAY, time(0), zone)
    return instant(at, clock_of(clock) if clock else time(0), zone)


def joined(*words: str) -> None:
    """Raise UsageError where one of these words is a time that was typed apart from its day."""
    if any(_CLOCK.fullmatch(unicodedata.normalize("NFKC", word)) for word in words):
        raise UsageError("日期和时间之间请写 T，不要空格，例如 12-01T09:00 12-02T09:00")


def names(people: Sequence[str]) -> str:
    """Return names as one text."""
    return "、".join(people) or "无"

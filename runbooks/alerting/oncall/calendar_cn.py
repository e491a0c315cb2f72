"""Chinese workdays: public holidays, and the weekends that are worked for them (调休).

The State Council publishes a year at a time; `chinesecalendar` raises beyond the last one. Then
Monday to Friday count, and whoever plans there is told so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import lru_cache

import chinese_calendar

SATURDAY = 5


@lru_cache(maxsize=4096)
def is_workday(day: date) -> bool:
    """Is this day worked in China? Beyond the published years: is it a Monday to Friday?"""
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return day.weekday() < SATURDAY


@lru_cache(maxsize=4096)
def is_published(day: date) -> bool:
    """Are this day's year's holidays known?"""
    try:
        chinese_calendar.is_workday(day)
    except NotImplementedError:
        return False
    return True


def warning(days: Iterable[date]) -> str:
    """Name the years whose holidays are not known yet; empty when all are."""
    years = sorted({day.year for day in days if not is_published(day)})
    if not years:
        return ""
    named = "、".join(map(str, years))
    return f"{named} 年的法定节假日和调休尚未收录：暂按周一至周五为工作日排班，公布后请升级并复核"

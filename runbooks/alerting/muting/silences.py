"""Silences: which alerts, for how long, who wants it and why. They are judged when somebody is to be
told, so an alert is kept and can be looked at all the same; they are ended and never deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo

from adapters.card import Block, Card, Style, Table, Text, Tone, say
from adapters.port import UsageError
from adapters.words import Person
from runbooks.alerting.muting.matchers import HINT, Matcher, narrow, parse_one, spoken
from storage.records import Customer, Silence
from storage.store import Unit

LONGEST = timedelta(days=30)
HOW = '例如 /silence host=web-01 2h 正在换硬盘；条件可以写几个：host=~"web-.*" severity!=critical'
SHOWN = 20
CELL = 50
"""Characters of a text in a list: twenty lines of two are within what each platform takes."""

_CONDITION = re.compile(
    r'\s*([a-zA-Z_:][a-zA-Z0-9_:]*\s*(?:=~|!=|!~|=)\s*(?:"(?:[^"\\]|\\.)*"|[^\s",][^\s,]*))'
    r"(?:,|(?=\s|$))"
)
_WORD = re.compile(r"\s*(\S+)\s*")
_ONE = re.compile(r"([0-9]{1,5})(分钟|分|m|小时|时|h|天|d|周|w)", re.IGNORECASE)
_UNITS = {
    "m": timedelta(minutes=1), "分": timedelta(minutes=1), "分钟": timedelta(minutes=1),
    "h": timedelta(hours=1), "时": timedelta(hours=1), "小时": timedelta(hours=1),
    "d": timedelta(days=1), "天": timedelta(days=1),
    "w": timedelta(weeks=1), "周": timedelta(weeks=1),
}  # fmt: skip
_NARROW = str.maketrans("＝！～＂“”，", '=!~""",')


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to be silent."""

    matchers: tuple[Matcher, ...]
    lasts: timedelta
    reason: str


def duration(text: str) -> timedelta | None:
    """Return how long `2h`, `1h30m`, `30分钟` or `1天` is; None when a text is no duration."""
    if not text or _ONE.sub("", text):
        return None
    return sum((int(n) * _UNITS[unit.lower()] for n, unit in _ONE.findall(text)), timedelta())


def conditions(text: str) -> tuple[tuple[Matcher, ...], str]:
    """Return the conditions at the head of a text, and what comes behind them as it was typed.

    The signs of a Chinese keyboard are read as what they look like.
    """
    plain, at, found = text.translate(_NARROW), 0, list[Matcher]()
    while part := _CONDITION.match(plain, at):
        found.append(parse_one(part[1]))
        at = part.end()
    return tuple(found), text[at:].strip()


def read(text: str) -> Asked:
    """Return what `host=web-01 2h 原因` asks for; UsageError says what to write instead."""
    matchers, rest = conditions(text)
    word = _WORD.match(rest)
    lasts = duration(word[1]) if word else None
    if not matchers:
        raise UsageError(f"请写明静默哪些告警：{HINT}。{HOW}")
    if word is None or lasts is None:
        raise UsageError(f"请写明静默多久，例如 30m、2h、1d。{HOW}")
    return checked(Asked(matchers, lasts, rest[word.end() :].strip()))


def checked(asked: Asked) -> Asked:
    """Return what is asked for; UsageError when it goes too far."""
    if not timedelta() < asked.lasts <= LONGEST:
        raise UsageError(f"静默最长 {LONGEST.days} 天，到期可以再加")
    if not narrow(asked.matchers):
        raise UsageError("这些条件会静默所有告警：至少要有一个只对部分告警成立，例如 host=web-01")
    if not asked.reason:
        raise UsageError(f"请在最后写上原因，客户和同事会看到。{HOW}")
    return asked


async def silence(
    customer: Customer, asked: Asked, by: Person, now: datetime, unit: Unit
) -> Silence:
    """Silence what is asked for from now on, and write down who did it."""
    made = await unit.silences.add(
        Silence(0, customer.id, spoken(asked.matchers), now, now + asked.lasts, by, asked.reason)
    )
    detail = {
        "customer": customer.name,
        "silence": str(made.id),
        "matchers": made.matchers,
        "until": made.ends_at.isoformat(),
        "reason": made.reason,
    }
    await unit.audit.add(now, by.name, "silence", detail)
    return made


async def expire(number: int, customer: Customer, by: Person, now: datetime, unit: Unit) -> Silence:
    """End a silence of a customer's now; UsageError when there is none, or it has ended."""
    there = await unit.silences.get(number)
    if there is None or there.customer != customer.id:
        raise UsageError(f"本群没有静默 #{number}：请用 /silence 查看")
    if there.ends_at <= now:
        raise UsageError(f"静默 #{number} 已经结束")
    ended = replace(there, ends_at=now, ended_by=by)
    await unit.silences.save(ended)
    detail = {"customer": customer.name, "silence": str(number)}
    await unit.audit.add(now, by.name, "unsilence", detail)
    return ended


# -- cards --------------------------------------------------------------------------------------


def begun(made: Silence, zone: tzinfo) -> Card:
    """Return the answer to a new silence."""
    return say(
        f"🔕 已静默 #{made.id}",
        f"条件：{made.matchers}",
        f"到 {clock(made.ends_at, zone)} 为止，包括严重告警；告警仍会记录，可以查看",
        f"{who(made.by)}：{made.reason}",
        f"提前解除：/unsilence {made.id}",
        tone=Tone.WARNING,
    )


def listed(there: Sequence[Silence], zone: tzinfo) -> Card:
    """Return the list of what is silent."""
    if not there:
        return say("静默", "现在没有静默", HOW)
    rows = tuple(
        (
            f"#{one.id}",
            cell(one.matchers),
            clock(one.ends_at, zone),
            who(one.by)[:20],
            cell(one.reason),
        )
        for one in there[:SHOWN]
    )
    blocks: list[Block] = [Table(("编号", "条件", "到", "谁", "原因"), rows)]
    if len(there) > SHOWN:
        blocks.append(Text(f"另有 {len(there) - SHOWN} 条", Style.QUIET))
    blocks.append(Text("解除：/unsilence 编号", Style.QUIET))
    return Card(f"静默（{len(there)} 条）", Tone.NEUTRAL, tuple(blocks))


def cell(text: str) -> str:
    """Return a text as a list has room for it: a press of 静默 alone may name twenty hosts."""
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def clock(at: datetime, zone: tzinfo) -> str:
    """Return an instant as cards show it."""
    return f"{at.astimezone(zone):%m-%d %H:%M}"


def who(person: Person) -> str:
    """Return how somebody is called."""
    return person.name or person.id

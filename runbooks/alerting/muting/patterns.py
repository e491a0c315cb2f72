"""Regular expressions that strangers' texts are matched with, and that can never hang.

Alertmanager's engine is linear in the text whatever the pattern; Python's tries every way. So a
pattern is read first: what could take exponential time is refused, of the rest is known how many
ways there are for a text of n characters, and a text with too many is not matched at all.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from adapters.port import UsageError

# What `re` itself reads patterns with; the type checker knows neither.
op: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

MOST = 1_000_000
"""Ways in which a text may be tried: about 20 ms."""

USUAL = 99
"""Characters of a text that any pattern must be able to judge."""

LONGEST = 1_000
"""Characters of a pattern."""

_FLAGS = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.ASCII
_GO = frozenset({op.AT_BEGINNING, op.AT_END, op.AT_BEGINNING_STRING, op.AT_BOUNDARY, op.AT_NON_BOUNDARY})  # fmt: skip
_ESCAPES = re.compile(r"(?:[^\\]|\\[\x00-\x7f])*", re.DOTALL)
_ONE = frozenset({op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.AT})


@dataclass(frozen=True, slots=True)
class Cost:
    """The ways in which a text of n characters can be tried: at most `factor` * n ** `degree`."""

    factor: int = 1
    degree: int = 0

    def then(self, other: Cost) -> Cost:
        return Cost(self.factor * other.factor, self.degree + other.degree)

    def ways(self, length: int) -> int:
        return self.factor * int((length + 1) ** self.degree)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that matches a whole text or not."""

    text: str
    _compiled: re.Pattern[str]
    _cost: Cost

    def judges(self, text: str) -> bool:
        """Can it be said of this text within MOST ways?"""
        return self._cost.ways(len(text)) <= MOST

    def matches(self, text: str) -> bool:
        """Does it match the whole text? Ask `judges` first."""
        return self._compiled.fullmatch(text) is not None


@lru_cache(maxsize=10_000)
def pattern(text: str) -> Pattern:
    """Return a regular expression; UsageError when it is none, or could take for ever."""
    if len(text) > LONGEST:
        raise UsageError(f"正则表达式太长：最多 {LONGEST} 个字符")
    if not _ESCAPES.fullmatch(text):
        raise UsageError(f"正则表达式「{text}」写得不对：反斜杠后面只能是英文字符")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = parser.parse(text, re.ASCII)
            compiled = re.compile(text, re.ASCII)
    except (re.error, RecursionError, OverflowError, ValueError, Warning):
        raise UsageError(f"正则表达式「{text}」写得不对") from None
    if compiled.flags & ~_FLAGS:
        raise UsageError(f"正则表达式「{text}」的标志只能用 i、m、s")
    cost = _sequence(tree, text)
    if cost.ways(USUAL) > MOST:
        raise _slow(text)
    return Pattern(text, compiled, cost)


def _sequence(items: Iterable[tuple[Any, Any]], text: str) -> Cost:
    cost = Cost()
    for name, argument in items:
        cost = cost.then(_part(name, argument, text))
        if cost.ways(USUAL) > MOST:
            raise _slow(text)
    return cost


def _part(name: Any, argument: Any, text: str) -> Cost:
    if name is op.AT and argument not in _GO:
        raise _foreign(text)
    if name in _ONE:
        return Cost()
    if name is op.SUBPATTERN:
        return _sequence(argument[-1], text)
    if name is op.BRANCH:
        costs = [_sequence(branch, text) for branch in argument[1]]
        return Cost(sum(each.factor for each in costs), max(each.degree for each in costs))
    if name in {op.MAX_REPEAT, op.MIN_REPEAT}:
        least, most, body = argument
        if most == 1:
            return Cost(2 - least).then(_sequence(body, text))
        # A body of one width, read in one way, leaves only the number of rounds open.
        if not _rigid(body):
            raise _slow(text)
        if least == most:
            return Cost()
        return Cost(degree=1) if most is op.MAXREPEAT else Cost(int(most) - int(least) + 1)
    raise _foreign(text)


def _rigid(items: Iterable[tuple[Any, Any]]) -> bool:
    return all(
        name in _ONE or (name is op.SUBPATTERN and _rigid(argument[-1])) for name, argument in items
    )


def _slow(text: str) -> UsageError:
    return UsageError(
        f"正则表达式「{text}」可能要算很久：不要在重复里再放重复或 |，"
        "一条里 * 和 + 最多三个；也可以拆成几个条件"
    )


def _foreign(text: str) -> UsageError:
    return UsageError(f"正则表达式「{text}」用了不支持的写法：不能用断言、反向引用")

"""Which alerts are meant: `host=web-01`, `rule!="磁盘"`, `host=~"web-.*"`, `env!~"test|dev"`.

They mean what Alertmanager's mean (its 0.25 is what the tests compare with): a label that an alert
has not is an empty text, and an expression must match the whole value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from adapters.port import UsageError
from adapters.words import Alert
from runbooks.alerting.cluster import rule_name
from runbooks.alerting.muting.patterns import pattern

_SHAPE = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|!=|!~|=)(.*)", re.DOTALL)
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}
_BLANK = " \t\n\f\r"
HINT = "写成 名称=值，例如 host=web-01；还可以用 != =~ !~，值里有空格时加双引号"


class Operator(StrEnum):
    """How a label's value is compared."""

    IS = "="
    IS_NOT = "!="
    LIKE = "=~"
    NOT_LIKE = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. Make it by `matcher` or `parse`: they refuse a bad expression."""

    name: str
    operator: Operator
    value: str

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{value}"'


def matcher(name: str, operator: Operator, value: str) -> Matcher:
    """Return a condition; UsageError when its expression is wrong or could take for ever."""
    if operator in {Operator.LIKE, Operator.NOT_LIKE}:
        pattern(value)
    return Matcher(name, operator, value)


def parse(text: str) -> tuple[Matcher, ...]:
    """Return the conditions of a text: `a=b` or `{a="b", c=~"d|e"}`; none for an empty one."""
    inner = text.removeprefix("{").removesuffix("}")
    return tuple(parse_one(part) for part in _parts(inner))


def parse_one(text: str) -> Matcher:
    """Return the condition that a text says. UsageError when it says none."""
    found = _SHAPE.fullmatch(text)
    if not found:
        raise UsageError(f"看不懂条件「{text}」：{HINT}")
    name, operator, raw = found.groups()
    return matcher(name, Operator(operator), _value(raw.strip(_BLANK), text))


def matches(conditions: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Do all conditions hold? None at all hold for everything.

    A value too long to be judged by an expression fulfils no condition, neither =~ nor !~: then an
    alert is seen rather than hidden.
    """
    return all(_holds(condition, labels.get(condition.name, "")) for condition in conditions)


def narrow(conditions: Sequence[Matcher]) -> bool:
    """Does a condition ask for something? Without one (`a=""`, `a=~".*"`) all would be silenced."""
    negative = {Operator.IS_NOT, Operator.NOT_LIKE}
    return any(each.operator in negative or not _holds(each, "") for each in conditions)


def labels_of(alert: Alert) -> dict[str, str]:
    """Return what conditions read: the source's labels, and above them our own words for the rule,
    the host and the severity. The rule of an alert that has none is the one that cards name and buttons
    silence, so a post and what is kept of it are judged alike."""
    ours = {"rule": rule_name(alert), "host": alert.host, "severity": str(alert.severity)}
    return {**alert.labels, **{name: value for name, value in ours.items() if value}}


def spoken(conditions: Iterable[Matcher]) -> str:
    """Return conditions as `parse` reads them."""
    return ", ".join(map(str, conditions))


def _holds(condition: Matcher, value: str) -> bool:
    match condition.operator:
        case Operator.IS:
            return value == condition.value
        case Operator.IS_NOT:
            return value != condition.value
    expression = pattern(condition.value)
    if not expression.judges(value):
        return False
    return expression.matches(value) is (condition.operator is Operator.LIKE)


def _parts(text: str) -> list[str]:
    """Split at commas outside of quotes; blanks behind the last one are nothing."""
    parts, start, quoted, escaped = list[str](), 0, False, False
    for i, char in enumerate(text):
        if char == "," and not quoted:
            parts.append(text[start:i])
            start = i + 1
        elif char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _value(raw: str, whole: str) -> str:
    """Take quotes and escapes off a value; an unknown escape stands for itself."""
    quoted = raw.startswith('"')
    body = raw[1:] if quoted else raw
    out, escaped, closed = list[str](), False, False
    for i, char in enumerate(body):
        last = i == len(body) - 1
        if escaped:
            out.append(_ESCAPED.get(char, f"\\{char}"))
            escaped = False
        elif char == "\\" and not last:
            escaped = True
        elif char == '"':
            if not (quoted and last):
                raise UsageError(f'条件「{whole}」里有没有转义的双引号：请写成 \\"')
            closed = True
        else:
            out.append(char)
    if quoted and not closed:
        raise UsageError(f"条件「{whole}」的引号没有成对")
    return "".join(out)

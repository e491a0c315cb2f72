"""A script of a conversation: YAML in, frozen steps out, and every mistake told with its line.

`docs/play.md` is the format's documentation; a test holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import yaml

from adapters.card import Mark, Tone

WITHIN = 30.0
"""Seconds that a step waits for what it needs, where the script says nothing else."""

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
_NAME = re.compile(r"\$\{(\w+)\}")


class ScriptError(Exception):
    """The script cannot be played; the text names the line, and the step where there is one."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Actor(_Strict, frozen=True, kw_only=True):
    """Somebody who takes part; what they may do is for the bot to know."""

    name: str = ""


class GroupOf(_Strict, frozen=True, kw_only=True):
    """A group made by hand when it is not there; its key is its id."""

    title: str
    members: tuple[str, ...]


class _Act(_Strict, frozen=True, kw_only=True):
    verb: ClassVar[str]
    chat: str = ""
    """A group's key or title, or `@person` for that person's own chat with the bot."""
    by: str = msgspec.field(name="as", default="")
    within: str | float | None = None


class Say(_Act, frozen=True, kw_only=True):
    verb = "say"
    say: str


class Press(_Act, frozen=True, kw_only=True):
    verb = "press"
    press: str
    """The button's label."""
    card: str = ""


class Fill(_Act, frozen=True, kw_only=True):
    verb = "fill"
    fill: str
    """A part of the card's title or text."""
    values: dict[str, str] = {}
    submit: str = ""
    """The form's button, where the card has several forms."""


class Upload(_Act, frozen=True, kw_only=True):
    verb = "upload"
    upload: str
    """Path of the file."""
    text: str = ""


class Wanted(_Strict, frozen=True, kw_only=True):
    """What one card or message must be, all of it."""

    title: str = ""
    contains: str | tuple[str, ...] = ()
    tone: Tone | None = None
    item: str = ""
    """A part of a checklist line's title."""
    mark: Mark | None = None
    absent: bool = False
    """Nothing like this may be in the chat: one that is has to go within the time."""
    new: bool = False
    """Only what was written or redrawn since the last act of a person counts."""


class Expect(_Act, frozen=True, kw_only=True):
    verb = "expect"
    expect: Wanted


class ApproveMany(_Act, frozen=True, kw_only=True):
    verb = "approve-many"
    many: tuple[str, ...] = msgspec.field(name="approve-many")
    press: str
    """The label of the button, or of the form's button when there are `values`."""
    card: str = ""
    values: dict[str, str] | None = None


class Capture(_Act, frozen=True, kw_only=True):
    verb = "capture"
    capture: str
    """A regular expression with one group."""
    into: str
    card: str = ""
    hidden: bool = False
    """What the group matches is masked in everything that is printed."""


class Open(_Act, frozen=True, kw_only=True):
    verb = "open"
    open: str
    method: str = "GET"
    fields: dict[str, str] = {}
    status: int = 200
    contains: str | tuple[str, ...] = ()


class Join(_Act, frozen=True, kw_only=True):
    verb = "join"
    join: str | tuple[str, ...]


class Restart(_Act, frozen=True, kw_only=True):
    verb = "restart"
    restart: bool


Act = Say | Press | Fill | Upload | Expect | ApproveMany | Capture | Open | Join | Restart

# `approve-many` has a `press` of its own, so it is looked for first.
ACTS: tuple[type[Act], ...] = (
    ApproveMany,
    Say,
    Press,
    Fill,
    Upload,
    Expect,
    Capture,
    Open,
    Join,
    Restart,
)


@dataclass(frozen=True, slots=True)
class Step:
    """An act and where it stands; `number` counts from 1."""

    number: int
    line: int
    act: Act
    within: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Script:
    """A whole conversation."""

    title: str
    people: Mapping[str, Actor]
    groups: Mapping[str, GroupOf]
    variables: Mapping[str, str]
    steps: tuple[Step, ...]


class _Head(_Strict, frozen=True, kw_only=True):
    title: str = ""
    people: dict[str, Actor] = {}
    groups: dict[str, GroupOf] = {}
    variables: dict[str, str] = {}
    within: str | float = WITHIN
    steps: list[dict[str, Any]]


def read(text: str, name: str = "script") -> Script:
    """Return the script; ScriptError names the line of what is wrong with it."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ScriptError(f"{name} 第 {line} 行：不是合法的 YAML") from None
    if again := _twice(root):
        line = again.start_mark.line + 1
        raise ScriptError(f"{name} 第 {line} 行：{again.value} 写了两次")
    try:
        head = msgspec.convert(raw, _Head)
        within = seconds(head.within)
    except (msgspec.ValidationError, ValueError) as problem:
        where = _line_of(root, str(problem))
        raise ScriptError(f"{name} 第 {where} 行：{problem}") from None
    lines = _step_lines(root)
    steps = tuple(
        _step(number, line, body, within, name)
        for number, (line, body) in enumerate(zip(lines, head.steps, strict=True), start=1)
    )
    script = Script(head.title or name, head.people, head.groups, head.variables, steps)
    _check_people(script, name)
    return script


def seconds(text: str | float) -> float:
    """Return a span of time such as `30s`, `500ms`, `2m` or a bare number of seconds."""
    match = _SPAN.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"时间请写成 30s、500ms 或 2m：{text}")
    return float(match[1]) * _UNITS[match[2]]


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Put each `${name}` in; KeyError names the one that is not known."""
    return _NAME.sub(lambda match: variables[match[1]], text)


def texts(wanted: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one text or several as several."""
    return (wanted,) if isinstance(wanted, str) else wanted


def _step(number: int, line: int, body: Mapping[str, Any], within: float, name: str) -> Step:
    where = f"{name} 第 {line} 行，第 {number} 步："
    kind = next((one for one in ACTS if one.verb in body), None)
    if kind is None:
        verbs = "、".join(one.verb for one in ACTS)
        raise ScriptError(f"{where}不认识的动作 {'、'.join(map(str, body))}；可用的是 {verbs}")
    try:
        act = msgspec.convert(dict(body), kind)
        own = within if act.within is None else seconds(act.within)
        if isinstance(act, Capture):
            _one_group(act.capture)
        if isinstance(act, Expect):
            _some_wish(act.expect)
    except (msgspec.ValidationError, ValueError) as problem:
        raise ScriptError(f"{where}{problem}") from None
    return Step(number, line, act, own)


def _one_group(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as problem:
        raise ValueError(f"正则表达式不对：{problem}") from None
    if groups != 1:
        raise ValueError("capture 的正则表达式要有且只有一个括号组")


def _some_wish(wanted: Wanted) -> None:
    if not (wanted.title or texts(wanted.contains) or wanted.tone or wanted.item):
        raise ValueError("expect 至少要写 title、contains、tone、item 中的一项")
    if wanted.mark and not wanted.item:
        raise ValueError("mark 要和 item 一起写")


def _check_people(script: Script, name: str) -> None:
    known = set(script.people)
    for key, group in script.groups.items():
        if missing := set(group.members) - known:
            raise ScriptError(
                f"{name}：群 {key} 里的 {'、'.join(sorted(missing))} 没有在 people 里"
            )
    needs: tuple[Callable[[Act], tuple[str, ...]], ...] = (
        lambda act: (act.by,) if act.by else (),
        lambda act: (act.chat[1:],) if act.chat.startswith("@") else (),
        lambda act: act.many if isinstance(act, ApproveMany) else (),
        lambda act: texts(act.join) if isinstance(act, Join) else (),
    )
    for step in script.steps:
        where = f"{name} 第 {step.line} 行，第 {step.number} 步："
        for need in needs:
            if missing := set(need(step.act)) - known:
                raise ScriptError(f"{where}{'、'.join(sorted(missing))} 没有在 people 里")
        if isinstance(step.act, Say | Press | Fill | Upload) and not step.act.by:
            raise ScriptError(f"{where}请用 as 写明是谁")
        if not step.act.chat and not isinstance(step.act, Open | Restart):
            raise ScriptError(f"{where}请用 chat 写明在哪个会话")


def _step_lines(root: yaml.Node | None) -> list[int]:
    assert isinstance(root, yaml.MappingNode)  # `convert` has seen to it
    for key, value in root.value:
        if key.value == "steps":
            return [node.start_mark.line + 1 for node in value.value]
    return []


_PATH = re.compile(r"`\$\.?([\w.\[\]-]*)`")
_UNKNOWN = re.compile(r"unknown field `(\w[\w-]*)`")


def _line_of(root: yaml.Node | None, problem: str) -> int:
    """Return the line that a problem with the head is about, as near as its path leads."""
    path = [part for part in re.split(r"[.\[\]]", "".join(_PATH.findall(problem))) if part]
    if unknown := _UNKNOWN.search(problem):
        path.append(unknown[1])
    line = root.start_mark.line + 1 if root else 1
    node = root
    for part in path:
        found = next((at for at in _keys(node) if at[0].value == part), None)
        if found is None:
            continue
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _keys(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield every key below a node with its value, the outer ones first."""
    if isinstance(node, yaml.MappingNode):
        yield from node.value
    children = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        yield from _keys(child)


def _twice(node: yaml.Node | None) -> yaml.Node | None:
    """Return a key that stands twice in one mapping: YAML would quietly take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        for key, value in pairs:
            if key.value in seen:
                return key
            seen.add(str(key.value))
            if found := _twice(value):
                return found
    if isinstance(node, yaml.SequenceNode):
        return next((found for child in node.value if (found := _twice(child))), None)
    return None

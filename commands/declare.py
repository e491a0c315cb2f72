"""How a chat command is declared, and the only way from a line of text to a typed call.

The signature of the function is the syntax, its docstring is the help: there is no second place.
"""

from __future__ import annotations

import inspect
import re
import typing
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Annotated, TypeVar

import cyclopts
from cyclopts import App, Parameter, Token
from cyclopts.argument import Argument
from rapidfuzz import fuzz, process

from adapters.card import Block, Card, Fields, Style, Table, Text
from adapters.port import UsageError
from adapters.words import Message, Person, Role

MAX_LINE = 4_000
_RANK = {Role.CUSTOMER: 0, Role.ENGINEER: 1, Role.LEAD: 2}
_WHO = {Role.CUSTOMER: "所有人", Role.ENGINEER: "工程师、负责人", Role.LEAD: "负责人"}
_NAME = re.compile(r"/[a-z][a-z0-9-]*( [a-z][a-z0-9-]*)*")
_QUOTES = {
    '"': '"', "'": "'", "“": "”", "”": "“", "‘": "’", "’": "‘", "「": "」", "『": "』",
}  # fmt: skip
_STOPS = frozenset(",、;:。")
"""What people put behind a mention: 交给 @赵工，……"""
_HELP_FLAGS = frozenset({"--help", "-h"})
_LABEL = re.compile(r"^[^：:，,。；;、（(]{1,10}(?=[：:，,。；;、（(]|$)")
_NUMBERED = re.compile("#?([0-9]{1,18})")  # more than that no database has
_DASH = re.compile(r"^[—–―]+(?=[A-Za-z])")  # what phones make of "--"


class Where(Flag):
    """In which chats a command may be given."""

    STAFF = auto()
    """Our own groups and direct chats."""
    CUSTOMER = auto()
    """The group that is bound to a customer."""
    ANY = STAFF | CUSTOMER


_PLACE = {Where.STAFF: "内部群", Where.CUSTOMER: "客户群", Where.ANY: "任何群"}


@dataclass(frozen=True, slots=True)
class Call:
    """Who called, from where; `context` is the roof's own object, opaque down here.

    It is `object` and not a type variable, so that commands of several needs fit in one book: a
    command narrows it once, by `isinstance` or through a helper that the roof's floor offers.
    """

    message: Message
    role: Role
    customer: int | None = None
    """The customer to whom this chat is bound."""
    context: object = None

    @property
    def where(self) -> Where:
        """A chat bound to a customer is theirs; every other one is ours."""
        return Where.STAFF if self.customer is None else Where.CUSTOMER


Run = Callable[..., Awaitable[Card | None]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it was declared."""

    name: str
    """With its slash; a subcommand is two words: `/server add`."""
    run: Run
    role: Role = Role.ENGINEER
    """The least role that may give it."""
    where: Where = Where.ANY
    examples: tuple[str, ...] = ()
    group: str = "其他"

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n\n")[0].replace("\n", "")


def command(
    name: str,
    *,
    role: Role = Role.ENGINEER,
    where: Where = Where.ANY,
    examples: Sequence[str] = (),
    group: str = "其他",
) -> Callable[[Run], Command]:
    """Declare the decorated coroutine function as the command `name`."""

    def declare(run: Run) -> Command:
        if not _NAME.fullmatch(name):
            raise TypeError(f"{name!r} is no name of a command: /lower-case words")
        call = inspect.signature(run).parameters.get("call")
        if call is None or call.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{name} takes no keyword-only `call`")
        if not inspect.iscoroutinefunction(run):
            raise TypeError(f"{name} is not async")
        made = Command(name, run, role, where, tuple(examples), group)
        if not made.summary:
            raise TypeError(f"{name} has no docstring")
        return made

    return declare


def allowed(command: Command, role: Role, where: Where) -> bool:
    """Tell whether somebody of `role` may give `command` in such a chat."""
    return _RANK[role] >= _RANK[command.role] and where in command.where


def check(command: Command, role: Role, where: Where) -> None:
    """Raise UsageError that says who may, or where to go, unless it is allowed."""
    if _RANK[role] < _RANK[command.role]:
        raise UsageError(f"{command.name} 只有{_WHO[command.role]}可以使用。请联系他们代为操作。")
    if where not in command.where:
        raise UsageError(
            f"{command.name} 只能在{_PLACE[command.where]}里使用，请到那里再输入一次。"
        )


# -- types of arguments -----------------------------------------------------------------------


class _Wrong(ValueError):
    """A value that was refused, in Chinese."""


_MENTIONS: ContextVar[Sequence[Person]] = ContextVar("mentions", default=())
_TYPED: ContextVar[Mapping[str, str]] = ContextVar("typed", default={})  # noqa: B039 - read only
E = TypeVar("E", bound=Enum)


def choice(labels: Mapping[str, E]) -> Parameter:
    """Take one of an enumeration by its Chinese label, its value or its name.

    `Tier = Annotated[contract.Tier, choice({"基础版": ..., "专业版": ...})]`
    """
    known: dict[str, E] = {}
    for label, member in labels.items():
        for word in (member.name, str(member.value), label):
            known[_nfkc(word).casefold()] = member

    def convert(_: object, tokens: Sequence[Token]) -> E:
        word = tokens[0].value
        member = known.get(_nfkc(word).casefold())
        if member is None:
            raise _Wrong(f"「{_short(word)}」不在可选项里，请填：{'、'.join(labels)}")
        return member

    return Parameter(converter=convert, n_tokens=1, accepts_keys=False, metavar="、".join(labels))


def number(least: float, most: float) -> Parameter:
    """Take a number of this range, both ends included."""

    def validate(_: object, value: object) -> None:
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, (int, float)) and not least <= one <= most:
                raise _Wrong(f"{_short(str(one))} 超出范围，请填 {least:g} 到 {most:g} 之间的数")

    return Parameter(validator=validate, metavar=f"{least:g} 到 {most:g}")


def matching(pattern: str, hint: str) -> Parameter:
    """Take a text that matches `pattern` as a whole; `hint` says in Chinese what that is."""
    compiled = re.compile(pattern)

    def validate(_: object, value: object) -> None:
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, str) and not compiled.fullmatch(one):
                raise _Wrong(f"「{_short(one)}」不符合要求，请填{hint}")

    return Parameter(validator=validate, metavar=hint)


NOBODY = (
    "请输入 @ 并从弹出的名单里选择。企业微信不告诉机器人 @ 了谁："
    "请对方先对机器人发 /whoami，再把 @ 后面写成回答里的账号"
)
"""Said where a message names nobody by an id: some platforms never do."""


def _person(_: object, tokens: Sequence[Token]) -> Person:
    word = tokens[0].value
    name = _nfkc(word.removeprefix("@")).casefold()
    people = _MENTIONS.get()
    found = {p for p in people if word.startswith("@") and _nfkc(_clean(p.name)).casefold() == name}
    if len(found) > 1:
        raise _Wrong(f"这句话里提到了两位同名的「{_short(word)}」，请一次只 @ 一位")
    if not found:
        hint = "请输入 @ 并从弹出的名单里选择" if people else NOBODY
        raise _Wrong(f"「{_short(word)}」不是提到的人：{hint}")
    return found.pop()


def _numbered(_: object, tokens: Sequence[Token]) -> int:
    return _number_of(tokens[0].value)


def _several(_: object, tokens: Sequence[Token]) -> tuple[int, ...]:
    word = tokens[0].value
    return tuple(_number_of(part) for part in re.split("[,、;]", word) if part) or (
        _number_of(word),
    )


def _number_of(word: str) -> int:
    found = _NUMBERED.fullmatch(word)
    if found is None:
        raise _Wrong(f"「{_short(word)}」不是编号，请填数字，例如 12")
    return int(found[1])


def _verbatim(_: object, tokens: Sequence[Token]) -> str:
    return _TYPED.get().get(tokens[0].value, tokens[0].value)


class _Trailing:
    """Marks the parameter that takes all that is left, as it was typed."""


Who = Annotated[
    Person, Parameter(converter=_person, n_tokens=1, accepts_keys=False, metavar="@某人")
]
"""A person, given as a mention."""
Numbered = Annotated[
    int, Parameter(converter=_numbered, n_tokens=1, accepts_keys=False, metavar="编号")
]
"""The number of an incident, a silence and the like, with or without the # that cards put before it."""
Several = Annotated[
    tuple[int, ...], Parameter(converter=_several, n_tokens=1, accepts_keys=False, metavar="编号")
]
"""Some numbers in one word: 12, or #12、#13."""
Verbatim = Annotated[str, Parameter(converter=_verbatim, n_tokens=1, accepts_keys=False)]
"""A text with its full-width characters as they were typed: 示例（北京）有限公司 keeps its name."""
Rest = Annotated[str, Parameter(allow_leading_hyphen=True), _Trailing]
"""All that is left of the line, spaces and punctuation untouched; the last positional one."""

# -- from text to tokens ------------------------------------------------------------------------


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _clean(text: str) -> str:
    """Drop what nobody sees: controls, zero widths, directions, lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"}
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class _Word:
    """A token and where it begins in the line."""

    text: str
    start: int
    quoted: bool = False
    raw: str = ""
    """The token as it was typed."""
    missing: str = ""
    """The closing quote that it lacks: wrong, unless it lies in a free text."""


def _split(line: str, mentions: Sequence[Person]) -> list[_Word]:
    """Split at white space, keep quoted texts and mentions of several words whole."""
    names = sorted((n for p in mentions if (n := _clean(p.name))), key=len, reverse=True)
    words: list[_Word] = []
    i = 0
    while i < len(line):
        if _nfkc(line[i]).isspace():
            i += 1
            continue
        start, text, quoted = i, "", False
        if _nfkc(line[i]) == "@":
            name = next((n for n in names if _names(line, i + 1, n)), "")
            if name:
                i += 1 + len(name)
                words.append(_Word(f"@{_nfkc(name)}", start, quoted=True))
                while i < len(line) and _nfkc(line[i]) in _STOPS:
                    i += 1
                continue
        while i < len(line) and not _nfkc(line[i]).isspace():
            closing = _QUOTES.get(_nfkc(line[i]))
            if closing and (i == start or _nfkc(text[-1:]) == "="):
                end = next(
                    (k for k in range(i + 1, len(line)) if _closes(_nfkc(line[k]), closing)), None
                )
                if end is None:
                    words.append(_Word(_nfkc(line[start:]), start, i == start, missing=closing))
                    return words
                quoted = quoted or i == start
                text += line[i + 1 : end]
                i = end + 1
            else:
                text += line[i]
                i += 1
        known = _nfkc(text)
        words.append(_Word(known if quoted else _DASH.sub("--", known), start, quoted, text))
    return words


def _names(line: str, at: int, name: str) -> bool:
    end = at + len(name)
    after = _nfkc(line[end : end + 1])
    return line.startswith(name, at) and (not after or after.isspace() or after in _STOPS)


def _closes(char: str, closing: str) -> bool:
    return (
        char == closing
        or (closing in "“”" and char in '“”"')
        or (closing in "‘’" and char in "‘’'")
    )


def _unquoted(text: str) -> str:
    """Take off the one pair of quotes that encloses all of `text`."""
    text = text.strip()
    closing = _QUOTES.get(_nfkc(text[:1]))
    inner = text[1:-1]
    if closing and len(text) > 1 and _closes(_nfkc(text[-1]), closing):
        return text if any(_closes(_nfkc(c), closing) for c in inner) else inner
    return text


# -- the book -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parsed:
    """A typed call, ready to be made."""

    command: Command
    args: tuple[object, ...]
    kwargs: Mapping[str, object]

    @property
    def arguments(self) -> dict[str, object]:
        """What was given, by parameter; what was left out is not in it."""
        signature = inspect.signature(self.command.run)
        return dict(signature.bind_partial(*self.args, **self.kwargs).arguments)

    async def run(self, call: Call) -> Card | None:
        """Call the command, if whoever called may; else raise UsageError."""
        check(self.command, call.role, call.where)
        return await self.command.run(*self.args, **self.kwargs, call=call)


class _Entry:
    """A command with the parser made of its signature."""

    def __init__(self, declared: Command) -> None:
        self.command = declared
        self.app = App(
            name="/",
            help_flags=(),
            version_flags=(),
            default_command=declared.run,
            default_parameter=Parameter(parse=re.compile("^(?!call$)"), negative=()),
        )
        self.arguments = [
            a
            for a in self.app.assemble_argument_collection(parse_docstring=True)
            if a.field_info.name != "call"
        ]
        for argument in self.arguments:
            if not argument.parameter.help:
                raise TypeError(f"{declared.name}: {argument.field_info.name} has no documentation")
        self.labels = {str(a.field_info.name): label(a) for a in self.arguments}
        hints = typing.get_type_hints(declared.run, include_extras=True)
        positional = [a for a in self.arguments if a.index is not None]
        self.rest: int | None = None
        for index, argument in enumerate(positional):
            if _Trailing in getattr(hints[argument.field_info.name], "__metadata__", ()):
                if index != len(positional) - 1:
                    raise TypeError(f"{declared.name}: Rest is the last positional parameter")
                self.rest = index
        self.options = {
            name: a.hint is not bool for a in self.arguments for name in a.names if name[:1] == "-"
        }

    @property
    def usage(self) -> str:
        """The usage line."""
        parts = [self.command.name]
        shown = self.arguments
        if self.rest is not None:  # behind a free text an option would be a part of it
            shown = sorted(shown, key=lambda a: a.index is not None)
        for a in shown:
            if a.index is None:
                part = a.name if a.hint is bool else f"{a.name} <{label(a)}>"
            else:
                many = a.field_info.kind is inspect.Parameter.VAR_POSITIONAL
                part = f"<{label(a)}>" + ("…" if many else "")
            parts.append(part if a.required else f"[{part}]")
        return " ".join(parts)

    def tokens(self, line: str, words: Sequence[_Word]) -> tuple[list[str], bool]:
        """Return what cyclopts reads, and whether help is what was asked for."""
        if self.rest is None:
            asked = any(w.text in _HELP_FLAGS and not w.quoted for w in words)
            return [self.closed(w) for w in words], asked
        head: list[str] = []
        given = 0
        i = 0
        while i < len(words):
            word = words[i]
            name = word.text.partition("=")[0]
            if not word.quoted and word.text in _HELP_FLAGS:
                return [], True
            if not word.quoted and name in self.options:
                takes = self.options[name] and "=" not in word.text
                head += [self.closed(w) for w in words[i : i + 1 + takes]]
                i += 1 + takes
                continue
            if given == self.rest:
                return [*head, "--", _unquoted(line[word.start :])], False
            head.append(self.closed(word))
            given += 1
            i += 1
        return head, False

    def closed(self, word: _Word) -> str:
        """Return the text of a word whose quotes are closed."""
        if word.missing:
            raise self.mend(f"引号没有成对：请在后面补上 {word.missing} 或去掉引号。")
        return word.text

    def mend(self, what: str) -> UsageError:
        """Return the error that says what is wrong and what to type instead."""
        lines = [what, f"用法：{self.usage}"]
        if self.command.examples:
            lines.append(f"例如：{self.command.examples[0]}")
        return UsageError("\n".join(lines))


def label(argument: Argument) -> str:
    """Return what a parameter is called in Chinese: its documentation up to the first stop."""
    found = _LABEL.match(argument.parameter.help or "")
    return found[0] if found else str(argument.field_info.name)


class Book:
    """Every command by name. `/help` is in it by itself, unless one is declared."""

    def __init__(self, *commands: Command, names: Sequence[str] = ("Vigilbot",)) -> None:
        """Take the commands, and by which names the bot may be mentioned before a line."""
        self._entries: dict[str, _Entry] = {}
        if all(c.name != "/help" for c in commands):
            commands = (*commands, self._own_help())
        for one in commands:
            if one.name in self._entries:
                raise TypeError(f"{one.name} is declared twice")
            self._entries[one.name] = _Entry(one)
        self._groups = {n.rpartition(" ")[0] for n in self._entries if " " in n}
        called = "|".join(re.escape(_nfkc(n)) for n in names)
        self._mention = re.compile(rf"^[@＠](?:{called})[\s:：,，]*(?=\S)" if called else r"(?!)")

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(e.command for e in self._entries.values())

    def parse(self, text: str, mentions: Sequence[Person] = ()) -> Parsed | None:
        """Return the typed call, None when `text` is no command; raise UsageError when mistyped."""
        line = _clean(text).strip()
        line = self._mention.sub("", line, count=1).strip()
        slash = _nfkc(line[:1])
        if slash not in {"/", "、"}:
            return None
        body = line[1:].lstrip("/／").lstrip()
        first = _nfkc(body[:64].split(maxsplit=1)[0]) if body else ""
        if slash == "、" and not self._knows(first):  # "、" is the slash key of a Chinese keyboard
            return None
        if "/" in first:  # a path was pasted
            return None
        if len(text) > MAX_LINE:
            raise UsageError(
                f"这条命令有 {len(text)} 个字，超过了 {MAX_LINE} 个字的上限，没有执行。"
                "请缩短后再发；服务器清单请作为 CSV 或 XLSX 文件上传。"
            )
        words = _split(body, mentions)
        typed = {w.text: w.raw for w in words}
        typed |= {
            k.partition("=")[2]: re.split("[=＝]", v, maxsplit=1)[-1] for k, v in typed.items()
        }
        undo = _MENTIONS.set(mentions), _TYPED.set({k: v for k, v in typed.items() if k and v})
        try:
            return self._parse(body, words)
        finally:
            _MENTIONS.reset(undo[0])
            _TYPED.reset(undo[1])

    def help(self, role: Role, where: Where) -> Card:
        """Return the card of what somebody may ask in such a chat."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for entry in self._entries.values():
            if allowed(entry.command, role, where):
                row = (entry.usage, entry.command.summary)
                groups.setdefault(entry.command.group, []).append(row)
        blocks: list[Block] = []
        for group, rows in groups.items():
            blocks += [Text(group, Style.STRONG), Table(("命令", "说明"), tuple(rows))]
        blocks.append(Text("输入 /help 加命令名，可以看到参数和例子。", Style.QUIET))
        return Card("可以使用的命令", blocks=tuple(blocks))

    def help_for(self, name: str) -> Card:
        """Return the card of one command, or of all subcommands of one; UsageError if unknown."""
        wanted = self._full(name)
        if wanted in self._groups:
            rows = tuple((e.usage, e.command.summary) for e in self._under(wanted))
            return Card(wanted, blocks=(Table(("命令", "说明"), rows),))
        entry = self._entries.get(wanted)
        if entry is None:
            raise self._unknown(wanted)
        facts = (
            ("用法", entry.usage),
            ("谁可以用", _WHO[entry.command.role]),
            ("在哪里用", _PLACE[entry.command.where]),
        )
        blocks: list[Block] = [Text(entry.command.summary), Fields(facts)]
        rows3 = tuple(
            (a.name if a.index is None else label(a), a.parameter.help or "", _takes(a))
            for a in entry.arguments
        )
        if rows3:
            blocks.append(Table(("参数", "说明", "可填"), rows3))
        if entry.command.examples:
            examples = "\n".join(entry.command.examples)
            blocks += [Text("例子", Style.STRONG), Text(examples, Style.CODE)]
        return Card(wanted, blocks=tuple(blocks))

    def table(self) -> list[tuple[str, str, str, str]]:
        """Return (command, who, where, what) of every command, for the README."""
        return [
            (e.usage, _WHO[e.command.role], _PLACE[e.command.where], e.command.summary)
            for e in self._entries.values()
        ]

    def _parse(self, body: str, words: list[_Word]) -> Parsed:
        if not words or words[0].text in _HELP_FLAGS:
            return self._helping(None)
        name = self._full(words[0].text)
        used = 1
        while name in self._groups and len(words) > used:
            longer = f"{name} {words[used].text.casefold()}"
            if longer not in self._entries and longer not in self._groups:
                break
            name, used = longer, used + 1
        entry = self._entries.get(name)
        if entry is None:
            if used < len(words) and name in self._groups:
                if words[used].text in _HELP_FLAGS:
                    return self._helping(name)
                name = f"{name} {words[used].text.casefold()}"
            raise self._unknown(name)
        tokens, asked = entry.tokens(body, words[used:])
        if asked:
            return self._helping(name)
        try:
            _, bound, _ = entry.app.parse_args(
                tokens, print_error=False, exit_on_error=False, help_on_error=False, verbose=False
            )
        except cyclopts.CycloptsError as error:
            raise entry.mend(explain(error, entry.labels)) from error
        except (ValueError, ArithmeticError) as error:
            raise entry.mend("有一个参数的值无法识别。") from error
        return Parsed(entry.command, bound.args, bound.kwargs)

    def _helping(self, name: str | None) -> Parsed:
        return Parsed(self._entries["/help"].command, () if name is None else (name,), {})

    def _full(self, name: str) -> str:
        words = _nfkc(_clean(name)).casefold().lstrip("/").replace("_", "-").split()
        return "/" + " ".join(words)

    def _knows(self, first: str) -> bool:
        name = self._full(first)
        return name in self._entries or name in self._groups

    def _under(self, group: str) -> list[_Entry]:
        return [e for n, e in self._entries.items() if n.startswith(f"{group} ")]

    def _unknown(self, name: str) -> UsageError:
        group = name.partition(" ")[0]
        if group in self._groups:
            under = self._under(group)
            words, close = f"{group} 后面还要写做什么。", list[str]()
            if name != group:
                lasts = {e.command.name.rpartition(" ")[2]: e.command.name for e in under}
                words = f"没有「{_short(name)}」这个命令。"
                close = [lasts[n] for n in _close(name.rpartition(" ")[2], lasts)]
            lines = [words + _perhaps(close), *(f"用法：{e.usage}" for e in under)]
            return UsageError("\n".join(lines))
        close = _close(name, [*self._entries, *self._groups])
        hint = _perhaps(close) or "输入 /help 可以查看全部命令。"
        return UsageError(f"没有「{_short(name)}」这个命令。{hint}")

    def _own_help(self) -> Command:
        @command("/help", role=Role.CUSTOMER, examples=("/help",), group="帮助")
        async def show(*name: str, call: Call) -> Card:
            """查看可以使用的命令，或某一个命令的用法。

            Parameters
            ----------
            name
                命令名，例如 onboard。
            """
            if not name:
                return self.help(call.role, call.where)
            wanted = self._full(" ".join(name))
            entry = self._entries.get(wanted)
            for one in [entry] if entry else self._under(wanted):
                check(one.command, call.role, call.where)
            return self.help_for(wanted)

        return show


def _close(word: str, among: Iterable[str]) -> list[str]:
    found = process.extract(word, list(among), scorer=fuzz.ratio, score_cutoff=60, limit=3)
    return [name for name, _, _ in found]


def _perhaps(names: Sequence[str]) -> str:
    return f"您是不是想输入 {' 或 '.join(names)}？" if names else ""


def _takes(argument: Argument) -> str:
    if argument.parameter.metavar:
        return argument.parameter.metavar
    hint = argument.hint
    if typing.get_origin(hint) in {tuple, list}:  # each of several words
        hint = typing.get_args(hint)[0]
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return "、".join(m.name.lower() for m in hint)
    return {int: "整数", float: "数字", bool: "写上即可"}.get(hint, "文字")


# -- errors ---------------------------------------------------------------------------------------


def explain(error: cyclopts.CycloptsError, labels: Mapping[str, str]) -> str:  # noqa: C901, PLR0911, PLR0912
    """Return in Chinese what was wrong with a line; what to type instead is added by the book."""
    cause = error.__cause__
    name = str(error.argument.field_info.name) if error.argument else ""
    called = f"「{labels.get(name, name)}」" if name else "参数"
    match error:
        case _ if isinstance(cause, _Wrong):
            return f"{called}：{cause}。"
        case cyclopts.UnknownOptionError():
            word = error.token.keyword or error.token.value
            names = [n for a in error.argument_collection for n in a.names if n[:1] == "-"]
            return f"没有「{_short(word)}」这个选项。{_perhaps(_close(word, names))}"
        case cyclopts.ConsumeMultipleError():
            return f"{called}的个数不对。"
        case cyclopts.MissingArgumentError():
            return f"还缺少{called}。"
        case cyclopts.ValidationError():
            return f"{called}的值不在允许的范围里。"
        case cyclopts.CoercionError():
            given = f"「{_short(error.token.value)}」" if error.token else "所填的值"
            kind = f"，这里要填 {_takes(error.argument)}" if error.argument else ""
            return f"{called}无法识别{given}{kind}。"
        case cyclopts.RepeatArgumentError():
            return f"「{_short(error.token.keyword or error.token.value)}」写了两次，请只保留一个。"
        case cyclopts.RequiresEqualsError():
            return f"{called}要用等号写，例如 {error.keyword or '--选项'}=值。"
        case cyclopts.MixedArgumentError():
            return f"{called}既按位置又按名称给了值，请只用一种写法。"
        case cyclopts.ArgumentOrderError():
            return f"「{_short(error.token)}」的位置不对：请把不带名称的参数写在选项前面。"
        case cyclopts.UnusedCliTokensError():
            extra = " ".join(error.unused_tokens or ())
            return f"后面多了「{_short(extra)}」。带空格的内容请用引号「」括起来。"
        case cyclopts.CombinedShortOptionError():
            return "几个短选项不能连在一起写，请分开写。"
        case cyclopts.UnknownCommandError():
            return f"没有「{_short(' '.join(error.unused_tokens or ()))}」这个命令。"
        case cyclopts.TokenizationError():
            return "引号没有成对，请补上或去掉引号。"
        case _:
            return "这条命令没有看懂。"

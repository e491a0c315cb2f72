"""What a model is not to see: secrets are gone for good, names come back in its answer.

A customer's, a server's and an address' names are nobody else's business, and an answer is useless
without them. So each has a stand-in (`[N1]`) in the question, and is put back in what is shown.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable

GONE = "***"
"""In place of a secret."""

SHORTEST = 2
"""Characters of a name that is looked for: a shorter one would be found in other words."""

_CHOSEN = (
    r"password|passwd|passphrase|pwd|_pass(?![a-z])|\bpass(?==)|requirepass|masterauth|密码|口令"
)
_ISSUED = r"secret|token|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|密钥|令牌"
_KEY = rf"{_CHOSEN}|{_ISSUED}|credential|authorization|cookie|session|凭证"
_QUOTED = (
    r'"(?:\\[\s\S]|[^"\\])*["\\]?|'
    r"'(?:\\[\s\S]|[^'\\])*['\\]?|"
    r'\\+"[^"]*"?|“[^”]*”?|「[^」]*」?'
)
"""A value in quotes, whole: it may have blanks in it. One whose end was cut off goes to the end."""

_BARE = r"[^\s\"',;，；]+"
_VALUE = rf"(?:{_QUOTED}|{_BARE})"
_ARGUMENT = rf"(?:{_QUOTED}|\S+)"
_MIXED = r"(?!\d{4}-\d\d-\d\d)(?=[!-~]{6})(?=[!-~]*[A-Za-z])(?=[!-~]*\d)[!-~]+"
"""A word that looks chosen and is not one of a sentence: no time, no number and no `bucket`."""

_BETWEEN = r"(?:[\"'],\s*|[ =]\s*)"
"""Between an option and its argument, on a command line or in a list of its words."""

_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL),
    re.compile(r"(?<=://)(?:[^\s/@:]*:[!-~]+|[^\s/]+)(?=@)"),
    re.compile(r"(?<=:)[^\s:@]+(?=@(?:tcp|udp|unix)\()"),
    re.compile(
        rf"(?i)((?:{_KEY})[\w-]*\\*[\"']?\s*(?:[:=：＝]|\bis\b|为|是)\s*)"
        rf"(?:(?:bearer|basic|digest|token|apikey)\s+)?{_VALUE}"
    ),
    re.compile(rf"(?i)((?:{_CHOSEN}|{_ISSUED})\s+){_MIXED}"),
    re.compile(rf"(?i)((?:{_CHOSEN})\s+)(?:\d{{6,}}(?![!-~])|{_QUOTED})"),
    re.compile(rf"(?i)((?:{_CHOSEN}|{_ISSUED}))(?:“[^”]*”?|「[^」]*」?)"),
    re.compile(rf"(?i)(\bidentified\s+by\s+){_ARGUMENT}"),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}"),
    re.compile(
        rf"(?i)((?<![\w-])--?(?:[\w-]*-)?(?:password|passwd|passphrase|pass|token|secret){_BETWEEN})"
        rf"{_ARGUMENT}"
    ),
    # Of any program: a port, a path, a protocol and a figure stay.
    re.compile(
        rf"((?<!\S)-p[ =])(?![\d:.,%-]+(?:/(?:tcp|udp))?(?!\S)|(?:tcp|udp|icmp)(?!\S)|[~/.]){_ARGUMENT}"
    ),
    re.compile(
        rf"((?<![\w-])(?:-u|-U|--user|--proxy-user){_BETWEEN}?[\"'][^\s:%\"']{{1,64}}[:%])[^\"']+"
    ),
    re.compile(
        rf"((?<![\w-])(?:-u|-U|--user|--proxy-user){_BETWEEN}?"
        r"(?![\d:.%]+(?!\S))[^\s:%\"'/]{1,64}[:%])(?!//)[^\s\"']+"
    ),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.?[\w-]*"),
    re.compile(r"\b(?:sk|pk|rk)[-_][\w-]{12,}|\b(?:AKIA|LTAI|AKID)\w{8,}|\bgh[opsur]_\w{16,}"),
    re.compile(r"\bxox[abeoprs]-[\w-]{8,}"),
    re.compile(r"(?<![\w/+])(?=[\w/+-]*\d)(?=[\w/+-]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}"),
    re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    re.compile(r"(?<!\d)(?:(?:\+|00)?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d)"),
)
"""Keys with their values, tokens by their looks, and how people are reached."""


def _option(letters: str, *, joined: bool) -> re.Pattern[str]:
    """Return the pattern of an option that has a secret; `joined` where it may follow without a blank."""
    return re.compile(rf"((?<![\w-])-[{letters}]{_BETWEEN}{'?' if joined else ''}){_ARGUMENT}")


_OPTIONS = (
    (
        re.compile(
            r"(?i)mysql|mariadb|sshpass|mongo|cqlsh|rabbitmqadmin|\b(?:docker|podman) login"
        ),
        _option("p", joined=True),
    ),
    (re.compile(r"(?i)redis|valkey|keydb"), _option("a", joined=False)),
    (re.compile(r"(?i)\bldap\w+"), _option("w", joined=False)),
    (re.compile(r"(?i)\bsnmp\w+"), _option("cAX", joined=False)),
    (re.compile(r"(?i)\bsnmp"), re.compile(rf"(?i)(\bcommunity\s+(?:string\s+)?){_MIXED}")),
)
"""Options that mean a secret only on the line of the programs that have them."""

_ADDRESS = (
    r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)|\bip(?:-\d{1,3}){4}(?!\d)|"
    r"(?<![\w:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:-])"
)
_IPV6 = re.compile(r"(?<![0-9A-Za-z_:.])[0-9A-Fa-f:.]{2,}(?![0-9A-Za-z_])")
"""What may be one: nearly all of these are times and figures."""

_WIDE = 0xFEE0
"""From a visible ASCII character to its full-width form."""

_LEGAL = re.compile(r"(?:集团)?(?:股份|控股)?(?:有限责任|有限)?公司$")
_BRACKETS = re.compile(r"[(（][^()（）]*[)）]")

_STAND_IN = re.compile(r"\[N([0-9]+)\]")


class Mask:
    """The names of one question and their stand-ins: `hide` what is asked, `show` what is answered."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = {plain(name).strip() for name in names}
        kept = sorted((n for n in wanted if len(n) >= SHORTEST), key=lambda n: (-len(n), n))
        self._kept = [(_folded(name), name) for name in kept]
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def hide(self, text: str) -> str:
        """Return a text without secrets and names; what looks like a stand-in is made harmless."""
        text = _STAND_IN.sub(r"(N\1)", plain(text))
        for secret in _SECRETS:
            text = secret.sub(_without, text)
        for program, option in _OPTIONS:
            if program.search(text):
                text = option.sub(_without, text)
        return self._pattern(text).sub(lambda found: self._stand_in(found[0]), text)

    def show(self, text: str) -> str:
        """Return an answer with the names in it again; a stand-in that was never given stays."""
        return _STAND_IN.sub(lambda found: self._name(found[0], int(found[1])), text)

    def invents(self, text: str) -> bool:
        """Does a text use a stand-in that was never given?"""
        return any(not 1 <= int(n) <= len(self._names) for n in _STAND_IN.findall(text))

    def _pattern(self, text: str) -> re.Pattern[str]:
        """Return what is looked for in a text: the names and the addresses that it has."""
        there = {address for found in _IPV6.findall(text) if (address := _ipv6(found))}
        longest = sorted(there, key=lambda each: (-len(each), each))
        # A pattern of all names of hundreds of servers would hold up the loop for seconds.
        folded = _folded(text)
        names = [name for known, name in self._kept if known in folded]
        words = [*map(_word, longest), *map(_word, names), _ADDRESS]
        return re.compile("|".join(words), re.IGNORECASE)

    def _stand_in(self, name: str) -> str:
        same = _nfkc(name).lower()
        number = self._numbers.get(same)
        if number is None:
            self._names.append(name)
            number = self._numbers[same] = len(self._names)
        return f"[N{number}]"

    def _name(self, stand_in: str, number: int) -> str:
        return self._names[number - 1] if 1 <= number <= len(self._names) else stand_in


def plain(text: str) -> str:
    """Return a text without what nobody sees, which could stand inside of a name or a key."""
    return "".join(
        c for c in text if unicodedata.category(c) not in {"Cf", "Cc", "Cs"} or c == "\n"
    )


def _without(found: re.Match[str]) -> str:
    return (found[1] if found.re.groups else "") + GONE


def _ipv6(found: str) -> str:
    """Return the IPv6 address that a text begins with; empty when it is none, such as a time."""
    bare = found.rstrip(".:")
    # What ends a sentence is no part of it, nor is the port behind eight groups.
    for each in (found, found.rstrip("."), bare, bare.rpartition(":")[0]):
        try:
            address = ipaddress.IPv6Address(each)
        except ValueError:
            continue
        return "" if address.is_unspecified else each
    return ""


def company(name: str) -> tuple[str, ...]:
    """Return how a company is called: as its contract has it, and as people and monitors do, without
    the legal form, and without the place that stands in brackets."""
    without = _LEGAL.sub("", name).strip()
    return tuple(
        dict.fromkeys(each for each in (name, without, _BRACKETS.sub("", without)) if each)
    )


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _folded(text: str) -> str:
    """Return a text in which a name is found however it was typed."""
    return "".join(_nfkc(text).casefold().split())


def _word(name: str) -> str:
    """Return the pattern of a name, whichever keyboard it was typed on: （ is (. In Latin letters it is
    a whole word, so that `db` is not in `dbus`."""
    found, folded = "".join(map(_letter, name)), _nfkc(name)
    before = r"(?<![A-Za-z0-9])" if folded[0].isascii() and folded[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if folded[-1].isascii() and folded[-1].isalnum() else ""
    return f"{before}{found}{after}"


def _letter(char: str) -> str:
    """Return the pattern of one character of a name, half-width or full-width."""
    if char.isspace():
        return r"\s+"
    folded = _nfkc(char)
    if len(folded) == 1 and folded.isascii():
        return f"[{re.escape(folded)}{chr(ord(folded) + _WIDE)}]"
    return re.escape(char)

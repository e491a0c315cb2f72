"""What a model is not to see: secrets are gone for good, names come back in its answer.

A customer's, a server's and an address' names are nobody else's business, and an answer is useless
without them. So each has a stand-in (`[N1]`) in the question, and is put back in what is shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

GONE = "***"
"""In place of a secret."""

SHORTEST = 2
"""Characters of a name that is looked for: a shorter one would be found in other words."""

_KEY = (
    r"password|passwd|pwd|secret|token|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|credential|"
    r"authorization|cookie|session|passphrase|密码|口令|密钥|令牌|凭证"
)
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL),
    re.compile(r"(?<=://)[^\s/@]+(?=@)"),
    re.compile(
        rf"(?i)((?:{_KEY})[\w-]*[\"']?\s*(?:[:=：＝]|\bis\b|为|是)\s*)(?:bearer\s+|basic\s+)?[\"']?[^\s\"',;，；]+"
    ),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}"),
    re.compile(r"(?i)((?:--?(?:password|token|secret)|\s-p)[ =])\S+"),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.?[\w-]*"),
    re.compile(r"\b(?:sk|pk|rk)[-_][\w-]{12,}|\b(?:AKIA|LTAI|AKID)\w{8,}|\bgh[opsur]_\w{16,}"),
    re.compile(r"\bxox[abeoprs]-[\w-]{8,}"),
    re.compile(r"(?<![\w/+])(?=[\w/+-]*\d)(?=[\w/+-]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}"),
    re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)"),
)
"""Keys with their values, tokens by their looks, and how people are reached."""

_ADDRESS = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f:]{1,4}"
_STAND_IN = re.compile(r"\[N([0-9]+)\]")


class Mask:
    """The names of one question and their stand-ins: `hide` what is asked, `show` what is answered."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = {plain(name) for name in names}
        kept = sorted((n for n in wanted if len(n) >= SHORTEST), key=lambda n: (-len(n), n))
        words = [_word(name) for name in kept]
        self._known = re.compile("|".join([*words, _ADDRESS]), re.IGNORECASE)
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def hide(self, text: str) -> str:
        """Return a text without secrets and names; what looks like a stand-in is made harmless."""
        text = _STAND_IN.sub(r"(N\1)", plain(text))
        for secret in _SECRETS:
            text = secret.sub(lambda found: (found[1] if found.re.groups else "") + GONE, text)
        return self._known.sub(lambda found: self._stand_in(found[0]), text)

    def show(self, text: str) -> str:
        """Return an answer with the names in it again; a stand-in that was never given stays."""
        return _STAND_IN.sub(lambda found: self._name(found[0], int(found[1])), text)

    def invents(self, text: str) -> bool:
        """Does a text use a stand-in that was never given?"""
        return any(not 1 <= int(n) <= len(self._names) for n in _STAND_IN.findall(text))

    def _stand_in(self, name: str) -> str:
        number = self._numbers.get(name.lower())
        if number is None:
            self._names.append(name)
            number = self._numbers[name.lower()] = len(self._names)
        return f"[N{number}]"

    def _name(self, stand_in: str, number: int) -> str:
        return self._names[number - 1] if 1 <= number <= len(self._names) else stand_in


def plain(text: str) -> str:
    """Return a text without what nobody sees, which could stand inside of a name or a key."""
    return "".join(
        c for c in text if unicodedata.category(c) not in {"Cf", "Cc", "Cs"} or c == "\n"
    )


def _word(name: str) -> str:
    """Return the pattern of a name: in Latin letters a whole word, so that `db` is not in `dbus`."""
    found = re.escape(name)
    before = r"(?<![A-Za-z0-9])" if name[0].isascii() and name[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if name[-1].isascii() and name[-1].isalnum() else ""
    return f"{before}{found}{after}"

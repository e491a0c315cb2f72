"""What a validation found, in Chinese and English, by the dotted path of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic_core import ErrorDetails
from rapidfuzz import fuzz, process

from bot.config.problems import Problem
from bot.config.settings import known_keys, sections

PREFIX = "VIGILBOT_"
_NEAR = 60
_WORDS: Mapping[str, tuple[str, str]] = {
    "missing": ("必须设置", "must be set"),
    "model_type": ("应为一节 [{path}]", "must be a section, [{path}]"),
    "plain_secret": (
        '密钥不能写明文，请写成 "env:变量名" 或 "file:路径"，例如 "env:{name}"',
        'never in plain text: write "env:NAME" or "file:PATH", for example "env:{name}"',
    ),
    "bool_parsing": ("应为 true 或 false", "must be true or false"),
    "bool_type": ("应为 true 或 false", "must be true or false"),
    "int_parsing": ("应为整数", "must be a whole number"),
    "int_type": ("应为整数", "must be a whole number"),
    "int_from_float": ("应为整数", "must be a whole number"),
    "float_parsing": ("应为数字", "must be a number"),
    "float_type": ("应为数字", "must be a number"),
    "finite_number": ("应为有限的数", "must be finite"),
    "string_type": ("应为文字（加引号）", "must be text, in quotes"),
    "string_too_short": ("不能为空", "must not be empty"),
    "string_pattern_mismatch": ("格式不对，应符合 {pattern}", "must match {pattern}"),
    "tuple_type": ("应为列表 [..]", "must be a list, [..]"),
    "too_short": ("至少要有 {min_length} 项", "must hold at least {min_length}"),
    "enum": ("只能是 {expected}", "must be {expected}"),
    "literal_error": ("只能是 {expected}", "must be {expected}"),
    "greater_than": ("必须大于 {gt}", "must be greater than {gt}"),
    "greater_than_equal": ("不能小于 {ge}", "must not be less than {ge}"),
    "less_than": ("必须小于 {lt}", "must be less than {lt}"),
    "less_than_equal": ("不能大于 {le}", "must not be greater than {le}"),
}


def problem(error: ErrorDetails, sources: Mapping[str, str]) -> Problem:
    path = _dotted(error["loc"])
    zh, en = _say(error, path)
    return Problem(path, zh, en, sources.get(path, ""))


def _say(error: ErrorDetails, path: str) -> tuple[str, str]:
    context = error.get("ctx", {})
    if error["type"] == "vigilbot":
        return str(context["zh"]), str(context["en"])
    if error["type"] == "extra_forbidden":
        return _unknown(path)
    if error["type"] not in _WORDS:
        return "值不合法", error["msg"]
    zh, en = _WORDS[error["type"]]
    words = {**context, "path": path, "name": PREFIX + path.upper().replace(".", "_")}
    return zh.format_map(words), en.format_map(words)


def _unknown(path: str) -> tuple[str, str]:
    near = _nearest(path)
    if not near:
        return "没有这个设置", "unknown key"
    return f"没有这个设置，是不是 {near}？", f"unknown key; did you mean {near}?"


def _nearest(path: str) -> str:
    """Look among the neighbours first, then for the same word in other sections."""
    places = [*sections(), *known_keys()]
    parent, _, word = path.rpartition(".")
    neighbours = {place: _leaf(place) for place in places if place.rpartition(".")[0] == parent}
    elsewhere = {place: _leaf(place) for place in places}
    for choices, cutoff in ((neighbours, _NEAR), (elsewhere, 85)):
        best = process.extractOne(word, choices, scorer=fuzz.ratio, score_cutoff=cutoff)
        if best is not None:
            return best[2]
    return ""


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _dotted(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        if part == "[key]":  # pydantic's way to say that the name before it is what is wrong
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")

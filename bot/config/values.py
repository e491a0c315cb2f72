"""Kinds of value that stand in more than one section, and what a section is."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from string import Formatter
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from adapters.words import NOTHING, Secret
from bot.config.problems import wrong

_PLACEHOLDERS = frozenset({"host", "port", "slug"})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where references and relative paths are looked up."""

    env: Mapping[str, str]
    folder: Path

    def at(self, path: str) -> Path:
        return self.folder / Path(path).expanduser()


def origin(info: ValidationInfo) -> Origin:
    return info.context if isinstance(info.context, Origin) else Origin({}, Path())


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )


def no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise wrong("应为数字，不是 true/false", "must be a number, not true/false")
    return value


def _secret(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("plain_secret", "in plain text")
    kind, _, name = value.partition(":")
    if kind == "env" and re.fullmatch(r"[A-Za-z_]\w*", name):
        return _from_environment(name, origin(info).env)
    if kind == "file" and name:
        return _from_file(origin(info).at(name))
    raise PydanticCustomError("plain_secret", "in plain text")


def _from_environment(name: str, env: Mapping[str, str]) -> Secret:
    text = env.get(name, "")
    if not text:
        raise wrong(f"环境变量 {name} 没有设置", f"environment variable {name} is not set")
    return Secret(text)


def _from_file(path: Path) -> Secret:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        raise wrong(f"读不到密钥文件 {path}", f"cannot read the secret file {path}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise wrong(
            f"密钥文件 {path} 别人也能读({mode:04o})，请执行 chmod 600 {path}",
            f"others may read the secret file ({mode:04o}): chmod 600 {path}",
        )
    if not text:
        raise wrong(f"密钥文件 {path} 是空的", f"the secret file {path} is empty")
    return Secret(text)


def _optional_secret(value: object, info: ValidationInfo) -> Secret:
    return NOTHING if value == "" else _secret(value, info)


def _url(text: str) -> str:
    if not text:
        return text
    try:
        parts = urlsplit(text)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        fine = False
    if not fine:
        raise wrong("应为 http:// 或 https:// 开头的地址", "must be an http:// or https:// address")
    if parts.username is not None:
        raise wrong("地址里不能带账号密码", "no user or password inside the address")
    return text.rstrip("/")


def _url_template(text: str) -> str:
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError:
        names = {""}
    if names - _PLACEHOLDERS:
        raise wrong(
            "只能使用占位符 {host} {port} {slug}", "only {host}, {port} and {slug} may stand in it"
        )
    filled = re.sub(r"\{\w+\}", "1", text)
    if "{" in filled:
        raise wrong("占位符里不能有格式", "a placeholder takes no format")
    _url(filled)
    return text.rstrip("/")


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise wrong(
            "应为网段，例如 10.0.0.0/8", "must be a network, for example 10.0.0.0/8"
        ) from None


def comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    # `min_length` would be told once more beside each item that is wrong.
    if not values:
        raise wrong("至少要有 1 项", "must hold at least one")
    return values


def _folder(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise wrong("应为路径", "must be a path")
    return origin(info).at(str(value))


def _artifact(value: object, info: ValidationInfo) -> Path | None:
    if value is None or value == "":
        return None
    path = _folder(value, info)
    if not path.exists():
        raise wrong(f"找不到 {path}", f"there is no {path}")
    return path


def _optional_folder(value: object, info: ValidationInfo) -> Path | None:
    path = _artifact(value, info)
    if path is not None and not path.is_dir():
        raise wrong("应为目录", "must be a directory")
    return path


Count = Annotated[int, BeforeValidator(no_bool), Field(ge=1)]
Port = Annotated[int, BeforeValidator(no_bool), Field(ge=1, le=65535)]
Days = Annotated[int, BeforeValidator(no_bool), Field(ge=1, le=3650)]
Seconds = Annotated[float, BeforeValidator(no_bool), Field(gt=0, allow_inf_nan=False)]
Span = Annotated[float, BeforeValidator(no_bool), Field(ge=0, allow_inf_nan=False)]
"""Seconds or minutes, as the key says; 0 is none."""
Share = Annotated[float, BeforeValidator(no_bool), Field(gt=0, le=1)]
Percent = Annotated[float, BeforeValidator(no_bool), Field(gt=0, le=100)]
Text = Annotated[str, Field(min_length=1)]
Url = Annotated[str, AfterValidator(_url)]
RequiredUrl = Annotated[str, Field(min_length=1), AfterValidator(_url)]
UrlTemplate = Annotated[str, Field(min_length=1), AfterValidator(_url_template)]
SecretRef = Annotated[Secret, PlainValidator(_secret)]
OptionalSecretRef = Annotated[Secret, PlainValidator(_optional_secret)]
Folder = Annotated[Path, PlainValidator(_folder)]
Artifact = Annotated[Path | None, PlainValidator(_artifact)]
OptionalFolder = Annotated[Path | None, PlainValidator(_optional_folder)]
Network = Annotated[str, AfterValidator(_network)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]

"""The intake form of phase 1: what is asked, and how the answers are read.

All or nothing: every answer that is wrong is named at once, and nothing is kept until all are right.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from adapters.card import Card, Entry, Form, Input, Text
from adapters.port import Documents, ServerRow, UsageError
from adapters.words import File
from runbooks.case import Contact, Way
from runbooks.fit import unfit
from storage.records import TIER_NAMES, TIER_PRICES, Tier

ACTION = "onboard"

LOCATIONS = (("cloud", "云厂商"), ("own", "自建机房"), ("mixed", "混合"))
CHANNELS = (
    ("dingtalk", "钉钉"),
    ("feishu", "飞书"),
    ("wecom", "企微"),
    ("email", "邮件"),
    ("webhook", "Webhook"),
)
WAYS = (
    ("a", "A：客户服务器上部署"),
    ("b", "B：我方服务器托管"),
    ("c", "C：已有 VigilOps 实例"),
)
LONGEST_URL = 300
MOST = 50
"""Lines of a list: contacts, systems."""
CONTACT_HINT = "每行一位：姓名，职务，电话，邮箱（可选）"
_EMAIL = re.compile(r"[\w.+-]{1,64}@([a-z0-9-]{1,63}\.)+[a-z]{2,63}", re.ASCII | re.IGNORECASE)
_PHONE = re.compile(r"\+?[0-9][0-9 \-]{5,19}")
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


@dataclass(frozen=True, slots=True)
class Intake:
    """What the form said, all of it right."""

    company: str
    contacts: tuple[Contact, ...]
    servers: tuple[ServerRow, ...]
    tier: Tier
    location: str
    systems: tuple[str, ...]
    monitoring: str
    channels: tuple[str, ...]
    domain: str
    way: Way
    url: str = ""


def form(company: str = "") -> Card:
    """Return the card that asks for all that the SOP's phase 1 collects."""
    tiers = tuple((str(t), f"{TIER_NAMES[t]} ¥{TIER_PRICES[t]:,}/月") for t in Tier)
    inputs = (
        Input("company", "公司名称", value=company, hint="与合同一致", required=True),
        Input("contacts", "联系人", Entry.TEXT, hint=CONTACT_HINT, required=True),
        Input(
            "servers", "服务器清单", Entry.TEXT, hint="每行一台：名称 地址 端口 用户，或上传文件"
        ),
        Input("file", "服务器清单文件", Entry.FILE, hint="CSV 或 XLSX"),
        Input("location", "服务器位置", Entry.CHOICE, LOCATIONS, "cloud", required=True),
        Input("systems", "核心业务系统", Entry.TEXT, hint="每行一个"),
        Input("monitoring", "现有监控方案", hint="没有可不填"),
        Input("channels", "告警通知渠道", Entry.CHOICES, CHANNELS, required=True),
        Input("tier", "服务等级", Entry.CHOICE, tiers, str(Tier.BASIC), required=True),
        Input("domain", "访问域名", hint="例如 ops.example.com，没有可不填"),
        Input("way", "部署方式", Entry.CHOICE, WAYS, "b", required=True),
        Input("url", "已有实例地址", hint="仅方式 C：https://..."),
    )
    note = Text("密码不要写在群里：提交后会给出一次性链接或一行 SSH 公钥")
    return Card("客户接入登记", blocks=(note, Form(ACTION, inputs, "提交登记")))


def read(values: Mapping[str, str], files: Sequence[File], documents: Documents) -> Intake:
    """Return the answers, or raise one UsageError that names each wrong one, in Chinese."""
    wrong: list[str] = []
    company = _line(values, "company", "公司名称", wrong)
    contacts = _contacts(values.get("contacts", ""), wrong)
    servers = _servers(values, files, documents, wrong)
    way = _one("way", "部署方式", values, dict(WAYS), wrong)
    tier = _one("tier", "服务等级", values, {str(t): t for t in Tier}, wrong)
    location = _one("location", "服务器位置", values, dict(LOCATIONS), wrong)
    systems = _listed(values.get("systems", ""), "核心业务系统", wrong)
    monitoring = _optional(values, "monitoring", "现有监控方案", wrong)
    names = dict(CHANNELS)
    chosen = [c for c in values.get("channels", "").split(",") if c]
    if not chosen or any(c not in names for c in chosen):
        wrong.append("「告警通知渠道」请从钉钉、飞书、企微、邮件、Webhook 中至少选一个")
    domain = unicodedata.normalize("NFKC", values.get("domain", "")).strip().lower()
    if domain and not _DOMAIN.fullmatch(domain):
        wrong.append("「访问域名」不是域名：请写成 ops.example.com 的样子，不带 http:// 和路径")
    url = values.get("url", "").strip()
    if way == "c" and (unfit(url, LONGEST_URL) or not _is_url(url)):
        wrong.append("「已有实例地址」方式 C 必填：请写成 https://主机:端口 的样子")
    if wrong:
        raise UsageError("登记没有提交，请改正后再提交：\n" + "\n".join(wrong))
    return Intake(
        company,
        contacts,
        servers,
        Tier(tier),
        dict(LOCATIONS)[location],
        tuple(systems),
        monitoring,
        tuple(names[c] for c in chosen),
        domain,
        Way(way),
        url if way == "c" else "",
    )


def _line(values: Mapping[str, str], name: str, label: str, wrong: list[str]) -> str:
    text = values.get(name, "").strip()
    if not text:
        wrong.append(f"「{label}」必填")
    elif said := unfit(text):
        wrong.append(f"「{label}」{said}")
    return text


def _optional(values: Mapping[str, str], name: str, label: str, wrong: list[str]) -> str:
    text = values.get(name, "").strip()
    if said := unfit(text):
        wrong.append(f"「{label}」{said}")
    return text


def _listed(text: str, label: str, wrong: list[str]) -> list[str]:
    """Return the lines, or none when there are too many; each that is unfit is named."""
    lines = _lines(text)
    if len(lines) > MOST:
        wrong.append(f"「{label}」最多 {MOST} 行")
        return []
    for number, line in enumerate(lines, start=1):
        if said := unfit(line):
            wrong.append(f"「{label}」第 {number} 行{said}")
    return lines


def _contacts(text: str, wrong: list[str]) -> tuple[Contact, ...]:
    found: list[Contact] = []
    before = len(wrong)
    lines = _listed(text, "联系人", wrong)
    if len(wrong) > before:
        return ()
    for number, line in enumerate(lines, start=1):
        parts = [part.strip() for part in re.split(r"[,，、\t]", line)]
        match parts:
            case [name, phone] if name and _is_phone(phone):
                found.append(Contact(name, phone=_narrow(phone)))
            case [name, role, phone] if name and _is_phone(phone):
                found.append(Contact(name, role, _narrow(phone)))
            case [name, role, phone, email] if (
                name and _is_phone(phone) and _EMAIL.fullmatch(email)
            ):
                found.append(Contact(name, role, _narrow(phone), email))
            case _:
                wrong.append(f"「联系人」第 {number} 行请写成：姓名，职务，电话")
    if not found and not any("联系人" in each for each in wrong):
        wrong.append("「联系人」必填，至少一位")
    return tuple(found)


def _servers(
    values: Mapping[str, str], files: Sequence[File], documents: Documents, wrong: list[str]
) -> tuple[ServerRow, ...]:
    text = values.get("servers", "").strip()
    sources: list[File | str] = [*files, *([text] if text else [])]
    if len(sources) != 1:
        wrong.append("「服务器清单」请粘贴或上传一份文件，二选一")
        return ()
    try:
        return documents.read_servers(sources[0])
    except UsageError as error:
        wrong.append(f"「服务器清单」{error}")
        return ()


def _one(
    name: str, label: str, values: Mapping[str, str], known: Mapping[str, object], wrong: list[str]
) -> str:
    value = values.get(name, "")
    if value not in known:
        wrong.append(f"「{label}」请从列表中选一项")
    return value


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _narrow(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _is_phone(text: str) -> bool:
    return _PHONE.fullmatch(_narrow(text)) is not None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)

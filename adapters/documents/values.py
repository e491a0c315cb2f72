"""What each paper must be given, and how a value becomes text that is safe to print."""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from adapters.documents.terms import Promises, Terms, terms_of
from adapters.port import Permanent
from adapters.words import Secret

NONE = "—"
"""What is printed where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Need:
    """A value a paper shows. With `rows` it is a list of mappings; `blank` allows an empty one."""

    key: str
    label: str
    rows: tuple[Need, ...] = ()
    blank: bool = False


_COMPANY = Need("company", "公司名称")
_TIER = Need("tier", "服务等级")
_PROVIDER = Need("provider", "服务方名称")

SERVER_NEEDS = (
    Need("name", "名称"),
    Need("host", "地址"),
    Need("port", "端口"),
    Need("user", "用户"),
    Need("os", "操作系统", blank=True),
    Need("cpu", "CPU"),
    Need("memory_gb", "内存"),
    Need("disk_gb", "磁盘"),
    Need("location", "位置", blank=True),
    Need("bastion", "跳板机", blank=True),
)

NEEDS: Mapping[str, tuple[Need, ...]] = {
    "contract": (
        Need("number", "合同编号"),
        _COMPANY,
        Need("contact", "联系人"),
        Need("phone", "联系方式"),
        _PROVIDER,
        Need("provider_contact", "服务方联系人"),
        Need("provider_phone", "服务方联系方式"),
        _TIER,
        Need("server_count", "服务器数量"),
        Need("systems", "核心业务系统", blank=True),
        Need("start", "服务开始日期"),
        Need("term", "服务期限"),
        Need("signed_on", "签订日期"),
    ),
    "acceptance": (
        Need("number", "验收编号"),
        _COMPANY,
        _PROVIDER,
        _TIER,
        Need("url", "登录地址"),
        Need("at", "验收时间"),
        Need(
            "items",
            "验收检查单",
            rows=(
                Need("text", "检查项"),
                Need("result", "结果"),
                Need("evidence", "证据", blank=True),
                Need("at", "时间", blank=True),
            ),
        ),
        Need(
            "skipped",
            "跳过的项目",
            blank=True,
            rows=(
                Need("text", "检查项"),
                Need("reason", "原因"),
                Need("by", "决定人"),
            ),
        ),
        Need(
            "signatures",
            "签字",
            rows=(
                Need("role", "角色"),
                Need("name", "姓名"),
                Need("at", "时间"),
                Need("hash", "证据哈希"),
            ),
        ),
        Need("evidence_hash", "封存证据哈希"),
    ),
    "report-template": (_COMPANY, _PROVIDER, _TIER, Need("period", "报告周期", blank=True)),
    "manual": (
        _COMPANY,
        _PROVIDER,
        _TIER,
        Need("url", "登录地址"),
        Need("group", "服务群名称"),
        Need("commands", "常用命令", rows=(Need("name", "命令"), Need("use", "用途"))),
    ),
    "contacts": (
        _COMPANY,
        _PROVIDER,
        Need(
            "people",
            "联系人",
            rows=(
                Need("name", "姓名"),
                Need("role", "职责"),
                Need("phone", "电话"),
                Need("channel", "其他渠道", blank=True),
            ),
        ),
        Need(
            "escalation",
            "升级路径",
            rows=(Need("after", "时间"), Need("who", "联系谁"), Need("how", "方式")),
        ),
    ),
    "customer-sheet": (
        _COMPANY,
        Need(
            "contacts",
            "联系人",
            rows=(
                Need("name", "姓名"),
                Need("role", "职责", blank=True),
                Need("phone", "电话"),
                Need("email", "邮箱", blank=True),
            ),
        ),
        _TIER,
        Need("systems", "核心业务系统", blank=True),
        Need("monitoring", "现有监控方案", blank=True),
        Need("channels", "告警通知渠道"),
        Need("servers", "服务器", rows=SERVER_NEEDS),
    ),
    "server-template": (Need("servers", "服务器", rows=SERVER_NEEDS, blank=True),),
}

_OPTIONAL = frozenset({("server-template", "servers")})
_NOT_XML = re.compile("[\ufffe\uffff]")
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})


def plain(text: str) -> str:
    """Remove what XML cannot carry or what would move other text; keep line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    text = _NOT_XML.sub("", text)
    return "".join(
        letter for letter in text if letter == "\n" or unicodedata.category(letter) not in _CONTROL
    )


def prepared(template: str, values: Mapping[str, object]) -> dict[str, object]:
    """Check that everything is there and make it printable; raises Permanent naming the gaps."""
    if template not in NEEDS:
        raise Permanent(f"没有名为“{plain(template)}”的文档模板")
    missing: list[str] = []
    given = dict(values)
    for key in (key for name, key in _OPTIONAL if name == template):
        given.setdefault(key, ())
    ready = _filled(NEEDS[template], given, "", missing)
    if missing:
        raise Permanent(f"文档“{template}”缺少：" + "、".join(missing))
    return ready


def terms_in(values: Mapping[str, object], promises: Promises) -> Terms:
    """Find the terms of the tier that is named in `values`."""
    terms = terms_of(str(values["tier"]), promises)
    if terms is None:
        raise Permanent(f"没有名为“{values['tier']}”的服务等级（基础版或专业版）")
    return terms


def _filled(
    needs: Sequence[Need], values: Mapping[str, object], where: str, missing: list[str]
) -> dict[str, object]:
    ready: dict[str, object] = {}
    for need in needs:
        label = f"{where}{need.label}（{need.key}）"
        value = values.get(need.key)
        if value is None:
            missing.append(label)
        elif need.rows:
            rows = list(_rows(value, label))
            if not rows and not need.blank:
                missing.append(label)
            ready[need.key] = [
                _filled(need.rows, row, f"{need.label}第 {number} 行", missing)
                for number, row in enumerate(rows, 1)
            ]
        else:
            text = _text(value, label)
            if not text.strip() and not need.blank:
                missing.append(label)
            ready[need.key] = _number_or(value, text)
    return ready


def _rows(value: object, label: str) -> Sequence[Mapping[str, object]]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Permanent(f"{label}应为列表")
    return [_row(row, label) for row in value]


def _row(row: object, label: str) -> Mapping[str, object]:
    if isinstance(row, Mapping):
        return row
    if dataclasses.is_dataclass(row):
        return {each.name: getattr(row, each.name) for each in dataclasses.fields(row)}
    raise Permanent(f"{label}的每一行应为键值表")


def _number_or(value: object, text: str) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return text


def _text(value: object, label: str) -> str:
    if isinstance(value, Secret):
        raise Permanent(f"{label}是密钥，不得写入文档")
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Sequence | frozenset) and not isinstance(value, str | bytes):
        return "、".join(_text(each, label) for each in value)
    return plain(str(value))


def shown(value: object) -> str:
    """Print a prepared value in a document."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) or NONE

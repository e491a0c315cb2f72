"""A procedure as a value: what comes next, how it is drawn, and the tiers' rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from adapters.card import Card, plain
from adapters.port import UsageError
from adapters.words import Person, Role
from runbooks.book import Gate, Phase, Runbook, Step, checklist, failures, printed, progress
from runbooks.kit import Errand
from runbooks.rules import RULES, Action, rules_of
from storage.records import HostLine, Line, LineState, Run, RunStatus, Tier

NOW = datetime(2026, 11, 25, tzinfo=UTC)
LI = Person("webchat", "li", "李工")


@dataclass(frozen=True, slots=True)
class Case:
    pro: bool = False


async def nothing(case: Case, errand: Errand) -> tuple[Case, str]:
    return case, "ok"


def is_pro(case: Case) -> bool:
    return case.pro


BOOK: Runbook[Case] = Runbook(
    "sample",
    "样例",
    Case,
    (
        Phase("签约", "Day 0"),
        Step("draft", "生成服务合同", nothing),
        Gate("signed", "确认合同已签", Role.LEAD, timedelta(days=7)),
        Phase("验收交付", "Day 3"),
        Step("analysis", "AI 分析功能正常", nothing, when=is_pro),
        Step("report", "生成验收报告", nothing),
    ),
)


def test_a_line_that_does_not_concern_the_case_is_passed_over() -> None:
    def walked(case: Case) -> list[str]:
        keys, line = [], BOOK.after("", case)
        while line:
            keys.append(line.key)
            line = BOOK.after(line.key, case)
        return keys

    assert walked(Case()) == ["draft", "signed", "report"]
    assert walked(Case(pro=True)) == ["draft", "signed", "analysis", "report"]


def test_a_line_that_the_book_has_lost_is_a_question_not_a_crash() -> None:
    with pytest.raises(UsageError, match="已没有「gone」"):
        BOOK.after("gone", Case())


def test_two_lines_may_not_share_a_key() -> None:
    step = Step("a", "甲", nothing)
    with pytest.raises(ValueError, match="one key"):
        Runbook("twice", "重复", Case, (Phase("一"), step, step))


def test_the_book_is_drawn_as_it_stands() -> None:
    lines = {
        "draft": Line("r", "draft", LineState.DONE, NOW, NOW, proof="HT-1.docx"),
        "signed": Line("r", "signed", LineState.WAITING, NOW),
    }
    run = Run("r", "sample", 1, "signed", RunStatus.WAITING, 1, "{}", LI, NOW, NOW)
    card = Card("样例", blocks=(progress(BOOK, Case(), run, lines), checklist(BOOK, Case(), lines)))
    assert plain(card) == (
        "【样例】\n"
        "███░░░░░░░ 1/3 确认合同已签\n"
        "⏳ 签约（Day 0）\n"
        "  ✅ 生成服务合同（HT-1.docx）\n"
        "  ⏳ 确认合同已签\n"
        "⬜ 验收交付（Day 3）\n"
        "  ⬜ 生成验收报告"
    )


def test_the_book_is_printed_with_every_line() -> None:
    text = printed(BOOK)
    assert "## 签约（Day 0）" in text
    assert "| 确认合同已签 | 人工确认 | `signed` |" in text
    assert all(line.title in text for line in BOOK.lines)


def test_hosts_that_failed_alike_are_one_group() -> None:
    def failed(name: str, fault: str) -> tuple[str, HostLine]:
        return name, HostLine("r", "probe", name, LineState.FAILED, NOW, f"{fault}！", fault)

    hosts = dict([failed("a", "sudo"), failed("b", "network"), failed("c", "network")])
    hosts["d"] = HostLine("r", "probe", "d", LineState.DONE, NOW)
    assert [(g.fault, g.hosts) for g in failures(hosts)] == [
        ("network", ("b", "c")),
        ("sudo", ("a",)),
    ]


def test_both_tables_of_the_sop_are_there() -> None:
    assert [(r.title, r.threshold, r.action) for r in rules_of(Tier.BASIC)] == [
        ("CPU > 90%", "持续 5 分钟", Action.NOTIFY),
        ("内存 > 85%", "持续 5 分钟", Action.NOTIFY),
        ("磁盘 > 90%", "立即", Action.NOTIFY),
        ("服务宕机", "立即", Action.NOTIFY),
    ]
    assert rules_of(Tier.PRO) == RULES
    assert len(RULES) == 11

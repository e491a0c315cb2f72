"""The checklist held against what was proved, and the hash that is signed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from adapters.port import MonitoredHost
from adapters.words import Person
from runbooks import evidence as proofs
from runbooks.case import Contact, Onboarding
from runbooks.evidence import Evidence, Figure, Reading, Result
from runbooks.kit import CHINA
from runbooks.steps.acceptance import data_figure
from storage.records import Line, LineState, Tier

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
GOOD = {key: Figure(True, f"{key} 好") for key in ("data", "dashboard", "rules", "channel")}
CASE = Onboarding(1, "海蓝", (Contact("王经理"),), ("web-01",), Tier.PRO, url="http://m")


def done(key: str) -> Line:
    return Line("r1", key, LineState.DONE, NOW, NOW, proof=f"{key} 的证据")


LINES = {key: done(key) for key in ("simulate", "test-received", "ai", "remediation", "training")}


def drawn(
    case: Onboarding = CASE,
    lines: dict[str, Line] = LINES,
    figures: dict[str, Figure] = GOOD,
) -> Evidence:
    return proofs.drawn_up("r1", case, lines, Reading(NOW, "http://m", figures, CHINA))


def test_every_item_of_the_sops_acceptance_is_in_the_checklist() -> None:
    sop = yaml.safe_load((Path(__file__).parents[1] / "golden" / "sop.yaml").read_text("utf-8"))
    wanted = {key for key in sop["items"] if key.startswith("accept-")}
    assert {check.key for check in proofs.CHECKS} == wanted


def test_every_item_has_its_result_figure_time_and_link() -> None:
    found = drawn()
    assert [item.result for item in found.items] == [Result.PASSED] * 7
    assert proofs.gaps(found) == ()
    data, ai = found.items[0], found.items[4]
    assert (data.evidence, data.link, data.at) == (
        "data 好",
        "http://m",
        "2026-11-25T11:00:00+08:00",
    )
    assert (ai.evidence, ai.link) == ("ai 的证据", "")


def test_the_basic_tier_has_neither_ai_nor_remediation() -> None:
    keys = {item.key for item in drawn(replace(CASE, tier=Tier.BASIC)).items}
    assert len(keys) == 5
    assert not keys & {"accept-ai", "accept-remediation"}


def test_what_nothing_proves_is_a_gap_that_names_the_line() -> None:
    lines = {key: line for key, line in LINES.items() if key != "training"}
    (gap,) = proofs.gaps(drawn(lines=lines))
    assert (gap.key, gap.evidence) == ("accept-training", "「客户管理员已培训」没有完成")
    bad = {**GOOD, "data": Figure(False, "2/3 台")}
    (gap,) = proofs.gaps(drawn(figures=bad))
    assert (gap.key, gap.evidence) == ("accept-data", "2/3 台")


def test_what_was_skipped_is_no_gap_and_its_reason_is_shown() -> None:
    zhao = Person("web", "zhao", "赵主管")
    skip = Line("r1", "ai", LineState.SKIPPED, NOW, NOW, note="客户没有密钥", by=zhao)
    found = drawn(lines={**LINES, "ai": skip})
    assert found.items[4].result is Result.SKIPPED
    assert found.items[4].evidence == "跳过：客户没有密钥"
    assert [(s.title, s.reason, s.by) for s in found.skipped] == [
        ("AI 分析测试", "客户没有密钥", "赵主管")
    ]
    assert proofs.gaps(found) == ()


def test_the_hash_is_of_the_canonical_text_and_anybody_can_compute_it() -> None:
    text = proofs.canonical(drawn())
    assert proofs.digest(text) == hashlib.sha256(text.encode("utf-8")).hexdigest()
    assert proofs.read(text) == drawn()
    assert (
        json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        == text
    )


def test_the_hash_does_not_depend_on_the_order_of_the_lines() -> None:
    skips = {key: Line("r1", key, LineState.SKIPPED, NOW, NOW, note=key) for key in ("ai", "probe")}
    lines = LINES | skips
    backwards = dict(reversed(lines.items()))
    assert proofs.canonical(drawn(lines=backwards)) == proofs.canonical(drawn(lines=lines))


def test_a_new_round_and_any_other_fact_have_another_hash() -> None:
    texts = {
        proofs.canonical(drawn()),
        proofs.canonical(drawn(replace(CASE, round=2))),
        proofs.canonical(drawn(figures={**GOOD, "data": Figure(True, "别的")})),
    }
    assert len({proofs.digest(text) for text in texts}) == 3


def host(name: str, *, online: bool = True, cpu: float | None = 1.0) -> MonitoredHost:
    return MonitoredHost(1, name, online, NOW, cpu, 40.0, 50.0)


def test_a_server_counts_by_its_exact_name_with_all_three_figures() -> None:
    hosts = [host("web-01"), host("web-010"), host("web-02", cpu=None), host("db", online=False)]
    assert data_figure(["web-01"], hosts) == Figure(
        True, "1/1 台在线且数据新鲜；web-01 CPU 1.0% 内存 40.0% 磁盘 50.0%"
    )
    for name in ("web-02", "db", "web-0", "web"):
        found = data_figure(["web-01", name], hosts)
        assert not found.ok
        assert found.text.endswith(f"没有新鲜数据：{name}")
    assert not data_figure([], hosts).ok

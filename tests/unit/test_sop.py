"""Nothing of the customer's SOP is forgotten: the hand-written list is held against the tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from adapters.card import Form
from runbooks.book import printed
from runbooks.duties import CURES, DUTIES
from runbooks.evidence import TITLES
from runbooks.intake import form
from runbooks.onboarding import ONBOARDING
from runbooks.rules import RULES
from storage.records import TIER_NAMES

SOP = yaml.safe_load(Path("tests/golden/sop.yaml").read_text(encoding="utf-8"))
ASKED = {
    "intake-company": {"company", "contacts"},
    "intake-servers": {"servers", "file"},
    "intake-location": {"location"},
    "intake-systems": {"systems"},
    "intake-monitoring": {"monitoring"},
    "intake-channels": {"channels"},
    "intake-tier": {"tier"},
}
"""What the intake form answers for."""


def test_every_item_command_and_output_has_a_line() -> None:
    answered = {key for line in ONBOARDING.lines for key in line.sop} | ASKED.keys()
    wanted = SOP["items"].keys() | SOP["commands"].keys() | SOP["outputs"].keys()
    assert len(SOP["items"]) == 24
    assert answered == wanted


def test_the_intake_form_asks_for_each_of_its_items() -> None:
    inputs = {i.name for block in form().blocks if isinstance(block, Form) for i in block.inputs}
    assert set().union(*ASKED.values()) <= inputs


def test_the_rules_are_the_sops_rules() -> None:
    ours = [
        [TIER_NAMES[rule.tier].removeprefix("托管"), rule.title, rule.threshold, str(rule.action)]
        for rule in RULES
    ]
    assert ours == SOP["rules"]


def test_every_duty_and_every_cure_is_known() -> None:
    assert {duty.key for duty in DUTIES} == SOP["duties"].keys()
    assert CURES.keys() == SOP["cures"].keys()


def test_the_phases_are_the_sops_phases() -> None:
    assert [phase.title for phase, _ in ONBOARDING.phases()] == [
        "签约",
        "环境评估与部署",
        "Agent 安装",
        "告警配置",
        "验收交付",
    ]


def test_the_documentation_is_printed_from_the_table() -> None:
    """Print it anew with: vigilbot sop > docs/sop.md."""
    assert Path("docs/sop.md").read_text(encoding="utf-8") == printed(ONBOARDING)


@pytest.mark.parametrize("key", ["probe", "agent", "sign", "rules"])
def test_the_keys_that_others_rely_on_are_there(key: str) -> None:
    assert ONBOARDING.line(key).key == key


def test_every_line_has_its_name_in_the_evidence() -> None:
    assert {line.key: line.title for line in ONBOARDING.lines} == TITLES

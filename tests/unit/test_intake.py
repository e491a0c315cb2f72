"""The intake form: everything the SOP asks, and every wrong answer named at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.card import Form
from adapters.documents import OfficeDocuments
from adapters.port import UsageError
from adapters.words import File
from runbooks.case import Contact, Way
from runbooks.intake import form, read
from storage.records import Tier

GOOD = {
    "company": "海蓝科技（北京）有限公司",
    "contacts": "王经理，IT 主管，１３８００００００００，wang@hailan.com\n赵总，13900000000",
    "servers": "web-01 10.0.0.1 22 root\ndb-01 10.0.0.2 2222 ops",
    "location": "mixed",
    "systems": "ERP\n官网",
    "monitoring": "Zabbix",
    "channels": "feishu,email",
    "tier": "pro",
    "domain": "ops.hailan.com",
    "way": "b",
}


def test_a_good_form_is_read_whole() -> None:
    intake = read(GOOD, (), OfficeDocuments())
    assert intake.company == "海蓝科技（北京）有限公司"
    assert intake.contacts == (
        Contact("王经理", "IT 主管", "13800000000", "wang@hailan.com"),
        Contact("赵总", phone="13900000000"),
    )
    assert [(s.name, s.host, s.port, s.user) for s in intake.servers] == [
        ("web-01", "10.0.0.1", 22, "root"),
        ("db-01", "10.0.0.2", 2222, "ops"),
    ]
    assert (intake.tier, intake.location, intake.way) == (Tier.PRO, "混合", Way.MANAGED)
    assert (intake.channels, intake.systems) == (("飞书", "邮件"), ("ERP", "官网"))


def test_every_wrong_answer_is_named_at_once() -> None:
    bad = {
        "company": "海蓝\u202e",
        "contacts": "王经理",
        "servers": "web-01 10.0.0.1 99999 root",
        "channels": "pigeon",
        "tier": "gold",
        "domain": "http://x",
        "way": "c",
    }
    with pytest.raises(UsageError) as caught:
        read(bad, (), OfficeDocuments())
    said = str(caught.value)
    for label in (
        "公司名称",
        "联系人",
        "服务器清单",
        "告警通知渠道",
        "服务等级",
        "服务器位置",
        "访问域名",
        "已有实例地址",
    ):
        assert f"「{label}」" in said


def test_a_list_is_pasted_or_uploaded_and_not_both() -> None:
    file = File("servers.csv", "名称,地址\nweb-01,10.0.0.1\n".encode())
    with pytest.raises(UsageError, match="二选一"):
        read(GOOD, (file,), OfficeDocuments())
    assert len(read({**GOOD, "servers": ""}, (file,), OfficeDocuments()).servers) == 1


def test_the_form_asks_for_all_that_the_sop_collects() -> None:
    (asked,) = [block for block in form("海蓝").blocks if isinstance(block, Form)]
    assert {i.name for i in asked.inputs} >= set(GOOD)
    assert next(i for i in asked.inputs if i.name == "company").value == "海蓝"
    labels = {label for i in asked.inputs for _, label in i.options}
    assert {"托管基础版 ¥699/月", "托管专业版 ¥1,599/月", "钉钉", "自建机房"} <= labels


@given(st.dictionaries(st.sampled_from(sorted({*GOOD, "url"})), st.text()))
def test_no_form_can_do_more_than_be_refused(values: dict[str, str]) -> None:
    said = "登记没有提交"
    try:
        read({**GOOD, **values}, (), OfficeDocuments())
    except UsageError as error:
        said = str(error)
    assert said.startswith("登记没有提交")

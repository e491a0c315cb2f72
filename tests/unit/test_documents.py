"""Papers that are written are read back; lists of servers come in whole or not at all."""

from __future__ import annotations

import copy
import io
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import docx
import openpyxl
import pytest
from docx.oxml.ns import qn
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.documents import MAX_ROWS, NEEDS, OfficeDocuments, read_servers
from adapters.documents.office import write
from adapters.port import Documents, Paper, Permanent, ServerRow, UsageError
from adapters.words import File, Secret

SERVERS = (
    ServerRow("web-01", "10.0.0.11", 22, "root", "Ubuntu 22.04", 4, 16, 200, "阿里云 华东1"),
    ServerRow("db-01", "db.internal", 2222, "ops", bastion="jump@10.0.0.1:22"),
)

VALUES: Mapping[str, Mapping[str, Any]] = {
    "contract": {
        "number": "VB-2026-001",
        "company": "甲乙丙 <科技> & 朋友",
        "contact": "王小明",
        "phone": "13800000000",
        "provider": "守望运维",
        "provider_contact": "李工",
        "provider_phone": "400-000-0000",
        "tier": "pro",
        "server_count": 2,
        "systems": ["商城", "ERP"],
        "start": "2026-12-01",
        "term": "12 个月",
        "signed_on": datetime(2026, 11, 25, 9, 30, tzinfo=UTC),
    },
    "acceptance": {
        "number": "run-7",
        "company": "甲公司",
        "provider": "守望运维",
        "tier": "basic",
        "url": "https://a.example",
        "at": "2026-11-25 10:00",
        "items": [
            {"text": "Dashboard 展示正确", "result": "通过", "evidence": "2/2 在线", "at": "10:01"}
        ],
        "skipped": [{"text": "自动修复测试", "reason": "基础版不含", "by": "李工"}],
        "signatures": [
            {"role": "客户", "name": "王小明", "at": "2026-11-25 10:05", "hash": "abc123"}
        ],
        "evidence_hash": "abc123",
    },
    "report-template": {"company": "甲公司", "provider": "守望", "tier": "basic", "period": ""},
    "manual": {
        "company": "甲公司",
        "provider": "守望",
        "tier": "托管专业版",
        "url": "https://a.example",
        "group": "甲公司 × 守望",
        "commands": [{"name": "/状态", "use": "查看服务器"}],
    },
    "contacts": {
        "company": "甲公司",
        "provider": "守望",
        "people": [{"name": "李工", "role": "值班", "phone": "400", "channel": ""}],
        "escalation": [{"after": "15 分钟", "who": "负责人", "how": "电话"}],
    },
    "customer-sheet": {
        "company": "=1+1",
        "contacts": [{"name": "王小明", "role": "", "phone": "138", "email": "a@b.example"}],
        "tier": "pro",
        "systems": ["商城"],
        "monitoring": "",
        "channels": ["飞书", "邮件"],
        "servers": SERVERS,
    },
    "server-template": {},
}


def paper(template: str, **changes: object) -> Paper:
    return Paper(template, template, {**VALUES[template], **changes})


def text_of(file: File) -> str:
    document = docx.Document(io.BytesIO(file.content))
    lines = [paragraph.text for paragraph in document.paragraphs]
    for table in document.tables:
        lines += [cell.text for row in table.rows for cell in row.cells]
    return "\n".join(lines)


def book_of(file: File) -> Any:
    return openpyxl.load_workbook(io.BytesIO(file.content))


def workbook(*rows: tuple[object, ...]) -> File:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    buffer = io.BytesIO()
    book.save(buffer)
    return File("servers.xlsx", buffer.getvalue())


def complaint(source: File | str) -> str:
    with pytest.raises(UsageError) as caught:
        read_servers(source)
    return str(caught.value)


# -- papers ---------------------------------------------------------------------------------------


async def test_it_is_the_port() -> None:
    """The class stands behind the port."""
    documents: Documents = OfficeDocuments()
    file = await documents.write(paper("contract"))
    assert file.name == "contract.docx"
    assert documents.read_servers("a 10.0.0.1") == (ServerRow("a", "10.0.0.1"),)


def test_every_template_has_a_story_here() -> None:
    """No template goes untested."""
    assert set(VALUES) == set(NEEDS)


def test_a_contract_says_what_the_tier_promises() -> None:
    """Names survive XML; the SOP's rules and the price are in it."""
    text = text_of(write(paper("contract")))
    for part in (
        "甲乙丙 <科技> & 朋友",
        "¥1,599/月",
        "托管专业版",
        "商城、ERP",
        "容量预测",
        "15 分钟",
        "99.9%",
        "2026-11-25 09:30+00:00",
        "每月：运维报告 + 容量评估",
        "签字",
    ):
        assert part in text
    basic = text_of(write(paper("contract", tier="托管基础版")))
    assert "¥699/月" in basic
    assert "容量预测" not in basic.split("SLA")[0]
    assert "慢查询" not in basic


def test_chinese_is_set_in_a_chinese_font() -> None:
    """Word must not guess the font of Chinese text."""
    document = docx.Document(io.BytesIO(write(paper("contract")).content))
    for style, font in (("Normal", "宋体"), ("Heading 1", "黑体"), ("Title", "黑体")):
        fonts = document.styles[style].element.rPr.rFonts
        assert fonts.get(qn("w:eastAsia")) == font
        assert fonts.get(qn("w:eastAsiaTheme")) is None


def test_an_acceptance_report_shows_evidence_signatures_and_what_was_skipped() -> None:
    """Whoever reads it sees who signed what, and why a line is missing."""
    text = text_of(write(paper("acceptance")))
    for part in ("2/2 在线", "基础版不含", "王小明", "2026-11-25 10:05", "abc123"):
        assert part in text
    assert "没有跳过的项目" not in text
    assert "没有跳过的项目" in text_of(write(paper("acceptance", skipped=[])))


@pytest.mark.parametrize("template", ["report-template", "manual", "contacts"])
def test_what_is_handed_over_is_filled_in(template: str) -> None:
    """Nothing of the template language is left, and an empty value shows as a dash."""
    text = text_of(write(paper(template)))
    assert "甲公司" in text
    assert "{" not in text
    assert ("—" in text) == (template != "manual")


def _gaps() -> Iterator[tuple[str, str]]:
    for template, needs in NEEDS.items():
        for need in needs:
            if template != "server-template":
                yield template, need.key


@pytest.mark.parametrize(("template", "key"), list(_gaps()))
@pytest.mark.parametrize("gone", [True, False])
def test_a_missing_value_is_named(template: str, key: str, *, gone: bool) -> None:
    """Absent or None: the engineer reads which value it was."""
    values = {**VALUES[template], key: None}
    if gone:
        del values[key]
    with pytest.raises(Permanent, match=key):
        write(Paper(template, "x", values))


def test_a_gap_inside_a_row_is_named_with_its_row() -> None:
    """Rows are checked like everything else."""
    values = copy.deepcopy(dict(VALUES["contacts"]))
    values["people"].append({"name": "张工", "role": "值班", "phone": " ", "channel": ""})
    with pytest.raises(Permanent, match="联系人第 2 行电话"):
        write(Paper("contacts", "x", values))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (paper("contract", tier="企业包"), "服务等级"),
        (Paper("poem", "x"), "poem"),
        (paper("contract", company=Secret("hunter2")), "密钥"),
        (paper("contacts", people="李工"), "列表"),
        (paper("contacts", people=["李工"]), "键值表"),
    ],
)
def test_a_wrong_value_is_refused(wrong: Paper, what: str) -> None:
    """A secret is never printed, an unknown tier is not guessed."""
    with pytest.raises(Permanent, match=what) as caught:
        write(wrong)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("验收报告", "验收报告.docx"),
        ("验收报告.docx", "验收报告.docx"),
        ("../../etc/a\x00b", "ab.docx"),
        ("c:\\x\\合同", "合同.docx"),
        ("", "文档.docx"),
    ],
)
def test_a_file_name_is_only_a_name(name: str, expected: str) -> None:
    """No path and no control character, always the right suffix."""
    assert write(Paper("contacts", name, VALUES["contacts"])).name == expected


@settings(deadline=None)  # a loaded machine is slow, not wrong
@given(st.text(max_size=60))
def test_any_company_name_makes_a_readable_document(name: str) -> None:
    """Whatever is typed, Word can open it and no template code in it runs."""
    company = f"甲{name}{{{{ 7 * 191 }}}}"
    text = text_of(write(paper("contacts", company=company)))
    assert "1337" not in text.replace(name, "")
    assert "7 * 191" in text


def test_a_customer_sheet_holds_no_formula_and_no_password() -> None:
    """A company called =1+1 is a text; a server's password stays out."""
    servers = [ServerRow("=cmd", "10.0.0.1", password=Secret("hunter2"))]
    file = write(paper("customer-sheet", servers=servers))
    book = book_of(file)
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    values = [cell.value for cell in cells]
    for value in ("=1+1", "=cmd", "托管专业版 ¥1,599/月", "飞书、邮件", "a@b.example"):
        assert value in values
    for part in zipfile.ZipFile(io.BytesIO(file.content)).infolist():
        content = zipfile.ZipFile(io.BytesIO(file.content)).read(part)
        assert b"<f>" not in content
        assert b"hunter2" not in content
    assert file.name == "customer-sheet.xlsx"


def test_the_sheet_to_fill_in_explains_itself() -> None:
    """Titles, hints and checks are there, and an empty one is sent back with a word."""
    file = write(paper("server-template"))
    sheet = book_of(file)["服务器"]
    assert [cell.value for cell in sheet[1]][:3] == ["名称*", "地址*", "端口"]
    assert "22" in sheet["C1"].comment.text
    assert {str(check.sqref) for check in sheet.data_validations.dataValidation} >= {"C2:C2001"}
    assert "没有读到" in complaint(file)


@pytest.mark.parametrize("template", ["server-template", "customer-sheet"])
def test_what_we_write_we_can_read(template: str) -> None:
    """Both sheets come back as the same rows."""
    assert read_servers(write(paper(template, servers=SERVERS))) == SERVERS


WORD = st.from_regex(
    r"[A-Za-z0-9\u4e00-\u9fa5=+@-][A-Za-z0-9\u4e00-\u9fa5 .=-]{0,20}", fullmatch=True
)
ROWS = st.lists(
    st.builds(
        ServerRow,
        name=WORD.map(str.strip),
        host=st.ip_addresses().map(str)
        | st.from_regex(r"[a-z][a-z0-9]{0,9}(\.[a-z]{2,5})?", fullmatch=True),
        port=st.integers(1, 65535),
        user=st.from_regex(r"[a-z_][a-z0-9_-]{0,10}", fullmatch=True),
        os=WORD.map(str.strip) | st.just(""),
        cpu=st.integers(0, 512),
        memory_gb=st.integers(0, 4096) | st.just(1.5),
        disk_gb=st.integers(0, 99999),
        location=WORD.map(str.strip) | st.just(""),
        bastion=st.sampled_from(["", "ops@10.9.9.9:22", "a@[::1]:2200"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=(lambda row: row.name.casefold(), lambda row: (row.host, row.port)),
)


@settings(deadline=None)
@given(ROWS)
def test_rows_survive_the_sheet(rows: list[ServerRow]) -> None:
    """Property: whatever is a valid row, the sheet gives it back."""
    assert read_servers(write(paper("server-template", servers=rows))) == tuple(rows)


# -- lists of servers -----------------------------------------------------------------------------

CSV = "名称,地址,端口,用户,操作系统,CPU,内存,磁盘,密码\nweb-01,10.0.0.11,22,root,Ubuntu,4,16,200,p@ss\n"
WEB = ServerRow("web-01", "10.0.0.11", 22, "root", "Ubuntu", 4, 16, 200, password=Secret("p@ss"))


@pytest.mark.parametrize(
    "source",
    [
        File("a.csv", CSV.encode()),
        File("a.csv", CSV.encode("utf-8-sig")),
        File("a.CSV", CSV.encode("gbk")),
        File("a.txt", CSV.replace(",", "\t").encode("utf-16")),
        File("a.csv", CSV.replace(",", ";").encode()),
        CSV,
        CSV.replace(",", "\t"),
        CSV.replace(",", "，"),
        CSV.replace(",", "  "),
        "\n\n" + CSV.replace("\n", "\r\n"),
        CSV.replace("10.0.0.11,22,root", "root@10.0.0.11:22,,"),
        CSV.replace("10.0.0.11,22", "１０．０．０．１１,２２"),
        CSV.replace("4,16,200", "4核,16GB,200 G"),
        CSV.replace("名称,地址,端口", "Name,IP Address,SSH_Port（可选）"),
        CSV.replace("名称", "序号,* 名称").replace("web", "1,web"),
        workbook(*(tuple(line.split(",")) for line in CSV.splitlines())),
        workbook(
            ("名称", "地址", "端口", "用户", "操作系统", "CPU", "内存", "磁盘", "密码"),
            (None,),
            ("web-01", "10.0.0.11", 22, "root", "Ubuntu", 4.0, 16, 200, "p@ss"),
        ),
    ],
    ids=range(17),
)
def test_one_server_in_many_spellings(source: File | str) -> None:
    """However people send it, it is the same server."""
    assert read_servers(source) == (WEB,)


def test_a_list_needs_no_header() -> None:
    """The order of the template is understood without its titles."""
    pasted = "web-01 ops@10.0.0.11:2222\ndb-01　10.0.0.12　22　root"
    assert read_servers(pasted) == (
        ServerRow("web-01", "10.0.0.11", 2222, "ops"),
        ServerRow("db-01", "10.0.0.12"),
    )
    assert read_servers("six,[2001:db8::1]:2022\nsix2,2001:db8::2")[0].port == 2022


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a,10.0.0.1,70000", "第 2 行「端口」"),
        ("a,10.0.0.1,0", "第 2 行「端口」"),
        ("a,10.0.0.1,ssh", "第 2 行「端口」"),
        (",10.0.0.1,22", "第 2 行「名称」：不能为空"),
        ("a,,22", "第 2 行「地址」：不能为空"),
        ("a", "第 2 行「地址」：不能为空"),
        ("a,10.0.0.300", "第 2 行「地址」"),
        ("a,-oProxyCommand=x", "第 2 行「地址」"),
        ("a,10.0.0.1:99999", "第 2 行「地址」：应为 1–65535"),
        ("a,10.0.0.1:23,22", "第 2 行「端口」：与"),
        ("a,ops@10.0.0.1,22,root", "第 2 行「用户」：与"),
        ("a,10.0.0.1,22,ro ot", "第 2 行「用户」"),
        ("a,10.0.0.1,22,root,many", "第 2 行「CPU」"),
        ("a,10.0.0.1,22,root,4,lots", "第 2 行「内存」"),
        ("a,10.0.0.1,22,root,4,1,1e99", "第 2 行「磁盘」"),
        ("a,10.0.0.1,22,root,4,1,1,a:b:c", "第 2 行「跳板机」"),
        ("a\x07,10.0.0.1", "第 2 行「名称」：含有"),
        ('"a\nb",10.0.0.1', "第 2 行「名称」：含有"),
        ("a\u202eb,10.0.0.1", "第 2 行「名称」：含有"),
        ("a" * 65 + ",10.0.0.1", "第 2 行「名称」：太长"),
        ("a,10.0.0.1\nA,10.0.0.2", "第 3 行「名称」：与第 2 行重复"),
        ("a,10.0.0.1\n\nb,10.0.0.1:22", "第 4 行「地址」：地址和端口与第 2 行重复"),
        ("a,10.0.0.1,22,root,4,1,1,,extra", "第 2 行「第 9 列」"),
        ('a,"10.0.0.1', "引号"),
        ("", "没有读到"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(row: str, expected: str) -> None:
    """The person sees where to look."""
    text = "名称,地址,端口,用户,CPU,内存,磁盘,跳板机\n" + row
    assert expected in complaint(text)
    assert expected in complaint(File("list.csv", text.encode()))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "没有读到"),
        (" \n ,,, \n", "没有读到"),
        (File("a.png", b"\x89PNG\r\n\x1a\n\0\0"), "不是可以识别的表格"),
        (File("a.pdf", b"%PDF-1.7"), "不是可以识别的表格"),
        (File("a.csv", b"a,b\0c"), "不是可以识别的表格"),
        (File("a.csv", b"\xff\xff\xff,\x81"), "不是可以识别的表格"),
        (File("a.xlsx", b"PK\x03\x04 not a zip"), "不是可以识别的表格"),
        (File("a.xls", b"\xd0\xcf\x11\xe0"), "旧版"),
        (File("a.csv", b"a" * 5_000_001), "5 MB"),
        ("a" * 5_000_001, "5 MB"),
        ("名称,端口\na,22", "缺少这一列"),
        ("名称,地址,天气\na,b,c", "第 1 行「第 3 列」：不认识的列名"),
        ("名称,地址,IP\na,b,c", "「地址」：这一列出现了两次"),
        ("\n".join(f"s{n} 10.1.{n // 250}.{n % 250}" for n in range(MAX_ROWS + 1)), "2000"),
    ],
    ids=range(14),
)
def test_what_is_no_list_is_refused(source: File | str, expected: str) -> None:
    """A wrong file is answered with what to do instead."""
    assert expected in complaint(source)


def test_two_thousand_servers_are_read() -> None:
    """The limit itself is allowed, with a header above it."""
    lines = "\n".join(f"s{n},10.1.{n // 250}.{n % 250}" for n in range(MAX_ROWS))
    assert len(read_servers("名称,地址\n" + lines)) == MAX_ROWS


def test_many_errors_are_counted_and_twenty_are_shown() -> None:
    """A card has room for twenty."""
    text = complaint("\n".join(f"s{n} 10.0.0.{n} x" for n in range(30)))
    assert "30 处" in text
    assert text.count("「端口」") == 20
    assert "另有 10 处" in text


def test_a_password_is_in_no_error_and_in_no_repr() -> None:
    """Even when the row is shifted, nothing of a cell is shown."""
    shifted = "名称,地址,端口,用户,密码\nweb,10.0.0.1,hunter2 x,hunter2 y,hunter2\x07"
    assert "hunter2" not in complaint(shifted)
    rows = read_servers("名称,地址,密码,sudo密码\na,10.0.0.1,hunter２,hunter3")
    assert "hunter" not in repr(rows)
    assert rows[0].password.reveal() == "hunter２"
    assert rows[0].sudo_password.reveal() == "hunter3"


def _archive(**parts: bytes) -> File:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"{name}.xml", content)
    return File("a.xlsx", buffer.getvalue())


def test_a_zip_bomb_is_not_unpacked() -> None:
    """Small outside, huge inside: refused before anything is read."""
    assert "解压后过大" in complaint(_archive(sheet=b"0" * 40_000_000))
    assert "解压后过大" in complaint(_archive(**{f"p{n}": b"" for n in range(600)}))
    assert "不是可以识别的表格" in complaint(_archive(sheet=b"<!DOCTYPE x []><x/>"))


@settings(deadline=None)
@given(st.text(max_size=200) | st.text(alphabet='ab1.@:,\t \n"，名称地址22', max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Property: no input makes another error, and what is read is complete."""
    try:
        rows = read_servers(text)
    except UsageError:
        return
    assert rows
    assert all(row.name and row.host and 1 <= row.port <= 65535 for row in rows)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.xlsx", "a", "a.txt"]))
def test_any_file_is_read_or_refused(content: bytes, name: str) -> None:
    """Property: no bytes make another error."""
    for start in (b"", b"PK\x03\x04"):
        try:
            assert read_servers(File(name, start + content))
        except UsageError:
            continue

"""The Word templates, built once by code: docxtpl fills in what is between the braces."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import docx
from docx.document import Document
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml.ns import qn
from docx.shared import Cm, Pt
from docx.styles.style import ParagraphStyle

_BODY = ("Times New Roman", "宋体")
_HEADING = ("Arial", "黑体")


@cache
def template(name: str) -> bytes:
    """Build the template of that name; KeyError when there is none."""
    document = docx.Document()
    _set_fonts(document)
    _BUILDERS[name](document)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _set_fonts(document: Document) -> None:
    for name, (latin, asian), size in (
        ("Normal", _BODY, 10.5),
        ("List Number", _BODY, 10.5),
        ("List Bullet", _BODY, 10.5),
        ("Title", _HEADING, 20),
        ("Heading 1", _HEADING, 14),
        ("Heading 2", _HEADING, 12),
    ):
        style = document.styles[name]
        assert isinstance(style, ParagraphStyle)
        style.font.name = latin
        style.font.size = Pt(size)
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        fonts.set(qn("w:eastAsia"), asian)
        for theme in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):
            fonts.attrib.pop(qn(f"w:{theme}"), None)  # a theme font would win over ours
    for section in document.sections:
        section.page_width, section.page_height = Cm(21), Cm(29.7)
        section.left_margin = section.right_margin = Cm(2.4)


def _title(document: Document, text: str) -> None:
    document.add_paragraph(text, style="Title").alignment = WD_ALIGN_PARAGRAPH.CENTER


def _facts(document: Document, rows: Sequence[tuple[str, str]]) -> None:
    table = document.add_table(rows=0, cols=2, style="Table Grid")
    for label, value in rows:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = label, value
        cells[0].paragraphs[0].runs[0].bold = True


def _table(document: Document, titles: Sequence[str], rows: str, cells: Sequence[str]) -> None:
    """Add a table whose one row is repeated for each `row` of the list named `rows`."""
    table = document.add_table(rows=4, cols=len(titles), style="Table Grid")
    for place, (title, cell) in enumerate(zip(titles, cells, strict=True)):
        table.cell(0, place).text = title
        table.cell(0, place).paragraphs[0].runs[0].bold = True
        table.cell(2, place).text = cell
    table.cell(1, 0).text = f"{{%tr for row in {rows} %}}"
    table.cell(3, 0).text = "{%tr endfor %}"


def _blank_table(document: Document, titles: Sequence[str], rows: int) -> None:
    table = document.add_table(rows=rows + 1, cols=len(titles), style="Table Grid")
    for place, title in enumerate(titles):
        table.cell(0, place).text = title
        table.cell(0, place).paragraphs[0].runs[0].bold = True


def _each(document: Document, rows: str) -> None:
    document.add_paragraph(f"{{%p for row in {rows} %}}")
    document.add_paragraph("{{ row }}", style="List Bullet")
    document.add_paragraph("{%p endfor %}")


def _scope(document: Document) -> None:
    _table(
        document,
        ("指标", "阈值", "动作"),
        "terms.scope",
        ("{{ row[0] }}", "{{ row[1] }}", "{{ row[2] }}"),
    )


def _response(document: Document) -> None:
    _table(
        document,
        ("级别", "说明", "响应时间", "目标恢复时间"),
        "terms.response",
        ("{{ row[0] }}", "{{ row[1] }}", "{{ row[2] }}", "{{ row[3] }}"),
    )


def _contract(document: Document) -> None:
    _title(document, "VigilOps AI 运维托管服务合同")
    _facts(
        document,
        (
            ("合同编号", "{{ number }}"),
            ("甲方（客户）", "{{ company }}"),
            ("甲方联系人", "{{ contact }}，{{ phone }}"),
            ("乙方（服务方）", "{{ provider }}"),
            ("乙方联系人", "{{ provider_contact }}，{{ provider_phone }}"),
            ("签订日期", "{{ signed_on }}"),
        ),
    )
    document.add_heading("一、服务内容与费用", 1)
    _facts(
        document,
        (
            ("服务等级", "{{ terms.name }}"),
            ("服务费用", "{{ terms.price }}"),
            ("服务器数量", "{{ server_count }} 台"),
            ("核心业务系统", "{{ systems }}"),
            ("服务开始日期", "{{ start }}"),
            ("服务期限", "{{ term }}"),
        ),
    )
    document.add_paragraph("乙方为甲方的上述服务器提供监控、告警与运维，服务范围如下：")
    _scope(document)
    document.add_heading("二、服务水平协议（SLA）", 1)
    document.add_paragraph("服务时间：{{ terms.hours }}。")
    document.add_paragraph("可用性：{{ terms.availability }}（计划内维护除外）。")
    document.add_paragraph("响应时间自告警触发或甲方在服务群中提出时起算：")
    _response(document)
    document.add_heading("三、报告与回顾", 1)
    _each(document, "terms.reports")
    document.add_paragraph("VigilOps 版本每月升级一次，维护时间提前通知甲方。")
    document.add_heading("四、双方责任", 1)
    for text in (
        "甲方提供服务器的远程访问方式，并指定联系人与验收人；凭据通过一次性链接提交，不在群内发送。",
        "乙方仅为履行本合同使用访问凭据，加密保存；对生产环境的改动须经双人确认并留有审计记录。",
        "双方对在履行中获知的对方信息保密，合同终止后仍然有效。",
        "甲方原因、不可抗力或第三方服务中断造成的不可用时间，不计入可用性。",
    ):
        document.add_paragraph(text, style="List Number")
    document.add_heading("五、验收与生效", 1)
    document.add_paragraph(
        "服务部署完成后，双方按验收检查单逐项验收并签字；本合同自双方签字之日起生效。"
    )
    document.add_heading("六、签字", 1)
    _facts(
        document,
        (
            ("甲方（签字/盖章）", "{{ company }}"),
            ("甲方签字人与日期", ""),
            ("乙方（签字/盖章）", "{{ provider }}"),
            ("乙方签字人与日期", ""),
        ),
    )


def _acceptance(document: Document) -> None:
    _title(document, "验收报告")
    _facts(
        document,
        (
            ("验收编号", "{{ number }}"),
            ("客户", "{{ company }}"),
            ("服务方", "{{ provider }}"),
            ("服务等级", "{{ terms.name }}"),
            ("登录地址", "{{ url }}"),
            ("验收时间", "{{ at }}"),
        ),
    )
    document.add_heading("一、验收检查单", 1)
    _table(
        document,
        ("检查项", "结果", "证据", "时间"),
        "items",
        ("{{ row.text }}", "{{ row.result }}", "{{ row.evidence }}", "{{ row.at }}"),
    )
    document.add_heading("二、跳过的项目", 1)
    document.add_paragraph("{%p if skipped %}")
    _table(
        document,
        ("检查项", "原因", "决定人"),
        "skipped",
        ("{{ row.text }}", "{{ row.reason }}", "{{ row.by }}"),
    )
    document.add_paragraph("{%p else %}")
    document.add_paragraph("没有跳过的项目。")
    document.add_paragraph("{%p endif %}")
    document.add_heading("三、签字", 1)
    _table(
        document,
        ("角色", "姓名", "时间", "证据哈希"),
        "signatures",
        ("{{ row.role }}", "{{ row.name }}", "{{ row.at }}", "{{ row.hash }}"),
    )
    document.add_heading("四、封存证据", 1)
    document.add_paragraph("以上证据已封存，哈希为：")
    document.add_paragraph("{{ evidence_hash }}")
    document.add_paragraph("签字中的证据哈希与此一致，即表示签字人看到的是同一份证据。")


def _report(document: Document) -> None:
    _title(document, "运维报告")
    _facts(
        document,
        (
            ("客户", "{{ company }}"),
            ("服务方", "{{ provider }}"),
            ("服务等级", "{{ terms.name }}"),
            ("报告周期", "{{ period }}"),
        ),
    )
    for heading, titles in (
        ("一、总体情况", ("指标", "本期", "上期", "说明")),
        ("二、可用性与 SLA", ("项目", "目标", "实际", "是否达标")),
        ("三、告警统计", ("级别", "数量", "平均响应时间", "平均恢复时间")),
        ("四、重要事件", ("时间", "事件", "原因", "处理结果")),
        ("五、异常趋势分析", ("服务器", "指标", "趋势", "判断")),
        ("六、容量评估", ("服务器", "资源", "当前用量", "预计达到阈值的时间")),
        ("七、自动修复与变更", ("时间", "动作", "执行人", "结果")),
    ):
        document.add_heading(heading, 1)
        _blank_table(document, titles, 3)
    document.add_heading("八、优化建议", 1)
    document.add_paragraph("")
    document.add_heading("附：报告节奏", 1)
    _each(document, "terms.reports")


def _manual(document: Document) -> None:
    _title(document, "服务使用手册")
    _facts(
        document,
        (
            ("客户", "{{ company }}"),
            ("服务方", "{{ provider }}"),
            ("服务等级", "{{ terms.name }}"),
            ("登录地址", "{{ url }}"),
            ("服务群", "{{ group }}"),
        ),
    )
    document.add_heading("一、登录", 1)
    document.add_paragraph(
        "用浏览器打开登录地址，账号和初始密码通过一次性链接领取，首次登录后请修改密码。"
    )
    document.add_heading("二、查看服务器", 1)
    document.add_paragraph(
        "仪表盘显示每台服务器的 CPU、内存、磁盘和健康状态；离线的服务器会标为异常。"
    )
    document.add_heading("三、告警", 1)
    document.add_paragraph("告警会发到服务群。下列规则已经生效：")
    _scope(document)
    document.add_heading("四、服务时间与响应", 1)
    document.add_paragraph("服务时间：{{ terms.hours }}。")
    _response(document)
    document.add_heading("五、在群里可以做什么", 1)
    _table(document, ("命令", "用途"), "commands", ("{{ row.name }}", "{{ row.use }}"))
    document.add_heading("六、报告", 1)
    _each(document, "terms.reports")


def _contacts(document: Document) -> None:
    _title(document, "紧急联系方式")
    _facts(document, (("客户", "{{ company }}"), ("服务方", "{{ provider }}")))
    document.add_heading("一、联系人", 1)
    _table(
        document,
        ("姓名", "职责", "电话", "其他渠道"),
        "people",
        ("{{ row.name }}", "{{ row.role }}", "{{ row.phone }}", "{{ row.channel }}"),
    )
    document.add_heading("二、升级路径", 1)
    _table(
        document,
        ("多久没有响应", "联系谁", "方式"),
        "escalation",
        ("{{ row.after }}", "{{ row.who }}", "{{ row.how }}"),
    )


_BUILDERS: Mapping[str, Callable[[Document], None]] = {
    "contract": _contract,
    "acceptance": _acceptance,
    "report-template": _report,
    "manual": _manual,
    "contacts": _contacts,
}

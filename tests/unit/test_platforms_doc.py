"""What docs/platforms.md says of each platform is what the platform says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

from adapters.port import Capabilities, ChatPlatform
from bot.app import SystemClock
from bot.channels import one_way
from bot.config import Settings, load
from bot.platforms import enabled
from storage.store import Store
from storage.vault import Seal

PAGE = Path(__file__).parents[2] / "docs" / "platforms.md"
START, END = "held by tests/unit/test_platforms_doc.py -->\n", "\n<!-- /table -->"

NAMES = {
    "web": "网页聊天",
    "feishu": "飞书",
    "dingtalk": "钉钉",
    "wecom": "企业微信",
    "slack": "Slack",
    "mail": "邮件",
    "webhook": "Webhook",
}
EVERYTHING = """
[vault]
key = "env:KEY"
[web]
password = "env:X"
[platforms.feishu]
enabled = true
app_id = "a"
app_secret = "env:X"
[platforms.dingtalk]
enabled = true
client_id = "a"
client_secret = "env:X"
robot_code = "a"
card_template = "a"
group_template = "a"
group_owner = "a"
[platforms.wecom]
enabled = true
bot_id = "a"
secret = "env:X"
[platforms.slack]
enabled = true
bot_token = "env:X"
app_token = "env:X"
[channels.mail]
enabled = true
host = "mail.example"
sender = "a@b.cn"
[channels.webhook]
enabled = true
"""
"""Each platform as it is usually set up; what more or less makes of it is said under the table."""


def _edit(can: Capabilities) -> str:
    if can.can_edit:
        return "是"
    later = "进度合并后以新消息补发"
    return f"仅在按下时；{later}" if can.edit_only_on_click else f"否：{later}"


def _groups(can: Capabilities) -> str:
    if can.creates_chats:
        return "是"
    return "否：手工建群后 /bind" if can.callback_budget else "没有群"


def _guests(can: Capabilities) -> str:
    if can.invites_by_mail:
        return "是"
    return "否：手工拉进群，再用 /role 登记" if can.callback_budget else "没有群"


def _once(can: Capabilities) -> str:
    if can.has_idempotency:
        but = f"（{can.without_key}除外：记为存疑）" if can.without_key else ""
        return f"是：对方按键去重{but}"
    return "否：查不到时记为存疑，告警重发并标「可能重复」"


def _private(can: Capabilities) -> str:
    if not can.callback_budget:
        return "没有按钮"
    return "是" if can.answers_privately else "否：结果写在卡片上"


def _pace(can: Capabilities) -> str:
    hour = f"，每小时 {can.per_chat_per_hour:,} 条" if can.per_chat_per_hour else ""
    return f"{can.per_chat_per_minute:,} 条{hour}"


def _heard(can: Capabilities) -> str:
    if not can.callback_budget:
        return "不收消息"
    lacks = [] if can.hears_files else ["文件改用一次性页面上传"]
    lacks += [] if can.hears_mentions else ["@ 的人改写账号"]
    return "否：" + "，".join(lacks) if lacks else "是"


ROWS: Mapping[str, tuple[frozenset[str], Callable[[Capabilities], str]]] = {
    "原地更新卡片": (frozenset({"can_edit", "edit_only_on_click"}), _edit),
    "收到群里的文件和 @ 的人": (frozenset({"hears_files", "hears_mentions"}), _heard),
    "由机器人建群": (frozenset({"creates_chats"}), _groups),
    "按邮箱邀请外部客户": (frozenset({"invites_by_mail"}), _guests),
    "主动发言": (
        frozenset({"needs_prior_contact"}),
        lambda can: "有人先 @机器人 之后" if can.needs_prior_contact else "随时",
    ),
    "恰好一次": (frozenset({"has_idempotency", "without_key"}), _once),
    "表单": (
        frozenset({"forms"}),
        lambda can: "是" if can.forms else "否：到群里或用一次性链接填写",
    ),
    "文件": (frozenset({"files"}), lambda can: "是" if can.files else "否：到群里下载"),
    "只答复按下的人": (frozenset({"answers_privately"}), _private),
    "按下后的答复时限": (
        frozenset({"callback_budget"}),
        lambda can: f"{can.callback_budget:g} 秒" if can.callback_budget else "没有按钮",
    ),
    "一张卡片最多": (
        frozenset({"max_card_bytes"}),
        lambda can: f"{can.max_card_bytes:,} 字节",
    ),
    "每个会话每分钟": (frozenset({"per_chat_per_minute", "per_chat_per_hour"}), _pace),
}
"""What a person asks -> the capabilities that it is read from, and the answer."""


def settings(folder: Path) -> Settings:
    path = folder / "vigilbot.toml"
    path.write_text(EVERYTHING, encoding="utf-8")
    return load(path, {"KEY": Seal.new_key().reveal(), "X": "x" * 20})


def platforms(folder: Path) -> Mapping[str, ChatPlatform]:
    from adapters.webchat.link import WebChat  # noqa: PLC0415 - with it comes NiceGUI

    made, clock = settings(folder), SystemClock()
    store = Store(f"sqlite+aiosqlite:///{folder / 'x.sqlite'}", Seal(Seal.new_key()))
    found: list[ChatPlatform] = [
        WebChat(folder / "web.sqlite"),
        *enabled(made, clock, store, "one"),
    ]
    found += one_way(made, clock, store)
    return {platform.name: platform for platform in found}


def as_markdown(folder: Path) -> str:
    found = platforms(folder)
    order = [name for name in NAMES if name in found]
    assert set(order) == set(found), "a platform without a name in NAMES"
    rows = [("", *(NAMES[name] for name in order)), ("---",) * (len(order) + 1)]
    rows += [(row, *(say(found[name].can) for name in order)) for row, (_, say) in ROWS.items()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def test_the_table_is_what_the_code_says(tmp_path: Path) -> None:
    """When it is red, put what `as_markdown` returns between the two marks."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(START)[2].partition(END)[0] == as_markdown(tmp_path)


def test_no_capability_is_left_out() -> None:
    read = frozenset[str]().union(*(names for names, _ in ROWS.values()))
    assert read == {each.name for each in fields(Capabilities)}


def test_what_stands_under_the_table_names_every_platform(tmp_path: Path) -> None:
    """Where exactly once is promised, and what a platform needs for it, is said for each."""
    below = PAGE.read_text(encoding="utf-8").partition(END)[2]
    for name in platforms(tmp_path):
        assert re.search(rf"^\* \*\*{NAMES[name]}\*\*：", below, re.MULTILINE), name

"""What the app must be allowed, and a call for each that tells: docs/dingtalk.md asks for the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.port import OutsideError, Permanent


@dataclass(frozen=True, slots=True)
class Probe:
    """A call about nothing that there is: refused either way, and how tells whether we may."""

    name: str
    """The permission as the console names it."""
    why: str
    method: str
    path: str
    body: Mapping[str, Any]
    must: bool = True


NOWHERE = "vigilbot-doctor"


def probes(robot: str) -> tuple[Probe, ...]:
    """Return a call for each permission that docs/dingtalk.md asks for."""
    text = {"robotCode": robot, "msgKey": "sampleMarkdown", "msgParam": '{"title":"-","text":"-"}'}
    group, card = {**text, "openConversationId": NOWHERE}, {"outTrackId": NOWHERE}
    members = {"openConversationId": NOWHERE, "userIds": NOWHERE}
    file = {"downloadCode": NOWHERE, "robotCode": robot}
    rung = {"robotCode": robot, "remindType": 1, "receiverUserIdList": [], "content": "-"}
    params: dict[str, Any] = {**card, "cardData": {"cardParamMap": {}}, "userIdType": 1}
    return (
        Probe(
            "企业内机器人发送消息", "发消息和文件", "POST", "/v1.0/robot/groupMessages/send", group
        ),
        Probe("互动卡片实例写权限", "发卡片和刷新卡片", "PUT", "/v1.0/card/instances", params),
        Probe(
            "钉钉群基础信息管理权限",
            "建客户群、拉人进群",
            "POST",
            "/v1.0/im/sceneGroup/member/add",
            members,
            must=False,
        ),
        Probe(
            "下载机器人接收的文件",
            "收服务器清单",
            "POST",
            "/v1.0/robot/messageFiles/download",
            file,
        ),
        Probe("机器人发 DING", "呼叫值班人", "POST", "/v1.0/robot/ding/send", rung, must=False),
        Probe(
            "成员信息读权限",
            "显示按按钮的人的姓名",
            "POST",
            "/topapi/v2/user/get",
            {"userid": NOWHERE, "language": "zh_CN"},
            must=False,
        ),
    )


_DENIED = ("permissiondenied", "60011 ", "nopermission")


def is_denied(error: OutsideError) -> bool:
    """Does the refusal say that the permission is missing, and not that there is no such thing?"""
    low = error.reason.lower()
    return isinstance(error, Permanent) and any(mark in low for mark in _DENIED)


def is_unknown(error: OutsideError) -> bool:
    """Is it the app's own id or secret that was not taken, while the token was fetched?"""
    return "取令牌" in error.reason

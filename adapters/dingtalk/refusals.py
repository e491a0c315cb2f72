"""What DingTalk answers, as one of our errors, or as done."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from adapters.port import Fault, InDoubt, OutsideError, Permanent, Transient

TOLD_CHARS = 200
QPS_PAUSE = 1.0
BANNED_PAUSE = 300.0
MONTH_PAUSE = 3600.0
THROTTLED_PAUSE = 60.0
HTTP_TOO_MANY = 429
HTTP_SERVER = 500
HTTP_BAD = 400

STALE_TOKEN = frozenset({"40014", "42001", "InvalidAuthentication"})
"""What the old and the new interfaces say of a token that they do not know."""

# A number is a code only where it stands alone: a person's id may well hold it.
_QPS = re.compile(r"qpslimit|toomuch\.msg|\b(90018|90002)\b")
_MONTH = re.compile(r"apicountlimitfororg|\b90020\b")
_EDITION = ("serverquota", "forbidden", "accessdenied", "nopermission", "receivercount", "edition")


def refusal(
    status: int, text: str, *, doing: str, repeatable: bool, month_left: float = MONTH_PAUSE
) -> OutsideError | None:
    """Return what an answer means as one of our errors; None when the deed was done.

    A 403 may be a limit and not a lack of rights, so the code's text is looked at first. A 5xx
    after a deed that has no idempotency key may have been done. `month_left`: seconds until there
    are calls again.
    """
    code_, said, parsed = code(text)
    low = f"{code_} {said}".lower()
    told = f"{doing}：{code_} {said}".strip()[:TOLD_CHARS]
    if _QPS.search(low) or status == HTTP_TOO_MANY:
        return Transient(f"钉钉限流，{told}", retry_after=QPS_PAUSE, fault=Fault.REFUSED)
    if _MONTH.search(low):
        reason = f"钉钉本月的接口调用次数用完了，{told}"
        pause = min(MONTH_PAUSE, month_left)
        return Transient(reason, retry_after=pause, fault=Fault.REFUSED)
    if code_ in STALE_TOKEN:  # refused with a new one, too: it is no word about the deed
        return Transient(f"钉钉暂时不认令牌，{told}", fault=Fault.REFUSED)
    if code_ == "1111" or (status < HTTP_SERVER and not parsed):
        reason = f"钉钉暂时封了本机地址或前面有代理，{doing}"
        return Transient(reason, retry_after=BANNED_PAUSE, fault=Fault.REFUSED)
    if status >= HTTP_SERVER:
        if repeatable:
            return Transient(f"钉钉出错，{told}", fault=Fault.NETWORK)
        return InDoubt(f"钉钉出错，不知道做了没有，{told}")
    if status >= HTTP_BAD or code_ not in {"", "0"}:
        return Permanent(f"钉钉不接受，{told}", fault=Fault.REFUSED)
    return None


def code(text: str) -> tuple[str, str, bool]:
    """Return (code, message, is it JSON?) of an answer of the new or the old interfaces."""
    try:
        body = json.loads(text or "{}")
    except ValueError:
        return "", "", False
    if not isinstance(body, dict):
        return "", "", True
    banned = "1111" if str(body.get("status")) == "1111" else ""
    code = banned or body.get("code", body.get("errcode", ""))
    said = body.get("message") or body.get("errmsg") or body.get("msg") or ""
    return str(code), str(said), True


def is_edition(error: OutsideError) -> bool:
    """Is it DING's edition or its bought amount that said no, and not the request?"""
    low = error.reason.lower()
    return isinstance(error, Permanent) and any(mark in low for mark in _EDITION)


def undelivered(body: Mapping[str, Any]) -> str:
    """Return why a card was made but not put into the chat; "" when it was."""
    result = body.get("result") or {}
    for one in result.get("deliverResults") or ():
        if not one.get("success", True):
            return str(one.get("errorMsg") or "未投放")
    return ""


def left_out(body: Mapping[str, Any], user: str) -> OutsideError | None:
    """Return why the person was left out of a message that was answered with 200."""
    if user in (body.get("flowControlledStaffIdList") or ()):
        reason = "钉钉对此人限流，消息没有送达"
        return Transient(reason, retry_after=THROTTLED_PAUSE, fault=Fault.REFUSED)
    if user in (body.get("invalidStaffIdList") or ()):
        return Permanent("此人不在机器人的可见范围内", fault=Fault.REFUSED)
    if user in (body.get("filteredStaffIdList") or ()):
        return Permanent("此人被钉钉过滤，消息没有送达", fault=Fault.REFUSED)
    return None

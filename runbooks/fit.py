"""What people write in forms, before it stands on cards, in contracts and in reports."""

from __future__ import annotations

import unicodedata

LONGEST = 80
"""Characters of a name, or of one line of a list."""

LONGEST_ANSWER = 2000
"""Characters of a free answer, over all its lines."""

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's kinds of what nobody sees, and of what turns other letters around."""


def unfit(text: str, longest: int = LONGEST) -> str:
    """Say, in Chinese, why a text of one line cannot be shown; empty when it can."""
    if len(text) > longest:
        return f"最多 {longest} 个字"
    if any(unicodedata.category(c) in UNSEEN for c in text):
        return "含有看不见的控制字符：请重新输入，不要粘贴"
    return ""


def unfit_answer(text: str) -> str:
    """Say, in Chinese, why an answer of several lines cannot be shown; empty when it can."""
    return unfit(text.replace("\r", "").replace("\n", " ").replace("\t", " "), LONGEST_ANSWER)

"""What the program prints at its first start, so that somebody can become the first lead."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from adapters.slack.slash import ANY
from adapters.words import Role, Secret
from runbooks import pairing
from storage.store import Store

WAYS = {
    "web": "网页聊天：/pair {code}",
    "feishu": "飞书：/pair {code}",
    "dingtalk": "钉钉：/pair {code}",
    "wecom": "企业微信：/pair {code}",
    # Its client refuses a slash that nobody has registered, and an older app has no /pair.
    "slack": f"Slack：{ANY} pair {{code}}",
}
"""Platform -> how the code is typed there."""


async def first_code(store: Store, now: datetime) -> Secret | None:
    """Return the code to print; None when there is a lead, or a code was printed and is open."""
    async with store.unit() as unit:
        if await unit.people.with_role(Role.LEAD) or await pairing.standing(now, unit):
            return None
        return await pairing.offer(now, unit)


def told(code: Secret, platforms: Collection[str]) -> str:
    """Return what the console shows, the one place where the code can be read: what to type on each
    of these platforms; those that only speak are left out."""
    ways = [way.format(code=code.reveal()) for name, way in WAYS.items() if name in platforms]
    return "\n".join(
        (
            "还没有负责人。请选一个平台，在您与机器人两人的会话里输入：",
            *(f"  {way}" for way in ways),
            f"配对码 24 小时内有效，只能用一次，最多试 {pairing.TRIES} 次。",
        )
    )

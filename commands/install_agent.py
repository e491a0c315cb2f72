"""/install-agent: the agent on this group's customer's servers, all of them or those named."""

from __future__ import annotations

import re

from adapters.card import Card, Tone, say
from adapters.words import Role
from commands.declare import Call, Rest, Where, command
from commands.desk import desk_of
from runbooks.install_agent import begin


@command(
    "/install-agent",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/install-agent", "/install-agent web-01 web-02"),
    group="服务器",
)
async def install_agent(servers: Rest = "", *, call: Call) -> Card:
    """在全部或写明的服务器上安装 Agent；已在上报的不会重装。

    Parameters
    ----------
    servers
        服务器名称，用空格分开；不写就是全部。
    """
    desk = desk_of(call)
    names = tuple(filter(None, re.split(r"[\s,，、]+", servers)))
    run = await begin(desk.owner(), names, call.message.sender, desk.clock.now(), desk.unit)
    desk.begun.append(run)
    return say("安装 Agent", "已开始：请看进度卡", tone=Tone.WORKING)

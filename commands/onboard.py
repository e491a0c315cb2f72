"""/onboard: the intake form of a new customer."""

from __future__ import annotations

from adapters.card import Card
from adapters.words import Role
from commands.declare import Call, Verbatim, Where, command
from runbooks.intake import form


@command(
    "/onboard",
    role=Role.ENGINEER,
    where=Where.ANY,
    examples=("/onboard 海蓝科技", "/onboard"),
    group="客户",
)
async def onboard(company: Verbatim = "", *, call: Call) -> Card:
    """打开客户接入登记表。

    Parameters
    ----------
    company
        公司名，与合同一致。
    """
    return form(company)

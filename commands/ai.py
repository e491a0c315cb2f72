"""/ai: whether a model may look at the alerts of this group's customer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from adapters.card import Card
from adapters.words import Role
from commands.declare import Call, Where, choice, command
from commands.desk import desk_of
from runbooks.alerting.triage import consent
from runbooks.alerting.triage.consent import Answer


class Wish(StrEnum):
    """What somebody wants of it."""

    STATUS = "status"
    ON = "on"
    OFF = "off"


WISHES = {"status": Wish.STATUS, "on": Wish.ON, "off": Wish.OFF}


@command(
    "/ai",
    role=Role.CUSTOMER,
    where=Where.CUSTOMER,
    examples=("/ai", "/ai on", "/ai off"),
    group="客户",
)
async def ai(wish: Annotated[Wish, choice(WISHES)] = Wish.STATUS, *, call: Call) -> Card:
    """查看是否允许 AI 分析本群客户的告警；on 由客户或负责人在卡片上同意，off 立即撤回。

    Parameters
    ----------
    wish
        动作：status、on 或 off。
    """
    desk = desk_of(call)
    customer, house = desk.owner(), desk.house
    if wish is Wish.OFF:
        no = Answer(yes=False, to=consent.address(house))
        by, now = call.message.sender, desk.clock.now()
        return await consent.decide(no, customer, by, now, house, desk.unit)
    # Nobody agrees to what they have not been shown: the card asks.
    return await consent.shown(customer, house, desk.unit)

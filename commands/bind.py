"""/bind: this group belongs to that customer."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Chat, Role
from commands.declare import Call, Verbatim, command
from commands.desk import Desk, desk_of
from runbooks import walk as walking
from runbooks.alerting import moving
from runbooks.alerting.tuning import tuning_of
from runbooks.credentials import offer
from storage.records import Customer, RunStatus
from storage.runs import OPEN


@command("/bind", role=Role.ENGINEER, examples=("/bind 海蓝科技",), group="客户")
async def bind(company: Verbatim, *, call: Call) -> Card:
    """把本群绑定给一个客户。

    Parameters
    ----------
    company
        公司名，与合同一致。
    """
    desk = desk_of(call)
    customer = await desk.unit.customers.named(company)
    if customer is None:
        raise UsageError(f"没有客户「{company}」：请先输入 /onboard {company}")
    chat = call.message.chat
    await desk.unit.customers.bind(customer.id, chat)
    await offer(customer, chat, desk.clock.now(), desk.unit)
    await _go_on(customer, chat, desk)
    return say("已绑定", f"本群属于客户「{customer.name}」", tone=Tone.GOOD)


async def _go_on(customer: Customer, chat: Chat, desk: Desk) -> None:
    """Draw what is open in the new group from now on, and walk on what had stopped for want of
    one."""
    if customer.chat not in {None, chat}:
        reopen = (await tuning_of(customer.id, desk.unit)).applied(desk.house.alerting).reopen
        await moving.move(customer.id, chat, reopen, desk.clock.now(), desk.unit)
    for run in await desk.unit.runs.of(customer.id):
        if run.status not in OPEN or customer.chat == chat:
            continue
        await desk.unit.outbox.move(walking.card_of(run), chat)
        await desk.unit.outbox.mark(walking.card_of(run), chat, desk.clock.now())
        if customer.chat is None and run.status is RunStatus.STUCK:
            desk.begun.append(await walking.retry(run, desk.clock.now(), desk.unit))

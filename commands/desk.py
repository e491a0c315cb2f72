"""What a command finds on its desk: this chat's customer and run, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.port import ChatPlatform, Clock, Documents, Keys, ServerRow, UsageError
from commands.declare import Call
from runbooks.book import Runbook
from runbooks.kit import House
from storage.records import Customer, Run
from storage.runs import OPEN
from storage.store import Unit


@dataclass(slots=True)
class Desk:
    """One message's transaction, and the runs that are to be walked after its commit."""

    unit: Unit
    books: Mapping[str, Runbook[Any]]
    clock: Clock
    customer: Customer | None
    documents: Documents
    keys: Keys
    rows: tuple[ServerRow, ...] = ()
    """The list of servers that came with the message."""
    begun: list[Run] = field(default_factory=list)
    house: House = field(default_factory=House)
    chats: Mapping[str, ChatPlatform] = field(default_factory=dict)
    """The platforms and channels that are set up, by their names."""

    def owner(self) -> Customer:
        """Return this chat's customer, or say what to type."""
        if self.customer is None:
            raise UsageError("本群还没有绑定客户：请输入 /bind 公司名")
        return self.customer

    async def run(self) -> Run:
        """Return the run that is open for this chat's customer, or say what to type."""
        runs = await self.unit.runs.of(self.owner().id)
        found = next((run for run in runs if run.status in OPEN), None)
        if found is None and runs:
            raise UsageError("本群没有进行中的流程：都已结束，输入 /status 查看最近一次")
        if found is None:
            raise UsageError("本群没有进行中的流程：请输入 /onboard 公司名 开始接入")
        return found

    async def latest_run(self) -> Run:
        """Return the run that is open for this chat's customer, or else the one that came last."""
        runs = await self.unit.runs.of(self.owner().id)
        if runs and not any(run.status in OPEN for run in runs):
            return runs[0]
        return await self.run()


def desk_of(call: Call) -> Desk:
    """Return the call's desk."""
    assert isinstance(call.context, Desk)
    return call.context

"""A customer with two people on call, as the tests of the ladder want them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from adapters.card import Card
from adapters.documents import OfficeDocuments
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.words import Chat, Person, Role, Severity
from bot.sender import Sender
from runbooks.alerting.oncall import ladder
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    Member,
)
from storage.roster import Callee, Layer, Level, Policy, Roster, Rung
from storage.store import Store, Unit
from tests.conftest import HandClock

LI, ZHAO = Person("web", "li", "李工"), Person("web", "zhao", "赵工")
MINUTE = timedelta(minutes=1)
POLICY = Policy((Level(5), Level(15, 1)), repeat=30, between=30)


async def draw(key: str, unit: Unit) -> Card:
    return Card(key)


@dataclass
class Ward:
    """A customer with two people on call, a group, an operations group and one incident."""

    kit: Kit
    clock: HandClock
    web: WebChat
    customer: Customer
    group: Chat
    incident: Incident

    async def at(self, minutes: float) -> None:
        """Let the clock stand so many minutes after the critical was accepted."""
        assert self.incident.critical_at
        wanted = self.incident.critical_at + MINUTE * minutes
        await self.clock.sleep((wanted - self.clock.now()).total_seconds())

    async def climb(self) -> int:
        return await ladder.climb(self.kit)

    async def begin(self) -> None:
        async with self.kit.store.unit() as unit:
            await ladder.begin(unit, self.incident, self.clock.now())

    async def another(self, number: int, minutes: float) -> Incident:
        """Begin to climb for one more critical, accepted so many minutes after the first."""
        assert self.incident.critical_at
        at = self.incident.critical_at + MINUTE * minutes
        made = replace(self.incident, id=number, title=f"磁盘 {number}", critical_at=at)
        async with self.kit.store.unit() as unit:
            await ladder.begin(unit, made, at)
        return made

    async def policy(self, policy: Policy, *callees: Callee) -> None:
        """Have it climb so from now on, and these people be on call."""
        async with self.kit.store.unit() as unit:
            await unit.escalations.set_policy(self.customer.id, policy)
            if callees:
                names = tuple(callee.name for callee in callees)
                layer = Layer("主值班", names, date(2026, 11, 23))
                await unit.oncall.save(Roster(self.customer.id, "Asia/Shanghai", callees, (layer,)))

    async def rungs(self, incident: int = 7) -> list[Rung]:
        """Return what an incident's first climb owes and has had, from the first level up."""
        async with self.kit.store.view() as unit:
            found = await unit.escalations.rungs(incident, 1)
        return sorted(found, key=lambda rung: (rung.lap, rung.level, rung.place))

    async def fail(self, key: str, reason: str) -> None:
        """Let the platform have refused an entry for good."""
        entry = await self.entry(key)
        async with self.kit.store.unit() as unit:
            await unit.outbox.save(replace(entry, state=DeliveryState.FAILED, reason=reason))

    async def speak(self) -> None:
        await Sender(self.kit.store, self.kit.chats, draw, self.clock).drain()

    async def said(self) -> list[str]:
        """Return the keys of all calls in the outbox, in their order."""
        async with self.kit.store.view() as unit:
            entries = await unit.outbox.latest(1000)
        return [e.key.removeprefix("ladder:") for e in reversed(entries) if e.living == ""]

    async def entry(self, key: str) -> Delivery:
        async with self.kit.store.view() as unit:
            found = await unit.outbox.by_key(key)
        assert found is not None
        return found


@asynccontextmanager
async def standing(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    """Give a ward whose critical was accepted now; it has not begun to climb."""
    async with unwatched(store, clock, tmp_path) as ward:
        operations = await ward.web.open_chat("运维", [LI], key="o")
        async with store.unit() as unit:
            await unit.outbox.mark(OPERATIONS, operations, clock.now())
        yield ward


@asynccontextmanager
async def unwatched(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    """Give a ward of a house that has no operations group."""
    async with WebChat(tmp_path / "chat.sqlite") as web:
        group = await web.open_chat("海蓝", [LI, ZHAO], key="g")
        now = clock.now()
        async with store.unit() as unit:
            customer = await unit.customers.add(Customer(0, "海蓝", "hailan", now, group))
            for person in (LI, ZHAO):
                await unit.people.put(Member(person, Role.ENGINEER))
            layer = Layer("主值班", ("李工", "赵工"), date(2026, 11, 23))
            callees = (Callee("李工", "13700000000"), Callee("赵工", person=ZHAO))
            await unit.oncall.save(Roster(customer.id, "Asia/Shanghai", callees, (layer,)))
            await unit.escalations.set_policy(customer.id, POLICY)
        incident = Incident(
            7,
            customer.id,
            "rule=磁盘",
            "磁盘已满",
            Severity.CRITICAL,
            IncidentState.OPEN,
            now,
            now,
            critical_at=now,
        )
        kit = Kit(clock, store, {"web": web}, SshServers(), VigilOpsMonitors(), OfficeDocuments())
        yield Ward(kit, clock, web, customer, group, incident)

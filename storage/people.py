"""Customers, their servers, and who is who."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.port import UsageError
from adapters.words import Chat, Person, Role
from storage.records import Customer, Member, PortBlock, PortPlan, Server, Tier
from storage.rows import to_record, to_row
from storage.tables import customers, members, port_blocks, seen_events, servers

PORTS = PortPlan()
LAST_PORT = 65_535


class Customers:
    """Whose servers we operate."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, customer: Customer) -> Customer:
        """Add a customer (`id` is ignored) and return it numbered.

        Raises UsageError when the name, the slug or the chat is another customer's.
        """
        row = to_row(customer)
        del row["id"]
        try:
            number = await self._db.scalar(
                sa.insert(customers).values(row).returning(customers.c.id)
            )
        except sa.exc.IntegrityError:
            raise UsageError(
                f"客户「{customer.name}」已经存在，或者本群已属于另一个客户：请用 /status 查看"
            ) from None
        assert number is not None
        return replace(customer, id=number)

    async def get(self, number: int) -> Customer | None:
        return await self._one(customers.c.id == number)

    async def named(self, name: str) -> Customer | None:
        return await self._one(customers.c.name == name)

    async def of_chat(self, chat: Chat) -> Customer | None:
        """Return the customer whose group this is."""
        return await self._one(
            (customers.c.chat_platform == chat.platform) & (customers.c.chat_id == chat.id)
        )

    async def all(self) -> Sequence[Customer]:
        rows = await self._db.execute(sa.select(customers).order_by(customers.c.id))
        return [to_record(Customer, r) for r in rows.mappings()]

    async def bind(self, number: int, chat: Chat) -> None:
        """Make a chat the customer's group; UsageError when it is another customer's."""
        owner = await self.of_chat(chat)
        if owner and owner.id != number:
            raise UsageError(f"本群已绑定客户「{owner.name}」，一个群只能属于一个客户")
        await self._set(number, chat_platform=chat.platform, chat_id=chat.id, chat_title=chat.title)

    async def set_tier(self, number: int, tier: Tier) -> None:
        await self._set(number, tier=str(tier))

    async def begin_service(self, number: int, at: datetime) -> None:
        await self._set(number, in_service_since=at)

    async def _set(self, number: int, **values: object) -> None:
        await self._db.execute(
            sa.update(customers).where(customers.c.id == number).values(**values)
        )

    async def _one(self, where: sa.ColumnElement[bool]) -> Customer | None:
        row = (await self._db.execute(sa.select(customers).where(where))).mappings().first()
        return to_record(Customer, row) if row else None


class Servers:
    """The servers of each customer."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, server: Server) -> Server:
        """Add a server (`id` is ignored); UsageError when its name or address is there already."""
        row = to_row(server)
        del row["id"]
        try:
            number = await self._db.scalar(sa.insert(servers).values(row).returning(servers.c.id))
        except sa.exc.IntegrityError:
            raise UsageError(
                f"服务器「{server.name}」（{server.host}:{server.port}）重复："
                "名称和地址在同一客户内必须唯一"
            ) from None
        assert number is not None
        return replace(server, id=number)

    async def save(self, server: Server) -> None:
        """Keep what was found on a server."""
        row = to_row(server)
        number = row.pop("id")
        await self._db.execute(sa.update(servers).where(servers.c.id == number).values(row))

    async def remove(self, customer: int, name: str) -> bool:
        """Forget a server; False when there is none of that name."""
        gone = await self._db.execute(
            sa.delete(servers).where((servers.c.customer == customer) & (servers.c.name == name))
        )
        return gone.rowcount > 0

    async def named(self, customer: int, name: str) -> Server | None:
        """Return one of a customer's servers; a line that fans out must not read them all for each."""
        row = await self._db.execute(
            sa.select(servers).where((servers.c.customer == customer) & (servers.c.name == name))
        )
        found = row.mappings().first()
        return to_record(Server, found) if found else None

    async def sharing(self, customer: int, hostname: str) -> Sequence[Server]:
        """Return a customer's servers that call themselves so, in the order in which they came."""
        rows = await self._db.execute(
            sa.select(servers)
            .where((servers.c.customer == customer) & (servers.c.hostname == hostname))
            .order_by(servers.c.id)
        )
        return [to_record(Server, r) for r in rows.mappings()]

    async def of(self, customer: int) -> Sequence[Server]:
        """Return a customer's servers in the order in which they were added."""
        rows = await self._db.execute(
            sa.select(servers).where(servers.c.customer == customer).order_by(servers.c.id)
        )
        return [to_record(Server, r) for r in rows.mappings()]


class People:
    """Who is who, and which deliveries were seen."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def put(self, member: Member) -> None:
        """Say what somebody is, in place of what they were."""
        person = member.person
        await self.drop(person)
        await self._db.execute(
            sa.insert(members).values(
                platform=person.platform,
                person=person.id,
                name=person.name,
                role=str(member.role),
                customer=member.customer,
                title=member.title,
            )
        )

    async def drop(self, person: Person) -> None:
        await self._db.execute(sa.delete(members).where(self._is(person)))

    async def get(self, person: Person) -> Member | None:
        row = (await self._db.execute(sa.select(members).where(self._is(person)))).first()
        if row is None:
            return None
        known = Person(row.platform, row.person, row.name)
        return Member(known, Role(row.role), row.customer, row.title)

    async def with_role(self, role: Role) -> Sequence[Member]:
        rows = await self._db.execute(
            sa.select(members).where(members.c.role == str(role)).order_by(members.c.person)
        )
        return [
            Member(Person(r.platform, r.person, r.name), Role(r.role), r.customer, r.title)
            for r in rows
        ]

    async def of_customer(self, customer: int) -> Sequence[Member]:
        """Return the people of a customer that we know."""
        rows = await self._db.execute(
            sa.select(members).where(members.c.customer == customer).order_by(members.c.person)
        )
        return [
            Member(Person(r.platform, r.person, r.name), Role(r.role), r.customer, r.title)
            for r in rows
        ]

    async def see(self, platform: str, event: str, at: datetime) -> bool:
        """Remember a delivery; False when it was seen before. The caller's unit is the writer."""
        known = await self._db.scalar(
            sa.select(seen_events.c.event).where(
                (seen_events.c.platform == platform) & (seen_events.c.event == event)
            )
        )
        if known is not None:
            return False
        await self._db.execute(sa.insert(seen_events).values(platform=platform, event=event, at=at))
        return True

    async def forget_events(self, before: datetime) -> int:
        """Drop what the platforms no longer redeliver; return how many."""
        gone = await self._db.execute(sa.delete(seen_events).where(seen_events.c.at < before))
        return gone.rowcount

    @staticmethod
    def _is(person: Person) -> sa.ColumnElement[bool]:
        return (members.c.platform == person.platform) & (members.c.person == person.id)


class Ports:
    """Host ports of the instances that we run, way B of the SOP."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def of(self, host: str, customer: int) -> PortBlock | None:
        """Return what a customer has on a host."""
        blocks = await self._on(host)
        return next((b for b in blocks if b.customer == customer), None)

    async def allocate(
        self,
        host: str,
        customer: int,
        *,
        busy: frozenset[int] = frozenset(),
        plan: PortPlan = PORTS,
    ) -> PortBlock:
        """Give a customer the first block on `host` that collides with no other and with none of
        the `busy` ports found there; the same customer gets the same block again.

        Raises UsageError when the host has no block left.
        """
        taken = set(busy)
        for block in await self._on(host):
            if block.customer == customer:
                return block
            taken |= ports_of(block)
        number = 0
        while True:
            shift = number * plan.stride
            block = PortBlock(
                host,
                customer,
                plan.backend + shift,
                plan.frontend + shift,
                plan.postgres + shift,
                plan.redis + shift,
            )
            if max(ports_of(block)) > LAST_PORT:
                raise UsageError(f"主机 {host} 上已没有空闲的端口组，请换一台托管主机")
            # A block whose own ranges run into each other is skipped like a taken one.
            if len(ports_of(block)) == len(_NAMES) and not ports_of(block) & taken:
                break
            number += 1
        await self._db.execute(sa.insert(port_blocks).values(to_row(block)))
        return block

    async def release(self, host: str, customer: int) -> None:
        await self._db.execute(
            sa.delete(port_blocks).where(
                (port_blocks.c.host == host) & (port_blocks.c.customer == customer)
            )
        )

    async def _on(self, host: str) -> Sequence[PortBlock]:
        rows = await self._db.execute(
            sa.select(port_blocks).where(port_blocks.c.host == host).order_by(port_blocks.c.backend)
        )
        return [to_record(PortBlock, r) for r in rows.mappings()]


_NAMES = ("backend", "frontend", "postgres", "redis")


def ports_of(block: PortBlock) -> set[int]:
    """Return the host ports of a block."""
    return {getattr(block, name) for name in _NAMES}

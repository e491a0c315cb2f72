"""What people do, on its way in: seen before? which chat, which person, which role?

The delivery, the fact that it causes and the answer are one transaction; the segment that
follows is started after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from adapters.card import Card, Tone, dumps, say
from adapters.port import ChatPlatform, Clock, Documents, Keys, ServerRow, UsageError
from adapters.words import Click, Event, Message, Person, Role, Submission
from commands import server
from commands.declare import Book, Call
from commands.desk import Desk
from runbooks import credentials, due, intake
from runbooks import walk as walking
from runbooks.alerting.respond import Deed, Responder, deed
from runbooks.alerting.triage import consent
from runbooks.begin import begin
from runbooks.book import Decision, Gate, Runbook
from runbooks.cards import CURED, PASSWORD, log_of
from runbooks.kit import CHINA, House
from runbooks.press import Press, press
from storage.records import Delivery, DeliveryState, Lane, Run
from storage.store import Store, Unit

RANK = {Role.CUSTOMER: 0, Role.ENGINEER: 1, Role.LEAD: 2}

Go = Callable[[Run], Awaitable[None]]
"""Starts the segment of a run that was just set walking."""


class Inbox:
    """The one who listens."""

    def __init__(
        self,
        store: Store,
        books: Mapping[str, Runbook[Any]],
        clock: Clock,
        go: Go,
        commands: Book,
        documents: Documents,
        keys: Keys,
        zone: ZoneInfo = CHINA,
        house: House | None = None,
        chats: Mapping[str, ChatPlatform] | None = None,
    ) -> None:
        self._store = store
        self._books = books
        self._clock = clock
        self._go = go
        self._commands = commands
        self._documents = documents
        self._keys = keys
        self._zone = zone
        self._house = house or House(zone=zone)
        self._chats = chats or {}

    async def take(self, event: Event, *, quiet: bool = False) -> str:
        """Take one delivery and return what was wrong with it, empty when nothing was; a second
        one of the same id does nothing.

        A UsageError becomes an answer in the chat, unless the platform answers presses `quiet`ly;
        what had been written with it is undone.
        """
        try:
            # A long server list takes a while to read: not inside the one writer's turn.
            answers = await self._answers(event)
            rows = await self._rows(event)
            async with self._store.unit() as unit:
                if not await self._new(event, unit):
                    return ""
                begun = await self._act(await _named(event, unit), answers, rows, unit)
        except UsageError as error:
            async with self._store.unit() as unit:
                if await self._new(event, unit) and not quiet:
                    card = say("请再看一下", str(error), tone=Tone.WARNING)
                    await self._say(event, card, unit)
            return str(error)
        for run in begun:
            await self._go(run)
        return ""

    async def role(self, event: Event, unit: Unit) -> Role:
        """Return what somebody is in this chat: who is not known may do a customer's part."""
        member = await unit.people.get(event.sender)
        if member is None:
            return Role.CUSTOMER
        if member.customer is not None:
            customer = await unit.customers.of_chat(event.chat)
            if customer is None or customer.id != member.customer:
                raise UsageError("您只能在贵公司自己的群里操作")
        return member.role

    async def _new(self, event: Event, unit: Unit) -> bool:
        return await unit.people.see(event.chat.platform, event.id, self._clock.now())

    async def _answers(self, event: Event) -> intake.Intake | None:
        if not isinstance(event, Submission) or event.action != intake.ACTION:
            return None
        return await asyncio.to_thread(intake.read, event.values, event.files, self._documents)

    async def _rows(self, event: Event) -> tuple[ServerRow, ...]:
        source = server.listed(event) if isinstance(event, Message) else None
        if source is None:
            return ()
        rows = await asyncio.to_thread(self._documents.read_servers, source)
        if isinstance(source, str):
            server.open_passwords(rows)
        return rows

    async def _act(
        self,
        event: Event,
        answers: intake.Intake | None,
        rows: tuple[ServerRow, ...],
        unit: Unit,
    ) -> Sequence[Run]:
        if isinstance(event, Message):
            return await self._obey(event, rows, unit)
        role = await self.role(event, unit)
        if answers:
            _may(role, Role.ENGINEER, event.sender)
            return [await self._begin(event, answers, unit)]
        if owed := due.owed_by(event.action):
            _may(role, Role.ENGINEER, event.sender)
            now, zone = self._clock.now(), self._zone
            card = await due.finish(owed, event.chat, event.sender, now, zone, unit)
            await self._say(event, card, unit)
            return ()
        if done := deed(event.action):
            _may(role, Role.ENGINEER, event.sender)
            return await self._respond(event, done, unit)
        if said := consent.answered(event.action):
            await self._consent(event, said, unit)
            return ()
        if pressed := press(event.action):
            run = await self._drawn(event, pressed, unit)
            if pressed.verb == "log":
                _may(role, Role.ENGINEER, event.sender)
                await self._show_log(event, run, unit)
                return ()
            if pressed.verb == PASSWORD:
                _may(role, Role.ENGINEER, event.sender)
                return [await self._ask_passwords(event, run, unit)]
            return [await self._press(event, pressed, run, role, unit)]
        raise UsageError(walking.STALE)

    async def _obey(
        self, message: Message, rows: tuple[ServerRow, ...], unit: Unit
    ) -> Sequence[Run]:
        """Do what a message asks for; people may also just talk to each other."""
        parsed = self._commands.parse(server.unpasted(message.text), message.mentions)
        if parsed is None:
            return ()
        role = await self.role(message, unit)
        customer = await unit.customers.of_chat(message.chat)
        desk = Desk(
            unit,
            self._books,
            self._clock,
            customer,
            self._documents,
            self._keys,
            rows,
            house=self._house,
            chats=self._chats,
        )
        card = await parsed.run(Call(message, role, customer.id if customer else None, desk))
        if card:
            await self._say(message, card, unit)
        return desk.begun

    async def _respond(self, event: Click | Submission, done: Deed, unit: Unit) -> Sequence[Run]:
        """Do what a button of an alert's card says; what the card itself shows is not said again."""
        customer = await unit.customers.of_chat(event.chat)
        if customer is None:
            raise UsageError("这张卡片不属于本群")
        now = self._clock.now()
        responder = Responder(customer, event.sender, now, self._house, unit)
        said = await responder.press(done, event.id)
        if done.spoken:
            await self._say(event, say(said), unit)
        return responder.begun

    async def _consent(self, event: Click | Submission, said: consent.Answer, unit: Unit) -> None:
        """Keep what was answered to the question whether a model may look at alerts."""
        customer = await unit.customers.of_chat(event.chat)
        if customer is None:
            raise UsageError("这张卡片不属于本群")
        now = self._clock.now()
        card = await consent.decide(said, customer, event.sender, now, self._house, unit)
        await self._say(event, card, unit)

    async def _drawn(self, event: Event, pressed: Press, unit: Unit) -> Run:
        """Return the run that a press is about, if its card is the present one of this group."""
        run = await unit.runs.get(pressed.run)
        if run is None or (run.line, run.attempt) != (pressed.line, pressed.attempt):
            raise UsageError(walking.STALE)
        customer = await unit.customers.get(run.customer)
        if customer is None or customer.chat != event.chat:
            raise UsageError("这张卡片不属于本群")
        return run

    async def _begin(self, event: Event, answers: intake.Intake, unit: Unit) -> Run:
        """Begin an onboarding, and tell its engineer the line that opens servers without password."""
        run = await begin(answers, event.sender, self._clock.now(), unit)
        customer = await unit.customers.get(run.customer)
        assert customer is not None
        line = await credentials.key_line(customer, self._keys, unit)
        without = await credentials.bare(customer.id, unit)
        await self._say(event, credentials.key_card(customer.name, line, without), unit)
        return run

    async def _ask_passwords(self, event: Event, run: Run, unit: Unit) -> Run:
        """Ask for what the stuck hosts lack: the address goes to whoever pressed."""
        customer = await unit.customers.get(run.customer)
        assert customer is not None
        hosts = await unit.lines.hosts(run.id, run.line)
        failing = {name for name, host in hosts.items() if host.fault in CURED}
        there = await unit.servers.of(customer.id)
        names = [server.name for server in there if server.name in failing]
        now = self._clock.now()
        return await credentials.ask_servers(customer, names, event.sender, now, unit)

    async def _show_log(self, event: Event, run: Run, unit: Unit) -> None:
        lines = await unit.lines.of(run.id)
        text = log_of(run, lines, await unit.lines.hosts(run.id, run.line))
        await unit.outbox.put(
            Delivery(
                0,
                f"log:{event.chat.platform}:{event.id}",
                event.chat,
                Lane.NORMAL,
                DeliveryState.WAITING,
                self._clock.now(),
                file_name=f"log-{run.id}.txt",
                file=text.encode(),
            )
        )

    async def _press(
        self, event: Click | Submission, pressed: Press, run: Run, role: Role, unit: Unit
    ) -> Run:
        now = self._clock.now()
        if pressed.verb == "retry":
            _may(role, Role.ENGINEER, event.sender)
            return await walking.retry(run, now, unit)
        if pressed.verb == "skip" and isinstance(event, Submission):
            _may(role, Role.LEAD, event.sender)
            reason = event.values.get("reason", "")
            skipped = await walking.skip(self._books, run, event.sender, reason, now, unit)
            detail = {"run": run.id, "line": run.line, "reason": reason}
            await unit.audit.add(now, event.sender.name, "skip", detail)
            return skipped
        line = self._books[run.book].line(run.line)
        if not isinstance(line, Gate):
            raise UsageError(walking.STALE)
        _may(role, line.by, event.sender)
        values = event.values if isinstance(event, Submission) else {}
        decision = Decision(unit, run, event.sender, now, pressed.verb, values)
        return await walking.decide(self._books, decision)

    async def _say(self, event: Event, card: Card, unit: Unit) -> None:
        await unit.outbox.put(
            Delivery(
                0,
                f"reply:{event.chat.platform}:{event.id}",
                event.chat,
                Lane.NORMAL,
                DeliveryState.WAITING,
                self._clock.now(),
                card=dumps(card),
            )
        )


async def _named(event: Event, unit: Unit) -> Event:
    """Return the event with somebody's name in it, where the platform did not tell it: as they are
    known, or their id. Who did what is written down by it."""
    who = event.sender
    if who.name:
        return event
    member = await unit.people.get(who)
    name = (member.person.name if member else "") or who.id
    return replace(event, sender=replace(who, name=name))


_TITLES = {Role.CUSTOMER: "客户", Role.ENGINEER: "工程师", Role.LEAD: "负责人"}


def _may(role: Role, needed: Role, who: Person) -> None:
    if RANK[role] < RANK[needed]:
        raise UsageError(f"{who.name or who.id}：这一步需要{_TITLES[needed]}来操作")

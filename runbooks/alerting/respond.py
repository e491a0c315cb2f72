"""What people do about incidents: by a button on a card or by a command, the same deeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapters.port import UsageError
from adapters.words import Chat, Person
from runbooks.alerting import incident_cards, ladder, pipeline
from runbooks.alerting.incident_cards import clock, microseconds
from runbooks.alerting.matchers import Matcher, Operator, spoken
from runbooks.kit import House
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    Lane,
    Silence,
)
from storage.store import Unit

NOT_OURS = "本群没有这个告警组：请用 /alerts 查看编号"
LISTED = 100_000
"""Lines of a full list."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody pressed: a verb about a subject, and what the card showed when it was drawn."""

    verb: str
    seen: int
    subject: str

    @property
    def spoken(self) -> bool:
        """Is it answered in the chat, because no card shows what came of it?"""
        return self.verb in {"quiet", "silence"}


def deed(action: str) -> Deed | None:
    """Return what a pressed button says; None when it is no button of an alert's card."""
    match action.split("|", 3):
        case ["alert", verb, seen, subject] if seen.isascii() and seen.isdecimal():
            return Deed(verb, int(seen), subject)
    return None


@dataclass(frozen=True, slots=True)
class Responder:
    """Somebody in a customer's group who does something about an incident, in one transaction."""

    customer: Customer
    by: Person
    now: datetime
    house: House
    unit: Unit

    async def press(self, pressed: Deed, key: str) -> str:
        """Do what a button says and return what came of it; `key` names this press.

        Raises UsageError when the card is no longer what it was.
        """
        match pressed.verb:
            case "ack-all":
                return await self.ack_all(pressed.seen)
            case "list":
                return await self.send_list(key)
            case "quiet":
                return await self.quiet(pressed.subject, pressed.seen)
            case "silence":
                return await self.silence(await self._mine(pressed.subject), pressed.seen)
        incident = await self._mine(pressed.subject)
        match pressed.verb:
            case "ack" if microseconds(incident.changed_at) > pressed.seen and incident.acked_by:
                raise UsageError(f"已由 {_name(incident.acked_by)} 确认，请看最新的卡片")
            case "ack":
                return await self.ack(incident)
            case "unack":
                return await self.unack(incident)
            case "take":
                return await self.take(incident)
            case "resolve":
                return await self.resolve(incident)
        raise UsageError("这张卡片已过期，请看最新的卡片")

    async def find(self, number: int) -> Incident:
        """Return one of this group's incidents; UsageError when it is not theirs."""
        found = await self.unit.incidents.get(number)
        if found is None or found.customer != self.customer.id:
            raise UsageError(NOT_OURS)
        return found

    async def open(self) -> Sequence[Incident]:
        """Return this group's incidents that are not resolved, the newest first."""
        return await self.unit.incidents.open_of(self.customer.id)

    async def ack(self, incident: Incident) -> str:
        """Say that somebody takes care: nobody is called any more, until a new critical."""
        if incident.state is IncidentState.RESOLVED:
            raise UsageError(f"#{incident.id} 已经恢复，不需要确认")
        if incident.state is IncidentState.ACKED and incident.acked_by:
            raise UsageError(f"#{incident.id} 已由 {_name(incident.acked_by)} 确认")
        await self._acked(incident)
        return f"已确认 #{incident.id}：{incident.title}"

    async def ack_all(self, seen: int) -> str:
        """Acknowledge what a storm's card showed: nothing that has come since then."""
        open_ = [
            incident
            for incident in await self.open()
            if incident.state is IncidentState.OPEN and microseconds(incident.changed_at) <= seen
        ]
        if not open_:
            raise UsageError("卡片上的告警组都已有人确认或已恢复；之后新来的请看最新的卡片")
        for incident in open_:
            await self._acked(incident)
        return f"已确认 {len(open_)} 个告警组"

    async def take(self, incident: Incident) -> str:
        """Take an incident over from whoever had acknowledged it."""
        if incident.state is IncidentState.RESOLVED:
            raise UsageError(f"#{incident.id} 已经恢复，不需要接手")
        if incident.acked_by == self.by:
            raise UsageError(f"#{incident.id} 已经由您负责")
        await self._acked(incident)
        return f"#{incident.id} 由 {_name(self.by)} 接手"

    async def unack(self, incident: Incident) -> str:
        """Take an acknowledgement back: people are called again."""
        if incident.state is not IncidentState.ACKED:
            raise UsageError(f"#{incident.id} 没有被确认，无需取消")
        after = replace(
            incident, state=IncidentState.OPEN, acked_at=None, acked_by=None, changed_at=self.now
        )
        await self._save(after, "unack")
        if after.critical_at:
            await ladder.reopen(self.unit, after, self.now)
        return f"已取消确认 #{incident.id}"

    async def resolve(self, incident: Incident) -> str:
        """Close an incident by hand; alerts of it that fire on do not open it again by repeating."""
        if incident.state is IncidentState.RESOLVED:
            raise UsageError(f"#{incident.id} 已经恢复")
        after = replace(
            incident,
            state=IncidentState.RESOLVED,
            resolved_at=self.now,
            resolved_by=self.by,
            changed_at=self.now,
        )
        await self._save(after, "resolve")
        await ladder.stop(self.unit, after, self.now)
        return f"已关闭 #{incident.id}：{incident.title}"

    async def silence(self, incident: Incident, minutes: int) -> str:
        """Hide what an incident's alerts have in common, by this person's word, for a while."""
        alerts = await self.unit.incidents.alerts(incident.id)
        wanted = [Matcher("rule", Operator.IS, rule) for rule in {a.rule for a in alerts}]
        if len(wanted) != 1:
            raise UsageError("这个告警组包含多条规则：请用 /silence 写明要静默什么")
        if "host=" in incident.group:
            wanted.append(Matcher("host", Operator.IS, alerts[0].host))
        until = await self._hush(wanted, minutes, f"告警组 #{incident.id}")
        await self._redraw(incident)
        return f"已静默 #{incident.id} 至 {clock(until, self.house.zone)}"

    async def quiet(self, rule: str, minutes: int) -> str:
        """Hide a rule's alerts that are not critical, as a storm's summary suggested."""
        mild = Matcher("severity", Operator.LIKE, "info|warning")
        wanted = [Matcher("rule", Operator.IS, rule), mild]
        until = await self._hush(wanted, minutes, "告警风暴总结的建议")
        return f"已静默「{rule}」至 {clock(until, self.house.zone)}"

    async def send_list(self, key: str) -> str:
        """Send the full list of what fires as a file."""
        chat = self._chat()
        there = self.unit.incidents
        alerts = [
            *await there.firing(self.customer.id, LISTED),
            *await there.firing(self.customer.id, LISTED, hidden=True),
        ]
        if not alerts:
            raise UsageError("现在没有在触发的告警")
        text = incident_cards.listing(alerts, self.now, self.house.zone)
        name = f"alerts-{self.now.astimezone(self.house.zone):%Y%m%d-%H%M%S}.txt"
        delivery = Delivery(
            0,
            f"alerts:{key}",
            chat,
            Lane.NORMAL,
            DeliveryState.WAITING,
            self.now,
            file_name=name,
            file=text.encode(),
        )
        await self.unit.outbox.put(delivery)
        return f"完整清单共 {len(alerts):,} 条"

    async def _mine(self, subject: str) -> Incident:
        if not (subject.isascii() and subject.isdecimal()):
            raise UsageError(NOT_OURS)
        return await self.find(int(subject))

    async def _acked(self, incident: Incident) -> None:
        after = replace(
            incident,
            state=IncidentState.ACKED,
            acked_at=self.now,
            acked_by=self.by,
            changed_at=self.now,
        )
        await self._save(after, "ack")
        await ladder.stop(self.unit, after, self.now)

    async def _save(self, incident: Incident, what: str) -> None:
        await self.unit.incidents.save(incident)
        detail = {"incident": str(incident.id), "title": incident.title}
        await self.unit.audit.add(self.now, self.by.name or self.by.id, what, detail)
        await self._redraw(incident)

    async def _redraw(self, incident: Incident) -> None:
        """Have what shows an incident drawn: an answer to a person is not put off."""
        for key in (f"incident:{incident.id}", f"storm:{incident.customer}"):
            if await self.unit.outbox.living(key):
                await self.unit.outbox.mark(key, self._chat(), self.now, lane=Lane.ALARM)

    async def _hush(self, wanted: Sequence[Matcher], minutes: int, reason: str) -> datetime:
        """Set a silence, and hide at once what it hides."""
        until = self.now + timedelta(minutes=minutes)
        silence = Silence(0, self.customer.id, spoken(wanted), self.now, until, self.by, reason)
        await self.unit.silences.add(silence)
        detail = {"customer": self.customer.name, "matchers": silence.matchers}
        await self.unit.audit.add(self.now, self.by.name or self.by.id, "silence", detail)
        await pipeline.reconsider(self.customer, self.now, self.house, self.unit)
        return until

    def _chat(self) -> Chat:
        assert self.customer.chat is not None
        return self.customer.chat


def _name(person: Person) -> str:
    return person.name or person.id

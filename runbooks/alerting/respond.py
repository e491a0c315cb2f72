"""What people do about incidents: by a button on a card or by a command, the same deeds."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.card import dumps
from adapters.port import UsageError
from adapters.words import Chat, Person, Severity
from runbooks import threshold
from runbooks.alerting import full_list, grouping, incident_cards, pipeline
from runbooks.alerting.adjust import Adjuster
from runbooks.alerting.incident_cards import clock, microseconds
from runbooks.alerting.muting.matchers import Matcher, Operator, labels_of, matcher, spoken
from runbooks.alerting.oncall import ladder
from runbooks.alerting.thresholds import LONGEST, THOUSANDTHS, Last
from runbooks.kit import House
from storage.records import (
    Customer,
    Delivery,
    DeliveryState,
    Incident,
    IncidentState,
    KnownAlert,
    Lane,
    Run,
    Silence,
)
from storage.store import Unit

NOT_OURS = "本群没有这个告警组：请用 /alerts 查看编号"

AT_ONCE = 20
"""Hosts that one silence of a card names, and"""
WIDE = 900
"""characters of its expression: patterns have a longest, and a cloud's names of hosts are long."""


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
    begun: list[Run] = field(default_factory=list)
    """Runs that are to be walked after the commit."""

    async def press(self, pressed: Deed, key: str) -> str:
        """Do what a button says and return what came of it; `key` names this press.

        Raises UsageError when the card is no longer what it was.
        """
        match pressed.verb:
            case "ack-all":
                return await self.ack_all(pressed.seen)
            case "list":
                return await self.send_list(key)
            case "quiet" | "hold" | "raise" | "restore":
                return await self._take_advice(pressed, key)
            case "silence":
                return await self.silence(await self._mine(pressed.subject), pressed.seen)
        return await self._handle(await self._mine(pressed.subject), pressed)

    async def _take_advice(self, pressed: Deed, key: str) -> str:
        """Do what a storm's summary suggested of a rule, or take it back."""
        match pressed.verb:
            case "quiet":
                return await self.quiet(pressed.subject, pressed.seen)
            case "hold":
                return await self.hold(pressed.subject, pressed.seen, key)
            case "raise":
                return await self.raise_(pressed.subject, pressed.seen / THOUSANDTHS)
        return await self.restore(pressed.subject)

    async def _handle(self, incident: Incident, pressed: Deed) -> str:
        match pressed.verb:
            case "unack":
                return await self.unack(incident)
            case "ack":
                await self._shown(incident, pressed.seen)
                return await self.ack(incident)
            case "take":
                await self._shown(incident, pressed.seen)
                return await self.take(incident)
            case "resolve":
                await self._shown(incident, pressed.seen)
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
        if await self._calls(after):
            await ladder.reopen(self.unit, after, self.now)
        return f"已取消确认 #{incident.id}"

    async def resolve(self, incident: Incident) -> str:
        """Close an incident by hand; alerts of it that fire on do not open it again by repeating,
        except such as have no end of their own: with their incident they are over, and a repeat is
        another one."""
        if incident.state is IncidentState.RESOLVED:
            raise UsageError(f"#{incident.id} 已经恢复")
        after = replace(
            incident,
            state=IncidentState.RESOLVED,
            resolved_at=self.now,
            resolved_by=self.by,
            changed_at=self.now,
        )
        there = self.unit.incidents
        alerts = [each for each in await there.alerts(incident.id) if each.firing and not each.ends]
        await there.put_alerts([], [grouping.closed(each, self.now) for each in alerts])
        await self._save(after, "resolve")
        await ladder.stop(self.unit, after, self.now)
        return f"已关闭 #{incident.id}：{incident.title}"

    async def silence(self, incident: Incident, seen: int) -> str:
        """Hide for a while what an incident's card showed, by this person's word: its rule, on the
        hosts that were on it. A host that came later nobody has seen, so nobody has silenced it."""
        alerts = await self.unit.incidents.alerts(incident.id)
        shown = [alert for alert in incident_cards.shown(alerts) if _known(alert, seen)]
        if not shown:
            raise UsageError("这张卡片已过期，请看最新的卡片")
        rules = {alert.rule for alert in shown}
        if len(rules) != 1:
            raise UsageError("这个告警组包含多条规则：请用 /silence 写明要静默什么")
        rule, hosts = Matcher("rule", Operator.IS, rules.pop()), set(map(_host, shown))
        wanted = [(rule, host) for host in _on(hosts)]
        until = await self._hush(wanted, incident_cards.HUSH, f"告警组 #{incident.id}")
        await self._redraw(incident)
        at = clock(until, self.house.zone)
        return f"已静默 #{incident.id} 至 {at}：卡片上的 {len(hosts)} 台，别处出现仍会通知"

    async def quiet(self, rule: str, minutes: int) -> str:
        """Hide a rule's alerts that are not critical, as a storm's summary suggested."""
        mild = Matcher("severity", Operator.LIKE, "info|warning")
        wanted = [(Matcher("rule", Operator.IS, rule), mild)]
        until = await self._hush(wanted, minutes, "告警风暴总结的建议")
        return f"已静默「{rule}」至 {clock(until, self.house.zone)}"

    async def hold(self, rule: str, minutes: int, key: str) -> str:
        """Have a rule's alerts last before they are told, as a storm's summary suggested, or as it
        was before; answers with a card that has the way back."""
        if not 0 <= minutes <= LONGEST:
            raise UsageError("这张卡片已过期，请看最新的卡片")
        adjuster = Adjuster(self.customer, self.by, self.now, self.house, self.unit)
        card = await adjuster.hold(Last(rule, minutes, critical=False))
        answer = Delivery(
            0,
            f"hold:{key}",
            self._chat(),
            Lane.NORMAL,
            DeliveryState.WAITING,
            self.now,
            card=dumps(card),
        )
        await self.unit.outbox.put(answer)
        return "已更改"

    async def raise_(self, rule: str, wanted: float) -> str:
        """Begin to set a rule's threshold in the customer's VigilOps; its own card answers."""
        run = await threshold.begin(self.customer, rule, wanted, self.by, self.now, self.unit)
        self.begun.append(run)
        return f"正在把「{rule}」的阈值改为 {wanted:g}"

    async def restore(self, number: str) -> str:
        """Begin to put a rule's threshold back that such a run had changed."""
        self.begun.append(
            await threshold.restore(self.customer, number, self.by, self.now, self.unit)
        )
        return "正在恢复原值"

    async def send_list(self, key: str) -> str:
        """Have the full list of what fires sent as a file."""
        chat = self._chat()
        total = await self.unit.listing.count(self.customer.id)
        if not total:
            raise UsageError("现在没有在触发的告警")
        delivery = Delivery(
            0,
            f"alerts:{key}",
            chat,
            Lane.NORMAL,
            DeliveryState.WAITING,
            self.now,
            paper=full_list.key_of(self.customer),
        )
        await self.unit.outbox.put(delivery)
        return f"完整清单共 {total:,} 条"

    async def _mine(self, subject: str) -> Incident:
        if not (subject.isascii() and subject.isdecimal()):
            raise UsageError(NOT_OURS)
        return await self.find(int(subject))

    async def _shown(self, incident: Incident, seen: int) -> None:
        """Refuse what is pressed on a card from before a critical: they cannot have seen it."""
        if incident.critical_at is None or incident.state is IncidentState.RESOLVED:
            return
        came = [
            alert.changed_at
            for alert in await self.unit.incidents.alerts(incident.id)
            if alert.firing and not alert.hidden and alert.severity is Severity.CRITICAL
        ]
        if microseconds(max([incident.critical_at, *came])) > seen:
            raise UsageError(
                "有新的严重告警，不在这张卡片上：请看最新的卡片再操作，"
                f"或输入 /incident {incident.id}"
            )

    async def _calls(self, incident: Incident) -> bool:
        """Is there something to call people for: a critical that fires and is seen, or whatever does
        in an incident that was raised and never had one?"""
        if incident.critical_at is None:
            return False
        alerts = await self.unit.incidents.alerts(incident.id)
        critical = [each for each in alerts if each.severity is Severity.CRITICAL]
        return any(each.firing and not each.hidden for each in critical or alerts)

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

    async def _hush(
        self, wanted: Sequence[Sequence[Matcher]], minutes: int, reason: str
    ) -> datetime:
        """Set a silence for each of these, and hide at once what they hide."""
        until = self.now + timedelta(minutes=minutes)
        for matchers in wanted:
            silence = Silence(
                0, self.customer.id, spoken(matchers), self.now, until, self.by, reason
            )
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


def _known(alert: KnownAlert, seen: int) -> bool:
    """Did a card that showed all up to `seen` show this alert? Of one that flaps the card is not
    drawn each time it begins, of a critical it is."""
    began = [alert.since] if alert.severity is Severity.CRITICAL else [alert.since, *alert.flips]
    return microseconds(min(began)) <= seen


def _host(alert: KnownAlert) -> str:
    """Return the host that conditions see: of one whose source names none it is perhaps a label."""
    return labels_of(grouping.alert_of(alert)).get("host", "")


def _on(hosts: Collection[str]) -> list[Matcher]:
    """Return conditions one of which each of these hosts fulfils: an expression has a longest."""
    names = sorted(hosts)
    if len(names) == 1:
        return [Matcher("host", Operator.IS, names[0])]
    parts: list[list[str]] = [[]]
    for name in map(re.escape, names):
        last = parts[-1]
        if last and (len(last) == AT_ONCE or len("|".join([*last, name])) > WIDE):
            parts.append([name])
        else:
            last.append(name)
    return [matcher("host", Operator.LIKE, "|".join(part)) for part in parts]

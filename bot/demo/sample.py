"""The sample customer, and the hands of whoever plays in their group: monitors post, people type and press.

Everything goes through the doors that real monitors and people use: the intake and the web chat.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.card import Buttons
from adapters.port import UsageError
from adapters.webchat.link import WebChat
from adapters.words import Chat, Person
from runbooks.alerting.respond import deed
from runbooks.kit import Kit
from runbooks.walk import OPERATIONS
from storage.intake import Intake
from storage.records import Customer, Incident, Tier

NAME, SLUG = "示例客户", "sample"

Said = tuple[str, str, str]
"""Rule, host and severity of an alert."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Whoever plays. `people` are the staff who join the group of the sample customer."""

    kit: Kit
    intake: Intake
    web: WebChat
    people: Sequence[Person]

    async def there(self) -> Customer | None:
        """Return the customer who came last and has a group; None when nobody has come."""
        async with self.kit.store.view() as unit:
            found = [each for each in await unit.customers.all() if each.chat]
        return found[-1] if found else None

    async def latest(self) -> Customer:
        """Return the customer who came last and has a group; the sample where there is none."""
        return await self.there() or await self.own()

    async def own(self) -> Customer:
        """Return the sample customer, with all of the staff in their group."""
        group = await self.web.found(f"{NAME} 告警群", list(self.people), chat_id=SLUG)
        for person in self.people:
            await self.web.join(group, person)
        now = self.kit.clock.now()
        async with self.kit.store.unit() as unit:
            if known := await unit.customers.of_chat(group):
                return known
            if operations := await unit.outbox.living(OPERATIONS):
                await unit.outbox.mark(OPERATIONS, operations.chat, now)
            # 专业版: the lead may agree by /ai, and see what the model makes of an alert.
            return await unit.customers.add(Customer(0, NAME, SLUG, now, group, Tier.PRO))

    async def post(self, customer: int, said: Sequence[Said], status: str = "firing") -> None:
        """Post alerts as Alertmanager does."""
        now = self.kit.clock.now()
        alerts = [
            {
                "status": status,
                "labels": {"alertname": rule, "instance": host, "severity": severity},
                "annotations": {"summary": f"{host} {rule}"},
                "startsAt": now.isoformat(),
                "endsAt": "0001-01-01T00:00:00Z",
                "fingerprint": f"demo:{rule}@{host}",
            }
            for rule, host, severity in said
        ]
        body = json.dumps({"version": "4", "status": status, "alerts": alerts})
        await self.intake.accept(customer, "alertmanager", body.encode(), now)

    async def acknowledge(self, incident: Incident, by: Person, chat: Chat) -> None:
        """Press 确认 on an incident's card, as it is drawn now; raises UsageError when nothing is
        there to be pressed."""
        for post in reversed(self.web.history(chat)):
            for block in post.card.blocks if post.card else ():
                for button in block.buttons if isinstance(block, Buttons) else ():
                    done = deed(button.action)
                    if done and (done.verb, done.subject) == ("ack", str(incident.id)):
                        await self.web.press(by, chat, post.id, button.action)
                        return
        raise UsageError(f"群里没有可以确认 #{incident.id} 的卡片")

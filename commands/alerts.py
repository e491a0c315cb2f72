"""/alerts: what fires for this group's customer."""

from __future__ import annotations

from adapters.card import Card, Tone
from commands.ack import responder
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks.alerting import adjust, incident_cards


@command("/alerts", where=Where.CUSTOMER, examples=("/alerts",), group="告警")
async def alerts(*, call: Call) -> Card:
    """列出未恢复的告警组，并发送完整清单。"""
    who, desk = responder(call), desk_of(call)
    there, customer = desk.unit.incidents, desk.owner()
    tallies, hidden = await there.tallies(customer.id), await there.hidden(customer.id)
    if tallies or hidden:
        await who.send_list(f"{call.message.chat.platform}:{call.message.id}")
    blocks = incident_cards.overview(await who.open(), tallies, desk.house.zone)
    blocks += incident_cards.hidden_lines(await adjust.hidden(customer.id, desk.unit))
    return Card("告警", Tone.NEUTRAL, tuple(blocks))

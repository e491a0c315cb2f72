"""/silence and /unsilence: some alerts of this group's customer are not to be told for a while."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.words import Role
from commands.declare import Call, Numbered, Rest, Where, command
from commands.desk import desk_of
from runbooks.alerting import pipeline
from runbooks.alerting.muting import silences


@command(
    "/silence",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=(
        "/silence host=web-01 2h 正在换硬盘",
        '/silence host=~"web-.*" severity!=critical 1d 压测',
        "/silence",
    ),
    group="告警",
)
async def silence(what: Rest = "", *, call: Call) -> Card:
    """静默一部分告警；什么都不写就列出现有的静默。

    Parameters
    ----------
    what
        条件、时长和原因，例如 host=web-01 2h 正在换硬盘。
    """
    desk = desk_of(call)
    customer, now = desk.owner(), desk.clock.now()
    if not what.strip():
        return silences.listed(await desk.unit.silences.of(customer.id, now), desk.house.zone)
    asked = silences.read(what)
    made = await silences.silence(customer, asked, call.message.sender, now, desk.unit)
    await pipeline.reconsider(customer, now, desk.house, desk.unit)
    return silences.begun(made, desk.house.zone)


@command(
    "/unsilence",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/unsilence 3",),
    group="告警",
)
async def unsilence(number: Numbered, *, call: Call) -> Card:
    """提前解除一条静默。

    Parameters
    ----------
    number
        编号，见 /silence。
    """
    desk = desk_of(call)
    by, now = call.message.sender, desk.clock.now()
    ended = await silences.expire(number, desk.owner(), by, now, desk.unit)
    await pipeline.reconsider(desk.owner(), now, desk.house, desk.unit)
    return say(f"🔔 已解除静默 #{ended.id}", ended.matchers, tone=Tone.GOOD)


SILENCE = (silence, unsilence)

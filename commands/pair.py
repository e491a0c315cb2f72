"""/pair: the one-time code that the program printed makes the first lead."""

from __future__ import annotations

from adapters.card import Card, Tone, dumps, say
from adapters.port import UsageError
from adapters.words import Chat, Role
from commands.declare import Call, Where, command
from commands.desk import Desk, desk_of
from runbooks import pairing
from storage.records import Delivery, DeliveryState, Lane

NEW = "new"
SLACK = "在 Slack 里写 /vigil pair 和配对码"


@command(
    "/pair",
    role=Role.CUSTOMER,
    where=Where.STAFF,
    examples=("/pair K7MQ2XWB4T", "/pair new"),
    group="人员",
)
async def pair(code: str, *, call: Call) -> Card:
    """用程序启动时打印的一次性配对码成为负责人。

    Parameters
    ----------
    code
        配对码；负责人输入 new 可为新同事要一个新码。
    """
    desk = desk_of(call)
    if code.casefold() == NEW:
        return await _another(desk, call)
    open_to = await pairing.standing(desk.clock.now(), desk.unit)
    if open_to is None and await desk.unit.people.with_role(Role.LEAD):
        raise UsageError("已经有负责人：请由负责人 /role @您 lead，或由他输入 /pair new 要一个新码")
    match await pairing.redeem(code, call.message.sender, desk.clock.now(), desk.unit):
        case pairing.Outcome.PAIRED:
            return say("配对成功", f"{call.message.sender.name} 现在是负责人", tone=Tone.GOOD)
        case pairing.Outcome.WRONG:
            return say(
                "配对码不对", f"请核对程序打印的配对码，最多试 {pairing.TRIES} 次", tone=Tone.BAD
            )
        case pairing.Outcome.DEAD:
            return say(
                "配对码已失效", "已过期或试错太多次：请重启程序，会打印新的配对码", tone=Tone.BAD
            )


async def _another(desk: Desk, call: Call) -> Card:
    """Whisper a new code to the lead who asks: what stands in a group is read by all of it."""
    if call.role is not Role.LEAD:
        raise UsageError("只有负责人可以要新的配对码")
    now, message = desk.clock.now(), call.message
    code = await pairing.offer(now, desk.unit)
    words = say("新的配对码", f"/pair {code.reveal()}（24 小时内有效，只能用一次）", SLACK)
    await desk.unit.outbox.put(
        Delivery(
            0,
            f"pair:{message.chat.platform}:{message.id}",
            Chat(message.sender.platform, message.sender.id),
            Lane.NORMAL,
            DeliveryState.WAITING,
            now,
            card=dumps(words),
            ring=message.sender,
        )
    )
    await desk.unit.audit.add(now, message.sender.name, "pair-new", {})
    return say("已私信", "新的配对码已私信给您，请转给要成为负责人的同事")

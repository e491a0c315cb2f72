"""/test-alert: a test alert for this group's customer, all the way to the customer's 收到."""

from __future__ import annotations

from adapters.card import Card, Tone, say
from adapters.port import UsageError
from adapters.words import Role
from commands.declare import Call, Where, command
from commands.desk import desk_of
from runbooks import walk as walking
from runbooks.onboarding import ONBOARDING
from runbooks.test_alert import TEST_ALERT
from storage.runs import OPEN


@command(
    "/test-alert",
    role=Role.ENGINEER,
    where=Where.CUSTOMER,
    examples=("/test-alert",),
    group="告警",
)
async def test_alert(*, call: Call) -> Card:
    """发一条测试告警，由客户按「收到」。"""
    desk = desk_of(call)
    customer, unit, now = desk.owner(), desk.unit, desk.clock.now()
    runs = await unit.runs.of(customer.id)
    # One test ends the rules of every other, so two at once would undo each other.
    testing = {TEST_ALERT.lines[0].key, TEST_ALERT.lines[1].key}
    if any(run.status in OPEN and run.line in testing for run in runs):
        raise UsageError("已有一条测试告警在进行：请看它的卡片，或用 /cancel 取消后再试")
    onboarding = next((run for run in runs if run.book == ONBOARDING.name), None)
    case = walking.load(ONBOARDING, onboarding) if onboarding else None
    if case is None or not case.channel:
        raise UsageError("本客户还没有配置告警渠道：请先完成接入流程的「告警渠道」一步")
    run = walking.fresh(TEST_ALERT, customer.id, walking.dump(case), call.message.sender, now)
    desk.begun.append(await walking.start(TEST_ALERT, run, unit))
    await unit.audit.add(now, call.message.sender.name, "test-alert", {"run": run.id})
    return say("测试告警", "已发出，一般一分钟内到达本群", tone=Tone.WORKING)

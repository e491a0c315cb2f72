"""Whom a policy's ways would not reach is told by day: each way, each level, the house's channels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from adapters.card import loads, plain
from adapters.mail import Mail
from adapters.port import ChatPlatform
from adapters.webhook import Target, Webhook
from adapters.words import Secret
from runbooks.alerting.oncall import ladder, watchdog
from runbooks.reach import GATEWAY, WEBHOOK, notify_name
from storage.records import Customer
from storage.roster import Callee, Layer, Level, Policy, Roster, Way
from storage.store import Store
from tests.conftest import HandClock
from tests.unit.ward import LI, ZHAO, Ward, standing

LI_THERE = Callee("李工", "13700000000", "li@example.com", LI)
ZHAO_THERE = Callee("赵工", "13600000000", "zhao@example.com", ZHAO)


@pytest.fixture
async def ward(store: Store, clock: HandClock, tmp_path: Path) -> AsyncIterator[Ward]:
    async with standing(store, clock, tmp_path) as there:
        yield there


def by(*ways: Way) -> Policy:
    """Call one person by these ways, and the next one of the roster fifteen minutes later."""
    return Policy((Level(5, 0, ways), Level(20, 1, ways)))


def with_channels(ward: Ward, *names: str) -> Ward:
    """Have the house set up these channels as well."""

    async def nowhere(_: str) -> Target | None:
        return None

    made: dict[str, ChatPlatform] = {
        name: Mail("localhost", 25, "a@b.example", clock=ward.clock)
        if name == Way.EMAIL
        else Webhook(nowhere, clock=ward.clock, name=name)
        for name in names
    }
    return replace(ward, kit=replace(ward.kit, chats={**ward.kit.chats, **made}))


async def warned(ward: Ward) -> str:
    """Return what the day's warning says; empty when there is none."""
    if not await watchdog.warn(ward.kit):
        return ""
    last = [key for key in await ward.said() if key.startswith("oncall-warning:")][-1]
    return plain(loads((await ward.entry(last)).card))


async def test_whoever_is_called_by_mail_alone_and_has_no_address_is_named_by_day(
    ward: Ward,
) -> None:
    ward = with_channels(ward, Way.EMAIL)
    await ward.policy(by(Way.EMAIL), replace(LI_THERE, email=""), ZHAO_THERE)
    told = await warned(ward)
    assert "李工 没有登记邮箱：请输入 /oncall add @李工 --email 邮箱" in told
    assert "赵工" not in told
    await ward.policy(by(Way.EMAIL), LI_THERE, ZHAO_THERE)
    assert await warned(ward) == ""


async def test_who_is_called_by_mail_alone_needs_no_account(ward: Ward) -> None:
    ward = with_channels(ward, Way.EMAIL)
    await ward.policy(by(Way.EMAIL), Callee("王工", email="wang@example.com"))
    assert await warned(ward) == ""


@pytest.mark.parametrize(
    ("way", "channels", "says"),
    [
        (Way.EMAIL, (), "升级方式「邮件」不通：没有配置邮件通道"),
        (Way.WEBHOOK, (), "升级方式「webhook」不通：没有配置电话网关"),
        (Way.WEBHOOK, (WEBHOOK,), "客户也没有登记 Webhook 地址"),
    ],
)
async def test_a_way_whose_channel_is_not_set_up_is_named(
    ward: Ward, way: Way, channels: tuple[str, ...], says: str
) -> None:
    ward = with_channels(ward, *channels)
    await ward.policy(by(way, Way.RING), LI_THERE, ZHAO_THERE)
    assert says in await warned(ward)


async def test_a_customers_own_webhook_is_told_of_whoever_has_no_number(ward: Ward) -> None:
    """Only the house's gateway calls a number."""
    ward = with_channels(ward, WEBHOOK)
    await ward.policy(by(Way.WEBHOOK), replace(LI_THERE, phone=""), ZHAO_THERE)
    async with ward.kit.store.unit() as unit:
        name = notify_name(ward.customer.id, WEBHOOK)
        await unit.vault.put(name, Secret("https://hook.example/1"))
    assert await warned(ward) == ""
    assert "李工 没有登记电话" in await warned(with_channels(ward, GATEWAY))


async def test_a_mention_wants_a_group_on_a_platform_that_is_there(ward: Ward) -> None:
    """A customer without a group is called in the operations group, where there is one."""
    now = ward.clock.now()
    async with ward.kit.store.unit() as unit:
        other = await unit.customers.add(Customer(0, "山青", "shanqing", now))
        roster = Roster(
            other.id, "Asia/Shanghai", (LI_THERE,), (Layer("主", ("李工",), now.date()),)
        )
        await unit.oncall.save(roster)
        await unit.escalations.set_policy(other.id, by(Way.MENTION))
    assert await warned(ward) == ""
    gone = replace(ward, kit=replace(ward.kit, chats={}))
    assert "群所在的平台 web 没有启用" in await warned(gone)


async def test_the_people_of_higher_levels_are_looked_at(ward: Ward) -> None:
    """王工 takes no turns: only the second level calls him."""
    callees = (LI_THERE, Callee("王工"), ZHAO_THERE)
    async with ward.kit.store.unit() as unit:
        layer = Layer("主值班", ("李工",), date(2026, 11, 23))
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, (layer,)))
        await unit.escalations.set_policy(ward.customer.id, by(Way.RING))
        assert (await ladder.on_call(unit, ward.customer.id, ward.clock.now()))[0] == LI_THERE
    assert "王工 没有对应任何平台的人员" in await warned(ward)


async def test_who_is_called_on_no_level_is_not_looked_at(ward: Ward) -> None:
    callees = (LI_THERE, ZHAO_THERE, Callee("王工"))
    async with ward.kit.store.unit() as unit:
        layer = Layer("主值班", ("李工",), date(2026, 11, 23))
        await unit.oncall.save(Roster(ward.customer.id, "Asia/Shanghai", callees, (layer,)))
        await unit.escalations.set_policy(ward.customer.id, by(Way.RING))
    assert await warned(ward) == ""

"""What a customer's group is told of an alert goes to the channels that they prefer, too."""

from __future__ import annotations

from typing import Any, cast

from adapters.card import loads, plain
from adapters.words import Chat, Secret
from runbooks import reach
from runbooks.kit import House, Kit
from storage.records import Customer, Delivery, Lane
from storage.store import Store
from tests.unit.test_pipeline import CRITICAL, GROUP, Desk, alert


async def at_work(store: Store, clock: Any) -> Desk:
    nobody = cast("Any", None)
    kit = Kit(clock, store, {}, nobody, nobody, nobody, House())
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", clock.now(), GROUP))
        emails = Secret("ops@hailan.example\nwang@hailan.example")
        await unit.vault.put(reach.notify_name(customer.id, "email"), emails)
        url = Secret("https://hook.example/robot?key=s3cret")
        await unit.vault.put(reach.notify_name(customer.id, reach.WEBHOOK), url)
    return Desk(kit, clock, customer)


async def told(desk: Desk) -> dict[Chat, Delivery]:
    found = [one for key, one in (await desk.waiting()).items() if key.startswith("critical:")]
    return {one.chat: one for one in found}


async def test_a_new_critical_is_told_to_each_address(store: Store, clock: Any) -> None:
    """One entry for each, so that each one's outcome is known; the secret address is in none."""
    desk = await at_work(store, clock)
    await desk.post(alert("CPU", "a", CRITICAL))
    said = await told(desk)
    assert set(said) == {
        GROUP,
        Chat("mail", "ops@hailan.example"),
        Chat("mail", "wang@hailan.example"),
        Chat("webhook", f"customer:{desk.customer.id}:notify:webhook"),
    }
    assert {one.lane for one in said.values()} == {Lane.ALARM}
    assert len({one.card for one in said.values()}) == 1
    assert "s3cret" not in repr(said)


async def test_what_waits_is_amended_everywhere(store: Store, clock: Any) -> None:
    """Criticals that come close together share one letter, which names them all."""
    desk = await at_work(store, clock)
    await desk.post(alert("CPU", "a", CRITICAL))
    await clock.sleep(1)
    await desk.post(alert("CPU", "b", CRITICAL))
    await clock.sleep(1)
    await desk.post(alert("CPU", "c", CRITICAL))
    said = [one for one in (await desk.waiting()).values() if one.key.startswith("critical:")]
    newest = [one for one in said if one.due]
    assert len(newest) == 4
    assert len({one.card for one in newest}) == 1
    text = plain(loads(newest[0].card))
    assert "CPU · b" in text
    assert "CPU · c" in text


async def test_a_customer_without_wishes_is_told_in_the_group_alone(
    store: Store, clock: Any
) -> None:
    nobody = cast("Any", None)
    kit = Kit(clock, store, {}, nobody, nobody, nobody, House())
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "山青", "shanqing", clock.now(), GROUP))
    desk = Desk(kit, clock, customer)
    await desk.post(alert("CPU", "a", CRITICAL))
    assert set(await told(desk)) == {GROUP}

"""The customer's monitor, signed in as the bot."""

from __future__ import annotations

from adapters.port import Account, Fault, Monitor, Permanent
from runbooks.case import Onboarding
from runbooks.kit import Errand, Kit


def password_name(customer: int) -> str:
    """Return the vault's name for the password of the bot's own account on that monitor."""
    return f"monitor:{customer}:password"


async def monitor(case: Onboarding, errand: Errand) -> Monitor:
    """Return the customer's monitor, for a line of a book; raises as `signed_in` does."""
    return await signed_in(case, errand.kit)


async def signed_in(case: Onboarding, kit: Kit) -> Monitor:
    """Return the customer's monitor; the session is shared by all who ask.

    Raises Permanent when the instance has no address yet, or its password was never given.
    """
    if not case.url:
        raise Permanent("还没有监控实例的地址：请先完成部署", fault=Fault.MONITOR)
    async with kit.store.view() as unit:
        password = await unit.vault.get(password_name(case.customer))
    if password is None:
        raise Permanent(
            f"没有 {case.url} 的账号密码：请负责人输入 /monitor password，通过一次性链接登记机器人账号的密码",
            fault=Fault.MONITOR,
        )
    return kit.monitors.at(case.url, Account(kit.house.account, password))

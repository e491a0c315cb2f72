"""What the onboarding was told about on-call becomes the first rota and the first policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta

from runbooks.alerting.oncall import rungs
from runbooks.case import Contact
from runbooks.kit import House
from storage.roster import Callee, Layer, Roster, Way
from storage.store import Unit

MAIN = "主值班"
"""The first rota's one layer."""
HANDOFF = time(9)


async def adopt(
    customer: int,
    on_call: Sequence[Contact],
    minutes: Sequence[int],
    house: House,
    at: datetime,
    unit: Unit,
) -> bool:
    """Make the customer's rota and policy, in the caller's transaction; False when there is a rota:
    what people have changed since is theirs. The first one named is on call first, for a week."""
    if await unit.oncall.roster(customer):
        return False
    await unit.oncall.save(first_roster(customer, on_call, house, at))
    # By mail only where everybody has an address: a level must not fail by rule.
    mailed = bool(on_call) and all(each.email for each in on_call)
    ways = tuple(way for way in house.escalate_ways if way is not Way.EMAIL or mailed)
    after = minutes or house.escalate_after
    policy = rungs.from_minutes(after, house.escalate_repeat, ways)
    await unit.escalations.set_policy(customer, policy)
    return True


def first_roster(customer: int, on_call: Sequence[Contact], house: House, at: datetime) -> Roster:
    """Return the named people as one layer around the clock that changes on Monday mornings."""
    local = at.astimezone(house.zone)
    # Before Monday's hand-off the week still belongs to the Monday before.
    begun = local - timedelta(hours=HANDOFF.hour)
    monday = begun.date() - timedelta(days=begun.weekday())
    callees = tuple(
        {each.name: Callee(each.name, each.phone, each.email) for each in on_call}.values()
    )
    names = tuple(callee.name for callee in callees)
    layers = (Layer(MAIN, names, monday, handoff=HANDOFF),) if names else ()
    return Roster(customer, str(house.zone), callees, layers)

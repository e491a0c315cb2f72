"""From a form that is right to a run that walks: customer, servers, secrets and run together."""

from __future__ import annotations

import hashlib
from datetime import datetime

from adapters.words import Person
from runbooks import walk as walking
from runbooks.case import Onboarding
from runbooks.fleet import enlist
from runbooks.intake import Intake
from runbooks.onboarding import ONBOARDING
from storage.records import Customer, Run
from storage.store import Unit


async def begin(intake: Intake, by: Person, now: datetime, unit: Unit) -> Run:
    """Put a new onboarding at its first line, in the caller's transaction.

    Raises UsageError when the customer is there already, or two servers are one.
    """
    customer = await unit.customers.add(
        Customer(0, intake.company, slug_of(intake.company), now, tier=intake.tier)
    )
    await enlist(customer.id, intake.servers, unit)
    case = Onboarding(
        customer.id,
        intake.company,
        intake.contacts,
        tuple(row.name for row in intake.servers),
        intake.tier,
        intake.location,
        intake.systems,
        intake.monitoring,
        intake.channels,
        intake.domain,
        intake.way,
        intake.url,
    )
    run = walking.fresh(ONBOARDING, customer.id, walking.dump(case), by, now)
    placed = await walking.start(ONBOARDING, run, unit)
    detail = {"run": placed.id, "company": intake.company}
    await unit.audit.add(now, by.name, "onboard", detail)
    return placed


def slug_of(company: str) -> str:
    """Return a name for the customer's instance: its ASCII part, and a hash that keeps it unique."""
    ascii_part = "".join(c for c in company.lower() if c.isascii() and c.isalnum())[:20]
    digest = hashlib.sha256(company.encode()).hexdigest()[:8]
    return f"{ascii_part or 'c'}-{digest}"

"""The one-time code that makes the first lead: kept only as a hash, for a day and five tries."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from enum import Enum, auto

import msgspec

from adapters.words import Person, Role, Secret
from storage.records import Member
from storage.store import Unit

NAME = "pairing"
"""Of the vault's entry."""

LIFE = timedelta(hours=24)
TRIES = 5
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without those that are mistaken for each other: I and 1, O and 0."""
LENGTH = 10


class Offer(msgspec.Struct, frozen=True):
    """A code that may still be used."""

    hash: str
    expires_at: datetime
    tries: int = 0


class Outcome(Enum):
    """What became of a code that somebody typed."""

    PAIRED = auto()
    WRONG = auto()
    DEAD = auto()
    """None is open: used, too old, or tried too often."""


async def standing(now: datetime, unit: Unit) -> Offer | None:
    """Return the offer that is open."""
    kept = await unit.vault.get(NAME)
    if kept is None:
        return None
    offer = msgspec.json.decode(kept.reveal(), type=Offer)
    return offer if offer.tries < TRIES and now < offer.expires_at else None


async def offer(now: datetime, unit: Unit) -> Secret:
    """Make a code in the place of any before it, and return it: it is not kept."""
    code = Secret("".join(secrets.choice(LETTERS) for _ in range(LENGTH)))
    await _keep(Offer(_hash(code.reveal()), now + LIFE), unit)
    return code


async def redeem(code: str, person: Person, now: datetime, unit: Unit) -> Outcome:
    """Make `person` a lead if the code is the open one; a wrong one is counted.

    It returns and does not raise, so that the count is committed with the answer.
    """
    found = await standing(now, unit)
    if found is None:
        return Outcome.DEAD
    if not hmac.compare_digest(_hash(code), found.hash):
        await _keep(msgspec.structs.replace(found, tries=found.tries + 1), unit)
        return Outcome.WRONG
    await unit.vault.drop(NAME)
    await unit.people.put(Member(person, Role.LEAD))
    await unit.audit.add(now, person.name, "pair", {"person": person.id})
    return Outcome.PAIRED


async def _keep(made: Offer, unit: Unit) -> None:
    await unit.vault.put(NAME, Secret(msgspec.json.encode(made).decode()))


def _hash(code: str) -> str:
    plain = code.strip().upper().replace("-", "")
    return hashlib.sha256(plain.encode()).hexdigest()

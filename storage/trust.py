"""Signatures, and links that open once.

A link's token and code are never kept in the clear: the token as its SHA-256, the code as the
SHA-256 of token and code together, so that six digits cannot be tried against the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.words import Secret
from storage.records import OneTimeLink, Signature
from storage.rows import to_record, to_row
from storage.tables import one_time_links, signatures

TRIES = 5
"""Wrong codes after which a link is locked."""

_TOKEN_BYTES = 32
_CODES = 10**6


class Opening(StrEnum):
    """What came of a code that was typed."""

    OPENED = "opened"
    WRONG = "wrong"
    LOCKED = "locked"
    EXPIRED = "expired"
    USED = "used"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is told to two people by two ways: the token in the address, and the code."""

    token: Secret
    code: Secret


def new_ticket() -> Ticket:
    """Make a token that cannot be guessed and a code of six digits."""
    code = f"{secrets.randbelow(_CODES):06}"
    return Ticket(Secret(secrets.token_urlsafe(_TOKEN_BYTES)), Secret(code))


def link_of(
    ticket: Ticket, purpose: str, subject: str, now: datetime, within: timedelta
) -> OneTimeLink:
    """Return the record of a link: hashes only."""
    token, code = ticket.token.reveal(), ticket.code.reveal()
    return OneTimeLink(token_hash(token), purpose, subject, _code_hash(token, code), now + within)


def token_hash(token: str) -> str:
    """Return the name under which a link is kept."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def standing(link: OneTimeLink | None, now: datetime) -> Opening:
    """Say whether a link can still be opened: OPENED when the right code would open it."""
    if link is None:
        return Opening.UNKNOWN
    if link.used_at:
        return Opening.USED
    if link.tries >= TRIES:
        return Opening.LOCKED
    return Opening.EXPIRED if link.expires_at <= now else Opening.OPENED


class Links:
    """The one-time links."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, link: OneTimeLink) -> None:
        """Keep a new link; an unused one for the same thing stops to work."""
        await self._db.execute(
            sa.delete(one_time_links).where(
                (one_time_links.c.purpose == link.purpose)
                & (one_time_links.c.subject == link.subject)
                & one_time_links.c.used_at.is_(None)
            )
        )
        await self._db.execute(sa.insert(one_time_links).values(to_row(link)))

    async def get(self, token: str) -> OneTimeLink | None:
        where = one_time_links.c.token_hash == token_hash(token)
        row = (await self._db.execute(sa.select(one_time_links).where(where))).mappings().first()
        return to_record(OneTimeLink, row) if row else None

    async def open(self, token: str, code: str, now: datetime) -> Opening:
        """Use a link up with its code; a wrong code is counted, and the fifth locks the link.

        The caller commits whatever the outcome is: a count that is rolled back locks nothing.
        """
        link = await self.get(token)
        how = standing(link, now)
        if link is None or how is not Opening.OPENED:
            return how
        if not hmac.compare_digest(link.code_hash, _code_hash(token, code)):
            await self._set(link, tries=link.tries + 1)
            return Opening.LOCKED if link.tries + 1 >= TRIES else Opening.WRONG
        await self._set(link, used_at=now)
        return Opening.OPENED

    async def _set(self, link: OneTimeLink, **values: object) -> None:
        where = one_time_links.c.token_hash == link.token_hash
        await self._db.execute(sa.update(one_time_links).where(where).values(**values))


class Signatures:
    """Who accepted or refused; entries are only ever added."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def add(self, signature: Signature) -> None:
        await self._db.execute(sa.insert(signatures).values(to_row(signature)))

    async def of(self, run: str) -> Sequence[Signature]:
        """Return what was signed and refused in a run, oldest first."""
        rows = await self._db.execute(
            sa.select(signatures).where(signatures.c.run == run).order_by(signatures.c.id)
        )
        return [to_record(Signature, r) for r in rows.mappings()]


def _code_hash(token: str, code: str) -> str:
    return hashlib.sha256(f"{token}:{code}".encode(errors="replace")).hexdigest()

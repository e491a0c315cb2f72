"""Who has signed in: one signed cookie, and a door that gets slow for those who guess."""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from adapters.words import Secret
from storage.store import Store
from storage.vault import Seal

COOKIE = "vigilbot_session"
KEY = "web:session-key"
"""Of the vault's entry."""

TRIES = 5
WINDOW = timedelta(minutes=5)
"""So many wrong passwords from one address in this time, and it must wait."""
ADDRESSES = 10_000
"""Addresses remembered; more than these share one count, so a flood cannot fill the memory."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the console asks for, and for how long it then lets in."""

    username: str
    password: Secret
    hours: int
    key: Secret
    """Signs the cookie."""

    def knows(self, username: str, password: str) -> bool:
        """Are these the right ones? Takes as long whether the name or the password is wrong."""
        name = hmac.compare_digest(username.encode(), self.username.encode())
        word = hmac.compare_digest(password.encode(), self.password.reveal().encode())
        return name and word

    def ticket(self, now: datetime) -> str:
        """Return the cookie of somebody who has just signed in."""
        until = str(int((now + timedelta(hours=self.hours)).timestamp()))
        return f"{until}.{self._sign(until)}"

    def admits(self, ticket: str, now: datetime) -> bool:
        """Was this cookie made by us, for this account, and is it not over?"""
        until, _, signed = ticket.partition(".")
        if not hmac.compare_digest(signed.encode(), self._sign(until).encode()):
            return False
        return now.timestamp() < int(until)

    def _sign(self, until: str) -> str:
        # With the password in it: a new password signs everybody out.
        body = f"{until}\0{self.username}\0{self.password.reveal()}"
        return hmac.new(self.key.reveal().encode(), body.encode(), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class Door:
    """Counts wrong passwords by the address that they came from."""

    wrong: dict[str, deque[datetime]] = field(default_factory=dict)

    def shut(self, address: str, now: datetime) -> bool:
        """Must this address wait?"""
        seen = self.wrong.get(self._count_of(address), deque())
        while seen and now - seen[0] >= WINDOW:
            seen.popleft()
        return len(seen) >= TRIES

    def refuse(self, address: str, now: datetime) -> None:
        """Note a wrong password."""
        self.wrong.setdefault(self._count_of(address), deque(maxlen=TRIES)).append(now)

    def welcome(self, address: str) -> None:
        """Forget what was wrong before."""
        self.wrong.pop(address, None)

    def _count_of(self, address: str) -> str:
        full = len(self.wrong) >= ADDRESSES and address not in self.wrong
        return "everybody else" if full else address


async def session_key(store: Store) -> Secret:
    """Return the key that signs cookies: made once, so that a restart signs nobody out."""
    async with store.unit() as unit:
        key = await unit.vault.get(KEY)
        if key is None:
            key = Seal.new_key()
            await unit.vault.put(KEY, key)
    return key

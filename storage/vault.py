"""Secrets at rest: sealed with a key that is not in the database.

AES-256-GCM; the name of a secret is authenticated with it, so that a sealed value cannot be
moved under another name.
"""

from __future__ import annotations

import base64
import binascii
import os

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.port import UsageError
from adapters.words import Secret
from storage.tables import vault

_NONCE = 12
_KEY = 32


class Seal:
    """The key of the vault."""

    def __init__(self, key: Secret) -> None:
        """Take 32 bytes in URL-safe base64, as `Seal.new_key` makes them, or raise UsageError."""
        try:
            raw = base64.urlsafe_b64decode(key.reveal().encode())
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != _KEY:
            raise UsageError("保险库密钥无效：需要 32 字节的 base64（用 vigilbot key 生成）")
        self._aead = AESGCM(raw)

    @staticmethod
    def new_key() -> Secret:
        """Make a new key."""
        return Secret(base64.urlsafe_b64encode(os.urandom(_KEY)).decode())

    def close(self, name: str, secret: Secret) -> bytes:
        """Return the sealed form of a secret under its name."""
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, secret.reveal().encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> Secret:
        """Return the secret; raise UsageError when the key is another one or the value was moved."""
        try:
            text = self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
        except InvalidTag:
            raise UsageError(f"无法解封「{name}」：保险库密钥与数据库不匹配") from None
        return Secret(text.decode())


class Vault:
    """The secrets, by name."""

    def __init__(self, connection: AsyncConnection, seal: Seal) -> None:
        self._db = connection
        self._seal = seal

    async def put(self, name: str, secret: Secret) -> None:
        """Keep a secret under a name, in place of what was there."""
        await self.drop(name)
        sealed = self._seal.close(name, secret)
        await self._db.execute(sa.insert(vault).values(name=name, sealed=sealed))

    async def get(self, name: str) -> Secret | None:
        """Return a secret, or None when there is none of that name."""
        sealed = await self._db.scalar(sa.select(vault.c.sealed).where(vault.c.name == name))
        return None if sealed is None else self._seal.open(name, sealed)

    async def drop(self, name: str) -> None:
        """Forget a secret."""
        await self._db.execute(sa.delete(vault).where(vault.c.name == name))

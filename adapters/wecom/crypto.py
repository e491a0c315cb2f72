"""The callback's seal (developer.work.weixin.qq.com/document/path/101033), with what it lacks: a
window of time and a memory of what came in it, because a signature alone never grows old.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import struct
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from adapters.words import Secret

WINDOW = timedelta(minutes=10)
BLOCK = 32
"""PKCS#7 is to 32 bytes here, not to AES' 16."""
HEAD = 16
"""Random bytes before the message."""
KEY_LENGTH = 43

_ENCRYPT = re.compile(rb"<Encrypt>\s*(?:<!\[CDATA\[)?([A-Za-z0-9+/=]+)(?:\]\]>)?\s*</Encrypt>")


class Unsealed(ValueError):
    """It was not sealed by who holds our token and key, or is too old."""


class Seal:
    """Opens and closes what WeCom posts; `receiver` is the CorpID, of an in-house AI bot empty."""

    def __init__(self, token: Secret, aes_key: Secret, receiver: str) -> None:
        self._token = token
        self._aes_key = aes_key
        self._receiver = receiver.encode()
        self._seen: dict[str, datetime] = {}

    def sign(self, timestamp: str, nonce: str, sealed: str) -> str:
        parts = sorted((self._token.reveal(), timestamp, nonce, sealed))
        return hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest()

    def open(self, signature: str, timestamp: str, nonce: str, sealed: str, now: datetime) -> bytes:
        """Return what was sealed; raises Unsealed."""
        expected = self.sign(timestamp, nonce, sealed)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            raise Unsealed("signature")
        if not timestamp.isdecimal() or abs(now.timestamp() - int(timestamp)) > WINDOW.seconds:
            raise Unsealed("age")
        return self._decrypted(sealed)

    def again(self, signature: str, now: datetime) -> bool:
        """Was this very call taken before? Asked once it is opened; `taken` notes that it was."""
        self._seen = {s: at for s, at in self._seen.items() if now - at <= 2 * WINDOW}
        return signature in self._seen

    def taken(self, signature: str, now: datetime) -> None:
        self._seen[signature] = now

    def close(self, message: bytes) -> str:
        """Seal a message, as WeCom does it."""
        plain = os.urandom(HEAD) + struct.pack(">I", len(message)) + message + self._receiver
        pad = BLOCK - len(plain) % BLOCK
        encryptor = self._cipher().encryptor()
        data = encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()
        return base64.b64encode(data).decode()

    def _decrypted(self, sealed: str) -> bytes:
        try:
            decryptor = self._cipher().decryptor()
            data = base64.b64decode(sealed, validate=True)
            plain = decryptor.update(data) + decryptor.finalize()
        except (binascii.Error, ValueError) as problem:
            raise Unsealed("form") from problem
        pad = plain[-1] if plain else 0
        body = plain[HEAD : len(plain) - pad]
        if not 1 <= pad <= BLOCK or len(body) < struct.calcsize(">I"):
            raise Unsealed("padding")
        (length,) = struct.unpack(">I", body[:4])
        if body[4 + length :] != self._receiver:
            raise Unsealed("receiver")
        return body[4 : 4 + length]

    def _cipher(self) -> Cipher[modes.CBC]:
        return _cipher(base64.b64decode(self._aes_key.reveal() + "="))


def opened_file(sealed: bytes, aes_key: str) -> bytes:
    """Return a file that a person sent, by the key of its own that came with its address; raises
    Unsealed (as @wecom/aibot-node-sdk 1.0.7 does it, decryptFile)."""
    try:
        decryptor = _cipher(base64.b64decode(aes_key, validate=True)).decryptor()
        plain = decryptor.update(sealed) + decryptor.finalize()
    except (binascii.Error, ValueError) as problem:
        raise Unsealed("form") from problem
    pad = plain[-1] if plain else 0
    if not 1 <= pad <= BLOCK or plain[-pad:] != bytes([pad]) * pad:
        raise Unsealed("padding")
    return plain[:-pad]


def _cipher(key: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(key), modes.CBC(key[:16]))


def sealed_in(body: bytes) -> str:
    """Return the sealed part of a callback's XML, which nobody has proved yet: it is not parsed."""
    found = _ENCRYPT.search(body)
    if found is None:
        raise Unsealed("form")
    return found[1].decode()

"""Huawei's SMN on loopback: it signs its question, shows its certificate over TLS and takes the yes.

Its hosts are Huawei's own, so a way out of the network leads there: a proxy that takes CONNECT and
brings every host to this one. Whose host it is only its TLS certificate proves, by a CA of its own.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

CONFIRM_HOST = "cn-east-3-console.huaweicloud.com"
CERTIFICATE_HOST = "smn.cn-east-3.myhuaweicloud.com"
CERTIFICATE_PATH = "/smn/SMN_cn-east-3_1.pem"
SIGNED = ("message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type")
DAY = timedelta(days=1)


class SmnSim:
    """Enter it to serve. `hosts` are those that its TLS certificate is for. `trouble` is the status
    that it answers its next requests, one for each."""

    def __init__(
        self, folder: Path, hosts: Sequence[str] = (CONFIRM_HOST, CERTIFICATE_HOST)
    ) -> None:
        self.seen: list[str] = []
        """What was asked for, as host and path."""
        self.confirmed: list[str] = []
        """Tokens of the subscriptions that were confirmed."""
        self.trouble: list[int] = []
        self._key = _signing_key()
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        self._folder = folder
        self._hosts = hosts
        self._servers: list[asyncio.Server] = []
        self.proxy = ""

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._leaf())
        host = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=context)
        self._port = host.sockets[0].getsockname()[1]
        door = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        self.proxy = f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}"
        self._servers = [host, door]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server in self._servers:
            server.close()

    def way_out(self) -> httpx.AsyncBaseTransport:
        """Return how a client reaches it: it trusts this CA alone, and checks the host's name."""
        trust = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
        return httpx.AsyncHTTPTransport(verify=trust, proxy=self.proxy)

    def question(self, **altered: str) -> bytes:
        """Return a question as it is posted; `altered` is changed after it was signed."""
        asked: dict[str, Any] = {
            "signature_version": "v1",
            "type": "SubscriptionConfirmation",
            "topic_urn": "urn:smn:cn-east-3:p1:alarms",
            "message_id": "m-0",
            "message": "You are invited to subscribe to topic: urn:smn:cn-east-3:p1:alarms.",
            "subscribe_url": f"https://{CONFIRM_HOST}/smn/subscription/confirm?token=t-1",
            "signing_cert_url": f"https://{CERTIFICATE_HOST}{CERTIFICATE_PATH}",
            "timestamp": "2026-11-25T03:00:00Z",
        }
        text = "".join(f"{name}\n{asked[name]}\n" for name in SIGNED)
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return json.dumps(asked | {"signature": b64encode(signature).decode()} | altered).encode()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ", 2)[1]
        host = next(
            line.partition(": ")[2]
            for line in head.split("\r\n")
            if line.lower().startswith("host: ")
        )
        self.seen.append(f"{host}{urlsplit(path).path}")
        status, body = self._found(host, path)
        writer.write(
            f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
            f"location: https://evil.example/\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()

    def _found(self, host: str, path: str) -> tuple[int, bytes]:
        if self.trouble:
            return self.trouble.pop(0), b""
        if (host, path) == (CERTIFICATE_HOST, CERTIFICATE_PATH):
            return 200, self._signing_certificate()
        if host == CONFIRM_HOST and path.startswith("/smn/subscription/confirm?token="):
            self.confirmed.append(path.rpartition("=")[2])
            return 200, b"{}"
        return 404, b""

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        there, to = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 x\r\n\r\n")
        await asyncio.gather(_pipe(reader, to), _pipe(there, writer))

    def _signing_certificate(self) -> bytes:
        name = _named("smn")
        now = datetime.now(tz=UTC)
        made = x509.CertificateBuilder(name, name, self._key.public_key(), 1, now - DAY, now + DAY)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _leaf(self) -> Path:
        """Write the CA and what it vouches for; return the file that the server shows."""
        now, key = datetime.now(tz=UTC), ec.generate_private_key(ec.SECP256R1())
        ca = _named("a CA of the tests")
        basic = x509.BasicConstraints(ca=True, path_length=0)
        root = (
            x509.CertificateBuilder(ca, ca, self._ca_key.public_key(), 2, now - DAY, now + DAY)
            .add_extension(basic, critical=True)
            .sign(self._ca_key, hashes.SHA256())
        )
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in self._hosts])
        leaf = (
            x509.CertificateBuilder(ca, _named("smn"), key.public_key(), 3, now - DAY, now + DAY)
            .add_extension(names, critical=False)
            .sign(self._ca_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (self._folder / "ca.pem").write_bytes(root.public_bytes(pem))
        file = self._folder / "smn.pem"
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file.write_bytes(leaf.public_bytes(pem) + key.private_bytes(pem, form, plain))
        return file


@cache
def _signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    except ConnectionError:
        return  # who hangs up in the middle is what a test wants to see
    finally:
        writer.close()

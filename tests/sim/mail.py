"""A mail server on the loopback: real SMTP with real TLS, strict, and misbehaving when told to."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "bot@house.example", "mail-s3cret"


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 and localhost that only who has its file trusts."""

    folder: Path
    file: Path = field(init=False)
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(tz=UTC)
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.DNSName("hook.example"),
            x509.IPAddress(IPv4Address("127.0.0.1")),
        ]
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        file, secret = self.folder / "ca.pem", self.folder / "key.pem"
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file, secret)
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "context", context)


class _Door(SMTP):
    """One connection, which knows how to break."""

    house: MailSim

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.house.doors.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.house.doors.discard(self)

    def abort(self) -> None:
        cast("asyncio.Transport", self.transport).abort()

    async def smtp_RCPT(self, arg: str) -> None:  # noqa: N802 - aiosmtpd looks for it by this name
        fault = self.house.next("rcpt")
        if fault == "gone":
            self.abort()
            return
        if fault:
            await self.push(fault)
            return
        await super().smtp_RCPT(arg)


class MailSim:
    """The far side. `faults`: what the next session does wrong, at `rcpt`, `data` or `auth`:

    an answer ("550 5.1.1 no such user"), `gone` (breaks off before the letter), `lost` (takes the
    letter and breaks off without a word), `silent` (takes it and says nothing more), `garbled` (takes it and
    answers what is no answer).
    """

    def __init__(
        self, certificate: Certificate, *, implicit: bool = False, tls: bool = True
    ) -> None:
        self._certificate, self._implicit, self._tls = certificate, implicit, tls
        self._faults: dict[str, deque[str]] = {"rcpt": deque(), "data": deque(), "auth": deque()}
        self.letters: list[tuple[str, EmailMessage]] = []
        self.sign_ins = 0
        self.doors: set[_Door] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    def misbehave(self, at: str, *faults: str) -> None:
        self._faults[at].extend(faults)

    def next(self, at: str) -> str:
        return self._faults[at].popleft() if self._faults[at] else ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def door() -> _Door:
            made = _Door(
                self,
                hostname="mail.example",
                loop=loop,
                tls_context=self._certificate.context if self._tls and not self._implicit else None,
                require_starttls=self._tls and not self._implicit,
                auth_required=True,
                auth_require_tls=self._tls and not self._implicit,
                auth_exclude_mechanism=["LOGIN"],
                authenticator=self._authenticated,
            )
            made.house = self
            return made

        secure = self._certificate.context if self._implicit else None
        self._server = await loop.create_server(door, "127.0.0.1", 0, ssl=secure)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server
        self._server.close()
        for door in tuple(self.doors):
            door.abort()
        await self._server.wait_closed()

    def _authenticated(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.sign_ins += 1
        if fault := self.next("auth"):
            return AuthResult(success=False, handled=False, message=fault)
        assert isinstance(data, LoginPassword)
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    async def handle_DATA(  # noqa: N802 - aiosmtpd looks for it by this name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Take a letter as the server would, or as it was told."""
        fault = self.next("data")
        if fault[:1].isdigit():
            return fault
        (to,) = envelope.rcpt_tos
        assert isinstance(envelope.content, bytes)
        assert all(len(line) <= 998 for line in envelope.content.split(b"\r\n"))
        letter = message_from_bytes(envelope.content, policy=cast("Any", default))
        self.letters.append((to, cast("EmailMessage", letter)))
        assert isinstance(server, _Door)
        if fault == "lost":
            server.abort()
        elif fault == "silent":
            await asyncio.Event().wait()
        return "yes" if fault == "garbled" else "250 2.0.0 queued"

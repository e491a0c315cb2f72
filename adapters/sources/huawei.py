"""What Huawei Cloud's SMN (华为云消息通知服务) posts: Cloud Eye's alarms, and the subscription's handshake.

The envelope is in support.huaweicloud.com/usermanual-smn/smn_ug_a9002.html, the signature in
smn_ug_a9003.html. An alarm is JSON in a text inside of it; other services send bare texts.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate
from msgspec import Struct, field

from adapters.port import UsageError
from adapters.sources import reading
from adapters.sources.reading import Text, Wrong
from adapters.words import Alert, Severity

NAME = "huawei"
TITLE = "华为云 SMN"
WRONG = Wrong(TITLE)

CERTIFICATE_HOST = re.compile(r"smn\.[a-z0-9-]+\.myhuaweicloud\.(?:com|eu)")
CONFIRM_HOST = re.compile(
    r"(?:[a-z0-9-]+-)?console\.huaweicloud\.com|smn\.[a-z0-9-]+\.myhuaweicloud\.(?:com|eu)"
)
"""Only there do we go: whoever knows our address could name any host."""

KINDS = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")


class _Envelope(Struct):
    type: str
    message: str = ""
    message_id: str = ""
    topic_urn: str = ""
    timestamp: str = ""
    subject: str | None = None
    subscribe_url: str = ""
    signature: str = ""
    certificate_url: str = field(name="signing_cert_url", default="")


class _Words(Struct, rename="pascal", frozen=True):
    alarm_level: Text = ""
    resource_name: Text = ""
    resource_id: Text = ""
    metric_name: Text = ""
    private_ip: Text = ""
    current_data: Text = ""
    region: Text = ""
    link: Text = ""


class _Alarm(Struct):
    alarm_status: Text
    alarm_id: Text
    alarm_name: Text = ""
    time: float = 0
    namespace: Text = ""
    metric_name: Text = ""
    dimension: Text = ""
    text: Text = field(name="sms_content", default="")
    words: _Words = field(name="template_variable", default=_Words())


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ALARM = msgspec.json.Decoder(_Alarm)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """SMN asks whether the address is ours: a GET of `subscribe_url` says yes.

    First `signed` must have been signed by the certificate at `certificate_url`: see `genuine`.
    """

    subscribe_url: str
    certificate_url: str
    topic: str
    signed: bytes
    signature: bytes


def decode(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Return the alert of one message, none for a handshake; raise UsageError for neither."""
    envelope = _open(body)
    if envelope.type != "Notification":
        return ()
    try:
        alarm = reading.read(_ALARM, envelope.message.encode("utf-8", "replace"), WRONG)
    except UsageError:
        return (_text(envelope, now),)
    return (_alert(alarm, envelope, now),)


def confirmation(body: bytes) -> Confirmation | None:
    """Return the handshake that was posted; None when it is something else.

    Raises UsageError when its addresses are not Huawei's.
    """
    envelope = _open(body)
    if envelope.type != "SubscriptionConfirmation":
        return None
    _belongs(envelope.certificate_url, CERTIFICATE_HOST)
    _belongs(envelope.subscribe_url, CONFIRM_HOST)
    try:
        signature = b64decode(envelope.signature, validate=True)
    except ValueError:
        raise WRONG.told("签名不是 base64 / the signature is not base64") from None
    return Confirmation(
        envelope.subscribe_url,
        envelope.certificate_url,
        reading.line(reading.clean(envelope.topic_urn)),
        _signed(envelope),
        signature,
    )


def genuine(asked: Confirmation, certificate: bytes) -> bool:
    """Tell whether a handshake was signed by the holder of `certificate` (PEM)."""
    try:
        key = load_pem_x509_certificate(certificate).public_key()
        if not isinstance(key, RSAPublicKey):
            return False
        key.verify(asked.signature, asked.signed, PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _open(body: bytes) -> _Envelope:
    """Return the envelope as it was posted: cleaned, the text in it would not be signed any more."""
    envelope = reading.exact(_ENVELOPE, body, WRONG)
    if envelope.type not in KINDS:
        raise WRONG.told(f"type = {envelope.type!r}")
    return envelope


def _belongs(url: str, hosts: re.Pattern[str]) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "https" and parts.port in {None, 443} and not parts.username
        fine = fine and hosts.fullmatch(parts.hostname or "") is not None
    except ValueError:
        fine = False
    if not fine:
        raise WRONG.told(f"不是华为云的地址 / not an address of Huawei Cloud: {url}")


def _signed(envelope: _Envelope) -> bytes:
    """Return what is signed: each name on a line, its value on the next, sorted by name."""
    parts = {
        "message": envelope.message,
        "message_id": envelope.message_id,
        "subscribe_url": envelope.subscribe_url,
        "timestamp": envelope.timestamp,
        "topic_urn": envelope.topic_urn,
        "type": envelope.type,
    }
    return "".join(f"{name}\n{value}\n" for name, value in parts.items()).encode("utf-8", "replace")


def _alert(wire: _Alarm, envelope: _Envelope, now: datetime) -> Alert:
    words = wire.words
    firing = wire.alarm_status.lower() != "ok"
    severity = reading.severity_of(words.alarm_level)
    at = reading.epoch(wire.time, now)
    dimensions = _dimensions(wire.dimension)
    labels = {
        "alertname": wire.alarm_name,
        "severity": str(severity),
        "metric": wire.metric_name,
        "namespace": wire.namespace,
        "host": words.resource_name,
        "instance": words.private_ip,
        "alarm_id": wire.alarm_id,
        "region": words.region,
    }
    return Alert(
        reading.identity(wire.alarm_id, wire.metric_name, wire.dimension or words.resource_id),
        firing,
        severity,
        reading.line(wire.alarm_name) or TITLE,
        reading.line(words.resource_name or words.resource_id),
        reading.line(f"{words.metric_name} {words.current_data}"),
        wire.text or reading.clean(envelope.subject or ""),
        dimensions | {key: value for key, value in labels.items() if value},
        at if firing else None,
        None if firing else at or now,
        reading.link(words.link),
    )


def _text(envelope: _Envelope, now: datetime) -> Alert:
    """Return a bare text as an alert: nothing in it says how bad it is, or that it is over.

    Nor what rule it is of: its subject is written for people, with a host and a figure in it.
    """
    subject = reading.line(reading.clean(envelope.subject or ""))
    text = reading.clean(envelope.message)
    title = subject or reading.line(text) or TITLE
    return Alert(
        reading.identity(envelope.topic_urn, title),
        firing=True,
        severity=Severity.WARNING,
        rule="",
        title=title,
        text=text,
        labels={"topic": reading.line(reading.clean(envelope.topic_urn))},
        starts_at=reading.written(envelope.timestamp, now),
        ends=False,
    )


def _dimensions(text: str) -> dict[str, str]:
    """Return what `instance_id:1,disk:vda` names."""
    pairs = (part.partition(":") for part in text.split(",")[: reading.MOST_LABELS])
    return {key.strip()[: reading.LONGEST_KEY]: value.strip() for key, _, value in pairs if value}

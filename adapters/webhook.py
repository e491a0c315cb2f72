"""A signed webhook out, a channel that only speaks: a POST of JSON to an address of the customer's.

Signed as standardwebhooks.com has it, so that its libraries verify it: `webhook-id`,
`webhook-timestamp`, `webhook-signature: v1,<base64 of HMAC-SHA256(id.timestamp.body)>`. The id is
made of the key, so a delivery that is told again has the same one, and the receiver can drop it.

The address is typed by people and must not lead into our own network: its name is resolved once,
every address that it has is judged, one that was judged is the one that is dialled (so a name that
changes its mind in between gains nothing), and a redirect is not followed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Self

import httpx

from adapters.card import Card, Fields, Summons, plain, summons_of
from adapters.oneway import OneWay, readable
from adapters.port import Capabilities, Clock, Fault, OutsideError, Permanent, Transient
from adapters.words import Chat, File, Person, Receipt, Secret

Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(name, port) -> the addresses that it has. Raises OSError."""

NAT64 = ip_network("64:ff9b::/96")
"""An IPv4 address in the clothes of a public IPv6 one (RFC 6052)."""

GONE = 410
LATER = frozenset({408, 425, 429})
LONGEST_WAIT = 3600.0
"""Seconds: who asks for a longer pause gets this one."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a customer wants to be told, and the key that proves to them that it was us."""

    url: Secret
    key: Secret


Find = Callable[[str], Awaitable[Target | None]]
"""A chat's id -> its target, which is a secret and therefore not the id itself."""


class Webhook(OneWay):
    """A chat's id is the name under which `find` has its address and its key."""

    title = "Webhook "

    def __init__(
        self,
        find: Find,
        *,
        clock: Clock,
        allow: Sequence[str] = (),
        ca_file: Path | None = None,
        timeout: float = 10.0,
        name: str = "webhook",
        resolve: Resolve | None = None,
    ) -> None:
        super().__init__()
        self._find = find
        self._clock = clock
        self._allow = tuple(ip_network(each) for each in allow)
        self._ca_file = ca_file
        self._timeout = timeout
        self._name = name
        self._resolve = resolve or addresses
        self._http: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def can(self) -> Capabilities:
        return Capabilities(
            can_edit=False,
            creates_chats=False,
            has_idempotency=True,  # by `webhook-id`, which the receiver has to look at
            forms=False,
            files=False,
            callback_budget=0.0,
            max_card_bytes=200_000,
            per_chat_per_minute=60,
        )

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=self._ca_file),
            timeout=self._timeout,
            trust_env=False,  # a proxy would resolve the name itself
            follow_redirects=False,
            # None is kept: a connection that was proved for one name may not carry another's.
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        return await super().__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        if self._http:
            await self._http.aclose()
        self._http = None

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        """Post the card; what is not a 2xx in time is told again under the same id. A summons is a
        `call`, with whom to reach and about what."""
        shown = readable(card)
        facts = [
            pair for block in shown.blocks if isinstance(block, Fields) for pair in block.pairs
        ]
        said = {"title": card.title, "tone": str(card.tone), "text": plain(shown)}
        told = {**said, "facts": dict(facts)}
        if summons := summons_of(card):
            return await self._tell(chat, "call", {**told, **_call(summons)}, key)
        return await self._tell(chat, "card", told, key)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        """Raise Permanent: files are fetched in the group."""
        raise Permanent("Webhook 不发送文件：请到群里下载", fault=Fault.REFUSED)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """Post a call for one person: who is rung there is the receiver's business."""
        said = {"person": person.name, "text": text}
        return await self._tell(Chat(person.platform, person.id), "ring", said, key)

    async def _tell(self, chat: Chat, kind: str, said: Mapping[str, object], key: str) -> Receipt:
        if self._http is None:
            raise Transient("Webhook 渠道没有打开")
        target = await self._find(chat.id) if chat.platform == self._name else None
        if target is None:
            raise Permanent("没有登记这个 Webhook 地址", fault=Fault.REFUSED)
        now = int(self._clock.now().timestamp())
        its_id = delivery_id(key)
        text = json.dumps({"type": kind, "id": its_id, **said}, ensure_ascii=False)
        body = text.encode(errors="replace")
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Vigilbot",
            "webhook-id": its_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(target.key, its_id, now, body),
        }
        await self._post(self._http, target.url, headers, body)
        return Receipt(chat, its_id)

    async def _post(
        self, http: httpx.AsyncClient, url: Secret, headers: dict[str, str], body: bytes
    ) -> None:
        try:
            # One parser reads the address for the judgement and for the dialling.
            there = httpx.URL(url.reveal())
            host, port = there.host, there.port or {"https": 443, "http": 80}[there.scheme]
        except (httpx.InvalidURL, KeyError, UnicodeError):  # idna's errors are UnicodeErrors
            raise Permanent("Webhook 地址不是 http(s) 地址", fault=Fault.REFUSED) from None
        address = await self._judged(host, port)
        request = http.build_request(
            "POST",
            there.copy_with(host=address, userinfo=b""),
            headers={**headers, "host": there.netloc.decode("ascii")},
            content=body,
            extensions={"sni_hostname": host, "timeout": http.timeout.as_dict()},
        )
        try:
            async with asyncio.timeout(self._timeout):
                answer = await http.send(request, stream=True)
                await answer.aclose()  # its body is nobody's business, however long it is
        except (httpx.TransportError, TimeoutError) as error:
            raise lost(error) from None
        if problem := judgement(answer.status_code, answer.headers.get("retry-after", "")):
            raise problem

    async def _judged(self, host: str, port: int) -> str:
        """Return an address of the name; raises Permanent when any of its addresses is not to be
        dialled, Transient when it has none."""
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            found = ()
        if not found:
            raise Transient("Webhook 地址的主机名查不到")
        for each in found:
            if not permitted(ip_address(each), self._allow):
                raise Permanent(
                    "Webhook 地址指向内网或本机，已拒绝（如确需使用，请在 channels.webhook.allow 中放行）",
                    fault=Fault.REFUSED,
                )
        return found[0]


def _call(summons: Summons) -> dict[str, object]:
    return {
        "person": summons.person,
        "phone": summons.phone,
        "incident": summons.incidents[0],
        "incidents": list(summons.incidents),
        "severity": str(summons.severity),
    }


async def addresses(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a name, or of an address itself."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[0]) for *_, place in found))


def permitted(address: IPv4Address | IPv6Address, allow: Sequence[Network] = ()) -> bool:
    """Tell whether a webhook may go to an address: to the public ones, and to what is allowed."""
    inner = embedded(address)
    if any(inner in network for network in allow if network.version == inner.version):
        return True
    local = isinstance(inner, IPv6Address) and inner.is_site_local
    return inner.is_global and not (inner.is_multicast or inner.is_reserved or local)


def embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for (mapped, 6to4, Teredo, NAT64), or it."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def delivery_id(key: str) -> str:
    """Return the delivery's own name: the same for the same key, and telling nothing of it."""
    return f"msg_{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def signature(key: Secret, its_id: str, at: int, body: bytes) -> str:
    """Return what stands in `webhook-signature`."""
    signed = f"{its_id}.{at}.".encode() + body
    made = hmac.new(key_bytes(key), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(made).decode()}"


def key_bytes(key: Secret) -> bytes:
    """Return the key: after `whsec_` it is base64, as the standard's libraries write it; any other
    text is its own bytes."""
    text = key.reveal()
    if text.startswith("whsec_"):
        try:
            return base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return text.encode()


def judgement(status: int, retry_after: str) -> OutsideError | None:
    """Return what is wrong with an answer, if anything; a redirect is an answer, and no way."""
    reason = f"Webhook 接收方回答 HTTP {status}"
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110: success
        return None
    if status in LATER or status >= 500:  # noqa: PLR2004 - RFC 9110: its own fault
        pause = float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else None
        return Transient(reason, retry_after=pause and min(pause, LONGEST_WAIT))
    if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110: elsewhere
        reason += "（不跟随跳转，请登记最终地址）"
    if status == GONE:
        reason += "（对方已停用这个地址）"
    return Permanent(reason, fault=Fault.REFUSED)


def lost(error: Exception) -> OutsideError:
    """Return what an exchange that broke means. That it may have arrived is no doubt here: it is
    told again under the same id."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"Webhook 接收方的证书不可信（{cause.verify_message}）"
            return Permanent(reason, fault=Fault.REFUSED)
        cause = cause.__cause__ or cause.__context__
    return Transient(f"Webhook 没有送达（{type(error).__name__}）")

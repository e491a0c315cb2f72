"""E-mail, a channel that only speaks: one message to one address, over SMTP with TLS.

What the server says at once is the outcome: refused for good, refused for now, or taken. That it
was taken is no proof of a mailbox: a later bounce comes back to the sender's own mailbox.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as RULES
from email.utils import format_datetime, formataddr
from html import escape
from pathlib import Path
from string import Template
from typing import Literal

import aiosmtplib

from adapters.card import (
    SIGNS,
    Block,
    Buttons,
    Card,
    Checklist,
    Fields,
    Form,
    Mention,
    Progress,
    Style,
    Table,
    Text,
    Tone,
    plain,
    say,
)
from adapters.chart import Chart
from adapters.oneway import OneWay, readable
from adapters.port import Capabilities, Clock, Fault, InDoubt, OutsideError, Permanent, Transient
from adapters.words import NOTHING, Chat, File, Person, Receipt, Secret

Security = Literal["starttls", "tls"]

LONGEST_SUBJECT = 150
LONGEST_REASON = 200
GOODBYE = 2.0
"""Seconds that a server has to answer QUIT."""
GREYLISTED = 60.0
"""Seconds after which a server that said "not now" is asked again."""

MAX_FILE_BYTES = 15_000_000
"""Of an attachment: many servers take 20 MB, and base64 makes a third more of it."""

MAILBOX = re.compile(
    r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*", re.ASCII | re.IGNORECASE
)
"""One recipient that every server understands, and nothing that a head would read as more than one."""

WIRE = RULES.clone(cte_type="7bit")


class Mail(OneWay):
    """A chat's id is the address of one recipient, so that each one's outcome is known."""

    title = "邮件"

    def __init__(
        self,
        host: str,
        port: int,
        sender: str,
        *,
        clock: Clock,
        security: Security = "starttls",
        username: str = "",
        password: Secret = NOTHING,
        display: str = "Vigilbot",
        ca_file: Path | None = None,
        timeout: float = 30.0,
        name: str = "mail",
    ) -> None:
        super().__init__()
        self._host = host
        self._port = port
        self._sender = sender
        self._display = display
        self._clock = clock
        self._security = security
        self._username = username
        self._password = password
        self._ca_file = ca_file
        self._timeout = timeout
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def can(self) -> Capabilities:
        return Capabilities(
            can_edit=False,
            creates_chats=False,
            has_idempotency=False,  # the Message-ID is the same, but who looks at it is not known
            forms=False,
            callback_budget=0.0,
            max_card_bytes=1_000_000,
            per_chat_per_minute=20,
        )

    async def send(self, chat: Chat, card: Card, *, key: str) -> Receipt:
        """Mail the card as text and as HTML."""
        letter = self._letter(chat, card, key)
        return await self._post(chat, letter)

    async def upload(self, chat: Chat, file: File, *, key: str) -> Receipt:
        """Mail the file as an attachment."""
        if not 0 < len(file.content) <= MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 1_000_000
            raise Permanent(f"附件须在 1 字节到 {limit} MB 之间", fault=Fault.REFUSED)
        letter = self._letter(chat, say(file.name, "见附件"), key)
        letter.add_attachment(
            file.content,
            maintype="application",
            subtype="octet-stream",
            filename=one_line(file.name),
        )
        return await self._post(chat, letter)

    async def ring(self, person: Person, text: str, *, key: str) -> Receipt:
        """Mail one person, marked urgent: louder than that a letter cannot be."""
        chat = Chat(person.platform, person.id)
        head, _, rest = text.partition("\n")
        letter = self._letter(chat, say(head, rest, tone=Tone.BAD), key)
        letter["Importance"] = "high"
        letter["X-Priority"] = "1"
        return await self._post(chat, letter)

    async def check(self) -> str:
        """Sign in and leave, for the doctor; return what was spoken. Raises the three errors."""
        client = self._client()
        try:
            await client.connect()
            spoken = client.get_transport_info("ssl_object").version()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise verdict(error, handed_over=False) from None
        finally:
            await _leave(client)
        return f"{self._host}:{self._port}，{spoken}"

    # -- the letter -----------------------------------------------------------------------------

    def _letter(self, chat: Chat, card: Card, key: str) -> EmailMessage:
        if chat.platform != self._name or not MAILBOX.fullmatch(chat.id):
            raise Permanent(f"不是邮件地址：{chat.id[:60]!r}", fault=Fault.REFUSED)
        letter = EmailMessage(policy=WIRE)
        letter["From"] = formataddr((one_line(self._display), self._sender))
        letter["To"] = chat.id
        letter["Subject"] = one_line(card.title)[:LONGEST_SUBJECT]
        letter["Date"] = format_datetime(self._clock.now())
        letter["Message-ID"] = message_id(key, self._sender)
        # No holiday notice may answer an alert (RFC 3834).
        letter["Auto-Submitted"] = "auto-generated"
        shown = readable(card)
        letter.set_content(_whole(plain(shown)))
        letter.add_alternative(_whole(as_html(shown)), subtype="html")
        return letter

    # -- the server -----------------------------------------------------------------------------

    async def _post(self, chat: Chat, letter: EmailMessage) -> Receipt:
        content, handed_over = letter.as_bytes(), False
        client = self._client()
        try:
            await client.connect()
            await client.mail(self._sender)
            await client.rcpt(chat.id)
            handed_over = True
            await client.data(content)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise verdict(error, handed_over=handed_over) from None
        finally:
            await _leave(client)
        return Receipt(chat, str(letter["Message-ID"]))

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            use_tls=self._security == "tls",
            start_tls=self._security == "starttls",  # True: a server without it is not spoken to
            tls_context=ssl.create_default_context(cafile=self._ca_file),
            username=self._username or None,
            password=self._password.reveal() or None,
            timeout=self._timeout,
        )


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Say goodbye; whatever it answers changes nothing of what was said."""
    try:
        if client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=GOODBYE)
    finally:
        client.close()


def verdict(error: Exception, *, handed_over: bool) -> OutsideError:
    """Return what an SMTP session's end means; `handed_over`: the letter was on its way."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _answered(error.code, one_line(error.message), handed_over=handed_over)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"邮件服务器的证书不可信（{cause.verify_message}）：请检查 host 和 ca_file"
            return Permanent(reason, fault=Fault.REFUSED)
        cause = cause.__cause__ or cause.__context__
    kind = type(error).__name__
    if handed_over:
        return InDoubt(f"邮件已交出，服务器没有说是否收下（{kind}）")
    if type(error) is aiosmtplib.SMTPException:  # what the server cannot do: STARTTLS, sign-in
        return Permanent(f"邮件服务器不合要求：{one_line(str(error))}", fault=Fault.REFUSED)
    return Transient(f"连不上邮件服务器（{kind}）")


def _answered(code: int, text: str, *, handed_over: bool) -> OutsideError:
    reason = f"邮件服务器 {code}：{text[:LONGEST_REASON]}"
    match code // 100:  # RFC 5321, 4.2.1
        case 4:
            return Transient(reason, retry_after=GREYLISTED, fault=Fault.REFUSED)
        case 5:
            return Permanent(f"{reason}，已退回", fault=Fault.REFUSED)
        case _ if handed_over:
            return InDoubt(f"邮件已交出，服务器没有说是否收下（答非所问：{text[:LONGEST_REASON]}）")
        case _:
            why = f"邮件服务器答非所问：{text[:LONGEST_REASON]}，请检查 host、port 和 security"
            return Permanent(why, fault=Fault.REFUSED)


def message_id(key: str, sender: str) -> str:
    """Return the letter's own name: the same for the same key, after a restart too."""
    mark = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"<{mark}@{sender.rpartition('@')[2]}>"


def one_line(text: str) -> str:
    """Return what may stand in a head: no line breaks, no control characters, no half letters."""
    whole = "".join(char if char.isprintable() else " " for char in _whole(text))
    return " ".join(whole.split())


def _whole(text: str) -> str:
    return text.encode(errors="replace").decode()


# -- HTML -----------------------------------------------------------------------------------------

COLOURS = {
    Tone.NEUTRAL: "#475569",
    Tone.WORKING: "#2563eb",
    Tone.GOOD: "#15803d",
    Tone.WARNING: "#b45309",
    Tone.BAD: "#b91c1c",
}
"""White on each of them has a contrast of at least 4.5 (WCAG AA)."""

PAGE = Template(
    '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"></head>'
    '<body style="margin:0;font:15px/1.6 sans-serif;color:#111">'
    '<h1 style="margin:0;padding:12px 16px;font-size:18px;color:#fff;background:$colour">$title</h1>'
    '<div style="padding:8px 16px">$body</div></body></html>'
)
CELL = 'style="padding:4px 12px 4px 0;text-align:left;vertical-align:top"'


def as_html(card: Card) -> str:
    """Return the card as a page that asks for nothing from elsewhere: no image, no script."""
    body = "".join(_block(block) for block in card.blocks)
    return PAGE.substitute(colour=COLOURS[card.tone], title=escape(card.title), body=body)


def _block(block: Block) -> str:
    match block:
        case Text(text, style):
            return _text(text, style)
        case Fields(pairs):
            return _table((), pairs)
        case Table(columns, rows):
            return _table(columns, rows)
        case Mention() | Progress() | Chart() | Form():
            return _text(plain(Card("", blocks=(block,))).partition("\n")[2], Style.PLAIN)
        case Checklist(items):
            lines = [
                f"{SIGNS[item.mark]} {item.title}" + (f"（{item.note}）" if item.note else "")
                for item in items
            ]
            return _text("\n".join(lines), Style.PLAIN)
        case Buttons(buttons):
            links = (
                f'<a href="{escape(button.url)}">{escape(button.label)}</a>' for button in buttons
            )
            return f"<p>{' · '.join(links)}</p>"


def _text(text: str, style: Style) -> str:
    shown = escape(text).replace("\n", "<br>")
    match style:
        case Style.STRONG:
            return f"<p><strong>{shown}</strong></p>"
        case Style.QUIET:
            return f'<p style="color:#555">{shown}</p>'
        case Style.CODE:
            return f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'
        case _:
            return f"<p>{shown}</p>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th {CELL}>{escape(cell)}</th>" for cell in columns)
    body = "".join(
        "<tr>" + "".join(f"<td {CELL}>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"

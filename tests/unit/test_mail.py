"""E-mail against a server that speaks real SMTP over real TLS, and one that misbehaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.card import Button, Buttons, Card, Fields, Form, Input, Text, Tone, say
from adapters.mail import Mail
from adapters.port import Clock, InDoubt, Permanent, Transient
from adapters.words import Chat, File, Person, Receipt, Secret
from tests.conftest import HandClock
from tests.sim.mail import PASSWORD, USER, Certificate, MailSim

pytestmark = pytest.mark.filterwarnings(
    # aiosmtpd's own: it looks for what it calls deprecated, and leaves its transports to the loop.
    "ignore::DeprecationWarning:aiosmtpd",
    "ignore:Requiring AUTH while not requiring TLS:UserWarning",
)

TO = Chat("mail", "wang@hailan.example")
CARD = Card(
    "🔴 告警：CPU > 90% · web-01",
    Tone.BAD,
    (
        Fields((("服务器", "web-01"), ("当前值", "<b>97</b>"))),
        Text(".一行以点开头\n第二行"),
        Buttons((Button("打开监控", url="https://m.example/?a=1&b=2"), Button("收到", "ack:1"))),
        Form("x", (Input("a", "甲"),), "登记"),
    ),
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("mail"))


def mail(sim: MailSim, certificate: Certificate, clock: Clock, **other: Any) -> Mail:
    chosen = {"username": USER, "password": Secret(PASSWORD), "ca_file": certificate.file, **other}
    return Mail("127.0.0.1", sim.port, USER, clock=clock, display="海蓝 运维", **chosen)


async def test_a_card_arrives_as_text_and_as_html(
    certificate: Certificate, clock: HandClock
) -> None:
    """Over STARTTLS, signed in, with the text part first and nothing that cannot be pressed."""
    async with MailSim(certificate) as sim, mail(sim, certificate, clock) as channel:
        receipt = await channel.send(TO, CARD, key="k")
    ((to, letter),) = sim.letters
    assert to == TO.id
    assert letter["Subject"] == CARD.title
    assert letter["From"] == f"海蓝 运维 <{USER}>"
    assert letter["Message-ID"] == receipt.id
    assert letter["Auto-Submitted"] == "auto-generated"
    text, html = (part.get_content() for part in letter.iter_parts())
    assert text.splitlines() == [
        f"【{CARD.title}】",
        "服务器：web-01",
        "当前值：<b>97</b>",
        ".一行以点开头",
        "第二行",
        "[打开监控](https://m.example/?a=1&b=2)",
        "请到群里操作：「收到」",
        "请到群里操作：「登记」",
    ]
    assert "&lt;b&gt;97&lt;/b&gt;" in html
    assert 'href="https://m.example/?a=1&amp;b=2"' in html
    assert "ack:1" not in html + text


async def test_implicit_tls_and_a_file(certificate: Certificate, clock: HandClock) -> None:
    async with (
        MailSim(certificate, implicit=True) as sim,
        mail(sim, certificate, clock, security="tls") as channel,
    ):
        await channel.upload(TO, File("报告.docx", b"PK\x00"), key="f")
        await channel.ring(Person("mail", TO.id), "P1 告警\n快来", key="r")
        assert "TLSv1" in await channel.check()
    (_, sent), (_, rung) = sim.letters
    (attachment,) = sent.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("报告.docx", b"PK\x00")
    assert (rung["Subject"], rung["Importance"]) == ("P1 告警", "high")


@pytest.mark.parametrize(
    ("at", "fault", "error", "says"),
    [
        ("rcpt", "550 5.1.1 no such user", Permanent, "550：5.1.1 no such user，已退回"),
        ("rcpt", "451 4.7.1 greylisted", Transient, "451"),
        ("rcpt", "gone", Transient, "连不上"),
        ("data", "552 5.3.4 too big", Permanent, "552"),
        ("data", "421 4.3.0 closing", Transient, "421"),
        ("data", "lost", InDoubt, "没有说是否收下"),
        ("data", "silent", InDoubt, "没有说是否收下"),
        ("data", "garbled", InDoubt, "没有说是否收下"),
        ("auth", "535 5.7.8 bad password", Permanent, "535"),
        ("auth", "454 4.7.0 later", Transient, "454"),
    ],
)
async def test_what_the_server_says_is_the_outcome(
    certificate: Certificate,
    clock: HandClock,
    at: str,
    fault: str,
    error: type[Exception],
    says: str,
) -> None:
    """Refused for good is a bounce, refused for now is tried again, unanswered is a doubt; and the
    next letter goes out as if nothing had been."""
    async with MailSim(certificate) as sim, mail(sim, certificate, clock, timeout=0.5) as channel:
        sim.misbehave(at, fault)
        with pytest.raises(error, match=says) as raised:
            await channel.send(TO, CARD, key="1")
        assert PASSWORD not in str(raised.value)
        before = len(sim.letters)
        await channel.send(TO, CARD, key="2")
        assert len(sim.letters) == before + 1


async def test_nothing_is_said_without_tls(certificate: Certificate, clock: HandClock) -> None:
    """A server (or somebody in between) that offers no STARTTLS learns neither word nor password."""
    async with MailSim(certificate, tls=False) as sim, mail(sim, certificate, clock) as channel:
        with pytest.raises(Permanent, match="STARTTLS"):
            await channel.send(TO, CARD, key="1")
    assert (sim.sign_ins, sim.letters) == (0, [])


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: Certificate, clock: HandClock
) -> None:
    for implicit in (False, True):
        security = "tls" if implicit else "starttls"
        async with MailSim(certificate, implicit=implicit) as sim:
            channel = mail(sim, certificate, clock, ca_file=None, security=security)
            with pytest.raises(Permanent, match="证书不可信"):
                await channel.check()


async def test_nobody_listens_there(certificate: Certificate, clock: HandClock) -> None:
    async with MailSim(certificate) as sim:
        closed = mail(sim, certificate, clock)
    with pytest.raises(Transient, match="连不上"):
        await closed.send(TO, CARD, key="1")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ops",
        "a@",
        "a@b.example\nBcc: c@d.example",
        "a@b.example,c@d.example",
        "李 <a@b.example>",
        "a b@c.example",
        "李工@hailan.example",
    ],
)
async def test_no_address_smuggles_a_head(
    certificate: Certificate, clock: HandClock, address: str
) -> None:
    async with MailSim(certificate) as sim, mail(sim, certificate, clock) as channel:
        with pytest.raises(Permanent, match="不是邮件地址"):
            await channel.send(Chat("mail", address), CARD, key="1")
        await channel.send(TO, say("题\a\r\nBcc: c@d.example\ud800", "\ud800"), key="2")
    ((_, letter),) = sim.letters
    assert letter["Subject"] == "题 Bcc: c@d.example?"
    assert letter["Bcc"] is None


async def test_who_is_no_mail_server_has_returned_nothing(
    certificate: Certificate, clock: HandClock
) -> None:
    """A wrong port is named as such, and the ledger speaks of no bounce."""

    gone = asyncio.Event()

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        channel = Mail("127.0.0.1", port, USER, clock=clock)
        with pytest.raises(Permanent, match="请检查 host、port") as refused:
            await channel.send(TO, CARD, key="1")
        await gone.wait()
    assert "已退回" not in refused.value.reason


async def test_it_only_speaks(certificate: Certificate, clock: HandClock) -> None:
    """What it cannot do it says; whoever waits for people waits until it is closed."""
    async with MailSim(certificate) as sim:
        channel = mail(sim, certificate, clock)
        async with channel:
            heard = asyncio.create_task(anext(channel.events(), None))
            with pytest.raises(Permanent, match="不能修改"):
                await channel.edit(Receipt(TO, "x"), CARD)
            with pytest.raises(Permanent, match="不能建群"):
                await channel.open_chat("甲", [], key="1")
            assert not heard.done()
        assert await heard is None

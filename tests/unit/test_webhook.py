"""The signed webhook against a receiver that verifies, and against addresses that lead astray."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.card import Button, Buttons, Card, Fields, Tone, say
from adapters.port import Permanent, Transient
from adapters.webhook import Target, Webhook, key_bytes, permitted, signature
from adapters.words import Chat, File, Person, Secret
from tests.conftest import HandClock
from tests.sim.hook import KEY, HookSim
from tests.sim.mail import Certificate

THERE = Chat("webhook", "customer:1:notify:webhook")
LOOPBACK = ("127.0.0.0/8",)
CARD = Card("告警", Tone.BAD, (Fields((("服务器", "web-01"),)), Buttons((Button("收到", "ack"),))))


def webhook(url: str, clock: HandClock, **other: Any) -> Webhook:
    async def find(name: str) -> Target | None:
        return Target(Secret(url), Secret(KEY)) if name == THERE.id else None

    return Webhook(find, clock=clock, **{"allow": LOOPBACK, "timeout": 30, **other})


def at(sim: HookSim, host: str = "127.0.0.1", scheme: str = "http") -> str:
    return f"{scheme}://{host}:{sim.port}/robot?key=s3cret"


async def test_a_card_arrives_signed(clock: HandClock) -> None:
    """The receiver has verified the signature; the id is the same for the same key."""
    async with HookSim() as sim, webhook(at(sim), clock) as channel:
        receipt = await channel.send(THERE, CARD, key="k")
        assert await channel.send(THERE, CARD, key="k") == receipt
        await channel.ring(Person("webhook", THERE.id, "李工"), "P1 告警", key="r")
    card, ring = sim.told
    assert card == {
        "type": "card",
        "id": receipt.id,
        "title": "告警",
        "tone": "bad",
        "text": "【告警】\n服务器：web-01\n请到群里操作：「收到」",
        "facts": {"服务器": "web-01"},
    }
    assert (ring["type"], ring["person"], ring["text"]) == ("ring", "李工", "P1 告警")
    assert sim.attempts[0]["webhook-timestamp"] == str(int(clock.now().timestamp()))


def test_the_signature_is_the_standards() -> None:
    """The example of standardwebhooks.com, which its own libraries are tested with."""
    key = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    said = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert key_bytes(Secret("whsec_not base64")) == b"whsec_not base64"


@pytest.mark.parametrize(
    ("fault", "error", "says", "wait"),
    [
        ("503", Transient, "503", None),
        ("429:7", Transient, "429", 7.0),
        ("429:9999999", Transient, "429", 3600.0),
        ("503:Wed, 25 Nov 2026 03:00:00 GMT", Transient, "503", None),
        ("408", Transient, "408", None),
        ("gone", Transient, "没有送达", None),
        ("lost", Transient, "没有送达", None),
        ("silent", Transient, "没有送达", None),
        ("302", Permanent, "不跟随跳转", None),
        ("401", Permanent, "401", None),
        ("410", Permanent, "已停用", None),
    ],
)
async def test_what_the_receiver_answers_is_the_outcome(
    clock: HandClock, fault: str, error: type[Exception], says: str, wait: float | None
) -> None:
    """Whatever went wrong, told again under the same key it is there once."""
    patience = 0.5 if fault == "silent" else 30
    async with HookSim() as sim, webhook(at(sim), clock, timeout=patience) as channel:
        sim.misbehave(fault)
        with pytest.raises(error, match=says) as raised:
            await channel.send(THERE, CARD, key="1")
        assert "s3cret" not in str(raised.value)
        if isinstance(raised.value, Transient):
            assert raised.value.retry_after == wait
        await channel.send(THERE, CARD, key="1")
        assert len(sim.told) == 1
        assert len(sim.attempts) == 2


async def test_an_answer_without_end_is_not_read(clock: HandClock) -> None:
    async with HookSim() as sim, webhook(at(sim), clock) as channel:
        sim.misbehave("endless")
        await channel.send(THERE, CARD, key="1")
        assert len(sim.told) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://[::1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[fec0::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
    ],
)
async def test_our_own_network_is_out_of_reach(clock: HandClock, url: str) -> None:
    """The system resolves these as it does for anybody."""
    async with webhook(url, clock, allow=()) as channel:
        with pytest.raises(Permanent, match="已拒绝"):
            await channel.send(THERE, CARD, key="1")


async def test_a_name_that_changes_its_mind_gains_nothing(clock: HandClock) -> None:
    """It is resolved once, and what was judged is what is dialled, under its own name."""
    asked: list[str] = []

    async def fickle(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    async with HookSim() as sim:
        url = at(sim, "hook.example")
        async with webhook(url, clock, resolve=fickle) as channel:
            await channel.send(THERE, CARD, key="1")
            assert asked == ["hook.example"]
            assert sim.attempts[0]["Host"] == f"hook.example:{sim.port}"
            with pytest.raises(Permanent, match="已拒绝"):
                await channel.send(THERE, CARD, key="2")


async def test_one_bad_address_among_good_ones_is_enough(clock: HandClock) -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "10.0.0.1"]

    async with HookSim() as sim, webhook(at(sim, "x.example"), clock, resolve=both) as channel:
        with pytest.raises(Permanent, match="已拒绝"):
            await channel.send(THERE, CARD, key="1")
        assert sim.attempts == []


async def test_the_certificate_is_the_names_and_not_the_addresses(
    tmp_path: Path, clock: HandClock
) -> None:
    """Dialled by address, proved by name: another name on the same server is not believed."""
    certificate = Certificate(tmp_path)

    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with HookSim(certificate.context) as sim:
        for host, trust in (
            ("hook.example", certificate.file),
            ("other.example", certificate.file),
        ):
            url = at(sim, host, "https")
            async with webhook(url, clock, resolve=here, ca_file=trust) as channel:
                if host == "hook.example":
                    await channel.send(THERE, CARD, key="1")
                    continue
                with pytest.raises(Permanent, match="证书不可信"):
                    await channel.send(THERE, CARD, key="2")
    assert len(sim.told) == 1


async def test_a_name_that_is_not_there_may_come_yet(clock: HandClock) -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError(host)

    async with webhook("https://x.example/", clock, resolve=nowhere) as channel:
        with pytest.raises(Transient, match="查不到"):
            await channel.send(THERE, CARD, key="1")


@pytest.mark.parametrize("url", ["https://xn--/hook", "https://x.example/\ud800", "//x.example/"])
async def test_what_is_no_address_is_refused(clock: HandClock, url: str) -> None:
    """As people typed it: no name that a name server could be asked for, half a letter, no scheme."""
    async with webhook(url, clock) as channel:
        with pytest.raises(Permanent, match="不是 http"):
            await channel.send(THERE, CARD, key="1")


async def test_what_it_cannot_do_it_says(clock: HandClock) -> None:
    async with webhook("ftp://x.example/", clock) as channel:
        with pytest.raises(Permanent, match="不发送文件"):
            await channel.upload(THERE, File("a", b"1"), key="1")
        with pytest.raises(Permanent, match="没有登记"):
            await channel.send(Chat("webhook", "unknown"), say("?"), key="2")
        with pytest.raises(Permanent, match="不是 http"):
            await channel.send(THERE, say("?"), key="3")
    with pytest.raises(Transient, match="没有打开"):
        await channel.send(THERE, say("?"), key="4")


@given(st.ip_addresses(v=4))
def test_an_address_in_ipv6_clothes_is_judged_as_what_it_is(address: Any) -> None:
    mapped = ip_address(f"::ffff:{address}")
    dressed = ip_address(int(ip_address("64:ff9b::")) + int(address))
    plainly = permitted(address)
    assert permitted(mapped) == permitted(dressed) == plainly
    allowed = [ip_network("0.0.0.0/0")]
    assert permitted(mapped, allowed)


def test_a_key_of_the_standard_is_base64() -> None:
    made = base64.b64encode(b"0123456789abcdef").decode()
    assert key_bytes(Secret(f"whsec_{made}")) == b"0123456789abcdef"
    assert key_bytes(Secret(KEY)) == KEY.encode()

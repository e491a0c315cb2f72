"""What the settings say is what the bot is built of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from adapters.card import Card, Summons, Text, Tone
from adapters.documents.terms import BASIC, PRO, Promise, promised
from adapters.words import NOTHING, Chat, Secret, Severity
from bot.build import house_of, promises, replica, with_password
from bot.channels import one_way
from bot.config import Settings, load
from runbooks.compose import Backup
from runbooks.reach import GATEWAY
from storage.journal import journal_at
from storage.roster import Way
from storage.vault import Seal
from tests.conftest import HandClock
from tests.sim.hook import KEY, HookSim

ENV = {"K": Seal.new_key().reveal(), "P": "open", "KEY": "a private key", "HOOK": KEY}


def settings_of(folder: Path, more: str = "") -> Settings:
    path = folder / "vigilbot.toml"
    path.write_text(f'[vault]\nkey = "env:K"\n[web]\npassword = "env:P"\n{more}', encoding="utf-8")
    return load(path, ENV)


def test_a_replica_keeps_its_name_and_shares_it_with_none(tmp_path: Path) -> None:
    """Killed and started again it is the same one, whose leases are its own."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert replica(one) == replica(one) != replica(two)


def test_the_password_is_put_into_the_address_and_nowhere_else() -> None:
    url = "postgresql+psycopg://bot@db.local:5432/vigil"
    word = Secret("p@ss/w:rd")
    assert (
        with_password(url, word) == "postgresql+psycopg://bot:p%40ss%2Fw%3Ard@db.local:5432/vigil"
    )
    assert with_password(url, NOTHING) == url
    assert with_password("sqlite+aiosqlite:////data/a@b.db", word).endswith(":////data/a@b.db")


def test_instances_answer_where_the_settings_say(tmp_path: Path) -> None:
    """Behind a proxy, that is: the bot signs in there, and agents report there."""
    more = "[vigilops.base_url]\nb = 'https://{slug}.ops.example.com'"
    addresses = house_of(settings_of(tmp_path, more)).addresses
    assert addresses.of("b", host="10.0.0.1", port=8101, slug="hailan") == (
        "https://hailan.ops.example.com"
    )
    assert addresses.of("a", host="fd00::2", port=8001, slug="x") == "http://[fd00::2]:8001"


def test_the_engine_keeps_its_own_file_and_on_postgresql_its_own_schema(tmp_path: Path) -> None:
    """The same address that a store has, for a driver that does not wait."""
    journal = journal_at(settings_of(tmp_path).engine_url)
    assert (journal.name, journal.url.database) == ("sqlite", str(tmp_path / "data/engine.db"))
    mine = '[database]\nengine_url = "sqlite+aiosqlite:///{data_dir}/mine.db"'
    journal = journal_at(settings_of(tmp_path, mine).engine_url)
    assert journal.url.database == str(tmp_path / "data/mine.db")
    far = '[database]\nurl = "postgresql+psycopg://bot@db/vigil"'
    journal = journal_at(with_password(settings_of(tmp_path, far).engine_url, Secret("p@ss")))
    assert (journal.name, journal.url.database) == ("postgresql", "vigil")
    assert journal.url.password == "p@ss"


def test_our_own_server_is_known_when_it_has_an_address(tmp_path: Path) -> None:
    assert house_of(settings_of(tmp_path)).managed is None
    more = '[deploy]\nmanaged_host = "10.0.0.9"\nmanaged_key = "env:KEY"\nmanaged_sudo_password = "env:KEY"\nretention_days = 30'
    house = house_of(settings_of(tmp_path, more))
    assert house.managed is not None
    assert (house.managed.host, house.managed.key) == ("10.0.0.9", Secret("a private key"))
    assert house.managed.sudo_password == Secret("a private key")
    assert house.retention["host_metrics"] == 30
    assert house.retention["audit_logs"] == 365


def test_a_first_policy_calls_by_what_is_set_up_beside_the_platform(tmp_path: Path) -> None:
    """Where the platform is down, the gateway and the mail are not."""
    assert house_of(settings_of(tmp_path)).escalate_ways == (Way.MENTION, Way.RING)
    more = (
        '[escalation]\ngateway_url = "https://sms.example/call"\ngateway_key = "env:P"\n'
        '[channels.mail]\nenabled = true\nhost = "mail.example"\nsender = "a@b.cn"'
    )
    wanted = (Way.MENTION, Way.RING, Way.WEBHOOK, Way.EMAIL)
    assert house_of(settings_of(tmp_path, more)).escalate_ways == wanted


async def test_the_gateway_is_told_whom_to_call_signed_and_on_our_own_network(
    tmp_path: Path, clock: HandClock
) -> None:
    """The simulator verifies the signature. Its address is the operator's: loopback is no obstacle,
    and no network has to be allowed to what customers typed."""
    nobody = cast("Any", None)
    asked = Summons("王工", "13700000000", (8, 7), Severity.CRITICAL)
    card = Card("告警升级 @王工", Tone.BAD, (Text("磁盘已满"), asked.fields))
    async with HookSim() as sim:
        more = (
            f'[escalation]\ngateway_url = "http://127.0.0.1:{sim.port}/robot"\n'
            'gateway_key = "env:HOOK"'
        )
        (made,) = one_way(settings_of(tmp_path, more), clock, nobody)
        async with made as gateway:
            assert gateway.name == GATEWAY
            await gateway.send(Chat(GATEWAY, "13700000000"), card, key="k")
    (call,) = sim.told
    assert {name: call[name] for name in ("type", "person", "phone", "severity")} == {
        "type": "call",
        "person": "王工",
        "phone": "13700000000",
        "severity": "critical",
    }
    assert (call["incident"], call["incidents"]) == (8, [8, 7])
    assert "磁盘已满" in call["text"]


def test_what_is_promised_and_when_is_saved_can_be_set(tmp_path: Path) -> None:
    more = (
        '[deploy]\nbackup_at = "01:05"\nbackup_keep_days = 30\n'
        "[sla.basic]\ncritical_minutes = 20\nwarning_minutes = 180\navailability_percent = 99.95"
    )
    settings = settings_of(tmp_path, more)
    assert house_of(settings).backup == Backup("01:05", 30)
    promise = promises(settings)["basic"]
    assert promise == Promise(20, 180, 99.95)
    terms = promised(BASIC, promise)
    assert [row[2] for row in terms.response] == ["20 分钟", "3 小时", "1 个工作日"]
    assert terms.availability.endswith("99.95%")


def test_the_terms_that_are_shipped_are_those_of_the_settings(tmp_path: Path) -> None:
    """The two places where the figures stand cannot drift apart."""
    made = promises(settings_of(tmp_path))
    assert promised(BASIC, made["basic"]) == BASIC
    assert promised(PRO, made["pro"]) == PRO

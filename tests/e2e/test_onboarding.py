"""The onboarding, walked with real documents and real SSH against the sandbox's servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

import bot.demo.hosts as sandbox
from adapters.documents import OfficeDocuments
from adapters.ssh import SshServers
from adapters.words import Chat, Person
from bot.demo.hosts import Hosts
from runbooks import walk as walking
from runbooks.book import Decision, Runbook
from runbooks.case import Contact, Onboarding
from runbooks.kit import Kit
from runbooks.onboarding import ONBOARDING
from runbooks.steps.servers import Found, differences
from storage.records import Customer, LineState, Run, RunStatus, Server, Tier
from storage.store import Store

SIGNED, DEPLOYED = ONBOARDING.phase("签约"), ONBOARDING.phase("环境评估与部署")
BOOK: Runbook[Onboarding] = Runbook("onboarding", "客户接入", Onboarding, (*SIGNED, *DEPLOYED[:2]))
BOOKS = {"onboarding": BOOK}
GROUP = Chat("web", "g1", "海蓝科技 监控交付")
LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")


@dataclass(frozen=True)
class RealClock:
    """The sandbox's servers have this machine's clock, so the kit has it too."""

    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing in here waits")


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    async with Hosts(tmp_path / "hosts", count=3) as opened:
        yield opened


async def begin(store: Store, hosts: Hosts, kit: Kit) -> None:
    now = kit.clock.now()
    async with store.unit() as unit:
        customer = await unit.customers.add(Customer(0, "海蓝科技", "hailan", now, GROUP, Tier.PRO))
        for spec in hosts.specs:
            server = await unit.servers.add(
                Server(0, customer.id, spec.name, spec.host, spec.port, spec.user, cpu=64)
            )
            await unit.vault.put(f"server:{server.id}:password", spec.password)
        case = Onboarding(
            customer.id,
            "海蓝科技",
            (Contact("王经理", "IT 主管", "13800000000"),),
            tuple(spec.name for spec in hosts.specs),
            Tier.PRO,
            channels=("飞书",),
            systems=("ERP",),
        )
        run = Run(
            "r1",
            "onboarding",
            customer.id,
            "",
            RunStatus.WALKING,
            0,
            walking.dump(case),
            LI,
            now,
            now,
        )
        await walking.start(BOOK, run, unit)


async def test_contract_gate_and_probe(store: Store, hosts: Hosts) -> None:
    """One server refuses its password: the others are probed, and a retry finds the rest."""
    kit = Kit(RealClock(), store, {}, SshServers(), cast("Any", None), OfficeDocuments())
    await begin(store, hosts, kit)

    parked = await walking.walk(BOOKS, "r1", kit)
    assert (parked.status, parked.line) == (RunStatus.WAITING, "signed"), parked.note
    async with store.view() as unit:
        file = await unit.outbox.by_key("r1:contract:file")
    assert file is not None
    assert file.file_name == "服务合同-海蓝科技.docx"
    assert file.file.startswith(b"PK")

    bad = hosts[1]
    await bad.inject(sandbox.Fault.WRONG_PASSWORD)
    async with store.unit() as unit:
        await walking.decide(BOOKS, Decision(unit, parked, ZHAO, kit.clock.now()))
    stuck = await walking.walk(BOOKS, "r1", kit)
    assert (stuck.status, stuck.fault) == (RunStatus.STUCK, "ssh_auth"), stuck.note
    assert f"2/3 台完成；1 台（{bad.spec.name}）" in stuck.note

    await bad.mend()
    async with store.unit() as unit:
        await walking.retry(stuck, kit.clock.now(), unit)
    done = await walking.walk(BOOKS, "r1", kit)
    assert done.status is RunStatus.DONE, done.note
    async with store.view() as unit:
        found = await unit.lines.hosts("r1", "probe")
        servers = await unit.servers.of(parked.customer)
    assert {line.state for line in found.values()} == {LineState.DONE}
    assert all("CPU 申报 64 核，实际" in line.note for line in found.values())
    assert all(server.host_key and server.hostname for server in servers)


def test_what_was_not_declared_is_no_difference() -> None:
    server = Server(1, 1, "web-01", "10.0.0.1")
    found = Found("web-01", 4, 7.6, 99.0, 50.0, 0.0)
    assert differences(server, found) == ()
    assert differences(replace(server, cpu=4, memory_gb=8, disk_gb=100), found) == ()
    assert differences(replace(server, memory_gb=16), found) == ("内存申报 16 GB，实际 7.6 GB",)

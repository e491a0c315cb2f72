"""500 hosts over SSH: our line that fans out, beside a bare asyncssh loop and beside ansible.

    python -m bench.ssh_fanout [--ansible VENV] [--hosts 500] [--rounds 3]

One sshd (OpenSSH, in processes of its own) plays all hosts; each job is done 50 at once, in
alternation with its peers. Needs root and /usr/sbin/sshd.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import io
import os
import random
import subprocess
import tarfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import asyncssh

from adapters.port import Login, Shell
from adapters.ssh import SshServers
from adapters.words import Chat, Person, Role
from bench.table import median, show
from bot.app import SystemClock
from runbooks import walk as walking
from runbooks.book import Each, Gate, Phase, Runbook
from runbooks.kit import Errand, Kit
from storage.records import Customer, Run, RunStatus
from storage.store import Store
from storage.vault import Seal
from tests.sim.openssh import serving

AT_ONCE = 50
INFO = "uname -a && free -h && df -h"


@dataclass(frozen=True, slots=True)
class Case:
    count: int


@dataclass(frozen=True, slots=True)
class Ground:
    """The sshd, how to log in to it, and a folder for what a peer wants in files."""

    folder: Path
    login: Login


@contextmanager
def sshd(folder: Path) -> Iterator[Ground]:
    """Run one OpenSSH server; ansible's ssh reads the key from a file."""
    with serving(folder) as server:
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_text(server.login.key.reveal())
        yield Ground(folder, server.login)


Job = Callable[[Shell, int], Awaitable[str]]


async def ours(ground: Ground, count: int, job: Job, folder: Path, *, deed: bool = False) -> float:
    """Our way: an `Each` walked over the store, the card marked; a deed goes into the ledger."""

    async def do(case: Case, errand: Errand, host: str) -> str:
        async with errand.kit.servers.shell(ground.login) as shell:

            async def once() -> str:
                return await job(shell, int(host))

            async def look() -> None: ...

            return str(await errand.once("job", once, look) if deed else await once())

    def over(case: Case) -> list[str]:
        return [str(n) for n in range(case.count)]

    book = Runbook(
        "bench",
        "bench",
        Case,
        (
            Phase("-"),
            Each("each", "each", over, do, at_once=AT_ONCE),
            Gate("end", "end", Role.LEAD, timedelta(days=1)),
        ),
    )
    nobody = cast("Any", None)
    url = f"sqlite+aiosqlite:///{folder / f'{random.getrandbits(32)}.sqlite'}"
    async with Store(url, Seal(Seal.new_key())) as store:
        await store.create()
        kit = Kit(SystemClock(), store, {}, SshServers(), nobody, nobody)
        now = kit.clock.now()
        async with store.unit() as unit:
            customer = await unit.customers.add(Customer(0, "b", "b", now, Chat("web", "g")))
            case = walking.dump(Case(count))
            by = Person("web", "li")
            run = Run("r", "bench", customer.id, "", RunStatus.WALKING, 0, case, by, now, now)
            await walking.start(book, run, unit)
        began = time.perf_counter()
        parked = await walking.walk({"bench": book}, "r", kit)
        took = time.perf_counter() - began
    assert parked.status is RunStatus.WAITING, parked.note
    return took


async def bare(ground: Ground, count: int, command: Callable[[int], str], stdin: bytes) -> float:
    """The peer: what anybody would write over asyncssh, with the same 50 at once."""
    gate = asyncio.Semaphore(AT_ONCE)
    key = asyncssh.import_private_key(ground.login.key.reveal())
    known = asyncssh.import_public_key(ground.login.pinned)

    async def one(number: int) -> None:
        async with (
            gate,
            asyncssh.connect(
                "127.0.0.1",
                ground.login.port,
                username=getpass.getuser(),
                client_keys=[key],
                known_hosts=([known], [], []),
                config=None,
            ) as connection,
        ):
            await connection.run(command(number), input=stdin or None, encoding=None, check=True)

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return time.perf_counter() - began


def ansible(venv: Path, ground: Ground, count: int, module: list[str]) -> float:
    """The other peer: 50 forks, pipelining, no facts gathered, equal log-ins."""
    inventory = ground.folder / "inventory"
    common = (
        f"ansible_host=127.0.0.1 ansible_port={ground.login.port} ansible_user={ground.login.user} "
        f"ansible_ssh_private_key_file={ground.folder / 'key'} "
        "ansible_python_interpreter=/usr/bin/python3"
    )
    # A control path of its own each, else all hosts share one connection, having one address.
    rows = (
        f"h{n} {common} number={n} ansible_control_path={ground.folder}/cp{random.getrandbits(32)}\n"
        for n in range(count)
    )
    inventory.write_text("".join(rows))
    (ground.folder / "known").write_text(f"[127.0.0.1]:{ground.login.port} {ground.login.pinned}\n")
    env = {
        **os.environ,
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_FORKS": str(AT_ONCE),
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_SSH_ARGS": f"-o UserKnownHostsFile={ground.folder / 'known'} "
        "-o ControlMaster=auto -o ControlPersist=30s",
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }
    command = [str(venv / "bin/ansible"), "all", "-i", str(inventory), *module]
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return took


def bundle() -> bytes:
    """Return a .tar.gz of 2 MB that does not compress."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for number in range(20):
            part = tarfile.TarInfo(f"agent/part{number}")
            part.size = 100_000
            archive.addfile(part, io.BytesIO(random.Random(number).randbytes(part.size)))
    return packed.getvalue()


async def rounds(
    count: int, ways: dict[str, Callable[[], Awaitable[float]]]
) -> dict[str, list[float]]:
    """Do each way `count` times, in alternation."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(count):
        for name, way in ways.items():
            took[name].append(await way())
    return took


def report(title: str, took: dict[str, list[float]], goals: dict[str, str]) -> None:
    """Print one job: medians, and how our time compares with each peer's."""
    mine = median(took["ours"])
    rows = []
    for name, times in took.items():
        middle = median(times)
        spread = f"{min(times):.2f}-{max(times):.2f}"
        word = f"ours / bare = {mine / middle:.2f}" if name == "bare" else ""
        word = f"ansible / ours = {middle / mine:.1f}" if name == "ansible" else word
        rows.append((name, f"{middle:.2f} s", spread, word, goals.get(name, "")))
    show(title, ("way", "median", "range", "ratio", "budget"), rows)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ansible", type=Path)
    parser.add_argument("--hosts", type=int, default=500)
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    packed = bundle()
    with TemporaryDirectory() as name, sshd(Path(name)) as ground:
        folder = Path(name)

        async def info(shell: Shell, number: int) -> str:
            return (await shell.run(INFO)).out[:60]

        async def copy(shell: Shell, number: int) -> str:
            await shell.unpack(packed, f"{folder}/ours{number}")
            return "unpacked"

        def unpack(number: int) -> str:
            to = f"{folder}/bare{number}"
            return f"mkdir -p {to} && tar -xzf - -C {to}"

        (folder / "bundle.tar.gz").write_bytes(packed)
        for warm in (ours(ground, 20, info, folder), bare(ground, 20, lambda _: INFO, b"")):
            await warm
        ways: dict[str, Callable[[], Awaitable[float]]] = {
            "ours": lambda: ours(ground, asked.hosts, info, folder),
            "bare": lambda: bare(ground, asked.hosts, lambda _: INFO, b""),
        }
        took = await rounds(asked.rounds, ways)
        if asked.ansible:
            module = ["-m", "raw", "-a", INFO]
            took["ansible"] = [ansible(asked.ansible, ground, asked.hosts, module)]
        report(
            f"{INFO}: {asked.hosts} hosts, {AT_ONCE} at once, {asked.rounds} rounds",
            took,
            {"bare": "at most 1.25", "ansible": "at least 5"},
        )
        ways = {
            "ours": lambda: ours(ground, asked.copies, copy, folder, deed=True),
            "bare": lambda: bare(ground, asked.copies, unpack, packed),
        }
        took = await rounds(asked.rounds, ways)
        if asked.ansible:
            source, to = folder / "bundle.tar.gz", f"{folder}/ansible{{{{ number }}}}"
            steps = (
                ["-m", "raw", "-a", f"mkdir -p {to}"],
                ["-m", "copy", "-a", f"src={source} dest={to}/bundle.tar.gz"],
                ["-m", "raw", "-a", f"tar -xzf {to}/bundle.tar.gz -C {to}"],
            )
            whole = sum(ansible(asked.ansible, ground, asked.copies, step) for step in steps)
            took["ansible"] = [whole]
        report(
            f"2 MB bundle copied and unpacked: {asked.copies} hosts, {AT_ONCE} at once",
            took,
            {"ansible": "at least 8"},
        )


if __name__ == "__main__":
    asyncio.run(main())

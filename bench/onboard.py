"""A whole onboarding of 200 sandbox servers, from `/onboard` to the signed acceptance.

    python -m bench.onboard [--servers 200]

The servers and the monitor are a process of their own; the bot, with its chat, its cards and its
page, is this one. It is played as `vigilbot demo --auto` plays it. The peer does the same probes,
the same look at the monitor and the same installations in a bare asyncssh loop over equal servers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncssh

from adapters.webchat.wire import Post
from adapters.words import Secret
from bench.table import show
from bot.demo import world
from bot.demo.auto import SCRIPT
from bot.demo.clock import DemoClock
from bot.demo.docker import Containers
from bot.demo.hosts import AGENT_BUNDLE, Host, Hosts, Spec
from bot.play.player import Player, Started
from bot.play.script import read
from bot.web.site import listening
from runbooks.kit import House
from runbooks.onboarding import ONBOARDING
from runbooks.steps import agent
from runbooks.steps.servers import FIGURES, PROBE
from storage.records import Line, Run
from storage.store import Store
from storage.vault import Seal

PEERED = ("probe", "reach", "agent")
"""The lines that the bare loop does as well."""

LOOK = 0.01
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{"host_id": 1}'
"""Enough of a monitor for an agent to stay up."""


# -- the servers, in a process of their own -------------------------------------------------------


def specs(count: int) -> tuple[Spec, ...]:
    """Return that many servers, and our own one after them."""
    return (*(Spec(f"web-{n:02d}") for n in range(1, count + 1)), world.MANAGED)


async def sandbox(folder: Path, count: int) -> None:
    """Be the servers: print how to reach them, then run until the input ends."""
    async with (
        Hosts(folder, specs=specs(count)) as hosts,
        Containers(hosts, every=world.LOOK, make=world.monitor),
    ):
        reach = [(s.port, s.password.reveal()) for s in hosts.specs]
        sys.stdout.write(json.dumps(reach) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def servers(folder: Path, count: int) -> AsyncIterator[list[Host]]:
    """Have that many servers, and our own one after them, for as long as the block takes."""
    words = ("-m", "bench.onboard", "--sandbox", str(folder), "--servers", str(count))
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    assert program.stdout is not None
    assert program.stdin is not None
    try:
        reach = json.loads(await program.stdout.readline())
        yield [
            Host(folder / spec.name, _reached(spec, port, Secret(password)), None)
            for spec, (port, password) in zip(specs(count), reach, strict=True)
        ]
    finally:
        program.stdin.close()
        await program.wait()


def _reached(spec: Spec, port: int, password: Secret) -> Spec:
    return Spec(
        spec.name,
        port=port,
        password=password,
        cpu=spec.cpu,
        memory_mb=spec.memory_mb,
        disk_gb=spec.disk_gb,
    )


# -- ours -----------------------------------------------------------------------------------------


class Watch:
    """Counts how often each post of the chat was drawn, and how long the loop was ever deaf."""

    def __init__(self) -> None:
        self.drawn: Counter[str] = Counter()
        self.lag = 0.0

    def see(self, post: Post | None) -> None:
        """Count one drawing."""
        if post and post.card and post.card.title.startswith(ONBOARDING.title):
            self.drawn[post.id] += 1

    async def listen(self) -> None:
        """Measure the loop until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LOOK)
            self.lag = max(self.lag, time.perf_counter() - began - LOOK)


async def ours(folder: Path, hosts: list[Host], watch: Watch) -> tuple[Run, Mapping[str, Line]]:
    """Play the whole onboarding; return the run and what became of its lines."""
    *customers, managed = hosts
    folder.mkdir()  # noqa: ASYNC240 - once, before anything runs
    script = read(SCRIPT.read_text(encoding="utf-8"), SCRIPT.name)
    async with AsyncExitStack() as stack:
        seal = Seal(world.vault_key(folder / world.KEY))
        taken = stack.enter_context(listening("127.0.0.1", 0))
        clock = DemoClock(folder / world.CLOCK)
        bot = await stack.enter_async_context(
            world.peopled(folder, taken, seal, managed, customers, clock, lambda _: None)
        )
        stack.callback(bot.webchat.watch(watch.see))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(group.create_task(watch.listen()).cancel)

        @asynccontextmanager
        async def started() -> AsyncIterator[Started]:
            yield bot

        told: list[str] = []
        known = {"servers": Secret(bot.servers.content.decode("utf-8-sig"))}
        outcome = await Player(script, started, told.append, known).play()
        if outcome.failed:
            sys.exit("\n".join([*told[-6:], outcome.reason]))
        return await _lines(bot.store)


async def _lines(store: Store) -> tuple[Run, Mapping[str, Line]]:
    async with store.view() as unit:
        (customer,) = await unit.customers.all()
        (run,) = await unit.runs.of(customer.id, ONBOARDING.name)
        return run, await unit.lines.of(run.id)


def seconds(line: Line) -> float:
    """Return how long a line took."""
    assert line.ended_at is not None
    return (line.ended_at - line.started_at).total_seconds()


# -- the peer -------------------------------------------------------------------------------------


async def bare(hosts: list[Host]) -> dict[str, float]:
    """Do the lines that go to the servers as anybody would write them over asyncssh."""
    took: dict[str, float] = {}
    archive = await agent.bundle(AGENT_BUNDLE)
    instance = await asyncio.start_server(_answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{instance.sockets[0].getsockname()[1]}"
    async with instance:

        async def probe(shell: asyncssh.SSHClientConnection, _: Spec) -> None:
            for command in (PROBE, FIGURES, "sudo -n true"):
                await shell.run(command, check=True)

        async def reach(shell: asyncssh.SSHClientConnection, _: Spec) -> None:
            await shell.run(f"curl -fsS -m 10 -o /dev/null {url}/health", check=True)

        async def install(shell: asyncssh.SSHClientConnection, spec: Spec) -> None:
            await shell.run(f"sudo -n {agent.CLEAR_FOLDER}", check=True)
            made = await shell.run(agent.MAKE_FOLDER, check=True)
            to = str(made.stdout).strip()
            await shell.run(f"tar -xzf - -C {to}", input=archive, encoding=None, check=True)
            command = agent.install_command(to, url, spec.name, "vigilops")
            whole = f"sudo -n /bin/sh -c {shlex.quote(command)}"
            await shell.run(whole, input="vop_peer\n", check=True)

        for name, job in zip(PEERED, (probe, reach, install), strict=True):
            began = time.perf_counter()
            await _everywhere(hosts, job)
            took[name] = time.perf_counter() - began
    return took


async def _everywhere(
    hosts: list[Host], job: Callable[[asyncssh.SSHClientConnection, Spec], Awaitable[None]]
) -> None:
    gate = asyncio.Semaphore(House().at_once)

    async def one(spec: Spec) -> None:
        async with (
            gate,
            asyncssh.connect(
                spec.host,
                spec.port,
                username=spec.user,
                password=spec.password.reveal(),
                known_hosts=None,
                client_keys=None,
                config=None,
            ) as shell,
        ):
            await job(shell, spec)

    await asyncio.gather(*(one(host.spec) for host in hosts))


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # An agent that is told to stop leaves in the middle.
    with suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
    writer.close()


# -- both -----------------------------------------------------------------------------------------


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--sandbox", type=Path, help="internal: be the servers")
    asked = parser.parse_args()
    if asked.sandbox:
        await sandbox(asked.sandbox, asked.servers)
        return
    watch = Watch()
    with TemporaryDirectory() as name:
        async with servers(Path(name) / "peers", asked.servers) as hosts:
            peer = await bare(hosts[:-1])
        async with servers(Path(name) / "hosts", asked.servers) as hosts:
            run, lines = await ours(Path(name) / "bot", hosts, watch)
    rows = []
    for phase, parts in ONBOARDING.phases():
        known = [lines[part.key] for part in parts if part.key in lines]
        rows.append((phase.title, f"{sum(map(seconds, known)):.1f} s", "", ""))
        for line in known:
            if line.key in PEERED:
                mine, theirs = seconds(line), peer[line.key]
                title = f"  {ONBOARDING.line(line.key).title}"
                ratio = f"{mine / theirs:.2f}"
                rows.append((title, f"{mine:.1f} s", f"{theirs:.1f} s", ratio))
    whole = (run.updated_at - run.started_at).total_seconds()
    drawn = max(watch.drawn.values())
    rows += [
        ("the whole, people answering at once", f"{whole:.1f} s", "", ""),
        ("drawings of the run's card", f"{drawn}", "", ""),
        ("the loop was deaf for at most", f"{watch.lag * 1000:.0f} ms", "", ""),
    ]
    columns = ("phase", "ours", "bare asyncssh", "ours / bare")
    show(f"onboarding of {asked.servers} sandbox servers", columns, rows)


if __name__ == "__main__":
    asyncio.run(main())

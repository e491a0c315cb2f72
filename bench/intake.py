"""How many alerts are taken in each second, beside a real Alertmanager: ours are on the disk before
they are answered, its are in memory.

    python -m bench.intake [--rounds 5] [--seconds 4]

Each round measures both in turn, each server alone on one core and the sender on the other; the
medians of the rounds and the median of the rounds' ratios are shown. Alertmanager is posted its own
API's list, ours the webhook that Alertmanager sends, with the same alerts in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import psutil
import uvloop

from adapters.words import Secret
from bench.table import median, quantile, show
from bot.app import SystemClock
from bot.web.hooks import Hook, Site
from bot.web.site import listening, serving
from runbooks.kit import Kit
from storage.intake import Intake
from storage.records import Customer
from storage.store import Store
from storage.vault import Seal

TOKEN = "t" * 43
CONNECTIONS = 32
BATCHES = {1: 0.7, 10: 1.5, 100: 2.5}
"""Alerts in a post, and how many times Alertmanager's rate ours must be."""
DISTINCT = 10_000
SENDER, SERVER = 0, 1
"""Cores."""
CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to."""

    rate: float
    per_cpu: float
    p99: float


class Sender(asyncio.Protocol):
    """Posts one request after another on a connection, and notes how long each took."""

    def __init__(self, requests: Sequence[bytes], until: float, took: list[float]) -> None:
        self._requests = requests
        self._next = 0
        self._until = until
        self._took = took
        self._read = b""
        self._began = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._read.decode()))
            self._out.close()
            return
        self._read = b""
        now = time.perf_counter()
        self._took.append(now - self._began)
        if now < self._until:
            self._send()
        else:
            self.ended.set_result(None)
            self._out.close()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._out.write(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)


def alerts(count: int, first: int) -> list[dict[str, Any]]:
    """Return alerts as Prometheus sends them, about 0.5 KB each."""
    return [
        {
            "labels": {
                "alertname": f"Rule{number % 50}",
                "instance": f"10.0.{number // 250}.{number % 250}:9100",
                "severity": "warning",
                "job": "node",
                "customer": "hailan",
                "n": str(number),
            },
            "annotations": {
                "summary": f"Something is wrong with host number {number}, please have a look",
                "description": "The figure has been above its threshold for more than 5 minutes.",
            },
            "startsAt": "2026-11-25T03:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up",
        }
        for number in ((first + i) % DISTINCT for i in range(count))
    ]


def webhook(posted: list[dict[str, Any]]) -> bytes:
    """Return alerts as Alertmanager's webhook sends them."""
    whole = [
        {**each, "status": "firing", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": f"{n:016x}"}
        for each in posted
        for n in (int(each["labels"]["n"]),)
    ]
    told = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "r", "alerts": whole}
    return json.dumps(told).encode()


def request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def measured(
    port: int, server: int, requests: Sequence[bytes], batch: int, seconds: float
) -> Figures:
    """Post for some seconds over all connections and return what came of it."""
    loop, process = asyncio.get_running_loop(), psutil.Process(server)
    before, began, took = process.cpu_times(), time.perf_counter(), list[float]()
    senders = []
    for number in range(CONNECTIONS):
        mine = requests[number::CONNECTIONS] or requests
        _, sender = await loop.create_connection(
            lambda mine=mine: Sender(mine, began + seconds, took),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        senders.append(sender)
    await asyncio.gather(*(sender.ended for sender in senders))
    wall, after = time.perf_counter() - began, process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    count = len(took) * batch
    return Figures(count / wall, count / cpu, quantile(took, 0.99) * 1000)


@asynccontextmanager
async def started(command: Sequence[str], port: int) -> AsyncIterator[int]:
    """Run a server on its core until left, and give its process id once it answers."""
    env = {**os.environ, "GOMAXPROCS": "1"}
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    psutil.Process(process.pid).cpu_affinity([SERVER])
    try:
        while True:
            assert process.poll() is None, command
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def serve(port: int, folder: Path) -> None:
    """Be our side: the hooks over a store and an intake, as the bot has them."""
    url, nobody = f"sqlite+aiosqlite:///{folder / 'bot.sqlite'}", cast("Any", None)
    async with Store(url, Seal(Seal.new_key())) as store, Intake(url) as intake:
        await store.create()
        now = datetime.now(tz=UTC)
        async with store.unit() as unit:
            made = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
            await unit.hooks.add(made.id, "alertmanager", Secret(TOKEN), now)
        kit = Kit(SystemClock(), store, {}, nobody, nobody, nobody)
        async with serving(Site(Hook(kit, intake)), listening("127.0.0.1", port)):
            await asyncio.Event().wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def paired(batch: int, seconds: float) -> tuple[Figures, Figures]:
    """Measure both, one after the other, each new and alone."""
    starts = range(0, DISTINCT, max(batch, DISTINCT // 1000))
    lists = [alerts(batch, first) for first in starts]
    port = free_port()
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "am.yml").write_text(CONFIG)
        command = [
            "prometheus-alertmanager",
            f"--config.file={folder / 'am.yml'}",
            f"--storage.path={folder / 'am'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=error",
        ]
        requests = [request("/api/v2/alerts", json.dumps(each).encode()) for each in lists]
        async with started(command, port) as server:
            theirs = await measured(port, server, requests, batch, seconds)
        command = [sys.executable, "-m", "bench.intake", "--serve", str(port), "--folder", name]
        requests = [request(f"/hooks/alertmanager/{TOKEN}", webhook(each)) for each in lists]
        async with started(command, port) as server:
            ours = await measured(port, server, requests, batch, seconds)
    return ours, theirs


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--serve", type=int)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.serve:
        await serve(given.serve, given.folder)
        return
    psutil.Process().cpu_affinity([SENDER])
    rows = []
    for batch, goal in BATCHES.items():
        pairs = [await paired(batch, given.seconds) for _ in range(given.rounds)]
        wall = median([ours.rate / theirs.rate for ours, theirs in pairs])
        cpu = median([ours.per_cpu / theirs.per_cpu for ours, theirs in pairs])
        for name, side in (("ours", 0), ("Alertmanager", 1)):
            runs = [pair[side] for pair in pairs]
            rows.append(
                (
                    batch,
                    name,
                    f"{median([run.rate for run in runs]):,.0f}",
                    f"{median([run.per_cpu for run in runs]):,.0f}",
                    f"{median([run.p99 for run in runs]):.0f} ms",
                    f"{wall:.2f} / {cpu:.2f} (goal {goal})" if name == "ours" else "",
                )
            )
    title = f"alerts taken in, {CONNECTIONS} connections, medians of {given.rounds} paired rounds"
    title += f", load {os.getloadavg()[0]:.0f}"
    columns = ("in a post", "who", "alerts/s", "per CPU-s", "p99 of a post", "ratio: wall / CPU")
    show(title, columns, rows)


if __name__ == "__main__":
    uvloop.run(main())

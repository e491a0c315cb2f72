"""A storm of alerts, posted over HTTP to a bot or to a real Alertmanager, and what they say of it."""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil

from bench.storm_bot import NOISY, QUIET, token

ALERTS, HOSTS, PER_POST = 20_000, 200, 100
BUSY = 503
TRIES = 100
Alerts = Sequence[tuple[str, str, str]]
"""Each a rule, a host and a severity."""
ROUTE = {"group_by": ["customer"], "group_wait": "5s", "group_interval": "10s"}
"""Of the real Alertmanager: the fastest of those that a chat could bear."""


@dataclass(frozen=True, slots=True)
class Said:
    """A word that a chat was handed, or a notification."""

    at: float
    """By the machine's monotonic clock."""
    what: str
    chat: str
    text: str
    size: int


@dataclass
class Target:
    """Somebody to post to: its process, its client, what it has said so far."""

    process: psutil.Process
    client: httpx.AsyncClient
    path: Callable[[str], str]
    """Where a customer's alerts go."""
    body: Callable[[str, Alerts], bytes]
    url: str = ""
    """Of its database."""
    said: list[Said] = field(default_factory=list)
    idle: int = 0
    """Bytes that its process had before anything was posted."""
    took: list[float] = field(default_factory=list)
    """Seconds until each post was answered."""

    async def post(self, customer: str, alerts: Alerts) -> None:
        """Post until it is taken, as Alertmanager does: 503 asks to try again."""
        content, begun = self.body(customer, alerts), time.monotonic()
        headers = {"content-type": "application/json"}
        for _ in range(TRIES):
            try:
                answer = await self.client.post(
                    self.path(customer), content=content, headers=headers
                )
            except httpx.TransportError:
                continue
            if answer.status_code != BUSY:
                answer.raise_for_status()
                self.took.append(time.monotonic() - begun)
                return
        raise RuntimeError("nobody takes a post")

    def first(self, what: str, chat: str, text: str) -> float | None:
        """Return when a text was first handed over by a mention (send) or an edit."""
        for said in self.said:
            mention = said.text.startswith("【🔴 新的严重告警")
            named = said.chat == chat and text in said.text
            if named and said.what == what and mention is (what == "send"):
                return said.at
        return None


def _alert(rule: str, host: str, severity: str, customer: str) -> dict[str, Any]:
    return {
        "labels": {
            "alertname": rule,
            "instance": host,
            "severity": severity,
            "customer": customer,
        },
        "annotations": {"summary": f"{rule} on {host} for five minutes"},
        "startsAt": "2026-11-25T03:00:00Z",
        "generatorURL": "http://prometheus/graph",
    }


def webhook(customer: str, alerts: Alerts) -> bytes:
    """Return alerts as Alertmanager's webhook posts them."""
    whole = [
        {
            **_alert(rule, host, severity, customer),
            "status": "firing",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"{rule}@{host}",
        }
        for rule, host, severity in alerts
    ]
    told = {
        "version": "4",
        "groupKey": "{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "bot",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": whole,
    }
    return json.dumps(told).encode()


def api(customer: str, alerts: Alerts) -> bytes:
    """Return the same alerts as Prometheus posts them to Alertmanager."""
    return json.dumps([_alert(*alert, customer) for alert in alerts]).encode()


def gale(count: int = ALERTS) -> list[Alerts]:
    """Return the posts of one storm: every alert a distinct one."""
    alerts = [
        (f"Rule{n // HOSTS:04}", f"host-{n % HOSTS:03}", "warning" if n % 3 else "info")
        for n in range(count)
    ]
    return [alerts[n : n + PER_POST] for n in range(0, count, PER_POST)]


async def storm(target: Target, posts: Sequence[Alerts], mark: str) -> float:
    """Post a storm within a second, with a critical of each customer on the host `mark` in its
    middle; return when those were posted."""
    begun, middle, handed = time.monotonic(), len(posts) // 2, 0.0
    async with asyncio.TaskGroup() as group:
        for n, alerts in enumerate(posts):
            await asyncio.sleep(max(0.0, begun + n / len(posts) - time.monotonic()))
            if n == middle:
                handed = time.monotonic()
                for customer in (NOISY, QUIET):
                    group.create_task(target.post(customer, [("DBDown", mark, "critical")]))
            group.create_task(target.post(NOISY, alerts))
    return handed


async def fetched(target: Target, per_second: int, took: list[float]) -> None:
    """Look at the bot's pages so often until cancelled, and note how long each took: infinity for
    one that failed."""
    pages = ("/console", "/chat")

    async def fetch(page: str) -> None:
        begun = time.monotonic()
        try:
            good = (await target.client.get(page)).is_success
        except httpx.TransportError:
            good = False
        took.append(time.monotonic() - begun if good else math.inf)

    async with asyncio.TaskGroup() as group:
        number = 0
        while True:
            group.create_task(fetch(pages[number % len(pages)]))
            number += 1
            await asyncio.sleep(1 / per_second)


@asynccontextmanager
async def bot() -> AsyncIterator[Target]:
    """Run the whole bot in a process of its own until left."""
    with TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "bench.storm_bot", folder)
        child = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, limit=2**20
        )
        assert child.stdout
        word, port = (await child.stdout.readline()).decode().split()
        assert word == "listens"
        async with _client(f"http://127.0.0.1:{port}") as client:
            url = f"sqlite+aiosqlite:///{folder}/bot.sqlite"
            path: Callable[[str], str] = lambda who: f"/hooks/alertmanager/{token(who)}"  # noqa: E731
            target = Target(psutil.Process(child.pid), client, path, webhook, url)
            hearing = asyncio.create_task(_hear(child.stdout, target.said))
            try:
                yield target
            finally:
                child.terminate()
                await child.wait()
                await hearing


@asynccontextmanager
async def alertmanager() -> AsyncIterator[Target]:
    """Run a real Alertmanager, whose notifications we take, until left."""
    said: list[Said] = []
    server = await asyncio.start_server(lambda r, w: _notified(r, w, said), "127.0.0.1", 0)
    hook = server.sockets[0].getsockname()[1]
    config = {
        "route": {"receiver": "us", **ROUTE},
        "receivers": [
            {
                "name": "us",
                "webhook_configs": [{"url": f"http://127.0.0.1:{hook}/", "max_alerts": 0}],
            }
        ],
    }
    with TemporaryDirectory() as folder:
        file, port = Path(folder) / "am.yml", free_port()
        file.write_text(json.dumps(config))  # JSON is YAML
        child = subprocess.Popen(  # noqa: ASYNC220 - it only begins
            (
                "prometheus-alertmanager",
                f"--config.file={file}",
                f"--storage.path={folder}/am",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
                "--log.level=error",
            ),
            stderr=subprocess.DEVNULL,
        )
        try:
            async with server, _client(f"http://127.0.0.1:{port}") as client:
                await _answers(client)
                path: Callable[[str], str] = lambda _: "/api/v2/alerts"  # noqa: E731
                yield Target(psutil.Process(child.pid), client, path, api, said=said)
        finally:
            child.terminate()
            child.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load() -> str:
    """Return how busy the machine was in the last minute, for the table's head."""
    return f"load {os.getloadavg()[0]:.0f}"


def _client(base: str) -> httpx.AsyncClient:
    # Given up before the server does: a post that crosses its close would fail.
    limits = httpx.Limits(max_connections=64, keepalive_expiry=1)
    return httpx.AsyncClient(base_url=base, timeout=60, limits=limits, trust_env=False)


async def _answers(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await client.get("/-/ready")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


async def _hear(out: asyncio.StreamReader, said: list[Said]) -> None:
    while line := await out.readline():
        said.append(Said(*json.loads(line)))


async def _notified(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: list[Said]
) -> None:
    """Take one notification after another on a connection, whatever they hold."""
    try:
        while head := await _head(reader):
            body = await reader.readexactly(head)
            text = body.decode()
            customer = json.loads(text)["groupLabels"]["customer"]
            said.append(Said(time.monotonic(), "send", customer, text, head))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> int:
    """Return how long the next request's body is; 0 when no more comes."""
    length = 0
    while (line := await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return length

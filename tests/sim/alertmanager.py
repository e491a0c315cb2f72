"""A real Alertmanager (Debian's `prometheus-alertmanager`) on a free port, to compare ours with."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import needs

PROGRAM = "prometheus-alertmanager"


@dataclass
class Alertmanager:
    """One that runs, by its API."""

    client: httpx.AsyncClient
    muted: int = 0
    """Notifications that it did not send because of the time."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    up: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    said: list[str] = field(default_factory=list)

    async def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        (await self.client.post("/alerts", json=list(alerts))).raise_for_status()

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path)
        answer.raise_for_status()
        return answer.json()

    async def silence(self, body: Mapping[str, Any]) -> str:
        """Return the silence's id; empty when it is refused."""
        answer = await self.client.post("/silences", json=dict(body))
        return str(answer.json()["silenceID"]) if answer.is_success else ""

    async def expire(self, silence: str) -> None:
        (await self.client.delete(f"/silence/{silence}")).raise_for_status()

    async def hear(self, log: asyncio.StreamReader) -> None:
        """Read its log until it ends."""
        while line := (await log.readline()).decode():
            self.said.append(line)
            if "Listening on" in line:
                self.up = True
                self.ready.set()
            if "Notifications not sent" in line:
                self.muted += 1
            self.news.set()
        self.ready.set()
        self.news.set()


@asynccontextmanager
async def alertmanager(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[Alertmanager]:
    """Run one with a configuration until left; JSON is YAML."""
    path = folder / "alertmanager.yml"
    path.write_text(json.dumps(config), encoding="utf-8")
    port = _free()
    process = await asyncio.create_subprocess_exec(
        needs.program(PROGRAM),
        f"--config.file={path}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=debug",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    base = f"http://127.0.0.1:{port}/api/v2"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        one = Alertmanager(client)
        hearing = asyncio.create_task(one.hear(process.stderr))
        try:
            async with asyncio.timeout(30):
                await one.ready.wait()
            assert one.up, "".join(one.said)
            yield one
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await hearing


async def accepts(folder: Path, config: Mapping[str, Any]) -> bool:
    """Does `amtool` take a configuration?"""
    path = folder / "checked.yml"
    path.write_text(json.dumps(config), encoding="utf-8")
    return await _amtool("check-config", str(path)) is not None


async def routed(folder: Path, config: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """Return the receivers to which `amtool` would route labels."""
    path = folder / "routed.yml"
    path.write_text(json.dumps(config), encoding="utf-8")
    pairs = [f"{name}={value}" for name, value in labels.items()]
    said = await _amtool("config", "routes", "test", f"--config.file={path}", *pairs)
    assert said is not None, pairs
    return said.strip().split(",")


async def _amtool(*args: str) -> str | None:
    process = await asyncio.create_subprocess_exec(
        needs.program("amtool"),
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate()
    return said.decode() if process.returncode == 0 else None


def _free() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

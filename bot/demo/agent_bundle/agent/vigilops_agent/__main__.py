"""Register this host at VigilOps, then send a heartbeat and metrics until told to stop."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

VERSION = "2.0.0"


class Refused(Exception):
    """The server answered, and the answer was no."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def log(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
    sys.stderr.flush()


def read_config(path: Path) -> dict[str, str]:
    """Read the two-level YAML that the installer writes; `server.url` and so on are the keys."""
    found: dict[str, str] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        if not line.startswith(" "):
            section = key.strip()
            continue
        text = value.strip()
        found[f"{section}.{key.strip()}"] = json.loads(text) if text.startswith('"') else text
    return found


def figures() -> dict[str, Any]:
    """Read what this sandbox host declares about itself; the file may change while we run."""
    path = Path(os.environ["VIGIL_HOST_ROOT"]) / ".sandbox" / "host.json"
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


class Agent:
    def __init__(self, config: dict[str, str]) -> None:
        self._url = urlsplit(config["server.url"])
        self._token = os.environ.get("VIGILOPS_TOKEN") or config["server.token"]
        self._name = config["host.name"]
        self._display = config.get("host.display_name", self._name)
        every = os.environ.get("VIGIL_AGENT_INTERVAL") or config.get("metrics.interval", "15s")
        self._interval = float(every.rstrip("s"))
        self._never = threading.Event()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        secure = self._url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        link = kind(self._url.hostname or "127.0.0.1", self._url.port, timeout=10)
        try:
            link.request(
                "POST",
                f"{self._url.path.rstrip('/')}/api/v1/agent/{path}",
                json.dumps(body),
                {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        if answer.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise Refused(answer.status)
        read: dict[str, Any] = json.loads(text or b"{}")
        return read

    def register(self) -> int:
        have = figures()
        body = {
            "hostname": self._name,
            "display_name": self._display,
            "ip_address": have["address"],
            "private_ip": have["address"],
            "os": "Linux",
            "os_version": have["os"],
            "arch": have["arch"],
            "cpu_cores": have["cpu"],
            "memory_total_mb": have["memory_mb"],
            "agent_version": VERSION,
            "tags": {},
        }
        answer = self.post("register", body)
        return int(answer["host_id"])

    def report(self, host_id: int) -> None:
        have = figures()
        self.post("heartbeat", {"host_id": host_id})
        load = round(have["cpu"] * have["cpu_percent"] / 100, 2)
        metrics = {
            "host_id": host_id,
            "cpu_percent": have["cpu_percent"],
            "cpu_load_1": load,
            "cpu_load_5": load,
            "cpu_load_15": load,
            "memory_used_mb": have["memory_used_mb"],
            "memory_percent": round(100 * have["memory_used_mb"] / have["memory_mb"], 1),
            "disk_used_mb": have["disk_used_mb"],
            "disk_total_mb": have["disk_mb"],
            "disk_percent": round(100 * have["disk_used_mb"] / have["disk_mb"], 1),
            "net_bytes_sent": 0,
            "net_bytes_recv": 0,
            "net_send_rate_kb": 0.0,
            "net_recv_rate_kb": 0.0,
            "net_packet_loss_rate": 0.0,
            "timestamp": (datetime.now(UTC) + timedelta(seconds=have["lead"])).isoformat(),
        }
        self.post("metrics", metrics)

    def run(self) -> None:
        host_id: int | None = None
        failures = 0
        while True:
            try:
                if host_id is None:
                    host_id = self.register()
                    log(f"registered as host {host_id}")
                self.report(host_id)
                failures = 0
            except Refused as no:
                log(f"refused: {no}")
                host_id = None
                failures += 1
            except (OSError, http.client.HTTPException, ValueError, KeyError) as trouble:
                log(f"trouble: {type(trouble).__name__}: {trouble}")
                failures += 1
            backoff = min(self._interval, 0.5 * 2 ** min(failures, 6))
            self._never.wait(backoff if failures else self._interval)


def stop(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> int:
    words = argparse.ArgumentParser(prog="vigilops-agent")
    words.add_argument("-c", "--config", type=Path)
    words.add_argument("--version", action="version", version=f"vigilops-agent {VERSION}")
    words.add_argument("what", choices=["run", "check"])
    given = words.parse_args()
    root = os.environ.get("VIGIL_HOST_ROOT", "")
    config = read_config(given.config or Path(root) / "etc" / "vigilops" / "agent.yaml")
    if given.what == "check":
        log(f"{platform.python_version()}: the configuration reads")
        return 0
    signal.signal(signal.SIGTERM, stop)
    Agent(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

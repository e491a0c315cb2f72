"""`vigilbot run` of a configuration: nobody sees anything without signing in."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path

import httpx

from storage.vault import Seal

ROOT = Path(__file__).parents[2]
CONFIG = """
[vault]
key = "env:KEY"
[web]
port = {port}
password = "env:PASSWORD"
"""


async def test_run_asks_who_one_is(tmp_path: Path) -> None:
    """It prints the pairing code and its address, sends strangers to the login, and stops cleanly."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "vigilbot.toml"
    await asyncio.to_thread(config.write_text, CONFIG.format(port=port))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bot", "run", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "KEY": Seal.new_key().reveal(), "PASSWORD": "芝麻开门"},
    )
    assert process.stdout
    told = ""
    try:
        async with asyncio.timeout(60):
            while "http://" not in told:
                told += (await process.stdout.readline()).decode()
        assert re.search(r"/pair [A-Z2-9]{10}", told), told
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as web:
            for page in ("/console", "/chat"):
                assert (await web.get(page)).headers["location"] == "/login"
            words = {"username": "admin", "password": "芝麻开门"}
            assert (await web.post("/login", data=words)).status_code == 303
            for page in ("/console", "/chat"):
                assert (await web.get(page)).status_code == 200
            assert (await web.get("/healthz")).json()["platforms"] == ["web"]
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()

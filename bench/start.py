"""From the start of `python -m bot demo` to its first page, and of a bare NiceGUI page beside it.

python -m bench.start [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from bench.table import median, show

PATIENCE = 60.0
LOOK = 0.02
BARE = """
import sys
from nicegui import ui
ui.label("hello")
ui.run(host="127.0.0.1", port=int(sys.argv[1]), show=False, reload=False)
"""
ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def first_page(words: Sequence[str], port: int, folder: str) -> float | None:
    """Return the seconds until the page answers; None when the program ends before."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    program = subprocess.Popen(
        words,
        cwd=folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while program.poll() is None and time.perf_counter() - began < PATIENCE:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/", follow_redirects=True).is_success:
                    return time.perf_counter() - began
            except httpx.TransportError:
                time.sleep(LOOK)  # noqa: TID251 - nothing else runs here
        return None
    finally:
        os.killpg(program.pid, signal.SIGTERM)
        program.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    help_ = subprocess.run(
        [sys.executable, "-m", "bot", "demo", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if help_.returncode or not re.search(r"--port", help_.stdout):
        sys.exit("there is no `python -m bot demo --port` yet")
    demo: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        with TemporaryDirectory() as folder:
            for into, words in (
                (demo, [sys.executable, "-m", "bot", "demo", "--port"]),
                (bare, [sys.executable, "-c", BARE]),
            ):
                port = free_port()
                took = first_page([*words, str(port)], port, folder)
                if took is None:
                    sys.exit(f"no page from {words[1:4]}")
                into.append(took)
    rows = [
        ("python -m bot demo", f"{median(demo):.2f} s", f"{max(demo):.2f} s", "under 3 s"),
        ("a bare NiceGUI page", f"{median(bare):.2f} s", f"{max(bare):.2f} s", ""),
        ("ratio", f"{median(demo) / median(bare):.2f}", "", ""),
    ]
    show(f"start to first page, {rounds} rounds", ("program", "median", "max", "budget"), rows)


if __name__ == "__main__":
    main()

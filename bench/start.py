"""From the start of the program to its first page, and of a bare NiceGUI page beside it.

    python -m bench.start [--rounds 5]

`python -m bot run` with only the web chat enabled, the demo where it has been before, and the page.
"""

from __future__ import annotations

import argparse
import os
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
from storage.vault import Seal

PATIENCE = 60.0
ENDING = 30.0
LOOK = 0.02
KEY = Seal.new_key().reveal()
BARE = """
import sys
from nicegui import ui
@ui.page("/")
def index():
    ui.label("hello")
ui.run(host="127.0.0.1", port=int(sys.argv[1]), show=False, reload=False)
"""
CONFIG = """
[bot]
data_dir = "data"
[vault]
key = "env:BENCH_KEY"
[web]
port = {port}
password = "env:BENCH_PASSWORD"
[platforms.webchat]
enabled = true
"""
ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def first_page(words: Sequence[str], port: int, folder: str) -> float | None:
    """Return the seconds until the page answers; None when the program ends before."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENCH_KEY": KEY,
        "BENCH_PASSWORD": "open sesame",
    }
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
        program.wait(ENDING)


def programs(folder: Path) -> dict[str, tuple[list[str], int]]:
    """Return what is started, by its name, with the port of its page."""
    run, demo, bare = free_port(), free_port(), free_port()
    config = folder / "vigilbot.toml"
    config.write_text(CONFIG.format(port=run), encoding="utf-8")
    python = sys.executable
    return {
        "bot run": ([python, "-m", "bot", "run", "--config", str(config)], run),
        "bot demo": ([python, "-m", "bot", "demo", "--port", str(demo)], demo),
        "a bare NiceGUI page": ([python, "-c", BARE, str(bare)], bare),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as folder:
        started = programs(Path(folder))
        took: dict[str, list[float]] = {name: [] for name in started}
        for _ in range(rounds + 1):
            for name, (words, port) in started.items():
                seconds = first_page(words, port, folder)
                if seconds is None:
                    sys.exit(f"no page from {name}")
                took[name].append(seconds)
    bare = median(took["a bare NiceGUI page"][1:])
    rows = []
    for name, (first, *later) in took.items():
        ratio = f"{median(later) / bare:.2f}"
        figures = (f"{first:.2f} s", f"{median(later):.2f} s", f"{max(later):.2f} s", ratio)
        rows.append((name, *figures, "" if "bare" in name else "under 3 s"))
    show(
        f"start to first page, {rounds} rounds after the first",
        ("program", "first", "median", "max", "ratio", "budget"),
        rows,
    )


if __name__ == "__main__":
    main()
